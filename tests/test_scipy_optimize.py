"""minimize: the test functions of the field, under jit and vmap, and derivatives of the minimum."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.scipy.optimize import OptimizeResults, minimize
from funcgrad.test_util import check_grads

# J. J. More, B. S. Garbow and K. E. Hillstrom, ACM Trans. Math. Softw. 7, 17, 1981, and functions that are hard for line searches.
PROBLEMS = {
    "rosenbrock": (lambda x: fnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2), [-1.2, 1.0, -0.5], 0.0),
    "himmelblau": (lambda x: (x[0] ** 2 + x[1] - 11) ** 2 + (x[0] + x[1] ** 2 - 7) ** 2, [0.0, 0.0], 0.0),
    "brown": (lambda x: (x[0] - 1e6) ** 2 + (x[1] - 2e-6) ** 2 + (x[0] * x[1] - 2) ** 2, [1.0, 1.0], 0.0),
    "powell, badly scaled": (lambda x: (1e4 * x[0] * x[1] - 1) ** 2 + (fnp.exp(-x[0]) + fnp.exp(-x[1]) - 1.0001) ** 2, [0.0, 1.0], 0.0),
    "flat far away": (lambda x: fnp.sum(fnp.logaddexp(x - 3, 3 - x)) + 1e3, [50.0, -40.0], 1e3 + 2 * np.log(2)),
    "a kink": (lambda x: fnp.sum(fnp.sqrt(x ** 2 + 1e-6)), [3.0, -2.0], 2e-3),
    "a domain": (lambda x: -fnp.log(1 - x[0] ** 2) - fnp.log(2 - x[1]) + x[1] ** 2 + x[0], [0.9, -5.0], -0.97511914),
    "large values": (lambda x: 1e8 * fnp.sum((x - 1) ** 4) + 1e8, [3.0, 2.0], 1e8),
}


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_known_minima(name, method):
    f, x0, least = PROBLEMS[name]
    result = fg.jit(lambda x: minimize(f, x, method=method))(np.array(x0))
    assert bool(result.success) and int(result.status) == 0 and np.max(np.abs(result.jac)) <= 1e-5
    np.testing.assert_allclose(result.fun, least, rtol=1e-8, atol=1e-6)
    assert int(result.nfev) == int(result.njev) < 300 and (result.hess_inv is None) == (method == "L-BFGS")
    np.testing.assert_allclose(result.fun, f(result.x), rtol=1e-6, atol=1e-12)


def test_options_and_what_is_returned():
    f, x0 = PROBLEMS["rosenbrock"][:2]
    x0 = np.array(x0)
    loose, tight = (minimize(f, x0, method="BFGS", tol=tol) for tol in (1e-1, 1e-9))
    assert np.abs(tight.jac).max() <= 1e-9 < np.abs(loose.jac).max() <= 1e-1 and int(loose.nit) < int(tight.nit)
    two = minimize(f, x0, method="BFGS", options={"gtol": 1e-7, "norm": 2}, tol=1.0)
    assert float(fnp.sum(two.jac ** 2)) <= 1e-14
    short = minimize(f, x0, method="BFGS", options={"maxiter": 3})
    assert isinstance(short, OptimizeResults) and not short.success and int(short.status) == 1 and int(short.nit) == 3
    assert int(minimize(lambda x: fnp.sum(x) * fnp.nan, x0, method="BFGS").status) == 3
    pointed = minimize(lambda x: fnp.sum(fnp.abs(x)), np.array([1.0, 0.3]), method="BFGS")
    assert not pointed.success and float(pointed.fun) < 1e-9
    quadratic = np.array([[2.0, 0.5], [0.5, 1.0]])
    found = minimize(lambda x: 0.5 * x @ quadratic @ x - x.sum(), np.ones(2) * 5, method="BFGS", tol=1e-10)
    np.testing.assert_allclose(found.hess_inv, np.linalg.inv(quadratic), rtol=1e-3)
    narrow = minimize(f, x0.astype("float32"), method="BFGS", tol=1e-3)
    assert narrow.x.dtype == narrow.fun.dtype == "float32" and bool(narrow.success)
    at_once = minimize(lambda x: fnp.sum(x ** 2), np.zeros(2), method="L-BFGS")
    assert int(at_once.nit) == 0 and bool(at_once.success)


def test_as_scipy_on_a_regression():
    rng = np.random.default_rng(0)
    data, labels = rng.normal(size=(30, 4)), rng.random(30) < 0.5

    def loss(w, x):
        return fnp.mean(fnp.logaddexp(0, x @ w) - labels * (x @ w)) + 0.01 * w @ w

    expected = scipy.optimize.minimize(lambda w: float(loss(w, data)), np.zeros(4), method="BFGS", tol=1e-8)
    found = minimize(loss, np.zeros(4), (data,), method="BFGS", tol=1e-8)
    np.testing.assert_allclose(found.x, expected.x, atol=1e-5)


def test_batches_stop_each_at_its_own_minimum():
    f, x0 = PROBLEMS["rosenbrock"][:2]
    starts = np.stack([x0, [1.0, 1.0, 1.0], [2.0, -1.0, 0.5]])
    batch = fg.jit(fg.vmap(lambda x: minimize(f, x, method="BFGS")))(starts)
    assert bool(fnp.all(batch.success)) and int(batch.nit[1]) == 0
    np.testing.assert_allclose(batch.x, np.ones((3, 3)), atol=1e-4)


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS"])
def test_the_minimum_is_differentiable(method):
    def best(a):
        result = minimize(lambda x, a: fnp.sum(fnp.cosh(x - a[:2])) + x[0] * x[1] * a[2] * 0.1, np.zeros(2), (a,), method=method, tol=1e-10)
        return result.x, result.fun

    a = np.array([0.5, -0.3, 0.7])
    check_grads(best, (a,), order=1, rtol=1e-5, atol=1e-5)
    closed = lambda b: minimize(lambda x: fnp.sum((x - b) ** 2 * (1 + b ** 2)), np.zeros(2), method=method, tol=1e-10)  # noqa: E731
    for jacobian in (fg.jacfwd, fg.jacrev):
        np.testing.assert_allclose(jacobian(lambda b: closed(b).x)(a[:2]), np.eye(2), atol=1e-6)
        np.testing.assert_allclose(jacobian(lambda b: closed(b).fun)(a[:2]), np.zeros(2), atol=1e-6)


@pytest.mark.parametrize("call,error,text", [
    (lambda: minimize(fnp.sum, np.ones(2), method="Newton"), ValueError, 'the method is unknown(.|\n)*"BFGS"'),
    (lambda: minimize(fnp.sum, np.ones(2), method="BFGS", options={"maxcor": 3}), ValueError, "no such option(.|\n)*maxcor(.|\n)*gtol"),
    (lambda: minimize(fnp.sum, np.ones((2, 2)), method="BFGS"), TypeError, "x0 must be a real vector(.|\n)*ravel_pytree"),
    (lambda: minimize(fnp.sum, np.ones(2), 3.0, method="BFGS"), TypeError, r"args must be a tuple(.|\n)*args=\(value,\)"),
    (lambda: minimize(fnp.sin, np.ones(2), method="BFGS"), TypeError, r"must return a real number(.|\n)*float64\[2\]"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()
