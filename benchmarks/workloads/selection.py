"""Choosing and ordering: sorts, their gradients, the largest elements, functions that are computed where they are selected."""
from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal


def sort(lib: Any, rows: int, columns: int) -> Program:
    return lib.jit(lambda x: lib.np.sort(x, axis=-1)), (lib.np.asarray(random_normal(rows, columns)),)


def sort_gradient(lib: Any, rows: int, columns: int) -> Program:
    """A sum that weighs the smallest elements most: an L-estimator."""
    weights = np.linspace(2, 0, columns, dtype=np.float32)
    return lib.jit(lib.grad(lambda x: lib.np.sum(lib.np.sort(x, axis=-1) * weights))), (
        lib.np.asarray(random_normal(rows, columns)),)


def argsort(lib: Any, rows: int, columns: int) -> Program:
    return lib.jit(lambda x: x[lib.np.argsort(x[:, 0])]), (lib.np.asarray(random_normal(rows, columns)),)


def largest(lib: Any, rows: int, columns: int) -> Program:
    return lib.jit(lambda x: lib.lax.top_k(x, 8)[0]), (lib.np.asarray(random_normal(rows, columns)),)


def piecewise(lib: Any, n: int) -> Program:
    """The gradient of x log x where x is positive. Without ``piecewise`` a harmless number must be put into the logarithm."""
    def entropy(x: Any) -> Any:
        if hasattr(lib.module, "piecewise"):
            return lib.piecewise(x > 0, lambda v: v * lib.np.log(v), 0.0, x)
        positive = lib.np.where(x > 0, x, 1.0)
        return lib.np.where(x > 0, positive * lib.np.log(positive), 0.0)

    return lib.jit(lib.grad(lambda x: lib.np.sum(entropy(x)))), (lib.np.asarray(random_normal(n)),)


WORKLOADS = [
    Workload("sort of 1024x1024", sort, {"rows": 1024, "columns": 1024}, {"rows": 3, "columns": 5}, Ratio(0.8),
             also=("numpy",)),
    Workload("sort of 1024x1024, its gradient", sort_gradient, {"rows": 1024, "columns": 1024}, {"rows": 3, "columns": 5},
             Ratio(0.8)),
    Workload("rows in the order of a column, 100,000x16", argsort, {"rows": 100_000, "columns": 16}, {"rows": 9, "columns": 2},
             Ratio(0.8), also=("numpy",)),
    Workload("top 8 of rows, 4096x1000", largest, {"rows": 4096, "columns": 1000}, {"rows": 3, "columns": 20}, Ratio(0.8)),
    Workload("piecewise x log x, its gradient, 1e6", piecewise, {"n": 1_000_000}, {"n": 50}, Ratio(0.8), tolerance=1e-4),
]
