"""Products of many very small matrices, for which calls of BLAS take longer than the work.

In: sizes and strides of two batches of matrices. Out: a kernel whose row is one product, its loops written out.

    f32[10000,2,2] by f32[10000,2,2]:    a tenth of the time of as many calls
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.expressions import computed, stored
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.rows import UNROLLED, pieces, size, text, word

LARGEST = 128
"""Multiplications in a product up to which BLAS is slower."""


def small_matmul(dtype: np.dtype, batch: Sequence[tuple[int, int, int]], sizes: tuple[int, int, int],
                 x_strides: tuple[int, int], y_strides: tuple[int, int]) -> NativeKernel | None:
    """z[..., i, j] = sum over p of x[..., i, p] * y[..., p, j], with x in slot 0, y in slot 1, and z, row-major, in slot 2.

    ``batch`` has (size, stride of x, stride of y) of each batch axis, ``sizes`` is (i, p, j); strides count elements. None
    where BLAS is faster.
    """
    m, k, n = sizes
    if m * k * n > LARGEST or max(sizes) > UNROLLED or 0 in sizes or dtype.kind == "b":
        return None
    rows = math.prod(axis[0] for axis in batch)
    words: list[int] = []
    names = dict(zip(("xi", "xp", "yp", "yj"), (*x_strides, *y_strides), strict=True))
    lines = [f"{name} = pointer_{stored(dtype)}(pointers, {slot})" for slot, name in enumerate("xyz")]
    lines += [f"{name} = {size(stride, words)}" for name, stride in names.items()]
    body = ["rest = r", "a = 0", "b = 0"] if len(batch) > 1 else []
    if len(batch) == 1:
        body += [f"{name} = r * {word(stride, words)}" for name, stride in zip("ab", batch[0][1:], strict=True)]
    elif not batch:
        body += ["a = 0", "b = 0"]
    else:
        for count, x_stride, y_stride in reversed(batch):
            body += [f"i = rest % {(number := word(count, words))}", f"rest = rest // {number}",
                     f"a = a + i * {word(x_stride, words)}", f"b = b + i * {word(y_stride, words)}"]
    body += [f"for i in range({m}):", *["    " + line for line in _line(dtype, k, n)], *[
        f"    z[r * {m * n} + i * {n} + {j}] = t{j}" for j in range(n)]]
    return NativeKernel(text([*lines, "for r in range(start, stop):", *["    " + line for line in body]]), words, rows,
                        pieces(rows, m * k * n))


def _line(dtype: np.dtype, k: int, n: int) -> list[str]:
    """One line of z, as t0, t1 ..."""
    total = f"{computed(dtype)}({{}})" if dtypes.kind(dtype) in "iu" else "{}"
    lines = []
    for p in range(k):
        lines.append(f"v = x[a + i * xi + {p} * xp]")
        for j in range(n):
            product = f"v * y[b + {p} * yp + {j} * yj]"
            lines.append(f"t{j} = " + total.format(f"{product} + t{j}" if p else product))
    return lines
