"""Lowering: what each equation of a program becomes.

In: a jaxpr after the passes. Out: nodes. Movement disappears into views (``view.py``) and renamed axes; elementwise operations
and reductions fuse; contractions become matrix products; loops get places for their state; what has no kernel is a step of
its own, run by its NumPy implementation.
"""
from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from funcgrad.compiler import blas
from funcgrad.compiler.contraction import Product, divided, is_small, product, small_product
from funcgrad.compiler.expressions import accumulator, expressible, is_sum, product_template, reducible, supported
from funcgrad.compiler.fusion import Fusion
from funcgrad.compiler.lanes import lane_kernel
from funcgrad.compiler.natives import NATIVES, STRIDED
from funcgrad.compiler.nodes import Node, Plan
from funcgrad.compiler.small import small_kernel
from funcgrad.compiler.view import Buffer, View, row_major, whole
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var, has_effects
from funcgrad.core.primitive import INDEX, Kind, Native
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.core.types import shaped_array
from funcgrad.ops.structural import concatenate_p

LONG = 16
"""Neighbouring elements from which a part of an array is worth writing in its place."""


FEW_PARTS = 8
"""Parts of a result up to which a kernel reads all of them for an element; more are a loop for each element."""


class Lowering(Fusion):
    """Makes nodes of equations."""

    natives, strided = NATIVES, STRIDED
    vectors = True
    """Whether a thread has vectors: lanes of a loop then lie side by side."""

    def __init__(self, jaxpr: Jaxpr, parent: Lowering | None = None):
        super().__init__(parent)
        self.jaxpr = jaxpr
        self.ordered = has_effects(jaxpr)
        self.sums: dict[Node, list[Node]] = {}
        """Matrix products that are added up in one place, by the last of them."""

    def record(self, inputs: Sequence[View]) -> None:
        """Makes nodes of all equations."""
        jaxpr = self.jaxpr
        self.views.update(zip(jaxpr.in_vars, inputs, strict=True))
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            buffer = Buffer(v.aval.dtype, v.aval.size, "const")
            self.consts.append((buffer, c))
            self.views[v] = whole(buffer, v.aval.shape)
        self.uses = Counter(a for atoms in (jaxpr.outs, *[e.inputs for e in jaxpr.equations]) for a in atoms)
        self.made_by = {v: equation for equation in jaxpr.equations for v in equation.outs}
        for equation in jaxpr.equations:
            self.add(equation)

    def computed_alone(self, outs: Sequence[Atom]) -> list[Var]:
        """Results as variables with memory of their own, which nothing else shares."""
        taken: set[Buffer] = set()
        found = []
        for out in outs:
            view = None if type(out) is Literal else self.views[out]  # type: ignore[index]
            own = view is not None and out in self.producer and view.contiguous and view.buffer.size == out.aval.size
            if not own or view.buffer.role != "arena" or view.buffer in taken:  # type: ignore[union-attr]
                out = self.copied(out)
            taken.add(self.views[out].buffer)  # type: ignore[index]
            found.append(out)
        return found  # type: ignore[return-value]

    def add(self, equation: Equation) -> None:
        primitive = equation.primitive
        if primitive.commutative and type(equation.inputs[0]) is Literal:  # 1 + x and x + 1 are one kernel
            equation = replace(equation, inputs=equation.inputs[::-1])
        if primitive.kind is Kind.MOVEMENT and callable(primitive.code) and self.move(equation):
            return
        if primitive.kind is Kind.ELEMENTWISE and isinstance(primitive.code, tuple):
            for out, template in zip(equation.outs, primitive.code, strict=True):
                self.fuse(Node(equation.inputs, (out,), "map", template, equation=equation))
        elif primitive.kind is Kind.ELEMENTWISE and self.accumulate(equation):
            return
        elif primitive.kind is Kind.ELEMENTWISE and self.expressible(equation):
            self.fuse(Node(equation.inputs, equation.outs, "map", equation=equation))
        elif primitive.code is INDEX and supported(equation.outs[0].aval.dtype):
            self.fuse(Node((), equation.outs, "map", equation=equation))
        elif primitive.kind is Kind.REDUCTION and reducible(equation):
            self.reduce(equation.inputs[0], equation.outs[0], equation.params["axes"], primitive.code)
        elif primitive.kind is Kind.CONTROL and callable(primitive.code):
            self.control(primitive.code(**equation.params), equation)
        elif primitive.kind is Kind.CONTRACTION and self.contract(equation):
            return
        elif primitive is concatenate_p and self.side_by_side(equation) or \
                isinstance(primitive.code, Native) and self.native(equation):
            return
        else:
            self.alone(Node(equation.inputs, equation.outs, "host", equation=equation))

    def expressible(self, equation: Equation) -> bool:
        """Whether an elementwise equation is a scalar expression on the target."""
        return expressible(equation)

    def move(self, equation: Equation) -> bool:
        """A movement of one operand becomes a view; where strides cannot express it, of a copy."""
        source, *rest = equation.inputs
        if rest:
            return False
        if type(source) is Literal:
            source = self.copied(source)
        view = equation.primitive.code(self.views[source], **equation.params)
        if view is None:
            source = self.copied(source)
            view = equation.primitive.code(self.views[source], **equation.params)
        self.alias(equation.outs[0], source, view, _renamed(source.aval.shape, equation))
        return True

    def contract(self, equation: Equation) -> bool:
        """A contraction becomes a matrix product of BLAS, or a product and a sum, which fuse, where BLAS would be slow."""
        lhs, rhs = equation.inputs
        out, dtype = equation.outs[0], lhs.aval.dtype
        dimensions = equation.params["dimension_numbers"]
        if Literal in (type(lhs), type(rhs)) or dtype != out.aval.dtype or not supported(dtype):
            return False
        wide = accumulator(dtype)
        if is_small(lhs.aval.shape, rhs.aval.shape, dimensions):
            return self.multiply_and_add(lhs, rhs, out, dimensions)
        if wide.name not in blas.LETTERS:
            return False
        if wide != dtype:
            lhs, rhs = self.copied(lhs, wide), self.copied(rhs, wide)
        lhs, rhs, found = self.matrices(lhs, rhs, dimensions)
        tiny = small_product(found, wide)
        if tiny is not None and wide == dtype:
            self.alone(Node((lhs, rhs), (out,), "native", tiny, equation=equation))
            return True
        target = out if wide == dtype else Var(shaped_array(out.aval.shape, wide))
        self.alone(Node((rhs, lhs), (target,), "gemm", divided(found, wide.itemsize), equation=equation))
        if target is not out:
            self.fuse(Node((target,), (out,), "map", "{0}"))
        return True

    def matrices(self, lhs: Var, rhs: Var, dimensions: tuple) -> tuple[Var, Var, Product]:
        """The operands of a contraction as matrices that BLAS can read, an operand that is none copied, and their product."""
        found = product(self.views[lhs], self.views[rhs], dimensions)
        while isinstance(found, tuple):
            side, order = found
            if side == 0:
                lhs, dimensions = self.regrouped(lhs, dimensions, 0, order)
            else:
                rhs, dimensions = self.regrouped(rhs, dimensions, 1, order)
            found = product(self.views[lhs], self.views[rhs], dimensions)
        return lhs, rhs, found  # type: ignore[return-value]

    def accumulate(self, equation: Equation) -> bool:
        """A sum of two matrix products, or of such sums, that nobody else reads: one is added to the memory of the other."""
        if not is_sum(equation) or any(type(a) is Literal for a in equation.inputs):
            return False
        nodes = [self.producer.get(a) for a in equation.inputs]  # type: ignore[arg-type]
        views = [self.views[a] for a in equation.inputs]  # type: ignore[index]
        if any(node is None or node.kind != "gemm" for node in nodes) or nodes[0] is nodes[1] \
                or not all(map(self.read_once, equation.inputs)) \
                or len({(v.buffer.size, v.shape, v.strides, v.offset) for v in views}) > 1:
            return False
        sums = [self.sums.get(node, [node]) for node in nodes]
        if sums[0][0].number > sums[1][0].number:
            sums.reverse()
        if sums[0][-1].cluster.reach >> sums[1][0].cluster.number & 1:
            sums.reverse()
        (*_, last), (first, *_) = earlier, later = sums
        if last.cluster.reach >> first.cluster.number & 1:  # each waits for the other
            return False
        memory = self.views[last.out].buffer
        first.inputs, first.code = (*first.inputs, last.out), replace(first.code, onto=True)
        self.wait(first.cluster, last.cluster.reach | 1 << last.cluster.number)
        self.sums[later[-1]] = [*earlier, *later]
        atom = equation.inputs[nodes.index(later[-1])]
        for v in (*[node.out for node in later], atom):
            self.views[v] = View(memory, self.views[v].shape, self.views[v].strides, self.views[v].offset)
        self.alias(equation.outs[0], atom, self.views[atom], tuple(range(len(atom.aval.shape))))
        return True

    def read_once(self, atom: Atom) -> bool:
        """Whether one equation only reads the memory of a value, through any movement."""
        while self.uses[atom] == 1:
            equation = self.made_by.get(atom)  # type: ignore[arg-type]
            if equation is None or equation.primitive.kind is not Kind.MOVEMENT:
                return equation is not None
            atom = equation.inputs[0]
        return False

    def regrouped(self, operand: Var, dimensions: tuple, side: int, last: Sequence[int]) -> tuple[Var, tuple]:
        """An operand copied in the order batch, free axes, contracted axes, in which BLAS can read it."""
        contracted, batched = dimensions[0][side], dimensions[1][side]
        free = [d for d in range(len(operand.aval.shape)) if d not in (*contracted, *batched)]
        order = (*batched, *free, *last)
        count, start = len(batched), len(order) - len(last)
        copy = self.copied(self.permuted(operand, order))
        axes = [list(dimensions[0]), list(dimensions[1])]
        axes[0][side] = tuple([start + list(last).index(d) for d in contracted])
        axes[1][side] = tuple(range(count))
        return copy, (tuple(axes[0]), tuple(axes[1]))

    def permuted(self, source: Var, order: Sequence[int]) -> Var:
        """A view with its axes in another order."""
        out = Var(shaped_array(tuple([source.aval.shape[d] for d in order]), source.aval.dtype))
        self.alias(out, source, self.views[source].transpose(order), tuple(order))
        return out

    def side_by_side(self, equation: Equation) -> bool:
        """Parts of a concatenation that kernels compute for nothing else are written where they belong, and not copied."""
        parts, out = equation.inputs, equation.outs[0]
        dimension = equation.params["dimension"]
        if not all(self.written_once(a) and math.prod(a.aval.shape[dimension:]) >= LONG for a in parts):
            return False
        self.alone(Node(parts, (out,), "together", equation=equation))
        view, at = self.views[out], 0
        for part in parts:
            start, limit = [0] * len(out.aval.shape), list(out.aval.shape)
            start[dimension], limit[dimension] = at, at + part.aval.shape[dimension]
            self.views[part] = view.slice(start, limit, [1] * len(limit))  # type: ignore[index]
            at = limit[dimension]
        return True

    def written_once(self, atom: Atom) -> bool:
        """Whether a kernel computes a value that one equation reads."""
        node = None if type(atom) is Literal else self.producer.get(atom)
        return node is not None and node.out is atom and node.kind in ("map", "reduce") \
            and self.inside(node.cluster, atom) and self.uses[atom] == 1

    def sum_of_slices(self, parts: Var, total: Var, equation: Equation | None) -> None:
        """The slices of an array along its first axis, added in order: a kernel that reads all of them side by side."""
        count, *shape = parts.aval.shape
        result: Var | None = None
        for k in range(count):
            part = Var(total.aval)
            view = View(self.views[parts].buffer, tuple(shape), row_major(shape), k * total.aval.size)
            self.alias(part, parts, view, None)
            if result is None:
                result = part
            else:
                more = total if k == count - 1 else Var(total.aval)
                self.fuse(Node((result, part), (more,), "map", "{0} + {1}", equation=equation))
                result = more

    def multiply_and_add(self, lhs: Var, rhs: Var, out: Var, dimensions: tuple) -> bool:
        """The contraction as a product over all axes, in the order in which the larger operand lies in memory, and a sum."""
        (lc, rc), (lb, rb) = dimensions
        lf = [d for d in range(len(lhs.aval.shape)) if d not in (*lc, *lb)]
        rf = [d for d in range(len(rhs.aval.shape)) if d not in (*rc, *rb)]
        # An axis of the product is a pair: its axis in lhs and in rhs.
        kept = [*zip(lb, rb, strict=True), *[(d, None) for d in lf], *[(None, d) for d in rf]]
        pairs = [*kept, *zip(lc, rc, strict=True)]
        side = 0 if lhs.aval.size >= rhs.aval.size else 1
        larger = self.views[(lhs, rhs)[side]]
        pairs.sort(key=lambda pair: math.inf if pair[side] is None else larger.strides[pair[side]], reverse=True)
        shape = tuple([lhs.aval.shape[i] if i is not None else rhs.aval.shape[j] for i, j in pairs])  # type: ignore[index]
        factors = [self.spread_over(lhs, [i for i, _ in pairs], shape), self.spread_over(rhs, [j for _, j in pairs], shape)]
        axes = tuple([d for d, pair in enumerate(pairs) if pair not in kept])
        order = [pair for pair in pairs if pair in kept]
        total = Var(shaped_array(tuple([n for d, n in enumerate(shape) if d not in axes]), out.aval.dtype))
        result = total if axes else Var(total.aval)
        terms = Var(shaped_array(shape, out.aval.dtype)) if axes else total
        template = product_template(out.aval.dtype)
        self.fuse(Node(tuple(factors), (terms,), "map", template))
        if axes:
            self.reduce(terms, result, axes, ("{0} + {1}", "0"))
        else:
            result = terms
        permutation = [order.index(pair) for pair in kept]
        self.alias(out, result, self.views[result].transpose(permutation), tuple(permutation))
        return True

    def spread_over(self, source: Var, axes: Sequence[int | None], shape: tuple[int, ...]) -> Var:
        """A view over more axes: for each of them the axis of the source, or None where the source is repeated."""
        view = self.views[source]
        wide = View(view.buffer, shape, tuple([0 if d is None else view.strides[d] for d in axes]), view.offset)
        out = Var(shaped_array(shape, source.aval.dtype))
        self.alias(out, source, wide, tuple(axes))
        return out

    def control(self, structure: Any, equation: Equation) -> None:
        inputs = tuple([self.copied(a) if type(a) is Literal else a for a in equation.inputs])
        results = [whole(Buffer(v.aval.dtype, v.aval.size), v.aval.shape) for v in equation.outs]
        views = [self.views[a] for a in inputs]
        kernel = small_kernel(structure, views, results) or lane_kernel(structure, views, results, self.vectors)
        if kernel is not None:
            self.alone(Node(inputs, equation.outs, "native", kernel, equation=equation))
            return
        lay_out = {Loop: self.loop, While: self.repeat, Choice: self.choose}[type(structure)]
        lay_out(structure, inputs, equation)  # type: ignore[operator]

    def loop(self, loop: Loop, inputs: tuple[Var, ...], equation: Equation) -> None:
        """A counted loop: slices and results are views that move, and the carry changes places with the next one."""
        ends = loop.num_consts, loop.num_consts + loop.num_carry
        consts, first, xs = inputs[:ends[0]], inputs[ends[0]:ends[1]], inputs[ends[1]:]
        carry, starts = self.carried(first)
        slices, moves = [], []
        for x in xs:
            view = self.views[x]
            moving = Buffer(view.buffer.dtype, 0, "moving")
            slices.append(View(moving, view.shape[1:], view.strides[1:], 0))
            moves.append((moving, view, view.strides[0]))
        body = type(self)(loop.body, self)
        body.record([*[self.views[c] for c in consts], *carry, *slices])
        outs = body.computed_alone(loop.body.outs)
        node = Node((*consts, *starts, *xs), equation.outs, "loop", equation=equation)
        self.alone(node)
        for out, y in zip(equation.outs[loop.num_carry:], outs[loop.num_carry:], strict=True):
            buffer = body.views[y].buffer
            buffer.role = "moving"
            moves.append((buffer, self.views[out], y.aval.size))
        pairs = self.exchanged(node, equation.outs[:loop.num_carry], carry, [body.views[v] for v in outs[:loop.num_carry]])
        node.code = Plan("loop", [(body.emit(set(outs)), None)], moves, pairs, loop.length, loop.reverse)

    def repeat(self, loop: While, inputs: tuple[Var, ...], equation: Equation) -> None:
        """A loop with a condition."""
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        for_condition, for_body, first = inputs[:ends[0]], inputs[ends[0]:ends[1]], inputs[ends[1]:]
        carry, starts = self.carried(first)
        condition, body = type(self)(loop.condition, self), type(self)(loop.body, self)
        condition.record([*[self.views[c] for c in for_condition], *carry])
        body.record([*[self.views[c] for c in for_body], *carry])
        going, = condition.computed_alone(loop.condition.outs)
        outs = body.computed_alone(loop.body.outs)
        node = Node((*for_condition, *for_body, *starts), equation.outs, "loop", equation=equation)
        self.alone(node)
        pairs = self.exchanged(node, equation.outs, carry, [body.views[v] for v in outs])
        node.code = Plan("while", [(condition.emit({going}), condition.views[going]), (body.emit(set(outs)), None)], [], pairs)

    def carried(self, first: Sequence[Var]) -> tuple[list[View], list[Var]]:
        """The places of a loop's state, and its first values there."""
        carry, starts = [], []
        for v in first:
            start = self.copied(v)
            moving = Buffer(v.aval.dtype, v.aval.size, "moving")
            moving.homes = (self.views[start].buffer,)
            carry.append(whole(moving, v.aval.shape))
            starts.append(start)
        return carry, starts

    def exchanged(self, node: Node, outs: Sequence[Var], carry: list[View],
                  following: list[View]) -> list[tuple[Buffer, Buffer]]:
        """The pairs of places that state and next state exchange after each step; the results are the last state."""
        pairs = []
        for out, now, then in zip(outs, carry, following, strict=True):
            self.views[out] = now
            then.buffer.role = "moving"
            other = Buffer(then.buffer.dtype, then.buffer.size)
            then.buffer.homes = now.buffer.homes = (*now.buffer.homes, other)
            pairs.append((now.buffer, then.buffer))
        return pairs

    def choose(self, choice: Choice, inputs: tuple[Var, ...], equation: Equation) -> None:
        """One of several programs, all of which write their results to one place."""
        node = Node(inputs, equation.outs, "loop", equation=equation)
        self.alone(node)
        parts, moves = [], []
        for branch in choice.branches:
            scheduler = type(self)(branch, self)
            scheduler.record([self.views[a] for a in inputs[1:]])
            outs = scheduler.computed_alone(branch.outs)
            for out, v in zip(equation.outs, outs, strict=True):
                scheduler.views[v].buffer.role = "moving"
                moves.append((scheduler.views[v].buffer, self.views[out], 0))
            parts.append((scheduler.emit(set(outs)), None))
        node.code = Plan("choice", parts, moves, [])

    def native(self, equation: Equation) -> bool:
        """An operation with a kernel of its own, which reads row-major operands unless it knows strides."""
        atoms = [*equation.inputs, *equation.outs]
        name = equation.primitive.code.name
        if not all(supported(a.aval.dtype) for a in atoms):
            return False
        if name in self.strided:
            inputs = equation.inputs
            if "filled" in equation.primitive.code.arguments:
                inputs = (self.repeated(inputs[0]), *inputs[1:])
            views = [None if type(a) is Literal else self.views[a] for a in inputs]
            kernel = self.strided[name](replace(equation, inputs=inputs), views)
            if kernel is not None and kernel.row_major:
                inputs = tuple([self.copied(a) if i in kernel.row_major and not self.views[a].contiguous else a
                                for i, a in enumerate(inputs)])
        else:
            kernel = self.natives[name](equation) if name in self.natives else None
            inputs = tuple([a if kernel is None or type(a) is Literal or self.views[a].contiguous else self.copied(a)
                            for a in equation.inputs])
        if kernel is None:
            return False
        self.native_node(Node(inputs, equation.outs, "native", kernel, equation=equation))
        return True

    def native_node(self, node: Node) -> None:
        """A node with a kernel of its own."""
        if node.code.parts is None:
            self.alone(node)
        else:
            self.add_parts(node)

    def repeated(self, atom: Atom) -> Atom:
        """The constant that an array repeats, if it does."""
        producer = None if type(atom) is Literal else self.producer.get(atom)  # type: ignore[arg-type]
        source = atom if producer is None or producer.code != "{0}" else producer.inputs[0]
        return source if type(source) is Literal and source.value.dtype == atom.aval.dtype else atom

    def add_parts(self, node: Node) -> None:
        """A kernel that writes parts of its result; their sum fuses with what follows."""
        kernel, out = node.code, node.out
        parts = Var(shaped_array(kernel.parts, out.aval.dtype))
        total = Var(shaped_array(kernel.parts[1:], out.aval.dtype)) if kernel.order else out
        node.outs = (parts,)
        self.alone(node)
        if 1 < kernel.parts[0] <= FEW_PARTS:
            self.sum_of_slices(parts, total, node.equation)
        else:
            last = len(kernel.parts) - 1  # each element is a row, so that the sum is one kernel
            self.reduce(self.permuted(parts, (*range(1, last + 1), 0)), total, (last,), ("{0} + {1}", "0"))
        if kernel.order:
            self.alias(out, total, self.views[total].transpose(kernel.order), kernel.order)


def _renamed(shape: tuple[int, ...], equation: Equation) -> tuple[int | None, ...] | None:
    """Which axis of its operand each axis of a movement's result is (None: repeated, or of size 1).

    None if the movement does more than to rename axes. Found by moving a view in which each stride tells its axis.
    """
    moved = equation.primitive.code(View(None, shape, row_major(shape)), **equation.params)
    if moved is None or moved.offset:
        return None
    axis_of = {s: d for d, (n, s) in enumerate(zip(shape, row_major(shape), strict=True)) if n != 1}
    found = [None if n == 1 or s == 0 else axis_of.get(s, -1) for n, s in zip(moved.shape, moved.strides, strict=True)]
    named = [d for d in found if d is not None]
    same = all(d >= 0 and shape[d] == n for d, n in zip(found, moved.shape, strict=True) if d is not None)
    return tuple(found) if same and sorted(named) == sorted(axis_of.values()) and 0 not in shape else None
