"""Elementwise arithmetic, comparison, logic, rounding, and the functions of calculus.

In: arrays and scalars, promoted and broadcast. Out: arrays. Each operation is one scalar expression, and its
derivative is a list of partial derivatives, one an argument.

    { lambda ; a:f64[3]. let b:f64[3] = sin a; c:f64[3] = mul b 2.0:f64[] in (c,) }
"""
from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.primitive import (
    HOST,
    LINEAR,
    PIECEWISE_CONSTANT,
    PIECEWISE_LINEAR,
    Constant,
    Linear,
    LinearIn,
    No,
    Partials,
    Primitive,
)
from funcgrad.core.trace import current_trace
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops import gpu_arithmetic, series
from funcgrad.ops.promotion import inexact_arg, promote, promote_args, promote_inexact, promote_numeric, unary_arg
from funcgrad.ops.rules import elementwise
from funcgrad.ops.structural import convert_element_type, full, select_n, select_n_p

# ---------------------------------------------------------------- makers of user functions

_NO_PARAMS: dict = {}


def unary(primitive: Primitive, inexact: bool, doc: str) -> Callable:
    """The user function of a primitive of one argument; ``inexact`` ones convert integers to floats."""
    return _unary(primitive, primitive.name, doc, inexact_arg if inexact else unary_arg)


def _unary(primitive: Primitive, name: str, doc: str, prepare: Callable) -> Callable:
    def function(x: Any) -> Any:
        return current_trace.get().process(primitive, (prepare(name, x),), _NO_PARAMS)[0]

    return _named(function, name, doc)


def binary(primitive: Primitive, doc: str, prepare: Callable = promote) -> Callable:
    """The user function of a primitive of two arguments, which ``prepare`` promotes and broadcasts."""
    return _binary(primitive, primitive.name, doc, prepare)


def _binary(primitive: Primitive, name: str, doc: str, prepare: Callable) -> Callable:
    def function(x: Any, y: Any) -> Any:
        return current_trace.get().process(primitive, prepare(name, x, y), _NO_PARAMS)[0]

    return _named(function, name, doc)


