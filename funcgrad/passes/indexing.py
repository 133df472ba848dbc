"""Canonical indexing: gathers and scatters at places that are known, or that are one per row, become simpler operations.

In: a program. Out: one in which a gather at fixed places in a row is a slice, a scatter at one fixed place a
``dynamic_update_slice``, and adding one value per row to zeros (the gradient of ``x[arange(n), labels]``, as in
cross-entropy) a choice, element by element, which fuses with what is around it:

    scatter_add(zeros[n,c], [iota, i], u)    ->    select(iota_c == i, u + 0.0, 0.0)    (u + 0.0: -0.0 added to 0.0 is 0.0)

What happens at indices out of bounds stays: the index is read through a gather from 0, 1, ..., c - 1 in the mode of the
scatter. It raises where the scatter would, counts from the end, clips, and gives -1, which no position equals, for an
update to be dropped.
"""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.types import Shape
from funcgrad.ops.elementwise import add_p, eq_p
from funcgrad.ops.index_maps import GatherDimensionNumbers, as_gather, window_dims, window_sizes
from funcgrad.ops.indexing import dynamic_slice_p, dynamic_update_slice_p
from funcgrad.ops.scatter import gather_p, scatter_add_p, scatter_p
from funcgrad.ops.structural import (
    broadcast_in_dim_p,
    concatenate_p,
    convert_element_type_p,
    iota_p,
    pad_p,
    reshape_p,
    select_n_p,
    slice_p,
    transpose_p,
)
from funcgrad.passes.folding import FOLDING, walked
from funcgrad.passes.movement import MOVEMENT, put_in
from funcgrad.passes.rewriting import Rules, Walk, instead
from funcgrad.passes.subexpressions import same_atom


def indexing(jaxpr: Jaxpr) -> Jaxpr:
    """The program with its gathers and scatters simplified."""
    return walked(jaxpr, "indexing", {None: FOLDING, **MOVEMENT, **INDEXING})


# ---------------------------------------------------------------- places that are known


def known(walk: Walk, atom: Atom) -> np.ndarray | None:
    """The elements of a literal or constant."""
    if type(atom) is Literal:
        return np.asarray(atom.value)
    if atom in walk.values:
        return walk.values[atom]
    if (literal := walk.uniform.get(atom)) is not None:
        return np.broadcast_to(literal.value, atom.aval.shape)
    return _constants(walk).get(atom)


def _constants(walk: Walk) -> dict[Var, np.ndarray]:
    found = walk.memory.get("constants")
    if found is None:
        found = walk.memory["constants"] = {
            v: c._data for v, c in zip(walk.jaxpr.const_vars, walk.jaxpr.consts, strict=True)
            if isinstance(c, DeviceArray) and isinstance(c._data, np.ndarray)}
    return found


def fixed_window(walk: Walk, e: Equation) -> Any:
    """dynamic_slice at known starts."""
    x, *starts = e.inputs
    values = [known(walk, a) for a in starts]
    if any(v is None for v in values):
        return None
    sizes = e.params["slice_sizes"]
    first = []
    for v, n, size, wrap in zip(values, x.aval.shape, sizes, e.params["wrap"], strict=True):
        i = int(v) + (n if wrap and int(v) < 0 else 0)
        first.append(min(max(i, 0), n - size))
    return instead(e, slice_p, x, **_window(first, sizes))


def _window(first: Sequence[int], sizes: Shape) -> dict[str, Shape]:
    """The params of a slice from known starts."""
    return {"start_indices": tuple(first), "limit_indices": tuple([i + n for i, n in zip(first, sizes, strict=True)]),
            "strides": (1,) * len(sizes)}


