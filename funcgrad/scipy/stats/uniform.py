"""The uniform distribution, on 0 <= x <= 1.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.uniform``.
"""
from __future__ import annotations

from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(0.0, 1.0)


@_FAMILY.density
def logpdf(x):
    """The logarithm of the density.

    >>> logpdf(0.0, 0.0, 2.0)
    Array(-0.69314718, dtype=float64, weak_type=True)
    """
    return 0 * x


@_FAMILY.cdf
def cdf(x):
    """The distribution function."""
    return x


@_FAMILY.quantile
def ppf(q):
    """The inverse of ``cdf``."""
    return q


pdf = exponential(logpdf)
