"""The normal distribution of vectors, with a mean and a covariance matrix.

In: arrays and numbers. Out: arrays. Names and signatures are those of ``jax.scipy.stats.multivariate_normal``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.linalg import cholesky
from funcgrad.numpy.types import result_type
from funcgrad.scipy.linalg import solve_triangular
from funcgrad.scipy.stats.family import exponential


def logpdf(x, mean, cov, allow_singular=None):
    """The logarithm of the density at the vectors along the last axis of x.

    mean is a vector or a number, cov a matrix, or a number for independent components; leading axes are broadcast. NaN where
    cov is not positive definite. Raises NotImplementedError if ``allow_singular`` is given, ValueError for shapes that do not
    fit.

    >>> float(logpdf(fnp.zeros(2), fnp.zeros(2), fnp.eye(2)))
    -1.8378770664093453
    """
    if allow_singular is not None:
        raise NotImplementedError(message("multivariate_normal.logpdf: singular covariances are not supported",
                                          f"allow_singular={allow_singular!r}", "allow_singular=None"))
    dtype = dtypes.inexact_dtype(result_type(x, mean, cov))
    x, mean, cov = (fnp.asarray(v, dtype) for v in (x, mean, cov))
    if mean.ndim == 0:
        difference = x - mean if x.ndim else (x - mean)[None]
    else:
        difference = x - mean
    n = difference.shape[-1]
    if cov.ndim == 0:
        squares = fnp.sum(difference * difference, axis=-1) / cov
        return -0.5 * (squares + n * fnp.log(2 * math.pi * cov))
    if cov.ndim < 2 or cov.shape[-2:] != (n, n):
        raise ValueError(message("multivariate_normal.logpdf: the covariance does not fit the vectors",
                                 f"{describe(cov)} for vectors of size {n}", f"a covariance of shape (..., {n}, {n})"))
    shape = fnp.broadcast_shapes(difference.shape[:-1], cov.shape[:-2])
    factor = fnp.broadcast_to(cholesky(cov), (*shape, n, n))
    columns = fnp.broadcast_to(difference, (*shape, n))[..., None]
    squares = fnp.sum(solve_triangular(factor, columns, lower=True) ** 2, axis=(-2, -1))
    logarithms = fnp.sum(fnp.log(fnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
    return -0.5 * (squares + n * math.log(2 * math.pi)) - logarithms


pdf = exponential(logpdf)
