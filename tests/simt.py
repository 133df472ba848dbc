"""A simulator of kernels for a GPU: runs the text of a kernel for every thread of a grid, in Python.

In: the text of ``def kernel(pointers, sizes, start, stop)``, the ``Memory`` its pointers lead to, and how many rows there are
for teams of how many threads. Out: what the kernel wrote; or a ``KernelError`` that names the thread and the line: a pointer
out of bounds, memory that is read before anybody wrote it, threads of a team that do not meet at the same word, and two threads
that touch an element, one of them to write it, with nothing that says who is first.

    memory = Memory()
    x, y = np.arange(5.0), np.empty(5)
    simulate(source, memory, [memory.add(x), memory.add(y, written=False)], [], rows=5, chunk=2, team=1)

The threads of a team go from one word that they say together to the next, one after the other; teams run one after the other.
``simt_words.py`` has the words of arithmetic, ``simt_program.py`` runs whole programs.
"""
from __future__ import annotations

import ast
import bisect
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from simt_words import F32, F64, TYPES, namespace, word

MEETING = ("exchange", "shift", "sync")
"""Words that all threads of a team say together."""
ATOMIC = object()
"""Stands for what an atomic operation wrote: it does not matter which of two comes first."""
PYTHON = {"range": range, "min": min, "max": max, "abs": abs, "complex": complex, "int": int, "bool": bool, "inf": F64(np.inf),
          "nan": F64(np.nan)}
STORED = {"f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64, "c64": np.complex64, "c128": np.complex128,
          "bool": np.bool_, **{f"{k}{b}": np.dtype(f"{'u' * (k == 'u')}int{b}") for k in "iu" for b in (8, 16, 32, 64)}}
WARP = 32
SHARED = 48 << 10
"""Bytes of memory that the threads of a block may share."""


class KernelError(AssertionError):
    """A kernel does what it must not do."""


class Race(KernelError):
    """Two threads touch an element, at least one of them to write it, and nothing says who is first."""


class Fault(Exception):
    """What is wrong with one access; ``simulate`` adds where."""


# ---------------------------------------------------------------- memory


class Area:
    """Bytes that pointers may point into. ``flags`` has a 1 for each byte that was written, None if all were."""

    def __init__(self, base: int, data: np.ndarray, written: bool, name: str):
        self.base, self.data, self.name = base, data, name
        self.flags = None if written else np.zeros(data.nbytes, np.uint8)
        self.writable = data.flags.writeable


