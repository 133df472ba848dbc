"""Windows that move over an array, as text: positions one after the other, and the places of a window that are inside.

In: sizes, windows, steps and padding of the axes that windows move along. Out: lines of a kernel. For a position, ``t0``,
``t1`` ... are its coordinates and ``j0``, ``j1`` ... where its window begins; of an axis, the places ``a`` to ``b`` are inside.

    start       rest = at;  t1 = rest % n3;  rest = rest // n3;  t0 = rest % n2;  n = rest // n2
    begin       j0 = t0 * 2 - 1;  j1 = t1 * 2 - 1
    advance     t1 = t1 + 1;  if t1 == n3:  t1 = 0;  t0 = t0 + 1 ...
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from funcgrad.compiler.natives.windows import Text
from funcgrad.compiler.view import row_major
from funcgrad.core.types import Shape

UNROLLED = 32
"""Places of a window up to which each has lines of its own in a kernel."""


LARGEST = 4096
"""Products of counts of channels up to this one are part of a kernel's text: then a loop over 32 channels is two vectors."""


def channels(text: Text, count: int) -> str:
    """A number of channels: unlike the sizes of a batch or an image it is the same in all calls of a layer."""
    return str(count) if count <= LARGEST else text.word(count)


@dataclass(slots=True)
class Window:
    """The axes that windows move along: their sizes in the array, of the windows, and how many windows there are."""

    sizes: Shape
    windows: Shape
    counts: Shape
    strides: Shape
    padding: tuple[tuple[int, int], ...]
    dilation: Shape

    @property
    def ndim(self) -> int:
        return len(self.sizes)

    @property
    def positions(self) -> int:
        return math.prod(self.counts)

    @property
    def places(self) -> int:
        return math.prod(self.windows)

    def declare(self, text: Text) -> None:
        for d in range(self.ndim):
            text.head.append(f"size{d} = {text.word(self.sizes[d])}")
            text.head.append(f"count{d} = {text.word(self.counts[d])}")

    def start(self, text: Text, at: str) -> None:
        """The coordinates of a position."""
        text.add(f"rest = {at}")
        for d in reversed(range(self.ndim)):
            text.add(f"t{d} = rest % count{d}")
            text.add(f"rest = rest // count{d}")
        text.add("n = rest")

    def advance(self, text: Text) -> None:
        """The next position."""
        depth = text.depth
        for d in reversed(range(self.ndim)):
            text.add(f"t{d} = t{d} + 1")
            text.open(f"if t{d} == count{d}:")
            text.add(f"t{d} = 0")
        text.add("n = n + 1")
        text.depth = depth

    def begin(self, text: Text) -> None:
        """Where the window begins."""
        for d in range(self.ndim):
            text.add(f"j{d} = t{d} * {self.strides[d]} - {self.padding[d][0]}")

    def base(self, text: Text, steps: Sequence[int]) -> str:
        """The element of the array at which the window begins, which may lie outside."""
        return text.position([f"j{d}" for d in range(self.ndim)], steps)

    def offsets(self, steps: Sequence[int]) -> list[int]:
        """How far each place of a window is from its beginning."""
        places = row_major(self.windows)
        return [sum(i // p % k * r * s for p, k, r, s in zip(places, self.windows, self.dilation, steps, strict=True))
                for i in range(self.places)]

    def whole(self) -> str:
        """Whether all of the window is inside."""
        tests = []
        for d in range(self.ndim):
            low, high = self.padding[d][0], (self.counts[d] - 1) * self.strides[d] - self.padding[d][0] \
                + (self.windows[d] - 1) * self.dilation[d]
            if low > 0:
                tests.append(f"(j{d} >= 0)")
            if high >= self.sizes[d]:
                tests.append(f"(j{d} + {(self.windows[d] - 1) * self.dilation[d]} < size{d})")
        return " & ".join(tests) or "True"

    def inside(self, text: Text, names: Sequence[str]) -> None:
        """Loops over the places that are inside, with these names for their coordinates; the text goes on within them."""
        for d in range(self.ndim):
            self.bounds(text, d)
        for d, name in enumerate(names):
            text.open(f"for {name} in range(a{d}, b{d}):")

    def bounds(self, text: Text, d: int) -> None:
        """The places along an axis that are inside, from ``a`` to ``b``."""
        k, r = self.windows[d], self.dilation[d]
        first = f"-j{d}" if r == 1 else f"({r - 1} - j{d}) // {r}"
        last = f"size{d} - j{d}" if r == 1 else f"(size{d} - 1 - j{d}) // {r} + 1"
        text.add(f"a{d} = min(max({first}, 0), {k})")
        text.add(f"b{d} = max(min({last}, {k}), a{d})")

    def place(self, names: Sequence[str]) -> str:
        """The number of a place from its coordinates."""
        return " + ".join(f"{name} * {p}" if p > 1 else name
                          for name, p, k in zip(names, row_major(self.windows), self.windows, strict=True)) or "0"

    def offset(self, text: Text, names: Sequence[str], steps: Sequence[int]) -> str:
        """How far a place is from the beginning of its window, from its coordinates."""
        return text.position(names, [r * s for r, s in zip(self.dilation, steps, strict=True)])
