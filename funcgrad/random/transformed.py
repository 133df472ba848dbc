"""Distributions that are a formula of uniform or normal draws.

In: a key, parameters, a shape, a dtype. Out: an array of draws; derivatives flow through the parameters.

    >>> from funcgrad import random
    >>> random.exponential(random.key(0), (2,), "float32")
    Array([2.950128 , 3.8434246], dtype=float32)
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.elementwise import (
    abs,
    add,
    bitwise_not,
    bitwise_or,
    clz,
    eq,
    exp,
    floor,
    ge,
    le,
    log,
    log1p,
    lt,
    mul,
    neg,
    power,
    select,
    shift_left,
    shift_right_logical,
    sign,
    sqrt,
    square,
    sub,
    tan,
    true_divide,
)
from funcgrad.ops.promotion import check_arg
from funcgrad.ops.random_bits import bitcast_convert_type
from funcgrad.ops.structural import broadcast_to, convert_element_type, reshape, slice_in_dim, sum_over
from funcgrad.random.keys import (
    as_probability,
    checked_key,
    checked_shape,
    float_dtype,
    integer_dtype,
    parameter_shape,
    random_bits,
    subkeys,
)
from funcgrad.random.uniform import as_parameter, real_normal, scaled_uniform

# ---------------------------------------------------------------- arguments


def arguments(name: str, key: Any, shape: Any, dtype: Any) -> tuple[Array, Shape, np.dtype]:
    """The three arguments that every distribution without parameters has, checked."""
    return checked_key(name, key), checked_shape(name, shape), float_dtype(name, dtype)


def parameters(name: str, dtype: np.dtype, shape: Any, *values: Any) -> tuple[Shape, list[Array]]:
    """The shape of the result, and the parameters as arrays of that shape and dtype.

    Raises ValueError for a parameter whose dtype holds more than ``dtype``, or whose shape does not broadcast.
    """
    for i, value in enumerate(values):
        aval = check_arg(f"random.{name}", value, i + 1)
        if dtypes.join((aval.dtype, aval.weak_type), (dtype, False))[0] != dtype:
            raise ValueError(message(f"random.{name}: a parameter does not fit into the dtype of the draws",
                                     f"{describe(value)} for draws of {dtype.name}", "a dtype at least as wide",
                                     f"dtype={aval.dtype.name!r}, or the parameter as {dtype.name}"))
    return cast_parameters(name, dtype, shape, *values)


def cast_parameters(name: str, dtype: np.dtype, shape: Any, *values: Any) -> tuple[Shape, list[Array]]:
    """As ``parameters``, but a wider dtype is narrowed."""
    shape = parameter_shape(name, shape, *values)
    return shape, [broadcast_to(as_parameter(x, dtype), shape) for x in values]


# ---------------------------------------------------------------- one uniform draw


def exponential(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws with density exp(-x) on x >= 0. Raises ValueError for a dtype that is not floating point."""
    return neg(log1p(neg(scaled_uniform(*arguments("exponential", key, shape, dtype)))))


