"""The operators of arrays and tracers: ``x * y``, ``x < y``, ``-x``, ``x @ y`` ...

Out: a table from method names to functions, installed on ``Array`` by ``ops/__init__``. A list or tuple of
numbers counts as an array, as it does for NumPy's; another operand gives ``NotImplemented``, so that its own class may
answer.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array
from funcgrad.ops import elementwise as e

_OPERANDS = (Array, np.ndarray, np.generic, *dtypes.PYTHON_SCALARS)


def binary(function: Callable) -> tuple[Callable, Callable]:
    """The two methods of an operator that applies a function: the array on the left, and on the right."""

    def operator(self: Any, other: Any) -> Any:
        if isinstance(other, _OPERANDS):
            return function(self, other)
        return function(self, np.asarray(other)) if isinstance(other, list | tuple) else NotImplemented

    def reflected(self: Any, other: Any) -> Any:
        if isinstance(other, _OPERANDS):
            return function(other, self)
        return function(np.asarray(other), self) if isinstance(other, list | tuple) else NotImplemented

    return operator, reflected


def _divmod(x: Any, y: Any) -> tuple:
    return e.floor_divide(x, y), e.remainder(x, y)


def _right_shift(x: Any, y: Any) -> Any:
    unsigned = isinstance(x, (Array, np.ndarray, np.generic)) and x.dtype.kind == "u"
    return (e.shift_right_logical if unsigned else e.shift_right_arithmetic)(x, y)


def operators() -> dict[str, Callable]:
    """Every operator method, reflected forms included. ``@`` and indexing are added by the layers that define them."""
    table: dict[str, Callable] = {}
    for name, function in {"add": e.add, "sub": e.subtract, "mul": e.multiply, "truediv": e.true_divide,
                           "floordiv": e.floor_divide, "mod": e.remainder, "divmod": _divmod, "pow": e.power,
                           "lshift": e.shift_left, "rshift": _right_shift, "and": e.bitwise_and, "or": e.bitwise_or,
                           "xor": e.bitwise_xor}.items():
        table[f"__{name}__"], table[f"__r{name}__"] = binary(function)
    for name, function in {"eq": e.eq, "ne": e.ne, "lt": e.lt, "le": e.le, "gt": e.gt, "ge": e.ge}.items():
        table[f"__{name}__"] = binary(function)[0]
    table.update({"__neg__": lambda x: e.neg(x), "__pos__": lambda x: x, "__abs__": lambda x: e.abs(x),
                  "__invert__": lambda x: e.bitwise_not(x)})
    return table
