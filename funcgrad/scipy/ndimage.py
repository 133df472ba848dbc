"""Images of any number of axes at coordinates between their elements, as in jax.scipy.ndimage.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.ndimage
    >>> funcgrad.scipy.ndimage.map_coordinates(fnp.array([0., 10., 40.]), [fnp.array([0.5, 1.25])], order=1)
    Array([ 5. , 17.5], dtype=float64)
"""
from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import unary_arg


def map_coordinates(input: Any, coordinates: Sequence[Any], order: int, mode: str = "constant", cval: Any = 0.0) -> Any:
    """The values of an array at coordinates, by interpolation between the elements around.

    Args:
      input: an array; the result has its dtype. Integers are rounded, halves away from zero.
      coordinates: for each axis of input an array of positions in units of its elements; they broadcast.
      order: 0 takes the nearest element, 1 interpolates linearly.
      mode: what lies outside: "constant" the number ``cval``, "nearest" the last element, "wrap" the array again, "mirror"
        and "reflect" its mirror image without and with the last element repeated. (As in JAX, "constant" and "wrap" are
        what SciPy calls "grid-constant" and "grid-wrap".)

    Raises ValueError for coordinates of another number and an unknown mode, NotImplementedError for higher orders.
    """
    x = fnp.asarray(unary_arg("map_coordinates", input))
    places = fnp.broadcast_arrays(*[unary_arg("map_coordinates", c) for c in coordinates])
    if len(places) != len(x.shape):
        raise ValueError(message("map_coordinates: there must be one array of coordinates for each axis",
                                 f"{len(places)} for {describe(x)}"))
    if mode not in _INSIDE:
        raise ValueError(message("map_coordinates: the mode is unknown", repr(mode), ", ".join(map(repr, _INSIDE))))
    if order not in (0, 1):
        raise NotImplementedError(message("map_coordinates: splines of higher order are not implemented", f"order={order}",
                                          "order 0 or 1"))
    neighbours = [[(index, *_fixed(index, n, mode), weight) for index, weight in (_nearest if order == 0 else _linear)(place)]
                  for place, n in zip(places, x.shape, strict=True)]
    terms = []
    for corner in itertools.product(*neighbours):
        _, indices, inside, weights = zip(*corner, strict=True)
        value = x[indices]
        if mode == "constant":
            value = fnp.where(functools.reduce(operator.and_, inside), value, fnp.asarray(cval, x.dtype))
        terms.append(functools.reduce(operator.mul, weights) * value)
    result = functools.reduce(operator.add, terms)
    if fnp.issubdtype(x.dtype, fnp.integer):
        result = _half_away_from_zero(result)
    return result.astype(x.dtype)


def _nearest(place: Any) -> list[tuple[Any, Any]]:
    return [(_half_away_from_zero(place).astype("int64"), 1)]


def _linear(place: Any) -> list[tuple[Any, Any]]:
    lower = fnp.floor(place)
    index = lower.astype("int64")
    return [(index, 1 - (place - lower)), (index + 1, place - lower)]


def _half_away_from_zero(x: Any) -> Any:
    if fnp.issubdtype(x.dtype, fnp.integer):
        return x
    nearest = fnp.trunc(x)
    return fnp.where(fnp.abs(x - nearest) >= 0.5, nearest + fnp.sign(x), nearest)


def _fixed(index: Any, n: int, mode: str) -> tuple[Any, Any]:
    """The index that stands for one outside, and whether it was inside."""
    return _INSIDE[mode](index, n), (index >= 0) & (index < n)


def _mirrored(index: Any, n: int) -> Any:
    """The triangular wave with the period ``2 (n - 1)``."""
    top = max(n - 1, 1)
    return fnp.minimum(top - fnp.abs(index % (2 * top) - top), n - 1)


def _reflected(index: Any, n: int) -> Any:
    inside = index % (2 * n)
    return fnp.minimum(inside, 2 * n - 1 - inside)


_INSIDE: dict[str, Callable] = {
    "constant": lambda index, n: fnp.clip(index, 0, n - 1), "nearest": lambda index, n: fnp.clip(index, 0, n - 1),
    "wrap": lambda index, n: index % n, "mirror": _mirrored, "reflect": _reflected,
}
