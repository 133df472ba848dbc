"""Discrete Fourier transforms, under the names and signatures of numpy.fft.

In: arrays. Out: arrays; the precision of the input is kept, float32 gives complex64. ``n`` and ``s`` are the sizes of
the axes transformed, to which the input is cut or padded with zeros. With ``norm="backward"`` (the default) the inverse
transforms divide by the number of elements, with ``"forward"`` the others do, with ``"ortho"`` both by its square root.

    >>> import funcgrad.numpy as fnp
    >>> fnp.fft.rfft(fnp.array([1., 0., -1., 0.]))
    Array([0.+0.j, 2.+0.j, 0.+0.j], dtype=complex128)
"""
from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as _np

from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.creation import asarray
from funcgrad.numpy.manipulation import moveaxis
from funcgrad.numpy.protocols import register
from funcgrad.numpy.rearranging import roll
from funcgrad.numpy.ufuncs import conj
from funcgrad.ops.elementwise import mul
from funcgrad.ops.fft import FftType, spectrum
from funcgrad.ops.fft import fft as _transform
from funcgrad.ops.promotion import inexact_arg, unary_arg
from funcgrad.ops.reduction import as_axes, as_axis
from funcgrad.ops.structural import pad

Sizes = Sequence[int] | None

# ---------------------------------------------------------------- transforms


def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The discrete Fourier transform along an axis. Raises ValueError for an unknown norm and for ``n < 1``.

    >>> fft(fnp.ones(4))
    Array([4.+0.j, 0.+0.j, 0.+0.j, 0.+0.j], dtype=complex128)
    """
    return _along_one("fft", FftType.FFT, a, n, axis, norm)


def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of ``fft``."""
    return _along_one("ifft", FftType.IFFT, a, n, axis, norm)


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The frequencies 0 to n // 2 of the transform of real input. Raises TypeError for complex input."""
    return _along_one("rfft", FftType.RFFT, a, n, axis, norm)


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of ``rfft``: n real numbers; ``n=None`` means twice as many as there are frequencies, less two."""
    return _along_one("irfft", FftType.IRFFT, a, n, axis, norm)


def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The transform, which is real, of a signal with Hermitian symmetry, given by its first n // 2 + 1 elements."""
    return _along_one("hfft", FftType.IRFFT, conj(a), n, axis, _OPPOSITE.get(norm, norm))


def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of ``hfft``: the first n // 2 + 1 elements of the signal whose transform is a."""
    return conj(_along_one("ihfft", FftType.RFFT, a, n, axis, _OPPOSITE.get(norm, norm)))


def fftn(a: Any, s: Sizes = None, axes: Sequence[int] | None = None, norm: str | None = None) -> Any:
    """``fft`` along several different axes: all of them, or the last ones if only ``s`` is given."""
    return _along_axes("fftn", FftType.FFT, a, s, axes, norm)


def ifftn(a: Any, s: Sizes = None, axes: Sequence[int] | None = None, norm: str | None = None) -> Any:
    """The inverse of ``fftn``."""
    return _along_axes("ifftn", FftType.IFFT, a, s, axes, norm)


def rfftn(a: Any, s: Sizes = None, axes: Sequence[int] | None = None, norm: str | None = None) -> Any:
    """``fftn`` of real input; along the last of the axes only the frequencies 0 to n // 2 are given."""
    return _along_axes("rfftn", FftType.RFFT, a, s, axes, norm)


def irfftn(a: Any, s: Sizes = None, axes: Sequence[int] | None = None, norm: str | None = None) -> Any:
    """The inverse of ``rfftn``."""
    return _along_axes("irfftn", FftType.IRFFT, a, s, axes, norm)


