"""Less common elementwise operations: log10, logaddexp, gcd, the high half of a product, rounding, narrow precision.

In: arrays and scalars, promoted and broadcast. Out: arrays.

    { lambda ; a:f64[3] b:f64[3]. let c:f64[3] = logaddexp a b in (c,) }
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.primitive import HOST, LINEAR, Constant, Partials, Primitive
from funcgrad.errors import message
from funcgrad.ops import gpu_arithmetic
from funcgrad.ops.elementwise import (
    abs,
    add,
    binary,
    bitwise_and,
    eq,
    exp,
    ge,
    log1p,
    logistic,
    lt,
    mul,
    ne,
    real,
    reciprocal,
    round_to_even,
    shift_right_logical,
    sign,
    sub,
    trunc,
    unary,
)
from funcgrad.ops.options import RoundingMethod
from funcgrad.ops.promotion import inexact_arg, promote_args, promote_inexact, unary_arg
from funcgrad.ops.rules import elementwise
from funcgrad.ops.structural import convert_element_type, select_n, select_n_p


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
    lambda z, x, y: _share(x, y, _LN2), lambda z, x, y: _share(y, x, _LN2)), "logaddexp2({0}, {1})",
    cuda=gpu_arithmetic.logaddexp2)


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


def gcd(x1: Any, x2: Any) -> Any:
    """The greatest common divisor of integers, element by element; never negative. Raises ValueError on floats."""
    x1, x2 = promote_args("gcd", (x1, x2))
    if x1.dtype.kind not in "iu":
        raise ValueError(message("gcd: only integers have common divisors", x1.dtype.name, "integer arrays"))
    return _gcd(x1, x2)


# ---------------------------------------------------------------- the high half of a product


def mulhi(x: Any, y: Any, /) -> Any:
    """The high half of the bits of x * y, for integers of one dtype. Raises TypeError on others.

    >>> import numpy as np
    >>> mulhi(np.int32(2**30), np.int32(8))
    Array(2, dtype=int32)
    """
    x, y = (unary_arg("mulhi", v) for v in promote_args("mulhi", (x, y)))
    dtype = x.dtype
    if dtype.kind not in "iu":
        raise TypeError(message("mulhi: only integers have a high half", dtype.name, "integer arrays"))
    bits = 8 * dtype.itemsize
    if bits < 64:
        wide = np.dtype(f"{'u' if dtype.kind == 'u' else ''}int{2 * bits}")
        product = mul(*[convert_element_type(v, wide) for v in (x, y)])
        return convert_element_type(shift_right_logical(product, wide.type(bits)), dtype)
    a, b = (convert_element_type(v, np.uint64) for v in (x, y))
    high = _mulhi_unsigned(a, b)
    if dtype.kind == "i":  # as an unsigned number, a negative one is 2**64 more than it is
        for v, other in ((x, b), (y, a)):
            high = sub(high, select_n(lt(v, 0), mul(other, np.uint64(0)), other))
    return convert_element_type(high, dtype)


def _mulhi_unsigned(x: Any, y: Any) -> Any:
    """The high half for uint64, from products of the halves of the factors."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    (x_high, x_low), (y_high, y_low) = ((shift_right_logical(v, half), bitwise_and(v, low)) for v in (x, y))
    middle = add(mul(x_high, y_low), shift_right_logical(mul(x_low, y_low), half))
    carried = add(mul(x_low, y_high), bitwise_and(middle, low))
    return add(mul(x_high, y_high), add(shift_right_logical(middle, half), shift_right_logical(carried, half)))


# ---------------------------------------------------------------- rounding


def round(x: Any, rounding_method: RoundingMethod = RoundingMethod.AWAY_FROM_ZERO) -> Any:
    """The nearest integer, as a float; ``rounding_method`` says where halves go.

    >>> round(2.5), round(2.5, RoundingMethod.TO_NEAREST_EVEN)
    (Array(3., dtype=float64, weak_type=True), Array(2., dtype=float64, weak_type=True))
    """
    x = inexact_arg("round", x)
    if RoundingMethod(rounding_method) is RoundingMethod.TO_NEAREST_EVEN:
        return round_to_even(x)
    towards_zero = trunc(x)
    far = bitwise_and(ge(abs(x), add(abs(towards_zero), 0.5)), ne(x, towards_zero))  # large numbers are whole
    return add(towards_zero, mul(sign(x), convert_element_type(far, x.dtype, getattr(x, "weak_type", False))))


def reduce_precision_impl(xp: Any, x: Any, *, exponent_bits: int, mantissa_bits: int) -> Any:
    limits = dtypes.finfo(x.dtype)
    word = np.dtype(f"uint{8 * x.dtype.itemsize}")
    bits = xp.asarray(x).view(word)
    dropped = limits.nmant - mantissa_bits
    if dropped > 0:  # halves go to the even neighbour: the last bit that is kept is added to just below a half
        half = word.type((1 << (dropped - 1)) - 1) + (bits >> word.type(dropped) & word.type(1))
        bits = bits + half >> word.type(dropped) << word.type(dropped)
    out = bits.view(x.dtype)
    if exponent_bits < limits.nexp:
        bias = (1 << (exponent_bits - 1)) - 1
        size = xp.abs(out).astype(np.float64)
        out = xp.where(size >= 2.0 ** (bias + 1), xp.copysign(np.inf, out.astype(np.float64)).astype(x.dtype), out)
        out = xp.where(size < 2.0 ** (1 - bias), xp.copysign(0.0, out.astype(np.float64)).astype(x.dtype), out)
    return xp.where(x != x, x, out).astype(x.dtype)[()]


reduce_precision_p = elementwise(
    "reduce_precision", reduce_precision_impl, LINEAR, HOST, shape=lambda x, **params: x,
    transpose=lambda cts, x, **params: (reduce_precision(cts[0], **params),))


def reduce_precision(operand: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    """operand rounded to a floating point format with fewer bits of exponent and mantissa, in its own dtype.

    Numbers too large become infinite, those too small to be normal become 0. Its tangent is rounded as well.

    >>> reduce_precision(3.14159, 8, 7)
    Array(3.140625, dtype=float64, weak_type=True)
    """
    x = unary_arg("reduce_precision", operand)
    if dtypes.kind(x.dtype) != "f":
        raise TypeError(message("reduce_precision: only real floating point numbers", describe(x), "a float array"))
    if exponent_bits < 1 or mantissa_bits < 0:
        raise ValueError(message("reduce_precision: such a format does not exist", f"exponent_bits={exponent_bits}, "
                                 f"mantissa_bits={mantissa_bits}", "at least 1 bit of exponent and 0 of mantissa"))
    return reduce_precision_p.bind(x, exponent_bits=int(exponent_bits), mantissa_bits=int(mantissa_bits))[0]
