"""``pad``: an array with a border, in all of NumPy's modes.

In: an array, and how much to add before and after each axis. Out: a larger array.

    >>> import funcgrad.numpy as fnp
    >>> fnp.pad(fnp.arange(3), (1, 2), mode="reflect")
    Array([1, 0, 1, 2, 1, 0], dtype=int64)
"""
from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.creation import asarray, linspace
from funcgrad.numpy.functional import apply_along_axis
from funcgrad.numpy.quantiles import median
from funcgrad.numpy.rearranging import rearranged
from funcgrad.numpy.reductions import max, mean, min
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import add, round_to_even, subtract
from funcgrad.ops.promotion import unary_arg

_STATISTICS = {"maximum": max, "mean": mean, "median": median, "minimum": min}
_INDEX_MODES = {"edge": set(), "wrap": set(), "reflect": {"reflect_type"}, "symmetric": {"reflect_type"}}
_OPTIONS: dict[str, set] = {"constant": {"constant_values"}, "empty": set(), "linear_ramp": {"end_values"},
                            **_INDEX_MODES, **{name: {"stat_length"} for name in _STATISTICS}}


def pad(array: Any, pad_width: Any, mode: str | Callable = "constant", **kwargs: Any) -> Any:
    """An array with a border of ``pad_width`` elements: a number, a pair (before, after), pairs for all axes, a dict.

    ``mode`` says what stands there: "constant" (``constant_values=0``), "edge", "linear_ramp" (``end_values=0``),
    "maximum", "mean", "median", "minimum" (of ``stat_length`` elements), "reflect", "symmetric" (``reflect_type``),
    "wrap", "empty", or a function that is given each padded vector, its (before, after), the axis and ``kwargs``, and
    returns the vector.
    """
    x = unary_arg("pad", array)
    ndim = len(x.shape)
    if isinstance(pad_width, dict):
        pad_width = [pad_width.get(i, pad_width.get(i - ndim, (0, 0))) for i in range(ndim)]
    widths = _pairs("pad_width", pad_width, ndim)
    if any(n < 0 for pair in widths for n in pair):
        raise ValueError(message("pad: a width is negative", str(pad_width), "widths >= 0", "a slice"))
    if callable(mode):
        return _by_function(x, widths, mode, kwargs)
    if mode not in _OPTIONS:
        raise NotImplementedError(message("pad: an unknown mode", repr(mode), ", ".join(_OPTIONS)))
    if kwargs.keys() - _OPTIONS[mode]:
        raise ValueError(message(f"pad: an argument that mode {mode!r} does not have",
                                 ", ".join(kwargs.keys() - _OPTIONS[mode]), ", ".join(_OPTIONS[mode]) or "none"))
    if mode in ("constant", "empty"):
        return _constant(x, widths, kwargs.get("constant_values", 0))
    if mode in _INDEX_MODES and kwargs.get("reflect_type", "even") == "even":
        return _by_index(x, widths, mode)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = _extended(x, axis, before, after, mode, kwargs)
    return x


def _pairs(name: str, value: Any, ndim: int) -> list[tuple[int, int]]:
    try:
        given = np.asarray(value)
        if given.dtype.kind not in "iu":
            raise TypeError(message(f"pad: {name} must be integers", describe(value), "integers known while tracing"))
        return [tuple(pair) for pair in np.broadcast_to(given, (ndim, 2)).tolist()]
    except ValueError:
        raise ValueError(message(f"pad: {name} does not fit the array", describe(value),
                                 f"a number, a pair, or a pair for each of the {ndim} axes")) from None


def _constant(x: Any, widths: list, values: Any) -> Any:
    ndim = len(x.shape)
    values = s.convert_element_type(asarray(values), x.dtype)
    if not values.shape:
        return s.pad(x, values, [(a, b, 0) for a, b in widths])
    values = s.broadcast_to(values, (ndim, 2))
    for axis, (before, after) in enumerate(widths):
        for side, n in enumerate((before, after)):
            value = s.reshape(s.slice(values, (axis, side), (axis + 1, side + 1)), ())
            width = (n, 0, 0) if side == 0 else (0, n, 0)
            x = s.pad(x, value, [width if i == axis else (0, 0, 0) for i in range(ndim)])
    return x


