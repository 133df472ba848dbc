"""Special functions: the error function, the gamma and beta functions and their kin, zeta, and Bessel functions.

In: real arrays and scalars, promoted and broadcast. Out: arrays. The values come from ``scipy.special``, loaded at
the first call; narrow floats are computed in float32. Derivatives are closed forms in the same functions.

    { lambda ; a:f64[3]. let b:f64[3] = erf a in (b,) }
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.primitive import HOST, No, Partials, Primitive, missing_rule
from funcgrad.errors import message
from funcgrad.ops.elementwise import abs, exp, log, log1p, mul, neg, sign, square
from funcgrad.ops.promotion import inexact_arg, promote_args
from funcgrad.ops.reduction import is_narrow
from funcgrad.ops.rules import elementwise
from funcgrad.ops.structural import select_n_p


@functools.cache
def _library() -> Any:
    import scipy.special
    return scipy.special


# ---------------------------------------------------------------- makers


def _computed_wide(impl: Callable) -> Callable:
    """An implementation ``impl(*buffers)`` for float32 and float64 that serves narrow floats too."""

    def wrapped(xp: Any, *args: Any) -> Any:
        dtype = args[0].dtype
        if is_narrow(dtype):
            args = tuple([x.astype(np.float32) for x in args])
        return impl(*args).astype(dtype, copy=False)

    return wrapped


def _special(name: str, function: str, jvp: Any, code: Any = HOST) -> Primitive:
    """A primitive whose values are those of a function of ``scipy.special``."""
    return elementwise(name, _computed_wide(lambda *args: getattr(_library(), function)(*args)), jvp, code)


def _function(primitive: Primitive, doc: str) -> Callable:
    """The user function of a primitive, for any number of real arguments."""
    name = primitive.name

    def function(*args: Any) -> Any:
        args = (inexact_arg(name, *args),) if len(args) == 1 else tuple(promote_args(name, args, inexact=True))
        if args[0].dtype.kind == "c":
            raise TypeError(message(f"{name}: defined here for real arguments only", ", ".join(map(describe, args)),
                                    "real arrays"))
        return primitive.bind(*args)[0]

    function.__name__ = function.__qualname__ = name
    function.__doc__, function.__module__ = doc, __name__
    return function


def _unavailable(primitive: Callable, reason: str) -> Callable:
    """The partial derivative that does not exist here: asking for it raises."""

    def entry(*args: Any) -> Any:
        raise missing_rule(primitive(), "differentiation", "jvp", reason)

    return entry


def _chosen(condition: Any, x: Any, y: Any) -> Any:
    return select_n_p.bind(condition, y, x)[0]


# ---------------------------------------------------------------- error function

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

erf_p = _special("erf", "erf", Partials(lambda y, x: _TWO_OVER_ROOT_PI * exp(neg(square(x)))), "erf({0})")
erfc_p = _special("erfc", "erfc", Partials(lambda y, x: -_TWO_OVER_ROOT_PI * exp(neg(square(x)))), "erfc({0})")
erf_inv_p = _special("erf_inv", "erfinv", Partials(lambda y, x: exp(square(y)) / _TWO_OVER_ROOT_PI), "erf_inv({0})")

erf = _function(erf_p, "The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.")
erfc = _function(erfc_p, "1 - erf(x), accurate for large x.")
erf_inv = _function(erf_inv_p, "The inverse of erf, on [-1, 1]; NaN outside.")

# ---------------------------------------------------------------- gamma, polygamma, zeta


def polygamma_impl(m: Any, x: Any) -> Any:
    library = _library()
    factor = np.where(m % 2 == 0, -1, 1) * library.gamma(m + 1)
    value = np.where(m == 0, library.psi(x), factor * library.zeta(m + 1, x))
    return np.where((m >= 0) & (m == np.floor(m)), value, np.nan).astype(x.dtype)[()]


_ORDER = "the derivative with respect to the order is not available"
lgamma_p = _special("lgamma", "gammaln", Partials(lambda y, x: digamma(x)), "lgamma({0})")
digamma_p = _special("digamma", "psi", Partials(lambda y, x: polygamma(1.0, x)), "digamma({0})")
polygamma_p = elementwise("polygamma", _computed_wide(polygamma_impl), Partials(
    _unavailable(lambda: polygamma_p, _ORDER), lambda y, m, x: polygamma(m + 1, x)), HOST)
zeta_p = _special("zeta", "zeta", Partials(
    _unavailable(lambda: zeta_p, _ORDER), lambda y, x, q: neg(x) * zeta(x + 1, q)))

lgamma = _function(lgamma_p, "The logarithm of the absolute value of the gamma function.")
digamma = _function(digamma_p, "The derivative of lgamma.")
polygamma = _function(polygamma_p, "polygamma(m, x): the m-th derivative of digamma at x, for whole m >= 0.")
zeta = _function(zeta_p, "The Hurwitz zeta function zeta(x, q), the sum of (q + k) ** -x over k = 0, 1, 2, ...")

# ---------------------------------------------------------------- incomplete gamma functions


def _gamma_density(y: Any, a: Any, x: Any) -> Any:
    """The derivative of igamma(a, x) with respect to x: the density of the gamma distribution."""
    return exp((a - 1) * log(x) - x - lgamma(a))


# Below, P(a, x) = igamma, p its derivative with respect to x, and D = -(dP/da) / p: how a sample x of the gamma
# distribution moves with a. The two expansions are those of Abramowitz and Stegun, 6.5.29 and 6.5.31,
# differentiated term by term; in each region all their terms have one sign.

_MANY_TERMS = 2000
_LARGE = 4e4


def sample_derivative(a: Any, x: Any) -> Any:
    """D for float64 a and x of one shape; NaN outside a > 0, x >= 0."""
    valid = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
    out = np.where((a > 0) & (x == 0), 0.0, np.nan)
    deviations = np.abs(x - a) / np.sqrt(np.where(valid, a, 1))
    large = valid & (a > _LARGE) & (deviations < 40)
    below = valid & ~large & ((x <= 1) | (x <= a))
    above = valid & ~large & ~below
    for where, function in ((large, _by_differences), (below, _by_series), (above, _by_fraction)):
        if where.any():
            out[where] = function(a[where], x[where])
    return out


def _by_series(a: Any, x: Any) -> Any:
    """From P = x**a exp(-x) / Gamma(a+1) * S with S = sum of x**n / ((a+1) ... (a+n))."""
    term, total = np.ones_like(a), np.ones_like(a)
    term_dot, total_dot = np.zeros_like(a), np.zeros_like(a)
    going = np.ones(a.shape, bool)  # each element stops by itself: its value does not depend on its neighbours
    for n in range(1, _MANY_TERMS):
        ratio = x / (a + n)
        term_dot = (term_dot - term / (a + n)) * ratio
        term = term * ratio
        total += term * going
        total_dot += term_dot * going
        going &= (term > 1e-17 * total) | (term_dot < 1e-17 * total_dot)
        if not going.any():
            break
    return -(total_dot + total * (np.log(x) - _library().psi(a + 1))) * x / a


def _by_fraction(a: Any, x: Any) -> Any:
    """From 1 - P = x**a exp(-x) / Gamma(a) * C, C a continued fraction, for x above 1 and a."""
    b = x + 1 - a
    p, p_before, q, q_before = b, np.ones_like(a), np.ones_like(a), np.zeros_like(a)
    p_dot, p_dot_before, q_dot, q_dot_before = -np.ones_like(a), np.zeros_like(a), np.zeros_like(a), np.zeros_like(a)
    value, value_dot = q / p, -q * p_dot / p ** 2
    going = np.ones(a.shape, bool)
    for n in range(1, _MANY_TERMS):
        c, b = n * (a - n), b + 2
        p_dot, p_dot_before = b * p_dot - p + c * p_dot_before + n * p_before, p_dot
        q_dot, q_dot_before = b * q_dot - q + c * q_dot_before + n * q_before, q_dot
        p, p_before = b * p + c * p_before, p
        q, q_before = b * q + c * q_before, q
        scale = 1 / np.abs(p)
        p, p_before, q, q_before = p * scale, p_before * scale, q * scale, q_before * scale
        p_dot, p_dot_before = p_dot * scale, p_dot_before * scale
        q_dot, q_dot_before = q_dot * scale, q_dot_before * scale
        old, old_dot = value, value_dot
        value = np.where(going, q / p, old)
        value_dot = np.where(going, (q_dot - value * p_dot) / p, old_dot)
        going &= (np.abs(value - old) > 1e-16 * np.abs(value)) | (np.abs(value_dot - old_dot) > 1e-15 * np.abs(value_dot))
        if not going.any():
            break
    return x * (value * (np.log(x) - _library().psi(a)) + value_dot)


def _by_differences(a: Any, x: Any) -> Any:
    """Central differences of eighth order in a: for large a the scale of P is sqrt(a), far above rounding."""
    library = _library()
    root = np.sqrt(a)
    step = root * np.minimum(0.05, 0.2 * root / np.maximum(np.abs(x - a), 1))
    total = np.zeros_like(a)
    for k, weight in enumerate((4 / 5, -1 / 5, 4 / 105, -1 / 280), 1):
        up, down = a + k * step, a - k * step
        # The smaller of P and 1 - P holds more digits.
        lower = library.gammainc(up, x) - library.gammainc(down, x)
        upper = library.gammaincc(down, x) - library.gammaincc(up, x)
        total += weight * np.where(x < a, lower, upper)
    density = np.exp(_log_density(a, x))
    return -total / step / density


def _log_density(a: Any, x: Any) -> Any:
    """log p; for large a by Stirling's formula, whose large terms cancel exactly."""
    distance = (x - a) / a
    large = a > _LARGE
    with np.errstate(all="ignore"):
        stirling = 0.5 * np.log(a / (2 * np.pi)) - 1 / (12 * a) + a * (np.log1p(distance) - distance) - np.log(x)
        direct = (a - 1) * np.log(x) - x - _library().gammaln(a)
    return np.where(large, stirling, direct)


