"""``x[index]`` and ``x.at[index]``: slices where the index is static, one gather or scatter where it is not.

In: an array and any index that NumPy takes. Out: the elements, or a new array with other elements there.

    >>> import funcgrad.numpy as fnp
    >>> x = fnp.arange(12.).reshape(3, 4)
    >>> x[1:, fnp.array([0, 2])]
    Array([[ 4.,  6.],
           [ 8., 10.]], dtype=float64)
    >>> x.at[0, 1:].add(100.)[0]
    Array([  0., 101., 102., 103.], dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, DeviceArray, aval_of, describe
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import Tracer, plainly
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.numpy.index_parsing import (
    Parts,
    checked_mode,
    index_vectors,
    is_mask,
    parse,
    without_scalar_masks,
)
from funcgrad.ops import elementwise as e
from funcgrad.ops.index_maps import GatherDimensionNumbers, ScatterDimensionNumbers
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.scatter import gather_p, scatter_add_p, scatter_max_p, scatter_min_p, scatter_mul_p, scatter_p
from funcgrad.ops.structural import broadcast_to, convert_element_type, full, reshape, rev, select_n
from funcgrad.ops.structural import slice as lax_slice


def getitem(x: Any, index: Any, *, mode: Any = None, fill_value: Any = None, indices_are_sorted: bool = False,
            unique_indices: bool = False, wrap_negative_indices: bool = True) -> Any:
    """The elements of x at an index, by NumPy's rules.

    Args:
      x: an array.
      index: integers, slices, None, ``...``, integer arrays, boolean masks, or a tuple of them. Slices are static;
        masks must have values when the function is traced, for the shape of the result depends on them.
      mode: what happens out of bounds. None raises IndexError; "clip", "fill", "wrap" and "promise_in_bounds" are
        JAX's.
      fill_value: what "fill" reads; by default NaN, or the extreme integer.
      indices_are_sorted, unique_indices: promises; the second makes the derivative faster.
      wrap_negative_indices: False takes negative traced indices to be out of bounds (not in the default mode).

    Raises IndexError for an index out of bounds or too many indices, TypeError for an index that is none.
    """
    if type(x) is DeviceArray and mode is None and not plainly.on():
        kind = type(index)
        key = index if kind is int or kind is slice else raw_index(index)
        if key is not None:
            try:
                return DeviceArray(x._data[key], x._weak)
            except (IndexError, TypeError):
                pass  # what is wrong with it is said below
    x, index, _ = without_scalar_masks(x, index)
    mode = checked_mode(mode)
    parts = parse(x.shape, index, mode)
    y, axes, new_shape = _basic_part(x, parts)
    if not parts.arrays:
        return reshape(y, new_shape)
    of_arrays = [entry.axis for entry in parts.arrays]
    vectors, gather_mode = index_vectors([entry.index for entry in parts.arrays], [x.shape[d] for d in of_arrays],
                                         of_arrays, parts.broadcast, mode, wrap_negative_indices)
    count = len(y.shape) - len(axes)
    window = [i if i < parts.slices_before else i + len(parts.broadcast) for i in range(count)]
    dn = GatherDimensionNumbers(tuple(window), axes, axes)
    sizes = tuple([min(1, n) if d in axes else n for d, n in enumerate(y.shape)])
    fill = np.asarray(fill_value).item() if gather_mode == "fill" and fill_value is not None else None
    out, = gather_p.bind(y, vectors, dimension_numbers=dn, slice_sizes=sizes, mode=gather_mode, fill_value=fill,
                         unique_indices=bool(unique_indices))
    return reshape(out, new_shape)


def raw_index(index: Any) -> Any:
    """The index with buffers instead of arrays if NumPy can take it at once, or None."""
    if type(index) is tuple:
        parts = [_raw_part(part) for part in index]
        return None if any(part is _SLOW for part in parts) else tuple(parts)
    part = _raw_part(index)
    return None if part is _SLOW else (part,)


_SLOW = object()
_AS_THEY_ARE = frozenset((int, slice, type(None), EllipsisType, np.int64, np.int32))


def _raw_part(part: Any) -> Any:
    kind = type(part)
    if kind in _AS_THEY_ARE:
        return part
    data = part._data if kind is DeviceArray else part if kind is np.ndarray else None
    if data is None or data.dtype.kind not in "iub" or data.shape == () and data.dtype.kind == "b" \
            or data.dtype.kind == "u" and data.dtype.itemsize == 8:  # NumPy takes the largest of these as negative
        return _SLOW
    return data


# ---------------------------------------------------------------- the parts of a result


def _basic_part(x: Any, parts: Parts) -> tuple[Any, tuple[int, ...], Shape]:
    """Slices and static integers applied: the array, its axes that index arrays address, and the final shape."""
    starts, limits, strides, reverse = [], [], [], []
    shape, axes = [], []
    for entry in parts.entries:
        if entry.kind == "new":
            continue
        if entry.kind == "slice":
            step = abs(entry.step)
            low = entry.start if entry.step > 0 else entry.start - (entry.size - 1) * step
            starts.append(low if entry.size else 0)
            limits.append(low + (entry.size - 1) * step + 1 if entry.size else 0)
            strides.append(step)
            if entry.step < 0 and entry.size > 1:
                reverse.append(entry.axis)
            shape.append(entry.size)
        elif entry.kind == "int":
            starts.append(entry.start)
            limits.append(entry.start + 1)
            strides.append(1)
        else:
            n = x.shape[entry.axis]
            starts.append(0)
            limits.append(n)
            strides.append(1)
            axes.append(len(shape))
            shape.append(n)
    y = rev(lax_slice(x, starts, limits, strides), reverse)
    return reshape(y, shape) if axes else y, tuple(axes), parts.shape


# ---------------------------------------------------------------- x.at[index]


class At:
    """``x.at``: index it to say where, then call a method to say what."""

    __slots__ = ("array",)

    def __init__(self, array: Any):
        self.array = array

    def __getitem__(self, index: Any) -> AtIndex:
        return AtIndex(self.array, index)

    def __repr__(self) -> str:
        return f"At({self.array!r})"


_OPTIONS = """

        mode: None raises IndexError out of bounds; "drop" (or "fill") leaves such updates out; "clip", "wrap",
        "promise_in_bounds" as for reading. unique_indices: a promise that makes updates and derivatives faster.
        wrap_negative_indices: whether negative traced indices count from the end. Updates are applied in order.
        """


class AtIndex:
    """``x.at[index]``. Each method returns a new array; x stays what it is."""

    __slots__ = ("array", "index")

    def __init__(self, array: Any, index: Any):
        self.array, self.index = array, index

    def get(self, *, mode: Any = None, fill_value: Any = None, indices_are_sorted: bool = False,
            unique_indices: bool = False, wrap_negative_indices: bool = True) -> Any:
        """``x[index]``, with a choice of what happens out of bounds."""
        return getitem(self.array, self.index, mode=mode, fill_value=fill_value, unique_indices=unique_indices,
                       wrap_negative_indices=wrap_negative_indices)

    def set(self, values: Any, **options: Any) -> Any:
        """x with ``x[index] = values``; where an element is written twice, the last one stays."""
        return update("set", self.array, self.index, values, **options)

    def add(self, values: Any, **options: Any) -> Any:
        """x with ``values`` added at the index; where an element is named twice, both are added."""
        return update("add", self.array, self.index, values, **options)

    def subtract(self, values: Any, **options: Any) -> Any:
        """x with ``values`` subtracted at the index."""
        return update("subtract", self.array, self.index, values, **options)

    def multiply(self, values: Any, **options: Any) -> Any:
        """x with ``values`` multiplied in at the index. Differentiable in the values if no element is named twice."""
        return update("multiply", self.array, self.index, values, **options)

    mul = multiply

    def divide(self, values: Any, **options: Any) -> Any:
        """x divided by ``values`` at the index; the whole result has the dtype of a division."""
        return e.true_divide(self.array, update("multiply", _ones_like(self.array), self.index, values, **options))

    def power(self, values: Any, **options: Any) -> Any:
        """x raised to the power ``values`` at the index."""
        return e.power(self.array, update("multiply", _ones_like(self.array), self.index, values, **options))

    def min(self, values: Any, **options: Any) -> Any:
        """The lesser of x and ``values`` at the index."""
        return update("min", self.array, self.index, values, **options)

    def max(self, values: Any, **options: Any) -> Any:
        """The greater of x and ``values`` at the index."""
        return update("max", self.array, self.index, values, **options)

    def apply(self, func: Callable, **options: Any) -> Any:
        """x with ``func`` applied, once, to each element at the index."""
        reading = {name: options[name] for name in ("mode", "wrap_negative_indices") if name in options}
        return self.set(func(self.get(**reading)), **options)


for _name in ("set", "add", "subtract", "multiply", "divide", "power", "min", "max", "apply"):
    getattr(AtIndex, _name).__doc__ += _OPTIONS


def _ones_like(x: Any) -> Any:
    return full(x.shape, 1, x.dtype)


_PRIMITIVES: dict[str, Primitive] = {"set": scatter_p, "add": scatter_add_p, "subtract": scatter_add_p,
                                     "multiply": scatter_mul_p, "min": scatter_min_p, "max": scatter_max_p}
_ON_WHOLE: dict[str, Callable] = {"set": lambda x, v: v, "add": e.add, "subtract": e.subtract, "multiply": e.multiply,
                                  "min": e.min, "max": e.max}


def update(what: str, x: Any, index: Any, values: Any, *, mode: Any = None, fill_value: Any = None,
           indices_are_sorted: bool = False, unique_indices: bool = False, wrap_negative_indices: bool = True) -> Any:
    """x with the elements at an index updated: ``what`` is "set", "add", "subtract", "multiply", "min" or "max".

    Raises IndexError as ``x[index]`` does, ValueError when the values do not broadcast to the elements, TypeError
    when their dtype does not fit that of x.
    """
    if mode is None and type(x) is DeviceArray and not plainly.on():
        out = _update_at_once(what, x, index, values)
        if out is not None:
            return out
    values = _converted(values, x, what)
    mask = _traced_mask(index)
    if mask is not None and not values.shape and mask.shape == x.shape[:len(mask.shape)]:
        mask = broadcast_to(reshape(mask, (*mask.shape, *[1] * (len(x.shape) - len(mask.shape)))), x.shape)
        return select_n(mask, x, _ON_WHOLE[what](x, broadcast_to(values, x.shape)))
    original = x.shape
    x, index, _ = without_scalar_masks(x, index)
    mode = checked_mode(mode)
    parts = parse(x.shape, index, mode)
    values = reshape(_broadcast_values(values, parts.shape, what), parts.plain_shape)
    vectors, dn, mode, unique = _targets(x, parts, mode, wrap_negative_indices)
    if not (unique or unique_indices) and isinstance(values, Tracer):
        unique = _no_duplicates(vectors)
    out, = _PRIMITIVES[what].bind(x, vectors, e.neg(values) if what == "subtract" else values, dimension_numbers=dn,
                                  mode=mode, unique_indices=unique or bool(unique_indices))
    return reshape(out, original)


def _update_at_once(what: str, x: DeviceArray, index: Any, values: Any) -> Any:
    """The new array if everything has values and NumPy's assignment has one meaning, else None."""
    key = index if type(index) in (int, slice) else raw_index(index)
    if type(values) is DeviceArray:
        values = values._data
    kind = type(values)
    data = x._data
    if key is None or kind not in (float, int, bool) and not isinstance(values, np.ndarray | np.generic) \
            or not _fits(np.dtype(kind) if kind in (float, int, bool) else values.dtype, data.dtype):
        return None
    arrays = [part for part in key if type(part) is np.ndarray] if type(key) is tuple else []
    if arrays and (len(key) > 1 or not arrays[0].flags.c_contiguous):
        return None  # NumPy may visit them in another order
    out = np.array(data, order="C")
    try:
        values = data.dtype.type(values) if kind in (float, int, bool) else values.astype(data.dtype, copy=False)
        if what == "set":
            out[key] = values
        elif not arrays or arrays[0].dtype.kind == "b":
            out[key] = _UFUNCS[what](out[key], values)
        elif out.ndim == 1:
            _UFUNCS[what].at(out, key, values)
        else:
            return None  # the general way is faster
    except (IndexError, ValueError, TypeError, OverflowError):
        return None  # what is wrong with it is said by the general way
    return DeviceArray(out if out.shape else out[()])


