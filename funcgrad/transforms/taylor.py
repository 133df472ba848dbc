"""Taylor mode: every value travels with its truncated power series along a curve.

    taylor : (a -> b) -> (a, [T a]) -> (b, [T b])

In: a function, or a jaxpr, with values and the normalised coefficients of the curves x[0] + x[1] t + x[2] t**2 + ... Out:
results and their coefficients; one that is known to be zero stays symbolic. The k-th derivative costs about k**2 times the
function, where k nested first derivatives cost 2**k times as much.

    { lambda ; a:f64[]. let b:f64[] = exp a in (b,) }
    { lambda ; a:f64[] b:f64[]. let c:f64[] = exp a; d:f64[] = mul b c; e:f64[] = mul b d; f:f64[] = div e 2.0 in (c, d, f) }

A primitive's rule is its ``taylor`` slot. By default it follows from the jvp rule: y' = rule(x, x') holds along the whole
curve, so the rule is run on series of one order less, and the result is integrated.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from math import factorial
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray, aval_of, describe
from funcgrad.core.primitive import (
    BILINEAR,
    DERIVED,
    LINEAR,
    PIECEWISE_LINEAR,
    Constant,
    Kind,
    No,
    Partials,
    Primitive,
    missing_rule,
)
from funcgrad.core.trace import Trace, Tracer, current, current_trace, tracing
from funcgrad.core.types import ShapedArray, Zero, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.series import is_zero, result, scaled, total
from funcgrad.ops.structural import full, instantiate
from funcgrad.transforms.arguments import FlatFunction, flatten_args, function_name, leaf_paths
from funcgrad.transforms.derivatives import check_callable, check_like, quiet
from funcgrad.transforms.jvp import Forward, apply_jvp, combine, linear_args
from funcgrad.tree import tree_unflatten

Terms = tuple[Any, ...]
"""The coefficients of one value, from the first on."""


class TaylorTracer(Tracer):
    """A value with its coefficients, which are not all zero."""

    __slots__ = ("primal", "terms")

    def __init__(self, trace: TaylorTrace, primal: Any, terms: Terms):
        self._trace, self.primal, self.terms = trace, primal, terms

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return aval_of(self.primal)

    def below(self) -> Any:
        return self.primal

    def concrete(self) -> Any:
        return self.primal.concrete() if isinstance(self.primal, Tracer) else self.primal


class TaylorTrace(Trace):
    """Applies Taylor rules under its parent, on series of one order."""

    what = "taylor"

    def __init__(self, parent: Trace, order: int, source: Any = None):
        super().__init__(parent, source)
        self.order = order
        self.call: _Call | None = None

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        if self.call is not None and self.call.is_for(primitive, args, params):
            return self.call.outs
        primals = tuple([x.primal if isinstance(x, TaylorTracer) and x._trace is self else x for x in args])
        if type(primitive.jvp) is Constant:
            return self.parent.process(primitive, primals, params)
        series = tuple([self.split(x)[1] for x in args])
        if all(type(t) is Zero for terms in series for t in terms):
            return self.parent.process(primitive, primals, params)
        with current(self.parent):
            outs, out_series = apply_taylor(primitive, primals, series, params)
        return tuple([self.join(out, terms) for out, terms in zip(outs, out_series, strict=True)])

    def split(self, x: Any) -> tuple[Any, Terms]:
        if isinstance(x, TaylorTracer) and x._trace is self:
            return x.primal, x.terms
        return x, (x if type(x) is Zero else Zero(tangent_aval(aval_of(x))),) * self.order

    def join(self, primal: Any, terms: Terms) -> Any:
        return primal if all(type(t) is Zero for t in terms) else TaylorTracer(self, primal, terms)


# ---------------------------------------------------------------- rules


def apply_taylor(primitive: Primitive, primals: tuple, series: tuple[Terms, ...], params: dict) -> tuple[tuple, tuple]:
    """The Taylor rule of a primitive, under the current trace; at least one coefficient is not a Zero."""
    rule = primitive.jvp if primitive.taylor is DERIVED else primitive.taylor
    if type(rule) is No:
        raise missing_rule(primitive, "Taylor mode", "jvp" if primitive.taylor is DERIVED else "taylor", rule.reason)
    if rule in (LINEAR, PIECEWISE_LINEAR) or type(rule) is Partials and _constant(rule, series):
        return _each(rule is LINEAR, primitive, primals, series, params)
    if rule is BILINEAR:
        outs = primitive.bind(*primals, **params)
        x, y = ([p, *terms] for p, terms in zip(primals, series, strict=True))
        return result([*outs, *[total([primitive.bind(x[i], y[n - i], **params)[0] for i in range(n + 1)
                                       if not is_zero(x[i]) and not is_zero(y[n - i])]) for n in range(1, len(x))]])
    found = NotImplemented if primitive.taylor is DERIVED else rule(primals, series, **params)
    return integrated(primitive, primals, series, params) if found is NotImplemented else found


def _constant(rule: Partials, series: tuple[Terms, ...]) -> bool:
    """Whether the partial derivatives by all moving arguments are 1 or -1."""
    return not any(callable(e) and any(type(t) is not Zero for t in terms)
                   for e, terms in zip(rule.entries, series, strict=True))


def _each(linear: bool, primitive: Primitive, primals: tuple, series: tuple[Terms, ...],
          params: dict) -> tuple[tuple, tuple]:
    """The rule of operations that move each coefficient by itself: if linear, as they are, else as they move a tangent."""
    outs = primitive.bind(*primals, **params)
    columns = []
    for terms in zip(*series, strict=True):
        if all(type(t) is Zero for t in terms):
            columns.append(tuple([Zero(tangent_aval(aval_of(out))) for out in outs]))
        elif linear:
            columns.append(primitive.bind(*linear_args(primitive, primals, terms), **params))
        elif type(primitive.jvp) is Partials:
            columns.append((combine(primitive.jvp, outs[0], primals, terms, params),))
        else:
            columns.append(apply_jvp(primitive, primals, terms, params)[1])
    return outs, tuple(zip(*columns, strict=True))


# ---------------------------------------------------------------- the default: the jvp rule, integrated


class _Once(Trace):
    """Hands everything to its parent, the same operation on the same values once only.

    A jvp rule may apply its own primitive to other series (a linear system is solved again for the tangent), whose rule does
    so again: all orders below are asked for over and over, 2**k times in all. Since equal values are one value here, what was
    found for a series is known for every beginning of it, and k**2 applications are left.
    """

    what = "taylor"

    def __init__(self, parent: Trace):
        super().__init__(parent, parent.source)
        self.known: dict[tuple, tuple[Any, tuple]] = {}

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        if primitive.kind is Kind.CONTROL:
            return self.parent.process(primitive, args, params)
        return self.once((primitive, *args), lambda: self.parent.process(primitive, args, params), params)

    def once(self, values: tuple, compute: Callable[[], Any], params: dict) -> Any:
        """What ``compute`` gives for these values. They are kept, so that their identities stay theirs."""
        key = (*map(_identity, values), *params.items())
        if key not in self.known:
            self.known[key] = compute(), values
        return self.known[key][0]


def _identity(x: Any) -> Any:
    """Equal for what is one value: zeros, equal numbers, and otherwise the same object."""
    if type(x) is Zero:
        return None
    if isinstance(x, np.generic) or type(x) is DeviceArray and not x.shape:
        return x.dtype, x.weak_type if type(x) is DeviceArray else None, np.asarray(x).tobytes()
    return id(x)


class _Result(TaylorTracer):
    """A result of the primitive whose jvp rule is running: its coefficients are computed when the rule asks for them."""

    __slots__ = ("call", "index")

    def __init__(self, trace: TaylorTrace, primal: Any, call: _Call, index: int):
        self._trace, self.primal, self.call, self.index = trace, primal, call, index

    @property
    def terms(self) -> Terms:  # type: ignore[override]
        return self.call.series()[self.index]


class _Call:
    """One primitive applied to series: what its own jvp rule gets when it applies the primitive to the same arguments."""

    def __init__(self, trace: TaylorTrace, primitive: Primitive, primals: tuple, args: tuple, params: dict):
        self.trace, self.primitive, self.args, self.params = trace, primitive, args, params
        self.primals = primals
        self.outs: tuple = tuple([_Result(trace, out, self, i) if dtypes.is_inexact(out.dtype) else out
                                  for i, out in enumerate(primitive.bind(*primals, **params))])
        self.computed: tuple[Terms, ...] | None = None

    def is_for(self, primitive: Primitive, args: tuple, params: dict) -> bool:
        return primitive is self.primitive and len(args) == len(self.args) and params == self.params and all(
            [x is y for x, y in zip(args, self.args, strict=True)])

    def series(self) -> tuple[Terms, ...]:
        if self.computed is None:
            with current(self.trace.parent):
                _, self.computed = apply_taylor(self.primitive, self.primals,
                                                tuple([self.trace.split(x)[1] for x in self.args]), self.params)
        return self.computed


def integrated(primitive: Primitive, primals: tuple, series: tuple[Terms, ...], params: dict) -> tuple[tuple, tuple]:
    """The rule that follows from the jvp rule."""
    order = len(series[0])
    if order == 1:
        outs, dots = apply_jvp(primitive, primals, tuple([terms[0] for terms in series]), params)
        return outs, tuple([(t,) for t in dots])
    around = current_trace.get()
    parent = around if type(around) is _Once else _Once(around)
    with current(parent):
        return parent.once(("series", primitive, *primals, *[t for terms in series for t in terms]),
                           lambda: _integrated(parent, primitive, primals, series, params), params)


def _integrated(parent: _Once, primitive: Primitive, primals: tuple, series: tuple[Terms, ...],
                params: dict) -> tuple[tuple, tuple]:
    trace = TaylorTrace(parent, len(series[0]) - 1, parent.source)
    with tracing(trace):
        args = tuple([trace.join(x, terms[:-1]) for x, terms in zip(primals, series, strict=True)])
        velocities = tuple([_velocity(trace, terms) for terms in series])
        with current(parent):
            trace.call = _Call(trace, primitive, primals, args, params)
        results, dots = apply_jvp(primitive, args, velocities, params)
        outs = tuple([x.primal if isinstance(x, TaylorTracer) and x._trace is trace else x for x in results])
        speeds = [trace.split(t) for t in dots]
    trace.call.outs, trace.call = (), None  # they refer to each other
    return outs, tuple([_integral(first, rest) for first, rest in speeds])


def _velocity(trace: TaylorTrace, terms: Terms) -> Any:
    """x'(t), whose coefficients are (i + 1) x[i + 1]."""
    if all(type(t) is Zero for t in terms):
        return terms[0]
    first, *rest = [t if type(t) is Zero else scaled(t, i) for i, t in enumerate(terms, 1)]
    return trace.join(instantiate(first), tuple(rest))


