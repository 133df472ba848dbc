"""Linear systems: factorisations and solutions of stacks of small matrices as loops, of larger ones by BLAS and LAPACK.

In: an equation of ``cholesky``, ``lu``, ``triangular_solve``, ``factored_solve``, ``slogdet`` or ``det``. Out: a kernel whose
row is one matrix, or None for dtypes that LAPACK does not know. Up to ``SMALL`` rows the sizes are part of the text, and LLVM
unrolls the loops; beyond, the kernel calls functions of the BLAS inside of NumPy, whose addresses it is passed as sizes.

    cholesky of f64[10000,4,4]:    10000 rows, no call
    lu of f64[500,500]:            one row, one call of getrf
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad.compiler import blas
from funcgrad.compiler.expressions import stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import pieces, size, text, word
from funcgrad.core.jaxpr import Equation, Literal

SMALL = 8
"""The largest matrices that are treated by loops here."""
SHARED_OUT = 48
"""The largest matrices of which threads take several: the library computes each on the thread that calls it."""
ON_ONE_THREAD = 1024
"""The largest matrices for which the library's own threads are switched off: they wait for each other by spinning."""
INT64 = np.dtype(np.int64)


def known(equation: Equation) -> bool:
    """Whether LAPACK knows the dtype, and no operand is a literal."""
    return equation.outs[0].aval.dtype.name in blas.LETTERS and not any(type(x) is Literal for x in equation.inputs)


def rows_at_a_time(rows: int, n: int, work: int) -> int:
    """The matrices that one thread takes: all, if they are so large that the library may use threads."""
    return pieces(rows, work) if n <= SHARED_OUT else max(rows, 1)


def calling(lines: list[str], sizes: list[int], n: int, rows: int, chunk: int, scratch: tuple) -> NativeKernel:
    """A kernel that calls the library for n by n matrices."""
    get, put = blas.thread_functions()
    if get and SHARED_OUT < n <= ON_ONE_THREAD:
        put_text = word(put, sizes)
        lines = [f"threads = call_for_int({word(get, sizes)})", "if threads > 1:", f"    call_pointers({put_text}, (1,))",
                 *lines, "if threads > 1:", f"    call_pointers({put_text}, (threads,))"]
    return NativeKernel(text(lines), sizes, rows, chunk, scratch)


NOTHING = NativeKernel(text(["pass"]), [], 0, 1)


def indented(lines: list[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


def conjugate(dtype: np.dtype, x: str) -> str:
    return f"conj_{stored(dtype)}({x})" if dtype.kind == "c" else x


def one(dtype: np.dtype) -> list[int]:
    """The words that hold the number 1 of a dtype."""
    raw = np.ones(1, dtype).tobytes()
    return np.frombuffer(raw + bytes(-len(raw) % 8), np.int64).tolist()


# ---------------------------------------------------------------- Cholesky


def cholesky(equation: Equation) -> NativeKernel | None:
    """Only the lower triangle is read. Where a pivot is not positive, the triangle becomes NaN."""
    aval = equation.outs[0].aval
    if not known(equation):
        return None
    if not aval.size:
        return NOTHING
    n, dtype, name = aval.shape[-1], aval.dtype, stored(aval.dtype)
    rows, sizes = math.prod(aval.shape[:-2]), []
    fail = ["if failed:", "    for i in range(n):", "        for j in range(i + 1):",
            f"            y[b + i * n + j] = {name}(nan)"]
    if n > SMALL:
        count, call = word(n, sizes), word(blas.function("potrf", dtype), sizes)
        sizes.append(ord("U"))  # a row-major lower triangle is an upper one to LAPACK
        lines = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, 1)", f"n = {count}",
                 "for r in range(start, stop):", "    b = r * n * n", "    for i in range(n):", "        for j in range(n):",
                 f"            y[b + i * n + j] = x[b + i * n + j] if j <= i else {name}(0.0)",
                 f"    call_pointers({call}, (sizes + 16, sizes, word(pointers, 1) + b * {dtype.itemsize}, sizes, "
                 "word(pointers, 2) + 8 * r, 1))",
                 "    failed = short(word(pointers, 2) + 8 * r) != 0", *indented(fail)]
        return calling(lines, sizes, n, rows, rows_at_a_time(rows, n, n ** 3 // 3), ((INT64, rows),))
    real = "f32" if dtype.name in ("float32", "complex64") else "f64"
    square = "v.real * v.real + v.imag * v.imag" if dtype.kind == "c" else "v * v"
    part = ".real" if dtype.kind == "c" else ""
    body = ["b = r * n * n", "failed = False", "for j in range(n):", f"    s = x[b + j * n + j]{part}",
            "    for k in range(j):",
            "        v = y[b + j * n + k]", f"        s = s - ({square})", "    if not (s > 0.0):", "        failed = True",
            f"    d = sqrt_{real}(s)", f"    y[b + j * n + j] = {name}(d)", "    for i in range(j + 1, n):",
            "        t = x[b + i * n + j]", "        for k in range(j):",
            f"            t = t - y[b + i * n + k] * {conjugate(dtype, 'y[b + j * n + k]')}",
            "        y[b + i * n + j] = t / d",
            f"        y[b + j * n + i] = {name}(0.0)", *fail]
    lines = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, 1)", f"n = {n}",
             "for r in range(start, stop):", *indented(body)]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, n ** 3))


