"""Sorting and searching as NumPy names them.

In: arrays. Out: sorted arrays, or positions. NaNs come last, and equal elements keep their order. Sorting is
differentiable: a gradient goes to the place its element came from. Positions are integers and have no derivative.

    >>> import funcgrad.numpy as fnp
    >>> fnp.argsort(fnp.array([3, 1, 2]))
    Array([1, 2, 0], dtype=int64)
"""
from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.errors import message
from funcgrad.ops import sorting as s
from funcgrad.ops.elementwise import ge, subtract
from funcgrad.ops.promotion import result_type_of, unary_arg
from funcgrad.ops.reduction import as_axis
from funcgrad.ops.structural import convert_element_type, full, iota, reshape, rev, select_n_p, slice_in_dim


def _line(name: str, a: Any, axis: int | None) -> tuple[Any, int]:
    """The array and its axis; None stands for the flattened array."""
    x = unary_arg(name, a)
    x = convert_element_type(x, x.dtype)
    if axis is None:
        return reshape(x, (math.prod(x.shape),)), 0
    return x, as_axis(name, axis, len(x.shape))


def _refuse(name: str, kind: None, order: None) -> None:
    if kind is not None or order is not None:
        raise TypeError(message(f"{name}: the arguments kind and order are not supported", f"kind={kind!r}, "
                                f"order={order!r}", "None: sorting is always stable"))


def sort(a: Any, axis: int | None = -1, *, kind: None = None, order: None = None, stable: bool = True,
         descending: bool = False) -> Any:
    """The elements in increasing (or decreasing) order along an axis; of the flattened array if axis is None.

    ``stable`` is accepted for compatibility: the order of equal elements is always kept. NaNs come last, or first
    when descending. ``kind`` and ``order`` must be None.
    """
    _refuse("sort", kind, order)
    x, axis = _line("sort", a, axis)
    out, = s.sort_p.bind(x, dimension=axis, num_keys=1)
    return rev(out, (axis,)) if descending else out


def argsort(a: Any, axis: int | None = -1, *, kind: None = None, order: None = None, stable: bool = True,
            descending: bool = False, dtype: Any = None) -> Any:
    """The positions that sort the array along an axis, int64 or of the dtype given; arguments as for ``sort``."""
    _refuse("argsort", kind, order)
    x, axis = _line("argsort", a, axis)
    return s.argsort(x, axis, descending, np.int64 if dtype is None else dtypes.as_dtype(dtype))


def lexsort(keys: Any, axis: int = -1) -> Any:
    """The positions (int64) that sort by several keys of one shape: by the last, at its ties by the one before, ...

    ``keys`` is a sequence of arrays, or an array whose first axis is that sequence.
    """
    if isinstance(keys, (Array, np.ndarray)):
        keys = [reshape(slice_in_dim(keys, i, i + 1), keys.shape[1:]) for i in range(keys.shape[0])]
    keys = [unary_arg("lexsort", k) for k in keys]
    if not keys:
        raise TypeError(message("lexsort: need sequence of keys with len > 0", "no keys"))
    if len({k.shape for k in keys}) > 1:
        raise ValueError(message("lexsort: all keys need to be the same shape", ", ".join(map(describe, keys))))
    if not keys[0].shape:
        return full((), 0, np.int64)
    axis = as_axis("lexsort", axis, len(keys[0].shape))
    positions = iota(np.int64, keys[0].shape, axis)
    return s.sort_p.bind(*keys[::-1], positions, dimension=axis, num_keys=len(keys))[-1]


def partition(a: Any, kth: int, axis: int = -1) -> Any:
    """The elements so ordered that the k-th stands where sorting puts it, with none larger before it.

    The array is sorted, which is one such order.
    """
    x, axis = _line("partition", a, axis)
    as_axis("partition", kth, x.shape[axis])
    return s.sort_p.bind(x, dimension=axis, num_keys=1)[0]


def argpartition(a: Any, kth: int, axis: int = -1) -> Any:
    """The positions (int32) that give ``partition``."""
    x, axis = _line("argpartition", a, axis)
    as_axis("argpartition", kth, x.shape[axis])
    return s.argsort(x, axis, index_dtype=np.int32)


def sort_complex(a: Any) -> Any:
    """The elements, made complex, in order of their real and then their imaginary parts, along the last axis."""
    x, axis = _line("sort_complex", a, -1)
    x = convert_element_type(x, dtypes.complex_dtype(dtypes.inexact_dtype(x.dtype)))
    return s.sort_p.bind(x, dimension=axis, num_keys=1)[0]


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None, *, method: str = "scan") -> Any:
    """Where the elements of v would be inserted into the sorted vector a.

    Args:
      a: a vector in increasing order, or in the order given by ``sorter``.
      v: an array of any shape.
      side: "left" for the first such position, "right" for the last.
      sorter: integers that sort a, as from ``argsort``.
      method: accepted for compatibility.

    Returns integers (int64) of the shape of v.
    """
    if side not in ("left", "right"):
        raise ValueError(message("searchsorted: unknown side", repr(side), "'left' or 'right'"))
    if method not in ("scan", "scan_unrolled", "sort", "compare_all", "default"):
        raise ValueError(message("searchsorted: unknown method", repr(method)))
    table, x = unary_arg("searchsorted", a), unary_arg("searchsorted", v)
    if len(table.shape) != 1:
        raise ValueError(message("searchsorted: a should be 1-dimensional", describe(table), "a sorted vector",
                                 "fg.vmap(fnp.searchsorted) for one vector an example"))
    if sorter is not None:
        table = s.take_along(table, unary_arg("searchsorted", sorter), 0)
    dtype = result_type_of("searchsorted", (table, x))[0]
    return s.searchsorted(convert_element_type(table, dtype), convert_element_type(x, dtype), side, np.dtype("int64"))


def digitize(x: Any, bins: Any, right: bool = False, *, method: str | None = None) -> Any:
    """The number (int64) of the bin that each element of x falls into.

    Args:
      x: an array.
      bins: a vector of edges, increasing or decreasing. Bin i is ``bins[i-1] <= x < bins[i]``.
      right: close the bins at the other end: ``bins[i-1] < x <= bins[i]``.
    """
    side = "left" if operator.truth(right) else "right"
    edges = unary_arg("digitize", bins)
    if len(edges.shape) != 1:
        raise ValueError(message("digitize: bins must be a 1-dimensional array", describe(edges)))
    n = edges.shape[0]
    if n < 2:
        return searchsorted(edges, x, side)
    up = searchsorted(edges, x, side)
    down = subtract(n, searchsorted(rev(edges, (0,)), x, side))
    increasing = ge(reshape(slice_in_dim(edges, n - 1, n), ()), reshape(slice_in_dim(edges, 0, 1), ()))
    return select_n_p.bind(increasing, down, up)[0]
