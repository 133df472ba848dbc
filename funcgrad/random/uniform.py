"""Uniform, normal and integer draws, on which the other distributions stand.

In: a key, a shape, a dtype. Out: an array of independent draws, the numbers that JAX draws from the same key. A draw
of float32 takes 23 random bits as the fraction of a number in [1, 2), from which 1 is subtracted.

    >>> from funcgrad import random
    >>> random.normal(random.key(42), (2,), "float32")
    Array([-0.02830462,  0.46713185], dtype=float32)
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array
from funcgrad.core.stage import as_value
from funcgrad.core.types import Shape
from funcgrad.ops.elementwise import (
    add,
    bitwise_or,
    clamp,
    complex,
    eq,
    gt,
    le,
    maximum,
    mul,
    nextafter,
    rem,
    select,
    shift_right_logical,
    sub,
    true_divide,
)
from funcgrad.ops.random_bits import bitcast_convert_type, multiply_add, normal_quantile
from funcgrad.ops.special import erf
from funcgrad.ops.structural import broadcast_to, convert_element_type, full, reshape, stop_gradient
from funcgrad.random.keys import (
    checked_key,
    checked_shape,
    float_dtype,
    integer_dtype,
    parameter_shape,
    random_bits,
    subkeys,
)

# ---------------------------------------------------------------- uniform


def uniform(key: Any, shape: Any = (), dtype: Any = None, minval: Any = 0.0, maxval: Any = 1.0) -> Array:
    """Draws spread evenly over [minval, maxval).

    Args:
      key: a key.
      shape: the shape of the result.
      dtype: a real floating point dtype; float64 by default.
      minval, maxval: the bounds, which broadcast to the shape; derivatives flow through them.

    Raises ValueError for a dtype that is not floating point, or bounds that do not broadcast to the shape.
    """
    key, dtype = checked_key("uniform", key), float_dtype("uniform", dtype)
    return scaled_uniform(key, parameter_shape("uniform", shape, minval, maxval), dtype, minval, maxval)


def scaled_uniform(key: Any, shape: Shape, dtype: np.dtype, low: Any = 0.0, high: Any = 1.0) -> Array:
    """``uniform`` of checked arguments. Product and sum are rounded once, as by JAX's compiler on the CPU."""
    draw = unit_uniform(key, shape, dtype)
    if isinstance(low, (int, float, np.generic)) and isinstance(high, (int, float, np.generic)):
        low, width = dtype.type(low), dtype.type(dtype.type(high) - dtype.type(low))
        if low == 0 and width == 1:
            return draw
        product_is_exact = math.frexp(float(width))[0] == 0.5
        draw = add(mul(draw, width), low) if product_is_exact else multiply_add(draw, width, low)
        return draw if width > 0 else maximum(draw, low)
    low, high = (broadcast_to(as_parameter(x, dtype), shape) for x in (low, high))
    return maximum(multiply_add(draw, sub(high, low), low), low)


def unit_uniform(key: Any, shape: Shape, dtype: np.dtype) -> Array:
    """Draws from [0, 1): multiples of the dtype's epsilon."""
    fraction, width = dtypes.finfo(dtype).nmant, dtype.itemsize * 8
    random_width = 8 if fraction < 8 else width
    unsigned = np.dtype(f"uint{width}")
    bits = convert_element_type(random_bits(key, shape, np.dtype(f"uint{random_width}")), unsigned)
    one = np.ones((), dtype).view(unsigned)[()]
    bits = bitwise_or(shift_right_logical(bits, unsigned.type(random_width - fraction)), one)
    return sub(bitcast_convert_type(bits, dtype), dtype.type(1))


def as_parameter(x: Any, dtype: np.dtype) -> Array:
    """A parameter of a distribution as an Array of the dtype of the draws."""
    return convert_element_type(as_value(x), dtype)


# ---------------------------------------------------------------- normal


