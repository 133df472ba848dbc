"""Products of vectors, matrices and stacks of them: ``matmul``, ``dot``, ``einsum``, ``tensordot`` and their kin.

In: arrays and scalars. Out: arrays, by NumPy's rules for the shapes. Everything is made of one operation,
``dot_general``, and of index maps.

    >>> import funcgrad.numpy as fnp
    >>> fnp.matmul(fnp.ones((5, 2, 3)), fnp.ones((3, 4))).shape
    (5, 2, 4)
"""
from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.core.trace import current_trace
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops import structural as s
from funcgrad.ops.contraction import contract, correlate_valid, dot_general_p, same_dtype
from funcgrad.ops.elementwise import conj, multiply, sub
from funcgrad.ops.operators import binary
from funcgrad.ops.options import tensorfloat32
from funcgrad.ops.promotion import broadcast_shape, promote_args, unary_arg
from funcgrad.ops.reduction import as_axis

_MATRICES = {"dimension_numbers": (((1,), (0,)), ((), ())), "preferred_element_type": None}

# ---------------------------------------------------------------- matrices and vectors


def matmul(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None,
           out_sharding: None = None) -> Any:
    """The matrix product, ``a @ b``: stacks of matrices broadcast against each other, vectors stand for matrices.

    Args:
      a, b: arrays with at least one axis, (..., m, k) and (..., k, n); a vector (k,) on either side drops its axis.
      precision: "high" or "tensorfloat32" lets a GPU round operands of float32 to 10 bits; otherwise products are computed
        at the full precision of the dtype.
      preferred_element_type: the dtype in which the sums are accumulated and returned.
      out_sharding: accepted for compatibility; it must be None.

    Raises ValueError for scalars and stacks that do not broadcast, TypeError when k differs.
    """
    if isinstance(a, Array) and isinstance(b, Array) and preferred_element_type is None and out_sharding is None \
            and not tensorfloat32(precision):
        m, n = a.shape, b.shape
        if len(m) == 2 and len(n) == 2 and m[1] == n[0] and a.dtype is b.dtype:
            return current_trace.get().process(dot_general_p, (a, b), _MATRICES)[0]
    _no_sharding("matmul", out_sharding)
    a, b = same_dtype("matmul", a, b)
    for position, x in enumerate((a, b)):
        if not x.shape:
            raise ValueError(message("matmul: an operand has no axes", f"argument {position} is {describe(x)}",
                                     "at least one axis", "fnp.multiply, or * for scalars"))
    k_a, k_b = len(a.shape) - 1, max(len(b.shape) - 2, 0)
    return _stacked("matmul", a, b, k_a, k_b, preferred_element_type, precision)


def _stacked(name: str, a: Any, b: Any, k_a: int, k_b: int, preferred: Any, precision: Any) -> Any:
    """The product over axis k_a of a and k_b of b; the axes before the last two (or one) broadcast."""
    if len(a.shape) <= 2 and len(b.shape) <= 2:
        return contract(name, a, b, (((k_a,), (k_b,)), ((), ())), preferred, precision)
    shape_a, shape_b, dimensions, order, shape = _stack_plan(name, a.shape, b.shape, k_a, k_b)
    out = contract(name, s.reshape(a, shape_a), s.reshape(b, shape_b), dimensions, preferred, precision)
    return s.reshape(s.transpose(out, order), shape)


@functools.lru_cache(maxsize=4096)
def _stack_plan(name: str, shape_a: Shape, shape_b: Shape, k_a: int, k_b: int) -> tuple:
    """The shapes of the operands, the axes to contract, and the permutation and shape of the result.

    A stack axis that only one operand has, or that is 1 in the other, is one more free axis: nothing is repeated.
    """
    rows, columns = (1 if len(shape_a) > 1 else 0), (1 if len(shape_b) > 1 else 0)
    stack_a, stack_b = shape_a[:len(shape_a) - 1 - rows], shape_b[:len(shape_b) - 1 - columns]
    stack = broadcast_shape(name, stack_a, stack_b)
    places_a, places_b = _places(stack_a, stack), _places(stack_b, stack)
    both = [d for d in places_a if d in places_b]
    batch = tuple([places_a.index(d) for d in both]), tuple([places_b.index(d) for d in both])
    pair = (len(places_a) + k_a - len(stack_a),), (len(places_b) + k_b - len(stack_b),)
    # The result has the common axes of the stack, then those of a and its row, then those of b and its column.
    places = both + [d for d in places_a if d not in both] + [len(stack)] * rows
    places += [d for d in places_b if d not in both] + [len(stack) + 1] * columns
    order = tuple(sorted(range(len(places)), key=places.__getitem__))
    row = tuple([n for d, n in enumerate(shape_a) if d >= len(stack_a) and d != k_a])
    column = tuple([n for d, n in enumerate(shape_b) if d >= len(stack_b) and d != k_b])
    kept_a, kept_b = tuple([stack[d] for d in places_a]), tuple([stack[d] for d in places_b])
    return (kept_a + shape_a[len(stack_a):], kept_b + shape_b[len(stack_b):], (pair, batch), order,
            (*stack, *row, *column))


