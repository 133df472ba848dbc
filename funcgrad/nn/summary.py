"""A model at a glance: its layers, what they return, how many parameters they have and how much arithmetic they do.

In: a model and an example of its input, or only its shape and dtype. Out: a ``Summary``, which prints as a table. Nothing is
computed but shapes.

    >>> from funcgrad import nn
    >>> model = nn.Sequential(nn.Linear(64, 128), nn.relu, nn.Linear(128, 10))
    >>> print(summary(model, fg.ShapeDtypeStruct((32, 64), "float32")))
    layer    type             output           parameters    bytes  state       flops
    (model)  Sequential       float32[32,10]        9,610  38.4 kB      0   619 kflop
      0      Linear(64, 128)  float32[32,128]       8,320  33.3 kB      0   528 kflop
      1      Lambda(relu)     float32[32,128]           0      0 B      0  8.19 kflop
      2      Linear(128, 10)  float32[32,10]        1,290  5.16 kB      0  82.2 kflop
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from funcgrad import random, tree
from funcgrad.core.cost import equation_flops, repeated
from funcgrad.nn.layer import Composite, Layer, observing, struct
from funcgrad.tables import amount, html_table, text_table
from funcgrad.transforms.staging import eval_shape, make_jaxpr


class Row(NamedTuple):
    """A layer: its path in the model, what it returns, and its counts, those of the layers inside of it included."""

    path: tuple[str, ...]
    layer: Layer
    output: str
    parameters: int
    bytes: int
    state: int
    flops: int


@dataclass(frozen=True)
class Summary:
    """The layers of a model, the model itself first; prints as a table."""

    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """How many numbers the parameters are."""
        return self.rows[0].parameters

    @property
    def bytes(self) -> int:
        """The memory of the parameters."""
        return self.rows[0].bytes

    @property
    def flops(self) -> int:
        """The arithmetic of one call with such an input."""
        return self.rows[0].flops

    def __str__(self) -> str:
        return text_table(*self._table())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html_table(*self._table())

    def _table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
        rows = [("  " * len(row.path) + (row.path[-1] if row.path else "(model)"), _kind(row.layer), row.output,
                 f"{row.parameters:,}", amount(row.bytes, "B"), f"{row.state:,}", amount(row.flops, "flop"))
                for row in self.rows]
        return ("layer", "type", "output", "parameters", "bytes", "state", "flops"), rows, "<<<>>>>"


def summary(model: Layer, x: Any, *, train: bool = False, depth: int | None = None, **options: Any) -> Summary:
    """The layers of a model that gets x: type, output, parameters, state and flops, as an object that prints as a table.

    Args:
      x: an example of the input, a tree of arrays or ``ShapeDtypeStruct``s.
      train: whether the model runs as in training.
      depth: show only so many levels of layers; all unless given.
      options: for ``apply`` of the model.

    Flops are those of the forward pass as it is written, counted as ``fg.cost`` does. A layer that runs more than once has the
    arithmetic of all runs and the output of the last one; what is inside of a ``Repeat`` has all its parameters.
    """
    example = tree.map(struct, x)
    params, state = eval_shape(lambda key: model.init(key, example), random.key(0))
    found: dict[tuple[str, ...], tuple[Layer, Any]] = {}

    def run(params: Any, state: Any, x: Any) -> Any:
        with observing(lambda path, part, x, y: found.update({path: (part, tree.map(struct, y))})):
            return model.apply(params, state, x, random.key(0) if train else None, train, **options)[0]

    jaxpr, output = make_jaxpr(run, return_shape=True)(params, state, example)
    # A layer is observed when it is done, after those inside of it; here each comes before them.
    paths = dict.fromkeys([path[:n] for path in found for n in range(1, len(path) + 1) if path[:n] in found])
    layers = {(): (model, output), **{path: found[path] for path in paths}}
    flops = dict.fromkeys(layers, 0)
    for equation, times, named in repeated(jaxpr):
        count = times * equation_flops(equation)
        path: tuple[str, ...] = ()
        flops[path] += count
        for part in named:
            inner = (*path, part.name.partition(":")[0])
            if inner in flops:
                path = inner
                flops[path] += count
    return Summary(tuple([Row(path, layer, _types(y), *_size(params, path), _size(state, path)[0], flops[path])
                          for path, (layer, y) in layers.items() if depth is None or len(path) <= depth]))


def _size(given: Any, path: tuple[str, ...]) -> tuple[int, int]:
    """How many numbers lie below a path, and their bytes."""
    for name in path:
        given = given.get(name, {}) if isinstance(given, Mapping) else {}
    leaves = [leaf for leaf in tree.leaves(given) if hasattr(leaf, "dtype")]
    return sum(leaf.size for leaf in leaves), sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def _types(y: Any) -> str:
    return ", ".join(f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]" for leaf in tree.leaves(y))


def _kind(layer: Layer) -> str:
    return type(layer).__name__ if isinstance(layer, Composite) or any(
        isinstance(value, Layer) for value in vars(layer).values()) else str(layer)
