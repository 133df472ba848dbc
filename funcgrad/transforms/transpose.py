"""Reverse mode: a linear program is walked backwards, and the contributions to each variable add up.

    transpose : (T a -o T b) -> (T b -o T a)

In: a ``Tape`` and the cotangents of its results. Out: the cotangents of its inputs. Where a value fanned out, its
cotangent is a sum: in ``b = a + a`` the variable a receives 1 twice.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.array import aval_of
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.primitive import Linear, No, Primitive
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.core.trace import current_trace, tracing
from funcgrad.core.types import Zero
from funcgrad.errors import evaluates_equations
from funcgrad.ops.elementwise import add_p, mul_p, neg_p
from funcgrad.transforms.linearize import (
    LinearEquation,
    LinearTrace,
    LinearTracer,
    Tape,
    Variable,
    linearize_flat,
    not_linear,
)


def backward(tape: Tape, outs: Sequence[int | None], cotangents: Sequence[Any], inputs: int) -> list[Any]:
    """The cotangents of the tape's inputs (None where zero), under the current trace.

    ``outs`` are the variables whose cotangents are given; None and Zero count for nothing.
    """
    process = current_trace.get().process
    cts: list[Any] = [None] * tape.count

    def accumulate(i: int, ct: Any) -> None:
        known = cts[i]
        cts[i] = ct if known is None else process(add_p, (known, ct), {})[0]

    for i, ct in zip(outs, cotangents, strict=True):
        if i is not None and ct is not None and type(ct) is not Zero:
            accumulate(i, ct)
    sources = tape.sources
    for step in reversed(tape.steps):
        source = tape.source(step) if sources else None  # noqa: F841  equation_source reads it
        if not isinstance(step, LinearEquation):
            out, edges = step
            ct = cts[out]
            if ct is None:
                continue
            cts[out] = None
            for i, coefficient in edges:
                if type(coefficient) is int:
                    term = ct if coefficient == 1 else process(neg_p, (ct,), {})[0]
                else:
                    term = process(mul_p, (ct, coefficient), {})[0]
                known = cts[i]
                cts[i] = term if known is None else process(add_p, (known, term), {})[0]
        else:
            _transpose_equation(step, cts, accumulate)
    return cts[:inputs]


evaluates_equations(backward)


def _transpose_equation(step: LinearEquation, cts: list[Any], accumulate: Callable[[int, Any], None]) -> None:
    given = [cts[i] for i, _ in step.outs]
    if all(ct is None for ct in given):
        return
    for i, _ in step.outs:
        cts[i] = None
    rule = step.primitive.transpose
    if type(rule) is No:
        raise not_linear(step.primitive, f"has no transpose: {rule.reason}")
    cotangents = tuple([Zero(aval) if ct is None else ct for ct, (_, aval) in zip(given, step.outs, strict=True)])
    args = [Linear(x.aval) if type(x) is Variable else x for x in step.args]
    results = rule(cotangents, *args, **step.params)
    for x, ct in zip(step.args, results, strict=True):
        if type(x) is Variable:
            if ct is not None and type(ct) is not Zero:
                assert ct.shape == x.aval.shape, f"{step.primitive}: cotangent {aval_of(ct)} for {x.aval}"
                accumulate(x.index, ct)
        else:
            assert ct is None, f"{step.primitive}: cotangent for an argument that is not linear"


def transpose_flat(function: Callable[..., Sequence[Any]], args: Sequence[Any],
                   cotangents: Sequence[Any]) -> list[Any]:
    """The cotangents of the arguments given as ``Linear(aval)``, for a function linear in them.

    What the function computes from the other arguments alone runs in the current trace. None stands for zero.
    """
    inputs = sum(isinstance(x, Linear) for x in args)
    trace = LinearTrace(current_trace.get(), inputs)
    numbers = iter(range(inputs))
    with tracing(trace):
        outs = function(*[LinearTracer(trace, next(numbers), x.aval) if isinstance(x, Linear) else x for x in args])
        indices = [x.index if type(x) is LinearTracer and x._trace is trace else None for x in outs]
    return backward(trace.tape, indices, cotangents, inputs)


def transpose_jaxpr(jaxpr: Jaxpr, linear: tuple[bool, ...],
                    nonzero: tuple[bool, ...]) -> tuple[Jaxpr, tuple[bool, ...]]:
    """The transpose of a program with respect to its linear inputs.

    Its inputs are the other inputs, then the cotangents of the outputs marked nonzero; its outputs are the nonzero
    cotangents of the linear inputs, which the second value marks.
    """
    key = ("transpose", linear, nonzero)
    if key not in jaxpr.cache:
        others = [a for a, is_linear in zip(jaxpr.in_avals, linear, strict=True) if not is_linear]
        mask: list[bool] = []

        def function(*args: Any) -> list[Any]:
            rest, given = iter(args[:len(others)]), iter(args[len(others):])
            inputs = [Linear(a) if is_linear else next(rest)
                      for a, is_linear in zip(jaxpr.in_avals, linear, strict=True)]
            cts = [next(given) if nz else None for nz in nonzero]
            results = transpose_flat(lambda *xs: eval_jaxpr(jaxpr, xs), inputs, cts)
            mask[:] = [ct is not None for ct in results]
            return [ct for ct in results if ct is not None]

        avals = others + [a for a, nz in zip(jaxpr.out_avals, nonzero, strict=True) if nz]
        program, captured = stage(function, avals, name=f"transpose({jaxpr.name})", what="transpose")
        assert not captured
        jaxpr.cache[key] = program, tuple(mask)
    return jaxpr.cache[key]


def transpose_call(primitive: Primitive, cotangents: tuple, args: tuple, jaxpr: Jaxpr, params: dict) -> tuple:
    """The transpose rule of a primitive that runs one program: it runs the transposed program."""
    linear = tuple(isinstance(x, Linear) for x in args)
    nonzero = tuple(type(ct) is not Zero for ct in cotangents)
    program, mask = transpose_jaxpr(jaxpr, linear, nonzero)
    results = iter(primitive.bind(*[x for x in args if not isinstance(x, Linear)],
                                  *[ct for ct in cotangents if type(ct) is not Zero], jaxpr=program, **params))
    given = iter(mask)
    return tuple([(next(results) if next(given) else None) if is_linear else None for is_linear in linear])


def vjp_jaxpr(jaxpr: Jaxpr, active: tuple[bool, ...], nonzero: tuple[bool, ...]) -> tuple[Jaxpr, tuple[bool, ...]]:
    """The program of the forward and the backward pass together.

    Its inputs are all primals, then the cotangents of the outputs marked nonzero; its outputs are the nonzero
    cotangents of the active inputs, which the second value marks.
    """
    key = ("vjp", active, nonzero)
    if key not in jaxpr.cache:
        count = len(jaxpr.in_vars)
        mask: list[bool] = []

        def function(*args: Any) -> list[Any]:
            _, indices, tape = linearize_flat(lambda *xs: eval_jaxpr(jaxpr, xs), args[:count], active)
            given = iter(args[count:])
            results = backward(tape, indices, [next(given) if nz else None for nz in nonzero], sum(active))
            mask[:] = [ct is not None for ct in results]
            return [ct for ct in results if ct is not None]

        avals = [*jaxpr.in_avals, *[a for a, nz in zip(jaxpr.out_avals, nonzero, strict=True) if nz]]
        program, captured = stage(function, avals, name=f"vjp({jaxpr.name})", what="vjp")
        assert not captured
        jaxpr.cache[key] = program, tuple(mask)
    return jaxpr.cache[key]
