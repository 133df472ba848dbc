"""The loss along random directions from a model's parameters: along a line, or over a plane.

In: a function of the parameters, the parameters, a key. Out: a ``Landscape``: its numbers, a table, and a chart.

A direction has normal numbers, scaled so that what leads to each output of a layer (a column of a matrix, a kernel of a
convolution) is as long as the parameters there; one-dimensional parameters, such as biases, stay. So two models can be
compared, whatever the scale of their layers. Li et al., "Visualizing the loss landscape of neural nets",
https://arxiv.org/abs/1712.09913.

    >>> report = loss_landscape(lambda w: fnp.sum((w - 1.0) ** 2), fnp.ones((2, 2)), fg.random.key(0), points=3)
    >>> report.values                                     # w moves by a matrix with columns of length sqrt(2)
    array([4., 0., 4.])
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import random, tree
from funcgrad.charts import Lines, Map, Report, short
from funcgrad.errors import message
from funcgrad.jit import jit
from funcgrad.tables import Cells


@dataclass(frozen=True, eq=False, repr=False)
class Landscape(Report):
    """``values[i]`` is the loss at ``distances[i]`` along the direction; over a plane ``values[i, j]`` is that at
    ``distances[i]`` along the second and ``distances[j]`` along the first. The middle is the loss of the parameters."""

    distances: np.ndarray
    values: np.ndarray

    @property
    def centre(self) -> float:
        """The loss of the parameters."""
        return float(self.values[(len(self.distances) // 2,) * self.values.ndim])

    def head(self) -> str:
        finite = self.values[np.isfinite(self.values)]
        if not finite.size:
            return "loss: nowhere finite"
        at = np.unravel_index(np.argmin(np.where(np.isfinite(self.values), self.values, np.inf)), self.values.shape)
        place = ", ".join(short(self.distances[i]) for i in reversed(at))
        return (f"loss: {short(self.centre)} at the parameters, lowest {short(finite.min())} at {place}, "
                f"highest {short(finite.max())}")

    def table(self) -> tuple[Cells, Sequence[Cells], str]:
        shown = np.unique(np.linspace(0, len(self.distances) - 1, 7).round().astype(int))
        if self.values.ndim == 1:
            return ("distance", "loss"), [(short(self.distances[i]), short(self.values[i])) for i in shown], ">>"
        rows = [(short(self.distances[i]), *[short(self.values[i, j]) for j in shown]) for i in reversed(shown)]
        return ("", *[short(self.distances[j]) for j in shown]), rows, ">" * (len(shown) + 1)

    def chart(self) -> Lines | Map:
        distances = tuple(map(float, self.distances))
        if self.values.ndim == 1:
            return Lines("Loss along a direction", "distance", "loss", distances, (("loss", tuple(map(float, self.values))),))
        finite = self.values[np.isfinite(self.values)]
        log = bool(finite.size) and finite.min() > 0 and finite.max() > 20 * finite.min()
        return Map("Loss over a plane", "first direction", "second direction", distances, distances,
                   tuple([tuple(map(float, row)) for row in self.values]), log)


def loss_landscape(loss: Callable, params: Any, key: Any, *, dimensions: int = 1, points: int = 21,
                   span: float = 1.0) -> Landscape:
    """The loss at ``points`` places (``points**2`` over a plane) from -span to span along random directions.

    Args:
      loss: a function from the parameters to a number; it is compiled once.
      params: where the directions start, a tree of arrays; arrays with fewer than two axes stay as they are.
      dimensions: 1, a line, or 2, a plane.
      points: an odd number, so that the parameters themselves are in the middle.

    Raises ValueError for other numbers of dimensions or points, and for parameters without a matrix.
    """
    if dimensions not in (1, 2):
        raise ValueError(message("loss_landscape: a picture has one or two dimensions", dimensions, "1 or 2"))
    if points % 2 == 0 or points < 3:
        raise ValueError(message("loss_landscape: there is no middle", f"{points} points", "an odd number, 3 at least"))
    if not any(map(_moves, tree.leaves(params))):
        raise ValueError(message("loss_landscape: no parameter moves", tree.map(fnp.shape, params),
                                 "at least one floating point array with two axes or more"))
    directions = [_direction(k, params) for k in random.split(key, dimensions)]

    @jit
    def at(params: Any, directions: list, places: Any) -> Any:
        moved = params
        for i, direction in enumerate(directions):
            moved = tree.map(lambda p, d, i=i: p + (places[i] * d).astype(d.dtype) if _moves(p) else p, moved, direction)
        return loss(moved)

    distances = np.linspace(-span, span, points)
    distances[points // 2] = 0.0
    grid = np.stack(np.meshgrid(*[distances] * dimensions), -1).reshape(-1, dimensions)
    values = [float(at(params, directions, place)) for place in grid]
    return Landscape(distances, np.reshape(values, (points,) * dimensions))


def _moves(p: Any) -> bool:
    return fnp.ndim(p) >= 2 and fnp.result_type(p).kind == "f"


def _direction(key: Any, params: Any) -> Any:
    """A random direction, as long as the parameters for each output (the last axis)."""
    leaves, structure = tree.flatten(params)
    return tree.unflatten(structure, [_scaled(random.fold_in(key, i), fnp.asarray(p)) if _moves(p) else fnp.zeros(())
                                      for i, p in enumerate(leaves)])


def _scaled(key: Any, p: Any) -> Any:
    def lengths(x: Any) -> Any:
        return fnp.sqrt(fnp.sum(fnp.square(x), tuple(range(x.ndim - 1)), keepdims=True))

    drawn = random.normal(key, p.shape, p.dtype)
    return drawn * (lengths(p) / fnp.maximum(lengths(drawn), 1e-30))
