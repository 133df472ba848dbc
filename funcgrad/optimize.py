"""SciPy's optimisers for functions of trees of arrays: ``minimize``, ``root`` and ``least_squares``.

In: a function written with ``funcgrad.numpy``, and where to start. Out: SciPy's result, whose ``x`` is a tree like the
start. Derivatives that a method needs are filled in, and compiled; the solution itself is differentiable in ``args`` and in
what the function closes over, by the implicit function theorem.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> def best(target):
    ...     return fg.minimize(lambda p: fnp.sum((p["a"] - target) ** 2) + p["b"] ** 4, {"a": fnp.zeros(2), "b": 1.0}).x["a"]
    >>> fnp.round(fg.jacrev(best)(fnp.array([1.0, 2.0])), 4)
    Array([[1., 0.],
           [0., 1.]], dtype=float64)

The optimisers run in SciPy, so they need known values: they cannot be staged by ``jit`` nor batched by ``vmap``;
``funcgrad.scipy.optimize.minimize`` can.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import numpy as fnp
from funcgrad.control.custom import custom_jvp
from funcgrad.core.array import describe
from funcgrad.core.trace import Tracer
from funcgrad.core.types import Zero
from funcgrad.errors import message
from funcgrad.flatten_util import ravel_pytree
from funcgrad.jit import jit
from funcgrad.ops.promotion import inexact_arg
from funcgrad.scipy.sparse.linalg import cg, gmres
from funcgrad.transforms.arguments import flatten_args
from funcgrad.transforms.derivatives import check_callable, grad, jacfwd, jacrev, jvp, value_and_grad
from funcgrad.transforms.staging import closure_convert
from funcgrad.tree import tree_map, tree_unflatten


@functools.cache
def _library() -> Any:
    import scipy.optimize
    return scipy.optimize


_WITHOUT_GRADIENT = {"nelder-mead", "powell", "cobyla", "cobyqa"}
_WITH_HESSIAN = {"dogleg", "trust-exact"}
_WITH_PRODUCTS = {"newton-cg", "trust-ncg", "trust-krylov"}


def minimize(fun: Callable, x0: Any, args: tuple = (), method: str | None = None, *, bounds: Any = None,
             tol: float | None = None, callback: Callable | None = None, options: Mapping[str, Any] | None = None) -> Any:
    """``scipy.optimize.minimize`` of ``fun(x, *args)``, a real number, over trees x like ``x0``.

    Args:
      method: any of SciPy's without constraints; gradients, Hessians and their products are those of fun.
      bounds: a pair of trees like x0, or of numbers, for the methods that take bounds.
      callback: called with x after each iteration.
      tol, options: SciPy's.

    Returns SciPy's ``OptimizeResult``; ``x`` and ``jac`` are trees like x0, and ``x`` and ``fun`` are differentiable. The
    derivative of an element that lies on a bound is zero. Raises TypeError for values that are not known and results of
    another type.
    """
    problem = _Problem("minimize", fun, x0, args)
    function = problem.function(lambda out: _number("minimize", out))
    name = (method or "").lower()
    given: dict[str, Any] = {"method": method, "tol": tol, "options": options}
    if bounds is not None:
        given["bounds"] = _library().Bounds(*problem.bounds(bounds))
    if callback is not None:
        given["callback"] = lambda x: callback(problem.unravel(x))

    def solve(x: Any, values: Any) -> Any:
        compiled = _numbers(jit(function if name in _WITHOUT_GRADIENT else value_and_grad(function)), values)
        if name in _WITH_HESSIAN:
            given["hess"] = _numbers(jit(jacfwd(grad(function))), values)
        elif name in _WITH_PRODUCTS:
            product = jit(lambda x, p, *c: jvp(lambda y: grad(function)(y, *c), (x,), (p,))[1])
            given["hessp"] = lambda x, p: np.asarray(product(x, p, *values), np.float64)
        return _library().minimize(compiled, x, jac=name not in _WITHOUT_GRADIENT, **given)

    ends = None if bounds is None else problem.bounds(bounds)
    x, result = problem.solved(solve, grad(function), symmetric=True, bounds=ends)
    result.fun = function(x, *problem.values)
    if "jac" in result:
        result.jac = problem.unravel(result.jac)
    return result


def root(fun: Callable, x0: Any, args: tuple = (), method: str = "hybr", *, tol: float | None = None,
         options: Mapping[str, Any] | None = None) -> Any:
    """``scipy.optimize.root`` of ``fun(x, *args)``: a tree x where it is zero.

    fun returns a tree with as many elements as x. Returns SciPy's ``OptimizeResult``; ``x`` is a tree like x0, and
    differentiable. Raises TypeError for values that are not known.
    """
    problem = _Problem("root", fun, x0, args)
    function = problem.function(lambda out: ravel_pytree(out)[0].astype(problem.start.dtype))

    def solve(x: Any, values: Any) -> Any:
        jacobian = _numbers(jit(jacfwd(function)), values) if method in ("hybr", "lm") else None
        return _library().root(_numbers(jit(function), values), x, method=method, jac=jacobian, tol=tol, options=options)

    return problem.solved(solve, function, symmetric=False)[1]


def least_squares(fun: Callable, x0: Any, args: tuple = (), *, bounds: Any = (-np.inf, np.inf), method: str = "trf",
                  **options: Any) -> Any:
    """``scipy.optimize.least_squares``: the x that makes half the sum of squares of ``fun(x, *args)`` least.

    fun returns a tree of residuals; bounds are a pair of trees like x0, or of numbers; options are SciPy's (``ftol``,
    ``xtol``, ``max_nfev`` ...), but a loss other than the squares. Returns SciPy's ``OptimizeResult``; ``x`` is a tree like
    x0, and differentiable. Raises TypeError for values that are not known and options that do not exist.
    """
    if options.get("loss", "linear") != "linear":
        raise ValueError(message("least_squares: the loss must be the sum of squares", repr(options["loss"]), None,
                                 "minimize, of the loss itself"))
    problem = _Problem("least_squares", fun, x0, args)
    function = problem.function(lambda out: ravel_pytree(out)[0].astype(problem.start.dtype))
    low, high = problem.bounds(bounds)

    def solve(x: Any, values: Any) -> Any:
        many = function(x, *values).size >= x.size
        jacobian = _numbers(jit((jacfwd if many else jacrev)(function)), values)
        return _library().least_squares(_numbers(jit(function), values), x, jacobian, (low, high), method, **options)

    halved = lambda x, *values: 0.5 * fnp.sum(function(x, *values) ** 2)  # noqa: E731
    return problem.solved(solve, grad(halved), symmetric=True, bounds=(low, high))[1]


# ---------------------------------------------------------------- from trees to vectors


class _Problem:
    """A function of trees as one of vectors, with all that it depends on as arguments: ``values``."""

    def __init__(self, name: str, fun: Callable, x0: Any, args: tuple):
        check_callable(fun, name)
        if not isinstance(args, tuple):
            raise TypeError(message(f"{name}: args must be a tuple", describe(args), None, "args=(value,)"))
        self.name, self.fun = name, fun
        self.start, self.unravel_start = ravel_pytree(tree_map(lambda x: inexact_arg(name, x), x0))
        if self.start.dtype.kind == "c":
            raise TypeError(message(f"{name}: x0 must be real", describe(x0)))
        self.leaves, self.tree = flatten_args(fun, args, name)
        self.values: list[Any] = []

    def unravel(self, x: Any) -> Any:
        return self.unravel_start(fnp.asarray(x, self.start.dtype))

    def function(self, finish: Callable) -> Callable:
        """``function(x, *values)``, where values are the arguments and what the function closes over."""

        def flat(x: Any, *leaves: Any) -> Any:
            return finish(self.fun(self.unravel_start(x.astype(self.start.dtype)), *tree_unflatten(self.tree, leaves)))

        converted, closed_over = closure_convert(flat, self.start, *self.leaves)
        self.values = [*self.leaves, *closed_over]
        return lambda x, *values: converted(x.astype(self.start.dtype), *values)

    def bounds(self, bounds: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """The bounds of each element. A number holds for all."""
        ends = [np.asarray(end if isinstance(end, int | float) else ravel_pytree(end)[0], np.float64) for end in bounds]
        if len(ends) != 2 or any(end.shape not in ((), self.start.shape) for end in ends):
            raise TypeError(message(f"{self.name}: the bounds must be a pair of numbers, or of trees like x0",
                                    describe(bounds)))
        low, high = [np.broadcast_to(end, self.start.shape) for end in ends]
        return low, high

    def solved(self, solve: Callable, condition: Callable, symmetric: bool, bounds: Any = None) -> tuple[Any, Any]:
        """The solution as a vector, and SciPy's result with it as a tree."""
        found: list[Any] = []

        def run(x: Any, values: Any) -> Any:
            if any(isinstance(v, Tracer) for v in (x, *values)):
                raise TypeError(message(f"fg.{self.name} runs in SciPy, so it needs known values",
                                        "values traced by jit or vmap", None,
                                        "funcgrad.scipy.optimize.minimize, or a call outside of the transformation"))
            found[:] = [solve(np.asarray(x, np.float64), values)]
            return fnp.asarray(found[0].x, self.start.dtype)

        x = _solution(_Rule(run, condition, symmetric, bounds), self.start, self.values)
        result = found[0]
        result.x = self.unravel(x)
        return x, result


