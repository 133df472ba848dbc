"""Contraction: sums of products over chosen axes of two arrays, computed by BLAS.

In: two arrays and which of their axes are contracted and which are batched. Out: an array with the batch axes, then
the free axes of the left operand, then those of the right one. Matrix products, inner and outer products, ``einsum``
and ``tensordot`` are all made of this operation.

    { lambda ; a:f64[2,3] b:f64[3,4]. let c:f64[2,4] = dot_general[dimension_numbers=(((1,), (0,)), ((), ()))
                                                                   preferred_element_type=None] a b in (c,) }
"""
from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.core.device import ThroughHost
from funcgrad.core.primitive import BILINEAR, Kind, Linear, Primitive
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.options import tensorfloat32
from funcgrad.ops.promotion import result_type_of, to_array
from funcgrad.ops.structural import broadcast_in_dim, convert_element_type, moveaxis, pad, rev, transpose

Dimensions = tuple[tuple[Shape, Shape], tuple[Shape, Shape]]

# ---------------------------------------------------------------- user functions


def dot_general(lhs: Any, rhs: Any, dimension_numbers: Any, precision: Any = None,
                preferred_element_type: Any = None) -> Any:
    """The sum of products of two arrays over chosen axes.

    Args:
      lhs, rhs: arrays; different dtypes are promoted.
      dimension_numbers: ``((lhs_contract, rhs_contract), (lhs_batch, rhs_batch))``: pairs of axes that are summed
        over, and pairs that are kept as one axis. Paired axes have equal sizes.
      precision: "high" or "tensorfloat32" lets a GPU round operands of float32 to 10 bits, for speed; by default, and on
        the processor, products are computed at the full precision of the dtype. Names of ``fg.lax.Precision``, or a pair.
      preferred_element_type: the dtype in which the sum is accumulated and returned; default that of the operands.

    Returns an array with axes (batch, free axes of lhs, free axes of rhs). Raises TypeError when the axes do not fit.

    >>> dot_general(fnp.ones((5, 2, 3)), fnp.ones((5, 3, 4)), (((2,), (1,)), ((0,), (0,)))).shape
    (5, 2, 4)
    """
    lhs, rhs = same_dtype("dot_general", lhs, rhs)
    return contract("dot_general", lhs, rhs, as_dimensions(dimension_numbers, len(lhs.shape), len(rhs.shape)),
                    preferred_element_type, precision)


def dot(lhs: Any, rhs: Any, precision: Any = None, preferred_element_type: Any = None, *,
        dimension_numbers: Any = None) -> Any:
    """The product of vectors and matrices: the last axis of lhs against the first of rhs.

    With ``dimension_numbers``, as ``dot_general``. Raises ValueError for arrays with no axis or more than two.
    """
    if dimension_numbers is not None:
        return dot_general(lhs, rhs, dimension_numbers, precision, preferred_element_type)
    lhs, rhs = same_dtype("dot", lhs, rhs)
    if not 1 <= len(lhs.shape) <= 2 or not 1 <= len(rhs.shape) <= 2:
        raise ValueError(message("dot: the operands must be vectors or matrices",
                                 f"{describe(lhs)} and {describe(rhs)}", "one or two axes each",
                                 "dimension_numbers, or fnp.dot"))
    return contract("dot", lhs, rhs, (((len(lhs.shape) - 1,), (0,)), ((), ())), preferred_element_type, precision)


def batch_matmul(lhs: Any, rhs: Any, precision: Any = None) -> Any:
    """The matrix products of two stacks of matrices, whose leading axes are equal."""
    lhs, rhs = same_dtype("batch_matmul", lhs, rhs)
    ndim = len(lhs.shape)
    if ndim < 2 or ndim != len(rhs.shape):
        raise ValueError(message("batch_matmul: the operands must be stacks of matrices with equally many axes",
                                 f"{describe(lhs)} and {describe(rhs)}", None, "fnp.matmul, which broadcasts"))
    batch = tuple(range(ndim - 2))
    return contract("batch_matmul", lhs, rhs, (((ndim - 1,), (ndim - 2,)), (batch, batch)), None, precision)


def contract(name: str, lhs: Any, rhs: Any, dimensions: Dimensions, preferred_element_type: Any, precision: Any = None) -> Any:
    """Binds the operation for operands of one dtype, after a check that names the user's function.

    Full precision is no parameter of the operation: only TensorFloat-32 is seen in a program.
    """
    try:
        result_shape(lhs.shape, rhs.shape, dimensions)
    except TypeError as error:
        raise TypeError(_misfit(name, lhs, rhs, dimensions, error)) from None
    if preferred_element_type is not None:
        preferred_element_type = accumulator(name, lhs.dtype, dtypes.as_dtype(preferred_element_type))
    params = precision_params(lhs.dtype, precision) if tensorfloat32(precision) else {}
    return dot_general_p.bind(lhs, rhs, dimension_numbers=dimensions,
                              preferred_element_type=preferred_element_type, **params)[0]