def _in_float64(function: Callable) -> Callable:
    """An implementation of two arguments from one for float64 arrays with at least one axis."""

    def impl(a: Any, x: Any) -> Any:
        wide = [np.atleast_1d(v).astype(np.float64) for v in np.broadcast_arrays(a, x)]
        with np.errstate(all="ignore"):
            out = function(*wide).astype(a.dtype)
        return out.reshape(np.broadcast_shapes(a.shape, x.shape))[()]

    return impl


def igamma_grad_a_impl(a: Any, x: Any) -> Any:
    density = np.exp(_log_density(a, x))
    return np.where((density == 0) & (a > 0), 0.0, -sample_derivative(a, x) * density)


igamma_grad_a_p = elementwise("igamma_grad_a", _computed_wide(_in_float64(igamma_grad_a_impl)), Partials(
    _unavailable(lambda: igamma_grad_a_p, "the second derivative with respect to a is not available"),
    lambda y, a, x: _gamma_density(y, a, x) * (log(x) - digamma(a))), HOST)
random_gamma_grad_p = elementwise("random_gamma_grad", _computed_wide(_in_float64(sample_derivative)), No(
    "the second derivative of a gamma sample is not available"), HOST)
igamma_p = _special("igamma", "gammainc", Partials(lambda y, a, x: igamma_grad_a(a, x), _gamma_density))
igammac_p = _special("igammac", "gammaincc", Partials(
    lambda y, a, x: neg(igamma_grad_a(a, x)), lambda y, a, x: neg(_gamma_density(y, a, x))))

