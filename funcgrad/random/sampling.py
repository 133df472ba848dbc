"""Choices: coins, categories, permutations, samples of a collection.

In: a key, and probabilities, logits or a collection. Out: bools, positions, or elements.

    >>> from funcgrad import random
    >>> random.permutation(random.key(0), 5)
    Array([0, 1, 4, 3, 2], dtype=int64)
"""
from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.elementwise import add, log, lt, mul, select, sub
from funcgrad.ops.indexing import gather
from funcgrad.ops.promotion import check_arg
from funcgrad.ops.reduction import argmax, as_axis, cumsum
from funcgrad.ops.sorting import sort, top_k
from funcgrad.ops.structural import (
    broadcast_to,
    convert_element_type,
    full,
    iota,
    moveaxis,
    reshape,
    slice_in_dim,
)
from funcgrad.random.keys import (
    as_array,
    as_probability,
    checked_key,
    checked_shape,
    parameter_shape,
    random_bits,
    subkeys,
)
from funcgrad.random.transformed import gumbel, halves
from funcgrad.random.uniform import randint, scaled_uniform

UINT32 = np.dtype("uint32")

# ---------------------------------------------------------------- coins


def bernoulli(key: Any, p: Any = 0.5, shape: Any = None, mode: str = "low") -> Array:
    """True with probability p.

    Args:
      key: a key.
      p: probabilities, a floating point array or number; values outside of [0, 1] count as 0 or 1.
      shape: the shape of the result; by default that of p.
      mode: "low", or "high" for probabilities below the resolution of the dtype of p, with twice the random bits.

    Raises TypeError when p is not floating point, ValueError for another mode or a shape that p does not
    broadcast to.
    """
    key = checked_key("bernoulli", key)
    aval = check_arg("random.bernoulli", p, 1)
    if dtypes.kind(aval.dtype) != "f":
        raise TypeError(message("random.bernoulli: the probability must be floating point", describe(p), None,
                                "float(p)"))
    if mode not in ("low", "high"):
        raise ValueError(message("random.bernoulli: there is no such mode", repr(mode), "'low' or 'high'"))
    shape = parameter_shape("bernoulli", shape, p)
    p = broadcast_to(as_array("bernoulli", p, 1), shape)
    if mode == "low":
        return lt(scaled_uniform(key, shape, aval.dtype), p)
    coarse, fine = halves(scaled_uniform(key, (2, *shape), aval.dtype))
    return lt(mul(fine, aval.dtype.type(2.0 ** -dtypes.finfo(aval.dtype).nmant)), sub(p, coarse))


def rademacher(key: Any, shape: Any = (), dtype: Any = None) -> Array:
    """-1 or 1 with equal probability; int64 by default. Raises ValueError for a dtype that has no -1."""
    dtype = np.dtype("int64") if dtype is None else dtypes.as_dtype(dtype)
    if dtype.kind in "bu":
        raise ValueError(message("random.rademacher: the dtype has no -1", dtype.name,
                                 "a signed integer, floating point or complex dtype",
                                 "fg.random.bernoulli(key, 0.5, shape) for bools"))
    coin = bernoulli(checked_key("rademacher", key), 0.5, checked_shape("rademacher", shape))
    return sub(mul(convert_element_type(coin, dtype), dtype.type(2)), dtype.type(1))


# ---------------------------------------------------------------- categories


def categorical(key: Any, logits: Any, axis: int = -1, shape: Any = None, replace: bool = True,
                mode: str | None = None) -> Array:
    """Positions along an axis, drawn with probability softmax(logits).

    Args:
      key: a key.
      logits: unnormalised logarithms of probabilities.
      axis: the axis of ``logits`` that runs over the categories.
      shape: the shape of the result, whose last axes are those of ``logits`` without ``axis`` (or broadcast from
        them); by default just those. The axes before are further draws.
      replace: False for draws that are all different, of which there are ``prod`` of the axes before.
      mode: as in ``gumbel``.

    Returns int64 positions, int32 without replacement. Raises ValueError when the shape does not fit, or when
    more draws than categories are asked for without replacement. The draws are the arg max of noise plus logits.
    """
    key = checked_key("categorical", key)
    if dtypes.kind(check_arg("random.categorical", logits, 1).dtype) != "f":
        raise ValueError(message("random.categorical: the logits must be real and floating point", describe(logits),
                                 None, "logits.astype(float)"))
    logits = as_array("categorical", logits, 1)
    d = as_axis("random.categorical", axis, len(logits.shape))
    batch = logits.shape[:d] + logits.shape[d + 1:]
    if shape is None:
        shape = batch
    shape = checked_shape("categorical", shape)
    if len(shape) < len(batch) or np.broadcast_shapes(shape, batch) != shape:
        raise ValueError(message("random.categorical: the shape does not hold the batch of logits",
                                 f"shape {shape} for logits of type {describe(logits)} along axis {d}",
                                 f"a shape that ends in {batch}"))
    prefix = shape[:len(shape) - len(batch)]
    size = logits.shape[d]
    if replace:
        rest = shape[len(prefix):]
        noise = gumbel(key, (*prefix, *rest[:d], size, *rest[d:]), logits.dtype, mode)
        return argmax(add(noise, broadcast_to(logits, noise.shape)), len(prefix) + d)
    draws = math.prod(prefix)
    if draws > size:
        raise ValueError(message("random.categorical: more draws than categories, without replacement",
                                 f"{draws} draws of {size} categories", f"at most {size}", "replace=True"))
    positions = top_k(add(gumbel(key, logits.shape, logits.dtype, mode), logits), draws, axis=d)[1]
    return reshape(moveaxis(positions, d, 0), shape)


