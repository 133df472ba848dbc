"""Loops over small values: the whole loop becomes one kernel, with the state in registers.

In: a loop or a choice whose values have few elements, and the views of its operands. Out: a kernel of one row, in which each
element is a scalar variable; None where a value is too large or an operation has no scalar form.

    scan of c -> 0.5 * c + x:      for i in range(n):
                                       v0 = p1[i]
                                       v1 = f64(0.5) * c0
                                       c0 = v1 + v0
"""
from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.expressions import (
    combination,
    computed,
    expressible,
    expression,
    identity,
    literal,
    product_template,
    reducible,
    stored,
    supported,
)
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var, is_effect
from funcgrad.core.primitive import INDEX, Kind
from funcgrad.core.structure import Choice, Loop, While

LARGEST = 16
"""Elements of a value."""
SERIAL = re.compile(r"\b(sin|cos)_f")
"""Functions with another form for code in which one step waits for the other."""
LONGEST = 700
"""Statements of a kernel: beyond, compiling it takes too long."""


class TooLarge(Exception):
    """The program is not one for this module."""


def small_kernel(structure: Loop | While | Choice, reads: Sequence[View], writes: Sequence[View]) -> NativeKernel | None:
    """The kernel of a control operation on these operands, if all of its values are small."""
    try:
        return _Kernel(reads, writes).whole(structure)
    except TooLarge:
        return None