def _number(name: str, out: Any) -> Any:
    out = inexact_arg(name, out)
    if out.shape or out.dtype.kind == "c":
        raise TypeError(message(f"{name}: the function must return a real number", describe(out)))
    return out


def _numbers(function: Callable, values: Any) -> Callable:
    """A function of a vector for SciPy: float64 in, float64 out."""
    return lambda x: tree_map(lambda out: np.asarray(out, np.float64), function(x, *values))


# ---------------------------------------------------------------- the derivative


@dataclass(frozen=True)
class _Rule:
    """``solve(x0, values)`` finds the x where ``condition(x, *values)`` is zero, but for elements on a bound."""

    solve: Callable
    condition: Callable
    symmetric: bool
    bounds: Any

    def free(self, x: Any) -> Any:
        if self.bounds is None:
            return fnp.ones(x.shape, bool)
        low, high = self.bounds
        near = 1e-8 * fnp.maximum(1, fnp.abs(x))
        return (x > low + near) & (x < high - near)


@functools.partial(custom_jvp, nondiff_argnums=(0,))
def _solution(rule: _Rule, x0: Any, values: list) -> Any:
    return rule.solve(x0, values)


def _solution_jvp(rule: _Rule, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """The condition stays zero: its derivative by x times the tangent of x makes up for that by the values."""
    x0, values = primals
    x = _solution(rule, x0, values)
    moving = [i for i, dot in enumerate(tangents[1]) if type(dot) is not Zero]
    if not moving:
        return x, fnp.zeros_like(x)

    def at(*chosen: Any) -> Any:
        full = list(values)
        for i, v in zip(moving, chosen, strict=True):
            full[i] = v
        return rule.condition(x, *full)

    _, moved = jvp(at, tuple([values[i] for i in moving]), tuple([tangents[1][i] for i in moving]))
    free = rule.free(x)

    def operator(v: Any) -> Any:
        return fnp.where(free, jvp(lambda y: rule.condition(y, *values), (x,), (fnp.where(free, v, 0),))[1], v)

    right = fnp.where(free, -moved, 0)
    if rule.symmetric:
        return x, cg(operator, right, tol=1e-12)[0]
    return x, gmres(operator, right, tol=1e-12, restart=x.size)[0]


_solution.defjvp(_solution_jvp, symbolic_zeros=True)
