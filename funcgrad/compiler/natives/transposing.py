"""Copies of arrays whose axes lie in another order in memory, tile by tile.

In: the shape of the result and the strides of the source. Out: a kernel, or None where a plain loop does as well. What is next
to each other in the source is not so in the result: a loop over either touches a line of the cache for each element. A tile
is as wide as a line in both directions.

    a copy of the transpose of f32[1024,1024]:    64 rows, each of them 64 tiles of 16 by 16 elements
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from funcgrad.compiler.expressions import stored
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.rows import TILE, pieces, raw, text

LINE = 64
"""Bytes of a line of the cache."""


Axis = tuple[int, int, int]
"""Its size, and the strides of source and result."""


def matrices(shape: Sequence[int], strides: Sequence[int]) -> tuple[list[Axis], Axis, Axis] | None:
    """The copy as one of many matrices: along the lines elements are neighbours in the source, along the columns in the
    result. None if they are along the same axis in both."""
    axes = merged_axes(shape, strides)
    if len(axes) < 2 or 0 in shape:
        return None
    *others, columns = axes
    lines = others.pop(min(range(len(others)), key=lambda d: abs(others[d][1]) or math.inf))
    return (others, lines, columns) if 0 < abs(lines[1]) < abs(columns[1]) else None


def blocked_copy(shape: Sequence[int], strides: Sequence[int], dtype: np.dtype) -> NativeKernel | None:
    """Copies from slot 0, which has these strides (in elements), to slot 1, which is row-major and of this shape."""
    found = matrices(shape, strides)
    if found is None:
        return None
    others, (lines, along, apart), (columns, across, _) = found
    size = max(LINE // dtype.itemsize, TILE[8])
    if min(lines, columns) < size // 2:
        return None
    name, parts = raw(dtype)
    tile = TILE[dtype.itemsize] if parts == 1 and along == 1 else 0
    tiles = -(-lines // size)
    sizes = [lines, columns, along, across, apart, tiles]
    names = ("lines", "columns", "along", "across", "apart", "tiles")
    pointer = name if parts == 1 else stored(dtype)
    body = [f"x = pointer_{pointer}(pointers, 0)", f"y = pointer_{pointer}(pointers, 1)"]
    body += [f"{key} = word(sizes, {i})" for i, key in enumerate(names)]
    body += ["for r in range(start, stop):", f"    low = r % tiles * {size}", "    rest = r // tiles",
             f"    count = min({size}, lines - low)", "    a = low * along", "    b = low * apart"]
    for n, source, target in reversed(others):
        at = len(sizes)
        body += [f"    i = rest % word(sizes, {at})", f"    rest = rest // word(sizes, {at})",
                 f"    a = a + i * word(sizes, {at + 1})", f"    b = b + i * word(sizes, {at + 2})"]
        sizes += [n, source, target]
    body += ["    " + line for line in _tiles(name, size, tile)]
    rows = tiles * math.prod(n for n, _, _ in others)
    return NativeKernel(text(body), sizes, rows, pieces(rows, size * columns))


def merged_axes(shape: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int, int]]:
    """(size, stride of the source, stride of the result) of the axes; neighbours that lie alike in both are one."""
    axes: list[tuple[int, int, int]] = []
    target = 1
    for n, stride in zip(reversed(shape), reversed(strides), strict=True):
        if axes and axes[-1][1] * axes[-1][0] == stride:
            axes[-1] = (axes[-1][0] * n, axes[-1][1], axes[-1][2])
        elif n != 1:
            axes.append((n, stride, target))
        target *= n
    return axes[::-1]


def _tiles(name: str, size: int, tile: int) -> list[str]:
    """The tiles of some lines, one after the other along the columns."""
    lines = ["column = 0"]
    if tile:
        steps = range(0, size, tile)
        lines += [f"if count == {size}:", f"    while column + {size} <= columns:"]
        lines += [f"        transpose_{name}(x, a + {i} + (column + {j}) * across, across, "
                  f"y, b + {i} * apart + column + {j}, apart)" for i in steps for j in steps]
        lines += [f"        column = column + {size}"]
    return [*lines, "while column < columns:", f"    width = min({size}, columns - column)",
            "    for i in range(count):", "        for j in range(width):",
            "            y[b + i * apart + column + j] = x[a + i * along + (column + j) * across]",
            "    column = column + width"]