# ---------------------------------------------------------------- LU


def lu(equation: Equation) -> NativeKernel | None:
    """Slots: the matrix; factors, pivots, permutation; LAPACK's pivots."""
    x = equation.inputs[0].aval
    if not known(equation):
        return None
    if not x.size:
        return None
    *lead, m, n = x.shape
    k, rows, sizes, name = min(m, n), math.prod(lead), [], stored(x.dtype)
    start = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, 1)", "pivots = pointer_i32(pointers, 2)",
             "order = pointer_i32(pointers, 3)"]
    exchange = ["for i in range(m):", "    order[r * m + i] = i32(i)", "for i in range(k):", "    p = i64(pivots[r * k + i])",
                "    t = order[r * m + p]", "    order[r * m + p] = order[r * m + i]", "    order[r * m + i] = t"]
    if max(m, n) > SMALL:
        names = [word(v, sizes) for v in (m, n, k)]
        call = word(blas.function("getrf", x.dtype), sizes)
        lines = [*start, *[f"{v} = {w}" for v, w in zip("mnk", names, strict=True)],
                 "for r in range(start, stop):", "    b = r * m * n", "    own = word(pointers, 5) + 8 * r",
                 f"    z = pointer_{name}(pointers, 6)", "    for i in range(m):", "        for j in range(n):",
                 "            z[b + j * m + i] = x[b + i * n + j]",
                 f"    call_pointers({call}, (sizes, sizes + 8, word(pointers, 6) + b * {x.dtype.itemsize}, sizes, "
                 "word(pointers, 4) + 8 * k * r, own))",
                 "    for i in range(m):", "        for j in range(n):", "            y[b + i * n + j] = z[b + j * m + i]",
                 "    for i in range(k):",
                 f"        pivots[r * k + i] = i32(short(word(pointers, 4) + 8 * k * r + {blas.integer_bytes()} * i) - 1)",
                 *indented(exchange)]
        return calling(lines, sizes, max(m, n), rows, rows_at_a_time(rows, max(m, n), m * n * k // 2),
                       ((INT64, rows * k), (INT64, rows), (x.dtype, x.size)))
    magnitude = (lambda v: f"abs({v}.real) + abs({v}.imag)") if x.dtype.kind == "c" else (lambda v: f"abs({v})")
    body = ["b = r * m * n", "for i in range(m * n):", "    y[b + i] = x[b + i]", "for k in range(K):", "    p = k",
            f"    best = {magnitude('y[b + k * n + k]')}", "    for i in range(k + 1, m):",
            f"        v = {magnitude('y[b + i * n + k]')}",
            "        if v > best:", "            best = v", "            p = i",
            "    pivots[r * K + k] = i32(p)",
            "    if p != k:", "        for j in range(n):", "            t = y[b + k * n + j]",
            "            y[b + k * n + j] = y[b + p * n + j]", "            y[b + p * n + j] = t",
            "    d = y[b + k * n + k]",
            "    for i in range(k + 1, m):", "        f = y[b + i * n + k]", "        if best > 0.0:", "            f = f / d",
            "            y[b + i * n + k] = f", "        for j in range(k + 1, n):",
            "            y[b + i * n + j] = y[b + i * n + j] - f * y[b + k * n + j]"]
    lines = [*start, f"m = {m}", f"n = {n}", f"K = {k}", "for r in range(start, stop):", *indented(body),
             "    k = K", *indented(exchange)]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, m * n * k))


