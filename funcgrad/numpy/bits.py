"""The parts of floating point numbers (sign, mantissa, exponent), and bits packed in bytes.

In: arrays and scalars. Out: arrays. The bits themselves are read, so subnormal numbers, -0.0 and NaN are right.

    >>> import funcgrad.numpy as fnp
    >>> fnp.frexp(12.0)
    (Array(0.75, dtype=float64), Array(4, dtype=int32))
"""
from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.selection import where
from funcgrad.numpy.ufuncs import (
    absolute,
    add,
    bitwise_and,
    bitwise_or,
    clip,
    equal,
    isfinite,
    left_shift,
    less,
    logical_not,
    multiply,
    negative,
    nextafter,
    not_equal,
    real_arg,
    right_shift,
    subtract,
    trunc,
)
from funcgrad.ops.promotion import broadcast_args, inexact_arg, promote_inexact, unary_arg
from funcgrad.ops.random_bits import bitcast_convert_type
from funcgrad.ops.reduction import as_axis
from funcgrad.ops.structural import (
    broadcast_in_dim,
    convert_element_type,
    full,
    moveaxis,
    pad,
    reshape,
    stop_gradient,
    sum_over,
)

# ---------------------------------------------------------------- the parts of a floating point number


@functools.cache
def _layout(dtype: np.dtype) -> tuple[np.dtype, int, int]:
    """How a float is stored: the integer of its width, the bits of its mantissa, the exponent's bias."""
    info = dtypes.finfo(dtype)
    return np.dtype(f"int{8 * dtype.itemsize}"), int(info.nmant), 1 - int(info.minexp)


def _power_of_two(n: Any, dtype: np.dtype) -> Any:
    """2**n exactly, for n within the range of normal numbers."""
    integer, mantissa, bias = _layout(dtype)
    return bitcast_convert_type(left_shift(convert_element_type(add(n, bias), integer), mantissa), dtype)


def signbit(x: Any, /) -> Any:
    """True where the sign of x is negative, also for -0.0 and NaN."""
    x = unary_arg("signbit", x)
    if dtypes.kind(x.dtype) != "f":
        return less(real_arg("signbit", x), 0) if x.dtype.kind != "b" else full(x.shape, False)
    return less(bitcast_convert_type(stop_gradient(x), _layout(x.dtype)[0]), 0)


def copysign(x1: Any, x2: Any, /) -> Any:
    """abs(x1) with the sign of x2."""
    x1, x2 = promote_inexact("copysign", x1, x2)
    x1, x2 = real_arg("copysign", x1), unary_arg("copysign", x2)
    return where(not_equal(signbit(x1), signbit(x2)), negative(unary_arg("copysign", x1)), x1)


def frexp(x: Any, /) -> tuple[Any, Any]:
    """``(mantissa, exponent)``, x = mantissa * 2**exponent and 0.5 <= abs(mantissa) < 1; the exponent is int32."""
    x = real_arg("frexp", inexact_arg("frexp", x))
    integer, mantissa, bias = _layout(x.dtype)
    constant = stop_gradient(x)
    tiny = less(absolute(constant), dtypes.finfo(x.dtype).smallest_normal)
    lifted = where(tiny, multiply(where(tiny, constant, 0.0), 2.0 ** (mantissa + 1)), constant)
    field = right_shift(bitcast_convert_type(absolute(lifted), integer), mantissa)
    exponent = subtract(convert_element_type(field, np.int32), bias - 1)
    exponent = subtract(exponent, where(tiny, mantissa + 1, 0))
    special = bitwise_or(equal(constant, 0), logical_not(isfinite(constant)))
    exponent = where(special, 0, exponent)
    return ldexp(x, negative(exponent)), convert_element_type(exponent, np.int32)


