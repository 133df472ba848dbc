"""Reading at computed places: gather, dynamic_slice, take_along.

In: an equation and the views of its operands. Out: a ``NativeKernel`` that writes its result from the first element to the
last. Where windows are wide, a team of threads reads each of them side by side; else each element is a row, and has a thread.

    x[i], f32[50000,768] by i64[8192]:    8192 rows, a warp for each;  for j in range(lane(32), n3, 32): ...
"""
from __future__ import annotations

import functools
import math
from typing import Any

from funcgrad.compiler.cuda.natives.teams import BLOCK, team_for, with_lanes
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives import indexing as cpu
from funcgrad.compiler.natives.windows import Axis, Component, Text, merged, plus
from funcgrad.core.jaxpr import Equation

WIDE = 32
"""Elements of a window from which a team reads it."""
AT_ONCE = 4
"""Elements that a thread loads before it stores them."""
PIECE = 4096
"""An inner loop longer than twice this is divided among teams."""


def _reading(equation: Equation, text: Text, axes: list[Axis], components: list[Component], mode: str,
             fill: Any) -> NativeKernel:
    """The kernel that writes the elements of all axes in order; strides are those of the operand and of the index."""
    cpu.begin_reading(equation, text, mode, fill)
    *outer, inner = merged(axes) or [Axis(1, (0, 0))]
    if inner.size < WIDE:
        outer, inner = [*outer, inner], Axis(1, (0, 0))
    pieces = -(-inner.size // PIECE) if inner.size > 2 * PIECE else 1
    team = BLOCK if pieces > 1 else team_for(inner.size)
    if pieces > 1:
        outer = [*outer, Axis(pieces, (0, 0))]
    text.open("for r in range(start, stop):")
    names = cpu.index_names(text, outer)
    index = text.position(names, [axis.steps[1] for axis in outer])
    each = bool(inner.steps[1])
    """Whether each element of the inner loop has an index vector of its own."""
    products = [] if each else text.starts(components, mode, index)
    text.add(f"base = {plus(*products, text.position(names, [axis.steps[0] for axis in outer]))}")
    text.add(f"to = r{f' // {text.word(pieces)}' if pieces > 1 else ''} * {text.word(inner.size)}")
    low, high = "0", text.count(inner.size)
    if pieces > 1:
        text.add(f"low = {names[-1]} * {text.word(PIECE)}")
        text.add(f"high = min(low + {PIECE}, {high})")
        low, high = "low", "high"
    if team > 1 and not each:
        _copied(text, inner, low, high, team, mode)
    else:
        cpu.row(text, inner, with_lanes(low, high, team), index, components if each else None, mode)
    text.depth = 1
    if mode == "raise":
        text.open("if bad:")
        text.add("failed[0] = 1")
    rows = math.prod([axis.size for axis in outer])
    return NativeKernel(text.source(), text.sizes, rows, 1, can_fail=mode == "raise", team=team)


def _copied(text: Text, inner: Axis, low: str, high: str, team: int, mode: str) -> None:
    """The inner loop of a team: each thread has some elements on their way before it stores the first."""
    def source(at: str) -> str:
        step = text.times(at, inner.steps[0]) if at == "j" else text.times(f"({at})", inner.steps[0])
        return f"x[{plus('base', step)}]"

    if mode == "fill":
        text.open("if not ok:")
        text.open(f"for j in range({with_lanes(low, high, team)}):")
        text.add("y[to + j] = fill")
        text.close(2)
        text.open("else:")
    places = ["j", *[f"j + {k * team}" for k in range(1, AT_ONCE)]]
    text.add(f"j = {plus(low if low != '0' else '', f'lane({team})')}")
    text.open(f"while {places[-1]} < {high}:")
    for k, place in enumerate(places):
        text.add(f"v{k} = {source(place)}")
    for k, place in enumerate(places):
        text.add(f"y[to + {place}] = v{k}")
    text.add(f"j = j + {AT_ONCE * team}")
    text.close()
    text.open(f"while j < {high}:")
    text.add(f"y[to + j] = {source('j')}")
    text.add(f"j = j + {team}")


gather = functools.partial(cpu.gather, write=_reading)
dynamic_slice = functools.partial(cpu.dynamic_slice, write=_reading)
take_along = functools.partial(cpu.take_along, write=_reading)
