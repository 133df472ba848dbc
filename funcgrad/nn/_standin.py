"""Dropout and LayerNorm until the real ones are here."""
from dataclasses import dataclass
from typing import Any

import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.nn.layer import Layer


@dataclass(frozen=True)
class Dropout(Layer):
    rate: float

    def apply(self, params, state, x, key=None, train=False):
        if not train or self.rate == 0:
            return x, state
        if key is None:
            self.fail("key is missing", "None")
        return fnp.where(random.bernoulli(key, 1 - self.rate, x.shape), x / (1 - self.rate), 0), state


@dataclass(frozen=True)
class LayerNorm(Layer):
    features: int
    epsilon: float = 1e-5
    dtype: Any = "float32"

    def init(self, key, example=None):
        return {"scale": fnp.ones(self.features, self.dtype), "bias": fnp.zeros(self.features, self.dtype)}, {}

    def apply(self, params, state, x, key=None, train=False):
        mean, var = fnp.mean(x, -1, keepdims=True), fnp.var(x, -1, keepdims=True)
        return (x - mean) / fnp.sqrt(var + self.epsilon) * params["scale"] + params["bias"], state
