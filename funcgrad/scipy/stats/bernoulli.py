"""The Bernoulli distribution: 1 with probability p, else 0.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.bernoulli``.
"""
from __future__ import annotations

from funcgrad.scipy.special import xlog1py, xlogy
from funcgrad.scipy.stats.family import Family, exponential


def _valid(p):
    return (p >= 0) & (p <= 1)


_FAMILY = Family(0.0, 1.0, valid=_valid, moved=("loc",), whole=True)
_UNMOVED = Family(0.0, 1.0, valid=_valid, moved=(), whole=True)


@_FAMILY.density
def logpmf(k, p):
    """The logarithm of the probability of k.

    >>> logpmf(1, 0.5)
    Array(-0.69314718, dtype=float64, weak_type=True)
    """
    return xlogy(k, p) + xlog1py(1 - k, -p)


@_UNMOVED.cdf
def cdf(k, p):
    """The probability of at most k."""
    return 1 - p * (1 - k)


@_UNMOVED.quantile
def ppf(q, p):
    """The least k whose ``cdf`` is not below q."""
    return (q > 1 - p).astype(q.dtype)


pmf = exponential(logpmf)
