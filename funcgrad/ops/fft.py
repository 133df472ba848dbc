"""Discrete Fourier transforms over the last axes, and orthogonal cosine transforms over any.

In: complex arrays, or real ones for RFFT. Out: complex arrays, or real ones from IRFFT; float32 gives complex64. The
values are those of SciPy's pocketfft, loaded at the first call. Transforms are linear, and so are their transposes:
those of FFT and IFFT are themselves, those of RFFT and IRFFT each other with weights, that of a cosine transform is
its inverse.

    { lambda ; a:f64[4]. let b:c128[3] = fft[fft_type=FftType.RFFT fft_lengths=(4,)] a in (b,) }
"""
from __future__ import annotations

import enum
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import LINEAR, Kind, Primitive
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.elementwise import conj, mul
from funcgrad.ops.promotion import inexact_arg
from funcgrad.ops.rules import transpose_first
from funcgrad.ops.structural import as_shape, batched_axes, broadcast_in_dim, convert_element_type, moveaxis


class FftType(enum.Enum):
    """Which transform: complex, its inverse, of real numbers to half of the spectrum, or from that to real numbers."""

    FFT = 0
    IFFT = 1
    RFFT = 2
    IRFFT = 3

    def __repr__(self) -> str:
        return str(self)


@functools.cache
def _library() -> Any:
    import scipy.fft
    return scipy.fft


# ---------------------------------------------------------------- user functions


def fft(x: Any, fft_type: FftType | str, fft_lengths: Sequence[int]) -> Any:
    """The discrete Fourier transform over as many of the last axes as there are lengths.

    Args:
      x: an array; integers become floats. FFT and IFFT make real input complex; RFFT takes real input only.
      fft_type: an ``FftType`` or its name.
      fft_lengths: the sizes of the axes transformed. For IRFFT those of the result: its input has ``n // 2 + 1``
        elements along the last axis.

    The inverse transforms divide by the number of elements. Raises TypeError for complex input of RFFT, ValueError for
    lengths that do not fit or are 0.

    >>> fft(fnp.arange(4.), "RFFT", (4,))
    Array([ 6.+0.j, -2.+2.j, -2.+0.j], dtype=complex128)
    """
    kind, lengths = _as_type(fft_type), as_shape(fft_lengths)
    x = inexact_arg("fft", x)
    if kind is FftType.RFFT:
        if x.dtype.kind == "c":
            raise TypeError(message("fft: RFFT transforms real arrays", describe(x), None, "FFT, or the real part"))
        x = convert_element_type(x, dtypes.real_dtype(dtypes.complex_dtype(x.dtype)))  # no narrow floats
    else:
        x = convert_element_type(x, dtypes.complex_dtype(x.dtype))
    if len(x.shape) < len(lengths) or spectrum(kind, lengths) != x.shape[len(x.shape) - len(lengths):]:
        raise ValueError(message(f"fft: {kind.name} of these lengths does not fit the array", f"fft_lengths={lengths} for "
                                 f"{describe(x)}", f"last axes of sizes {spectrum(kind, lengths)}"))
    if 0 in lengths:
        raise ValueError(message("fft: there is no transform of no elements", f"fft_lengths={lengths}", "sizes from 1 on"))
    return fft_p.bind(x, fft_type=kind, fft_lengths=lengths)[0] if lengths else x


def cosine_transform(x: Any, kind: int, axes: Sequence[int]) -> Any:
    """The orthogonal discrete cosine transform of type 1, 2, 3 or 4 over nonnegative axes of an inexact array."""
    return cosine_transform_p.bind(x, kind=kind, axes=tuple(axes))[0]


def fast_length(n: int, real: bool) -> int:
    """The least size from n on whose transform is fast: a product of small primes."""
    return _library().next_fast_len(n, real)


INVERSE_KIND = {1: 1, 2: 3, 3: 2, 4: 4}
"""The type of cosine transform that undoes each type."""


def _as_type(fft_type: Any) -> FftType:
    if isinstance(fft_type, FftType):
        return fft_type
    name = fft_type.upper() if isinstance(fft_type, str) else ""
    if name not in FftType.__members__:
        raise ValueError(message("fft: the type of the transform is unknown", repr(fft_type),
                                 "FFT, IFFT, RFFT or IRFFT, as fg.lax.FftType or as text"))
    return FftType[name]