def _by_index(x: Any, widths: list, mode: Any) -> Any:
    """The border repeats elements of the array: which ones, NumPy says."""
    for axis, pair in enumerate(widths):
        if any(pair):
            if x.shape[axis] == 0:
                raise ValueError(message(f"pad: mode {mode!r} has nothing to repeat",
                                         f"{describe(x)} along axis {axis}"))
            x = rearranged(x, np.pad(np.arange(x.shape[axis]), pair, mode=mode), axis)
    return x


def _extended(x: Any, axis: int, before: int, after: int, mode: str, options: dict) -> Any:
    """The array with a border along one axis."""
    n = x.shape[axis]
    first, last = s.slice_in_dim(x, 0, 1, axis=axis), s.slice_in_dim(x, n - 1, n, axis=axis)
    if mode in ("reflect", "symmetric"):
        return _odd_reflection(x, axis, before, after, mode)
    if mode == "linear_ramp":
        ends = s.convert_element_type(asarray(options.get("end_values", 0)), x.dtype)
        ends = s.broadcast_to(ends, (len(x.shape), 2))
        low, high = (s.reshape(s.slice(ends, (axis, i), (axis + 1, i + 1)), ()) for i in (0, 1))
        left, right = (s.moveaxis(s.squeeze(_ramp(end, edge, count, x.dtype), (axis + 1,)), 0, axis)
                       for end, edge, count in ((low, first, before), (high, last, after)))
        return s.concatenate([left, x, s.rev(right, (axis,))], axis)
    length = options.get("stat_length")
    counts = (n, n) if length is None else _pairs("stat_length", length, len(x.shape))[axis]
    if 0 in counts:
        raise ValueError(message(f"pad: mode {mode!r} needs elements", f"stat_length={length}", "at least 1"))
    head = s.slice_in_dim(x, 0, counts[0] if counts[0] < n else n, axis=axis)
    tail = s.slice_in_dim(x, n - counts[1] if counts[1] < n else 0, n, axis=axis)
    sides = []
    for part, count in ((head, before), (tail, after)):
        value = _STATISTICS[mode](part, axis=axis, keepdims=True)
        if x.dtype.kind in "iu":
            value = s.convert_element_type(round_to_even(value), x.dtype)
        value = s.convert_element_type(value, x.dtype)
        sides.append(s.broadcast_to(value, x.shape[:axis] + (count,) + x.shape[axis + 1:]))
    return s.concatenate([sides[0], x, sides[1]], axis)


def _ramp(end: Any, edge: Any, count: int, dtype: np.dtype) -> Any:
    return linspace(end, edge, count, endpoint=False, dtype=dtype)


def _odd_reflection(x: Any, axis: int, before: int, after: int, mode: str) -> Any:
    """The border continues the array point-symmetrically: twice the edge minus the reflection."""
    skip = 1 if mode == "reflect" else 0
    for missing, at_front in ((before, True), (after, False)):
        while missing > 0:
            n = x.shape[axis]
            count = builtins.min(missing, n - skip)
            if count < 1:
                raise ValueError(message("pad: one element has no odd reflection", describe(x),
                                         "at least 2 elements"))
            if at_front:
                edge, part = s.slice_in_dim(x, 0, 1, axis=axis), s.slice_in_dim(x, skip, skip + count, axis=axis)
            else:
                edge = s.slice_in_dim(x, n - 1, n, axis=axis)
                part = s.slice_in_dim(x, n - skip - count, n - skip, axis=axis)
            twice = s.broadcast_to(add(edge, edge), part.shape)
            border = s.rev(subtract(twice, part), (axis,))
            x = s.concatenate([border, x] if at_front else [x, border], axis)
            missing -= count
    return x


def _by_function(x: Any, widths: list, function: Callable, options: dict) -> Any:
    x = _constant(x, widths, 0)
    for axis, pair in enumerate(widths):
        x = apply_along_axis(function, axis, x, pair, axis, options)
    return x
