"""Sorting lines, and the largest elements of lines.

In: an equation of ``sort`` or ``top_k``. Out: a kernel, or None: CuPy sorts long lines. Short lines have a thread each, as on
the processor. Longer ones are sorted by a block of threads in the memory that they share, by a network of comparisons (Batcher,
Sorting networks and their applications, 1968) of keys with the positions that they come from, no two of which are equal. For
the largest elements of a line a team of threads searches it once for each of them: for the largest of those that stand behind
the one found before. So nothing is kept but what was found last.

    top_k of f32[5] with k=2:    [1, 4, nan, 4, 2] gives [nan, 4] at [2, 1]
"""
from __future__ import annotations

import math

from funcgrad.compiler.cuda.natives.teams import BLOCK, at_once, distances, indented, team_for
from funcgrad.compiler.expressions import computed
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives import sorting as cpu
from funcgrad.compiler.natives.rows import size, text
from funcgrad.core.jaxpr import Equation, Literal

LARGEST = 2048
"""Elements of the longest lines that are sorted here."""
MOST_SEARCHES = 1 << 22
"""Elements that are looked at for a line; beyond, to sort it is faster."""


def sort(equation: Equation) -> NativeKernel | None:
    """By one key that is no complex number, whose order is the host's."""
    avals = [v.aval for v in equation.outs]
    shape, axis, dtype = avals[0].shape, equation.params["dimension"], avals[0].dtype
    n, inner = shape[axis], math.prod(shape[axis + 1:])
    if 0 in shape or n <= cpu.SHORT // 2:
        return cpu.sort(equation)
    if any(type(x) is Literal for x in equation.inputs) or n > LARGEST or dtype.kind == "c" \
            or equation.params["num_keys"] > 1 or len(avals) > cpu.MOST_OPERANDS:
        return None
    operands = list(enumerate(avals))
    lines = [f"x{k} = pointer_{cpu.memory(a.dtype)}(pointers, {k})" for k, a in operands]
    lines += [f"y{k} = pointer_{cpu.memory(a.dtype)}(pointers, {len(avals) + k})" for k, a in operands]
    lines += [f"keys = shared_i64(0, {LARGEST})", f"places = shared_i32(1, {LARGEST})",
              *[f"{name} = word(sizes, {i})" for i, name in enumerate(("n", "inner", "whole"))]]
    body = [
        "at = r // inner * n * inner + r % inner",
        f"for j in range(lane({BLOCK}), whole, {BLOCK}):", f"    key = {(1 << 63) - 1}", "    if j < n:",
        "        v = x0[at + j * inner]", *indented(cpu.key_lines(dtype), 2), "    keys[j] = key", "    places[j] = i32(j)",
        f"sync({BLOCK})", "size = 2", "while size <= whole:", "    apart = size // 2", "    while apart > 0:",
        f"        for t in range(lane({BLOCK}), whole // 2, {BLOCK}):",
        "            i = 2 * t - (t & (apart - 1))", "            j = i + apart",
        "            a = keys[i]", "            b = keys[j]", "            p = places[i]", "            q = places[j]",
        "            if ((a > b) | ((a == b) & (p > q))) == ((i & size) == 0):",
        "                keys[i] = b", "                keys[j] = a", "                places[i] = q",
        "                places[j] = p",
        f"        sync({BLOCK})", "        apart = apart // 2", "    size = size * 2",
        f"for j in range(lane({BLOCK}), n, {BLOCK}):", "    i = i64(places[j])",
        *[f"    y{k}[at + j * inner] = x{k}[at + i * inner]" for k, _ in operands],
        f"sync({BLOCK})"]
    sizes = [n, inner, 1 << (n - 1).bit_length()]
    rows = math.prod(shape) // n
    return NativeKernel(text([*lines, "for r in range(start, stop):", *indented(body)]), sizes, rows, 1, team=BLOCK)


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
