"""Structure: reshape, broadcast, transpose, slice, pad, concatenate, reverse, iota, conversion of dtypes.

In and out: arrays. Each operation is an index map, and linear; its transpose is an index map or a sum.

    { lambda ; a:f64[3]. let b:f64[2,3] = broadcast_in_dim[shape=(2, 3) broadcast_dimensions=(1,)] a in (b,) }
"""
from __future__ import annotations

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray, describe
from funcgrad.core.primitive import (
    ALIGN,
    INDEX,
    LINEAR,
    PIECEWISE_CONSTANT,
    PIECEWISE_LINEAR,
    Constant,
    Kind,
    Linear,
    LinearIn,
    Native,
    No,
    Partials,
    Primitive,
)
from funcgrad.core.stage import as_value
from funcgrad.core.types import Shape, ShapedArray, Zero, shaped_array
from funcgrad.errors import message
from funcgrad.ops.rules import movement, transpose_first

# ---------------------------------------------------------------- user functions


def reshape(x: Any, new_sizes: Sequence[int]) -> Any:
    """The elements of x in row-major order under another shape of the same size."""
    shape = as_shape(new_sizes)
    return as_value(x) if x.shape == shape else reshape_p.bind(x, new_sizes=shape)[0]


def broadcast_in_dim(x: Any, shape: Sequence[int], broadcast_dimensions: Sequence[int]) -> Any:
    """x repeated to ``shape``; axis i of x becomes axis ``broadcast_dimensions[i]`` of the result."""
    shape, dims = as_shape(shape), as_shape(broadcast_dimensions)
    if x.shape == shape and dims == tuple(range(len(shape))):
        return as_value(x)
    return broadcast_in_dim_p.bind(x, shape=shape, broadcast_dimensions=dims)[0]


def broadcast_to(x: Any, shape: Shape) -> Any:
    """x broadcast to a shape by NumPy's rule; sizes 1 and missing leading axes are repeated."""
    lead = len(shape) - len(x.shape)
    return broadcast_in_dim(x, shape, tuple(range(lead, len(shape))))


def transpose(x: Any, permutation: Sequence[int]) -> Any:
    """x with its axes permuted: axis i of the result is axis ``permutation[i]`` of x."""
    permutation = tuple(map(operator.index, permutation))
    return as_value(x) if permutation == tuple(range(len(permutation))) else transpose_p.bind(x, permutation=permutation)[0]


def moveaxis(x: Any, source: int, destination: int) -> Any:
    """x with one axis moved; both positions are nonnegative."""
    if source == destination:
        return x
    order = [i for i in range(len(x.shape)) if i != source]
    order.insert(destination, source)
    return transpose(x, order)


def slice(x: Any, start_indices: Sequence[int], limit_indices: Sequence[int],
          strides: Sequence[int] | None = None) -> Any:
    """The elements from start to limit (exclusive) in positive steps, along each axis."""
    start, limit = as_shape(start_indices), as_shape(limit_indices)
    steps = (1,) * len(start) if strides is None else as_shape(strides)
    if limit == x.shape and not any(start) and all(s == 1 for s in steps):
        return as_value(x)
    return slice_p.bind(x, start_indices=start, limit_indices=limit, strides=steps)[0]


def slice_in_dim(x: Any, start: int, limit: int, stride: int = 1, axis: int = 0) -> Any:
    """``slice`` along one axis."""
    ndim = len(x.shape)
    starts, limits, strides = [0] * ndim, list(x.shape), [1] * ndim
    starts[axis], limits[axis], strides[axis] = start, limit, stride
    return slice(x, starts, limits, strides)


def pad(x: Any, padding_value: Any, padding_config: Sequence[tuple[int, int, int]]) -> Any:
    """x with (low, high, interior) padding per axis; negative low or high cuts off."""
    config = tuple(tuple(map(operator.index, entry)) for entry in padding_config)
    if all(entry == (0, 0, 0) for entry in config):
        return as_value(x)
    return pad_p.bind(x, padding_value, padding_config=config)[0]


