"""Fourier transforms and differential equations: gradients through ``rfft``, and through an adaptive solver."""
from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal


def spectral_gradient(lib: Any, rows: int, n: int) -> Program:
    gradient = lib.jit(lib.grad(lambda x: lib.np.sum(lib.np.log1p(lib.np.abs(lib.np.fft.rfft(x)) ** 2))))
    return gradient, (lib.np.asarray(random_normal(rows, n)),)


def spectral_gradient_torch(rows: int, n: int) -> Program:
    import torch

    def run(x: Any) -> Any:
        return torch.autograd.grad(torch.log1p(torch.fft.rfft(x.requires_grad_()).abs() ** 2).sum(), x)[0]

    return run, (torch.from_numpy(random_normal(rows, n)),)


def equation_gradient(lib: Any, n: int) -> Program:
    """The gradient in the weights of a linear layer with tanh as the right-hand side, by the adjoint method."""
    odeint = importlib.import_module(f"{lib.name}.experimental.ode").odeint
    weights, start = random_normal(n, n) * np.float32(n ** -0.5), random_normal(n, seed=1)
    times = np.linspace(0, 5, 11, dtype=np.float32)

    def loss(w: Any, y: Any) -> Any:
        field = lambda y, t, w: lib.np.tanh(w @ y) - 0.1 * y  # noqa: E731
        return lib.np.sum(odeint(field, y, lib.np.asarray(times), w, rtol=1e-5, atol=1e-5)[-1] ** 2)

    return lib.jit(lib.grad(loss)), (lib.np.asarray(weights), lib.np.asarray(start))


WORKLOADS = [
    Workload("gradient through rfft, 64 x 4096", spectral_gradient, {"rows": 64, "n": 4096}, {"rows": 2, "n": 6}, Ratio(1.0),
             tolerance=1e-3, peers={"torch": spectral_gradient_torch}),
    Workload("gradient through odeint, 16 states", equation_gradient, {"n": 16}, {"n": 3}, Ratio(0.7), tolerance=1e-2),
]
