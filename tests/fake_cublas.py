"""cuBLAS as its documentation says what it does, with NumPy: matrices column by column at addresses in memory.

In: the arguments of CuPy's ``gemmEx`` and ``gemmStridedBatchedEx``. Out: C = A B + beta C in memory. What cuBLAS refuses is an
error: combinations of dtypes that it does not have, leading dimensions that are too small, numbers that are no 32-bit integers.

    FakeCublas(memory.view).gemmEx(0, 0, 0, m, n, k, one, a, 0, m, b, 0, k, zero, c, 0, m, 68, -1)
"""
from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

DTYPES = {0: np.float32, 1: np.float64, 2: np.float16, 4: np.complex64, 5: np.complex128, 14: ml_dtypes.bfloat16}
COMBINATIONS = {
    68: {(0, 0, 0), (2, 2, 2), (2, 2, 0), (14, 14, 14), (14, 14, 0), (4, 4, 4)},
    77: {(0, 0, 0), (4, 4, 4)},
    70: {(1, 1, 1), (5, 5, 5)},
}
"""For each way to compute: the dtypes of A, B and C."""


def in_this_process(address: int, dtype: Any, shape: tuple, strides: tuple, write: bool = False) -> np.ndarray:
    """The elements at an address."""
    size = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) // np.dtype(dtype).itemsize
    data = (ctypes.c_char * (size * np.dtype(dtype).itemsize)).from_address(address)
    return np.ndarray(shape, dtype, data, 0, strides)


class FakeCublas:
    """``view(address, dtype, shape, strides in bytes, write)`` gives the elements at an address. ``calls`` counts the calls."""

    def __init__(self, view: Callable[..., np.ndarray] = in_this_process):
        self.view, self.calls = view, 0

    def gemmEx(self, handle: int, op_a: int, op_b: int, m: int, n: int, k: int, alpha: int, a: int, type_a: int,  # noqa: N802
               lda: int, b: int, type_b: int, ldb: int, beta: int, c: int, type_c: int, ldc: int, compute: int,
               algorithm: int) -> None:
        self.gemmStridedBatchedEx(handle, op_a, op_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0, beta, c, type_c,
                                  ldc, 0, 1, compute, algorithm)

    def gemmStridedBatchedEx(self, handle: int, op_a: int, op_b: int, m: int, n: int, k: int, alpha: int,  # noqa: N802
                             a: int, type_a: int, lda: int, stride_a: int, b: int, type_b: int, ldb: int, stride_b: int,
                             beta: int, c: int, type_c: int, ldc: int, stride_c: int, batch: int, compute: int,
                             algorithm: int) -> None:
        self.calls += 1
        assert algorithm == -1 and op_a in (0, 1) and op_b in (0, 1)
        assert (type_a, type_b, type_c) in COMBINATIONS[compute], "cuBLAS has no such product"
        assert all(0 < x < 1 << 31 for x in (m, n, k, lda, ldb, ldc, batch)) and min(stride_a, stride_b, stride_c) >= 0
        assert lda >= (k if op_a else m) and ldb >= (n if op_b else k) and ldc >= m
        assert batch == 1 or stride_c >= 1 and m * n > 0
        scale = np.complex128 if type_c == 5 else np.complex64 if type_c == 4 else DTYPES[1 if compute == 70 else 0]
        one, factor = (in_this_process(address, scale, (1,), (np.dtype(scale).itemsize,))[0] for address in (alpha, beta))
        for i in range(batch):
            left = self.matrix(a, type_a, (k, m) if op_a else (m, k), lda, i * stride_a)
            right = self.matrix(b, type_b, (n, k) if op_b else (k, n), ldb, i * stride_b)
            left, right = [rounded(x) if compute == 77 else x.astype(scale) for x in (left, right)]
            out = one * ((left.T if op_a else left) @ (right.T if op_b else right))
            if factor != 0:
                out = out + factor * self.matrix(c, type_c, (m, n), ldc, i * stride_c).astype(scale)
            self.matrix(c, type_c, (m, n), ldc, i * stride_c, True)[...] = out.astype(DTYPES[type_c])

    def matrix(self, address: int, kind: int, shape: tuple[int, int], ld: int, offset: int, write: bool = False) -> np.ndarray:
        size = np.dtype(DTYPES[kind]).itemsize
        return self.view(address + offset * size, DTYPES[kind], shape, (size, ld * size), write)


def rounded(x: np.ndarray) -> np.ndarray:
    """float32 with 10 bits behind the first, as tensor cores take it."""
    bits = np.ascontiguousarray(x).view(np.uint32).astype(np.uint64)
    return ((bits + 0xFFF + (bits >> 13 & 1)) >> 13 << 13).astype(np.uint32).view(x.dtype)
