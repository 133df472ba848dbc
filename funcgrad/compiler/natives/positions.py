"""The positions of the largest or the smallest elements along one axis.

In: an equation of ``argmax`` or ``argmin``. Out: a kernel. Along the last axis, the extreme of each block of a line is found in
vector registers, and only the first block that has the extreme of the line is searched for its place. Along another axis,
neighbouring lines are compared side by side.

    argmax of f32[4]:    [1, 3, nan, 3] gives 2, for the first NaN is larger than all
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import accumulator, computed, stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import UNROLLED, pieces, size, text
from funcgrad.core.jaxpr import Equation, Literal

BLOCK = 128
"""Elements of a line that are compared before their extreme is."""
BAND = 512
"""Neighbouring lines that are one row."""
_AS_NUMBERS = np.dtype(np.uint8)
"""How bools lie in memory."""


def build(equation: Equation) -> NativeKernel | None:
    """The kernel of argmax or argmin; complex numbers, which NumPy orders by their parts, are the host's."""
    x, = equation.inputs
    dtype, shape, axis = x.aval.dtype, x.aval.shape, equation.params["axes"][0]
    if dtype.kind == "c" or type(x) is Literal:
        return None
    if not equation.outs[0].aval.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])
    out = stored(equation.outs[0].aval.dtype)
    largest = equation.primitive.code.arguments["largest"]
    return (_lines if inner == 1 else _bands)(dtype, out, largest, (outer, n, inner))


def _better(dtype: np.dtype, largest: bool, new: str, old: str) -> str:
    """Whether an element is more extreme than all before it."""
    text = f"{new} > {old}" if largest else f"{new} < {old}"
    return f"({text}) | (({new} != {new}) & ({old} == {old}))" if dtypes.kind(dtype) == "f" else text


def _lines(dtype: np.dtype, out: str, largest: bool, shape: tuple[int, int, int]) -> NativeKernel:
    rows, n, _ = shape
    sizes: list[int] = []
    known = []
    if dtype.kind == "b":  # nothing is more extreme than the first that is true, or false
        dtype, known = _AS_NUMBERS, [f"    if m == {int(largest)}:", "        break"]
    head = [f"x = pointer_{stored(dtype)}(pointers, 0)", f"y = pointer_{out}(pointers, 1)", f"n = {size(n, sizes)}"]
    if n <= UNROLLED:
        body = ["at = r * n", "m = x[at]", "k = 0", f"for j in range(1, {n}):", "    v = x[at + j]",
                f"    better = {_better(dtype, largest, 'v', 'm')}",
                "    m = select_bool(better, m, v)", "    k = select_bool(better, k, j)"]
    else:
        extreme = f"{'maximum' if largest else 'minimum'}_{computed(dtype)}"
        body = [
            "at = r * n", "m = x[at]", "k = 0", "for low in range(0, n, 128):", *known, "    t = x[at + low]",
            "    for j in range(min(128, n - low)):", f"        t = {extreme}(t, x[at + low + j])",
            f"    if {_better(dtype, largest, 't', 'm')}:", "        m = t", "        k = low",
            "if m == m:", "    while x[at + k] != m:", "        k = k + 1",
            "else:", "    while x[at + k] == x[at + k]:", "        k = k + 1"]
    body += [f"y[r] = {out}(k)"]
    lines = [*head, "for r in range(start, stop):", *["    " + line.replace("128", str(BLOCK)) for line in body]]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, n))


def _bands(dtype: np.dtype, out: str, largest: bool, shape: tuple[int, int, int]) -> NativeKernel:
    outer, n, inner = shape
    dtype = _AS_NUMBERS if dtype.kind == "b" else dtype
    wide = accumulator(dtype)
    bands = -(-inner // BAND)
    width = -(-inner // bands)
    sizes = [n, bands, width, inner]
    count = "min(width, inner - low)" if bands > 1 else size(inner, sizes)
    lines = [
        f"x = pointer_{stored(dtype)}(pointers, 0)", f"y = pointer_{out}(pointers, 1)",
        f"t = pointer_{stored(wide)}(pointers, 2)",
        "n = word(sizes, 0)", "bands = word(sizes, 1)", "width = word(sizes, 2)", "inner = word(sizes, 3)",
        "for r in range(start, stop):",
        "    low = r % bands * width", "    to = r // bands * inner + low", f"    count = {count}",
        "    at = r // bands * n * inner + low",
        "    for j in range(count):", "        t[to + j] = x[at + j]", f"        y[to + j] = {out}(0)",
        "    for i in range(1, n):", "        at = at + inner", f"        place = {out}(i)", "        for j in range(count):",
        "            v = x[at + j]", "            m = t[to + j]", f"            better = {_better(dtype, largest, 'v', 'm')}",
        "            t[to + j] = select_bool(better, m, v)", "            y[to + j] = select_bool(better, y[to + j], place)"]
    rows = outer * bands
    return NativeKernel(text(lines), sizes, rows, pieces(rows, 2 * n * width), ((wide, outer * inner),))


NATIVES["position"] = build
