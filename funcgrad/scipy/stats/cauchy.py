"""The Cauchy distribution.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.cauchy``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family()


@_FAMILY.density
def logpdf(x):
    """The logarithm of the density.

    >>> logpdf(0.0)
    Array(-1.14472989, dtype=float64, weak_type=True)
    """
    return -math.log(math.pi) - fnp.log1p(x * x)


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    return fnp.arctan2(1.0, -x) / math.pi


@_FAMILY.sf
def sf(x):
    """1 - cdf(x), accurate where it is small."""
    return fnp.arctan2(1.0, x) / math.pi


@_FAMILY.logcdf
def logcdf(x):
    """log(cdf(x))."""
    return fnp.log(fnp.arctan2(1.0, -x) / math.pi)


@_FAMILY.logsf
def logsf(x):
    """log(sf(x))."""
    return fnp.log(fnp.arctan2(1.0, x) / math.pi)


@_FAMILY.quantile
def ppf(q):
    """The inverse of ``cdf``."""
    return _quantile(q)


@_FAMILY.quantile
def isf(q):
    """The inverse of ``sf``."""
    return -_quantile(q)


def _quantile(q):
    """tan(pi (q - 1/2)), from the nearer end in the tails."""
    tail = (q < 0.25) | (q > 0.75)
    end = fnp.where(tail, fnp.minimum(q, 1 - q), 0.25)
    far = fnp.where(q < 0.5, -1.0, 1.0) / fnp.tan(math.pi * end)
    return fnp.where(tail, far, fnp.tan(math.pi * (fnp.where(tail, 0.5, q) - 0.5)))


pdf = exponential(logpdf)
