"""The machine that runs a program on a GPU: an instruction table, walked by the host, whose stretches are launched as one.

In: a jaxpr after the passes, and a device. Out: a ``CudaExecutable``, called with arrays there. Kernels find their operands in
tables in device memory, so what is launched does not depend on where the arguments of a call are. A call

    writes the addresses of its inputs, results and arena into the table of bases           one small copy
    resolves the address of every operand                                                   a kernel
    runs the kernels and products; loops move and swap bases, and resolve what moved        a kernel for each iteration

A *stretch* is what is launched between two places where the host has to look: a host step, the condition of a while loop, a
choice, the end. Counted loops within are unrolled up to a number of launches. A stretch that is met for the second time is
captured as a CUDA graph, and launched as that from then on. Products are given addresses, so a graph is for the bases that its
products use; inputs and results whose places keep changing are brought to a place of the frame's own. Everything is put on
CuPy's current stream, in order, and nothing waits but what reads a condition or whether a kernel failed.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.cuda.driver import Driver
from funcgrad.compiler.cuda.frame import Frame, Way
from funcgrad.compiler.cuda.image import CudaImage
from funcgrad.core.array import CudaArray, DeviceArray
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.dtypes import PYTHON_SCALARS
from funcgrad.ops import callback

STREAMS = 8
"""Streams whose frames are kept."""
STAGED = 1 << 24
"""Bytes up to which what keeps changing its place gets one in each frame, and is copied; what is longer takes a GPU longer than
it takes the host to launch kernels one by one."""


class CudaExecutable(CudaImage):
    """A program compiled for one GPU. Several threads may call it at once: each call has a frame of its own."""

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[int], driver: Driver):
        self.driver = self.memory = driver
        self.frames: OrderedDict[Any, list[Frame]] = OrderedDict()
        """By the stream that they were used on, which orders one call after the other."""
        self.ways: dict[tuple[int, int], Way] = {}
        self.staged: dict[int, int] = {}
        """The bases of inputs and results that have places in each frame, and their sizes in bytes."""
        self.in_avals = jaxpr.in_avals
        driver.run(super().__init__, jaxpr, donated)
        driver.executables.add(self)
        driver.run(driver.finish)  # tables and constants are read on any stream

    # ------------------------------------------------------------ running

    def __call__(self, args: Sequence[DeviceArray]) -> list[DeviceArray] | None:
        """Runs the program; its inputs are on the device, but for those without axes. None: a kernel met an invalid operand."""
        return self.run(args, [x._data for x in args], ())

    def run(self, args: Sequence[DeviceArray], inputs: list[Any], given: Sequence[int]) -> list[DeviceArray] | None:
        """The same with the buffers of the inputs. Those with the numbers ``given`` may be written, if nobody else has them."""
        return self.driver.run(self.issue, args, inputs, given)

    def issue(self, args: Sequence[DeviceArray], inputs: list[Any], given: Sequence[int]) -> list[DeviceArray] | None:
        results = self.shared(inputs, given) if self.pairs else None
        found, finished = self.launched([x if isinstance(x, np.generic) else x.data.ptr for x in inputs], results)
        if not finished:
            return None
        return [self.out(kind, detail, aval, args, inputs, found)
                for (kind, detail, _), aval in zip(self.outs, self.out_avals, strict=True)]

    def launched(self, inputs: list[Any], results: list[Any] | None) -> tuple[list[Any], bool]:
        """Puts a call on the stream: the memory of the results, and whether no kernel met an invalid operand.

        ``inputs`` are addresses, or numbers of NumPy's for inputs without axes; ``results`` has memory for the results, if
        there is any yet.
        """
        stream = self.driver.stream()
        order = self.driver.order(stream)
        frames = self.frames.get(order)
        if frames is None:
            frames = self.frames[order] = []
            if len(self.frames) > STREAMS:
                self.frames.popitem(last=False)
        try:
            results, frame = self.room(stream, frames, results)
        except self.driver.out_of_memory:
            self.driver.release()
            results, frame = self.room(stream, frames, results)
        try:
            frame.run(inputs + [x.data.ptr for x in results])
            if self.can_fail and frame.failed():
                callback.made.set(frame.effects)
                return results, False
        finally:
            frames.append(frame)
        return results, True

    def room(self, stream: int, frames: list[Frame], results: list[Any] | None) -> tuple[list[Any], Frame]:
        """Memory for the results of a call, and a frame that nobody uses."""
        if results is None:
            empty = self.driver.empty
            results = [empty(shape, dtype) for shape, dtype in self.shapes]
        try:
            return results, frames.pop()
        except IndexError:
            return results, Frame(self, stream)

    def out(self, kind: str, detail: Any, aval: ShapedArray, args: Sequence[DeviceArray], inputs: list[Any],
            results: list[Any]) -> DeviceArray:
        """One result: memory that was written, an argument, or a value known before."""
        if kind == "value":
            return detail
        index, shape = detail
        if kind == "input":
            x = args[index]
            if type(x) is CudaArray and x.shape == shape and x._weak == aval.weak_type:
                return x
        data = results[index] if kind == "result" else self.driver.put(inputs[index])
        return _typed_array(data if data.shape == shape else data.reshape(shape), aval)

    def stage(self, bases: Sequence[int], before: Sequence[int], now: Sequence[int]) -> None:
        """Notes which of some bases change their places from call to call, and from now on have a place in each frame."""
        donated = {pair.input for pair in self.pairs} | {pair.result.index for pair in self.pairs}
        passed = len(self.passed) - len(self.owned)
        for i, a, b in zip(bases, before, now, strict=True):
            if a != b and i < passed and i != self.arena_base and i not in donated and self.passed[i].nbytes <= STAGED:
                self.staged[i] = self.passed[i].nbytes

    def call_for(self, avals: Sequence[ShapedArray], split: Callable | None, join: Callable) -> Callable | None:
        """A function of (args, kwargs) that runs the program if they are of these types, and returns None if not.

        ``split`` takes them apart, None if they are positional leaves; ``join`` makes the result of its leaves.
        """
        if not self.plain or self.hosts or self.can_fail or self.pairs:
            return None
        driver, number, launched = self.driver, self.driver.number, self.launched
        places = [(detail[0], self.shapes[detail[0]][0] != detail[1], aval)
                  for (_, detail, _), aval in zip(self.outs, self.out_avals, strict=True)]

        def call(args: tuple, kwargs: dict) -> Any:
            if split is not None:
                args = split((args, kwargs))
            elif kwargs or len(args) != len(avals):
                return None
            if args is None or driver.number_now() != number:
                return None
            inputs: list[Any] = []
            for x, aval in zip(args, avals, strict=True):
                kind = type(x)
                if kind is CudaArray and x.aval is aval:
                    pointer = x._data.data
                    if pointer.device_id != number:
                        return None
                    inputs.append(pointer.ptr)
                elif kind in SCALARS and SCALARS[kind][1] is aval:
                    inputs.append(SCALARS[kind][0](x))
                else:
                    return None
            try:
                results, _ = launched(inputs, None)
            except Exception as error:
                driver.raise_explained(error)
            return join([_typed_array(results[i].reshape(aval.shape) if other else results[i], aval)
                         for i, other, aval in places])

        return call


SCALARS = {kind: (dtype.type, shaped_array((), dtype, True)) for kind, dtype in PYTHON_SCALARS.items()}
"""What makes an element of a number of Python's, and its type."""


def _typed_array(data: Any, aval: ShapedArray) -> CudaArray:
    """An array over memory of CuPy's pool, whose type need not be found again."""
    array: CudaArray = object.__new__(CudaArray)
    array._data, array._weak, array._aval = data, aval.weak_type, aval
    return array
