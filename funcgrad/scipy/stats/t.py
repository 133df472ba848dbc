"""Student's t distribution of df degrees of freedom.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.t``.
"""
from __future__ import annotations

import funcgrad.numpy as fnp
from funcgrad.scipy.special import betaln
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(valid=lambda df: df > 0)


@_FAMILY.density
def logpdf(x, df):
    """The logarithm of the density.

    >>> logpdf(0.0, 2.0)
    Array(-1.03972077, dtype=float64, weak_type=True)
    """
    return -betaln(0.5 * df, 0.5) - 0.5 * fnp.log(df) - 0.5 * (df + 1) * fnp.log1p(x * x / df)


pdf = exponential(logpdf)
