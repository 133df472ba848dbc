"""Layers made of layers: one after the other, and functions in the place of layers.

    model = Sequential(Linear(64, 128), relu, Linear(128, 10))
    params, state = model.init(key)
    params["0"]["weight"]                                 # float32[64,128]
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from funcgrad.errors import message
from funcgrad.nn.layer import Composite, Layer, Run


@dataclass(frozen=True)
class Lambda(Layer):
    """A function of an array as a layer without parameters."""

    function: Callable

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        return self.function(x), state


@dataclass(frozen=True, init=False)
class Sequential(Composite):
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
        object.__setattr__(self, "layers", tuple([x if isinstance(x, Layer) else Lambda(x) for x in layers]))

    def parts(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def forward(self, run: Run, x: Any) -> Any:
        for name in run.parts:
            x = run(name, x)
        return x
