"""What the operations that carry programs do with them, in the compiler's words.

In: the params of a control operation, which its ``code`` rule turns into one of these records. Out: nothing more; the
compiler lays the programs out as instructions without knowing the operation's name.

    scan:  Loop(body, length=10, reverse=False, num_consts=1, num_carry=2)
"""
from __future__ import annotations

from dataclasses import dataclass

from funcgrad.core.jaxpr import Jaxpr


@dataclass(frozen=True, slots=True)
class Loop:
    """``length`` steps of body(*consts, *carry, *slices) -> (*carry, *slices of results); arguments are in that order."""

    body: Jaxpr
    length: int
    reverse: bool
    num_consts: int
    num_carry: int


@dataclass(frozen=True, slots=True)
class While:
    """body(*body_consts, *state) -> state, while condition(*cond_consts, *state) is true."""

    condition: Jaxpr
    body: Jaxpr
    cond_consts: int
    body_consts: int


@dataclass(frozen=True, slots=True)
class Choice:
    """``branches[i](*args)``, where i is the first argument, an int32 that is brought into range."""

    branches: tuple[Jaxpr, ...]
