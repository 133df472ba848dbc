"""Scalar operations of all dtypes with NumPy's results: comparison, rounding, integer division, bits, conversion, choice.

In: ``Value`` objects. Out: ``functions()``, Numba intrinsics by their names in kernel sources, such as ``maximum_i32`` and
``convert_f64_i32``. Nothing here traps: a division by zero gives what NumPy gives. Imported only when something is compiled.
"""
from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from funcgrad.compiler.access import COMPUTED
from funcgrad.compiler.vecmath import complex_functions
from funcgrad.compiler.vecmath.values import (
    BOOL,
    F32,
    F64,
    Value,
    absolute,
    both,
    copy_sign,
    either,
    fma,
    from_bits,
    numba_function,
    select,
    square_root,
    to_bits,
)
from funcgrad.compiler.vecmath.values import intrinsic as call

FLOATS, COMPLEX = ("f32", "f64"), ("c64", "c128")
SIGNED, UNSIGNED = ("i8", "i16", "i32", "i64"), ("u8", "u16", "u32", "u64")
INTEGERS = SIGNED + UNSIGNED
KINDS = {name: kind for name, kind in COMPUTED.items() if name not in ("f16", "bf16")}
"""The dtypes of scalars inside kernels and their Numba types."""

# ---------------------------------------------------------------- order and sign


def maximum(x: Value, y: Value) -> Value:
    """The larger; NaN if either is NaN."""
    if x.is_float:
        return call("maximum", x, y)
    return x | y if x.bits == 1 else call("smax" if x.signed else "umax", x, y)


def minimum(x: Value, y: Value) -> Value:
    if x.is_float:
        return call("minimum", x, y)
    return x & y if x.bits == 1 else call("smin" if x.signed else "umin", x, y)


def modulus(x: Value) -> Value:
    if x.is_float:
        return absolute(x)
    return select(x < 0, -x, x) if x.signed and x.bits > 1 else x


def sign(x: Value) -> Value:
    """-1, 0 or 1; NaN of NaN."""
    zero, one = x.constant(0), x.constant(1)
    result = select(x > 0, one, zero)
    if x.signed:
        result = select(x < 0, -one, result)
    return select(x != x, x, result) if x.is_float else result


def is_finite(x: Value) -> Value:
    return absolute(x) < math.inf


def next_after(x: Value, y: Value) -> Value:
    """The next float after x towards y."""
    bits = to_bits(x)
    outward = (bits < 0).same(x.builder.icmp_signed("==", (x < y).ir, (x > 0.0).ir))
    moved = from_bits(select(outward, bits + 1, bits - 1))
    smallest = copy_sign(from_bits(bits.constant(1)), y)
    result = select(x == 0.0, smallest, moved)
    result = select(x == y, y, result)
    return select(either(x != x, y != y), x + y, result)


# ---------------------------------------------------------------- division

# A division by 0, and that of the least integer by -1, would trap: it is replaced by a division by 1.


def _safe_divisor(x: Value, y: Value) -> tuple[Value, Value, Value | None]:
    """(a divisor that cannot trap, whether y is 0, whether it is -1)."""
    zero = y == 0
    if not x.signed:
        return select(zero, y.constant(1), y), zero, None
    minus = y == -1
    return select(either(zero, minus), y.constant(1), y), zero, minus


def quotient(x: Value, y: Value) -> Value:
    """x / y of integers, rounded towards zero; 0 where y is 0."""
    divisor, zero, minus = _safe_divisor(x, y)
    result = x / divisor
    if minus is not None:
        result = select(minus, -x, result)
    return select(zero, x.constant(0), result)


def fmod(x: Value, y: Value) -> Value:
    """The remainder of truncating division, with the sign of x; 0 for integers where y is 0."""
    return x % y if x.is_float else x - quotient(x, y) * y - select(y == 0, x, x.constant(0))


def floor_divide(x: Value, y: Value) -> Value:
    if x.is_float:
        return float_divmod(x, y, x % y)[0]
    result = quotient(x, y)
    return result - _borrow(x, y, x - result * y) if x.signed else result


