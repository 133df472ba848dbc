"""Where a NaN came from: the first operation that made one out of finite numbers.

In: a scope, ``with fg.debug.nans():``. Out: nothing, or a FloatingPointError that names the operation, the user's line,
the operands, and the step of the loop it happened in.

    div made a NaN, called at model.py:12 in loss, in a program run at train.py:30 in main
      found:    div(0.0, 0.0) = nan at [2], in 1 of 3 elements of float64[3]
      operands: float64[3] from 0.0 to 2.0, made by sub at model.py:11 in loss
                float64[3] from 0.0 to 1.0, an argument
      inside:   step 3 of 10 of scan at model.py:20 in run
      instead:  0/0: keep the divisor away from zero

Inside the scope a trace of its own takes the place of the bottom interpreter: it looks at every result, and replays a program
that gave a NaN equation by equation. Outside nothing is looked at.
"""
from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import interpret
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.core.trace import EVAL, EvalTrace, current, current_trace
from funcgrad.errors import equation_source, locate, message
from funcgrad.ops.callback import silent

Test = Callable[[Any], np.ndarray]

CAUSES: dict[str, str] = {
    "log": "the logarithm of a negative number is NaN, of 0 minus infinity: keep its argument positive",
    "log1p": "log1p needs an argument above -1",
    "sqrt": "the square root of a negative number is NaN: keep its argument positive, or see why it is not",
    "rsqrt": "rsqrt needs an argument above 0",
    "div": "0/0 and inf/inf are NaN, x/0 is infinite: keep the divisor away from zero",
    "mul": "0 * inf is NaN. If one factor is a derivative that is infinite where fnp.where selects the other branch, put a "
           "harmless number into the branch first: f(fnp.where(ok, x, 1.0))",
    "add": "inf - inf is NaN: find what made the infinities",
    "sub": "inf - inf is NaN: find what made the infinities; in exp(x) / sum(exp(x)) subtract the maximum first",
    "exp": "exp overflows above 709 in float64, 88 in float32 and 11 in float16: subtract the maximum first, or use "
           "fnp.logaddexp or log1p",
    "pow": "a negative number to a fractional power is NaN, 0 to a negative one infinite",
    "asin": "asin needs an argument from -1 to 1", "acos": "acos needs an argument from -1 to 1",
    "atanh": "atanh needs an argument between -1 and 1",
}


@contextmanager
def nans(on: bool = True, *, inf: bool = False) -> Iterator[None]:
    """Inside, an operation or a jitted program that makes a NaN raises FloatingPointError, which says where and from what.

    Args:
      on: False switches the checks off again, for a part of a checked program.
      inf: also look for infinities.

    Works for eager code, where every operation is looked at, and under every transformation. A compiled program whose result
    has a NaN is run again by the interpreter, step by step; a NaN that reaches no result raises nothing, nor does one that
    was in the arguments or is a constant of the program. Raises RuntimeError inside a function that is being transformed:
    the scope goes around the call of the transformed function.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> with fg.debug.nans():
    ...     fg.jit(lambda x: fnp.sum(fnp.log(x)))(fnp.array([1.0, -1.0]))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FloatingPointError: log made a NaN, called at ...
    """
    if not isinstance(current_trace.get(), EvalTrace):
        raise RuntimeError(message("debug.nans was entered inside a transformed function", current_trace.get().what,
                                   "the outside of all transformations", "with fg.debug.nans(): fg.grad(f)(x)"))
    with current(_CheckingTrace(inf) if on else EVAL):
        yield


class _CheckingTrace(EvalTrace):
    """The bottom interpreter, which looks at each result and remembers where it came from."""

    def __init__(self, inf: bool):
        super().__init__()
        self.inf = inf
        self.bad: Test = _not_finite if inf else _is_nan
        self.origins: dict[int, tuple[weakref.ref, str]] = {}

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        with np.errstate(all="ignore"):
            if _is_python(primitive, args, params):
                with current(self):
                    outs = tuple(primitive.impl(*args, **params))
            else:
                outs = EVAL.process(primitive, args, params)
            equation = Equation(primitive, tuple([Literal(x) if isinstance(x, np.generic) else Var(aval_of(x)) for x in args]),
                                tuple([Var(out.aval) for out in outs]), params, equation_source())
            search = _Search(self.bad, self.origin)
            if any(map(search.has, outs)):
                with silent():
                    culprit = search.of_one(equation, args, outs)
                if culprit is not None:
                    raise FloatingPointError(*culprit.args)
            made = f"made by {_named(equation)}"
            if primitive.kind is Kind.CONTROL and any(_not_finite(out).any() for out in outs):
                with silent():
                    culprit = _Search(_not_finite, self.origin).of_one(equation, args, outs)
                made = f"infinite by {culprit.made} in {_named(equation)}" if culprit is not None else made
        for out in outs:
            self.remember(out, made)
        return outs

    def remember(self, value: DeviceArray, text: str) -> None:
        number = id(value)
        self.origins[number] = weakref.ref(value, lambda _: self.origins.pop(number, None)), text

    def origin(self, value: Any) -> str:
        known = self.origins.get(id(value))
        return known[1] if known is not None and known[0]() is value else ""


