"""Images of any number of axes at coordinates between their elements, as in jax.scipy.ndimage.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.ndimage
    >>> funcgrad.scipy.ndimage.map_coordinates(fnp.array([0., 10., 40.]), [fnp.array([0.5, 1.25])], order=1)
    Array([ 5. , 17.5], dtype=float64)
"""
from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import inexact_arg, unary_arg


def map_coordinates(input: Any, coordinates: Sequence[Any], order: int, mode: str = "constant", cval: Any = 0.0) -> Any:
    """The values of an array at coordinates, by interpolation between the elements around.

    Args:
      input: an array; the result has its dtype. Integers are rounded, halves away from zero.
      coordinates: for each axis of input an array of positions in units of its elements; they broadcast.
      order: 0 takes the nearest element, 1 interpolates linearly, 2 to 5 by splines of that degree.
      mode: what lies outside: "constant" the number ``cval``, "nearest" the last element, "wrap" the array again, "mirror"
        and "reflect" its mirror image without and with the last element repeated. (As in JAX, "constant" and "wrap" are
        what SciPy calls "grid-constant" and "grid-wrap".)

    Raises ValueError for coordinates of another number, and an unknown mode or order.
    """
    x = fnp.asarray(unary_arg("map_coordinates", input))
    places = fnp.broadcast_arrays(*[unary_arg("map_coordinates", c) for c in coordinates])
    if len(places) != len(x.shape):
        raise ValueError(message("map_coordinates: there must be one array of coordinates for each axis",
                                 f"{len(places)} for {describe(x)}"))
    if mode not in _INSIDE:
        raise ValueError(message("map_coordinates: the mode is unknown", repr(mode), ", ".join(map(repr, _INSIDE))))
    if order not in range(6):
        raise ValueError(message("map_coordinates: the order is unknown", f"order={order}", "an order from 0 to 5"))
    values = x
    if order > 1:
        values, places = _spline(x, places, order, mode, cval)
    taps = {0: _nearest, 1: _linear}.get(order, functools.partial(_spline_taps, order=order))
    neighbours = [[(_INSIDE[mode](index, n), (index >= 0) & (index < n), weight) for index, weight in taps(place)]
                  for place, n in zip(places, values.shape, strict=True)]
    terms = []
    for corner in itertools.product(*neighbours):
        indices, inside, weights = zip(*corner, strict=True)
        value = values[indices]
        if mode == "constant":
            value = fnp.where(functools.reduce(operator.and_, inside), value, fnp.asarray(cval, values.dtype))
        terms.append(functools.reduce(operator.mul, weights) * value)
    result = functools.reduce(operator.add, terms)
    if fnp.issubdtype(x.dtype, fnp.integer):
        result = _half_away_from_zero(result)
    return result.astype(x.dtype)


# ---------------------------------------------------------------- which elements, with which weights


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


_BORDER = 12
"""Elements put around an image whose outside is no mirror image, so that its splines are those of the image going on."""


def _spline(x: Any, places: list[Any], order: int, mode: str, cval: Any) -> tuple[Any, list[Any]]:
    """The coefficients of the spline through the elements of x, and the places in them."""
    x = fnp.asarray(inexact_arg("map_coordinates", x))
    if mode in ("constant", "nearest"):
        options = {"constant_values": cval} if mode == "constant" else {}
        x = fnp.pad(x, _BORDER, "constant" if mode == "constant" else "edge", **options).astype(x.dtype)
        places = [place + _BORDER for place in places]
        if mode == "nearest":
            places = [fnp.clip(place, 0, n - 1) for place, n in zip(places, x.shape, strict=True)]
    for axis, n in enumerate(x.shape):
        if n > 1:
            x = fnp.moveaxis(fnp.tensordot(_filter(n, order, mode).astype(x.dtype), x, (1, axis)), 0, axis)
    return x, places


@functools.lru_cache(maxsize=64)
def _filter(n: int, order: int, mode: str) -> np.ndarray:
    """The matrix from n elements to the coefficients of the spline through them.

    M. Unser, IEEE Signal Process. Mag. 16, 22, 1999.
    """
    import scipy.ndimage
    name = {"constant": "grid-constant", "wrap": "grid-wrap"}.get(mode, mode)
    return scipy.ndimage.spline_filter1d(np.eye(n), order, axis=0, mode=name)


def _spline_taps(place: Any, order: int) -> list[tuple[Any, Any]]:
    """The elements around, with the values of the B-spline of this degree there."""
    first = fnp.floor(place if order % 2 else place + 0.5) - order // 2
    return [((first + k).astype("int64"), _b_spline(place - first - k, order)) for k in range(order + 1)]


def _b_spline(x: Any, order: int) -> Any:
    terms = [(-1) ** k * math.comb(order + 1, k) / math.factorial(order) * fnp.maximum(x + (order + 1) / 2 - k, 0) ** order
             for k in range(order + 2)]
    return functools.reduce(operator.add, terms)


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
