"""Shapes rearranged: reshape, transpose, broadcast, join, split.

In: arrays, and sequences of arrays where NumPy takes them. Out: arrays. Which element goes where is known
while tracing.

    >>> import funcgrad.numpy as fnp
    >>> fnp.concatenate([fnp.zeros(2), fnp.ones(1)])
    Array([0., 0., 1.], dtype=float64)
"""
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, DeviceArray, describe
from funcgrad.core.stage import as_value
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.numpy.creation import broadcast
from funcgrad.ops import structural as s
from funcgrad.ops.promotion import broadcast_shape, result_type_of, to_array, unary_arg
from funcgrad.ops.reduction import as_axes, as_axis

# ---------------------------------------------------------------- one array: shape and order of axes


def reshape(a: Any, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    """The elements of a under another shape of the same size; one size may be -1, which is then computed.

    ``order`` "C" counts with the last axis fastest, "F" with the first. Raises TypeError when the sizes do not fit.
    """
    a = unary_arg("reshape", a)
    shape = _computed_size(a, s.as_shape(shape))
    if order == "C":
        return as_value(a) if a.shape == shape else s.reshape_p.bind(a, new_sizes=shape)[0]
    if order != "F":
        raise ValueError(message("reshape: an unknown order", repr(order), "'C' or 'F'"))
    ndim = len(a.shape)
    return s.transpose(s.reshape(s.transpose(a, range(ndim)[::-1]), shape[::-1]), range(len(shape))[::-1])


def _computed_size(a: Any, shape: Shape) -> Shape:
    if -1 not in shape:
        return shape
    rest = -math.prod(shape)
    if shape.count(-1) > 1 or rest <= 0 and a.size or rest and a.size % rest:
        raise TypeError(message("reshape: the size for -1 cannot be computed", f"{describe(a)} to shape {shape}",
                                "one -1, and other sizes that divide the number of elements"))
    return tuple([(a.size // rest if rest else 0) if n == -1 else n for n in shape])


def ravel(a: Any, order: str = "C") -> Any:
    """The elements of a as a vector."""
    a = unary_arg("ravel", a)
    if order == "K":
        raise NotImplementedError("ravel: order 'K' depends on memory, which arrays here do not show; use 'C' or 'F'")
    return reshape(a, (a.size,), "C" if order == "A" else order)


def transpose(a: Any, axes: Sequence[int] | None = None) -> Any:
    """a with its axes in another order: axis i of the result is axis ``axes[i]`` of a; reversed if None."""
    a = unary_arg("transpose", a)
    ndim = len(a.shape)
    if axes is None:
        return s.transpose(a, range(ndim)[::-1])
    order = tuple([as_axis("transpose", i, ndim) for i in axes])
    if sorted(order) != list(range(ndim)):
        raise ValueError(message("transpose: not a permutation of the axes", f"{tuple(axes)} for {describe(a)}",
                                 f"each of 0 ... {ndim - 1} once"))
    return s.transpose(a, order)


def permute_dims(a: Any, /, axes: Sequence[int]) -> Any:
    """``transpose`` under its name in the array API."""
    return transpose(a, axes)


def matrix_transpose(x: Any, /) -> Any:
    """x with its last two axes exchanged."""
    x = unary_arg("matrix_transpose", x)
    if len(x.shape) < 2:
        raise ValueError(message("matrix_transpose: a matrix is needed", describe(x), "at least two axes"))
    return swapaxes(x, -1, -2)


def swapaxes(a: Any, axis1: int, axis2: int) -> Any:
    """a with two axes exchanged."""
    a = unary_arg("swapaxes", a)
    ndim = len(a.shape)
    axis1, axis2 = as_axis("swapaxes", axis1, ndim), as_axis("swapaxes", axis2, ndim)
    order = list(range(ndim))
    order[axis1], order[axis2] = axis2, axis1
    return s.transpose(a, order)


def moveaxis(a: Any, source: Any, destination: Any) -> Any:
    """a with the axes ``source`` moved to the positions ``destination``; the others keep their order."""
    a = unary_arg("moveaxis", a)
    ndim = len(a.shape)
    sources, places = (tuple([as_axis("moveaxis", i, ndim) for i in ([x] if isinstance(x, int | np.integer) else x)])
                       for x in (source, destination))
    if len(sources) != len(places) or len({*sources}) < len(sources) or len({*places}) < len(places):
        raise ValueError(message("moveaxis: source and destination do not match", f"{source} to {destination}",
                                 "as many different positions as different axes"))
    order = [i for i in range(ndim) if i not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return s.transpose(a, order)


def rollaxis(a: Any, axis: int, start: int = 0) -> Any:
    """a with one axis moved before the axis ``start``."""
    a = unary_arg("rollaxis", a)
    ndim = len(a.shape)
    axis = as_axis("rollaxis", axis, ndim)
    start = start + ndim if start < 0 else start
    return s.moveaxis(a, axis, start - (axis < start))


def expand_dims(a: Any, axis: Any) -> Any:
    """a with axes of size 1 at the positions ``axis`` of the result."""
    a = unary_arg("expand_dims", a)
    places = [axis] if isinstance(axis, int | np.integer) else list(axis)
    ndim = len(a.shape) + len(places)
    positions = [as_axis("expand_dims", i, ndim) for i in places]
    if len(set(positions)) < len(positions):
        raise ValueError(message("expand_dims: an axis is named twice", str(axis), "different axes"))
    return s.expand_dims(a, positions)


def squeeze(a: Any, axis: Any = None) -> Any:
    """a without axes of size 1: all of them, or those named. Raises ValueError for an axis of another size."""
    a = unary_arg("squeeze", a)
    if axis is None:
        return s.reshape(a, [n for n in a.shape if n != 1])
    axes = as_axes("squeeze", axis, len(a.shape))
    if any(a.shape[i] != 1 for i in axes):
        raise ValueError(message("squeeze: an axis is not of size 1", f"{describe(a)} along {axis}", "size 1"))
    return s.squeeze(a, axes)


def atleast_1d(*arys: Any) -> Any:
    """Each argument with one axis or more; a list if there are several."""
    return _at_least("atleast_1d", 1, lambda x: (1,), arys)


def atleast_2d(*arys: Any) -> Any:
    """Each argument with two axes or more, vectors as rows; a list if there are several."""
    return _at_least("atleast_2d", 2, lambda x: (1, x.size), arys)


def atleast_3d(*arys: Any) -> Any:
    """Each argument with three axes or more; vectors lie along the middle one; a list if there are several."""
    return _at_least("atleast_3d", 3, lambda x: (*x.shape, 1) if len(x.shape) == 2 else (1, x.size, 1), arys)


def _at_least(name: str, ndim: int, shape: Callable, arrays: tuple) -> Any:
    out = [x if len(x.shape) >= ndim else s.reshape(x, shape(x)) for x in (unary_arg(name, x) for x in arrays)]
    return out[0] if len(out) == 1 else out


def broadcast_to(array: Any, shape: Any) -> Any:
    """An array repeated along axes of size 1 and new leading axes until it has the shape."""
    return broadcast(unary_arg("broadcast_to", array), s.as_shape(shape))


def broadcast_arrays(*args: Any) -> list[Any]:
    """The arguments broadcast to one shape."""
    arrays = [unary_arg("broadcast_arrays", x) for x in args]
    shape = broadcast_shape("broadcast_arrays", *[x.shape for x in arrays]) if arrays else ()
    return [s.broadcast_to(x, shape) for x in arrays]


def broadcast_shapes(*shapes: Any) -> Shape:
    """The shape to which arrays of these shapes broadcast."""
    return broadcast_shape("broadcast_shapes", *map(s.as_shape, shapes)) if shapes else ()


# ---------------------------------------------------------------- several arrays joined


def joined(name: str, arrays: Any, dtype: Any = None) -> list[Any]:
    """The arrays of a sequence, or along the first axis of one array, brought to one dtype."""
    if isinstance(arrays, Array | np.ndarray):
        if not arrays.shape:
            raise ValueError(message(f"{name}: a sequence of arrays is needed", describe(arrays), None,
                                     f"fnp.{name}([x])"))
        parts = list(to_array(arrays) if isinstance(arrays, Array) else DeviceArray(np.array(arrays)))
    else:
        if isinstance(arrays, str) or not hasattr(arrays, "__iter__") or hasattr(arrays, "shape"):
            raise TypeError(message(f"{name}: a sequence of arrays is needed", describe(arrays), None,
                                    f"fnp.{name}([x])"))
        parts = list(arrays)
    if not parts:
        raise ValueError(message(f"{name}: there is nothing to join", "an empty sequence", "at least one array"))
    wanted, weak = result_type_of(name, parts)
    if dtype is not None:
        wanted, weak = dtypes.as_dtype(dtype), False
    return [s.convert_element_type(to_array(x), wanted, weak_type=weak) for x in parts]


def concatenate(arrays: Any, axis: int | None = 0, dtype: Any = None) -> Any:
    """Arrays joined along an existing axis, or as vectors if axis is None."""
    parts = joined("concatenate", arrays, dtype)
    if axis is None:
        parts, axis = [ravel(x) for x in parts], 0
    if not parts[0].shape:
        raise ValueError(message("concatenate: arrays without axes cannot be joined", describe(parts[0]),
                                 "at least one axis", "fnp.stack, fnp.hstack"))
    return s.concatenate(parts, as_axis("concatenate", axis, len(parts[0].shape)))


def concat(arrays: Any, /, *, axis: int | None = 0) -> Any:
    """``concatenate`` under its name in the array API."""
    return concatenate(arrays, axis)


def stack(arrays: Any, axis: int = 0, out: None = None, dtype: Any = None) -> Any:
    """Arrays of one shape joined along a new axis."""
    parts = joined("stack", arrays, dtype)
    if len({x.shape for x in parts}) > 1:
        raise ValueError(message("stack: the arrays have different shapes", ", ".join(map(describe, parts)),
                                 "one shape"))
    axis = as_axis("stack", axis, len(parts[0].shape) + 1)
    return s.concatenate([s.expand_dims(x, (axis,)) for x in parts], axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple:
    """The slices of x along an axis, which disappears."""
    x = unary_arg("unstack", x)
    axis = as_axis("unstack", axis, len(x.shape))
    return tuple([s.squeeze(s.slice_in_dim(x, i, i + 1, axis=axis), (axis,)) for i in range(x.shape[axis])])


def vstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays joined along the first axis; vectors are rows."""
    return s.concatenate([atleast_2d(x) for x in joined("vstack", tup, dtype)], 0)


def hstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays joined along the second axis; vectors along their only one."""
    parts = [atleast_1d(x) for x in joined("hstack", tup, dtype)]
    return s.concatenate(parts, 0 if len(parts[0].shape) == 1 else 1)


def dstack(tup: Any, dtype: Any = None) -> Any:
    """Arrays joined along the third axis."""
    return s.concatenate([atleast_3d(x) for x in joined("dstack", tup, dtype)], 2)


def column_stack(tup: Any) -> Any:
    """Arrays joined along the second axis; vectors are columns."""
    parts = joined("column_stack", tup)
    return s.concatenate([x if len(x.shape) > 1 else s.reshape(x, (x.size, 1)) for x in parts], 1)


def block(arrays: Any) -> Any:
    """One array from nested lists of blocks: the innermost lists are joined along the last axis, and so outwards."""
    depth = _depth(arrays)
    leaves = _leaf_blocks(arrays, depth)
    dtype, weak = result_type_of("block", leaves)
    ndim = max(depth, *[len(to_array(x).shape) for x in leaves])

    def build(x: Any, level: int) -> Any:
        if level == depth:
            x = s.convert_element_type(to_array(x), dtype, weak_type=weak)
            return s.expand_dims(x, range(ndim - len(x.shape)))
        return s.concatenate([build(v, level + 1) for v in x], ndim - depth + level)

    return build(arrays, 0)


def _depth(x: Any) -> int:
    if not isinstance(x, list):
        return 0
    depths = {_depth(v) for v in x}
    if len(depths) != 1:
        raise ValueError(message("block: the lists are empty or nested to different depths", describe(x),
                                 "one depth everywhere"))
    return 1 + depths.pop()


def _leaf_blocks(x: Any, depth: int) -> list[Any]:
    return [x] if depth == 0 else [leaf for v in x for leaf in _leaf_blocks(v, depth - 1)]


def append(arr: Any, values: Any, axis: int | None = None) -> Any:
    """The values after those of arr along an axis; both flat if axis is None."""
    return concatenate([arr, values], axis)


# ---------------------------------------------------------------- one array split


def split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """The parts of ary between the positions given, or a number of equal parts, or a ValueError if there are none."""
    return _split("split", ary, indices_or_sections, axis)


def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """As ``split``, but the parts need not be equal: the first ones are longer by one."""
    return _split("array_split", ary, indices_or_sections, axis)


def _split(name: str, x: Any, where: Any, axis: int) -> list[Any]:
    x = unary_arg(name, x)
    axis = as_axis(name, axis, len(x.shape))
    n = x.shape[axis]
    if isinstance(where, (list, tuple)) or getattr(where, "shape", ()):
        bounds = [0, *[min(max(i + n if i < 0 else i, 0), n) for i in map(operator.index, where)], n]
    else:
        count = operator.index(where)
        if count <= 0 or name != "array_split" and n % count:
            raise ValueError(message(f"{name}: no equal parts", f"{describe(x)} along axis {axis} in {count} parts",
                                     "a number of parts that divides the size", "fnp.array_split"))
        bounds = [i * (n // count) + min(i, n % count) for i in range(count + 1)]
    return [s.slice_in_dim(x, a, max(a, b), axis=axis) for a, b in zip(bounds, bounds[1:], strict=False)]


def vsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """``split`` along the first axis."""
    return _split("vsplit", ary, indices_or_sections, 0)


def hsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """``split`` along the second axis, or the only one."""
    return _split("hsplit", ary, indices_or_sections, 0 if len(unary_arg("hsplit", ary).shape) == 1 else 1)


def dsplit(ary: Any, indices_or_sections: Any) -> list[Any]:
    """``split`` along the third axis."""
    return _split("dsplit", ary, indices_or_sections, 2)
