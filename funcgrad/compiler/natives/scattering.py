"""Kernels that write at computed places: the scatters, dynamic_update_slice, add_along.

In: an equation and the views of its operands, which may be strided. Out: a ``NativeKernel``. It copies the operand, then
applies the updates in the order of their index vectors, so that its result is that of one thread on any number of them: each
chunk has a range of the result along one axis to itself, copies it, goes through all updates and applies those within. Where
the updates are several times as many as the elements of a sum, each of some parts of the updates is added up in an array of its
own, as their number tells, and the arrays are added in order.

    x.at[i].add(u), f64[1000,64], i64[5000], chunks over the axis 0:

        for j in range(start * n0, stop * n0):
            y[j] = x[j]
        for b0 in range(n1):
            s0 = i64(i[b0])
            c0 = min(max(s0, 0), n2)
            if c0 >= start and c0 < stop:
                for w1 in range(n3):
                    y[c0 * n4 + w1] = y[c0 * n4 + w1] + u[b0 * n5 + w1]
"""
from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import computed, literal, stored
from funcgrad.compiler.natives import STRIDED, NativeKernel
from funcgrad.compiler.natives.indexing import along
from funcgrad.compiler.natives.windows import (
    CHUNK,
    OVERHEAD,
    Axis,
    Component,
    Text,
    merged,
    plus,
    raw,
    scalar_components,
    slots_of,
    vector_components,
    vector_view,
)
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Equation, Literal
from funcgrad.ops.index_maps import as_gather, window_dims, window_sizes

Views = Sequence[View | None]
Write = Callable[..., NativeKernel | None]
"""What writes the kernel of a plan; for another target it is another function."""
MOST_CHUNKS = 32
"""Ranges of the result at most."""
MOST_PASSES = 8
"""Ranges at most where each of them goes through all index vectors."""
PASS = 64
"""What it costs to find that an index vector is not the chunk's, in elements: a jump that is not foreseen, updates that are
not read in their order."""
MOST_PARTS = 8
"""Arrays at most that are filled side by side and then added."""
NARROWEST = 64
"""Bytes in a row that a chunk writes at least, a line of the cache."""
COMBINED = {
    "scatter": {"biufc": "{1}"},
    "dynamic_update_slice": {"biufc": "{1}"},
    "scatter_add": {"b": "{0} | {1}", "iufc": "{0} + {1}"},
    "add_along": {"b": "{0} | {1}", "iufc": "{0} + {1}"},
    "scatter_mul": {"b": "{0} & {1}", "iufc": "{0} * {1}"},
    "scatter_min": {"biuf": "minimum_{dtype}({0}, {1})"},
    "scatter_max": {"biuf": "maximum_{dtype}({0}, {1})"},
}
"""What becomes of an element and an update, by the kinds of their dtype. Complex numbers are compared by the host."""
SUMS = ("scatter_add", "add_along")


@dataclass(slots=True)
class Plan:
    """Loops over the updates, with the strides of updates, index and result; where windows begin; the operand."""

    shape: tuple[int, ...]
    axes: list[Axis]
    components: list[Component]
    mode: str
    operand: View | None
    """What is copied first; None if it is one repeated value."""
    parts: int = 1


def scatter(equation: Equation, views: Views, write: Write | None = None) -> NativeKernel | None:
    """Windows written at index vectors. Where there is nothing to write, the host looks for errors."""
    x, index, updates = views
    shape = equation.outs[0].aval.shape
    if index is None or updates is None or 0 in shape or 0 in updates.shape:
        return None
    params = equation.params
    dn = as_gather(params["dimension_numbers"])
    sizes = window_sizes(equation.outs[0].aval, updates, params["dimension_numbers"])
    steps = row_major(shape)
    batch_steps, stride = vector_view(index)
    batch, window = iter(range(len(batch_steps))), iter(window_dims(len(shape), dn))
    batching = dict(zip(dn.start_indices_batching_dims, dn.operand_batching_dims, strict=True))
    axes = []
    for place, (n, s) in enumerate(zip(updates.shape, updates.strides, strict=True)):
        if place in dn.offset_dims:
            d = next(window)
            axes.append(Axis(n, (s, 0, steps[d]), d))
        else:
            b = next(batch)
            axes.append(Axis(n, (s, batch_steps[b], steps[batching[b]] if b in batching else 0), batching.get(b)))
    dtype = equation.inputs[1].aval.dtype
    components = vector_components(dn, shape, sizes, params["mode"], steps, dtype, stride)
    # Windows that may overlap are written one after the other: along an axis that they move on, the loop is inside.
    moving = {c.dim for c in components if c.step}
    axes.sort(key=lambda axis: axis.dim in moving)
    text, (x_slot, i_slot, u_slot) = Text(), slots_of(equation)
    text.pointer("i", stored(dtype), i_slot)
    return (write or _writing)(equation, text, Plan(shape, axes, components, params["mode"], x), x_slot, u_slot)


