"""Lengths, directions and distances of vectors along an axis.

In: arrays whose vectors lie along ``axis``. Out: vectors of length 1, or one number for each vector or pair. At a vector of
length 0, where a length has no derivative, all of these have derivative 0.

    >>> x = fnp.array([3.0, 4.0])
    >>> normalize(x)
    Array([0.6, 0.8], dtype=float64)
"""
from __future__ import annotations

from typing import Any

import funcgrad.numpy as fnp


def length(x: Any, axis: int = -1, keepdims: bool = False) -> Any:
    """The Euclidean length; its derivative at 0 is 0."""
    squares = fnp.sum(fnp.square(x), axis, keepdims=keepdims)
    positive = fnp.greater(squares, 0)
    return fnp.where(positive, fnp.sqrt(fnp.where(positive, squares, 1)), 0)


def normalize(x: Any, axis: int = -1, epsilon: float = 1e-12) -> Any:
    """x divided by its length along an axis, or by ``epsilon`` if that is larger."""
    return x / fnp.maximum(length(x, axis, keepdims=True), epsilon)


def cosine_similarity(x: Any, y: Any, axis: int = -1, epsilon: float = 1e-8) -> Any:
    """The cosine of the angle between x and y along an axis; a length counts as at least ``epsilon``."""
    return fnp.sum(normalize(x, axis, epsilon) * normalize(y, axis, epsilon), axis)


def pairwise_distance(x: Any, y: Any, axis: int = -1, epsilon: float = 1e-6) -> Any:
    """The length of ``x - y + epsilon`` along an axis, as in ``torch.nn.functional``."""
    return length(x - y + epsilon, axis)
