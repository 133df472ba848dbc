"""Random bits: the Threefry-2x32 hash, bits read as another dtype, and two float functions with promised rounding.

In: keys and counters, arrays of uint32. Out: two arrays of uint32 that look random; the same counters give the same
bits however the work is batched, compiled or split. Distributions are composed of these in ``funcgrad.random``.

    { lambda ; a:u32[3] b:u32[3] c:u32[3]. let d:u32[3] e:u32[3] = threefry2x32 a b 0:u32[] c in (d, e) }

The hash is that of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011), 20 rounds.
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import aval_of
from funcgrad.core.primitive import ALIGN, NOT_LINEAR, Constant, Kind, Native, No, Partials, Primitive, no_flops
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import exp
from funcgrad.ops.promotion import broadcast_args, inexact_arg, promote_args, unary_arg
from funcgrad.ops.rules import elementwise, elementwise_shape
from funcgrad.ops.structural import moveaxis

# ---------------------------------------------------------------- user functions


def threefry2x32(key0: Any, key1: Any, count0: Any, count1: Any) -> tuple[Any, Any]:
    """The two hashed words of the counter ``(count0, count1)`` under the key ``(key0, key1)``, element by element.

    All four are uint32 arrays that broadcast to one shape, or NumPy scalars.
    """
    return threefry2x32_p.bind(*broadcast_args("threefry2x32", [key0, key1, count0, count1]))


def bitcast_convert_type(operand: Any, new_dtype: Any) -> Any:
    """The bits of the operand read as another dtype.

    Where the new dtype is narrower, the parts of an element lie along a new last axis (least significant first);
    where it is wider, its last axis holds the parts of one element and disappears. No derivative flows.

    >>> import funcgrad.numpy as fnp
    >>> bitcast_convert_type(fnp.float32(1), "uint32")
    Array(1065353216, dtype=uint32)
    """
    x, new_dtype = unary_arg("bitcast_convert_type", operand), dtypes.as_dtype(new_dtype)
    if x.dtype == new_dtype:
        return x
    bitcast_shape(aval_of(x), new_dtype=new_dtype)
    primitive = bitcast_convert_type_p if x.dtype.itemsize == new_dtype.itemsize else bitcast_parts_p
    return primitive.bind(x, new_dtype=new_dtype)[0]


def multiply_add(x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once for float16, float32 and float64 and after each operation for other dtypes."""
    return multiply_add_p.bind(*promote_args("multiply_add", (x, y, z), inexact=True))[0]


def normal_quantile(x: Any) -> Any:
    """sqrt(2) * erf_inv(x): what turns a uniform draw from (-1, 1) into a normal one.

    By the polynomials of M. Giles, "Approximating the erfinv function" (2010), in w = -log(1 - x*x): a few
    ulp off in the centre; towards the ends, where they are infinite, as accurate as 1 - x*x. NaN outside of [-1, 1].
    """
    return normal_quantile_p.bind(inexact_arg("normal_quantile", x))[0]


# ---------------------------------------------------------------- Threefry

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
BLOCK = 32768
"""Elements worked on at a time, so that they stay in the processor's cache."""


def threefry_shape(*avals: ShapedArray) -> tuple[ShapedArray, ShapedArray]:
    if any(a.dtype.name != "uint32" for a in avals):
        raise TypeError(f"threefry2x32 takes uint32 arrays, not {', '.join(map(str, avals))}")
    out = elementwise_shape("threefry2x32")(*avals)
    return out, out


def threefry_impl(xp: Any, key0: Any, key1: Any, count0: Any, count1: Any) -> tuple[Any, Any]:
    shape = np.broadcast_shapes(key0.shape, key1.shape, count0.shape, count1.shape)
    size = math.prod(shape)
    if size <= 4 and xp is np:
        return _threefry_few(shape, key0, key1, count0, count1)
    out0, out1 = xp.empty(shape, np.uint32), xp.empty(shape, np.uint32)
    xp.copyto(out0, count0)
    xp.copyto(out1, count1)
    flat0, flat1 = out0.reshape(-1), out1.reshape(-1)
    key0, key1 = _one_or_all(xp, key0, shape), _one_or_all(xp, key1, shape)
    block = block_size(xp, size)
    temporary = xp.empty(min(size, block), np.uint32)
    for start in range(0, size, block):
        part = slice(start, min(start + block, size))
        keys = [k if k.ndim == 0 else k[part] for k in (key0, key1)]
        _threefry_block(xp, *keys, flat0[part], flat1[part], temporary[:part.stop - part.start])
    return (out0, out1) if shape else (out0[()], out1[()])


