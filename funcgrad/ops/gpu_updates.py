"""Updates at indices that may repeat, with CuPy, whose assignments and sums at indices have no order.

In: rows of a matrix, where to write, and the updates. Out: the rows, changed in place. Sums are made by atomic additions, so
their last bits may differ from run to run where an index repeats; what is compiled adds up in a fixed order.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.device import ThroughHost


def put_last(xp: Any, rows: Any, where: Any, updates: Any, unique: bool) -> None:
    """The last update of a row wins: the others are left out."""
    if not unique:
        order = xp.argsort(where, kind="stable")
        row = where[order]
        last = xp.concatenate([row[1:] != row[:-1], xp.ones(1, bool)])
        kept = order[last]
        where, updates = where[kept], updates[kept]
    rows[where] = updates


def combined(ufunc: str) -> Callable:
    """Updates combined with a binary ufunc. Other than sums, only at indices that do not repeat; else on the host."""

    def combine(xp: Any, rows: Any, where: Any, updates: Any, unique: bool) -> None:
        if unique:
            rows[where] = getattr(xp, ufunc)(rows[where], updates)
            return
        if ufunc != "add":
            raise ThroughHost
        where = (where[:, None] * rows.shape[1] + xp.arange(rows.shape[1])).reshape(-1)
        flat = rows.reshape(-1)
        flat[...] = added_at(xp, flat, where, updates.reshape(-1))

    return combine


_SUMMED = {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "int32", "uint16": "int32", "float16": "float32",
           "bfloat16": "float32"}
"""Dtypes for which CUDA has no atomic addition, and the wider ones that are summed instead."""


def added_at(xp: Any, x: Any, where: Any, updates: Any) -> Any:
    """A vector with updates added at indices, which may repeat."""
    dtype = x.dtype
    if dtype == np.int64:  # the sums of unsigned numbers have the same bits
        out = x.view(np.uint64).copy()
        xp.add.at(out, where, updates.view(np.uint64))
        return out.view(np.int64)
    if dtype.kind == "c":  # the parts are sums of their own
        real = x.real.dtype
        places = (where[:, None] * 2 + xp.arange(2)).reshape(-1)
        return added_at(xp, x.view(real), places, xp.ascontiguousarray(updates).view(real)).view(dtype)
    wide = _SUMMED.get(dtype.name)
    out = x.astype(wide or dtype)  # a copy
    xp.add.at(out, where, updates.astype(wide) if wide else updates)
    return (out != 0) if dtype.kind == "b" else out.astype(dtype, copy=False)