gammainc = igamma = _function(igamma_p, "The regularized lower incomplete gamma function P(a, x), a > 0, x >= 0.")
gammaincc = igammac = _function(igammac_p, "The regularized upper incomplete gamma function, 1 - P(a, x).")
igamma_grad_a = _function(igamma_grad_a_p, "The derivative of igamma(a, x) with respect to a.")
random_gamma_grad = _function(random_gamma_grad_p, "The derivative with respect to a of a sample x of Gamma(a, 1).")

# ---------------------------------------------------------------- incomplete beta function


def _beta_density(y: Any, a: Any, b: Any, x: Any) -> Any:
    return exp((b - 1) * log1p(neg(x)) + (a - 1) * log(x) + lgamma(a + b) - lgamma(a) - lgamma(b))


_BETA = "the derivatives with respect to a and b are not available, only that with respect to x"
regularized_incomplete_beta_p = _special("regularized_incomplete_beta", "betainc", Partials(
    _unavailable(lambda: regularized_incomplete_beta_p, _BETA),
    _unavailable(lambda: regularized_incomplete_beta_p, _BETA), _beta_density))

betainc = regularized_incomplete_beta = _function(
    regularized_incomplete_beta_p, "betainc(a, b, x): the distribution function of Beta(a, b) at x in [0, 1].")

# ---------------------------------------------------------------- Bessel functions


def _i1e_partial(y: Any, x: Any) -> Any:
    small = np.finfo(x.dtype).eps if x.dtype.kind == "f" else 2.0 ** -7
    near_zero = abs(x) < small
    safe = _chosen(near_zero, x.dtype.type(small), x)
    return _chosen(near_zero, x.dtype.type(0.5), bessel_i0e(safe) - y * (sign(safe) + 1 / safe))


bessel_i0e_p = _special("bessel_i0e", "i0e", Partials(lambda y, x: bessel_i1e(x) - sign(x) * y))
bessel_i1e_p = _special("bessel_i1e", "i1e", Partials(_i1e_partial))

bessel_i0e = _function(bessel_i0e_p, "exp(-abs(x)) * bessel_i0(x), which does not overflow.")
bessel_i1e = _function(bessel_i1e_p, "exp(-abs(x)) * bessel_i1(x), which does not overflow.")


def bessel_i0(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 0."""
    x = inexact_arg("bessel_i0", x)
    return mul(exp(abs(x)), bessel_i0e(x))


def bessel_i1(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 1."""
    x = inexact_arg("bessel_i1", x)
    return mul(exp(abs(x)), bessel_i1e(x))
