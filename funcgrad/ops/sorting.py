"""Sorting: sort by one or several keys, the largest elements, search, and reading along an axis at given positions.

In: arrays of one shape. Out: the same elements in another order. NaNs come last, -0.0 equals 0.0, and equal elements
keep their order. A tangent goes where its element goes: sort carries the positions along, and ``take_along`` applies
them to the tangents; its transpose ``add_along`` brings cotangents back.

    { lambda ; a:f64[5]. let b:f64[5] = sort[dimension=0 num_keys=1] a in (b,) }
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.primitive import (
    LINEAR,
    NOT_LINEAR,
    PIECEWISE_CONSTANT,
    PIECEWISE_LINEAR,
    Kind,
    Linear,
    Native,
    Primitive,
    no_flops,
)
from funcgrad.core.types import ShapedArray, Zero, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import neg
from funcgrad.ops.gpu_updates import added_at
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import as_axis
from funcgrad.ops.structural import broadcast_in_dim, iota, moveaxis, rev

# ---------------------------------------------------------------- user functions


def sort(operand: Any, dimension: int = -1, is_stable: bool = True, num_keys: int = 1) -> Any:
    """The elements in increasing order along an axis; equal elements keep their order.

    Args:
      operand: an array, or a sequence of arrays of one shape, which are all permuted alike.
      dimension: the axis along which to sort.
      is_stable: accepted for compatibility; the order of equal elements is always kept.
      num_keys: of several operands, how many of the first decide: the first, then at its ties the second, and so on.

    Returns an array, or a tuple if a sequence was given.

    >>> sort((fnp.array([2, 1, 2]), fnp.array([9., 8., 7.])), num_keys=2)
    (Array([1, 2, 2], dtype=int64), Array([8., 7., 9.], dtype=float64))
    """
    several = isinstance(operand, (tuple, list))
    operands = [unary_arg("sort", x) for x in (operand if several else (operand,))]
    shapes = {x.shape for x in operands}
    if len(shapes) != 1:
        raise TypeError(message("sort: the operands must have one shape", ", ".join(map(describe, operands))))
    if not 1 <= num_keys <= len(operands):
        raise ValueError(message("sort: num_keys does not fit", f"num_keys={num_keys} for {len(operands)} operands",
                                 f"a number from 1 to {len(operands)}"))
    axis = as_axis("sort", dimension, len(operands[0].shape))
    out = sort_p.bind(*operands, dimension=axis, num_keys=operator.index(num_keys))
    return out if several else out[0]


def sort_key_val(keys: Any, values: Any, dimension: int = -1, is_stable: bool = True) -> tuple[Any, Any]:
    """The keys in increasing order, and the values permuted in the same way."""
    return sort((keys, values), dimension, is_stable)


def argsort(operand: Any, dimension: int = -1, descending: bool = False, index_dtype: Any = np.int64) -> Any:
    """The positions that sort the operand along an axis. Equal elements keep their order, also when descending."""
    x = unary_arg("argsort", operand)
    axis = as_axis("argsort", dimension, len(x.shape))
    positions = iota(index_dtype, x.shape, axis)
    if not descending:
        return sort_p.bind(x, positions, dimension=axis, num_keys=1)[1]
    # Sorted upwards from the far end and read backwards, equal elements stand in their first order again.
    return rev(sort_p.bind(rev(x, (axis,)), rev(positions, (axis,)), dimension=axis, num_keys=1)[1], (axis,))


def top_k(operand: Any, k: int, *, axis: int = -1) -> tuple[Any, Any]:
    """The k largest elements along an axis in decreasing order, and their positions (int32).

    NaN counts as largest; of equal elements the first come first. Differentiable in the values.

    >>> top_k(fnp.array([3., 1., 4.]), 2)
    (Array([4., 3.], dtype=float64), Array([2, 0], dtype=int32))
    """
    x = unary_arg("top_k", operand)
    k, d, last = operator.index(k), as_axis("top_k", axis, len(x.shape)), len(x.shape) - 1
    if x.dtype.kind == "c":
        raise TypeError(message("top_k: complex numbers have no order", describe(x), "a real array", "abs(x)"))
    if not 0 <= k <= x.shape[d]:
        raise ValueError(message("top_k: k is out of range", f"k={k} for {describe(x)} along axis {d}",
                                 f"a number from 0 to {x.shape[d]}"))
    values, positions = top_k_p.bind(moveaxis(x, d, last), k=k)
    return moveaxis(values, last, d), moveaxis(positions, last, d)


def approx_max_k(operand: Any, k: int, reduction_dimension: int = -1, recall_target: float = 0.95,
                 reduction_input_size_override: int = -1, aggregate_to_topk: bool = True) -> tuple[Any, Any]:
    """The k largest elements along an axis and their positions: ``top_k``, which is exact.

    The options that trade accuracy for speed on accelerators change nothing here.
    """
    return top_k(operand, k, axis=reduction_dimension)


def approx_min_k(operand: Any, k: int, reduction_dimension: int = -1, recall_target: float = 0.95,
                 reduction_input_size_override: int = -1, aggregate_to_topk: bool = True) -> tuple[Any, Any]:
    """The k smallest elements along an axis in increasing order, and their positions; exact, as ``approx_max_k``."""
    values, positions = top_k(neg(operand), k, axis=reduction_dimension)
    return neg(values), positions


def take_along(x: Any, indices: Any, axis: int, unique: bool = False) -> Any:
    """The elements of x at integer positions along an axis; the other sizes of x and indices are equal.

    Positions are not negative and in range. ``unique`` says that no position occurs twice in a line.
    """
    return take_along_p.bind(x, indices, axis=axis, unique=unique)[0]


def searchsorted(table: Any, x: Any, side: str, dtype: Any) -> Any:
    """For each element of x, where it would be inserted into a sorted vector of the same dtype."""
    return searchsorted_p.bind(table, x, side=side, batch_dims=0, dtype=np.dtype(dtype))[0]


# ---------------------------------------------------------------- along an axis


def take_along_shape(x: ShapedArray, indices: ShapedArray, *, axis: int, unique: bool) -> ShapedArray:
    expected = x.shape[:axis] + indices.shape[axis:axis + 1] + x.shape[axis + 1:]
    if indices.shape != expected or indices.dtype.kind not in "iu":
        raise TypeError(f"take_along takes integer indices of the shape of the array but for axis {axis}, "
                        f"not {indices} for {x}")
    return shaped_array(expected, x.dtype)


def add_along_shape(x: ShapedArray, indices: ShapedArray, *, axis: int, size: int, unique: bool) -> ShapedArray:
    if indices.shape != x.shape or indices.dtype.kind not in "iu":
        raise TypeError(f"add_along takes integer indices of the shape of the array, not {indices} for {x}")
    return shaped_array(x.shape[:axis] + (size,) + x.shape[axis + 1:], x.dtype)


def add_along_impl(xp: Any, x: Any, indices: Any, *, axis: int, size: int, unique: bool) -> Any:
    """Zeros, with each element of x added at its position."""
    shape = x.shape[:axis] + (size,) + x.shape[axis + 1:]
    out = xp.zeros(shape, x.dtype)
    if unique:
        xp.put_along_axis(out, indices, x, axis)
        return out
    grid = [xp.reshape(xp.arange(n), (1,) * i + (n,) + (1,) * (x.ndim - i - 1)) for i, n in enumerate(x.shape)]
    grid[axis] = indices
    xp.add.at(out, tuple(grid), x)
    return out


def add_along_on_gpu(xp: Any, x: Any, indices: Any, *, axis: int, size: int, unique: bool) -> Any:
    x, indices = xp.moveaxis(x, axis, -1), xp.moveaxis(indices, axis, -1)
    lines = x.size // max(x.shape[-1], 1)
    out = xp.zeros((*x.shape[:-1], size), x.dtype)
    if x.size:
        where = xp.arange(lines)[:, None] * size + indices.reshape(lines, -1)
        out = added_at(xp, out.reshape(-1), where.reshape(-1), x.reshape(-1)).reshape(out.shape)
    return xp.moveaxis(out, -1, axis)


def _along_batch(primitive: Any) -> Any:
    def batch(mapped: Any, args: tuple, axes: tuple, *, axis: int, **params: Any) -> tuple:
        x, indices = (broadcast_in_dim(v, (mapped.size, *v.shape), range(1, len(v.shape) + 1)) if d is None
                      else moveaxis(v, d, 0) for v, d in zip(args, axes, strict=True))
        return primitive().bind(x, indices, axis=axis + 1, **params), (0,)

    return batch


def take_along_transpose(cotangents: tuple, x: Any, indices: Any, *, axis: int, unique: bool) -> tuple:
    assert isinstance(x, Linear)
    return (*add_along_p.bind(*cotangents, indices, axis=axis, size=x.aval.shape[axis], unique=unique), None)


def add_along_transpose(cotangents: tuple, x: Any, indices: Any, *, axis: int, size: int, unique: bool) -> tuple:
    return (*take_along_p.bind(*cotangents, indices, axis=axis, unique=unique), None)


take_along_p = Primitive(
    "take_along", Kind.OPAQUE, take_along_shape,
    lambda xp, x, indices, axis, unique: xp.take_along_axis(x, indices, axis), LINEAR,
    take_along_transpose, _along_batch(lambda: take_along_p), code=Native("take_along"), flops=no_flops)
add_along_p = Primitive("add_along", Kind.OPAQUE, add_along_shape, add_along_impl, LINEAR, add_along_transpose,
                        _along_batch(lambda: add_along_p), code=Native("add_along"), cuda=add_along_on_gpu)

# ---------------------------------------------------------------- sort


def sort_shape(*avals: ShapedArray, dimension: int, num_keys: int) -> tuple:
    if len({a.shape for a in avals}) != 1:
        raise TypeError(f"sort takes arrays of one shape, not {', '.join(map(str, avals))}")
    return avals


def _comparable(x: Any) -> Any:
    """The extension dtypes as float32, whose order NumPy knows."""
    return x.astype(np.float32) if x.dtype.kind == "V" else x


def _sorted(xp: Any, x: Any, axis: int) -> Any:
    """The stable order; NumPy's other one is many times faster, and differs only where zeros have signs."""
    alike = x.dtype.kind in "iu" and x.dtype.itemsize > 1 or \
        x.dtype.kind == "f" and not ((x == 0) & xp.signbit(x)).any()
    return xp.sort(x, axis=axis, kind=None if alike else "stable")


