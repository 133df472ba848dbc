"""Linearization: the primal computation runs, and what touches a tangent is recorded as a linear program.

    linearize : (a -> b) -> a -> (b, T a -o T b)

In: a function and its primals. Out: the results, and a ``Tape``: a list of linear steps. A step is either a
*combination*, out = sum of local derivative * tangent (every elementwise operation is one), or a linear *equation* of
a primitive. The tape runs forward (a directional derivative), or backward (``transpose.py``): reverse mode.

    y = x * sin(x)    tape:  t1 = cos(x) * t0;  t2 = sin(x) * t0 + x * t1
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray, aval_of, describe, owned
from funcgrad.core.jaxpr import Equation, Jaxpr
from funcgrad.core.primitive import LinearIn, Partials, Primitive
from funcgrad.core.stage import StageTrace, eval_jaxpr, stage
from funcgrad.core.trace import EVAL, Trace, Tracer, current, current_trace, tracing
from funcgrad.core.types import ShapedArray, Zero, tangent_aval
from funcgrad.errors import NotLinearError, Source, equation_source, evaluates_equations, message
from funcgrad.ops.elementwise import add
from funcgrad.ops.structural import instantiate
from funcgrad.passes.dead_code import prune
from funcgrad.transforms.jvp import apply_jvp, scale


class Variable:
    """A variable of a tape, as an argument of one of its steps.

    Not a tracer: those hold their trace and with it the tape, and such a cycle keeps all residuals until the garbage
    collector runs; and a tracer among the arguments belongs to a surrounding transposition.
    """

    __slots__ = ("index", "aval")

    def __init__(self, index: int, aval: ShapedArray):
        self.index, self.aval = index, aval


class LinearEquation:
    """A step ``outs = primitive[params](args)``, linear in the arguments that are Variables."""

    __slots__ = ("primitive", "args", "params", "outs")

    def __init__(self, primitive: Primitive, args: tuple, params: dict, outs: list[tuple[int, ShapedArray]]):
        self.primitive, self.args, self.params, self.outs = primitive, args, params, outs


class Tape:
    """A linear program. Its variables are numbers: first those of the inputs, then one for each result of a step.

    A combination is stored as ``(out, [(input, coefficient), ...])``; a coefficient is an array, or 1, or -1.
    """

    __slots__ = ("steps", "count", "sources")

    def __init__(self, inputs: int, sources: bool = False):
        self.steps: list[tuple[int, list[tuple[int, Any]]] | LinearEquation] = []
        self.count = inputs
        self.sources: dict[int, Source | None] | None = {} if sources else None
        """Where the user wrote the operation that made each variable, if the steps become equations."""

    def source(self, step: tuple | LinearEquation) -> Source | None:
        """Where a step came from, if that is known."""
        if not self.sources:
            return None
        variables = [i for i, _ in step.outs] if isinstance(step, LinearEquation) else step[:1]
        return self.sources.get(variables[0]) if variables else None

    def forward(self, tangents: Sequence[Any]) -> list[Any]:
        """The value of every variable, from the values of the inputs; None where nothing is nonzero."""
        values: list[Any] = [*tangents, *[None] * (self.count - len(tangents))]
        for step in self.steps:
            source = self.source(step)  # noqa: F841  equation_source reads it
            if not isinstance(step, LinearEquation):
                out, edges = step
                total = None
                for i, coefficient in edges:
                    if values[i] is not None:
                        term = scale(values[i], coefficient)
                        total = term if total is None else add(total, term)
                values[out] = total
            else:
                args = [(values[x.index] if values[x.index] is not None else instantiate(Zero(x.aval)))
                        if type(x) is Variable else x for x in step.args]
                for (i, _), value in zip(step.outs, step.primitive.bind(*args, **step.params), strict=True):
                    values[i] = value
        return values

    def prune(self, needed: Sequence[int | None]) -> None:
        """Drops the steps that do not reach the variables needed."""
        alive = {i for i in needed if i is not None}
        kept: list[tuple[int, list[tuple[int, Any]]] | LinearEquation] = []
        for step in reversed(self.steps):
            if not isinstance(step, LinearEquation):
                if step[0] in alive:
                    alive.update([i for i, _ in step[1]])
                    kept.append(step)
            elif any(i in alive for i, _ in step.outs):
                alive.update([x.index for x in step.args if type(x) is Variable])
                kept.append(step)
        self.steps = kept[::-1]


evaluates_equations(Tape.forward)


class LinearTracer(Tracer):
    """A variable of a tape."""

    __slots__ = ("index", "_aval")

    def __init__(self, trace: LinearTrace, index: int, aval: ShapedArray):
        self._trace, self.index, self._aval = trace, index, aval

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return self._aval


class LinearTrace(Trace):
    """Records the operations on linear variables; all others run in the parent."""

    what = "linear_transpose"
    values_known = False

    def __init__(self, parent: Trace, inputs: int, source: Source | None = None):
        super().__init__(parent, source)
        self.tape = Tape(inputs, not is_plain_evaluation(parent))

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        linear = [type(x) is LinearTracer and x._trace is self for x in args]
        if not any(linear):
            return self.parent.process(primitive, args, params)
        if type(primitive.transpose) is LinearIn:
            return (self._combination(primitive, args, linear, params),)
        if params.keys() == {"jaxpr"} and not all(depends(params["jaxpr"], tuple(linear))):
            # A plain call that also computes results from the other arguments alone: those are not linear.
            with current(self):
                return tuple(eval_jaxpr(params["jaxpr"], args))
        if primitive.depends is not None and not all(primitive.depends(tuple(linear), **params)):
            return self._linear_part(primitive, args, linear, params)
        return self.record(primitive, args, params)

    def _linear_part(self, primitive: Primitive, args: tuple, linear: list[bool], params: dict) -> tuple:
        """A control operation that mixes: its results that are not linear are computed, the others recorded.

        A linear function is its own derivative, at zero as anywhere.
        """
        split = LinearizeTrace(self.parent, 0, self.what)
        split.linear = self
        with current(self.parent):
            primals = tuple([instantiate(Zero(x.aval)) if is_linear else x
                             for x, is_linear in zip(args, linear, strict=True)])
            tangents = tuple([x if is_linear else Zero(tangent_aval(aval_of(x)))
                              for x, is_linear in zip(args, linear, strict=True)])
            assert primitive.linearize is not None
            outs, out_tangents = primitive.linearize(split, primals, tangents, **params)
        return tuple([out if type(t) is Zero else t for out, t in zip(outs, out_tangents, strict=True)])

    def record(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        """Appends a linear equation; its other arguments are residuals."""
        tape = self.tape
        avals = primitive.abstract_eval(tuple([aval_of(x) for x in args]), params)
        args = tuple([Variable(x.index, x.aval) if type(x) is LinearTracer and x._trace is self else owned(x)
                      for x in args])
        outs = list(zip(range(tape.count, tape.count + len(avals)), avals, strict=True))
        if tape.sources is not None:
            tape.sources[tape.count] = _derived(equation_source())
        tape.count += len(avals)
        tape.steps.append(LinearEquation(primitive, args, params, outs))
        return tuple([LinearTracer(self, i, aval) for i, aval in outs])

    def _combination(self, primitive: Primitive, args: tuple, linear: list[bool], params: dict) -> LinearTracer:
        positions = primitive.transpose.positions
        edges = []
        with current(self.parent):
            for i, x in enumerate(args):
                if linear[i]:
                    entry: Any = primitive.jvp.entries[i]
                    factor = entry(None, *args, **params) if callable(entry) and i in positions else entry
                    if i not in positions or type(factor) is LinearTracer and factor._trace is self:
                        raise not_linear(primitive)
                    edges.append((x.index, owned(factor)))
                elif not callable(primitive.jvp.entries[i]) and not _known_zero(x):
                    raise not_linear(primitive, "adds a constant that is not zero")
        aval = next(x.aval for x, is_linear in zip(args, linear, strict=True) if is_linear)
        return LinearTracer(self, append_combination(self.tape, edges), aval)


def _derived(source: Source | None) -> Source | None:
    return source and Source(source.code, source.offset, True)


def is_plain_evaluation(trace: Trace) -> bool:
    """Whether all operations are computed at once and nobody asks where they came from."""
    while trace.parent is not trace:
        if isinstance(trace, StageTrace):
            return False
        trace = trace.parent
    return trace is EVAL


def depends(jaxpr: Jaxpr, on: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which outputs of a program depend on the inputs marked."""
    key = ("depends", on)
    if key not in jaxpr.cache:
        reached = {v for v, marked in zip(jaxpr.in_vars, on, strict=True) if marked}
        for equation in jaxpr.equations:
            marked = tuple([atom in reached for atom in equation.inputs])
            if any(marked):
                found = _equation_depends(equation, marked)
                reached.update(v for v, reaches in zip(equation.outs, found, strict=True) if reaches)
        jaxpr.cache[key] = tuple([out in reached for out in jaxpr.outs])
    return jaxpr.cache[key]


