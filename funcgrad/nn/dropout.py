"""Dropout: noise that keeps a network from relying on single units.

    y, state = Dropout(0.5).apply({}, {}, x, key=key, train=True)
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.nn.layer import Layer


@dataclass(frozen=True)
class Dropout(Layer):
    """In training, each element is 0 with probability ``rate`` and divided by ``1 - rate`` else; otherwise x itself.

    x: any shape. Along ``broadcast_axes`` all elements share their fate: ``Dropout(0.1, broadcast_axes=(1, 2))`` drops
    whole channels of images. ``train=True`` needs a key: without one ``apply`` raises ValueError. Srivastava et al., "Dropout"
    (2014).

    >>> y, _ = Dropout(0.5).apply({}, {}, fnp.ones(6), key=fg.random.key(0), train=True)
    >>> sorted(set(y.tolist()))
    [0.0, 2.0]
    """

    rate: float
    broadcast_axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            self.fail("rate is not a probability", repr(self.rate), "a number from 0 to 1")
        object.__setattr__(self, "broadcast_axes", tuple(self.broadcast_axes))

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        if not train or self.rate == 0:
            return x, state
        if key is None:
            self.fail("training needs a key for what is dropped", "train=True and no key", None,
                      "layer.apply(params, state, x, key=key, train=True), with another key for each step")
        if self.rate == 1:
            return fnp.zeros_like(x), state
        x = fnp.asarray(x)
        shared = {axis % x.ndim for axis in self.broadcast_axes}
        keep = random.bernoulli(key, 1 - self.rate, tuple([1 if d in shared else n for d, n in enumerate(x.shape)]))
        return fnp.where(keep, x / (1 - self.rate), 0), state
