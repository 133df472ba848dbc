"""Derivatives composed: per-example gradients, a Hessian, and forces as the gradient of a potential."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal
from benchmarks.workloads.networks import mlp, mlp_arrays
from benchmarks.workloads.rows import labels_of


def per_example_gradients(lib: Any, sizes: Sequence[int], batch: int) -> Program:
    def loss(params: Any, x: Any, label: Any) -> Any:
        return -lib.nn.log_softmax(mlp(params, x, lib.np.tanh))[label]

    gradients = lib.jit(lib.vmap(lib.grad(loss), in_axes=(None, 0, 0)))
    data = random_normal(batch, sizes[0], seed=8), labels_of(batch, sizes[-1])
    return gradients, (lib.tree.map(lib.np.asarray, mlp_arrays(sizes)), *map(lib.np.asarray, data))


def per_example_torch(sizes: Sequence[int], batch: int) -> Program:
    import torch
    params = [{name: torch.from_numpy(a) for name, a in layer.items()} for layer in mlp_arrays(sizes)]

    def loss(params: Any, x: Any, label: Any) -> Any:
        return torch.nn.functional.cross_entropy(mlp(params, x, torch.tanh), label)

    data = torch.from_numpy(random_normal(batch, sizes[0], seed=8)), torch.from_numpy(labels_of(batch, sizes[-1])).long()
    return torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0)), (params, *data)


def curved(np_like: Any, a: Any, x: Any) -> Any:
    """Rosenbrock's function and the logarithm of a sum of exponentials."""
    valley = np_like.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)
    return valley + np_like.log(np_like.sum(np_like.exp(a @ x)))


def hessian(lib: Any, n: int) -> Program:
    a = lib.np.asarray(random_normal(n, n) * np.float32(n ** -0.5))
    return lib.jit(lib.hessian(lambda x: curved(lib.np, a, x))), (lib.np.asarray(random_normal(n, seed=1)),)


def hessian_autograd(n: int) -> Program:
    import autograd
    import autograd.numpy as anp
    a = random_normal(n, n) * np.float32(n ** -0.5)
    return autograd.hessian(lambda x: curved(anp, a, x)), (random_normal(n, seed=1),)


def hessian_torch(n: int) -> Program:
    import torch
    a = torch.from_numpy(random_normal(n, n) * np.float32(n ** -0.5))
    return torch.func.hessian(lambda x: curved(torch, a, x)), (torch.from_numpy(random_normal(n, seed=1)),)


SOFTENING = 1e-2


def bodies(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and masses."""
    return random_normal(n, 3), np.random.default_rng(1).uniform(0.5, 1.5, n).astype(np.float32)


def potential(np_like: Any, positions: Any, masses: Any) -> Any:
    apart = positions[:, None] - positions[None]
    distance = np_like.sqrt(np_like.sum(apart * apart, -1) + SOFTENING)
    return -0.5 * np_like.sum(masses[:, None] * masses[None] / distance)


def forces(lib: Any, n: int) -> Program:
    return lib.jit(lib.grad(lambda p, m: -potential(lib.np, p, m))), tuple(map(lib.np.asarray, bodies(n)))


def forces_torch(n: int) -> Program:
    import torch

    def run(p: Any, m: Any) -> Any:
        return torch.autograd.grad(-potential(torch, p.requires_grad_(), m), p)[0]

    return run, tuple(map(torch.from_numpy, bodies(n)))


def forces_numba(n: int) -> Program:
    import numba

    @numba.njit(parallel=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
    def run(p: np.ndarray, m: np.ndarray) -> np.ndarray:
        out = np.empty_like(p)
        for i in numba.prange(p.shape[0]):
            fx = fy = fz = np.float32(0)
            for j in range(p.shape[0]):
                x, y, z = p[j, 0] - p[i, 0], p[j, 1] - p[i, 1], p[j, 2] - p[i, 2]
                square = x * x + y * y + z * z + np.float32(SOFTENING)
                pull = m[i] * m[j] / (square * np.sqrt(square))
                fx += pull * x
                fy += pull * y
                fz += pull * z
            out[i, 0], out[i, 1], out[i, 2] = fx, fy, fz
        return out

    return run, bodies(n)


WORKLOADS = [
    Workload("per-example gradients, MLP 64-128-10, batch 256", per_example_gradients, {"sizes": (64, 128, 10), "batch": 256},
             {"sizes": (4, 3, 2), "batch": 3}, Ratio(0.7), tolerance=1e-4, peers={"torch": per_example_torch}),
    Workload("Hessian of a function of 50 numbers", hessian, {"n": 50}, {"n": 4}, Ratio(0.7), tolerance=1e-4,
             peers={"torch": hessian_torch, "autograd": hessian_autograd}),
    Workload("n-body forces, 512 bodies", forces, {"n": 512}, {"n": 5}, Ratio(0.7), tolerance=1e-3, also=("autograd",),
             peers={"torch": forces_torch, "numba": forces_numba}),
]
