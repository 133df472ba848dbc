"""Windows that move over an array: sums and extremes in each, and the derivatives of extremes.

In: an array, and for every axis the size of the window, its step, padding and dilation. Out: an element for each window.
The derivative of an extreme is that of the first element of the window that has it (padding counts as an element): its
tangent is gathered, and its cotangent scattered, at that element. Both are linear and each is the transpose of the other.

    { lambda ; a:f64[8,28,28,32]. let
        b:f64[8,14,14,32] = reduce_window_max[window=(1, 2, 2, 1) strides=(1, 2, 2, 1) padding=((0, 0), ...) dilation=...] a
      in (b,) }
"""
from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.primitive import LINEAR, NOT_LINEAR, Kind, Linear, Native, Primitive
from funcgrad.core.types import Shape, ShapedArray, Zero, shaped_array, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.reduction import is_narrow
from funcgrad.ops.rules import transpose_first
from funcgrad.ops.structural import broadcast_in_dim, full, moveaxis, pad

Padding = tuple[tuple[int, int], ...]

# ---------------------------------------------------------------- geometry


def reach(size: int, dilation: int) -> int:
    """How many places a window or a dilated array spans."""
    return (size - 1) * dilation + 1 if size else 0


def window_counts(sizes: Sequence[int], windows: Sequence[int], strides: Sequence[int], padding: Padding,
                  dilation: Sequence[int]) -> Shape:
    """How many windows fit along each axis."""
    return tuple([max((n + low + high - reach(k, d)) // s + 1, 0)
                  for n, k, s, (low, high), d in zip(sizes, windows, strides, padding, dilation, strict=True)])


def as_sizes(name: str, what: str, sizes: Any, ndim: int, least: int) -> Shape:
    """A sequence of integers, one for each dimension; None is ones. Raises ValueError if it is none."""
    if sizes is None:
        return (1,) * ndim
    found = tuple(map(operator.index, sizes))
    if len(found) != ndim or any(n < least for n in found):
        raise ValueError(message(f"{name}: {what} must be {'positive' if least else 'nonnegative'} integers, one for each "
                                 "dimension", found, f"{ndim} numbers"))
    return found


def padtype_to_pads(in_shape: Sequence[int], window_shape: Sequence[int], window_strides: Sequence[int],
                    padding: Any) -> list[tuple[int, int]]:
    """The pairs (low, high) that a name stands for: "VALID" none, "SAME" as many windows as steps fit into the input.

    An odd padding has one more at the end, for "SAME_LOWER" at the beginning. Raises ValueError for another name.

    >>> padtype_to_pads((5, 5), (2, 3), (2, 1), "SAME_LOWER")
    [(1, 0), (1, 1)]
    """
    kind = padding.upper() if isinstance(padding, str) else None
    if kind == "VALID":
        return [(0, 0)] * len(in_shape)
    if kind not in ("SAME", "SAME_LOWER"):
        raise ValueError(message("unknown padding", repr(padding), "'VALID', 'SAME' or 'SAME_LOWER'"))
    pads = []
    for n, k, s in zip(in_shape, window_shape, window_strides, strict=True):
        total = max((-(-n // s) - 1) * s + k - n, 0)
        pads.append((total // 2, total - total // 2) if kind == "SAME" else (total - total // 2, total // 2))
    return pads


def as_padding(name: str, padding: Any, sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int]) -> Padding:
    """The user's padding as pairs, for axes of these sizes and windows of these spans. Raises ValueError if it is none."""
    if isinstance(padding, str):
        try:
            return tuple(padtype_to_pads(sizes, spans, strides, padding))
        except ValueError:
            raise ValueError(message(f"{name}: unknown padding", repr(padding),
                                     "'VALID', 'SAME', 'SAME_LOWER' or pairs (low, high)")) from None
    try:
        pads = tuple([(operator.index(low), operator.index(high)) for low, high in padding])
    except (TypeError, ValueError):
        pads = ()
    if len(pads) != len(sizes):
        raise ValueError(message(f"{name}: padding must be a name or a pair for each dimension", repr(padding),
                                 f"'VALID', 'SAME', 'SAME_LOWER' or {len(sizes)} pairs (low, high)"))
    for n, pair in zip(sizes, pads, strict=True):
        if min(pair) < 0 and n + sum(min(p, 0) for p in pair) < 0:
            raise ValueError(message(f"{name}: negative padding cuts off more than there is", f"{pair} of an axis of size {n}"))
    return pads


def padded(x: Any, value: Any, padding: Padding, stretch: Sequence[int]) -> Any:
    """x with its elements ``stretch`` places apart, and padded."""
    return pad(x, value, [(low, high, n - 1) for (low, high), n in zip(padding, stretch, strict=True)])


# ---------------------------------------------------------------- functions


def reduce_window_sum(x: Any, window: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    """The sum in each window; padding is zeros."""
    return reduce_window_sum_p.bind(x, window=window, strides=strides, padding=padding, dilation=dilation)[0]


def reduce_window_max(x: Any, window: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    """The largest element in each window, NaN if there is one; padding is less than all."""
    return reduce_window_max_p.bind(x, window=window, strides=strides, padding=padding, dilation=dilation)[0]


def reduce_window_min(x: Any, window: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    """The smallest element in each window, NaN if there is one; padding is more than all."""
    return reduce_window_min_p.bind(x, window=window, strides=strides, padding=padding, dilation=dilation)[0]


# ---------------------------------------------------------------- evaluation


def extreme(select: str, dtype: np.dtype) -> Any:
    """What padding is: never selected."""
    if dtype.kind == "b":
        return dtype.type(select == "min")
    if dtypes.kind(dtype) in "iu":
        return dtype.type(np.iinfo(dtype).min if select == "max" else np.iinfo(dtype).max)
    return dtype.type(-np.inf if select == "max" else np.inf)


def inside(xp: Any, x: Any, value: Any, padding: Padding) -> Any:
    """x padded with a value, or cut where the padding is negative."""
    x = x[tuple([slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(x.shape, padding, strict=True)])]
    wide = [(max(low, 0), max(high, 0)) for low, high in padding]
    if not any(map(any, wide)):
        return x
    out = xp.full([low + n + high for n, (low, high) in zip(x.shape, wide, strict=True)], value, x.dtype)
    out[tuple([slice(low, low + n) for n, (low, _) in zip(x.shape, wide, strict=True)])] = x
    return out


def places(window: Shape, counts: Shape, strides: Shape, dilation: Shape) -> Iterator[tuple[tuple[int, ...], tuple]]:
    """Each place in a window, and the slices of the padded array that the windows have there."""
    for k in itertools.product(*map(range, window)):
        yield k, tuple([slice(i * d, i * d + (n - 1) * s + 1 if n else 0, s)
                     for i, d, n, s in zip(k, dilation, counts, strides, strict=True)])


def _reduced(combine: str, identity: Callable) -> Callable:
    """The implementation of a reduction over windows."""

    def impl(xp: Any, x: Any, *, window: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
        dtype, wide = x.dtype, np.dtype(np.float32) if is_narrow(x.dtype) else x.dtype
        counts = window_counts(x.shape, window, strides, padding, dilation)
        out = xp.full(counts, identity(wide), wide)
        if out.size:
            x = inside(xp, x.astype(wide), identity(wide), padding)
            for _, place in places(window, counts, strides, dilation):
                getattr(xp, combine)(out, x[place], out=out)
        return out.astype(dtype)

    return impl


def _selected(xp: Any, x: Any, select: str, slices: list[tuple], counts: Shape) -> Any:
    """Which place of each window has its extreme first."""
    best, which = xp.full(counts, extreme(select, x.dtype), x.dtype), xp.zeros(counts, np.int32)
    for k, place in enumerate(slices):
        v = x[place]
        better = (v > best if select == "max" else v < best) | (v != v) & (best == best)  # noqa: PLR0124  NaN
        best, which = xp.where(better, v, best), xp.where(better, np.int32(k), which)
    return which


def select_and_gather_add_impl(xp: Any, values: Any, x: Any, *, select: str, window: Shape, strides: Shape, padding: Padding,
                               dilation: Shape) -> Any:
    counts = window_counts(x.shape, window, strides, padding, dilation)
    out = xp.zeros(counts, values.dtype)
    if not out.size:
        return out
    slices = [place for _, place in places(window, counts, strides, dilation)]
    which = _selected(xp, inside(xp, x, extreme(select, x.dtype), padding), select, slices, counts)
    values = inside(xp, values, 0, padding)
    for k, place in enumerate(slices):
        out = xp.where(which == k, values[place], out)
    return out.astype(values.dtype, copy=False)


def select_and_scatter_add_impl(xp: Any, source: Any, x: Any, *, select: str, window: Shape, strides: Shape, padding: Padding,
                                dilation: Shape) -> Any:
    wide = np.dtype(np.float32) if is_narrow(source.dtype) else source.dtype
    counts = source.shape
    slices = [place for _, place in places(window, counts, strides, dilation)]
    full_shape = [n + max(low, 0) + max(high, 0) for n, (low, high) in zip(x.shape, padding, strict=True)]
    out = xp.zeros(full_shape, wide)
    target = out[tuple([slice(max(-low, 0), n - max(-high, 0)) for n, (low, high) in zip(full_shape, padding, strict=True)])]
    if source.size:
        which = _selected(xp, inside(xp, x, extreme(select, x.dtype), padding), select, slices, counts)
        for k, place in enumerate(slices):
            target[place] += xp.where(which == k, source, source.dtype.type(0))
    kept = tuple([slice(max(low, 0), max(low, 0) + n) for n, (low, _) in zip(x.shape, padding, strict=True)])
    return out[kept].astype(source.dtype)


# ---------------------------------------------------------------- rules


def _window_shape(x: ShapedArray, *, window: Shape, strides: Shape, padding: Padding, dilation: Shape) -> ShapedArray:
    return shaped_array(window_counts(x.shape, window, strides, padding, dilation), x.dtype)


def _gather_shape(values: ShapedArray, x: ShapedArray, *, select: str, **geometry: Any) -> ShapedArray:
    if values.shape != x.shape:
        raise TypeError(f"select_and_gather_add takes arrays of one shape, not {values} and {x}")
    return shaped_array(_window_shape(x, **geometry).shape, values.dtype)


def _scatter_shape(source: ShapedArray, x: ShapedArray, *, select: str, **geometry: Any) -> ShapedArray:
    if source.shape != _window_shape(x, **geometry).shape:
        raise TypeError(f"select_and_scatter_add takes an element for each window of {x}, not {source}")
    return shaped_array(x.shape, source.dtype)


def _sum_transpose(ct: Any, x: ShapedArray, *, window: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    """Each element of x receives the cotangents of the windows it is in: a sum over a window, the steps being zeros."""
    if not math.prod(ct.shape):
        return full(x.shape, ct.dtype.type(0))
    spans = [reach(k, d) for k, d in zip(window, dilation, strict=True)]
    pads = [(span - 1 - low, n + low - reach(count, s))
            for n, span, (low, _), count, s in zip(x.shape, spans, padding, ct.shape, strides, strict=True)]
    wide = padded(ct, ct.dtype.type(0), tuple(pads), strides)
    ones = (1,) * len(window)
    return reduce_window_sum(wide, window, ones, ((0, 0),) * len(window), dilation)


def _extreme_jvp(select: str) -> Callable:
    def jvp(primals: tuple, tangents: tuple, **geometry: Any) -> tuple:
        x, = primals
        out, = EXTREMES[select].bind(x, **geometry)
        return (out,), select_and_gather_add_p.bind(tangents[0], x, select=select, **geometry)

    return jvp


def _linear_in_values(primitive: Callable) -> Callable:
    """The derivative of a selection of values: where they are taken from is piecewise constant."""

    def jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
        out, = primitive().bind(*primals, **params)
        if type(tangents[0]) is Zero:
            return (out,), (Zero(tangent_aval(out.aval)),)
        return (out,), primitive().bind(tangents[0], primals[1], **params)

    return jvp


def _other_way(primitive: Callable) -> Callable:
    def transpose(cotangents: tuple, values: Any, x: Any, **params: Any) -> tuple:
        assert isinstance(values, Linear)
        return primitive().bind(cotangents[0], x, **params)[0], None

    return transpose


def _batch_rule(primitive: Callable) -> Callable:
    """The batch is one more axis, on which nothing is done."""

    def batch(axis: Any, args: tuple, axes: tuple, *, window: Shape, strides: Shape, padding: Padding, dilation: Shape,
              **params: Any) -> tuple:
        args = tuple([broadcast_in_dim(v, (axis.size, *v.shape), range(1, v.ndim + 1)) if d is None else moveaxis(v, d, 0)
                      for v, d in zip(args, axes, strict=True)])
        return primitive().bind(*args, window=(1, *window), strides=(1, *strides), padding=((0, 0), *padding),
                                dilation=(1, *dilation), **params), (0,)

    return batch


def _window_flops(ins: Sequence, outs: Sequence, *, window: Shape, **_: Any) -> int:
    return outs[0].size * math.prod(window)


reduce_window_sum_p = Primitive(
    "reduce_window_sum", Kind.OPAQUE, _window_shape, _reduced("add", lambda dtype: dtype.type(0)), LINEAR,
    transpose_first(_sum_transpose), _batch_rule(lambda: reduce_window_sum_p), code=Native("reduce_window", combine="sum"),
    flops=_window_flops)
reduce_window_max_p = Primitive(
    "reduce_window_max", Kind.OPAQUE, _window_shape, _reduced("maximum", lambda dtype: extreme("max", dtype)),
    _extreme_jvp("max"), NOT_LINEAR, _batch_rule(lambda: reduce_window_max_p), code=Native("reduce_window", combine="max"),
    flops=_window_flops)
reduce_window_min_p = Primitive(
    "reduce_window_min", Kind.OPAQUE, _window_shape, _reduced("minimum", lambda dtype: extreme("min", dtype)),
    _extreme_jvp("min"), NOT_LINEAR, _batch_rule(lambda: reduce_window_min_p), code=Native("reduce_window", combine="min"),
    flops=_window_flops)
select_and_gather_add_p = Primitive(
    "select_and_gather_add", Kind.OPAQUE, _gather_shape, select_and_gather_add_impl,
    _linear_in_values(lambda: select_and_gather_add_p), _other_way(lambda: select_and_scatter_add_p),
    _batch_rule(lambda: select_and_gather_add_p), code=Native("select_and_gather_add"))
select_and_scatter_add_p = Primitive(
    "select_and_scatter_add", Kind.OPAQUE, _scatter_shape, select_and_scatter_add_impl,
    _linear_in_values(lambda: select_and_scatter_add_p), _other_way(lambda: select_and_gather_add_p),
    _batch_rule(lambda: select_and_scatter_add_p), code=Native("select_and_scatter_add"))
EXTREMES = {"max": reduce_window_max_p, "min": reduce_window_min_p}
