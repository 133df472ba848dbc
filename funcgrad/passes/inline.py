"""Inlining: a call of a program becomes the program's equations.

In: a program. Out: one in which only loops and conditions carry programs, those inlined too. A primitive that is at run
time nothing but a call says so in its slot ``inline``. Constants are lifted; each object is one constant.

    let b:f64[] = jit[jaxpr={ lambda ; a:f64[]. let b:f64[] = sin a in (b,) }] a in (b,)    ->    let b:f64[] = sin a in (b,)

What a checkpoint computes is marked with its scope: a value computed anew in the backward pass equals one of the forward
pass, and must not be merged with it, or that would be kept for the whole time between.
"""
from __future__ import annotations

from typing import Any

from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Var
from funcgrad.core.stage import typed
from funcgrad.ops.structural import convert_element_type_p
from funcgrad.passes.rewriting import of_body, with_programs


class Scope:
    """One call of a checkpoint."""

    __slots__ = ("outer",)

    def __init__(self, outer: object):
        self.outer = outer


def inline(jaxpr: Jaxpr) -> Jaxpr:
    """The program with every call replaced by what it calls."""
    walk = _Inlining()
    for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
        walk.constant(c, v)
    walk.run(jaxpr, None)
    outs = tuple([walk.result(a) for a in jaxpr.outs])
    consts = list(walk.constants.values())
    if len(walk.equations) == len(jaxpr.equations) and all(map(_is, walk.equations, jaxpr.equations)):
        return jaxpr
    return jaxpr.replace(const_vars=tuple([v for v, _ in consts]), consts=tuple([c for _, c in consts]),
                         equations=tuple(walk.equations), outs=outs)


def _is(a: Any, b: Any) -> bool:
    return a is b


def _inlined(jaxpr: Jaxpr) -> Jaxpr:
    return of_body(jaxpr, "inline", inline)


class _Inlining:
    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self.constants: dict[int, tuple[Var, Any]] = {}
        self.atoms: dict[Var, Atom] = {}

    def constant(self, value: Any, variable: Var) -> None:
        """Lifts a constant; the first variable of an object stands for all."""
        known = self.constants.setdefault(id(value), (variable, value))[0]
        if known is not variable:
            self.atoms[variable] = known

    def atom(self, atom: Atom) -> Atom:
        return self.atoms.get(atom, atom) if type(atom) is Var else atom

    def result(self, atom: Atom) -> Atom:
        """A result of the whole program; it stays as weakly typed as it was, though a call does not ask for that."""
        new = self.atom(atom)
        if type(atom) is not Var or typed(new.aval) is atom.aval:
            return new
        variable = Var(atom.aval)
        self.equations.append(Equation(convert_element_type_p, (new,), (variable,),
                                       {"new_dtype": atom.aval.dtype, "weak_type": atom.aval.weak_type}))
        return variable

    def call(self, jaxpr: Jaxpr, args: tuple[Atom, ...], scope: object) -> list[Atom]:
        """Writes the equations of a program for these arguments, with variables of their own. Returns its results."""
        outside, self.atoms = self.atoms, dict(zip(jaxpr.in_vars, args, strict=True))
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            self.atoms[v] = self.constants.setdefault(id(c), (Var(v.aval), c))[0]
        for equation in jaxpr.equations:
            self.equation(equation, scope, True)
        outs = [self.atom(a) for a in jaxpr.outs]
        self.atoms = outside
        return outs

    def run(self, jaxpr: Jaxpr, scope: object) -> None:
        for equation in jaxpr.equations:
            self.equation(equation, scope, False)

    def equation(self, equation: Equation, scope: object, renamed: bool) -> None:
        atoms = self.atoms
        inputs = tuple([atoms.get(a, a) if type(a) is Var else a for a in equation.inputs]) if atoms else equation.inputs
        primitive, params = equation.primitive, equation.params
        if equation.scope is not None:
            scope = equation.scope if scope is None else Scope((scope, equation.scope))
        if primitive.on_values:
            if primitive.inline is not None:
                program = primitive.inline(*[a.aval for a in inputs], **params)
                if program is not None:
                    outs = self.call(program, inputs, Scope(scope) if primitive.recomputes else scope)
                    atoms.update(zip(equation.outs, outs, strict=True))
                    return
            params = with_programs(params, _inlined)
        outs = equation.outs
        if renamed:
            outs = tuple([Var(v.aval) for v in outs])
            atoms.update(zip(equation.outs, outs, strict=True))
        elif params is equation.params and inputs == equation.inputs and scope is equation.scope:
            self.equations.append(equation)
            return
        self.equations.append(Equation(primitive, inputs, outs, params, equation.source, scope))