def precision_params(dtype: np.dtype, precision: Any) -> dict[str, str]:
    """The parameter of a product that may be one of TensorFloat-32."""
    return {"precision": "tensorfloat32"} if tensorfloat32(precision) and dtype.name in ("float32", "complex64") else {}


def same_dtype(name: str, lhs: Any, rhs: Any) -> tuple[Any, Any]:
    """Two operands as arrays of one dtype; their shapes stay."""
    if isinstance(lhs, Array) and isinstance(rhs, Array) and lhs.dtype is rhs.dtype:
        return lhs, rhs
    dtype, weak = result_type_of(name, (lhs, rhs))
    lhs, rhs = to_array(lhs), to_array(rhs)
    return (lhs if lhs.dtype == dtype else convert_element_type(lhs, dtype, weak_type=weak),
            rhs if rhs.dtype == dtype else convert_element_type(rhs, dtype, weak_type=weak))


def accumulator(name: str, dtype: np.dtype, preferred: np.dtype) -> np.dtype:
    """The dtype asked for, if it can hold the result. Raises TypeError for complex to real and float to integer."""
    order = "buifc"
    have, want = dtypes.kind(dtype), dtypes.kind(preferred)
    if order.index(want) < order.index(have) and not (have in "iu" and want in "iu"):
        raise TypeError(message(f"{name}: preferred_element_type cannot hold the result",
                                f"{preferred} for operands of {dtype}",
                                "a dtype of the same kind or a higher one", "a conversion of the result"))
    return preferred


def as_dimensions(dimension_numbers: Any, lhs_ndim: int, rhs_ndim: int) -> Dimensions:
    """The user's dimension numbers as tuples of nonnegative integers. Raises TypeError when they are malformed."""
    try:
        (lc, rc), (lb, rb) = dimension_numbers
        return ((_axes(lc, lhs_ndim), _axes(rc, rhs_ndim)), (_axes(lb, lhs_ndim), _axes(rb, rhs_ndim)))
    except (TypeError, ValueError):
        raise TypeError(message(
            "dot_general: the dimension numbers are malformed", describe(dimension_numbers),
            "((lhs_contract, rhs_contract), (lhs_batch, rhs_batch)), four sequences of integers")) from None


def _axes(axes: Sequence[int], ndim: int) -> Shape:
    axes = [operator.index(d) for d in axes]
    return tuple([d + ndim if -ndim <= d < 0 else d for d in axes])


def correlate_valid(x: Any, window: Any) -> Any:
    """``out[..., i] = sum over j of x[..., i + j] * window[..., j]`` where the window lies inside x.

    The leading axes of the two, which have one dtype, are equal; the window is not longer than x and not empty.
    """
    return correlate_valid_p.bind(x, window)[0]


# ---------------------------------------------------------------- shape


@functools.lru_cache(maxsize=4096)
def result_shape(lhs: Shape, rhs: Shape, dimensions: Dimensions) -> Shape:
    """The shape of the result. Raises TypeError with a bare reason when the axes do not fit."""
    (lc, rc), (lb, rb) = dimensions
    for what, left, right in (("contracting", lc, rc), ("batch", lb, rb)):
        if len(left) != len(right):
            raise TypeError(f"as many {what} axes of lhs as of rhs")
        for shape, axes, side in ((lhs, left, "lhs"), (rhs, right, "rhs")):
            if any(not 0 <= d < len(shape) for d in axes):
                raise TypeError(f"{what} axes of {side} from 0 to {len(shape) - 1}")
        if any(lhs[i] != rhs[j] for i, j in zip(left, right, strict=True)):
            raise TypeError(f"{what} axes of equal sizes, not {_sizes(lhs, left)} and {_sizes(rhs, right)}")
    for axes, side in ((lc + lb, "lhs"), (rc + rb, "rhs")):
        if len(set(axes)) != len(axes):
            raise TypeError(f"each axis of {side} at most once among the contracting and the batch axes")
    return tuple([lhs[i] for i in lb] + [n for i, n in enumerate(lhs) if i not in lc + lb]
                 + [n for i, n in enumerate(rhs) if i not in rc + rb])


