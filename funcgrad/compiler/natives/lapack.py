"""Spectra and QR by LAPACK, called from the kernel: it copies a matrix to columns, calls, and copies the results to rows.

In: an equation of ``eigh``, ``svd`` or ``qr``. Out: a kernel whose row is one matrix. All rows are one piece, so they share one
workspace. A matrix for which LAPACK fails gives NaN.

    eigh of f64[256,256]:    one row: a copy, one call of syevd, a copy
"""
from __future__ import annotations

import math

import numpy as np

from funcgrad.compiler import blas
from funcgrad.compiler.expressions import literal, stored
from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.systems import INT64, calling, indented, known
from funcgrad.core.jaxpr import Equation

BLOCK = 64
"""LAPACK's largest block: so many columns of workspace let it work in blocks."""


class _Call:
    """The arguments of calls of LAPACK: every number lies in memory, every array is a slot or a place in one."""

    def __init__(self, slots: int):
        self.sizes: list[int] = []
        self.scratch: list[tuple[np.dtype, int]] = []
        self.slots = slots

    def number(self, value: int | str) -> str:
        """The address of an integer or a letter."""
        self.sizes.append(ord(value) if isinstance(value, str) else value)
        return f"sizes + {8 * (len(self.sizes) - 1)}"

    def value(self, value: int) -> str:
        """The integer itself."""
        self.sizes.append(value)
        return f"word(sizes, {len(self.sizes) - 1})"

    def memory(self, dtype: np.dtype, count: int) -> int:
        """The slot of new scratch memory."""
        self.scratch.append((dtype, max(count, 1)))
        return self.slots + len(self.scratch) - 1

    def call(self, routine: str, dtype: np.dtype, letters: int, *arguments: str) -> str:
        """The call; Fortran passes the length of each letter at the end."""
        address = self.value(blas.function(routine, dtype))
        return f"call_pointers({address}, ({', '.join(arguments)}, {', '.join(['1'] * max(letters, 1))}))"


def _at(slot: int) -> str:
    return f"word(pointers, {slot})"


def _pointer(name: str, dtype: np.dtype, slot: int) -> str:
    return f"{name} = pointer_{stored(dtype)}(pointers, {slot})"


def _to_columns(rows: str, columns: str, target: str, source: str) -> list[str]:
    return [f"for i in range({rows}):", f"    for j in range({columns}):",
            f"        {target}[j * {rows} + i] = {source} + i * {columns} + j]"]


def _to_rows(rows: str, columns: str, target: str, source: str, dtype: np.dtype) -> list[str]:
    """A result in columns, or NaN where the call failed."""
    name = stored(dtype)
    return [f"for i in range({rows}):", f"    for j in range({columns}):",
            f"        {target} + i * {columns} + j] = {name}(nan) if failed else {name}({source}[j * {rows} + i])"]


def _values(count: str, target: str, source: str, dtype: np.dtype) -> list[str]:
    """Eigenvalues or singular values, or NaN."""
    name = stored(dtype)
    return [f"for i in range({count}):", f"    {target}[r * {count} + i] = {name}(nan) if failed else {name}({source}[i])"]


def _finished(call: _Call, lines: list[str], body: list[str], n: int, rows: int) -> NativeKernel:
    return calling([*lines, "for r in range(start, stop):", *indented(body)], call.sizes, n, rows, rows, tuple(call.scratch))


def _wide(dtype: np.dtype) -> np.dtype:
    """NumPy takes spectra in double precision, and so the signs of vectors are those of the interpreter."""
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def _real(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"float{4 * dtype.itemsize}") if dtype.kind == "c" else dtype


def eigh(equation: Equation) -> NativeKernel | None:
    x = equation.inputs[0].aval
    if not x.size or not known(equation):
        return None
    n, dtype, vectors = x.shape[-1], x.dtype, equation.params["vectors"]
    wide, real = _wide(dtype), np.dtype(np.float64)
    c = _Call(1 + len(equation.outs))
    matrix, values, info = c.memory(wide, n * n), c.memory(real, n), c.memory(INT64, 1)
    lengths = [(wide, (2 + BLOCK) * n + n * n), (real, 1 + 5 * n + 2 * n * n), (INT64, 3 + 5 * n)] if dtype.kind == "c" else [
        (wide, 1 + (6 + BLOCK) * n + 2 * n * n), (INT64, 3 + 5 * n)]
    work = [part for kind, length in lengths for part in (_at(c.memory(kind, length)), c.number(length))]
    size = c.number(n)
    lines = [_pointer("x", dtype, 0), _pointer("w", _real(dtype), 1), _pointer("z", wide, matrix), _pointer("y", real, values),
             f"n = {c.value(n)}"]
    body = [*_to_columns("n", "n", "z", "x[r * n * n"), c.call(
        "heevd" if dtype.kind == "c" else "syevd", wide, 2, c.number("V" if vectors else "N"),
        c.number("L" if equation.params["lower"] else "U"), size, _at(matrix), size, _at(values), *work, _at(info)),
        f"failed = short({_at(info)}) != 0", *_values("n", "w", "y", _real(dtype))]
    if vectors:
        lines.append(_pointer("v", dtype, 2))
        body += _to_rows("n", "n", "v[r * n * n", "z", dtype)
    return _finished(c, lines, body, n, math.prod(x.shape[:-2]))