def ldexp(x1: Any, x2: Any, /) -> Any:
    """x1 * 2**x2 for integers x2, rounded once."""
    x1, x2 = real_arg("ldexp", inexact_arg("ldexp", x1)), unary_arg("ldexp", x2)
    if x2.dtype.kind not in "biu":
        raise TypeError(message("ldexp: the exponents are not integers", describe(x2), "integers", "x1 * 2.0 ** x2"))
    x1, x2 = broadcast_args("ldexp", [x1, convert_element_type(x2, np.int64)])
    # One factor 2**x2 may overflow where the product does not; the last factor alone may round.
    reach = _layout(x1.dtype)[2] - 1
    last = clip(x2, -reach, reach)
    first = clip(subtract(x2, last), -reach, reach)
    rest = clip(subtract(subtract(x2, last), first), -reach, reach)
    for n in (rest, first, last):
        x1 = multiply(x1, _power_of_two(n, x1.dtype))
    return x1


def modf(x: Any, /, out: None = None) -> tuple[Any, Any]:
    """``(fraction, whole)``: both have the sign of x, and their sum is x."""
    x = real_arg("modf", inexact_arg("modf", x))
    whole = trunc(x)
    infinite = equal(absolute(x), math.inf)
    return where(infinite, 0.0, subtract(x, where(infinite, 0.0, whole))), whole


def spacing(x: Any, /) -> Any:
    """The distance from x to the next number farther from 0, with the sign of x."""
    x = stop_gradient(real_arg("spacing", inexact_arg("spacing", x)))
    return subtract(nextafter(x, copysign(full(x.shape, x.dtype.type(np.inf)), x)), x)


# ---------------------------------------------------------------- bits in bytes


def packbits(a: Any, axis: int | None = None, bitorder: str = "big") -> Any:
    """Groups of eight bools or integers (nonzero is 1) along an axis as the bits of uint8; zeros fill the last."""
    a, axis = _bytes_last("packbits", a, axis, bitorder)
    *lead, n = a.shape
    bits = convert_element_type(a if a.dtype.kind == "b" else not_equal(a, 0), np.uint8)
    bits = pad(bits, np.uint8(0), [(0, 0, 0)] * len(lead) + [(0, -n % 8, 0)])
    bits = reshape(bits, (*lead, -(-n // 8), 8))
    out = sum_over(left_shift(bits, _shifts(bitorder)), (len(lead) + 1,))
    return moveaxis(out, len(lead), axis)


def unpackbits(a: Any, axis: int | None = None, count: int | None = None, bitorder: str = "big") -> Any:
    """The bits of uint8 as an array of 0 and 1 along an axis, eight for each element; ``count`` of them if given."""
    if unary_arg("unpackbits", a).dtype.name != "uint8":
        raise TypeError(message("unpackbits: the elements are not bytes", describe(a), "uint8", "a.astype('uint8')"))
    a, axis = _bytes_last("unpackbits", a, axis, bitorder)
    *lead, n = a.shape
    spread = broadcast_in_dim(a, (*lead, n, 8), range(len(lead) + 1))
    bits = bitwise_and(right_shift(spread, _shifts(bitorder)), 1)
    out = reshape(bits, (*lead, 8 * n))
    if count is not None:
        total = count if count >= 0 else 8 * n + count
        out = pad(out, np.uint8(0), [(0, 0, 0)] * len(lead) + [(0, total - 8 * n, 0)])
    return moveaxis(out, len(lead), axis)


def _shifts(bitorder: str) -> np.ndarray:
    return np.arange(8, dtype=np.uint8)[::-1 if bitorder == "big" else 1]


def _bytes_last(name: str, a: Any, axis: int | None, bitorder: str) -> tuple[Any, int]:
    """The array with the axis moved to the end, and where it was."""
    a = unary_arg(name, a)
    if a.dtype.kind not in "biu":
        raise TypeError(message(f"{name}: bits of floats are not packed", describe(a), "bools or integers", "x != 0"))
    if bitorder not in ("big", "little"):
        raise ValueError(message(f"{name}: an unknown order of bits", repr(bitorder), "'big' or 'little'"))
    if axis is None:
        a, axis = reshape(a, (a.size,)), 0
    axis = as_axis(name, axis, len(a.shape))
    return moveaxis(a, axis, len(a.shape) - 1), axis
