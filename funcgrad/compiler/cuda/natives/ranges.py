"""Updates at computed places by blocks of threads, each of which owns a range of places.

In: the loops of an update. Out: lines of a kernel, and the kernels that run before it. A block lists the updates of its range
in their order, some at a time, and applies those of the list, its threads side by side along the columns of a row, or each with
places of its own. It finds them by looking at all index vectors; or, where there are many, other kernels have brought the
updates into the order of their ranges.

    x.at[i].add(u), f64[1000,64], i64[5000]:    250 ranges of 4 places, 64 threads for each place
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from funcgrad.compiler.cuda.natives.cumulative import running_sum
from funcgrad.compiler.cuda.natives.loops import POSITION, Loops, digit
from funcgrad.compiler.cuda.natives.teams import AT_ONCE, BLOCK, ROWS, distances
from funcgrad.compiler.natives import Before, NativeKernel
from funcgrad.compiler.natives.windows import Axis, Text, plus
from funcgrad.core.jaxpr import Literal
from funcgrad.core.types import shaped_array

EACH = 4
"""Index vectors that a thread looks at before the threads of a block tell each other what they found."""
LISTED = EACH * BLOCK
WIDEST = 1024
"""Columns that a block treats; more are divided among blocks."""
LEAST_PART = 4096
"""Updates of a part at least."""
FEWEST_RANGES = 8
"""Ranges from which so many updates are brought into their order first."""


class Ranges(Loops):
    """Loops that blocks share."""

    def have_lists(self) -> bool:
        """Whether it pays to bring the updates into the order of their ranges first."""
        ranges = self.cut()[3]
        return not any(axis.steps[1] for axis in self.rows) and ranges >= FEWEST_RANGES \
            and ranges * -(-self.updates // LISTED) < 1 << 27

    def lists(self, index: str, inputs: int) -> tuple[Before, ...]:
        """Kernels that bring the updates into the order of their ranges, those of a range in their own order.

        The first counts those of each tile of updates in each range, the second adds the counts up, and the third puts the
        number of each update behind those that come before it.
        """
        span, ranges = self.cut()[2:]
        tiles = -(-self.updates // LISTED)
        counts = shaped_array((ranges * tiles,), np.dtype(np.int32))
        text = Text()
        text.pointer("i", index, 0)
        text.pointer("count", "i32", 2)
        text.add("bad = False")
        text.open("for r in range(start, stop):")
        self.place(text, "r")
        if self.plan.mode == "fill":
            text.open("if good:")
        text.add(f"atomic_add_i32(count, place // {text.word(span)} * {text.word(tiles)} + r // {LISTED}, i32(1))")
        count = NativeKernel(text.source(), text.sizes, self.updates, 1, onto=Literal(np.int32(0)))
        return (Before(count, (1,), counts), Before(running_sum(counts), (inputs,), counts),
                Before(self.ordering(index, span, tiles), (1, inputs + 1), shaped_array((self.updates,), POSITION)))

    def ordering(self, index: str, span: int, tiles: int) -> NativeKernel:
        """Puts the updates of a tile where they belong: each counts those of its range that come before it in the tile."""
        text = Text()
        text.pointer("i", index, 0)
        text.pointer("ends", "i32", 1)
        text.pointer("order", "i64", 2)
        text.head.append(f"range_of = shared_i32(0, {LISTED})")
        text.add("bad = False")
        text.open("for r in range(start, stop):")
        text.open(f"for t in range(lane({BLOCK}), {LISTED}, {BLOCK}):")
        text.add("mine = -1")
        text.add(f"e = r * {LISTED} + t")
        text.open(f"if e < {text.word(self.updates)}:")
        self.place(text, "e")
        text.open("if good:")
        text.add(f"mine = place // {text.word(span)}")
        text.close(2)
        text.add("range_of[t] = i32(mine)")
        text.close()
        text.add(f"sync({BLOCK})")
        text.open(f"for t in range(lane({BLOCK}), {LISTED}, {BLOCK}):")
        text.add("mine = i64(range_of[t])")
        text.open("if mine >= 0:")
        text.add(f"at = mine * {text.word(tiles)} + r")
        text.add("to = i64(ends[at - 1]) if at > 0 else 0")
        text.open("for q in range(t):")
        text.add("to = to + i64(range_of[q] == mine)")
        text.close()
        text.add(f"order[to] = r * {LISTED} + t")
        text.close(2)
        text.add(f"sync({BLOCK})")
        return NativeKernel(text.source(), text.sizes, tiles, 1, team=BLOCK)

    def by_lists(self, text: Text) -> tuple[int, int, int]:
        """Blocks have ranges of places, whose updates are in order already."""
        slab, width, span, ranges = self.cut()
        columns, slabs, rows = self.split()
        self.shared(text)
        text.open("for r in range(start, stop):")
        own, below = digit(text, "r", ranges, "own")
        self.columns(text, below, slabs, slab, width, columns)
        tiles = text.word(-(-self.updates // LISTED))
        text.add(f"low = {own} * {text.word(span)}")
        text.add(f"first = i64(ends[{own} * {tiles} - 1]) if {own} > 0 else 0")
        text.add(f"last = i64(ends[{own} * {tiles} + {tiles} - 1])")
        text.open(f"for b in range(first, last, {LISTED}):")
        text.add(f"total = min({LISTED}, last - b)")
        text.open(f"for t in range(lane({BLOCK}), total, {BLOCK}):")
        text.add("e = order[b + t]")
        names, products = self.place(text, "e")
        self.noted(text, "t", names, products, BLOCK // width)
        text.close()
        text.add(f"sync({BLOCK})")
        self.applied(text, width, columns)
        text.add(f"sync({BLOCK})")
        return rows * ranges, BLOCK, 1

    def split(self) -> tuple[Axis, int, int]:
        """The axis whose elements are side by side in a block, the slabs it is cut into, and all rows with these."""
        columns = self.rows[-1] if self.rows and not self.rows[-1].steps[1] else Axis(1, (0, 0, 0))
        slabs = -(-columns.size // WIDEST)
        return columns, slabs, math.prod([axis.size for axis in self.rows]) // columns.size * slabs

    def cut(self) -> tuple[int, int, int, int]:
        """Columns of a slab, threads side by side along them, places of a range, and ranges."""
        columns, slabs, rows = self.split()
        slab = -(-columns.size // slabs)
        width = min(1 << (slab - 1).bit_length(), BLOCK)
        ranges = max(min(-(-ROWS // rows), self.count * width // BLOCK), 1)
        span = -(-self.count // ranges)
        return slab, width, span, -(-self.count // span)

    def shared(self, text: Text) -> None:
        """The list of a block: where updates go and come from, and whose they are."""
        for slot, (name, kind) in enumerate((("goes", "i64"), ("comes", "i64"), ("owner", "i32"))):
            text.head.append(f"{name} = shared_{kind}({slot}, {LISTED})")

    def columns(self, text: Text, below: str, slabs: int, slab: int, width: int, columns: Axis) -> None:
        """The row of a block, and the columns of one of its threads."""
        piece, below = digit(text, below, slabs, "slab")
        outer = self.rows[:-1] if columns.size > 1 else self.rows
        Loops(self.plan, "", outer, [], self.places).begin(text, below)
        text.add(f"left = {piece} * {text.word(slab)} + lane({BLOCK}) % {width}")
        text.add(f"right = min({piece} * {text.word(slab)} + {text.word(slab)}, {text.word(columns.size)})")

    def by_blocks(self, text: Text, sums: bool) -> tuple[int, int, int]:
        """Blocks have ranges of places, columns and parts of the updates."""
        slab, width, span, ranges = self.cut()
        columns, slabs, rows = self.split()
        total = math.prod(self.plan.shape)
        parts = min(ROWS // (rows * ranges), self.updates * rows * slab // (4 * total), self.updates // LEAST_PART)
        parts = max(parts, 1) if sums else 1
        self.shared(text)
        text.open("for r in range(start, stop):")
        part, below = digit(text, "r", parts, "part")
        own, below = digit(text, below, ranges, "own")
        self.columns(text, below, slabs, slab, width, columns)
        text.add(f"low = {own} * {text.word(span)}")
        text.add(f"high = low + {text.word(span)}")
        length = text.word(-(-self.updates // parts))
        text.add(f"first = {part} * {length}")
        text.add(f"last = min(first + {length}, {text.word(self.updates)})")
        if parts > 1:
            text.add(f"to_ = to_ + part * {text.word(total)}")
        text.open(f"for b in range(first, last, {LISTED}):")
        self.listed(text, BLOCK // width)
        text.add(f"sync({BLOCK})")
        self.applied(text, width, columns)
        text.add(f"sync({BLOCK})")
        return rows * ranges * parts, BLOCK, parts

    def applied(self, text: Text, width: int, columns: Axis) -> None:
        """Applies the updates of the list in their order; some are on their way before the first of them is applied."""
        text.open(f"for b_ in range(0, total, {AT_ONCE}):")
        every = range(AT_ONCE)
        for k in every:
            text.add(f"e = min(b_ + {k}, total - 1)")
            mine = f" & (owner[e] == lane({BLOCK}) // {width})" if width < BLOCK else ""
            text.add(f"mine{k} = (b_ + {k} < total){mine}")
            text.add(f"to{k} = to_ + goes[e]")
            text.add(f"at{k} = from_ + comes[e]")
        text.open(f"for j in range(left, right, {width}):")
        to, at = text.times("j", columns.steps[2]), text.times("j", columns.steps[0])
        for k in every:
            text.add(f"v{k} = u[{plus(f'at{k}', at)}] if mine{k} else {self.zero}")
        for k in every:
            place = plus(f"to{k}", to)
            text.open(f"if mine{k}:")
            text.add(f"y[{place}] = {self.combined.format(f'y[{place}]', f'v{k}')}")
            text.close()
        text.close(2)

    def listed(self, text: Text, owners: int) -> None:
        """Lists the updates from b on that lead into the range, in their order, and counts them."""
        text.add("found = 0")
        text.add("total = 0")
        self.looked_at(text, "e < last")
        text.open("if good & (place >= low) & (place < high):")
        text.add("found = found | (1 << k)")
        text.add("total = total + 1")
        text.depth -= 3
        text.add("before = 0")
        for d in distances(BLOCK):
            text.add(f"other = exchange_i64(total, {d}, {BLOCK})")
            text.open(f"if lane({BLOCK}) & {d}:")
            text.add("before = before + other")
            text.close()
            text.add("total = total + other")
        names, products = self.looked_at(text, "found & (1 << k)")
        self.noted(text, "before", names, products, owners)
        text.add("before = before + 1")
        text.depth -= 2

    def noted(self, text: Text, at: str, names: Sequence[str], products: Sequence[str], owners: int) -> None:
        """An update in the list."""
        text.add(f"goes[{at}] = {plus(*products, text.position(names, self.steps(2)))}")
        text.add(f"comes[{at}] = {text.position(names, self.steps(0))}")
        text.add(f"owner[{at}] = i32({f'(place - low) % {owners}' if owners > 1 else 0})")

    def looked_at(self, text: Text, condition: str) -> tuple[list[str], list[str]]:
        """A loop over the index vectors of a thread: for one, its coordinates, and the place to which it leads."""
        text.open(f"for k in range({EACH}):")
        text.add(f"e = b + lane({BLOCK}) * {EACH} + k")
        text.open(f"if {condition}:")
        return self.place(text, "e")
