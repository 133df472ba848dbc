"""Factorisations and solutions of linear systems under the names of jax.lax.linalg.

In: stacks of matrices with equal leading axes. Out: arrays. ``funcgrad.numpy.linalg`` is the comfortable layer above.

    >>> import funcgrad.numpy as fnp
    >>> cholesky(fnp.array([[4., 2.], [2., 2.]]))
    Array([[2., 0.],
           [1., 1.]], dtype=float64)
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core.array import Array, describe
from funcgrad.errors import message
from funcgrad.ops.factorizations import (
    cholesky,
    householder_product,
    lu,
    lu_pivots_to_permutation,
    ormqr,
    qr,
)
from funcgrad.ops.matrices import diagonal, inexact_pair, matrix_arg, product, transposed
from funcgrad.ops.matrix_functions import polar
from funcgrad.ops.spectral import eig, eigh, hessenberg, schur, svd, tridiagonal
from funcgrad.ops.structural import concatenate, expand_dims
from funcgrad.ops.triangular import triangular_solve, tridiagonal_solve

__all__ = [
    "cholesky", "cholesky_update", "eig", "eigh", "hessenberg", "householder_product", "lu", "lu_pivots_to_permutation",
    "ormqr", "qdwh", "qr", "schur", "svd", "symmetric_product", "triangular_solve", "tridiagonal", "tridiagonal_solve",
]


def cholesky_update(r_matrix: Any, w_vector: Any) -> Array:
    """The upper triangular factor of ``adjoint(R) @ R + w w^T``, from the upper triangular factor R.

    Its diagonal is positive. By a QR factorisation of R with w below it, so it also differentiates.
    """
    r, w = inexact_pair("cholesky_update", r_matrix, w_vector)
    r = matrix_arg("cholesky_update", r, True)
    if w.shape != r.shape[:-1]:
        raise ValueError(message("cholesky_update: the shapes do not fit", f"{describe(r)} and {describe(w)}",
                                 "R of (..., n, n) and w of (..., n)"))
    last = len(r.shape) - 2
    out = qr(concatenate([r, expand_dims(w, (last,))], last), full_matrices=False)[1]
    d = diagonal(out)
    sign = (d / abs(d))[..., None]
    return out / sign


def symmetric_product(a_matrix: Any, c_matrix: Any, *, alpha: float = 1.0, beta: float = 0.0,
                      symmetrize_output: bool = False) -> Array:
    """``alpha A @ A^T + beta C`` for symmetric C."""
    a, c = inexact_pair("symmetric_product", a_matrix, c_matrix)
    return alpha * product(a, transposed(a)) + beta * c


def qdwh(x: Any, *, is_hermitian: bool = False, max_iterations: int | None = None, eps: float | None = None,
         dynamic_shape: tuple[int, int] | None = None) -> tuple[Array, Array, Any, Any]:
    """The polar decomposition ``x = u @ h``: orthonormal columns, and a positive semidefinite h; of a matrix (m >= n).

    Returns u, h, the number of iterations and whether they converged, which is always true: it is made of singular values.
    """
    u, h = polar(matrix_arg("qdwh", x))
    return u, h, np.int32(1), np.bool_(True)
