"""Counts by rejection: Poisson, binomial and multinomial.

In: a key, rates or numbers of trials and probabilities, a shape, a dtype. Out: an array of counts. All elements draw
from one key and wait for each other, so a count depends on the whole array; no derivative flows through a count.

    >>> from funcgrad import random
    >>> random.poisson(random.key(0), 3.0, (4,))
    Array([0, 0, 4, 4], dtype=int64)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.control.loops import while_loop
from funcgrad.control.scan import scan
from funcgrad.core.array import Array, DeviceArray, describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.elementwise import (
    abs,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    ceil,
    clamp,
    eq,
    floor,
    ge,
    gt,
    le,
    log,
    log1p,
    lt,
    ne,
    select,
    sqrt,
)
from funcgrad.ops.promotion import check_arg
from funcgrad.ops.reduction import cumsum, reduce_or
from funcgrad.ops.special import lgamma
from funcgrad.ops.structural import (
    broadcast_to,
    convert_element_type,
    full,
    moveaxis,
    stop_gradient,
)
from funcgrad.random.keys import (
    as_probability,
    checked_key,
    checked_shape,
    float_dtype,
    integer_dtype,
    parameter_shape,
    split,
    subkeys,
)
from funcgrad.random.sampling import take
from funcgrad.random.uniform import as_parameter, scaled_uniform
from funcgrad.transforms.derivatives import quiet

FLOAT32 = np.dtype("float32")

# ---------------------------------------------------------------- Poisson


def poisson(key: Any, lam: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The number of events in a time in which lam are expected.

    Args:
      key: a key.
      lam: the rates, taken as float32; a NaN gives -1.
      shape: the shape of the result, which lam broadcasts to; by default that of lam.
      dtype: an integer dtype; int64 by default. Counts beyond its range become its largest number.

    Raises ValueError for a dtype that is not an integer one. Rates below 10 by Knuth's multiplication of uniform
    draws, larger ones by W. Hormann, "The transformed rejection method for generating Poisson random variables"
    (1993).
    """
    key, dtype = checked_key("poisson", key), integer_dtype("poisson", dtype)
    shape = parameter_shape("poisson", shape, lam)
    with quiet():  # each formula also runs on the elements of the other
        return _poisson(key, stop_gradient(broadcast_to(as_parameter(lam, FLOAT32), shape)), dtype)


def _poisson(key: Array, lam: Any, dtype: np.dtype) -> Any:
    small = bitwise_or(lt(lam, 10.0), ne(lam, lam))
    few = _poisson_by_products(key, select(small, lam, 0.0), dtype)
    many = _poisson_by_rejection(key, select(small, 1e5, lam), np.iinfo(dtype).max)
    counts = select(small, few, _saturated(many, dtype))
    return select(eq(lam, 0.0), dtype.type(0), counts)


def _poisson_by_products(key: Array, lam: Any, dtype: np.dtype) -> Any:
    """How many uniform draws it takes for their product to fall below exp(-lam), less one."""
    limit = np.iinfo(dtype).max

    def waiting(state: tuple) -> Any:
        step, _, _, logarithm = state
        return bitwise_and(_any(gt(logarithm, -lam)), lt(step, limit))

    def draw(state: tuple) -> tuple:
        step, key, count, logarithm = state
        key, subkey = subkeys(key)
        count = select(gt(logarithm, -lam), count + 1, count)
        return step + 1, key, count, logarithm + log(scaled_uniform(subkey, lam.shape, FLOAT32))

    start = (_zero(), key, full(lam.shape, 0, dtype), full(lam.shape, 0, FLOAT32))
    return while_loop(waiting, draw, start)[2] - dtype.type(1)


def _poisson_by_rejection(key: Array, lam: Any, limit: int) -> Any:
    b = 0.931 + 2.53 * sqrt(lam)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2)
    log_lam = log(lam)

    def propose(u: Any, v: Any, us: Any) -> tuple[Any, Any]:
        k = floor((2 * a / us + b) * u + lam + 0.43)
        s = log(v * inverse_alpha / (a / (us * us) + b))
        t = -lam + k * log_lam - lgamma(k + 1)
        sure = bitwise_and(ge(us, 0.07), le(v, v_r))
        out = bitwise_or(lt(k, 0.0), bitwise_and(lt(us, 0.013), gt(v, us)))
        return k, bitwise_or(sure, bitwise_and(bitwise_not(out), le(s, t)))

    return _until_accepted(key, lam.shape, FLOAT32, propose, limit)


