"""How Python enters a program: a built-in function of machine code, and a Python function written for each signature.

In: a program's head and frames of it. Out: ``entry(head)``, which runs the program over a frame; and ``call_for``, the function
that a jitted function tries first. It compares the arguments' types with those that the program is for by identity, has
all that it needs bound, and is the shortest way from arguments to results:

    def call(args, kwargs):
        if kwargs or len(args) != 1: return None
        x0, = args
        ...
        if enter(frame.words, x0._data): return None
        y0 = new(DeviceArray); y0._data = frame.cells[0][()]; ...
        return y0
"""
from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler import kernel, memory
from funcgrad.core.array import DeviceArray
from funcgrad.core.types import ShapedArray

MOST = 64
"""Arguments and results of a function that code is written for."""

# The words that executor.py defines; it imports Numba, so they are stated here too and compared by a test.
COUNTER, STATUS, HEAD_OF_FRAME = 4, 5, 6
EXECUTE = 10
DATA_AT = 16


class _MethodDef(ctypes.Structure):
    """PyMethodDef of Python's C interface."""

    _fields_ = (("name", ctypes.c_char_p), ("function", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


FASTCALL = 0x80
"""METH_FASTCALL: the function takes self, the address of its arguments and how many there are."""


@functools.cache
def _method() -> tuple[_MethodDef, Callable]:
    address = kernel.native_address("enter", _build)
    new = ctypes.pythonapi.PyCFunction_NewEx
    new.argtypes, new.restype = [ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p], ctypes.py_object
    return _MethodDef(b"enter", address, FASTCALL, None), new


def entry(head: np.ndarray) -> Callable[..., int]:
    """``enter(frame, *arrays)`` runs a program from its start, and returns its status.

    ``frame`` is the array of a frame's words; the identities of the other arguments, which are kept alive by the caller, are
    what Python passes. Other threads of Python run meanwhile.
    """
    method, new = _method()
    return new(ctypes.addressof(method), head, None)


def _build() -> tuple[bytes, str]:
    """The machine code of ``enter(self, args, count)``, where self is the program's head."""
    import llvmlite.binding as llvm
    from llvmlite import ir
    word = ir.IntType(64)
    pointer = ir.PointerType(word)

    module = ir.Module("enter")
    module.triple = llvm.get_default_triple()
    function = ir.Function(module, ir.FunctionType(word, [word, word, word]), "funcgrad_enter")
    save = ir.Function(module, ir.FunctionType(word, []), "PyEval_SaveThread")
    restore = ir.Function(module, ir.FunctionType(ir.VoidType(), [word]), "PyEval_RestoreThread")
    number = ir.Function(module, ir.FunctionType(word, [word]), "PyLong_FromLongLong")
    builder = ir.IRBuilder(function.append_basic_block())

    def place(base: Any, index: Any) -> Any:
        index = word(index) if isinstance(index, int) else index
        return builder.inttoptr(builder.add(base, builder.mul(index, word(8))), pointer)

    head, args, count = function.args
    program = builder.load(place(head, DATA_AT // 8))
    frame = builder.load(place(builder.load(place(args, 0)), DATA_AT // 8))
    builder.store(word(0), place(frame, COUNTER))
    builder.store(word(0), place(frame, STATUS))
    start, loop, body, rest = builder.block, *[function.append_basic_block() for _ in range(3)]
    builder.branch(loop)
    builder.position_at_end(loop)
    i = builder.phi(word)
    i.add_incoming(word(1), start)
    builder.cbranch(builder.icmp_signed("<", i, count), body, rest)
    builder.position_at_end(body)
    builder.store(builder.load(place(args, i)), place(frame, builder.add(i, word(HEAD_OF_FRAME - 1))))
    i.add_incoming(builder.add(i, word(1)), body)
    builder.branch(loop)
    builder.position_at_end(rest)
    execute = builder.inttoptr(builder.load(place(program, EXECUTE)),
                               ir.PointerType(ir.FunctionType(ir.VoidType(), [word, word])))
    state = builder.call(save, [])
    builder.call(execute, [frame, program])
    builder.call(restore, [state])
    builder.ret(builder.call(number, [builder.load(place(frame, STATUS))]))

    machine = llvm.Target.from_default_triple().create_target_machine()
    return machine.emit_object(llvm.parse_assembly(str(module))), "funcgrad_enter"


# ---------------------------------------------------------------- a function for a signature


def call_for(executable: Any, avals: Sequence[ShapedArray], split: Callable | None, join: Callable | None) -> Callable | None:
    """A function of (args, kwargs) that runs a program if they are of these types, and returns None if not.

    ``split`` takes them apart, None if they are positional leaves; ``join`` makes the result of its leaves, None if it is one.
    None for a program whose results are not all computed by it, or that may need Python while it runs.
    """
    e = executable
    if not e.plain or not e.out_avals or e.hosts or e.can_fail or len(avals) + len(e.out_avals) > MOST:
        return None
    scope: dict[str, Any] = {
        "enter": e.enter, "frames": e.frames, "new_frame": e.frame, "D": DeviceArray, "new": object.__new__, "empty": np.empty,
        "pooled": memory.empty, "split": split, "join": join}
    xs = [f"x{i}" for i in range(len(avals))]
    if split is None:
        lines = [f"if kwargs or len(args) != {len(avals)}: return None", "leaves = args"]
    else:
        lines = ["leaves = split((args, kwargs))", "if leaves is None: return None"]
    if xs:
        lines.append(f"{', '.join(xs)}, = leaves")
        scope |= {f"A{i}": aval for i, aval in enumerate(avals)}
        tests = " and ".join([f"type({x}) is D and {x}._aval is A{i}" for i, x in enumerate(xs)])
        lines += ["try:", f"    if not ({tests}): return None", "except AttributeError: return None"]
    passed = []
    for i, (shape, dtype) in enumerate(e.shapes):
        scope |= {f"S{i}": shape, f"T{i}": dtype}
        lines.append(f"r{i} = {'pooled' if e.results[i].nbytes >= memory.POOLED else 'empty'}(S{i}, T{i})")
        passed.append(f"r{i}")
    lines += ["try: frame = frames.pop()", "except IndexError: frame = new_frame()",
              f"status = enter({', '.join(['frame.words', *[f'{x}._data' for x in xs], *passed])})"]
    ys = []
    for i, ((kind, (index, _), weak), aval) in enumerate(zip(e.outs, e.out_avals, strict=True)):
        scope[f"B{i}"] = aval
        value = f"frame.cells[{index}][()]" if kind == "cell" else f"r{index}"
        lines += [f"y{i} = new(D)", f"y{i}._data, y{i}._weak, y{i}._aval = {value}, {bool(weak)}, B{i}"]
        ys.append(f"y{i}")
    lines += ["frames.append(frame)", "if status: return None", f"return join([{', '.join(ys)}])" if join else "return y0"]
    text = "\n    ".join(["def call(args, kwargs):", *lines])
    exec(compile(text, "<call>", "exec"), scope)
    return scope.pop("call")  # which would hold itself