def concatenate(operands: Sequence[Any], dimension: int) -> Any:
    """Arrays of one dtype joined along an axis."""
    if len(operands) == 1:
        return as_value(operands[0])
    return concatenate_p.bind(*operands, dimension=operator.index(dimension))[0]


def rev(x: Any, dimensions: Sequence[int]) -> Any:
    """x with the order of its elements reversed along the axes given."""
    return rev_p.bind(x, dimensions=as_shape(dimensions))[0] if dimensions else as_value(x)


def squeeze(x: Any, dimensions: Sequence[int]) -> Any:
    """x without the axes given, whose size is 1."""
    return reshape(x, [n for i, n in enumerate(x.shape) if i not in dimensions])


def expand_dims(x: Any, dimensions: Sequence[int]) -> Any:
    """x with axes of size 1 at the positions given, counted in the result."""
    ndim = len(x.shape) + len(dimensions)
    rest = iter(x.shape)
    return reshape(x, [1 if i in dimensions else next(rest) for i in range(ndim)])


def iota(dtype: Any, shape: Sequence[int], dimension: int = 0) -> Any:
    """An array whose elements are their own index along one axis."""
    return iota_p.bind(dtype=dtypes.as_dtype(dtype), shape=as_shape(shape), dimension=dimension)[0]


def full(shape: Sequence[int], fill_value: Any, dtype: Any = None) -> Any:
    """An array of one repeated scalar."""
    shape = as_shape(shape)
    if dtype is not None:
        dtype = dtypes.as_dtype(dtype)
        fill_value = dtype.type(fill_value) if isinstance(fill_value, builtins.bool | int | float | complex) \
            else convert_element_type(fill_value, dtype)
    elif type(fill_value) in dtypes.PYTHON_SCALARS:
        fill_value = dtypes.PYTHON_SCALARS[type(fill_value)].type(fill_value)
    return broadcast_in_dim(DeviceArray(fill_value) if isinstance(fill_value, np.generic) else fill_value, shape, ())


def zeros(aval: ShapedArray) -> Any:
    """An array of zeros of a given type."""
    if aval.dtype == dtypes.float0:
        return np.zeros(aval.shape, dtypes.float0)
    return full(aval.shape, aval.dtype.type(0))


def instantiate(x: Any) -> Any:
    """A tangent or cotangent as an array, whether it is symbolic or not."""
    return zeros(x.aval) if type(x) is Zero else x


def convert_element_type(x: Any, new_dtype: Any, weak_type: bool = False) -> Any:
    """x with another dtype. Complex to real keeps the real part; float to integer truncates."""
    new_dtype = dtypes.as_dtype(new_dtype)
    if x.dtype == new_dtype and not isinstance(x, np.generic) and getattr(x, "weak_type", False) == weak_type:
        return as_value(x)
    return convert_element_type_p.bind(x, new_dtype=new_dtype, weak_type=weak_type)[0]


def stop_gradient(x: Any) -> Any:
    """x with derivative zero: ``grad`` and ``jvp`` treat it as a constant."""
    x = as_value(x)
    return stop_gradient_p.bind(x)[0] if dtypes.is_inexact(x.dtype) else x


def as_shape(sizes: Any) -> Shape:
    """Sizes as a tuple of Python integers. Raises TypeError for anything that is not an integer."""
    if isinstance(sizes, (int, np.integer)):
        return (int(sizes),)
    try:
        return tuple([operator.index(n) for n in sizes])
    except TypeError as error:
        if isinstance(error, TypeError) and type(error) is not TypeError:
            raise
        raise TypeError(message("a shape must be made of integers", describe(sizes), "integers known while tracing",
                                "x.shape[i], or an argument marked static")) from None


# ---------------------------------------------------------------- reshape, broadcast, transpose, reverse


def reshape_shape(x: ShapedArray, *, new_sizes: Shape) -> ShapedArray:
    if math.prod(new_sizes) != x.size or any(n < 0 for n in new_sizes):
        raise TypeError(message("reshape: the sizes do not match", f"{x} ({x.size} elements) to shape {new_sizes} "
                                f"({math.prod(new_sizes)} elements)", "as many elements after as before"))
    return shaped_array(new_sizes, x.dtype)


