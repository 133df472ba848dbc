"""``fg.backward_steps``: the backward pass as a sequence of steps, each a contribution to one gradient.

In: a function whose result is one real number, and its arguments. Out: ``Steps``, to index, print and play.

    steps = fg.backward_steps(lambda a: a + a)(3.0)
    steps[2].contribution, steps[2].total            1, 2: both uses of a have given their part

The order is the reverse of the program's: an equation has its turn when all that use its result have had theirs, so its
cotangent is complete (Linnainmaa, "The representation of the cumulative rounding error of an algorithm as a Taylor expansion of
the local rounding errors", 1970; Speelpenning, "Compiling fast partial derivatives of functions given by algorithms", 1980).
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from funcgrad.core.jaxpr import Equation, Var
from funcgrad.transforms.arguments import wraps
from funcgrad.transforms.derivatives import check_callable
from funcgrad.viz.backward import Backward, Contribution, Turn, backpropagate, local_formula
from funcgrad.viz.expressions import names_of, operation, value_text
from funcgrad.viz.graph import plural, source_text
from funcgrad.viz.record import Recording, record


@dataclass(frozen=True, eq=False)
class Step:
    """One contribution: ``d operand += contribution``. Arrays have the values, texts are what the printed steps show."""

    number: int
    turn: int
    """Which equation of the backward pass this is, from 1; 0 for the start, where the result's own derivative is 1."""
    equation: str
    source: str
    """The user's line."""
    result: str
    """The name of the equation's result, and its cotangent: what has come in; a tuple if there are several results."""
    cotangent: Any
    operand: str
    position: int
    """Its name, and which of the variables among the operands it is."""
    derivative: Any
    """The local derivative: elementwise its values, else the Jacobian if it is small, or None."""
    derivative_formula: str
    formula: str
    contribution: Any
    before: Any
    """What the operand had before; None if this is its first contribution."""
    total: Any
    use: int
    """Of the ``uses`` of the operand, each a contribution, this is number ``use``, from 1."""
    uses: int
    reason: str
    """Why the equation has its turn now."""

    def __str__(self) -> str:
        return "\n".join([self.head, *self.lines()])

    __repr__ = __str__

    @property
    def head(self) -> str:
        """The equation, the line, and why it has its turn."""
        return f"turn {self.turn}: {self.equation}    {self.source}".rstrip() + f"\n  because {self.reason}"

    def lines(self) -> list[str]:
        """The arithmetic of the step."""
        if self.turn == 0:
            return [f"  [{self.number}] d{self.operand} = 1, the derivative of the result by itself"]
        value = value_text(self.contribution)
        first = f"  [{self.number}] d{self.operand} += {self.formula}" + ("" if self.formula == value else f" = {value}")
        rest = []
        if self.derivative_formula or self.derivative is not None:
            shown = "" if self.derivative is None else value_text(self.derivative)
            formula = "" if self.derivative_formula == shown else self.derivative_formula
            rest.append(f"local derivative {' = '.join(filter(None, [formula, shown]))}")
        if self.uses > 1:
            rest.append(f"so far d{self.operand} = {value_text(self.total)}, {self.use} of {self.uses}")
        return [first, *[f"      {line}" for line in rest]]


