"""Rows of the table of operations: convolutions and windows."""
from __future__ import annotations

import numpy as np
from operation import Operation, cplx, real, row

import funcgrad as fg
from funcgrad import lax


def rows() -> list[Operation]:
    return [*_convolutions(), *_windows()]


def _conv(strides, padding, **options):
    return lambda x, w: lax.conv_general_dilated(x, w, strides, padding, **options)


def _convolutions() -> list[Operation]:
    return [
        row("conv strided, dilated, in groups", _conv((2, 1), [(1, 2), (0, 1)], rhs_dilation=(1, 2), feature_group_count=2),
            real(2, 4, 5, 4), real(2, 2, 2, 2)),
        row("conv depthwise", _conv((1, 1), "SAME", feature_group_count=3, dimension_numbers=("NHWC", "HWIO", "NHWC")),
            real(1, 3, 4, 3), real(2, 3, 1, 3)),
        row("conv transposed", lambda x, w: lax.conv_transpose(x, w, (2, 1), "SAME"), real(1, 3, 2, 2), real(3, 2, 2, 1)),
        row("conv dilated and strided", _conv((2,), [(1, 2)], lhs_dilation=(3,)), real(1, 2, 3), real(2, 2, 3)),
        row("conv batch groups", _conv((1,), "SAME", batch_group_count=2), real(4, 2, 4), real(2, 2, 3)),
        row("conv 1-d complex", _conv((1,), [(-1, 2)]), cplx(1, 2, 5), cplx(2, 2, 3), float32=False),
        row("conv 3-d", _conv((1, 2, 1), "VALID"), real(1, 2, 2, 3, 3), real(1, 2, 2, 2, 2)),
        row("conv 1x1", _conv((1, 1), "VALID"), real(2, 3, 2, 2), real(2, 3, 1, 1)),
        row("conv patches", lambda x: lax.conv_general_dilated_patches(x, (2, 2), (1, 2), "SAME"), real(1, 2, 3, 4)),
        row("conv local", lambda x, w: lax.conv_general_dilated_local(x, w, (1,), "VALID", (2,)), real(2, 2, 4), real(3, 4, 3)),
    ]


def _windows() -> list[Operation]:
    def pool(start, combine, window, strides, padding="VALID", **options):
        return lambda x: lax.reduce_window(x, start, combine, window, strides, padding, **options)

    return [
        row("reduce_window sum", pool(0.0, lax.add, (1, 2, 2), (1, 1, 2), "SAME"), real(2, 3, 5)),
        row("reduce_window max", pool(-np.inf, lax.max, (2, 2, 1), (1, 2, 1), "SAME"), real(3, 4, 2)),
        row("reduce_window min", pool(np.inf, lax.min, (3,), (1,), [(-1, 2)], window_dilation=(2,)), real(8)),
        row("reduce_window product", pool(1.0, lax.mul, (2, 2), (1, 2)), real(3, 4)),
        row("reduce_window dilated", pool(0.0, lax.add, (3,), (2,), [(1, 1)], base_dilation=(2,)), real(5)),
        row("tangent of reduce_window max", lambda x, v: fg.jvp(pool(-np.inf, lax.max, (2, 2), (1, 2)), (x,), (v,))[1],
            real(3, 4), real(3, 4)),
        row("reduce_window of a function", pool(0.0, lambda a, b: a + 0.5 * a * b, (2,), (1,)), real(4)),
    ]
