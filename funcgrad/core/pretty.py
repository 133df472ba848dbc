"""Printing jaxprs in JAX's notation.

In: a ``Jaxpr``. Out: its text, with one line an equation; programs inside equations are indented.

    { lambda ; a:f64[3]. let b:f64[3] = sin a in (b,) }
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.core.array import install
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var

WIDTH = 100


def pretty(jaxpr: Jaxpr, source_info: bool = False) -> str:
    """The text of a jaxpr; with ``source_info``, the user's line stands behind each equation."""
    return "\n".join(program_lines(jaxpr, Names(), source_info))


class Text(str):
    """Text that shows itself as it is, in a notebook and at the prompt."""

    __slots__ = ()
    __repr__ = str.__str__


class Names:
    """Variables named a, b, ..., z, ba, bb ... in the order in which they are met."""

    def __init__(self) -> None:
        self.names: dict[Var, str] = {}

    def __call__(self, atom: Atom) -> str:
        if isinstance(atom, Literal):
            return f"{atom.value.item()}:{atom.aval.short()}"
        if atom not in self.names:
            self.names[atom] = letters(len(self.names))
        return self.names[atom]

    def bound(self, variables: Sequence[Var]) -> str:
        return " ".join(f"{self(v)}:{v.aval.short()}" for v in variables)


def letters(number: int) -> str:
    """0 -> a, 25 -> z, 26 -> ba.

    >>> letters(27)
    'bb'
    """
    text = chr(ord("a") + number % 26)
    while number >= 26:
        number //= 26
        text = chr(ord("a") + number % 26) + text
    return text


def program_lines(jaxpr: Jaxpr, names: Names, source_info: bool) -> list[str]:
    head = f"{{ lambda {names.bound(jaxpr.const_vars)}; {names.bound(jaxpr.in_vars)}."
    lines = [line for equation in jaxpr.equations for line in equation_lines(equation, names, source_info)]
    outs = ", ".join(map(names, jaxpr.outs))
    tail = f"in ({outs}{',' if len(jaxpr.outs) == 1 else ''}) }}"
    if not lines:
        return [f"{head} let {tail}"]
    if len(lines) == 1 and len(head) + len(lines[0]) + len(tail) < WIDTH:
        return [f"{head} let {lines[0]} {tail}"]
    return [f"{head} let", *("    " + line for line in lines), f"  {tail}"]


def equation_lines(equation: Equation, names: Names, source_info: bool) -> list[str]:
    args = " ".join(map(names, equation.inputs))
    simple, programs = [], []
    for key, value in equation.params.items():
        if isinstance(value, Jaxpr):
            programs.append((key, [value]))
        elif isinstance(value, tuple) and value and all(isinstance(item, Jaxpr) for item in value):
            programs.append((key, list(value)))
        else:
            simple.append(f"{key}={_param(value)}")
    left = f"{names.bound(equation.outs)} = " if equation.outs else ""
    right = f" {args}" if args else ""
    note = f"  # {equation.source}" if source_info and equation.source else ""
    if not programs:
        inside = f"[{' '.join(simple)}]" if simple else ""
        return [f"{left}{equation.primitive.name}{inside}{right}{note}"]
    lines = [f"{left}{equation.primitive.name}["] + ["  " + line for line in simple]
    for key, jaxprs in programs:
        for jaxpr in jaxprs:
            body = program_lines(jaxpr, Names(), source_info)
            lines += [f"  {key}={body[0]}"] + ["  " + line for line in body[1:]]
    return lines + [f"]{right}{note}"]


def _param(value: Any) -> str:
    if isinstance(value, type):
        return value.__name__
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return str(value)


install(Jaxpr, {"__str__": pretty, "__repr__": pretty, "pretty_print": pretty})
