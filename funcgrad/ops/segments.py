"""Sums and other reductions of the rows of an array by segment.

In: data whose rows belong to segments, and the number of the segment of each row. Out: an array with a row for each segment.

    >>> import funcgrad.numpy as fnp
    >>> segment_sum(fnp.array([1., 2., 3., 4.]), fnp.array([0, 0, 2, 2]), num_segments=3)
    Array([3., 0., 7.], dtype=float64)
"""
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.trace import Tracer
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.ops.index_maps import ScatterDimensionNumbers
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import highest, lowest
from funcgrad.ops.scatter import scatter_add, scatter_max, scatter_min, scatter_mul
from funcgrad.ops.structural import expand_dims, full


def _by_segment(name: str, update: Callable, identity: Callable, doc: str) -> Callable:
    """A reduction by segment: ``update`` combines rows, a segment without rows has the identity of the dtype."""

    def function(data: Any, segment_ids: Any, num_segments: int | None = None, indices_are_sorted: bool = False,
                 unique_indices: bool = False, bucket_size: int | None = None, mode: Any = None) -> Any:
        data, ids = unary_arg(name, data), unary_arg(name, segment_ids)
        if ids.dtype.kind not in "iu" or len(ids.shape) != 1 or data.shape[:1] != ids.shape:
            raise TypeError(message(f"{name}: the segments do not fit the data", f"{describe(ids)} for {describe(data)}",
                                    "a vector of integers, one for each row"))
        count = _count(name, ids) if num_segments is None else operator.index(num_segments)
        rest = data.shape[1:]
        dn = ScatterDimensionNumbers(tuple(range(1, len(data.shape))), (0,), (0,))
        return update(full((count, *rest), identity(data.dtype), data.dtype), expand_dims(ids, (1,)), data, dn,
                      indices_are_sorted=indices_are_sorted, unique_indices=unique_indices, mode=mode)

    function.__name__ = function.__qualname__ = name
    function.__module__ = __name__
    function.__doc__ = f"""{doc} The rows of data, of shape (n, ...), are those with one number in segment_ids, of shape (n,).

    Args:
      num_segments: how many there are, the size of the result along its first axis; by default as many as the values of
        segment_ids, which must then not be traced by jit or vmap, ask for.
      indices_are_sorted, bucket_size: accepted for compatibility.
      unique_indices: promises that no number occurs twice.
      mode: what happens to a row whose number is out of bounds: None and "drop" leave it out, "clip" takes the next segment,
        "raise" raises IndexError.

    Raises TypeError if segment_ids are not integers, one for each row.
    """
    return function


def _count(name: str, ids: Any) -> int:
    values = ids.concrete() if isinstance(ids, Tracer) else ids
    if values is None:
        raise ConcretizationTypeError(message(f"{name}: the number of segments depends on traced values", describe(ids), None,
                                              "num_segments=..."))
    return int(np.max(np.asarray(values), initial=-1)) + 1


segment_sum = _by_segment("segment_sum", scatter_add, lambda dtype: 0, "The sum of the rows of each segment; 0 for none.")
segment_prod = _by_segment("segment_prod", scatter_mul, lambda dtype: 1, "The product of the rows of each segment; 1 for none. "
                           "It has derivatives only with unique_indices=True, and raises without.")
segment_max = _by_segment("segment_max", scatter_max, lowest,
                          "The maximum of the rows of each segment; the least value for none.")
segment_min = _by_segment("segment_min", scatter_min, highest,
                          "The minimum of the rows of each segment; the greatest value for none.")
