"""Cholesky, LU and QR factorisations.

In: stacks of matrices. Out: stacks of factors. A matrix without the factorisation gives NaN, in compiled code and outside.

    { lambda ; a:f64[3,3]. let b:f64[3,3] = cholesky a in (b,) }

Derivatives: Murray, "Differentiation of the Cholesky decomposition", 2016; Walter and Lehmann, "Algorithmic differentiation
of linear algebra functions", 2012; de Hoog et al., "The derivatives of LU", 2011.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import NOT_LINEAR, PIECEWISE_CONSTANT, Kind, Native, No, Primitive
from funcgrad.core.types import ShapedArray, Zero, shaped_array
from funcgrad.ops import gpu_linalg
from funcgrad.ops.elementwise import add, mul, neg, real, sub
from funcgrad.ops.matrices import (
    adjoint,
    block,
    computed_by_lapack,
    diagonal,
    diagonal_matrix,
    eye_like,
    hermitian_part,
    lower,
    matrix_arg,
    matrix_flops,
    one_by_one,
    product,
    stacked,
    transposed,
    upper,
)
from funcgrad.ops.sorting import take_along
from funcgrad.ops.structural import broadcast_to, concatenate, convert_element_type, expand_dims, zeros
from funcgrad.ops.triangular import SMALL, solve_triangular

INT32, FLOAT0 = np.dtype(np.int32), dtypes.float0

# ---------------------------------------------------------------- user functions


def cholesky(x: Any, *, symmetrize_input: bool = True) -> Any:
    """The lower triangular L with ``L @ adjoint(L) = x``, for Hermitian positive definite x; NaN for other matrices.

    Args:
      x: stacks of matrices (..., n, n).
      symmetrize_input: whether x is replaced by its Hermitian part first, so that derivatives are those of a function of
        all elements; else only the lower triangle is read.

    Raises ValueError when x is not square.

    >>> cholesky(fnp.array([[4., 2.], [2., 2.]]))
    Array([[2., 0.],
           [1., 1.]], dtype=float64)
    """
    x = matrix_arg("cholesky", x, True)
    return cholesky_p.bind(hermitian_part(x) if symmetrize_input else x)[0]


def lu(x: Any) -> tuple[Any, Any, Any]:
    """The factors of ``x[permutation] = L @ U``, with partial pivoting.

    Args:
      x: stacks of matrices (..., m, n).

    Returns L (below the diagonal; its ones are not stored) and U in one matrix, the row that was exchanged with each row
    (int32), and the permutation of the rows (int32).
    """
    return lu_p.bind(matrix_arg("lu", x))


def lu_pivots_to_permutation(pivots: Any, permutation_size: int) -> Any:
    """The permutation of ``permutation_size`` rows that exchanges of row i with row ``pivots[i]`` make, in their order."""
    return lu_pivots_to_permutation_p.bind(pivots, permutation_size=int(permutation_size))[0]


def qr(x: Any, *, pivoting: bool = False, full_matrices: bool = True, use_magma: bool | None = None) -> tuple:
    """The factors of ``x = Q @ R``: Q with orthonormal columns, R upper triangular.

    Args:
      x: stacks of matrices (..., m, n).
      pivoting: whether columns are exchanged, so that the diagonal of R does not grow; then ``x[:, p] = Q @ R``, and the
        permutation p (int32) is a third result.
      full_matrices: whether Q has shape (m, m), else (m, min(m, n)).
      use_magma: accepted for compatibility.

    The derivative needs the first min(m, n) columns (of x[:, p]) to be linearly independent.
    """
    out = qr_p.bind(matrix_arg("qr", x), pivoting=bool(pivoting), full_matrices=bool(full_matrices))
    return out if pivoting else out[:2]


def geqrf(x: Any) -> tuple[Any, Any]:
    """R, with the reflections below it, and their factors, as LAPACK stores them; ``householder_product`` makes Q of it."""
    return geqrf_p.bind(matrix_arg("geqrf", x))


def householder_product(a: Any, taus: Any) -> Any:
    """The product of the reflections ``I - tau v adjoint(v)``, its first n columns: Q of a factorisation by LAPACK's geqrf.

    Args:
      a: (..., m, n) with m >= n; column i holds v from row i + 1 on, v is 1 in row i and 0 above.
      taus: (..., k) with k <= n.
    """
    a = matrix_arg("householder_product", a)
    v, t = _reflections(a, convert_element_type(taus, a.dtype))
    top = adjoint(block(v, slice(a.shape[-1]), slice(None)))
    return sub(eye_like(a, *a.shape[-2:]), product(v, product(t, top)))


def ormqr(a: Any, taus: Any, c: Any, *, left: bool = True, transpose: bool = False) -> Any:
    """Q @ c or c @ Q for the full square Q of ``householder_product``; with ``transpose`` its adjoint."""
    a, c = matrix_arg("ormqr", a), matrix_arg("ormqr", c)
    v, t = _reflections(a, convert_element_type(taus, a.dtype))
    t = adjoint(t) if transpose else t
    if left:
        return sub(c, product(v, product(t, product(adjoint(v), c))))
    return sub(c, product(product(product(c, v), t), adjoint(v)))


def _reflections(a: Any, taus: Any) -> tuple[Any, Any]:
    """V and T of the compact form ``I - V T adjoint(V)`` of a product of reflections (Schreiber and Van Loan, 1989)."""
    k = taus.shape[-1]
    v = block(a, slice(None), slice(k))
    v = add(lower(v, -1), eye_like(v, *v.shape[-2:]))
    overlap = upper(product(adjoint(v), v), 1)
    rows = broadcast_to(expand_dims(taus, (len(taus.shape),)), overlap.shape)
    system = add(eye_like(overlap), mul(rows, overlap))
    return v, solve_triangular(system, diagonal_matrix(taus), False, False, True)


# ---------------------------------------------------------------- Cholesky


def square_shape(x: ShapedArray, **params: Any) -> ShapedArray:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or not dtypes.is_inexact(x.dtype):
        raise TypeError(f"square matrices of an inexact dtype are needed, not {x}")
    return x


@computed_by_lapack
def cholesky_impl(xp: Any, x: Any) -> Any:
    try:
        return xp.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        if x.ndim == 2:
            return xp.tril(xp.full_like(x, np.nan))
        return one_by_one(lambda matrix: (cholesky_impl(xp, matrix),), x)[0]


def cholesky_jvp(primals: tuple, tangents: tuple) -> tuple:
    """dL = L P(L^-1 dx L^-H), where P takes the lower triangle and half of the diagonal."""
    l, = cholesky_p.bind(*primals)  # noqa: E741
    # Only the lower triangle of x is read, so the tangent is that of a Hermitian matrix made of it.
    strict = lower(tangents[0], -1)
    x_dot = add(add(strict, adjoint(strict)), _real_diagonal(tangents[0]))
    inner = _congruent(l, x_dot)
    return (l,), (product(l, sub(lower(inner), mul(diagonal_matrix(diagonal(inner)), 0.5))),)


def _real_diagonal(x: Any) -> Any:
    return diagonal_matrix(convert_element_type(real(diagonal(x)), x.dtype))


def _congruent(l: Any, x: Any) -> Any:  # noqa: E741
    """L^-1 x L^-H of a Hermitian x."""
    return solve_triangular(l, adjoint(solve_triangular(l, x, True)), True)


cholesky_p = Primitive("cholesky", Kind.OPAQUE, square_shape, cholesky_impl, cholesky_jvp, NOT_LINEAR,
                       stacked(lambda: cholesky_p), code=Native("cholesky"), cuda=gpu_linalg.cholesky,
                       flops=matrix_flops(lambda m, n: n**3 / 6))

# ---------------------------------------------------------------- LU


def lu_shape(x: ShapedArray) -> tuple:
    if x.ndim < 2 or not dtypes.is_inexact(x.dtype):
        raise TypeError(f"lu takes matrices of an inexact dtype, not {x}")
    *lead, m, n = x.shape
    return x, shaped_array((*lead, min(m, n)), INT32), shaped_array((*lead, m), INT32)


@computed_by_lapack
def lu_impl(xp: Any, x: Any) -> tuple:
    m, n = x.shape[-2:]
    if not x.size:
        out, pivots = xp.array(x), xp.zeros((*x.shape[:-2], min(m, n)), INT32)
    elif x.ndim > 2 and max(m, n) <= SMALL:
        out, pivots = _eliminated(xp, xp.array(x))
    else:
        from scipy.linalg.lapack import get_lapack_funcs
        getrf = get_lapack_funcs("getrf", (x,))
        out, pivots = one_by_one(lambda a: getrf(a)[:2], x)
    return out, pivots.astype(INT32), permutation_impl(xp, pivots, permutation_size=m)


def _eliminated(xp: Any, a: Any) -> tuple:
    """Gaussian elimination of all matrices of a stack at once; the pivot is LAPACK's, largest in abs(re) + abs(im)."""
    m, n = a.shape[-2:]
    pivots = xp.empty((*a.shape[:-2], min(m, n)), INT32)
    for k in range(min(m, n)):
        column = a[..., k:, k]
        size = xp.abs(column.real) + xp.abs(column.imag) if a.dtype.kind == "c" else xp.abs(column)
        pivot = k + xp.argmax(xp.where(xp.isnan(size), 0, size), -1)
        pivots[..., k] = pivot
        at = pivot[..., None, None]
        row = xp.take_along_axis(a, at, -2)
        xp.put_along_axis(a, at, a[..., k:k + 1, :], -2)
        a[..., k:k + 1, :] = row
        zero = row[..., k:k + 1] == 0
        a[..., k + 1:, k:k + 1] /= xp.where(zero, 1, row[..., k:k + 1])
        a[..., k + 1:, k + 1:] -= a[..., k + 1:, k:k + 1] * row[..., k + 1:]
    return a, pivots


