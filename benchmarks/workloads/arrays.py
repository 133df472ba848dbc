"""Moving and summing: scatter-add, segment sums, reductions, transposes, cumulative sums."""
from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.workload import Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal


def indices_of(count: int, bound: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, bound, count).astype(np.int32)


# ---------------------------------------------------------------- rows by index


def embedding_data(rows: int, width: int, count: int) -> tuple[np.ndarray, ...]:
    return random_normal(rows, width), indices_of(count, rows), random_normal(count, width, seed=1)


def embedding_gradient(lib: Any, rows: int, width: int, count: int) -> Program:
    """The gradient in the table is zero but for the rows that were taken: the transpose of a gather is a scatter-add."""
    def loss(table: Any, indices: Any, wanted: Any) -> Any:
        return lib.np.sum((table[indices] - wanted) ** 2)

    return lib.jit(lib.grad(loss)), tuple(map(lib.np.asarray, embedding_data(rows, width, count)))


def embedding_torch(rows: int, width: int, count: int) -> Program:
    import torch

    def run(table: Any, indices: Any, wanted: Any) -> Any:
        taken = torch.nn.functional.embedding(indices, table.requires_grad_())
        return torch.autograd.grad(torch.sum((taken - wanted) ** 2), table)[0]

    return run, tuple(map(torch.from_numpy, embedding_data(rows, width, count)))


def embedding_numpy(rows: int, width: int, count: int) -> Program:
    def run(table: np.ndarray, indices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        out = np.zeros_like(table)
        np.add.at(out, indices, 2 * (table[indices] - wanted))
        return out

    return run, embedding_data(rows, width, count)


def embedding_numba(rows: int, width: int, count: int) -> Program:
    import numba

    @numba.njit
    def run(table: np.ndarray, indices: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        out = np.zeros_like(table)
        for k in range(indices.size):
            i = indices[k]
            for j in range(table.shape[1]):
                out[i, j] += np.float32(2) * (table[i, j] - wanted[k, j])
        return out

    return run, embedding_data(rows, width, count)


def segment_data(values: int, width: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    return random_normal(values, width), indices_of(values, segments)


def segment_sum(lib: Any, values: int, width: int, segments: int) -> Program:
    def run(x: Any, segment: Any) -> Any:
        return lib.np.zeros((segments, width), np.float32).at[segment].add(x)

    return lib.jit(run), tuple(map(lib.np.asarray, segment_data(values, width, segments)))


def segment_sum_torch(values: int, width: int, segments: int) -> Program:
    import torch

    def run(x: Any, segment: Any) -> Any:
        return torch.zeros(segments, width).index_add_(0, segment, x)

    return run, tuple(map(torch.from_numpy, segment_data(values, width, segments)))


def segment_sum_numpy(values: int, width: int, segments: int) -> Program:
    def run(x: np.ndarray, segment: np.ndarray) -> np.ndarray:
        out = np.zeros((segments, width), np.float32)
        np.add.at(out, segment, x)
        return out

    return run, segment_data(values, width, segments)


# ---------------------------------------------------------------- whole arrays


def reductions(lib: Any, n: int, axis: int | None) -> Program:
    """The sum and the maximum."""
    return lib.jit(lambda x: (lib.np.sum(x, axis=axis), lib.np.max(x, axis=axis))), (lib.np.asarray(random_normal(n, n)),)


def reductions_torch(n: int, axis: int | None) -> Program:
    import torch
    axes = (0, 1) if axis is None else axis
    return lambda x: (torch.sum(x, dim=axes), torch.amax(x, dim=axes)), (torch.from_numpy(random_normal(n, n)),)


def transpose_matrix(lib: Any, n: int) -> Program:
    """The sum makes every library read both orders and write a new array."""
    return lib.jit(lambda x: x + x.T), (lib.np.asarray(random_normal(n, n)),)


def transpose_axes(lib: Any, shape: tuple[int, ...]) -> Program:
    return lib.jit(lambda x: lib.np.transpose(x, (2, 0, 1)) * 2), (lib.np.asarray(random_normal(*shape)),)


def cumulative_sum(lib: Any, n: int, axis: int) -> Program:
    return lib.jit(lambda x: lib.np.cumsum(x, axis=axis)), (lib.np.asarray(random_normal(n, n)),)


def cumulative_sum_torch(n: int, axis: int) -> Program:
    import torch
    return lambda x: torch.cumsum(x, dim=axis), (torch.from_numpy(random_normal(n, n)),)


WORKLOADS = [
    Workload("embedding gradient, 8192 rows into 50,000x64", embedding_gradient, {"rows": 50_000, "width": 64, "count": 8192},
             {"rows": 7, "width": 3, "count": 20}, Ratio(0.5),
             peers={"torch": embedding_torch, "numpy": embedding_numpy, "numba": embedding_numba}),
    Workload("segment sum, 100,000x16 into 10,000", segment_sum, {"values": 100_000, "width": 16, "segments": 10_000},
             {"values": 20, "width": 3, "segments": 4}, Ratio(0.5), tolerance=1e-4,
             peers={"torch": segment_sum_torch, "numpy": segment_sum_numpy}),
    *[Workload(f"sum and maximum of 1024x1024, {label}", reductions, {"n": 1024, "axis": axis}, {"n": 6, "axis": axis},
               Ratio(0.8), tolerance=1e-4, also=("numpy",), peers={"torch": reductions_torch})
      for label, axis in (("axis 0", 0), ("axis 1", 1), ("all", None))],
    Workload("x + x.T, 2048x2048", transpose_matrix, {"n": 2048}, {"n": 5}, Ratio(0.8), also=("numpy",)),
    Workload("transpose to (2, 0, 1), 64x128x256", transpose_axes, {"shape": (64, 128, 256)}, {"shape": (2, 3, 4)}, Ratio(0.8),
             also=("numpy",)),
    *[Workload(f"cumsum of 1024x1024, axis {axis}", cumulative_sum, {"n": 1024, "axis": axis}, {"n": 6, "axis": axis},
               Ratio(0.8), tolerance=1e-4, also=("numpy",), peers={"torch": cumulative_sum_torch}) for axis in (0, 1)],
]
