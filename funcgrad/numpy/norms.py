"""Norms, and what singular values tell: condition, rank, pseudoinverse, least squares.

In: vectors and matrices, or stacks of them. Out: arrays.

    >>> import funcgrad.numpy as fnp
    >>> fnp.linalg.norm(fnp.array([3., 4.]))
    Array(5., dtype=float64)

The derivative of a norm at zero is taken as zero.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.numpy import contraction as c
from funcgrad.numpy import reductions as r
from funcgrad.numpy.manipulation import expand_dims, moveaxis
from funcgrad.numpy.selection import where
from funcgrad.ops import determinants, matrix_functions, spectral
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import conj, real, sqrt
from funcgrad.ops.matrices import eye_like, inexact_pair, matrix_arg
from funcgrad.ops.promotion import inexact_arg
from funcgrad.ops.reduction import as_axis

# ---------------------------------------------------------------- norms


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Array:
    """The norm of vectors or matrices.

    Args:
      x: an array.
      ord: for vectors a number, inf, -inf or 0 (the elements that are not 0); for matrices "fro", "nuc", 1, -1, 2, -2,
        inf, -inf. By default the root of the sum of squares.
      axis: the axis of vectors, or the two axes of matrices; by default all axes of x, which are one vector if ord is None.
      keepdims: whether the axes stay, with size 1.

    Raises ValueError for another ord, or when there are no such axes.
    """
    x = as_value(inexact_arg("norm", x))
    ndim = len(x.shape)
    if axis is None:
        if ord is None:
            return _euclidean(x, tuple(range(ndim)), keepdims)
        axes = tuple(range(ndim))
    else:
        axes = tuple([as_axis("norm", d, ndim) for d in (axis if isinstance(axis, tuple | list) else (axis,))])
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(message("norm: neither a vector nor a matrix", f"{describe(x)}, axis={axis}", "one or two axes"))
    return _matrix_norm(x, "fro" if ord is None else ord, axes, keepdims)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Array:
    """The norm of the vectors that lie along some axes; along all of them by default."""
    x = as_value(inexact_arg("vector_norm", x))
    ndim = len(x.shape)
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    return _vector_norm(x, ord, tuple([as_axis("vector_norm", d, ndim) for d in axes]), keepdims)


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """The norm of matrices in the last two axes."""
    x = matrix_arg("matrix_norm", x)
    return _matrix_norm(x, ord, (len(x.shape) - 2, len(x.shape) - 1), keepdims)


def _euclidean(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    squares = r.sum(real(x * conj(x)) if x.dtype.kind == "c" else x * x, axes, keepdims=keepdims)
    zero = squares == 0
    return where(zero, squares, sqrt(where(zero, squares.dtype.type(1), squares)))


def _vector_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if isinstance(ord, str):
        if ord in ("inf", "-inf"):
            ord = float(ord)
        else:
            raise ValueError(message("norm: there is no such norm of vectors", repr(ord), "a number, inf or -inf"))
    if ord == 2:
        return _euclidean(x, axes, keepdims)
    size = abs(x)
    if ord == np.inf:
        return r.max(size, axes, keepdims=keepdims)
    if ord == -np.inf:
        return r.min(size, axes, keepdims=keepdims)
    if ord == 0:
        return r.sum(s.convert_element_type(x != 0, size.dtype), axes, keepdims=keepdims)
    if ord == 1:
        return r.sum(size, axes, keepdims=keepdims)
    total = r.sum(size ** ord, axes, keepdims=keepdims)
    zero = total == 0
    return where(zero, total, where(zero, total.dtype.type(1), total) ** (1.0 / ord))


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, int], keepdims: bool) -> Any:
    if ord in ("fro", "f"):
        return _euclidean(x, axes, keepdims)
    x = moveaxis(x, axes, (-2, -1))
    if ord in (1, -1, np.inf, -np.inf):
        sums = r.sum(abs(x), -2 if abs(ord) == 1 else -1)
        out = (r.max if ord > 0 else r.min)(sums, -1)
    elif ord in (2, -2, "nuc"):
        values = spectral.svd(x, compute_uv=False)
        out = r.sum(values, -1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]
    else:
        raise ValueError(message("norm: there is no such norm of matrices", repr(ord),
                                 "'fro', 'nuc', 1, -1, 2, -2, inf or -inf"))
    return expand_dims(out, tuple(sorted(axes))) if keepdims else out


# ---------------------------------------------------------------- condition and rank


def cond(x: Any, p: Any = None) -> Array:
    """The condition of matrices: the product of the norms of x and its inverse; inf for singular ones.

    Args:
      p: which norm; None and 2 are the ratio of the largest and the smallest singular value, for oblong matrices too.
    """
    x = matrix_arg("cond", x)
    if p in (None, 2, -2):
        values = spectral.svd(x, compute_uv=False)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    x = matrix_arg("cond", x, True)
    return matrix_norm(x, ord=p) * matrix_norm(determinants.solve(x, eye_like(x)), ord=p)


def _cutoff(x: Any, rtol: Any) -> Any:
    """The relative tolerance for each matrix; by default the largest size times the precision."""
    lead = x.shape[:-2]
    narrow = np.dtype(f"float{4 * x.dtype.itemsize}") if x.dtype.kind == "c" else x.dtype
    if rtol is None:
        rtol = max(x.shape[-2:]) * float(dtypes.finfo(x.dtype).eps)
    return s.broadcast_to(s.convert_element_type(as_value(rtol), narrow), lead)


def matrix_rank(M: Any, rtol: Any = None, *, hermitian: bool = False, tol: Any = None) -> Array:
    """The number of singular values above a tolerance.

    Args:
      rtol: relative to the largest one; by default max(m, n) times the precision of the dtype.
      hermitian: whether M is Hermitian.
      tol: an absolute tolerance, in place of rtol.
    """
    if len(np.shape(M)) < 2:
        return s.convert_element_type(r.any(as_value(M) != 0), np.int64)
    x = matrix_arg("matrix_rank", M)
    values = abs(spectral.eigvalsh("matrix_rank", x, True, True)) if hermitian else spectral.svd(x, compute_uv=False)
    bound = r.max(values, -1, initial=0) * _cutoff(x, rtol) if tol is None else as_value(tol)
    return r.sum(values > bound[..., None], -1)


# ---------------------------------------------------------------- pseudoinverse and least squares


def pinv(a: Any, rtol: Any = None, hermitian: bool = False, *, rcond: Any = None) -> Array:
    """The Moore-Penrose pseudoinverse.

    Args:
      a: matrices (..., m, n).
      rtol: singular values up to this, relative to the largest, count as zero; by default 10 max(m, n) times the precision.
      hermitian: whether a is Hermitian.
      rcond: the older name of rtol.

    The derivative takes the rank as locally constant; equal singular values do no harm.
    """
    a = matrix_arg("pinv", a)
    rtol = rcond if rtol is None else rtol
    if rtol is None:
        rtol = 10.0 * max(a.shape[-2:]) * float(dtypes.finfo(a.dtype).eps)
    return matrix_functions.pinv(a, _cutoff(a, rtol), hermitian)


def lstsq(a: Any, b: Any, rcond: float | None = None, *, numpy_resid: bool = False) -> tuple[Array, Array, Array, Array]:
    """The x that minimizes ``norm(a @ x - b)``, and among those the shortest.

    Args:
      a: a matrix (m, n).
      b: a vector (m,) or a matrix (m, k).
      rcond: singular values up to this, relative to the largest, count as zero; by default max(m, n) times the precision.
      numpy_resid: whether the residuals are empty when the rank is below n or m <= n, as in NumPy, whose sizes depend on
        values: not under jit.

    Returns x, the sums of squares of the residuals, the rank, the singular values.
    """
    a, b = inexact_pair("lstsq", a, b)
    if len(a.shape) != 2 or not 1 <= len(b.shape) <= 2 or b.shape[0] != a.shape[0]:
        raise ValueError(message("lstsq: the shapes do not fit", f"{describe(a)} and {describe(b)}",
                                 "a matrix (m, n), and a vector (m,) or a matrix (m, k)"))
    cutoff = _cutoff(a, rcond)
    columns = expand_dims(b, 1) if len(b.shape) == 1 else b
    values = spectral.svd(a, compute_uv=False)
    rank = r.sum(s.stop_gradient(values) > r.max(s.stop_gradient(values), initial=0) * cutoff)
    x = c.matmul(matrix_functions.pinv(a, cutoff), columns)
    difference = columns - c.matmul(a, x)
    residuals = r.sum(real(difference * conj(difference)), 0)
    if numpy_resid and (int(rank) < a.shape[1] or a.shape[0] <= a.shape[1]):
        residuals = residuals[:0]
    return (x[:, 0] if len(b.shape) == 1 else x), residuals, rank, values
