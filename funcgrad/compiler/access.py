"""What generated kernels are made of besides arithmetic: memory, accumulators, calls of addresses.

In: int64 addresses. Out: Numba intrinsics, by the names that kernel sources use. Imported only when something is compiled.

    x = pointer_f32(pointers, 0)        x[i] is a float32 read from memory;  x[i] = value writes it
    c = local_f32(64, 2)                a list of 64 float32 of this call's own, to be used like x
    n = word(sizes, 3)                  the int64 at position 3
    total = plus_f32(total, x[i])       an addition that may be reordered within the kernel's fixed lanes
"""
from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

WORD = ir.IntType(64)
GLOBAL, SHARED = 1, 3
"""Address spaces of a GPU: its memory, and what the threads of a block share. The processor's is 0."""
SCOPES = 32
"""Operands of a kernel that are declared not to overlap; LLVM checks overlap of further ones as it likes."""

class _BFloat(ir.HalfType):
    """LLVM's own bfloat16, to which GPUs convert; processors without it do so with integers."""

    def __str__(self) -> str:
        return "bfloat"


_BFloat._create_instance()
BFLOAT = _BFloat()


COMPUTED = {"f16": types.float32, "bf16": types.float32, "f32": types.float32, "f64": types.float64,
            "c64": types.complex64, "c128": types.complex128, "i8": types.int8, "i16": types.int16, "i32": types.int32,
            "i64": types.int64, "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
            "bool": types.boolean}
"""The Numba type in which a value of each dtype is computed."""


class PointerType(types.Type):
    """A typed address. Pointers of different slots never overlap where one of them is written."""

    def __init__(self, dtype: str, slot: int, space: int = 0):
        super().__init__(name=f"Pointer({dtype}, {slot}, {space})")
        self.dtype, self.slot, self.space = dtype, slot, space

    @property
    def key(self) -> tuple:
        return self.dtype, self.slot, self.space

    @property
    def alignment(self) -> int | None:
        """That of an element where it is more than its parts have: complex numbers of a GPU are read whole, as CuPy does it."""
        return {"c64": 8, "c128": 16}.get(self.dtype) if self.space else None


@register_model(PointerType)
class PointerModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: PointerType):
        super().__init__(manager, kind, ir.PointerType(storage(kind.dtype, manager), kind.space))


def storage(dtype: str, manager: Any) -> ir.Type:
    if dtype == "f16":
        return ir.HalfType()
    if dtype == "bf16":
        return ir.IntType(16)
    return manager[COMPUTED[dtype]].get_data_type()


def annotate(module: ir.Module, instruction: Any, kind: PointerType) -> None:
    """Alias scopes: this access does not touch what the accesses of other slots touch."""
    slot = kind.slot
    if slot >= SCOPES or kind.space == SHARED:
        return
    domain = module.add_metadata([ir.MetaDataString(module, "funcgrad")])
    scopes = [module.add_metadata([ir.MetaDataString(module, f"funcgrad{i}"), domain]) for i in range(SCOPES)]
    instruction.set_metadata("alias.scope", module.add_metadata([scopes[slot]]))
    instruction.set_metadata("noalias", module.add_metadata([s for i, s in enumerate(scopes) if i != slot]))


def _reads(module: ir.Module, kind: PointerType) -> list[Any]:
    """The loads from a slot of a GPU's memory, in a module of one kernel."""
    return vars(module).setdefault("reads", {}).setdefault(kind.slot, [])


def reading(module: ir.Module, load: Any, kind: PointerType) -> None:
    """What a kernel for a GPU does not write, nobody writes while it runs: its loads wait for no store."""
    annotate(module, load, kind)
    if kind.space == GLOBAL and kind.slot not in vars(module).get("written", ()):
        load.set_metadata("invariant.load", module.add_metadata([]))
        _reads(module, kind).append(load)


def writing(module: ir.Module, store: Any, kind: PointerType) -> None:
    """A slot that is written after all."""
    annotate(module, store, kind)
    if kind.space == GLOBAL:
        vars(module).setdefault("written", set()).add(kind.slot)
        for load in _reads(module, kind):
            load.metadata.pop("invariant.load", None)


@infer_global(operator.getitem)
class PointerGet(AbstractTemplate):
    def generic(self, args: tuple, kws: dict) -> Any:
        if len(args) == 2 and isinstance(args[0], PointerType) and isinstance(args[1], types.Integer):
            return signature(COMPUTED[args[0].dtype], args[0], types.int64)


