"""``scan``, ``map`` and ``associative_scan``: loops over the leading axis of arrays.

In: a function of one step and stacked inputs. Out: the final carry and stacked outputs. Reverse mode stacks what each
step's derivative needs and runs the loop backwards, so the gradient of n steps takes time and memory proportional to n.

    { lambda ; a:f64[] b:f64[5]. let
        c:f64[] d:f64[5] = scan[length=5 reverse=False num_consts=0 num_carry=1 unroll=1
          jaxpr={ lambda ; a:f64[] b:f64[]. let c:f64[] = add a b in (c, a) }] a b in (c, d) }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from funcgrad.control.plain import plain_scan
from funcgrad.control.programs import (
    COMPILED_FROM,
    Mask,
    add_axis,
    as_type,
    buffer,
    check_carry,
    chosen,
    derived,
    empty_stack,
    fixed_point,
    interleaved,
    nonzero,
    promoted_carry,
    reordered,
    same_types,
    split,
    staged,
    types,
)
from funcgrad.core.array import CudaArray, DeviceArray, aval_of, describe
from funcgrad.core.jaxpr import Jaxpr, Var, is_effect
from funcgrad.core.primitive import Kind, Linear, Primitive
from funcgrad.core.stage import eval_jaxpr, execute, may_compile, stage, typed
from funcgrad.core.structure import Loop
from funcgrad.core.trace import runs_plainly
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import add
from funcgrad.ops.structural import concatenate, expand_dims, instantiate, moveaxis, reshape, rev, slice_in_dim, zeros
from funcgrad.passes.dead_code import prune, without_inputs
from funcgrad.transforms.arguments import flatten_args, function_name, leaf_paths
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward, spread
from funcgrad.transforms.linearize import LinearizeTrace, depends, linearize_jaxpr
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_jaxpr
from funcgrad.transforms.vmap import Axis, batch_jaxpr, to_front
from funcgrad.tree import tree_flatten, tree_map, tree_structure, tree_unflatten, treedef_children

# ---------------------------------------------------------------- scan


def scan(f: Callable, init: Any, xs: Any = None, length: int | None = None, reverse: bool = False,
         unroll: int | bool = 1) -> tuple[Any, Any]:
    """Applies ``carry, y = f(carry, x)`` to each slice x of xs in turn; returns the last carry and the stacked y.

    Args:
      f: takes the carry and one slice, and returns a pair: the next carry, of the same tree, shapes and dtypes, and
        a tree of outputs (or None).
      init: the first carry, a tree of arrays. A weakly typed leaf takes the dtype that it has after a step.
      xs: a tree of arrays with one common size along axis 0, or None.
      length: the number of steps; needed when xs is None.
      reverse: begins with the last slice; y keeps the place of its x.
      unroll: how many steps compiled code takes at once. It changes no result.

    f is staged once, whatever the length, and may close over traced values. Raises TypeError when the carry changes
    its type, ValueError when the sizes do not agree.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.lax.scan(lambda total, x: (total + x, total), 0.0, fnp.arange(4.0))
    (Array(6., dtype=float64), Array([0., 0., 1., 3.], dtype=float64))
    """
    check_callable(f, "scan")
    leaves, tree = flatten_args(f, (init, xs), "scan")
    carry_tree = tree_structure(init)
    carry, slices = split(leaves, carry_tree.num_leaves)
    count = _length(f, slices, (init, xs), length)

    def body(carry: Any, x: Any) -> tuple:
        out = f(carry, x)
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(message(f"scan: {function_name(f)} must return a pair", describe(out), "(next carry, output)",
                                    "return carry, None when there is no output"))
        return tuple(out)

    body.__name__ = function_name(f)
    if count and runs_plainly():
        return plain_scan(body, carry_tree, carry, slices, tree_structure(xs), count, bool(reverse))
    slice_types = [shaped_array(a.shape[1:], a.dtype, a.weak_type) for a in types(slices)]
    with quiet():
        while True:
            jaxpr, consts, out_tree = staged(body, tree, [*types(carry), *slice_types], "scan")
            after, _ = treedef_children(out_tree)
            outs = jaxpr.out_avals[:after.num_leaves]
            if after != carry_tree:
                check_carry("scan body's", carry_tree, after, (), ())
            promoted = promoted_carry(carry, types(carry), outs)
            if promoted is None:
                break
            carry = tuple(promoted)
        check_carry("scan body's", carry_tree, after, types(carry), outs)
        results = scan_p.bind(*consts, *carry, *slices, jaxpr=jaxpr, length=count, reverse=bool(reverse),
                              num_consts=len(consts), num_carry=len(carry), unroll=_unroll(unroll, count))
    return tree_unflatten(out_tree, results)


def _length(f: Callable, slices: Sequence[Any], args: tuple, length: int | None) -> int:
    """The number of steps. Raises ValueError, with paths, when the sizes do not agree."""
    paths = leaf_paths(f, args)[-len(slices):] if slices else []
    for x, path in zip(slices, paths, strict=True):
        if not x.shape:
            raise ValueError(message("scan: an input has no axis to loop over", f"{path} is {describe(x)}",
                                     "arrays with at least one axis", "closing over it, or putting it into the carry"))
    sizes = {x.shape[0] for x in slices}
    if len(sizes) > 1 or length is not None and sizes - {int(length)}:
        found = ", ".join(f"{path} has size {x.shape[0]}" for path, x in zip(paths, slices, strict=True))
        raise ValueError(message("scan: the inputs have different sizes along axis 0" if len(sizes) > 1 else
                                 "scan: length is not the size of the inputs", found,
                                 "one size for all" if len(sizes) > 1 else f"length {length}"))
    if not sizes and length is None:
        raise ValueError(message("scan: the number of steps is unknown", "neither xs nor length", None, "length=n"))
    count = sizes.pop() if sizes else int(length)  # type: ignore[arg-type]
    if count < 0:
        raise ValueError(message("scan: the number of steps is negative", count, "length >= 0"))
    return count


def _unroll(unroll: int | bool, length: int) -> int:
    if isinstance(unroll, bool):
        return max(length, 1) if unroll else 1
    if unroll < 0:
        raise ValueError(message("scan: unroll is negative", unroll, "an integer >= 0, or a bool"))
    return max(int(unroll), 1)


def map(f: Callable, xs: Any, *, batch_size: int | None = None) -> Any:
    """The results of f for each slice of xs along axis 0, stacked: ``vmap`` one slice at a time.

    With ``batch_size``, that many slices at a time are computed by ``vmap``, which is faster and takes more memory.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.lax.map(lambda x: x * x, fnp.arange(3.0))
    Array([0., 1., 4.], dtype=float64)
    """
    check_callable(f, "map")

    def step(_: Any, x: Any) -> tuple:
        return None, f(x)

    step.__name__ = function_name(f)
    if batch_size is None:
        return scan(step, None, xs)[1]
    leaves, tree = flatten_args(f, (xs,), "map")
    count = _length(f, leaves, (xs,), None)
    whole, size = count // batch_size, int(batch_size)
    parts = []
    if whole:
        batches = [reshape(slice_in_dim(x, 0, whole * size), (whole, size, *x.shape[1:])) for x in leaves]
        ys = scan(lambda _, x: (None, vmap(f)(x)), None, tree_unflatten(tree, batches)[0])[1]
        parts.append(tree_map(lambda y: reshape(y, (whole * size, *y.shape[2:])), ys))
    if whole * size < count or not count:
        rest = tree_unflatten(tree, [slice_in_dim(x, whole * size, count) for x in leaves])[0]
        parts.append(vmap(f)(rest) if count else scan(step, None, rest)[1])
    return tree_map(lambda *ys: concatenate(ys, 0), *parts)


# ---------------------------------------------------------------- associative_scan


def associative_scan(fn: Callable, elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """All prefixes combined by an associative function: ``[a, fn(a, b), fn(fn(a, b), c), ...]`` along an axis.

    ``fn(x, y)`` combines two trees like ``elems`` whose leaves have any size along ``axis``, element by element. It is
    called about 2 log2(n) times, on at most 2 n elements in all. With ``reverse`` it begins at the end, with
    ``fn(last, one before)``.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.lax.associative_scan(fnp.add, fnp.arange(5.0))
    Array([ 0.,  1.,  3.,  6., 10.], dtype=float64)

    Ladner and Fischer, "Parallel prefix computation", Journal of the ACM 27 (1980).
    """
    check_callable(fn, "associative_scan")
    leaves, tree = flatten_args(fn, (elems,), "associative_scan")
    for x in leaves:
        if not -len(x.shape) <= axis < len(x.shape):
            raise ValueError(message("associative_scan: an array does not have the axis", f"{describe(x)} and axis {axis}",
                                     f"arrays with more than {axis if axis >= 0 else -axis - 1} axes"))
    axes = [axis % len(x.shape) for x in leaves]
    sizes = {x.shape[d] for x, d in zip(leaves, axes, strict=True)}
    if len(sizes) > 1:
        raise ValueError(message("associative_scan: the arrays have different sizes along the axis",
                                 ", ".join(describe(x) for x in leaves), "one size for all"))

    def along(operation: Callable, *arrays: Sequence[Any]) -> list[Any]:
        return [operation(d, *xs) for d, *xs in zip(axes, *arrays, strict=True)]

    def combine(a: list[Any], b: list[Any]) -> list[Any]:
        a_tree, b_tree = tree_unflatten(tree, a)[0], tree_unflatten(tree, b)[0]
        out, out_tree = tree_flatten((fn(a_tree, b_tree),))
        if out_tree != tree:
            raise TypeError(message(f"associative_scan: {function_name(fn)} must return a tree like its arguments",
                                    out_tree, tree))
        return out

    def prefixes(xs: list[Any]) -> list[Any]:
        count = xs[0].shape[axes[0]]
        if count < 2:
            return xs
        last = count - 1
        pairs = combine(along(lambda d, x: slice_in_dim(x, 0, last, 2, d), xs),
                        along(lambda d, x: slice_in_dim(x, 1, count, 2, d), xs))
        odd = prefixes(pairs)  # the prefixes that end at 1, 3, 5, ...
        first = along(lambda d, x: slice_in_dim(x, 0, 1, 1, d), xs)
        if count > 2:
            even = combine(along(lambda d, x: slice_in_dim(x, 0, last // 2, 1, d), odd),
                           along(lambda d, x: slice_in_dim(x, 2, count, 2, d), xs))
            first = along(lambda d, a, b: concatenate((a, b), d), first, even)
        return along(lambda d, a, b: _interleave(a, b, count, d), first, odd)

    if not leaves:
        return elems
    with quiet():
        ordered = along(lambda d, x: rev(x, (d,)), leaves) if reverse else leaves
        result = prefixes(ordered)
        return tree_unflatten(tree, along(lambda d, x: rev(x, (d,)), result) if reverse else result)[0]


def _interleave(even: Any, odd: Any, count: int, axis: int) -> Any:
    """The array of this size with ``even`` at 0, 2, ... and ``odd`` at 1, 3, ... along an axis."""
    shape = list(even.shape)
    if odd.shape[axis] < shape[axis]:
        odd = concatenate((odd, slice_in_dim(even, 0, 1, 1, axis)), axis)
    shape.insert(axis + 1, 1)
    pairs = concatenate((reshape(even, shape), reshape(odd, shape)), axis + 1)
    shape[axis:axis + 2] = [2 * even.shape[axis]]
    return slice_in_dim(reshape(pairs, shape), 0, count, 1, axis)


# ---------------------------------------------------------------- the primitive


def scan_shape(*avals: ShapedArray, jaxpr: Jaxpr, length: int, num_consts: int, num_carry: int,
               **params: Any) -> tuple[ShapedArray, ...]:
    return (*jaxpr.in_avals[num_consts:num_consts + num_carry],
            *[add_axis(a, length) for a in jaxpr.out_avals[num_carry:]])


def scan_impl(*args: Any, jaxpr: Jaxpr, length: int, reverse: bool, num_consts: int, num_carry: int,
              unroll: int) -> list[Any]:
    """The loop itself: slices are views, and the outputs are written into their places. A long one is compiled."""
    if length >= COMPILED_FROM and may_compile():
        params = {"jaxpr": jaxpr, "length": length, "reverse": reverse, "num_consts": num_consts, "num_carry": num_carry,
                  "unroll": unroll}
        return execute(derived(jaxpr, ("loop", length, reverse, num_consts, num_carry), lambda *xs: scan_p.bind(*xs, **params),
                               types(args), jaxpr.name), args)
    if any([type(x) is CudaArray for x in (*args, *jaxpr.consts)]):
        return _scan_on_gpu(args, jaxpr, length, reverse, num_consts, num_carry)
    consts, first, xs = split(args, num_consts, num_carry)
    carry: Sequence[Any] = first
    avals = scan_shape(jaxpr=jaxpr, length=length, num_consts=num_consts, num_carry=num_carry)
    slices = [(buffer(x), a.weak_type) for x, a in zip(xs, jaxpr.in_avals[num_consts + num_carry:], strict=True)]
    stacks = [empty_stack(a, length) for a in jaxpr.out_avals[num_carry:]]
    for i in range(length - 1, -1, -1) if reverse else range(length):
        outs = eval_jaxpr(jaxpr, [*consts, *carry, *[DeviceArray(x[i], weak) for x, weak in slices]])
        carry = outs[:num_carry]
        for stack, y in zip(stacks, outs[num_carry:], strict=True):
            stack[i] = buffer(y)
    return [as_type(x, a) for x, a in zip((*carry, *stacks), avals, strict=True)]


def _scan_on_gpu(args: Sequence[Any], jaxpr: Jaxpr, length: int, reverse: bool, num_consts: int, num_carry: int) -> list[Any]:
    """The loop step by step: the outputs are stacked at the end, where they are."""
    consts, first, xs = split(args, num_consts, num_carry)
    carry: Sequence[Any] = first
    avals = scan_shape(jaxpr=jaxpr, length=length, num_consts=num_consts, num_carry=num_carry)
    rows: list[Sequence[Any]] = []
    for i in range(length - 1, -1, -1) if reverse else range(length):
        slices = [reshape(slice_in_dim(x, i, i + 1), x.shape[1:]) for x in xs]
        outs = eval_jaxpr(jaxpr, [*consts, *carry, *slices])
        carry = outs[:num_carry]
        rows.append([expand_dims(as_type(y, a), (0,)) for y, a in zip(outs[num_carry:], jaxpr.out_avals[num_carry:], strict=True)])
    columns = zip(*(reversed(rows) if reverse else rows), strict=True) if rows else ()
    stacks = [concatenate(column, 0) for column in columns] or [zeros(a) for a in avals[num_carry:]]
    return [as_type(x, a) for x, a in zip((*carry, *stacks), avals, strict=True)]


def scan_forward(mode: Forward, primals: tuple, dots: tuple, *, jaxpr: Jaxpr, num_consts: int, num_carry: int,
                 **params: Any) -> tuple:
    """The carry travels with its dots: those that a step makes nonzero are so before the next one."""
    order, num_ys = mode.order, len(jaxpr.outs) - num_carry
    consts, carry, xs = split(dots, order * num_consts, order * num_carry)
    const_mask, carry_mask, xs_mask = nonzero(consts), nonzero(carry), nonzero(xs)

    def step(mask: Mask) -> tuple[Any, Mask]:
        found = mode.program(jaxpr, (*const_mask, *mask, *xs_mask), (*mask, *[False] * (order * num_ys)))
        return found, found[1][:order * num_carry]

    (program, out_mask), carry_mask = fixed_point(step, carry_mask)
    p_consts, p_carry, p_xs = split(primals, num_consts, num_carry)
    body = reordered(program, interleaved((num_consts, num_carry, len(p_xs)), (const_mask, carry_mask, xs_mask)),
                     interleaved((num_carry, num_ys), (carry_mask, out_mask[order * num_carry:])))
    results = scan_p.bind(*p_consts, *chosen(consts, const_mask), *p_carry,
                          *[instantiate(t) for t in chosen(carry, carry_mask)], *p_xs, *chosen(xs, xs_mask), jaxpr=body,
                          num_consts=num_consts + sum(const_mask), num_carry=num_carry + sum(carry_mask), **params)
    last, last_dots, ys, ys_dots = split(results, num_carry, sum(carry_mask), num_ys)
    outs = (*last, *ys)
    return outs, mode.spread((*last_dots, *ys_dots), out_mask, outs)


class _Linearized(NamedTuple):
    """A body in two: the primal step with stacked residuals, and the linear step."""

    primal: Jaxpr
    invariant: Jaxpr
    """From the consts to the residuals that are the same in every step."""
    linear: Jaxpr
    inputs: list[int]
    """The residuals that are slices of xs themselves, by their position in xs."""
    carry_mask: Mask
    out_mask: Mask


def _linearized(jaxpr: Jaxpr, const_mask: Mask, carry_mask: Mask, xs_mask: Mask) -> _Linearized:
    key = ("scan linearize", const_mask, carry_mask, xs_mask)
    if key in jaxpr.cache:
        return jaxpr.cache[key]
    num_consts, num_carry, count = len(const_mask), len(carry_mask), len(jaxpr.outs)

    def step(mask: Mask) -> tuple[Any, Mask]:
        found = linearize_jaxpr(jaxpr, (*const_mask, *mask, *xs_mask), (*mask, *[False] * (count - num_carry)))
        return found, found[2][:num_carry]

    (primal, linear, out_mask), carry_mask = fixed_point(step, carry_mask)
    moving = _moving(primal, num_consts)[count:]
    place = {v: i for i, v in enumerate(primal.in_vars[num_consts + num_carry:])}
    fixed: list[int] = []
    inputs: list[int] = []
    stacked: list[int] = []
    for i, (residual, moves) in enumerate(zip(primal.outs[count:], moving, strict=True)):
        (fixed if not moves else inputs if residual in place else stacked).append(i)
    kept = set(stacked)
    body = prune(primal, [i < count or i - count in kept for i in range(len(primal.outs))])[0]
    constant = set(fixed)
    invariant = prune(primal, [i - count in constant for i in range(len(primal.outs))], effects=False)[0]
    tangent = len(moving)
    ends = [tangent, tangent + sum(const_mask), tangent + sum(const_mask) + sum(carry_mask), len(linear.in_vars)]
    order = [*fixed, *range(ends[0], ends[1]), *range(ends[1], ends[2]), *stacked, *inputs, *range(ends[2], ends[3])]
    result = jaxpr.cache[key] = _Linearized(
        body, invariant.replace(in_vars=primal.in_vars[:num_consts]), reordered(linear, order, range(len(linear.outs))),
        [place[_variable(primal.outs[count + i])] for i in inputs], carry_mask, out_mask)
    return result


def _moving(jaxpr: Jaxpr, num_consts: int) -> Mask:
    """Which outputs take more than the consts to compute: an equation moves as a whole, and with it what has effects."""
    moving = set(jaxpr.in_vars[num_consts:])
    for equation in jaxpr.equations:
        if is_effect(equation) or any(atom in moving for atom in equation.inputs):
            moving.update(equation.outs)
    return tuple([out in moving for out in jaxpr.outs])


def _variable(atom: Any) -> Var:
    assert type(atom) is Var
    return atom


def scan_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Jaxpr, num_consts: int,
                   num_carry: int, **params: Any) -> tuple[tuple, tuple]:
    """The primal loop stacks the residuals of each step; what does not change from step to step is passed once."""
    consts, carry, xs = split(tangents, num_consts, num_carry)
    const_mask, xs_mask = nonzero(consts), nonzero(xs)
    parts = _linearized(jaxpr, const_mask, nonzero(carry), xs_mask)
    results = scan_p.bind(*primals, jaxpr=parts.primal, num_consts=num_consts, num_carry=num_carry, **params)
    outs, stacked = split(results, len(jaxpr.outs))
    fixed = eval_jaxpr(parts.invariant, primals[:num_consts])
    slices = primals[num_consts + num_carry:]
    args = (*fixed, *chosen(consts, const_mask), *[instantiate(t) for t in chosen(carry, parts.carry_mask)],
            *stacked, *[slices[i] for i in parts.inputs], *chosen(xs, xs_mask))
    dots = trace.linear.record(scan_p, args, {
        "jaxpr": parts.linear, "num_consts": len(fixed) + sum(const_mask), "num_carry": sum(parts.carry_mask), **params})
    return outs, spread(dots, parts.out_mask, outs)


def scan_transpose(cotangents: tuple, *args: Any, jaxpr: Jaxpr, length: int, reverse: bool, num_consts: int,
                   num_carry: int, unroll: int) -> tuple:
    """The loop backwards: the carry is the sum of the constants' cotangents and the carry's cotangent.

    A carry that starts from a value that is not linear counts as linear too: the steps make it so.
    """
    given = [isinstance(x, Linear) for x in args]
    consts, carry, xs = split(args, num_consts, num_carry)
    ct_carry, ct_ys = split(cotangents, num_carry)
    const_linear, _, xs_linear = split(given, num_consts, num_carry)
    linear = (*const_linear, *[True] * num_carry, *xs_linear)
    ys_mask = nonzero(ct_ys)
    num_linear = sum(const_linear)

    def step(mask: Mask) -> tuple[Any, Mask]:
        program, found = transpose_jaxpr(jaxpr, linear, (*mask, *ys_mask))
        return (program, found), found[num_linear:num_linear + num_carry]

    (program, found), carry_mask = fixed_point(step, nonzero(ct_carry))
    const_found, carry_found, xs_found = split(found, num_linear, num_carry)
    linear_types = chosen(jaxpr.in_avals, linear)
    ct_types = same_types(chosen(linear_types[:num_linear], const_found))
    body = _transposed_body(jaxpr, program, linear, (num_consts, num_carry), (carry_mask, ys_mask), found, ct_types)
    results = scan_p.bind(
        *[x for x in consts if not isinstance(x, Linear)], *[zeros(a) for a in ct_types],
        *[instantiate(ct) for ct in chosen(ct_carry, carry_mask)], *[x for x in xs if not isinstance(x, Linear)],
        *chosen(ct_ys, ys_mask), jaxpr=body, length=length, reverse=not reverse, num_consts=num_consts - num_linear,
        num_carry=len(ct_types) + sum(carry_mask), unroll=unroll)
    ct_c, ct_k, ct_x = (iter(group) for group in split(results, len(ct_types), sum(carry_mask)))
    c_found, x_found = iter(const_found), iter(xs_found)
    return (*[next(ct_c) if is_linear and next(c_found) else None for is_linear in const_linear],
            *[ct if isinstance(x, Linear) else None for x, ct in
              zip(carry, [next(ct_k) if nz else None for nz in carry_mask], strict=True)],
            *[next(ct_x) if is_linear and next(x_found) else None for is_linear in xs_linear])


def _transposed_body(jaxpr: Jaxpr, program: Jaxpr, linear: Mask, groups: tuple[int, int], ct_masks: tuple[Mask, Mask],
                     found: Mask, ct_types: list[ShapedArray]) -> Jaxpr:
    """One step backwards: residuals, sums, cotangents in; sums, the carry's cotangents and those of the slices out."""
    num_consts, num_carry = groups
    carry_mask, ys_mask = ct_masks
    num_linear = sum(linear[:num_consts])
    others = [a for a, is_linear in zip(jaxpr.in_avals, linear, strict=True) if not is_linear]
    const_types, slice_types = split(others, num_consts - num_linear)
    carry_types = same_types(chosen(jaxpr.in_avals[num_consts:num_consts + num_carry], carry_mask))
    y_types = same_types(chosen(jaxpr.out_avals[num_carry:], ys_mask))
    carry_found = found[num_linear:num_linear + num_carry]

    def function(*args: Any) -> list[Any]:
        consts, sums, ct_carry, slices, ct_ys = split(args, len(const_types), len(ct_types), len(carry_types),
                                                      len(slice_types))
        results = eval_jaxpr(program, (*consts, *slices, *ct_carry, *ct_ys))
        ct_consts, ct_next, ct_xs = split(results, len(ct_types), sum(carry_found))
        after = iter(ct_next)
        given = chosen(carry_found, carry_mask)
        return [*[add(total, ct) for total, ct in zip(sums, ct_consts, strict=True)],
                *[next(after) if there else zeros(a) for there, a in zip(given, carry_types, strict=True)], *ct_xs]

    return derived(jaxpr, ("scan transpose", linear, groups, ct_masks), function,
                   [*const_types, *ct_types, *carry_types, *slice_types, *y_types], f"transpose({jaxpr.name})")


