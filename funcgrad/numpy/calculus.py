"""Differences, gradients and integrals of samples, and interpolation between them.

In: arrays of samples. Out: arrays.

    >>> import funcgrad.numpy as fnp
    >>> fnp.interp(1.5, fnp.arange(3.), fnp.array([0., 10., 40.]))
    Array(25., dtype=float64)
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.manipulation import concatenate, moveaxis, ravel
from funcgrad.numpy.selection import take, where
from funcgrad.numpy.sorting import argsort, searchsorted
from funcgrad.numpy.ufuncs import real_arg
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import (
    abs,
    add,
    bitwise_and,
    eq,
    gt,
    le,
    lt,
    maximum,
    minimum,
    multiply,
    ne,
    neg,
    remainder,
    subtract,
    true_divide,
)
from funcgrad.ops.promotion import inexact_arg, promote_args, unary_arg
from funcgrad.ops.reduction import as_axis, cumsum


def _between(x: Any, start: int, stop: int | None, axis: int) -> Any:
    """``x[start:stop]`` along an axis; a negative stop counts from the end."""
    n = x.shape[axis]
    return s.slice_in_dim(x, start, n if stop is None else stop + n if stop < 0 else stop, axis=axis)


def _step(x: Any, axis: int) -> Any:
    """``x[i + 1] - x[i]`` along an axis; for bools, whether they differ."""
    function = ne if x.dtype.kind == "b" else subtract
    return function(_between(x, 1, None, axis), _between(x, 0, -1, axis))


def diff(a: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """The n-th differences along an axis, with ``prepend`` and ``append`` joined first: arrays, or numbers."""
    a = unary_arg("diff", a)
    if n < 0:
        raise ValueError(message("diff: the order is negative", f"n={n}", "n >= 0"))
    if n == 0:
        return a
    if not a.shape:
        raise ValueError(message("diff: an array with an axis is needed", describe(a)))
    axis = as_axis("diff", axis, len(a.shape))
    parts = []
    for x in (prepend, a, append):
        if x is not None:
            x = unary_arg("diff", x)
            parts.append(x if x.shape else s.broadcast_to(x, a.shape[:axis] + (1,) + a.shape[axis + 1:]))
    x = concatenate(parts, axis) if len(parts) > 1 else a
    for _ in range(n):
        x = _step(x, axis) if x.shape[axis] else x
    return x


def ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """The differences of the elements of ary, flat, between ``to_begin`` and ``to_end``; in ary's dtype."""
    x = ravel(ary)
    ends = [None if end is None else s.convert_element_type(ravel(end), x.dtype) for end in (to_begin, to_end)]
    parts = [ends[0], _step(x, 0) if x.size else x, ends[1]]
    return s.concatenate([p for p in parts if p is not None], 0)


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int | None = None) -> Any:
    """The derivative of samples along each axis, or those named, by central differences, one-sided at the ends.

    ``varargs`` is the distance of samples: nothing (1), one for all axes, or one for each; a number, or a vector of
    coordinates. Returns one array, or a list of them for several axes.
    """
    f = inexact_arg("gradient", f)
    if edge_order not in (None, 1):
        raise NotImplementedError(message("gradient: only first order at the ends", f"edge_order={edge_order}", "1"))
    given = range(len(f.shape)) if axis is None else [axis] if isinstance(axis, int | np.integer) else axis
    axes = [as_axis("gradient", i, len(f.shape)) for i in given]
    if len(varargs) not in (0, 1, len(axes)):
        raise TypeError(message("gradient: distances and axes do not match",
                                f"{len(varargs)} distances, {len(axes)} axes", "none, one, or one for each axis"))
    distances = [1.0] * len(axes) if not varargs else varargs * len(axes) if len(varargs) == 1 else varargs
    if any(f.shape[i] < 2 for i in axes):
        raise ValueError(message("gradient: too few samples", describe(f), "at least 2 along each axis"))
    out = [_central(f, i, unary_arg("gradient", h)) for i, h in zip(axes, distances, strict=True)]
    return out[0] if len(out) == 1 else out


def _central(f: Any, axis: int, h: Any) -> Any:
    step = _step(f, axis)
    if not h.shape:
        slope = true_divide(step, h)
        inner = multiply(add(_between(slope, 1, None, axis), _between(slope, 0, -1, axis)), 0.5)
    else:
        width = s.reshape(_step(h, 0), [-1 + h.size if i == axis else 1 for i in range(len(f.shape))])
        slope = true_divide(step, width)
        left, right = _between(width, 0, -1, axis), _between(width, 1, None, axis)
        weighted = add(multiply(_between(slope, 0, -1, axis), right), multiply(_between(slope, 1, None, axis), left))
        inner = true_divide(weighted, add(left, right))
    return concatenate([_between(slope, 0, 1, axis), inner, _between(slope, slope.shape[axis] - 1, None, axis)], axis)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """The integral of samples y along an axis by the trapezoidal rule, at coordinates x or at distances dx."""
    y = inexact_arg("trapezoid", y)
    y = moveaxis(y, as_axis("trapezoid", axis, len(y.shape)), -1)
    last = len(y.shape) - 1
    if x is not None:
        x = unary_arg("trapezoid", x)
        dx = _step(x if len(x.shape) == 1 else moveaxis(x, axis, -1), len(x.shape) - 1)
    pairs = add(_between(y, 1, None, last), _between(y, 0, -1, last))
    area = multiply(multiply(dx, pairs), 0.5)
    return s.sum_over(area, (len(area.shape) - 1,))


