"""Reductions over windows, and the derivatives of extremes: each element of the result has a thread.

In: an equation of ``ops/windows.py``. Out: a ``NativeKernel`` that reads row-major arrays. The axes behind the last one along
which windows move run together, and neighbouring threads have neighbours there. A source is added at the extreme of its window
by whoever owns the element: a first kernel notes for each window the place of its extreme, and a second one looks for each
element at the windows that reach it, in their order.

    maximum of 2x2 windows:    v = maximum_f32(v, x[offset + q]) over the places that are inside
"""
from __future__ import annotations

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import accumulator, computed, literal, stored
from funcgrad.compiler.natives import Before, NativeKernel
from funcgrad.compiler.natives import pooling as cpu
from funcgrad.compiler.natives.windows import plus
from funcgrad.compiler.view import row_major
from funcgrad.core.jaxpr import Equation
from funcgrad.core.types import shaped_array
from funcgrad.ops.windows import extreme

_PLACE = np.dtype(np.int32)


class Pooling(cpu.Pooling):
    """The loops over windows, for one element of the result."""

    def open(self) -> None:  # type: ignore[override]
        """The element r: its window, and its place q among those that run together."""
        text, window = self.text, self.window
        window.declare(text)
        text.open("for r in range(start, stop):")
        width = text.word(self.width)
        text.add(f"q = r % {width}")
        window.start(text, f"r // {width}")
        window.begin(text)
        text.add(f"first = {plus(text.times('n', self.image), window.base(text, self.steps), 'q')}")

    def made_of(self, rows: int, before: tuple[Before, ...] = ()) -> NativeKernel:
        return NativeKernel(self.text.source(), self.text.sizes, rows, 1, before=before)

    @property
    def elements(self) -> int:
        return self.n * self.window.positions * self.width


def reduce_window(equation: Equation) -> NativeKernel | None:
    """The sum or an extreme of each window."""
    name, dtype = equation.primitive.code.arguments["combine"], equation.outs[0].aval.dtype
    template = next((t for kinds, t in cpu.COMBINE[name].items() if dtypes.kind(dtype) in kinds), None)
    if template is None or cpu.is_empty(equation):
        return None
    wide = accumulator(dtype)
    loops = Pooling(equation, equation.inputs[0].aval.shape)
    text = loops.text
    for pointer, slot in (("x", 0), ("y", 1)):
        text.pointer(pointer, stored(dtype), slot)
    loops.open()
    text.add(f"v = {literal(wide.type(0) if name == 'sum' else extreme(name, wide))}")
    depth = text.depth
    loops.inside()
    text.add(f"v = {template.replace('{type}', computed(dtype)).format('v', 'x[offset]')}")
    text.depth = depth
    text.add("y[r] = v")
    return loops.made_of(loops.elements)


def _search(loops: Pooling, select: str, start: str) -> None:
    """The best element of a window, and its offset and place."""
    text = loops.text
    text.add(f"best = {start}")
    text.add("at = first")
    text.add("which = 0")
    text.add("seen = False")
    depth = text.depth
    loops.inside()
    text.add("v = x[offset]")
    # The first of equal ones, and the first NaN, stay; whatever is inside is better than nothing.
    sign = ">" if select == "max" else "<"
    text.open(f"if (place == 0) | (v {sign} best) | ((v != v) & (best == best)):")
    for line in ("best = v", "at = offset", "which = place", "seen = True"):
        text.add(line)
    text.depth = depth


def select_and_gather_add(equation: Equation) -> NativeKernel | None:
    """The value at the first extreme of each window."""
    found = cpu.selected(equation)
    if found is None:
        return None
    values, dtype, start = found
    loops = Pooling(equation, equation.inputs[1].aval.shape)
    text = loops.text
    for pointer, kind, slot in (("u", values, 0), ("x", dtype, 1), ("y", values, 2)):
        text.pointer(pointer, stored(kind), slot)
    loops.open()
    _search(loops, equation.params["select"], start)
    text.add(f"y[r] = u[at] if seen else {literal(accumulator(values).type(0))}")
    return loops.made_of(loops.elements)


def select_and_scatter_add(equation: Equation) -> NativeKernel | None:
    """Each source added at the first extreme of its window."""
    found = cpu.selected(equation)
    if found is None or accumulator(found[0]) != found[0]:
        return None
    values, dtype, start = found
    loops = Pooling(equation, equation.inputs[1].aval.shape)
    text = loops.text
    text.pointer("x", stored(dtype), 1)
    text.pointer("h", "i32", 2)
    loops.open()
    _search(loops, equation.params["select"], start)
    text.add("h[r] = i32(which)")
    first = Before(loops.made_of(loops.elements), (0, 1), shaped_array((loops.elements,), _PLACE))
    return _gathered(Pooling(equation, equation.inputs[1].aval.shape), values, first)


def _gathered(loops: Pooling, values: np.dtype, first: Before) -> NativeKernel:
    """Each element adds up the sources of the windows whose extreme it is."""
    text, window = loops.text, loops.window
    text.pointer("u", stored(values), 0)
    text.pointer("h", "i32", 2)
    text.pointer("y", stored(values), 3)
    window.declare(text)
    text.open("for r in range(start, stop):")
    width = text.word(loops.width)
    text.add(f"q = r % {width}")
    text.add(f"rest = r // {width}")
    for d in reversed(range(window.ndim)):
        text.add(f"i{d} = rest % size{d}")
        text.add(f"rest = rest // size{d}")
    text.add(f"v = {literal(values.type(0))}")
    depth = text.depth
    for d in range(window.ndim):
        # Windows t with 0 <= i + low - t * stride <= (k - 1) * dilation reach element i.
        low, stride, reach = window.padding[d][0], window.strides[d], (window.windows[d] - 1) * window.dilation[d]
        earliest, latest = f"-((-(i{d} + {low - reach})) // {stride})", f"(i{d} + {low}) // {stride}"
        text.open(f"for t{d} in range(max({earliest}, 0), min({latest} + 1, count{d})):")
        text.add(f"k{d} = i{d} + {low} - t{d} * {stride}")
    places = [f"k{d} // {r} * {p}" for d, (r, p) in enumerate(zip(window.dilation, row_major(window.windows), strict=True))]
    regular = " & ".join([f"(k{d} % {r} == 0)" for d, r in enumerate(window.dilation) if r > 1])
    if regular:
        text.open(f"if {regular}:")
    steps = [text.word(s * loops.width) for s in row_major(window.counts)]
    at = plus(f"rest * {text.word(window.positions * loops.width)}", *[f"t{d} * {s}" for d, s in enumerate(steps)], "q")
    text.add(f"at = {at}")
    text.open(f"if i64(h[at]) == {' + '.join(places)}:")
    text.add("v = v + u[at]")
    text.depth = depth
    text.add("y[r] = v")
    return loops.made_of(loops.n * loops.image, (first,))
