"""One step of training, and the means of what is measured.

In: a loss, ``loss(params, state, batch, key) -> (loss, (state, metrics))``. Out: jitted functions of trees.

    step = training_step(loss, optim.adam(1e-3))
    params, state, optimizer_state, metrics = step(params, state, optimizer_state, batch, key, count)
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import optim, random, tree
from funcgrad.errors import message
from funcgrad.jit import jit
from funcgrad.training.pipeline import Data
from funcgrad.transforms.derivatives import value_and_grad

Loss = Callable[[Any, Any, Any, Any], Any]
TAKEN = ("step", "epoch", "seconds")
"""What a record has besides metrics."""


class Step:
    """A step of training, compiled when it is first called: see ``training_step``."""

    def __init__(self, loss: Loss, optimizer: optim.GradientTransformation):
        self.loss, self.optimizer = loss, optim.with_extra_args_support(optimizer)
        objective, update = with_state(loss), self.optimizer.update

        @jit
        def step(params: Any, state: Any, optimizer_state: Any, batch: Any, key: Any, count: Any) -> tuple:
            key = None if key is None else random.fold_in(key, count)
            (value, (following, metrics)), gradient = value_and_grad(objective, has_aux=True)(params, state, batch, key)
            updates, optimizer_state = update(gradient, optimizer_state, params, value=value, grad=gradient,
                                              value_fn=lambda params: objective(params, state, batch, key)[0])
            metrics = {"loss": value} | metrics | {"loss": value}  # the loss comes first, and is the loss
            return optim.apply_updates(params, updates), following, optimizer_state, metrics

        self.call = step

    def __call__(self, params: Any, state: Any, optimizer_state: Any, batch: Any, key: Any, count: Any) -> tuple:
        return self.call(params, state, optimizer_state, batch, key, count)


def training_step(loss: Loss, optimizer: optim.GradientTransformation) -> Step:
    """``step(params, state, optimizer_state, batch, key, count) -> (params, state, optimizer_state, metrics)``.

    ``loss(params, state, batch, key)`` returns the loss, or ``(loss, (state, metrics))`` with the layers' next state and a
    dict of scalars. It gets ``fold_in(key, count)``, a key for each step, or None if the key is None. The metrics of the step
    are these and "loss". A step that is given to ``fit`` several times is compiled once. The optimiser gets the loss and a
    function that computes it, as line searches (``optim.lbfgs``) and ``optim.reduce_on_plateau`` need them.
    """
    return Step(loss, optimizer)


def with_state(loss: Loss) -> Loss:
    """The loss as a function that always returns ``(loss, (state, metrics))``. Raises TypeError for what cannot be one."""

    def objective(params: Any, state: Any, batch: Any, key: Any) -> tuple:
        result = loss(params, state, batch, key)
        if not isinstance(result, tuple | list):
            return result, (state, {})
        try:
            value, (state, metrics) = result
        except (TypeError, ValueError):
            raise TypeError(message("fit: the loss did not return what a loss returns",
                                    f"a {type(result).__name__} {tree.structure(result)}", None,
                                    "return loss, or return loss, (state, metrics)")) from None
        metrics = scalars("the loss", metrics)
        if taken := [name for name in metrics if name in TAKEN]:
            raise ValueError(message("fit: a metric has a name that is taken", ", ".join(map(repr, taken)),
                                     f"other names than {', '.join(map(repr, TAKEN))}"))
        return value, (state, metrics)

    return objective


def scalars(who: str, metrics: Any) -> dict[str, Any]:
    """The metrics. Raises TypeError unless they are scalars by name."""
    if isinstance(metrics, Mapping):
        wrong = [f"{name!r}: {value!r}" if tree.structure(value) != tree.LEAF else f"{name!r} of shape {fnp.shape(value)}"
                 for name, value in metrics.items() if tree.structure(value) != tree.LEAF or fnp.shape(value)]
        if not wrong:
            return dict(metrics)
    else:
        wrong = [repr(metrics)]
    raise TypeError(message(f"fit: the metrics of {who} are not scalars by name", ", ".join(wrong), "a dict of scalars",
                            '{"accuracy": fnp.mean(correct)}'))


class Means:
    """Means of metrics over examples: a batch counts as often as it has rows."""

    def __init__(self) -> None:
        self.weight, self._sums = 0, {}

    def add(self, metrics: dict[str, Any], batch: Any) -> None:
        weight, sums = rows(batch), self._sums
        self.weight += weight
        if not sums:
            sums.update(dict.fromkeys(metrics, 0.0))
        for name, value in metrics.items():
            sums[name] += float(value) * weight

    def take(self) -> dict[str, float]:
        """The means so far; counting begins anew."""
        means = {name: total / self.weight for name, total in self._sums.items()}
        self.weight, self._sums = 0, {}
        return means


def rows(batch: Any) -> int:
    """The size of the first axis of the batch's first array; 1 if it has none."""
    first = next(iter(batch.values()), None) if type(batch) is dict else batch
    if type(first) is np.ndarray and first.ndim:  # nearly always, and flattening the batch costs a microsecond in every step
        return len(first)
    shape = fnp.shape(next(iter(tree.leaves(batch)), 0))
    return shape[0] if shape else 1


def evaluator(metrics: Callable[[Any, Any, Any], Mapping[str, Any]], data: Data) -> Callable[[Any, Any], dict[str, float]]:
    """``evaluate(params, state)``: the means of ``metrics(params, state, batch)``, a dict of scalars, over all examples.

    >>> from funcgrad.training import from_arrays
    >>> evaluate = evaluator(lambda params, state, batch: {"mean": fnp.mean(batch)}, from_arrays(fnp.arange(5.0)).batch(2))
    >>> evaluate({}, {})
    {'mean': 2.0}
    """
    measure = jit(lambda params, state, batch: scalars("evaluate", metrics(params, state, batch)))

    def evaluate(params: Any, state: Any) -> dict[str, float]:
        means = Means()
        for batch in data:
            means.add(measure(params, state, batch), batch)
        if not means.weight:
            raise ValueError(message("evaluator: there are no examples", f"{data!r} without items", "at least one batch"))
        return means.take()

    return evaluate
