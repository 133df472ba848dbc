"""Integrals and series with names: exponential and trigonometric integrals, hypergeometric and Bessel functions, harmonics.

In: arrays and numbers. Out: arrays.

    >>> sici(0.0)
    (Array(0., dtype=float64, weak_type=True), Array(-inf, dtype=float64, weak_type=True))
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.array import aval_of, describe
from funcgrad.errors import message
from funcgrad.ops import integrals
from funcgrad.ops import special as sp
from funcgrad.ops.special import inexact_args


def expi(x: Any) -> Any:
    """The exponential integral Ei(x): that of exp(t) / t from -inf to x.

    >>> expi(1.0)
    Array(1.89511782, dtype=float64, weak_type=True)
    """
    return integrals.expi(x)


def exp1(x: Any) -> Any:
    """The exponential integral E1(x): that of exp(-t) / t from x to inf.

    >>> exp1(1.0)
    Array(0.21938393, dtype=float64, weak_type=True)
    """
    return integrals.exp1(x)


def expn(n: Any, x: Any) -> Any:
    """The exponential integral of whole order n: that of exp(-x t) / t**n over t from 1 to inf; NaN for negative n.

    >>> expn(2, 1.0)
    Array(0.14849551, dtype=float64, weak_type=True)
    """
    return integrals.expn(n, x)


def sici(x: Any) -> tuple[Any, Any]:
    """The sine integral, that of sin(t) / t from 0 to x, and the cosine integral, minus that of cos(t) / t from x to inf.

    >>> sici(1.0)
    (Array(0.94608307, dtype=float64, weak_type=True), Array(0.33740392, dtype=float64, weak_type=True))
    """
    return integrals.si(x), integrals.ci(x)


def fresnel(x: Any) -> tuple[Any, Any]:
    """The integrals of sin(pi t*t / 2) and of cos(pi t*t / 2) from 0 to x.

    >>> fresnel(1.0)
    (Array(0.43825915, dtype=float64, weak_type=True), Array(0.7798934, dtype=float64, weak_type=True))
    """
    return integrals.fresnel_s(x), integrals.fresnel_c(x)


def spence(x: Any) -> Any:
    """Spence's function, the dilogarithm of 1 - x: the integral of log(t) / (1 - t) from 1 to x; NaN for negative x.

    >>> spence(0.0)
    Array(1.64493407, dtype=float64, weak_type=True)
    """
    return integrals.spence(x)


def hyp1f1(a: Any, b: Any, x: Any) -> Any:
    """The confluent hypergeometric function 1F1(a; b; x). Its derivatives by a and b are NaN for abs(x) above some 700.

    >>> hyp1f1(1.0, 2.0, 1.0)
    Array(1.71828183, dtype=float64, weak_type=True)
    """
    return integrals.hyp1f1(a, b, x)


def hyp2f1(a: Any, b: Any, c: Any, x: Any) -> Any:
    """The hypergeometric function 2F1(a, b; c; x). Its derivatives by a, b and c are NaN unless abs(x) < 1.

    >>> hyp2f1(1.0, 1.0, 2.0, 0.5)
    Array(1.38629436, dtype=float64, weak_type=True)
    """
    return integrals.hyp2f1(a, b, c, x)


def i0(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 0.

    >>> i0(0.0)
    Array(1., dtype=float64, weak_type=True)
    """
    return sp.bessel_i0(x)


def i0e(x: Any) -> Any:
    """exp(-abs(x)) * i0(x), without overflow.

    >>> i0e(1e3)
    Array(0.01261724, dtype=float64, weak_type=True)
    """
    return sp.bessel_i0e(x)


def i1(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 1.

    >>> i1(1.0)
    Array(0.5651591, dtype=float64, weak_type=True)
    """
    return sp.bessel_i1(x)


def i1e(x: Any) -> Any:
    """exp(-abs(x)) * i1(x), without overflow.

    >>> i1e(1e3)
    Array(0.01261093, dtype=float64, weak_type=True)
    """
    return sp.bessel_i1e(x)


def bessel_jn(z: Any, *, v: int, n_iter: int = 50) -> Any:
    """The Bessel functions of the first kind of orders 0, 1, ..., v: an array of shape (v + 1, *z.shape).

    ``n_iter`` is not needed here. Raises ValueError for negative v, TypeError if v is no integer.

    >>> bessel_jn(1.0, v=1)
    Array([0.76519769, 0.44005059], dtype=float64)
    """
    v = operator.index(v)
    if v < 0:
        raise ValueError(message("bessel_jn: a negative order", f"v = {v}", "v >= 0", "(-1)**v times the one of order -v"))
    z, = inexact_args("bessel_jn", z)
    orders = np.arange(v + 1, dtype=np.float64).astype(z.dtype).reshape((v + 1,) + (1,) * z.ndim)
    return integrals.bessel_j(orders, z)


def sph_harm_y(n: Any, m: Any, theta: Any, phi: Any, diff_n: int | None = None, n_max: int | None = None) -> Any:
    """The spherical harmonics of degree n >= 0 and order m, at the polar angle theta and the azimuth phi: complex numbers.

    Arguments are broadcast; a theta without axes is given one. Degrees above ``n_max`` are clipped to it.
    ``diff_n`` is not supported, ``fg.grad`` does it. Raises TypeError if n or m are not integers.

    >>> sph_harm_y(fnp.array([1]), fnp.array([0]), fnp.array([0.0]), fnp.array([0.5]))
    Array([0.48860251+0.j], dtype=complex128)
    """
    if diff_n is not None:
        raise NotImplementedError(message("sph_harm_y: diff_n is not supported", f"diff_n={diff_n}", "diff_n=None",
                                          "fg.grad, fg.jvp or fg.jacfwd with respect to theta and phi"))
    for name, value in (("n", n), ("m", m)):
        if aval_of(value).dtype.kind not in "iu":
            raise TypeError(message(f"sph_harm_y: {name} is a whole number", describe(value), "integers",
                                    f"{name}.astype(int)"))
    if n_max is not None:
        n = fnp.minimum(n, operator.index(n_max))
    theta = fnp.atleast_1d(theta)
    n, m, theta, phi = inexact_args("sph_harm_y", n, m, theta, phi)
    size = integrals.polar_harmonic(n, m, theta)
    return lax.complex(size * fnp.cos(m * phi), size * fnp.sin(m * phi))
