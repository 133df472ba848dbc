"""Indexing by arrays: gather reads windows of an operand, the scatters write them.

In: an operand, integer start indices, and dimension numbers (``index_maps.py``). Gather is linear, its transpose is
scatter_add, whose transpose in the updates is gather. All scatters apply their updates in order.

    { lambda ; a:f64[5,4] b:i64[3,1]. let
        c:f64[3,4] = gather[dimension_numbers=GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,),
          start_index_map=(0,)) slice_sizes=(1, 4) mode=clip] a b in (c,) }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core.array import aval_of
from funcgrad.core.primitive import NOT_LINEAR, PIECEWISE_LINEAR, Kind, Linear, Native, Primitive, missing_rule, no_flops
from funcgrad.core.types import Shape, Zero
from funcgrad.ops import series
from funcgrad.ops.elementwise import add, div, eq, mul
from funcgrad.ops.gpu_updates import combined, put_last
from funcgrad.ops.index_maps import (
    GatherDimensionNumbers,
    GatherScatterMode,
    ScatterDimensionNumbers,
    accumulate,
    as_gather,
    as_scatter,
    gather_impl,
    gather_shape,
    put,
    scatter_impl,
    scatter_shape,
    window_sizes,
)
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import (
    as_shape,
    broadcast_in_dim,
    convert_element_type,
    full,
    instantiate,
    iota,
    moveaxis,
    reshape,
    select_n,
    zeros,
)

# ---------------------------------------------------------------- user functions


def gather(operand: Any, start_indices: Any, dimension_numbers: GatherDimensionNumbers, slice_sizes: Sequence[int], *,
           unique_indices: bool = False, indices_are_sorted: bool = False, mode: Any = None,
           fill_value: Any = None) -> Any:
    """The windows of ``operand`` of size ``slice_sizes`` that begin at the index vectors ``start_indices[..., :]``.

    Args:
      operand: an array.
      start_indices: integers; the last axis holds one index vector, the other axes are the batch.
      dimension_numbers: which axis means what, see ``GatherDimensionNumbers``.
      slice_sizes: the size of the window along each axis of the operand.
      unique_indices: a promise that no element is read twice; its transpose is then faster.
      indices_are_sorted: accepted; nothing depends on it.
      mode: "clip", "fill" (also None), "promise_in_bounds" or "raise"; see ``GatherScatterMode``.
      fill_value: what "fill" reads; by default NaN, or the extreme integer.

    Raises TypeError when the arguments do not fit, IndexError in mode "raise".
    """
    mode = GatherScatterMode.from_any(mode).value
    dn, sizes = GatherDimensionNumbers(*map(as_shape, dimension_numbers)), as_shape(slice_sizes)
    x, indices = unary_arg("gather", operand), unary_arg("gather", start_indices)
    gather_shape(aval_of(x), aval_of(indices), dimension_numbers=dn, slice_sizes=sizes)
    fill = None if mode != "fill" or fill_value is None else np.asarray(fill_value).item()
    return gather_p.bind(x, indices, dimension_numbers=dn, slice_sizes=sizes, mode=mode,
                         unique_indices=bool(unique_indices),
                         fill_value=fill)[0]


def _scatter_function(primitive: Callable[[], Primitive], what: str) -> Callable:
    def function(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers, *,
                 indices_are_sorted: bool = False, unique_indices: bool = False, mode: Any = None) -> Any:
        p = primitive()
        args = [unary_arg(p.name, x) for x in (operand, scatter_indices, updates)]
        dn = ScatterDimensionNumbers(*map(as_shape, dimension_numbers))
        scatter_shape(*map(aval_of, args), dimension_numbers=dn)
        return p.bind(*args, dimension_numbers=dn, mode=GatherScatterMode.from_any(mode).value,
                      unique_indices=bool(unique_indices))[0]

    function.__doc__ = f"""The operand, {what} windows at the index vectors ``scatter_indices[..., :]``.

    Args:
      operand: an array.
      scatter_indices: integers; the last axis holds one index vector, the other axes are the batch.
      updates: an array of the operand's dtype: a window for each index vector.
      dimension_numbers: which axis means what, see ``ScatterDimensionNumbers``.
      indices_are_sorted: accepted; nothing depends on it.
      unique_indices: a promise that no element is written twice.
      mode: "clip", "fill" or "drop" (also None), "promise_in_bounds" or "raise"; see ``GatherScatterMode``.

    Updates are applied in row-major order of the batch. Raises TypeError when the arguments do not fit.
    """
    return function


def _named(name: str, function: Callable) -> Callable:
    function.__name__ = function.__qualname__ = name
    return function


scatter = _named("scatter", _scatter_function(lambda: scatter_p, "with the updates instead of its"))
scatter_add = _named("scatter_add", _scatter_function(lambda: scatter_add_p, "with the updates added to its"))
scatter_mul = _named("scatter_mul", _scatter_function(lambda: scatter_mul_p, "with the updates multiplied into its"))
scatter_min = _named("scatter_min", _scatter_function(lambda: scatter_min_p, "with the lesser of updates and"))
scatter_max = _named("scatter_max", _scatter_function(lambda: scatter_max_p, "with the greater of updates and"))


def scatter_sub(operand: Any, scatter_indices: Any, updates: Any, dimension_numbers: ScatterDimensionNumbers,
                **options: Any) -> Any:
    """As ``scatter_add``, with the updates subtracted."""
    return scatter_add(operand, scatter_indices, -unary_arg("scatter_sub", updates), dimension_numbers, **options)


def scatter_apply(operand: Any, scatter_indices: Any, func: Callable, dimension_numbers: ScatterDimensionNumbers, *,
                  update_shape: Sequence[int] = (), indices_are_sorted: bool = False, unique_indices: bool = False,
                  mode: Any = None) -> Any:
    """The operand with func applied, once, to each element of the windows of shape ``update_shape``."""
    dn = ScatterDimensionNumbers(*map(as_shape, dimension_numbers))
    sizes = window_sizes(operand, _OfShape(as_shape(update_shape)), dn)
    windows = gather(operand, scatter_indices, as_gather(dn), sizes, mode=mode)
    return scatter(operand, scatter_indices, convert_element_type(func(windows), operand.dtype), dn, mode=mode,
                   unique_indices=unique_indices)


class _OfShape:
    def __init__(self, shape: Shape):
        self.shape = shape


# ---------------------------------------------------------------- gather's rules


def gather_jvp(primals: tuple, tangents: tuple, *, fill_value: Any, **params: Any) -> tuple:
    out = gather_p.bind(*primals, fill_value=fill_value, **params)
    fill = 0 if params["mode"] == "fill" else None  # what is read out of bounds does not depend on the operand
    return out, gather_p.bind(tangents[0], primals[1], fill_value=fill, **params)


def gather_transpose(cotangents: tuple, x: Any, indices: Any, *, dimension_numbers: GatherDimensionNumbers,
                     slice_sizes: Shape, mode: str, fill_value: Any, unique_indices: bool) -> tuple:
    if fill_value is None and mode == "fill" or fill_value:
        raise missing_rule(gather_p, "transposition", "transpose",
                           "out of bounds it reads a constant that is not zero")
    return scatter_add_p.bind(zeros(x.aval), indices, cotangents[0], dimension_numbers=as_scatter(dimension_numbers),
                              mode=mode, unique_indices=unique_indices)[0], None


def moved_up(axes: Shape) -> Shape:
    """Axes after an axis was put in front."""
    return tuple([a + 1 for a in axes])


def batched_numbers(dn: GatherDimensionNumbers, operand: bool, indices: bool) -> GatherDimensionNumbers:
    """Dimension numbers when a batch axis stands in front of the operand, of the indices, or of both."""
    offsets = moved_up(dn.offset_dims)
    if not indices:
        return GatherDimensionNumbers((0, *offsets), moved_up(dn.collapsed_slice_dims), moved_up(dn.start_index_map),
                                      moved_up(dn.operand_batching_dims), dn.start_indices_batching_dims)
    if not operand:
        return dn._replace(offset_dims=offsets, start_indices_batching_dims=moved_up(dn.start_indices_batching_dims))
    return GatherDimensionNumbers(offsets, moved_up(dn.collapsed_slice_dims), moved_up(dn.start_index_map),
                                  (0, *moved_up(dn.operand_batching_dims)),
                                  (0, *moved_up(dn.start_indices_batching_dims)))


def gather_batch(axis: Any, args: tuple, axes: tuple, *, dimension_numbers: GatherDimensionNumbers,
                 slice_sizes: Shape,
                 **params: Any) -> tuple:
    x, indices = [x if d is None else moveaxis(x, d, 0) for x, d in zip(args, axes, strict=True)]
    has_x, has_indices = axes[0] is not None, axes[1] is not None
    if has_x:
        slice_sizes = (min(1, axis.size) if has_indices else axis.size, *slice_sizes)
    if not has_x:
        params["unique_indices"] = False  # examples share the operand
    return gather_p.bind(x, indices, dimension_numbers=batched_numbers(dimension_numbers, has_x, has_indices),
                         slice_sizes=slice_sizes, **params), (0,)


gather_p = Primitive("gather", Kind.OPAQUE, gather_shape, gather_impl, gather_jvp, gather_transpose, gather_batch,
                     PIECEWISE_LINEAR, code=Native("gather"), flops=no_flops)

# ---------------------------------------------------------------- rules that the scatters share


def read_back(x: Any, indices: Any, updates: Any, dn: ScatterDimensionNumbers, mode: str, unique: bool,
              fill: Any = 0) -> Any:
    """What stands in x where the updates were written; ``fill`` for dropped updates."""
    return gather_p.bind(x, indices, dimension_numbers=as_gather(dn), slice_sizes=window_sizes(x, updates, dn),
                         mode=mode,
                         fill_value=fill if mode == "fill" else None, unique_indices=unique)[0]


def scatter_batch(primitive: Callable[[], Primitive]) -> Callable:
    """The batch axis is one more axis of the window; if the indices have it too, a pair of batching axes."""

    def batch(axis: Any, args: tuple, axes: tuple, *, dimension_numbers: ScatterDimensionNumbers,
              **params: Any) -> tuple:
        x, indices, updates = args
        d_x, d_indices, d_updates = axes
        x, updates = [broadcast_in_dim(y, (axis.size, *y.shape), range(1, len(y.shape) + 1)) if d is None
                      else moveaxis(y, d, 0) for y, d in ((x, d_x), (updates, d_updates))]
        if d_indices is not None:
            indices = moveaxis(indices, d_indices, 0)
        dn = as_scatter(batched_numbers(as_gather(dimension_numbers), True, d_indices is not None))
        return primitive().bind(x, indices, updates, dimension_numbers=dn, **params), (0,)

    return batch


def _scatter(name: str, combine: Any, on_gpu: Any, jvp: Any, transpose: Any, taylor: Any = PIECEWISE_LINEAR) -> Primitive:
    return Primitive(name, Kind.OPAQUE, scatter_shape, scatter_impl(combine), jvp, transpose,
                     scatter_batch(lambda: _SCATTERS[name]), taylor, Native("scatter", filled=True),
                     flops=no_flops if combine is put else lambda ins, outs, **_: ins[2].size, cuda=scatter_impl(on_gpu))


# ---------------------------------------------------------------- scatter_add


def scatter_add_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    x_dot, _, updates_dot = tangents
    out = scatter_add_p.bind(*primals, **params)
    if type(updates_dot) is Zero:
        return out, (x_dot,)
    return out, scatter_add_p.bind(instantiate(x_dot), primals[1], updates_dot, **params)


def scatter_add_transpose(cotangents: tuple, x: Any, indices: Any, updates: Any, *,
                          dimension_numbers: ScatterDimensionNumbers, mode: str, unique_indices: bool) -> tuple:
    ct, = cotangents
    ct_updates = read_back(ct, indices, updates.aval, dimension_numbers, mode, unique_indices) \
        if isinstance(updates, Linear) else None
    return ct if isinstance(x, Linear) else None, None, ct_updates


scatter_add_p = _scatter("scatter_add", accumulate("add"), combined("add"), scatter_add_jvp, scatter_add_transpose)

# ---------------------------------------------------------------- scatter


def scatter_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    x_dot, _, updates_dot = tangents
    return scatter_p.bind(*primals, **params), scatter_p.bind(
        instantiate(x_dot), primals[1], instantiate(updates_dot), **params)


def scatter_transpose(cotangents: tuple, x: Any, indices: Any, updates: Any, *,
                      dimension_numbers: ScatterDimensionNumbers, mode: str, unique_indices: bool) -> tuple:
    ct, = cotangents
    params = {"dimension_numbers": dimension_numbers, "mode": mode, "unique_indices": unique_indices}
    aval = updates.aval if isinstance(updates, Linear) else updates
    ct_x = ct_updates = None
    if isinstance(x, Linear):
        ct_x, = scatter_p.bind(ct, indices, full(aval.shape, 0, ct.dtype), **params)
    if isinstance(updates, Linear):
        ct_updates = read_back(ct, indices, aval, dimension_numbers, mode, unique_indices)
        if not unique_indices:
            # Only the update that was written last has an effect: each writes its number, and looks who was last.
            numbers = reshape(iota("int64", (aval.size,)), aval.shape)
            written, = scatter_p.bind(full(ct.shape, -1, "int64"), indices, numbers, **params)
            last = read_back(written, indices, aval, dimension_numbers, mode, unique_indices, fill=-1)
            ct_updates = select_n(eq(last, numbers), full(aval.shape, 0, ct.dtype), ct_updates)
    return ct_x, None, ct_updates


scatter_p = _scatter("scatter", put, put_last, scatter_jvp, scatter_transpose)

# ---------------------------------------------------------------- scatter_mul


def scatter_mul_jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
    x, indices, updates = primals
    x_dot, _, updates_dot = tangents
    out = scatter_mul_p.bind(*primals, **params)
    dot = None if type(x_dot) is Zero else scatter_mul_p.bind(x_dot, indices, updates, **params)[0]
    if type(updates_dot) is not Zero:
        if not params["unique_indices"]:
            raise missing_rule(scatter_mul_p, "differentiation with respect to the updates", "jvp",
                               "an element may be multiplied several times; unique_indices=True promises it is not")
        term = mul(x, scatter_add_p.bind(zeros_like(x), indices, updates_dot, **params)[0])
        dot = term if dot is None else add(dot, term)
    return out, (dot,)


def zeros_like(x: Any) -> Any:
    return full(x.shape, 0, x.dtype)


def scatter_mul_transpose(cotangents: tuple, x: Any, indices: Any, updates: Any, **params: Any) -> tuple:
    if isinstance(updates, Linear):
        raise missing_rule(scatter_mul_p, "transposition", "transpose", "linear in the operand only")
    return scatter_mul_p.bind(cotangents[0], indices, updates, **params)[0], None, None


def scatter_mul_taylor(primals: tuple, terms: tuple, **params: Any) -> Any:
    """A product of the operand and of ones into which the updates are multiplied, at most one for each element."""
    (x, _, updates), out = series.joined(primals, terms), scatter_mul_p.bind(*primals, **params)[0]
    if not all(map(series.is_zero, updates[1:])):
        if not params["unique_indices"]:
            return NotImplemented  # the jvp rule says why
        ones, zero, indices = full(x[0].shape, 1, x[0].dtype), zeros_like(x[0]), primals[1]
        factors = [None if series.is_zero(u) else scatter_add_p.bind(zero, indices, u, **params)[0] for u in updates]
        factors[0], = scatter_mul_p.bind(ones, indices, updates[0], **params)
        return series.result(series.product(x, factors, out))
    return series.result([out, *[None if series.is_zero(c) else scatter_mul_p.bind(c, *primals[1:], **params)[0]
                                 for c in x[1:]]])


scatter_mul_p = _scatter("scatter_mul", accumulate("multiply"), combined("multiply"), scatter_mul_jvp, scatter_mul_transpose,
                         scatter_mul_taylor)

# ---------------------------------------------------------------- scatter_min, scatter_max


def _extremum_jvp(primitive: Callable[[], Primitive]) -> Callable:
    """The tangent of what attains the extremum; the mean of their tangents where several do."""

    def jvp(primals: tuple, tangents: tuple, **params: Any) -> tuple:
        x, indices, updates = primals
        x_dot, _, updates_dot = tangents
        out, = primitive().bind(*primals, **params)
        dn, mode, unique = params["dimension_numbers"], params["mode"], params["unique_indices"]
        x_attains = convert_element_type(eq(x, out), x.dtype)
        updates_attain = convert_element_type(eq(updates, read_back(out, indices, updates, dn, mode, unique)),
                                              x.dtype)
        count, = scatter_add_p.bind(x_attains, indices, updates_attain, **params)
        dot = zeros_like(x) if type(x_dot) is Zero else mul(x_dot, x_attains)
        if type(updates_dot) is not Zero:
            dot, = scatter_add_p.bind(dot, indices, mul(updates_dot, updates_attain), **params)
        return (out,), (div(dot, count),)

    return jvp


scatter_min_p = _scatter("scatter_min", accumulate("minimum"), combined("minimum"), _extremum_jvp(lambda: scatter_min_p), NOT_LINEAR)
scatter_max_p = _scatter("scatter_max", accumulate("maximum"), combined("maximum"), _extremum_jvp(lambda: scatter_max_p), NOT_LINEAR)

_SCATTERS = {p.name: p for p in (scatter_p, scatter_add_p, scatter_mul_p, scatter_min_p, scatter_max_p)}