class Culprit(FloatingPointError):
    """The first operation whose result is not finite."""

    made = ""
    """Its name and the user's line."""


class _Search:
    """Looks for the equation that made the first number that is not finite."""

    def __init__(self, bad: Test, origin: Callable[[Any], str]):
        self.bad, self.origin = bad, origin

    def has(self, value: Any) -> bool:
        return bool(self.bad(value).any())

    def of_one(self, equation: Equation, args: Sequence[Any], outs: Sequence[Any]) -> Culprit | None:
        """The error for an operation whose results are not finite, or for one inside of it."""
        inputs = tuple([a for a in equation.inputs if type(a) is Var])
        values = [DeviceArray(x) if isinstance(x, np.ndarray) else x for x in args if not isinstance(x, np.generic)]
        wanted = [self.has(out) for out in outs]
        return self.program(Jaxpr(inputs, (), (), (equation,), equation.outs), values, wanted, [], outs)

    def program(self, jaxpr: Jaxpr, args: Sequence[Any], wanted: Sequence[bool], inside: list[str],
                outs: Sequence[Any] | None = None) -> Culprit | None:
        """The error for the earliest culprit among what the wanted results depend on, or None: it came from outside."""
        values: dict[Var, Any] = dict(zip(jaxpr.in_vars, args, strict=True))
        values.update(zip(jaxpr.const_vars, jaxpr.consts, strict=True))
        made: dict[Var, int] = {}
        for i, equation in enumerate(jaxpr.equations):
            inputs = tuple([a.value if type(a) is Literal else values[a] for a in equation.inputs])
            results = outs if outs is not None else EVAL.process(equation.primitive, inputs, equation.params)
            values.update(zip(equation.outs, results, strict=True))
            made.update(dict.fromkeys(equation.outs, i))
        found = {}
        seen: set[Var] = set()
        stack = [v for v, wants in zip(jaxpr.outs, wanted, strict=True) if wants and type(v) is Var and v in made]
        while stack:
            v = stack.pop()
            if v in seen or not self.has(values[v]):
                continue
            seen.add(v)
            guilty = self.guilty(jaxpr.equations[made[v]], values, v)
            stack += [a for a in guilty if type(a) is Var and a in made]
            if not guilty:
                found.setdefault(made[v], set()).add(v)
        for i in sorted(found):
            equation = jaxpr.equations[i]
            error = self.equation(equation, values, [v in found[i] for v in equation.outs], inside, made, jaxpr)
            if error is not None:
                return error
        return None

    def guilty(self, equation: Equation, values: dict, out: Var) -> list[Atom]:
        """The operands that a result has its NaN from."""
        found = []
        for atom in equation.inputs:
            marks = self.bad(atom.value if type(atom) is Literal else values[atom])
            if equation.primitive.kind is Kind.ELEMENTWISE:  # what is not finite elsewhere has not been used
                marks = marks & self.bad(values[out])
            if marks.any():
                found.append(atom)
        return found

    def equation(self, equation: Equation, values: dict, wanted: list[bool], inside: list[str], made: dict,
                 jaxpr: Jaxpr) -> Culprit | None:
        """The error for an equation that is a culprit: its own, or that of an equation of a program inside of it."""
        primitive = equation.primitive
        args = [a.value if type(a) is Literal else values[a] for a in equation.inputs]
        if primitive.kind is Kind.CONTROL:
            structure = primitive.code(**equation.params) if callable(primitive.code) else None
            program = primitive.inline(*map(aval_of, args), **equation.params) if primitive.inline else None
            here = _named(equation)
            if isinstance(structure, Loop):
                return self.loop(structure, args, wanted, inside, here)
            if isinstance(structure, While):
                return self.repeat(structure, args, inside, here)
            if isinstance(structure, Choice):
                which = min(max(int(args[0]), 0), len(structure.branches) - 1)
                return self.program(structure.branches[which], args[1:], wanted, [f"branch {which} of {here}", *inside])
            if program is not None:
                return self.call(program, args, wanted, inside, equation)
        return self.error(equation, args, values, inside, made, jaxpr)

    def call(self, program: Jaxpr, args: list[Any], wanted: list[bool], inside: list[str],
             equation: Equation) -> Culprit | None:
        """The error inside of a program that was called. A compiled program may be the only one that gives the NaN."""
        outs = interpret(program, args)
        if any(wants and self.has(out) for wants, out in zip(wanted, outs, strict=True)):
            return self.program(program, args, wanted, inside)
        return Culprit(message(
            f"debug.nans: the compiled program of {program.name} gave a NaN where the interpreter gives none",
            "results that differ because sums are rounded in another order, or an error of the compiler",
            "the interpreter's results up to rounding", "fg.disable_jit() shows the interpreter's results"))

    def loop(self, loop: Loop, args: list[Any], wanted: list[bool], inside: list[str], here: str) -> Culprit | None:
        """The error in the first step that makes a NaN of its state or of a result that is wanted."""
        carried = loop.num_consts + loop.num_carry
        consts, carry, xs = args[:loop.num_consts], args[loop.num_consts:carried], args[carried:]
        for step in range(loop.length):
            at = loop.length - 1 - step if loop.reverse else step
            inputs = [*consts, *carry, *[DeviceArray(np.asarray(x._data)[at]) for x in xs]]
            outs = interpret(loop.body, inputs)
            want = [i < loop.num_carry or wanted[i] for i in range(len(outs))]
            if any(wants and self.has(out) for wants, out in zip(want, outs, strict=True)):
                place = f"step {step} of {loop.length} of {here}{f', backwards: slice {at}' if loop.reverse else ''}"
                error = self.program(loop.body, inputs, want, [place, *inside])
                if error is not None:
                    return error
            carry = outs[:loop.num_carry]
        return None

    def repeat(self, loop: While, args: list[Any], inside: list[str], here: str) -> Culprit | None:
        """The error in the first step that makes a NaN of the state."""
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        for_condition, for_body, state = args[:ends[0]], args[ends[0]:ends[1]], args[ends[1]:]
        step = 0
        while interpret(loop.condition, [*for_condition, *state])[0]:
            outs = interpret(loop.body, [*for_body, *state])
            if any(map(self.has, outs)):
                error = self.program(loop.body, [*for_body, *state], [True] * len(outs), [f"step {step} of {here}", *inside])
                if error is not None:
                    return error
            state, step = outs, step + 1
        return None

    # ------------------------------------------------------------ what is said

    def error(self, equation: Equation, args: list[Any], values: dict, inside: list[str], made: dict,
              jaxpr: Jaxpr) -> Culprit:
        out = next(values[v] for v in equation.outs if self.has(values[v]))
        marks = np.asarray(self.bad(out))
        where = tuple(map(int, np.argwhere(marks)[0]))
        result = np.asarray(_data(out))[where]
        name = equation.primitive.name
        call = name
        if equation.primitive.kind is Kind.ELEMENTWISE:
            call = f"{name}({', '.join([_number(np.asarray(_data(x))[where if np.ndim(_data(x)) else ()]) for x in args])})"
        found = f"{call} = {_number(result)}" + (
            f" at {list(where)}, in {marks.sum()} of {marks.size} elements of {aval_of(out)}" if where else "")
        lines = [_described(x) + self.from_where(atom, x, made, jaxpr) for atom, x in zip(equation.inputs, args, strict=True)]
        kind = "a NaN" if _is_nan(result).any() else "an infinity"
        text = message(f"{name} made {kind}", found)
        rows = [("operands:", line) if i == 0 else ("", line) for i, line in enumerate(lines)]
        rows += [("inside:", line) if i == 0 else ("", line) for i, line in enumerate(inside)]
        rows += [("instead:", CAUSES[name])] if name in CAUSES else []
        error = Culprit("\n".join([text, *[f"  {label:<9} {line}" for label, line in rows]]))
        error.made = _named(equation)
        locate(error, equation.source)
        return error

    def from_where(self, atom: Atom, value: Any, made: dict, jaxpr: Jaxpr) -> str:
        """Who made an operand."""
        if type(atom) is Literal:
            return ""
        if atom in made:
            equation: Equation = jaxpr.equations[made[atom]]
            return f", made by {_named(equation)}"
        origin = self.origin(value)
        return f", {origin}" if origin else ", a constant" if atom in jaxpr.const_vars else ", an argument"


