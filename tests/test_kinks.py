"""The derivatives at kinks that docs/kinks.md states: all spellings of a row agree, under every mode."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, nn

AT_A_POINT = {
    "rectifier": (0.0, 0.0, [
        nn.relu, lambda x: fnp.maximum(x, 0.0), lambda x: fnp.maximum(0.0, x), lambda x: fnp.maximum(x, 0), lambda x: lax.max(x, 0.0),
        lambda x: fnp.clip(x, 0.0, None), lambda x: lax.clamp(0.0, x, 1.0), lambda x: fnp.where(x > 0, x, 0.0), lambda x: x * (x > 0),
        lambda x: fnp.fmax(x, 0.0), nn.relu6, lambda x: nn.leaky_relu(x, 0.0), lambda x: fg.piecewise(x > 0, lambda v: v, 0.0, x),
        lambda x: fnp.piecewise(x, [x > 0], [lambda v: v, 0.0]), lambda x: np.maximum(x, 0.0), lambda x: fnp.maximum(x, np.float64(0)),
        lambda x: -fnp.minimum(-x, 0.0)]),
    "upper bound": (1.0, 0.0, [lambda x: fnp.clip(x, 0.0, 1.0), lambda x: lax.clamp(0.0, x, 1.0), lambda x: fnp.minimum(x, 1.0), nn.hard_tanh,
                               lambda x: lax.min(x, 1.0), lambda x: nn.relu6(x + 5.0)]),
    "leaky": (0.0, 0.25, [lambda x: nn.leaky_relu(x, 0.25)]),
    "symmetric": (0.0, 0.0, [fnp.abs, fnp.fabs, lambda x: fnp.hypot(x, 0.0), fnp.sign, lambda x: abs(x)]),
    "steps": (1.0, 0.0, [fnp.floor, fnp.ceil, fnp.round, fnp.trunc, fnp.rint, lambda x: fnp.heaviside(x - 1, 0.5)]),
    "vertical": (0.0, np.inf, [fnp.cbrt, fnp.sqrt, lambda x: x ** 0.5]),
}
OF_TWO = {
    "shared": ((0.5, 0.5), [
        fnp.maximum, fnp.minimum, lax.max, lambda x, y: fnp.max(fnp.stack([x, y])), lambda x, y: fnp.amin(fnp.stack([x, y])),
        lambda x, y: fnp.full(1, x).at[0].max(y)[0], lambda x, y: lax.cummax(fnp.stack([y, x]))[1]]),
    "picked": ((1.0, 0.0), [
        lambda x, y: fnp.sort(fnp.stack([x, y]))[0], lambda x, y: fnp.stack([x, y])[fnp.argsort(fnp.stack([x, y]))][0],
        lambda x, y: fnp.stack([x, y])[fnp.argmin(fnp.stack([x, y]))], lambda x, y: lax.top_k(fnp.stack([x, y]), 1)[0][0],
        lambda x, y: fnp.stack([x, y])[fnp.argmax(fnp.stack([x, y]))]]),
}


def modes(f, *args):
    """The derivatives of a function by every mode."""
    positions = tuple(range(len(args)))
    yield [float(d) for d in fg.grad(f, positions)(*args)]
    yield [float(d) for d in fg.jacfwd(f, positions)(*args)]
    yield [float(d) for d in fg.jit(fg.grad(f, positions))(*args)]
    yield [float(d[0]) for d in fg.vmap(fg.grad(f, positions))(*[np.array([x]) for x in args])]
    yield [float(d) for d in fg.grad(fg.jit(f), positions)(*args)]
    yield [float(d[0]) for d in fg.grad(lambda *xs: fnp.sum(fg.vmap(f)(*xs)), positions)(*[np.array([x]) for x in args])]


@pytest.mark.parametrize("name", AT_A_POINT)
def test_all_spellings_of_a_function_agree(name):
    at, expected, spellings = AT_A_POINT[name]
    for i, f in enumerate(spellings):
        for mode, found in enumerate(modes(f, at)):
            assert found == [expected], (i, mode)


@pytest.mark.parametrize("name", OF_TWO)
def test_equal_elements(name):
    expected, spellings = OF_TWO[name]
    for i, f in enumerate(spellings):
        for mode, found in enumerate(modes(f, 2.0, 2.0)):
            assert found == list(expected), (i, mode)


def test_three_equal_elements_share():
    np.testing.assert_allclose(fg.grad(fnp.max)(fnp.ones(3)), [1 / 3] * 3)


def test_a_tie_beside_the_kink_is_none():
    assert float(fg.grad(lambda x: fnp.maximum(x, 0.0))(1e-300)) == 1
    assert float(fg.grad(lambda x: fnp.maximum(x, x))(2.0)) == 1
