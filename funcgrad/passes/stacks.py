"""Stacks that are cheap to compute again: a loop computes such slices itself instead of reading them from memory.

In: a program. Out: one in which no loop reads a stack that only it reads, and that is made of other stacks by a few cheap
operations: by operations between the loops, or inside of the loop that stacks it. What is stacked for a gradient is
often of this kind:

    forward:   c = logistic a; d = sub 1.0 c; e = mul c d, with c and e stacked
    backward:  reads c alone, and computes e

A stack takes memory, and is written and read at the speed of memory; a few operations on what is in registers are free.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import Kind
from funcgrad.core.structure import Loop
from funcgrad.core.types import shaped_array
from funcgrad.ops.elementwise import (
    abs_p,
    add_p,
    and_p,
    eq_p,
    ge_p,
    gt_p,
    integer_pow_p,
    le_p,
    lt_p,
    max_p,
    min_p,
    mul_p,
    ne_p,
    neg_p,
    not_p,
    or_p,
    sign_p,
    square_p,
    sub_p,
)
from funcgrad.ops.structural import convert_element_type_p, select_n_p
from funcgrad.passes.rewriting import Walk, of_body

CHEAP = frozenset([abs_p, add_p, and_p, convert_element_type_p, eq_p, ge_p, gt_p, integer_pow_p, le_p, lt_p, max_p, min_p,
                   mul_p, ne_p, neg_p, not_p, or_p, select_n_p, sign_p, square_p, sub_p])
MOST = 6
"""Operations by which one slice is computed again."""


def stacks(jaxpr: Jaxpr) -> Jaxpr:
    """The program with loops that compute cheap slices themselves."""
    return _Stacks(jaxpr, {}, lambda body: of_body(body, "stacks", stacks)).run()


def loop_of(e: Equation | None) -> Loop | None:
    """The loop that an equation is."""
    if e is None or e.primitive.kind is not Kind.CONTROL or not callable(e.primitive.code):
        return None
    found = e.primitive.code(**e.params)
    return found if type(found) is Loop else None


class _Stacks(Walk):
    def __init__(self, *args: Any):
        super().__init__(*args)
        self.uses = Counter(self.jaxpr.outs)
        for e in self.jaxpr.equations:
            self.uses.update(set(e.inputs))

    def equation(self, equation: Equation) -> bool:
        changed = super().equation(equation)
        loop = loop_of(self.equations[-1])
        if loop is None:
            return changed
        new = _Slices(self, self.equations[-1], loop).rewritten()
        if new is None:
            return changed
        self.equations.pop()
        self.append(new)
        return True


class _Slices:
    """The slices of one loop: ``slice_of`` a stack, and what takes the place of those that are computed again."""

    def __init__(self, walk: _Stacks, equation: Equation, loop: Loop):
        self.walk, self.equation, self.loop = walk, equation, loop
        start = loop.num_consts + loop.num_carry
        pairs = list(zip(loop.body.in_vars, equation.inputs, strict=True))
        self.consts, self.carry = pairs[:loop.num_consts], pairs[loop.num_consts:start]
        self.slice_of: dict[Atom, Var] = {}
        self.twice = []
        for v, stack in pairs[start:]:
            if stack in self.slice_of:
                self.twice.append((v, stack))
            else:
                self.slice_of[stack] = v
        self.const_of: dict[Atom, Var] = {x: v for v, x in self.consts}
        self.computed: dict[Var, list[Equation]] = {}

    def rewritten(self) -> Equation | None:
        """The loop with fewer slices; None if all of them stay."""
        waiting = list(self.slice_of)
        while waiting:
            stack = waiting.pop()
            before = set(self.slice_of)
            if self.walk.uses[stack] == 1 and self.compute(stack):
                del self.slice_of[stack]
                waiting += [x for x in self.slice_of if x not in before]
        if not self.computed:
            return None
        equations: list[Equation] = []
        for v in list(self.computed):
            self.write(v, equations)
        body = self.loop.body
        ins = [*self.consts, *self.carry, *[(v, x) for x, v in self.slice_of.items()], *self.twice]
        inner = body.replace(in_vars=tuple([v for v, _ in ins]), equations=(*equations, *body.equations))
        e = self.equation
        params = {**e.params, "jaxpr": inner, "num_consts": len(self.consts)}
        return Equation(e.primitive, tuple([x for _, x in ins]), e.outs, params, e.source, e.scope)

    def write(self, v: Var, equations: list[Equation]) -> None:
        """The equations of a slice, behind those of the slices that they read."""
        for e in self.computed.pop(v, ()):
            for atom in e.inputs:
                if atom in self.computed:
                    self.write(atom, equations)  # type: ignore[arg-type]
            equations.append(e)

    def compute(self, stack: Atom) -> bool:
        """Finds how to compute the slice of a stack from those of others, at most one of which is not read yet."""
        made = self.walk.definitions.get(stack)  # type: ignore[arg-type]
        if made is None:
            return False
        other = loop_of(made)
        if other is not None:
            tree, leaves = _inside(other, made, stack)
        else:
            tree, leaves = ([made], _outside(made)) if made.primitive in CHEAP else ([], None)
        if leaves is None or not tree or sum(x not in self.slice_of and not is_const for x, is_const in leaves.values()) > 1:
            return False
        names: dict[Atom, Atom] = {}
        for atom, (x, is_const) in leaves.items():
            names[atom] = self.const(x) if is_const else self.slice(x)
        equations = []
        for e in tree:
            inputs = tuple([names.get(a, a) for a in e.inputs])
            out = self.slice_of[stack] if e is tree[-1] else Var(e.outs[0].aval)
            names[e.outs[0]] = out
            equations.append(Equation(e.primitive, inputs, (out,), e.params, e.source, self.equation.scope))
        self.computed[self.slice_of[stack]] = equations
        return True

    def const(self, x: Atom) -> Atom:
        if type(x) is Literal:
            return x
        if x not in self.const_of:
            self.const_of[x] = Var(x.aval)
            self.consts.append((self.const_of[x], x))
        return self.const_of[x]

    def slice(self, stack: Atom) -> Var:
        if stack not in self.slice_of:
            aval = stack.aval
            self.slice_of[stack] = Var(shaped_array(aval.shape[1:], aval.dtype, aval.weak_type))
        return self.slice_of[stack]


Leaves = dict[Atom, tuple[Atom, bool]]
"""For what an equation reads: the stack, or the same value in each step, and which of both it is."""


def _outside(e: Equation) -> Leaves:
    """What an operation on stacks reads."""
    return {a: (a, a.aval.shape != e.outs[0].aval.shape) for a in e.inputs}


def _inside(loop: Loop, equation: Equation, stack: Atom) -> tuple[list[Equation], Leaves | None]:
    """The operations by which a loop computes what it stacks, from what is stacked elsewhere; no leaves if it cannot be."""
    body = loop.body
    start = loop.num_consts + loop.num_carry
    wanted = body.outs[equation.outs.index(stack)]  # type: ignore[arg-type]
    if equation.outs.index(stack) < loop.num_carry:  # type: ignore[arg-type]
        return [], None
    known: Leaves = {v: (x, True) for v, x in zip(body.in_vars[:loop.num_consts], equation.inputs, strict=False)}
    known |= {v: (x, False) for v, x in zip(body.in_vars[start:], equation.inputs[start:], strict=True)}
    known |= {v: (x, False) for v, x in zip(body.outs[loop.num_carry:], equation.outs[loop.num_carry:], strict=True)
              if v is not wanted}
    made = {v: e for e in body.equations for v in e.outs}
    tree: dict[Equation, None] = {}
    leaves: Leaves = {}

    def visit(atoms: Iterable[Atom]) -> bool:
        for atom in atoms:
            e = made.get(atom)  # type: ignore[arg-type]
            if type(atom) is Literal or e in tree:
                continue
            if atom in known:
                leaves[atom] = known[atom]
            elif e is None or e.primitive not in CHEAP or len(tree) >= MOST or not visit(e.inputs):
                return False
            else:
                tree[e] = None
        return True

    return (list(tree), leaves) if visit([wanted]) else ([], None)
