"""The beta-binomial distribution: how many of n trials succeed, whose probability is beta distributed.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.betabinom``.
"""
from __future__ import annotations

import funcgrad.numpy as fnp
from funcgrad.scipy.special import betaln
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(0.0, lambda n, a, b: n, valid=lambda n, a, b: (n >= 0) & (a > 0) & (b > 0), moved=("loc",), whole=True)


@_FAMILY.density
def logpmf(k, n, a, b):
    """The logarithm of the probability of k.

    >>> logpmf(1, 1, 1.0, 1.0)
    Array(-0.69314718, dtype=float64, weak_type=True)
    """
    return betaln(k + a, n - k + b) - betaln(a, b) - betaln(n - k + 1, k + 1) - fnp.log1p(n)


pmf = exponential(logpmf)
