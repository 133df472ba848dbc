"""Interpolation on a grid with one axis a dimension, as in jax.scipy.interpolate.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.interpolate
    >>> f = funcgrad.scipy.interpolate.RegularGridInterpolator((fnp.array([0., 1., 3.]),), fnp.array([0., 10., 20.]))
    >>> f(fnp.array([[0.5], [2.0]]))
    Array([ 5., 15.], dtype=float64)
"""
from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import inexact_arg, unary_arg
from funcgrad.tree_util import register_pytree_node_class


@register_pytree_node_class
class RegularGridInterpolator:
    """A function of points, from its values on a rectangular grid.

    Args:
      points: for each dimension a vector of at least two increasing or decreasing coordinates.
      values: an array whose first axes have the sizes of the points; further axes are kept in the result.
      method: "linear" or "nearest".
      bounds_error: a point outside of the grid raises ValueError; its coordinates must then be known, so not under jit.
      fill_value: the value at points outside, if they do not raise; None extrapolates.

    It is a pytree of its points, values and fill value, and differentiable in all of them.
    """

    def __init__(self, points: Sequence[Any], values: Any, method: str = "linear", bounds_error: bool = False,
                 fill_value: Any = np.nan):
        _check_method(method)
        self.grid = tuple([fnp.asarray(inexact_arg("RegularGridInterpolator", p)) for p in points])
        self.values = fnp.asarray(inexact_arg("RegularGridInterpolator", values))
        self.method, self.bounds_error, self.fill_value = method, bounds_error, fill_value
        sizes = tuple([p.shape for p in self.grid])
        if len(sizes) > len(self.values.shape) or sizes != tuple([(n,) for n in self.values.shape[:len(sizes)]]):
            raise ValueError(message("RegularGridInterpolator: the points do not fit the values",
                                     f"points of shapes {sizes} for values {describe(self.values)}",
                                     "a vector of points for each of the first axes"))
        if any(shape < (2,) for shape in sizes):
            raise ValueError(message("RegularGridInterpolator: each dimension needs two points or more",
                                     f"points of shapes {sizes}"))

    def tree_flatten(self) -> tuple:
        return (self.grid, self.values, self.fill_value), (self.method, self.bounds_error)

    @classmethod
    def tree_unflatten(cls, aux: tuple, children: tuple) -> RegularGridInterpolator:
        self = object.__new__(cls)
        self.grid, self.values, self.fill_value = children
        self.method, self.bounds_error = aux
        return self

    def __call__(self, xi: Any, method: str | None = None) -> Any:
        """The values at points: an array whose last axis holds their coordinates, or a tuple of arrays that broadcast."""
        method = _check_method(self.method if method is None else method)
        places = self._coordinates(xi)
        shape = places[0].shape
        outside = functools.reduce(operator.or_, [
            (x < fnp.minimum(p[0], p[-1])) | (x > fnp.maximum(p[0], p[-1])) for x, p in zip(places, self.grid, strict=True)])
        if self.bounds_error and bool(fnp.any(outside)):
            raise ValueError(message("RegularGridInterpolator: a point lies outside of the grid", None, None,
                                     "bounds_error=False, with a fill_value"))
        found = [_segment(x, p) for x, p in zip(places, self.grid, strict=True)]
        rest = (1,) * (len(self.values.shape) - len(self.grid))
        if method == "nearest":
            result = self.values[tuple([fnp.where(along <= 0.5, i, i + 1) for i, along in found])]
        else:
            result = functools.reduce(operator.add, [
                self.values[tuple([i + step for (i, _), step in zip(found, corner, strict=True)])]
                * functools.reduce(operator.mul, [along if step else 1 - along for (_, along), step in zip(
                    found, corner, strict=True)]).reshape(shape + rest)
                for corner in itertools.product((0, 1), repeat=len(found))])
        if self.bounds_error or self.fill_value is None:
            return result
        return fnp.where(outside.reshape(shape + rest), self.fill_value, result)

    def _coordinates(self, xi: Any) -> list[Any]:
        ndim = len(self.grid)
        if isinstance(xi, tuple) and len(xi) == 1:
            xi = xi[0]
        if isinstance(xi, tuple):
            parts = fnp.broadcast_arrays(*[inexact_arg("RegularGridInterpolator", x) for x in xi])
        else:
            x = inexact_arg("RegularGridInterpolator", unary_arg("RegularGridInterpolator", xi))
            if len(x.shape) < 2 and ndim == 1:
                x = x.reshape(-1, 1)
            elif len(x.shape) == 1 and x.size % ndim == 0:
                x = x.reshape(-1, ndim)
            parts = [x[..., i] for i in range(x.shape[-1])] if x.shape else []
        if len(parts) != ndim:
            raise ValueError(message("RegularGridInterpolator: the points have another number of coordinates than the grid "
                                     "has dimensions", describe(xi), f"{ndim} coordinates"))
        return parts


def _check_method(method: str) -> str:
    if method not in ("linear", "nearest"):
        raise ValueError(message("RegularGridInterpolator: the method is unknown", repr(method), '"linear" or "nearest"'))
    return method


def _segment(x: Any, points: Any) -> tuple[Any, Any]:
    """In which interval of the points x lies, and how far along in units of its length."""
    n = points.shape[0]
    rising = points[-1] >= points[0]
    i = fnp.searchsorted(fnp.where(rising, points, -points), fnp.where(rising, x, -x)) - 1
    i = fnp.clip(i, 0, n - 2)
    return i, (x - points[i]) / (points[i + 1] - points[i])
