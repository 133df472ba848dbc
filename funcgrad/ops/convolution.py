"""Convolution under the names of ``jax.lax``: any layout, strides, padding, dilation and groups.

In: an input and a kernel in the layout that ``dimension_numbers`` tells. Out: their convolution, which is a correlation as
everywhere in machine learning: the kernel is not flipped. Every layout is brought to one by transposes and reshapes, and
there ``convolving.py`` takes over. A 1x1 convolution is a product of matrices and becomes one.

    conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
"""
from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.contraction import accumulator, dot_general, precision_params
from funcgrad.ops.convolving import convolve, convolve_input
from funcgrad.ops.layouts import ConvDimensionNumbers, conv_dimension_numbers, features_last, inverse, transposed_padding
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import (
    concatenate,
    convert_element_type,
    expand_dims,
    full,
    moveaxis,
    pad,
    reshape,
    rev,
    slice_in_dim,
    squeeze,
    transpose,
)
from funcgrad.ops.structural import slice as slice_
from funcgrad.ops.windows import Padding, as_padding, as_sizes, padded, reach, window_counts

# ---------------------------------------------------------------- convolution


def conv_general_dilated(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: Any,
                         lhs_dilation: Sequence[int] | None = None, rhs_dilation: Sequence[int] | None = None,
                         dimension_numbers: Any = None, feature_group_count: int = 1, batch_group_count: int = 1,
                         precision: Any = None, preferred_element_type: Any = None, out_sharding: Any = None) -> Any:
    """Convolution over any number of spatial dimensions.

    Args:
      lhs, rhs: input and kernel, arrays of one dtype with n + 2 axes.
      window_strides: n steps from window to window.
      padding: "SAME", "SAME_LOWER", "VALID" or n pairs (low, high); a negative number cuts off.
      lhs_dilation: n numbers; so many steps of the window are from element to element of the input, which has zeros
        between (they are not multiplied). Padding is then given in numbers.
      rhs_dilation: n numbers: steps between the elements of the kernel.
      dimension_numbers: None, three strings or ConvDimensionNumbers, see ``conv_dimension_numbers``.
      feature_group_count: channels are divided into so many groups, each with a part of the kernel's outputs.
      batch_group_count: the batch is divided into so many groups, each with a part of the kernel's outputs.
      precision: "high" or "tensorfloat32" lets a GPU round operands of float32 to 10 bits, as in ``dot_general``.
      out_sharding: accepted for compatibility.
      preferred_element_type: the dtype in which the sum is accumulated and returned.

    Raises TypeError or ValueError when something does not fit.

    >>> x, w = fnp.ones((8, 28, 28, 3)), fnp.ones((3, 3, 3, 16))
    >>> conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).shape
    (8, 14, 14, 16)
    """
    return _convolution("conv_general_dilated", lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation,
                        dimension_numbers, feature_group_count, batch_group_count, preferred_element_type, precision)


def conv(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: str, precision: Any = None,
         preferred_element_type: Any = None) -> Any:
    """Convolution in the layout ``("NCHW", "OIHW", "NCHW")``, or that for another number of dimensions."""
    return _convolution("conv", lhs, rhs, window_strides, padding, preferred=preferred_element_type, precision=precision)


def conv_with_general_padding(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: Any,
                              lhs_dilation: Sequence[int] | None, rhs_dilation: Sequence[int] | None, precision: Any = None,
                              preferred_element_type: Any = None) -> Any:
    """As ``conv``, with padding in numbers and dilation."""
    return _convolution("conv_with_general_padding", lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation,
                        preferred=preferred_element_type, precision=precision)


_TRANSPOSED_LAYOUTS = {3: ("NHC", "HIO", "NHC"), 4: ("NHWC", "HWIO", "NHWC"), 5: ("NHWDC", "HWDIO", "NHWDC")}


