"""Evaluating a program in another arithmetic, equation by equation.

In: a jaxpr, arrays of numbers, ``Numbers``. Out: arrays of numbers. Elementwise operations and reductions are the scalar
expressions in the primitives' slot ``code``, read with the functions of the numbers; all others are the primitives' own
``impl`` on NumPy arrays of objects; loops and conditions are evaluated step by step. So no primitive is named here.

    code "{0} * {1}" of mul, Fraction(1, 3), Fraction(1, 2)    ->    Fraction(1, 6)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.arithmetic.numbers import Machine, Numbers, numbers_of
from funcgrad.core.array import Array
from funcgrad.core.jaxpr import Equation, Jaxpr, Literal
from funcgrad.core.primitive import Kind
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.core.types import ShapedArray
from funcgrad.errors import MissingRuleError, locate, message
from funcgrad.transforms.arguments import wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.staging import ShapeDtypeStruct, make_jaxpr
from funcgrad.tree import tree_flatten, tree_structure, tree_unflatten

Observer = Callable[[Equation, Sequence[np.ndarray], Sequence[np.ndarray]], None]


def interpret(f: Callable, numbers: Any) -> Callable:
    """f, computed in another arithmetic; f may be a derivative, ``fg.grad(fg.grad(g))``.

    Args:
      f: a function of trees of arrays.
      numbers: ``fractions.Fraction``, ``mpmath.mpf``, ``mpmath.iv``, ``sympy`` or the strings "fraction", "mpmath",
        "interval", "sympy"; a NumPy floating point dtype such as ``np.longdouble`` or "float32"; or any other type
        with arithmetic, whose functions are methods: ``x.exp()``.

    Returns a function of trees of numbers or of arrays of them. Floats and Python's integers become numbers, arrays of integers
    and bools stay what they are. It returns numbers, or NumPy arrays of them. The precision of mpmath is ``mpmath.mp.dps``.
    A constant of f is read as the simplest fraction that rounds to it, if there is a simple one: 0.1 is a tenth.

    Raises MissingRuleError for an operation that the numbers do not have, TypeError where a condition is undecided.

    >>> import funcgrad as fg
    >>> from fractions import Fraction
    >>> third = fg.grad(fg.grad(fg.grad(lambda x: x ** 5 / 7 - x ** 3)))
    >>> print(fg.interpret(third, Fraction)(Fraction(1, 3)))
    -106/21
    """
    check_callable(f, "interpret")
    arithmetic = numbers_of(numbers)

    @wraps(f, "interpret")
    def interpreted(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = tree_flatten((args, kwargs))
        structs, kws = tree_unflatten(tree, [_struct(x) for x in leaves])
        jaxpr, shapes = make_jaxpr(f, return_shape=True)(*structs, **kws)
        outs = evaluate(jaxpr, leaves, arithmetic)
        return tree_unflatten(tree_structure(shapes), [x if x.shape else x[()] for x in outs])

    return interpreted


def _struct(x: Any) -> ShapeDtypeStruct:
    """The type of an argument in the program: double precision for all numbers."""
    if isinstance(x, (np.ndarray, np.generic, Array)):
        dtype = np.dtype(np.float64) if x.dtype.kind == "O" else x.dtype
        if dtypes.is_inexact(dtype) or dtype.kind in "fc":
            dtype = np.dtype(np.complex128 if dtype.kind == "c" else np.float64)
        return ShapeDtypeStruct(x.shape, dtype)
    return ShapeDtypeStruct((), bool if isinstance(x, bool) else complex if hasattr(x, "imag") and x.imag != 0 else float)


def evaluate(jaxpr: Jaxpr, args: Sequence[Any], numbers: Numbers | Machine,
             observe: Observer | None = None) -> list[np.ndarray]:
    """The results of a program; ``observe`` is called with each equation, its arguments and results."""
    with quiet():
        machine = _OnMachine if isinstance(numbers, Machine) else _OnObjects
        evaluator = machine(numbers, observe)
        return evaluator.program(jaxpr, [evaluator.array(x, v.aval) for x, v in zip(args, jaxpr.in_vars, strict=True)])


class _Evaluator:
    """Walks a program; the kinds of numbers differ in ``array`` and ``apply``."""

    def __init__(self, numbers: Any, observe: Observer | None):
        self.numbers, self.observe = numbers, observe

    def array(self, x: Any, aval: ShapedArray) -> np.ndarray:
        """A value of the program's type, in these numbers."""
        raise NotImplementedError

    def constant(self, x: Any, aval: ShapedArray) -> np.ndarray:
        """A constant of the program, in these numbers."""
        return self.array(x, aval)

    def apply(self, equation: Equation, args: list[np.ndarray]) -> Any:
        """The results of an operation that carries no programs."""
        raise NotImplementedError

    def program(self, jaxpr: Jaxpr, args: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = dict(zip(jaxpr.in_vars, args, strict=True))
        values.update((v, self.constant(c, v.aval)) for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True))

        def read(atom: Any) -> np.ndarray:
            return self.constant(atom.value, atom.aval) if isinstance(atom, Literal) else values[atom]

        for equation in jaxpr.equations:
            inputs = [read(a) for a in equation.inputs]
            if equation.primitive.kind is Kind.CONTROL:
                outs = self.control(equation, inputs)
            else:
                outs = self.checked(equation, inputs)
                if self.observe is not None:
                    self.observe(equation, inputs, outs)
            values.update(zip(equation.outs, outs, strict=True))
        return [read(a) for a in jaxpr.outs]

    def checked(self, equation: Equation, args: list[np.ndarray]) -> list[np.ndarray]:
        """The results of an operation; what goes wrong names it, and the user's line."""
        try:
            outs = self.apply(equation, args)
            outs = outs if type(outs) is tuple else (outs,)
            return [self.array(x, v.aval) for x, v in zip(outs, equation.outs, strict=True)]
        except (MissingRuleError, ArithmeticError) as error:
            locate(error, equation.source)
            raise
        except Exception as error:
            raised = MissingRuleError(message(
                f"interpret: {equation.primitive.name} cannot be computed in the numbers {self.numbers.name}",
                f"{type(error).__name__}: {error}", "an operation of scalar arithmetic, or one that moves elements",
                "another formulation, or other numbers"))
            locate(raised, equation.source)
            raise raised from error

    def control(self, equation: Equation, args: list[np.ndarray]) -> list[np.ndarray]:
        primitive, params = equation.primitive, equation.params
        structure = primitive.code(**params) if callable(primitive.code) else None
        if isinstance(structure, Loop):
            return self.loop(structure, args, equation)
        if isinstance(structure, While):
            ends = structure.cond_consts, structure.cond_consts + structure.body_consts
            for_condition, for_body, state = args[:ends[0]], args[ends[0]:ends[1]], args[ends[1]:]
            while self.program(structure.condition, [*for_condition, *state])[0]:
                state = self.program(structure.body, [*for_body, *state])
            return state
        if isinstance(structure, Choice):
            which = min(max(int(args[0]), 0), len(structure.branches) - 1)
            return self.program(structure.branches[which], args[1:])
        program = primitive.inline(*[a.aval for a in equation.inputs], **params) if primitive.inline is not None else None
        if program is None:
            raise MissingRuleError(message(f"interpret: {primitive.name} cannot be taken apart into simpler operations"))
        return self.program(program, args)

    def loop(self, loop: Loop, args: list[np.ndarray], equation: Equation) -> list[np.ndarray]:
        carried = loop.num_consts + loop.num_carry
        consts, carry, xs = args[:loop.num_consts], args[loop.num_consts:carried], args[carried:]
        stacks = [np.empty(v.aval.shape, x.dtype) for v, x in zip(
            equation.outs[loop.num_carry:], [self.array(np.zeros(v.aval.shape, v.aval.dtype), v.aval)
                                             for v in equation.outs[loop.num_carry:]], strict=True)]
        for step in range(loop.length):
            at = loop.length - 1 - step if loop.reverse else step
            slices = [self.array(x[at], v.aval) for x, v in zip(xs, loop.body.in_vars[carried:], strict=True)]
            outs = self.program(loop.body, [*consts, *carry, *slices])
            carry = outs[:loop.num_carry]
            for stack, y in zip(stacks, outs[loop.num_carry:], strict=True):
                stack[at] = y[()] if not y.shape else y
        return [*carry, *stacks]


