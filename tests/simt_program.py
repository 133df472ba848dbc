"""Whole programs in the simulator: the steps of a schedule, in their order, on arrays of this process.

In: a jaxpr and its arguments. Out: the results as arrays. Kernels are simulated, products are NumPy's, host steps are the
implementations of their primitives, loops move the places of buffers as the machine does. Every buffer has memory of its own,
which nobody may read before it is written; inputs must not be written.

    run_schedule(jaxpr of softmax, [x])    ->    [softmax of x]
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from fake_cublas import FakeCublas
from simt import KernelError, Memory, simulate

from funcgrad import passes
from funcgrad.compiler.cuda.contraction import Gemm, launch, record
from funcgrad.compiler.nodes import Plan, Step
from funcgrad.compiler.program import buffer_of
from funcgrad.compiler.schedule import schedule
from funcgrad.compiler.view import Buffer, View
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Jaxpr, Literal
from funcgrad.core.trace import EVAL, current


def run_schedule(jaxpr: Jaxpr, args: Sequence[Any], target: str = "cuda", watch: bool = True) -> list[np.ndarray]:
    """The results of a program. An invalid operand, such as an index out of bounds, is a ``KernelError``."""
    return Program(schedule(passes.run(jaxpr), target), watch, target == "cpu").run(args)


class Program:
    """A schedule that can be run once."""

    def __init__(self, plan: Any, watch: bool = True, processor: bool = False):
        self.plan, self.memory, self.processor = plan, Memory(watch), processor
        self.bases: dict[Buffer, int] = {}
        self.kept: list[np.ndarray] = []

    def run(self, args: Sequence[Any]) -> list[np.ndarray]:
        plan = self.plan
        for i, (buffer, x) in enumerate(zip(plan.inputs, args, strict=True)):
            self.place(buffer, self.given(x, buffer.dtype), f"input {i}")
        for i, (buffer, x) in enumerate(plan.consts):
            self.place(buffer, self.given(buffer_of(x), buffer.dtype), f"constant {i}")
        self.failed = np.zeros(1, np.int64)
        self.place(plan.failure, self.failed, "the failure flag")
        self.steps(plan.steps)
        return [np.asarray(out.value) if type(out) is Literal else self.read(out).copy() for out in plan.outs]

    # ------------------------------------------------------------ memory

    def given(self, x: Any, dtype: np.dtype) -> np.ndarray:
        """A copy that nobody may write."""
        x = np.array(buffer_of(x), dtype, order="C")
        x.flags.writeable = False
        return x

    def place(self, buffer: Buffer, array: np.ndarray, name: str, written: bool = True) -> None:
        self.kept.append(array)
        self.bases[buffer] = self.memory.add(array, written, name)

    def address(self, view: View) -> int:
        base = self.bases.get(view.buffer)
        if base is None:
            buffer = view.buffer
            if buffer.role == "moving":
                raise KernelError("a buffer that moves has no place yet")
            array = np.frombuffer(bytearray(b"\xa5" * max(buffer.nbytes, 16)), np.uint8)[:buffer.nbytes]
            self.place(buffer, array, f"buffer {len(self.bases)} of {buffer.size} {buffer.dtype}", False)
            base = self.bases[buffer]
        return base + view.offset * view.buffer.dtype.itemsize

    def read(self, view: View, write: bool = False) -> np.ndarray:
        size = view.buffer.dtype.itemsize
        address = self.address(view)
        return self.memory.view(address, view.buffer.dtype, view.shape, [s * size for s in view.strides], write)

    # ------------------------------------------------------------ steps

    def steps(self, steps: Sequence[Step]) -> None:
        for step in steps:
            getattr(self, step.kind)(step)

    def kernel(self, step: Step) -> None:
        k = step.kernel
        try:
            simulate(k.source, self.memory, [self.address(v) for v in k.operands], k.sizes, k.rows, k.chunk, k.team,
                     processor=self.processor)
        except KernelError as error:
            error.args = (f"{error}\nin the kernel of {k.rows} rows in chunks of {k.chunk}, sizes {k.sizes}\n{k.source}",)
            raise
        if self.failed[0]:
            raise KernelError("a kernel met an invalid operand")

    def gemm(self, step: Step) -> None:
        """Each matrix of the batch. Reads are rhs and lhs in this order, as BLAS has them; strides of the batch are in bytes."""
        p, views = step.kernel, (*step.reads[:2], *step.writes)
        b, a, c = [self.address(v) for v in views]
        if isinstance(p, Gemm):
            launch(FakeCublas(self.memory.view), 0, record(step), b, a, c)
            return
        dtype = views[2].buffer.dtype
        for i in range(p.matrices):
            m, n = [p.last[1] if p.last[0] == axis and i == p.matrices - 1 else whole for axis, whole in (("m", p.m), ("n", p.n))]
            outer, inner = divmod(i, p.batch[1])
            at = [outer * p.strides[2 * k] + inner * p.strides[2 * k + 1] for k in range(3)]
            product = self.matrix(a + at[1], dtype, (m, p.k), *p.lhs) @ self.matrix(b + at[0], dtype, (p.k, n), *p.rhs)
            if p.onto:
                product = product + self.matrix(c + at[2], dtype, (m, n), "N", p.row)
            self.matrix(c + at[2], dtype, (m, n), "N", p.row, True)[...] = product

    def matrix(self, address: int, dtype: np.dtype, shape: tuple[int, int], flag: str, row: int, write: bool = False) -> np.ndarray:
        """A matrix whose rows, or with the flag T whose columns, are ``row`` elements apart."""
        strides = (row, 1) if flag == "N" else (1, row)
        return self.memory.view(address, dtype, shape, [s * dtype.itemsize for s in strides], write)

    def host(self, step: Step) -> None:
        equation, primitive = step.equation, step.equation.primitive
        args = [v.value if type(v) is Literal else self.read(v).copy() for v in step.reads]
        args = [a[()] if isinstance(a, np.ndarray) and not a.shape else a for a in args]
        if primitive.on_values:
            values = [DeviceArray(a, atom.aval.weak_type) for a, atom in zip(args, equation.inputs, strict=True)]
            with current(EVAL):
                outs = [buffer_of(x) for x in primitive.impl(*values, **equation.params)]
        else:
            found = primitive.impl(np, *args, **equation.params)
            outs = list(found) if isinstance(found, tuple) else [found]
        for view, out in zip(step.writes, outs, strict=True):
            self.read(view, True)[...] = out

    def loop(self, step: Step) -> None:
        plan = step.kernel
        if plan.kind == "choice":
            self.move(plan, 0)
            index = int(self.read(View(step.reads[0].buffer, (1,), (1,), step.reads[0].offset))[0])
            self.steps(plan.parts[min(max(index, 0), len(plan.parts) - 1)][0])
            return
        for pair in plan.pairs:
            for buffer, home in zip(pair, pair[0].homes, strict=True):
                self.bases[buffer] = self.address(View(home, (home.size,), (1,)))
        if plan.kind == "loop":
            (steps, _), = plan.parts
            for i in range(plan.length):
                self.move(plan, plan.length - 1 - i if plan.reverse else i)
                self.steps(steps)
                self.swap(plan)
            return
        (condition, going), (steps, _) = plan.parts
        while True:
            self.steps(condition)
            if not self.read(going).reshape(-1)[0]:
                return
            self.steps(steps)
            self.swap(plan)

    def move(self, plan: Plan, index: int) -> None:
        """Places buffers at a slice of others."""
        for buffer, view, step in plan.moves:
            self.bases[buffer] = self.address(view) + step * view.buffer.dtype.itemsize * index

    def swap(self, plan: Plan) -> None:
        for a, b in plan.pairs:
            self.bases[a], self.bases[b] = self.bases[b], self.bases[a]
