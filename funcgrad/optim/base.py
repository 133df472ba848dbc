"""What a gradient transformation is, how several follow each other, and what all of them share.

In: pairs of pure functions

    init(params) -> state            update(updates, state, params=None, **extra) -> (updates, state)

where the updates are a tree like the parameters: gradients at first, at the end what is added to the parameters. The state is a
tree of arrays, so that both functions can be compiled, batched, differentiated, and the state saved. Out: such pairs.

    optimizer = chain(clip_by_global_norm(1.0), scale_by_adam(), scale_by_learning_rate(1e-3))
    state = optimizer.init(params)
    updates, state = optimizer.update(gradient, state, params)
    params = apply_updates(params, updates)
"""
from __future__ import annotations

import inspect
import math
import numbers
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes, tree
from funcgrad.errors import message

Schedule = Callable[[Any], Any]
"""A function of the number of steps taken so far."""
Rate = Any
"""A number or a schedule."""
LARGEST_COUNT = np.iinfo(np.int32).max


class GradientTransformation(NamedTuple):
    """A pair of functions; see the module."""

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


class GradientTransformationExtraArgs(GradientTransformation):
    """One whose ``update`` takes any keyword arguments, such as ``value=`` and ``value_fn=`` of a line search."""


class EmptyState(NamedTuple):
    """The state of a transformation that remembers nothing."""


class ScaleByScheduleState(NamedTuple):
    """The number of steps taken."""

    count: Any


# ---------------------------------------------------------------- combinations


def with_extra_args_support(transformation: GradientTransformation) -> GradientTransformationExtraArgs:
    """The same transformation, whose ``update`` ignores keyword arguments that it does not know.

    Raises TypeError for what is none, such as a function that makes one.
    """
    if isinstance(transformation, GradientTransformationExtraArgs):
        return transformation
    if not hasattr(transformation, "init") or not hasattr(transformation, "update"):
        raise TypeError(message("optim: not an optimiser", f"{transformation!r} of type {type(transformation).__name__}",
                                "a pair init, update", "a call that makes one, such as optim.adam(1e-3)"))
    parameters = inspect.signature(transformation.update).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return GradientTransformationExtraArgs(transformation.init, transformation.update)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        return transformation.update(updates, state, params)

    return GradientTransformationExtraArgs(transformation.init, update)


def chain(*args: GradientTransformation) -> GradientTransformationExtraArgs:
    """Transformations one after the other; the state is a tuple of theirs.

    >>> optimizer = chain(scale(0.5), scale(-0.1))
    >>> optimizer.update(fnp.array([3.0, 0.5]), optimizer.init(fnp.zeros(2)))[0]
    Array([-0.15 , -0.025], dtype=float64)
    """
    parts = [with_extra_args_support(part) for part in args]

    def init(params: Any) -> tuple:
        return tuple([part.init(params) for part in parts])

    def update(updates: Any, state: tuple, params: Any = None, **extra: Any) -> tuple[Any, tuple]:
        if not isinstance(state, tuple) or len(state) != len(parts):
            raise ValueError(message("optim.chain: the state is not that of this chain", _size(state),
                                     f"a tuple of {len(parts)}",
                                     "state = optimizer.init(params), or what the last update returned"))
        states = []
        for part, part_state in zip(parts, state):
            updates, part_state = part.update(updates, part_state, params, **extra)
            states.append(part_state)
        return updates, tuple(states)

    return GradientTransformationExtraArgs(init, update)


def named_chain(*args: tuple[str, GradientTransformation]) -> GradientTransformationExtraArgs:
    """As ``chain``, of pairs (name, transformation); the state is an OrderedDict by name.

    Raises ValueError if a name occurs twice.
    """
    names = [name for name, _ in args]
    if len(set(names)) != len(names):
        raise ValueError(message("optim.named_chain: each name may occur once", names, "different names"))
    inner = chain(*[part for _, part in args])

    def init(params: Any) -> OrderedDict:
        return OrderedDict(zip(names, inner.init(params)))

    def update(updates: Any, state: OrderedDict, params: Any = None, **extra: Any) -> tuple[Any, OrderedDict]:
        updates, states = inner.update(updates, tuple([state[name] for name in names]), params, **extra)
        return updates, OrderedDict(zip(names, states))

    return GradientTransformationExtraArgs(init, update)


