"""The schedule of a program for a GPU: what becomes of a cluster, a contraction, an operation with a kernel of its own.

In: a jaxpr after the passes. Out: a ``Schedule`` as for the processor, whose kernels are for teams of threads.

    CudaScheduler(jaxpr of softmax).run()    ->    Schedule with one kernel, a team of threads for each row
"""
from __future__ import annotations

from collections.abc import Callable

from funcgrad.compiler.codegen import Kernel
from funcgrad.compiler.cuda import contraction, convolution
from funcgrad.compiler.cuda.natives import NATIVES, STRIDED, blocked_copy
from funcgrad.compiler.cuda.writing import write_kernel
from funcgrad.compiler.expressions import expressible, stored
from funcgrad.compiler.nodes import Cluster, Step, walk
from funcgrad.compiler.schedule import Scheduler
from funcgrad.core.jaxpr import Equation, Var


class CudaScheduler(Scheduler):
    """Puts clusters in order and writes their steps for a GPU."""

    natives, strided = NATIVES, STRIDED
    blocked_copy = staticmethod(blocked_copy)

    def arranged(self, steps: list[Step]) -> list[Step]:
        """Kernels that do not need each other are not gathered: each fills the GPU."""
        for step, _, _ in walk(steps):
            if step.kind == "kernel":
                _unpromised(step.kernel)
        return steps

    def write(self, cluster: Cluster, is_stored: Callable[[Var], bool]) -> Kernel:
        return write_kernel(cluster, self, is_stored)

    def expressible(self, equation: Equation) -> bool:
        """Functions of SciPy's machine code are not there: CuPy has their like."""
        return expressible(equation, without="scipy_")

    def contract(self, equation: Equation) -> bool:
        return contraction.contract(self, equation)

    def native(self, equation: Equation) -> bool:
        """A convolution is several steps; other operations have a kernel of their own, or are CuPy's."""
        if equation.primitive.code.name in convolution.NAMES:
            return convolution.lower(self, equation)
        return super().native(equation)


def _unpromised(kernel: Kernel) -> None:
    """Withdraws the promise of alignment for operands that move, after an update took their memory."""
    for slot, view in enumerate(kernel.operands):
        if view.buffer.role == "moving":
            word = f"{stored(view.buffer.dtype)}(pointers, {slot})"
            kernel.source = kernel.source.replace(f"aligned_{word}", f"pointer_{word}")
