"""The kernels of convolutions on a GPU: windows gathered and added up, and sums where there is no product of matrices.

In: a ``Problem``, the sizes of a convolution, and the strides of its input. Out: a ``NativeKernel`` whose teams are warps: each
has a position, and its threads the channels there, which are neighbours in memory.

    gathered     p[row, g, k, c] = x[n, s, g, c] where s is inside, else 0
    scattered    x[n, s, g, c] = sum over k of p[row, g, k, c]
"""
from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad.compiler.cuda.contraction import Gemm
from funcgrad.compiler.expressions import accumulator, literal, stored
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.convolving import Convolution
from funcgrad.compiler.natives.moving import Window, channels
from funcgrad.compiler.natives.windows import Text, plus, raw
from funcgrad.compiler.view import View

WARP = 32
"""Threads that share a window or a place: neighbours in memory are its channels."""
CACHED_WINDOWS, LARGEST_WINDOWS, MOST_PIECES = 1 << 25, 1 << 28, 64
"""Bytes of windows at a time: what the second cache of a GPU holds; more where pieces would be many, up to the latter."""
FEW_CHANNELS = 64
"""Products of a group's input and output channels up to which a matrix product would leave most threads without work."""
TEAMS = 1 << 12
"""Teams that fill a GPU."""
LARGEST_PARTS = 1 << 23


