"""fg.minimize, fg.root and fg.least_squares: results as SciPy's, derivatives of solutions, trees, bounds, wrong programs."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

START = np.array([-1.2, 1.0, 0.7])


def rosenbrock(x, a=1.0):
    return fnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (a - x[:-1]) ** 2)


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell", "CG", "BFGS", "L-BFGS-B", "SLSQP", "Newton-CG", "trust-ncg", "trust-exact",
                                    "trust-krylov", "dogleg"])
def test_methods_of_minimize(method):
    start = START if method != "dogleg" else np.array([1.2, 1.3, 1.6])
    result = fg.minimize(rosenbrock, start, method=method, options={"maxiter": 2000} if method == "Nelder-Mead" else None)
    assert result.success
    np.testing.assert_allclose(result.x, 1.0, atol=2e-3)
    np.testing.assert_allclose(result.fun, rosenbrock(result.x))


def test_gradients_save_evaluations():
    plain = scipy.optimize.minimize(lambda x: float(rosenbrock(x)), START, method="BFGS")
    assert fg.minimize(rosenbrock, START).nfev < plain.nfev / 3
    seen = []
    fg.minimize(rosenbrock, START, callback=lambda x: seen.append(x))
    assert len(seen) > 5 and all(isinstance(x, fg.Array) for x in seen)


def test_trees_bounds_and_derivatives_of_minimize():
    def loss(p, target):
        return fnp.sum(fnp.cosh(p["a"] - target)) + (p["b"] - p["a"][0] * target[1]) ** 2

    start = {"a": np.zeros(2), "b": 3}

    def best(target, **options):
        result = fg.minimize(loss, start, (target,), tol=1e-10, **options)
        return result.x["a"], result.x["b"], result.fun

    target = np.array([0.3, 0.8])
    np.testing.assert_allclose(best(target)[0], target, atol=1e-6)
    check_grads(best, (target,), order=2, rtol=1e-4, atol=1e-4)
    low = {"a": np.array([-1.0, 1.0]), "b": np.array(-9.0)}
    high = {"a": np.array([1.0, 2.0]), "b": np.array(0.1)}
    on_bound = best(target, bounds=(low, high), method="L-BFGS-B")
    np.testing.assert_allclose(on_bound[0][1], 1.0)
    np.testing.assert_allclose(on_bound[1], 0.1)
    jacobian = fg.jacrev(lambda t: best(t, bounds=(low, high), method="L-BFGS-B")[:2])(target)
    assert jacobian[0][1].tolist() == [0, 0] and jacobian[1].tolist() == [0, 0] and jacobian[0][0][0] > 0.1
    np.testing.assert_allclose(fg.grad(lambda t: fg.minimize(lambda x: (x - t) ** 2, 0.0).x)(2.0), 1.0, rtol=1e-6)


@pytest.mark.parametrize("method", ["hybr", "lm", "krylov", "broyden1"])
def test_root(method):
    def equations(state, a):
        return state["x"] ** 2 + state["y"] - a, (state["y"] - fnp.cos(state["x"][0]),)

    def solution(a):
        return fg.root(equations, {"x": np.array([1.0, 2.0]), "y": 1.0}, (a,), method, tol=1e-11).x

    a = np.array([3.0, 5.0])
    for part in fg.tree.leaves(equations(solution(a), a)):
        np.testing.assert_allclose(part, 0, atol=1e-9)
    if method in ("hybr", "lm"):  # the others find other roots from time to time
        check_grads(solution, (a,), order=2 if method == "hybr" else 1, rtol=1e-4, atol=1e-4)


def test_least_squares():
    t = np.linspace(0, 3, 12)
    data = 2.0 * np.exp(-0.7 * t) + 0.1 * np.sin(9 * t)

    def residuals(p, data):
        return p["scale"] * fnp.exp(-p["rate"] * t) - data

    expected = scipy.optimize.least_squares(lambda p: p[1] * np.exp(-p[0] * t) - data, [1.0, 1.0]).x
    start = {"rate": 1.0, "scale": 1.0}
    for method in ("trf", "dogbox", "lm"):
        found = fg.least_squares(residuals, start, (data,), method=method)
        np.testing.assert_allclose([found.x["rate"], found.x["scale"]], expected, rtol=1e-4)
    check_grads(lambda d: fg.least_squares(residuals, start, (d,), xtol=1e-14, ftol=1e-14, gtol=1e-14).x, (data,), order=1, rtol=1e-4, atol=1e-4)
    bounded = fg.jacrev(lambda d: fg.least_squares(residuals, start, (d,), bounds=(0.0, 1.5)).x)(data)
    assert np.abs(bounded["scale"]).max() == 0 < np.abs(bounded["rate"]).max()


@pytest.mark.parametrize("call,error,text", [
    (lambda: fg.jit(lambda a: fg.minimize(rosenbrock, START, (a,)).x)(1.0), TypeError, "needs known values(.|\n)*scipy.optimize.minimize"),
    (lambda: fg.vmap(lambda a: fg.root(lambda x: x - a, 1.0).x)(START), TypeError, "fg.root runs in SciPy"),
    (lambda: fg.minimize(fnp.sin, START), TypeError, "must return a real number"),
    (lambda: fg.minimize(rosenbrock, START, 1.0), TypeError, r"args=\(value,\)"),
    (lambda: fg.minimize(rosenbrock, START, bounds=(0.0, np.ones(2))), TypeError, "a pair of numbers, or of trees like x0"),
    (lambda: fg.root(fnp.sin, 1j), TypeError, "x0 must be real"),
    (lambda: fg.least_squares(fnp.sin, START, loss="huber"), ValueError, "the loss must be the sum of squares"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()
