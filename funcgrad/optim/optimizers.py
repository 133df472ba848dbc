"""Gradient descent and Adam as pairs of pure functions.

In: a learning rate: a number, or a *schedule*, a function of the number of steps taken so far. Out: a pair

    init(params) -> state                     update(gradient, state, params) -> (updates, state)

where the updates are a tree like the parameters, to be added to them, and the state is a tree of arrays, so that both
functions can be transformed, and the state saved. Names and results are those of optax.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import tree

Schedule = Callable[[Any], Any]


class GradientTransformation(NamedTuple):
    """An optimiser."""

    init: Callable[[Any], Any]
    update: Callable[..., tuple[Any, Any]]


class SgdState(NamedTuple):
    """The number of steps taken, and the running sum of the gradients (None without momentum)."""

    count: Any
    trace: Any


class AdamState(NamedTuple):
    """The number of steps taken, and the running means of the gradient and of its square."""

    count: Any
    mu: Any
    nu: Any


def sgd(learning_rate: float | Schedule, momentum: float = 0.0, nesterov: bool = False) -> GradientTransformation:
    """Gradient descent: the update is ``-learning_rate * g``, or with momentum ``-learning_rate * m``.

    m is ``g + momentum * m`` from step to step; with ``nesterov`` the update looks one step ahead and takes
    ``g + momentum * m``.
    """

    def init(params: Any) -> SgdState:
        return SgdState(_no_steps(), tree.map(fnp.zeros_like, params) if momentum else None)

    def update(gradient: Any, state: SgdState, params: Any = None) -> tuple[Any, SgdState]:
        direction, trace = gradient, state.trace
        if momentum:
            trace = tree.map(lambda g, m: g + momentum * m, gradient, trace)
            direction = tree.map(lambda g, m: g + momentum * m, gradient, trace) if nesterov else trace
        return _descend(direction, learning_rate, state.count), SgdState(state.count + 1, trace)

    return GradientTransformation(init, update)


def momentum(learning_rate: float | Schedule, momentum: float = 0.9, nesterov: bool = False
             ) -> GradientTransformation:
    """``sgd`` with momentum."""
    return sgd(learning_rate, momentum, nesterov)


def adam(learning_rate: float | Schedule = 1e-3, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
         ) -> GradientTransformation:
    """Adam: the update is ``-learning_rate * mu / (sqrt(nu) + eps)``.

    mu and nu are running means of the gradient and its square with decays b1 and b2, divided by ``1 - b**step``
    because they start at zero. Kingma and Ba, "Adam: a method for stochastic optimization",
    https://arxiv.org/abs/1412.6980.
    """

    def init(params: Any) -> AdamState:
        return AdamState(_no_steps(), tree.map(fnp.zeros_like, params), tree.map(fnp.zeros_like, params))

    def update(gradient: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        count = state.count + 1
        mu = tree.map(lambda g, m: b1 * m + (1 - b1) * g, gradient, state.mu)
        nu = tree.map(lambda g, n: b2 * n + (1 - b2) * (g * g), gradient, state.nu)
        mu_rest, nu_rest = (1 - fnp.power(b, count.astype(np.float64)) for b in (b1, b2))

        def step(m: Any, n: Any) -> Any:
            return m / mu_rest.astype(m.dtype) / (fnp.sqrt(n / nu_rest.astype(n.dtype)) + eps)

        return _descend(tree.map(step, mu, nu), learning_rate, state.count), AdamState(count, mu, nu)

    return GradientTransformation(init, update)


def apply_updates(params: Any, updates: Any) -> Any:
    """``params + updates``, leaf by leaf, in the dtypes of the parameters."""
    return tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates)


def _no_steps() -> Any:
    return fnp.zeros((), np.int32)


def _descend(direction: Any, learning_rate: float | Schedule, count: Any) -> Any:
    rate = learning_rate(count) if callable(learning_rate) else learning_rate
    return tree.map(lambda d: -fnp.asarray(rate, d.dtype) * d, direction)