def fft2(a: Any, s: Sizes = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """``fftn`` along two axes."""
    return _along_axes("fft2", FftType.FFT, a, s, _two("fft2", axes), norm)


def ifft2(a: Any, s: Sizes = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """The inverse of ``fft2``."""
    return _along_axes("ifft2", FftType.IFFT, a, s, _two("ifft2", axes), norm)


def rfft2(a: Any, s: Sizes = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """``rfftn`` along two axes."""
    return _along_axes("rfft2", FftType.RFFT, a, s, _two("rfft2", axes), norm)


def irfft2(a: Any, s: Sizes = None, axes: Sequence[int] = (-2, -1), norm: str | None = None) -> Any:
    """The inverse of ``rfft2``."""
    return _along_axes("irfft2", FftType.IRFFT, a, s, _two("irfft2", axes), norm)


# ---------------------------------------------------------------- how they are made

_OPPOSITE = {None: "forward", "backward": "forward", "forward": "backward"}


def _two(name: str, axes: Sequence[int]) -> Sequence[int]:
    if len(axes) != 2:
        raise ValueError(message(f"{name}: two axes are transformed", f"axes={tuple(axes)}", None,
                                 f"{name[:-1]}n for another number of axes"))
    return axes


def _along_one(name: str, kind: FftType, a: Any, n: int | None, axis: int, norm: str | None) -> Any:
    a = inexact_arg(name, a)
    return _along(name, kind, a, (as_axis(name, axis, len(a.shape)),), (n,), norm)


def _along_axes(name: str, kind: FftType, a: Any, s: Sizes, axes: Sequence[int] | None, norm: str | None) -> Any:
    a = inexact_arg(name, a)
    ndim = len(a.shape)
    if axes is None:
        axes = range(ndim) if s is None else range(ndim - len(s), ndim)
    as_axes(name, tuple(axes), ndim)  # none is named twice
    if s is not None and len(s) != len(axes):
        raise ValueError(message(f"{name}: there must be a size for each axis", f"s={tuple(s)} for axes={tuple(axes)}"))
    places = tuple([as_axis(name, d, ndim) for d in axes])
    return _along(name, kind, a, places, (None,) * len(places) if s is None else tuple(s), norm)


def _along(name: str, kind: FftType, a: Any, axes: tuple[int, ...], sizes: tuple[int | None, ...], norm: str | None) -> Any:
    """Any transform along different axes; the last of them is the one that is halved."""
    if kind is FftType.RFFT and a.dtype.kind == "c":
        raise TypeError(message(f"{name}: the input must be real", describe(a), None, "fft, or the real part"))
    ndim = len(a.shape)
    have = [a.shape[d] for d in axes]
    if kind is FftType.IRFFT and axes:
        have[-1] = 2 * (have[-1] - 1)
    lengths = tuple([n if given is None else operator.index(given) for n, given in zip(have, sizes, strict=True)])
    if any(n < 1 for n in lengths):
        raise ValueError(message(f"{name}: there is no transform of {min(lengths)} elements", f"{describe(a)} along axes "
                                 f"{axes}", "sizes from 1 on", "n or s"))
    edges = [(0, 0, 0)] * ndim
    for d, n in zip(axes, spectrum(kind, lengths), strict=True):
        edges[d] = (0, n - a.shape[d], 0)
    scale = _scale(name, kind, norm, math.prod(lengths))
    last = tuple(range(ndim - len(axes), ndim))
    out = _transform(moveaxis(pad(a, a.dtype.type(0), edges), axes, last), kind, lengths)
    return moveaxis(out if scale == 1 else mul(out, out.dtype.type(scale)), last, axes)


def _scale(name: str, kind: FftType, norm: str | None, count: int) -> float:
    """The factor for a norm, beyond the division that inverse transforms do already."""
    if norm not in (None, "backward", "ortho", "forward"):
        raise ValueError(message(f"{name}: the norm is unknown", repr(norm), '"backward", "ortho" or "forward"'))
    if norm in (None, "backward"):
        return 1
    inverse = kind in (FftType.IFFT, FftType.IRFFT)
    return (count if inverse else 1 / count) if norm == "forward" else (math.sqrt(count) if inverse else 1 / math.sqrt(count))


# ---------------------------------------------------------------- frequencies


def fftfreq(n: int, d: Any = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies of the elements of an ``fft`` of n samples that are ``d`` apart: 0, 1, ... -2, -1 over ``n * d``."""
    return _frequencies("fftfreq", _np.fft.fftfreq, n, d, dtype, device)


def rfftfreq(n: int, d: Any = 1.0, *, dtype: Any = None, device: Any = None) -> Any:
    """The frequencies of the elements of an ``rfft`` of n samples that are ``d`` apart: 0 to n // 2 over ``n * d``."""
    return _frequencies("rfftfreq", _np.fft.rfftfreq, n, d, dtype, device)


def _frequencies(name: str, function: Any, n: int, d: Any, dtype: Any, device: Any) -> Any:
    count = operator.index(n)
    if count < 1:
        raise ValueError(message(f"{name}: the number of samples must be positive", repr(n)))
    numbers = asarray(function(count, 1 / count), dtype=_np.float64 if dtype is None else dtype, device=device)
    return numbers / (d * count)


def fftshift(x: Any, axes: Any = None) -> Any:
    """x rolled along the axes given, or all, so that the frequency 0 comes to the middle."""
    x = unary_arg("fftshift", x)
    where = as_axes("fftshift", axes, len(x.shape))
    return roll(x, tuple([x.shape[d] // 2 for d in where]), where)


def ifftshift(x: Any, axes: Any = None) -> Any:
    """The inverse of ``fftshift``."""
    x = unary_arg("ifftshift", x)
    where = as_axes("ifftshift", axes, len(x.shape))
    return roll(x, tuple([-(x.shape[d] // 2) for d in where]), where)


__all__ = ["fft", "fft2", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifft2", "ifftn", "ifftshift", "ihfft", "irfft",
           "irfft2", "irfftn", "rfft", "rfft2", "rfftfreq", "rfftn"]
register(_np.fft, {name: globals()[name] for name in __all__})