def _equation_depends(equation: Equation, on: tuple[bool, ...]) -> tuple[bool, ...]:
    if equation.params.keys() == {"jaxpr"}:
        return depends(equation.params["jaxpr"], on)
    if equation.primitive.depends is not None:
        return equation.primitive.depends(on, **equation.params)
    return (True,) * len(equation.outs)


def append_combination(tape: Tape, edges: list[tuple[int, Any]]) -> int:
    """Appends a combination and returns the number of its result."""
    out = tape.count
    if tape.sources is not None:
        tape.sources[out] = _derived(equation_source())
    tape.count = out + 1
    tape.steps.append((out, edges))
    return out


def _known_zero(x: Any) -> bool:
    """False only for a constant that is seen not to be zero: rules add arrays of zeros, traced or not."""
    value = x._data if type(x) is DeviceArray else x
    return isinstance(value, Tracer) or not np.any(value)


def not_linear(primitive: Primitive, how: str = "is not linear in the argument that is transposed") -> NotLinearError:
    """The error for a program that has no transpose."""
    return NotLinearError(message("transpose: the function is not linear", f"the operation {primitive.name} {how}",
                                  "a function f with f(a*x + b*y) = a*f(x) + b*f(y)", "fg.vjp, which linearizes first"))


class LinearizeTracer(Tracer):
    """A primal and the tape's variable for its tangent."""

    __slots__ = ("primal", "index", "dtype", "shape")
    dtype: np.dtype  # type: ignore[misc]
    shape: tuple[int, ...]  # type: ignore[misc]

    def __init__(self, trace: LinearizeTrace, primal: Any, index: int, dtype: np.dtype, shape: tuple[int, ...]):
        self._trace, self.primal, self.index = trace, primal, index
        self.dtype, self.shape = dtype, shape  # asked for by every operation

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return self.primal.aval

    def below(self) -> Any:
        return self.primal

    def concrete(self) -> Any:
        return self.primal.concrete() if isinstance(self.primal, Tracer) else self.primal


