"""Activations and normalised exponentials.

In: arrays of any shape. Out: arrays; an activation keeps the shape. Names and signatures are those of ``jax.nn``.
Each formula is written so that its first and second derivatives are right everywhere and finite for large arguments:
the branch that is not taken is given an argument for which it is harmless.

    >>> import funcgrad as fg
    >>> float(fg.grad(relu)(0.0)), float(fg.grad(softplus)(0.0))
    (0.0, 0.5)
"""
from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, random
from funcgrad.errors import message
from funcgrad.scipy import special
from funcgrad.scipy.special import logsumexp
from funcgrad.scipy.special.entropies import axes_of, masked

Axis = int | Sequence[int] | None

# ---------------------------------------------------------------- piecewise linear activations


def identity(x: Any) -> Any:
    """x itself."""
    return fnp.asarray(x)


def relu(x: Any) -> Any:
    """max(x, 0), element by element; its derivative at 0 is 0."""
    return fnp.where(fnp.less_equal(x, 0), 0, x)


def relu6(x: Any) -> Any:
    """min(max(x, 0), 6); its derivative at 0 and at 6 is 0."""
    return fnp.where(fnp.less_equal(x, 0), 0, fnp.where(fnp.greater_equal(x, 6), 6.0, x))


def leaky_relu(x: Any, negative_slope: Any = 1e-2) -> Any:
    """x where it is positive, else ``negative_slope * x``; its derivative at 0 is ``negative_slope``."""
    return fnp.where(fnp.greater(x, 0), x, negative_slope * x)


def prelu(x: Any, alpha: Any) -> Any:
    """x where it is positive, else ``alpha * x``, where alpha is learned: one number, or one for each channel of the last axis.

    He et al., "Delving deep into rectifiers", https://arxiv.org/abs/1502.01852.
    """
    above = fnp.greater(x, 0)
    return fnp.where(above, x, alpha * fnp.where(above, 0, x))


def rrelu(x: Any, key: Any = None, lower: float = 1 / 8, upper: float = 1 / 3) -> Any:
    """x where it is positive, else x times a slope: with a key a random one between the bounds for each element, as in
    training; without one their mean. Xu et al., "Empirical evaluation of rectified activations", https://arxiv.org/abs/1505.00853.
    """
    x = fnp.asarray(x)
    return prelu(x, (lower + upper) / 2 if key is None else random.uniform(key, x.shape, x.dtype, lower, upper))


def threshold(x: Any, threshold: Any, value: Any) -> Any:
    """x where it is larger than ``threshold``, else ``value``."""
    return fnp.where(fnp.greater(x, threshold), x, value)


def hard_shrink(x: Any, bound: Any = 0.5) -> Any:
    """0 between -bound and bound, both included; x elsewhere."""
    return fnp.where(fnp.less_equal(fnp.abs(x), bound), 0, x)


def soft_shrink(x: Any, bound: Any = 0.5) -> Any:
    """x moved by ``bound`` towards 0, and 0 between -bound and bound."""
    return fnp.where(fnp.greater(x, bound), x - bound, fnp.where(fnp.less(x, -bound), x + bound, 0))


def hard_tanh(x: Any) -> Any:
    """x kept between -1 and 1; its derivative at both ends is 0."""
    return fnp.where(fnp.greater_equal(x, 1), 1, fnp.where(fnp.less_equal(x, -1), -1, x))


def hard_sigmoid(x: Any) -> Any:
    """relu6(x + 3) / 6: a piecewise linear approximation of ``sigmoid``."""
    return relu6(x + 3.0) / 6.0


def hard_silu(x: Any) -> Any:
    """x * hard_sigmoid(x)."""
    return x * hard_sigmoid(x)


hard_swish = hard_silu


def sparse_plus(x: Any) -> Any:
    """0 up to -1, x from 1 on, and (x + 1)**2 / 4 between them."""
    inside = fnp.clip(x, -1.0, 1.0)
    return fnp.where(fnp.less_equal(x, -1), 0.0, fnp.where(fnp.greater_equal(x, 1), x, (inside + 1.0) ** 2 / 4))


