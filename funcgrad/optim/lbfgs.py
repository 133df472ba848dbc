"""The quasi-Newton direction of L-BFGS: the inverse Hessian from the last steps and changes of the gradient.

In: how many steps are remembered. Out: a gradient transformation (``base.py``), which a line search follows.

    >>> method = scale_by_lbfgs(memory_size=5)
    >>> state = method.init(fnp.zeros(2))
    >>> direction, state = method.update(fnp.array([3.0, 4.0]), state, fnp.zeros(2))
    >>> direction  # the first step: the gradient, at most of length 1
    Array([0.6, 0.8], dtype=float64)
"""
from __future__ import annotations

from typing import Any, NamedTuple

import funcgrad.numpy as fnp
from funcgrad import dtypes, lax, tree
from funcgrad.errors import message
from funcgrad.optim.base import GradientTransformation, each, increment, needed, no_steps, zeros


class ScaleByLBFGSState(NamedTuple):
    """Steps taken, the last parameters and gradient, and stacks of their differences with 1 / (their product)."""

    count: Any
    params: Any
    updates: Any
    diff_params_memory: Any
    diff_updates_memory: Any
    weights_memory: Any


def dot(x: Any, y: Any) -> Any:
    """The real part of the sum of ``conj(x) * y`` over all leaves."""
    return sum(tree.leaves(tree.map(lambda a, b: fnp.real(fnp.vdot(a, b)), x, y)))


def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> GradientTransformation:
    """The gradient times an estimate of the inverse Hessian, by the two loops of Nocedal and Wright, algorithm 7.4.

    The estimate begins at the identity, or (``scale_init_precond``) at its multiple ``s . y / y . y`` for the last step s and
    change of the gradient y. The state holds ``2 * memory_size`` times the parameters. Raises ValueError for a memory below 1.
    """
    if memory_size < 1:
        raise ValueError(message("optim.scale_by_lbfgs: memory_size must be at least 1", memory_size))

    def init(params: Any) -> ScaleByLBFGSState:
        def stack() -> Any:
            return tree.map(lambda p: fnp.zeros_like(p, p.dtype, (memory_size, *p.shape)), start)

        start = zeros(params, "scale_by_lbfgs")
        dtype = fnp.result_type(*[dtypes.real_dtype(p.dtype) for p in tree.leaves(start)])
        return ScaleByLBFGSState(no_steps(), start, tree.map(fnp.zeros_like, start), stack(), stack(),
                                 fnp.zeros_like(tree.leaves(start)[0], dtype, memory_size))

    def update(updates: Any, state: ScaleByLBFGSState, params: Any = None) -> tuple[Any, ScaleByLBFGSState]:
        params = tree.map(fnp.asarray, needed(params, "scale_by_lbfgs"))
        later = state.count > 0
        step = each(lambda p, q: fnp.where(later, p - q, 0), params, state.params)
        change = each(lambda g, h: fnp.where(later, g - h, 0), updates, state.updates)
        product, dtype = dot(change, step), state.weights_memory.dtype
        weight = fnp.where(product == 0, 0, 1 / fnp.where(product == 0, 1, product)).astype(dtype)
        place = (state.count - 1) % memory_size
        steps, changes, weights = tree.map(lambda memory, new: memory.at[place].set(new),
                                           (state.diff_params_memory, state.diff_updates_memory, state.weights_memory),
                                           (step, change, weight))
        scale = _first_scale(updates, product, dot(change, change), later).astype(dtype) if scale_init_precond else 1.0
        order = (state.count + fnp.arange(memory_size)) % memory_size  # from the oldest to the latest
        direction = _inverse_hessian_times(updates, steps, changes, weights, scale, order)
        return direction, ScaleByLBFGSState(increment(state.count), params, updates, steps, changes, weights)

    return GradientTransformation(init, update)


def _first_scale(updates: Any, product: Any, square: Any, later: Any) -> Any:
    """By how much the estimate begins: at the first step so that the step is at most 1 long."""
    known = square > 0
    scale = fnp.where(known, product / fnp.where(known, square, 1), 1.0)
    length = dot(updates, updates)
    return fnp.where(later, scale, fnp.where(length > 1, lax.rsqrt(fnp.where(length > 1, length, 1)), 1.0))


def _inverse_hessian_times(vector: Any, steps: Any, changes: Any, weights: Any, scale: Any, order: Any) -> Any:
    def add(x: Any, factor: Any, y: Any) -> Any:
        return tree.map(lambda a, b: a + factor.astype(a.dtype) * b, x, y)

    def back(v: Any, i: Any) -> tuple[Any, Any]:
        s, y = tree.map(lambda memory: memory[i], (steps, changes))
        alpha = weights[i] * dot(s, v)
        return add(v, -alpha, y), alpha

    def forth(v: Any, x: tuple) -> tuple[Any, None]:
        i, alpha = x
        s, y = tree.map(lambda memory: memory[i], (steps, changes))
        return add(v, alpha - weights[i] * dot(y, v), s), None

    vector, alphas = lax.scan(back, vector, order, reverse=True)
    vector = tree.map(lambda v: fnp.asarray(scale, v.dtype) * v, vector)
    return lax.scan(forth, vector, (order, alphas))[0]
