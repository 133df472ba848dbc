"""The error function and the normal distribution, and functions of their kin.

In: arrays and numbers. Out: arrays.

    >>> ndtr(0.0)
    Array(0.5, dtype=float64, weak_type=True)
"""
from __future__ import annotations

import math
from typing import Any

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import message
from funcgrad.ops import integrals
from funcgrad.ops import special as sp
from funcgrad.ops.special import inexact_args


def erf(x: Any) -> Any:
    """2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.

    >>> erf(1.0)
    Array(0.84270079, dtype=float64, weak_type=True)
    """
    return sp.erf(x)


def erfc(x: Any) -> Any:
    """1 - erf(x), accurate for large x.

    >>> erfc(10.0)
    Array(2.08848758e-45, dtype=float64, weak_type=True)
    """
    return sp.erfc(x)


def erfinv(x: Any) -> Any:
    """The inverse of ``erf``, on [-1, 1]; NaN outside.

    >>> erfinv(0.5)
    Array(0.47693628, dtype=float64, weak_type=True)
    """
    return sp.erf_inv(x)


def erfcx(x: Any) -> Any:
    """exp(x*x) * erfc(x), of real or complex x, without underflow.

    >>> erfcx(100.0)
    Array(0.00564161, dtype=float64, weak_type=True)
    """
    x, = inexact_args("erfcx", x, complex=True)
    return integrals.wofz(1j * x) if x.dtype.kind == "c" else integrals.erfcx(x)


def wofz(z: Any) -> Any:
    """The Faddeeva function exp(-z*z) * erfc(-1j*z); its result is complex, for real z too.

    >>> wofz(0.0)
    Array(1.+0.j, dtype=complex128, weak_type=True)
    """
    z, = inexact_args("wofz", z, complex=True)
    return integrals.wofz(z if z.dtype.kind == "c" else lax.complex(z, fnp.zeros_like(z)))


def dawsn(x: Any) -> Any:
    """Dawson's integral, exp(-x*x) times the integral of exp(t*t) from 0 to x.

    >>> dawsn(1.0)
    Array(0.53807951, dtype=float64, weak_type=True)
    """
    return integrals.dawsn(x)


def ndtr(x: Any) -> Any:
    """The normal distribution function: the probability that a normal number is below x.

    >>> ndtr(fnp.array([-1.0, 0.0]))
    Array([0.15865525, 0.5       ], dtype=float64)
    """
    x, = inexact_args("ndtr", x)
    return 0.5 * sp.erfc(x * -math.sqrt(0.5))


def ndtri(p: Any) -> Any:
    """The inverse of ``ndtr``, on [0, 1]; NaN outside.

    >>> ndtri(0.5)
    Array(0., dtype=float64, weak_type=True)
    """
    return integrals.ndtri(p)


def log_ndtr(x: Any, series_order: int = 3) -> Any:
    """log(ndtr(x)), accurate far to the left, its derivatives too.

    ``series_order`` has the meaning of no more than a whole number from 0 to 30: no series is needed here.

    >>> log_ndtr(-1e5)
    Array(-5.00000001e+09, dtype=float64, weak_type=True)
    """
    if not isinstance(series_order, int):
        raise TypeError(message("log_ndtr: series_order is not an integer", repr(series_order), "an int from 0 to 30"))
    if not 0 <= series_order <= 30:
        raise ValueError(message("log_ndtr: series_order is out of range", repr(series_order), "an int from 0 to 30"))
    x, = inexact_args("log_ndtr", x)
    left = x < -1
    u = fnp.where(left, x, -1) * -math.sqrt(0.5)
    v = fnp.where(left, 0, x) * math.sqrt(0.5)
    return fnp.where(left, fnp.log(0.5 * integrals.erfcx(u)) - u * u, fnp.log1p(-0.5 * sp.erfc(v)))


def owens_t(h: Any, a: Any) -> Any:
    """Owen's T function: the probability that X > h and 0 < Y < a X, for independent normal X and Y.

    >>> owens_t(0.0, 1.0)
    Array(0.125, dtype=float64, weak_type=True)
    """
    return integrals.owens_t(h, a)


def log_density(x: Any) -> Any:
    """The logarithm of the normal density."""
    return -0.5 * (x * x) - 0.5 * math.log(2 * math.pi)