def stateless(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    """A transformation without state, from ``f(updates, params) -> updates``."""

    def update(updates: Any, state: EmptyState, params: Any = None) -> tuple[Any, EmptyState]:
        return f(updates, params), state

    return GradientTransformation(no_state, update)


def stateless_with_tree_map(f: Callable[[Any, Any], Any]) -> GradientTransformation:
    """A transformation without state, from ``f(update, param) -> update`` on leaves; it needs ``params``."""
    return stateless(lambda updates, params: each(f, updates, needed(params, "stateless_with_tree_map")))


def identity() -> GradientTransformation:
    """Changes nothing."""
    return stateless(lambda updates, params: updates)


def set_to_zero() -> GradientTransformation:
    """Zero updates: what they are applied to stays as it is."""
    return stateless(lambda updates, params: tree.map(fnp.zeros_like, updates))


def scale(step_size: Any) -> GradientTransformation:
    """The updates times a number."""
    return stateless(lambda updates, params: each(lambda g: step_size * g, updates))


def scale_by_schedule(step_size_fn: Schedule) -> GradientTransformation:
    """The updates times what the schedule says for the number of steps taken."""

    def update(updates: Any, state: ScaleByScheduleState, params: Any = None) -> tuple[Any, ScaleByScheduleState]:
        step_size = step_size_fn(state.count)
        return (each(lambda g: fnp.asarray(step_size, fnp.result_type(g)) * g, updates),
                ScaleByScheduleState(increment(state.count)))

    return GradientTransformation(lambda params: ScaleByScheduleState(no_steps()), update)


def scale_by_learning_rate(learning_rate: Rate | None, *, flip_sign: bool = True) -> GradientTransformation:
    """The updates times -learning_rate (``flip_sign=False``: times learning_rate), a number or a schedule.

    Raises ValueError for a number that is negative, infinite or NaN. None changes nothing.
    """
    sign = -1 if flip_sign else 1
    if learning_rate is None:
        return identity()
    if callable(learning_rate):
        return scale_by_schedule(lambda count: sign * learning_rate(count))
    at_least_zero("the learning rate", learning_rate, "a positive number, such as 1e-3, or a schedule, such as "
                  "optim.cosine_decay_schedule(1e-3, 1000)")
    return scale(sign * learning_rate)


def apply_updates(params: Any, updates: Any) -> Any:
    """``params + updates``, leaf by leaf, in the dtypes of the parameters.

    Raises ValueError if the two trees differ, TypeError for an integer parameter whose update is not an integer.

    >>> apply_updates({"w": fnp.array([1.0, 2.0])}, {"w": fnp.array([0.5, -2.0])})
    {'w': Array([1.5, 0. ], dtype=float64)}
    """
    def add(p: Any, u: Any) -> Any:
        p = fnp.asarray(p)
        if u.dtype == dtypes.float0:
            return p
        if not dtypes.is_inexact(p.dtype) and dtypes.is_inexact(u.dtype):
            raise TypeError(_untrainable("apply_updates", params))
        return (p + u).astype(p.dtype)

    return each(add, params, updates, names=("params", "updates"))


# ---------------------------------------------------------------- what transformations share


def no_state(params: Any) -> EmptyState:
    """The ``init`` of a transformation without state."""
    return EmptyState()


def no_steps() -> Any:
    return fnp.zeros((), np.int32)


def increment(count: Any) -> Any:
    """count + 1, which stops at the largest int32."""
    return fnp.minimum(count, LARGEST_COUNT - 1) + 1


def each(f: Callable, updates: Any, *others: Any, names: tuple[str, ...] = ("the updates", "what they belong to")) -> Any:
    """``f`` on the leaves of trees of one structure with equal shapes; raises ValueError with the paths that differ."""
    def on_leaf(g: Any, *rest: Any) -> Any:
        shape = fnp.shape(g)
        for x in rest:
            if fnp.shape(x) != shape:
                raise ValueError
        return f(g, *rest)

    try:
        return tree.map(on_leaf, updates, *others)
    except ValueError:
        for other in others:
            _check_alike(updates, other, names)
        raise


def _check_alike(updates: Any, other: Any, names: tuple[str, ...]) -> None:
    found, expected = _shapes(updates), _shapes(other)
    lines = [f"{path}: {found.get(path, 'missing')}, where {names[-1]} has {expected.get(path, 'nothing')}"
             for path in {**expected, **found} if found.get(path) != expected.get(path)]
    if lines:
        more = f"; and {len(lines) - 8} more" if len(lines) > 8 else ""
        raise ValueError(message(f"optim: {names[0]} and {names[-1]} are different trees", "; ".join(lines[:8]) + more,
                                 "one structure, and equal shapes",
                                 "pass the gradient in these very parameters, and state = optimizer.init(params)"))


def _shapes(x: Any) -> dict[str, str]:
    return {named(path): f"shape {fnp.shape(leaf)}" for path, leaf in tree.leaves_with_path(x)}


def named(path: tree.KeyPath) -> str:
    """A key path as text, such as ``blocks/0/weight``."""
    return tree.keystr(path, simple=True, separator="/")


def _size(state: Any) -> str:
    return f"a tuple of {len(state)}" if type(state) is tuple else type(state).__name__


def needed(params: Any, who: str) -> Any:
    """``params``, which must not be None."""
    if params is None:
        raise ValueError(message(f"optim.{who}: the update needs the parameters", "params=None", None,
                                 "optimizer.update(gradient, state, params)"))
    return params


def trainable(params: Any, who: str) -> None:
    """Raises TypeError if a parameter has no gradient: an integer or a bool."""
    if not all([dtypes.is_inexact(fnp.result_type(leaf)) for leaf in tree.leaves(params)]):
        raise TypeError(_untrainable(who, params))


def _untrainable(who: str, params: Any) -> str:
    found = [f"{named(path)}: {fnp.result_type(leaf)}" for path, leaf in tree.leaves_with_path(params)
             if not dtypes.is_inexact(fnp.result_type(leaf))]
    return message(f"optim.{who}: integers are not trained", "; ".join(found[:8]), "floating point or complex parameters",
                   "keep them out of params, or mask them: optim.masked(optimizer, mask)")


def zeros(params: Any, who: str, dtype: Any = None, fill: Any = 0) -> Any:
    """A tree of zeros, or of ``fill``, like the parameters. Raises TypeError for integers."""
    trainable(params, who)
    return tree.map(lambda p: fnp.full_like(p, fill, dtype=dtype), params)


def like(new: Any, old: Any) -> Any:
    """A tree in the dtypes of another one."""
    return tree.map(lambda a, b: a.astype(b.dtype), new, old)


def square(x: Any) -> Any:
    """``|x|**2``."""
    return x.real * x.real + x.imag * x.imag if dtypes.kind(fnp.result_type(x)) == "c" else x * x


def norm_of(x: Any, least: Any = 0.0) -> Any:
    """The 2-norm of an array, at least ``least``; its derivative is 0 where that holds it up, at x = 0 too."""
    total = fnp.sum(square(x))
    large = total > least * least
    return fnp.where(large, fnp.sqrt(fnp.where(large, total, 1)), least)


def at_least_zero(what: str, value: Any, instead: str) -> None:
    """Raises ValueError for a number that is negative, infinite or NaN, TypeError for no number; arrays are not looked at."""
    if not isinstance(value, numbers.Real) and not hasattr(value, "dtype"):
        raise TypeError(message(f"optim: {what} must be a number", f"{value!r} of type {type(value).__name__}", None, instead))
    if isinstance(value, numbers.Real) and not 0 <= value < math.inf:
        raise ValueError(message(f"optim: {what} must be a number of at least 0", repr(value), None, instead))
