"""From a cluster to the source of one kernel, and the sizes and operands it is called with.

In: a cluster of nodes (``schedule.py``). Out: a ``Kernel``. The source is canonical: it names no variable of the program
and no large size, so equal loops of all programs are one kernel.

    def kernel(pointers, sizes, start, stop):
        p0 = pointer_f32(pointers, 0)
        p1 = pointer_f32(pointers, 1)
        for r in range(start, stop):
            v0 = p0[r]
            v1 = sin_f32(v0)
            p1[r] = v1

A kernel runs over rows, ``start`` to ``stop``. Inside a row there are loops over the inner axes, one after the other: a
loop that needs a reduced value comes after the loop that reduces it. A kernel without inner axes has rows of one element.
Where rows are very short, several lie side by side in ``lanes``.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import accumulator, combination, computed, cost, expression, identity, literal, stored
from funcgrad.compiler.view import Buffer, View, row_major
from funcgrad.core.jaxpr import Literal, Var

UNROLLED = 16
"""Row lengths up to this are part of a kernel's identity, so that LLVM unrolls the loop."""
CHUNK = 1 << 16
"""The work, in additions, that one thread takes at a time. Fixed, so that results do not depend on the threads."""
PASSED = {"f32": np.float32, "f64": np.float64}
"""The types in which constants are passed."""
BLOCK = 2048
"""Elements that are summed up in the lanes of vectors before they are added to a total."""
MOST_CHUNKS = 64
"""Chunks at most where each of them leaves a partial result."""
TOTAL = np.dtype(np.float64)
"""The dtype of the totals of long sums."""
RECOMPUTED = 6
"""Operations up to which a value is computed again in a later loop over the row instead of being kept."""


