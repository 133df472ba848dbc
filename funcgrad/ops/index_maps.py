"""What gather and scatter address: dimension numbers, modes, index grids, and the NumPy that reads and writes there.

In: an operand, an array of start indices whose last axis holds one index vector, and the sizes of the window that is
read or written at each. Out: buffers. There are no rules here; ``scatter.py`` declares the primitives.

    x f64[5,4], indices i64[3,1], GatherDimensionNumbers((1,), (0,), (0,)), slice_sizes (1, 4)  ->  rows, f64[3,4]

Modes: "clip" moves a window inside; "fill" reads a constant and drops writes for a window that is not inside;
"promise_in_bounds" does not look; "raise" is NumPy's rule: a negative index counts from the end, any other index
outside raises IndexError.
"""
from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from funcgrad import dtypes
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.structural import inverse_permutation


class GatherDimensionNumbers(NamedTuple):
    """Which axis means what in ``gather``.

    Attributes:
      offset_dims: the axes of the result that run over the window, in order.
      collapsed_slice_dims: the axes of the operand that are left out of the window; the window has size 1 there.
      start_index_map: for each component of an index vector, the axis of the operand that it addresses.
      operand_batching_dims, start_indices_batching_dims: axes of operand and indices that run together, pair by pair.
    """

    offset_dims: Shape
    collapsed_slice_dims: Shape
    start_index_map: Shape
    operand_batching_dims: Shape = ()
    start_indices_batching_dims: Shape = ()


class ScatterDimensionNumbers(NamedTuple):
    """Which axis means what in ``scatter``, the opposite of ``gather``: the updates stand where its result would.

    Attributes:
      update_window_dims: the axes of the updates that run over the window, in order.
      inserted_window_dims: the axes of the operand that the window lacks; its size there is 1.
      scatter_dims_to_operand_dims: for each component of an index vector, the axis of the operand that it addresses.
      operand_batching_dims, scatter_indices_batching_dims: axes of operand and indices that run together, in pairs.
    """

    update_window_dims: Shape
    inserted_window_dims: Shape
    scatter_dims_to_operand_dims: Shape
    operand_batching_dims: Shape = ()
    scatter_indices_batching_dims: Shape = ()


class GatherScatterMode(enum.Enum):
    """What happens at indices out of bounds; ``RAISE`` is the default of indexing, the others are JAX's."""

    CLIP = "clip"
    FILL_OR_DROP = "fill"
    PROMISE_IN_BOUNDS = "promise_in_bounds"
    RAISE = "raise"

    @staticmethod
    def from_any(mode: Any) -> GatherScatterMode:
        """The mode of this name; None is FILL_OR_DROP as in JAX. Raises ValueError for an unknown one."""
        if isinstance(mode, GatherScatterMode):
            return mode
        if mode is None or mode == "drop":
            return GatherScatterMode.FILL_OR_DROP
        try:
            return GatherScatterMode(mode)
        except ValueError:
            raise ValueError(message("indexing: unknown mode", repr(mode),
                                     '"clip", "fill", "drop", "promise_in_bounds" '
                                     'or "raise"')) from None


def as_gather(dn: ScatterDimensionNumbers) -> GatherDimensionNumbers:
    """The gather that reads what a scatter writes."""
    return GatherDimensionNumbers(*dn)


def as_scatter(dn: GatherDimensionNumbers) -> ScatterDimensionNumbers:
    """The scatter that writes what a gather reads."""
    return ScatterDimensionNumbers(*dn)


def window_dims(ndim: int, dn: GatherDimensionNumbers) -> list[int]:
    """The axes of the operand that are axes of the window."""
    return [d for d in range(ndim) if d not in dn.collapsed_slice_dims and d not in dn.operand_batching_dims]


def window_sizes(operand: Any, updates: Any, dn: ScatterDimensionNumbers) -> Shape:
    """The size of a scatter's window on each axis of the operand."""
    sizes = [min(1, n) for n in operand.shape]
    for d, u in zip(window_dims(len(operand.shape), as_gather(dn)), dn.update_window_dims, strict=True):
        sizes[d] = updates.shape[u]
    return tuple(sizes)


