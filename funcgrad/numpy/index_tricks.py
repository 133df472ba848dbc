"""``r_`` and ``c_``: arrays written as slices and numbers in brackets.

In: slices, numbers, arrays. Out: their concatenation.

    >>> import funcgrad.numpy as fnp
    >>> fnp.r_[0:3, 10]
    Array([ 0,  1,  2, 10], dtype=int64)
"""
from __future__ import annotations

from typing import Any

from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.creation import arange, array, linspace
from funcgrad.numpy.manipulation import concatenate, moveaxis


class _Joined:
    """``r_[a, b]`` joins along the first axis, ``c_[a, b]`` along the last, vectors as columns.

    A slice ``start:stop:step`` is ``arange``; with an imaginary step, ``linspace`` of that many points. A first item
    "axis", "axis,ndim" or "axis,ndim,position" says along which axis to join, how many axes there are at least, and
    where the axes of a smaller array go; "r" and "c" make a matrix of one row or one column.
    """

    def __init__(self, axis: int, ndim: int, position: int):
        self._settings = axis, ndim, position

    def __getitem__(self, key: Any) -> Any:
        items = list(key) if isinstance(key, tuple) else [key]
        axis, ndim, position = self._settings
        directive = items.pop(0) if isinstance(items[0], str) else None
        if directive in ("r", "c"):
            axis, ndim, position = 1, 2, -1 if directive == "r" else 0
            parts = [self._part(item, 1, -1) for item in items]
            out = concatenate(parts)
            return out[None, :] if directive == "r" else out[:, None]
        if directive is not None:
            try:
                numbers = [int(n) for n in directive.split(",")]
            except ValueError:
                raise ValueError(message("r_: an unknown directive", repr(directive),
                                         "'r', 'c', or up to three integers with commas")) from None
            axis, ndim, position = (*numbers, *(axis, ndim, position)[len(numbers):])
        return concatenate([self._part(item, ndim, position) for item in items], axis)

    @staticmethod
    def _part(item: Any, ndim: int, position: int) -> Any:
        if isinstance(item, slice):
            start, step = 0 if item.start is None else item.start, 1 if item.step is None else item.step
            if isinstance(step, complex):
                x = linspace(start, item.stop, int(abs(step)))
            else:
                x = arange(start, item.stop, step)
        elif isinstance(item, str):
            raise ValueError(message("r_: a directive must come first", describe(item)))
        else:
            x = array(item, copy=False)
        missing = ndim - len(x.shape)
        if missing <= 0 or not x.shape:
            return array(x, copy=False, ndmin=max(ndim, 1))
        count = len(x.shape)
        x = array(x, copy=False, ndmin=ndim)
        first = position if position >= 0 else missing + position + 1
        return moveaxis(x, range(missing, ndim), range(first, first + count))


r_, c_ = _Joined(0, 1, -1), _Joined(-1, 2, 0)
