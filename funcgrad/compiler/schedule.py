"""From a jaxpr to an ordered list of steps: fused kernels, matrix products, loops, host calls.

In: a jaxpr after the passes. Out: a ``Schedule``: buffers, and steps that read and write views of them. ``lowering.py`` says
what each equation becomes, ``fusion.py`` which of it is one kernel; here the clusters are put in order.

    schedule(jaxpr of softmax)    ->    Schedule with one step of kind "kernel"
"""
from __future__ import annotations

from collections.abc import Callable

from funcgrad.compiler import regions
from funcgrad.compiler.codegen import CHUNK, Kernel, write_kernel
from funcgrad.compiler.lowering import Lowering
from funcgrad.compiler.nodes import Cluster, Node, Schedule, Step
from funcgrad.compiler.overwriting import overwrite
from funcgrad.compiler.recompute import recompute
from funcgrad.compiler.view import Buffer, whole
from funcgrad.core.jaxpr import Atom, Jaxpr, Literal, Var


def schedule(jaxpr: Jaxpr, target: str = "cpu") -> Schedule:
    """The steps that compute a program, on the processor or on a GPU ("cuda")."""
    if target == "cpu":
        return Scheduler(jaxpr).run()
    from funcgrad.compiler.cuda.schedule import CudaScheduler  # a subclass of the one below
    return CudaScheduler(jaxpr).run()


class Scheduler(Lowering):
    """Puts clusters in order and writes their steps."""

    def run(self) -> Schedule:
        inputs = [Buffer(v.aval.dtype, v.aval.size, "input") for v in self.jaxpr.in_vars]
        self.record([whole(b, v.aval.shape) for b, v in zip(inputs, self.jaxpr.in_vars, strict=True)])
        outs = [self.settled(o) for o in self.jaxpr.outs]
        steps = self.emit({o for o in outs if type(o) is Var})
        plan = Schedule(inputs, self.consts, [o if type(o) is Literal else self.views[o] for o in outs], self.failure, steps)
        overwrite(plan)
        plan.steps = self.arranged(plan.steps)
        return plan

    def arranged(self, steps: list[Step]) -> list[Step]:
        """The steps in the order in which they run, those of a region side by side."""
        return regions.arranged(steps)

    def write(self, cluster: Cluster, is_stored: Callable[[Var], bool]) -> Kernel:
        """The kernel of a cluster."""
        return write_kernel(cluster, self, is_stored)

    def settled(self, out: Atom) -> Atom:
        """A result as a literal or as all of a buffer: views are copied."""
        if type(out) is Literal:
            return out
        view = self.views[out]
        if view.contiguous and view.buffer.size == out.aval.size and view.buffer.role != "moving":
            return out
        return self.copied(out)

    def emit(self, wanted: set[Var]) -> list[Step]:
        """Orders the clusters, decides what is stored, and writes the steps."""
        steps: list[Step] = []
        recompute(self, {self.base(v) for v in wanted})  # type: ignore[misc]
        stored = self.stored(wanted)
        done: set[Cluster] = set()
        for cluster in self.clusters:
            stack = [] if cluster in done or not cluster.nodes else [(cluster, iter(self.waits_for(cluster)))]
            done.add(cluster)
            while stack:
                current, waiting = stack[-1]
                following = next((c for c in waiting if c not in done), None)
                if following is None:
                    stack.pop()
                    if any(v in stored and v not in current.copies for v in current.axes) if current.fused else \
                            current.nodes[0].kind != "together":
                        steps.append(self.step(current, stored))
                else:
                    done.add(following)
                    stack.append((following, iter(self.waits_for(following))))
        for cluster in self.clusters:  # nodes and clusters refer to each other: no cycle is left to the garbage collector
            for node in cluster.nodes:
                node.cluster = None
        return steps

    def waits_for(self, cluster: Cluster) -> list[Cluster]:
        found = {self.cluster_of(atom) for node in cluster.nodes for atom in node.inputs} | {cluster.after}
        found -= {None, cluster}
        return sorted(found, key=lambda c: c.number)  # type: ignore[union-attr, return-value, arg-type]

    def stored(self, wanted: set[Var]) -> set[Var]:
        """The variables computed in clusters that are needed in memory."""
        roots = {self.views[v].buffer for v in wanted}
        for cluster in self.clusters:
            roots |= {self.views[a].buffer for node in cluster.nodes for a in node.inputs
                      if type(a) is Var and not self.inside(cluster, a)}
        return {v for node in self.nodes for v in node.outs if self.views[v].buffer in roots}

    def step(self, cluster: Cluster, stored: set[Var]) -> Step:
        if cluster.fused:
            copy = self.transposing(cluster.nodes)
            if copy is not None:
                return copy
            kernel = cluster.kernel = self.write(cluster, lambda v: v in stored and v not in cluster.copies)
            return Step("kernel", [v for v, w in zip(kernel.operands, kernel.written, strict=True) if not w],
                        [v for v, w in zip(kernel.operands, kernel.written, strict=True) if w], kernel)
        node, = cluster.nodes
        if node.kind == "native":
            return self.native_step(node)
        reads = [a if type(a) is Literal else self.views[a] for a in node.inputs]
        return Step(node.kind, reads, [self.views[v] for v in node.outs], node.code, node.equation)

    def transposing(self, nodes: list[Node]) -> Step | None:
        """A cluster that does nothing but to copy an array whose axes lie in another order, tile by tile."""
        node = nodes[0]
        if len(nodes) > 1 or node.code != "{0}" or type(node.inputs[0]) is Literal:
            return None
        source, target = self.views[node.inputs[0]], self.views[node.out]
        if source.buffer.dtype != target.buffer.dtype or source.contiguous or not target.contiguous:
            return None
        kernel = self.blocked_copy(source.shape, source.strides, source.buffer.dtype)
        if kernel is None:
            return None
        node.code = kernel
        return self.native_step(node)

    def native_step(self, node: Node) -> Step:
        native = node.code
        reads = [self.views[a] for a in node.inputs if type(a) is not Literal]
        writes = [self.views[v] for v in node.outs]
        writes += [whole(Buffer(dtype, size), (size,)) for dtype, size in native.scratch]
        if native.can_fail:
            writes.append(whole(self.failure, (1,)))
        kernel = Kernel(native.source, [*reads, *writes], [], native.sizes, native.rows, native.chunk, [node],
                        CHUNK * native.rows // native.chunk, native.calls_blas, native.team)
        return Step("kernel", reads, writes, kernel, node.equation)
