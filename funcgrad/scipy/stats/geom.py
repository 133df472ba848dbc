"""The geometric distribution: how many trials it takes to succeed with probability p, k >= 1.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.geom``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.special import xlog1py
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(1.0, math.inf, valid=lambda p: (p > 0) & (p <= 1), moved=("loc",), whole=True)


@_FAMILY.density
def logpmf(k, p):
    """The logarithm of the probability of k.

    >>> logpmf(2, 0.5)
    Array(-1.38629436, dtype=float64, weak_type=True)
    """
    return xlog1py(k - 1, -p) + fnp.log(p)


pmf = exponential(logpmf)
