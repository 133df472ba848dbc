"""The Poisson distribution of mean mu.

In: arrays and numbers, promoted and broadcast. Out: arrays. Names and signatures are those of ``jax.scipy.stats.poisson``.
"""
from __future__ import annotations

import math

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.ops.special import inexact_args
from funcgrad.scipy.special import gammaincc, gammaln, xlogy
from funcgrad.scipy.stats.family import Family, exponential

_FAMILY = Family(0.0, math.inf, valid=lambda mu: mu >= 0, moved=("loc",), whole=True)
_COUNTS, _SMALL = 400, 180.0


@_FAMILY.density
def logpmf(k, mu):
    """The logarithm of the probability of k.

    >>> logpmf(0, 1.0)
    Array(-1., dtype=float64, weak_type=True)
    """
    return _log_probability(k, mu)


@_FAMILY.cdf
def cdf(k, mu):
    """The probability of at most k."""
    return gammaincc(k + 1, mu)


def entropy(mu, loc=0):
    """The expected value of -logpmf. It does not depend on ``loc``, with whose shape ``mu`` is broadcast.

    For small mu it is added up; for large mu it is the asymptotic series of Evans and Boersma (1988).

    >>> entropy(1.0)
    Array(1.30484224, dtype=float64)
    """
    mu, _ = fnp.broadcast_arrays(*inexact_args("entropy", mu, loc))
    small = mu < _SMALL
    few = fnp.where(small & (mu > 0), mu, 1.0)
    counts = np.arange(_COUNTS, dtype=np.float64).astype(mu.dtype).reshape((-1,) + (1,) * mu.ndim)
    logarithms = _log_probability(counts, few)
    total = -fnp.sum(fnp.exp(logarithms) * logarithms, axis=0)
    many = 1 / fnp.where(small, _SMALL, mu)
    series = 0.5 * fnp.log(2 * math.pi * math.e / many) - many * (1 / 12 + many * (1 / 24 + many * 19 / 360))
    return fnp.where(mu >= 0, fnp.where(small, fnp.where(mu > 0, total, 0.0), series), np.nan)


def _log_probability(k, mu):
    return xlogy(k, mu) - gammaln(k + 1) - mu


pmf = exponential(logpmf)
