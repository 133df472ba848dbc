"""Convolutions in which each channel is a group of its own: the channels run together in vector registers.

In: a ``Problem`` of ``convolving.py`` with one channel in each group, and some outputs. Out: a ``NativeKernel``. The kernel is
first brought into an order in which the channels lie side by side, a copy for each piece. Where all of a window is inside, its
places have lines of their own.

    convolve of 3x3 windows:    y[line + q] = x[first + n0 + q] * w[q] + x[first + n1 + q] * w[n2 + q] + ...
"""
from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from funcgrad.compiler.expressions import literal, stored
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.moving import UNROLLED, channels
from funcgrad.compiler.natives.windows import Text, plus
from funcgrad.compiler.view import View, row_major

if TYPE_CHECKING:
    from funcgrad.compiler.natives.convolving import Problem


def depthwise(name: str, problem: Problem, w: View | None) -> NativeKernel:
    """The kernel of one of the three products; ``w`` is the kernel's view, if the kernel is an operand."""
    window, groups, outs = problem.window, problem.groups, problem.outs
    result = name == "convolve_kernel"
    whole = window.positions if name == "convolve_input" else 1
    pieces, span, _ = problem.divided(whole)
    slots = {"convolve": {"x": 0, "y": 2}, "convolve_input": {"y": 0, "x": 2}, "convolve_kernel": {"x": 0, "y": 1}}[name]
    text = Text()
    for array, slot in slots.items():
        text.pointer(array, stored(problem.dtype), slot)
    text.pointer("w", stored(problem.dtype), 2 if result else 3)
    window.declare(text)
    line = groups * outs
    size = text.word(window.places * line)
    text.open("for piece in range(start, stop):")
    text.add(f"low = piece * {text.word(span)}")
    text.add(f"high = min(low + {text.word(span)}, {text.word(problem.rows)})")
    text.add(f"part = piece * {size}")
    if w is None:
        text.open(f"for q in range({size}):")
        text.add(f"w[part + q] = {literal(problem.dtype.type(0))}")
        text.close()
    else:
        text.pointer("v", stored(problem.dtype), 1)
        _side_by_side(problem, text, w)
    if name == "convolve_input":
        image = row_major((problem.n, *window.sizes, groups))[0]
        text.add(f"image = low // {text.word(window.positions)} * {text.word(image)}")
        text.open(f"for q in range(image, image + (high - low) // {text.word(window.positions)} * {text.word(image)}):")
        text.add(f"x[q] = {literal(problem.dtype.type(0))}")
        text.close()
    window.start(text, "low")
    text.open("for row in range(low, high):")
    window.begin(text)
    steps = problem.x_steps
    text.add(f"first = {plus(text.times('n', steps[0]), window.base(text, steps[1:-2]))}")
    text.add(f"line = row * {text.word(line)}")
    _places(name, problem, text)
    window.advance(text)
    scratch = () if result else ((problem.dtype, pieces * window.places * line),)
    in_order = {"convolve": (), "convolve_input": (0,), "convolve_kernel": (1,)}[name]
    if name != "convolve_input" and steps == row_major((problem.n, *window.sizes, groups, 1)):
        in_order = (0, *in_order)
    made = NativeKernel(text.source(), text.sizes, pieces, 1, scratch, row_major=in_order)
    if not result:
        return made
    return replace(made, parts=(pieces, *window.windows, groups, outs, 1),
                   order=(window.ndim, *range(window.ndim), window.ndim + 2, window.ndim + 1))


def _side_by_side(problem: Problem, text: Text, w: View) -> None:
    """The kernel ``v[G, *K, 1, O]`` as ``w[*K, G, O]``."""
    windows = problem.window.windows
    text.add("at = part")
    depth = text.depth
    names = [f"k{d}" for d in range(len(windows))]
    for name, k in zip(names, windows, strict=True):
        text.open(f"for {name} in range({k}):")
    text.add(f"from_ = {text.position(names, w.strides[1:-2])}")
    text.open(f"for g in range({channels(text, problem.groups)}):")
    text.open(f"for o in range({channels(text, problem.outs)}):")
    text.add(f"w[at] = v[from_ + {plus(text.times('g', w.strides[0]), text.times('o', w.strides[-1]))}]")
    text.add("at = at + 1")
    text.depth = depth


def _places(name: str, problem: Problem, text: Text) -> None:
    """What one position does at all places of its window."""
    window, steps = problem.window, problem.x_steps
    unrolled = window.places <= UNROLLED and name != "convolve_input"
    if unrolled:
        text.open(f"if {window.whole()}:")
        offsets = [text.word(offset) if offset else "" for offset in window.offsets(steps[1:-2])]
        places = [channels(text, j * problem.groups * problem.outs) for j in range(window.places)]
        _channels(name, problem, text, offsets, places)
        text.close()
        text.open("else:")
    depth = text.depth
    if name == "convolve":
        text.open(f"for q in range({channels(text, problem.groups * problem.outs)}):")
        text.add(f"y[line + q] = {literal(problem.dtype.type(0))}")
        text.close()
    names = [f"k{d}" for d in range(window.ndim)]
    window.inside(text, names)
    text.add(f"offset = {window.offset(text, names, steps[1:-2])}")
    text.add(f"place = ({window.place(names)}) * {channels(text, problem.groups * problem.outs)}")
    _channels(name, problem, text, ["offset"], ["place"], added=True)
    text.depth = depth - unrolled


def _channels(name: str, problem: Problem, text: Text, offsets: list[str], places: list[str], added: bool = False) -> None:
    """The loop over the channels, for some places of the window together."""
    groups, outs = channels(text, problem.groups), problem.outs
    text.open(f"for q in range({groups}):")
    q = "q"
    if outs > 1:
        text.open(f"for o in range({channels(text, outs)}):")
        q = f"q * {channels(text, outs)} + o"
    xs = [f"x[{plus('first', offset, 'q')}]" for offset in offsets]
    ws = [f"w[{plus('part', place if place != '0' else '', q)}]" for place in places]
    y = f"y[line + {q}]"
    if name == "convolve":
        total = " + ".join(f"{a} * {b}" for a, b in zip(xs, ws, strict=True))
        text.add(f"{y} = {y} + {total}" if added else f"{y} = {total}")
    else:
        text.add(f"u = {y}")
        for a, b in zip(xs, ws, strict=True):
            text.add(f"{a} = {a} + u * {b}" if name == "convolve_input" else f"{b} = {b} + {a} * u")
    text.close(2 if outs > 1 else 1)
