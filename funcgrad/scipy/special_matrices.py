"""Matrices of a known form: of blocks, with constant diagonals, with closed formulas.

In: vectors, or sizes. Out: matrices. Those made of vectors take stacks of vectors along leading axes, and are differentiable.

    >>> import funcgrad.numpy as fnp
    >>> toeplitz(fnp.array([1, 2, 3]))
    Array([[1, 2, 3],
           [2, 1, 2],
           [3, 2, 1]], dtype=int64)
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.core.array import Array, describe
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.ops.elementwise import conj
from funcgrad.ops.promotion import result_type_of, unary_arg

# ---------------------------------------------------------------- of vectors


def block_diag(*arrs: Any) -> Array:
    """A matrix with the arrays in blocks along its diagonal and zeros elsewhere; vectors are rows, scalars 1 by 1.

    Raises ValueError for arrays with more than two axes.
    """
    if not arrs:
        return fnp.zeros((1, 0))
    dtype, _ = result_type_of("block_diag", arrs)
    blocks = [fnp.atleast_2d(as_value(unary_arg("block_diag", x))).astype(dtype) for x in arrs]
    for i, x in enumerate(blocks):
        if x.ndim > 2:
            raise ValueError(message("block_diag: an array has too many axes", f"argument {i} is {describe(x)}", "at most two"))
    columns, rows, before = sum(x.shape[1] for x in blocks), [], 0
    for x in blocks:
        rows.append(fnp.pad(x, ((0, 0), (before, columns - before - x.shape[1]))))
        before += x.shape[1]
    return fnp.concatenate(rows, 0)


def _vector(name: str, x: Any) -> Any:
    x = as_value(unary_arg(name, x))
    return x if x.ndim else fnp.reshape(x, (1,))


def toeplitz(c: Any, r: Any = None) -> Array:
    """The matrix with constant diagonals, first column c and first row r (by default conj(c)); r[0] is not read."""
    c = _vector("toeplitz", c)
    r = conj(c) if r is None else _vector("toeplitz", r)
    m, n = c.shape[-1], r.shape[-1]
    dtype = fnp.result_type(c, r)
    lead = np.broadcast_shapes(c.shape[:-1], r.shape[:-1])
    c, r = fnp.broadcast_to(c, (*lead, m)).astype(dtype), fnp.broadcast_to(r, (*lead, n)).astype(dtype)
    line = fnp.concatenate([r[..., :0:-1], c], -1)
    return line[..., np.arange(m)[:, None] - np.arange(n) + max(n - 1, 0)]


def hankel(c: Any, r: Any = None) -> Array:
    """The matrix with constant antidiagonals, first column c and last row r (by default zeros); r[0] is not read."""
    c = _vector("hankel", c)
    r = fnp.zeros_like(c) if r is None else _vector("hankel", r)
    dtype = fnp.result_type(c, r)
    lead = np.broadcast_shapes(c.shape[:-1], r.shape[:-1])
    c, r = (fnp.broadcast_to(x, (*lead, x.shape[-1])).astype(dtype) for x in (c, r))
    line = fnp.concatenate([c, r[..., 1:]], -1)
    return line[..., np.arange(c.shape[-1])[:, None] + np.arange(r.shape[-1])]


def circulant(c: Any) -> Array:
    """The matrix whose columns are c, each rotated by one more place."""
    c = _vector("circulant", c)
    n = c.shape[-1]
    return c[..., (np.arange(n)[:, None] - np.arange(n)) % max(n, 1)]


def convolution_matrix(a: Any, n: int, mode: str = "full") -> Array:
    """The matrix A with ``A @ v = convolve(a, v, mode)`` for vectors v of size n."""
    a, n = _vector("convolution_matrix", a), operator.index(n)
    if n <= 0 or not a.size:
        raise ValueError(message("convolution_matrix: empty vectors", f"{describe(a)} and n={n}", "at least one element"))
    if mode not in ("full", "same", "valid"):
        raise ValueError(message("convolution_matrix: there is no such mode", repr(mode), "'full', 'same' or 'valid'"))
    m = a.shape[-1]
    pad = [(0, 0)] * (a.ndim - 1)
    out = toeplitz(fnp.pad(a, [*pad, (0, n - 1)]), fnp.pad(a[..., :1], [*pad, (0, n - 1)]))
    if mode == "full":
        return out
    size = max(m, n) if mode == "same" else max(m, n) - min(m, n) + 1
    first = (m + n - 1 - size) // 2 if mode == "same" else min(m, n) - 1
    return out[..., first:first + size, :]


def companion(a: Any) -> Array:
    """The companion matrix of the polynomial with these coefficients, the highest first."""
    a = _vector("companion", a)
    if a.shape[-1] < 2:
        raise ValueError(message("companion: too few coefficients", describe(a), "at least two"))
    row = -a[..., None, 1:] / a[..., None, :1]
    n = row.shape[-1]
    return fnp.concatenate([row, fnp.broadcast_to(fnp.eye(n - 1, n, dtype=row.dtype), (*a.shape[:-1], n - 1, n))], -2)


def fiedler(a: Any) -> Array:
    """The matrix of the distances abs(a[i] - a[j])."""
    a = _vector("fiedler", a)
    return abs(a[..., :, None] - a[..., None, :])


def fiedler_companion(a: Any) -> Array:
    """Fiedler's companion matrix, with five diagonals, of the polynomial with these coefficients, the highest first."""
    a = _vector("fiedler_companion", a)
    if a.ndim != 1:
        raise ValueError(message("fiedler_companion: a vector is needed", describe(a)))
    n = a.size - 1
    if a.size <= 2:
        return -(a[1] / a[0])[None, None] if a.size == 2 else fnp.zeros((0, 0), a.dtype)
    a = a / a[0]
    out = fnp.zeros((n, n), a.dtype)
    k = np.arange
    out = out.at[k(3, n, 2), k(1, n - 2, 2)].set(1.0)
    out = out.at[k(2, n, 2), k(1, n - 1, 2)].set(-a[3::2])
    out = out.at[k(0, n - 2, 2), k(2, n, 2)].set(1.0)
    out = out.at[k(0, n - 1, 2), k(1, n, 2)].set(-a[2::2])
    return out.at[0, 0].set(-a[1]).at[1, 0].set(1.0)


