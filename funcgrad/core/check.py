"""The type checker of jaxprs.

In: a ``Jaxpr``. Out: nothing, or a ``JaxprTypeError`` that names the equation: every variable is bound once before
it is used, and the types of an equation's results are those its primitive gives.
"""
from __future__ import annotations

from funcgrad.core.jaxpr import Jaxpr, Literal, Var, subjaxprs
from funcgrad.core.types import ShapedArray
from funcgrad.errors import JaxprTypeError


def check_jaxpr(jaxpr: Jaxpr) -> None:
    """Raises JaxprTypeError unless the program, and every program inside it, is well formed."""
    bound: set[Var] = set()

    def bind(variable: Var, where: str) -> None:
        if variable in bound:
            raise JaxprTypeError(f"a variable of type {variable.aval} is bound a second time by {where}")
        bound.add(variable)

    for v in jaxpr.in_vars:
        bind(v, "the inputs")
    for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
        bind(v, "the constants")
        if not _same(v.aval, c.aval):
            raise JaxprTypeError(f"a constant of type {c.aval} is attached to a variable of type {v.aval}")
    for number, equation in enumerate(jaxpr.equations):
        where = f"equation {number} ({equation.primitive.name}) from {equation.source}"
        for atom in equation.inputs:
            if type(atom) is not Literal and atom not in bound:
                raise JaxprTypeError(f"{where} uses a variable of type {atom.aval} that is not bound before it")
        try:
            found = equation.primitive.abstract_eval(tuple(a.aval for a in equation.inputs), equation.params)
        except TypeError as error:
            raise JaxprTypeError(f"{where}: {error}") from error
        expected = tuple(v.aval for v in equation.outs)
        if len(found) != len(expected) or not all(map(_same, found, expected)):
            raise JaxprTypeError(f"{where} gives {found}, but its variables are {expected}")
        for inner in subjaxprs(equation.params):
            check_jaxpr(inner)
        for v in equation.outs:
            bind(v, where)
    for atom in jaxpr.outs:
        if type(atom) is Var and atom not in bound:
            raise JaxprTypeError(f"the program returns a variable of type {atom.aval} that is not bound")


def _same(a: ShapedArray, b: ShapedArray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype
