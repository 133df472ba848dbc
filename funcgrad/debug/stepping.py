"""Stepping through a program: its equations one by one, with the values that go in and come out.

In: a function and its arguments. Out: an iterable of steps, each run when it is asked for, those inside of loops too. Printed,
it is the whole run.

    for s in fg.step(loss)(w, x):      1  h = tanh(z)         [0.46 0.76]    model.py:4 in loss
        print(s.line, s.outputs)       2  total = reduce_sum(h)   1.22       model.py:5 in loss
"""
from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any

import numpy as np

from funcgrad import dtypes, passes
from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal
from funcgrad.core.pretty import letters
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.core.trace import EVAL, current
from funcgrad.debug.user_names import user_names
from funcgrad.errors import Source, Sourced, Turn
from funcgrad.transforms.arguments import function_name, leaf_paths, wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.staging import stage_call
from funcgrad.tree import tree_unflatten

SHOWN = 400
"""Steps that are printed."""
SMALL = 6
"""Elements of an array that is printed in full."""


@dataclass(frozen=True, slots=True)
class Step(Sourced):
    """One equation that has run. ``within`` are the steps of loops and the branches it is in, innermost first."""

    number: int
    equation: Equation
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    within: tuple[Turn, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    @property
    def operation(self) -> str:
        return self.equation.primitive.name

    @property
    def source(self) -> Source | None:
        return self.equation.source

    @property
    def call(self) -> str:
        """The equation with the names of its values: ``h = tanh(z)``."""
        left = f"{', '.join(self.output_names)} = " if self.output_names else ""
        return f"{left}{self.operation}({', '.join(self.input_names)})"

    @property
    def values(self) -> str:
        """The results, shortened."""
        return ", ".join(map(_shortened, self.outputs))

    def __str__(self) -> str:
        return f"{self.number}  {'  ' * len(self.within)}{self.call}    {self.values}    {_place(self)}".rstrip()


class Steps:
    """The steps of one call. Each iteration runs the program anew; ``result`` is what the call returns."""

    def __init__(self, name: str, jaxpr: Jaxpr, args: Sequence[Any], out_tree: Any, inputs: Sequence[str]):
        self.name, self.jaxpr, self._args, self._out_tree, self._inputs = name, jaxpr, args, out_tree, inputs

    def __iter__(self) -> Iterator[Step]:
        yield from self._run([])

    @property
    def result(self) -> Any:
        outs: list[Any] = []
        for _ in self._run(outs):
            pass
        return tree_unflatten(self._out_tree, outs)

    def _run(self, outs: list[Any]) -> Iterator[Step]:
        outs[:] = yield from _Run().program(self.jaxpr, self._args, (), self._inputs)

    def __str__(self) -> str:
        steps = list(islice(self, SHOWN + 1))
        rows = [(str(s.number), "  " * len(s.within) + s.call, s.values, _place(s)) for s in steps[:SHOWN]]
        wide = [min(max([len(row[i]) for row in rows], default=0), 60) for i in range(3)]
        lines = [f"{row[0]:>{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]:<{wide[2]}}  {row[3]}".rstrip() for row in rows]
        return "\n".join([f"steps of {self.name}:", *lines, *(["..."] if len(steps) > SHOWN else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        steps = list(islice(self, SHOWN))
        body = "".join(["<tr>" + "".join([f'<td style="text-align:left"><code>{html.escape(x)}</code></td>' for x in (
            str(s.number), "\u2003" * len(s.within) + s.call, s.values, _place(s))]) + "</tr>" for s in steps])
        return f"<table><tr><th></th><th>equation</th><th>value</th><th>line</th></tr>{body}</table>"


def step(fun: Callable, *, optimized: bool = True) -> Callable[..., Steps]:
    """A function of fun's arguments that runs fun's program one equation at a time: ``for s in fg.step(f)(x): ...``.

    Args:
      fun: a function of trees of arrays, jitted or not, or a derivative of one.
      optimized: the program as it is compiled, after all passes; False for the program as it was traced.

    Each step has ``equation``, ``inputs`` and ``outputs`` (arrays), ``operation``, ``file``, ``line`` and ``within``: the steps
    of loops that it is in. A loop or call comes after the steps inside of it. The steps run when they are asked for, so one
    can stop at any of them. Raises TypeError for arguments that are not arrays.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> for s in fg.step(lambda x: fnp.sum(fnp.sin(x) * x))(fnp.arange(3.0)):
    ...     print(s.operation, s.values)
    sin [0.     0.8415 0.9093]
    mul [0.     0.8415 1.8186]
    reduce_sum 2.66
    """
    check_callable(fun, "step")

    @wraps(fun, "step")
    def stepped(*args: Any, **kwargs: Any) -> Steps:
        jaxpr, leaves, out_tree = stage_call(fun, args, kwargs, "step", "fg.step(fg.grad(f))(x)")
        if optimized:
            with quiet():
                jaxpr = passes.run(jaxpr)
        return Steps(function_name(fun), jaxpr, leaves, out_tree, leaf_paths(fun, args, kwargs))

    return stepped


class _Run:
    """Runs programs and yields each equation once it has run."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.names: dict[Jaxpr, dict[Atom, str]] = {}

    def program(self, jaxpr: Jaxpr, args: Sequence[Any], turns: tuple[Turn, ...],
                inputs: Sequence[str] = ()) -> Iterator[Step]:
        """The steps of a program; returns its results."""
        values: dict[Atom, Any] = dict(zip((*jaxpr.in_vars, *jaxpr.const_vars), (*args, *jaxpr.consts), strict=True))
        named = self.named(jaxpr, inputs)
        for equation in jaxpr.equations:
            given = tuple([a.value if isinstance(a, Literal) else values[a] for a in equation.inputs])
            names = tuple([_literal(a) if isinstance(a, Literal) else named[a] for a in equation.inputs])
            outs = yield from self.inside(equation, given, turns, names)
            values.update(zip(equation.outs, outs, strict=True))
            yield Step(next(self.numbers), equation, tuple(map(_array, given)), outs, turns, names,
                       tuple([named[v] for v in equation.outs]))
        return [_array(a.value if isinstance(a, Literal) else values[a]) for a in jaxpr.outs]

    def named(self, jaxpr: Jaxpr, inputs: Sequence[str]) -> dict[Atom, str]:
        """A name for each variable: the user's, or a letter."""
        if jaxpr not in self.names:
            known = user_names(jaxpr, inputs)
            every = [*jaxpr.in_vars, *jaxpr.const_vars, *[v for e in jaxpr.equations for v in e.outs]]
            free = (name for i in count() if (name := letters(i)) not in known.values())
            self.names[jaxpr] = {v: known[v] if v in known else next(free) for v in every}
        return self.names[jaxpr]

    def inside(self, equation: Equation, args: tuple, turns: tuple[Turn, ...], names: tuple[str, ...]) -> Iterator[Step]:
        """The steps inside of an equation; returns its results."""
        primitive, params = equation.primitive, equation.params
        structure = primitive.code(**params) if primitive.on_values and callable(primitive.code) else None
        name, source = primitive.name, equation.source
        if isinstance(structure, Loop) and structure.length:
            return (yield from self.loop(structure, args, turns, equation, names))
        if isinstance(structure, While):
            ends = structure.cond_consts, structure.cond_consts + structure.body_consts
            state: Sequence[Any] = args[ends[1]:]
            for number in count():
                turn = Turn("step", number, None, name, source)
                go_on = yield from self.program(structure.condition, (*args[:ends[0]], *state), (turn, *turns))
                if not go_on[0]:
                    return tuple(map(_array, state))
                state = yield from self.program(structure.body, (*args[ends[0]:ends[1]], *state), (turn, *turns))
        if isinstance(structure, Choice):
            which = min(max(int(np.asarray(args[0])), 0), len(structure.branches) - 1)
            turn = Turn("branch", which, None, name, source)
            return tuple((yield from self.program(structure.branches[which], args[1:], (turn, *turns), names[1:])))
        program = primitive.inline(*map(aval_of, args), **params) if primitive.on_values and primitive.inline else None
        if program is not None:
            return tuple((yield from self.program(program, args, turns, names)))
        with current(EVAL), quiet():
            return EVAL.process(primitive, args, params)

    def loop(self, loop: Loop, args: tuple, turns: tuple[Turn, ...], equation: Equation,
             names: tuple[str, ...]) -> Iterator[Step]:
        """The steps of a scan; returns its results."""
        carried = loop.num_consts + loop.num_carry
        consts, carry, xs = args[:loop.num_consts], args[loop.num_consts:carried], [np.asarray(x) for x in args[carried:]]
        ys: list[Sequence[Any]] = [()] * loop.length
        for number in range(loop.length):
            at = loop.length - 1 - number if loop.reverse else number
            turn = Turn("step", number, loop.length, equation.primitive.name, equation.source)
            outs = yield from self.program(loop.body, (*consts, *carry, *[DeviceArray(x[at]) for x in xs]), (turn, *turns),
                                           names[:loop.num_consts])
            carry, ys[at] = tuple(outs[:loop.num_carry]), outs[loop.num_carry:]
        stacks = [DeviceArray(np.stack([np.asarray(y) for y in column])) for column in zip(*ys, strict=True)]
        return tuple([*map(_array, carry), *stacks])


def _array(x: Any) -> Any:
    return DeviceArray(x) if isinstance(x, np.generic) else x


def _literal(atom: Literal) -> str:
    return f"{atom.value.item():.6g}" if dtypes.kind(atom.value.dtype) in "fc" else str(atom.value.item())


def _shortened(x: Any) -> str:
    """A value on one line: all elements of a small array, the range of a large one."""
    data = np.asarray(x)
    if data.ndim == 0 or data.size <= SMALL:
        text = f"{data[()]:.4g}" if data.ndim == 0 and dtypes.kind(data.dtype) in "fc" else np.array2string(data, precision=4)
        return " ".join(text.replace("\n", " ").split("  ")) if data.ndim > 1 else text
    if dtypes.kind(data.dtype) not in "fiu":
        return str(aval_of(x))
    return f"{aval_of(x)} from {data.min():.4g} to {data.max():.4g}"


def _place(s: Step) -> str:
    turns = "".join([f", {turn.kind} {turn.number} of {turn.what}" for turn in s.within])
    return f"{s.source or ''}{turns}"
