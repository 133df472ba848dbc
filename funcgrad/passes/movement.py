"""Index maps, simplified: reshapes, broadcasts, transposes, slices and reversals that follow each other.

In: equations of the structural operations. Out: fewer of them; none computes, so all rows are exact. Of several ways to
say the same the simplest is kept: nothing, then a reshape, then a broadcast or a transpose.

    b:f64[3,1] = reshape[new_sizes=(3, 1)] a; c:f64[3,4] = broadcast_in_dim[shape=(3, 4) broadcast_dimensions=(0, 1)] b
    ->    c:f64[3,4] = broadcast_in_dim[shape=(3, 4) broadcast_dimensions=(0,)] a
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from funcgrad.core.jaxpr import Equation, Literal
from funcgrad.core.types import Shape
from funcgrad.ops.reduction import reduce_max_p, reduce_min_p
from funcgrad.ops.structural import (
    broadcast_in_dim_p,
    concatenate_p,
    pad_p,
    reshape_p,
    rev_p,
    slice_p,
    transpose_p,
)
from funcgrad.passes.folding import repeated
from funcgrad.passes.rewriting import Rules, Walk, instead
from funcgrad.passes.subexpressions import same_atom


def reshape_again(walk: Walk, e: Equation) -> Any:
    """A reshape to the shape that x has; a reshape of a reshape."""
    x, = e.inputs
    if x.aval.shape == e.outs[0].aval.shape:
        return [x]
    inner = walk.defined(x, reshape_p)
    return instead(e, reshape_p, inner.inputs[0], **e.params) if inner else None


def transpose_again(walk: Walk, e: Equation) -> Any:
    """A transpose that moves nothing; one that moves axes of size 1 only; a transpose of a transpose."""
    x, = e.inputs
    permutation = e.params["permutation"]
    moved = [i for i in permutation if x.aval.shape[i] != 1]
    if moved == sorted(moved):
        return instead(e, reshape_p, x, new_sizes=e.outs[0].aval.shape)
    inner = walk.defined(x, transpose_p)
    if inner is None:
        return None
    first = inner.params["permutation"]
    return instead(e, transpose_p, inner.inputs[0], permutation=tuple([first[i] for i in permutation]))


def broadcast_nothing(walk: Walk, e: Equation) -> Any:
    """A broadcast that repeats nothing is a reshape."""
    x, = e.inputs
    if type(x) is Literal or x.aval.size != e.outs[0].aval.size or not x.aval.size:
        return None
    return instead(e, reshape_p, x, new_sizes=e.params["shape"])


def broadcast_again(walk: Walk, e: Equation) -> Any:
    """A broadcast of a broadcast, or of a reshape that puts in axes of size 1."""
    x, = e.inputs
    dims = e.params["broadcast_dimensions"]
    if inner := walk.defined(x, broadcast_in_dim_p):
        first = inner.params["broadcast_dimensions"]
        return instead(e, broadcast_in_dim_p, inner.inputs[0], shape=e.params["shape"],
                       broadcast_dimensions=tuple([dims[i] for i in first]))
    if inner := walk.defined(x, reshape_p):
        places = put_in(inner.inputs[0].aval.shape, x.aval.shape)
        if places is not None:
            return instead(e, broadcast_in_dim_p, inner.inputs[0], shape=e.params["shape"],
                           broadcast_dimensions=tuple([dims[i] for i in places]))
    return None


def put_in(shape: Shape, into: Shape) -> list[int] | None:
    """Where the axes of a shape are in one that has some more axes of size 1, or None if it is another one.

    >>> put_in((3, 4), (3, 1, 4))
    [0, 2]
    """
    places = []
    at = 0
    for n in shape:
        while at < len(into) and into[at] != n and into[at] == 1:
            at += 1
        if at == len(into) or into[at] != n:
            return None
        places.append(at)
        at += 1
    return places if all(n == 1 for n in into[at:]) else None


def reverse_again(walk: Walk, e: Equation) -> Any:
    """Axes reversed twice are not reversed; an axis of size 1 has nothing to reverse."""
    x, = e.inputs
    dims = set(e.params["dimensions"])
    if inner := walk.defined(x, rev_p):
        x, dims = inner.inputs[0], dims ^ set(inner.params["dimensions"])
    kept = tuple([d for d in sorted(dims) if x.aval.shape[d] > 1])
    if not kept:
        return [x]
    return None if x is e.inputs[0] and len(kept) == len(e.params["dimensions"]) else instead(e, rev_p, x, dimensions=kept)


def slice_again(walk: Walk, e: Equation) -> Any:
    """A slice of everything; a slice of a slice, of a part of a concatenation, of the inside of a padded array."""
    x, = e.inputs
    start, limit, strides = e.params["start_indices"], e.params["limit_indices"], e.params["strides"]
    if x.aval.shape == e.outs[0].aval.shape:
        return [x]
    if inner := walk.defined(x, slice_p):
        begin, step = inner.params["start_indices"], inner.params["strides"]
        return instead(e, slice_p, inner.inputs[0], **sliced(
            [b + s * t for b, s, t in zip(begin, start, step, strict=True)],
            [b + (n - 1) * t + 1 for b, n, t in zip(begin, limit, step, strict=True)],
            [s * t for s, t in zip(strides, step, strict=True)], inner.inputs[0].aval.shape))
    if inner := walk.defined(x, concatenate_p):
        d, at = inner.params["dimension"], 0
        for part in inner.inputs:
            n = part.aval.shape[d]
            if at <= start[d] and limit[d] <= at + n and n:
                return instead(e, slice_p, part, start_indices=_shifted(start, d, at), limit_indices=_shifted(limit, d, at),
                               strides=strides)
            at += n
    if inner := walk.defined(x, pad_p):
        config, shape = inner.params["padding_config"], inner.inputs[0].aval.shape
        low = [lo for lo, _, _ in config]
        if all(i == 0 and lo >= 0 and lo <= s and m <= lo + n for (lo, _, i), s, m, n in
               zip(config, start, limit, shape, strict=True)):
            return instead(e, slice_p, inner.inputs[0], start_indices=tuple([s - lo for s, lo in zip(start, low, strict=True)]),
                           limit_indices=tuple([m - lo for m, lo in zip(limit, low, strict=True)]), strides=strides)
    return None


def sliced(start: Sequence[int], limit: Sequence[int], strides: Sequence[int], shape: Shape) -> dict[str, Shape]:
    """The params of a slice; limits are inside of the operand."""
    return {"start_indices": tuple([min(s, n) for s, n in zip(start, shape, strict=True)]),
            "limit_indices": tuple([min(max(m, s), n) for s, m, n in zip(start, limit, shape, strict=True)]),
            "strides": tuple(strides)}


def _shifted(indices: Shape, axis: int, by: int) -> Shape:
    return (*indices[:axis], indices[axis] - by, *indices[axis + 1:])


def concatenate_less(walk: Walk, e: Equation) -> Any:
    """Empty parts are left out; one part alone is the result."""
    d = e.params["dimension"]
    parts = [x for x in e.inputs if x.aval.shape[d]]
    if len(parts) == 1:
        return [parts[0]]
    return instead(e, concatenate_p, *parts, dimension=d) if 0 < len(parts) < len(e.inputs) else None


def pad_alike(walk: Walk, e: Equation) -> Any:
    """A scalar padded with itself; padding with nothing."""
    x, value = e.inputs
    if all(entry == (0, 0, 0) for entry in e.params["padding_config"]):
        return [x]
    scalar, padding = walk.scalar(x), walk.scalar(value)
    if scalar is not None and padding is not None and same_atom(Literal(scalar), Literal(padding)):
        return repeated(walk, e, scalar)
    return None


def extremum_of_one(walk: Walk, e: Equation) -> Any:
    """The largest of one element is that element. (The sum is not: 0.0 + -0.0 is 0.0.)"""
    x, = e.inputs
    if all(x.aval.shape[d] == 1 for d in e.params["axes"]):
        return instead(e, reshape_p, x, new_sizes=e.outs[0].aval.shape)
    return None


MOVEMENT: Rules = {
    reshape_p: (reshape_again,),
    transpose_p: (transpose_again,),
    broadcast_in_dim_p: (broadcast_nothing, broadcast_again),
    rev_p: (reverse_again,),
    slice_p: (slice_again,),
    concatenate_p: (concatenate_less,),
    pad_p: (pad_alike,),
    reduce_max_p: (extremum_of_one,),
    reduce_min_p: (extremum_of_one,),
}