class Memory:
    """Arrays by their addresses, which are those they have in this process.

    With ``watch``, races are found, and reads of what nobody wrote.
    """

    def __init__(self, watch: bool = True):
        self.watch = watch
        self.bases: list[int] = []
        self.areas: list[Area] = []

    def add(self, array: np.ndarray, written: bool = True, name: str = "") -> int:
        """The address of an array in row-major order. One that is not writeable is not written by kernels either."""
        assert array.flags.c_contiguous
        base = array.__array_interface__["data"][0]
        area = Area(base, array.reshape(-1).view(np.uint8), written or not self.watch, name)
        i = bisect.bisect_left(self.bases, base)
        if i < len(self.bases) and self.bases[i] == base:
            self.areas[i] = area
        else:
            self.bases.insert(i, base)
            self.areas.insert(i, area)
        return base

    def remove(self, address: int) -> None:
        """Forgets the array at an address."""
        i = self.bases.index(address)
        del self.bases[i], self.areas[i]

    def area(self, address: int) -> Area | None:
        """The array that an address lies in; one behind its end belongs to it too, so that empty arrays have addresses."""
        i = bisect.bisect_right(self.bases, address) - 1
        return self.areas[i] if i >= 0 and address <= self.bases[i] + self.areas[i].data.nbytes else None

    def view(self, address: int, dtype: Any, shape: Sequence[int] | None = None, strides: Sequence[int] | None = None,
             write: bool = False) -> np.ndarray:
        """The elements at an address: to the end of the array, or of a shape and with strides in bytes.

        What is to be written must be asked for; what is read must have been written.
        """
        area, dtype = self.area(address), np.dtype(dtype)
        if area is None:
            raise KernelError(f"no array is at {address}")
        at = address - area.base
        if shape is None:
            shape = ((area.data.nbytes - at) // dtype.itemsize,)
        if 0 in shape:
            return np.empty(shape, dtype)
        found = np.ndarray(tuple(shape), dtype, area.data, at, strides)
        if area.flags is not None:
            flags = np.ndarray((*shape, dtype.itemsize), np.uint8, area.flags, at,
                               (*(found.strides if strides is None else strides), 1))
            if write:
                flags[...] = 1
            elif not flags.all():
                raise KernelError(f"reads {area.name or 'an array'} at byte {at}, which nobody has written")
        return found


class Pointer:
    """A typed pointer. Every access is checked against the bounds of the array that it points into."""

    def __init__(self, kind: str, address: int, slot: Any, area: Area | None, run: Run):
        dtype = np.dtype(STORED[kind])
        self.kind, self.slot, self.area, self.run, self.size = kind, slot, area, run, dtype.itemsize
        self.data: Any = ()
        self.start = self.count = 0
        if area is not None:
            if (address - area.base) % dtype.itemsize:
                raise Fault(f"pointer {slot} of {kind} is not aligned: byte {address - area.base} of {area.name}")
            self.start, self.count = (address - area.base) // dtype.itemsize, area.data.nbytes // dtype.itemsize
            self.data = area.data[:self.count * dtype.itemsize].view(dtype)
            if dtype.kind in "iub":  # whose elements are Python numbers
                self.data = memoryview(self.data)
        self.flags = area.flags if area is not None else None
        self.writable = area is not None and area.writable
        self.cast = TYPES[kind]
        self.narrow = {"f16": _half, "bf16": _brain}.get(kind)

    def __getitem__(self, i: int) -> Any:
        i += self.start
        if not 0 <= i < self.count:
            self.outside(i)
        return self.data[i] if self.narrow is None else self.narrow[0](self.data[i])  # type: ignore[index]

    def __setitem__(self, i: int, value: Any) -> None:
        i += self.start
        if not 0 <= i < self.count or not self.writable:
            self.outside(i)
        value = self.cast(value)
        self.data[i] = value if self.narrow is None else self.narrow[1](value)

    def __str__(self) -> str:
        return f"pointer {self.slot} ({self.kind}, {self.area.name or 'an array'})" if self.area else f"pointer {self.slot}"

    def outside(self, i: int) -> NoReturn:
        if self.area is None:
            raise Fault(f"{self} leads nowhere")
        if 0 <= i < self.count:
            raise Fault(f"{self} must not be written, at index {i - self.start}")
        raise Fault(f"{self} is out of bounds: index {i - self.start} of [{-self.start}, {self.count - self.start})")

    def of(self, kind: str) -> Pointer:
        if self.kind != kind:
            raise Fault(f"{self} is no pointer to {kind}")
        return self

    def atomic(self, i: int, combine: Callable[[int, int], int], value: int) -> int:
        """What was there before; nobody else comes between."""
        old = Pointer.__getitem__(self, i)
        Pointer.__setitem__(self, i, combine(old, value))
        return old


class Watched(Pointer):
    """A pointer all of whose accesses are noted."""

    def __getitem__(self, i: int) -> Any:
        value = Pointer.__getitem__(self, i)
        at = (i + self.start) * self.size
        if self.flags is not None:
            self.written(at, i)
        if self.writable:
            self.run.read((self.area, at), self, i)
        return value

    def __setitem__(self, i: int, value: Any) -> None:
        Pointer.__setitem__(self, i, value)
        at = (i + self.start) * self.size
        if self.flags is not None:
            self.flags[at:at + self.size] = 1
        self.run.wrote((self.area, at), self, i, self.data[i + self.start])

    def atomic(self, i: int, combine: Callable[[int, int], int], value: int) -> int:
        old = Pointer.atomic(self, i, combine, value)
        at = (i + self.start) * self.size
        self.written(at, i)
        self.run.wrote((self.area, at), self, i, ATOMIC, 3)
        return old

    def written(self, at: int, i: int) -> None:
        if self.flags is not None and not self.flags[at]:
            raise Fault(f"{self} is read at index {i}, which nobody has written")


def _to_brain(x: Any) -> int:
    """The bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = int(F32(x).view(np.uint32))
    return bits >> 16 | 0x40 if x != x else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


_brain = (lambda bits: np.uint32(bits << 16).view(F32), _to_brain)
_half = (F32, np.float16)


class Words:
    """A list of int64 in device memory; adding to it is to go on by some bytes."""

    __slots__ = ("values", "run", "at")

    def __init__(self, values: Sequence[int], run: Run, at: int = 0):
        self.values, self.run, self.at = values, run, at

    def __getitem__(self, i: int) -> int:
        i += self.at
        if not 0 <= i < len(self.values):
            raise Fault(f"word {i} of {len(self.values)}")
        return self.values[i]

    def __add__(self, nbytes: int) -> Words:
        return Words(self.values, self.run, self.at + nbytes // 8)

    __radd__ = __add__

    def __sub__(self, nbytes: int) -> Words:
        return self + -nbytes

    def pointer(self, kind: str, slot: int, aligned: bool = False) -> Pointer:
        address = self[slot]
        if aligned and address % 16:
            raise Fault(f"pointer {slot} is not aligned to 16 bytes")
        return self.run.pointer(kind, address, self.at + slot)


# ---------------------------------------------------------------- threads


class Run:
    """One launch: who runs now, and who has touched what."""

    def __init__(self, memory: Memory, text: list[str]):
        self.memory, self.text = memory, text
        self.pointers: dict[tuple, Pointer] = {}
        self.shared: dict[int, tuple[str, int, Pointer]] = {}
        self.room = SHARED
        """Shared memory that is left."""
        self.me = (0, 0, 0)
        """Team, thread, how many times the team has met at a barrier."""
        self.reads: dict[tuple, list] = {}
        self.writes: dict[tuple, tuple] = {}

    def pointer(self, kind: str, address: int, slot: int) -> Pointer:
        key = kind, address, slot
        found = self.pointers.get(key)
        if found is None:
            make = Watched if self.memory.watch else Pointer
            found = self.pointers[key] = make(kind, address, slot, self.memory.area(address), self)
        return found

    def shared_area(self, kind: str, slot: int, count: int) -> Pointer:
        """Memory of the team that runs now; what another team has left there is not to be read."""
        found = self.shared.get(slot)
        if found is None:
            data = np.full(count * np.dtype(STORED[kind]).itemsize, 0xA5, np.uint8)
            area = Area(0, data, not self.memory.watch, "shared memory")
            make = Watched if self.memory.watch else Pointer
            found = self.shared[slot] = kind, count, make(kind, 0, f"shared {slot}", area, self)
            if sum(p.count * p.size for _, _, p in self.shared.values()) > self.room:
                raise Fault(f"a block has {SHARED} bytes of shared memory, of which threads need {SHARED - self.room} to exchange values")
        if found[:2] != (kind, count):
            raise Fault(f"shared memory {slot} is {found[1]} of {found[0]} elsewhere")
        return found[2]

    def concurrent(self, other: tuple) -> bool:
        """Whether another thread's access may come before or after this one."""
        team, thread, epoch = self.me
        return other[1] != thread and (other[0] != team or other[2] == epoch)

    def read(self, place: tuple, pointer: Pointer, i: int) -> None:
        me, line = self.me, sys._getframe(2).f_lineno
        write = self.writes.get(place)
        if write is not None and self.concurrent(write[0]):
            self.race(pointer, i, "reads", line, "wrote", write)
        readers = self.reads.get(place)
        if readers is None:
            self.reads[place] = [(me, line), None]
        elif not self.concurrent(readers[0][0]):
            readers[0] = me, line
        elif readers[1] is None or not self.concurrent(readers[1][0]) or readers[0][0][0] == readers[1][0][0]:
            readers[1] = me, line  # of threads of one team two are enough, and one of another team

    def wrote(self, place: tuple, pointer: Pointer, i: int, value: Any, depth: int = 2) -> None:
        me, line = self.me, sys._getframe(depth).f_lineno
        write = self.writes.get(place)
        if write is not None and self.concurrent(write[0]) and not (value == write[2] or value != value and write[2] != write[2]):
            self.race(pointer, i, "writes", line, "wrote", write)  # the same value, as a flag, may come from many
        for reader in self.reads.get(place, ()):
            if reader is not None and self.concurrent(reader[0]):
                self.race(pointer, i, "writes", line, "read", reader)
        self.writes[place] = me, line, value

    def race(self, pointer: Pointer, i: int, what: str, line: int, before: str, other: tuple) -> NoReturn:
        raise Race(f"thread {self.me[1]} {what} pointer {pointer.slot} ({pointer.kind}) at index {i} in line {line}: "
                   f"{self.text[line - 1].strip()}\n  thread {other[0][1]} {before} it in line {other[1]}: "
                   f"{self.text[other[1] - 1].strip()}")

    def finish_team(self) -> None:
        self.shared.clear()


def simulate(source: str, memory: Memory, pointers: Sequence[int], sizes: Sequence[int], rows: int, chunk: int, team: int = 1,
             block: int | None = None) -> None:
    """Runs a kernel for all chunks of its rows; ``block`` is by default the smallest that has a team.

    Threads of the last block without a chunk return at once, so they are left out. The first chunk is run even if there are no
    rows, as on the processor: the partial results of a reduction begin there.
    """
    block = block or max(team, 32)
    assert chunk > 0 and block % team == 0
    code = translated(source)
    if code.teams - {team}:
        raise KernelError(f"the kernel is for teams of {sorted(code.teams)}, and it is launched for {team}")
    if code.shares and (team != 256 or block != team):
        raise KernelError(f"memory is shared by blocks of one team of 256, not by {block // team} of {team}")
    run = Run(memory, code.text)
    run.room -= code.exchanged
    code.scope["simt_run"][0] = run
    addresses, numbers = Words(pointers, run), Words(sizes, run)
    go = _together if code.meetings else _alone
    with np.errstate(all="ignore"):
        for c in range(max(-(-rows // chunk), 1)):
            arguments = addresses, numbers, c * chunk, min((c + 1) * chunk, rows)
            go(code, run, arguments, c, team)
            run.finish_team()


def _alone(code: Code, run: Run, arguments: tuple, c: int, team: int) -> None:
    """The threads of a team do not meet."""
    for lane in range(team):
        run.me = c, c * team + lane, 0
        try:
            code.function(*arguments, lane)
        except Exception as error:
            raise _located(error, run, c, lane) from error


def _together(code: Code, run: Run, arguments: tuple, c: int, team: int) -> None:
    """All threads to the next word where they meet, and so on."""
    threads = [code.function(*arguments, lane) for lane in range(team)]
    given: list[Any] = [None] * team
    epoch = 0
    while True:
        sites, got = set(), []
        for lane, thread in enumerate(threads):
            run.me = c, c * team + lane, epoch
            try:
                site, value = thread.send(given[lane])
            except StopIteration:
                site, value = -1, None
            except Exception as error:
                raise _located(error, run, c, lane) from error
            sites.add(site)
            got.append((site, value))
        if len(sites) > 1:
            raise KernelError(_divergence(code, [site for site, _ in got], c))
        if site < 0:
            return
        meeting, dtype, d, _ = code.meetings[site]
        if meeting == "sync":
            epoch += 1
            continue
        cast = TYPES[dtype]
        values = [cast(value) for _, value in got]
        given = [values[lane ^ d] for lane in range(team)] if meeting == "exchange" else \
            [values[lane - d] if lane >= d else values[lane] for lane in range(team)]


def _divergence(code: Code, sites: list[int], c: int) -> str:
    places = []
    for site in sorted(set(sites)):
        lanes = [lane for lane, s in enumerate(sites) if s == site]
        where = f"line {code.meetings[site][3]}: {code.text[code.meetings[site][3] - 1].strip()}" if site >= 0 else "the end"
        places.append(f"{len(lanes)} threads, such as {lanes[0]}, are at {where}")
    return f"the threads of team {c} do not meet\n  " + "\n  ".join(places)


def _located(error: Exception, run: Run, c: int, lane: int) -> Exception:
    if isinstance(error, Race):
        return error
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<kernel>":
            line = trace.tb_lineno
        trace = trace.tb_next
    what = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
    return KernelError(f"thread {lane} of team {c}, line {line}: {run.text[line - 1].strip()}\n  {what}")


# ---------------------------------------------------------------- text


class Code:
    """A kernel as a Python function of (pointers, sizes, start, stop, lane); a generator if its threads meet."""

    def __init__(self, source: str):
        self.text = source.splitlines()
        tree = ast.parse(source)
        self.scope: dict[str, Any] = {"simt_run": [None], "simt_bool": bool}
        self.teams: set[int] = set()
        self.shares = False
        self.exchanged = 0
        """Bytes of shared memory that exchanges need."""
        self.meetings: list[tuple[str, str, int, int]] = []
        """What threads say together, by the number they yield: word, dtype, distance, line."""
        definition, = tree.body
        definition.args.args.append(ast.arg("simt_lane"))  # type: ignore[attr-defined]
        tree = ast.fix_missing_locations(_Translator(self).visit(tree))
        local = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        local |= {a.arg for a in definition.args.args}  # type: ignore[attr-defined]
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - local - set(self.scope)
        for name in used:
            self.scope[name] = self.meaning(name)
        exec(compile(tree, "<kernel>", "exec"), self.scope)
        self.function = self.scope["kernel"]

    def meaning(self, name: str) -> Any:
        """What a name in the text stands for."""
        if name in PYTHON:
            return PYTHON[name]
        if name not in namespace():
            raise NameError(f"{name} is no word of kernels for a GPU")
        start, _, dtype = name.rpartition("_")
        if start in ("pointer", "aligned"):
            return lambda pointers, slot: pointers.pointer(dtype, slot, start == "aligned")
        if start == "shared":
            self.shares, here = True, self.scope["simt_run"]
            return lambda slot, count: here[0].shared_area(dtype, slot, count)
        if start.startswith("atomic_"):
            cast = TYPES[dtype]
            combine = {"add": lambda old, x: cast(old + x), "max": max, "min": min}[start[7:]]
            return lambda pointer, i, value: pointer.of(dtype).atomic(i, combine, cast(value))
        if name == "word":
            return lambda words, i: words[i]
        return word(name)


class _Translator(ast.NodeTransformer):
    """Words that threads say together become yields; numbers and comparisons get the types that Numba gives them."""

    def __init__(self, code: Code):
        self.code = code

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        start, _, dtype = name.rpartition("_")
        if name == "lane":
            self.code.teams.add(self.literal(node, node.args[0]))
            return ast.copy_location(ast.Name("simt_lane", ast.Load()), node)
        if name == "sync" or start in MEETING:
            return self.meeting(node, start or name, dtype)
        if name in TYPES and isinstance(node.args[0], ast.Constant):
            return node  # such as f32(0.5)
        return self.generic_visit(node)

    def meeting(self, node: ast.Call, name: str, dtype: str) -> ast.AST:
        if ast.unparse(node.func) not in namespace():
            raise NameError(f"{ast.unparse(node.func)} is no word of kernels for a GPU")
        team = self.literal(node, node.args[-1])
        self.code.teams.add(team)
        value: Any = ast.Constant(None)
        distance = 0
        if name != "sync":
            value, distance = self.visit(node.args[0]), self.literal(node, node.args[1])
            if distance < 1 or name == "exchange" and (distance & distance - 1 or distance >= team > 1):
                raise KernelError(f"line {node.lineno}: {name} over a distance of {distance} in a team of {team}")
        if team == 1 or distance >= team:
            return value
        if team > WARP and (name == "shift" or distance >= WARP):
            self.code.exchanged = max(self.code.exchanged, team * max(np.dtype(STORED[dtype]).itemsize, 4))
        self.code.meetings.append((name, dtype, distance, node.lineno))
        pair = ast.Tuple([ast.Constant(len(self.code.meetings) - 1), value], ast.Load())
        return ast.copy_location(ast.Yield(pair), node)

    def literal(self, node: ast.AST, argument: ast.expr) -> int:
        try:
            return int(ast.literal_eval(argument))
        except ValueError:
            raise KernelError(f"line {node.lineno}: {ast.unparse(argument)} must be a literal") from None  # type: ignore[attr-defined]

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is not float:
            return node
        name = f"simt_{len(self.code.scope)}"
        self.code.scope[name] = F64(node.value)
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        return ast.copy_location(ast.Call(ast.Name("simt_bool", ast.Load()), [node], []), node)

    def visit_test(self, node: Any) -> ast.AST:
        if isinstance(node.test, ast.Compare):
            node.test.left = self.visit(node.test.left)
            node.test.comparators = [self.visit(c) for c in node.test.comparators]
            test, node.test = node.test, ast.Constant(True)
            node = self.generic_visit(node)
            node.test = test
            return node
        return self.generic_visit(node)

    visit_If = visit_While = visit_IfExp = visit_test


@functools.lru_cache(maxsize=4096)
def translated(source: str) -> Code:
    return Code(source)
