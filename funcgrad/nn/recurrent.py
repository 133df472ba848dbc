"""Recurrent layers: a cell for one step, and layers that scan it over time.

In: x of shape (batch, time, in_features). Out: the cell's output at every time, (batch, time, features).

    layer = nn.LSTM(16, 64, layers=2)
    params, state = layer.init(key)                       # params["0"]["input"]: float32[16,256]
    y = layer(params, x)                                  # from a carry of zeros
    y, state = layer.apply(params, layer.init_cache(batch), x)
    h, c = state["0"]["carry"]                            # after the last step; the next call goes on from there

A layer whose state holds a carry begins with it and returns the last one; without, it begins with zeros. So the state of
one call is the context of the next, an encoder's is where a decoder begins, and any other carry can be put in its place.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, random, tree
from funcgrad.nn.dropout import Dropout
from funcgrad.nn.functions import sigmoid, tanh
from funcgrad.nn.initializers import Initializer, lecun_normal, orthogonal, zeros
from funcgrad.nn.layer import Composite, Layer, Run

_WEIGHT_INIT = lecun_normal()
_RECURRENT_INIT = orthogonal()


@dataclass(frozen=True)
class Cell(Layer):
    """One step of a recurrent layer; ``Recurrent(cell)`` scans it over time.

    ``project(params, x)`` is what a step needs of x alone, taken for all steps in one product; ``step(params, carry,
    projected)`` returns the next carry and the output, as the body of ``lax.scan`` does; ``init_carry(shape, dtype)`` is the
    carry to begin with, for a batch of that shape. As a layer the cell takes x of one step, (..., in_features), and has its
    carry in the state.

    Parameters, for ``gates`` blocks of ``features`` columns side by side: ``input`` (in_features, gates * features),
    ``recurrent`` (features, gates * features) and, unless ``bias=False``, ``bias`` (gates * features,). ``in_features`` may be
    None: then ``init`` takes an example.
    """

    in_features: int | None
    features: int
    bias: bool = True
    weight_init: Initializer = _WEIGHT_INIT
    recurrent_init: Initializer = _RECURRENT_INIT
    dtype: Any = np.float32
    gates: ClassVar[int] = 1

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        input_key, *keys = random.split(key, 1 + self.gates)
        size, square = self.size("in_features", example, -1), (self.features, self.features)
        params = {"input": self.weight_init(input_key, (size, self.gates * self.features), self.dtype),
                  "recurrent": fnp.concatenate([self.recurrent_init(k, square, self.dtype) for k in keys], 1)}
        return params | ({"bias": zeros(key, (self.gates * self.features,), self.dtype)} if self.bias else {}), {}

    def init_carry(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """The carry to begin with: zeros."""
        return fnp.zeros((*shape, self.features), dtype)

    def init_cache(self, batch: int, length: int | None = None) -> dict:
        return {"carry": self.init_carry((batch,), self.dtype)}

    def project(self, params: Any, x: Any) -> Any:
        """x @ input, for x of shape (..., in_features)."""
        weight, *_ = self.entries("params", params, "input", "recurrent", *(["bias"] if self.bias else []))
        self.check_last_axis(x, fnp.shape(weight)[0])
        return x @ weight

    def step(self, params: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        """The next carry, and the output."""
        raise NotImplementedError(f"{type(self).__name__} does not define step")

    def biased(self, params: Any, z: Any) -> Any:
        """z + bias. A step adds it: it has z in the cache, and adds up the bias's gradient there."""
        return z + params["bias"] if self.bias else z

    def begin(self, state: Any, projected: Any, shape: tuple[int, ...]) -> Any:
        """The carry of the state, or that to begin with if it has none. Raises ValueError if it does not fit."""
        first = self.init_carry(shape, fnp.result_type(projected))
        if "carry" not in state:
            return first
        shapes, expected = (str(tree.map(fnp.shape, carry)) for carry in (state["carry"], first))
        if shapes != expected:
            self.fail("the carry in its state does not fit", f"arrays of shapes {shapes}, with x of batch shape {shape}",
                      f"arrays of shapes {expected}", "init_cache(batch), or the state of a call with this batch")
        return tree.map(lambda given, zero: fnp.asarray(given, fnp.result_type(given, zero)), state["carry"], first)

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        projected = self.project(params, x)
        carry, y = self.step(params, self.begin(state, projected, fnp.shape(x)[:-1]), projected)
        return y, {"carry": carry}


