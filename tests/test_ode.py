"""odeint: solutions against SciPy and closed forms, derivatives of both modes to second order, trees, failures; linear_call."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.control.linear_call import linear_call
from funcgrad.experimental.ode import odeint
from funcgrad.test_util import check_grads

TIMES = np.array([0.0, 0.3, 1.1, 2.0])


def pendulum(y, t, g, damping):
    return fnp.stack([y[1], -g * fnp.sin(y[0]) - damping * y[1] + 0.1 * fnp.cos(t)])


def decay(y, t, rate):
    return -rate * y


@pytest.mark.parametrize("times", [TIMES, TIMES[::-1], np.linspace(0, 3, 31), TIMES[:2], TIMES[:1]], ids=["few", "back", "many", "two", "one"])
def test_solution_is_that_of_scipy(times):
    y0 = np.array([1.0, 0.2])
    expected = y0[:, None] if len(times) == 1 else scipy.integrate.solve_ivp(
        lambda t, y: np.asarray(pendulum(y, t, 2.0, 0.1)), (times[0], times[-1]), y0, "DOP853", times, rtol=1e-11, atol=1e-11).y
    for f in (odeint, fg.jit(odeint, static_argnums=0)):
        np.testing.assert_allclose(f(pendulum, y0, times, 2.0, 0.1), expected.T, rtol=1e-6, atol=1e-6)


def test_tolerances_and_steps():
    exact = np.exp(-TIMES)
    errors = [np.abs(np.asarray(odeint(decay, 1.0, TIMES, 1.0, rtol=tol, atol=tol)) - exact).max() for tol in (1e-3, 1e-6, 1e-10)]
    assert errors[0] < 1e-2 and errors[1] < 1e-5 and errors[2] < 1e-9
    assert np.isnan(odeint(decay, 1.0, TIMES, 1.0, mxstep=2)).tolist() == [False, True, True, True]
    bump = lambda y, t: fnp.exp(-((t - 1.0) / 0.01) ** 2)  # noqa: E731  (long steps pass it by)
    np.testing.assert_allclose(odeint(bump, 0.0, np.array([0.0, 2.0]), hmax=0.01)[1], 0.01 * np.sqrt(np.pi), rtol=1e-5)
    explosion = odeint(lambda y, t: y * y, 1.0, np.array([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(explosion[:2], [1.0, 2.0], rtol=1e-6)
    assert np.isnan(explosion[2]) and np.isnan(odeint(decay, np.nan, TIMES, 1.0)[1:]).all()
    np.testing.assert_allclose(odeint(decay, 1.0, np.array([0.0, 1.0, 1.0]), 1.0), np.exp([0.0, -1.0, -1.0]), rtol=1e-7)
    outside = lambda y, t: fnp.where(t > 2.0, fnp.nan, 1.0)  # noqa: E731  (no step leaves the interval)
    np.testing.assert_allclose(odeint(outside, 0.0, TIMES), TIMES, rtol=1e-12)


def test_derivatives_of_every_argument():
    def f(y0, times, g, damping):
        return odeint(pendulum, y0, times, g, damping, rtol=1e-11, atol=1e-11)[1:]

    args = np.array([1.0, 0.2]), TIMES[:3], np.float64(2.0), np.float64(0.1)
    check_grads(f, args, order=1, rtol=1e-5, atol=1e-5)
    forward, backward = fg.jacfwd(f, (0, 1, 2, 3))(*args), fg.jacrev(f, (0, 1, 2, 3))(*args)
    for a, b in zip(forward, backward, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_second_derivatives_of_both_modes():
    y = lambda x: odeint(decay, x[0], fnp.stack([0.0, x[1]]), x[2], rtol=1e-10, atol=1e-10)[1]  # noqa: E731
    x = np.array([1.5, 0.7, 0.4])
    exact = fg.hessian(lambda x: x[0] * fnp.exp(-x[2] * x[1]))(x)
    for hessian in (fg.jacfwd(fg.jacfwd(y)), fg.jacrev(fg.grad(y)), fg.jit(fg.jacfwd(fg.grad(y)))):
        np.testing.assert_allclose(hessian(x), exact, rtol=1e-6, atol=1e-7)


def test_trees_closures_and_dtypes():
    def oscillator(state, t, params):
        return {"x": state["v"], "v": (-params["k"] * state["x"][0] + params["n"] * 0, -state["x"][1])}

    def field(state, t, params):
        return {"x": state["v"], "v": [-params["k"] * state["x"][0], -state["x"][1] * params["n"]]}

    y0 = {"x": [np.ones(2), np.float64(1)], "v": [np.zeros(2), np.float64(0)]}
    params = {"k": np.array([1.0, 4.0]), "n": 1}
    out = odeint(field, y0, TIMES, params)
    np.testing.assert_allclose(out["x"][0], np.cos(np.outer(TIMES, [1.0, 2.0])), atol=1e-6)
    np.testing.assert_allclose(out["x"][1], np.cos(TIMES), atol=1e-6)
    loss = lambda k: odeint(lambda y, t: field(y, t, {"k": k, "n": 1}), y0, TIMES)["x"][0][-1].sum()  # noqa: E731
    expected = -TIMES[-1] * np.sin(np.sqrt(params["k"]) * TIMES[-1]) / (2 * np.sqrt(params["k"]))
    for g in (fg.grad(loss), fg.jit(fg.grad(loss)), fg.jacfwd(loss)):
        np.testing.assert_allclose(g(params["k"]), expected, atol=1e-6)
    with pytest.raises(TypeError, match="oscillator must return a tree like the state"):
        odeint(oscillator, y0, TIMES, params)
    narrow = odeint(decay, np.float32(1), TIMES, 1.0)
    assert narrow.dtype == "float32"
    np.testing.assert_allclose(narrow, np.exp(-TIMES), rtol=1e-5)
    assert odeint(decay, 1, TIMES, 1).dtype == "float64" and odeint(decay, np.zeros(0), TIMES, 1.0).shape == (4, 0)


def test_complex_states():
    turn = lambda y, t, w: 1j * w * y  # noqa: E731
    f = lambda w: odeint(turn, 1.0 + 0j, TIMES, w)  # noqa: E731
    np.testing.assert_allclose(f(2.0), np.exp(2j * TIMES), atol=1e-6)
    loss = lambda w: fnp.real(f(w)[-1] * (1 + 2j))  # noqa: E731
    expected = np.real(2j * np.exp(4j) * (1 + 2j))
    np.testing.assert_allclose(fg.grad(loss)(2.0), expected, rtol=1e-6)
    np.testing.assert_allclose(fg.jvp(loss, (2.0,), (1.0,))[1], expected, rtol=1e-6)
    start = fg.grad(lambda z: fnp.real(odeint(turn, z, TIMES, 2.0)[-1]))(1.0 + 1j)
    np.testing.assert_allclose(start, np.exp(4j), atol=1e-6)


def test_batches_of_solutions_and_gradients():
    rates = np.array([0.1, 1.0, 30.0])
    last = lambda rate: odeint(decay, 1.0, TIMES[:2], rate)[-1]  # noqa: E731
    for transform in (fg.vmap, lambda f: fg.jit(fg.vmap(f))):
        np.testing.assert_allclose(transform(last)(rates), np.exp(-0.3 * rates), rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(transform(fg.grad(last))(rates), -0.3 * np.exp(-0.3 * rates), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fg.grad(lambda r: fg.vmap(last)(r).sum())(rates), -0.3 * np.exp(-0.3 * rates), rtol=1e-6, atol=1e-7)
    each = fg.vmap(lambda ts: odeint(decay, 1.0, ts, 1.0))(np.stack([TIMES, TIMES[::-1]]))
    np.testing.assert_allclose(each, np.exp([-TIMES, TIMES[-1] - TIMES[::-1]]), rtol=1e-6)


@pytest.mark.parametrize("call,error,text", [
    (lambda: odeint(decay, 1.0, 2.0, 1.0), ValueError, "the times must be a real vector"),
    (lambda: odeint(decay, 1.0, TIMES[:0], 1.0), ValueError, "the times must be a real vector"),
    (lambda: odeint(lambda y, t: (y, y), 1.0, TIMES), TypeError, "must return a tree like the state"),
    (lambda: odeint(lambda y, t: 1j * y, 1.0, TIMES), TypeError, "must return a tree like the state"),
    (lambda: odeint(lambda y, t: np.ones(3), np.ones(2), TIMES), TypeError, r"must return a tree like the state"),
    (lambda: odeint(1.0, 1.0, TIMES), TypeError, "odeint: .*not callable|odeint"),
    (lambda: linear_call(lambda r, x: x, lambda r, ct: (ct, ct), (), 1.0), TypeError, "must return a tree like the linear arguments"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_linear_call():
    def f(a, x):
        g = fnp.sin(a)
        return linear_call(lambda r, x: {"y": r * x * g}, lambda r, ct: r * ct["y"] * g, a, x)["y"]

    args = np.array([0.3, 0.5]), np.array([1.0, 2.0])
    check_grads(f, args, order=3)
    plain = lambda a, x: fnp.sum(a * x * fnp.sin(a))  # noqa: E731
    batch = np.stack([args[0], 2 * args[0]])
    found = fg.jit(fg.vmap(fg.hessian(lambda a, x: fnp.sum(f(a, x)), (0, 1)), (0, None)))(batch, args[1])
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(fg.vmap(fg.hessian(plain, (0, 1)), (0, None))(batch, args[1]))):
        np.testing.assert_allclose(x, y, atol=1e-14)
