"""The training steps of ``networks.py`` as one writes them for PyTorch: parameters that are updated in place.

In: the same arrays. Out: a function that makes one step, and its arguments. It returns what the functional step returns,
with the arrays in the same order.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workload import Program


def parameters(tree: Any) -> tuple[Any, list[Any]]:
    """The tree with tensors as leaves, and the tensors in the order of sorted keys."""
    import torch
    if isinstance(tree, np.ndarray):
        tensor = torch.as_tensor(tree, device=torch.get_default_device()).requires_grad_()
        return tensor, [tensor]
    keys = sorted(tree) if isinstance(tree, dict) else range(len(tree))
    pairs = {key: parameters(tree[key]) for key in keys}
    made = {key: pair[0] for key, pair in pairs.items()}
    return made if isinstance(tree, dict) else list(made.values()), [leaf for _, leaves in pairs.values() for leaf in leaves]


def mlp(layers: Any, x: Any, activation: Callable) -> Any:
    for layer in layers[:-1]:
        x = activation(x @ layer["weight"] + layer["bias"])
    return x @ layers[-1]["weight"] + layers[-1]["bias"]


def mlp_step(arrays: Any, x: np.ndarray, y: np.ndarray) -> Program:
    import torch
    layers, leaves = parameters(arrays)
    optimizer = torch.optim.SGD(leaves, lr=0.1)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = torch.mean((mlp(layers, x, torch.tanh) - y) ** 2)
        loss.backward()
        optimizer.step()
        return leaves, loss

    return step, (torch.from_numpy(x), torch.from_numpy(y))


def adam_step(leaves: list[Any], loss_of: Callable) -> Callable:
    """Steps with Adam that begin in the state of ``networks.adam_state``."""
    import torch
    optimizer = torch.optim.Adam(leaves, lr=1e-3)
    for p in leaves:
        value = p.detach()
        optimizer.state[p] = {"step": torch.tensor(10.0, device="cpu"), "exp_avg": 0.01 * value,
                              "exp_avg_sq": 0.01 * value * value + 1e-4}

    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        states = [optimizer.state[p] for p in leaves]
        return leaves, ([s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states], states[0]["step"]), loss

    return step


def classifier_step(arrays: Any, x: np.ndarray, labels: np.ndarray) -> Program:
    import torch
    layers, leaves = parameters(arrays)

    def loss(x: Any, labels: Any) -> Any:
        return torch.nn.functional.cross_entropy(mlp(layers, x, torch.relu), labels)

    return adam_step(leaves, loss), (torch.from_numpy(x), torch.from_numpy(labels).long())


def transformer_step(arrays: Any, text: np.ndarray, heads: int) -> Program:
    import torch
    import torch.nn.functional as F
    params, leaves = parameters(arrays)
    width = arrays["tokens"].shape[1]

    def norm(x: Any, p: Any) -> Any:
        return F.layer_norm(x, (width,), p["gain"], p["bias"])

    def attention(x: Any, block: Any) -> Any:
        q, k, v = [a.unflatten(-1, (heads, -1)).transpose(1, 2) for a in (x @ block["qkv"]).chunk(3, dim=-1)]
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return mixed.transpose(1, 2).flatten(-2) @ block["out"]

    def loss(tokens: Any, following: Any) -> Any:
        x = F.embedding(tokens, params["tokens"]) + params["positions"]
        for block in params["blocks"]:
            x = x + attention(norm(x, block["norm1"]), block)
            x = x + F.gelu(norm(x, block["norm2"]) @ block["up"], approximate="tanh") @ block["down"]
        logits = norm(x, params["norm"]) @ params["tokens"].T
        return F.cross_entropy(logits.flatten(0, 1), following.flatten())

    tokens = torch.from_numpy(text).long()
    return adam_step(leaves, loss), (tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
