"""Convolution of signals and images, under the names of jax.scipy.signal; the spectral functions are in ``spectral.py``.

In: real or complex arrays; integers become floats. Out: arrays.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.signal
    >>> funcgrad.scipy.signal.convolve(fnp.array([1., 2., 3.]), fnp.array([1., 1.]))
    Array([1., 3., 5., 3.], dtype=float64)
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.contraction import correlate_valid
from funcgrad.ops.fft import fast_length
from funcgrad.ops.promotion import broadcast_shape, inexact_arg, result_type_of
from funcgrad.ops.reduction import as_axes
from funcgrad.ops.structural import convert_element_type, pad, rev
from funcgrad.ops.structural import slice as static_slice
from funcgrad.scipy.spectral import csd, detrend, istft, stft, welch

__all__ = ["convolve", "convolve2d", "correlate", "correlate2d", "csd", "detrend", "fftconvolve", "istft", "stft", "welch"]

_DIRECT = 32
"""With ``method="auto"``, kernels of several axes with at most so many elements are summed up element by element."""


def convolve(in1: Any, in2: Any, mode: str = "full", method: str = "auto", precision: Any = None) -> Any:
    """The convolution of two arrays with equally many axes.

    Args:
      mode: "full": all overlaps; "same": the middle of that, in the shape of in1; "valid": where one array lies inside the
        other.
      method: "direct" sums products, "fft" multiplies spectra; "auto" chooses: the sum for vectors and small kernels.
      precision: accepted for compatibility.

    Raises ValueError for empty arrays, unequal numbers of axes, unknown modes and methods, and for "valid" if neither
    array is at least as long as the other along every axis.
    """
    in1, in2 = _operands("convolve", in1, in2)
    return _convolve("convolve", in1, in2, mode, method)


def correlate(in1: Any, in2: Any, mode: str = "full", method: str = "auto", precision: Any = None) -> Any:
    """The cross-correlation of two arrays: ``convolve`` with in2 reversed and conjugated."""
    in1, in2 = _operands("correlate", in1, in2)
    return _convolve("correlate", in1, _mirrored(in2), mode, method)


def fftconvolve(in1: Any, in2: Any, mode: str = "full", axes: Sequence[int] | None = None) -> Any:
    """``convolve`` by way of Fourier transforms, along the axes given; along the others the arrays are broadcast."""
    in1, in2 = _operands("fftconvolve", in1, in2)
    ndim = len(in1.shape)
    where = as_axes("fftconvolve", None if axes is None else np.ravel(axes).tolist(), ndim)
    if len(where) < ndim:
        others = [tuple([1 if d in where else n for d, n in enumerate(x.shape)]) for x in (in1, in2)]
        shape = broadcast_shape("fftconvolve", *others)
        in1, in2 = [fnp.broadcast_to(x, [x.shape[d] if d in where else n for d, n in enumerate(shape)]) for x in (in1, in2)]
    in1, in2 = _ordered("fftconvolve", in1, in2, mode, where)
    return _cut(_by_spectra(in1, in2, where), in1.shape, in2.shape, mode, where)


def convolve2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0,
               precision: Any = None) -> Any:
    """The convolution of two matrices, in the modes of ``convolve``.

    ``boundary`` says what lies around in1: "fill" the number ``fillvalue``, "wrap" its other side, "symm" its mirror image.
    """
    in1, in2 = _operands("convolve2d", in1, in2, ndim=2)
    return _convolve2d("convolve2d", in1, in2, mode, boundary, fillvalue, 0)


def correlate2d(in1: Any, in2: Any, mode: str = "full", boundary: str = "fill", fillvalue: Any = 0,
                precision: Any = None) -> Any:
    """The cross-correlation of two matrices: ``convolve2d`` with in2 reversed and conjugated."""
    in1, in2 = _operands("correlate2d", in1, in2, ndim=2)
    return _convolve2d("correlate2d", in1, _mirrored(in2), mode, boundary, fillvalue, 1)


# ---------------------------------------------------------------- how they are made


def _operands(name: str, in1: Any, in2: Any, ndim: int | None = None) -> tuple[Any, Any]:
    """Both operands as inexact arrays of one dtype, with equally many axes, and not empty."""
    in1, in2 = inexact_arg(name, in1), inexact_arg(name, in2)
    if len(in1.shape) != len(in2.shape) or ndim not in (None, len(in1.shape)):
        raise ValueError(message(f"{name}: the operands must have {f'{ndim}' if ndim else 'equally many'} axes",
                                 f"{describe(in1)} and {describe(in2)}"))
    if not in1.size or not in2.size:
        raise ValueError(message(f"{name}: an operand is empty", f"{describe(in1)} and {describe(in2)}"))
    dtype, weak = result_type_of(name, (in1, in2))
    return convert_element_type(in1, dtype, weak), convert_element_type(in2, dtype, weak)


def _mirrored(x: Any) -> Any:
    return fnp.conj(rev(x, range(len(x.shape))))


def _ordered(name: str, in1: Any, in2: Any, mode: str, axes: Sequence[int]) -> tuple[Any, Any]:
    """The operands, the larger first in mode "valid". Raises ValueError for an unknown mode."""
    if mode not in ("full", "same", "valid"):
        raise ValueError(message(f"{name}: the mode is unknown", repr(mode), '"full", "same" or "valid"'))
    if mode == "valid" and any(in1.shape[d] < in2.shape[d] for d in axes):
        if any(in1.shape[d] > in2.shape[d] for d in axes):
            raise ValueError(message(f'{name}: mode "valid" needs one array that is at least as long as the other along '
                                     "every axis", f"{describe(in1)} and {describe(in2)}"))
        return in2, in1
    return in1, in2


def _convolve(name: str, in1: Any, in2: Any, mode: str, method: str) -> Any:
    if method not in ("auto", "direct", "fft"):
        raise ValueError(message(f"{name}: the method is unknown", repr(method), '"auto", "direct" or "fft"'))
    axes = tuple(range(len(in1.shape)))
    in1, in2 = _ordered(name, in1, in2, mode, axes)
    if method == "fft" or method == "auto" and len(axes) > 1 and min(in1.size, in2.size) > _DIRECT:
        return _cut(_by_spectra(in1, in2, axes), in1.shape, in2.shape, mode, axes)
    around = [(n - 1, n - 1) for n in in2.shape]
    if mode == "same":  # the overlaps that are wanted, and no others
        around = [((n - 1) - (n - 1) // 2, (n - 1) // 2) for n in in2.shape]
    elif mode == "valid":
        around = [(0, 0) for _ in in2.shape]
    return _inside(pad(in1, in1.dtype.type(0), [(low, high, 0) for low, high in around]), in2)


def _inside(x: Any, kernel: Any) -> Any:
    """The convolution where the kernel lies inside x; where it is longer, x lies inside it."""
    if any(m > n for n, m in zip(x.shape, kernel.shape, strict=True)):
        return _inside(kernel, x)
    mirrored = rev(kernel, range(len(kernel.shape)))
    if len(x.shape) == 1:
        return correlate_valid(x, mirrored)
    shape = tuple([n - m + 1 for n, m in zip(x.shape, kernel.shape, strict=True)])
    terms = [static_slice(x, start, [a + n for a, n in zip(start, shape, strict=True)]) * mirrored[start]
             for start in np.ndindex(*kernel.shape)]
    return sum(terms[1:], terms[0])


def _by_spectra(in1: Any, in2: Any, axes: Sequence[int]) -> Any:
    """The full convolution along some axes."""
    real = in1.dtype.kind != "c"
    full = [in1.shape[d] + in2.shape[d] - 1 for d in axes]
    sizes = [fast_length(n, real) for n in full]
    forward, backward = (fnp.fft.rfftn, fnp.fft.irfftn) if real else (fnp.fft.fftn, fnp.fft.ifftn)
    out = backward(forward(in1, sizes, axes) * forward(in2, sizes, axes), sizes, axes).astype(in1.dtype)
    ends = dict(zip(axes, full, strict=True))
    return static_slice(out, [0] * len(out.shape), [ends.get(d, n) for d, n in enumerate(out.shape)])


def _cut(full: Any, shape1: Shape, shape2: Shape, mode: str, axes: Sequence[int], middle: int = 0) -> Any:
    """The part of the full convolution that a mode asks for. With ``middle=1`` the later of two middles is taken."""
    start, stop = [0] * len(full.shape), list(full.shape)
    for d in axes:
        if mode == "same":
            start[d] = (shape2[d] - 1 + middle) // 2
            stop[d] = start[d] + shape1[d]
        elif mode == "valid":
            start[d], stop[d] = shape2[d] - 1, shape1[d]
    return static_slice(full, start, stop)


def _convolve2d(name: str, in1: Any, in2: Any, mode: str, boundary: str, fillvalue: Any, middle: int) -> Any:
    if boundary not in ("fill", "wrap", "symm"):
        raise ValueError(message(f"{name}: the boundary is unknown", repr(boundary), '"fill", "wrap" or "symm"'))
    axes = (0, 1)
    in1, in2 = _ordered(name, in1, in2, mode, axes)
    if mode == "valid":
        return _convolve(name, in1, in2, mode, "auto")
    around = [(n - 1, n - 1) for n in in2.shape]
    options = {"constant_values": fillvalue} if boundary == "fill" else {}
    padded = fnp.pad(in1, around, {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}[boundary], **options)
    full = _convolve(name, padded.astype(in1.dtype), in2, "valid", "auto")
    return _cut(full, in1.shape, in2.shape, mode, axes, middle)
