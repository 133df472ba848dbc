"""Reductions as NumPy names them: sums, extremes, means, variances, logic, positions, running totals.

In: an array and the axes to combine (an int, a tuple, or None for all). Out: an array without those axes, or with
axes of size 1 when ``keepdims`` is true. Sums and products of integers and bools are computed in 64 bits;
float16 and bfloat16 are accumulated in float32.

    >>> import funcgrad.numpy as fnp
    >>> fnp.sum(fnp.ones((2, 3)), axis=1)
    Array([3., 3.], dtype=float64)
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe, owned
from funcgrad.core.primitive import Primitive
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops import reduction as r
from funcgrad.ops.elementwise import (
    add,
    div,
    gt,
    imag,
    maximum,
    minimum,
    multiply,
    ne,
    real,
    sqrt,
    square,
    subtract,
)
from funcgrad.ops.promotion import broadcast_shape, promote_args, unary_arg
from funcgrad.ops.structural import (
    broadcast_in_dim,
    broadcast_to,
    concatenate,
    convert_element_type,
    expand_dims,
    full,
    reduce_sum_p,
    reshape,
    select_n_p,
)

# ---------------------------------------------------------------- what all of them do


def no_out(name: str, out: Any) -> None:
    """Refuses the argument ``out``: arrays are immutable."""
    if out is not None:
        raise NotImplementedError(message(f"{name}: the argument out is not supported", "an array to write to",
                                          "out=None: arrays are immutable", f"x = fnp.{name}(...)"))


def reduced(primitive: Primitive, x: Any, axes: Shape, keepdims: bool) -> Any:
    """A reduction over nonnegative axes; ``keepdims`` leaves them with size 1."""
    out = primitive.bind(x, axes=axes)[0] if axes else owned(x)
    return expand_dims(out, axes) if keepdims and axes else out


def masked(name: str, x: Any, where: Any, fill: Any) -> Any:
    """x where the mask holds, else a scalar; ``where`` broadcasts to the shape of x."""
    return x if where is None else select_n_p.bind(as_mask(name, where, x.shape), x.dtype.type(fill), x)[0]


def as_mask(name: str, where: Any, shape: Shape) -> Any:
    """The argument ``where`` as bools that fit a shape. Raises ValueError when it does not broadcast to it."""
    mask = unary_arg(name, where)
    if mask.dtype.kind != "b":
        mask = ne(mask, 0)
    if mask.shape and mask.shape != shape:
        if broadcast_shape(name, mask.shape, shape) != shape:
            raise ValueError(message(f"{name}: where does not broadcast to the array",
                                     f"{describe(mask)} for shape {shape}"))
        mask = broadcast_to(mask, shape)
    return mask


def as_initial(name: str, initial: Any, dtype: np.dtype) -> Any:
    """The argument ``initial`` as a scalar of a dtype."""
    value = unary_arg(name, initial)
    if value.shape:
        raise ValueError(message(f"{name}: initial must be a scalar", describe(value), "an array without axes"))
    return convert_element_type(value, dtype)


def accumulation_dtype(dtype: np.dtype, wanted: Any = None, promote_integers: bool = True) -> np.dtype:
    """The dtype of a sum: the one wanted, else that of the array with integers and bools widened to 64 bits."""
    if wanted is not None:
        return dtypes.as_dtype(wanted)
    if dtype.kind in "bi":
        return np.dtype("int64") if promote_integers or dtype.kind == "b" else dtype
    return np.dtype("uint64") if dtype.kind == "u" and promote_integers else dtype


def wide(dtype: np.dtype) -> np.dtype:
    """float32 for narrower floats, else the dtype itself."""
    return np.dtype("float32") if r.is_narrow(dtype) else dtype


def count(name: str, x: Any, axes: Shape, where: Any, keepdims: bool, dtype: np.dtype) -> Any:
    """How many elements are combined: a scalar literal, or an array when a mask decides."""
    if where is None:
        return dtype.type(math.prod([x.shape[i] for i in axes]))
    mask = convert_element_type(as_mask(name, where, x.shape), dtype)
    return reduced(reduce_sum_p, mask if mask.shape == x.shape else broadcast_to(mask, x.shape), axes, keepdims)


# ---------------------------------------------------------------- sums, products, extremes


def sum(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
        where: Any = None, promote_integers: bool = True) -> Any:
    """The sum over axes.

    Args:
      a: an array or scalar.
      axis: an int, a tuple of ints, or None for all axes.
      dtype: the dtype in which the sum is computed; by default integers and bools are summed in 64 bits.
      keepdims: leave the axes that were summed with size 1.
      initial: a scalar that is added.
      where: bools; only elements where it is true count.
      promote_integers: False keeps a narrow integer dtype.

    Raises AxisError (a ValueError) for an axis out of range, ValueError for one named twice.
    """
    if out is not None:
        no_out("sum", out)
    x = unary_arg("sum", a)
    axes = r.as_axes("sum", axis, len(x.shape))
    x = masked("sum", convert_element_type(x, accumulation_dtype(x.dtype, dtype, promote_integers)), where, 0)
    total = reduced(reduce_sum_p, x, axes, keepdims)
    return total if initial is None else add(total, as_initial("sum", initial, total.dtype))


def prod(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
         where: Any = None, promote_integers: bool = True) -> Any:
    """The product over axes; see ``sum`` for the arguments."""
    no_out("prod", out)
    x = unary_arg("prod", a)
    axes = r.as_axes("prod", axis, len(x.shape))
    x = masked("prod", convert_element_type(x, accumulation_dtype(x.dtype, dtype, promote_integers)), where, 1)
    total = reduced(r.reduce_prod_p, x, axes, keepdims)
    return total if initial is None else multiply(total, as_initial("prod", initial, total.dtype))


def _extreme(name: str, primitive: Primitive, identity: Callable, combine: Callable, doc: str) -> Callable:
    def function(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, initial: Any = None,
                 where: Any = None) -> Any:
        no_out(name, out)
        x = unary_arg(name, a)
        axes = r.as_axes(name, axis, len(x.shape))
        if initial is None:
            if where is not None:
                raise ValueError(message(f"{name}: where needs initial", "no value for when the mask holds nowhere",
                                         "a scalar", f"fnp.{name}(a, where=mask, initial=...)"))
            check_not_empty(name, x, axes)
        x = masked(name, convert_element_type(x, x.dtype), where, identity(x.dtype))
        found = reduced(primitive, x, axes, keepdims)
        return found if initial is None else combine(found, as_initial(name, initial, found.dtype))

    function.__name__ = function.__qualname__ = name
    function.__doc__, function.__module__ = doc, __name__
    return function


def check_not_empty(name: str, x: Any, axes: Shape) -> None:
    """Raises ValueError when there is nothing to take the extreme of."""
    if 0 in [x.shape[i] for i in axes]:
        raise ValueError(message(f"{name}: zero-size array to reduction operation {name} which has no identity",
                                 f"{describe(x)} over axes {axes}", "at least one element",
                                 f"fnp.{name}(a, initial=...)"))


max = amax = _extreme("max", r.reduce_max_p, r.lowest, maximum, """The largest element over axes; NaN if any is.

    The gradient is shared equally among ties. ``where`` needs ``initial``, which is also the result over nothing.
    Raises ValueError for an empty array without ``initial``.
    """)
min = amin = _extreme("min", r.reduce_min_p, r.highest, minimum, """The smallest element over axes; NaN if any is.

    The gradient is shared equally among ties. ``where`` needs ``initial``, which is also the result over nothing.
    Raises ValueError for an empty array without ``initial``.
    """)


def ptp(a: Any, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
    """The largest minus the smallest element over axes."""
    no_out("ptp", out)
    return subtract(max(a, axis, keepdims=keepdims), min(a, axis, keepdims=keepdims))


# ---------------------------------------------------------------- logic


def _truth(name: str, a: Any, where: Any, fill: bool) -> Any:
    x = unary_arg(name, a)
    return masked(name, x if x.dtype.kind == "b" else ne(x, 0), where, fill)


def all(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None) -> Any:
    """Whether all elements over axes are true, that is, not zero. Of nothing: True."""
    no_out("all", out)
    x = _truth("all", a, where, True)
    return reduced(r.reduce_and_p, x, r.as_axes("all", axis, len(x.shape)), keepdims)


def any(a: Any, axis: Any = None, out: None = None, keepdims: bool = False, *, where: Any = None) -> Any:
    """Whether any element over axes is true, that is, not zero. Of nothing: False."""
    no_out("any", out)
    x = _truth("any", a, where, False)
    return reduced(r.reduce_or_p, x, r.as_axes("any", axis, len(x.shape)), keepdims)


def count_nonzero(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """How many elements over axes are not zero (int64)."""
    return sum(_truth("count_nonzero", a, None, False), axis, keepdims=keepdims)


# ---------------------------------------------------------------- mean and variance


def mean(a: Any, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False, *,
         where: Any = None) -> Any:
    """The arithmetic mean over axes; of integers in floating point, of nothing NaN. See ``sum`` for the arguments."""
    if out is not None:
        no_out("mean", out)
    x = unary_arg("mean", a)
    axes = r.as_axes("mean", axis, len(x.shape))
    result = dtypes.inexact_dtype(x.dtype) if dtype is None else dtypes.as_dtype(dtype)
    inner = wide(dtypes.inexact_dtype(result))
    if not dtypes.is_inexact(result):
        x = convert_element_type(x, result)  # an integer dtype is the type of the summands too
    x = convert_element_type(x, inner)
    total = reduced(reduce_sum_p, masked("mean", x, where, 0), axes, keepdims)
    return convert_element_type(div(total, count("mean", x, axes, where, keepdims, inner)), result)


def var(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: int = 0, keepdims: bool = False, *,
        where: Any = None, mean: Any = None, correction: Any = None) -> Any:
    """The variance over axes: the mean square distance from the mean.

    Args:
      ddof, correction: two names of the number subtracted from the count before dividing by it.
      mean: the mean if it is known, with the axes kept.

    Other arguments as for ``sum``. The result is real; NaN where the corrected count is not positive.
    """
    no_out("var", out)
    value, result = _variance("var", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return convert_element_type(value, result)


def std(a: Any, axis: Any = None, dtype: Any = None, out: None = None, ddof: int = 0, keepdims: bool = False, *,
        where: Any = None, mean: Any = None, correction: Any = None) -> Any:
    """The square root of ``var``, with its arguments. The gradient is NaN where all elements are equal."""
    no_out("std", out)
    value, result = _variance("std", a, axis, dtype, ddof, keepdims, where, mean, correction)
    return convert_element_type(sqrt(value), result)


def _variance(name: str, a: Any, axis: Any, dtype: Any, ddof: Any, keepdims: bool, where: Any, center: Any,
              correction: Any) -> tuple[Any, np.dtype]:
    """The variance in the dtype it is computed in, and the dtype of the result."""
    if correction is not None:
        if ddof:
            raise ValueError(message(f"{name}: ddof and correction are two names of one number",
                                     f"ddof={ddof}, correction={correction}", "one of them"))
        ddof = correction
    x = unary_arg(name, a)
    axes = r.as_axes(name, axis, len(x.shape))
    result = dtypes.inexact_dtype(x.dtype) if dtype is None else dtypes.as_dtype(dtype)
    inner = wide(dtypes.inexact_dtype(result))
    if x.dtype.kind == "c" and inner.kind != "c":
        inner = dtypes.complex_dtype(inner)
    # What the mask hides is replaced before it is squared: NaN there must not reach the gradient.
    x = masked(name, convert_element_type(x, inner), where, 0)
    if center is None:
        center = div(reduced(reduce_sum_p, x, axes, True), count(name, x, axes, where, True, inner))
    distance = subtract(x, center)
    squares = add(square(real(distance)), square(imag(distance))) if inner.kind == "c" else square(distance)
    total = reduced(reduce_sum_p, masked(name, squares, where, 0), axes, keepdims)
    number = count(name, x, axes, where, keepdims, squares.dtype)
    if where is None:
        number = number - number.dtype.type(ddof)
        number = number if number > 0 else number.dtype.type(np.nan)
    else:
        number = subtract(number, ddof)
        number = select_n_p.bind(gt(number, 0), number.dtype.type(np.nan), number)[0]
    return div(total, number), dtypes.real_dtype(result)


def average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, keepdims: bool = False) -> Any:
    """The weighted mean over axes.

    Args:
      weights: of the shape of a, or, with ``axis``, of the sizes of those axes; None for the plain mean.
      returned: return the pair (mean, sum of weights).

    Raises ValueError when the shapes do not fit.
    """
    x = unary_arg("average", a)
    axes = r.as_axes("average", axis, len(x.shape))
    if weights is None:
        value = mean(x, axis, keepdims=keepdims)
        total = full(value.shape, float(math.prod([x.shape[i] for i in axes])), value.dtype) if returned else None
        return (value, total) if returned else value
    w = unary_arg("average", weights)
    if w.shape != x.shape:
        order = axes if axis is None else tuple([r.as_axis("average", d, len(x.shape)) for d in
                                                 (axis if isinstance(axis, (tuple, list)) else (axis,))])
        if axis is None or w.shape != tuple([x.shape[i] for i in order]) or order != axes:
            raise ValueError(message("average: the weights do not fit",
                                     f"{describe(w)} for {describe(x)}, axis={axis}",
                                     "weights of the shape of a, or of its sizes along axis"))
        w = broadcast_in_dim(w, x.shape, axes)
    x, w = promote_args("average", (x, w), inexact=True)
    total = sum(w, axes, keepdims=keepdims)
    value = div(sum(multiply(x, w), axes, keepdims=keepdims), total)
    return (value, total) if returned else value


# ---------------------------------------------------------------- positions


def argmax(a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Any:
    """The position of the first largest element along an axis, or in the flattened array; NaN counts as largest."""
    no_out("argmax", out)
    return position("argmax", r.argmax_p, a, axis, bool(keepdims))


def argmin(a: Any, axis: int | None = None, out: None = None, keepdims: bool | None = None) -> Any:
    """The position of the first smallest element along an axis, or in the flattened array; NaN counts as smallest."""
    no_out("argmin", out)
    return position("argmin", r.argmin_p, a, axis, bool(keepdims))


def position(name: str, primitive: Primitive, a: Any, axis: int | None, keepdims: bool) -> Any:
    """The position of an extreme, with the checks and the shape of ``argmax``."""
    x = unary_arg(name, a)
    ndim = len(x.shape)
    if x.dtype.kind == "c":
        raise TypeError(message(f"{name}: complex numbers have no order", describe(x), "a real array", "abs(x)"))
    if axis is None:
        flat, d = reshape(x, (math.prod(x.shape),)), 0
    else:
        flat, d = x, r.as_axis(name, axis, ndim)
    if not flat.shape[d]:
        raise ValueError(message(f"{name}: attempt to get {name} of an empty sequence", f"{describe(x)}, axis={axis}",
                                 "at least one element"))
    out, = primitive.bind(flat, axes=(d,), index_dtype=np.dtype("int64"))
    if not keepdims:
        return out
    return reshape(out, (1,) * ndim) if axis is None else expand_dims(out, (d,))


# ---------------------------------------------------------------- running totals


def cumsum(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running sums along an axis, or of the flattened array; bools are counted in int64."""
    no_out("cumsum", out)
    return running("cumsum", r.cumsum_p, a, axis, dtype)


