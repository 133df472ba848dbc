"""What a checkpoint keeps: policies, named values, and programs that are told some of their values.

In: a program, and a policy that is asked for each of its equations whether the results are kept. Out: a program that also
returns them, and one that takes them as inputs in the place of computing them. Derivatives pass through a kept value as if it
had been computed again.

    checkpoint_policies.dots_saveable(dot_general_p, ...)    ->    True
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from funcgrad.control.programs import derived
from funcgrad.core.array import describe
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import NOT_LINEAR, Kind, Primitive
from funcgrad.errors import evaluates_equations, message
from funcgrad.ops.contraction import dot_general_p
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import broadcast_in_dim, moveaxis, name_p
from funcgrad.tree import tree_map

Policy = Callable[..., bool]


def checkpoint_name(x: Any, name: str) -> Any:
    """x, a tree of arrays, under a name by which ``checkpoint_policies.save_only_these_names`` knows it.

    >>> float(checkpoint_name(2.0, "hidden"))
    2.0
    """
    if not isinstance(name, str):
        raise TypeError(message("checkpoint_name: the name is no text", describe(name), "a str"))
    return tree_map(lambda v: name_p.bind(unary_arg("checkpoint_name", v), name=name)[0], x)


class checkpoint_policies:  # noqa: N801  a namespace, named like the module that it stands for
    """What ``checkpoint(policy=...)`` may be given: functions that tell of an operation whether its results are kept.

    A policy of one's own is a function ``policy(primitive, *avals, **params) -> bool``.
    """

    @staticmethod
    def everything_saveable(*_: Any, **__: Any) -> bool:
        """Keeps all: as if there were no checkpoint."""
        return True

    @staticmethod
    def nothing_saveable(*_: Any, **__: Any) -> bool:
        """Keeps the arguments alone, as without a policy."""
        return False

    @staticmethod
    def dots_saveable(primitive: Primitive, *_: Any, **__: Any) -> bool:
        """Keeps the results of matrix products and of other contractions."""
        return primitive.kind is Kind.CONTRACTION

    @staticmethod
    def dots_with_no_batch_dims_saveable(primitive: Primitive, *_: Any, **params: Any) -> bool:
        """Keeps the results of contractions without batch axes, such as the products with weights."""
        return primitive is dot_general_p and not params["dimension_numbers"][1][0]

    @staticmethod
    def save_only_these_names(*names: str) -> Policy:
        """Keeps the values that ``checkpoint_name`` gave one of these names."""
        return lambda primitive, *_, **params: primitive is name_p and params["name"] in names

    @staticmethod
    def save_any_names_but_these(*names: str) -> Policy:
        """Keeps the named values but for those of these names."""
        return lambda primitive, *_, **params: primitive is name_p and params["name"] not in names

    @staticmethod
    def save_anything_except_these_names(*names: str) -> Policy:
        """Keeps all but the values of these names."""
        return lambda primitive, *_, **params: primitive is not name_p or params["name"] not in names

    @staticmethod
    def save_from_both_policies(first: Policy, second: Policy) -> Policy:
        """Keeps what either of two policies keeps."""
        return lambda primitive, *avals, **params: first(primitive, *avals, **params) or second(primitive, *avals, **params)

    checkpoint_dots = dots_saveable
    checkpoint_dots_with_no_batch_dims = dots_with_no_batch_dims_saveable


def told(jaxpr: Jaxpr, policy: Policy) -> tuple[Jaxpr, Jaxpr]:
    """A program that also returns the values that a policy keeps, and one that takes them as further inputs."""
    def all_kept(*args: Any) -> list[Any]:
        kept: list[Any] = []

        def keep(value: Any) -> Any:
            kept.append(value)
            return value

        return [*_run(jaxpr, args, policy, keep), *kept]

    def with_kept(*args: Any) -> list[Any]:
        given = iter(args[len(jaxpr.in_vars):])
        return _run(jaxpr, args[:len(jaxpr.in_vars)], policy, lambda value: known_p.bind(value, next(given))[0])

    first = derived(jaxpr, ("kept", policy), all_kept, jaxpr.in_avals, jaxpr.name)
    avals = [*jaxpr.in_avals, *first.out_avals[len(jaxpr.outs):]]
    return first, derived(jaxpr, ("with kept", policy), with_kept, avals, jaxpr.name)


def resolved(jaxpr: Jaxpr) -> Jaxpr:
    """The program in which what is known stands in all places of what would compute it, such as in its own derivative."""
    inputs = set(jaxpr.in_vars)
    instead: dict[Atom, Atom] = {}
    named: dict[Atom, Atom] = {}
    equations = []
    for e in jaxpr.equations:
        if e.primitive is known_p and e.inputs[1] in inputs and type(e.inputs[0]) is Var:
            instead[e.inputs[0]] = instead[e.outs[0]] = e.inputs[1]
            instead[named.get(e.inputs[0], e.inputs[0])] = e.inputs[1]
        else:
            equations.append(e)
            if e.primitive is name_p:
                named[e.outs[0]] = e.inputs[0]
    if not instead:
        return jaxpr
    return jaxpr.replace(outs=tuple([instead.get(a, a) for a in jaxpr.outs]), equations=tuple([
        replace(e, inputs=tuple([instead.get(a, a) for a in e.inputs])) for e in equations]))


def _run(jaxpr: Jaxpr, args: Sequence[Any], policy: Policy, keep: Callable[[Any], Any]) -> list[Any]:
    """Runs a program, and those that it calls, and hands each value that is kept over."""
    values = dict(zip((*jaxpr.in_vars, *jaxpr.const_vars), (*args, *jaxpr.consts), strict=True))
    for equation in jaxpr.equations:
        source = equation.source  # noqa: F841  equation_source reads it
        inputs = [a.value if type(a) is Literal else values[a] for a in equation.inputs]
        program = _called(equation)
        outs: Sequence[Any]
        if program is not None:
            outs = _run(program, inputs, policy, keep)
        else:
            outs = equation.primitive.bind(*inputs, **equation.params)
            if policy(equation.primitive, *[a.aval for a in equation.inputs], **equation.params):
                outs = [keep(x) for x in outs]
        values.update(zip(equation.outs, outs, strict=True))
    return [a.value if type(a) is Literal else values[a] for a in jaxpr.outs]


evaluates_equations(_run)


def _called(equation: Equation) -> Jaxpr | None:
    """The program of an equation that does nothing but to call it."""
    primitive = equation.primitive
    return equation.params["jaxpr"] if primitive.inline is not None and not primitive.recomputes \
        and equation.params.keys() == {"jaxpr"} else None


# ---------------------------------------------------------------- the primitives

def _known_batch(axis: Any, args: tuple, axes: tuple) -> tuple:
    wide = [broadcast_in_dim(x, (axis.size, *x.shape), range(1, len(x.shape) + 1)) if d is None else moveaxis(x, d, 0)
            for x, d in zip(args, axes, strict=True)]
    return known_p.bind(*wide), (0,)


known_p = Primitive(
    "known", Kind.ELEMENTWISE, lambda x, known: known, lambda xp, x, known: known,
    lambda primals, tangents: (known_p.bind(*primals), (tangents[0],)), NOT_LINEAR, _known_batch, code="{1}")
"""known(x, value) is value, which is x: nothing that computes x is needed, and the derivative is that of x."""
