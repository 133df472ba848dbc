"""Reductions: values against NumPy, types, masks, gradients, batching, staging, and the errors."""
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.numpy import nan_reductions as nr
from funcgrad.numpy import quantiles as qu
from funcgrad.numpy import reductions as nx
from funcgrad.ops import reduction as r
from funcgrad.transforms.derivatives import grad, jacfwd, jacrev, jvp
from funcgrad.transforms.vmap import Axis, vmap_flat

RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 4, 2))
AXES = [None, 0, -1, (0, 2), (1,), ()]


def check(function, expected, *args, rtol=1e-12):
    """Value, type, staged result and type, and each batch axis of the first argument, against NumPy."""
    out = function(*args)
    np.testing.assert_allclose(np.asarray(out).astype(np.result_type(np.asarray(expected))), expected, rtol=rtol, atol=1e-12)
    jaxpr, _ = stage(lambda *xs: [function(*xs)], [aval_of(x) for x in args])
    assert (jaxpr.out_avals[0].shape, jaxpr.out_avals[0].dtype) == (out.shape, out.dtype)
    staged, = eval_jaxpr(jaxpr, args)
    assert staged.dtype == out.dtype
    np.testing.assert_array_equal(np.asarray(staged), np.asarray(out))
    return out


def check_vmap(function, x):
    """vmap over every axis equals a loop."""
    for d in range(x.ndim):
        outs, places = vmap_flat(lambda v: [function(v)], Axis(x.shape[d]), [DeviceArray(x)], [d])
        batch = np.moveaxis(np.asarray(outs[0]), places[0], 0)
        loop = np.stack([np.asarray(function(DeviceArray(np.take(x, i, d)))) for i in range(x.shape[d])])
        np.testing.assert_allclose(batch, loop, rtol=1e-12)


def check_derivatives(function, x, order=2):
    """Forward and reverse Jacobians agree with central differences, again for the Jacobian itself."""
    forward, reverse = np.asarray(jacfwd(function)(x)), np.asarray(jacrev(function)(x))
    np.testing.assert_allclose(forward, reverse, rtol=1e-9, atol=1e-10)
    h = 1e-6
    numeric = np.zeros(forward.shape)
    for i in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[i] += h
        down[i] -= h
        numeric[(..., *i)] = (np.asarray(function(up)) - np.asarray(function(down))) / (2 * h)
    np.testing.assert_allclose(forward, numeric, rtol=2e-6, atol=2e-6)
    if order > 1:
        check_derivatives(jacrev(function), x, order - 1)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "all", "any", "mean", "var", "std"])
def test_matches_numpy(name, axis, keepdims):
    for x in (X, (X * 3).astype(np.int64), X > 0.3):
        if name in ("max", "min") and x.dtype == bool and axis == ():
            continue
        narrow = x.dtype == bool and name in ("mean", "var", "std")  # float32, as in JAX
        check(lambda v: getattr(nx, name)(v, axis=axis, keepdims=keepdims),  # noqa: B023
              getattr(np, name)(x, axis=axis, keepdims=keepdims), x, rtol=1e-6 if narrow else 1e-12)


@pytest.mark.parametrize("axis", AXES)
def test_ptp_count_median(axis):
    check(lambda v: nx.ptp(v, axis), np.ptp(X, axis=axis), X)
    check(lambda v: nx.count_nonzero(v, axis), np.count_nonzero(np.round(X), axis=axis), np.round(X))
    check(lambda v: qu.median(v, axis), np.median(X, axis=axis) if axis != () else X, X)


@pytest.mark.parametrize("axis", [None, 1, (0, 2)])
def test_where_and_initial(axis):
    mask = RNG.random(X.shape) < 0.8
    for name in ("sum", "prod", "max", "min"):
        check(lambda v: getattr(nx, name)(v, axis, initial=0.5, where=mask),  # noqa: B023
              getattr(np, name)(X, axis, initial=0.5, where=mask), X)
    wide = np.array([[True, False], [False, True], [True, True], [True, False]])
    for name in ("mean", "var", "std", "all", "any"):
        check(lambda v: getattr(nx, name)(v, axis, where=wide), getattr(np, name)(X, axis, where=wide), X)  # noqa: B023
    check(lambda v: nx.var(v, axis, ddof=1), np.var(X, axis, ddof=1), X)
    check(lambda v: nx.std(v, axis, correction=1), np.std(X, axis, ddof=1), X)


