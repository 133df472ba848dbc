"""The compiler: a jaxpr becomes fused kernels behind one native call.

In: a jaxpr. Out: an ``Executable`` that is called with arrays. The stages are modules: ``schedule`` (which equations are
one kernel), ``codegen`` (its source), ``kernel`` (its machine code), ``program`` (the instruction table), ``executor`` (the
native machine that runs it).
"""
from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from funcgrad import passes
from funcgrad.compiler import cache, kernel, memory
from funcgrad.compiler.program import Executable
from funcgrad.core.array import CudaArray, DeviceArray, common_device, on_device
from funcgrad.core.device import Device
from funcgrad.core.jaxpr import Jaxpr, subjaxprs
from funcgrad.core.stage import interpret
from funcgrad.core.trace import Tracer, leaked
from funcgrad.errors import DeviceError, message
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


def executable(jaxpr: Jaxpr, donated: Sequence[int] = (), device: Device | None = None) -> Any:
    """The compiled form of a program for the processor, or for a GPU, which is kept with it.

    ``donated`` are the inputs whose memory results may take.
    """
    driver = None if device is None else driver_of(device)
    name = ("executable", driver, *donated)
    found = jaxpr.cache.get(name)
    if found is None:
        (hits, misses), compiling = cache.counts(), kernel.compile_seconds
        start = time.perf_counter()
        with memory.uncollected():
            program = passes.run(jaxpr)
        middle = time.perf_counter()
        found = Executable(program, donated) if driver is None else _for_gpu(program, donated, driver)
        compiling = kernel.compile_seconds - compiling
        now = cache.counts()
        found.making = Making(
            program if program is not jaxpr else jaxpr.replace(),  # which is not kept alive by what its own cache holds
            middle - start, time.perf_counter() - middle - compiling, compiling, now[0] - hits, now[1] - misses)
        jaxpr.cache[name] = found
    return found


def driver_of(device: Device) -> Any:
    """The driver of a GPU. What compiles for it is loaded now."""
    from funcgrad.compiler.cuda.driver import driver
    return driver(device.id)


def release(device: Device) -> None:
    """Lets go of the memory on a GPU that compiled programs keep for their next call."""
    loaded = sys.modules.get("funcgrad.compiler.cuda.driver")
    if loaded is not None and device.id in loaded.drivers:
        loaded.drivers[device.id].release()


def _for_gpu(program: Jaxpr, donated: Sequence[int], driver: Any) -> Any:
    from funcgrad.compiler.cuda.machine import CudaExecutable
    return CudaExecutable(program, donated, driver)


def home(jaxpr: Jaxpr) -> Device | None:
    """The GPU that has constants of a program, those of programs inside of it too; None if they are all on the host.

    Raises DeviceError if two have.
    """
    if "home" not in jaxpr.cache:
        found = {c.device for c in jaxpr.consts if type(c) is CudaArray}
        found |= {home(inside) for equation in jaxpr.equations for inside in subjaxprs(equation.params)} - {None}
        if len(found) > 1:
            raise DeviceError(message(f"{jaxpr.name}: its constants are on different devices", ", ".join(sorted(found)),
                                      "arrays on one device", "fg.device_put of those that the function closes over"))
        jaxpr.cache["home"] = found.pop() if found else None
    return jaxpr.cache["home"]


def run(jaxpr: Jaxpr, args: Sequence[Any]) -> list[DeviceArray]:
    """Runs a program on concrete values. An invalid operand, such as an index out of bounds, raises in the interpreter."""
    args = [x if type(x) is DeviceArray else _value(x) for x in args]
    device = common_device(args, jaxpr.name) or home(jaxpr)
    if device is not None:
        args = [on_gpu(x, device) for x in args]
    outs = executable(jaxpr, device=device)(args)
    return replay(jaxpr, args) if outs is None else outs


def on_gpu(x: DeviceArray, device: Device) -> DeviceArray:
    """An argument of a program on a GPU: an array there, or a number of the host."""
    if type(x) is CudaArray or x.shape:
        return on_device(x, device, "a compiled program")
    return x if isinstance(x._data, np.generic) else DeviceArray(x._data[()], x._weak)


def replay(jaxpr: Jaxpr, args: Sequence[DeviceArray]) -> NoReturn:
    """Raises the interpreter's error for a program in which a kernel met an invalid operand."""
    with callback.replaying(callback.made.get()):
        interpret(jaxpr, args)
    raise AssertionError(f"a kernel of {jaxpr.name} failed where the interpreter does not")


def _value(x: Any) -> DeviceArray:
    if isinstance(x, Tracer):
        raise leaked(x)
    return x if isinstance(x, DeviceArray) else DeviceArray(x)
