"""Pools: windows that move over the spatial axes of ``x[..., *S, C]`` and keep their largest element or their mean.

    MaxPool((2, 2))({}, x)                                # float32[8,32,32,3] -> float32[8,16,16,3]
    AdaptiveAvgPool((1, 1))({}, x)                        # float32[8,32,32,3] -> float32[8,1,1,3]
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.nn.spatial import Padding, Pairs, Sizes, Spatial


@dataclass(frozen=True)
class _Pool(Spatial):
    """The geometry of a pool; a subclass reduces the windows."""

    window: tuple[int, ...]
    strides: Sizes | None = None
    padding: Padding = "VALID"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuple("window")
        self._geometry(self.window)

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return len(self.window)

    def _geometry(self, sizes: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], Pairs]:
        """Windows, strides and padding for all axes of an array with one batch axis and these spatial sizes."""
        window = self.sizes("window")
        strides = window if self.strides is None else self.sizes("strides")
        pads = self.pads(self.padding)
        if pads == "VALID":
            pads = ((0, 0),) * self.ndim
        elif pads == "SAME":
            total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, window, strides, strict=True)]
            pads = tuple([(n // 2, n - n // 2) for n in total])
        if any(not 0 <= n < k for k, pair in zip(window, pads, strict=True) for n in pair):
            self.fail("padding does not fit the window", repr(self.padding), f"numbers from 0 on, less than the window "
                      f"{self.window}: else there are windows of nothing but padding")
        return (1, *window, 1), (1, *strides, 1), ((0, 0), *pads, (0, 0))


class MaxPool(_Pool):
    """The largest element of each window, channel by channel.

    x: shape (..., *S, C), with as many spatial axes as ``window`` has entries and any number of batch axes. The gradient goes
    to the first of equal elements.

    Args:
      window: the size along each spatial axis, such as (2, 2).
      strides: an integer, or one for each spatial axis; the window unless given.
      padding: "VALID", "SAME", an integer, or for each spatial axis an integer or a pair (low, high); padding is
        never the largest.

    Raises ValueError for sizes that do not fit.

    >>> MaxPool((2,))({}, fnp.array([[1.], [3.], [2.], [0.]]))
    Array([[3.],
           [2.]], dtype=float64)
    """

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        self.check_axes(x)
        x = fnp.asarray(x)
        y = _largest(self.merged(x), *self._geometry(x.shape[-1 - self.ndim:-1]))
        return self.split(y, x), state


@dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean of each window, channel by channel. x and arguments as for ``MaxPool``.

    Padding counts as zeros, unless ``count_include_pad=False``: then the mean is that of the elements of x in the window.

    >>> x = fnp.array([[1.], [3.], [2.]])
    >>> AvgPool((2,), padding="SAME")({}, x)[:, 0], AvgPool((2,), padding="SAME", count_include_pad=False)({}, x)[:, 0]
    (Array([2., 1.], dtype=float64), Array([2., 2.], dtype=float64))
    """

    count_include_pad: bool = True

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        self.check_axes(x)
        x = fnp.asarray(x)
        dtype, sizes = _mean_dtype(x), x.shape[-1 - self.ndim:-1]
        x = x.astype(fnp.promote_types(dtype, np.float32))  # a sum may be too large for a float16 that holds the mean
        window, strides, pads = self._geometry(sizes)
        y = self.split(lax.reduce_window(self.merged(x), 0, lax.add, window, strides, pads), x)
        count: Any = math.prod(window)
        if not self.count_include_pad:
            count = _counts(sizes, y.shape[-1 - self.ndim:-1], window, strides, pads).astype(y.dtype)
        return (y / count).astype(dtype), state


