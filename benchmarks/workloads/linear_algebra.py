"""Gradients through solutions, factorisations and spectra: many small matrices, and a large one."""
from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal


def definite(*shape: int) -> np.ndarray:
    """Symmetric positive definite matrices."""
    x = random_normal(*shape)
    return (x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])).astype(np.float32)


def solutions(lib: Any, batch: int, n: int) -> Program:
    def loss(a: Any, b: Any) -> Any:
        return lib.np.sum(lib.np.linalg.solve(a, b) ** 2)

    return lib.jit(lib.grad(loss, argnums=(0, 1))), (
        lib.np.asarray(definite(batch, n, n)), lib.np.asarray(random_normal(batch, n, 1, seed=1)))


def likelihoods(lib: Any, batch: int, n: int) -> Program:
    """The logarithms of Gaussian densities, up to a constant, by Cholesky factors of the covariances."""
    def loss(a: Any, x: Any) -> Any:
        factor = lib.np.linalg.cholesky(a)
        z = lib.np.linalg.solve(factor, x)
        return lib.np.sum(z * z) + 2.0 * lib.np.sum(lib.np.log(lib.np.diagonal(factor, axis1=-2, axis2=-1)))

    return lib.jit(lib.grad(loss)), (lib.np.asarray(definite(batch, n, n)), lib.np.asarray(random_normal(batch, n, 1, seed=1)))


def solution(lib: Any, n: int) -> Program:
    def loss(a: Any, b: Any) -> Any:
        return lib.np.sum(lib.np.linalg.solve(a, b) ** 2)

    return lib.jit(lib.grad(loss)), (lib.np.asarray(definite(n, n)), lib.np.asarray(random_normal(n, seed=1)))


def spectrum(lib: Any, n: int) -> Program:
    """The projector onto the upper half of the eigenvectors, weighted by the eigenvalues."""
    def loss(a: Any, weights: Any) -> Any:
        w, v = lib.np.linalg.eigh(a)
        upper = v[:, n // 2:]
        return lib.np.sum(weights * ((upper * w[n // 2:]) @ upper.T))

    return lib.jit(lib.grad(loss)), (lib.np.asarray(definite(n, n)), lib.np.asarray(random_normal(n, n, seed=1)))


WORKLOADS = [
    Workload("many small solutions, gradient", solutions, dict(batch=10_000, n=4), dict(batch=20, n=3), Ratio(0.7),
             tolerance=1e-3),
    Workload("many small Cholesky factors, gradient", likelihoods, dict(batch=10_000, n=4), dict(batch=20, n=3), Ratio(0.7),
             tolerance=1e-3),
    Workload("one solution, gradient", solution, dict(n=512), dict(n=8), Ratio(1.0), tolerance=1e-3),
    Workload("eigenvectors, gradient", spectrum, dict(n=256), dict(n=8), Ratio(1.0), tolerance=1e-2),
]
