"""Layers: descriptions of functions with parameters. A layer holds no arrays.

In: a key. Out: ``params, state = layer.init(key)``, trees of dicts; then

    y, state = layer.apply(params, state, x, key=None, train=False)
    y = layer(params, x)                                  # layers without state

Parameters are what the gradient is taken of; the state is what a layer carries from one call to the next otherwise.
Layers are immutable, comparable and hashable, so they can be static arguments of ``jit``.

    model = Sequential(Linear(64, 128), relu, Linear(128, 10))
    params["0"]["weight"]                                 # float32[64,128]
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.errors import message
from funcgrad.nn.initializers import Initializer, lecun_normal, zeros


class Layer:
    """What all layers share. A layer without parameters and state only needs ``apply``."""

    def init(self, key: Any) -> tuple[dict, dict]:
        """The parameters and the state to begin with."""
        return {}, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        """The result for x, and the state for the next call.

        ``key`` is for layers that draw random numbers; ``train`` chooses the behaviour of those that differ in
        training.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define apply")

    def __call__(self, params: Any, x: Any) -> Any:
        """The result for x, of a layer without state."""
        y, state = self.apply(params, {}, x)
        if state:
            raise TypeError(message(f"{type(self).__name__}: a layer with state was called like a function",
                                    f"state {', '.join(map(repr, state))}", None,
                                    "y, state = layer.apply(params, state, x)"))
        return y


_WEIGHT_INIT = lecun_normal()


@dataclass(frozen=True)
class Linear(Layer):
    """x @ weight + bias along the last axis.

    Parameters: ``weight`` of shape (in_features, out_features), ``bias`` of shape (out_features,) unless
    ``bias=False``. x: shape (..., in_features). Raises ValueError for another last axis.
    """

    in_features: int
    out_features: int
    bias: bool = True
    weight_init: Initializer = _WEIGHT_INIT
    bias_init: Initializer = zeros
    dtype: Any = np.float32

    def init(self, key: Any) -> tuple[dict, dict]:
        weight_key, bias_key = random.split(key)
        params = {"weight": self.weight_init(weight_key, (self.in_features, self.out_features), self.dtype)}
        if self.bias:
            params["bias"] = self.bias_init(bias_key, (self.out_features,), self.dtype)
        return params, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        if fnp.shape(x)[-1:] != (self.in_features,):
            raise ValueError(message(f"Linear({self.in_features}, {self.out_features}): "
                                     "the last axis of x does not fit", f"x of shape {fnp.shape(x)}",
                                     f"a shape (..., {self.in_features})"))
        y = x @ params["weight"]
        return (y + params["bias"] if self.bias else y), state


@dataclass(frozen=True)
class Activation(Layer):
    """A function of an array as a layer without parameters."""

    function: Callable

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        return self.function(x), state


@dataclass(frozen=True, init=False)
class Sequential(Layer):
    """Layers one after the other; a plain function of an array may stand for a layer.

    Parameters and state are dicts with the layers' positions, as in ``params["0"]["weight"]``; a layer that has none
    has no entry.
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer | Callable):
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(message(f"Sequential: argument {i} is not a layer", repr(layer),
                                        "layers and functions of an array"))
        object.__setattr__(self, "layers", tuple([x if isinstance(x, Layer) else Activation(x) for x in layers]))

    def init(self, key: Any) -> tuple[dict, dict]:
        params, state = {}, {}
        for i, (layer, layer_key) in enumerate(zip(self.layers, random.split(key, len(self.layers)), strict=True)):
            layer_params, layer_state = layer.init(layer_key)
            if layer_params:
                params[str(i)] = layer_params
            if layer_state:
                state[str(i)] = layer_state
        return params, state

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        keys = [None] * len(self.layers) if key is None else random.split(key, len(self.layers))
        new_state = {}
        for i, (layer, layer_key) in enumerate(zip(self.layers, keys, strict=True)):
            name = str(i)
            x, layer_state = layer.apply(params.get(name, {}), state.get(name, {}), x, layer_key, train)
            if layer_state:
                new_state[name] = layer_state
        return x, new_state