class _Kernel:
    def __init__(self, reads: Sequence[View], writes: Sequence[View]):
        self.reads, self.writes = reads, writes
        self.names = (f"v{i}" for i in itertools.count())
        self.words: list[int] = []
        self.head: list[str] = []
        self.lines: list[str] = []
        self.depth = 1
        self.count = 0
        self.serial = False
        """Inside of a loop that has a state."""

    def whole(self, structure: Loop | While | Choice) -> NativeKernel:
        for slot, view in enumerate((*self.reads, *self.writes)):
            if not supported(view.buffer.dtype):
                raise TooLarge
            self.head.append(f"p{slot} = pointer_{stored(view.buffer.dtype)}(pointers, {slot})")
        if isinstance(structure, Loop):
            carried = structure.num_consts + structure.num_carry
            inputs = [self.load(i, view) for i, view in enumerate(self.reads[:carried])]
            slices = [self.sliced(i + carried, view) for i, view in enumerate(self.reads[carried:])]
            stacks = [self.sliced(len(self.reads) + structure.num_carry + i, view)
                      for i, view in enumerate(self.writes[structure.num_carry:])]
            outs = self.loop(structure, inputs, slices, stacks)
        else:
            outs = self.control(structure, [self.load(i, view) for i, view in enumerate(self.reads)])
        for i, (names, view) in enumerate(zip(outs, self.writes, strict=False)):
            slot = len(self.reads) + i
            for name, place in zip(names, self.places(view), strict=True):
                self.line(f"p{slot}[{place}] = {name}")
        source = "\n    ".join(["def kernel(pointers, sizes, start, stop):", *self.head, *self.lines]) + "\n"
        return NativeKernel(source, self.words, 1, 1)

    # ------------------------------------------------------------ memory

    def word(self, value: int) -> str:
        self.words.append(value)
        self.head.append(f"s{len(self.words) - 1} = word(sizes, {len(self.words) - 1})")
        return f"s{len(self.words) - 1}"

    def places(self, view: View) -> list[str]:
        """Where the elements of a small view are."""
        if math.prod(view.shape) > LARGEST:
            raise TooLarge
        if view.contiguous:
            return [str(i) for i in range(math.prod(view.shape))]
        steps = [self.word(s) if n > 1 and s else "" for n, s in zip(view.shape, view.strides, strict=True)]
        return [" + ".join(f"{i} * {s}" for i, s in zip(index, steps, strict=True) if i and s) or "0"
                for index in np.ndindex(*view.shape)]

    def load(self, slot: int, view: View) -> list[str]:
        names = []
        for place in self.places(view):
            names.append(next(self.names))
            self.line(f"{names[-1]} = p{slot}[{place}]")
        return names

    def sliced(self, slot: int, view: View) -> tuple[int, str, list[str]]:
        """A stack of small values: its slot, the stride from slice to slice, and the places in a slice."""
        places = self.places(View(view.buffer, view.shape[1:], view.strides[1:], 0))
        return slot, "" if view.strides[0] == 1 else self.word(view.strides[0]), places

    # ------------------------------------------------------------ statements

    def line(self, text: str) -> None:
        self.count += 1
        if self.count > LONGEST:
            raise TooLarge
        self.lines.append("    " * (self.depth - 1) + text)

    def let(self, text: str) -> str:
        if text.isidentifier():
            return text
        name = next(self.names)
        self.line(f"{name} = {text}")
        return name

    def program(self, jaxpr: Jaxpr, args: Sequence[list[str]]) -> list[list[str]]:
        """The elements of the results of a program, from those of its arguments."""
        values: dict[Var, list[str]] = dict(zip(jaxpr.in_vars, args, strict=True))
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            array = np.asarray(c)
            if array.size > LARGEST or not supported(array.dtype):
                raise TooLarge
            values[v] = [literal(x) for x in array.reshape(-1)]

        def read(atom: Atom) -> list[str]:
            return [literal(atom.value)] if type(atom) is Literal else values[atom]  # type: ignore[index]

        for equation in jaxpr.equations:
            if is_effect(equation) or any(v.aval.size > LARGEST or not supported(v.aval.dtype) for v in equation.outs):
                raise TooLarge
            outs = self.equation(equation, [read(a) for a in equation.inputs])
            values.update(zip(equation.outs, outs, strict=True))
        return [read(out) for out in jaxpr.outs]

    def equation(self, equation: Equation, args: list[list[str]]) -> list[list[str]]:
        primitive, out = equation.primitive, equation.outs[0].aval
        if primitive.kind is Kind.ELEMENTWISE and expressible(equation):
            wide = [a * out.size if len(a) == 1 else a for a in args]
            texts = [expression(equation, list(xs)) or "" for xs in zip(*wide, strict=True)]
            return [[self.let(SERIAL.sub(r"serial_\g<0>", text) if self.serial and out.size == 1 else text) for text in texts]]
        if primitive.code is INDEX:
            axis = equation.params["dimension"]
            return [[f"{computed(out.dtype)}({index[axis]})" for index in np.ndindex(*out.shape)]]
        if primitive.kind is Kind.MOVEMENT and args:
            return [self.moved(equation, args)]
        if primitive.kind is Kind.REDUCTION and reducible(equation):
            return [self.reduced(equation, args[0])]
        if primitive.kind is Kind.CONTRACTION and equation.inputs[0].aval.dtype == out.dtype:
            return [self.contracted(equation, *args)]
        if primitive.kind is Kind.CONTROL and callable(primitive.code):
            structure = primitive.code(**equation.params)
            if not isinstance(structure, Loop) or len(args) == structure.num_consts + structure.num_carry:
                return self.control(structure, args)
        raise TooLarge

    def moved(self, equation: Equation, args: list[list[str]]) -> list[str]:
        """Which elements a movement takes: its implementation moves their numbers."""
        numbers = itertools.count()
        operands = [np.array([next(numbers) for _ in names], np.int64).reshape(atom.aval.shape)
                    for names, atom in zip(args, equation.inputs, strict=True)]
        elements = [name for names in args for name in names]
        return [elements[i] for i in equation.primitive.impl(np, *operands, **equation.params).reshape(-1)]

    def reduced(self, equation: Equation, elements: list[str]) -> list[str]:
        shape, axes = equation.inputs[0].aval.shape, equation.params["axes"]
        kept = [d for d in range(len(shape)) if d not in axes]
        order = [elements[i] for i in np.arange(len(elements)).reshape(shape).transpose([*kept, *axes]).reshape(-1)]
        size = math.prod(shape[d] for d in axes)
        return [self.fold(equation.primitive.code, equation.outs[0].aval.dtype, order[i * size:(i + 1) * size])
                for i in range(math.prod(shape[d] for d in kept))]

    def fold(self, code: tuple[str, str], dtype: np.dtype, terms: list[str]) -> str:
        total = terms[0] if terms else self.let(identity(code, dtype))
        for term in terms[1:]:
            total = self.let(combination(code, dtype, total, term) or "")
        return total

    def contracted(self, equation: Equation, lhs: list[str], rhs: list[str]) -> list[str]:
        (lc, rc), (lb, rb) = equation.params["dimension_numbers"]
        a, b = (atom.aval.shape for atom in equation.inputs)
        lf = [d for d in range(len(a)) if d not in (*lc, *lb)]
        rf = [d for d in range(len(b)) if d not in (*rc, *rb)]
        template = product_template(equation.outs[0].aval.dtype)
        x, y = row_major(a), row_major(b)
        outs = []
        for batch in np.ndindex(*[a[d] for d in lb]):
            for i in np.ndindex(*[a[d] for d in lf]):
                for j in np.ndindex(*[b[d] for d in rf]):
                    terms = []
                    for k in np.ndindex(*[a[d] for d in lc]):
                        left = sum(x[d] * n for d, n in zip((*lb, *lf, *lc), (*batch, *i, *k), strict=True))
                        right = sum(y[d] * n for d, n in zip((*rb, *rf, *rc), (*batch, *j, *k), strict=True))
                        terms.append(self.let(template.format(lhs[left], rhs[right])))
                    outs.append(self.fold(("{0} + {1}", "0"), equation.outs[0].aval.dtype, terms))
        return outs

    # ------------------------------------------------------------ control

    def control(self, structure: Any, args: list[list[str]]) -> list[list[str]]:
        if isinstance(structure, Loop):
            if len(structure.body.outs) != structure.num_carry:
                raise TooLarge
            return self.loop(structure, args, [], [])
        if isinstance(structure, While):
            return self.repeat(structure, args)
        return self.choose(structure, args)

    def state(self, elements: list[list[str]]) -> list[list[str]]:
        """Variables of their own for a state that changes."""
        found = []
        for names in elements:
            found.append([])
            for name in names:
                found[-1].append(next(self.names))
                self.line(f"{found[-1][-1]} = {name}")
        return found

    def assign(self, state: list[list[str]], values: list[list[str]]) -> None:
        """All of the state at once: a new value may be an old one of another variable."""
        targets, sources = [n for names in state for n in names], [n for names in values for n in names]
        pairs = [(t, s) for t, s in zip(targets, sources, strict=True) if t != s]
        waiting = {t for t, _ in pairs}
        saved = {s: self.saved(s) for _, s in pairs if s in waiting}
        for t, s in pairs:
            self.line(f"{t} = {saved.get(s, s)}")

    def saved(self, name: str) -> str:
        copy = next(self.names)
        self.line(f"{copy} = {name}")
        return copy

    def loop(self, loop: Loop, inputs: list[list[str]], slices: list, stacks: list) -> list[list[str]]:
        consts, state = inputs[:loop.num_consts], self.state(inputs[loop.num_consts:])
        step = next(self.names)
        count = self.word(loop.length)
        self.line(f"for {step} in range({count}):")
        self.depth += 1
        if slices or stacks:
            step = self.let(f"{count} - 1 - {step}") if loop.reverse else step
        xs = []
        for slot, stride, places in slices:
            base = self.let(f"{step} * {stride}" if stride else step)
            xs.append([self.let(f"p{slot}[{base} + {place}]" if place != "0" else f"p{slot}[{base}]") for place in places])
        serial, self.serial = self.serial, bool(state)
        outs = self.program(loop.body, [*consts, *state, *xs])
        self.serial = serial
        for (slot, stride, places), names in zip(stacks, outs[loop.num_carry:], strict=True):
            base = self.let(f"{step} * {stride}" if stride else step)
            for name, place in zip(names, places, strict=True):
                self.line(f"p{slot}[{base} + {place}] = {name}")
        self.assign(state, outs[:loop.num_carry])
        self.line("pass")
        self.depth -= 1
        return state

    def repeat(self, loop: While, inputs: list[list[str]]) -> list[list[str]]:
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        state = self.state(inputs[ends[1]:])
        self.line("while True:")
        self.depth += 1
        (going,), = self.program(loop.condition, [*inputs[:ends[0]], *state])
        self.line(f"if not {going}:")
        self.lines.append("    " * self.depth + "break")
        serial, self.serial = self.serial, True
        self.assign(state, self.program(loop.body, [*inputs[ends[0]:ends[1]], *state]))
        self.serial = serial
        self.depth -= 1
        return state

    def choose(self, choice: Choice, inputs: list[list[str]]) -> list[list[str]]:
        (index,), *args = inputs
        outs: list[list[str]] = []
        for i, branch in enumerate(choice.branches):
            last = i == len(choice.branches) - 1
            self.line("else:" if last and i else f"{'elif' if i else 'if'} {index} <= {i}:" if not last else "if True:")
            self.depth += 1
            found = self.program(branch, args)
            if i == 0:
                outs = self.state(found)
            else:
                self.assign(outs, found)
                self.line("pass")
            self.depth -= 1
        return outs
