"""Running sums, products, extremes and log-sum-exps along one axis.

In: an equation of ``cumsum`` or its like. Out: a kernel. Along the last axis a team of threads walks a line, tile by tile: each
thread combines a few neighbours, and exchanges with the others over the bits of their numbers, after which it knows what stands
before it and what all of the tile is. Along another axis each thread walks a lane. Where lines are too few, they are cut into
pieces: a first kernel leaves what each piece combines to, a second one does this operation with these, and the third goes
over the pieces, each of which starts with what comes before.

    cumsum of f32[8,100000]:    48 pieces of a line; a block adds up each; running sums of f32[8,48]; a block for each again

The elements of a line are combined in an order that depends on the sizes alone.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.cuda.natives.teams import at_once, distances, indented, pieces, team_for
from funcgrad.compiler.expressions import accumulator, computed, stored
from funcgrad.compiler.natives import Before, NativeKernel
from funcgrad.compiler.natives.cumulative import COMBINE
from funcgrad.compiler.natives.rows import text
from funcgrad.core.jaxpr import Equation, Literal
from funcgrad.core.types import ShapedArray, shaped_array

EACH = 4
"""Neighbours that one thread combines."""

@dataclass(frozen=True)
class Scan:
    """One operation on ``x[outer, n, inner]``: narrow floats are wide inside."""

    dtype: np.dtype
    combine: str
    shape: tuple[int, int, int]
    reverse: bool = False

    def joined(self, a: str, b: str) -> str:
        return self.combine.format(a, b)

    @property
    def wide(self) -> np.dtype:
        return accumulator(self.dtype)

    @property
    def words(self) -> list[int]:
        _, n, inner = self.shape
        return [n, *((n - 1) * inner, -inner)] if self.reverse else [n, 0, inner]


def build(equation: Equation) -> NativeKernel | None:
    """The kernel of a cumulative operation; complex numbers have no order, and integers no logarithm: the host's."""
    x, = equation.inputs
    dtype, shape, axis = x.aval.dtype, x.aval.shape, equation.params["axis"]
    templates = COMBINE[equation.primitive.code.arguments["combine"]]
    template = next((t for kinds, t in templates.items() if dtypes.kind(dtype) in kinds), None)
    if template is None or type(x) is Literal:
        return None
    if not x.aval.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    parts = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])
    return _kernel(Scan(dtype, template.replace("{type}", computed(dtype)), parts, equation.params["reverse"]))


def running_sum(aval: ShapedArray) -> NativeKernel:
    """The kernel of a running sum of integers."""
    return _kernel(Scan(aval.dtype, COMBINE["sum"]["iu"].replace("{type}", computed(aval.dtype)), (1, aval.size, 1)))


def _kernel(scan: Scan) -> NativeKernel:
    """The last kernel of an operation; it names those that come before it."""
    outer, n, inner = scan.shape
    count = pieces(outer * inner, n, inner == 1)
    if count == 1:
        return _walk(scan, 1, "plain")
    totals = shaped_array((outer, count, inner), scan.wide)
    among = _kernel(Scan(scan.wide, scan.combine, totals.shape))
    before = Before(_walk(scan, count, "totals"), (0,), totals), Before(among, (1,), totals)
    return replace(_walk(scan, count, "pieces"), before=before)


