"""Minimisation without constraints, as in jax.scipy.optimize, in programs that jit, vmap and differentiate.

In: a function of a vector, and where to start. Out: ``OptimizeResults``. The minimum is differentiable in ``args`` and in
what the function closes over, by the implicit function theorem: the gradient stays zero.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> from funcgrad.scipy.optimize import minimize
    >>> f = lambda x, a: fnp.sum((x - a) ** 4 + (x - a) ** 2)
    >>> result = minimize(f, fnp.zeros(2), (fnp.array([1.0, 2.0]),), method="BFGS")
    >>> bool(result.success), fnp.round(result.x, 4)
    (True, Array([1., 2.], dtype=float64))
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from funcgrad import lax
from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import inexact_arg
from funcgrad.scipy.sparse.linalg import cg
from funcgrad.transforms.derivatives import check_callable, grad, value_and_grad
from funcgrad.tree import tree_map


class OptimizeResults(NamedTuple):
    """What ``minimize`` found.

    ``status``: 0 the gradient is small enough (then ``success`` is true), 1 too many iterations, 2 no step makes the function
    smaller within its precision, 3 the function is NaN. ``jac`` is the gradient, ``hess_inv`` the approximation of the
    inverse Hessian that the method has built, or None; ``nfev``, ``njev``, ``nit`` count evaluations and iterations.
    """

    x: Any
    success: Any
    status: Any
    fun: Any
    jac: Any
    hess_inv: Any
    nfev: Any
    njev: Any
    nit: Any


_LIMITED = ("L-BFGS", "l-bfgs-experimental-do-not-rely-on-this")
_OPTIONS = {"BFGS": {"gtol", "norm", "maxiter", "line_search_maxiter"},
            "L-BFGS": {"gtol", "norm", "maxiter", "line_search_maxiter", "maxls", "maxcor"}}


def minimize(fun: Callable, x0: Any, args: tuple = (), *, method: str, tol: float | None = None,
             options: Mapping[str, Any] | None = None) -> OptimizeResults:
    """The minimum of a function of a vector near ``x0``.

    Args:
      fun: ``fun(x, *args)``, a real number.
      x0: where to start, a real vector.
      args: further arguments of fun, a tuple.
      method: "BFGS", or "L-BFGS" (also under JAX's name for it), which keeps some last steps instead of a matrix.
      tol: the value of the option ``gtol``, unless that is given.
      options: ``gtol``: the iteration ends when the norm of the gradient is at most this (1e-5); ``norm``: which norm (the
        largest element); ``maxiter`` (200 for each unknown); ``line_search_maxiter`` or ``maxls``: evaluations on a line (30);
        ``maxcor``: steps kept by L-BFGS (10).

    Raises TypeError for x0, args and results of fun of another type, ValueError for unknown methods and options.
    """
    check_callable(fun, "minimize")
    kind = "L-BFGS" if method in _LIMITED else method
    if kind not in _OPTIONS:
        raise ValueError(message("minimize: the method is unknown", repr(method), '"BFGS" or "L-BFGS"'))
    given = dict(options or {})
    unknown = sorted(set(given) - _OPTIONS[kind])
    if unknown:
        raise ValueError(message(f"minimize: {kind} has no such option", ", ".join(unknown), ", ".join(sorted(_OPTIONS[kind]))))
    if not isinstance(args, tuple):
        raise TypeError(message("minimize: args must be a tuple", describe(args), None, "args=(value,)"))
    x0 = fnp.asarray(inexact_arg("minimize", x0))
    if len(x0.shape) != 1 or x0.dtype.kind == "c":
        raise TypeError(message("minimize: x0 must be a real vector", describe(x0), None,
                                "fg.flatten_util.ravel_pytree for a tree of arrays"))

    def function(x: Any) -> Any:
        out = inexact_arg("minimize", fun(x, *args))
        if out.shape or out.dtype.kind == "c":
            raise TypeError(message("minimize: the function must return a real number", describe(out)))
        return out.astype(x0.dtype)

    limited = kind == "L-BFGS"
    memory = _Pairs.empty(x0, given.get("maxcor", 10)) if limited else _Matrix(fnp.eye(x0.size, dtype=x0.dtype))
    goal = given.get("gtol", 1e-5 if tol is None else tol)
    norm, steps = given.get("norm", np.inf), given.get("maxiter", 200 * x0.size)
    trials = given.get("maxls", given.get("line_search_maxiter", 30))

    def solve(_: Any, x: Any) -> tuple[Any, tuple]:
        end = _descend(value_and_grad(function), x, memory, lambda g: _norm(g, norm) <= goal, steps, trials)
        return end.x, (end.status, end.memory, end.count, end.k)

    def tangent_solve(hessian: Callable, y: Any) -> Any:
        return cg(hessian, y, tol=1e-10)[0]

    x, (status, memory, count, k) = lax.custom_root(grad(function), x0, solve, tangent_solve, has_aux=True)
    status, count, k = [n.astype("int64") for n in (status, count, k)]
    value, slope = value_and_grad(function)(x)
    return OptimizeResults(x, status == 0, status, value, slope, None if limited else memory.inverse, count, count, k)


def _norm(g: Any, order: float) -> Any:
    size = fnp.abs(g)
    if order == np.inf:
        return fnp.max(size, initial=0)
    return fnp.min(size) if order == -np.inf else fnp.sum(size ** order) ** (1 / order)


# ---------------------------------------------------------------- descent


class _State(NamedTuple):
    x: Any
    f: Any
    g: Any
    memory: Any
    fresh: Any  # memory holds no steps
    status: Any  # -1 while it goes on
    k: Any
    count: Any


def _descend(evaluate: Callable, x: Any, empty: Any, small: Callable, steps: int, trials: int) -> _State:
    """Steps in the direction that a memory gives, as far as a line search says. Without success the memory is emptied."""

    def step(state: _State) -> _State:
        d = -state.memory.times(state.g)
        uphill = ~(fnp.vdot(d, state.g) < 0)
        d = fnp.where(uphill, -state.g, d)
        fresh = state.fresh | uphill
        length = fnp.where(fresh, fnp.minimum(1, 1 / fnp.sqrt(fnp.vdot(d, d))), 1).astype(x.dtype)
        t, f, g, trials_made = _line_search(evaluate, state, d, length, trials)
        moved = t > 0
        change, bend = t * d, g - state.g
        memory = tree_map(lambda a, b: fnp.where(uphill | ~moved, a, b), empty, state.memory)
        memory = _where(moved & (fnp.vdot(change, bend) > 0), memory.updated(change, bend, fresh), memory)
        k = state.k + 1
        status = fnp.where(small(g), 0, fnp.where(moved, fnp.where(k >= steps, 1, -1), fnp.where(fresh, 2, -1)))
        return _State(state.x + change, f, g, memory, ~moved, status, k, state.count + trials_made)

    f, g = evaluate(x)
    valid = fnp.isfinite(f) & fnp.all(fnp.isfinite(g))
    status = fnp.where(valid, fnp.where(small(g), 0, fnp.where(steps > 0, -1, 1)), 3)
    one = fnp.asarray(1)
    return lax.while_loop(lambda state: state.status == -1, step, _State(x, f, g, empty, one == 1, status, one - 1, one))


def _where(condition: Any, new: Any, old: Any) -> Any:
    return tree_map(lambda a, b: fnp.where(condition, a, b), new, old)


class _Search(NamedTuple):
    """An interval, whose lower end is good enough but too steep; the next trial; the best point, with value and gradient."""

    low: Any
    high: Any
    ends: tuple  # value and slope at low, at high
    trial: Any
    best: tuple
    done: Any
    count: Any


def _line_search(evaluate: Callable, at: _State, d: Any, length: Any, trials: int) -> tuple[Any, Any, Any, Any]:
    """A step length with less value and less slope (Wolfe's conditions), by bracketing and cubic interpolation.

    Near the minimum, where values differ by rounding only, the slopes alone decide (W. W. Hager and H. Zhang, SIAM J. Optim.
    16, 170, 2005). Returns the length, 0 if there is none, with the value and gradient there, and the number of trials.
    """
    decrease, curvature = 1e-4, 0.9
    slope0 = fnp.vdot(at.g, d)
    noise = float(np.finfo(at.x.dtype).eps) ** (2 / 3) * fnp.abs(at.f)

    def attempt(s: _Search) -> _Search:
        t = s.trial
        f, g = evaluate(at.x + t * d)
        slope = fnp.vdot(g, d)
        less = (f <= at.f + decrease * t * slope0) | (f <= at.f + noise) & (slope <= (2 * decrease - 1) * slope0)
        less = less & fnp.isfinite(slope)
        done = less & (slope >= curvature * slope0)
        low, high = fnp.where(less, t, s.low), fnp.where(less, s.high, t)
        ends = _where(less, (f, slope, *s.ends[2:]), (*s.ends[:2], f, slope))
        following = fnp.where(fnp.isfinite(high), _between(low, high, *ends), 3 * t)
        return _Search(low, high, ends, following, _where(less, (t, f, g), s.best), done, s.count + 1)

    zero = fnp.zeros_like(length)
    start = _Search(zero, zero + fnp.inf, (at.f, slope0, at.f, slope0), length, (zero, at.f, at.g), zero != 0, fnp.asarray(0))
    end = lax.while_loop(lambda s: ~s.done & (s.count < trials), attempt, start)
    return *end.best, end.count


def _between(low: Any, high: Any, f0: Any, s0: Any, f1: Any, s1: Any) -> Any:
    """The minimum of the cubic through two values and slopes, away from the ends; the middle if there is none."""
    width = high - low
    a = s0 + s1 - 3 * (f1 - f0) / width
    root = fnp.sqrt(fnp.maximum(a * a - s0 * s1, 0))
    t = high - width * (s1 + root - a) / (s1 - s0 + 2 * root)
    t = fnp.where(fnp.isfinite(t) & (a * a >= s0 * s1), t, low + width / 2)
    return fnp.clip(t, low + 0.1 * width, high - 0.1 * width)


# ---------------------------------------------------------------- what is remembered of the curvature


class _Matrix(NamedTuple):
    """The inverse Hessian, by the formula of Broyden, Fletcher, Goldfarb and Shanno."""

    inverse: Any

    def times(self, g: Any) -> Any:
        return fnp.matmul(self.inverse, g)

    def updated(self, s: Any, y: Any, fresh: Any) -> _Matrix:
        ys = _safe(fnp.vdot(y, s))
        inverse = fnp.where(fresh, self.inverse * (ys / _safe(fnp.vdot(y, y))), self.inverse)
        hy = fnp.matmul(inverse, y)
        outer = fnp.outer(s, hy)
        return _Matrix(inverse - (outer + outer.T) / ys + fnp.outer(s, s) * ((1 + fnp.vdot(y, hy) / ys) / ys))


class _Pairs(NamedTuple):
    """The last steps and changes of the gradient, the newest last (D. C. Liu and J. Nocedal, Math. Program. 45, 503, 1989)."""

    s: Any
    y: Any
    weights: Any  # 1 / (s . y), or 0 where there is no pair yet
    scale: Any

    @classmethod
    def empty(cls, x: Any, size: int) -> _Pairs:
        pairs = fnp.zeros((size, x.size), x.dtype)
        return cls(pairs, pairs, fnp.zeros((size,), x.dtype), fnp.ones((), x.dtype))

    def times(self, g: Any) -> Any:
        pairs = self.s, self.y, self.weights

        def back(q: Any, pair: tuple) -> tuple[Any, Any]:
            s, y, weight = pair
            a = weight * fnp.vdot(s, q)
            return q - a * y, a

        def forth(q: Any, pair: tuple) -> tuple[Any, None]:
            s, y, weight, a = pair
            return q + s * (a - weight * fnp.vdot(y, q)), None

        q, factors = lax.scan(back, g, pairs, reverse=True)
        return lax.scan(forth, q * self.scale, (*pairs, factors))[0]

    def updated(self, s: Any, y: Any, fresh: Any) -> _Pairs:
        ys = _safe(fnp.vdot(y, s))
        push = lambda rows, row: fnp.concatenate([rows[1:], row[None]])  # noqa: E731
        return _Pairs(push(self.s, s), push(self.y, y), push(self.weights, 1 / ys), ys / _safe(fnp.vdot(y, y)))


def _safe(x: Any) -> Any:
    """x, or 1 where it is not positive: what is made of it then is thrown away."""
    return fnp.where(x > 0, x, 1)
