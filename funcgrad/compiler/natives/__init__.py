"""Hand-shaped kernels: operations whose loop is no map and no reduction, such as gathers and running sums.

In: an equation. Out: a ``NativeKernel``, or None where its types or sizes are better left to the host. Inputs are
row-major; operand slots are the inputs in their order (literals are left out), the results, the scratch buffers, and, if the
kernel can fail, an int64 that it sets to 1: the program is then replayed by the interpreter, whose error is the user's.

    NATIVES["cumulative"](equation)    ->    NativeKernel(source, sizes, rows, chunk)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from funcgrad.compiler.view import View
from funcgrad.core.jaxpr import Atom, Equation
from funcgrad.core.types import ShapedArray


@dataclass(frozen=True, slots=True)
class NativeKernel:
    """The source of a kernel, and what one call passes: sizes, rows, and the rows that one thread takes at a time.

    ``chunk`` may depend on sizes, never on the number of threads. ``scratch`` lists (dtype, elements) of extra memory.
    ``overwrites`` is the slot of an operand whose memory may be that of the first result too: the kernel looks whether it is.
    A builder that is given views may ask for some inputs in row-major order all the same: ``row_major`` has their positions.
    With ``parts``, a shape, the kernel writes parts of its result along the first axis, over which they are to be added; then
    ``order`` brings the other axes to their places. ``team`` threads run a chunk together, on a GPU,
    where a kernel may need others ``before`` it, and may change memory that holds the values of ``onto`` already.
    """

    source: str
    sizes: list[int]
    rows: int
    chunk: int
    scratch: tuple[tuple[np.dtype, int], ...] = ()
    can_fail: bool = False
    overwrites: int | None = None
    row_major: tuple[int, ...] = ()
    parts: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None
    calls_blas: bool = False
    team: int = 1
    before: tuple[Before, ...] = ()
    onto: Atom | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """A kernel that runs first. Its inputs are some of those there are; its result is one more input of all that follow."""

    kernel: NativeKernel
    inputs: tuple[int, ...]
    result: ShapedArray


NATIVES: dict[str, Callable[[Equation], NativeKernel | None]] = {}
"""Builders by the name that a primitive's ``Native`` code gives."""
STRIDED: dict[str, Callable[[Equation, Sequence[View | None]], NativeKernel | None]] = {}
"""Builders of kernels that read strided operands: they are given the views of the inputs too, None for a literal."""

from funcgrad.compiler.natives import (  # noqa: E402, F401  they register themselves
    convolving,
    cumulative,
    indexing,
    joining,
    lapack,
    pooling,
    positions,
    random,
    scattering,
    search,
    sorting,
    systems,
)
