"""Special functions: the error function, the gamma and beta functions and their kin, zeta, and modified Bessel functions.

In: real arrays and scalars, promoted and broadcast. Out: arrays. The values come from ``scipy.special``, loaded at
the first call, and are computed in float64. Derivatives are closed forms in the same functions; those by the parameters of
the incomplete gamma and beta functions are integrals, see ``cdf_parameters.py``. Compiled programs call SciPy's functions
by their addresses, without Python.

    { lambda ; a:f64[3]. let b:f64[3] = erf a in (b,) }
"""
from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import HOST, SAME, Partials, Primitive, missing_rule
from funcgrad.errors import message
from funcgrad.ops.cdf_parameters import beta_ratio, gamma_ratio, moment
from funcgrad.ops.elementwise import abs, exp, log, log1p, mul, neg, sign, square
from funcgrad.ops.parameter_series import zeta_derivative
from funcgrad.ops.promotion import inexact_arg, promote_args
from funcgrad.ops.rules import elementwise
from funcgrad.ops.structural import convert_element_type, select_n_p


@functools.cache
def library() -> Any:
    import scipy.special
    return scipy.special


# ---------------------------------------------------------------- makers


def computed_wide(impl: Callable) -> Callable:
    """An implementation from ``impl(*buffers)`` for float64, or complex128: other floats are widened, and results rounded."""

    def wrapped(xp: Any, *args: Any, **params: Any) -> Any:
        dtype = args[0].dtype
        wide = np.complex128 if dtype.kind == "c" else np.float64
        if dtype == wide:
            return impl(*args, **params)
        with np.errstate(over="ignore"):  # as SciPy, which overflows without a warning
            return impl(*[x.astype(wide) for x in args], **params).astype(dtype)

    return numpy_only(wrapped)


def special(name: str, function: str, jvp: Any, code: Any = HOST) -> Primitive:
    """A primitive whose values are those of a function of ``scipy.special``."""
    return elementwise(name, computed_wide(lambda *args: getattr(library(), function)(*args)), jvp, code,
                       cuda=of_cupy(lambda library, *args: getattr(library, function)(*args)) if function in OF_CUPY else SAME)


OF_CUPY = frozenset("betaln beta binom betainc erf erfc erfcx erfinv exp1 expi gamma gammainc gammaincc gammaln i0e i1e "
                    "loggamma ndtri poch psi xlog1py xlogy zeta".split())
"""What ``cupyx.scipy.special`` has of the functions used."""


def of_cupy(function: Callable) -> Callable:
    """An implementation for CuPy from ``function(cupyx.scipy.special, *buffers)``, computed in float64 as on the host."""

    def impl(xp: Any, *args: Any, **params: Any) -> Any:
        import cupyx.scipy.special
        return computed_wide(lambda *wide: function(cupyx.scipy.special, *wide, **params))(xp, *args)

    return impl


def on_arrays(function: Callable) -> Callable:
    """``function(*arrays, **params)``, for float64 arrays of one shape with one axis, as an implementation."""

    def impl(*args: Any, **params: Any) -> Any:
        arrays = np.broadcast_arrays(*args)
        with np.errstate(all="ignore"):
            return function(*[v.reshape(-1) for v in arrays], **params).reshape(arrays[0].shape)[()]

    return computed_wide(impl)


