"""The normal distribution.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.norm``.
"""
from __future__ import annotations

from funcgrad.scipy.special import log_ndtr, ndtr, ndtri
from funcgrad.scipy.special.normal import log_density
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family()


@_FAMILY.density
def logpdf(x):
    """The logarithm of the density.

    >>> logpdf(0.0)
    Array(-0.91893853, dtype=float64, weak_type=True)
    """
    return log_density(x)


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    return ndtr(x)


@_FAMILY.sf
def sf(x):
    """1 - cdf(x), accurate where it is small."""
    return ndtr(-x)


@_FAMILY.logcdf
def logcdf(x):
    """log(cdf(x)), accurate far to the left."""
    return log_ndtr(x)


@_FAMILY.logsf
def logsf(x):
    """log(sf(x)), accurate far to the right."""
    return log_ndtr(-x)


@_FAMILY.quantile
def ppf(q):
    """The inverse of ``cdf``."""
    return ndtri(q)


@_FAMILY.quantile
def isf(q):
    """The inverse of ``sf``."""
    return -ndtri(q)


pdf = exponential(logpdf)
