"""Rows of the table of operations: convolutions and windows."""
from __future__ import annotations

from operation import Operation


def rows() -> list[Operation]:
    return []
