"""What the kernels of gathers and scatters share: axes with strides, index vectors, and the text of a kernel.

In: views of operands, and where index vectors stand. Out: lines of a kernel's source. An axis of the loops has a size and
one stride for each array that the kernel reads or writes; neighbours through which all arrays pass as if they were one are
merged, so that equal loops have one source whatever the rank they came from.

    gather of rows, f32[50000,64] by i64[8192]:   axes (8192: index 1), (64: operand 1);  component (last 49999, step 64)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad.compiler.expressions import stored
from funcgrad.compiler.view import View
from funcgrad.core.jaxpr import Equation, Literal

CHUNK = 1 << 16
"""Elements that one thread moves at a time. Fixed, so that results do not depend on the threads."""
UNROLLED = 16
"""Sizes up to this are part of a kernel's text, so that LLVM unrolls the loop."""
OVERHEAD = 8
"""What an index vector costs, in elements moved."""


@dataclass(slots=True)
class Axis:
    """A loop: how often, and how far each array moves in a step. ``dim`` is the operand's axis, if it is one.

    A ``pinned`` axis is never merged with its neighbours.
    """

    size: int
    steps: tuple[int, ...]
    dim: int | None = None
    pinned: bool = False


def merged(axes: Sequence[Axis]) -> list[Axis]:
    """The same loops, as few as possible."""
    out: list[Axis] = []
    for axis in axes:
        if axis.size == 1 and not axis.pinned:
            continue
        last = out[-1] if out else None
        if last is not None and not (last.pinned or axis.pinned) \
                and all(s == t * axis.size for s, t in zip(last.steps, axis.steps, strict=True)):
            out[-1] = Axis(last.size * axis.size, axis.steps)
        else:
            out.append(axis)
    return out


@dataclass(slots=True)
class Component:
    """One number of an index vector: how it is loaded, the axis it addresses, the largest start, and the operand's stride."""

    load: Callable[[str], str]
    """The expression of the number, from the position of its index vector."""
    dim: int
    size: int
    last: int
    step: int
    wrap: bool
    """Negative numbers count from the end."""


def slots_of(equation: Equation) -> list[int | None]:
    """The operand slot of each input; literals have none."""
    slots: list[int | None] = []
    for atom in equation.inputs:
        slots.append(None if type(atom) is Literal else sum(s is not None for s in slots))
    return slots


def index_text(dtype: np.dtype, place: str) -> str:
    """An index as an int64; one too large for it stays too large for any axis."""
    return f"i64(min({place}, u64(9223372036854775807)))" if stored(dtype) == "u64" else f"i64({place})"


def raw(dtype: np.dtype) -> str:
    """The dtype by which values are moved unchanged: one kernel does for all dtypes of a size."""
    return "c128" if dtype.itemsize == 16 else f"u{8 * dtype.itemsize}"


def plus(*terms: str) -> str:
    return " + ".join(t for t in terms if t) or "0"


@dataclass(slots=True)
class Text:
    """A kernel in the making: lines at the top, which name pointers and sizes, and lines below."""

    head: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    depth: int = 1

    def pointer(self, name: str, dtype: str, slot: int) -> None:
        self.head.append(f"{name} = pointer_{dtype}(pointers, {slot})")

    def word(self, value: int) -> str:
        """A size, a stride or another number that the call passes."""
        name = f"n{len(self.sizes)}"
        self.head.append(f"{name} = word(sizes, {len(self.sizes)})")
        self.sizes.append(value)
        return name

    def count(self, size: int, innermost: bool = True) -> str:
        """The number of steps of a loop."""
        return str(size) if innermost and size <= UNROLLED else self.word(size)

    def times(self, name: str, step: int) -> str:
        """A product of a name and a stride."""
        return "" if step == 0 else name if step == 1 else f"{name} * {self.word(step)}"

    def position(self, names: Sequence[str], steps: Sequence[int]) -> str:
        """A sum of products: where an element is."""
        return plus(*[self.times(name, step) for name, step in zip(names, steps, strict=True)])

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def open(self, line: str) -> None:
        """A line that begins a block."""
        self.add(line)
        self.depth += 1

    def close(self, count: int = 1) -> None:
        self.depth -= count

    def source(self) -> str:
        head = ["    " + line for line in self.head]
        return "\n".join(["def kernel(pointers, sizes, start, stop):", *head, *self.lines]) + "\n"

    def starts(self, components: Sequence[Component], mode: str, at: str) -> list[str]:
        """Lines that bring an index vector inside: ``c0``, ``c1`` ...; returns their products with the strides.

        Whatever the numbers are, the window that begins there lies in the operand. ``bad`` becomes true, in mode "raise",
        and ``ok`` false, in mode "fill", for a vector that was not inside.
        """
        if mode == "fill":
            self.add("ok = True")
        for j, c in enumerate(components):
            self.add(f"s{j} = {c.load(at)}")
            if c.wrap:
                self.add(f"s{j} = s{j} + {self.word(c.size)} if s{j} < 0 else s{j}")
            self.add(f"c{j} = min(max(s{j}, 0), {self.word(c.last)})")
            if mode == "raise":
                self.add(f"bad = bad | (c{j} != s{j})")
            elif mode == "fill":
                self.add(f"ok = ok & (c{j} == s{j})")
        return [self.times(f"c{j}", c.step) for j, c in enumerate(components)]


def vector_components(dn: Any, shape: Sequence[int], sizes: Sequence[int], mode: str, steps: Sequence[int], dtype: np.dtype,
                      stride: int) -> list[Component]:
    """The components of the index vectors of a gather or a scatter; ``stride`` leads from one to the next in memory."""
    found = []
    for j, d in enumerate(dn.start_index_map):
        last = shape[d] - max(sizes[d], d in dn.collapsed_slice_dims)
        step = 0 if sizes[d] == shape[d] else steps[d]  # a window as large as the axis starts at 0
        found.append(Component(_loader(dtype, j * stride), d, shape[d], last, step, mode == "raise"))
    return found


def _loader(dtype: np.dtype, offset: int) -> Callable[[str], str]:
    def load(at: str) -> str:
        return index_text(dtype, f"i[{plus(at if at != '0' or not offset else '', str(offset) if offset else '')}]")

    return load


def scalar_components(equation: Equation, first: int, shape: Sequence[int], sizes: Sequence[int], wrap: Sequence[bool],
                      steps: Sequence[int], text: Text) -> list[Component]:
    """The components of one window whose starts are operands of their own, or literals, from the position ``first`` on."""
    slots, found = slots_of(equation), []
    for d, (atom, slot) in enumerate(zip(equation.inputs[first:], slots[first:], strict=True)):
        if shape[d] == sizes[d]:
            continue
        if slot is None:
            name = text.word(min(int(atom.value), 2**63 - 1))  # type: ignore[union-attr]
        else:
            text.pointer(f"i{d}", stored(atom.aval.dtype), slot)
            name = index_text(atom.aval.dtype, f"i{d}[0]")
        found.append(Component(_always(name), d, shape[d], shape[d] - sizes[d], steps[d], wrap[d]))
    return found


def _always(name: str) -> Callable[[str], str]:
    return lambda at: name


def vector_view(view: View) -> tuple[tuple[int, ...], int]:
    """The strides of the batch of index vectors, and that from a component to the next."""
    if view.shape[-1] == 0:
        return (0,) * (len(view.shape) - 1), 0
    return view.strides[:-1], 0 if view.shape[-1] == 1 else view.strides[-1]
