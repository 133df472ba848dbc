"""What kernels for a GPU say besides arithmetic and memory: threads that work together.

In: nothing. Out: ``words()``, Numba intrinsics by the names that kernel sources use. T is the literal size of the team, 1, 32
(a warp) or 256 (a block). All threads of a team reach a word together, and equally often.

    t = plus_f64(t, exchange_f64(t, 16, 32))       adds the numbers of the threads lane and lane ^ 16
    p = shared_f32(0, 1024)                        4 KiB that the threads of a block share
    sync(256)                                      what a thread wrote, the others of its team read from here on

Imported only when something is compiled.
"""
from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from funcgrad.compiler.access import COMPUTED, GLOBAL, SHARED, PointerType, pointer_function, storage, writing

WARP, BLOCK = 32, 256
TEAMS = (1, WARP, BLOCK)
ATOMIC = ("i32", "i64", "u32", "u64")
I32, I64 = ir.IntType(32), ir.IntType(64)
EVERYONE = I32(-1)
"""The threads of a warp, as a mask: those of a team of 32 or 256 are all there."""


def _literals(*kinds: Any) -> list[int] | None:
    """The values of literal arguments; None for others, which Numba tries first."""
    if not all(isinstance(kind, types.IntegerLiteral) for kind in kinds):
        return None
    return [kind.literal_value for kind in kinds]


def _of_team(*kinds: Any) -> list[int] | None:
    """The same if the last one is the size of a team."""
    found = _literals(*kinds)
    if found is not None and found[-1] not in TEAMS:
        raise ValueError(f"a team has 1, {WARP} or {BLOCK} threads, not {found[-1]}")
    return found


