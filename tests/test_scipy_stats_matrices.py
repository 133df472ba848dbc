"""Distributions with covariance matrices, and densities estimated from samples: against SciPy, and their derivatives."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import random
from funcgrad.scipy import stats
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(0)
FACTOR = RNG.normal(size=(3, 3))
COVARIANCE, MEAN, X = FACTOR @ FACTOR.T + np.eye(3), RNG.normal(size=3), RNG.normal(size=(4, 5, 3))
DATA, WEIGHTS, POINTS = RNG.normal(size=(2, 40)), RNG.random(40), RNG.normal(size=(2, 7))
mvn = stats.multivariate_normal


def test_normal_vectors():
    expected = scipy.stats.multivariate_normal.logpdf(X, MEAN, COVARIANCE)
    np.testing.assert_allclose(np.asarray(mvn.logpdf(X, MEAN, COVARIANCE)), expected, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(mvn.pdf(X, MEAN, COVARIANCE)), np.exp(expected), rtol=1e-12)
    independent = scipy.stats.multivariate_normal.logpdf(X, np.full(3, 0.3), 1.7 * np.eye(3))
    np.testing.assert_allclose(np.asarray(mvn.logpdf(X, 0.3, 1.7)), independent, rtol=1e-12)
    np.testing.assert_allclose(float(mvn.logpdf(0.4, 0.1, 2.0)), scipy.stats.norm.logpdf(0.4, 0.1, np.sqrt(2.0)), rtol=1e-12)
    several = mvn.logpdf(X[0][:, None], MEAN, np.stack([COVARIANCE, 2 * COVARIANCE]))
    np.testing.assert_allclose(np.asarray(several)[:, 0], expected[0], rtol=1e-12)
    assert np.isnan(float(mvn.logpdf(np.zeros(2), np.zeros(2), -np.eye(2))))
    assert mvn.logpdf(X.astype(np.float32), MEAN.astype(np.float32), COVARIANCE.astype(np.float32)).dtype == np.float32


def test_normal_vectors_differentiate():
    check_grads(lambda m, c: mvn.logpdf(X[0], m, (c + c.T) / 2), (MEAN, COVARIANCE), 2, ("fwd", "rev"))
    found = fg.jit(fg.vmap(fg.grad(mvn.logpdf), (0, None, None)))(X[0], MEAN, COVARIANCE)
    np.testing.assert_allclose(np.asarray(found), -np.linalg.solve(COVARIANCE, (X[0] - MEAN).T).T, rtol=1e-10)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("method", [None, "silverman", 0.4, lambda kde: kde.neff ** -0.3])
def test_estimated_density(d, method):
    data, points = DATA[:d], POINTS[:d]
    kde, expected = stats.gaussian_kde(data, method, WEIGHTS), scipy.stats.gaussian_kde(data, method, WEIGHTS)
    np.testing.assert_allclose(np.asarray(kde(points)), expected(points), rtol=1e-10)
    np.testing.assert_allclose(np.asarray(fg.jit(lambda k, p: k.logpdf(p))(kde, points)), expected.logpdf(points), rtol=1e-10)
    np.testing.assert_allclose(np.asarray(kde.inv_cov), expected.inv_cov, rtol=1e-10)
    others = stats.gaussian_kde(2 * data), scipy.stats.gaussian_kde(2 * data)
    np.testing.assert_allclose(float(kde.integrate_kde(others[0])), expected.integrate_kde(others[1]), rtol=1e-10)
    normal = np.zeros(d), np.eye(d)
    np.testing.assert_allclose(float(kde.integrate_gaussian(*normal)), expected.integrate_gaussian(*normal), rtol=1e-10)
    if d == 1:
        np.testing.assert_allclose(float(kde.integrate_box_1d(-1.0, 0.5)), expected.integrate_box_1d(-1.0, 0.5), rtol=1e-10)
    draws = np.asarray(kde.resample(random.key(0), (5000,)))
    assert draws.shape == (d, 5000) and np.abs(draws.mean(1) - np.average(data, axis=1, weights=WEIGHTS)).max() < 0.1


def test_estimated_density_differentiates():
    check_grads(lambda data, w: stats.gaussian_kde(data, weights=w).logpdf(POINTS), (DATA[:, :6], WEIGHTS[:6]), 1, ("fwd", "rev"))


@pytest.mark.parametrize("call, error, text", [
    (lambda: mvn.logpdf(X, MEAN, np.eye(2)), ValueError, "the covariance does not fit the vectors"),
    (lambda: mvn.logpdf(X, MEAN, COVARIANCE, True), NotImplementedError, "singular covariances are not supported"),
    (lambda: stats.gaussian_kde(np.ones(1)), ValueError, "gaussian_kde: fewer than two points"),
    (lambda: stats.gaussian_kde(DATA, "best"), ValueError, "gaussian_kde: unknown bandwidth"),
    (lambda: stats.gaussian_kde(DATA, weights=np.ones(3)), ValueError, "gaussian_kde: the weights do not fit the points"),
    (lambda: stats.gaussian_kde(DATA + 1j), NotImplementedError, "gaussian_kde: complex points"),
    (lambda: stats.gaussian_kde(DATA)(np.ones((3, 4))), ValueError, "the points have another dimension"),
    (lambda: stats.gaussian_kde(DATA).integrate_box_1d(0, 1), ValueError, "integrate_box_1d: the density has several dimensions"),
    (lambda: stats.gaussian_kde(DATA).integrate_kde(stats.gaussian_kde(DATA[0])), ValueError, "the densities have different"),
    (lambda: stats.gaussian_kde(DATA).integrate_gaussian(0.0, 1.0), ValueError, "the normal density has another dimension"),
    (lambda: stats.gaussian_kde(DATA).integrate_box(0, 1), NotImplementedError, "integrate_box: not supported"),
    (lambda: stats.gaussian_kde(DATA).set_bandwidth(1.0), NotImplementedError, "set_bandwidth: an estimate does not change"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_float32_stays_float32():
    assert fnp.asarray(stats.gaussian_kde(DATA.astype(np.float32))(POINTS)).dtype == np.float32
