"""Normalisation: mean 0 and variance 1 along some axes, then a scale and a bias that are learned; and normalised weights.

    params, state = BatchNorm(16).init(key)
    y, state = BatchNorm(16).apply(params, state, x, train=True)

Means and variances are taken in float32 at least, of the differences to an element of x: so they are exact for constant
inputs, and nothing cancels when the mean is large. A ``mask`` (bools that broadcast to x) tells which elements count for them.
"""
from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, random
from funcgrad.custom_derivatives import custom_jvp
from funcgrad.nn.initializers import Initializer, ones, zeros
from funcgrad.nn.layer import Layer

# ---------------------------------------------------------------- statistics


def _total(x: Any, axes: tuple[int, ...], mask: Any) -> Any:
    """The sum along axes, which are kept."""
    return fnp.sum(x if mask is None else fnp.where(mask, x, 0), axes, keepdims=True)


def _count(x: Any, axes: tuple[int, ...], mask: Any) -> Any:
    """How many elements such a sum has."""
    if mask is None:
        return math.prod([x.shape[d] for d in axes])
    return fnp.sum(fnp.broadcast_to(mask, x.shape), axes, keepdims=True).astype(x.dtype)


def _positive(count: Any) -> Any:
    """The count, or 1 for none, to divide by."""
    return max(count, 1) if isinstance(count, int) else fnp.maximum(count, 1)


@functools.partial(custom_jvp, nondiff_argnums=(0,))
def _squares(axes: tuple[int, ...], x: Any, mean: Any, mask: Any) -> Any:
    """The sum of the squared differences to the mean."""
    return _total(fnp.square(x - mean), axes, mask)


@_squares.defjvp
def _squares_jvp(axes: tuple[int, ...], primals: tuple, tangents: tuple) -> tuple:
    # What the mean contributes is a sum of differences to it, which is 0: a backward pass need not add it up.
    x, mean, mask = primals
    return _squares(axes, x, mean, mask), 2 * _total((x - mean) * tangents[0], axes, mask)


def _moments(x: Any, axes: tuple[int, ...], mask: Any = None, axis_name: Any = None) -> tuple[Any, Any, Any, Any]:
    """x minus its mean along axes, the mean, the variance, and of how many elements they are.

    The examples of named mapped axes belong to them. The mean and variance of no elements are 0.
    """

    def across(v: Any) -> Any:
        return v if axis_name is None else lax.psum(v, axis_name)

    count = across(_count(x, axes, mask))
    divisor = _positive(count)
    if mask is not None:
        near = across(_total(x, axes, mask)) / divisor
    else:
        near = x[tuple([slice(0, 1) if d in axes else slice(None) for d in range(x.ndim)])] if x.size else x.dtype.type(0)
        near = near if axis_name is None else lax.pmean(near, axis_name)
    near = lax.stop_gradient(near)
    x = x - near
    rest = across(_total(x, axes, mask)) / divisor
    return x - rest, near + rest, across(_squares(axes, x, rest, mask)) / divisor, count


# ---------------------------------------------------------------- layers


@dataclass(frozen=True, kw_only=True)
class _Norm(Layer):
    """The learned scale and bias, and what all normalisations of x have in common."""

    epsilon: float = 1e-5
    scale: bool = True
    bias: bool = True
    scale_init: Initializer = ones
    bias_init: Initializer = zeros
    dtype: Any = np.float32

    def _learned(self, key: Any, shape: tuple[int, ...]) -> dict:
        scale_key, bias_key = random.split(key)
        params = {"scale": self.scale_init(scale_key, shape, self.dtype)} if self.scale else {}
        return {**params, "bias": self.bias_init(bias_key, shape, self.dtype)} if self.bias else params

    def _wide(self, x: Any) -> Any:
        """x in the dtype in which statistics are taken."""
        x = fnp.asarray(x)
        if fnp.issubdtype(x.dtype, fnp.complexfloating):
            self.fail("x is complex", x.aval, "real numbers")
        return x.astype(fnp.promote_types(x.dtype, np.float32))

    def _check_last_axes(self, x: Any, shape: tuple[int, ...]) -> None:
        """Raises ValueError unless the last axes of x have these sizes."""
        if fnp.shape(x)[-len(shape):] != shape:
            self.fail("the last axes of x do not fit", f"x of shape {fnp.shape(x)}",
                      f"a shape (..., {', '.join(map(str, shape))})")

    def _scaled(self, params: Any, x: Any, normal: Any) -> Any:
        """The learned scale and bias applied to x after it was normalised, in the dtype of x and the parameters."""
        learned = self.entries("params", params, *(["scale"] if self.scale else []), *(["bias"] if self.bias else []))
        for value in learned:
            self._check_last_axes(x, fnp.shape(value))
        x_dtype = fnp.result_type(x)
        dtype = fnp.result_type(x_dtype if fnp.issubdtype(x_dtype, fnp.floating) else normal.dtype, *learned)
        if self.scale:
            normal = normal * learned[0]
        return (normal + learned[-1] if self.bias else normal).astype(dtype)


