"""Initial values of parameters.

In: ``initializer(key, shape, dtype)``. Out: an array of random or constant numbers. Names and signatures are those of
``jax.nn.initializers``: ``zeros`` and ``ones`` are initializers, the other functions make one. The dtype is that of
the call, else the one given when the initializer was made, else float32, as that of the layers.

    weight = initializers.he_normal()(key, (64, 128))     # float32[64,128]
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.errors import message

Initializer = Callable[..., Any]
Axes = int | Sequence[int]

STDDEV_WITHIN_TWO = 0.87962566103423978
"""The standard deviation of a standard normal variable that is known to lie between -2 and 2."""


def zeros(key: Any, shape: Sequence[int], dtype: Any = None) -> Any:
    """Zeros; the key is not used."""
    return fnp.zeros(shape, _dtype(dtype))


def ones(key: Any, shape: Sequence[int], dtype: Any = None) -> Any:
    """Ones; the key is not used."""
    return fnp.ones(shape, _dtype(dtype))


def constant(value: Any, dtype: Any = None) -> Initializer:
    """An initializer that gives ``value``, broadcast to the shape."""
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        return fnp.full(shape, value, _dtype(dtype))

    return init


def uniform(scale: Any = 1e-2, dtype: Any = None) -> Initializer:
    """An initializer of numbers that are uniform in [0, scale)."""
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        dtype = _dtype(dtype)
        return random.uniform(key, shape, dtype) * fnp.asarray(scale, dtype)

    return init


def normal(stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """An initializer of normal numbers of mean 0 and this standard deviation."""
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        dtype = _dtype(dtype)
        return random.normal(key, shape, dtype) * fnp.asarray(stddev, dtype)

    return init


def truncated_normal(stddev: Any = 1e-2, dtype: Any = None, lower: Any = -2.0, upper: Any = 2.0) -> Initializer:
    """An initializer of normal numbers that lie between ``lower * stddev`` and ``upper * stddev``.

    ``stddev`` is the standard deviation before the tails are cut off.
    """
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        dtype = _dtype(dtype)
        return random.truncated_normal(key, lower, upper, shape, dtype) * fnp.asarray(stddev, dtype)

    return init


def variance_scaling(scale: Any, mode: str, distribution: str, in_axis: Axes = -2, out_axis: Axes = -1,
                     batch_axis: Axes = (), dtype: Any = None) -> Initializer:
    """An initializer whose numbers have mean 0 and variance ``scale / n``.

    Args:
      scale: a positive number.
      mode: what n is: "fan_in" (the inputs of one output), "fan_out" (the outputs of one input), "fan_avg" (their
      mean) or
        "fan_geo_avg" (their geometric mean).
      distribution: "truncated_normal" (within two standard deviations before scaling), "normal" or "uniform".
      in_axis, out_axis: the axes of the inputs and of the outputs; every axis that is named nowhere belongs to the
        receptive field of a convolution.
      batch_axis: axes that do not count.

    Raises ValueError for an unknown mode or distribution.
    """
    if mode not in _FANS:
        raise ValueError(message("variance_scaling: unknown mode", repr(mode), ", ".join(_FANS)))
    if distribution not in _DISTRIBUTIONS:
        raise ValueError(message("variance_scaling: unknown distribution", repr(distribution),
                                 ", ".join(_DISTRIBUTIONS)))
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        dtype = _dtype(dtype)
        fan_in, fan_out = _fans(tuple(shape), in_axis, out_axis, batch_axis)
        variance = fnp.asarray(scale / max(1.0, _FANS[mode](fan_in, fan_out)), dtype)
        return _DISTRIBUTIONS[distribution](key, shape, dtype, fnp.sqrt(variance))

    return init


_FANS: dict[str, Callable] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: math.sqrt(fan_in * fan_out),
}
_DISTRIBUTIONS: dict[str, Callable] = {
    "truncated_normal": lambda key, shape, dtype, stddev:
        random.truncated_normal(key, -2, 2, shape, dtype) * (stddev / fnp.asarray(STDDEV_WITHIN_TWO, dtype)),
    "normal": lambda key, shape, dtype, stddev: random.normal(key, shape, dtype) * stddev,
    "uniform": lambda key, shape, dtype, stddev:
        random.uniform(key, shape, dtype, -1, 1) * (stddev * fnp.asarray(math.sqrt(3), dtype)),
}


def orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """An initializer of matrices with orthonormal rows or columns, whichever are fewer, times ``scale``.

    The columns lie along ``column_axis``; all other axes together are the rows. Saxe et al., "Exact solutions to the nonlinear
    dynamics of learning in deep linear neural networks", https://arxiv.org/abs/1312.6120.
    """
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        dtype, shape = _dtype(dtype), tuple(shape)
        if len(shape) < 2:
            raise ValueError(message("orthogonal: a matrix has two axes", shape, "a shape with at least two axes"))
        columns = shape[column_axis]
        rest = [n for i, n in enumerate(shape) if i != column_axis % len(shape)]
        matrix = random.orthogonal(key, math.prod(rest), (), dtype, m=columns)
        return fnp.moveaxis(fnp.reshape(matrix, (*rest, columns)), -1, column_axis) * fnp.asarray(scale, dtype)

    return init


def delta_orthogonal(scale: Any = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """An initializer of the kernels of convolutions, (..., inputs, outputs): orthogonal in the centre and zero elsewhere.

    Raises ValueError unless there are 1 to 3 axes of space and at least as many outputs as inputs. Xiao et al., "Dynamical
    isometry and a mean field theory of CNNs", https://arxiv.org/abs/1806.05393.
    """
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        dtype, shape = _dtype(dtype), tuple(shape)
        if len(shape) not in (3, 4, 5) or shape[-1] < shape[-2]:
            raise ValueError(message("delta_orthogonal: not the shape of such a kernel", shape,
                                     "3 to 5 axes, the last at least as large as the one before it"))
        matrix = orthogonal(scale, column_axis, dtype)(key, shape[-2:])
        centre = tuple([(n - 1) // 2 for n in shape[:-2]])
        return fnp.zeros(shape, dtype).at[centre].set(matrix)

    return init


def identity(scale: Any = 1.0, dtype: Any = None) -> Initializer:
    """An initializer of matrices with ``scale`` on the diagonal and zeros elsewhere: what comes in goes on."""
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        if len(shape) != 2:
            raise ValueError(message("identity: a matrix has two axes", tuple(shape), "a shape with two axes"))
        return fnp.eye(*shape, dtype=_dtype(dtype)) * fnp.asarray(scale, _dtype(dtype))

    return init


def sparse(sparsity: float, stddev: Any = 1e-2, dtype: Any = None) -> Initializer:
    """An initializer of matrices (inputs, outputs) of normal numbers, where a share ``sparsity`` of each column is 0.

    Martens, "Deep learning via Hessian-free optimization" (2010).
    """
    made = dtype

    def init(key: Any, shape: Sequence[int], dtype: Any = made) -> Any:
        if len(shape) != 2:
            raise ValueError(message("sparse: a matrix has two axes", tuple(shape), "a shape with two axes"))
        order_key, value_key = random.split(key)
        places = fnp.argsort(random.uniform(order_key, shape), axis=0)
        return fnp.where(places < math.ceil(sparsity * shape[0]), 0, normal(stddev)(value_key, shape, _dtype(dtype)))

    return init


def _named(name: str, scale: float, mode: str, distribution: str, source: str) -> Callable[..., Initializer]:
    """A maker of initializers: ``variance_scaling`` with its first three arguments given."""

    def make(in_axis: Axes = -2, out_axis: Axes = -1, batch_axis: Axes = (), dtype: Any = None) -> Initializer:
        return variance_scaling(scale, mode, distribution, in_axis, out_axis, batch_axis, dtype)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = (f"An initializer: ``variance_scaling({scale:g}, {mode!r}, {distribution!r})`` with these axes "
                    f"and this dtype.\n\n    {source}")
    return make


_GLOROT = 'Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010).'
_LECUN = 'LeCun et al., "Efficient backprop" (1998).'
_HE = 'He et al., "Delving deep into rectifiers", https://arxiv.org/abs/1502.01852.'
glorot_uniform = xavier_uniform = _named("glorot_uniform", 1.0, "fan_avg", "uniform", _GLOROT)
glorot_normal = xavier_normal = _named("glorot_normal", 1.0, "fan_avg", "truncated_normal", _GLOROT)
lecun_uniform = _named("lecun_uniform", 1.0, "fan_in", "uniform", _LECUN)
lecun_normal = _named("lecun_normal", 1.0, "fan_in", "truncated_normal", _LECUN)
he_uniform = kaiming_uniform = _named("he_uniform", 2.0, "fan_in", "uniform", _HE)
he_normal = kaiming_normal = _named("he_normal", 2.0, "fan_in", "truncated_normal", _HE)


def _dtype(dtype: Any) -> Any:
    return np.float32 if dtype is None else dtype


def _fans(shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes) -> tuple[float, float]:
    """How many inputs one output has, and how many outputs one input."""
    if len(shape) < 2:
        raise ValueError(message("variance_scaling: a shape with fewer than two axes has no inputs and outputs",
                                 shape, "a shape with an axis of inputs and one of outputs",
                                 "normal, uniform, zeros or constant"))
    inputs, outputs, batch = (_product(shape, axes) for axes in (in_axis, out_axis, batch_axis))
    field = math.prod(shape) / max(1, inputs * outputs * batch)
    return inputs * field, outputs * field


def _product(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod(shape[i] for i in ((axes,) if isinstance(axes, int) else axes))
