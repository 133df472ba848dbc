"""The kernel of searchsorted: binary searches of many values at once.

In: an equation. Out: a ``NativeKernel``, or None for complex numbers, whose order is the host's. The steps of a search depend
on the length of the table only, so a block of values takes each step together: no jump depends on data, and LLVM makes
vectors of it. Between steps the results hold where each search stands.

    half = max(size // 2, 1)
    for r in range(first, last):
        y[r] = i64(y[r] + (half if t[y[r] + half - 1] < x[r] else 0))
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.core.jaxpr import Equation, Literal

BLOCK = 512
"""Values that search together."""
CHUNK = 1 << 16
"""Comparisons that one thread makes at a time."""

SOURCE = """def kernel(pointers, sizes, start, stop):
    t = pointer_{kind}(pointers, 0)
    x = pointer_{kind}(pointers, 1)
    y = pointer_{out}(pointers, 2)
    length = word(sizes, 0)
    for first in range(start, stop, {block}):
        last = min(first + {block}, stop)
        for r in range(first, last):
            y[r] = {out}(0)
        size = length
        while size > 0:
            half = max(size // 2, 1)
            for r in range(first, last):
                a = t[{base}i64(y[r]) + half - 1]
                b = x[r]
                y[r] = {out}(i64(y[r]) + (half if {before} else 0))
            size = size - half
"""


def before_text(dtype: np.dtype, side: str) -> str:
    """Whether an element a of the table stands before a value b."""
    if dtypes.kind(dtype) == "f":  # NaN stands behind everything else
        return {"left": "(a < b) | ((b != b) & (a == a))", "right": "(a <= b) | (b != b)"}[side]
    return {"left": "a < b", "right": "a <= b"}[side]


def searched(equation: Equation) -> str | None:
    """As what the values of a search are read; None where the host searches."""
    kind = "u8" if equation.inputs[1].aval.dtype.kind == "b" else stored(equation.inputs[1].aval.dtype)
    known = Literal in map(type, equation.inputs)
    return None if known or kind[0] == "c" or stored(equation.outs[0].aval.dtype) not in ("i32", "i64") else kind


def searchsorted(equation: Equation) -> NativeKernel | None:
    """For each value, how many elements of its table stand before it."""
    kind = searched(equation)
    if kind is None:
        return None
    (table, x), out, batch = equation.inputs, equation.outs[0].aval, equation.params["batch_dims"]
    before = before_text(x.aval.dtype, equation.params["side"])
    length, rows = table.aval.shape[-1], x.aval.size
    base, sizes = "", [length]
    if batch:
        base = "r // word(sizes, 1) * length + "
        sizes.append(max(math.prod(x.aval.shape[batch:]), 1))
    source = SOURCE.format(kind=kind, out=stored(out.dtype), block=BLOCK, base=base, before=before)
    work = length.bit_length() + 1
    chunk = rows if rows * work <= 4 * CHUNK else -(-CHUNK // (work * BLOCK)) * BLOCK
    return NativeKernel(source, sizes, rows, max(chunk, 1))


NATIVES["searchsorted"] = searchsorted
