"""Special functions defined by integrals and series: error functions of other scales, exponential and trigonometric
integrals, hypergeometric functions, Bessel functions of the first kind, spherical harmonics.

In: real arrays and scalars, promoted and broadcast. Out: arrays. The values come from ``scipy.special``, as in ``special.py``.

    { lambda ; a:f64[3]. let b:f64[3] = expi a in (b,) }
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.primitive import HOST, Partials, Primitive
from funcgrad.ops.elementwise import abs, cos, div, eq, exp, lt, mul, neg, reciprocal, sin, sqrt, square
from funcgrad.ops.parameter_series import hyp1f1_derivative, hyp2f1_derivative
from funcgrad.ops.promotion import promote_args
from funcgrad.ops.rules import elementwise
from funcgrad.ops.special import chosen, computed_wide, erf, function_of, library, on_arrays, special, unavailable

# ---------------------------------------------------------------- error functions

_FAR = 12.0
_TAIL = [math.prod(range(1, 2 * k + 2, 2)) / 2.0 ** k for k in range(12)]


def _with_tail(near: Callable, factor: float, sign: int) -> Callable:
    """A derivative whose terms cancel far from 0, where it is factor / x**2 times a series in sign / x**2."""

    def partial(y: Any, x: Any) -> Any:
        far = abs(x) > _FAR if sign > 0 else x > _FAR
        inverse = reciprocal(square(chosen(far, x, x.dtype.type(_FAR))))
        series: Any = _TAIL[-1]
        for coefficient in reversed(_TAIL[:-1]):
            series = series * (sign * inverse) + coefficient
        return chosen(far, factor * inverse * series, near(y, chosen(far, x.dtype.type(0), x)))

    return partial


# Abramowitz and Stegun 7.1.23, 7.2.14, and the like for Dawson's integral.
erfcx_p = special("erfcx", "erfcx", Partials(_with_tail(
    lambda y, x: 2 * x * erfcx(x) - 2 / math.sqrt(math.pi), -1 / math.sqrt(math.pi), -1)), "scipy_erfcx({0})")
dawsn_p = special("dawsn", "dawsn", Partials(_with_tail(lambda y, x: 1 - 2 * x * dawsn(x), -0.5, 1)), "scipy_dawsn({0})")
wofz_p = special("wofz", "wofz", Partials(lambda y, z: 2j / math.sqrt(math.pi) - 2 * z * y))
ndtri_p = special("ndtri", "ndtri", Partials(lambda y, p: math.sqrt(2 * math.pi) * exp(0.5 * square(y))), "scipy_ndtri({0})")
owens_t_p = special("owens_t", "owens_t", Partials(
    lambda y, h, a: exp(-0.5 * square(h)) * erf(a * h * math.sqrt(0.5)) * (-0.5 / math.sqrt(2 * math.pi)),
    lambda y, h, a: exp(-0.5 * square(h) * (1 + square(a))) / (2 * math.pi * (1 + square(a)))), "scipy_owens_t({0}, {1})")

erfcx = function_of(erfcx_p, "exp(x*x) * erfc(x), which does not underflow.")
dawsn = function_of(dawsn_p, "Dawson's integral, exp(-x*x) times the integral of exp(t*t) from 0 to x.")
wofz = function_of(wofz_p, "The Faddeeva function exp(-z*z) * erfc(-1j*z) of complex z.", "z", complex=True)
ndtri = function_of(ndtri_p, "The inverse of the normal distribution function, on [0, 1]; NaN outside.")
owens_t = function_of(owens_t_p, "Owen's T function: the probability that X > h and 0 < Y < a X, for normal X and Y.", "h a")

# ---------------------------------------------------------------- exponential and trigonometric integrals

_SINC = [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)]


def sin_over(x: Any) -> Any:
    """sin(x) / x, and 1 at x = 0. Near 0 it is its Taylor polynomial, so its derivatives there are right."""
    near = lt(abs(x), 0.5)
    squared = square(chosen(near, x, x.dtype.type(0)))
    series: Any = _SINC[-1]
    for coefficient in reversed(_SINC[:-1]):
        series = series * squared + coefficient
    far = chosen(near, x.dtype.type(1), x)
    return chosen(near, series, div(sin(far), far))


def _expn_partial(y: Any, n: Any, x: Any) -> Any:
    lowest = eq(n, 0)  # the function of order -1 has no name
    positive = chosen(lowest, n * 0 + 1, n) if not isinstance(n, np.generic) else n if n else n.dtype.type(1)
    return neg(chosen(lowest, exp(neg(x)) * (x + 1) / square(x), expn(positive - 1, x)))


expi_p = special("expi", "expi", Partials(lambda y, x: exp(x) / x), "scipy_expi({0})")
exp1_p = special("exp1", "exp1", Partials(lambda y, x: neg(exp(neg(x)) / x)), "scipy_exp1({0})")
expn_p = special("expn", "expn", Partials(unavailable(
    lambda: expn_p, "it is defined for whole orders, so the derivative with respect to the order is not available"),
    _expn_partial))
si_p = elementwise("si", computed_wide(lambda x: library().sici(x)[0]), Partials(lambda y, x: sin_over(x)), HOST)
ci_p = elementwise("ci", computed_wide(lambda x: library().sici(x)[1]), Partials(lambda y, x: cos(x) / x), HOST)
fresnel_s_p = elementwise("fresnel_s", computed_wide(lambda x: library().fresnel(x)[0]), Partials(
    lambda y, x: sin(0.5 * math.pi * square(x))), HOST)
fresnel_c_p = elementwise("fresnel_c", computed_wide(lambda x: library().fresnel(x)[1]), Partials(
    lambda y, x: cos(0.5 * math.pi * square(x))), HOST)
# log(x) / (1 - x), as a function that is smooth at x = 1
spence_p = special("spence", "spence", Partials(lambda y, x: neg(hyp2f1(1.0, 1.0, 2.0, 1 - x))), "scipy_spence({0})")

expi = function_of(expi_p, "The exponential integral Ei(x): that of exp(t) / t from -inf to x.")
exp1 = function_of(exp1_p, "The exponential integral E1(x): that of exp(-t) / t from x to inf.")
expn = function_of(expn_p, "The exponential integral of whole order n: that of exp(-x t) / t**n over t from 1 to inf.", "n x")
si = function_of(si_p, "The sine integral: that of sin(t) / t from 0 to x.")
ci = function_of(ci_p, "The cosine integral: minus that of cos(t) / t from x to inf.")
fresnel_s = function_of(fresnel_s_p, "The integral of sin(pi t*t / 2) from 0 to x.")
fresnel_c = function_of(fresnel_c_p, "The integral of cos(pi t*t / 2) from 0 to x.")
spence = function_of(spence_p, "The integral of log(t) / (1 - t) from 1 to x >= 0.")

# ---------------------------------------------------------------- hypergeometric functions


def _one_more(function: Callable, position: int) -> Callable:
    """The derivative by one argument of a derivative."""

    def partial(y: Any, *args: Any, orders: tuple[int, ...]) -> Any:
        return function(*args, orders=tuple([n + (i == position) for i, n in enumerate(orders)]))

    return partial


def _derivatives_of(primitive: Callable) -> Callable:
    def function(*args: Any, orders: tuple[int, ...]) -> Any:
        return primitive().bind(*promote_args(primitive().name, args, inexact=True), orders=orders)[0]

    return function


def _first(function: Callable, position: int, count: int) -> Callable:
    orders = tuple([int(i == position) for i in range(count)])
    return lambda y, *args: function(*args, orders=orders)


_hyp1f1_derivative = _derivatives_of(lambda: hyp1f1_derivative_p)
_hyp2f1_derivative = _derivatives_of(lambda: hyp2f1_derivative_p)
hyp1f1_derivative_p = elementwise("hyp1f1_derivative", on_arrays(hyp1f1_derivative), Partials(
    *[_one_more(_hyp1f1_derivative, i) for i in range(3)]), HOST)
hyp2f1_derivative_p = elementwise("hyp2f1_derivative", on_arrays(hyp2f1_derivative), Partials(
    *[_one_more(_hyp2f1_derivative, i) for i in range(4)]), HOST)
hyp1f1_p = special("hyp1f1", "hyp1f1", Partials(
    _first(_hyp1f1_derivative, 0, 3), _first(_hyp1f1_derivative, 1, 3),
    lambda y, a, b, x: mul(div(a, b), hyp1f1(a + 1, b + 1, x))), "scipy_hyp1f1({0}, {1}, {2})")
hyp2f1_p = special("hyp2f1", "hyp2f1", Partials(
    *[_first(_hyp2f1_derivative, i, 4) for i in range(3)],
    lambda y, a, b, c, x: mul(div(mul(a, b), c), hyp2f1(a + 1, b + 1, c + 1, x))), "scipy_hyp2f1({0}, {1}, {2}, {3})")

hyp1f1 = function_of(hyp1f1_p, "The confluent hypergeometric function 1F1(a; b; x).", "a b x")
hyp2f1 = function_of(hyp2f1_p, "The hypergeometric function 2F1(a, b; c; x).", "a b c x")

# ---------------------------------------------------------------- Bessel functions and spherical harmonics

bessel_j_p = special("bessel_j", "jv", Partials(
    unavailable(lambda: bessel_j_p, "the derivative with respect to the order is not available"),
    lambda y, v, x: 0.5 * (bessel_j(v - 1, x) - bessel_j(v + 1, x))), "scipy_jv({0}, {1})")

bessel_j = function_of(bessel_j_p, "The Bessel function of the first kind of order v.", "v x")


def polar_harmonic_impl(n: Any, m: Any, theta: Any) -> Any:
    known = (n >= 0) & (np.abs(m) <= n)
    degree, order = np.where(known, n, 0).astype(np.int64), np.where(known, m, 0).astype(np.int64)
    if hasattr(library(), "sph_harm_y"):
        value = library().sph_harm_y(degree, order, theta, 0.0)
    else:  # before SciPy 1.15
        value = library().sph_harm(order, degree, 0.0, theta)
    return np.where(known, value.real, 0.0)[()]


def _polar_harmonic_partial(y: Any, n: Any, m: Any, theta: Any) -> Any:
    # From the ladder operators; beyond abs(m) = n the functions are 0.
    up = sqrt(abs(mul(n - m, n + m + 1))) * polar_harmonic(n, m + 1, theta)
    down = sqrt(abs(mul(n + m, n - m + 1))) * polar_harmonic(n, m - 1, theta)
    half = chosen(sin(theta) < 0, theta.dtype.type(-0.5), theta.dtype.type(0.5))  # the values are even in theta
    return half * (up - down)


def _whole(name: str) -> Callable:
    return unavailable(lambda: polar_harmonic_p, f"the {name} is a whole number")


polar_harmonic_p: Primitive = elementwise("polar_harmonic", computed_wide(polar_harmonic_impl), Partials(
    _whole("degree"), _whole("order"), _polar_harmonic_partial), HOST)

polar_harmonic = function_of(
    polar_harmonic_p, "The spherical harmonic of degree n and order m at azimuth 0; 0 for abs(m) > n.", "n m theta")
