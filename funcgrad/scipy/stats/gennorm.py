"""The generalized normal distribution, whose density is that of exp(-abs(x)**beta).

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.gennorm``.
"""
from __future__ import annotations

import funcgrad.numpy as fnp
from funcgrad.scipy.special import gammaincc, gammaln, hyp1f1
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(valid=lambda beta: beta > 0, moved=())


@_FAMILY.density
def logpdf(x, beta):
    """The logarithm of the density.

    >>> logpdf(0.0, 1.0)
    Array(-0.69314718, dtype=float64, weak_type=True)
    """
    return fnp.log(0.5 * beta) - gammaln(1 / beta) - _power(x, beta)


@_FAMILY.cdf
def cdf(x, beta):
    """The distribution function."""
    a, y = 1 / beta, _power(x, beta)
    # Near 0 the incomplete gamma function is x times a smooth one, Abramowitz and Stegun 6.5.12.
    near = y < 1
    small = fnp.where(near, y, 0.0)
    middle = 0.5 + 0.5 * fnp.where(near, x, 0.0) * fnp.exp(-small - gammaln(a + 1)) * hyp1f1(1.0, a + 1, small)
    tail = 0.5 * gammaincc(a, fnp.where(near, 1.0, y))
    return fnp.where(near, middle, fnp.where(x > 0, 1 - tail, tail))


def _power(x, beta):
    """abs(x)**beta, with the derivative 0 at 0."""
    zero = x == 0
    return fnp.where(zero, 0.0, fnp.abs(fnp.where(zero, 1.0, x)) ** beta)


pdf = exponential(logpdf)
