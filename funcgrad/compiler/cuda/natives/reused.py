"""Kernels of the processor whose rows suit the threads of a GPU as they are: a row is little work, and depends on no other one.

In: an equation. Out: the processor's kernel, which has a thread for each row; None where it would call BLAS or LAPACK.
"""
from __future__ import annotations

from collections.abc import Callable

from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.systems import SMALL
from funcgrad.core.jaxpr import Equation

MOST_COLUMNS = 64
"""Right-hand sides that one thread solves for."""
Builder = Callable[[Equation], NativeKernel | None]


def small_matrices(builder: Builder) -> Builder:
    """The same for matrices that the kernel's own loops treat, with few columns; others are a step of CuPy's."""
    def build(equation: Equation) -> NativeKernel | None:
        matrix, columns = equation.inputs[0].aval.shape, equation.inputs[-1].aval.shape[-1]
        return builder(equation) if max(matrix[-2:]) <= SMALL and columns <= MOST_COLUMNS else None

    return build