def _integral(first: Any, rest: Terms) -> Terms:
    """The coefficients of y, from those of y': y[i] = y'[i - 1] / i."""
    return first, *[t if type(t) is Zero else scaled(t, 1 / i) for i, t in enumerate(rest, 2)]


# ---------------------------------------------------------------- functions and programs


def taylor_flat(order: int, function: Callable[..., Sequence[Any]], primals: Sequence[Any],
                terms: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Results and coefficients (Zero where zero) of a function of flat values; ``order`` coefficients a value, in one list."""
    trace = TaylorTrace(current_trace.get(), order)
    with tracing(trace):
        outs = function(*[trace.join(x, ts) for x, ts in zip(primals, by_value(terms, len(primals)), strict=True)])
        pairs = [trace.split(out) for out in outs]
    return [x for x, _ in pairs], [t for _, ts in pairs for t in ts]


def by_value(terms: Sequence[Any], count: int) -> list[Terms]:
    """A flat list of the coefficients of so many values as one tuple a value."""
    order = len(terms) // max(count, 1)
    return [tuple(terms[i * order:(i + 1) * order]) for i in range(count)]


@functools.cache
def taylor_mode(order: int) -> Forward:
    """Taylor mode as a forward mode of programs."""
    return Forward("taylor", order, functools.partial(taylor_flat, order))


def taylor_rule(forward: Callable) -> Callable:
    """The ``taylor`` slot of an operation with programs, from its rule for any forward mode:
    ``forward(mode, primals, dots, **params) -> (outs, out_dots)``."""

    def rule(primals: tuple, series: tuple[Terms, ...], **params: Any) -> tuple[tuple, tuple]:
        order = len(series[0])
        outs, dots = forward(taylor_mode(order), primals, tuple([t for terms in series for t in terms]), **params)
        return outs, tuple(by_value(dots, len(outs)))

    return rule


# ---------------------------------------------------------------- the user's functions


def taylor(fun: Callable, x: Any, order: int, direction: Any = None) -> tuple:
    """``(f(x), f'(x), f''(x), ...)``: the derivatives of ``f(x + t * direction)`` by t at t = 0, up to ``order``.

    Args:
      fun: a function of one argument, an array or a tree of arrays, that returns an array or a tree.
      x: its argument; real or complex floating point.
      order: the highest derivative, at least 0.
      direction: a tree like x. By default all ones: a scalar function's derivatives, or those of an elementwise function at
        every element.

    Returns a tuple of ``order + 1`` trees like the result of fun. The k-th divided by k! is the k-th Taylor coefficient. It
    costs about order**2 times as much as fun, and differentiates, batches, stages and nests like every function.

    Raises TypeError for integers, ValueError for a negative order or a direction of another structure.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> [float(d) for d in fg.taylor(lambda x: x ** 3, 2.0, order=4)]
    [8.0, 12.0, 12.0, 6.0, 0.0]
    >>> fg.taylor(lambda v: fnp.sum(v ** 2), fnp.array([1.0, 2.0]), 2, direction=fnp.array([0.0, 1.0]))[2]
    Array(2., dtype=float64)

    Griewank and Walther, Evaluating Derivatives, 2nd edition (2008), chapter 13.
    """
    check_callable(fun, "taylor")
    if not isinstance(order, (int, np.integer)) or isinstance(order, bool) or order < 0:
        raise ValueError(message("taylor: the order must be an integer that is not negative", describe(order), "order >= 0"))
    leaves, tree = flatten_args(fun, (x,), "taylor")
    paths = leaf_paths(fun, (x,))
    for value, path in zip(leaves, paths, strict=True):
        if not dtypes.is_inexact(value.dtype):
            raise TypeError(message(f"taylor: {function_name(fun)} cannot be differentiated by an integer",
                                    f"{path} is {describe(value)}", "a floating point array", "x.astype(float), 3.0 for 3"))
    avals = [aval_of(value) for value in leaves]
    if direction is None:
        directions = [full(a.shape, a.dtype.type(1)) for a in avals]
    else:
        directions = check_like(fun, "taylor: the direction", (direction,), tree, avals, paths)
    series = [(d, *(Zero(tangent_aval(a)),) * (order - 1))[:order] for d, a in zip(directions, avals, strict=True)]
    outs, out_series, out_tree = derivatives(fun, "taylor", leaves, tree, series, order)
    return (tree_unflatten(out_tree, outs), *[tree_unflatten(out_tree, [terms[i] for terms in out_series])
                                              for i in range(order)])


def derivatives(fun: Callable, what: str, leaves: Sequence[Any], tree: Any, series: Sequence[Sequence[Any]], order: int,
                factorial_scaled: bool = True) -> tuple[list[Any], list[list[Any]], Any]:
    """Flat results, their derivatives along a curve with the derivatives ``series``, one list a leaf, and their tree.

    Without ``factorial_scaled``, coefficients take the place of derivatives.
    """
    flat = FlatFunction(fun, tree, what)

    def with_factorials(terms: Sequence[Any], exponent: int) -> list[Any]:
        return [t if type(t) is Zero or not factorial_scaled else scaled(t, float(factorial(i)) ** exponent)
                for i, t in enumerate(terms, 1)]

    with quiet():
        terms = [t for ts in series for t in with_factorials(ts, -1)]
        outs, out_terms = taylor_flat(order, flat, leaves, terms)
        found = [[instantiate(t) for t in with_factorials(ts, 1)] for ts in by_value(out_terms, len(outs))]
    return outs, found, flat.out_tree
