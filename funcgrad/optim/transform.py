"""Further transformations of updates: momentum, weight decay, noise, trust ratios, factored second moments.

In: numbers, schedules, masks. Out: gradient transformations (``base.py``).

    >>> momentum = trace(0.9)
    >>> state = momentum.init(fnp.zeros(1))
    >>> for _ in range(3):
    ...     updates, state = momentum.update(fnp.ones(1), state)
    >>> updates  # 1 + 0.9 + 0.81
    Array([2.71], dtype=float64)
"""
from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, random, tree
from funcgrad.optim.base import (
    GradientTransformation,
    Rate,
    ScaleByScheduleState,
    at_least_zero,
    each,
    increment,
    like,
    needed,
    no_state,
    no_steps,
    norm_of,
    square,
    stateless,
    trainable,
    zeros,
)
from funcgrad.optim.moments import debiased, mean_of
from funcgrad.optim.wrappers import masked


class TraceState(NamedTuple):
    """The decaying sum of the updates."""

    trace: Any


class EmaState(NamedTuple):
    """The number of steps taken, and the running mean."""

    count: Any
    ema: Any


class AddNoiseState(NamedTuple):
    count: Any
    rng_key: Any


class FactoredState(NamedTuple):
    """Means of squares: of rows and of columns for the large matrices, of every element for the others."""

    count: Any
    v_row: Any
    v_col: Any
    v: Any


def trace(decay: Any, nesterov: bool = False, accumulator_dtype: Any = None) -> GradientTransformation:
    """Momentum: ``m = g + decay * m`` from step to step; ``nesterov`` looks one step ahead and takes ``g + decay * m``."""

    def init(params: Any) -> TraceState:
        return TraceState(zeros(params, "trace", accumulator_dtype))

    def update(updates: Any, state: TraceState, params: Any = None) -> tuple[Any, TraceState]:
        total = each(lambda g, m: g + decay * m, updates, state.trace)
        updates = tree.map(lambda g, m: g + decay * m, updates, total) if nesterov else total
        return updates, TraceState(like(total, state.trace))

    return GradientTransformation(init, update)


def ema(decay: Any, debias: bool = True, accumulator_dtype: Any = None) -> GradientTransformation:
    """The running mean of what it is given; of parameters, an average over the last ``1 / (1 - decay)`` steps.

    >>> average = ema(0.5)
    >>> state = average.init(fnp.zeros(()))
    >>> for value in (1.0, 3.0):
    ...     mean, state = average.update(fnp.asarray(value), state)
    >>> round(float(mean), 4)  # (0.5 * 3 + 0.25 * 1) / 0.75
    2.3333
    """

    def init(params: Any) -> EmaState:
        return EmaState(no_steps(), zeros(params, "ema", accumulator_dtype))

    def update(updates: Any, state: EmaState, params: Any = None) -> tuple[Any, EmaState]:
        mean, count = mean_of(updates, state.ema, decay), increment(state.count)
        return debiased(mean, decay, count) if debias else mean, EmaState(count, like(mean, state.ema))

    return GradientTransformation(init, update)


