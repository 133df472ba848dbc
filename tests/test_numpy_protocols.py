"""Plain NumPy programs on arrays and tracers, methods of arrays, and the names of the module."""
from __future__ import annotations

import copy
import io
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
from scipy import special

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.numpy.absent import REFUSED_METHODS
from funcgrad.numpy.methods import METHODS
from funcgrad.numpy.protocols import register_later
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
    lambda x: np.concatenate([[x[0]], [1.0], x, [x[1] * 2, 3]]).sum() + np.where(x > 1, [x[0], 2, 3, x[1]], x).prod(),
    lambda x: np.interp(x[3], [0, 1, 2, 3], [x[0], x[1], 1, x[2]]) + np.cross([x[0], 1, x[2]], x[1:]).sum() + np.ones(4).clip(x, 2).sum(),
    lambda x: np.stack([x[:2], [1.0, x[2] ** 2]]).sum() + np.average(x, weights=[x[1], 1, 2, x[0]]) + (x + np.dot([x[0], 1], x[:2])).sum(),
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
    (lambda x: np.add.at(x, 0, 1), r"np.add.at: arrays are immutable(.|\n)*x = x.at\[index\].add"),
    (lambda x: np.arctan2.at(x, [0, 1], x[:2]), r"x.at\[index\].set\(fnp.arctan2\(x\[index\], y\)\)"),
    (lambda x: np.negative.at(x, [0, 1]), r"x.at\[index\].apply\(fnp.negative\)"),
    (accumulate, r"cannot be written into(.|\n)*x = x \+ y instead of x \+= y"),
    (lambda x: np.add(x, x, out=np.ones(4)), "cannot be written into"),
    (lambda x: np.add(x, x, where=x > 1), r"where= leaves the other elements undefined(.|\n)*fnp.where"),
    (lambda x: np.add(x, x, signature="dd->d"), "not supported(.|\n)*signature"),
    (lambda x: np.add(x, 1.5, dtype=int), "cannot be converted to the argument dtype(.|\n)*same_kind|of the kind of int64"),
    (lambda x: np.less(x, x, dtype=float), "the result is made of bools"),
    (lambda x: np.matmul(x, x, axes=[0, 0, ()]), "not supported(.|\n)*axes"),
    (lambda x: np.copyto(x, x), r"np.copyto: arrays are immutable(.|\n)*fnp.where\(mask, src, dst\)"),
    (lambda x: np.putmask(x, x > 1, x), r"np.putmask: arrays are immutable(.|\n)*fnp.where"),
    (lambda x: np.put(x, 0, 1.0), r"np.put: arrays are immutable(.|\n)*inplace=False"),
    (lambda x: np.fill_diagonal(x[:, None], 1.0), "np.fill_diagonal: arrays are immutable"),
    (lambda x: np.busday_count(x, x), "busday_count has no funcgrad counterpart: dates and times"),
    (lambda x: np.isnat(x), "np.isnat has no funcgrad counterpart: dates and times"),
    (lambda x: np.partition(x, 1, order="a"), r"np.partition: an argument is not supported(.|\n)*order='a'(.|\n)*arguments of fnp"),
    (lambda x: np.emath.sqrt(x), "sqrt has no funcgrad counterpart: its dtype depends on the values"),
])
def test_what_has_no_counterpart_says_so(call, text):
    with pytest.raises(TypeError, match=text):
        call(fnp.asarray(X))
    with pytest.raises(TypeError, match=text):
        fg.grad(lambda x: call(x))(X)


def sorts_in_place(x):
    x.sort()
    return x[0]


def test_sorting_in_place_is_an_error():
    for run in (lambda: sorts_in_place(fnp.asarray(X)), lambda: fg.grad(sorts_in_place)(X), lambda: fg.jit(sorts_in_place)(X)):
        with pytest.raises(TypeError, match=r"x.sort\(\): arrays are immutable(.|\n)*instead:  x = x.sort\(\)"):
            run()
    x = fnp.asarray(X)
    y = x.sort()
    assert y[0] == 0.3 and [x.sort(), x.partition(1)][1][0] == 0.3 and x.sort(axis=0, kind="stable")[0] == 0.3


@pytest.mark.parametrize("name", sorted(REFUSED_METHODS))
def test_methods_that_would_change_the_array(name):
    for run in (lambda x: getattr(x, name)(), fg.grad(lambda x: getattr(x, name)())):
        with pytest.raises(TypeError, match=f"x.{name}(.|\n)*instead"):
            run(fnp.asarray(X))


def test_memory_and_files_of_arrays(tmp_path):
    x = fnp.asarray(M)
    assert x.strides == (32, 8) and not x.flags.writeable and bytes(x.data) == x.tobytes() == M.tobytes()
    assert x.base is None
    x.tofile(tmp_path / "x")
    assert (np.fromfile(tmp_path / "x") == M.ravel()).all() and pickle.loads(x.dumps()).shape == (3, 4)
    assert x.flat[3] == M.flat[3] and len(x.flat) == 12 and M[0, 0] in x and 17.0 not in x
    assert copy.copy(x) is x and copy.deepcopy(x) is x
    for name in ("strides", "flags", "data", "ctypes"):
        with pytest.raises(AttributeError, match=f"x.{name}: a traced value has no memory"):
            fg.jit(lambda x, name=name: getattr(x, name))(M)
        assert fg.jit(lambda x, name=name: fnp.sum(x) * hasattr(x, name))(M) == 0
    for name in ("tobytes", "dumps", "tofile"):
        with pytest.raises(fg.errors.TracerArrayConversionError):
            fg.jit(lambda x, name=name: getattr(x, name)())(M)
    assert fg.grad(lambda v: copy.deepcopy({"a": v})["a"].sum() + v.flat[2])(X).tolist() == [1, 1, 2, 1]


