"""The table of a program for a GPU, and what the device has of it.

In: a jaxpr after the passes. Out: a ``CudaImage``: kernels loaded, constants and tables uploaded, and for each loop what its
beginning and its steps do to the table of bases (an ``Action``), and how many of its iterations are launched together.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.compiler.cuda import contraction
from funcgrad.compiler.cuda.driver import Driver, geometry
from funcgrad.compiler.image import GEMM, HOST, ITERATE, KERNEL, NEXT, RESET, SWITCH, UNLESS, Image, buffer_of
from funcgrad.compiler.nodes import Step, walk
from funcgrad.compiler.view import Buffer, View
from funcgrad.core.array import CudaArray, DeviceArray

UNROLLED = 4096
"""Launches up to which a counted loop is unrolled, so that it is launched as one."""
OWNED, OWNED_BY_PRODUCTS = 1 << 18, 1 << 24
"""Bytes of an arena up to which each frame keeps its own; more where products are, whose graphs are for one place of it."""

CONTROL = """
def kernel(pointers, sizes, start, stop):
    bases = pointer_i64(pointers, 0)
    counters = pointer_i64(pointers, 1)
    pairs = pointer_i64(pointers, 2)
    moves = pointer_i64(pointers, 3)
    operands = pointer_i64(pointers, 4)
    places = pointer_i64(pointers, 5)
    addresses = pointer_i64(pointers, 6)
    counter = word(sizes, 2)
    if lane(256) == 0:
        counters[counter] = (counters[counter] + 1) * word(sizes, 3)
    for i in range(word(sizes, 0) + lane(256), word(sizes, 1), 256):
        a = pairs[2 * i]
        b = pairs[2 * i + 1]
        base = bases[a]
        bases[a] = bases[b]
        bases[b] = base
    sync(256)
    index = word(sizes, 4) + counters[counter] * word(sizes, 5)
    for i in range(word(sizes, 6) + lane(256), word(sizes, 7), 256):
        bases[moves[4 * i]] = bases[moves[4 * i + 1]] + moves[4 * i + 2] + moves[4 * i + 3] * index
    sync(256)
    for i in range(word(sizes, 8) + lane(256), word(sizes, 9), 256):
        k = places[i]
        addresses[k] = bases[operands[2 * k]] + operands[2 * k + 1]
""".lstrip()
"""RESET and NEXT: counts, swaps bases, moves bases, and resolves the operands that this changes.

