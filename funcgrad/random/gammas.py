"""The gamma distribution and what is made of it: beta, Dirichlet, chi-square, t, F, generalized normal, the ball.

In: a key, parameters, a shape, a dtype. Out: an array of draws, differentiable in the parameters.

    >>> import funcgrad as fg
    >>> fg.grad(lambda a: fg.random.gamma(fg.random.key(0), a))(2.0)
    Array(0.88626226, dtype=float64)
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad.core.array import Array, describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.elementwise import abs, add, exp, maximum, mul, power, sqrt, sub, true_divide
from funcgrad.ops.promotion import check_arg
from funcgrad.ops.random_gamma import random_gamma
from funcgrad.ops.reduction import reduce_max
from funcgrad.ops.structural import broadcast_to, expand_dims, stop_gradient, sum_over
from funcgrad.random.keys import checked_key, checked_shape, float_dtype, hash_words, parameter_shape, subkeys
from funcgrad.random.sampling import rademacher
from funcgrad.random.transformed import arguments, cast_parameters, exponential, parameters
from funcgrad.random.uniform import as_parameter, real_normal


def gamma(key: Any, a: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws with density x**(a - 1) * exp(-x) / Gamma(a) on x > 0.

    Args:
      key: a key.
      a: the shape parameter, an array or number; derivatives of first order flow through it.
      shape: the shape of the result, which a broadcasts to; by default that of a.
      dtype: a real floating point dtype; float64 by default.

    Raises ValueError for a dtype that is not floating point, or when a does not broadcast to the shape.
    """
    return _gamma("gamma", key, a, shape, dtype, False)


def loggamma(key: Any, a: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The logarithms of draws of ``gamma``, which stay finite for small a, where the draws themselves vanish."""
    return _gamma("loggamma", key, a, shape, dtype, True)


def _gamma(name: str, key: Any, a: Any, shape: Any, dtype: Any, log_space: bool) -> Array:
    key, dtype = checked_key(name, key), float_dtype(name, dtype)
    shape, (a,) = cast_parameters(name, dtype, shape, a)
    return random_gamma(*hash_words(key, shape), a, log_space)


def beta(key: Any, a: Any, b: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws with density proportional to x**(a - 1) * (1 - x)**(b - 1) on 0 < x < 1."""
    key, dtype = checked_key("beta", key), float_dtype("beta", dtype)
    shape, (a, b) = parameters("beta", dtype, shape, a, b)
    key_a, key_b = subkeys(key)
    log_a, log_b = loggamma(key_a, a, shape, dtype), loggamma(key_b, b, shape, dtype)
    largest = maximum(log_a, log_b)
    x, y = exp(log_a - largest), exp(log_b - largest)
    return x / (x + y)


def dirichlet(key: Any, alpha: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws of probabilities, with density proportional to the product of x_i**(alpha_i - 1).

    Args:
      key: a key.
      alpha: concentrations; the last axis runs over the probabilities, which add up to 1.
      shape: the shape of the result without its last axis; by default that of alpha without its last axis.
      dtype: a real floating point dtype; float64 by default.

    Raises ValueError when alpha has no axis or does not broadcast to the shape.
    """
    key, dtype = checked_key("dirichlet", key), float_dtype("dirichlet", dtype)
    aval = check_arg("random.dirichlet", alpha, 1)
    if not aval.shape:
        raise ValueError(message("random.dirichlet: alpha needs an axis that runs over the probabilities",
                                 describe(alpha), "an array with at least one axis"))
    batch = aval.shape[:-1] if shape is None else checked_shape("dirichlet", shape)
    parameter_shape("dirichlet", batch, np.broadcast_to(0, aval.shape[:-1]))
    logs = loggamma(key, alpha, (*batch, aval.shape[-1]), dtype)
    last = len(batch)
    shares = exp(sub(logs, _along_last(reduce_max(stop_gradient(logs), (last,)), logs.shape)))
    return true_divide(shares, _along_last(sum_over(shares, (last,)), logs.shape))


def _along_last(x: Any, shape: Shape) -> Array:
    """x repeated along a new last axis."""
    return broadcast_to(expand_dims(x, (len(shape) - 1,)), shape)


def chisquare(key: Any, df: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The sum of the squares of df standard normal draws; df need not be whole."""
    key, dtype = checked_key("chisquare", key), float_dtype("chisquare", dtype)
    shape, (df,) = parameters("chisquare", dtype, shape, df)
    return mul(exp(loggamma(key, df / 2, shape, dtype)), dtype.type(2))


def t(key: Any, df: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws from Student's t distribution with df degrees of freedom."""
    key, dtype = checked_key("t", key), float_dtype("t", dtype)
    shape, (df,) = parameters("t", dtype, shape, df)
    key_normal, key_gamma = subkeys(key)
    half = df / 2
    return mul(real_normal(key_normal, shape, dtype), sqrt(half / gamma(key_gamma, half, shape, dtype)))


def f(key: Any, dfnum: Any, dfden: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws from the F distribution: a ratio of chi-square draws, each divided by its degrees of freedom."""
    key, dtype = checked_key("f", key), float_dtype("f", dtype)
    shape, (dfnum, dfden) = parameters("f", dtype, shape, dfnum, dfden)
    key_den, key_num = subkeys(key)
    return (chisquare(key_num, dfnum, shape, dtype) / dfnum) / (chisquare(key_den, dfden, shape, dtype) / dfden)


def generalized_normal(key: Any, p: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws with density proportional to exp(-|x|**p)."""
    key, shape, dtype = arguments("generalized_normal", key, shape, dtype)
    key_gamma, key_sign = subkeys(key)
    inverse = broadcast_to(as_parameter(1 / p, dtype), shape)
    return mul(rademacher(key_sign, shape, dtype), power(gamma(key_gamma, inverse, shape, dtype), inverse))


def ball(key: Any, d: int, p: Any = 2, shape: Any = (), dtype: Any = None) -> Array:
    """Points spread evenly in the unit ball of the p-norm in d dimensions; the result has shape (*shape, d).

    By Barthe, Guedon, Mendelson and Naor, "A probabilistic approach to the geometry of the l_p^n-ball" (2005).
    """
    key, shape, dtype = arguments("ball", key, shape, dtype)
    d = operator.index(d)
    key_direction, key_radius = subkeys(key)
    point = generalized_normal(key_direction, p, (*shape, d), dtype)
    exponent, inverse = (broadcast_to(as_parameter(x, dtype), shape) for x in (p, 1 / p))
    powers = power(abs(point), _along_last(exponent, point.shape))
    radius = power(add(sum_over(powers, (len(shape),)), exponential(key_radius, shape, dtype)), inverse)
    return true_divide(point, _along_last(radius, point.shape))
