"""The von Mises distribution of concentration kappa, of angles.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.vonmises``.
"""
from __future__ import annotations

import math

import funcgrad.numpy as fnp
from funcgrad.scipy.special import i0e
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(valid=lambda kappa: kappa >= 0, moved=())


@_FAMILY.density
def logpdf(x, kappa):
    """The logarithm of the density, which has the period 2 pi.

    >>> logpdf(0.0, 1.0)
    Array(-1.07379142, dtype=float64, weak_type=True)
    """
    return -2 * kappa * fnp.sin(0.5 * x) ** 2 - fnp.log(2 * math.pi * i0e(kappa))


pdf = exponential(logpdf)
