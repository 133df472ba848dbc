"""A simulator of kernels for a GPU: runs the text of a kernel for every thread of a grid, in Python.

In: the text of ``def kernel(pointers, sizes, start, stop)``, the ``Memory`` its pointers lead to, and how many rows there are
for teams of how many threads. Out: what the kernel wrote; or a ``KernelError`` that names the thread and the line: a pointer
out of bounds, memory that is read before anybody wrote it, threads of a team that do not meet at the same word, and two threads
that touch an element, one of them to write it, with nothing that says who is first.

    memory = Memory()
    x, y = np.arange(5.0), np.empty(5)
    simulate(source, memory, [memory.add(x), memory.add(y, written=False)], [], rows=5, chunk=2, team=1)

The threads of a team go from one word that they say together to the next, one after the other; teams run one after the other.
``simt_memory.py`` has the pointers, ``simt_text.py`` translates the text, ``simt_words.py`` has the words of arithmetic;
``simt_program.py`` runs whole programs.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from simt_memory import STORED, Area, Fault, KernelError, Memory, Pointer, Watched
from simt_text import Code, translated
from simt_words import TYPES

from funcgrad.compiler.access import SCOPES

LARGEST_BLOCK = 256
SHARED = 48 << 10
"""Bytes of memory that the threads of a block may share."""


class Race(KernelError):
    """Two threads touch an element, at least one of them to write it, and nothing says who is first."""


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
        return self.run.pointer(kind, address, self.at + slot, slot)


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

    def pointer(self, kind: str, address: int, number: int, slot: int) -> Pointer:
        """The pointer with a number in the list; ``slot`` is the one that it is declared for."""
        key = kind, address, number, slot
        found = self.pointers.get(key)
        if found is None:
            make = Watched if self.memory.watch else Pointer
            found = self.pointers[key] = make(kind, address, number, self.memory.area(address), self,
                                              slot if slot < SCOPES else None)
        return found

    def local(self, kind: str, count: int) -> Pointer:
        """A list of this call's own."""
        data = np.full(count * np.dtype(STORED[kind]).itemsize, 0xA5, np.uint8)
        make = Watched if self.memory.watch else Pointer
        return make(kind, 0, -1, Area(0, data, not self.memory.watch, "a list of the call's own"), self, None)

    def shared_area(self, kind: str, slot: int, count: int) -> Pointer:
        """Memory of the team that runs now; what another team has left there is not to be read."""
        found = self.shared.get(slot)
        if found is None:
            data = np.full(count * np.dtype(STORED[kind]).itemsize, 0xA5, np.uint8)
            area = Area(0, data, not self.memory.watch, "shared memory")
            make = Watched if self.memory.watch else Pointer
            found = self.shared[slot] = kind, count, make(kind, 0, slot, area, self, None)
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
        if write is not None:
            if self.concurrent(write[0]):
                self.race(pointer, i, "reads", line, "wrote", write)
            self.apart(pointer, i, "wrote", write)
        readers = self.reads.get(place)
        if readers is None:
            self.reads[place] = [(me, line, pointer.slot), None]
        elif not self.concurrent(readers[0][0]):
            readers[0] = me, line, pointer.slot
        elif readers[1] is None or not self.concurrent(readers[1][0]) or readers[0][0][0] == readers[1][0][0]:
            readers[1] = me, line, pointer.slot  # of threads of one team two are enough, and one of another team

    def wrote(self, place: tuple, pointer: Pointer, i: int, value: Any, depth: int = 2) -> None:
        me, line = self.me, sys._getframe(depth).f_lineno
        write = self.writes.get(place)
        if write is not None:
            if self.concurrent(write[0]) and not (value == write[3] or value != value and write[3] != write[3]):
                self.race(pointer, i, "writes", line, "wrote", write)  # the same value, as a flag, may come from many
            self.apart(pointer, i, "wrote", write)
        for reader in self.reads.get(place, ()):
            if reader is not None:
                if self.concurrent(reader[0]):
                    self.race(pointer, i, "writes", line, "read", reader)
                self.apart(pointer, i, "read", reader)
        self.writes[place] = me, line, pointer.slot, value

    def apart(self, pointer: Pointer, i: int, before: str, other: tuple) -> None:
        """Compiled kernels take pointers of different slots for different memory, if one of them is written."""
        if pointer.slot != other[2] and pointer.slot is not None and other[2] is not None:
            raise Fault(f"{pointer} at index {i} is where a pointer of slot {other[2]} {before} in line {other[1]}: "
                        f"{self.text[other[1] - 1].strip()}\n  pointers of different slots must not overlap")

    def race(self, pointer: Pointer, i: int, what: str, line: int, before: str, other: tuple) -> NoReturn:
        raise Race(f"thread {self.me[1]} {what} {pointer} at index {i} in line {line}: "
                   f"{self.text[line - 1].strip()}\n  thread {other[0][1]} {before} it in line {other[1]}: "
                   f"{self.text[other[1] - 1].strip()}")


def simulate(source: str, memory: Memory, pointers: Sequence[int], sizes: Sequence[int], rows: int, chunk: int, team: int = 1,
             block: int | None = None, processor: bool = False) -> None:
    """Runs a kernel for all chunks of its rows; ``block`` is by default the smallest that has a team.

    Texts for the processor may use a word more, ``local_f64`` and its like.

    Threads of the last block without a chunk return at once, so they are left out. The first chunk is run even if there are no
    rows, as on the processor: the partial results of a reduction begin there.
    """
    block = block or max(team, 32)
    assert chunk > 0 and block % team == 0 and block <= LARGEST_BLOCK
    code = translated(source, processor)
    if code.teams - {team}:
        raise KernelError(f"the kernel is for teams of {sorted(code.teams)}, and it is launched for {team}")
    if code.shares and (team != 256 or block != team):
        raise KernelError(f"memory is shared by blocks of one team of 256, not by {block // team} of {team}")
    run = Run(memory, code.text)
    run.room -= code.exchanged
    code.scope["simt_run"][0] = run
    addresses, numbers = Words(list(map(int, pointers)), run), Words(list(map(int, sizes)), run)
    go = _together if code.meetings else _alone
    with np.errstate(all="ignore"):
        for c in range(max(-(-rows // chunk), 1)):
            arguments = addresses, numbers, c * chunk, min((c + 1) * chunk, rows)
            go(code, run, arguments, c, team)
            run.shared.clear()


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
