"""A function run once with its arguments: the program that it was, and the value of every variable.

In: a function with arguments, or a jaxpr. Out: a ``Recording``: a flat program in which calls (``jit``, ``checkpoint``) are
replaced by what they call, their names kept as the path of the equations; the values; and the user's names for them. Unlike
``make_jaxpr`` it follows Python's ``if`` on a value, as the gradient does.

    record(lambda x: fnp.sin(x) * x, (2.0,))    ->    b = sin a; c = mul b a    {a: 2.0, b: 0.909, c: 1.819}
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from funcgrad.control.checkpoint import checkpoint_p
from funcgrad.core.array import aval_of
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Named, Var, current_path, is_effect
from funcgrad.core.primitive import Primitive
from funcgrad.core.stage import StageTrace, StageTracer, as_value, interpret
from funcgrad.core.trace import EVAL, current_trace, tracing
from funcgrad.core.types import ShapedArray
from funcgrad.debug.user_names import source_names, user_names
from funcgrad.errors import equation_source, evaluates_equations, message
from funcgrad.jit import jit_p
from funcgrad.ops.structural import convert_element_type_p, name_p
from funcgrad.transforms.arguments import FlatFunction, flatten_args, function_name, leaf_paths
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.staging import ShapeDtypeStruct, abstract
from funcgrad.tree import keystr, tree_flatten, tree_leaves_with_path, tree_unflatten


@dataclass(frozen=True, eq=False)
class Recording:
    """A flat program without labels, the values of its variables (none if it was not run), and their names."""

    name: str
    jaxpr: Jaxpr
    values: dict[Var, Any]
    names: dict[Var, str]
    out_names: tuple[str, ...] = ()

    def value(self, atom: Atom) -> Any:
        """The value of a variable or literal; None if it is not known."""
        return atom.value if type(atom) is Literal else self.values.get(atom)


def record(f: Callable, args: tuple, what: str = "draw") -> Recording:
    """Runs a function of trees of arrays, and records what it does. With ShapeDtypeStructs as arguments nothing is computed.

    Raises TypeError if the function or an argument is none, or inside of a transformed function.
    """
    check_callable(f, what)
    if current_trace.get() is not EVAL:
        raise TypeError(message(f"{what}: called inside of a transformed function", current_trace.get().what,
                                "the outside of all transformations", f"fg.{what} of the transformed function"))
    leaves, tree = tree_flatten(args)
    known = not any(isinstance(x, ShapeDtypeStruct) for x in leaves)
    leaves = [as_value(x) for x in flatten_args(f, args, what)[0]] if known else leaves
    flat = FlatFunction(f, tree, what)
    recorded = _recorded(flat, [abstract(x) for x in leaves], leaves if known else None, function_name(f), leaf_paths(f, args))
    numbers = tree_unflatten(flat.out_tree, list(range(flat.out_tree.num_leaves)))
    return replace(recorded, out_names=tuple([keystr(path) for path, _ in tree_leaves_with_path(numbers)]))


def record_program(jaxpr: Jaxpr, args: Sequence[Any] | None = None, names: Sequence[str] = ()) -> Recording:
    """As ``record``, for a program; without arguments nothing is computed. Raises TypeError if they do not fit."""
    if args is not None:
        args = [as_value(x) for x in args]
        found, expected = [[(a.shape, a.dtype) for a in avals] for avals in (map(aval_of, args), jaxpr.in_avals)]
        if found != expected:
            raise TypeError(message("draw: the arguments are not those of the program",
                                    ", ".join(str(aval_of(x)) for x in args), ", ".join(map(str, jaxpr.in_avals)),
                                    "the arrays alone, in the order of the jaxpr's inputs"))
    return _recorded(lambda *xs: current_trace.get().replay(jaxpr, xs), jaxpr.in_avals, args, jaxpr.name, names)


def _recorded(function: Callable, avals: Sequence[ShapedArray], args: Sequence[Any] | None, name: str,
              names: Sequence[str]) -> Recording:
    trace = RecordTrace(args is not None)
    with quiet(), tracing(trace):
        inputs = [trace.tracer(Var(aval), value) for aval, value in zip(avals, args or [None] * len(avals), strict=True)]
        jaxpr = _essential(trace.program(inputs, function(*inputs), name)[0])
    trace.values.update(zip(jaxpr.const_vars, jaxpr.consts, strict=True))
    known = {**trace.called, **user_names(jaxpr, names, trace.source), **trace.labels}
    return Recording(name, jaxpr, trace.values, known)


def _essential(jaxpr: Jaxpr) -> Jaxpr:
    """The program without what nothing needs, and without conversions that only change how weak a type is."""
    same: dict[Atom, Atom] = {}
    for e in jaxpr.equations:
        if e.primitive is convert_element_type_p and type(e.inputs[0]) is Var and \
                e.inputs[0].aval.dtype == e.outs[0].aval.dtype:
            same[e.outs[0]] = same.get(e.inputs[0], e.inputs[0])
    outs = tuple([same.get(a, a) for a in jaxpr.outs])
    needed: set[Atom] = set(outs)
    kept = []
    for e in reversed(jaxpr.equations):
        if is_effect(e) or not needed.isdisjoint(e.outs):
            kept.append(replace(e, inputs=tuple([same.get(a, a) for a in e.inputs])) if same else e)
            needed.update(kept[-1].inputs)
    consts = [(v, c) for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True) if v in needed]
    return jaxpr.replace(equations=tuple(kept[::-1]), outs=outs, const_vars=tuple([v for v, _ in consts]),
                         consts=tuple([c for _, c in consts]))


class RecordTracer(StageTracer):
    """A variable of the program, and its value."""

    __slots__ = ("value",)

    def concrete(self) -> Any:
        return self.value


class RecordTrace(StageTrace):
    """Records every primitive as an equation, and computes it if the arguments are known."""

    def __init__(self, known: bool):
        super().__init__(EVAL, "draw")
        self.known = known
        self.values: dict[Var, Any] = {}
        self.labels: dict[Var, str] = {}
        self.called: dict[Var, str] = {}
        """Names of what calls returned, where the user's code stores it."""

    def tracer(self, variable: Var, value: Any) -> RecordTracer:
        result = RecordTracer(self, variable)
        result.value = value
        if self.known:
            self.values[variable] = value
        return result

    def own(self, x: Any) -> bool:
        return type(x) is RecordTracer and x._trace is self

    def atom(self, x: Any) -> Atom:
        return x._var if self.own(x) else super().atom(x)

    def record(self, primitive: Primitive, args: Sequence[Any], params: dict) -> tuple:
        if primitive is name_p:
            if self.own(args[0]):
                self.labels[args[0]._var] = params["name"]
            return tuple(args)
        if primitive in (jit_p, checkpoint_p):
            return self._call(primitive, args, params["jaxpr"])
        tracers = super().record(primitive, args, params)
        equation = self.equations[-1]
        values = _computed(equation, [x.value if self.own(x) else x for x in args]) if self.known else [None] * len(tracers)
        return tuple([self.tracer(x._var, value) for x, value in zip(tracers, values, strict=True)])

    def _call(self, primitive: Primitive, args: Sequence[Any], jaxpr: Jaxpr) -> tuple:
        stored = source_names(equation_source(), self.source)
        token = current_path.set((*current_path.get(), Named(f"{primitive.name}: {jaxpr.name or 'program'}")))
        try:
            outs = self.replay(jaxpr, args)
        finally:
            current_path.reset(token)
        if len(stored) == len(outs):
            self.called.update((x._var, name) for x, name in zip(outs, stored, strict=True) if self.own(x))
        return tuple(outs)

    def replay(self, jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
        """Records the equations of a program for these arguments."""
        values: dict[Any, Any] = dict(zip((*jaxpr.in_vars, *jaxpr.const_vars), (*args, *jaxpr.consts), strict=True))
        outside = current_path.get()
        for e in jaxpr.equations:
            source = e.source  # noqa: F841  equation_source reads it
            token = current_path.set((*outside, *e.path))
            try:
                inputs = [a.value if type(a) is Literal else values[a] for a in e.inputs]
                outs = self.process(e.primitive, tuple(inputs), e.params)
            finally:
                current_path.reset(token)
            values.update(zip(e.outs, outs, strict=True))
        return [a.value if type(a) is Literal else values[a] for a in jaxpr.outs]


evaluates_equations(RecordTrace.replay)


def _computed(equation: Equation, values: Sequence[Any]) -> list[Any]:
    """The results of one equation, in the interpreter: nothing is compiled for a drawing."""
    inputs = tuple([a if type(a) is Literal else Var(aval_of(x)) for a, x in zip(equation.inputs, values, strict=True)])
    given = [(a, x) for a, x in zip(inputs, values, strict=True) if type(a) is Var]
    outs = tuple([Var(v.aval) for v in equation.outs])
    alone = Equation(equation.primitive, inputs, outs, equation.params, equation.source)
    return interpret(Jaxpr(tuple([a for a, _ in given]), (), (), (alone,), outs), [as_value(x) for _, x in given])