def test_casting_is_checked():
    with pytest.raises(TypeError, match="astype: the conversion is not allowed"):
        fnp.ones(2).astype(int, casting="safe")
    assert fnp.ones(2).astype("float32", order="C", copy=True).dtype == np.float32


def test_a_module_that_is_imported_later(monkeypatch):
    """Ufuncs of other libraries have counterparts once they are registered under the name of their module."""
    entropy = np.frompyfunc(lambda x: -x * np.log(x), 1, 1)
    register_later("library_of_ufuncs", lambda: {"entropy": lambda x: -x * fnp.log(x)})
    with pytest.raises(TypeError, match="has no funcgrad counterpart"):
        entropy(fnp.asarray(X))
    module = ModuleType("library_of_ufuncs")
    module.entropy = entropy
    monkeypatch.setitem(sys.modules, "library_of_ufuncs", module)
    np.testing.assert_allclose(np.asarray(fg.grad(lambda x: entropy(x).sum())(X)), -np.log(X) - 1, rtol=1e-12)


@pytest.mark.parametrize("f", [
    lambda x: special.expit(x) * special.erf(x), lambda x: special.gammaln(x) + special.xlogy(x, x), lambda x: special.i0(x),
    lambda x: special.gammainc(1.5, x) + special.betaln(x, 2.0) + special.psi(x),
])
def test_ufuncs_of_scipy(f):
    np.testing.assert_allclose(np.asarray(fg.jit(f)(X)), f(X), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(fg.vmap(f)(X)), f(X), rtol=1e-12)
    check_grads(f, (X,), order=2)
    with pytest.raises(TypeError, match="wright_bessel has no funcgrad counterpart"):
        fg.grad(lambda x: special.wright_bessel(1.0, 1.0, x))(1.0)


def test_arguments_go_by_their_names():
    """The order of arguments is NumPy's, whatever the order of the counterpart's."""
    x, w = fnp.asarray(X), np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(np.histogram(x, 3, (0.0, 3.0), True)[0], np.histogram(X, 3, (0.0, 3.0), True)[0])
    np.testing.assert_allclose(np.histogram(x, 3, None, None, w)[0], np.histogram(X, 3, None, None, w)[0])
    assert np.argsort(x, -1, "stable").tolist() == np.argsort(X, -1, "stable").tolist()
    assert np.isin(x, [0.3], kind="sort").tolist() == [True, False, False, False]
    assert np.concatenate([x, x], dtype="float32", casting="same_kind").dtype == np.float32
    assert np.einsum("i,i->i", x, x, dtype="float32").dtype == np.float32
    assert np.full_like(x, 2, order="F", shape=(2,)).tolist() == [2.0, 2.0]
    assert np.compress([True, False, True, False], x, 0).tolist() == [0.3, 2.5]
    assert np.array([1.0], like=x).tolist() == [1.0] and isinstance(np.arange(3, like=x), fg.Array)
    assert np.common_type(x, np.ones(2, "float32")) is np.float64
    with pytest.raises(TypeError, match="unexpected keyword|not supported"):
        np.take(x, [0], foo=1)


def test_tracers_never_become_object_arrays():
    for call in (lambda x: np.array([x[0], x[1]]), lambda x: np.asarray(x), lambda x: np.array(x, dtype=object)):
        for transform in (fg.grad, fg.jit, fg.vmap):
            with pytest.raises((fg.errors.TracerArrayConversionError, TypeError)):
                transform(call)(np.stack([X, X]) if transform is fg.vmap else X)


@pytest.mark.parametrize("call,error,text", [
    (lambda x: np.lib.stride_tricks.sliding_window_view(x, 5), ValueError, "sliding_window_view: the window does not fit"),
    (lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 2)), ValueError, "one size is needed for each axis"),
    (lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, 3), ValueError, "axis"),
    (lambda x: np.real_if_close(x + 0j), fg.errors.ConcretizationTypeError, r"real_if_close: the result depends on traced values"),
    (lambda x: np.trim_zeros(x), fg.errors.ConcretizationTypeError, "trim_zeros: the result depends on traced values"),
    (lambda x: np.nonzero(x), fg.errors.ConcretizationTypeError, "size=n"),
])
def test_what_needs_values_or_fits(call, error, text):
    with pytest.raises(error, match=text):
        fg.jit(call)(X)


def test_windows():
    x = fnp.asarray(M)
    windows = np.lib.stride_tricks.sliding_window_view
    for shape, axis in (((2, 3), None), (2, 1), ((2, 2), (0, 1)), ((2, 2), (1, 1)), ((2,), (-1,)), ((0, 1), None)):
        np.testing.assert_array_equal(np.asarray(windows(x, shape, axis)), windows(M, shape, axis))
    check_grads(lambda v: (windows(v, 3, axis=1) ** 2).sum(axis=-1), (M,), order=2)


def test_what_a_numpy_array_cannot_hold():
    """NumPy asks a traced value for its values: the error says what to write instead, and where the user called."""
    def assigns(x):
        a = np.zeros(3)
        a[0] = x[0]
        return a.sum()

    def makes(x):
        return np.full(3, x[0])

    for transform in (fg.grad, fg.jit):
        with pytest.raises(ValueError, match="setting an array element") as error:
            transform(assigns)(X)
        assert "fnp.asarray(a).at[i].set(x) instead of a[i] and a[i] = x" in str(error.value.__cause__)
        with pytest.raises(fg.errors.TracerArrayConversionError, match=r"in makes(.|\n)*np.stack\(\[x, y\]\) instead of np.array"):
            transform(makes)(X)


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
