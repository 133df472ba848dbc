"""Piecewise functions: values and derivatives of all orders are those of the selected piece, finite wherever it is."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp

X = np.array([4.0, 0.0, -1.0, 0.25])
CASES = {  # condition, piece where it holds, piece elsewhere, and where each would not be finite or would raise
    "root": (lambda x: x > 0, fnp.sqrt, lambda x: 0.0 * x), "logarithm": (lambda x: x > 0, lambda x: x * fnp.log(x), 0.0),
    "reciprocal": (lambda x: x != 0, lambda x: 1 / x, 1.0), "sinc": (lambda x: x != 0, lambda x: fnp.sin(x) / x, lambda x: 1 - x * x / 6),
    "power": (lambda x: x > 0, lambda x: x ** 1.5, lambda x: -x), "inverse sine": (lambda x: abs(x) < 1, fnp.arcsin, lambda x: x),
    "overflow": (lambda x: x < 1, lambda x: fnp.exp(1000 * (x - 1)), 1.0)}


def directional(f, order):
    for _ in range(order):
        f = (lambda g: lambda x: fg.jvp(g, (x,), (fnp.ones_like(x),))[1])(f)
    return f


@pytest.mark.parametrize("name", CASES)
def test_derivatives_to_order_four_are_those_of_the_selected_piece(name):
    condition, f, g = CASES[name]
    whole = lambda x: fg.piecewise(condition(x), f, g, x)  # noqa: E731
    scalar = {True: f, False: g if callable(g) else lambda x: g + 0 * x}
    for order in range(5):
        expected = [directional(scalar[bool(condition(x))], order)(fnp.asarray(x)) for x in X]
        assert np.isfinite(expected).all()
        found = directional(whole, order)
        np.testing.assert_allclose(found(X), expected, rtol=1e-12, atol=1e-12)
        if order in (1, 3):
            np.testing.assert_allclose(fg.jit(found)(X), expected, rtol=1e-12, atol=1e-12)
    slope = [fg.grad(scalar[bool(condition(x))])(fnp.asarray(x)) for x in X]
    for run in (fg.grad(lambda x: fnp.sum(whole(x))), fg.jit(fg.grad(lambda x: fnp.sum(whole(x)))), fg.vmap(fg.grad(whole))):
        np.testing.assert_allclose(run(X), slope, rtol=1e-12, atol=1e-12)
    assert np.isfinite(fg.hessian(lambda x: fnp.sum(whole(x) ** 2))(X)).all()


def test_a_piece_sees_only_its_own_elements():
    seen = []

    def f(x):
        fg.debug.callback(lambda v: seen.append(float(v)), x)
        return x

    fg.piecewise(X > 0, f, lambda x: x, X)
    assert set(seen) == {4.0, 0.25}
    seen.clear()
    fg.piecewise(X > 9, f, lambda x: x, X)
    assert not seen


def test_it_broadcasts_promotes_and_returns_trees():
    out = fg.piecewise(np.array([[True], [False]]), lambda a, b: {"s": a + b, "p": 1}, lambda a, b: {"s": a, "p": 0.5}, np.arange(3), 2)
    assert out["s"].tolist() == [[2, 3, 4], [0, 1, 2]] and out["p"].tolist() == [[1, 1, 1], [0.5, 0.5, 0.5]]
    assert out["s"].dtype == np.int64 and out["p"].dtype == np.float64
    assert fg.piecewise(True, lambda x: x, 0, np.float32(2)).dtype == np.float32
    assert fg.piecewise(np.zeros(0, bool), fnp.sqrt, 0.0, np.zeros(0)).shape == (0,)


def test_gradients_of_closed_over_values():
    f = lambda a: fnp.sum(fg.piecewise(X > 0, lambda x: a * fnp.sqrt(x), lambda x: a, X))  # noqa: E731
    assert float(fg.grad(f)(3.0)) == pytest.approx(2.0 + 0.5 + 2)
    assert float(fg.jit(fg.grad(f))(3.0)) == pytest.approx(2.0 + 0.5 + 2)


def test_a_piece_that_nobody_selects_has_no_derivative():
    x = -np.ones(3)
    for f in (lambda a: fnp.sum(fg.piecewise(x > 0, lambda v: a * fnp.sqrt(v), lambda v: v, x)),
              lambda a: fnp.sum(fg.vmap(lambda v: fg.lax.cond(v > 0, lambda: fnp.sqrt(v) / a, lambda: a))(x)),
              lambda a: fnp.sum(fg.piecewise(x > 0, lambda v, b: fnp.log(v) ** b, lambda v, b: b * b, x, a)) / 2):
        for order in (1, 2):
            for g in (directional(f, order), fg.jit(directional(f, order)), fg.grad(f) if order == 1 else fg.grad(fg.grad(f))):
                assert np.isfinite(g(fnp.asarray(0.0))).all()


def test_numpy_piecewise_is_as_careful():
    f = lambda x: fnp.piecewise(x, [x < 0, x > 0], [lambda v: -v, lambda v: fnp.sqrt(v), 0.0])  # noqa: E731
    np.testing.assert_array_equal(f(X), [2.0, 0.0, 1.0, 0.5])
    np.testing.assert_array_equal(fg.vmap(fg.grad(f))(X), [0.25, 0.0, -1.0, 1.0])
    np.testing.assert_array_equal(fg.jit(f)(X), np.piecewise(X, [X < 0, X > 0], [lambda v: -v, np.sqrt, 0.0]))


@pytest.mark.parametrize("call, error, text", [
    (lambda: fg.piecewise(X, fnp.sqrt, 0.0, X), TypeError, r"condition is not of bool.*\n.*float64\[4\]"),
    (lambda: fg.piecewise(X > 0, lambda x: (x, x), 0.0, X), TypeError, "different structures"),
    (lambda: fg.piecewise(X > 0, fnp.sqrt, 0.0, np.zeros(3)), ValueError, "piecewise"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()
