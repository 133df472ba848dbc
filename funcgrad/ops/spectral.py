"""Eigenvalues, singular values and Schur forms.

In: stacks of matrices. Out: stacks of values and vectors. A matrix with NaN or inf gives NaN.

    { lambda ; a:f64[3,3]. let b:f64[3] c:f64[3,3] = eigh[lower=True vectors=True] a in (b, c) }

Derivatives: Giles, "Collected matrix derivative results for forward and reverse mode", 2008; Townsend, "Differentiating the
singular value decomposition", 2016. For equal eigenvalues see ``degenerate``.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import NOT_LINEAR, Kind, Native, No, Primitive
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops import gpu_linalg
from funcgrad.ops.degenerate import differences, inverse_where_apart, turned, watched
from funcgrad.ops.elementwise import add, complex, conj, imag, mul, neg, real, sub
from funcgrad.ops.factorizations import lu_p, square_shape
from funcgrad.ops.matrices import (
    adjoint,
    as_columns,
    as_rows,
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
    upper,
    without_infinities,
)
from funcgrad.ops.reduction import argmax
from funcgrad.ops.sorting import take_along
from funcgrad.ops.structural import concatenate, convert_element_type, expand_dims, slice_in_dim, stop_gradient, sum_over
from funcgrad.ops.triangular import solve_factored

# ---------------------------------------------------------------- user functions


def eigh(x: Any, *, lower: bool = True, symmetrize_input: bool = True, sort_eigenvalues: bool = True,
         subset_by_index: tuple[int, int] | None = None, implementation: Any = None) -> tuple[Any, Any]:
    """The eigenvectors (in columns) and the real eigenvalues, in increasing order, of Hermitian matrices.

    Args:
      x: stacks of matrices (..., n, n).
      lower: which triangle is read when x is not symmetrized.
      symmetrize_input: whether x is replaced by its Hermitian part first.
      sort_eigenvalues: accepted for compatibility; they are always in order.
      subset_by_index: (start, stop): only these eigenvalues are returned.
      implementation: accepted for compatibility.

    >>> v, w = eigh(fnp.array([[2., 1.], [1., 2.]]))
    >>> w
    Array([1., 3.], dtype=float64)
    """
    w, v = eigh_pair("eigh", x, lower, symmetrize_input)
    if subset_by_index is not None:
        first, stop = subset_by_index
        w, v = slice_in_dim(w, first, stop, axis=len(w.shape) - 1), block(v, slice(None), slice(first, stop))
    return v, w


def eigh_pair(name: str, x: Any, lower: bool, symmetrize_input: bool) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors, in NumPy's order."""
    x = matrix_arg(name, x, True)
    return eigh_p.bind(hermitian_part(x) if symmetrize_input else x, lower=bool(lower), vectors=True)


def eigvalsh(name: str, x: Any, lower: bool, symmetrize_input: bool) -> Any:
    """The eigenvalues alone."""
    x = matrix_arg(name, x, True)
    return eigh_p.bind(hermitian_part(x) if symmetrize_input else x, lower=bool(lower), vectors=False)[0]


def svd(x: Any, *, full_matrices: bool = True, compute_uv: bool = True, subset_by_index: tuple[int, int] | None = None,
        algorithm: Any = None) -> Any:
    """The factors of ``x = U @ diag(s) @ Vh`` with orthonormal columns of U and rows of Vh, and s >= 0 decreasing.

    Args:
      x: stacks of matrices (..., m, n).
      full_matrices: whether U and Vh are square, else they have min(m, n) columns and rows.
      compute_uv: whether U and Vh are returned too.
      subset_by_index: (start, stop): only these singular values are returned.
      algorithm: accepted for compatibility.

    Returns (U, s, Vh), or s.
    """
    x = matrix_arg("svd", x)
    out = svd_p.bind(x, full_matrices=bool(full_matrices), vectors=bool(compute_uv))
    if subset_by_index is not None:
        if full_matrices and compute_uv and x.shape[-1] != x.shape[-2]:
            raise ValueError(message("svd: subset_by_index and full_matrices exclude each other", str(subset_by_index),
                                     "full_matrices=False"))
        first, stop = subset_by_index
        parts = [slice_in_dim(out[0], first, stop, axis=len(out[0].shape) - 1)]
        if compute_uv:
            parts += [block(out[1], slice(None), slice(first, stop)), block(out[2], slice(first, stop), slice(None))]
        out = tuple(parts)
    return (out[1], out[0], out[2]) if compute_uv else out[0]


