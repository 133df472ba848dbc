"""Fourier transforms: values against NumPy, matrices and transposes, dtypes, composition, wrong programs."""
from __future__ import annotations

import types

import numpy as np
import pytest
import scipy.fft

import funcgrad as fg
import funcgrad.numpy as fnp
import funcgrad.scipy.fft as cosine
from funcgrad.ops.fft import FftType, fft_impl
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4, 5))
Z = X + 1j * RNG.normal(size=(3, 4, 5))

CASES = [
    ("fft", Z, {}), ("fft", X, {"n": 7, "axis": 1}), ("fft", Z, {"n": 2, "norm": "ortho"}), ("fft", Z[0, 0, :1], {}),
    ("ifft", Z, {"axis": 0}), ("ifft", X, {"norm": "forward"}), ("rfft", X, {}), ("rfft", X, {"n": 3, "axis": -2}),
    ("rfft", X[0, 0, :1], {"norm": "ortho"}), ("irfft", Z, {}), ("irfft", Z, {"n": 5, "axis": 0, "norm": "forward"}),
    ("irfft", Z, {"n": 1}), ("irfft", X, {"n": 9, "norm": "ortho"}), ("hfft", Z, {}), ("hfft", Z, {"n": 7, "norm": "ortho"}),
    ("hfft", Z, {"norm": "forward"}), ("ihfft", X, {"axis": 0}), ("ihfft", X, {"n": 4, "norm": "forward"}),
    ("fft2", Z, {}), ("fft2", X, {"axes": (0, 2), "s": (2, 6)}), ("ifft2", Z, {"norm": "ortho"}),
    ("rfft2", X, {}), ("rfft2", X, {"axes": (2, 0)}), ("irfft2", Z, {"s": (4, 7)}), ("irfft2", Z, {"axes": (1, 0)}),
    ("fftn", Z, {}), ("fftn", Z, {"axes": (1,), "norm": "forward"}), ("ifftn", X, {"axes": (2, 1, 0)}),
    ("rfftn", X, {}), ("rfftn", X, {"s": (3, 4, 4), "axes": (0, 1, 2), "norm": "ortho"}), ("irfftn", Z, {}),
    ("irfftn", Z, {"s": (2, 3, 9), "axes": (0, 1, 2)}), ("fftshift", X, {}), ("fftshift", X, {"axes": 1}),
    ("ifftshift", X, {"axes": (0, 2)}), ("ifftshift", np.arange(5), {}), ("fft", np.arange(6), {}),
]


@pytest.mark.parametrize("name,x,options", CASES)
def test_values_are_those_of_numpy(name, x, options):
    expected = getattr(np.fft, name)(x, **options)
    f = lambda v: getattr(fnp.fft, name)(v, **options)  # noqa: E731
    for found in (f(x), fg.jit(f)(x), getattr(np.fft, name)(fnp.asarray(x), **options), fg.vmap(f)(x[None])[0]):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_the_transpose_is_that_of_the_matrix(name, n):
    """As linear functions of (real part, imaginary part), to two orders, through padding and cutting."""

    def parts(x, y):
        z = getattr(fnp.fft, name)(x if name in ("rfft", "ihfft") else x + 1j * y, n, norm="ortho")
        return fnp.real(z), fnp.imag(z)

    args = RNG.normal(size=(2, 4))
    check_grads(parts, tuple(args), order=2)
    forward, backward = fg.jacfwd(parts, (0, 1))(*args), fg.jacrev(parts, (0, 1))(*args)
    for a, b in zip(fg.tree.leaves(forward), fg.tree.leaves(backward), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-14)


