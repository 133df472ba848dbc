"""Counting, covariance and sets: as NumPy, with known sizes under jit, differentiated, errors."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

K = np.array([3, 1, 2, 1, 3, 0])
R = np.array([3.0, 1.0, 2.0, 1.5, 2.5, 0.0])
S = np.random.default_rng(3).normal(size=(3, 5))

CALLS = """
bincount(K)
bincount(K, minlength=9)
bincount(K, R)
histogram(R)
histogram(K, bins=3)
histogram(K, bins=np.array([0., 1., 3.]))
histogram(K, bins=3, range=(0, 2))
histogram(K, bins=3, weights=R)
histogram(K, bins=3, density=True)
histogram_bin_edges(K, 4)
histogram_bin_edges(np.ones(3), 4)
histogram2d(R, R * 2, bins=3)
histogram2d(R, R * 2, bins=[2, 3], density=True)
histogram2d(R, R * 2, bins=[2, 3], weights=R)
histogramdd(np.stack([R, R ** 2, R * 0], 1), bins=(2, 3, 4))
histogramdd(np.stack([R, R ** 2], 1), bins=3, range=[(0, 2), (0, 4)], weights=R)
cov(S)
cov(S, rowvar=False)
cov(R)
cov(R, R * R)
cov(S, S * 2, ddof=0)
cov(S, bias=True)
cov(S, fweights=np.array([1, 2, 3, 4, 1]))
cov(S, aweights=np.array([1., 2., 3., 4., 2.]))
cov(S, fweights=np.array([1, 2, 3, 4, 1]), aweights=np.array([1., 2., 3., 4., 2.]))
cov(S + 1j * S[::-1])
corrcoef(S)
corrcoef(S, rowvar=False)
corrcoef(R, R * R)
corrcoef(R)
unique(K)
unique(R, return_index=True, return_inverse=True, return_counts=True)
unique(K.reshape(2, 3), return_index=True, return_inverse=True, return_counts=True)
unique(K.reshape(3, 2) % 2, axis=0, return_index=True, return_counts=True)
unique(K.reshape(2, 3) % 2, axis=1, return_index=True, return_counts=True)
unique(np.array([np.nan, 1, np.nan]))
unique(np.array([np.nan, 1, np.nan]), equal_nan=False)
unique(np.array([]))
unique(np.array([True, False, True]), return_counts=True)
unique(np.array([1j, 0, 1j]))
unique_counts(K)
unique_inverse(K)
unique_all(K)
union1d(K, np.array([7, 0]))
intersect1d(K, np.array([3, 0, 9, 3]))
intersect1d(K, np.array([3, 0, 9, 3]), return_indices=True)
setdiff1d(K, np.array([3, 0, 9, 3]))
setdiff1d(K, np.array([3, 0, 9, 3]), assume_unique=True)
setxor1d(K, np.array([3, 0, 9, 3]))
isin(K, np.array([3, 0]))
isin(R, K, invert=True)
isin(K, np.array([]))
isin(np.nan, np.array([np.nan]))
"""


@pytest.mark.parametrize("call", CALLS.split("\n")[1:-1])
def test_as_numpy(call):
    actual, expected = (eval(f"n.{call}", {"n": n, "np": np, "K": K, "R": R, "S": S}) for n in (fnp, np))
    if not isinstance(expected, (tuple, list)):
        actual, expected = [actual], [expected]
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        if isinstance(e, (tuple, list)):
            assert all(np.allclose(np.asarray(x), y) for x, y in zip(a, e, strict=True))
            continue
        e = np.asarray(e)
        assert a.shape == e.shape and (a.dtype == e.dtype or call.startswith("histogram"))
        np.testing.assert_allclose(np.asarray(a), e, rtol=1e-12, atol=1e-14)


def test_counts_have_jaxs_dtypes():
    assert fnp.histogram(K)[0].dtype == np.float64 and fnp.histogram2d(R, R)[0].dtype == np.int64
    assert fnp.bincount(K, R.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("call,expected", [
    (lambda: fnp.unique(K, size=6), [0, 1, 2, 3, 0, 0]),
    (lambda: fnp.unique(K, size=6, fill_value=-1), [0, 1, 2, 3, -1, -1]),
    (lambda: fnp.unique(K, size=2), [0, 1]),
    (lambda: fnp.unique(K, size=6, return_counts=True)[1], [1, 2, 1, 2, 0, 0]),
    (lambda: fnp.unique(K, size=2, return_counts=True)[1], [1, 2]),
    (lambda: fnp.unique(K, size=6, return_inverse=True)[1], [3, 1, 2, 1, 3, 0]),
    (lambda: fnp.unique(K, size=5, return_index=True)[1], [5, 1, 2, 0, 5]),
    (lambda: fnp.union1d(K, K, size=5), [0, 1, 2, 3, 0]),
    (lambda: fnp.intersect1d(K, np.array([3, 0, 9]), size=3), [0, 3, 0]),
    (lambda: fnp.intersect1d(K, np.array([3, 0, 9]), size=3, fill_value=-1), [0, 3, -1]),
    (lambda: fnp.intersect1d(K, np.array([3, 0, 9]), size=3, return_indices=True)[1], [5, 0, 6]),
    (lambda: fnp.intersect1d(K, np.array([3, 0, 9]), size=3, return_indices=True)[2], [1, 0, 3]),
    (lambda: fnp.setdiff1d(K, np.array([3, 0, 9]), size=4), [1, 2, 0, 0]),
    (lambda: fnp.setdiff1d(K, np.array([3, 0, 9]), size=4, fill_value=-7), [1, 2, -7, -7]),
    (lambda: fnp.setxor1d(K, np.array([3, 0, 9]), size=4), [1, 2, 9, 1]),
    (lambda: fnp.bincount(K, length=2), [1, 2]),
    (lambda: fnp.bincount(K, length=6), [1, 2, 1, 2, 0, 0]),
])
def test_known_sizes(call, expected):
    assert call().tolist() == expected
    assert fg.jit(call)().tolist() == expected


def test_sets_are_batched_with_a_size():
    batch = np.stack([K, np.array([5, 5, 5, 4, 4, 4])])
    out = fg.jit(fg.vmap(lambda v: fnp.unique(v, size=4, fill_value=-1)))(batch)
    assert out.tolist() == [[0, 1, 2, 3], [4, 5, -1, -1]]
    assert fg.vmap(lambda v: fnp.bincount(v, length=6))(batch).tolist() == [[1, 2, 1, 2, 0, 0], [0, 0, 0, 0, 3, 3]]


@pytest.mark.parametrize("f", [
    lambda x: fnp.bincount(np.array([0, 1, 1, 3, 0, 2]), x), lambda x: fnp.histogram(R, 3, weights=x)[0],
    lambda x: fnp.histogram(x, 3)[1], lambda x: fnp.histogram(R, 3, weights=x, density=True)[0],
    lambda x: fnp.cov(fnp.reshape(x, (2, 3))), lambda x: fnp.cov(fnp.reshape(x, (2, 3)), rowvar=False, aweights=R[:2] + 1),
    lambda x: fnp.corrcoef(fnp.reshape(x, (2, 3)))[0, 1], lambda x: fnp.unique(x, size=6),
    lambda x: fnp.union1d(x, x[:2] * 2.2, size=8), lambda x: fnp.setxor1d(x, x[:2] * 2.2, size=8),
    lambda x: fnp.setdiff1d(x, np.array([7.0]), size=6),
])
def test_derivatives(f):
    check_grads(f, (R + 0.01 * np.arange(6.0) * (R != 1) * (R != 2),), order=1)


def test_values_of_sets_under_grad_are_known():
    weights = np.array([1.0, 10.0, 100.0])
    gradient = fg.grad(lambda x: fnp.sum(fnp.unique(x) * weights))(np.array([3.0, 1.0, 3.0, 2.0]))
    assert gradient.tolist() == [100.0, 1.0, 0.0, 10.0]
    gradient = fg.grad(lambda x: fnp.sum(fnp.intersect1d(x, np.array([2.0, 3.0]))))(np.array([3.0, 1.0, 2.0]))
    assert gradient.tolist() == [1.0, 0.0, 1.0]
    gradient = fg.grad(lambda x: fnp.sum(fnp.setdiff1d(x, np.array([2.0]))))(np.array([3.0, 1.0, 2.0]))
    assert gradient.tolist() == [1.0, 1.0, 0.0]
    assert fnp.unique_values(K).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("call,error,text", [
    (lambda: fg.jit(fnp.unique)(K), TypeError, "unique.*\n.*\n.*\n.*size="),
    (lambda: fg.jit(fnp.setdiff1d)(K, K), TypeError, "setdiff1d.*\n.*\n.*\n.*size="),
    (lambda: fg.jit(fnp.intersect1d)(K, K), TypeError, "intersect1d.*\n.*\n.*\n.*size="),
    (lambda: fg.vmap(fnp.unique)(K[None]), TypeError, "traced"),
    (lambda: fg.jit(fnp.bincount)(K), TypeError, "length="),
    (lambda: fnp.bincount(R), TypeError, "vector of integers"),
    (lambda: fnp.bincount(-K), ValueError, "negative"),
    (lambda: fnp.unique([1, 2]), TypeError, "not an array"),
    (lambda: fnp.histogram(R, "auto"), NotImplementedError, "np.histogram_bin_edges"),
    (lambda: fnp.histogram(R, 3, weights=np.ones(2)), ValueError, "weights do not fit"),
    (lambda: fnp.histogramdd(S.T, bins=(2, 2)), ValueError, "do not match the points"),
    (lambda: fnp.cov(np.ones((1, 1, 1))), ValueError, "at most two axes"),
    (lambda: fnp.cov(S, fweights=np.ones(5)), TypeError, "must be integers"),
    (lambda: fnp.cov(S, aweights=np.ones(2)), ValueError, "do not fit"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