def block_size(xp: Any, size: int) -> int:
    """On a GPU all elements are worked on at once."""
    return BLOCK if xp is np else max(size, 1)


def _one_or_all(xp: Any, key: Any, shape: Shape) -> Any:
    """A key word without axes if it is the same everywhere, else one for each element."""
    key = xp.asarray(key)
    if all(n == 1 or step == 0 for n, step in zip(key.shape, key.strides, strict=True)):
        return key[(0,) * key.ndim] if key.ndim else key
    return xp.ascontiguousarray(xp.broadcast_to(key, shape)).reshape(-1)


def _threefry_block(xp: Any, key0: Any, key1: Any, x0: Any, x1: Any, t: Any) -> None:
    """Hashes x0 and x1 in place; t is memory of their size."""
    words = [xp.asarray(w, np.uint32) for w in (key0, key1, key0 ^ key1 ^ np.uint32(PARITY))]
    x0 += words[0]
    x1 += words[1]
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            x0 += x1
            xp.right_shift(x1, np.uint32(32 - r), out=t)
            xp.left_shift(x1, np.uint32(r), out=x1)
            x1 |= t
            x1 ^= x0
        x0 += words[(i + 1) % 3]
        x1 += words[(i + 2) % 3]
        x1 += np.uint32(i + 1)


def _threefry_few(shape: Shape, *args: Any) -> tuple[Any, Any]:
    """A handful of hashes, as Python integers: a fifth of the time that array operations on so few would take."""
    out = np.empty((2, math.prod(shape)), np.uint32)
    for position, values in enumerate(zip(*[np.broadcast_to(x, shape).ravel().tolist() for x in args], strict=True)):
        out[:, position] = _threefry_integers(*values)
    y0, y1 = out.reshape(2, *shape)
    return (y0, y1) if shape else (y0[()], y1[()])


def _threefry_integers(key0: int, key1: int, x0: int, x1: int) -> tuple[int, int]:
    mask = 0xFFFFFFFF
    words = (key0, key1, key0 ^ key1 ^ PARITY)
    x0, x1 = (x0 + key0) & mask, (x1 + key1) & mask
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            x0 = (x0 + x1) & mask
            x1 = ((x1 << r) & mask | x1 >> (32 - r)) ^ x0
        x0, x1 = (x0 + words[(i + 1) % 3]) & mask, (x1 + words[(i + 2) % 3] + i + 1) & mask
    return x0, x1


threefry2x32_p = Primitive(
    "threefry2x32", Kind.ELEMENTWISE, threefry_shape, threefry_impl, jvp=Constant("random bits are integers"),
    transpose=NOT_LINEAR, batch=ALIGN,
    code=("threefry_first_u32({0}, {1}, {2}, {3})", "threefry_second_u32({0}, {1}, {2}, {3})"))

# ---------------------------------------------------------------- bits as another dtype


