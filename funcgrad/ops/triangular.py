"""Solutions of triangular and tridiagonal systems, and of systems whose factorisation is known.

In: stacks of matrices and of right-hand sides. Out: stacks of solutions. A singular matrix gives inf or NaN.

    { lambda ; a:f64[3,3] b:f64[3,2]. let c:f64[3,2] = triangular_solve[lower=True transpose_a=False
                                                                       unit_diagonal=False] a b in (c,) }

All of them are linear in the right-hand side, so the tangent of ``A x = b`` is the solution for ``db - dA x``.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import Kind, Linear, Native, Primitive
from funcgrad.core.types import ShapedArray, Zero, shaped_array
from funcgrad.errors import message
from funcgrad.ops import gpu_linalg
from funcgrad.ops.contraction import multiply_adds
from funcgrad.ops.elementwise import add, mul, neg, sub
from funcgrad.ops.matrices import (
    computed_by_lapack,
    conjugate,
    inexact_pair,
    lower,
    matrix_arg,
    one_by_one,
    product,
    stacked,
    transposed,
    upper,
)
from funcgrad.ops.structural import (
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    reshape,
    slice_in_dim,
    zeros,
)

# ---------------------------------------------------------------- user functions


def triangular_solve(a: Any, b: Any, *, left_side: bool = False, lower: bool = False, transpose_a: bool = False,
                     conjugate_a: bool = False, unit_diagonal: bool = False) -> Any:
    """The solution X of ``op(A) X = B``, or of ``X op(A) = B``, for a triangular A; its other triangle is not read.

    Args:
      a: stacks of matrices (..., n, n).
      b: right-hand sides (..., n, k) with the same leading axes; (..., k, n) when A is on the right.
      left_side: whether A stands left of X.
      lower: whether the lower triangle is used, else the upper one.
      transpose_a, conjugate_a: whether op(A) is transposed, and conjugated.
      unit_diagonal: whether the diagonal is taken as ones, without being read.

    Raises ValueError when a is not square, TypeError when the shapes do not fit. A zero on the diagonal gives inf or NaN.

    >>> triangular_solve(fnp.array([[2., 0.], [1., 1.]]), fnp.array([[4.], [3.]]), left_side=True, lower=True)
    Array([[2.],
           [1.]], dtype=float64)
    """
    a, b = inexact_pair("triangular_solve", a, b)
    a, b = matrix_arg("triangular_solve", a, True), matrix_arg("triangular_solve", b)
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2 if left_side else -1]:
        raise TypeError(message("triangular_solve: the shapes do not fit", f"{describe(a)} and {describe(b)}",
                                "equal leading axes, and as many " + ("rows in b" if left_side else "columns in b")
                                + " as in a"))
    if conjugate_a:
        a = conjugate(a)
    if left_side:
        return solve_triangular(a, b, lower, transpose_a, unit_diagonal)
    return transposed(solve_triangular(a, transposed(b), lower, not transpose_a, unit_diagonal))


def solve_triangular(a: Any, b: Any, lower: bool, transpose_a: bool = False, unit_diagonal: bool = False) -> Any:
    """``triangular_solve`` of arrays that fit, with the matrix on the left."""
    return triangular_solve_p.bind(a, b, lower=bool(lower), transpose_a=bool(transpose_a),
                                   unit_diagonal=bool(unit_diagonal))[0]


def solve_factored(a: Any, lu: Any, permutation: Any, b: Any, transpose_a: bool = False) -> Any:
    """The solution of ``A X = B`` (or of the transposed system) by the LU factorisation of a, which has no derivative.

    Derivatives of the solution come from a and b alone, by solutions with the same factorisation.
    """
    return factored_solve_p.bind(a, lu, permutation, b, transpose_a=transpose_a)[0]


def tridiagonal_solve(dl: Any, d: Any, du: Any, b: Any, *, perturb_singular: bool = False) -> Any:
    """The solution X of ``A X = B`` for a tridiagonal A.

    Args:
      dl, d, du: the diagonal below the main one (its first element is not read), the main one, the one above (its last
        element is not read); each of shape (..., n).
      b: right-hand sides (..., n, k).
      perturb_singular: accepted for compatibility; it must be False.

    Raises ValueError when the shapes do not fit.

    >>> one = fnp.ones(3)
    >>> tridiagonal_solve(one, 3 * one, one, fnp.array([[4.], [5.], [4.]]))[:, 0]
    Array([1., 1., 1.], dtype=float64)
    """
    if perturb_singular:
        raise NotImplementedError("tridiagonal_solve: perturb_singular is not supported; leave it out")
    b, d = inexact_pair("tridiagonal_solve", matrix_arg("tridiagonal_solve", b), d)
    dl, du = (inexact_pair("tridiagonal_solve", x, b)[0] for x in (dl, du))
    if not dl.shape == d.shape == du.shape == b.shape[:-1]:
        raise ValueError(message("tridiagonal_solve: the shapes do not fit",
                                 ", ".join(describe(x) for x in (dl, d, du, b)), "three of (..., n) and b of (..., n, k)"))
    return tridiagonal_solve_p.bind(dl, d, du, b)[0]


# ---------------------------------------------------------------- shape and batch


def _systems_shape(a: ShapedArray, *rest: ShapedArray, **params: Any) -> ShapedArray:
    b = rest[-1]
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or b.shape[:-1] != a.shape[:-1] or a.dtype != b.dtype:
        raise TypeError(f"linear systems take (..., n, n) and (..., n, k) of one dtype, not {a} and {b}")
    return b


def _systems_batch(primitive: Callable[[], Primitive]) -> Callable:
    """Where only the right-hand side is mapped, it gets more columns: the matrices are not repeated."""
    together = stacked(primitive)

    def batch(axis: Any, args: tuple, axes: tuple, **params: Any) -> tuple:
        *matrices, b = args
        if any(d is not None for d in axes[:-1]):
            return together(axis, args, axes, **params)
        b = moveaxis(b, axes[-1], len(b.shape) - 1)
        k, n = b.shape[-2:]
        out, = primitive().bind(*matrices, reshape(b, (*b.shape[:-2], k * n)), **params)
        return (reshape(out, b.shape),), (len(b.shape) - 1,)

    return batch


# ---------------------------------------------------------------- triangular


def _substituted(xp: Any, a: Any, b: Any, low: bool, unit: bool) -> Any:
    """Row after row, for all systems of a stack at once."""
    n, x = a.shape[-1], xp.array(b)
    for i in range(n) if low else range(n - 1, -1, -1):
        known = slice(0, i) if low else slice(i + 1, n)
        row = x[..., i:i + 1, :] - xp.matmul(a[..., i:i + 1, known], x[..., known, :])
        x[..., i:i + 1, :] = row if unit else row / a[..., i:i + 1, i:i + 1]
    return x


SMALL = 16
"""The largest matrices that are treated row by row, all of a stack at once, when there are many of them."""


@computed_by_lapack
def triangular_solve_impl(xp: Any, a: Any, b: Any, *, lower: bool, transpose_a: bool, unit_diagonal: bool) -> Any:
    if not b.size:
        return xp.empty(b.shape, b.dtype)
    if a.ndim > 2 and a.shape[-1] <= SMALL:
        return _substituted(xp, xp.swapaxes(a, -1, -2) if transpose_a else a, b, lower != transpose_a, unit_diagonal)
    from scipy.linalg.blas import get_blas_funcs
    trsm = get_blas_funcs("trsm", (a, b))

    def solve(a: Any, b: Any) -> tuple:
        # Row-major matrices are transposed ones to BLAS: it solves X' op(A)' = B', and copies nothing but the result.
        return (trsm(1.0, a.T, b.T, side=1, lower=not lower, trans_a=transpose_a, diag=unit_diagonal).T,)

    return one_by_one(solve, a, b)[0]


def triangular_solve_jvp(primals: tuple, tangents: tuple, *, lower: bool, transpose_a: bool, unit_diagonal: bool) -> tuple:
    a, b = primals
    out = solve_triangular(a, b, lower, transpose_a, unit_diagonal)
    a_dot, right = tangents
    if type(a_dot) is not Zero:
        a_dot = _triangle(a_dot, lower, unit_diagonal)
        moved = product(transposed(a_dot) if transpose_a else a_dot, out)
        right = neg(moved) if type(right) is Zero else sub(right, moved)
    return (out,), (solve_triangular(a, right, lower, transpose_a, unit_diagonal),)


def _triangle(x: Any, low: bool, without_diagonal: bool) -> Any:
    return lower(x, -1 if without_diagonal else 0) if low else upper(x, 1 if without_diagonal else 0)


def triangular_solve_transpose(cotangents: tuple, a: Any, b: Any, *, lower: bool, transpose_a: bool,
                               unit_diagonal: bool) -> tuple:
    assert isinstance(b, Linear)
    return None, solve_triangular(a, cotangents[0], lower, not transpose_a, unit_diagonal)


_triangular_on_gpu = gpu_linalg.triangular_solve(_substituted)
triangular_solve_p = Primitive(
    "triangular_solve", Kind.OPAQUE, _systems_shape, triangular_solve_impl, triangular_solve_jvp,
    triangular_solve_transpose, _systems_batch(lambda: triangular_solve_p), code=Native("triangular_solve"), cuda=_triangular_on_gpu,
    flops=lambda ins, outs, **_: multiply_adds(ins[0].shape[-1] * ins[1].size / 2, ins[1].dtype))

# ---------------------------------------------------------------- by a known LU factorisation


def factored_solve_impl(xp: Any, a: Any, lu: Any, permutation: Any, b: Any, *, transpose_a: bool) -> Any:
    def solve(b: Any, lower: bool) -> Any:
        return triangular_solve_impl(xp, lu, b, lower=lower, transpose_a=transpose_a, unit_diagonal=lower)

    if not transpose_a:
        return solve(solve(xp.take_along_axis(b, permutation[..., None], -2), True), False)
    out = xp.empty_like(b)
    xp.put_along_axis(out, permutation[..., None], solve(solve(b, False), True), -2)
    return out


def factored_solve_jvp(primals: tuple, tangents: tuple, *, transpose_a: bool) -> tuple:
    a, lu, permutation, b = primals
    a_dot, _, _, right = tangents
    out = solve_factored(a, lu, permutation, b, transpose_a)
    if type(a_dot) is not Zero:
        moved = product(transposed(a_dot) if transpose_a else a_dot, out)
        right = neg(moved) if type(right) is Zero else sub(right, moved)
    dot = Zero(out.aval) if type(right) is Zero else solve_factored(a, lu, permutation, right, transpose_a)
    return (out,), (dot,)


def factored_solve_transpose(cotangents: tuple, a: Any, lu: Any, permutation: Any, b: Any, *, transpose_a: bool) -> tuple:
    assert isinstance(b, Linear)
    return None, None, None, solve_factored(a, lu, permutation, cotangents[0], not transpose_a)


factored_solve_p = Primitive(
    "factored_solve", Kind.OPAQUE, _systems_shape, factored_solve_impl, factored_solve_jvp, factored_solve_transpose,
    _systems_batch(lambda: factored_solve_p), code=Native("factored_solve"),
    cuda=gpu_linalg.factored_solve(_triangular_on_gpu),
    flops=lambda ins, outs, **_: multiply_adds(ins[0].shape[-1] * ins[3].size, ins[3].dtype))

# ---------------------------------------------------------------- tridiagonal


def tridiagonal_solve_shape(dl: ShapedArray, d: ShapedArray, du: ShapedArray, b: ShapedArray) -> ShapedArray:
    if not dl.shape == d.shape == du.shape == b.shape[:-1]:
        raise TypeError(f"tridiagonal_solve takes three (..., n) and a (..., n, k), not {dl}, {d}, {du} and {b}")
    return b


@numpy_only
@computed_by_lapack
def tridiagonal_solve_impl(xp: Any, dl: Any, d: Any, du: Any, b: Any) -> Any:
    if not b.size:
        return xp.empty(b.shape, b.dtype)
    if b.shape[-2] == 1:
        return b / d[..., None]
    from scipy.linalg.lapack import get_lapack_funcs
    gtsv = get_lapack_funcs("gtsv", (d, b))

    def solve(dl: Any, d: Any, du: Any, b: Any) -> tuple:
        *_, x, info = gtsv(dl[0, 1:], d[0], du[0, :-1], b)
        return (np.full(b.shape, np.nan, b.dtype) if info else x,)

    return one_by_one(solve, dl[..., None, :], d[..., None, :], du[..., None, :], b)[0]


def tridiagonal_product(dl: Any, d: Any, du: Any, x: Any) -> Any:
    """A tridiagonal matrix times x; a diagonal is a vector or a symbolic zero."""
    axis, total = len(x.shape) - 2, None
    n = x.shape[-2]
    border = zeros(shaped_array((*x.shape[:-2], 1, x.shape[-1]), x.dtype))
    before = concatenate([border, slice_in_dim(x, 0, n - 1, axis=axis)], axis)
    after = concatenate([slice_in_dim(x, 1, n, axis=axis), border], axis)
    for v, rows in ((dl, before), (d, x), (du, after)):
        if type(v) is not Zero:
            term = mul(broadcast_to(expand_dims(v, (len(v.shape),)), x.shape), rows)
            total = term if total is None else add(total, term)
    return total


def tridiagonal_solve_jvp(primals: tuple, tangents: tuple) -> tuple:
    *diagonals, b = primals
    *dots, right = tangents
    out, = tridiagonal_solve_p.bind(*diagonals, b)
    if any(type(t) is not Zero for t in dots) and b.shape[-2]:
        moved = tridiagonal_product(*dots, out)
        right = neg(moved) if type(right) is Zero else sub(right, moved)
    dot = Zero(out.aval) if type(right) is Zero else tridiagonal_solve_p.bind(*diagonals, right)[0]
    return (out,), (dot,)


def tridiagonal_solve_transpose(cotangents: tuple, dl: Any, d: Any, du: Any, b: Any) -> tuple:
    """The transposed matrix has the diagonals exchanged, each moved by one place."""
    assert isinstance(b, Linear)
    axis, n = len(d.shape) - 1, d.shape[-1]
    if n == 0:
        return None, None, None, cotangents[0]
    border = zeros(shaped_array((*d.shape[:-1], 1), d.dtype))
    below = concatenate([border, slice_in_dim(du, 0, n - 1, axis=axis)], axis)
    above = concatenate([slice_in_dim(dl, 1, n, axis=axis), border], axis)
    return None, None, None, tridiagonal_solve_p.bind(below, d, above, cotangents[0])[0]


tridiagonal_solve_p = Primitive(
    "tridiagonal_solve", Kind.OPAQUE, tridiagonal_solve_shape, tridiagonal_solve_impl, tridiagonal_solve_jvp,
    tridiagonal_solve_transpose, _systems_batch(lambda: tridiagonal_solve_p))