# ---------------------------------------------------------------- permutations and samples


def permutation(key: Any, x: Any, axis: int = 0, independent: bool = False) -> Array:
    """The integers below x, or the slices of an array along an axis, in random order.

    Args:
      key: a key.
      x: an integer, or an array with at least one axis.
      axis: the axis that is permuted.
      independent: whether each line along the axis gets a permutation of its own.

    Raises TypeError when x is a scalar that is not an integer.
    """
    key = checked_key("permutation", key)
    aval = check_arg("random.permutation", x, 1)
    if not aval.shape:
        return _shuffled(key, iota(np.int64, (_count("permutation", x),)), 0)
    x = as_array("permutation", x, 1)
    d = as_axis("random.permutation", axis, len(x.shape))
    if independent or len(x.shape) == 1:
        return _shuffled(key, x, d)
    return take(x, _shuffled(key, iota(np.int64, (x.shape[d],)), 0), d)


def _count(name: str, x: Any) -> int:
    """A scalar that stands for the integers below it."""
    if dtypes.kind(check_arg(f"random.{name}", x, 1).dtype) not in "iu":
        raise TypeError(message(f"random.{name}: a scalar must be an integer, the number of elements", describe(x),
                                "an integer, or an array with at least one axis"))
    return max(0, operator.index(x))


def _shuffled(key: Array, x: Any, axis: int) -> Array:
    """x sorted by random numbers, so often that a tie of two of them in every round is unlikely."""
    rounds = math.ceil(3 * math.log(max(1, x.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        key, subkey = subkeys(key)
        x = sort((random_bits(subkey, x.shape, UINT32), x), axis)[1]
    return x


def take(x: Any, indices: Any, axis: int) -> Array:
    """The slices of x at positions along an axis, which are in range."""
    window = [1 if i == axis else n for i, n in enumerate(x.shape)]
    offsets = (*range(axis), *range(axis + len(indices.shape), len(x.shape) - 1 + len(indices.shape)))
    return gather(x, reshape(indices, (*indices.shape, 1)), (offsets, (axis,), (axis,)), window,
                  mode="promise_in_bounds")


def choice(key: Any, a: Any, shape: Any = (), replace: bool = True, p: Any = None, axis: int = 0,
           mode: str | None = None) -> Array:
    """Random elements of an array, or integers below a.

    Args:
      key: a key.
      a: an array with at least one axis, or an integer that stands for ``arange(a)``.
      shape: the shape of the sample; it takes the place of the axis of ``a``.
      replace: whether an element may be drawn again.
      p: the probability of each position along the axis; even by default.
      axis: the axis of ``a`` that is drawn from.
      mode: as in ``gumbel``, for draws by p without replacement.

    Raises ValueError when p does not fit, or when more elements than there are shall be drawn without replacement.
    """
    key, shape = checked_key("choice", key), checked_shape("choice", shape)
    aval = check_arg("random.choice", a, 1)
    size, d = (_count("choice", a), 0) if not aval.shape else (0, as_axis("random.choice", axis, len(aval.shape)))
    if aval.shape:
        a = as_array("choice", a, 1)
        size = aval.shape[d]
    draws = math.prod(shape)
    if draws and size <= 0:
        raise ValueError(message("random.choice: there is nothing to choose from", describe(a),
                                 "at least one element"))
    if not replace and draws > size:
        raise ValueError(message("random.choice: more draws than elements, without replacement",
                                 f"{draws} draws of {size} elements", f"at most {size}", "replace=True"))
    if not draws:
        return full(shape, 0, aval.dtype)
    out_shape = shape if not aval.shape else (*aval.shape[:d], *shape, *aval.shape[d + 1:])
    if p is None and not replace:
        return reshape(slice_in_dim(permutation(key, a if aval.shape else size, d), 0, draws, axis=d), out_shape)
    positions = randint(key, shape, 0, size) if p is None else _by_probability(key, size, shape, replace, p, mode)
    return take(a, positions, d) if aval.shape else positions


def _by_probability(key: Array, size: int, shape: Shape, replace: bool, p: Any, mode: str | None) -> Array:
    p = as_probability("choice", p, 4)
    if p.shape != (size,):
        raise ValueError(message("random.choice: the probabilities do not fit",
                                 f"p is {describe(p)} for {size} elements", f"an array of shape ({size},)"))
    if not replace:
        noise = gumbel(key, (size,), p.dtype, mode)
        return reshape(convert_element_type(top_k(add(noise, log(p)), math.prod(shape))[1], np.int64), shape)
    sums = cumsum(p, 0)
    last = broadcast_to(reshape(slice_in_dim(sums, size - 1, size), ()), shape)
    return _first_not_below(sums, mul(last, sub(p.dtype.type(1), scaled_uniform(key, shape, p.dtype))))


def _first_not_below(sums: Any, x: Any) -> Array:
    """For each x the first position of the increasing ``sums`` that is not below it, by bisection."""
    size = sums.shape[0]
    low, high = full(x.shape, 0, np.int64), full(x.shape, size, np.int64)
    for _ in range(size.bit_length()):
        middle = (low + high) >> 1
        below = lt(take(sums, middle, 0), x) & (middle < size)
        low, high = select(below, middle + 1, low), select(below, high, middle)
    return low
