"""The machine that runs a program on a GPU: an instruction table, walked by the host, whose stretches are launched as one.

In: a jaxpr after the passes, and a device. Out: a ``CudaExecutable``, called with arrays there. Kernels find their operands in
tables in device memory, so what is launched does not depend on where the arguments of a call are. A call

    writes the addresses of its inputs, results and arena into the table of bases           one small copy
    resolves the address of every operand                                                   a kernel
    runs the kernels and products; loops move and swap bases, and resolve what moved        a kernel for each iteration

A *stretch* is what is launched between two places where the host has to look: a host step, the condition of a while loop, a
choice, the end. Counted loops within are unrolled up to a number of launches. A stretch that is met for the second time is
captured as a CUDA graph, and launched as that from then on. Products are given addresses, so a graph is for the bases that its
products use; inputs and results whose places keep changing are brought to a place of the frame's own. Everything is put on CuPy's current stream, in order, and nothing waits but what reads a condition or whether a
kernel failed.
"""
from __future__ import annotations

import math
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad.compiler.cuda import contraction
from funcgrad.compiler.cuda.driver import Driver, geometry
from funcgrad.compiler.image import END, GEMM, HOST, ITERATE, JUMP, KERNEL, NEXT, RESET, SWITCH, UNLESS, Image, buffer_of
from funcgrad.compiler.nodes import Step
from funcgrad.compiler.view import Buffer, View
from funcgrad.core import device as devices
from funcgrad.core.array import CudaArray, DeviceArray
from funcgrad.core.jaxpr import Jaxpr, Literal
from funcgrad.core.trace import EVAL, current
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.dtypes import PYTHON_SCALARS
from funcgrad.errors import locate
from funcgrad.ops import callback

UNROLLED = 4096
"""Launches in a stretch up to which a counted loop is unrolled in it."""
VARIANTS = 8
"""Graphs of one stretch that a frame keeps, for different addresses of what its products use."""
STAGED = 1 << 24
"""Bytes up to which what has had more places than that gets one of the frame's own, and is copied; longer ones take a GPU
longer than it takes to launch kernels one by one."""
STREAMS = 8
"""Streams whose frames are kept."""
SCALAR = 2
"""Words in the table for an input without axes that the host passes: room for a complex128."""

CONTROL = """
def kernel(pointers, sizes, start, stop):
    bases = pointer_i64(pointers, 0)
    counters = pointer_i64(pointers, 1)
    pairs = pointer_i64(pointers, 2)
    moves = pointer_i64(pointers, 3)
    operands = pointer_i64(pointers, 4)
    places = pointer_i64(pointers, 5)
    addresses = pointer_i64(pointers, 6)
    counter = word(sizes, 2)
    if lane(256) == 0:
        counters[counter] = (counters[counter] + 1) * word(sizes, 3)
    for i in range(word(sizes, 0) + lane(256), word(sizes, 1), 256):
        a = pairs[2 * i]
        b = pairs[2 * i + 1]
        base = bases[a]
        bases[a] = bases[b]
        bases[b] = base
    sync(256)
    index = word(sizes, 4) + counters[counter] * word(sizes, 5)
    for i in range(word(sizes, 6) + lane(256), word(sizes, 7), 256):
        bases[moves[4 * i]] = bases[moves[4 * i + 1]] + moves[4 * i + 2] + moves[4 * i + 3] * index
    sync(256)
    for i in range(word(sizes, 8) + lane(256), word(sizes, 9), 256):
        k = places[i]
        addresses[k] = bases[operands[2 * k]] + operands[2 * k + 1]
""".lstrip()
"""RESET and NEXT: counts, swaps bases, moves bases, and resolves the operands that this changes.

The sizes are those of an ``Action``: which pairs; the counter, and what it is multiplied by; the index of the first iteration
and the step from one to the next; which moves; which operands.
"""


class Action(NamedTuple):
    """What RESET or NEXT does to the bases: ``CONTROL`` on the device, and the same on the host, which knows all addresses."""

    keep: int
    """0 for RESET, which sets the counter to 0; 1 for NEXT, which counts."""
    counter: int
    first: int
    direction: int
    pairs: list[tuple[int, int]]
    moves: list[tuple[int, int, int, int]]


