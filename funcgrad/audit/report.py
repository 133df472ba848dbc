"""What an audit found, as a table.

In: rows. Out: a ``Report`` that prints in a terminal and is drawn in a notebook.

    check of loss to order 1, with complex steps
      argument     derivative  error    at      verdict
      params['W']  forward     2.1e-16          ok
      params['W']  reverse     1.0e+00  [1, 2]  WRONG: 0.25 for -0.25
"""
from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from funcgrad.errors import (
    ConcretizationTypeError,
    MissingRuleError,
    NonConcreteBooleanIndexError,
    TracerArrayConversionError,
    message,
)

OK, WRONG, KINK, RAISES, NO_RULE, UNSURE = "ok", "WRONG", "kink here", "raises", "no rule", "unsure"
UNTRACED = "not traceable"
INTEGER = "not differentiable (int)"
_COLOURS = {WRONG: "#c62828", RAISES: "#c62828", KINK: "#b26a00", UNSURE: "#b26a00", OK: "#2e7d32"}
_HEADS = ("argument", "derivative", "error", "at", "verdict")


@dataclass(frozen=True)
class Row:
    """One derivative by one array of the arguments.

    ``error`` is relative to the size of the terms that the derivative is a sum of, ``where`` the index in the array of a wrong
    element, or one with a kink (None where all is well), ``note`` what else there is to say.
    """

    argument: str
    mode: str
    verdict: str
    error: float | None = None
    where: tuple[int, ...] | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        error = "" if self.error is None else "nan" if math.isnan(self.error) else f"{self.error:.1e}"
        return (self.argument, self.mode, error, "" if not self.where else str(list(self.where)),
                self.verdict + (f": {self.note}" if self.note else ""))


@dataclass(frozen=True)
class Report:
    """The rows of an audit. ``ok`` is true if nothing is wrong and no mode raised; kinks and missing rules are no errors."""

    name: str
    order: int
    method: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        return not self.wrong

    @property
    def wrong(self) -> tuple[Row, ...]:
        """The rows that say WRONG, and those of modes that raised."""
        return tuple([row for row in self.rows if row.verdict in (WRONG, RAISES)])

    def raise_if_wrong(self) -> Report:
        """Raises AssertionError with the table if a derivative is wrong; else returns the report."""
        if not self.ok:
            raise AssertionError(message(f"check: {len(self.wrong)} of {len(self.rows)} derivatives of {self.name} are wrong",
                                         instead="look at the rules of the operations in it") + f"\n{self}")
        return self

    @property
    def _title(self) -> str:
        return f"check of {self.name} to order {self.order}, with {self.method}"

    def __str__(self) -> str:
        lines = _aligned([_HEADS, *[row.cells() for row in self.rows]])
        return "\n".join([self._title, *[f"  {line}" for line in lines]])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        heads = "".join([f'<th style="text-align:left">{head}</th>' for head in _HEADS])
        lines = []
        for row in self.rows:
            *cells, verdict = [f"<td>{html.escape(cell)}</td>" for cell in row.cells()]
            colour = _COLOURS.get(row.verdict, "#555")
            lines.append(f'<tr>{"".join(cells)}{verdict.replace("<td>", f"""<td style="color:{colour}">""", 1)}</tr>')
        return (f"<table><caption>{html.escape(self._title)}</caption><thead><tr>{heads}</tr></thead>"
                f"<tbody>{''.join(lines)}</tbody></table>")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines with columns of one width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]).rstrip() for row in rows]


def raised(argument: str, mode: str, error: Exception) -> Row:
    """The row of a mode that raised: a missing rule, or Python code that needs values, is no mistake; anything else is."""
    if isinstance(error, MissingRuleError):
        operation = re.search(r"the operation (\w+) has no rule|mode through (\w+)", str(error))
        return Row(argument, mode, NO_RULE, note=operation[1] or operation[2] if operation else first_line(error))
    if isinstance(error, (ConcretizationTypeError, NonConcreteBooleanIndexError, TracerArrayConversionError)):
        return Row(argument, mode, UNTRACED, note=first_line(error))
    return Row(argument, mode, RAISES, note=f"{type(error).__name__}: {first_line(error)}")


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
