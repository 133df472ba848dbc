"""Functions of matrices whose derivatives need no gap between eigenvalues: exponential, square root, pseudoinverse.

In and out: stacks of matrices. The derivative of the exponential is a block of the exponential of a larger matrix, that of
the square root solves a Sylvester equation, that of the pseudoinverse is a formula of its own.

    { lambda ; a:f64[3,3]. let b:f64[3,3] = expm a in (b,) }

Higham, "Functions of Matrices", 2008; Golub and Pereyra, "The differentiation of pseudo-inverses", 1973.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from funcgrad.core.array import aval_of
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import NOT_LINEAR, Kind, Linear, Primitive
from funcgrad.core.types import ShapedArray, Zero, shaped_array
from funcgrad.ops.determinants import solve
from funcgrad.ops.elementwise import add, sub
from funcgrad.ops.factorizations import square_shape
from funcgrad.ops.matrices import (
    adjoint,
    block,
    computed_by_lapack,
    one_by_one,
    product,
    stacked,
    transposed,
    without_infinities,
)
from funcgrad.ops.structural import concatenate, zeros


def expm(a: Any) -> Any:
    """The exponentials of square matrices."""
    return expm_p.bind(a)[0]


def expm_frechet(a: Any, e: Any) -> Any:
    """The derivative of the exponential at a in the direction e."""
    return expm_frechet_p.bind(a, e)[0]


def sqrtm(a: Any) -> Any:
    """The principal square roots of complex square matrices."""
    return sqrtm_p.bind(a)[0]


def polar(a: Any) -> tuple[Any, Any]:
    """The factors of ``a = u @ h``: u with orthonormal columns (rows, if a is wide), h Hermitian positive semidefinite."""
    if a.shape[-2] >= a.shape[-1]:
        return polar_p.bind(a)
    u = adjoint(polar_p.bind(adjoint(a))[0])
    return u, product(adjoint(u), a)


def solve_sylvester(a: Any, b: Any, c: Any) -> Any:
    """The solutions X of ``A X + X B = C``; NaN where there is none."""
    return sylvester_p.bind(a, b, c)[0]


def pinv(a: Any, rtol: Any, hermitian: bool = False) -> Any:
    """The pseudoinverses; singular values up to rtol (one for each matrix) times the largest count as zero."""
    return pinv_p.bind(a, rtol, hermitian=hermitian)[0]


# ---------------------------------------------------------------- exponential


def _finite(function: Any, *matrices: Any) -> tuple:
    """What SciPy gives, which refuses NaN, and warns where the result says it by itself."""
    if not all(np.isfinite(m).all() for m in matrices):
        return (np.full_like(matrices[-1], np.nan),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (function(*matrices),)


@numpy_only
@computed_by_lapack
def expm_impl(xp: Any, a: Any) -> Any:
    if not a.size:
        return xp.array(a)
    import scipy.linalg
    return one_by_one(lambda m: _finite(scipy.linalg.expm, m), a)[0].astype(a.dtype, copy=False)


def expm_jvp(primals: tuple, tangents: tuple) -> tuple:
    return expm_p.bind(*primals), expm_frechet_p.bind(*primals, *tangents)


@numpy_only
@computed_by_lapack
def expm_frechet_impl(xp: Any, a: Any, e: Any) -> Any:
    if not a.size:
        return xp.array(a)
    import scipy.linalg
    out = one_by_one(lambda a, e: _finite(lambda a, e: scipy.linalg.expm_frechet(a, e, compute_expm=False), a, e), a, e)[0]
    return out.astype(a.dtype, copy=False)


def _in_blocks(upper_left: Any, upper_right: Any) -> Any:
    """The matrix with a block on and one beside the diagonal: a function of it has its derivative beside the diagonal."""
    last = len(upper_left.shape) - 1
    below = zeros(aval_of(upper_left))
    return concatenate([concatenate([upper_left, upper_right], last), concatenate([below, upper_left], last)], last - 1)


def expm_frechet_jvp(primals: tuple, tangents: tuple) -> tuple:
    """Along e it is linear; along a it is the second derivative, symmetric in both directions: a block of the derivative at
    the matrix of twice the size that has e beside a."""
    a, e = primals
    a_dot, e_dot = tangents
    out, = expm_frechet_p.bind(a, e)
    dot = None if type(e_dot) is Zero else expm_frechet(a, e_dot)
    if type(a_dot) is not Zero:
        n = a.shape[-1]
        wide = expm_frechet(_in_blocks(a, e), _in_blocks(a_dot, zeros(out.aval)))
        moved = block(wide, slice(n), slice(n, None))
        dot = moved if dot is None else add(dot, moved)
    return (out,), (Zero(out.aval) if dot is None else dot,)


def expm_frechet_transpose(cotangents: tuple, a: Any, e: Any) -> tuple:
    assert isinstance(e, Linear)
    return None, expm_frechet(transposed(a), cotangents[0])


expm_p = Primitive("expm", Kind.OPAQUE, square_shape, expm_impl, expm_jvp, NOT_LINEAR, stacked(lambda: expm_p))
expm_frechet_p = Primitive("expm_frechet", Kind.OPAQUE, lambda a, e: square_shape(e), expm_frechet_impl, expm_frechet_jvp,
                           expm_frechet_transpose, stacked(lambda: expm_frechet_p))

# ---------------------------------------------------------------- Sylvester equation, square root


def sylvester_shape(a: ShapedArray, b: ShapedArray, c: ShapedArray) -> ShapedArray:
    if c.shape != (*a.shape[:-1], b.shape[-1]):
        raise TypeError(f"solve_sylvester takes (..., m, m), (..., n, n) and (..., m, n), not {a}, {b} and {c}")
    return c


@numpy_only
@computed_by_lapack
def sylvester_impl(xp: Any, a: Any, b: Any, c: Any) -> Any:
    if not c.size:
        return xp.array(c)
    import scipy.linalg

    def solve(a: Any, b: Any, c: Any) -> tuple:
        try:
            return (scipy.linalg.solve_sylvester(a, b, c).astype(c.dtype),)
        except (np.linalg.LinAlgError, ValueError):
            return (np.full_like(c, np.nan),)

    return one_by_one(solve, a, b, c)[0]


def sylvester_jvp(primals: tuple, tangents: tuple) -> tuple:
    a, b, c = primals
    a_dot, b_dot, right = tangents
    out, = sylvester_p.bind(a, b, c)
    for dot, moved in ((a_dot, lambda: product(a_dot, out)), (b_dot, lambda: product(out, b_dot))):
        if type(dot) is not Zero:
            right = sub(zeros(out.aval) if type(right) is Zero else right, moved())
    return (out,), (Zero(out.aval) if type(right) is Zero else solve_sylvester(a, b, right),)


def sylvester_transpose(cotangents: tuple, a: Any, b: Any, c: Any) -> tuple:
    assert isinstance(c, Linear)
    return None, None, solve_sylvester(transposed(a), transposed(b), cotangents[0])


sylvester_p = Primitive("sylvester", Kind.OPAQUE, sylvester_shape, sylvester_impl, sylvester_jvp, sylvester_transpose,
                        stacked(lambda: sylvester_p))


@numpy_only
@computed_by_lapack
def sqrtm_impl(xp: Any, a: Any) -> Any:
    if not a.size:
        return xp.array(a)
    import scipy.linalg
    return one_by_one(lambda m: _finite(lambda m: np.asarray(scipy.linalg.sqrtm(m)), m), a)[0].astype(a.dtype, copy=False)


def sqrtm_jvp(primals: tuple, tangents: tuple) -> tuple:
    """X dX + dX X = dA."""
    out, = sqrtm_p.bind(*primals)
    return (out,), (solve_sylvester(out, out, tangents[0]),)


sqrtm_p = Primitive("sqrtm", Kind.OPAQUE, square_shape, sqrtm_impl, sqrtm_jvp, NOT_LINEAR, stacked(lambda: sqrtm_p))

# ---------------------------------------------------------------- polar decomposition


def polar_shape(a: ShapedArray) -> tuple:
    if a.ndim < 2 or a.shape[-2] < a.shape[-1]:
        raise TypeError(f"polar takes matrices with at least as many rows as columns, not {a}")
    return a, shaped_array((*a.shape[:-2], a.shape[-1], a.shape[-1]), a.dtype)


@numpy_only
@computed_by_lapack
def polar_impl(xp: Any, a: Any) -> tuple:
    def factors(a: Any) -> tuple:
        try:
            w, s, vh = xp.linalg.svd(without_infinities(a), full_matrices=False)
        except np.linalg.LinAlgError:
            return np.full_like(a, np.nan), np.full_like(a[:a.shape[-1]], np.nan)
        return w @ vh, np.conj(vh.T) * s @ vh

    return one_by_one(factors, a)


def polar_jvp(primals: tuple, tangents: tuple) -> tuple:
    """With K = adj(u) dA: dh = K - W h and du = u W + (what leaves the space) h^-1, where h W + W h = K - adj(K)."""
    u, h = polar_p.bind(*primals)
    t = tangents[0]
    k = product(adjoint(u), t)
    turn = solve_sylvester(h, h, sub(k, adjoint(k)))
    u_dot = product(u, turn)
    if u.shape[-2] > u.shape[-1]:
        outside = sub(t, product(u, k))
        u_dot = add(u_dot, adjoint(solve(h, adjoint(outside))))
    return (u, h), (u_dot, sub(k, product(turn, h)))


polar_p = Primitive("polar", Kind.OPAQUE, polar_shape, polar_impl, polar_jvp, NOT_LINEAR, stacked(lambda: polar_p),
                    strong=True)

# ---------------------------------------------------------------- pseudoinverse


def pinv_shape(a: ShapedArray, rtol: ShapedArray, *, hermitian: bool) -> ShapedArray:
    if rtol.shape != a.shape[:-2]:
        raise TypeError(f"pinv takes a relative tolerance for each matrix, not {rtol} for {a}")
    return shaped_array((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)


@numpy_only
@computed_by_lapack
def pinv_impl(xp: Any, a: Any, rtol: Any, *, hermitian: bool) -> Any:
    if not a.size:
        return xp.empty((*a.shape[:-2], a.shape[-1], a.shape[-2]), a.dtype)
    try:
        return xp.linalg.pinv(without_infinities(a), rcond=rtol, hermitian=hermitian)
    except np.linalg.LinAlgError:
        if a.ndim == 2:
            return xp.full(a.shape[::-1], np.nan, a.dtype)
        return one_by_one(lambda m, r: (pinv_impl(xp, m, r[0, 0], hermitian=hermitian),), a, rtol[..., None, None])[0]


def pinv_jvp(primals: tuple, tangents: tuple, *, hermitian: bool) -> tuple:
    """dP = -P dA P + P adj(P) adj(dA) (I - A P) + (I - P A) adj(dA) adj(P) P; the rank is taken as locally constant."""
    a, rtol = primals
    p, = pinv_p.bind(a, rtol, hermitian=hermitian)
    if type(tangents[0]) is Zero:
        return (p,), (Zero(p.aval),)
    t = tangents[0]
    t_h, p_h = adjoint(t), adjoint(p)
    left = product(product(p, p_h), sub(t_h, product(product(t_h, a), p)))
    right = product(sub(t_h, product(p, product(a, t_h))), product(p_h, p))
    return (p,), (sub(add(left, right), product(product(p, t), p)),)


pinv_p = Primitive("pinv", Kind.OPAQUE, pinv_shape, pinv_impl, pinv_jvp, NOT_LINEAR, stacked(lambda: pinv_p), strong=True)