def laplace(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws with density exp(-|x|) / 2. Raises ValueError for a dtype that is not floating point."""
    key, shape, dtype = arguments("laplace", key, shape, dtype)
    u = scaled_uniform(key, shape, dtype, -1 + 2.0 ** -(dtypes.finfo(dtype).nmant + 1), 1.0)
    return mul(sign(u), log1p(neg(abs(u))))


def logistic(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws with distribution function 1 / (1 + exp(-x)). Raises ValueError for a dtype that is not real floating."""
    key, shape, dtype = arguments("logistic", key, shape, dtype)
    u = scaled_uniform(key, shape, dtype, dtypes.finfo(dtype).tiny, 1.0)
    return sub(log(u), log1p(neg(u)))


def cauchy(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws with density 1 / (pi (1 + x**2)). Raises ValueError for a dtype that is not floating point."""
    key, shape, dtype = arguments("cauchy", key, shape, dtype)
    u = scaled_uniform(key, shape, dtype, dtypes.finfo(dtype).eps, 1.0)
    return tan(mul(sub(u, dtype.type(0.5)), dtype.type(np.pi)))


def pareto(key: Any, b: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws with density b / x**(b + 1) on x >= 1."""
    key, dtype = checked_key("pareto", key), float_dtype("pareto", dtype)
    shape, (b,) = parameters("pareto", dtype, shape, b)
    return exp(true_divide(exponential(key, shape, dtype), b))


def rayleigh(key: Any, scale: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws with density x / scale**2 * exp(-x**2 / (2 scale**2)) on x >= 0."""
    key, dtype = checked_key("rayleigh", key), float_dtype("rayleigh", dtype)
    shape, (scale,) = parameters("rayleigh", dtype, shape, scale)
    return mul(scale, sqrt(mul(log(scaled_uniform(key, shape, dtype)), dtype.type(-2))))


def weibull_min(key: Any, scale: Any, concentration: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws with distribution function 1 - exp(-(x / scale)**concentration) on x >= 0.

    Parameters that do not broadcast to the shape share its draws.
    """
    key, shape, dtype = arguments("weibull_min", key, shape, dtype)
    scale, concentration = as_parameter(scale, dtype), as_parameter(concentration, dtype)
    return mul(power(exponential(key, shape, dtype), 1 / concentration), scale)


def triangular(key: Any, left: Any, mode: Any, right: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws whose density rises in a line from ``left`` to ``mode`` and falls in a line to ``right``."""
    key, dtype = checked_key("triangular", key), float_dtype("triangular", dtype)
    shape, (left, mode, right) = parameters("triangular", dtype, shape, left, mode, right)
    width = right - left
    u = scaled_uniform(key, shape, dtype)
    return select(lt(u, (mode - left) / width), left + sqrt(u * width * (mode - left)),
                  right - sqrt((1 - u) * width * (right - mode)))


def geometric(key: Any, p: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The number of trials up to the first success, which has probability p each: 1, 2, ...; int64 by default.

    Raises ValueError for a dtype that is not an integer one.
    """
    key, dtype = checked_key("geometric", key), integer_dtype("geometric", dtype)
    shape = parameter_shape("geometric", shape, p)
    p = broadcast_to(as_probability("geometric", p, 1), shape)
    u = scaled_uniform(key, shape, p.dtype)
    u = select(eq(u, p.dtype.type(0)), p.dtype.type(1), u)
    return convert_element_type(add(floor(true_divide(log(u), log1p(neg(p)))), p.dtype.type(1)), dtype)


# ---------------------------------------------------------------- Gumbel noise


def gumbel(key: Any, shape: Any = (), dtype: Any = None, mode: str | None = None) -> Array:
    """Draws with distribution function exp(-exp(-x)).

    Args:
      key: a key.
      shape: the shape of the result.
      dtype: a real floating point dtype; float64 by default.
      mode: None or "low"; "high" reaches larger values, with twice the random bits; "highest" also smaller ones in
        float32 (and is "high" in other dtypes).

    Raises ValueError for another mode or a dtype that is not floating point.
    """
    key, shape, dtype = arguments("gumbel", key, shape, dtype)
    if mode not in (None, "low", "high", "highest"):
        raise ValueError(message("random.gumbel: there is no such mode", repr(mode), "'low', 'high' or 'highest'"))
    tiny = dtypes.finfo(dtype).tiny
    if mode in (None, "low"):
        return neg(log(neg(log(scaled_uniform(key, shape, dtype, tiny, 1.0)))))
    if mode == "highest" and dtype.name == "float32":
        return _gumbel_of_64_bits(key, shape)
    coarse, fine = halves(scaled_uniform(key, (2, *shape), dtype))
    refined = coarse + fine * dtype.type(2.0 ** -dtypes.finfo(dtype).nmant) + dtype.type(tiny)
    return _gumbel_of_complement(select(ge(coarse, dtype.type(0.5)), coarse, refined))


def halves(x: Any) -> list[Any]:
    """The two parts of an array whose first axis has size 2."""
    return [reshape(slice_in_dim(x, i, i + 1), x.shape[1:]) for i in (0, 1)]


def _gumbel_of_complement(x: Any) -> Array:
    return neg(log(neg(log1p(neg(x)))))


def _gumbel_of_64_bits(key: Array, shape: Shape) -> Array:
    """Gumbel draws in float32 from 64-bit fractions in (0, 1), counted from the end that they are near."""
    uint64, float32 = np.dtype("uint64"), np.dtype("float32")
    high, low = halves(random_bits(key, (2, *shape), np.dtype("uint32")))
    high_word, low_word = (convert_element_type(word, uint64) for word in (high, low))
    number = bitwise_or(shift_left(high_word, uint64.type(32)), low_word)
    near_zero = lt(high, np.uint32(1 << 31))
    number = select(near_zero, number, add(bitwise_not(number), uint64.type(1)))
    # number * 2**-64 with the leading 24 bits kept: a float32 whose exponent is the count of leading zeros.
    zeros = clz(number)
    leading = convert_element_type(shift_right_logical(shift_left(number, zeros), uint64.type(40)), float32)
    leading = select(eq(number, uint64.type(0)), float32.type(2**23), leading)
    exponent = shift_left(sub(np.uint32(127 - 24), convert_element_type(zeros, np.uint32)), np.uint32(23))
    x = mul(leading, bitcast_convert_type(exponent, float32))
    return select(near_zero, _gumbel_of_complement(x), neg(log(neg(log(x)))))


# ---------------------------------------------------------------- normal draws


def lognormal(key: Any, sigma: Any = 1.0, shape: Any = None, dtype: Any = None) -> Array:
    """Draws whose logarithm is normal with mean 0 and standard deviation sigma."""
    key, dtype = checked_key("lognormal", key), float_dtype("lognormal", dtype)
    shape, (sigma,) = parameters("lognormal", dtype, shape, sigma)
    return exp(mul(real_normal(key, shape, dtype), sigma))


def wald(key: Any, mean: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws from the inverse Gaussian distribution with this mean and scale 1.

    By Michael, Schucany and Haas, "Generating random variates using transformations with multiple roots" (1976).
    """
    key, dtype = checked_key("wald", key), float_dtype("wald", dtype)
    shape, (mean,) = parameters("wald", dtype, shape, mean)
    key_normal, key_uniform = subkeys(key)
    y = square(real_normal(key_normal, shape, dtype))
    u = scaled_uniform(key_uniform, shape, dtype)
    squared = square(mean)
    x = mean + squared * y / 2 - mean / 2 * sqrt(4 * mean * y + squared * square(y))
    return select(le(u, mean / (mean + x)), x, squared / x)


def maxwell(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """The length of a vector of three standard normal draws. Raises ValueError for a dtype that is not floating."""
    key, shape, dtype = arguments("maxwell", key, shape, dtype)
    return sqrt(sum_over(square(real_normal(key, (*shape, 3), dtype)), (len(shape),)))


def double_sided_maxwell(key: Any, loc: Any, scale: Any, shape: Any = (), dtype: Any = None) -> Array:
    """``loc`` plus or minus ``scale`` times a Maxwell draw.

    The result's shape is that of the parameters, after ``shape`` (once more their own if ``shape`` is empty).
    """
    key, dtype = checked_key("double_sided_maxwell", key), float_dtype("double_sided_maxwell", dtype)
    common = parameter_shape("double_sided_maxwell", None, loc, scale)
    shape = (checked_shape("double_sided_maxwell", shape) or common) + common
    key_length, key_sign = subkeys(key)
    side = sub(mul(convert_element_type(lt(scaled_uniform(key_sign, shape, np.dtype("float64")), 0.5), dtype), 2), 1)
    _, (loc, scale) = cast_parameters("double_sided_maxwell", dtype, shape, loc, scale)
    return side * maxwell(key_length, shape, dtype) * scale + loc