def conv_transpose(lhs: Any, rhs: Any, strides: Sequence[int], padding: Any, rhs_dilation: Sequence[int] | None = None,
                   dimension_numbers: Any = None, transpose_kernel: bool = False, precision: Any = None,
                   preferred_element_type: Any = None, use_consistent_padding: bool = False) -> Any:
    """Transposed convolution: each element of the input is ``strides`` steps of the output away from the next.

    Args:
      padding: "SAME" makes the output ``strides`` times as large as the input, "VALID" as large as the input of which a "VALID"
        convolution makes this one; or pairs of numbers, by which the dilated input is padded, or, with
        ``use_consistent_padding``, the padding of the convolution that this one is the transpose of.
      dimension_numbers: the default has the channels last: ``("NHWC", "HWIO", "NHWC")``.
      transpose_kernel: flip the kernel and let its input and output channels change places; the result is then the gradient
        of a convolution with the same kernel with respect to its input.

    >>> conv_transpose(fnp.ones((1, 5, 5, 3)), fnp.ones((3, 3, 3, 2)), (2, 2), "SAME").shape
    (1, 10, 10, 2)
    """
    lhs, rhs = unary_arg("conv_transpose", lhs), unary_arg("conv_transpose", rhs)
    layout = _TRANSPOSED_LAYOUTS.get(len(lhs.shape)) if dimension_numbers is None else dimension_numbers
    if layout is None:
        raise ValueError(message("conv_transpose: no default layout", describe(lhs), "3, 4 or 5 axes", "dimension_numbers"))
    numbers = conv_dimension_numbers(lhs.shape, rhs.shape, layout)
    spatial = numbers.rhs_spec[2:]
    strides = as_sizes("conv_transpose", "strides", strides, len(spatial), 1)
    dilation = as_sizes("conv_transpose", "rhs_dilation", rhs_dilation, len(spatial), 1)
    spans = [reach(rhs.shape[d], r) for d, r in zip(spatial, dilation, strict=True)]
    if isinstance(padding, str):
        padding = [transposed_padding(k, s, padding) for k, s in zip(spans, strides, strict=True)]
    elif use_consistent_padding:
        padding = [(k - 1 - low, k - 1 - high) for k, (low, high) in zip(spans, padding, strict=True)]
    if transpose_kernel:
        rhs = rev(rhs, spatial)
        o, i = numbers.rhs_spec[:2]
        numbers = numbers._replace(rhs_spec=(i, o, *spatial))
    return _convolution("conv_transpose", lhs, rhs, (1,) * len(spatial), padding, strides, dilation, numbers,
                        preferred=preferred_element_type, precision=precision)


# ---------------------------------------------------------------- the common way


def _convolution(name: str, lhs: Any, rhs: Any, strides: Any, padding: Any, lhs_dilation: Any = None, rhs_dilation: Any = None,
                 dimension_numbers: Any = None, features: int = 1, batches: int = 1, preferred: Any = None,
                 precision: Any = None) -> Any:
    lhs, rhs = unary_arg(name, lhs), unary_arg(name, rhs)
    numbers = conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    ndim = len(lhs.shape) - 2
    if ndim < 0 or len(lhs.shape) != len(rhs.shape) or any(len(spec) != ndim + 2 for spec in numbers):
        raise TypeError(message(f"{name}: lhs and rhs have different numbers of axes, or too few",
                                f"{describe(lhs)} and {describe(rhs)}", "two each, and one for each spatial dimension"))
    if lhs.dtype != rhs.dtype:
        raise TypeError(message(f"{name}: lhs and rhs have different dtypes", f"{describe(lhs)} and {describe(rhs)}",
                                "one dtype", f"rhs.astype({lhs.dtype})"))
    strides = as_sizes(name, "window_strides", strides, ndim, 1)
    stretch = as_sizes(name, "lhs_dilation", lhs_dilation, ndim, 1)
    dilation = as_sizes(name, "rhs_dilation", rhs_dilation, ndim, 1)
    features, batches = _checked_groups(name, lhs, rhs, numbers, features, batches)
    out_feature, in_feature, *spatial = numbers.rhs_spec
    x, w = transpose(lhs, features_last(numbers.lhs_spec)), transpose(rhs, (*spatial, in_feature, out_feature))
    sizes = tuple(map(reach, x.shape[1:-1], stretch))
    if isinstance(padding, str) and max(stretch, default=1) > 1:
        raise ValueError(message(f"{name}: padding by name is not defined for a dilated lhs", repr(padding), "pairs of numbers",
                                 "conv_transpose"))
    pads = as_padding(name, padding, sizes, tuple(map(reach, w.shape[:-2], dilation)), strides)
    if preferred is not None:
        preferred = accumulator(name, lhs.dtype, dtypes.as_dtype(preferred))
        if np.promote_types(preferred, lhs.dtype) == preferred:
            x, w = convert_element_type(x, preferred), convert_element_type(w, preferred)
    y = _grouped(x, w, features, batches, _Geometry(strides, pads, stretch, dilation), precision)
    out = transpose(y, inverse(features_last(numbers.out_spec)))
    return out if preferred is None else convert_element_type(out, preferred)


