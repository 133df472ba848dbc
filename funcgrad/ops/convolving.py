"""The three products of a convolution: its value, and the transposes with respect to its input and to its kernel.

In: two of an input ``x[N, *S, G, C]``, a kernel ``w[G, *K, C, O]`` and an output ``y[N, *T, G, O]``: a batch, spatial axes,
groups of channels. Out: the third. ``t`` runs over outputs and ``k`` over the kernel, and they meet at a place of the input:

    s = t * stride + k * dilation - low
    convolve            y[n, t, g, o] = sum over k, c of x[n, s, g, c] * w[g, k, c, o]
    convolve_input      x[n, s, g, c] = sum over t, k, o of y[n, t, g, o] * w[g, k, c, o]
    convolve_kernel     w[g, k, c, o] = sum over n, t of x[n, s, g, c] * y[n, t, g, o]

Each is linear in both arguments, and its transposes are the other two: the family is closed under differentiation. It is closed
under batching too, since a batch of the first argument, the second, or both is more of an index that only that one, or both,
have. A convolution with a dilated input is ``convolve_input``, so zeros between its elements are never multiplied.

    { lambda ; a:f64[8,28,28,1,3] b:f64[1,3,3,3,16]. let
        c:f64[8,26,26,1,16] = convolve[strides=(1, 1) padding=((0, 0), (0, 0)) dilation=(1, 1)] a b in (c,) }
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from funcgrad.core.primitive import BILINEAR, Kind, Linear, Native, Primitive
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.ops.contraction import multiply_adds
from funcgrad.ops.reduction import is_narrow
from funcgrad.ops.structural import moveaxis, reshape
from funcgrad.ops.windows import Padding, inside, places, reach, window_counts

PATCHES = 1 << 22
"""Elements of patches that the interpreter holds at a time."""

# ---------------------------------------------------------------- functions


def convolve(x: Any, w: Any, strides: Shape, padding: Padding, dilation: Shape, **precision: str) -> Any:
    """The outputs of an input and a kernel. ``precision`` is that of ``dot_general``, if it is a parameter there."""
    return convolve_p.bind(x, w, strides=strides, padding=padding, dilation=dilation, **precision)[0]


def convolve_input(y: Any, w: Any, sizes: Shape, strides: Shape, padding: Padding, dilation: Shape,
                   **precision: str) -> Any:
    """Outputs brought back through a kernel to an input of these spatial sizes."""
    return convolve_input_p.bind(y, w, sizes=sizes, strides=strides, padding=padding, dilation=dilation, **precision)[0]


def convolve_kernel(x: Any, y: Any, sizes: Shape, strides: Shape, padding: Padding, dilation: Shape,
                    **precision: str) -> Any:
    """The kernel of these spatial sizes by which an input reaches outputs."""
    return convolve_kernel_p.bind(x, y, sizes=sizes, strides=strides, padding=padding, dilation=dilation, **precision)[0]


# ---------------------------------------------------------------- shape


def _fit(name: str, same: Sequence[tuple[int, int]], a: ShapedArray, b: ShapedArray) -> None:
    if a.dtype != b.dtype or a.ndim != b.ndim or any(a.shape[i] != b.shape[j] for i, j in same):
        raise TypeError(f"{name} takes operands of one dtype that share groups and channels, not {a} and {b}")


def convolve_shape(x: ShapedArray, w: ShapedArray, *, strides: Shape, padding: Padding, dilation: Shape,
                   precision: str | None = None) -> ShapedArray:
    _fit("convolve", ((-2, 0), (-1, -2)), x, w)
    counts = window_counts(x.shape[1:-2], w.shape[1:-2], strides, padding, dilation)
    return shaped_array((x.shape[0], *counts, x.shape[-2], w.shape[-1]), x.dtype)


def convolve_input_shape(y: ShapedArray, w: ShapedArray, *, sizes: Shape, strides: Shape, padding: Padding,
                         dilation: Shape, precision: str | None = None) -> ShapedArray:
    _fit("convolve_input", ((-2, 0), (-1, -1)), y, w)
    _count("convolve_input", y.shape[1:-2], sizes, w.shape[1:-2], strides, padding, dilation)
    return shaped_array((y.shape[0], *sizes, y.shape[-2], w.shape[-2]), y.dtype)


def convolve_kernel_shape(x: ShapedArray, y: ShapedArray, *, sizes: Shape, strides: Shape, padding: Padding,
                          dilation: Shape, precision: str | None = None) -> ShapedArray:
    _fit("convolve_kernel", ((0, 0), (-2, -2)), x, y)
    _count("convolve_kernel", y.shape[1:-2], x.shape[1:-2], sizes, strides, padding, dilation)
    return shaped_array((x.shape[-2], *sizes, x.shape[-1], y.shape[-1]), x.dtype)


def _count(name: str, found: Shape, sizes: Shape, windows: Shape, strides: Shape, padding: Padding, dilation: Shape) -> None:
    counts = window_counts(sizes, windows, strides, padding, dilation)
    if found != counts:
        raise TypeError(f"{name}: an input of {sizes} and a kernel of {windows} have {counts} outputs, not {found}")


# ---------------------------------------------------------------- evaluation


def _inside(xp: Any, x: Any, padding: Padding) -> Any:
    """x with its spatial axes padded with zeros, or cut."""
    return inside(xp, x, x.dtype.type(0), ((0, 0), *padding, (0, 0), (0, 0)))


def _places(windows: Shape, counts: Shape, strides: Shape, dilation: Shape) -> Iterator[tuple[tuple[int, ...], tuple]]:
    """Each place in a kernel, and the slices of a padded input that it meets there."""
    for k, place in places(windows, counts, strides, dilation):
        yield k, (slice(None), *place)


def _wide(impl: Callable) -> Callable:
    """An implementation that computes narrow floats in float32, and products at full precision."""

    def wrapped(xp: Any, a: Any, b: Any, precision: str | None = None, **params: Any) -> Any:
        if is_narrow(a.dtype):
            return impl(xp, a.astype(np.float32), b.astype(np.float32), **params).astype(a.dtype)
        return impl(xp, a, b, **params)

    return wrapped


def _depthwise(w_shape: Shape) -> bool:
    """Whether each channel is a group of its own: then there is no matrix product in it."""
    return w_shape[0] > 1 and w_shape[-2:] == (1, 1)


def _blocks(n: int, counts: Shape, width: int, strides: Shape, span: int) -> Iterator[tuple]:
    """Outputs in parts whose patches, of ``width`` elements each, are of bounded size: whole images, or lines of one.

    Each is two indices, of the outputs and of the padded input, and the spatial sizes of the outputs.
    """
    lines = max(PATCHES // max(math.prod(counts[1:]) * width, 1), 1)
    images, lines = max(lines // counts[0], 1), min(lines, counts[0])
    for i in range(0, n, images):
        for t in range(0, counts[0], lines):
            stop = min(t + lines, counts[0])
            part = slice(i, i + images)
            yield ((part, slice(t, stop)), (part, slice(t * strides[0], (stop - 1) * strides[0] + span)),
                   (stop - t, *counts[1:]))


def _patches(xp: Any, x: Any, windows: Shape, counts: Shape, strides: Shape, dilation: Shape) -> Any:
    """The windows of a padded input as matrices: [G, N T, K C]."""
    n, *_, groups, channels = x.shape
    at = x.strides
    places = [s * at[i + 1] for i, s in enumerate(strides)], [d * at[i + 1] for i, d in enumerate(dilation)]
    view = xp.lib.stride_tricks.as_strided(x, (groups, n, *counts, *windows, channels),
                                           (at[-2], at[0], *places[0], *places[1], at[-1]))
    return view.reshape(groups, n * math.prod(counts), math.prod(windows) * channels)


@_wide
def convolve_impl(xp: Any, x: Any, w: Any, *, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    groups, *windows, channels, outs = w.shape
    counts = window_counts(x.shape[1:-2], windows, strides, padding, dilation)
    out = xp.zeros((x.shape[0], *counts, groups, outs), x.dtype)
    if not out.size or not w.size:
        return out
    x = _inside(xp, x, padding)
    if _depthwise(w.shape):
        for k, part in _places(tuple(windows), counts, strides, dilation):
            out += x[part] * w[(slice(None), *k, 0)]
        return out
    matrix, span = w.reshape(groups, -1, outs), reach(windows[0], dilation[0])
    for part, source, some in _blocks(x.shape[0], counts, groups * matrix.shape[1], strides, span):
        product = xp.matmul(_patches(xp, x[source], tuple(windows), some, strides, dilation), matrix)
        out[part] = xp.moveaxis(product, 0, 1).reshape(out[part].shape)
    return out


@_wide
def convolve_input_impl(xp: Any, y: Any, w: Any, *, sizes: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    groups, *windows, channels, outs = w.shape
    counts = y.shape[1:-2]
    # Windows reach over the padded input; what lies beyond the last one stays zero.
    padded = [max(n + max(low, 0) + max(high, 0), 0) for n, (low, high) in zip(sizes, padding, strict=True)]
    out = xp.zeros((y.shape[0], *padded, groups, channels), y.dtype)
    shifted = (slice(None), *[slice(max(-low, 0), None) for low, _ in padding])
    if y.size and w.size:
        width, span = math.prod(w.shape[:-1]), reach(windows[0], dilation[0])
        for part, source, some in _blocks(y.shape[0], counts, width, strides, span):
            target = out[shifted][source]
            if _depthwise(w.shape):
                product = None
            else:
                rows = xp.moveaxis(y[part], -2, 0)
                product = xp.matmul(rows.reshape(groups, -1, outs), xp.swapaxes(w.reshape(groups, -1, outs), 1, 2))
                product = xp.moveaxis(product.reshape(*rows.shape[:-1], *windows, channels), 0, len(counts) + 1)
            for k, place in _places(tuple(windows), some, strides, dilation):
                target[place] += y[part] * w[(slice(None), *k, 0)] if product is None else product[(..., *k, slice(None))]
    return out[(slice(None), *[slice(max(low, 0), max(low, 0) + n) for n, (low, _) in zip(sizes, padding, strict=True)])]


@_wide
def convolve_kernel_impl(xp: Any, x: Any, y: Any, *, sizes: Shape, strides: Shape, padding: Padding, dilation: Shape) -> Any:
    groups, channels, outs = x.shape[-2], x.shape[-1], y.shape[-1]
    counts = y.shape[1:-2]
    out = xp.zeros((groups, *sizes, channels, outs), x.dtype)
    if not out.size or not y.size:
        return out
    x = _inside(xp, x, padding)
    if _depthwise(out.shape):
        for k, part in _places(sizes, counts, strides, dilation):
            out[(slice(None), *k, 0, 0)] = xp.sum(x[part][..., 0] * y[..., 0], axis=tuple(range(y.ndim - 2)))
        return out
    for part, source, some in _blocks(x.shape[0], counts, groups * math.prod(sizes) * channels, strides,
                                      reach(sizes[0], dilation[0])):
        rows = xp.moveaxis(y[part], -2, 0).reshape(groups, -1, outs)
        patches = _patches(xp, x[source], sizes, some, strides, dilation)
        out += xp.matmul(xp.swapaxes(patches, 1, 2), rows).reshape(out.shape)
    return out


# ---------------------------------------------------------------- transformations


def convolve_transpose(cotangents: tuple, x: Any, w: Any, **geometry: Any) -> tuple:
    ct, = cotangents
    if isinstance(x, Linear):
        return convolve_input(ct, w, x.aval.shape[1:-2], **geometry), None
    return None, convolve_kernel(x, ct, w.aval.shape[1:-2], **geometry)


def convolve_input_transpose(cotangents: tuple, y: Any, w: Any, *, sizes: Shape, **geometry: Any) -> tuple:
    ct, = cotangents
    if isinstance(y, Linear):
        return convolve(ct, w, **geometry), None
    return None, convolve_kernel(ct, y, w.aval.shape[1:-2], **geometry)


def convolve_kernel_transpose(cotangents: tuple, x: Any, y: Any, *, sizes: Shape, **geometry: Any) -> tuple:
    ct, = cotangents
    if isinstance(x, Linear):
        return convolve_input(y, ct, x.aval.shape[1:-2], **geometry), None
    return None, convolve(x, ct, **geometry)


INDICES = {"x": {"n": 0, "g": -2, "c": -1}, "y": {"n": 0, "g": -2, "o": -1}, "w": {"g": 0, "c": -2, "o": -1}}
"""The axes of each array by the letters of the module's docstring, the spatial ones left out."""


