"""Elementwise functions as NumPy names them.

In: arrays and scalars, promoted and broadcast. Out: arrays. Most names are the functions of ``ops.elementwise``
themselves; the rest are short compositions of them.

    >>> import funcgrad.numpy as fnp
    >>> fnp.hypot(3.0, fnp.array([4.0, 0.0]))
    Array([5., 3.], dtype=float64)
"""
from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, DeviceArray, describe
from funcgrad.errors import message
from funcgrad.numpy.selection import where
from funcgrad.ops import elementwise as e
from funcgrad.ops.integrals import sin_over
from funcgrad.ops.numeric import gcd
from funcgrad.ops.promotion import (
    broadcast_args,
    check_arg,
    inexact_arg,
    promote,
    promote_args,
    promote_inexact,
    unary_arg,
)
from funcgrad.ops.reduction import reduce_and
from funcgrad.ops.structural import convert_element_type, full, select_n

# ---------------------------------------------------------------- the functions of ops under NumPy's names

add, subtract, multiply = e.add, e.subtract, e.multiply
divide = true_divide = e.true_divide
exp, exp2, expm1, log, log2, log1p = e.exp, e.exp2, e.expm1, e.log, e.log2, e.log1p
sqrt, cbrt, reciprocal = e.sqrt, e.cbrt, e.reciprocal
sin, cos, tan, sinh, cosh, tanh = e.sin, e.cos, e.tan, e.sinh, e.cosh, e.tanh
arcsin = asin = e.asin
arccos = acos = e.acos
arctan = atan = e.atan
arcsinh = asinh = e.asinh
arccosh = acosh = e.acosh
arctanh = atanh = e.atanh
arctan2 = atan2 = e.atan2
equal, not_equal, less, less_equal, greater, greater_equal = e.eq, e.ne, e.lt, e.le, e.gt, e.ge
bitwise_and, bitwise_or, bitwise_xor = e.bitwise_and, e.bitwise_or, e.bitwise_xor
invert = bitwise_not = bitwise_invert = e.bitwise_not
left_shift = bitwise_left_shift = e.shift_left
maximum, minimum = e.maximum, e.minimum
negative = e.neg
real, imag = e.real, e.imag
conj = conjugate = e.conj
nextafter = e.nextafter


def _bools_as_int32(name: str, args: tuple) -> list[Any]:
    """Operands of arithmetic that has no meaning on bools: they count as int32."""
    args = promote_args(name, args)
    return [convert_element_type(x, np.int32) for x in args] if args[0].dtype.kind == "b" else args


def _number(name: str, function: Callable) -> Callable:
    """A binary function that computes bools in int32."""

    def numeric(x1: Any, x2: Any, /) -> Any:
        if isinstance(x1, DeviceArray) and x1.dtype.kind != "b":
            return function(x1, x2)
        return function(*_bools_as_int32(name, (x1, x2)))

    numeric.__name__ = numeric.__qualname__ = name
    numeric.__doc__, numeric.__module__ = function.__doc__, __name__
    return numeric


floor_divide = _number("floor_divide", e.floor_divide)
remainder = mod = _number("remainder", e.remainder)
fmod = _number("fmod", e.rem)


def power(x1: Any, x2: Any, /) -> Any:
    """x1 ** x2, element by element.

    A Python integer x2 is a repeated multiplication. Raises ValueError for an integer to a negative integer power.
    """
    return e.power(x1, x2)


pow = power


def square(x: Any, /) -> Any:
    """x * x."""
    x = unary_arg("square", x)
    return e.square(convert_element_type(x, np.int32) if x.dtype.kind == "b" else x)


def divmod(x1: Any, x2: Any, /) -> tuple[Any, Any]:
    """``(x1 // x2, x1 % x2)``."""
    return floor_divide(x1, x2), remainder(x1, x2)


def float_power(x1: Any, x2: Any, /) -> Any:
    """x1 ** x2 computed in floating point: integers are converted first."""
    return e.power(*promote_inexact("float_power", x1, x2))


def positive(x: Any, /) -> Any:
    """+x: the same array."""
    return unary_arg("positive", x)


def absolute(x: Any, /) -> Any:
    """The absolute value; its gradient at 0 is 0. For complex x, the modulus, which is real."""
    x = unary_arg("absolute", x)
    return x if x.dtype.kind in "bu" else e.abs(x)


abs = absolute