def test_dtypes():
    names = "bool int8 int32 uint8 uint64 float16 bfloat16 float32 complex64".split()
    x = {name: np.ones(3).astype(getattr(ml_dtypes, name, name)) for name in names}
    wide = dict(bool="int64", int8="int64", int32="int64", uint8="uint64", uint64="uint64")
    for name in names:
        inexact = name if name[:2] not in ("bo", "in", "ui") else "float64" if "64" in name else "float32"
        for function in (nx.sum, nx.prod, lambda v: nx.cumulative_sum(v, axis=0), nr.nansum):
            assert function(x[name]).dtype.name == wide.get(name, name)
        assert nx.cumsum(x[name]).dtype.name == ("int64" if name == "bool" else name)
        assert nx.mean(x[name]).dtype.name == inexact
        assert nx.var(x[name]).dtype.name == ("float32" if name == "complex64" else inexact)
        assert nx.max(x[name]).dtype.name == name
        if name != "complex64":
            assert qu.median(x[name]).dtype.name == inexact
            assert nx.argmax(x[name]).dtype.name == "int64"
    assert nx.sum(x["int8"], promote_integers=False).dtype == np.int8
    assert nx.sum(x["float32"], dtype=np.float64).dtype == np.float64
    assert not nx.sum(DeviceArray(np.float64(2), True)).weak_type


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_accumulate_in_float32(dtype):
    x = np.full(4096, 0.1).astype(dtype)
    total = x.astype(np.float64).sum()
    np.testing.assert_allclose(float(nx.sum(x)), total, rtol=4e-3)
    np.testing.assert_allclose(float(nx.mean(x)), total / 4096, rtol=4e-3)
    np.testing.assert_allclose(float(nx.cumsum(x)[-1] if hasattr(nx.cumsum(x), "__getitem__") else
                                     np.asarray(nx.cumsum(x))[-1]), total, rtol=4e-3)
    assert nx.max(x, axis=0).dtype == dtype


def test_nan_propagates_and_empty_values():
    x = np.array([[1.0, np.nan], [3.0, 2.0]])
    np.testing.assert_array_equal(np.asarray(nx.max(x, 1)), [np.nan, 3])
    np.testing.assert_array_equal(np.asarray(nx.min(x, 1)), [np.nan, 2])
    assert nx.argmax(x, 1).tolist() == [1, 0] and nx.argmin(x, 1).tolist() == [1, 1]
    empty = np.zeros((0, 2))
    assert nx.sum(empty, 0).tolist() == [0, 0] and nx.prod(empty, 0).tolist() == [1, 1]
    with np.errstate(all="ignore"):
        assert np.isnan(np.asarray(nx.mean(empty, 0))).all()
    assert np.isnan(np.asarray(qu.median(empty, 0))).all()
    assert nx.max(empty, 1).shape == (0,)
    assert r.reduce_max(empty, (0,)).tolist() == [-np.inf] * 2
    assert r.reduce_min(np.zeros((0,), np.int8), (0,)).tolist() == 127


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "var", "std", "argmax", "argmin", "median"])
def test_without_nan(name):
    x = X.copy()
    x[0, 1, 0] = x[2, :, 1] = np.nan
    x[1, 1, 1] = -np.inf if name in ("max", "argmax") else x[1, 1, 1]
    function = getattr(nr, f"nan{name}", None) or qu.nanmedian
    with np.errstate(all="ignore"):
        for axis in (None, 0, 1):
            if axis == 1:
                if name.startswith("arg"):
                    continue
                x = x[:2]
            check(lambda v: function(v, axis=axis), getattr(np, f"nan{name}")(x, axis=axis), x)  # noqa: B023


