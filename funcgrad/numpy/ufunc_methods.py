"""The methods of NumPy's ufuncs: ``np.add.reduce``, ``np.maximum.accumulate``, ``np.subtract.outer``, ``np.add.reduceat``.

In: a ufunc, a function of arrays that computes it, and the arguments of the method. Out: what NumPy's method gives, made of
reductions, running totals and loops that differentiate. An operation that has a reduction of its own uses it; another
associative one is combined in a tree; any other is applied from left to right, as NumPy does it. The ufunc is NumPy's, or one
of ``fnp.frompyfunc``: of it, its name and its identity are used.

    >>> import numpy as np, funcgrad.numpy as fnp
    >>> np.subtract.outer(fnp.arange(3.), fnp.arange(2.))
    Array([[ 0., -1.],
           [ 1.,  0.],
           [ 2.,  1.]], dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.control.scan import scan
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy import reductions
from funcgrad.numpy.indexing import update
from funcgrad.numpy.rearranging import known
from funcgrad.numpy.selection import take, where
from funcgrad.ops import reduction as r
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import ne
from funcgrad.ops.promotion import unary_arg
from funcgrad.transforms.staging import ShapeDtypeStruct, eval_shape

_REDUCTIONS: dict[Any, Callable] = {
    np.add: reductions.sum, np.multiply: reductions.prod, np.maximum: reductions.max, np.minimum: reductions.min,
    np.logical_and: reductions.all, np.logical_or: reductions.any}
_OF_BITS = {np.bitwise_and: r.reduce_and_p, np.bitwise_or: r.reduce_or_p, np.bitwise_xor: r.reduce_xor_p,
            np.logical_xor: r.reduce_xor_p}
_RUNNING = {np.add: r.cumsum_p, np.multiply: r.cumprod_p, np.maximum: r.cummax_p, np.minimum: r.cummin_p,
            np.logaddexp: r.cumlogsumexp_p}
_LOGICAL = {np.logical_and, np.logical_or, np.logical_xor}
_ASSOCIATIVE = _LOGICAL | {np.fmax, np.fmin, np.logaddexp, np.logaddexp2, np.hypot, np.gcd, np.lcm, np.bitwise_and,
                           np.bitwise_or, np.bitwise_xor}
_WIDENED = {np.add, np.multiply}
"""They are computed in 64 bits for integers, as NumPy does."""
_SCATTERED: dict[Any, tuple[str, Callable]] = {
    np.add: ("add", lambda dtype: 0), np.maximum: ("max", r.lowest), np.minimum: ("min", r.highest)}
_AT = {np.add: ".add(y)", np.subtract: ".add(-y)", np.multiply: ".multiply(y)", np.divide: ".divide(y)",
       np.power: ".power(y)", np.maximum: ".max(y)", np.minimum: ".min(y)"}


def _name(ufunc: Any, method: str) -> str:
    """What the user called."""
    return f"{'np.' if isinstance(ufunc, np.ufunc) else ''}{ufunc.__name__}.{method}"


def reduce(ufunc: Any, function: Callable, array: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False,
           initial: Any = None, where: Any = None) -> Any:
    """Combines the elements over axes; ``where`` chooses elements, ``initial`` begins.

    Raises ValueError for more than one axis of an operation whose order matters, and for nothing to combine.
    """
    name, x = _name(ufunc, "reduce"), _operand(ufunc, array, dtype)
    reduction = _REDUCTIONS.get(ufunc)
    mask = None if where is None or where is True else reductions.as_mask(name, where, x.shape)
    if reduction in (reductions.all, reductions.any):
        out = reduction(x, axis, keepdims=keepdims, where=mask)
        return out if initial is None else function(initial, out)
    if reduction is not None:
        return reduction(x, axis, keepdims=keepdims, where=mask, initial=initial)
    axes = r.as_axes(name, axis, len(x.shape))
    if ufunc in _OF_BITS:
        identity = x.dtype.type(-1 if ufunc is np.bitwise_and and x.dtype.kind != "b" else ufunc is np.bitwise_and)
        out = reductions.reduced(_OF_BITS[ufunc], reductions.masked(name, x, mask, identity), axes, keepdims)
        return out if initial is None else function(reductions.as_initial(name, initial, x.dtype), out)
    if not axes:
        return x
    if isinstance(ufunc, np.ufunc) and ufunc not in _ASSOCIATIVE and len(axes) > 1:
        raise ValueError(message(f"{name}: the order of the elements matters, so one axis must be named",
                                 f"axes {axes} of {describe(x)}", "axis=i"))
    x = r.axes_as_one(x, axes)
    if mask is not None:
        mask = r.axes_as_one(mask, axes)
    if mask is not None and ufunc.identity is None and initial is None:
        raise ValueError(message(f"{name}: where needs initial", "no value for when the mask holds nowhere", "a scalar"))
    combine = _tree if ufunc in _ASSOCIATIVE else _from_left
    out = combine(ufunc, function, x, initial, mask)
    return s.expand_dims(out, axes) if keepdims else out


def _operand(ufunc: Any, array: Any, dtype: Any) -> Any:
    """The array in the dtype that the method computes in."""
    x = unary_arg(ufunc.__name__, array)
    if ufunc in _LOGICAL:
        return x if x.dtype.kind == "b" else ne(x, 0)
    if ufunc in _WIDENED:
        return s.convert_element_type(x, reductions.accumulation_dtype(x.dtype, dtype))
    return x if dtype is None else s.convert_element_type(x, dtypes.as_dtype(dtype))


def _closed(ufunc: Any, function: Callable, x: Any) -> Any:
    """x in the dtype of its combinations. Raises TypeError when those have another dtype again, as comparisons do."""
    scalar = ShapeDtypeStruct((), x.dtype)
    dtype = eval_shape(function, scalar, scalar).dtype
    if dtype.kind == "b" and x.dtype.kind != "b":
        raise TypeError(message(f"{_name(ufunc, 'reduce')}: the results cannot be combined again", describe(x), "bools"))
    return s.convert_element_type(x, dtype)


def _tree(ufunc: Any, function: Callable, x: Any, initial: Any, mask: Any) -> Any:
    """Combines the last axis of an associative operation: halves with halves."""
    x = _closed(ufunc, function, x)
    if mask is not None:
        x = where(mask, x, x.dtype.type(initial if ufunc.identity is None else ufunc.identity))
    axis, n = len(x.shape) - 1, x.shape[-1]
    if not n:
        return s.broadcast_in_dim(_start(ufunc, x, initial), x.shape[:-1], ())
    while n > 1:
        half = n // 2
        first, second = (s.slice_in_dim(x, start, start + half, axis=axis) for start in (0, half))
        rest = [s.slice_in_dim(x, 2 * half, n, axis=axis)] if n % 2 else []
        x, n = s.concatenate([function(first, second), *rest], axis), half + n % 2
    out = s.squeeze(x, (axis,))
    return out if initial is None else function(reductions.as_initial(ufunc.__name__, initial, x.dtype), out)


def _start(ufunc: Any, x: Any, initial: Any) -> Any:
    """What a combination of nothing gives. Raises ValueError where there is nothing."""
    if initial is None and ufunc.identity is None:
        raise ValueError(message(f"{_name(ufunc, 'reduce')}: there is nothing to combine and no identity", describe(x),
                                 "at least one element", "initial=..."))
    return reductions.as_initial(ufunc.__name__, ufunc.identity if initial is None else initial, x.dtype)


def _from_left(ufunc: Any, function: Callable, x: Any, initial: Any, mask: Any) -> Any:
    """Applies the operation along the last axis from left to right."""
    x = s.moveaxis(_closed(ufunc, function, x), len(x.shape) - 1, 0)
    mask = None if mask is None else s.moveaxis(mask, len(mask.shape) - 1, 0)
    if initial is None and mask is None and x.shape[0]:
        first, x = s.squeeze(s.slice_in_dim(x, 0, 1), (0,)), s.slice_in_dim(x, 1, x.shape[0])
    else:
        first = s.broadcast_in_dim(_start(ufunc, x, initial), x.shape[1:], ())
    if mask is None:
        return scan(lambda carry, v: (function(carry, v), None), first, x)[0]
    return scan(lambda carry, pair: (where(pair[1], function(carry, pair[0]), carry), None), first, (x, mask))[0]


def accumulate(ufunc: Any, function: Callable, array: Any, axis: int = 0, dtype: Any = None) -> Any:
    """The combinations of the first element, the first two, the first three ... along an axis."""
    x = _operand(ufunc, array, dtype)
    axis = r.as_axis(_name(ufunc, "accumulate"), axis, len(x.shape))
    if ufunc in _RUNNING:
        x = _closed(ufunc, function, x) if ufunc is np.logaddexp else x
        return _RUNNING[ufunc].bind(x, axis=axis, reverse=False)[0]
    x = _closed(ufunc, function, x)
    if ufunc in _ASSOCIATIVE:
        return r.prefix_combinations(lambda a, b: (function(a[0], b[0]),), (x,), axis)[0]
    if not x.shape[axis]:
        return x
    x = s.moveaxis(x, axis, 0)
    first, rest = s.slice_in_dim(x, 0, 1), s.slice_in_dim(x, 1, x.shape[0])

    def step(carry: Any, v: Any) -> tuple:
        carry = function(carry, v)
        return carry, carry

    later = scan(step, s.squeeze(first, (0,)), rest)[1]
    return s.moveaxis(s.concatenate([first, later], 0), 0, axis)


def outer(ufunc: Any, function: Callable, a: Any, b: Any) -> Any:
    """The operation on all pairs of an element of a and an element of b: an array of a's axes, then b's."""
    a, b = unary_arg(ufunc.__name__, a), unary_arg(ufunc.__name__, b)
    return function(s.reshape(a, (*a.shape, *[1] * len(b.shape))), b)


def reduceat(ufunc: Any, function: Callable, array: Any, indices: Any, axis: int = 0, dtype: Any = None) -> Any:
    """Combines the segments of an axis that begin at ``indices`` and end at the next index, the last at the end.

    As in NumPy, where the next index is not larger the segment is the one element at its index. IndexError out of bounds.
    """
    x = _operand(ufunc, array, dtype)
    name = _name(ufunc, "reduceat")
    axis = r.as_axis(name, axis, len(x.shape))
    n = x.shape[axis]
    starts = known(indices)
    if starts is None:
        return _traced_segments(ufunc, function, x, indices, axis)
    if starts.ndim != 1 or (starts < 0).any() or (starts >= n).any():
        raise IndexError(message(f"{name}: the indices do not fit the axis", f"{starts.tolist()} for size {n}",
                                 f"a vector of indices in 0..{n - 1}"))
    ends = np.append(starts[1:], n)
    ends = np.where(ends > starts, ends, starts + 1)
    if not len(starts):
        return s.slice_in_dim(x, 0, 0, axis=axis)
    if ufunc not in _SCATTERED:
        parts = [reduce(ufunc, function, s.slice_in_dim(x, i, j, axis=axis), axis, keepdims=True)
                 for i, j in zip(starts.tolist(), ends.tolist(), strict=True)]
        return s.concatenate(parts, axis)
    method, identity = _SCATTERED[ufunc]
    members = np.concatenate([np.arange(i, j) for i, j in zip(starts, ends, strict=True)])
    segments = np.repeat(np.arange(len(starts)), ends - starts)
    base = s.full((*x.shape[:axis], len(starts), *x.shape[axis + 1:]), identity(x.dtype), x.dtype)
    return update(method, base, (slice(None),) * axis + (segments,), take(x, members, axis))


def _traced_segments(ufunc: Any, function: Callable, x: Any, starts: Any, axis: int) -> Any:
    """All segments at once: each element in turn goes to those that it is in."""
    x = s.moveaxis(_closed(ufunc, function, x), axis, 0)
    n = x.shape[0]
    ends = s.concatenate([s.slice_in_dim(starts, 1, starts.shape[0]), s.full((1,), n, starts.dtype)], 0)

    def step(totals: Any, position_and_row: tuple) -> tuple:
        position, row = position_and_row
        inside = s.expand_dims((position > starts) & (position < ends), tuple(range(1, len(x.shape))))
        return where(inside, function(totals, row[None]), totals), None

    return s.moveaxis(scan(step, take(x, starts, 0), (s.iota(starts.dtype, (n,)), x))[0], 0, axis)


def at(ufunc: Any, *_: Any) -> Any:
    """Raises TypeError: arrays are immutable. The message shows the form with ``.at``."""
    name = ufunc.__name__
    form = _AT.get(ufunc, f".set(fnp.{name}(x[index], y))" if ufunc.nin == 2 else f".apply(fnp.{name})")
    raise TypeError(message(f"np.{name}.at: arrays are immutable, so x cannot be changed", "an array to write to", None,
                            f"x = x.at[index]{form}"))


METHODS: dict[str, Callable] = {"reduce": reduce, "accumulate": accumulate, "outer": outer, "reduceat": reduceat}
