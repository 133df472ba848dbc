"""exp, exp2, expm1, the logistic function and the hyperbolic functions, for float32 and float64.

In and out: ``Value`` objects. All start from x = n*log(2) + r with n an integer: exp(x) = 2**n * exp(r), where exp(r) is a
polynomial since r is at most 0.35 in size.
"""
from __future__ import annotations

from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    clip,
    copy_sign,
    fma,
    polynomial,
    power_of_two,
    quick_two_sum,
    round_to_integer,
    scale,
    select,
)

LOG2_E = 1.4426950408889634
LOG_2 = {32: (0.6931471824645996, -1.9046542121259336e-09), 64: (0.6931471805599453, 2.3190468138462996e-17)}
"""log(2) as a sum of two floats."""

# (exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2
EXP = {
    32: (0.0013936562463641167, 0.008366716094315052, 0.04166644811630249, 0.16666541993618011, 0.5),
    64: (2.5112877871369738e-08, 2.762255038309255e-07, 2.7557233556876263e-06, 2.480151561729898e-05,
         0.00019841269896020663, 0.001388888892101789, 0.008333333333318226, 0.041666666666618925, 0.1666666666666668, 0.5),
}
LARGEST = {32: 89.0, 64: 710.0}
"""exp of it is infinite."""
SMALLEST = {32: -104.5, 64: -746.0}
"""exp of it is zero."""
SATURATED = {32: 18.0, 64: 38.0}
"""exp of minus it is nothing beside 1."""


def reduced(x: Value) -> tuple[Value, Value, Value]:
    """(n, r, what rounding r lost) such that x = n*log(2) + r, for x of moderate size."""
    high, low = LOG_2[x.bits]
    n, integer = round_to_integer(x * LOG2_E)
    r_high = fma(n, -high, x)
    r = fma(n, -low, r_high)
    return integer, r, fma(n, -low, r_high - r)


def exp(x: Value) -> Value:
    n, r, _ = reduced(clip(x, SMALLEST[x.bits], LARGEST[x.bits]))
    return scale(fma(r * r, polynomial(r, EXP[x.bits]), r) + 1.0, n)


def exp_of_sum(x: Value, rest: Value) -> Value:
    """exp(x + rest), with rest the smaller."""
    inside = absolute(x) < LARGEST[x.bits] + 100
    n, r, lost = reduced(clip(x, SMALLEST[x.bits], LARGEST[x.bits]))
    part, r = r, r + select(inside, rest, 0.0)
    rest = select(inside, (part - r) + rest + lost, 0.0)
    return scale(1.0 + (r + fma(r * r, polynomial(r, EXP[x.bits]), rest)), n)


def exp2(x: Value) -> Value:
    limits = {32: (-151.0, 129.0), 64: (-1076.0, 1025.0)}[x.bits]
    x = clip(x, *limits)
    n, integer = round_to_integer(x)
    high, low = LOG_2[x.bits]
    part = x - n
    r = part * high
    r = r + fma(part, low, fma(part, high, -r))
    return scale(fma(r * r, polynomial(r, EXP[x.bits]), r) + 1.0, integer)


def expm1(x: Value) -> Value:
    n, r, lost = reduced(clip(x, -SATURATED[x.bits], LARGEST[x.bits]))
    rest = fma(r * r, polynomial(r, EXP[x.bits]), lost)
    # 2**n * (1 + r + rest) - 1; the factor is split since 2**n may overflow
    half = n >> 1
    factor, n = power_of_two(half), n - half
    total, lost = quick_two_sum(factor - power_of_two(-n), factor * r)
    return select(x == 0.0, x, fma(factor, rest, lost + total) * power_of_two(n))


def logistic(x: Value) -> Value:
    n, r, lost = reduced(clip(-absolute(x), SMALLEST[x.bits], 0.0))
    z = scale(1.0 + (r + fma(r * r, polynomial(r, EXP[x.bits]), lost)), n)  # exp(-abs(x))
    bottom = 1.0 + z
    quotient = select(x >= 0.0, x.constant(1.0), z) / bottom
    # What rounding the denominator lost, divided by it: 1 / (1 + z) is about 0.97 - 0.47 z.
    return fma(quotient * (bottom - 1.0 - z), fma(z, -0.47, 0.97), quotient)


# (tanh(x) - x) / x**3 as a quotient of polynomials in x*x, for |x| <= 5/8
TANH = {
    32: ((-0.001540984259918332, -0.3333330750465393), (0.40461018681526184, 1.0)),
    64: ((-0.0001990793913324734, -0.02049657112957607, -0.3333333333333332),
         (0.00020642808861611944, 0.023288361624993138, 0.46148971338871214, 1.0)),
}
# (sinh(x) - x) / x**3 in powers of x*x, for |x| <= 1
SINH = {
    32: (2.791893393805367e-06, 0.0001984139089472592, 0.008333316072821617, 0.1666666716337204),
    64: (7.766315049598993e-13, 1.6056987849766392e-10, 2.5052127002062035e-08, 2.7557319129591677e-06,
         0.00019841269841533156, 0.008333333333332969, 0.16666666666666669),
}


def tanh(x: Value) -> Value:
    size = absolute(x)
    small = size < 0.625
    z = size * size
    n, r, _ = reduced(clip(2.0 * size, 0.0, SATURATED[x.bits] * 1.2))
    c = power_of_two(-n)
    # x + x**3 P(x*x) / Q(x*x), or 1 - 2 / (exp(2x) + 1): one division
    top, bottom = [polynomial(z, coefficients) for coefficients in TANH[x.bits]]
    top = select(small, size * z * top, -2.0 * c)
    bottom = select(small, bottom, 1.0 + c + fma(r * r, polynomial(r, EXP[x.bits]), r))
    return copy_sign(select(small, size, 1.0) + top / bottom, x)


def half_exp(x: Value) -> Value:
    """exp(x) / 2 for x >= 0, which is finite a little longer than exp(x)."""
    n, r, lost = reduced(clip(x, 0.0, LARGEST[x.bits] + 1))
    return scale(1.0 + (r + fma(r * r, polynomial(r, EXP[x.bits]), lost)), n - 1)


def sinh(x: Value) -> Value:
    size = absolute(x)
    z, t = size * size, half_exp(size)
    return copy_sign(select(size < 1.0, fma(size * z, polynomial(z, SINH[x.bits]), size), t - 0.25 / t), x)


def cosh(x: Value) -> Value:
    t = half_exp(absolute(x))
    return t + 0.25 / t
