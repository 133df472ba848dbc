"""A density estimated from a sample, as the mean of normal densities around its points.

In: a sample of vectors. Out: a ``gaussian_kde``, a pytree, whose methods evaluate, integrate and draw. The name, its arguments
and its methods are those of ``jax.scipy.stats.gaussian_kde``.

    >>> density = gaussian_kde(fnp.array([-1.0, 0.0, 1.0]))
    >>> float(density.integrate_box_1d(-fnp.inf, fnp.inf))
    1.0
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import random, tree_util
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.linalg import cholesky, inv
from funcgrad.scipy.linalg import solve_triangular
from funcgrad.scipy.special import logsumexp, ndtr

FIELDS = ("neff", "dataset", "weights", "covariance", "inv_cov")


@tree_util.register_pytree_node_class
class gaussian_kde:
    """dataset: (d, n) or (n,); bw_method: "scott", "silverman", a factor, or a function of the estimate; weights: (n,).

    Raises ValueError for fewer than two points, for weights of another shape and for an unknown method.
    """

    def __init__(self, dataset: Any, bw_method: Any = None, weights: Any = None):
        dataset = fnp.atleast_2d(fnp.asarray(dataset))
        if dataset.dtype.kind == "c":
            raise NotImplementedError(message("gaussian_kde: complex points", describe(dataset), "a real array"))
        dataset = dataset if dataset.dtype.kind == "f" else dataset.astype(np.float64)
        n = dataset.shape[1]
        if dataset.size < 2:
            raise ValueError(message("gaussian_kde: fewer than two points", describe(dataset),
                                     "an array of shape (n,) or (d, n)"))
        if weights is None:
            weights = fnp.full(n, 1 / n, dataset.dtype)
        else:
            weights = fnp.asarray(weights, dataset.dtype)
            if weights.shape != (n,):
                raise ValueError(message("gaussian_kde: the weights do not fit the points",
                                         f"{describe(weights)} for {n} points", f"weights of shape ({n},)"))
            weights = weights / fnp.sum(weights)
        self.dataset, self.weights = dataset, weights
        self.neff = 1 / fnp.sum(weights ** 2)
        centred = dataset - fnp.sum(weights * dataset, axis=1, keepdims=True)
        spread = (weights * centred) @ centred.T / (1 - fnp.sum(weights ** 2))
        self.covariance = spread * self._factor(bw_method) ** 2
        self.inv_cov = inv(self.covariance)

    def _factor(self, method: Any) -> Any:
        if method is None or method == "scott":
            return self.neff ** (-1 / (self.d + 4))
        if method == "silverman":
            return (self.neff * (self.d + 2) / 4) ** (-1 / (self.d + 4))
        if callable(method):
            return method(self)
        if isinstance(method, str):
            raise ValueError(message("gaussian_kde: unknown bandwidth", repr(method),
                                     "'scott', 'silverman', a number or a function"))
        return method

    def tree_flatten(self) -> tuple[tuple, None]:
        return tuple([getattr(self, name) for name in FIELDS]), None

    @classmethod
    def tree_unflatten(cls, aux: None, children: tuple) -> gaussian_kde:
        kde = cls.__new__(cls)
        for name, value in zip(FIELDS, children, strict=True):
            setattr(kde, name, value)
        return kde

    @property
    def d(self) -> int:
        """The number of dimensions."""
        return self.dataset.shape[0]

    @property
    def n(self) -> int:
        """The number of points."""
        return self.dataset.shape[1]

    def logpdf(self, x: Any) -> Any:
        """The logarithm of the density at points of shape (d, m), or (m,) in one dimension: an array of shape (m,)."""
        return self._log_density(self._points("logpdf", x), cholesky(self.covariance))

    def evaluate(self, points: Any) -> Any:
        """The density at points of shape (d, m), or (m,) in one dimension."""
        return fnp.exp(self.logpdf(points))

    pdf = __call__ = evaluate

    def integrate_gaussian(self, mean: Any, cov: Any) -> Any:
        """The integral of the product with a normal density."""
        mean, cov = fnp.atleast_1d(fnp.squeeze(fnp.asarray(mean))), fnp.atleast_2d(fnp.asarray(cov))
        if mean.shape != (self.d,) or cov.shape != (self.d, self.d):
            raise ValueError(message("integrate_gaussian: the normal density has another dimension",
                                     f"{describe(mean)} and {describe(cov)} for {self.d}", f"shapes ({self.d},) and ({self.d}, "
                                     f"{self.d})"))
        return fnp.exp(self._log_density(mean[:, None], cholesky(self.covariance + cov)))[0]

    def integrate_box_1d(self, low: Any, high: Any) -> Any:
        """The probability between two numbers, in one dimension."""
        if self.d != 1:
            raise ValueError(message("integrate_box_1d: the density has several dimensions", f"d = {self.d}", "d = 1"))
        deviation = fnp.sqrt(self.covariance[0, 0])
        ends = [ndtr((end - self.dataset[0]) / deviation) for end in (low, high)]
        return fnp.sum(self.weights * (ends[1] - ends[0]))

    def integrate_kde(self, other: gaussian_kde) -> Any:
        """The integral of the product with another estimate."""
        if other.d != self.d:
            raise ValueError(message("integrate_kde: the densities have different dimensions", f"{self.d} and {other.d}",
                                     "one dimension"))
        factor = cholesky(self.covariance + other.covariance)
        return fnp.sum(fnp.exp(self._log_density(other.dataset, factor)) * other.weights)

    def resample(self, key: Any, shape: tuple[int, ...] = ()) -> Any:
        """Draws from the estimated density: an array of shape (d, *shape)."""
        which, noise = random.split(key)
        at = random.choice(which, self.n, shape=shape, replace=True, p=self.weights)
        steps = random.normal(noise, (self.d, math.prod(shape)), self.dataset.dtype)
        moved = (cholesky(self.covariance) @ steps).reshape(self.d, *shape)
        return self.dataset[:, at] + moved

    def integrate_box(self, low_bounds: Any, high_bounds: Any, maxpts: int | None = None) -> Any:
        """Not supported: it needs an integration over a box in several dimensions."""
        raise NotImplementedError(message("gaussian_kde.integrate_box: not supported", None,
                                          "integrate_box_1d in one dimension"))

    def set_bandwidth(self, bw_method: Any = None) -> None:
        """Not supported: an estimate does not change."""
        raise NotImplementedError(message("gaussian_kde.set_bandwidth: an estimate does not change", None,
                                          "gaussian_kde(dataset, bw_method)"))

    def _points(self, name: str, points: Any) -> Any:
        points = fnp.atleast_2d(fnp.asarray(points, self.dataset.dtype))
        if points.shape[0] != self.d and points.shape == (1, self.d):
            points = points.T
        if points.shape[0] != self.d:
            raise ValueError(message(f"gaussian_kde.{name}: the points have another dimension",
                                     f"{describe(points)} for {self.d} dimensions", f"an array of shape ({self.d}, m)"))
        return points

    def _log_density(self, points: Any, factor: Any) -> Any:
        """At points (d, m), the logarithm of the weighted mean of normal densities with this factor of the covariance."""
        d, m = points.shape
        differences = (points[:, :, None] - self.dataset[:, None, :]).reshape(d, -1)
        squares = fnp.sum(solve_triangular(factor, differences, lower=True) ** 2, axis=0).reshape(m, -1)
        scale = 0.5 * d * math.log(2 * math.pi) + fnp.sum(fnp.log(fnp.diagonal(factor)))
        return logsumexp(-0.5 * squares, axis=1, b=self.weights[None, :]) - scale
