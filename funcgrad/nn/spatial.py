"""What convolutions and pools share: windows that move over the spatial axes of ``x[..., *S, C]``.

In: hyperparameters as a user writes them, such as ``strides=2`` and ``padding=[1, (0, 1)]``. Out: a number, or a pair, for each
spatial axis. In front of the spatial axes there may be any number of batch axes, also none.
"""
from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.nn.layer import Layer

Sizes = int | tuple[int, ...]
Padding = str | int | tuple[int | tuple[int, int], ...]
Pairs = tuple[tuple[int, int], ...]


class Spatial(Layer):
    """A layer over ``ndim`` spatial axes."""

    ndim: int

    def __post_init__(self) -> None:
        # Lists become tuples, so that a layer can be hashed.
        for field in fields(self):
            object.__setattr__(self, field.name, _frozen(getattr(self, field.name)))

    def check_tuple(self, name: str) -> None:
        """Raises ValueError unless the hyperparameter is a tuple, whose entries tell how many spatial axes there are."""
        given = getattr(self, name)
        if not isinstance(given, tuple) or not given:
            self.fail(f"{name} does not tell the number of spatial axes", repr(given), "a tuple with an entry for each",
                      f"{type(self).__name__}(({given}, {given})) for images" if _is_integer(given) else None)

    def sizes(self, name: str) -> tuple[int, ...]:
        """The hyperparameter, one positive number for each spatial axis. Raises ValueError if it is none."""
        given = getattr(self, name)
        found = (given,) * self.ndim if _is_integer(given) else given
        if not isinstance(found, tuple) or len(found) != self.ndim or not all(_is_integer(n) and n > 0 for n in found):
            self.fail(f"{name} does not fit", repr(given), f"a positive integer, or {self.ndim}: one for each spatial axis")
        return found

    def pads(self, padding: Padding) -> str | Pairs:
        """A padding as its name, or as pairs (low, high) for each spatial axis. Raises ValueError if it is none."""
        if isinstance(padding, str) and padding in ("SAME", "VALID"):
            return padding
        found = (padding,) * self.ndim if _is_integer(padding) else padding
        pairs = tuple([(n, n) if _is_integer(n) else n for n in found]) if isinstance(found, tuple) else ()
        if len(pairs) != self.ndim or not all(isinstance(p, tuple) and len(p) == 2 and all(map(_is_integer, p)) for p in pairs):
            self.fail("padding does not fit", repr(padding), f"'SAME', 'VALID', an integer, or {self.ndim} integers or pairs "
                      "(low, high): one for each spatial axis")
        return pairs

    def check_axes(self, x: Any) -> None:
        """Raises ValueError unless x has its spatial axes and one of channels."""
        if fnp.ndim(x) <= self.ndim:
            self.fail("x has too few axes", f"x of shape {fnp.shape(x)}",
                      f"at least {self.ndim + 1} axes: batch axes, {self.ndim} spatial axes, channels")

    def merged(self, x: Any) -> Any:
        """x with its batch axes as one."""
        axes = x.ndim - 1 - self.ndim
        return x if axes == 1 else fnp.reshape(x, (math.prod(x.shape[:axes]), *x.shape[axes:]))

    def split(self, y: Any, x: Any) -> Any:
        """The result y with the batch axes of x. Raises ValueError if no window fitted into x."""
        if 0 in y.shape[1:-1] and 0 not in x.shape[-1 - self.ndim:-1]:
            self.fail("the window is larger than x with its padding", f"x of shape {x.shape}", None, "padding='SAME'")
        axes = x.ndim - 1 - self.ndim
        return y if axes == 1 else fnp.reshape(y, (*x.shape[:axes], *y.shape[1:]))


def _is_integer(n: Any) -> bool:
    return isinstance(n, (int, np.integer)) and not isinstance(n, bool)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value
