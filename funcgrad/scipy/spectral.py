"""Spectra of signals: short-time Fourier transforms, power and cross spectra, and the removal of trends.

In: signals along an axis, real or complex. Out: arrays. The definitions are those of scipy.signal; the public names are in
``funcgrad.scipy.signal``.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.signal
    >>> frequencies, power = funcgrad.scipy.signal.welch(fnp.sin(fnp.arange(64.) * fnp.pi / 4), nperseg=16)
    >>> float(frequencies[fnp.argmax(power)])
    0.125
"""
from __future__ import annotations

import functools
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from funcgrad import dtypes
from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import inexact_arg, promote_args
from funcgrad.ops.reduction import as_axis


@functools.cache
def _library() -> Any:
    import scipy.signal
    return scipy.signal


# ---------------------------------------------------------------- user functions


def detrend(data: Any, axis: int = -1, type: str = "linear", bp: Any = 0, overwrite_data: None = None) -> Any:
    """data less its mean ("constant") or its straight line of least squares ("linear") along an axis.

    ``bp``: where the line may break: each piece between these indices has a line of its own. Raises ValueError for
    another type and for a break outside of the data.
    """
    if overwrite_data is not None:
        raise TypeError(message("detrend: arrays are immutable, so data cannot be overwritten", "overwrite_data", "None"))
    if type not in ("constant", "c", "linear", "l"):
        raise ValueError(message("detrend: the type of trend is unknown", repr(type), '"linear" or "constant"'))
    x = fnp.moveaxis(inexact_arg("detrend", data), axis, -1)
    if type.startswith("c"):
        x = x - fnp.mean(x, axis=-1, keepdims=True)
    else:
        n = x.shape[-1]
        breaks = sorted({0, n, *np.ravel(np.asarray(bp)).tolist()})
        if breaks[0] < 0 or breaks[-1] > n:
            raise ValueError(message("detrend: a break lies outside of the data", f"bp={bp}", f"indices from 0 to {n}"))
        pieces = [_without_line(x[..., a:b]) for a, b in zip(breaks, breaks[1:], strict=False)]
        x = fnp.concatenate(pieces, axis=-1) if pieces else x
    return fnp.moveaxis(x, -1, axis)


def _without_line(x: Any) -> Any:
    centred = np.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
    basis = (centred / max(np.linalg.norm(centred), 1e-300)).astype(x.dtype)
    x = x - fnp.mean(x, axis=-1, keepdims=True)
    return x - fnp.sum(x * basis, axis=-1, keepdims=True) * basis


