"""A classifier of rows of numbers: its layers, its loss, and the check of its gradients.

In: features and integer labels. Out: trained parameters, losses and accuracies, and how far the gradients are from
finite differences.

    model = build_model(64, (128,), 10)          # Linear(64, 128), gelu, Linear(128, 10)
    data = from_arrays({"x": x, "y": y}).shuffle(key).batch(64)
    params = fit(objective(model), model.init(key)[0], data, optimizer=optim.adam(1e-3), epochs=30).params

The activation is smooth, so that finite differences meet no kinks.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import nn, optim, random, tree
from funcgrad.jit import jit
from funcgrad.training.files import tree_path
from funcgrad.transforms.derivatives import grad

OPTIMIZERS: dict[str, Callable] = {"adam": optim.adam, "momentum": optim.momentum, "sgd": optim.sgd}
DEFAULT_LEARNING_RATES = {"adam": 3e-3, "momentum": 5e-2, "sgd": 2e-1}
STEP = 1e-5
"""Of the finite differences: near the cube root of float64's precision, where both of their errors are small."""


def build_model(features: int, hidden: Sequence[int], classes: int) -> nn.Sequential:
    """A multilayer perceptron; without hidden layers, a linear classifier."""
    layers: list = []
    for size in hidden:
        layers += [nn.Linear(features, size), nn.gelu]
        features = size
    return nn.Sequential(*layers, nn.Linear(features, classes))


def hidden_sizes(params: dict) -> tuple[int, ...]:
    """The sizes of the hidden layers of a model with these parameters."""
    weights = [params[layer]["weight"] for layer in sorted(params, key=int)]
    return tuple([w.shape[1] for w in weights[:-1]])


def loss_and_correct(model: nn.Sequential, params: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The mean cross entropy, and how many examples are classified right."""
    logits = model(params, x)
    loss = nn.softmax_cross_entropy_with_integer_labels(logits, y, reduction="mean")
    return loss, fnp.sum(fnp.equal(fnp.argmax(logits, axis=-1), y))


def cosine_schedule(learning_rate: float, steps: int) -> Callable:
    """A learning rate that falls to 0 in ``steps`` steps along half a cosine. https://arxiv.org/abs/1608.03983."""
    return lambda count: learning_rate * 0.5 * (1 + fnp.cos(math.pi * fnp.minimum(count / max(1, steps), 1)))


def objective(model: nn.Sequential) -> Callable:
    """The loss that ``fit`` takes, of batches of features x and labels y; its metric is the accuracy."""

    def loss(params: Any, state: Any, batch: Any, key: Any) -> tuple:
        value, correct = loss_and_correct(model, params, batch["x"], batch["y"])
        return value, (state, {"accuracy": correct / batch["y"].shape[0]})

    return loss


def evaluate(model: nn.Sequential, params: Any, x: np.ndarray, y: np.ndarray) -> tuple[float, int]:
    """The mean loss and the number of right answers."""
    loss, correct = jit(lambda p, x, y: loss_and_correct(model, p, x, y))(params, x, y)
    return float(loss), int(correct)


class GradientRow(NamedTuple):
    """An array of parameters: its path, shape, the norm of its gradient, and its error against finite differences."""

    path: str
    shape: tuple[int, ...]
    norm: float
    error: float


def check_gradients(model: nn.Sequential, params: Any, x: np.ndarray, y: np.ndarray, key: Any,
                    directions: int = 3) -> list[GradientRow]:
    """Compares the gradient with central differences along random directions, each array of parameters by itself.

    Everything is computed in float64. An error is relative to the derivative along the direction, or to what is
    typical of a random direction (the norm of the gradient) when that is larger.
    """
    params = tree.map(lambda p: fnp.asarray(p, np.float64), params)
    x = x.astype(np.float64)
    loss = jit(lambda p: loss_and_correct(model, p, x, y)[0])
    gradient = jit(grad(lambda p: loss_and_correct(model, p, x, y)[0]))(params)
    pairs, structure = tree.flatten_with_path(params)
    leaves = [leaf for _, leaf in pairs]
    rows = []
    for i, ((path, leaf), slope) in enumerate(zip(pairs, tree.leaves(gradient), strict=True)):
        norm = float(fnp.sqrt(fnp.sum(slope * slope)))
        error = 0.0
        for direction_key in random.split(random.fold_in(key, i), directions):
            direction = random.normal(direction_key, leaf.shape, np.float64)

            def along(t: float, i: int = i, leaf: Any = leaf, direction: Any = direction) -> float:
                moved = [*leaves[:i], leaf + t * direction, *leaves[i + 1:]]
                return float(loss(tree.unflatten(structure, moved)))

            difference = (along(STEP) - along(-STEP)) / (2 * STEP)
            derivative = float(fnp.sum(slope * direction))
            error = max(error, abs(difference - derivative) / max(abs(derivative), norm, 1e-12))
        rows.append(GradientRow(tree_path(path), leaf.shape, norm, error))
    return rows