def scan_batch(axis: Axis, args: tuple, axes: tuple, *, jaxpr: Jaxpr, num_consts: int, num_carry: int,
               **params: Any) -> tuple:
    const_axes, carry_axes, xs_axes = split(axes, num_consts, num_carry)
    outside, inside = tuple([d is not None for d in const_axes]), tuple([d is not None for d in xs_axes])
    num_ys = len(jaxpr.outs) - num_carry

    def step(mask: Mask) -> tuple[Any, Mask]:
        found = batch_jaxpr(jaxpr, axis, (*outside, *mask, *inside), (*mask, *[False] * num_ys))
        return found, found[1][:num_carry]

    (body, out_mask), carry_mask = fixed_point(step, tuple([d is not None for d in carry_axes]))
    consts, carry, xs = split(args, num_consts, num_carry)
    values = [x if d is None else moveaxis(x, d, 0) for x, d in zip(consts, const_axes, strict=True)]
    values += [to_front(x, d, axis.size) if b else x for x, d, b in zip(carry, carry_axes, carry_mask, strict=True)]
    values += [x if d is None else moveaxis(x, d, 1) for x, d in zip(xs, xs_axes, strict=True)]
    outs = scan_p.bind(*values, jaxpr=body, num_consts=num_consts, num_carry=num_carry, **params)
    return outs, tuple([(0 if i < num_carry else 1) if b else None for i, b in enumerate(out_mask)])


