"""Sorting short lines, and the largest elements of lines.

In: an equation of ``sort`` or ``top_k``. Out: a kernel, or None: NumPy sorts long lines with vector instructions, many times
faster than a loop of comparisons does. In a short line each element is compared with all others. The largest elements are
kept in order while a line is read; most blocks of a long line hold nothing that is larger than the least of them.

    top_k of f32[5] with k=2:    [1, 4, nan, 4, 2] gives [nan, 4] at [2, 1]
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import pieces, size, text
from funcgrad.core.jaxpr import Equation, Literal

SHORT = 32
"""The longest lines that are sorted here."""
MOST_OPERANDS = 8
LARGEST_K = 256
BLOCK = 64
"""Elements of a line of which one comparison tells whether any is large enough."""


def memory(dtype: np.dtype) -> str:
    """How elements are read: bools as numbers."""
    return "u8" if dtype.kind == "b" else stored(dtype)


def less(dtype: np.dtype, x: str, y: str) -> str:
    """x stands before y; NaN comes last."""
    return f"(({x} < {y}) | (({y} != {y}) & ({x} == {x})))" if dtypes.kind(dtype) == "f" else f"({x} < {y})"


def key_lines(dtype: np.dtype) -> list[str]:
    """``key`` is an int64 in the order of the elements v; zeros are equal, and NaNs equal and largest."""
    bits = 64 if dtype.itemsize == 8 else 32
    if dtypes.kind(dtype) == "f":
        largest = (1 << bits - 1) - 1
        return [f"key = i64(bitcast_f{bits}_i{bits}(v + f{bits}(0.0)))", f"key = key ^ ((key >> 63) & {largest})",
                f"key = select_bool(v != v, key, {largest})"]
    if dtype.kind == "u" and dtype.itemsize >= 4:
        return [f"key = i64(v ^ u64({1 << 63}))" if bits == 64 else f"key = i64(v) - {1 << 31}"]
    return ["key = i64(v)"]


def _placed(dtype: np.dtype, largest_first: bool, at: str, apart: str) -> list[str]:
    """The loop over the elements i of a line that ends with the ``place`` of each, the number of those that stand before it."""
    # A narrow key has room for the position behind it, so that no two are equal.
    narrow, sign = dtype.itemsize <= 4, ">" if largest_first else "<"
    stands_before = f"t[low + j] {sign} key" + ("" if narrow else ") | ((t[low + j] == key) & (j < i)")
    position = "n - 1 - j" if largest_first else "j"
    return ["for j in range(n):", f"    v = x0[{at} + j{apart}]", *["    " + line for line in key_lines(dtype)],
            "    t[low + j] = " + (f"key << 32 | {position}" if narrow else "key"),
            "for i in range(n):", "    key = t[low + i]", "    place = 0", "    for j in range(n):",
            f"        place += i64(({stands_before}))"]


def sort(equation: Equation) -> NativeKernel | None:
    """Short lines by one key that is no complex number, whose order NumPy defines by its parts."""
    avals = [v.aval for v in equation.outs]
    shape, axis, dtype = avals[0].shape, equation.params["dimension"], avals[0].dtype
    n, inner = shape[axis], math.prod(shape[axis + 1:])
    if any(type(x) is Literal for x in equation.inputs) or n > (SHORT if len(avals) > 1 else SHORT // 2) or dtype.kind == "c" \
            or equation.params["num_keys"] > 1 or len(avals) > MOST_OPERANDS:
        return None
    if 0 in shape:
        return NativeKernel(text(["pass"]), [], 0, 1)
    sizes = [inner]
    lines = [f"x{k} = pointer_{memory(a.dtype)}(pointers, {k})" for k, a in enumerate(avals)]
    lines += [f"y{k} = pointer_{memory(a.dtype)}(pointers, {len(avals) + k})" for k, a in enumerate(avals)]
    lines += [
        f"t = pointer_i64(pointers, {2 * len(avals)})", "inner = word(sizes, 0)", f"n = {size(n, sizes)}",
        "for r in range(start, stop):", "    at = r // inner * n * inner + r % inner", "    low = r * n",
        *["    " + line for line in _placed(dtype, False, "at", " * inner")],
        *[f"        y{k}[at + place * inner] = x{k}[at + i * inner]" for k in range(len(avals))]]
    rows = math.prod(shape[:axis]) * inner
    return NativeKernel(text(lines), sizes, rows, pieces(rows, n * n), ((np.dtype(np.int64), rows * n),))


def top_k(equation: Equation) -> NativeKernel | None:
    """A row is a line. NaN counts as largest, and of equal elements the first come first."""
    x, = equation.inputs
    k, n, dtype = equation.params["k"], x.aval.shape[-1], x.aval.dtype
    if type(x) is Literal or k > LARGEST_K:
        return None
    if not k or not x.aval.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    rows, sizes = math.prod(x.aval.shape[:-1]), [k]
    lines = [f"x0 = pointer_{memory(dtype)}(pointers, 0)", f"y = pointer_{memory(dtype)}(pointers, 1)",
             "z = pointer_i32(pointers, 2)", "k = word(sizes, 0)", f"n = {size(n, sizes)}"]
    if n > SHORT:
        return NativeKernel(text([*lines, *_largest(dtype)]), sizes, rows, pieces(rows, n + k * k))
    lines += ["t = pointer_i64(pointers, 3)", "for r in range(start, stop):", "    low = r * n", "    to = r * k",
              *["    " + line for line in _placed(dtype, True, "low", "")],
              "        if place < k:", "            y[to + place] = x0[low + i]", "            z[to + place] = i32(i)"]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, n * n), ((np.dtype(np.int64), rows * n),))


def _largest(dtype: np.dtype) -> list[str]:
    """The k largest elements so far are kept in order, in the memory of the results."""
    insert = [
        "p = to + full", f"while p > to and {less(dtype, 'y[p - 1]', 'v')}:",
        "    if p < to + k:", "        y[p] = y[p - 1]", "        z[p] = z[p - 1]", "    p = p - 1",
        "if p < to + k:", "    y[p] = v", "    z[p] = i32(i)"]
    return [
        "for r in range(start, stop):", "    at = r * n", "    to = r * k",
        "    for full in range(k):", "        i = full", "        v = x0[at + i]", *["        " + line for line in insert],
        "    full = k", "    least = y[to + k - 1]",
        f"    for low in range(k, n, {BLOCK}):", f"        count = min({BLOCK}, n - low)", "        found = i32(0)",
        "        for j in range(count):", "            v = x0[at + low + j]",
        f"            found = i32(found | i32({less(dtype, 'least', 'v')}))",
        "        if found != 0:",
        "            for i in range(low, low + count):", "                v = x0[at + i]",
        f"                if {less(dtype, 'least', 'v')}:", *["                    " + line for line in insert],
        "                    least = y[to + k - 1]"]


NATIVES["sort"] = sort
NATIVES["top_k"] = top_k