@dataclass(slots=True)
class Problem(Convolution):
    """One for a GPU, which may multiply with operands of 10 bits."""

    tf32: bool

    @property
    def line(self) -> int:
        """Elements in the windows of all groups at a position."""
        return self.groups * self.width

    @property
    def plain(self) -> bool:
        """Whether windows are the elements of the input, one after the other."""
        w = self.window
        return w.places == 1 and w.sizes == w.counts and max(w.strides) == 1 and not any(map(any, w.padding))

    @property
    def direct(self) -> bool:
        return self.groups > 1 and self.channels * self.outs <= FEW_CHANNELS

    def gemm(self, name: str, rows: int, onto: bool = False) -> Gemm:
        """The product over each group, for so many rows of windows."""
        kc, o, lines, size = self.width, self.outs, self.groups * self.outs, self.dtype.itemsize
        wide = accumulator(self.dtype).itemsize
        windows, outputs, kernel = ("N", self.line), ("N", lines), ("N", o)
        if name == "convolve":
            m, n, k, lhs, rhs, row, apart = rows, o, kc, windows, kernel, lines, (kc * o * size, kc * size, o * size)
        elif name == "convolve_input":
            m, n, k, lhs, rhs, row = rows, kc, o, outputs, ("T", o), self.line
            apart = (kc * o * size, o * size, kc * (size if self.plain else wide))
        else:
            m, n, k, lhs, rhs, row = kc, o, rows, ("T", self.line), outputs, o
            apart = (o * size, kc * size, kc * o * (wide if onto else size))
        strides = tuple([s for far in apart for s in (0, far)])
        return Gemm(m, n, k, lhs, rhs, (1, self.groups), strides, row, onto=onto, tf32=self.tf32)

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Rows of windows whose memory is bounded: the first, and how many. They are whole images, or in one image."""
        positions = self.window.positions
        end, size = self.n * positions, self.line * accumulator(self.dtype).itemsize
        most = min(max(end * size // MOST_PIECES, CACHED_WINDOWS), LARGEST_WINDOWS) // size
        most = end if self.plain else max(most, 1)
        step = most // positions * positions or most
        at = 0
        while at < end:
            stop = min(at + step, end) if step >= positions else min(at + step, (at // positions + 1) * positions)
            yield at, stop - at
            at = stop


# ---------------------------------------------------------------- kernels that move


def together(problem: Problem, x: View) -> int:
    """Channels that a thread moves as one number, of up to 8 bytes: all their neighbours begin at multiples of it."""
    size = problem.dtype.itemsize
    count = max(8 // size, 1) if x.buffer.role != "moving" and (x.strides[-1] == 1 or problem.channels == 1) else 1
    apart = [problem.channels, x.offset, x.buffer.size, *[s for n, s in zip(x.shape[:-1], x.strides, strict=False) if n > 1]]
    while any(s % count for s in apart):
        count //= 2
    return count


def gathered(problem: Problem, x: View, low: int, count: int) -> NativeKernel:
    """Windows one after the other: a warp for each, its threads side by side."""
    window, n = problem.window, together(problem, x)
    c, width, line = problem.channels // n, problem.width // n, problem.line // n
    steps = (*[s // n for s in x.strides[:-1]], x.strides[-1])
    text = Text()
    moved = raw(np.dtype(f"V{n * problem.dtype.itemsize}"))
    text.pointer("x", moved, 0)
    text.pointer("p", moved, 1)
    window.declare(text)
    positions(text, window, low)
    window.begin(text)
    text.add(f"first = {text.times('n', steps[0]) or '0'}")
    if problem.groups > 1:
        text.open(f"for g in range({text.word(problem.groups)}):")
        text.add(f"from_ = {plus('first', text.times('g', steps[-2]))}")
        text.add(f"at = row * {text.word(line)} + g * {text.word(width)}")
    else:
        text.add("from_ = first")
        text.add(f"at = row * {text.word(line)}")
    names = [f"k{d}" for d in range(window.ndim)]
    if c >= WARP:
        for d, k in enumerate(window.windows):
            text.open(f"for k{d} in range({k}):")
        text.add(f"k = {window.place(names)}")
        text.add(f"base = at + k * {channels(text, c)}")
    else:
        text.open(f"for j in range(lane({WARP}), {channels(text, width)}, {WARP}):")
        text.add(f"c = j % {c}")
        text.add(f"rest = j // {c}")
        for d in reversed(range(window.ndim)):
            text.add(f"k{d} = rest % {window.windows[d]}")
            text.add(f"rest = rest // {window.windows[d]}")
    for d in range(window.ndim):
        text.add(f"i{d} = j{d} + k{d} * {window.dilation[d]}")
    text.add("good = " + " & ".join(f"(i{d} >= 0) & (i{d} < size{d})" for d in range(window.ndim)))
    text.add(f"source = {plus('from_', *[text.times(f'i{d}', s) for d, s in enumerate(steps[1:-2])])}")
    place = "at + j"
    if c >= WARP:
        text.open(f"for c in range(lane({WARP}), {channels(text, c)}, {WARP}):")
        place = "base + c"
    text.add(f"p[{place}] = x[{plus('source', text.times('c', steps[-1]))}] if good else {moved}(0)")
    text.depth = 2
    window.advance(text)
    return NativeKernel(text.source(), text.sizes, count, chunk(count), team=WARP)


def scattered(problem: Problem, low: int, count: int, places: int, onto: bool) -> NativeKernel:
    """Windows added up where they came from: for each place of the input a warp, its threads side by side.

    The windows are those of ``count`` positions from the position ``low`` of the first image on.
    """
    window = problem.window
    text = Text()
    text.pointer("p", stored(accumulator(problem.dtype)), 0)
    text.pointer("x", stored(problem.dtype), 1 + onto)
    partial = low or count % window.positions

    def term(text: Text) -> str:
        line = f"(line * {text.word(problem.groups)} + g)" if problem.groups > 1 else "line"
        return f"p[{line} * {text.word(problem.width)} + k * {channels(text, problem.channels)} + c]"

    meeting(text, problem, term, (text.word(low), text.word(count)) if partial else None, onto)
    return NativeKernel(text.source(), text.sizes, places, 1, team=WARP)


def meeting(text: Text, problem: Problem, term: Any, some: tuple[str, str] | None = None, onto: bool = False) -> None:
    """The loop over elements of the input, each a sum over the positions ``line`` whose windows it is in.

    ``term`` writes what a position adds, by its ``line``, the place ``k``, the group ``g`` and the channel ``c``. Of the
    positions, only ``some`` are there: from the first number on, the second of them.
    """
    window, c = problem.window, problem.channels
    window.declare(text)
    text.open("for row in range(start, stop):")
    text.add("rest = row")
    for d in reversed(range(window.ndim)):
        text.add(f"s{d} = rest % size{d}")
        text.add(f"rest = rest // size{d}")
    text.add("n = rest")
    line = channels(text, problem.groups * c)
    text.open(f"for j in range(lane({WARP}), {line}, {WARP}):")
    text.add(f"g = j // {channels(text, c)}" if problem.groups > 1 else "g = 0")
    text.add(f"c = j - g * {channels(text, c)}")
    text.add(f"t = {literal(accumulator(problem.dtype).type(0))}")
    depth, names = text.depth, [f"k{d}" for d in range(window.ndim)]
    for d, k in enumerate(window.windows):
        text.open(f"for k{d} in range({k}):")
        text.add(f"q{d} = s{d} + {window.padding[d][0]} - k{d} * {window.dilation[d]}")
        text.add(f"u{d} = q{d} // {window.strides[d]}")
        text.open(f"if (q{d} >= 0) & (u{d} * {window.strides[d]} == q{d}) & (u{d} < count{d}):")
    position = "n"
    for d in range(window.ndim):
        position = f"({position}) * count{d} + u{d}"
    text.add(f"line = {position}")
    if some is not None:
        text.add(f"line = line - {some[0]}")
        text.open(f"if (line >= 0) & (line < {some[1]}):")
    text.add(f"k = {window.place(names)}")
    text.add(f"t = t + {term(text)}")
    text.depth = depth
    element = f"x[row * {line} + j]"
    text.add(f"{element} = {element} + t" if onto else f"{element} = t")


def positions(text: Text, window: Window, low: int) -> None:
    """The loop over rows of windows, and the coordinates of each."""
    window.start(text, f"start + {text.word(low)}")
    text.open("for row in range(start, stop):")


def chunk(rows: int) -> int:
    """How many rows a team takes, one after the other, if there are enough for all: so it divides once to know where it is."""
    return max(1, min(8, rows // (4 * TEAMS)))


# ---------------------------------------------------------------- kernels that add


def arrays(problem: Problem, *names: str) -> Text:
    text = Text()
    for slot, name in enumerate(names):
        text.pointer(name, stored(problem.dtype), slot)
    return text


def weight(text: Text, problem: Problem, o: str) -> str:
    """An element of the kernel."""
    group = f"g * {text.word(problem.window.places)} + k"
    return f"w[(({group}) * {channels(text, problem.channels)} + c) * {channels(text, problem.outs)} + {o}]"


def outputs(problem: Problem, steps: tuple[int, ...]) -> NativeKernel:
    """A warp for each position of the output, a thread for each of its elements."""
    window, line = problem.window, problem.groups * problem.outs
    text = arrays(problem, "x", "w", "y")
    window.declare(text)
    positions(text, window, 0)
    window.begin(text)
    text.open(f"for q in range(lane({WARP}), {channels(text, line)}, {WARP}):")
    text.add(f"g = q // {channels(text, problem.outs)}")
    text.add(f"o = q - g * {channels(text, problem.outs)}")
    text.add(f"from_ = {plus(text.times('n', steps[0]), text.times('g', steps[-2]))}")
    text.add(f"t = {literal(accumulator(problem.dtype).type(0))}")
    depth, names = text.depth, [f"k{d}" for d in range(window.ndim)]
    for d, k in enumerate(window.windows):
        text.open(f"for k{d} in range({k}):")
        text.add(f"i{d} = j{d} + k{d} * {window.dilation[d]}")
        text.open(f"if (i{d} >= 0) & (i{d} < size{d}):")
    text.add(f"k = {window.place(names)}")
    text.add(f"source = {plus('from_', *[text.times(f'i{d}', s) for d, s in enumerate(steps[1:-2])])}")
    text.open(f"for c in range({channels(text, problem.channels)}):")
    text.add(f"t = t + x[{plus('source', text.times('c', steps[-1]))}] * {weight(text, problem, 'o')}")
    text.depth = depth
    text.add(f"y[row * {channels(text, line)} + q] = t")
    text.depth = 2
    window.advance(text)
    rows = problem.n * window.positions
    return NativeKernel(text.source(), text.sizes, rows, chunk(rows), team=WARP)


def inputs(problem: Problem, steps: tuple[int, ...]) -> NativeKernel:
    """A warp for each place of the input, a thread for each of its elements; the sum over the outputs of a group is a loop."""
    text = arrays(problem, "y", "w", "x")
    outs = channels(text, problem.outs)

    def term(text: Text) -> str:
        terms = [f"y[(line * {text.word(problem.groups)} + g) * {outs} + {o}] * {weight(text, problem, str(o))}"
                 for o in range(problem.outs)]
        return " + ".join(terms)

    meeting(text, problem, term)
    return NativeKernel(text.source(), text.sizes, problem.n * math.prod(problem.window.sizes), 1, team=WARP)


def kernels(problem: Problem, steps: tuple[int, ...]) -> NativeKernel:
    """Parts of the kernel, each from some lines of the outputs: a warp for each part and place, a thread for each element."""
    window, whole = problem.window, problem.groups * problem.channels * problem.outs
    lines = problem.n * math.prod(window.counts[:-1])
    parts = max(min(lines, TEAMS // window.places, LARGEST_PARTS // (whole * window.places)), 1)
    span = -(-lines // parts)
    parts = -(-lines // span)
    text, last = arrays(problem, "x", "y", "w"), window.ndim - 1
    window.declare(text)
    text.open("for row in range(start, stop):")
    text.add("rest = row")
    for d in reversed(range(window.ndim)):
        text.add(f"k{d} = rest % {window.windows[d]}")
        text.add(f"rest = rest // {window.windows[d]}")
    text.add(f"low = rest * {text.word(span)}")
    text.add(f"high = min(low + {text.word(span)}, {text.word(lines)})")
    text.add(f"k = {window.place([f'k{d}' for d in range(window.ndim)])}")
    text.open(f"for q in range(lane({WARP}), {channels(text, whole)}, {WARP}):")
    text.add(f"o = q % {channels(text, problem.outs)}")
    text.add(f"gc = q // {channels(text, problem.outs)}")
    text.add(f"c = gc % {channels(text, problem.channels)}")
    text.add(f"g = gc // {channels(text, problem.channels)}")
    text.add(f"t = {literal(accumulator(problem.dtype).type(0))}")
    depth = text.depth
    text.open("for line in range(low, high):")
    text.add("n = line")
    for d in reversed(range(last)):
        text.add(f"t{d} = n % count{d}")
        text.add(f"n = n // count{d}")
        text.add(f"i{d} = t{d} * {window.strides[d]} - {window.padding[d][0]} + k{d} * {window.dilation[d]}")
    text.open("if " + (" & ".join(f"(i{d} >= 0) & (i{d} < size{d})" for d in range(last)) or "True") + ":")
    moved = [text.times("n", steps[0]), text.times("g", steps[-2]), text.times("c", steps[-1]),
             *[text.times(f"i{d}", steps[d + 1]) for d in range(last)]]
    text.add(f"from_ = {plus(*moved)}")
    text.open(f"for t{last} in range(count{last}):")
    text.add(f"i = t{last} * {window.strides[last]} - {window.padding[last][0]} + k{last} * {window.dilation[last]}")
    text.open(f"if (i >= 0) & (i < size{last}):")
    output = f"y[((line * count{last} + t{last}) * {text.word(problem.groups)} + g) * {channels(text, problem.outs)} + o]"
    text.add(f"t = t + x[{plus('from_', text.times('i', steps[-3]))}] * {output}")
    text.depth = depth
    places = f"((rest * {text.word(problem.groups)} + g) * {text.word(window.places)} + k)"
    text.add(f"w[({places} * {channels(text, problem.channels)} + c) * {channels(text, problem.outs)} + o] = t")
    return NativeKernel(text.source(), text.sizes, parts * window.places, 1, team=WARP,
                        parts=(parts, problem.groups, *window.windows, problem.channels, problem.outs))