def scan_depends(marked: Mask, *, jaxpr: Jaxpr, num_consts: int, num_carry: int, **params: Any) -> Mask:
    consts, carry, xs = split(marked, num_consts, num_carry)

    def step(mask: Mask) -> tuple[Any, Mask]:
        found = depends(jaxpr, (*consts, *mask, *xs))
        return found, found[:num_carry]

    found, mask = fixed_point(step, carry)
    return (*mask, *found[num_carry:])


def scan_prune(used: Mask, *, jaxpr: Jaxpr, num_consts: int, num_carry: int, **params: Any) -> tuple[Mask, Mask, dict]:
    """A carry is needed if its last value is, or a later step of what is needed; the other steps are those of fewer values."""
    carry, ys = split(used, num_carry)

    def step(mask: Mask) -> tuple[Any, Mask]:
        program, needed = prune(jaxpr, (*mask, *ys))
        return (program, needed), needed[num_consts:num_consts + num_carry]

    (program, needed), carry = fixed_point(step, carry)
    kept = (*needed[:num_consts], *carry, *needed[num_consts + num_carry:])
    return kept, (*carry, *ys), {"jaxpr": without_inputs(program, kept), "num_consts": sum(kept[:num_consts]),
                                 "num_carry": sum(carry), **params}


scan_p = Primitive(
    "scan", Kind.CONTROL, scan_shape, scan_impl, partial(scan_forward, JVP), scan_transpose, scan_batch,
    taylor=taylor_rule(scan_forward), linearize=scan_linearize, depends=scan_depends, prune=scan_prune,
    code=lambda jaxpr, length, reverse, num_consts, num_carry, unroll: Loop(jaxpr, length, reverse, num_consts, num_carry))


def one_by_one(primitive: Primitive, axis: Axis, args: tuple, axes: tuple, params: dict) -> tuple:
    """The batch rule of an operation with effects: the examples in turn, so that each has its own effects, in order."""
    fixed = [i for i, d in enumerate(axes) if d is None]
    mapped = [i for i, d in enumerate(axes) if d is not None]
    values = [*[args[i] for i in fixed], *[moveaxis(args[i], axes[i], 0) for i in mapped]]
    avals = [*[aval_of(args[i]) for i in fixed], *[shaped_array(x.shape[1:], x.dtype) for x in values[len(fixed):]]]

    def example(*xs: Any) -> tuple:
        placed = dict(zip([*fixed, *mapped], xs, strict=True))
        return primitive.bind(*[placed[i] for i in range(len(args))], **params)

    body, captured = stage(example, [typed(a) for a in avals], primitive.name, "vmap")
    assert not captured
    outs = scan_p.bind(*values, jaxpr=body, length=axis.size, reverse=False, num_consts=len(fixed), num_carry=0, unroll=1)
    return tuple(outs), (0,) * len(outs)
