"""Programs that work on each row of a matrix: softmax cross-entropy and layer norm, with their gradients."""
from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal


def labels_of(rows: int, classes: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, classes, rows).astype(np.int32)


def cross_entropy(lib: Any, logits: Any, labels: Any) -> Any:
    """The mean of -log(softmax(logits)) at the labels."""
    logs = lib.nn.log_softmax(logits)
    return -lib.np.mean(lib.np.take_along_axis(logs, labels[:, None], axis=1))


def cross_entropy_gradient(lib: Any, rows: int, classes: int) -> Program:
    gradient = lib.jit(lib.grad(lambda logits, labels: cross_entropy(lib, logits, labels)))
    return gradient, (lib.np.asarray(random_normal(rows, classes)), lib.np.asarray(labels_of(rows, classes)))


def cross_entropy_torch(rows: int, classes: int) -> Program:
    import torch

    def run(logits: Any, labels: Any) -> Any:
        return torch.autograd.grad(torch.nn.functional.cross_entropy(logits.requires_grad_(), labels), logits)[0]

    return run, (torch.from_numpy(random_normal(rows, classes)), torch.from_numpy(labels_of(rows, classes)).long())


def cross_entropy_numpy(rows: int, classes: int) -> Program:
    def run(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        out = np.exp(logits - logits.max(axis=1, keepdims=True))
        out /= out.sum(axis=1, keepdims=True)
        out[np.arange(rows), labels] -= 1
        out /= np.float32(rows)
        return out

    return run, (random_normal(rows, classes), labels_of(rows, classes))


def layer_norm(lib: Any, x: Any, gain: Any, bias: Any) -> Any:
    mean = lib.np.mean(x, axis=-1, keepdims=True)
    centred = x - mean
    variance = lib.np.mean(centred * centred, axis=-1, keepdims=True)
    return centred * lib.lax.rsqrt(variance + 1e-5) * gain + bias


def layer_norm_data(rows: int, columns: int) -> tuple[np.ndarray, ...]:
    return (random_normal(rows, columns), 1 + 0.1 * random_normal(columns, seed=1), random_normal(columns, seed=2),
            random_normal(rows, columns, seed=3))


def layer_norm_gradient(lib: Any, rows: int, columns: int) -> Program:
    """The gradients in the input, the gain and the bias; ``weights`` stands for what comes from the layers above."""
    def loss(x: Any, gain: Any, bias: Any, weights: Any) -> Any:
        return lib.np.sum(layer_norm(lib, x, gain, bias) * weights)

    return lib.jit(lib.grad(loss, argnums=(0, 1, 2))), tuple(map(lib.np.asarray, layer_norm_data(rows, columns)))


def layer_norm_torch(rows: int, columns: int) -> Program:
    import torch

    def run(x: Any, gain: Any, bias: Any, weights: Any) -> Any:
        wanted = [a.requires_grad_() for a in (x, gain, bias)]
        return torch.autograd.grad(torch.sum(torch.nn.functional.layer_norm(x, (columns,), gain, bias) * weights), wanted)

    return run, tuple(map(torch.from_numpy, layer_norm_data(rows, columns)))


def layer_norm_numpy(rows: int, columns: int) -> Program:
    def run(x: np.ndarray, gain: np.ndarray, bias: np.ndarray, weights: np.ndarray) -> Any:
        centred = x - x.mean(axis=1, keepdims=True)
        scale = 1 / np.sqrt((centred * centred).mean(axis=1, keepdims=True) + np.float32(1e-5))
        normal, ct = centred * scale, weights * gain
        back = ct - ct.mean(axis=1, keepdims=True) - normal * (ct * normal).mean(axis=1, keepdims=True)
        return back * scale, (weights * normal).sum(axis=0), weights.sum(axis=0)

    return run, layer_norm_data(rows, columns)


WORKLOADS = [
    Workload("softmax cross-entropy gradient, 4096x1000", cross_entropy_gradient, {"rows": 4096, "classes": 1000},
             {"rows": 5, "classes": 7}, Ratio(0.5), peers={"torch": cross_entropy_torch, "numpy": cross_entropy_numpy}),
    Workload("layer norm gradient, 8192x512", layer_norm_gradient, {"rows": 8192, "columns": 512},
             {"rows": 6, "columns": 5}, Ratio(0.5), tolerance=1e-4,
             peers={"torch": layer_norm_torch, "numpy": layer_norm_numpy}),
]
