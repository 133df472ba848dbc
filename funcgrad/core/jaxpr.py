"""Jaxprs: small, typed, functional programs. Frozen; equal by identity; constants attached.

In: equations recorded by ``stage.py``. Out: ``Jaxpr``, which the interpreter runs, the transformations rewrite
and the compiler schedules.

    { lambda ; a:f64[3]. let b:f64[3] = sin a; c:f64[3] = mul b 2.0 in (c,) }
"""
from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad.core.primitive import Primitive
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import Source


class Var:
    """A variable: bound once, by an equation or as an input. Compared by identity."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray):
        self.aval = aval


class Literal:
    """A scalar constant written into the program."""

    __slots__ = ("value",)

    def __init__(self, value: np.generic):
        self.value = value

    @property
    def aval(self) -> ShapedArray:
        return shaped_array((), self.value.dtype, False, True)


Atom = Var | Literal


class Named:
    """One run of a part of the user's program that has a name. Compared by identity: a layer that runs twice is two."""

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"Named({self.name!r})"


current_path: ContextVar[tuple[Named, ...]] = ContextVar("current_path", default=())
"""The named parts that run now."""


@dataclass(frozen=True, eq=False, slots=True)
class Equation:
    """``outs = primitive[params] inputs``, with the user's line that it came from.

    ``scope`` is the checkpoint that the equation was inlined from, if any: equal equations are one computation only
    within a scope, since what a checkpoint computes anew is not to be kept from before. ``path`` are the named parts of the
    user's program that it was written in, from the outermost: layers of a model, and what ``named_scope`` names.
    """

    primitive: Primitive
    inputs: tuple[Atom, ...]
    outs: tuple[Var, ...]
    params: dict[str, Any]
    source: Source | None = None
    scope: object = None
    path: tuple[Named, ...] = ()


@dataclass(frozen=True, eq=False, slots=True)
class Jaxpr:
    """A closed program: ``consts`` are the values of ``const_vars``, ``in_vars`` are its arguments."""

    in_vars: tuple[Var, ...]
    const_vars: tuple[Var, ...]
    consts: tuple[Any, ...]
    equations: tuple[Equation, ...]
    outs: tuple[Atom, ...]
    name: str = ""
    cache: dict = field(default_factory=dict, repr=False)
    """Derived programs (its jvp, its transpose, its executable ...), which die with it."""

    @property
    def in_avals(self) -> tuple[ShapedArray, ...]:
        return tuple([v.aval for v in self.in_vars])

    @property
    def out_avals(self) -> tuple[ShapedArray, ...]:
        return tuple([out.aval if type(out) is Var else shaped_array((), out.aval.dtype) for out in self.outs])

    @property
    def eqns(self) -> tuple[Equation, ...]:
        """JAX's name for ``equations``."""
        return self.equations

    def replace(self, **changes: Any) -> Jaxpr:
        """A new program with some fields changed and nothing derived yet."""
        fields = {name: getattr(self, name) for name in ("in_vars", "const_vars", "consts", "equations", "outs", "name")}
        return Jaxpr(**{**fields, **changes})


def subjaxprs(params: dict[str, Any]) -> Iterator[Jaxpr]:
    """The programs an equation carries in its params."""
    for value in params.values():
        if isinstance(value, Jaxpr):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, Jaxpr))


def has_effects(jaxpr: Jaxpr) -> bool:
    """Whether a program does more than to compute its results."""
    if "effects" not in jaxpr.cache:
        jaxpr.cache["effects"] = any(map(is_effect, jaxpr.equations))
    return jaxpr.cache["effects"]


def is_effect(equation: Equation) -> bool:
    """Whether an equation, or one of a program in it, does more than to compute its results."""
    return equation.primitive.effect or equation.primitive.on_values and any(map(has_effects, subjaxprs(equation.params)))


def count_equations(jaxpr: Jaxpr) -> int:
    """How many equations a program has, those of the programs inside it included."""
    return sum(1 + sum(map(count_equations, subjaxprs(equation.params))) for equation in jaxpr.equations)
