"""Reductions by segment: values, rows out of bounds, derivatives, batches, programs, wrong calls."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
from funcgrad.ops import segment_max, segment_min, segment_prod, segment_sum
from funcgrad.test_util import check_grads

IDS = np.array([0, 2, 2, 0, 3])
DATA = np.array([[0.5, -1.0], [2.0, 0.3], [1.5, 4.0], [0.7, 0.2], [-3.0, 1.1]])
FUNCTIONS = {segment_sum: np.sum, segment_prod: np.prod, segment_max: np.max, segment_min: np.min}
NONE = {segment_sum: (0, 0), segment_prod: (1, 1), segment_max: (-np.inf, np.iinfo(np.int64).min),
        segment_min: (np.inf, np.iinfo(np.int64).max)}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("data", [DATA, DATA[:, 0], DATA.astype("float32"), (DATA * 10).astype(int), DATA[:0]],
                         ids=["matrix", "vector", "float32", "int", "empty"])
def test_values(function, data):
    ids = IDS[:len(data)]
    rows = [FUNCTIONS[function](data[ids == i], axis=0) if (ids == i).any() else
            np.full(data.shape[1:], NONE[function][data.dtype.kind == "i"], data.dtype) for i in range(5)]
    for found in (function(data, ids, 5), fg.jit(lambda d, i: function(d, i, num_segments=5))(data, ids)):
        assert found.dtype == data.dtype
        np.testing.assert_allclose(np.asarray(found), rows, rtol=1e-6)
    count = 4 if len(data) else 0
    np.testing.assert_allclose(np.asarray(function(data, ids)), rows[:count] or np.zeros((0, *data.shape[1:])), rtol=1e-6)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_derivatives_and_batches(function):
    if function is segment_prod:
        check_grads(lambda x: function(x, np.array([3, 0, 2]), 4, unique_indices=True), (DATA[:3],), 2)
        with pytest.raises(fg.errors.MissingRuleError, match="multiplied several times(.|\n)*unique_indices"):
            fg.grad(lambda x: function(x, IDS, 4).sum())(DATA)
    else:
        check_grads(lambda x: function(x, IDS, 4)[np.array([0, 2, 3])], (DATA,), 2)
        assert fg.grad(lambda x: function(x, IDS)[0].sum())(DATA).shape == DATA.shape  # the values of ids are at hand
    both = fg.vmap(lambda x, i: function(x, i, 4))(np.stack([DATA, -DATA]), np.stack([IDS, IDS[::-1]]))
    np.testing.assert_allclose(np.asarray(both[1]), np.asarray(function(-DATA, IDS[::-1], 4)), rtol=1e-14)


def test_out_of_bounds():
    data, ids = np.array([1.0, 2.0, 3.0]), np.array([0, -1, 5])
    for run in (lambda f: f, fg.jit):
        assert run(lambda x: segment_sum(x, ids, 3))(data).tolist() == [1, 0, 0]
        assert run(lambda x: segment_sum(x, ids, 3, mode="clip"))(data).tolist() == [3, 0, 3]
    with pytest.raises(IndexError):
        segment_sum(data, ids, 3, mode="raise")


@pytest.mark.parametrize("call, error, text", [
    (lambda: segment_sum(DATA, IDS[:3], 4), TypeError, "segment_sum: the segments do not fit the data"),
    (lambda: segment_max(DATA, IDS * 1.0, 4), TypeError, "segment_max: the segments do not fit the data"),
    (lambda: segment_sum(1.0, 0, 4), TypeError, "the segments do not fit"),
    (lambda: fg.jit(segment_sum)(DATA, IDS), fg.errors.ConcretizationTypeError, "num_segments"),
])
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()
