"""The logarithm of the gamma function and its derivative, digamma, for float32 and float64.

In and out: ``Value`` objects; float32 is computed in float64. From 8 on they are Stirling's formula and its derivative;
smaller arguments are moved by whole steps to where a polynomial serves, negative ones reflected at 1/2.
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath.logarithms import log
from funcgrad.compiler.vecmath.trigonometry import sine_and_cosine
from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    both,
    either,
    fma,
    in_float64,
    nearest,
    polynomial,
    select,
    two_product,
)

# log(gamma(2 + d)) / d for d from -3/4 to 1/2
LOG_GAMMA = (9.61273091815155e-08, 1.0646196062344616e-07, 3.6744315328770094e-08, -2.384800900157548e-07,
    1.5597220708448317e-07, -3.9363153291726215e-07, 9.946607562008956e-07, -2.0488577545512302e-06, 4.362507038560522e-06,
    -9.43931370725923e-06, 2.0509367408798328e-05, -4.4926032574687125e-05, 9.945729269068018e-05, -0.0002231547926552165,
    0.000509669537654976, -0.0011927539092310801, 0.002890510330342757, -0.007385551028759475, 0.020580808427789792,
    -0.06735230105319685, 0.3224670334241132, 0.42278433509846713)
# x times (log(gamma(x)) - (x - 1/2) log(x) + x - log(2 pi) / 2) in powers of 1 / x**2, for x >= 8
STIRLING = (0.004979731611939439, -0.0018860048279892665, 0.0008413845064330491, -0.0005952357812453863, 0.0007936507860852946,
    -0.0027777777777668075, 0.08333333333333333)
# digamma(x) / (x - ROOT) in powers of x - 3/2, for x from 1 to 2
DIGAMMA = (-0.0001781150155158734, 0.00026383144775569874, -0.000145018191178292, 0.00022194444626739602,
    -0.0004857878487710721, 0.000726213695282465, -0.001036523711989889, 0.0015557509783991341, -0.0023454793375474086,
    0.003519170874612994, -0.005279939491999606, 0.007926925288658338, -0.011908219905775865, 0.017907253864474004,
    -0.026975796670468146, 0.040760833749514135, -0.061922133275174575, 0.09498872445646334, -0.14840492305388522,
    0.2405424842407574, -0.4236274212814606, 0.951055876031833)
ROOT = (1.4616321449683622, 9.549995429965697e-17)
"""Where digamma is 0, as a sum of two floats."""
# (log(x) - 1 / 2x - digamma(x)) * x**2 in powers of 1 / x**2, for x >= 8
DIGAMMA_STIRLING = (0.06149000492071013, -0.02058643324225051, 0.007569422592652402, -0.004166622376092578,
    0.003968253801124834, -0.008333333333032258, 0.08333333333333315)
PI = (3.141592653589793, 1.2246467991473532e-16)
LARGE = 8.0


@in_float64
def lgamma(x: Value) -> Value:
    size = absolute(x)
    large = size >= LARGE
    # gamma(size) is gamma(2 + d) times or, below 1.25, divided by a product of steps
    d, product = size - 2.0, x.constant(1.0)
    for _ in range(6):
        above = d > 0.5
        d = select(above, d - 1.0, d)
        product = select(above, product * (d + 2.0), product)
    small, tiny = size < 1.25, size < 0.5
    d = select(tiny, size, select(small, size - 1.0, d))
    product = select(tiny, size * (1.0 + size), select(small, size, product))
    logarithm = log(select(large, size, product))
    near = d * polynomial(d, LOG_GAMMA) + select(small, -logarithm, logarithm)
    inverse = 1.0 / size
    correction = fma(inverse, polynomial(inverse * inverse, STIRLING), 0.5 * math.log(2 * math.pi))
    # (size - 1/2) log(size) - size, or twice this log where it is infinite
    main, lost = two_product(size - 0.5, logarithm - 1.0)
    far = main + (lost + (correction - 0.5))
    result = select(large, select(main < math.inf, far, main), near)
    sine, _ = sine_and_cosine_of_pi(size)
    reflected = log(math.pi / (size * absolute(sine))) - result
    result = select(both(x < 0.0, size > 2.0 ** -60), reflected, result)
    pole = both(x <= 0.0, nearest(x) == x)
    result = select(pole, math.inf, result)
    return select(absolute(x) < math.inf, result, x)  # at minus infinity, what SciPy gives


def sine_and_cosine_of_pi(x: Value) -> tuple[Value, Value]:
    """sin(pi*x) and cos(pi*x), both up to a common sign: their quotient is exact at any size."""
    n = nearest(x + x)
    part = fma(n, -0.5, x)  # from -1/4 to 1/4
    r = part * PI[0]
    sine, cosine = sine_and_cosine(r, fma(part, PI[0], -r) + part * PI[1])
    odd = nearest(0.5 * n) != 0.5 * n
    return select(odd, cosine, sine), select(odd, -sine, cosine)


@in_float64
def digamma(x: Value) -> Value:
    # digamma(x) = digamma(1 - x) - pi / tan(pi*x)
    negative = x < 0.0
    size = select(negative, 1.0 - x, x)
    large = size >= LARGE
    # digamma(size) is digamma(y) plus the sum of 1/step, which is top / bottom, with y from 1 to 2
    y, top, bottom = size, x.constant(0.0), x.constant(1.0)
    for _ in range(6):
        above = y > 2.0
        y = select(above, y - 1.0, y)
        top = select(above, fma(top, y, bottom), top)
        bottom = select(above, bottom * y, bottom)
    below = y < 1.0
    top, bottom = select(below, -1.0, top), select(below, y, bottom)
    y = select(below, y + 1.0, y)
    near = ((y - ROOT[0]) - ROOT[1]) * polynomial(y - 1.5, DIGAMMA) + top / bottom
    inverse = 1.0 / size
    far = log(size) - inverse * fma(inverse, polynomial(inverse * inverse, DIGAMMA_STIRLING), 0.5)
    result = select(large, far, near)
    sine, cosine = sine_and_cosine_of_pi(x)
    result = select(negative, result - math.pi * cosine / sine, result)
    whole = both(negative, nearest(x) == x)
    result = select(either(whole, x != x), math.nan, result)
    return select(x == 0.0, -1.0 / x, result)
