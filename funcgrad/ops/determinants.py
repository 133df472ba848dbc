"""Solutions of linear systems by one LU factorisation, and determinants.

In: stacks of square matrices. Out: solutions, determinants. A singular matrix gives solutions of inf or NaN.

    solve(a, b):    { lambda ; a:f64[3,3] b:f64[3,1]. let c d e = lu a; f:f64[3,1] = factored_solve a c e b in (f,) }

The derivative of a determinant is its matrix of cofactors, which is exact for singular matrices too: cofactors and their
first derivatives come from singular values, whose products leave out one or two and divide by none.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import NOT_LINEAR, Kind, Linear, Native, Primitive
from funcgrad.core.types import ShapedArray, Zero, shaped_array
from funcgrad.ops.elementwise import add, complex, div, imag, mul, real, sub
from funcgrad.ops.factorizations import lu_p, square_shape
from funcgrad.ops.matrices import (
    block,
    computed_by_lapack,
    diagonal,
    matrix_arg,
    one_by_one,
    product,
    stacked,
    transposed,
    without_infinities,
)
from funcgrad.ops.structural import broadcast_to, expand_dims, full, reshape, stop_gradient, sum_over, zeros
from funcgrad.ops.triangular import solve_factored

# ---------------------------------------------------------------- user functions


def solve(a: Any, b: Any) -> Any:
    """The solution of ``A X = B`` for matrices that fit; forward and backward share one factorisation."""
    factors, _, permutation = lu_p.bind(stop_gradient(a))
    return solve_factored(a, factors, permutation, b)


def slogdet(a: Any) -> tuple[Any, Any]:
    """The sign (or phase) of the determinant, and the logarithm of its magnitude: (0, -inf) for a singular matrix."""
    a = matrix_arg("slogdet", a, True)
    return slogdet_p.bind(a, *lu_p.bind(stop_gradient(a)))


def det(a: Any) -> Any:
    """The determinant; its first two derivatives are exact for singular matrices too."""
    a = matrix_arg("det", a, True)
    n = a.shape[-1]
    return _determinant_of_small(a) if n <= 3 else _det(a)


def _det(a: Any) -> Any:
    return det_p.bind(a, *lu_p.bind(stop_gradient(a)))[0]


def _determinant_of_small(a: Any) -> Any:
    n = a.shape[-1]
    if n == 0:
        return full(a.shape[:-2], a.dtype.type(1))

    def at(i: int, j: int) -> Any:
        return reshape(block(a, slice(i, i + 1), slice(j, j + 1)), a.shape[:-2])

    def minor(j: int, k: int) -> Any:
        return sub(mul(at(n - 2, j), at(n - 1, k)), mul(at(n - 2, k), at(n - 1, j)))

    if n == 1:
        return at(0, 0)
    if n == 2:
        return minor(0, 1)
    return add(sub(mul(at(0, 0), minor(1, 2)), mul(at(0, 1), minor(0, 2))), mul(at(0, 2), minor(0, 1)))


# ---------------------------------------------------------------- sign and logarithm


def slogdet_shape(a: ShapedArray, factors: ShapedArray, pivots: ShapedArray, permutation: ShapedArray) -> tuple:
    square_shape(a)
    narrow = np.dtype(f"float{4 * a.dtype.itemsize}") if a.dtype.kind == "c" else a.dtype
    return shaped_array(a.shape[:-2], a.dtype), shaped_array(a.shape[:-2], narrow)


@computed_by_lapack
def slogdet_impl(xp: Any, a: Any, factors: Any, pivots: Any, permutation: Any) -> tuple:
    d = xp.diagonal(factors, axis1=-2, axis2=-1)
    size = xp.abs(d)
    unit = xp.where(size == 0, 0, d / xp.where(size == 0, 1, size))
    return xp.asarray(xp.prod(unit, -1) * _parity(xp, pivots), a.dtype), xp.sum(xp.log(size), -1)


def _parity(xp: Any, pivots: Any) -> Any:
    """1 or -1: whether the rows were exchanged an even or an odd number of times."""
    return 1 - 2 * (xp.sum(pivots != xp.arange(pivots.shape[-1]), -1) % 2)


def slogdet_jvp(primals: tuple, tangents: tuple) -> tuple:
    """d log det = trace(A^-1 dA): its real part belongs to the magnitude, its imaginary part to the phase."""
    a, factors, pivots, permutation = primals
    sign, logarithm = slogdet_p.bind(*primals)
    if type(tangents[0]) is Zero:
        return (sign, logarithm), (Zero(sign.aval), Zero(logarithm.aval))
    ratio = solve_factored(a, factors, permutation, tangents[0])
    trace = sum_over(diagonal(ratio), (len(a.shape) - 2,))
    if sign.dtype.kind != "c":
        return (sign, logarithm), (Zero(sign.aval), trace)
    return (sign, logarithm), (mul(sign, complex(zeros(logarithm.aval), imag(trace))), real(trace))


slogdet_p = Primitive("slogdet", Kind.OPAQUE, slogdet_shape, slogdet_impl, slogdet_jvp, NOT_LINEAR,
                      stacked(lambda: slogdet_p), code=Native("slogdet"), strong=True)

# ---------------------------------------------------------------- determinant


def _pairing(x: Any, y: Any) -> Any:
    """The sum of the products of the elements, without conjugation."""
    last = len(x.shape) - 1
    return sum_over(mul(x, y), (last - 1, last))


def _times(scalar: Any, x: Any) -> Any:
    return mul(broadcast_to(expand_dims(scalar, (len(x.shape) - 2, len(x.shape) - 1)), x.shape), x)


@computed_by_lapack
def det_impl(xp: Any, a: Any, factors: Any, pivots: Any, permutation: Any) -> Any:
    return xp.asarray(xp.prod(xp.diagonal(factors, axis1=-2, axis2=-1), -1) * _parity(xp, pivots), a.dtype)


def det_jvp(primals: tuple, tangents: tuple) -> tuple:
    out, = det_p.bind(*primals)
    if type(tangents[0]) is Zero:
        return (out,), (Zero(out.aval),)
    return (out,), (_pairing(cofactors_p.bind(primals[0])[0], tangents[0]),)


det_p = Primitive("det", Kind.OPAQUE, lambda a, *rest: shaped_array(square_shape(a).shape[:-2], a.dtype), det_impl, det_jvp,
                  NOT_LINEAR, stacked(lambda: det_p), code=Native("det"), strong=True)


def _without(s: np.ndarray) -> np.ndarray:
    """For each element of vectors, the product of all others."""
    ones = np.ones((*s.shape[:-1], 1), s.dtype)
    before = np.cumprod(np.concatenate([ones, s[..., :-1]], -1), -1)
    after = np.cumprod(np.concatenate([ones, s[..., :0:-1]], -1), -1)[..., ::-1]
    return before * after


def _svd(xp: Any, a: Any) -> tuple:
    """U, s, Vh, and the determinant of U Vh."""
    u, s, vh = xp.linalg.svd(without_infinities(a))
    return u, s, vh, (xp.linalg.det(u) * xp.linalg.det(vh))[..., None, None]


WELL_CONDITIONED = 1e5
"""Up to this condition the cofactors are taken from the inverse, which is many times faster than singular values."""


@numpy_only
@computed_by_lapack
def cofactors_impl(xp: Any, a: Any) -> Any:
    """det(A) A^-T, or with A = U S Vh: det(U Vh) conj(U) diag(products of the other singular values) conj(Vh)."""
    try:
        inverse = xp.linalg.inv(a)
        condition = xp.max(xp.sum(xp.abs(a), -1), -1) * xp.max(xp.sum(xp.abs(inverse), -1), -1)
        if xp.all(condition < WELL_CONDITIONED):
            return xp.linalg.det(a)[..., None, None] * xp.swapaxes(inverse, -1, -2)
        if a.ndim > 2:
            return one_by_one(lambda matrix: (cofactors_impl(xp, matrix),), a)[0]
    except np.linalg.LinAlgError:
        if a.ndim > 2:
            return one_by_one(lambda matrix: (cofactors_impl(xp, matrix),), a)[0]
    try:
        u, s, vh, sign = _svd(xp, a)
    except np.linalg.LinAlgError:
        return xp.full_like(a, np.nan)
    return sign * xp.matmul(xp.conj(u) * _without(s)[..., None, :], xp.conj(vh))


def cofactors_jvp(primals: tuple, tangents: tuple) -> tuple:
    return cofactors_p.bind(*primals), cofactors_tangent_p.bind(*primals, *tangents)


cofactors_p = Primitive("cofactors", Kind.OPAQUE, square_shape, cofactors_impl, cofactors_jvp, NOT_LINEAR,
                        stacked(lambda: cofactors_p), strong=True)


@numpy_only
@computed_by_lapack
def cofactors_tangent_impl(xp: Any, a: Any, t: Any) -> Any:
    """In the bases of U and V the cofactors of S + E are known to first order, from products without two singular values."""
    try:
        u, s, vh, sign = _svd(xp, a)
    except np.linalg.LinAlgError:
        return xp.full_like(a, np.nan)
    n = s.shape[-1]
    e = xp.matmul(xp.conj(xp.swapaxes(u, -1, -2)), xp.matmul(t, xp.conj(xp.swapaxes(vh, -1, -2))))
    ones = xp.where(xp.eye(n, dtype=bool), 1, s[..., None, :])  # row i without s_i
    pairs = _without(ones)  # in row i, column j: without s_i and s_j
    pairs = xp.where(xp.eye(n, dtype=bool), 0, pairs)
    out = -pairs * xp.swapaxes(e, -1, -2)
    middle = xp.matmul(pairs, xp.diagonal(e, axis1=-2, axis2=-1)[..., None])[..., 0]
    out = out + middle[..., None] * xp.eye(n, dtype=s.dtype)
    return sign * xp.matmul(xp.conj(u), xp.matmul(out, xp.conj(vh)))


def cofactors_tangent_jvp(primals: tuple, tangents: tuple) -> tuple:
    """Along a, by Jacobi's formula, with c the cofactors and d the determinant: g = ((c, t) c - c t^T c) / d."""
    a, t = primals
    a_dot, t_dot = tangents
    out, = cofactors_tangent_p.bind(a, t)
    dot = None if type(t_dot) is Zero else cofactors_tangent_p.bind(a, t_dot)[0]
    if type(a_dot) is not Zero:
        c, = cofactors_p.bind(a)
        c_dot, = cofactors_tangent_p.bind(a, a_dot)
        t_c, t_c_dot = product(transposed(t), c), product(transposed(t), c_dot)
        moved = sub(add(_times(_pairing(c_dot, t), c), _times(_pairing(c, t), c_dot)),
                    add(product(c_dot, t_c), product(c, t_c_dot)))
        moved = sub(moved, _times(_pairing(c, a_dot), out))
        d = _det(a)
        moved = div(moved, broadcast_to(expand_dims(d, (len(a.shape) - 2, len(a.shape) - 1)), a.shape))
        dot = moved if dot is None else add(dot, moved)
    return (out,), (Zero(out.aval) if dot is None else dot,)


def cofactors_tangent_transpose(cotangents: tuple, a: Any, t: Any) -> tuple:
    """The second derivative of the determinant is symmetric."""
    assert isinstance(t, Linear)
    return None, cofactors_tangent_p.bind(a, cotangents[0])[0]


cofactors_tangent_p = Primitive("cofactors_tangent", Kind.OPAQUE, lambda a, t: square_shape(t), cofactors_tangent_impl,
                                cofactors_tangent_jvp, cofactors_tangent_transpose, stacked(lambda: cofactors_tangent_p),
                                strong=True)
