"""Layers along the last axis of an array, or of a pair of arrays.

    params, state = Linear(64, 128).init(key)
    y = Linear(64, 128)(params, x)                        # float32[32,64] -> float32[32,128]
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.nn.initializers import Initializer, lecun_normal, zeros
from funcgrad.nn.layer import Layer

_WEIGHT_INIT = lecun_normal()


@dataclass(frozen=True)
class Linear(Layer):
    """x @ weight + bias along the last axis.

    Parameters: ``weight`` of shape (in_features, out_features), ``bias`` of shape (out_features,) unless
    ``bias=False``. x: shape (..., in_features). ``in_features`` may be None: then the weight of ``init(key, example)``
    fits the example. Raises ValueError for another last axis.

    >>> layer = Linear(None, 3)
    >>> params, state = layer.init(fg.random.key(0), fnp.ones((8, 5)))
    >>> params["weight"].shape, layer(params, fnp.ones((8, 5))).shape
    ((5, 3), (8, 3))
    """

    in_features: int | None
    out_features: int
    bias: bool = True
    weight_init: Initializer = _WEIGHT_INIT
    bias_init: Initializer = zeros
    dtype: Any = np.float32

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        weight_key, bias_key = random.split(key)
        size = self.size("in_features", example, -1)
        params = {"weight": self.weight_init(weight_key, (size, self.out_features), self.dtype)}
        if self.bias:
            params["bias"] = self.bias_init(bias_key, (self.out_features,), self.dtype)
        return params, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        weight, *bias = self.entries("params", params, "weight", *(["bias"] if self.bias else []))
        self.check_last_axis(x, fnp.shape(weight)[0])
        y = x @ weight
        return (y + bias[0] if bias else y), state


@dataclass(frozen=True)
class Bilinear(Layer):
    """For a pair (a, b), output k is ``sum over i, j of a[i] * weight[i, j, k] * b[j]``, plus the bias, along the last axes.

    Parameters: ``weight`` of shape (first_features, second_features, out_features), ``bias`` of shape (out_features,)
    unless ``bias=False``. x: a pair of shapes (..., first_features) and (..., second_features), whose other axes broadcast.
    ``first_features`` and ``second_features`` may be None: then the weight of ``init(key, example)`` fits the example, a
    pair. Raises ValueError for other sizes.

    >>> layer = Bilinear(2, 3, 4)
    >>> params, state = layer.init(fg.random.key(0))
    >>> layer(params, (fnp.ones((8, 2)), fnp.ones((8, 3)))).shape
    (8, 4)
    """

    first_features: int | None
    second_features: int | None
    out_features: int
    bias: bool = True
    weight_init: Initializer = lecun_normal(in_axis=(0, 1))
    bias_init: Initializer = zeros
    dtype: Any = np.float32

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        weight_key, bias_key = random.split(key)
        first, second = (None, None) if example is None else self._pair(example)
        sizes = self.size("first_features", first, -1), self.size("second_features", second, -1)
        params = {"weight": self.weight_init(weight_key, (*sizes, self.out_features), self.dtype)}
        if self.bias:
            params["bias"] = self.bias_init(bias_key, (self.out_features,), self.dtype)
        return params, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        weight, *bias = self.entries("params", params, "weight", *(["bias"] if self.bias else []))
        first, second = self._pair(x)
        self.check_last_axis(first, fnp.shape(weight)[0])
        self.check_last_axis(second, fnp.shape(weight)[1])
        y = fnp.einsum("...i,...j,ijk->...k", first, second, weight)
        return (y + bias[0] if bias else y), state

    def _pair(self, x: Any) -> tuple[Any, Any]:
        if not isinstance(x, (tuple, list)) or len(x) != 2:
            self.fail("x is not a pair", type(x).__name__, "a tuple of two arrays")
        return x[0], x[1]