def stable_argsort(xp: Any, x: Any, axis: int) -> Any:
    """The positions that sort x, as ``argsort(kind="stable")`` gives them, by sorts that need not be stable."""
    x, n = _comparable(x), x.shape[axis]
    if x.dtype.kind not in "iuf" or x.dtype.itemsize == 1 or n >= 1 << 31:
        return xp.argsort(x, axis=axis, kind="stable")
    x = xp.moveaxis(x, axis, -1)
    if x.dtype.kind == "f" and x.dtype.itemsize <= 4:
        x = _ordered_bits(xp, x)
    if x.dtype.itemsize == 2:
        order = xp.argsort(x, axis=-1, kind="stable")  # by digits
    elif x.dtype.itemsize == 4:
        order = _pairs_sorted(xp, x, xp.arange(n))
    else:
        order = xp.argsort(x, axis=-1)
        y = xp.take_along_axis(x, order, -1)
        same = (y[..., 1:] == y[..., :-1]) | ((y[..., 1:] != y[..., 1:]) & (y[..., :-1] != y[..., :-1]))
        if same.any():
            rank = xp.zeros(x.shape, np.int64)
            xp.cumsum(~same, axis=-1, out=rank[..., 1:])
            order = _pairs_sorted(xp, rank, order)
    return xp.moveaxis(order, -1, axis)


