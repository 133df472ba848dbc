"""Writing at computed places: the scatters, dynamic_update_slice, add_along.

In: an equation and the views of its operands. Out: a ``NativeKernel`` that changes memory which holds the operand's elements.
No element is touched by two threads, so that results do not depend on who comes first: updates are applied in their order, as
on the processor. There are these forms.

- Axes along which updates never meet, such as the columns of a table whose rows are addressed, or those of a window that is
  written once, are rows: each has a thread, which goes through the updates along the other axes. This is so where such rows
  are many, or the updates of each are few.
- Else a block of 256 threads owns a range of places: of the numbers that the addressed axes have together. It goes through all
  index vectors, some by each thread, and lists in their order those that are within its range; then it applies those of the
  list, its threads side by side along the columns, or each with places of its own. Where places are few, each of some
  parts of the updates is added up in an array of its own.

- Integers are combined by the memory itself, each update by a thread: their order does not matter.
- Where many updates are written, not combined, a first kernel finds the last one that leads to each place; then each update has
  a thread, and the last ones are written.

    x.at[i].add(u), f64[1000,64], i64[5000]:    250 ranges of 4 rows, 64 threads for each row
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.cuda.natives.cumulative import running_sum
from funcgrad.compiler.cuda.natives.teams import AT_ONCE, BLOCK, ROWS, distances
from funcgrad.compiler.expressions import computed, stored
from funcgrad.compiler.natives import Before, NativeKernel
from funcgrad.compiler.natives import scattering as cpu
from funcgrad.compiler.natives.scattering import COMBINED, SUMS, Plan
from funcgrad.compiler.natives.windows import Axis, Text, merged, plus, raw, slots_of
from funcgrad.compiler.view import row_major
from funcgrad.core.jaxpr import Atom, Equation, Literal
from funcgrad.core.types import ShapedArray, shaped_array

THREADS = 1 << 14
"""Rows that keep a GPU busy with a thread for each."""
FEW = 16
"""Updates of a row up to which a thread goes through them."""
EACH = 4
"""Index vectors that a thread looks at before the threads of a block tell each other what they found."""
LISTED = EACH * BLOCK
WIDEST = 1024
"""Columns that a block treats; more are divided among blocks."""
LEAST_PART = 4096
"""Updates of a part at least."""


MANY = 1 << 15
"""Updates from which the last one of each place is looked for, or which are brought into the order of their places."""
FEWEST_RANGES = 8
"""Ranges from which so many updates are brought into their order first."""
MOST_PLACES = 64
"""Places for each update up to which that is so."""
ATOMIC = {"scatter_add": "atomic_add", "add_along": "atomic_add", "scatter_min": "atomic_min", "scatter_max": "atomic_max"}
"""Words that combine integers in memory."""
_POSITION = np.dtype(np.int64)


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
    loops = Loops.of(plan, combined, any(equation.params.get(key) for key in ("unique", "unique_indices")))
    loops.zero = cpu.constant(dtype.type(0), memory)
    write: Callable[[Text], tuple[int, int, int]]
    before: tuple[Before, ...] = ()
    if loops.updates <= FEW or math.prod([axis.size for axis in loops.rows]) >= THREADS:
        write = loops.by_threads
    elif name in ATOMIC and memory in ("i32", "i64", "u32", "u64"):
        loops.combined = f"{ATOMIC[name]}_{memory}"
        write = loops.by_atomics
    elif name == "scatter" and loops.have_winners():
        before = Before(loops.winners(stored(equation.inputs[1].aval.dtype)), (1,), shaped_array((loops.count,), _POSITION)),
        write = loops.by_winners
    elif loops.have_lists():
        before = loops.lists(stored(equation.inputs[1].aval.dtype), len(equation.inputs))
        write = loops.by_lists
    else:
        zero = type(onto) is Literal and not onto.value
        write = functools.partial(loops.by_blocks, sums=name in SUMS and memory == wide and memory[0] in "fc" and zero)
    slots = sum(s is not None for s in slots_of(equation)) + (x_slot is None) + len(before)
    text.pointer("y", memory, slots)
    text.pointer("u", memory, u_slot)
    for k, (pointer, kind) in enumerate((("winner", "i64"),) if len(before) == 1 else (("ends", "i32"), ("order", "i64"))):
        if before:
            text.pointer(pointer, kind, len(equation.inputs) + len(before) - 1 - (len(before) == 3) + k)
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

    @staticmethod
    def of(plan: Plan, combined: str, unique: bool) -> Loops:
        """The loops of a plan; ``unique`` says that nothing is written twice."""
        moving = sorted({c.dim for c in plan.components if c.step})
        places = dict(zip(moving, row_major([plan.shape[d] for d in moving]), strict=True))
        axes = sorted(plan.axes, key=lambda axis: -(abs(axis.steps[2]) or math.inf))
        if unique or all(axis.dim is not None or axis.size == 1 for axis in axes):  # such as the window of one index vector
            return Loops(plan, combined, merged([Axis(a.size, a.steps) for a in axes]), [], places)
        rows = [Axis(a.size, a.steps) for a in axes if a.dim is not None and a.dim not in places]
        walked = [Axis(a.size, (*a.steps, places.get(a.dim, 0))) for a in plan.axes  # type: ignore[arg-type]
                  if a.dim is None or a.dim in places]
        return Loops(plan, combined, merged(rows), merged(walked), places)

    @property
    def count(self) -> int:
        """How many places there are."""
        return math.prod([self.plan.shape[d] for d in self.places])

    @property
    def updates(self) -> int:
        return math.prod([axis.size for axis in self.walked])

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
        return not any(axis.steps[1] for axis in self.rows) and self.updates > MANY and self.count <= MOST_PLACES * self.updates

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
        return NativeKernel(text.source(), text.sizes, self.updates, 1, onto=Literal(_POSITION.type(-1)))

    def by_winners(self, text: Text) -> tuple[int, int, int]:
        """Each update has a thread, which writes it if no later one comes to its place."""
        inside = math.prod([axis.size for axis in self.rows])
        text.open("for r in range(start, stop):")
        part, e = _digit(text, "r", inside, "inside")
        names, products = self.place(text, e)
        if self.plan.mode == "fill":
            text.open("if good:")
        text.open(f"if winner[place] == {e}:")
        self.begin(text, part)
        to = plus("to_", *products, text.position(names, self.steps(2)))
        text.add(f"y[{to}] = u[{plus('from_', text.position(names, self.steps(0)))}]")
        return inside * self.updates, 1, 1

    def have_lists(self) -> bool:
        """Whether it pays to bring the updates into the order of their ranges first."""
        ranges = self.cut()[3]
        return not any(axis.steps[1] for axis in self.rows) and self.updates > MANY and ranges >= FEWEST_RANGES \
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
                Before(self.ordering(index, span, tiles), (1, inputs + 1), shaped_array((self.updates,), _POSITION)))

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
        own, below = _digit(text, "r", ranges, "own")
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
        piece, below = _digit(text, below, slabs, "slab")
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
        part, below = _digit(text, "r", parts, "part")
        own, below = _digit(text, below, ranges, "own")
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


def _digit(text: Text, rest: str, count: int, name: str) -> tuple[str, str]:
    """The last digit of a number whose digits are below ``count``, and the number without it."""
    if count == 1:
        return "0", rest
    size = text.word(count)
    text.add(f"{name} = {rest} % {size}")
    text.add(f"{name}_ = {rest} // {size}")
    return name, f"{name}_"


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
