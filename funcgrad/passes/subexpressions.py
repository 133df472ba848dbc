"""Common subexpressions: what is computed twice is computed once.

In: a program. Out: the program in which an equation that equals an earlier one gives way to its results. Equal are
equations of one primitive with the same arguments (in any order if it is commutative; literals of one dtype and the same
bits), params and scope: what a checkpoint computes anew is not merged with what was computed before.

    b:f64[] = sin a; c:f64[] = sin a; d:f64[] = mul b c    ->    b:f64[] = sin a; d:f64[] = mul b b
"""
from __future__ import annotations

from typing import Any

from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var, is_effect
from funcgrad.passes.rewriting import Walk, of_body


def common_subexpressions(jaxpr: Jaxpr) -> Jaxpr:
    """The program with each value computed once."""
    return _Sharing(jaxpr, {}, lambda body: of_body(body, "subexpressions", common_subexpressions)).run()


class _Sharing(Walk):
    """A walk that knows the equations it has met."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.met: dict[tuple, tuple[Var, ...]] = {}

    def append(self, equation: Equation) -> None:
        known = equation.outs if is_effect(equation) else self.met.setdefault(key_of(equation), equation.outs)
        if known is equation.outs or not self.replaced(equation.outs, known):
            self.equations.append(equation)


def key_of(equation: Equation) -> tuple:
    """Equal for equations that compute the same."""
    inputs: Any = equation.inputs
    for atom in inputs:
        if type(atom) is Literal:
            inputs = tuple([_bits(a) if type(a) is Literal else a for a in inputs])
            break
    if equation.primitive.commutative:
        inputs = frozenset(inputs)
    params: Any = equation.params
    if params:
        params = tuple([_exact(params[name]) for name in sorted(params)])
        return equation.primitive, inputs, equation.scope, params
    return equation.primitive, inputs, equation.scope


def _bits(literal: Literal) -> tuple:
    return literal.value.dtype, literal.value.tobytes()


def _exact(value: Any) -> Any:
    """A param that is equal only to itself: 0.0 is not -0.0."""
    return (type(value), repr(value)) if type(value) in (float, complex) else value


def same_atom(a: Atom, b: Atom) -> bool:
    """Two atoms that are one variable, or literals with the same bits."""
    return a is b or type(a) is Literal and type(b) is Literal and _bits(a) == _bits(b)