def unwrap(p: Any, discont: Any = None, axis: int = -1, period: Any = 2 * math.pi) -> Any:
    """Angles along an axis without jumps: differences above half a period are brought below it by whole periods.

    ``discont`` is the largest jump that is left as it is, at least half a period.
    """
    p = real_arg("unwrap", unary_arg("unwrap", p))
    if p.dtype.kind not in "iu" or not isinstance(period, int):
        p = p if dtypes.is_inexact(p.dtype) else s.convert_element_type(p, np.dtype(np.float64))
    axis = as_axis("unwrap", axis, len(p.shape))
    if p.shape[axis] < 2:
        return p
    halves_exactly = dtypes.is_inexact(p.dtype) or period % 2 == 0
    half = true_divide(period, 2) if dtypes.is_inexact(p.dtype) else period // 2
    jump = _step(p, axis)
    wrapped = subtract(remainder(add(jump, half), period), half)
    if halves_exactly:
        wrapped = where(bitwise_and(eq(wrapped, neg(half)), gt(jump, 0)), half, wrapped)
    limit = half if discont is None else maximum(discont, half)
    correction = where(lt(abs(jump), limit), 0, subtract(wrapped, jump))
    total = cumsum(correction, axis=axis)
    return concatenate([_between(p, 0, 1, axis), add(_between(p, 1, None, axis), total)], axis)


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """Piecewise linear interpolation at x of the points (xp, fp), where xp increases.

    Outside of xp the result is ``left`` or ``right``, numbers or "extrapolate"; by default the first or last fp. With
    ``period``, x and xp are angles and left and right are not used. Differentiable in x, xp and fp.
    """
    xp, fp = unary_arg("interp", xp), unary_arg("interp", fp)
    if len(xp.shape) != 1 or xp.shape != fp.shape or not xp.size:
        raise ValueError(message("interp: xp and fp do not match", f"{describe(xp)} and {describe(fp)}",
                                 "two vectors of one size, which is not 0"))
    fp = inexact_arg("interp", fp)
    x, xp = (v if dtypes.is_inexact(v.dtype) else inexact_arg("interp", v) for v in (unary_arg("interp", x), xp))
    if period is not None:
        x, xp, fp = _one_period(x, xp, fp, abs(unary_arg("interp", period)))
        left = right = None
    if xp.size == 1:
        inside = s.broadcast_to(fp, x.shape or (1,))
        inside = s.reshape(inside, x.shape)
    else:
        inside = _segments(x, xp, fp)
    for bound, beyond, index in ((left, lt, 0), (right, gt, xp.size - 1)):
        if isinstance(bound, str):
            if bound != "extrapolate":
                raise ValueError(message("interp: an unknown way to go on outside", repr(bound),
                                         "'extrapolate' or a number"))
            continue
        edge, value = (s.reshape(s.slice_in_dim(v, index, index + 1), ()) for v in (xp, fp))
        inside = where(beyond(x, edge), value if bound is None else bound, inside)
    return inside


def _one_period(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """Everything within one period, with the last point before it and the first after it."""
    x, xp = remainder(x, period), remainder(xp, period)
    order = argsort(xp)
    xp, fp = take(xp, order, 0), take(fp, order, 0)
    xp = concatenate([subtract(_between(xp, xp.size - 1, None, 0), period), xp, add(_between(xp, 0, 1, 0), period)])
    return x, xp, concatenate([_between(fp, fp.size - 1, None, 0), fp, _between(fp, 0, 1, 0)])


def _segments(x: Any, xp: Any, fp: Any) -> Any:
    """The line through the two points next to x; a segment of no width gives its left point."""
    dtype = promote_args("interp", (unary_arg("interp", x), s.reshape(_between(xp, 0, 1, 0), ())))[0].dtype
    x, xp = (s.convert_element_type(v, dtype) for v in (x, xp))
    found = searchsorted(s.stop_gradient(xp), s.stop_gradient(x), side="right")
    upper = minimum(maximum(s.convert_element_type(found, np.int64), 1), xp.size - 1)
    lower = subtract(upper, 1)
    x0, x1, f0, f1 = (take(v, i, 0, mode="promise_in_bounds") for v in (xp, fp) for i in (lower, upper))
    width = subtract(x1, x0)
    flat = le(abs(width), float(np.spacing(dtypes.finfo(dtype).eps)))
    slope = true_divide(subtract(x, x0), where(flat, 1, width))
    return where(flat, f0, add(f0, multiply(slope, subtract(f1, f0))))
