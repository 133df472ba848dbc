"""The operations on shapes as ``jax.lax`` names them, for arrays and numbers; a number is an array without axes.

In: operands, sizes, axes. Out: arrays. ``structural`` holds the primitives, and stricter functions for the library's own use.

    >>> import funcgrad.numpy as fnp
    >>> reshape(fnp.array([[1., 2.], [3., 4.]]), (4,), dimensions=(1, 0))
    Array([1., 3., 2., 4.], dtype=float64)
"""
from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops import structural
from funcgrad.ops.promotion import broadcast_shape, promote_args, unary_arg

# ---------------------------------------------------------------- the index maps


def broadcast(operand: Any, sizes: Sequence[int]) -> Any:
    """operand with new leading axes of the sizes given."""
    operand, lead = unary_arg("broadcast", operand), tuple(sizes)
    return structural.broadcast_to(operand, lead + tuple(operand.shape))


def broadcast_in_dim(operand: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int]) -> Any:
    """operand repeated to ``shape``; its axis i becomes axis ``broadcast_dimensions[i]`` of the result."""
    return structural.broadcast_in_dim(unary_arg("broadcast_in_dim", operand), shape, broadcast_dimensions)


def broadcast_like(arr: Any, like_arr: Any) -> Any:
    """arr broadcast to the shape of ``like_arr``, by NumPy's rule."""
    arr, shape = unary_arg("broadcast_like", arr), tuple(unary_arg("broadcast_like", like_arr).shape)
    if broadcast_shape("broadcast_like", arr.shape, shape) != shape:
        raise ValueError(message("broadcast_like: the array has more than the shape", f"{describe(arr)} to {shape}"))
    return structural.broadcast_to(arr, shape)


