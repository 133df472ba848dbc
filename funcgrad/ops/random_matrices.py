"""Matrix factors for random draws: a square root of a covariance, and an orthogonal matrix from a Gaussian one.

In: stacks of matrices in the last two axes. Out: stacks of matrices. No derivative passes through a factor.

    { lambda ; a:f64[3,3]. let b:f64[3,3] = covariance_factor[method=cholesky] a in (b,) }
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import NOT_LINEAR, Kind, No, Primitive
from funcgrad.core.types import ShapedArray
from funcgrad.ops.structural import moveaxis

# ---------------------------------------------------------------- user functions


def covariance_factor(covariance: Any, method: str) -> Any:
    """A matrix F with F @ F.T = covariance, by "cholesky" (lower triangular), "eigh" or "svd".

    A matrix that is not positive definite gives NaN with "cholesky".
    """
    return covariance_factor_p.bind(covariance, method=method)[0]


def orthogonal_factor(x: Any) -> Any:
    """The orthonormal columns Q of x = Q R, with R's diagonal positive: even over all Q for Gaussian x."""
    return orthogonal_factor_p.bind(x)[0]


# ---------------------------------------------------------------- rules


def _in_double_or_single(impl: Callable) -> Callable:
    """LAPACK knows float32 and float64; narrower dtypes are computed in float32."""

    def computed(xp: Any, x: Any, **params: Any) -> Any:
        wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
        return impl(xp, wide, **params).astype(x.dtype)

    return functools.wraps(impl)(computed)


@numpy_only
def covariance_factor_impl(xp: Any, x: Any, *, method: str) -> Any:
    if method == "svd":
        u, values, _ = xp.linalg.svd(x)
        return u * xp.sqrt(values)[..., None, :]
    x = (x + xp.swapaxes(x, -1, -2)) / 2
    if method == "eigh":
        values, vectors = xp.linalg.eigh(x)
        with np.errstate(invalid="ignore"):
            return vectors * xp.sqrt(values)[..., None, :]
    try:
        return xp.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        if x.ndim == 2:
            return xp.full_like(x, np.nan)
        rows = [covariance_factor_impl(xp, matrix, method=method) for matrix in x.reshape(-1, *x.shape[-2:])]
        return xp.stack(rows).reshape(x.shape)


def orthogonal_factor_impl(xp: Any, x: Any) -> Any:
    q, r = xp.linalg.qr(x)
    return q * xp.sign(xp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]


def _matrix_shape(x: ShapedArray, **params: Any) -> ShapedArray:
    if x.ndim < 2 or x.shape[-2] < x.shape[-1]:
        raise TypeError(f"matrix factors need matrices with at least as many rows as columns, not {x}")
    return x


def _matrix_factor(name: str, impl: Callable, reason: str) -> Primitive:
    def batch(axis: Any, args: tuple, axes: tuple, **params: Any) -> tuple:
        return primitive.bind(moveaxis(args[0], axes[0], 0), **params), (0,)

    primitive = Primitive(name, Kind.OPAQUE, _matrix_shape, _in_double_or_single(impl), No(reason), NOT_LINEAR, batch)
    return primitive


covariance_factor_p = _matrix_factor("covariance_factor", covariance_factor_impl,
                                     "multivariate_normal is not differentiable in its covariance; use mean + F @ z")
orthogonal_factor_p = _matrix_factor("orthogonal_factor", orthogonal_factor_impl,
                                     "its argument is a random draw, on which nothing differentiable depends")
