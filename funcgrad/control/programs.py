"""What the control operations share: staging their functions, the types of loop carries, fixed points.

In: a user's function of trees, and flat arguments. Out: jaxprs, with the outer traced values that they close over as
leading inputs, and errors that name a leaf of the carry by its path.

    scan(lambda c, x: (c * w, x), c0, xs)    ->    { lambda ; w:f64[] c:f64[] x:f64[]. let d:f64[] = mul c w in (d, x) }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.stage import stage, typed
from funcgrad.core.trace import Tracer, leaked
from funcgrad.core.types import ShapedArray, Zero, shaped_array
from funcgrad.errors import message
from funcgrad.ops.indexing import dynamic_index_in_dim
from funcgrad.ops.reduction import argmax
from funcgrad.ops.structural import broadcast_in_dim, convert_element_type, select_n_p, stop_gradient
from funcgrad.transforms.arguments import FlatFunction, function_name
from funcgrad.tree import keystr, tree_leaves_with_path, tree_unflatten

Mask = tuple[bool, ...]

COMPILED_FROM = 128
"""Steps from which a loop outside of ``jit`` is compiled: compiling costs as much as about that many interpreted steps."""


def staged(function: Callable, tree: Any, avals: Sequence[ShapedArray], what: str) -> tuple[Jaxpr, list[Tracer], Any]:
    """The jaxpr of a function of trees, the traced values it closes over (its leading inputs), and its result's tree."""
    flat = FlatFunction(function, tree, what)
    jaxpr, captured = stage(flat, avals, function_name(function), what)
    return jaxpr, captured, flat.out_tree


def types(values: Sequence[Any]) -> list[ShapedArray]:
    """The types of values once they are variables."""
    return [typed(x.aval) for x in values]


def derived(jaxpr: Jaxpr, key: tuple, function: Callable[..., Sequence[Any]], avals: Sequence[ShapedArray],
            name: str) -> Jaxpr:
    """A program made from another one, staged once and kept with it."""
    if key not in jaxpr.cache:
        program, captured = stage(function, avals, name)
        assert not captured
        jaxpr.cache[key] = program
    return jaxpr.cache[key]


def reordered(jaxpr: Jaxpr, inputs: Sequence[int], outs: Sequence[int]) -> Jaxpr:
    """The same program with its inputs in another order, and some of its outputs."""
    key = ("reordered", tuple(inputs), tuple(outs))
    if key not in jaxpr.cache:
        jaxpr.cache[key] = jaxpr.replace(in_vars=tuple([jaxpr.in_vars[i] for i in inputs]),
                                         outs=tuple([jaxpr.outs[i] for i in outs]))
    return jaxpr.cache[key]


def interleaved(groups: Sequence[int], masks: Sequence[Mask]) -> list[int]:
    """The order that puts the tangents of each group of arguments behind the group.

    Before: all arguments, then the tangents that the masks mark. With groups of 2 and 1 arguments that all have
    tangents: 0 1 2 0' 1' 2' becomes 0 1 0' 1' 2 2', which is the list [0, 1, 3, 4, 2, 5].
    """
    order: list[int] = []
    start, tangent = 0, sum(groups)
    for count, mask in zip(groups, masks, strict=True):
        order += range(start, start + count)
        order += range(tangent, tangent + sum(mask))
        start, tangent = start + count, tangent + sum(mask)
    return order


def split(values: Sequence[Any], *counts: int) -> list[tuple]:
    """A sequence cut into groups of the sizes given; what is left is the last group."""
    groups, start = [], 0
    for count in counts:
        groups.append(tuple(values[start:start + count]))
        start += count
    return [*groups, tuple(values[start:])]


def chosen(values: Sequence[Any], mask: Sequence[bool]) -> list[Any]:
    """The values marked."""
    return [x for x, marked in zip(values, mask, strict=True) if marked]


def nonzero(tangents: Sequence[Any]) -> Mask:
    """Which tangents or cotangents are not symbolic zeros."""
    return tuple([type(t) is not Zero for t in tangents])


def either(a: Sequence[bool], b: Sequence[bool]) -> Mask:
    return tuple([x or y for x, y in zip(a, b, strict=True)])


def fixed_point(step: Callable[[Mask], tuple[Any, Mask]], mask: Mask) -> tuple[Any, Mask]:
    """Grows a mask until ``step`` adds nothing to it: what is nonzero (or batched) after one step is so before the next."""
    while True:
        result, found = step(mask)
        grown = either(mask, found)
        if grown == mask:
            return result, mask
        mask = grown


# ---------------------------------------------------------------- batches whose examples go different ways


