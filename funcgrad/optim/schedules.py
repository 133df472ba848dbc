"""Schedules: learning rates that change from step to step.

In: values and numbers of steps. Out: functions of the number of steps taken so far, which may be traced.

    >>> rate = warmup_cosine_decay_schedule(0.0, 1e-3, warmup_steps=10, decay_steps=100)
    >>> [round(float(rate(step)), 6) for step in (0, 5, 10, 55, 100)]
    [0.0, 0.0005, 0.001, 0.0005, 0.0]

``reduce_on_plateau`` looks at the loss instead; it is a gradient transformation, which goes behind the optimiser.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes, lax, tree
from funcgrad.errors import message
from funcgrad.optim.base import GradientTransformationExtraArgs, Schedule, increment, no_steps


def constant_schedule(value: Any) -> Schedule:
    """Always the same."""
    return lambda count: value


def polynomial_schedule(init_value: Any, end_value: Any, power: Any, transition_steps: int,
                        transition_begin: int = 0) -> Schedule:
    """From ``init_value`` to ``end_value`` in ``transition_steps`` steps from ``transition_begin`` on.

    What is left of the difference is ``(1 - share of the steps)**power``. Without steps it stays at ``init_value``.
    """
    if transition_steps <= 0:
        return constant_schedule(init_value)
    begin = max(transition_begin, 0)

    def schedule(count: Any) -> Any:
        left = 1 - fnp.clip(_float(count) - begin, 0, transition_steps) / transition_steps
        return (init_value - end_value) * left ** power + end_value

    return schedule


def linear_schedule(init_value: Any, end_value: Any, transition_steps: int, transition_begin: int = 0) -> Schedule:
    """``polynomial_schedule`` of power 1.

    >>> [float(linear_schedule(1.0, 0.0, 4)(step)) for step in range(6)]
    [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    return polynomial_schedule(init_value, end_value, 1, transition_steps, transition_begin)


def exponential_decay(init_value: Any, transition_steps: int, decay_rate: Any, transition_begin: int = 0,
                      staircase: bool = False, end_value: Any = None) -> Schedule:
    """``init_value * decay_rate**(steps / transition_steps)`` from ``transition_begin`` on.

    ``staircase`` rounds the exponent down; ``end_value`` is where the decay (or, with a rate above 1, the growth) stops.
    """
    if transition_steps <= 0 or decay_rate == 0:
        return constant_schedule(init_value)
    begin = max(transition_begin, 0)

    def schedule(count: Any) -> Any:
        steps = fnp.maximum(_float(count) - begin, 0)
        exponent = steps / transition_steps
        value = init_value * fnp.power(decay_rate, fnp.floor(exponent) if staircase else exponent)
        if end_value is None:
            return value
        held = fnp.where(decay_rate < 1, fnp.maximum(value, end_value), fnp.minimum(value, end_value))
        return fnp.where(steps > 0, held, value)

    return schedule


def cosine_decay_schedule(init_value: Any, decay_steps: int, alpha: Any = 0.0, exponent: Any = 1.0) -> Schedule:
    """Half a cosine from ``init_value`` to ``alpha * init_value`` in ``decay_steps`` steps, to the power of ``exponent``.

    Loshchilov and Hutter 2016, arXiv:1608.03983. Raises ValueError unless ``decay_steps`` is positive.
    """
    _check_steps("cosine_decay_schedule", "decay_steps", decay_steps)

    def schedule(count: Any) -> Any:
        wave = 0.5 * (1 + fnp.cos(np.pi * fnp.minimum(_float(count), decay_steps) / decay_steps))
        return init_value * ((1 - alpha) * wave ** exponent + alpha)

    return schedule


def piecewise_constant_schedule(init_value: Any, boundaries_and_scales: Mapping[int, float] | None = None) -> Schedule:
    """``init_value``, which each boundary that is passed multiplies by its scale.

    >>> rate = piecewise_constant_schedule(1.0, {2: 0.5, 4: 0.1})
    >>> [round(float(rate(step)), 3) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.05, 0.05]
    """
    steps = _checked_scales("piecewise_constant_schedule", boundaries_and_scales)

    def schedule(count: Any) -> Any:
        value = init_value
        for boundary, factor in steps:
            value = fnp.where(count < boundary, value, factor * value)
        return value

    return schedule


def piecewise_interpolate_schedule(interpolate_type: str, init_value: Any,
                                   boundaries_and_scales: Mapping[int, float] | None = None) -> Schedule:
    """From boundary to boundary, at each of which the value is the one before times its scale: "linear" or "cosine"."""
    shapes = {"linear": lambda share: share, "cosine": lambda share: 0.5 - 0.5 * fnp.cos(np.pi * share)}
    if interpolate_type not in shapes:
        raise ValueError(message("optim.piecewise_interpolate_schedule: the type is unknown", repr(interpolate_type),
                                 ", ".join(map(repr, shapes))))
    steps = _checked_scales("piecewise_interpolate_schedule", boundaries_and_scales)

    def schedule(count: Any) -> Any:
        begin, start = 0, init_value
        found = start
        for boundary, factor in steps:
            end = start * factor
            share = fnp.clip((_float(count) - begin) / max(boundary - begin, 1), 0, 1)
            found = fnp.where(count < begin, found, start + (end - start) * shapes[interpolate_type](share))
            begin, start = boundary, end
        return fnp.where(count < begin, found, start)

    return schedule


def linear_onecycle_schedule(transition_steps: int, peak_value: Any, pct_start: float = 0.3, pct_final: float = 0.85,
                             div_factor: float = 25.0, final_div_factor: float = 1e4) -> Schedule:
    """Up to ``peak_value``, down to where it began, then further down, in straight lines. Smith 2018, arXiv:1803.09820.

    It begins at ``peak_value / div_factor``, is at the peak after the share ``pct_start`` of the steps, back after
    ``pct_final``, and ends at the first value divided by ``final_div_factor``.
    """
    _check_steps("linear_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule("linear", peak_value / div_factor, {
        int(pct_start * transition_steps): div_factor, int(pct_final * transition_steps): 1 / div_factor,
        transition_steps: 1 / final_div_factor})


