"""The words of kernels as Python functions, with the bits that compiled kernels give.

In: the name of a word, such as ``exp_f32``. Out: a function of typed scalars. Floats and complex numbers are NumPy scalars of
their dtype; integers of all widths are Python's, exact, and brought back to their width where a text says ``i32(...)``; a bool
is Python's. Simple words are written here; any other one is the library's own LLVM code, compiled without Numba in about a
millisecond.
"""
from __future__ import annotations

import ctypes
import functools
import inspect
import math
import operator
import struct
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir

from funcgrad.compiler.cuda.ptx import namespace
from funcgrad.compiler.library import NAMES

F32, F64, C64, C128 = np.float32, np.float64, np.complex64, np.complex128
INTEGERS = {f"{kind}{bits}": (bits, kind == "i") for kind in "iu" for bits in (8, 16, 32, 64)}


def wrap(dtype: str) -> Any:
    """A number as an integer of some width: its low bits; a float is cut to the integer below it in size."""
    bits, signed = INTEGERS[dtype]
    size, half = 1 << bits, 1 << bits - 1
    low, high = (-half, half) if signed else (0, size)

    def wrapped(x: Any) -> int:
        if type(x) is not int:
            x = int(x) if not isinstance(x, np.floating) or math.isfinite(x) else low
        if low <= x < high:
            return x
        x &= size - 1
        return x - size if signed and x >= half else x

    return wrapped


def f32(x: Any) -> np.float32:
    """A number rounded once to float32."""
    if type(x) is int and abs(x) > 1 << 24:
        return (np.int64(x) if x < 1 << 63 else np.uint64(x)).astype(F32)
    return F32(x)


def f64(x: Any) -> np.float64:
    return F64(x)


TYPES = {**{name: wrap(name) for name in INTEGERS}, "f16": f32, "bf16": f32, "f32": f32, "f64": f64, "c64": C64, "c128": C128,
         "bool": bool}
"""Conversions by the names of dtypes."""


def constant(dtype: str) -> Any:
    """A constant that stands in the bits of a size."""
    kind, count, form = (F64, 8, "<d") if dtype == "f64" else (F32, 4, "<f")
    return lambda sizes, i: kind(struct.unpack(form, struct.pack("<q", sizes[i])[:count])[0])


def _first(x: Any) -> Any:
    return x


def _simple(name: str, dtype: str) -> Any:
    """The function of a word of a few instructions, or None."""
    if name in ("plus", "times"):
        return operator.add if name == "plus" else operator.mul
    if name == "constant":
        return constant(dtype)
    if name == "select":
        return lambda condition, x, y: y if condition else x
    if name.startswith("convert_"):
        source = name[8:]
        if source[0] == "f" and dtype[0] in "iu":
            return None
        if source[0] == "c" and dtype[0] != "c":
            inner = word(f"convert_{'f32' if source == 'c64' else 'f64'}_{dtype}")
            return lambda x: inner(x.real)
        return TYPES[dtype]
    if dtype in INTEGERS or dtype == "bool":
        return {"maximum": max, "minimum": min, "abs": _first if dtype == "bool" else lambda x: TYPES[dtype](abs(x)),
                "sign": lambda x: (x > 0) - (x < 0)}.get(name)
    if dtype in ("f32", "f64"):
        return {"abs": abs, "isfinite": lambda x: bool(abs(x) < math.inf)}.get(name)
    return None


@functools.cache
def word(name: str) -> Any:
    """The function of a word, by its name."""
    start, _, dtype = name.rpartition("_")
    found = TYPES.get(name) or _simple(start, dtype)
    if found is not None:
        return found
    if name not in NAMES or name.startswith("scipy_"):
        raise NameError(f"{name} is no word of kernels for a GPU")
    if start == "integer_pow":
        return lambda x, n: _power(name, n)(x)
    return compiled(name, *[None] * (len(inspect.signature(namespace()[name]._defn).parameters) - 1))


@functools.cache
def _power(name: str, n: int) -> Any:
    from numba.core import types
    return compiled(name, None, types.literal(n))


# ---------------------------------------------------------------- the library's own code