def test_nan_argmax_of_infinities_and_nothing():
    x = np.array([[np.nan, -np.inf, -np.inf], [np.nan, np.nan, np.nan]])
    assert nr.nanargmax(x, axis=1).tolist() == [1, -1]
    assert nr.nanargmin(-x, axis=1, keepdims=True).tolist() == [[1], [-1]]
    assert np.isnan(np.asarray(nr.nanmax(x, axis=1))).tolist() == [False, True]
    np.testing.assert_array_equal(np.asarray(nr.nancumsum(np.array([1, np.nan, 2]))), [1, 1, 3])
    np.testing.assert_array_equal(np.asarray(nr.nancumprod(np.array([3, np.nan, 2]))), [3, 3, 6])


def test_gradients_without_nan_are_zero_there():
    x = np.array([1.0, np.nan, 4.0])
    for function, expected in ((nr.nanmean, [0.5, 0, 0.5]), (nr.nansum, [1, 0, 1]), (nr.nanmax, [0, 0, 1]),
                               (nr.nanvar, [-1.5, 0, 1.5]), (qu.nanmedian, [0.5, 0, 0.5])):
        np.testing.assert_allclose(np.asarray(grad(function)(x)), expected)


@pytest.mark.parametrize("method", ["linear", "lower", "higher", "midpoint", "inverted_cdf"])
def test_quantiles(method):
    q = np.array([0.0, 0.13, 0.5, 0.9, 1.0])
    for axis in (None, 1, (0, 2)):
        check(lambda v: qu.quantile(v, q, axis, method=method), np.quantile(X, q, axis, method=method), X)  # noqa: B023
        check(lambda v: qu.percentile(v, 37.0, axis, method=method, keepdims=True),  # noqa: B023
              np.percentile(X, 37.0, axis, method=method, keepdims=True), X)
    x = X.copy()
    x[0, 1, 0] = np.nan
    check(lambda v: qu.nanquantile(v, q, 0, method=method), np.nanquantile(x, q, 0, method=method), x)
    assert np.isnan(np.asarray(qu.quantile(x, 0.2, 0, method=method)))[1, 0]
    assert np.isnan(float(qu.quantile(X, np.nan, method=method)))
    assert qu.quantile(np.arange(11.0), np.float32(0.7), method="lower").tolist() == 7
    assert qu.quantile(X.astype(np.float16), q).dtype == np.float16
    assert float(qu.quantile(np.array([1.0, np.inf, np.inf]), 0.5, method=method)) == np.inf
    assert qu.quantile(np.arange(4.0) ** 2, 0.5, method="nearest").tolist() == 1