def eig(x: Any, *, compute_left_eigenvectors: bool = True, compute_right_eigenvectors: bool = True,
        enable_eigvec_derivs: bool = False, implementation: Any = None, use_magma: bool | None = None) -> list[Any]:
    """The complex eigenvalues of square matrices, then left and right eigenvectors of norm 1, as asked for.

    Left eigenvectors fulfil ``adjoint(vl) @ x = diag(w) @ adjoint(vl)``. In each vector the largest element is real,
    which makes the derivatives of right eigenvectors definite.
    """
    x = matrix_arg("eig", x, True)
    if not compute_left_eigenvectors:
        w, *v = eig_p.bind(x, vectors=bool(compute_right_eigenvectors))
        return [w, *v]
    w, v = eig_p.bind(x, vectors=True)
    left = adjoint(inverse(v))
    norms = real(sum_over(mul(left, conj(left)), (len(left.shape) - 2,)))
    left = mul(left, as_columns(convert_element_type(norms ** -0.5, left.dtype), left))
    return [w, left, v] if compute_right_eigenvectors else [w, left]


def schur(x: Any, *, compute_schur_vectors: bool = True, sort_eig_vals: bool = False, select_callable: Any = None) -> tuple:
    """The Schur form ``x = Q @ T @ adjoint(Q)``: T upper triangular, for real x with 2 by 2 blocks of complex pairs.

    Returns (T, Q), or (T,) without the vectors. There are no derivatives, and no sorting.
    """
    if sort_eig_vals or select_callable is not None:
        raise NotImplementedError("schur: sorting of the eigenvalues is not supported")
    t, q = schur_p.bind(matrix_arg("schur", x, True))
    return (t, q) if compute_schur_vectors else (t,)


def rsf2csf(t: Any, z: Any) -> tuple[Any, Any]:
    """A real Schur form made a complex triangular one."""
    return rsf2csf_p.bind(t, z)


def diagonalized(x: Any) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors of complex matrices, the latter orthonormal for normal matrices even if values are equal."""
    return diagonalized_p.bind(x)


def hessenberg(a: Any) -> tuple[Any, Any]:
    """The Hessenberg form as LAPACK's gehrd stores it: reflections below the first subdiagonal; and their factors."""
    return hessenberg_p.bind(matrix_arg("hessenberg", a, True))


def tridiagonal(a: Any, *, lower: bool = True) -> tuple[Any, Any, Any, Any]:
    """Hermitian matrices made tridiagonal: LAPACK's array of reflections, the diagonal, the one beside it, the factors."""
    return tridiagonal_p.bind(matrix_arg("tridiagonal", a, True), lower=bool(lower))


def inverse(x: Any) -> Any:
    """The inverse."""
    factors, _, permutation = lu_p.bind(stop_gradient(x))
    return solve_factored(x, factors, permutation, eye_like(x))


# ---------------------------------------------------------------- evaluation


def _or_nan(function: Callable, x: np.ndarray) -> tuple:
    """What LAPACK gives, and NaN for those matrices of a stack for which it fails."""
    try:
        return tuple(function(x))
    except (np.linalg.LinAlgError, ValueError):
        if x.ndim > 2:
            return one_by_one(lambda matrix: _or_nan(function, matrix), x)
        return tuple([np.full_like(part, np.nan) for part in function(np.eye(*x.shape, dtype=x.dtype))])


@computed_by_lapack
def eigh_impl(xp: Any, x: Any, *, lower: bool, vectors: bool) -> tuple:
    triangle = "L" if lower else "U"
    if not vectors:
        return _or_nan(lambda a: (xp.linalg.eigvalsh(a, triangle),), x)
    return _or_nan(lambda a: xp.linalg.eigh(a, triangle), x)


@computed_by_lapack
def svd_impl(xp: Any, x: Any, *, full_matrices: bool, vectors: bool) -> tuple:
    def factors(a: Any) -> tuple:
        if not vectors:
            return (xp.linalg.svd(a, compute_uv=False),)
        u, s, vh = xp.linalg.svd(a, full_matrices)
        return s, u, vh

    return _or_nan(factors, without_infinities(x))


