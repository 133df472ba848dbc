"""What an index means: ``x[1:, i, None]`` as one entry for each axis, by NumPy's rules.

In: the shape of an array and an index made of integers, slices, None, ``...``, integer arrays and boolean masks (lists
count as arrays). Out:
``Parts``, with static integers checked, masks resolved, and the place of the arrays' axes in the result. Reading
(``x[index]``) and writing (``x.at[index]``) both start here.

    parse((3, 4), (slice(1, None), array([0, 2])), "raise")   entries: slice of axis 0, array on axis 1; shape (2, 2)
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, DeviceArray, describe
from funcgrad.core.trace import Tracer
from funcgrad.core.types import Shape
from funcgrad.errors import ConcretizationTypeError, NonConcreteBooleanIndexError, message
from funcgrad.numpy.creation import asarray
from funcgrad.ops.elementwise import add, lt, minimum, remainder
from funcgrad.ops.index_maps import GatherScatterMode, out_of_bounds, signed
from funcgrad.ops.structural import broadcast_to, concatenate, convert_element_type, reshape, select_n


def checked_mode(mode: Any) -> str:
    """The mode of indexing as a string; None is "raise"."""
    if mode is None or mode == "raise":
        return "raise"
    return "wrap" if mode == "wrap" else GatherScatterMode.from_any(mode).value


@dataclass(slots=True)
class Entry:
    """One axis of an index: what is done with an axis of the array (None for ``kind`` "new", which makes an axis).

    ``kind`` is "int" (static), "slice" (start, size and step), "array" (integers), "new", or "gap" (an ellipsis that
    stands for no axis, which still separates arrays).
    """

    kind: str
    axis: int = -1
    index: Any = None
    start: int = 0
    size: int = 1
    step: int = 1


@dataclass(slots=True)
class Parts:
    """A whole index: its entries in order; the arrays among them, their common shape, and where it is put."""

    entries: list[Entry]
    arrays: list[Entry]
    broadcast: Shape
    new_before: int
    """Axes of the result, those made by None included, in front of the axes of the arrays."""
    slices_before: int
    """The same without those made by None."""
    shape: Shape
    """The shape of the result."""
    plain_shape: Shape
    """The same without the axes made by None."""


def parse(shape: Shape, index: Any, mode: str) -> Parts:
    """An index for an array of this shape, with static integers checked and made nonnegative, and masks resolved."""
    items = index if type(index) is tuple else (index,)
    items = _with_ellipsis(shape, [_classified(item) for item in items])
    entries: list[Entry] = []
    axis = 0
    for item in items:
        if item is None:
            entries.append(Entry("new"))
        elif item is Ellipsis:
            entries.append(Entry("gap"))
        elif isinstance(item, slice):
            start, size, step = _slice_of(item, shape[axis])
            entries.append(Entry("slice", axis, None, start, size, step))
            axis += 1
        elif type(item) is int:
            n = shape[axis]
            if -n <= item < n:
                entries.append(Entry("int", axis, None, item % n))
            elif mode == "raise":
                raise out_of_bounds(item, axis, n)
            else:
                entries.append(Entry("array", axis, np.asarray(item)))
            axis += 1
        elif item.dtype.kind == "b":
            for positions in _mask_positions(item, shape, axis):
                entries.append(Entry("array", axis, positions))
                axis += 1
        else:
            entries.append(Entry("array", axis, item))
            axis += 1
    return _arranged(entries)


def _classified(item: Any) -> Any:
    """An item of an index as None, ..., a slice, an int, an ndarray or a traced array; TypeError for others."""
    if item is None or item is Ellipsis or isinstance(item, slice) or type(item) is int:
        return item
    if isinstance(item, list):
        item = asarray(item) if item else DeviceArray(np.zeros(0, np.int64))
    if isinstance(item, Tracer):
        item = item if item.concrete() is None else item.concrete()
    if isinstance(item, DeviceArray) and (type(item) is DeviceArray or not item.shape or item.dtype.kind == "b"):
        item = np.asarray(item)  # integers on a GPU stay there, as long as the result does not depend on them
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, Array | np.ndarray):
        if dtypes.kind(item.dtype) not in "biu":
            raise TypeError(message("indexing: an index array must hold integers or bools", describe(item),
                                    "an integer or bool dtype", ".astype(int), where the values are whole numbers"))
        if isinstance(item, np.ndarray) and not item.shape and item.dtype.kind in "iu":
            return int(item)
        return item
    if isinstance(item, tuple):
        raise TypeError(message("indexing: a tuple in a tuple is not an index", describe(item),
                                "an array, or a tuple of indices", "fnp.array(...) around it"))
    if not isinstance(item, str | float | complex | np.generic) and hasattr(item, "__index__"):
        return operator.index(item)
    raise TypeError(message("indexing: not an index", describe(item), "integers, slices, None, ..., integer arrays, "
                            "boolean masks, or a tuple of them"))


def _with_ellipsis(shape: Shape, items: list[Any]) -> list[Any]:
    """The items with ``...`` replaced by full slices, so that every axis has its item."""
    used = sum(item.ndim if is_mask(item) else 1 for item in items if item is not None and item is not Ellipsis)
    if used > len(shape):
        raise IndexError(message(f"indexing: too many indices: the array has {len(shape)} axes, but {used} were "
                                 "indexed", f"shape {shape}"))
    places = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(places) > 1:
        raise IndexError(message("indexing: an index can have only one ellipsis (...)"))
    full = [slice(None)] * (len(shape) - used)
    if not places:
        return items + full
    return items[:places[0]] + (full or [Ellipsis]) + items[places[0] + 1:]


def is_mask(item: Any) -> bool:
    """True of boolean arrays, traced or not."""
    return isinstance(item, Array | np.ndarray) and item.dtype.kind == "b"


def _mask_positions(mask: Any, shape: Shape, axis: int) -> Sequence[np.ndarray]:
    if not isinstance(mask, np.ndarray):
        raise NonConcreteBooleanIndexError(message(
            "indexing: a traced boolean mask was used as an index, so the shape of the result is unknown",
            describe(mask), "a mask with values",
            "fnp.where(mask, x, 0), x.at[mask].set(scalar), or fnp.nonzero(mask, size=n)"))
    for i, n in enumerate(mask.shape):
        if shape[axis + i] != n:
            raise IndexError(message(
                f"indexing: boolean index did not match the array along axis {axis + i}; size of axis is "
                f"{shape[axis + i]} but size of corresponding boolean axis is {n}",
                f"mask of shape {mask.shape} for shape {shape}"))
    return mask.nonzero()


def _slice_of(item: slice, n: int) -> tuple[int, int, int]:
    try:
        start, stop, step = item.indices(n)
    except ConcretizationTypeError as error:
        raise type(error)(message(
            "indexing: a slice has a traced bound, so the shape of the result is unknown", describe_slice(item),
            "static bounds", "lax.dynamic_slice(x, starts, sizes), or x[start + fnp.arange(size)]")) from None
    except TypeError:
        raise TypeError(message("indexing: the bounds of a slice must be integers or None",
                                describe_slice(item))) from None
    return start, len(range(start, stop, step)), step


def describe_slice(item: slice) -> str:
    """A slice in an error message."""
    return ":".join("" if part is None else describe(part) if isinstance(part, Array) else repr(part)
                    for part in (item.start, item.stop, item.step))


def _arranged(entries: list[Entry]) -> Parts:
    """Places the axes of the arrays where NumPy does: where they stand if they stand together, else in front."""
    arrays = [e for e in entries if e.kind == "array"]
    try:
        broadcast = np.broadcast_shapes(*[e.index.shape for e in arrays])
    except ValueError:
        raise IndexError(message("indexing: the index arrays do not broadcast",
                                 " and ".join(str(e.index.shape) for e in arrays))) from None
    places = [i for i, e in enumerate(entries) if e.kind in ("array", "int")] if arrays else []
    together = bool(places) and places[-1] - places[0] == len(places) - 1
    before = entries[:places[0]] if together else []
    entries = [e for e in entries if e.kind != "gap"]
    sizes = [(e.size, e.kind) for e in entries if e.kind in ("slice", "new")]
    new_before = sum(e.kind in ("slice", "new") for e in before)
    slices_before = sum(e.kind == "slice" for e in before)
    plain = [n for n, kind in sizes if kind == "slice"]
    shape = [n for n, _ in sizes]
    return Parts(entries, arrays, broadcast, new_before, slices_before,
                 (*shape[:new_before], *broadcast, *shape[new_before:]),
                 (*plain[:slices_before], *broadcast, *plain[slices_before:]))


def without_scalar_masks(x: Any, index: Any) -> tuple[Any, Any, bool]:
    """True and False as an index make an axis of size 1 or 0: the same with an array as index of a new axis of x."""
    items = index if type(index) is tuple else (index,)
    if not any(_is_scalar_mask(item) for item in items):
        return x, index, False
    items = _with_ellipsis(x.shape, [np.asarray(_mask_value(item)) if _is_scalar_mask(item) else _classified(item)
                                     for item in items])
    shape, axis, out = list(x.shape), 0, []
    for item in items:
        if is_mask(item) and not item.shape:
            shape.insert(axis, 1)
            item = np.zeros(int(item), np.int64)
        out.append(item)
        axis += 0 if item is None or item is Ellipsis else item.ndim if is_mask(item) else 1
    return reshape(x, shape), tuple(out), True


def _is_scalar_mask(item: Any) -> bool:
    return isinstance(item, bool | np.bool_) or is_mask(item) and not item.shape


def _mask_value(item: Any) -> bool:
    if isinstance(item, Tracer) and item.concrete() is None:
        _mask_positions(item, (), 0)
    return bool(item)


# ---------------------------------------------------------------- index vectors for gather and scatter


def index_vectors(arrays: list[Any], sizes: list[int], axes: list[int], shape: Shape, mode: str,
                  wrap_negative: bool = True) -> tuple[Any, str]:
    """Index arrays side by side along a new last axis, and the mode of gather or scatter for them.

    Arrays with values are checked here; traced ones when the program runs.
    """
    if all(isinstance(a, np.ndarray) for a in arrays):
        if mode == "raise":
            arrays = [_checked(a, n, axis) for a, n, axis in zip(arrays, sizes, axes, strict=True)]
            mode = "promise_in_bounds"
        else:
            arrays = [resolved(a, n, mode, wrap_negative) for a, n in zip(arrays, sizes, strict=True)]
        out = np.empty((*shape, len(arrays)), np.int64)
        for i, a in enumerate(arrays):
            out[..., i] = signed(np, a)
        return DeviceArray(out), "promise_in_bounds" if mode == "wrap" else mode
    if mode == "raise":
        arrays = [_checked(a, n, axis) if isinstance(a, np.ndarray) else a
                  for a, n, axis in zip(arrays, sizes, axes, strict=True)]
    else:
        arrays = [resolved(a, n, mode, wrap_negative) for a, n in zip(arrays, sizes, strict=True)]
    if len({a.dtype for a in arrays}) > 1:
        arrays = [minimum(a, np.uint64(2**63 - 1)) if a.dtype == np.uint64 else a for a in arrays]
        arrays = [convert_element_type(a, "int64") for a in arrays]
    columns = [reshape(broadcast_to(a, shape), (*shape, 1)) for a in arrays]
    return concatenate(columns, len(shape)), "promise_in_bounds" if mode == "wrap" else mode


def _checked(index: np.ndarray, size: int, axis: int) -> np.ndarray:
    if index.size:
        low, high = int(index.min()), int(index.max())
        if low < -size or high >= size:
            raise out_of_bounds(low if low < -size else high, axis, size)
        if low < 0:
            return np.where(index < 0, index + index.dtype.type(size) if index.dtype.itemsize > 4
                            else index.astype(np.int64) + size, index)
    return index


def resolved(index: Any, size: int, mode: str, wrap_negative: bool) -> Any:
    """Indices for the modes that do not raise: negative ones count from the end, "wrap" takes the remainder."""
    if dtypes.kind(index.dtype) == "u" and mode != "wrap" or not wrap_negative:
        return index
    if isinstance(index, np.ndarray):
        index = index.astype(np.int64)
        return index % max(size, 1) if mode == "wrap" else np.where(index < 0, index + size, index)
    index = convert_element_type(index, "int64")
    if mode == "wrap":
        return remainder(index, max(size, 1))
    return select_n(lt(index, 0), index, add(index, size))