def _sizes(shape: Shape, axes: Shape) -> str:
    return str(tuple([shape[d] for d in axes]))


def _misfit(name: str, lhs: Any, rhs: Any, dimensions: Dimensions, reason: object) -> str:
    (lc, rc), (lb, rb) = dimensions
    lhs_rhs = " and ".join(str(x) if isinstance(x, ShapedArray) else describe(x) for x in (lhs, rhs))
    batched = f", batch axes {lb} and {rb}" if lb or rb else ""
    return message(f"{name}: the operands do not fit together",
                   f"{lhs_rhs} with contracting axes {lc} and {rc}{batched}", reason)


def dot_general_shape(lhs: ShapedArray, rhs: ShapedArray, *, dimension_numbers: Dimensions,
                      preferred_element_type: np.dtype | None, precision: str | None = None) -> ShapedArray:
    if lhs.dtype != rhs.dtype:
        raise TypeError(f"dot_general takes operands of one dtype, not {lhs} and {rhs}")
    try:
        shape = result_shape(lhs.shape, rhs.shape, dimension_numbers)
    except TypeError as error:
        raise TypeError(_misfit("dot_general", lhs, rhs, dimension_numbers, error)) from None
    return shaped_array(shape, preferred_element_type or lhs.dtype)


# ---------------------------------------------------------------- evaluation


_AS_THEY_ARE = frozenset(map(np.dtype, ("float32", "float64", "complex64", "complex128", "int32", "int64")))


def dot_general_impl(xp: Any, lhs: Any, rhs: Any, *, dimension_numbers: Dimensions,
                     preferred_element_type: np.dtype | None, precision: str | None = None) -> Any:
    compute = None
    if preferred_element_type is not None or lhs.dtype not in _AS_THEY_ARE:
        compute, out_dtype = compute_dtypes(lhs.dtype, preferred_element_type)
        if compute is not None:
            lhs, rhs = lhs.astype(compute), rhs.astype(compute)
    out = _contract(xp, lhs, rhs, dimension_numbers)
    if compute is None:
        return out
    # A float too large for an integer is undefined, where the integer sum wraps around.
    return (out.astype(np.int64) if out_dtype.kind in "iu" and compute.kind == "f" else out).astype(out_dtype)


def _contract(xp: Any, lhs: Any, rhs: Any, dimensions: Dimensions) -> Any:
    (lc, rc), (lb, _) = dimensions
    if len(lc) == 1 and not lb and lhs.ndim <= 2 and rhs.ndim <= 2:
        return xp.dot(lhs.T if lc[0] == 0 else lhs, rhs if rc[0] == 0 else rhs.T)
    left_order, left_shape, right_order, right_shape, shape, order = _plan(lhs.shape, rhs.shape, dimensions)
    lhs = xp.reshape(xp.transpose(lhs, left_order), left_shape)
    rhs = xp.reshape(xp.transpose(rhs, right_order), right_shape)
    out = xp.reshape(xp.matmul(lhs, rhs) if lc else xp.multiply(lhs, rhs), shape)
    return out if order is None else xp.transpose(out, order)


@functools.lru_cache(maxsize=256)
def compute_dtypes(dtype: np.dtype, preferred: np.dtype | None) -> tuple[np.dtype | None, np.dtype]:
    """The dtype to compute in (None: the operands' own) and that of the result.

    Narrow floats accumulate in float32. Products of 8- and 16-bit integers are exact in float64, where BLAS computes.
    """
    out = preferred or dtype
    if dtype.kind == "b":
        return (None if out == dtype else out), out
    if dtype.kind in "iu" and dtype.itemsize <= 2 and out.kind in "iu":
        return np.dtype(np.float64), out
    widths = [np.dtype(np.float32) if dtypes.kind(d) == "f" and d.itemsize <= 2 else d for d in (dtype, out)]
    compute = np.promote_types(*widths)
    return (None if compute == dtype == out else compute), out


