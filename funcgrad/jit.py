"""``jit``: a function is traced once for each signature, and its program runs from then on.

In: a Python function of pytrees. Out: a callable that stages the function for the types of its arguments, keeps the
jaxpr, and executes it; and the call primitive through which every other transformation sees the program.

    { lambda ; a:f64[]. let b:f64[] = jit[jaxpr={ lambda ; a:f64[]. let b:f64[] = sin a in (b,) }] a in (b,) }
"""
from __future__ import annotations

import functools
import inspect
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from funcgrad.core.array import Array, DeviceArray, DonatedBuffer, describe
from funcgrad.core.jaxpr import Jaxpr, count_equations
from funcgrad.core.primitive import DERIVED, Kind, Primitive
from funcgrad.core.stage import StageTrace, as_value, eval_jaxpr, execute, stage, typed
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.core.types import Zero
from funcgrad.errors import message
from funcgrad.transforms.arguments import FlatFunction, argument_names, function_name
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import jvp_call, spread
from funcgrad.transforms.linearize import LinearizeTrace, linearize_jaxpr
from funcgrad.transforms.staging import ShapeDtypeStruct, abstract
from funcgrad.transforms.transpose import transpose_call
from funcgrad.transforms.vmap import batch_call
from funcgrad.tree import keystr, tree_flatten, tree_flatten_with_path, tree_unflatten

CACHE_SIZE = 4096
"""Traces kept by one jitted function; the least recently used goes first."""

_enabled: ContextVar[bool] = ContextVar("jit_enabled", default=True)


def jit(fun: Callable | None = None, *, static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Sequence[str] | None = None, donate_argnums: int | Sequence[int] | None = None,
        donate_argnames: str | Sequence[str] | None = None, inline: bool = False) -> Any:
    """A function with the same results, staged once for each signature and then executed as a program.

    Args:
      fun: a function of trees of arrays. Its Python code runs once for each combination of shapes, dtypes, trees and
        static values.
      static_argnums, static_argnames: arguments that are Python values, not arrays; they must be hashable.
      donate_argnums, donate_argnames: arguments whose memory may be reused; they cannot be used after the call.
      inline: when the function is called while another is being traced, write its equations into that program.

    The result has ``lower(*args)``, ``cache_info()`` and ``clear_cache()``. It is also a decorator, bare or with
    arguments, of functions and methods.

    >>> import funcgrad as fg
    >>> fg.jit(lambda x: x + 1)(2.0)
    Array(3., dtype=float64, weak_type=True)
    """
    if fun is None:
        return functools.partial(jit, static_argnums=static_argnums, static_argnames=static_argnames,
                                 donate_argnums=donate_argnums, donate_argnames=donate_argnames, inline=inline)
    check_callable(fun, "jit")
    return Jitted(fun, _Selection(fun, static_argnums, static_argnames), _Selection(fun, donate_argnums, donate_argnames),
                  inline)


class _Selection:
    """Some of a function's arguments, whether passed by position or by name."""

    def __init__(self, fun: Callable, numbers: int | Sequence[int] | None, names: str | Sequence[str] | None):
        self.numbers = set() if numbers is None else {numbers} if isinstance(numbers, int) else set(numbers)
        self.names = set() if names is None else {names} if isinstance(names, str) else set(names)
        try:
            parameters = [p for p in inspect.signature(fun).parameters.values()
                          if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        except (TypeError, ValueError):
            parameters = []
        if numbers is not None and names is None:
            self.names = {parameters[i].name for i in self.numbers if -len(parameters) <= i < len(parameters)}
        elif names is not None and numbers is None:
            self.numbers = {i for i, p in enumerate(parameters) if p.name in self.names}

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)

    def positions(self, count: int) -> set[int]:
        return {i % count for i in self.numbers if -count <= i < count}


