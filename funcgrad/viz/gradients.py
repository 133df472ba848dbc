"""How large the gradients of a model's layers are, and which of them vanish or explode.

In: a gradient, a tree like the parameters. Out: a ``GradientReport``: a table, and a chart with a bar for each layer.

    >>> grads = {"0": {"weight": fnp.full((2, 2), 1e-6)}, "1": {"weight": fnp.ones((2, 2))}}
    >>> print(gradient_flow(grads))
    gradient: norm 2 over 2 layers; vanishing in 1: 0
    layer   norm    rms  largest
    0      2e-06  1e-06    1e-06  vanishing
    1          2      1        1
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from funcgrad import tree
from funcgrad.charts import Bars, Report, short
from funcgrad.errors import message
from funcgrad.nn.diagnosis import FACTOR, flow
from funcgrad.tables import Cells


class GradientRow(NamedTuple):
    """A layer: the norm of its gradient, its root mean square, its largest number, and that norm by the parameters' norm."""

    path: str
    norm: float
    rms: float
    largest: float
    ratio: float | None
    mark: str


@dataclass(frozen=True, repr=False)
class GradientReport(Report):
    """The gradients of the layers, from the input to the output as far as their names tell."""

    rows: tuple[GradientRow, ...]

    @property
    def norm(self) -> float:
        """The norm of the whole gradient."""
        return math.hypot(*[row.norm for row in self.rows])

    def marked(self, mark: str) -> list[str]:
        """The layers with this mark: "vanishing", "exploding", "zero" or "not finite"."""
        return [row.path for row in self.rows if row.mark == mark]

    def head(self) -> str:
        found = [f"{mark} in {len(paths)}: {', '.join(paths[:4])}{' ...' if len(paths) > 4 else ''}"
                 for mark in ("not finite", "exploding", "vanishing", "zero") if (paths := self.marked(mark))]
        return "; ".join([f"gradient: norm {short(self.norm)} over {len(self.rows)} layers", *found])

    def table(self) -> tuple[Cells, Sequence[Cells], str]:
        rows = [(row.path, short(row.norm), short(row.rms), short(row.largest),
                 "" if row.ratio is None else short(row.ratio), row.mark) for row in self.rows]
        head = ("layer", "norm", "rms", "largest", "norm / parameters", "")
        if all(row.ratio is None for row in self.rows):
            head, rows = (*head[:4], ""), [(*row[:4], row[5]) for row in rows]
        return head, rows, "<" + ">" * (len(head) - 2) + "<"

    def chart(self) -> Bars:
        return Bars("Gradients (root mean square)", tuple([row.path for row in self.rows]),
                    tuple([row.rms for row in self.rows]), tuple([bool(row.mark) for row in self.rows]), True)


def gradient_flow(grads: Any, params: Any = None, *, factor: float = FACTOR) -> GradientReport:
    """The size of the gradient in each layer, with marks where it vanishes, explodes, is zero or not finite.

    Args:
      grads: a gradient, a tree of dicts like the parameters; a layer is what its arrays have in common.
      params: the parameters; with them the table has the norm of each gradient over that of its parameters.
      factor: a layer is marked when the root mean square of its gradient is so many times below or above the median of
        those behind it.

    Layers are in the order of their names, numbers as numbers, which is that of a ``Sequential``. Raises ValueError where there
    are no gradients, and where the parameters have another structure.
    """
    groups = _groups(grads)
    if not groups:
        raise ValueError(message("gradient_flow: there are no gradients", repr(grads), "a tree of arrays"))
    if params is not None and tree.structure(params) != tree.structure(grads):
        raise ValueError(message("gradient_flow: the parameters have another structure than the gradient",
                                 tree.structure(params), tree.structure(grads)))
    lengths = {path: float(np.linalg.norm(values)) for path, values in ({} if params is None else _groups(params)).items()}
    norms = {path: float(np.linalg.norm(values)) for path, values in groups.items()}
    rms = [norms[path] / math.sqrt(max(values.size, 1)) for path, values in groups.items()]
    return GradientReport(tuple([
        GradientRow(path, norms[path], size, float(np.max(np.abs(values), initial=0)),
                    norms[path] / lengths[path] if lengths.get(path) else None, mark)
        for (path, values), size, mark in zip(groups.items(), rms, flow(rms, factor), strict=True)]))


def _groups(values: Any) -> dict[str, np.ndarray]:
    """The numbers of each layer in one vector, by its path, in the order of the names."""
    found: dict[tuple[str, ...], list[np.ndarray]] = {}
    for path, leaf in tree.leaves_with_path(values):
        names = tuple([tree.keystr((entry,), simple=True) for entry in path])
        found.setdefault(names[:-1] or names, []).append(np.ravel(np.asarray(leaf, np.float64)))
    ordered = sorted(found, key=lambda names: [(0, int(n), "") if n.isdigit() else (1, 0, n) for n in names])
    return {".".join(names) or "(gradient)": np.concatenate(found[names]) for names in ordered}
