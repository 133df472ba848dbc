"""Square tiles of matrices, transposed in vector registers.

In: a pointer, the place of a tile and how far its rows are apart, of the source and of the result. Out: Numba intrinsics
``transpose_u8`` to ``transpose_u64`` for kernel sources. Imported only when something is compiled.

    transpose_u32(x, a, m, y, b, n)        y[b + j*n + i] = x[a + i*m + j] for i and j below 8
"""
from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from funcgrad.compiler.natives.rows import TILE


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Each round interleaves the first half of the rows with the second: the last bit of a row's number becomes the first
    bit of a column's, so that after as many rounds as a number has bits, the two have changed places."""
    n = len(rows)
    half = n // 2
    kind = ir.VectorType(ir.IntType(32), n)
    masks = [ir.Constant(kind, [first + i // 2 + i % 2 * n for i in range(n)]) for first in (0, half)]
    for _ in range(n.bit_length() - 1):
        rows = [builder.shuffle_vector(rows[i], rows[i + half], mask) for i in range(half) for mask in masks]
    return rows


def _transpose(bits: int) -> Any:
    size = TILE[bits // 8]
    vector = ir.VectorType(ir.IntType(bits), size)

    @intrinsic
    def transpose(typing: Any, x: Any, a: Any, m: Any, y: Any, b: Any, n: Any) -> Any:
        def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
            x, a, m, y, b, n = args

            def row(base: Any, start: Any, stride: Any, i: int) -> Any:
                index = builder.add(start, builder.mul(stride, ir.IntType(64)(i)))
                return builder.bitcast(builder.gep(base, [index]), vector.as_pointer())

            rows = [builder.load(row(x, a, m, i), align=bits // 8) for i in range(size)]
            for i, value in enumerate(_transposed(builder, rows)):
                builder.store(value, row(y, b, n, i), align=bits // 8)
            return context.get_dummy_value()

        return types.none(x, types.int64, types.int64, y, types.int64, types.int64), build

    return transpose


@functools.cache
def functions() -> dict[str, Any]:
    """All of them, by the names that kernel sources use."""
    return {f"transpose_u{bits}": _transpose(bits) for bits in (8, 16, 32, 64)}
