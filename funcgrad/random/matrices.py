"""Multivariate normal vectors and random orthogonal matrices.

In: a key, a mean and a covariance, or sizes. Out: vectors or matrices in the last axes.

    >>> import numpy as np
    >>> from funcgrad import random
    >>> random.multivariate_normal(random.key(0), np.zeros(2), np.eye(2), (5,)).shape
    (5, 2)
"""
from __future__ import annotations

import operator
from typing import Any

from funcgrad.core.array import Array, describe
from funcgrad.errors import message
from funcgrad.ops.contraction import batch_matmul, dot_general
from funcgrad.ops.elementwise import add
from funcgrad.ops.promotion import broadcast_shape, check_arg
from funcgrad.ops.random_matrices import covariance_factor, orthogonal_factor
from funcgrad.ops.structural import broadcast_to, expand_dims, reshape, transpose
from funcgrad.random.keys import checked_key, checked_shape, float_dtype
from funcgrad.random.transformed import arguments
from funcgrad.random.uniform import as_parameter, real_normal


def multivariate_normal(key: Any, mean: Any, cov: Any, shape: Any = None, dtype: Any = None,
                        method: str = "cholesky") -> Array:
    """Normal vectors with this mean and covariance; derivatives flow through the mean.

    Args:
      key: a key.
      mean: vectors of size n along the last axis.
      cov: symmetric matrices of shape (n, n) in the last two axes.
      shape: the shape of the result without its last axis; by default the common one of mean and cov.
      dtype: a real floating point dtype; float64 by default.
      method: how the square root of cov is taken, "cholesky", "eigh" or "svd"; the first needs a positive definite
        cov (else the result is NaN), the others take a semidefinite one.

    Raises ValueError when the shapes do not fit, or for another method.
    """
    key, dtype = checked_key("multivariate_normal", key), float_dtype("multivariate_normal", dtype)
    if method not in ("cholesky", "eigh", "svd"):
        raise ValueError(message("random.multivariate_normal: there is no such method", repr(method),
                                 "'cholesky', 'eigh' or 'svd'"))
    a, c = check_arg("random.multivariate_normal", mean, 1), check_arg("random.multivariate_normal", cov, 2)
    if not a.shape or c.shape[-2:] != a.shape[-1:] * 2:
        raise ValueError(message("random.multivariate_normal: mean and covariance do not fit",
                                 f"mean is {describe(mean)}, cov is {describe(cov)}",
                                 "mean (..., n) and cov (..., n, n)"))
    n, batch = a.shape[-1], broadcast_shape("random.multivariate_normal", a.shape[:-1], c.shape[:-2])
    shape = batch if shape is None else checked_shape("multivariate_normal", shape)
    if broadcast_shape("random.multivariate_normal", shape, batch) != shape:
        raise ValueError(message("random.multivariate_normal: the shape does not hold mean and covariance",
                                 f"shape {shape} for a batch of shape {batch}",
                                 "a shape that ends in that of the batch"))
    factor = covariance_factor(as_parameter(cov, dtype), method)
    noise = real_normal(key, (*shape, n), dtype)
    if len(c.shape) == 2:
        scaled = dot_general(noise, factor, (((len(shape),), (1,)), ((), ())))
    else:
        factor = broadcast_to(factor, (*shape, n, n))
        scaled = reshape(batch_matmul(factor, expand_dims(noise, (len(shape) + 1,))), (*shape, n))
    return add(broadcast_to(as_parameter(mean, dtype), (*shape, n)), scaled)


def orthogonal(key: Any, n: int, shape: Any = (), dtype: Any = None, m: int | None = None) -> Array:
    """Orthogonal n by n matrices, or n by m ones with orthonormal rows or columns, evenly distributed.

    Raises TypeError when n or m is not an integer, ValueError for a dtype that is not real floating point.
    """
    key, shape, dtype = arguments("orthogonal", key, shape, dtype)
    n = operator.index(n)
    m = n if m is None else operator.index(m)
    q = orthogonal_factor(real_normal(key, (*shape, max(n, m), min(n, m)), dtype))
    axes = range(len(shape))
    return transpose(q, (*axes, len(shape) + 1, len(shape))) if n < m else q
