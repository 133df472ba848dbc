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
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.compiler.expressions import (
    combination,
    computed,
    cost,
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
STEPS = 64
"""Steps that a loop of unknown length is taken to have."""
LONGEST = 700
"""Statements of a kernel: beyond, compiling it takes too long."""


Slices = Callable[[str], list[str]]
"""From the name of a step to the elements of a stack's slice there."""


class TooLarge(Exception):
    """The program is not one for this module."""


class Numbers(list):
    """The elements of a constant array that counts, such as 3, 5, 7; of a long one, which only a loop may read, none."""

    def __init__(self, array: np.ndarray):
        super().__init__([literal(x) for x in array] if len(array) <= LARGEST else [])
        self.dtype, self.first, self.by = array.dtype, int(array[0]), int(array[-1] - array[0]) // max(len(array) - 1, 1)

    def at(self, step: str) -> str:
        return f"{computed(self.dtype)}({joined(str(self.first), step if self.by == 1 else f'{step} * {self.by}')})"


def numbers(array: np.ndarray) -> Numbers | None:
    """An array as numbers that count, if it is that."""
    if array.dtype.kind not in "iu" or array.ndim != 1 or not array.size:
        return None
    found = Numbers(array)
    return found if np.array_equal(array, found.first + np.arange(len(array)) * found.by) else None


def small_kernel(structure: Loop | While | Choice, reads: Sequence[View], writes: Sequence[View]) -> NativeKernel | None:
    """The kernel of a control operation on these operands, if all of its values are small."""
    try:
        return Statements(reads, writes).whole(structure)
    except TooLarge:
        return None


class Statements:
    """The statements of a kernel, in which each element of a value is a variable.

    Of a value with ``lanes``, axes whose elements never meet, it has the elements beside them: a kernel of many rows.
    """

    def __init__(self, reads: Sequence[View], writes: Sequence[View]):
        self.reads, self.writes = reads, writes
        self.names = (f"v{i}" for i in itertools.count())
        self.words: list[int] = []
        self.head: list[str] = []
        self.lines: list[str] = []
        self.depth = 1
        self.count = 0
        self.once, self.work, self.times = 0, 0, 1
        """What the statements cost, in additions, done once and as often as they are; how often the next one is done."""
        self.serial = False
        """Inside of a loop that has a state."""

    def lanes(self, atom: Atom) -> tuple[int, ...]:
        """The axes of a value that are lanes."""
        return ()

    def shape(self, atom: Atom) -> tuple[int, ...]:
        """The shape of a value in one lane."""
        lanes = self.lanes(atom)
        return tuple([n for d, n in enumerate(atom.aval.shape) if d not in lanes]) if lanes else atom.aval.shape

    def beside(self, atom: Atom, axes: Sequence[int]) -> list[int]:
        """Where axes of a value are among those that are not lanes."""
        kept = [d for d in range(len(atom.aval.shape)) if d not in self.lanes(atom)]
        return [kept.index(d) for d in axes if d in kept]

    def whole(self, structure: Loop | While | Choice) -> NativeKernel:
        self.pointers()
        self.run(structure)
        return NativeKernel(self.source(), self.words, 1, 1)

    def run(self, structure: Loop | While | Choice) -> None:
        """The operation, from its operands in memory to its results there."""
        if isinstance(structure, Loop):
            carried = structure.num_consts + structure.num_carry
            inputs = [self.load(slot) for slot in range(carried)]
            slices = [self.slices(slot) for slot in range(carried, len(self.reads))]
            stacks = [self.sliced(len(self.reads) + i) for i in range(structure.num_carry, len(self.writes))]
            outs = self.loop(structure, inputs, slices, stacks)
        else:
            outs = self.control(structure, [self.load(slot) for slot in range(len(self.reads))])
        for i, names in enumerate(outs[:len(self.writes)]):
            self.store(len(self.reads) + i, names)

    def source(self) -> str:
        return "\n    ".join(["def kernel(pointers, sizes, start, stop):", *self.head, *self.lines]) + "\n"

    # ------------------------------------------------------------ memory

    def pointers(self) -> None:
        for slot, view in enumerate((*self.reads, *self.writes)):
            if not supported(view.buffer.dtype):
                raise TooLarge
            self.head.append(f"p{slot} = pointer_{stored(view.buffer.dtype)}(pointers, {slot})")

    def word(self, value: int) -> str:
        self.words.append(value)
        self.head.append(f"s{len(self.words) - 1} = word(sizes, {len(self.words) - 1})")
        return f"s{len(self.words) - 1}"

    def view(self, slot: int) -> View:
        """An operand, in one lane."""
        return (*self.reads, *self.writes)[slot]

    def origin(self, slot: int) -> str:
        """Where an operand begins."""
        return ""

    def places(self, view: View) -> list[str]:
        """Where the elements of a small view are."""
        if math.prod(view.shape) > LARGEST:
            raise TooLarge
        if view.contiguous:
            return [str(i) for i in range(math.prod(view.shape))]
        steps = [self.word(s) if n > 1 and s else "" for n, s in zip(view.shape, view.strides, strict=True)]
        return [" + ".join(f"{i} * {s}" for i, s in zip(index, steps, strict=True) if i and s) or "0"
                for index in np.ndindex(*view.shape)]

    def load(self, slot: int) -> list[str]:
        base = self.origin(slot)
        return [self.fresh(f"p{slot}[{joined(base, place)}]") for place in self.places(self.view(slot))]

    def store(self, slot: int, names: list[str]) -> None:
        base = self.origin(slot)
        for name, place in zip(names, self.places(self.view(slot)), strict=True):
            self.line(f"p{slot}[{joined(base, place)}] = {name}")

    def sliced(self, slot: int) -> tuple[int, str, list[str]]:
        """A stack of small values: its slot, the stride from slice to slice, and the places in a slice."""
        view = self.view(slot)
        places = self.places(View(view.buffer, view.shape[1:], view.strides[1:], 0))
        return slot, "" if view.strides[0] == 1 else self.word(view.strides[0]), places

    def slice_at(self, step: str, slot: int, stride: str) -> str:
        """Where a slice begins."""
        return self.let(joined(f"{step} * {stride}" if stride else step, self.origin(slot)))

    def slices(self, slot: int) -> Slices:
        _, stride, places = self.sliced(slot)

        def at(step: str) -> list[str]:
            base = self.slice_at(step, slot, stride)
            return [self.fresh(f"p{slot}[{joined(base, place)}]") for place in places]

        return at

    def store_slice(self, step: str, slot: int, stride: str, places: list[str], names: list[str]) -> None:
        base = self.slice_at(step, slot, stride)
        for name, place in zip(names, places, strict=True):
            self.line(f"p{slot}[{joined(base, place)}] = {name}")

    # ------------------------------------------------------------ statements

    def line(self, text: str) -> None:
        self.count += 1
        if self.count > LONGEST:
            raise TooLarge
        price = cost(text)
        self.once += price
        self.work += self.times * price
        self.lines.append("    " * (self.depth - 1) + text)

    def let(self, text: str) -> str:
        return text if text.isidentifier() else self.fresh(text)

    def fresh(self, text: str) -> str:
        """A new variable with this value."""
        name = next(self.names)
        self.line(f"{name} = {text}")
        return name

    def program(self, jaxpr: Jaxpr, args: Sequence[list[str]]) -> list[list[str]]:
        """The elements of the results of a program, from those of its arguments."""
        values = {**dict(zip(jaxpr.in_vars, args, strict=True)), **self.constants(jaxpr)}
        self.equations(jaxpr.equations, values)
        return [self.read(values, out) for out in jaxpr.outs]

    def constants(self, jaxpr: Jaxpr) -> dict[Var, list[str]]:
        found = {}
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            array = np.asarray(c)
            counting = numbers(array)
            if counting is None and array.size > LARGEST or not supported(array.dtype):
                raise TooLarge
            found[v] = [literal(x) for x in array.reshape(-1)] if counting is None else counting
        return found

    def read(self, values: dict[Var, list[str]], atom: Atom) -> list[str]:
        return [literal(atom.value)] if type(atom) is Literal else values[atom]  # type: ignore[index]

    def equations(self, equations: Sequence[Equation], values: dict[Var, list[str]]) -> None:
        """Adds the results of equations to the values."""
        for equation in equations:
            if is_effect(equation) or any(math.prod(self.shape(v)) > LARGEST or not supported(v.aval.dtype)
                                          for v in equation.outs):
                raise TooLarge
            outs = self.equation(equation, [self.read(values, a) for a in equation.inputs])
            values.update(zip(equation.outs, outs, strict=True))

    def equation(self, equation: Equation, args: list[list[str]]) -> list[list[str]]:
        primitive, out = equation.primitive, equation.outs[0]
        shape, dtype = self.shape(out), out.aval.dtype
        if primitive.kind is Kind.ELEMENTWISE and (isinstance(primitive.code, tuple) or expressible(equation)):
            wide = zip(*[a * math.prod(shape) if len(a) == 1 else a for a in args], strict=True)
            if isinstance(primitive.code, tuple):
                elements = list(wide)
                return [[self.let(template.format(*xs)) for xs in elements] for template in primitive.code]
            texts = [expression(equation, list(xs)) or "" for xs in wide]
            alone = self.serial and math.prod(shape) == 1
            return [[self.let(SERIAL.sub(r"serial_\g<0>", text) if alone else text) for text in texts]]
        if primitive.code is INDEX:
            axis, = self.beside(out, [equation.params["dimension"]])
            return [[f"{computed(dtype)}({index[axis]})" for index in np.ndindex(*shape)]]
        if primitive.kind is Kind.MOVEMENT and args:
            return [self.moved(equation, args)]
        if primitive.kind is Kind.REDUCTION and reducible(equation):
            return [self.reduced(equation, args[0])]
        if primitive.kind is Kind.CONTRACTION and equation.inputs[0].aval.dtype == dtype:
            return [self.contracted(equation, *args)]
        if primitive.kind is Kind.CONTROL and callable(primitive.code):
            return self.control(primitive.code(**equation.params), args)
        raise TooLarge

    def moved(self, equation: Equation, args: list[list[str]]) -> list[str]:
        """Which elements a movement takes: its implementation moves their numbers."""
        numbers = itertools.count()
        operands = [np.array([next(numbers) for _ in names], np.int64).reshape(atom.aval.shape)
                    for names, atom in zip(args, equation.inputs, strict=True)]
        elements = [name for names in args for name in names]
        return [elements[i] for i in equation.primitive.impl(np, *operands, **equation.params).reshape(-1)]

    def reduced(self, equation: Equation, elements: list[str]) -> list[str]:
        operand = equation.inputs[0]
        shape, axes = self.shape(operand), self.beside(operand, equation.params["axes"])
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
        (lc, rc), (lb, rb) = [[self.beside(atom, axes) for atom, axes in zip(equation.inputs, pair, strict=True)]
                              for pair in equation.params["dimension_numbers"]]
        a, b = (self.shape(atom) for atom in equation.inputs)
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
            carried = structure.num_consts + structure.num_carry
            return self.loop(structure, args[:carried], self.counters(structure, args[carried:]), [])
        if isinstance(structure, While):
            return self.repeat(structure, args)
        return self.choose(structure, args)

    def counters(self, loop: Loop, args: Sequence[list[str]]) -> list[Slices]:
        """The slices of a loop inside of another: of numbers that count. It stacks nothing."""
        if len(loop.body.outs) != loop.num_carry or not all(isinstance(x, Numbers) for x in args):
            raise TooLarge
        return [lambda step, x=x: [self.fresh(x.at(step))] for x in args]  # type: ignore[misc, attr-defined]

    def state(self, elements: list[list[str]]) -> list[list[str]]:
        """Variables of their own for a state that changes."""
        return [[self.fresh(name) for name in names] for names in elements]

    def assign(self, state: list[list[str]], values: list[list[str]]) -> None:
        """All of the state at once: a new value may be an old one of another variable."""
        targets, sources = [n for names in state for n in names], [n for names in values for n in names]
        pairs = [(t, s) for t, s in zip(targets, sources, strict=True) if t != s]
        waiting = {t for t, _ in pairs}
        saved = {s: self.fresh(s) for _, s in pairs if s in waiting}
        for t, s in pairs:
            self.line(f"{t} = {saved.get(s, s)}")

    def loop(self, loop: Loop, inputs: list[list[str]], slices: list[Slices], stacks: list) -> list[list[str]]:
        consts, state = inputs[:loop.num_consts], self.state(inputs[loop.num_consts:])
        step = next(self.names)
        count = self.word(loop.length)
        self.line(f"for {step} in range({count}):")
        self.depth += 1
        if slices or stacks:
            step = self.let(f"{count} - 1 - {step}") if loop.reverse else step
        xs = [at(step) for at in slices]
        before = self.serial, self.times
        self.serial, self.times = bool(state), self.times * max(loop.length, 1)
        outs = self.program(loop.body, [*consts, *state, *xs])
        self.serial, self.times = before
        for each, names in zip(stacks, outs[loop.num_carry:], strict=True):
            self.store_slice(step, *each, names)
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
        before = self.serial, self.times
        self.serial, self.times = True, self.times * STEPS
        self.assign(state, self.program(loop.body, [*inputs[ends[0]:ends[1]], *state]))
        self.serial, self.times = before
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


def joined(*terms: str) -> str:
    """A sum, as text."""
    return " + ".join([term for term in terms if term not in ("", "0")]) or "0"
