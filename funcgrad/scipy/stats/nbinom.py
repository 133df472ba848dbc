"""The negative binomial distribution: failures before the n-th success, each with probability p.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.nbinom``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.special import betaln, xlog1py
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(0.0, math.inf, valid=lambda n, p: (n > 0) & (p > 0) & (p <= 1), moved=("loc",), whole=True)


@_FAMILY.density
def logpmf(k, n, p):
    """The logarithm of the probability of k.

    >>> logpmf(1, 1, 0.5)
    Array(-1.38629436, dtype=float64, weak_type=True)
    """
    return n * fnp.log(p) + xlog1py(k, -p) - betaln(n, k + 1) - fnp.log(n + k)


pmf = exponential(logpmf)