def spectrum(kind: FftType, lengths: Shape) -> Shape:
    """The sizes of the transformed axes in the argument."""
    return (*lengths[:-1], lengths[-1] // 2 + 1) if kind is FftType.IRFFT and lengths else lengths


# ---------------------------------------------------------------- rules


def fft_shape(x: ShapedArray, *, fft_type: FftType, fft_lengths: Shape) -> ShapedArray:
    lead = x.shape[:x.ndim - len(fft_lengths)]
    assert x.shape[len(lead):] == spectrum(fft_type, fft_lengths), (x, fft_type, fft_lengths)
    if fft_type is FftType.RFFT:
        return shaped_array((*lead, *fft_lengths[:-1], fft_lengths[-1] // 2 + 1), dtypes.complex_dtype(x.dtype))
    return shaped_array((*lead, *fft_lengths), dtypes.real_dtype(x.dtype) if fft_type is FftType.IRFFT else x.dtype)


def fft_impl(xp: Any, x: Any, *, fft_type: FftType, fft_lengths: Shape) -> Any:
    if x.size == 0:  # an empty stack of transforms
        aval = fft_shape(shaped_array(x.shape, x.dtype), fft_type=fft_type, fft_lengths=fft_lengths)
        return xp.zeros(aval.shape, aval.dtype)
    axes = tuple(range(-len(fft_lengths), 0))
    if xp is not np and fft_type is FftType.IRFFT:
        return _real_inverse(xp, x, fft_lengths)
    transform = getattr(_library() if xp is np else xp.fft, fft_type.name.lower() + "n")
    return transform(x, s=fft_lengths, axes=axes)


def _real_inverse(xp: Any, x: Any, lengths: Shape) -> Any:
    """IRFFT of any complex array, as the transposes of the other transforms need it.

    cuFFT leaves open what it makes of an array that is not the half of a spectrum of real numbers. SciPy's transforms the other
    axes first, and drops the imaginary parts of the frequencies that stand once in the whole spectrum.
    """
    x = xp.fft.ifftn(x, axes=tuple(range(-len(lengths), -1))) if len(lengths) > 1 else x.copy()
    x.imag[..., 0] = 0
    if lengths[-1] % 2 == 0:
        x.imag[..., -1] = 0
    return xp.fft.irfft(x, lengths[-1])


def fft_transpose(ct: Any, x: ShapedArray, *, fft_type: FftType, fft_lengths: Shape) -> Any:
    """With Re(c) = (c + conj(c)) / 2: RFFT drops the half of a spectrum that IRFFT fills in by symmetry."""
    if fft_type in (FftType.FFT, FftType.IFFT):
        return fft(ct, fft_type, fft_lengths)
    count = math.prod(fft_lengths)
    if fft_type is FftType.RFFT:
        return fft(mul(conj(ct), _weights(ct, fft_lengths[-1], count, 0.5 * count)), FftType.IRFFT, fft_lengths)
    spectral = fft(ct, FftType.RFFT, fft_lengths)
    return mul(conj(spectral), _weights(spectral, fft_lengths[-1], 1 / count, 2 / count))


def _weights(like: Any, n: int, edge: float, inner: float) -> Any:
    """A factor for each frequency: that of 0, and of n / 2, stands once in a spectrum of n, the others twice."""
    weights = np.full(n // 2 + 1, inner)
    weights[0] = edge
    if n % 2 == 0:
        weights[-1] = edge
    return broadcast_in_dim(weights.astype(like.dtype), like.shape, (len(like.shape) - 1,))


def fft_batch(axis: Any, args: tuple, axes: tuple, **params: Any) -> tuple:
    return fft_p.bind(moveaxis(args[0], axes[0], 0), **params), (0,)


def fft_flops(ins: Sequence, outs: Sequence, *, fft_type: FftType, fft_lengths: Shape) -> float:
    """5 n log2(n) for n complex numbers, as usual; half of it where one side is real."""
    points = max(ins[0].size, outs[0].size)
    real = fft_type in (FftType.RFFT, FftType.IRFFT)
    return (2.5 if real else 5) * points * math.log2(max(math.prod(fft_lengths), 1))


fft_p = Primitive("fft", Kind.OPAQUE, fft_shape, fft_impl, LINEAR, transpose_first(fft_transpose), fft_batch,
                  flops=fft_flops)


# ---------------------------------------------------------------- cosine transforms


@numpy_only
def cosine_transform_impl(xp: Any, x: Any, *, kind: int, axes: Shape) -> Any:
    return x.copy() if x.size == 0 else _library().dctn(x, kind, axes=axes, norm="ortho")


def cosine_transform_batch(axis: Any, args: tuple, axes_in: tuple, *, kind: int, axes: Shape) -> tuple:
    return (cosine_transform(args[0], kind, batched_axes(axes_in[0], axes)[0]),), (axes_in[0],)


cosine_transform_p = Primitive(
    "cosine_transform", Kind.OPAQUE, lambda x, kind, axes: x, cosine_transform_impl, LINEAR,
    transpose_first(lambda ct, x, kind, axes: cosine_transform(ct, INVERSE_KIND[kind], axes)), cosine_transform_batch)