def lu_jvp(primals: tuple, tangents: tuple) -> tuple:
    """With X = L^-1 dx[p] U^-1: dL = L (X below the diagonal), dU = (X on and above it) U; oblong factors are filled up."""
    x, = primals
    out, pivots, permutation = lu_p.bind(x)
    m, n = x.shape[-2:]
    k = min(m, n)
    wide_l = add(_filled(lower(block(out, slice(None), slice(k)), -1), m), eye_like(out, m))
    wide_u = upper(block(out, slice(k), slice(None)))
    if n > k:
        wide_u = concatenate([wide_u, block(eye_like(out, n), slice(k, None), slice(None))], len(x.shape) - 2)
    x_dot = permuted_rows(tangents[0], permutation)
    inner = solve_triangular(wide_l, x_dot, True, False, True)
    inner = transposed(solve_triangular(wide_u, transposed(inner), False, True))
    l_dot = product(wide_l, _filled(lower(block(inner, slice(None), slice(k)), -1), m))
    u_dot = product(upper(_filled_rows(inner, n)), wide_u)
    dot = add(block(l_dot, slice(None), slice(n)) if n <= m else _filled(l_dot, n),
              block(u_dot, slice(m), slice(None)) if m <= n else _filled_rows(u_dot, m))
    return (out, pivots, permutation), (dot, Zero(shaped_array(pivots.shape, FLOAT0)),
                                        Zero(shaped_array(permutation.shape, FLOAT0)))


