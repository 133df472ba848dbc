"""The gamma and beta functions and what is made of them: factorials, binomial coefficients, polygamma, zeta.

In: arrays and numbers. Out: arrays.

    >>> comb(5, 2)
    Array(10., dtype=float64, weak_type=True)
"""
from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes
from funcgrad.core.array import aval_of, describe
from funcgrad.errors import message
from funcgrad.ops import special as sp
from funcgrad.ops.special import inexact_args


def gammaln(x: Any) -> Any:
    """log(abs(gamma(x))).

    >>> gammaln(4.0)
    Array(1.79175947, dtype=float64, weak_type=True)
    """
    return sp.lgamma(x)


def gammasgn(x: Any) -> Any:
    """The sign of gamma(x), which is that of x for zeros; NaN at negative whole numbers. Its derivative is 0.

    >>> gammasgn(fnp.array([2.0, -0.5, -1.5]))
    Array([ 1., -1.,  1.], dtype=float64)
    """
    x, = inexact_args("gammasgn", x)
    floor = fnp.floor(x)
    negative = (x < 0) & (fnp.remainder(floor, 2) != 0) | (x == 0) & fnp.signbit(x)
    undefined = (x < 0) & (x == floor) | fnp.isnan(x)
    return fnp.where(undefined, np.nan, fnp.where(negative, -1, 1)).astype(x.dtype)


def loggamma(x: Any) -> Any:
    """The principal branch of log(gamma(x)), of real or complex x; NaN for negative real x.

    >>> loggamma(fnp.array([4.0, -0.5]))
    Array([1.79175947,        nan], dtype=float64)
    """
    x, = inexact_args("loggamma", x, complex=True)
    if x.dtype.kind == "c":
        return sp.log_gamma(x)
    return fnp.where(x > 0, sp.lgamma(fnp.where(x > 0, x, 1)), np.nan)


def gamma(x: Any) -> Any:
    """The gamma function of real or complex x; NaN at negative whole numbers.

    >>> gamma(5.0)
    Array(24., dtype=float64, weak_type=True)
    """
    return sp.gamma(x)


def digamma(x: Any) -> Any:
    """The derivative of ``gammaln``.

    >>> digamma(1.0)
    Array(-0.57721566, dtype=float64, weak_type=True)
    """
    return sp.digamma(x)


def polygamma(n: Any, x: Any) -> Any:
    """The n-th derivative of ``digamma``, for whole n >= 0; NaN for negative n. Raises TypeError for a floating point n.

    >>> polygamma(1, 1.0)
    Array(1.64493407, dtype=float64)
    """
    if aval_of(n).dtype.kind not in "biu":
        raise TypeError(message("polygamma: the order is a whole number", describe(n), "an integer, or an array of integers",
                                "n.astype(int)"))
    n = fnp.asarray(n)
    return sp.polygamma(n.astype(dtypes.inexact_dtype(aval_of(x).dtype)), x)


def poch(z: Any, m: Any) -> Any:
    """The Pochhammer symbol gamma(z + m) / gamma(z).

    >>> poch(2.0, 3.0)
    Array(24., dtype=float64, weak_type=True)
    """
    return sp.poch(z, m)


def factorial(n: Any, exact: bool = False) -> Any:
    """gamma(n + 1), and 0 for negative n. Raises NotImplementedError if ``exact``: arrays hold no integers of any size.

    >>> factorial(4)
    Array(24., dtype=float64, weak_type=True)
    """
    if exact:
        raise NotImplementedError(message("factorial: exact integers have no bound, and arrays do", "exact=True",
                                          "exact=False", "math.factorial(n)"))
    n, = inexact_args("factorial", n)
    inside = n >= 0
    return fnp.where(fnp.isnan(n), n, fnp.where(inside, sp.gamma(fnp.where(inside, n, 0) + 1), 0))


def comb(N: Any, k: Any, *, repetition: bool = False) -> Any:
    """How many ways there are to choose k of N things, as a float; 0 where k < 0, N < 0 or k > N.

    With ``repetition``, a thing may be chosen more than once.

    >>> comb(4, fnp.arange(6))
    Array([1., 4., 6., 4., 1., 0.], dtype=float64)
    """
    N, k = inexact_args("comb", N, k)
    if repetition:
        return fnp.where((k == 0) & (N >= 0), 1.0, comb(N + k - 1, k))
    possible = (k <= N) & (N >= 0) & (k >= 0)
    return fnp.where(possible, sp.binom(fnp.where(possible, N, 1), fnp.where(possible, k, 1)), 0.0)


def beta(a: Any, b: Any) -> Any:
    """gamma(a) gamma(b) / gamma(a + b).

    >>> beta(2.0, 3.0)
    Array(0.08333333, dtype=float64, weak_type=True)
    """
    return sp.beta(a, b)


def betaln(a: Any, b: Any) -> Any:
    """log(abs(beta(a, b))), without overflow.

    >>> betaln(1.0, 1.0)
    Array(0., dtype=float64, weak_type=True)
    """
    return sp.betaln(a, b)


def betainc(a: Any, b: Any, x: Any) -> Any:
    """The distribution function of Beta(a, b) at x in [0, 1], the regularized incomplete beta function.

    >>> betainc(2.0, 2.0, 0.5)
    Array(0.5, dtype=float64, weak_type=True)
    """
    return sp.betainc(a, b, x)


def gammainc(a: Any, x: Any) -> Any:
    """The distribution function of Gamma(a, 1) at x >= 0, the regularized lower incomplete gamma function.

    >>> gammainc(1.0, 2.0)
    Array(0.86466472, dtype=float64, weak_type=True)
    """
    return sp.gammainc(a, x)


def gammaincc(a: Any, x: Any) -> Any:
    """1 - gammainc(a, x), accurate where it is small.

    >>> gammaincc(1.0, 50.0)
    Array(1.92874985e-22, dtype=float64, weak_type=True)
    """
    return sp.gammaincc(a, x)


def zeta(x: Any, q: Any = None) -> Any:
    """The Hurwitz zeta function: the sum of (q + k) ** -x over k = 0, 1, 2, ...; by default q = 1, Riemann's, for x > 1.

    >>> zeta(2.0)
    Array(1.64493407, dtype=float64, weak_type=True)
    """
    return sp.zeta(x, 1.0 if q is None else q)


def multigammaln(a: Any, d: int) -> Any:
    """The logarithm of the multivariate gamma function of dimension d; a > (d - 1) / 2.

    >>> multigammaln(2.0, 1)
    Array(0., dtype=float64)
    """
    d = operator.index(d)
    a, = inexact_args("multigammaln", a)
    terms = sp.lgamma(fnp.expand_dims(a, -1) - (0.5 * np.arange(d)).astype(a.dtype))
    return fnp.sum(terms, -1) + 0.25 * d * (d - 1) * math.log(math.pi)


def bernoulli(n: int) -> Any:
    """The Bernoulli numbers B_0 to B_n, where B_1 = -1/2. Raises ValueError for negative n.

    >>> bernoulli(2)
    Array([ 1.        , -0.5       ,  0.16666667], dtype=float64)
    """
    n = operator.index(n)
    if n < 0:
        raise ValueError(message("bernoulli: a negative number of numbers", f"n = {n}", "n >= 0"))
    return fnp.asarray(sp.library().bernoulli(n))
