"""Distributions and statistics: values against SciPy, derivatives against differences, what lies outside of the support."""
from __future__ import annotations

import importlib
import inspect

import numpy as np
import pytest
import scipy.stats

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.scipy import stats

# Parameters, then loc and scale where a function takes them.
CONTINUOUS = dict(norm=(), cauchy=(), expon=(), gamma=(2.3,), chi2=(3.7,), beta=(1.7, 2.4), gennorm=(1.6,), gumbel_l=(),
                  gumbel_r=(), laplace=(), logistic=(), pareto=(2.2,), t=(3.3,), uniform=(), vonmises=(1.2,), wrapcauchy=(0.4,),
                  truncnorm=(-1.2, 2.1))
DISCRETE = dict(bernoulli=(0.3,), betabinom=(7.0, 1.4, 2.2), binom=(7.0, 0.35), geom=(0.3,), nbinom=(3.5, 0.4), poisson=(2.6,))
X = np.array([-40.0, -3.0, -1.0, -0.3, 0.2, 0.4, 0.5, 0.9, 1.0, 1.3, 2.0, 4.0, 30.0, 800.0, np.nan])
K = np.array([-2.0, 1.0, 2.0, 3.0, 7.0, 8.0, 9.0, 2.5, np.nan])
Q = np.array([0.0, 1e-12, 0.1, 0.5, 0.75, 1 - 1e-9, 1.0, -0.1, 1.1, np.nan])
NAMES = ("logpdf", "pdf", "logpmf", "pmf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf")
MULTIVARIATE = {"dirichlet", "multinomial"}


def functions():
    for name in (*CONTINUOUS, *DISCRETE):
        for kind in NAMES:
            if hasattr(getattr(stats, name), kind):
                yield pytest.param(name, kind, id=f"{name}.{kind}")


def arguments(name, kind):
    """Where the function is evaluated, and the other arguments."""
    function = getattr(getattr(stats, name), kind)
    moved = [p for p in inspect.signature(function).parameters if p in ("loc", "scale")]
    places = (0.37, 1.7) if name in CONTINUOUS else (1.0,)
    at = Q if kind in ("ppf", "isf") else X if name in CONTINUOUS else K
    return function, at, ({**CONTINUOUS, **DISCRETE}[name] + places[:len(moved)])


@pytest.mark.parametrize("name, kind", list(functions()))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_equal_scipy(name, kind):
    function, at, rest = arguments(name, kind)
    found, expected = np.asarray(function(at, *rest)), getattr(getattr(scipy.stats, name), kind)(at, *rest)
    if (name, kind) == ("bernoulli", "ppf"):
        expected = np.where(at == 0, 0, expected)  # as in JAX, where SciPy gives -1
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-300)
    narrow = function(at.astype(np.float32), *map(np.float32, rest))
    assert narrow.dtype == np.float32 and narrow.shape == at.shape
    assert function(fnp.zeros((0,)), *rest).shape == (0,)


@pytest.mark.parametrize("name, kind", list(functions()))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_derivatives_equal_differences_and_are_finite_outside(name, kind):
    function, at, rest = arguments(name, kind)
    quantile = kind in ("ppf", "isf")
    at = at[(at > 0) & (at < 1)] if quantile else at[np.isfinite(at)]
    args = [at, *[np.full_like(at, p) for p in rest]]
    # Counts, and what moves or bounds them, are whole: SciPy's functions have no derivative there.
    whole = 0 if name in CONTINUOUS else 2 if name in ("binom", "betabinom") else 1
    count = len(args) - (name in DISCRETE and inspect.signature(function).parameters.get("loc") is not None)
    positions = tuple(range(whole, count))
    mapped = fg.vmap(fg.grad(function, positions))
    found = (fg.jit(mapped) if kind in ("logpdf", "logpmf", "cdf", "ppf") and name != "truncnorm" else mapped)(*args)
    for position, derivative in zip(positions, found, strict=True):
        derivative = np.asarray(derivative)
        assert not np.isnan(derivative).any()
        h = 1e-6 * np.maximum(np.abs(args[position]), 1) * (np.minimum(at, 1 - at) if quantile and position == 0 else 1)
        up, down = ([*args[:position], args[position] + s * h, *args[position + 1:]] for s in (1, -1))
        numeric = (np.asarray(function(*up)) - np.asarray(function(*down))) / (2 * h)
        # Where a probability is nearly 1, its difference has few digits.
        known = np.isfinite(numeric) if not quantile else np.minimum(at, 1 - at) > 1e-6
        np.testing.assert_allclose(derivative[known], numeric[known], rtol=2e-5, atol=2e-7)


CURVED = dict(norm=0.7, cauchy=0.7, gamma=1.2, beta=0.6, logistic=0.37, t=0.37, gumbel_r=0.4, gennorm=1.2, chi2=2.0)


