"""Line searches: how far to go in the direction of the updates.

In: updates that lead downhill, and to ``update`` the keyword arguments ``value_fn``, the function, and its ``value`` and
``grad`` at the parameters; further ones are passed to ``value_fn`` under their names. Out: the updates times a step size, and a
state with value and gradient at the new parameters, which ``value_and_grad_from_state`` takes instead of computing them again.
A search is a loop until a condition holds: forward mode differentiates it, reverse mode does not.

    >>> def f(x): return fnp.sum(x ** 2)
    >>> search, x = scale_by_backtracking_linesearch(max_backtracking_steps=15), fnp.array([2.0])
    >>> updates, state = search.update(-10 * x, search.init(x), x, value=f(x), grad=2 * x, value_fn=f)
    >>> bool(f(x + updates) < f(x))
    True
"""
from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes, lax, tree
from funcgrad.errors import message
from funcgrad.optim.base import GradientTransformationExtraArgs, each, like, needed, no_steps, zeros
from funcgrad.transforms.derivatives import value_and_grad


class BacktrackingLinesearchInfo(NamedTuple):
    num_linesearch_steps: Any
    decrease_error: Any


class ScaleByBacktrackingLinesearchState(NamedTuple):
    learning_rate: Any
    value: Any
    grad: Any
    info: Any


class ZoomLinesearchInfo(NamedTuple):
    num_linesearch_steps: Any
    decrease_error: Any
    curvature_error: Any


class ScaleByZoomLinesearchState(NamedTuple):
    learning_rate: Any
    value: Any
    grad: Any
    info: Any


def value_and_grad_from_state(value_fn: Callable) -> Callable[..., tuple[Any, Any]]:
    """As ``fg.value_and_grad(value_fn)``, called with ``state=`` too: what the line search has found is not computed again.

    Raises ValueError if no line search is in the state, or one that keeps no gradient.
    """
    def from_state(params: Any, *args: Any, state: Any, **kwargs: Any) -> tuple[Any, Any]:
        kinds = ScaleByBacktrackingLinesearchState, ScaleByZoomLinesearchState
        searches = [x for x in tree.leaves(state, is_leaf=lambda x: isinstance(x, kinds)) if isinstance(x, kinds)]
        if not searches or searches[0].grad is None:
            raise ValueError(message("optim.value_and_grad_from_state: the state has no value and gradient",
                                     type(state).__name__, "the state of a line search",
                                     "store_grad=True, or fg.value_and_grad(value_fn)(params)"))
        found = searches[0]
        return lax.cond(fnp.isfinite(found.value), lambda p: (found.value, found.grad),
                        lambda p: _as_found(value_and_grad(value_fn)(p, *args, **kwargs), found), params)

    return from_state


def _as_found(result: tuple[Any, Any], found: Any) -> tuple[Any, Any]:
    return like(result, (found.value, found.grad))


def _arguments_of(value_fn: Callable, extra: dict[str, Any], who: str) -> dict[str, Any]:
    names = inspect.signature(value_fn).parameters
    rest = [] if any([p.kind is p.VAR_KEYWORD for p in names.values()]) else [name for name in extra if name not in names]
    if rest:
        raise TypeError(message(f"optim.{who}: value_fn does not take all keyword arguments of update", ", ".join(rest),
                                f"some of {', '.join(names)}"))
    return extra


def _value_dtype(params: Any) -> np.dtype:
    """The dtype of values and step sizes."""
    return dtypes.real_dtype(fnp.result_type(tree.leaves(params)[0]))


def _slope(grad: Any, updates: Any, dtype: Any) -> Any:
    """The derivative of the function along the updates."""
    return sum(tree.leaves(each(lambda u, g: fnp.sum(fnp.real(g * u)), updates, grad))).astype(dtype)


def _moved(params: Any, step: Any, updates: Any) -> Any:
    return tree.map(lambda p, u: p + step.astype(u.dtype) * u, params, updates)


def _select(condition: Any, x: Any, y: Any) -> Any:
    return tree.map(lambda a, b: fnp.where(condition, a, b), x, y)


def _error(excess: Any) -> Any:
    """By how much a condition is violated; infinite for NaN."""
    return fnp.where(fnp.isnan(excess), np.inf, fnp.maximum(excess, 0))


# ---------------------------------------------------------------- backtracking


