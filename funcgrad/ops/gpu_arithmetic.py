"""Arithmetic for which CuPy's formulas lose digits: remainders, quotients, powers of zero, the logarithm to base 2 of a sum.

In: buffers of CuPy or NumPy scalars, of one dtype. Out: what NumPy gives for them. CuPy (14.2) computes remainders of floats as
x - floor(x / y) * y, C's remainder of integers in float64, and logaddexp2 by log2(1 + exp2(-d)).
"""
from __future__ import annotations

from typing import Any

import numpy as np


def rem(xp: Any, x: Any, y: Any) -> Any:
    """The remainder with the sign of x."""
    if x.dtype.kind not in "iu":
        return xp.fmod(x, y)
    r = xp.remainder(x, y)  # exact, with the sign of y
    return xp.where((r != 0) & ((x < 0) != (y < 0)), r - y, r).astype(x.dtype)


def remainder(xp: Any, x: Any, y: Any) -> Any:
    """The remainder with the sign of y."""
    if x.dtype.kind in "biu":
        return xp.remainder(x, y)
    r = xp.fmod(x, y)
    return xp.where(r == 0, xp.copysign(r, y), xp.where((r < 0) != (y < 0), r + y, r)).astype(x.dtype)


def floor_divide(xp: Any, x: Any, y: Any) -> Any:
    """The quotient rounded down: exact by what the remainder leaves, up to one rounding."""
    if x.dtype.kind in "biu":
        return xp.floor_divide(x, y)
    if x.dtype.itemsize < 4:
        return floor_divide(xp, x.astype(np.float32), y.astype(np.float32)).astype(x.dtype)
    r = xp.fmod(x, y)
    quotient = (x - r) / y - ((r != 0) & ((r < 0) != (y < 0))).astype(x.dtype)
    low = xp.floor(quotient)
    low = xp.where(quotient - low > 0.5, low + 1, low)
    low = xp.where(quotient == 0, xp.copysign(low, x / y), low)
    return xp.where(y == 0, x / y, low).astype(x.dtype)


def power(xp: Any, x: Any, y: Any) -> Any:
    """x to the power of y. Of a complex zero, CuPy's exp(y log x) is NaN."""
    out = xp.power(x, y)
    if out.dtype.kind != "c":
        return out
    zero = xp.logical_and(xp.logical_and(x.real == 0, x.imag == 0), xp.logical_and(y.real > 0, y.imag == 0))
    return xp.where(zero, out.dtype.type(0), out).astype(out.dtype, copy=False)


def logaddexp2(xp: Any, x: Any, y: Any) -> Any:
    """log2(2**x + 2**y); equal arguments may be infinite."""
    apart = xp.maximum(x, y) + xp.log1p(xp.exp2(-xp.abs(x - y))) * x.dtype.type(1 / np.log(2))
    return xp.where(x == y, x + x.dtype.type(1), apart).astype(x.dtype)