@pytest.mark.parametrize("name", list(CURVED))
def test_second_derivatives_by_all_arguments(name):
    function, _, rest = arguments(name, "logpdf")
    log_tail = getattr(getattr(stats, name), "logcdf", getattr(getattr(stats, name), "cdf", function))
    for f in (function, log_tail):
        rest = rest[:len(inspect.signature(f).parameters) - 1]
        args = np.array([CURVED[name], *rest])
        gradient = fg.grad(lambda v: f(*[v[i] for i in range(len(args))]))  # noqa: B023
        found = np.asarray(fg.jit(fg.jacfwd(gradient))(args))
        steps = 1e-5 * np.eye(len(args))
        numeric = np.stack([(np.asarray(gradient(args + s)) - np.asarray(gradient(args - s))) / 2e-5 for s in steps], 1)
        np.testing.assert_allclose(found, numeric, rtol=2e-5, atol=2e-7)


def test_signatures_and_keywords():
    assert str(inspect.signature(stats.beta.logpdf)) == "(x, a, b, loc=0, scale=1)"
    assert str(inspect.signature(stats.poisson.pmf)) == "(k, mu, loc=0)"
    assert str(inspect.signature(stats.vonmises.pdf)) == "(x, kappa)"
    assert stats.norm.pdf.__name__ == "pdf"
    assert float(stats.norm.logpdf(1.0, scale=2.0)) == float(scipy.stats.norm.logpdf(1.0, scale=2.0))
    assert stats.norm.cdf(1).dtype == np.float64 and stats.norm.cdf(np.float32(1), 0, 2).dtype == np.float32
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        stats.gamma.pdf(1.0)
    with pytest.raises(TypeError, match="logpdf: defined here for real arguments only"):
        stats.norm.logpdf(1j)


@pytest.mark.parametrize("call", [
    lambda: stats.norm.logpdf(0.5, 0.0, -1.0), lambda: stats.norm.ppf(0.5, 0.0, 0.0), lambda: stats.gamma.cdf(0.5, -1.0),
    lambda: stats.beta.pdf(0.5, 0.0, 1.0), lambda: stats.binom.pmf(1, 2, 1.5), lambda: stats.binom.pmf(0, -1, 0.5),
    lambda: stats.truncnorm.logpdf(0.0, 1.0, -1.0), lambda: stats.geom.logpmf(1, 0.0), lambda: stats.t.logpdf(0.0, -2.0),
    lambda: stats.bernoulli.ppf(0.5, -0.1), lambda: stats.poisson.entropy(-1.0), lambda: stats.wrapcauchy.pdf(1.0, 1.0)])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_parameters_that_mean_nothing_give_nan(call):
    assert np.isnan(float(call()))


def test_truncated_normal_in_the_tails():
    x, a, b = np.array([9.3, -9.3, 35.1]), np.array([9.0, -10.0, 35.0]), np.array([10.0, -9.0, 36.0])
    for kind in ("logpdf", "logcdf", "logsf", "cdf"):
        np.testing.assert_allclose(np.asarray(getattr(stats.truncnorm, kind)(x, a, b)), getattr(scipy.stats.truncnorm, kind)(
            x, a, b), rtol=1e-9)
    half = fg.grad(lambda s: stats.truncnorm.logpdf(0.5, -np.inf, 1.0, 0.0, s))
    numeric = (float(stats.truncnorm.logpdf(0.5, -np.inf, 1.0, 0.0, 1 + 1e-6)) - float(
        stats.truncnorm.logpdf(0.5, -np.inf, 1.0, 0.0, 1 - 1e-6))) / 2e-6
    np.testing.assert_allclose(float(half(1.0)), numeric, rtol=1e-6)


def test_poisson_entropy():
    mu = np.array([0.0, 1e-3, 1.0, 30.0, 170.0, 179.9, 180.1, 2000.0])
    expected = [-(p := scipy.stats.poisson.pmf(np.arange(4000), m)) @ np.log(np.where(p > 0, p, 1)) for m in mu]
    np.testing.assert_allclose(np.asarray(stats.poisson.entropy(mu)), expected, rtol=1e-9, atol=1e-15)
    slope = fg.vmap(fg.grad(stats.poisson.entropy))(mu[2:])
    numeric = (np.asarray(stats.poisson.entropy(mu[2:] + 1e-4)) - np.asarray(stats.poisson.entropy(mu[2:] - 1e-4))) / 2e-4
    np.testing.assert_allclose(np.asarray(slope)[[0, 1, 2, 5]], numeric[[0, 1, 2, 5]], rtol=1e-6)


