"""Concatenation and padding: copies of stretches of memory.

In: an equation of ``concatenate`` or ``pad``. Out: a kernel that moves elements as unsigned integers of their width.

    concatenate of u32[2,3] and u32[2,5] along axis 1:    a row is 3 elements of the one and 5 of the other
    pad of u32[4,6] by ((1, 0, 0), (2, 1, 0)):            a row is all padding, or 2 of padding, 6 elements, 1 of padding
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import PIECE, pieces, raw, size, text, word
from funcgrad.core.jaxpr import Equation, Literal

SPELLED_OUT = 8
"""Operands of a concatenation up to which each has lines of its own in the kernel."""
SHORT = 64
"""Elements of a line that is better part of a longer one."""


def concatenate(equation: Equation) -> NativeKernel | None:
    """One kernel for all operands, however many."""
    shape, dimension = equation.outs[0].aval.shape, equation.params["dimension"]
    if any(type(x) is Literal for x in equation.inputs):
        return None
    name, parts = raw(equation.outs[0].aval.dtype)
    inner = math.prod(shape[dimension + 1:]) * parts
    rows, widths = math.prod(shape[:dimension]), [x.aval.shape[dimension] * inner for x in equation.inputs]
    if not equation.outs[0].aval.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    if rows == 1:
        return _one_after_another(name, widths)
    if len(widths) > SPELLED_OUT:
        return _many(name, widths, rows)
    sizes = [sum(widths)]
    lines = [f"x{k} = pointer_{name}(pointers, {k})" for k in range(len(widths))]
    lines += [f"y = pointer_{name}(pointers, {len(widths)})", "width = word(sizes, 0)"]
    body = ["at = r * width"]
    for k, width in enumerate(widths):
        body += [f"n = {size(width, sizes)}", "for j in range(n):", f"    y[at + j] = x{k}[r * n + j]", "at = at + n"]
    lines += ["for r in range(start, stop):", *["    " + line for line in body]]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, sizes[0]))


def _one_after_another(name: str, widths: list[int]) -> NativeKernel:
    """Along the first axis: a row is an element of the result, and rows are copied many at a time."""
    lines = ["count = word(sizes, 0)", f"y = pointer_{name}(pointers + 8 * count - 8, 1)", "low = 0", "for k in range(count):",
             f"    x = pointer_{name}(pointers + 8 * k, 0)", "    high = low + word(sizes, k + 1)",
             "    begin = max(start, low)", "    for j in range(min(stop, high) - begin):",
             "        y[begin + j] = x[begin - low + j]", "    low = high"]
    return NativeKernel(text(lines), [len(widths), *widths], sum(widths), 4 * PIECE)


def _many(name: str, widths: list[int], rows: int) -> NativeKernel:
    lines = ["count = word(sizes, 0)", "width = word(sizes, 1)", f"y = pointer_{name}(pointers + 8 * count - 8, 1)",
             "low = 0", "for k in range(count):", f"    x = pointer_{name}(pointers + 8 * k, 0)", "    n = word(sizes, k + 2)",
             "    for r in range(start, stop):", "        at = r * width + low", "        for j in range(n):",
             "            y[at + j] = x[r * n + j]", "    low = low + n"]
    return NativeKernel(text(lines), [len(widths), sum(widths), *widths], rows, pieces(rows, sum(widths)))


@dataclass(frozen=True)
class Axis:
    """An axis before and after padding; ``step`` is 1 + the padding between elements."""

    n: int
    m: int
    low: int
    step: int

    @property
    def plain(self) -> bool:
        return self.n == self.m and self.low == 0 and self.step == 1


def pad(equation: Equation) -> NativeKernel | None:
    """A row is a line along the last axis: all padding, or some, elements of x, and some."""
    x, value = equation.inputs
    out = equation.outs[0].aval
    if type(x) is Literal:
        return None
    if not out.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    name, parts = raw(out.dtype)
    config = equation.params["padding_config"]
    *outer, last = merged([Axis(n, m, low, 1 + between) for n, m, (low, _, between) in
                            zip(x.aval.shape, out.shape, config, strict=True)], parts)
    # The first element of a line that is not cut off, where it goes, and how many there are.
    skipped = max(-(last.low // last.step), 0) if last.low < 0 else 0
    place = last.low + skipped * last.step
    count = min(max(last.n - skipped, 0), max(-(-(last.m - place) // last.step), 0))
    sizes: list[int] = []
    lines = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, {1 if type(value) is Literal else 2})"]
    lines += value_lines(value, name, parts, sizes)
    words = dict(n=last.n, m=last.m, skipped=skipped, place=min(place, last.m), count=count, step=last.step)
    lines += [f"{key} = {word(number, sizes)}" for key, number in words.items()]
    body = ["at = r * m"]
    if last.step > 1:
        copy = [*_fill("at", "m", parts), "for j in range(count):", "    y[at + place + j * step] = x[start_x + j]"]
    else:
        copy = [*_fill("at", "place", parts), "for j in range(count):", "    y[at + place + j] = x[start_x + j]",
                *_fill("at + place + count", "m - place - count", parts)]
    if all(axis.plain for axis in outer):
        body += ["start_x = r * n + skipped", *copy]
    else:
        body += [*_line(outer, last.n, sizes), "if inside:", *["    " + line for line in copy], "else:",
                 *["    " + line for line in _fill("at", "m", parts)]]
    rows = math.prod(axis.m for axis in outer)
    return NativeKernel(text([*lines, "for r in range(start, stop):", *["    " + line for line in body]]), sizes, rows,
                        pieces(rows, last.m))


def merged(axes: list[Axis], parts: int, short: float = SHORT) -> list[Axis]:
    """Axes without padding become one with the axis before them, where that makes no line too long for one thread."""
    axes = [*axes, Axis(parts, parts, 0, 1)]
    merged = [axes[0]]
    for axis in axes[1:]:
        before = merged[-1]
        if axis.plain and before.step == 1 and (before.plain or axis.m < short):
            merged[-1] = Axis(before.n * axis.n, before.m * axis.m, before.low * axis.n, 1)
        elif axis != Axis(1, 1, 0, 1):
            merged.append(axis)
    return merged


def value_lines(value: Any, name: str, parts: int, sizes: list[int]) -> list[str]:
    """The value to pad with: a constant, passed as its bits, or in memory."""
    if type(value) is not Literal:
        return [f"p = pointer_{name}(pointers, 1)", *[f"value{k} = p[{k}]" for k in range(parts)]]
    start = len(sizes)
    data = np.asarray(value.value).tobytes()
    sizes += np.frombuffer(data.ljust(8, b"\0"), np.int64).tolist()
    return [f"value{k} = {name}(word(sizes, {start + k}))" for k in range(parts)]


def _fill(at: str, count: str, parts: int) -> list[str]:
    if parts == 1:
        return [f"for j in range({count}):", f"    y[{at} + j] = value0"]
    return [f"for j in range(({count}) // 2):", f"    y[{at} + 2 * j] = value0", f"    y[{at} + 2 * j + 1] = value1"]


def _line(outer: list[Axis], stride: int, sizes: list[int]) -> list[str]:
    """Where the line of x begins that belongs to row r, and whether there is one."""
    lines = ["inside = True", "start_x = skipped", "rest = r"]
    for axis in reversed(outer):
        m, step = word(axis.m, sizes), word(axis.step, sizes)
        lines += [f"i = rest % {m} - {word(axis.low, sizes)}", f"rest = rest // {m}"]
        if not axis.plain:
            lines += [f"inside = inside and 0 <= i and i < {word(axis.n * axis.step, sizes)}"]
            if axis.step > 1:
                lines += [f"inside = inside and i % {step} == 0", f"i = i // {step}"]
        lines += [f"start_x = start_x + i * {word(stride, sizes)}"]
        stride *= axis.n
    return lines


NATIVES["concatenate"] = concatenate
NATIVES["pad"] = pad
