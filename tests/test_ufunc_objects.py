"""The functions of funcgrad.numpy that have NumPy's methods, and those that ``frompyfunc`` makes."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

X = np.random.default_rng(0).normal(size=(3, 4))
N = np.random.default_rng(1).integers(0, 9, (3, 4))
FLOATS = ["add", "multiply", "subtract", "maximum", "minimum", "logaddexp", "logaddexp2", "logical_and", "logical_or",
          "logical_xor"]
WHOLE = ["bitwise_and", "bitwise_or", "bitwise_xor"]


def same(found, expected):
    found = np.asarray(found)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", FLOATS + WHOLE)
def test_methods_as_numpy(name):
    ours, numpy, x = getattr(fnp, name), getattr(np, name), N if name in WHOLE else X
    assert isinstance(ours, fnp.ufunc) and (ours.nin, ours.nout) == (2, 1) and name in repr(ours) and ours.__doc__
    assert ours.identity == numpy.identity
    same(ours(x, x[::-1]), numpy(x, x[::-1]))
    same(ours.outer(x[0], x), numpy.outer(x[0], x))
    for axis in (0, -1):
        same(ours.reduce(x, axis), numpy.reduce(x, axis))
        same(ours.accumulate(x, axis), numpy.accumulate(x, axis))
    same(ours.reduce(x, 1, keepdims=True), numpy.reduce(x, 1, keepdims=True))
    same(ours.reduceat(x, np.array([0, 2, 1]), 1), numpy.reduceat(x, np.array([0, 2, 1]), 1))
    if name not in ("subtract",):
        same(ours.reduce(x, None), numpy.reduce(x, None))
        start, where = (1, x > 0.2) if name in WHOLE else (0.5, x > 0.2)
        if name.startswith("logical"):
            start = bool(start)
        same(ours.reduce(x, 0, initial=start, where=where), numpy.reduce(x, 0, initial=start, where=where))
    if not name.startswith("logical"):
        changed = x.copy()
        numpy.at(changed, np.array([0, 2, 2]), x[[1, 0, 1]])
        same(ours.at(x, np.array([0, 2, 2]), x[[1, 0, 1]], inplace=False), changed)


def test_folds_of_nothing():
    assert fnp.add.reduce(np.zeros((0, 2))).tolist() == [0, 0] and fnp.logaddexp.reduce(np.zeros(0)).tolist() == -np.inf
    assert fnp.logical_xor.reduce(np.zeros(0)).tolist() is False
    with pytest.raises(ValueError, match="nothing to combine"):
        fnp.subtract.reduce(np.zeros(0))


@pytest.mark.parametrize("call, error, message", [
    (lambda: fnp.add(1.0), TypeError, "the number of arguments"),
    (lambda: fnp.add(1.0, 2.0, out=X), NotImplementedError, "arrays are immutable"),
    (lambda: fnp.add(1.0, 2.0, where=True), NotImplementedError, "where is not supported"),
    (lambda: fnp.add.reduce(X, out=X), NotImplementedError, "add.reduce: arrays are immutable"),
    (lambda: fnp.add.at(X, 0, 1.0), NotImplementedError, "add.at: arrays are immutable"),
    (lambda: fnp.negative.reduce(X), ValueError, "only functions of two arguments"),
    (lambda: fnp.subtract.reduce(X, where=X > 0), ValueError, "where needs initial"),
])
def test_wrong_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_functions_of_the_user():
    mixed = fnp.frompyfunc(lambda a, b: a * b + a, nin=2, nout=1)
    numpy = np.frompyfunc(lambda a, b: a * b + a, 2, 1)
    for found, expected in ((mixed(X, X[0]), numpy(X, X[0])), (mixed.reduce(X), numpy.reduce(X)),
                            (mixed.accumulate(X, 1), numpy.accumulate(X, 1)), (mixed.outer(X[0], X), numpy.outer(X[0], X))):
        same(found, expected.astype(float))
    same(mixed.at(X, np.array([0, 1, 0]), 2.0, inplace=False), np.stack([X[0] * 9, X[1] * 3, X[2]]))
    for method in (mixed.reduce, mixed.accumulate):
        check_grads(method, (X,), 2)
        same(fg.jit(fg.vmap(method))(np.stack([X, -X]))[1], np.asarray(method(-X)))
    both = fnp.frompyfunc(lambda a: (a, -a), nin=1, nout=2)
    assert [x.tolist() for x in both(X[0])] == [X[0].tolist(), (-X[0]).tolist()]
    slope = fg.grad(lambda x: fnp.multiply.at(x, np.array([0, 1, 0]), x[:3], inplace=False).sum())(X[0])
    expected = fg.grad(lambda x: x[0] * x[0] * x[2] + x[1] * x[1] + x[2] + x[3])(X[0])
    same(slope, np.asarray(expected))