def svd(equation: Equation) -> NativeKernel | None:
    x = equation.inputs[0].aval
    if not x.size or not known(equation):
        return None
    *lead, m, n = x.shape
    dtype, vectors, k = x.dtype, equation.params["vectors"], min(m, n)
    wide, real = _wide(dtype), np.dtype(np.float64)
    left, right = (m, n) if equation.params["full_matrices"] else (k, k)
    c = _Call(1 + len(equation.outs))
    matrix, values, info = c.memory(wide, m * n), c.memory(real, k), c.memory(INT64, 1)
    u, vh = (c.memory(wide, m * left), c.memory(wide, right * n)) if vectors else (matrix, matrix)
    length = 5 * k * k + 10 * k + (BLOCK + 1) * (m + n)
    work = [_at(c.memory(wide, length)), c.number(length)]
    if dtype.kind == "c":
        work.append(_at(c.memory(real, max(5 * k * k + 7 * k, 2 * max(m, n) * k + 2 * k * k + k))))
    work.append(_at(c.memory(INT64, 8 * k)))
    rows, columns = c.number(m), c.number(n)
    lines = [_pointer("x", dtype, 0), _pointer("s", _real(dtype), 1), _pointer("z", wide, matrix), _pointer("y", real, values),
             *[f"{letter} = {c.value(v)}" for letter, v in zip("mnk", (m, n, k), strict=True)]]
    letter = c.number("N" if not vectors else "A" if equation.params["full_matrices"] else "S")
    # With an infinity, gesdd would search for ever; with NaN it fails at once.
    body = [*_to_columns("m", "n", "z", "x[r * m * n"), "for i in range(m * n):", f"    if not isfinite_{stored(wide)}(z[i]):",
            f"        z[i] = {literal(wide.type(np.nan))}", c.call(
        "gesdd", wide, 1, letter, rows, columns, _at(matrix), rows, _at(values), _at(u), rows, _at(vh), c.number(right), *work,
        _at(info)), f"failed = short({_at(info)}) != 0", *_values("k", "s", "y", _real(dtype))]
    if vectors:
        lines += [_pointer("u", wide, u), _pointer("vh", wide, vh), _pointer("p", dtype, 2), _pointer("q", dtype, 3),
                  f"left = {c.value(left)}", f"right = {c.value(right)}"]
        body += [*_to_rows("m", "left", "p[r * m * left", "u", dtype), *_to_rows("right", "n", "q[r * right * n", "vh", dtype)]
    return _finished(c, lines, body, max(m, n), math.prod(lead))


def qr(equation: Equation) -> NativeKernel | None:
    x = equation.inputs[0].aval
    if not x.size or not known(equation) or equation.params["pivoting"]:
        return None
    *lead, m, n = x.shape
    dtype, k, name = x.dtype, min(m, n), stored(x.dtype)
    width = m if equation.params["full_matrices"] else k
    c = _Call(3)
    matrix, basis, taus = (c.memory(dtype, count) for count in (m * n, m * width, k))
    info = c.memory(INT64, 1)
    length = BLOCK * max(n, width)
    work = [_at(c.memory(dtype, length)), c.number(length)]
    rows, columns = c.number(m), c.number(n)
    lines = [_pointer("x", dtype, 0), _pointer("q", dtype, 1), _pointer("t", dtype, 2), _pointer("z", dtype, matrix),
             _pointer("g", dtype, basis), f"m = {c.value(m)}", f"n = {c.value(n)}", f"k = {c.value(k)}",
             f"width = {c.value(width)}"]
    body = [*_to_columns("m", "n", "z", "x[r * m * n"),
            c.call("geqrf", dtype, 0, rows, columns, _at(matrix), rows, _at(taus), *work, _at(info)),
            "for i in range(m * k):", "    g[i] = z[i]", "for i in range(width):", "    for j in range(n):",
            f"        t[r * width * n + i * n + j] = z[j * m + i] if i <= j else {name}(0.0)",
            c.call("ungqr" if dtype.kind == "c" else "orgqr", dtype, 0, rows, c.number(width), c.number(k), _at(basis), rows,
                   _at(taus), *work, _at(info)),
            "for i in range(m):", "    for j in range(width):", "        q[r * m * width + i * width + j] = g[j * m + i]"]
    return _finished(c, lines, body, max(m, n), math.prod(lead))


NATIVES["eigh"] = eigh
NATIVES["svd"] = svd
NATIVES["qr"] = qr
