"""The compiler: a jaxpr becomes fused kernels behind one native call.

In: a jaxpr. Out: an ``Executable`` that is called with arrays. The stages are modules: ``schedule`` (which equations are
one kernel), ``codegen`` (its source), ``kernel`` (its machine code), ``program`` (the instruction table), ``executor`` (the
native machine that runs it).
"""
from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from funcgrad import passes
from funcgrad.compiler import cache, kernel, memory
from funcgrad.compiler.program import Executable
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.stage import interpret
from funcgrad.core.trace import Tracer, leaked
from funcgrad.ops import callback


@dataclass(frozen=True, slots=True)
class Making:
    """What it took to make a program executable. ``hits`` and ``misses`` are those of the cache on disk; a kernel that the
    process has already is neither. ``program`` is the jaxpr after the passes."""

    program: Jaxpr
    passes_seconds: float
    schedule_seconds: float
    compile_seconds: float
    hits: int
    misses: int


def executable(jaxpr: Jaxpr, donated: Sequence[int] = ()) -> Executable:
    """The compiled form of a program, which is kept with it; ``donated`` are the inputs whose memory results may take."""
    name = ("executable", *donated)
    found = jaxpr.cache.get(name)
    if found is None:
        (hits, misses), compiling = cache.counts(), kernel.compile_seconds
        start = time.perf_counter()
        with memory.uncollected():
            program = passes.run(jaxpr)
        middle = time.perf_counter()
        found = Executable(program, donated)
        compiling = kernel.compile_seconds - compiling
        now = cache.counts()
        found.making = Making(
            program if program is not jaxpr else jaxpr.replace(),  # which is not kept alive by what its own cache holds
            middle - start, time.perf_counter() - middle - compiling, compiling, now[0] - hits, now[1] - misses)
        jaxpr.cache[name] = found
    return found


def run(jaxpr: Jaxpr, args: Sequence[Any]) -> list[DeviceArray]:
    """Runs a program on concrete values. An invalid operand, such as an index out of bounds, raises in the interpreter."""
    args = [x if type(x) is DeviceArray else _value(x) for x in args]
    outs = executable(jaxpr)(args)
    return replay(jaxpr, args) if outs is None else outs


def replay(jaxpr: Jaxpr, args: Sequence[DeviceArray]) -> NoReturn:
    """Raises the interpreter's error for a program in which a kernel met an invalid operand."""
    with callback.replaying(callback.made.get()):
        interpret(jaxpr, args)
    raise AssertionError(f"a kernel of {jaxpr.name} failed where the interpreter does not")


def _value(x: Any) -> DeviceArray:
    if isinstance(x, Tracer):
        raise leaked(x)
    return DeviceArray(x)
