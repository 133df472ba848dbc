"""Random bits and what is made of them: the Threefry-2x32 hash, bits as floats, normal quantiles.

In and out: ``Value`` objects. The results are those of ``ops/random_bits.py``, bit for bit but for normal quantiles of float64,
which differ in the last bits. Of the two words of a hash each has a function of its own; LLVM computes what they share once.
Functions of float16 and bfloat16 get their values as float32 and round them themselves.
"""
from __future__ import annotations

import functools
import math
from typing import Any

from llvmlite import ir
from numba import extending
from numba.core import types

from funcgrad.compiler.access import COMPUTED
from funcgrad.compiler.vecmath.logarithms import log1p
from funcgrad.compiler.vecmath.values import (
    F32,
    F64,
    Value,
    absolute,
    fma,
    from_bits,
    narrow,
    numba_function,
    polynomial,
    select,
    square_root,
    to_bits,
    widen,
)
from funcgrad.ops.random_bits import CENTRE_32, CENTRE_64, MIDDLE_64, PARITY, ROTATIONS, TAIL_32, TAIL_64

HALF = ir.HalfType()

# ---------------------------------------------------------------- Threefry


def threefry(key0: Value, key1: Value, x0: Value, x1: Value) -> tuple[Value, Value]:
    """The two hashed words of a counter."""
    words = (key0, key1, key0 ^ key1 ^ PARITY)
    x0, x1 = x0 + key0, x1 + key1
    for i in range(5):
        for r in ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = (x1 << r | x1 >> 32 - r) ^ x0
        x0, x1 = x0 + words[(i + 1) % 3], x1 + words[(i + 2) % 3] + (i + 1)
    return x0, x1


def _word(position: int) -> Any:
    @extending.intrinsic
    def word(typing: Any, key0: Any, key1: Any, x0: Any, x1: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            return threefry(*[Value(builder, a, signed=False) for a in args])[position].ir

        return types.uint32(*[types.uint32] * 4), build

    return word


# ---------------------------------------------------------------- bits and rounding


def half_bits(x: Value) -> Value:
    """The bits of the nearest float16."""
    return x.same(x.builder.bitcast(x.builder.fptrunc(x.ir, HALF), ir.IntType(16)))


def half_from_bits(x: Value) -> Value:
    return x.same(x.builder.fpext(x.builder.bitcast(x.ir, HALF), F32))


def brain_bits(x: Value) -> Value:
    """The bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = Value(x.builder, to_bits(x).ir, signed=False)
    rounded = select(x != x, bits | 0x400000, bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return x.same(x.builder.trunc(rounded.ir, ir.IntType(16)))


def brain_from_bits(x: Value) -> Value:
    return from_bits(x.same(x.builder.zext(x.ir, ir.IntType(32))) << 16)


def round_half(x: Value) -> Value:
    return half_from_bits(half_bits(x))


def round_brain(x: Value) -> Value:
    return brain_from_bits(brain_bits(x))


def multiply_add_half(x: Value, y: Value, z: Value) -> Value:
    """x * y + z of float16 values, which the rounding of the result to float16 rounds once.

    The float64 sum becomes a float32 whose last bit is set where bits were lost, so that a second rounding cannot err.
    """
    total = to_bits(widen(round_half(x)) * widen(round_half(y)) + widen(round_half(z)))
    lost = select((total & (1 << 29) - 1) != 0, total.constant(1 << 29), total.constant(0))
    return narrow(from_bits(total & -(1 << 29) | lost))


# ---------------------------------------------------------------- the normal quantile


def _tail(t: Value, first: Value, a: tuple[float, ...], b: tuple[float, ...]) -> Value:
    """A polynomial whose coefficients are a where a condition holds, else b; b may have fewer."""
    b = (0.0,) * (len(a) - len(b)) + b
    result = select(first, t.constant(a[0]), t.constant(b[0]))
    for c, d in zip(a[1:], b[1:], strict=True):
        result = fma(result, t, select(first, t.constant(c), t.constant(d)))
    return result


def inverse_error_function(x: Value) -> Value:
    """By M. Giles' polynomials in w = -log(1 - x*x)."""
    if x.bits == 32:
        w = narrow(-log1p(-widen(x * x)))
        near = w < 5.0
        result = _tail(select(near, w - 2.5, square_root(w) - 3.0), near, CENTRE_32, TAIL_32)
    else:
        w = -log1p(-(x * x))
        middle, root = w < 16.0, square_root(w)
        far = _tail(root - select(middle, root.constant(3.25), root.constant(5.0)), middle, MIDDLE_64, TAIL_64)
        result = select(w < 6.25, polynomial(w - 3.125, CENTRE_64), far)
    return select(absolute(x) == 1.0, x.constant(math.inf), result) * x


def normal_quantile(x: Value) -> Value:
    root = math.sqrt(2.0)
    return inverse_error_function(x) * root


def normal_quantile_half(x: Value) -> Value:
    return round_half(inverse_error_function(round_half(x))) * 1.4140625


def normal_quantile_brain(x: Value) -> Value:
    return round_brain(inverse_error_function(round_brain(x))) * 1.4140625


# ---------------------------------------------------------------- the names


def _bits_of(kind: Any) -> Any:
    return lambda x: x.same(x.builder.bitcast(x.ir, kind))


@functools.cache
def functions() -> dict[str, Any]:
    """All of these, by the names that kernel sources use."""
    found = {"threefry_first_u32": _word(0), "threefry_second_u32": _word(1)}

    def define(name: str, function: Any, argument: Any, result: Any, count: int = 1) -> None:
        found[name] = numba_function(name, function, (argument,) * count, result)

    for short, width in (("f32", 32), ("f64", 64)):
        kind = COMPUTED[short]
        define(f"normal_quantile_{short}", normal_quantile, kind, kind)
        for sign in "iu":
            define(f"bitcast_{short}_{sign}{width}", to_bits, kind, COMPUTED[f"{sign}{width}"])
            define(f"bitcast_{sign}{width}_{short}", _bits_of(F32 if width == 32 else F64), COMPUTED[f"{sign}{width}"], kind)
    for short, to, back in (("f16", half_bits, half_from_bits), ("bf16", brain_bits, brain_from_bits)):
        for sign in "iu":
            define(f"bitcast_{short}_{sign}16", to, types.float32, COMPUTED[f"{sign}16"])
            define(f"bitcast_{sign}16_{short}", back, COMPUTED[f"{sign}16"], types.float32)
    define("round_f16", round_half, types.float32, types.float32)
    define("round_bf16", round_brain, types.float32, types.float32)
    define("normal_quantile_f16", normal_quantile_half, types.float32, types.float32)
    define("normal_quantile_bf16", normal_quantile_brain, types.float32, types.float32)
    define("multiply_add_f16", multiply_add_half, types.float32, types.float32, 3)
    return found