def bitcast_shape(x: ShapedArray, *, new_dtype: np.dtype) -> ShapedArray:
    old, new = x.dtype.itemsize, new_dtype.itemsize
    if (x.dtype.kind == "b") != (new_dtype.kind == "b") or (x.dtype.kind == "c") != (new_dtype.kind == "c"):
        raise TypeError(message("bitcast_convert_type: these dtypes have no common bits", f"{x} to {new_dtype.name}",
                                "integers and real floating point dtypes", "x.astype(...), or real and imag"))
    if old < new and (not x.shape or x.shape[-1] != new // old):
        raise ValueError(message("bitcast_convert_type: the last axis does not hold the parts of one element",
                                 f"{x} to {new_dtype.name}", f"a last axis of size {new // old}"))
    shape = x.shape if old == new else x.shape[:-1] if old < new else (*x.shape, old // new)
    return shaped_array(shape, new_dtype)


def bitcast_code(x: np.dtype, *, new_dtype: np.dtype) -> str | None:
    """Between integers it is a conversion, which takes the bits as they are."""
    source, target = dtypes.short_name(x), dtypes.short_name(new_dtype)
    if dtypes.kind(x) == dtypes.kind(new_dtype) == "f":  # float16 and bfloat16
        unsigned = f"u{8 * x.itemsize}"
        return f"bitcast_{unsigned}_{target}(bitcast_{source}_{unsigned}({{0}}))"
    if "f" in (dtypes.kind(x), dtypes.kind(new_dtype)):
        return f"bitcast_{source}_{target}({{0}})"
    return "convert({0}, {new_dtype})"


def bitcast_parts_impl(xp: Any, x: Any, *, new_dtype: np.dtype) -> Any:
    x = xp.asarray(x)
    if x.dtype.itemsize > new_dtype.itemsize:
        return xp.ascontiguousarray(x[..., None]).view(new_dtype)
    return xp.ascontiguousarray(x).view(new_dtype)[..., 0][()]


def bitcast_batch(axis: Any, args: tuple, axes: tuple, *, new_dtype: np.dtype) -> tuple:
    return (bitcast_parts_p.bind(moveaxis(args[0], axes[0], 0), new_dtype=new_dtype)[0],), (0,)


_BITS = Constant("the bits of a number are integers")
bitcast_convert_type_p = Primitive(
    "bitcast_convert_type", Kind.ELEMENTWISE, bitcast_shape,
    lambda xp, x, new_dtype: xp.array(x).view(new_dtype)[()],
    jvp=_BITS, transpose=NOT_LINEAR, batch=ALIGN, code=bitcast_code, strong=True)
bitcast_parts_p = Primitive(
    "bitcast_parts", Kind.OPAQUE, bitcast_shape, bitcast_parts_impl,
    jvp=_BITS, transpose=NOT_LINEAR, batch=bitcast_batch, code=Native("same_bytes"), strong=True, flops=no_flops)

# ---------------------------------------------------------------- one rounding


def multiply_add_impl(xp: Any, x: Any, y: Any, z: Any) -> Any:
    if x.dtype.name in ("float16", "float32"):  # the product is exact in float64
        wide = xp.asarray(x, np.float64) * xp.asarray(y, np.float64) + xp.asarray(z, np.float64)
        return wide.astype(x.dtype)[()]
    if x.dtype.name != "float64":
        return x * y + z
    with np.errstate(all="ignore"):  # what is not finite is replaced
        return _fused(xp, x, y, z)


def _fused(xp: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z in float64, rounded once."""
    product = x * y
    total = product + z
    # Dekker's product and Knuth's sum: what the two roundings lost, exactly
    # (Muller and others, Handbook of Floating-Point Arithmetic, chapter 4).
    (xh, xl), (yh, yl) = _halves(x), _halves(y)
    lost = ((xh * yh - product) + xh * yl + xl * yh) + xl * yl
    back = total - product
    lost = lost + ((product - (total - back)) + (z - back))
    return xp.where(xp.isfinite(lost), total + lost, total)[()]


def _halves(x: Any) -> tuple[Any, Any]:
    """A float64 as the sum of two numbers of 26 bits."""
    big = x * 134217729.0
    high = big - (big - x)
    return high, x - high


_MULTIPLY_ADD = {"float16": "multiply_add_f16({0}, {1}, {2})", "float32": "fma({0}, {1}, {2})", "float64": "fma({0}, {1}, {2})",
                 "bfloat16": "round_bf16({0} * {1}) + {2}"}

multiply_add_p = elementwise(
    "multiply_add", multiply_add_impl, Partials(lambda r, x, y, z: y, lambda r, x, y, z: x, 1),
    lambda x, y, z: _MULTIPLY_ADD.get(x.name, "{0} * {1} + {2}"),
    transpose=No("not linear in all its arguments together; its tangents are products and sums"))

# ---------------------------------------------------------------- the normal quantile

# M. Giles' coefficients, highest power first, for w = -log(1 - x*x); each list with the shift of its variable.
CENTRE_32 = (2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
             -0.00417768164, 0.246640727, 1.50140941)
TAIL_32 = (-0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
           0.00943887047, 1.00167406, 2.83297682)
CENTRE_64 = (
    -3.6444120640178196996e-21, -1.685059138182016589e-19, 1.2858480715256400167e-18, 1.115787767802518096e-17,
    -1.333171662854620906e-16, 2.0972767875968561637e-17, 6.6376381343583238325e-15, -4.0545662729752068639e-14,
    -8.1519341976054721522e-14, 2.6335093153082322977e-12, -1.2975133253453532498e-11, -5.4154120542946279317e-11,
    1.051212273321532285e-09, -4.1126339803469836976e-09, -2.9070369957882005086e-08, 4.2347877827932403518e-07,
    -1.3654692000834678645e-06, -1.3882523362786468719e-05, 0.0001867342080340571352, -0.00074070253416626697512,
    -0.0060336708714301490533, 0.24015818242558961693, 1.6536545626831027356)
MIDDLE_64 = (
    2.2137376921775787049e-09, 9.0756561938885390979e-08, -2.7517406297064545428e-07, 1.8239629214389227755e-08,
    1.5027403968909827627e-06, -4.013867526981545969e-06, 2.9234449089955446044e-06, 1.2475304481671778723e-05,
    -4.7318229009055733981e-05, 6.8284851459573175448e-05, 2.4031110387097893999e-05, -0.0003550375203628474796,
    0.00095328937973738049703, -0.0016882755560235047313, 0.0024914420961078508066, -0.0037512085075692412107,
    0.005370914553590063617, 1.0052589676941592334, 3.0838856104922207635)
TAIL_64 = (
    -2.7109920616438573243e-11, -2.5556418169965252055e-10, 1.5076572693500548083e-09, -3.7894654401267369937e-09,
    7.6157012080783393804e-09, -1.4960026627149240478e-08, 2.9147953450901080826e-08, -6.7711997758452339498e-08,
    2.2900482228026654717e-07, -9.9298272942317002539e-07, 4.5260625972231537039e-06, -1.9681778105531670567e-05,
    7.5995277030017761139e-05, -0.00021503011930044477347, -0.00013871931833623122026, 1.0103004648645343977,
    4.8499064014085844221)


def erf_inv_32(xp: Any, x: Any) -> Any:
    """erf_inv of float32 values, each polynomial step rounded once, as a processor with fused multiply-add does."""
    w = (-xp.log1p(-(x * x).astype(np.float64))).astype(np.float32)
    p = _polynomial_32(w - np.float32(2.5), CENTRE_32)
    far = xp.flatnonzero(w >= 5)
    if far.size:
        p[far] = _polynomial_32(xp.sqrt(w[far]) - np.float32(3), TAIL_32)
    return _with_ends(xp, p, x)


def _polynomial_32(t: Any, coefficients: tuple[float, ...]) -> Any:
    wide = t.astype(np.float64)
    p = np.float32(coefficients[0])
    for c in coefficients[1:]:
        p = (p * wide + np.float64(np.float32(c))).astype(np.float32)
    return p


def erf_inv_64(xp: Any, x: Any) -> Any:
    """erf_inv of float64 values."""
    w = -xp.log1p(-x * x)
    p = _polynomial_64(w - 3.125, CENTRE_64)
    for low, high, shift, coefficients in ((6.25, 16, 3.25, MIDDLE_64), (16, np.inf, 5, TAIL_64)):
        far = xp.flatnonzero((w >= low) & (w < high))
        if far.size:
            p[far] = _polynomial_64(xp.sqrt(w[far]) - shift, coefficients)
    return _with_ends(xp, p, x)


def _polynomial_64(t: Any, coefficients: tuple[float, ...]) -> Any:
    p = t * coefficients[0]
    p += coefficients[1]
    for c in coefficients[2:]:
        p *= t
        p += c
    return p


def _with_ends(xp: Any, p: Any, x: Any) -> Any:
    ends = xp.flatnonzero(xp.abs(x) == 1)
    if ends.size:
        p[ends] = np.inf
    p *= x
    return p


def blockwise(function: Callable, dtype: np.dtype, xp: Any, x: Any) -> Any:
    """A function of flat arrays of one dtype applied to x block by block."""
    flat = xp.ascontiguousarray(x).reshape(-1)
    out = xp.empty(flat.shape, x.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        block = block_size(xp, flat.size)
        for start in range(0, flat.size, block):
            out[start:start + block] = function(xp, flat[start:start + block].astype(dtype, copy=False))
    return out.reshape(x.shape)[()]


def normal_quantile_impl(xp: Any, x: Any) -> Any:
    if x.dtype.itemsize > 4:
        return blockwise(lambda xp, part: erf_inv_64(xp, part) * np.sqrt(2.0), np.dtype("float64"), xp, x)
    # Two roundings: erf_inv to the dtype of x, then the product.
    root = np.sqrt(2.0).astype(x.dtype)
    return blockwise(lambda xp, part: erf_inv_32(xp, part).astype(x.dtype, copy=False) * root, np.dtype("float32"),
                     xp, x)


def normal_quantile_shape(x: ShapedArray) -> ShapedArray:
    if dtypes.kind(x.dtype) != "f":
        raise TypeError(f"normal_quantile takes a real floating point array, not {x}")
    return x


def _normal_quantile_partial(y: Any, x: Any) -> Any:
    return float(np.sqrt(np.pi / 2)) * exp(y * y * 0.5)


normal_quantile_p = elementwise("normal_quantile", normal_quantile_impl, Partials(_normal_quantile_partial),
                                lambda x: f"normal_quantile_{dtypes.short_name(x)}({{0}})", shape=normal_quantile_shape)
