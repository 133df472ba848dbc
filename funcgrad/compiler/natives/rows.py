"""What the builders of kernels share: how rows are cut into pieces, and dtypes of which only the bits matter.

In: counts of rows and elements. Out: chunks that do not depend on the number of threads.

    pieces(rows=1000, work=64)    ->    1000, for so few rows are one piece
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

PIECE = 1 << 16
"""The elements that one thread takes at a time."""
UNROLLED = 16
"""Sizes up to this one are part of a kernel's text."""

TILE = {1: 16, 2: 16, 4: 8, 8: 8}
"""Rows and columns of a tile that is transposed in registers, by the bytes of an element."""


def pieces(rows: int, work: int, multiple: int = 1) -> int:
    """How many rows one thread takes at a time, each as much work as some elements; a multiple of a number."""
    if rows * work <= 4 * PIECE:
        return max(rows, 1)
    chunk = max(PIECE // max(work, 1), 1)
    return -(-chunk // multiple) * multiple


def raw(dtype: np.dtype) -> tuple[str, int]:
    """The unsigned integer as which elements are moved, and how many of them an element is."""
    return f"u{8 * min(dtype.itemsize, 8)}", max(dtype.itemsize // 8, 1)


def text(lines: Sequence[str]) -> str:
    """The source of a kernel with this body."""
    return "\n    ".join(["def kernel(pointers, sizes, start, stop):", *lines]) + "\n"


def word(value: int, words: list[int]) -> str:
    """A number that is passed, as text."""
    words.append(value)
    return f"word(sizes, {len(words) - 1})"


def size(value: int, words: list[int]) -> str:
    """A size as text: itself if it is small, else a number that is passed."""
    return str(value) if 0 <= value <= UNROLLED else word(value, words)
