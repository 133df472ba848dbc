"""The positions of the largest or the smallest elements along one axis.

In: an equation of ``argmax`` or ``argmin``. Out: a kernel. Along the last axis a team of threads searches a line, each thread
every 32nd or 256th element, and then exchanges what it found; along another axis each thread searches a lane. Of equal elements
the first counts, whoever found it. Where lines are too few they are cut into pieces, whose positions a second kernel compares.

    argmax of f32[4]:    [1, 3, nan, 3] gives 2, for the first NaN is larger than all
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.cuda.natives.teams import at_once, distances, indented, pieces, team_for
from funcgrad.compiler.expressions import computed, stored
from funcgrad.compiler.natives import Before, NativeKernel
from funcgrad.compiler.natives.rows import text
from funcgrad.core.jaxpr import Equation, Literal
from funcgrad.core.types import shaped_array

_AS_NUMBERS = np.dtype(np.uint8)
"""How bools lie in memory."""
_INT64 = np.dtype(np.int64)


def build(equation: Equation) -> NativeKernel | None:
    """The kernel of argmax or argmin; complex numbers, which NumPy orders by their parts, are the host's."""
    x, = equation.inputs
    dtype, shape, axis = x.aval.dtype, x.aval.shape, equation.params["axes"][0]
    if dtype.kind == "c" or type(x) is Literal:
        return None
    out = equation.outs[0].aval
    if not out.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    outer, n, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1:])
    dtype = _AS_NUMBERS if dtype.kind == "b" else dtype
    largest = equation.primitive.code.arguments["largest"]
    count = pieces(outer * inner, n, inner == 1)
    if count == 1:
        return _search(dtype, largest, (outer, n, inner), 1, stored(out.dtype))
    first = Before(_search(dtype, largest, (outer, n, inner), count, "i64"), (0,), shaped_array((outer, count, inner), _INT64))
    return _search(dtype, largest, (outer, n, inner), 1, stored(out.dtype), (first,), count)


def _search(dtype: np.dtype, largest: bool, shape: tuple[int, int, int], parts: int, out: str, before: tuple[Before, ...] = (),
            candidates: int = 0) -> NativeKernel:
    """Searches pieces of lines; or, with candidates, the positions that the pieces had."""
    outer, n, inner = shape
    count = candidates or -(-n // parts)
    team = team_for(count) if inner == 1 else 1
    value, slots = computed(dtype), 1 + len(before)
    sizes = [n, inner, count, parts]
    lines = [f"x = pointer_{stored(dtype)}(pointers, 0)", *(["g = pointer_i64(pointers, 1)"] if before else []),
             f"y = pointer_{out}(pointers, {slots})",
             *[f"{name} = word(sizes, {i})" for i, name in enumerate(("n", "inner", "count", "pieces"))]]

    def index(c: str) -> str:
        """The position of a candidate."""
        return f"g[(line * count + {c}) * inner + column]" if before else f"low + {c}"

    body = ["column = r % inner", "line = r // inner // pieces", "low = r // inner % pieces * count",
            "at = line * n * inner + column", "size = min(count, n - low)" if not before else "size = count",
            # A thread that has nothing to search takes what is there for the last one.
            f"c = min(lane({team}), size - 1)" if team > 1 else "c = 0",
            f"k = {index('c')}", "m = x[at + k * inner]",
            *at_once(f"lane({team}) + {team}" if team > 1 else "1", "size", team, f"x[at + ({index('{i}')}) * inner]",
                     [f"if {_better(dtype, largest, '{v}', 'm')}:", "    m = {v}", f"    k = {index('{i}')}"])]
    for d in distances(team):
        equal = f"(not ({_better(dtype, largest, 'm', 'v')}))"
        body += [f"v = exchange_{value}(m, {d}, {team})", f"i = exchange_i64(k, {d}, {team})",
                 f"if ({_better(dtype, largest, 'v', 'm')}) | ({equal} & (i < k)):", "    m = v", "    k = i"]
    body += [f"if lane({team}) == 0:", f"    y[r] = {out}(k)"] if team > 1 else [f"y[r] = {out}(k)"]
    return NativeKernel(text([*lines, "for r in range(start, stop):", *indented(body)]), sizes, outer * parts * inner, 1,
                        before=before, team=team)


def _better(dtype: np.dtype, largest: bool, new: str, old: str) -> str:
    """Whether an element is more extreme than another one."""
    sign = ">" if largest else "<"
    if dtypes.kind(dtype) != "f":
        return f"{new} {sign} {old}"
    return f"({new} {sign} {old}) | (({new} != {new}) & ({old} == {old}))"