def reshape_batch(axis: Any, args: tuple, axes: tuple, *, new_sizes: Shape) -> tuple:
    x = moveaxis(args[0], axes[0], 0)
    return (reshape(x, (axis.size, *new_sizes)),), (0,)


reshape_p = movement(
    "reshape", reshape_shape, impl=lambda xp, x, new_sizes: x.reshape(new_sizes),
    transpose=transpose_first(lambda ct, x, new_sizes: reshape(ct, x.shape)), batch=reshape_batch,
    code=lambda view, new_sizes: view.reshape(new_sizes))


def broadcast_in_dim_shape(x: ShapedArray, *, shape: Shape, broadcast_dimensions: Shape) -> ShapedArray:
    dims = broadcast_dimensions
    if len(dims) != x.ndim or list(dims) != sorted(set(dims)) \
            or any(not 0 <= d < len(shape) for d in dims) \
            or any(n not in (1, shape[d]) for n, d in zip(x.shape, dims, strict=True)):
        raise TypeError(message("broadcast_in_dim: the shapes do not fit", f"{x} to {shape} along {dims}",
                                "sizes that are equal or 1 on the axes named"))
    return shaped_array(shape, x.dtype)


def broadcast_in_dim_impl(xp: Any, x: Any, *, shape: Shape, broadcast_dimensions: Shape) -> Any:
    sizes = [1] * len(shape)
    for n, d in zip(x.shape, broadcast_dimensions, strict=True):
        sizes[d] = n
    return xp.broadcast_to(xp.reshape(x, sizes), shape)


def broadcast_in_dim_transpose(ct: Any, x: ShapedArray, *, shape: Shape, broadcast_dimensions: Shape) -> Any:
    repeated = [d for d in range(len(shape)) if d not in broadcast_dimensions]
    repeated += [d for n, d in zip(x.shape, broadcast_dimensions, strict=True) if n == 1 and shape[d] != 1]
    return reshape(sum_over(ct, repeated), x.shape)


def sum_over(x: Any, axes: Sequence[int]) -> Any:
    """The sum over some axes, in the dtype of x. The transpose of broadcasting, so its rules stand here."""
    return reduce_sum_p.bind(x, axes=tuple(sorted(axes)))[0] if axes else x


def reduce_sum_impl(xp: Any, x: Any, *, axes: Shape) -> Any:
    if x.dtype.kind == "b":
        return xp.any(x, axis=axes)
    if x.dtype.itemsize == 2 and dtypes.is_inexact(x.dtype):  # accumulated in float32, rounded once
        return xp.sum(x, axis=axes, dtype=np.float32).astype(x.dtype)
    return xp.sum(x, axis=axes, dtype=x.dtype)


def reduce_shape(x: ShapedArray, *, axes: Shape) -> ShapedArray:
    """The type after reducing over ``axes``, which are nonnegative, sorted and different."""
    assert list(axes) == sorted(set(axes)) and all(0 <= a < x.ndim for a in axes), (x, axes)
    return shaped_array(tuple([n for i, n in enumerate(x.shape) if i not in axes]), x.dtype)


def kept_axes(ndim: int, axes: Sequence[int]) -> Shape:
    """The axes that a reduction leaves."""
    return tuple([i for i in range(ndim) if i not in axes])


def batched_axes(d: int, axes: Sequence[int]) -> tuple[Shape, int]:
    """The axes of an operation, and the batch axis of its result, when the batch axis ``d`` is put into its argument."""
    return tuple([i + (i >= d) for i in axes]), d - sum(i < d for i in axes)


def reduce_batch(primitive: Primitive, args: tuple, axes_in: tuple, axes: Shape, **params: Any) -> tuple:
    """Batching of any reduction over ``axes`` of one argument."""
    moved, out = batched_axes(axes_in[0], axes)
    return primitive.bind(*args, axes=moved, **params), (out,)