# ---------------------------------------------------------------- shapes


def gather_shape(x: ShapedArray, indices: ShapedArray, *, dimension_numbers: GatherDimensionNumbers,
                 slice_sizes: Shape,
                 **_: Any) -> ShapedArray:
    check_index_map("gather", x, indices, dimension_numbers, slice_sizes)
    return shaped_array(gathered_shape(x.shape, indices.shape, dimension_numbers, slice_sizes), x.dtype)


def gathered_shape(shape: Shape, indices: Shape, dn: GatherDimensionNumbers, sizes: Shape) -> Shape:
    """The shape of a gather's result: the window at ``offset_dims``, the batch of index vectors on the other axes."""
    batch, window = iter(indices[:-1]), iter([sizes[d] for d in window_dims(len(shape), dn)])
    ndim = len(indices) - 1 + len(dn.offset_dims)
    return tuple([next(window) if i in dn.offset_dims else next(batch) for i in range(ndim)])


def scatter_shape(x: ShapedArray, indices: ShapedArray, updates: ShapedArray, *,
                  dimension_numbers: ScatterDimensionNumbers, **_: Any) -> ShapedArray:
    dn = as_gather(dimension_numbers)
    if updates.dtype != x.dtype:
        raise TypeError(message("scatter: operand and updates differ in dtype", f"{x} and {updates}", "one dtype"))
    if len(dn.offset_dims) != len(window_dims(x.ndim, dn)) or any(not 0 <= u < updates.ndim for u in dn.offset_dims):
        raise TypeError(message("scatter: the dimension numbers do not fit",
                                f"{dimension_numbers} for {x} and updates "
                                f"{updates}", "one axis of the updates for each axis of the window"))
    sizes = window_sizes(x, updates, dimension_numbers)
    check_index_map("scatter", x, indices, dn, sizes)
    if gathered_shape(x.shape, indices.shape, dn, sizes) != updates.shape:
        raise TypeError(message("scatter: the updates do not fit", f"updates {updates} for indices {indices}",
                                f"shape {gathered_shape(x.shape, indices.shape, dn, sizes)}"))
    return x


def check_index_map(name: str, x: ShapedArray, indices: ShapedArray, dn: GatherDimensionNumbers,
                    sizes: Shape) -> None:
    """Raises TypeError unless operand, indices, dimension numbers and window fit together."""
    dropped = (*dn.collapsed_slice_dims, *dn.operand_batching_dims)
    ndim_out = indices.ndim - 1 + len(dn.offset_dims)
    paired = zip(dn.operand_batching_dims, dn.start_indices_batching_dims, strict=False)
    problem = (
        "indices must be integers" if dtypes.kind(indices.dtype) not in "iu" else
        "indices need a last axis that holds the index vector" if indices.ndim == 0 else
        "the index vector must have one component for each axis addressed"
        if indices.shape[-1] != len(dn.start_index_map) else
        "the axes addressed must be different axes of the operand" if not _distinct(dn.start_index_map, x.ndim) else
        "the axes left out of the window must be different axes of the operand" if not _distinct(dropped, x.ndim) else
        "a batching axis cannot be addressed" if set(dn.operand_batching_dims) & set(dn.start_index_map) else
        "the window's axes in the result must be sorted and in range"
        if not _distinct(dn.offset_dims, ndim_out) or list(dn.offset_dims) != sorted(dn.offset_dims) else
        "every axis of the operand must be in the window or left out" if len(sizes) != x.ndim
        or len(dn.offset_dims) + len(dropped) != x.ndim else
        "the window must fit into the operand, with size 1 on axes left out"
        if any(not 0 <= s <= n for s,
               n in zip(sizes, x.shape, strict=True)) or any(sizes[d] > 1 for d in dropped) else
        "batching axes must come in pairs of one size"
        if len(dn.operand_batching_dims) != len(dn.start_indices_batching_dims)
        or not _distinct(dn.start_indices_batching_dims, indices.ndim - 1)
        or any(x.shape[a] != indices.shape[b] for a, b in paired) else None)
    if problem:
        raise TypeError(message(f"{name}: {problem}", f"operand {x}, indices {indices}, window {sizes}, {dn}"))


