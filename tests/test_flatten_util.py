"""ravel_pytree: trees as vectors and back, under the transformations."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.flatten_util import ravel_pytree

TREE = {"w": np.arange(6.0).reshape(2, 3), "b": [np.float32(7.0), (np.array([8.0, 9.0]), None)]}


def test_round_trip_keeps_shapes_dtypes_and_structure():
    flat, unravel = ravel_pytree(TREE)
    np.testing.assert_array_equal(flat, [7, 8, 9, 0, 1, 2, 3, 4, 5])  # in the order of the sorted keys
    assert flat.dtype == np.float64
    back = unravel(flat)
    assert fg.tree.structure(back) == fg.tree.structure(TREE)
    for x, y in zip(fg.tree.leaves(back), fg.tree.leaves(TREE), strict=True):
        assert x.dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def test_it_is_differentiable_and_batchable():
    flat, unravel = ravel_pytree({"a": fnp.ones(2), "b": 3.0})
    gradient = fg.grad(lambda v: fnp.sum(unravel(v)["a"]) * unravel(v)["b"])(flat)
    np.testing.assert_array_equal(gradient, [3, 3, 2])
    rows = fg.vmap(lambda v: unravel(v)["a"])(fnp.stack([flat, 2 * flat]))
    np.testing.assert_array_equal(rows, [[1, 1], [2, 2]])
    np.testing.assert_array_equal(fg.jit(lambda t: ravel_pytree(t)[0])({"a": fnp.ones(2), "b": 3.0}), flat)


def test_an_empty_tree_is_an_empty_vector():
    flat, unravel = ravel_pytree({})
    assert flat.shape == (0,) and unravel(flat) == {}


def test_wrong_vectors_are_refused():
    _, unravel = ravel_pytree(TREE)
    with pytest.raises(ValueError, match=r"wrong size(.|\n)*float64\[3\](.|\n)*\(9,\)"):
        unravel(np.zeros(3))
    with pytest.raises(TypeError, match=r"wrong dtype(.|\n)*float32\[9\]"):
        unravel(np.zeros(9, np.float32))