def fabs(x: Any, /) -> Any:
    """The absolute value in floating point. Raises TypeError for complex x."""
    return e.abs(real_arg("fabs", inexact_arg("fabs", x)))


def sign(x: Any, /) -> Any:
    """-1, 0 or 1; for complex x, x / abs(x). Raises TypeError on bools."""
    x = unary_arg("sign", x)
    if x.dtype.kind == "b":
        raise TypeError(message("sign: a bool has no sign", describe(x), "a number", "x.astype(int)"))
    return e.sign(x)


def real_arg(name: str, x: Any) -> Any:
    """x, or a TypeError if it is complex."""
    if x.dtype.kind == "c":
        raise TypeError(message(f"{name}: not defined for complex numbers", describe(x), "real numbers",
                                f"fnp.{name}(x.real) or fnp.{name}(fnp.abs(x))"))
    return x


# ---------------------------------------------------------------- rounding


def _rounding(name: str, function: Callable) -> Callable:
    """floor, ceil, trunc: integers are their own result."""

    def rounded(x: Any) -> Any:
        x = unary_arg(name, x)
        return function(x) if dtypes.is_inexact(x.dtype) else x

    rounded.__name__ = rounded.__qualname__ = name
    rounded.__doc__, rounded.__module__ = function.__doc__, __name__
    return rounded


floor, ceil = _rounding("floor", e.floor), _rounding("ceil", e.ceil)
trunc = fix = _rounding("trunc", e.trunc)


def rint(x: Any, /) -> Any:
    """The nearest integer, as a float; halves go to the even one."""
    x = unary_arg("rint", x)
    x = x if dtypes.is_inexact(x.dtype) else convert_element_type(x, np.float64)
    if x.dtype.kind == "c":
        return e.complex(e.round_to_even(real(x)), e.round_to_even(imag(x)))
    return e.round_to_even(x)


def round(a: Any, decimals: int = 0, out: None = None) -> Any:
    """a rounded to ``decimals`` digits after the point; halves go to the even digit. Integers stay integers.

    Raises NotImplementedError for integers with negative ``decimals``.
    """
    if out is not None:
        raise NotImplementedError(message("round: the argument out is not supported", describe(out), "out=None"))
    a = unary_arg("round", a)
    if a.dtype.kind in "biu":
        if decimals < 0:
            raise NotImplementedError(message("round: an integer to negative decimals", f"decimals={decimals}",
                                              "decimals >= 0", "fnp.round(x.astype(float), decimals)"))
        return a
    if decimals == 0:
        return rint(a)
    wide = convert_element_type(a, np.float32) if dtypes.kind(a.dtype) == "f" and a.dtype.itemsize < 4 else a
    factor = 10.0 ** builtins.abs(decimals)
    scaled = rint(multiply(wide, factor) if decimals > 0 else divide(wide, factor))
    return convert_element_type(divide(scaled, factor) if decimals > 0 else multiply(scaled, factor), a.dtype,
                                getattr(a, "weak_type", False))


around = round

# ---------------------------------------------------------------- exponentials, angles


def deg2rad(x: Any, /) -> Any:
    """x degrees in radians."""
    return multiply(inexact_arg("deg2rad", x), math.pi / 180)


def rad2deg(x: Any, /) -> Any:
    """x radians in degrees."""
    return multiply(inexact_arg("rad2deg", x), 180 / math.pi)


radians, degrees = deg2rad, rad2deg


def hypot(x1: Any, x2: Any, /) -> Any:
    """sqrt(x1**2 + x2**2) without overflow; its gradient at (0, 0) is 0. Raises TypeError on complex numbers."""
    x1, x2 = promote_inexact("hypot", x1, x2)
    return e.hypot(real_arg("hypot", x1), x2)


def sinc(x: Any, /) -> Any:
    """sin(pi x) / (pi x), and 1 at x = 0. Near 0 it is its Taylor polynomial, so its derivatives there are right."""
    x = multiply(inexact_arg("sinc", x), math.pi)
    return convert_element_type(sin_over(x), x.dtype, weak_type=x.aval.weak_type)


def angle(z: Any, deg: bool = False) -> Any:
    """The angle of a complex number in the plane, in radians, or in degrees if ``deg``."""
    z = unary_arg("angle", z)
    z = z if dtypes.is_inexact(z.dtype) else convert_element_type(z, np.float64)
    out = arctan2(imag(z), real(z))
    return rad2deg(out) if deg else out