def cumprod(a: Any, axis: int | None = None, dtype: Any = None, out: None = None) -> Any:
    """Running products along an axis, or of the flattened array; its gradient is right at zeros too."""
    no_out("cumprod", out)
    return running("cumprod", r.cumprod_p, a, axis, dtype)


def running(name: str, primitive: Primitive, a: Any, axis: int | None, dtype: Any) -> Any:
    """A cumulative operation with the arguments of ``cumsum``."""
    x = unary_arg(name, a)
    if axis is None:
        x, axis = reshape(x, (math.prod(x.shape),)), 0
    d = r.as_axis(name, axis, len(x.shape))
    x = convert_element_type(x, accumulation_dtype(x.dtype, dtype, promote_integers=False))
    return primitive.bind(x, axis=d, reverse=False)[0]


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """Running sums along an axis, in 64 bits for integers; ``include_initial`` puts a 0 in front."""
    return _standard_running("cumulative_sum", r.cumsum_p, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False) -> Any:
    """Running products along an axis, in 64 bits for integers; ``include_initial`` puts a 1 in front."""
    return _standard_running("cumulative_prod", r.cumprod_p, 1, x, axis, dtype, include_initial)


def _standard_running(name: str, primitive: Primitive, first: int, x: Any, axis: int | None, dtype: Any,
                      include_initial: bool) -> Any:
    x = unary_arg(name, x)
    if not x.shape or axis is None and len(x.shape) > 1:
        raise ValueError(message(f"{name}: the axis must be named", describe(x),
                                 "an array with one axis, or axis=..."))
    d = r.as_axis(name, 0 if axis is None else axis, len(x.shape))
    x = convert_element_type(x, accumulation_dtype(x.dtype, dtype))
    out, = primitive.bind(x, axis=d, reverse=False)
    if not include_initial:
        return out
    head = full([1 if i == d else n for i, n in enumerate(x.shape)], first, x.dtype)
    return concatenate((head, out), d)