def scale_by_backtracking_linesearch(max_backtracking_steps: int, slope_rtol: Any = 1e-4, decrease_factor: Any = 0.8,
                                     increase_factor: Any = 1.5, max_learning_rate: Any = 1.0, atol: Any = 0.0, rtol: Any = 0.0,
                                     store_grad: bool = False) -> GradientTransformationExtraArgs:
    """Shorter and shorter steps until the function has decreased enough (Armijo's condition).

    Enough is ``f(p + s u) <= (1 + rtol) f(p) + slope_rtol * s * slope + atol``. The first step is ``increase_factor`` times
    the last one, at most ``max_learning_rate``; each further one ``decrease_factor`` times the one before. ``store_grad``
    keeps the gradient for ``value_and_grad_from_state``. Where only infinite values or NaN were found, the step is 0.
    """

    def init(params: Any) -> ScaleByBacktrackingLinesearchState:
        infinite = fnp.full((), np.inf, _value_dtype(params))
        grad = zeros(params, "scale_by_backtracking_linesearch") if store_grad else None
        return ScaleByBacktrackingLinesearchState(fnp.ones_like(infinite), infinite, grad,
                                                  BacktrackingLinesearchInfo(no_steps(), infinite))

    def update(updates: Any, state: ScaleByBacktrackingLinesearchState, params: Any = None, *, value: Any, grad: Any,
               value_fn: Callable, **extra: Any) -> tuple[Any, ScaleByBacktrackingLinesearchState]:
        params = needed(params, "scale_by_backtracking_linesearch")
        arguments, dtype = _arguments_of(value_fn, extra, "scale_by_backtracking_linesearch"), state.value.dtype
        slope, value = _slope(grad, updates, dtype), fnp.asarray(value, dtype)

        def shorter(search: tuple) -> tuple:
            step, _, _, count = search
            step = fnp.where(count > 0, decrease_factor * step, step).astype(dtype)
            found = value_fn(_moved(params, step, updates), **arguments).astype(dtype)
            return step, found, _error(found - (1 + rtol) * value - slope_rtol * step * slope).astype(dtype), count + 1

        step, found, error, count = lax.while_loop(
            lambda search: ~(search[2] <= atol) & (search[3] <= max_backtracking_steps), shorter,
            (fnp.minimum(increase_factor * state.learning_rate, max_learning_rate).astype(dtype), value,
             fnp.full((), np.inf, dtype), no_steps()))
        step = fnp.where(fnp.isinf(error), 0, step)
        new_grad = None
        if store_grad:
            new_grad = like(value_and_grad(value_fn)(_moved(params, step, updates), **arguments)[1], state.grad)
        return (tree.map(lambda u: step.astype(u.dtype) * u, updates),
                ScaleByBacktrackingLinesearchState(step, found, new_grad, BacktrackingLinesearchInfo(count, error)))

    return GradientTransformationExtraArgs(init, update)


# ---------------------------------------------------------------- zoom


class _Point(NamedTuple):
    """A step size with the value and the slope there."""

    step: Any
    value: Any
    slope: Any


class _Search(NamedTuple):
    """``trial`` is the point looked at last; a good one lies between ``low``, the lower end by value, and ``high``.

    ``third`` is the end that was given up last. ``safe`` has decreased enough, if its step is not 0.
    """

    count: Any
    trial: _Point
    grad: Any
    decrease_error: Any
    curvature_error: Any
    low: _Point
    high: _Point
    third: _Point
    safe: _Point
    safe_grad: Any
    found: Any
    done: Any
    failed: Any


