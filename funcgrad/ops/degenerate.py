"""Eigenvectors of equal eigenvalues: derivatives where the basis of a space is LAPACK's choice.

Where eigenvalues (or singular values) are equal, only the space of their vectors is determined. The rules of ``eigh``,
``svd`` and ``eig`` then take as zero how the chosen vectors turn within their space. First derivatives are exact for every
function that treats the values and vectors of one space alike: projectors onto it, sums over functions of the values, norms.
Others have no derivative there, or need how f(x) changes between two equal x, which values and vectors cannot tell:
matrix functions should be taken from ``funcgrad.scipy.linalg`` (expm, sqrtm, funm), whose rules need no gap.

Outside of ``jit`` a ``DegeneracyWarning`` is given when a derivative is seen to depend on the choice: in reverse mode
when the cotangent of the vectors changes as they turn, or the values of one space have different cotangents; in forward mode
when the tangent turns vectors within a space. Compiled programs do not look: they compute the same numbers.
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from funcgrad.core.array import DeviceArray
from funcgrad.core.primitive import HOST, Kind, Linear, Primitive
from funcgrad.errors import message
from funcgrad.ops.elementwise import abs as absolute
from funcgrad.ops.elementwise import div, le, mul, sub
from funcgrad.ops.matrices import as_columns, as_rows
from funcgrad.ops.structural import broadcast_to, expand_dims, instantiate, select_n, stop_gradient, sum_over


class DegeneracyWarning(UserWarning):
    """A derivative depends on which vectors of equal eigenvalues or singular values were chosen."""


def tolerance(values: Any) -> Any:
    """Differences up to this are rounding errors of the decomposition: 8 eps times the sum of the magnitudes."""
    last = len(values.shape) - 1
    return mul(sum_over(stop_gradient(absolute(values)), (last,)), 8 * float(np.finfo(values.dtype).eps))


def inverse_where_apart(x: Any, values: Any) -> Any:
    """1 / x for the sums or differences x of values, and 0 where x is zero but for rounding."""
    bound = tolerance(values)
    bound = broadcast_to(expand_dims(bound, range(len(bound.shape), len(x.shape))), x.shape)
    equal = le(absolute(stop_gradient(x)), bound)
    one = x.dtype.type(1)
    return select_n(equal, div(one, select_n(equal, x, one)), x.dtype.type(0))


def differences(values: Any, like: Any) -> Any:
    """Element (i, j) is value j - value i."""
    return sub(as_columns(values, like), as_rows(values, like))


# ---------------------------------------------------------------- the warning


def watched(what: str, dots: tuple, values: Any, frames: tuple) -> tuple:
    """The tangents of values and vectors, unchanged; in plain evaluation their cotangents are looked at."""
    if type(values) is not DeviceArray or values.shape[-1] < 2 or not _equal_pairs(values._data).any():
        return dots
    return watched_p.bind(*dots, values, *frames, what=what)


def turns(what: str, values: Any, inner: Any) -> None:
    """Warns if a known tangent, in the basis of the vectors, turns them within a space of equal values."""
    if type(values) is DeviceArray and type(inner) is DeviceArray and values.shape[-1] > 1:
        w, h = values._data, inner._data
        pairs = _equal_pairs(w)
        if not pairs.any():
            return
        d = np.diagonal(h, axis1=-2, axis2=-1)
        moved = np.maximum(np.abs(h), np.abs(d[..., :, None] - d[..., None, :]))
        _warn_if(what, w, pairs & (moved > _visible(h)))


def _visible(x: np.ndarray) -> Any:
    """What is more than rounding, beside the elements of x."""
    return np.sqrt(np.finfo(x.dtype).eps) * np.max(np.abs(x), (-2, -1), keepdims=True)


def _equal_pairs(w: np.ndarray) -> np.ndarray:
    bound = 8 * np.finfo(w.dtype).eps * np.sum(np.abs(w), -1)[..., None, None]
    return (np.abs(w[..., :, None] - w[..., None, :]) <= bound) & ~np.eye(w.shape[-1], dtype=bool)


def _warn_if(what: str, w: np.ndarray, pairs: np.ndarray) -> None:
    if not pairs.any():
        return
    *lead, i, j = (int(k[0]) for k in np.nonzero(pairs))
    a, b = w[(*lead, i)], w[(*lead, j)]
    kind = "singular values" if what == "svd" else "eigenvalues"
    warnings.warn(message(
        f"{what}: the derivative depends on which vectors of equal {kind} were chosen",
        f"{kind} {i} and {j} are {a:.17g} and {b:.17g}, a gap of {abs(a - b):.3g}",
        "a function of the space that they span, or of all values alike",
        "fg.scipy.linalg.funm, expm, sqrtm or polar for functions of matrices"), DegeneracyWarning, stacklevel=2)


def _watched_transpose(cotangents: tuple, *args: Any, what: str) -> tuple:
    count = len(cotangents)
    values, *frames = args[count:]
    cts = [instantiate(ct) for ct in cotangents]
    if all(type(x) is DeviceArray for x in (*cts, values, *frames)):
        _look(what, values._data, [x._data for x in frames], [x._data for x in cts])
    return (*[ct if isinstance(x, Linear) else None for x, ct in zip(args, cotangents, strict=False)],
            *[None] * (1 + len(frames)))


def _look(what: str, w: np.ndarray, frames: list, cts: list) -> None:
    pairs = _equal_pairs(w)
    ct_w = cts[0]
    uneven = np.abs(ct_w[..., :, None] - ct_w[..., None, :])
    floor = np.sqrt(np.finfo(w.dtype).eps) * np.max(np.abs(ct_w), -1)[..., None, None]
    _warn_if(what, w, pairs & (uneven > floor))
    if len(cts) == 1:
        return
    k = w.shape[-1]
    turn = np.swapaxes(frames[0][..., :k], -1, -2) @ cts[1][..., :k]
    if what == "svd":
        turn = turn - cts[2][..., :k, :] @ np.swapaxes(frames[1][..., :k, :], -1, -2)
    skew = turn if what == "eig" else turn - np.conj(np.swapaxes(turn, -1, -2))
    scale = np.sqrt(np.finfo(w.dtype).eps) * np.max(np.abs(cts[1]), (-2, -1), keepdims=True)
    _warn_if(what, w, pairs & (np.abs(skew) > scale))


def _watched_jvp(primals: tuple, tangents: tuple, *, what: str) -> tuple:
    count = len(primals) // 2
    return primals[:count], tuple(tangents[:count])


def _watched_batch(axis: Any, args: tuple, axes: tuple, *, what: str) -> tuple:
    count = len(args) // 2
    return args[:count], axes[:count]


def _watched_shape(*avals: Any, what: str) -> tuple:
    return avals[:len(avals) // 2]


def _watched_impl(xp: Any, *args: Any, what: str) -> tuple:
    return args[:len(args) // 2]


watched_p = Primitive("watched", Kind.OPAQUE, _watched_shape, _watched_impl, _watched_jvp, _watched_transpose,
                      _watched_batch, code=HOST, strong=True)
