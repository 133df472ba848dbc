"""Matrix products: which of BLAS's forms a contraction is, as strided views lie in memory.

In: the views of two operands and the axes that are contracted and batched. Out: a ``Product``, the arguments of ``gemm``
and how the matrices of a batch follow each other; or the number of an operand that has to be copied first.

    f32[64,32] by f32[16,32], contracted over axes 1 and 1:  C = A B', which BLAS does with a flag and no copy
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.multiplying import small_matmul
from funcgrad.compiler.view import View, row_major

ALONE = 1 << 18
"""Multiplications up to which one thread does a product alone."""
FEW = 512
"""Multiplications up to which a call of BLAS costs more than they do."""
BLOCKS = ((1 << 25, 2), (1 << 29, 4))
"""Up to how many multiplications a large product has how many blocks; beyond, it has 8. Each block packs an operand anew."""
STEP = 16
"""The sizes of blocks are multiples of it."""
WORTH_SHARING = 1 << 17
"""Multiplications of a whole batch from which threads share it."""


@dataclass(frozen=True, slots=True)
class Product:
    """``outs[i] = lhs[i] @ rhs[i]`` in row-major order, for a batch with two axes. Strides of the batch are in bytes."""

    m: int
    n: int
    k: int
    lhs: tuple[str, int]
    rhs: tuple[str, int]
    batch: tuple[int, int]
    strides: tuple[int, ...]
    row: int
    """From row to row of the result, in elements."""
    last: tuple[str, int] = ("", 0)
    """Which size is another one in the last product of the batch, and what it is there."""
    onto: bool = False
    """Added to what the result's memory holds."""

    def words(self, dtype: np.dtype) -> list[int]:
        """The sizes of a GEMM instruction. BLAS is column-major: it computes the transposed product, rhs first."""
        zero, one = (np.frombuffer(dtype.type(x).tobytes().ljust(16, b"\0"), np.int64).tolist() for x in (0, 1))
        (lhs_flag, lhs_stride), (rhs_flag, rhs_stride) = self.lhs, self.rhs
        axis, last = self.last
        return [ord(rhs_flag), ord(lhs_flag), self.n, self.m, self.k, rhs_stride, lhs_stride, self.row, *one,
                *(one if self.onto else zero),
                *self.batch, *self.strides, last if axis == "n" else self.n, last if axis == "m" else self.m]

    @property
    def matrices(self) -> int:
        return self.batch[0] * self.batch[1]

    @property
    def shared(self) -> bool:
        """Whether threads share the batch."""
        return self.matrices > 1 and self.m * self.n * self.k * self.matrices > WORTH_SHARING


def is_small(lhs: Sequence[int], rhs: Sequence[int], dimensions: tuple) -> bool:
    """Whether a contraction is better not left to BLAS: outer products, a vector as an operand, very few terms."""
    (lc, rc), (lb, rb) = dimensions
    m = math.prod(n for d, n in enumerate(lhs) if d not in (*lc, *lb))
    n = math.prod(n for d, n in enumerate(rhs) if d not in (*rc, *rb))
    k = math.prod(lhs[d] for d in lc)
    return min(m, n, k) <= 1 or m * n * k * math.prod(lhs[d] for d in lb) <= FEW


def product(lhs: View, rhs: View, dimensions: tuple, out: View | None = None) -> Product | tuple[int, list[int]] | None:
    """How BLAS computes a contraction; or which operand (0 or 1) must be copied, with its contracted axes in this order.

    Where a copy of either would do, it is the smaller one. The result is row-major, or lies as ``out`` says: None if BLAS
    cannot write it there.
    """
    (lc, rc), (lb, rb) = dimensions
    lf = [d for d in range(len(lhs.shape)) if d not in (*lc, *lb)]
    rf = [d for d in range(len(rhs.shape)) if d not in (*rc, *rb)]
    size = lhs.buffer.dtype.itemsize
    missing = []
    for order in (0, 1):  # contracted axes may be taken in the order of either operand
        pairs = sorted(zip(lc, rc, strict=True), key=lambda pair: pair[order])
        a = _matrix(_group(lhs, lf), _group(lhs, [i for i, _ in pairs]))
        b = _matrix(_group(rhs, [j for _, j in pairs]), _group(rhs, rf))
        if a is not None and b is not None:
            break
        missing.append([(side, [pair[side] for pair in pairs]) for side, found in ((0, a), (1, b)) if found is None])
    else:
        return min(missing, key=lambda copies: (len(copies), math.prod((lhs, rhs)[copies[0][0]].shape)))[0]
    m, k, n = (math.prod(view.shape[d] for d in axes) for view, axes in ((lhs, lf), (lhs, lc), (rhs, rf)))
    if out is None:
        shape = [view.shape[d] for view, axes in ((lhs, lb), (lhs, lf), (rhs, rf)) for d in axes]
        out = View(None, tuple(shape), row_major(shape))
    ends = len(lb), len(lb) + len(lf)
    place = _matrix(_group(out, range(*ends)), _group(out, range(ends[1], len(out.shape))))
    if place is None or place[0] != "N":
        return None
    batch = _batch(lhs, rhs, out, lb, rb)
    if batch is None:
        return (0, list(lc)) if not lhs.contiguous else (1, list(rc))
    sizes, steps = batch
    # The order in which the executor has the operands: rhs, lhs, result.
    strides = [s * size for side in (1, 0, 2) for s in steps[side]]
    return Product(m, n, k, a, b, sizes, tuple(strides), place[1])