def _ordered_bits(xp: Any, x: Any) -> Any:
    """Integers in the order of floats: equal for zeros, and for all NaNs the largest."""
    integer = np.dtype(f"int{8 * x.dtype.itemsize}")
    largest = integer.type(np.iinfo(integer).max)
    bits = (x + x.dtype.type(0)).view(integer)  # the sum of -0.0 and 0.0 is 0.0
    bits ^= (bits >> integer.type(8 * x.dtype.itemsize - 1)) & largest
    bits[xp.isnan(x)] = largest
    return bits


def _pairs_sorted(xp: Any, x: Any, positions: Any) -> Any:
    """Positions below 2**31, sorted along the last axis by integers of 32 bits, then by themselves."""
    wide = np.dtype(np.uint64 if x.dtype.kind == "u" else np.int64)
    pairs = x.astype(wide) << wide.type(32) | positions.astype(wide)
    pairs.sort(axis=-1)
    return (pairs & wide.type(0xFFFFFFFF)).astype(np.int64)


def sort_impl(xp: Any, *operands: Any, dimension: int, num_keys: int) -> tuple:
    if len(operands) == 1:
        x, = operands
        return (_sorted(xp, _comparable(x), dimension).astype(x.dtype, copy=False),)
    keys = [_comparable(x) for x in operands[:num_keys]]
    if num_keys == 1:
        order = stable_argsort(xp, keys[0], dimension)
    else:
        order = xp.lexsort(keys[::-1], axis=dimension)
    return tuple([xp.take_along_axis(x, order, dimension) for x in operands])


