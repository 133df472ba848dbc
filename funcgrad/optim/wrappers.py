"""Transformations around others: for a part of the parameters, every so many steps, only if finite.

In: transformations, masks, labels. Out: transformations (``base.py``). Masks and labels are trees of bools or of labels like
the parameters, or with one leaf for a whole subtree, or functions that make such a tree from the parameters; ``by_path`` makes
such a function from one of the path.

    >>> labels = by_path(lambda path: "fast" if "bias" in path else "slow")
    >>> optimizer = partition({"slow": fg.optim.sgd(0.1), "fast": fg.optim.sgd(1.0)}, labels)
    >>> params = {"dense": {"weight": fnp.ones(1), "bias": fnp.ones(1)}}
    >>> optimizer.update(params, optimizer.init(params), params)[0]
    {'dense': {'weight': Array([-0.1], dtype=float64), 'bias': Array([-1.], dtype=float64)}}
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes, lax, tree
from funcgrad.errors import message
from funcgrad.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    each,
    increment,
    like,
    named,
    no_steps,
    with_extra_args_support,
)


class MaskedNode(NamedTuple):
    """Stands for what a mask leaves out; a node without leaves."""


class MaskedState(NamedTuple):
    inner_state: Any


class PartitionState(NamedTuple):
    inner_states: Mapping[Hashable, Any]


class InjectHyperparamsState(NamedTuple):
    """The number of steps taken, the hyperparameters by name, and the state of what they belong to."""

    count: Any
    hyperparams: dict[str, Any]
    inner_state: Any


class MultiStepsState(NamedTuple):
    mini_step: Any
    gradient_step: Any
    inner_opt_state: Any
    acc_grads: Any
    skip_state: Any = ()


class ApplyIfFiniteState(NamedTuple):
    """How many updates in a row were not finite, whether the last one was, how many were not, and the inner state."""

    notfinite_count: Any
    last_finite: Any
    total_notfinite: Any
    inner_state: Any


class LookaheadState(NamedTuple):
    fast_state: Any
    steps_since_sync: Any


class LookaheadParams(NamedTuple):
    """The parameters that the optimiser moves, and those that follow it."""

    fast: Any
    slow: Any

    @classmethod
    def init_synced(cls, params: Any) -> LookaheadParams:
        """Both the same."""
        return cls(fast=params, slow=params)


# ---------------------------------------------------------------- parts of the parameters


def by_path(f: Callable[[str], Any]) -> Callable[[Any], Any]:
    """From a function of paths such as ``"blocks/0/weight"`` to one of trees, which makes a mask or labels.

    >>> by_path(lambda path: path.endswith("weight"))({"dense": {"weight": 0.0, "bias": 0.0}})
    {'dense': {'weight': True, 'bias': False}}
    """
    return lambda params: tree.map_with_path(lambda path, _: f(named(path)), params)


def masked(inner: GradientTransformation, mask: Any, *,
           mask_compatible_extra_args: bool = False) -> GradientTransformationExtraArgs:
    """``inner`` for the leaves whose mask is true; the others pass unchanged.

    ``mask_compatible_extra_args`` masks those keyword arguments of ``update`` too that are trees like the updates. Raises
    ValueError for a mask of another structure.
    """
    inner = with_extra_args_support(inner)

    def init(params: Any) -> MaskedState:
        return MaskedState(inner.init(_kept(_resolved(mask, params), params)))

    def update(updates: Any, state: MaskedState, params: Any = None, **extra: Any) -> tuple[Any, MaskedState]:
        chosen = _resolved(mask, updates)
        if mask_compatible_extra_args:
            structure = tree.structure(updates)
            extra = {k: _kept(chosen, v) if tree.structure(v) == structure else v for k, v in extra.items()}
        params = None if params is None else _kept(chosen, params)
        new, inner_state = inner.update(_kept(chosen, updates), state.inner_state, params, **extra)
        return tree.map(lambda m, u, v: u if m else v, chosen, new, updates), MaskedState(inner_state)

    return GradientTransformationExtraArgs(init, update)


def _resolved(mask: Any, params: Any) -> Any:
    return mask(params) if callable(mask) else mask


def _kept(mask: Any, x: Any) -> Any:
    try:
        tree.broadcast_prefix(mask, x)
    except ValueError as error:
        place = str(error).partition("differs in ")[2].partition("\n")[0]
        raise ValueError(message("optim.masked: the mask does not fit the parameters", f"another {place}",
                                 "a tree like the parameters, or with one bool for a whole subtree",
                                 "a function of the parameters, such as optim.by_path(lambda path: ...)")) from None
    return tree.map(lambda m, part: part if m else MaskedNode(), mask, x)


def partition(transforms: Mapping[Hashable, GradientTransformation], param_labels: Any, *,
              mask_compatible_extra_args: bool = False) -> GradientTransformationExtraArgs:
    """For each label a transformation of its own; ``param_labels`` says which leaf has which (see the module).

    Raises ValueError, when ``init`` is called, for labels without a transformation.
    """
    def has(label: Hashable) -> Callable[[Any], Any]:
        return lambda params: tree.map(lambda x: x == label, _resolved(param_labels, params))

    parts = {label: masked(part, has(label), mask_compatible_extra_args=mask_compatible_extra_args)
             for label, part in transforms.items()}

    def init(params: Any) -> PartitionState:
        unknown = [f"{named(path) or 'all'}: {label!r}" for path, label in
                   tree.leaves_with_path(_resolved(param_labels, params)) if label not in parts]
        if unknown:
            raise ValueError(message("optim.partition: labels without a transformation", "; ".join(unknown[:8]),
                                     ", ".join(map(repr, parts))))
        return PartitionState({label: part.init(params) for label, part in parts.items()})

    def update(updates: Any, state: PartitionState, params: Any = None, **extra: Any) -> tuple[Any, PartitionState]:
        states = {}
        for label, part in parts.items():
            updates, states[label] = part.update(updates, state.inner_states[label], params, **extra)
        return updates, PartitionState(states)

    return GradientTransformationExtraArgs(init, update)


multi_transform = partition


# ---------------------------------------------------------------- hyperparameters in the state


def inject_hyperparams(inner_factory: Callable[..., GradientTransformation], static_args: str | Iterable[str] = (),
                       hyperparam_dtype: Any = None) -> Callable[..., GradientTransformationExtraArgs]:
    """The optimiser's numbers become part of its state, so that they can be changed, batched and differentiated.

    Call the result as ``inner_factory``; ``state.hyperparams`` is a dict of its numbers and of the current values of its
    schedules. ``static_args`` names arguments that stay as they are; bools, strings and None do anyway. The dtype is
    ``hyperparam_dtype``, or the widest of the parameters.

    >>> optimizer = inject_hyperparams(fg.optim.sgd)(0.5)
    >>> state = optimizer.init(fnp.zeros(2))
    >>> state.hyperparams["learning_rate"] = fnp.asarray(3.0)
    >>> optimizer.update(fnp.ones(2), state)[0]
    Array([-3., -3.], dtype=float64)
    """
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    if not static <= set(signature.parameters):
        raise ValueError(message("optim.inject_hyperparams: static_args must be names of arguments", ", ".join(sorted(static)),
                                 ", ".join(signature.parameters)))

    @functools.wraps(inner_factory)
    def factory(*args: Any, **kwargs: Any) -> GradientTransformationExtraArgs:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        schedules, given, fixed = {}, {}, {}
        for name, value in bound.arguments.items():
            if name in static or isinstance(value, bool | str) or value is None:
                fixed[name] = value
            elif callable(value):
                schedules[name] = value
            elif tree.structure(value) == tree.LEAF:
                given[name] = value
            else:
                fixed[name] = value

        def inner(hyperparams: dict[str, Any]) -> GradientTransformationExtraArgs:
            return with_extra_args_support(inner_factory(**fixed, **hyperparams))

        def init(params: Any) -> InjectHyperparamsState:
            kinds = [dtypes.real_dtype(fnp.result_type(leaf)) for leaf in tree.leaves(params)]
            dtype = hyperparam_dtype or max(kinds, key=lambda d: d.itemsize, default=np.float64)
            count = no_steps()
            values = {**given, **{name: schedule(count) for name, schedule in schedules.items()}}
            values = {name: fnp.asarray(v, dtype if dtypes.is_inexact(fnp.result_type(v)) else None)
                      for name, v in values.items()}
            inner_factory(**fixed, **schedules, **given)  # numbers that are wrong raise here, where they are known
            return InjectHyperparamsState(count, values, inner(values).init(params))

        def update(updates: Any, state: InjectHyperparamsState, params: Any = None, **extra: Any
                   ) -> tuple[Any, InjectHyperparamsState]:
            values = dict(state.hyperparams)
            for name, schedule in schedules.items():
                values[name] = fnp.asarray(schedule(state.count), values[name].dtype)
            new, inner_state = inner(values).update(updates, state.inner_state, params, **extra)
            # Numbers in the state have one dtype, and would widen what belongs to narrower parameters.
            inner_state = like(inner_state, state.inner_state)
            return like(new, updates), InjectHyperparamsState(increment(state.count), values, inner_state)

        return GradientTransformationExtraArgs(init, update)

    return factory


# ---------------------------------------------------------------- some of the steps


class MultiSteps:
    """Gradient accumulation: ``opt`` makes a step with the mean of every k gradients; in between, updates are zero.

    ``every_k_schedule`` is k, or a function of the steps made so far. ``use_grad_mean=False`` takes the sum.
    ``should_skip_update_fn(updates, gradient_step, params)`` returns whether to leave a gradient out, and what to remember
    of that (``skip_not_finite``, ``skip_large_updates``). Gradients are accumulated in ``accumulator_dtype``, by default
    theirs, and float32 for narrower ones.
    """

    def __init__(self, opt: GradientTransformation, every_k_schedule: int | Callable[[Any], Any], use_grad_mean: bool = True,
                 should_skip_update_fn: Callable | None = None, accumulator_dtype: Any = None):
        if not callable(every_k_schedule) and every_k_schedule < 1:
            raise ValueError(message("optim.MultiSteps: every_k_schedule must be at least 1", every_k_schedule))
        self._opt = with_extra_args_support(opt)
        self._every_k = every_k_schedule if callable(every_k_schedule) else lambda step: every_k_schedule
        self._use_grad_mean, self._dtype = use_grad_mean, accumulator_dtype
        self._skip = should_skip_update_fn or (lambda updates, step, params: (fnp.asarray(False), ()))

    @property
    def inner_opt(self) -> GradientTransformationExtraArgs:
        """What makes the steps."""
        return self._opt

    def init(self, params: Any) -> MultiStepsState:
        """The state before the first gradient."""
        def nothing(p: Any) -> Any:
            return fnp.zeros_like(p, dtype=self._dtype or fnp.promote_types(fnp.result_type(p), np.float32))

        _, skipped = self._skip(tree.map(fnp.zeros_like, params), no_steps(), params)
        return MultiStepsState(no_steps(), no_steps(), self._opt.init(params), tree.map(nothing, params), skipped)

    def update(self, updates: Any, state: MultiStepsState, params: Any = None, **extra: Any) -> tuple[Any, MultiStepsState]:
        """Takes a gradient; the updates are zero but for every k-th."""
        skip, skipped = self._skip(updates, state.gradient_step, params)

        def add(g: Any, mean: Any) -> Any:
            return (mean + (g - mean) / (state.mini_step + 1) if self._use_grad_mean else mean + g).astype(mean.dtype)

        total = each(lambda g, a: fnp.where(skip, a, add(g, a)), updates, state.acc_grads)
        mini_step = fnp.where(skip, state.mini_step, increment(state.mini_step))
        full = ~skip & (mini_step == self._every_k(state.gradient_step))

        def step(total: Any, inner: Any) -> tuple[Any, Any, Any]:
            new, following = self._opt.update(like(total, updates), inner, params, **extra)
            return like(new, updates), like(following, inner), tree.map(fnp.zeros_like, total)

        def wait(total: Any, inner: Any) -> tuple[Any, Any, Any]:
            return tree.map(fnp.zeros_like, updates), inner, total

        new, inner, total = lax.cond(full, step, wait, total, state.inner_opt_state)
        return new, MultiStepsState(fnp.where(full, 0, mini_step).astype(np.int32),
                                    state.gradient_step + full.astype(np.int32), inner, total, skipped)

    def has_updated(self, state: MultiStepsState) -> Any:
        """Whether the last update made a step."""
        return (state.mini_step == 0) & (state.gradient_step > 0)

    def gradient_transformation(self) -> GradientTransformationExtraArgs:
        """The pair of functions."""
        return GradientTransformationExtraArgs(self.init, self.update)


def all_finite(updates: Any) -> Any:
    """Whether no element of a tree is NaN or infinite."""
    return functools.reduce(fnp.logical_and, [fnp.all(fnp.isfinite(g)) for g in tree.leaves(updates)], fnp.asarray(True))


def skip_not_finite(updates: Any, gradient_step: Any, params: Any) -> tuple[Any, dict[str, Any]]:
    """For ``MultiSteps``: leaves out gradients with a NaN or an infinity."""
    bad = sum([fnp.sum(~fnp.isfinite(g)) for g in tree.leaves(updates)])
    return bad > 0, {"should_skip": bad > 0, "num_not_finite": bad}


def skip_large_updates(updates: Any, gradient_step: Any, params: Any, max_squared_norm: Any) -> tuple[Any, dict[str, Any]]:
    """For ``MultiSteps``, with functools.partial: leaves out gradients of a larger squared norm, or with a NaN."""
    squared = sum([fnp.sum(g * g) for g in tree.leaves(updates)])
    skip = ~(squared < max_squared_norm)
    return skip, {"should_skip": skip, "norm_squared": squared}


def apply_if_finite(inner: GradientTransformation, max_consecutive_errors: int) -> GradientTransformationExtraArgs:
    """``inner`` when all updates are finite; else zero updates and the state as it was.

    After more than ``max_consecutive_errors`` in a row they are let through, so that the error is seen.
    """
    inner = with_extra_args_support(inner)

    def init(params: Any) -> ApplyIfFiniteState:
        return ApplyIfFiniteState(no_steps(), fnp.asarray(True), no_steps(), inner.init(params))

    def update(updates: Any, state: ApplyIfFiniteState, params: Any = None, **extra: Any) -> tuple[Any, ApplyIfFiniteState]:
        finite = all_finite(updates)
        count = fnp.where(finite, 0, increment(state.notfinite_count)).astype(np.int32)

        def step(g: Any, inner_state: Any) -> tuple[Any, Any]:
            new, following = inner.update(g, inner_state, params, **extra)
            return like(new, g), like(following, inner_state)

        updates, inner_state = lax.cond(finite | (count > max_consecutive_errors), step,
                                        lambda g, s: (tree.map(fnp.zeros_like, g), s), updates, state.inner_state)
        total = fnp.where(finite, state.total_notfinite, increment(state.total_notfinite)).astype(np.int32)
        return updates, ApplyIfFiniteState(count, finite, total, inner_state)

    return GradientTransformationExtraArgs(init, update)


# ---------------------------------------------------------------- averages of parameters


def incremental_update(new_tensors: Any, old_tensors: Any, step_size: Any) -> Any:
    """``step_size * new + (1 - step_size) * old``: a running mean, such as that of a target network."""
    return each(lambda new, old: step_size * new + (1 - step_size) * old, new_tensors, old_tensors,
                names=("new_tensors", "old_tensors"))


def periodic_update(new_tensors: Any, old_tensors: Any, steps: Any, update_period: int) -> Any:
    """``new_tensors`` in each ``update_period``-th step, else ``old_tensors``."""
    return lax.cond(steps % update_period == 0, lambda new, old: new, lambda new, old: old, new_tensors, old_tensors)


def lookahead(fast_optimizer: GradientTransformation, sync_period: int, slow_step_size: Any,
              reset_state: bool = False) -> GradientTransformation:
    """After ``sync_period`` steps, slow parameters go the share ``slow_step_size`` of the way, and the fast ones back to them.

    Parameters and updates are ``LookaheadParams``; gradients are those of the fast ones. ``reset_state`` makes the
    optimiser begin anew there. Zhang et al. 2019, arXiv:1907.08610. Raises ValueError for a period below 1.
    """
    if sync_period < 1:
        raise ValueError(message("optim.lookahead: sync_period must be at least 1", sync_period))

    def init(params: LookaheadParams) -> LookaheadState:
        return LookaheadState(fast_optimizer.init(_synced(params).fast), no_steps())

    def update(updates: Any, state: LookaheadState, params: LookaheadParams | None = None
               ) -> tuple[LookaheadParams, LookaheadState]:
        fast, slow = _synced(params)
        updates, fast_state = fast_optimizer.update(updates, state.fast_state, fast)
        now = state.steps_since_sync == sync_period - 1
        moved = tree.map(lambda f, u, s: fnp.where(now, f + u - s, 0), fast, updates, slow)
        if reset_state:
            fast_state = tree.map(lambda new, old: fnp.where(now, new, old), fast_optimizer.init(fast), fast_state)
        pair = LookaheadParams(tree.map(lambda u, d: u - (1 - slow_step_size) * d, updates, moved),
                               tree.map(lambda d: slow_step_size * d, moved))
        return pair, LookaheadState(fast_state, (state.steps_since_sync + 1) % sync_period)

    return GradientTransformation(init, update)


def _synced(params: Any) -> LookaheadParams:
    if not isinstance(params, LookaheadParams):
        raise TypeError(message("optim.lookahead: two sets of parameters are needed", type(params).__name__, "LookaheadParams",
                                "optim.LookaheadParams.init_synced(params)"))
    return params