@infer_global(operator.setitem)
class PointerSet(AbstractTemplate):
    def generic(self, args: tuple, kws: dict) -> Any:
        if len(args) == 3 and isinstance(args[0], PointerType) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.int64, COMPUTED[args[0].dtype])


@lower_builtin(operator.getitem, PointerType, types.int64)
def get(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
    kind = sig.args[0]
    value = builder.load(builder.gep(args[0], [args[1]]), align=kind.alignment)
    reading(builder.module, value, kind)
    if kind.dtype == "f16":
        return builder.fpext(value, ir.FloatType())
    if kind.dtype == "bf16":
        return builder.bitcast(builder.shl(builder.zext(value, ir.IntType(32)), ir.IntType(32)(16)), ir.FloatType())
    return context.data_model_manager[COMPUTED[kind.dtype]].from_data(builder, value)


@lower_builtin(operator.setitem, PointerType, types.int64, types.Any)
def put(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
    kind = sig.args[0]
    pointer, index, value = args
    if kind.dtype == "f16":
        value = builder.fptrunc(value, ir.HalfType())
    elif kind.dtype == "bf16":
        value = builder.bitcast(builder.fptrunc(value, BFLOAT), ir.IntType(16)) if kind.space else _to_bfloat16(builder, value)
    else:
        value = context.data_model_manager[COMPUTED[kind.dtype]].as_data(builder, value)
    writing(builder.module, builder.store(value, builder.gep(pointer, [index]), align=kind.alignment), kind)
    return context.get_dummy_value()


def _to_bfloat16(builder: Any, value: Any) -> Any:
    """The nearest bfloat16, ties to even; NaN stays NaN."""
    i32 = ir.IntType(32)
    bits = builder.bitcast(value, i32)
    odd = builder.and_(builder.lshr(bits, i32(16)), i32(1))
    rounded = builder.lshr(builder.add(builder.add(bits, i32(0x7FFF)), odd), i32(16))
    quiet = builder.or_(builder.lshr(bits, i32(16)), i32(0x40))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, quiet, rounded), ir.IntType(16))


def pointer_function(dtype: str, space: int, alignment: int = 1) -> Any:
    """The pointer at a place of a list of addresses, which has an alignment."""
    @intrinsic
    def pointer(typing: Any, pointers: Any, slot: Any) -> Any:
        if not isinstance(slot, types.IntegerLiteral):
            return None
        kind = PointerType(dtype, slot.literal_value, space)

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            address = builder.load(_place(builder, args[0], WORD(kind.slot), WORD, space))
            if alignment > 1:
                builder.assume(builder.icmp_unsigned("==", builder.and_(address, WORD(alignment - 1)), WORD(0)))
            return builder.inttoptr(address, context.get_value_type(kind))

        return kind(types.int64, slot), build

    return pointer


def _local_function(dtype: str) -> Any:
    @intrinsic
    def local(typing: Any, count: Any, slot: Any) -> Any:
        """A list that lives as long as the call; its length and its slot, which no operand has, are constants."""
        if not isinstance(count, types.IntegerLiteral) or not isinstance(slot, types.IntegerLiteral):
            return None
        kind, size = PointerType(dtype, slot.literal_value), count.literal_value

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            with builder.goto_entry_block():
                place = builder.alloca(context.get_value_type(kind).pointee, size)
            place.align = 64
            return place

        return kind(count, slot), build

    return local


def _place(builder: Any, address: Any, index: Any, kind: ir.Type, space: int) -> Any:
    """The pointer to a number of a list."""
    return builder.gep(builder.inttoptr(address, ir.PointerType(kind, space)), [index])


def _words(space: int) -> tuple[Any, Any, Any]:
    """Reading and writing numbers of lists by their addresses."""
    @intrinsic
    def word(typing: Any, address: Any, index: Any) -> Any:
        """The int64 at a position of a list of int64."""
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            return builder.load(_place(builder, args[0], args[1], WORD, space))

        return types.int64(types.int64, types.int64), build

    @intrinsic
    def set_word(typing: Any, address: Any, index: Any, value: Any) -> Any:
        """Writes the int64 at a position of a list of int64."""
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            builder.store(args[2], _place(builder, args[0], args[1], WORD, space))
            return context.get_dummy_value()

        return types.none(types.int64, types.int64, types.int64), build

    @intrinsic
    def short(typing: Any, address: Any) -> Any:
        """The int32 at an address, as an int64."""
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            return builder.sext(builder.load(_place(builder, args[0], WORD(0), ir.IntType(32), space)), WORD)

        return types.int64(types.int64), build

    return word, set_word, short


