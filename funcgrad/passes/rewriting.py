"""What the passes share: a forward walk that rewrites equations, and what it knows of the values it has met.

In: a program, and rules for its equations. Out: the program rewritten. A rule is a function of the walk and an equation
whose arguments are rewritten already; it returns None (it does not apply), an ``Equation`` that gives the same results
and is looked at again, or a list of atoms that already are the results.

    double negation:  (walk, c = neg b)  with  b = neg a  known to the walk   ->   [a]

Atoms that replace a variable have its shape and dtype; whether a value is weakly typed matters only where it leaves the
program, and there types stay as they were.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import Primitive
from funcgrad.core.types import ShapedArray

Rule = Callable[["Walk", Equation], Equation | list[Atom] | None]
Rules = dict[Primitive | None, tuple[Rule, ...]]
"""The rules of each primitive; those under None are tried first, for all primitives that compute."""

_MOST_REWRITES = 32
"""Of one equation: every rule makes a program simpler, so no more than a few follow each other."""


def with_programs(params: dict[str, Any], change: Callable[[Jaxpr], Jaxpr]) -> dict[str, Any]:
    """The params of an equation with a change made to each program among them; the same object if there is none."""
    changed = {}
    for name, value in params.items():
        if type(value) is Jaxpr:
            new: Any = change(value)
            if new is not value:
                changed[name] = new
        elif type(value) is tuple and value and type(value[0]) is Jaxpr:
            new = tuple(map(change, value))
            if any(a is not b for a, b in zip(new, value, strict=True)):
                changed[name] = new
    return {**params, **changed} if changed else params


_UNCHANGED = object()


def of_body(jaxpr: Jaxpr, name: str, change: Callable[[Jaxpr], Jaxpr]) -> Jaxpr:
    """A change made to the body of a loop or a branch: once for all equations that carry it, and kept with it."""
    found = jaxpr.cache.get(name)
    if found is None:
        new = change(jaxpr)
        found = jaxpr.cache[name] = _UNCHANGED if new is jaxpr else new  # a program that holds itself would not die
    return jaxpr if found is _UNCHANGED else found


class Walk:
    """One walk over a program.

    Attributes:
      definitions: for each variable, the equation that gives it in the new program.
      uniform: variables all of whose elements are one scalar, with that scalar.
      values: variables whose few elements are known.
      memory: what rules want to keep for the rest of the walk.
    """

    def __init__(self, jaxpr: Jaxpr, rules: Rules, body: Callable[[Jaxpr], Jaxpr]):
        self.jaxpr, self.rules, self.body = jaxpr, rules, body
        self.general = rules.get(None, ())
        self.equations: list[Equation] = []
        self.new_consts: list[tuple[Var, Any]] = []
        self.atoms: dict[Var, Atom] = {}
        self.definitions: dict[Var, Equation] = {}
        self.uniform: dict[Var, Literal] = {}
        self.values: dict[Var, np.ndarray] = {}
        self.memory: dict[str, Any] = {}
        self.out_vars = {v for v in jaxpr.outs if type(v) is Var}
        self.current: Equation | None = None

    def run(self) -> Jaxpr:
        """The new program; the old one if nothing was rewritten."""
        changed = False
        for equation in self.jaxpr.equations:
            changed |= self.equation(equation)
        if not changed and not self.atoms:
            return self.jaxpr
        jaxpr, atoms = self.jaxpr, self.atoms
        return jaxpr.replace(
            const_vars=(*jaxpr.const_vars, *[v for v, _ in self.new_consts]),
            consts=(*jaxpr.consts, *[c for _, c in self.new_consts]), equations=tuple(self.equations),
            outs=tuple([atoms.get(a, a) if type(a) is Var else a for a in jaxpr.outs]))

    def equation(self, equation: Equation) -> bool:
        """Rewrites one equation as often as a rule applies; tells whether anything changed."""
        primitive = equation.primitive
        new = equation
        atoms = self.atoms
        if atoms:
            inputs = tuple([atoms.get(a, a) if type(a) is Var else a for a in equation.inputs])
            if inputs != equation.inputs:
                new = Equation(primitive, inputs, equation.outs, equation.params, equation.source, equation.scope)
        if primitive.on_values:
            params = with_programs(new.params, self.body)
            if params is not new.params:
                new = Equation(primitive, new.inputs, new.outs, params, new.source, new.scope)
            self.append(new)
            return new is not equation
        return self.simplified(new) is not equation

    def simplified(self, equation: Equation) -> Equation | None:
        """Applies rules to an equation and writes what is left of it, which may be nothing."""
        self.current = equation
        for _ in range(_MOST_REWRITES):
            found = self.rewritten(equation)
            if found is None:
                break
            if type(found) is Equation:
                equation = found
            elif self.replaced(equation.outs, found):
                return None
            else:
                break
        self.append(equation)
        return equation

    def rewritten(self, equation: Equation) -> Equation | list[Atom] | None:
        """What the first rule that applies makes of an equation."""
        for rule in self.general:
            found = rule(self, equation)
            if found is not None:
                return found
        for rule in self.rules.get(equation.primitive, ()):
            found = rule(self, equation)
            if found is not None:
                return found
        return None

    def replaced(self, variables: Sequence[Var], atoms: Sequence[Atom]) -> bool:
        """Lets atoms stand for variables from here on, unless the type of a result of the program would change."""
        for v, a in zip(variables, atoms, strict=True):
            if v in self.out_vars and v.aval is not a.aval and (type(a) is Var or v.aval.weak_type or v.aval.shape):
                return False
        self.atoms.update(zip(variables, atoms, strict=True))
        return True

    def append(self, equation: Equation) -> None:
        self.equations.append(equation)
        for v in equation.outs:
            self.definitions[v] = equation

    # ------------------------------------------------------------ for rules

    def defined(self, atom: Atom, primitive: Primitive) -> Equation | None:
        """The equation that gives an atom, if it is one of this primitive."""
        found = self.definitions.get(atom)
        return found if found is not None and found.primitive is primitive else None

    def scalar(self, atom: Atom) -> Any:
        """The one value that all elements of an atom have, or None."""
        if type(atom) is Literal:
            return atom.value
        literal = self.uniform.get(atom)
        return None if literal is None else literal.value

    def emit(self, primitive: Primitive, *inputs: Atom, **params: Any) -> Atom:
        """Writes one more equation before the current one, simplified too; gives its result."""
        current = self.current
        assert current is not None
        aval, = primitive.abstract_eval(tuple([a.aval for a in inputs]), params)
        variable = Var(aval)
        self.simplified(Equation(primitive, inputs, (variable,), params, current.source, current.scope))
        self.current = current
        return self.atoms.get(variable, variable)

    def constant(self, value: np.ndarray, aval: ShapedArray) -> Var:
        """A new constant of the program, whose elements are known."""
        variable = Var(aval)
        self.new_consts.append((variable, DeviceArray(value, aval.weak_type)))
        self.values[variable] = value
        return variable


def instead(equation: Equation, primitive: Primitive, *inputs: Atom, **params: Any) -> Equation:
    """An equation that gives the same results in another way."""
    return Equation(primitive, inputs, equation.outs, params, equation.source, equation.scope)
