"""``reduce``: any associative function of two values, folded over axes of arrays.

In: arrays, what the fold starts from, and a function of scalars. Out: arrays without those axes. The elements are combined in
pairs, so a fold of n takes log(n) steps, each one call of the batched function; a function that is a single sum, product,
maximum, minimum or bitwise operation becomes the reduction of that name.

    >>> import funcgrad.numpy as fnp
    >>> reduce(fnp.arange(5.), 0.0, lambda a, b: a + b, (0,))
    Array(10., dtype=float64)
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.array import describe
from funcgrad.core.primitive import Primitive
from funcgrad.errors import message
from funcgrad.ops import elementwise as e
from funcgrad.ops import reduction
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import broadcast_in_dim, concatenate, convert_element_type, reshape, slice, transpose
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.staging import ShapeDtypeStruct, make_jaxpr
from funcgrad.tree import tree_flatten, tree_unflatten

_REDUCTIONS: dict[Primitive, Callable] = {
    e.add_p: reduction.reduce_sum, e.mul_p: reduction.reduce_prod, e.max_p: reduction.reduce_max,
    e.min_p: reduction.reduce_min, e.and_p: reduction.reduce_and, e.or_p: reduction.reduce_or, e.xor_p: reduction.reduce_xor}


def reduce(operands: Any, init_values: Any, computation: Callable, dimensions: Sequence[int]) -> Any:
    """The elements of ``operands`` along the axes ``dimensions``, combined by ``computation(a, b)``, from ``init_values``.

    ``operands`` is an array or a tree of arrays of one shape; ``init_values`` a scalar, or a tree like it, that changes
    nothing when it is combined; ``computation`` takes and returns such trees of scalars and is associative. Raises
    ValueError for other shapes, TypeError for a computation that gives another tree.
    """
    xs, tree = tree_flatten(operands)
    inits, init_tree = tree_flatten(init_values)
    xs = [unary_arg("reduce", x) for x in xs]
    shapes = {tuple(x.shape) for x in xs}
    if tree != init_tree or len(shapes) != 1:
        raise ValueError(message("reduce: the operands and their initial values do not fit", f"{', '.join(map(describe, xs))} "
                                 f"in {tree}, and {init_tree}", "arrays of one shape, and a scalar for each"))
    inits = [convert_element_type(unary_arg("reduce", v), x.dtype) for v, x in zip(inits, xs, strict=True)]
    shape = shapes.pop()
    axes = tuple([d % len(shape) for d in dimensions])
    known = _known(computation, tree, xs)
    if known is not None and math.prod(shape[d] for d in axes):
        primitive, whole = known
        out = whole(xs[0], axes)
        return primitive.bind(broadcast_in_dim(inits[0], out.shape, ()), out)[0]
    return tree_unflatten(tree, _fold(xs, inits, axes, _batched(computation, tree)))


def _known(computation: Callable, tree: Any, xs: list[Any]) -> tuple[Primitive, Callable] | None:
    """The primitive that the computation consists of, with its reduction."""
    scalars = [ShapeDtypeStruct((), x.dtype) for x in xs]
    jaxpr, shape = make_jaxpr(computation, return_shape=True)(tree_unflatten(tree, scalars), tree_unflatten(tree, scalars))
    leaves, out_tree = tree_flatten(shape)
    if out_tree != tree or any(s.shape or s.dtype != x.dtype for s, x in zip(leaves, xs, strict=True)):
        raise TypeError(message("reduce: the computation does not give what it takes", shape, tree_unflatten(tree, scalars)))
    if len(jaxpr.equations) != 1 or len(xs) != 1:
        return None
    equation, = jaxpr.equations
    whole = _REDUCTIONS.get(equation.primitive)
    if whole is None or {*equation.inputs} != {*jaxpr.in_vars} or jaxpr.outs != equation.outs:
        return None
    return equation.primitive, whole


def _batched(computation: Callable, tree: Any) -> Callable:
    """The computation on lists of arrays of one shape, element by element."""

    def flat(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        return tree_flatten(computation(tree_unflatten(tree, a), tree_unflatten(tree, b)))[0]

    def batched(a: list[Any], b: list[Any]) -> list[Any]:
        shape = a[0].shape
        outs = vmap(flat)(*[[reshape(x, (math.prod(shape),)) for x in xs] for xs in (a, b)])
        return [reshape(x, shape) for x in outs]

    return batched


def _fold(xs: list[Any], inits: list[Any], axes: tuple[int, ...], combine: Callable) -> list[Any]:
    """All elements along the axes combined, neighbours first."""
    shape = xs[0].shape
    rest = [d for d in range(len(shape)) if d not in axes]
    kept = tuple([shape[d] for d in rest])
    n = math.prod(shape[d] for d in axes)
    xs = [reshape(transpose(x, (*axes, *rest)), (n, *kept)) for x in xs]
    starts = [broadcast_in_dim(v, (1, *kept), ()) for v in inits]
    while n > 1:
        pairs, n = n // 2, (n + 1) // 2
        first, second = ([_rows(x, i, 2 * pairs - 1 + i, 2) for x in xs] for i in (0, 1))
        left = [_rows(x, 2 * pairs, x.shape[0], 1) for x in xs]
        xs = [concatenate((x, y), 0) if y.shape[0] else x for x, y in zip(combine(first, second), left, strict=True)]
    return [reshape(x, kept) for x in (combine(starts, xs) if n else starts)]


def _rows(x: Any, start: int, stop: int, step: int) -> Any:
    return slice(x, (start, *[0] * (len(x.shape) - 1)), (stop, *x.shape[1:]), (step, *[1] * (len(x.shape) - 1)))
