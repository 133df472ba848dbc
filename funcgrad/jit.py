"""``jit``: a function is traced once for each signature, and its program runs from then on.

In: a Python function of pytrees. Out: a callable that stages the function for the types of its arguments, keeps the
jaxpr, and executes it; and the call primitive through which every other transformation sees the program.

    { lambda ; a:f64[]. let b:f64[] = jit[jaxpr={ lambda ; a:f64[]. let b:f64[] = sin a in (b,) }] a in (b,) }
"""
from __future__ import annotations

import functools
import time
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from funcgrad import compiler
from funcgrad.compiler import report
from funcgrad.compiler.memory import uncollected
from funcgrad.core import device as devices
from funcgrad.core.array import Array, DeviceArray, describe
from funcgrad.core.device import Device, as_device
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.pretty import Text
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import Compiled, StageTrace, as_value, eval_jaxpr, stage, typed
from funcgrad.core.trace import EVAL, Tracer, current_trace, leaked, plainly
from funcgrad.core.types import Zero
from funcgrad.errors import message, user_source
from funcgrad.ops.options import Precision, as_precision, default_precision
from funcgrad.retracing import Signature, Traces
from funcgrad.staged import CACHE_SIZE, NOTHING, Known, Program, borrow, never
from funcgrad.transforms.arguments import FlatFunction, Selection, argument_names, function_name, leaf_paths
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward, spread
from funcgrad.transforms.linearize import LinearizeTrace, linearize_jaxpr
from funcgrad.transforms.staging import ShapeDtypeStruct, abstract
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_call
from funcgrad.transforms.vmap import batch_call
from funcgrad.tree import keystr, tree_flatten, tree_flatten_with_path, tree_unflatten

STRUCTURES = 64
"""Argument structures that one jitted function has fast code for."""

_enabled: ContextVar[bool] = ContextVar("jit_enabled", default=True)


def jit(fun: Callable | None = None, *, static_argnums: int | Sequence[int] | None = None,
        static_argnames: str | Sequence[str] | None = None, donate_argnums: int | Sequence[int] | None = None,
        donate_argnames: str | Sequence[str] | None = None, inline: bool = False, device: Any = None) -> Any:
    """A function with the same results, staged once for each signature and then executed as a program.

    Args:
      fun: a function of trees of arrays. Its Python code runs once for each combination of shapes, dtypes, trees and
        static values.
      static_argnums, static_argnames: arguments that are Python values, not arrays; they must be hashable.
      donate_argnums, donate_argnames: arguments whose memory may be reused; they cannot be used after the call. Results of
        64 KiB and more take it where the program allows and nobody else has it: ``lower(*args).report()`` tells which.
      inline: when the function is called while another is being traced, write its equations into that program.
      device: where the program runs, such as "cuda:0"; arguments that are elsewhere are brought there. Without it a program
        runs where its arguments are: on a GPU if one is there, and then all Arrays with axes have to be, while numbers and
        NumPy arrays follow them. Under another transformation the arguments alone decide.

    The result has ``lower(*args)``, which shows every stage of the program, ``explain()``, which tells why it was traced
    again, ``cache_info()`` and ``clear_cache()``. It is also a decorator, bare or with arguments, of functions and methods.

    >>> import funcgrad as fg
    >>> fg.jit(lambda x: x + 1)(2.0)
    Array(3., dtype=float64, weak_type=True)
    """
    if fun is None:
        return functools.partial(jit, static_argnums=static_argnums, static_argnames=static_argnames,
                                 donate_argnums=donate_argnums, donate_argnames=donate_argnames, inline=inline, device=device)
    check_callable(fun, "jit")
    return Jitted(fun, Selection(fun, static_argnums, static_argnames), Selection(fun, donate_argnums, donate_argnames),
                  inline, None if device is None else as_device("jit", device))


class CacheInfo(NamedTuple):
    """How often a jitted function found its program and how often it traced one; ``currsize`` programs are kept."""

    hits: int
    misses: int
    maxsize: int
    currsize: int


