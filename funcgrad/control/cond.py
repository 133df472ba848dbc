"""``cond`` and ``switch``: one of several functions, chosen by a value.

In: a scalar, functions, and their common operands. Out: the result of the function chosen; the others do not run.
A batch of choices runs all functions and selects.

    { lambda ; a:i32[] b:f64[]. let
        c:f64[] = cond[branches={ lambda ; a:f64[]. let b:f64[] = neg a in (b,) }
          { lambda ; a:f64[]. let  in (a,) }] a b in (c,) }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.control.plain import plain_choice
from funcgrad.control.programs import (
    Mask,
    as_type,
    buffer,
    chosen,
    derived,
    lent,
    nonzero,
    paths,
    split,
    staged,
    type_text,
    types,
    where_marked,
)
from funcgrad.control.scan import one_by_one
from funcgrad.core.array import DeviceArray, aval_of, describe
from funcgrad.core.jaxpr import Jaxpr, Var, has_effects
from funcgrad.core.primitive import Kind, Linear, Primitive
from funcgrad.core.stage import as_value, eval_jaxpr, typed
from funcgrad.core.structure import Choice
from funcgrad.core.trace import current, runs_plainly
from funcgrad.core.types import ShapedArray, Zero, shaped_array, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.elementwise import clamp, eq, ne
from funcgrad.ops.reduction import reduce_or
from funcgrad.ops.structural import (
    broadcast_to,
    convert_element_type,
    instantiate,
    moveaxis,
    select_n_p,
    stop_gradient,
    zeros,
)
from funcgrad.passes.dead_code import prune, without_inputs
from funcgrad.transforms.arguments import flatten_args, function_name
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward, spread
from funcgrad.transforms.linearize import LinearizeTrace, LinearTracer, depends, linearize_jaxpr
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_jaxpr
from funcgrad.transforms.vmap import Axis, batch_jaxpr, vmap_flat
from funcgrad.tree import tree_unflatten

_INDEX = np.dtype("int32")
_ARITHMETIC = (Kind.ELEMENTWISE, Kind.MOVEMENT, Kind.REDUCTION, Kind.CONTRACTION)
_MISSING = object()

# ---------------------------------------------------------------- user functions


def cond(pred: Any, true_fun: Callable, false_fun: Callable, *operands: Any, operand: Any = _MISSING) -> Any:
    """``true_fun(*operands)`` where pred is true, else ``false_fun(*operands)``; only that one runs.

    Args:
      pred: a boolean scalar, or a number, which is true unless it is zero.
      true_fun, false_fun: functions of the operands that return trees of the same structure, shapes and dtypes (a
        weakly typed result takes the other one's dtype). They may close over traced values.
      operands: trees of arrays. ``operand=x`` passes one tree.

    Under ``vmap`` with one pred for each example, a branch runs on the whole batch if any example takes it, and the results
    are selected; the examples that do not take it cannot fail in it. Raises TypeError when pred is not
    a scalar or the results differ in type.

    >>> import funcgrad as fg
    >>> fg.lax.cond(True, lambda x: x + 1, lambda x: x - 1, 10)
    Array(11, dtype=int64, weak_type=True)
    """
    if operand is not _MISSING:
        if operands:
            raise TypeError(message("cond: operands are given by position and by keyword", None, "one of the two"))
        operands = (operand,)
    check_callable(true_fun, "cond")
    check_callable(false_fun, "cond")
    pred = _scalar("cond", "pred", pred, "biufc", "a boolean or number without axes")
    if pred.dtype.kind != "b":
        pred = ne(pred, 0)
    names = [f"{name} ({function_name(f)})" for name, f in (("false_fun", false_fun), ("true_fun", true_fun))]
    return _choose("cond", convert_element_type(pred, _INDEX), (false_fun, true_fun), names, operands)


def switch(index: Any, branches: Sequence[Callable], *operands: Any, operand: Any = _MISSING) -> Any:
    """``branches[index](*operands)``; an index out of range counts as the nearest one. Otherwise as ``cond``.

    >>> import funcgrad as fg
    >>> fg.lax.switch(1, [lambda x: x, lambda x: -x], 2.0)
    Array(-2., dtype=float64, weak_type=True)
    """
    if operand is not _MISSING:
        if operands:
            raise TypeError(message("switch: operands are given by position and by keyword", None, "one of the two"))
        operands = (operand,)
    branches = tuple(branches)
    if not branches:
        raise ValueError(message("switch: there are no branches", "an empty sequence", "at least one function"))
    for f in branches:
        check_callable(f, "switch")
    index = _scalar("switch", "index", index, "iu", "an integer without axes")
    if len(branches) == 1:
        return branches[0](*operands)
    index = clamp(index.dtype.type(0), index, index.dtype.type(len(branches) - 1))
    names = [f"branch {i} ({function_name(f)})" for i, f in enumerate(branches)]
    return _choose("switch", convert_element_type(index, _INDEX), branches, names, operands)


def _scalar(what: str, name: str, x: Any, kinds: str, expected: str) -> Any:
    try:
        value = as_value(x)
    except TypeError:
        value = None
    if value is None or value.shape or dtypes.kind(value.dtype) not in kinds:
        raise TypeError(message(f"{what}: {name} must be {expected}", describe(x), expected,
                                "vmap for one choice for each example, or fnp.where for one for each element"
                                if getattr(value, "shape", ()) else None))
    return value


def _choose(what: str, index: Any, branches: Sequence[Callable], names: Sequence[str], operands: tuple) -> Any:
    leaves, tree = flatten_args(branches[-1], operands, what)
    if runs_plainly():
        return _plain(what, int(index), branches, leaves, tree)
    with quiet():
        programs = [staged(f, tree, types(leaves), what) for f in branches]
        captured = {id(x): x for _, consts, _ in programs for x in consts}
        jaxprs = [_with_consts(jaxpr, consts, captured) for jaxpr, consts, _ in programs]
        trees = [out_tree for _, _, out_tree in programs]
        jaxprs = _joined(what, names, trees, jaxprs)
        outs = cond_p.bind(index, *captured.values(), *leaves, branches=tuple(jaxprs))
    return tree_unflatten(trees[0], outs)


def _plain(what: str, which: int, branches: Sequence[Callable], leaves: Sequence[Any], tree: Any) -> Any:
    """The branch that was chosen. The others are only looked at for the dtype of a weakly typed result."""
    outs, out_tree = plain_choice(what, which, branches[which], tree_unflatten(tree, leaves))
    if any(x.weak_type for x in outs):
        others = [staged(f, tree, types(leaves), what)[0].out_avals for i, f in enumerate(branches) if i != which]
        for i, (x, *avals) in enumerate(zip(outs, *others, strict=False)):
            target = _joined_type([typed(x.aval), *avals])
            if target is not None and target != typed(x.aval):
                outs[i] = convert_element_type(x, target.dtype, weak_type=target.weak_type)
    return tree_unflatten(out_tree, outs)


def _with_consts(jaxpr: Jaxpr, consts: Sequence[Any], captured: dict[int, Any]) -> Jaxpr:
    """A branch that takes the values that any of the branches closes over."""
    own = dict(zip([id(x) for x in consts], jaxpr.in_vars, strict=False))
    leading = [own[i] if i in own else Var(aval_of(x)) for i, x in captured.items()]
    return jaxpr.replace(in_vars=(*leading, *jaxpr.in_vars[len(consts):]))


def _joined(what: str, names: Sequence[str], trees: Sequence[Any], jaxprs: list[Jaxpr]) -> list[Jaxpr]:
    """The branches with their weakly typed results brought to one type. Raises TypeError when they differ otherwise."""
    for name, tree in zip(names[1:], trees[1:], strict=True):
        if tree != trees[0]:
            raise TypeError(message(f"{what}: the branches return different structures",
                                    f"{names[0]} returns {trees[0]}, {name} returns {tree}", "one tree for all branches"))
    targets: list[Any] = []
    wrong = []
    for path, *avals in zip(paths(trees[0]), *[jaxpr.out_avals for jaxpr in jaxprs], strict=True):
        target = _joined_type(avals)
        if target is None:
            other = next((i for i, a in enumerate(avals) if _joined_type([avals[0], a]) is None), 1)
            wrong.append(f"result{path}: {type_text(avals[0])} from {names[0]}, {type_text(avals[other])} from {names[other]}")
        targets.append(target)
    if wrong:
        raise TypeError(message(f"{what}: the branches return different types", "; ".join(wrong),
                                "one shape and dtype for all branches", "x.astype(dtype) or fnp.broadcast_to in a branch"))
    if all(a == t for jaxpr in jaxprs for a, t in zip(jaxpr.out_avals, targets, strict=True)):
        return jaxprs

    def converted(jaxpr: Jaxpr) -> Jaxpr:
        return derived(jaxpr, ("converted", tuple(targets)), lambda *xs: [
            convert_element_type(x, t.dtype, weak_type=t.weak_type)
            for x, t in zip(eval_jaxpr(jaxpr, xs), targets, strict=True)], jaxpr.in_avals, jaxpr.name)

    return [converted(jaxpr) for jaxpr in jaxprs]


def _joined_type(avals: Sequence[ShapedArray]) -> ShapedArray | None:
    """The common type: shapes are equal, and only weak types give way. None when there is none."""
    result = (avals[0].dtype, avals[0].weak_type)
    try:
        for a in avals[1:]:
            result = dtypes.join(result, (a.dtype, a.weak_type))
    except TypeError:
        return None
    if any(a.shape != avals[0].shape or not a.weak_type and a.dtype != result[0] for a in avals):
        return None
    return shaped_array(avals[0].shape, *result)


# ---------------------------------------------------------------- the primitive


def cond_impl(index: Any, *args: Any, branches: tuple[Jaxpr, ...]) -> list[Any]:
    jaxpr = branches[int(buffer(index))]
    return [as_type(x, a) for x, a in zip(eval_jaxpr(jaxpr, args), branches[0].out_avals, strict=True)]


def _known(index: Any) -> bool:
    """The choice is made: rules look at that branch only."""
    return isinstance(index, (DeviceArray, np.generic))


def _union(masks: Sequence[Mask]) -> Mask:
    return tuple([any(marks) for marks in zip(*masks, strict=True)])


def cond_forward(mode: Forward, primals: tuple, dots: tuple, *, branches: tuple[Jaxpr, ...]) -> tuple:
    index, operands, dots = primals[0], primals[1:], dots[mode.order:]
    if _known(index):
        jaxpr = branches[int(buffer(index))]
        outs, out_dots = mode.flat(lambda *xs: eval_jaxpr(jaxpr, xs), operands, dots)
        return tuple([_array(x) for x in outs]), tuple(out_dots)
    active = nonzero(dots)
    mask = _union([mode.program(b, active)[1] for b in branches])
    results = cond_p.bind(index, *operands, *chosen(dots, active),
                          branches=tuple([mode.program(b, active, mask)[0] for b in branches]))
    values, given = split(results, len(branches[0].outs))
    return values, mode.spread(given, mask, values)


def _array(x: Any) -> Any:
    return DeviceArray(x) if isinstance(x, np.generic) else x


def cond_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *,
                   branches: tuple[Jaxpr, ...]) -> tuple[tuple, tuple]:
    """A choice that is made is differentiated in place. Else each branch gives the residuals of all: zeros for others'."""
    index, operands = primals[0], primals[1:]
    tangents = tangents[1:]
    if _known(index):
        with current(trace):
            results = eval_jaxpr(branches[int(buffer(index))],
                                 [trace.join(x, t) for x, t in zip(operands, tangents, strict=True)])
        pairs = [trace.split(_array(x)) for x in results]
        return tuple([x for x, _ in pairs]), tuple([
            Zero(tangent_aval(aval_of(x))) if i is None else LinearTracer(trace.linear, i, aval_of(x)) for x, i in pairs])
    active = nonzero(tangents)
    primal, linear, reused, mask = _linearized(branches, active)
    outs, residuals = split(cond_p.bind(index, *operands, branches=primal), len(mask))
    dots = trace.linear.record(cond_p, (index, *[operands[i] for i in reused], *residuals, *chosen(tangents, active)),
                               {"branches": linear}) if any(mask) else ()
    return outs, spread(dots, mask, outs)


def _linearized(branches: tuple[Jaxpr, ...], active: Mask) -> tuple[tuple, tuple, list[int], Mask]:
    """The primal branches, the linear branches, the operands that are residuals, and the mask of the tangents.

    Residuals of the same type share a slot, since only one branch runs.
    """
    key = ("cond linearize", branches, active)
    cache = branches[0].cache
    if key in cache:
        return cache[key]
    parts = [linearize_jaxpr(b, active) for b in branches]
    mask = _union([found for _, _, found in parts])
    count = len(mask)
    operand_of = [{v: i for i, v in enumerate(primal.in_vars)} for primal, _, _ in parts]
    reused = sorted({place[r] for (primal, _, _), place in zip(parts, operand_of, strict=True)
                     for r in primal.outs[count:] if r in place})
    slots: list[ShapedArray] = []
    sources: list[list[int]] = []  # for each branch and residual: which residual input of the linear branches it is
    for (primal, linear, _), place in zip(parts, operand_of, strict=True):
        taken: set[int] = set()
        own = []
        for residual, v in zip(primal.outs[count:], linear.in_vars, strict=False):
            if residual in place:
                own.append(reused.index(place[residual]))
                continue
            slot = next((i for i, a in enumerate(slots) if a == v.aval and i not in taken), len(slots))
            if slot == len(slots):
                slots.append(v.aval)
            taken.add(slot)
            own.append(len(reused) + slot)
        sources.append(own)
    tangent_types = chosen(branches[0].in_avals, active)
    in_types = [branches[0].in_avals[i] for i in reused] + slots
    primals = [derived(primal, ("cond residuals", tuple(slots), tuple(own)), _primal_branch(primal, count, own, len(reused),
                       slots), primal.in_avals, primal.name) for (primal, _, _), own in zip(parts, sources, strict=True)]
    linears = [derived(linear, ("cond residuals", tuple(in_types), tuple(own), mask), _linear_branch(
        linear, own, len(in_types), found, mask, branches[0].out_avals), [*in_types, *tangent_types], linear.name)
        for (_, linear, found), own in zip(parts, sources, strict=True)]
    cache[key] = tuple(primals), tuple(linears), reused, mask
    return cache[key]


def _primal_branch(primal: Jaxpr, count: int, own: list[int], reused: int, slots: list[ShapedArray]) -> Callable:
    def function(*args: Any) -> list[Any]:
        outs = eval_jaxpr(primal, args)
        filled = {i - reused: r for i, r in zip(own, outs[count:], strict=True) if i >= reused}
        return [*outs[:count], *[filled[i] if i in filled else zeros(a) for i, a in enumerate(slots)]]

    return function


def _linear_branch(linear: Jaxpr, own: list[int], residuals: int, found: Mask, mask: Mask,
                   avals: Sequence[ShapedArray]) -> Callable:
    def function(*args: Any) -> list[Any]:
        dots = iter(eval_jaxpr(linear, [*[args[i] for i in own], *args[residuals:]]))
        tangents = [next(dots) if there else Zero(tangent_aval(a)) for there, a in zip(found, avals, strict=True)]
        return [instantiate(t) for t in chosen(tangents, mask)]

    return function


def cond_transpose(cotangents: tuple, index: Any, *args: Any, branches: tuple[Jaxpr, ...]) -> tuple:
    linear = tuple([isinstance(x, Linear) for x in args])
    given = nonzero(cotangents)
    parts = [transpose_jaxpr(b, linear, given) for b in branches]
    mask = _union([found for _, found in parts])
    avals = chosen(branches[0].in_avals, linear)

    def with_zeros(program: Jaxpr, found: Mask) -> Jaxpr:
        def function(*xs: Any) -> list[Any]:
            cts = iter(eval_jaxpr(program, xs))
            return chosen([next(cts) if there else zeros(a) if wanted else None
                           for there, wanted, a in zip(found, mask, avals, strict=True)], mask)

        return derived(program, ("with zeros", mask), function, program.in_avals, program.name)

    results = iter(cond_p.bind(index, *[x for x in args if not isinstance(x, Linear)], *chosen(cotangents, given),
                               branches=tuple([with_zeros(*part) for part in parts])) if any(mask) else ())
    wanted = iter(mask)
    return (None, *[next(results) if is_linear and next(wanted) else None for is_linear in linear])


def cond_batch(axis: Axis, args: tuple, axes: tuple, *, branches: tuple[Jaxpr, ...]) -> tuple:
    (index, *operands), (place, *places) = args, axes
    if place is not None and any(map(has_effects, branches)):
        return one_by_one(cond_p, axis, args, axes, {"branches": branches})
    if place is not None:
        return _select_branches(axis, index, operands, places, branches)
    if _known(index):
        jaxpr = branches[int(buffer(index))]
        values, found = vmap_flat(lambda *xs: eval_jaxpr(jaxpr, xs), axis, operands, places)
        return tuple([_array(x) for x in values]), tuple(found)
    batched = tuple([d is not None for d in places])
    mask = _union([batch_jaxpr(b, axis, batched)[1] for b in branches])
    outs = cond_p.bind(index, *[x if d is None else moveaxis(x, d, 0) for x, d in zip(operands, places, strict=True)],
                       branches=tuple([batch_jaxpr(b, axis, batched, mask)[0] for b in branches]))
    return outs, tuple([0 if b else None for b in mask])


def _select_branches(axis: Axis, index: Any, operands: Sequence[Any], places: Sequence[int | None],
                     branches: tuple[Jaxpr, ...]) -> tuple:
    """Each example has its own choice: a branch runs on the whole batch if any example takes it.

    The examples that do not take it lend their places to one that does, so that nothing they hold can go wrong there. A branch
    in which nothing can go wrong but NaNs, which are not selected, is not worth asking whether any example takes it.
    """
    batched = tuple([d is not None for d in places])
    values = [x if d is None else moveaxis(x, d, 0) for x, d in zip(operands, places, strict=True)]
    results: Sequence[Any] = ()
    for number, jaxpr in enumerate(branches):
        taken = eq(index, number)
        if _is_arithmetic(jaxpr):
            outs = _on_all(jaxpr, axis, batched, taken, values)
        else:
            outs = cond_p.bind(convert_element_type(reduce_or(taken, (0,)), _INDEX), taken, *values, branches=(
                _for_some(jaxpr, axis, batched, False), _for_some(jaxpr, axis, batched, True)))
        results = [where_marked(taken, new, old) for new, old in zip(outs, results, strict=True)] if number else outs
    return tuple(results), (0,) * len(results)


def _is_arithmetic(jaxpr: Jaxpr) -> bool:
    """Whether a program has neither effects nor errors, and costs what its sizes say."""
    if "arithmetic" not in jaxpr.cache:
        jaxpr.cache["arithmetic"] = all(
            _is_arithmetic(e.params["jaxpr"]) if e.params.keys() == {"jaxpr"} and e.primitive.inline is not None
            else e.primitive.kind in _ARITHMETIC for e in jaxpr.equations)
    return jaxpr.cache["arithmetic"]


def _on_all(jaxpr: Jaxpr, axis: Axis, batched: Mask, taken: Any, values: Sequence[Any]) -> Sequence[Any]:
    """A branch on the whole batch. If no example takes it, no derivative passes to what all of them share."""
    program, _ = batch_jaxpr(jaxpr, axis, batched, True)
    own = iter(lent(taken, chosen(values, batched)))
    some = None
    args = []
    for x, is_batched in zip(values, batched, strict=True):
        if not is_batched and dtypes.is_inexact(x.dtype):
            some = reduce_or(taken, (0,)) if some is None else some
            x = select_n_p.bind(broadcast_to(some, x.shape), stop_gradient(x), x)[0]
        args.append(next(own) if is_batched else x)
    return eval_jaxpr(program, args)


def _for_some(jaxpr: Jaxpr, axis: Axis, batched: Mask, runs: bool) -> Jaxpr:
    """A branch for those examples of a batch that a mask, its first input, marks; or zeros if none is marked."""
    program, _ = batch_jaxpr(jaxpr, axis, batched, True)

    def function(taken: Any, *values: Any) -> list[Any]:
        if not runs:
            return [zeros(shaped_array(a.shape, a.dtype)) for a in program.out_avals]
        own = iter(lent(taken, chosen(values, batched)))
        return eval_jaxpr(program, [next(own) if b else x for x, b in zip(values, batched, strict=True)])

    return derived(program, ("for some", batched, runs), function,
                   [shaped_array((axis.size,), np.dtype("bool")), *program.in_avals], jaxpr.name)


def cond_depends(marked: Mask, *, branches: tuple[Jaxpr, ...]) -> Mask:
    return _union([depends(b, marked[1:]) for b in branches])


def cond_prune(used: Mask, *, branches: tuple[Jaxpr, ...]) -> tuple[Mask, Mask, dict]:
    """The results used, and the operands that any branch needs for them."""
    pruned = [prune(b, used) for b in branches]
    needed = _union([inputs for _, inputs in pruned])
    return (True, *needed), used, {"branches": tuple([without_inputs(b, needed) for b, _ in pruned])}


cond_p = Primitive(
    "cond", Kind.CONTROL, shape=lambda *avals, branches: branches[0].out_avals, impl=cond_impl,
    jvp=partial(cond_forward, JVP), taylor=taylor_rule(cond_forward), transpose=cond_transpose,
    batch=cond_batch, linearize=cond_linearize, depends=cond_depends, prune=cond_prune,
    code=lambda branches: Choice(branches))
