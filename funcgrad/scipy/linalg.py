"""Linear algebra under the names of jax.scipy.linalg.

In: matrices, or stacks of them. Out: arrays. ``overwrite_a``, ``check_finite`` and their kin are accepted for compatibility:
arrays are immutable, and nothing looks at their values. What has no answer gives inf or NaN, as in ``fnp.linalg``.

    >>> import funcgrad.numpy as fnp
    >>> solve_triangular(fnp.array([[2., 1.], [0., 4.]]), fnp.array([4., 8.]))
    Array([1., 2.], dtype=float64)

Functions of matrices need no gap between eigenvalues for their derivatives: those of ``expm``, ``sqrtm`` and ``polar`` are
exact to every order, that of ``funm`` is made of divided differences.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.control.custom import custom_jvp
from funcgrad.core.array import Array, describe
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.ops import factorizations, matrix_functions, spectral, triangular
from funcgrad.ops.matrices import (
    adjoint,
    as_columns,
    as_rows,
    conjugate,
    diagonal_matrix,
    eye_like,
    inexact_pair,
    matrix_arg,
    product,
    transposed,
)
from funcgrad.ops.promotion import broadcast_shape
from funcgrad.ops.structural import broadcast_to, convert_element_type
from funcgrad.scipy.special_matrices import (
    block_diag,
    circulant,
    companion,
    convolution_matrix,
    dft,
    fiedler,
    fiedler_companion,
    hadamard,
    hankel,
    helmert,
    hilbert,
    invhilbert,
    invpascal,
    leslie,
    pascal,
    toeplitz,
)
from funcgrad.transforms.derivatives import jvp

__all__ = [
    "block_diag", "cho_factor", "cho_solve", "cholesky", "circulant", "companion", "convolution_matrix", "det", "dft", "eigh",
    "eigh_tridiagonal", "expm", "expm_frechet", "fiedler", "fiedler_companion", "funm", "hadamard", "hankel", "helmert",
    "hessenberg", "hilbert", "inv", "invhilbert", "invpascal", "leslie", "lu", "lu_factor", "lu_solve", "pascal", "polar", "qr",
    "qr_multiply", "rsf2csf", "schur", "solve", "solve_sylvester", "solve_triangular", "sqrtm", "svd", "toeplitz",
]

# ---------------------------------------------------------------- Cholesky


def cholesky(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The upper triangular U with ``a = adjoint(U) @ U``, or with ``lower`` the L of ``a = L @ adjoint(L)``.

    a is Hermitian positive definite (its Hermitian part is taken); else the result is NaN.
    """
    return fnp.linalg.cholesky(a, upper=not lower)


def cho_factor(a: Any, lower: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, bool]:
    """The Cholesky factor and which triangle it is, for ``cho_solve``."""
    return cholesky(a, lower), lower


def cho_solve(c_and_lower: tuple[Any, bool], b: Any, overwrite_b: bool = False, check_finite: bool = True) -> Array:
    """The solution of ``a @ x = b`` from the result of ``cho_factor(a)``."""
    factor, lower = c_and_lower
    first, last = (0, 2) if lower else (2, 0)
    return solve_triangular(factor, solve_triangular(factor, b, first, lower), last, lower)


# ---------------------------------------------------------------- LU, solutions


