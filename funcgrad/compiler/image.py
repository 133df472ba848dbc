"""The image of a program: what its results are, where its buffers lie, and its instruction table.

In: a jaxpr after the passes. Out: an ``Image``: the part of an executable that is the same for every target. Whoever runs it
adds what a kernel, a product and a host step are in the table, and what a call passes.

    KERNEL ...   RESET 0 ...   ITERATE 0 10 ...   KERNEL ...   NEXT 0 2 ...   END
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.compiler import donation, memory
from funcgrad.compiler.lifetimes import Lifetimes
from funcgrad.compiler.nodes import Plan, Step
from funcgrad.compiler.schedule import schedule
from funcgrad.compiler.view import Buffer, View, whole
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Jaxpr, Literal

# The words that executor.py defines; it imports Numba, so they are stated here too and compared by a test.
WIDTH = 8
END, KERNEL, GEMM, HOST, ITERATE, NEXT, RESET, UNLESS, SWITCH, JUMP, REGION = range(11)
_BYTE = np.dtype(np.uint8)
OWNED = 4096
"""Bytes of an arena up to which each frame keeps its own."""


class Image:
    """``donated`` are the numbers of the inputs whose memory results may take."""

    target = "cpu"
    memory: Any = memory
    """Who has memory for a call: ``empty``, ``copy`` and ``alone`` are those of ``memory.py`` for its device."""
    def __init__(self, jaxpr: Jaxpr, donated: Sequence[int] = ()):
        with memory.uncollected():
            self.schedule = schedule(jaxpr, self.target)
        self.pairs = donation.pair(self.schedule, [i for i in donated if jaxpr.in_avals[i].shape])
        self.place_results(jaxpr)
        self.place_buffers()
        self.assemble()

    # ------------------------------------------------------------ what a target adds

    def is_cell(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Whether a result that has these shapes is a number in a frame's memory, of which each call returns a copy."""
        return not any(shapes)

    def value(self, value: Any, shape: tuple[int, ...], weak_type: bool) -> DeviceArray:
        """A result that is known before the program runs."""
        return DeviceArray(buffer_of(value).reshape(shape), weak_type)

    def keeps_arena(self, nbytes: int) -> bool:
        """Whether a frame has an arena of this size, instead of each call."""
        return nbytes <= OWNED

    def kernel(self, step: Step) -> None:
        """Adds the instruction of a kernel."""
        raise NotImplementedError

    def gemm(self, step: Step) -> None:
        """Adds the instruction of a matrix product."""
        raise NotImplementedError

    # ------------------------------------------------------------ results and memory

    def place_results(self, jaxpr: Jaxpr) -> None:
        """What each result is: a buffer that is allocated for it, an input, or a value known already."""
        plan = self.schedule
        self.out_avals = jaxpr.out_avals
        computed: dict[Buffer, list[tuple[int, ...]]] = {}
        for out, aval in zip(plan.outs, jaxpr.out_avals, strict=True):
            if type(out) is not Literal and out.buffer.role not in ("input", "const"):
                computed.setdefault(out.buffer, []).append(aval.shape)
        self.results = [buffer for buffer, shapes in computed.items() if not self.is_cell(shapes)]
        self.cells = [buffer for buffer, shapes in computed.items() if self.is_cell(shapes)]
        """Numbers, whose memory a frame has: the result is a copy."""
        self.shapes = [(computed[buffer][0], buffer.dtype) for buffer in self.results]
        self.outs: list[tuple[str, Any, bool]] = []
        for out, aval in zip(plan.outs, jaxpr.out_avals, strict=True):
            if type(out) is Literal:
                self.outs.append(("value", self.value(out.value, aval.shape, aval.weak_type), False))
            elif out.buffer.role == "input":
                self.outs.append(("input", (plan.inputs.index(out.buffer), aval.shape), aval.weak_type))
            elif out.buffer.role == "const":
                value = next(c for b, c in plan.consts if b is out.buffer)
                self.outs.append(("value", self.value(value, aval.shape, aval.weak_type), False))
            else:
                kind, places = ("cell", self.cells) if out.buffer in self.cells else ("result", self.results)
                self.outs.append((kind, (places.index(out.buffer), aval.shape), aval.weak_type))
        for buffer in computed:
            buffer.role = "result"
        self.plain = all(kind in ("result", "cell") for kind, _, _ in self.outs) and len(self.outs) == len(computed)

    def place_buffers(self) -> None:
        """Numbers the bases: inputs, results and arena, which a call passes; what a frame has; constants; what moves."""
        plan = self.schedule
        needed = Lifetimes(plan.steps)
        self.can_fail = needed.failing
        offsets, self.arena_size = memory.plan([(*span, buffer.nbytes) for buffer, span in needed.spans.items()])
        self.offsets = dict(zip(needed.spans, offsets, strict=True))
        arena = Buffer(_BYTE, self.arena_size, "result")
        self.owned = list(self.cells)
        """What a frame has memory for: numbers, and an arena that is small."""
        if needed.spans and self.keeps_arena(self.arena_size):
            self.owned.append(arena)
        elif needed.spans:
            self.results.append(arena)
            self.shapes.append(((self.arena_size,), _BYTE))
        self.passed = [*plan.inputs, *self.results, *self.owned]
        self.arena_base = self.passed.index(arena) if needed.spans else -1
        bases = [*self.passed, *[b for b, _ in plan.consts], plan.failure, *needed.moving]
        for i, buffer in enumerate(bases):
            buffer.index = i
        self.base_count = len(bases)

    # ------------------------------------------------------------ the instruction table

    def assemble(self) -> None:
        """Writes the instruction table and what it refers to."""
        self.instructions: list[list[int]] = []
        self.operands: list[int] = []
        self.sizes: list[int] = []
        self.hosts: list[Step] = []
        self.counters = 0
        self.begin()
        self.steps(self.schedule.steps)
        self.instruction(END)

    def begin(self) -> None:
        """Adds what comes before the first step, if anything does."""

    def steps(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self.step(step)

    def step(self, step: Step) -> None:
        {"kernel": self.kernel, "gemm": self.gemm, "loop": self.loop, "host": self.host}[step.kind](step)

    def instruction(self, *words: int) -> int:
        """Appends an instruction; its position."""
        self.instructions.append([*words, *[0] * (WIDTH - len(words))])
        return len(self.instructions) - 1

    def host(self, step: Step) -> None:
        self.hosts.append(step)
        self.instruction(HOST, len(self.hosts) - 1)

    def loop(self, step: Step) -> None:
        plan = step.kernel
        counter = self.counters
        self.counters += 1
        homes = [(buffer, whole(home, (home.size,)), 0) for pair in plan.pairs
                 for buffer, home in zip(pair, pair[0].homes, strict=True)]
        if plan.kind == "choice":
            self.choice(step, plan, counter)
            return
        first = self.add_moves(homes)
        self.instruction(RESET, counter, first, len(homes))
        moves = self.add_moves(plan.moves)
        swaps = self.add_pairs(plan.pairs)
        top = len(self.instructions)
        if plan.kind == "loop":
            leave = self.instruction(ITERATE, counter, plan.length, plan.reverse, moves, len(plan.moves))
            (steps, _), = plan.parts
        else:
            (condition, going), (steps, _) = plan.parts
            self.steps(condition)
            leave = self.instruction(UNLESS, self.add_operands([going]))
        self.steps(steps)
        self.instruction(NEXT, counter, top, swaps, len(plan.pairs))
        self.instructions[leave][6 if plan.kind == "loop" else 2] = len(self.instructions)

    def choice(self, step: Step, plan: Plan, counter: int) -> None:
        self.instruction(RESET, counter, self.add_moves(plan.moves), len(plan.moves))
        targets = len(self.sizes)
        self.sizes += [0] * len(plan.parts)
        self.instruction(SWITCH, self.add_operands([step.reads[0]]), 4, len(plan.parts), targets)
        leave = []
        for i, (steps, _) in enumerate(plan.parts):
            self.sizes[targets + i] = len(self.instructions)
            self.steps(steps)
            leave.append(self.instruction(JUMP))
        for position in leave:
            self.instructions[position][1] = len(self.instructions)

    def add_operands(self, views: Sequence[View]) -> int:
        """Adds operands to the table; the position of the first."""
        start = len(self.operands) // 2
        for view in views:
            self.operands += self.place(view)
        return start

    def add_moves(self, moves: Sequence[tuple[Buffer, View, int]]) -> int:
        """Adds moves to the table of operands; the position of the first."""
        start = len(self.operands) // 2
        for move in moves:
            self.operands += self.move(move)
        return start

    def add_pairs(self, pairs: Sequence[tuple[Buffer, Buffer]]) -> int:
        """Adds pairs that change places to the table of operands; the position of the first."""
        start = len(self.operands) // 2
        self.operands += [b.index for pair in pairs for b in pair]
        return start

    def move(self, move: tuple[Buffer, View, int]) -> tuple[int, int, int, int]:
        """A buffer, where it is placed (a base and an offset), and how many bytes further with each iteration."""
        buffer, view, step = move
        return buffer.index, *self.place(view), step * view.buffer.dtype.itemsize

    def place(self, view: View) -> tuple[int, int]:
        """The base and the offset in bytes of a view."""
        offset = view.offset * view.buffer.dtype.itemsize
        if view.buffer.role == "arena":
            return self.arena_base, self.offsets[view.buffer] + offset
        return view.buffer.index, offset

    # ------------------------------------------------------------ donation

    def shared(self, inputs: list[Any], given: Sequence[int]) -> list[Any]:
        """Memory for the results; where an input's is not to be had, a result that has to be together with it gets a copy."""
        found: dict[Buffer, Any] = {}
        for pair in self.pairs:
            i = pair.input
            if i not in given or not self.memory.alone(inputs, i):
                if not pair.together:
                    continue
                inputs[i] = self.memory.copy(inputs[i])
            found[pair.result] = inputs[i]
        return [found[buffer].reshape(shape) if buffer in found else self.memory.empty(shape, dtype)
                for buffer, (shape, dtype) in zip(self.results, self.shapes, strict=True)]


def buffer_of(value: Any) -> Any:
    """The buffer of a constant."""
    return value._data if isinstance(value, DeviceArray) else value