@numpy_only
@computed_by_lapack
def eig_impl(xp: Any, x: Any, *, vectors: bool) -> tuple:
    wide = np.result_type(x.dtype, np.complex64)

    def pair(a: Any) -> tuple:
        out = xp.linalg.eig(a) if vectors else (xp.linalg.eigvals(a),)
        return tuple([part.astype(wide, copy=False) for part in out])

    return _or_nan(pair, x)


@numpy_only
@computed_by_lapack
def schur_impl(xp: Any, x: Any) -> tuple:
    import scipy.linalg
    return one_by_one(lambda a: _or_nan(lambda m: scipy.linalg.schur(m, "complex" if m.dtype.kind == "c" else "real"), a)
                      if a.size else (a, a), x)


@numpy_only
@computed_by_lapack
def rsf2csf_impl(xp: Any, t: Any, z: Any) -> tuple:
    import scipy.linalg
    return one_by_one(lambda t, z: scipy.linalg.rsf2csf(t, z) if t.size else (t + 0j, z + 0j), t, z)


@numpy_only
@computed_by_lapack
def diagonalized_impl(xp: Any, x: Any) -> tuple:
    """From the Schur form, without those of its elements above the diagonal that are rounding errors."""
    def pair(a: Any) -> tuple:
        if not a.size:
            return a[0], a
        t, z = schur_impl(xp, a)
        noise = xp.abs(t) <= 8 * a.shape[-1] * np.finfo(a.dtype).eps * xp.max(xp.abs(t))
        w, v = eig_impl(xp, xp.where(noise & ~xp.eye(a.shape[-1], dtype=bool), 0, t), vectors=True)
        return w, z @ v

    return one_by_one(pair, x)


@numpy_only
@computed_by_lapack
def hessenberg_impl(xp: Any, x: Any) -> tuple:
    if x.shape[-1] < 2:
        return xp.array(x), xp.zeros((*x.shape[:-1][:-1], max(x.shape[-1] - 1, 0)), x.dtype)
    from scipy.linalg.lapack import get_lapack_funcs
    gehrd = get_lapack_funcs("gehrd", (x,))
    return one_by_one(lambda a: gehrd(a)[:2], x)


@numpy_only
@computed_by_lapack
def tridiagonal_impl(xp: Any, x: Any, *, lower: bool) -> tuple:
    from scipy.linalg.lapack import get_lapack_funcs
    n, lead = x.shape[-1], x.shape[:-2]
    narrow = x.real.dtype
    if n < 2:
        empty = (*lead, max(n - 1, 0))
        d = xp.diagonal(x, axis1=-2, axis2=-1).real
        return xp.array(x), d.astype(narrow), xp.zeros(empty, narrow), xp.zeros(empty, x.dtype)
    trd = get_lapack_funcs(("hetrd" if x.dtype.kind == "c" else "sytrd",), (x,))[0]
    return one_by_one(lambda a: trd(a, lower=lower)[:4], x)


# ---------------------------------------------------------------- shapes


def _values(x: ShapedArray, k: int) -> ShapedArray:
    return shaped_array((*x.shape[:-2], k), _real_dtype(x.dtype))


def _real_dtype(dtype: np.dtype) -> np.dtype:
    return np.dtype(f"float{4 * dtype.itemsize}") if dtype.kind == "c" else dtype


def eigh_shape(x: ShapedArray, *, lower: bool, vectors: bool) -> tuple:
    square_shape(x)
    w = _values(x, x.shape[-1])
    return (w, x) if vectors else (w,)


def svd_shape(x: ShapedArray, *, full_matrices: bool, vectors: bool) -> tuple:
    if x.ndim < 2 or not dtypes.is_inexact(x.dtype):
        raise TypeError(f"svd takes matrices of an inexact dtype, not {x}")
    *lead, m, n = x.shape
    k = min(m, n)
    if not vectors:
        return (_values(x, k),)
    rows, columns = (m, n) if full_matrices else (k, k)
    return _values(x, k), shaped_array((*lead, m, rows), x.dtype), shaped_array((*lead, columns, n), x.dtype)


def _as_complex(x: ShapedArray) -> ShapedArray:
    return shaped_array(x.shape, x.dtype if x.dtype.kind == "c" else np.dtype(f"complex{max(16 * x.dtype.itemsize, 64)}"))