def sparse_sigmoid(x: Any) -> Any:
    """The derivative of ``sparse_plus``: 0 up to -1, 1 from 1 on, and (x + 1) / 2 between them."""
    return 0.5 * fnp.clip(x + 1.0, 0.0, 2.0)


# ---------------------------------------------------------------- smooth activations


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    return lax.logistic(x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return fnp.tanh(x)


def tanh_shrink(x: Any) -> Any:
    """x - tanh(x)."""
    return x - fnp.tanh(x)


def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow; its derivative is ``sigmoid``."""
    below = fnp.less_equal(x, 0)
    # Not exp(-abs(x)): the derivative of abs at 0 is 0, which would spoil the second derivative there.
    return fnp.where(below, 0, x) + fnp.log1p(fnp.exp(fnp.where(below, x, fnp.negative(x))))


def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)), accurate also where the sigmoid rounds to 0."""
    return -softplus(fnp.negative(x))


def squareplus(x: Any, b: Any = 4) -> Any:
    """(x + sqrt(x**2 + b)) / 2, a smooth relu. Barron, "Squareplus", https://arxiv.org/abs/2112.11687."""
    return (x + fnp.hypot(x, fnp.sqrt(b))) / 2


def soft_sign(x: Any) -> Any:
    """x / (1 + abs(x))."""
    return x / (fnp.abs(x) + 1)


def silu(x: Any) -> Any:
    """x * sigmoid(x)."""
    return x * lax.logistic(x)


swish = silu


def mish(x: Any) -> Any:
    """x * tanh(softplus(x)). Misra, "Mish", https://arxiv.org/abs/1908.08681."""
    return x * fnp.tanh(softplus(x))


def elu(x: Any, alpha: Any = 1.0) -> Any:
    """x where it is positive, else ``alpha * (exp(x) - 1)``."""
    above = fnp.greater(x, 0)
    return fnp.where(above, x, alpha * fnp.expm1(fnp.where(above, 0, x)))


def celu(x: Any, alpha: Any = 1.0) -> Any:
    """x where it is positive, else ``alpha * (exp(x / alpha) - 1)``. https://arxiv.org/abs/1704.07483."""
    above = fnp.greater(x, 0)
    return fnp.where(above, x, alpha * fnp.expm1(fnp.where(above, 0, x) / alpha))


def selu(x: Any) -> Any:
    """``elu`` with the scale and alpha that keep mean 0 and variance 1 through deep networks.

    Klambauer et al., "Self-normalizing neural networks", https://arxiv.org/abs/1706.02515.
    """
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def gelu(x: Any, approximate: bool = True) -> Any:
    """x times the standard normal distribution function, exactly by erfc or approximately by tanh.

    Hendrycks and Gimpel, "Gaussian error linear units", https://arxiv.org/abs/1606.08415.
    """
    if not approximate:
        return 0.5 * x * lax.erfc(fnp.negative(x) * math.sqrt(0.5))
    # Beyond 8 the tanh is exactly 1 in float64, and the powers of x might overflow.
    z = fnp.clip(x, -8.0, 8.0)
    return 0.5 * x * (1.0 + fnp.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z ** 3)))


def glu(x: Any, axis: int = -1) -> Any:
    """The first half along an axis times the sigmoid of the second half. Raises ValueError for an odd size.

    Dauphin et al., "Language modeling with gated convolutional networks", https://arxiv.org/abs/1612.08083.
    """
    return _gated("glu", sigmoid, x, axis)


def reglu(x: Any, axis: int = -1) -> Any:
    """The first half along an axis times the ``relu`` of the second half. Raises ValueError for an odd size.

    This one, ``geglu`` and ``swiglu``: Shazeer, "GLU variants improve transformer", https://arxiv.org/abs/2002.05202.
    """
    return _gated("reglu", relu, x, axis)


def geglu(x: Any, axis: int = -1, approximate: bool = True) -> Any:
    """The first half along an axis times the ``gelu`` of the second half. Raises ValueError for an odd size."""
    return _gated("geglu", lambda gate: gelu(gate, approximate), x, axis)


