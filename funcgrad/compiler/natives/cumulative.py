"""Running sums, products, extremes and log-sum-exps along one axis.

In: an equation of ``cumsum`` or its like. Out: a kernel. Along the last axis a row is a line of the array, and some lines
are walked side by side, so that their additions need not wait for each other. Along another axis a row is a band of
neighbouring lines, and each step along the axis is a loop over the band in vector registers.

    cumsum of f32[4,100] along axis 1:    t = t + x[i];    y[i] = t

The elements of a line are combined one after the other, as NumPy does; narrow floats in float32.
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import accumulator, computed, stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import pieces, size, text
from funcgrad.core.jaxpr import Equation, Literal

SIDE_BY_SIDE = 8
"""Lines along the last axis that are walked together."""
BAND = 1024
"""Neighbouring lines that are one row."""
GATHERED = 32
"""Lines along the last axis that are one row where combining costs more than elements that do not lie side by side."""
COMBINE = {
    "sum": {"b": "{0} | {1}", "iu": "{type}({0} + {1})", "fc": "{0} + {1}"},
    "prod": {"b": "{0} & {1}", "iu": "{type}({0} * {1})", "fc": "{0} * {1}"},
    # The first of equal numbers, and the first NaN, stay.
    "max": {"b": "{0} | {1}", "iu": "maximum_{type}({0}, {1})", "f": "select_bool(({0} >= {1}) | ({0} != {0}), {1}, {0})"},
    "min": {"b": "{0} & {1}", "iu": "minimum_{type}({0}, {1})", "f": "select_bool(({0} <= {1}) | ({0} != {0}), {1}, {0})"},
    "logsumexp": {"f": "logaddexp_{type}({0}, {1})"},
}


def build(equation: Equation) -> NativeKernel | None:
    """The kernel of a cumulative operation; complex numbers have no order, and integers no logarithm: the host's."""
    x, = equation.inputs
    dtype, shape, axis = x.aval.dtype, x.aval.shape, equation.params["axis"]
    name = equation.primitive.code.arguments["combine"]
    template = next((t for kinds, t in COMBINE[name].items() if dtypes.kind(dtype) in kinds), None)
    if template is None or type(x) is Literal:
        return None
    combine = template.replace("{type}", computed(dtype))
    outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])
    weight = 16 if name == "logsumexp" else 1
    step = -inner if equation.params["reverse"] else inner
    first = (n - 1) * inner if step < 0 else 0
    if not x.aval.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    if inner == 1 and weight > 1 and outer >= SIDE_BY_SIDE:
        return _gathered(dtype, combine, [n, first, step], outer, weight)
    if inner == 1:
        return _lines(dtype, combine, [n, first, step], outer, weight)
    return _bands(dtype, combine, (outer, n, inner), [n, first, step], weight)


def _lines(dtype: np.dtype, combine: str, sizes: list[int], rows: int, weight: int) -> NativeKernel:
    count = SIDE_BY_SIDE if rows >= SIDE_BY_SIDE else 1
    lines = [*_head(dtype), "r = start"]
    if count > 1:
        lines += [f"while r + {count} <= stop:", *_walk(count, combine)]
    lines += ["while r < stop:", *_walk(1, combine)]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, sizes[0] * weight, count))


def _head(dtype: np.dtype) -> list[str]:
    return [f"x = pointer_{stored(dtype)}(pointers, 0)", f"y = pointer_{stored(dtype)}(pointers, 1)",
            "n = word(sizes, 0)", "first = word(sizes, 1)", "step = word(sizes, 2)"]


def _walk(count: int, combine: str) -> list[str]:
    """The lines from r on, side by side."""
    every = range(count)
    lines = [f"a{k} = (r + {k}) * n + first" for k in every] + [f"t{k} = x[a{k}]" for k in every]
    lines += [f"y[a{k}] = t{k}" for k in every]
    lines += ["for i in range(1, n):", "    at = i * step"]
    lines += [f"    t{k} = {combine.format(f't{k}', f'x[a{k} + at]')}" for k in every]
    lines += [f"    y[a{k} + at] = t{k}" for k in every]
    return ["    " + line for line in [*lines, f"r += {count}"]]


def _bands(dtype: np.dtype, combine: str, shape: tuple[int, int, int], sizes: list[int], weight: int) -> NativeKernel:
    """``shape`` is (blocks of lines, elements of a line, lines of a block). Narrow floats keep their sums in scratch memory."""
    outer, n, inner = shape
    wide = accumulator(dtype)
    bands = -(-inner // BAND)
    width = -(-inner // bands)
    sizes = [*sizes, bands, width, inner]
    count = "min(width, inner - low)" if bands > 1 else size(inner, sizes)
    narrow = wide != dtype
    keep = ["t[keep + j] = v"] if narrow else []
    lines = [
        *_head(dtype), *_band_head(), *([f"t = pointer_{stored(wide)}(pointers, 2)"] if narrow else []),
        "for r in range(start, stop):",
        "    low = r % bands * width", "    keep = r // bands * inner + low", f"    count = {count}",
        "    at = r // bands * n * inner + low + first",
        "    for j in range(count):", "        v = x[at + j]", "        y[at + j] = v", *[f"        {k}" for k in keep],
        "    for i in range(1, n):", "        last = at", "        at = at + step", "        for j in range(count):",
        f"            v = {combine.format('t[keep + j]' if narrow else 'y[last + j]', 'x[at + j]')}",
        *[f"            {k}" for k in keep], "            y[at + j] = v"]
    rows = outer * bands
    return NativeKernel(text(lines), sizes, rows, pieces(rows, n * width * weight), ((wide, outer * inner),) if narrow else ())


def _band_head() -> list[str]:
    return ["bands = word(sizes, 3)", "width = word(sizes, 4)", "inner = word(sizes, 5)"]


def _gathered(dtype: np.dtype, combine: str, sizes: list[int], lines: int, weight: int) -> NativeKernel:
    """Bands of lines along the last axis: the elements of a step are brought side by side and back."""
    wide = accumulator(dtype)
    rows = -(-lines // GATHERED)
    body = [
        *_head(dtype), *_band_head(), f"t = pointer_{stored(wide)}(pointers, 2)", f"u = pointer_{stored(wide)}(pointers, 3)",
        "for r in range(start, stop):",
        f"    low = r * {GATHERED}", f"    count = min({GATHERED}, inner - low)", "    at = low * n + first",
        "    for j in range(count):", "        v = x[at + j * n]", "        t[low + j] = v", "        y[at + j * n] = v",
        "    for i in range(1, n):", "        at = at + step",
        "        for j in range(count):", "            u[low + j] = x[at + j * n]",
        f"        for j in range({GATHERED}):", f"            t[low + j] = {combine.format('t[low + j]', 'u[low + j]')}",
        "        for j in range(count):", "            y[at + j * n] = t[low + j]"]
    room = rows * GATHERED
    return NativeKernel(text(body), [*sizes, 0, 0, lines], rows, pieces(rows, sizes[0] * GATHERED * weight),
                        ((wide, room), (wide, room)))


NATIVES["cumulative"] = build
