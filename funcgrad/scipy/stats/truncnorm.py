"""The normal distribution between a and b, in standard deviations.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.truncnorm``.
"""
from __future__ import annotations

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.scipy.special import log_ndtr, ndtr
from funcgrad.scipy.special.normal import log_density
from funcgrad.scipy.stats.family import Family, exponential, log_one_less_exp

_FAMILY = Family(lambda a, b: a, lambda a, b: b, valid=lambda a, b: a < b)


@_FAMILY.density
def logpdf(x, a, b):
    """The logarithm of the density.

    >>> logpdf(0.0, -1.0, 1.0)
    Array(-0.53722339, dtype=float64, weak_type=True)
    """
    return log_density(x) - _log_mass(a, b)


@_FAMILY.logcdf
def logcdf(x, a, b):
    """log(cdf(x, a, b)), accurate far from 0 too."""
    return _log_mass(a, x) - _log_mass(a, b)


@_FAMILY.logsf
def logsf(x, a, b):
    """log(sf(x, a, b)), accurate far from 0 too."""
    return _log_mass(x, b) - _log_mass(a, b)


def _log_mass(a, b):
    """The logarithm of the probability of a normal number between a and b; both are moved to the left of 0, if they can be."""
    right = a > 0
    low, high = fnp.where(right, -b, a), fnp.where(right, -a, b)
    left = high <= 0
    larger = _log_ndtr(fnp.where(left, high, -1.0))
    smaller = _log_ndtr(fnp.where(left, low, -2.0))
    tail = larger + log_one_less_exp(fnp.where(larger > -np.inf, larger - smaller, 1.0))
    return fnp.where(left, tail, fnp.log1p(-ndtr(fnp.where(left, -1.0, low)) - ndtr(-fnp.where(left, 1.0, high))))


def _log_ndtr(x):
    """log_ndtr, with the derivative 0 at -inf."""
    nothing = x == -np.inf
    return fnp.where(nothing, -np.inf, log_ndtr(fnp.where(nothing, 0.0, x)))


pdf, cdf, sf = exponential(logpdf), exponential(logcdf), exponential(logsf)