def _named(function: Callable, name: str, doc: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = __name__
    return function


# ---------------------------------------------------------------- arithmetic

# NumPy's arrays of integers wrap around without a word, but its integer scalars warn: those go through the ufunc.
_INTEGER_SCALARS = frozenset(np.dtype(f"{kind}int{bits}").type for kind in ("", "u") for bits in (8, 16, 32, 64))


def add_impl(xp: Any, x: Any, y: Any) -> Any:
    return xp.add(x, y) if type(x) in _INTEGER_SCALARS else x + y


def sub_impl(xp: Any, x: Any, y: Any) -> Any:
    return xp.subtract(x, y) if type(x) in _INTEGER_SCALARS else x - y


def mul_impl(xp: Any, x: Any, y: Any) -> Any:
    return xp.multiply(x, y) if type(x) in _INTEGER_SCALARS else x * y


add_p = elementwise("add", add_impl, Partials(1, 1), {"b": "{0} | {1}", "iufc": "{0} + {1}"}, transpose=LinearIn(0, 1),
                    commutative=True)
sub_p = elementwise("sub", sub_impl, Partials(1, -1), "{0} - {1}", transpose=LinearIn(0, 1))
mul_p = elementwise("mul", mul_impl, Partials(lambda z, x, y: y, lambda z, x, y: x),
                    {"b": "{0} & {1}", "iufc": "{0} * {1}"}, transpose=LinearIn(0, 1), commutative=True,
                    taylor=series.arithmetic(lambda: mul_p, series.product))
neg_p = elementwise("neg", lambda xp, x: xp.negative(x), Partials(-1), "-{0}", transpose=LinearIn(0))


def div_impl(xp: Any, x: Any, y: Any) -> Any:
    if x.dtype.kind not in "iu":
        return x / y
    quotient = xp.floor_divide(x, y)  # C's division truncates: one more where the signs differ and it is not exact
    return quotient + ((xp.remainder(x, y) != 0) & ((x < 0) != (y < 0))).astype(x.dtype)


def _reciprocal_partial(z: Any, x: Any, y: Any) -> Any:
    return 1 / y if isinstance(y, np.generic) else reciprocal(y)  # a literal stays one: it may stand beside any shape


div_p = elementwise("div", div_impl, Partials(_reciprocal_partial, lambda z, x, y: neg(z / y)),
                    {"f": "{0} / {1}", "iu": "quotient({0}, {1})", "c": "divide({0}, {1})"}, transpose=LinearIn(0),
                    taylor=series.arithmetic(lambda: div_p, series.quotient))


def rem_impl(xp: Any, x: Any, y: Any) -> Any:
    return xp.fmod(x, y)


rem_p = elementwise("rem", rem_impl, Partials(1, lambda z, x, y: neg(trunc(x / y))), "fmod({0}, {1})",
                    taylor=PIECEWISE_LINEAR, cuda=gpu_arithmetic.rem)
floor_divide_p = elementwise("floor_divide", lambda xp, x, y: xp.floor_divide(x, y), PIECEWISE_CONSTANT,
                             "floor_divide({0}, {1})", cuda=gpu_arithmetic.floor_divide)
remainder_p = elementwise("remainder", lambda xp, x, y: xp.remainder(x, y),
                          Partials(1, lambda z, x, y: neg(floor_divide(x, y))), "remainder({0}, {1})",
                          taylor=PIECEWISE_LINEAR, cuda=gpu_arithmetic.remainder)


def _first_wins(compare: Callable) -> Partials:
    """The derivative of max and min: 1 where the argument is the result, 0 where it is not.

    At a tie, two arrays get half each, and an array and a number, which is a bound, nothing: so max(x, 0) is relu.
    """

    def share(x: Any, y: Any) -> Any:
        one, half, zero = (x.dtype.type(v) for v in (1, 0.5, 0))
        wins = _chosen(compare(x, y), one, zero)
        return wins if isinstance(y, np.generic) else _chosen(eq(x, y), half, wins)

    return Partials(lambda z, x, y: share(x, y), lambda z, x, y: share(y, x))


def _chosen(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y; scalars stay literals."""
    return select_n_p.bind(condition, y, x)[0]


def maximum_impl(xp: Any, x: Any, y: Any) -> Any:
    return xp.maximum(x, y)


max_p = elementwise("max", maximum_impl, _first_wins(lambda x, y: gt(x, y)),
                    {"biuf": "maximum({0}, {1})", "c": "larger({0}, {1})"}, taylor=PIECEWISE_LINEAR)
min_p = elementwise("min", lambda xp, x, y: xp.minimum(x, y), _first_wins(lambda x, y: lt(x, y)),
                    {"biuf": "minimum({0}, {1})", "c": "smaller({0}, {1})"}, taylor=PIECEWISE_LINEAR)
nextafter_p = elementwise("nextafter", lambda xp, x, y: xp.nextafter(x, y), No("defined on the floating point grid"),
                          lambda x, y: "nextafter({0}, {1})" if x.itemsize > 2 else None,  # narrow floats are computed wide
                          cuda=HOST)  # CuPy's kernels take subnormal float32 for zeros
hypot_p = elementwise("hypot", lambda xp, x, y: xp.hypot(x, y), Partials(
    lambda z, x, y: x / _one_where_zero(z), lambda z, x, y: y / _one_where_zero(z)), "hypot({0}, {1})")

add = binary(add_p, "x + y, element by element. On bools: logical or.")
multiply = mul = binary(mul_p, "x * y, element by element. On bools: logical and.")
div = binary(div_p, "x / y; integers are divided with truncation towards zero, as in C.")
true_divide = binary(div_p, "x / y in floating point: integers are converted to floats first.", promote_inexact)
rem = binary(rem_p, "The remainder of truncating division, with the sign of x, as C's fmod.")
floor_divide = binary(floor_divide_p, "The quotient rounded towards minus infinity.", promote_numeric)
remainder = binary(remainder_p, "The remainder of floor division, with the sign of y, as Python's %.", promote_numeric)
maximum = max = binary(max_p, "The larger of x and y; NaN if either is NaN. Gradient at a tie: half each, 0 beside a number.")
minimum = min = binary(min_p, "The smaller of x and y; NaN if either is NaN. Gradient at a tie: half each, 0 beside a number.")
hypot = binary(hypot_p, "sqrt(x*x + y*y) without overflow; its gradient at (0, 0) is taken as 0.", promote_inexact)


def nextafter(x1: Any, x2: Any) -> Any:
    """The next floating point number after x1 in the direction of x2."""
    return nextafter_p.bind(*promote_inexact("nextafter", x1, x2))[0]


def subtract(x: Any, y: Any) -> Any:
    """x - y, element by element. Raises TypeError on bools, where subtraction has no meaning."""
    x, y = promote("subtract", x, y)
    if x.dtype.kind == "b":
        raise TypeError(message("subtract: bools cannot be subtracted", f"{describe(x)} - {describe(y)}", None,
                                "x ^ y, or fnp.logical_xor(x, y)"))
    return sub_p.bind(x, y)[0]


sub = subtract


def neg(x: Any) -> Any:
    """-x. Raises TypeError on bools."""
    x = unary_arg("neg", x)
    if x.dtype.kind == "b":
        raise TypeError(message("neg: a bool has no negative", describe(x), None, "~x, or fnp.logical_not(x)"))
    return current_trace.get().process(neg_p, (x,), _NO_PARAMS)[0]


# ---------------------------------------------------------------- comparison and logic


def _comparison(name: str, ufunc: str, symbol: str) -> Primitive:
    return elementwise(name, lambda xp, x, y: getattr(xp, ufunc)(x, y), Constant("the result is not a number"), symbol,
                       dtype="bool", strong=True, commutative=name in ("eq", "ne"))


eq_p, ne_p = _comparison("eq", "equal", "{0} == {1}"), _comparison("ne", "not_equal", "{0} != {1}")
lt_p = _comparison("lt", "less", {"biuf": "{0} < {1}", "c": "less({0}, {1})"})
le_p = _comparison("le", "less_equal", {"biuf": "{0} <= {1}", "c": "less_equal({0}, {1})"})
gt_p = _comparison("gt", "greater", {"biuf": "{0} > {1}", "c": "less({1}, {0})"})
ge_p = _comparison("ge", "greater_equal", {"biuf": "{0} >= {1}", "c": "less_equal({1}, {0})"})

eq, ne = binary(eq_p, "x == y, element by element."), binary(ne_p, "x != y, element by element.")
lt, le = binary(lt_p, "x < y, element by element."), binary(le_p, "x <= y, element by element.")
gt, ge = binary(gt_p, "x > y, element by element."), binary(ge_p, "x >= y, element by element.")

_DISCRETE = Constant("its arguments are integers or bools")


def _bitwise(name: str, impl: Callable, code: str) -> Primitive:
    return elementwise(name, impl, _DISCRETE, code, commutative=name in ("and", "or", "xor"))


and_p = _bitwise("and", lambda xp, x, y: x & y, "{0} & {1}")
or_p = _bitwise("or", lambda xp, x, y: x | y, "{0} | {1}")
xor_p = _bitwise("xor", lambda xp, x, y: x ^ y, "{0} ^ {1}")
not_p = _bitwise("not", lambda xp, x: xp.invert(x), {"b": "not {0}", "iu": "~{0}"})


def _population_count(xp: Any, x: Any) -> Any:
    return xp.bitwise_count(x.view(f"u{x.dtype.itemsize}")).astype(x.dtype)  # of a negative x, NumPy counts abs(x)


population_count_p = _bitwise("population_count", _population_count, "popcount({0})")


def _shift(shift: Callable, beyond: Callable) -> Callable:
    """Shifts by the width or more give what an infinite register would; NumPy leaves them to the processor."""

    def shifted(xp: Any, x: Any, y: Any) -> Any:
        bits = x.dtype.itemsize * 8
        if isinstance(y, np.generic) and 0 <= y < bits:
            return shift(xp, x, y)
        in_range = (y >= 0) & (y < bits)
        inside = shift(xp, x, xp.where(in_range, y, 0).astype(y.dtype))
        return xp.where(in_range, inside, beyond(xp, x)).astype(x.dtype)[()]

    return shifted


def _unsigned(xp: Any, x: Any) -> Any:
    return xp.asarray(x).view(np.dtype(f"uint{x.dtype.itemsize * 8}"))


shift_left_p = _bitwise("shift_left", _shift(lambda xp, x, y: x << y, lambda xp, x: 0), "shift_left({0}, {1})")
shift_right_arithmetic_p = _bitwise("shift_right_arithmetic", _shift(
    lambda xp, x, y: x >> y, lambda xp, x: xp.where(x < 0, -1, 0) if x.dtype.kind == "i" else 0), "shift_right({0}, {1})")
shift_right_logical_p = _bitwise("shift_right_logical", _shift(
    lambda xp, x, y: (_unsigned(xp, x) >> _unsigned(xp, y)).view(x.dtype)[()], lambda xp, x: 0),
    "shift_right_logical({0}, {1})")


def clz_impl(xp: Any, x: Any) -> Any:
    bits = x.dtype.itemsize * 8
    u = _unsigned(xp, x).copy()
    for shift in (1, 2, 4, 8, 16, 32):  # smear the highest set bit downwards, then count the bits
        if shift < bits:
            u |= u >> u.dtype.type(shift)
    return (bits - xp.bitwise_count(u)).astype(x.dtype)[()]


clz_p = _bitwise("clz", clz_impl, "clz({0})")


def _integers(name: str, prepare: Callable, *args: Any) -> Any:
    """The operands as ``prepare`` makes them. Refuses floats, with the function's name."""
    out = prepare(name, *args)
    first = out[0] if type(out) is tuple else out
    if first.dtype.kind not in "biu":
        raise TypeError(message(f"{name}: only integers and bools", ", ".join(map(describe, args)),
                                "integer or bool arrays", "x.astype(int), or a comparison that gives bools"))
    return out


def _integer_unary(primitive: Primitive, name: str, doc: str) -> Callable:
    return _unary(primitive, name, doc, lambda name, x: _integers(name, unary_arg, x))


def _integer_binary(primitive: Primitive, name: str, doc: str, prepare: Callable = promote) -> Callable:
    return _binary(primitive, name, doc, lambda name, x, y: _integers(name, prepare, x, y))


bitwise_and = _integer_binary(and_p, "bitwise_and", "x & y, bit by bit.")
bitwise_or = _integer_binary(or_p, "bitwise_or", "x | y, bit by bit.")
bitwise_xor = _integer_binary(xor_p, "bitwise_xor", "x ^ y, bit by bit.")
bitwise_not = _integer_unary(not_p, "bitwise_not", "~x: every bit flipped; on bools, logical not.")
population_count = _integer_unary(population_count_p, "population_count", "The number of set bits.")
clz = _integer_unary(clz_p, "clz", "The number of leading zero bits.")
shift_left = _integer_binary(shift_left_p, "shift_left", "x * 2**y by shifting bits.", promote_numeric)
shift_right_arithmetic = _integer_binary(
    shift_right_arithmetic_p, "shift_right_arithmetic", "x >> y, filling with the sign bit.", promote_numeric)
shift_right_logical = _integer_binary(
    shift_right_logical_p, "shift_right_logical", "x >> y, filling with zeros.", promote_numeric)

# ---------------------------------------------------------------- rounding and sign


def _stepwise(name: str, impl: Callable, code: str) -> Primitive:
    return elementwise(name, impl, PIECEWISE_CONSTANT, code)


floor_p = _stepwise("floor", lambda xp, x: xp.floor(x), "floor({0})")
ceil_p = _stepwise("ceil", lambda xp, x: xp.ceil(x), "ceil({0})")
trunc_p = _stepwise("trunc", lambda xp, x: xp.trunc(x), "trunc({0})")
round_p = _stepwise("round", lambda xp, x: xp.rint(x), "rint({0})")
sign_p = _stepwise("sign", lambda xp, x: xp.sign(x), "sign({0})")
is_finite_p = elementwise("is_finite", lambda xp, x: xp.isfinite(x), Constant("the result is not a number"), "isfinite({0})",
                          dtype="bool", strong=True)

floor = unary(floor_p, True, "The largest integer not above x.")
ceil = unary(ceil_p, True, "The smallest integer not below x.")
trunc = unary(trunc_p, True, "x without its fraction.")
round_to_even = unary(round_p, True, "The nearest integer; halves go to the even one.")
is_finite = unary(is_finite_p, True, "True where x is neither infinite nor NaN.")

abs_p = elementwise("abs", lambda xp, x: xp.abs(x), Partials(lambda y, x: sign(x)), "abs({0})", taylor=PIECEWISE_LINEAR)


def sign(x: Any) -> Any:
    """-1, 0 or 1; for complex x, x / abs(x), which changes with the angle of x, and 0 at 0."""
    x = unary_arg("sign", x)
    return (direction_p if x.dtype.kind == "c" else sign_p).bind(x)[0]


def abs(x: Any) -> Any:
    """The absolute value; its gradient at 0 is 0. For complex x, the modulus, which is real."""
    x = unary_arg("abs", x)
    return hypot(real(x), imag(x)) if x.dtype.kind == "c" else abs_p.bind(x)[0]


# ---------------------------------------------------------------- exponentials and powers

exp_p = elementwise("exp", lambda xp, x: xp.exp(x), Partials(lambda y, x: y), "exp({0})",
                    taylor=series.quadratic(lambda: exp_p, 1))
exp2_p = elementwise("exp2", lambda xp, x: xp.exp2(x), Partials(lambda y, x: y * np.log(2)), "exp2({0})",
                     taylor=series.quadratic(lambda: exp2_p, float(np.log(2))))
expm1_p = elementwise("expm1", lambda xp, x: xp.expm1(x), Partials(lambda y, x: y + 1), "expm1({0})",
                      taylor=series.quadratic(lambda: expm1_p, 1))
log_p = elementwise("log", lambda xp, x: xp.log(x), Partials(lambda y, x: reciprocal(x)), "log({0})",
                    taylor=series.arithmetic(lambda: log_p, series.logarithm))
log2_p = elementwise("log2", lambda xp, x: xp.log2(x), Partials(lambda y, x: reciprocal(x * float(np.log(2)))), "log2({0})")
log1p_p = elementwise("log1p", lambda xp, x: xp.log1p(x), Partials(lambda y, x: reciprocal(x + 1)), "log1p({0})")
sqrt_p = elementwise("sqrt", lambda xp, x: xp.sqrt(x), Partials(lambda y, x: 0.5 / y), "sqrt({0})",
                     taylor=series.arithmetic(lambda: sqrt_p, series.root))
rsqrt_p = elementwise("rsqrt", lambda xp, x: (1 / xp.sqrt(x)).astype(x.dtype), Partials(lambda y, x: -0.5 * y / x),
                      "rsqrt({0})", taylor=series.arithmetic(lambda: rsqrt_p, series.fixed_power(-1 / 2)))
cbrt_p = elementwise("cbrt", lambda xp, x: xp.cbrt(x), Partials(lambda y, x: 1 / (3 * (y * y))), "cbrt({0})")
square_p = elementwise("square", lambda xp, x: xp.multiply(x, x), Partials(lambda y, x: 2 * x), {"iufc": "{0} * {0}"},
                       taylor=series.arithmetic(lambda: square_p, series.square))
logistic_p = elementwise("logistic", lambda xp, x: _logistic(xp, x), Partials(lambda y, x: y * (1 - y)), "logistic({0})",
                         taylor=series.quadratic(lambda: logistic_p, 1, -1))


def _logistic(xp: Any, x: Any) -> Any:
    if x.dtype.kind == "c":
        return 1 / (1 + xp.exp(-x))
    z = xp.exp(-xp.abs(x))  # at most 1, so nothing overflows
    return (xp.where(x >= 0, x.dtype.type(1), z) / (1 + z)).astype(x.dtype)[()]


exp = unary(exp_p, True, "e ** x.")
exp2 = unary(exp2_p, True, "2 ** x.")
expm1 = unary(expm1_p, True, "e ** x - 1, accurate near 0.")
log = unary(log_p, True, "The natural logarithm.")
log2 = unary(log2_p, True, "The logarithm to base 2.")
log1p = unary(log1p_p, True, "log(1 + x), accurate near 0.")
sqrt = unary(sqrt_p, True, "The nonnegative square root; its derivative at 0 is infinite.")
rsqrt = unary(rsqrt_p, True, "1 / sqrt(x).")
cbrt = unary(cbrt_p, True, "The real cube root.")
square = unary(square_p, False, "x * x.")
logistic = unary(logistic_p, True, "1 / (1 + exp(-x)), without overflow.")


def reciprocal(x: Any) -> Any:
    """1 / x, in floating point."""
    x = inexact_arg("reciprocal", x)
    return div_p.bind(x.dtype.type(1), x)[0]


def integer_pow(x: Any, y: int) -> Any:
    """x ** y for a Python integer y, by repeated multiplication."""
    y = operator.index(y)
    x = unary_arg("integer_pow", x)
    if x.dtype.kind == "b":
        x = convert_element_type(x, np.int32)
    if y == 1:
        return x
    if y == 2:
        return square_p.bind(x)[0]
    if y < 0 and not dtypes.is_inexact(x.dtype):
        raise ValueError(message("power: an integer to a negative integer power", f"{describe(x)} ** {y}",
                                 "a floating point base", "x.astype(float) ** y"))
    return integer_pow_p.bind(x, y=y)[0]


def integer_pow_impl(xp: Any, x: Any, *, y: int) -> Any:
    result, n = None, builtins.abs(y)
    while n:
        if n & 1:
            result = x if result is None else xp.multiply(result, x)
        n >>= 1
        if n:
            x = xp.square(x)
    if result is None:
        return xp.ones_like(x)[()]
    return 1 / result if y < 0 else result


def integer_pow_partial(z: Any, x: Any, *, y: int) -> Any:
    return z * 0 if y == 0 else y * integer_pow(x, y - 1)


integer_pow_p = elementwise("integer_pow", integer_pow_impl, Partials(integer_pow_partial), "integer_pow({0}, {y})",
                            shape=lambda x, y: x, taylor=series.arithmetic(lambda: integer_pow_p, series.power))


def _pow_base_partial(z: Any, x: Any, y: Any) -> Any:
    # 0 ** 0 is taken as constant in the base. The exponent is never replaced: the mixed derivative at y = 0 is 1 / x.
    base = _chosen(bitwise_and(eq(x, 0), eq(y, 0)), x.dtype.type(1), x)
    return y * pow(base, y - 1)


def _pow_exponent_partial(z: Any, x: Any, y: Any) -> Any:
    # At base 0 the derivative is 0 for positive exponents, where log(0) * 0 would give NaN.
    return z * log(_one_where_zero(x))


def _one_where_zero(x: Any) -> Any:
    return _chosen(eq(x, 0), x.dtype.type(1), x)


def pow_taylor(primals: tuple, terms: tuple) -> Any:
    """exp(y log(x)). With a constant exponent the default rule serves: it holds at base 0 too."""
    if all(series.is_zero(t) for t in terms[1]):
        return NotImplemented
    x, y = series.joined(primals, terms)
    log_x = series.logarithm(x, log(_one_where_zero(primals[0])))
    return series.result(series.exponential(series.product(log_x, y, None), pow_p.bind(*primals)[0]))


pow_p = elementwise("pow", lambda xp, x, y: xp.power(x, y), Partials(_pow_base_partial, _pow_exponent_partial),
                    "pow({0}, {1})", taylor=pow_taylor, cuda=gpu_arithmetic.power)


def power(x: Any, y: Any) -> Any:
    """x ** y. A Python integer y is a repeated multiplication. Raises ValueError for integers to negative powers."""
    if type(y) is int:
        return integer_pow(x, y)
    x, y = promote_numeric("power", x, y)
    return pow_p.bind(x, y)[0]


pow = power

# ---------------------------------------------------------------- trigonometry

sin_p = elementwise("sin", lambda xp, x: xp.sin(x), Partials(lambda y, x: cos(x)), "sin({0})",
                    taylor=series.pair(lambda: sin_p, lambda: cos_p, 1, -1))
cos_p = elementwise("cos", lambda xp, x: xp.cos(x), Partials(lambda y, x: neg(sin(x))), "cos({0})",
                    taylor=series.pair(lambda: cos_p, lambda: sin_p, -1, 1))
tan_p = elementwise("tan", lambda xp, x: xp.tan(x), Partials(lambda y, x: 1 + y * y), "tan({0})",
                    taylor=series.quadratic(lambda: tan_p, 0, 1))
asin_p = elementwise("asin", lambda xp, x: xp.arcsin(x), Partials(lambda y, x: rsqrt(_one_minus_square(x))), "asin({0})")
acos_p = elementwise("acos", lambda xp, x: xp.arccos(x), Partials(lambda y, x: neg(rsqrt(_one_minus_square(x)))), "acos({0})")
atan_p = elementwise("atan", lambda xp, x: xp.arctan(x), Partials(lambda y, x: reciprocal(1 + x * x)), "atan({0})")
sinh_p = elementwise("sinh", lambda xp, x: xp.sinh(x), Partials(lambda y, x: cosh(x)), "sinh({0})",
                     taylor=series.pair(lambda: sinh_p, lambda: cosh_p, 1, 1))
cosh_p = elementwise("cosh", lambda xp, x: xp.cosh(x), Partials(lambda y, x: sinh(x)), "cosh({0})",
                     taylor=series.pair(lambda: cosh_p, lambda: sinh_p, 1, 1))
tanh_p = elementwise("tanh", lambda xp, x: xp.tanh(x), Partials(lambda y, x: _one_minus_square(y)), "tanh({0})",
                     taylor=series.quadratic(lambda: tanh_p, 0, -1))
asinh_p = elementwise("asinh", lambda xp, x: xp.arcsinh(x), Partials(lambda y, x: rsqrt(x * x + 1)), "asinh({0})")
acosh_p = elementwise("acosh", lambda xp, x: xp.arccosh(x), Partials(lambda y, x: _acosh_partial(x)), "acosh({0})")
atanh_p = elementwise("atanh", lambda xp, x: xp.arctanh(x), Partials(lambda y, x: reciprocal(_one_minus_square(x))),
                      "atanh({0})")
atan2_p = elementwise("atan2", lambda xp, x, y: xp.arctan2(x, y), Partials(
    lambda z, x, y: y / (x * x + y * y), lambda z, x, y: neg(x / (x * x + y * y))), "atan2({0}, {1})")


def _acosh_partial(x: Any) -> Any:
    below, above = x - 1, x + 1
    # Of complex numbers the root of the product is another one in the left half plane.
    return rsqrt(below) * rsqrt(above) if x.dtype.kind == "c" else rsqrt(below * above)


def _one_minus_square(x: Any) -> Any:
    return (1 - x) * (1 + x)  # accurate near 1, where 1 - x * x cancels


sin, cos = unary(sin_p, True, "The sine of x radians."), unary(cos_p, True, "The cosine of x radians.")
tan = unary(tan_p, True, "The tangent of x radians.")
asin, acos = unary(asin_p, True, "The angle whose sine is x."), unary(acos_p, True, "The angle whose cosine is x.")
atan = unary(atan_p, True, "The angle whose tangent is x.")
sinh, cosh = unary(sinh_p, True, "The hyperbolic sine."), unary(cosh_p, True, "The hyperbolic cosine.")
tanh = unary(tanh_p, True, "The hyperbolic tangent.")
asinh = unary(asinh_p, True, "The inverse hyperbolic sine.")
acosh = unary(acosh_p, True, "The inverse hyperbolic cosine.")
atanh = unary(atanh_p, True, "The inverse hyperbolic tangent.")


def _coordinates(name: str, x: Any, y: Any) -> tuple:
    x, y = promote_inexact(name, x, y)
    if x.dtype.kind == "c":
        raise TypeError(message(f"{name}: a point has real coordinates", f"{describe(x)}, {describe(y)}", "real numbers",
                                "fnp.angle(z) for the angle of a complex number z; -1j * fnp.log((x + 1j * y) / "
                                "fnp.sqrt(x * x + y * y)) for the holomorphic function arctan2(y, x)"))
    return x, y


atan2 = binary(atan2_p, "The angle of the point (y, x): x is its height and y its width.", _coordinates)

# ---------------------------------------------------------------- complex numbers


def _part_shape(name: str) -> Callable:
    def shape(x: ShapedArray) -> ShapedArray:
        if x.dtype.kind != "c":
            raise TypeError(f"{name} takes a complex array, not {x}")
        return shaped_array(x.shape, dtypes.real_dtype(x.dtype))
    return shape


def _complex_shape(x: ShapedArray, y: ShapedArray) -> ShapedArray:
    if x.dtype != y.dtype or x.dtype.name not in ("float32", "float64"):
        raise TypeError(f"complex takes two arrays of float32 or two of float64, not {x} and {y}")
    return shaped_array(y.shape if x.literal else x.shape, dtypes.complex_dtype(x.dtype))


def complex_impl(xp: Any, x: Any, y: Any) -> Any:
    out = xp.empty(np.broadcast_shapes(x.shape, y.shape), dtypes.complex_dtype(x.dtype))
    out.real, out.imag = x, y
    return out[()]


def _complex_transpose(cotangents: tuple, x: Any, y: Any) -> tuple:
    ct, = cotangents
    return (real(ct) if isinstance(x, Linear) else None,
            neg(imag(ct)) if isinstance(y, Linear) else None)


# Cotangents follow JAX: the transpose is taken without conjugation, so imag's brings a factor -1j.
real_p = elementwise("real", lambda xp, x: x.real, LINEAR, "{0}.real", shape=_part_shape("real"),
                     transpose=lambda cts, x: (complex(cts[0], cts[0].dtype.type(0)),))
imag_p = elementwise("imag", lambda xp, x: x.imag, LINEAR, "{0}.imag", shape=_part_shape("imag"),
                     transpose=lambda cts, x: (complex(cts[0].dtype.type(0), neg(cts[0])),))
conj_p = elementwise("conj", lambda xp, x: xp.conj(x), LINEAR, "conj({0})", transpose=lambda cts, x: (conj(cts[0]),))
complex_p = elementwise("complex", complex_impl, LINEAR, "complex({0}, {1})", shape=_complex_shape,
                        transpose=_complex_transpose)


def _direction_jvp(primals: tuple, tangents: tuple) -> tuple:
    x, dot = primals[0], tangents[0]
    out = direction_p.bind(x)[0]
    turn = imag(conj(out) * dot) / _one_where_zero(abs(x))  # how fast the angle changes
    return (out,), (out * complex(turn.dtype.type(0), turn),)


direction_p = elementwise("direction", lambda xp, x: xp.sign(x), _direction_jvp, "sign({0})")


def real(x: Any) -> Any:
    """The real part; real arrays are returned as they are."""
    x = unary_arg("real", x)
    return real_p.bind(x)[0] if x.dtype.kind == "c" else x


def imag(x: Any) -> Any:
    """The imaginary part; zeros for real arrays."""
    x = unary_arg("imag", x)
    return imag_p.bind(x)[0] if x.dtype.kind == "c" else full(x.shape, x.dtype.type(0))


def conj(x: Any) -> Any:
    """The complex conjugate; real arrays are returned as they are."""
    x = unary_arg("conj", x)
    return conj_p.bind(x)[0] if x.dtype.kind == "c" else x


def complex(x: Any, y: Any) -> Any:
    """x + 1j * y, from two real arrays."""
    x, y = promote_inexact("complex", x, y)
    if x.dtype.name not in ("float32", "float64"):
        x, y = (convert_element_type(v, np.float32) for v in (x, y))
    return complex_p.bind(x, y)[0]


# ---------------------------------------------------------------- clamp


def clamp(min: Any, x: Any, max: Any) -> Any:
    """x kept between two bounds, each of its shape or a scalar; the gradient is 0 where x was moved."""
    return clamp_p.bind(*promote_args("clamp", (min, x, max)))[0]


def _inside(z: Any, lower: Any, x: Any, upper: Any) -> Any:
    return convert_element_type(bitwise_and(lt(lower, x), lt(x, upper)), x.dtype)


def _edge(compare: Callable) -> Callable:
    return lambda z, lower, x, upper: convert_element_type(compare(lower, x, upper), x.dtype)


clamp_p = elementwise(
    "clamp", lambda xp, lower, x, upper: xp.minimum(xp.maximum(x, lower), upper),
    Partials(_edge(lambda lower, x, upper: bitwise_and(gt(lower, x), lt(lower, upper))), _inside,
             _edge(lambda lower, x, upper: gt(maximum(x, lower), upper))), "minimum(maximum({1}, {0}), {2})",
    taylor=PIECEWISE_LINEAR)


def select(pred: Any, on_true: Any, on_false: Any) -> Any:
    """``on_true`` where the predicate holds, else ``on_false``; the two are promoted to one dtype and shape."""
    on_true, on_false = promote_args("select", (on_true, on_false))
    return select_n(pred, on_false, on_true)