def _call(builder: Any, name: str, result: Any, *args: Any) -> Any:
    """A call of one of LLVM's functions for NVIDIA's processors."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(builder.module.declare_intrinsic(f"llvm.nvvm.{name}", (), kind), args)


def _lane(builder: Any, team: int) -> Any:
    """The number of this thread in a team, as an int32: blocks hold whole teams."""
    return builder.and_(_call(builder, "read.ptx.sreg.tid.x", I32), I32(team - 1))


def _barrier(builder: Any, team: int) -> None:
    if team == WARP:
        _call(builder, "bar.warp.sync", ir.VoidType(), EVERYONE)
    elif team == BLOCK:
        _call(builder, "barrier.cta.sync.aligned.all", ir.VoidType(), I32(0))


@intrinsic
def lane(typing: Any, team: Any) -> Any:
    """The number of this thread in its team, an int64."""
    found = _of_team(team)
    if found is None:
        return None
    size, = found

    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        return builder.zext(_lane(builder, size), I64)

    return types.int64(team), build


@intrinsic
def sync(typing: Any, team: Any) -> Any:
    """A barrier of the team: what its threads wrote before is seen by all of them afterwards."""
    found = _of_team(team)
    if found is None:
        return None
    size, = found

    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        _barrier(builder, size)
        return context.get_dummy_value()

    return types.none(team), build


# ---------------------------------------------------------------- values of other threads


def _pieces(builder: Any, value: Any) -> list[Any]:
    """A value as int32s, which is what threads exchange."""
    kind = value.type
    if isinstance(kind, ir.LiteralStructType):
        return [piece for i in range(2) for piece in _pieces(builder, builder.extract_value(value, i))]
    if kind in (ir.FloatType(), ir.DoubleType()):
        value = builder.bitcast(value, I32 if kind == ir.FloatType() else I64)
    width = value.type.width
    if width == 64:
        return [builder.trunc(value, I32), builder.trunc(builder.lshr(value, I64(32)), I32)]
    return [value if width == 32 else builder.zext(value, I32)]


def _joined(builder: Any, pieces: list[Any], kind: Any) -> Any:
    """The value of an LLVM type that these are the pieces of."""
    if isinstance(kind, ir.LiteralStructType):
        half, pair = len(pieces) // 2, ir.Constant(kind, ir.Undefined)
        for i, part in enumerate((pieces[:half], pieces[half:])):
            pair = builder.insert_value(pair, _joined(builder, part, kind.elements[i]), i)
        return pair
    value = pieces[0]
    if len(pieces) == 2:
        value = builder.or_(builder.zext(value, I64), builder.shl(builder.zext(pieces[1], I64), I64(32)))
    if isinstance(kind, ir.IntType):
        return value if kind == value.type else builder.trunc(value, kind)
    return builder.bitcast(value, kind)


def _shuffled(builder: Any, value: Any, way: str, distance: int, last: int) -> Any:
    """The value of another thread of the warp."""
    pieces = [_call(builder, f"shfl.sync.{way}.i32", I32, EVERYONE, piece, I32(distance), I32(last))
              for piece in _pieces(builder, value)]
    return _joined(builder, pieces, value.type)


def _through_memory(builder: Any, value: Any, me: Any, other: Any) -> Any:
    """The value of the thread of the block with another number. Nobody writes the next one before all have read this one."""
    pieces = _pieces(builder, value)
    areas = [_area(builder.module, f"exchanged{i}", I32, BLOCK) for i in range(len(pieces))]
    for piece, area in zip(pieces, areas, strict=True):
        builder.store(piece, builder.gep(area, [I32(0), me]))
    _barrier(builder, BLOCK)
    found = [builder.load(builder.gep(area, [I32(0), other])) for area in areas]
    _barrier(builder, BLOCK)
    return _joined(builder, found, value.type)


def _exchange(kind: Any) -> Any:
    @intrinsic
    def exchange(typing: Any, x: Any, distance: Any, team: Any) -> Any:
        """The x of the thread whose number differs in one bit; that of this thread if it is alone."""
        found = _of_team(distance, team)
        if found is None:
            return None
        d, size = found
        if d < 1 or d & (d - 1) or d >= size > 1:
            raise ValueError(f"a team of {size} exchanges over powers of two below it, not over {d}")

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            if size == 1:
                return args[0]
            if d < WARP:
                return _shuffled(builder, args[0], "bfly", d, WARP - 1)
            me = _lane(builder, size)
            return _through_memory(builder, args[0], me, builder.xor(me, I32(d)))

        return kind(kind, distance, team), build

    return exchange


def _shift(kind: Any) -> Any:
    @intrinsic
    def shift(typing: Any, x: Any, distance: Any, team: Any) -> Any:
        """The x of the thread whose number is smaller by the distance; that of this thread if there is none."""
        found = _of_team(distance, team)
        if found is None:
            return None
        d, size = found
        if d < 1:
            raise ValueError(f"values come from threads with smaller numbers: a distance is positive, not {d}")

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            if d >= size:
                return args[0]
            if size == WARP:
                return _shuffled(builder, args[0], "up", d, 0)
            me = _lane(builder, size)
            first = builder.icmp_unsigned("<", me, I32(d))
            return _through_memory(builder, args[0], me, builder.select(first, me, builder.sub(me, I32(d))))

        return kind(kind, distance, team), build

    return shift


# ---------------------------------------------------------------- memory of a block


def _area(module: ir.Module, name: str, kind: ir.Type, count: int) -> Any:
    """Shared memory under a name: the module holds one area of each."""
    area = module.globals.get(name)
    if area is None:
        area = ir.GlobalVariable(module, ir.ArrayType(kind, count), name, SHARED)
        area.linkage, area.align = "internal", 16
        area.initializer = ir.Constant(area.value_type, ir.Undefined)
    if area.value_type != ir.ArrayType(kind, count):
        raise TypeError(f"{name} is {area.value_type}, not {count} of {kind}")
    return area


def _shared(dtype: str) -> Any:
    @intrinsic
    def shared(typing: Any, slot: Any, count: Any) -> Any:
        """Memory that the threads of a block share, for the time of the call; an area for each literal slot."""
        found = _literals(slot, count)
        if found is None:
            return None
        kind, size = PointerType(dtype, found[0], SHARED), found[1]

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            area = _area(builder.module, f"shared{kind.slot}", storage(dtype, context.data_model_manager), size)
            return builder.gep(area, [I32(0), I32(0)])

        return kind(slot, count), build

    return shared


def _atomic(dtype: str, operation: str) -> Any:
    number = COMPUTED[dtype]

    @intrinsic
    def atomic(typing: Any, pointer: Any, index: Any, x: Any) -> Any:
        """Combines x with a number in memory while no other thread touches it; what was there before."""
        if not isinstance(pointer, PointerType) or pointer.dtype != dtype:
            raise TypeError(f"this word is for pointers to {dtype}, not for {pointer}")

        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            place = builder.gep(args[0], [args[1]])
            old = builder.atomic_rmw(operation, place, args[2], 'syncscope("device") monotonic')
            writing(builder.module, old, pointer)
            return old

        return number(pointer, types.int64, number), build

    return atomic


# ---------------------------------------------------------------- the names


@functools.cache
def words() -> dict[str, Any]:
    """All of these, by the names that kernel sources use."""
    found: dict[str, Any] = {"lane": lane, "sync": sync}
    for dtype, kind in COMPUTED.items():
        found[f"shared_{dtype}"] = _shared(dtype)
        found[f"aligned_{dtype}"] = pointer_function(dtype, GLOBAL, 16)
        if dtype not in ("f16", "bf16"):
            found[f"exchange_{dtype}"], found[f"shift_{dtype}"] = _exchange(kind), _shift(kind)
    for dtype in ATOMIC:
        unsigned = "u" if dtype[0] == "u" else ""
        for name, operation in (("add", "add"), ("max", f"{unsigned}max"), ("min", f"{unsigned}min")):
            found[f"atomic_{name}_{dtype}"] = _atomic(dtype, operation)
    return found