class _OnMachine(_Evaluator):
    """Numbers of a NumPy dtype: the primitives' own implementations."""

    def array(self, x: Any, aval: ShapedArray) -> np.ndarray:
        return np.asarray(x).astype(self.numbers.as_dtype(aval.dtype), copy=False)

    def apply(self, equation: Equation, args: list[np.ndarray]) -> Any:
        params = {k: self.numbers.as_dtype(v) if isinstance(v, np.dtype) else v for k, v in equation.params.items()}
        return equation.primitive.impl(np, *[x if x.shape else x[()] for x in args], **params)


class _OnObjects(_Evaluator):
    """Python objects: scalar expressions, and NumPy's arrays of objects."""

    def array(self, x: Any, aval: ShapedArray) -> np.ndarray:
        if not dtypes.is_inexact(aval.dtype):
            return np.asarray(x).astype(aval.dtype, copy=False)
        out = np.empty(aval.shape, object)
        if isinstance(x, np.ndarray) and x.dtype.kind == "O":
            out[...] = x
        else:
            out[...] = np.asarray(x) if isinstance(x, (Array, np.ndarray)) else _boxed(x)
        for index, value in np.ndenumerate(out):
            if isinstance(value, (int, float, complex, np.generic)):
                out[index] = self.numbers.make(value)
        return out

    def constant(self, x: Any, aval: ShapedArray) -> np.ndarray:
        if dtypes.is_inexact(aval.dtype):
            values, x = np.asarray(x), np.empty(aval.shape, object)
            for index, value in np.ndenumerate(values):
                x[index] = self.numbers.literal(value)
        return self.array(x, aval)

    def apply(self, equation: Equation, args: list[np.ndarray]) -> Any:
        primitive, params = equation.primitive, equation.params
        inexact = [dtypes.is_inexact(atom.aval.dtype) for atom in (*equation.inputs, *equation.outs)]
        if not any(inexact):
            return primitive.impl(np, *[x if x.shape else x[()] for x in args], **params)
        if primitive.kind is Kind.ELEMENTWISE:
            return self.elementwise(equation, args)
        if primitive.kind is Kind.REDUCTION and isinstance(primitive.code, tuple):
            return self.reduction(equation, args[0])
        objects = {k: self.numbers.dtype if isinstance(v, np.dtype) and dtypes.is_inexact(v) else v for k, v in params.items()}
        outs = primitive.impl(np, *args, **objects)
        if any(inexact[:len(args)]):
            for x in outs if type(outs) is tuple else (outs,):
                self.check_exact(x)
        return outs

    def check_exact(self, x: Any) -> None:
        """Raises TypeError if an operation has turned the numbers into floats on the way."""
        x = _boxed(x)
        if x.dtype.kind in "fc" or x.dtype.kind == "O" and any(isinstance(v, (float, complex)) and v == v for v in x.flat):
            raise TypeError("it is computed in float64")

    def elementwise(self, equation: Equation, args: list[np.ndarray]) -> np.ndarray:
        primitive, in_dtypes = equation.primitive, [a.aval.dtype for a in equation.inputs]
        template = primitive.code
        if isinstance(template, dict):
            kind = dtypes.kind(in_dtypes[0])
            template = next((t for kinds, t in template.items() if kind in kinds), None)
        if callable(template):
            template = template(*in_dtypes, **equation.params)
        names = [f"x{i}" for i in range(len(args))]
        words = {k: repr(dtypes.kind(v)) if isinstance(v, np.dtype) else v for k, v in equation.params.items()}
        if not isinstance(template, str):  # a call of the function by the primitive's name
            template = f"{primitive.name}({', '.join([*names, *map(str, words.values())])})"
        function = np.frompyfunc(self.numbers.expression(template.format(*names, **words), tuple(names)), len(args), 1)
        if dtypes.is_inexact(equation.outs[0].aval.dtype):
            return function(*args)
        try:
            out = function(*args)
            undecided = any(x is None for x in _boxed(out).flat)  # by mpmath before 1.4
        except ValueError:  # by mpmath from 1.4 on
            undecided = True
        if undecided:
            raise TypeError("a comparison of intervals that overlap is undecided")
        return out

    def reduction(self, equation: Equation, x: np.ndarray) -> np.ndarray:
        combine, start = equation.primitive.code
        pair = np.frompyfunc(self.numbers.expression(combine.format("x0", "x1"), ("x0", "x1")), 2, 1)
        for axis in sorted(equation.params["axes"], reverse=True):
            if x.shape[axis]:
                x = _boxed(pair.reduce(x, axis=axis))
            else:  # the identities of extremes are infinite, which these numbers may not have
                identity = float(start) if start in "01" else -np.inf if start == "lowest" else np.inf
                x = np.full(x.shape[:axis] + x.shape[axis + 1:], self.numbers.make(identity), object)
        return x


def _boxed(x: Any) -> np.ndarray:
    """An array of objects, without axes for a single one, whatever it is."""
    if isinstance(x, np.ndarray):
        return x
    out = np.empty((), object)
    out[()] = x
    return out