def test_parseval_and_the_convolution_theorem_under_transformations():
    def energy(x):
        spectrum = fnp.fft.rfftn(x)
        twice = fnp.array([1.0, 2.0, 2.0])
        return fnp.sum(fnp.abs(spectrum) ** 2 * twice) / x.size

    np.testing.assert_allclose(energy(X), np.sum(X ** 2), rtol=1e-12)
    for transform in (fg.grad, lambda f: fg.jit(fg.grad(f)), lambda f: fg.grad(fg.jit(f))):
        np.testing.assert_allclose(transform(energy)(X), 2 * X, rtol=1e-10)
    np.testing.assert_allclose(fg.vmap(fg.grad(lambda x: fnp.sum(fnp.abs(fnp.fft.fft(x)) ** 2)))(X[0]), 10 * X[0], rtol=1e-10)
    np.testing.assert_allclose(fg.jit(fg.hessian(energy))(X[:1, :2]).reshape(10, 10), 2 * np.eye(10), atol=1e-12)

    def circular(a, b):
        return fnp.fft.irfft(fnp.fft.rfft(a) * fnp.fft.rfft(b), 5)

    a, b = X[0, :2]
    matrix = np.stack([np.roll(b, k) for k in range(5)], axis=1)
    np.testing.assert_allclose(circular(a, b), matrix @ a, rtol=1e-12)
    np.testing.assert_allclose(fg.jacrev(circular)(a, b), matrix, atol=1e-14)
    check_grads(circular, (a, b), order=3)


@pytest.mark.parametrize("norm", [None, "ortho", "forward"])
@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_cosine_transforms(kind, norm):
    for name, options in (("dct", {}), ("dct", {"n": 7}), ("idct", {"n": 3, "axis": 1}), ("dctn", {}), ("dctn", {"s": (2, 6)}),
                          ("idctn", {"axes": (2, 0), "s": (4, 2)}), ("dct", {"axis": 0})):
        expected = getattr(scipy.fft, name)(X, kind, norm=norm, **options)
        f = lambda x: getattr(cosine, name)(x, kind, norm=norm, **options)  # noqa: B023, E731
        for found in (f(X), fg.jit(f)(X), fg.vmap(f)(X[None])[0]):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(cosine.idctn(cosine.dctn(X, kind, norm=norm), kind, norm=norm), X, rtol=1e-12)
    matrix = scipy.fft.dct(np.eye(4), kind, norm=norm, axis=0)
    for jacobian in (fg.jacfwd, fg.jacrev):
        np.testing.assert_allclose(jacobian(lambda x: cosine.dct(x, kind, norm=norm))(X[0, :, 0]), matrix, atol=1e-14)


def test_cosine_transforms_of_other_dtypes():
    np.testing.assert_allclose(cosine.dct(Z), scipy.fft.dct(Z), rtol=1e-12, atol=1e-13)
    for dtype, expected in (("float16", "float32"), ("bfloat16", "float32"), ("int64", "float64"), ("complex64", "complex64")):
        assert cosine.dct(fnp.ones(3).astype(dtype)).dtype == expected
    assert cosine.dct(np.zeros((0, 3))).shape == (0, 3)


def test_holomorphic_derivative_is_the_matrix():
    matrix = np.fft.fft(np.eye(4))
    for jacobian in (fg.jacfwd, fg.jacrev):
        np.testing.assert_allclose(jacobian(fnp.fft.fft, holomorphic=True)(Z[0, 0, :4]), matrix, atol=1e-14)


@pytest.mark.parametrize("dtype,real,spectral", [("float16", "float32", "complex64"), ("float32", "float32", "complex64"),
                                                 ("bfloat16", "float32", "complex64"), ("int64", "float64", "complex128"),
                                                 ("bool", "float32", "complex64")])
def test_precision_is_kept(dtype, real, spectral):
    x = fnp.ones(4).astype(dtype)
    assert fnp.fft.fft(x).dtype == fnp.fft.rfft(x).dtype == spectral
    assert fnp.fft.irfft(x).dtype == fnp.fft.hfft(x).dtype == real
    if fnp.issubdtype(dtype, fnp.floating):
        assert fg.grad(lambda x: fnp.abs(fnp.fft.rfft(x)).sum())(x + 1).dtype == dtype
    wide, narrow = np.fft.fft(Z), fnp.fft.fft(Z.astype("complex64"))
    np.testing.assert_allclose(narrow, wide, rtol=1e-4, atol=1e-5)


def test_memory_order_and_empty_stacks():
    np.testing.assert_allclose(fnp.fft.fft(X.T[::2]), np.fft.fft(X.T[::2]), rtol=1e-12, atol=1e-13)
    assert fnp.fft.rfft(np.zeros((0, 6))).shape == (0, 4) and fnp.fft.fft(np.zeros((2, 0, 3))).dtype == "complex128"
    assert fnp.fft.fftn(Z, axes=()).shape == Z.shape
    assert fg.grad(lambda x: fnp.abs(fnp.fft.rfft(x)).sum())(np.zeros((0, 6))).shape == (0, 6)


