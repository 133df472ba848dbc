"""Products outside of loops: what a loop multiplies step by step becomes one product of stacked operands.

In: a program. Out: one in which, of the products in the body of a loop over slices,

    x[t] @ w, with w the same in each step,            is  x @ w  before the loop, which reads its slices,
    y[t] = h[t] @ w, only stacked as a result,         is  h @ w  after the loop, which stacks h instead,
    total = total + a[t].T @ b[t], only accumulated,   is  a product of the stacks of a and b, contracted over the steps too.

The gradient of a recurrent network has all three: of six products a step two are left in the loops, and the others are a
few large ones. The same products are summed, in another order. What has to be stacked for it takes memory: no more than a
small multiple of what the loop reads and stacks anyway.
"""
from __future__ import annotations

import math
from collections import Counter
from typing import Any

from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Var
from funcgrad.core.primitive import Kind
from funcgrad.core.structure import Loop
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.ops.contraction import dot_general_p
from funcgrad.ops.elementwise import add_p
from funcgrad.ops.structural import transpose_p
from funcgrad.passes.rewriting import Walk, of_body

WORTH_IT = 512
"""Multiplications up to which a product stays in its loop, where it fuses with what is around it."""
ROOM = 2
"""How many times the memory of a loop's slices and stacks may be taken by further stacks."""
FREE = 1 << 20
"""Bytes that may be taken in any case."""


def loops(jaxpr: Jaxpr) -> Jaxpr:
    """The program with products taken out of its loops."""
    return _Loops(jaxpr, {}, lambda body: of_body(body, "loops", loops)).run()


class _Loops(Walk):
    """A walk that rewrites each loop once its body is rewritten."""

    def equation(self, equation: Equation) -> bool:
        changed = super().equation(equation)
        primitive = equation.primitive
        if primitive.kind is not Kind.CONTROL or not callable(primitive.code):
            return changed
        equation = self.current = self.equations[-1]
        loop = primitive.code(**equation.params)
        if type(loop) is not Loop or loop.length < 2:
            return changed
        self.equations.pop()
        return _Hoisting(self, equation, loop).run() or changed


