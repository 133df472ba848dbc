"""Sets as sorted vectors: unique, intersections, unions, differences, membership.

In: arrays. Out: vectors whose size depends on the values, so they must be known; when they are traced, ``size`` gives
the size of the result, which is then cut off or filled. The values are differentiable.

    >>> import funcgrad.numpy as fnp
    >>> fnp.unique(fnp.array([3., 1., 3.]), return_counts=True)
    (Array([1., 3.], dtype=float64), Array([1, 2], dtype=int64))
"""
from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.numpy.indexing import update
from funcgrad.numpy.manipulation import concatenate, ravel
from funcgrad.numpy.rearranging import known
from funcgrad.numpy.reductions import any, argmax, sum
from funcgrad.numpy.selection import nonzero, take, where
from funcgrad.numpy.sorting import argsort, lexsort, searchsorted, sort
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import bitwise_and, bitwise_not, eq, lt, minimum, ne, subtract
from funcgrad.ops.promotion import result_type_of, unary_arg
from funcgrad.ops.reduction import as_axis, cumsum


class UniqueAll(NamedTuple):
    """What ``unique_all`` returns."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What ``unique_counts`` returns."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What ``unique_inverse`` returns."""

    values: Any
    inverse_indices: Any


def unique(ar: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
           axis: int | None = None, *, equal_nan: bool = True, size: int | None = None, fill_value: Any = None,
           sorted: bool = True) -> Any:
    """The different elements of ar, sorted, or its different slices along an axis.

    Further results, in this order: where each occurs first, where each element of ar is in the result, how often each
    occurs. ``size`` is the number of results when ar is traced: what is missing is ``fill_value``, or the smallest
    element. Raises ConcretizationTypeError for a traced array without ``size``.
    """
    x = unary_arg("unique", ar)
    shape = x.shape
    flat = axis is None
    x, axis = (ravel(x), 0) if axis is None else (x, as_axis("unique", axis, len(shape)))
    order, first = _first_in_order(s.moveaxis(x, axis, 0), equal_nan)
    place = _places("unique", first, ar, size)
    index = take(order, place, 0, mode="promise_in_bounds") if order.size else order
    values = take(x, index, axis, mode="promise_in_bounds") if order.size else s.slice_in_dim(x, 0, 0, axis=axis)
    if size is not None and fill_value is not None and order.size:
        found = lt(np.arange(place.size), sum(first))
        mask = s.reshape(found, [-1 * -place.size if i == axis else 1 for i in range(len(x.shape))])
        values = where(mask, values, s.convert_element_type(unary_arg("unique", fill_value), x.dtype))
    out = [values]
    if return_index:
        out.append(index)
    if return_inverse:
        group = subtract(cumsum(s.convert_element_type(first, np.int64), axis=0), 1)
        inverse = update("set", group, order, group, unique_indices=True) if order.size else group
        out.append(s.reshape(inverse, shape) if flat else inverse)
    if return_counts:
        out.append(_counts(first, place, size))
    return tuple(out) if len(out) > 1 else values


