"""What the operations of linear algebra share: products, triangles and diagonals of stacks of matrices, and their rules.

In and out: arrays whose last two axes are matrices; the axes before them are a stack, and equal in all arguments.

    adjoint(x) @ x    is    product(adjoint(x), x)
"""
from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.primitive import Primitive
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.ops.contraction import batch_matmul, multiply_adds, same_dtype
from funcgrad.ops.elementwise import add, conj, eq, ge, mul
from funcgrad.ops.promotion import inexact_arg
from funcgrad.ops.structural import (
    broadcast_in_dim,
    broadcast_to,
    convert_element_type,
    expand_dims,
    full,
    iota,
    moveaxis,
    reshape,
    select_n,
    slice_in_dim,
    transpose,
)

# ---------------------------------------------------------------- arguments


def matrix_arg(name: str, x: Any, square: bool = False) -> Any:
    """A stack of matrices of an inexact dtype; integers become floats. Raises ValueError when it is no matrix."""
    x = as_value(inexact_arg(name, x))
    if len(x.shape) < 2:
        raise ValueError(message(f"{name}: a matrix is needed", describe(x), "at least two axes"))
    if square and x.shape[-1] != x.shape[-2]:
        raise ValueError(message(f"{name}: the matrix is not square", describe(x), "equal last two sizes"))
    return x


