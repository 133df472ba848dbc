"""Memory: where buffers lie in an arena, and blocks that are used again.

In: lifetimes and sizes. Out: offsets such that buffers which are needed at the same time do not overlap; and ndarrays over
recycled blocks, because the first touch of fresh pages costs as much as the arithmetic.
"""
from __future__ import annotations

import gc
import math
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

ALIGNMENT = 64
POOLED = 1 << 16
"""Bytes from which an array's memory is recycled; below, NumPy's own allocator is faster."""
MOST_OF_A_SIZE = 32
"""Blocks of one size that are watched; whoever keeps more arrays than that gets memory of its own for the rest."""
KEPT = 1 << 31
"""Bytes of unused blocks that are kept at most."""


def plan(lifetimes: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets for buffers of (first step, last step, bytes), and the size of the arena. The largest are placed first."""
    offsets = [0] * len(lifetimes)
    placed = np.zeros((4, len(lifetimes)), np.int64)  # where each begins and ends, in memory and in time, from the lowest on
    for count, i in enumerate(sorted(range(len(lifetimes)), key=lambda i: -lifetimes[i][2])):
        first, last, size = lifetimes[i]
        size = aligned(size)
        start, stop, begin, end = placed[:, :count]
        near = (begin <= last) & (end >= first)
        free = np.maximum.accumulate(np.concatenate([[0], stop[near]]))
        fits = free[:-1] + size <= start[near]
        at = offsets[i] = int(free[fits.argmax()] if fits.any() else free[-1])
        place = int(start.searchsorted(at))
        placed[:, place + 1:count + 1] = placed[:, place:count]
        placed[:, place] = at, at + size, first, last
    return offsets, int(placed[1].max(initial=0))


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


_blocks: dict[int, list[tuple[np.ndarray, int]]] = {}
"""By size: the memory that owns each block, and where the block begins in it."""
_lock = threading.Lock()


def block(nbytes: int) -> np.ndarray:
    """A block of bytes that nobody uses, aligned to a cache line; it is free again when its last view is gone."""
    size = _rounded(nbytes)
    with _lock:
        blocks = _blocks.setdefault(size, [])
        for entry in blocks:
            if _unused(entry):
                return entry[0][entry[1]:entry[1] + size]
        _trim(size)
        memory = np.empty(size + ALIGNMENT, np.uint8)
        start = -memory.ctypes.data % ALIGNMENT
        if len(blocks) < MOST_OF_A_SIZE:
            blocks.append((memory, start))
        return memory[start:start + size]


def _unused(entry: tuple[np.ndarray, int]) -> bool:
    """Whether only the pool knows a block: views of it, and views of those, refer to its owner."""
    return sys.getrefcount(entry[0]) == 2  # the entry and the call's argument


def alone(arrays: Sequence[np.ndarray], i: int) -> bool:
    """Whether nobody but this sequence refers to the memory of an array in it, all of which can be written in row-major order.

    Arrays over the same memory refer to this array, or to the same owner of the memory; so does whoever uses its buffer.
    """
    if type(arrays[i]) is not np.ndarray or not arrays[i].flags.carray or sys.getrefcount(arrays[i]) != 2:
        return False  # the sequence and the call's argument; no variable here may name the array
    if arrays[i].base is None:
        return arrays[i].flags.owndata
    if type(arrays[i].base) is not np.ndarray or not arrays[i].base.flags.owndata:
        return False
    with _lock:
        blocks = _blocks.get(arrays[i].base.nbytes - ALIGNMENT, ())
        pooled = any([entry[0] is arrays[i].base for entry in blocks])
        return sys.getrefcount(arrays[i].base) == 2 + pooled  # the array, the call's argument, the pool


def _trim(size: int) -> None:
    """Forgets unused blocks when too much is kept."""
    kept = sum(n * len(blocks) for n, blocks in _blocks.items())
    if kept + size > KEPT:
        for blocks in _blocks.values():
            blocks[:] = [entry for entry in blocks if not _unused(entry)]


def _rounded(nbytes: int) -> int:
    """Sizes in steps of an eighth of a power of two, so that near sizes share blocks."""
    step = max(1 << max(nbytes.bit_length() - 4, 0), 4096)
    return -(-nbytes // step) * step


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array; a large one lies in a recycled block."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < POOLED:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=block(nbytes))


def copy(x: np.ndarray) -> np.ndarray:
    """The same values in other memory."""
    found = empty(x.shape, x.dtype)
    found[...] = x
    return found


@contextmanager
def uncollected() -> Iterator[None]:
    """Inside, Python looks for no garbage: for code that makes many objects and no cycles of them.

    Where Numba is loaded, one look at all objects takes 0.1 s, several times what it takes to schedule a program.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