def cosine_onecycle_schedule(transition_steps: int, peak_value: Any, pct_start: float = 0.3, div_factor: float = 25.0,
                             final_div_factor: float = 1e4) -> Schedule:
    """Up to ``peak_value`` and down to the first value divided by ``final_div_factor``, by two halves of a cosine."""
    _check_steps("cosine_onecycle_schedule", "transition_steps", transition_steps)
    return piecewise_interpolate_schedule("cosine", peak_value / div_factor, {
        int(pct_start * transition_steps): div_factor, int(transition_steps): 1 / (div_factor * final_div_factor)})


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after the other; each counts its steps from the boundary where it begins.

    Raises ValueError unless there is one boundary between two schedules.
    """
    schedules, boundaries = list(schedules), list(boundaries)
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(message("optim.join_schedules: there is a boundary between two schedules",
                                 f"{len(schedules)} schedules and {len(boundaries)} boundaries",
                                 "one boundary less than schedules"))

    def schedule(count: Any) -> Any:
        value = schedules[0](count)
        for boundary, following in zip(boundaries, schedules[1:]):
            value = fnp.where(count < boundary, value, following(count - boundary))
        return value

    return schedule


def warmup_constant_schedule(init_value: Any, peak_value: Any, warmup_steps: int) -> Schedule:
    """A straight line up to ``peak_value``, where it stays."""
    return linear_schedule(init_value, peak_value, warmup_steps)


def warmup_cosine_decay_schedule(init_value: Any, peak_value: Any, warmup_steps: int, decay_steps: int, end_value: Any = 0.0,
                                 exponent: Any = 1.0) -> Schedule:
    """A straight line up to ``peak_value``, then half a cosine; ``decay_steps`` counts all steps, those of the warm-up too."""
    alpha = 0.0 if isinstance(peak_value, float | int) and peak_value == 0 else end_value / peak_value
    return join_schedules([linear_schedule(init_value, peak_value, warmup_steps),
                           cosine_decay_schedule(peak_value, decay_steps - warmup_steps, alpha, exponent)], [warmup_steps])


def warmup_exponential_decay_schedule(init_value: Any, peak_value: Any, warmup_steps: int, transition_steps: int,
                                      decay_rate: Any, transition_begin: int = 0, staircase: bool = False,
                                      end_value: Any = None) -> Schedule:
    """A straight line up to ``peak_value``, then ``exponential_decay``."""
    decay = exponential_decay(peak_value, transition_steps, decay_rate, transition_begin, staircase, end_value)
    return join_schedules([linear_schedule(init_value, peak_value, warmup_steps), decay], [warmup_steps])


def sgdr_schedule(cosine_kwargs: Iterable[Mapping[str, Any]]) -> Schedule:
    """Gradient descent with warm restarts: ``warmup_cosine_decay_schedule``s, given by their arguments, one after the other.

    Loshchilov and Hutter 2016, arXiv:1608.03983.
    """
    cycles = list(cosine_kwargs)
    ends = np.cumsum([cycle["decay_steps"] for cycle in cycles]).tolist()
    return join_schedules([warmup_cosine_decay_schedule(**cycle) for cycle in cycles], ends[:-1])


def _float(count: Any) -> Any:
    """A count as float64, in whose quotients no digits of a rate are lost."""
    return fnp.asarray(count, np.float64)


def _check_steps(who: str, what: str, steps: Any) -> None:
    if not steps > 0:
        raise ValueError(message(f"optim.{who}: {what} must be positive", steps))


def _checked_scales(who: str, scales: Mapping[int, float] | None) -> list[tuple[int, float]]:
    if scales and not all([scale >= 0 for scale in scales.values()]):
        raise ValueError(message(f"optim.{who}: the scales must be at least 0", dict(scales)))
    return sorted((scales or {}).items())


# ---------------------------------------------------------------- by the loss


class ReduceLROnPlateauState(NamedTuple):
    """The factor, the best loss, how many times it was not better, how long to wait, and the mean of the losses seen since."""

    scale: Any
    best_value: Any
    plateau_count: Any
    cooldown_count: Any
    count: Any
    avg_value: Any


def reduce_on_plateau(factor: float = 0.1, patience: Any = 10, rtol: float = 1e-4, atol: float = 0.0, cooldown: Any = 0,
                      accumulation_size: Any = 1, min_scale: Any = 0.0) -> GradientTransformationExtraArgs:
    """The updates times a factor that shrinks when the loss, given as ``update(..., value=loss)``, gets no better.

    Better is ``value < (1 - rtol) * best - atol``, of the mean of ``accumulation_size`` losses. After ``patience`` values that
    are not better, what updates are multiplied by is multiplied by ``factor``, down to ``min_scale``; then ``cooldown``
    values are not judged. Raises ValueError unless 0 < factor < 1, 0 <= rtol <= 1, 0 <= atol and one of the two is positive.
    """
    if not (0 < factor < 1 and 0 <= rtol <= 1 and 0 <= atol and rtol + atol > 0):
        raise ValueError(message("optim.reduce_on_plateau: bad settings", f"factor={factor}, rtol={rtol}, atol={atol}",
                                 "0 < factor < 1, 0 <= rtol <= 1, 0 <= atol, and one of rtol and atol positive"))

    def init(params: Any) -> ReduceLROnPlateauState:
        kinds = [dtypes.real_dtype(fnp.result_type(leaf)) for leaf in tree.leaves(params)]
        lowest, highest = min(kinds, key=lambda d: d.itemsize), max(kinds, key=lambda d: d.itemsize)
        return ReduceLROnPlateauState(fnp.ones((), lowest), fnp.full((), np.inf, highest), no_steps(), no_steps(), no_steps(),
                                      fnp.zeros((), highest))

    def judged(state: ReduceLROnPlateauState) -> ReduceLROnPlateauState:
        better = state.avg_value < (1 - rtol) * state.best_value - atol
        bad = fnp.where(better, 0, increment(state.plateau_count))
        waiting = state.cooldown_count > 0
        reduce = (bad == patience) & ~waiting
        lower = fnp.maximum(fnp.where(reduce, state.scale * factor, state.scale), min_scale)
        return ReduceLROnPlateauState(
            fnp.where(waiting, state.scale, lower).astype(state.scale.dtype),
            fnp.where(better, state.avg_value, state.best_value),
            fnp.where(reduce | waiting, 0, bad).astype(np.int32),
            fnp.where(waiting, state.cooldown_count - 1, fnp.where(reduce, cooldown, 0)).astype(np.int32),
            no_steps(), fnp.zeros_like(state.avg_value))

    def update(updates: Any, state: ReduceLROnPlateauState, params: Any = None, *, value: Any, **extra: Any
               ) -> tuple[Any, ReduceLROnPlateauState]:
        count, dtype = increment(state.count), state.avg_value.dtype
        mean = (state.count * state.avg_value + fnp.asarray(value, dtype)) / count
        state = state._replace(count=count, avg_value=mean.astype(dtype))
        state = lax.cond(count == accumulation_size, judged, lambda s: s, state)
        return tree.map(lambda g: state.scale * g, updates), state

    return GradientTransformationExtraArgs(init, update)
