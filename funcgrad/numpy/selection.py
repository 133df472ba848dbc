"""Functions that choose elements: take, where, nonzero, select, place, and the makers of index arrays.

In: arrays, indices, conditions. Out: new arrays; the functions that NumPy lets write into their argument return the
result instead, and take ``inplace=False``.

    >>> import funcgrad.numpy as fnp
    >>> fnp.where(fnp.array([1., -2.]) > 0, 1., 0.)
    Array([1., 0.], dtype=float64, weak_type=True)
"""
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import CudaArray, DeviceArray, describe, on_device, owned
from funcgrad.core.trace import Tracer
from funcgrad.core.types import Shape
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.numpy.index_parsing import checked_mode, resolved
from funcgrad.numpy.indexing import getitem, update
from funcgrad.ops.elementwise import add, floor_divide, maximum, mul, ne, remainder, sub
from funcgrad.ops.index_maps import GatherDimensionNumbers
from funcgrad.ops.indexing import checked_axis
from funcgrad.ops.promotion import broadcast_shape, promote_args, result_type_of, unary_arg
from funcgrad.ops.reduction import cumsum
from funcgrad.ops.scatter import gather_p
from funcgrad.ops.structural import (
    broadcast_to,
    concatenate,
    convert_element_type,
    expand_dims,
    reshape,
    select_n_p,
)


def _array(name: str, x: Any) -> Any:
    return owned(unary_arg(name, x))


def _flat(x: Any) -> Any:
    return reshape(x, (math.prod(x.shape),))


def _values(name: str, x: Any, instead: str) -> np.ndarray:
    """The values of x, which must not be traced: the shape of the result depends on them."""
    value = x.concrete() if isinstance(x, Tracer) else x
    if value is None:
        raise ConcretizationTypeError(message(
            f"fnp.{name}: the shape of the result depends on the values of a traced array", describe(x),
            "an array with values", instead))
    return np.asarray(value)


def _not_in_place(name: str, inplace: bool) -> None:
    if inplace:
        raise ValueError(message(f"fnp.{name}: arrays are immutable, so it cannot change its argument",
                                 "inplace=True", None,
                                 f"x = fnp.{name}(x, ..., inplace=False)"))


def _no_out(name: str, out: Any) -> None:
    if out is not None:
        raise NotImplementedError(message(f"fnp.{name}: out= is not supported", describe(out), "out=None",
                                          f"result = fnp.{name}(...)"))


# ---------------------------------------------------------------- reading and writing at indices


def take(a: Any, indices: Any, axis: int | None = None, out: None = None, mode: Any = None,
         unique_indices: bool = False,
         indices_are_sorted: bool = False, fill_value: Any = None) -> Any:
    """The slices of a at ``indices`` along an axis, or elements of the flat array when axis is None.

    The result has the axes of ``indices`` where a has ``axis``. ``mode`` is that of ``x.at[...].get``; the default
    raises IndexError out of bounds, and "clip" also takes negative indices to 0.
    """
    _no_out("take", out)
    a, indices = _array("take", a), unary_arg("take", indices)
    if axis is None:
        a, axis = _flat(a), 0
    axis = checked_axis("fnp.take", axis, a)
    if checked_mode(mode) == "clip" and dtypes.kind(indices.dtype) == "i":
        indices = maximum(indices, 0)  # as in NumPy, -1 is then out of bounds and not the last element
    return getitem(a, (slice(None),) * axis + (indices,), mode=mode, fill_value=fill_value,
                   unique_indices=unique_indices)


