"""Scalar expressions written as Python arithmetic, which build LLVM instructions.

In: ``Value`` objects, each an LLVM value of a kernel under construction. Out: further ones. A function of Values serves
float32 and float64, and LLVM sees nothing but straight lines of instructions, which it can put into vector registers.

    def logistic(x):
        z = exp(-abs(x))
        return select(x >= 0, 1.0, z) / (1 + z)

Arithmetic is done as it is written: sums and products are not contracted, and ``fma`` is always one rounding.
"""
from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import extending

from funcgrad.compiler.access import SCOPES

BOOL = ir.IntType(1)
F32, F64 = ir.FloatType(), ir.DoubleType()
WIDTHS = {F32: 32, F64: 64}
MANTISSA = {32: 23, 64: 52}
"""Bits of the stored fraction, by the width of the float."""

# A flag of which only divisions take notice; an instruction that has one is given none of the kernel's own.
AS_WRITTEN = ("arcp",)


class Value:
    """An LLVM value. Python numbers beside it become constants of its type. Integers are signed where it matters."""

    __slots__ = ("builder", "ir", "signed")

    def __init__(self, builder: Any, value: Any, signed: bool = True):
        self.builder, self.ir, self.signed = builder, value, signed

    @property
    def type(self) -> Any:
        return self.ir.type

    @property
    def is_float(self) -> bool:
        return self.ir.type in WIDTHS

    @property
    def bits(self) -> int:
        """The width of the number."""
        return WIDTHS.get(self.ir.type) or self.ir.type.width

    def same(self, value: Any) -> Value:
        """A Value like this one of another LLVM value."""
        return Value(self.builder, value, self.signed)

    def constant(self, number: Any) -> Value:
        """A constant of the type of this one."""
        if isinstance(number, Value):
            return number
        return self.same(ir.Constant(self.ir.type, float(number) if self.is_float else int(number)))

    def _operate(self, names: str, x: Any, y: Any) -> Value:
        """One instruction; ``names`` holds that for floats, then for signed and for unsigned integers."""
        x, y = self.constant(x), self.constant(y)
        on_floats, on_signed, on_unsigned = names.split()
        if self.is_float:
            flags = () if on_floats == "fdiv" else AS_WRITTEN
            return self.same(getattr(self.builder, on_floats)(x.ir, y.ir, flags=flags))
        return self.same(getattr(self.builder, on_signed if self.signed else on_unsigned)(x.ir, y.ir))

    def __add__(self, other: Any) -> Value:
        return self._operate("fadd add add", self, other)

    def __radd__(self, other: Any) -> Value:
        return self._operate("fadd add add", other, self)

    def __sub__(self, other: Any) -> Value:
        return self._operate("fsub sub sub", self, other)

    def __rsub__(self, other: Any) -> Value:
        return self._operate("fsub sub sub", other, self)

    def __mul__(self, other: Any) -> Value:
        return self._operate("fmul mul mul", self, other)

    def __rmul__(self, other: Any) -> Value:
        return self._operate("fmul mul mul", other, self)

    def __truediv__(self, other: Any) -> Value:
        return self._operate("fdiv sdiv udiv", self, other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._operate("fdiv sdiv udiv", other, self)

    def __mod__(self, other: Any) -> Value:
        return self._operate("frem srem urem", self, other)

    def __and__(self, other: Any) -> Value:
        return self._operate("- and_ and_", self, other)

    def __or__(self, other: Any) -> Value:
        return self._operate("- or_ or_", self, other)

    def __xor__(self, other: Any) -> Value:
        return self._operate("- xor xor", self, other)

    def __lshift__(self, other: Any) -> Value:
        return self._operate("- shl shl", self, other)

    def __rshift__(self, other: Any) -> Value:
        return self._operate("- ashr lshr", self, other)

    def __invert__(self) -> Value:
        return self ^ -1

    def __neg__(self) -> Value:
        return self.same(self.builder.fneg(self.ir)) if self.is_float else 0 - self

    def compare(self, symbol: str, other: Any) -> Value:
        """A comparison; with NaN, only ``!=`` holds."""
        other = self.constant(other)
        if self.is_float:
            compare = self.builder.fcmp_unordered if symbol == "!=" else self.builder.fcmp_ordered
        else:
            compare = self.builder.icmp_signed if self.signed else self.builder.icmp_unsigned
        return self.same(compare(symbol, self.ir, other.ir))

    def __lt__(self, other: Any) -> Value:
        return self.compare("<", other)

    def __le__(self, other: Any) -> Value:
        return self.compare("<=", other)

    def __gt__(self, other: Any) -> Value:
        return self.compare(">", other)

    def __ge__(self, other: Any) -> Value:
        return self.compare(">=", other)

    def __eq__(self, other: Any) -> Value:  # type: ignore[override]
        return self.compare("==", other)

    def __ne__(self, other: Any) -> Value:  # type: ignore[override]
        return self.compare("!=", other)

    __hash__ = None  # type: ignore[assignment]


# ---------------------------------------------------------------- instructions without an operator


def intrinsic(name: str, *args: Any) -> Value:
    """A call of ``llvm.<name>`` on values of one type."""
    x = next(a for a in args if isinstance(a, Value))
    values = [x.constant(a).ir for a in args]
    suffix = f"f{x.bits}" if x.is_float else f"i{x.bits}"
    function = x.builder.module.declare_intrinsic(f"llvm.{name}.{suffix}", (), ir.FunctionType(x.type, [x.type] * len(args)))
    return x.same(x.builder.call(function, values))


def fma(x: Any, y: Any, z: Any) -> Value:
    """x * y + z, rounded once."""
    return intrinsic("fma", x, y, z)


def absolute(x: Value) -> Value:
    return intrinsic("fabs", x)


def square_root(x: Value) -> Value:
    return intrinsic("sqrt", x)


def nearest(x: Value) -> Value:
    """The nearest integer, as a float; halves go to the even one."""
    return intrinsic("rint", x)


def copy_sign(x: Any, y: Value) -> Value:
    """x with the sign of y."""
    return intrinsic("copysign", y.constant(x), y)


def select(condition: Value, x: Any, y: Any) -> Value:
    """x where the condition holds, else y; one of them is a Value."""
    like = x if isinstance(x, Value) else y
    return like.same(condition.builder.select(condition.ir, like.constant(x).ir, like.constant(y).ir))


def usually(condition: Value, usual: Sequence[Value], otherwise: Callable[[], Sequence[Value]]) -> list[Value]:
    """The usual values where a condition holds, else others, which are computed behind a branch.

    For scalar code whose next operation waits for the values: a branch that goes one way costs nothing, but a loop with it is
    not put into vectors.
    """
    builder = condition.builder
    before, rare, after = builder.block, builder.append_basic_block("rare"), builder.append_basic_block("after")
    builder.cbranch(condition.ir, after, rare).set_weights([1000, 1])
    builder.position_at_end(rare)
    others = otherwise()
    end = builder.block
    builder.branch(after)
    builder.position_at_end(after)
    found = []
    for x, y in zip(usual, others, strict=True):
        phi = builder.phi(x.type)
        phi.add_incoming(x.ir, before)
        phi.add_incoming(y.ir, end)
        found.append(x.same(phi))
    return found


def either(condition: Value, *others: Value) -> Value:
    for other in others:
        condition = condition.same(condition.builder.or_(condition.ir, other.ir))
    return condition


def both(condition: Value, *others: Value) -> Value:
    for other in others:
        condition = condition.same(condition.builder.and_(condition.ir, other.ir))
    return condition


def clip(x: Value, low: float, high: float) -> Value:
    """x kept between two bounds; NaN stays NaN."""
    x = select(x > high, high, x)
    return select(x < low, low, x)


def to_bits(x: Value) -> Value:
    """The bits of a float, as an integer."""
    return x.same(x.builder.bitcast(x.ir, ir.IntType(x.bits)))


def from_bits(x: Value) -> Value:
    """The float of which an integer holds the bits."""
    return x.same(x.builder.bitcast(x.ir, F32 if x.bits == 32 else F64))


def widen(x: Value) -> Value:
    """A float32 as float64."""
    return x.same(x.builder.fpext(x.ir, F64)) if x.bits == 32 else x


def narrow(x: Value) -> Value:
    """A float64 rounded to float32."""
    return x.same(x.builder.fptrunc(x.ir, F32))


# ---------------------------------------------------------------- small tools

HUGE_ODD = {32: 1.5 * 2.0 ** 23, 64: 1.5 * 2.0 ** 52}
"""Adding it to a small float rounds to an integer, which then stands in the low bits of the sum."""


def polynomial(x: Value, coefficients: Sequence[float]) -> Value:
    """Horner's rule; the highest power stands first."""
    result = x.constant(coefficients[0])
    for c in coefficients[1:]:
        result = fma(result, x, c)
    return result


def round_to_integer(x: Value) -> tuple[Value, Value]:
    """The nearest integer of a float far below 2**bits, as a float and as a signed integer of the same width."""
    shifted = x + HUGE_ODD[x.bits]
    return shifted - HUGE_ODD[x.bits], to_bits(shifted) - float_bits(HUGE_ODD[x.bits], x.bits)


def to_float(n: Value) -> Value:
    """A small signed integer as a float of its width."""
    if n.bits == 32:
        return n.same(n.builder.sitofp(n.ir, F32))
    # Without AVX-512 there is no conversion of vectors of int64.
    return from_bits(n + float_bits(HUGE_ODD[64], 64)) - HUGE_ODD[64]


def float_bits(number: float, bits: int) -> int:
    """The bits of a number as an unsigned integer."""
    return struct.unpack("<I" if bits == 32 else "<Q", struct.pack("<f" if bits == 32 else "<d", number))[0]


def power_of_two(n: Value) -> Value:
    """2.0 ** n for an integer n in the range of the exponents of normal floats."""
    mantissa = MANTISSA[n.bits]
    bias = (1 << (n.bits - mantissa - 2)) - 1
    return from_bits((n + bias) << mantissa)


def scale(x: Value, n: Value) -> Value:
    """x * 2.0 ** n for an integer n of at most twice the range of exponents."""
    half = n >> 1
    return x * power_of_two(half) * power_of_two(n - half)


def two_sum(x: Value, y: Any) -> tuple[Value, Value]:
    """The rounded sum, and what rounding lost (Knuth)."""
    total = x + y
    back = total - x
    return total, (x - (total - back)) + (y - back)


def quick_two_sum(x: Value, y: Value) -> tuple[Value, Value]:
    """The same for abs(x) >= abs(y), or x = 0 (Dekker)."""
    total = x + y
    return total, y - (total - x)


def two_product(x: Value, y: Value) -> tuple[Value, Value]:
    """The rounded product, and what rounding lost."""
    product = x * y
    return product, fma(x, y, -product)


def in_float64(function: Callable) -> Callable:
    """A function of float64 that computes float32 ones in float64 and rounds at the end."""
    @functools.wraps(function)
    def widened(*args: Value) -> Value:
        if args[0].bits == 64:
            return function(*args)
        return narrow(function(*[widen(x) for x in args]))

    return widened


def scopes(module: ir.Module) -> list:
    """The alias scopes of the memory of kernels."""
    domain = module.add_metadata([ir.MetaDataString(module, "funcgrad")])
    return [module.add_metadata([ir.MetaDataString(module, f"funcgrad{i}"), domain]) for i in range(SCOPES)]


def lookup(name: str, numbers: Sequence[float], index: Value) -> Value:
    """The float64 at a place of a constant table; the module holds one table of each name."""
    builder, module = index.builder, index.builder.module
    kind = ir.ArrayType(F64, len(numbers))
    table = module.globals.get(name)
    if table is None:
        table = ir.GlobalVariable(module, kind, name)
        table.linkage, table.global_constant = "internal", True
        table.initializer = ir.Constant(kind, list(numbers))
    value = builder.load(builder.gep(table, [ir.Constant(index.type, 0), index.ir], inbounds=True))
    value.set_metadata("noalias", module.add_metadata(scopes(module)))
    return index.same(value)


# ---------------------------------------------------------------- for Numba


def numba_function(name: str, function: Callable, kinds: tuple, result: Any) -> Any:
    """A function of Values as one that kernels may call; ``kinds`` are the Numba types of its arguments."""
    sig = result(*kinds)

    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return function(*[Value(builder, a, getattr(k, "signed", True)) for a, k in zip(args, sig.args, strict=True)]).ir

    if len(kinds) == 1:
        def typed(typing: Any, x: Any) -> Any:
            return sig, build
    elif len(kinds) == 2:
        def typed(typing: Any, x: Any, y: Any) -> Any:
            return sig, build
    else:
        def typed(typing: Any, x: Any, y: Any, z: Any) -> Any:
            return sig, build
    typed.__name__ = name
    return extending.intrinsic(typed)
