"""Layers made of layers: one after the other, side by side, around, and again and again; and functions as layers.

    model = Sequential(Linear(64, 128), relu, Residual(Linear(128, 128)), Linear(128, 10))
    params, state = model.init(key)
    params["0"]["weight"]                                 # float32[64,128]
    deep = Repeat(TransformerBlock(64, heads=4), 12)      # its parameters are stacked: deep compiles as fast as one block
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import funcgrad.numpy as fnp
from funcgrad import lax, random, tree
from funcgrad.control.checkpoint import checkpoint
from funcgrad.errors import message
from funcgrad.nn.layer import Composite, Layer, Run, collected, struct, tell
from funcgrad.transforms.batching import vmap


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
        object.__setattr__(self, "layers", tuple([_layer("Sequential", i, x) for i, x in enumerate(layers)]))

    def parts(self) -> dict[str, Layer]:
        return {str(i): layer for i, layer in enumerate(self.layers)}

    def forward(self, run: Run, x: Any) -> Any:
        for name in run.parts:
            x = run(name, x)
        return x


@dataclass(frozen=True)
class Residual(Composite):
    """``layer(x) + x``, or ``layer(x) + projection(x)`` where the layer changes the shape.

    Parts: "layer" and "projection". Options of ``apply`` go to the layer. Raises ValueError unless the two have one shape. He
    et al., "Deep residual learning for image recognition", https://arxiv.org/abs/1512.03385.

    >>> from funcgrad.nn.linear import Linear
    >>> layer = Residual(Linear(3, 5), projection=Linear(3, 5, bias=False))
    >>> params, _ = layer.init(fg.random.key(0))
    >>> sorted(params), layer(params, fnp.ones((2, 3))).shape
    (['layer', 'projection'], (2, 5))
    """

    layer: Layer | Callable
    projection: Layer | Callable | None = None

    def parts(self) -> dict[str, Layer]:
        projection = {} if self.projection is None else {"projection": _layer("Residual", "projection", self.projection)}
        return {"layer": _layer("Residual", "layer", self.layer)} | projection

    def forward(self, run: Run, x: Any, **options: Any) -> Any:
        y = run("layer", x, **options)
        around = x if self.projection is None else run("projection", x)
        if fnp.shape(y) != fnp.shape(around):
            self.fail("what the layer returns cannot be added to what goes around it",
                      f"shapes {fnp.shape(y)} and {fnp.shape(around)}", "one shape",
                      "projection=..., a layer that brings x to the shape of the result" if self.projection is None else None)
        return y + around


@dataclass(frozen=True, init=False)
class Parallel(Composite):
    """Layers side by side, each of x; what they return is the "sum", the "concatenate"-d last axes, or a "tuple".

    Layers are given in a row, and have their positions as names, or by name. Raises ValueError if shapes do not fit.

    >>> from funcgrad.nn.linear import Linear
    >>> layer = Parallel(wide=Linear(3, 5), narrow=Linear(3, 2), combine="concatenate")
    >>> params, _ = layer.init(fg.random.key(0))
    >>> sorted(params), layer(params, fnp.ones((2, 3))).shape
    (['narrow', 'wide'], (2, 7))
    """

    layers: tuple[tuple[str, Layer], ...]
    combine: str

    def __init__(self, *layers: Layer | Callable, combine: str = "sum", **named: Layer | Callable):
        if combine not in ("sum", "concatenate", "tuple"):
            raise ValueError(message("Parallel: unknown combine", repr(combine), "'sum', 'concatenate' or 'tuple'"))
        if not (layers or named):
            raise ValueError(message("Parallel: nothing to run", "no layers", "one layer or more"))
        given = {**{str(i): x for i, x in enumerate(layers)}, **named}
        object.__setattr__(self, "layers", tuple([(name, _layer("Parallel", name, x)) for name, x in given.items()]))
        object.__setattr__(self, "combine", combine)

    def parts(self) -> dict[str, Layer]:
        return dict(self.layers)

    def forward(self, run: Run, x: Any) -> Any:
        ys = tuple([run(name, x) for name in run.parts])
        if self.combine == "tuple":
            return ys
        shapes = [fnp.shape(y) for y in ys]
        if len({shape if self.combine == "sum" else shape[:-1] for shape in shapes}) > 1:
            self.fail("what the layers return does not fit together",
                      ", ".join(f"{name}: {shape}" for name, shape in zip(run.parts, shapes)),
                      "one shape" if self.combine == "sum" else "one shape but for the last axis")
        return sum(ys[1:], ys[0]) if self.combine == "sum" else fnp.concatenate(ys, -1)


@dataclass(frozen=True)
class Repeat(Layer):
    """``count`` layers of one kind, one after the other, each with its own parameters, as one loop.

    Parameters and state are the layer's with an axis of size ``count`` in front of all arrays, so a deep stack is traced and
    compiled once. The layer must return the shape and dtype that it gets. Options of ``apply`` go to each layer. With
    ``checkpoint`` the gradient keeps the input of each layer, and computes the rest again. ``nn.capture`` shows for each path
    inside what the layers returned, stacked.

    >>> from funcgrad.nn.linear import Linear
    >>> layer = Repeat(Sequential(Linear(3, 3), fnp.tanh), 10)
    >>> params, _ = layer.init(fg.random.key(0))
    >>> params["0"]["weight"].shape, layer(params, fnp.ones((2, 3), "float32")).shape
    ((10, 3, 3), (2, 3))
    """

    layer: Layer | Callable
    count: int
    checkpoint: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", _layer("Repeat", "layer", self.layer))
        if self.count < 1:
            self.fail("nothing to repeat", f"count={self.count}", "one layer or more")

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return vmap(lambda key: self.layer.init(key, example))(random.split(key, self.count))

    def init_cache(self, batch: int, length: int | None = None) -> dict:
        cache = self.layer.init_cache(batch, length)
        return tree.map(lambda x: fnp.broadcast_to(x, (self.count, *x.shape)), cache)

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, **options: Any) -> tuple[Any, Any]:
        self._check_stacked(params)
        x = tree.map(fnp.asarray, x)
        keys = None if key is None else random.split(key, self.count)
        inside: dict[Any, Layer] = {}

        def step(x: Any, own: tuple[Any, Any, Any]) -> tuple[Any, Any]:
            params, state, key = own
            with collected(inside) as seen:
                y, state = self.layer.apply(params, state, x, key, train, **options)
            if tree.map(struct, y) != tree.map(struct, x):
                self.fail("a layer cannot take what the one before it returns",
                          f"{tree.map(struct, y)} for {tree.map(struct, x)}", "one shape and dtype")
            return y, (state, seen)

        y, (state, seen) = lax.scan(checkpoint(step) if self.checkpoint else step, x, (params, state, keys), length=self.count)
        for path, part in inside.items():
            tell(path, part, *seen[path])
        return y, state

    def _check_stacked(self, params: Any) -> None:
        """Raises ValueError unless all arrays have an axis of size ``count`` in front."""
        for path, leaf in tree.leaves_with_path(params):
            if fnp.shape(leaf)[:1] != (self.count,):
                self.fail("its params are not those of so many layers",
                          f"params{tree.keystr(path)} of shape {fnp.shape(leaf)}", f"a shape ({self.count}, ...)")


def _layer(where: str, name: Any, given: Layer | Callable) -> Layer:
    """A layer; a function of an array becomes one. Raises TypeError for anything else."""
    if not callable(given):
        raise TypeError(message(f"{where}: argument {name} is not a layer", repr(given), "layers and functions of an array"))
    return given if isinstance(given, Layer) else Lambda(given)
