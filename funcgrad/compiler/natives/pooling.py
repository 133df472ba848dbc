"""Reductions over windows, and the derivatives of extremes.

In: an equation of ``ops/windows.py``. Out: a ``NativeKernel`` that reads row-major arrays. The axes behind the last one along
which windows move run together, in vector registers. Where all of a window is inside, its places have lines of their own; else
the result so far is kept in scratch memory while the loops go over the places that are.

    maximum of 2x2 windows:    y[line + q] = maximum_f32(maximum_f32(x[first + q], x[first + n0 + q]), ...)
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import accumulator, computed, literal, stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.moving import UNROLLED, Window, channels
from funcgrad.compiler.natives.rows import PIECE
from funcgrad.compiler.natives.windows import Text, plus
from funcgrad.compiler.view import row_major
from funcgrad.core.jaxpr import Equation, Literal
from funcgrad.ops.windows import extreme, window_counts

COMBINE = {"sum": {"b": "{0} | {1}", "iu": "{type}({0} + {1})", "fc": "{0} + {1}"},
           "max": {"biuf": "maximum_{type}({0}, {1})"}, "min": {"biuf": "minimum_{type}({0}, {1})"}}
MOST_PIECES = 32
ROW = 3
"""How deep the text of a position is in its loops."""


class Pooling:
    """The loops over windows: ``n`` outer elements, positions, and ``width`` elements that run together."""

    def __init__(self, equation: Equation, shape: tuple[int, ...]):
        p = equation.params
        counts = window_counts(shape, p["window"], p["strides"], p["padding"], p["dilation"])
        moving = [d for d in range(len(shape)) if (p["window"][d], p["strides"][d], p["padding"][d]) != (1, 1, (0, 0))] or [0]
        part = slice(moving[0], moving[-1] + 1)
        self.n, self.width = math.prod(shape[:part.start]), math.prod(shape[part.stop:])
        self.window = Window(shape[part], p["window"][part], counts[part], p["strides"][part], p["padding"][part],
                             p["dilation"][part])
        self.steps = tuple([s * self.width for s in row_major(self.window.sizes)])
        self.image = math.prod(self.window.sizes) * self.width
        self.text = Text()

    def pieces(self, whole: int) -> tuple[int, int]:
        """How many pieces, of how many positions; pieces are multiples of ``whole`` positions."""
        rows = self.n * self.window.positions
        count = max(min(MOST_PIECES, rows // whole, rows * self.width * self.window.places // PIECE), 1)
        span = -(-rows // whole // count) * whole
        return -(-rows // span), span

    def open(self, span: int, zeroed: str = "") -> None:
        """Loops over pieces and their positions; ``zeroed`` is what an array of the input's shape starts from."""
        text, window = self.text, self.window
        window.declare(text)
        text.open("for piece in range(start, stop):")
        text.add(f"low = piece * {text.word(span)}")
        text.add(f"high = min(low + {text.word(span)}, {text.word(self.n * window.positions)})")
        text.add(f"kept = piece * {text.word(self.width)}")
        if zeroed:
            count, image = text.word(window.positions), text.word(self.image)
            text.open(f"for q in range(low // {count} * {image}, high // {count} * {image}):")
            text.add(f"y[q] = {zeroed}")
            text.close()
        window.start(text, "low")
        text.open("for row in range(low, high):")
        window.begin(text)
        text.add(f"first = {plus(text.times('n', self.image), window.base(text, self.steps))}")
        text.add(f"line = row * {text.word(self.width)}")

    def run(self) -> None:
        """The loop over the elements that run together."""
        self.text.open(f"for q in range({channels(self.text, self.width)}):")

    def split(self) -> bool:
        """Opens the way for windows that are inside as a whole, if their places have lines of their own."""
        if self.window.places > UNROLLED:
            return False
        self.text.open(f"if {self.window.whole()}:")
        return True

    def offsets(self) -> list[str]:
        return [self.text.word(offset) if offset else "" for offset in self.window.offsets(self.steps)]

    def inside(self) -> None:
        """Loops over the places of a window that are inside, with ``offset`` and ``place``."""
        names = [f"k{d}" for d in range(self.window.ndim)]
        self.window.inside(self.text, names)
        self.text.add(f"offset = first + {self.window.offset(self.text, names, self.steps)}")
        self.text.add(f"place = {self.window.place(names)}")

    def made(self, pieces: int, scratch: list[np.dtype]) -> NativeKernel:
        room = tuple([(dtype, pieces * self.width) for dtype in scratch])
        return NativeKernel(self.text.source(), self.text.sizes, pieces, 1, room)


def is_empty(equation: Equation) -> bool:
    return any(type(x) is Literal or not x.aval.size for x in (*equation.inputs, *equation.outs))