The sizes are those of an ``Action``: which pairs; the counter, and what it is multiplied by; the index of the first iteration
and the step from one to the next; which moves; which operands.
"""


class Action(NamedTuple):
    """What RESET or NEXT does to the bases: ``CONTROL`` on the device, and the same on the host, which knows all addresses."""

    keep: int
    """0 for RESET, which sets the counter to 0; 1 for NEXT, which counts."""
    counter: int
    first: int
    direction: int
    pairs: list[tuple[int, int]]
    moves: list[tuple[int, int, int, int]]


class CudaImage(Image):
    """``kernels`` and ``products`` are what the instructions KERNEL and GEMM name by their numbers."""

    target = "cuda"
    driver: Driver

    def is_cell(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Numbers are results as others are: reading one would wait for the device."""
        return False

    def keeps_arena(self, nbytes: int) -> bool:
        products = any(step.kind == "gemm" for step, _, _ in walk(self.schedule.steps))
        return nbytes <= (OWNED_BY_PRODUCTS if products else OWNED)

    def value(self, value: Any, shape: tuple[int, ...], weak_type: bool) -> DeviceArray:
        return CudaArray(self.driver.put(buffer_of(value)).reshape(shape), weak_type)

    def assemble(self) -> None:
        """Writes the instruction table, and uploads the tables that do not change."""
        self.kernels: list[tuple[Any, int, int, int, int, int]] = []
        self.products: list[list[int]] = []
        self.moves: list[int] = []
        self.swaps: list[int] = []
        super().assemble()
        self.write_actions()
        self.choose_stretches()
        self.constants = [self.driver.put(buffer_of(c)) for _, c in self.schedule.consts]
        self.control = self.driver.load(CONTROL)
        self.tables = [self.driver.put(np.array(t or [0], np.int64))
                       for t in (self.swaps, self.moves, self.operands, self.places, self.sizes)]

    def begin(self) -> None:
        """All operands are resolved once, by an action that does nothing else."""
        self.instruction(RESET, self.counters, 0, 0)
        self.counters += 1

    def kernel(self, step: Step) -> None:
        k = step.kernel
        if k.rows:
            self.instruction(KERNEL, len(self.kernels), self.add_operands(k.operands), len(self.sizes))
            self.kernels.append((self.driver.load(k.source), *geometry(k.rows, k.chunk, k.team), k.rows, k.chunk, k.team))
            self.sizes += k.sizes

    def gemm(self, step: Step) -> None:
        self.instruction(GEMM, len(self.products), self.add_operands([*step.reads[:2], *step.writes]))
        self.products.append(contraction.record(step))

    def add_moves(self, moves: Sequence[tuple[Buffer, View, int]]) -> int:
        start = len(self.moves) // 4
        for move in moves:
            self.moves += self.move(move)
        return start

    def add_pairs(self, pairs: Sequence[tuple[Buffer, Buffer]]) -> int:
        start = len(self.swaps) // 2
        self.swaps += [b.index for pair in pairs for b in pair]
        return start

    def write_actions(self) -> None:
        """What each RESET and NEXT does, and where its numbers for ``CONTROL`` are in the sizes."""
        self.actions: dict[int, tuple[Action, int]] = {}
        using: dict[int, list[int]] = {}
        for k, base in enumerate(self.operands[::2]):
            using.setdefault(base, []).append(k)
        self.places = list(range(len(self.operands) // 2))
        resolved: dict[int, tuple[int, int]] = {}
        for i, (kind, counter, *rest) in enumerate(self.instructions):
            if kind == RESET:
                first, count = rest[:2]
                loop = self.instructions[i + 1]
                if loop[:2] == [ITERATE, counter]:
                    count += loop[5]
                moved = dict.fromkeys(self.moves[4 * first:4 * (first + count):4])
                start = len(self.places)
                self.places += [k for base in moved for k in using.get(base, ())]
                resolved[counter] = (start, len(self.places)) if i else (0, start)
                self.add_action(i, 0, counter, loop, (0, 0), (first, first + count), resolved[counter])
            elif kind == NEXT:
                top, swaps, count = rest[:3]
                loop = self.instructions[top]
                moves = (loop[4], loop[4] + loop[5]) if loop[0] == ITERATE else (0, 0)
                self.add_action(i, 1, counter, loop, (swaps, swaps + count), moves, resolved[counter])

    def add_action(self, i: int, keep: int, counter: int, loop: list[int], pairs: tuple[int, int], moves: tuple[int, int],
                   places: tuple[int, int]) -> None:
        first, direction = (loop[2] - 1, -1) if loop[:2] == [ITERATE, counter] and loop[3] else (0, 1)
        swaps, m = self.swaps, self.moves
        action = Action(keep, counter, first, direction, [(swaps[2 * k], swaps[2 * k + 1]) for k in range(*pairs)],
                        [(m[4 * k], m[4 * k + 1], m[4 * k + 2], m[4 * k + 3]) for k in range(*moves)])
        self.actions[i] = action, len(self.sizes)
        self.sizes += [*pairs, counter, keep, first, direction, *moves, *places]

    def choose_stretches(self) -> None:
        """``at_once``: how many iterations of each counted loop one stretch has, by the position of its ITERATE.

        None at all, where the host has to look while an iteration runs.
        """
        self.at_once: dict[int, int] = {}
        tops = {word[2] for word in self.instructions if word[0] == NEXT}
        open_loops: list[list[Any]] = [[0, False]]  # launches so far, whether the host has to look
        for i, word in enumerate(self.instructions):
            if i in tops:
                open_loops.append([0, False])
            if word[0] in (KERNEL, GEMM, RESET, NEXT):
                open_loops[-1][0] += 1
            elif word[0] in (HOST, UNLESS, SWITCH):
                open_loops[-1][1] = True
            if word[0] == NEXT:
                launches, looks = open_loops.pop()
                loop, outer = self.instructions[word[2]], open_loops[-1]
                if loop[0] == ITERATE:
                    length = loop[2]
                    fits = not looks and length * launches <= UNROLLED
                    self.at_once[word[2]] = length if fits else 0 if looks else max(UNROLLED // launches, 1)
                    looks = not fits
                    outer[0] += length * launches * fits
                outer[1] |= looks