def permuted_rows(x: Any, permutation: Any) -> Any:
    """The rows of each matrix in another order."""
    where = broadcast_to(expand_dims(permutation, (len(permutation.shape),)), (*permutation.shape, x.shape[-1]))
    return take_along(x, where, len(x.shape) - 2, unique=True)


def permuted_columns(x: Any, permutation: Any) -> Any:
    """The columns of each matrix in another order."""
    return transposed(permuted_rows(transposed(x), permutation))


def _filled(x: Any, columns: int) -> Any:
    """Zero columns added up to a number of them."""
    missing = columns - x.shape[-1]
    if missing <= 0:
        return x
    return concatenate([x, zeros(shaped_array((*x.shape[:-1], missing), x.dtype))], len(x.shape) - 1)


def _filled_rows(x: Any, rows: int) -> Any:
    """Zero rows added up to a number of them, or the first of more rows."""
    if x.shape[-2] >= rows:
        return block(x, slice(rows), slice(None))
    return transposed(_filled(transposed(x), rows))


def permutation_shape(pivots: ShapedArray, *, permutation_size: int) -> ShapedArray:
    return shaped_array((*pivots.shape[:-1], permutation_size), INT32)


@numpy_only
def permutation_impl(xp: Any, pivots: Any, *, permutation_size: int) -> Any:
    out = xp.empty((*pivots.shape[:-1], permutation_size), INT32)
    out[...] = xp.arange(permutation_size)
    for i in range(pivots.shape[-1]):
        at = pivots[..., i:i + 1].astype(np.int64)
        other = xp.take_along_axis(out, at, -1)
        xp.put_along_axis(out, at, out[..., i:i + 1], -1)
        out[..., i:i + 1] = other
    return out


lu_p = Primitive("lu", Kind.OPAQUE, lu_shape, lu_impl, lu_jvp, NOT_LINEAR, stacked(lambda: lu_p), code=Native("lu"),
                 cuda=gpu_linalg.lu(_eliminated, permutation_impl), strong=True,
                 flops=matrix_flops(lambda m, n: min(m, n) ** 2 * (max(m, n) - min(m, n) / 3) / 2))


