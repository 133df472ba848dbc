"""Gamma draws by rejection, each from a key of its own.

In: key words (uint32) and shape parameters a (real), of one shape. Out: one draw from Gamma(a, 1) for each, or its
logarithm. An element's draw does not depend on its neighbours, so the operation is elementwise, though no formula.

    { lambda ; a:u32[3] b:u32[3] c:f64[3]. let d:f64[3] = random_gamma[log_space=False] a b c in (d,) }

By Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); below a = 1 a draw for a + 1 is
multiplied by a power of a uniform one. The derivative with respect to a is that of the quantile at the draw.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.primitive import ALIGN, NOT_LINEAR, Kind, Native, Primitive
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.ops.elementwise import eq, exp, mul, select, true_divide
from funcgrad.ops.random_bits import normal_quantile_impl, threefry_impl
from funcgrad.ops.special import random_gamma_grad

# ---------------------------------------------------------------- user functions


def random_gamma(key0: Any, key1: Any, a: Any, log_space: bool = False) -> Any:
    """Draws from Gamma(a, 1), or their logarithms, which stay finite for small a; all arguments have one shape."""
    return random_gamma_p.bind(key0, key1, a, log_space=bool(log_space))[0]


# ---------------------------------------------------------------- rules


def random_gamma_shape(key0: ShapedArray, key1: ShapedArray, a: ShapedArray, *, log_space: bool) -> ShapedArray:
    if {key0.dtype.name, key1.dtype.name} != {"uint32"} or dtypes.kind(a.dtype) != "f" \
            or not key0.shape == key1.shape == a.shape:
        raise TypeError("random_gamma takes two uint32 arrays and a floating point one of one shape, "
                        f"not {key0}, {key1}, {a}")
    return shaped_array(a.shape, a.dtype)


def random_gamma_impl(xp: Any, key0: Any, key1: Any, a: Any, *, log_space: bool) -> Any:
    with np.errstate(all="ignore"):  # parameters outside of the domain give NaN
        return _draws(xp, *xp.broadcast_arrays(key0, key1, a), log_space)


def _draws(xp: Any, key0: Any, key1: Any, a: Any, log_space: bool) -> Any:
    shape = a.shape
    key, subkey = _split(xp, (key0.reshape(-1), key1.reshape(-1)), 2)
    a = a.reshape(-1)
    number, boosted = a.dtype.type, a < 1
    d = xp.where(boosted, a + number(1), a).astype(a.dtype, copy=False) - number(1 / 3)
    v = _accepted(xp, key, d, number(1 / 3) / xp.sqrt(d))
    u = _uniform(xp, subkey, a.dtype)
    if log_space:
        exponent = xp.log1p(-u)
        rest = xp.where(boosted & (exponent != 0), exponent * (number(1) / a), number(0))
        out = xp.log(d) + xp.log(v) + rest
    else:
        out = d * v * xp.where(boosted, xp.power(number(1) - u, number(1) / a), number(1))
    return out.astype(a.dtype).reshape(shape)[()]


def _accepted(xp: Any, key: tuple, d: Any, c: Any) -> Any:
    """v = (1 + c * normal)**3 for each element, from the first proposal that is accepted."""
    number = d.dtype.type
    out = xp.ones_like(d)
    waiting = xp.flatnonzero(xp.isfinite(d))
    key, d, c = _at(key, waiting), d[waiting], c[waiting]
    while waiting.size:
        key, normal_key, uniform_key = _split(xp, key, 3)
        x, v = _positive(xp, normal_key, c)
        x, v = x * x, v * v * v
        u = _uniform(xp, uniform_key, d.dtype)
        again = (u >= number(1) - number(0.0331) * (x * x)) & (
            xp.log(u) >= x * number(0.5) + d * ((number(1) - v) + xp.log(v)))
        out[waiting] = v
        rest = xp.flatnonzero(again)
        waiting, key, d, c = waiting[rest], _at(key, rest), d[rest], c[rest]
    return out


def _positive(xp: Any, key: tuple, c: Any) -> tuple[Any, Any]:
    """Normal draws x for which v = 1 + c * x is positive, and v."""
    x, v = xp.zeros_like(c), -xp.ones_like(c)
    waiting = xp.arange(c.size)
    while waiting.size:
        key, subkey = _split(xp, key, 2)
        x[waiting] = _normal(xp, subkey, c.dtype)
        v[waiting] = c.dtype.type(1) + x[waiting] * c[waiting]
        rest = xp.flatnonzero(v[waiting] <= 0)
        waiting, key = waiting[rest], _at(key, rest)
    return x, v


def _at(key: tuple, positions: Any) -> tuple:
    return key[0][positions], key[1][positions]


def _split(xp: Any, key: tuple, num: int) -> list[tuple]:
    """``num`` new keys for each key."""
    return [threefry_impl(xp, *key, np.uint32(0), np.uint32(i)) for i in range(num)]


def _uniform(xp: Any, key: tuple, dtype: np.dtype) -> Any:
    """One draw from [0, 1) for each key."""
    word0, word1 = threefry_impl(xp, *key, np.uint32(0), np.uint32(0))
    fraction, width = dtypes.finfo(dtype).nmant, dtype.itemsize * 8
    unsigned = np.dtype(f"uint{width}")
    random_width = 8 if fraction < 8 else width
    if width == 64:
        bits = word0.astype(unsigned) << unsigned.type(32) | word1
    else:
        bits = (word0 ^ word1).astype(f"uint{random_width}").astype(unsigned)
    one = np.ones(1, dtype)
    return (bits >> unsigned.type(random_width - fraction) | one.view(unsigned)[0]).view(dtype) - one[0]


def _normal(xp: Any, key: tuple, dtype: np.dtype) -> Any:
    least = dtype.type(-1 + 2.0 ** -(dtypes.finfo(dtype).nmant + 1))
    return normal_quantile_impl(xp, _uniform(xp, key, dtype) * dtype.type(2) + least)


def random_gamma_jvp(primals: tuple, tangents: tuple, *, log_space: bool) -> tuple:
    a, dot = primals[2], tangents[2]
    out, = random_gamma_p.bind(*primals, log_space=log_space)
    if not log_space:
        return (out,), (mul(dot, random_gamma_grad(a, out)),)
    sample = exp(out)
    sample = select(eq(sample, sample.dtype.type(0)), sample.dtype.type(dtypes.finfo(sample.dtype).tiny), sample)
    return (out,), (mul(dot, true_divide(random_gamma_grad(a, sample), sample)),)


random_gamma_p = Primitive("random_gamma", Kind.OPAQUE, random_gamma_shape, random_gamma_impl, random_gamma_jvp,
                           NOT_LINEAR, ALIGN, code=Native("random_gamma"))