def _places(own: Shape, stack: Shape) -> list[int]:
    """For each stack axis of an operand that is not 1, its place in the broadcast stack."""
    return [len(stack) - len(own) + d for d, n in enumerate(own) if n != 1]


def _no_sharding(name: str, out_sharding: Any) -> None:
    if out_sharding is not None:
        raise ValueError(f"{name}: out_sharding needs several devices, which funcgrad does not use; leave it out")


def dot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None,
        out_sharding: None = None) -> Any:
    """The sum of products over the last axis of a and the last but one of b; with a scalar, the product.

    Raises TypeError when the sizes differ.
    """
    _no_sharding("dot", out_sharding)
    if _is_scalar(a) or _is_scalar(b):
        return _product("dot", a, b, preferred_element_type)
    a, b = same_dtype("dot", a, b)
    pair = (len(a.shape) - 1,), (max(len(b.shape) - 2, 0),)
    return contract("dot", a, b, (pair, ((), ())), preferred_element_type, precision)


def _is_scalar(x: Any) -> bool:
    return not getattr(x, "shape", ()) and not isinstance(x, (list, tuple))


def _product(name: str, a: Any, b: Any, preferred: Any) -> Any:
    a, b = promote_args(name, (a, b))
    out = multiply(a, b)
    return out if preferred is None else s.convert_element_type(out, preferred)


