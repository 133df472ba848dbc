"""What programs cost: arithmetic and memory traffic, equation by equation.

In: a ``Jaxpr``. Out: its equations of arithmetic with how often each is done, programs inside of it included; and for each
equation its floating point operations and the bytes that it reads and writes.

    total(jaxpr)  ->  Counts(flops=2048, bytes=1536)

Flops are exact for products of matrices and convolutions (a multiplication and an addition count two; padding is multiplied
too), one for each element of an elementwise operation (a comparison, an exponential), and one for each element that a
reduction takes; other operations say what they cost in their ``flops`` slot, else they count their largest operand. What only
moves numbers costs none. The bytes are those of operands and results, as if nothing were fused; transposes, slices, reshapes
and broadcasts read and write nothing. A scan counts its steps; a while loop counts as one step, since nobody knows how many
it makes; of the branches of a cond the most expensive one counts.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from funcgrad.core.jaxpr import Equation, Jaxpr, Literal, Named, subjaxprs
from funcgrad.core.primitive import Kind
from funcgrad.core.structure import Choice, Loop, While


class Counts(NamedTuple):
    """Floating point operations, and bytes read and written."""

    flops: int
    bytes: int


class Repeated(NamedTuple):
    """An equation that is done ``times`` times, in the named parts ``path`` of the user's program."""

    equation: Equation
    times: int
    path: tuple[Named, ...]


def total(jaxpr: Jaxpr) -> Counts:
    """The cost of a program."""
    flops = moved = 0
    for equation, times, _ in repeated(jaxpr):
        flops += times * equation_flops(equation)
        moved += times * equation_bytes(equation)
    return Counts(flops, moved)


def repeated(jaxpr: Jaxpr, times: int = 1, path: tuple[Named, ...] = ()) -> Iterator[Repeated]:
    """The equations of a program that carry no programs, with how often they are done.

    ``path``: where the program is called; a program that was traced elsewhere counts where it is called.
    """
    for equation in jaxpr.equations:
        within = equation.path if equation.path[:len(path)] == path else path
        if not equation.primitive.on_values:
            yield Repeated(equation, times, within)
            continue
        for program, steps in _programs(equation):
            yield from repeated(program, times * steps, within)


def _programs(equation: Equation) -> list[tuple[Jaxpr, int]]:
    """The programs that an equation runs, and how often."""
    primitive, params = equation.primitive, equation.params
    structure = primitive.code(**params) if callable(primitive.code) else None
    if isinstance(structure, Loop):
        return [(structure.body, structure.length)]
    if isinstance(structure, While):
        return [(structure.condition, 1), (structure.body, 1)]
    if isinstance(structure, Choice):
        return [(max(structure.branches, key=total), 1)]
    inlined = None if primitive.inline is None else primitive.inline(*[atom.aval for atom in equation.inputs], **params)
    return [(program, 1) for program in (subjaxprs(params) if inlined is None else [inlined])]


def equation_flops(equation: Equation) -> int:
    """The arithmetic of one equation that carries no program."""
    primitive = equation.primitive
    ins, outs = [atom.aval for atom in equation.inputs], [v.aval for v in equation.outs]
    if primitive.flops is not None:
        return round(primitive.flops(ins, outs, **equation.params))
    if primitive.kind is Kind.MOVEMENT:
        return 0
    if primitive.kind is Kind.ELEMENTWISE:
        return outs[0].size
    return max([aval.size for aval in (*ins, *outs)], default=0)


def equation_bytes(equation: Equation) -> int:
    """What one equation that carries no program reads and writes, each operand once."""
    if equation.primitive.kind is Kind.MOVEMENT:
        return 0
    read = {atom: _nbytes(atom.aval) for atom in equation.inputs if type(atom) is not Literal}
    return sum(read.values()) + sum(_nbytes(v.aval) for v in equation.outs)


def _nbytes(aval: Any) -> int:
    return aval.size * aval.dtype.itemsize
