"""What a schedule is made of: nodes, the clusters that become kernels, and steps.

In: nothing. Out: records that ``fusion.py``, ``lowering.py`` and ``schedule.py`` fill.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from funcgrad.compiler.view import Buffer, View
from funcgrad.core.jaxpr import Atom, Equation, Literal, Var


@dataclass(eq=False, slots=True)
class Node:
    """One operation on values: an equation, or a part of one."""

    inputs: tuple[Atom, ...]
    outs: tuple[Var, ...]
    kind: str  # "map", "reduce", "together" (operands that are parts of the result), or a step: "gemm", "host", "loop" ...
    code: Any = None
    axes: tuple[int, ...] = ()
    """The axes that a reduction reduces."""
    equation: Equation | None = None
    number: int = 0
    cluster: Any = None
    names: tuple[int | None, ...] = ()
    """The axis of the cluster for each axis of a reduction's operand."""
    within: bool = False
    stage: int = 0

    def copied(self, cluster: Cluster) -> Node:
        """The same operation in another kernel."""
        return Node(self.inputs, self.outs, self.kind, self.code, self.axes, self.equation, self.number, cluster)

    @property
    def out(self) -> Var:
        return self.outs[0]


class Cluster:
    """Nodes that become one step: a kernel, or (not ``fused``) a single node that is a step of its own.

    An axis is a number; ``sizes`` says how long it is, or whose chunks it counts. ``reach`` has a bit for each cluster
    that this one waits for. ``closed`` values are complete only after the step: partial results of reductions.
    """

    def __init__(self, number: int, sizes: Sequence[Any], fused: bool = True):
        self.number = number
        self.fused = fused
        self.sizes = list(sizes)
        self.inner: frozenset[int] | None = None
        self.nodes: list[Node] = []
        self.axes: dict[Var, tuple[int | None, ...]] = {}
        self.reads: dict[Var, tuple[int | None, ...]] = {}
        """Values from memory that it reads as a whole, and their axes."""
        self.closed: set[Var] = set()
        self.copies: set[Var] = set()
        """Values that another cluster computes, and stores if need be."""
        self.reach = 0
        self.kernel: Any = None
        self.after: Cluster | None = None
        """A step that comes before this one, although it gives it nothing."""

    @property
    def every(self) -> frozenset[int]:
        return frozenset(range(len(self.sizes)))

    @property
    def outer(self) -> frozenset[int]:
        return self.every - (self.inner or frozenset())


@dataclass(eq=False, slots=True)
class Step:
    """One instruction's worth of work. ``reads`` and ``writes`` are views; what ``joins`` runs along with the step before."""

    kind: str
    reads: list[View]
    writes: list[View]
    kernel: Any = None
    equation: Equation | None = None
    joins: bool = False


@dataclass(eq=False, slots=True)
class Plan:
    """The steps inside of a loop or choice.

    ``parts`` are lists of steps with the view of a result, if the loop looks at it. ``moves`` say that a buffer is a slice of
    a view, and how many elements further each slice is. ``pairs`` of buffers change places after each step.
    """

    kind: str
    parts: list[tuple[list[Step], View | None]]
    moves: list[tuple[Buffer, View, int]]
    pairs: list[tuple[Buffer, Buffer]]
    length: int = -1
    reverse: bool = False


@dataclass(eq=False)
class Schedule:
    inputs: list[Buffer]
    consts: list[tuple[Buffer, Any]]
    outs: list[View | Literal]
    failure: Buffer
    steps: list[Step] = field(default_factory=list)


def walk(steps: Sequence[Step], number: str = "", times: int = 1) -> Iterator[tuple[Step, str, int]]:
    """All steps, those inside of loops and choices too, with their numbers and how often they run (a while loop: once)."""
    for i, step in enumerate(steps, 1):
        yield step, f"{number}{i}", times
        if isinstance(step.kernel, Plan):
            inside = times * max(step.kernel.length, 1) if step.kernel.kind == "loop" else times
            for j, (part, _) in enumerate(step.kernel.parts):
                letter = "abcdefghijklmnopqrstuvwxyz"[j % 26] if len(step.kernel.parts) > 1 else ""
                yield from walk(part, f"{number}{i}{letter}.", inside)