@dataclass(frozen=True)
class BatchNorm(_Norm):
    """Normalisation of each feature over all other axes: in training with their mean and variance, else with running ones.

    Parameters: ``scale`` and ``bias`` of shape (features,), unless ``scale=False`` or ``bias=False``. State: ``mean`` and
    ``var`` of shape (features,), float32 at least. x: shape (..., features). ``train=True`` divides by the square root of the
    batch's variance (of n elements: the sum of squares by n) plus epsilon, and returns the state

        mean = (1 - momentum) * mean + momentum * mean of the batch
        var = (1 - momentum) * var + momentum * variance of the batch      (the sum of squares by n - 1)

    through which nothing is differentiated. Ioffe and Szegedy, "Batch normalization", https://arxiv.org/abs/1502.03167.

    Args:
      features: None takes it from the example of ``init(key, example)``.
      momentum: the weight of the batch in the running statistics, as in torch; flax gives that of the old ones.
      axis_name: the name of a surrounding ``vmap``, or several, whose examples belong to the batch too.

    ``apply`` takes a mask: bools that broadcast to x; where False, x does not count for the statistics. Raises ValueError
    for sizes that do not fit, without the state, and in training for less than two elements a feature.

    >>> layer = BatchNorm(2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> y, state = layer.apply(params, state, fnp.array([[1., 5.], [3., 5.]]), train=True)
    >>> fnp.round(y, 4), state["mean"]
    (Array([[-1.,  0.],
            [ 1.,  0.]], dtype=float64), Array([0.2, 0.5], dtype=float32))
    """

    features: int | None = None
    momentum: float = 0.1
    axis_name: Any = None

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        shape = (self.size("features", example, -1),)
        dtype = fnp.promote_types(self.dtype, np.float32)
        return self._learned(key, shape), {"mean": fnp.zeros(shape, dtype), "var": fnp.ones(shape, dtype)}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, *,
              mask: Any = None) -> tuple[Any, Any]:
        mean, var = self.entries("state", state, "mean", "var")
        self.check_last_axis(x, fnp.shape(mean)[0])
        wide = self._wide(x)
        if not train:
            return self._scaled(params, x, (wide - mean) * lax.rsqrt(var + self.epsilon)), state
        axes = tuple(range(wide.ndim - 1))
        centred, batch_mean, batch_var, n = _moments(wide, axes, mask, self.axis_name)
        if mask is None and n < 2:
            self.fail("there are not two elements of each feature to train with", f"x of shape {wide.shape}", None,
                      "a larger batch, or train=False")
        y = self._scaled(params, x, centred * lax.rsqrt(batch_var + self.epsilon))
        unbiased = batch_var * (n / _positive(n - 1))
        moved = {"mean": self._moved(mean, batch_mean), "var": self._moved(var, unbiased)}
        if mask is not None:  # a feature of which no element counts keeps its statistics
            some = fnp.reshape(n, (-1,)) > 0
            moved = {name: fnp.where(some, new, state[name]) for name, new in moved.items()}
        return y, moved

    def _moved(self, old: Any, new: Any) -> Any:
        new = lax.stop_gradient(fnp.reshape(new, (-1,)))
        return ((1 - self.momentum) * old + self.momentum * new).astype(fnp.result_type(old))


@dataclass(frozen=True)
class LayerNorm(_Norm):
    """Normalisation of each example along its last axis, or its last axes.

    Parameters: ``scale`` and ``bias`` of shape ``features``, unless ``scale=False`` or ``bias=False``. x: shape
    (..., *features). ``features`` is the size of the last axis, a tuple with those of several axes, or None: the last axis of
    the example of ``init(key, example)``. ``apply`` takes a mask, see ``BatchNorm``. Raises ValueError for sizes that do not
    fit. Ba, Kiros and Hinton, "Layer normalization", https://arxiv.org/abs/1607.06450.

    >>> layer = LayerNorm(2)
    >>> fnp.round(layer(layer.init(fg.random.key(0))[0], fnp.array([[1., 3.], [5., 5.]])), 4)
    Array([[-1.,  1.],
           [ 0.,  0.]], dtype=float64)
    """

    features: int | tuple[int, ...] | None = None

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return self._learned(key, self._shape(self.size("features", example, -1))), {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, *,
              mask: Any = None) -> tuple[Any, Any]:
        shape = (1,) if self.features is None else self._shape(self.features)
        if self.features is not None or fnp.ndim(x) == 0:
            self._check_last_axes(x, shape)
        wide = self._wide(x)
        return self._scaled(params, x, self._normal(wide, tuple(range(wide.ndim - len(shape), wide.ndim)), mask)), state

    def _normal(self, x: Any, axes: tuple[int, ...], mask: Any) -> Any:
        centred, _, var, _ = _moments(x, axes, mask)
        return centred * lax.rsqrt(var + self.epsilon)

    def _shape(self, features: Any) -> tuple[int, ...]:
        return features if isinstance(features, tuple) else (features,)


