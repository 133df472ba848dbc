"""Functions of complex numbers, of pairs (real part, imaginary part).

In and out: pairs of ``Value`` objects. Where a part is infinite or NaN the results are those of annex G of the C standard,
as NumPy has them; the sign of a zero or an infinity that the standard leaves open may differ.
"""
from __future__ import annotations

import math

from funcgrad.compiler.vecmath import exponentials, inverse_trigonometry, logarithms, powers, trigonometry
from funcgrad.compiler.vecmath.values import (
    Value,
    absolute,
    both,
    copy_sign,
    either,
    fma,
    intrinsic,
    nearest,
    select,
    square_root,
    two_product,
)

Pair = tuple[Value, Value]

SHIFT = {32: 88.0, 64: 709.0}
"""Where the exponential of a real number comes near to overflow, and its exponential."""
LARGEST = {32: 2.0 ** 126, 64: 2.0 ** 1022}
TINY = {32: 2.0 ** -100, 64: 2.0 ** -960}


def _unknown(x: Value) -> Value:
    """Whether an angle is infinite or NaN."""
    return either(x != x, absolute(x) == math.inf)


def _turned(x: Value, y: Value, factor: float = 1.0) -> Pair:
    """factor * exp(x) * (cos(y), sin(y)), finite wherever it can be."""
    shift = SHIFT[x.bits]
    large = x > shift
    size = exponentials.exp(select(large, x - shift, x)) * factor
    again = select(large, math.exp(shift), x.constant(1.0))
    return size * trigonometry.cos(y) * again, size * trigonometry.sin(y) * again


def exp(z: Pair) -> Pair:
    x, y = z
    real, imaginary = _turned(x, y)
    real = select(either(both(x == math.inf, _unknown(y)), y == 0.0), exponentials.exp(x), real)
    vanishing = both(x == -math.inf, _unknown(y))
    return select(vanishing, 0.0, real), select(vanishing, 0.0, select(y == 0.0, y, imaginary))


def log(z: Pair) -> Pair:
    x, y = z
    return log_of_size(x, y), inverse_trigonometry.atan2(y, x)


def log_of_size(x: Value, y: Value) -> Value:
    """log(hypot(x, y)), to all digits near 1 too."""
    a, b = absolute(x), absolute(y)
    a, b = select(a < b, b, a), select(a < b, a, b)
    huge, tiny = a > LARGEST[x.bits], a < TINY[x.bits]
    scale = select(huge, 0.25, select(tiny, 1 / TINY[x.bits], x.constant(1.0)))
    undo = select(huge, math.log(4), select(tiny, math.log(TINY[x.bits]), x.constant(0.0)))
    usual = logarithms.log(powers.hypot(x * scale, y * scale)) + undo
    (p, p_rest), (q, q_rest) = two_product(a, a), two_product(b, b)
    near = 0.5 * logarithms.log1p(((p - 1.0) + q) + (p_rest + q_rest))
    size = p + q
    return select(both(size > 0.5, size < 3.0), near, usual)


def log1p(z: Pair) -> Pair:
    x, y = z
    return log_of_size(x + 1.0, y), inverse_trigonometry.atan2(y, x + 1.0)


def expm1(z: Pair) -> Pair:
    x, y = z
    half = trigonometry.sin(0.5 * y)
    real = fma(exponentials.expm1(x), trigonometry.cos(y), -2.0 * half * half)
    return real, exponentials.exp(x) * trigonometry.sin(y)


def scaled(z: Pair, factor: float) -> Pair:
    return z[0] * factor, z[1] * factor


