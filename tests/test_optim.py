"""Optimisers against their definitions written with NumPy, and against values stored from optax."""
import json
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import optim

STORED = json.loads((Path(__file__).parent / "reference" / "optim.json").read_text())


def schedule(count):
    return 0.1 / (1 + count)


OPTIMIZERS = {
    "sgd": optim.sgd(0.01),
    "momentum": optim.momentum(0.01),
    "nesterov": optim.sgd(0.01, momentum=0.9, nesterov=True),
    "scheduled sgd": optim.sgd(schedule),
    "adam": optim.adam(0.01),
    "adam with its own decays": optim.adam(0.02, b1=0.8, b2=0.99, eps=1e-3),
    "scheduled adam": optim.adam(schedule),
}


def gradient_at(params, i):
    return np.sin(3 * params) + 0.1 * params + np.cos(i)


@pytest.mark.parametrize("jitted", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_values_stored_from_optax(name, jitted):
    optimizer = OPTIMIZERS[name]
    update = fg.jit(optimizer.update) if jitted else optimizer.update
    params = fnp.array([1.0, -2.0, 3.0, 0.25])
    state = optimizer.init(params)
    for i in range(100):
        updates, state = update(gradient_at(np.asarray(params), i), state, params)
        params = optim.apply_updates(params, updates)
        if str(i + 1) in STORED[name]:
            np.testing.assert_allclose(params, STORED[name][str(i + 1)], rtol=1e-12)


def numpy_sgd(params, learning_rate, momentum, nesterov):
    trace = np.zeros_like(params)
    for i in range(100):
        g = gradient_at(params, i)
        trace = g + momentum * trace
        params = params - learning_rate * (g + momentum * trace if nesterov else trace)
    return params


def numpy_adam(params, learning_rate, b1, b2, eps):
    mu, nu = np.zeros_like(params), np.zeros_like(params)
    for i in range(100):
        g = gradient_at(params, i)
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        params = params - learning_rate * (mu / (1 - b1 ** (i + 1))) / (np.sqrt(nu / (1 - b2 ** (i + 1))) + eps)
    return params


@pytest.mark.parametrize("optimizer, by_hand, settings", [
    (optim.sgd(0.02), numpy_sgd, (0.02, 0.0, False)),
    (optim.sgd(0.02, 0.5), numpy_sgd, (0.02, 0.5, False)),
    (optim.momentum(0.02, 0.8, nesterov=True), numpy_sgd, (0.02, 0.8, True)),
    (optim.adam(), numpy_adam, (1e-3, 0.9, 0.999, 1e-8)),
    (optim.adam(0.05, 0.7, 0.9, 1e-2), numpy_adam, (0.05, 0.7, 0.9, 1e-2)),
], ids=["sgd", "momentum", "nesterov", "adam", "adam with settings"])
def test_a_hundred_steps_by_hand(optimizer, by_hand, settings):
    start = {"a": np.array([1.0, -2.0]), "b": [np.array([[3.0, 0.25]])]}
    params, state = start, optimizer.init(start)
    for i in range(100):
        gradient = fg.tree.map(lambda p, i=i: gradient_at(np.asarray(p), i), params)
        updates, state = optimizer.update(gradient, state)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(params["a"], by_hand(start["a"], *settings), rtol=1e-11)
    np.testing.assert_allclose(params["b"][0], by_hand(start["b"][0], *settings), rtol=1e-11)
    assert int(state.count) == 100


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_dtype_of_the_parameters_is_kept(name, dtype):
    optimizer = OPTIMIZERS[name]
    params = {"w": fnp.ones(3, dtype)}
    state = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update({"w": fnp.ones(3, dtype)}, state, params)
        assert updates["w"].dtype == dtype
        params = optim.apply_updates(params, updates)
    assert params["w"].dtype == dtype
    assert all(x.dtype == dtype for x in fg.tree.leaves(state) if x.ndim)


def test_the_state_is_a_tree_that_keeps_its_types():
    optimizer = optim.adam(1e-2)
    params = {"w": fnp.ones(3), "b": fnp.zeros(())}
    state = optimizer.init(params)
    _, after = optimizer.update(params, state)
    assert fg.tree.structure(state) == fg.tree.structure(after)
    assert [x.dtype for x in fg.tree.leaves(state)] == [x.dtype for x in fg.tree.leaves(after)]
    assert optim.sgd(0.1).init(params).trace is None


def test_a_minimum_is_found():
    target = np.array([1.0, -2.0])
    optimizer = optim.adam(0.1)
    params = fnp.zeros(2)
    state = optimizer.init(params)

    @fg.jit
    def step(params, state):
        updates, state = optimizer.update(fg.grad(lambda p: fnp.sum((p - target) ** 2))(params), state)
        return optim.apply_updates(params, updates), state

    for _ in range(500):
        params, state = step(params, state)
    np.testing.assert_allclose(params, target, atol=1e-6)


def test_steps_can_be_differentiated_by_the_learning_rate():
    def after_two_steps(learning_rate):
        optimizer = optim.sgd(learning_rate, momentum=0.9)
        p = fnp.array([2.0])
        state = optimizer.init(p)
        for _ in range(2):
            updates, state = optimizer.update(2 * p, state)
            p = optim.apply_updates(p, updates)
        return fnp.sum(p)

    # p1 = 2 - 4r;  p2 = p1 - r (2 p1 + 0.9 * 4) = 2 - 11.6 r + 8 r^2
    np.testing.assert_allclose(fg.grad(after_two_steps)(0.1), -11.6 + 16 * 0.1, rtol=1e-12)
