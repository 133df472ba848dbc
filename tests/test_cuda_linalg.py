"""Factorisations by CuPy: NaN and singular matrices give what they give on the processor, without errors and warnings."""
from __future__ import annotations

import warnings

import fake_cupy
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.ops import factorizations, spectral

RNG = np.random.default_rng(0)
GOOD = RNG.standard_normal((4, 4)) + 4 * np.eye(4)
HERMITIAN = GOOD + GOOD.T


def broken(x, value, at=(1, 0)):
    x = x.copy()
    x[at] = value
    return x


@pytest.fixture
def gpu(monkeypatch):
    return fake_cupy.install(monkeypatch)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("function, good", [
    (lambda x: spectral.eigh_p.bind(x, lower=True, vectors=True), HERMITIAN),
    (lambda x: spectral.eigh_p.bind(x, lower=True, vectors=False), HERMITIAN),
    (lambda x: spectral.svd_p.bind(x, full_matrices=True, vectors=True), GOOD),
    (lambda x: spectral.svd_p.bind(x[..., :3], full_matrices=False, vectors=True), GOOD),
    (lambda x: spectral.svd_p.bind(x, full_matrices=True, vectors=False), GOOD),
    (lambda x: factorizations.cholesky_p.bind(x), HERMITIAN @ HERMITIAN),
], ids=["eigh", "eigvalsh", "svd", "thin svd", "singular values", "cholesky"])
def test_only_matrices_without_an_answer_are_nan(gpu, function, good, dtype):
    stack = np.stack([good, broken(good, np.nan), good + 0.125 * np.eye(4), broken(good, np.inf)]).astype(dtype)
    for x in (stack, stack[1], stack[0], stack.reshape(2, 2, 4, 4)):
        for out, plain in zip(function(fg.device_put(x, "cuda:0")), function(fnp.asarray(x)), strict=True):
            assert out.device == "cuda:0" and (out.dtype, out.shape) == (plain.dtype, plain.shape)
            matrices = x.reshape(-1, 4, 4)
            for matrix, part in zip(matrices, np.asarray(out).reshape(len(matrices), -1), strict=True):
                assert np.isfinite(part).all() if np.isfinite(matrix).all() else np.isnan(part).any()


def test_what_is_not_read_may_be_nan(gpu):
    x = broken(HERMITIAN, np.nan, (0, 1))  # above the diagonal
    values, _ = spectral.eigh_p.bind(fg.device_put(x, "cuda:0"), lower=True, vectors=True)
    np.testing.assert_allclose(np.asarray(values), np.linalg.eigvalsh(HERMITIAN), rtol=1e-12)


def test_a_singular_matrix_does_not_warn(gpu):
    x = np.ones((20, 20))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out, *_ = factorizations.lu_p.bind(fg.device_put(x, "cuda:0"))
    np.testing.assert_allclose(np.asarray(out), np.asarray(factorizations.lu_p.bind(fnp.asarray(x))[0]))
