"""Vectors for integers, such as the words or characters of a text.

    params, state = Embedding(100, 16).init(key)
    y = Embedding(100, 16)(params, labels)                # int64[32,20] -> float32[32,20,16]
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.errors import TracerArrayConversionError
from funcgrad.nn.initializers import Initializer, variance_scaling
from funcgrad.nn.layer import Layer

_WEIGHT_INIT = variance_scaling(1.0, "fan_out", "normal")


@dataclass(frozen=True)
class Embedding(Layer):
    """Row ``x`` of the weight, for each of the integers x.

    Parameters: ``weight`` of shape (count, features), to begin with normal of variance 1 / features. x: integers of any shape s
    from 0 to count - 1; the result has shape (*s, features). Raises IndexError for other integers, when they are known or
    when the compiled program meets them, and TypeError if x does not hold integers.

    >>> layer = Embedding(10, 3)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer(params, fnp.array([[1, 9]])).shape
    (1, 2, 3)
    """

    count: int
    features: int
    weight_init: Initializer = _WEIGHT_INIT
    dtype: Any = np.float32

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return {"weight": self.weight_init(key, (self.count, self.features), self.dtype)}, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        weight, = self.entries("params", params, "weight")
        x = fnp.asarray(x)
        if x.dtype.kind not in "iu":
            self.fail("x must hold integers", x.aval, "an integer array", "x.astype(int)", TypeError)
        count = fnp.shape(weight)[0]
        self._check_labels(x, count)
        # A negative index would count from the end: it is given another number that is out of bounds.
        index = x if x.dtype.kind == "u" else fnp.where(x < 0, count, x.astype(np.int64))
        return weight[index], state

    def attend(self, params: Any, x: Any) -> Any:
        """The products of x[..., features] with all rows: logits over the integers, by the same weight.

        Press and Wolf, "Using the output embedding to improve language models", https://arxiv.org/abs/1608.05859.
        """
        weight, = self.entries("params", params, "weight")
        self.check_last_axis(x, fnp.shape(weight)[1])
        return x @ weight.T

    def _check_labels(self, x: Any, count: int) -> None:
        """Raises IndexError if the values are known and one is not a row."""
        try:
            labels = np.asarray(x)
        except TracerArrayConversionError:
            return
        wrong = labels[(labels < 0) | (labels >= count)]
        if wrong.size:
            self.fail("a label is out of range", f"label {wrong[0]}, with {count} rows", f"labels from 0 to {count - 1}",
                      None, IndexError)
