"""From which step to which each buffer of a program is needed, so that others may have its place before and after.

In: the steps of a schedule. Out: for each buffer of the arena its first and its last position, where positions count the
steps in the order in which they stand, those inside of loops included, and those of a region as one.
"""
from __future__ import annotations

from collections.abc import Sequence

from funcgrad.compiler.nodes import Plan, Step
from funcgrad.compiler.view import Buffer, View

Spans = dict[Buffer, list[int]]


class Lifetimes:
    """``spans`` of the arena's buffers, and the buffers that are ``moving``."""

    def __init__(self, steps: Sequence[Step]):
        self.spans: Spans = {}
        self.moving: dict[Buffer, None] = {}
        self.failing = False
        self.position = 0
        self.walk(steps, self.spans)

    def touch(self, buffer: Buffer, spans: Spans) -> None:
        if buffer.role == "moving":
            self.moving.setdefault(buffer)
            for home in buffer.homes:
                self.touch(home, spans)
        elif buffer.role == "arena":
            spans.setdefault(buffer, [self.position, self.position])[1] = self.position
        elif buffer.role == "failure":
            self.failing = True

    def walk(self, steps: Sequence[Step], spans: Spans) -> None:
        for step in steps:
            self.position += not step.joins
            for view in (*step.reads, *step.writes):
                if isinstance(view, View):
                    self.touch(view.buffer, spans)
            if isinstance(step.kernel, Plan):
                self.inside(step.kernel, spans)

    def inside(self, plan: Plan, spans: Spans) -> None:
        """What a loop uses that is used outside too, or keeps from step to step, is needed until the loop ends."""
        start = self.position
        own: Spans = {}
        self.moving.update(dict.fromkeys([*[b for pair in plan.pairs for b in pair], *[b for b, _, _ in plan.moves]]))
        for steps, result in plan.parts:
            self.walk(steps, own)
            if result is not None:
                self.position += 1
                self.touch(result.buffer, own)
        self.position += 1
        kept = {home for pair in plan.pairs for b in pair for home in b.homes}
        kept |= {view.buffer for _, view, _ in plan.moves if view.buffer.role == "arena"}
        for buffer in kept:
            own[buffer] = [start, self.position]
        for buffer, (first, last) in own.items():
            if buffer in spans:
                first, last = start, self.position
            span = spans.setdefault(buffer, [first, last])
            span[0], span[1] = min(span[0], first), max(span[1], last)
        for _, view, _ in plan.moves:  # a slice of what moves itself
            self.touch(view.buffer, spans)
