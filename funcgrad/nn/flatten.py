"""Several axes made one, between layers over images and layers over vectors.

    Flatten()({}, x)                                      # float32[8,4,4,16] -> float32[8,256]
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import funcgrad.numpy as fnp
from funcgrad.nn.layer import Layer


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes from ``axis`` on as one; ``axis`` may count from the end, as in ``Flatten(-3)``.

    Raises ValueError if x has no such axis.

    >>> Flatten()({}, fnp.ones((8, 4, 4, 3))).shape, Flatten(-2)({}, fnp.ones((8, 4, 4, 3))).shape
    ((8, 48), (8, 4, 12))
    """

    axis: int = 1

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        shape = fnp.shape(x)
        if not -len(shape) <= self.axis < len(shape):
            self.fail(f"x has no axis {self.axis}", f"x of shape {shape}")
        axis = self.axis % len(shape)
        return fnp.reshape(x, (*shape[:axis], math.prod(shape[axis:]))), state
