"""Regions: kernels one after the other that do not need each other are one parallel loop.

In: a list of steps. Out: the same steps, of which some ``joins`` the one before them. The threads share the chunks of all
kernels of a region, so that thirty updates of parameters, none of which is worth a second thread, are shared out like one.

    m0 = 0.9 * m0 + g0;  m1 = 0.9 * m1 + g1;  ...    ->    one region, as many chunks as all of them have
"""
from __future__ import annotations

from collections.abc import Sequence

from funcgrad.compiler.codegen import CHUNK
from funcgrad.compiler.nodes import Plan, Step
from funcgrad.compiler.overwriting import touched_by
from funcgrad.compiler.view import Buffer, View

WORTH = 4 * CHUNK
"""The work, in additions, from which a region is worth threads; as for one kernel."""


def mark(steps: Sequence[Step]) -> None:
    """Finds the regions in a list of steps and in those inside of it."""
    region: list[Step] = []
    touched: set[Buffer] = set()
    written: set[Buffer] = set()
    for step in steps:
        if isinstance(step.kernel, Plan):
            for inside, _ in step.kernel.parts:
                mark(inside)
        mine, writes = touched_by(step), {v.buffer for v in step.writes if isinstance(v, View)}
        writes |= {home for b in writes for home in b.homes}
        if not _shared(step) or writes & touched or mine & written:
            _close(region)
            region, touched, written = [], set(), set()
        if _shared(step):
            region.append(step)
            touched |= mine
            written |= writes
    _close(region)


def _shared(step: Step) -> bool:
    """Whether threads can share a step with others: BLAS has threads of its own."""
    return step.kind == "kernel" and not step.kernel.calls_blas


def _close(region: Sequence[Step]) -> None:
    if sum([step.kernel.work for step in region]) > WORTH:
        for step in region[1:]:
            step.joins = True
