"""The primitive operations under the names of ``jax.lax``, and control flow.

In and out: arrays. These functions do what they say and little else: no axes are guessed, and shapes are given in full.
``funcgrad.numpy`` is the comfortable layer above.

    >>> import funcgrad.numpy as fnp
    >>> scan(lambda total, x: (total + x, total), 0.0, fnp.arange(4.))
    (Array(6., dtype=float64), Array([0., 0., 1., 3.], dtype=float64))
"""
from __future__ import annotations

from typing import Any

from funcgrad.control.cond import cond, switch
from funcgrad.control.loops import fori_loop, while_loop
from funcgrad.control.marks import composite, optimization_barrier, platform_dependent, stage
from funcgrad.control.reduce import reduce
from funcgrad.control.reduce_window import reduce_window, reduce_window_shape_tuple
from funcgrad.control.scan import associative_scan, map, scan
from funcgrad.control.solve import custom_linear_solve, custom_root
from funcgrad.lax import linalg
from funcgrad.numpy.types import dtype_of
from funcgrad.ops import elementwise, structural
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
from funcgrad.ops.convolution import (
    conv,
    conv_general_dilated,
    conv_general_dilated_local,
    conv_general_dilated_patches,
    conv_transpose,
    conv_with_general_padding,
)
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
from funcgrad.ops.fft import FftType, fft
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
from funcgrad.ops.layouts import (
    ConvDimensionNumbers,
    ConvGeneralDilatedDimensionNumbers,
    conv_dimension_numbers,
    conv_general_permutations,
    conv_general_shape_tuple,
    conv_shape_tuple,
    conv_transpose_shape_tuple,
)
from funcgrad.ops.numeric import mulhi, reduce_precision, round
from funcgrad.ops.options import DotDimensionNumbers, Precision, PrecisionLike, RaggedDotDimensionNumbers, RoundingMethod
from funcgrad.ops.promotion import broadcast_shape
from funcgrad.ops.ragged import ragged_dot, ragged_dot_general
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
from funcgrad.ops.shapes import (
    broadcast,
    broadcast_in_dim,
    broadcast_like,
    broadcast_shapes,
    broadcast_to_rank,
    broadcasted_iota,
    collapse,
    convert_element_type,
    empty,
    expand_dims,
    full_like,
    iota,
    pad,
    reshape,
    rev,
    select_n,
    slice,
    slice_in_dim,
    split,
    squeeze,
    stack,
    tile,
    transpose,
    unstack,
)
from funcgrad.ops.sorting import approx_max_k, approx_min_k, sort, sort_key_val, top_k
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
from funcgrad.ops.structural import concatenate, full
from funcgrad.ops.windows import padtype_to_pads
from funcgrad.tree import tree_map


def conj(x: Any) -> Any:
    """The complex conjugate, which is complex also where x is real."""
    return complex(elementwise.real(x), elementwise.neg(elementwise.imag(x)))


def dtype(x: Any) -> Any:
    """The dtype of an array or a number, or the dtype that x names."""
    return dtype_of(x)[0]


def stop_gradient(x: Any) -> Any:
    """A tree of arrays with derivative zero: ``grad`` and ``jvp`` treat it as a constant."""
    return tree_map(structural.stop_gradient, x)
