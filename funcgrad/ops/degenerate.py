"""Eigenvectors of equal eigenvalues: derivatives where the basis of a space is LAPACK's choice.

Where eigenvalues (or singular values) are equal, only the space of their vectors is determined. The rules of ``eigh``,
``svd`` and ``eig`` then take as zero how the chosen vectors turn within their space. First derivatives are exact for every
function that treats the values and vectors of one space alike: projectors onto it, sums over functions of the values, norms.
Others have no derivative there, or need how f(x) changes between two equal x, which values and vectors cannot tell:
matrix functions should be taken from ``funcgrad.scipy.linalg`` (expm, sqrtm, funm), whose rules need no gap.

Reverse mode cannot see all of it: where a cotangent is symmetric under all turns of one space, it may still be incomplete (a
matrix put together again, ``v * f(w) @ v.T``, weighted off its diagonal), and so may second derivatives be. Outside of
``jit`` a ``DegeneracyWarning`` is given when a derivative is seen to depend on the choice: in reverse mode
when the cotangent of the vectors changes as they turn, or the values of one space have different cotangents; in forward mode
when the tangent turns vectors within a space. Compiled programs do not look: they compute the same numbers.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.primitive import Kind, Linear, Primitive
from funcgrad.core.stage import StageTrace
from funcgrad.core.trace import current_trace
from funcgrad.errors import message
from funcgrad.ops.elementwise import abs as absolute
from funcgrad.ops.elementwise import div, le, mul, sqrt, sub
from funcgrad.ops.matrices import as_columns, as_rows, stacked
from funcgrad.ops.structural import broadcast_to, expand_dims, instantiate, select_n, stop_gradient, sum_over


class DegeneracyWarning(UserWarning):
    """A derivative depends on which vectors of equal eigenvalues or singular values were chosen."""


def tolerance(values: Any) -> Any:
    """Differences up to this are rounding errors of the decomposition: 8 eps times the root of the sum of squares."""
    size = stop_gradient(absolute(values))
    return mul(sqrt(sum_over(mul(size, size), (len(values.shape) - 1,))), 8 * float(dtypes.finfo(values.dtype).eps))


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


def turned(what: str, inner: Any, values: Any) -> Any:
    """The tangent in the basis of the vectors, unchanged; in plain evaluation with a look at what it turns."""
    return turned_p.bind(inner, values, what=what)[0] if _in_plain_evaluation() else inner


def watched(what: str, dots: tuple, values: Any, frames: tuple) -> tuple:
    """The tangents of values and vectors, unchanged; in plain evaluation with a look at their cotangents."""
    return watched_p.bind(*dots, values, *frames, what=what) if _in_plain_evaluation() else dots


def _in_plain_evaluation() -> bool:
    trace = current_trace.get()
    while trace.parent is not trace:
        if isinstance(trace, StageTrace):
            return False
        trace = trace.parent
    return True


def _look_at_tangent(what: str, inner: np.ndarray, w: np.ndarray) -> None:
    """Does it turn vectors within a space of equal values, or move their values apart?"""
    pairs = _equal_pairs(w)
    if pairs.any():
        d = np.diagonal(inner, axis1=-2, axis2=-1)
        moved = np.maximum(np.abs(inner), np.abs(d[..., :, None] - d[..., None, :]))
        _warn_if(what, w, pairs & (moved > _rounding(inner, (-2, -1))))


def _look_at_cotangents(what: str, *arrays: np.ndarray) -> None:
    """Do the values of one space have different cotangents, or do those of the vectors change as they turn?"""
    count = len(arrays) // 2
    cts, w, frames = arrays[:count], arrays[count], arrays[count + 1:]
    pairs = _equal_pairs(w)
    if not pairs.any():
        return
    uneven = np.abs(cts[0][..., :, None] - cts[0][..., None, :])
    _warn_if(what, w, pairs & (uneven > _rounding(cts[0], -1)[..., None]))
    if count > 1:
        k = w.shape[-1]
        turn = np.swapaxes(frames[0][..., :k], -1, -2) @ cts[1][..., :k]
        if what == "svd":
            turn = turn - cts[2][..., :k, :] @ np.swapaxes(frames[1][..., :k, :], -1, -2)
        skew = turn if what == "eig" else turn - np.conj(np.swapaxes(turn, -1, -2))
        _warn_if(what, w, pairs & (np.abs(skew) > _rounding(cts[1], (-2, -1))))


def _rounding(x: np.ndarray, axes: Any) -> np.ndarray:
    """What may be rounding, beside the elements of x along these axes."""
    return np.sqrt(dtypes.finfo(x.dtype).eps) * np.max(np.abs(x), axes, keepdims=True)


def _equal_pairs(w: np.ndarray) -> np.ndarray:
    bound = 8 * dtypes.finfo(w.dtype).eps * np.sqrt(np.sum(np.abs(w) ** 2, -1))[..., None, None]
    return (np.abs(w[..., :, None] - w[..., None, :]) <= bound) & ~np.eye(w.shape[-1], dtype=bool)


def _warn_if(what: str, w: np.ndarray, pairs: np.ndarray) -> None:
    if not pairs.any():
        return
    *lead, i, j = (int(k[0]) for k in np.nonzero(pairs))
    values = np.broadcast_to(w, pairs.shape[:-1])[tuple(lead)]
    kind = "singular values" if what.startswith("svd") else "eigenvalues"
    warnings.warn(message(
        f"{what}: the derivative depends on which vectors of equal {kind} were chosen",
        f"{kind} {i} and {j} are {values[i]:.17g} and {values[j]:.17g}, a gap of {abs(values[i] - values[j]):.3g}",
        "a function of the space that they span, or of all values alike",
        "fg.scipy.linalg.funm, expm, sqrtm or polar for functions of matrices"), DegeneracyWarning, stacklevel=2)


def _unchanged(name: str, look: Callable | None, count: Callable[[tuple], int], backwards: Callable) -> Primitive:
    """An operation that gives back its first arguments, after a look at them."""

    def impl(xp: Any, *args: Any, what: str) -> tuple:
        if look is not None and args[-1].size:
            look(what, *(args if xp is np else [x.get() for x in args]))
        return args[:count(args)]

    def jvp(primals: tuple, tangents: tuple, *, what: str) -> tuple:
        return primals[:count(primals)], tuple(tangents[:count(primals)])

    def transpose(cotangents: tuple, *args: Any, what: str) -> tuple:
        rest = args[len(cotangents):]
        outs = backwards(cotangents, rest, what)
        return (*[ct if isinstance(x, Linear) else None for x, ct in zip(args, outs, strict=False)], *[None] * len(rest))

    primitive = Primitive(name, Kind.OPAQUE, lambda *avals, what: tuple(avals[:count(avals)]), impl, jvp, transpose,
                          stacked(lambda: primitive), strong=True)
    return primitive


def _half(args: tuple) -> int:
    """Of two values, two tangents and frames, say: the tangents."""
    return len(args) // 2


def _looked_at(cotangents: tuple, rest: tuple, what: str) -> tuple:
    return looked_at_p.bind(*[instantiate(ct) for ct in cotangents], *rest, what=what)


turned_p = _unchanged("turned", _look_at_tangent, lambda args: 1, lambda cts, rest, what: cts)
looked_at_p = _unchanged("looked_at", _look_at_cotangents, _half, lambda cts, rest, what: cts)
watched_p = _unchanged("watched", None, _half, _looked_at)