@functools.lru_cache(maxsize=4096)
def _plan(lhs: Shape, rhs: Shape, dimensions: Dimensions) -> tuple:
    """How to make a matrix product of it: permutation and shape of each operand, shape and permutation of the result.

    The operands become (batch, m, k) and (batch, k, n), views wherever strides allow; if nothing is contracted, they
    become factors that broadcast.
    """
    (lc, rc), (lb, rb) = dimensions
    lf = tuple([i for i in range(len(lhs)) if i not in lc + lb])
    rf = tuple([j for j in range(len(rhs)) if j not in rc + rb])
    batch, rows, columns = _take(lhs, lb), _take(lhs, lf), _take(rhs, rf)
    if not lc:
        return (lb + lf, batch + rows + (1,) * len(rf), rb + rf, batch + (1,) * len(lf) + columns,
                batch + rows + columns, None)
    # Contracted axes are taken in the order of the larger operand, which then needs no copy if they are neighbours.
    larger = 0 if math.prod(lhs) >= math.prod(rhs) else 1
    pairs = sorted(zip(lc, rc, strict=True), key=operator.itemgetter(larger))
    lc, rc = tuple([i for i, _ in pairs]), tuple([j for _, j in pairs])
    m, k, n = math.prod(rows), math.prod(_take(lhs, lc)), math.prod(columns)
    before = tuple([j for j in rf if j < rc[0]])
    if not lb and before and rc == tuple(range(rc[0], rc[0] + len(rc))):
        # A stack of matrices on the right: (m, k) times (before, k, after) needs no copy of the stack.
        first, last = _take(rhs, before), columns[len(before):]
        ends = len(first), len(first) + len(rows), len(columns) + len(rows)
        order = (*range(ends[0], ends[1]), *range(ends[0]), *range(ends[1], ends[2]))
        return (lf + lc, (m, k), before + rc + rf[len(before):], (math.prod(first), k, math.prod(last)),
                first + rows + last, order)
    return lb + lf + lc, (*batch, m, k), rb + rc + rf, (*batch, k, n), batch + rows + columns, None


def _take(shape: Shape, axes: Shape) -> Shape:
    return tuple([shape[d] for d in axes])


# ---------------------------------------------------------------- transformations


def dot_general_transpose(cotangents: tuple, lhs: Any, rhs: Any, *, dimension_numbers: Dimensions,
                          preferred_element_type: np.dtype | None, **precision: str) -> tuple:
    ct, = cotangents
    if isinstance(lhs, Linear):
        return _lhs_cotangent(ct, lhs.aval, rhs, dimension_numbers, precision), None
    return None, _rhs_cotangent(ct, lhs, rhs.aval, dimension_numbers, precision)


def _lhs_cotangent(ct: Any, lhs: ShapedArray, rhs: Any, dimensions: Dimensions, precision: dict[str, str]) -> Any:
    (lc, rc), (lb, rb) = dimensions
    lf, rf, ct_batch, ct_rows, ct_columns = _free_axes(lhs.ndim, len(rhs.shape), dimensions)
    out = _plain(ct, convert_element_type(rhs, ct.dtype), ((ct_columns, rf), (ct_batch, rb)), precision)
    contracted = [i for _, i in sorted(zip(rc, lc, strict=True))]  # the result has them in the order they have in rhs
    return convert_element_type(transpose(out, _positions(lb + lf + tuple(contracted))), lhs.dtype)


def _rhs_cotangent(ct: Any, lhs: Any, rhs: ShapedArray, dimensions: Dimensions, precision: dict[str, str]) -> Any:
    (lc, rc), (lb, rb) = dimensions
    lf, rf, ct_batch, ct_rows, ct_columns = _free_axes(len(lhs.shape), rhs.ndim, dimensions)
    out = _plain(convert_element_type(lhs, ct.dtype), ct, ((lf, ct_rows), (lb, ct_batch)), precision)
    contracted = [j for _, j in sorted(zip(lc, rc, strict=True))]
    return convert_element_type(transpose(out, _positions(rb + tuple(contracted) + rf)), rhs.dtype)


def _plain(lhs: Any, rhs: Any, dimensions: Dimensions, precision: dict[str, str]) -> Any:
    return dot_general_p.bind(lhs, rhs, dimension_numbers=dimensions, preferred_element_type=None, **precision)[0]


def _free_axes(lhs_ndim: int, rhs_ndim: int, dimensions: Dimensions) -> tuple[Shape, Shape, Shape, Shape, Shape]:
    """The free axes of lhs and of rhs, and where the batch, lhs and rhs axes are in the result."""
    (lc, rc), (lb, rb) = dimensions
    lf = tuple([i for i in range(lhs_ndim) if i not in lc + lb])
    rf = tuple([i for i in range(rhs_ndim) if i not in rc + rb])
    ends = len(lb), len(lb) + len(lf), len(lb) + len(lf) + len(rf)
    return lf, rf, tuple(range(ends[0])), tuple(range(ends[0], ends[1])), tuple(range(ends[1], ends[2]))


def _positions(axes: Shape) -> list[int]:
    """The permutation that brings axis i of the result to place ``axes[i]``."""
    return sorted(range(len(axes)), key=axes.__getitem__)


