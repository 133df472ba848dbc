"""Training steps: the gradient of a network's loss and the update of its parameters, in one jitted function."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads import networks_torch
from benchmarks.workloads.elementwise import random_normal
from benchmarks.workloads.rows import cross_entropy, labels_of, layer_norm

Arrays = Any
"""A tree of arrays."""


# ---------------------------------------------------------------- optimisers, as functions of trees


def sgd_step(lib: Any, loss: Callable, rate: float = 0.1) -> Callable:
    def step(params: Arrays, *batch: Any) -> tuple[Arrays, Any]:
        value, gradient = lib.value_and_grad(loss)(params, *batch)
        return lib.tree.map(lambda p, g: p - rate * g, params, gradient), value

    return lib.jit(step)


def adam_step(lib: Any, loss: Callable, rate: float = 1e-3) -> Callable:
    """Kingma and Ba (2015), algorithm 1."""
    def step(params: Arrays, state: tuple, *batch: Any) -> tuple[Arrays, tuple, Any]:
        first, second, count = state
        value, gradient = lib.value_and_grad(loss)(params, *batch)
        count = count + 1
        first = lib.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
        second = lib.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)

        def update(p: Any, m: Any, v: Any) -> Any:
            return p - rate * (m / (1 - 0.9 ** count)) / (lib.np.sqrt(v / (1 - 0.999 ** count)) + 1e-8)

        return lib.tree.map(update, params, first, second), (first, second, count), value

    return lib.jit(step)


def adam_state(lib: Any, params: Arrays) -> tuple:
    """The state some steps into training: there the update no longer depends on the sign of tiny gradients."""
    return (lib.tree.map(lambda p: 0.01 * p, params), lib.tree.map(lambda p: 0.01 * p * p + 1e-4, params),
            lib.np.asarray(np.float32(10)))


# ---------------------------------------------------------------- a multilayer perceptron


def mlp_arrays(sizes: Sequence[int]) -> list[dict[str, np.ndarray]]:
    return [{"weight": random_normal(n, m, seed=i) * np.float32(n ** -0.5), "bias": np.zeros(m, np.float32)}
            for i, (n, m) in enumerate(zip(sizes, sizes[1:]))]


def mlp(params: Any, x: Any, activation: Callable) -> Any:
    for layer in params[:-1]:
        x = activation(x @ layer["weight"] + layer["bias"])
    return x @ params[-1]["weight"] + params[-1]["bias"]


def mlp_step(lib: Any, sizes: Sequence[int], batch: int) -> Program:
    """Regression by gradient descent, hidden units with tanh."""
    def loss(params: Arrays, x: Any, y: Any) -> Any:
        return lib.np.mean((mlp(params, x, lib.np.tanh) - y) ** 2)

    data = random_normal(batch, sizes[0], seed=8), random_normal(batch, sizes[-1], seed=9)
    return sgd_step(lib, loss), (lib.tree.map(lib.np.asarray, mlp_arrays(sizes)), *map(lib.np.asarray, data))


def classifier_step(lib: Any, sizes: Sequence[int], batch: int) -> Program:
    """Classification by Adam, hidden units with relu."""
    def loss(params: Arrays, x: Any, labels: Any) -> Any:
        return cross_entropy(lib, mlp(params, x, lib.nn.relu), labels)

    params = lib.tree.map(lib.np.asarray, mlp_arrays(sizes))
    data = random_normal(batch, sizes[0], seed=8), labels_of(batch, sizes[-1])
    return adam_step(lib, loss), (params, adam_state(lib, params), *map(lib.np.asarray, data))


def mlp_torch(sizes: Sequence[int], batch: int) -> Program:
    data = random_normal(batch, sizes[0], seed=8), random_normal(batch, sizes[-1], seed=9)
    return networks_torch.mlp_step(mlp_arrays(sizes), *data)


def classifier_torch(sizes: Sequence[int], batch: int) -> Program:
    data = random_normal(batch, sizes[0], seed=8), labels_of(batch, sizes[-1])
    return networks_torch.classifier_step(mlp_arrays(sizes), *data)


# ---------------------------------------------------------------- a transformer


def transformer_arrays(blocks: int, width: int, length: int, vocabulary: int) -> dict[str, Any]:
    def weight(n: int, m: int, seed: int) -> np.ndarray:
        return random_normal(n, m, seed=seed) * np.float32(n ** -0.5)

    def norm() -> dict[str, np.ndarray]:
        return {"gain": np.ones(width, np.float32), "bias": np.zeros(width, np.float32)}

    return {"tokens": weight(vocabulary, width, 100), "positions": weight(length, width, 101), "norm": norm(),
            "blocks": [{"norm1": norm(), "qkv": weight(width, 3 * width, 4 * i), "out": weight(width, width, 4 * i + 1),
                        "norm2": norm(), "up": weight(width, 4 * width, 4 * i + 2), "down": weight(4 * width, width, 4 * i + 3)}
                       for i in range(blocks)]}


def attention(lib: Any, x: Any, qkv: Any, out: Any, heads: int) -> Any:
    """Causal attention; x has the shape [batch, length, width]."""
    batch, length, width = x.shape

    def split(a: Any) -> Any:
        return lib.np.transpose(lib.np.reshape(a, (batch, length, heads, width // heads)), (0, 2, 1, 3))

    q, k, v = map(split, lib.np.split(x @ qkv, 3, axis=-1))
    scores = q @ lib.np.swapaxes(k, -1, -2) * (width // heads) ** -0.5
    past = lib.np.tril(lib.np.ones((length, length), bool))
    weights = lib.nn.softmax(lib.np.where(past, scores, -1e9), axis=-1)
    return lib.np.reshape(lib.np.transpose(weights @ v, (0, 2, 1, 3)), (batch, length, width)) @ out


def transformer(lib: Any, params: Any, tokens: Any, heads: int) -> Any:
    def norm(x: Any, p: Any) -> Any:
        return layer_norm(lib, x, p["gain"], p["bias"])

    x = params["tokens"][tokens] + params["positions"]
    for block in params["blocks"]:
        x = x + attention(lib, norm(x, block["norm1"]), block["qkv"], block["out"], heads)
        x = x + lib.nn.gelu(norm(x, block["norm2"]) @ block["up"]) @ block["down"]
    return norm(x, params["norm"]) @ params["tokens"].T


def transformer_step(lib: Any, blocks: int, width: int, heads: int, length: int, batch: int, vocabulary: int) -> Program:
    """Predicts the next token, with Adam."""
    def loss(params: Arrays, tokens: Any, following: Any) -> Any:
        logits = transformer(lib, params, tokens, heads)
        return cross_entropy(lib, lib.np.reshape(logits, (-1, vocabulary)), lib.np.reshape(following, (-1,)))

    params = lib.tree.map(lib.np.asarray, transformer_arrays(blocks, width, length, vocabulary))
    text = labels_of(batch * (length + 1), vocabulary).reshape(batch, length + 1)
    data = lib.np.asarray(text[:, :-1]), lib.np.asarray(text[:, 1:])
    return adam_step(lib, loss), (params, adam_state(lib, params), *data)


def transformer_torch(blocks: int, width: int, heads: int, length: int, batch: int, vocabulary: int) -> Program:
    text = labels_of(batch * (length + 1), vocabulary).reshape(batch, length + 1)
    return networks_torch.transformer_step(transformer_arrays(blocks, width, length, vocabulary), text, heads)


MLP = Workload("MLP 784-512-256-10 step, Adam, batch 128", classifier_step, {"sizes": (784, 512, 256, 10), "batch": 128},
               {"sizes": (7, 5, 4, 3), "batch": 4}, Ratio(0.8), tolerance=1e-4,
               peers={"torch": classifier_torch})
TRANSFORMER = Workload(
    "transformer step, 2 blocks, d 128, 4 heads", transformer_step,
    {"blocks": 2, "width": 128, "heads": 4, "length": 64, "batch": 8, "vocabulary": 256},
    {"blocks": 1, "width": 8, "heads": 2, "length": 4, "batch": 2, "vocabulary": 11}, Ratio(0.8), tolerance=1e-3,
    peers={"torch": transformer_torch})
WORKLOADS = [
    Workload("MLP 2-16-16-1 step, batch 32", mlp_step, {"sizes": (2, 16, 16, 1), "batch": 32},
             {"sizes": (2, 3, 1), "batch": 4}, Ratio(0.4), tolerance=1e-4, peers={"torch": mlp_torch}),
    MLP,
    Workload("MLP 1024x4 step, batch 256", mlp_step, {"sizes": (1024,) * 5, "batch": 256}, {"sizes": (6,) * 5, "batch": 3},
             Ratio(1.0), tolerance=1e-3, peers={"torch": mlp_torch}),
    TRANSFORMER,
]
