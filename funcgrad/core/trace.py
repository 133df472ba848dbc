"""The current interpreter: who handles a primitive when it is bound.

In: ``primitive.bind(*values, **params)``. Out: a tuple of values, made by the *current trace* of this thread. Each
transformation runs the user's function under a trace of its own, whose tracers belong to it alone; its rules run
under the parent trace, so every value keeps its meaning without levels. At the bottom, ``EvalTrace`` computes.

    grad(f)(x)      current trace: LinearizeTrace, its parent: EvalTrace
    jit(grad(f))    current trace: LinearizeTrace, its parent: StageTrace, whose parent is EvalTrace
"""
from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

import numpy as np

from funcgrad.core import device as devices
from funcgrad.core.array import Array, CudaArray, DeviceArray, aval_of, common_device, describe, owned
from funcgrad.core.device import CPU, Device
from funcgrad.errors import (
    ConcretizationTypeError,
    Source,
    TracerArrayConversionError,
    TracerBoolConversionError,
    TracerIntegerConversionError,
    UnexpectedTracerError,
    message,
    user_source,
)

if TYPE_CHECKING:
    from funcgrad.core.primitive import Primitive


class Trace:
    """An interpreter of primitives. ``parent`` handles what this one does not; ``alive`` ends with its scope."""

    parent: Trace
    source: Source | None
    alive: bool = True
    what = "a transformation"
    values_known = True
    """Whether its tracers carry values when those below it do."""

    def __init__(self, parent: Trace, source: Source | None = None):
        self.parent = parent
        self.source = source or user_source()

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        """Handles one bound primitive: values in, a tuple of values out."""
        raise NotImplementedError

    def axis_size(self, name: Any) -> int | None:
        """The size of the mapped axis of this name, or None when no surrounding vmap binds it."""
        return self.parent.axis_size(name)

    def axis_env(self) -> tuple[tuple[Any, int], ...]:
        """The names and sizes of the mapped axes around, which a staged program may depend on."""
        return self.parent.axis_env()