def sqrt(z: Pair) -> Pair:
    x, y = z
    a, b = absolute(x), absolute(y)
    larger = select(a < b, b, a)
    huge, tiny = larger > LARGEST[x.bits] * 0.25, larger < TINY[x.bits]
    root = 2.0 ** (50 if x.bits == 32 else 480)
    scale = select(huge, 0.0625, select(tiny, root * root, x.constant(1.0)))
    undo = select(huge, 4.0, select(tiny, 1 / root, x.constant(1.0)))
    u, v = x * scale, y * scale
    t = square_root(0.5 * (absolute(u) + powers.hypot(u, v)))
    other = absolute(v) / (2.0 * t)
    right = x >= 0.0
    real, imaginary = select(right, t, other) * undo, select(right, other, t) * undo
    zero, endless = both(a == 0.0, b == 0.0), b == math.inf
    left = x == -math.inf
    real = select(zero, 0.0, select(x == math.inf, math.inf, select(left, y - y, real)))
    imaginary = select(zero, 0.0, select(x == math.inf, y - y, select(left, math.inf, imaginary)))
    real, imaginary = select(endless, math.inf, real), select(endless, math.inf, imaginary)
    return real, copy_sign(imaginary, y)


def sinh(z: Pair) -> Pair:
    x, y = z
    return _hyperbolic(x, y, False)


def cosh(z: Pair) -> Pair:
    x, y = z
    return _hyperbolic(x, y, True)


def _hyperbolic(x: Value, y: Value, even: bool) -> Pair:
    """cosh, or sinh: cos(y) and sin(y) times the hyperbolic functions of x, or half its exponential where that is large."""
    a = absolute(x)
    large = a > (10.0 if x.bits == 32 else 22.0)
    half_cos, half_sin = _turned(a, y, 0.5)
    odd_part, even_part = exponentials.sinh(a), exponentials.cosh(a)
    first, second = (even_part, odd_part) if even else (odd_part, even_part)
    real = select(large, half_cos, first * trigonometry.cos(y))
    imaginary = select(large, half_sin, second * trigonometry.sin(y))
    sign = copy_sign(1.0, x)
    unknown = _unknown(y)
    real = select(y == 0.0, first, select(both(unknown, a == math.inf), math.inf, real))
    imaginary = select(y == 0.0, y, imaginary)
    if even:
        return real, select(both(unknown, a == 0.0), 0.0, imaginary * sign)
    real = select(both(unknown, a == 0.0), 0.0, real)
    return select(both(unknown, a == math.inf), real, real * sign), imaginary


def sin(z: Pair) -> Pair:
    real, imaginary = sinh((-z[1], z[0]))
    return imaginary, select(both(_unknown(z[0]), real == math.inf), real, -real)


def cos(z: Pair) -> Pair:
    return cosh((-z[1], z[0]))


def tanh(z: Pair) -> Pair:
    """Kahan, "Branch cuts for complex elementary functions" (1987)."""
    x, y = z
    a = absolute(x)
    large = a > (11.0 if x.bits == 32 else 22.0)
    near = select(large, 1.0, a)
    t, s = trigonometry.tan(y), exponentials.sinh(near)
    beta = fma(t, t, 1.0)
    denominator = fma(beta * s, s, 1.0)
    real = beta * square_root(fma(s, s, 1.0)) * s / denominator
    fading = 4.0 * trigonometry.sin(y) * trigonometry.cos(y) * exponentials.exp(-2.0 * a)
    imaginary = select(large, fading, t / denominator)
    unknown = _unknown(y)
    imaginary = select(y == 0.0, y, select(both(unknown, a == math.inf), 0.0, imaginary))
    real = select(large, select(both(unknown, a < math.inf), y - y, 1.0), select(a == 0.0, 0.0, real))
    real = select(both(x != x, y == 0.0), x, real)
    return real * copy_sign(1.0, x), imaginary


def tan(z: Pair) -> Pair:
    real, imaginary = tanh((-z[1], z[0]))
    return imaginary, -real


# ---------------------------------------------------------------- inverse functions


