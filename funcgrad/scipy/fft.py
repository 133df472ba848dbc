"""Discrete cosine transforms, under the names of jax.scipy.fft, of the types 1 to 4.

In and out: floating or complex arrays, whose precision is kept; integers become floats. The definitions and norms are
those of scipy.fft: with ``norm="backward"`` or None the inverses divide by ``2 n`` (``2 (n - 1)`` for type 1), with
``"forward"`` the others do, and with ``"ortho"`` the transform is orthogonal.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.fft
    >>> funcgrad.scipy.fft.dct(fnp.array([1., 2., 3.]))
    Array([12.        , -3.46410162,  0.        ], dtype=float64)
"""
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.elementwise import mul
from funcgrad.ops.fft import INVERSE_KIND, cosine_transform
from funcgrad.ops.promotion import inexact_arg
from funcgrad.ops.reduction import as_axes, as_axis
from funcgrad.ops.structural import broadcast_in_dim, convert_element_type, pad


def dct(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The cosine transform of a type from 1 to 4 along an axis, cut or padded with zeros to the size n.

    Raises ValueError for another type or norm, or a size that has no transform.
    """
    return _along("dct", x, type, None if n is None else (n,), (axis,), norm)


def idct(x: Any, type: int = 2, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of ``dct``."""
    return _along("idct", x, type, None if n is None else (n,), (axis,), norm)


def dctn(x: Any, type: int = 2, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
         norm: str | None = None) -> Any:
    """``dct`` along several different axes: all of them, or the last ones if only the sizes ``s`` are given."""
    return _along("dctn", x, type, s, axes, norm)


def idctn(x: Any, type: int = 2, s: Sequence[int] | None = None, axes: Sequence[int] | None = None,
          norm: str | None = None) -> Any:
    """The inverse of ``dctn``."""
    return _along("idctn", x, type, s, axes, norm)


def _along(name: str, x: Any, kind: int, s: Sequence[int] | None, axes: Sequence[int] | None, norm: str | None) -> Any:
    """The orthogonal transform between factors for its first and last elements."""
    if kind not in INVERSE_KIND:
        raise ValueError(message(f"{name}: the type of transform is unknown", repr(kind), "1, 2, 3 or 4"))
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(message(f"{name}: the norm is unknown", repr(norm), '"backward", "ortho" or "forward"'))
    inverse = name.startswith("i")
    if inverse:
        kind = INVERSE_KIND[kind]
    x = inexact_arg(name, x)
    if x.dtype.kind != "c":
        x = convert_element_type(x, dtypes.real_dtype(dtypes.complex_dtype(x.dtype)))  # no narrow floats
    ndim = len(x.shape)
    if axes is None:
        axes = range(ndim) if s is None else range(ndim - len(s), ndim)
    as_axes(name, tuple(axes), ndim)  # none is named twice
    places = [as_axis(name, d, ndim) for d in axes]
    if s is not None:
        if len(s) != len(places):
            raise ValueError(message(f"{name}: there must be a size for each axis", f"{tuple(s)} for axes {tuple(axes)}"))
        edges = [(0, 0, 0)] * ndim
        for d, n in zip(places, s, strict=True):
            edges[d] = (0, operator.index(n) - x.shape[d], 0)
        x = pad(x, x.dtype.type(0), edges)
    least = 2 if kind == 1 else 1
    if any(x.shape[d] < least for d in places):
        raise ValueError(message(f"{name}: an axis is too short for a transform of type {kind}", f"{describe(x)} along "
                                 f"axes {tuple(axes)}", f"sizes from {least} on"))
    if norm == "ortho":
        return cosine_transform(x, kind, places)
    for d in places:
        x = _weighted(x, d, {1: (math.sqrt(0.5), math.sqrt(0.5)), 3: (math.sqrt(0.5), 1)}.get(kind, (1, 1)))
    x = cosine_transform(x, kind, places)
    for d in places:
        length = 2 * (x.shape[d] - 1) if kind == 1 else 2 * x.shape[d]
        scale = length ** (-0.5 if inverse != (norm == "forward") else 0.5)
        x = _weighted(x, d, {1: (math.sqrt(2), math.sqrt(2)), 2: (math.sqrt(2), 1)}.get(kind, (1, 1)), scale)
    return x


def _weighted(x: Any, axis: int, ends: tuple[float, float], scale: float = 1) -> Any:
    """x times a scale, and its first and last element along an axis times factors of their own."""
    if ends == (1, 1):
        return x if scale == 1 else mul(x, x.dtype.type(scale))
    weights = np.full(x.shape[axis], float(scale))
    weights[0] *= ends[0]
    weights[-1] *= ends[1]
    return mul(x, broadcast_in_dim(weights.astype(dtypes.real_dtype(x.dtype)).astype(x.dtype), x.shape, (axis,)))
