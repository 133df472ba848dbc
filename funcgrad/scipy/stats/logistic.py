"""The logistic distribution.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.logistic``.
"""
from __future__ import annotations

import funcgrad.numpy as fnp
from funcgrad.scipy.special import expit, logit
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family()


@_FAMILY.density
def logpdf(x):
    """The logarithm of the density.

    >>> logpdf(0.0)
    Array(-1.38629436, dtype=float64, weak_type=True)
    """
    return -x - 2 * fnp.logaddexp(0.0, -x)


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    return expit(x)


@_FAMILY.sf
def sf(x):
    """1 - cdf(x), accurate where it is small."""
    return expit(-x)


@_FAMILY.quantile
def ppf(x):
    """The inverse of ``cdf``."""
    return logit(x)


@_FAMILY.quantile
def isf(q):
    """The inverse of ``sf``."""
    return -logit(q)


pdf = exponential(logpdf)
