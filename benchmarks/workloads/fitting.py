"""The training loop: what ``fit`` adds to the same loop written by hand."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workload import AtMostMore, Program, Workload
from benchmarks.workloads.elementwise import random_normal
from benchmarks.workloads.rows import labels_of


def fit_and_by_hand(lib: Any, features: int, hidden: int, examples: int, batch: int, epochs: int) -> Program:
    """Both take the steps of a small classifier, and compute the same parameters."""
    nn, training, random = lib.nn, lib.training, lib.random
    model = nn.Sequential(nn.Linear(features, hidden), nn.relu, nn.Linear(hidden, 10))
    x, y, key = random_normal(examples, features), labels_of(examples, 10), random.key(0)
    params = model.init(key)[0]

    def loss(params: Any, state: Any, batch: Any, key: Any) -> tuple:
        logits = model(params, batch["x"])
        value = nn.softmax_cross_entropy_with_integer_labels(logits, batch["y"], reduction="mean")
        return value, (state, {"accuracy": lib.np.mean(lib.np.argmax(logits, -1) == batch["y"])})

    step = training.training_step(loss, lib.optim.adam(1e-3))

    def by_hand() -> Any:
        now, state, optimizer_state, count = params, {}, step.optimizer.init(params), 0
        for epoch in range(epochs):
            order = np.asarray(random.permutation(random.fold_in(key, epoch), examples))
            for start in range(0, examples, batch):
                rows = order[start:start + batch]
                now, state, optimizer_state, _ = step(now, state, optimizer_state, {"x": x[rows], "y": y[rows]}, key, count)
                count += 1
        return now

    data = training.from_arrays({"x": x, "y": y}).shuffle(key).batch(batch)

    def fit(by_hand: Callable) -> Any:
        return training.fit(step, params, data, key=key, epochs=epochs).params

    return fit, (by_hand,)


WORKLOADS = [
    Workload("fit, over the loop by hand: digits, MLP 64-128-10", fit_and_by_hand,
             {"features": 64, "hidden": 128, "examples": 1438, "batch": 64, "epochs": 12},
             {"features": 4, "hidden": 3, "examples": 10, "batch": 4, "epochs": 2}, AtMostMore(0.05), kind="overhead"),
]