_UFUNCS = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "min": np.minimum, "max": np.maximum}
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}


def _fits(values: np.dtype, array: np.dtype) -> bool:
    return _RANK[dtypes.kind(values)] <= _RANK[dtypes.kind(array)]


def _converted(values: Any, x: Any, what: str) -> Any:
    """The values in the dtype of x. Raises TypeError when they are of a higher kind (float into int ...)."""
    aval = aval_of(values) if not isinstance(values, list | tuple) else None
    if aval is None:
        raise TypeError(message(f"x.at[index].{what}: the values are a {type(values).__name__}", describe(values),
                                "an array or a number", "fnp.array(...) around them"))
    if not _fits(aval.dtype, x.dtype):
        ours, theirs = x.dtype.name, aval.dtype.name
        common = dtypes.join((aval.dtype, False), (x.dtype, False))[0].name
        raise TypeError(message(f"x.at[index].{what}: {theirs} values do not fit into an array of {ours}",
                                f"values {aval} for x of type {describe(x)}",
                                f"values that convert to {ours} without "
                                "loss", f"x.astype({common}), or values.astype({ours})"))
    if what == "subtract" and x.dtype.kind == "b":
        raise TypeError(message("x.at[index].subtract: bools cannot be subtracted", describe(x)))
    if isinstance(values, Array | np.ndarray):
        return convert_element_type(unary_arg("at", values), x.dtype)
    return DeviceArray(x.dtype.type(values))