def lu_factor(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> tuple[Array, Array]:
    """L and U in one matrix, and the row that was exchanged with each row."""
    return factorizations.lu(a)[:2]


def lu_solve(lu_and_piv: tuple[Any, Any], b: Any, trans: int = 0, overwrite_b: bool = False,
             check_finite: bool = True) -> Array:
    """The solution of ``a @ x = b`` from the result of ``lu_factor(a)``; of the transposed (1) or adjoint (2) system."""
    factors, pivots = lu_and_piv
    factors, b = inexact_pair("lu_solve", factors, b)
    if trans not in (0, 1, 2):
        raise ValueError(message("lu_solve: trans is unknown", repr(trans), "0, 1 or 2"))
    permutation = factorizations.lu_pivots_to_permutation(pivots, factors.shape[-1])
    vector = b.ndim == 1
    b = b[:, None] if vector else b
    if trans == 0:
        x = solve_triangular(factors, _rows(b, permutation), 0, True, True)
        x = solve_triangular(factors, x)
    else:
        x = solve_triangular(factors, solve_triangular(factors, b, trans), trans, True, True)
        x = _rows(x, fnp.argsort(permutation, axis=-1))
    return x[:, 0] if vector else x


def _rows(x: Any, permutation: Any) -> Any:
    return fnp.take_along_axis(x, permutation[..., None], axis=-2)


def lu(a: Any, permute_l: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> tuple:
    """P, L and U of ``a = P @ L @ U``; with ``permute_l`` P @ L and U."""
    a = matrix_arg("lu", a)
    factors, _, permutation = factorizations.lu(a)
    m, n = a.shape[-2:]
    k = min(m, n)
    low = fnp.tril(factors[..., :k], -1) + eye_like(a, m, k)
    up = fnp.triu(factors[..., :k, :])
    if permute_l:
        return _rows(low, fnp.argsort(permutation, axis=-1)), up
    p = (permutation[..., None, :] == np.arange(m, dtype=np.int32)[:, None]).astype(fnp.real(a).dtype)
    return p, low, up


def solve(a: Any, b: Any, lower: bool = False, overwrite_a: bool = False, overwrite_b: bool = False, debug: bool = False,
          check_finite: bool = True, assume_a: str = "gen") -> Array:
    """The solution of ``a @ x = b``.

    Args:
      a: matrices (..., n, n).
      b: a vector (n,) or matrices (..., n, k).
      assume_a: "gen", "sym" and "her" by LU; "pos" by Cholesky.

    Raises ValueError for shapes that do not fit, or for another assume_a.
    """
    if assume_a == "pos":
        return cho_solve(cho_factor(a, lower), b)
    if assume_a not in ("gen", "sym", "her"):
        raise ValueError(message("solve: assume_a is unknown", repr(assume_a), "'gen', 'sym', 'her' or 'pos'"))
    return fnp.linalg.solve(a, b)


def solve_triangular(a: Any, b: Any, trans: int | str = 0, lower: bool = False, unit_diagonal: bool = False,
                     overwrite_b: bool = False, debug: Any = None, check_finite: bool = True) -> Array:
    """The solution of ``op(a) @ x = b`` for a triangular a, whose other triangle is not read.

    Args:
      a: matrices (..., n, n).
      b: a vector (n,) or matrices (..., n, k); leading axes broadcast.
      trans: 0 or "N"; 1 or "T" for the transposed system; 2 or "C" for the adjoint one.
    """
    a, b = inexact_pair("solve_triangular", a, b)
    a = matrix_arg("solve_triangular", a, True)
    trans = {"N": 0, "T": 1, "C": 2}.get(trans, trans) if isinstance(trans, str) else trans
    if trans not in (0, 1, 2):
        raise ValueError(message("solve_triangular: trans is unknown", repr(trans), "0, 1, 2, 'N', 'T' or 'C'"))
    vector = b.ndim == 1
    columns = b[:, None] if vector else b
    if columns.ndim < 2 or columns.shape[-2] != a.shape[-1]:
        raise ValueError(message("solve_triangular: the shapes do not fit", f"{describe(a)} and {describe(b)}",
                                 f"b of shape ({a.shape[-1]},) or (..., {a.shape[-1]}, k)"))
    lead = broadcast_shape("solve_triangular", a.shape[:-2], columns.shape[:-2])
    a = broadcast_to(conjugate(a) if trans == 2 else a, (*lead, *a.shape[-2:]))
    out = triangular.solve_triangular(a, broadcast_to(columns, (*lead, *columns.shape[-2:])), lower, trans != 0, unit_diagonal)
    return out[..., 0] if vector else out


def inv(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The inverse."""
    return fnp.linalg.inv(a)


def det(a: Any, overwrite_a: bool = False, check_finite: bool = True) -> Array:
    """The determinant."""
    return fnp.linalg.det(a)


# ---------------------------------------------------------------- orthogonal factors, spectra


def qr(a: Any, overwrite_a: bool = False, lwork: Any = None, mode: str = "full", pivoting: bool = False,
       check_finite: bool = True) -> tuple:
    """Q and R of ``a = Q @ R``; with ``pivoting`` also the permutation p of ``a[:, p] = Q @ R``.

    Args:
      mode: "full", Q is square; "economic", Q has min(m, n) columns; "r", only (R,), or (R, p).
    """
    if mode not in ("full", "economic", "r"):
        raise ValueError(message("qr: there is no such mode", repr(mode), "'full', 'economic' or 'r'"))
    out = factorizations.qr(a, pivoting=pivoting, full_matrices=mode != "economic")
    return out[1:] if mode == "r" else out


def qr_multiply(a: Any, c: Any, mode: str = "right", pivoting: bool = False, conjugate: bool = False,
                overwrite_a: bool = False, overwrite_c: bool = False) -> tuple:
    """``c @ Q`` (mode "right") or ``Q @ c`` ("left") for the economic Q of a, then R, and with ``pivoting`` the permutation.

    A vector c gives a vector. ``conjugate`` takes the conjugate of Q.
    """
    q, *rest = qr(a, mode="economic", pivoting=pivoting)
    q = fnp.conj(q) if conjugate else q
    if mode not in ("left", "right"):
        raise ValueError(message("qr_multiply: there is no such mode", repr(mode), "'left' or 'right'"))
    return (fnp.matmul(q, c) if mode == "left" else fnp.matmul(c, q), *rest)


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, overwrite_a: bool = False, check_finite: bool = True,
        lapack_driver: str = "gesdd") -> Any:
    """U, s and Vh of ``a = U @ diag(s) @ Vh``, or s alone."""
    out = fnp.linalg.svd(a, full_matrices, compute_uv)
    return tuple(out) if compute_uv else out


def eigh(a: Any, b: Any = None, lower: bool = True, eigvals_only: bool = False, overwrite_a: bool = False,
         overwrite_b: bool = False, turbo: bool = True, eigvals: None = None, type: int = 1, check_finite: bool = True) -> Any:
    """The eigenvalues w, increasing, and eigenvectors v of ``a @ v = w * v``, or of ``a @ v = w * b @ v`` with a positive
    definite b.

    Raises NotImplementedError for subsets (eigvals) and for other types of the generalised problem.
    """
    if eigvals is not None or type != 1:
        raise NotImplementedError("eigh: eigvals must be None and type must be 1; select from the result instead")
    if b is None:
        triangle = "L" if lower else "U"
        return fnp.linalg.eigvalsh(a, triangle) if eigvals_only else tuple(fnp.linalg.eigh(a, triangle))
    factor = cholesky(b, lower=True)
    inner = solve_triangular(factor, adjoint(solve_triangular(factor, a, 0, True)), 0, True)
    if eigvals_only:
        return fnp.linalg.eigvalsh(inner)
    w, v = fnp.linalg.eigh(inner)
    return w, solve_triangular(factor, v, 2, True)


def eigh_tridiagonal(d: Any, e: Any, *, eigvals_only: bool = False, select: str = "a",
                     select_range: tuple[float, float] | None = None, tol: float | None = None, key: Any = None) -> Any:
    """The eigenvalues, and unless ``eigvals_only`` the eigenvectors, of the symmetric tridiagonal matrix of d and e.

    Args:
      d: the diagonal (n,).
      e: the diagonal beside it (n - 1,); the one above is its conjugate.
      select: "a", all; "i", those with an index from select_range[0] to select_range[1]; "v" is not supported: its number
        of results depends on values.
      tol, key: accepted for compatibility.
    """
    d, e = inexact_pair("eigh_tridiagonal", d, e)
    if d.ndim != 1 or e.shape != (max(d.shape[0] - 1, 0),):
        raise ValueError(message("eigh_tridiagonal: the shapes do not fit", f"{describe(d)} and {describe(e)}",
                                 "(n,) and (n - 1,)"))
    if select not in ("a", "i"):
        raise NotImplementedError("eigh_tridiagonal: select must be 'a' or 'i'; the number of results of 'v' depends on values")
    matrix = fnp.diag(d) + (fnp.diag(e, -1) + fnp.diag(fnp.conj(e), 1) if e.size else 0)
    part = slice(None) if select == "a" else slice(int(select_range[0]), int(select_range[1]) + 1)  # type: ignore[index]
    if eigvals_only:
        return fnp.linalg.eigvalsh(matrix)[part]
    w, v = fnp.linalg.eigh(matrix)
    return w[part], v[:, part]


def schur(a: Any, output: str = "real") -> tuple[Array, Array]:
    """T and Z of the Schur form ``a = Z @ T @ adjoint(Z)``; "complex" makes T triangular also for a real a. No derivatives."""
    if output not in ("real", "complex"):
        raise ValueError(message("schur: there is no such output", repr(output), "'real' or 'complex'"))
    a = matrix_arg("schur", a, True)
    return spectral.schur(_complex(a) if output == "complex" else a)  # type: ignore[return-value]


def _complex(x: Any) -> Any:
    return convert_element_type(x, np.result_type(x.dtype, np.complex64))


def rsf2csf(T: Any, Z: Any, check_finite: bool = True) -> tuple[Array, Array]:
    """A real Schur form made complex: T triangular. No derivatives."""
    T, Z = inexact_pair("rsf2csf", T, Z)
    return spectral.rsf2csf(matrix_arg("rsf2csf", T, True), matrix_arg("rsf2csf", Z, True))


def hessenberg(a: Any, *, calc_q: bool = False, overwrite_a: bool = False, check_finite: bool = True) -> Any:
    """H, zero below its first subdiagonal, and with ``calc_q`` Q of ``a = Q @ H @ adjoint(Q)``. No derivatives."""
    a = matrix_arg("hessenberg", a, True)
    packed, taus = spectral.hessenberg(a)
    h = fnp.triu(packed, -1)
    if not calc_q:
        return h
    n = a.shape[-1]
    if n < 2:
        return h, eye_like(a)
    inner = factorizations.householder_product(packed[..., 1:, :-1], taus)
    first = fnp.broadcast_to(fnp.eye(1, n, dtype=a.dtype), (*a.shape[:-2], 1, n))
    return h, fnp.concatenate([first, fnp.pad(inner, [(0, 0)] * (a.ndim - 1) + [(1, 0)])], -2)


# ---------------------------------------------------------------- functions of matrices


def expm(A: Any, *, upper_triangular: bool = False, max_squarings: int = 16) -> Array:
    """The exponential of square matrices (..., n, n), with derivatives of every order.

    The keywords are accepted for compatibility.

    >>> expm(fnp.zeros((2, 2)))
    Array([[1., 0.],
           [0., 1.]], dtype=float64)
    """
    A = matrix_arg("expm", A, True)
    return matrix_functions.expm(fnp.triu(A) if upper_triangular else A)


def expm_frechet(A: Any, E: Any, *, method: str | None = None, compute_expm: bool = True) -> Any:
    """The exponential of A and its derivative in the direction E; without ``compute_expm`` the derivative alone."""
    A, E = inexact_pair("expm_frechet", A, E)
    A = matrix_arg("expm_frechet", A, True)
    if A.shape != E.shape:
        raise ValueError(message("expm_frechet: the shapes do not fit", f"{describe(A)} and {describe(E)}", "equal shapes"))
    derivative = matrix_functions.expm_frechet(A, E)
    return (matrix_functions.expm(A), derivative) if compute_expm else derivative


def sqrtm(A: Any, blocksize: int = 1) -> Array:
    """The principal square root, complex, of square matrices; derivatives of every order by Sylvester equations."""
    return matrix_functions.sqrtm(_complex(matrix_arg("sqrtm", A, True)))


def solve_sylvester(A: Any, B: Any, C: Any, *, method: str = "schur", tol: float = 1e-8) -> Array:
    """The solution X of ``A @ X + X @ B = C``; NaN when A and -B have a common eigenvalue.

    Args:
      A, B, C: (..., m, m), (..., n, n) and (..., m, n).
      method, tol: accepted for compatibility.
    """
    dtype = fnp.result_type(A, B, C)
    A, B, C = (matrix_arg("solve_sylvester", as_value(x).astype(dtype)) for x in (A, B, C))
    lead = broadcast_shape("solve_sylvester", *[x.shape[:-2] for x in (A, B, C)])
    if A.shape[-1] != A.shape[-2] or B.shape[-1] != B.shape[-2] or C.shape[-2:] != (A.shape[-1], B.shape[-1]):
        raise ValueError(message("solve_sylvester: the shapes do not fit", ", ".join(map(describe, (A, B, C))),
                                 "(m, m), (n, n) and (m, n)"))
    A, B, C = (broadcast_to(x, (*lead, *x.shape[-2:])) for x in (A, B, C))
    return matrix_functions.solve_sylvester(A, B, C)


def polar(a: Any, side: str = "right", *, method: str = "qdwh", eps: float | None = None,
          max_iterations: int | None = None) -> tuple[Array, Array]:
    """u and p of ``a = u @ p`` (side "right") or ``a = p @ u`` ("left"): u has orthonormal columns or rows, p is Hermitian.

    Derivatives of every order, for matrices of full rank, with no gap between singular values. The keywords are accepted
    for compatibility; it is computed from singular values.
    """
    a = matrix_arg("polar", a)
    if side == "right":
        return matrix_functions.polar(a)
    if side != "left":
        raise ValueError(message("polar: there is no such side", repr(side), "'right' or 'left'"))
    u, p = matrix_functions.polar(adjoint(a))
    return adjoint(u), p


def funm(A: Any, func: Callable, disp: bool = True) -> Any:
    """A function of square diagonalizable matrices, given by what it does to numbers.

    Args:
      A: matrices (..., n, n).
      func: a function of arrays of complex numbers, differentiable and elementwise.
      disp: without it, an estimate of the relative error, one for each matrix, is a second result.

    Returns a complex array. The first derivative is exact at equal eigenvalues too: it is made of divided differences
    ``(f(a) - f(b)) / (a - b)``, which become f' where eigenvalues are equal.
    """
    A = _complex(matrix_arg("funm", A, True))

    @custom_jvp
    def function(a: Any) -> Any:
        w, v = spectral.diagonalized(a)
        return _in_basis(v, diagonal_matrix(func(w)))

    @function.defjvp
    def rule(primals: tuple, tangents: tuple) -> tuple:
        w, v = spectral.diagonalized(primals[0])
        inner = fnp.linalg.solve(v, product(tangents[0], v))
        slopes = product(v, _divided_differences(func, w, inner) * inner)
        return function(primals[0]), transposed(fnp.linalg.solve(transposed(v), transposed(slopes)))

    out = function(A)
    if disp:
        return out
    v = spectral.diagonalized(A)[1]
    return out, fnp.linalg.cond(v) * float(np.finfo(A.dtype).eps)


def _in_basis(v: Any, inner: Any) -> Any:
    """v @ inner @ inverse(v)."""
    return transposed(fnp.linalg.solve(transposed(v), transposed(product(v, inner))))


def _divided_differences(func: Callable, w: Any, like: Any) -> Any:
    values, slopes = jvp(func, (w,), (fnp.ones_like(w),))
    gaps = as_columns(w, like) - as_rows(w, like)
    scale = fnp.max(abs(w), axis=-1, keepdims=True, initial=0)[..., None]
    near = abs(gaps) <= float(np.finfo(w.dtype).eps) ** 0.5 * scale
    ratio = (as_columns(values, like) - as_rows(values, like)) / fnp.where(near, 1, gaps)
    return fnp.where(near, (as_columns(slopes, like) + as_rows(slopes, like)) / 2, ratio)