def dot_general_batch(axis: Any, args: tuple, axes: tuple, *, dimension_numbers: Dimensions, **params: Any) -> tuple:
    (lc, rc), (lb, rb) = dimension_numbers
    dl, dr = axes
    lc, lb = _around(lc, dl), _around(lb, dl)
    rc, rb = _around(rc, dr), _around(rb, dr)
    if dl is not None and dr is not None:
        lb, rb, out = (dl, *lb), (dr, *rb), 0
    elif dl is not None:  # one more free axis of lhs
        out = len(lb) + sum(i not in lc + lb for i in range(dl))
    else:
        out = len(lb) + len(args[0].shape) - len(lc) - len(lb) + sum(j not in rc + rb for j in range(dr))
    return dot_general_p.bind(*args, dimension_numbers=((lc, rc), (lb, rb)), **params), (out,)


def _around(axes: Shape, d: int | None) -> Shape:
    """The same axes once a batch axis is put in at ``d``."""
    return axes if d is None else tuple([i + (i >= d) for i in axes])


def multiply_adds(count: float, dtype: Any) -> float:
    """The arithmetic of so many multiplications with an addition each."""
    return (8 if dtype.kind == "c" else 2) * count


def dot_general_flops(ins: Sequence, outs: Sequence, *, dimension_numbers: tuple, **params: Any) -> float:
    terms = math.prod(ins[0].shape[d] for d in dimension_numbers[0][0])
    return multiply_adds(outs[0].size * terms, ins[0].dtype)


dot_general_p = Primitive("dot_general", Kind.CONTRACTION, dot_general_shape, dot_general_impl, BILINEAR,
                          dot_general_transpose, dot_general_batch, flops=dot_general_flops)

# ---------------------------------------------------------------- correlation along the last axis


def correlate_valid_shape(x: ShapedArray, window: ShapedArray) -> ShapedArray:
    if x.dtype != window.dtype or not x.shape or x.shape[:-1] != window.shape[:-1] \
            or not 0 < window.shape[-1] <= x.shape[-1]:
        raise TypeError(f"correlate_valid takes arrays of one dtype and equal leading axes, not {x} and {window}")
    return shaped_array((*x.shape[:-1], x.shape[-1] - window.shape[-1] + 1), x.dtype)


def correlate_valid_impl(xp: Any, x: Any, window: Any) -> Any:
    compute, dtype = compute_dtypes(x.dtype, None)
    if compute is not None:
        x, window = x.astype(compute), window.astype(compute)
    if x.ndim == 1:
        out = xp.correlate(x, window.conj(), "valid")
    else:
        windows = xp.lib.stride_tricks.sliding_window_view(x, window.shape[-1], axis=-1)
        out = xp.einsum("...ij,...j->...i", windows, window)
    if compute is None:
        return out
    return (out.astype(np.int64) if dtype.kind in "iu" else out).astype(dtype)


def correlate_valid_on_gpu(xp: Any, x: Any, window: Any) -> Any:
    """As a product with all windows; CuPy's correlation may go through Fourier transforms, which lose digits."""
    if (x.shape[-1] - window.shape[-1] + 1) * window.size > 1 << 26:
        raise ThroughHost
    return correlate_valid_impl(xp, x[None], window[None])[0] if x.ndim == 1 else correlate_valid_impl(xp, x, window)


def correlate_valid_transpose(cotangents: tuple, x: Any, window: Any) -> tuple:
    ct, = cotangents
    if isinstance(window, Linear):
        return None, correlate_valid(x, ct)
    reach = window.shape[-1] - 1
    padding = [(0, 0, 0)] * (ct.ndim - 1) + [(reach, reach, 0)]
    return correlate_valid(pad(ct, ct.dtype.type(0), padding), rev(window, (ct.ndim - 1,))), None


def correlate_valid_batch(axis: Any, args: tuple, axes: tuple) -> tuple:
    x, window = [broadcast_in_dim(v, (axis.size, *v.shape), range(1, v.ndim + 1)) if d is None else moveaxis(v, d, 0)
                 for v, d in zip(args, axes, strict=True)]
    return correlate_valid_p.bind(x, window), (0,)


correlate_valid_p = Primitive("correlate_valid", Kind.OPAQUE, correlate_valid_shape, correlate_valid_impl, BILINEAR,
                              correlate_valid_transpose, correlate_valid_batch,
                              cuda=correlate_valid_on_gpu,
                              flops=lambda ins, outs: multiply_adds(outs[0].size * ins[1].shape[-1], ins[0].dtype))
