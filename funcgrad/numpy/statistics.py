"""Counting and covariance: histograms, bincount, cov, corrcoef.

In: arrays of samples. Out: counts, which are sums of weights and differentiable in them, and matrices.

    >>> import funcgrad.numpy as fnp
    >>> fnp.bincount(fnp.array([0, 2, 2]))
    Array([1, 0, 2], dtype=int64)
"""
from __future__ import annotations

import builtins
import math
import operator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.numpy.calculus import diff
from funcgrad.numpy.contraction import dot
from funcgrad.numpy.creation import array, linspace, ones, zeros
from funcgrad.numpy.indexing import update
from funcgrad.numpy.manipulation import atleast_2d, concatenate, ravel, stack
from funcgrad.numpy.matrices import diagonal
from funcgrad.numpy.rearranging import known
from funcgrad.numpy.reductions import max, min, sum
from funcgrad.numpy.selection import where
from funcgrad.numpy.sorting import searchsorted
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import (
    add,
    bitwise_and,
    conj,
    eq,
    imag,
    lt,
    maximum,
    minimum,
    multiply,
    real,
    sqrt,
    subtract,
    true_divide,
)
from funcgrad.ops.elementwise import complex as complex_of
from funcgrad.ops.promotion import inexact_arg, promote_args, unary_arg

# ---------------------------------------------------------------- counts


def bincount(x: Any, weights: Any = None, minlength: int = 0, *, length: int | None = None) -> Any:
    """How often each of 0, 1, 2 ... occurs in a vector of integers, or the sums of their weights.

    The result has ``max(x) + 1`` elements, at least ``minlength``; ``length`` fixes their number, and larger elements
    are left out. It is needed when x is traced. Negative elements raise ValueError, or count as 0 when traced.
    """
    x = unary_arg("bincount", x)
    if x.dtype.kind not in "biu" or len(x.shape) != 1:
        raise TypeError(message("bincount: a vector of integers is needed", describe(x), "integers, one axis"))
    values = known(x)
    if values is not None and values.size and values.min() < 0:
        raise ValueError(message("bincount: an element is negative", str(values.min()), "elements >= 0"))
    if length is None:
        if values is None:
            raise ConcretizationTypeError(message(
                "bincount: the size of the result depends on a traced value", describe(x),
                "values known while tracing", "fnp.bincount(x, length=...)"))
        length = int(np.max(values, initial=-1)) + 1
    length = operator.index(length if length > minlength else minlength)
    x = s.convert_element_type(x, np.int64)
    return _summed(maximum(x, 0), ones(x.shape, int) if weights is None else unary_arg("bincount", weights), length)


def _summed(index: Any, weights: Any, length: int) -> Any:
    """The sums of the weights with each index; indices beyond the length are left out."""
    return update("add", zeros(length, weights.dtype), index, weights, mode="drop")


def histogram_bin_edges(a: Any, bins: Any = 10, range: Any = None, weights: Any = None) -> Any:
    """The ends of the bins: ``bins`` equal ones over the range (of the values if None), or the array ``bins``."""
    if isinstance(bins, str):
        raise NotImplementedError(message("histogram: bins chosen by a rule are not supported", repr(bins),
                                          "a number or the ends", "np.histogram_bin_edges(values, bins)"))
    a = unary_arg("histogram", a)
    if getattr(bins, "shape", ()) or isinstance(bins, list | tuple):
        return inexact_arg("histogram", array(bins))
    if range is None:
        low, high = (min(a), max(a)) if a.size else (0.0, 1.0)
    else:
        low, high = range
    low, high = promote_args("histogram", (low, high), inexact=True)
    equal = eq(low, high)
    low, high = where(equal, subtract(low, 0.5), low), where(equal, add(high, 0.5), high)
    return linspace(low, high, operator.index(bins) + 1)


def histogram(a: Any, bins: Any = 10, range: Any = None, weights: Any = None,
              density: bool | None = None) -> tuple[Any, Any]:
    """``(counts, edges)``: how many values, or how much weight, lies in each bin; the last bin has both its ends.

    With ``density`` the counts are divided by their sum and the bins' widths. They are floats, differentiable in the
    weights.
    """
    a = ravel(a)
    edges = histogram_bin_edges(a, bins, range)
    weights = ones(a.shape) if weights is None else inexact_arg("histogram", ravel(weights))
    if weights.shape != a.shape:
        raise ValueError(message("histogram: the weights do not fit", f"{describe(weights)} for {describe(a)}",
                                 "one weight for each value"))
    counts = _summed(_bins(a, edges), weights, edges.size - 1)
    return (true_divide(true_divide(counts, diff(edges)), sum(counts)) if density else counts), edges


def _bins(x: Any, edges: Any) -> Any:
    """The bin of each value; one beyond the last for values outside."""
    x, edges = s.stop_gradient(x), s.stop_gradient(edges)
    n = edges.size - 1
    index = subtract(s.convert_element_type(searchsorted(edges, x, side="right"), np.int64), 1)
    last = s.reshape(s.slice_in_dim(edges, n, n + 1), ())
    index = where(eq(x, last), n - 1, index)
    return where(lt(index, 0), n, index)


