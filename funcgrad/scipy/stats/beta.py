"""The beta distribution of shapes a and b, on 0 <= x <= 1.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.beta``.
"""
from __future__ import annotations

from funcgrad.scipy.special import betainc, betaln, xlog1py, xlogy
from funcgrad.scipy.stats.family import Family, exponential, log_of

_FAMILY = Family(0.0, 1.0, valid=lambda a, b: (a > 0) & (b > 0))


@_FAMILY.density
def logpdf(x, a, b):
    """The logarithm of the density.

    >>> logpdf(0.5, 1.0, 1.0)
    Array(0., dtype=float64, weak_type=True)
    """
    return xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b)


@_FAMILY.cdf
def cdf(x, a, b):
    """The distribution function."""
    return betainc(a, b, x)


@_FAMILY.sf
def sf(x, a, b):
    """1 - cdf(x, a, b), accurate where it is small."""
    return betainc(b, a, 1 - x)


@_FAMILY.logcdf
def logcdf(x, a, b):
    """log(cdf(x, a, b))."""
    return log_of(betainc(a, b, x), betainc(b, a, 1 - x))


@_FAMILY.logsf
def logsf(x, a, b):
    """log(sf(x, a, b))."""
    return log_of(betainc(b, a, 1 - x), betainc(a, b, x))


pdf = exponential(logpdf)
