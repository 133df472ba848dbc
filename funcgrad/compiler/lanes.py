"""Loops with independent lanes: what ``vmap`` makes of a small loop becomes one kernel whose rows are the lanes.

In: a loop whose values are small beside some long axes, and along these axes no two elements ever meet. Out: a kernel in which
each row runs the whole loop; None where elements meet, or where the values are too large beside the axes.

    vmap of a scan of c -> 0.5 * c + x:    for first in range(start, stop, 2048):
                                               side = min(2048, stop - first)
                                               ...
                                               for i in range(n):
                                                   for l in range(side):
                                                       lane = first + l
                                                       v0 = c[l]
                                                       v1 = p1[i * s1 + lane]
                                                       v2 = f64(0.5) * v0
                                                       c[l] = v2 + v1

On a processor with vectors, lanes lie side by side, as here: the loop over some of them is inside of the loop over the steps,
and their state is in lists that stay in the nearest cache. On others, each lane runs alone, with its state in variables.
"""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from funcgrad.compiler.codegen import CHUNK
from funcgrad.compiler.expressions import stored
from funcgrad.compiler.lane_axes import Axes, moved_view, of_one_lane
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.small import STEPS, Slices, Statements, TooLarge, joined
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var, is_effect
from funcgrad.core.primitive import Kind
from funcgrad.core.structure import Choice, Loop, While

STATE = 1 << 14
"""The bytes that the state of the lanes side by side takes, about: half of the nearest cache."""
FAR = 1 << 25
"""The bytes of stacks which no cache holds. They are read and written in long pieces, by many lanes: with 64 lanes a gradient
of 1000 steps in 20000 lanes took three times as long as with 8192."""
FAR_STATE = 1 << 18
FEWEST = 32
"""Lanes side by side, at least."""
SIDES = 64
"""Lanes that one thread takes at a time, at least; of a loop with stacks ``STACK_SIDES``."""
STACK_SIDES = 512

DEAREST = 700
"""What the statements cost, in additions, at most: functions such as exp are written out in vectors, so that they take long to
compile. Where a step is that much work, nothing is gained by less reading and writing."""

REPEATED = 3
"""What lanes compute may be so many times as much as it is without what several of them compute alike."""

Source = Callable[[], list[str]]
"""Reads the elements of a value in a lane: what is computed in one loop over the lanes is kept in lists for another."""


def lane_kernel(structure: Any, reads: Sequence[View], writes: Sequence[View], vectors: bool = True) -> NativeKernel | None:
    """The kernel of a loop on these operands, if its lanes are independent; a row is a lane.

    Without ``vectors`` each lane is on its own, with its state in variables, as a thread of a GPU wants it.
    """
    if isinstance(structure, Choice) or not all(math.prod(view.shape) for view in (*reads, *writes)):
        return None
    try:
        return (_SideBySide if vectors else _OneByOne)(structure, reads, writes).kernel()
    except TooLarge:
        return None