def eig_shape(x: ShapedArray, *, vectors: bool) -> tuple:
    v = _as_complex(square_shape(x))
    w = shaped_array(x.shape[:-1], v.dtype)
    return (w, v) if vectors else (w,)


# ---------------------------------------------------------------- derivatives


def eigh_jvp(primals: tuple, tangents: tuple, *, lower: bool, vectors: bool) -> tuple:
    """dw = diag(H), dV = V (H / (w_j - w_i)), with H = adj(V) dx V."""
    w, v = eigh_p.bind(*primals, lower=lower, vectors=True)
    inner = product(adjoint(v), product(_hermitian(tangents[0], lower), v))
    w_dot = real(diagonal(inner))
    if not vectors:
        return (w,), watched("eigvalsh", (w_dot,), w, (v,))
    inner = turned("eigh", inner, w)
    apart = inverse_where_apart(differences(w, inner), w)
    v_dot = product(v, mul(convert_element_type(apart, inner.dtype), inner))
    return (w, v), watched("eigh", (w_dot, v_dot), w, (v,))


def _hermitian(x: Any, low: bool) -> Any:
    """The Hermitian matrix of which x has one triangle."""
    strict = lower(x, -1) if low else upper(x, 1)
    middle = diagonal(x)
    if x.dtype.kind == "c":
        middle = convert_element_type(real(middle), x.dtype)
    return add(add(strict, adjoint(strict)), diagonal_matrix(middle))


def svd_jvp(primals: tuple, tangents: tuple, *, full_matrices: bool, vectors: bool) -> tuple:
    """With P = adj(U) dx V: U and V turn together by (P + adj P) / 2 (s_j - s_i), and against each other by
    (P - adj P) / 2 (s_j + s_i)."""
    x, = primals
    s, u, vh = svd_p.bind(x, full_matrices=full_matrices and vectors, vectors=True)
    k, x_dot = min(x.shape[-2:]), tangents[0]
    u1, v1 = block(u, slice(None), slice(k)), adjoint(block(vh, slice(k), slice(None)))
    x_v = product(x_dot, v1)
    inner = product(adjoint(u1), x_v)
    s_dot = real(diagonal(inner))
    if not vectors:
        return (s,), watched("svdvals", (s_dot,), s, (u,))
    both, against = add(inner, adjoint(inner)), sub(inner, adjoint(inner))
    both = turned("svd", both, s)
    sums = add(as_columns(s, inner), as_rows(s, inner))
    both = mul(both, convert_element_type(mul(inverse_where_apart(differences(s, inner), s), 0.5), inner.dtype))
    against = mul(against, convert_element_type(mul(inverse_where_apart(sums, s), 0.5), inner.dtype))
    inverse_s = convert_element_type(inverse_where_apart(s, s), inner.dtype)
    u_dot = _frame_dot(u, k, add(both, against), mul(_outside(u1, x_v, inner), as_columns(inverse_s, x_v)))
    u_x = product(adjoint(x_dot), u1)
    v_dot = _frame_dot(adjoint(vh), k, sub(both, against),
                       mul(_outside(v1, u_x, adjoint(inner)), as_columns(inverse_s, u_x)))
    return (s, u, vh), watched("svd", (s_dot, u_dot, adjoint(v_dot)), s, (u, vh))


def _outside(frame: Any, x: Any, inside: Any) -> Any:
    """The part of x outside of the space of an orthonormal frame."""
    return sub(x, product(frame, inside))


def _frame_dot(frame: Any, k: int, turn: Any, outside: Any) -> Any:
    """The tangent of a frame: its first k vectors turn within their space and out of it, the others follow."""
    first = block(frame, slice(None), slice(k))
    if frame.shape[-2] == k:
        return product(first, turn)
    dot = add(product(first, turn), outside)
    if frame.shape[-1] == k:
        return dot
    rest = block(frame, slice(None), slice(k, None))
    return concatenate([dot, neg(product(first, adjoint(product(adjoint(rest), outside))))], len(frame.shape) - 1)