def histogramdd(sample: Any, bins: Any = 10, range: Any = None, weights: Any = None,
                density: bool | None = None) -> tuple[Any, list[Any]]:
    """``(counts, edges)`` of points in several dimensions, given as (points, dimensions) or as a list of coordinates.

    ``bins`` is a number, or a number or an array of ends for each dimension; ``range`` a pair for each dimension.
    """
    points = stack(sample, axis=-1) if isinstance(sample, list | tuple) else unary_arg("histogramdd", sample)
    points = s.reshape(points, (points.size, 1)) if len(points.shape) == 1 else points
    count, dimensions = points.shape
    bins = [bins] * dimensions if isinstance(bins, int | np.integer) else list(bins)
    ranges = [None] * dimensions if range is None else list(range)
    if len(bins) != dimensions or len(ranges) != dimensions:
        raise ValueError(message("histogramdd: bins or ranges do not match the points",
                                 f"{len(bins)} bins, {len(ranges)} ranges, {dimensions} dimensions",
                                 "one for each dimension"))
    columns = [s.reshape(s.slice_in_dim(points, i, i + 1, axis=1), (count,)) for i in builtins.range(dimensions)]
    edges = [histogram_bin_edges(c, b, r) for c, b, r in zip(columns, bins, ranges, strict=True)]
    sizes = tuple([e.size - 1 for e in edges])
    place: Any = zeros(count, int)
    inside: Any = ones(count, bool)
    for column, ends, n in zip(columns, edges, sizes, strict=True):
        index = _bins(column, ends)
        inside = bitwise_and(inside, lt(index, n))
        place = add(multiply(place, n), index)
    total = math.prod(sizes)
    weights = ones(count, int) if weights is None else unary_arg("histogramdd", weights)
    counts = s.reshape(_summed(where(inside, place, total), weights, total), sizes)
    if density:
        counts = true_divide(counts, sum(counts))
        for i, ends in enumerate(edges):
            counts = true_divide(counts, s.reshape(diff(ends), [-1 + ends.size if j == i else 1
                                                                for j in builtins.range(dimensions)]))
    return counts, edges


def histogram2d(x: Any, y: Any, bins: Any = 10, range: Any = None, weights: Any = None,
                density: bool | None = None) -> tuple[Any, Any, Any]:
    """``(counts, x edges, y edges)`` of points in the plane."""
    pair = isinstance(bins, list | tuple) and len(bins) == 2
    bins = bins if pair or isinstance(bins, int | np.integer) else [bins, bins]
    counts, (x_edges, y_edges) = histogramdd([x, y], bins, range, weights, density)
    return counts, x_edges, y_edges


# ---------------------------------------------------------------- covariance


def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None, fweights: Any = None,
        aweights: Any = None, dtype: Any = None) -> Any:
    """The covariance matrix of variables, the rows of m (its columns if not ``rowvar``) and of y.

    Sums of products are divided by the number of observations minus ``ddof``, which is 1, or 0 if ``bias``. An
    observation counts ``fweights`` times and with the importance ``aweights``.
    """
    given = [unary_arg("cov", x) for x in (m, y) if x is not None]
    if any(len(x.shape) > 2 for x in given):
        raise ValueError(message("cov: at most two axes", ", ".join(map(describe, given)), "vectors or matrices"))
    x = _variables(given[0], rowvar)
    if y is not None:
        x = concatenate([x, _variables(given[1], rowvar)], 0)
    x = inexact_arg("cov", x)
    x = x if dtype is None else s.convert_element_type(x, dtype)
    ddof = (0 if bias else 1) if ddof is None else ddof
    n = x.shape[1]
    weights: Any = None
    for name, w in (("fweights", fweights), ("aweights", aweights)):
        if w is not None:
            w = unary_arg("cov", w)
            if w.shape != (n,):
                raise ValueError(message(f"cov: {name} do not fit", describe(w), f"a vector of {n}"))
            if name == "fweights" and w.dtype.kind not in "iu":
                raise TypeError(message("cov: fweights must be integers", describe(w), "how often each one occurs"))
            weights = w if weights is None else multiply(weights, w)
    if weights is None:
        center = multiply(sum(x, axis=1, keepdims=True), 1 / n if n else math.nan)
        divisor: Any = float(n - ddof) if n > ddof else 0.0  # too few observations: NaN or infinity
    else:
        weights = s.convert_element_type(weights, dtypes.real_dtype(x.dtype))
        total = sum(weights)
        center = true_divide(sum(multiply(x, weights), axis=1, keepdims=True), total)
        lost = 1 if aweights is None else true_divide(sum(multiply(weights, aweights)), total)
        divisor = subtract(total, multiply(ddof, lost))
    x = subtract(x, center)
    scaled = x if weights is None else multiply(x, weights)
    out = true_divide(dot(x, conj(s.transpose(scaled, (1, 0)))), divisor)
    return s.reshape(out, [k for k in out.shape if k != 1]) if out.size == 1 else out


def _variables(x: Any, rowvar: bool) -> Any:
    """A matrix whose rows are the variables."""
    rows = atleast_2d(x)
    return rows if rowvar or len(x.shape) < 2 else s.transpose(rows, (1, 0))


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, dtype: Any = None) -> Any:
    """The matrix of correlation coefficients of variables, arranged as in ``cov``; between -1 and 1."""
    c = cov(x, y, rowvar, dtype=dtype)
    if not c.shape:
        return true_divide(c, c)
    deviation = sqrt(real(diagonal(c)))
    n = c.shape[0]
    c = true_divide(true_divide(c, s.reshape(deviation, (n, 1))), deviation)
    if c.dtype.kind == "c":
        return complex_of(_between_ones(real(c)), _between_ones(imag(c)))
    return _between_ones(c)


def _between_ones(x: Any) -> Any:
    return minimum(maximum(x, -1), 1)