def _inverse(x: Value, y: Value) -> tuple[Value, Value, Value]:
    """The real parts of asin and acos, and the size of their imaginary parts.

    From sqrt(1 - z) and sqrt(1 + z), without a difference of like terms: Kahan, as above.
    """
    endless = either(absolute(x) == math.inf, absolute(y) == math.inf)
    huge = either(absolute(x) > LARGEST[x.bits] * 0.25, absolute(y) > LARGEST[x.bits] * 0.25)
    shrink = select(huge, 0.0625, x.constant(1.0))
    u, v = x * shrink, y * shrink
    (a, b), (c, d) = sqrt((1.0 - u, -v)), sqrt((1.0 + u, v))
    b, d = absolute(b), absolute(d)
    size = logarithms.asinh(a * d + b * c) + select(huge, math.log(16), x.constant(0.0))
    far_x, far_y = (select(absolute(t) == math.inf, copy_sign(1.0, t), 0.0 * t) for t in (x, y))
    far_y = absolute(far_y)
    sine = inverse_trigonometry.atan2(select(endless, far_x, u), select(endless, far_y, a * c + b * d))
    cosine = inverse_trigonometry.atan2(select(endless, far_y, a), select(endless, far_x, c))
    at_zero = x == 0.0
    sine = select(at_zero, x, sine)
    cosine = select(at_zero, math.pi / 2, select(endless, cosine, 2.0 * cosine))
    return sine, cosine, select(endless, math.inf, size)


def asin(z: Pair) -> Pair:
    sine, _, size = _inverse(*z)
    return sine, copy_sign(size, z[1])


def acos(z: Pair) -> Pair:
    _, cosine, size = _inverse(*z)
    return cosine, copy_sign(size, -z[1])


def asinh(z: Pair) -> Pair:
    real, imaginary = asin((z[1], -z[0]))
    return -imaginary, real


def acosh(z: Pair) -> Pair:
    _, cosine, size = _inverse(*z)
    return size, copy_sign(cosine, z[1])


def atanh(z: Pair) -> Pair:
    x, y = z
    a, b = absolute(x), absolute(y)
    far = 2.0 ** (30 if x.bits == 32 else 60)
    large, endless = either(a > far, b > far), either(a == math.inf, b == math.inf)
    swap = a < b
    top, low = select(swap, b, a), select(swap, a, b)
    ratio = low / top
    distant = select(endless, 0.0, a / top / fma(ratio, ratio, 1.0) / top)  # the real part of 1 / z
    close = 1.0 - a
    near = 0.25 * logarithms.log1p(4.0 * a / fma(close, close, b * b))
    pole = both(a == 1.0, b < 2.0 ** (-14 if x.bits == 32 else -30))
    near = select(pole, 0.5 * (math.log(2) - logarithms.log(b)), near)
    real = select(large, distant, select(a == 0.0, 0.0, near))
    angle = 0.5 * inverse_trigonometry.atan2(2.0 * y, close * (1.0 + a) - y * y)
    imaginary = select(both(large, y == y, either(endless, x == x)), copy_sign(math.pi / 2, y), angle)
    return copy_sign(real, x), imaginary


def atan(z: Pair) -> Pair:
    real, imaginary = atanh((-z[1], z[0]))
    return imaginary, -real


# ---------------------------------------------------------------- arithmetic, powers, order


def multiply(x: Pair, y: Pair) -> Pair:
    (a, b), (c, d) = x, y
    return a * c - b * d, a * d + b * c


def divide(x: Pair, y: Pair) -> Pair:
    """Smith's method, as in NumPy: nothing overflows unless the result does."""
    (a, b), (c, d) = x, y
    swap = absolute(c) < absolute(d)
    large, small = select(swap, d, c), select(swap, c, d)
    zero = both(c == 0.0, d == 0.0)
    ratio = small / large
    scale = 1.0 / (large + small * ratio)
    real = (select(swap, a * ratio, a) + select(swap, b, b * ratio)) * scale
    imaginary = (select(swap, b * ratio, b) - select(swap, a, a * ratio)) * scale
    size = absolute(c)
    return select(zero, a / size, real), select(zero, b / size, imaginary)