reduce_sum_p = Primitive(
    "reduce_sum", Kind.REDUCTION, reduce_shape, reduce_sum_impl, LINEAR,
    transpose_first(lambda ct, x, axes: broadcast_in_dim(ct, x.shape, kept_axes(x.ndim, axes))),
    batch=lambda axis, args, axes_in, axes: reduce_batch(reduce_sum_p, args, axes_in, axes), code=("{0} + {1}", "0"))


def broadcast_in_dim_batch(axis: Any, args: tuple, axes: tuple, *, shape: Shape, broadcast_dimensions: Shape) -> tuple:
    x = moveaxis(args[0], axes[0], 0)
    return (broadcast_in_dim(x, (axis.size, *shape), (0, *[d + 1 for d in broadcast_dimensions])),), (0,)


broadcast_in_dim_p = movement(
    "broadcast_in_dim", broadcast_in_dim_shape, broadcast_in_dim_impl,
    transpose_first(broadcast_in_dim_transpose), broadcast_in_dim_batch,
    code=lambda view, shape, broadcast_dimensions: view.broadcast_in_dim(shape, broadcast_dimensions))


def transpose_shape(x: ShapedArray, *, permutation: Shape) -> ShapedArray:
    if sorted(permutation) != list(range(x.ndim)):
        raise TypeError(message("transpose: not a permutation of the axes", f"{permutation} for {x}",
                                f"each of 0 ... {x.ndim - 1} once"))
    return shaped_array(tuple([x.shape[i] for i in permutation]), x.dtype)


def transpose_batch(axis: Any, args: tuple, axes: tuple, *, permutation: Shape) -> tuple:
    d = axes[0]
    return (transpose(args[0], (d, *[i + (i >= d) for i in permutation])),), (0,)


def inverse_permutation(permutation: Sequence[int]) -> Shape:
    inverse = [0] * len(permutation)
    for i, p in enumerate(permutation):
        inverse[p] = i
    return tuple(inverse)


transpose_p = movement(
    "transpose", transpose_shape, impl=lambda xp, x, permutation: x.transpose(permutation),
    transpose=transpose_first(lambda ct, x, permutation: transpose(ct, inverse_permutation(permutation))),
    batch=transpose_batch, code=lambda view, permutation: view.transpose(permutation))

rev_p = movement(
    "rev", lambda x, dimensions: x, impl=lambda xp, x, dimensions: xp.flip(x, dimensions),
    transpose=transpose_first(lambda ct, x, dimensions: rev(ct, dimensions)),
    batch=lambda axis, args, axes, dimensions:
        ((rev(args[0], [i + (i >= axes[0]) for i in dimensions]),), (axes[0],)),
    code=lambda view, dimensions: view.rev(dimensions))

# ---------------------------------------------------------------- slice, pad, concatenate


