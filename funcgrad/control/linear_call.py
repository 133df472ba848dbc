"""``linear_call``: a linear function with a transpose of its own.

In: a function linear in its second argument, and its transpose. Out: what the function gives; where reverse mode would
transpose the function's program, it calls the one given instead, as it must where the program is a ``while_loop``.

    { lambda ; a:f64[] b:f64[]. let c:f64[] = linear_call[forward={ lambda ; a:f64[] b:f64[]. let c:f64[] = mul a b in (c,) }
        transposed={ lambda ; a:f64[] b:f64[]. let c:f64[] = mul a b in (c,) } residuals=1] a b in (c,) }
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.control.programs import nonzero, staged, types
from funcgrad.core.jaxpr import Jaxpr, Var
from funcgrad.core.primitive import Kind, Linear, Primitive
from funcgrad.core.stage import eval_jaxpr, typed
from funcgrad.core.types import ShapedArray, Zero, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.elementwise import add
from funcgrad.ops.structural import instantiate
from funcgrad.transforms.arguments import flatten_args, function_name
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.jvp import jvp_flat
from funcgrad.transforms.linearize import not_linear
from funcgrad.transforms.vmap import Axis, batch_jaxpr, to_front
from funcgrad.tree import tree_structure, tree_unflatten, treedef_children


def linear_call(fun: Callable, fun_transpose: Callable, residual_args: Any, linear_args: Any) -> Any:
    """``fun(residual_args, linear_args)``, with ``fun_transpose(residual_args, cotangents)`` as its transpose.

    Args:
      fun: a function of two trees of arrays, linear in the second.
      fun_transpose: its transpose, from a tree like the result of fun to one like ``linear_args``; linear in the
        second argument too. It may use while_loop.

    Forward and reverse mode work to any order, in the residuals too, as far as both functions can be differentiated there.
    Raises TypeError where the results of ``fun_transpose`` are not like ``linear_args``.

    >>> import funcgrad as fg
    >>> double = lambda x: linear_call(lambda _, x: 2 * x, lambda _, ct: 2 * ct, (), x)
    >>> float(fg.grad(double)(3.0))
    2.0
    """
    check_callable(fun, "linear_call")
    check_callable(fun_transpose, "linear_call")
    leaves, tree = flatten_args(fun, (residual_args, linear_args), "linear_call")
    count = treedef_children(tree)[0].num_leaves
    linear_tree = treedef_children(tree)[1]
    with quiet():
        forward, f_consts, out_tree = staged(fun, tree, types(leaves), "linear_call")
        cotangents = tree_unflatten(out_tree, list(map(instantiate, map(Zero, map(typed, forward.out_avals)))))
        transposed, t_consts, found = staged(fun_transpose, tree_structure((residual_args, cotangents)),
                                             [*types(leaves[:count]), *map(typed, forward.out_avals)], "linear_call")
        expected = types(leaves[count:])
        if found != linear_tree or any(a.shape != b.shape or a.dtype != b.dtype
                                       for a, b in zip(transposed.out_avals, expected, strict=True)):
            raise TypeError(message(f"linear_call: {function_name(fun_transpose)} must return a tree like the linear arguments",
                                    f"{found} of {', '.join(map(str, transposed.out_avals))}",
                                    f"{linear_tree} of {', '.join(map(str, expected))}"))
        unused = [[Var(a) for a in types(consts)] for consts in (f_consts, t_consts)]  # each takes what the other closes over
        at = len(f_consts)
        forward = forward.replace(in_vars=(*forward.in_vars[:at], *unused[1], *forward.in_vars[at:]))
        transposed = transposed.replace(in_vars=(*unused[0], *transposed.in_vars))
        outs = linear_call_p.bind(*f_consts, *t_consts, *leaves, forward=forward, transposed=transposed,
                                  residuals=len(f_consts) + len(t_consts) + count)
    return tree_unflatten(out_tree, outs)


def linear_call_jvp(primals: tuple, tangents: tuple, *, forward: Jaxpr, transposed: Jaxpr, residuals: int) -> tuple:
    params = {"forward": forward, "transposed": transposed, "residuals": residuals}
    outs = linear_call_p.bind(*primals, **params)
    parts = []
    if any(nonzero(tangents[residuals:])):
        parts.append(linear_call_p.bind(*primals[:residuals], *map(instantiate, tangents[residuals:]), **params))
    if any(nonzero(tangents[:residuals])):
        parts.append(jvp_flat(lambda *r: eval_jaxpr(forward, (*r, *primals[residuals:])), primals[:residuals],
                              tangents[:residuals])[1])
    dots = [_sum([t for t in terms if type(t) is not Zero]) for terms in zip(*parts, strict=True)] or [None] * len(outs)
    return outs, tuple([Zero(tangent_aval(out.aval)) if t is None else t for t, out in zip(dots, outs, strict=True)])


def _sum(terms: list[Any]) -> Any:
    return None if not terms else terms[0] if len(terms) == 1 else add(*terms)


def linear_call_transpose(cotangents: tuple, *args: Any, forward: Jaxpr, transposed: Jaxpr, residuals: int) -> tuple:
    if any(isinstance(x, Linear) for x in args[:residuals]):
        raise not_linear(linear_call_p, "is not linear in its residuals")
    results = linear_call_p.bind(*args[:residuals], *map(instantiate, cotangents), forward=transposed, transposed=forward,
                                 residuals=residuals)
    return (*[None] * residuals,
            *[ct if isinstance(x, Linear) else None for ct, x in zip(results, args[residuals:], strict=True)])


def linear_call_batch(axis: Axis, args: tuple, axes: tuple, *, forward: Jaxpr, transposed: Jaxpr, residuals: int) -> tuple:
    mask = tuple([d is not None for d in axes[:residuals]])
    values = [to_front(x, d, axis.size) if d is not None or i >= residuals else x
              for i, (x, d) in enumerate(zip(args, axes, strict=True))]

    def batched(program: Jaxpr) -> Jaxpr:
        return batch_jaxpr(program, axis, (*mask, *[True] * (len(program.in_vars) - residuals)), True)[0]

    outs = linear_call_p.bind(*values, forward=batched(forward), transposed=batched(transposed), residuals=residuals)
    return outs, (0,) * len(outs)


def linear_call_shape(*avals: ShapedArray, forward: Jaxpr, **params: Any) -> tuple[ShapedArray, ...]:
    return forward.out_avals


linear_call_p = Primitive(
    "linear_call", Kind.CONTROL, linear_call_shape, lambda *args, forward, **params: eval_jaxpr(forward, args),
    linear_call_jvp, linear_call_transpose, linear_call_batch, inline=lambda *avals, forward, **params: forward)
