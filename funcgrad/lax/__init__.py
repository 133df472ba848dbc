"""The primitive operations under the names of ``jax.lax``, and control flow.

In and out: arrays. These functions do what they say and little else: no axes are guessed, and shapes are given in full.
``funcgrad.numpy`` is the comfortable layer above.

    >>> import funcgrad.numpy as fnp
    >>> scan(lambda total, x: (total + x, total), 0.0, fnp.arange(4.))
    (Array(6., dtype=float64), Array([0., 0., 1., 3.], dtype=float64))
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.control.cond import cond, switch
from funcgrad.control.loops import fori_loop, while_loop
from funcgrad.control.scan import associative_scan, map, scan
from funcgrad.control.solve import custom_linear_solve, custom_root
from funcgrad.errors import message
from funcgrad.ops import structural
from funcgrad.ops.collective import (
    all_gather,
    all_to_all,
    axis_index,
    axis_size,
    pmax,
    pmean,
    pmin,
    ppermute,
    pshuffle,
    psum,
    psum_scatter,
    pswapaxes,
)
from funcgrad.ops.contraction import batch_matmul, dot, dot_general
from funcgrad.ops.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cbrt,
    ceil,
    clamp,
    clz,
    complex,
    conj,
    cos,
    cosh,
    div,
    eq,
    exp,
    exp2,
    expm1,
    floor,
    ge,
    gt,
    hypot,
    imag,
    integer_pow,
    is_finite,
    le,
    log,
    log1p,
    log2,
    logistic,
    lt,
    max,
    min,
    mul,
    ne,
    neg,
    nextafter,
    population_count,
    pow,
    real,
    reciprocal,
    rem,
    round_to_even,
    rsqrt,
    select,
    shift_left,
    shift_right_arithmetic,
    shift_right_logical,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    sub,
    tan,
    tanh,
    trunc,
)
from funcgrad.ops.indexing import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
    dynamic_index_in_dim,
    dynamic_slice,
    dynamic_slice_in_dim,
    dynamic_update_index_in_dim,
    dynamic_update_slice,
    dynamic_update_slice_in_dim,
    gather,
    index_in_dim,
    index_take,
    scatter,
    scatter_add,
    scatter_apply,
    scatter_max,
    scatter_min,
    scatter_mul,
    scatter_sub,
)
from funcgrad.ops.promotion import broadcast_shape
from funcgrad.ops.random_bits import bitcast_convert_type
from funcgrad.ops.reduction import (
    argmax,
    argmin,
    cumlogsumexp,
    cummax,
    cummin,
    cumprod,
    cumsum,
    reduce_and,
    reduce_max,
    reduce_min,
    reduce_or,
    reduce_prod,
    reduce_sum,
    reduce_xor,
)
from funcgrad.ops.sorting import sort, sort_key_val, top_k
from funcgrad.ops.special import (
    bessel_i0e,
    bessel_i1e,
    digamma,
    erf,
    erf_inv,
    erfc,
    igamma,
    igamma_grad_a,
    igammac,
    lgamma,
    polygamma,
    random_gamma_grad,
    zeta,
)
from funcgrad.ops.special import (
    regularized_incomplete_beta as betainc,
)
from funcgrad.ops.structural import (
    broadcast_in_dim,
    concatenate,
    convert_element_type,
    expand_dims,
    full,
    iota,
    pad,
    reshape,
    rev,
    select_n,
    slice,
    slice_in_dim,
    squeeze,
    transpose,
)
from funcgrad.tree import tree_map


def broadcast(operand: Any, sizes: Sequence[int]) -> Any:
    """operand with new leading axes of the sizes given."""
    lead = tuple(sizes)
    return broadcast_in_dim(operand, lead + operand.shape, range(len(lead), len(lead) + len(operand.shape)))


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that the shapes given broadcast to. Raises ValueError if there is none."""
    return broadcast_shape("broadcast_shapes", *[tuple(s) for s in shapes])


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Sequence[int] | None = None) -> Any:
    """An array of one repeated scalar, with the shape and dtype of x unless others are given."""
    return full(x.shape if shape is None else shape, fill_value, x.dtype if dtype is None else dtype)


def broadcasted_iota(dtype: Any, shape: Sequence[int], dimension: int) -> Any:
    """JAX's name for ``iota`` of a shape."""
    return iota(dtype, shape, dimension)


def split(operand: Any, sizes: Sequence[int], axis: int = 0) -> list[Any]:
    """operand cut along an axis into parts of the sizes given. Raises ValueError unless they add up to its size."""
    total = operand.shape[axis]
    if sum(sizes) != total:
        raise ValueError(message("split: the sizes do not add up", f"{tuple(sizes)} for axis {axis} of size {total}"))
    ends = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    return [slice_in_dim(operand, a, b, axis=axis) for a, b in zip(ends, ends[1:], strict=False)]


def collapse(operand: Any, start_dimension: int, stop_dimension: int | None = None) -> Any:
    """operand with the axes from start to stop (exclusive) merged into one."""
    ndim = len(operand.shape)
    start = start_dimension % ndim
    stop = ndim if stop_dimension is None else stop_dimension % (ndim + 1)
    merged = 1
    for n in operand.shape[start:stop]:
        merged *= n
    return reshape(operand, (*operand.shape[:start], merged, *operand.shape[stop:]))


def stop_gradient(x: Any) -> Any:
    """A tree of arrays with derivative zero: ``grad`` and ``jvp`` treat it as a constant."""
    return tree_map(structural.stop_gradient, x)