def take_along_axis(arr: Any, indices: Any, axis: int | None = -1, mode: Any = None, fill_value: Any = None, *,
                    wrap_negative_indices: bool | None = None) -> Any:
    """``result[i, j, ...] = arr[i, indices[i, j, ...], ...]``: elements picked along one axis, row by row.

    ``indices`` has as many axes as arr; the other axes broadcast. With axis None both are used flat. A negative index counts
    from the end, or is out of bounds with ``wrap_negative_indices=False``.
    """
    arr, indices = _array("take_along_axis", arr), unary_arg("take_along_axis", indices)
    if dtypes.kind(indices.dtype) not in "iu":
        raise TypeError(message("fnp.take_along_axis: the indices must be integers", describe(indices)))
    if axis is None:
        arr, indices, axis = _flat(arr), _flat(indices), 0
    axis = checked_axis("fnp.take_along_axis", axis, arr)
    if len(arr.shape) != len(indices.shape):
        raise ValueError(message("fnp.take_along_axis: arr and indices differ in their number of axes",
                                 f"{describe(arr)} and {describe(indices)}"))
    lead = broadcast_shape("take_along_axis", *[x.shape[:axis] + (1,) + x.shape[axis + 1:] for x in (arr, indices)])
    n, count = arr.shape[axis], indices.shape[axis]
    arr = broadcast_to(arr, lead[:axis] + (n,) + lead[axis + 1:])
    indices = broadcast_to(indices, lead[:axis] + (count,) + lead[axis + 1:])
    mode = checked_mode(mode)
    if wrap_negative_indices is False:
        indices = where(indices < 0, 0 if mode == "clip" else n, convert_element_type(indices, "int64"))
    if mode != "raise":
        value = np.asarray(indices) if isinstance(indices, DeviceArray) else indices
        indices, mode = resolved(value, n, mode, True), "promise_in_bounds" if mode == "wrap" else mode
    others = tuple([d for d in range(len(arr.shape)) if d != axis])
    dn = GatherDimensionNumbers((), (axis,), (axis,), others, others)
    fill = np.asarray(fill_value).item() if mode == "fill" and fill_value is not None else None
    return gather_p.bind(arr, expand_dims(indices, (len(indices.shape),)), dimension_numbers=dn,
                         slice_sizes=tuple([min(1, m) for m in arr.shape]), mode=mode, fill_value=fill,
                         unique_indices=False)[0]



def put_along_axis(arr: Any, indices: Any, values: Any, axis: int | None, inplace: bool = True, *,
                   mode: Any = None) -> Any:
    """arr with ``values`` at the elements that ``take_along_axis`` reads. Needs ``inplace=False``."""
    _not_in_place("put_along_axis", inplace)
    arr, indices = _array("put_along_axis", arr), unary_arg("put_along_axis", indices)
    shape = arr.shape
    if axis is None:
        arr, indices, axis = _flat(arr), _flat(indices), 0
    axis = checked_axis("fnp.put_along_axis", axis, arr)
    grid = [np.arange(n).reshape([n if i == d else 1 for i in range(len(arr.shape))]) for d,
            n in enumerate(arr.shape)]
    return reshape(update("set", arr, (*grid[:axis], indices, *grid[axis + 1:]), values, mode=mode), shape)


def compress(condition: Any, a: Any, axis: int | None = None, *, size: int | None = None, fill_value: Any = 0,
             out: None = None) -> Any:
    """The slices of a along an axis (elements of the flat array for None) where the condition, of one axis, is true.

    With ``size`` the result has that many slices, padded with ``fill_value``, and the condition may be traced.
    """
    _no_out("compress", out)
    a, condition = _array("compress", a), _condition("compress", condition)
    if len(condition.shape) != 1:
        raise ValueError(message("fnp.compress: the condition must have one axis", describe(condition)))
    if axis is None:
        a, axis = _flat(a), 0
    axis = checked_axis("fnp.compress", axis, a)
    if size is None:
        return take(a, np.flatnonzero(_values("compress", condition, "size=n, or fnp.where(condition, a, 0)")), axis)
    n = a.shape[axis]
    positions, = nonzero(condition, size=size, fill_value=max(n, len(condition)))
    return take(a, positions, axis, mode="fill", fill_value=fill_value)


def extract(condition: Any, arr: Any, *, size: int | None = None, fill_value: Any = 0) -> Any:
    """The elements of arr where the condition is true, as one axis."""
    return compress(_flat(_array("extract", condition)), _flat(_array("extract", arr)), size=size,
                    fill_value=fill_value)


def place(arr: Any, mask: Any, vals: Any, *, inplace: bool = True) -> Any:
    """arr with the elements where the mask is true replaced by vals, one after the other and again from the start."""
    _not_in_place("place", inplace)
    arr, mask, vals = _array("place", arr), _condition("place", mask), _flat(_array("place", vals))
    if mask.shape != arr.shape:
        raise ValueError(message("fnp.place: mask and array differ in size", f"{describe(mask)} and {describe(arr)}"))
    if not vals.shape[0]:
        raise ValueError("fnp.place: there are no values to place")
    position = remainder(sub(cumsum(convert_element_type(_flat(mask), "int64"), axis=0), 1), vals.shape[0])
    chosen = reshape(getitem(vals, position, mode="promise_in_bounds"), arr.shape)
    return where(mask, convert_element_type(chosen, arr.dtype), arr)


