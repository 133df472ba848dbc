"""From a schedule to something that runs on the processor: machine code in the instruction table, and the call.

In: a jaxpr after the passes. Out: an ``Executable``, called with the arrays of the inputs. Everything that does not depend
on the call is computed once; a call passes the identities of the arrays to the native machine (``executor.py``) and runs
the host steps that it asks for.
"""
from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.compiler import blas, cpu, kernel, memory
from funcgrad.compiler.entry import HEAD_OF_FRAME, STATUS, entry
from funcgrad.compiler.image import GEMM, KERNEL, REGION, Image, buffer_of
from funcgrad.compiler.nodes import Step
from funcgrad.compiler.view import View
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Literal
from funcgrad.core.trace import EVAL, current
from funcgrad.core.types import ShapedArray
from funcgrad.errors import locate
from funcgrad.ops import callback


class Executable(Image):
    """A compiled program. Several threads may call it at once: each call has a frame of its own.

    ``donated`` are the numbers of the inputs whose memory results may take.
    """

    # ------------------------------------------------------------ building

    def assemble(self) -> None:
        """Writes the instruction table and what it refers to."""
        self.frames: list[_Frame] = []
        self.small = all(buffer.nbytes < memory.POOLED for buffer in self.results)
        self.shelves: set[kernel.Shelf] = set()
        """They keep the machine code of the kernels in memory."""
        self.most_operands = 4
        super().assemble()
        tables = [np.array(t or [0], np.int64) for t in (sum(self.instructions, []), self.operands, self.sizes)]
        head = [*[t.ctypes.data for t in tables], len(self.passed), id(np.ndarray), cpu.parallel_for(), cpu.worker(),
                *blas.thread_functions(), cpu.threads_address(), cpu.execute_address()]
        self.program = np.array(head, np.int64)
        self.tables = tables
        self.program_address = self.program.ctypes.data
        self.enter = entry(self.program)

    def steps(self, steps: Sequence[Step]) -> None:
        for i, step in enumerate(steps):
            if not step.joins:
                self.region([step, *itertools.takewhile(lambda s: s.joins, steps[i + 1:])])
            self.step(step)

    def region(self, steps: Sequence[Step]) -> None:
        """The instruction before the kernels of a region: how many there are, and how many chunks they have."""
        if len(steps) > 1:
            self.most_operands = max(self.most_operands, sum([len(step.kernel.operands) for step in steps]))
            self.instruction(REGION, len(steps), sum([step.kernel.chunks for step in steps]))

    def kernel(self, step: Step) -> None:
        k = step.kernel
        address, shelf = kernel.address(k.source)
        self.shelves.add(shelf)
        self.instruction(KERNEL, address, self.add_operands(k.operands), len(k.operands), len(self.sizes),
                         k.rows, k.chunk, k.calls_blas)
        self.sizes += k.sizes

    def gemm(self, step: Step) -> None:
        found, dtype = step.kernel, step.writes[0].buffer.dtype
        self.instruction(GEMM, blas.gemm(dtype), self.add_operands([*step.reads[:2], *step.writes]), 3, len(self.sizes),
                         found.matrices, 0 if found.shared else found.matrices)
        self.sizes += found.words(dtype)

    def add_operands(self, views: Sequence[View]) -> int:
        self.most_operands = max(self.most_operands, len(views))
        return super().add_operands(views)

    # ------------------------------------------------------------ running

    def __call__(self, args: Sequence[DeviceArray]) -> list[DeviceArray] | None:
        """Runs the program on its inputs. None: a kernel met an invalid operand."""
        return self.run(args, [x._data for x in args], ())

    def run(self, args: Sequence[DeviceArray], inputs: list[Any], given: Sequence[int]) -> list[DeviceArray] | None:
        """The same with the buffers of the inputs. Those with the numbers ``given`` may be written, if nobody else has them."""
        try:
            frame = self.frames.pop()
        except IndexError:
            frame = self.frame()
        if self.pairs:
            results = self.shared(inputs, given)
        else:
            results = [np.empty(shape, dtype) for shape, dtype in self.shapes] if self.small else \
                [memory.empty(shape, dtype) for shape, dtype in self.shapes]
        try:
            frame.run(self, inputs, results)
            if self.can_fail and frame.failed[0]:
                frame.failed[0] = 0
                callback.made.set(frame.effects)
                return None
            numbers = [cell[()] for cell in frame.cells]
        finally:
            self.frames.append(frame)
        if self.plain:
            places = {"result": results, "cell": numbers}
            return [_typed_array(places[kind][detail[0]], aval)
                    for (kind, detail, _), aval in zip(self.outs, self.out_avals, strict=True)]
        return [self.out(kind, detail, weak, args, results, numbers) for kind, detail, weak in self.outs]

    def frame(self) -> _Frame:
        """A new frame, for one call at a time."""
        return _Frame(self)

    def out(self, kind: str, detail: Any, weak: bool, args: Sequence[DeviceArray], results: list[np.ndarray],
            numbers: list[Any]) -> DeviceArray:
        """One result: memory that was written, an argument, or a value known before."""
        if kind == "value":
            return detail
        index, shape = detail
        if kind == "cell":
            return DeviceArray(numbers[index], weak)
        if kind == "result":
            return DeviceArray(results[index].reshape(shape) if shape else results[index].reshape(())[()], weak)
        x = args[index]
        return x if x.shape == shape and x._weak == weak else DeviceArray(x._data.reshape(shape), weak)


