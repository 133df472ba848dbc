"""asin, acos, atan and atan2, for float32 and float64.

In and out: ``Value`` objects. Arguments are brought to where one polynomial serves: asin from above 1/2 by
asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)), atan from above 1 by atan(x) = pi/2 - atan(1/x).
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    both,
    copy_sign,
    fma,
    polynomial,
    quick_two_sum,
    select,
    square_root,
    to_bits,
)

HALF_PI = {32: (1.5707963705062866, -4.371139000186241e-08), 64: (1.5707963267948966, 6.123233995736766e-17)}
"""pi / 2 as a sum of two floats."""

# (asin(s) - s) / s**3 in powers of s*s for |s| <= 1/2
ASIN = {
    32: (0.03761807829141617, 0.014363794587552547, 0.03182834014296532, 0.04451434686779976, 0.0750051885843277,
         0.16666659712791443),
    64: (0.03272044350803321, -0.02114462006040714, 0.021809371195232893, 0.0036649219954378452, 0.010791121355986854,
         0.011396995591959601, 0.013981051697176597, 0.017351593033147827, 0.022372216024017642, 0.030381942671902838,
         0.04464285717533506, 0.07499999999970078, 0.16666666666666763),
}
# (atan(s) - s) / s**3 in powers of s*s for |s| <= 1
ATAN = {
    32: (-0.0018243462545797229, 0.011051609180867672, -0.03143174573779106, 0.058210402727127075, -0.08418038487434387,
         0.10957084596157074, -0.1426514983177185, 0.1999862939119339, -0.33333301544189453),
    64: (1.3476207278039243e-05, -0.00015466956597193375, 0.0008429104003879662, -0.002917757805183753, 0.007260364344155958,
         -0.013990882933780513, 0.022080931671898927, -0.029982254653648996, 0.03669151395348196, -0.042216230037369275,
         0.047232588065652545, -0.05253795890408919, 0.058805905121045526, -0.0666641467866669, 0.07692281151257437,
         -0.09090907116580718, 0.11111111013525952, -0.14285714282799197, 0.19999999999955415, -0.33333333333333093),
}


def _asin_parts(size: Value) -> tuple[Value, Value, Value]:
    """(whether the size is above 1/2, s, asin(s) - s), with s the size or the s of the half angle."""
    large = size > 0.5
    z = select(large, 0.5 * (1.0 - size), size * size)
    s = select(large, square_root(z), size)
    return large, s, s * z * polynomial(z, ASIN[size.bits])


def asin(x: Value) -> Value:
    large, s, rest = _asin_parts(absolute(x))
    high, low = HALF_PI[x.bits]
    base, lost = quick_two_sum(x.constant(high), -2.0 * s)
    return copy_sign(select(large, base + (lost + (low - 2.0 * rest)), s + rest), x)


def acos(x: Value) -> Value:
    large, s, rest = _asin_parts(absolute(x))
    high, low = HALF_PI[x.bits]
    negative = x < 0.0
    # pi/2 - asin(x), or twice the asin of the half angle, or pi minus that
    base = select(large, select(negative, 2.0 * high, x.constant(0.0)), high)
    base_low = select(large, select(negative, 2.0 * low, x.constant(0.0)), low)
    factor = select(large, select(negative, -2.0, x.constant(2.0)), select(negative, 1.0, x.constant(-1.0)))
    total, lost = quick_two_sum(base, factor * s)
    return total + (lost + fma(factor, rest, base_low))


def atan(x: Value) -> Value:
    size = absolute(x)
    large = size > 1.0
    s = select(large, -1.0, size) / select(large, size, 1.0)
    return copy_sign(_with_base(s, select(large, x.constant(HALF_PI[x.bits][0]), 0.0),
                                select(large, x.constant(HALF_PI[x.bits][1]), 0.0)), x)


def _with_base(s: Value, base: Value, base_low: Value) -> Value:
    """base + base_low + atan(s); the base is 0 or above 1."""
    z = s * s
    total, lost = quick_two_sum(base, s)
    return total + (lost + fma(s * z, polynomial(z, ATAN[s.bits]), base_low))


def atan2(y: Value, x: Value) -> Value:
    a, b = absolute(y), absolute(x)
    steep, backward = a > b, to_bits(x) < 0
    top, bottom = select(steep, b, a), select(steep, a, b)
    s = top / bottom
    s = select(both(top == 0.0, bottom == 0.0), 0.0, select(both(top == math.inf, bottom == math.inf), 1.0, s))
    # atan(s) is added to 0, or taken from pi/2; behind the y axis, added to pi/2, or taken from pi
    s = select(steep == backward, s, -s)
    high, low = HALF_PI[x.bits]
    base = select(steep, x.constant(high), select(backward, x.constant(2.0 * high), 0.0))
    base_low = select(steep, x.constant(low), select(backward, x.constant(2.0 * low), 0.0))
    return copy_sign(_with_base(s, base, base_low), y)
