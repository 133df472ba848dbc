"""The gamma distribution of shape a, on x >= 0.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.gamma``.
"""
from __future__ import annotations

import math

from funcgrad.scipy.special import gammainc, gammaincc, gammaln, xlogy
from funcgrad.scipy.stats.family import Family, exponential, log_of

_FAMILY = Family(0.0, math.inf, valid=lambda a: a > 0)


@_FAMILY.density
def logpdf(x, a):
    """The logarithm of the density.

    >>> logpdf(2.0, 1.0)
    Array(-2., dtype=float64, weak_type=True)
    """
    return log_density(x, a)


@_FAMILY.cdf
def cdf(x, a):
    """The distribution function."""
    return gammainc(a, x)


@_FAMILY.sf
def sf(x, a):
    """1 - cdf(x, a), accurate where it is small."""
    return gammaincc(a, x)


@_FAMILY.logcdf
def logcdf(x, a):
    """log(cdf(x, a))."""
    return log_of(gammainc(a, x), gammaincc(a, x))


@_FAMILY.logsf
def logsf(x, a):
    """log(sf(x, a))."""
    return log_of(gammaincc(a, x), gammainc(a, x))


def log_density(x, a):
    """The logarithm of the standard density, inside of its support."""
    return xlogy(a - 1, x) - x - gammaln(a)


pdf = exponential(logpdf)
