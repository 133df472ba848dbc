"""pow, the cube root and the hypotenuse, for float32 and float64.

In and out: ``Value`` objects. x**y is exp(y * log(x)), with the logarithm as a sum of two floats; that of float32 numbers is
computed in float64, which has the digits to spare.
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath.exponentials import exp, exp_of_sum
from funcgrad.compiler.vecmath.logarithms import log, parts
from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    both,
    copy_sign,
    either,
    fma,
    narrow,
    nearest,
    polynomial,
    power_of_two,
    quick_two_sum,
    round_to_integer,
    select,
    square_root,
    to_bits,
    to_float,
    two_product,
    widen,
)

# (2 atanh(s) - 2s - 2/3 s**3) / s**5 in powers of s*s for |s| <= 0.1716
ATANH_BEYOND = (0.12018376435496003, 0.11671299546786873, 0.13336490041605675, 0.15384552417400504, 0.18181818934806573,
                0.22222222217020962, 0.28571428571447166, 0.39999999999999974)
TWO_THIRDS = (0.6666666666666666, 3.700743415417188e-17)
LOG_2 = (0.693147180559663, 2.8235290563031577e-13)
"""log(2) as a sum of two floats, of which the first has zeros at the end: its products with exponents are exact."""


def log_in_two_parts(x: Value) -> tuple[Value, Value]:
    """The logarithm of a positive finite float64 as a sum of two, right to about 2**-64 of it."""
    k, m = parts(x)
    k = to_float(k)
    f = m - 1.0
    bottom = 2.0 + f
    inverse = 1.0 / bottom
    s = f * inverse
    s_rest = (fma(-s, bottom, f) - s * (f - (bottom - 2.0))) * inverse
    z, z_rest = two_product(s, s)
    z_rest = z_rest + 2.0 * s * s_rest
    p, p_rest = quick_two_sum(z.constant(TWO_THIRDS[0]), z * polynomial(z, ATANH_BEYOND))
    p_rest = p_rest + TWO_THIRDS[1]
    t, t_rest = two_product(z, p)
    t_rest = t_rest + (z * p_rest + z_rest * p)
    u, u_rest = two_product(s, t)
    u_rest = u_rest + (s * t_rest + s_rest * t)
    high, low = quick_two_sum(2.0 * s, u)
    low = low + (u_rest + 2.0 * s_rest)
    total, lost = quick_two_sum(k * LOG_2[0], high)
    return quick_two_sum(total, lost + fma(k, LOG_2[1], low))


def _exp_of_product(y: Value, high: Value, low: Value) -> Value:
    """exp(y * (high + low))."""
    product, lost = two_product(y, high)
    return exp_of_sum(product, fma(y, low, lost))


def pow(x: Value, y: Value) -> Value:
    if x.bits == 32:
        wide, exponent = widen(absolute(x)), widen(y)
        size = narrow(exp(exponent * log(wide)))
    else:
        size = absolute(x)
        high, low = log_in_two_parts(size)
        limit = either(size == 0.0, size == math.inf)
        high = select(limit, select(size == 0.0, x.constant(-math.inf), math.inf), select(size != size, size, high))
        size = _exp_of_product(y, high, select(limit, 0.0, low))
    half = 0.5 * y
    odd = both(nearest(y) == y, nearest(half) != half)
    below = both(x < 0.0, x > -math.inf, nearest(y) != y)
    result = select(both(odd, to_bits(x) < 0), -size, size)
    result = select(below, math.nan, result)
    one = either(x == 1.0, y == 0.0, both(x == -1.0, absolute(y) == math.inf))
    return select(one, 1.0, result)


# ---------------------------------------------------------------- cube root

# cbrt(1 + f) for 1 + f between sqrt(1/2) and sqrt(2)
CBRT = {
    32: (-0.02010168693959713, 0.0333540104329586, -0.04185013100504875, 0.061574045568704605, -0.11108522117137909,
         0.33333542943000793, 0.9999998807907104),
    64: (0.015763311552812024, -0.026351128952285485, 0.03097310218972298, -0.04099153754559045, 0.0616873452156694,
         -0.11111424279261567, 0.33333382899703484, 1.0000000112700473),
}


def cbrt(x: Value) -> Value:
    size = absolute(x)
    k, m = parts(size)
    third, n = round_to_integer(to_float(k) * (1.0 / 3.0))
    rest = to_float(k) - 3.0 * third  # -1, 0 or 1
    root = polynomial(m - 1.0, CBRT[x.bits])
    root = root * select(rest > 0.0, 2.0 ** (1 / 3), select(rest < 0.0, x.constant(2.0 ** (-1 / 3)), 1.0))
    m = m * select(rest > 0.0, 2.0, select(rest < 0.0, x.constant(0.5), 1.0))
    # One step of Halley's iteration, with an exact residual.
    square, square_rest = two_product(root, root)
    residual = fma(root, square, -m) + root * square_rest
    root = root - root * residual / (3.0 * m + 2.0 * residual)
    result = root * power_of_two(n)
    return copy_sign(select(both(size > 0.0, size < math.inf), result, size), x)


# ---------------------------------------------------------------- hypotenuse


def hypot(x: Value, y: Value) -> Value:
    infinite = either(absolute(x) == math.inf, absolute(y) == math.inf)
    if x.bits == 32:
        a, b = widen(x), widen(y)
        result = narrow(square_root(fma(a, a, b * b)))
    else:
        x, y = absolute(x), absolute(y)
        larger = select(x > y, x, y)
        factor = select(larger > 2.0 ** 500, 2.0 ** -600, select(larger < 2.0 ** -400, x.constant(2.0 ** 600), 1.0))
        undo = select(larger > 2.0 ** 500, 2.0 ** 600, select(larger < 2.0 ** -400, x.constant(2.0 ** -600), 1.0))
        a, b = x * factor, y * factor
        result = square_root(fma(a, a, b * b)) * undo
    return select(infinite, math.inf, result)
