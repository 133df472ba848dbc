"""Loops with independent lanes: what ``vmap`` makes of a small loop becomes one kernel whose rows are the lanes.

In: a loop whose values are small beside some long axes, and along these axes no two elements ever meet. Out: a kernel in which
each row runs the whole loop; None where elements meet, or where the values are too large beside the axes.

    vmap of a scan of c -> 0.5 * c + x:    for lane in range(start, stop):
                                               c0 = p0[lane]
                                               for i in range(n):
                                                   v0 = p1[i * s1 + lane]
                                                   v1 = f64(0.5) * c0
                                                   c0 = v1 + v0
                                               p2[lane] = c0

For a processor with vectors, lanes lie side by side: the loop over some of them is inside of the loop over the steps, and
their state in lists that stay in the nearest cache.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from funcgrad.compiler.codegen import CHUNK
from funcgrad.compiler.expressions import combination, computed
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.small import LARGEST, STEPS, Statements, TooLarge, joined
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import INDEX, Kind
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.ops.elementwise import and_p
from funcgrad.ops.structural import concatenate_p, pad_p, select_n_p
from funcgrad.passes.dead_code import prune

STATE = 1 << 14
"""The bytes that the state of the lanes side by side takes, about: half of the nearest cache."""
FAR = 1 << 25
"""The bytes of stacks which no cache holds. They are read and written in long pieces, by many lanes: with 64 lanes a gradient of
1000 steps in 20000 lanes took three times as long as with 8192."""
FAR_STATE = 1 << 18
SIDES = 64
"""Lanes that one thread takes at a time, at least; of a loop with stacks ``STACK_SIDES``."""
STACK_SIDES = 512


def lane_kernel(structure: Any, reads: Sequence[View], writes: Sequence[View], vectors: bool = True) -> NativeKernel | None:
    """The kernel of a loop on these operands, if its lanes are independent; a row is a lane.

    Without ``vectors`` each lane is on its own, with its state in variables, as a thread of a GPU wants it.
    """
    if isinstance(structure, Choice) or not all(view.buffer.size for view in (*reads, *writes)):
        return None
    try:
        return _LaneKernel(structure, reads, writes).kernel(vectors)
    except TooLarge:
        return None


# ---------------------------------------------------------------- which axes go together


class Axes:
    """The axes of all values of a loop, in classes: an axis of an operand and that of the result which it becomes are one.

    A class is ``mixed`` if elements meet along it: in a sum, a product, a slice.
    """

    def __init__(self) -> None:
        self.parent: list[int] = []
        self.sizes: list[int] = []
        self.mixed: set[int] = set()
        self.of: dict[Var, list[int | None]] = {}
        self.flags: list[Var] = []
        """By which a lane ends alone."""

    def find(self, label: int) -> int:
        while self.parent[label] != label:
            label = self.parent[label]
        return label

    def labels(self, atom: Atom) -> list[int | None]:
        """The class of each axis; axes of size 1 have none."""
        if type(atom) is Literal:
            return []
        if atom not in self.of:
            self.of[atom] = [None if n == 1 else self.new(n) for n in atom.aval.shape]  # type: ignore[index]
        return [None if x is None else self.find(x) for x in self.of[atom]]  # type: ignore[index]

    def new(self, size: int) -> int:
        self.parent.append(len(self.parent))
        self.sizes.append(size)
        return self.parent[-1]

    def mix(self, atom: Atom, axes: Sequence[int] | None = None) -> None:
        """Elements meet along these axes, or along all."""
        for d, label in enumerate(self.labels(atom)):
            if label is not None and (axes is None or d in axes):
                self.mixed.add(label)

    def join(self, x: Atom, y: Atom, pairs: Sequence[tuple[int, int]] | None = None) -> None:
        """Pairs of axes of two values go together, or all of two values of one shape."""
        a, b = self.labels(x), self.labels(y)
        for i, j in pairs if pairs is not None else zip(range(len(a)), range(len(b)), strict=True):
            if a[i] is not None and b[j] is not None:
                self.parent[self.find(a[i])] = self.find(b[j])  # type: ignore[arg-type]

    def is_mixed(self) -> set[int]:
        """The classes along which elements meet: those of which a value has two axes, too."""
        mixed = {self.find(x) for x in self.mixed}
        for atom in self.of:
            labels = [x for x in self.labels(atom) if x is not None]
            mixed |= {x for x in labels if labels.count(x) > 1}
        return mixed

    # ------------------------------------------------------------ programs

    def structure(self, structure: Any, inputs: Sequence[Atom] | None, outs: Sequence[Atom] | None) -> None:
        """A control operation; the outermost has neither inputs nor outs here."""
        if isinstance(structure, Choice):
            for branch in structure.branches:
                self.program(branch)
                for x, y in itertools.chain(zip(inputs[1:], branch.in_vars, strict=True),  # type: ignore[index]
                                            zip(outs, branch.outs, strict=True)):  # type: ignore[arg-type]
                    self.join(x, y)
            return
        alone = of_one_lane(structure)
        if alone is not None:
            structure = alone.loop
            self.flags.append(alone.flag)
            for equation in alone.marks:
                self.equation(equation)
            for x, y in alone.choices:
                self.join(x, y)
        body = structure.body
        self.program(body)
        carried = body.in_vars[structure.num_consts:] if isinstance(structure, Loop) else body.in_vars[structure.body_consts:]
        for v, out in zip(carried, body.outs, strict=False):
            self.join(v, out)
        if isinstance(structure, While):
            self.program(structure.condition)
            for v, w in zip(structure.condition.in_vars[structure.cond_consts:], carried, strict=True):
                self.join(v, w)
            operands = (*structure.condition.in_vars[:structure.cond_consts], *body.in_vars)
        else:
            operands = body.in_vars
        if inputs is not None:
            for x, y in itertools.chain(zip(inputs, operands, strict=True),
                                        zip(outs, carried, strict=True)):  # type: ignore[arg-type]
                self.join(x, y)

    def program(self, jaxpr: Jaxpr) -> None:
        for v in (*jaxpr.in_vars, *jaxpr.const_vars):
            self.labels(v)
        for v in jaxpr.const_vars:
            self.mix(v)
        for equation in jaxpr.equations:
            self.equation(equation)

    def equation(self, equation: Equation) -> None:
        primitive, inputs, out = equation.primitive, equation.inputs, equation.outs[0]
        if primitive.kind is Kind.ELEMENTWISE:
            for v, x in itertools.product(equation.outs, inputs):
                if x.aval.shape:
                    self.join(x, v)
        elif primitive.code is INDEX:
            self.mix(out, [equation.params["dimension"]])
        elif primitive.kind is Kind.MOVEMENT and callable(primitive.code) and len(inputs) == 1:
            self.moved(inputs[0], out, equation)
        elif primitive is concatenate_p or primitive is pad_p:
            kept = [d for d in range(len(out.aval.shape)) if d != equation.params.get("dimension", d + 1)
                    and equation.params.get("padding_config", [(0, 0, 0)] * (d + 1))[d] == (0, 0, 0)]
            for x in (*inputs, out):
                self.mix(x, [d for d in range(len(x.aval.shape)) if d not in kept])
                if x.aval.shape:
                    self.join(x, out, [(d, d) for d in kept])
        elif primitive.kind is Kind.REDUCTION:
            axes = equation.params["axes"]
            self.mix(inputs[0], axes)
            kept = [d for d in range(len(inputs[0].aval.shape)) if d not in axes]
            self.join(inputs[0], out, [(d, i) for i, d in enumerate(kept)])
        elif primitive.kind is Kind.CONTRACTION:
            (lc, rc), (lb, rb) = equation.params["dimension_numbers"]
            lhs, rhs = inputs
            self.mix(lhs, lc)
            self.mix(rhs, rc)
            left = [*lb, *[d for d in range(len(lhs.aval.shape)) if d not in (*lc, *lb)]]
            right = [d for d in range(len(rhs.aval.shape)) if d not in (*rc, *rb)]
            self.join(lhs, out, [(d, i) for i, d in enumerate(left)])
            self.join(rhs, out, [*[(d, i) for i, d in enumerate(rb)], *[(d, i + len(left)) for i, d in enumerate(right)]])
        elif primitive.kind is Kind.CONTROL and callable(primitive.code):
            self.structure(primitive.code(**equation.params), inputs, equation.outs)
        else:
            raise TooLarge

    def moved(self, source: Atom, out: Var, equation: Equation) -> None:
        """A view in which each stride tells its axis: axes that lie in the result as they are."""
        view = _moved(source, equation)
        axis_of = {s: d for d, (n, s) in enumerate(zip(source.aval.shape, row_major(source.aval.shape), strict=True)) if n != 1}
        first = np.unravel_index(view.offset, source.aval.shape) if source.aval.shape else ()
        pairs = [(axis_of[s], i) for i, (n, s) in enumerate(zip(view.shape, view.strides, strict=True))
                 if n != 1 and s in axis_of and source.aval.shape[axis_of[s]] == n and first[axis_of[s]] == 0]
        self.mix(source, [d for d in axis_of.values() if d not in [a for a, _ in pairs]])
        self.mix(out, [i for i, (n, s) in enumerate(zip(view.shape, view.strides, strict=True))
                       if n != 1 and s and i not in [b for _, b in pairs]])
        self.join(source, out, pairs)

    # ------------------------------------------------------------ the choice

    def lanes(self) -> list[int]:
        """The fewest classes, long ones first, beside which all values are small. Those of flags are among them."""
        mixed = self.is_mixed()
        chosen = {x for flag in self.flags for x in self.labels(flag) if x is not None}
        if chosen & mixed:
            raise TooLarge
        for atom in self.of:
            labels = [x for x in self.labels(atom) if x is not None]
            free = sorted([x for x in labels if x not in chosen and x not in mixed], key=lambda x: -self.sizes[x])
            while math.prod(self.sizes[x] for x in labels if x not in chosen) > LARGEST:
                if not free:
                    raise TooLarge
                chosen.add(free.pop(0))
        return sorted(chosen)


def _moved(source: Atom, equation: Equation) -> View:
    shape = source.aval.shape
    return equation.primitive.code(View(None, shape, row_major(shape)), **equation.params)


# ---------------------------------------------------------------- lanes that end alone


class OneLane(NamedTuple):
    """A loop as a lane runs it that may stop before the others."""

    loop: While
    flag: Var
    """The part of the state that says for each lane whether it goes on."""
    marks: tuple[Equation, ...]
    """What repeats the flag."""
    choices: tuple[tuple[Atom, Atom], ...]
    """A flag, or what repeats it, and what it chooses: they must lie in the same lanes."""


def of_one_lane(loop: While | Loop) -> OneLane | None:
    """The loop for one lane; None if its lanes stop together.

    A batch goes on while any of its lanes does. A lane may stop before the others only if it keeps its state from then on:
    if its flag is never set again, and every other part of the state is a choice, by the flag, between old and new. The new
    one is then all that the lane's own loop computes. Where a batch lends values to the lanes that are done, that too is a
    choice by the flag.
    """
    if not isinstance(loop, While):
        return None
    number = _flag(loop.condition, loop.cond_consts)
    if number is None:
        return None
    key = ("of one lane", loop.condition, number)
    if key not in loop.body.cache:
        loop.body.cache[key] = _of_one_lane(loop, number)
    return loop.body.cache[key]


def _flag(condition: Jaxpr, consts: int) -> int | None:
    """The part of the state of which a condition asks whether any element is true."""
    if len(condition.equations) != 1 or condition.outs != condition.equations[0].outs:
        return None
    equation, = condition.equations
    state = condition.in_vars[consts:]
    if equation.primitive.kind is not Kind.REDUCTION or equation.inputs[0] not in state:
        return None
    aval = equation.inputs[0].aval
    if aval.dtype.kind != "b" or len(equation.params["axes"]) < len(aval.shape) or \
            combination(equation.primitive.code, aval.dtype, "a", "b") != "a | b":
        return None
    return state.index(equation.inputs[0])  # type: ignore[arg-type]


def _of_one_lane(loop: While, number: int) -> OneLane | None:
    body, state = loop.body, loop.body.in_vars[loop.body_consts:]
    made_by = {v: equation for equation in body.equations for v in equation.outs}
    flags: set[Atom] = {state[number]}
    new: dict[Atom, Atom] = {}
    equations, marks, choices = [], [], []
    for equation in body.equations:
        if equation.primitive.kind is Kind.MOVEMENT and len(equation.inputs) == 1 and equation.inputs[0] in flags:
            flags.add(equation.outs[0])
            marks.append(equation)
        equation = replace(equation, inputs=tuple([new.get(x, x) for x in equation.inputs]))
        if _chosen_by(equation, flags) and equation.inputs[2].aval.shape == equation.outs[0].aval.shape:
            new[equation.outs[0]] = equation.inputs[2]
            choices.append((equation.inputs[0], equation.outs[0]))
        equations.append(equation)

    def kept(i: int, out: Atom) -> bool:
        """Whether this part of the state is the old one where the flag is false; of the flag, whether it stays false."""
        equation = made_by.get(out)  # type: ignore[arg-type]
        if out is state[i] or equation is None:
            return out is state[i]
        if i == number:
            return equation.primitive is and_p and any(kept(i, x) for x in equation.inputs)
        choices.append((equation.inputs[0], state[i]))
        return _chosen_by(equation, flags) and equation.inputs[1] is state[i]

    if not all(kept(i, out) for i, out in enumerate(body.outs)):
        return None
    alone = body.replace(equations=tuple(equations), outs=tuple([new.get(x, x) for x in body.outs]))
    condition = loop.condition.replace(equations=(), outs=(loop.condition.in_vars[loop.cond_consts + number],))
    return OneLane(While(condition, prune(alone)[0], loop.cond_consts, loop.body_consts), state[number], tuple(marks),
                   tuple(choices))


def _chosen_by(equation: Equation, flags: set[Atom]) -> bool:
    return equation.primitive is select_n_p and len(equation.inputs) == 3 and equation.inputs[0] in flags


# ---------------------------------------------------------------- the kernel


class _LaneKernel(Statements):
    def __init__(self, structure: Loop | While, reads: Sequence[View], writes: Sequence[View]):
        super().__init__(reads, writes)
        axes = Axes()
        axes.structure(structure, None, None)
        classes = axes.lanes()
        if not classes:
            raise TooLarge
        self.along = {v: {x: d for d, x in enumerate(axes.labels(v)) if x in classes} for v in axes.of}
        """The axes of each variable that are lanes, by their class."""
        self.alone = of_one_lane(structure)
        self.structure = structure = self.alone.loop if self.alone is not None else structure
        if isinstance(structure, Loop):
            carried = structure.num_consts + structure.num_carry
            stacks = structure.body.outs[structure.num_carry:]
            inside = [*structure.body.in_vars, *structure.body.in_vars[structure.num_consts:carried], *stacks]
            self.stacked = {*range(carried, len(reads)), *range(len(inside) - len(stacks), len(inside))}
        else:
            state = structure.body.in_vars[structure.body_consts:]
            inside = [*structure.condition.in_vars[:structure.cond_consts], *structure.body.in_vars, *state]
            self.stacked = set()
        self.inside = inside
        """What each operand is inside of the loop: for a stack, what a slice is."""
        self.groups = self.grouped(classes, axes.sizes)

    def grouped(self, classes: list[int], sizes: list[int]) -> list[tuple[int, list[int]]]:
        """The lanes as few axes: the size of each and its stride in each operand. The last one moves fastest."""
        strides = {x: [self.stride(slot, x) for slot in range(len(self.inside))] for x in classes}
        groups: list[tuple[int, list[int]]] = []
        for x in sorted(classes, key=lambda x: -max(strides[x])):
            if groups and all(a == b * sizes[x] for a, b in zip(groups[-1][1], strides[x], strict=True)):
                groups[-1] = groups[-1][0] * sizes[x], strides[x]
            else:
                groups.append((sizes[x], strides[x]))
        return groups

    def stride(self, slot: int, which: int) -> int:
        axis = self.along.get(self.inside[slot], {}).get(which)  # type: ignore[call-overload]
        return 0 if axis is None else super().view(slot).strides[axis + (slot in self.stacked)]

    # ------------------------------------------------------------ what a lane has of a value

    def lanes(self, atom: Atom) -> tuple[int, ...]:
        return tuple(self.along.get(atom, {}).values())  # type: ignore[call-overload]

    def view(self, slot: int) -> View:
        view, lanes = super().view(slot), [d + (slot in self.stacked) for d in self.lanes(self.inside[slot])]
        kept = [d for d in range(len(view.shape)) if d not in lanes]
        return View(view.buffer, tuple([view.shape[d] for d in kept]), tuple([view.strides[d] for d in kept]))

    def origin(self, slot: int) -> str:
        return joined(*[name if strides[slot] == 1 else f"{name} * {self.word(strides[slot])}"
                        for name, (_, strides) in zip(self.coordinates, self.groups, strict=True) if strides[slot]])

    def moved(self, equation: Equation, args: list[list[str]]) -> list[str]:
        out, source = equation.outs[0], equation.inputs[0]
        if not any(map(self.lanes, (out, *equation.inputs))):
            return super().moved(equation, args)
        if len(args) > 1:  # all axes keep their places: those that are lanes are of size 1
            numbers = iter(range(sum(map(len, args))))
            operands = [np.array(list(itertools.islice(numbers, len(names)))).reshape(
                [1 if d in self.lanes(atom) else n for d, n in enumerate(atom.aval.shape)])
                for names, atom in zip(args, equation.inputs, strict=True)]
            elements = [name for names in args for name in names]
            return [elements[i] for i in equation.primitive.impl(np, *operands, **equation.params).reshape(-1)]
        view, lanes = _moved(source, equation), self.lanes(out)
        kept = [0 if d in lanes else s for d, s in enumerate(view.strides)]
        at = [view.offset + sum(i * s for i, s in zip(index, kept, strict=True))
              for index in np.ndindex(*[1 if d in lanes else n for d, n in enumerate(view.shape)])]
        weights, found = iter(row_major(self.shape(source))), np.zeros(len(at), np.int64)
        for d, places in enumerate(np.unravel_index(at, source.aval.shape) if source.aval.shape else ()):
            if d not in self.lanes(source):
                found += places * next(weights)
        return [args[0][i] for i in found]

    # ------------------------------------------------------------ rows

    def kernel(self, vectors: bool) -> NativeKernel:
        self.pointers()
        structure = self.structure
        programs = [structure.body, *([structure.condition] if isinstance(structure, While) else [])]
        straight = all(e.primitive.kind is not Kind.CONTROL for program in programs for e in program.equations)
        far = sum(super(_LaneKernel, self).view(slot).buffer.nbytes for slot in self.stacked) > FAR
        least = STACK_SIDES if self.stacked else SIDES
        if vectors and straight and len(self.groups) == 1:
            width = self.side_by_side(FAR_STATE if far else STATE)
            least = width if far else least
        else:
            self.one_by_one()
        rows = math.prod(size for size, _ in self.groups)
        chunk = rows if rows * self.work <= 4 * CHUNK else -(-max(CHUNK // self.work, 1) // least) * least
        return NativeKernel(self.source(), self.words, rows, chunk)

    def one_by_one(self) -> None:
        """Each row is a lane of its own."""
        self.line("for lane in range(start, stop):")
        self.depth += 1
        self.coordinates, rest = ["lane"], "lane"
        for size, _ in self.groups[:0:-1]:
            count = self.word(size)
            self.coordinates.insert(1, self.fresh(f"{rest} % {count}"))
            rest = self.fresh(f"{rest} // {count}")
        self.coordinates[0] = rest
        self.run(self.structure)

    def store(self, slot: int, names: list[str]) -> None:
        with self.first_lane(slot):
            super().store(slot, names)

    def store_slice(self, step: str, slot: int, stride: str, places: list[str], names: list[str]) -> None:
        with self.first_lane(slot):
            super().store_slice(step, slot, stride, places, names)

    @contextmanager
    def first_lane(self, slot: int) -> Iterator[None]:
        """What all lanes share, the first of them writes."""
        shared = [name for name, (_, strides) in zip(self.coordinates, self.groups, strict=True) if not strides[slot]]
        if shared:
            self.line(f"if {' + '.join(shared)} == 0:")
        self.depth += bool(shared)
        yield
        self.depth -= bool(shared)

    def repeat(self, loop: While, inputs: list[list[str]]) -> list[list[str]]:
        alone = of_one_lane(loop)
        return super().repeat(loop if alone is None else alone.loop, inputs)

    # ------------------------------------------------------------ lanes side by side

    def side_by_side(self, room: int) -> int:
        """The loop over some lanes is inside of the loop over the steps, so that it goes into vectors; how many they are."""
        loop = self.structure
        consts = loop.num_consts if isinstance(loop, Loop) else loop.cond_consts + loop.body_consts
        count = loop.num_carry if isinstance(loop, Loop) else len(self.reads) - consts
        state = [[f"c{slot}_{i}[l]" for i in range(math.prod(self.view(slot).shape))]
                 for slot in range(consts, consts + count)]
        width = max(room // 8 // (1 << max(sum(map(len, state)) - 1, 0).bit_length()), 32)
        slot_of_list = itertools.count(len(self.inside))
        for slot, names in enumerate(state, consts):
            kind = computed(self.view(slot).buffer.dtype)
            self.head += [f"{name[:-3]} = local_{kind}({width}, {next(slot_of_list)})" for name in names]
        self.coordinates = ["lane"]
        self.line(f"for first in range(start, stop, {width}):")
        self.depth += 1
        self.line(f"side = min({width}, stop - first)")
        with self.each_lane():
            for slot, names in enumerate(state, consts):
                for name, value in zip(names, self.load(slot), strict=True):
                    self.line(f"{name} = {value}")
        if isinstance(loop, Loop):
            self.loop_side_by_side(loop, state)
        else:
            self.repeat_side_by_side(loop, state)
        with self.each_lane():
            for slot, names in enumerate(state, len(self.reads)):
                self.store(slot, names)
        self.depth -= 1
        return width

    @contextmanager
    def each_lane(self) -> Iterator[None]:
        self.line("for l in range(side):")
        self.depth += 1
        self.line("lane = first + l")
        yield
        self.depth -= 1

    def loop_side_by_side(self, loop: Loop, state: list[list[str]]) -> None:
        carried = loop.num_consts + loop.num_carry
        slices = [self.sliced(slot) for slot in range(carried, len(self.reads))]
        stacks = [self.sliced(slot) for slot in range(len(self.reads) + loop.num_carry, len(self.inside))]
        steps = self.word(loop.length)
        self.line(f"for step in range({steps}):")
        self.depth += 1
        self.times = max(loop.length, 1)
        step = self.fresh(f"{steps} - 1 - step") if loop.reverse else "step"
        with self.each_lane():
            inputs = [self.load(slot) for slot in range(loop.num_consts)]
            inputs += [[self.fresh(name) for name in names] for names in state]
            inputs += [self.load_slice(step, *each) for each in slices]
            outs = self.program(loop.body, inputs)
            for each, names in zip(stacks, outs[loop.num_carry:], strict=True):
                self.store_slice(step, *each, names)
            for names, values in zip(state, outs, strict=False):
                for name, value in zip(names, values, strict=True):
                    self.line(f"{name} = {value}")
        self.times = 1
        self.depth -= 1

    def repeat_side_by_side(self, loop: While, state: list[list[str]]) -> None:
        """Lanes that are done wait for the others, and keep their state. If all stop together, one of them is asked."""
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        flag = None
        if self.alone is not None:
            flag, = state[loop.body.in_vars.index(self.alone.flag) - loop.body_consts]
            self.line("going = False")
            with self.each_lane():
                self.line(f"going = going | {flag}")
            self.line("while going:")
            self.depth += 1
            self.line("going = False")
        else:
            self.line("while True:")
            self.depth += 1
            self.line("l = 0")
            inputs = [self.load(slot) for slot in range(ends[0])]
            (going,), = self.program(loop.condition, [*inputs, *[[self.fresh(name) for name in names] for names in state]])
            self.line(f"if not {going}:")
            self.lines.append("    " * self.depth + "break")
        self.times = STEPS
        with self.each_lane():
            inputs = [self.load(slot) for slot in range(*ends)]
            old = {name: self.fresh(name) for names in state for name in names}
            outs = self.program(loop.body, [*inputs, *[[old[name] for name in names] for names in state]])
            for name, new in zip(itertools.chain(*state), itertools.chain(*outs), strict=True):
                if name == flag:
                    self.line(f"going = going | {new}")
                elif flag is not None and new != old[name]:
                    new = f"select_bool({old[flag]}, {old[name]}, {new})"
                self.line(f"{name} = {new}")
        self.times = 1
        self.depth -= 1