class LinearizeTrace(Trace):
    """Runs primal operations in the parent and records tangent operations on the tape of ``self.linear``."""

    def __init__(self, parent: Trace, inputs: int, what: str = "grad"):
        super().__init__(parent)
        self.what = what
        self.linear = LinearTrace(parent, inputs, self.source)

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        primals: list[Any] = []
        indices: list[int | None] = []
        active: Any = None
        for x in args:
            if type(x) is LinearizeTracer and x._trace is self:
                primals.append(x.primal)
                indices.append(x.index)
                active = x
            else:
                primals.append(x)
                indices.append(None)
        if active is None:
            return self.parent.process(primitive, args, params)
        rule = primitive.jvp
        if type(rule) is not Partials:
            return self._general(primitive, tuple(primals), indices, params)
        token = current_trace.set(self.parent)
        try:
            out, = self.parent.process(primitive, tuple(primals), params)
            edges: list[tuple[int, Any]] = []
            for entry, index in zip(rule.entries, indices, strict=True):
                if index is not None and entry is not None:
                    if callable(entry):
                        entry = entry(out, *primals, **params)
                        if type(entry) is np.ndarray:
                            entry = owned(entry)
                    edges.append((index, entry))
        finally:
            current_trace.reset(token)
        if not edges:
            return (out,)
        # An elementwise operation keeps dtype and shape.
        return (LinearizeTracer(self, out, append_combination(self.linear.tape, edges), active.dtype, active.shape),)

    def _general(self, primitive: Primitive, primals: tuple, indices: list[int | None], params: dict) -> tuple:
        """Operations with a ``linearize`` rule of their own, and those whose jvp is a function or a marker."""
        tangents = tuple([Zero(tangent_aval(aval_of(p))) if i is None else LinearTracer(self.linear, i, aval_of(p))
                          for p, i in zip(primals, indices, strict=True)])
        if primitive.linearize is not None:
            with current(self.parent):
                outs, out_tangents = primitive.linearize(self, primals, tangents, **params)
        else:
            with current(self.linear):
                outs, out_tangents = apply_jvp(primitive, primals, tangents, params)
        return tuple([self.join(out, t) for out, t in zip(outs, out_tangents, strict=True)])

    def join(self, primal: Any, tangent: Any) -> Any:
        if type(tangent) is Zero:
            return primal
        if type(tangent) is LinearTracer and tangent._trace is self.linear:
            return LinearizeTracer(self, primal, tangent.index, primal.dtype, primal.shape)
        if not _known_zero(tangent):
            raise TypeError(message("differentiation: a rule returned a tangent that does not depend on the input's tangent "
                                    "and is not zero", describe(tangent), "a tangent that is linear in the input's tangent"))
        return primal

    def split(self, x: Any) -> tuple[Any, int | None]:
        return (x.primal, x.index) if type(x) is LinearizeTracer and x._trace is self else (x, None)