def normal(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """Draws from the standard normal distribution; for a complex dtype, from the one with E|z|**2 = 1.

    Raises ValueError for a dtype that is not floating point.
    """
    key, shape = checked_key("normal", key), checked_shape("normal", shape)
    if dtype is not None and dtypes.as_dtype(dtype).kind == "c":
        dtype = dtypes.as_dtype(dtype)
        parts = [real_normal(k, shape, dtypes.real_dtype(dtype)) for k in subkeys(key)]
        return true_divide(complex(*parts), dtype.type(np.sqrt(2)))
    return real_normal(key, shape, float_dtype("normal", dtype))


def real_normal(key: Any, shape: Shape, dtype: np.dtype) -> Array:
    """``normal`` of checked arguments."""
    least = -1 + 2.0 ** -(dtypes.finfo(dtype).nmant + 1)  # the number after -1
    return normal_quantile(scaled_uniform(key, shape, dtype, least, 1.0))


def truncated_normal(key: Any, lower: Any, upper: Any, shape: Any = None, dtype: Any = None) -> Array:
    """Draws from the standard normal distribution, given that they lie between two bounds.

    Args:
      key: a key.
      lower, upper: the bounds, which broadcast to the shape; derivatives flow through them.
      shape: the shape of the result; by default that of the bounds.
      dtype: a real floating point dtype; float64 by default.

    Raises ValueError for a dtype that is not floating point, or bounds that do not broadcast to the shape.
    """
    key, dtype = checked_key("truncated_normal", key), float_dtype("truncated_normal", dtype)
    shape = parameter_shape("truncated_normal", shape, lower, upper)
    root = dtype.type(np.sqrt(2))
    if isinstance(lower, (int, float)) and isinstance(upper, (int, float)) and dtype.itemsize < 8:
        # As below, without loading the library of special functions; in float64 the two would differ in the last bit.
        lower, upper = dtype.type(lower), dtype.type(upper)
        ends = [dtype.type(math.erf(x / root)) for x in (lower, upper)]
        bounds = np.nextafter(lower, dtype.type(np.inf)), np.nextafter(upper, dtype.type(-np.inf))
    else:
        lower, upper = (broadcast_to(as_parameter(x, dtype), shape) for x in (lower, upper))
        ends = [erf(true_divide(x, root)) for x in (lower, upper)]
        bounds = (nextafter(stop_gradient(lower), dtype.type(np.inf)),
                  nextafter(stop_gradient(upper), dtype.type(-np.inf)))
    return clamp(bounds[0], normal_quantile(scaled_uniform(key, shape, dtype, *ends)), bounds[1])


# ---------------------------------------------------------------- integers


def randint(key: Any, shape: Any, minval: Any, maxval: Any, dtype: Any = None) -> Array:
    """Integers spread evenly over minval, ..., maxval - 1; minval where maxval <= minval.

    Args:
      key: a key.
      shape: the shape of the result.
      minval, maxval: the bounds, which broadcast to the shape; values beyond the dtype's range are brought into it.
      dtype: an integer dtype; int64 by default.

    Raises TypeError for a dtype that is not an integer one, ValueError for bounds that do not broadcast to the shape,
    OverflowError for a Python int outside of int64. Ranges that are no power of 2 are uneven by about
    (maxval - minval) / 2**64 in 64-bit dtypes and its like in 32-bit ones.
    """
    key, dtype = checked_key("randint", key), integer_dtype("randint", dtype, TypeError)
    shape = parameter_shape("randint", shape, minval, maxval)
    working = dtype if dtype.itemsize >= 4 else np.dtype("int32")
    size = math.prod(shape)
    if isinstance(minval, (int, float, np.generic)) and isinstance(maxval, (int, float, np.generic)):
        offset, low = _known_offset(key, size, working, *_known_range(minval, maxval, dtype, working))
    else:
        offset, low = _traced_offset(key, shape, working, *_traced_range(minval, maxval, dtype, working))
    return convert_element_type(reshape(add(convert_element_type(offset, working), low), shape), dtype)


def _known_range(minval: Any, maxval: Any, dtype: np.dtype, working: np.dtype) -> tuple[int, int]:
    """The first integer and their number, from bounds that are Python or NumPy scalars."""
    low, high = (int(x if isinstance(x, np.integer) else np.int64(x)) for x in (minval, maxval))
    info = np.iinfo(dtype)
    if working != dtype:
        low, high = (int(np.array(x & 0xFFFFFFFF, np.uint32).view(np.int32)) for x in (low, high))
    low, high = max(min(low, int(info.max)), int(info.min)), max(min(high, int(info.max) + 1), int(info.min))
    return low, max(high - low, 1)


def _known_offset(key: Array, size: int, dtype: np.dtype, low: int, span: int) -> tuple[Any, Any]:
    width = dtype.itemsize * 8
    unsigned = np.dtype(f"uint{width}")
    key_high, key_low = subkeys(key)
    low_bits = random_bits(key_low, (size,), unsigned)
    start = dtype.type(low)
    if span == 1 << width:
        return low_bits, start
    # The weight of the upper word. It is 0, and the word unused, for a power of 2 up to 2**(width/2), and, since the
    # square then wraps around to 0, for every span above that.
    weight = (2 ** (width // 2) % span) ** 2 % 2 ** width % span
    offset = rem(low_bits, unsigned.type(span))
    if weight:
        high = rem(random_bits(key_high, (size,), unsigned), unsigned.type(span))
        offset = rem(add(mul(high, unsigned.type(weight)), offset), unsigned.type(span))
    return offset, start


def _traced_range(minval: Any, maxval: Any, dtype: np.dtype, working: np.dtype) -> tuple[Any, Any, Any]:
    """The bounds in the working dtype, and where the upper one lies just above its range."""
    bounds = [as_value(x) for x in (minval, maxval)]
    bounds = [x if x.dtype.kind in "iu" else convert_element_type(x, np.int64) for x in bounds]
    info = np.iinfo(dtype)
    if working != dtype:
        bounds = [convert_element_type(x, working) for x in bounds]
        return _clipped(bounds[0], info.min, info.max), _clipped(bounds[1], info.min, info.max + 1), None
    limit = np.iinfo(bounds[1].dtype).max
    beyond = gt(bounds[1], bounds[1].dtype.type(info.max)) if limit > info.max else None
    low, high = (convert_element_type(_clipped(x, info.min, info.max), working) for x in bounds)
    return low, high, beyond


def _clipped(x: Any, least: int, most: int) -> Any:
    """x brought into a range of integers, which may be wider than its dtype."""
    info = np.iinfo(x.dtype)
    least, most = max(least, int(info.min)), min(most, int(info.max))
    return x if (least, most) == (info.min, info.max) else clamp(x.dtype.type(least), x, x.dtype.type(most))


def _traced_offset(key: Array, shape: Shape, dtype: np.dtype, low: Any, high: Any, beyond: Any) -> tuple[Any, Any]:
    width = dtype.itemsize * 8
    unsigned = np.dtype(f"uint{width}")
    flat = (math.prod(shape),)
    low, high = (reshape(broadcast_to(x, shape), flat) for x in (low, high))
    span = bitcast_convert_type(sub(high, low), unsigned)
    if beyond is not None:  # one more than the largest number: the whole range wraps to a span of 0
        span = add(span, convert_element_type(reshape(broadcast_to(beyond, shape), flat), unsigned))
    span = select(le(high, low), unsigned.type(1), span)
    everything = eq(span, unsigned.type(0))
    divisor = select(everything, unsigned.type(1), span)

    def modulo(x: Any) -> Any:
        return select(everything, x, rem(x, divisor))

    upper, lower = (random_bits(k, flat, unsigned) for k in subkeys(key))
    weight = modulo(full(flat, unsigned.type(2 ** (width // 2))))
    weight = modulo(mul(weight, weight))
    return modulo(add(mul(modulo(upper), weight), modulo(lower))), low
