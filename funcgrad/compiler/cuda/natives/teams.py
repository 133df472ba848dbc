"""What kernels for teams of threads share.

In: how much there is to do in a row. Out: how many threads do it together, and lines of text.

    team_for(768)    ->    32, a warp whose threads take 24 elements each
"""
from __future__ import annotations

WARP, BLOCK = 32, 256
LONG = 2048
"""Elements of a row from which a whole block works on it."""
LEAST = 8192
"""Elements of a piece of a line at least."""
LANES = 1 << 15
"""Threads that keep a GPU busy where each goes along a line; fewer lines are cut into pieces."""
STEPS = 64
"""Elements of such a piece at least."""
AT_ONCE = 4
"""Elements that a thread loads before it uses the first of them."""
ROWS = 512
"""Teams of a block that keep a GPU busy: rows are divided up to this number. Fixed, so that results depend on sizes alone."""


def team_for(work: int) -> int:
    """How many threads share a row of so many elements."""
    return 1 if work < WARP else WARP if work < LONG else BLOCK


def pieces(lines: int, n: int, adjoining: bool) -> int:
    """How many pieces lines of n elements are cut into: as many as keep a GPU busy, none of them short, and none empty.

    The elements of a line adjoin each other in memory, and a team has it; or a thread goes along it.
    """
    least, busy = (LEAST, ROWS) if adjoining else (STEPS, LANES)
    count = max(min(n // least, -(-busy // lines)), 1)
    return -(-n // -(-n // count))


def with_lanes(low: str, high: str, team: int) -> str:
    """The bounds of a loop that a team shares."""
    if team == 1:
        return f"{low}, {high}"
    return f"{f'{low} + ' if low != '0' else ''}lane({team}), {high}, {team}"


def indented(lines: list[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


def at_once(low: str, high: str, step: int, load: str, use: list[str]) -> list[str]:
    """A loop over i in which some elements are on their way before the first is used: as v; further ones do not wait for it."""
    def place(text: str, k: int) -> str:
        return text.format(i=f"(i + {k * step})" if k else "i", v=f"v{k}")

    lines = [f"i = {low}", f"while i + {(AT_ONCE - 1) * step} < {high}:"]
    lines += [f"    v{k} = {place(load, k)}" for k in range(AT_ONCE)]
    lines += [f"    {place(line, k)}" for k in range(AT_ONCE) for line in use]
    lines += [f"    i = i + {AT_ONCE * step}", f"while i < {high}:", f"    v0 = {place(load, 0)}"]
    return [*lines, *[f"    {place(line, 0)}" for line in use], f"    i = i + {step}"]


def distances(team: int) -> list[int]:
    """The bits of the number of a thread in its team."""
    return [1 << k for k in range(team.bit_length() - 1)]