def _walk(scan: Scan, count: int, part: str) -> NativeKernel:
    """A kernel over pieces: it leaves what each combines to ("totals"), or the result, "plain" or of "pieces" that start with
    what comes before."""
    outer, n, inner = scan.shape
    length = -(-n // count)
    team = 1 if inner > 1 else team_for(length)
    kinds = {"plain": {"x": scan.dtype, "y": scan.dtype}, "totals": {"x": scan.dtype, "y": scan.wide},
             "pieces": {"x": scan.dtype, "": scan.wide, "g": scan.wide, "y": scan.dtype}}[part]
    lines = [f"{name} = pointer_{stored(dtype)}(pointers, {slot})" for slot, (name, dtype) in enumerate(kinds.items()) if name]
    lines += ["n = word(sizes, 0)", "first = word(sizes, 1)", "step = word(sizes, 2)"]
    sizes, row, begin = scan.words, "r", []
    if inner > 1:  # neighbours walk neighbouring lanes
        lines.append("inner = word(sizes, 3)")
        sizes, row, begin = [*sizes, inner], "q", ["q = r // inner"]
    begin += ["low = 0", "high = n"]
    if count > 1:
        lines += [f"length = word(sizes, {len(sizes)})", f"pieces = word(sizes, {len(sizes) + 1})"]
        sizes = [*sizes, length, count]
        begin[-2:] = [f"piece = {row} % pieces", "low = piece * length", "high = min(low + length, n)"]
    line = f"{row} // pieces" if count > 1 else row
    begin.append(f"at = {line} * n + first" if inner == 1 else f"at = {line} * n * inner + r % inner + first")
    before = "g[r - 1]" if inner == 1 else "g[r - inner]"
    started = {"plain": None, "totals": None, "pieces": before}[part]
    body = _lane(scan, part, started) if team == 1 else _tiles(scan, part, started, team)
    rows = outer * count * inner
    return NativeKernel(text([*lines, "for r in range(start, stop):", *indented([*begin, *body])]), sizes, rows, 1, team=team)


def _lane(scan: Scan, part: str, before: str | None) -> list[str]:
    """One thread goes along a lane."""
    store = [] if part == "totals" else ["y[at + {i} * step] = t"]
    lines = ["t = x[at + low * step]"]
    if before is not None:
        lines += ["if piece > 0:", f"    t = {scan.joined(before, 't')}"]
    lines += [line.format(i="low") for line in store]
    lines += at_once("low + 1", "high", 1, "x[at + {i} * step]", [f"t = {scan.joined('t', '{v}')}", *store])
    return [*lines, "y[r] = t"] if part == "totals" else lines


def _tiles(scan: Scan, part: str, before: str | None, team: int) -> list[str]:
    """A team goes along a line, ``EACH`` neighbours a thread. What threads behind the end hold is never used."""
    name, every = computed(scan.wide), range(EACH)
    tile = [f"i = b + lane({team}) * {EACH}", "p = at + i * step", "v0 = x[p] if i < high else carry",
            *[f"v{k} = x[p + {k} * step] if i + {k} < high else carry" for k in every[1:]]]
    if part == "totals":  # a piece ends within a tile: what is behind the end is left out
        tile += ["here = i < high", "total = v0"]
        tile += [line for k in every[1:] for line in (f"if i + {k} < high:", f"    total = {scan.joined('total', f'v{k}')}")]
    else:
        tile += [*[f"v{k} = {scan.joined(f'v{k - 1}', f'v{k}')}" for k in every[1:]], f"total = v{EACH - 1}"]
    for d in distances(team):
        tile.append(f"o{d} = exchange_{name}(total, {d}, {team})")
        if part == "totals":
            tile += [f"there = exchange_bool(here, {d}, {team})", f"if lane({team}) & {d}:",
                     f"    total = {scan.joined(f'o{d}', 'total')} if here else o{d}", "else:",
                     f"    total = {scan.joined('total', f'o{d}')} if there else total", "here = here | there"]
            continue
        own = scan.joined(f"o{d}", "before")
        tile += [f"if lane({team}) & {d}:",
                 f"    before = {own} if lane({team}) & {d - 1} else o{d}" if d > 1 else f"    before = o{d}",
                 f"    total = {scan.joined(f'o{d}', 'total')}",
                 "else:", f"    total = {scan.joined('total', f'o{d}')}"]
    started = "b > low" if before is None else "b + piece > low"
    if part == "totals":
        tile += [f"carry = {scan.joined('carry', 'total')} if b > low else total"]
        end = [f"if lane({team}) == 0:", "    y[r] = carry"]
        return ["carry = x[at]", f"for b in range(low, high, {team * EACH}):", *indented(tile), *end]
    tile += [f"if {started}:", f"    before = {scan.joined('carry', 'before')} if lane({team}) > 0 else carry",
             f"    carry = {scan.joined('carry', 'total')}", "else:", "    carry = total",
             f"if (lane({team}) > 0) | ({started}):", *[f"    v{k} = {scan.joined('before', f'v{k}')}" for k in every]]
    for k in every:
        tile += [f"if i + {k} < high:", f"    y[p + {k} * step] = v{k}"]
    head = ["carry = x[at]", "before = carry"]
    if before is not None:
        head += ["if piece > 0:", f"    carry = {before}"]
    return [*head, f"for b in range(low, high, {team * EACH}):", *indented(tile)]
