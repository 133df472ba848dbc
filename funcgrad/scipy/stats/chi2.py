"""The chi-squared distribution of df degrees of freedom: twice a gamma variable of shape df / 2.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.chi2``.
"""
from __future__ import annotations

import math

from funcgrad.scipy.special import gammainc, gammaincc
from funcgrad.scipy.stats.family import Family, exponential, log_of
from funcgrad.scipy.stats.gamma import log_density

_FAMILY = Family(0.0, math.inf, valid=lambda df: df > 0)


@_FAMILY.density
def logpdf(x, df):
    """The logarithm of the density.

    >>> logpdf(2.0, 2.0)
    Array(-1.69314718, dtype=float64, weak_type=True)
    """
    return log_density(0.5 * x, 0.5 * df) - math.log(2)


@_FAMILY.cdf
def cdf(x, df):
    """The distribution function."""
    return gammainc(0.5 * df, 0.5 * x)


@_FAMILY.sf
def sf(x, df):
    """1 - cdf(x, df), accurate where it is small."""
    return gammaincc(0.5 * df, 0.5 * x)


@_FAMILY.logcdf
def logcdf(x, df):
    """log(cdf(x, df))."""
    return log_of(gammainc(0.5 * df, 0.5 * x), gammaincc(0.5 * df, 0.5 * x))


@_FAMILY.logsf
def logsf(x, df):
    """log(sf(x, df))."""
    return log_of(gammaincc(0.5 * df, 0.5 * x), gammainc(0.5 * df, 0.5 * x))


pdf = exponential(logpdf)
