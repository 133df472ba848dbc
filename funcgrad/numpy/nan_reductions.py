"""Reductions that leave NaN out: ``nansum``, ``nanmax``, ``nanmean`` and their kin.

In and out: as for the functions without the prefix. An element that is NaN counts as absent; its gradient is zero.

    >>> import funcgrad.numpy as fnp
    >>> fnp.nanmean(fnp.array([1., fnp.nan, 3.]))
    Array(2., dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.primitive import Primitive
from funcgrad.numpy import reductions as n
from funcgrad.ops import reduction as r
from funcgrad.ops.elementwise import bitwise_and, eq
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import reshape, select_n_p


def valid(x: Any) -> Any:
    """Where x is a number."""
    return eq(x, x)


def without_nan(name: str, a: Any, fill: Callable | float) -> Any:
    """The array with a scalar in the place of every NaN."""
    x = unary_arg(name, a)
    if not dtypes.is_inexact(x.dtype):
        return x
    return n.masked(name, x, valid(x), fill(x.dtype) if callable(fill) else fill)


def _valid_where(name: str, a: Any, where: Any) -> tuple[Any, Any]:
    """The array, and where its elements count: the mask given, and no NaN."""
    x = unary_arg(name, a)
    if not dtypes.is_inexact(x.dtype):
        return x, where
    return x, valid(x) if where is None else bitwise_and(n.as_mask(name, where, x.shape), valid(x))


# ---------------------------------------------------------------- sums, products, extremes


def nansum(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
           initial: Any = None, where: Any = None) -> Any:
    """The sum over axes of what is not NaN."""
    n.no_out("nansum", out)
    return n.sum(without_nan("nansum", a, 0), axis, dtype, None, keepdims, initial, where)


def nanprod(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
            initial: Any = None, where: Any = None) -> Any:
    """The product over axes of what is not NaN."""
    n.no_out("nanprod", out)
    return n.prod(without_nan("nanprod", a, 1), axis, dtype, None, keepdims, initial, where)


def nanmax(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
           where: Any = None) -> Any:
    """The largest element over axes that is not NaN; NaN where all are."""
    n.no_out("nanmax", out)
    return _extreme("nanmax", n.max, r.lowest, a, axis, keepdims, initial, where)


def nanmin(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
           where: Any = None) -> Any:
    """The smallest element over axes that is not NaN; NaN where all are."""
    n.no_out("nanmin", out)
    return _extreme("nanmin", n.min, r.highest, a, axis, keepdims, initial, where)


def _extreme(name: str, function: Callable, identity: Callable, a: Any, axis: Any, keepdims: bool, initial: Any,
             where: Any) -> Any:
    x = unary_arg(name, a)
    found = function(without_nan(name, x, identity), axis, None, keepdims, initial, where)
    if initial is not None or not dtypes.is_inexact(x.dtype):
        return found
    present = n.any(valid(x), axis, keepdims=keepdims)
    return select_n_p.bind(present, found.dtype.type(np.nan), found)[0]


# ---------------------------------------------------------------- mean and variance


def nanmean(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False,
            where: Any = None) -> Any:
    """The mean over axes of what is not NaN; NaN where nothing is left."""
    n.no_out("nanmean", out)
    x, where = _valid_where("nanmean", a, where)
    return n.mean(x, axis, dtype, None, keepdims, where=where)


def nanvar(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: int = 0, keepdims: bool = False,
           where: Any = None, mean: Any = None) -> Any:
    """The variance over axes of what is not NaN."""
    n.no_out("nanvar", out)
    x, where = _valid_where("nanvar", a, where)
    return n.var(x, axis, dtype, None, ddof, keepdims, where=where, mean=mean)


def nanstd(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: int = 0, keepdims: bool = False,
           where: Any = None, mean: Any = None) -> Any:
    """The standard deviation over axes of what is not NaN."""
    n.no_out("nanstd", out)
    x, where = _valid_where("nanstd", a, where)
    return n.std(x, axis, dtype, None, ddof, keepdims, where=where, mean=mean)


# ---------------------------------------------------------------- positions, running totals


def nanargmax(a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Any:
    """The position of the first largest element that is not NaN; -1 where all are NaN."""
    n.no_out("nanargmax", out)
    return _position("nanargmax", r.argmax_p, r.lowest, a, axis, bool(keepdims))


def nanargmin(a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Any:
    """The position of the first smallest element that is not NaN; -1 where all are NaN."""
    n.no_out("nanargmin", out)
    return _position("nanargmin", r.argmin_p, r.highest, a, axis, bool(keepdims))


def _position(name: str, primitive: Primitive, identity: Callable, a: Any, axis: int | None, keepdims: bool) -> Any:
    x = unary_arg(name, a)
    if not dtypes.is_inexact(x.dtype) or x.dtype.kind == "c":
        return n.position(name, primitive, x, axis, keepdims)
    # Among elements that all equal the identity, such as infinities, the first one that is no NaN is wanted.
    found = n.position(name, primitive, without_nan(name, x, identity), axis, True)
    first_valid = n.position(name, r.argmax_p, valid(x), axis, True)
    extreme = n.max if primitive is r.argmax_p else n.min
    all_at_identity = eq(extreme(without_nan(name, x, identity), axis, keepdims=True), identity(x.dtype))
    found = select_n_p.bind(all_at_identity, found, first_valid)[0]
    present = n.any(valid(x), axis, keepdims=True)
    out = select_n_p.bind(present, np.int64(-1), found)[0]
    if keepdims:
        return out
    axes = r.as_axes(name, axis, len(x.shape))
    return reshape(out, [size for i, size in enumerate(out.shape) if i not in axes])


def nancumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running sums along an axis, or of the flattened array, with 0 for NaN."""
    n.no_out("nancumsum", out)
    return n.running("nancumsum", r.cumsum_p, without_nan("nancumsum", a, 0), axis, dtype)


def nancumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running products along an axis, or of the flattened array, with 1 for NaN."""
    n.no_out("nancumprod", out)
    return n.running("nancumprod", r.cumprod_p, without_nan("nancumprod", a, 1), axis, dtype)
