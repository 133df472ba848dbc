"""Values computed again where they are needed, instead of being written to memory and read back.

In: the clusters of a schedule. Out: the same clusters, some with nodes of others added. A kernel that needs several cheap
values of an earlier one, such as the derivatives that a backward kernel needs, often moves fewer bytes when it reads what
those were computed from.

    forward:  m = x > 0; y = select(m, x, 0)        backward:  reads x, which is in memory anyway, not m
"""
from __future__ import annotations

from typing import Any

from funcgrad.compiler.codegen import text_of
from funcgrad.compiler.expressions import EXPENSIVE, cost
from funcgrad.core.jaxpr import Literal, Var

MOST = 32
"""Nodes that one kernel takes over from others."""


def recompute(scheduler: Any, kept: set[Var]) -> None:
    """Adds copies of cheap nodes to the clusters that need them; ``kept`` values are in memory in any case."""
    kept = kept | {scheduler.base(a) for c in scheduler.clusters if not c.fused for node in c.nodes for a in node.inputs
                   if type(a) is not Literal}
    for cluster in scheduler.clusters:
        if cluster.fused and cluster.nodes:
            _Taker(scheduler, cluster, kept).take()


class _Taker:
    def __init__(self, scheduler: Any, cluster: Any, kept: set[Var]):
        self.scheduler, self.cluster, self.kept = scheduler, cluster, kept
        self.read = {a for node in cluster.nodes for a in node.inputs
                     if type(a) is not Literal and not scheduler.inside(cluster, a)}

    def take(self) -> None:
        needed: dict[Var, tuple[int | None, ...]] = {}
        clashing: set[Var] = set()
        for node in self.cluster.nodes:
            for atom in node.inputs:
                if atom in self.read:
                    v, names = self.scheduler.base(atom), self.cluster.axes[node.out] if node.kind == "map" else node.names
                    axes = self.scheduler.base_axes(atom, names)
                    if axes is None or needed.setdefault(v, axes) != axes or self.node_of(v) is None:
                        clashing.add(v)
        wanted = {v: axes for v, axes in needed.items() if v not in clashing and self.scheduler.fits(self.cluster, axes)}
        together = self.expansion(wanted)
        if together is not None and self.worth(wanted, together):
            self.add(together)
            return
        for v, axes in wanted.items():
            alone = self.expansion({v: axes})
            if alone is not None and self.worth({v: axes}, alone):
                self.add(alone)

    def node_of(self, v: Var) -> Any:
        """The node that computes a value in another kernel, if it is cheap to compute again."""
        node = self.scheduler.producer.get(v)
        if node is None or node.kind != "map" or not node.cluster.fused or node.cluster is self.cluster or node.out is not v:
            return None
        return node if cost(text_of(node, ["v"] * len(node.inputs))) < EXPENSIVE else None

    def expansion(self, wanted: dict[Var, tuple]) -> tuple[dict[Var, tuple], set[Any]] | None:
        """The values to compute again with their axes, and what is read for that; None if it is too much."""
        taken: dict[Var, tuple] = {}
        leaves: set[Any] = set()
        stack = list(wanted.items())
        while stack:
            v, axes = stack.pop()
            if taken.get(v, axes) != axes:
                return None
            if v in taken or v in self.cluster.axes:
                continue
            taken[v] = axes
            node = self.node_of(v)
            if len(taken) > MOST:
                return None
            for atom in node.inputs:
                if type(atom) is Literal:
                    continue
                base = self.scheduler.base(atom)
                deeper = self.node_of(base) if self.scheduler.inside(node.cluster, atom) else None
                full = [a for a in axes if a is not None]
                if deeper is None or base in self.kept or len(deeper.out.aval.shape) != len(axes) or not full \
                        or deeper.out.aval.shape != v.aval.shape:
                    leaves.add(atom)
                    continue
                dims = self.scheduler.dims(atom)
                if dims != tuple(range(len(axes))):
                    leaves.add(atom)
                    continue
                stack.append((base, axes))
        return (taken, leaves) if self.agrees(taken) else None

    def agrees(self, taken: dict[Var, tuple]) -> bool:
        """Whether all nodes, those taken included, read each value of the cluster along the axes that the value has there.

        They do not where a matrix meets its own transpose.
        """
        cluster, axes = self.cluster, {**self.cluster.axes, **taken}
        nodes = [(node, axes[node.out] if node.kind == "map" else node.names) for node in cluster.nodes]
        nodes += [(self.node_of(v), names) for v, names in taken.items()]
        return not any(self.scheduler.base_axes(atom, names) != axes[self.scheduler.base(atom)]
                       for node, names in nodes for atom in node.inputs if type(atom) is not Literal
                       and self.scheduler.base(atom) in axes and self.scheduler.base(atom) not in cluster.closed)

    def worth(self, wanted: dict[Var, tuple], found: tuple[dict[Var, tuple], set[Any]]) -> bool:
        """Whether fewer bytes are moved for each element."""
        before = sum(v.aval.size * v.aval.dtype.itemsize * (1 if v in self.kept else 2) for v in wanted)
        after = sum(self.bytes_of(atom) for atom in found[1])
        return after <= before

    def bytes_of(self, atom: Var) -> int:
        """What it costs to read an operand, and to write it if nothing else does."""
        base, cluster = self.scheduler.base(atom), self.scheduler.cluster_of(atom)
        if atom in self.read and base not in self.cluster.axes:
            return 0
        in_memory = cluster is None or base in self.kept or not self.scheduler.inside(cluster, atom)
        return base.aval.size * base.aval.dtype.itemsize * (1 if in_memory else 2)

    def add(self, found: tuple[dict[Var, tuple], set[Any]]) -> None:
        taken, leaves = found
        for v, axes in taken.items():
            self.cluster.nodes.append(self.node_of(v).copied(self.cluster))
            self.cluster.copies.add(v)
            self.cluster.axes[v] = axes
        self.cluster.nodes.sort(key=lambda node: node.number)
        self.read |= leaves