def _first_in_order(rows: Any, equal_nan: bool) -> tuple[Any, Any]:
    """The order that sorts the slices along the first axis, and which of them then begin a new value."""
    n = rows.shape[0]
    columns = s.reshape(s.stop_gradient(rows), (n, rows.size // n if n else 0))
    if n == 0:
        return s.iota(np.int64, (0,)), s.full((0,), False)
    keys = [s.reshape(s.slice_in_dim(columns, j, j + 1, axis=1), (n,)) for j in reversed(range(columns.shape[1]))]
    order = s.iota(np.int64, (n,)) if not keys else argsort(keys[0]) if len(keys) == 1 else lexsort(keys)
    ordered = take(columns, order, 0, mode="promise_in_bounds")
    after, before = s.slice_in_dim(ordered, 1, n), s.slice_in_dim(ordered, 0, n - 1)
    differs = ne(after, before)
    if equal_nan and dtypes.is_inexact(rows.dtype):
        differs = bitwise_and(differs, bitwise_not(bitwise_and(ne(after, after), ne(before, before))))
    return order, concatenate([np.ones(1, bool), any(differs, axis=1)])


def _places(name: str, mask: Any, given: Any, size: int | None) -> Any:
    """The positions where the mask is true: all of them, or ``size`` of them, filled with 0."""
    if size is not None:
        return nonzero(mask, size=operator.index(size))[0]
    values = known(mask)
    if values is None:
        raise ConcretizationTypeError(message(
            f"{name}: the size of the result depends on traced values", describe(given), "values known while tracing",
            f"fnp.{name}(..., size=...)"))
    return np.flatnonzero(values)


def _counts(first: Any, place: Any, size: int | None) -> Any:
    """The distance from each place to the next; places that were filled in count 0."""
    n = first.shape[0]
    if size is None:
        return s.convert_element_type(unary_arg("unique", np.diff(np.append(place, n))), np.int64)
    if n == 0:
        return s.full((size,), np.int64(0))
    starts = nonzero(first, size=operator.index(size) + 1, fill_value=n)[0]
    counts = subtract(s.slice_in_dim(starts, 1, size + 1), s.slice_in_dim(starts, 0, size))
    return s.convert_element_type(counts, np.int64)


def unique_all(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueAll:
    """The different elements, their first positions, the inverse and the counts; every NaN is different."""
    return UniqueAll(*unique(x, True, True, True, equal_nan=False, size=size, fill_value=fill_value))


def unique_counts(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueCounts:
    """The different elements and how often each occurs; every NaN is different."""
    return UniqueCounts(*unique(x, return_counts=True, equal_nan=False, size=size, fill_value=fill_value))


def unique_inverse(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> UniqueInverse:
    """The different elements, and where each element of x is among them; every NaN is different."""
    return UniqueInverse(*unique(x, return_inverse=True, equal_nan=False, size=size, fill_value=fill_value))


def unique_values(x: Any, /, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The different elements; every NaN is different."""
    return unique(x, equal_nan=False, size=size, fill_value=fill_value)


# ---------------------------------------------------------------- two sets


def isin(element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *,
         method: str = "auto") -> Any:
    """For each element whether it is among the test elements (is not, if ``invert``); NaN never is."""
    element, test = unary_arg("isin", element), ravel(unary_arg("isin", test_elements))
    dtype, _ = result_type_of("isin", (element, test))
    element, test = s.stop_gradient(s.convert_element_type(element, dtype)), sort(s.stop_gradient(
        s.convert_element_type(test, dtype)))
    if test.size == 0:
        return s.full(element.shape, invert)
    index = minimum(searchsorted(test, element), test.size - 1)
    return (ne if invert else eq)(take(test, index, 0, mode="promise_in_bounds"), element)


def _vectors(name: str, ar1: Any, ar2: Any) -> tuple[Any, Any]:
    dtype, _ = result_type_of(name, (ar1, ar2))
    one, two = (s.convert_element_type(ravel(unary_arg(name, x)), dtype) for x in (ar1, ar2))
    return one, two


def _chosen(name: str, x: Any, mask: Any, given: Any, size: int | None, fill_value: Any) -> tuple[Any, Any, Any]:
    """Elements of a sorted vector by a mask, their places, and which of them were found (the others are filled)."""
    place = _places(name, mask, given, size)
    if size is None:
        return take(x, place, 0, mode="promise_in_bounds"), place, None
    if x.size == 0:
        return s.full((size,), 0 if fill_value is None else fill_value, x.dtype), place, s.full((size,), False)
    found = lt(np.arange(place.size), sum(mask))
    place = where(found, place, argmax(mask)) if fill_value is None else place
    values = take(x, place, 0, mode="promise_in_bounds")
    if fill_value is not None:
        values = where(found, values, s.convert_element_type(unary_arg(name, fill_value), x.dtype))
    return values, place, found


def union1d(ar1: Any, ar2: Any, *, size: int | None = None, fill_value: Any = None) -> Any:
    """The different elements of both, sorted."""
    return unique(concatenate(_vectors("union1d", ar1, ar2)), size=size, fill_value=fill_value)


def intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False, *,
                size: int | None = None, fill_value: Any = None) -> Any:
    """The different elements that are in both, sorted; with ``return_indices`` also where each occurs first in both.

    Positions that were filled in because of ``size`` are the size of the array.
    """
    one, two = _vectors("intersect1d", ar1, ar2)
    order, first = _first_in_order(one, True)
    ordered = take(one, order, 0, mode="promise_in_bounds")
    mask = bitwise_and(first, isin(ordered, two))
    values, place, found = _chosen("intersect1d", ordered, mask, ar1, size, fill_value)
    if not return_indices:
        return values
    order2 = argsort(s.stop_gradient(two))
    sorted2 = take(s.stop_gradient(two), order2, 0, mode="promise_in_bounds")
    index2 = take(order2, minimum(searchsorted(sorted2, s.stop_gradient(values)), two.size - 1), 0)
    index1 = take(order, place, 0, mode="promise_in_bounds")
    if found is not None:
        index1, index2 = where(found, index1, one.size), where(found, index2, two.size)
    return values, index1, index2


def setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False, *, size: int | None = None,
              fill_value: Any = None) -> Any:
    """The different elements of ar1 that are not in ar2, sorted (not if ``assume_unique``); filled with 0."""
    one, two = _vectors("setdiff1d", ar1, ar2)
    fill_value = 0 if fill_value is None else fill_value
    if assume_unique:
        return _chosen("setdiff1d", one, isin(one, two, invert=True), ar1, size, fill_value)[0]
    order, first = _first_in_order(one, True)
    ordered = take(one, order, 0, mode="promise_in_bounds")
    mask = bitwise_and(first, isin(ordered, two, invert=True))
    return _chosen("setdiff1d", ordered, mask, ar1, size, fill_value)[0]


def setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False, *, size: int | None = None,
             fill_value: Any = None) -> Any:
    """The different elements that are in one of both but not in the other, sorted."""
    one, two = _vectors("setxor1d", ar1, ar2)
    both = concatenate([one, two])
    order, first = _first_in_order(both, True)
    ordered = take(both, order, 0, mode="promise_in_bounds")
    mask = bitwise_and(first, bitwise_not(bitwise_and(isin(ordered, one), isin(ordered, two))))
    return _chosen("setxor1d", ordered, mask, ar1, size, fill_value)[0]
