"""Plain NumPy programs on arrays and tracers, methods of arrays, and the names of the module."""
from __future__ import annotations

import io

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.numpy.methods import METHODS
from funcgrad.test_util import check_grads

X = np.array([0.3, 1.2, 2.5, 0.8])
M = np.random.default_rng(5).normal(size=(3, 4))


def network(x):
    weights = np.ones((4, 4)) * 0.1 + np.eye(4)
    hidden = np.tanh(np.dot(weights, x) + np.arange(4))
    return np.sum(np.square(hidden)) / 2 + np.mean(np.multiply(np.exp(-x), [1.0, 2.0, 3.0, 4.0]))


PROGRAMS = [
    network,
    lambda x: np.concatenate([x, np.ones(2), [1.0]]).sum(),
    lambda x: np.where(x > 1, np.log(x), x ** 2).sum(),
    lambda x: np.einsum("i,j->ij", x, x).max(),
    lambda x: (np.stack([x, 2 * x]) @ np.ones(4)).prod(),
    lambda x: np.linspace(x[0], x[1], 5).var(),
    lambda x: np.reshape(np.pad(x, [1, 1]), [2, 3]).std(axis=0).sum(),
    lambda x: np.clip(x, a_min=0.5, a_max=2.0).sum() + np.clip(x, 0.5, 2.0)[0],
    lambda x: np.sum(np.sort(x)[::-1] * np.arange(4.0)) + np.prod(np.diff(x)),
    lambda x: np.ones(4) @ (np.ones(4) * x) - np.float64(2) / x[1],
    lambda x: np.trapezoid(x, dx=0.1) + np.interp(0.5, np.arange(4.0), x) + np.outer(x, x).trace(),
    lambda x: np.sum(np.zeros_like(x, order="K", subok=True) + np.full_like(x, 2.0) * x),
    lambda x: np.max(x, initial=None, keepdims=np._NoValue) * np.hypot(x, 1.0).min(),
    lambda x: np.apply_along_axis(lambda v: v * v.sum(), 0, x).sum(),
    lambda x: np.block([[x, x], [x, 2 * x]]).mean(),
    lambda x: np.maximum.__call__(x, 1.0).sum() + np.matmul(x, x) + np.vdot(x, x),
]


@pytest.mark.parametrize("f", PROGRAMS)
def test_numpy_programs(f):
    expected = f(X)
    np.testing.assert_allclose(float(f(fnp.asarray(X))), expected, rtol=1e-12)
    np.testing.assert_allclose(float(fg.jit(f)(X)), expected, rtol=1e-12)
    check_grads(f, (X,), order=2)
    np.testing.assert_allclose(np.asarray(fg.vmap(fg.grad(f))(np.stack([X, X + 0.1]))[1]),
                               np.asarray(fg.jit(fg.grad(f))(X + 0.1)), rtol=1e-10)


def test_results_are_arrays_of_funcgrad():
    x = fnp.asarray(X)
    for result in (np.sin(x), X * x, x * X, X < x, np.ones((4, 4)) @ x, np.float32(2) * x, np.add(x, [1, 2, 3, 4]),
                   np.sum(x), np.transpose(x), np.divmod(x, 2)[0], np.concatenate((x, X))):
        assert isinstance(result, fg.Array)
    assert np.shape(x) == (4,) and np.ndim(x) == 1 and np.size(x) == 4
    assert np.allclose(x, [0.3, 1.2, 2.5, 0.8]) and np.array_equal(x, x)
    np.testing.assert_allclose(x, X)
    assert np.array2string(x) == np.array2string(X)
    buffer = io.BytesIO()
    np.save(buffer, x)
    buffer.seek(0)
    assert np.load(buffer).tolist() == X.tolist()


class Foreign:
    """An array of another library that NumPy can read."""

    def __array__(self, dtype=None, copy=None):
        return np.ones(4)


class Polite:
    """A class that knows how to multiply itself."""

    __array_ufunc__ = None

    def __mul__(self, other):
        return "mine"

    __rmul__ = __mul__


def test_foreign_operands():
    assert np.add(fnp.ones(4), Foreign()).tolist() == [2.0] * 4
    assert np.allclose(fnp.ones(4), Foreign())
    assert fnp.ones(4) * Polite() == "mine" and Polite() * fnp.ones(4) == "mine"
    with pytest.raises(TypeError):
        np.add(fnp.ones(4), "a")


def accumulate(x):
    total = np.zeros(4)
    total += x
    return total.sum()