def put(a: Any, ind: Any, v: Any, mode: Any = None, *, inplace: bool = True) -> Any:
    """a with its flat elements ``ind`` replaced by v, repeated as often as needed. Needs ``inplace=False``."""
    _not_in_place("put", inplace)
    a, ind, v = _array("put", a), _flat(_array("put", ind)), _flat(_array("put", v))
    if not ind.shape[0] or not v.shape[0]:
        return a
    return reshape(update("set", _flat(a), ind, getitem(v, np.arange(ind.shape[0]) % v.shape[0]), mode=mode), a.shape)


def fill_diagonal(a: Any, val: Any, wrap: bool = False, *, inplace: bool = True) -> Any:
    """a with val on its main diagonal; ``wrap`` repeats the diagonal of a tall matrix. Needs ``inplace=False``."""
    _not_in_place("fill_diagonal", inplace)
    a, val = _array("fill_diagonal", a), _flat(_array("fill_diagonal", val))
    if len(a.shape) < 2 or len(a.shape) > 2 and len(set(a.shape)) > 1:
        raise ValueError(message("fnp.fill_diagonal: the array has no main diagonal", describe(a),
                                 "a matrix, or more axes of one size"))
    step = a.shape[1] + 1 if len(a.shape) == 2 else sum(a.shape[0] ** i for i in range(len(a.shape)))
    end = a.shape[1] ** 2 if len(a.shape) == 2 and not wrap else None
    places = np.arange(math.prod(a.shape))[:end:step]
    return reshape(update("set", _flat(a), places, getitem(val, np.arange(len(places)) % val.shape[0])), a.shape)


# ---------------------------------------------------------------- conditions


def _condition(name: str, x: Any) -> Any:
    x = _array(name, x)
    if x.dtype.kind == "b":
        return x
    if type(x) is DeviceArray:  # its values stay known, so that they can decide a shape
        return DeviceArray(x._data != 0)
    return ne(x, x.dtype.type(0))


def where(condition: Any, x: Any = None, y: Any = None, /, *, size: int | None = None, fill_value: Any = None) -> Any:
    """x where the condition is true and y elsewhere, all broadcast together; with one argument, ``nonzero``.

    The derivative flows to x where the condition is true, to y elsewhere. A branch that is not taken still gets a
    cotangent of zero, and zero times an infinite derivative is NaN, as in ``where(x > 0, log(x), 0)`` at 0: choose
    the argument first, ``log(where(x > 0, x, 1))``.
    """
    if x is None and y is None:
        return nonzero(condition, size=size, fill_value=fill_value)
    if x is None or y is None:
        raise ValueError("fnp.where takes either one argument or three")
    if size is not None or fill_value is not None:
        raise ValueError("fnp.where: size and fill_value are for the form with one argument")
    condition = _condition("where", condition)
    dtype, weak = result_type_of("where", (x, y))
    x, y = promote_args("where", (x, y))
    shape = broadcast_shape("where", *[v.shape for v in (condition, x, y) if not isinstance(v, np.generic)])
    x, y = [v if isinstance(v, np.generic) or v.shape == shape else broadcast_to(v, shape) for v in (x, y)]
    if condition.shape != shape and condition.shape:
        condition = broadcast_to(condition, shape)
    out = select_n_p.bind(condition, y, x)[0]
    return convert_element_type(out, dtype, weak_type=True) if weak else out


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """For each element the choice of the first condition that is true there, or the default."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(message("fnp.select: there must be one choice for each condition",
                                 f"{len(condlist)} conditions and {len(choicelist)} choices"))
    *choices, out = promote_args("select", [*choicelist, default])
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        out = where(condition, choice, out)
    return out


def choose(a: Any, choices: Any, out: None = None, mode: str = "raise") -> Any:
    """``choices[a[i]][i]`` for each position i, all broadcast together; mode is "raise", "wrap" or "clip"."""
    _no_out("choose", out)
    a = _array("choose", a)
    options = promote_args("choose", [_array("choose", choices[i]) for i in range(len(choices))])
    shape = broadcast_shape("choose", a.shape, *[c.shape for c in options])
    if mode == "clip":
        a = where(a < 0, a.dtype.type(0), a)
    stacked = concatenate([expand_dims(broadcast_to(c, shape), (0,)) for c in options], 0)
    grid = np.ix_(*[np.arange(n) for n in shape]) if shape else ()
    return getitem(stacked, (broadcast_to(a, shape), *grid), mode=mode)


def nonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> tuple:
    """The indices of the elements that are not zero, one array an axis.

    With ``size`` each array has that length, cut or padded with ``fill_value`` (one for all axes or a tuple; 0 by
    default), and a may be traced. Raises ConcretizationTypeError for a traced array without size.
    """
    a = _array("nonzero", a)
    if not a.shape:
        raise ValueError(message("fnp.nonzero: an array without axes has no indices", describe(a), None,
                                 "fnp.atleast_1d(a)"))
    if size is None:
        found = _values("nonzero", a, "fnp.nonzero(a, size=n), or fnp.where(condition, x, y)").nonzero()
        return tuple([on_device(DeviceArray(x), a.device) if type(a) is CudaArray else DeviceArray(x) for x in found])
    size = operator.index(size)
    fills = fill_value if isinstance(fill_value, tuple) else (0 if fill_value is None else fill_value,) * len(a.shape)
    mask = _flat(_condition("nonzero", a))
    count = mask.shape[0]
    order = sub(cumsum(convert_element_type(mask, "int64"), axis=0), 1)
    flat = update("set", DeviceArray(np.full(size, -1)), where(mask, order, size), np.arange(count), mode="drop")
    out = []
    for part, fill in zip(_unraveled(flat, a.shape), fills, strict=True):
        out.append(where(flat < 0, convert_element_type(_array("nonzero", fill), "int64"), part))
    return tuple(out)


def flatnonzero(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The indices, in the flat array, of the elements that are not zero."""
    return nonzero(_flat(_array("flatnonzero", a)), size=size, fill_value=fill_value)[0]