def _until_accepted(key: Array, shape: Shape, dtype: np.dtype, propose: Callable, limit: int) -> Any:
    """Proposals from pairs of uniform draws, until every element has accepted one.

    ``propose(u, v, us)`` gets u in [-0.5, 0.5), its distance ``us`` to the ends, and v in [0, 1), and returns values
    and which of them to accept. An element that accepts again while others wait takes the later value.
    """
    def waiting(state: tuple) -> Any:
        step, _, _, accepted = state
        return bitwise_and(_any(bitwise_not(accepted)), lt(step, limit))

    def draw(state: tuple) -> tuple:
        step, key, values, accepted = state
        key, key_u, key_v = subkeys(key, 3)
        u = scaled_uniform(key_u, shape, dtype) - 0.5
        proposal, accept = propose(u, scaled_uniform(key_v, shape, dtype), 0.5 - abs(u))
        return step + 1, key, select(accept, proposal, values), bitwise_or(accepted, accept)

    return while_loop(waiting, draw, (_zero(), key, full(shape, -1, dtype), full(shape, False)))[2]


def _zero() -> Array:
    return DeviceArray(np.int64(0))


def _any(x: Any) -> Any:
    return reduce_or(x, tuple(range(len(x.shape))))


def _saturated(x: Any, dtype: np.dtype) -> Any:
    """Whole floats as integers; those beyond the dtype's range become its ends."""
    info = np.iinfo(dtype)
    above, below = ge(x, float(info.max)), le(x, float(info.min))
    inside = convert_element_type(select(bitwise_or(above, below), 0.0, x), dtype)
    return select(above, dtype.type(info.max), select(below, dtype.type(info.min), inside))


# ---------------------------------------------------------------- binomial


def binomial(key: Any, n: Any, p: Any, shape: Any = None, dtype: Any = None) -> Array:
    """The number of successes in n trials that succeed with probability p each, as a float.

    Args:
      key: a key.
      n: numbers of trials; fractions are dropped, negative ones and NaN give NaN, infinity gives infinity.
      p: probabilities; negative ones and NaN give NaN.
      shape: the shape of the result, which n and p broadcast to; by default their common shape.
      dtype: a real floating point dtype; float64 by default.

    Where 10 successes or fewer are expected by geometric waiting times, elsewhere by W. Hormann, "The generation of
    binomial random variates" (1993). Raises ValueError for a dtype that is not floating point.
    """
    key, dtype = checked_key("binomial", key), float_dtype("binomial", dtype)
    shape = parameter_shape("binomial", shape, n, p)
    p = stop_gradient(broadcast_to(as_probability("binomial", p, 2), shape))
    n = stop_gradient(broadcast_to(as_parameter(n, p.dtype), shape))
    with quiet():  # each formula also runs on the elements of the other
        return _binomial(key, n, p, dtype)


def _binomial(key: Array, n: Any, p: Any, dtype: np.dtype) -> Any:
    rare = lt(p, 0.5)
    q = select(rare, p, 1 - p)
    bad_n, bad_q = bitwise_not(ge(n, 0.0)), bitwise_not(ge(q, 0.0))
    nan_q = ne(q, q)
    q = select(bad_q, 0.01, q)
    few = bitwise_or(bad_n, le(n * q, 10.0))
    n = floor(n)
    waited = _binomial_by_waiting(key, select(few, n, 0.0), q)
    rejected = _binomial_by_rejection(key, select(few, 1e4, n), select(few, 0.5, q))
    counts = convert_element_type(select(few, waited, rejected), dtype)
    infinite = eq(n, np.inf)
    counts = select(bitwise_or(bad_n, bad_q), np.nan, select(infinite, np.inf, counts))
    as_drawn = bitwise_or(bitwise_or(rare, bad_n), bitwise_or(nan_q, infinite))
    return select(as_drawn, counts, convert_element_type(n, dtype) - counts)


def _binomial_by_waiting(key: Array, n: Any, q: Any) -> Any:
    """How many waiting times for a success fit into n trials."""
    log_failure = log1p(-q)

    def waiting(state: tuple) -> Any:
        return _any(le(state[2], n))

    def draw(state: tuple) -> tuple:
        key, count, trials = state
        subkey, key = subkeys(key)
        count = select(le(trials, n), count + 1, count)
        return key, count, trials + ceil(log(scaled_uniform(subkey, n.shape, n.dtype)) / log_failure)

    return while_loop(waiting, draw, (key, full(n.shape, 0, n.dtype), full(n.shape, 0, n.dtype)))[1] - 1


