"""Forward mode: every value travels with its tangent.

    jvp : (a -> b) -> (a, T a) -> (b, T b)

In: a function, or a jaxpr, with primals and tangents. Out: results and their tangents; a tangent that is known to be
zero stays symbolic.

    { lambda ; a:f64[]. let b:f64[] = sin a in (b,) }
    { lambda ; a:f64[] b:f64[]. let c:f64[] = sin a; d:f64[] = cos a; e:f64[] = mul b d in (c, e) }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import dtypes
from funcgrad.core.array import aval_of
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.primitive import BILINEAR, LINEAR, Constant, Kind, No, Partials, Primitive, missing_rule
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.core.trace import Trace, Tracer, current, current_trace, tracing
from funcgrad.core.types import ShapedArray, Zero, tangent_aval
from funcgrad.ops.elementwise import add, mul, neg
from funcgrad.ops.structural import instantiate


class JVPTracer(Tracer):
    """A primal with its tangent, which is not zero."""

    __slots__ = ("primal", "tangent")

    def __init__(self, trace: JVPTrace, primal: Any, tangent: Any):
        self._trace, self.primal, self.tangent = trace, primal, tangent

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return aval_of(self.primal)

    def below(self) -> Any:
        return self.primal

    def concrete(self) -> Any:
        return self.primal.concrete() if isinstance(self.primal, Tracer) else self.primal


class JVPTrace(Trace):
    """Applies jvp rules under its parent."""

    what = "jvp"

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        pairs = [self.split(x) for x in args]
        primals = tuple([p for p, _ in pairs])
        tangents = tuple([t for _, t in pairs])
        if all(type(t) is Zero for t in tangents):
            return self.parent.process(primitive, primals, params)
        with current(self.parent):
            outs, out_tangents = apply_jvp(primitive, primals, tangents, params)
        return tuple([self.join(out, t) for out, t in zip(outs, out_tangents, strict=True)])

    def split(self, x: Any) -> tuple[Any, Any]:
        if type(x) is JVPTracer and x._trace is self:
            return x.primal, x.tangent
        return x, Zero(tangent_aval(aval_of(x)))

    def join(self, primal: Any, tangent: Any) -> Any:
        return primal if type(tangent) is Zero else JVPTracer(self, primal, tangent)


def apply_jvp(primitive: Primitive, primals: tuple, tangents: tuple, params: dict) -> tuple[tuple, tuple]:
    """The jvp rule of a primitive, under the current trace; at least one tangent is not a Zero."""
    rule = primitive.jvp
    if type(rule) is Partials:
        out, = primitive.bind(*primals, **params)
        return (out,), (combine(rule, out, primals, tangents, params),)
    if rule is LINEAR:
        outs = primitive.bind(*primals, **params)
        return outs, primitive.bind(*linear_args(primitive, primals, tangents), **params)
    if rule is BILINEAR:
        (x, y), (x_dot, y_dot) = primals, tangents
        terms = [primitive.bind(*pair, **params)[0] for pair, t in (((x_dot, y), x_dot), ((x, y_dot), y_dot))
                 if type(t) is not Zero]
        return primitive.bind(x, y, **params), (terms[0] if len(terms) == 1 else add(*terms),)
    if type(rule) is Constant:
        outs = primitive.bind(*primals, **params)
        return outs, tuple([Zero(tangent_aval(aval_of(out))) for out in outs])
    if type(rule) is No:
        raise missing_rule(primitive, "differentiation", "jvp", rule.reason)
    return rule(primals, tangents, **params)


def linear_args(primitive: Primitive, primals: tuple, tangents: tuple) -> list[Any]:
    """The arguments of a linear operation applied to tangents: its integer arguments stay what they are."""
    scalar_zeros = primitive.kind is Kind.ELEMENTWISE
    return [p if not dtypes.is_inexact(p.dtype) else t if type(t) is not Zero else
            p.dtype.type(0) if scalar_zeros or not p.shape else instantiate(t)
            for p, t in zip(primals, tangents, strict=True)]


def combine(rule: Partials, out: Any, primals: tuple, tangents: tuple, params: dict) -> Any:
    total: Any = None
    for entry, tangent in zip(rule.entries, tangents, strict=True):
        if type(tangent) is Zero or entry is None:
            continue
        factor = entry(out, *primals, **params) if callable(entry) else entry
        term = scale(tangent, factor)
        total = term if total is None else add(total, term)
    return Zero(tangent_aval(aval_of(out))) if total is None else total


def scale(x: Any, factor: Any) -> Any:
    """x times a partial derivative, which is an array or the constant 1 or -1."""
    if type(factor) is int:
        return x if factor == 1 else neg(x)
    return mul(x, factor)


def jvp_flat(function: Callable[..., Sequence[Any]], primals: Sequence[Any],
             tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Results and tangents (Zero where zero) of a function of flat values."""
    trace = JVPTrace(current_trace.get())
    with tracing(trace):
        outs = function(*[trace.join(p, t) for p, t in zip(primals, tangents, strict=True)])
        pairs = [trace.split(out) for out in outs]
    return [p for p, _ in pairs], [t for _, t in pairs]