def fixed_gather(walk: Walk, e: Equation) -> Any:
    """A gather of one window at a known place, or of single rows at places with equal distances."""
    x, indices = e.inputs
    dn, sizes = e.params["dimension_numbers"], e.params["slice_sizes"]
    count = math.prod(indices.aval.shape[:-1])
    if dn.operand_batching_dims or not count or not e.outs[0].aval.size:
        return None
    starts = _starts(walk, x.aval.shape, indices, dn, sizes, e.params["mode"])
    if starts is None:
        return None
    steps = starts[:, 1:] - starts[:, :1]
    moving = [d for d in range(len(sizes)) if steps[d].any()]
    strides = [1] * len(sizes)
    if moving:
        d = moving[0]
        step = int(steps[d][0])
        if len(moving) > 1 or sizes[d] != 1 or d not in dn.collapsed_slice_dims or step < 1 \
                or (steps[d] != step * np.arange(1, count)).any():
            return None
        strides[d] = step
    elif count > 1:
        return None
    first = [int(s) for s in starts[:, 0]]
    limit = [int(s) + n for s, n in zip(starts[:, -1], sizes, strict=True)]
    part = walk.emit(slice_p, x, start_indices=tuple(first), limit_indices=tuple(limit), strides=tuple(strides))
    order = _gathered_order(len(e.outs[0].aval.shape), indices.aval.shape, moving, len(sizes), dn)
    if order != sorted(order):
        rest = [d for d in range(len(sizes)) if d not in order]
        part = walk.emit(transpose_p, part, permutation=(*order, *rest))
    return instead(e, reshape_p, part, new_sizes=e.outs[0].aval.shape)


def _gathered_order(ndim: int, batch: Shape, moving: Sequence[int], operand_ndim: int, dn: GatherDimensionNumbers) -> list[int]:
    """The axes of the slice in the order in which the result has them, without those of size 1 that it lacks."""
    window = iter(window_dims(operand_ndim, dn))
    sizes = iter(batch[:-1])
    order = []
    for i in range(ndim):
        if i in dn.offset_dims:
            order.append(next(window))
        elif next(sizes) > 1:
            order += moving
    return order


def _starts(walk: Walk, shape: Shape, indices: Atom, dn: GatherDimensionNumbers, sizes: Shape, mode: str) -> np.ndarray | None:
    """Where each window starts along each axis, one row an axis; None if unknown or not inside."""
    vectors = known(walk, indices)
    if vectors is None:
        return None
    vectors = vectors.astype(np.int64).reshape(-1, vectors.shape[-1])
    starts = np.zeros((len(shape), len(vectors)), np.int64)
    for d, column in zip(dn.start_index_map, vectors.T, strict=True):
        last = shape[d] - max(sizes[d], d in dn.collapsed_slice_dims)
        if mode == "raise":
            column = np.where(column < 0, column + shape[d], column)
        elif mode == "clip":
            column = np.clip(column, 0, max(last, 0))
        if (column < 0).any() or (column > last).any():
            return None
        starts[d] = column
    return starts


def fixed_scatter(walk: Walk, e: Equation) -> Any:
    """A scatter of one window to a known place: the window is replaced, by its sum with the update in scatter_add."""
    x, indices, updates = e.inputs
    dn = as_gather(e.params["dimension_numbers"])
    if dn.operand_batching_dims or math.prod(indices.aval.shape[:-1]) != 1 or not x.aval.size or not updates.aval.size:
        return None
    sizes = window_sizes(x.aval, updates.aval, e.params["dimension_numbers"])
    starts = _starts(walk, x.aval.shape, indices, dn, sizes, e.params["mode"])
    if starts is None:
        return None
    window = walk.emit(reshape_p, updates, new_sizes=sizes) if updates.aval.shape != sizes else updates
    first = tuple([int(s) for s in starts[:, 0]])
    if e.primitive is scatter_add_p:
        window = walk.emit(add_p, walk.emit(slice_p, x, **_window(first, sizes)), window)
    return instead(e, dynamic_update_slice_p, x, window, *[Literal(np.int64(s)) for s in first], wrap=(False,) * len(first))


