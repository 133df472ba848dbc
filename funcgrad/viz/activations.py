"""What the layers of a model return for an input: scale, zeros, saturation, and units that never answer.

In: a model with its parameters and state, and inputs. Out: an ``ActivationReport``: a table, and a chart through depth.

    >>> from funcgrad import nn
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.relu)
    >>> params = {"0": {"weight": fnp.eye(2), "bias": fnp.array([0.0, -9.0])}}
    >>> print(activation_statistics(model, params, {}, fnp.array([[1.0, 2.0], [3.0, 4.0]])))
    activations of 2 layers; dead units in 1: 1 (1 of 2)
    layer  type          mean   std  zeros  saturated  dead
    0      Linear(2, 2)    -2  4.12    0 %                0
    1      Lambda(relu)     1  1.22   50 %                1
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import nn, tree
from funcgrad.charts import Lines, Report, short
from funcgrad.nn.layer import observing
from funcgrad.tables import Cells

BOUNDS: dict[Callable, tuple[float, float]] = {
    nn.tanh: (-1, 1), fnp.tanh: (-1, 1), nn.hard_tanh: (-1, 1), nn.soft_sign: (-1, 1), nn.sigmoid: (0, 1),
    nn.hard_sigmoid: (0, 1), nn.relu6: (0, 6)}
"""Between which numbers the results of an activation lie."""
MOVES = (nn.Flatten, nn.Dropout)
"""Layers that have no units of their own."""
SATURATED = 0.01
"""So near to a bound, as a share of the range, a result is saturated: its derivative is almost zero."""


class ActivationRow(NamedTuple):
    """A layer: mean and standard deviation, shares of zeros and of saturated results (None where there are no bounds),
    units that are zero for all inputs, and how many units there are."""

    path: str
    layer: str
    mean: float
    std: float
    zeros: float
    saturated: float | None
    dead: int
    units: int


@dataclass(frozen=True, repr=False)
class ActivationReport(Report):
    """The layers without others inside, in the order in which they ran."""

    rows: tuple[ActivationRow, ...]

    @property
    def dead(self) -> dict[str, int]:
        """How many units are dead, for each layer that has some."""
        return {row.path: row.dead for row in self.rows if row.dead}

    def head(self) -> str:
        parts = [f"activations of {len(self.rows)} layers"]
        broken = [row.path for row in self.rows if not math.isfinite(row.std)]
        if broken:
            parts.append(f"not finite in {len(broken)}: {broken[0]} first")
        dead = [f"{row.path} ({row.dead} of {row.units})" for row in self.rows if row.dead]
        if dead:
            parts.append(f"dead units in {len(dead)}: {', '.join(dead[:4])}{' ...' if len(dead) > 4 else ''}")
        saturated = [row.path for row in self.rows if row.saturated is not None and row.saturated > 0.5]
        if saturated:
            parts.append(f"mostly saturated in {len(saturated)}: {', '.join(saturated[:4])}")
        return "; ".join(parts)

    def table(self) -> tuple[Cells, Sequence[Cells], str]:
        rows = [(row.path, row.layer, short(row.mean), short(row.std), f"{100 * row.zeros:.0f} %",
                 "" if row.saturated is None else f"{100 * row.saturated:.0f} %", str(row.dead)) for row in self.rows]
        return ("layer", "type", "mean", "std", "zeros", "saturated", "dead"), rows, "<<>>>>>"

    def chart(self) -> Lines:
        def column(value: Callable[[ActivationRow], float]) -> tuple[float, ...]:
            return tuple([value(row) for row in self.rows])

        return Lines("Activations", "layer", "std, share", tuple(map(float, range(len(self.rows)))),
                     (("std", column(lambda row: row.std)), ("zeros", column(lambda row: row.zeros)),
                      ("saturated", column(lambda row: math.nan if row.saturated is None else row.saturated))), True,
                     tuple([row.path for row in self.rows]))


def activation_statistics(model: nn.Layer, params: Any, state: Any, x: Any, key: Any = None,
                          train: bool = False) -> ActivationReport:
    """Runs the model, and tells for each layer in it how its results are distributed.

    A unit is a place along the last axis. It is dead if it is zero for all inputs and places: behind a relu it then gets no
    gradient. Saturated are results within 1 % of the bounds of tanh, sigmoid and their kin. What layers inside of a ``Repeat``
    return is taken together.
    """
    seen: dict[tuple[str, ...], tuple[nn.Layer, Any]] = {}
    with observing(lambda path, part, x, y: seen.update({path: (part, y)})):
        y, _ = model.apply(params, state, x, key, train)
    seen = seen or {(): (model, y)}
    leaves = {path: entry for path, entry in seen.items() if not any(o[:len(path)] == path for o in seen if o != path)}
    return ActivationReport(tuple([_row(path, layer, y) for path, (layer, y) in leaves.items()]))


def _row(path: tuple[str, ...], layer: nn.Layer, y: Any) -> ActivationRow:
    arrays = [np.asarray(leaf, np.float64) for leaf in tree.leaves(y)]
    every = np.concatenate([np.ravel(a) for a in arrays]) if arrays else np.zeros(0)
    count = max(every.size, 1)
    saturated = None
    bounds = BOUNDS.get(layer.function) if isinstance(layer, nn.Lambda) else None
    if bounds is not None:
        margin = SATURATED * (bounds[1] - bounds[0])
        saturated = float(np.sum((every <= bounds[0] + margin) | (every >= bounds[1] - margin))) / count
    with np.errstate(invalid="ignore", over="ignore"):
        mean, std = (float(np.mean(every)), float(np.std(every))) if every.size else (0.0, 0.0)
    units = [a.reshape(-1, a.shape[-1]) for a in arrays if a.ndim and a.size and not isinstance(layer, MOVES)]
    return ActivationRow(".".join(path) or "(model)", str(layer), mean, std, float(np.sum(every == 0)) / count, saturated,
                         sum(int(np.sum(~a.any(axis=0))) for a in units), sum(a.shape[1] for a in units))