@dataclass(frozen=True)
class RNNCell(Cell):
    """``h = activation(x @ input + h @ recurrent + bias)``. The carry and the output are h. Elman (1990).

    >>> cell = RNNCell(3, 4)
    >>> params, _ = cell.init(fg.random.key(0))
    >>> y, state = cell.apply(params, cell.init_cache(2), fnp.ones((2, 3)))
    >>> y.shape, state["carry"].shape
    ((2, 4), (2, 4))
    """

    activation: Callable = tanh

    def step(self, params: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        h = self.activation(self.biased(params, projected + carry @ params["recurrent"]))
        return h, h


@dataclass(frozen=True)
class LSTMCell(Cell):
    """Long short-term memory. The carry is (h, c), the output h:

        i, f, g, o = split(x @ input + h @ recurrent + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    The bias of the forget gate f begins with ``forget_bias``: 1 keeps the memory open at first (Jozefowicz, Zaremba and
    Sutskever, 2015). Hochreiter and Schmidhuber (1997); Gers, Schmidhuber and Cummins (2000).

    >>> cell = LSTMCell(3, 4)
    >>> params, _ = cell.init(fg.random.key(0))
    >>> params["bias"].tolist()[3:6]
    [0.0, 1.0, 1.0]
    """

    forget_bias: float = 1.0
    gates: ClassVar[int] = 4

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        params, state = super().init(key, example)
        if self.bias:
            params["bias"] = params["bias"].at[self.features:2 * self.features].set(self.forget_bias)
        return params, state

    def init_carry(self, shape: tuple[int, ...], dtype: Any) -> Any:
        h = super().init_carry(shape, dtype)
        return h, h

    def step(self, params: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        h, c = carry
        i, f, g, o = fnp.split(self.biased(params, projected + h @ params["recurrent"]), 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)
        return (h, c), h


@dataclass(frozen=True)
class GRUCell(Cell):
    """Gated recurrent unit, whose reset gate comes after the product. The carry and the output are h:

        r, z, n = split(x @ input + bias, 3)
        a, b, m = split(h @ recurrent, 3)
        n = tanh(n + sigmoid(r + a) * (m + recurrent_bias))
        h = (1 - u) * n + u * h,  where u = sigmoid(z + b)

    ``recurrent_bias``, (features,), is there unless ``bias=False``. Cho et al. (2014), https://arxiv.org/abs/1406.1078, in the
    form of cuDNN: the reset gate multiplies what is already a product, so that one product serves the three gates.

    >>> cell = GRUCell(3, 4)
    >>> params, _ = cell.init(fg.random.key(0))
    >>> sorted(params)
    ['bias', 'input', 'recurrent', 'recurrent_bias']
    """

    gates: ClassVar[int] = 3

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        params, state = super().init(key, example)
        return params | ({"recurrent_bias": zeros(key, (self.features,), self.dtype)} if self.bias else {}), state

    def step(self, params: Any, carry: Any, projected: Any) -> tuple[Any, Any]:
        r, z, n = fnp.split(self.biased(params, projected), 3, -1)
        a, b, m = fnp.split(carry @ params["recurrent"], 3, -1)
        n = tanh(n + sigmoid(r + a) * (m + params["recurrent_bias"] if self.bias else m))
        u = sigmoid(z + b)
        h = n + u * (carry - n)
        return h, h


@dataclass(frozen=True)
class Recurrent(Layer):
    """A cell scanned over the second to last axis of x: (..., time, in_features) gives (..., time, features).

    Parameters are the cell's. ``reverse`` goes from the last time to the first. ``apply`` takes ``mask``, bools (..., time):
    where False, the carry is kept and the output is zero, so that padded sequences give what each gives alone, from either
    end.

    >>> layer = Recurrent(GRUCell(3, 4))
    >>> params, _ = layer.init(fg.random.key(0))
    >>> layer(params, fnp.ones((2, 5, 3)), mask=fnp.arange(5) < fnp.array([[5], [2]])).shape
    (2, 5, 4)
    """

    cell: Cell
    reverse: bool = False

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return self.cell.init(key, example)

    def init_cache(self, batch: int, length: int | None = None) -> dict:
        return self.cell.init_cache(batch, length)

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, *,
              mask: Any = None) -> tuple[Any, Any]:
        x = fnp.asarray(x)
        if x.ndim < 2:
            self.fail("x has no axis of time", f"x of shape {x.shape}", "a shape (..., time, features)")
        if mask is not None and fnp.shape(mask) != x.shape[:-1]:
            self.fail("the mask does not fit", f"a mask of shape {fnp.shape(mask)}, x of shape {x.shape}",
                      f"a mask of shape {x.shape[:-1]}: True where a sequence has a value")
        projected = self.cell.project(params, fnp.moveaxis(x, -2, 0))

        def step(carry: Any, now: Any) -> tuple[Any, Any]:
            values, there = now
            new, y = self.cell.step(params, carry, values)
            if there is None:
                return new, y
            there = there[..., None]
            return tree.map(lambda new, old: fnp.where(there, new, old), new, carry), fnp.where(there, y, 0)

        there = None if mask is None else fnp.moveaxis(fnp.asarray(mask), -1, 0)
        first = self.cell.begin(state, projected, x.shape[:-2])
        last, ys = lax.scan(step, first, (projected, there), reverse=self.reverse)
        return fnp.moveaxis(ys, 0, -2), {"carry": last} if "carry" in state else state


@dataclass(frozen=True)
class _Stack(Composite):
    """Recurrent layers on top of each other, see ``RNN``."""

    in_features: int | None
    features: int
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    bias: bool = True
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        if self.layers < 1:
            self.fail("nothing to run", f"layers={self.layers}", "one layer or more")

    def cell(self, in_features: int | None) -> Cell:
        """The cell of a layer with inputs of this size."""
        raise NotImplementedError(f"{type(self).__name__} does not define cell")

    def parts(self) -> dict[str, Layer]:
        parts: dict[str, Layer] = {}
        for i in range(self.layers):
            cell = self.cell(self.in_features if i == 0 else self.features * (1 + self.bidirectional))
            parts[str(i)] = Recurrent(cell)
            if self.bidirectional:
                parts[f"{i}_reverse"] = Recurrent(cell, reverse=True)
        return parts | {"dropout": Dropout(self.dropout)}

    def forward(self, run: Run, x: Any, *, mask: Any = None) -> Any:
        for i in range(self.layers):
            x = run("dropout", x) if i else x
            y = run(str(i), x, mask=mask)
            x = fnp.concatenate([y, run(f"{i}_reverse", x, mask=mask)], -1) if self.bidirectional else y
        return x


@dataclass(frozen=True)
class RNN(_Stack):
    """``RNNCell`` over time: (batch, time, in_features) gives (batch, time, features).

    Args:
      in_features: None takes it from the example of ``init``.
      features: of the carry, and of the output at each time.
      layers: how many, each of the outputs of the one before.
      bidirectional: each layer has a second cell that goes from the last time to the first, and gives the outputs of both
        side by side, 2 * features.
      dropout: the rate between layers, in training.
      bias, dtype: of the cells.
      activation: as in ``RNNCell``.

    Parameters: those of the cells "0", "0_reverse", "1", ... ``apply`` takes ``mask``, bools (batch, time), see ``Recurrent``.
    With the state of ``init_cache(batch)`` it returns the carries after the last step, and another call goes on from there.

    >>> layer = RNN(3, 4, layers=2, bidirectional=True)
    >>> params, _ = layer.init(fg.random.key(0))
    >>> sorted(params), layer(params, fnp.ones((2, 5, 3))).shape
    (['0', '0_reverse', '1', '1_reverse'], (2, 5, 8))
    """

    activation: Callable = tanh

    def cell(self, in_features: int | None) -> Cell:
        return RNNCell(in_features, self.features, self.bias, dtype=self.dtype, activation=self.activation)


@dataclass(frozen=True)
class LSTM(_Stack):
    """``LSTMCell`` over time. Arguments, parameters and options are those of ``RNN``; ``forget_bias`` as in ``LSTMCell``.

    >>> layer = LSTM(3, 4)
    >>> params, _ = layer.init(fg.random.key(0))
    >>> y, state = layer.apply(params, layer.init_cache(2), fnp.ones((2, 5, 3)))
    >>> h, c = state["0"]["carry"]
    >>> y.shape, h.shape, bool(fnp.all(h == y[:, -1]))
    ((2, 5, 4), (2, 4), True)
    """

    forget_bias: float = 1.0

    def cell(self, in_features: int | None) -> Cell:
        return LSTMCell(in_features, self.features, self.bias, dtype=self.dtype, forget_bias=self.forget_bias)


@dataclass(frozen=True)
class GRU(_Stack):
    """``GRUCell`` over time. Arguments, parameters and options are those of ``RNN``.

    >>> layer = GRU(3, 4)
    >>> params, _ = layer.init(fg.random.key(0))
    >>> params["0"]["input"].shape, layer(params, fnp.ones((2, 5, 3))).shape
    ((3, 12), (2, 5, 4))
    """

    def cell(self, in_features: int | None) -> Cell:
        return GRUCell(in_features, self.features, self.bias, dtype=self.dtype)
