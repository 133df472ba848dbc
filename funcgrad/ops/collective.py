"""Collective operations: the examples of a named ``vmap`` exchange values.

In: a value of one example (or a tree of them) and the name of the mapped axis. Out: a sum, a maximum, a rearrangement
of the values of all examples. The vmap that binds the name turns each into an ordinary operation along its axis.

    fg.vmap(lambda x: x / lax.psum(x, "i"), axis_name="i")
    { lambda ; a:f64[]. let b:f64[] = psum[axis_name=('i',)] a; c:f64[] = div a b in (c,) }
"""
from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.primitive import LINEAR, PIECEWISE_CONSTANT, PIECEWISE_LINEAR, Kind, No, Primitive
from funcgrad.core.trace import current_trace
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import add, eq, mul, true_divide
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import as_axis, reduce_max_p, reduce_min_p
from funcgrad.ops.structural import (
    broadcast_in_dim,
    concatenate,
    convert_element_type,
    expand_dims,
    full,
    iota,
    moveaxis,
    reshape,
    slice_in_dim,
    sum_over,
)
from funcgrad.tree import tree_map

# ---------------------------------------------------------------- user functions


def axis_size(axis_name: Any) -> int:
    """The number of examples along a named axis, or the product for several names. A Python integer.

    Raises NameError when no surrounding vmap has the name.
    """
    size = 1
    for name in _names(axis_name):
        n = current_trace.get().axis_size(name)
        if n is None:
            raise NameError(unbound(name))
        size *= n
    return size


def unbound(name: Any) -> str:
    """The message for a name that no surrounding vmap has."""
    return message(f"unbound axis name {name!r}: no surrounding vmap has it", None, None,
                   f"fg.vmap(f, axis_name={name!r}) around the function that uses it")


def axis_index(axis_name: Any) -> Any:
    """The position of this example along a named axis, an int32 scalar; for several names, in row-major order."""
    index: Any = None
    for name in _names(axis_name):
        n = axis_size(name)
        own = axis_index_p.bind(axis_name=name)[0]
        index = own if index is None else add(mul(index, np.int32(n)), own)
    return full((), np.int32(0)) if index is None else index


def psum(x: Any, axis_name: Any, *, axis_index_groups: None = None) -> Any:
    """The sum of x over all examples of a named axis, or of several (a tuple of names).

    x is an array or a tree of them; bools are counted as int32. The sum of a Python number is a Python number: the
    product with the number of examples. Raises NameError when no surrounding vmap has a name.
    """
    names = _checked("psum", axis_name, axis_index_groups)

    def leaf(v: Any) -> Any:
        if type(v) in dtypes.PYTHON_SCALARS:
            return v * axis_size(names)
        v = unary_arg("psum", v)
        if v.dtype.kind == "b":
            v = convert_element_type(v, np.int32)
        return psum_p.bind(v, axis_name=names)[0] if names else v

    return tree_map(leaf, x)


def pmean(x: Any, axis_name: Any, *, axis_index_groups: None = None) -> Any:
    """The mean of x over all examples of a named axis, or of several; integers give floating point."""
    total = psum(x, axis_name, axis_index_groups=axis_index_groups)
    n = axis_size(axis_name)
    return tree_map(lambda v: true_divide(v, n), total)


def pmax(x: Any, axis_name: Any, *, axis_index_groups: None = None) -> Any:
    """The largest x of all examples of a named axis, element by element. Examples that tie share the gradient."""
    return _extreme(pmax_p, x, axis_name, axis_index_groups)


def pmin(x: Any, axis_name: Any, *, axis_index_groups: None = None) -> Any:
    """The smallest x of all examples of a named axis, element by element. Examples that tie share the gradient."""
    return _extreme(pmin_p, x, axis_name, axis_index_groups)


def _extreme(primitive: Primitive, x: Any, axis_name: Any, groups: None) -> Any:
    names = _checked(primitive.name, axis_name, groups)
    return tree_map(lambda v: primitive.bind(unary_arg(primitive.name, v), axis_name=names)[0] if names else v, x)


def all_gather(x: Any, axis_name: Any, *, axis_index_groups: None = None, axis: int = 0, tiled: bool = False) -> Any:
    """The values of all examples, stacked along a new axis; with ``tiled``, joined along an existing one.

    Several names give their examples in row-major order.
    """
    names = _checked("all_gather", axis_name, axis_index_groups)

    def leaf(v: Any) -> Any:
        v = unary_arg("all_gather", v)
        d = as_axis("all_gather", axis, v.ndim + (not tiled))
        out = v
        for name in reversed(names):
            out = all_gather_p.bind(out, axis_name=name, axis_size=axis_size(name), axis=d)[0]
        merged = len(names) + tiled if names else 1
        return _merge_axes(out, d, merged) if names else v if tiled else expand_dims(v, (d,))

    return tree_map(leaf, x)


