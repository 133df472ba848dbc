"""Convolutions and pooling: a network for images, and the gradients of their parts."""
from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal
from benchmarks.workloads.networks import sgd_step
from benchmarks.workloads.rows import cross_entropy, labels_of

NHWC = ("NHWC", "HWIO", "NHWC")


# ---------------------------------------------------------------- a network


def network_arrays(size: int, channels: tuple[int, int], classes: int) -> dict[str, np.ndarray]:
    first, second = channels
    flat = (size // 4) ** 2 * second
    return {"first": random_normal(3, 3, 1, first) * np.float32(9 ** -0.5), "first_bias": np.zeros(first, np.float32),
            "second": random_normal(3, 3, first, second, seed=1) * np.float32((9 * first) ** -0.5),
            "second_bias": np.zeros(second, np.float32),
            "last": random_normal(flat, classes, seed=2) * np.float32(flat ** -0.5), "last_bias": np.zeros(classes, np.float32)}


def network_step(lib: Any, size: int, channels: tuple[int, int], batch: int) -> Program:
    """Two convolutions, each with relu and maximum over 2x2 windows, and a linear layer; a step of gradient descent."""
    def layer(x: Any, w: Any, b: Any) -> Any:
        y = lib.nn.relu(lib.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC) + b)
        return lib.lax.reduce_window(y, -np.inf, lib.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def loss(p: Any, x: Any, labels: Any) -> Any:
        y = layer(layer(x, p["first"], p["first_bias"]), p["second"], p["second_bias"])
        return cross_entropy(lib, y.reshape(len(y), -1) @ p["last"] + p["last_bias"], labels)

    data = random_normal(batch, size, size, 1, seed=8), labels_of(batch, 10)
    return sgd_step(lib, loss), (lib.tree.map(lib.np.asarray, network_arrays(size, channels, 10)), *map(lib.np.asarray, data))


def network_torch(size: int, channels: tuple[int, int], batch: int) -> Program:
    import torch
    functional = torch.nn.functional
    arrays = network_arrays(size, channels, 10)
    for name in ("first", "second"):
        arrays[name] = np.ascontiguousarray(arrays[name].transpose(3, 2, 0, 1))

    def layer(x: Any, w: Any, b: Any) -> Any:
        return functional.max_pool2d(torch.relu(functional.conv2d(x, w, b, padding="same")), 2)

    def step(params: Any, x: Any, labels: Any) -> Any:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        y = layer(layer(x, leaves["first"], leaves["first_bias"]), leaves["second"], leaves["second_bias"])
        logits = y.permute(0, 2, 3, 1).reshape(len(y), -1) @ leaves["last"] + leaves["last_bias"]
        value = functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(value, list(leaves.values()))
        new = {name: (p - 0.1 * g).detach() for (name, p), g in zip(leaves.items(), gradients)}
        for name in ("first", "second"):
            new[name] = new[name].permute(2, 3, 1, 0)
        return new, value.detach()

    x = torch.from_numpy(random_normal(batch, size, size, 1, seed=8)).permute(0, 3, 1, 2)
    return step, ({name: torch.from_numpy(a) for name, a in arrays.items()}, x, torch.from_numpy(labels_of(batch, 10)).long())


# ---------------------------------------------------------------- parts


def depthwise_gradient(lib: Any, size: int, channels: int, batch: int) -> Program:
    """The gradients with respect to input and kernel of a 3x3 convolution of each channel by itself."""
    def loss(x: Any, w: Any) -> Any:
        y = lib.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=channels)
        return lib.np.mean(y * y)

    data = random_normal(batch, size, size, channels), random_normal(3, 3, 1, channels, seed=1)
    return lib.jit(lib.grad(loss, (0, 1))), tuple(map(lib.np.asarray, data))


def transposed_gradient(lib: Any, size: int, channels: tuple[int, int], batch: int) -> Program:
    """The gradients with respect to input and kernel of a 3x3 transposed convolution that doubles the size."""
    def loss(x: Any, w: Any) -> Any:
        y = lib.lax.conv_transpose(x, w, (2, 2), "SAME")
        return lib.np.mean(y * y)

    data = random_normal(batch, size, size, channels[0]), random_normal(3, 3, *channels, seed=1)
    return lib.jit(lib.grad(loss, (0, 1))), tuple(map(lib.np.asarray, data))


def pooling_gradient(lib: Any, size: int, channels: int, batch: int) -> Program:
    """The gradient of the maxima of 3x3 windows two steps apart."""
    def loss(x: Any) -> Any:
        y = lib.lax.reduce_window(x, -np.inf, lib.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
        return lib.np.mean(y * y)

    return lib.jit(lib.grad(loss)), (lib.np.asarray(random_normal(batch, size, size, channels)),)


WORKLOADS = [
    Workload("convolution step, 28x28x1 to 32 to 64 channels, batch 64", network_step,
             {"size": 28, "channels": (32, 64), "batch": 64}, {"size": 8, "channels": (3, 4), "batch": 2}, Ratio(0.9),
             tolerance=1e-3, peers={"torch": network_torch}),
    Workload("depthwise convolution gradient, 16x28x28x64", depthwise_gradient, {"size": 28, "channels": 64, "batch": 16},
             {"size": 5, "channels": 3, "batch": 2}, Ratio(0.5), tolerance=1e-3),
    Workload("transposed convolution gradient, 16x14x14x64 to 28x28x32", transposed_gradient,
             {"size": 14, "channels": (64, 32), "batch": 16}, {"size": 4, "channels": (3, 2), "batch": 2}, Ratio(0.5),
             tolerance=1e-3),
    Workload("maximum pooling gradient, 16x56x56x64", pooling_gradient, {"size": 56, "channels": 64, "batch": 16},
             {"size": 7, "channels": 3, "batch": 2}, Ratio(0.5), tolerance=1e-4),
]
