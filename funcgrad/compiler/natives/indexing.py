"""Kernels that read at computed places: gather, dynamic_slice, take_along.

In: an equation and the views of its operands, which may be strided. Out: a ``NativeKernel`` that writes its result from the
first element to the last: rows, and in each row one inner loop. Elements are moved as integers of their size.

    x[i], f32[50000,64] by i64[8192]:

        for r in range(start, stop):
            s0 = i64(i[r])
            s0 = s0 + n0 if s0 < 0 else s0
            c0 = min(max(s0, 0), n1)
            bad = bad | (c0 != s0)
            base = c0 * n2
            for j in range(n3):
                y[r * n3 + j] = x[base + j]
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.expressions import literal, stored
from funcgrad.compiler.natives import STRIDED, NativeKernel
from funcgrad.compiler.natives.windows import (
    CHUNK,
    OVERHEAD,
    Axis,
    Component,
    Text,
    index_text,
    merged,
    plus,
    raw,
    scalar_components,
    slots_of,
    vector_components,
    vector_view,
)
from funcgrad.compiler.view import View
from funcgrad.core.jaxpr import Equation
from funcgrad.ops.index_maps import fill_of, window_dims

Views = Sequence[View | None]
Write = Callable[..., NativeKernel]
"""What writes the kernel for its axes and components; for another target it is another function."""
PIECE = 1 << 15
"""An inner loop longer than twice this is divided, so that threads can share it."""


def gather(equation: Equation, views: Views, write: Write | None = None) -> NativeKernel | None:
    """The windows at index vectors. Nothing to write, or nothing to read, is the host's: it may have to raise."""
    x, index = views
    shape, params = equation.outs[0].aval.shape, equation.params
    if x is None or index is None or 0 in shape or 0 in x.shape:
        return None
    dn, sizes, mode = params["dimension_numbers"], params["slice_sizes"], params["mode"]
    batch_steps, stride = vector_view(index)
    batch, window = iter(range(len(batch_steps))), iter(window_dims(len(x.shape), dn))
    batching = dict(zip(dn.start_indices_batching_dims, dn.operand_batching_dims, strict=True))
    axes = []
    for place, n in enumerate(shape):
        if place in dn.offset_dims:
            axes.append(Axis(n, (x.strides[next(window)], 0)))
        else:
            b = next(batch)
            axes.append(Axis(n, (x.strides[batching[b]] if b in batching else 0, batch_steps[b])))
    components = vector_components(dn, x.shape, sizes, mode, x.strides, equation.inputs[1].aval.dtype, stride)
    fill = fill_of(np, equation.outs[0].aval.dtype, params["fill_value"]) if mode == "fill" else None
    text = Text()
    text.pointer("i", stored(equation.inputs[1].aval.dtype), 1)
    return (write or _reading)(equation, text, axes, components, mode, fill)


def dynamic_slice(equation: Equation, views: Views, write: Write | None = None) -> NativeKernel | None:
    """One window, whose starts are scalars."""
    x, sizes = views[0], equation.params["slice_sizes"]
    if x is None or 0 in sizes:
        return None
    text = Text()
    components = scalar_components(equation, 1, x.shape, sizes, equation.params["wrap"], x.strides, text)
    axes = [Axis(n, (s, 0)) for n, s in zip(sizes, x.strides, strict=True)]
    return (write or _reading)(equation, text, axes, components, "clip", None)


def take_along(equation: Equation, views: Views, write: Write | None = None) -> NativeKernel | None:
    """The elements at positions along an axis: all other axes of operand and index run together."""
    x, index = views
    axis, dtype = equation.params["axis"], equation.inputs[1].aval.dtype
    if x is None or index is None or 0 in index.shape or 0 in x.shape:
        return None
    axes = [Axis(n, (0 if d == axis else s, t))
            for d, (n, s, t) in enumerate(zip(index.shape, x.strides, index.strides, strict=True))]
    text = Text()
    text.pointer("i", stored(dtype), 1)
    return (write or _reading)(equation, text, axes, [along(dtype, axis, x.shape[axis], x.strides[axis])], "raise", None)


def along(dtype: np.dtype, axis: int, size: int, step: int) -> Component:
    """A position along an axis."""
    return Component(lambda at: index_text(dtype, f"i[{at}]"), axis, size, size - 1, step, True)


STRIDED.update(gather=gather, dynamic_slice=dynamic_slice, take_along=take_along)