def remainder(x: Value, y: Value) -> Value:
    """The remainder of floor division, with the sign of y; 0 for integers where y is 0."""
    if x.is_float:
        return float_divmod(x, y, x % y)[1]
    rest = fmod(x, y)
    return rest + _borrow(x, y, rest) * y if x.signed else rest


def _borrow(x: Value, y: Value, rest: Value) -> Value:
    """1 where the truncated quotient lies above the floor, else 0."""
    inexact = both(rest != 0, (rest ^ y) < 0, y != 0)
    return select(inexact, x.constant(1), x.constant(0))


def float_divmod(x: Value, y: Value, rest: Value) -> tuple[Value, Value]:
    """Floor quotient and remainder, by NumPy's steps, from the remainder of truncating division."""
    quotient = (x - rest) / y
    differ = both(rest != 0.0, rest.same(x.builder.xor((y < 0.0).ir, (rest < 0.0).ir)))
    quotient = select(differ, quotient - 1.0, quotient)
    modulus = select(differ, rest + y, select(rest == 0.0, copy_sign(0.0, y), rest))
    floor = call("floor", quotient)
    floor = select(quotient - floor > 0.5, floor + 1.0, floor)
    floor = select(quotient == 0.0, copy_sign(0.0, x / y), floor)
    by_zero = y == 0.0
    return select(by_zero, x / y, floor), select(by_zero, rest, modulus)


def gcd(x: Value, y: Value) -> Value:
    """Euclid's algorithm on absolute values."""
    builder = x.builder
    x, y = modulus(x), modulus(y)
    start, loop, end = builder.block, builder.append_basic_block("gcd"), builder.append_basic_block("gcd.end")
    builder.cbranch((y == 0).ir, end, loop)
    builder.position_at_end(loop)
    a, b = builder.phi(x.type), builder.phi(x.type)
    rest = builder.urem(a, b)
    for phi, first, next_one in ((a, x.ir, b), (b, y.ir, rest)):
        phi.add_incoming(first, start)
        phi.add_incoming(next_one, loop)
    builder.cbranch((x.same(rest) == 0).ir, end, loop)
    builder.position_at_end(end)
    result = builder.phi(x.type)
    result.add_incoming(x.ir, start)
    result.add_incoming(b, loop)
    return x.same(result)


def reciprocal_root(x: Value) -> Value:
    return 1.0 / square_root(x)


# ---------------------------------------------------------------- bits


def _count(name: str) -> Any:
    """Shifts by the width or more, and by negative numbers, give what an infinite register would."""
    def shift(x: Value, y: Value) -> Value:
        inside = Value(x.builder, y.ir, signed=False) < x.bits
        amount = select(inside, y, y.constant(0))
        result = x.same(getattr(x.builder, name)(x.ir, amount.ir))
        beyond = select(x < 0, x.constant(-1), x.constant(0)) if name == "ashr" else x.constant(0)
        return select(inside, result, beyond)

    return shift


shift_left, shift_right_logical, shift_right_signed = _count("shl"), _count("lshr"), _count("ashr")


def shift_right(x: Value, y: Value) -> Value:
    return shift_right_signed(x, y) if x.signed else shift_right_logical(x, y)


def population_count(x: Value) -> Value:
    return call("ctpop", x)


def leading_zeros(x: Value) -> Value:
    kind = ir.FunctionType(x.type, [x.type, BOOL])
    function = x.builder.module.declare_intrinsic(f"llvm.ctlz.i{x.bits}", (), kind)
    return x.same(x.builder.call(function, [x.ir, BOOL(0)]))


# ---------------------------------------------------------------- conversion


def _parts(builder: Any, value: Any) -> tuple[Any, Any]:
    return builder.extract_value(value, 0), builder.extract_value(value, 1)


def _pair(builder: Any, real: Any, imaginary: Any) -> Any:
    pair = ir.Constant(ir.LiteralStructType([real.type, imaginary.type]), ir.Undefined)
    return builder.insert_value(builder.insert_value(pair, real, 0), imaginary, 1)


