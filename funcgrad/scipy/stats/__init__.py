"""Probability distributions and statistics of samples, under the names and signatures of ``jax.scipy.stats``.

In: arrays and numbers, promoted and broadcast; integers become floats. Out: arrays. A distribution is a module of functions:
``logpdf`` and ``pdf``, or ``logpmf`` and ``pmf`` of counts; ``cdf``, ``sf`` and their logarithms; ``ppf`` and ``isf``. They
differentiate by every argument; outside of the support the derivatives are 0, never NaN.

    >>> import funcgrad as fg
    >>> fg.grad(norm.logpdf)(1.0, loc=0.0, scale=2.0)
    Array(-0.25, dtype=float64)
"""
from funcgrad.scipy.stats import (
    bernoulli,
    beta,
    betabinom,
    binom,
    cauchy,
    chi2,
    dirichlet,
    expon,
    gamma,
    gennorm,
    geom,
    gumbel_l,
    gumbel_r,
    laplace,
    logistic,
    multinomial,
    multivariate_normal,
    nbinom,
    norm,
    pareto,
    poisson,
    t,
    truncnorm,
    uniform,
    vonmises,
    wrapcauchy,
)
from funcgrad.scipy.stats.kde import gaussian_kde
from funcgrad.scipy.stats.ranks import mode, rankdata, sem

__all__ = [
    "bernoulli", "beta", "betabinom", "binom", "cauchy", "chi2", "dirichlet", "expon", "gamma", "gaussian_kde", "gennorm",
    "geom", "gumbel_l", "gumbel_r", "laplace", "logistic", "mode", "multinomial", "multivariate_normal", "nbinom", "norm",
    "pareto", "poisson", "rankdata", "sem", "t", "truncnorm", "uniform", "vonmises", "wrapcauchy",
]