class Jitted:
    """A function under ``jit``."""

    def __init__(self, fun: Callable, static: Selection, donated: Selection, inline: bool, device: Device | None = None):
        functools.update_wrapper(self, fun)
        self._fun, self._static, self._donated, self._inline, self._device = fun, static, donated, inline, device
        self._programs: OrderedDict[tuple, Program] = OrderedDict()
        self._known: dict[Any, Known] = {}
        self._last = NOTHING
        self._call: Callable = never
        self._call_on_gpu: Callable = never
        self._short = not static and not donated and device is None
        self._hits = self._misses = 0
        self._traces = Traces(fun)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self._call
        if devices.unusual:
            if not _enabled.get():
                return self._fun(*args, **kwargs)
            call = self._call_on_gpu if default_precision.get() is Precision.DEFAULT else never
        if current_trace.get() is not EVAL:
            return self._bind(args, kwargs)
        result = call(args, kwargs)
        if result is not None:
            self._hits += 1
            return result
        dynamic, statics = self._parts(args, kwargs) if self._static or devices.unusual else ((args, kwargs), None)
        known, borrowed, program = self._last, (), None
        leaves = list(args) if known.flat == len(args) and not kwargs and statics is None else known.split(dynamic)
        if leaves is not None:
            key = [id(x.aval) for x in leaves if type(x) is DeviceArray]
            if len(key) != len(leaves):
                borrowed = borrow(leaves)
                key = [id(x.aval) for x in leaves if isinstance(x, DeviceArray)]
            program = known.programs.get((statics, *key))
        if program is None:
            program, leaves, borrowed, known = self._look_up(dynamic, statics, args, kwargs)
        else:
            self._hits += 1
        function = function_name(self._fun) if self._donated else ""
        device = self._device(program, leaves, dynamic, args, kwargs) if program.may_move(leaves) else None
        if device is not None:
            outs = program.run_on(device, leaves, borrowed, function)
            if self._short and not borrowed and statics is None:
                self._call_on_gpu = program.call_on(device, known, leaves)
                self._call = self._call_on_gpu
        else:
            outs = program.run(leaves, borrowed, function)
            if self._short and not borrowed and not devices.unusual:
                self._call = program.call(known, leaves)
        if self._donated:
            self._donate(args, kwargs, outs)
        return program.join(outs)

    def _device(self, program: Program, leaves: list, dynamic: tuple, args: tuple, kwargs: dict) -> Device | None:
        """Where a program runs. No part of ``__call__``, all of whose calls would make cells for what these functions use."""
        return program.place(leaves, lambda: tree_flatten(dynamic)[0], function_name(self._fun),
                             lambda: self._paths(args, kwargs))

    def _look_up(self, dynamic: tuple, statics: tuple | None, args: tuple, kwargs: dict) -> tuple:
        """The program for concrete arguments whose structure is not that of the last call, or whose types are new."""
        leaves, tree = tree_flatten(dynamic)
        borrowed = borrow(leaves)
        for i, x in enumerate(leaves):
            if not isinstance(x, DeviceArray):
                leaves[i] = x = self._leaf(x, dynamic, i)
                if isinstance(x, Tracer):
                    raise leaked(x)
        program = self._program(leaves, tree, args, kwargs, statics)
        if program.captured:
            raise leaked(program.captured[0])
        known = self._known.get(tree)
        if known is None:
            if len(self._known) >= STRUCTURES:
                self._known.clear()
            known = self._known[tree] = Known(tree)
        known.add(statics, leaves, program)
        self._last = known
        return program, leaves, borrowed, known

    def _bind(self, args: tuple, kwargs: dict) -> Any:
        """The call under a transformation."""
        trace = current_trace.get()
        dynamic, statics = self._parts(args, kwargs)
        leaves, tree = tree_flatten(dynamic)
        for i, x in enumerate(leaves):
            if not isinstance(x, Array):
                leaves[i] = self._leaf(x, dynamic, i)
        program = self._program(leaves, tree, args, kwargs, statics)
        inputs = (*program.captured, *leaves)
        with quiet():
            if self._inline and isinstance(trace, StageTrace):
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
        dynamic, _ = self._split(args, kwargs)
        leaves, tree = tree_flatten(dynamic)
        avals = tuple([abstract(x) for x in leaves])
        program = self._stage(avals, tree, args, kwargs)
        given = () if program.captured else self._given(args, kwargs)
        return Lowered(program, function_name(self._fun), tree, given, self._paths(args, kwargs))

    trace = lower

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """The shapes and dtypes of the result, as a tree of ShapeDtypeStruct."""
        return self.lower(*args, **kwargs).out_info

    def explain(self) -> Text:
        """Why the last call was traced: which argument differed from the nearest earlier call, and how to avoid it.

        >>> import funcgrad as fg, numpy as np
        >>> f = fg.jit(lambda x: x + 1)
        >>> for n in (3, 4):
        ...     _ = f(np.ones(n))
        >>> print(f.explain().splitlines()[1])
          x: float64[3] became float64[4]   (shape)
        """
        return self._traces.explain(self._hits + self._misses)

    def cache_info(self) -> CacheInfo:
        """Hits, misses and number of the programs traced."""
        return CacheInfo(self._hits, self._misses, CACHE_SIZE, len(self._programs))

    def clear_cache(self) -> None:
        """Forgets all programs."""
        self._programs.clear()
        self._known.clear()
        self._last = NOTHING
        self._call = self._call_on_gpu = never
        self._hits = self._misses = 0
        self._traces.clear()

    def fresh(self) -> Jitted:
        """The same function with empty caches, and without donation, so that it can be called again and again."""
        return Jitted(self._fun, self._static, Selection(self._fun, None, None), self._inline, self._device)

    def prepare(self, *args: Any, **kwargs: Any) -> Program:
        """The program for these arguments, traced if it has to be, but not compiled."""
        dynamic, statics = self._parts(args, kwargs)
        return self._look_up(dynamic, statics, args, kwargs)[0]

    def _parts(self, args: tuple, kwargs: dict) -> tuple[tuple, tuple | None]:
        """The dynamic arguments, and what else a program is for: the static ones, and a precision that is not the usual one."""
        dynamic, statics = self._split(args, kwargs) if self._static else ((args, kwargs), None)
        precision = default_precision.get()
        if precision is Precision.DEFAULT:
            return dynamic, statics
        return dynamic, (*(statics or ()), ("default_matmul_precision", Precision, precision))

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

    def _program(self, leaves: list[Any], tree: Any, args: tuple, kwargs: dict, statics: tuple | None) -> Program:
        trace = current_trace.get()
        key = (tree, tuple([typed(x.aval) for x in leaves]), statics, () if trace is EVAL else trace.axis_env())
        program = self._programs.get(key)
        if program is not None:
            self._hits += 1
            self._programs.move_to_end(key)
            return program
        self._misses += 1
        start = time.perf_counter()
        program = self._stage(key[1], tree, args, kwargs)
        if not program.captured:
            program.donated = self._given(args, kwargs)
        at = self._static.positions(len(args))
        self._traces.add(Signature(
            tree, key[1], statics or (), key[3], tuple([i for i in range(len(args)) if i not in at]), bool(program.captured),
            self._hits + self._misses, time.perf_counter() - start, user_source()))
        if not program.captured:  # values of outer transformations are valid in this call only
            self._programs[key] = program
            if len(self._programs) > CACHE_SIZE:
                self._programs.popitem(last=False)
                self._known.clear()
                self._last = NOTHING
                self._call = self._call_on_gpu = never
        return program

    def _stage(self, avals: tuple, tree: Any, args: tuple, kwargs: dict) -> Program:
        at = self._static.positions(len(args))
        static_kwargs = {k: v for k, v in kwargs.items() if k in self._static.names}

        def of_dynamic(dynamic_args: tuple, dynamic_kwargs: dict) -> Any:
            rest = iter(dynamic_args)
            return self._fun(*[x if i in at else next(rest) for i, x in enumerate(args)], **dynamic_kwargs, **static_kwargs)

        of_dynamic.__name__ = function_name(self._fun)
        flat = FlatFunction(of_dynamic, tree, "jit")
        with quiet(), uncollected():
            jaxpr, captured = stage(flat, avals, function_name(self._fun))
        return Program(jaxpr, captured, flat.out_tree, self._device)

    def _donate(self, args: tuple, kwargs: dict, outs: Sequence[Any]) -> None:
        """Marks the donated arguments as used up; a buffer that became a result stays."""
        kept = {id(out) for out in outs}
        chosen = [args[i] for i in self._donated.positions(len(args))]
        chosen += [v for k, v in kwargs.items() if k in self._donated.names]
        for x in tree_flatten(chosen)[0]:
            if isinstance(x, DeviceArray) and id(x) not in kept:
                x.give_up(function_name(self._fun))

    def _paths(self, args: tuple, kwargs: dict) -> list[str]:
        """The paths of the leaves of the dynamic arguments."""
        static = self._static.positions(len(args))
        return leaf_paths(self._fun, [() if i in static else x for i, x in enumerate(args)],
                          {k: x for k, x in kwargs.items() if k not in self._static.names})

    def _given(self, args: tuple, kwargs: dict) -> tuple[int, ...]:
        """The numbers of the donated leaves among those of the dynamic arguments."""
        at, static = self._donated.positions(len(args)), self._static.positions(len(args))
        parts = [(x, i in at) for i, x in enumerate(args) if i not in static]
        parts += [(kwargs[k], k in self._donated.names) for k in sorted(kwargs) if k not in self._static.names]
        marks = [donated for x, donated in parts for _ in tree_flatten(x)[0]]
        return tuple([i for i, donated in enumerate(marks) if donated])