# ---------------------------------------------------------------- one value a row


def one_per_row(walk: Walk, e: Equation) -> Any:
    """scatter_add of one value for each row to zeros: a choice by position."""
    x, indices, updates = e.inputs
    scalar = walk.scalar(x)
    shape = x.aval.shape
    dn = as_gather(e.params["dimension_numbers"])
    if scalar is None or scalar.tobytes().strip(b"\0") or type(x) is Literal or dn.offset_dims or not updates.aval.size \
            or dtypes.kind(scalar.dtype) not in "iufc" or not x.aval.size:
        return None
    found = _column(walk, shape, indices, dn)
    if found is None:
        return None
    axis, rows, column = found  # rows[i]: the axis of the operand along which axis i of the batch runs; None where it is 1
    mode = e.params["mode"]
    if mode != "promise_in_bounds":
        numbers = walk.emit(iota_p, dtype=np.dtype("int64"), shape=(shape[axis],), dimension=0)
        position = walk.emit(
            gather_p, numbers, column, dimension_numbers=GatherDimensionNumbers((), (0,), (0,)), slice_sizes=(1,), mode=mode,
            fill_value=-1 if mode == "fill" else None, unique_indices=False)
    else:
        position = walk.emit(convert_element_type_p, walk.emit(reshape_p, column, new_sizes=column.aval.shape[:-1]),
                             new_dtype=np.dtype("int64"), weak_type=False)
    updates = walk.emit(add_p, updates, Literal(scalar)) if dtypes.kind(scalar.dtype) in "fc" else updates
    spread = functools.partial(_spread, walk, rows=rows, shape=shape)
    iota = walk.emit(iota_p, dtype=position.aval.dtype, shape=shape, dimension=axis)
    here = walk.emit(eq_p, iota, spread(position))
    return instead(e, select_n_p, here, Literal(scalar), spread(updates))


def _spread(walk: Walk, x: Atom, rows: Sequence[int | None], shape: Shape) -> Atom:
    """An array with an axis for each row axis (and axes of size 1), repeated to the shape of the operand."""
    kept = [d for d in rows if d is not None]
    order = sorted(range(len(kept)), key=kept.__getitem__)
    sizes = tuple([n for n, d in zip(x.aval.shape, rows, strict=True) if d is not None])
    if sizes != x.aval.shape:
        x = walk.emit(reshape_p, x, new_sizes=sizes)
    if order != sorted(order):
        x = walk.emit(transpose_p, x, permutation=tuple(order))
    return walk.emit(broadcast_in_dim_p, x, shape=shape, broadcast_dimensions=tuple(sorted(kept)))


def _column(walk: Walk, shape: Shape, indices: Atom, dn: GatherDimensionNumbers) -> tuple[int, list[int | None], Atom] | None:
    """The axis that is addressed, the axis for each batch axis, and the indices [..., 1], if each row is addressed once."""
    batch = indices.aval.shape[:-1]
    rows: list[int | None] = [None] * len(batch)
    for d, i in zip(dn.operand_batching_dims, dn.start_indices_batching_dims, strict=True):
        rows[i] = d
    addressed = list(dn.start_index_map)
    columns: list[Atom] = [indices]
    if len(addressed) > 1:
        parts = walk.defined(indices, concatenate_p)
        if parts is None or parts.params["dimension"] != len(batch) or any(p.aval.shape[-1] != 1 for p in parts.inputs):
            return None
        columns = list(parts.inputs)
    left = []
    for d, column in zip(addressed, columns, strict=True):
        i = counts_along(walk, column) if len(addressed) > 1 else None
        if i is not None and i < len(batch) and rows[i] is None and batch[i] == shape[d]:
            rows[i] = d
        else:
            left.append((d, column))
    if len(left) != 1 or any(d is None and n != 1 for d, n in zip(rows, batch, strict=True)):
        return None
    axis, column = left[0]
    if sorted([axis, *[d for d in rows if d is not None]]) != list(range(len(shape))):
        return None
    return axis, rows, column


