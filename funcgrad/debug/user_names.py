"""The names that values of a program have in the user's code.

In: a jaxpr, whose equations know the code object and the instruction that they came from. Out: for each variable whose value
the user's code stores at once, the name that it stores it under; a label counts more. Names may repeat, as in a loop, and
values that nobody named have none.

    def f(x):
        h = fnp.sin(x)           { lambda ; a:f64[]. let b:f64[] = sin a; c:f64[] = mul b b in (c,) }
        return h * h             {a: "x", b: "h"}, if the inputs are named ["x"]

What a call of a library function computes in several equations has the name where other places use it: local derivatives
are equations of the same call, which only its own tangents and cotangents use, and those have no names.
"""
from __future__ import annotations

import dis
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from types import CodeType

from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Var
from funcgrad.errors import Source
from funcgrad.ops.structural import name_p

_ELSEWHERE, _UNUSED, _INSIDE = -1, 1 << 30, 1 << 31
"""How a value is used, beside the number of the program's result that it is; the lowest of a run has the name."""


def user_names(jaxpr: Jaxpr, inputs: Sequence[str] = (), outside: Source | None = None) -> dict[Var, str]:
    """The names of a program's variables, as far as they have one; ``inputs`` are those of its first arguments.

    ``outside`` is where the user's code called the function that asks: what it stores there is no value of the program.

    >>> jaxpr = fg.make_jaxpr(lambda x: fg.label(x + 1.0, "next"))(2.0)
    >>> list(user_names(jaxpr, ["x"]).values())
    ['x', 'next', 'next']
    """
    names = dict(zip(jaxpr.in_vars, inputs, strict=False))
    made = {v: _place(equation.source) for equation in jaxpr.equations for v in equation.outs}
    uses = [(a, made[a] == _place(e.source)) for e in jaxpr.equations for a in e.inputs if a in made]
    rank = {a: _INSIDE for a, _ in uses} | {a: i for i, a in reversed(list(enumerate(jaxpr.outs)))}
    rank |= {a: _ELSEWHERE for a, inside in uses if not inside}
    primal = [e for e in jaxpr.equations if e.source is None or not e.source.derived]
    for source, run in groupby(primal, lambda equation: _place(equation.source)):
        if source is not None and source != _place(outside):
            names.update(_named(list(run), stored_names(*source), rank))
    for equation in jaxpr.equations:
        if equation.primitive is name_p:
            for atom in (*equation.inputs, *equation.outs):
                names[atom] = equation.params["name"]  # type: ignore[index]
    return names


def _place(source: Source | None) -> tuple[CodeType, int] | None:
    return None if source is None else (source.code, source.offset)


def _named(run: list[Equation], targets: tuple[str, ...], rank: dict[Atom, float]) -> dict[Var, str]:
    """The names for the results of the equations that one instruction of the user's ran.

    What other instructions use has them, else the first result of the program, else what is computed and used nowhere.
    """
    result, last = min(run, key=lambda e: min([rank.get(v, _UNUSED) for v in e.outs], default=_INSIDE)), run[-1]
    if len(targets) == len(result.outs) and any(rank.get(v) != _INSIDE for v in result.outs):
        return dict(zip(result.outs, targets, strict=True))
    if 1 < len(targets) <= len(run):  # such as a, b = fnp.split(x, 2)
        ends = run[-len(targets):]
        if all(e.primitive is last.primitive and len(e.outs) == 1 for e in ends):
            return {e.outs[0]: name for e, name in zip(ends, targets, strict=True)}
    return {}


def source_names(source: Source | None, outside: Source | None = None) -> tuple[str, ...]:
    """The names that the user's code stores the results of this instruction under; none if it does something else with them."""
    place = _place(source)
    return () if place is None or place == _place(outside) else stored_names(*place)


@lru_cache(maxsize=4096)
def stored_names(code: CodeType, offset: int) -> tuple[str, ...]:
    """The names in ``name = ...`` or ``a, b = ...``, where the instruction at this offset computes the right side.

    >>> def f(x):
    ...     y = abs(x)
    ...     return y
    >>> [names for i in dis.get_instructions(f) if (names := stored_names(f.__code__, i.offset))]
    [('y',)]
    """
    instructions = _instructions(code)
    at = bisect_right(instructions, offset, key=lambda i: i.offset)  # a call that runs has come to the end of its cache
    if not instructions[at - 1].opname.startswith(("CALL", "BINARY", "UNARY", "COMPARE")):
        return ()
    names: list[str] = []
    wanted = 1
    for i in instructions[at:]:
        if i.opname == "UNPACK_SEQUENCE":
            wanted += i.arg - 1  # type: ignore[operator]
        elif i.opname in ("STORE_FAST_LOAD_FAST", "STORE_FAST_MAYBE_NULL"):
            names.append(i.argval[0] if isinstance(i.argval, tuple) else i.argval)
        elif i.opname == "STORE_FAST_STORE_FAST":
            names += i.argval
        elif i.opname in ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF"):
            names.append(i.argval)
        elif i.opname not in ("COPY", "DUP_TOP", "CACHE", "EXTENDED_ARG", "NOP"):
            return ()
        if len(names) >= wanted:
            return tuple(names[:wanted])
    return ()


@lru_cache(maxsize=256)
def _instructions(code: CodeType) -> tuple[dis.Instruction, ...]:
    return tuple(dis.get_instructions(code))
