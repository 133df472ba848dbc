"""The Laplace distribution.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.laplace``.
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
    Array(-0.69314718, dtype=float64, weak_type=True)
    """
    return -fnp.abs(x) - math.log(2)


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    tail = 0.5 * fnp.exp(fnp.where(x > 0, -x, x))
    return fnp.where(x > 0, 1 - tail, tail)


pdf = exponential(logpdf)
