"""The models of ``training.py`` as one writes them for PyTorch: modules, and parameters that are updated in place.

In: parameters as NumPy arrays. Out: a step, ``step(params, state, *batch) -> (params, state, loss)``; its first parameters are
NumPy arrays, from which the step with state None begins anew.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workloads.networks_torch import parameters


def begin(loss_of: Callable, arrays: Any, rate: float) -> tuple[Callable, Any, Any]:
    """``loss_of(params, *batch)`` with tensors for the arrays."""
    import torch

    def step(params: Any, state: Any, *batch: Any) -> tuple:
        if state is None:
            params, leaves = parameters(copied(params))
            state = leaves, torch.optim.AdamW(leaves, lr=rate, weight_decay=0.01, fused=True)
        leaves, optimizer = state
        optimizer.zero_grad()
        loss = loss_of(params, *map(torch.from_numpy, batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(leaves, 1.0)
        optimizer.step()
        return params, state, loss.detach()

    return step, arrays, None


def copied(tree: Any) -> Any:
    return {key: copied(value) for key, value in tree.items()} if isinstance(tree, dict) else np.array(tree)


def digits(params: Any, state: Any, rate: float) -> tuple[Callable, Any, Any]:
    import torch
    import torch.nn.functional as F

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        x = x.permute(0, 3, 1, 2)
        for i, pooled in ((0, False), (3, True), (7, True)):
            norm = params[str(i + 1)]
            width = norm["scale"].shape[0]
            x = F.conv2d(x, params[str(i)]["weight"], padding=1)
            # The running statistics begin anew in each step: they do not change the loss.
            x = F.batch_norm(x, torch.zeros(width), torch.ones(width), norm["scale"], norm["bias"], training=True)
            x = F.relu(x)
            x = F.max_pool2d(x, 2) if pooled else x
        last = max(params, key=int)
        logits = x.flatten(1) @ params[last]["weight"] + params[last]["bias"]
        return F.cross_entropy(logits, y.long())

    features = params["8"]["scale"].shape[0]
    last = max(params, key=int)
    weight = params[last]["weight"].reshape(2, 2, features, -1).transpose(2, 0, 1, 3).reshape(4 * features, -1)
    turned = {name: {"weight": entry["weight"].transpose(3, 2, 0, 1)} if entry.get("weight", weight).ndim == 4 else entry
              for name, entry in params.items()}
    return begin(loss_of, turned | {last: {**params[last], "weight": weight}}, rate)


def text(params: Any, heads: int, depth: int, rate: float) -> tuple[Callable, Any, Any]:
    import torch
    import torch.nn.functional as F

    def norm(p: Any, x: Any) -> Any:
        return F.layer_norm(x, x.shape[-1:], p["scale"], p["bias"])

    def turned(x: Any) -> Any:
        half = x.shape[-1] // 2
        angles = torch.arange(x.shape[-2])[:, None] * 10000.0 ** -(torch.arange(half) / half)
        cosine, sine = angles.cos(), angles.sin()
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

    def attention(p: Any, x: Any) -> Any:
        q, k, v = ((x @ p[name]["weight"]).unflatten(-1, (heads, -1)).transpose(1, 2) for name in ("query", "key", "value"))
        y = F.scaled_dot_product_attention(turned(q), turned(k), v, is_causal=True)
        return y.transpose(1, 2).flatten(2) @ p["out"]["weight"]

    def loss_of(params: Any, tokens: Any) -> Any:
        tokens = tokens.long()
        x = params["embedding"]["weight"][tokens[:, :-1]]
        for i in range(depth):
            block = params["blocks"][str(i)]
            x = x + attention(block["attention"], norm(block["attention_norm"], x))
            x = x + F.gelu(norm(block["mlp_norm"], x) @ block["up"]["weight"], approximate="tanh") @ block["down"]["weight"]
        logits = norm(params["norm"], x) @ params["logits"]["weight"] + params["logits"]["bias"]
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return begin(loss_of, params, rate)


def adding(params: Any, rate: float) -> tuple[Callable, Any, Any]:
    import torch
    layer = params["recurrent"]["0"]

    def loss_of(params: Any, x: Any, y: Any) -> Any:
        layer = params["recurrent"]
        size = layer["recurrent"].shape[1]
        zero = torch.zeros(1, len(x), size)
        weights = [layer["input"], layer["recurrent"], layer["bias"], torch.zeros(4 * size)]
        out, _, _ = torch.lstm(x, (zero, zero), weights, True, 1, 0.0, True, False, True)
        answer = (out[:, -1] @ params["out"]["weight"] + params["out"]["bias"])[:, 0]
        return torch.mean((answer - y) ** 2)

    turned = {"input": layer["input"].T, "recurrent": layer["recurrent"].T, "bias": layer["bias"]}
    return begin(loss_of, {"recurrent": turned, "out": params["out"]}, rate)
