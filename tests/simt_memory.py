"""Memory of the simulator of GPU kernels: arrays by their addresses, and pointers whose accesses are checked.

In: arrays. Out: their addresses in ``Memory``, and a ``Pointer`` into one of them; ``Watched`` pointers also tell a launch of each
access, and know what was written. What is wrong with an access is a ``Fault``; ``simt.py`` adds whose it is and where.

    memory = Memory()
    Pointer("f64", memory.add(x) + 16, 0, ...)[1]    ->    x[3]
"""
from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np
from simt_words import F32, TYPES

STORED = {"f16": np.float16, "bf16": np.uint16, "f32": np.float32, "f64": np.float64, "c64": np.complex64, "c128": np.complex128,
          "bool": np.bool_, **{f"{k}{b}": np.dtype(f"{'u' * (k == 'u')}int{b}") for k in "iu" for b in (8, 16, 32, 64)}}
"""What is in memory for each dtype."""
ATOMIC = object()
"""Stands for what an atomic operation wrote: it does not matter which of two comes first."""


class KernelError(AssertionError):
    """A kernel does what it must not do."""


class Fault(Exception):
    """What is wrong with one access."""


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
    """A typed pointer. Every access is checked against the bounds of the array that it points into.

    ``number`` is its place in the list of pointers; one with a ``slot`` does not overlap with those of other slots.
    """

    def __init__(self, kind: str, address: int, number: int, area: Area | None, run: Any, slot: int | None):
        dtype = np.dtype(STORED[kind])
        self.kind, self.number, self.area, self.run, self.slot, self.size = kind, number, area, run, slot, dtype.itemsize
        self.data: Any = ()
        self.start = self.count = 0
        if area is not None:
            if (address - area.base) % dtype.itemsize:
                raise Fault(f"pointer {number} of {kind} is not aligned: byte {address - area.base} of {area.name}")
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
        return f"pointer {self.number} ({self.kind}, {self.area.name or 'an array'})" if self.area else f"pointer {self.number}"

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