def counts_along(walk: Walk, atom: Atom) -> int | None:
    """The axis along which an array is 0, 1, 2, ..., or None."""
    shape = atom.aval.shape
    if type(atom) is Var and (e := walk.definitions.get(atom)) is not None:
        if e.primitive is iota_p:
            return e.params["dimension"]
        if e.primitive is reshape_p:
            places, inner = put_in(e.inputs[0].aval.shape, shape), counts_along(walk, e.inputs[0])
            return None if places is None or inner is None else places[inner]
        if e.primitive is broadcast_in_dim_p:
            inner = counts_along(walk, e.inputs[0])
            axis = None if inner is None else e.params["broadcast_dimensions"][inner]
            return axis if axis is not None and shape[axis] == e.inputs[0].aval.shape[inner] else None
    values = known(walk, atom)
    if values is None or values.dtype.kind not in "iu":
        return None
    for d, n in enumerate(shape):
        if n > 1 and (values == np.arange(n).reshape([n if i == d else 1 for i in range(len(shape))])).all():
            return d
    return None


# ---------------------------------------------------------------- what slices give back


def side_by_side(walk: Walk, e: Equation) -> Any:
    """The sum of two arrays padded with zeros that lie next to each other: their concatenation, padded."""
    spans = [_span(walk, x) for x in e.inputs]
    if None in spans:
        return None
    first, second = sorted(spans, key=lambda span: span[:3])  # type: ignore[arg-type, return-value]
    if first[0] != second[0] or first[2] != second[1]:
        return None
    axis, low, middle, zero = first[:4]
    stop, x, y = second[2], first[4], second[4]
    parts = [part for operand in (x, y) for part in _parts(walk, operand, axis)]
    whole = walk.emit(concatenate_p, *[_plus_zero(walk, part, zero) for part in parts], dimension=axis)
    config = [(0, 0, 0)] * len(e.outs[0].aval.shape)
    config[axis] = (low, e.outs[0].aval.shape[axis] - stop, 0)
    return instead(e, pad_p, whole, zero, padding_config=tuple(config))


def _span(walk: Walk, atom: Atom) -> tuple[int, int, int, Literal, Atom] | None:
    """Of an array that is padded with zeros along one axis: the axis, where it begins and ends there, the zero, the array."""
    pad = walk.defined(atom, pad_p)
    if pad is None:
        return None
    x, zero = pad.inputs
    padded = [d for d, (low, high, inner) in enumerate(pad.params["padding_config"]) if low or high or inner]
    value = walk.scalar(zero)
    if len(padded) != 1 or value is None or value.tobytes().strip(b"\0") or not x.aval.size:
        return None
    axis, = padded
    low, high, inner = pad.params["padding_config"][axis]
    return (axis, low, low + x.aval.shape[axis], Literal(value), x) if low >= 0 and high >= 0 and not inner else None


def _parts(walk: Walk, atom: Atom, axis: int) -> Sequence[Atom]:
    inner = walk.defined(atom, concatenate_p)
    return inner.inputs if inner is not None and inner.params["dimension"] == axis else (atom,)


def _plus_zero(walk: Walk, x: Atom, zero: Literal) -> Atom:
    """x + 0.0, as the sum with padding has it: -0.0 becomes 0.0."""
    inner = walk.defined(x, add_p)
    done = inner is not None and any(same_atom(a, zero) for a in inner.inputs)
    return x if done or dtypes.kind(x.aval.dtype) not in "fc" else walk.emit(add_p, x, zero)


INDEXING: Rules = {
    add_p: (side_by_side,),
    dynamic_slice_p: (fixed_window,),
    gather_p: (fixed_gather,),
    scatter_p: (fixed_scatter,),
    scatter_add_p: (one_per_row, fixed_scatter),
}