def psum_scatter(x: Any, axis_name: Any, *, scatter_dimension: int = 0, axis_index_groups: None = None,
                 tiled: bool = False) -> Any:
    """The sum over all examples, of which example i keeps its i-th part along ``scatter_dimension``.

    The dimension has one entry for each example and disappears; with ``tiled`` it has a block for each and stays.
    """
    names = _checked("psum_scatter", axis_name, axis_index_groups)

    def leaf(v: Any) -> Any:
        v = unary_arg("psum_scatter", v)
        d = as_axis("psum_scatter", scatter_dimension, v.ndim)
        sizes = [axis_size(name) for name in names]
        v = _split_axis("psum_scatter", v, d, sizes, tiled)
        for name, n in zip(names, sizes, strict=True):
            v = psum_scatter_p.bind(v, axis_name=name, axis_size=n, axis=d)[0]
        return v

    return tree_map(leaf, x)


def all_to_all(x: Any, axis_name: Any, split_axis: int, concat_axis: int, *, axis_index_groups: None = None,
               tiled: bool = False) -> Any:
    """Example i receives the i-th part of every example: the mapped axis and ``split_axis`` change places.

    The split axis has one entry for each example and disappears; the entries received are stacked along a new axis at
    ``concat_axis``. With ``tiled`` the split axis has a block for each example, and blocks are joined.
    """
    name = _one_name("all_to_all", axis_name, axis_index_groups)
    n = axis_size(name)

    def leaf(v: Any) -> Any:
        v = unary_arg("all_to_all", v)
        split, concat = (as_axis("all_to_all", d, v.ndim) for d in (split_axis, concat_axis))
        v = _split_axis("all_to_all", v, split, [n], tiled)
        out = all_to_all_p.bind(v, axis_name=name, axis_size=n, split_axis=split, concat_axis=concat)[0]
        return _merge_axes(out, concat, 2) if tiled else out

    return tree_map(leaf, x)


def pswapaxes(x: Any, axis_name: Any, axis: int, *, axis_index_groups: None = None) -> Any:
    """The mapped axis and an axis of x, of the same size, change places."""
    return all_to_all(x, axis_name, axis, axis, axis_index_groups=axis_index_groups)


def ppermute(x: Any, axis_name: Any, perm: Sequence[tuple[int, int]]) -> Any:
    """Values move between examples: for each (source, destination) in perm. Examples that receive nothing get zeros.

    Raises ValueError when a source or a destination is out of range or occurs twice.
    """
    name = _one_name("ppermute", axis_name, None)
    n = axis_size(name)
    pairs = tuple([(operator.index(i), operator.index(j)) for i, j in perm])
    for side in zip(*pairs, strict=True):
        if len(set(side)) != len(side) or not all(0 <= i < n for i in side):
            raise ValueError(message("ppermute: perm does not fit the axis", f"{pairs} for {name!r} of size {n}",
                                     "pairs (source, destination), each source and each destination at most once"))
    settings = {"axis_name": name, "axis_size": n, "perm": pairs}
    return tree_map(lambda v: ppermute_p.bind(unary_arg("ppermute", v), **settings)[0], x)


def pshuffle(x: Any, axis_name: Any, perm: Sequence[int]) -> Any:
    """Example i receives the value of example ``perm[i]``; perm is a permutation."""
    order = list(map(operator.index, perm))
    if sorted(order) != list(range(len(order))):
        raise ValueError(message("pshuffle: not a permutation", order, f"each of 0 ... {len(order) - 1} once"))
    return ppermute(x, axis_name, list(zip(order, range(len(order)), strict=True)))


# ---------------------------------------------------------------- arguments


def _names(axis_name: Any) -> tuple:
    return tuple(axis_name) if isinstance(axis_name, (tuple, list)) else (axis_name,)


def _checked(function: str, axis_name: Any, groups: Any) -> tuple:
    """The names, all of them bound by a surrounding vmap."""
    if groups is not None:
        raise NotImplementedError(message(f"{function}: axis_index_groups is not supported", describe(groups), None,
                                          "two nested vmaps, one of whose names is used"))
    names = _names(axis_name)
    axis_size(names)
    return names


def _one_name(function: str, axis_name: Any, groups: Any) -> Any:
    names = _checked(function, axis_name, groups)
    if len(names) != 1:
        raise ValueError(message(f"{function}: one axis name is needed", repr(axis_name)))
    return names[0]