def reciprocal(z: Pair) -> Pair:
    return divide((z[0].constant(1.0), z[0].constant(0.0)), z)


def rsqrt(z: Pair) -> Pair:
    return reciprocal(sqrt(z))


def logistic(z: Pair) -> Pair:
    real, imaginary = exp((-z[0], -z[1]))
    return reciprocal((real + 1.0, imaginary))


def chosen(condition: Value, x: Pair, y: Pair) -> Pair:
    return select(condition, x[0], y[0]), select(condition, x[1], y[1])


def pow(x: Pair, y: Pair) -> Pair:
    """exp(y log(x)); for whole numbers y below 100 by multiplication, as in NumPy. Infinite exponents may give NaN."""
    zero, one = x[0].constant(0.0), x[0].constant(1.0)
    size = absolute(y[0])
    whole = both(y[1] == 0.0, nearest(size) == size, size < 100.0)
    product, square, rest = (one, zero), x, select(whole, size, 0.0)
    for bit in range(7):
        half = intrinsic("floor", 0.5 * rest)
        factor = multiply(product, square)
        product = chosen(rest > 2.0 * half, chosen(product[0] != product[0], product, factor), product)
        square, rest = multiply(square, square) if bit < 6 else square, half
    product = chosen(size == 1.0, x, product)
    product = chosen(y[0] < 0.0, reciprocal(product), product)
    result = chosen(whole, product, exp(multiply(y, log(x))))
    nought = select(y[0] > 0.0, zero, math.nan)
    result = chosen(both(x[0] == 0.0, x[1] == 0.0), (nought, nought), result)
    return chosen(both(y[0] == 0.0, y[1] == 0.0), (one, zero), result)


def sign(z: Pair) -> Pair:
    """z / |z|, and 0 at 0; where |z| overflows the direction of an axis, as in NumPy."""
    x, y = z
    size = powers.hypot(x, y)
    endless, aside = size == math.inf, absolute(x) == math.inf
    size = select(both(aside, absolute(y) == math.inf), math.nan, select(either(endless, size == 0.0), 1.0, size))
    along_x, along_y = select(aside, copy_sign(1.0, x), 0.0), select(aside, 0.0, copy_sign(1.0, y))
    return select(endless, along_x, x) / size, select(endless, along_y, y) / size


def less(x: Pair, y: Pair) -> Value:
    """In the order of the real parts, then of the imaginary parts; false where a part is NaN."""
    return either(both(x[0] < y[0], x[1] == x[1], y[1] == y[1]), both(x[0] == y[0], x[1] < y[1]))


def less_equal(x: Pair, y: Pair) -> Value:
    return either(both(x[0] < y[0], x[1] == x[1], y[1] == y[1]), both(x[0] == y[0], x[1] <= y[1]))


def larger(x: Pair, y: Pair) -> Pair:
    """The larger in that order; NaN if either has one."""
    return chosen(either(less_equal(y, x), x[0] != x[0], x[1] != x[1]), x, y)


def smaller(x: Pair, y: Pair) -> Pair:
    return chosen(either(less_equal(x, y), x[0] != x[0], x[1] != x[1]), x, y)


FUNCTIONS = {
    "exp": exp, "exp2": lambda z: exp(scaled(z, math.log(2))), "expm1": expm1, "log": log, "log1p": log1p, "sqrt": sqrt,
    "log2": lambda z: scaled(log(z), 1 / math.log(2)), "log10": lambda z: scaled(log(z), 1 / math.log(10)), "sinh": sinh,
    "cosh": cosh, "tanh": tanh, "sin": sin, "cos": cos, "tan": tan, "asin": asin, "acos": acos, "atan": atan, "asinh": asinh,
    "acosh": acosh, "atanh": atanh, "rsqrt": rsqrt, "logistic": logistic, "sign": sign,
}
BINARY = {"divide": divide, "pow": pow, "larger": larger, "smaller": smaller}
ORDER = {"less": less, "less_equal": less_equal}
