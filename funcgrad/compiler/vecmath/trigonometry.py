"""sin, cos and tan, for float32 and float64.

In and out: ``Value`` objects. All start from abs(x) = n*pi/2 + r with n an integer: then sin(x) is the sine or the cosine of r,
by the last two bits of n, and r is at most pi/4 in size.
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath.turns import TURNS
from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    fma,
    from_bits,
    lookup,
    narrow,
    nearest,
    polynomial,
    quick_two_sum,
    round_to_integer,
    select,
    to_bits,
    two_product,
    two_sum,
    usually,
    widen,
)

TWO_OVER_PI = 0.6366197723675814
HALF_PI = (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591698e-33)
"""pi / 2 as a sum of three floats."""
TURNS_32 = ((0.6366197723675814, -3.935735335036497e-17),
            (-0.5691182564096516, -9.117048055938418e-18),
            (0.08267188988231296, 2.8658837463471963e-18),
            (0.1536837791107848, 1.1892889840965575e-17),
            (1.9578379245607584, 7.769584704001829e-17))
"""2**(24*k) quarter turns of a unit angle, 2/pi * 2**(24*k), without multiples of 4, each as a sum of two floats."""

# (sin(r) - r) / r**3 and (cos(r) - 1 + r*r/2) / r**4 in powers of r*r for |r| <= pi/4
SIN = {
    32: (-0.00019508562400005758, 0.00833211001008749, -0.16666653752326965),
    64: (1.5893396130850905e-10, -2.5050700355362873e-08, 2.7557313328695643e-06, -0.00019841269828775948,
         0.008333333333321138, -0.16666666666666627),
}
COS = {
    32: (2.4430881239823066e-05, -0.0013887302484363317, 0.04166664555668831),
    64: (-1.1357096642511112e-11, 2.0875674390567625e-09, -2.755731399521954e-07, 2.480158728825211e-05,
         -0.0013888888888872156, 0.04166666666666659),
}


def reduced(x: Value, serial: bool = False) -> tuple[Value, Value, Value | None]:
    """(n as an integer, r, what rounding r lost) such that x = n*pi/2 + r, up to multiples of 2*pi, for x >= 0.

    ``serial`` code has a branch for large x.
    """
    if x.bits == 64:
        return _reduced_64(x, serial)
    n, r = _reduced_32(x, serial)
    return n.same(x.builder.trunc(n.ir, to_bits(x).type)), narrow(r), None


def _reduced_32(x: Value, serial: bool = False) -> tuple[Value, Value]:
    """n and r in float64, which has the digits to spare."""
    usual = [x, *[widen(x).constant(t) for t in TURNS_32[0]]]

    def scaled() -> list[Value]:
        factor, high, low = x.constant(1.0), *usual[1:]
        for k in range(1, 5):
            large = x >= 2.0 ** (24 * k + 24)  # then x / 2**(24*k) is an integer
            factor = select(large, 2.0 ** (-24 * k), factor)
            high, low = select(large, TURNS_32[k][0], high), select(large, TURNS_32[k][1], low)
        return [x * factor, high, low]

    x, high, low = usually(x < 2.0 ** 48, usual, scaled) if serial else scaled()
    y = widen(x)
    product = y * high
    n, integer = round_to_integer(product)
    part = (product - n) + fma(y, low, fma(y, high, -product))
    return integer, part * HALF_PI[0]


def _reduced_64(x: Value, serial: bool = False) -> tuple[Value, Value, Value]:
    """r is right to all digits unless x is above 2**53 and r below 2**-37: its error is below 2**-95."""
    def scaled() -> list[Value]:
        bits = to_bits(x)
        place = ((bits >> 52) - 1075) >> 4
        place = select(place > 0, place, 0)
        y = from_bits(bits - (place << 56))  # below 2**68, and an integer where the place is not 0
        return [y, *[lookup(f"turns{i}", column, place) for i, column in enumerate(TURNS)]]

    y, first, second, third = usually(x < 2.0 ** 68, [x, *[x.constant(column[0]) for column in TURNS]], scaled) \
        if serial else scaled()
    product, lost = two_product(y, first)
    quarter, second_lost = two_product(y, second)
    whole = fma(nearest(product * 0.25), -4.0, product)
    part, rest = two_sum(lost, quarter)
    n, integer = round_to_integer(whole + part)
    whole = whole - n
    turn = whole + part
    rest = fma(y, third, second_lost) + (rest + (part - (turn - whole)))
    total = turn + rest
    rest = rest - (total - turn)
    r = total * HALF_PI[0]
    r_rest = fma(total, HALF_PI[0], -r) + fma(total, HALF_PI[1], rest * HALF_PI[0])
    small = x < 2.0 ** -40
    return integer, select(small, x, r), select(small, x.constant(0.0), r_rest)


def sine_and_cosine(r: Value, rest: Value | None) -> tuple[Value, Value]:
    """Of r + rest, a number of at most pi/4 in size."""
    sine, cosine = _small_parts(r, rest)
    return r + sine, (1.0 - 0.5 * r * r) + cosine


def _small_parts(r: Value, rest: Value | None) -> tuple[Value, Value]:
    """What is to be added to r and to 1 - r*r/2."""
    z = r * r
    cubic, half = z * r, 0.5 * z
    high = 1.0 - half
    sine, cosine = cubic * polynomial(z, SIN[r.bits]), fma(z * z, polynomial(z, COS[r.bits]), (1.0 - high) - half)
    if rest is not None:  # sin' = cos, cos' = -sin
        sine, cosine = sine + fma(rest, -half, rest), fma(-r, rest, cosine)
    return sine, cosine


def _parts_of_sine_and_cosine(r: Value, rest: Value | None) -> tuple[Value, Value, Value, Value]:
    """The sine and the cosine, and what rounding them lost."""
    sine, cosine = _small_parts(r, rest)
    high = 1.0 - 0.5 * r * r
    (sine, sine_rest), (cosine, cosine_rest) = quick_two_sum(r, sine), quick_two_sum(high, cosine)
    return sine, cosine, sine_rest, cosine_rest


def with_sign(x: Value, negative: Value) -> Value:
    """x, with the other sign where bit 1 of an integer is set."""
    return from_bits(to_bits(x) ^ ((negative & 2) << (x.bits - 2)))


def sin(x: Value, serial: bool = False) -> Value:
    size = absolute(x)
    n, r, rest = reduced(size, serial)
    sine, cosine = sine_and_cosine(r, rest)
    result = with_sign(select((n & 1) == 0, sine, cosine), n)
    result = from_bits(to_bits(result) ^ (to_bits(x) & (-1 << (x.bits - 1))))
    return select(size < math.inf, result, math.nan)


def cos(x: Value, serial: bool = False) -> Value:
    size = absolute(x)
    n, r, rest = reduced(size, serial)
    sine, cosine = sine_and_cosine(r, rest)
    return select(size < math.inf, with_sign(select((n & 1) == 0, cosine, sine), n + 1), math.nan)


def serial_sin(x: Value) -> Value:
    """The same bits by scalar code, which is through sooner for arguments that are not huge."""
    return sin(x, True)


def serial_cos(x: Value) -> Value:
    return cos(x, True)


def tan(x: Value) -> Value:
    size = absolute(x)
    if x.bits == 32:
        n, r = _reduced_32(size)
        rest = None
    else:
        n, r, rest = _reduced_64(size)
    sine, cosine, sine_rest, cosine_rest = _parts_of_sine_and_cosine(r, rest)
    odd = (n & 1) != 0
    top, bottom = select(odd, -cosine, sine), select(odd, sine, cosine)
    inverse = 1.0 / bottom
    quotient = top * inverse
    if rest is not None:
        top_rest, bottom_rest = select(odd, -cosine_rest, sine_rest), select(odd, sine_rest, cosine_rest)
        lost = fma(-quotient, bottom, top) + fma(-quotient, bottom_rest, top_rest)
        quotient = fma(lost, inverse, quotient)
    result = quotient if x.bits == 64 else narrow(quotient)
    result = from_bits(to_bits(result) ^ (to_bits(x) & (-1 << (x.bits - 1))))
    return select(size < math.inf, result, math.nan)