# ---------------------------------------------------------------- questions about floating point numbers


def isnan(x: Any, /) -> Any:
    """True where x is NaN, or has a part that is."""
    x = unary_arg("isnan", x)
    return not_equal(x, x)


def isfinite(x: Any, /) -> Any:
    """True where x is neither infinite nor NaN."""
    x = unary_arg("isfinite", x)
    return e.is_finite(x) if dtypes.is_inexact(x.dtype) else full(x.shape, True)


def isinf(x: Any, /) -> Any:
    """True where x is infinite, or has a part that is."""
    x = unary_arg("isinf", x)
    if x.dtype.kind == "c":
        return bitwise_or(isinf(real(x)), isinf(imag(x)))
    return equal(absolute(x), math.inf) if dtypes.is_inexact(x.dtype) else full(x.shape, False)


def isposinf(x: Any, /, out: None = None) -> Any:
    """True where x is plus infinity."""
    return _is_infinity("isposinf", x, math.inf)


def isneginf(x: Any, /, out: None = None) -> Any:
    """True where x is minus infinity."""
    return _is_infinity("isneginf", x, -math.inf)


def _is_infinity(name: str, x: Any, infinity: float) -> Any:
    x = unary_arg(name, x)
    if x.dtype.kind == "c":
        raise ValueError(message(f"{name}: complex numbers have no sign", describe(x), "real numbers",
                                 "fnp.isinf(x)"))
    return equal(x, infinity) if dtypes.is_inexact(x.dtype) else full(x.shape, False)


def isreal(x: Any) -> Any:
    """True where the imaginary part is 0."""
    x = unary_arg("isreal", x)
    return equal(imag(x), 0) if x.dtype.kind == "c" else full(x.shape, True)


def iscomplex(x: Any) -> Any:
    """True where the imaginary part is not 0."""
    return logical_not(isreal(x))


def iscomplexobj(x: Any) -> bool:
    """Whether x has a complex dtype."""
    return x.dtype.kind == "c" if isinstance(x, Array) else np.iscomplexobj(x)


def isrealobj(x: Any) -> bool:
    """Whether x has a dtype that is not complex."""
    return not iscomplexobj(x)


def isclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    """True where ``abs(a - b) <= atol + rtol * abs(b)``, and where both are the same infinity.

    NaN is close to nothing, or to NaN if ``equal_nan``.
    """
    a, b = promote_args("isclose", (a, b))
    if a.dtype.kind == "b":
        a, b = (convert_element_type(x, np.int32) for x in (a, b))
    if not dtypes.is_inexact(a.dtype):
        a, b = promote_inexact("isclose", a, b)
    close = less_equal(absolute(subtract(a, b)), add(atol, multiply(rtol, absolute(b))))
    out = bitwise_or(bitwise_and(close, bitwise_and(isfinite(a), isfinite(b))), equal(a, b))
    return bitwise_or(out, bitwise_and(isnan(a), isnan(b))) if equal_nan else out