def _checked_groups(name: str, lhs: Any, rhs: Any, numbers: ConvDimensionNumbers, features: Any,
                    batches: Any) -> tuple[int, int]:
    """The group counts, after a check that they divide what they group."""
    features, batches = operator.index(features), operator.index(batches)
    n, c = lhs.shape[numbers.lhs_spec[0]], lhs.shape[numbers.lhs_spec[1]]
    o, i = rhs.shape[numbers.rhs_spec[0]], rhs.shape[numbers.rhs_spec[1]]
    for what, count, sizes in (("feature_group_count", features, {"input features": c, "output features": o}),
                               ("batch_group_count", batches, {"the batch": n, "output features": o})):
        if count < 1:
            raise ValueError(message(f"{name}: {what} must be positive", count))
        for thing, size in sizes.items():
            if size % count:
                raise ValueError(message(f"{name}: {what} does not divide {thing}", f"{count} groups of {size}"))
    if features > 1 and batches > 1:
        raise ValueError(message(f"{name}: at most one of feature_group_count and batch_group_count can be larger than 1",
                                 f"{features} and {batches}"))
    if c != i * features:
        raise ValueError(message(f"{name}: the input features do not fit the kernel",
                                 f"{c} of lhs {describe(lhs)}, {i} of rhs {describe(rhs)} in {features} groups",
                                 "as many features of lhs as of rhs, times feature_group_count",
                                 "dimension_numbers, if the axes are in another order"))
    return features, batches


class _Geometry(NamedTuple):
    strides: Shape
    padding: Padding
    stretch: Shape
    dilation: Shape


