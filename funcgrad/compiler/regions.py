"""Regions: kernels that do not need each other are one parallel loop.

In: a list of steps. Out: the same steps, of which some ``joins`` the one before them. The threads share the chunks of all
kernels of a region, so that thirty updates of parameters, none of which is worth a second thread, are shared out like one.

    m0 = 0.9 * m0 + g0;  m1 = 0.9 * m1 + g1;  ...    ->    one region, as many chunks as all of them have

A region ends at a step that needs it; one of little work, such as the end of a sum, waits until the region is full instead.
"""
from __future__ import annotations

from collections.abc import Sequence

from funcgrad.compiler.codegen import CHUNK
from funcgrad.compiler.nodes import Plan, Step
from funcgrad.compiler.overwriting import touched_by
from funcgrad.compiler.view import Buffer, View

WORTH = 4 * CHUNK
"""The work, in additions, from which a region is worth threads; as for one kernel."""
LITTLE = 1 << 12
"""The work up to which a step waits for a region to be full."""


def arranged(steps: Sequence[Step]) -> list[Step]:
    """A list of steps with its regions, and those of the lists inside of it."""
    found: list[Step] = []
    region = _Region()
    for step in steps:
        if isinstance(step.kernel, Plan):
            step.kernel.parts = [(arranged(inside), result) for inside, result in step.kernel.parts]
        if not region.takes(step):
            found += region.steps()
            region = _Region()
            region.takes(step)
    return found + region.steps()


def _shared(step: Step) -> bool:
    """Whether threads can share a step with others: BLAS has threads of its own."""
    return step.kind == "kernel" and not step.kernel.calls_blas


class _Uses:
    """Steps, and the buffers that they read or write."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.touched: set[Buffer] = set()
        self.written: set[Buffer] = set()

    def add(self, step: Step, touched: set[Buffer], written: set[Buffer]) -> None:
        self.steps.append(step)
        self.touched |= touched
        self.written |= written

    def frees(self, touched: set[Buffer], written: set[Buffer]) -> bool:
        """Whether a step that uses these buffers may come before them or after them."""
        return not (written & self.touched or touched & self.written)


class _Region:
    """Kernels that run at one time, and steps that ``wait`` for them."""

    def __init__(self) -> None:
        self.all: list[Step] = []
        self.together, self.waiting = _Uses(), _Uses()
        self.open = False

    def takes(self, step: Step) -> bool:
        """Adds a step, if it need not come after the region."""
        if not self.all:
            self.open = _shared(step)
        elif not (self.open and _shared(step)):
            return False
        touched, written = touched_by(step), {v.buffer for v in step.writes if isinstance(v, View)}
        written |= {home for b in written for home in b.homes}
        if self.together.frees(touched, written) and self.waiting.frees(touched, written):
            self.together.add(step, touched, written)
        elif step.kernel.work <= LITTLE:
            self.waiting.add(step, touched, written)
        else:
            return False
        self.all.append(step)
        return True

    def steps(self) -> list[Step]:
        """All steps in their order."""
        kernels = self.together.steps
        if len(kernels) < 2 or sum([step.kernel.work for step in kernels]) <= WORTH:
            return self.all
        for step in kernels[1:]:
            step.joins = True
        return [*kernels, *self.waiting.steps]
