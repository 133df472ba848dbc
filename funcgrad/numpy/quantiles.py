"""Order statistics: ``median``, ``quantile``, ``percentile``, and the forms that leave NaN out.

In: real arrays, and numbers from 0 to 1 (or 0 to 100). Out: elements of the sorted array, or points between two of
them; the gradient goes to those elements, and to q.

    >>> import funcgrad.numpy as fnp
    >>> fnp.quantile(fnp.arange(5.), 0.3)
    Array(1.2, dtype=float64)
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.nan_reductions import valid
from funcgrad.numpy.reductions import no_out, reduced, wide
from funcgrad.ops.elementwise import add, ceil, clamp, eq, floor, le, maximum, multiply, subtract, true_divide
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import as_axes, axes_as_one, reduce_and_p
from funcgrad.ops.sorting import sort_p, take_along
from funcgrad.ops.structural import (
    broadcast_in_dim,
    broadcast_to,
    convert_element_type,
    expand_dims,
    full,
    moveaxis,
    reduce_sum_p,
    reshape,
    select_n_p,
)

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest", "inverted_cdf")


def quantile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
             method: str = "linear", keepdims: bool = False, *, weights: None = None) -> Any:
    """The value below which the part q of the elements over some axes lies.

    Args:
      a: a real array; a NaN makes the result NaN.
      q: a number from 0 to 1, or a vector of them, which becomes the first axis of the result. It does not decide the
        dtype of the result.
      axis, keepdims: as for ``sum``.
      method: where q falls between two elements: "linear" interpolates, "lower" and "higher" take one of them,
        "nearest" the nearer one (the lower at half way), "midpoint" their mean; "inverted_cdf" takes the least
        element with at least the part q at or below it.
      out, overwrite_input, weights: accepted for compatibility; they must be left alone.

    Raises ValueError for a complex array or an unknown method.
    """
    return _quantile("quantile", a, q, axis, out, method, keepdims, weights, False)


def nanquantile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
                method: str = "linear", keepdims: bool = False, *, weights: None = None) -> Any:
    """``quantile`` of what is not NaN; NaN where nothing is left."""
    return _quantile("nanquantile", a, q, axis, out, method, keepdims, weights, True)


def percentile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
               method: str = "linear", keepdims: bool = False, *, weights: None = None) -> Any:
    """``quantile`` with q from 0 to 100."""
    return _quantile("percentile", a, true_divide(q, 100.0), axis, out, method, keepdims, weights, False)


def nanpercentile(a: Any, q: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
                  method: str = "linear", keepdims: bool = False, *, weights: None = None) -> Any:
    """``nanquantile`` with q from 0 to 100."""
    return _quantile("nanpercentile", a, true_divide(q, 100.0), axis, out, method, keepdims, weights, True)


def median(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False, keepdims: bool = False) -> Any:
    """The middle element over axes, or the mean of the two middle ones."""
    return _quantile("median", a, 0.5, axis, out, "midpoint", keepdims, None, False)


def nanmedian(a: Any, axis: Any = None, out: None = None, overwrite_input: bool = False,
              keepdims: bool = False) -> Any:
    """The median of what is not NaN; NaN where nothing is left."""
    return _quantile("nanmedian", a, 0.5, axis, out, "midpoint", keepdims, None, True)


def _quantile(name: str, a: Any, q: Any, axis: Any, out: Any, method: str, keepdims: bool, weights: Any,
              skip_nan: bool) -> Any:
    no_out(name, out)
    x, q = unary_arg(name, a), unary_arg(name, q)
    _check(name, x, q, method, weights)
    dtype = dtypes.inexact_dtype(x.dtype)
    inner = wide(dtype)
    axes = as_axes(name, axis, len(x.shape))
    flat = axes_as_one(convert_element_type(x, inner), axes)
    q_flat = reshape(q, (math.prod(q.shape),))
    if flat.shape[-1]:
        found = _at(flat, q_flat, method, skip_nan)
    else:
        found = full((*flat.shape[:-1], q_flat.shape[0]), np.nan, inner)
    last = len(found.shape) - 1
    found = moveaxis(found, last, 0) if q.shape else reshape(found, found.shape[:-1])
    if keepdims:
        found = expand_dims(found, [i + len(q.shape) for i in axes])
    return convert_element_type(found, dtype)


def _check(name: str, x: Any, q: Any, method: str, weights: Any) -> None:
    if x.dtype.kind == "c" or q.dtype.kind == "c":
        raise ValueError(message(f"{name}: complex numbers have no order", f"{describe(x)} and q {describe(q)}",
                                 "real arrays"))
    if len(q.shape) > 1:
        raise ValueError(message(f"{name}: q must be a number or a vector", describe(q)))
    if method not in _METHODS:
        raise ValueError(message(f"{name}: unknown method", repr(method), f"one of {', '.join(_METHODS)}"))
    if weights is not None:
        raise NotImplementedError(message(f"{name}: weights are not supported", describe(weights), "weights=None"))


def _at(x: Any, q: Any, method: str, skip_nan: bool) -> Any:
    """The quantiles q of each line along the last axis of x; the result has shape ``(*x.shape[:-1], q.size)``."""
    last, n = len(x.shape) - 1, x.shape[-1]
    shape = (*x.shape[:-1], q.shape[0])
    # float32 cannot count far; where it can, q = 0.7 of 11 elements stands at element 7, as it does in float64.
    dtype = np.dtype("float32" if q.dtype == np.float32 and n < 2 ** 22 else "float64")
    q = broadcast_in_dim(convert_element_type(q, dtype), shape, (last,))
    if skip_nan:
        lengths = reduce_sum_p.bind(convert_element_type(valid(x), dtype), axes=(last,))[0]
        top = broadcast_in_dim(maximum(subtract(lengths, 1.0), 0.0), shape, tuple(range(last)))
    else:
        healthy = reduced(reduce_and_p, valid(x), (last,), True)
        x = select_n_p.bind(broadcast_to(healthy, x.shape), x.dtype.type(np.nan), x)[0]
        top = dtype.type(n - 1)
    x, = sort_p.bind(x, dimension=last, num_keys=1)
    known = valid(q)
    found = _between(x, clamp(0.0, select_n_p.bind(known, dtype.type(0), q)[0], 1.0), top, method)
    return select_n_p.bind(known, x.dtype.type(np.nan), found)[0]


def _between(x: Any, q: Any, top: Any, method: str) -> Any:
    """The quantiles q, which are in range, of sorted lines whose last positions are ``top``."""
    if method == "inverted_cdf":
        return _pick(x, clamp(0.0, subtract(ceil(multiply(q, add(top, 1.0))), 1.0), top))
    position = multiply(q, top)
    below, above = floor(position), ceil(position)
    if method == "lower":
        return _pick(x, below)
    if method == "higher":
        return _pick(x, above)
    fraction = subtract(position, below)
    if method == "nearest":
        return _pick(x, select_n_p.bind(le(fraction, 0.5), above, below)[0])
    low, high = _pick(x, below), _pick(x, above)
    if method == "midpoint":
        return multiply(add(low, high), 0.5)
    weight = convert_element_type(fraction, x.dtype)
    exact = eq(weight, 0)  # at an element itself: if it is infinite, its product with the weight 0 would be NaN
    high = select_n_p.bind(exact, high, x.dtype.type(0))[0]
    between = add(multiply(low, subtract(1.0, weight)), multiply(high, weight))
    return select_n_p.bind(exact, between, low)[0]


def _pick(x: Any, positions: Any) -> Any:
    return take_along(x, convert_element_type(positions, np.int64), len(x.shape) - 1)
