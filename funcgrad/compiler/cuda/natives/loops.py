"""The loops of an update at computed places, and their forms in which each update or each row has a thread.

In: a ``Plan`` of the processor's. Out: lines of a kernel. Rows are axes along which updates never meet; the others are walked
in their order. A *place* is a number for the axes of the result that are addressed: updates of different places never meet.

    x.at[i].add(u), f64[1000,64], i64[5000]:    64 rows, 5000 updates walked, 1000 places
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.scattering import Plan
from funcgrad.compiler.natives.windows import Axis, Text, merged, plus
from funcgrad.compiler.view import row_major
from funcgrad.core.jaxpr import Literal

MOST_PLACES = 64
"""Places for each update up to which the last update of each place is looked for."""
ALONE = 1 << 14
"""Rows that keep a GPU busy with a thread for each, where each has index vectors of its own."""
ALIKE = 1 << 18
"""The same where all have the same: a thread then waits for memory that is far away more often than a block does."""
POSITION = np.dtype(np.int64)


@dataclass
class Loops:
    """How the loops of a plan are done: ``rows`` do not depend on each other, ``walked`` axes are gone through in their order.

    Steps are those of updates, index, result and, of walked axes, places; ``places`` has those of the addressed axes.
    """

    plan: Plan
    combined: str
    rows: list[Axis]
    walked: list[Axis]
    places: dict[int, int]
    zero: str = ""

    @classmethod
    def of(cls, plan: Plan, combined: str, unique: bool) -> Self:
        """The loops of a plan; ``unique`` says that nothing is written twice."""
        moving = sorted({c.dim for c in plan.components if c.step})
        places = dict(zip(moving, row_major([plan.shape[d] for d in moving]), strict=True))
        axes = sorted(plan.axes, key=lambda axis: -(abs(axis.steps[2]) or math.inf))
        if unique or all(axis.dim is not None or axis.size == 1 for axis in axes):  # such as the window of one index vector
            return cls(plan, combined, merged([Axis(a.size, a.steps) for a in axes]), [], places)
        rows = [Axis(a.size, a.steps) for a in axes if a.dim is not None and a.dim not in places]
        walked = [Axis(a.size, (*a.steps, places.get(a.dim, 0))) for a in plan.axes  # type: ignore[arg-type]
                  if a.dim is None or a.dim in places]
        return cls(plan, combined, merged(rows), merged(walked), places)

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod([self.plan.shape[d] for d in self.places])

    @property
    def updates(self) -> int:
        return math.prod([axis.size for axis in self.walked])

    @property
    def alone(self) -> bool:
        """Whether rows are so many that a thread may go through the updates of each."""
        least = ALONE if any(axis.steps[1] for axis in self.rows) else ALIKE
        return math.prod([axis.size for axis in self.rows]) >= least

    def starts(self, text: Text, names: Sequence[str]) -> list[str]:
        """Lines that find where an index vector leads; its products with the result's strides."""
        at = plus("index" if any(axis.steps[1] for axis in self.rows) else "", text.position(names, self.steps(1)))
        return text.starts(self.plan.components, self.plan.mode, at if at != "0" or names else "0")

    def steps(self, array: int) -> list[int]:
        return [axis.steps[array] for axis in self.walked]

    def begin(self, text: Text, rest: str) -> None:
        """Where a row begins: in the index, the updates and the result."""
        names = [f"a{k}" for k in range(len(self.rows))]
        for k in range(len(names) - 1, -1, -1):
            size = text.word(self.rows[k].size)
            text.add(f"a{k} = {rest} % {size}" if k else f"a0 = {rest}")
            if k:
                text.add(f"q{k} = {rest} // {size}")
                rest = f"q{k}"
        for name, array in (("index", 1), ("from_", 0), ("to_", 2)):
            if name != "index" or any(axis.steps[1] for axis in self.rows):
                text.add(f"{name} = {text.position(names, [axis.steps[array] for axis in self.rows])}")

    def by_threads(self, text: Text) -> tuple[int, int, int]:
        """Each row has a thread."""
        text.open("for r in range(start, stop):")
        self.begin(text, "r")
        names = [f"b{k}" for k in range(len(self.walked))]
        for k, name in enumerate(names):
            text.open(f"for {name} in range({text.count(self.walked[k].size, k == len(names) - 1)}):")
        products = self.starts(text, names)
        if self.plan.mode == "fill":
            text.open("if ok:")
        text.add(f"to = {plus('to_', *products, text.position(names, self.steps(2)))}")
        update = f"u[{plus('from_', text.position(names, self.steps(0)))}]"
        text.add(f"y[to] = {self.combined.format('y[to]', update)}")
        return math.prod([axis.size for axis in self.rows]), 1, 1

    def by_atomics(self, text: Text) -> tuple[int, int, int]:
        """Each update has a thread, where the processor of the memory combines numbers, and their order does not matter."""
        every = Loops(self.plan, "", [*self.rows, *[Axis(axis.size, axis.steps[:3]) for axis in self.walked]], [], self.places)
        text.open("for r in range(start, stop):")
        every.begin(text, "r")
        products = every.starts(text, [])
        if self.plan.mode == "fill":
            text.open("if ok:")
        text.add(f"{self.combined}(y, {plus('to_', *products)}, u[from_])")
        return math.prod([axis.size for axis in every.rows]), 1, 1

    def have_winners(self) -> bool:
        """Whether it pays to find for each place the last update that leads there."""
        return not any(axis.steps[1] for axis in self.rows) and self.count <= MOST_PLACES * self.updates

    def winners(self, index: str) -> NativeKernel:
        """For each place the number of the last update that leads there, or -1."""
        text = Text()
        text.pointer("i", index, 0)
        text.pointer("winner", "i64", 2)
        text.add("bad = False")
        text.open("for r in range(start, stop):")
        self.place(text, "r")
        if self.plan.mode == "fill":
            text.open("if good:")
        text.add("atomic_max_i64(winner, place, r)")
        return NativeKernel(text.source(), text.sizes, self.updates, 1, onto=Literal(POSITION.type(-1)))

    def by_winners(self, text: Text) -> tuple[int, int, int]:
        """Each update has a thread, which writes it if no later one comes to its place."""
        inside = math.prod([axis.size for axis in self.rows])
        text.open("for r in range(start, stop):")
        part, e = digit(text, "r", inside, "inside")
        names, products = self.place(text, e)
        if self.plan.mode == "fill":
            text.open("if good:")
        text.open(f"if winner[place] == {e}:")
        self.begin(text, part)
        to = plus("to_", *products, text.position(names, self.steps(2)))
        text.add(f"y[{to}] = u[{plus('from_', text.position(names, self.steps(0)))}]")
        return inside * self.updates, 1, 1

    def place(self, text: Text, rest: str) -> tuple[list[str], list[str]]:
        """Lines that find the coordinates of an update from its number, and the place to which it leads if that is ``good``."""
        names = [f"w{k}" for k in range(len(self.walked))]
        for k in range(len(names) - 1, 0, -1):
            size = text.word(self.walked[k].size)
            text.add(f"w{k} = {rest} % {size}")
            text.add(f"z{k} = {rest} // {size}")
            rest = f"z{k}"
        text.add(f"w0 = {rest}")
        products = self.starts(text, names)
        text.add(f"good = {'ok' if self.plan.mode == 'fill' else 'True'}")
        starts = [text.times(f"c{j}", self.places[c.dim]) for j, c in enumerate(self.plan.components) if c.step]
        text.add(f"place = {plus(*starts, text.position(names, self.steps(3)))}")
        return names, products


def digit(text: Text, rest: str, count: int, name: str) -> tuple[str, str]:
    """The last digit of a number whose digits are below ``count``, and the number without it."""
    if count == 1:
        return "0", rest
    size = text.word(count)
    text.add(f"{name} = {rest} % {size}")
    text.add(f"{name}_ = {rest} // {size}")
    return name, f"{name}_"
