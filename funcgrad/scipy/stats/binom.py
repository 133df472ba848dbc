"""The binomial distribution: how many of n trials succeed, each with probability p.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.binom``.
"""
from __future__ import annotations

import funcgrad.numpy as fnp
from funcgrad.scipy.special import betaln, xlog1py, xlogy
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(0.0, lambda n, p: n, valid=lambda n, p: (n >= 0) & (p >= 0) & (p <= 1), moved=("loc",), whole=True)


@_FAMILY.density
def logpmf(k, n, p):
    """The logarithm of the probability of k.

    >>> logpmf(1, 2, 0.5)
    Array(-0.69314718, dtype=float64, weak_type=True)
    """
    return xlogy(k, p) + xlog1py(n - k, -p) - betaln(n - k + 1, k + 1) - fnp.log1p(n)


pmf = exponential(logpmf)
