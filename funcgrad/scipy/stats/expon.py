"""The exponential distribution, on x >= 0.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.expon``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.stats.family import Family, exponential, log_one_less_exp

_FAMILY = Family(0.0, math.inf)


@_FAMILY.density
def logpdf(x):
    """The logarithm of the density.

    >>> logpdf(2.0)
    Array(-2., dtype=float64, weak_type=True)
    """
    return -x


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    return -fnp.expm1(-x)


@_FAMILY.sf
def sf(x):
    """1 - cdf(x), accurate where it is small."""
    return fnp.exp(-x)


@_FAMILY.logcdf
def logcdf(x):
    """log(cdf(x))."""
    return log_one_less_exp(x)


@_FAMILY.logsf
def logsf(x):
    """log(sf(x))."""
    return -x


@_FAMILY.quantile
def ppf(q):
    """The inverse of ``cdf``."""
    return -fnp.log1p(-q)


pdf = exponential(logpdf)