def slice_shape(x: ShapedArray, *, start_indices: Shape, limit_indices: Shape, strides: Shape) -> ShapedArray:
    if not len(start_indices) == len(limit_indices) == len(strides) == x.ndim or any(
            not 0 <= a <= b <= n or s < 1
            for a, b, s, n in zip(start_indices, limit_indices, strides, x.shape, strict=True)):
        raise TypeError(message("slice: the bounds do not fit", f"{x} from {start_indices} to {limit_indices} in steps "
                                f"of {strides}", "0 <= start <= limit <= size and a positive step on every axis"))
    return shaped_array(tuple([-(-(b - a) // s) for a, b, s in
                               zip(start_indices, limit_indices, strides, strict=True)]), x.dtype)


def slice_impl(xp: Any, x: Any, *, start_indices: Shape, limit_indices: Shape, strides: Shape) -> Any:
    return x[tuple(map(builtins.slice, start_indices, limit_indices, strides))]


def slice_transpose(ct: Any, x: ShapedArray, *, start_indices: Shape, limit_indices: Shape, strides: Shape) -> Any:
    config = []
    for a, s, n, m in zip(start_indices, strides, x.shape, ct.shape, strict=True):
        reach = a + (m - 1) * s + 1 if m else a
        config.append((a, n - reach, s - 1))
    return pad(ct, x.dtype.type(0), config)


def slice_batch(axis: Any, args: tuple, axes: tuple, *, start_indices: Shape, limit_indices: Shape,
                strides: Shape) -> tuple:
    x = moveaxis(args[0], axes[0], 0)
    return (slice(x, (0, *start_indices), (axis.size, *limit_indices), (1, *strides)),), (0,)


slice_p = movement(
    "slice", slice_shape, slice_impl, transpose_first(slice_transpose), slice_batch,
    code=lambda view, start_indices, limit_indices, strides: view.slice(start_indices, limit_indices, strides))


def padded_size(n: int, low: int, high: int, interior: int) -> int:
    return low + high + n + max(n - 1, 0) * interior


def pad_shape(x: ShapedArray, value: ShapedArray, *, padding_config: tuple) -> ShapedArray:
    sizes = tuple([padded_size(n, *entry) for n, entry in zip(x.shape, padding_config, strict=True)])
    if value.shape or value.dtype != x.dtype or any(n < 0 for n in sizes) or any(c[2] < 0 for c in padding_config):
        raise TypeError(message("pad: the padding does not fit", f"{x} by {padding_config} with a value of type {value}",
                                "a scalar of the same dtype, interior >= 0, and sizes that stay >= 0"))
    return shaped_array(sizes, x.dtype)


def pad_impl(xp: Any, x: Any, value: Any, *, padding_config: tuple) -> Any:
    x = xp.asarray(x)
    full_sizes = [padded_size(n, max(lo, 0), max(hi, 0), i) for n, (lo, hi, i) in zip(x.shape, padding_config, strict=True)]
    out = xp.full(full_sizes, value, dtype=x.dtype)
    inside = tuple([builtins.slice(max(lo, 0), max(lo, 0) + max(n - 1, 0) * (i + 1) + (n > 0), i + 1)
                    for n, (lo, hi, i) in zip(x.shape, padding_config, strict=True)])
    out[inside] = x
    return out[tuple([builtins.slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi, _) in
                      zip(full_sizes, padding_config, strict=True)])]


def pad_transpose(cotangents: tuple, x: Any, value: Any, *, padding_config: tuple) -> tuple:
    ct, = cotangents
    ct_x = ct_value = None
    if isinstance(x, Linear):
        undone = pad(ct, ct.dtype.type(0), [(-lo, -hi, 0) for lo, hi, _ in padding_config])
        ct_x = slice(undone, (0,) * undone.ndim, undone.shape, [i + 1 for _, _, i in padding_config])
    if isinstance(value, Linear):
        shape = x.aval.shape if isinstance(x, Linear) else x.shape
        padding = pad(full(shape, False), np.True_, padding_config)  # true where the value stands
        ct_value = sum_over(select_n_p.bind(padding, ct.dtype.type(0), ct)[0], range(ct.ndim))
    return ct_x, ct_value


def pad_batch(axis: Any, args: tuple, axes: tuple, *, padding_config: tuple) -> tuple:
    (x, value), (dx, dv) = args, axes
    x = broadcast_in_dim(x, (axis.size, *x.shape), range(1, x.ndim + 1)) if dx is None else moveaxis(x, dx, 0)
    config = ((0, 0, 0), *padding_config)
    if dv is None:
        return (pad(x, value, config),), (0,)
    # One value an example: pad with zeros and add the value where the padding stands.
    mask = pad(full(x.shape, False), np.True_, config)
    filled = broadcast_in_dim(value, mask.shape, (0,))
    return (select_n(mask, pad(x, x.dtype.type(0), config), filled),), (0,)


pad_p = Primitive("pad", Kind.MOVEMENT, pad_shape, pad_impl, LINEAR, pad_transpose, pad_batch, code=Native("pad"))


