"""Whether a model's initial values let signals through: the scale of activations and of gradients, layer by layer.

In: a model, a key and an example of its input. Out: an ``InitReport``, which prints as a table with a verdict.

    >>> from funcgrad import nn
    >>> deep = nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.relu) for _ in range(12)])
    >>> check_init(deep, fg.random.key(0), fg.random.normal(fg.random.key(1), (32, 64), "float32")).verdict
    'activations vanish: from the first layer to the last their standard deviation falls to 0.008 times'
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import random, tree
from funcgrad.charts import Lines, Report, short
from funcgrad.nn.layer import Layer, observing
from funcgrad.tables import Cells
from funcgrad.transforms.derivatives import value_and_grad

FACTOR = 100.0
"""So many times smaller or larger than those behind it, and a gradient vanishes or explodes."""
DRIFT = 10.0
"""So many times may the activations grow or shrink from the first layer to the last."""


def flow(sizes: Sequence[float], factor: float = FACTOR) -> list[str]:
    """What is wrong with the size of the gradient of each layer, from the input to the output; "" where nothing is.

    "vanishing" and "exploding": ``factor`` times below or above the median of the layers behind it.

    >>> flow([1e-6, 1e-3, 0.5, 1.0, 0.0])
    ['vanishing', 'vanishing', '', '', 'zero']
    """
    marks = []
    for i, size in enumerate(sizes):
        behind = [s for s in sizes[i + 1:] if math.isfinite(s) and s > 0]
        middle = float(np.median(behind)) if behind else size
        marks.append("not finite" if not math.isfinite(size) else "zero" if size == 0 else
                     "vanishing" if size * factor < middle else "exploding" if size > factor * middle else "")
    return marks


class InitRow(NamedTuple):
    """A layer: mean and standard deviation of what it returns, and the root mean square of its parameters' gradient."""

    path: str
    layer: str
    mean: float
    std: float
    gradient: float | None
    mark: str


@dataclass(frozen=True, repr=False)
class InitReport(Report):
    """The layers in the order in which they ran, and the verdict; ``fine`` says whether signals get through."""

    rows: tuple[InitRow, ...]
    verdict: str
    fine: bool

    def head(self) -> str:
        return f"initial values: {self.verdict}"

    def table(self) -> tuple[Cells, Sequence[Cells], str]:
        rows = [(row.path, row.layer, short(row.mean), short(row.std), "" if row.gradient is None else short(row.gradient),
                 row.mark) for row in self.rows]
        return ("layer", "type", "mean", "std", "gradient", ""), rows, "<<>>><"

    def chart(self) -> Lines:
        gradients = tuple([math.nan if row.gradient is None else row.gradient for row in self.rows])
        return Lines("Scale through depth", "layer", "size", tuple(map(float, range(len(self.rows)))),
                     (("std of activations", tuple([row.std for row in self.rows])), ("gradient (rms)", gradients)), True,
                     tuple([row.path for row in self.rows]))


def check_init(model: Layer, key: Any, x: Any, *, train: bool = True) -> InitReport:
    """Initialises the model, sends x through it and a random gradient back, and compares the scales of all layers.

    Args:
      model: its layers that contain no others are the rows.
      key: for the initial values, the gradient at the output, and layers that draw numbers.
      x: inputs as the model will get them, scaled alike; some dozen examples are enough.
      train: whether the model runs as in training.

    The gradient is that of the sum of the results times normal numbers, divided by the root of how many there are. Activations
    are judged by how far their standard deviation drifts from the first layer to the last (a factor of 10), gradients as by
    ``fg.viz.gradient_flow``. Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks".
    """
    init_key, pull_key, run_key = random.split(key, 3)
    params, state = model.init(init_key, x)
    layers: dict[tuple[str, ...], Layer] = {}

    def objective(params: Any) -> tuple[Any, dict]:
        scales: dict[tuple[str, ...], tuple[Any, Any]] = {}

        def note(path: tuple[str, ...], part: Layer, x: Any, y: Any) -> None:
            layers[path] = part
            scales[path] = _moments(y)

        with observing(note):
            y, _ = model.apply(params, state, x, run_key, train)
        outs = _floating(y)
        pulls = [random.normal(random.fold_in(pull_key, i), out.shape, out.dtype) for i, out in enumerate(outs)]
        total = sum(fnp.sum(out * pull) / math.sqrt(max(out.size, 1)) for out, pull in zip(outs, pulls, strict=True))
        return total, scales or {(): _moments(y)}

    (_, scales), gradients = value_and_grad(objective, has_aux=True)(params)
    paths = [path for path in scales if not any(other[:len(path)] == path for other in scales if other != path)]
    sizes = {path: size for path in paths if (size := _rms(_below(gradients, path))) is not None}
    marks = dict(zip(sizes, flow(list(sizes.values())), strict=True))
    rows = [InitRow(".".join(path) or "(model)", str(layers.get(path, model)), float(scales[path][0]), float(scales[path][1]),
                    sizes.get(path), marks.get(path, "")) for path in paths]
    verdict = _verdict(rows)
    return InitReport(tuple(rows), verdict, verdict.startswith("fine"))


def _verdict(rows: Sequence[InitRow]) -> str:
    broken = [row.path for row in rows if not math.isfinite(row.std)]
    if broken:
        return f"activations are not finite: from layer {broken[0]} on"
    stds = [row.std for row in rows if row.std > 0] or [1.0]
    drift = stds[-1] / stds[0]
    if not DRIFT > drift > 1 / DRIFT:
        what, way = ("vanish", "falls") if drift < 1 else ("explode", "grows")
        return f"activations {what}: from the first layer to the last their standard deviation {way} to {drift:.1g} times"
    for mark, what in (("not finite", "are not finite"), ("vanishing", "vanish"), ("exploding", "explode"),
                       ("zero", "are zero")):
        found = [row.path for row in rows if row.mark == mark]
        if found:
            return f"gradients {what}: in {len(found)} of {len(rows)} layers, {found[0]} for one"
    return "fine: activations and gradients keep their scale"


def _floating(y: Any) -> list[Any]:
    return [leaf for leaf in map(fnp.asarray, tree.leaves(y)) if leaf.dtype.kind == "f"]


def _moments(y: Any) -> tuple[Any, Any]:
    """The mean and the standard deviation of all numbers in a tree."""
    parts = [fnp.ravel(leaf) for leaf in _floating(y)]
    every = fnp.concatenate(parts) if parts else fnp.zeros(1)
    return fnp.mean(every), fnp.std(every)


def _below(given: Any, path: tuple[str, ...]) -> Any:
    """What stands at a path of a tree of dicts; nothing if the path is not in it."""
    for name in path:
        given = given.get(name, {}) if isinstance(given, Mapping) else {}
    return given


def _rms(gradients: Any) -> float | None:
    """The root mean square of all numbers in a tree, None if there are none."""
    leaves = [np.asarray(leaf, np.float64) for leaf in tree.leaves(gradients)]
    count = sum(leaf.size for leaf in leaves)
    return math.sqrt(sum(float(np.sum(leaf**2)) for leaf in leaves) / count) if count else None