def small_product(found: Product, dtype: np.dtype) -> NativeKernel | None:
    """The kernel for a batch of products that are too small for BLAS."""
    if found.matrices <= 1:
        return None
    rhs, lhs = found.strides[:2], found.strides[2:4]
    batch = [(n, x // dtype.itemsize, y // dtype.itemsize) for n, x, y in zip(found.batch, lhs, rhs, strict=True)]
    strides = [(ld, 1) if flag == "N" else (1, ld) for flag, ld in (found.lhs, found.rhs)]
    return small_matmul(dtype, [axis for axis in batch if axis[0] != 1], (found.m, found.k, found.n), *strides)


def divided(whole: Product, size: int) -> Product:
    """A product too large for one thread as blocks of rows or of columns, which threads share.

    How many blocks depends on the sizes alone. The threads of OpenBLAS would do the same, but they wait for each other by
    spinning, which takes long where other programs run too.
    """
    work = whole.m * whole.n * whole.k
    by_rows = whole.m >= whole.n
    extent = whole.m if by_rows else whole.n
    if whole.matrices > 1 or work <= ALONE or extent < 2:
        return whole
    count = min(next((count for limit, count in BLOCKS if work < limit), 8), extent)
    step = -(-extent // count)
    if step > STEP:
        step = -(-step // STEP) * STEP
    count = -(-extent // step)
    last = extent - (count - 1) * step
    if by_rows:
        apart = step * (whole.lhs[1] if whole.lhs[0] == "N" else 1)
        return replace(whole, m=step, batch=(1, count), strides=(0, 0, 0, apart * size, 0, step * whole.row * size),
                       last=("m", last))
    apart = step * (whole.rhs[1] if whole.rhs[0] == "T" else 1)
    return replace(whole, n=step, batch=(1, count), strides=(0, apart * size, 0, 0, 0, step * size), last=("n", last))


def _group(view: View, axes: Sequence[int]) -> tuple[int, int] | None:
    """Some axes as one: size and stride, or None if they do not follow each other in memory."""
    axes = [d for d in axes if view.shape[d] != 1]
    if any(view.strides[a] != view.strides[b] * view.shape[b] for a, b in zip(axes, axes[1:], strict=False)):
        return None
    return (math.prod(view.shape[d] for d in axes), view.strides[axes[-1]]) if axes else (1, 0)


def _matrix(rows: tuple[int, int] | None, columns: tuple[int, int] | None) -> tuple[str, int] | None:
    """The flag and leading dimension of a row-major matrix for a column-major BLAS."""
    if rows is None or columns is None:
        return None
    (m, row), (n, column) = rows, columns
    if (column == 1 or n == 1) and (m == 1 or row >= n):
        return "N", max(row if m > 1 else n, n, 1)
    if (row == 1 or m == 1) and (n == 1 or column >= m):
        return "T", max(column if n > 1 else m, m, 1)
    return None


def _batch(lhs: View, rhs: View, out: View, lb: Sequence[int], rb: Sequence[int]) -> tuple | None:
    """The batch as two axes, and the strides of each operand and the result along them."""
    axes = [(lhs.shape[i], (lhs.strides[i], rhs.strides[j], s)) for i, j, s in zip(lb, rb, out.strides, strict=False)
            if lhs.shape[i] != 1]
    merged: list[tuple[int, tuple[int, int, int]]] = []
    for n, strides in axes:
        if merged and all(a == b * n for a, b in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = merged[-1][0] * n, strides
        else:
            merged.append((n, strides))
    if len(merged) > 2:
        return None
    while len(merged) < 2:
        merged.insert(0, (1, (0, 0, 0)))
    (outer, x), (inner, y) = merged
    return (outer, inner), [(x[i], y[i]) for i in range(3)]