def _split_axis(function: str, x: Any, d: int, sizes: list[int], tiled: bool) -> Any:
    """x with one axis in place of the axis d for each size, and one for the rest of it if ``tiled``."""
    parts = 1
    for n in sizes:
        parts *= n
    if x.shape[d] % parts if tiled else x.shape[d] != parts:
        raise ValueError(message(f"{function}: the size of the axis that is split does not fit",
                                 f"axis {d} of {describe(x)} for {parts} examples",
                                 f"a multiple of {parts}" if tiled else f"{parts}, or tiled=True"))
    rest = [x.shape[d] // parts] if tiled else []
    return reshape(x, [*x.shape[:d], *sizes, *rest, *x.shape[d + 1:]])


def _merge_axes(x: Any, d: int, count: int) -> Any:
    """``count`` neighbouring axes, from d on, as one."""
    size = 1
    for n in x.shape[d:d + count]:
        size *= n
    return reshape(x, [*x.shape[:d], size, *x.shape[d + count:]])


# ---------------------------------------------------------------- rules


def _outside(xp: Any, *args: Any, axis_name: Any, **params: Any) -> Any:
    raise NameError(unbound(axis_name[0] if isinstance(axis_name, tuple) and axis_name else axis_name))


def _reduction_batch(primitive: Callable, over_axis: Callable) -> Callable:
    """One of the names is the mapped axis, which is reduced, or none is and the mapped axis stays."""

    def batch(axis: Any, args: tuple, axes: tuple, *, axis_name: tuple) -> tuple:
        (x,), (d,) = args, axes
        if axis.name is None or axis.name not in axis_name:
            return primitive().bind(x, axis_name=axis_name), (d,)
        out = over_axis(axis, x, d)
        rest = tuple([name for name in axis_name if name != axis.name])
        return (primitive().bind(out, axis_name=rest) if rest else (out,)), (None,)

    return batch


psum_p = Primitive(
    "psum", Kind.OPAQUE, lambda x, axis_name: x, _outside, LINEAR,
    transpose=lambda cts, x, axis_name: psum_p.bind(cts[0], axis_name=axis_name),
    batch=_reduction_batch(lambda: psum_p, lambda axis, x, d:
                           mul(x, x.dtype.type(axis.size)) if d is None else sum_over(x, (d,))),
    collective=True)


def _extreme_jvp(primitive: Callable) -> Callable:
    """The tangent of a maximum is the mean of the tangents of the examples that attain it."""

    def jvp(primals: tuple, tangents: tuple, *, axis_name: tuple) -> tuple:
        (x,), (t,) = primals, tangents
        out = primitive().bind(x, axis_name=axis_name)[0]
        attained = convert_element_type(eq(x, out), x.dtype)
        count = psum_p.bind(attained, axis_name=axis_name)[0]
        return (out,), psum_p.bind(mul(t, true_divide(attained, count)), axis_name=axis_name)

    return jvp


def _extreme_primitive(name: str, primitive: Callable, reducer: Primitive) -> Primitive:
    return Primitive(
        name, Kind.OPAQUE, lambda x, axis_name: x, _outside, _extreme_jvp(primitive), taylor=PIECEWISE_LINEAR,
        transpose=No("not linear"), collective=True, batch=_reduction_batch(
            primitive, lambda axis, x, d: x if d is None else reducer.bind(x, axes=(d,))[0]))


pmax_p = _extreme_primitive("pmax", lambda: pmax_p, reduce_max_p)
pmin_p = _extreme_primitive("pmin", lambda: pmin_p, reduce_min_p)

axis_index_p = Primitive(
    "axis_index", Kind.OPAQUE, lambda axis_name: shaped_array((), np.dtype(np.int32)), _outside, PIECEWISE_CONSTANT,
    transpose=No("takes no arguments"), collective=True, strong=True,
    batch=lambda axis, args, axes, axis_name: ((iota(np.int32, (axis.size,)),), (0,)))


def _every_example(axis: Any, x: Any, d: int | None) -> Any:
    """The values of all examples along a leading axis."""
    return broadcast_in_dim(x, (axis.size, *x.shape), range(1, x.ndim + 1)) if d is None else moveaxis(x, d, 0)


def all_gather_shape(x: ShapedArray, *, axis_name: Any, axis_size: int, axis: int) -> ShapedArray:
    return shaped_array((*x.shape[:axis], axis_size, *x.shape[axis:]), x.dtype)


def all_gather_batch(mapped: Any, args: tuple, axes: tuple, *, axis_name: Any, axis_size: int, axis: int) -> tuple:
    (x,), (d,) = args, axes
    if axis_name == mapped.name:
        return (moveaxis(_every_example(mapped, x, d), 0, axis),), (None,)
    return all_gather_p.bind(moveaxis(x, d, 0), axis_name=axis_name, axis_size=axis_size, axis=axis + 1), (0,)


all_gather_p = Primitive(
    "all_gather", Kind.OPAQUE, all_gather_shape, _outside, LINEAR,
    transpose=lambda cts, x, **params: psum_scatter_p.bind(cts[0], **params), batch=all_gather_batch, collective=True)


def psum_scatter_shape(x: ShapedArray, *, axis_name: Any, axis_size: int, axis: int) -> ShapedArray:
    if x.shape[axis] != axis_size:
        raise TypeError(f"psum_scatter takes an axis of size {axis_size} at {axis}, not {x}")
    return shaped_array((*x.shape[:axis], *x.shape[axis + 1:]), x.dtype)


def psum_scatter_batch(mapped: Any, args: tuple, axes: tuple, *, axis_name: Any, axis_size: int, axis: int) -> tuple:
    (x,), (d,) = args, axes
    if axis_name == mapped.name:
        total = mul(x, x.dtype.type(mapped.size)) if d is None else sum_over(x, (d,))
        return (total,), (axis,)
    return psum_scatter_p.bind(moveaxis(x, d, 0), axis_name=axis_name, axis_size=axis_size, axis=axis + 1), (0,)


psum_scatter_p = Primitive(
    "psum_scatter", Kind.OPAQUE, psum_scatter_shape, _outside, LINEAR,
    transpose=lambda cts, x, **params: all_gather_p.bind(cts[0], **params), batch=psum_scatter_batch, collective=True)


def all_to_all_shape(x: ShapedArray, *, axis_name: Any, axis_size: int, split_axis: int,
                     concat_axis: int) -> ShapedArray:
    if x.shape[split_axis] != axis_size:
        raise TypeError(f"all_to_all takes an axis of size {axis_size} at {split_axis}, not {x}")
    rest = [*x.shape[:split_axis], *x.shape[split_axis + 1:]]
    return shaped_array((*rest[:concat_axis], axis_size, *rest[concat_axis:]), x.dtype)


def all_to_all_transpose(cotangents: tuple, x: Any, *, axis_name: Any, axis_size: int, split_axis: int,
                         concat_axis: int) -> tuple:
    return all_to_all_p.bind(cotangents[0], axis_name=axis_name, axis_size=axis_size, split_axis=concat_axis,
                             concat_axis=split_axis)


def all_to_all_batch(mapped: Any, args: tuple, axes: tuple, *, axis_name: Any, axis_size: int, split_axis: int,
                     concat_axis: int) -> tuple:
    (x,), (d,) = args, axes
    if axis_name == mapped.name:
        parts = moveaxis(_every_example(mapped, x, d), split_axis + 1, 0)  # (receiver, sender, ...)
        return (moveaxis(parts, 1, concat_axis + 1),), (0,)
    return all_to_all_p.bind(moveaxis(x, d, 0), axis_name=axis_name, axis_size=axis_size, split_axis=split_axis + 1,
                             concat_axis=concat_axis + 1), (0,)


all_to_all_p = Primitive("all_to_all", Kind.OPAQUE, all_to_all_shape, _outside, LINEAR, all_to_all_transpose,
                         all_to_all_batch, collective=True)


def ppermute_batch(mapped: Any, args: tuple, axes: tuple, *, axis_name: Any, axis_size: int, perm: tuple) -> tuple:
    (x,), (d,) = args, axes
    if axis_name != mapped.name:
        return ppermute_p.bind(x, axis_name=axis_name, axis_size=axis_size, perm=perm), (d,)
    if d is None and len(perm) == axis_size:
        return (x,), (None,)
    source = {j: i for i, j in perm}
    return (_rearranged(_every_example(mapped, x, d), [source.get(j) for j in range(axis_size)]),), (0,)


def _rearranged(x: Any, sources: list[int | None]) -> Any:
    """Along the leading axis, the entries at ``sources`` (zeros for None), made of as few slices as possible."""
    parts = []
    for run in _runs(sources):
        if run[0] is None:
            parts.append(full((len(run), *x.shape[1:]), x.dtype.type(0)))
        else:
            parts.append(slice_in_dim(x, run[0], run[0] + len(run)))
    return concatenate(parts, 0)


def _runs(sources: list[int | None]) -> list[list[int | None]]:
    """The list cut into runs of consecutive integers and runs of None."""
    runs: list[list[int | None]] = []
    for i in sources:
        expected = None if not runs or runs[-1][-1] is None else runs[-1][-1] + 1
        if runs and i == expected:
            runs[-1].append(i)
        else:
            runs.append([i])
    return runs


ppermute_p = Primitive(
    "ppermute", Kind.OPAQUE, lambda x, axis_name, axis_size, perm: x, _outside, LINEAR,
    transpose=lambda cts, x, axis_name, axis_size, perm: ppermute_p.bind(
        cts[0], axis_name=axis_name, axis_size=axis_size, perm=tuple([(j, i) for i, j in perm])),
    batch=ppermute_batch, collective=True)
