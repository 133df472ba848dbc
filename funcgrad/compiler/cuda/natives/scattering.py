"""Writing at computed places: the scatters, dynamic_update_slice, add_along.

In: an equation and the views of its operands. Out: a ``NativeKernel`` that changes memory which holds the operand's elements.
No element is touched by two threads, so that results do not depend on who comes first: updates are applied in their order, as
on the processor. There are these forms.

- Axes along which updates never meet, such as the columns of a table whose rows are addressed, or those of a window that is
  written once, are rows: each has a thread, which goes through the updates along the other axes. This is so where such rows
  are many, or the updates of each are few.
- Integers are combined by the memory itself, each update by a thread: their order does not matter.
- Where many updates are written, not combined, a first kernel finds the last one that leads to each place; then each update has
  a thread, and the last ones are written.
- Else a block of threads owns a range of places, and finds and applies its updates (``ranges``). Where places are few, each of
  some parts of the updates is added up in an array of its own.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

from funcgrad import dtypes
from funcgrad.compiler.cuda.natives.loops import POSITION
from funcgrad.compiler.cuda.natives.ranges import Ranges
from funcgrad.compiler.cuda.natives.teams import BLOCK, ROWS
from funcgrad.compiler.expressions import computed, stored
from funcgrad.compiler.natives import Before, NativeKernel
from funcgrad.compiler.natives import scattering as cpu
from funcgrad.compiler.natives.scattering import COMBINED, SUMS, Plan
from funcgrad.compiler.natives.windows import Text, raw, slots_of
from funcgrad.core.jaxpr import Atom, Equation, Literal
from funcgrad.core.types import ShapedArray, shaped_array

FEW = 16
"""Updates of a row up to which a thread goes through them."""
MANY = 1 << 15
"""Updates from which the last one of each place is looked for, or which are brought into the order of their places."""
ATOMIC = {"scatter_add": "atomic_add", "add_along": "atomic_add", "scatter_min": "atomic_min", "scatter_max": "atomic_max"}
"""Words that combine integers in memory."""


def unless_the_same(aval: ShapedArray) -> NativeKernel:
    """Copies an array, unless it already is where it should be."""
    name, piece = raw(aval.dtype), 16 * BLOCK
    source = f"""def kernel(pointers, sizes, start, stop):
    x = pointer_{name}(pointers, 0)
    y = pointer_{name}(pointers, 1)
    n = word(sizes, 0)
    if word(pointers, 0) != word(pointers, 1):
        high = min(stop * {piece}, n)
        j = start * {piece} + lane({BLOCK})
        while j + {3 * BLOCK} < high:
            v0 = x[j]
            v1 = x[j + {BLOCK}]
            v2 = x[j + {2 * BLOCK}]
            v3 = x[j + {3 * BLOCK}]
            y[j] = v0
            y[j + {BLOCK}] = v1
            y[j + {2 * BLOCK}] = v2
            y[j + {3 * BLOCK}] = v3
            j = j + {4 * BLOCK}
        while j < high:
            y[j] = x[j]
            j = j + {BLOCK}
"""
    rows = max(-(-aval.size // piece), 1)
    return NativeKernel(source, [aval.size], rows, max(-(-rows // (8 * ROWS)), 1), overwrites=0, team=BLOCK)


def _writing(onto: Atom, equation: Equation, text: Text, plan: Plan, x_slot: int | None, u_slot: int) -> NativeKernel | None:
    """The kernel of a plan, which finds the values of ``onto`` in the memory of its result."""
    dtype, name = equation.outs[0].aval.dtype, equation.primitive.name
    template = next((t for kinds, t in COMBINED[name].items() if dtypes.kind(dtype) in kinds), None)
    if template is None:
        return None
    memory, wide = raw(dtype) if template == "{1}" else stored(dtype), computed(dtype)
    combined = template.format("{0}", "{1}", dtype=wide)
    if memory[0] in "iu" and template != "{1}":
        combined = f"{wide}({combined})"
    loops = Ranges.of(plan, combined, any(equation.params.get(key) for key in ("unique", "unique_indices")))
    loops.zero = cpu.constant(dtype.type(0), memory)
    many, index, inputs = loops.updates > MANY, stored(equation.inputs[1].aval.dtype), len(equation.inputs)
    write: Callable[[Text], tuple[int, int, int]]
    before: tuple[Before, ...] = ()
    given: dict[str, tuple[str, int]] = {}
    if loops.updates <= FEW or loops.alone:
        write = loops.by_threads
    elif name in ATOMIC and memory in ("i32", "i64", "u32", "u64"):
        loops.combined = f"{ATOMIC[name]}_{memory}"
        write = loops.by_atomics
    elif many and name == "scatter" and loops.have_winners():
        before = Before(loops.winners(index), (1,), shaped_array((loops.count,), POSITION)),
        given = {"winner": ("i64", inputs)}
        write = loops.by_winners
    elif many and loops.have_lists():
        before = loops.lists(index, inputs)
        given = {"ends": ("i32", inputs + 1), "order": ("i64", inputs + 2)}
        write = loops.by_lists
    else:
        zero = type(onto) is Literal and not onto.value
        write = functools.partial(loops.by_blocks, sums=name in SUMS and memory == wide and memory[0] in "fc" and zero)
    slots = sum(s is not None for s in slots_of(equation)) + (x_slot is None) + len(before)
    text.pointer("y", memory, slots)
    text.pointer("u", memory, u_slot)
    for pointer, (kind, slot) in given.items():
        text.pointer(pointer, kind, slot)
    if plan.mode == "raise":
        text.pointer("failed", "i64", slots + 1)
        text.add("bad = False")
    rows, team, parts = write(text)
    if plan.mode == "raise":
        text.depth = 1
        text.open("if bad:")
        text.add("failed[0] = 1")
    return NativeKernel(text.source(), text.sizes, rows, 1, can_fail=plan.mode == "raise", team=team, before=before, onto=onto,
                        parts=(parts, *plan.shape) if parts > 1 else None)


def scatter(equation: Equation, views: cpu.Views) -> NativeKernel | None:
    return _changing(cpu.scatter, equation, views)


def dynamic_update_slice(equation: Equation, views: cpu.Views) -> NativeKernel | None:
    return _changing(cpu.dynamic_update_slice, equation, views)


def add_along(equation: Equation, views: cpu.Views) -> NativeKernel | None:
    zero = Literal(equation.outs[0].aval.dtype.type(0))
    return cpu.add_along(equation, views, functools.partial(_writing, zero))


def _changing(builder: Callable[..., NativeKernel | None], equation: Equation, views: cpu.Views) -> NativeKernel | None:
    """The kernel of an operation on its first operand, which a variable holds even if it is one repeated value."""
    onto = equation.inputs[0]
    if type(onto) is Literal:
        equation = replace(equation, inputs=(equation.outs[0], *equation.inputs[1:]))
    return builder(equation, views, functools.partial(_writing, onto))
