"""Branches of a batch without what their lanes lend each other.

In: a program in which each lane takes one of several branches. ``vmap`` computes all branches in all lanes, and lends a lane
that does not take a branch the values of one that does, so that nothing goes wrong there; then it chooses. Out: the program
without the lending, in which no lane looks at another. Where a lane computes something else than before, nobody looks at it.

    b = eq d 0; x' = select_n b lent x; y = f x'; ... select_n (eq d 1) y z    ->    y = f x
"""
from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import Kind
from funcgrad.ops.elementwise import clamp_p, eq_p
from funcgrad.ops.structural import convert_element_type_p, select_n_p
from funcgrad.passes.dead_code import prune

FEW = 64
"""Branches."""
ARITHMETIC = (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.REDUCTION, Kind.CONTRACTION)

Demand = dict[Atom, frozenset[int]]
"""For which values of variables somebody looks at a value; for all of those that are not in it."""


class Test(NamedTuple):
    """A bool that is true for some values of a variable."""

    of: Var
    true: frozenset[int]
    domain: frozenset[int]


class Unlent(NamedTuple):
    """A program without lending, if its tests and what they choose lie in the same lanes."""

    jaxpr: Jaxpr
    tested: tuple[Var, ...]
    marks: tuple[Equation, ...]
    choices: tuple[tuple[Atom, Atom], ...]


def unlent(jaxpr: Jaxpr) -> Unlent:
    """The program without choices of which it is known what they choose wherever somebody looks at it."""
    tests, marks = _tests(jaxpr)
    demands = _demands(jaxpr, tests)
    new: dict[Atom, Atom] = {}
    used: dict[Var, None] = {}
    equations = []
    for equation in jaxpr.equations:
        equation = replace(equation, inputs=tuple([new.get(x, x) for x in equation.inputs]))
        equations.append(equation)
        test = _test(equation, tests)
        if test is None or equation.outs[0] not in demands:
            continue
        seen = demands[equation.outs[0]].get(test.of, test.domain)
        if seen <= test.true or not seen & test.true:
            new[equation.outs[0]] = equation.inputs[2 if seen <= test.true else 1]
            used[test.of] = None
    if not used:
        return Unlent(jaxpr, (), (), ())
    chosen = [(_test(e, tests), e) for e in jaxpr.equations]
    choices = [(e.inputs[0], e.outs[0]) for test, e in chosen if test is not None and test.of in used]
    program = prune(jaxpr.replace(equations=tuple(equations), outs=tuple([new.get(x, x) for x in jaxpr.outs])))[0]
    return Unlent(program, tuple(used), tuple([e for of, e in marks if of in used]), tuple(choices))


def _test(equation: Equation, tests: dict[Atom, Test]) -> Test | None:
    """That of a choice between two values."""
    if equation.primitive is not select_n_p or len(equation.inputs) != 3 or equation.inputs[0].aval.dtype.kind != "b" or \
            any(x.aval.shape != equation.outs[0].aval.shape for x in equation.inputs):
        return None
    return tests.get(equation.inputs[0])


def _tests(jaxpr: Jaxpr) -> tuple[dict[Atom, Test], list[tuple[Var, Equation]]]:
    """What is known of the bools of a program, and the equations that tell it, each with the variable that it tests."""
    tests: dict[Atom, Test] = {}
    numbers: dict[Atom, tuple[Var, frozenset[int]]] = {}
    marks = []

    def is_test(x: Atom) -> bool:
        if type(x) is Var and x.aval.dtype.kind == "b":
            tests.setdefault(x, Test(x, frozenset([1]), frozenset([0, 1])))
        return x in tests

    for equation in jaxpr.equations:
        primitive, out, inputs = equation.primitive, equation.outs[0] if equation.outs else None, equation.inputs
        if primitive.kind is Kind.MOVEMENT and len(inputs) == 1 and is_test(inputs[0]):
            tests[out] = tests[inputs[0]]
        elif primitive is convert_element_type_p and out.aval.dtype.kind in "iu" and is_test(inputs[0]) \
                and tests[inputs[0]].of is inputs[0]:
            numbers[out] = tests[inputs[0]].of, tests[inputs[0]].domain
        elif primitive is convert_element_type_p and out.aval.dtype.kind in "iu" and inputs[0] in numbers:
            numbers[out] = numbers[inputs[0]]
        elif primitive is clamp_p and type(inputs[0]) is type(inputs[2]) is Literal and out.aval.dtype.kind in "iu" \
                and 0 <= inputs[0].value <= inputs[2].value < FEW:
            numbers[out] = out, frozenset(range(int(inputs[0].value), int(inputs[2].value) + 1))
        elif primitive is eq_p and inputs[0] in numbers and type(inputs[1]) is Literal:
            of, domain = numbers[inputs[0]]
            tests[out] = Test(of, domain & {int(inputs[1].value)}, domain)
        elif primitive is select_n_p:
            is_test(inputs[0])
        if out in tests or out in numbers:
            marks.append((tests[out].of if out in tests else numbers[out][0], equation))
    return tests, marks


def _demands(jaxpr: Jaxpr, tests: dict[Atom, Test]) -> dict[Atom, Demand]:
    """Who looks at each value, from the results backwards."""
    demands: dict[Atom, Demand] = {}

    def look(x: Atom, demand: Demand) -> None:
        before = demands.get(x, demand)
        demands[x] = {v: seen | before[v] for v, seen in demand.items() if v in before}

    for out in jaxpr.outs:
        look(out, {})
    for equation in reversed(jaxpr.equations):
        found = [demands[v] for v in equation.outs if v in demands]
        if not found:
            continue
        demand = {v: frozenset().union(*[d[v] for d in found]) for v in found[0] if all(v in d for d in found)}
        test = _test(equation, tests)
        if equation.primitive.kind not in ARITHMETIC:
            demand = {}
        for i, x in enumerate(equation.inputs):
            if test is not None and i > 0:
                those = test.true if i == 2 else test.domain - test.true
                look(x, {**demand, test.of: demand.get(test.of, test.domain) & those})
            else:
                look(x, demand)
    return demands