def swiglu(x: Any, axis: int = -1) -> Any:
    """The first half along an axis times the ``silu`` of the second half. Raises ValueError for an odd size."""
    return _gated("swiglu", silu, x, axis)


def _gated(name: str, activation: Callable, x: Any, axis: int) -> Any:
    x = fnp.asarray(x)
    if x.shape[axis] % 2:
        raise ValueError(message(f"{name}: the axis cannot be halved",
                                 f"size {x.shape[axis]} along axis {axis} of {x.aval}", "an even size"))
    first, second = fnp.split(x, 2, axis)
    return first * activation(second)


def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)) for positive x, accurate for small and for large x.

    Mächler, "Accurately computing log(1 - exp(-|a|))", https://cran.r-project.org/package=Rmpfr.
    """
    small = fnp.less(x, math.log(2))
    near, far = fnp.where(small, x, 1), fnp.where(small, 1, x)
    return fnp.where(small, fnp.log(-fnp.expm1(-near)), fnp.log1p(-fnp.exp(-far)))


# ---------------------------------------------------------------- normalised exponentials


def softmax(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """exp(x) divided by its sum along an axis (axes; None: all): positive numbers that sum to 1.

    Where ``where`` is False, the result is 0 and x does not count.
    """
    result = special.softmax(masked(x, where), axis=axis)
    return result if where is None else fnp.where(where, result, 0)


def log_softmax(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """log(softmax(x, axis)), accurate also where the softmax rounds to 0.

    Where ``where`` is False, the result is -inf and x does not count.
    """
    result = special.log_softmax(masked(x, where), axis=axis)
    return result if where is None else fnp.where(where, result, -np.inf)


def softmin(x: Any, axis: Axis = -1, where: Any = None) -> Any:
    """softmax(-x): the smallest number gets the largest share."""
    return softmax(fnp.negative(x), axis, where)


def gumbel_softmax(key: Any, logits: Any, temperature: Any = 1.0, axis: int = -1, *, hard: bool = False) -> Any:
    """A random point of the simplex, near the corner of a class drawn with probabilities ``softmax(logits)``.

    It can be differentiated by the logits; the lower the temperature, the nearer it is to a corner. With ``hard`` the value
    is the corner itself, a one-hot vector, and the derivative that of the point ("straight through").
    Jang et al., "Categorical reparameterization with Gumbel-softmax", https://arxiv.org/abs/1611.01144.

    >>> float(fnp.sum(gumbel_softmax(fg.random.key(0), fnp.zeros(5), hard=True)))
    1.0
    """
    logits = fnp.asarray(logits)
    point = softmax((logits + random.gumbel(key, logits.shape, logits.dtype)) / temperature, axis)
    if not hard:
        return point
    corner = one_hot(fnp.argmax(point, axis), logits.shape[axis], dtype=point.dtype, axis=axis)
    return corner + (point - lax.stop_gradient(point))


def logmeanexp(x: Any, axis: Axis = None, where: Any = None, keepdims: bool = False) -> Any:
    """log(mean(exp(x))) along an axis (axes; None: all), without overflow; only the entries where ``where`` count."""
    x = fnp.asarray(x)
    if where is None:
        count: Any = float(math.prod(x.shape[i] for i in axes_of(x, axis)))
    else:
        count = fnp.sum(fnp.broadcast_to(where, x.shape), axis, keepdims=keepdims)
    total = logsumexp(x, axis, keepdims=keepdims, where=where)
    return total - fnp.log(fnp.asarray(count, total.dtype))


# ---------------------------------------------------------------- encodings and normalisation


def one_hot(x: Any, num_classes: int, *, dtype: Any = None, axis: int = -1) -> Any:
    """Integers as vectors, along a new axis, with 1 at the integer and 0 elsewhere.

    x: an integer array of shape s; the result has shape s with ``num_classes`` inserted at ``axis``, and dtype
    float64 unless ``dtype`` says otherwise. An integer outside of 0 ... num_classes - 1 gives zeros.

    >>> one_hot(fnp.array([1, 0]), 3)
    Array([[0., 1., 0.],
           [1., 0., 0.]], dtype=float64)
    """
    x = fnp.asarray(x)
    if x.dtype.kind not in "iu":
        raise TypeError(message("one_hot: x must hold integers", x.aval, "an integer array", "x.astype(int)"))
    position = operator.index(axis) % (x.ndim + 1)
    shape = [1] * (x.ndim + 1)
    shape[position] = operator.index(num_classes)
    classes = fnp.reshape(fnp.arange(num_classes, dtype=x.dtype), shape)
    return fnp.equal(fnp.expand_dims(x, position), classes).astype(np.float64 if dtype is None else dtype)


def standardize(x: Any, axis: Axis = -1, mean: Any = None, variance: Any = None, epsilon: Any = 1e-5,
                where: Any = None, *, algorithm: str = "stable") -> Any:
    """(x - mean) / sqrt(variance + epsilon), with the mean and variance along an axis (axes; None: all).

    Where ``where`` is False, x does not count for the mean and variance. ``algorithm``: "stable" takes the variance
    from the differences to the mean; "fast" from the mean of the squares, which cancels when the mean is large.
    """
    if mean is None:
        mean = fnp.mean(x, axis, keepdims=True, where=where)
    if variance is None:
        if algorithm == "stable":
            variance = fnp.mean(fnp.square(x - mean), axis, keepdims=True, where=where)
        elif algorithm == "fast":
            variance = fnp.mean(fnp.square(x), axis, keepdims=True, where=where) - fnp.square(mean)
            variance = fnp.maximum(variance, 0)
        else:
            raise ValueError(message("standardize: unknown algorithm", repr(algorithm), "'stable' or 'fast'"))
    return (x - mean) * lax.rsqrt(variance + epsilon)


# ---------------------------------------------------------------- images


def pixel_shuffle(x: Any, factor: int) -> Any:
    """Channels laid out as pixels: (..., H, W, C * factor**2) becomes (..., H * factor, W * factor, C).

    Channel ``(c * factor + i) * factor + j`` of a pixel becomes channel c of the pixel in row i and column j of its block.
    Raises ValueError unless the channels can be divided so. Shi et al., https://arxiv.org/abs/1609.05158.

    >>> pixel_shuffle(fnp.arange(4.0).reshape(1, 1, 4), 2)[..., 0]
    Array([[0., 1.],
           [2., 3.]], dtype=float64)
    """
    x = fnp.asarray(x)
    if x.ndim < 3 or x.shape[-1] % factor**2:
        raise ValueError(message("pixel_shuffle: the channels cannot be laid out", f"x of type {x.aval}, factor {factor}",
                                 f"a shape (..., H, W, C) with C divisible by {factor**2}"))
    *batch, height, width, channels = x.shape
    blocks = fnp.reshape(x, (*batch, height, width, channels // factor**2, factor, factor))
    blocks = fnp.moveaxis(blocks, (-2, -1, -3), (-4, -2, -1))
    return fnp.reshape(blocks, (*batch, height * factor, width * factor, channels // factor**2))


def pixel_unshuffle(x: Any, factor: int) -> Any:
    """The inverse of ``pixel_shuffle``: (..., H * factor, W * factor, C) becomes (..., H, W, C * factor**2)."""
    x = fnp.asarray(x)
    if x.ndim < 3 or x.shape[-3] % factor or x.shape[-2] % factor:
        raise ValueError(message("pixel_unshuffle: the image cannot be divided", f"x of type {x.aval}, factor {factor}",
                                 f"a shape (..., H, W, C) with H and W divisible by {factor}"))
    *batch, height, width, channels = x.shape
    blocks = fnp.reshape(x, (*batch, height // factor, factor, width // factor, factor, channels))
    blocks = fnp.moveaxis(blocks, (-4, -2, -1), (-2, -1, -3))
    return fnp.reshape(blocks, (*batch, height // factor, width // factor, channels * factor**2))