def converted(builder: Any, value: Any, source: Any, target: Any) -> Any:
    """An LLVM value as another Numba type; of complex numbers, the real part."""
    if isinstance(target, types.Complex):
        part = target.underlying_float
        if isinstance(source, types.Complex):
            real, imaginary = [converted(builder, v, source.underlying_float, part) for v in _parts(builder, value)]
        else:
            real, imaginary = converted(builder, value, source, part), ir.Constant(F32 if part.bitwidth == 32 else F64, 0.0)
        return _pair(builder, real, imaginary)
    if isinstance(source, types.Complex):
        return converted(builder, _parts(builder, value)[0], source.underlying_float, target)
    if source == target:
        return value
    signed = getattr(source, "signed", False)
    x = Value(builder, value, signed)
    if target == types.boolean:
        return (x != 0).ir
    if isinstance(target, types.Float):
        kind = F32 if target.bitwidth == 32 else F64
        if x.is_float:
            return builder.fpext(value, kind) if x.bits < target.bitwidth else builder.fptrunc(value, kind)
        return builder.sitofp(value, kind) if signed else builder.uitofp(value, kind)
    if x.is_float:
        return _float_to_integer(x, target).ir
    kind = ir.IntType(target.bitwidth)
    if x.bits == target.bitwidth:
        return value
    if x.bits > target.bitwidth:
        return builder.trunc(value, kind)
    return builder.sext(value, kind) if signed else builder.zext(value, kind)


def _float_to_integer(x: Value, target: Any) -> Value:
    """Truncated. Out of range, and of NaN, what x86 gives: the least integer of the register, whose low bits are taken."""
    bits = target.bitwidth
    if bits == 64 and not target.signed:
        far = x >= 2.0 ** 63
        near = _truncated(select(far, x - 2.0 ** 63, x), 64)
        return select(far, near ^ (-1 << 63), near)
    register = 32 if bits < 32 or target.signed and bits == 32 else 64
    result = _truncated(x, register)
    return result if register == bits else result.same(x.builder.trunc(result.ir, ir.IntType(bits)))


def _truncated(x: Value, bits: int) -> Value:
    kind, limit = ir.IntType(bits), 2.0 ** (bits - 1)
    inside = both(x < limit, x >= -limit if x.bits == 32 or bits == 64 else x > -limit - 1)
    return select(inside, x.same(x.builder.fptosi(x.ir, kind)), -1 << (bits - 1))


# ---------------------------------------------------------------- choice and powers


@intrinsic
def select_bool(typing: Any, condition: Any, x: Any, y: Any) -> Any:
    """select_n on a bool: x where it is false, y where it is true."""
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        condition, x, y = args
        if isinstance(sig.return_type, types.Complex):
            return _pair(builder, *[builder.select(condition, b, a)
                                    for a, b in zip(_parts(builder, x), _parts(builder, y), strict=True)])
        return builder.select(condition, y, x)

    return x(types.boolean, x, x), build


def _integer_power(kind: Any) -> Any:
    """x ** n for a literal n >= 0, multiplied in the order of binary powers; for n < 0 its reciprocal."""
    @intrinsic
    def integer_pow(typing: Any, x: Any, n: Any) -> Any:
        if not isinstance(n, types.IntegerLiteral):
            return None
        exponent = n.literal_value

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            if isinstance(kind, types.Complex):
                z = tuple([Value(builder, v) for v in _parts(builder, args[0])])
                z = _product_of_powers(z, (z[0].constant(1.0), z[0].constant(0.0)), abs(exponent), complex_functions.multiply)
                z = complex_functions.reciprocal(z) if exponent < 0 else z
                return _pair(builder, z[0].ir, z[1].ir)
            x = Value(builder, args[0], getattr(kind, "signed", True))
            x = _product_of_powers(x, x.constant(1), abs(exponent), operator.mul)
            return (1.0 / x if exponent < 0 else x).ir

        return kind(kind, n), build

    return integer_pow