@functools.cache
def _engine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=1)
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)


def _scalar(kind: Any) -> tuple[Any, Any, Any]:
    """Of a Numba type of numbers: the type in LLVM, that of C, and how a result of C becomes a value of the simulator."""
    from numba.core import types
    if kind == types.boolean:
        return ir.IntType(1), ctypes.c_bool, bool
    if isinstance(kind, types.Integer):
        return ir.IntType(kind.bitwidth), getattr(ctypes, f"c_{'' if kind.signed else 'u'}int{kind.bitwidth}"), int
    return (ir.FloatType(), ctypes.c_float, F32) if kind.bitwidth == 32 else (ir.DoubleType(), ctypes.c_double, F64)


def compiled(name: str, *given: Any) -> Any:
    """A word from the builder of its instructions, which Numba would call; complex numbers are passed in two parts."""
    from numba.core import types
    sig, build = namespace()[name]._defn(None, *given)
    arguments = [k for k in sig.args if not isinstance(k, types.Literal)]
    parts = [p for k in arguments for p in ([k.underlying_float] * 2 if isinstance(k, types.Complex) else [k])]
    pair = isinstance(sig.return_type, types.Complex)
    kind, c_result, result = _scalar(sig.return_type.underlying_float if pair else sig.return_type)
    byte = ir.IntType(8)
    symbol = f"simt_{name}_{'_'.join(str(k.literal_value % 10000) for k in sig.args if isinstance(k, types.Literal))}"
    module = ir.Module(symbol)
    module.triple = llvm.get_default_triple()
    passed = [byte if _scalar(p)[0].intrinsic_name == "i1" else _scalar(p)[0] for p in parts]
    out = ir.VoidType() if pair else byte if kind.intrinsic_name == "i1" else kind
    function = ir.Function(module, ir.FunctionType(out, [*passed, *[kind.as_pointer()] * pair]), symbol)
    builder = ir.IRBuilder(function.append_basic_block())
    scalars = iter([builder.trunc(a, ir.IntType(1)) if a.type is byte and _scalar(p)[0].width == 1 else a
                    for a, p in zip(function.args, parts, strict=False)])
    values = []
    for k in arguments:
        if isinstance(k, types.Complex):
            whole = ir.Constant(ir.LiteralStructType([_scalar(k.underlying_float)[0]] * 2), ir.Undefined)
            values.append(builder.insert_value(builder.insert_value(whole, next(scalars), 0), next(scalars), 1))
        else:
            values.append(next(scalars))
    found = build(None, builder, sig, [*values, *[None] * (len(sig.args) - len(values))])
    if pair:
        for i in range(2):
            builder.store(builder.extract_value(found, i), builder.gep(function.args[-1], [ir.IntType(32)(i)]))
        builder.ret_void()
    else:
        builder.ret(builder.zext(found, byte) if out is byte else found)
    engine = _engine()
    engine.add_module(llvm.parse_assembly(str(module)))
    engine.finalize_object()
    types_of = [_scalar(p)[1] for p in parts]
    if pair:
        return _of_pairs(ctypes.CFUNCTYPE(None, *types_of, ctypes.c_void_p)(engine.get_function_address(symbol)), arguments,
                         c_result, C64 if c_result is ctypes.c_float else C128)
    call = ctypes.CFUNCTYPE(c_result, *types_of)(engine.get_function_address(symbol))
    if len(parts) != len(arguments):
        return lambda *xs: result(call(*[p for x in xs for p in (x.real, x.imag)]))
    if len(parts) == 1:
        return lambda x: result(call(x))
    if len(parts) == 2:
        return lambda x, y: result(call(x, y))
    return lambda *xs: result(call(*xs))


def _of_pairs(call: Any, arguments: list, part: Any, kind: Any) -> Any:
    """A function with a complex result."""
    from numba.core import types
    two = part * 2
    is_complex = isinstance(arguments[0], types.Complex)

    def function(*xs: Any) -> Any:
        found = two()
        call(*([p for x in xs for p in (x.real, x.imag)] if is_complex else xs), ctypes.addressof(found))
        return kind(complex(*found))

    return function