def argwhere(a: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The indices of the elements that are not zero, a row for each: an array [count, axes of a]."""
    a = _array("argwhere", a)
    if not a.shape:
        return DeviceArray(np.zeros((int(bool(_values("argwhere", a, "fnp.where(a, x, y)"))), 0), np.int64))
    return concatenate([expand_dims(i, (1,)) for i in nonzero(a, size=size, fill_value=fill_value)], 1)


# ---------------------------------------------------------------- index arithmetic


def unravel_index(indices: Any, shape: Any) -> tuple:
    """For flat indices of an array of this shape the indices along each axis; negative ones count from the end."""
    shape = (operator.index(shape),) if not isinstance(shape, Sequence) else tuple(map(operator.index, shape))
    indices, total = _array("unravel_index", indices), math.prod(shape)
    if isinstance(indices, DeviceArray):
        value = np.asarray(indices)
        if value.size and not -total <= value.min() <= value.max() < total:
            raise ValueError(message("fnp.unravel_index: an index is out of bounds", f"indices from {value.min()} to "
                                     f"{value.max()}", f"indices of an array of shape {shape}"))
    indices = convert_element_type(indices, "int64")
    return _unraveled(where(indices < 0, add(indices, total), indices), shape)


def _unraveled(flat: Any, shape: Shape) -> tuple:
    out = []
    for n in reversed(shape):
        out.append(remainder(flat, max(n, 1)))
        flat = floor_divide(flat, max(n, 1))
    return tuple(reversed(out))


def ravel_multi_index(multi_index: Sequence[Any], dims: Sequence[int], mode: Any = "raise", order: str = "C", *,
                      dtype: Any = None) -> Any:
    """The flat index of elements from their indices along each axis. mode: "raise" (needs values), "wrap", "clip".

    The result is int64 unless ``dtype`` says otherwise.
    """
    dims = tuple(map(operator.index, dims))
    if len(multi_index) != len(dims):
        raise ValueError(message("fnp.ravel_multi_index: one index array for each axis is needed",
                                 f"{len(multi_index)} for {dims}"))
    modes = (mode,) * len(dims) if isinstance(mode, str) else tuple(mode)
    total: Any = None
    axes = list(zip(multi_index, dims, modes, strict=True))
    for index, n, how in axes if order == "C" else reversed(axes):
        index = convert_element_type(_array("ravel_multi_index", index), "int64")
        if how == "raise":
            value = _values("ravel_multi_index", index, 'mode="wrap" or "clip"')
            if value.size and not 0 <= value.min() <= value.max() < n:
                raise ValueError(message("fnp.ravel_multi_index: an index is out of bounds", f"{value.min()} to "
                                         f"{value.max()}", f"0 to {n - 1}"))
        elif how == "wrap":
            index = remainder(index, n)
        else:
            index = where(index < 0, 0, where(index > n - 1, n - 1, index))
        total = index if total is None else add(mul(total, n), index)
    return total if dtype is None else convert_element_type(total, dtype)


def ix_(*args: Any) -> tuple:
    """Arrays of one axis as an open grid: ``x[fnp.ix_(rows, columns)]``. Bools stand for where they are true."""
    out = []
    for i, x in enumerate(args):
        x = _array("ix_", x)
        if len(x.shape) != 1:
            raise ValueError(message("fnp.ix_: the arguments must have one axis", describe(x)))
        if x.dtype.kind == "b":
            x = flatnonzero(x)
        out.append(reshape(x, [x.shape[0] if d == i else 1 for d in range(len(args))]))
    return tuple(out)


def indices(dimensions: Sequence[int], dtype: Any = None, sparse: bool = False) -> Any:
    """The index along each axis of an array of this shape, as one array [axes, *shape], or an open grid if sparse."""
    dtype = np.dtype("int64") if dtype is None else dtypes.as_dtype(dtype)
    grid = np.indices(tuple(map(operator.index, dimensions)), dtype, sparse)
    return tuple(map(DeviceArray, grid)) if sparse else DeviceArray(grid)


def _from_numpy(function: Callable, doc: str) -> Callable:
    def indices_of(*args: Any, **kwargs: Any) -> tuple:
        return tuple(map(DeviceArray, function(*args, **kwargs)))

    indices_of.__name__ = indices_of.__qualname__ = function.__name__
    indices_of.__doc__ = doc
    return indices_of


def _of_array(function: Callable, doc: str) -> Callable:
    def indices_from(arr: Any, k: int = 0) -> tuple:
        if len(arr.shape) != 2:
            raise ValueError(message(f"fnp.{function.__name__}_from: the array must be a matrix", describe(arr)))
        return function(arr.shape[-2], k=k, m=arr.shape[-1])

    indices_from.__name__ = indices_from.__qualname__ = f"{function.__name__}_from"
    indices_from.__doc__ = doc
    return indices_from


diag_indices = _from_numpy(np.diag_indices,
                           "``(n, ndim=2)``: the indices of the main diagonal of an array of side n.")
tril_indices = _from_numpy(np.tril_indices,
                           "``(n, k=0, m=None)``: the indices of the lower triangle of an n by m matrix.")
triu_indices = _from_numpy(np.triu_indices,
                           "``(n, k=0, m=None)``: the indices of the upper triangle of an n by m matrix.")
tril_indices_from = _of_array(tril_indices, "The indices of the lower triangle of a matrix.")
triu_indices_from = _of_array(triu_indices, "The indices of the upper triangle of a matrix.")


def diag_indices_from(arr: Any) -> tuple:
    """The indices of the main diagonal of an array with two or more axes of one size."""
    if len(arr.shape) < 2 or len(set(arr.shape)) > 1:
        raise ValueError(message("fnp.diag_indices_from: the array must have two or more axes of one size",
                                 describe(arr)))
    return diag_indices(arr.shape[0], len(arr.shape))


def mask_indices(n: int, mask_func: Callable, k: int = 0, *, size: int | None = None) -> tuple:
    """The indices of an n by n matrix that ``mask_func(matrix, k)``, such as ``fnp.triu``, leaves nonzero."""
    return nonzero(mask_func(DeviceArray(np.ones((n, n))), k), size=size)


class _Grid:
    """``fnp.mgrid[0:3, 0:2]`` and ``fnp.ogrid``: the coordinates of a grid, dense or open."""

    def __init__(self, grid: Any):
        self._grid = grid

    def __getitem__(self, key: Any) -> Any:
        out = self._grid[key]
        return DeviceArray(out) if isinstance(out, np.ndarray) else tuple(map(DeviceArray, out))


mgrid, ogrid = _Grid(np.mgrid), _Grid(np.ogrid)
s_, index_exp = np.s_, np.index_exp