def _product_of_powers(x: Any, one: Any, exponent: int, multiply: Callable) -> Any:
    result = None
    while exponent:
        if exponent & 1:
            result = x if result is None else multiply(result, x)
        exponent >>= 1
        if exponent:
            x = multiply(x, x)
    return one if result is None else result


def _convert(source: Any, target: Any) -> Any:
    @intrinsic
    def convert(typing: Any, x: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            return converted(builder, args[0], source, target)

        return target(source), build

    return convert


# ---------------------------------------------------------------- complex numbers


def _on_complex(kind: Any, function: Any, count: int, result: Any = None) -> Any:
    """A function of pairs (real part, imaginary part) of Values."""
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        values = [tuple([Value(builder, v) for v in _parts(builder, a)]) for a in args]
        found = function(*values)
        return found.ir if isinstance(found, Value) else _pair(builder, found[0].ir, found[1].ir)

    sig = (result or kind)(*[kind] * count)
    if count == 1:
        return intrinsic(lambda typing, x: (sig, build))
    return intrinsic(lambda typing, x, y: (sig, build))


def conjugate(x: tuple) -> tuple:
    return x[0], -x[1]


def complex_is_finite(x: tuple) -> Value:
    return both(is_finite(x[0]), is_finite(x[1]))


def _complex_of(part: Any, whole: Any) -> Any:
    @intrinsic
    def complex_(typing: Any, x: Any, y: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            return _pair(builder, *args)

        return whole(part, part), build

    return complex_


# ---------------------------------------------------------------- the names


@functools.cache
def functions() -> dict[str, Any]:
    """All of these, by the names that kernel sources use."""
    found: dict[str, Any] = {"select_bool": select_bool}

    def define(dtypes: tuple, count: int, result: Any = None, **entries: Any) -> None:
        for name, function in entries.items():
            for dtype in dtypes:
                kind = KINDS[dtype]
                found[f"{name}_{dtype}"] = numba_function(f"{name}_{dtype}", function, (kind,) * count, result or kind)

    ordered = ("bool", *INTEGERS, *FLOATS)
    define(ordered, 2, maximum=maximum, minimum=minimum)
    define(ordered, 1, abs=modulus)
    define((*INTEGERS, *FLOATS), 1, sign=sign)
    define(FLOATS, 1, types.boolean, isfinite=is_finite)
    for name in ("floor", "ceil", "trunc", "rint"):
        define(FLOATS, 1, **{name: functools.partial(call, name)})
    define(FLOATS, 1, sqrt=square_root, rsqrt=reciprocal_root)
    define(FLOATS, 2, nextafter=next_after)
    define(FLOATS, 3, fma=fma)
    define((*INTEGERS, *FLOATS), 2, fmod=fmod, floor_divide=floor_divide, remainder=remainder)
    define(INTEGERS, 2, quotient=quotient, gcd=gcd, shift_left=shift_left, shift_right=shift_right,
           shift_right_logical=shift_right_logical)
    define(INTEGERS, 1, popcount=population_count, clz=leading_zeros)
    for dtype, kind in KINDS.items():
        if dtype in (*INTEGERS, *FLOATS):
            found[f"integer_pow_{dtype}"] = _integer_power(kind)
        for target, other in KINDS.items():
            found[f"convert_{dtype}_{target}"] = _convert(kind, other)
    for part, whole in zip(FLOATS, COMPLEX, strict=True):
        kind = KINDS[whole]
        found[f"complex_{part}"] = _complex_of(KINDS[part], kind)
        found[f"conj_{whole}"] = _on_complex(kind, conjugate, 1)
        found[f"isfinite_{whole}"] = _on_complex(kind, complex_is_finite, 1, types.boolean)
        found[f"integer_pow_{whole}"] = _integer_power(kind)
        for name, function in complex_functions.FUNCTIONS.items():
            found[f"{name}_{whole}"] = _on_complex(kind, function, 1)
        for name, function in complex_functions.BINARY.items():
            found[f"{name}_{whole}"] = _on_complex(kind, function, 2)
        for name, function in complex_functions.ORDER.items():
            found[f"{name}_{whole}"] = _on_complex(kind, function, 2, types.boolean)
    return found
