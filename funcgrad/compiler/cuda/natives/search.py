"""The kernel of searchsorted: each value has a thread.

In: an equation. Out: a ``NativeKernel``, or None for complex numbers, whose order is the host's. The steps of a search depend
on the length of the table only, so the threads of a warp stay together.
"""
from __future__ import annotations

import math

from funcgrad.compiler.expressions import stored
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.search import before_text, searched
from funcgrad.core.jaxpr import Equation

SOURCE = """def kernel(pointers, sizes, start, stop):
    t = pointer_{kind}(pointers, 0)
    x = pointer_{kind}(pointers, 1)
    y = pointer_{out}(pointers, 2)
    length = word(sizes, 0)
    for r in range(start, stop):
        b = x[r]
        at = {base}
        place = 0
        size = length
        while size > 0:
            half = max(size // 2, 1)
            a = t[at + place + half - 1]
            if {before}:
                place = place + half
            size = size - half
        y[r] = {out}(place)
"""


def searchsorted(equation: Equation) -> NativeKernel | None:
    """For each value, how many elements of its table stand before it."""
    kind = searched(equation)
    if kind is None:
        return None
    (table, x), out, batch = equation.inputs, equation.outs[0].aval, equation.params["batch_dims"]
    before = before_text(x.aval.dtype, equation.params["side"])
    sizes, base = [table.aval.shape[-1]], "0"
    if batch:
        sizes.append(max(math.prod(x.aval.shape[batch:]), 1))
        base = "r // word(sizes, 1) * length"
    return NativeKernel(SOURCE.format(kind=kind, out=stored(out.dtype), base=base, before=before), sizes, x.aval.size, 1)