class Tracer(Array):
    """A value known to one trace. Python-level questions go to the concrete value below it, if there is one."""

    __slots__ = ("_trace",)
    _trace: Trace

    def concrete(self) -> Any:
        """The DeviceArray this tracer carries, however deep, or None when only its type is known."""
        return None

    def below(self) -> Any:
        """What this tracer is around: a tracer, or an array (of a batch, all its examples); None if only its type is known."""
        return None

    @property
    def device(self) -> Device:
        """Where the value below is, or the default device if there is none yet."""
        value = carried(self)
        return value.device if isinstance(value, DeviceArray) else devices.default() or CPU

    def __bool__(self) -> bool:
        value = self.concrete()
        if value is None:
            raise TracerBoolConversionError(message(
                f"{self._trace.what}: a traced value was used as a Python condition", self.what(),
                "a concrete bool", "lax.cond(x, f, g, *args), fnp.where(x, a, b), or a static argument"))
        return bool(value)

    def __index__(self) -> int:
        return _integer(self, lambda value: value.__index__())

    def __int__(self) -> int:
        return _integer(self, int)

    def __float__(self) -> float:
        return self._number("float")

    def __complex__(self) -> complex:
        return self._number("complex")

    def item(self, *index: int) -> Any:
        return self._number("item")

    def tolist(self) -> Any:
        return self._number("tolist")

    def _number(self, name: str) -> Any:
        raise ConcretizationTypeError(message(
            f"{self._trace.what}: {name}() was asked of a traced value", self.what(),
            "a concrete number: a Python number would drop the derivative and the batch", f"keep the array as it is ({_STACK}),"
            f" or {name}() of a value that does not depend on the traced arguments (fg.lax.stop_gradient and no jit)"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise TracerArrayConversionError(message(
            f"{self._trace.what}: a traced value was handed to code that needs a NumPy array", self.what(), "an fg.Array "
            "or an ndarray with values", f"{_STACK}; the function of funcgrad.numpy of that name; or the conversion outside of "
            "the transformed function"))

    def what(self) -> str:
        """The tracer in an error message."""
        return f"{self.aval}, traced by {self._trace.what}"

    def __repr__(self) -> str:
        value = self.concrete()
        return f"{type(self).__name__}<{self.aval}>" + ("" if value is None else f"({value})")


_STACK = ("np.stack([x, y]) instead of np.array([x, y]), fnp.asarray(a)[i] and fnp.asarray(a).at[i].set(x) instead of a[i] and "
          "a[i] = x")


def _integer(tracer: Tracer, convert: Any) -> int:
    value = tracer.concrete()
    if value is None:
        raise TracerIntegerConversionError(message(
            f"{tracer._trace.what}: a traced value was used where Python needs an integer", tracer.what(), "a concrete integer",
            "index with arrays (x[i] works for traced i), lax.fori_loop, lax.dynamic_slice, or a static argument"))
    return convert(value)


def carried(x: Any) -> Any:
    """The array below a value, however many tracers are around it; None if only its type is known."""
    while isinstance(x, Tracer):
        x = x.below()
    return x


class EvalTrace(Trace):
    """The bottom interpreter: every primitive is computed at once by its ``impl``."""

    what = "evaluation"

    def __init__(self) -> None:
        self.parent, self.source = self, None

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        if primitive.plain and not params:
            x = args[0]
            if type(x) is DeviceArray:
                if len(args) == 1:
                    return (DeviceArray(primitive.impl(np, x._data), x._weak),)
                y = args[1]
                if type(y) is DeviceArray and len(args) == 2:
                    return (DeviceArray(primitive.impl(np, x._data, y._data), x._weak and y._weak),)
        elif primitive.on_values:
            with current(self):
                return tuple(primitive.impl(*args, **params))
        raw = []
        weak = None
        settled = False  # whether an array says where it is computed
        for x in args:
            if type(x) is DeviceArray:
                raw.append(x._data)
                settled = True
                if weak is not False:
                    weak = x._weak
            elif isinstance(x, np.generic):
                raw.append(x)
            elif type(x) is CudaArray:
                return self._on_gpu(primitive, args, params, common_device(args, primitive.name))
            else:
                raw.append(self._buffer(x, primitive))
                weak = False
        if not settled and devices.default() is not None:
            return self._on_gpu(primitive, args, params, devices.default())
        if params and "weak_type" in params:
            weak = params["weak_type"]
        elif weak is None or primitive.strong:
            weak = False
        try:
            out = primitive.impl(np, *raw, **params)
        except (ValueError, TypeError):
            primitive.abstract_eval(tuple([aval_of(x) for x in args]), params)  # says it in the user's terms, if it can
            raise
        if type(out) is tuple:
            return tuple([DeviceArray(x, weak) for x in out])
        return (DeviceArray(out, weak),)

    def _on_gpu(self, primitive: Primitive, args: tuple, params: dict, device: Any) -> tuple:
        """The operation on a GPU, to which the operands that are elsewhere are moved."""
        buffers: list[Any] = []
        flags = []
        for x in args:
            if isinstance(x, np.generic):  # a function of elements takes it as a number
                buffers.append(x if primitive.takes_numbers else devices.moved(x, device, primitive.name))
                continue
            flags.append(x._weak if isinstance(x, DeviceArray) else False)
            data = x._data if isinstance(x, DeviceArray) else self._buffer(x, primitive)
            buffers.append(devices.moved(data, device, primitive.name))
        weak = params["weak_type"] if "weak_type" in params else bool(flags) and all(flags) and not primitive.strong
        try:
            out = devices.call(primitive, buffers, params, device)
        except (ValueError, TypeError):
            primitive.abstract_eval(tuple([aval_of(x) for x in args]), params)
            raise
        return tuple([CudaArray(x, weak) for x in (out if type(out) is tuple else (out,))])

    @staticmethod
    def _buffer(x: Any, primitive: Primitive) -> Any:
        if isinstance(x, Tracer):
            raise leaked(x)
        if not isinstance(x, np.ndarray):
            raise TypeError(f"{primitive.name} was bound to {describe(x)}, which is not an array")
        return owned(x)._data if primitive.shares_memory else np.asarray(x)

    def axis_size(self, name: Any) -> int | None:
        return None

    def axis_env(self) -> tuple[tuple[Any, int], ...]:
        return ()


EVAL = EvalTrace()
current_trace: ContextVar[Trace] = ContextVar("current_trace", default=EVAL)


class current:  # noqa: N801  a context manager, named like one
    """Makes a trace the current one; the one before is restored even when the body raises."""

    __slots__ = ("trace", "token")

    def __init__(self, trace: Trace):
        self.trace = trace

    def __enter__(self) -> Trace:
        self.token: Token = current_trace.set(self.trace)
        return self.trace

    def __exit__(self, *exception: object) -> None:
        current_trace.reset(self.token)


class tracing(current):  # noqa: N801
    """As ``current``, for the scope in which a trace's tracers may be used: afterwards they count as leaked."""

    __slots__ = ()

    def __exit__(self, *exception: object) -> None:
        current_trace.reset(self.token)
        self.trace.alive = False


_plainly: ContextVar[bool] = ContextVar("plainly", default=False)


class plainly:  # noqa: N801
    """Inside, loops, conditions, batches and checkpoints run as the user's Python code, wherever values are known.

    Nothing is done at once, past the current trace: who looks at all operations sees them all.
    """

    __slots__ = ("token",)
    on: Callable[[], bool] = staticmethod(_plainly.get)

    def __enter__(self) -> None:
        self.token: Token = _plainly.set(True)

    def __exit__(self, *exception: object) -> None:
        _plainly.reset(self.token)


def runs_plainly() -> bool:
    """Whether control flow is to run as plain Python now: it was asked for, and all values are known."""
    if not plainly.on():
        return False
    trace = current_trace.get()
    while trace.values_known and trace.parent is not trace:
        trace = trace.parent
    return trace.values_known


def leaked(tracer: Tracer) -> UnexpectedTracerError:
    """The error for a tracer that outlived its transformation, or that another one cannot know."""
    born = tracer._trace.source
    return UnexpectedTracerError(message(
        f"a value traced by {tracer._trace.what} was used outside of it", f"{tracer.aval}"
        + (f", from the {tracer._trace.what} called at {born}" if born else ""),
        "values that were returned by the transformed function",
        "return the value from the function instead of storing it in a global, an attribute or a closure"))


def check_alive(x: Any) -> None:
    """Raises if x is a tracer whose transformation has ended."""
    if isinstance(x, Tracer) and not x._trace.alive:
        raise leaked(x)