def leslie(f: Any, s: Any) -> Array:
    """The Leslie matrix of fecundities f (n) and survival rates s (n - 1): f in the first row, s below the diagonal."""
    f, s = _vector("leslie", f), _vector("leslie", s)
    if f.shape[-1] != s.shape[-1] + 1 or f.shape[-1] < 2:
        raise ValueError(message("leslie: the sizes do not fit", f"{describe(f)} and {describe(s)}", "n >= 2 and n - 1"))
    dtype = fnp.result_type(f, s)
    n = f.shape[-1]
    below = s[..., None] * fnp.eye(n - 1, n, dtype=dtype)
    return fnp.concatenate([f[..., None, :].astype(dtype), below.astype(dtype)], -2)


# ---------------------------------------------------------------- of sizes


def _from_scipy(name: str, *args: Any, **kwargs: Any) -> Any:
    import scipy.linalg
    return fnp.asarray(getattr(scipy.linalg, name)(*args, **kwargs))


def dft(n: int, scale: str | None = None, *, dtype: Any = None) -> Array:
    """The matrix of the discrete Fourier transform; ``scale`` "n" divides it by n, "sqrtn" by the root of n."""
    out = _from_scipy("dft", operator.index(n), scale)
    return out if dtype is None else out.astype(dtype)


def hadamard(n: int, dtype: Any = int) -> Array:
    """The Hadamard matrix of Sylvester's construction, for n a power of two."""
    return _from_scipy("hadamard", operator.index(n), dtype=dtype)


def helmert(n: int, full: bool = False) -> Array:
    """The Helmert matrix: contrasts in its rows; with ``full`` the constant row comes first."""
    return _from_scipy("helmert", operator.index(n), full)


def hilbert(n: int) -> Array:
    """The Hilbert matrix: 1 / (i + j + 1)."""
    return _from_scipy("hilbert", operator.index(n))


def invhilbert(n: int) -> Array:
    """The inverse of the Hilbert matrix, in floating point."""
    return _from_scipy("invhilbert", operator.index(n))


def pascal(n: int, kind: str | None = None) -> Array:
    """Pascal's triangle as a "symmetric" (the default), "lower" or "upper" matrix, in floating point."""
    return _from_scipy("pascal", operator.index(n), kind or "symmetric", exact=False)


def invpascal(n: int, kind: str | None = None) -> Array:
    """The inverse of ``pascal``, in floating point."""
    return _from_scipy("invpascal", operator.index(n), kind or "symmetric", exact=False)