def broadcast_to_rank(x: Any, rank: int) -> Any:
    """x with as many leading axes of size 1 as give it ``rank`` axes. Raises ValueError if it has more."""
    x = unary_arg("broadcast_to_rank", x)
    if len(x.shape) > rank:
        raise ValueError(message("broadcast_to_rank: the array has more axes", f"{describe(x)} to rank {rank}"))
    return structural.reshape(x, (1,) * (rank - len(x.shape)) + tuple(x.shape))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that the shapes given broadcast to. Raises ValueError if there is none."""
    return broadcast_shape("broadcast_shapes", *[tuple(s) for s in shapes]) if shapes else ()


def reshape(operand: Any, new_sizes: Sequence[int], dimensions: Sequence[int] | None = None) -> Any:
    """The elements of operand under another shape of the same size; ``dimensions`` is the order its axes are read in."""
    operand = unary_arg("reshape", operand)
    if dimensions is not None:
        operand = structural.transpose(operand, dimensions)
    return structural.reshape(operand, new_sizes)


def transpose(operand: Any, permutation: Sequence[int]) -> Any:
    """operand with its axes permuted: axis i of the result is axis ``permutation[i]`` of the operand."""
    return structural.transpose(unary_arg("transpose", operand), permutation)


def expand_dims(array: Any, dimensions: Sequence[int]) -> Any:
    """array with axes of size 1 at the positions given, counted in the result, from the end where negative."""
    array = unary_arg("expand_dims", array)
    return structural.expand_dims(array, _axes("expand_dims", dimensions, len(array.shape) + len(dimensions)))


def squeeze(array: Any, dimensions: Sequence[int]) -> Any:
    """array without the axes given. Raises ValueError unless their sizes are 1."""
    array = unary_arg("squeeze", array)
    dimensions = _axes("squeeze", dimensions, len(array.shape))
    if any(array.shape[i] != 1 for i in dimensions):
        raise ValueError(message("squeeze: only axes of size 1 can be dropped", f"axes {dimensions} of {describe(array)}"))
    return structural.squeeze(array, dimensions)


def rev(operand: Any, dimensions: Sequence[int]) -> Any:
    """operand with the order of its elements reversed along the axes given."""
    operand = unary_arg("rev", operand)
    return structural.rev(operand, _axes("rev", dimensions, len(operand.shape)))


def slice(operand: Any, start_indices: Sequence[int], limit_indices: Sequence[int],
          strides: Sequence[int] | None = None) -> Any:
    """The elements from start to limit (exclusive) in positive steps, along each axis."""
    return structural.slice(unary_arg("slice", operand), start_indices, limit_indices, strides)


def slice_in_dim(operand: Any, start_index: int | None, limit_index: int | None, stride: int = 1, axis: int = 0) -> Any:
    """``slice`` along one axis; negative indices count from its end, and None is its end."""
    operand = unary_arg("slice_in_dim", operand)
    axis, = _axes("slice_in_dim", (axis,), len(operand.shape))
    n = operand.shape[axis]
    start, limit = (end if i is None else operator.index(i) + n * (i < 0)
                    for i, end in ((start_index, 0), (limit_index, n)))
    return structural.slice_in_dim(operand, start, limit, stride, axis)


def pad(operand: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Any:
    """operand with (low, high, interior) padding per axis; negative low or high cuts off."""
    operand = unary_arg("pad", operand)
    if type(padding_value) in (int, float, complex, bool):
        padding_value = operand.dtype.type(padding_value)
    return structural.pad(operand, padding_value, padding_config)


def convert_element_type(operand: Any, new_dtype: Any, weak_type: bool = False) -> Any:
    """operand with another dtype. Complex to real keeps the real part; float to integer truncates."""
    return structural.convert_element_type(unary_arg("convert_element_type", operand), new_dtype, weak_type)


def select_n(which: Any, *cases: Any) -> Any:
    """The elements of the case that ``which`` names: a bool chooses among two cases, an integer among any number."""
    which, cases = unary_arg("select_n", which), tuple([unary_arg("select_n", x) for x in cases])
    if not cases:
        raise ValueError(message("select_n: nothing to select from", "no cases"))
    return cases[0] if len(cases) == 1 else structural.select_n(which, *cases)


# ---------------------------------------------------------------- makers


def iota(dtype: Any, size: int) -> Any:
    """0, 1, ... size - 1."""
    return structural.iota(dtype, (operator.index(size),))


def broadcasted_iota(dtype: Any, shape: Sequence[int], dimension: int) -> Any:
    """An array whose elements are their own index along one axis."""
    return structural.iota(dtype, shape, *_axes("broadcasted_iota", (dimension,), len(shape)))


def empty(shape: Sequence[int], dtype: Any) -> Any:
    """An array whose elements are not specified; here they are 0."""
    return structural.full(shape, 0, dtype)


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Sequence[int] | None = None) -> Any:
    """An array of one repeated scalar, with the shape and dtype of x unless others are given."""
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        x = unary_arg("full_like", x)
    return structural.full(x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)


# ---------------------------------------------------------------- joining and splitting


def stack(operands: Sequence[Any], axis: int = 0) -> Any:
    """Arrays of one shape joined along a new axis; their dtypes are promoted.

    >>> stack((1.0, 2.0))
    Array([1., 2.], dtype=float64, weak_type=True)
    """
    if not len(operands):
        raise ValueError(message("stack: nothing to join", "no operands"))
    shapes = {tuple(unary_arg("stack", x).shape) for x in operands}
    if len(shapes) > 1:
        raise ValueError(message("stack: the shapes differ", ", ".join(map(str, sorted(shapes))), "one shape"))
    operands = [unary_arg("stack", x) for x in promote_args("stack", operands)]
    axis, = _axes("stack", (axis,), len(operands[0].shape) + 1)
    return structural.concatenate([structural.expand_dims(x, (axis,)) for x in operands], axis)


def unstack(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """The slices of x along an axis, which they lack."""
    x = unary_arg("unstack", x)
    axis, = _axes("unstack", (axis,), len(x.shape))
    return tuple([structural.squeeze(structural.slice_in_dim(x, i, i + 1, axis=axis), (axis,)) for i in range(x.shape[axis])])


def tile(operand: Any, reps: Sequence[int]) -> Any:
    """operand repeated as a whole, ``reps[i]`` times along axis i."""
    operand = unary_arg("tile", operand)
    shape, reps = tuple(operand.shape), tuple(map(operator.index, reps))
    if len(reps) != len(shape) or any(n < 0 for n in reps):
        raise ValueError(message("tile: reps do not fit", f"{reps} for {describe(operand)}", "a count for each axis"))
    pairs = [n for pair in zip(reps, shape, strict=True) for n in pair]
    copies = structural.broadcast_in_dim(operand, pairs, range(1, 2 * len(shape), 2))
    return structural.reshape(copies, [n * size for n, size in zip(reps, shape, strict=True)])


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    """operand cut along an axis into parts of the sizes given. Raises ValueError unless they add up to its size."""
    operand = unary_arg("split", operand)
    axis, = _axes("split", (axis,), len(operand.shape))
    total = operand.shape[axis]
    if sum(sizes) != total:
        raise ValueError(message("split: the sizes do not add up", f"{tuple(sizes)} for axis {axis} of size {total}"))
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [structural.slice_in_dim(operand, a, b, axis=axis) for a, b in zip(ends, ends[1:], strict=False)]


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Any:
    """operand with the axes from start to stop (exclusive) merged into one."""
    operand = unary_arg("collapse", operand)
    shape = tuple(operand.shape)
    start, stop, _ = builtins.slice(start_dimension, stop_dimension).indices(len(shape))
    if stop < start:
        raise ValueError(message("collapse: the axes end before they start", f"{start_dimension} to {stop_dimension}"))
    return structural.reshape(operand, (*shape[:start], math.prod(shape[start:stop]), *shape[stop:]))


def _axes(name: str, dimensions: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Axes counted from the front. Raises ValueError for one that is out of range, or stands twice."""
    out = tuple([operator.index(i) + ndim * (i < 0) for i in dimensions])
    if any(not 0 <= i < ndim for i in out) or len(set(out)) < len(out):
        raise ValueError(message(f"{name}: the axes do not fit", f"{tuple(dimensions)} for {ndim} axes",
                                 "different axes within it"))
    return out