def lent(mask: Any, values: Sequence[Any]) -> list[Any]:
    """Batches in which every example not marked holds the values of the first one that is.

    A program that is meant for the marked examples then meets only values it is meant for: no index out of bounds and
    no NaN comes from an example whose result is not used. All batch axes are in front.
    """
    if not mask.size:
        return list(values)
    first = argmax(mask, 0)
    return [where_marked(mask, x, broadcast_in_dim(stop_gradient(dynamic_index_in_dim(x, first, 0, False)), x.shape,
                                                   range(1, len(x.shape)))) for x in values]


def where_marked(mask: Any, x: Any, y: Any) -> Any:
    """For each example x where it is marked, else y."""
    return select_n_p.bind(mask if len(x.shape) == 1 else broadcast_in_dim(mask, x.shape, (0,)), y, x)[0]


# ---------------------------------------------------------------- buffers


def buffer(x: Any) -> Any:
    """The NumPy array or scalar of a concrete value; an array on a GPU as it is."""
    if type(x) is DeviceArray:
        return x._data
    if isinstance(x, Tracer):
        raise leaked(x)
    return x


def as_type(x: Any, aval: ShapedArray) -> DeviceArray:
    """A computed value as an Array of exactly this type: results of programs may be literals."""
    if isinstance(x, DeviceArray):
        return x if x._weak == aval.weak_type else type(x)(x._data, aval.weak_type)
    return DeviceArray(buffer(x), aval.weak_type)


# ---------------------------------------------------------------- the carry of a loop


def promoted_carry(init: Sequence[Any], avals: Sequence[ShapedArray], outs: Sequence[ShapedArray]) -> list[Any] | None:
    """The initial carry with weakly typed leaves promoted to the type they have after a step; None if it may stay."""
    changed = False
    result = []
    for x, a, out in zip(init, avals, outs, strict=True):
        if a.weak_type and (a.dtype, a.weak_type) != (out.dtype, out.weak_type):
            try:
                dtype, weak = dtypes.join((a.dtype, True), (out.dtype, out.weak_type))
            except TypeError:
                dtype, weak = a.dtype, True
            if (dtype, weak) != (a.dtype, True):
                x, changed = convert_element_type(x, dtype, weak_type=weak), True
        result.append(x)
    return result if changed else None


def check_carry(what: str, before: Any, after: Any, avals: Sequence[ShapedArray], outs: Sequence[ShapedArray]) -> None:
    """Raises TypeError when the carry's tree, or the type of a leaf, is not the same before and after a step."""
    if before != after:
        raise TypeError(message(f"{what} carry changes structure", f"{before} before the step, {after} after it",
                                "the same tree before and after", f"a body that returns a carry like {before}"))
    wrong = [f"carry{path}: {type_text(a)} before the step, {type_text(out)} after it"
             for path, a, out in zip(paths(before), avals, outs, strict=True)
             if a.shape != out.shape or a.dtype != out.dtype]
    if wrong:
        raise TypeError(message(f"{what} carry changes type", "; ".join(wrong), "the same shape and dtype before and after",
                                "x.astype(dtype) in the body, or an initial value of the type that the body returns"))


def paths(tree: Any) -> list[str]:
    """A path for every leaf of a tree."""
    return [keystr(path) for path, _ in tree_leaves_with_path(tree_unflatten(tree, [0] * tree.num_leaves))]


def type_text(aval: ShapedArray) -> str:
    """A type in an error message, with its weakness."""
    return f"{aval}{' (weak)' if aval.weak_type else ''}"


def same_types(avals: Sequence[ShapedArray]) -> list[ShapedArray]:
    """The types of cotangents or tangents as loop variables: never weak."""
    return [shaped_array(a.shape, a.dtype) for a in avals]


def add_axis(aval: ShapedArray, size: int) -> ShapedArray:
    """The type of ``size`` values stacked along a new leading axis."""
    return shaped_array((size, *aval.shape), aval.dtype, aval.weak_type)


def empty_stack(aval: ShapedArray, size: int) -> np.ndarray:
    """Memory for ``size`` values of a type."""
    return np.empty((size, *aval.shape), aval.dtype)


def check_result(what: str, function: Callable, tree: Any, avals: Sequence[ShapedArray], out_tree: Any,
                 outs: Sequence[ShapedArray]) -> None:
    """Raises TypeError unless a function returned a tree with the leaves' shapes and dtypes."""
    if out_tree != tree:
        raise TypeError(message(f"{what}: {function_name(function)} returns another structure than its argument has", out_tree,
                                tree))
    wrong = [f"result{path}: {type_text(out)} for {type_text(a)}" for path, a, out in zip(paths(tree), avals, outs, strict=True)
             if a.shape != out.shape or a.dtype != out.dtype]
    if wrong:
        raise TypeError(message(f"{what}: {function_name(function)} returns another type than its argument has",
                                "; ".join(wrong), "the same shapes and dtypes"))
