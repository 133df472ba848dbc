"""Fusion: which operations are one kernel.

In: nodes, one after the other, each with its operands. Out: clusters. Elementwise and reduction nodes are collected into
clusters, each of which becomes one kernel: a cluster has axes, of which the ``inner`` ones are reduced row by row; a node joins
the cluster of an operand when its axes match and no cycle arises.

    softmax of f32[8,5]:   axes (8, 5), inner (5);  max, exp, sum and division are one kernel
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.expressions import accumulator
from funcgrad.compiler.natives.transposing import blocked_copy
from funcgrad.compiler.nodes import Cluster, Node
from funcgrad.compiler.view import Buffer, View, row_major, whole
from funcgrad.core.jaxpr import Atom, Literal, Var
from funcgrad.core.types import shaped_array

SMALL = 4096
"""Elements up to which a reduction over everything is one row of one kernel, and its result usable there."""
LARGE = 1 << 16
"""Elements from which a transposed operand no longer stays in the cache while it is read."""
LARGEST_KERNEL = 160
"""Nodes in a kernel; beyond it registers spill and compile time grows."""


class Fusion:
    """Collects nodes into clusters."""

    blocked_copy = staticmethod(blocked_copy)
    """Makes the kernel that copies an array whose axes lie in another order."""

    def __init__(self, parent: Fusion | None = None):
        self.views: dict[Var, View] = {}
        """Where the value of a variable is, or will be, in memory."""
        self.origin: dict[Var, tuple[Var, tuple[int | None, ...]]] = {}
        """A variable that only renames the axes of another one: that one, and which of its axes each axis is."""
        self.producer: dict[Var, Node] = {}
        self.nodes: list[Node] = []
        self.readers: dict[Var | None, list[Cluster]] = {}
        """The clusters that read a value as a whole."""
        self.clusters: list[Cluster] = []
        self.awaited = 0
        """A bit for each cluster that another one waits for."""
        self.consts: list[tuple[Buffer, Any]] = parent.consts if parent else []
        self.failure: Buffer = parent.failure if parent else Buffer(np.dtype(np.int64), 1, "failure")
        """Where kernels tell that an operand was not valid."""
        self.ordered = False
        """Whether the program has effects."""
        self.last: Cluster | None = None
        """The last step that may have effects or raise, in a program with effects."""

    # ------------------------------------------------------------ nodes

    def copied(self, atom: Atom, dtype: np.dtype | None = None) -> Var:
        """The same value in memory of its own; a narrow float may become a wide one."""
        copy = Var(shaped_array(atom.aval.shape, dtype or atom.aval.dtype))
        self.fuse(Node((atom,), (copy,), "map", "{0}"))
        return copy

    def alias(self, out: Var, source: Var, view: View, names: tuple[int | None, ...] | None) -> None:
        """A variable that is a view of another one; ``names`` tells which of its axes each axis is, if it only renames."""
        self.views[out] = view
        if names is not None:
            base, dims = self.origin.get(source, (source, tuple(range(len(source.aval.shape)))))
            self.origin[out] = base, tuple([None if d is None else dims[d] for d in names])
        if source in self.producer:
            self.producer[out] = self.producer[source]

    def spread(self, node: Node) -> None:
        """A scalar beside arrays is repeated to their shape."""
        shape = node.out.aval.shape
        inputs = list(node.inputs)
        for i, atom in enumerate(inputs):
            if type(atom) is Var and atom.aval.shape != shape:
                wide = inputs[i] = Var(shaped_array(shape, atom.aval.dtype))
                self.alias(wide, atom, self.views[atom].broadcast_in_dim(shape, ()), (None,) * len(shape))
        node.inputs = tuple(inputs)

    def place(self, node: Node) -> None:
        """Numbers a node and gives its results memory."""
        node.number = len(self.nodes)
        self.nodes.append(node)
        for v in node.outs:
            self.producer[v] = node
            self.views[v] = whole(Buffer(v.aval.dtype, v.aval.size), v.aval.shape)

    def alone(self, node: Node) -> None:
        """A node that is a step of its own. Where there are effects, what may have some or may raise is done in order."""
        self.place(node)
        cluster = self.cluster((), fused=False)
        self.join(cluster, node, ())
        if self.ordered and node.kind in ("host", "loop"):
            if self.last is not None:
                cluster.after = self.last
                self.wait(cluster, self.last.reach | 1 << self.last.number)
            self.last = cluster

    def cluster(self, sizes: Sequence[Any], fused: bool = True) -> Cluster:
        self.clusters.append(Cluster(len(self.clusters), sizes, fused))
        return self.clusters[-1]

    def fuse(self, node: Node) -> None:
        """Puts an elementwise node into the cluster of an operand, and merges those of the others, if they fit."""
        self.spread(node)
        if node.code != "{0}":
            node.inputs = tuple([self.in_order(a) for a in node.inputs])
        self.place(node)
        shape = node.out.aval.shape
        for candidate in self.candidates(node):
            axes = self.alignment(candidate, node, shape)
            if axes is not None and self.fits(candidate, axes) and self.acyclic(candidate, node.inputs):
                self.join(candidate, node, axes)
                self.absorb(candidate, node, axes)
                return
        self.fresh(node, shape)

    def in_order(self, atom: Atom) -> Atom:
        """A large operand in memory through which a loop in the order of the result would jump: copied tile by tile."""
        if type(atom) is Literal or atom.aval.size < LARGE:
            return atom
        cluster, view = self.cluster_of(atom), self.views[atom]
        if cluster is not None and cluster.fused or view.contiguous or 0 in view.strides:
            return atom
        kernel = self.blocked_copy(view.shape, view.strides, atom.aval.dtype)
        if kernel is None:
            return atom
        copy = Var(shaped_array(atom.aval.shape, atom.aval.dtype))
        self.alone(Node((atom,), (copy,), "native", kernel))
        return copy

    def fresh(self, node: Node, shape: Sequence[int]) -> Cluster:
        """A new cluster for one node; axes of size 1 are none."""
        cluster = self.cluster([n for n in shape if n != 1])
        self.join(cluster, node, numbered(shape))
        return cluster

    def reduce(self, source: Atom, out: Var, axes: tuple[int, ...], code: tuple[str, str]) -> None:
        """A reduction joins the cluster of its operand, row by row or as partial results that another cluster combines."""
        if type(source) is Literal:
            source = self.copied(source)
        shape = source.aval.shape
        if all(shape[d] == 1 for d in axes):
            kept = tuple([d for d in range(len(shape)) if d not in axes])
            self.alias(out, source, self.views[source].reshape(out.aval.shape), kept)  # type: ignore[arg-type]
            return
        node = Node((source,), (out,), "reduce", code, axes)
        self.place(node)
        for cluster in self.candidates(node):
            names = self.alignment(cluster, node, shape)
            if names is not None and self.fits(cluster, names) and self.acyclic(cluster, node.inputs) \
                    and self.join_reduction(cluster, node, names):
                return
        joined = self.join_reduction(self.cluster([n for n in shape if n != 1]), node, numbered(shape))
        assert joined

    def join_reduction(self, cluster: Cluster, node: Node, axes: tuple[int | None, ...]) -> bool:
        reduced = frozenset(a for d, a in enumerate(axes) if d in node.axes and a is not None)
        present = frozenset(a for a in axes if a is not None)
        kept = tuple([a for d, a in enumerate(axes) if d not in node.axes])
        everything = present == cluster.every
        node.names = axes
        last = max(cluster.every)
        if everything and cluster.inner is None:
            small = _product(cluster.sizes) <= SMALL
            if reduced == cluster.every and not small:
                return self.join_partial(cluster, node, kept, None)
            if small and not cluster.closed or last in reduced:
                if not self.partials_allow(cluster, reduced):
                    return False
                cluster.inner = reduced
                self.join(cluster, node, kept)
                return True
            columns = cluster.every - reduced
            return self.partials_allow(cluster, columns) and self.join_partial(cluster, node, kept, columns)
        if everything and reduced == cluster.inner:
            self.join(cluster, node, kept)
            return True
        if everything and reduced in (cluster.outer, cluster.every):
            return self.join_partial(cluster, node, kept, cluster.inner)
        if cluster.inner is not None and present == cluster.outer == reduced:
            return self.join_partial(cluster, node, kept, cluster.inner)
        return False

    def partials_allow(self, cluster: Cluster, inner: frozenset[int]) -> bool:
        """Whether the partial results that a cluster already has can be had with these axes innermost."""
        return all(frozenset(a for a in cluster.axes[v][1:] if a is not None) in (frozenset(), inner) for v in cluster.closed)

    def join_partial(self, cluster: Cluster, node: Node, kept: tuple[int | None, ...], inner: frozenset[int] | None) -> bool:
        """Each chunk of rows leaves a partial result; a second reduction combines them in a fixed order."""
        if inner and cluster.inner is None:
            cluster.inner = inner
        out = node.out
        wide = accumulator(out.aval.dtype)
        partial = Var(shaped_array((-1, *out.aval.shape), wide))
        first = Node(node.inputs, (partial,), "partial", node.code, node.axes, names=node.names)
        self.nodes.pop()
        self.place(first)
        self.views[partial] = View(Buffer(wide, 0), (-1, *out.aval.shape), (out.aval.size, *row_major(out.aval.shape)), 0)
        self.join(cluster, first, (-1, *kept))
        cluster.closed.add(partial)
        second = Node((partial,), node.outs, "reduce", node.code, (0,), names=(0, *numbered(out.aval.shape, 1)))
        self.place(second)
        combining = self.cluster([cluster, *[n for n in out.aval.shape if n != 1]])
        combining.inner = frozenset({0})
        self.join(combining, second, numbered(out.aval.shape, 1))
        return True

    def candidates(self, node: Node) -> list[Cluster]:
        """The clusters that compute operands of a node, the latest first; then those that read the same memory."""
        found: dict[int, Cluster] = {}
        readers: dict[int, Cluster] = {}
        for atom in node.inputs:
            cluster = self.cluster_of(atom)
            if cluster is not None and self.inside(cluster, atom) and len(cluster.nodes) < LARGEST_KERNEL:
                found[cluster.number] = cluster
            for reader in self.readers.get(self.base(atom), ()):
                if reader.nodes and len(reader.nodes) < LARGEST_KERNEL:
                    readers[reader.number] = reader
        rest = [readers[k] for k in sorted(readers, reverse=True) if k not in found]
        return [found[k] for k in sorted(found, reverse=True)] + rest

    def base(self, atom: Atom) -> Var | None:
        """The variable whose axes an atom renames."""
        return None if type(atom) is Literal else self.origin.get(atom, (atom, ()))[0]  # type: ignore[arg-type]

    def alignment(self, cluster: Cluster, node: Node, shape: Sequence[int]) -> tuple[int | None, ...] | None:
        """The axis of the cluster for each axis of a node's operands, or None when they do not match."""
        axes: list[int | None] = [None] * len(shape)
        fixed = [n == 1 for n in shape]
        for atom in node.inputs:
            base = self.base(atom)
            names = cluster.axes[base] if self.inside(cluster, atom) else cluster.reads.get(base)
            if names is None:
                continue
            dims = self.dims(atom)
            for d in range(len(shape)):
                axis = None if dims[d] is None else names[dims[d]]
                if axis is not None:
                    if fixed[d] and axes[d] != axis:
                        return None
                    axes[d], fixed[d] = axis, True
        free = [a for a in range(len(cluster.sizes)) if a not in axes]
        for d, n in enumerate(shape):
            if not fixed[d]:
                axis = next((a for a in free if cluster.sizes[a] == n), None)
                if axis is None:
                    return None
                free.remove(axis)
                axes[d] = axis
        found = [a for a in axes if a is not None]
        return tuple(axes) if len(set(found)) == len(found) else None

    def dims(self, atom: Var) -> tuple[int | None, ...]:
        """Which axis of its base each axis of a variable is."""
        return self.origin[atom][1] if atom in self.origin else tuple(range(len(atom.aval.shape)))

    def fits(self, cluster: Cluster, axes: tuple[int | None, ...]) -> bool:
        """A value of a cluster has all of its axes, or exactly the outer ones."""
        present = frozenset(a for a in axes if a is not None)
        return present == cluster.every or (cluster.inner is not None and present == cluster.outer)

    def acyclic(self, cluster: Cluster, inputs: Sequence[Atom]) -> bool:
        """Whether a cluster may take in a node of these operands: what it does not compute itself must not wait for it."""
        for atom in inputs:
            other = self.cluster_of(atom)
            if other is cluster:
                if not self.inside(cluster, atom):
                    return False
            elif other is not None and other.reach >> cluster.number & 1:
                return False
        return True

    def inside(self, cluster: Cluster | None, atom: Atom) -> bool:
        """Whether a cluster has the value of an atom without going through memory."""
        base = self.base(atom)
        return cluster is not None and base in cluster.axes and base not in cluster.closed

    def cluster_of(self, atom: Atom) -> Cluster | None:
        """The cluster that computes an atom."""
        producer = None if type(atom) is Literal else self.producer.get(atom)  # type: ignore[arg-type]
        return None if producer is None else producer.cluster

    def join(self, cluster: Cluster, node: Node, axes: tuple[int | None, ...]) -> None:
        node.cluster = cluster
        cluster.nodes.append(node)
        if cluster.fused:
            cluster.axes[node.out] = axes
        more = 0
        for atom in node.inputs:
            other = self.cluster_of(atom)
            if other is not None and other is not cluster:
                more |= other.reach | 1 << other.number
            if cluster.fused and type(atom) is Var and not self.inside(cluster, atom):
                names = self.base_axes(atom, axes if node.kind == "map" else node.names)
                if names is not None and {a for a in names if a is not None} == cluster.every:
                    self.read_by(cluster, self.base(atom), names)
        self.wait(cluster, more)

    def read_by(self, cluster: Cluster, base: Var, names: tuple[int | None, ...]) -> None:
        if base not in cluster.reads:
            cluster.reads[base] = names
            self.readers.setdefault(base, []).append(cluster)

    def base_axes(self, atom: Var, names: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
        """The axes that an atom's base has, from those of the atom; None if the atom is not all of it."""
        base = self.base(atom)
        axes: list[int | None] = [None] * len(base.aval.shape)
        for d, name in zip(self.dims(atom), names, strict=True):
            if d is not None:
                axes[d] = name
        return tuple(axes) if all(a is not None or n == 1 for a, n in zip(axes, base.aval.shape, strict=True)) else None

    def wait(self, cluster: Cluster, more: int) -> None:
        """Adds to what a cluster waits for, and so to all that wait for it."""
        if more & ~cluster.reach:
            cluster.reach |= more
            self.awaited |= more
            for other in self.clusters if self.awaited >> cluster.number & 1 else ():
                if other.reach >> cluster.number & 1:
                    other.reach |= cluster.reach

    def absorb(self, cluster: Cluster, node: Node, axes: tuple[int | None, ...]) -> None:
        """Merges the clusters of a node's other operands into its own, where they fit."""
        for atom in node.inputs:
            base, other = self.base(atom), self.cluster_of(atom)
            if other is None or other is cluster or not self.inside(other, atom):
                continue
            mapping: dict[int, int] = {}
            for d, e in zip(self.dims(atom), axes, strict=True):
                source = None if d is None else other.axes[base][d]
                if source is not None:
                    mapping[source] = e  # type: ignore[assignment]
            if self.mergeable(cluster, other, mapping):
                self.merge(cluster, other, mapping)

    def mergeable(self, cluster: Cluster, other: Cluster, mapping: dict[int, int]) -> bool:
        if set(mapping) != set(other.every) or None in mapping.values() \
                or len(cluster.nodes) + len(other.nodes) > LARGEST_KERNEL:
            return False
        mapped = frozenset(mapping.values())
        if len(mapped) != len(mapping) or mapped not in (cluster.every, cluster.outer):
            return False
        if other.inner is not None:
            if mapped != cluster.every:
                return False
            inner = frozenset(mapping[a] for a in other.inner)
            if cluster.inner is None:
                if not self.partials_allow(cluster, inner):
                    return False
            elif cluster.inner != inner:
                return False
        elif other.closed and mapped != cluster.every:
            return False
        elif other.closed and cluster.inner is not None:
            return False
        if (cluster.reach >> other.number) & 1 or (other.reach >> cluster.number) & 1:
            # One waits for the other: directly is what merging is for, through a third it would be a cycle.
            return not self.waits_indirectly(cluster, other) and self.agree(cluster, other, mapping)
        return True

    def agree(self, cluster: Cluster, other: Cluster, mapping: dict[int, int]) -> bool:
        """Whether every node that reads a value of the other cluster reads it along the axes that merging gives it.

        It does not where a square matrix meets its own transpose.
        """
        for a, b in ((cluster, other), (other, cluster)):
            for node in a.nodes:
                names = a.axes[node.out] if node.kind == "map" else node.names
                for atom in node.inputs:
                    if self.cluster_of(atom) is not b or not self.inside(b, atom):
                        continue
                    for d, axis in zip(self.dims(atom), names, strict=True):
                        source = None if d is None else b.axes[self.base(atom)][d]  # type: ignore[index]
                        if source is not None and (mapping[source] != axis if b is other else source != mapping.get(axis)):
                            return False
        return True

    def waits_indirectly(self, cluster: Cluster, other: Cluster) -> bool:
        """Whether one of two clusters waits for the other through memory or through a third."""
        for a, b in ((cluster, other), (other, cluster)):
            for node in a.nodes:
                for atom in node.inputs:
                    unit = self.cluster_of(atom)
                    if unit is None or unit is a:
                        continue
                    if not self.inside(b, atom) if unit is b else unit.reach >> b.number & 1:
                        return True
        return False

    def merge(self, cluster: Cluster, other: Cluster, mapping: dict[int, int]) -> None:
        if other.inner is not None:
            cluster.inner = frozenset(mapping[a] for a in other.inner)
        for node in other.nodes:
            node.cluster = cluster
        cluster.nodes = sorted([*cluster.nodes, *other.nodes], key=lambda node: node.number)
        for v, names in other.axes.items():
            cluster.axes[v] = tuple([a if a is None or a < 0 else mapping[a] for a in names])
        cluster.closed |= other.closed
        for v, names in other.reads.items():
            self.read_by(cluster, v, tuple([None if a is None else mapping[a] for a in names]))
        for unit in self.clusters:
            unit.sizes = [cluster if n is other else n for n in unit.sizes]
            if unit.reach >> other.number & 1:
                unit.reach |= 1 << cluster.number
                self.awaited |= 1 << cluster.number
        other.nodes = []
        self.wait(cluster, other.reach & ~(1 << cluster.number))
        cluster.reach &= ~(1 << cluster.number | 1 << other.number)


def numbered(shape: Sequence[int], start: int = 0) -> tuple[int | None, ...]:
    """Consecutive axes; those of size 1 are none."""
    count = iter(range(start, start + len(shape)))
    return tuple([None if n == 1 else next(count) for n in shape])


def _product(sizes: Sequence[Any]) -> int:
    return math.prod(n for n in sizes if type(n) is int)