def test_average():
    w = np.arange(1.0, 5.0)
    check(lambda v: nx.average(v, 1, w), np.average(X, 1, w), X)
    check(lambda v: nx.average(v, weights=X ** 2), np.average(X, weights=X ** 2), X)
    value, total = nx.average(X, (0, 2), np.ones((3, 2)), returned=True)
    np.testing.assert_allclose(np.asarray(value), X.mean((0, 2)))
    assert total.tolist() == [6.0] * 4
    assert nx.average(np.arange(3), weights=np.ones(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions(name):
    for axis in (None, 0, -1):
        check(lambda v: getattr(nx, name)(v, axis), getattr(np, name)(X, axis), X)  # noqa: B023
        check(lambda v: getattr(nx, name)(v, axis, keepdims=True),  # noqa: B023
              getattr(np, name)(X, axis, keepdims=True), X)
    assert nx.argmax(np.array([2, 7, 7])).tolist() == 1


def test_running_totals():
    for axis in (None, 0, -1):
        check(lambda v: nx.cumsum(v, axis), np.cumsum(X, axis), X)  # noqa: B023
        check(lambda v: nx.cumprod(v, axis), np.cumprod(X, axis), X)  # noqa: B023
    for axis in (0, 1):
        check(lambda v: r.cummax(v, axis), np.maximum.accumulate(X, axis), X)  # noqa: B023
        check(lambda v: r.cummin(v, axis, reverse=True),  # noqa: B023
              np.flip(np.minimum.accumulate(np.flip(X, axis), axis), axis), X)
        check(lambda v: r.cumlogsumexp(v, axis), np.log(np.cumsum(np.exp(X), axis)), X)  # noqa: B023
    check(lambda v: nx.cumulative_sum(v, axis=1, include_initial=True),
          np.cumulative_sum(X, axis=1, include_initial=True), X)
    check(lambda v: nx.cumulative_prod(v, axis=1), np.cumulative_prod(X, axis=1), X)


def test_logic():
    x = RNG.integers(0, 255, (3, 4)).astype(np.uint8)
    for name, ufunc in dict(and_=np.bitwise_and, or_=np.bitwise_or, xor=np.bitwise_xor).items():
        function = getattr(r, f"reduce_{name.rstrip('_')}")
        for axes in ((0,), (0, 1)):
            check(lambda v: function(v, axes), ufunc.reduce(x, axis=axes), x)  # noqa: B023
            check(lambda v: function(v, axes), ufunc.reduce(x > 99, axis=axes), x > 99)  # noqa: B023


FUNCTIONS = dict(
    sum=lambda v: nx.sum(v * v, 0), prod=lambda v: nx.prod(v, 1), product_of_all=nx.prod, mean=lambda v: nx.mean(v * v),
    var=lambda v: nx.var(v, 0, ddof=1), std=lambda v: nx.std(v, 1), max=lambda v: nx.max(v * v, 1),
    min=lambda v: nx.min(v * v, 0), cumsum=lambda v: nx.cumsum(v * v, 0), cumprod=lambda v: nx.cumprod(v, 1),
    cumprod_reverse=lambda v: r.cumprod(v, 1, reverse=True), cummax=lambda v: r.cummax(v * v, 1),
    cummin=lambda v: r.cummin(v * v, 0, reverse=True), cumlogsumexp=lambda v: r.cumlogsumexp(v, 1),
    cumlogsumexp_reverse=lambda v: r.cumlogsumexp(v, 0, reverse=True), masked=lambda v: nx.var(v, 1, where=MASK),
    average=lambda v: nx.average(v, 1, v * v), quantile=lambda v: qu.quantile(v * v, np.array([0.2, 0.7]), 1),
    median=lambda v: qu.median(v * v, 0), ptp=lambda v: nx.ptp(v * v, 1))
Y = RNG.permutation(np.arange(1.0, 16.0)).reshape(3, 5) / 8 * np.sign(RNG.normal(size=(3, 5)))
MASK = np.array([True, False, True, True, True])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name):
    check_derivatives(FUNCTIONS[name], Y)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "all", "mean", "std", "argmax", "cumsum", "cumprod",
                                  "median", "nanmean"])
def test_vmap_is_a_loop(name):
    function = next(getattr(module, name) for module in (nx, qu, nr) if hasattr(module, name))
    for axis in (0, -1):
        check_vmap(lambda v: function(v, axis), X)  # noqa: B023
    for cumulative in (r.cummax, r.cummin, r.cumlogsumexp):
        check_vmap(lambda v: cumulative(v, 1, True), X)  # noqa: B023


def test_products_with_zeros():
    x = np.array([2.0, 0.0, 3.0, 4.0])
    assert grad(nx.prod)(x).tolist() == [0, 24, 0, 0]
    assert grad(nx.prod)(np.array([2.0, 0.0, 0.0])).tolist() == [0, 0, 0]
    second = np.asarray(jacfwd(grad(nx.prod))(np.array([2.0, 0.0, 0.0])))
    assert second.tolist() == [[0, 0, 0], [0, 0, 2], [0, 2, 0]]
    np.testing.assert_array_equal(np.asarray(jacrev(nx.cumprod)(x)),
                                  [[1, 0, 0, 0], [0, 2, 0, 0], [0, 6, 0, 0], [0, 24, 0, 0]])
    assert grad(nx.prod)(np.zeros(0)).shape == (0,)
    assert nx.prod(np.zeros((2, 0)), 1).tolist() == [1, 1]
    assert jvp(lambda v: nx.prod(v, 1), (np.zeros((2, 0)),), (np.zeros((2, 0)),))[1].tolist() == [0, 0]