def test_frequencies():
    for n in (1, 4, 5):
        for found, expected in ((fnp.fft.fftfreq(n, 0.5), np.fft.fftfreq(n, 0.5)), (fnp.fft.rfftfreq(n), np.fft.rfftfreq(n))):
            np.testing.assert_allclose(found, expected, rtol=1e-15)
    assert fnp.fft.fftfreq(4, dtype="float32").dtype == "float32"
    assert float(fg.grad(lambda d: fnp.fft.rfftfreq(4, d)[1])(0.5)) == -1.0


@pytest.mark.parametrize("call,error,text", [
    (lambda: fnp.fft.rfft(Z), TypeError, "rfft: the input must be real(.|\n)*the real part"),
    (lambda: fnp.fft.fft(X, n=0), ValueError, "fft: there is no transform of 0 elements"),
    (lambda: fnp.fft.irfft(X[..., :1]), ValueError, "irfft: there is no transform of 0 elements"),
    (lambda: fnp.fft.fft(np.zeros((2, 0))), ValueError, "no transform of 0 elements"),
    (lambda: fnp.fft.fft(X, norm="backwards"), ValueError, "fft: the norm is unknown(.|\n)*'backwards'"),
    (lambda: fnp.fft.fft(X, axis=3), ValueError, "axis 3 is out of bounds"),
    (lambda: fnp.fft.fft(1.0), ValueError, "axis -1 is out of bounds"),
    (lambda: fnp.fft.fftn(X, axes=(0, 0)), ValueError, "duplicate value"),
    (lambda: fnp.fft.fftn(X, s=(2,), axes=(0, 1)), ValueError, r"a size for each axis(.|\n)*s=\(2,\)"),
    (lambda: fnp.fft.fft2(X, axes=(0,)), ValueError, "two axes(.|\n)*fftn"),
    (lambda: fnp.fft.fft([1.0, 2.0]), TypeError, "fnp.asarray"),
    (lambda: fnp.fft.fftfreq(0), ValueError, "must be positive"),
    (lambda: fg.lax.fft(Z, "RFFT", (5,)), TypeError, "RFFT transforms real arrays"),
    (lambda: fg.lax.fft(X, "FFT", (4,)), ValueError, r"does not fit the array(.|\n)*complex128\[3,4,5\]"),
    (lambda: cosine.dct(X, 5), ValueError, "dct: the type of transform is unknown"),
    (lambda: cosine.dct(X, norm="full"), ValueError, "dct: the norm is unknown"),
    (lambda: cosine.dct(X[..., :1], 1), ValueError, "too short for a transform of type 1"),
    (lambda: cosine.idctn(X, s=(1, 2), axes=(0,)), ValueError, "idctn: there must be a size for each axis"),
    (lambda: fg.lax.fft(X, "DFT", (5,)), ValueError, "unknown(.|\n)*FFT, IFFT"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("lengths", [(1,), (2,), (5,), (6,), (3, 4), (2, 3, 5)])
def test_real_transforms_of_other_libraries_drop_what_scipy_drops(lengths, dtype):
    """A library that is not SciPy's is asked only for what all of them define: its argument is half of a real spectrum."""
    rng = np.random.default_rng(0)
    shape = (2, *lengths[:-1], lengths[-1] // 2 + 1)
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    asked = []

    def irfft(x, n):
        asked.append(x)
        return np.fft.irfft(x, n)

    library = types.SimpleNamespace(fft=types.SimpleNamespace(irfft=irfft, ifftn=np.fft.ifftn))
    kept = x.copy()
    found = fft_impl(library, x, fft_type=FftType.IRFFT, fft_lengths=lengths)
    expected = fft_impl(np, x, fft_type=FftType.IRFFT, fft_lengths=lengths)
    assert found.dtype == expected.dtype and (x == kept).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not asked[0].imag[..., 0].any() and (lengths[-1] % 2 or not asked[0].imag[..., -1].any())
