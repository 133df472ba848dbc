"""``checkpoint``: reverse mode keeps a function's inputs and computes the rest again when it needs it.

In: a function. Out: the same function, whose residuals are its arguments alone. The price is one more forward pass.

    { lambda ; a:f64[]. let b:f64[] = checkpoint[jaxpr={ lambda ; a:f64[]. let ... }] a in (b,) }

Griewank and Walther, "Revolve", ACM Transactions on Mathematical Software 26 (2000).
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.primitive import Kind, Primitive
from funcgrad.core.stage import interpret, stage
from funcgrad.core.types import Zero
from funcgrad.passes.dead_code import prune
from funcgrad.transforms.arguments import FlatFunction, flatten_args, function_name, wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import JVP, Forward, jvp_jaxpr, spread
from funcgrad.transforms.linearize import LinearizeTrace
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_call, vjp_jaxpr
from funcgrad.transforms.vmap import Axis, batch_call, batch_jaxpr, to_front
from funcgrad.tree import tree_unflatten


def checkpoint(fun: Callable) -> Callable:
    """fun with the same results and derivatives, whose intermediate values are recomputed in the backward pass.

    A chain of n layers, each under ``checkpoint``, keeps the inputs of the layers instead of all that they compute.
    The arguments of fun are trees of arrays; it may close over traced values.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> float(fg.grad(fg.checkpoint(lambda x: fnp.sin(fnp.sin(x))))(0.0))
    1.0
    """
    check_callable(fun, "checkpoint")

    @wraps(fun, "checkpoint")
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = flatten_args(fun, args, "checkpoint", kwargs)
        flat = FlatFunction(lambda a, k: fun(*a, **k), tree, "checkpoint")
        with quiet():
            jaxpr, captured = stage(flat, [x.aval for x in leaves], function_name(fun), "checkpoint")
            return tree_unflatten(flat.out_tree, checkpoint_p.bind(*captured, *leaves, jaxpr=jaxpr))

    return checkpointed


def checkpoint_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, jaxpr: Jaxpr) -> tuple[tuple, tuple]:
    """The linear part takes the primals as its residuals: what it needs of the forward pass it computes itself."""
    outs = checkpoint_p.bind(*primals, jaxpr=jaxpr)
    active = tuple([type(t) is not Zero for t in tangents])
    mask = tangent_jaxpr(jaxpr, active)[1]
    dots = trace.linear.record(checkpoint_linear_p, (*primals, *[t for t in tangents if type(t) is not Zero]),
                               {"jaxpr": jaxpr, "active": active})
    return outs, spread(dots, mask, outs)


def checkpoint_forward(mode: Forward, primals: tuple, dots: tuple, *, jaxpr: Jaxpr) -> tuple[tuple, tuple]:
    return mode.call(checkpoint_p, primals, dots, jaxpr)


checkpoint_p = Primitive(
    "checkpoint", Kind.CONTROL, shape=lambda *avals, jaxpr: jaxpr.out_avals, impl=lambda *args, jaxpr: interpret(jaxpr, args),
    jvp=partial(checkpoint_forward, JVP), taylor=taylor_rule(checkpoint_forward),
    linearize=checkpoint_linearize,
    transpose=lambda cotangents, *args, jaxpr: transpose_call(checkpoint_p, cotangents, args, jaxpr, {}),
    batch=lambda axis, args, axes, *, jaxpr: batch_call(checkpoint_p, axis, args, axes, jaxpr, {}),
    inline=lambda *avals, jaxpr: jaxpr, recomputes=True)

# The linear part: primals and tangents in, tangents out. Transposed, it is the forward and the backward pass in one.


def tangent_jaxpr(jaxpr: Jaxpr, active: tuple[bool, ...]) -> tuple[Jaxpr, tuple[bool, ...]]:
    """The program from primals and active tangents to the tangents of the results that are not zero."""
    key = ("tangents", active)
    if key not in jaxpr.cache:
        program, mask = jvp_jaxpr(jaxpr, active)
        jaxpr.cache[key] = prune(program, [i >= len(mask) for i in range(len(program.outs))])[0], mask
    return jaxpr.cache[key]


def checkpoint_linear_transpose(cotangents: tuple, *args: Any, jaxpr: Jaxpr, active: tuple[bool, ...]) -> tuple:
    count = len(active)
    given = iter(cotangents)
    cts = [next(given) if nz else None for nz in tangent_jaxpr(jaxpr, active)[1]]
    nonzero = tuple([ct is not None and type(ct) is not Zero for ct in cts])
    program, mask = vjp_jaxpr(jaxpr, active, nonzero)
    results = iter(checkpoint_p.bind(*args[:count], *[ct for ct, nz in zip(cts, nonzero, strict=True) if nz], jaxpr=program))
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
    return mode.call(checkpoint_p, primals, dots, tangent_jaxpr(jaxpr, active)[0])


checkpoint_linear_p = Primitive(
    "checkpoint_linear", Kind.CONTROL,
    shape=lambda *avals, jaxpr, active: tangent_jaxpr(jaxpr, active)[0].out_avals,
    impl=lambda *args, jaxpr, active: interpret(tangent_jaxpr(jaxpr, active)[0], args),
    jvp=partial(checkpoint_linear_forward, JVP), taylor=taylor_rule(checkpoint_linear_forward),
    linearize=lambda trace, primals, tangents, *, jaxpr, active:
        checkpoint_linearize(trace, primals, tangents, jaxpr=tangent_jaxpr(jaxpr, active)[0]),
    transpose=checkpoint_linear_transpose, batch=checkpoint_linear_batch,
    inline=lambda *avals, jaxpr, active: tangent_jaxpr(jaxpr, active)[0], recomputes=True)
