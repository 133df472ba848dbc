"""Attention with learned projections: to the sequence itself, to another one, and piece by piece with a cache.

In: x of shape (batch, time, features). Out: the same shape.

    layer = nn.MultiHeadAttention(64, heads=8, causal=True, rotary=True)
    params, state = layer.init(key)                       # params["query"]["weight"]: float32[64,64]
    y = layer(params, x)
    y = layer(params, x, memory=encoded)                  # queries from x, keys and values from ``encoded``

    state = layer.init_cache(batch, length)               # room for ``length`` positions
    y, state = layer.apply(params, state, x[:, :10])      # the first ten positions at once
    y, state = layer.apply(params, state, x[:, 10:11])    # the next one: what the whole sequence would give here
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.nn.attention import attend
from funcgrad.nn.dropout import Dropout
from funcgrad.nn.initializers import Initializer, lecun_normal
from funcgrad.nn.layer import Composite, Layer, Run
from funcgrad.nn.linear import Linear
from funcgrad.nn.positions import rotary_embedding

_WEIGHT_INIT = lecun_normal()


@dataclass(frozen=True)
class MultiHeadAttention(Composite):
    """``out(softmax(query(x) @ key(m).T / sqrt(size)) @ value(m))`` for each head, m being x or ``memory``.

    Args:
      features: of x and of the result.
      heads: the number of heads, of ``features / heads`` numbers each.
      key_value_heads: heads of keys and values; each serves heads / key_value_heads heads of the query. As many as ``heads``
        unless given.
      memory_features: of ``memory``, if they are not those of x.
      causal: a position of x sees itself and those before it; of a memory all.
      rotary: queries and keys of x are turned by their positions, with ``rotary_embedding``; not with a memory.
      dropout: the rate at which weights are dropped in training.
      bias: whether the four projections have one.

    Parameters: those of ``Linear`` for "query", "key", "value" and "out". ``nn.capture`` shows the weights, (batch, heads, T,
    S), as the output of "weights".

    ``apply`` takes ``memory``, (batch, S, memory_features), and ``mask``, bools that broadcast to (batch, heads, T, S): where
    False, the position of x does not see that of the memory. x may do without the axis of the batch, then memory, mask and
    cache have none.

    With a cache in its state (``init_cache``; the layer must be causal) x continues the positions seen before, and S is the
    length of the cache. Positions beyond it raise ValueError, or where their number is not known (under ``jit``) give NaN
    from there on. Calls with a memory leave the cache as it is.

    Vaswani et al., https://arxiv.org/abs/1706.03762; grouped heads: Ainslie et al., https://arxiv.org/abs/2305.13245.

    >>> layer = MultiHeadAttention(8, heads=4, key_value_heads=2, causal=True)
    >>> params, _ = layer.init(fg.random.key(0))
    >>> params["query"]["weight"].shape, params["key"]["weight"].shape
    ((8, 8), (8, 4))
    >>> x = fnp.ones((2, 3, 8), "float32")
    >>> y, state = layer.apply(params, layer.init_cache(2, 5), x[:, :2])
    >>> y, state = layer.apply(params, state, x[:, 2:])
    >>> bool(fnp.allclose(y, layer(params, x)[:, 2:])), int(state["cache"]["seen"])
    (True, 3)
    """

    features: int
    heads: int
    key_value_heads: int | None = None
    memory_features: int | None = None
    causal: bool = False
    rotary: bool = False
    dropout: float = 0.0
    bias: bool = True
    weight_init: Initializer = _WEIGHT_INIT
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        for name, parts, whole_name, whole in (("heads", self.heads, "features", self.features),
                                               ("key_value_heads", self._groups, "heads", self.heads)):
            if parts < 1 or whole % parts:
                raise ValueError(message(f"MultiHeadAttention: {whole_name} cannot be shared among {name}",
                                         f"{whole_name}={whole}, {name}={parts}", f"a multiple of {name}"))

    @property
    def _groups(self) -> int:
        return self.heads if self.key_value_heads is None else self.key_value_heads

    @property
    def _size(self) -> int:
        return self.features // self.heads

    def parts(self) -> dict[str, Layer]:
        def linear(size: int, out: int) -> Linear:
            return Linear(size, out, self.bias, self.weight_init, dtype=self.dtype)

        memory = self.features if self.memory_features is None else self.memory_features
        return {"query": linear(self.features, self.features), "key": linear(memory, self._groups * self._size),
                "value": linear(memory, self._groups * self._size), "out": linear(self.features, self.features),
                "weights": Dropout(self.dropout)}

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return super().init(key)  # no size is left open

    def init_cache(self, batch: int, length: int | None = None) -> dict:
        """Room for the keys and values of ``length`` positions of ``batch`` sequences, none of them seen.

        Nothing for a layer with ``memory_features``. Raises ValueError if the layer is not causal or ``length`` is None.
        """
        if self.memory_features is not None:
            return {}
        if not self.causal or length is None:
            self.fail("it cannot go through a sequence piece by piece", f"init_cache({batch}, {length}), causal={self.causal}",
                      "a length, and causal=True: earlier positions never see later ones")
        empty = fnp.zeros((batch, length, self._groups, self._size), self.dtype)
        return {"cache": {"key": empty, "value": empty, "seen": fnp.zeros((), np.int32)}}

    def forward(self, run: Run, x: Any, *, memory: Any = None, mask: Any = None) -> Any:
        x = fnp.asarray(x)
        source = x if memory is None else fnp.asarray(memory)
        if x.ndim < 2 or source.ndim < 2 or source.shape[:-2] != x.shape[:-2]:
            self.fail("not sequences of the same batch",
                      f"x of shape {x.shape}" + ("" if memory is None else f", memory of shape {source.shape}"),
                      "(batch, time, features), and a memory with as many sequences")
        query, key, value = (self._heads(run(name, a)) for name, a in (("query", x), ("key", source), ("value", source)))
        masks = []
        if memory is None:
            cache = run.state.get("cache")
            rows = fnp.arange(x.shape[-2]) + (cache["seen"] if cache else 0)
            if self.rotary:
                query, key = rotary_embedding(query, rows), rotary_embedding(key, rows)
            if cache:
                run.state["cache"] = cache = self._extended(cache, key, value)
                key, value = cache["key"], cache["value"]
            if self.causal:
                masks.append(fnp.arange(key.shape[-3]) <= rows[:, None])
        if mask is not None:
            masks.append(self._checked(mask, (*query.shape[:-3], self.heads, query.shape[-3], key.shape[-3])))
        y, _ = attend(query, key, value, masks, drop=lambda weights: run("weights", weights))
        return run("out", y.reshape(*y.shape[:-2], self.features))

    def _heads(self, x: Any) -> Any:
        """(..., T, heads * size) as (..., T, heads, size)."""
        return x.reshape(*x.shape[:-1], x.shape[-1] // self._size, self._size)

    def _extended(self, cache: Any, key: Any, value: Any) -> dict[str, Any]:
        """The cache with these keys and values behind those seen before."""
        room, new, seen = cache["key"].shape, key.shape, cache["seen"]
        if room[:-3] + room[-2:] != new[:-3] + new[-2:] or cache["key"].dtype != key.dtype:
            self.fail("the cache does not fit", f"a cache of type {cache['key'].aval}, keys of type {key.aval}",
                      "equal sizes but for the positions, and one dtype", "init_cache(batch, length) with this batch")
        known = _known(seen)
        if (known or 0) + new[-3] > room[-3]:
            self.fail("the cache is full", f"{new[-3]} more positions than the {known or 0} seen", f"at most {room[-3]}",
                      "init_cache(batch, length) with the length of the longest sequence")
        if known is None:  # one NaN among the values makes all later results NaN
            value = fnp.where(seen + new[-3] <= room[-3], value, np.nan)
        start = (0,) * (len(room) - 3) + (seen, 0, 0)
        return {"key": lax.dynamic_update_slice(cache["key"], key, start),
                "value": lax.dynamic_update_slice(cache["value"], value, start), "seen": seen + new[-3]}

    def _checked(self, mask: Any, expected: tuple[int, ...]) -> Any:
        """The mask, if it is one for weights of this shape. Raises ValueError otherwise."""
        shape = fnp.shape(mask)
        fits = len(shape) <= len(expected) and all(n in (1, m) for n, m in zip(shape[::-1], expected[::-1]))
        if not fits or fnp.result_type(mask).kind != "b":
            self.fail("the mask does not fit", f"a mask {fnp.asarray(mask).aval}, weights of shape {expected}",
                      f"bools of a shape that broadcasts to {expected}: where True, the position sees that of the memory",
                      "mask[:, None, None, :] of a mask (batch, S) of the positions that are there")
        return mask


def _known(x: Any) -> int | None:
    """The number, or None when it is traced."""
    try:
        return int(x)
    except ConcretizationTypeError:
        return None