class _Hoisting:
    """One loop. ``outside`` are the values that its inputs come from, ``stacks`` the stacked values of all steps."""

    def __init__(self, walk: Walk, equation: Equation, loop: Loop):
        self.walk, self.equation, self.loop = walk, equation, loop
        body = loop.body
        start = loop.num_consts + loop.num_carry
        self.carry, self.slices = list(body.in_vars[loop.num_consts:start]), list(body.in_vars[start:])
        self.outside: dict[Var, Atom] = dict(zip(body.in_vars, equation.inputs, strict=True))
        self.constants = dict(zip(body.const_vars, body.consts, strict=True))
        self.invariant = {*body.in_vars[:loop.num_consts], *body.const_vars}
        self.made = {v: e for e in body.equations for v in e.outs}
        self.uses = Counter(body.outs)
        for e in body.equations:
            self.uses.update(e.inputs)
        self.results = list(zip(body.outs[:loop.num_carry], equation.outs, strict=False))
        self.stacked = list(zip(body.outs[loop.num_carry:], equation.outs[loop.num_carry:], strict=True))
        self.stacks: dict[Any, Atom] = {**{v: self.outside[v] for v in self.slices}, **dict(self.stacked)}
        self.room = FREE + ROOM * sum(_bytes(atom.aval) for atom in self.stacks.values())
        self.gone: set[Equation] = set()
        self.after: list[tuple[Any, ...]] = []

    def run(self) -> bool:
        """Writes the loop and the products around it. False: it is as it was."""
        for e in self.loop.body.equations:
            if self.is_product(e):
                self.before_the_loop(e)
        for y, out in list(self.stacked):
            self.after_the_loop(y, out)
        sums = [self.summed(*place) for place in zip(self.carry, self.results, strict=True)]
        if not self.gone:
            self.walk.append(self.equation)
            return False
        self.write_loop(sums)
        for write, *details in self.after:
            write(*details)
        return True

    def is_product(self, e: Equation | None) -> bool:
        if e is None or e.primitive is not dot_general_p or e in self.gone:
            return False
        lhs, rhs = e.inputs
        contracted = math.prod(lhs.aval.shape[d] for d in e.params["dimension_numbers"][0][0])
        return type(lhs) is Var and type(rhs) is Var and e.outs[0].aval.size * contracted > WORTH_IT \
            and not (lhs.aval.weak_type or rhs.aval.weak_type)

    # ------------------------------------------------------------ which products

    def before_the_loop(self, e: Equation) -> None:
        """A product of a slice and of what is the same in each step: its result becomes a slice."""
        out, = e.outs
        side = self.moving_side(e)
        if side is None or e.inputs[side] not in self.slices or not self.take(self.stack_type(out)):
            return
        product = Var(self.stack_type(out))
        self.multiply(e, side, product)
        self.gone.add(e)
        self.slices.append(out)
        self.outside[out] = self.stacks[out] = product

    def after_the_loop(self, y: Any, out: Var) -> None:
        """A stacked result that is a product with what is the same in each step."""
        e = self.made.get(y)
        if not self.is_product(e) or self.uses[y] != 1 or (side := self.moving_side(e)) is None:
            return
        operand = e.inputs[side]
        if operand not in self.stacks and (operand.aval.size > y.aval.size or not self.take(self.stack_type(operand))):
            return
        self.gone.add(e)
        self.stacked.remove((y, out))
        del self.stacks[y]
        self.stack(operand)
        self.after.append((self.multiply, e, side, out))

    def summed(self, state: Var, result: tuple[Any, Var]) -> tuple[Any, Any]:
        """The terms of a sum over all steps: products that are summed after the loop, and the others."""
        total, out = result
        terms, additions = self.terms(total, state)
        if self.uses[state] != 1 or total is state or out.aval.weak_type:
            return None, None
        products = [e for e in map(self.made.get, terms) if self.is_product(e) and self.stackable(e, state.aval.size)]
        if not products:
            return None, None
        self.gone.update(additions)
        for e in products:
            self.gone.add(e)
            for operand in e.inputs:
                self.stack(operand)
        return products, [t for t in terms if t not in {e.outs[0] for e in products}]

    def terms(self, total: Any, state: Var) -> tuple[list[Atom], list[Equation]]:
        """What is added to the state by a sum that nothing else reads, none if it is no sum of the state; the additions."""
        found: list[Atom] = []
        additions = []
        waiting = [total]
        while waiting:
            atom = waiting.pop()
            e = self.made.get(atom)
            if e is not None and e.primitive is add_p and self.uses[atom] == 1 \
                    and all(x.aval.shape == atom.aval.shape for x in e.inputs):
                additions.append(e)
                waiting += e.inputs[::-1]
            else:
                found.append(atom)
        return [t for t in found if t is not state] if state in found else [], additions

    def stackable(self, e: Equation, size: int) -> bool:
        """Whether a product that is summed up in an array of this size is worth the stacks of its operands."""
        if self.uses[e.outs[0]] != 1 or any(x in self.invariant for x in e.inputs):
            return False
        new = {x for x in e.inputs if x not in self.stacks}
        return sum(x.aval.size for x in new) <= size and all([self.take(self.stack_type(x)) for x in new])

    # ------------------------------------------------------------ stacks

    def moving_side(self, e: Equation) -> int | None:
        """Which operand of a product changes from step to step, if one does and the other does not."""
        moving = [i for i, x in enumerate(e.inputs) if x not in self.invariant]
        return moving[0] if len(moving) == 1 else None

    def stack_type(self, atom: Atom) -> ShapedArray:
        return shaped_array((self.loop.length, *atom.aval.shape), atom.aval.dtype)

    def take(self, aval: ShapedArray) -> bool:
        """Takes memory for a stack, if there is room."""
        if _bytes(aval) > self.room:
            return False
        self.room -= _bytes(aval)
        return True

    def stack(self, v: Any) -> None:
        if v not in self.stacks:
            out = self.stacks[v] = Var(self.stack_type(v))
            self.stacked.append((v, out))

    # ------------------------------------------------------------ writing

    def write_loop(self, sums: list[tuple[Any, Any]]) -> None:
        """The loop with its new slices and stacks, and without the sums that are nothing but products."""
        loop, body = self.loop, self.loop.body
        consts = body.in_vars[:loop.num_consts]
        equations = [e for e in body.equations if e not in self.gone]
        carry, results = [], []
        for state, (total, out), (products, others) in zip(self.carry, self.results, sums, strict=True):
            first: Any = self.outside[state]
            if products is None:
                carry.append((state, first))
                results.append((total, out))
                continue
            if others:  # the sum of what is left stays in the loop
                now: Any = state
                for term in others:
                    now, before = Var(state.aval), now
                    equations.append(self.equation_like(self.made[total], (before, term), now))
                carry.append((state, first))
                first = Var(out.aval)
                results.append((now, first))
            self.after.append((self.add_up, first, products, out))
        ins = [*[(v, self.outside[v]) for v in consts], *carry, *[(v, self.outside[v]) for v in self.slices]]
        outs = [*results, *self.stacked]
        inner = body.replace(in_vars=tuple([v for v, _ in ins]), equations=tuple(equations), outs=tuple([v for v, _ in outs]))
        params = {**self.equation.params, "jaxpr": inner, "num_carry": len(carry)}
        e = self.equation
        self.walk.append(Equation(e.primitive, tuple([x for _, x in ins]), tuple([x for _, x in outs]), params, e.source,
                                  e.scope))

    def multiply(self, e: Equation, side: int, out: Var) -> None:
        """The products of all steps as one: the axis of the steps is a free one, and comes first in the result."""
        (lc, rc), (lb, rb) = e.params["dimension_numbers"]
        inputs = [self.whole(x) for x in e.inputs]
        contracted, batch = [lc, rc], [lb, rb]
        contracted[side], batch[side] = _after(contracted[side]), _after(batch[side])
        free = len(e.inputs[0].aval.shape) - len(lc) - len(lb)
        at = len(lb) + (free if side else 0)
        shape = list(out.aval.shape[1:])
        shape.insert(at, self.loop.length)
        product = Var(shaped_array(tuple(shape), out.aval.dtype)) if at else out
        params = {**e.params, "dimension_numbers": (tuple(contracted), tuple(batch))}
        self.walk.append(Equation(dot_general_p, tuple(inputs), (product,), params, e.source, self.equation.scope))
        if at:
            order = (at, *[d for d in range(len(shape)) if d != at])
            self.walk.append(Equation(transpose_p, (product,), (out,), {"permutation": order}, e.source, self.equation.scope))

    def add_up(self, first: Atom, products: list[Equation], out: Var) -> None:
        """The sum of the products of all steps: the axis of the steps is contracted too."""
        for e in products:
            contracted, (lb, rb) = e.params["dimension_numbers"]
            dimensions = tuple([(0, *_after(axes)) for axes in contracted]), (_after(lb), _after(rb))
            total = Var(e.outs[0].aval)
            self.walk.append(Equation(dot_general_p, tuple([self.stacks[x] for x in e.inputs]), (total,),
                                      {**e.params, "dimension_numbers": dimensions}, e.source, self.equation.scope))
            after = out if e is products[-1] else Var(out.aval)
            self.walk.append(self.equation_like(self.made_by_adding(e), (first, total), after))
            first = after

    def made_by_adding(self, e: Equation) -> Equation:
        """The addition that reads the result of a product."""
        return next(x for x in self.loop.body.equations if e.outs[0] in x.inputs)

    def equation_like(self, e: Equation, inputs: tuple[Atom, ...], out: Var) -> Equation:
        return Equation(e.primitive, inputs, (out,), e.params, e.source, self.equation.scope)

    def whole(self, x: Any) -> Atom:
        """All steps of an operand, or what it is in each of them."""
        if x in self.stacks:
            return self.stacks[x]
        if x in self.constants:
            constant = self.outside[x] = self.outside.get(x) or Var(x.aval)
            self.walk.new_consts.append((constant, self.constants.pop(x)))
        return self.outside[x]


def _after(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Axes behind a new first one."""
    return tuple([d + 1 for d in axes])


def _bytes(aval: ShapedArray) -> int:
    return aval.size * aval.dtype.itemsize
