"""Windows of fixed size at a place computed by the program: dynamic_slice and dynamic_update_slice.

The general gather and scatter are in ``scatter.py``; their names can be imported from here too.

In: an operand and one integer scalar for each of its axes. The start is moved so that the window fits. Linear in the
arrays; each is the transpose of the other. Examples with starts of their own become gather and scatter.

    { lambda ; a:f64[5] b:i64[]. let c:f64[2] = dynamic_slice[slice_sizes=(2,) wrap=True] a b in (c,) }
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, aval_of, describe
from funcgrad.core.primitive import PIECEWISE_LINEAR, Kind, Linear, Native, Primitive, no_flops
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import add, lt, remainder
from funcgrad.ops.index_maps import GatherDimensionNumbers, GatherScatterMode, ScatterDimensionNumbers
from funcgrad.ops.promotion import promote, unary_arg
from funcgrad.ops.scatter import (
    gather,
    gather_batch,
    scatter,
    scatter_add,
    scatter_apply,
    scatter_batch,
    scatter_max,
    scatter_min,
    scatter_mul,
    scatter_p,
    scatter_sub,
)
from funcgrad.ops.structural import (
    as_shape,
    broadcast_in_dim,
    concatenate,
    convert_element_type,
    expand_dims,
    full,
    instantiate,
    moveaxis,
    reshape,
    select_n,
    slice_in_dim,
    squeeze,
    zeros,
)

__all__ = [
    "GatherDimensionNumbers", "GatherScatterMode", "ScatterDimensionNumbers", "dynamic_index_in_dim", "dynamic_slice",
    "dynamic_slice_in_dim", "dynamic_update_index_in_dim", "dynamic_update_slice", "dynamic_update_slice_in_dim",
    "gather",
    "index_in_dim", "index_take", "scatter", "scatter_add", "scatter_apply", "scatter_max", "scatter_min",
    "scatter_mul",
    "scatter_sub",
]

# ---------------------------------------------------------------- user functions


def dynamic_slice(operand: Any, start_indices: Any, slice_sizes: Sequence[int], *,
                  allow_negative_indices: bool | Sequence[bool] = True) -> Any:
    """The window of ``operand`` of shape ``slice_sizes`` that begins at ``start_indices``.

    ``start_indices`` is a sequence of integer scalars, or an integer array of one axis, with an entry for each axis
    of the operand. A negative entry counts from the end; then the window is moved inside if it does not fit.

    >>> dynamic_slice(fnp.arange(5.), (4,), (2,))
    Array([3., 4.], dtype=float64)
    """
    x, sizes = unary_arg("dynamic_slice", operand), as_shape(slice_sizes)
    starts, wrap = _starts("dynamic_slice", start_indices, x.shape, sizes, allow_negative_indices)
    return dynamic_slice_p.bind(x, *starts, slice_sizes=sizes, wrap=wrap)[0]


def dynamic_update_slice(operand: Any, update: Any, start_indices: Any, *,
                         allow_negative_indices: bool | Sequence[bool] = True) -> Any:
    """``operand`` with the window at ``start_indices`` replaced by ``update``; clamped as ``dynamic_slice``."""
    x, update = unary_arg("dynamic_update_slice", operand), unary_arg("dynamic_update_slice", update)
    starts, wrap = _starts("dynamic_update_slice", start_indices, x.shape, update.shape, allow_negative_indices)
    dynamic_update_slice_shape(aval_of(x), aval_of(update), *map(aval_of, starts), wrap=wrap)
    return dynamic_update_slice_p.bind(x, update, *starts, wrap=wrap)[0]


def _starts(name: str, starts: Any, shape: Shape, sizes: Shape, negative: Any) -> tuple[list[Any], tuple[bool, ...]]:
    """One start for each axis, and whether it may be negative. Python integers are clamped and become literals."""
    if isinstance(starts, Array | np.ndarray) and len(starts.shape) == 1:
        starts = [reshape(slice_in_dim(unary_arg(name, starts), i, i + 1), ()) for i in range(starts.shape[0])]
    try:
        starts = list(starts)
    except TypeError:
        raise TypeError(message(f"{name}: start_indices is not a sequence", describe(starts),
                                "one integer for each axis",
                                "(start,)")) from None
    negative = tuple(negative) if isinstance(negative, Sequence) else (bool(negative),) * len(shape)
    if not len(starts) == len(sizes) == len(shape) or any(s > n for s, n in zip(sizes, shape, strict=True)):
        raise TypeError(message(f"{name}: the window does not fit",
                                f"starts for {len(starts)} axes and sizes {sizes} for an "
                                f"operand of shape {shape}",
                                "a start and a size for each axis, no size above the axis's"))
    out, wrap = [], []
    for start, n, size, may in zip(starts, shape, sizes, negative, strict=True):
        if isinstance(start, Array | np.ndarray):
            if start.shape or dtypes.kind(start.dtype) not in "iu":
                raise TypeError(message(f"{name}: a start index must be an integer without axes", describe(start)))
            out.append(start)
        else:
            i = operator.index(start)
            out.append(np.int64(min(max(i + n if i < 0 and may else i, 0), n - size)))
        wrap.append(may and dtypes.kind(out[-1].dtype) == "i" and not isinstance(out[-1], np.generic))
    return out, tuple(wrap)


def dynamic_slice_in_dim(operand: Any, start_index: Any, slice_size: int, axis: int = 0, *,
                         allow_negative_indices: bool = True) -> Any:
    """``dynamic_slice`` along one axis."""
    axis = checked_axis("dynamic_slice_in_dim", axis, operand)
    sizes = list(operand.shape)
    sizes[axis] = operator.index(slice_size)
    return dynamic_slice(operand, _at_axis(operand, start_index, axis), sizes, allow_negative_indices=allow_negative_indices)


def dynamic_index_in_dim(operand: Any, index: Any, axis: int = 0, keepdims: bool = True, *,
                         allow_negative_indices: bool = True) -> Any:
    """``dynamic_slice`` of size 1 along one axis, which is kept with size 1 or dropped."""
    out = dynamic_slice_in_dim(operand, index, 1, axis, allow_negative_indices=allow_negative_indices)
    return out if keepdims else squeeze(out, (checked_axis("dynamic_index_in_dim", axis, operand),))


def dynamic_update_slice_in_dim(operand: Any, update: Any, start_index: Any, axis: int, *,
                                allow_negative_indices: bool = True) -> Any:
    """``dynamic_update_slice`` along one axis."""
    axis = checked_axis("dynamic_update_slice_in_dim", axis, operand)
    return dynamic_update_slice(operand, update, _at_axis(operand, start_index, axis),
                                allow_negative_indices=allow_negative_indices)


def dynamic_update_index_in_dim(operand: Any, update: Any, index: Any, axis: int, *,
                                allow_negative_indices: bool = True) -> Any:
    """``dynamic_update_slice`` of size 1 along one axis, which the update may lack."""
    axis = checked_axis("dynamic_update_index_in_dim", axis, operand)
    update = unary_arg("dynamic_update_index_in_dim", update)
    if len(update.shape) != len(operand.shape):
        update = expand_dims(update, (axis,))
    return dynamic_update_slice_in_dim(operand, update, index, axis, allow_negative_indices=allow_negative_indices)


def index_in_dim(operand: Any, index: int, axis: int = 0, keepdims: bool = True) -> Any:
    """The slice of size 1 at a static index of one axis. Raises IndexError out of bounds."""
    axis, i = checked_axis("index_in_dim", axis, operand), operator.index(index)
    n = operand.shape[axis]
    if not -n <= i < n:
        raise IndexError(message(f"index_in_dim: index {i} is out of bounds for axis {axis} with size {n}"))
    out = slice_in_dim(unary_arg("index_in_dim", operand), i % n, i % n + 1, axis=axis)
    return out if keepdims else squeeze(out, (axis,))


def index_take(src: Any, idxs: Sequence[Any], axes: Sequence[int]) -> Any:
    """The slices of src at the positions ``idxs[k][j]`` of its axes ``axes[k]``, for each j along the first axis.

    The indices are integer arrays of one axis and one length; they are taken modulo the sizes of their axes.
    """
    src, axes = unary_arg("index_take", src), as_shape(axes)
    columns = [reshape(remainder(unary_arg("index_take", i), src.shape[d]), (i.shape[0], 1))
               for i, d in zip(idxs, axes, strict=True)]
    dn = GatherDimensionNumbers(tuple(range(1, len(src.shape) - len(axes) + 1)), tuple(sorted(axes)), axes)
    sizes = [1 if d in axes else n for d, n in enumerate(src.shape)]
    return gather(src, concatenate(columns, 1), dn, sizes, mode="promise_in_bounds")


def checked_axis(name: str, axis: int, x: Any) -> int:
    """A nonnegative axis of x. Raises ValueError when it has no such axis."""
    d = operator.index(axis)
    if not -len(x.shape) <= d < len(x.shape):
        raise ValueError(message(f"{name}: axis {d} is out of range", describe(x)))
    return d % len(x.shape)


def _at_axis(x: Any, start: Any, axis: int) -> list[Any]:
    starts: list[Any] = [0] * len(x.shape)
    starts[axis] = start
    return starts


# ---------------------------------------------------------------- rules


def window(shape: Shape, starts: Sequence[Any], sizes: Shape, wrap: tuple[bool, ...]) -> tuple[slice, ...]:
    """The slices of a clamped window."""
    out = []
    for n, start, size, may in zip(shape, starts, sizes, wrap, strict=True):
        i = int(start)
        i = min(max(i + n if may and i < 0 else i, 0), n - size)
        out.append(slice(i, i + size))
    return tuple(out)


def _check(name: str, x: ShapedArray, sizes: Shape, starts: tuple[ShapedArray, ...]) -> None:
    if not len(sizes) == len(starts) == x.ndim or any(not 0 <= s <= n for s, n in zip(sizes, x.shape, strict=True)) \
            or any(a.shape or dtypes.kind(a.dtype) not in "iu" for a in starts):
        raise TypeError(message(f"{name}: the window does not fit", f"{x}, window {sizes}, starts "
                                f"{', '.join(map(str, starts))}",
                                "an integer scalar for each axis and sizes within it"))


def dynamic_slice_shape(x: ShapedArray, *starts: ShapedArray, slice_sizes: Shape, wrap: tuple) -> ShapedArray:
    _check("dynamic_slice", x, slice_sizes, starts)
    return shaped_array(slice_sizes, x.dtype)


def dynamic_slice_impl(xp: Any, x: Any, *starts: Any, slice_sizes: Shape, wrap: tuple) -> Any:
    return x[window(x.shape, starts, slice_sizes, wrap)]


def dynamic_slice_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    return dynamic_slice_p.bind(*primals, **params), dynamic_slice_p.bind(tangents[0], *primals[1:], **params)


def dynamic_slice_transpose(cotangents: tuple, x: Any, *starts: Any, slice_sizes: Shape, wrap: tuple) -> tuple:
    return dynamic_update_slice_p.bind(zeros(x.aval), cotangents[0], *starts, wrap=wrap)[0], *[None] * len(starts)


def _index_vectors(axis: Any, shape: Shape, starts: Sequence[Any], axes: Sequence[Any],
                   wrap: tuple[bool, ...]) -> Any:
    """The starts of all examples as an array [batch, axes]."""
    columns = []
    for n, start, d, may in zip(shape, starts, axes, wrap, strict=True):
        if isinstance(start, np.generic):
            start = full((), start)
        start = convert_element_type(start, "int64")
        if may:
            start = select_n(lt(*promote("lt", start, 0)), start, add(*promote("add", start, n)))
        columns.append(reshape(start, (axis.size, 1)) if d is not None else broadcast_in_dim(start, (axis.size, 1),
                                                                                             ()))
    return concatenate(columns, 1)


def dynamic_slice_batch(axis: Any, args: tuple, axes: tuple, *, slice_sizes: Shape, wrap: tuple) -> tuple:
    x, *starts = args
    if all(d is None for d in axes[1:]):
        out = dynamic_slice_p.bind(moveaxis(x, axes[0], 0), np.int64(0), *starts,
                                   slice_sizes=(axis.size, *slice_sizes),
                                   wrap=(False, *wrap))
        return out, (0,)
    ndim = len(slice_sizes)
    shape = x.shape if axes[0] is None else x.shape[:axes[0]] + x.shape[axes[0] + 1:]
    indices = _index_vectors(axis, shape, starts, axes[1:], wrap)
    every = tuple(range(ndim))
    return gather_batch(axis, (x, indices), (axes[0], 0), dimension_numbers=GatherDimensionNumbers(every, (), every),
                        slice_sizes=slice_sizes, mode="clip", fill_value=None, unique_indices=True)


dynamic_slice_p = Primitive("dynamic_slice", Kind.OPAQUE, dynamic_slice_shape, dynamic_slice_impl, dynamic_slice_jvp,
                            dynamic_slice_transpose, dynamic_slice_batch, PIECEWISE_LINEAR,
                            code=Native("dynamic_slice"), flops=no_flops)


def dynamic_update_slice_shape(x: ShapedArray, update: ShapedArray, *starts: ShapedArray, wrap: tuple) -> ShapedArray:
    _check("dynamic_update_slice", x, update.shape, starts)
    if x.dtype != update.dtype:
        raise TypeError(message("dynamic_update_slice: operand and update differ in dtype", f"{x} and {update}",
                                "one dtype"))
    return x


def dynamic_update_slice_impl(xp: Any, x: Any, update: Any, *starts: Any, wrap: tuple) -> Any:
    out = xp.array(x, order="C")
    out[window(x.shape, starts, update.shape, wrap)] = update
    return out


def dynamic_update_slice_jvp(primals: tuple, tangents: tuple, *, wrap: tuple) -> tuple:
    x_dot, update_dot = [instantiate(t) for t in tangents[:2]]
    return (dynamic_update_slice_p.bind(*primals, wrap=wrap),
            dynamic_update_slice_p.bind(x_dot, update_dot, *primals[2:], wrap=wrap))


def dynamic_update_slice_transpose(cotangents: tuple, x: Any, update: Any, *starts: Any, wrap: tuple) -> tuple:
    ct, = cotangents
    shape = update.aval.shape if isinstance(update, Linear) else update.shape
    ct_x = ct_update = None
    if isinstance(x, Linear):
        ct_x, = dynamic_update_slice_p.bind(ct, full(shape, 0, ct.dtype), *starts, wrap=wrap)
    if isinstance(update, Linear):
        ct_update, = dynamic_slice_p.bind(ct, *starts, slice_sizes=shape, wrap=wrap)
    return ct_x, ct_update, *[None] * len(starts)


def dynamic_update_slice_batch(axis: Any, args: tuple, axes: tuple, *, wrap: tuple) -> tuple:
    x, update, *starts = args
    if all(d is None for d in axes[2:]):
        x, update = [broadcast_in_dim(y, (axis.size, *y.shape), range(1, len(y.shape) + 1)) if d is None
                     else moveaxis(y, d, 0) for y, d in zip((x, update), axes[:2], strict=True)]
        return dynamic_update_slice_p.bind(x, update, np.int64(0), *starts, wrap=(False, *wrap)), (0,)
    shape = x.shape if axes[0] is None else x.shape[:axes[0]] + x.shape[axes[0] + 1:]
    every = tuple(range(len(shape)))
    indices = _index_vectors(axis, shape, starts, axes[2:], wrap)
    return _update_windows(axis, (x, indices, update), (axes[0], 0, axes[1]), mode="clip", unique_indices=True,
                           dimension_numbers=ScatterDimensionNumbers(every, (), every))


_update_windows = scatter_batch(lambda: scatter_p)

dynamic_update_slice_p = Primitive(
    "dynamic_update_slice", Kind.OPAQUE, dynamic_update_slice_shape, dynamic_update_slice_impl,
    dynamic_update_slice_jvp,
    dynamic_update_slice_transpose, dynamic_update_slice_batch, PIECEWISE_LINEAR,
    code=Native("dynamic_update_slice", filled=True), flops=no_flops)