def _identity(value: Any) -> Any:
    """What tells equal static values apart that a function may treat differently: 1 and 1.0 and True, 0.0 and -0.0."""
    if isinstance(value, tuple):
        return type(value), tuple(map(_identity, value))
    return (type(value), repr(value)) if isinstance(value, (float, complex)) else type(value)


class Lowered:
    """A function's program for given types, and each stage of its way to machine code, to look at.

    ``jaxpr`` is the program as traced, ``name`` the function's and ``in_names`` those of the arguments' leaves, which are its
    last inputs. Methods with a text as result return one that prints itself.
    """

    def __init__(self, program: Program, name: str, tree: Any, donated: Sequence[int], in_names: Sequence[str]):
        self._program, self.name, self._tree, self._donated, self.in_names = program, name, tree, donated, in_names
        self.jaxpr = program.jaxpr

    @property
    def out_info(self) -> Any:
        """The types of the results, as a tree of ShapeDtypeStruct."""
        return tree_unflatten(self._program.out_tree,
                              [ShapeDtypeStruct(a.shape, a.dtype, a.weak_type) for a in self.jaxpr.out_avals])

    def as_text(self) -> str:
        """The jaxpr as text."""
        return str(self.jaxpr)

    def passes(self) -> report.Passes:
        """The program after each pass: a list of (name, jaxpr) that prints them with their numbers of equations."""
        with quiet():
            return report.Passes(self.jaxpr)

    def schedule(self, backend: str = "cpu") -> Text:
        """The steps that the program becomes: kernels with what is fused in them, matrix products, loops, host calls.

        Those for "cuda" are the same whether there is a GPU or not. Raises ValueError for another backend.
        """
        _check_backend("schedule", backend)
        with quiet():
            return report.schedule_text(self.jaxpr, self.name, backend)

    def source(self, backend: str = "cpu") -> Text:
        """The Python sources of all kernels, each with the equations and the user's lines that it came from.

        Those for "cuda" are the same whether there is a GPU or not. Raises ValueError for another backend.
        """
        _check_backend("source", backend)
        with quiet():
            return report.sources(self.jaxpr, self.name, backend)

    def report(self, device: Any = None) -> report.Report:
        """What the program costs: kernels, matrix products, host steps and copies with their reasons, arithmetic, bytes,
        memory, and what compiling it took. A dict that prints itself; compiles the program.

        It is compiled for a device such as "cuda:0", or for the one that ``jit`` was given, or the CPU.
        """
        device = self._program.device if device is None else as_device("report", device)
        with quiet():
            return report.Report(self.jaxpr, self.name, self._donated, None if device == "cpu" else device)

    def compile(self) -> Callable:
        """A callable that runs the program on arguments of the structure and the types it was lowered for.

        It is compiled when this returns. The callable raises TypeError for other types.
        """
        program = self._program
        expected = tuple([a.strip_weak_type() for a in self.jaxpr.in_avals[len(program.captured):]])
        if program.device is None or program.device == "cpu":
            program.executable or program.compile()

        def run(*args: Any, **kwargs: Any) -> Any:
            leaves, tree = tree_flatten((args, kwargs))
            if tree != self._tree:
                raise TypeError(message(f"{self.name}: the arguments have another structure than those it was compiled for",
                                        tree, self._tree))
            outside = current_trace.get() is EVAL and not program.captured
            borrowed = borrow(leaves) if outside else []
            leaves = [as_value(x) for x in leaves]
            found = tuple([x.aval.strip_weak_type() for x in leaves])
            if found != expected:
                raise TypeError(message(f"{self.name}: the arguments are not those it was compiled for",
                                        ", ".join(map(str, found)), ", ".join(map(str, expected))))
            if outside:
                device = program.place(leaves, lambda: tree_flatten((args, kwargs))[0], self.name, lambda: self.in_names) \
                    if program.may_move(leaves) else None
                outs = program.run(leaves, borrowed) if device is None else program.run_on(device, leaves, borrowed)
            else:
                with quiet():
                    outs = jit_p.bind(*program.captured, *leaves, jaxpr=self.jaxpr)
            return tree_unflatten(program.out_tree, outs)

        return run

    def __repr__(self) -> str:
        return f"Lowered({self.name}: {self.jaxpr})"