def _is_python(primitive: Primitive, args: tuple, params: dict) -> bool:
    """Whether an operation calls a Python function rather than to run a program."""
    if primitive.kind is not Kind.CONTROL or callable(primitive.code):
        return False
    return primitive.inline is None or primitive.inline(*map(aval_of, args), **params) is None


def _named(equation: Equation) -> str:
    return f"{equation.primitive.name}{f' at {equation.source}' if equation.source else ''}"


def _data(x: Any) -> Any:
    return x._data if isinstance(x, DeviceArray) else x


def _is_nan(x: Any) -> Any:
    data = _data(x)
    return np.isnan(data) if dtypes.is_inexact(data.dtype) else np.zeros(np.shape(data), bool)


def _not_finite(x: Any) -> Any:
    data = _data(x)
    return ~np.isfinite(data) if dtypes.is_inexact(data.dtype) else np.zeros(np.shape(data), bool)


def _number(x: Any) -> str:
    return f"{x:.6g}" if dtypes.kind(x.dtype) in "fc" else str(x)


def _described(x: Any) -> str:
    """An operand: its type and range."""
    data = np.asarray(_data(x))
    if data.ndim == 0:
        return f"{aval_of(x)} {_number(data[()])}"
    if data.size == 0 or dtypes.kind(data.dtype) not in "fiu":
        return str(aval_of(x))
    wide = data.astype(np.float64)
    known = wide[~np.isnan(wide)]
    text = f"{aval_of(x)} from {_number(known.min())} to {_number(known.max())}" if known.size else str(aval_of(x))
    return text if known.size == wide.size else f"{text}, {wide.size - known.size} NaN"