def _distinct(axes: Sequence[int], ndim: int) -> bool:
    return len(set(axes)) == len(axes) and all(0 <= a < ndim for a in axes)


# ---------------------------------------------------------------- where the windows start


def starts_of(xp: Any, shape: Shape, indices: Any, dn: GatherDimensionNumbers, sizes: Shape,
              mode: str) -> tuple[dict[int, Any], Any]:
    """The start of each window along each axis that needs one, and which windows are inside (None: all of them)."""
    indices = signed(xp, indices)
    starts: dict[int, Any] = {}
    inside = None
    for j, d in enumerate(dn.start_index_map):
        start, last = indices[..., j], shape[d] - max(sizes[d], d in dn.collapsed_slice_dims)
        if mode == "raise":
            start = wrapped_or_raise(xp, start, d, shape[d], last)
        elif mode == "clip":
            start = xp.clip(start, 0, max(last, 0))
        elif mode == "fill":
            ok = (start >= 0) & (start <= last)
            inside = ok if inside is None else inside & ok
        starts[d] = start
    if inside is not None:
        if inside.all():
            inside = None
        else:
            starts = {d: xp.where(inside, s, 0) for d, s in starts.items()}
    for d in dn.start_index_map:
        if shape[d] == sizes[d]:
            starts.pop(d, None)  # a window as large as the axis starts at 0
    for d, i in zip(dn.operand_batching_dims, dn.start_indices_batching_dims, strict=True):
        n = shape[d]
        starts[d] = xp.arange(n).reshape([n if a == i else 1 for a in range(indices.ndim - 1)])
    return starts, inside


def signed(xp: Any, indices: Any) -> Any:
    """Indices as int64; unsigned ones too large for it stay too large for any axis."""
    if indices.dtype.kind == "u" and indices.dtype.itemsize == 8:
        indices = xp.minimum(indices, np.uint64(2**63 - 1))
    return xp.asarray(indices).astype(np.int64, copy=False)


def wrapped_or_raise(xp: Any, start: Any, axis: int, size: int, last: int | None = None) -> Any:
    """Indices by NumPy's rule: negative ones count from the end. Raises IndexError for those out of bounds."""
    last = size - 1 if last is None else last
    if not start.size:
        return start
    if int(start.min()) < 0:
        wrapped = xp.where(start < 0, start + size, start)
    else:
        wrapped = start
    bad = (wrapped < 0) | (wrapped > last)
    if bad.any():
        raise out_of_bounds(int(start[bad].reshape(-1)[0]), axis, size)
    return wrapped


def out_of_bounds(index: int, axis: int, size: int) -> IndexError:
    """The error for an index outside of an axis."""
    return IndexError(message(
        f"indexing: index {index} is out of bounds for axis {axis} with size {size}", None,
        f"{-size} <= index < {size}" if size else "no index: the axis is empty",
        'x.at[index].get(mode="clip" or "fill"), or .set(..., mode="drop"), where such indices are meant'))


# ---------------------------------------------------------------- reading