def _check_backend(where: str, backend: str) -> None:
    if backend not in ("cpu", "cuda"):
        raise ValueError(message(f"{where}: there is no such backend", repr(backend), "'cpu' or 'cuda'"))


@contextmanager
def disable_jit(disable: bool = True) -> Iterator[None]:
    """Inside, jitted functions run as plain Python, so that a debugger stops in them with concrete values."""
    token = _enabled.set(not disable)
    devices.unusually(1)
    try:
        yield
    finally:
        devices.unusually(-1)
        _enabled.reset(token)


@contextmanager
def default_matmul_precision(new_val: Any = None) -> Iterator[None]:
    """Inside, products that say no ``precision`` have this one, in jitted functions too: they are traced for it.

    Args:
      new_val: "high" or "tensorfloat32" for products of float32 that a GPU may compute with operands of 10 bits; "highest",
        "float32" or None for full precision. Elsewhere than on a GPU it changes no result.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> x = fnp.ones((2, 2), "float32")
    >>> with fg.default_matmul_precision("tensorfloat32"):
    ...     print(fg.make_jaxpr(lambda x: x @ x)(x).equations[0].params["precision"])
    tensorfloat32
    """
    found = as_precision(new_val)
    token = default_precision.set(found if found is Precision.HIGH else Precision.DEFAULT)
    devices.unusually(1)
    try:
        yield
    finally:
        devices.unusually(-1)
        default_precision.reset(token)