def inner(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The sum of products over the last axis of both; with a scalar, the product."""
    if _is_scalar(a) or _is_scalar(b):
        return _product("inner", a, b, preferred_element_type)
    a, b = same_dtype("inner", a, b)
    return contract("inner", a, b, (((len(a.shape) - 1,), (len(b.shape) - 1,)), ((), ())), preferred_element_type, precision)


def outer(a: Any, b: Any, out: None = None) -> Any:
    """All products of an element of a with one of b; more axes are flattened. The shape is (a.size, b.size)."""
    _no_out("outer", out)
    a, b = (_flat(x) for x in same_dtype("outer", a, b))
    return contract("outer", a, b, (((), ()), ((), ())), None)


def _flat(x: Any) -> Any:
    return s.reshape(x, (x.size,))


def _no_out(name: str, out: Any) -> None:
    if out is not None:
        raise NotImplementedError(f"{name}: arrays are immutable, so out= cannot be filled; use the result instead")


def vdot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The scalar product of the flattened arrays; a complex a is conjugated."""
    a, b = same_dtype("vdot", a, b)
    return contract("vdot", conj(_flat(a)), _flat(b), (((0,), (0,)), ((), ())), preferred_element_type, precision)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The scalar products of vectors that lie along one axis; a complex x1 is conjugated. Other axes broadcast."""
    x1, x2 = same_dtype("vecdot", x1, x2)
    x1, x2 = (_axis_last("vecdot", x, axis) for x in (x1, x2))
    if x1.shape[-1] != x2.shape[-1]:
        raise ValueError(message("vecdot: the vectors have different sizes",
                                 f"{x1.shape[-1]} and {x2.shape[-1]} along axis {axis}", "equal sizes"))
    column = s.reshape(x2, (*x2.shape, 1))
    out = _stacked("vecdot", s.reshape(conj(x1), (*x1.shape[:-1], 1, x1.shape[-1])), column, len(x1.shape),
                   len(column.shape) - 2, preferred_element_type, precision)
    return s.reshape(out, out.shape[:-2])


def matvec(x1: Any, x2: Any, /) -> Any:
    """The products of stacks of matrices (..., m, k) and of vectors (..., k), whose leading axes broadcast."""
    x1, x2 = same_dtype("matvec", x1, x2)
    _least_axes("matvec", (x1, 2), (x2, 1))
    if len(x2.shape) == 1:
        return _stacked("matvec", x1, x2, len(x1.shape) - 1, 0, None, None)
    out = _stacked("matvec", x1, s.reshape(x2, (*x2.shape, 1)), len(x1.shape) - 1, len(x2.shape) - 1, None, None)
    return s.reshape(out, out.shape[:-1])


def vecmat(x1: Any, x2: Any, /) -> Any:
    """The products of stacks of vectors (..., k), conjugated if complex, and of matrices (..., k, n)."""
    x1, x2 = same_dtype("vecmat", x1, x2)
    _least_axes("vecmat", (x1, 1), (x2, 2))
    x1 = conj(x1)
    if len(x1.shape) == 1:
        return _stacked("vecmat", x1, x2, 0, len(x2.shape) - 2, None, None)
    rows = s.reshape(x1, (*x1.shape[:-1], 1, x1.shape[-1]))
    out = _stacked("vecmat", rows, x2, len(x1.shape), len(x2.shape) - 2, None, None)
    return s.reshape(out, (*out.shape[:-2], out.shape[-1]))


def _least_axes(name: str, *pairs: tuple[Any, int]) -> None:
    for position, (x, least) in enumerate(pairs):
        if len(x.shape) < least:
            raise ValueError(message(f"{name}: an operand has too few axes", f"argument {position} is {describe(x)}",
                                     f"at least {least}"))


def tensordot(a: Any, b: Any, axes: Any = 2, *, precision: Any = None, preferred_element_type: Any = None,
              out_sharding: None = None) -> Any:
    """The sum of products over chosen pairs of axes.

    Args:
      axes: an integer n for the last n axes of a and the first n of b, or two sequences of axes.

    Raises TypeError when there are fewer axes than asked for, or when paired sizes differ.
    """
    _no_sharding("tensordot", out_sharding)
    a, b = same_dtype("tensordot", a, b)
    ndim_a, ndim_b = len(a.shape), len(b.shape)
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(ndim_a, ndim_b):
            raise TypeError(message("tensordot: axes is out of range", f"{axes} for {describe(a)} and {describe(b)}",
                                    f"a number from 0 to {min(ndim_a, ndim_b)}"))
        pairs = tuple(range(ndim_a - axes, ndim_a)), tuple(range(axes))
    else:
        try:
            left, right = axes
        except (TypeError, ValueError):
            raise TypeError(message("tensordot: axes must be an integer or two sequences of axes",
                                    describe(axes))) from None
        pairs = _axes("tensordot", left, ndim_a), _axes("tensordot", right, ndim_b)
    return contract("tensordot", a, b, (pairs, ((), ())), preferred_element_type, precision)


def _axes(name: str, axes: Any, ndim: int) -> tuple[int, ...]:
    axes = (axes,) if isinstance(axes, (int, np.integer)) else axes
    return tuple([as_axis(name, d, ndim) for d in axes])


def _axis_last(name: str, x: Any, axis: int) -> Any:
    return s.moveaxis(x, as_axis(name, axis, len(x.shape)), len(x.shape) - 1)


def kron(a: Any, b: Any) -> Any:
    """The Kronecker product: b in blocks, one for each element of a and multiplied by it."""
    a, b = same_dtype("kron", a, b)
    ndim = max(len(a.shape), len(b.shape))
    a, b = (s.reshape(x, (1,) * (ndim - len(x.shape)) + x.shape) for x in (a, b))
    out = contract("kron", a, b, (((), ()), ((), ())), None)
    out = s.transpose(out, [d for i in range(ndim) for d in (i, ndim + i)])
    return s.reshape(out, [m * n for m, n in zip(a.shape, b.shape, strict=True)])


# ---------------------------------------------------------------- cross product, trace


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """The cross product of vectors with 3 components along an axis (2: the third is 0; both 2: only the third).

    Args:
      axisa, axisb, axisc: where the components lie in a, in b and in the result.
      axis: one place for all three.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = same_dtype("cross", a, b)
    a, b = _axis_last("cross", a, axisa), _axis_last("cross", b, axisb)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ValueError(message("cross: vectors must have 2 or 3 components", f"{describe(a)} and {describe(b)}"))
    (a0, a1, a2), (b0, b1, b2) = _components(a), _components(b)
    third = sub(multiply(a0, b1), multiply(a1, b0))
    if a2 is None and b2 is None:
        return third
    first = _difference(_times(a1, b2), _times(a2, b1))
    second = _difference(_times(a2, b0), _times(a0, b2))
    parts = [s.expand_dims(x, (len(third.shape),)) for x in (first, second, third)]
    out = s.concatenate(parts, len(third.shape))
    return s.moveaxis(out, len(third.shape), as_axis("cross", axisc, len(out.shape)))


def _components(x: Any) -> tuple[Any, Any, Any]:
    last = len(x.shape) - 1
    parts = [s.squeeze(s.slice_in_dim(x, i, i + 1, axis=last), (last,)) for i in range(x.shape[-1])]
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _times(x: Any, y: Any) -> Any:
    return None if x is None or y is None else multiply(x, y)


def _difference(x: Any, y: Any) -> Any:
    return -y if x is None else x if y is None else sub(x, y)


def trace(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None, out: None = None) -> Any:
    """The sum along a diagonal of two axes; ``offset`` counts diagonals above the main one. Bools and narrow integers
    are summed as int64 (uint64)."""
    _no_out("trace", out)
    a = unary_arg("trace", a)
    if dtype is not None:
        a = s.convert_element_type(a, dtype)
    elif a.dtype.kind in "bi":
        a = s.convert_element_type(a, np.int64)
    elif a.dtype.kind == "u":
        a = s.convert_element_type(a, np.uint64)
    ndim = len(a.shape)
    axis1, axis2 = as_axis("trace", axis1, ndim), as_axis("trace", axis2, ndim)
    x = diagonal_of(a, axis1, axis2, operator.index(offset))
    return s.sum_over(x, (ndim - 2,))


def diagonal_of(x: Any, axis1: int, axis2: int, offset: int = 0) -> Any:
    """The diagonal of two axes (nonnegative), as the last axis of the result. An index map: in row-major order the
    elements of the diagonal of an n by n matrix are n + 1 apart."""
    if axis1 == axis2:
        raise ValueError(message("diagonal: the two axes must differ", f"axis {axis1} twice"))
    ndim = len(x.shape)
    x = s.transpose(x, [d for d in range(ndim) if d not in (axis1, axis2)] + [axis1, axis2])
    top, left = max(-offset, 0), max(offset, 0)
    n = max(min(x.shape[-2] - top, x.shape[-1] - left), 0)
    if n == 0:
        return s.full((*x.shape[:-2], 0), x.dtype.type(0))
    x = s.slice_in_dim(s.slice_in_dim(x, top, top + n, axis=ndim - 2), left, left + n, axis=ndim - 1)
    return s.slice_in_dim(s.reshape(x, (*x.shape[:-2], n * n)), 0, n * n, n + 1, axis=ndim - 2)


# ---------------------------------------------------------------- convolution of vectors


def convolve(a: Any, v: Any, mode: str = "full", *, precision: Any = None, preferred_element_type: Any = None) -> Any:
    """The discrete convolution of two vectors, in floating point.

    Args:
      mode: "full", all overlaps (size M + N - 1); "same", the middle max(M, N); "valid", the complete overlaps.
    """
    a, v = _vectors("convolve", a, v, preferred_element_type)
    if len(a) < len(v):
        a, v = v, a
    return _overlaps("convolve", a, s.rev(v, (0,)), mode)


def correlate(a: Any, v: Any, mode: str = "valid", *, precision: Any = None,
              preferred_element_type: Any = None) -> Any:
    """The cross-correlation of two vectors, ``sum over n of a[n + k] * conj(v[n])``, in floating point.

    The modes are those of ``convolve``.
    """
    a, v = _vectors("correlate", a, v, preferred_element_type)
    v = conj(v)
    if len(a) >= len(v):
        return _overlaps("correlate", a, v, mode)
    return s.rev(_overlaps("correlate", v, a, mode), (0,))


def _vectors(name: str, a: Any, v: Any, preferred: Any) -> tuple[Any, Any]:
    a, v = same_dtype(name, a, v)
    if len(a.shape) != 1 or len(v.shape) != 1 or not a.size or not v.size:
        raise ValueError(message(f"{name}: the operands must be vectors that are not empty", f"{describe(a)} and "
                                 f"{describe(v)}", "one axis each"))
    dtype = dtypes.inexact_dtype(a.dtype) if preferred is None else dtypes.as_dtype(preferred)
    return s.convert_element_type(a, dtype), s.convert_element_type(v, dtype)


def _overlaps(name: str, a: Any, window: Any, mode: str) -> Any:
    """Correlation with a window that is not longer."""
    reach, half = len(window) - 1, len(window) // 2
    try:
        low, high = {"full": (reach, reach), "same": (half, reach - half), "valid": (0, 0)}[mode]
    except KeyError:
        raise ValueError(message(f"{name}: the mode is unknown", repr(mode), '"full", "same" or "valid"')) from None
    return correlate_valid(s.pad(a, a.dtype.type(0), [(low, high, 0)]), window)


# ---------------------------------------------------------------- operators


OPERATORS: dict[str, Callable] = dict(zip(("__matmul__", "__rmatmul__"), binary(matmul), strict=True))
"""The methods behind ``a @ b``, for ``core.array.install``."""
