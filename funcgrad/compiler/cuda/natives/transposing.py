"""Copies of arrays whose axes lie in another order in memory: tiles through the memory that the threads of a block share.

In: the shape of the result and the strides of the source. Out: a kernel, or None where a plain loop does as well. Neighbouring
threads read neighbours in the source, and write neighbours in the result; a line of a tile is one element longer than it need
be, so that a column lies in different banks.

    a copy of the transpose of f32[1024,1024]:    1024 rows, a tile of 32 by 32 elements each, for a block of 256 threads
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from funcgrad.compiler.cuda.natives.teams import BLOCK
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.rows import text
from funcgrad.compiler.natives.transposing import matrices
from funcgrad.compiler.natives.windows import raw

NARROWEST = 8
"""Lines and columns from which tiles pay."""
SMALLEST = 1024
"""Elements of a matrix from which they do: a smaller one stays in the cache while it is copied."""


def blocked_copy(shape: Sequence[int], strides: Sequence[int], dtype: np.dtype) -> NativeKernel | None:
    """Copies from slot 0, which has these strides (in elements), to slot 1, which is row-major and of this shape."""
    found = matrices(shape, strides)
    if found is None:
        return None
    others, (lines, along, apart), (columns, across, _) = found
    if min(lines, columns) < NARROWEST or lines * columns < SMALLEST:
        return None
    tile = 64 if dtype.itemsize < 4 else 32
    names = dict(lines=lines, columns=columns, along=along, across=across, apart=apart, tall=-(-lines // tile),
                 wide=-(-columns // tile))
    sizes, name, height = list(names.values()), raw(dtype), BLOCK // tile
    body = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, 1)",
            f"s = shared_{name}(0, {tile * (tile + 1)})"]
    body += [f"{key} = word(sizes, {i})" for i, key in enumerate(names)]
    body += [f"i = lane({BLOCK}) % {tile}", f"j = lane({BLOCK}) // {tile}", "for r in range(start, stop):",
             f"    column = r % wide * {tile}", "    rest = r // wide", f"    line = rest % tall * {tile}",
             "    rest = rest // tall", "    a = line * along + column * across", "    b = line * apart + column"]
    for n, source, target in reversed(others):
        at = len(sizes)
        body += [f"    k = rest % word(sizes, {at})", f"    rest = rest // word(sizes, {at})",
                 f"    a = a + k * word(sizes, {at + 1})", f"    b = b + k * word(sizes, {at + 2})"]
        sizes += [n, source, target]
    body += [f"    for k in range(0, {tile}, {height}):", "        if (line + i < lines) & (column + j + k < columns):",
             f"            s[(j + k) * {tile + 1} + i] = x[a + i * along + (j + k) * across]",
             f"    sync({BLOCK})",
             f"    for k in range(0, {tile}, {height}):", "        if (line + j + k < lines) & (column + i < columns):",
             f"            y[b + (j + k) * apart + i] = s[i * {tile + 1} + j + k]",
             f"    sync({BLOCK})"]
    rows = names["tall"] * names["wide"] * math.prod(n for n, _, _ in others)
    return NativeKernel(text(body), sizes, rows, 1, team=BLOCK)
