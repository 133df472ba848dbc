"""Elementwise operations of NumPy that are no composition of others: log10, logaddexp, logaddexp2, gcd.

In: arrays and scalars, promoted and broadcast. Out: arrays.

    { lambda ; a:f64[3] b:f64[3]. let c:f64[3] = logaddexp a b in (c,) }
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core.primitive import Constant, Partials, Primitive
from funcgrad.errors import message
from funcgrad.ops.elementwise import (
    add,
    binary,
    bitwise_and,
    eq,
    exp,
    ge,
    log1p,
    logistic,
    mul,
    ne,
    real,
    reciprocal,
    sub,
    unary,
)
from funcgrad.ops.promotion import promote_args, promote_inexact
from funcgrad.ops.rules import elementwise
from funcgrad.ops.structural import select_n, select_n_p


def _share(x: Any, y: Any, scale: float = 1.0) -> Any:
    """exp(x) / (exp(x) + exp(y)), the partial derivative of logaddexp; a half where x and y are the same infinity."""
    difference = sub(x, y)
    same_infinity = bitwise_and(eq(x, y), ne(difference, difference))
    difference = select_n_p.bind(same_infinity, difference, x.dtype.type(0))[0]
    return logistic(difference if scale == 1 else mul(difference, scale))


_LN2, _LN10 = float(np.log(2)), float(np.log(10))

logaddexp_p = elementwise("logaddexp", lambda xp, x, y: xp.logaddexp(x, y), Partials(
    lambda z, x, y: _share(x, y), lambda z, x, y: _share(y, x)), "logaddexp({0}, {1})")
logaddexp2_p = elementwise("logaddexp2", lambda xp, x, y: xp.logaddexp2(x, y), Partials(
    lambda z, x, y: _share(x, y, _LN2), lambda z, x, y: _share(y, x, _LN2)), "logaddexp2({0}, {1})")


def logaddexp(x1: Any, x2: Any, /) -> Any:
    """log(exp(x1) + exp(x2)) without overflow; its gradient is the softmax of (x1, x2), also at infinities."""
    return _log_of_sum("logaddexp", logaddexp_p, x1, x2, 1.0)


def logaddexp2(x1: Any, x2: Any, /) -> Any:
    """log2(2**x1 + 2**x2) without overflow."""
    return _log_of_sum("logaddexp2", logaddexp2_p, x1, x2, _LN2)


def _log_of_sum(name: str, primitive: Primitive, x: Any, y: Any, scale: float) -> Any:
    x, y = promote_inexact(name, x, y)
    if x.dtype.kind != "c":
        return primitive.bind(x, y)[0]
    x_larger = ge(real(x), real(y))
    high, low = select_n(x_larger, y, x), select_n(x_larger, x, y)
    if scale == 1:
        return add(high, log1p(exp(sub(low, high))))
    return add(high, mul(log1p(exp(mul(sub(low, high), scale))), 1 / scale))


log10_p = elementwise("log10", lambda xp, x: xp.log10(x), Partials(lambda y, x: reciprocal(mul(x, _LN10))),
                      "log10({0})")
log10 = unary(log10_p, True, "The logarithm to base 10.")

gcd_p = elementwise("gcd", lambda xp, x, y: xp.gcd(x, y), Constant("its arguments are integers"), "gcd({0}, {1})")
_gcd = binary(gcd_p, "The greatest common divisor.")


def gcd(x1: Any, x2: Any, /) -> Any:
    """The greatest common divisor of integers, element by element; never negative. Raises ValueError on floats."""
    x1, x2 = promote_args("gcd", (x1, x2))
    if x1.dtype.kind not in "iu":
        raise ValueError(message("gcd: only integers have common divisors", x1.dtype.name, "integer arrays"))
    return _gcd(x1, x2)