@contextmanager
def eager() -> Iterator[None]:
    """Inside, programs run as the Python code that the user wrote, so that a debugger stops in it with values at hand.

    ``jit`` and ``checkpoint`` call the function itself, ``scan``, ``map``, ``fori_loop`` and ``while_loop`` are Python loops,
    ``cond`` and ``switch`` call the branch that is taken, and ``vmap`` calls the function for one example after the other and
    stacks the results. Values are arrays; in a function that is being differentiated they are tracers, whose values show in
    their ``repr`` and are the result of ``x.concrete()``. Results are the same up to rounding. A ``vmap`` with an axis name,
    or with None in out_axes, still runs on the whole batch.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> seen = []
    >>> with fg.eager():
    ...     _ = fg.vmap(lambda x: seen.append(float(x)))(fnp.arange(3.0))
    >>> seen
    [0.0, 1.0, 2.0]
    """
    with disable_jit(), plainly(), quiet():
        yield


# ---------------------------------------------------------------- the call primitive and its rules


def jit_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Jaxpr) -> tuple[tuple, tuple]:
    nonzero = tuple([type(t) is not Zero for t in tangents])
    primal, linear, mask = linearize_jaxpr(jaxpr, nonzero)
    results = jit_p.bind(*primals, jaxpr=primal)
    outs, residuals = results[:len(jaxpr.outs)], results[len(jaxpr.outs):]
    dots = trace.linear.process(jit_p, (*residuals, *[t for t in tangents if type(t) is not Zero]), {"jaxpr": linear})
    return outs, spread(dots, mask, outs)


def jit_forward(mode: Forward, primals: tuple, dots: tuple, *, jaxpr: Jaxpr) -> tuple[tuple, tuple]:
    return mode.call(jit_p, primals, dots, jaxpr)


jit_p = Primitive(
    "jit", Kind.CONTROL, shape=lambda *avals, jaxpr: jaxpr.out_avals, impl=lambda *args, jaxpr: compiler.run(jaxpr, args),
    jvp=functools.partial(jit_forward, JVP), taylor=taylor_rule(jit_forward), linearize=jit_linearize,
    transpose=lambda cotangents, *args, jaxpr: transpose_call(jit_p, cotangents, args, jaxpr, {}),
    batch=lambda axis, args, axes, *, jaxpr: batch_call(jit_p, axis, args, axes, jaxpr, {}),
    inline=lambda *avals, jaxpr: jaxpr)

Compiled.run, Compiled.enabled = compiler.run, _enabled.get
