"""What one call at a time uses on a GPU: a block of words there, and the graphs that read it.

In: the addresses that a call passes. Out: everything that the program does, on the stream of the frame. The host walks the
table of instructions and knows every address, for products and for what it looks at itself; kernels find theirs in the words.
"""
from __future__ import annotations

import math
import struct
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.compiler.cuda.image import Action
from funcgrad.compiler.image import END, GEMM, HOST, ITERATE, JUMP, KERNEL, NEXT, RESET, SWITCH, UNLESS, buffer_of
from funcgrad.compiler.nodes import Step
from funcgrad.compiler.view import View
from funcgrad.core import device as devices
from funcgrad.core.array import CudaArray
from funcgrad.core.jaxpr import Literal
from funcgrad.core.trace import EVAL, current
from funcgrad.errors import locate

VARIANTS = 8
"""Graphs of one stretch that a frame keeps, for different addresses of what its products use."""
SCALAR = 2
"""Words for an input without axes that the host passes: room for a complex128."""


class Way(NamedTuple):
    """What a stretch comes to: where it ends, the actions in it, and the bases that its products use.

    None where what a product uses depends on the number of an iteration that began before.
    """

    end: int
    actions: Sequence[Action]
    bases: tuple[int, ...] | None


class Frame:
    """The words are numbers passed by the host, the failure flag, the bases, loop counters, the addresses of the tables, and
    the addresses of all operands. A call writes those up to the last base that it passes. ``executable`` is a
    ``CudaExecutable``.
    """

    def __init__(self, executable: Any, stream: int):
        e, self.owner = executable, weakref.ref(executable)  # without a cycle, which would keep memory of the device
        driver = e.driver
        self.stream = stream
        self.numbers = [i for i, aval in enumerate(e.in_avals) if not aval.shape]
        self.flag = SCALAR * len(self.numbers)
        bases = self.flag + 1
        counters = bases + e.base_count
        tables = counters + e.counters
        addresses = tables + len(e.tables) + 2
        self.words = np.zeros(addresses + max(len(e.operands) // 2, 1), np.int64)
        self.block = driver.empty(self.words.shape, self.words.dtype)
        self.owned = [driver.empty((b.size,), b.dtype) for b in e.owned]
        self.address, self.host_address = self.block.data.ptr, self.words.ctypes.data
        at = self.words[bases:]
        for buffer, x in (*zip(e.owned, self.owned, strict=True),
                          *zip([b for b, _ in e.schedule.consts], e.constants, strict=True)):
            at[buffer.index] = x.data.ptr
        at[e.schedule.failure.index] = self.address + 8 * self.flag
        swaps, moves, operands, places, sizes = [table.data.ptr for table in e.tables]
        self.words[tables:addresses] = [self.address + 8 * bases, self.address + 8 * counters, swaps, moves, operands, places,
                                        self.address + 8 * addresses]
        self.bases: list[int] = at[:e.base_count].tolist()
        self.counters = [0] * e.counters
        self.varying = len(e.passed) - len(e.owned)
        self.memory, self.first, self.pack = memoryview(self.words).cast("B"), 8 * bases, struct.Struct(f"{self.varying}q")
        self.written = 8 * (bases + self.varying)
        self.places = {i: (self.words[SCALAR * k:SCALAR * (k + 1)].view(e.in_avals[i].dtype)[:1], self.address + 8 * SCALAR * k)
                       for k, i in enumerate(self.numbers)}
        self.stages: dict[int, Any] = {}
        self.launches = self.prepare(self.address + 8 * tables, self.address + 8 * addresses, sizes)
        self.graphs: dict[tuple[int, int], OrderedDict[tuple[int, ...], Any]] = {}
        driver.write(self.address, self.host_address, self.words.nbytes, stream)

    @property
    def executable(self) -> Any:
        return self.owner()

    def prepare(self, tables: int, addresses: int, sizes: int) -> dict[int, tuple]:
        """The launch of each instruction that is one: kernel, blocks, threads of each, arguments."""
        e, launches = self.executable, {}
        for i, word in enumerate(e.instructions):
            if word[0] == KERNEL:
                kernel, blocks, threads, *rows = e.kernels[word[1]]
                given = addresses + 8 * word[2], sizes + 8 * word[3], *rows
            elif i in e.actions:
                kernel, blocks, threads = e.control, 1, 256
                given = tables, sizes + 8 * e.actions[i][1], 1, 1, 256
            else:
                continue
            launches[i] = kernel, blocks, threads, tuple(map(np.uint64, given))
        return launches

    def run(self, passed: list[Any]) -> None:
        """Puts the program on the stream: the bases that a call passes, or numbers of NumPy's in the place of some."""
        e = self.executable
        if e.can_fail:
            self.effects: list[tuple] = []
        for i, (place, address) in self.places.items():
            if type(passed[i]) is not int:
                place[0] = passed[i]
                passed[i] = address
        results = self.to_stages(passed) if e.staged else ()
        self.pack.pack_into(self.memory, self.first, *passed)
        self.bases[:self.varying] = passed
        e.driver.write(self.address, self.host_address, self.written, self.stream)
        at, instructions = 0, e.instructions
        while instructions[at][0] != END:
            at = self.step(at)
            if at < 0:
                return
        for place in results:
            e.driver.duplicate(*place, self.stream)

    def to_stages(self, passed: list[int]) -> list[tuple[int, int, int]]:
        """Copies inputs to their places in this frame, and has results written to theirs: where those are to be copied to."""
        e, results = self.executable, []
        for i, nbytes in list(e.staged.items()):
            if i not in self.stages:
                self.stages[i] = e.driver.empty((nbytes,), np.dtype(np.uint8))
            place, passed[i] = passed[i], self.stages[i].data.ptr
            if i < len(e.in_avals):
                e.driver.duplicate(passed[i], place, nbytes, self.stream)
            else:
                results.append((place, passed[i], nbytes))
        return results

    def step(self, at: int) -> int:
        """An instruction that the host has to look at, or a stretch of others. What follows, or -1 where a kernel failed."""
        e = self.executable
        kind, a, b, c, d, *_ = e.instructions[at]
        if kind == RESET or kind == KERNEL:
            return self.stretch(at, 0)
        if kind == HOST:
            if e.can_fail and self.failed():
                return -1  # the error comes before what the host would do next
            self.host(e.hosts[a])
            return at + 1
        if kind == UNLESS:
            return at + 1 if e.driver.read(self.operand(a), np.uint8, self.stream) else b
        if kind == SWITCH:
            return e.sizes[d + min(max(int(e.driver.read(self.operand(a), np.int32, self.stream)), 0), c - 1)]
        if kind != ITERATE:
            return self.stretch(at, 0)
        left, at_once = b - self.counters[a], e.at_once[at]
        if left <= 0:
            return e.instructions[at][6]
        return self.stretch(at + 1, min(left, at_once)) if at_once else at + 1

    def failed(self) -> bool:
        """Whether a kernel met an invalid operand. Waits for the device."""
        return bool(self.executable.driver.read(self.address + 8 * self.flag, np.int64, self.stream))

    # ------------------------------------------------------------ stretches

    def stretch(self, at: int, times: int) -> int:
        """Runs what follows, to where the host has to look, or ``times`` iterations of the loop whose body this is.

        Returns the position of what follows then.
        """
        e = self.executable
        name = at, times
        way = e.ways.get(name)
        if way is None or way.bases is None:
            before = self.bases.copy()
            way = e.ways[name] = self.launch(at, times)
            if way.bases is not None:
                self.graphs[name] = OrderedDict({tuple([before[i] for i in way.bases]): None})
            return way.end
        graphs = self.graphs.get(name)
        if graphs is None:
            graphs = self.graphs[name] = OrderedDict()
        key = tuple([self.bases[i] for i in way.bases])
        if key not in graphs:
            graphs[key] = None
            if len(graphs) > VARIANTS:
                e.stage(way.bases, graphs.popitem(last=False)[0], key)
            self.launch(at, times)
            return way.end
        if len(graphs) > 1:
            graphs.move_to_end(key)
        graph = graphs[key]
        if graph is None:
            graph = graphs[key] = self.captured(at, times)
        if graph is False:
            self.launch(at, times)
            return way.end
        graph.launch()
        for action in way.actions:
            self.act(action)
        return way.end

    def captured(self, at: int, times: int) -> Any:
        """The graph of a stretch, or False if it cannot be captured. The bases stay as they are."""
        before = self.bases.copy(), self.counters.copy()
        try:
            with self.executable.driver.capture() as recording:
                self.launch(at, times)
            return recording
        except Exception:
            return False  # what is wrong with it, if anything is, the launch of its parts says
        finally:
            self.bases, self.counters = before

    def launch(self, at: int, times: int) -> Way:
        """Puts the instructions of a stretch on the stream, one by one."""
        e = self.executable
        driver = e.driver
        actions: list[Action] = []
        origins: list[int | None] = list(range(e.base_count))
        """The base that each was when the stretch began, which says where it is; None: the number of an iteration does too."""
        started: set[int] = set()
        used: set[int | None] = set()
        while True:
            kind, a, b = e.instructions[at][:3]
            if kind == KERNEL:
                driver.launch(*self.launches[at])
                at += 1
            elif kind == GEMM:
                driver.gemm(e.products[a], *[self.operand(k) for k in range(b, b + 3)])
                used |= {origins[e.operands[2 * k]] for k in range(b, b + 3)}
                at += 1
            elif kind in (RESET, NEXT):
                action, _ = e.actions[at]
                driver.launch(*self.launches[at])
                self.act(action)
                actions.append(action)
                if kind == RESET:
                    started.add(a)
                for x, y in action.pairs:
                    origins[x], origins[y] = origins[y], origins[x]
                for x, y, _, step in action.moves:
                    origins[x] = origins[y] if a in started or not step else None
                at = at + 1 if kind == RESET else b
                if kind == NEXT and e.instructions[at][0] == ITERATE and not self.unrolled(at):
                    times -= 1
                    if times <= 0:
                        break
                    at += 1
            elif kind == ITERATE and self.unrolled(at):
                at = e.instructions[at][6] if self.counters[a] >= b else at + 1
            elif kind == JUMP:
                at = a
            else:
                break
        last = e.instructions[at][0] == END  # nobody asks where bases are then
        return Way(at, () if last else actions, None if None in used else tuple(sorted(used)))  # type: ignore[type-var, arg-type]

    def unrolled(self, top: int) -> bool:
        """Whether all iterations of a counted loop belong to one stretch."""
        return self.executable.at_once[top] >= self.executable.instructions[top][2]

    def act(self, action: Action) -> None:
        """What an action does to the bases, on the host."""
        bases = self.bases
        step = self.counters[action.counter] = (self.counters[action.counter] + 1) * action.keep
        for a, b in action.pairs:
            bases[a], bases[b] = bases[b], bases[a]
        index = action.first + action.direction * step
        for a, b, offset, far in action.moves:
            bases[a] = bases[b] + offset + far * index

    # ------------------------------------------------------------ host steps

    def operand(self, k: int) -> int:
        """The address of an operand."""
        operands = self.executable.operands
        return self.bases[operands[2 * k]] + operands[2 * k + 1]

    def array(self, view: View) -> Any:
        """A view as a ``cupy.ndarray``."""
        base, offset = self.executable.place(view)
        size = view.buffer.dtype.itemsize
        return self.executable.driver.view(self.bases[base] + offset, view.shape, view.buffer.dtype,
                                           [s * size for s in view.strides])

    def host(self, step: Step) -> None:
        """Computes an equation by CuPy, or by NumPy where CuPy has nothing for it, and puts the results where they belong."""
        e, equation = self.executable, step.equation
        driver, primitive = e.driver, equation.primitive
        empty = [math.prod(v.shape) == 0 if isinstance(v, View) else False for v in step.reads]
        args = [v.value if type(v) is Literal else driver.empty(v.shape, v.buffer.dtype) if none else self.array(v)
                for v, none in zip(step.reads, empty, strict=True)]
        try:
            if primitive.on_values:
                values = [CudaArray(driver.put(a), atom.aval.weak_type) if type(v) is not Literal else a
                          for a, v, atom in zip(args, step.reads, equation.inputs, strict=True)]
                with current(EVAL):
                    outs = [buffer_of(x) for x in primitive.impl(*values, **equation.params)]
            else:
                found = devices.call(primitive, args, equation.params, driver.device)
                outs = list(found) if isinstance(found, tuple) else [found]
                if primitive.effect and e.can_fail:
                    self.effects.append(tuple([devices.to_host(x)[()] for x in outs]))
        except Exception as error:
            locate(error, equation.source)
            raise
        for view, out in zip(step.writes, outs, strict=True):
            if math.prod(view.shape):
                self.array(view)[...] = devices.moved(out, driver.device, primitive.name)