word, set_word, short = _words(0)


def _constant_function(dtype: str, space: int) -> Any:
    @intrinsic
    def constant(typing: Any, sizes: Any, index: Any) -> Any:
        kind = COMPUTED[dtype]

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            place = builder.mul(args[1], WORD(64 // kind.bitwidth))
            return builder.load(_place(builder, args[0], place, context.get_value_type(kind), space))

        return kind(types.int64, types.int64), build

    return constant


def _reorderable(kind: Any, name: str) -> Any:
    """Float addition or multiplication that LLVM may reorder into the lanes of a vector."""
    @intrinsic
    def combine(typing: Any, x: Any, y: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            return getattr(builder, name)(*args, flags=("reassoc", "nsz", "contract"))

        return kind(kind, kind), build

    return combine


@intrinsic
def call_kernel(typing: Any, address: Any, pointers: Any, sizes: Any, start: Any, stop: Any) -> Any:
    """Calls a compiled kernel by its address: its arguments behind the two places of Numba's calling convention."""
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.IntType(32), [byte, byte, WORD, WORD, WORD, WORD])
        null = ir.Constant(byte, None)
        place = cgutils.alloca_once(builder, byte)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.bitcast(place, byte), null, *args[1:]])
        return context.get_dummy_value()

    return types.none(*[types.int64] * 5), build


@intrinsic
def byte(typing: Any, address: Any) -> Any:
    """The byte at an address, as an int64."""
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return builder.zext(builder.load(builder.inttoptr(args[0], ir.IntType(8).as_pointer())), WORD)

    return types.int64(types.int64), build


@intrinsic
def call_pointers(typing: Any, address: Any, arguments: Any) -> Any:
    """Calls a C or Fortran function, all of whose arguments are addresses or int64, without a result."""
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        values = cgutils.unpack_tuple(builder, args[1])
        kind = ir.FunctionType(ir.VoidType(), [WORD] * len(values))
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.none(types.int64, arguments), build


@intrinsic
def call_for_int(typing: Any, address: Any) -> Any:
    """Calls a C function without arguments that returns an int."""
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        kind = ir.FunctionType(ir.IntType(32), [])
        return builder.sext(builder.call(builder.inttoptr(args[0], kind.as_pointer()), []), WORD)

    return types.int64(types.int64), build


@intrinsic
def first_hidden(typing: Any) -> Any:
    """Numba passes two addresses before the arguments; called from C, these are the first two arguments. The first."""
    return types.int64(), lambda context, builder, sig, args: builder.ptrtoint(builder.function.args[0], WORD)


@intrinsic
def second_hidden(typing: Any) -> Any:
    """The second of the two addresses that Numba passes before the arguments."""
    return types.int64(), lambda context, builder, sig, args: builder.ptrtoint(builder.function.args[1], WORD)


@intrinsic
def room(typing: Any, count: Any) -> Any:
    """The address of a list of int64 that lives as long as the call; the count is a constant."""
    if not isinstance(count, types.IntegerLiteral):
        return None
    size = count.literal_value

    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        with builder.goto_entry_block():
            place = builder.alloca(WORD, size)
        return builder.ptrtoint(place, WORD)

    return types.int64(count), build


def memory(space: int) -> dict[str, Any]:
    """Memory in an address space and what accumulates, by the names that kernel sources use."""
    found = dict(zip(("word", "set_word", "short"), _words(space) if space else (word, set_word, short), strict=True))
    for dtype, kind in COMPUTED.items():
        found[f"pointer_{dtype}"] = pointer_function(dtype, space)
        found[f"local_{dtype}"] = _local_function(dtype)
        if isinstance(kind, types.Float):
            found[f"plus_{dtype}"] = _reorderable(kind, "fadd")
            found[f"times_{dtype}"] = _reorderable(kind, "fmul")
            found[f"constant_{dtype}"] = _constant_function(dtype, space)
        found[dtype] = kind
    return found


def names() -> dict[str, Any]:
    """All of it, by the names that kernel sources use."""
    return memory(0) | {"room": room, "call_pointers": call_pointers, "call_for_int": call_for_int}
