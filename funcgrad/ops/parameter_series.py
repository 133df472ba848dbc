"""Sums whose derivatives by their parameters are taken term by term: hypergeometric series, and the Hurwitz zeta function.

In: float64 arrays of one shape with one axis, and how often to differentiate by each argument. Out: the derivative.

    hypergeometric((a,), (b,), x, (1, 0, 0))    ->    the derivative of 1F1(a; b; x) by a
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_MANY_TERMS = 5000
_FEWEST_TERMS = 8
"""A derivative may begin with terms that are 0."""


def hypergeometric(above: Sequence[Any], below: Sequence[Any], x: Any, orders: Sequence[int]) -> Any:
    """A derivative of the sum over k of (a)_k ... x**k / ((b)_k ... k!); ``orders`` are those by a, ..., b, ..., and x.

    Each argument has its own factor in a term, so a column holds the derivatives of each factor. NaN where the terms have
    not become negligible.
    """
    columns = [[np.ones_like(x), *[np.zeros_like(x)] * n] for n in orders]
    total, going, quiet = np.zeros_like(x), np.ones(x.shape, bool), np.zeros(x.shape, int)
    excess = len(below) + 1 - len(above)
    for k in range(_MANY_TERMS):
        term = math.prod([column[-1] for column in columns[1:]], start=columns[0][-1])
        total = np.where(going, total + term, total)
        quiet = np.where(np.abs(term) <= 1e-17 * np.abs(total), quiet + 1, 0)
        going &= (quiet < 3) | (k < _FEWEST_TERMS)
        if not going.any():
            break
        # Every factor is divided by that of a parameter 1, so that none of them overflows.
        for i, a in enumerate(above):
            columns[i] = _times(columns[i], a + k, 1 / (k + 1))
        for i, b in enumerate(below, len(above)):
            columns[i] = _divided(columns[i], b + k, k + 1)
        columns[-1] = _times(columns[-1], x, (k + 1.0) ** -excess)
    return np.where(going, np.nan, total)


def _times(column: list, value: Any, scale: float) -> list:
    """The derivatives of a factor times scale * p, where p, now at ``value``, is the argument or it plus a number."""
    return [scale * (value * d + (n * column[n - 1] if n else 0)) for n, d in enumerate(column)]


def _divided(column: list, value: Any, scale: float) -> list:
    """The same for a division by p / scale."""
    found: list = []
    for n, d in enumerate(column):
        found.append((scale * d - (n * found[-1] if n else 0)) / value)
    return found


def hyp1f1_derivative(a: Any, b: Any, x: Any, *, orders: tuple[int, int, int]) -> Any:
    """A derivative of 1F1(a; b; x), for negative x by Kummer's exp(x) 1F1(b - a; b; -x), Abramowitz and Stegun 13.1.27."""
    out = np.full(x.shape, np.nan)
    left = x < 0
    out[~left] = hypergeometric((a[~left],), (b[~left],), x[~left], orders)
    if not left.any():
        return out
    by_a, by_b, by_x = orders
    a, b, x = a[left], b[left], x[left]
    total = np.zeros_like(x)
    for i in range(by_b + 1):
        for j in range(by_x + 1):
            weight = math.comb(by_b, i) * math.comb(by_x, j) * (-1) ** (by_a + j)
            total += weight * hypergeometric((b - a,), (b,), -x, (by_a + i, by_b - i, j))
    out[left] = total * np.exp(x)
    return out


def hyp2f1_derivative(a: Any, b: Any, c: Any, x: Any, *, orders: tuple[int, int, int, int]) -> Any:
    """A derivative of 2F1(a, b; c; x), for abs(x) < 1; NaN elsewhere."""
    inside = np.abs(x) < 1
    out = np.full(x.shape, np.nan)
    out[inside] = hypergeometric((a[inside], b[inside]), (c[inside],), x[inside], orders)
    return out


_DIRECT = 20
"""Terms of the zeta function that are added up as they are."""
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


def zeta_derivative(s: Any, q: Any, *, order: int) -> Any:
    """The derivative of zeta(s, q) by s, for s > 1 and q > 0, NaN elsewhere: the formula of Euler and Maclaurin, term by term.

    A list holds the Taylor coefficients of a factor in s.
    """
    powers = [_power(q + k, s, order) for k in range(_DIRECT)]
    total = sum([power[order] for power in powers[1:]], powers[0][order])
    w = q + _DIRECT
    power = _power(w, s, order)
    pole = [(-1) ** n / (s - 1) ** (n + 1) for n in range(order + 1)]
    total = total + w * _product(power, pole)[order] + power[order] / 2
    rising = [s, *([np.ones_like(s)] if order else []), *[np.zeros_like(s)] * (order - 1)]
    for j, number in enumerate(_BERNOULLI, 1):
        total = total + number / math.factorial(2 * j) * w ** (1 - 2 * j) * _product(power, rising)[order]
        for k in (2 * j - 1, 2 * j):
            rising = [(s + k) * r + (rising[n - 1] if n else 0) for n, r in enumerate(rising)]
    return np.where((s > 1) & (q > 0), total * math.factorial(order), np.nan)


def _power(w: Any, s: Any, order: int) -> list:
    value, logarithm = w ** -s, -np.log(w)
    return [value * logarithm ** n / math.factorial(n) for n in range(order + 1)]


def _product(x: list, y: list) -> list:
    return [sum(x[i] * y[n - i] for i in range(n + 1)) for n in range(len(x))]