def _traced_mask(index: Any) -> Any:
    """The index if it is one traced boolean mask, else None."""
    if type(index) is tuple and len(index) == 1:
        index = index[0]
    traced = isinstance(index, Tracer) and is_mask(index) and index.concrete() is None
    return index if traced and index.shape else None


def _broadcast_values(values: Any, shape: Shape, what: str) -> Any:
    given = values.shape
    extra = len(given) - len(shape)
    if extra > 0 and all(n == 1 for n in given[:extra]):
        values = reshape(values, given[extra:])
    lead = len(shape) - len(values.shape)
    if lead < 0 or any(n not in (1, m) for n, m in zip(values.shape, shape[lead:], strict=True)):
        raise ValueError(message(f"x.at[index].{what}: the values do not broadcast to the elements at the index",
                                 f"values of shape {given} for elements of shape {shape}"))
    return broadcast_to(values, shape)


def _targets(x: Any, parts: Parts, mode: str, wrap_negative: bool) -> tuple[Any, ScatterDimensionNumbers, str, bool]:
    """Index vectors, dimension numbers and mode of the scatter that writes at an index, and whether it is unique.

    Slices with step 1 are the window; arrays, and slices with other steps, make the batch of index vectors. The
    updates have the shape ``parts.plain_shape``.
    """
    ndim = len(parts.broadcast)
    first = parts.slices_before
    slices = [entry for entry in parts.entries if entry.kind == "slice"]
    place = {entry.axis: i if i < first else i + ndim for i, entry in enumerate(slices)}  # in the updates
    stepped = [entry for entry in slices if entry.step != 1]
    batch = sorted([*range(first, first + ndim), *[place[entry.axis] for entry in stepped]])
    sizes = [parts.plain_shape[i] for i in batch]
    columns, inserted, addressed = [], [], []
    for entry in parts.entries:
        if entry.kind == "new":
            continue
        if entry.kind == "slice" and entry.step == 1:
            if entry.size == x.shape[entry.axis]:
                continue
            column = np.asarray(entry.start if entry.size else 0)
        else:
            inserted.append(entry.axis)
            if entry.kind == "int":
                column = np.asarray(entry.start)
            elif entry.kind == "slice":
                column = _spread(entry.start + entry.step * np.arange(entry.size), batch, [place[entry.axis]])
            else:
                column = _spread(entry.index, batch, range(first + ndim - len(entry.index.shape), first + ndim))
        columns.append(column)
        addressed.append(entry.axis)
    window = [place[entry.axis] for entry in slices if entry.step == 1]
    dn = ScatterDimensionNumbers(tuple(window), tuple(inserted), tuple(addressed))
    if not columns:
        return DeviceArray(np.zeros((*sizes, 0), np.int64)), dn, "promise_in_bounds", True
    vectors, mode = index_vectors(columns, [x.shape[d] for d in addressed], addressed, tuple(sizes), mode,
                                  wrap_negative)
    return vectors, dn, mode, not parts.broadcast


def _spread(index: Any, batch: list[int], places: Any) -> Any:
    """An index array with its axes at these places of the batch, and axes of size 1 elsewhere."""
    sizes = dict(zip(places, index.shape, strict=True))
    shape = tuple([sizes.get(i, 1) for i in batch])
    return index.reshape(shape) if isinstance(index, np.ndarray) else reshape(index, shape)


def _no_duplicates(vectors: Any) -> bool:
    """Whether index vectors with values name each window once; static slices are the same in all of them."""
    if not isinstance(vectors, DeviceArray):
        return False
    flat = np.asarray(vectors).reshape(-1, vectors.shape[-1])
    return len(np.unique(flat, axis=0)) == len(flat)


INDEXING: dict[str, Any] = {"__getitem__": getitem,
                            "at": property(At, doc="x.at[index].set(values), .add, .get ...: see AtIndex.")}
"""What ``Array`` gets from here; ``funcgrad.numpy`` installs it."""
