"""What kernels for teams of threads share.

In: how much there is to do in a row. Out: how many threads do it together, and lines of text.

    team_for(768)    ->    32, a warp whose threads take 24 elements each
"""
from __future__ import annotations

WARP, BLOCK = 32, 256
LONG = 2048
"""Elements of a row from which a whole block works on it."""
ROWS = 512
"""Teams of a block that keep a GPU busy: rows are divided up to this number. Fixed, so that results do not depend on the GPU."""


def team_for(work: int) -> int:
    """How many threads share a row of so many elements."""
    return 1 if work < WARP else WARP if work < LONG else BLOCK


def with_lanes(low: str, high: str, team: int) -> str:
    """The bounds of a loop that a team shares."""
    if team == 1:
        return f"{low}, {high}"
    return f"{f'{low} + ' if low != '0' else ''}lane({team}), {high}, {team}"


def indented(lines: list[str], depth: int = 1) -> list[str]:
    return ["    " * depth + line for line in lines]


def distances(team: int) -> list[int]:
    """The bits of the number of a thread in its team."""
    return [1 << k for k in range(team.bit_length() - 1)]