def stft(x: Any, fs: Any = 1.0, window: Any = "hann", nperseg: int = 256, noverlap: int | None = None,
         nfft: int | None = None, detrend: Any = False, return_onesided: bool = True, boundary: str | None = "zeros",
         padded: bool = True, axis: int = -1) -> tuple[Any, Any, Any]:
    """The short-time Fourier transform: the spectra of overlapping segments under a window.

    Args:
      x: a signal along ``axis``, sampled ``fs`` times a unit of time.
      window: a name or tuple as in ``scipy.signal.get_window``, or an array, whose length is then that of a segment.
      nperseg, noverlap, nfft: the sizes of a segment (at most that of x), of its overlap with the next (half of it by
        default), and of the transform.
      detrend: what is taken from each segment: "constant", "linear", a function, or False.
      return_onesided: only frequencies from 0 on are given, if x is real.
      boundary: what x is extended by at both ends: "zeros", "even", "odd", "constant" or None.
      padded: zeros are appended until the last segment is full.

    Returns the frequencies, the times of the middles of the segments, and the transform: the frequencies in the place of
    ``axis``, the times last. Raises ValueError for sizes and names that do not fit.
    """
    x = fnp.moveaxis(inexact_arg("stft", x), as_axis("stft", axis, np.ndim(x)), -1)
    if boundary not in _EXTENSIONS:
        raise ValueError(message("stft: the boundary is unknown", repr(boundary), '"zeros", "even", "odd", "constant" or None'))
    plan = _plan("stft", x, window, nperseg, noverlap, nfft, return_onesided)
    x = _EXTENSIONS[boundary](x, plan.size // 2)
    if padded:
        x = _longer(x, x.shape[-1] + -(x.shape[-1] - plan.size) % plan.step % plan.size)
    spectra = _spectra("stft", x, plan, detrend) / fnp.sum(plan.window)
    times = (np.arange(spectra.shape[-2]) * plan.step + (plan.size / 2 if boundary is None else 0)) / fs
    return plan.frequencies(fs), fnp.asarray(times), fnp.moveaxis(fnp.moveaxis(spectra, -2, -1), -2, axis - (axis < 0))


def istft(Zxx: Any, fs: Any = 1.0, window: Any = "hann", nperseg: int | None = None, noverlap: int | None = None,
          nfft: int | None = None, input_onesided: bool = True, boundary: bool = True, time_axis: int = -1,
          freq_axis: int = -2) -> tuple[Any, Any]:
    """The signal whose ``stft`` with the same parameters is closest to Zxx; exactly that signal if there is one.

    Returns the times and the signal. Raises ValueError for axes that are one, and sizes and names that do not fit.
    """
    z = inexact_arg("istft", Zxx)
    ndim = len(z.shape)
    if ndim < 2 or as_axis("istft", time_axis, ndim) == as_axis("istft", freq_axis, ndim):
        raise ValueError(message("istft: the input needs an axis of frequencies and another one of times",
                                 f"{describe(z)} with freq_axis={freq_axis}, time_axis={time_axis}"))
    freq, time = as_axis("istft", freq_axis, ndim), as_axis("istft", time_axis, ndim)
    z = fnp.moveaxis(z, (time, freq), (-2, -1))
    default = 2 * (z.shape[-1] - 1) if input_onesided else z.shape[-1]
    size = default if nperseg is None else operator.index(nperseg)
    length = (size if input_onesided and size == default + 1 else default) if nfft is None else nfft
    plan = _plan("istft", fnp.empty((size,), dtypes.real_dtype(z.dtype)), window, size, noverlap, length, input_onesided)
    inverse = fnp.fft.irfft if input_onesided else fnp.fft.ifft
    pieces = inverse(z, n=plan.length)[..., :plan.size] * (plan.window * fnp.sum(plan.window))
    x = _overlapped(pieces, plan.step)
    weights = _overlapped(fnp.broadcast_to(plan.window ** 2, (z.shape[-2], plan.size)), plan.step)
    if boundary:
        ends = slice(plan.size // 2, x.shape[-1] - plan.size // 2)
        x, weights = x[..., ends], weights[ends]
    x = x / fnp.where(weights > 1e-10, weights, 1)
    return fnp.arange(x.shape[-1]) / fs, fnp.moveaxis(x, -1, time - (freq < time))


def csd(x: Any, y: Any, fs: Any = 1.0, window: Any = "hann", nperseg: int | None = None, noverlap: int | None = None,
        nfft: int | None = None, detrend: Any = "constant", return_onesided: bool = True, scaling: str = "density",
        axis: int = -1, average: str = "mean") -> tuple[Any, Any]:
    """The cross spectrum of two signals by Welch's method: the average over segments of ``conj(X) * Y``.

    The parameters are those of ``stft``. ``scaling="density"`` gives power over frequency, "spectrum" power;
    ``average`` is "mean" or "median". The shorter signal is padded with zeros; ``y=None`` stands for x. Returns the
    frequencies and the spectrum (P. D. Welch, IEEE Trans. Audio Electroacoust. 15, 70, 1967).
    """
    if scaling not in ("density", "spectrum"):
        raise ValueError(message("csd: the scaling is unknown", repr(scaling), '"density" or "spectrum"'))
    if average not in ("mean", "median"):
        raise ValueError(message("csd: the average is unknown", repr(average), '"mean" or "median"'))
    alone = y is None or y is x
    signals = [fnp.moveaxis(inexact_arg("csd", v), axis, -1) for v in ((x,) if alone else (x, y))]
    longest = max(v.shape[-1] for v in signals)
    signals = [_longer(v, longest) for v in signals]
    if not alone:
        signals = promote_args("csd", signals)
    plan = _plan("csd", signals[0], window, nperseg, noverlap, nfft, return_onesided)
    spectra = [_spectra("csd", v, plan, detrend) for v in signals]
    power = fnp.real(spectra[0]) ** 2 + fnp.imag(spectra[0]) ** 2 if alone else fnp.conj(spectra[0]) * spectra[1]
    scale = 1 / (fs * fnp.sum(plan.window ** 2)) if scaling == "density" else 1 / fnp.sum(plan.window) ** 2
    power = power * (scale * plan.sides()).astype(dtypes.real_dtype(power.dtype))
    if average == "mean":
        power = fnp.mean(power, axis=-2)
    else:
        power = (fnp.median(power, axis=-2) if power.dtype.kind != "c" else fnp.median(fnp.real(power), axis=-2)
                 + 1j * fnp.median(fnp.imag(power), axis=-2)) / _median_bias(power.shape[-2])
    return plan.frequencies(fs), fnp.moveaxis(power, -1, axis)


def welch(x: Any, fs: Any = 1.0, window: Any = "hann", nperseg: int | None = None, noverlap: int | None = None,
          nfft: int | None = None, detrend: Any = "constant", return_onesided: bool = True, scaling: str = "density",
          axis: int = -1, average: str = "mean") -> tuple[Any, Any]:
    """The power spectrum of a signal by Welch's method: ``csd`` of it with itself."""
    return csd(x, None, fs, window, nperseg, noverlap, nfft, detrend, return_onesided, scaling, axis, average)


# ---------------------------------------------------------------- segments


class _Plan(NamedTuple):
    """How a signal is cut up: the window, the sizes of a segment, a step and a transform, and the half that is kept."""

    window: Any
    size: int
    step: int
    length: int
    onesided: bool

    def frequencies(self, fs: Any) -> Any:
        return (fnp.fft.rfftfreq if self.onesided else fnp.fft.fftfreq)(self.length, 1 / fs)

    def sides(self) -> Any:
        """How often each frequency stands in the whole spectrum."""
        counts = np.ones(self.length // 2 + 1 if self.onesided else self.length)
        if self.onesided:
            counts[1:None if self.length % 2 else -1] = 2
        return counts


def _plan(name: str, x: Any, window: Any, nperseg: int | None, noverlap: int | None, nfft: int | None,
          onesided: bool) -> _Plan:
    n = x.shape[-1]
    if nperseg is not None and operator.index(nperseg) < 1:
        raise ValueError(message(f"{name}: a segment must have elements", f"nperseg={nperseg}"))
    if isinstance(window, str | tuple):
        size = min(256 if nperseg is None else operator.index(nperseg), n)
        window = _library().get_window(window, size) if size else np.zeros(0)
    else:
        size = np.shape(window)[0] if np.ndim(window) == 1 else -1
        if size < 0 or size > n or nperseg not in (None, size):
            raise ValueError(message(f"{name}: the window does not fit", f"{describe(window)} for nperseg={nperseg} and a "
                                     f"signal of {n} elements", "a vector of nperseg elements, at most as long as the signal"))
    overlap = size // 2 if noverlap is None else operator.index(noverlap)
    length = size if nfft is None else operator.index(nfft)
    if not size or overlap >= size or length < size:
        raise ValueError(message(f"{name}: the sizes do not fit", f"nperseg={size}, noverlap={overlap}, nfft={length}",
                                 "noverlap < nperseg <= nfft"))
    return _Plan(fnp.asarray(window).astype(dtypes.real_dtype(x.dtype)), size, size - overlap, length,
                 onesided and x.dtype.kind != "c")


def _spectra(name: str, x: Any, plan: _Plan, trend: Any) -> Any:
    """The spectra of the segments of x: an array (..., segments, frequencies)."""
    count = (x.shape[-1] - plan.size) // plan.step + 1
    segments = x[..., np.arange(count)[:, None] * plan.step + np.arange(plan.size)]
    if callable(trend):
        segments = trend(segments)
    elif isinstance(trend, str):
        segments = detrend(segments, type=trend)
    elif trend:
        raise ValueError(message(f"{name}: the kind of detrend is unknown", repr(trend),
                                 '"constant", "linear", a function or False'))
    return (fnp.fft.rfft if plan.onesided else fnp.fft.fft)(segments * plan.window, n=plan.length)


def _overlapped(pieces: Any, step: int) -> Any:
    """The sum of segments (..., count, size), each ``step`` further than the one before."""
    count, size = pieces.shape[-2:]
    where = np.arange(count)[:, None] * step + np.arange(size)
    return fnp.zeros((*pieces.shape[:-2], (count - 1) * step + size), pieces.dtype).at[..., where].add(pieces)


def _longer(x: Any, n: int) -> Any:
    """x with zeros appended until it has n elements along the last axis."""
    return fnp.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(0, n - x.shape[-1])])


def _extended(x: Any, n: int, mode: str, **options: Any) -> Any:
    return fnp.pad(x, [(0, 0)] * (len(x.shape) - 1) + [(n, n)], mode, **options)


_EXTENSIONS = {
    None: lambda x, n: x, "zeros": lambda x, n: _extended(x, n, "constant"),
    "constant": lambda x, n: _extended(x, n, "edge"), "even": lambda x, n: _extended(x, n, "reflect"),
    "odd": lambda x, n: _extended(x, n, "reflect", reflect_type="odd"),
}


def _median_bias(n: int) -> float:
    """The median of n exponential variables over their mean (B. Allen et al., Phys. Rev. D 85, 122006, 2012)."""
    return 1 + math.fsum(1 / (2 * i + 1) - 1 / (2 * i) for i in range(1, (n - 1) // 2 + 1))
