"""``polyfit`` and ``roots``: NumPy's values, derivatives, batches, programs, wrong calls."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

X = np.array([0.3, -1.2, 2.1, 0.9, -0.4, 1.6])
Y = np.stack([np.sin(X), X ** 3 - X], 1)
W = np.array([1.0, 0.5, 2.0, 1.5, 0.7, 1.1])
FORMS = [{}, {"w": W}, {"full": True}, {"cov": True}, {"cov": "unscaled", "w": W}, {"cov": True, "w": W, "rcond": 1e-9}]


def parts(result):
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("y", [Y[:, 0], Y], ids=["vector", "matrix"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(form))
def test_polyfit_as_numpy(form, y):
    found, expected = (parts(fit(X, y, 2, **form)) for fit in (fnp.polyfit, np.polyfit))
    for a, b in zip(found, expected, strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(np.asarray(a), b, rtol=1e-11)
    check_grads(lambda x, y: parts(fnp.polyfit(x, y, 2, **form))[:2], (X, y), 1)
    compiled = parts(fg.jit(lambda x, y: fnp.polyfit(x, y, 2, **form))(X, y))
    np.testing.assert_allclose(np.asarray(compiled[0]), expected[0], rtol=1e-11)


def test_polyfit_again_differentiated_and_batched():
    check_grads(lambda x, y, w: fnp.polyfit(x, y, 1, w=w), (X, Y[:, 0], W), 2)
    np.testing.assert_allclose(np.asarray(fg.vmap(lambda y: fnp.polyfit(X, y, 3))(Y.T)), np.polyfit(X, Y, 3).T, rtol=1e-11, atol=1e-13)


def test_polyfit_dtypes_and_few_points():
    assert fnp.polyfit(X.astype("float32"), Y.astype("float32"), 1).dtype == np.float32
    assert fnp.polyfit(np.arange(3), np.arange(3) * 2, 1).dtype == np.float64
    z = X + 1j * W
    np.testing.assert_allclose(np.asarray(fnp.polyfit(z, z ** 2 - 1j, 2)), [1, 0, -1j], atol=1e-12)
    with pytest.warns(np.exceptions.RankWarning):
        shortest = np.polyfit(X[:2], W[:2], 3)
    np.testing.assert_allclose(np.asarray(fnp.polyfit(X[:2], W[:2], 3)), shortest, rtol=1e-11)
    np.testing.assert_allclose(fnp.polyfit(X[:1], W[:1], 0), W[:1], rtol=1e-14)


@pytest.mark.parametrize("coefficients", [
    [2.0, -3, 1, 4], [0, 0, 1, 2, 3], [1, 0, 0], [5.0], [], [0.0, 0], [1, 2], [1 + 1j, 2, 3j], [1.0, -3, 2, 0, 0]])
def test_roots_as_numpy(coefficients):
    p = np.array(coefficients)
    found, expected = fnp.roots(p), np.roots(p)
    assert found.dtype == np.complex128
    np.testing.assert_allclose(np.sort_complex(found), np.sort_complex(expected), rtol=1e-13, atol=1e-13)


def test_roots_of_single_precision():
    assert fnp.roots(np.float32([1, 2, 3])).dtype == np.complex64 and fnp.roots(2.0).shape == (0,)


def test_leading_zeros_that_are_traced():
    """As many as there are coefficients after the first, the missing ones NaN; the derivatives are those of the rest."""
    rows = np.array([[0, 0, 1.0, -3, 2.5], [0, 1, -3, 2, 0], [2, 1, -3, 2, 1], [0, 0, 0, 0, 0]])
    all_roots = fg.jit(fg.vmap(lambda p: fnp.roots(p, strip_zeros=False)))(rows)
    for found, p in zip(np.asarray(all_roots), rows, strict=True):
        expected = np.roots(p)
        assert np.isnan(found[len(expected):]).all()
        np.testing.assert_allclose(np.sort_complex(found[:len(expected)]), np.sort_complex(expected), rtol=1e-12)
        assert (np.diff(np.abs(found[:len(expected)])) <= 1e-12).all()

    def energy(p):
        return fnp.nansum(fnp.abs(fnp.roots(p, strip_zeros=False)) ** 2)

    expected = fg.grad(lambda p: (fnp.abs(fnp.roots(p)) ** 2).sum())(rows[0, 2:])
    np.testing.assert_allclose(np.asarray(fg.jit(fg.grad(energy))(rows[0]))[2:], np.asarray(expected), rtol=1e-12)


def test_derivatives_of_roots():
    for p in (np.array([2.0, -3, 1, 4]), np.array([2 + 1j, -3, 1j, 4])):
        check_grads(lambda p: (fnp.abs(fnp.roots(p)) ** 3).sum(), (p,), 2)
    slopes = fg.jacfwd(lambda p: fnp.roots(p).real.min())(np.array([1.0, -3.0, 2.0]))  # x = 1: -x**i / (2 x - 3)
    np.testing.assert_allclose(np.asarray(slopes), [1, 1, 1], rtol=1e-12)


@pytest.mark.parametrize("call, error, text", [
    (lambda: fnp.polyfit(X, Y[:3], 1), ValueError, "the points and values do not fit"),
    (lambda: fnp.polyfit(Y, Y, 1), ValueError, "the points and values do not fit"),
    (lambda: fnp.polyfit(X[:0], X[:0], 1), ValueError, "the points and values do not fit"),
    (lambda: fnp.polyfit(X, X, -1), ValueError, "the order must not be negative"),
    (lambda: fnp.polyfit(X, X, 1, w=W[:2]), ValueError, "the weights do not fit"),
    (lambda: fnp.polyfit(X[:2], X[:2], 1, cov=True), ValueError, "more points than coefficients(.|\n)*unscaled"),
    (lambda: fnp.roots(Y), ValueError, "the coefficients must be vectors"),
    (lambda: fg.jit(fnp.roots)(X), fg.errors.ConcretizationTypeError, "roots(.|\n)*strip_zeros=False"),
])
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()
