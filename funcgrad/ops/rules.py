"""Makers of primitives by kind, with the rules that the kind supplies.

In: the facts of one operation. Out: a ``Primitive`` with every slot filled.

    sin_p = elementwise("sin", lambda xp, x: xp.sin(x), Partials(lambda y, x: cos(x)), code="sin({0})")
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.primitive import ALIGN, DERIVED, HOST, LINEAR, NOT_LINEAR, SAME, Kind, Linear, Primitive
from funcgrad.core.types import ShapedArray, shaped_array


def elementwise(name: str, impl: Callable, jvp: Any, code: str, *, transpose: Any = NOT_LINEAR,
                dtype: str | None = None, strong: bool = False, shape: Callable | None = None,
                taylor: Any = DERIVED, commutative: bool = False, cuda: Any = SAME) -> Primitive:
    """A scalar expression applied to each element. ``dtype`` fixes the dtype of the result ("bool" in comparisons)."""
    return Primitive(name, Kind.ELEMENTWISE, shape or elementwise_shape(name, dtype), impl, jvp, transpose, ALIGN,
                     taylor, code, cuda=cuda, strong=strong, commutative=commutative)


def elementwise_shape(name: str, dtype: str | None = None) -> Callable:
    """All arguments have one shape and one dtype; a literal may stand anywhere."""
    fixed = None if dtype is None else np.dtype(dtype)

    def shape(*avals: ShapedArray, **params: Any) -> ShapedArray:
        shapes = {a.shape for a in avals if not a.literal}
        if len(shapes) > 1 or len({a.dtype for a in avals}) > 1:
            raise TypeError(f"{name} takes arguments of one shape and one dtype, not {', '.join(map(str, avals))}")
        return shaped_array(shapes.pop() if shapes else (), fixed or avals[0].dtype)

    return shape


def movement(name: str, shape: Callable, impl: Callable, transpose: Callable, batch: Callable,
             jvp: Any = LINEAR, code: Any = HOST) -> Primitive:
    """An index map: the elements of the result are elements of the arguments. Linear."""
    return Primitive(name, Kind.MOVEMENT, shape, impl, jvp, transpose, batch, code=code)


def transpose_first(rule: Callable) -> Callable:
    """A transpose rule of an operation linear in its first argument only: ``rule(ct, aval, *rest, **params)``."""

    def transpose(cotangents: tuple, x: Any, *rest: Any, **params: Any) -> tuple:
        assert isinstance(x, Linear) and not any(isinstance(r, Linear) for r in rest)
        return (rule(cotangents[0], x.aval, *rest, **params), *[None] * len(rest))

    return transpose
