"""Matrices by their diagonals and triangles: eye, diag, tri, tril, triu.

In: sizes and arrays. Out: arrays. Diagonals are read and written by slicing and padding, not by indexing.

    >>> import funcgrad.numpy as fnp
    >>> fnp.diag(fnp.array([1., 2.]))
    Array([[1., 0.],
           [0., 2.]], dtype=float64)
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad.core.array import DeviceArray, describe
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.errors import message
from funcgrad.numpy.contraction import diagonal_of
from funcgrad.numpy.types import placed
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import add, eq, ge
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import as_axis


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None, *, device: Any = None) -> Any:
    """An N by M matrix (N by N by default) with ones on its k-th diagonal and zeros elsewhere."""
    return placed("eye", s.convert_element_type(_compared(eq, N, M, k), np.float64 if dtype is None else dtype), device)


def identity(n: int, dtype: Any = None) -> Any:
    """The n by n identity matrix."""
    return eye(n, dtype=dtype)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Any:
    """An N by M matrix with ones on and below its k-th diagonal."""
    return placed("tri", s.convert_element_type(_compared(ge, N, M, k), np.float64 if dtype is None else dtype), None)


def _compared(compare: Any, rows: int, columns: int | None, k: int) -> Any:
    rows = operator.index(rows)
    shape = (rows, rows if columns is None else operator.index(columns))
    if current_trace.get() is EVAL:
        return compare(DeviceArray(np.arange(rows)[:, None] + operator.index(k)), DeviceArray(np.arange(shape[1])))
    row = add(s.iota(np.int64, shape, 0), operator.index(k))
    return compare(row, s.iota(np.int64, shape, 1))


def tril(m: Any, k: int = 0) -> Any:
    """The lower triangles of the last two axes: zeros above the k-th diagonal."""
    return _triangle("tril", m, k, True)


def triu(m: Any, k: int = 0) -> Any:
    """The upper triangles of the last two axes: zeros below the k-th diagonal."""
    return _triangle("triu", m, k - 1, False)


def _triangle(name: str, m: Any, k: int, lower: bool) -> Any:
    m = unary_arg(name, m)
    if len(m.shape) < 2:
        raise ValueError(message(f"{name}: a matrix is needed", describe(m), "at least two axes"))
    mask = s.broadcast_to(_compared(ge, m.shape[-2], m.shape[-1], k), m.shape)
    zero = m.dtype.type(0)
    return s.select_n(mask, zero, m) if lower else s.select_n(mask, m, zero)


def diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The ``offset``-th diagonals of the matrices in two axes, along a last axis of the result."""
    a = unary_arg("diagonal", a)
    ndim = len(a.shape)
    if ndim < 2:
        raise ValueError(message("diagonal: a matrix is needed", describe(a), "at least two axes"))
    axis1, axis2 = as_axis("diagonal", axis1, ndim), as_axis("diagonal", axis2, ndim)
    if axis1 == axis2:
        raise ValueError(message("diagonal: the two axes are one", f"axis {axis1}", "two different axes"))
    return diagonal_of(a, axis1, axis2, operator.index(offset))


def diag(v: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or the matrix that has the vector v as its k-th diagonal."""
    v = unary_arg("diag", v)
    if len(v.shape) == 2:
        return diagonal(v, k)
    if len(v.shape) != 1:
        raise ValueError(message("diag: neither a vector nor a matrix", describe(v), "one or two axes",
                                 "fnp.diagonal for stacks of matrices"))
    return diagonal_matrix(v, operator.index(k))


def diagonal_matrix(v: Any, k: int = 0) -> Any:
    """The square matrix with a vector as its k-th diagonal."""
    n = v.shape[0]
    size = n + abs(k)
    if n == 0:
        return s.full((size, size), v.dtype.type(0))
    first = k if k > 0 else -k * size  # in the flat matrix the diagonal is every (size + 1)-th element
    reach = first + (n - 1) * (size + 1) + 1
    return s.reshape(s.pad(v, v.dtype.type(0), [(first, size * size - reach, size)]), (size, size))


def diagflat(v: Any, k: int = 0) -> Any:
    """The square matrix that has the elements of v as its k-th diagonal."""
    v = unary_arg("diagflat", v)
    return diagonal_matrix(s.reshape(v, (v.size,)), operator.index(k))
