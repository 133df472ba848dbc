"""The multinomial distribution: how often each of several outcomes occurs in n trials.

In: arrays and numbers. Out: arrays. Names and signatures are those of ``jax.scipy.stats.multinomial``.
"""
from __future__ import annotations

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.ops.special import inexact_args
from funcgrad.scipy.special import gammaln, xlogy
from funcgrad.scipy.stats.family import exponential


def logpmf(x, n, p):
    """The logarithm of the probability of the counts x, whose outcomes, as their probabilities p, lie along the last axis.

    -inf unless the counts are whole numbers >= 0 that sum to n.

    >>> logpmf(fnp.array([1, 1]), 2, fnp.array([0.5, 0.5]))
    Array(-0.69314718, dtype=float64)
    """
    x, p = inexact_args("logpmf", x, p)
    n, _ = inexact_args("logpmf", n, x[..., 0])
    x, p = fnp.broadcast_arrays(x, p)
    possible = fnp.all((x >= 0) & (x == fnp.floor(x)), axis=-1) & (fnp.sum(x, axis=-1) == n)
    safe = fnp.where(possible[..., None], x, 0)
    log_probability = gammaln(fnp.where(possible, n, 0) + 1) + fnp.sum(xlogy(safe, p) - gammaln(safe + 1), axis=-1)
    return fnp.where(possible, log_probability, -np.inf)


pmf = exponential(logpmf)
