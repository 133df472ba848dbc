"""A parameter of a layer, normalised before the layer gets it: its length is learned apart from its direction, or is 1.

    layer = WeightNorm(Conv2d(3, 16, 3), "weight")
    params, state = layer.init(key)
    params["layer"]["weight"], params["scale"]            # float32[3,3,3,16], float32[16]
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import funcgrad.numpy as fnp
from funcgrad import lax, random
from funcgrad.nn.layer import Composite, Layer, Run


@dataclass(frozen=True)
class _Reparametrized(Composite):
    """A layer of which one parameter is computed from that which is stored."""

    layer: Layer
    name: str = "weight"

    def parts(self) -> dict[str, Layer]:
        return {"layer": self.layer}

    def forward(self, run: Run, x: Any, **options: Any) -> Any:
        inner = run.params.get("layer", {})
        run.params = {**run.params, "layer": {**inner, self.name: self.computed(run, self.stored(inner))}}
        return run("layer", x, **options)

    def _examples(self, parts: dict[str, Layer], example: Any, known: dict) -> dict[str, Any]:
        return {"layer": example}

    def stored(self, params: Any) -> Any:
        """The parameter as it is stored. Raises ValueError if the layer has none of this name."""
        if self.name not in params or isinstance(params[self.name], dict):
            self.fail(f"the layer has no parameter {self.name!r} of its own", f"params of {self.layer} with "
                      f"{', '.join(map(repr, params)) or 'nothing'}", None, "the name of one of its arrays")
        return params[self.name]

    def computed(self, run: Run, weight: Any) -> Any:
        """What the layer gets as its parameter."""
        raise NotImplementedError


@dataclass(frozen=True)
class WeightNorm(_Reparametrized):
    """A layer whose parameter ``name`` is ``scale`` times a direction: for each output, the stored weight by its length.

    Parameters: ``layer``, those of the layer, and ``scale`` of shape (outputs,), the lengths to begin with. The outputs lie
    along the last axis of the weight. Input, state and options are the layer's. Raises ValueError if the layer has no such
    parameter. Salimans and Kingma, "Weight normalization", https://arxiv.org/abs/1602.07868.

    >>> layer = WeightNorm(fg.nn.Linear(3, 2))
    >>> params, state = layer.init(fg.random.key(0))
    >>> params["layer"]["weight"].shape, params["scale"].shape
    ((3, 2), (2,))
    """

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        params, state = super().init(key, example)
        return {**params, "scale": fnp.sqrt(_squares(self.stored(params.get("layer", {}))))}, state

    def computed(self, run: Run, weight: Any) -> Any:
        scale, = self.entries("params", run.params, "scale")
        squares = _squares(weight)
        return weight * (scale * lax.rsqrt(fnp.where(squares == 0, 1, squares)))


@dataclass(frozen=True)
class SpectralNorm(_Reparametrized):
    """A layer whose parameter ``name`` is divided by its largest singular value, as the matrix (all other axes, outputs).

    The singular vectors are kept in the state and come nearer by ``iterations`` steps of the power method in each call with
    ``train=True``; nothing is differentiated through these steps.

    Parameters: ``layer``, those of the layer. State: ``layer``, ``left`` and ``right``. The outputs lie along the last axis of
    the weight. Input and options are the layer's. Raises ValueError if the layer has no such parameter, and without the state.
    Miyato et al., "Spectral normalization", https://arxiv.org/abs/1802.05957.

    >>> layer = SpectralNorm(fg.nn.Linear(3, 2, bias=False))
    >>> params, state = layer.init(fg.random.key(0))
    >>> y, state = layer.apply(params, state, fnp.eye(3), train=True)
    >>> fnp.round(fnp.linalg.norm(y, 2), 3)
    Array(1., dtype=float64)
    """

    iterations: int = 1

    def __post_init__(self) -> None:
        if self.iterations < 1:
            self.fail("iterations does not fit", self.iterations, "a positive integer")

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        layer_key, vector_key = random.split(key)
        params, state = super().init(layer_key, example)
        matrix = _matrix(self.stored(params.get("layer", {})))
        left, right = _power(matrix, random.normal(vector_key, matrix.shape[:1], matrix.dtype), 15)
        return params, {**state, "left": left, "right": right}

    def computed(self, run: Run, weight: Any) -> Any:
        left, right = self.entries("state", run.state, "left", "right")
        matrix = _matrix(weight)
        if run.train:
            left, right = _power(lax.stop_gradient(matrix), left, self.iterations)
            run.state = {**run.state, "left": left, "right": right}
        return weight / (left @ matrix @ right).astype(fnp.result_type(weight))


def _squares(weight: Any) -> Any:
    """For each output, the sum of the squares."""
    return fnp.sum(fnp.square(weight), tuple(range(fnp.ndim(weight) - 1)))


def _matrix(weight: Any) -> Any:
    return fnp.reshape(weight, (-1, fnp.shape(weight)[-1]))


def _power(matrix: Any, left: Any, steps: int) -> tuple[Any, Any]:
    """The singular vectors of the largest singular value, nearer by some steps of the power method."""
    for _ in range(steps):
        right = _unit(left @ matrix)
        left = _unit(matrix @ right)
    return left, right


def _unit(v: Any) -> Any:
    return v * lax.rsqrt(fnp.maximum(fnp.sum(fnp.square(v)), float(fnp.finfo(v.dtype).tiny)))
