"""Strided views of buffers: how movement operations cost nothing.

In: a view and a movement. Out: another view of the same buffer, or None where strides cannot express it.

    View(b, (2, 3), (3, 1), 0).transpose((1, 0))    ->    View(b, (3, 2), (1, 3), 0)
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Shape = tuple[int, ...]


class Buffer:
    """Memory for ``size`` elements in row-major order; its place is decided later. ``role`` says whose it is.

    A buffer whose role is "moving" has a place that the program sets while it runs: a slice of another buffer, or one of its
    ``homes``.
    """

    __slots__ = ("dtype", "size", "role", "index", "homes")

    def __init__(self, dtype: np.dtype, size: int, role: str = "arena"):
        self.dtype, self.size, self.role, self.index = dtype, size, role, -1
        self.homes: tuple[Buffer, ...] = ()

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize


class View:
    """Elements of a buffer as an array: strides and offset count elements."""

    __slots__ = ("buffer", "shape", "strides", "offset")

    def __init__(self, buffer: Any, shape: Shape, strides: Shape, offset: int = 0):
        self.buffer, self.shape, self.strides, self.offset = buffer, shape, strides, offset

    @property
    def contiguous(self) -> bool:
        return all(n == 1 or s == t for n, s, t in zip(self.shape, self.strides, row_major(self.shape), strict=True))

    def transpose(self, permutation: Sequence[int]) -> View:
        return View(self.buffer, tuple([self.shape[i] for i in permutation]), tuple([self.strides[i] for i in permutation]),
                    self.offset)

    def broadcast_in_dim(self, shape: Shape, dimensions: Sequence[int]) -> View:
        strides = [0] * len(shape)
        for n, s, d in zip(self.shape, self.strides, dimensions, strict=True):
            strides[d] = s if n == shape[d] else 0
        return View(self.buffer, shape, tuple(strides), self.offset)

    def slice(self, start: Sequence[int], limit: Sequence[int], steps: Sequence[int]) -> View:
        shape = tuple([-(-(b - a) // s) for a, b, s in zip(start, limit, steps, strict=True)])
        offset = self.offset + sum(a * s for a, s in zip(start, self.strides, strict=True)) if math.prod(shape) else 0
        return View(self.buffer, shape, tuple([s * t for s, t in zip(self.strides, steps, strict=True)]), offset)

    def rev(self, dimensions: Sequence[int]) -> View:
        offset = self.offset + sum((self.shape[d] - 1) * self.strides[d] for d in dimensions if self.shape[d])
        return View(self.buffer, self.shape, tuple([-s if d in dimensions else s for d, s in enumerate(self.strides)]), offset)

    def reshape(self, shape: Shape) -> View | None:
        """The same elements in row-major order under another shape, if strides can express it."""
        if math.prod(shape) == 0 or self.contiguous:
            return View(self.buffer, shape, row_major(shape), self.offset)
        old = [(n, s) for n, s in zip(self.shape, self.strides, strict=True) if n != 1]
        strides: list[int] = []
        i = j = 0
        while i < len(old):  # groups of old and of new axes with equal products
            k, m = i + 1, j + 1
            a, b = old[i][0], shape[j]
            while a != b:
                if a < b:
                    a, k = a * old[k][0], k + 1
                else:
                    b, m = b * shape[m], m + 1
            if any(old[x][1] != old[x + 1][1] * old[x + 1][0] for x in range(i, k - 1)):
                return None
            sizes = shape[j:m]
            strides += [s * old[k - 1][1] for s in row_major(sizes)]
            i, j = k, m
        strides += [0] * (len(shape) - len(strides))
        return View(self.buffer, shape, tuple(strides), self.offset)


def row_major(shape: Sequence[int]) -> Shape:
    """The strides of an array whose last axis varies fastest."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def whole(buffer: Any, shape: Shape) -> View:
    """All of a buffer."""
    return View(buffer, shape, row_major(shape))