def test_dirichlet():
    alpha, x = np.array([0.7, 2.0, 3.1]), np.array([[0.2, 0.5], [0.3, 0.4], [0.5, 0.1]])
    expected = scipy.stats.dirichlet.logpdf(x, alpha)
    np.testing.assert_allclose(np.asarray(stats.dirichlet.logpdf(x, alpha)), expected, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(stats.dirichlet.pdf(x[:2], alpha)), np.exp(expected), rtol=1e-12)
    assert stats.dirichlet.logpdf(np.array([0.2, 0.3, 0.6]), alpha) == -np.inf
    gradient = fg.jit(fg.grad(lambda a: fnp.sum(stats.dirichlet.logpdf(x, a))))(alpha)
    digamma = scipy.special.digamma
    np.testing.assert_allclose(np.asarray(gradient), 2 * (digamma(alpha.sum()) - digamma(alpha)) + np.log(x).sum(1), rtol=1e-10)
    outside = fg.grad(lambda v: stats.dirichlet.logpdf(v, alpha))(np.array([0.0, 0.3, 0.7]))
    assert np.asarray(outside).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="the number of parts differs from that of the concentrations"):
        stats.dirichlet.logpdf(np.ones(5) / 5, alpha)


def test_multinomial():
    x, p = np.array([[1, 0, 2], [1, 1, 1], [3, 0, 0], [1, 1, 0], [-1, 2, 2]]), np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(np.asarray(stats.multinomial.logpmf(x, 3, p)), scipy.stats.multinomial.logpmf(x, 3, p), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(stats.multinomial.pmf(x, 3, p)), scipy.stats.multinomial.pmf(x, 3, p), rtol=1e-12)
    slopes = fg.jit(fg.vmap(fg.grad(stats.multinomial.logpmf, 2), (0, None, None)))(x, 3, p)
    np.testing.assert_allclose(np.asarray(slopes), np.where(np.array([1, 1, 1, 0, 0])[:, None], x / p, 0), rtol=1e-12)


# ---------------------------------------------------------------- samples


@pytest.mark.parametrize("method", ["average", "min", "max", "dense", "ordinal"])
def test_ranks(method):
    a = np.array([[3, 1, 3, 2], [0, 0, 5, 0]])
    for axis in (None, 0, 1, -1):
        np.testing.assert_array_equal(np.asarray(stats.rankdata(a, method, axis=axis)), scipy.stats.rankdata(a, method, axis=axis))
    b = np.array([1.5, np.nan, 0.5])
    assert np.isnan(np.asarray(fg.jit(lambda v: stats.rankdata(v, method))(b))).all()
    assert stats.rankdata(np.zeros(0)).shape == (0,)


@pytest.mark.filterwarnings("ignore")
def test_mode():
    a = np.array([[3, 1, 3, 2], [0, 0, 5, 2], [3, 1, 3, 7]])
    for axis in (0, 1, -1, None):
        for keepdims in (False, True):
            found, expected = stats.mode(a, axis, keepdims=keepdims), scipy.stats.mode(a, axis, keepdims=keepdims)
            np.testing.assert_array_equal(np.asarray(found.mode), expected.mode)
            np.testing.assert_array_equal(np.asarray(found.count), expected.count)
    b = np.array([[1.0, np.nan, 1.0], [2.0, 2.0, 3.0]])
    np.testing.assert_array_equal(np.asarray(stats.mode(b, 1).mode), scipy.stats.mode(b, 1).mode)
    assert np.isnan(np.asarray(stats.mode(np.zeros((0, 2))).mode)).all()
    assert int(fg.jit(stats.mode)(np.array([1, 2, 2])).mode) == 2


def test_standard_error():
    a = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, 9.0]])
    for axis in (None, 0, 1):
        np.testing.assert_allclose(np.asarray(stats.sem(a, axis, ddof=0)), scipy.stats.sem(a, axis, ddof=0), rtol=1e-14)
    b = np.where(a == 5, np.nan, a)
    np.testing.assert_allclose(np.asarray(stats.sem(b, 1, nan_policy="omit")), np.asarray(scipy.stats.sem(b, 1, nan_policy="omit")))
    assert stats.sem(a, 1, keepdims=True).shape == (2, 1)
    gradient = np.asarray(fg.grad(lambda v: stats.sem(v))(a[0]))
    np.testing.assert_allclose(gradient, (a[0] - a[0].mean()) / (3 * 2 * scipy.stats.sem(a[0])), rtol=1e-10)


@pytest.mark.parametrize("call, error, text", [
    (lambda: stats.mode(np.ones(2), nan_policy="omit"), NotImplementedError, "mode: this policy for NaNs is not there"),
    (lambda: stats.rankdata(np.ones(2), nan_policy="raise"), NotImplementedError, "rankdata: this policy for NaNs is not there"),
    (lambda: stats.sem(np.ones(2), nan_policy="some"), ValueError, "sem: unknown policy for NaNs"),
    (lambda: stats.rankdata(np.ones(2), "best"), ValueError, "rankdata: unknown method"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_every_distribution_is_a_module():
    for name in (*CONTINUOUS, *DISCRETE, *MULTIVARIATE):
        assert importlib.import_module(f"funcgrad.scipy.stats.{name}") is getattr(stats, name)