def eig_jvp(primals: tuple, tangents: tuple, *, vectors: bool) -> tuple:
    """dw = diag(M), dV = V (M / (w_j - w_i)), with M = V^-1 dx V; then V keeps its norm, and its largest element real."""
    w, v = eig_p.bind(*primals, vectors=True)
    factors, _, permutation = lu_p.bind(stop_gradient(v))
    inner = solve_factored(v, factors, permutation, product(convert_element_type(tangents[0], v.dtype), v))
    w_dot = diagonal(inner)
    if not vectors:
        return (w,), watched("eigvals", (w_dot,), w, (v,))
    apart = inverse_where_apart(differences(w, inner), w)
    v_dot = product(v, mul(apart, inner))
    axis = len(v.shape) - 2
    along = real(sum_over(mul(conj(v), v_dot), (axis,)))
    largest = argmax(stop_gradient(real(mul(v, conj(v)))), axis, np.int64)
    at = expand_dims(largest, (axis,))
    phase = sum_over(imag(take_along(v_dot, at, axis, True)) / real(take_along(v, at, axis, True)), (axis,))
    v_dot = sub(v_dot, mul(v, as_columns(complex(along, phase), v)))
    return (w, v), watched("eig", (w_dot, v_dot), w, (v,))


def diagonalized_jvp(primals: tuple, tangents: tuple) -> tuple:
    """As ``eig``, where no vector changes along itself."""
    w, v = diagonalized_p.bind(*primals)
    factors, _, permutation = lu_p.bind(stop_gradient(v))
    inner = turned("eig", solve_factored(v, factors, permutation, product(tangents[0], v)), w)
    return (w, v), (diagonal(inner), product(v, mul(inverse_where_apart(differences(w, inner), w), inner)))


eigh_p = Primitive("eigh", Kind.OPAQUE, eigh_shape, eigh_impl, eigh_jvp, NOT_LINEAR, stacked(lambda: eigh_p),
                   code=Native("eigh"), cuda=gpu_linalg.eigh, strong=True, flops=matrix_flops(lambda m, n: 4.5 * n**3))
svd_p = Primitive("svd", Kind.OPAQUE, svd_shape, svd_impl, svd_jvp, NOT_LINEAR, stacked(lambda: svd_p), code=Native("svd"),
                  cuda=gpu_linalg.svd, strong=True,
                  flops=matrix_flops(lambda m, n: 2 * m * n * max(m, n) + 5.5 * min(m, n) ** 3))
eig_p = Primitive("eig", Kind.OPAQUE, eig_shape, eig_impl, eig_jvp, NOT_LINEAR, stacked(lambda: eig_p), strong=True,
                  flops=matrix_flops(lambda m, n: 12.5 * n**3))
schur_p = Primitive("schur", Kind.OPAQUE, lambda x: (square_shape(x), x), schur_impl,
                    No("its rows and columns are LAPACK's choice; differentiate functions of matrices, or eig"), NOT_LINEAR,
                    stacked(lambda: schur_p), strong=True)

rsf2csf_p = Primitive("rsf2csf", Kind.OPAQUE, lambda t, z: (_as_complex(t), _as_complex(z)), rsf2csf_impl,
                      No("its rows and columns are LAPACK's choice; differentiate functions of matrices, or eig"), NOT_LINEAR,
                      stacked(lambda: rsf2csf_p), strong=True)
diagonalized_p = Primitive("diagonalized", Kind.OPAQUE, lambda x: eig_shape(x, vectors=True), diagonalized_impl,
                           diagonalized_jvp, NOT_LINEAR, stacked(lambda: diagonalized_p), strong=True)


def hessenberg_shape(x: ShapedArray) -> tuple:
    square_shape(x)
    return x, shaped_array((*x.shape[:-2], max(x.shape[-1] - 1, 0)), x.dtype)


def tridiagonal_shape(x: ShapedArray, *, lower: bool) -> tuple:
    beside = shaped_array((*square_shape(x).shape[:-2], max(x.shape[-1] - 1, 0)), x.dtype)
    return x, _values(x, x.shape[-1]), shaped_array(beside.shape, _real_dtype(x.dtype)), beside


_FORM = No("the reflections are LAPACK's choice; differentiate eigh, eig or what is computed from them")
hessenberg_p = Primitive("hessenberg", Kind.OPAQUE, hessenberg_shape, hessenberg_impl, _FORM, NOT_LINEAR,
                         stacked(lambda: hessenberg_p), strong=True)
tridiagonal_p = Primitive("tridiagonal", Kind.OPAQUE, tridiagonal_shape, tridiagonal_impl, _FORM, NOT_LINEAR,
                          stacked(lambda: tridiagonal_p), strong=True)