# ---------------------------------------------------------------- solutions


def _substitution(lower: bool, transposed: bool, unit: bool) -> list[str]:
    """Row after row of y, which holds the right-hand sides; the matrix begins at a, they at b."""
    forward = lower != transposed
    element = "x[a + j * n + i]" if transposed else "x[a + i * n + j]"
    lines = ["for i_ in range(n):", f"    i = {'i_' if forward else 'n - 1 - i_'}",
             f"    for j in range({'0, i' if forward else 'i + 1, n'}):", f"        f = {element}",
             "        for c in range(k):",
             "            y[b + i * k + c] = y[b + i * k + c] - f * y[b + j * k + c]"]
    if not unit:
        lines += ["    d = x[a + i * n + i]", "    for c in range(k):", "        y[b + i * k + c] = y[b + i * k + c] / d"]
    return lines


def _trsm(dtype: np.dtype, sizes: list[int], target: int, matrix: int, lower: bool, transposed: bool,
          unit: bool) -> list[str]:
    """The same by BLAS, to which row-major matrices are transposed ones: it solves ``X' op(A)' = B'``. The sizes begin with
    n and k."""
    first = len(sizes)
    sizes += [ord("R"), ord("U" if lower else "L"), ord("T" if transposed else "N"), ord("U" if unit else "N"),
              blas.function("trsm", dtype), *one(dtype)]
    at = [f"sizes + {8 * (first + i)}" for i in range(6)]
    bytes_ = dtype.itemsize
    return [f"call_pointers(word(sizes, {first + 4}), ({at[0]}, {at[1]}, {at[2]}, {at[3]}, sizes + 8, sizes, {at[5]}, "
            f"word(pointers, {matrix}) + r * n * n * {bytes_}, sizes, word(pointers, {target}) + r * n * k * {bytes_}, "
            "sizes + 8, 1, 1, 1, 1))"]


def _solve(dtype: np.dtype, n: int, sizes: list[int], target: int, matrix: int, lower: bool, transposed: bool,
           unit: bool) -> list[str]:
    """The solution in place of the right-hand sides in a slot, by the triangle of the matrix in another."""
    if n <= SMALL:
        return _substitution(lower, transposed, unit)
    return _trsm(dtype, sizes, target, matrix, lower, transposed, unit)


def _sizes(n: int, k: int) -> tuple[list[int], list[str]]:
    """Rows and columns of the right-hand sides, passed, and as lines of text; small ones are part of it."""
    small = n <= SMALL
    return [n, k], [f"n = {n if small else 'word(sizes, 0)'}", f"k = {k if small and k <= SMALL else 'word(sizes, 1)'}"]


def triangular_solve(equation: Equation) -> NativeKernel | None:
    b = equation.outs[0].aval
    if not known(equation):
        return None
    if not b.size:
        return NOTHING
    *lead, n, k = b.shape
    p, dtype, rows = equation.params, b.dtype, math.prod(lead)
    sizes, lines = _sizes(n, k)
    name = stored(dtype)
    lines += [f"x = pointer_{name}(pointers, 0)", f"w = pointer_{name}(pointers, 1)", f"y = pointer_{name}(pointers, 2)",
              "for r in range(start, stop):", "    a = r * n * n", "    b = r * n * k", "    for i in range(n * k):",
              "        y[b + i] = w[b + i]",
              *indented(_solve(dtype, n, sizes, 2, 0, p["lower"], p["transpose_a"], p["unit_diagonal"]))]
    return calling(lines, sizes, n, rows, rows_at_a_time(rows, n, n * n * k), ())