def inexact_pair(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands of one inexact dtype; an integer takes that of the other, or float64."""
    a, b = same_dtype(name, a, b)
    return as_value(inexact_arg(name, a)), as_value(inexact_arg(name, b))


def matrix_flops(products: Callable) -> Callable:
    """The ``flops`` slot of an operation on a stack of matrices, from the products that one of m rows and n columns takes."""

    def flops(ins: Sequence, outs: Sequence, **params: Any) -> float:
        *lead, m, n = ins[0].shape
        return math.prod(lead) * multiply_adds(products(m, n), ins[0].dtype)

    return flops


# ---------------------------------------------------------------- parts and products


def transposed(x: Any) -> Any:
    """The last two axes exchanged."""
    last = len(x.shape) - 1
    return transpose(x, (*range(last - 1), last, last - 1))


def product(x: Any, y: Any) -> Any:
    """The product of matrices, for the rules: at full precision, whatever precision the user's products have."""
    return batch_matmul(x, y, "highest")


def adjoint(x: Any) -> Any:
    """The conjugate transpose."""
    return conjugate(transposed(x))


def conjugate(x: Any) -> Any:
    """The conjugate of a complex array; a real one as it is."""
    return conj(x) if x.dtype.kind == "c" else x


def hermitian_part(x: Any) -> Any:
    """(x + adjoint(x)) / 2."""
    return mul(add(x, adjoint(x)), 0.5)


def lower(x: Any, k: int = 0) -> Any:
    """Zeros above the k-th diagonal."""
    return select_n(_below(x.shape, k), x.dtype.type(0), x)


def upper(x: Any, k: int = 0) -> Any:
    """Zeros below the k-th diagonal."""
    return select_n(_below(x.shape, k - 1), x, x.dtype.type(0))


def _below(shape: tuple[int, ...], k: int) -> Any:
    """True on and below the k-th diagonal."""
    last = len(shape) - 1
    return ge(add(iota(np.int64, shape, last - 1), k), iota(np.int64, shape, last))


def eye_like(x: Any, rows: int | None = None, columns: int | None = None) -> Any:
    """Identity matrices in a stack like that of x; square of its last size unless sizes are given."""
    rows = x.shape[-1] if rows is None else rows
    shape = (*x.shape[:-2], rows, rows if columns is None else columns)
    last = len(shape) - 1
    return convert_element_type(eq(iota(np.int64, shape, last - 1), iota(np.int64, shape, last)), x.dtype)


def diagonal(x: Any) -> Any:
    """The main diagonals, along the last axis: in row-major order their elements are n + 1 apart."""
    n, last = min(x.shape[-2:]), len(x.shape) - 1
    if n == 0:
        return full((*x.shape[:-2], 0), x.dtype.type(0))
    x = block(x, slice(n), slice(n))
    return slice_in_dim(reshape(x, (*x.shape[:-2], n * n)), 0, n * n, n + 1, axis=last - 1)


def block(x: Any, rows: slice, columns: slice) -> Any:
    """A block of each matrix, without steps."""
    for axis, part in ((-2, rows), (-1, columns)):
        start, stop, _ = part.indices(x.shape[axis])
        x = slice_in_dim(x, start, stop, axis=len(x.shape) + axis)
    return x


def diagonal_matrix(v: Any) -> Any:
    """Matrices with these diagonals and zeros elsewhere."""
    wide = broadcast_to(expand_dims(v, (len(v.shape),)), (*v.shape, v.shape[-1]))
    last = len(wide.shape) - 1
    return select_n(eq(iota(np.int64, wide.shape, last - 1), iota(np.int64, wide.shape, last)), v.dtype.type(0), wide)


def as_columns(v: Any, like: Any) -> Any:
    """Vectors as matrices of the shape of ``like`` whose rows are equal: element j stands in column j."""
    return broadcast_to(expand_dims(v, (len(v.shape) - 1,)), like.shape)


def as_rows(v: Any, like: Any) -> Any:
    """Vectors as matrices of the shape of ``like`` whose columns are equal: element i stands in row i."""
    return broadcast_to(expand_dims(v, (len(v.shape),)), like.shape)


# ---------------------------------------------------------------- rules


def stacked(primitive: Callable[[], Primitive]) -> Callable:
    """The batch rule of an operation on stacks: mapped axes go to the front, arguments without one are repeated."""

    def batch(axis: Any, args: tuple, axes: tuple, **params: Any) -> tuple:
        moved = [broadcast_in_dim(x, (axis.size, *x.shape), range(1, len(x.shape) + 1)) if d is None else moveaxis(x, d, 0)
                 for x, d in zip(args, axes, strict=True)]
        outs = primitive().bind(*moved, **params)
        return outs, (0,) * len(outs)

    return batch


def computed_by_lapack(impl: Callable) -> Callable:
    """LAPACK knows float32 and float64, real and complex; narrower dtypes are computed in float32."""

    @functools.wraps(impl)
    def computed(xp: Any, *args: Any, **params: Any) -> Any:
        with np.errstate(all="ignore"):
            if args[0].dtype.itemsize > 2:
                return impl(xp, *args, **params)
            narrow = args[0].dtype
            out = impl(xp, *[x.astype(np.float32) if x.dtype == narrow else x for x in args], **params)
            return tuple([x.astype(narrow) if x.dtype == np.float32 else x for x in out]) if type(out) is tuple \
                else out.astype(narrow)

    return computed


def without_infinities(x: np.ndarray) -> np.ndarray:
    """NaN for infinities: LAPACK's ``gesdd`` finds NaN and says so, but with infinities it may search for ever."""
    finite = np.isfinite(x)
    return x if finite.all() else np.where(finite, x, x.dtype.type(np.nan))


def one_by_one(function: Callable, *stacks: Any) -> Any:
    """A function of single matrices, applied along the leading axes of stacks of them. It returns a tuple."""
    lead = stacks[0].shape[:-2]
    if not lead:
        return function(*stacks)
    each = [function(*[x[i] for x in stacks]) for i in np.ndindex(*lead)]
    shapes = each or [function(*[np.zeros(x.shape[len(lead):], x.dtype) for x in stacks])]
    outs = tuple([np.empty((*lead, *np.shape(x)), np.asarray(x).dtype) for x in shapes[0]])
    for i, parts in zip(np.ndindex(*lead), each, strict=True):
        for out, part in zip(outs, parts, strict=True):
            out[i] = part
    return outs