@pytest.mark.parametrize("call,text", [
    (lambda x: np.add.reduce(x), r"np.add.reduce has no counterpart.*\n.*fnp.sum"),
    (lambda x: np.multiply.accumulate(x), r"np.multiply.accumulate.*\n.*fnp.cumprod"),
    (lambda x: np.add.at(x, 0, 1), r"x.at\[index\].add"),
    (lambda x: np.multiply.outer(x, x), "fnp.outer"),
    (accumulate, r"cannot be written into(.|\n)*x = x \+ y instead of x \+= y"),
    (lambda x: np.add(x, x, out=np.ones(4)), "cannot be written into"),
    (lambda x: np.add(x, x, where=x > 1), "not supported(.|\n)*where"),
    (lambda x: np.lib.stride_tricks.sliding_window_view(x, 2), "sliding_window_view has no funcgrad counterpart"),
    (lambda x: np.copyto(x, x), "np.copyto has no funcgrad counterpart"),
    (lambda x: np.busday_count(x, x), "busday_count has no funcgrad counterpart"),
])
def test_what_has_no_counterpart_says_so(call, text):
    with pytest.raises(TypeError, match=text):
        call(fnp.asarray(X))
    with pytest.raises(TypeError, match=text):
        fg.grad(lambda x: call(x))(X)


def test_tracers_never_become_object_arrays():
    for call in (lambda x: np.array([x[0], x[1]]), lambda x: np.asarray(x), lambda x: np.array(x, dtype=object)):
        for transform in (fg.grad, fg.jit, fg.vmap):
            with pytest.raises((fg.errors.TracerArrayConversionError, TypeError)):
                transform(call)(np.stack([X, X]) if transform is fg.vmap else X)


# ---------------------------------------------------------------- methods

METHOD_CALLS = """
x.sum() x.sum(0) x.prod(axis=1) x.mean(0,keepdims=True) x.std() x.var(ddof=1) x.max(1) x.min() x.any() x.all(axis=0)
x.argmax(1) x.argmin() x.cumsum(0) x.cumprod() x.sort() x.argsort(axis=0) x.reshape(4,3) x.reshape((2,6)) x.reshape(-1)
x.reshape(2,6,order='F') x.transpose() x.transpose(1,0) x.transpose((1,0)) x.T x.mT x.astype(int) x.astype('float32')
x.ravel() x.flatten() x.flatten('F') x.squeeze() x.swapaxes(0,1) x.repeat(2,axis=1) x.diagonal() x.trace() x.real x.imag
x.conj() x.conjugate() x.copy() x.clip(0,1) x.clip(max=0.5) x.round(1) x.dot(x.T) x.nonzero() x.take([0,1],axis=1)
x.compress([True,False,True],axis=0) x[0].searchsorted(0.5) x.view(int) x.view('int32')
"""


@pytest.mark.parametrize("call", METHOD_CALLS.split())
def test_methods_as_numpy(call):
    call = call.replace("[0,1]", "np.array([0,1])").replace("[True,False,True]", "np.array([True,False,True])")
    m = M.copy()
    if ".sort()" in call:
        m.sort()
        expected = m
    else:
        expected = eval(call, {"x": m, "np": np})
    for actual in (eval(call, {"x": fnp.asarray(M), "np": np}),
                   fg.jit(lambda x: eval(call, {"x": x, "np": np}))(M) if "nonzero" not in call else None):
        if actual is not None:
            np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-12)


def test_more_of_methods():
    x = fnp.asarray(M)
    assert x.device == "cpu" and x.to_device("cpu") is x and len(x) == 3
    with pytest.raises(ValueError, match="no such device"):
        x.to_device("tpu")
    with pytest.raises(ValueError, match="last axis does not fit"):
        fnp.ones(3, "float32").view(float)
    assert fnp.arange(4, dtype="int32").view("int64").tolist() == np.arange(4, dtype="int32").view("int64").tolist()
    assert fnp.array([1, 0]).choose([fnp.array([10, 20]), fnp.array([30, 40])]).tolist() == [30, 20]
    assert x.at[0].set(1.0)[0].tolist() == [1.0] * 4 and x.ptp() == x.max() - x.min()
    assert (x @ x.T).shape == (3, 3) and [r.shape for r in x] == [(4,)] * 3
    assert x.__array_namespace__() is fnp
    check_grads(lambda v: (v.T @ v).clip(-1, 1).ravel().cumsum().mean(), (M,), order=2)
    for name, method in METHODS.items():
        assert hasattr(fg.Array, name) and (method.__doc__ or name in ("__round__", "compress")), name


# ---------------------------------------------------------------- names


def test_every_name_is_documented_and_is_what_numpy_calls_it():
    assert len(fnp.__all__) == len(set(fnp.__all__)) > 380
    for name in fnp.__all__:
        value = getattr(fnp, name)
        if callable(value) and not isinstance(value, type) and value.__class__.__name__ == "function":
            assert value.__doc__, name
