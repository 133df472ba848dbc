"""Ordinary differential equations: ``odeint``, under the name and signature of jax.experimental.ode.

In: the right-hand side ``func(y, t, *args)``, a first state (a tree of arrays) and times. Out: the states at these times.
The steps are those of Dormand and Prince (J. Comput. Appl. Math. 6, 19, 1980), of order 5 with an error estimate of order 4.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> from funcgrad.experimental.ode import odeint
    >>> decay = lambda y, t, rate: -rate * y
    >>> last = lambda rate: odeint(decay, 1.0, fnp.array([0.0, 2.0]), rate)[-1]
    >>> round(float(fg.grad(last)(0.5)), 6), round(float(-2 * fnp.exp(-1.0)), 6)
    (-0.735759, -0.735759)

Derivatives to any order are those of the exact solution, from more equations solved to the same tolerances: forward mode
carries the tangent along, reverse mode solves the adjoint equation backwards, from output time to output time.
"""
from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from funcgrad import dtypes, lax
from funcgrad import numpy as fnp
from funcgrad.control.custom import custom_jvp
from funcgrad.control.linear_call import linear_call
from funcgrad.core.array import describe
from funcgrad.core.types import Zero
from funcgrad.errors import message
from funcgrad.flatten_util import ravel_pytree
from funcgrad.ops.promotion import inexact_arg
from funcgrad.transforms.arguments import flatten_args, function_name
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import check_callable, jvp, vjp
from funcgrad.transforms.staging import closure_convert
from funcgrad.tree import tree_leaves, tree_map, tree_structure, tree_unflatten

Field = Callable[..., Any]
"""The right-hand side on vectors: ``field(y, t, *args)``."""


def odeint(func: Callable, y0: Any, t: Any, *args: Any, rtol: float = 1.4e-8, atol: float = 1.4e-8, mxstep: float = np.inf,
           hmax: float = np.inf) -> Any:
    """The solution of ``dy/dt = func(y, t, *args)`` with ``y(t[0]) = y0``, at the times t.

    Args:
      func: from a state, a time and further arguments to a tree like the state. It may close over traced values.
      y0: the first state, a tree of arrays, real or complex; integers become floats.
      t: a vector of times, increasing or decreasing. They are taken in the precision of the state.
      args: trees of arrays, which like y0 and t may be differentiated.
      rtol, atol: a step is accepted if its estimated error is at most ``atol + rtol * abs(y)``, in the mean square.
      mxstep: the most steps from one time to the next.
      hmax: the longest step.

    Returns a tree like y0, whose leaves have a leading axis for the times. Where the solution cannot be reached (in
    ``mxstep`` steps, or because the state becomes infinite or NaN) it is NaN. Raises TypeError when func returns another
    tree than y0, ValueError unless t is a vector with elements.
    """
    check_callable(func, "odeint")
    y0 = tree_map(lambda x: inexact_arg("odeint", x), y0)
    start, unravel = ravel_pytree(y0)
    t = inexact_arg("odeint", t)
    if len(t.shape) != 1 or not t.size or t.dtype.kind == "c":
        raise ValueError(message("odeint: the times must be a real vector with elements", describe(t)))
    if not start.size:
        return tree_map(lambda x: fnp.zeros((t.size, *x.shape), x.dtype), y0)
    times = t.astype(dtypes.real_dtype(start.dtype))
    leaves, tree = flatten_args(func, args, "odeint")

    def field(y: Any, now: Any, *leaves: Any) -> Any:
        out = func(unravel(y), now, *tree_unflatten(tree, leaves))
        _check_result(func, out, y0)
        return ravel_pytree(out)[0].astype(start.dtype)

    converted, closed_over = closure_convert(field, start, times[0], *leaves)
    tolerances = _Tolerances(rtol, atol, mxstep, hmax)
    states = _solution(converted, tolerances, start, times, [*leaves, *closed_over])
    return vmap(unravel)(states)


def _check_result(func: Callable, out: Any, y0: Any) -> None:
    found, expected = [[(x.shape, x.dtype.kind == "c") for x in map(fnp.asarray, tree_leaves(v))] for v in (out, y0)]
    if tree_structure(out) != tree_structure(y0) or any(
            a[0] != b[0] or a[1] > b[1] for a, b in zip(found, expected, strict=True)):
        raise TypeError(message(f"odeint: {function_name(func)} must return a tree like the state", describe(out),
                                describe(y0)))


class _Tolerances(NamedTuple):
    rtol: float
    atol: float
    mxstep: float
    hmax: float


# ---------------------------------------------------------------- derivatives


@functools.partial(custom_jvp, nondiff_argnums=(0, 1))
def _solution(field: Field, tolerances: _Tolerances, y0: Any, times: Any, args: list) -> Any:
    return _integrated(lambda y, t: field(y, t, *args), tolerances, y0, times)