def scale_by_zoom_linesearch(max_linesearch_steps: int, max_learning_rate: Any = None, tol: Any = 0.0,
                             increase_factor: Any = 2.0, slope_rtol: Any = 1e-4, curv_rtol: Any = 0.9,
                             approx_dec_rtol: Any = 1e-6, stepsize_precision: Any = 1e-5,
                             initial_guess_strategy: str = "keep") -> GradientTransformationExtraArgs:
    """A step that has decreased the function enough and ends where it is flat enough (Wolfe's strong conditions).

    The step grows by ``increase_factor`` until a good one lies behind, then the interval shrinks by interpolation: Nocedal and
    Wright, Numerical Optimization, algorithms 3.5 and 3.6. Enough is ``f <= f0 + slope_rtol * step * slope0`` or, close to a
    minimum (``approx_dec_rtol``), the condition on slopes of Hager and Zhang 2006, equation 23; flat is ``|slope| <=
    curv_rtol * |slope0|``. Where the interval is shorter than ``stepsize_precision``, or after ``max_linesearch_steps``, the
    best step that has decreased enough is taken. The first guess is 1 ("one") or the last step ("keep").
    """
    if initial_guess_strategy not in ("one", "keep"):
        raise ValueError(message("optim.scale_by_zoom_linesearch: the strategy is unknown", repr(initial_guess_strategy),
                                 "'one' or 'keep'"))

    def init(params: Any) -> ScaleByZoomLinesearchState:
        infinite = fnp.full((), np.inf, _value_dtype(params))
        return ScaleByZoomLinesearchState(fnp.ones_like(infinite), infinite, zeros(params, "scale_by_zoom_linesearch"),
                                          ZoomLinesearchInfo(no_steps(), infinite, infinite))

    def update(updates: Any, state: ScaleByZoomLinesearchState, params: Any = None, *, value: Any, grad: Any,
               value_fn: Callable, **extra: Any) -> tuple[Any, ScaleByZoomLinesearchState]:
        params = needed(params, "scale_by_zoom_linesearch")
        arguments, dtype = _arguments_of(value_fn, extra, "scale_by_zoom_linesearch"), state.value.dtype
        zero, no = fnp.zeros((), dtype), fnp.asarray(False)
        start = _Point(zero, fnp.asarray(value, dtype), _slope(grad, updates, dtype))
        guess = fnp.ones((), dtype) if initial_guess_strategy == "one" else state.learning_rate
        infinite, grad = fnp.full((), np.inf, dtype), like(grad, state.grad)

        def decrease_error(point: _Point) -> Any:
            excess = point.value - start.value - slope_rtol * point.step * start.slope
            if approx_dec_rtol is not None:
                close = fnp.maximum(point.slope - (2 * slope_rtol - 1) * start.slope,
                                    point.value - start.value - approx_dec_rtol * fnp.abs(start.value))
                excess = fnp.minimum(close, excess)
            return _error(excess)

        def further(s: _Search) -> _Search:
            longer = fnp.where(s.count == 0, guess, increase_factor * s.trial.step)
            largest = no if max_learning_rate is None else longer >= max_learning_rate
            if max_learning_rate is not None:
                longer = fnp.minimum(longer, max_learning_rate)
            step = fnp.where(s.found, _between(s.low, s.high, s.third), longer).astype(dtype)
            found, slopes = value_and_grad(value_fn)(_moved(params, step, updates), **arguments)
            slopes = like(slopes, s.grad)
            new = _Point(step, found.astype(dtype), _slope(slopes, updates, dtype))
            decrease, curvature = decrease_error(new), _error(fnp.abs(new.slope) - curv_rtol * fnp.abs(start.slope))
            good, decreased = fnp.maximum(decrease, curvature) <= tol, decrease <= tol
            safer = decreased & (~s.found | (new.value < s.safe.value))
            safe, safe_grad = _select(safer, (new, slopes), (s.safe, s.safe_grad))
            wide = _widened(s, new, decrease)
            ends = _select(s.found, _narrowed(s, new, decrease), wide[0])
            is_found = s.found | wide[1] | good
            done = good | (~s.found & largest & ~is_found)
            stuck = s.found & (fnp.abs(s.high.step - s.low.step) <= stepsize_precision) & (safe.step > 0)
            failed = ((s.count + 1 >= max_linesearch_steps) | stuck) & ~done
            return _Search(s.count + 1, new, slopes, decrease, curvature, *ends, safe, safe_grad, is_found, done, failed)

        s = lax.while_loop(lambda s: ~(s.done | s.failed), further, _Search(
            no_steps(), start, grad, infinite, infinite, start, start, start, start, grad, no, no, no))
        take_safe = s.failed & ((s.safe.step > 0) | fnp.isinf(s.decrease_error))
        end, new_grad = _select(take_safe, (s.safe, s.safe_grad), (s.trial, s.grad))
        return (tree.map(lambda u: end.step.astype(u.dtype) * u, updates), ScaleByZoomLinesearchState(
            end.step, end.value, new_grad, ZoomLinesearchInfo(s.count, s.decrease_error, s.curvature_error)))

    return GradientTransformationExtraArgs(init, update)


def _widened(s: _Search, new: _Point, decrease: Any) -> tuple[tuple[_Point, _Point, _Point], Any]:
    """While steps grow: the interval between the last two points, and whether a good step lies in it."""
    too_far = (decrease > 0) | ((new.value >= s.trial.value) & (s.count > 0))
    uphill = (new.slope >= 0) & ~too_far
    low, high = _select(uphill, (new, s.trial), (s.trial, new))
    return (low, high, low), too_far | uphill


def _narrowed(s: _Search, new: _Point, decrease: Any) -> tuple[_Point, _Point, _Point]:
    """The part of the interval with a good step, and the end that was given up."""
    worse = (decrease > 0) | (new.value >= s.low.value)
    turned = (new.slope * (s.high.step - s.low.step) >= 0) & ~worse
    low, high = _select(worse, (s.low, new), (new, _select(turned, s.low, s.high)))
    return low, high, _select(worse | turned, s.high, s.low)


def _between(low: _Point, high: _Point, third: _Point) -> Any:
    """Well inside of an interval: the minimum of a cubic through three points, of a parabola through two, or the middle."""
    width, left, right = fnp.abs(high.step - low.step), fnp.minimum(low.step, high.step), fnp.maximum(low.step, high.step)

    def inside(x: Any, share: float) -> Any:
        return (x > left + share * width) & (x < right - share * width)

    cubic, parabola = _cubic(low, high, third), _parabola(low, high)
    return fnp.where(inside(cubic, 0.2), cubic, fnp.where(inside(parabola, 0.1), parabola, (low.step + high.step) / 2))


def _cubic(low: _Point, high: _Point, third: _Point) -> Any:
    """Where the cubic with the value and slope of ``low`` and the values of the others has its minimum; NaN if it has none."""
    x, y = high.step - low.step, third.step - low.step
    p, q = high.value - low.value - low.slope * x, third.value - low.value - low.slope * y
    divisor = (x * y) ** 2 * (x - y)
    a, b = (y * y * p - x * x * q) / divisor, (x ** 3 * q - y ** 3 * p) / divisor
    return low.step + (-b + fnp.sqrt(b * b - 3 * a * low.slope)) / (3 * a)


def _parabola(low: _Point, high: _Point) -> Any:
    x = high.step - low.step
    return low.step - low.slope * x * x / (2 * (high.value - low.value - low.slope * x))