def _batch_rule(operands: str, result: str) -> Callable:
    """Of a primitive that takes two of x, y and w to the third: the batch becomes part of an index of all that have it."""
    places = [INDICES[v] for v in operands]

    def letter(axes: tuple) -> str:
        """An index that the result and all batched operands have, and no other."""
        have = [d is not None for d in axes]
        return next(k for k in INDICES[result] if [k in place for place in places] == have)

    def batch(axis: Any, args: tuple, axes: tuple, **params: Any) -> tuple:
        index = letter(axes)
        folded = []
        for v, d, place in zip(args, axes, places, strict=True):
            if d is not None:
                at = place[index] % (v.ndim - 1)
                v = moveaxis(v, d, at)
                v = reshape(v, (*v.shape[:at], v.shape[at] * v.shape[at + 1], *v.shape[at + 2:]))
            folded.append(v)
        out, = primitives[result].bind(*folded, **params)
        at = INDICES[result][index] % out.ndim
        return (reshape(out, (*out.shape[:at], axis.size, out.shape[at] // axis.size, *out.shape[at + 1:])),), (at,)

    return batch


def _flops(y: ShapedArray, w: ShapedArray) -> float:
    """Each element of the kernel is multiplied once for each position of the output."""
    return multiply_adds(w.size * math.prod(y.shape[:-2]), w.dtype)


convolve_p = Primitive(
    "convolve", Kind.OPAQUE, convolve_shape, convolve_impl, BILINEAR, convolve_transpose, _batch_rule("xw", "y"),
    code=Native("convolve"), flops=lambda ins, outs, **_: _flops(outs[0], ins[1]))
convolve_input_p = Primitive(
    "convolve_input", Kind.OPAQUE, convolve_input_shape, convolve_input_impl, BILINEAR, convolve_input_transpose,
    _batch_rule("yw", "x"), code=Native("convolve_input"), flops=lambda ins, outs, **_: _flops(*ins))
convolve_kernel_p = Primitive(
    "convolve_kernel", Kind.OPAQUE, convolve_kernel_shape, convolve_kernel_impl, BILINEAR, convolve_kernel_transpose,
    _batch_rule("xy", "w"), code=Native("convolve_kernel"), flops=lambda ins, outs, **_: _flops(ins[1], outs[0]))
primitives = {"y": convolve_p, "x": convolve_input_p, "w": convolve_kernel_p}