def argsort_on_gpu(xp: Any, x: Any, axis: int) -> Any:
    """CuPy's argsort is stable."""
    if not x.size:
        return xp.zeros(x.shape, np.int64)
    return xp.argsort(_nan_last(xp, x), axis=axis, kind="stable")


def _nan_last(xp: Any, x: Any) -> Any:
    """CuPy sorts arrays of one axis by their bits: a NaN with a sign, as processors make it of 0 / 0, would come first."""
    x = _comparable(x)
    return xp.where(x != x, x.dtype.type(np.nan), x) if x.dtype.kind == "f" and x.ndim == 1 else x


def sort_on_gpu(xp: Any, *operands: Any, dimension: int, num_keys: int) -> tuple:
    """By several keys: a stable sort by each, from the last to the first."""
    if len(operands) == 1:
        x, = operands
        return (xp.sort(_nan_last(xp, x), axis=dimension, kind="stable").astype(x.dtype, copy=False) if x.size else x,)
    order = argsort_on_gpu(xp, operands[num_keys - 1], dimension)
    for key in operands[num_keys - 2::-1] if num_keys > 1 else ():
        again = argsort_on_gpu(xp, xp.take_along_axis(key, order, dimension), dimension)
        order = xp.take_along_axis(order, again, dimension)
    return tuple([xp.take_along_axis(x, order, dimension) for x in operands])


def sort_jvp(primals: tuple, tangents: tuple, *, dimension: int, num_keys: int) -> tuple:
    positions = iota(np.int64, primals[0].shape, dimension)
    *outs, order = sort_p.bind(*primals, positions, dimension=dimension, num_keys=num_keys)
    dots = [t if type(t) is Zero else take_along(t, order, dimension, unique=True) for t in tangents]
    return tuple(outs), tuple(dots)


