"""Rows of the table of operations: special functions."""
from __future__ import annotations

from operation import Operation


def rows() -> list[Operation]:
    return []