@dataclass(frozen=True, kw_only=True)
class RMSNorm(LayerNorm):
    """x divided by the root of its mean square along the last axis, or the last axes: a ``LayerNorm`` that keeps the mean.

    Parameters, x and arguments as for ``LayerNorm``; there is no bias unless ``bias=True``. Zhang and Sennrich, "Root mean
    square layer normalization", https://arxiv.org/abs/1910.07467.

    >>> layer = RMSNorm(2)
    >>> fnp.round(layer(layer.init(fg.random.key(0))[0], fnp.array([3., 4.])), 4)
    Array([0.8485, 1.1314], dtype=float64)
    """

    bias: bool = False

    def _normal(self, x: Any, axes: tuple[int, ...], mask: Any) -> Any:
        mean = _total(fnp.square(x), axes, mask) / _positive(_count(x, axes, mask))
        return x * lax.rsqrt(mean + self.epsilon)


class _ExampleNorm(_Norm):
    """Normalisation over the spatial axes of x[N, *S, C] and within groups of features. A subclass has ``features``."""

    least_axes = 2

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        features = self.size("features", example, -1)
        self._width(features)
        return self._learned(key, (features,)), {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False, *,
              mask: Any = None) -> tuple[Any, Any]:
        wide = self._wide(x)
        if wide.ndim < self.least_axes:
            self.fail("x has too few axes", f"x of shape {wide.shape}",
                      f"at least {self.least_axes} axes: (N, ..., features)", "x[None] for a single example")
        if self.features is not None:
            self.check_last_axis(x, self.features)
        width = self._width(wide.shape[-1])
        grouped = (*wide.shape[:-1], wide.shape[-1] // width, width)
        if mask is not None:
            mask = fnp.reshape(fnp.broadcast_to(mask, wide.shape), grouped)
        centred, _, var, _ = _moments(fnp.reshape(wide, grouped), (*range(1, wide.ndim - 1), wide.ndim), mask)
        return self._scaled(params, x, fnp.reshape(centred * lax.rsqrt(var + self.epsilon), wide.shape)), state

    def _width(self, features: int) -> int:
        """How many features a group has."""
        raise NotImplementedError


@dataclass(frozen=True)
class GroupNorm(_ExampleNorm):
    """Normalisation of each example, over its spatial axes and within groups of its features.

    Parameters: ``scale`` and ``bias`` of shape (features,), unless ``scale=False`` or ``bias=False``. x: shape
    (N, ..., features); the first axis is the batch, so an example under ``vmap`` is given as ``x[None]``. ``features`` None
    takes it from the example of ``init(key, example)``. ``apply`` takes a mask, see ``BatchNorm``. Raises ValueError for
    sizes that do not fit. Wu and He, "Group normalization", https://arxiv.org/abs/1803.08494.

    >>> layer = GroupNorm(2, 4)
    >>> fnp.round(layer(layer.init(fg.random.key(0))[0], fnp.array([[1., 3., 5., 5.]])), 4)
    Array([[-1.,  1.,  0.,  0.]], dtype=float64)
    """

    groups: int
    features: int | None = None

    def _width(self, features: int) -> int:
        if self.groups < 1 or features % self.groups:
            self.fail("groups does not divide the features", f"{self.groups} groups of {features} features")
        return features // self.groups


@dataclass(frozen=True)
class InstanceNorm(_ExampleNorm):
    """Normalisation of each feature of each example over its spatial axes: a ``GroupNorm`` with a group for each feature.

    Parameters, x and arguments as for ``GroupNorm``, but x has at least one spatial axis. Ulyanov et al., "Instance
    normalization", https://arxiv.org/abs/1607.08022.

    >>> layer = InstanceNorm(1)
    >>> fnp.round(layer(layer.init(fg.random.key(0))[0], fnp.array([[[1.], [3.]]]))[0, :, 0], 4)
    Array([-1.,  1.], dtype=float64)
    """

    features: int | None = None
    least_axes = 3

    def _width(self, features: int) -> int:
        return 1