class _Lanes(Statements):
    def __init__(self, structure: Loop | While, reads: Sequence[View], writes: Sequence[View]):
        super().__init__(reads, writes)
        axes = Axes()
        axes.structure(structure, None, None)
        classes = axes.lanes()
        if not classes:
            raise TooLarge
        self.along = {v: {x: d for d, x in enumerate(axes.labels(v)) if x in classes} for v in axes.of}
        """The axes of each variable that are lanes, by their class."""
        self.given, structure = structure, of_one_lane(structure).loop
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
        self.sizes = {x: axes.sizes[x] for x in classes}
        self.done = self.useful = 0.0

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
        return 0 if axis is None else self.operand(slot).strides[axis + (slot in self.stacked)]

    # ------------------------------------------------------------ what a lane has of a value

    def operand(self, slot: int) -> View:
        return super().view(slot)

    def lanes(self, atom: Atom) -> tuple[int, ...]:
        return tuple(self.along.get(atom, {}).values())  # type: ignore[call-overload]

    def view(self, slot: int) -> View:
        view, lanes = self.operand(slot), [d + (slot in self.stacked) for d in self.lanes(self.inside[slot])]
        kept = [d for d in range(len(view.shape)) if d not in lanes]
        return View(view.buffer, tuple([view.shape[d] for d in kept]), tuple([view.strides[d] for d in kept]))

    def origin(self, slot: int) -> str:
        return joined(*[name if strides[slot] == 1 else f"{name} * {self.word(strides[slot])}"
                        for name, (_, strides) in zip(self.coordinates, self.groups, strict=True) if strides[slot]])

    def equation(self, equation: Equation, args: list[list[str]]) -> list[list[str]]:
        before = self.work
        outs = super().equation(equation, args)
        if equation.primitive.kind is not Kind.CONTROL:
            own = {x for v in equation.outs for x in self.along.get(v, {})}
            self.done += self.work - before
            self.useful += (self.work - before) / math.prod(n for x, n in self.sizes.items() if x not in own)
        return outs

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
        view, lanes = moved_view(source, equation), self.lanes(out)
        kept = [0 if d in lanes else s for d, s in enumerate(view.strides)]
        at = [view.offset + sum(i * s for i, s in zip(index, kept, strict=True))
              for index in np.ndindex(*[1 if d in lanes else n for d, n in enumerate(view.shape)])]
        weights, found = iter(row_major(self.shape(source))), np.zeros(len(at), np.int64)
        for d, places in enumerate(np.unravel_index(at, source.aval.shape) if source.aval.shape else ()):
            if d not in self.lanes(source):
                found += places * next(weights)
        return [args[0][i] for i in found]

    # ------------------------------------------------------------ rows

    def split(self, row: str) -> list[str]:
        """The place of a row along each group of lanes."""
        found = []
        for size, _ in self.groups[:0:-1]:
            count = self.word(size)
            found.insert(0, self.fresh(f"{row} % {count}"))
            row = self.fresh(f"{row} // {count}")
        return [row, *found]

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

    def rows(self, least: int) -> NativeKernel:
        if self.once > DEAREST or self.done > REPEATED * self.useful:
            raise TooLarge
        rows = math.prod(size for size, _ in self.groups)
        chunk = rows if rows * self.work <= 4 * CHUNK else -(-max(CHUNK // self.work, 1) // least) * least
        return NativeKernel(self.source(), self.words, rows, chunk)


class _OneByOne(_Lanes):
    """Each lane runs the whole loop by itself."""

    def kernel(self) -> NativeKernel:
        self.pointers()
        self.line("for lane in range(start, stop):")
        self.depth += 1
        self.coordinates = self.split("lane")
        self.run(self.given)
        return self.rows(SIDES)

    def loop(self, loop: Loop, inputs: list[list[str]], slices: list[Slices], stacks: list) -> list[list[str]]:
        return super().loop(of_one_lane(loop).loop, inputs, slices, stacks)  # type: ignore[arg-type]

    def repeat(self, loop: While, inputs: list[list[str]]) -> list[list[str]]:
        return super().repeat(of_one_lane(loop).loop, inputs)  # type: ignore[arg-type]


class _SideBySide(_Lanes):
    """Some lanes take each step together, so that it goes into vectors: the loops over them are inside of all others.

    A body with loops in it is cut at these, and what is needed behind a cut is kept in lists. Lanes that are done wait for the
    others, and keep their state.
    """

    def kernel(self) -> NativeKernel:
        self.pointers()
        self.lists: list[str] = []
        self.flag: str | None = None
        """The list that says which lanes go on, inside of a loop that lanes leave one by one."""
        size, _ = self.groups[-1]
        if len(self.groups) > 1 and (size < FEWEST or any(
                0 < strides[slot] < self.groups[-1][1][slot] for _, strides in self.groups for slot in self.stacked)):
            raise TooLarge  # vectors would be short, or read lines of the cache for one number each
        if len(self.groups) == 1:
            self.line("for first in range(start, stop, WIDTH):")
            self.depth += 1
            self.line("side = min(WIDTH, stop - first)")
            self.coordinates, self.at = ["lane"], "first"
        else:  # all of them have the same place along the other axes
            self.line("first = start")
            self.line("while first < stop:")
            self.depth += 1
            self.coordinates = self.split("first")
            self.at, self.coordinates[-1] = self.coordinates[-1], "lane"
            self.line(f"side = min(WIDTH, min(stop - first, {self.word(size)} - {self.at}))")
        self.whole_loop()
        if len(self.groups) > 1:
            self.line("first = first + side")
        stacks = [self.operand(slot) for slot in self.stacked]
        far = sum(math.prod(view.shape) * view.buffer.dtype.itemsize for view in stacks) > FAR
        width = max((FAR_STATE if far else STATE) // 8 // (1 << max(len(self.lists) - 1, 0).bit_length()), FEWEST)
        self.head += self.lists
        kernel = self.rows(width if far else STACK_SIDES if self.stacked else SIDES)
        return replace(kernel, source=kernel.source.replace("WIDTH", str(width)))

    def whole_loop(self) -> None:
        """From the operands in memory to the results there."""
        loop, count = self.given, len(self.reads)
        consts = loop.num_consts if isinstance(loop, Loop) else loop.cond_consts + loop.body_consts
        carried = consts + loop.num_carry if isinstance(loop, Loop) else count
        sources = [partial(self.load, slot) for slot in range(carried)]
        if isinstance(loop, Loop):
            slices = [self.slices(slot) for slot in range(carried, count)]
            stacks = [self.sliced(slot) for slot in range(count + loop.num_carry, len(self.inside))]
            outs = self.counted(loop, sources, slices, stacks)
        else:
            outs = self.repeated(loop, sources)
        with self.each_lane():
            for slot, names in enumerate(outs, count):
                self.store(slot, names)

    @contextmanager
    def each_lane(self) -> Iterator[None]:
        self.line("for l in range(side):")
        self.depth += 1
        self.line(f"lane = {self.at} + l")
        yield
        self.depth -= 1

    def new_list(self, dtype: np.dtype) -> str:
        """An element of a new list, in a lane."""
        slot = len(self.inside) + len(self.lists)
        self.lists.append(f"c{len(self.lists)} = local_{stored(dtype)}(WIDTH, {slot})")
        return f"c{len(self.lists) - 1}[l]"

    def kept(self, v: Var, names: list[str]) -> list[str]:
        """The elements of a value, in lists."""
        lists = [self.new_list(v.aval.dtype) for _ in names]
        for name, value in zip(lists, names, strict=True):
            self.line(f"{name} = {value}")
        return lists

    def loaded(self, names: list[str]) -> list[str]:
        return [self.fresh(name) for name in names]

    # ------------------------------------------------------------ programs

    def steps(self, jaxpr: Jaxpr, sources: Sequence[Source], finish: Callable[[list[list[str]]], None]) -> None:
        """A program in all lanes; ``finish`` is given its results in each lane."""
        given: dict[Var, Source] = dict(zip(jaxpr.in_vars, sources, strict=True))
        given.update({v: lambda names=names: names for v, names in self.constants(jaxpr).items()})  # type: ignore[misc]
        cuts = [i for i, e in enumerate(jaxpr.equations) if _is_loop(e)]
        for start, stop in zip([0, *[i + 1 for i in cuts]], [*cuts, len(jaxpr.equations)], strict=True):
            last = stop == len(jaxpr.equations)
            later = {a for e in jaxpr.equations[stop:] for a in e.inputs} | set(jaxpr.outs)
            with self.each_lane():
                values = _Loaded(given)
                self.equations(jaxpr.equations[start:stop], values)
                if last:
                    finish([self.read(values, out) for out in jaxpr.outs])
                else:
                    for v in [v for e in jaxpr.equations[start:stop] for v in e.outs if v in later]:
                        given[v] = partial(self.loaded, self.kept(v, values[v]))
            if not last:
                self.nested(jaxpr.equations[stop], given)

    def nested(self, equation: Equation, given: dict[Var, Source]) -> None:
        """A loop in a body; its results are given from then on."""
        if is_effect(equation):
            raise TooLarge
        loop = equation.primitive.code(**equation.params)
        sources = [partial(self.read, {}, a) if type(a) is Literal else given[a] for a in equation.inputs]  # type: ignore[index]
        if isinstance(loop, While):
            outs = self.repeated(loop, sources)
        else:
            carried = loop.num_consts + loop.num_carry
            outs = self.counted(loop, sources[:carried], self.counters(loop, [at() for at in sources[carried:]]), [])
        given.update({v: partial(self.loaded, names) for v, names in zip(equation.outs, outs, strict=True)})

    def counted(self, loop: Loop, sources: Sequence[Source], slices: list[Slices], stacks: list) -> list[list[str]]:
        consts, state = sources[:loop.num_consts], self.state_of(loop.body.in_vars[loop.num_consts:], sources[loop.num_consts:])
        loop = of_one_lane(loop).loop  # type: ignore[assignment]
        step, steps = next(self.names), self.word(loop.length)
        self.line(f"for {step} in range({steps}):")
        self.depth += 1
        times, self.times = self.times, self.times * max(loop.length, 1)
        if (slices or stacks) and loop.reverse:
            step = self.fresh(f"{steps} - 1 - {step}")

        def finish(outs: list[list[str]]) -> None:
            for each, names in zip(stacks, outs[loop.num_carry:], strict=True):
                self.store_slice(step, *each, names)
            self.assign(state, outs[:loop.num_carry])

        self.steps(loop.body, [*consts, *[partial(self.loaded, names) for names in state],
                               *[partial(at, step) for at in slices]], finish)
        self.times = times
        self.depth -= 1
        return state

    def state_of(self, variables: Sequence[Var], sources: Sequence[Source], flag: int | None = None) -> list[list[str]]:
        """The state of a loop, in lists. Lanes that are done in the loop around it are so in this one."""
        state = []
        with self.each_lane():
            for i, (v, source) in enumerate(zip(variables, sources, strict=False)):
                names = source()
                if i == flag and self.flag is not None:
                    names = [self.fresh(f"{names[0]} & {self.flag}")]
                state.append(self.kept(v, names))
        return state

    def repeated(self, loop: While, sources: Sequence[Source]) -> list[list[str]]:
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        alone = of_one_lane(loop)
        body = alone.loop.body
        variables = body.in_vars[loop.body_consts:]
        number = None if alone.flag is None else variables.index(alone.flag)
        state = self.state_of(variables, sources[ends[1]:], number)
        going, before = next(self.names), (self.flag, self.times)
        if number is not None:
            flag, = state[number]
            self.line(f"{going} = False")
            with self.each_lane():
                self.line(f"{going} = {going} | {flag}")
            self.line(f"while {going}:")
            self.depth += 1
            self.line(f"{going} = False")
            self.flag = flag
        else:  # they stop together: the first is asked
            self.line("while True:")
            self.depth += 1
            self.line("l = 0")
            self.line(f"lane = {self.at}")
            values = [source() for source in sources[:ends[0]]]
            (goes_on,), = self.program(loop.condition, [*values, *map(self.loaded, state)])
            self.line(f"if not {goes_on}:")
            self.lines.append("    " * self.depth + "break")
        self.times *= STEPS

        def finish(outs: list[list[str]]) -> None:
            if number is not None:
                new, = outs[number]
                self.line(f"{going} = {going} | {new}")
                flag = self.fresh(state[number][0])
                outs = [names if i == number else [self.fresh(f"select_bool({flag}, {old}, {new})") for old, new in
                                                   zip(state[i], names, strict=True)] for i, names in enumerate(outs)]
            self.assign(state, outs)

        self.steps(body, [*sources[ends[0]:ends[1]], *[partial(self.loaded, names) for names in state]], finish)
        self.flag, self.times = before
        self.depth -= 1
        return state

    def repeat(self, loop: While, inputs: list[list[str]]) -> list[list[str]]:
        raise TooLarge  # a loop in a branch: the lanes would not stay together


class _Loaded(dict):
    """Values in a lane, each of them read when it is first asked for."""

    def __init__(self, given: dict[Var, Source]):
        self.given = given

    def __missing__(self, v: Var) -> list[str]:
        names = self[v] = self.given[v]()
        return names


def _is_loop(equation: Equation) -> bool:
    return equation.primitive.kind is Kind.CONTROL and callable(equation.primitive.code) and \
        not isinstance(equation.primitive.code(**equation.params), Choice)
