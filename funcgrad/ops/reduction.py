"""Reductions and cumulative operations: sums, products, extremes, logic, positions of extremes, running totals.

In: an array and the axes to combine. Out: an array without those axes; cumulative operations keep the shape.
Derivatives of products and running extremes come from the same tree of pairwise combinations that computes them, on
pairs (value, tangent), so that nothing is divided and zeros, ties and higher orders need no care.

    { lambda ; a:f64[3,4]. let b:f64[3] = reduce_max[axes=(1,)] a in (b,) }
"""
from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.device import ThroughHost
from funcgrad.core.primitive import (
    DERIVED,
    LINEAR,
    NOT_LINEAR,
    PIECEWISE_CONSTANT,
    PIECEWISE_LINEAR,
    SAME,
    Constant,
    Kind,
    Native,
    Primitive,
)
from funcgrad.core.types import Shape, ShapedArray, Zero, shaped_array, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.elementwise import add, div, eq, exp, is_finite, log, max_p, maximum, min_p, mul, sub
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.rules import transpose_first
from funcgrad.ops.structural import (
    broadcast_in_dim,
    concatenate,
    convert_element_type,
    expand_dims,
    kept_axes,
    pad,
    reduce_batch,
    reduce_shape,
    reduce_sum_p,
    reshape,
    rev,
    select_n_p,
    slice_in_dim,
    stop_gradient,
    transpose,
)

# ---------------------------------------------------------------- axes


def as_axis(name: str, axis: Any, ndim: int) -> int:
    """One axis as a nonnegative integer. Raises AxisError, a ValueError, when it is out of range."""
    d = operator.index(axis)
    if not -ndim <= d < ndim:
        raise np.exceptions.AxisError(message(
            f"{name}: axis {d} is out of bounds for an array with {ndim} axes", None,
            f"an axis from {-ndim} to {ndim - 1}" if ndim else "an array with at least one axis"))
    return d % ndim


