"""log, log2, log10, log1p, the inverse hyperbolic functions and logarithms of sums of exponentials, for float32 and float64.

In and out: ``Value`` objects. All start from x = 2**k * (1 + f) with 1 + f between sqrt(1/2) and sqrt(2). With s = f / (2 + f),
log(1 + f) = 2 atanh(s) = f - (f*f/2 - s * (f*f/2 + s*s*R(s*s))), as in the mathematical library of Sun Microsystems (1993).
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath import exponentials
from funcgrad.compiler.vecmath.exponentials import LOG_2
from funcgrad.compiler.vecmath.values import (
    MANTISSA,
    Value,
    absolute,
    copy_sign,
    float_bits,
    fma,
    from_bits,
    polynomial,
    power_of_two,
    quick_two_sum,
    select,
    square_root,
    to_bits,
    to_float,
    two_product,
)

# (2 atanh(s) - 2s) / s**3 in powers of s*s for |s| <= 0.1716
ATANH = {
    32: (0.24026009440422058, 0.2851021885871887, 0.40000849962234497, 0.6666666269302368),
    64: (0.13260540334280072, 0.1324943279513209, 0.15387102494679786, 0.1818177596205126, 0.22222222633350266,
         0.28571428569269636, 0.40000000000005204, 0.6666666666666666),
}
SMALLEST_NORMAL = {32: 2.0 ** -126, 64: 2.0 ** -1022}


def parts(x: Value) -> tuple[Value, Value]:
    """(k, m) such that x = 2**k * m, with k an integer and m between sqrt(1/2) and sqrt(2); for 0 < x < inf."""
    mantissa = MANTISSA[x.bits]
    subnormal = x < SMALLEST_NORMAL[x.bits]
    bits = to_bits(select(subnormal, x * 2.0 ** (mantissa + 2), x))
    k = (bits - float_bits(math.sqrt(0.5), x.bits)) >> mantissa
    m = from_bits(bits - (k << mantissa))
    return k - select(subnormal, k.constant(mantissa + 2), k.constant(0)), m


def log_near_one(f: Value) -> tuple[Value, Value]:
    """log(1 + f) as a sum of f and a smaller term."""
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    return f, -(half_square - s * fma(z, polynomial(z, ATANH[f.bits]), half_square))


def with_limits(x: Value, result: Value) -> Value:
    """The logarithm's values outside of 0 < x < inf."""
    result = select(x < math.inf, result, x)
    return select(x > 0.0, result, select(x == 0.0, x.constant(-math.inf), x.constant(math.nan)))


def log(x: Value) -> Value:
    k, m = parts(x)
    k = to_float(k)
    f, rest = log_near_one(m - 1.0)
    high, low = LOG_2[x.bits]
    return with_limits(x, fma(k, high, f + fma(k, low, rest)))


def log1p(x: Value) -> Value:
    return select(x == 0.0, x, log_one_plus(x, None))


def log_one_plus(x: Value, rest: Value | None) -> Value:
    """log(1 + x + rest), with rest the smaller."""
    y = 1.0 + x
    k, m = parts(y)
    back = y - 1.0
    lost = (x - back) + (1.0 - (y - back))
    if rest is not None:
        lost = lost + rest
    f, rest = log_near_one((m - 1.0) + lost * power_of_two(-select(k < 60, k, 60)))
    k = to_float(k)
    high, low = LOG_2[x.bits]
    return with_limits(y, fma(k, high, f + fma(k, low, rest)))


LOG2_E = {32: (1.4426950216293335, 1.925963033500011e-08), 64: (1.4426950408889634, 2.0355273740931033e-17)}
LOG10_E = {32: (0.4342944920063019, -1.0103049952192578e-08), 64: (0.4342944819032518, 1.098319650216765e-17)}
LOG10_2 = {32: (0.3010300099849701, -1.432098883924482e-08), 64: (0.3010299956639812, -2.8037281277851704e-18)}
"""log2(e), log10(e) and log10(2), each as a sum of two floats."""


def log_to_base(x: Value, of_e: tuple, of_2: tuple) -> Value:
    """The logarithm to a base, of which e and 2 have these logarithms. Powers of the base give integers."""
    k, m = parts(x)
    k = to_float(k)
    f, rest = quick_two_sum(*log_near_one(m - 1.0))
    product, lost = two_product(f, f.constant(of_e[0]))
    lost = lost + fma(f, of_e[1], rest * of_e[0])
    whole, whole_lost = two_product(k, k.constant(of_2[0]))
    total, total_lost = quick_two_sum(whole, product)
    return with_limits(x, total + (total_lost + (lost + fma(k, of_2[1], whole_lost))))


def log2(x: Value) -> Value:
    return log_to_base(x, LOG2_E[x.bits], (1.0, 0.0))


def log10(x: Value) -> Value:
    return log_to_base(x, LOG10_E[x.bits], LOG10_2[x.bits])


# ---------------------------------------------------------------- inverse hyperbolic functions

LARGE = {32: 2.0 ** 14, 64: 2.0 ** 30}
"""From here on sqrt(x*x + 1) is x to all digits."""


def asinh(x: Value) -> Value:
    size = absolute(x)
    large = size > LARGE[x.bits]
    y = select(large, 1.0, size)
    square = y * y
    # log(y + sqrt(1 + y*y)) = log1p(y + (sqrt(1 + y*y) - 1))
    y, rest = quick_two_sum(y, square / (1.0 + square_root(1.0 + square)))
    return copy_sign(_log_of_double(size, large, y, rest), x)


def acosh(x: Value) -> Value:
    large = x > LARGE[x.bits]
    t = select(large, 1.0, x - 1.0)
    square = fma(t, t, 2.0 * t)
    root = square_root(square)
    y, rest = quick_two_sum(root, t)
    rest = select(t > 0.0, rest + fma(-root, root, square) / (2.0 * root), 0.0)
    return select(x >= 1.0, _log_of_double(x, large, y, rest), math.nan)


def _log_of_double(x: Value, large: Value, y: Value, rest: Value) -> Value:
    """log(2x) where x is large, else log(1 + y + rest)."""
    result = log_one_plus(select(large, x - 1.0, y), select(large, 0.0, rest))
    return result + select(large, x.constant(math.log(2)), 0.0)


def atanh(x: Value) -> Value:
    size = absolute(x)
    top, bottom = 2.0 * size, 1.0 - size
    y = top / bottom
    rest = (fma(-y, bottom, top) + y * (size - (1.0 - bottom))) / bottom
    return copy_sign(0.5 * log_one_plus(y, select(size < 1.0, rest, 0.0)), x)


# ---------------------------------------------------------------- logarithms of sums


def logaddexp(x: Value, y: Value) -> Value:
    high, difference = _high_and_difference(x, y)
    return high + log1p(exponentials.exp(difference))


def logaddexp2(x: Value, y: Value) -> Value:
    high, difference = _high_and_difference(x, y)
    result = fma(log1p(exponentials.exp2(difference)), LOG2_E[x.bits][0], high)
    return select(difference == 0.0, high + 1.0, result)


def _high_and_difference(x: Value, y: Value) -> tuple[Value, Value]:
    """The larger one, and minus the distance; 0 between equal infinities."""
    x_larger = x > y
    high, low = select(x_larger, x, y), select(x_larger, y, x)
    return high, select(x == y, 0.0, low - high)