lu_pivots_to_permutation_p = Primitive(
    "lu_pivots_to_permutation", Kind.OPAQUE, permutation_shape, permutation_impl, PIECEWISE_CONSTANT, NOT_LINEAR,
    stacked(lambda: lu_pivots_to_permutation_p), strong=True)

# ---------------------------------------------------------------- QR


def qr_shape(x: ShapedArray, *, pivoting: bool, full_matrices: bool) -> tuple:
    if x.ndim < 2 or not dtypes.is_inexact(x.dtype):
        raise TypeError(f"qr takes matrices of an inexact dtype, not {x}")
    *lead, m, n = x.shape
    k = m if full_matrices else min(m, n)
    outs = shaped_array((*lead, m, k), x.dtype), shaped_array((*lead, k, n), x.dtype)
    return (*outs, shaped_array((*lead, n), INT32)) if pivoting else outs


@computed_by_lapack
def qr_impl(xp: Any, x: Any, *, pivoting: bool, full_matrices: bool) -> tuple:
    if not pivoting:
        return tuple(xp.linalg.qr(x, "complete" if full_matrices else "reduced"))
    import scipy.linalg
    mode = "full" if full_matrices else "economic"
    q, r, p = one_by_one(lambda a: scipy.linalg.qr(a, mode=mode, pivoting=True, check_finite=False), x)
    return q, r, p.astype(INT32)


def qr_jvp(primals: tuple, tangents: tuple, *, pivoting: bool, full_matrices: bool) -> tuple:
    """With the square Q1 R1 of the first k columns: dQ = Q W + (what leaves the space), dR = adj(Q) dx - W R, W skew."""
    q, r, *rest = qr_p.bind(*primals, pivoting=pivoting, full_matrices=full_matrices)
    x_dot = permuted_columns(tangents[0], rest[0]) if pivoting else tangents[0]
    k = min(x_dot.shape[-2:])
    q1, r1 = block(q, slice(None), slice(k)), block(r, slice(k), slice(k))
    ratio = transposed(solve_triangular(r1, transposed(block(x_dot, slice(None), slice(k))), False, True))  # dx1 R1^-1
    inside = product(adjoint(q1), ratio)
    below = lower(inside, -1)
    turn = sub(below, adjoint(below))
    if x_dot.dtype.kind == "c":
        d = diagonal_matrix(diagonal(inside))
        turn = add(turn, mul(sub(d, adjoint(d)), 0.5))  # the diagonal of R stays real
    q1_dot = product(q1, turn)
    if x_dot.shape[-2] > k:
        q1_dot = add(q1_dot, sub(ratio, product(q1, inside)))
    q_dot = q1_dot
    if q.shape[-1] > k:
        q2 = block(q, slice(None), slice(k, None))
        q_dot = concatenate([q1_dot, neg(product(q1, adjoint(product(adjoint(q2), q1_dot))))], len(q.shape) - 1)
    r_dot = sub(product(adjoint(q1), x_dot), product(turn, block(r, slice(k), slice(None))))
    r_dot = _filled_rows(upper(r_dot), r.shape[-2])
    return (q, r, *rest), (q_dot, r_dot, *[Zero(shaped_array(p.shape, FLOAT0)) for p in rest])


qr_p = Primitive("qr", Kind.OPAQUE, qr_shape, qr_impl, qr_jvp, NOT_LINEAR, stacked(lambda: qr_p), code=Native("qr"),
                 cuda=gpu_linalg.qr, strong=True,
                 flops=matrix_flops(lambda m, n: 2 * min(m, n) ** 2 * (max(m, n) - min(m, n) / 3)))


def geqrf_shape(x: ShapedArray) -> tuple:
    return x, shaped_array((*x.shape[:-2], min(x.shape[-2:])), x.dtype)


@numpy_only
@computed_by_lapack
def geqrf_impl(xp: Any, x: Any) -> tuple:
    reflections, taus = xp.linalg.qr(x, "raw")
    return xp.swapaxes(reflections, -1, -2), taus


geqrf_p = Primitive("geqrf", Kind.OPAQUE, geqrf_shape, geqrf_impl, No("the reflections are LAPACK's choice; differentiate qr"),
                    NOT_LINEAR, stacked(lambda: geqrf_p), strong=True)
