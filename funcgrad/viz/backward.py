"""The backward pass of a recorded function, one contribution at a time.

In: a recording whose result is one real number. Out: a list of ``Turn``: an equation, the cotangent that has come in for its
results, and what it gives to each of its operands. Each equation is linearised and transposed alone, by the rules that
``grad`` uses, so a turn is exactly what happens in the gradient.

    b = a + a    ->    one turn with two contributions to a, each the cotangent of b
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Equation, Var
from funcgrad.core.primitive import Kind, Partials
from funcgrad.core.stage import stage
from funcgrad.core.types import Zero, shaped_array
from funcgrad.errors import locate, message
from funcgrad.jit import disable_jit
from funcgrad.ops.callback import silent
from funcgrad.ops.elementwise import add
from funcgrad.ops.structural import instantiate
from funcgrad.passes.folding import fold
from funcgrad.transforms.derivatives import quiet
from funcgrad.transforms.linearize import Tape, linearize_flat
from funcgrad.transforms.transpose import backward
from funcgrad.viz.expressions import expression, number_text
from funcgrad.viz.record import Recording

SMALL_JACOBIAN = 64
"""Entries up to which the local derivative of an operation that is not elementwise is computed."""
LONG_FORMULA = 60


@dataclass(eq=False, slots=True)
class Contribution:
    """What an equation gives to the cotangent of one of its operands."""

    variable: Var
    operand: int
    """Which operand of the equation it is."""
    value: Any
    before: Any
    """The sum of what the operand had before; None for the first contribution."""
    total: Any
    formula: str
    """The contribution as an expression in the values and the cotangents, ``d`` and a name."""
    derivative: Any
    """The local derivative: elementwise, its values; else the Jacobian if it is small, or None."""
    number: int = 0
    """Which of the contributions to the operand this is, from 1."""


@dataclass(eq=False, slots=True)
class Turn:
    """An equation in the backward pass."""

    equation: Equation
    cotangents: list[Any]
    """One for each result; None where nothing reaches it."""
    contributions: list[Contribution] = field(default_factory=list)


@dataclass(eq=False)
class Backward:
    """The turns in their order, and the cotangent that each variable ends with."""

    turns: list[Turn]
    cotangents: dict[Var, Any]
    uses: dict[Var, int]
    """How many contributions each variable gets."""


def backpropagate(recording: Recording, names: dict[Var, str], what: str) -> Backward:
    """The backward pass from the one result of a recorded function. Raises TypeError if that is no real number."""
    jaxpr = recording.jaxpr
    avals = jaxpr.out_avals
    if len(avals) != 1 or avals[0].shape or dtypes.kind(avals[0].dtype) != "f":
        raise TypeError(message(f"{what}: the function must return one real number", ", ".join(map(str, avals)), None,
                                "a sum of the results, or one of them"))
    if not recording.values and jaxpr.in_vars:
        raise TypeError(message(f"{what}: a gradient needs values", "arguments known by shape and dtype", "arrays and numbers"))
    reached = {v for v in jaxpr.in_vars if dtypes.is_inexact(v.aval.dtype)}
    for e in jaxpr.equations:
        if any(a in reached for a in e.inputs):
            reached.update(v for v in e.outs if dtypes.is_inexact(v.aval.dtype))
    result = Backward([], {}, {})
    cotangents, out = result.cotangents, jaxpr.outs[0]
    if out in reached:
        cotangents[out] = DeviceArray(np.ones((), avals[0].dtype)[()])
    with quiet(), disable_jit(), silent():
        for e in reversed(jaxpr.equations):
            given = [cotangents.get(v) for v in e.outs]
            if all(ct is None for ct in given):
                continue
            turn = Turn(e, given)
            try:
                found = _contributions(recording, e, given, reached, names)
            except Exception as error:
                locate(error, e.source)
                raise
            for contribution in found:
                v = contribution.variable
                contribution.before = cotangents.get(v)
                cotangents[v] = contribution.total = contribution.value if contribution.before is None else \
                    add(contribution.before, contribution.value)
                result.uses[v] = contribution.number = result.uses.get(v, 0) + 1
                turn.contributions.append(contribution)
            if turn.contributions:
                result.turns.append(turn)
    return result


def _contributions(recording: Recording, e: Equation, given: list[Any], reached: set[Var],
                   names: dict[Var, str]) -> list[Contribution]:
    primals = [recording.value(a) for a in e.inputs]
    active = [a in reached for a in e.inputs]
    outs, indices, tape = linearize_flat(lambda *xs: e.primitive.bind(*xs, **e.params), primals, active)
    found = backward(tape, indices, given, sum(active))
    positions = [i for i, on in enumerate(active) if on]
    chosen = [e.inputs[i] for i in positions]
    if not any(ct is not None for ct in found):
        return []
    formulas = _formulas(e, [ct is not None for ct in given], active, names)
    derivatives = _derivatives(e, tape, indices, outs, chosen)
    rows = zip(chosen, positions, found, formulas, derivatives, strict=True)
    return [Contribution(v, i, ct, None, None, formula, derivative)  # type: ignore[arg-type]
            for v, i, ct, formula, derivative in rows if ct is not None]


def _derivatives(e: Equation, tape: Tape, indices: Sequence[int | None], outs: Sequence[Any],
                 chosen: Sequence[Any]) -> list[Any]:
    """The local derivative by each of the chosen operands, as far as it is small or elementwise."""
    nothing = [None] * len(chosen)
    if len(outs) != 1 or indices[0] is None:
        return nothing
    out = outs[0]
    shape, dtype = np.shape(out), out.dtype
    if e.primitive.kind is Kind.ELEMENTWISE:
        return backward(tape, indices, [DeviceArray(np.ones(shape, dtype))], len(chosen))
    size = int(np.prod(shape, dtype=int))
    if dtype.kind == "c" or size * max(v.aval.size for v in chosen) > SMALL_JACOBIAN:
        return nothing
    rows = [backward(tape, indices, [DeviceArray(row.reshape(shape))], len(chosen)) for row in np.eye(size, dtype=dtype)]
    return [None if any(row[i] is None for row in rows) else
            DeviceArray(np.array([np.asarray(row[i]) for row in rows]).reshape(shape + v.aval.shape))
            for i, v in enumerate(chosen)]


def _formulas(e: Equation, given: list[bool], active: list[bool], names: dict[Var, str]) -> list[str]:
    """The contributions as expressions: the operation is linearised and transposed symbolically."""
    count = sum(active)
    unsaid = f"pulled back through {e.primitive.name}"
    if e.primitive.kind is Kind.CONTROL:
        return [unsaid] * count
    symbols = _Symbols(e, names)
    chosen = [v for v, on in zip(e.outs, given, strict=True) if on]
    kept = [a.aval for a, on in zip(e.inputs, active, strict=True) if on]

    def pull(*args: Any) -> list[Any]:
        cts = iter(args[len(symbols.avals):])
        _, indices, tape = linearize_flat(lambda *xs: e.primitive.bind(*xs, **e.params), symbols.operands(args), active)
        results = backward(tape, indices, [next(cts) if on else None for on in given], count)
        return [instantiate(Zero(a)) if ct is None else ct for ct, a in zip(results, kept, strict=True)]

    def known(equation: Equation, texts: list[str]) -> str | None:
        """What the operation itself computes is its result."""
        same = equation.primitive is e.primitive and texts == symbols.texts and equation.params == e.params
        return names[e.outs[0]] if same and len(e.outs) == 1 else None

    jaxpr, _ = stage(pull, [*symbols.avals, *[shaped_array(v.aval.shape, v.aval.dtype) for v in chosen]])
    inputs = [*symbols.names, *[f"d{names[v]}" for v in chosen]]
    jaxpr = fold(jaxpr)
    texts = [expression(jaxpr.replace(outs=(out,)), inputs, known) for out in jaxpr.outs]
    return [text if len(text) <= LONG_FORMULA else unsaid for text in texts]


def local_formula(e: Equation, position: int, names: dict[Var, str]) -> str:
    """The local derivative of an elementwise operation by one of its arguments as an expression; empty for other operations."""
    rule = e.primitive.jvp
    if type(rule) is not Partials or not callable(rule.entries[position]):
        return str(rule.entries[position]) if type(rule) is Partials else ""
    symbols = _Symbols(e, names)
    jaxpr, _ = stage(lambda out, *args: [rule.entries[position](out, *symbols.operands(args), **e.params)],
                     [shaped_array(e.outs[0].aval.shape, e.outs[0].aval.dtype), *symbols.avals])
    text = expression(fold(jaxpr), [names[e.outs[0]], *symbols.names])
    return text if len(text) <= LONG_FORMULA else ""


class _Symbols:
    """The operands of an equation when its rules run symbolically: literals stay what they are."""

    def __init__(self, e: Equation, names: dict[Var, str]):
        self.inputs = e.inputs
        variables = [a for a in e.inputs if type(a) is Var]
        self.avals = [shaped_array(a.aval.shape, a.aval.dtype, a.aval.weak_type) for a in variables]
        self.names = [names[a] for a in variables]
        self.texts = [names[a] if type(a) is Var else number_text(a.value) for a in e.inputs]  # type: ignore[union-attr]

    def operands(self, args: Sequence[Any]) -> list[Any]:
        given = iter(args)
        return [next(given) if type(a) is Var else a.value for a in self.inputs]  # type: ignore[union-attr]
