"""How the distribution functions of Gamma(a, 1) and Beta(a, b) change with their parameters, to any order.

In: float64 arrays of one shape, and how often to differentiate by each parameter. Out: the derivative of the distribution
function at x, divided by the density at x, which can neither underflow nor overflow where the derivative does.

    gamma_ratio(a, x, order=1)    ->    -dx/da at a fixed probability

With t = x exp(s), the derivative is an integral of density(t) times a polynomial in log t, over all t below x or, with the
other sign, above x: on the side that holds less probability. It is computed by the double exponential rule of Takahasi and
Mori (1974), over the s at which the density has not yet fallen by exp(-45).
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

_BLOCK = 1024
"""Elements at a time: each takes the memory of all points of the rule."""


def _rule(step: float = 1 / 24, first: float = -4.0, last: float = 3.1) -> tuple[Any, Any]:
    """Points from 0 to 1, dense at both ends, and their weights."""
    v = np.arange(first, last, step)
    z = np.pi * np.sinh(v)
    points = 1 / (1 + np.exp(-z))
    return points[:, None], (step * np.pi * np.cosh(v) * points / (1 + np.exp(z)))[:, None]


_POINTS, _WEIGHTS = _rule()


def _psi(order: int, x: Any) -> Any:
    import scipy.special
    return scipy.special.psi(x) if order == 0 else scipy.special.polygamma(order, x)


def moment(orders: tuple[int, ...], log_derivative: Callable) -> Any:
    """The derivative of exp(u) by several parameters, divided by exp(u); ``log_derivative(orders)`` is that of u.

    From D(u' exp(u)) by the rule of Leibniz. Works on arrays of any kind.
    """
    if not any(orders):
        return 1.0
    at = next(i for i, n in enumerate(orders) if n)
    rest = tuple([n - (i == at) for i, n in enumerate(orders)])
    total = 0.0
    for chosen in np.ndindex(*[n + 1 for n in rest]):
        ways = math.prod(map(math.comb, rest, chosen))
        left = tuple([n - k for n, k in zip(rest, chosen, strict=True)])
        up = tuple([k + (i == at) for i, k in enumerate(chosen)])
        total = total + log_derivative(up) * moment(left, log_derivative) * ways
    return total


def _window(log_weight: Callable, length: Any) -> Any:
    """How far from s = 0 the weight is above exp(-45), between 0 and a length at which it is not."""
    low, high = np.zeros_like(length), length
    for _ in range(14):
        middle = np.where(low > 0, np.sqrt(low * high), high * 1e-3)
        inside = log_weight(middle) > -45
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return high


def _integral(log_weight: Callable, factor: Callable, length: Any) -> Any:
    """The integral of exp(log_weight(s)) * factor(s) over s from 0 to where the weight vanishes."""
    length = _window(log_weight, length)
    s = _POINTS * length
    # One by one, since the order in which NumPy sums depends on how many elements there are.
    return sum(_WEIGHTS * np.exp(log_weight(s)) * factor(s)) * length


def _log_ratio(x: Any, a: Any) -> Any:
    """log(x / a), accurate for x near a."""
    distance = (x - a) / a
    return np.where(np.abs(distance) < 0.5, np.log1p(distance), np.log(x) - np.log(a))


def _log_less_psi(a: Any) -> Any:
    """log(a) - digamma(a); for large a by the asymptotic series, Abramowitz and Stegun 6.3.18."""
    inverse = 1 / a
    square = inverse * inverse
    series = inverse * (0.5 + inverse * (1 / 12 - square * (1 / 120 - square / 252)))
    return np.where(a > 100, series, np.log(a) - _psi(0, a))


def _gamma_side(a: Any, x: Any, order: int, sign: int) -> Any:
    """The integral over t below x (sign -1) or above."""
    far = 45 / a + np.maximum(x / a, 1) if sign < 0 else np.log1p((45 + a) / x) + np.maximum(np.log(a / x), 0) + 8

    def log_weight(s: Any) -> Any:
        s = sign * s
        return a * s - x * np.expm1(s)

    start = _log_ratio(x, a) + _log_less_psi(a)
    psi = [_psi(k, a) for k in range(1, order)]

    def factor(s: Any) -> Any:
        return moment((order,), lambda n: start + sign * s if n == (1,) else -psi[n[0] - 2])

    return -sign * x * _integral(log_weight, factor, far)


def _beta_side(a: Any, b: Any, x: Any, y: Any, orders: tuple[int, int]) -> Any:
    """The integral over t below x, where y = 1 - x."""
    total = a + b
    far = (50 + np.maximum(b - 1, 0) * -np.log(y)) / a + 1

    def log_weight(s: Any) -> Any:
        return (b - 1) * np.log1p(x * -np.expm1(-s) / y) - a * s

    psi = {(k, which): _psi(k - 1, v) for k in range(1, sum(orders) + 1)
           for which, v in (("a", a), ("b", b), ("sum", total))}

    def factor(s: Any) -> Any:
        def log_derivative(n: tuple[int, ...]) -> Any:
            u = psi[sum(n), "sum"]
            if n[1] == 0:
                u = u - psi[n[0], "a"]
            if n[0] == 0:
                u = u - psi[n[1], "b"]
            if n == (1, 0):
                u = u + np.log(x) - s
            if n == (0, 1):
                u = u + np.log(y + x * -np.expm1(-s))
            return u

        return moment(orders, log_derivative)

    return x * _integral(log_weight, factor, far)


def _in_blocks(function: Callable, valid: Any, *args: Any) -> Any:
    out = np.full(valid.shape, np.nan)
    places = np.flatnonzero(valid)
    for start in range(0, len(places), _BLOCK):
        at = places[start:start + _BLOCK]
        out[at] = function(*[v[at] for v in args])
    return out


def gamma_ratio(a: Any, x: Any, *, order: int) -> Any:
    """The derivative of P(a, x) by a, divided by the density; 0 at x = 0, NaN outside a > 0, x >= 0."""
    import scipy.special
    below = scipy.special.gammainc(a, x) < 0.5
    domain = (a > 0) & np.isfinite(a)
    inside = domain & (x > 0) & np.isfinite(x)
    lower = _in_blocks(lambda *v: _gamma_side(*v, order, -1), inside & below, a, x)
    upper = _in_blocks(lambda *v: _gamma_side(*v, order, 1), inside & ~below, a, x)
    return np.where(domain & (x == 0), 0.0, np.where(below, lower, upper))


def beta_ratio(a: Any, b: Any, x: Any, *, orders: tuple[int, int]) -> Any:
    """The derivative of I_x(a, b) by a and b, divided by the density; 0 at x = 0 and 1, NaN outside a, b > 0 and [0, 1]."""
    import scipy.special
    below = scipy.special.betainc(a, b, x) < 0.5
    domain = (a > 0) & (b > 0) & np.isfinite(a) & np.isfinite(b)
    inside, y = domain & (x > 0) & (x < 1), 1 - x
    lower = _in_blocks(lambda *v: _beta_side(*v, orders), inside & below, a, b, x, y)
    upper = _in_blocks(lambda *v: -_beta_side(*v, orders[::-1]), inside & ~below, b, a, y, x)
    return np.where(domain & ((x == 0) | (x == 1)), 0.0, np.where(below, lower, upper))