def dynamic_update_slice(equation: Equation, views: Views, write: Write | None = None) -> NativeKernel | None:
    """One window, whose starts are scalars."""
    x, update = views[:2]
    shape = equation.outs[0].aval.shape
    if update is None or 0 in update.shape:
        return None
    text, steps = Text(), row_major(shape)
    components = scalar_components(equation, 2, shape, update.shape, equation.params["wrap"], steps, text)
    axes = [Axis(n, (s, 0, t), d) for d, (n, s, t) in enumerate(zip(update.shape, update.strides, steps, strict=True))]
    x_slot, u_slot = slots_of(equation)[:2]
    return (write or _writing)(equation, text, Plan(shape, axes, components, "clip", x), x_slot, u_slot)


def add_along(equation: Equation, views: Views, write: Write | None = None) -> NativeKernel | None:
    """Elements added at positions along an axis of zeros: all other axes run together."""
    updates, index = views
    axis, dtype, shape = equation.params["axis"], equation.inputs[1].aval.dtype, equation.outs[0].aval.shape
    if updates is None or index is None or 0 in updates.shape or 0 in shape:
        return None
    steps = row_major(shape)
    axes = [Axis(n, (s, t, 0 if d == axis else steps[d]), None if d == axis else d)
            for d, (n, s, t) in enumerate(zip(updates.shape, updates.strides, index.strides, strict=True))]
    text = Text()
    text.pointer("i", stored(dtype), 1)
    components = [along(dtype, axis, shape[axis], steps[axis])]
    return (write or _writing)(equation, text, Plan(shape, axes, components, "raise", None), None, 0)


STRIDED.update(scatter=scatter, dynamic_update_slice=dynamic_update_slice, add_along=add_along)


# ---------------------------------------------------------------- chunks


def _level(axes: Sequence[Axis]) -> int:
    """How many loops surround what is computed of an index vector."""
    return max([k + 1 for k, axis in enumerate(axes) if axis.steps[1]], default=0)