def as_axes(name: str, axis: Any, ndim: int) -> Shape:
    """An axis, a sequence of axes or None (all of them) as sorted nonnegative integers.

    Raises AxisError for an axis out of range and ValueError for one that is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    if not isinstance(axis, (tuple, list)):
        return (as_axis(name, axis, ndim),)
    axes = tuple(sorted([as_axis(name, d, ndim) for d in axis]))
    if len(set(axes)) < len(axes):
        raise ValueError(message(f"{name}: duplicate value in axis", tuple(axis), "each axis once"))
    return axes


# ---------------------------------------------------------------- user functions


def _reducer(primitive: Primitive, doc: str, discrete: bool = False) -> Callable:
    name = primitive.name

    def function(operand: Any, axes: Sequence[int]) -> Any:
        x = unary_arg(name, operand)
        if discrete and x.dtype.kind not in "biu":
            raise TypeError(message(f"{name}: only integers and bools", describe(x), "an integer or bool array",
                                    "x != 0"))
        axes = as_axes(name, tuple(axes), len(x.shape))
        return primitive.bind(x, axes=axes)[0] if axes else x

    return _named(function, name, doc)


def _cumulative(primitive: Primitive, doc: str) -> Callable:
    name = primitive.name

    def function(operand: Any, axis: int = 0, reverse: bool = False) -> Any:
        x = unary_arg(name, operand)
        return primitive.bind(x, axis=as_axis(name, axis, len(x.shape)), reverse=bool(reverse))[0]

    return _named(function, name, doc)


def _named(function: Callable, name: str, doc: str) -> Callable:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__module__ = __name__
    return function


def _position(primitive: Primitive, operand: Any, axis: int, index_dtype: Any) -> Any:
    name = primitive.name
    x = unary_arg(name, operand)
    dtype = dtypes.as_dtype(index_dtype)
    if dtype.kind not in "iu":
        raise TypeError(message(f"{name}: index_dtype must be an integer dtype", dtype))
    axis = as_axis(name, axis, len(x.shape))
    if not x.shape[axis]:
        raise ValueError(message(f"{name}: attempt to get {name} of an empty sequence",
                                 f"{describe(x)} along axis {axis}", "at least one element along the axis"))
    return primitive.bind(x, axes=(axis,), index_dtype=dtype)[0]


def argmax(operand: Any, axis: int, index_dtype: Any = np.int64) -> Any:
    """The position of the first largest element along an axis; of the first NaN if there is one."""
    return _position(argmax_p, operand, axis, index_dtype)


def argmin(operand: Any, axis: int, index_dtype: Any = np.int64) -> Any:
    """The position of the first smallest element along an axis; of the first NaN if there is one."""
    return _position(argmin_p, operand, axis, index_dtype)


# ---------------------------------------------------------------- narrow floats


def is_narrow(dtype: np.dtype) -> bool:
    """True for float16, bfloat16 and the 8-bit floats: they are accumulated in float32 and rounded once."""
    return dtype.itemsize <= 2 and dtypes.kind(dtype) == "f"


def _narrow_as_float32(impl: Callable) -> Callable:
    """An implementation that computes narrow floats in float32."""

    def wrapped(xp: Any, x: Any, **params: Any) -> Any:
        if is_narrow(x.dtype):
            return impl(xp, x.astype(np.float32), **params).astype(x.dtype)
        return impl(xp, x, **params)

    return wrapped


# ---------------------------------------------------------------- products


def reduce_prod_impl(xp: Any, x: Any, *, axes: Shape) -> Any:
    return xp.prod(x, axis=axes, dtype=x.dtype)


def reduce_prod_jvp(primals: tuple, tangents: tuple, *, axes: Shape) -> tuple:
    """The tree of products of halves, on pairs: (a, da) (b, db) -> (a b, da b + a db)."""
    out, = reduce_prod_p.bind(*primals, axes=axes)
    pair = [axes_as_one(x, axes) for x in (*primals, *tangents)]
    n = pair[0].shape[-1]
    if n == 0:
        return (out,), (Zero(tangent_aval(out.aval)),)
    while n > 1:
        half, axis = n // 2, len(pair[0].shape) - 1
        first, second, rest = ([slice_in_dim(x, start, stop, axis=axis) for x in pair]
                               for start, stop in ((0, half), (half, 2 * half), (2 * half, n)))
        product = _product_of_pairs(first, second)
        pair = [concatenate((x, r), axis) for x, r in zip(product, rest, strict=True)] if n % 2 else list(product)
        n = half + n % 2
    return (out,), (reshape(pair[1], out.shape),)


def axes_as_one(x: Any, axes: Shape) -> Any:
    """The axes given become one, the last."""
    kept = kept_axes(len(x.shape), axes)
    sizes = [x.shape[i] for i in kept]
    count = 1
    for i in axes:
        count *= x.shape[i]
    return reshape(transpose(x, (*kept, *axes)), (*sizes, count))


def _product_of_pairs(a: Sequence[Any], b: Sequence[Any]) -> tuple:
    (x, x_dot), (y, y_dot) = a, b
    return mul(x, y), add(mul(x_dot, y), mul(y_dot, x))


reduce_prod_p = Primitive(
    "reduce_prod", Kind.REDUCTION, reduce_shape, _narrow_as_float32(reduce_prod_impl), reduce_prod_jvp, NOT_LINEAR,
    batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_prod_p, args, axes_in, axes), code=("{0} * {1}", "1"))

# ---------------------------------------------------------------- extremes


def lowest(dtype: np.dtype) -> Any:
    """The identity of max: minus infinity, the least integer, or False."""
    return _bound(dtype, -np.inf, "min")


def highest(dtype: np.dtype) -> Any:
    """The identity of min: infinity, the greatest integer, or True."""
    return _bound(dtype, np.inf, "max")


def _bound(dtype: np.dtype, infinity: float, name: str) -> Any:
    if dtype.kind == "b":
        return np.bool_(infinity > 0)
    return dtype.type(getattr(np.iinfo(dtype), name) if dtype.kind in "iu" else infinity)


def _extreme_impl(name: str, identity: Callable) -> Callable:
    def impl(xp: Any, x: Any, *, axes: Shape) -> Any:
        if x.size:
            return getattr(xp, name)(x, axis=axes)
        return xp.full([x.shape[i] for i in kept_axes(x.ndim, axes)], identity(x.dtype), x.dtype)[()]

    return impl


def _extreme_jvp(primitive: Callable) -> Callable:
    """The mean of the tangents at the places where the extreme is attained; NaN where the result is NaN."""

    def jvp(primals: tuple, tangents: tuple, *, axes: Shape) -> tuple:
        x, = primals
        out, = primitive().bind(x, axes=axes)
        kept = kept_axes(len(x.shape), axes)
        attained = convert_element_type(eq(x, broadcast_in_dim(out, x.shape, kept)), x.dtype)
        count, = reduce_sum_p.bind(attained, axes=axes)
        weights = div(attained, broadcast_in_dim(count, x.shape, kept))
        return (out,), reduce_sum_p.bind(mul(tangents[0], weights), axes=axes)

    return jvp


# The identities are names: the value depends on the dtype.
reduce_max_p = Primitive(
    "reduce_max", Kind.REDUCTION, reduce_shape, _extreme_impl("max", lowest), _extreme_jvp(lambda: reduce_max_p),
    NOT_LINEAR, batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_max_p, args, axes_in, axes),
    code=("maximum({0}, {1})", "lowest"), taylor=PIECEWISE_LINEAR)
reduce_min_p = Primitive(
    "reduce_min", Kind.REDUCTION, reduce_shape, _extreme_impl("min", highest), _extreme_jvp(lambda: reduce_min_p),
    NOT_LINEAR, batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_min_p, args, axes_in, axes),
    code=("minimum({0}, {1})", "highest"), taylor=PIECEWISE_LINEAR)


def _position_shape(x: ShapedArray, *, axes: Shape, index_dtype: np.dtype) -> ShapedArray:
    return shaped_array(reduce_shape(x, axes=axes).shape, index_dtype)


def _position_impl(name: str) -> Callable:
    def impl(xp: Any, x: Any, *, axes: Shape, index_dtype: np.dtype) -> Any:
        if x.dtype.kind == "V":
            x = x.astype(np.float32)
        return getattr(xp, name)(x, axis=axes[0]).astype(index_dtype)

    return impl


def _position_on_gpu(name: str) -> Callable:
    """The position of the first NaN, if there is one: CuPy gives that of any."""
    position = _position_impl(name)

    def impl(xp: Any, x: Any, *, axes: Shape, index_dtype: np.dtype) -> Any:
        found, missing = position(xp, x, axes=axes, index_dtype=index_dtype), x != x
        return xp.where(missing.any(axes[0]), xp.argmax(missing, axes[0]), found).astype(index_dtype)

    return impl


argmax_p = Primitive(
    "argmax", Kind.OPAQUE, _position_shape, _position_impl("argmax"), PIECEWISE_CONSTANT, NOT_LINEAR,
    batch=lambda axis, args, axes_in, axes, index_dtype:
        reduce_batch(argmax_p, args, axes_in, axes, index_dtype=index_dtype),
    code=Native("position", largest=True), strong=True, cuda=_position_on_gpu("argmax"))
argmin_p = Primitive(
    "argmin", Kind.OPAQUE, _position_shape, _position_impl("argmin"), PIECEWISE_CONSTANT, NOT_LINEAR,
    batch=lambda axis, args, axes_in, axes, index_dtype:
        reduce_batch(argmin_p, args, axes_in, axes, index_dtype=index_dtype),
    code=Native("position", largest=False), strong=True, cuda=_position_on_gpu("argmin"))

# ---------------------------------------------------------------- logic

_DISCRETE = Constant("its argument is made of integers or bools")


def _logic_shape(x: ShapedArray, *, axes: Shape) -> ShapedArray:
    if x.dtype.kind not in "biu":
        raise TypeError(f"bits are combined of integers and bools, not of {x}")
    return reduce_shape(x, axes=axes)


def reduce_and_impl(xp: Any, x: Any, *, axes: Shape) -> Any:
    return xp.all(x, axis=axes) if x.dtype.kind == "b" else xp.bitwise_and.reduce(x, axis=axes)


def folded(ufunc: str, on_bools: Callable | None = None) -> Callable:
    """The reduction by a ufunc that CuPy reduces for bools at most: halves are combined again and again."""

    def impl(xp: Any, x: Any, *, axes: Shape) -> Any:
        if x.dtype.kind == "b" and on_bools is not None:
            return on_bools(xp, x, axes=axes)
        kept = kept_axes(x.ndim, axes)
        x = x.transpose((*kept, *axes)).reshape(*[x.shape[i] for i in kept], -1)
        if not x.shape[-1]:
            raise ThroughHost
        while (n := x.shape[-1]) > 1:
            half = getattr(xp, ufunc)(x[..., :n // 2], x[..., n // 2:2 * (n // 2)])
            x = xp.concatenate([half, x[..., n - 1:]], -1) if n % 2 else half
        return x[..., 0]

    return impl


def reduce_or_impl(xp: Any, x: Any, *, axes: Shape) -> Any:
    return xp.any(x, axis=axes) if x.dtype.kind == "b" else xp.bitwise_or.reduce(x, axis=axes)


reduce_and_p = Primitive(
    "reduce_and", Kind.REDUCTION, _logic_shape, reduce_and_impl, _DISCRETE, NOT_LINEAR,
    batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_and_p, args, axes_in, axes),
    code=("{0} & {1}", "all_ones"), cuda=folded("bitwise_and", reduce_and_impl))
reduce_or_p = Primitive(
    "reduce_or", Kind.REDUCTION, _logic_shape, reduce_or_impl, _DISCRETE, NOT_LINEAR,
    batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_or_p, args, axes_in, axes),
    code=("{0} | {1}", "0"), cuda=folded("bitwise_or", reduce_or_impl))
reduce_xor_p = Primitive(
    "reduce_xor", Kind.REDUCTION, _logic_shape,
    lambda xp, x, axes: xp.bitwise_xor.reduce(x, axis=axes), _DISCRETE, NOT_LINEAR,
    batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_xor_p, args, axes_in, axes),
    code=("{0} ^ {1}", "0"), cuda=folded("bitwise_xor"))

reduce_sum = _reducer(reduce_sum_p, "The sum over the axes given, in the dtype of the operand.")
reduce_prod = _reducer(reduce_prod_p, "The product over the axes given, in the dtype of the operand.")
reduce_max = _reducer(reduce_max_p, "The largest element over the axes given; NaN if there is one. Ties share the "
                                    "gradient equally. Of nothing: minus infinity, or the least integer.")
reduce_min = _reducer(reduce_min_p, "The smallest element over the axes given; NaN if there is one. Ties share the "
                                    "gradient equally. Of nothing: infinity, or the greatest integer.")
reduce_and = _reducer(reduce_and_p, "All bits and-ed over the axes given; on bools, whether all are true.", True)
reduce_or = _reducer(reduce_or_p, "All bits or-ed over the axes given; on bools, whether any is true.", True)
reduce_xor = _reducer(reduce_xor_p, "All bits xor-ed over the axes given; on bools, whether an odd number is true.",
                      True)

# ---------------------------------------------------------------- cumulative operations


def prefix_combinations(combine: Callable, elements: tuple, axis: int) -> tuple:
    """All prefixes of an associative combination along an axis, in about 2 n combinations and 2 log n steps.

    ``elements`` is a tuple of arrays of one size along the axis; ``combine`` maps two such tuples to one. Pairs of
    neighbours are combined, their prefixes found by recursion, and the places between filled in (Blelloch, Prefix
    Sums and Their Applications, 1990).
    """
    n = elements[0].shape[axis]
    if n < 2:
        return elements

    def part(xs: Sequence[Any], start: int, stop: int, stride: int = 1) -> tuple:
        return tuple([slice_in_dim(x, start, stop, stride, axis) for x in xs])

    even_count = n - n % 2
    pairs = combine(part(elements, 0, even_count, 2), part(elements, 1, even_count, 2))
    odd = prefix_combinations(combine, pairs, axis)
    even = part(elements, 0, 1)
    if n > 2:
        later = combine(part(odd, 0, (n - 1) // 2), part(elements, 2, n, 2))
        even = tuple([concatenate((x, y), axis) for x, y in zip(even, later, strict=True)])
    return tuple([_interleave(x, y, axis) for x, y in zip(even, odd, strict=True)])


def _interleave(even: Any, odd: Any, axis: int) -> Any:
    """The elements of two arrays by turns; the first may have one more."""
    n = even.shape[axis] + odd.shape[axis]
    if n % 2:
        odd = pad(odd, odd.dtype.type(0), [(0, int(i == axis), 0) for i in range(len(odd.shape))])
    both = concatenate([expand_dims(x, (axis + 1,)) for x in (even, odd)], axis + 1)
    sizes = list(even.shape)
    sizes[axis] *= 2
    return slice_in_dim(reshape(both, sizes), 0, n, axis=axis)


def _cumulative_impl(impl: Callable) -> Callable:
    """``impl(xp, x, axis)`` forwards; ``reverse`` runs it on the flipped array."""

    def wrapped(xp: Any, x: Any, *, axis: int, reverse: bool) -> Any:
        return xp.flip(impl(xp, xp.flip(x, axis), axis), axis) if reverse else impl(xp, x, axis)

    return _narrow_as_float32(wrapped)


def _cumulative_jvp(primitive: Callable, combine: Callable) -> Callable:
    """The derivative from prefixes of pairs (value, tangent)."""

    def jvp(primals: tuple, tangents: tuple, *, axis: int, reverse: bool) -> tuple:
        outs = primitive().bind(*primals, axis=axis, reverse=reverse)
        pair = (*primals, *tangents)
        if reverse:
            pair = tuple([rev(x, (axis,)) for x in pair])
            return outs, (rev(prefix_combinations(combine, pair, axis)[1], (axis,)),)
        return outs, (prefix_combinations(combine, pair, axis)[1],)

    return jvp


def _accumulated(combine: Callable) -> Callable:
    """All prefixes by ``combine(xp, x, y)``, which CuPy does not accumulate: in steps, each over twice the distance."""

    def impl(xp: Any, x: Any, axis: int) -> Any:
        x, reach = xp.moveaxis(x, axis, -1), 1
        while reach < x.shape[-1]:
            x = xp.concatenate([x[..., :reach], combine(xp, x[..., :-reach], x[..., reach:])], -1)
            reach *= 2
        return xp.moveaxis(x, -1, axis)

    return impl


def _cumulative_primitive(name: str, impl: Callable, jvp: Any, transpose: Any = NOT_LINEAR,
                          taylor: Any = DERIVED, cuda: Callable | None = None) -> Primitive:
    def batch(mapped: Any, args: tuple, axes: tuple, *, axis: int, reverse: bool) -> tuple:
        return primitive.bind(*args, axis=axis + (axis >= axes[0]), reverse=reverse), axes

    primitive = Primitive(name, Kind.OPAQUE, lambda x, axis, reverse: x, _cumulative_impl(impl), jvp, transpose,
                          batch, taylor, Native("cumulative", combine=name[3:]),
                          cuda=SAME if cuda is None else _cumulative_impl(cuda))
    return primitive


def _extreme_of_pairs(primitive: Primitive) -> Callable:
    """The larger (or smaller) value with its tangent; half of each at a tie."""

    def combine(a: tuple, b: tuple) -> tuple:
        (x, x_dot), (y, y_dot) = a, b
        z, = primitive.bind(x, y)
        return z, add(mul(x_dot, _share(x, y, z)), mul(y_dot, _share(y, x, z)))

    return combine


def _share(x: Any, y: Any, z: Any) -> Any:
    """1 where x alone is the extreme z, half where y is too, 0 elsewhere."""
    zero, half, one = (x.dtype.type(v) for v in (0, 0.5, 1))
    among_equals, = select_n_p.bind(eq(y, z), one, half)
    return select_n_p.bind(eq(x, z), zero, among_equals)[0]


def _finite_or_zero(x: Any) -> Any:
    return select_n_p.bind(is_finite(x), x.dtype.type(0), x)[0]


def _log_of_sums(a: tuple, b: tuple) -> tuple:
    (x, x_dot), (y, y_dot) = a, b
    largest = stop_gradient(_finite_or_zero(maximum(x, y)))
    terms = exp(sub(x, largest)), exp(sub(y, largest))
    total = add(*terms)
    # Where both are minus infinity the total is 0 and so are the weights.
    divisor, = select_n_p.bind(eq(total, 0), total, total.dtype.type(1))
    z = add(largest, log(total))
    return z, add(mul(x_dot, div(terms[0], divisor)), mul(y_dot, div(terms[1], divisor)))


cumsum_p = _cumulative_primitive(
    "cumsum", lambda xp, x, axis: xp.cumsum(x, axis=axis, dtype=x.dtype), LINEAR,
    transpose_first(lambda ct, x, axis, reverse: cumsum_p.bind(ct, axis=axis, reverse=not reverse)[0]))
cumprod_p = _cumulative_primitive(
    "cumprod", lambda xp, x, axis: xp.cumprod(x, axis=axis, dtype=x.dtype),
    _cumulative_jvp(lambda: cumprod_p, _product_of_pairs))
cummax_p = _cumulative_primitive(
    "cummax", lambda xp, x, axis: xp.maximum.accumulate(x, axis=axis),
    _cumulative_jvp(lambda: cummax_p, _extreme_of_pairs(max_p)), taylor=PIECEWISE_LINEAR,
    cuda=_accumulated(lambda xp, x, y: xp.maximum(x, y)))
cummin_p = _cumulative_primitive(
    "cummin", lambda xp, x, axis: xp.minimum.accumulate(x, axis=axis),
    _cumulative_jvp(lambda: cummin_p, _extreme_of_pairs(min_p)), taylor=PIECEWISE_LINEAR,
    cuda=_accumulated(lambda xp, x, y: xp.minimum(x, y)))
cumlogsumexp_p = _cumulative_primitive(
    "cumlogsumexp", lambda xp, x, axis: xp.logaddexp.accumulate(x, axis=axis),
    _cumulative_jvp(lambda: cumlogsumexp_p, _log_of_sums), cuda=_accumulated(lambda xp, x, y: xp.logaddexp(x, y)))

cumsum = _cumulative(cumsum_p, "Running sums along an axis; with ``reverse``, from the end.")
cumprod = _cumulative(cumprod_p, "Running products along an axis; with ``reverse``, from the end.")
cummax = _cumulative(cummax_p, "Running maxima along an axis; NaN from the first NaN on. At a tie of two the "
                               "gradient is shared.")
cummin = _cumulative(cummin_p, "Running minima along an axis; NaN from the first NaN on. At a tie of two the "
                               "gradient is shared.")
cumlogsumexp = _cumulative(cumlogsumexp_p, "log(cumsum(exp(x))) along an axis, without overflow.")
