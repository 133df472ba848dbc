"""Linear algebra under the names of jax.numpy.linalg, which are also the linalg extension of the Python array API.

In: matrices, or stacks of them: the last two axes are the matrix. Out: arrays, or named tuples of arrays. Integers are
computed in float64.

    >>> import funcgrad.numpy as fnp
    >>> fnp.linalg.solve(fnp.array([[3., 1.], [1., 2.]]), fnp.array([9., 8.]))
    Array([2., 3.], dtype=float64)

A matrix for which there is no answer gives inf or NaN, in compiled functions and outside alike, where NumPy raises
``LinAlgError``: singular ones in ``solve`` and ``inv``, ones that are not positive definite in ``cholesky``. Only the
matrices of a stack that are concerned give NaN. Wrong shapes raise ValueError.
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.core.array import Array, describe
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.numpy import contraction as c
from funcgrad.numpy.manipulation import matrix_transpose as _matrix_transpose
from funcgrad.numpy.manipulation import moveaxis, reshape, transpose
from funcgrad.numpy.matrices import diagonal as _diagonal
from funcgrad.numpy.norms import (
    cond,
    lstsq,
    matrix_norm,
    matrix_rank,
    norm,
    pinv,
    vector_norm,
)
from funcgrad.numpy.selection import take_along_axis
from funcgrad.ops import determinants, factorizations, spectral
from funcgrad.ops import structural as s
from funcgrad.ops.contraction import same_dtype
from funcgrad.ops.matrices import conjugate, eye_like, inexact_pair, matrix_arg, transposed
from funcgrad.ops.promotion import broadcast_shape, inexact_arg

__all__ = [
    "cholesky", "cond", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "lstsq", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet",
    "solve", "svd", "svdvals", "tensordot", "tensorinv", "tensorsolve", "trace", "vecdot", "vector_norm",
]

# ---------------------------------------------------------------- results


class EigResult(NamedTuple):
    """Of ``eig``."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """Of ``eigh``."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Of ``qr``."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """Of ``slogdet``."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """Of ``svd``."""

    U: Array
    S: Array
    Vh: Array


# ---------------------------------------------------------------- factorisations


def cholesky(a: Any, *, upper: bool = False, symmetrize_input: bool = True) -> Array:
    """The lower triangular L with ``a = L @ adjoint(L)``, or the upper triangular adjoint of it.

    Args:
      a: Hermitian positive definite matrices (..., n, n); others give NaN.
      symmetrize_input: whether the Hermitian part of a is taken; else only the lower triangle is read.

    Raises ValueError when a is not square.

    >>> cholesky(fnp.array([[4., 2.], [2., 2.]]))
    Array([[2., 0.],
           [1., 1.]], dtype=float64)
    """
    out = factorizations.cholesky(matrix_arg("cholesky", a, True), symmetrize_input=symmetrize_input)
    return conjugate(transposed(out)) if upper else out


def qr(a: Any, mode: str = "reduced") -> Any:
    """The factors of ``a = Q @ R``: orthonormal columns, and an upper triangular matrix.

    Args:
      a: matrices (..., m, n).
      mode: "reduced", Q is (..., m, k) with k = min(m, n); "complete", Q is (..., m, m); "r", only R; "raw", LAPACK's
        reflections, transposed, and their factors.
    """
    a = matrix_arg("qr", a)
    if mode == "raw":
        return QRResult(*(lambda h, tau: (transposed(h), tau))(*factorizations.geqrf(a)))
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(message("qr: there is no such mode", repr(mode), "'reduced', 'complete', 'r' or 'raw'"))
    q, r = factorizations.qr(a, full_matrices=mode == "complete")
    return r if mode == "r" else QRResult(q, r)


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False,
        subset_by_index: tuple[int, int] | None = None) -> Any:
    """The singular value decomposition ``a = U @ diag(S) @ Vh``, with S decreasing; S alone without ``compute_uv``.

    Args:
      a: matrices (..., m, n).
      full_matrices: whether U is (..., m, m) and Vh is (..., n, n), else (..., m, k) and (..., k, n).
      hermitian: whether a is Hermitian, so that it is taken from its eigenvalues.
      subset_by_index: (start, stop): only these singular values.

    Where singular values are equal, derivatives are exact for functions that treat their vectors alike; see
    ``funcgrad.ops.degenerate``.

    >>> fnp.linalg.svd(fnp.array([[0., 2.], [1., 0.]])).S
    Array([2., 1.], dtype=float64)
    """
    a = matrix_arg("svd", a, hermitian)
    if hermitian:
        return _hermitian_svd(a, compute_uv)
    out = spectral.svd(a, full_matrices=full_matrices, compute_uv=compute_uv, subset_by_index=subset_by_index)
    return SVDResult(*out) if compute_uv else out


def _hermitian_svd(a: Any, compute_uv: bool) -> Any:
    w, v = spectral.eigh_pair("svd", a, True, True)
    size = abs(w)
    order = s.stop_gradient(size).argsort(axis=-1, descending=True)
    values = _taken(size, order)
    if not compute_uv:
        return values
    v = _taken(v, order[..., None, :])
    sign = s.convert_element_type(_taken(_sign(w), order), v.dtype)
    return SVDResult(v, values, transposed(conjugate(v * sign[..., None, :])))


def _taken(x: Any, order: Any) -> Any:
    return take_along_axis(x, order, axis=-1)


def _sign(x: Any) -> Any:
    """1 or -1, which has no derivative."""
    return s.select_n(x < 0, s.full(x.shape, 1, x.dtype), s.full(x.shape, -1, x.dtype))


def svdvals(x: Any, /) -> Array:
    """The singular values, in decreasing order."""
    return svd(x, compute_uv=False)


# ---------------------------------------------------------------- eigenvalues


def eigh(a: Any, UPLO: str | None = None, symmetrize_input: bool = True) -> EighResult:
    """The real eigenvalues, in increasing order, and the orthonormal eigenvectors (columns) of Hermitian matrices.

    Args:
      a: matrices (..., n, n).
      UPLO: "L" or "U": the triangle that is read when the input is not symmetrized.
      symmetrize_input: whether the Hermitian part of a is taken.

    Where eigenvalues are equal, derivatives are exact for functions that treat their vectors alike; else there is a
    ``DegeneracyWarning``; see ``funcgrad.ops.degenerate``. The derivative of complex vectors keeps their phase.

    >>> fnp.linalg.eigh(fnp.array([[2., 1.], [1., 2.]])).eigenvalues
    Array([1., 3.], dtype=float64)
    """
    return EighResult(*spectral.eigh_pair("eigh", a, _is_lower("eigh", UPLO), symmetrize_input))


def _is_lower(name: str, triangle: str | None) -> bool:
    if triangle not in (None, "L", "U"):
        raise ValueError(message(f"{name}: UPLO names no triangle", repr(triangle), "'L' or 'U'"))
    return triangle != "U"


def eigvalsh(a: Any, UPLO: str | None = "L", *, symmetrize_input: bool = True) -> Array:
    """The eigenvalues of Hermitian matrices, in increasing order."""
    return spectral.eigvalsh("eigvalsh", a, _is_lower("eigvalsh", UPLO), symmetrize_input)


def eig(a: Any) -> EigResult:
    """The complex eigenvalues and eigenvectors (columns of norm 1, whose largest element is real) of square matrices.

    Derivatives need different eigenvalues.
    """
    w, v = spectral.eig_p.bind(matrix_arg("eig", a, True), vectors=True)
    return EigResult(w, v)


def eigvals(a: Any) -> Array:
    """The complex eigenvalues of square matrices."""
    return spectral.eig_p.bind(matrix_arg("eigvals", a, True), vectors=False)[0]


# ---------------------------------------------------------------- systems and determinants


def solve(a: Any, b: Any) -> Array:
    """The solution x of ``a @ x = b``, by an LU factorisation that the derivatives use again.

    Args:
      a: matrices (..., n, n); a singular one gives inf or NaN.
      b: right-hand sides, a vector (n,) or matrices (..., n, k); leading axes broadcast.

    Raises ValueError when a is not square or the shapes do not fit.

    >>> solve(fnp.array([[2., 0.], [0., 4.]]), fnp.array([2., 2.]))
    Array([1. , 0.5], dtype=float64)
    """
    a, b = inexact_pair("solve", a, b)
    a = matrix_arg("solve", a, True)
    vector = len(b.shape) == 1
    columns = s.expand_dims(b, (1,)) if vector else b
    if len(columns.shape) < 2 or columns.shape[-2] != a.shape[-1]:
        raise ValueError(message("solve: the shapes do not fit", f"{describe(a)} and {describe(b)}",
                                 f"b of shape ({a.shape[-1]},) or (..., {a.shape[-1]}, k)"))
    lead = broadcast_shape("solve", a.shape[:-2], columns.shape[:-2])
    n, k = columns.shape[-2:]
    if a.shape[:-2] != lead and lead and not a.shape[:-2]:
        # One matrix and many right-hand sides: they are the columns of one.
        together = reshape(moveaxis(columns, -2, 0), (n, -1))
        out = moveaxis(reshape(determinants.solve(a, together), (n, *lead, k)), 0, -2)
    else:
        out = determinants.solve(s.broadcast_to(a, (*lead, n, n)), s.broadcast_to(columns, (*lead, n, k)))
    return s.squeeze(out, (len(out.shape) - 1,)) if vector else out


def inv(a: Any) -> Array:
    """The inverse of square matrices; inf or NaN for a singular one."""
    a = matrix_arg("inv", a, True)
    return determinants.solve(a, eye_like(a))


def det(a: Any) -> Array:
    """The determinant of square matrices; its first and second derivatives are exact for singular matrices too.

    >>> det(fnp.array([[1., 2.], [3., 4.]]))
    Array(-2., dtype=float64)
    """
    return determinants.det(a)


def slogdet(a: Any, *, method: str | None = None) -> SlogdetResult:
    """The sign (the phase, if complex) of the determinant and the logarithm of its magnitude, which do not overflow.

    Args:
      method: "lu" or "qr", accepted for compatibility.
    """
    if method not in (None, "lu", "qr"):
        raise ValueError(message("slogdet: there is no such method", repr(method), "None, 'lu' or 'qr'"))
    return SlogdetResult(*determinants.slogdet(a))


def matrix_power(a: Any, n: int) -> Array:
    """The product of n factors a; of its inverse if n is negative, and the identity if it is zero."""
    a, n = _square("matrix_power", a), operator.index(n)
    if n < 0:
        a, n = inv(a), -n
    if n == 0:
        return eye_like(a)
    out = None
    while n:
        if n & 1:
            out = a if out is None else c.matmul(out, a)
        n >>= 1
        if n:
            a = c.matmul(a, a)
    return out


def _square(name: str, a: Any) -> Any:
    """Square matrices of any dtype."""
    a = as_value(a)
    if len(a.shape) < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(message(f"{name}: square matrices are needed", describe(a), "equal last two sizes"))
    return a


def tensorinv(a: Any, ind: int = 2) -> Array:
    """The inverse of ``tensordot(a, ., ind)``, where the first ``ind`` sizes have the product of the others."""
    a, ind = as_value(inexact_arg("tensorinv", a)), operator.index(ind)
    if ind <= 0:
        raise ValueError(message("tensorinv: ind must be positive", str(ind)))
    rows, columns = a.shape[:ind], a.shape[ind:]
    return reshape(inv(reshape(a, (int(np.prod(rows)), int(np.prod(columns))))), (*columns, *rows))


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Array:
    """The solution x of ``tensordot(a, x, x.ndim) = b``; ``axes`` of a are moved to its end first."""
    a, b = as_value(inexact_arg("tensorsolve", a)), as_value(inexact_arg("tensorsolve", b))
    if axes is not None:
        axes = [operator.index(d) % len(a.shape) for d in axes]
        a = transpose(a, [d for d in range(len(a.shape)) if d not in axes] + axes)
    shape = a.shape[len(b.shape):]
    return reshape(solve(reshape(a, (b.size, int(np.prod(shape)))), reshape(b, (b.size,))), shape)


# ---------------------------------------------------------------- products


def multi_dot(arrays: Sequence[Any], *, precision: Any = None) -> Array:
    """The product of two or more matrices (the first and the last may be vectors), in the order of least work."""
    arrays = [as_value(x) for x in arrays]
    if len(arrays) < 2:
        raise ValueError(message("multi_dot: at least two arrays are needed", f"{len(arrays)}"))
    n = len(arrays)
    for i, x in enumerate(arrays):
        if len(x.shape) != 2 and not (len(x.shape) == 1 and i in (0, n - 1)):
            raise ValueError(message("multi_dot: an operand is no matrix", f"argument {i} is {describe(x)}",
                                     "two axes; one is enough for the first and the last"))
    sizes = [*[x.shape[0] if len(x.shape) == 2 else 1 for x in arrays[:1]],
             *[x.shape[0] for x in arrays[1:]], arrays[-1].shape[-1] if len(arrays[-1].shape) == 2 else 1]
    best = {(i, i): (0, i) for i in range(n)}
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            best[i, j] = min((best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                             for k in range(i, j))

    def build(i: int, j: int) -> Any:
        return arrays[i] if i == j else c.matmul(build(i, best[i, j][1]), build(best[i, j][1] + 1, j), precision=precision)

    return build(0, n - 1)


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """The cross product of vectors with 3 components along an axis; other axes broadcast. Raises ValueError for others."""
    x1, x2 = same_dtype("cross", x1, x2)
    if x1.shape[axis] != 3 or x2.shape[axis] != 3:
        raise ValueError(message("linalg.cross: vectors must have 3 components", f"{describe(x1)} and {describe(x2)}", None,
                                 "fnp.cross, which also takes 2"))
    return c.cross(x1, x2, axis=axis)


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """The ``offset``-th diagonals of the last two axes."""
    return _diagonal(x, offset, -2, -1)


def matmul(x1: Any, x2: Any, /, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """The matrix product, as ``fnp.matmul``."""
    return c.matmul(x1, x2, precision=precision, preferred_element_type=preferred_element_type)


def matrix_transpose(x: Any, /) -> Array:
    """The last two axes exchanged."""
    return _matrix_transpose(x)


def outer(x1: Any, x2: Any, /) -> Array:
    """All products of an element of one vector with one of the other. Raises ValueError for arrays that are no vectors."""
    if len(np.shape(x1)) != 1 or len(np.shape(x2)) != 1:
        raise ValueError(message("linalg.outer: vectors are needed", f"{describe(x1)} and {describe(x2)}", "one axis each",
                                 "fnp.outer, which flattens"))
    return c.outer(x1, x2)


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2, precision: Any = None, preferred_element_type: Any = None,
              out_sharding: None = None) -> Array:
    """The sum of products over pairs of axes, as ``fnp.tensordot``."""
    return c.tensordot(x1, x2, axes, precision=precision, preferred_element_type=preferred_element_type,
                       out_sharding=out_sharding)


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sum along the ``offset``-th diagonal of the last two axes."""
    return c.trace(x, offset, -2, -1, dtype)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """The scalar products of vectors along an axis, as ``fnp.vecdot``."""
    return c.vecdot(x1, x2, axis=axis, precision=precision, preferred_element_type=preferred_element_type)


# ---------------------------------------------------------------- NumPy's own calls


def _rank_of_numpy(A: Any, tol: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Array:
    return matrix_rank(A, rtol, hermitian=hermitian, tol=tol)


COUNTERPARTS = {
    **{name: globals()[name] for name in __all__},
    "cholesky": lambda a, *, upper=False: cholesky(matrix_transpose(conjugate(a)) if upper else a, upper=upper,
                                                   symmetrize_input=False),
    "eigh": lambda a, UPLO="L": eigh(a, UPLO, symmetrize_input=False),
    "eigvalsh": lambda a, UPLO="L": eigvalsh(a, UPLO, symmetrize_input=False),
    "matrix_rank": _rank_of_numpy,
}
"""What ``np.linalg`` calls here: NumPy reads one triangle of a Hermitian matrix."""