def _binomial_by_rejection(key: Array, n: Any, q: Any) -> Any:
    deviation = sqrt(n * q * (1 - q))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * q
    c = n * q + 0.5
    v_r = 0.92 - 4.2 / b
    r = q / (1 - q)
    alpha = (2.83 + 5.1 / b) * deviation
    m = floor((n + 1) * q)
    fixed = (m + 0.5) * log((m + 1) / (r * (n - m + 1)))

    def propose(u: Any, v: Any, us: Any) -> tuple[Any, Any]:
        sure = bitwise_and(ge(us, 0.07), le(v, v_r))
        k = floor((2 * a / us + b) * u + c)
        out = bitwise_or(lt(k, 0.0), gt(k, n))
        v = log(v * alpha / (a / (us * us) + b))
        bound = (fixed + (n + 1) * log((n - m + 1) / (n - k + 1)) + (k + 0.5) * log(r * (n - k + 1) / (k + 1))
                 + _stirling_tail(m) + _stirling_tail(n - m) - _stirling_tail(k) - _stirling_tail(n - k))
        return k, bitwise_or(sure, bitwise_and(bitwise_not(out), le(v, bound)))

    return _until_accepted(key, n.shape, n.dtype, propose, np.iinfo(np.int64).max)


STIRLING_TAIL = (0.0810614667953272, 0.0413406959554092, 0.0276779256849983, 0.02079067210376509, 0.0166446911898211,
                 0.0138761288230707, 0.0118967099458917, 0.010411265261972, 0.00925546218271273, 0.00833056343336287)
"""log(k!) less Stirling's approximation, for k = 0, ..., 9."""


def _stirling_tail(k: Any) -> Any:
    """log(k!) less Stirling's approximation. Above 9 the value at 9 stands for all, so that the draws equal JAX's."""
    dtype = k.dtype
    table = DeviceArray(np.array(STIRLING_TAIL, dtype))
    within = select(le(k, 9.0), clamp(dtype.type(0), k, dtype.type(9)), 9.0)
    next_k = clamp(dtype.type(0), k, dtype.type(9)) + 1
    square = next_k * next_k
    series = (1 / 12 - (1 / 360 - 1 / 1260 / square) / square) / next_k
    return select(le(k, 9.0), take(table, convert_element_type(floor(within), np.int64), 0), series)


# ---------------------------------------------------------------- multinomial


def multinomial(key: Any, n: Any, p: Any, *, shape: Any = None, dtype: Any = None, unroll: int | bool = 1) -> Array:
    """How often each category occurs in n trials, as floats.

    Args:
      key: a key.
      n: numbers of trials.
      p: probabilities of the categories, along the last axis.
      shape: the shape of the result, its last axis included; by default that of p.
      dtype: a real floating point dtype; float64 by default.
      unroll: how many categories compiled code takes at once.

    Raises ValueError when p has no axis, or does not broadcast to the shape. One binomial draw a category, from the
    trials that are left.
    """
    key, dtype = checked_key("multinomial", key), float_dtype("multinomial", dtype)
    aval = check_arg("random.multinomial", p, 2)
    if not aval.shape:
        raise ValueError(message("random.multinomial: p needs an axis that runs over the categories", describe(p),
                                 "an array with at least one axis"))
    shape = parameter_shape("multinomial", aval.shape if shape is None else checked_shape("multinomial", shape), p)
    p = stop_gradient(broadcast_to(as_probability("multinomial", p, 2), shape))
    parameter_shape("multinomial", shape[:-1], n)
    trials = stop_gradient(broadcast_to(as_parameter(n, p.dtype), shape[:-1]))
    p = moveaxis(p, len(shape) - 1, 0)
    remaining = cumsum(p, 0, reverse=True)
    ratios = clamp(p.dtype.type(0), p / select(eq(remaining, 0.0), 1.0, remaining), p.dtype.type(1))

    def category(left: Any, step: tuple) -> tuple:
        key, ratio = step
        count = binomial(key, left, ratio, dtype=p.dtype)
        return left - count, count

    counts = scan(category, trials, (split(key, shape[-1]), ratios), unroll=unroll)[1]
    return convert_element_type(moveaxis(counts, 0, len(shape) - 1), dtype)
