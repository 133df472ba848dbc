"""What a function costs, line by line: arithmetic and memory traffic, forward and backward.

In: a function and its arguments, or only their shapes and dtypes. Out: a ``Cost``, which prints as a table. Nothing is
computed.

    loss: 41.9 Mflop and 1.06 MB forward, 83.9 Mflop and 2.3 MB backward
    line      flops      bytes  backward flops  bytes
    net.py:7  41.9 M   1.05 MB          83.8 M  2.1 MB    h = x @ w
    net.py:8  ...

What is counted is said in ``core/cost.py``; the programs are those after the compiler's passes, so what nobody needs and what
stands there twice counts once or not at all.
"""
from __future__ import annotations

import linecache
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from funcgrad import dtypes, passes
from funcgrad.core.cost import Counts, equation_bytes, equation_flops, repeated
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.errors import MissingRuleError, file_name
from funcgrad.tables import amount, html_table, text_table
from funcgrad.transforms.arguments import function_name, wraps
from funcgrad.transforms.derivatives import check_callable, vjp
from funcgrad.transforms.staging import ShapeDtypeStruct, abstract, make_jaxpr
from funcgrad.tree import tree_flatten, tree_leaves, tree_unflatten

NOTHING = Counts(0, 0)
Place = tuple[str, int | None]
"""A file and a line in it; ("", None) for what belongs to no line."""


class Row(NamedTuple):
    """A line of the user's code, and what it costs forward and in the backward pass."""

    file: str
    line: int | None
    code: str
    forward: Counts
    backward: Counts

    @property
    def place(self) -> str:
        return f"{file_name(self.file)}:{self.line}" if self.file else "no line"


@dataclass(frozen=True)
class Cost:
    """What a function costs: in all, by line and by operation. ``backward`` is None where there is no derivative, and
    ``reason`` says why."""

    name: str
    forward: Counts
    backward: Counts | None
    reason: str
    rows: tuple[Row, ...]
    operations: dict[str, Counts]
    """What each operation costs, forward and backward together, by its name."""

    def __str__(self) -> str:
        return f"{self._head()}\n{text_table(*self._table())}" if self.rows else self._head()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._table(), caption=self._head())

    def _head(self) -> str:
        parts = [f"{amount(part.flops, 'flop')} and {amount(part.bytes, 'B')} {way}"
                 for part, way in ((self.forward, "forward"), (self.backward, "backward")) if part is not None]
        return f"{self.name}: {', '.join(parts)}" + (f"; no backward pass: {self.reason}" if self.reason else "")

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
        back = self.backward is not None
        head = ("line", "flops", "bytes", *(("backward flops", "bytes") if back else ()), "code")
        rows = [(row.place, amount(row.forward.flops), amount(row.forward.bytes, "B"),
                 *((amount(row.backward.flops), amount(row.backward.bytes, "B")) if back else ()), row.code)
                for row in self.rows]
        return head, rows, "<" + ">" * (len(head) - 2) + "<"


def cost(fun: Callable) -> Callable[..., Cost]:
    """A function of fun's arguments that returns what fun costs instead of its result, line by line.

    The arguments may be arrays or ``ShapeDtypeStruct``s. "Backward" is what the derivative by all floating point arguments
    adds to the function. Each operation is counted with the user's line that it came from.

    >>> w, x = fnp.ones((64, 32)), fnp.ones((8, 64))
    >>> found = cost(lambda w, x: fnp.sum(x @ w))(w, x)
    >>> found.operations["dot_general"].flops == 3 * 2 * 8 * 64 * 32     # x @ w, and the gradients by w and by x
    True
    """
    check_callable(fun, "cost")

    @wraps(fun, "cost")
    def measured(*args: Any, **kwargs: Any) -> Cost:
        forward = passes.run(make_jaxpr(fun)(*args, **kwargs))
        rows, operations = _by_line(forward)
        whole, reason = _with_backward(fun, args, kwargs)
        if whole is None:
            return Cost(function_name(fun), _sum(rows), None, reason, _rows(rows, dict.fromkeys(rows, NOTHING)), operations)
        both, operations = _by_line(whole)
        # The lines of a custom rule take the place of those of its function, which then cost less than without a derivative.
        more = {place: _less(both.get(place, NOTHING), rows.get(place, NOTHING)) for place in {**rows, **both}}
        backward = {place: Counts(*[max(n, 0) for n in counts]) for place, counts in more.items()}
        return Cost(function_name(fun), _sum(rows), _less(_sum(both), _sum(rows)), "", _rows(rows, backward), operations)

    return measured


def _with_backward(fun: Callable, args: tuple, kwargs: dict) -> tuple[Jaxpr | None, str]:
    """The program of fun and its backward pass; or None, and why there is none."""
    leaves, structure = tree_flatten((args, kwargs))
    leaves = [ShapeDtypeStruct(x.shape, x.dtype, x.weak_type) for x in map(abstract, leaves)]
    smooth = [i for i, x in enumerate(leaves) if dtypes.is_inexact(x.dtype)]

    def results(by: list, rest: list) -> list:
        filled = list(rest)
        for i, x in zip(smooth, by, strict=True):
            filled[i] = x
        given_args, given_kwargs = tree_unflatten(structure, filled)
        return [y for y in tree_leaves(fun(*given_args, **given_kwargs)) if dtypes.is_inexact(abstract(y).dtype)]

    def both(by: list, rest: list, cotangents: list) -> tuple:
        outs, pull = vjp(lambda by: results(by, rest), by)
        return outs, pull(cotangents)

    by, rest = [leaves[i] for i in smooth], [None if i in smooth else x for i, x in enumerate(leaves)]
    if not by:
        return None, "no argument is floating point"
    _, cotangents = make_jaxpr(results, return_shape=True)(by, rest)
    if not cotangents:
        return None, "no result is floating point"
    try:
        return passes.run(make_jaxpr(both)(by, rest, cotangents)), ""
    except (MissingRuleError, TypeError, ValueError) as error:  # the function itself was traced before, without one
        return None, str(error).partition("\n")[0]


def _by_line(jaxpr: Jaxpr) -> tuple[dict[Place, Counts], dict[str, Counts]]:
    """What the lines cost, in the order in which they are reached, and what the operations cost."""
    lines: dict[Place, Counts] = {}
    operations: dict[str, Counts] = {}
    for equation, times, _ in repeated(jaxpr):
        counts = Counts(times * equation_flops(equation), times * equation_bytes(equation))
        if any(counts):
            source = equation.source
            place = ("", None) if source is None else (source.file, source.line)
            for table, key in ((lines, place), (operations, equation.primitive.name)):
                table[key] = Counts(*map(sum, zip(table.get(key, (0, 0)), counts, strict=True)))
    return lines, operations


def _rows(forward: dict, backward: dict) -> tuple[Row, ...]:
    return tuple([Row(*place, linecache.getline(*place).strip() if place[0] else "", forward.get(place, NOTHING),
                      backward[place]) for place in backward])


def _less(a: Counts, b: Counts) -> Counts:
    return Counts(a.flops - b.flops, a.bytes - b.bytes)


def _sum(rows: dict) -> Counts:
    return Counts(sum(c.flops for c in rows.values()), sum(c.bytes for c in rows.values()))