def factored_solve(equation: Equation) -> NativeKernel | None:
    """Slots: the matrix, which is not read, its factors, their permutation, the right-hand sides; the solutions; the same."""
    b = equation.outs[0].aval
    if not known(equation):
        return None
    if not b.size:
        return NOTHING
    *lead, n, k = b.shape
    dtype, rows, name = b.dtype, math.prod(lead), stored(b.dtype)
    sizes, lines = _sizes(n, k)
    lines += [f"x = pointer_{name}(pointers, 1)", "order = pointer_i32(pointers, 2)", f"w = pointer_{name}(pointers, 3)"]
    loop = ["a = r * n * n", "b = r * n * k"]
    if equation.params["transpose_a"]:
        lines += [f"z = pointer_{name}(pointers, 4)", f"y = pointer_{name}(pointers, 5)"]
        loop += ["for i in range(n * k):", "    y[b + i] = w[b + i]", *_solve(dtype, n, sizes, 5, 1, False, True, False),
                 *_solve(dtype, n, sizes, 5, 1, True, True, True), "for i in range(n):", "    p = i64(order[r * n + i])",
                 "    for c in range(k):", "        z[b + p * k + c] = y[b + i * k + c]"]
        scratch: tuple = ((dtype, b.size),)
    else:
        lines += [f"y = pointer_{name}(pointers, 4)"]
        loop += ["for i in range(n):", "    p = i64(order[r * n + i])", "    for c in range(k):",
                 "        y[b + i * k + c] = w[b + p * k + c]", *_solve(dtype, n, sizes, 4, 1, True, False, True),
                 *_solve(dtype, n, sizes, 4, 1, False, False, False)]
        scratch = ()
    return calling([*lines, "for r in range(start, stop):", *indented(loop)], sizes, n, rows,
                   rows_at_a_time(rows, n, 2 * n * n * k), scratch)


# ---------------------------------------------------------------- determinants


def determinant(equation: Equation) -> NativeKernel | None:
    """From the factors and pivots of lu. Slots: the matrix, which is not read, factors, pivots, permutation; the results: the
    determinant, or its sign and the logarithm of its magnitude."""
    factors = equation.inputs[1].aval
    apart, dtype = len(equation.outs) == 2, factors.dtype
    if not factors.size or not known(equation) or apart and dtype.kind == "c":
        return None
    n, rows, name = factors.shape[-1], math.prod(factors.shape[:-2]), stored(dtype)
    sizes: list[int] = []
    lines = [f"x = pointer_{name}(pointers, 1)", "pivots = pointer_i32(pointers, 2)", f"y = pointer_{name}(pointers, 4)",
             *([f"z = pointer_{name}(pointers, 5)"] if apart else []), f"n = {size(n, sizes)}",
             "for r in range(start, stop):",
             f"    sign = {name}(1.0)", f"    total = {name}(0.0)", "    for i in range(n):",
             "        d = x[(r * n + i) * n + i]",
             "        if pivots[r * n + i] != i:", "            sign = -sign"]
    if apart:
        lines += [f"        total = total + log_{name}(abs(d))",
                  f"        sign = sign * ({name}(d > 0.0) - {name}(d < 0.0) + (d - d))",
                  "    y[r] = sign", "    z[r] = total"]
    else:
        lines += ["        sign = sign * d", "    y[r] = sign"]
    return NativeKernel(text(lines), sizes, rows, pieces(rows, 8 * n if apart else n))


NATIVES["slogdet"] = NATIVES["det"] = determinant
NATIVES["cholesky"] = cholesky
NATIVES["lu"] = lu
NATIVES["triangular_solve"] = triangular_solve
NATIVES["factored_solve"] = factored_solve