def sort_batch(axis: Any, args: tuple, axes: tuple, *, dimension: int, num_keys: int) -> tuple:
    moved = [broadcast_in_dim(x, (axis.size, *x.shape), range(1, len(x.shape) + 1)) if d is None
             else moveaxis(x, d, 0) for x, d in zip(args, axes, strict=True)]
    return sort_p.bind(*moved, dimension=dimension + 1, num_keys=num_keys), (0,) * len(args)


sort_p = Primitive("sort", Kind.OPAQUE, sort_shape, sort_impl, sort_jvp, NOT_LINEAR, sort_batch, PIECEWISE_LINEAR,
                   code=Native("sort"), cuda=sort_on_gpu)

# ---------------------------------------------------------------- top_k


def top_k_shape(x: ShapedArray, *, k: int) -> tuple:
    shape = (*x.shape[:-1], k)
    return shaped_array(shape, x.dtype), shaped_array(shape, np.dtype("int32"))


def top_k_impl(xp: Any, x: Any, *, k: int) -> tuple:
    n = x.shape[-1]
    argsort = stable_argsort if xp is np else argsort_on_gpu
    # The stable order of the reversed line, read from its end: of equal elements the first come first.
    order = n - 1 - xp.flip(argsort(xp, xp.flip(x, -1), -1), -1)[..., :k]
    return xp.take_along_axis(x, order, -1), order.astype(np.int32)


def top_k_jvp(primals: tuple, tangents: tuple, *, k: int) -> tuple:
    values, positions = top_k_p.bind(*primals, k=k)
    dot = take_along(tangents[0], positions, len(values.shape) - 1, unique=True)
    return (values, positions), (dot, Zero(shaped_array(positions.shape, dtypes.float0)))


def top_k_batch(axis: Any, args: tuple, axes: tuple, *, k: int) -> tuple:
    return top_k_p.bind(moveaxis(args[0], axes[0], 0), k=k), (0, 0)


top_k_p = Primitive("top_k", Kind.OPAQUE, top_k_shape, top_k_impl, top_k_jvp, NOT_LINEAR, top_k_batch,
                    PIECEWISE_LINEAR, code=Native("top_k"),
                    strong=True)

# ---------------------------------------------------------------- searchsorted


def searchsorted_shape(table: ShapedArray, x: ShapedArray, *, side: str, batch_dims: int, dtype: Any) -> ShapedArray:
    if table.ndim != batch_dims + 1 or x.shape[:batch_dims] != table.shape[:-1] or x.dtype != table.dtype:
        raise TypeError(f"searchsorted takes a sorted vector and an array of its dtype, not {table} and {x}")
    return shaped_array(x.shape, dtype)


def searchsorted_impl(xp: Any, table: Any, x: Any, *, side: str, batch_dims: int, dtype: Any) -> Any:
    table, x = _comparable(table), _comparable(x)
    if not batch_dims:
        return xp.searchsorted(table, x, side).astype(dtype)
    out = xp.empty(x.shape, dtype)
    for i in np.ndindex(*table.shape[:-1]):
        out[i] = xp.searchsorted(table[i], x[i], side)
    return out


def searchsorted_batch(axis: Any, args: tuple, axes: tuple, *, side: str, batch_dims: int, dtype: Any) -> tuple:
    (table, x), (d_table, d_x) = args, axes
    if d_table is None and not batch_dims:
        return searchsorted_p.bind(table, x, side=side, batch_dims=0, dtype=dtype), (d_x,)
    table, x = (broadcast_in_dim(v, (axis.size, *v.shape), range(1, len(v.shape) + 1)) if d is None
                else moveaxis(v, d, 0) for v, d in ((table, d_table), (x, d_x)))
    return searchsorted_p.bind(table, x, side=side, batch_dims=batch_dims + 1, dtype=dtype), (0,)


searchsorted_p = Primitive("searchsorted", Kind.OPAQUE, searchsorted_shape, searchsorted_impl, PIECEWISE_CONSTANT,
                           NOT_LINEAR, searchsorted_batch, code=Native("searchsorted"), strong=True)