def gather_impl(xp: Any, x: Any, indices: Any, *, dimension_numbers: GatherDimensionNumbers, slice_sizes: Shape,
                mode: str,
                fill_value: Any, unique_indices: bool) -> Any:
    dn, sizes, x = dimension_numbers, slice_sizes, xp.asarray(x)
    shape = gathered_shape(x.shape, indices.shape, dn, sizes)
    starts, inside = starts_of(xp, x.shape, indices, dn, sizes, mode)
    if not math.prod(shape):
        return xp.empty(shape, x.dtype)
    if not x.size:
        return filled_from_empty(xp, x, indices, shape, dn, mode, fill_value)
    x = x[tuple([slice(None) if d in starts else slice(0, n) for d, n in enumerate(sizes)])]
    if math.prod(indices.shape[:-1]) == 1:
        at = {d: int(s.reshape(())) for d, s in starts.items()}
        out = x[tuple([slice(at[d], at[d] + n) if d in at else slice(None) for d,
                       n in enumerate(sizes)])].reshape(shape)
    else:
        out = read(xp, x, indices.shape[:-1], starts, dn, sizes)
    if inside is None:
        return out
    inside = inside.reshape([1 if i in dn.offset_dims else n for i, n in enumerate(shape)])
    return xp.where(inside, out, fill_of(xp, x.dtype, fill_value)).astype(x.dtype, copy=False)


def filled_from_empty(xp: Any, x: Any, indices: Any, shape: Shape, dn: GatherDimensionNumbers, mode: str,
                      fill_value: Any) -> Any:
    """What is read from an axis of size 0: the fill value. Raises IndexError in the modes that have none."""
    if mode == "fill":
        return xp.full(shape, fill_of(xp, x.dtype, fill_value))
    empty = next(j for j, d in enumerate(dn.start_index_map) if not x.shape[d])
    raise out_of_bounds(int(indices[..., empty].flat[0]), dn.start_index_map[empty], 0)


def fill_of(xp: Any, dtype: np.dtype, fill_value: Any) -> Any:
    """The fill value as a buffer without axes."""
    return xp.asarray(default_fill(dtype) if fill_value is None else fill_value, dtype)


def read(xp: Any, x: Any, batch: Shape, starts: dict[int, Any], dn: GatherDimensionNumbers, sizes: Shape) -> Any:
    """The windows of x, each axis where the result has it; on axes without a start they are whole, or of size 1."""
    grid, inner = index_grid(xp, batch, starts, dn, sizes)
    rest = [d for d in window_dims(x.ndim, dn) if d not in starts]
    kept = [d for d in range(x.ndim) if d in starts or d in rest]
    x = x.reshape([x.shape[d] for d in kept])
    if not grid:
        out = xp.broadcast_to(x, (*batch, *x.shape))
    elif len(grid) == 1:
        place, count = kept.index(min(starts)), grid[0].ndim
        out = xp.take(x, grid[0], axis=place)
        if place:
            out = out.transpose([*range(place, place + count), *range(place), *range(place + count, out.ndim)])
    else:
        out = x.transpose([kept.index(d) for d in (*sorted(starts), *rest)])[tuple(grid)]
    order = axes_of_result(len(batch), inner + rest, len(sizes), dn)
    return out if order == list(range(len(order))) else out.transpose(inverse_permutation(order))


def index_grid(xp: Any, batch: Shape, starts: dict[int, Any], dn: GatherDimensionNumbers,
               sizes: Shape) -> tuple[list[Any], list[int]]:
    """One index array for each axis in ``starts``: axes for the batch, then one for each window axis among them."""
    inner = [d for d in sorted(starts) if d in window_dims(len(sizes), dn)]
    grid = []
    for d in sorted(starts):
        index = starts[d].reshape(starts[d].shape + (1,) * len(inner))
        if d in inner:
            index = index + xp.arange(sizes[d]).reshape((sizes[d],) + (1,) * (len(inner) - 1 - inner.index(d)))
        grid.append(index)
    if grid:
        grid[0] = xp.broadcast_to(grid[0], (*batch, *[sizes[d] for d in inner]))
    return grid, inner


def axes_of_result(batch_ndim: int, window: list[int], ndim: int, dn: GatherDimensionNumbers) -> list[int]:
    """The places in the result of the axes of the batch, followed by these axes of the window."""
    offsets = dict(zip(window_dims(ndim, dn), dn.offset_dims, strict=True))
    batch = [i for i in range(batch_ndim + len(window)) if i not in dn.offset_dims]
    return batch + [offsets[d] for d in window]


