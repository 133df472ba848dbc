"""Reduction of windows by any function, under the name of ``jax.lax``.

In: arrays, what a window starts from, and a function that combines two elements. Out: an element for each window. Sums and
extremes have operations of their own (``ops/windows.py``); any other reduction folds one axis after the other, slice by slice,
and is differentiated and batched as what it is made of.

    reduce_window(x, -fnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.stage import stage
from funcgrad.core.trace import Tracer
from funcgrad.core.types import Shape, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import add_p, max_p, min_p
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import broadcast_in_dim, convert_element_type, reshape
from funcgrad.ops.structural import slice as slice_
from funcgrad.ops.windows import (
    as_padding,
    as_sizes,
    extreme,
    padded,
    reach,
    reduce_window_max,
    reduce_window_min,
    reduce_window_sum,
    window_counts,
)
from funcgrad.transforms.batching import vmap
from funcgrad.tree import tree_flatten, tree_structure, tree_unflatten

MONOIDS = {add_p: (reduce_window_sum, lambda dtype: dtype.type(0)),
           max_p: (reduce_window_max, lambda dtype: extreme("max", dtype)),
           min_p: (reduce_window_min, lambda dtype: extreme("min", dtype))}
"""Reductions with an operation of their own, and what they start from."""


def reduce_window(operand: Any, init_value: Any, computation: Callable, window_dimensions: Sequence[int],
                  window_strides: Sequence[int] | None = None, padding: Any = "VALID",
                  base_dilation: Sequence[int] | None = None, window_dilation: Sequence[int] | None = None) -> Any:
    """Each window of an array, or of several of one shape, reduced to an element.

    Args:
      operand: an array or a tree of arrays of one shape.
      init_value: a scalar, or a tree of scalars: what each reduction starts from, and what padding is.
      computation: two elements, or trees of them, to one; associative, and the window is taken in order.
      window_dimensions, window_strides, window_dilation: for every axis the size of the window, its step, and how far apart
        its elements are.
      padding: "VALID", "SAME", "SAME_LOWER", or a pair (low, high) for every axis.
      base_dilation: for every axis, how far apart the elements of the operand are; between them is ``init_value``.

    >>> reduce_window(fnp.arange(6.), 0., lambda a, b: a + b, (2,), (2,))
    Array([1., 5., 9.], dtype=float64)
    """
    name = "reduce_window"
    leaves, treedef = tree_flatten(operand)
    init, init_def = tree_flatten(init_value)
    if treedef != init_def or not leaves:
        raise ValueError(message(f"{name}: operand and init_value have different structures", f"{treedef} and {init_def}"))
    xs = [unary_arg(name, x) for x in leaves]
    shape = xs[0].shape
    if any(x.shape != shape for x in xs) or any(getattr(v, "shape", ()) for v in init):
        raise ValueError(message(f"{name}: the operands have different shapes, or an init_value is no scalar",
                                 ", ".join(map(describe, [*xs, *init]))))
    init = [_start(name, v, x.dtype) for v, x in zip(init, xs, strict=True)]
    window, strides, stretch, dilation, pads = _geometry(name, shape, window_dimensions, window_strides, padding, base_dilation,
                                                         window_dilation)
    known = _monoid(computation, xs[0].dtype) if treedef == tree_structure(0) else None
    if known is not None:
        function, identity = known
        x = padded(xs[0], identity, ((0, 0),) * len(shape), stretch)
        out = function(x, window, strides, pads, dilation)
        same = not isinstance(init[0], Tracer) and init[0] == identity
        return out if same else computation(broadcast_in_dim(init[0], out.shape, ()), out)
    xs = [padded(x, v, pads, stretch) for x, v in zip(xs, init, strict=True)]
    counts = window_counts(tuple(map(reach, shape, stretch)), window, strides, pads, dilation)
    combine = _elementwise(computation, treedef)
    for d in range(len(shape)):
        xs = _fold(combine, xs, init, d, counts[d], window[d], strides[d], dilation[d])
    first = [broadcast_in_dim(v, counts, ()) for v in init]
    return tree_unflatten(treedef, combine(first, xs))


def reduce_window_shape_tuple(operand_shape: Sequence[int], window_dimensions: Sequence[int], window_strides: Sequence[int],
                              padding: Any, base_dilation: Sequence[int] | None = None,
                              window_dilation: Sequence[int] | None = None) -> Shape:
    """The shape of a reduction over windows.

    >>> reduce_window_shape_tuple((5, 5), (2, 2), (2, 1), [(0, 0), (1, 1)])
    (2, 6)
    """
    shape = tuple(operand_shape)
    window, strides, stretch, dilation, pads = _geometry("reduce_window_shape_tuple", shape, window_dimensions, window_strides,
                                                         padding, base_dilation, window_dilation)
    return window_counts(tuple(map(reach, shape, stretch)), window, strides, pads, dilation)


def _geometry(name: str, shape: Shape, window: Any, strides: Any, padding: Any, base_dilation: Any, dilation: Any) -> tuple:
    ndim = len(shape)
    window = as_sizes(name, "window_dimensions", window, ndim, 1)
    strides = as_sizes(name, "window_strides", strides, ndim, 1)
    stretch = as_sizes(name, "base_dilation", base_dilation, ndim, 1)
    dilation = as_sizes(name, "window_dilation", dilation, ndim, 1)
    sizes, spans = tuple(map(reach, shape, stretch)), tuple(map(reach, window, dilation))
    return window, strides, stretch, dilation, as_padding(name, padding, sizes, spans, strides)


def _start(name: str, value: Any, dtype: np.dtype) -> Any:
    """The initial value in the dtype of the operand. Raises TypeError if it is of another kind."""
    if type(value) in dtypes.PYTHON_SCALARS:
        return dtype.type(value)
    value = unary_arg(name, value)
    if value.dtype != dtype:
        raise TypeError(message(f"{name}: operand and init_value have different dtypes", f"{dtype} and {value.dtype}"))
    return value if isinstance(value, Tracer) else np.asarray(value)[()]


def _monoid(computation: Callable, dtype: np.dtype) -> tuple[Callable, Any] | None:
    """The operation for a function that only adds its arguments or takes an extreme, and what it starts from."""
    if dtype.kind == "c":
        return None
    jaxpr, captured = stage(lambda a, b: [computation(a, b)], [shaped_array((), dtype)] * 2, "computation")
    if captured or len(jaxpr.equations) != 1 or jaxpr.equations[0].primitive not in MONOIDS:
        return None
    equation, = jaxpr.equations
    function, identity = MONOIDS[equation.primitive]
    whole = sorted(map(id, equation.inputs)) == sorted(map(id, jaxpr.in_vars)) and jaxpr.outs == equation.outs
    return (function, identity(dtype)) if whole else None


def _elementwise(computation: Callable, treedef: Any) -> Callable:
    """The function of two elements for two lists of arrays."""
    def flat(a: list, b: list) -> list:
        out, out_def = tree_flatten(computation(tree_unflatten(treedef, a), tree_unflatten(treedef, b)))
        if out_def != treedef:
            raise TypeError(message("reduce_window: computation returns another structure than it takes",
                                    f"{out_def} for {treedef}"))
        return out

    def combine(a: list, b: list) -> list:
        shape = a[0].shape
        if not a[0].size:
            return a
        out = vmap(flat)(*[[reshape(x, (x.size,)) for x in xs] for xs in (a, b)])
        return [convert_element_type(reshape(y, shape), x.dtype) for x, y in zip(a, out, strict=True)]

    return combine


def _fold(combine: Callable, xs: list, init: list, d: int, count: int, window: int, stride: int, dilation: int) -> list:
    """Windows along one axis, from the first place to the last."""
    def at(x: Any, k: int) -> Any:
        start, stop = [0] * len(x.shape), list(x.shape)
        start[d] = k * dilation if count else 0
        stop[d] = start[d] + reach(count, stride)
        return slice_(x, start, stop, [stride if i == d else 1 for i in range(len(x.shape))])

    total = [at(x, 0) for x in xs]
    for k in range(1, window):
        total = combine(total, [at(x, k) for x in xs])
    return total
