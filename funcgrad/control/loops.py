"""``while_loop`` and ``fori_loop``.

In: functions of the loop's state, a tree of arrays. Out: the last state. A loop whose number of steps is known before
it runs is a ``scan``, with reverse mode; any other has forward mode only, since its residuals have no known size.

    { lambda ; a:f64[]. let b:f64[] = while[cond_jaxpr={ lambda ; a:f64[]. let b:bool[] = lt a 10.0:f64[] in (b,) }
        body_jaxpr={ lambda ; a:f64[]. let b:f64[] = mul a 2.0:f64[] in (b,) } cond_consts=0 body_consts=0] a in (b,) }
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from funcgrad.control.checkpoint import tangent_jaxpr
from funcgrad.control.plain import plain_while
from funcgrad.control.programs import (
    COMPILED_FROM,
    Mask,
    as_type,
    buffer,
    check_carry,
    chosen,
    derived,
    either,
    fixed_point,
    interleaved,
    lent,
    nonzero,
    promoted_carry,
    reordered,
    split,
    staged,
    type_text,
    types,
    where_marked,
)
from funcgrad.control.scan import one_by_one, scan
from funcgrad.core.array import DeviceArray, describe
from funcgrad.core.jaxpr import Jaxpr, Var, has_effects
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import eval_jaxpr, execute, may_compile
from funcgrad.core.structure import While
from funcgrad.core.trace import runs_plainly
from funcgrad.core.types import ShapedArray
from funcgrad.errors import ReverseModeError, message
from funcgrad.ops.elementwise import add, bitwise_and, lt
from funcgrad.ops.promotion import check_arg, promote_args
from funcgrad.ops.structural import instantiate, moveaxis, sum_over
from funcgrad.passes.dead_code import prune, without_inputs
from funcgrad.transforms.arguments import flatten_args, function_name
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward, spread
from funcgrad.transforms.linearize import LinearizeTrace, depends
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.vmap import Axis, batch_call, batch_jaxpr, to_front
from funcgrad.tree import tree_unflatten

# ---------------------------------------------------------------- user functions


def while_loop(cond_fun: Callable, body_fun: Callable, init_val: Any) -> Any:
    """The first of ``init_val, body_fun(init_val), ...`` for which ``cond_fun`` is false.

    Args:
      cond_fun: from the state to a boolean scalar.
      body_fun: from the state to the next one, of the same tree, shapes and dtypes.
      init_val: the first state, a tree of arrays. A weakly typed leaf takes the dtype that it has after a step.

    Both functions are staged once and may close over traced values. Forward mode and ``vmap`` work (a batch runs until
    all its examples are done); reverse mode raises. Raises TypeError when the state changes its type.

    >>> import funcgrad as fg
    >>> fg.lax.while_loop(lambda x: x < 100, lambda x: x * 2, 1)
    Array(128, dtype=int64, weak_type=True)
    """
    check_callable(cond_fun, "while_loop")
    check_callable(body_fun, "while_loop")
    if runs_plainly():
        return plain_while(cond_fun, body_fun, init_val)
    leaves, tree = flatten_args(body_fun, (init_val,), "while_loop")
    state_tree = tree.children()[0]
    with quiet():
        while True:
            avals = types(leaves)
            body, body_consts, out_tree = staged(body_fun, tree, avals, "while_loop")
            if out_tree != state_tree:
                check_carry("while_loop body's", state_tree, out_tree, (), ())
            promoted = promoted_carry(leaves, avals, body.out_avals)
            if promoted is None:
                break
            leaves = promoted
        check_carry("while_loop body's", state_tree, out_tree, avals, body.out_avals)
        condition, cond_consts, cond_tree = staged(cond_fun, tree, avals, "while_loop")
        outs = condition.out_avals
        if cond_tree.num_leaves != 1 or cond_tree.children() or outs[0].shape or outs[0].dtype.kind != "b":
            found = type_text(outs[0]) if len(outs) == 1 and not cond_tree.children() else cond_tree
            raise TypeError(message(f"while_loop: {function_name(cond_fun)} must return a boolean scalar", found, "bool[]",
                                    "a comparison, or fnp.any(...), fnp.all(...) of one"))
        results = while_p.bind(*cond_consts, *body_consts, *leaves, cond_jaxpr=condition, body_jaxpr=body,
                               cond_consts=len(cond_consts), body_consts=len(body_consts))
    return tree_unflatten(state_tree, results)


def fori_loop(lower: Any, upper: Any, body_fun: Callable, init_val: Any, *, unroll: int | bool | None = None) -> Any:
    """The state after ``state = body_fun(i, state)`` for i from ``lower`` to ``upper`` (exclusive).

    Bounds that are known while tracing (Python and NumPy integers, concrete arrays) make it a ``scan``, which has
    reverse mode; traced bounds make it a ``while_loop``. ``unroll`` is as in ``scan``, for known bounds only.

    >>> import funcgrad as fg
    >>> fg.lax.fori_loop(0, 5, lambda i, total: total + i, 0)
    Array(10, dtype=int64, weak_type=True)
    """
    check_callable(body_fun, "fori_loop")
    bounds = [_bound("lower", lower), _bound("upper", upper)]
    strong = {a.dtype for a in bounds if not a.weak_type}
    if len(strong) > 1:
        raise TypeError(message("fori_loop: the bounds have different types",
                                f"lower is {describe(lower)}, upper is {describe(upper)}", "integers of one dtype",
                                "lower.astype(upper.dtype)"))
    if _is_concrete(lower) and _is_concrete(upper):
        first, last = int(buffer(lower)), int(buffer(upper))
        numbers = DeviceArray(np.arange(first, max(first, last)), True)  # a counter takes the dtype of what it meets

        def step(state: Any, i: Any) -> tuple:
            return body_fun(i, state), None

        step.__name__ = function_name(body_fun)
        return scan(step, init_val, numbers, unroll=1 if unroll is None else unroll)[0]
    if unroll is not None:
        raise ValueError(message("fori_loop: unroll needs bounds that are known while tracing",
                                 f"lower is {describe(lower)}, upper is {describe(upper)}", "integers",
                                 "unroll=None, or static bounds"))
    first, last = promote_args("fori_loop", (lower, upper))

    def advance(state: tuple) -> tuple:
        i, end, value = state
        return add(i, 1), end, body_fun(i, value)

    advance.__name__ = function_name(body_fun)
    return while_loop(lambda state: lt(state[0], state[1]), advance, (first, last, init_val))[2]


def _bound(name: str, x: Any) -> ShapedArray:
    aval = check_arg("fori_loop", x)
    if aval.shape or aval.dtype.kind not in "iu":
        raise TypeError(message(f"fori_loop: {name} must be an integer scalar", describe(x), "int64[]",
                                "an int, or an integer array without axes"))
    return aval


def _is_concrete(x: Any) -> bool:
    return isinstance(x, (int, np.integer, np.ndarray)) or isinstance(x, DeviceArray)


# ---------------------------------------------------------------- the primitive


def while_shape(*avals: ShapedArray, body_jaxpr: Jaxpr, body_consts: int, **params: Any) -> tuple[ShapedArray, ...]:
    return body_jaxpr.in_avals[body_consts:]


def while_impl(*args: Any, cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr, cond_consts: int, body_consts: int) -> list[Any]:
    """The loop itself; one that has become long goes on compiled."""
    for_cond, for_body, first = split(args, cond_consts, body_consts)
    state: Sequence[Any] = first
    steps = 0
    while buffer(eval_jaxpr(cond_jaxpr, (*for_cond, *state))[0]):
        if steps == COMPILED_FROM and may_compile():
            rest = _program(cond_jaxpr, body_jaxpr, cond_consts, body_consts, types(args))
            return execute(rest, (*for_cond, *for_body, *state))
        state = eval_jaxpr(body_jaxpr, (*for_body, *state))
        steps += 1
    return [as_type(x, a) for x, a in zip(state, body_jaxpr.in_avals[body_consts:], strict=True)]


def _program(cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr, cond_consts: int, body_consts: int, avals: list[ShapedArray]) -> Jaxpr:
    """A program that is nothing but a loop."""
    return derived(body_jaxpr, ("loop", cond_jaxpr, cond_consts, body_consts), lambda *xs: while_p.bind(
        *xs, cond_jaxpr=cond_jaxpr, body_jaxpr=body_jaxpr, cond_consts=cond_consts, body_consts=body_consts), avals,
        body_jaxpr.name)


def while_forward(mode: Forward, primals: tuple, dots: tuple, *, cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr, cond_consts: int,
                  body_consts: int) -> tuple:
    """The dots travel with the state; the condition does not look at them."""
    order = mode.order
    _, const_dots, state_dots = split(dots, order * cond_consts, order * body_consts)
    const_mask = nonzero(const_dots)

    def step(mask: Mask) -> tuple[Any, Mask]:
        program, found = mode.program(body_jaxpr, (*const_mask, *mask), mask)
        return program, found

    program, mask = fixed_point(step, nonzero(state_dots))
    for_cond, for_body, state = split(primals, cond_consts, body_consts)
    count = len(state)
    body = reordered(program, interleaved((body_consts, count), (const_mask, mask)), range(count + sum(mask)))
    results = while_p.bind(
        *for_cond, *for_body, *chosen(const_dots, const_mask), *state, *[instantiate(t) for t in chosen(state_dots, mask)],
        cond_jaxpr=_with_inputs(cond_jaxpr, chosen(mode.types(body_jaxpr.in_avals[body_consts:]), mask)), body_jaxpr=body,
        cond_consts=cond_consts, body_consts=body_consts + sum(const_mask))
    outs = results[:count]
    return outs, mode.spread(results[count:], mask, outs)


def _with_inputs(jaxpr: Jaxpr, avals: list[ShapedArray]) -> Jaxpr:
    """The same program with more inputs, which it does not use."""
    key = ("with inputs", tuple(avals))
    if key not in jaxpr.cache:
        jaxpr.cache[key] = jaxpr.replace(in_vars=(*jaxpr.in_vars, *[Var(a) for a in avals]))
    return jaxpr.cache[key]


def while_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, **params: Any) -> tuple[tuple, tuple]:
    """The linear part is forward mode: it runs the loop again, with its tangents."""
    outs = while_p.bind(*primals, **params)
    key = ("while", params["cond_jaxpr"], params["cond_consts"])
    loop = derived(params["body_jaxpr"], key, lambda *xs: while_p.bind(*xs, **params), types(primals), "while_loop")
    return outs, forward_only(trace, primals, tangents, loop, outs)


def while_batch(axis: Axis, args: tuple, axes: tuple, *, cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr, cond_consts: int,
                body_consts: int) -> tuple:
    cond_mask, body_mask, state_mask = split([d is not None for d in axes], cond_consts, body_consts)

    def step(mask: Mask) -> tuple[Any, Mask]:
        condition, (each,) = batch_jaxpr(cond_jaxpr, axis, (*cond_mask, *mask))
        if each:  # the examples stop at different times, so all of the state differs
            mask = (True,) * len(mask)
            condition, _ = batch_jaxpr(cond_jaxpr, axis, (*cond_mask, *mask))
        body, found = batch_jaxpr(body_jaxpr, axis, (*body_mask, *mask), mask)
        return (condition, body, each), found

    (condition, body, each), mask = fixed_point(step, state_mask)
    if each and (has_effects(cond_jaxpr) or has_effects(body_jaxpr)):
        return one_by_one(while_p, axis, args, axes, dict(cond_jaxpr=cond_jaxpr, body_jaxpr=body_jaxpr, cond_consts=cond_consts,
                                                          body_consts=body_consts))
    places = split(axes, cond_consts, body_consts)
    for_cond, for_body, state = split(args, cond_consts, body_consts)
    for_cond, for_body = (tuple([x if d is None else moveaxis(x, d, 0) for x, d in zip(xs, ds, strict=True)])
                          for xs, ds in zip((for_cond, for_body), places[:2], strict=True))
    state = tuple([to_front(x, d, axis.size) if b else x for x, d, b in zip(state, places[2], mask, strict=True)])
    if not each:
        outs = while_p.bind(*for_cond, *for_body, *state, cond_jaxpr=condition, body_jaxpr=body, cond_consts=cond_consts,
                            body_consts=body_consts)
        return outs, tuple([0 if b else None for b in mask])
    running, = eval_jaxpr(condition, (*for_cond, *state))
    outs = while_p.bind(*for_cond, *for_body, running, *state, cond_jaxpr=_any_running(condition, cond_consts),
                        body_jaxpr=_masked_body(condition, body, cond_consts, body_consts), cond_consts=0,
                        body_consts=cond_consts + body_consts)
    return outs[1:], (0,) * len(mask)


def _any_running(condition: Jaxpr, cond_consts: int) -> Jaxpr:
    """The condition of a batch whose examples have conditions of their own, kept in the state."""
    state = condition.in_avals[cond_consts:]
    return derived(condition, ("any running", cond_consts), lambda running, *_: [sum_over(running, (0,))],
                   [condition.out_avals[0], *state], condition.name)


def _masked_body(condition: Jaxpr, body: Jaxpr, cond_consts: int, body_consts: int) -> Jaxpr:
    """One step of those examples that are not done; the others keep their state."""

    def function(*args: Any) -> list[Any]:
        for_cond, for_body, (running,), state = split(args, cond_consts, body_consts, 1)
        after = eval_jaxpr(body, (*for_body, *lent(running, state)))
        after = [where_marked(running, new, old) for old, new in zip(state, after, strict=True)]
        going, = eval_jaxpr(condition, (*for_cond, *after))
        return [bitwise_and(running, going), *after]  # so whoever reads the program sees that an example that is done stays so

    avals = [*condition.in_avals[:cond_consts], *body.in_avals[:body_consts], condition.out_avals[0],
             *body.in_avals[body_consts:]]
    return derived(body, ("masked", condition, cond_consts, body_consts), function, avals, body.name)


def while_depends(marked: Mask, *, cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr, cond_consts: int, body_consts: int) -> Mask:
    _, consts, state = split(marked, cond_consts, body_consts)
    return fixed_point(lambda mask: (None, depends(body_jaxpr, (*consts, *mask))), state)[1]


def no_reverse_mode(*args: Any, **params: Any) -> tuple:
    raise ReverseModeError(message(
        "reverse mode through while_loop: the number of its steps is not known before it runs",
        "a while_loop, or a fori_loop with traced bounds, on a path that is differentiated",
        "forward mode (jvp, jacfwd), or a loop of known length",
        "use scan or fori_loop with static trip count, or custom_root for a fixed point"))


def while_prune(used: Mask, *, cond_jaxpr: Jaxpr, body_jaxpr: Jaxpr, cond_consts: int,
                body_consts: int) -> tuple[Mask, Mask, dict]:
    """The state that the results or the condition need, and what that needs in turn."""
    condition, needed = prune(cond_jaxpr)
    for_cond, looked_at = split(needed, cond_consts)

    def step(mask: Mask) -> tuple[Any, Mask]:
        program, needed = prune(body_jaxpr, mask)
        return (program, needed[:body_consts]), needed[body_consts:]

    (body, for_body), state = fixed_point(step, either(used, looked_at))
    return (*for_cond, *for_body, *state), state, {
        "cond_jaxpr": without_inputs(condition, (*for_cond, *state)), "body_jaxpr": without_inputs(body, (*for_body, *state)),
        "cond_consts": sum(for_cond), "body_consts": sum(for_body)}


while_p = Primitive(
    "while", Kind.CONTROL, while_shape, while_impl, partial(while_forward, JVP), no_reverse_mode, while_batch,
    taylor=taylor_rule(while_forward), linearize=while_linearize, depends=while_depends, prune=while_prune,
    code=lambda cond_jaxpr, body_jaxpr, cond_consts, body_consts: While(cond_jaxpr, body_jaxpr, cond_consts, body_consts))

# The linear part of a loop: a program from primals and tangents to tangents, linear in the latter.


def forward_only(trace: LinearizeTrace, primals: tuple, tangents: tuple, jaxpr: Jaxpr, outs: tuple) -> tuple:
    """Records the forward mode of a program on the tape."""
    active = nonzero(tangents)
    program, mask = tangent_jaxpr(jaxpr, active)
    dots = trace.linear.record(forward_only_p, (*primals, *chosen(tangents, active)),
                               {"jaxpr": program, "active": active}) if any(mask) else ()
    return spread(dots, mask, outs)


def forward_only_forward(mode: Forward, primals: tuple, dots: tuple, *, jaxpr: Jaxpr, active: Mask) -> tuple:
    outs, out_dots = mode.flat(lambda *xs: eval_jaxpr(jaxpr, xs), primals, dots)
    return tuple(outs), tuple(out_dots)


def forward_only_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Jaxpr,
                           active: Mask) -> tuple:
    outs = forward_only_p.bind(*primals, jaxpr=jaxpr, active=active)
    return outs, forward_only(trace, primals, tangents, jaxpr, outs)


forward_only_p = Primitive(
    "while_tangent", Kind.CONTROL, shape=lambda *avals, jaxpr, active: jaxpr.out_avals,
    impl=lambda *args, jaxpr, active: eval_jaxpr(jaxpr, args), jvp=partial(forward_only_forward, JVP),
    taylor=taylor_rule(forward_only_forward), transpose=no_reverse_mode,
    batch=lambda axis, args, axes, *, jaxpr, active: batch_call(forward_only_p, axis, args, axes, jaxpr,
                                                                {"active": active}),
    linearize=forward_only_linearize, inline=lambda *avals, jaxpr, active: jaxpr)
