"""The Pareto distribution of shape b, on x >= 1.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.pareto``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.stats.family import Family, exponential, log_one_less_exp

_FAMILY = Family(1.0, math.inf, valid=lambda b: b > 0)


@_FAMILY.density
def logpdf(x, b):
    """The logarithm of the density.

    >>> logpdf(1.0, 1.0)
    Array(0., dtype=float64, weak_type=True)
    """
    return fnp.log(b) - (b + 1) * fnp.log(x)


@_FAMILY.cdf
def cdf(x, b):
    """The distribution function."""
    return -fnp.expm1(-b * fnp.log(x))


@_FAMILY.sf
def sf(x, b):
    """1 - cdf(x, b), accurate where it is small."""
    return fnp.exp(-b * fnp.log(x))


@_FAMILY.logcdf
def logcdf(x, b):
    """log(cdf(x, b))."""
    return log_one_less_exp(b * fnp.log(x))


@_FAMILY.logsf
def logsf(x, b):
    """log(sf(x, b))."""
    return -b * fnp.log(x)


@_FAMILY.quantile
def ppf(q, b):
    """The inverse of ``cdf``."""
    return fnp.exp(-fnp.log1p(-q) / b)


pdf = exponential(logpdf)