class Way(NamedTuple):
    """What a stretch comes to: where it ends, the actions in it, and the bases that its products use.

    None where what a product uses depends on the number of an iteration that began before.
    """

    end: int
    actions: Sequence[Action]
    bases: tuple[int, ...] | None


class CudaExecutable(Image):
    """A program compiled for one GPU. Several threads may call it at once: each call has a frame of its own."""

    target = "cuda"
    OWNED = STAGED

    def __init__(self, jaxpr: Jaxpr, donated: Sequence[int], driver: Driver):
        self.driver = self.memory = driver
        self.frames: OrderedDict[int, list[_Frame]] = OrderedDict()
        """By the stream that they were used on, which orders one call after the other."""
        self.ways: dict[tuple[int, int], Way] = {}
        self.staged: dict[int, int] = {}
        """The bases of inputs and results that have places in each frame, and their sizes in bytes."""
        self.in_avals = jaxpr.in_avals
        driver.run(super().__init__, jaxpr, donated)

    # ------------------------------------------------------------ building

    def is_cell(self, shapes: Sequence[tuple[int, ...]]) -> bool:
        """Numbers are results as others are: reading one would wait for the device."""
        return False

    def value(self, value: Any, shape: tuple[int, ...], weak_type: bool) -> DeviceArray:
        return CudaArray(self.driver.put(buffer_of(value)).reshape(shape), weak_type)

    def assemble(self) -> None:
        """Writes the instruction table, and uploads the tables that do not change."""
        self.kernels: list[tuple[Any, int, int, int, int, int]] = []
        self.products: list[list[int]] = []
        self.moves: list[int] = []
        self.swaps: list[int] = []
        super().assemble()
        self.write_actions()
        self.choose_stretches()
        self.constants = [self.driver.put(buffer_of(c)) for _, c in self.schedule.consts]
        self.control = self.driver.load(CONTROL)
        self.tables = [self.driver.put(np.array(t or [0], np.int64))
                       for t in (self.swaps, self.moves, self.operands, self.places, self.sizes)]

    def begin(self) -> None:
        """All operands are resolved once, by an action that does nothing else."""
        self.instruction(RESET, self.counters, 0, 0)
        self.counters += 1

    def kernel(self, step: Step) -> None:
        k = step.kernel
        if k.rows:
            self.instruction(KERNEL, len(self.kernels), self.add_operands(k.operands), len(self.sizes))
            self.kernels.append((self.driver.load(k.source), *geometry(k.rows, k.chunk, k.team), k.rows, k.chunk, k.team))
            self.sizes += k.sizes

    def gemm(self, step: Step) -> None:
        self.instruction(GEMM, len(self.products), self.add_operands([*step.reads[:2], *step.writes]))
        self.products.append(contraction.record(step))

    def add_moves(self, moves: Sequence[tuple[Buffer, View, int]]) -> int:
        start = len(self.moves) // 4
        for move in moves:
            self.moves += self.move(move)
        return start

    def add_pairs(self, pairs: Sequence[tuple[Buffer, Buffer]]) -> int:
        start = len(self.swaps) // 2
        self.swaps += [b.index for pair in pairs for b in pair]
        return start

    def write_actions(self) -> None:
        """What each RESET and NEXT does, and where its numbers for ``CONTROL`` are in the sizes."""
        self.actions: dict[int, tuple[Action, int]] = {}
        using: dict[int, list[int]] = {}
        for k, base in enumerate(self.operands[::2]):
            using.setdefault(base, []).append(k)
        self.places = list(range(len(self.operands) // 2))
        resolved: dict[int, tuple[int, int]] = {}
        for i, (kind, counter, *rest) in enumerate(self.instructions):
            if kind == RESET:
                first, count = rest[:2]
                loop = self.instructions[i + 1]
                if loop[:2] == [ITERATE, counter]:
                    count += loop[5]
                moved = dict.fromkeys(self.moves[4 * first:4 * (first + count):4])
                start = len(self.places)
                self.places += [k for base in moved for k in using.get(base, ())]
                resolved[counter] = (start, len(self.places)) if i else (0, start)
                self.add_action(i, 0, counter, loop, (0, 0), (first, first + count), resolved[counter])
            elif kind == NEXT:
                top, swaps, count = rest[:3]
                loop = self.instructions[top]
                moves = (loop[4], loop[4] + loop[5]) if loop[0] == ITERATE else (0, 0)
                self.add_action(i, 1, counter, loop, (swaps, swaps + count), moves, resolved[counter])

    def add_action(self, i: int, keep: int, counter: int, loop: list[int], pairs: tuple[int, int], moves: tuple[int, int],
                   places: tuple[int, int]) -> None:
        first, direction = (loop[2] - 1, -1) if loop[:2] == [ITERATE, counter] and loop[3] else (0, 1)
        swaps, m = self.swaps, self.moves
        action = Action(keep, counter, first, direction, [(swaps[2 * k], swaps[2 * k + 1]) for k in range(*pairs)],
                        [(m[4 * k], m[4 * k + 1], m[4 * k + 2], m[4 * k + 3]) for k in range(*moves)])
        self.actions[i] = action, len(self.sizes)
        self.sizes += [*pairs, counter, keep, first, direction, *moves, *places]

    def choose_stretches(self) -> None:
        """``at_once``: how many iterations of each counted loop one stretch has, by the position of its ITERATE.

        None at all, where the host has to look while an iteration runs.
        """
        self.at_once: dict[int, int] = {}
        tops = {word[2] for word in self.instructions if word[0] == NEXT}
        open_loops: list[list[Any]] = [[0, False]]  # launches so far, whether the host has to look
        for i, word in enumerate(self.instructions):
            if i in tops:
                open_loops.append([0, False])
            if word[0] in (KERNEL, GEMM, RESET, NEXT):
                open_loops[-1][0] += 1
            elif word[0] in (HOST, UNLESS, SWITCH):
                open_loops[-1][1] = True
            if word[0] == NEXT:
                launches, looks = open_loops.pop()
                loop, outer = self.instructions[word[2]], open_loops[-1]
                if loop[0] == ITERATE:
                    length = loop[2]
                    fits = not looks and length * launches <= UNROLLED
                    self.at_once[word[2]] = length if fits else 0 if looks else max(UNROLLED // launches, 1)
                    looks = not fits
                    outer[0] += length * launches * fits
                outer[1] |= looks

    def stage(self, bases: Sequence[int], before: Sequence[int], now: Sequence[int]) -> None:
        """Notes which of some bases change their places from call to call, and from now on have a place in each frame."""
        donated = {pair.input for pair in self.pairs} | {pair.result.index for pair in self.pairs}
        passed = len(self.passed) - len(self.owned)
        for i, a, b in zip(bases, before, now, strict=True):
            if a != b and i < passed and i != self.arena_base and i not in donated and self.passed[i].nbytes <= STAGED:
                self.staged[i] = self.passed[i].nbytes

    # ------------------------------------------------------------ running

    def __call__(self, args: Sequence[DeviceArray]) -> list[DeviceArray] | None:
        """Runs the program; its inputs are on the device, but for those without axes. None: a kernel met an invalid operand."""
        return self.run(args, [x._data for x in args], ())

    def run(self, args: Sequence[DeviceArray], inputs: list[Any], given: Sequence[int]) -> list[DeviceArray] | None:
        """The same with the buffers of the inputs. Those with the numbers ``given`` may be written, if nobody else has them."""
        return self.driver.run(self.issue, args, inputs, given)

    def issue(self, args: Sequence[DeviceArray], inputs: list[Any], given: Sequence[int]) -> list[DeviceArray] | None:
        results = self.shared(inputs, given) if self.pairs else None
        found, finished = self.launched([x if isinstance(x, np.generic) else x.data.ptr for x in inputs], results)
        if not finished:
            return None
        return [self.out(kind, detail, aval, args, inputs, found)
                for (kind, detail, _), aval in zip(self.outs, self.out_avals, strict=True)]

    def launched(self, inputs: list[Any], results: list[Any] | None) -> tuple[list[Any], bool]:
        """Puts a call on the stream: the memory of the results, and whether no kernel met an invalid operand.

        ``inputs`` are addresses, or numbers of NumPy's for inputs without axes; ``results`` has memory for the results, if
        there is any yet.
        """
        driver = self.driver
        stream = driver.stream()
        frames = self.frames.get(stream)
        if frames is None:
            frames = self.frames[stream] = []
            if len(self.frames) > STREAMS:
                self.frames.popitem(last=False)
        if results is None:
            empty = driver.empty
            results = [empty(shape, dtype) for shape, dtype in self.shapes]
        try:
            frame = frames.pop()
        except IndexError:
            frame = _Frame(self, stream)
        try:
            frame.run(inputs + [x.data.ptr for x in results])
            if self.can_fail and frame.failed():
                callback.made.set(frame.effects)
                return results, False
        finally:
            frames.append(frame)
        return results, True

    def out(self, kind: str, detail: Any, aval: ShapedArray, args: Sequence[DeviceArray], inputs: list[Any],
            results: list[Any]) -> DeviceArray:
        """One result: memory that was written, an argument, or a value known before."""
        if kind == "value":
            return detail
        index, shape = detail
        if kind == "input":
            x = args[index]
            if type(x) is CudaArray and x.shape == shape and x._weak == aval.weak_type:
                return x
        data = results[index] if kind == "result" else self.driver.put(inputs[index])
        return _typed_array(data if data.shape == shape else data.reshape(shape), aval)

    def call_for(self, avals: Sequence[ShapedArray], split: Callable | None, join: Callable) -> Callable | None:
        """A function of (args, kwargs) that runs the program if they are of these types, and returns None if not.

        ``split`` takes them apart, None if they are positional leaves; ``join`` makes the result of its leaves.
        """
        if not self.plain or self.hosts or self.can_fail or self.pairs:
            return None
        driver, number, launched = self.driver, self.driver.number, self.launched
        places = [(detail[0], self.shapes[detail[0]][0] != detail[1], aval)
                  for (_, detail, _), aval in zip(self.outs, self.out_avals, strict=True)]

        def call(args: tuple, kwargs: dict) -> Any:
            if split is not None:
                args = split((args, kwargs))
            elif kwargs or len(args) != len(avals):
                return None
            if args is None or driver.number_now() != number:
                return None
            inputs: list[Any] = []
            for x, aval in zip(args, avals, strict=True):
                kind = type(x)
                if kind is CudaArray and x.aval is aval:
                    pointer = x._data.data
                    if pointer.device_id != number:
                        return None
                    inputs.append(pointer.ptr)
                elif kind in SCALARS and SCALARS[kind][1] is aval:
                    inputs.append(SCALARS[kind][0](x))
                else:
                    return None
            try:
                results, _ = launched(inputs, None)
            except Exception as error:
                driver.raise_explained(error)
            return join([_typed_array(results[i].reshape(aval.shape) if other else results[i], aval)
                         for i, other, aval in places])

        return call


SCALARS = {kind: (dtype.type, shaped_array((), dtype, True)) for kind, dtype in PYTHON_SCALARS.items()}
"""What makes an element of a number of Python's, and its type."""


def _typed_array(data: Any, aval: ShapedArray) -> CudaArray:
    """An array over memory of CuPy's pool, whose type need not be found again."""
    array: CudaArray = object.__new__(CudaArray)
    array._data, array._weak, array._aval = data, aval.weak_type, aval
    return array


class _Frame:
    """What one call at a time uses on the device: a block of words, and graphs that read it.

    The words are numbers passed by the host, the failure flag, the bases, loop counters, the addresses of the tables, and the
    addresses of all operands. A call writes those to the last base that it passes.
    """

    def __init__(self, executable: CudaExecutable, stream: int):
        e = self.executable = executable
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
            return recording.graph
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