def default_fill(dtype: np.dtype) -> Any:
    """What "fill" reads out of bounds: NaN; the least signed, the greatest unsigned integer; True."""
    if dtypes.is_inexact(dtype):
        return np.nan
    if dtype.kind == "b":
        return True
    info = ml_dtypes.iinfo(dtype)
    return info.min if dtype.kind == "i" else info.max


# ---------------------------------------------------------------- writing


def scatter_impl(combine: Any) -> Any:
    """The impl of a scatter whose new values are ``combine(rows, index, updates)``, which writes into the rows."""

    def impl(xp: Any, x: Any, indices: Any, updates: Any, *, dimension_numbers: ScatterDimensionNumbers, mode: str,
             unique_indices: bool) -> Any:
        dn, x, updates = as_gather(dimension_numbers), xp.asarray(x), xp.asarray(updates)
        sizes = window_sizes(x, updates, dimension_numbers)
        starts, inside = starts_of(xp, x.shape, indices, dn, sizes, mode)
        if not updates.size or not x.size:
            return x.copy()
        batch = indices.shape[:-1]
        if math.prod(batch) == 1:
            if inside is not None:
                return x.copy()
            at = {d: int(s.reshape(())) for d, s in starts.items()}
            out = xp.array(x, order="C")
            view = out[(*[slice(at.get(d, 0), at.get(d, 0) + n) for d, n in enumerate(sizes)], ...)]
            combine(xp, view, ..., updates.reshape(view.shape), True)
            return out
        for d in range(x.ndim):  # a window smaller than its axis, at a fixed place
            if d not in starts and sizes[d] != x.shape[d]:
                starts[d] = xp.zeros((1,) * len(batch), np.int64)
        grid, inner = index_grid(xp, batch, starts, dn, sizes)
        rest = [d for d in range(x.ndim) if d not in starts]
        window = inner + [d for d in rest if d in window_dims(x.ndim, dn)]
        updates = updates.transpose(axes_of_result(len(batch), window, x.ndim, dn))
        return write(xp, combine, x, sorted(starts) + rest, grid or [xp.zeros(batch, np.int64)], len(grid), updates,
                     inside,
                     unique_indices)

    return impl


def write(xp: Any, combine: Any, x: Any, order: list[int], grid: list[Any], count: int, updates: Any,
          inside: Any, unique: bool) -> Any:
    """A copy of x with updates combined into it, in the order of the updates.

    The operand becomes a matrix: a row for each index of the axes in the grid, the first ``count`` of ``order``.
    """
    shape = [x.shape[d] for d in order]
    rows = xp.array(x.transpose(order), order="C")
    where = xp.zeros(grid[0].shape, np.int64)
    for index, n in zip(grid, shape, strict=False):
        where = where * n + index
    updates = updates.reshape(where.size, -1)
    if inside is not None:
        keep = xp.broadcast_to(inside.reshape(inside.shape + (1,) * (where.ndim - inside.ndim)), where.shape).ravel()
        where, updates = where.ravel()[keep], updates[keep]
    combine(xp, rows.reshape(math.prod(shape[:count]), math.prod(shape[count:])), where.ravel(), updates, unique)
    return rows if order == list(range(len(order))) else rows.transpose(inverse_permutation(order))


def put(xp: Any, rows: Any, where: Any, updates: Any, unique: bool) -> None:
    """The last update of a row wins."""
    rows[where] = updates


def accumulate(ufunc: str) -> Any:
    """Updates combined one after the other with a binary ufunc."""

    def combine(xp: Any, rows: Any, where: Any, updates: Any, unique: bool) -> None:
        function = getattr(xp, ufunc)
        if unique:
            rows[where] = function(rows[where], updates)
            return
        if rows.shape[1] != 1:  # ufunc.at is several times faster on flat arrays, and visits them in the same order
            where = (where[:, None] * rows.shape[1] + xp.arange(rows.shape[1])).ravel()
        function.at(rows.reshape(-1), where, updates.reshape(-1))

    return combine