def function_of(primitive: Primitive, doc: str, parameters: str = "x", complex: bool = False) -> Callable:
    """The user function of a primitive, of real arguments with these names, or of complex ones."""
    name, names = primitive.name, parameters.split()
    signature = inspect.Signature([inspect.Parameter(p, inspect.Parameter.POSITIONAL_OR_KEYWORD) for p in names])

    def function(*args: Any, **named: Any) -> Any:
        if named or len(args) != len(names):
            try:
                args = signature.bind(*args, **named).args
            except TypeError as error:
                raise TypeError(message(f"{name}: the arguments do not fit", error, f"{name}{signature}")) from None
        return primitive.bind(*inexact_args(name, *args, complex=complex))[0]

    function.__name__ = function.__qualname__ = name
    function.__doc__, function.__module__ = doc, __name__
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def inexact_args(name: str, *args: Any, complex: bool = False) -> tuple:
    """Arguments in floating point, of one dtype and shape. Raises TypeError on complex ones, unless they are allowed."""
    args = (inexact_arg(name, *args),) if len(args) == 1 else tuple(promote_args(name, args, inexact=True))
    if args[0].dtype.kind == "c" and not complex:
        raise TypeError(message(f"{name}: defined here for real arguments only", ", ".join(map(describe, args)),
                                "real arrays"))
    return args


def unavailable(primitive: Callable, reason: str) -> Callable:
    """The partial derivative that does not exist here: asking for it raises."""

    def entry(*args: Any) -> Any:
        raise missing_rule(primitive(), "differentiation", "jvp", reason)

    return entry


