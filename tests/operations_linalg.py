"""Rows of the table of operations: linear algebra."""
from __future__ import annotations

from operation import Operation


def rows() -> list[Operation]:
    return []
