"""``checkpoint``: reverse mode keeps a function's inputs and computes the rest again when it needs it.

In: a function. Out: the same function, whose residuals are its arguments alone. The price is one more forward pass.

    { lambda ; a:f64[]. let b:f64[] = checkpoint[jaxpr={ lambda ; a:f64[]. let ... }] a in (b,) }

Griewank and Walther, "Revolve", ACM Transactions on Mathematical Software 26 (2000).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from funcgrad.control.policies import Policy, resolved, told
from funcgrad.core.array import aval_of
from funcgrad.core.jaxpr import Jaxpr, has_effects
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import interpret, stage
from funcgrad.core.trace import runs_plainly
from funcgrad.core.types import Zero, tangent_aval
from funcgrad.errors import message
from funcgrad.passes.dead_code import prune, without_effects
from funcgrad.transforms.arguments import FlatFunction, Selection, flatten_args, function_name, wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward, jvp_jaxpr, spread
from funcgrad.transforms.linearize import LinearizeTrace
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_call, vjp_jaxpr
from funcgrad.transforms.vmap import Axis, batch_call, batch_jaxpr, to_front
from funcgrad.tree import tree_unflatten


def checkpoint(fun: Callable, *, prevent_cse: bool = True, policy: Policy | None = None,
               static_argnums: int | Sequence[int] = (), static_argnames: str | Sequence[str] = ()) -> Callable:
    """fun with the same results and derivatives, whose intermediate values are recomputed in the backward pass.

    Args:
      fun: a function of trees of arrays; it may close over traced values.
      prevent_cse: accepted for compatibility; what is recomputed is never shared with the forward pass.
      policy: which intermediate values are kept all the same, one of ``checkpoint_policies`` or a function
        ``policy(primitive, *avals, **params) -> bool``. Default: none.
      static_argnums, static_argnames: arguments that are no arrays, by position or name.

    A chain of n layers, each under ``checkpoint``, keeps the inputs of the layers instead of all that they compute; a
    chain of sqrt(n) segments, each under ``checkpoint``, keeps O(sqrt(n)) values.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> float(fg.grad(fg.checkpoint(lambda x: fnp.sin(fnp.sin(x))))(0.0))
    1.0
    """
    check_callable(fun, "checkpoint")
    fixed = Selection(fun, None if static_argnums == () else static_argnums, static_argnames or None)

    @wraps(fun, "checkpoint")
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        static = fixed.positions(len(args))
        given = [x for i, x in enumerate(args) if i not in static]
        named = {name: x for name, x in kwargs.items() if name not in fixed.names}

        def dynamic(a: Sequence[Any], k: dict) -> Any:
            rest = iter(a)
            return fun(*[x if i in static else next(rest) for i, x in enumerate(args)], **{**kwargs, **k})

        leaves, tree = flatten_args(fun, given, "checkpoint", named)
        if runs_plainly():
            return dynamic(*tree_unflatten(tree, leaves))
        flat = FlatFunction(dynamic, tree, "checkpoint")
        with quiet():
            jaxpr, captured = stage(flat, [x.aval for x in leaves], function_name(fun), "checkpoint")
            return tree_unflatten(flat.out_tree, checkpoint_p.bind(*captured, *leaves, jaxpr=jaxpr, policy=policy))

    return checkpointed


def checkpoint_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Jaxpr,
                         policy: Policy | None = None) -> tuple[tuple, tuple]:
    """The linear part takes the primals as its residuals, and what a policy keeps: the rest of it, it computes itself."""
    count = len(jaxpr.outs)
    first = jaxpr
    if policy is not None:
        first, jaxpr = told(jaxpr, policy)
    results = checkpoint_p.bind(*primals, jaxpr=first, policy=policy)
    outs, kept = tuple(results[:count]), tuple(results[count:])
    primals = (*primals, *kept)
    tangents = (*tangents, *[Zero(tangent_aval(aval_of(x))) for x in kept])
    active = tuple([type(t) is not Zero for t in tangents])
    mask = tangent_jaxpr(jaxpr, active)[1]
    dots = trace.linear.record(checkpoint_linear_p, (*primals, *[t for t in tangents if type(t) is not Zero]),
                               {"jaxpr": jaxpr, "active": active})
    return outs, spread(dots, mask, outs)


def checkpoint_forward(mode: Forward, primals: tuple, dots: tuple, *, jaxpr: Jaxpr,
                       policy: Policy | None) -> tuple[tuple, tuple]:
    return mode.call(checkpoint_p, primals, dots, jaxpr, policy=policy)


checkpoint_p = Primitive(
    "checkpoint", Kind.CONTROL, shape=lambda *avals, jaxpr, policy: jaxpr.out_avals,
    impl=lambda *args, jaxpr, policy: interpret(jaxpr, args),
    jvp=partial(checkpoint_forward, JVP), taylor=taylor_rule(checkpoint_forward),
    linearize=checkpoint_linearize,
    transpose=lambda cotangents, *args, jaxpr, policy:
        transpose_call(checkpoint_p, cotangents, args, jaxpr, {"policy": policy}),
    batch=lambda axis, args, axes, *, jaxpr, policy: batch_call(checkpoint_p, axis, args, axes, jaxpr, {"policy": policy}),
    inline=lambda *avals, jaxpr, policy: jaxpr, recomputes=True)

# The linear part: primals and tangents in, tangents out. Transposed, it is the forward and the backward pass in one.


def tangent_jaxpr(jaxpr: Jaxpr, active: tuple[bool, ...]) -> tuple[Jaxpr, tuple[bool, ...]]:
    """The program from primals and active tangents to the tangents of the results that are not zero.

    What it computes again has no effects again. Raises TypeError if an effect gives a result.
    """
    key = ("tangents", active)
    if key not in jaxpr.cache:
        silent = without_effects(jaxpr)
        if has_effects(silent):
            raise TypeError(message("differentiation: the program would be computed again, with its effects",
                                    "an io_callback whose result is used, under checkpoint or in a while_loop", None,
                                    "pure_callback, if the function has no side effects, or the call outside of it"))
        program, mask = jvp_jaxpr(silent, active)
        jaxpr.cache[key] = prune(resolved(program), [i >= len(mask) for i in range(len(program.outs))])[0], mask
    return jaxpr.cache[key]


def checkpoint_linear_transpose(cotangents: tuple, *args: Any, jaxpr: Jaxpr, active: tuple[bool, ...]) -> tuple:
    count = len(active)
    given = iter(cotangents)
    cts = [next(given) if nz else None for nz in tangent_jaxpr(jaxpr, active)[1]]
    nonzero = tuple([ct is not None and type(ct) is not Zero for ct in cts])
    program, mask = vjp_jaxpr(without_effects(jaxpr), active, nonzero)
    program = prune(resolved(program))[0]
    results = iter(checkpoint_p.bind(*args[:count], *[ct for ct, nz in zip(cts, nonzero, strict=True) if nz], jaxpr=program,
                                     policy=None))
    return (*[None] * count, *[next(results) if m else None for m in mask])


def checkpoint_linear_batch(axis: Axis, args: tuple, axes: tuple, *, jaxpr: Jaxpr, active: tuple[bool, ...]) -> tuple:
    count = len(active)
    places = iter(axes[count:])
    tangent_axes = [next(places) if on else None for on in active]
    batched = tuple([d is not None or t is not None for d, t in zip(axes, tangent_axes, strict=False)])
    values = [to_front(x, d, axis.size) if b else x for x, d, b in zip(args, axes, (
        *batched, *[b for b, on in zip(batched, active, strict=True) if on]), strict=True)]
    outs = checkpoint_linear_p.bind(*values, jaxpr=batch_jaxpr(jaxpr, axis, batched, True)[0], active=active)
    return outs, (0,) * len(outs)


def checkpoint_linear_forward(mode: Forward, primals: tuple, dots: tuple, *, jaxpr: Jaxpr,
                              active: tuple[bool, ...]) -> tuple[tuple, tuple]:
    return mode.call(checkpoint_p, primals, dots, tangent_jaxpr(jaxpr, active)[0], policy=None)


checkpoint_linear_p = Primitive(
    "checkpoint_linear", Kind.CONTROL,
    shape=lambda *avals, jaxpr, active: tangent_jaxpr(jaxpr, active)[0].out_avals,
    impl=lambda *args, jaxpr, active: interpret(tangent_jaxpr(jaxpr, active)[0], args),
    jvp=partial(checkpoint_linear_forward, JVP), taylor=taylor_rule(checkpoint_linear_forward),
    linearize=lambda trace, primals, tangents, *, jaxpr, active:
        checkpoint_linearize(trace, primals, tangents, jaxpr=tangent_jaxpr(jaxpr, active)[0]),
    transpose=checkpoint_linear_transpose, batch=checkpoint_linear_batch,
    inline=lambda *avals, jaxpr, active: tangent_jaxpr(jaxpr, active)[0], recomputes=True)
