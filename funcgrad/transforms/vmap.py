"""Batching: a function of one example becomes a function of many.

    vmap : (a -> b) -> ([n] a -> [n] b)

In: a function, or a jaxpr, and which axis of each argument is mapped. Out: results with their mapped axes. Every
operation is applied once to the whole batch; its ``batch`` rule says where the mapped axis goes.

    { lambda ; a:f64[] b:f64[3]. let c:f64[3] = ... }  becomes  { lambda ; a:f64[5] b:f64[5,3]. let ... }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad.core.array import Array, aval_of
from funcgrad.core.jaxpr import Jaxpr, subjaxprs
from funcgrad.core.primitive import ALIGN, Kind, No, Primitive, missing_rule
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.core.trace import EVAL, Trace, Tracer, current, current_trace, runs_plainly, tracing
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import Turn, user_source, within
from funcgrad.ops.indexing import index_in_dim
from funcgrad.ops.structural import broadcast_in_dim, concatenate, expand_dims, moveaxis


@dataclass(frozen=True, slots=True)
class Axis:
    """The mapped axis: its size, and the name by which collective operations refer to it."""

    size: int
    name: Any = None


class BatchTracer(Tracer):
    """One example of a batch: the whole batch, and the axis along which the examples lie."""

    __slots__ = ("value", "axis")

    def __init__(self, trace: BatchTrace, value: Any, axis: int):
        self._trace, self.value, self.axis = trace, value, axis

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        aval = aval_of(self.value)
        return shaped_array(aval.shape[:self.axis] + aval.shape[self.axis + 1:], aval.dtype, aval.weak_type)

    def below(self) -> Any:
        return self.value


class BatchTrace(Trace):
    """Applies batching rules under its parent."""

    what = "vmap"
    values_known = False

    def __init__(self, parent: Trace, axis: Axis):
        super().__init__(parent)
        self.axis = axis

    def axis_size(self, name: Any) -> int | None:
        return self.axis.size if name == self.axis.name and name is not None else self.parent.axis_size(name)

    def axis_env(self) -> tuple[tuple[Any, int], ...]:
        own = () if self.axis.name is None else ((self.axis.name, self.axis.size),)
        return (*self.parent.axis_env(), *own)

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        pairs = [self.split(x) for x in args]
        values = tuple([v for v, _ in pairs])
        axes = tuple([d for _, d in pairs])
        if all(d is None for d in axes) and not (self.axis.name is not None
                                                  and uses_axis(primitive, params, self.axis.name)):
            return self.parent.process(primitive, args, params)
        rule = primitive.batch
        with current(self.parent):
            if rule is ALIGN:
                aligned, d = align(values, axes, self.axis.size)
                return tuple([BatchTracer(self, out, d) for out in primitive.bind(*aligned, **params)])
            if type(rule) is No:
                raise missing_rule(primitive, "vmap", "batch", rule.reason)
            outs, out_axes = rule(self.axis, values, axes, **params)
        return tuple([self.join(out, d) for out, d in zip(outs, out_axes, strict=True)])

    def split(self, x: Any) -> tuple[Any, int | None]:
        return (x.value, x.axis) if type(x) is BatchTracer and x._trace is self else (x, None)

    def join(self, value: Any, axis: int | None) -> Any:
        return value if axis is None else BatchTracer(self, value, axis)


def align(values: Sequence[Any], axes: Sequence[int | None], size: int) -> tuple[list[Any], int]:
    """Arguments of an elementwise operation with their batch axes in one place."""
    arrays = [(x, d) for x, d in zip(values, axes, strict=True) if not isinstance(x, np.generic)]
    places = {d for _, d in arrays}
    if len(places) == 1:
        return list(values), places.pop()  # type: ignore[return-value]
    # NumPy broadcasts by itself in the bottom interpreter; elsewhere shapes must be equal.
    spread = current_trace.get() is not EVAL
    return [x if isinstance(x, np.generic) else moveaxis(x, d, 0) if d is not None else
            broadcast_batch(x, size) if spread else x for x, d in zip(values, axes, strict=True)], 0


def broadcast_batch(x: Any, size: int) -> Any:
    """The same value for every example, with the batch axis in front."""
    return broadcast_in_dim(x, (size, *x.shape), range(1, len(x.shape) + 1))


def to_front(x: Any, axis: int | None, size: int) -> Any:
    """A batch with its axis in front; a value that is not batched is repeated."""
    return broadcast_batch(x, size) if axis is None else moveaxis(x, axis, 0)


def uses_axis(primitive: Primitive, params: dict, name: Any) -> bool:
    """True for a collective operation over the named axis, or a program that holds one."""
    if primitive.collective:
        names = params["axis_name"]
        return name in names if isinstance(names, tuple) else name == names
    return primitive.kind is Kind.CONTROL and any(jaxpr_uses_axis(j, name) for j in subjaxprs(params))


def jaxpr_uses_axis(jaxpr: Jaxpr, name: Any) -> bool:
    key = ("uses axis", name)
    if key not in jaxpr.cache:
        jaxpr.cache[key] = any(uses_axis(e.primitive, e.params, name) for e in jaxpr.equations)
    return jaxpr.cache[key]


def vmap_flat(function: Callable[..., Sequence[Any]], axis: Axis, values: Sequence[Any],
              axes: Sequence[int | None]) -> tuple[list[Any], list[int | None]]:
    """Results of a function of flat values, and where the batch axis of each is (None where it has none)."""
    trace = BatchTrace(current_trace.get(), axis)
    with tracing(trace):
        outs = function(*[trace.join(v, d) for v, d in zip(values, axes, strict=True)])
        pairs = [trace.split(out) for out in outs]
    return [v for v, _ in pairs], [d for _, d in pairs]


def map_flat(function: Callable[..., Sequence[Any]], axis: Axis, values: Sequence[Any],
             axes: Sequence[int | None]) -> tuple[list[Any], list[int | None]]:
    """As ``vmap_flat``; where programs run as plain Python, one example after the other, unless operations name the axis."""
    if axis.name is not None or not axis.size or not runs_plainly():
        return vmap_flat(function, axis, values, axes)
    source, lanes = user_source(), []
    for i in range(axis.size):
        with within(Turn("lane", i, axis.size, "vmap", source)):
            lanes.append(function(*[v if d is None else index_in_dim(v, i, d, False)
                                    for v, d in zip(values, axes, strict=True)]))
    pairs = [(concatenate([expand_dims(x, (0,)) for x in outs], 0), 0) if isinstance(outs[0], Array) else (outs[0], None)
             for outs in zip(*lanes, strict=True)]
    return [x for x, _ in pairs], [d for _, d in pairs]


def batch_jaxpr(jaxpr: Jaxpr, axis: Axis, batched: tuple[bool, ...],
                instantiated: tuple[bool, ...] | bool = False) -> tuple[Jaxpr, tuple[bool, ...]]:
    """The program for a batch: batched inputs and outputs have the batch axis in front.

    Returns the program and which of its outputs are batched; those marked ``instantiated`` always are.
    """
    if isinstance(instantiated, bool):
        instantiated = (instantiated and True,) * len(jaxpr.outs)
    key = ("batch", axis, batched, instantiated)
    if key not in jaxpr.cache:
        mask: list[bool] = []

        def function(*args: Any) -> list[Any]:
            outs, axes = vmap_flat(lambda *xs: eval_jaxpr(jaxpr, xs), axis, args, [0 if b else None for b in batched])
            mask[:] = [d is not None or i for d, i in zip(axes, instantiated, strict=True)]
            return [to_front(out, d, axis.size) if m else out for out, d, m in zip(outs, axes, mask, strict=True)]

        avals = [shaped_array((axis.size, *a.shape), a.dtype, a.weak_type) if b else a
                 for a, b in zip(jaxpr.in_avals, batched, strict=True)]
        program, captured = stage(function, avals, name=f"vmap({jaxpr.name})", what="vmap")
        assert not captured
        jaxpr.cache[key] = program, tuple(mask)
    return jaxpr.cache[key]


def batch_call(primitive: Primitive, axis: Axis, args: tuple, axes: tuple, jaxpr: Jaxpr, params: dict) -> tuple:
    """The batching rule of a primitive that runs one program: it runs the batched program."""
    program, mask = batch_jaxpr(jaxpr, axis, tuple(d is not None for d in axes))
    values = [x if d is None else moveaxis(x, d, 0) for x, d in zip(args, axes, strict=True)]
    return primitive.bind(*values, jaxpr=program, **params), tuple([0 if m else None for m in mask])