def test_ties_share_the_gradient():
    assert grad(nx.max)(np.array([1.0, 3.0, 3.0])).tolist() == [0, 0.5, 0.5]
    assert grad(nx.min)(np.array([1.0, 1.0, 1.0, 1.0])).tolist() == [0.25] * 4
    np.testing.assert_array_equal(np.asarray(jacrev(r.cummax)(np.array([1.0, 1, 1, 0, 2]))), [
        [1, 0, 0, 0, 0], [0.5, 0.5, 0, 0, 0], [0.25, 0.25, 0.5, 0, 0], [0.25, 0.25, 0.5, 0, 0], [0, 0, 0, 0, 1]])


def test_cumlogsumexp_of_nothing_and_of_large_numbers():
    x = np.array([-np.inf, -np.inf, 1000.0, 1000.0])
    np.testing.assert_allclose(np.asarray(r.cumlogsumexp(x)), [-np.inf, -np.inf, 1000, 1000 + np.log(2)])
    np.testing.assert_allclose(np.asarray(jacrev(r.cumlogsumexp)(x))[2:], [[0, 0, 1, 0], [0, 0, 0.5, 0.5]])


def test_complex():
    z = X + 1j * np.roll(X, 1)
    for name in ("sum", "prod", "mean", "var", "std", "cumsum"):
        check(lambda v: getattr(nx, name)(v, 1), getattr(np, name)(z, 1), z)  # noqa: B023
    assert nx.var(z).dtype == np.float64


@pytest.mark.parametrize("call, error, text", [
    (lambda: nx.sum(X, 3), ValueError, "sum: axis 3 is out of bounds for an array with 3 axes"),
    (lambda: nx.sum(X, 3), np.exceptions.AxisError, "from -3 to 2"),
    (lambda: nx.cumsum(X, -4), ValueError, "cumsum: axis -4"),
    (lambda: nx.mean(X, (0, -3)), ValueError, "mean: duplicate value in axis"),
    (lambda: nx.max(np.zeros((0, 2))), ValueError, "max: zero-size array to reduction operation max"),
    (lambda: nx.min(X, where=X > 0), ValueError, "min: where needs initial"),
    (lambda: nx.max(X, initial=X), ValueError, "max: initial must be a scalar"),
    (lambda: nx.argmax(np.zeros(0)), ValueError, "attempt to get argmax of an empty sequence"),
    (lambda: r.argmin(np.zeros((2, 0)), 1), ValueError, "attempt to get argmin of an empty sequence"),
    (lambda: nx.sum([1, 2]), TypeError, "sum: argument 0 is not an array"),
    (lambda: nx.sum(X, out=X), NotImplementedError, "sum: the argument out"),
    (lambda: nx.sum(X, where=np.ones((5, 3, 4, 2), bool)), ValueError, "sum: where does not broadcast"),
    (lambda: nx.average(X, weights=np.ones(4)), ValueError, "average: the weights do not fit"),
    (lambda: nx.cumulative_sum(X), ValueError, "cumulative_sum: the axis must be named"),
    (lambda: nx.argmax(X * 1j), TypeError, "argmax: complex numbers have no order"),
    (lambda: qu.quantile(X, 0.5, method="best"), ValueError, "quantile: unknown method"),
    (lambda: qu.quantile(X, np.ones((2, 2))), ValueError, "quantile: q must be"),
    (lambda: qu.median(X * 1j), ValueError, "median: complex numbers"),
    (lambda: r.reduce_and(X, (0,)), TypeError, "reduce_and: only integers and bools"),
    (lambda: nx.var(X, ddof=1, correction=1), ValueError, "var: ddof and correction"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text.replace("(", r"\(")):
        call()
