"""Where digits are lost: one program in two precisions, side by side.

In: a function, two dtypes, arguments. Out: a table of the operations of the program with the digits that the results of the
two runs have in common, the worst first.

    >>> print(compare_precision(lambda x: (x + 1e4) - 1e4, "float32", "float64")(0.1))  # doctest: +ELLIPSIS
    float32 next to float64, digits in common
      digits  lost  operation  at
         2.4   4.5  sub        ...
         6.9   0.0  add        ...
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.arithmetic.interpreter import evaluate
from funcgrad.arithmetic.numbers import Machine, numbers_of
from funcgrad.core.jaxpr import Equation
from funcgrad.errors import message
from funcgrad.transforms.arguments import flatten_args, wraps
from funcgrad.transforms.derivatives import check_callable
from funcgrad.transforms.staging import ShapeDtypeStruct, make_jaxpr
from funcgrad.tree import tree_unflatten


@dataclass(frozen=True)
class Loss:
    """An operation: the digits that its results have in common in both runs, those that its arguments had, and its line.

    ``step`` is how many times the operation had been done before, inside a loop.
    """

    operation: str
    digits: float
    before: float
    place: str
    step: int

    @property
    def lost(self) -> float:
        """Digits that the operation lost; what its arguments had lost is not counted."""
        return max(self.before - self.digits, 0.0)


@dataclass(frozen=True)
class Losses:
    """The operations of a program, those with the fewest digits in common first."""

    narrow: str
    wide: str
    rows: tuple[Loss, ...]
    parted: str = ""
    """Where the runs took different ways, if they did."""

    def __str__(self) -> str:
        width = max([len(row.operation) for row in self.rows], default=0)
        lines = [f"{self.narrow} next to {self.wide}, digits in common", f"  digits  lost  {'operation':<{max(width, 9)}}  at"]
        for row in self.rows:
            step = f", step {row.step}" if row.step else ""
            lines.append(f"  {row.digits:6.1f}  {row.lost:4.1f}  {row.operation:<{max(width, 9)}}  {row.place}{step}".rstrip())
        return "\n".join([*lines, *([f"  then the runs go different ways: {self.parted}"] if self.parted else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{str(self).replace('&', '&amp;').replace('<', '&lt;')}</pre>"


def compare_precision(f: Callable, narrow: Any = "float32", wide: Any = "float64") -> Callable:
    """Shows where f loses digits in a narrow dtype: a function of f's arguments that returns a table.

    Args:
      f: a function of trees of arrays; also a derivative, ``fg.grad(g)``.
      narrow, wide: two floating point dtypes. The arguments are rounded to the narrow one in both runs, so that what differs
        is what the operations lose.

    Returns ``Losses``: a row for each operation with the digits that both runs agree in, the digits that it lost beyond those
    its arguments had lost, and the user's line; of an operation in a loop, its worst step. The result with the fewest
    digits is first. Raises TypeError if a dtype is not a floating point dtype.
    """
    check_callable(f, "compare_precision")
    pair = []
    for dtype in (narrow, wide):
        machine = numbers_of(dtype)
        if not isinstance(machine, Machine):
            raise TypeError(message("compare_precision: a floating point dtype is needed", machine.name, "float32, float64"))
        pair.append(machine)

    @wraps(f, "compare_precision")
    def compared(*args: Any) -> Losses:
        leaves, tree = flatten_args(f, args, "compare_precision")
        arrays = [np.asarray(x) for x in leaves]
        rounded = [x.astype(pair[0].as_dtype(_double(x.dtype))) if dtypes.is_inexact(x.dtype) else x for x in arrays]
        jaxpr = make_jaxpr(f)(*tree_unflatten(tree, [ShapeDtypeStruct(x.shape, _double(x.dtype)) for x in arrays]))
        runs: list[list[tuple]] = [[], []]
        for machine, run in zip(pair, runs, strict=True):
            evaluate(jaxpr, rounded, machine, lambda *step, run=run: run.append(step))
        return _table(*runs, pair)

    return compared


def _double(dtype: np.dtype) -> np.dtype:
    if not dtypes.is_inexact(dtype):
        return dtype
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def _table(narrow: Sequence[tuple], wide: Sequence[tuple], pair: Sequence[Machine]) -> Losses:
    worst: dict[int, Loss] = {}
    counts: dict[int, int] = {}
    parted = ""
    for (equation, xs, outs), (other, ys, expected) in zip(narrow, wide, strict=False):
        if equation is not other:
            parted = _place(equation)
            break
        number = id(equation)
        step = counts[number] = counts.get(number, -1) + 1
        digits = _digits(outs, expected, pair[0])
        if digits is not None and (number not in worst or digits < worst[number].digits):
            before = _digits(xs, ys, pair[0])
            worst[number] = Loss(equation.primitive.name, digits, _precision(pair[0]) if before is None else before,
                                 _place(equation), step)
    if not parted and len(narrow) != len(wide):
        parted = "one of them makes more steps"
    return Losses(pair[0].name, pair[1].name, tuple(sorted(worst.values(), key=lambda row: (row.digits, -row.lost))), parted)


def _place(equation: Equation) -> str:
    return str(equation.source) if equation.source is not None else ""


def _precision(machine: Machine) -> float:
    return -math.log10(float(dtypes.finfo(machine.dtype).eps)) if machine.dtype.itemsize <= 8 else 18.0


def _digits(xs: Sequence[np.ndarray], ys: Sequence[np.ndarray], machine: Machine) -> float | None:
    """The digits that arrays have in common in their worst element; None where there are no floating point numbers."""
    fewest = None
    for x, y in zip(xs, ys, strict=True):
        if not dtypes.is_inexact(x.dtype) or not x.size:
            continue
        kind = np.clongdouble if x.dtype.kind == "c" else np.longdouble
        x, y = x.astype(kind), y.astype(kind)
        with np.errstate(all="ignore"):
            same = (x == y) | np.isnan(x) & np.isnan(y)
            error = np.where(same, 0, np.abs(x - y) / np.abs(y))
        error = float(np.max(np.where(np.isnan(error), np.inf, error)))
        found = min(max(-math.log10(error), 0.0) if 0 < error < np.inf else 0.0 if error else np.inf, _precision(machine))
        fewest = found if fewest is None else min(fewest, found)
    return fewest
