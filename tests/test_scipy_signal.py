"""Convolutions and spectra against SciPy, under transformations, and wrong programs."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.signal as reference

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.scipy import signal
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(4)
V, W = RNG.normal(size=7), RNG.normal(size=4)
A, B = RNG.normal(size=(5, 6)), RNG.normal(size=(3, 2))
T = RNG.normal(size=(2, 40))
COMPLEX = V + 1j * np.roll(V, 1)


def close(found, expected, tolerance=1e-11):
    for x, y in zip(fg.tree.leaves(found), expected if isinstance(expected, tuple) else (expected,), strict=True):
        assert x.shape == y.shape and x.dtype.kind == y.dtype.kind, (x.shape, y.shape, x.dtype, y.dtype)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


CONVOLUTIONS = [(V, W), (W, V), (V, W[:1]), (COMPLEX, W), (W, COMPLEX), (A, B), (B, A), (A, A[:2, ::-1]), (A[:4], A[:, :4]),
                (RNG.normal(size=(3, 4, 3)), RNG.normal(size=(2, 2, 3))), (RNG.normal(size=(9, 9)), RNG.normal(size=(7, 8)))]


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_convolutions(name, mode):
    for a, b in CONVOLUTIONS:
        if mode == "valid" and len({n > m for n, m in zip(a.shape, b.shape) if n != m}) > 1:
            continue
        expected = getattr(reference, name)(a, b, mode)
        for method in ("auto", "direct", "fft"):
            f = lambda x, y: getattr(signal, name)(x, y, mode, method)  # noqa: B023, E731
            close(f(a, b), expected)
        close(fg.jit(f)(a, b), expected)
        if a.ndim == 2 and a.dtype.kind != "c":
            for boundary in ("fill", "wrap", "symm"):
                if boundary == "fill" or all(n >= m for n, m in zip(a.shape, b.shape)):
                    options = {"boundary": boundary, "fillvalue": 0.5 if boundary == "fill" else 0}
                    close(getattr(signal, name + "2d")(a, b, mode, **options),
                          getattr(reference, name + "2d")(a, b, mode, **options))


def test_fftconvolve_along_axes():
    for a, b, axes in ((T, T[:, :5], 1), (T, T[:1, :5], [1]), (A, B, None), (COMPLEX, W, 0), (T, T[:, :5], -1)):
        for mode in ("full", "same", "valid"):
            close(signal.fftconvolve(a, b, mode, axes), reference.fftconvolve(a, b, mode, axes))


def test_dtypes_of_convolutions():
    assert signal.convolve(V.astype("float32"), W.astype("float32"), method="fft").dtype == "float32"
    assert signal.convolve(np.arange(3), np.arange(2)).dtype == "float64"
    assert signal.convolve(V.astype("float16"), W.astype("float16"), method="fft").dtype == "float16"


def test_derivatives_of_convolutions():
    for f, args in ((signal.convolve, (V, W)), (lambda x, y: signal.correlate(x, y, "same"), (A, B)),
                    (lambda x, y: signal.fftconvolve(x, y, "valid"), (A, B)),
                    (lambda x, y: signal.convolve2d(x, y, boundary="symm"), (A, B))):
        check_grads(f, args, order=2)
        g = fg.grad(lambda x, y: fnp.sum(fnp.sin(f(x, y))), (0, 1))  # noqa: B023
        each = [g(x, args[1]) for x in (args[0], 2 * args[0])]
        batched = fg.jit(fg.vmap(g, (0, None)))(np.stack([args[0], 2 * args[0]]), args[1])
        for i in range(2):
            for x, y in zip(batched, each[i], strict=True):
                np.testing.assert_allclose(x[i], y, rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- spectra

PARAMETERS = [{}, {"nperseg": 8}, {"nperseg": 8, "noverlap": 6, "nfft": 12}, {"nperseg": 9, "window": "blackman"},
              {"window": np.ones(7)}, {"nperseg": 8, "window": ("kaiser", 3.0), "fs": 10.0}, {"nperseg": 8, "return_onesided": False}]


@pytest.mark.parametrize("parameters", PARAMETERS)
def test_spectra(parameters):
    size = {"nperseg": 40, **parameters} if not isinstance(parameters.get("window"), np.ndarray) else {
        "nperseg": 7, **parameters}
    for options in ({}, {"boundary": None}, {"boundary": "even", "padded": False}, {"boundary": "odd"}, {"boundary": "constant"},
                    {"detrend": "linear"}):
        expected = reference.stft(T, **size, **options)
        close(signal.stft(T, **size, **options), expected)
    close(fg.jit(lambda x: signal.stft(x, **size))(T), reference.stft(T, **size))
    for options in ({}, {"scaling": "spectrum", "detrend": "linear"}, {"average": "median", "detrend": False}):
        close(signal.welch(T, **size, **options), reference.welch(T, **size, **options))
        close(signal.csd(T[0], T[1, :30], **size, **options), reference.csd(T[0], T[1, :30], **size, **options))
    inverse = {"input_onesided" if k == "return_onesided" else k: v for k, v in size.items()}
    spectra = reference.stft(T, **size)[2]
    close(signal.istft(spectra[0], **inverse), reference.istft(spectra[0], **inverse))
    close(signal.istft(spectra, **inverse)[1], reference.istft(spectra, **inverse)[1])


def test_other_axes_and_complex_signals():
    x = T.T.reshape(40, 2, 1)
    close(signal.stft(x, nperseg=8, axis=0), reference.stft(x, nperseg=8, axis=0))
    close(signal.welch(x, nperseg=8, axis=0), reference.welch(x, nperseg=8, axis=0))
    z = np.moveaxis(reference.stft(T, nperseg=8)[2], 0, -1)
    close(signal.istft(z, freq_axis=0, time_axis=1)[1], reference.istft(z, freq_axis=0, time_axis=1)[1])
    c = T[0] + 1j * T[1]
    close(signal.welch(c, nperseg=8, return_onesided=True), reference.welch(c, nperseg=8, return_onesided=False))
    for options in ({}, {"type": "constant"}, {"bp": [10, 25]}, {"axis": 0}):
        close(signal.detrend(T, **options), reference.detrend(T, **options))


def test_derivatives_of_spectra():
    x = T[:, :12]
    for f in (lambda x: signal.welch(x, nperseg=6)[1], lambda x: signal.istft(signal.stft(x, nperseg=6)[2])[1],
              lambda x: fnp.abs(signal.csd(x, x[::-1], nperseg=6)[1]), lambda x: signal.detrend(x, bp=5)):
        check_grads(f, (x,), order=2)
    np.testing.assert_allclose(fg.jacrev(lambda x: signal.istft(signal.stft(x, nperseg=6)[2])[1])(x[0]), np.eye(12), atol=1e-14)
    window = np.hanning(6)
    check_grads(lambda w: signal.welch(x, window=w)[1], (window,), order=1)
    np.testing.assert_allclose(fg.vmap(lambda x: signal.welch(x, nperseg=6)[1])(x), signal.welch(x, nperseg=6)[1], rtol=1e-12)


@pytest.mark.parametrize("call,text", [
    (lambda: signal.convolve(A, V), "convolve: the operands must have equally many axes"),
    (lambda: signal.convolve2d(V, V), "convolve2d: the operands must have 2 axes"),
    (lambda: signal.convolve(V, V[:0]), "convolve: an operand is empty"),
    (lambda: signal.convolve(V, W, "all"), "convolve: the mode is unknown"),
    (lambda: signal.convolve(V, W, method="slow"), "convolve: the method is unknown"),
    (lambda: signal.correlate(A[:4], A[:, :4], "valid"), 'mode "valid" needs one array'),
    (lambda: signal.convolve2d(A, B, boundary="mirror"), "the boundary is unknown"),
    (lambda: signal.detrend(V, type="cubic"), "detrend: the type of trend is unknown"),
    (lambda: signal.detrend(V, bp=9), "a break lies outside"),
    (lambda: signal.stft(V, nperseg=4, noverlap=4), r"stft: the sizes do not fit(.|\n)*noverlap < nperseg <= nfft"),
    (lambda: signal.stft(V, nperseg=0), "a segment must have elements"),
    (lambda: signal.stft(V, boundary="mirror"), "stft: the boundary is unknown"),
    (lambda: signal.stft(V, window=np.ones(9)), "the window does not fit"),
    (lambda: signal.welch(V, scaling="log"), "csd: the scaling is unknown"),
    (lambda: signal.welch(V, average="mode"), "csd: the average is unknown"),
    (lambda: signal.welch(V, detrend=True), "the kind of detrend is unknown"),
    (lambda: signal.istft(V), "an axis of frequencies and another one of times"),
])
def test_wrong_programs(call, text):
    with pytest.raises(ValueError, match=text):
        call()
