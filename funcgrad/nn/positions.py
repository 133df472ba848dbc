"""Where in a sequence: positions as vectors to add, and as rotations of queries and keys.

In: positions, counted from 0. Out: numbers that tell them apart, as waves of wavelengths from 2 pi to 2 pi * base.

    x = embedding(params, tokens) + nn.sinusoidal_positions(length, features)
    query = nn.rotary_embedding(query)                    # [batch, T, N, H], T positions and N heads
"""
from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.errors import message


def sinusoidal_positions(positions: Any, features: int, base: float = 10000.0, dtype: Any = np.float32) -> Any:
    """``out[p, 2 i] = sin(p / base**(2 i / features))`` and ``out[p, 2 i + 1]`` the cosine: (..., features).

    ``positions`` is a number of positions, 0 ... n - 1, or an array of them, of any shape. Raises ValueError for an odd number
    of features. Vaswani et al., "Attention is all you need", https://arxiv.org/abs/1706.03762, section 3.5.

    >>> sinusoidal_positions(10, 6).shape, sinusoidal_positions(fnp.array([3, 4]), 6).shape
    ((10, 6), (2, 6))
    """
    angles = _angles("sinusoidal_positions", fnp.arange(positions) if isinstance(positions, int) else positions, features, base)
    waves = fnp.stack([fnp.sin(angles), fnp.cos(angles)], -1)
    return waves.reshape(*waves.shape[:-2], features).astype(dtype)


def rotary_embedding(x: Any, positions: Any = None, base: float = 10000.0) -> Any:
    """Each vector of x turned by its position: a product of two of them depends on the distance of their positions only.

    Args:
      x: [..., T, N, H]: T positions, N heads of H numbers. The pair (x[i], x[i + H/2]) is turned by the angle
        position / base**(2 i / H).
      positions: integers [..., T], 0 ... T - 1 unless given.

    Angles are computed in float32 at least; the result has the dtype of x. Raises ValueError for an odd H, or positions that
    do not belong to x. Su et al., "RoFormer", https://arxiv.org/abs/2104.09864, with halves in the place of neighbours.

    >>> x = fnp.ones((4, 1, 2))
    >>> [round(float(v), 4) for v in rotary_embedding(x)[1, 0]]  # cos(1) - sin(1), cos(1) + sin(1)
    [-0.3012, 1.3818]
    """
    x = fnp.asarray(x)
    positions = fnp.arange(x.shape[-3]) if positions is None else fnp.asarray(positions)
    if positions.shape != x.shape[-3 - (positions.ndim - 1):-2]:
        raise ValueError(message("rotary_embedding: the positions do not belong to x",
                                 f"positions {positions.aval}, x {x.aval}",
                                 f"positions of shape {x.shape[:-2]} or {x.shape[-3:-2]}"))
    angles = _angles("rotary_embedding", positions, x.shape[-1], base, fnp.result_type(x, np.float32))[..., None, None, :]
    halves = x.reshape(*x.shape[:-1], 2, x.shape[-1] // 2)  # first * cos - second * sin, second * cos + first * sin
    turned = halves * fnp.cos(angles) + fnp.flip(halves, -2) * (fnp.sin(angles) * np.array([[-1], [1]], np.int8))
    return turned.reshape(x.shape).astype(x.dtype)


@cache
def _rates(features: int, base: float, dtype: Any) -> np.ndarray:
    """1 / base**(2 i / features): one array for all callers, so that compiled programs compute equal waves once."""
    return (base ** (-np.arange(0, features, 2) / features)).astype(dtype)


def _angles(where: str, positions: Any, features: int, base: float, dtype: Any = np.float64) -> Any:
    """positions / base**(2 i / features): (..., features / 2)."""
    if features % 2:
        raise ValueError(message(f"{where}: features come in pairs", f"{features} features", "an even number"))
    return fnp.asarray(positions, dtype)[..., None] * _rates(features, base, np.dtype(dtype))