def add_decayed_weights(weight_decay: Rate = 0.0, mask: Any = None) -> GradientTransformation:
    """The updates plus ``weight_decay * params``, a number or a schedule; ``mask`` says of which parameters (``masked``)."""
    if not callable(weight_decay):
        at_least_zero("weight decay", weight_decay, "a small positive number, such as 1e-4, or a schedule")

    def decay(updates: Any, params: Any, factor: Any) -> Any:
        params = needed(params, "add_decayed_weights")
        return each(lambda g, p: g + fnp.asarray(factor, fnp.result_type(g)) * p, updates, params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if callable(weight_decay):
            return decay(updates, params, weight_decay(state.count)), ScaleByScheduleState(increment(state.count))
        if isinstance(weight_decay, numbers.Real) and weight_decay == 0:
            return updates, state
        return decay(updates, params, weight_decay), state

    init = (lambda params: ScaleByScheduleState(no_steps())) if callable(weight_decay) else no_state
    found = GradientTransformation(init, update)
    return found if mask is None else masked(found, mask)


def add_noise(eta: Any, gamma: Any, key: Any) -> GradientTransformation:
    """The updates plus normal noise of variance ``eta / step**gamma``. Neelakantan et al. 2015, arXiv:1511.06807.

    ``key`` is a key of ``fg.random``, or an integer to make one.
    """

    def init(params: Any) -> AddNoiseState:
        first = random.key(key) if isinstance(key, numbers.Integral) else fnp.asarray(key)
        for leaf in tree.leaves(params)[:1]:
            first = fnp.full_like(leaf, first, first.dtype, first.shape)  # the same key, where the parameters are
        return AddNoiseState(no_steps(), first)

    def update(updates: Any, state: AddNoiseState, params: Any = None) -> tuple[Any, AddNoiseState]:
        count = increment(state.count)
        deviation = fnp.sqrt(eta / count.astype(np.float64) ** gamma)
        following, key = random.split(state.rng_key)
        leaves, structure = tree.flatten(updates)
        noisy = [g + deviation.astype(g.dtype) * random.normal(k, g.shape, g.dtype)
                 for g, k in zip(leaves, random.split(key, len(leaves)))]
        return structure.unflatten(noisy), AddNoiseState(count, following)

    return GradientTransformation(init, update)


def scale_by_sign() -> GradientTransformation:
    """The signs of the updates."""
    return stateless(lambda updates, params: tree.map(fnp.sign, updates))


def scale_by_trust_ratio(min_norm: Any = 0.0, trust_coefficient: Any = 1.0, eps: Any = 0.0) -> GradientTransformation:
    """Each leaf times ``trust_coefficient * |params| / (|updates| + eps)``; a leaf with a norm of 0 stays as it is.

    You et al. 2020, arXiv:1904.00962; ``min_norm`` is the least norm that is taken.
    """
    def ratio(u: Any, p: Any) -> Any:
        size, step = norm_of(p, min_norm), norm_of(u, min_norm)
        none = (size == 0) | (step == 0)
        return fnp.where(none, 1, trust_coefficient * size / (fnp.where(none, 1, step) + eps)).astype(u.dtype)

    def scaled(updates: Any, params: Any) -> Any:
        # All ratios come before the updates, which then are one region of the compiled program.
        ratios = each(ratio, updates, needed(params, "scale_by_trust_ratio"))
        return tree.map(lambda u, r: u * r, updates, ratios)

    return stateless(scaled)


def scale_by_param_block_norm(min_scale: Any = 1e-3) -> GradientTransformation:
    """Each leaf times the norm of its parameters, or ``min_scale`` if that is larger."""
    return stateless(lambda updates, params: each(lambda u, p: u * norm_of(p, min_scale), updates,
                                                  needed(params, "scale_by_param_block_norm")))


def scale_by_param_block_rms(min_scale: Any = 1e-3) -> GradientTransformation:
    """Each leaf times the root mean square of its parameters, or ``min_scale`` if that is larger."""
    def scaled(u: Any, p: Any) -> Any:
        root = max(p.size, 1) ** 0.5
        return u * (norm_of(p, min_scale * root) / root)

    return stateless(lambda updates, params: each(scaled, updates, needed(params, "scale_by_param_block_rms")))


def centralize() -> GradientTransformation:
    """Each leaf of two and more axes minus its mean over all axes but the first. Yong et al. 2020, arXiv:2004.01461."""
    def centred(g: Any) -> Any:
        return g - fnp.mean(g, axis=tuple(range(1, g.ndim)), keepdims=True) if g.ndim > 1 else g

    return stateless(lambda updates, params: tree.map(centred, updates))


# ---------------------------------------------------------------- factored second moments


def scale_by_factored_rms(factored: bool = True, decay_rate: Any = 0.8, step_offset: Any = 0, min_dim_size_to_factor: int = 128,
                          epsilon: Any = 1e-30, decay_rate_fn: Callable | None = None) -> GradientTransformation:
    """``g / sqrt(v)`` with v the running mean of squares, kept as means of rows and columns where an array is large.

    Its two longest axes are factored if both have ``min_dim_size_to_factor`` elements; then n + m numbers are kept for n * m
    of the array. The mean decays with ``1 - step**-decay_rate``. Shazeer and Stern 2018, arXiv:1804.04235.
    """
    rate_of = decay_rate_fn or (lambda step, exponent: 1 - (step + 1).astype(np.float32) ** -exponent)

    def axes_of(shape: tuple[int, ...]) -> tuple[int, int] | None:
        """The second longest axis and the longest one."""
        if not factored or len(shape) < 2:
            return None
        order = np.argsort(shape)
        return (int(order[-2]), int(order[-1])) if shape[order[-2]] >= min_dim_size_to_factor else None

    def init(params: Any) -> FactoredState:
        trainable(params, "scale_by_factored_rms")

        def kept(p: Any, which: int) -> Any:
            axes = axes_of(p.shape)
            if which == 2:
                return fnp.zeros_like(p) if axes is None else fnp.zeros_like(p, p.dtype, 1)
            shape = (1,) if axes is None else tuple(np.delete(p.shape, axes[1 - which]).tolist())
            return fnp.zeros_like(p, p.dtype, shape)

        return FactoredState(no_steps(), *[tree.map(lambda p, i=i: kept(p, i), params) for i in range(3)])

    def update(updates: Any, state: FactoredState, params: Any = None) -> tuple[Any, FactoredState]:
        rate = rate_of(state.count - step_offset, decay_rate)

        def step(g: Any, row: Any, col: Any, v: Any) -> tuple[Any, Any, Any, Any]:
            decay = rate.astype(g.dtype)
            squares = square(g) + epsilon
            axes = axes_of(g.shape)
            if axes is None:
                v = decay * v + (1 - decay) * squares
                return g * lax.rsqrt(v), row, col, v
            second, first = axes
            row = decay * row + (1 - decay) * fnp.mean(squares, axis=first)
            col = decay * col + (1 - decay) * fnp.mean(squares, axis=second)
            share = row / fnp.mean(row, axis=second - (second > first), keepdims=True)
            return g * fnp.expand_dims(lax.rsqrt(share), first) * fnp.expand_dims(lax.rsqrt(col), second), row, col, v

        leaves, structure = tree.flatten(each(lambda g, p: g, updates, needed(params, "scale_by_factored_rms")))
        found = [step(*xs) for xs in zip(leaves, *[tree.leaves(part) for part in state[1:]])]
        updates, *kept = [structure.unflatten([f[i] for f in found]) for i in range(4)]
        return updates, FactoredState(increment(state.count), *kept)

    return GradientTransformation(init, update)