def _grouped(x: Any, w: Any, features: int, batches: int, geometry: _Geometry, precision: Any) -> Any:
    """The convolution of ``x[N, *S, C]`` and ``w[*K, I, O]``. A group of the batch is one of features: they move there."""
    n, *sizes, c = x.shape
    *windows, i, o = w.shape
    groups = features * batches
    if batches > 1:
        x = transpose(reshape(x, (batches, n // batches, *sizes, c)), (*range(1, len(sizes) + 2), 0, len(sizes) + 2))
    x = reshape(x, (n // batches, *sizes, groups, i))
    w = moveaxis(reshape(w, (*windows, i, groups, o // groups)), len(windows) + 1, 0)
    y = _stretched(x, w, geometry, precision)
    return reshape(y, (*y.shape[:-2], o))


def _stretched(x: Any, w: Any, g: _Geometry, precision: Any) -> Any:
    """The convolution of ``x[N, *S, G, C]`` and ``w[G, *K, C, O]``, with a dilated input."""
    sizes, windows = x.shape[1:-2], w.shape[1:-2]
    if not sizes:
        one = _Geometry((1,), ((0, 0),), (1,), (1,))
        return squeeze(_stretched(expand_dims(x, (1,)), expand_dims(w, (1,)), one, precision), (1,))
    counts = window_counts(tuple(map(reach, sizes, g.stretch)), windows, g.strides, g.padding, g.dilation)
    if max(g.stretch, default=1) == 1:
        if w.shape[0] == math.prod(windows) == math.prod(g.strides) == 1 and not any(map(any, g.padding)):
            return _pointwise(x, w, precision)
        return convolve(x, w, g.strides, g.padding, g.dilation, **precision_params(x.dtype, precision))
    if not math.prod((*sizes, *windows, *counts)):
        return full((x.shape[0], *counts, w.shape[0], w.shape[-1]), x.dtype.type(0))
    if max(g.strides) == 1:
        # Each element of the input is added to the outputs around it.
        spans = list(map(reach, windows, g.dilation))
        pads = tuple([(k - 1 - low, k - 1 - high) for k, (low, high) in zip(spans, g.padding, strict=True)])
        flipped = moveaxis(rev(w, range(1, len(windows) + 1)), len(windows) + 2, len(windows) + 1)
        return convolve_input(x, flipped, counts, g.stretch, pads, g.dilation, **precision_params(x.dtype, precision))
    return _phases(x, w, g, counts, precision)


def _pointwise(x: Any, w: Any, precision: Any) -> Any:
    """A 1x1 convolution of one group: at each place the same matrix."""
    matrix = reshape(w, w.shape[-2:])
    return dot_general(x, matrix, (((len(x.shape) - 1,), (0,)), ((), ())), precision)


def _phases(x: Any, w: Any, g: _Geometry, counts: Shape, precision: Any) -> Any:
    """A dilated input and strides: of every few outputs along an axis, each meets only some elements of the kernel.

    Output ``p u + q`` meets the elements ``first + step m``, at the places ``u stride' + m dilation' - low'`` of the input.
    """
    d = next(i for i, stretch in enumerate(g.stretch) if stretch > 1)
    stride, stretch, dilation, low = g.strides[d], g.stretch[d], g.dilation[d], g.padding[d][0]
    p, step = stretch // math.gcd(stride, stretch), stretch // math.gcd(dilation, stretch)
    parts = []
    for q in range(min(p, counts[d])):
        count = len(range(q, counts[d], p))
        first = next((k for k in range(min(step, w.shape[d + 1])) if (q * stride + k * dilation - low) % stretch == 0), None)
        if first is None:
            shape = (x.shape[0], *counts[:d], count, *counts[d + 1:], w.shape[0], w.shape[-1])
            parts.append(full(shape, x.dtype.type(0)))
            continue
        kernel = slice_in_dim(w, first, w.shape[d + 1], step, d + 1)
        before = (low - q * stride - first * dilation) // stretch
        one = p * stride // stretch, step * dilation // stretch
        after = (count - 1) * one[0] + reach(kernel.shape[d + 1], one[1]) - x.shape[d + 1] - before
        here = one[0], (before, after), 1, one[1]
        part = _Geometry(*[(*old[:d], new, *old[d + 1:]) for old, new in zip(g, here, strict=True)])
        parts.append(_stretched(x, kernel, part, precision))
    return _interleaved(parts, d + 1, counts[d])


def _interleaved(parts: list[Any], axis: int, n: int) -> Any:
    """The elements of some arrays by turns along an axis, n in all; the first arrays may have one more."""
    longest = parts[0].shape[axis]
    even = [pad(x, x.dtype.type(0), [(0, longest - x.shape[axis] if d == axis else 0, 0) for d in range(len(x.shape))])
            for x in parts]
    both = concatenate([expand_dims(x, (axis + 1,)) for x in even], axis + 1)
    merged = reshape(both, (*both.shape[:axis], longest * len(parts), *both.shape[axis + 2:]))
    return slice_in_dim(merged, 0, n, axis=axis)


# ---------------------------------------------------------------- patches


def conv_general_dilated_patches(lhs: Any, filter_shape: Sequence[int], window_strides: Sequence[int], padding: Any,
                                 lhs_dilation: Sequence[int] | None = None, rhs_dilation: Sequence[int] | None = None,
                                 dimension_numbers: Any = None, precision: Any = None,
                                 preferred_element_type: Any = None) -> Any:
    """What a convolution sees: each window of the input as one vector of features, channel by channel.

    The arguments are those of ``conv_general_dilated``, with the spatial shape of a kernel in place of the kernel.

    >>> conv_general_dilated_patches(fnp.ones((1, 2, 5, 5)), (3, 3), (1, 1), "VALID").shape
    (1, 18, 3, 3)
    """
    name = "conv_general_dilated_patches"
    x = unary_arg(name, lhs)
    windows = as_sizes(name, "filter_shape", filter_shape, len(x.shape) - 2, 0)
    numbers = conv_dimension_numbers(x.shape, (1, 1, *windows), dimension_numbers)
    x = transpose(x, features_last(numbers.lhs_spec))
    patches = _patches(name, x, windows, window_strides, padding, lhs_dilation, rhs_dilation)
    out = reshape(patches, (*patches.shape[:-2], patches.shape[-2] * patches.shape[-1]))
    out = transpose(out, inverse(features_last(numbers.out_spec)))
    return out if preferred_element_type is None else convert_element_type(out, dtypes.as_dtype(preferred_element_type))


def _patches(name: str, x: Any, windows: Shape, strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any) -> Any:
    """The windows of ``x[N, *S, C]`` as ``[N, *T, C, K]``."""
    ndim = len(windows)
    strides = as_sizes(name, "window_strides", strides, ndim, 1)
    stretch = as_sizes(name, "lhs_dilation", lhs_dilation, ndim, 1)
    dilation = as_sizes(name, "rhs_dilation", rhs_dilation, ndim, 1)
    sizes, spans = tuple(map(reach, x.shape[1:-1], stretch)), tuple(map(reach, windows, dilation))
    pads = as_padding(name, padding, sizes, spans, strides)
    counts = window_counts(sizes, windows, strides, pads, dilation)
    x = padded(x, x.dtype.type(0), ((0, 0), *pads, (0, 0)), (1, *stretch, 1))
    shape = (x.shape[0], *counts, x.shape[-1], math.prod(windows))
    if not math.prod(shape):
        return full(shape, x.dtype.type(0))
    parts = []
    for place in itertools.product(*map(range, windows)):
        start = [0, *[k * r for k, r in zip(place, dilation, strict=True)], 0]
        stop = [x.shape[0], *[a + (n - 1) * s + 1 for a, n, s in zip(start[1:], counts, strides, strict=False)], x.shape[-1]]
        parts.append(expand_dims(slice_(x, start, stop, (1, *strides, 1)), (ndim + 2,)))
    return concatenate(parts, ndim + 2)


def conv_general_dilated_local(lhs: Any, rhs: Any, window_strides: Sequence[int], padding: Any, filter_shape: Sequence[int],
                               lhs_dilation: Sequence[int] | None = None, rhs_dilation: Sequence[int] | None = None,
                               dimension_numbers: Any = None, precision: Any = None) -> Any:
    """Convolution with a kernel of its own at every place of the output.

    The spatial axes of rhs are those of the output, and its input features those of ``conv_general_dilated_patches``.

    >>> conv_general_dilated_local(fnp.ones((1, 2, 5, 5)), fnp.ones((4, 18, 3, 3)), (1, 1), "VALID", (3, 3)).shape
    (1, 4, 3, 3)
    """
    name = "conv_general_dilated_local"
    x, w = unary_arg(name, lhs), unary_arg(name, rhs)
    windows = as_sizes(name, "filter_shape", filter_shape, len(x.shape) - 2, 0)
    numbers = conv_dimension_numbers(x.shape, w.shape, dimension_numbers)
    x = transpose(x, features_last(numbers.lhs_spec))
    patches = _patches(name, x, windows, window_strides, padding, lhs_dilation, rhs_dilation)
    n, *counts, c, k = patches.shape
    kernel = transpose(w, (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]))
    if kernel.shape[:-1] != (*counts, c * k):
        raise ValueError(message(f"{name}: the kernel does not fit the output", describe(w),
                                 f"spatial axes {tuple(counts)} and {c * k} input features"))
    places = tuple(range(len(counts)))
    y = dot_general(reshape(patches, (n, *counts, c * k)), kernel,
                    (((len(counts) + 1,), (len(counts),)), (tuple([d + 1 for d in places]), places)), precision)
    y = transpose(y, (len(counts), *places, len(counts) + 1))
    return transpose(y, inverse(features_last(numbers.out_spec)))