def chosen(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y; both of one dtype, and scalars stay literals."""
    return select_n_p.bind(condition, y, x)[0]


# ---------------------------------------------------------------- error function

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

erf_p = special("erf", "erf", Partials(lambda y, x: _TWO_OVER_ROOT_PI * exp(neg(square(x)))), "erf({0})")
erfc_p = special("erfc", "erfc", Partials(lambda y, x: -_TWO_OVER_ROOT_PI * exp(neg(square(x)))), "erfc({0})")
erf_inv_p = special("erf_inv", "erfinv", Partials(lambda y, x: exp(square(y)) / _TWO_OVER_ROOT_PI), "erf_inv({0})")

erf = function_of(erf_p, "The error function, 2/sqrt(pi) times the integral of exp(-t*t) from 0 to x.")
erfc = function_of(erfc_p, "1 - erf(x), accurate for large x.")
erf_inv = function_of(erf_inv_p, "The inverse of erf, on [-1, 1]; NaN outside.")

# ---------------------------------------------------------------- gamma, polygamma, zeta


def polygamma_impl(m: Any, x: Any) -> Any:
    factor = np.where(m % 2 == 0, -1, 1) * library().gamma(m + 1)
    value = np.where(m == 0, library().psi(x), factor * library().zeta(m + 1, x))
    return np.where((m >= 0) & (m == np.floor(m)), value, np.nan)[()]


_ORDER = "it is defined for whole orders, so the derivative with respect to the order is not available"
lgamma_p = special("lgamma", "gammaln", Partials(lambda y, x: digamma(x)), "lgamma({0})")
digamma_p = special("digamma", "psi", Partials(lambda y, x: polygamma(1.0, x)), {"f": "digamma({0})"})
polygamma_p = elementwise("polygamma", computed_wide(polygamma_impl), Partials(
    unavailable(lambda: polygamma_p, _ORDER), lambda y, m, x: polygamma(m + 1, x)), HOST)

lgamma = function_of(lgamma_p, "The logarithm of the absolute value of the gamma function.")
digamma = function_of(digamma_p, "The derivative of lgamma.", complex=True)
polygamma = function_of(polygamma_p, "The m-th derivative of digamma at x, for whole m >= 0.", "m x")

gamma_p = special("gamma", "gamma", Partials(lambda y, x: y * digamma(x)), {"f": "scipy_gamma({0})"})
log_gamma_p = special("log_gamma", "loggamma", Partials(lambda y, x: digamma(x)))
beta_p = special("beta", "beta", Partials(lambda y, a, b: y * _digamma_difference(a, b),
                                          lambda y, a, b: y * _digamma_difference(b, a)), "scipy_beta({0}, {1})")
betaln_p = special("betaln", "betaln", Partials(lambda y, a, b: _digamma_difference(a, b),
                                                lambda y, a, b: _digamma_difference(b, a)), "scipy_betaln({0}, {1})")
binom_p = special("binom", "binom", Partials(
    lambda y, n, k: y * (digamma(n + 1) - digamma(n - k + 1)),
    lambda y, n, k: y * (digamma(n - k + 1) - digamma(k + 1))), "scipy_binom({0}, {1})")
poch_p = special("poch", "poch", Partials(
    lambda y, z, m: y * (digamma(z + m) - digamma(z)), lambda y, z, m: y * digamma(z + m)), "scipy_poch({0}, {1})")


def _digamma_difference(a: Any, b: Any) -> Any:
    return digamma(a) - digamma(a + b)


gamma = function_of(gamma_p, "The gamma function.", complex=True)
log_gamma = function_of(log_gamma_p, "The principal branch of the logarithm of the gamma function.", "z", complex=True)
beta = function_of(beta_p, "The beta function, gamma(a) gamma(b) / gamma(a + b).", "a b")
betaln = function_of(betaln_p, "The logarithm of the absolute value of the beta function.", "a b")
binom = function_of(binom_p, "The binomial coefficient of real n and k.", "n k")
poch = function_of(poch_p, "gamma(z + m) / gamma(z).", "z m")


def _zeta_by_q(y: Any, x: Any, q: Any, *, order: int = 0) -> Any:
    higher = zeta_by_order(x + 1, q, order)
    return neg(x * higher + order * zeta_by_order(x + 1, q, order - 1)) if order else neg(x * higher)


def zeta_by_order(x: Any, q: Any, order: int) -> Any:
    """The derivative of zeta(x, q) with respect to x, taken ``order`` times; x > 1 and q > 0."""
    x, q = inexact_args("zeta", x, q)
    return zeta_derivative_p.bind(x, q, order=order)[0] if order else zeta(x, q)


zeta_p = special("zeta", "zeta", Partials(lambda y, x, q: zeta_by_order(x, q, 1), _zeta_by_q))
zeta_derivative_p = elementwise("zeta_derivative", on_arrays(zeta_derivative), Partials(
    lambda y, x, q, *, order: zeta_by_order(x, q, order + 1), _zeta_by_q), HOST)

zeta = function_of(zeta_p, "The Hurwitz zeta function zeta(x, q), the sum of (q + k) ** -x over k = 0, 1, 2, ...", "x q")

# ---------------------------------------------------------------- products with logarithms


def _over(z: Any, x: Any, y: Any) -> Any:
    """x / y, and 0 where x is 0."""
    zero = x == 0
    return x / chosen(zero, y * 0 + 1, y)


# Where x is 0, so is the product, at y = 0 too; its derivative by x there is that of the product elsewhere.
_TIMES_LOG = "select_bool(({0} == 0) & ({1} == {1}), {0} * LOG({1}), abs({0}))"
xlogy_p = special("xlogy", "xlogy", Partials(lambda z, x, y: log(y), _over), {"f": _TIMES_LOG.replace("LOG", "log")})
xlog1py_p = special("xlog1py", "xlog1py", Partials(lambda z, x, y: log1p(y), lambda z, x, y: _over(z, x, y + 1)),
                    {"f": _TIMES_LOG.replace("LOG", "log1p")})

xlogy = function_of(xlogy_p, "x * log(y), and 0 where x is 0.", "x y", complex=True)
xlog1py = function_of(xlog1py_p, "x * log1p(y), and 0 where x is 0.", "x y", complex=True)

# ---------------------------------------------------------------- incomplete gamma functions

# P(a, x) = igamma has the density p. A derivative of P by a, divided by p, is a primitive, whose own derivatives follow from
# those of log(p): ``moment`` is the same derivative of p, divided by p.


def _in_float64(function: Callable) -> Callable:
    """A rule whose large terms cancel, computed in float64 for all dtypes."""

    def rule(y: Any, *args: Any) -> Any:
        dtype = args[0].dtype
        out = function(*[convert_element_type(v, np.float64) for v in args])
        return convert_element_type(out, dtype)

    return rule


def _log_gamma_density(a: Any, x: Any) -> Any:
    """(a - 1) log(x) - x - lgamma(a); for large a by Stirling's formula, whose large terms cancel exactly."""
    large = a > 100
    b, y = chosen(large, a, np.float64(100)), chosen(large, x, np.float64(100))
    distance = (y - b) / b
    inverse = 1 / b
    rest = inverse * (1 / 12 - square(inverse) * (1 / 360 - square(inverse) * (1 / 1260 - square(inverse) / 1680)))
    stirling = 0.5 * log(b / (2 * math.pi)) - rest + b * (log1p(distance) - distance) - log(y)
    c = chosen(large, np.float64(1), a)
    return chosen(large, stirling, xlogy(c - 1, x) - x - lgamma(c))


def _density_to_infinity(a: Any, x: Any) -> Any:
    end = x == math.inf
    return chosen(end, np.float64(0), exp(_log_gamma_density(a, chosen(end, np.float64(1), x))))


_gamma_density = _in_float64(_density_to_infinity)


def _gamma_log_derivative(a: Any, x: Any) -> Callable:
    return lambda n: log(x) - digamma(a) if n == (1,) else neg(polygamma(float(n[0] - 1), a))


def _ratio_by_a(y: Any, a: Any, x: Any, *, order: int) -> Any:
    return igamma_ratio(a, x, order + 1) - y * (log(x) - digamma(a))


def _ratio_by_x(y: Any, a: Any, x: Any, *, order: int) -> Any:
    return moment((order,), _gamma_log_derivative(a, x)) - y * ((a - 1) / x - 1)


def igamma_ratio(a: Any, x: Any, order: int) -> Any:
    """The derivative of igamma(a, x) with respect to a, taken ``order`` >= 1 times, divided by that with respect to x."""
    return igamma_ratio_p.bind(*inexact_args("igamma", a, x), order=order)[0]


igamma_ratio_p = elementwise("igamma_ratio", on_arrays(gamma_ratio), Partials(_ratio_by_a, _ratio_by_x), HOST)


def igamma_grad_a(a: Any, x: Any) -> Any:
    """The derivative of igamma(a, x) with respect to a."""
    a, x = inexact_args("igamma_grad_a", a, x)
    density = _gamma_density(None, a, x)
    return mul(density, chosen(density > 0, igamma_ratio(a, x, 1), a * 0))


def random_gamma_grad(a: Any, x: Any) -> Any:
    """The derivative with respect to a of a sample x of Gamma(a, 1), at a fixed probability."""
    return neg(igamma_ratio(a, x, 1))


igamma_p = special("igamma", "gammainc", Partials(lambda y, a, x: igamma_grad_a(a, x), _gamma_density),
                   "scipy_gammainc({0}, {1})")
igammac_p = special("igammac", "gammaincc", Partials(
    lambda y, a, x: neg(igamma_grad_a(a, x)), lambda y, a, x: neg(_gamma_density(y, a, x))), "scipy_gammaincc({0}, {1})")

gammainc = igamma = function_of(igamma_p, "The regularized lower incomplete gamma function P(a, x), a > 0, x >= 0.", "a x")
gammaincc = igammac = function_of(igammac_p, "The regularized upper incomplete gamma function, 1 - P(a, x).", "a x")

# ---------------------------------------------------------------- incomplete beta function

_beta_density = _in_float64(
    lambda a, b, x: exp(xlog1py(b - 1, neg(x)) + xlogy(a - 1, x) - betaln(a, b)))


def _beta_log_derivative(a: Any, b: Any, x: Any) -> Callable:
    def log_derivative(n: tuple[int, ...]) -> Any:
        order = sum(n) - 1
        u = _polygamma(order, a + b)
        if n[1] == 0:
            u = u - _polygamma(order, a)
        if n[0] == 0:
            u = u - _polygamma(order, b)
        return u + log(x) if n == (1, 0) else u + log1p(neg(x)) if n == (0, 1) else u

    return log_derivative


def _polygamma(order: int, x: Any) -> Any:
    return digamma(x) if order == 0 else polygamma(float(order), x)


def _beta_ratio_by(step: tuple[int, int]) -> Callable:
    def partial(y: Any, a: Any, b: Any, x: Any, *, orders: tuple[int, int]) -> Any:
        following = (orders[0] + step[0], orders[1] + step[1])
        return betainc_ratio(a, b, x, following) - y * _beta_log_derivative(a, b, x)(step)

    return partial


def _beta_ratio_by_x(y: Any, a: Any, b: Any, x: Any, *, orders: tuple[int, int]) -> Any:
    return moment(orders, _beta_log_derivative(a, b, x)) - y * ((a - 1) / x - (b - 1) / (1 - x))


def betainc_ratio(a: Any, b: Any, x: Any, orders: tuple[int, int]) -> Any:
    """The derivative of betainc(a, b, x) by a and by b, taken ``orders`` times, divided by that with respect to x."""
    return betainc_ratio_p.bind(*inexact_args("betainc", a, b, x), orders=orders)[0]


betainc_ratio_p = elementwise("betainc_ratio", on_arrays(beta_ratio), Partials(
    _beta_ratio_by((1, 0)), _beta_ratio_by((0, 1)), _beta_ratio_by_x), HOST)


def _betainc_by(orders: tuple[int, int]) -> Callable:
    def partial(y: Any, a: Any, b: Any, x: Any) -> Any:
        density = _beta_density(y, a, b, x)
        inside = (x > 0) & (x < 1)  # at the ends the density may be infinite, and the derivative is 0
        return chosen(inside, density, x * 0) * betainc_ratio(a, b, x, orders)

    return partial


regularized_incomplete_beta_p = special("regularized_incomplete_beta", "betainc", Partials(
    _betainc_by((1, 0)), _betainc_by((0, 1)), _beta_density), "scipy_betainc({0}, {1}, {2})")

betainc = regularized_incomplete_beta = function_of(
    regularized_incomplete_beta_p, "The distribution function of Beta(a, b) at x in [0, 1].", "a b x")

# ---------------------------------------------------------------- modified Bessel functions


def _next_to_i0e(x: Any) -> Any:
    """The derivative of exp(abs(x)) * i1e(x), times exp(-abs(x)); the functions of all orders differentiate alike."""
    return 0.5 * (bessel_i0e(x) + bessel_ive(2.0, x))


bessel_i0e_p = special("bessel_i0e", "i0e", Partials(lambda y, x: bessel_i1e(x) - sign(x) * y), "scipy_i0e({0})")
bessel_i1e_p = special("bessel_i1e", "i1e", Partials(lambda y, x: _next_to_i0e(x) - sign(x) * y), "scipy_i1e({0})")
bessel_ive_p = special("bessel_ive", "ive", Partials(
    unavailable(lambda: bessel_ive_p, "the derivative with respect to the order is not available"),
    lambda y, v, x: 0.5 * (bessel_ive(v - 1, x) + bessel_ive(v + 1, x)) - sign(x) * y), "scipy_ive({0}, {1})")

bessel_i0e = function_of(bessel_i0e_p, "exp(-abs(x)) * bessel_i0(x), which does not overflow.")
bessel_i1e = function_of(bessel_i1e_p, "exp(-abs(x)) * bessel_i1(x), which does not overflow.")
bessel_ive = function_of(bessel_ive_p, "The modified Bessel function of the first kind of order v, times exp(-abs(x)).", "v x")


def bessel_i0(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 0."""
    x, = inexact_args("bessel_i0", x)
    return mul(exp(abs(x)), bessel_i0e(x))


def bessel_i1(x: Any) -> Any:
    """The modified Bessel function of the first kind of order 1."""
    x, = inexact_args("bessel_i1", x)
    return mul(exp(abs(x)), bessel_i1e(x))