class Steps(Sequence[Step]):
    """The steps of a backward pass. ``value`` is the function's result, ``gradient`` the gradient by argument, by name."""

    def __init__(self, recording: Recording, backward: Backward, names: dict[Var, str]):
        self._recording, self._backward, self._names = recording, backward, names
        self.name = recording.name
        out = recording.jaxpr.outs[0]
        self.value = recording.value(out)
        self._steps = list(_steps(recording, backward, names))
        self.gradient = {names[v]: backward.cotangents.get(v) for v in recording.jaxpr.in_vars if v in backward.cotangents}

    @overload
    def __getitem__(self, i: int) -> Step: ...
    @overload
    def __getitem__(self, i: slice) -> list[Step]: ...
    def __getitem__(self, i: Any) -> Any:
        return self._steps[i]

    def __len__(self) -> int:
        return len(self._steps)

    def forward_lines(self) -> list[str]:
        """The forward pass, an equation a line."""
        lines = []
        for e in self._recording.jaxpr.equations:
            values = ", ".join(value_text(self._recording.value(v)) for v in e.outs)
            equation = _equation(e, self._names)
            lines.append((equation, f"= {values}" if values and values not in equation else "", source_text(e)))
        widths = [max((len(line[i]) for line in lines), default=0) for i in range(2)]
        return [f"  {a:<{widths[0]}}  {b:<{widths[1]}}  {c}".rstrip() for a, b, c in lines]

    def __str__(self) -> str:
        turns = self._steps[-1].turn if self._steps else 0
        out = self._names.get(self._recording.jaxpr.outs[0], "the result")  # type: ignore[call-overload]
        lines = [f"backward pass of {self.name}: {plural(len(self), 'step')} in {plural(turns, 'turn')}; "
                 f"dx stands for d {out} / d x", "", "forward", *self.forward_lines(), "", "backward"]
        turn = -1
        for step in self:
            if step.turn != turn:
                turn = step.turn
                lines += ["", step.head] if turn else []
            lines += step.lines()
        if self.gradient:
            lines += ["", "gradient", *[f"  d{name} = {value_text(ct)}" for name, ct in self.gradient.items()]]
        return "\n".join(lines)

    __repr__ = __str__

    def play(self) -> Any:
        """The steps with the graph beside them, to go through with buttons: for a notebook, or ``.save("steps.html")``."""
        from funcgrad.viz.player import Player
        return Player(self)


def backward_steps(f: Callable) -> Callable[..., Steps]:
    """A function of f's arguments that returns the steps of the backward pass, from the result of f, one real number, up.

    Calls (``jit``, ``checkpoint``) are entered; loops, conditions and custom rules are one step. The values are those of
    ``fg.grad(f)``, made by the same rules. Raises TypeError if the result is no real number.

    >>> steps = backward_steps(lambda a: a + a)(3.0)
    >>> print(steps[2])
    turn 1: out = a + a    line 1
      because out is the result
      [2] da += dout = 1
          local derivative 1
          so far da = 2, 2 of 2
    """
    check_callable(f, "backward_steps")

    @wraps(f, "backward_steps")
    def stepped(*args: Any) -> Steps:
        recording = record(f, args, "backward_steps")
        names = names_of(recording)
        return Steps(recording, backpropagate(recording, names, "backward_steps"), names)

    return stepped


def _steps(recording: Recording, backward: Backward, names: dict[Var, str]) -> Iterator[Step]:
    out = recording.jaxpr.outs[0]
    if type(out) is not Var or out not in backward.cotangents:
        return
    one = backward.cotangents[out]
    yield Step(0, 0, names[out], "", names[out], one, names[out], 0, None, "", "1", one, None, one, 1, 1,
               "the backward pass starts here")
    number = 0
    for i, turn in enumerate(backward.turns, 1):
        for c in turn.contributions:
            number += 1
            yield _step(number, i, turn, c, backward, names)


def _step(number: int, i: int, turn: Turn, c: Contribution, backward: Backward, names: dict[Var, str]) -> Step:
    e, cts = turn.equation, turn.cotangents
    results = ", ".join(names[v] for v, ct in zip(e.outs, cts, strict=True) if ct is not None)
    position = sum(type(a) is Var for a in e.inputs[:c.operand])
    return Step(number, i, _equation(e, names), source_text(e), results, cts[0] if len(cts) == 1 else tuple(cts),
                names[c.variable], position, c.derivative, local_formula(e, c.operand, names), c.formula, c.value, c.before,
                c.total, c.number, backward.uses[c.variable], _reason(turn, backward, names))


def _equation(e: Equation, names: dict[Var, str]) -> str:
    left = ", ".join(names[v] for v in e.outs)
    return f"{left} = {operation(e, names)}" if left else operation(e, names)


def _reason(turn: Turn, backward: Backward, names: dict[Var, str]) -> str:
    """Why an equation has its turn: all that its results are used for has given its part."""
    said = []
    for v, ct in zip(turn.equation.outs, turn.cotangents, strict=True):
        if ct is not None:
            name, uses = names[v], backward.uses.get(v, 0)
            said.append(f"{name} is the result" if not uses else
                        f"the one use of {name} has given its part: 1 of 1" if uses == 1 else
                        f"all uses of {name} have given their part: {uses} of {uses}")
    return "; ".join(said)
