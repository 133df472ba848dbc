"""Constant folding: what depends on nothing is computed now.

In: a program. Out: the same program in which equations of literals and small constants are replaced by their results, and
arrays that repeat one scalar stand as that scalar wherever an operation works element by element.

    b:f64[3] = broadcast_in_dim[shape=(3,) broadcast_dimensions=()] 2.0; c:f64[3] = mul a b    ->    c:f64[3] = mul a 2.0

An operation that NumPy would warn of, or that raises, stays; so does anything whose result is large.
"""
from __future__ import annotations

import functools
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import Kind
from funcgrad.ops.structural import broadcast_in_dim_p
from funcgrad.passes.rewriting import Rules, Walk, instead, of_body

SMALL = 16
"""Elements of a result that is computed in advance."""


def fold(jaxpr: Jaxpr) -> Jaxpr:
    """The program with everything computed that depends on constants only."""
    return walked(jaxpr, "fold", {None: FOLDING})


def walked(jaxpr: Jaxpr, name: str, rules: Rules) -> Jaxpr:
    """A walk with these rules over a program whose constants are known, and over the programs in it."""
    change = functools.partial(walked, name=name, rules=rules)
    walk = Walk(jaxpr, rules, lambda body: of_body(body, name, change))
    know_constants(walk)
    return walk.run()


def know_constants(walk: Walk) -> None:
    """Scalar constants become literals; of small ones the elements are known."""
    for v, c in zip(walk.jaxpr.const_vars, walk.jaxpr.consts, strict=True):
        if v.aval.size > SMALL or not isinstance(c, DeviceArray) or not dtypes.is_supported(v.aval.dtype):
            continue
        data = c._data
        if isinstance(data, (np.ndarray, np.generic)):
            if v.aval.shape:
                walk.values[v] = data
            else:
                walk.uniform[v] = Literal(data[()])
                walk.replaced((v,), (walk.uniform[v],))


def fold_uniform(walk: Walk, equation: Equation) -> Equation | list[Atom] | None:
    """Element by element, a repeated scalar may be a literal, as long as one argument keeps the shape."""
    if equation.primitive.kind is not Kind.ELEMENTWISE or len(equation.outs) != 1:
        return None
    uniform = walk.uniform
    out = equation.outs[0]
    shape = out.aval.shape
    inputs: list[Atom] = []
    whole = changed = False
    for atom in equation.inputs:
        if type(atom) is Var:
            literal = uniform.get(atom)
            if literal is not None:
                atom, changed = literal, True
            elif atom.aval.shape == shape:
                whole = True
        inputs.append(atom)
    if whole:
        return Equation(equation.primitive, tuple(inputs), equation.outs, equation.params, equation.source,
                        equation.scope) if changed else None
    if any([type(a) is Var for a in inputs]):
        return None
    result = _computed(equation, [a.value for a in inputs])
    return None if result is None else repeated(walk, equation, result[0])


def fold_small(walk: Walk, equation: Equation) -> Equation | list[Atom] | None:
    """What is made of literals and small constants, if it is small itself, is a constant."""
    values = []
    if equation.primitive.effect:
        return None
    for atom in equation.inputs:
        value = atom.value if type(atom) is Literal else walk.values.get(atom)
        if value is None and (value := walk.uniform.get(atom)) is not None:
            value = np.broadcast_to(value.value, atom.aval.shape) if atom.aval.size <= SMALL else None
        if value is None:
            return None
        values.append(value)
    if any([v.aval.size > SMALL for v in equation.outs]):
        return None
    if not values or equation.primitive is broadcast_in_dim_p:  # these say it in fewer words than a constant would
        if equation.outs[0] not in walk.values and (result := _computed(equation, values)) is not None:
            walk.values[equation.outs[0]] = result[0]
        return None
    results = _computed(equation, values)
    if results is None:
        return None
    if len(results) == 1 and (not results[0].shape or _same_bits(results[0])):
        return repeated(walk, equation, results[0].reshape(-1)[0])
    return [walk.constant(np.array(x), v.aval) if x.shape else Literal(x[()])
            for x, v in zip(results, equation.outs, strict=True)]


def fold_repetition(walk: Walk, equation: Equation) -> Equation | list[Atom] | None:
    """An array that repeats one scalar, however its elements are moved, is a broadcast of that scalar."""
    if equation.primitive.kind is not Kind.MOVEMENT or len(equation.inputs) != 1:
        return None
    scalar = walk.scalar(equation.inputs[0])
    if scalar is None:
        return None
    if equation.primitive is broadcast_in_dim_p and type(equation.inputs[0]) is Literal:
        walk.uniform[equation.outs[0]] = equation.inputs[0]
        return None
    return repeated(walk, equation, scalar)


FOLDING = (fold_uniform, fold_small, fold_repetition)


def repeated(walk: Walk, equation: Equation, scalar: Any) -> Equation | list[Atom]:
    """The result of an equation as one scalar, repeated."""
    aval = equation.outs[0].aval
    if not aval.shape:
        return [Literal(scalar)]
    walk.uniform[equation.outs[0]] = Literal(scalar)
    return instead(equation, broadcast_in_dim_p, Literal(scalar), shape=aval.shape, broadcast_dimensions=())


def _computed(equation: Equation, values: list[Any]) -> tuple | None:
    """The results of an equation, or None if it fails, warns, or computes something of another type."""
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            out = equation.primitive.impl(np, *values, **equation.params)
    except Exception:  # whatever it is, it is said when the program runs
        return None
    out = out if type(out) is tuple else (out,)
    if all([isinstance(x, (np.ndarray, np.generic)) and x.dtype == v.aval.dtype for x, v in
            zip(out, equation.outs, strict=True)]):
        return out
    return None


def _same_bits(x: np.ndarray) -> bool:
    first = x.reshape(-1)[:1].tobytes()
    return bool(first) and x.tobytes() == first * x.size
