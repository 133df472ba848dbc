"""Staging: from a Python function to a jaxpr, and back to values.

In: a function of flat arrays and the types of its arguments. Out: a frozen ``Jaxpr``, and the tracers of outer
transformations that the function closed over, which become its first arguments.

    stage(f, avals)        -> (jaxpr, captured)        eval_jaxpr(jaxpr, (*captured, *args)) -> outs
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from funcgrad.core import device as devices
from funcgrad.core.array import DeviceArray, aval_of, on_device, owned
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var, current_path
from funcgrad.core.primitive import Primitive
from funcgrad.core.trace import EVAL, Trace, Tracer, check_alive, current, current_trace, tracing
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import equation_source, evaluates_equations, locate


class StageTracer(Tracer):
    """A variable of the program being recorded."""

    __slots__ = ("_var",)

    def __init__(self, trace: StageTrace, var: Var):
        self._trace, self._var = trace, var

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        return self._var.aval


class StageTrace(Trace):
    """Records every primitive that is bound as an equation."""

    values_known = False

    def __init__(self, parent: Trace, what: str = "jit"):
        super().__init__(parent)
        self.what = what
        self.equations: list[Equation] = []
        self.constants: dict[int, tuple[Var, Any]] = {}

    def new_tracer(self, aval: ShapedArray) -> StageTracer:
        return StageTracer(self, Var(aval))

    def atom(self, x: Any) -> Atom:
        """The variable or literal that stands for a value; a value from outside becomes a constant."""
        if type(x) is StageTracer and x._trace is self:
            return x._var
        if isinstance(x, np.generic):
            return Literal(x)
        entry = self.constants.get(id(x))
        if entry is None:
            check_alive(x)
            kept = owned(x)
            entry = self.constants[id(x)] = (Var(aval_of(kept)), (kept, x))  # x itself is kept so that its id stays taken
        return entry[0]

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        if primitive.stage is not None:
            return primitive.stage(self, args, params)
        return self.record(primitive, args, params)

    def record(self, primitive: Primitive, args: Sequence[Any], params: dict) -> tuple:
        """Appends an equation; its results are new variables."""
        atoms = tuple([self.atom(x) for x in args])
        hash(tuple(params.values()))  # params are compared and cached: an unhashable one is a mistake here, not later
        out_avals = primitive.abstract_eval(tuple([atom.aval for atom in atoms]), params)
        outs = tuple([Var(aval) for aval in out_avals])
        self.equations.append(Equation(primitive, atoms, outs, params, equation_source(), None, current_path.get()))
        return tuple([StageTracer(self, v) for v in outs])

    def program(self, inputs: Sequence[StageTracer], outs: Sequence[Any], name: str) -> tuple[Jaxpr, list[Tracer]]:
        """The recorded equations as a jaxpr of the given inputs; tracers from outside become leading inputs."""
        out_atoms = tuple([self.atom(x) for x in outs])
        captured = [(v, kept) for v, (kept, _) in self.constants.values() if isinstance(kept, Tracer)]
        consts = [(v, kept) for v, (kept, _) in self.constants.values() if not isinstance(kept, Tracer)]
        jaxpr = Jaxpr(in_vars=tuple([v for v, _ in captured] + [x._var for x in inputs]),
                      const_vars=tuple([v for v, _ in consts]), consts=tuple([c for _, c in consts]),
                      equations=tuple(self.equations), outs=out_atoms, name=name)
        return jaxpr, [x for _, x in captured]


def stage(function: Callable[..., Sequence[Any]], avals: Sequence[ShapedArray], name: str = "",
          what: str = "jit") -> tuple[Jaxpr, list[Tracer]]:
    """Records ``function(*tracers) -> sequence of values`` as a jaxpr.

    Returns the jaxpr and the values of its leading inputs: tracers of outer transformations that were closed over.
    """
    trace = StageTrace(current_trace.get(), what)
    with tracing(trace):
        inputs = [trace.new_tracer(aval) for aval in avals]
        outs = function(*inputs)
        return trace.program(inputs, outs, name)


def eval_jaxpr(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    """Runs a program under the current trace: computed, or seen by whatever transformation is current."""
    program = jaxpr.cache.get("program")
    if program is None:
        program = jaxpr.cache["program"] = _Program(jaxpr)
    assert len(args) == len(jaxpr.in_vars), f"{len(args)} arguments for {len(jaxpr.in_vars)} inputs"
    process = current_trace.get().process
    slots = program.template.copy()
    slots[:len(args)] = args
    try:
        for primitive, inputs, params, outs, dead, source in program.steps:  # noqa: B007  equation_source reads it
            values = process(primitive, tuple([slots[i] for i in inputs]), params)
            for i, value in zip(outs, values, strict=True):
                slots[i] = value
            for i in dead:
                slots[i] = None
    except Exception as error:
        locate(error, source)
        raise
    return [slots[i] for i in program.outs]


evaluates_equations(eval_jaxpr)


_step_by_step: ContextVar[bool] = ContextVar("step_by_step", default=False)


def interpret(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    """Runs a program on concrete values, equation by equation, and the loops in it step by step."""
    token = _step_by_step.set(True)
    try:
        with current(EVAL):
            outs = eval_jaxpr(jaxpr, args)
    finally:
        _step_by_step.reset(token)
    return [x if type(x) is DeviceArray else _result(x) for x in outs]


class Compiled:
    """How programs run that are worth compiling. The layer that has a compiler fills it at import."""

    run: Callable[[Jaxpr, Sequence[Any]], list[Any]] = staticmethod(interpret)
    enabled: Callable[[], bool] = staticmethod(lambda: False)


def may_compile() -> bool:
    """Whether a loop that runs outside of ``jit`` may be handed to the compiler."""
    return not _step_by_step.get() and Compiled.enabled()


def execute(jaxpr: Jaxpr, args: Sequence[Any]) -> list[Any]:
    """Runs a program on concrete values, compiled if it may be."""
    return Compiled.run(jaxpr, args) if may_compile() else interpret(jaxpr, args)


def _result(x: Any) -> DeviceArray:
    """A program may return a literal; and an argument, whatever it was."""
    check_alive(x)
    return DeviceArray(x) if isinstance(x, np.generic) else x


class _Program:
    """A jaxpr with its variables numbered, and each step's last uses known so that memory is freed early."""

    __slots__ = ("template", "steps", "outs")

    def __init__(self, jaxpr: Jaxpr):
        number: dict[Var, int] = {}
        self.template: list[Any] = []

        def slot(atom: Atom, value: Any = None) -> int:
            if isinstance(atom, Literal):
                self.template.append(atom.value)
                return len(self.template) - 1
            if atom not in number:
                number[atom] = len(self.template)
                self.template.append(value)
            return number[atom]

        for v in jaxpr.in_vars:
            slot(v)
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            slot(v, c)
        steps = [(e.primitive, [slot(a) for a in e.inputs], e.params, [slot(v) for v in e.outs], e.source)
                 for e in jaxpr.equations]
        self.outs = [slot(a) for a in jaxpr.outs]
        alive = set(self.outs)
        self.steps = []
        for primitive, inputs, params, outs, source in reversed(steps):
            dead = {i for i in (*inputs, *outs) if i not in alive}
            alive.update(inputs)
            self.steps.append((primitive, inputs, params, outs, tuple(dead), source))
        self.steps.reverse()


def as_value(x: Any) -> Any:
    """A concrete input as an Array over a buffer of its own, on the default device; Python scalars become weakly typed.

    Raises TypeError for anything but arrays and numbers.
    """
    if isinstance(x, DeviceArray | Tracer):
        return x
    aval = aval_of(x)
    value = owned(x) if isinstance(x, np.ndarray) else DeviceArray(aval.dtype.type(x), aval.weak_type)
    device = devices.default() if devices.unusual else None
    return value if device is None else on_device(value, device)


def typed(aval: ShapedArray) -> ShapedArray:
    """The type of a value once it is a variable: a literal becomes an ordinary scalar."""
    return shaped_array(aval.shape, aval.dtype, aval.weak_type) if aval.literal else aval
