"""The Dirichlet distribution of concentrations alpha, of vectors of positive numbers that sum to 1.

In: arrays and numbers. Out: arrays. Names and signatures are those of ``jax.scipy.stats.dirichlet``.
"""
from __future__ import annotations

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.types import result_type
from funcgrad.scipy.special import gammaln, xlogy
from funcgrad.scipy.stats.family import exponential


def logpdf(x, alpha):
    """The logarithm of the density, of shape x.shape[1:]: the parts of a vector lie along the first axis of x.

    alpha is a vector of n numbers; x has n parts, or the n - 1 first of them. -inf where the parts are not positive or do not
    sum to 1. Raises ValueError for other shapes.

    >>> logpdf(fnp.array([0.5, 0.5]), fnp.array([1.0, 1.0]))
    Array(0., dtype=float64)
    """
    dtype = dtypes.inexact_dtype(result_type(x, alpha))
    x, alpha = fnp.asarray(x, dtype), fnp.asarray(alpha, dtype)
    if alpha.ndim != 1 or x.ndim < 1 or x.shape[0] not in (alpha.shape[0], alpha.shape[0] - 1):
        raise ValueError(message("dirichlet.logpdf: the number of parts differs from that of the concentrations",
                                 f"{describe(x)} and {describe(alpha)}",
                                 "n or n - 1 parts along the first axis of x, n concentrations"))
    if x.shape[0] != alpha.shape[0]:
        x = fnp.concatenate([x, 1 - fnp.sum(x, axis=0, keepdims=True)])
    inside = fnp.all(x > 0, axis=0) & (fnp.abs(fnp.sum(x, axis=0) - 1) < 1e-6)
    safe = fnp.where(inside, x, 1 / alpha.shape[0])
    powers = fnp.sum(xlogy(alpha.reshape((-1,) + (1,) * (x.ndim - 1)) - 1, safe), axis=0)
    return fnp.where(inside, powers + gammaln(fnp.sum(alpha)) - fnp.sum(gammaln(alpha)), -np.inf)


pdf = exponential(logpdf)