def begin_reading(equation: Equation, text: Text, mode: str, fill: Any) -> None:
    """Pointers to operand, result and failure flag, and the bits of what stands where nothing is read."""
    dtype, slots = equation.outs[0].aval.dtype, sum(s is not None for s in slots_of(equation))
    text.pointer("x", raw(dtype), 0)
    text.pointer("y", raw(dtype), slots)
    if mode == "raise":
        text.pointer("failed", "i64", slots + 1)
        text.add("bad = False")
    if fill is not None:
        text.head.append(f"fill = {bits_of(fill, text)}")


def _reading(equation: Equation, text: Text, axes: list[Axis], components: list[Component], mode: str,
             fill: Any) -> NativeKernel:
    """The kernel that writes the elements of all axes in order; strides are those of the operand and of the index."""
    begin_reading(equation, text, mode, fill)
    *outer, inner = merged(axes) or [Axis(1, (0, 0))]
    pieces = -(-inner.size // PIECE) if inner.size > 2 * PIECE else 1
    if pieces > 1:
        outer = [*outer, Axis(pieces, (0, 0))]
    level = max([k + 1 for k, axis in enumerate([*outer, inner]) if axis.steps[1]], default=0)
    products: list[str] = []
    if level == 0:
        products = text.starts(components, mode, "0")
    text.open("for r in range(start, stop):")
    names = index_names(text, outer)
    index = text.position(names, [axis.steps[1] for axis in outer])
    if 0 < level <= len(outer):
        products = text.starts(components, mode, index)
    base = plus(*products, text.position(names, [axis.steps[0] for axis in outer]))
    text.add(f"base = {base}")
    text.add(f"to = r{f' // {text.word(pieces)}' if pieces > 1 else ''} * {text.word(inner.size)}")
    bounds = text.count(inner.size)
    if pieces > 1:
        piece = text.word(-(-inner.size // pieces))
        bounds = f"{names[-1]} * {piece}, min({names[-1]} * {piece} + {piece}, {bounds})"
    row(text, inner, bounds, index, components if level > len(outer) else None, mode)
    text.close()
    if mode == "raise":
        text.open("if bad:")
        text.add("failed[0] = 1")
    rows = math.prod([axis.size for axis in outer])
    work = min(inner.size, PIECE) * (2 if level > len(outer) else 1) + OVERHEAD
    chunk = rows if rows * work <= 4 * CHUNK else max(1, CHUNK // work)
    return NativeKernel(text.source(), text.sizes, rows, chunk, can_fail=mode == "raise")


def row(text: Text, inner: Axis, bounds: str, index: str, components: list[Component] | None, mode: str) -> None:
    """The inner loop; with components, each of its elements has an index vector of its own."""
    step = text.times("j", inner.steps[0])
    if components is None:
        if mode == "fill":
            text.open("if not ok:")
            text.open(f"for j in range({bounds}):")
            text.add("y[to + j] = fill")
            text.close(2)
            text.open("else:")
        text.open(f"for j in range({bounds}):")
        text.add(f"y[to + j] = x[{plus('base', step)}]")
        text.close(2 if mode == "fill" else 1)
        return
    text.open(f"for j in range({bounds}):")
    products = text.starts(components, mode, plus(index if index != "0" else "", text.times("j", inner.steps[1])))
    text.add(f"y[to + j] = x[{plus('base', *products, step)}]{' if ok else fill' if mode == 'fill' else ''}")
    text.close()


def index_names(text: Text, axes: list[Axis]) -> list[str]:
    """The index along each axis, from the number r of the row."""
    if len(axes) <= 1:
        return ["r"] * len(axes)
    names, rest = [f"a{k}" for k in range(len(axes))], "r"
    for k in range(len(axes) - 1, 0, -1):
        size = text.count(axes[k].size)
        text.add(f"a{k} = {rest} % {size}")
        text.add(f"q{k} = {rest} // {size}")
        rest = f"q{k}"
    text.add(f"a0 = {rest}")
    return names


def bits_of(value: np.ndarray, text: Text) -> str:
    """A constant as the integer of its size."""
    if value.itemsize == 16:
        return literal(value[()])  # type: ignore[arg-type]
    bits = value.view(f"u{value.itemsize}")
    return f"{raw(value.dtype)}({text.word(int(bits.astype(np.uint64).view(np.int64)))})"