def _shared(plan: Plan, itemsize: int) -> tuple[int | None, int]:
    """The axis along which chunks share the result, and how many there are: as many as pay for going through the index."""
    steps, total = row_major(plan.shape), math.prod(plan.shape)
    updates = math.prod([axis.size for axis in plan.axes])
    best: tuple[int | None, int] = (None, 1)
    for d, n in enumerate(plan.shape):
        loop = next((k for k, axis in enumerate(plan.axes) if axis.dim == d and axis.size > 1), None)
        level = _level(plan.axes)
        vectors = math.prod([axis.size for axis in plan.axes[:level]])
        alone = loop is not None and loop < level  # each chunk has index vectors of its own
        work = total + 2 * updates + OVERHEAD * vectors
        count = min(n, MOST_CHUNKS, work // CHUNK, n * steps[d] * itemsize // NARROWEST)
        if not alone:
            count = min(count, MOST_PASSES, (total + updates) // (PASS * vectors))
        count -= count % 2 if count > 2 else 0  # two threads have equal shares
        if count > best[1]:
            best = d, count
    return best


def _parts(plan: Plan) -> int:
    """How many arrays are filled side by side: where the sums cost more than to fill and to add the arrays."""
    axes = [a for a in merged([Axis(a.size, a.steps, a.dim) for a in plan.axes]) if a.size > 1]
    if not axes or not axes[0].steps[1] or axes[0].dim is not None:
        return 1
    total, updates = math.prod(plan.shape), math.prod([axis.size for axis in axes])
    count = min(MOST_PARTS, updates // (4 * total), updates // CHUNK)
    return 1 << count.bit_length() - 1 if count else 1


# ---------------------------------------------------------------- text


def _writing(equation: Equation, text: Text, plan: Plan, x_slot: int | None, u_slot: int) -> NativeKernel | None:
    """The kernel of a plan."""
    dtype, name = equation.outs[0].aval.dtype, equation.primitive.name
    template = next((t for kinds, t in COMBINED[name].items() if dtypes.kind(dtype) in kinds), None)
    if template is None:
        return None
    memory = raw(dtype) if template == "{1}" else stored(dtype)
    slots = sum(s is not None for s in slots_of(equation))
    text.pointer("y", memory, slots)
    text.pointer("u", memory, u_slot)
    wide = computed(dtype)
    plan.parts = _parts(plan) if name in SUMS and memory == wide and memory[0] in "fc" else 1
    shared, chunks = _shared(plan, dtype.itemsize) if plan.parts == 1 else (None, plan.parts)
    contiguous = plan.operand is not None and plan.operand.contiguous
    if plan.mode == "raise":
        text.pointer("failed", "i64", slots + 1)
        text.add("bad = False")
    if plan.parts > 1:
        text.open("for part in range(start, stop):")
        text.add(f"base = part * {text.word(math.prod(plan.shape))}")
    depth = text.depth
    source = equation.inputs[0]
    fill = constant(source.value if type(source) is Literal else dtype.type(0), memory)
    if x_slot is not None:
        text.pointer("x", memory, x_slot)
        if plan.parts == 1 and contiguous:
            text.open(f"if word(pointers, {x_slot}) != word(pointers, {slots}):  # else it is in place")
    if plan.parts > 1 and (x_slot is not None or fill != _zero(dtype)):
        text.open("if part == 0:")
        _copy(text, plan, shared, fill)
        text.depth = depth
        text.open("else:")
        _copy(text, replace(plan, operand=None), shared, _zero(dtype))
    else:
        _copy(text, plan, shared, fill)
    text.depth = depth
    combined = template.format("{0}", "{1}", dtype=wide)
    if memory[0] in "iu" and template != "{1}":
        combined = f"{wide}({combined})"
    runs = template != "{1}" and memory == wide  # the sums of narrow floats are rounded one by one
    _updates(text, plan, shared, combined, _zero(dtype) if runs else None)
    text.depth = 1
    if plan.mode == "raise":
        text.open("if bad:")
        text.add("failed[0] = 1")
    rows = plan.parts if shared is None else plan.shape[shared]
    return NativeKernel(text.source(), text.sizes, rows, -(-rows // chunks), can_fail=plan.mode == "raise",
                        overwrites=x_slot if contiguous and plan.parts == 1 else None,
                        parts=(plan.parts, *plan.shape) if plan.parts > 1 else None)


def _zero(dtype: np.dtype) -> str:
    return literal(dtype.type(0))


def constant(value: np.generic, memory: str) -> str:
    """A constant as it is stored; where the dtype's bits are moved unchanged, those."""
    if memory[0] == "u" and value.dtype.kind != "u":
        return f"{memory}({int.from_bytes(value.tobytes(), sys.byteorder)})"
    return literal(value)


def _copy(text: Text, plan: Plan, shared: int | None, fill: str) -> None:
    """The operand's elements in the range of the chunk; without one, a constant."""
    shape = plan.shape
    steps = plan.operand.strides if plan.operand is not None else (0,) * len(shape)
    axes = merged([Axis(n, (s, t), pinned=d == shared) for d, (n, s, t) in enumerate(zip(shape, steps, row_major(shape),
                                                                                      strict=True))])
    pinned = next((k for k, axis in enumerate(axes) if axis.pinned), None)
    scale = ""
    if pinned is not None and pinned == len(axes) - 2 \
            and all(s == t * axes[-1].size for s, t in zip(axes[-2].steps, axes[-1].steps, strict=True)):
        scale = f" * {text.word(axes[-1].size)}"  # the rest of the axis follows in memory
        axes[-2:] = [Axis(axes[-2].size * axes[-1].size, axes[-1].steps, pinned=True)]
    for k, axis in enumerate(axes):
        bounds = f"start{scale}, stop{scale}" if axis.pinned else text.count(axis.size, k == len(axes) - 1)
        text.open(f"for k{k} in range({bounds}):")
    names = [f"k{k}" for k in range(len(axes))]
    source = fill if plan.operand is None else f"x[{text.position(names, [axis.steps[0] for axis in axes])}]"
    text.add(f"y[{plus(_base(plan), text.position(names, [axis.steps[1] for axis in axes]))}] = {source}")


def _base(plan: Plan) -> str:
    """Where a part's array begins."""
    return "base" if plan.parts > 1 else ""


def _updates(text: Text, plan: Plan, shared: int | None, combined: str, zero: str | None) -> None:
    """The loops over the updates, in the order in which they lie in memory; only the chunk's are applied.

    With a ``zero``, an element that is updated several times in succession is kept in a register, which shortens the chain from
    one addition to the next.
    """
    axes = merged([Axis(a.size, a.steps, a.dim, a.dim is not None and a.dim == shared) for a in plan.axes])
    axes = [a for a in axes if a.size > 1]
    level = _level(axes)
    products: list[str] = []
    moving = next((j for j, c in enumerate(plan.components) if c.dim == shared and c.step), None)
    depth = text.depth
    names: list[str] = []
    runs = zero is not None and level == len(axes) > 0
    if runs:
        text.add("last = -1")
        text.add(f"total = {zero}")
    for k in range(len(axes) + 1):
        if k == level:
            index = text.position(names, [axis.steps[1] for axis in axes[:k]])
            products = text.starts(plan.components, plan.mode, index)
            _conditions(text, plan, axes, shared, moving)
        if k < len(axes):
            bounds = _bounds(text, axes[k], k == len(axes) - 1, moving, plan.shape)
            if plan.parts > 1 and k == 0:
                step = text.word(-(-axes[0].size // plan.parts))
                bounds = f"part * {step}, min((part + 1) * {step}, {bounds})"
            text.open(f"for b{k} in range({bounds}):")
            names.append(f"b{k}")
    to = plus(_base(plan), *products, text.position(names, [axis.steps[2] for axis in axes]) if names else "")
    text.add(f"to = {to}")
    update = f"u[{text.position(names, [axis.steps[0] for axis in axes])}]"
    if runs:
        text.open("if to != last:")
        text.open("if last >= 0:")
        text.add("y[last] = total")
        text.close()
        text.add("last = to")
        text.add("total = y[to]")
        text.close()
        text.add(f"total = {combined.format('total', update)}")
        text.depth = depth
        text.open("if last >= 0:")
        text.add("y[last] = total")
    else:
        text.add(f"y[to] = {combined.format('y[to]', update)}")
    text.depth = depth


def _conditions(text: Text, plan: Plan, axes: Sequence[Axis], shared: int | None, moving: int | None) -> None:
    """Whether a window is written, by this chunk."""
    if plan.mode == "fill":
        text.open("if ok:")
    if shared is None or any(axis.pinned for axis in axes):
        return
    if moving is not None:
        text.open(f"if c{moving} >= start and c{moving} < stop:")
    else:  # the window has size 1 and stands at 0
        text.open("if start == 0:")


def _bounds(text: Text, axis: Axis, last: bool, moving: int | None, shape: Sequence[int]) -> str:
    """How far a loop runs; that over the shared axis stays within the chunk."""
    if not axis.pinned:
        return text.count(axis.size, last)
    if moving is not None:
        return f"max(start - c{moving}, 0), min(stop - c{moving}, {text.count(axis.size, last)})"
    whole = axis.size == shape[axis.dim]  # type: ignore[index]
    return "start, stop" if whole else f"start, min(stop, {text.count(axis.size, last)})"