def concatenate_shape(*avals: ShapedArray, dimension: int) -> ShapedArray:
    first = avals[0]
    if not 0 <= dimension < first.ndim or any(
            a.ndim != first.ndim or a.dtype != first.dtype
            or a.shape[:dimension] + a.shape[dimension + 1:] != first.shape[:dimension] + first.shape[dimension + 1:]
            for a in avals):
        raise TypeError(message("concatenate: the arrays do not fit", f"{', '.join(map(str, avals))} along axis "
                                f"{dimension}", "one dtype, and equal shapes but for the axis of concatenation"))
    size = sum(a.shape[dimension] for a in avals)
    return shaped_array(first.shape[:dimension] + (size,) + first.shape[dimension + 1:], first.dtype)


def concatenate_transpose(cotangents: tuple, *args: Any, dimension: int) -> tuple:
    ct, = cotangents
    out, start = [], 0
    for x in args:
        n = (x.aval if isinstance(x, Linear) else x).shape[dimension]
        out.append(slice_in_dim(ct, start, start + n, axis=dimension) if isinstance(x, Linear) else None)
        start += n
    return tuple(out)


def concatenate_batch(axis: Any, args: tuple, axes: tuple, *, dimension: int) -> tuple:
    moved = [broadcast_in_dim(x, (axis.size, *x.shape), range(1, len(x.shape) + 1)) if d is None
             else moveaxis(x, d, 0) for x, d in zip(args, axes, strict=True)]
    return (concatenate(moved, dimension + 1),), (0,)


concatenate_p = movement(
    "concatenate", concatenate_shape, impl=lambda xp, *xs, dimension: xp.concatenate(xs, axis=dimension),
    transpose=concatenate_transpose, batch=concatenate_batch, code=Native("concatenate"))

# ---------------------------------------------------------------- select


def select_n(which: Any, *cases: Any) -> Any:
    """Element by element, ``cases[which]``; ``which`` is bool (two cases) or int32, of the shape of the cases or a scalar."""
    if len(cases) > 1 and isinstance(which, np.ndarray | np.generic) and not which.shape:
        return cases[int(which)]
    return select_n_p.bind(which, *cases)[0]


def select_n_shape(which: ShapedArray, *cases: ShapedArray) -> ShapedArray:
    shapes = {a.shape for a in cases if not a.literal} or {which.shape}
    if len(shapes) > 1 or which.shape not in ((), *shapes) or len({a.dtype for a in cases}) > 1 \
            or which.dtype.name not in ("bool", "int32") or which.dtype.kind == "b" and len(cases) > 2:
        raise TypeError(message("select_n: the arguments do not fit", f"{', '.join(map(str, (which, *cases)))}",
                                "a selector of bool or int32 and cases of one shape and dtype"))
    return shaped_array(shapes.pop(), cases[0].dtype)


def select_n_impl(xp: Any, which: Any, *cases: Any) -> Any:
    if which.dtype.kind == "b":
        out = xp.where(which, cases[1], cases[0])
    else:
        out = xp.choose(xp.clip(which, 0, len(cases) - 1), cases) if len(cases) <= 32 else \
            xp.take_along_axis(xp.stack(xp.broadcast_arrays(*cases)), which[None], 0)[0]
    return out if out.shape else out[()]


def select_n_on_gpu(xp: Any, which: Any, *cases: Any) -> Any:
    """CuPy's ``where`` makes float32 of bfloat16, and has no choice between more than two."""
    out = cases[-1]
    for i in range(len(cases) - 2, -1, -1):
        out = xp.where(~which if which.dtype.kind == "b" else which <= i, cases[i], out)
    return out.astype(cases[0].dtype, copy=False)


def select_n_transpose(cotangents: tuple, which: Any, *cases: Any) -> tuple:
    ct, = cotangents
    zero = ct.dtype.type(0)
    out: list[Any] = [None]
    for i, case in enumerate(cases):
        chosen = [zero] * len(cases)
        chosen[i] = ct
        out.append(select_n_p.bind(which, *chosen)[0] if isinstance(case, Linear) else None)
    return tuple(out)