def linearize_flat(function: Callable[..., Sequence[Any]], primals: Sequence[Any], active: Sequence[bool],
                   what: str = "grad") -> tuple[list[Any], list[int | None], Tape]:
    """Runs a function of flat values. The active primals are the tape's inputs, in order.

    Returns the results, the tape's variable for the tangent of each (None where it is zero), and the tape.
    """
    trace = LinearizeTrace(current_trace.get(), sum(active), what)
    numbers = iter(range(len(primals)))
    with tracing(trace):
        outs = function(*[LinearizeTracer(trace, p, next(numbers), p.dtype, p.shape) if a else p
                          for p, a in zip(primals, active, strict=True)])
        pairs = [trace.split(out) for out in outs]
    trace.linear.alive = False
    return [p for p, _ in pairs], [i for _, i in pairs], trace.linear.tape


def linearize_jaxpr(jaxpr: Jaxpr, nonzero: tuple[bool, ...],
                    instantiated: tuple[bool, ...] | bool = False) -> tuple[Jaxpr, Jaxpr, tuple[bool, ...]]:
    """Splits a program into its primal part and its linear part.

    Returns ``primal: inputs -> outs, residuals``, ``linear: residuals, nonzero tangents -> out tangents`` and the mask
    of the out tangents, which are those that are nonzero or to be instantiated.
    """
    if isinstance(instantiated, bool):
        instantiated = (instantiated and True,) * len(jaxpr.outs)
    key = ("linearize", nonzero, instantiated)
    if key not in jaxpr.cache:
        trace = StageTrace(current_trace.get(), "linearize")
        with tracing(trace):
            inputs = [trace.new_tracer(aval) for aval in jaxpr.in_avals]
            outs, indices, tape = linearize_flat(lambda *xs: eval_jaxpr(jaxpr, xs), inputs, nonzero)
            tape.prune(indices)
            avals = [a for a, nz in zip(jaxpr.in_avals, nonzero, strict=True) if nz]

            mask = tuple([i is not None or (wanted and dtypes.is_inexact(a.dtype))
                          for i, wanted, a in zip(indices, instantiated, jaxpr.out_avals, strict=True)])

            def linear_part(*tangents: Any) -> list[Any]:
                values = tape.forward(tangents)
                return [instantiate(Zero(tangent_aval(a))) if i is None else values[i]
                        for i, a, shown in zip(indices, jaxpr.out_avals, mask, strict=True) if shown]

            linear, residuals = stage(linear_part, avals, name=f"linear({jaxpr.name})", what="linearize")
            primal, captured = trace.program(inputs, [*outs, *residuals], f"primal({jaxpr.name})")
            assert not captured
        jaxpr.cache[key] = prune(primal)[0], linear, mask
    return jaxpr.cache[key]
