"""The schedule of a program for a GPU: what becomes of a cluster, a contraction, an operation with a kernel of its own.

In: a jaxpr after the passes. Out: a ``Schedule`` as for the processor, whose kernels are for teams of threads.

    CudaScheduler(jaxpr of softmax).run()    ->    Schedule with one kernel, a team of threads for each row
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from funcgrad.compiler.codegen import Kernel
from funcgrad.compiler.cuda import contraction, convolution
from funcgrad.compiler.cuda.natives import NATIVES, STRIDED, blocked_copy
from funcgrad.compiler.cuda.natives.scattering import unless_the_same
from funcgrad.compiler.cuda.writing import write_kernel
from funcgrad.compiler.expressions import expressible, stored
from funcgrad.compiler.nodes import Cluster, Node, Step, walk
from funcgrad.compiler.schedule import Scheduler
from funcgrad.compiler.view import whole
from funcgrad.core.jaxpr import Atom, Equation, Literal, Var
from funcgrad.core.types import Shape, shaped_array


class CudaScheduler(Scheduler):
    """Puts clusters in order and writes their steps for a GPU."""

    natives, strided, vectors = NATIVES, STRIDED, False
    blocked_copy = staticmethod(blocked_copy)

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.held: dict[Node, Var] = {}
        """Nodes that change the memory of one of their operands, and that operand."""

    def arranged(self, steps: list[Step]) -> list[Step]:
        """Kernels that do not need each other are not gathered: each fills the GPU."""
        for step, _, _ in walk(steps):
            if step.kind == "kernel":
                _unpromised(step.kernel)
        return _moving(steps)

    def write(self, cluster: Cluster, is_stored: Callable[[Var], bool]) -> Kernel:
        return write_kernel(cluster, self, is_stored)

    def expressible(self, equation: Equation) -> bool:
        """Functions of SciPy's machine code are not there: CuPy has their like."""
        return expressible(equation, without="scipy_")

    @functools.cached_property
    def reader(self) -> dict[Atom, Equation]:
        """The equation that reads a value, of those with one reader."""
        return {atom: equation for equation in self.jaxpr.equations for atom in equation.inputs if type(atom) is Var}

    def contract(self, equation: Equation) -> bool:
        return contraction.contract(self, equation)

    def native(self, equation: Equation) -> bool:
        """A convolution is several steps; other operations have a kernel of their own, or are CuPy's."""
        if equation.primitive.code.name in convolution.NAMES:
            return convolution.lower(self, equation)
        return super().native(equation)

    # ------------------------------------------------------------ kernels of their own

    def native_node(self, node: Node) -> None:
        """A node whose kernel may need others before it, and memory that holds what it changes."""
        for before in node.code.before:
            made = Var(before.result)
            inputs = tuple([node.inputs[i] for i in before.inputs])
            self.native_node(Node(inputs, (made,), "native", before.kernel, equation=node.equation))
            node.inputs = (*node.inputs, made)
        onto = node.code.onto
        if onto is not None:
            first = node.inputs[0] is onto
            self.held[node] = self.filled(onto, node.code.parts or node.out.aval.shape, node.out.aval.dtype)
            node.inputs = (self.held[node], *node.inputs[1:]) if first else (*node.inputs, self.held[node])
        super().native_node(node)

    def filled(self, source: Atom, shape: Shape, dtype: np.dtype) -> Var:
        """Memory that holds the values of an operand: its own, if nobody reads it later."""
        out = Var(shaped_array(shape, dtype))
        if type(source) is Literal or not self.views[source].contiguous:  # type: ignore[index]
            self.fuse(Node((source,), (out,), "map", "{0}"))
        else:
            self.alone(Node((source,), (out,), "native", unless_the_same(out.aval)))
        return out

    def place(self, node: Node) -> None:
        super().place(node)
        if node in self.held:
            self.views[node.out] = whole(self.views[self.held[node]].buffer, node.out.aval.shape)

    def native_step(self, node: Node) -> Step:
        """Rows for one thread do not depend on each other: each has a thread."""
        if node.code.team == 1:
            node.code = replace(node.code, chunk=1)
        return super().native_step(node)


def _moving(steps: list[Step]) -> list[Step]:
    """The steps without copies of what is where it should be, now that updates are in place."""
    for step in steps:
        if step.kind == "loop":
            step.kernel.parts = [(_moving(inside), result) for inside, result in step.kernel.parts]
    return [step for step in steps if not (step.kind == "kernel" and step.kernel.nodes[0].kind == "native"
            and step.kernel.nodes[0].code.overwrites is not None and step.reads[0].buffer is step.writes[0].buffer)]


def _unpromised(kernel: Kernel) -> None:
    """Withdraws the promise of alignment for operands that move, after an update took their memory."""
    for slot, view in enumerate(kernel.operands):
        if view.buffer.role == "moving":
            word = f"{stored(view.buffer.dtype)}(pointers, {slot})"
            kernel.source = kernel.source.replace(f"aligned_{word}", f"pointer_{word}")