class Forward:
    """A forward mode: every value travels with ``order`` further ones, its tangent or its Taylor coefficients.

    They are given in flat lists, in which those of one value stand together, each an array or a Zero.
    ``flat(function, primals, dots)`` runs a function of flat values and returns results and dots.
    """

    def __init__(self, name: str, order: int, flat: Callable[..., tuple[list[Any], list[Any]]]):
        self.name, self.order, self.flat = name, order, flat

    def types(self, avals: Sequence[ShapedArray]) -> list[ShapedArray]:
        """The types of the dots of values of these types."""
        return [a for a in avals for _ in range(self.order)]

    def zeros(self, avals: Sequence[ShapedArray]) -> list[Any]:
        return [Zero(tangent_aval(a)) for a in self.types(avals)]

    def program(self, jaxpr: Jaxpr, nonzero: tuple[bool, ...],
                instantiated: tuple[bool, ...] | bool = False) -> tuple[Jaxpr, tuple[bool, ...]]:
        """The program that computes results and dots.

        Its inputs are all primals, then the dots marked nonzero; its outputs are all results, then the dots that are
        nonzero or to be instantiated, which the second value marks.
        """
        if isinstance(instantiated, bool):
            instantiated = (instantiated and True,) * (self.order * len(jaxpr.outs))
        key = (self.name, self.order, nonzero, instantiated)
        if key not in jaxpr.cache:
            count = len(jaxpr.in_vars)
            out_nonzero: list[bool] = []

            def function(*args: Any) -> list[Any]:
                dots = self.spread(args[count:], nonzero, args[:count])
                outs, out_dots = self.flat(lambda *xs: eval_jaxpr(jaxpr, xs), args[:count], dots)
                out_nonzero[:] = [type(t) is not Zero or (i and dtypes.is_inexact(t.aval.dtype))
                                  for t, i in zip(out_dots, instantiated, strict=True)]
                return outs + [instantiate(t) for t, nz in zip(out_dots, out_nonzero, strict=True) if nz]

            avals = [*jaxpr.in_avals, *[a for a, nz in zip(self.types(jaxpr.in_avals), nonzero, strict=True) if nz]]
            program, captured = stage(function, avals, name=f"{self.name}({jaxpr.name})", what=self.name)
            assert not captured
            jaxpr.cache[key] = program, tuple(out_nonzero)
        return jaxpr.cache[key]

    def call(self, primitive: Primitive, primals: tuple, dots: Sequence[Any], jaxpr: Jaxpr,
             **params: Any) -> tuple[tuple, tuple]:
        """The rule of a primitive that runs one program."""
        program, mask = self.program(jaxpr, tuple([type(t) is not Zero for t in dots]))
        results = primitive.bind(*primals, *[t for t in dots if type(t) is not Zero], jaxpr=program, **params)
        outs = results[:len(jaxpr.outs)]
        return outs, self.spread(results[len(jaxpr.outs):], mask, outs)

    def spread(self, dots: Sequence[Any], mask: Sequence[bool], values: Sequence[Any]) -> tuple:
        """Dots for all values, from those that are not zero."""
        given, zeros = iter(dots), self.zeros([aval_of(x) for x in values])
        return tuple([next(given) if nz else zero for nz, zero in zip(mask, zeros, strict=True)])


JVP = Forward("jvp", 1, jvp_flat)
jvp_jaxpr, spread = JVP.program, JVP.spread
