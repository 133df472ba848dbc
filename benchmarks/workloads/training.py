"""Training: steps of the models of ``python -m funcgrad train``, beside the same models written by hand for the peers.

The same parameters to begin with, the same batches: so the losses of some steps, which a program returns, must agree. Layers
and optimisers are ``funcgrad.nn`` and ``funcgrad.optim``; optax; ``torch.optim``.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workload import Program, RatioToBest, Workload
from benchmarks.workloads import training_jax, training_torch
from benchmarks.workloads.elementwise import random_normal
from benchmarks.workloads.rows import labels_of

COUNT = 8
"""Steps of a program."""
RATE = 1e-3
BEST = RatioToBest(0.8, ("jax", "torch"))


def curve(step: Callable, params: Any, state: Any, batches: list[Any]) -> np.ndarray:
    """The losses of one step for each batch."""
    losses = []
    for batch in batches:
        params, state, loss = step(params, state, *batch)
        losses.append(loss)
    return np.array([float(loss) for loss in losses], np.float32)


def digits_batches(batch: int, size: int) -> list[Any]:
    return [(random_normal(batch, size, size, 1, seed=i), labels_of(batch, 10)) for i in range(COUNT)]


def text_batches(batch: int, length: int) -> list[Any]:
    text = labels_of(COUNT * batch * (length + 1), 97).reshape(COUNT, batch, length + 1)
    return [(piece,) for piece in text]


def adding_batches(batch: int, length: int) -> list[Any]:
    return [(random_normal(batch, length, 2, seed=i), random_normal(batch, seed=i + 50)) for i in range(COUNT)]


# ---------------------------------------------------------------- with funcgrad's layers


def first_params(model: Any, example: Any) -> tuple[Any, Any]:
    """The parameters and the state that all libraries begin with, as NumPy arrays."""
    import funcgrad as fg
    return fg.tree.map(np.asarray, model.init(fg.random.key(0), example))


def digits_model(size: int) -> tuple[Any, Any]:
    from funcgrad.training.models.digits import build_model
    model = build_model(10, dropout=0.0)
    return model, first_params(model, np.zeros((1, size, size, 1), np.float32))


def text_model(features: int, depth: int) -> tuple[Any, Any]:
    from funcgrad.training.models.text import Writer
    model = Writer(97, features, depth=depth)
    return model, first_params(model, None)


def adding_model() -> tuple[Any, Any]:
    from funcgrad.training.models.adding import MODELS
    model = MODELS["LSTM"]
    return model, first_params(model, None)


def with_adamw(lib: Any, objective: Callable) -> tuple[Callable, Callable]:
    """A step of AdamW on ``objective(params, state, *batch) -> (loss, state)``, and what begins its state."""
    from funcgrad import optim
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(RATE, weight_decay=0.01))

    @lib.jit
    def step(params: Any, states: Any, *batch: Any) -> tuple:
        state, optimizer_state = states
        (loss, state), gradient = lib.value_and_grad(objective, has_aux=True)(params, state, *batch)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        return optim.apply_updates(params, updates), (state, optimizer_state), loss

    return step, optimizer.init


def digits_steps(lib: Any, batch: int, size: int) -> Program:
    model, (params, state) = digits_model(size)

    def objective(params: Any, state: Any, x: Any, y: Any) -> tuple:
        logits, state = model.apply(params, state, x, train=True)
        return lib.nn.softmax_cross_entropy_with_integer_labels(logits, y, reduction="mean"), state

    step, begin = with_adamw(lib, objective)
    return curve, (step, params, (state, begin(params)), digits_batches(batch, size))


def text_steps(lib: Any, batch: int, length: int, features: int, depth: int) -> Program:
    model, (params, state) = text_model(features, depth)

    def objective(params: Any, state: Any, text: Any) -> tuple:
        logits, state = model.apply(params, state, text[:, :-1], train=True)
        return lib.nn.softmax_cross_entropy_with_integer_labels(logits, text[:, 1:], reduction="mean"), state

    step, begin = with_adamw(lib, objective)
    return curve, (step, params, (state, begin(params)), text_batches(batch, length))


def adding_steps(lib: Any, batch: int, length: int) -> Program:
    model, (params, state) = adding_model()

    def objective(params: Any, state: Any, x: Any, y: Any) -> tuple:
        return lib.np.mean(lib.np.square(model(params, x) - y)), state

    step, begin = with_adamw(lib, objective)
    return curve, (step, params, (state, begin(params)), adding_batches(batch, length))


# ---------------------------------------------------------------- the peers


def digits_peer(module: Any) -> Callable:
    def build(batch: int, size: int) -> Program:
        _, (params, state) = digits_model(size)
        return curve, (*module.digits(params, state, RATE), digits_batches(batch, size))

    return build


def text_peer(module: Any) -> Callable:
    def build(batch: int, length: int, features: int, depth: int) -> Program:
        model, (params, _) = text_model(features, depth)
        return curve, (*module.text(params, model.heads, depth, RATE), text_batches(batch, length))

    return build


def adding_peer(module: Any) -> Callable:
    def build(batch: int, length: int) -> Program:
        _, (params, _) = adding_model()
        return curve, (*module.adding(params, RATE), adding_batches(batch, length))

    return build


def peers(make: Callable) -> dict[str, Callable]:
    return {"jax": make(training_jax), "torch": make(training_torch)}


WORKLOADS = [
    Workload("convolutional network on digits, step, batch 64", digits_steps, {"batch": 64, "size": 8}, {"batch": 4, "size": 8},
             BEST, tolerance=1e-3, peers=peers(digits_peer), per=COUNT),
    Workload("character transformer, 4 blocks, d 128, 32x128, step", text_steps,
             {"batch": 32, "length": 128, "features": 128, "depth": 4}, {"batch": 2, "length": 5, "features": 8, "depth": 2},
             BEST, tolerance=1e-3, peers=peers(text_peer), per=COUNT),
    Workload("LSTM on the adding problem, 64x200, step", adding_steps, {"batch": 64, "length": 200}, {"batch": 3, "length": 5},
             BEST, tolerance=1e-3, peers=peers(adding_peer), per=COUNT),
]