def allclose(a: Any, b: Any, rtol: Any = 1e-5, atol: Any = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all elements are close in the sense of ``isclose``: a bool array without axes."""
    out = isclose(a, b, rtol, atol, equal_nan)
    return reduce_and(out, range(len(out.shape)))


def array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> Any:
    """Whether two arrays (or sequences) have one shape and equal elements; NaN equals NaN if ``equal_nan``."""
    a1, a2 = (np.asarray(a) if isinstance(a, list | tuple) else unary_arg("array_equal", a) for a in (a1, a2))
    return _all_equal(a1, a2, equal_nan) if a1.shape == a2.shape else DeviceArray(np.False_)


def array_equiv(a1: Any, a2: Any) -> Any:
    """Whether two arrays (or sequences) broadcast to one shape and have equal elements there."""
    a1, a2 = (np.asarray(a) if isinstance(a, list | tuple) else unary_arg("array_equiv", a) for a in (a1, a2))
    try:
        np.broadcast_shapes(a1.shape, a2.shape)
    except ValueError:
        return DeviceArray(np.False_)
    return _all_equal(a1, a2, False)


def _all_equal(a: Any, b: Any, equal_nan: bool) -> Any:
    out = equal(a, b)
    if equal_nan:
        out = bitwise_or(out, bitwise_and(isnan(a), isnan(b)))
    return reduce_and(out, range(len(out.shape)))


# ---------------------------------------------------------------- extremes and replacement


def fmax(x1: Any, x2: Any) -> Any:
    """The larger of x1 and x2, and the one that is a number where the other is NaN."""
    return where(bitwise_or(greater(x1, x2), isnan(x2)), x1, x2)


def fmin(x1: Any, x2: Any) -> Any:
    """The smaller of x1 and x2, and the one that is a number where the other is NaN."""
    return where(bitwise_or(less(x1, x2), isnan(x2)), x1, x2)


def clip(arr: Any, /, min: Any = None, max: Any = None) -> Any:
    """arr kept between ``min`` and ``max``, either of which may be None; they broadcast and promote.

    The gradient is 1 inside, 0 outside and on a bound that is a number. Raises ValueError for complex numbers.
    """
    out = unary_arg("clip", arr)
    if any(x is not None and check_arg("clip", x).dtype.kind == "c" for x in (out, min, max)):
        raise ValueError(message("clip: complex numbers have no order", describe(out), "real numbers",
                                 "fnp.clip(x.real, ...) and fnp.clip(x.imag, ...)"))
    if min is not None:
        out = maximum(out, min)
    return out if max is None else minimum(out, max)


def heaviside(x1: Any, x2: Any, /) -> Any:
    """0 where x1 < 0, x2 where x1 = 0, 1 where x1 > 0."""
    x1, x2 = promote_inexact("heaviside", x1, x2)
    x1 = real_arg("heaviside", x1)
    step = where(less(x1, 0), 0.0, where(equal(x1, 0), x2, 1.0))
    return where(isnan(x1), x1, step)


def nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """x with NaN replaced by ``nan``, infinities by ``posinf`` and ``neginf``: if None, the largest numbers."""
    x = unary_arg("nan_to_num", x)
    if x.dtype.kind == "c":
        return e.complex(*[nan_to_num(part, nan=nan, posinf=posinf, neginf=neginf) for part in (real(x), imag(x))])
    if not dtypes.is_inexact(x.dtype):
        return x
    largest = dtypes.finfo(x.dtype).max
    posinf, neginf = largest if posinf is None else posinf, -largest if neginf is None else neginf
    for found, value in ((isnan(x), nan), (equal(x, math.inf), posinf), (equal(x, -math.inf), neginf)):
        value = convert_element_type(unary_arg("nan_to_num", value), x.dtype)
        x = select_n(found, *broadcast_args("nan_to_num", [x, value]))
    return x


# ---------------------------------------------------------------- logic and integers


def _truth(name: str, x: Any) -> Any:
    x = unary_arg(name, x)
    return x if x.dtype.kind == "b" else not_equal(x, 0)


def _logical(name: str, function: Callable, doc: str) -> Callable:
    def logical(x1: Any, x2: Any, /) -> Any:
        return function(_truth(name, x1), _truth(name, x2))

    logical.__name__ = logical.__qualname__ = name
    logical.__doc__, logical.__module__ = doc, __name__
    return logical


logical_and = _logical("logical_and", bitwise_and, "True where both x1 and x2 are nonzero.")
logical_or = _logical("logical_or", bitwise_or, "True where x1 or x2 is nonzero.")
logical_xor = _logical("logical_xor", bitwise_xor, "True where exactly one of x1 and x2 is nonzero.")


def logical_not(x: Any, /) -> Any:
    """True where x is zero."""
    return e.bitwise_not(_truth("logical_not", x))


def right_shift(x1: Any, x2: Any, /) -> Any:
    """x1 >> x2: signed numbers keep their sign, unsigned ones are filled with zeros."""
    x1, x2 = promote("right_shift", x1, x2)
    return (e.shift_right_logical if x1.dtype.kind == "u" else e.shift_right_arithmetic)(x1, x2)


bitwise_right_shift = right_shift


def bitwise_count(x: Any, /) -> Any:
    """The number of set bits of abs(x), as uint8."""
    return convert_element_type(e.population_count(absolute(x)), np.uint8)


def lcm(x1: Any, x2: Any) -> Any:
    """The least common multiple of integers; 0 where either is 0. Raises ValueError on floats."""
    x1, x2 = promote_args("lcm", (x1, x2))
    divisor = gcd(x1, x2)
    multiple = absolute(multiply(x1, floor_divide(x2, where(equal(divisor, 0), 1, divisor))))
    return where(equal(divisor, 0), 0, multiple)
