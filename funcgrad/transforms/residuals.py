"""Residuals: what reverse mode keeps from the forward pass for the backward pass.

In: a function and its arguments, or only their types. Out: a table with a row for each array that is kept: its type, its
bytes, the operation that made it and the user's line.

    bytes  type         made by
       24  float64[3]   cos at model.py:3 in f
       24  float64[3]   the argument x
"""
from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from funcgrad import dtypes
from funcgrad.core.jaxpr import Atom, Jaxpr, Literal, Var, subjaxprs
from funcgrad.core.stage import stage
from funcgrad.core.structure import Choice, Loop
from funcgrad.core.types import ShapedArray
from funcgrad.errors import Source, Sourced
from funcgrad.transforms.arguments import FlatFunction, function_name, leaf_paths, wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.linearize import linearize_jaxpr
from funcgrad.transforms.staging import abstract
from funcgrad.tree import tree_flatten


@dataclass(frozen=True, slots=True)
class Residual(Sourced):
    """An array that is kept. ``kind``: "argument" (``name`` is its path), "constant", or "value" that an operation made."""

    aval: ShapedArray
    kind: str
    name: str
    source: Source | None = None
    steps: int | None = None
    """How many steps of a loop are stacked along its first axis."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        return self.aval.dtype

    @property
    def nbytes(self) -> int:
        return self.aval.size * self.aval.dtype.itemsize

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        if self.kind != "value":
            return f"the argument {self.name}" if self.kind == "argument" else "a constant"
        loop = f", stacked over {self.steps} steps" if self.steps is not None else ""
        return f"{self.name}{f' at {self.source}' if self.source else ''}{loop}"


class Residuals(list):
    """A list of Residual, the largest first, that prints as a table. ``nbytes``: of all; ``extra``: without the arguments."""

    @property
    def nbytes(self) -> int:
        return sum(r.nbytes for r in self)

    @property
    def extra(self) -> int:
        """Bytes that are kept because of the backward pass: arguments and constants are there anyway."""
        return sum(r.nbytes for r in self if r.kind == "value")

    def __str__(self) -> str:
        if not self:
            return "nothing is kept for the backward pass"
        rows = [("bytes", "type", "made by"), *[(f"{r.nbytes:,}", str(r.aval), r.origin) for r in self]]
        wide = [max(len(row[i]) for row in rows) for i in range(2)]
        lines = [f"{row[0]:>{wide[0]}}  {row[1]:<{wide[1]}}  {row[2]}" for row in rows]
        return "\n".join([*lines, f"{self.nbytes:,} bytes in {len(self)} array{'s' if len(self) > 1 else ''}, "
                                  f"{self.extra:,} of them beside arguments and constants"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = [(f"{r.nbytes:,}", str(r.aval), r.origin) for r in self]
        body = "".join(["<tr>" + "".join([f"<td style='text-align:left'>{html.escape(x)}</td>" for x in row]) + "</tr>"
                        for row in rows])
        return (f"<table><tr><th>bytes</th><th>type</th><th>made by</th></tr>{body}</table>"
                f"<p>{html.escape(str(self).splitlines()[-1])}</p>")


def residuals(fun: Callable, argnums: int | Sequence[int] | None = None) -> Callable[..., Residuals]:
    """A function of fun's arguments that tells what the backward pass of fun keeps, without computing anything.

    Args:
      fun: a function of trees of arrays, jitted or not. Its result may be of any shape.
      argnums: the positional arguments that are differentiated; all of floating point if None.

    What ``checkpoint`` computes again is not kept, what its policy keeps is, and a loop keeps its values stacked over the
    steps.
    Compiled code may keep less: values that cost little are computed anew.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> table = fg.residuals(lambda x: fnp.sin(fnp.sin(x)))(fnp.ones(3))
    >>> [(r.name, r.shape, r.nbytes) for r in table]
    [('cos', (3,), 24), ('cos', (3,), 24)]
    >>> fg.residuals(fg.checkpoint(lambda x: fnp.sin(fnp.sin(x))))(fnp.ones(3))
    bytes  type        made by
       24  float64[3]  the argument x
    24 bytes in 1 array, 0 of them beside arguments and constants
    """
    check_callable(fun, "residuals")

    @wraps(fun, "residuals")
    def table(*args: Any, **kwargs: Any) -> Residuals:
        leaves, tree = tree_flatten((args, kwargs))
        avals = [abstract(x) for x in leaves]
        chosen = range(len(args)) if argnums is None else (argnums,) if isinstance(argnums, int) else argnums
        wanted = {i % len(args) for i in chosen} if args else set()
        places = [i for i, arg in enumerate(args) for _ in tree_flatten(arg)[0]]
        active = tuple([i < len(places) and places[i] in wanted and dtypes.is_inexact(a.dtype) for i, a in enumerate(avals)])
        with quiet():
            jaxpr, _ = stage(FlatFunction(lambda a, k: fun(*a, **k), tree, "residuals"), avals, function_name(fun), "residuals")
            primal, linear, _ = linearize_jaxpr(jaxpr, active)
        paths = leaf_paths(fun, args, kwargs)
        found = [_row(primal, atom, paths) for atom in dict.fromkeys(primal.outs[len(jaxpr.outs):])]
        found += [Residual(v.aval, "constant", "") for v in _constants(linear)]
        return Residuals(sorted(found, key=lambda r: -r.nbytes))

    return table


def _constants(jaxpr: Jaxpr) -> list[Var]:
    """The constants of a program and of those inside it."""
    return [*jaxpr.const_vars, *[v for e in jaxpr.equations for program in subjaxprs(e.params) for v in _constants(program)]]


def _row(primal: Jaxpr, atom: Atom, paths: Sequence[str]) -> Residual:
    kind, name, source, steps = _origin(primal, atom)
    if kind == "argument":
        name = paths[primal.in_vars.index(name)]  # type: ignore[arg-type]
    return Residual(atom.aval, kind, name, source, steps)  # type: ignore[arg-type]


def _origin(jaxpr: Jaxpr, atom: Atom) -> tuple[str, Any, Source | None, int | None]:
    """Where a value comes from: its kind, the operation or input variable, the line, and the steps it is stacked over."""
    steps: int | None = None
    while True:
        if isinstance(atom, Literal) or atom in jaxpr.const_vars:
            return "constant", "", None, steps
        if atom in jaxpr.in_vars:
            return "argument", atom, None, steps
        equation = next(e for e in jaxpr.equations if atom in e.outs)
        index = equation.outs.index(atom)
        structure = equation.primitive.code(**equation.params) if callable(equation.primitive.code) and \
            equation.primitive.on_values else None
        program = None
        if isinstance(structure, Loop):
            program = structure.body
            steps = structure.length if index >= structure.num_carry else steps
        elif isinstance(structure, Choice):
            program = next((b for b in structure.branches if not _is_filled(b, b.outs[index])), None)
        elif equation.primitive.inline is not None:
            program = equation.primitive.inline(*[a.aval for a in equation.inputs], **equation.params)
        if program is None:
            name = equation.primitive.name
            return "value", f"{name} {equation.params['name']!r}" if name == "name" else name, equation.source, steps
        kind, name, source, inner = _origin(program, program.outs[index])
        steps = inner if inner is not None else steps
        if kind != "argument":
            return ("value" if kind == "constant" and steps is not None else kind), name or "a constant", source, steps
        at = program.in_vars.index(name) + (1 if isinstance(structure, Choice) else 0)
        if isinstance(structure, Loop) and structure.num_consts <= at < structure.num_consts + structure.num_carry:
            return "value", f"carry of {equation.primitive.name}", equation.source, steps
        if steps is not None:
            return "value", f"input of {equation.primitive.name}", equation.source, steps
        atom = equation.inputs[at]


def _is_filled(jaxpr: Jaxpr, out: Atom) -> bool:
    """Whether a branch gives zeros in the place of another one's residual."""
    maker = next((e for e in jaxpr.equations if out in e.outs), None)
    return maker is None or maker.primitive.name == "broadcast_in_dim" and not isinstance(maker.inputs[0], Var)
