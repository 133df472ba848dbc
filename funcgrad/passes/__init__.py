"""The compiler's passes: each makes a program smaller or simpler and keeps its results bit for bit, but for the order of sums.

In: a ``Jaxpr``. Out: a ``Jaxpr`` with the same inputs and the same types of results, in which only loops and conditions
carry programs.

    run(jaxpr)      the program after all passes
    trace(jaxpr)    [(name, program after it), ...], to look at them one by one
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from funcgrad.core.check import check_jaxpr
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.errors import JaxprTypeError
from funcgrad.passes.algebra import algebra
from funcgrad.passes.contractions import contractions
from funcgrad.passes.dead_code import dead_code
from funcgrad.passes.indexing import indexing
from funcgrad.passes.inline import inline
from funcgrad.passes.loops import loops
from funcgrad.passes.stacks import stacks
from funcgrad.passes.subexpressions import common_subexpressions

PASSES: tuple[tuple[str, Callable[[Jaxpr], Jaxpr]], ...] = (
    ("inline", inline),
    ("dead code", dead_code),
    ("algebra", algebra),
    ("common subexpressions", common_subexpressions),
    ("contractions", contractions),
    ("indexing", indexing),
    ("common subexpressions again", common_subexpressions),
    ("loops", loops),
    ("stacks", stacks),
    ("dead code again", dead_code),
)
"""The passes in their order. Each walks over the program once; constants are folded wherever algebra is done."""

_checking: ContextVar[bool] = ContextVar("checking", default=False)


@contextmanager
def checking(on: bool = True) -> Iterator[None]:
    """Inside, the type checker runs after every pass."""
    token = _checking.set(on)
    try:
        yield
    finally:
        _checking.reset(token)


def run(jaxpr: Jaxpr) -> Jaxpr:
    """The program after all passes."""
    for name, change in PASSES:
        jaxpr = _changed(jaxpr, name, change)
    return jaxpr


def trace(jaxpr: Jaxpr) -> list[tuple[str, Jaxpr]]:
    """The name of each pass with the program as it is after it."""
    programs = []
    for name, change in PASSES:
        jaxpr = _changed(jaxpr, name, change)
        programs.append((name, jaxpr))
    return programs


def _changed(jaxpr: Jaxpr, name: str, change: Callable[[Jaxpr], Jaxpr]) -> Jaxpr:
    changed = change(jaxpr)
    if _checking.get():
        check_jaxpr(changed)
        if changed.in_vars != jaxpr.in_vars or changed.out_avals != jaxpr.out_avals:
            raise JaxprTypeError(f"the pass {name!r} changed the inputs or the types of the results of {jaxpr.name}")
    return changed
