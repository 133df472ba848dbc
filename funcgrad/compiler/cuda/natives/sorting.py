"""The largest elements of lines, and the sorting of short lines.

In: an equation of ``sort`` or ``top_k``. Out: a kernel, or None: CuPy sorts long lines. Short lines have a thread each, as on
the processor. For the largest elements of a longer line a team of threads searches it once for each of them: for the largest of
those that stand behind the one found before. So nothing is kept but what was found last.

    top_k of f32[5] with k=2:    [1, 4, nan, 4, 2] gives [nan, 4] at [2, 1]
"""
from __future__ import annotations

import math

from funcgrad.compiler.cuda.natives.teams import at_once, distances, indented, team_for
from funcgrad.compiler.expressions import computed
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives import sorting as cpu
from funcgrad.compiler.natives.rows import size, text
from funcgrad.core.jaxpr import Equation, Literal

MOST_SEARCHES = 1 << 22
"""Elements that are looked at for a line; beyond, to sort it is faster."""


def top_k(equation: Equation) -> NativeKernel | None:
    """NaN counts as largest, and of equal elements the first come first."""
    x, = equation.inputs
    k, n, dtype = equation.params["k"], x.aval.shape[-1], x.aval.dtype
    if n <= cpu.SHORT or not k or not x.aval.size:
        return cpu.top_k(equation)
    if type(x) is Literal or dtype.kind == "c" or k * n > MOST_SEARCHES:
        return None
    name, rows, team = cpu.memory(dtype), math.prod(x.aval.shape[:-1]), team_for(n)
    value = "u8" if dtype.kind == "b" else computed(dtype)
    sizes = [k]
    lines = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, 1)", "z = pointer_i32(pointers, 2)",
             "k = word(sizes, 0)", f"n = {size(n, sizes)}"]

    def larger(new: str, old: str) -> str:
        return cpu.less(dtype, old, new)

    search = ["m = x[at]", "best = n", *at_once(f"lane({team})", "n", team, "x[at + {i}]", [
        f"behind = (c == 0) | {larger('last', '{v}')} | ((not {larger('{v}', 'last')}) & (place < {{i}}))",
        f"if behind & ((best == n) | {larger('{v}', 'm')}):", "    m = {v}", "    best = {i}"])]
    for d in distances(team):
        better = f"(best == n) | {larger('v', 'm')} | ((not {larger('m', 'v')}) & (j < best))"
        search += [f"v = exchange_{value}(m, {d}, {team})", f"j = exchange_i64(best, {d}, {team})",
                   f"if (j < n) & ({better}):", "    m = v", "    best = j"]
    body = ["at = r * n", "last = x[at]", "place = 0", "for c in range(k):", *indented(search), "    last = m",
            "    place = best", f"    if lane({team}) == 0:", "        y[r * k + c] = m", "        z[r * k + c] = i32(best)"]
    return NativeKernel(text([*lines, "for r in range(start, stop):", *indented(body)]), sizes, rows, 1, team=team)
