"""From a cluster to the source of a kernel for the threads of a GPU.

In: a cluster of nodes. Out: a ``Kernel`` with its team: how many threads run a chunk of its rows together. Threads share a
kernel in one of three ways (``Sharing``): a row each, the elements of a row, or the columns of some rows.

    for r in range(start, stop):                          # a team of 256 threads for each row
        t0 = f64(0.0)
        for j0 in range(lane(256), s1, 256):
            t0 = t0 + f64(p0[b0 + j0])
        t0 = t0 + exchange_f64(t0, 16, 256)               # and for 8, 4, 2, 1, 32, 64, 128: all threads have the sum
        if lane(256) == 0:
            p1[r] = t0

Which thread adds what depends on sizes alone, and partial sums are combined in a fixed order, so results do not depend on how
threads happen to run.
"""
from __future__ import annotations

import enum
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.codegen import UNROLLED, Kernel, Operand, Writer, indented
from funcgrad.compiler.expressions import combination, computed, identity, stored
from funcgrad.compiler.view import Buffer, View, row_major
from funcgrad.core.jaxpr import Var

WARP, BLOCK = 32, 256
"""Threads that run in step, and threads of a block: the two sizes of a team."""
ACCESS = 16
"""Bytes that a thread reads or writes at once."""
SHORT = 1024
"""Elements of a row up to which a warp is enough for it."""
AT_ONCE = 2048
"""Blocks that a GPU runs at once, a few times over. Where a chunk costs memory there are no more, but longer ones."""
SUMMED = 256
"""Elements that a thread adds up before it adds them to a total in float64."""
RECOMPUTED = 48
"""Operations up to which a value is computed again: arithmetic costs a GPU less than memory."""
LONG_COLUMN = 16
"""Rows that a thread adds up along a column at least."""


class Sharing(enum.Enum):
    """What the threads of a team divide among themselves."""

    ROWS = "each takes a row"
    ELEMENTS = "all take parts of the same row"
    COLUMNS = "each takes a column and goes through the rows of the chunk"


def write_kernel(cluster: Any, scheduler: Any, is_stored: Callable[[Var], bool]) -> Kernel:
    """The kernel of a cluster; what it reads and writes is decided."""
    writer = CudaWriter(cluster, scheduler, is_stored)
    kernel = writer.kernel()
    kernel.team = writer.team
    return kernel


