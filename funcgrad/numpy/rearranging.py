"""Elements repeated, reversed, rolled, inserted and deleted along axes.

In: arrays, and positions known while tracing (``roll`` and ``delete`` also take traced ones). Out: arrays.

    >>> import funcgrad.numpy as fnp
    >>> fnp.roll(fnp.arange(4), 1)
    Array([3, 0, 1, 2], dtype=int64)
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.trace import Tracer
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.numpy.creation import array, broadcast
from funcgrad.numpy.manipulation import ravel, swapaxes
from funcgrad.numpy.selection import take
from funcgrad.numpy.sorting import searchsorted
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import add, ge, lt, remainder, subtract
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import as_axes, as_axis, cumsum
from funcgrad.ops.sorting import sort

_FEW_RUNS = 8


def rearranged(x: Any, index: np.ndarray, axis: int) -> Any:
    """``take(x, index, axis)`` for a known index, as slices, reversals and repetitions where few of them do."""
    if index.size == 0:
        return s.slice_in_dim(x, 0, 0, axis=axis)
    steps = np.diff(index)
    runs, start = [], 0
    while start < index.size and len(runs) <= _FEW_RUNS:
        step = int(steps[start]) if start < steps.size and steps[start] in (-1, 0, 1) else 1
        changes = np.flatnonzero(steps[start:] != step)
        stop = start + int(changes[0]) + 1 if changes.size else index.size
        runs.append((int(index[start]), int(index[stop - 1]), step, stop - start))
        start = stop
    if start < index.size:
        return take(x, index, axis, mode="promise_in_bounds")
    parts = []
    for first, last, step, count in runs:
        part = s.slice_in_dim(x, min(first, last), max(first, last) + 1, axis=axis)
        if step == 0:
            part = s.broadcast_to(part, x.shape[:axis] + (count,) + x.shape[axis + 1:])
        parts.append(s.rev(part, (axis,)) if step == -1 else part)
    return s.concatenate(parts, axis)


def known(x: Any) -> Any:
    """The values of x as NumPy sees them, or None when x is traced."""
    if isinstance(x, Tracer):
        x = x.concrete()
    return None if x is None else np.asarray(x)


def _must_know(name: str, what: str, x: Any, instead: str) -> np.ndarray:
    value = known(x)
    if value is None:
        raise ConcretizationTypeError(message(f"{name}: {what} of the result depends on a traced value", describe(x),
                                              "a value known while tracing", instead))
    return value


def _flat_if_none(name: str, x: Any, axis: int | None) -> tuple[Any, int]:
    x = unary_arg(name, x)
    return (ravel(x), 0) if axis is None else (x, as_axis(name, axis, len(x.shape)))


# ---------------------------------------------------------------- repeat


def tile(A: Any, reps: Any) -> Any:
    """A repeated as a whole, ``reps[i]`` times along axis i; missing axes are added in front."""
    x = unary_arg("tile", A)
    counts = s.as_shape(reps)
    ndim = max(len(counts), len(x.shape))
    counts = (1,) * (ndim - len(counts)) + counts
    sizes = (1,) * (ndim - len(x.shape)) + x.shape
    pairs = tuple(n for pair in zip(counts, sizes, strict=True) for n in pair)
    spread = s.broadcast_in_dim(s.reshape(x, sizes), pairs, range(1, 2 * ndim, 2))
    return s.reshape(spread, [c * n for c, n in zip(counts, sizes, strict=True)])


def repeat(a: Any, repeats: Any, axis: int | None = None, *, total_repeat_length: int | None = None) -> Any:
    """Each element (or slice along an axis) repeated ``repeats`` times, a number or one for each element.

    When ``repeats`` is traced, ``total_repeat_length`` gives the size of the result: longer ones are cut off, and the
    last element fills what is missing.
    """
    a, axis = _flat_if_none("repeat", a, axis)
    n = a.shape[axis]
    counts = known(repeats)
    if counts is None or total_repeat_length is not None:
        if total_repeat_length is None:
            _must_know("repeat", "the size", repeats, "total_repeat_length=...")
        ends = cumsum(broadcast(unary_arg("repeat", repeats), (n,)), axis=0)
        index = searchsorted(ends, s.iota(ends.dtype, (operator.index(total_repeat_length),)), side="right")
        return take(a, index, axis, mode="clip")
    if counts.size == 1:
        count = operator.index(counts.reshape(()).item())
        shape = a.shape[:axis + 1] + (count,) + a.shape[axis + 1:]
        spread = s.broadcast_in_dim(a, shape, [i + (i > axis) for i in range(len(a.shape))])
        return s.reshape(spread, a.shape[:axis] + (n * count,) + a.shape[axis + 1:])
    return rearranged(a, np.repeat(np.arange(n), counts), axis)


def resize(a: Any, new_shape: Any) -> Any:
    """The elements of a, over and over, in row-major order under another shape."""
    x = ravel(unary_arg("resize", a))
    shape = s.as_shape(new_shape)
    size = int(np.prod(shape, dtype=np.int64))
    if x.size == 0 or size == 0:
        return s.full(shape, x.dtype.type(0))
    return s.reshape(s.slice_in_dim(tile(x, -(-size // x.size)), 0, size), shape)


# ---------------------------------------------------------------- reverse and roll


def flip(m: Any, axis: Any = None) -> Any:
    """m with the order of its elements reversed along an axis, some axes, or all of them."""
    m = unary_arg("flip", m)
    return s.rev(m, as_axes("flip", axis, len(m.shape)))


def fliplr(m: Any) -> Any:
    """m reversed along its second axis."""
    m = unary_arg("fliplr", m)
    return s.rev(m, (as_axis("fliplr", 1, len(m.shape)),))


def flipud(m: Any) -> Any:
    """m reversed along its first axis."""
    m = unary_arg("flipud", m)
    return s.rev(m, (as_axis("flipud", 0, len(m.shape)),))


def rot90(m: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Any:
    """m turned k times by 90 degrees in the plane of two axes, from the first towards the second."""
    m = unary_arg("rot90", m)
    first, second = (as_axis("rot90", i, len(m.shape)) for i in axes)
    if first == second:
        raise ValueError(message("rot90: the two axes are one", str(axes), "two different axes"))
    k = operator.index(k) % 4
    if k == 2:
        return s.rev(m, tuple(sorted((first, second))))
    if k == 1:
        return swapaxes(s.rev(m, (second,)), first, second)
    return m if k == 0 else s.rev(swapaxes(m, first, second), (second,))


def roll(a: Any, shift: Any, axis: Any = None) -> Any:
    """a with its elements moved by ``shift`` places along an axis, round the end; flat if axis is None.

    Several shifts and axes may be given; a shift may be traced.
    """
    a = unary_arg("roll", a)
    if axis is None:
        return s.reshape(roll(ravel(a), shift, 0), a.shape)
    axes = [axis] if isinstance(axis, int | np.integer) else list(axis)
    several = isinstance(shift, list | tuple) or getattr(shift, "shape", ())
    shifts = [shift[i] for i in range(len(shift))] if several else [shift]
    if len(shifts) != len(axes) and 1 not in (len(shifts), len(axes)):
        raise ValueError(message("roll: shifts and axes do not match", f"{len(shifts)} shifts, {len(axes)} axes",
                                 "as many axes as shifts, or one"))
    count = max(len(shifts), len(axes))
    for amount, place in zip(shifts * (count // len(shifts)), axes * (count // len(axes)), strict=True):
        a = _rolled(a, amount, as_axis("roll", place, len(a.shape)))
    return a


def _rolled(a: Any, shift: Any, axis: int) -> Any:
    n, amount = a.shape[axis], known(shift)
    if n == 0:
        return a
    if amount is None:
        return take(a, remainder(subtract(np.arange(n), shift), n), axis, mode="promise_in_bounds")
    return rearranged(a, np.roll(np.arange(n), operator.index(amount.item())), axis)


# ---------------------------------------------------------------- insert, delete, trim


def insert(arr: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """arr with values put before the positions ``obj`` (a number, a slice, or an array known while tracing)."""
    arr, axis = _flat_if_none("insert", arr, axis)
    n = arr.shape[axis]
    place = obj if isinstance(obj, slice) else _must_know("insert", "the order", obj, "fnp.where, or .at[...].set")
    values = s.convert_element_type(array(values, ndmin=len(arr.shape)), arr.dtype)
    if isinstance(place, np.ndarray) and place.ndim == 0:
        values = s.moveaxis(values, 0, axis)  # one position takes the whole sequence of values
        count = values.shape[axis]
    else:
        count = len(range(*place.indices(n))) if isinstance(place, slice) else \
            int(place.sum()) if place.dtype.kind == "b" else place.size
        count = values.shape[axis] if count == 1 else count
    values = broadcast(values, arr.shape[:axis] + (count,) + arr.shape[axis + 1:])
    if isinstance(place, np.ndarray) and place.size == 1 and place.dtype.kind != "b":
        place = place.item()
    order = np.insert(np.arange(n), place, n + np.arange(count))
    return rearranged(s.concatenate([arr, values], axis), order, axis)


def delete(arr: Any, obj: Any, axis: int | None = None, *, assume_unique_indices: bool = False) -> Any:
    """arr without the elements at the positions ``obj``: a number, a slice, or an array.

    The positions may be traced; an array of them then needs ``assume_unique_indices=True``, since equal positions
    would change the size of the result.
    """
    arr, axis = _flat_if_none("delete", arr, axis)
    n = arr.shape[axis]
    place = obj if isinstance(obj, slice) else known(obj)
    if place is not None:
        return rearranged(arr, np.delete(np.arange(n), place), axis)
    if len(obj.shape) and not assume_unique_indices or obj.dtype.kind not in "iu":
        _must_know("delete", "the size", obj, "assume_unique_indices=True with integer positions")
    holes = ravel(s.select_n(lt(obj, 0), obj, add(obj, n)))
    holes = subtract(sort(holes), np.arange(holes.size, dtype=holes.dtype))
    rest = np.arange(n - holes.size, dtype=holes.dtype)
    passed = ge(s.broadcast_in_dim(rest, (holes.size, rest.size), (1,)),
                s.broadcast_in_dim(holes, (holes.size, rest.size), (0,)))
    return take(arr, add(rest, s.sum_over(s.convert_element_type(passed, rest.dtype), (0,))), axis, mode="clip")


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """An array without the zeros at the front ("f"), the back ("b"), or both, of some axes (None: all).

    Slices are cut off that hold nothing but zeros, and lie before or behind all others. The values must be known.
    """
    x = array(filt, copy=False)
    if not dtypes.is_supported(x.dtype):
        raise TypeError(message("trim_zeros: an array of numbers is needed", describe(x)))
    places = np.nonzero(_must_know("trim_zeros", "the size", x, "a slice"))
    for d in as_axes("trim_zeros", axis, len(x.shape)):
        n = x.shape[d]
        first, last = (int(places[d].min()), int(places[d].max()) + 1) if places[d].size else (n, n)
        x = s.slice_in_dim(x, first if "f" in trim.lower() else 0, last if "b" in trim.lower() else n, axis=d)
    return x
