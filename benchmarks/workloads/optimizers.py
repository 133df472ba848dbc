"""One update of an optimiser: thirty parameters with a million elements, gradients given; no network around it."""
from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal

RATE, DECAY = 1e-3, 1e-2


def trees(blocks: int, width: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Parameters as those of a transformer, six in a block, and gradients."""
    shapes = [(width, 3 * width), (3 * width,), (width, width), (width,), (4 * width, width), (width,)] * blocks
    return tuple({f"{i:03}": scale * random_normal(*shape, seed=seed + i) for i, shape in enumerate(shapes)}
                 for seed, scale in ((0, np.float32(1)), (1000, np.float32(0.1))))


def settings(name: str) -> dict[str, float]:
    return {} if name == "adam" else {"weight_decay": DECAY}


def update(lib: Any, name: str, blocks: int, width: int) -> Program:
    """optax is what fg.optim is to funcgrad."""
    optim = importlib.import_module("optax") if lib.name == "jax" else lib.optim
    optimizer = getattr(optim, name)(RATE, **settings(name))

    def step(params: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state

    params, gradient = [lib.tree.map(lib.np.asarray, tree) for tree in trees(blocks, width)]
    return lib.jit(step), (params, optimizer.init(params), gradient)


def update_numpy(name: str, blocks: int, width: int) -> Program:
    """Kingma and Ba, Loshchilov and Hutter, You et al., for one leaf after the other."""
    eps, decay = (1e-6 if name == "lamb" else 1e-8), settings(name).get("weight_decay", 0.0)

    def step(params: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        count, means, squares = state[0] + 1, {}, {}
        following = {}
        for key, p in params.items():
            g = gradient[key]
            means[key], squares[key] = 0.9 * state[1][key] + 0.1 * g, 0.999 * state[2][key] + 0.001 * g * g
            u = means[key] / (1 - 0.9 ** count) / (np.sqrt(squares[key] / (1 - 0.999 ** count)) + eps) + decay * p
            if name == "lamb":
                u *= np.linalg.norm(p) / np.linalg.norm(u)
            following[key] = p - RATE * u
        return following, (np.int32(count), means, squares)

    params, gradient = trees(blocks, width)
    zeros = {key: np.zeros_like(p) for key, p in params.items()}
    return step, (params, (0, zeros, zeros), gradient)


def update_torch(name: str, blocks: int, width: int) -> Program:
    """In place, in PyTorch's one kernel for all parameters."""
    import torch
    params, gradient = trees(blocks, width)
    leaves = [torch.from_numpy(p).requires_grad_() for p in params.values()]
    for leaf, g in zip(leaves, gradient.values()):
        leaf.grad = torch.from_numpy(g)
    make = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    optimizer = make(leaves, lr=RATE, fused=True, **settings(name))

    def step() -> Any:
        optimizer.step()
        states = [optimizer.state[leaf] for leaf in leaves]
        return leaves, (states[0]["step"].int(), [s["exp_avg"] for s in states], [s["exp_avg_sq"] for s in states])

    return step, ()


def workload(name: str, title: str, width: int) -> Workload:
    peers = {"numpy": update_numpy} if name == "lamb" else {"torch": update_torch, "numpy": update_numpy}
    return Workload(title, update, {"name": name, "blocks": 5, "width": width}, {"name": name, "blocks": 2, "width": 3},
                    Ratio(0.8), peers=peers)


WORKLOADS = [
    workload("adam", "Adam update, 30 parameters, 1e6 elements", 158),
    workload("adam", "Adam update, 30 parameters, 3e3 elements", 8),
    workload("adamw", "AdamW update, 30 parameters, 1e6 elements", 158),
    workload("lamb", "LAMB update, 30 parameters, 1e6 elements", 158),
]