@dataclass(frozen=True)
class _Adaptive(Spatial):
    """A pool whose result has given sizes."""

    output_size: tuple[int | None, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_tuple("output_size")
        if not all(n is None or n > 0 for n in self.output_size):
            self.fail("output_size does not fit", repr(self.output_size), "positive integers, or None to keep a size")

    @property
    def ndim(self) -> int:  # type: ignore[override]
        return len(self.output_size)

    def _bins(self, x: Any) -> list[tuple[int, int, int]]:
        """For each spatial axis of x[N, *S, C]: its position, size and size in the result."""
        if 0 in x.shape[1:-1]:
            self.fail("x has no elements along a spatial axis", f"x of shape {x.shape}")
        return [(d, n, n if m is None else m) for d, (n, m) in enumerate(zip(x.shape[1:-1], self.output_size, strict=True), 1)]


class AdaptiveAvgPool(_Adaptive):
    """Means over as many windows as ``output_size`` tells, channel by channel; (1, 1) is the mean of all.

    x: shape (..., *S, C), with as many spatial axes as ``output_size`` has entries; None keeps a size. Window i of m of an axis
    of size n goes from ``floor(i * n / m)`` up to ``ceil((i + 1) * n / m)``; windows overlap where m does not divide n.

    >>> AdaptiveAvgPool((2,))({}, fnp.arange(5.)[:, None])
    Array([[1.],
           [3.]], dtype=float64)
    """

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        self.check_axes(x)
        x = fnp.asarray(x)
        y = self.merged(x.astype(_mean_dtype(x)))
        bins = self._bins(y)
        even = [(m, n // m) if n % m == 0 else (n, 1) for _, n, m in bins]
        y = fnp.mean(fnp.reshape(y, (y.shape[0], *[n for pair in even for n in pair], y.shape[-1])),
                     tuple(range(2, 2 * self.ndim + 1, 2)))
        for d, n, m in bins:
            if n % m:
                y = fnp.moveaxis(fnp.tensordot(y, _averages(n, m).astype(y.dtype), ((d,), (1,))), -1, d)
        return self.split(y, x), state


class AdaptiveMaxPool(_Adaptive):
    """The largest elements of as many windows as ``output_size`` tells, which lie as for ``AdaptiveAvgPool``.

    >>> AdaptiveMaxPool((2,))({}, fnp.arange(5.)[:, None])
    Array([[2.],
           [4.]], dtype=float64)
    """

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        self.check_axes(x)
        x = fnp.asarray(x)
        y = self.merged(x)
        window = [1] * y.ndim
        for d, n, m in self._bins(y):
            first, last = _bounds(n, m)
            window[d] = int(max(last - first))
            if n % m:
                # The windows side by side, those that are shorter with their last element repeated.
                places = np.minimum(first[:, None] + np.arange(window[d]), last[:, None] - 1)
                y = fnp.take(y, places.ravel(), d)
        return self.split(_largest(y, window, window, "VALID"), x), state


def _largest(x: Any, window: Any, strides: Any, padding: Any) -> Any:
    least: Any = -np.inf
    if x.dtype.kind in "iu":
        least = fnp.iinfo(x.dtype).min
    elif x.dtype.kind == "b":
        least = False
    return lax.reduce_window(x, least, lax.max, window, strides, padding)


def _counts(sizes: Any, results: Any, window: Any, strides: Any, pads: Any) -> np.ndarray:
    """How many elements of x each window has: [*T, 1]."""
    total = np.ones((1,))
    for n, m, k, s, (low, _) in zip(reversed(sizes), reversed(results), window[-2::-1], strides[-2::-1], pads[-2::-1],
                                    strict=False):
        first = np.arange(m) * s - low
        total = (np.minimum(first + k, n) - np.maximum(first, 0)).reshape(m, *[1] * total.ndim) * total
    return total


def _bounds(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of m windows of an axis of size n begins, and where it has ended."""
    i = np.arange(m)
    return i * n // m, -((i + 1) * -n // m)


def _averages(n: int, m: int) -> np.ndarray:
    """The matrix that takes n elements to the means of m windows."""
    first, last = _bounds(n, m)
    places = np.arange(n)
    inside = (places >= first[:, None]) & (places < last[:, None])
    return inside / (last - first)[:, None]


def _mean_dtype(x: Any) -> Any:
    """The dtype of a mean of x: its own unless it is an integer."""
    return x.dtype if fnp.issubdtype(x.dtype, fnp.inexact) else np.float64