def _typed_array(data: Any, aval: ShapedArray) -> DeviceArray:
    """An array whose type need not be found again when it is passed to the next program."""
    array = DeviceArray(data, aval.weak_type)
    array._aval = aval
    return array


class _Frame:
    """What one call writes: the program counter, the addresses of buffers, room for operands, loop counters."""

    def __init__(self, executable: Executable):
        e = executable
        bases = HEAD_OF_FRAME + len(e.passed)
        pointers = bases + e.base_count
        counters = pointers + e.most_operands
        self.words = np.zeros(counters + e.counters, np.int64)
        self.address = self.words.ctypes.data
        self.bases = bases
        self.words[1:4] = bases, pointers, counters
        self.look = memoryview(self.words)
        self.failed = np.zeros(1, np.int64)
        self.words[bases + e.schedule.failure.index] = self.failed.ctypes.data
        self.constants = [np.ascontiguousarray(buffer_of(c)) for _, c in e.schedule.consts]
        for (buffer, _), c in zip(e.schedule.consts, self.constants, strict=True):
            self.words[bases + buffer.index] = c.ctypes.data
        self.owned = [np.empty((), b.dtype) for b in e.cells] + [np.empty(b.size, b.dtype) for b in e.owned[len(e.cells):]]
        self.cells = self.owned[:len(e.cells)]
        self.words[bases - len(e.owned):bases] = [id(x) for x in self.owned]

    def run(self, e: Executable, inputs: list[Any], results: list[np.ndarray]) -> None:
        """Runs the program."""
        if e.can_fail:
            self.failed[0] = 0  # a host step that raised may have left it set
            self.effects: list[tuple] = []
        status = e.enter(self.words, *inputs, *results)
        while status:
            if status > 0:
                if e.can_fail and self.failed[0]:
                    return  # the error comes before what the host would do next
                self.host(e, e.hosts[status - 1], inputs, results)
                cpu.execute()(self.address, e.program_address)
                status = self.look[STATUS]
            else:  # an input that is not in row-major order
                inputs[-status - 1] = inputs[-status - 1].copy()
                status = e.enter(self.words, *inputs, *results)

    def array(self, e: Executable, view: View, inputs: list[Any], results: list[np.ndarray]) -> np.ndarray:
        """A view as an ndarray."""
        buffer = view.buffer
        if buffer.role == "arena":
            at = e.offsets[buffer]
            arena = (*inputs, *results, *self.owned)[e.arena_base]
            flat = arena[at:at + buffer.nbytes].view(buffer.dtype)
        elif buffer.role == "moving":
            size = 1 + sum((n - 1) * abs(s) for n, s in zip(view.shape, view.strides, strict=True)) + view.offset
            address = int(self.words[self.bases + buffer.index])
            flat = np.frombuffer((ctypes.c_char * (size * buffer.dtype.itemsize)).from_address(address), np.uint8)
        elif buffer.role == "const":
            flat = self.constants[buffer.index - len(e.passed)].reshape(-1)
        else:
            flat = np.ascontiguousarray((*inputs, *results, *self.owned)[buffer.index]).reshape(-1)
        size = buffer.dtype.itemsize
        return np.ndarray(view.shape, buffer.dtype, buffer=flat, offset=view.offset * size,
                          strides=tuple([s * size for s in view.strides])) if flat.size else np.empty(view.shape, buffer.dtype)

    def host(self, e: Executable, step: Step, inputs: list[Any], results: list[np.ndarray]) -> None:
        """Runs an equation by its NumPy implementation and puts the results where the program expects them."""
        equation = step.equation
        primitive = equation.primitive
        args = [v.value if type(v) is Literal else self.array(e, v, inputs, results) for v in step.reads]
        try:
            if primitive.on_values:
                values = [DeviceArray(a if a.shape else a[()], atom.aval.weak_type) if isinstance(a, np.ndarray) else a
                          for a, atom in zip(args, equation.inputs, strict=True)]
                with current(EVAL):
                    outs = [x._data if isinstance(x, DeviceArray) else x for x in primitive.impl(*values, **equation.params)]
            else:
                args = [a if a.shape or not isinstance(a, np.ndarray) else a[()] for a in args]
                found = primitive.impl(np, *args, **equation.params)
                outs = list(found) if isinstance(found, tuple) else [found]
                if primitive.effect and e.can_fail:
                    self.effects.append(tuple(outs))
        except Exception as error:
            locate(error, equation.source)
            raise
        for view, out in zip(step.writes, outs, strict=True):
            self.array(e, view, inputs, results)[...] = out