def select_n_batch(axis: Any, args: tuple, axes: tuple) -> tuple:
    which, *cases = args
    d_which, *d_cases = axes
    if d_which is None and not which.shape and len({d for x, d in zip(cases, d_cases, strict=True)
                                                    if not isinstance(x, np.generic)}) == 1:
        return select_n_p.bind(which, *cases), (next(d for d in d_cases if d is not None),)
    shape = (axis.size, *next(x.shape[:d] + x.shape[d + 1:] if d is not None else x.shape
                              for x, d in zip((*cases, which), (*d_cases, d_which), strict=True)
                              if not isinstance(x, np.generic)))

    def align(x: Any, d: int | None) -> Any:
        if isinstance(x, np.generic):
            return x
        if d is None:
            return broadcast_to(x, shape)
        x = moveaxis(x, d, 0)
        return broadcast_in_dim(x, shape, range(x.ndim)) if len(x.shape) < len(shape) else x

    return select_n_p.bind(align(which, d_which), *map(align, cases, d_cases)), (0,)


def select_n_code(which: np.dtype, *cases: np.dtype) -> str | None:
    if which.kind == "b":
        return "select({0}, {1}, {2})" if len(cases) == 2 else None
    code = f"{{{len(cases)}}}"
    for i in range(len(cases) - 1, 0, -1):
        code = f"select_bool({{0}} >= {i}, {{{i}}}, {code})"
    return code


select_n_p = Primitive("select_n", Kind.ELEMENTWISE, select_n_shape, select_n_impl, LINEAR, select_n_transpose,
                       select_n_batch, code=select_n_code, cuda=select_n_on_gpu)

# ---------------------------------------------------------------- iota, conversion, stop_gradient


def iota_impl(xp: Any, *, dtype: np.dtype, shape: Shape, dimension: int) -> Any:
    sizes = [n if i == dimension else 1 for i, n in enumerate(shape)]
    return xp.broadcast_to(xp.arange(shape[dimension]).astype(dtype).reshape(sizes), shape)


iota_p = Primitive(
    "iota", Kind.MOVEMENT, lambda *, dtype, shape, dimension: shaped_array(shape, dtype), iota_impl, jvp=PIECEWISE_CONSTANT,
    transpose=No("takes no arguments"), batch=No("takes no arguments"), taylor=PIECEWISE_CONSTANT, code=INDEX,
    strong=True)


def convert_impl(xp: Any, x: Any, *, new_dtype: np.dtype, weak_type: bool) -> Any:
    if x.dtype.kind == "c" and new_dtype.kind != "c":
        x = x.real
    return x.astype(new_dtype)


def convert_jvp(primals: tuple, tangents: tuple, *, new_dtype: np.dtype, weak_type: bool) -> tuple:
    out = convert_element_type_p.bind(*primals, new_dtype=new_dtype, weak_type=weak_type)[0]
    if not dtypes.is_inexact(new_dtype):
        return (out,), (Zero(shaped_array(out.shape, dtypes.float0)),)
    return (out,), (convert_element_type_p.bind(*tangents, new_dtype=new_dtype, weak_type=False)[0],)


convert_element_type_p = Primitive(
    "convert_element_type", Kind.ELEMENTWISE, lambda x, new_dtype, weak_type: shaped_array(x.shape, new_dtype),
    convert_impl, convert_jvp,
    transpose_first(lambda ct, x, new_dtype, weak_type: convert_element_type(ct, x.dtype)),
    batch=lambda axis, args, axes, **params: (convert_element_type_p.bind(*args, **params), axes), taylor=PIECEWISE_LINEAR,
    code="convert({0}, {new_dtype})")

stop_gradient_p = Primitive(
    "stop_gradient", Kind.ELEMENTWISE, lambda x: x, lambda xp, x: x,
    jvp=Constant("by definition"), transpose=No("its tangent is always zero"),
    batch=lambda axis, args, axes: (stop_gradient_p.bind(*args), axes), code="{0}")

name_p = Primitive("name", Kind.ELEMENTWISE, lambda x, name: x, lambda xp, x, name: x, Partials(1), LinearIn(0), ALIGN,
                   code="{0}")
"""x itself, under a name that checkpoint policies and drawings know."""

