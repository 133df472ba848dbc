"""Statistics of samples: the most frequent value, ranks, and the standard error of the mean.

In: arrays. Out: arrays.

    >>> rankdata(fnp.array([10, 30, 20, 30]))
    Array([1. , 3.5, 2. , 3.5], dtype=float64)
"""
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.core.array import Array
from funcgrad.errors import message
from funcgrad.transforms.batching import vmap


class ModeResult(NamedTuple):
    """The most frequent values, and how often they occur."""

    mode: Array
    count: Array


def mode(a: Any, axis: int | None = 0, nan_policy: str = "propagate", keepdims: bool = False) -> ModeResult:
    """The most frequent value along an axis (None: of all), the least of several, and its count.

    NaNs count as equal values; the mode of nothing is NaN. Raises NotImplementedError for the policies "omit" and
    "raise", ValueError for others than "propagate".

    >>> mode(fnp.array([3, 1, 3, 1, 2]))
    ModeResult(mode=Array(1, dtype=int64), count=Array(2, dtype=int64))
    """
    _check_policy("mode", nan_policy)
    a = fnp.atleast_1d(fnp.asarray(a))
    shape = [1] * a.ndim
    if axis is not None:
        axis = range(a.ndim)[axis]
        shape = [1 if i == axis else n for i, n in enumerate(a.shape)]
    rows = a.reshape(1, -1) if axis is None else fnp.moveaxis(a, axis, -1).reshape(math.prod(shape), a.shape[axis])
    found, counts = vmap(_mode)(rows) if a.size else (np.full(len(rows), np.nan), np.zeros(len(rows), np.int64))
    if not keepdims:
        shape = [n for i, n in enumerate(shape) if axis is not None and i != axis]
    return ModeResult(fnp.reshape(found, shape), fnp.reshape(counts, shape))


def _mode(row: Any) -> tuple[Any, Any]:
    ordered = fnp.sort(row)
    counts = fnp.searchsorted(ordered, ordered, side="right") - fnp.searchsorted(ordered, ordered, side="left")
    at = fnp.argmax(counts)
    return ordered[at], counts[at]


def rankdata(a: Any, method: str = "average", *, axis: int | None = None, nan_policy: str = "propagate") -> Any:
    """The ranks of elements along an axis, from 1 on; by default of all elements, as a vector. NaN if there is a NaN.

    Equal elements have the "average" of their ranks, or their "min" or "max"; "dense" ranks leave none out; "ordinal" ones are
    all different. Raises ValueError for another method or policy, NotImplementedError for the policies "omit" and "raise".

    >>> rankdata(fnp.array([10, 30, 20, 30]), "dense")
    Array([1., 3., 2., 3.], dtype=float64)
    """
    _check_policy("rankdata", nan_policy)
    if method not in ("average", "min", "max", "dense", "ordinal"):
        raise ValueError(message("rankdata: unknown method", repr(method), "'average', 'min', 'max', 'dense' or 'ordinal'"))
    a = fnp.asarray(a)
    if axis is None:
        return _ranks(a.ravel(), method)
    rows = fnp.moveaxis(a, axis, -1)
    found = vmap(lambda row: _ranks(row, method))(rows.reshape(-1, rows.shape[-1]))
    return fnp.moveaxis(found.reshape(rows.shape), -1, axis)


def _ranks(row: Any, method: str) -> Any:
    if row.size == 0:
        return fnp.zeros(0)
    ordered = fnp.sort(row)
    left, right = (fnp.searchsorted(ordered, row, side=side) for side in ("left", "right"))
    if method == "ordinal":
        ranks = fnp.argsort(fnp.argsort(row, stable=True)) + 1
    elif method == "dense":
        new = fnp.concatenate([fnp.ones(1, bool), ordered[1:] != ordered[:-1]])
        ranks = fnp.cumsum(new)[left]
    else:
        ranks = {"min": left + 1, "max": right, "average": 0.5 * (left + right + 1)}[method]
    ranks = ranks.astype(np.float64)
    return fnp.where(fnp.any(fnp.isnan(row)), np.nan, ranks) if row.dtype.kind in "fc" else ranks


def sem(a: Any, axis: int | None = 0, ddof: int = 1, nan_policy: str = "propagate", *, keepdims: bool = False) -> Any:
    """The standard error of the mean along an axis (None: of all): the standard deviation over the root of the count.

    With the policy "omit", NaNs do not count. Raises NotImplementedError for the policy "raise", ValueError for unknown ones.

    >>> sem(fnp.array([1.0, 2.0, 3.0]))
    Array(0.57735027, dtype=float64)
    """
    a = fnp.asarray(a)
    if nan_policy == "omit":
        count = fnp.sum(~fnp.isnan(a), axis=axis, keepdims=keepdims)
        return fnp.nanstd(a, axis, ddof=ddof, keepdims=keepdims) / fnp.sqrt(count.astype(a.dtype))
    _check_policy("sem", nan_policy)
    count = a.size if axis is None else a.shape[axis]
    return fnp.std(a, axis, ddof=ddof, keepdims=keepdims) / np.sqrt(count).item()


def _check_policy(name: str, policy: str) -> None:
    if policy in ("omit", "raise"):
        raise NotImplementedError(message(f"{name}: this policy for NaNs is not there", f"nan_policy={policy!r}",
                                          "nan_policy='propagate'", "a test of fnp.isnan(a) before the call"))
    if policy != "propagate":
        raise ValueError(message(f"{name}: unknown policy for NaNs", repr(policy), "'propagate', 'omit' or 'raise'"))
