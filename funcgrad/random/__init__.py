"""Random numbers from explicit keys; names, signatures and numbers are those of ``jax.random``.

In: a key, a shape, parameters, a dtype. Out: an array. The same key gives the same numbers in every transformation:
JAX's bit for bit where only integers are concerned, and to a few units in the last place where a logarithm is.

    >>> from funcgrad import random
    >>> key, subkey = random.split(random.key(0))
    >>> random.uniform(subkey, (2,), "float32")
    Array([0.00729382, 0.02089119], dtype=float32)
"""
from funcgrad.random.counts import binomial, multinomial, poisson
from funcgrad.random.gammas import ball, beta, chisquare, dirichlet, f, gamma, generalized_normal, loggamma, t
from funcgrad.random.keys import PRNGKey, bits, clone, fold_in, key, key_data, key_impl, split, wrap_key_data
from funcgrad.random.matrices import multivariate_normal, orthogonal
from funcgrad.random.sampling import bernoulli, categorical, choice, permutation, rademacher
from funcgrad.random.transformed import (
    cauchy,
    double_sided_maxwell,
    exponential,
    geometric,
    gumbel,
    laplace,
    logistic,
    lognormal,
    maxwell,
    pareto,
    rayleigh,
    triangular,
    wald,
    weibull_min,
)
from funcgrad.random.uniform import normal, randint, truncated_normal, uniform

__all__ = ["PRNGKey", "ball", "bernoulli", "beta", "binomial", "bits", "categorical", "cauchy", "chisquare",
           "choice", "clone", "dirichlet", "double_sided_maxwell", "exponential", "f", "fold_in", "gamma",
           "generalized_normal", "geometric", "gumbel", "key", "key_data", "key_impl", "laplace", "loggamma",
           "logistic", "lognormal", "maxwell", "multinomial", "multivariate_normal", "normal", "orthogonal",
           "pareto", "permutation", "poisson", "rademacher", "randint", "rayleigh", "split", "t", "triangular",
           "truncated_normal", "uniform", "wald", "weibull_min", "wrap_key_data"]