def _solution_jvp(field: Field, tolerances: _Tolerances, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """The tangent is linear in those of y0, the times and the arguments, of which the ones that are zero are left out."""
    y0, times, args = primals
    states = _solution(field, tolerances, y0, times, args)
    dots = [tangents[0], tangents[1], *tangents[2]]
    moving = [i for i, dot in enumerate(dots) if type(dot) is not Zero]
    which = [i - 2 for i in moving if i >= 2]

    def moved(*values: Any) -> Field:
        """The field as a function of the state, the time and those arguments that have tangents."""
        rest = list(values)

        def function(y: Any, t: Any, *chosen: Any) -> Any:
            full = list(rest)
            for i, x in zip(which, chosen, strict=True):
                full[i] = x
            return field(y, t, *full)

        return function

    tangent = functools.partial(_tangent, moved, tolerances, moving)
    cotangent = functools.partial(_cotangent, moved, tolerances, moving)
    return states, linear_call(tangent, cotangent, (y0, times, args, states), [dots[i] for i in moving])


_solution.defjvp(_solution_jvp, symbolic_zeros=True)


def _tangent(moved: Callable, tolerances: _Tolerances, moving: list[int], residuals: tuple, linear: list) -> Any:
    """The state and its tangent as one equation. A later start is one from where the solution would have been before."""
    y0, times, args, states = residuals
    n, count = y0.size, len(args)
    given = dict(zip(moving, linear, strict=True))
    which = [i - 2 for i in moving if i >= 2]

    def augmented(pair: Any, t: Any, *values: Any) -> Any:
        function, chosen = moved(*values[:count]), [values[i] for i in which]
        return fnp.concatenate(jvp(lambda y, *xs: function(y, t, *xs), (pair[:n], *chosen), (pair[n:], *values[count:])))

    velocity = _velocities(moved, states, times, args, which)
    first = given.get(0, fnp.zeros_like(y0))
    if 1 in given:
        first = first - velocity[0] * given[1][0]
    out = _solution(augmented, tolerances, fnp.concatenate([y0, first]), times, [*args, *[given[i + 2] for i in which]])[:, n:]
    return out + velocity * given[1][:, None] if 1 in given else out


def _cotangent(moved: Callable, tolerances: _Tolerances, moving: list[int], residuals: tuple, cotangents: Any) -> list:
    """The adjoint equation, with the state, backwards between the times, at each of which its cotangent is added."""
    y0, times, args, states = residuals
    which = [i - 2 for i in moving if i >= 2]
    chosen = [args[i] for i in which]
    like = (y0, y0, chosen)
    unravel = ravel_pytree(like)[1]

    def adjoint(state: Any, t: Any, *values: Any) -> Any:
        y, weight, _ = unravel(state)
        function = moved(*values)
        velocity, pull = vjp(lambda y, *xs: function(y, t, *xs), y, *[values[i] for i in which])
        rates = [-x for x in pull(weight)]
        return ravel_pytree((velocity, rates[0], rates[1:]))[0].astype(state.dtype)

    def back(carry: tuple, piece: tuple) -> tuple:
        weight, sums = carry
        y, ends, cotangent = piece
        state = ravel_pytree((y, weight + cotangent, sums))[0]
        _, weight, sums = unravel(_solution(adjoint, tolerances, state, ends, args)[1])
        return (weight, sums), None

    zeros = fnp.zeros_like(y0), [fnp.zeros_like(x) for x in chosen]
    ends = fnp.stack([times[1:], times[:-1]], axis=1)
    (weight, sums), _ = lax.scan(back, zeros, (states[1:], ends, cotangents[1:]), reverse=True)
    weight = weight + cotangents[0]
    out = {0: weight, **{i + 2: x for i, x in zip(which, sums, strict=True)}}
    if 1 in moving:
        velocity = _velocities(moved, states, times, args, which)
        by_time = fnp.real(fnp.sum(cotangents * velocity, axis=-1))
        out[1] = by_time.at[0].add(-fnp.real(fnp.sum(weight * velocity[0])))
    return [out[i] for i in moving]


def _velocities(moved: Callable, states: Any, times: Any, args: list, which: list[int]) -> Any:
    function = moved(*args)
    return vmap(lambda y, t: function(y, t, *[args[i] for i in which]))(states, times)


# ---------------------------------------------------------------- the integrator

_NODES = [1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1]
_STAGES = [
    [1 / 5], [3 / 40, 9 / 40], [44 / 45, -56 / 15, 32 / 9], [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
    [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
    [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84]]
"""The last stage is the result of the step; its slope is the first of the next step."""
_ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]
_DENSE = [
    [1, 0, 0, 0, 0, 0, 0],
    [-8048581381 / 2820520608, 0, 131558114200 / 32700410799, -1754552775 / 470086768, 127303824393 / 49829197408,
     -282668133 / 205662961, 40617522 / 29380423],
    [8663915743 / 2820520608, 0, -68118460800 / 10900136933, 14199869525 / 1410260304, -318862633887 / 49829197408,
     2019193451 / 616988883, -110615467 / 29380423],
    [-12715105075 / 11282082432, 0, 87487479700 / 32700410799, -10690763975 / 1880347072, 701980252875 / 199316789632,
     -1453857185 / 822651844, 69997945 / 29380423]]
"""Between the ends of a step: ``y0 + h * sum over k of theta**(k + 1) * dense[k]``, of order 4 (L. F. Shampine, Math. Comp. 46,
135, 1986)."""


class _Step(NamedTuple):
    """Where the integration is: the time, state and slope, the next step, the last step for values between, a count."""

    t: Any
    y: Any
    slope: Any
    h: Any
    last_t: Any
    last_y: Any
    dense: tuple
    count: Any


def _integrated(f: Callable, tolerances: _Tolerances, y0: Any, times: Any) -> Any:
    """The states at the times; the steps end at the last of them and pass over the others."""
    t0, end = times[0], times[-1]
    sign = fnp.where(end < t0, -1, 1).astype(times.dtype)
    between = times.size > 2
    slope = f(y0, t0)
    dense = tuple([slope] * len(_DENSE)) if between else ()
    first = _Step(t0, y0, slope, _first_step(f, tolerances, y0, t0, slope, sign), t0, y0, dense, fnp.asarray(0))

    def advance(state: _Step) -> _Step:
        left = fnp.abs(end - state.t)
        size = fnp.minimum(fnp.minimum(state.h, tolerances.hmax), left)
        h = sign * size
        slopes = [state.slope]
        for weights, node in zip(_STAGES, _NODES, strict=True):
            y = state.y + h * _combined(weights, slopes)
            slopes.append(f(y, state.t + node * h))
        bound = tolerances.atol + tolerances.rtol * fnp.maximum(fnp.abs(state.y), fnp.abs(y))
        error = _size(h * _combined(_ERROR, slopes) / bound)
        accepted = error <= 1
        factor = fnp.clip(0.9 * fnp.maximum(error, 1e-10) ** -0.2, 0.2, 10.0)
        after = _Step(fnp.where(size == left, end, state.t + h), y, slopes[-1], state.h, state.t, state.y, tuple(
            [h * _combined(weights, slopes) for weights in _DENSE]) if between else (), state.count)
        kept = tree_map(lambda new, old: fnp.where(accepted, new, old), after, state)
        return kept._replace(h=size * fnp.where(fnp.isnan(error), 0.2, factor), count=state.count + 1)

    def reach(state: _Step, target: Any) -> tuple[_Step, Any]:
        def unfinished(state: _Step) -> Any:
            moves = (state.h > 0) & (state.t + sign * state.h != state.t)
            return ((target - state.t) * sign > 0) & (state.count < tolerances.mxstep) & moves

        state = lax.while_loop(unfinished, advance, state._replace(count=fnp.zeros_like(state.count)))
        value = state.y
        if between:
            length = fnp.where(state.t == state.last_t, 1, state.t - state.last_t)
            theta = (target - state.last_t) / length
            inner = state.last_y + theta * functools.reduce(lambda total, q: q + theta * total, state.dense[::-1])
            value = fnp.where(target == state.t, state.y, inner)
        return state, fnp.where((target - state.t) * sign > 0, fnp.nan, value)

    _, later = lax.scan(reach, first, times[1:])
    return fnp.concatenate([y0[None], later])


def _combined(weights: list[float], slopes: list[Any]) -> Any:
    terms = [w * k for w, k in zip(weights, slopes, strict=True) if w]
    return functools.reduce(lambda a, b: a + b, terms)


def _size(x: Any) -> Any:
    """The root of the mean square."""
    return fnp.sqrt(fnp.mean(fnp.real(x) ** 2 + fnp.imag(x) ** 2 if x.dtype.kind == "c" else x ** 2))


def _first_step(f: Callable, tolerances: _Tolerances, y0: Any, t0: Any, slope: Any, sign: Any) -> Any:
    """A first step (E. Hairer, S. P. Norsett and G. Wanner, Solving Ordinary Differential Equations I, section II.4)."""
    bound = tolerances.atol + tolerances.rtol * fnp.abs(y0)
    d0, d1 = _size(y0 / bound), _size(slope / bound)
    tiny = (d0 < 1e-5) | (d1 < 1e-5)
    h0 = fnp.where(tiny, 1e-6, 0.01 * d0 / fnp.where(tiny, 1, d1))
    d2 = _size((f(y0 + sign * h0 * slope, t0 + sign * h0) - slope) / bound) / h0
    steep = fnp.maximum(d1, d2)
    flat = steep <= 1e-15
    h1 = fnp.where(flat, fnp.maximum(1e-6, 1e-3 * h0), (0.01 / fnp.where(flat, 1, steep)) ** 0.2)
    return fnp.minimum(100 * h0, h1).astype(d0.dtype)
