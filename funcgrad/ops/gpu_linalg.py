"""Linear algebra by CuPy, that is cuSOLVER and cuBLAS: the factorisations that stay on a GPU.

In: stacks of matrices as buffers of CuPy. Out: factors, in the conventions of the implementations for NumPy; a matrix without
an answer gives NaN. What is not here (general eigenvalues, Schur forms, functions of matrices) goes through the host.
"""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.device import ThroughHost
from funcgrad.ops.matrices import computed_by_lapack

SMALL = 16
"""The largest matrices of a stack that are treated row by row, all at once; larger ones are solved one by one."""


def _one_by_one(xp: Any, function: Callable, *stacks: Any) -> tuple:
    """A function of single matrices, which returns a tuple, along the leading axes of stacks of them."""
    lead = stacks[0].shape[:-2]
    if not lead:
        return function(*stacks)
    if not math.prod(lead):
        raise ThroughHost
    flat = [x.reshape(-1, *x.shape[-2:]) for x in stacks]
    each = [function(*[x[i] for x in flat]) for i in range(math.prod(lead))]
    return tuple([xp.stack(parts).reshape(*lead, *parts[0].shape) for parts in zip(*each, strict=True)])


def _or_nan(xp: Any, function: Callable, x: Any) -> tuple:
    """What cuSOLVER gives, which says only when asked that it has failed, and NaN for those matrices for which it fails."""
    import cupyx
    if not x.size:
        raise ThroughHost
    try:
        with cupyx.errstate(linalg="raise"):
            return function(x)
    except np.linalg.LinAlgError:
        if x.ndim > 2:
            return _one_by_one(xp, lambda matrix: _or_nan(xp, function, matrix), x)
        return tuple([xp.full_like(part, np.nan) for part in function(xp.eye(*x.shape, dtype=x.dtype))])


def _of_finite(xp: Any, function: Callable, x: Any, read: Any) -> tuple:
    """The same, and NaN for matrices with NaN or infinities in what is read of them, on which iterations need not end."""
    if not x.size:
        raise ThroughHost
    good = xp.isfinite(read).all((-2, -1))[..., None, None]
    if bool(good.all()):
        return _or_nan(xp, function, x)
    outs = _or_nan(xp, function, xp.where(good, x, xp.eye(*x.shape[-2:], dtype=x.dtype)))
    return tuple([xp.where(good if out.ndim == x.ndim else good[..., 0], out, out.dtype.type(np.nan)) for out in outs])


@computed_by_lapack
def cholesky(xp: Any, x: Any) -> Any:
    return xp.tril(_or_nan(xp, lambda a: (xp.linalg.cholesky(a),), x)[0])


@computed_by_lapack
def eigh(xp: Any, x: Any, *, lower: bool, vectors: bool) -> tuple:
    triangle = "L" if lower else "U"
    return _of_finite(xp, lambda a: tuple(xp.linalg.eigh(a, triangle)) if vectors else (xp.linalg.eigvalsh(a, triangle),), x,
                      xp.tril(x) if lower else xp.triu(x))


@computed_by_lapack
def svd(xp: Any, x: Any, *, full_matrices: bool, vectors: bool) -> tuple:
    def factors(a: Any) -> tuple:
        if not vectors:
            return (xp.linalg.svd(a, compute_uv=False),)
        u, s, vh = xp.linalg.svd(a, full_matrices)
        return s, u, vh

    return _of_finite(xp, factors, x, x)


@computed_by_lapack
def qr(xp: Any, x: Any, *, pivoting: bool, full_matrices: bool) -> tuple:
    if pivoting or not x.size:
        raise ThroughHost
    return tuple(xp.linalg.qr(x, "complete" if full_matrices else "reduced"))


def lu(eliminated: Callable, permutation: Callable) -> Callable:
    """The factorisation: ``eliminated(xp, stack)`` is that of a stack of small matrices, ``permutation`` that of pivots."""

    @computed_by_lapack
    def impl(xp: Any, x: Any) -> tuple:
        if not x.size:
            raise ThroughHost
        if x.ndim > 2 and max(x.shape[-2:]) <= SMALL:
            out, pivots = eliminated(xp, xp.array(x))
        else:
            import cupyx.scipy.linalg
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of singular matrices, whose solutions are inf or NaN
                out, pivots = _one_by_one(xp, lambda a: tuple(cupyx.scipy.linalg.lu_factor(a, check_finite=False)), x)
        order = permutation(np, pivots.get(), permutation_size=x.shape[-2])
        return out, pivots.astype(np.int32), xp.asarray(order)

    return impl


def triangular_solve(substituted: Callable) -> Callable:
    """The solution: ``substituted(xp, a, b, lower, unit)`` is that of a stack of small systems."""

    @computed_by_lapack
    def impl(xp: Any, a: Any, b: Any, *, lower: bool, transpose_a: bool, unit_diagonal: bool) -> Any:
        if not b.size:
            return xp.empty(b.shape, b.dtype)
        if a.ndim > 2 and a.shape[-1] <= SMALL:
            return substituted(xp, xp.swapaxes(a, -1, -2) if transpose_a else a, b, lower != transpose_a, unit_diagonal)
        import cupyx.scipy.linalg
        return _one_by_one(xp, lambda a, b: (cupyx.scipy.linalg.solve_triangular(
            a, b, trans="T" if transpose_a else "N", lower=lower, unit_diagonal=unit_diagonal, check_finite=False),), a, b)[0]

    return impl


def factored_solve(solved: Callable) -> Callable:
    """The solution by a known LU factorisation: ``solved`` is the one of triangular systems."""

    def impl(xp: Any, a: Any, lu: Any, permutation: Any, b: Any, *, transpose_a: bool) -> Any:
        def solve(b: Any, lower: bool) -> Any:
            return solved(xp, lu, b, lower=lower, transpose_a=transpose_a, unit_diagonal=lower)

        if not transpose_a:
            return solve(solve(xp.take_along_axis(b, permutation[..., None], -2), True), False)
        return xp.take_along_axis(solve(solve(b, False), True), xp.argsort(permutation, -1)[..., None], -2)

    return impl
