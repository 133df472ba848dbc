"""One row of the table of operations, and samplers of its arguments.

In: a name, a function and arguments inside its domain. Out: an ``Operation``. The tables are ``operations.py`` and the
``operations_*.py`` of the families; ``operations.OPERATIONS`` holds the rows of all.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_RNG = np.random.default_rng(7)


def real(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    """Values spread over an interval, all different and away from its ends."""
    n = int(np.prod(shape, dtype=int))
    points = low + (high - low) * (np.arange(n) + 0.35 + 0.3 * _RNG.random(n)) / max(n, 1)
    return _RNG.permutation(points).reshape(shape)


def positive(*shape: int) -> np.ndarray:
    return real(*shape, low=0.3, high=2.5)


def unit(*shape: int) -> np.ndarray:
    return real(*shape, low=-0.9, high=0.9)


def cplx(*shape: int) -> np.ndarray:
    return real(*shape) + 1j * real(*shape)


def ints(*shape: int, low: int = -5, high: int = 6) -> np.ndarray:
    return _RNG.integers(low, high, shape)


def bools(*shape: int) -> np.ndarray:
    return _RNG.random(shape) < 0.5


@dataclass(frozen=True)
class Operation:
    """One row. ``order`` is how often it is differentiated in the tests; 0 if its result is not differentiable."""

    name: str
    function: Callable
    args: tuple[Any, ...]
    order: int = 2
    float32: bool = True
    modes: tuple[str, ...] = ("fwd", "rev")
    tolerance: float | None = None
    batched: tuple[int, ...] | None = field(default=None)
    """Positions of the arguments that may be batched; None for all."""

    def __str__(self) -> str:
        return self.name


def row(name: str, function: Callable, *args: Any, **options: Any) -> Operation:
    return Operation(name, function, args, **options)