class CacheInfo(NamedTuple):
    """How often a jitted function found its program and how often it traced one; ``currsize`` programs are kept."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class _Program(NamedTuple):
    jaxpr: Jaxpr
    captured: list[Any]
    out_tree: Any


class Jitted:
    """A function under ``jit``."""

    def __init__(self, fun: Callable, static: _Selection, donated: _Selection, inline: bool):
        functools.update_wrapper(self, fun)
        self._fun, self._static, self._donated, self._inline = fun, static, donated, inline
        self._programs: OrderedDict[tuple, _Program] = OrderedDict()
        self._hits = self._misses = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _enabled.get():
            return self._fun(*args, **kwargs)
        dynamic, statics = self._split(args, kwargs) if self._static else ((args, kwargs), None)
        leaves, tree = tree_flatten(dynamic)
        for i, x in enumerate(leaves):
            if not isinstance(x, Array):
                leaves[i] = self._leaf(x, dynamic, i)
        program = self._program(leaves, tree, args, kwargs, statics)
        trace = current_trace.get()
        inputs = (*program.captured, *leaves)
        with quiet():
            if trace is EVAL:
                outs = execute(program.jaxpr, inputs)
            elif self._inline and isinstance(trace, StageTrace):
                outs = eval_jaxpr(program.jaxpr, inputs)
            else:
                outs = jit_p.bind(*inputs, jaxpr=program.jaxpr)
        if self._donated:
            self._donate(args, kwargs, outs)
        return tree_unflatten(program.out_tree, outs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<jit of {function_name(self._fun)}>"

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """The program for these arguments (arrays or ShapeDtypeStructs) without running it."""
        dynamic, statics = self._split(args, kwargs)
        leaves, tree = tree_flatten(dynamic)
        avals = tuple([abstract(x) for x in leaves])
        return Lowered(self._stage(avals, tree, args, kwargs), function_name(self._fun))

    trace = lower

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shapes and dtypes of the result, as a tree of ShapeDtypeStruct."""
        return self.lower(*args, **kwargs).out_info

    def cache_info(self) -> CacheInfo:
        """Hits, misses and number of the programs traced."""
        return CacheInfo(self._hits, self._misses, CACHE_SIZE, len(self._programs))

    def clear_cache(self) -> None:
        """Forgets all programs."""
        self._programs.clear()
        self._hits = self._misses = 0

    def _split(self, args: tuple, kwargs: dict) -> tuple[tuple, tuple]:
        """The dynamic arguments, and the static ones as a hashable key."""
        at = self._static.positions(len(args))
        names = self._static.names
        statics = [(i, args[i]) for i in sorted(at)] + [(k, kwargs[k]) for k in sorted(kwargs) if k in names]
        for where, value in statics:
            try:
                hash(value)
            except TypeError:
                label = where if isinstance(where, str) else argument_names(self._fun, len(args))[where]
                raise ValueError(message(
                    f"jit: a static argument of {function_name(self._fun)} is not hashable",
                    f"{label} is {describe(value)}", "a hashable value: programs are kept by the values of static arguments",
                    "a tuple instead of a list, a frozen dataclass, or no static argument")) from None
        dynamic = (tuple([x for i, x in enumerate(args) if i not in at]), {k: v for k, v in kwargs.items() if k not in names})
        return dynamic, tuple([(where, _identity(value), value) for where, value in statics])

    def _leaf(self, x: Any, dynamic: tuple, position: int) -> Any:
        try:
            return as_value(x)
        except TypeError:
            path = tree_flatten_with_path(dynamic)[0][position][0]
            names = argument_names(self._fun, len(dynamic[0])) if not self._static else None
            label = keystr(path[1:]) if names is None or path[0].idx == 1 else names[path[1].idx] + keystr(path[2:])
            raise TypeError(message(
                f"jit: an argument of {function_name(self._fun)} is not an array or a number",
                f"{label} is {describe(x)}", "arrays, numbers, and trees of them",
                "static_argnums or static_argnames for Python values")) from None

    def _program(self, leaves: list[Any], tree: Any, args: tuple, kwargs: dict, statics: tuple | None) -> _Program:
        trace = current_trace.get()
        key = (tree, tuple([x.aval for x in leaves]), statics, () if trace is EVAL else trace.axis_env())
        program = self._programs.get(key)
        if program is not None:
            self._hits += 1
            self._programs.move_to_end(key)
            return program
        self._misses += 1
        program = self._stage(tuple([typed(x.aval) for x in leaves]), tree, args, kwargs)
        if not program.captured:  # values of outer transformations are valid in this call only
            self._programs[key] = program
            if len(self._programs) > CACHE_SIZE:
                self._programs.popitem(last=False)
        return program

    def _stage(self, avals: tuple, tree: Any, args: tuple, kwargs: dict) -> _Program:
        at = self._static.positions(len(args))
        static_kwargs = {k: v for k, v in kwargs.items() if k in self._static.names}

        def of_dynamic(dynamic_args: tuple, dynamic_kwargs: dict) -> Any:
            rest = iter(dynamic_args)
            return self._fun(*[x if i in at else next(rest) for i, x in enumerate(args)], **dynamic_kwargs, **static_kwargs)

        of_dynamic.__name__ = function_name(self._fun)
        flat = FlatFunction(of_dynamic, tree, "jit")
        with quiet():
            jaxpr, captured = stage(flat, avals, function_name(self._fun))
        return _Program(jaxpr, captured, flat.out_tree)

    def _donate(self, args: tuple, kwargs: dict, outs: Sequence[Any]) -> None:
        """Marks the donated arguments as used up; a buffer that became a result stays."""
        kept = {id(out) for out in outs}
        chosen = [args[i] for i in self._donated.positions(len(args))]
        chosen += [v for k, v in kwargs.items() if k in self._donated.names]
        for x in tree_flatten(chosen)[0]:
            if type(x) is DeviceArray and id(x) not in kept:
                x._data = DonatedBuffer(x.aval, function_name(self._fun))


