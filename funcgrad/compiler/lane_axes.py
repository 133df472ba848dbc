"""Which axes of a loop's values are lanes: along them no two elements ever meet.

In: a loop. Out: ``Axes``, the axes of all of its values in classes, and the choice of those classes that are lanes; and
``of_one_lane``, the loop of a lane that may stop before the others.

    vmap of a scan of c -> w @ c, from c:f64[1000,3]:    the axis of size 1000 is a lane, that of size 3 is not: w mixes it
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from funcgrad.compiler.expressions import combination
from funcgrad.compiler.lending import unlent
from funcgrad.compiler.small import LARGEST, TooLarge
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import INDEX, Kind
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.ops.elementwise import and_p
from funcgrad.ops.structural import concatenate_p, pad_p, select_n_p
from funcgrad.passes.dead_code import prune

# ---------------------------------------------------------------- which axes go together


class Axes:
    """The axes of all values of a loop, in classes: an axis of an operand and that of the result which it becomes are one.

    A class is ``mixed`` if elements meet along it: in a sum, a product, a slice.
    """

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.sizes: list[int] = []
        self.mixed: set[int] = set()
        self.of: dict[Var, list[int | None]] = {}
        self.constants: set[Atom] = set()
        """Known arrays: their elements are in the text of a kernel. Their axes are no lanes."""
        self.flags: list[Var] = []
        """By which a lane ends alone, or takes a branch."""

    def find(self, label: int) -> int:
        while self.parent[label] != label:
            label = self.parent[label]
        return label

    def labels(self, atom: Atom) -> list[int | None]:
        """The class of each axis; axes of size 1 have none."""
        if type(atom) is Literal:
            return []
        if atom not in self.of:
            self.of[atom] = [None if n == 1 else self.new(n) for n in atom.aval.shape]  # type: ignore[index]
            if atom in self.constants:
                self.mixed.update([x for x in self.of[atom] if x is not None])  # type: ignore[index]
        return [None if x is None else self.find(x) for x in self.of[atom]]  # type: ignore[index]

    def new(self, size: int) -> int:
        self.parent.append(len(self.parent))
        self.sizes.append(size)
        return self.parent[-1]

    def mix(self, atom: Atom, axes: Sequence[int] | None = None) -> None:
        """Elements meet along these axes, or along all."""
        for d, label in enumerate(self.labels(atom)):
            if label is not None and (axes is None or d in axes):
                self.mixed.add(label)

    def join(self, x: Atom, y: Atom, pairs: Sequence[tuple[int, int]] | None = None) -> None:
        """Pairs of axes of two values go together, or all of two values of one shape."""
        a, b = self.labels(x), self.labels(y)
        for i, j in pairs if pairs is not None else zip(range(len(a)), range(len(b)), strict=True):
            if a[i] is not None and b[j] is not None:
                self.parent[self.find(a[i])] = self.find(b[j])  # type: ignore[arg-type]

    def is_mixed(self) -> set[int]:
        """The classes along which elements meet: those of which a value has two axes, too."""
        mixed = {self.find(x) for x in self.mixed}
        for atom in self.of:
            labels = [x for x in self.labels(atom) if x is not None]
            mixed |= {x for x in labels if labels.count(x) > 1}
        return mixed

    # ------------------------------------------------------------ programs

    def structure(self, structure: Any, inputs: Sequence[Atom] | None, outs: Sequence[Atom] | None) -> None:
        """A control operation; the outermost has neither inputs nor outs here."""
        if isinstance(structure, Choice):
            for branch in structure.branches:
                self.program(branch)
                for x, y in itertools.chain(zip(inputs[1:], branch.in_vars, strict=True),  # type: ignore[index]
                                            zip(outs, branch.outs, strict=True)):  # type: ignore[arg-type]
                    self.join(x, y)
            return
        alone = of_one_lane(structure)
        structure = alone.loop
        self.flags += alone.tested
        for equation in alone.marks:
            self.equation(equation)
        for x, y in alone.choices:
            self.join(x, y)
        body = structure.body
        self.program(body)
        if isinstance(structure, Loop):
            carried = body.in_vars[structure.num_consts:structure.num_consts + structure.num_carry]
        else:
            carried = body.in_vars[structure.body_consts:]
        for v, out in zip(carried, body.outs, strict=False):  # behind them are slices of results
            self.join(v, out)
        if isinstance(structure, While):
            self.program(structure.condition)
            for v, w in zip(structure.condition.in_vars[structure.cond_consts:], carried, strict=True):
                self.join(v, w)
            operands = (*structure.condition.in_vars[:structure.cond_consts], *body.in_vars)
        else:
            operands = body.in_vars
        if inputs is not None:
            if isinstance(structure, Loop):
                operands = operands[:structure.num_consts + structure.num_carry]
            if len(outs) != len(carried) or any(x not in self.constants for x in inputs[len(operands):]):  # type: ignore[arg-type]
                raise TooLarge  # slices of what is in a body
            for x, y in itertools.chain(zip(inputs, operands, strict=False),
                                        zip(outs, carried, strict=True)):  # type: ignore[arg-type]
                self.join(x, y)

    def program(self, jaxpr: Jaxpr) -> None:
        self.constants.update(jaxpr.const_vars)
        for v in jaxpr.in_vars:
            self.labels(v)
        for equation in jaxpr.equations:
            self.equation(equation)

    def equation(self, equation: Equation) -> None:
        if not equation.outs:  # it is there for its effect
            raise TooLarge
        primitive, inputs, out = equation.primitive, equation.inputs, equation.outs[0]
        if primitive.kind is Kind.ELEMENTWISE:
            for v, x in itertools.product(equation.outs, inputs):
                if x.aval.shape:
                    self.join(x, v)
        elif primitive.code is INDEX:
            self.mix(out, [equation.params["dimension"]])
        elif primitive.kind is Kind.MOVEMENT and callable(primitive.code) and len(inputs) == 1:
            self.moved(inputs[0], out, equation)
        elif primitive is concatenate_p or primitive is pad_p:
            kept = [d for d in range(len(out.aval.shape)) if d != equation.params.get("dimension", d + 1)
                    and equation.params.get("padding_config", [(0, 0, 0)] * (d + 1))[d] == (0, 0, 0)]
            for x in (*inputs, out):
                self.mix(x, [d for d in range(len(x.aval.shape)) if d not in kept])
                if x.aval.shape:
                    self.join(x, out, [(d, d) for d in kept])
        elif primitive.kind is Kind.REDUCTION:
            axes = equation.params["axes"]
            self.mix(inputs[0], axes)
            kept = [d for d in range(len(inputs[0].aval.shape)) if d not in axes]
            self.join(inputs[0], out, [(d, i) for i, d in enumerate(kept)])
        elif primitive.kind is Kind.CONTRACTION:
            (lc, rc), (lb, rb) = equation.params["dimension_numbers"]
            lhs, rhs = inputs
            self.mix(lhs, lc)
            self.mix(rhs, rc)
            left = [*lb, *[d for d in range(len(lhs.aval.shape)) if d not in (*lc, *lb)]]
            right = [d for d in range(len(rhs.aval.shape)) if d not in (*rc, *rb)]
            self.join(lhs, out, [(d, i) for i, d in enumerate(left)])
            self.join(rhs, out, [*[(d, i) for i, d in enumerate(rb)], *[(d, i + len(left)) for i, d in enumerate(right)]])
        elif primitive.kind is Kind.CONTROL and callable(primitive.code):
            self.structure(primitive.code(**equation.params), inputs, equation.outs)
        else:
            raise TooLarge

    def moved(self, source: Atom, out: Var, equation: Equation) -> None:
        """A view in which each stride tells its axis: axes that lie in the result as they are."""
        view = moved_view(source, equation)
        axis_of = {s: d for d, (n, s) in enumerate(zip(source.aval.shape, row_major(source.aval.shape), strict=True)) if n != 1}
        first = np.unravel_index(view.offset, source.aval.shape) if source.aval.shape else ()
        pairs = [(axis_of[s], i) for i, (n, s) in enumerate(zip(view.shape, view.strides, strict=True))
                 if n != 1 and s in axis_of and source.aval.shape[axis_of[s]] == n and first[axis_of[s]] == 0]
        self.mix(source, [d for d in axis_of.values() if d not in [a for a, _ in pairs]])
        self.mix(out, [i for i, (n, s) in enumerate(zip(view.shape, view.strides, strict=True))
                       if n != 1 and s and i not in [b for _, b in pairs]])
        self.join(source, out, pairs)

    # ------------------------------------------------------------ the choice

    def lanes(self) -> list[int]:
        """The fewest classes, long ones first, beside which all values are small. Those of flags are among them."""
        mixed = self.is_mixed()
        chosen = {x for flag in self.flags for x in self.labels(flag) if x is not None}
        if chosen & mixed:
            raise TooLarge
        for atom in self.of:
            labels = [x for x in self.labels(atom) if x is not None]
            free = sorted([x for x in labels if x not in chosen and x not in mixed], key=lambda x: -self.sizes[x])
            while math.prod(self.sizes[x] for x in labels if x not in chosen) > LARGEST:
                if not free:
                    raise TooLarge
                chosen.add(free.pop(0))
        found: list[int] = []
        for x in sorted(chosen):  # values that have nothing to do with each other go side by side
            y = next((y for y in found if self.sizes[x] == self.sizes[y]
                      and not any({x, y} <= set(self.labels(v)) for v in self.of)), None)
            if y is None:
                found.append(x)
            else:
                self.parent[x] = y
        return found


def moved_view(source: Atom, equation: Equation) -> View:
    shape = source.aval.shape
    return equation.primitive.code(View(None, shape, row_major(shape)), **equation.params)


# ---------------------------------------------------------------- lanes that end alone


class OneLane(NamedTuple):
    """A loop as a lane runs it."""

    loop: While | Loop
    flag: Var | None
    """The part of the state that says for each lane whether it goes on; None if all stop together."""
    tested: tuple[Var, ...]
    """Values by which each lane goes its way: their axes are lanes."""
    marks: tuple[Equation, ...]
    """What is made of them, to choose by."""
    choices: tuple[tuple[Atom, Atom], ...]
    """What chooses, and what is chosen: they must lie in the same lanes."""


def of_one_lane(loop: While | Loop) -> OneLane:
    """The loop for one lane.

    A batch goes on while any of its lanes does. A lane may stop before the others only if it keeps its state from then on:
    if its flag is never set again, and every other part of the state is a choice, by the flag, between old and new. The new
    one is then all that the lane's own loop computes. Where a batch lends values to the lanes that are done, that too is a
    choice by the flag.
    """
    key = ("of one lane", loop.condition, loop.cond_consts) if isinstance(loop, While) else ("of one lane",)
    if key not in loop.body.cache:
        number = _flag(loop.condition, loop.cond_consts) if isinstance(loop, While) else None
        alone = None if number is None else _ending_alone(loop, number)  # type: ignore[arg-type]
        alone = alone or OneLane(loop, None, (), (), ())
        body = unlent(alone.loop.body)
        loop.body.cache[key] = OneLane(
            replace(alone.loop, body=body.jaxpr), alone.flag, (*alone.tested, *body.tested), (*alone.marks, *body.marks),
            (*alone.choices, *body.choices))
    found = loop.body.cache[key]
    return found if isinstance(loop, While) else found._replace(loop=replace(loop, body=found.loop.body))


def _flag(condition: Jaxpr, consts: int) -> int | None:
    """The part of the state of which a condition asks whether any element is true."""
    if len(condition.equations) != 1 or condition.outs != condition.equations[0].outs:
        return None
    equation, = condition.equations
    state = condition.in_vars[consts:]
    if equation.primitive.kind is not Kind.REDUCTION or equation.inputs[0] not in state:
        return None
    aval = equation.inputs[0].aval
    if aval.dtype.kind != "b" or len(equation.params["axes"]) < len(aval.shape) or \
            combination(equation.primitive.code, aval.dtype, "a", "b") != "a | b":
        return None
    return state.index(equation.inputs[0])  # type: ignore[arg-type]


def _ending_alone(loop: While, number: int) -> OneLane | None:
    body, state = loop.body, loop.body.in_vars[loop.body_consts:]
    made_by = {v: equation for equation in body.equations for v in equation.outs}
    flags: set[Atom] = {state[number]}
    new: dict[Atom, Atom] = {}
    equations, marks, choices = [], [], []
    for equation in body.equations:
        if equation.primitive.kind is Kind.MOVEMENT and len(equation.inputs) == 1 and equation.inputs[0] in flags:
            flags.add(equation.outs[0])
            marks.append(equation)
        equation = replace(equation, inputs=tuple([new.get(x, x) for x in equation.inputs]))
        if _chosen_by(equation, flags) and equation.inputs[2].aval.shape == equation.outs[0].aval.shape:
            new[equation.outs[0]] = equation.inputs[2]
            choices.append((equation.inputs[0], equation.outs[0]))
        equations.append(equation)

    def kept(i: int, out: Atom) -> bool:
        """Whether this part of the state is the old one where the flag is false; of the flag, whether it stays false."""
        equation = made_by.get(out)  # type: ignore[arg-type]
        if out is state[i] or equation is None:
            return out is state[i]
        if i == number:
            return equation.primitive is and_p and any(kept(i, x) for x in equation.inputs)
        choices.append((equation.inputs[0], state[i]))
        return _chosen_by(equation, flags) and equation.inputs[1] is state[i]

    if not all(kept(i, out) for i, out in enumerate(body.outs)):
        return None
    alone = body.replace(equations=tuple(equations), outs=tuple([new.get(x, x) for x in body.outs]))
    condition = loop.condition.replace(equations=(), outs=(loop.condition.in_vars[loop.cond_consts + number],))
    return OneLane(While(condition, prune(alone)[0], loop.cond_consts, loop.body_consts), state[number],
                   (state[number],), tuple(marks), tuple(choices))


def _chosen_by(equation: Equation, flags: set[Atom]) -> bool:
    return equation.primitive is select_n_p and len(equation.inputs) == 3 and equation.inputs[0] in flags
