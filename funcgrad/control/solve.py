"""``custom_root`` and ``custom_linear_solve``: solutions of equations, differentiated by the implicit function theorem.

In: an equation and a function that solves it, however it does. Out: the solution; its derivative solves a linear
equation and never looks into the solver.

    f(x, a) = 0    =>    dx = -(df/dx)^-1 (df/da) da              A x = b    =>    dx = A^-1 (db - dA x)

Blondel et al., "Efficient and modular implicit differentiation", NeurIPS 2022.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from funcgrad.control.custom import custom_jvp_call_p
from funcgrad.control.programs import as_type, check_result, derived, nonzero, same_types, split, staged, types
from funcgrad.core.array import describe
from funcgrad.core.jaxpr import Jaxpr, Var
from funcgrad.core.primitive import Kind, Linear, Primitive
from funcgrad.core.stage import eval_jaxpr, typed
from funcgrad.core.trace import current
from funcgrad.core.types import ShapedArray, Zero, tangent_aval
from funcgrad.errors import message
from funcgrad.ops.elementwise import neg, subtract
from funcgrad.ops.structural import instantiate, zeros
from funcgrad.transforms.arguments import flat_results, flatten_args, function_name
from funcgrad.transforms.derivatives import check_callable, linearize, quiet
from funcgrad.transforms.jvp import JVP, Forward, jvp_flat
from funcgrad.transforms.linearize import LinearizeTrace, LinearTracer, not_linear
from funcgrad.transforms.taylor import taylor_rule
from funcgrad.transforms.transpose import transpose_flat, transpose_jaxpr
from funcgrad.transforms.vmap import Axis, batch_jaxpr, to_front
from funcgrad.tree import tree_structure, tree_unflatten, treedef_children

# ---------------------------------------------------------------- custom_root


def custom_root(f: Callable, initial_guess: Any, solve: Callable, tangent_solve: Callable, has_aux: bool = False) -> Any:
    """A root x of f, differentiable in the values that f closes over.

    Args:
      f: from a tree of arrays to a tree like it; zero at the root.
      initial_guess: a tree of arrays; the root does not depend on it, so its derivative is zero.
      solve: ``solve(f, initial_guess)`` returns the root (with ``has_aux``: the root and auxiliary data, whose
        derivative is zero). It may use while_loop.
      tangent_solve: ``tangent_solve(g, y)`` solves ``g(x) = y`` for a linear g; it is linear in y. For a scalar it is
        ``lambda g, y: y / g(1.0)``.

    Raises TypeError when a function returns another tree or type than the guess has.

    >>> import funcgrad as fg
    >>> def root(a):  # Newton's iteration
    ...     newton = lambda f, x: fg.lax.fori_loop(0, 20, lambda i, x: x - f(x) / (2 * x), x)
    ...     return fg.lax.custom_root(lambda x: x * x - a, 1.0, newton, lambda g, y: y / g(1.0))
    >>> round(float(fg.grad(root)(4.0)), 6)  # 1 / (2 sqrt(4))
    0.25
    """
    for function in (f, solve, tangent_solve):
        check_callable(function, "custom_root")
    guess, tree = flatten_args(f, (initial_guess,), "custom_root")
    guess_tree, = treedef_children(tree)
    avals = types(guess)
    with quiet():
        equation, f_consts, f_tree = staged(f, tree, avals, "custom_root")
        check_result("custom_root", f, guess_tree, avals, f_tree, equation.out_avals)

        def find(x: Any) -> Any:
            return _result_and_aux("custom_root", solve, solve(f, x), has_aux)

        solver, s_consts, out_tree = staged(_named(find, solve), tree, avals, "custom_root")
        x_tree = treedef_children(out_tree)[0]
        check_result("custom_root", solve, guess_tree, avals, x_tree, solver.out_avals[:x_tree.num_leaves])

        def tangent(x: Any, y: Any) -> Any:
            def at(z: Any) -> Any:
                return tree_unflatten(guess_tree, eval_jaxpr(equation, (*f_consts, *_leaves(z))))

            return tangent_solve(linearize(at, x)[1], y)

        pair = tree_structure((initial_guess, initial_guess))
        tangent_solver, t_consts, t_tree = staged(_named(tangent, tangent_solve), pair, [*avals, *avals], "custom_root")
        check_result("custom_root", tangent_solve, guess_tree, avals, t_tree, tangent_solver.out_avals)
        root = _Root(equation, solver, tangent_solver, (len(f_consts), len(s_consts), len(t_consts)), len(guess))
        outs = custom_jvp_call_p.bind(*f_consts, *s_consts, *t_consts, *guess, jaxpr=root, jvp=root.jvp, captured=0)
    result, aux = tree_unflatten(out_tree, outs)
    return (result, aux) if has_aux else result


def _result_and_aux(what: str, solve: Callable, out: Any, has_aux: bool) -> tuple:
    """What a solver returned as a pair; the second is None where there is no auxiliary data."""
    if not has_aux:
        return out, None
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(message(f"{what}: has_aux=True needs a solver that returns a pair",
                                f"{function_name(solve)} returned {describe(out)}", "(solution, auxiliary data)"))
    return out


def _named(function: Callable, like: Callable) -> Callable:
    function.__name__ = function_name(like)
    return function


def _leaves(tree: Any) -> list[Any]:
    return flat_results(_leaves, "arrays", "custom_root", tree)[0]


class _Root:
    """The solver as a flat function of all closed-over values and the guess, and its rule."""

    def __init__(self, equation: Jaxpr, solver: Jaxpr, tangent_solver: Jaxpr, counts: tuple[int, int, int], size: int):
        self.equation, self.solver, self.tangent_solver = equation, solver, tangent_solver
        self.counts, self.size = counts, size
        self.__name__ = f"custom_root({equation.name})"

    def __call__(self, *args: Any) -> list[Any]:
        _, consts, _, guess = split(args, *self.counts)
        return eval_jaxpr(self.solver, (*consts, *guess))

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """The implicit function theorem."""
        outs = custom_jvp_call_p.bind(*primals, jaxpr=self, jvp=self.jvp, captured=0)
        consts, _, for_tangent, _ = split(primals, *self.counts)
        x = outs[:self.size]
        dots = [Zero(tangent_aval(a)) for a in self.solver.out_avals]
        const_dots = split(tangents, *self.counts)[0]
        if all(type(t) is Zero for t in const_dots):
            return list(outs), dots
        _, moved = jvp_flat(lambda *c: eval_jaxpr(self.equation, (*c, *x)), consts, const_dots)
        if any(type(t) is not Zero for t in moved):
            dots[:self.size] = [neg(t) for t in eval_jaxpr(
                self.tangent_solver, (*for_tangent, *x, *[instantiate(t) for t in moved]))]
        return list(outs), dots


# ---------------------------------------------------------------- custom_linear_solve


def custom_linear_solve(matvec: Callable, b: Any, solve: Callable, transpose_solve: Callable | None = None,
                        symmetric: bool = False, has_aux: bool = False) -> Any:
    """The solution x of ``matvec(x) = b``, differentiable in b and in the values that matvec closes over.

    Args:
      matvec: a linear function from a tree of arrays to a tree like it.
      b: the right-hand side, a tree of inexact arrays.
      solve: ``solve(matvec, b)`` returns x (with ``has_aux``: x and auxiliary data). It may use while_loop.
      transpose_solve: ``transpose_solve(vecmat, b)`` solves the transposed equation; reverse mode needs it, unless
        ``symmetric`` says that matvec is its own transpose.

    Raises TypeError when a function returns another tree or type than b has, and in reverse mode without
    ``transpose_solve``.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> solve = lambda a, b: fg.lax.custom_linear_solve(lambda x: a * x, b, lambda f, b: b / a, symmetric=True)
    >>> [float(g) for g in fg.grad(solve, argnums=(0, 1))(2.0, 6.0)]
    [-1.5, 0.5]
    """
    for function in (matvec, solve, *([transpose_solve] if transpose_solve else [])):
        check_callable(function, "custom_linear_solve")
    leaves, tree = flatten_args(matvec, (b,), "custom_linear_solve")
    b_tree, = treedef_children(tree)
    avals = types(leaves)

    def solver_of(function: Callable, operator: Callable) -> tuple[Jaxpr, list[Any], Any]:
        jaxpr, consts, out_tree = staged(
            _named(lambda y: _result_and_aux("custom_linear_solve", function, function(operator, y), has_aux), function), tree,
            avals, "custom_linear_solve")
        x_tree = treedef_children(out_tree)[0]
        check_result("custom_linear_solve", function, b_tree, avals, x_tree, jaxpr.out_avals[:x_tree.num_leaves])
        return jaxpr, consts, out_tree

    with quiet():
        operator, m_consts, m_tree = staged(matvec, tree, avals, "custom_linear_solve")
        check_result("custom_linear_solve", matvec, b_tree, avals, m_tree, operator.out_avals)
        solver, s_consts, out_tree = solver_of(solve, matvec)
        transposed, t_consts = (solver, s_consts) if symmetric else (None, [])
        if transpose_solve is not None:
            def vecmat(y: Any) -> Any:
                cts = transpose_flat(lambda *xs: eval_jaxpr(operator, (*m_consts, *xs)), [Linear(a) for a in avals],
                                     _leaves(y))
                return tree_unflatten(b_tree, [zeros(a) if ct is None else ct for ct, a in zip(cts, avals, strict=True)])

            transposed, t_consts, _ = solver_of(transpose_solve, matvec if symmetric else vecmat)
        outs = linear_solve_p.bind(*m_consts, *s_consts, *t_consts, *leaves, matvec=operator, solve=solver,
                                   transpose_solve=transposed, counts=(len(m_consts), len(s_consts), len(t_consts)),
                                   symmetric=bool(symmetric))
    result, aux = tree_unflatten(out_tree, outs)
    return (result, aux) if has_aux else result


def linear_solve_impl(*args: Any, solve: Jaxpr, counts: tuple[int, int, int], **params: Any) -> list[Any]:
    _, consts, _, b = split(args, *counts)
    return [as_type(x, a) for x, a in zip(eval_jaxpr(solve, (*consts, *b)), solve.out_avals, strict=True)]


def linear_solve_forward(mode: Forward, primals: tuple, dots: tuple, *, matvec: Jaxpr, solve: Jaxpr,
                         counts: tuple[int, int, int], **params: Any) -> tuple:
    """From A x = b: each dot of x solves the same equation, whose right-hand side holds those before it."""
    params = {"matvec": matvec, "solve": solve, "counts": counts, **params}
    outs = linear_solve_p.bind(*primals, **params)
    order = mode.order
    consts, _, _, b = split(primals, *counts)
    const_dots, _, _, b_dots = split(dots, *[order * n for n in counts])
    x, out_dots = outs[:len(b)], list(mode.zeros([out.aval for out in outs]))
    for n in range(order):
        moved: Sequence[Any] = out_dots[n:len(b) * order:order]
        if any(nonzero(const_dots)):
            _, found = mode.flat(lambda *xs: eval_jaxpr(matvec, xs), (*consts, *x), (*const_dots, *out_dots[:len(b) * order]))
            moved = found[n::order]
        out_dots[n::order] = _solved(linear_solve_p.bind, primals, b_dots[n::order], moved, outs, params)
    return outs, tuple(out_dots)


def linear_solve_linearize(trace: LinearizeTrace, primals: tuple, tangents: tuple, *, matvec: Jaxpr, counts: tuple,
                           **params: Any) -> tuple:
    params = {"matvec": matvec, "counts": counts, **params}
    outs = linear_solve_p.bind(*primals, **params)
    consts, _, _, b = split(primals, *counts)
    const_dots, _, _, b_dots = split(tangents, *counts)
    moved: list[Any] = [Zero(tangent_aval(x.aval)) for x in b]
    if any(nonzero(const_dots)):
        with current(trace):
            products = [trace.split(y) for y in eval_jaxpr(matvec, (
                *[trace.join(c, t) for c, t in zip(consts, const_dots, strict=True)], *outs[:len(b)]))]
        moved = [z if i is None else LinearTracer(trace.linear, i, y.aval)
                 for z, (y, i) in zip(moved, products, strict=True)]

    def record(*args: Any, **params: Any) -> tuple:
        return trace.linear.record(linear_solve_p, args, params)

    with current(trace.linear):
        return outs, _solved(record, primals, b_dots, moved, outs, params)


def _solved(bind: Callable, primals: tuple, b_dots: Sequence[Any], moved: Sequence[Any], outs: tuple,
            params: dict) -> tuple:
    """The tangent of the solution: the solution for the right-hand side ``db - dA x``. Auxiliary data have none."""
    dots = [Zero(tangent_aval(out.aval)) for out in outs]
    if any(nonzero((*b_dots, *moved))):
        right = [t if type(m) is Zero else neg(m) if type(t) is Zero else subtract(t, m)
                 for t, m in zip(b_dots, moved, strict=True)]
        consts = primals[:len(primals) - len(right)]
        dots[:len(right)] = bind(*consts, *[instantiate(t) for t in right], **params)[:len(right)]
    return tuple(dots)


def linear_solve_transpose(cotangents: tuple, *args: Any, matvec: Jaxpr, solve: Jaxpr, transpose_solve: Jaxpr | None,
                           counts: tuple[int, int, int], symmetric: bool) -> tuple:
    m_consts, s_consts, t_consts, b = split(args, *counts)
    if any(isinstance(x, Linear) for x in (*m_consts, *s_consts, *t_consts)):
        raise not_linear(linear_solve_p, "is not linear in the values that its functions close over")
    if transpose_solve is None:
        raise TypeError(message("custom_linear_solve: reverse mode needs the transposed solution", "transpose_solve=None",
                                "transpose_solve, or symmetric=True",
                                "transpose_solve=lambda vecmat, b: ... the solution of vecmat(x) = b"))
    cts = [instantiate(ct) for ct in cotangents[:len(b)]]
    results = linear_solve_p.bind(
        *m_consts, *t_consts, *s_consts, *cts, matvec=matvec if symmetric else _vecmat(matvec, len(m_consts)),
        solve=transpose_solve, transpose_solve=solve, counts=(counts[0], counts[2], counts[1]), symmetric=symmetric)
    return (*[None] * (len(args) - len(b)),
            *[ct if isinstance(x, Linear) else None for ct, x in zip(results[:len(b)], b, strict=True)])


def _vecmat(matvec: Jaxpr, num_consts: int) -> Jaxpr:
    """The transpose of a linear operator, as a program of the same closed-over values."""
    count = len(matvec.outs)
    program, found = transpose_jaxpr(matvec, (*[False] * num_consts, *[True] * count), (True,) * count)
    avals = same_types(matvec.in_avals[num_consts:])

    def function(*args: Any) -> list[Any]:
        cts = iter(eval_jaxpr(program, args))
        return [next(cts) if there else zeros(a) for there, a in zip(found, avals, strict=True)]

    return derived(program, ("instantiated",), function, program.in_avals, program.name)


def linear_solve_batch(axis: Axis, args: tuple, axes: tuple, *, matvec: Jaxpr, solve: Jaxpr,
                       transpose_solve: Jaxpr | None, counts: tuple[int, int, int], symmetric: bool) -> tuple:
    places = split([d is not None for d in axes], *counts)
    size = len(places[3])

    def batched(jaxpr: Jaxpr, consts: tuple) -> Jaxpr:
        return batch_jaxpr(jaxpr, axis, (*consts, *[True] * size), True)[0]

    count = sum(counts)
    values = [to_front(x, d, axis.size) if d is not None or i >= count else x
              for i, (x, d) in enumerate(zip(args, axes, strict=True))]
    outs = linear_solve_p.bind(
        *values, matvec=batched(matvec, places[0]), solve=batched(solve, places[1]),
        transpose_solve=None if transpose_solve is None else batched(transpose_solve, places[2]), counts=counts,
        symmetric=symmetric)
    return outs, (0,) * len(outs)


def linear_solve_shape(*avals: ShapedArray, solve: Jaxpr, **params: Any) -> tuple[ShapedArray, ...]:
    return solve.out_avals


def linear_solve_inline(*avals: ShapedArray, solve: Jaxpr, counts: tuple[int, int, int], **params: Any) -> Jaxpr:
    """At run time it is its solver, which does not look at what the other functions close over."""
    key = ("linear solve", counts, avals)
    if key not in solve.cache:
        others = [[Var(typed(a)) for a in group] for group in split(avals, *counts)]
        size = counts[1]
        solve.cache[key] = solve.replace(
            in_vars=(*others[0], *solve.in_vars[:size], *others[2], *solve.in_vars[size:]))
    return solve.cache[key]


linear_solve_p = Primitive(
    "custom_linear_solve", Kind.CONTROL, linear_solve_shape, linear_solve_impl, partial(linear_solve_forward, JVP),
    linear_solve_transpose, linear_solve_batch, taylor=taylor_rule(linear_solve_forward), linearize=linear_solve_linearize,
    inline=linear_solve_inline)
