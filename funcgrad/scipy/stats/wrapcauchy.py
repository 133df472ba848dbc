"""The Cauchy distribution of concentration c wrapped around a circle, on 0 <= x <= 2 pi.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.wrapcauchy``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(0.0, 2 * math.pi, valid=lambda c: (c > 0) & (c < 1), moved=())


@_FAMILY.density
def logpdf(x, c):
    """The logarithm of the density.

    >>> logpdf(0.0, 0.5)
    Array(-0.73926478, dtype=float64, weak_type=True)
    """
    distance = (1 - c) ** 2 + 4 * c * fnp.sin(0.5 * x) ** 2
    return fnp.log1p(-c) + fnp.log1p(c) - fnp.log(2 * math.pi * distance)


pdf = exponential(logpdf)