class CudaWriter(Writer):
    """Writes one kernel whose chunks are run by teams."""

    recomputed = RECOMPUTED

    def cut(self, outer: list[list[int]], weight: int) -> None:
        """Decides how the threads share the kernel, and how many rows are a chunk."""
        self.lanes = []
        self.rows = math.prod(self.sizes[a] for a in self.outer)
        self.inner_groups = self.groups(self.inner)
        self.sharing = self.chosen(outer)
        group = self.outer if self.sharing is Sharing.ROWS else self.inner
        self.split = self.widest()
        self.vector = self.neighbours(group)
        if self.sharing is Sharing.ROWS:
            self.team = WARP if self.inner else BLOCK
            steps = max(self.rows // (self.team * self.vector * 2 * AT_ONCE), 1)
            self.chunk = self.team * self.vector * (min(steps, 8) if not self.partials else steps)
        elif self.sharing is Sharing.ELEMENTS:
            self.team = WARP if self.width <= SHORT else BLOCK
            teams = AT_ONCE * BLOCK // self.team // (4 if self.partials else 1)
            self.chunk = max(-(-self.rows // teams), 1) if self.partials or self.kept() else 1
        else:
            self.team = WARP if self.width <= BLOCK // 2 else BLOCK
            self.tiles = -(-self.width // self.team)
            chunks = max(2 * AT_ONCE * WARP // max(self.tiles * self.team, 1), 1)
            self.chunk = max(-(-self.rows // chunks), min(LONG_COLUMN, self.rows), 1)

    def launched(self) -> tuple[int, int]:
        if self.sharing is Sharing.COLUMNS:
            return self.chunk_count() * self.tiles, 1
        return self.rows, self.chunk

    def chosen(self, outer: list[list[int]]) -> Sharing:
        """How the threads share the kernel."""
        if not self.inner:
            return Sharing.ROWS
        views, axes = self.scheduler.views, self.cluster.axes
        by_column = [node for node in self.partials if self.strides(views[node.out], axes[node.out])]
        if by_column:
            alone = self.last_stage == 0 and by_column == self.partials \
                and all(node.within for node in self.partials) \
                and not any(self.is_stored(node.out) for node in self.cluster.nodes if node.kind == "map" and not node.within)
            return Sharing.COLUMNS if alone else Sharing.ELEMENTS
        if self.width <= UNROLLED or outer and self.across(outer[-1][-1]):
            return Sharing.ROWS
        return Sharing.ELEMENTS

    def across(self, axis: int) -> bool:
        """Whether neighbours in memory are neighbouring rows, along an axis, not neighbouring elements of a row."""
        strides = self.every_operand()
        inner = self.inner_groups[-1][-1]
        return any(s.get(axis) == 1 and inner in s for s in strides) and not any(s.get(inner) == 1 for s in strides)

    def widest(self) -> int:
        """The group of inner axes that the threads divide: the innermost, unless it is too short for them."""
        sizes = [math.prod(self.sizes[a] for a in group) for group in self.inner_groups]
        if not sizes or sizes[-1] >= WARP:
            return len(sizes) - 1
        return max(range(len(sizes)), key=lambda k: (sizes[k] >= WARP, k if sizes[k] >= WARP else sizes[k]))

    def neighbours(self, axes: Sequence[int]) -> int:
        """How many neighbouring elements a thread takes at once: as many as an access of memory holds, if they lie so."""
        rows = self.sharing is Sharing.ROWS
        groups = self.groups(axes)
        if self.sharing is Sharing.COLUMNS or rows and (self.inner or len(groups) != 1) or self.pinned() & set(axes) \
                or not rows and self.split != len(groups) - 1:
            return 1
        last = groups[-1][-1] if groups else None
        views = self.views_used()
        size = max([view.buffer.dtype.itemsize for view, strides in views if strides.get(last)], default=ACCESS)
        count = max(ACCESS // size, 1)
        length = math.prod(self.sizes[a] for a in (groups[-1] if groups else ()))
        fits = all(view.offset % count == 0 and strides.get(last, 0) in (0, 1)
                   and all(s % count == 0 for a, s in strides.items() if a not in groups[-1])
                   for view, strides in views if strides.get(last))
        while not rows and length < count * WARP and count > 1:
            count //= 2
        return count if length and length % count == 0 and fits else 1

    def step(self, stride: int) -> str:
        """A stride that is a multiple of what a thread takes at once is passed as such, so that LLVM knows it to be one."""
        if self.vector > 1 and stride % self.vector == 0:
            return f"{self.word(stride // self.vector)} * {self.vector}"
        return self.word(stride)

    def views_used(self) -> list[tuple[View, dict[int, int]]]:
        """What the cluster reads and writes, with its strides."""
        found = []
        for node in self.cluster.nodes:
            found += [(self.scheduler.views[atom], self.strides(self.scheduler.views[atom], self.names_of(node)))
                      for atom in node.inputs if type(atom) is Var and not self.inside(atom)]
            if self.is_stored(node.out) and node.kind != "partial":
                view = self.scheduler.views[node.out]
                found.append((view, self.strides(view, self.cluster.axes[node.out])))
        return found

    def pointer(self, operand: Operand) -> str:
        """An operand that is read by whole accesses is promised to lie where they begin."""
        view, name = operand.view, stored(operand.view.buffer.dtype)
        promised = self.vector > 1 and view.buffer.role != "moving" and view.offset * view.buffer.dtype.itemsize % ACCESS == 0
        return f"{'aligned' if promised else 'pointer'}_{name}"

    # ------------------------------------------------------------ loops

    def over_rows(self, lines: list[str]) -> list[str]:
        if self.sharing is Sharing.ROWS:
            return self.divided_loop("r", "start", "stop", lines, bool(self.sums), True)
        if self.sharing is Sharing.ELEMENTS:
            return ["for r in range(start, stop):", *indented(lines)]
        width, tiles, chunk, count = [self.word(n) for n in (self.width, self.tiles, self.chunk, self.rows)]
        rows = [f"for r in range(c * {chunk}, min((c + 1) * {chunk}, {count})):",
                *indented(lines)]
        return ["for v in range(start, stop):",
                *indented([f"c = v // {tiles}", f"u = v % {tiles} * {self.team} + lane({self.team})", f"if u < {width}:",
                           *indented([*self.column_index(), *self.before, *rows, *self.after])])]

    def column_index(self) -> list[str]:
        """The index along each group of inner axes, from the number of the column."""
        lines, rest = [], "u"
        for k in range(len(self.inner_groups) - 1, 0, -1):
            size = self.word(math.prod(self.sizes[a] for a in self.inner_groups[k]))
            lines += [f"j{k} = {rest} % {size}", f"u{k} = {rest} // {size}"]
            rest = f"u{k}"
        return [*lines, f"j0 = {rest}"]

    def over_elements(self, k: int, size: int, count: str, lines: list[str], sums: bool) -> list[str]:
        if self.sharing is Sharing.COLUMNS:
            return lines
        if self.sharing is Sharing.ROWS or k != self.split:
            return super().over_elements(k, size, count, lines, sums)
        return self.divided_loop(f"j{k}", "0", count, lines, sums, size > UNROLLED)

    def divided_loop(self, index: str, first: str, end: str, body: list[str], sums: bool, long: bool) -> list[str]:
        """A loop of which each thread of the team takes every so many elements, or vectors of elements."""
        team, vector = self.team, self.vector
        if vector > 1:
            body = [f"for {index}l in range({vector}):", *indented([f"{index} = {vector} * {index}q + {index}l", *body])]
            index, first, end = f"{index}q", first if first == "0" else f"{first} // {vector}", f"{end} // {vector}"
        begin = f"lane({team})" if first == "0" else f"{first} + lane({team})"
        if not sums:
            return [f"for {index} in range({begin}, {end}, {team}):", *indented(body)]
        before = [f"{block} = {zero}" for _, block, zero in self.sums]
        after = [f"{total} = {total} + f64({block})" for total, block, _ in self.sums]
        self.sums = []
        if not long:
            return [*before, f"for {index} in range({begin}, {end}, {team}):", *indented(body), *after]
        step = SUMMED * team
        loop = f"for {index} in range({index}b + lane({team}), min({index}b + {step}, {end}), {team}):"
        return [f"for {index}b in range({first}, {end}, {step}):", *indented([*before, loop, *indented(body), *after])]

    # ------------------------------------------------------------ what threads have together

    def divided(self, node: Any) -> bool:
        return self.sharing is Sharing.ROWS or node.within

    def combined(self, name: str, code: tuple[str, str], dtype: np.dtype) -> list[str]:
        """Pairs of threads exchange what they have, with partners ever farther away: all end up with the same."""
        if self.sharing is Sharing.ROWS and not self.at_end:
            return []
        distances = [d for d in (16, 8, 4, 2, 1, 32, 64, 128) if d < self.team]
        word = computed(dtype)
        return [f"{name} = {combination(code, dtype, name, f'exchange_{word}({name}, {d}, {self.team})')}" for d in distances]

    def once(self, lines: list[str]) -> list[str]:
        if self.sharing is Sharing.ROWS and not self.at_end:
            return lines
        return [f"if lane({self.team}) == 0:", *indented(lines)]

    def partial(self, node: Any, stage: int) -> None:
        self.at_end = True
        if self.sharing is Sharing.COLUMNS:
            self.column(node, stage)
        else:
            super().partial(node, stage)
        self.at_end = False

    def column(self, node: Any, stage: int) -> None:
        """Accumulates in a register over the rows of a chunk; each thread has a column of its own."""
        view, dtype = self.scheduler.views[node.out], node.out.aval.dtype
        strides = self.strides(view, self.cluster.axes[node.out])
        operand = self.operand(View(view.buffer, (view.buffer.size,), (1,), 0), strides, True)
        value, name = self.value(node.inputs[0], node, stage), self.accumulator_name()
        self.before.append(f"{name} = {identity(node.code, dtype)}")
        self.lines.append(f"{name} = {combination(node.code, dtype, name, value)}")
        place = self.index(operand, f"c * {self.word(math.prod(view.shape[1:]))}")
        self.after.append(f"p{operand.slot}[{place}] = {name}")

    # ------------------------------------------------------------ memory

    def body(self) -> list[str]:
        self.before: list[str] = []  # of a column: before and after its rows
        self.after: list[str] = []
        self.at_end = False
        return super().body()

    def scratch_operand(self, dtype: np.dtype) -> Operand:
        if self.sharing is Sharing.ELEMENTS:
            return super().scratch_operand(dtype)
        axes = [*self.outer, *self.inner]
        sizes = [self.sizes[a] for a in axes]
        buffer = Buffer(dtype, math.prod(sizes))
        return self.operand(View(buffer, (buffer.size,), (1,), 0), dict(zip(axes, row_major(sizes), strict=True)), True)
