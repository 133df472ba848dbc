"""Layers for images and vectors: against values stored from torch, under transformations, at edges, and wrong uses."""
from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from layer_calls import CASES, case, wave

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, nn
from funcgrad.test_util import check_grads

STORED = json.loads((Path(__file__).parent / "reference" / "torch_layers.json").read_text())
KEY = fg.random.key(0)
F64 = {"dtype": np.float64}


def by_path(prefix, tree):
    return {prefix + fg.tree.keystr(path, simple=True, separator="."): leaf
            for path, leaf in fg.tree.flatten_with_path(tree)[0]}


def value_and_gradients(layer, state, train, wrap=lambda f: f):
    """A function of params and x: the result, the new state and the gradients, as torch_layers.json has them."""

    def weighted(params, x):
        y, new_state = wrap(lambda p, x: layer.apply(p, state, x, train=train))(params, x)
        return fnp.sum(y * wave(y.shape, 0.5)), (y, new_state)

    def run(params, x):
        real = not fg.tree.all(fg.tree.map(lambda leaf: leaf.dtype.kind in "iu", x))
        numbers = (0, 1) if real else (0,)
        (_, (y, new_state)), slopes = fg.value_and_grad(weighted, numbers, has_aux=True)(params, x)
        found = {"y": y, **by_path("state.", new_state), **by_path("params.", slopes[0])}
        return {**found, **(by_path("x." if isinstance(x, tuple) else "x", slopes[1]) if real else {})}

    return run


def assert_stored(found, name, rtol=1e-10):
    expected = STORED[name]
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        values = np.array(array["values"]).reshape(array["shape"])
        assert found[path].shape == values.shape, path
        np.testing.assert_allclose(found[path], values, rtol, rtol, err_msg=path)


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_those_of_torch(name):
    layer, params, state, x, train = case(name)
    found = value_and_gradients(layer, state, train)(params, x)
    assert_stored(found, name)
    for path, leaf in found.items():
        if not path.startswith("state"):
            assert leaf.dtype == np.float64, path


@pytest.mark.parametrize("name", CASES)
def test_compiled_training_steps_are_those_of_torch(name):
    layer, params, state, x, train = case(name)
    run = fg.jit(value_and_gradients(layer, state, train))
    assert_stored(run(params, x), name)
    assert "host" not in str(run.lower(params, x).schedule())