def _identity(value: Any) -> Any:
    """What tells equal static values apart that a function may treat differently: 1 and 1.0 and True, 0.0 and -0.0."""
    if isinstance(value, tuple):
        return type(value), tuple(map(_identity, value))
    return (type(value), repr(value)) if isinstance(value, (float, complex)) else type(value)


class Lowered:
    """A function's program for given types, before it is run."""

    def __init__(self, program: _Program, name: str):
        self._program, self.name = program, name
        self.jaxpr = program.jaxpr

    @property
    def out_info(self) -> Any:
        """The types of the results, as a tree of ShapeDtypeStruct."""
        return tree_unflatten(self._program.out_tree,
                              [ShapeDtypeStruct(a.shape, a.dtype, a.weak_type) for a in self.jaxpr.out_avals])

    def as_text(self) -> str:
        """The jaxpr as text."""
        return str(self.jaxpr)

    def report(self) -> dict[str, Any]:
        """What is known of the program before it runs: its name and number of equations."""
        return {"name": self.name, "equations": count_equations(self.jaxpr)}

    def compile(self) -> Callable:
        """A callable that runs the program on arguments of the types it was lowered for."""

        def run(*args: Any, **kwargs: Any) -> Any:
            leaves = [as_value(x) for x in tree_flatten((args, kwargs))[0]]
            found, expected = [x.aval.strip_weak_type() for x in leaves], [
                a.strip_weak_type() for a in self.jaxpr.in_avals[len(self._program.captured):]]
            if found != expected:
                raise TypeError(message(f"{self.name}: the arguments are not those it was compiled for",
                                        ", ".join(map(str, found)), ", ".join(map(str, expected))))
            with quiet():
                return tree_unflatten(self._program.out_tree, eval_jaxpr(self.jaxpr, [*self._program.captured, *leaves]))

        return run

    def __repr__(self) -> str:
        return f"Lowered({self.name}: {self.jaxpr})"


@contextmanager
def disable_jit(disable: bool = True) -> Iterator[None]:
    """Inside, jitted functions run as plain Python, so that a debugger stops in them with concrete values."""
    token = _enabled.set(not disable)
    try:
        yield
    finally:
        _enabled.reset(token)


# ---------------------------------------------------------------- the call primitive and its rules


def jit_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Jaxpr) -> tuple[tuple, tuple]:
    nonzero = tuple([type(t) is not Zero for t in tangents])
    primal, linear, mask = linearize_jaxpr(jaxpr, nonzero)
    results = jit_p.bind(*primals, jaxpr=primal)
    outs, residuals = results[:len(jaxpr.outs)], results[len(jaxpr.outs):]
    dots = trace.linear.process(jit_p, (*residuals, *[t for t in tangents if type(t) is not Zero]), {"jaxpr": linear})
    return outs, spread(dots, mask, outs)


jit_p = Primitive(
    "jit", Kind.CONTROL, shape=lambda *avals, jaxpr: jaxpr.out_avals, impl=lambda *args, jaxpr: execute(jaxpr, args),
    jvp=lambda primals, tangents, *, jaxpr: jvp_call(jit_p, primals, tangents, jaxpr), linearize=jit_linearize,
    transpose=lambda cotangents, *args, jaxpr: transpose_call(jit_p, cotangents, args, jaxpr, {}),
    batch=lambda axis, args, axes, *, jaxpr: batch_call(jit_p, axis, args, axes, jaxpr, {}), taylor=DERIVED)

