"""The left-skewed Gumbel distribution, that of the smallest of many numbers.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.gumbel_l``.
"""
from __future__ import annotations

import funcgrad.numpy as fnp
from funcgrad.scipy.stats.family import Family, exponential, log_one_less_exp

_FAMILY = Family()


@_FAMILY.density
def logpdf(x):
    """The logarithm of the density.

    >>> logpdf(0.0)
    Array(-1., dtype=float64, weak_type=True)
    """
    return x - fnp.exp(x)


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    return -fnp.expm1(-fnp.exp(x))


@_FAMILY.sf
def sf(x):
    """1 - cdf(x), accurate where it is small."""
    return fnp.exp(-fnp.exp(x))


@_FAMILY.logcdf
def logcdf(x):
    """log(cdf(x))."""
    return log_one_less_exp(fnp.exp(x))


@_FAMILY.logsf
def logsf(x):
    """log(sf(x))."""
    return -fnp.exp(x)


@_FAMILY.quantile
def ppf(p):
    """The inverse of ``cdf``."""
    return fnp.log(-fnp.log1p(-p))


pdf = exponential(logpdf)