def reduce_window(equation: Equation) -> NativeKernel | None:
    """The sum or an extreme of each window."""
    name, dtype = equation.primitive.code.arguments["combine"], equation.outs[0].aval.dtype
    template = next((t for kinds, t in COMBINE[name].items() if dtypes.kind(dtype) in kinds), None)
    if template is None or is_empty(equation):
        return None
    wide = accumulator(dtype)
    combine = template.replace("{type}", computed(dtype))
    start = literal(wide.type(0) if name == "sum" else extreme(name, wide))
    loops = Pooling(equation, equation.inputs[0].aval.shape)
    text, (pieces, span) = loops.text, loops.pieces(1)
    for pointer, kind, slot in (("x", dtype, 0), ("y", dtype, 1), ("t", wide, 2)):
        text.pointer(pointer, stored(kind), slot)
    loops.open(span)
    if loops.split():
        offsets = loops.offsets()
        loops.run()
        text.add(f"v = {start}")
        for offset in offsets:
            element = f"x[{plus('first', offset, 'q')}]"
            text.add(f"v = {combine.format('v', element)}")
        text.add("y[line + q] = v")
        text.close(2)
        text.open("else:")
    depth = text.depth
    loops.run()
    text.add(f"t[kept + q] = {start}")
    text.close()
    loops.inside()
    loops.run()
    text.add(f"t[kept + q] = {combine.format('t[kept + q]', 'x[offset + q]')}")
    text.depth = depth
    loops.run()
    text.add("y[line + q] = t[kept + q]")
    text.depth = ROW
    loops.window.advance(text)
    return loops.made(pieces, [wide])


def _better(select: str) -> str:
    """Whether v takes the place of the best so far: the first of equal ones, and the first NaN, stay."""
    return f"better = (v {'>' if select == 'max' else '<'} best) | ((v != v) & (best == best))"


def _search(loops: Pooling, select: str, start: str, values: bool) -> None:
    """The best element of each window: its value of ``u`` in ``h``, or the number of its place."""
    text = loops.text
    zero = "u0" if values else "i32(0)"
    if loops.split():
        offsets = loops.offsets()
        loops.run()
        for k, offset in enumerate(offsets):
            at = plus("first", offset, "q")
            text.add(f"v = x[{at}]")
            found = f"u[{at}]" if values else f"i32({k})"
            if not k:
                text.add("best = v")
                text.add(f"which = {found}")
            else:
                text.add(_better(select))
                text.add(f"which = select_bool(better, which, {found})")
                text.add("best = select_bool(better, best, v)")
        text.add("h[kept + q] = which")
        text.close(2)
        text.open("else:")
    loops.run()
    text.add(f"b[kept + q] = {start}")
    text.add(f"h[kept + q] = {zero}")
    text.close()
    loops.inside()
    loops.run()
    text.add("v = x[offset + q]")
    text.add("best = b[kept + q]")
    text.add(_better(select).replace("= ", "= (place == 0) | ", 1))
    text.add(f"h[kept + q] = select_bool(better, h[kept + q], {'u[offset + q]' if values else 'i32(place)'})")
    text.add("b[kept + q] = select_bool(better, best, v)")
    text.depth = ROW


def selected(equation: Equation) -> tuple[np.dtype, np.dtype, str] | None:
    """The dtypes of the values and of the array that is searched, and what its search starts from."""
    values, x = [v.aval.dtype for v in equation.inputs]
    if is_empty(equation) or dtypes.kind(x) not in "iuf":
        return None
    return values, x, literal(extreme(equation.params["select"], accumulator(x)))


def select_and_gather_add(equation: Equation) -> NativeKernel | None:
    """The value at the first extreme of each window."""
    found = selected(equation)
    if found is None:
        return None
    values, dtype, start = found
    loops = Pooling(equation, equation.inputs[1].aval.shape)
    text, (pieces, span) = loops.text, loops.pieces(1)
    for pointer, kind, slot in (("u", values, 0), ("x", dtype, 1), ("y", values, 2), ("b", accumulator(dtype), 3),
                                ("h", accumulator(values), 4)):
        text.pointer(pointer, stored(kind), slot)
    text.head.append(f"u0 = {literal(accumulator(values).type(0))}")
    loops.open(span)
    _search(loops, equation.params["select"], start, True)
    loops.run()
    text.add("y[line + q] = h[kept + q]")
    text.close()
    loops.window.advance(text)
    return loops.made(pieces, [accumulator(dtype), accumulator(values)])


def select_and_scatter_add(equation: Equation) -> NativeKernel | None:
    """Each source added at the first extreme of its window."""
    found = selected(equation)
    if found is None or accumulator(found[0]) != found[0]:
        return None
    values, dtype, start = found
    loops = Pooling(equation, equation.inputs[1].aval.shape)
    text, window = loops.text, loops.window
    pieces, span = loops.pieces(window.positions)
    for pointer, kind, slot in (("u", values, 0), ("x", dtype, 1), ("y", values, 2), ("b", accumulator(dtype), 3)):
        text.pointer(pointer, stored(kind), slot)
    text.pointer("h", "i32", 4)
    zero = literal(values.type(0))
    loops.open(span, zero)
    _search(loops, equation.params["select"], start, False)
    loops.inside()
    loops.run()
    text.add(f"y[offset + q] = y[offset + q] + select_bool(h[kept + q] == i32(place), {zero}, u[line + q])")
    text.depth = ROW
    window.advance(text)
    return loops.made(pieces, [accumulator(dtype), np.dtype(np.int32)])


NATIVES.update(reduce_window=reduce_window, select_and_gather_add=select_and_gather_add,
               select_and_scatter_add=select_and_scatter_add)