@dataclass(eq=False, slots=True)
class Kernel:
    """A source and what one call passes: the operands' views in the order of their slots, sizes, rows and chunk.

    ``work`` is that of all rows, in additions.
    """

    source: str
    operands: list[View]
    written: list[bool]
    sizes: list[int]
    rows: int
    chunk: int
    nodes: list[Any]
    work: int
    calls_blas: bool = False
    team: int = 1
    """How many threads run a chunk together, on a GPU."""
    partials: int = 1
    """How many partial results a reduction over its rows leaves."""

    @property
    def chunks(self) -> int:
        return max(-(-self.rows // self.chunk), 1)


@dataclass(eq=False, slots=True)
class Operand:
    """Memory in a kernel: its slot, and a stride for each axis of the cluster along which it moves."""

    slot: int
    view: View
    strides: dict[int, int]
    written: bool
    by_chunk: bool = False


def write_kernel(cluster: Any, scheduler: Any, is_stored: Callable[[Var], bool]) -> Kernel:
    """The kernel of a cluster; what it reads and writes is decided."""
    return Writer(cluster, scheduler, is_stored).kernel()


def indented(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]


def text_of(node: Any, args: Sequence[str]) -> str:
    """The expression of a node on named operands."""
    if node.kind != "map":
        return combination(node.code, node.out.aval.dtype, "a", "b") or ""
    if node.code is not None:
        return node.code.format(*args)
    return expression(node.equation, args) or "" if node.inputs else "index"


class Writer:
    """Writes one kernel, line by line."""

    recomputed = RECOMPUTED

    def __init__(self, cluster: Any, scheduler: Any, is_stored: Callable[[Var], bool]):
        self.cluster, self.scheduler, self.is_stored = cluster, scheduler, is_stored
        self.sizes = [n if type(n) is int else n.kernel.partials for n in cluster.sizes]
        self.operands: list[Operand] = []
        self.by_key: dict[tuple, Operand] = {}
        self.words: list[tuple[str, int]] = []
        self.definitions: dict[str, str] = {}
        self.node_of = {node.out: node for node in cluster.nodes}
        self.count = 0
        inner = sorted(cluster.inner or ())
        outer = sorted(cluster.outer)
        if cluster.inner is None and len(outer) > 1 and len(self.groups(outer)) > 1:
            inner, outer = self.groups(outer)[-1], [a for g in self.groups(outer)[:-1] for a in g]
        self.inner, self.outer = inner, outer

    # ------------------------------------------------------------ operands and axes

    def names_of(self, node: Any) -> tuple[int | None, ...]:
        """The axis of the cluster for each axis of a node's operands."""
        return self.cluster.axes[node.out] if node.kind == "map" else node.names

    def inside(self, atom: Any) -> bool:
        return self.scheduler.inside(self.cluster, atom)

    def strides(self, view: View, names: Sequence[int | None]) -> dict[int, int]:
        return {a: s for a, s in zip(names, view.strides, strict=True) if a is not None and a >= 0 and s}

    def every_operand(self) -> list[dict[int, int]]:
        """The strides of all that the cluster reads and writes."""
        found = []
        for node in self.cluster.nodes:
            found += [self.strides(self.scheduler.views[atom], self.names_of(node))
                      for atom in node.inputs if type(atom) is Var and not self.inside(atom)]
            if node.kind == "partial" or self.is_stored(node.out):
                found.append(self.strides(self.scheduler.views[node.out], self.cluster.axes[node.out]))
        return found

    def groups(self, axes: Sequence[int]) -> list[list[int]]:
        """Neighbouring axes that all operands pass through as if they were one are a group."""
        pinned, operands = self.pinned(), self.every_operand()
        groups: list[list[int]] = []
        for a in axes:
            last = groups[-1][-1] if groups else None
            if last is not None and a not in pinned and last not in pinned \
                    and all(s.get(last, 0) == s.get(a, 0) * self.sizes[a] for s in operands):
                groups[-1].append(a)
            else:
                groups.append([a])
        return groups

    def pinned(self) -> set[int]:
        """The axes whose index is a value: they stay loops of their own."""
        return {a for node in self.cluster.nodes if node.kind == "map" and not node.inputs for a in self.index_axes(node)}

    def index_axes(self, node: Any) -> list[int]:
        axis = self.cluster.axes[node.out][node.equation.params["dimension"]]
        return [] if axis is None else [axis]

    def operand(self, view: View, strides: dict[int, int], written: bool = False, by_chunk: bool = False) -> Operand:
        key = (id(view.buffer), view.offset, tuple(sorted(strides.items())), written)
        if key not in self.by_key:
            self.by_key[key] = Operand(len(self.operands), view, strides, written, by_chunk)
            self.operands.append(self.by_key[key])
        return self.by_key[key]

    def word(self, value: int) -> str:
        """A size or stride, passed to the kernel."""
        name = f"s{len(self.words)}"
        self.words.append((name, value))
        return name

    def constant(self, value: Any) -> str:
        """A literal: a simple one is part of the source, any other, which may depend on a size, is passed to the kernel."""
        kind = dtypes.kind(value.dtype)
        if kind in "bc" or (abs(value) <= 4 and float(2 * value).is_integer()) or not math.isfinite(float(value)):
            return literal(value)
        name, dtype = f"k{len(self.words)}", computed(value.dtype)
        if kind in "iu":
            self.words.append((name, int(value) - (1 << 64 if int(value) >= 1 << 63 else 0)))
            return self.defined(name, f"{dtype}(word(sizes, {len(self.words) - 1}))")
        bits = np.zeros(8 // np.dtype(PASSED[dtype]).itemsize, PASSED[dtype])
        bits[0] = value
        self.words.append((name, int(bits.view(np.int64)[0])))
        return self.defined(name, f"constant_{dtype}(sizes, {len(self.words) - 1})")

    def defined(self, name: str, text: str) -> str:
        self.definitions[name] = text
        return name

    # ------------------------------------------------------------ the kernel

    def kernel(self) -> Kernel:
        cluster = self.cluster
        self.place_nodes()
        self.width = math.prod(self.sizes[a] for a in self.inner)
        self.partials = [node for node in cluster.nodes if node.kind == "partial"]
        weight = sum(cost(text_of(node, ["v"] * len(node.inputs))) for node in cluster.nodes)
        self.cut(self.groups(self.outer), weight)
        for node in self.partials:
            view = self.scheduler.views[node.out]
            chunks = self.chunk_count()
            view.buffer.size = chunks * math.prod(view.shape[1:])
            view.shape = (chunks, *view.shape[1:])
        body = self.body()
        head = [f"p{o.slot} = {self.pointer(o)}(pointers, {o.slot})" for o in self.operands]
        head += [f"{name} = {self.definitions.get(name, f'word(sizes, {i})')}" for i, (name, _) in enumerate(self.words)]
        source = "\n    ".join(["def kernel(pointers, sizes, start, stop):", *head, *body]) + "\n"
        work = math.prod(self.sizes) * weight
        return Kernel(source, [o.view for o in self.operands], [o.written for o in self.operands],
                      [value for _, value in self.words], *self.launched(), list(cluster.nodes), work,
                      partials=self.chunk_count())

    def cut(self, outer: list[list[int]], weight: int) -> None:
        """Decides what a row is, and how many rows are a chunk; an element costs ``weight`` additions."""
        # Rows too short to be vectorised: LLVM unrolls them, and a loop over the last outer axis goes into vectors.
        self.lanes = outer[-1] if self.inner and 0 < self.width <= UNROLLED and len(outer) > 1 else []
        self.rows = math.prod(self.sizes[a] for a in self.outer if a not in self.lanes)
        row = math.prod(self.sizes[a] for a in self.lanes) * self.width * weight
        chunk = self.rows if self.rows * row <= 4 * CHUNK else max(1, CHUNK // row)
        if self.partials:
            chunk = max(chunk, -(-self.rows // MOST_CHUNKS))
        self.chunk = max(chunk, 1)

    def launched(self) -> tuple[int, int]:
        """The rows and the chunk that one call of the kernel is given."""
        return self.rows, self.chunk

    def pointer(self, operand: Operand) -> str:
        """The function that makes a pointer to an operand."""
        return f"pointer_{stored(operand.view.buffer.dtype)}"

    def text_of(self, node: Any, args: Sequence[str]) -> str:
        """The expression of a node on named operands."""
        if node.kind == "map" and not node.inputs:
            axis = self.index_axes(node)
            return f"{computed(node.out.aval.dtype)}({f'i{axis[0]}' if axis else 0})"
        return text_of(node, args)

    def place_nodes(self) -> None:
        """Which nodes are computed for each element of a row, and in which of the loops over it."""
        self.is_inner: dict[Var, bool] = {}
        self.stage: dict[Var, int] = {}
        inner = set(self.inner)
        for node in self.cluster.nodes:
            present = {a for a in self.names_of(node) if a is not None and a >= 0}
            within = bool(inner) and inner <= present
            operands = [self.scheduler.base(a) for a in node.inputs if self.inside(a)]
            stage = max([self.stage[v] for v in operands], default=0)
            node.within = within
            node.stage = stage
            self.is_inner[node.out] = within and node.kind == "map"
            self.stage[node.out] = stage + 1 if within and node.kind == "reduce" else stage
        self.last_stage = max(self.stage.values(), default=0)

    # ------------------------------------------------------------ text

    def body(self) -> list[str]:
        """The lines of the kernel behind its pointers and sizes."""
        self.start: list[str] = []  # before the rows
        self.bases: list[str] = []  # where each operand's row begins
        self.row: list[str] = []  # once for each row
        self.end: list[str] = []  # after the rows
        self.lines = self.row
        self.sums: list[tuple[str, str, str]] = []  # totals, what a block adds up, and its zero
        self.totals: list[str] = []  # what a row has after a loop
        self.names: dict[Var, str] = {}
        self.loads: dict[int, str] = {}
        self.base_of: dict[int, str] = {}
        self.scratch = self.find_scratch()
        self.inner_groups = self.groups(self.inner)
        index = self.outer_index_lines()
        for stage in range(self.last_stage + 1):
            for node in self.cluster.nodes:
                if self.stage[node.out] == stage and not self.is_inner[node.out]:
                    self.row_node(node)
            self.loop(stage)
        rows = [*self.bases, *self.row] or ["pass"]
        if self.lanes:
            rows = [*[f"i{a} = l" for a in self.lanes if a in self.pinned()], *rows]
            count = self.word(math.prod(self.sizes[a] for a in self.lanes))
            rows = [f"for l in range({count}):", *indented(rows)]
        return [*self.start, *self.over_rows([*index, *rows]), *self.end]

    def over_rows(self, lines: list[str]) -> list[str]:
        """The loop over the rows of the chunk."""
        if self.sums:
            return self.in_blocks("r", "start", "stop", lines)
        return ["for r in range(start, stop):", *indented(lines)]

    def outer_index_lines(self) -> list[str]:
        """The index along each group of outer axes, from the number of the row."""
        self.outer_groups = self.groups([a for a in self.outer if a not in self.lanes])
        self.outer_index = [f"a{g}" for g in range(len(self.outer_groups))]
        lines, rest = [], "r"
        if len(self.outer_groups) == 1:
            self.outer_index = ["r"]
        for g in range(len(self.outer_groups) - 1, 0, -1):
            size = self.word(math.prod(self.sizes[a] for a in self.outer_groups[g]))
            lines += [f"a{g} = {rest} % {size}", f"q{g} = {rest} // {size}"]
            rest = f"q{g}"
        if len(self.outer_groups) > 1:
            lines.append(f"a0 = {rest}")
        pinned = self.pinned()
        lines += [f"i{g[0]} = {name}" for g, name in zip(self.outer_groups, self.outer_index, strict=True) if g[0] in pinned]
        if self.lanes:
            self.outer_groups, self.outer_index = [*self.outer_groups, self.lanes], [*self.outer_index, "l"]
        return lines

    def base(self, operand: Operand) -> str:
        """Where the row of an operand begins."""
        if operand.slot not in self.base_of:
            terms = [f"c{operand.slot}"] if operand.by_chunk else []
            for group, index in zip(self.outer_groups, self.outer_index, strict=True):
                stride = operand.strides.get(group[-1], 0)
                if stride:
                    terms.append(index if stride == 1 else f"{index} * {self.step(stride)}")
            text = " + ".join(terms)
            if len(terms) > 1 or " * " in text:
                self.bases.append(f"b{operand.slot} = {text}")
                text = f"b{operand.slot}"
            self.base_of[operand.slot] = text
        return self.base_of[operand.slot]

    def step(self, stride: int) -> str:
        """The stride from row to row."""
        return self.word(stride)

    def index(self, operand: Operand, base: str | None = None) -> str:
        """Where the current element of an operand is."""
        terms = [self.base(operand) if base is None else base]
        for g, group in enumerate(self.inner_groups):
            stride = operand.strides.get(group[-1], 0)
            if stride:
                terms.append(f"j{g}" if stride == 1 else f"j{g} * {self.word(stride)}")
        return " + ".join(t for t in terms if t) or "0"

    def chunked(self, buffer: Buffer, strides: dict[int, int], size: int) -> Operand:
        """An operand of which each chunk of rows has a part of its own."""
        operand = self.operand(View(buffer, (buffer.size,), (1,), 0), strides, True, True)
        self.start.append(f"c{operand.slot} = start // {self.word(self.chunk)} * {self.word(size)}")
        return operand

    # ------------------------------------------------------------ values

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count - 1}"

    def value(self, atom: Any, node: Any, stage: int) -> str:
        """The name of an operand of a node in the loop of a stage (or in the row, for one that is not within)."""
        if type(atom) is Literal:
            return self.constant(atom.value)
        if not self.inside(atom):
            view = self.scheduler.views[atom]
            return self.load(self.operand(view, self.strides(view, self.names_of(node))))
        v = self.scheduler.base(atom)
        if not self.is_inner[v]:
            return self.names[v]
        if v not in self.loop_names:
            if self.stage[v] < stage and (self.is_stored(v) or v in self.scratch):
                self.loop_names[v] = self.load(self.out_operand(v))
            else:
                self.compute(v, stage)
        return self.loop_names[v]

    def load(self, operand: Operand) -> str:
        """The element of an operand: read once before the rows, once in a row, or in the loop, as it moves."""
        moving = set(operand.strides)
        place, known = (self.start, self.loads) if not moving and not operand.by_chunk else (self.row, self.loads) \
            if not moving & set(self.inner) else (self.lines, self.loop_loads if self.lines is not self.row else self.loads)
        if operand.slot not in known:
            name = known[operand.slot] = self.fresh()
            place.append(f"{name} = p{operand.slot}[{self.index(operand)}]")
        return known[operand.slot]

    def compute(self, v: Var, stage: int) -> None:
        """An element of a value, in the current loop."""
        node = self.node_of[v]
        text = self.text_of(node, [self.value(a, node, stage) for a in node.inputs])
        self.loop_names[v] = self.named(text, self.lines)

    def named(self, text: str, lines: list[str]) -> str:
        if text.isidentifier():
            return text
        name = self.fresh()
        lines.append(f"{name} = {text}")
        return name

    def out_operand(self, v: Var) -> Operand:
        """The memory that a value is written to."""
        if v in self.scratch:
            return self.scratch[v]
        return self.result_operand(v)

    def result_operand(self, v: Var) -> Operand:
        view = self.scheduler.views[v]
        return self.operand(view, self.strides(view, self.cluster.axes[v]), True)

    def kept(self) -> list[Var]:
        """The values computed in one loop over the row, needed in a later one, and too dear to compute again."""
        found: list[Var] = []
        self.last_use: dict[Var, int] = {}  # a value computed again needs its operands again
        for node in reversed(self.cluster.nodes):
            stage = max(node.stage, self.last_use.get(node.out, 0))
            for atom in node.inputs if node.within else ():
                v = self.scheduler.base(atom)
                self.last_use[v] = max(self.last_use.get(v, 0), stage)
        for node in self.cluster.nodes:
            for atom in node.inputs if node.within else ():
                v = self.scheduler.base(atom) if self.inside(atom) else None
                if v is not None and self.is_inner[v] and self.stage[v] < node.stage and self.price(v, found) > self.recomputed:
                    found.append(v)
        return found

    def find_scratch(self) -> dict[Var, Operand]:
        """Where the values that are kept from one loop over the row to a later one are."""
        found: dict[Var, Operand] = {}
        free = [v for v in self.is_inner if self.is_inner[v] and self.is_stored(v)]
        for v in self.kept():
            place = next((o for o in free if self.stage[o] >= self.last_use[v] and o.aval.dtype == v.aval.dtype
                          and accumulator(v.aval.dtype) == v.aval.dtype), None)
            if place is not None:  # a result's memory serves until the result is written there
                free.remove(place)
                found[v] = self.result_operand(place)
            else:
                found[v] = self.scratch_operand(accumulator(v.aval.dtype))
        return found

    def scratch_operand(self, dtype: np.dtype) -> Operand:
        """Memory for a row of each chunk."""
        sizes = [self.sizes[a] for a in self.inner]
        buffer = Buffer(dtype, self.chunk_count() * self.width)
        return self.chunked(buffer, dict(zip(self.inner, row_major(sizes), strict=True)), self.width)

    def price(self, v: Var, kept: Container[Var]) -> int:
        """What it costs to have an element of a value again."""
        if self.is_stored(v) or v in kept or not self.is_inner[v]:
            return 1
        node = self.node_of[v]
        below = sum(self.price(self.scheduler.base(a), kept) for a in node.inputs if self.inside(a))
        return min(below + cost(text_of(node, ["v"] * len(node.inputs))), 1 << 20)

    def chunk_count(self) -> int:
        return max(-(-self.rows // self.chunk), 1)

    # ------------------------------------------------------------ rows and loops

    def row_node(self, node: Any) -> None:
        """A value that a row has once: computed in the row, or reduced by the loop before."""
        out = node.out
        if node.within and node.kind == "partial":
            return
        self.lines, self.loop_names, self.loop_loads = self.row, {}, {}
        if node.kind == "partial":
            self.partial(node, node.stage)
            return
        if node.kind == "map":
            args = [self.value(a, node, self.stage[out]) for a in node.inputs]
            self.names[out] = self.named(self.text_of(node, args), self.row)
        if self.is_stored(out):
            operand = self.out_operand(out)
            self.row += self.once([f"p{operand.slot}[{self.index(operand)}] = {self.names[out]}"])

    def combined(self, name: str, code: tuple[str, str], dtype: np.dtype) -> list[str]:
        """Lines after which each thread of a chunk has what all of them have reduced."""
        return []

    def divided(self, node: Any) -> bool:
        """Whether the threads of a chunk have different parts of what a node reduces."""
        return False

    def once(self, lines: list[str]) -> list[str]:
        """Lines that one of the threads of a chunk does."""
        return lines

    def loop(self, stage: int) -> None:
        """One loop over the row: reductions, results stored, and values kept for later loops."""
        if not self.inner:
            return
        body: list[str] = []
        self.lines, self.loop_names, self.loop_loads = body, {}, {}
        for v in self.scratch:  # read before a result takes its place
            if self.stage[v] < stage <= self.last_use[v]:
                self.loop_names[v] = self.load(self.scratch[v])
        for node in self.cluster.nodes:
            if not node.within or node.stage != stage:
                continue
            if node.kind == "partial":
                self.partial(node, stage)
            elif node.kind == "reduce":
                self.reduction(node, stage)
            elif self.is_stored(node.out) or node.out in self.scratch:
                name = self.value(node.out, node, stage)
                operand = self.out_operand(node.out)
                body.append(f"p{operand.slot}[{self.index(operand)}] = {name}")
        self.lines = self.row
        if body:
            lines = self.nest(body)
            self.row += [*lines, *self.totals]
            self.totals = []

    def nest(self, body: list[str]) -> list[str]:
        """Loops over the inner axes around some lines."""
        pinned = self.pinned()
        lines = [f"i{g[0]} = j{k}" for k, g in enumerate(self.inner_groups) if g[0] in pinned] + body
        last = len(self.inner_groups) - 1
        for k in range(last, -1, -1):
            size = math.prod(self.sizes[a] for a in self.inner_groups[k])
            count = str(size) if size <= UNROLLED else self.word(size)
            lines = self.over_elements(k, size, count, lines, k == last and bool(self.sums))
        return lines

    def over_elements(self, k: int, size: int, count: str, lines: list[str], sums: bool) -> list[str]:
        """The loop over a group of inner axes, of which the innermost may have sums."""
        if sums:
            return self.in_blocks(f"j{k}", "0", count, lines, size > UNROLLED)
        return [f"for j{k} in range({count}):", *indented(lines)]

    def in_blocks(self, index: str, first: str, end: str, body: list[str], long: bool = True) -> list[str]:
        """The innermost loop around a body with sums: those of a block are added in the lanes of vectors, blocks one by one.

        A lane then adds few numbers, and the totals are wide, so long sums keep their digits.
        """
        before = [f"{block} = {zero}" for _, block, zero in self.sums]
        after = [f"{total} = {total} + f64({block})" for total, block, _ in self.sums]
        self.sums = []
        if not long:
            return [*before, f"for {index} in range({first}, {end}):", *indented(body), *after]
        loop = f"for {index} in range({index}b, min({index}b + {BLOCK}, {end})):"
        lines = [*before, loop, *indented(body), *after]
        return [f"for {index}b in range({first}, {end}, {BLOCK}):", *indented(lines)]

    def sum_of(self, node: Any, place: list[str]) -> tuple[str, str] | None:
        """For a sum of many floats: the names of what a block adds up, and of the total, which is a float64."""
        dtype = accumulator(node.out.aval.dtype)
        innermost = node.within or not (self.inner or self.lanes)
        short = bool(self.inner) and self.width <= UNROLLED
        if node.code[0] != "{0} + {1}" or dtypes.kind(dtype) != "f" or short or not innermost:
            return None
        total, block = self.accumulator_name(), self.accumulator_name()
        place.append(f"{total} = f64(0.0)")
        self.sums.append((total, block, f"{computed(dtype)}(0.0)"))
        return block, total

    def reduction(self, node: Any, stage: int) -> None:
        """Accumulates over the row."""
        found = self.sum_of(node, self.row)
        if found is None:
            name = self.names[node.out] = self.accumulator_name()
            self.row.append(f"{name} = {identity(node.code, node.out.aval.dtype)}")
            self.totals += self.combined(name, node.code, node.out.aval.dtype)
        else:
            name, total = found
            self.names[node.out] = self.fresh()
            self.totals += self.combined(total, node.code, TOTAL)
            self.totals.append(f"{self.names[node.out]} = {computed(node.out.aval.dtype)}({total})")
        value = self.value(node.inputs[0], node, stage)
        self.lines.append(f"{name} = {combination(node.code, node.out.aval.dtype, name, value)}")

    def accumulator_name(self) -> str:
        return "t" + self.fresh()[1:]

    def partial(self, node: Any, stage: int) -> None:
        """Accumulates over the rows of a chunk: one number, or one for each element of a row."""
        view = self.scheduler.views[node.out]
        strides = self.strides(view, self.cluster.axes[node.out])
        operand = self.chunked(view.buffer, strides, math.prod(view.shape[1:]))
        value = self.value(node.inputs[0], node, stage)
        if strides:
            place = self.index(operand, f"c{operand.slot}")
            sums, self.sums = self.sums, []
            self.start += self.nest([f"p{operand.slot}[{place}] = {identity(node.code, node.out.aval.dtype)}"])
            self.sums = sums
            now = f"p{operand.slot}[{place}]"
            self.lines.append(f"{now} = {combination(node.code, node.out.aval.dtype, now, value)}")
        else:
            dtype = accumulator(node.out.aval.dtype)
            found = self.sum_of(node, self.start)
            name, total = found or [self.accumulator_name()] * 2
            if found is None:
                self.start.append(f"{name} = {identity(node.code, dtype)}")
            self.lines.append(f"{name} = {combination(node.code, dtype, name, value)}")
            if self.divided(node):
                self.end += self.combined(total, node.code, dtype if found is None else TOTAL)
            text = total if found is None else f"{computed(dtype)}({total})"
            self.end += self.once([f"p{operand.slot}[c{operand.slot}] = {text}"])
