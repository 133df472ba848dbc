"""The methods of NumPy's ufuncs on arrays and tracers: values for every ufunc, derivatives, batches, wrong calls."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

BINARY = sorted({u for u in (getattr(np, n) for n in dir(np)) if isinstance(u, np.ufunc) and u.nin == 2},
                key=lambda u: u.__name__)
# Columns are contiguous, because NumPy 2.4 itself reduces a contiguous row wrongly by power and arctan2.
FLOATS = np.asfortranarray([[0.3, 1.2, 2.5, 0.8, 1.7], [1.4, 0.6, 0.9, 2.2, 1.1]])
INTEGERS = np.asfortranarray([[6, 4, 9, 2, 5], [3, 8, 1, 2, 7]])
OF_BOOLS = {u for u in BINARY if u.__name__.startswith(("logical", "bitwise", "equal", "not", "less", "greater", "max", "min",
                                                        "add", "multiply"))}
CALLS = {
    "reduce": lambda u, x: u.reduce(x), "reduce, last axis": lambda u, x: u.reduce(x, axis=-1, keepdims=True),
    "reduce, all": lambda u, x: u.reduce(x, axis=(0, 1)), "reduce, empty": lambda u, x: u.reduce(x[:, :0], axis=1),
    "reduce, initial": lambda u, x: u.reduce(x, axis=1, initial=2),
    "reduce, where": lambda u, x: u.reduce(x, axis=1, initial=1, where=np.array([True, False, True, True, False])),
    "reduce, where, no initial": lambda u, x: u.reduce(x, axis=1, where=np.array([True, False, True, True, False])),
    "accumulate": lambda u, x: u.accumulate(x, axis=1), "accumulate, rows": lambda u, x: u.accumulate(x),
    "outer": lambda u, x: u.outer(x, x[0]), "reduceat": lambda u, x: u.reduceat(x, [0, 3, 1, 1, 4], axis=1),
}


@pytest.mark.parametrize("ufunc", BINARY)
def test_every_method_of_every_ufunc(ufunc):
    """What NumPy computes is computed alike; what it refuses is refused, or a value of a wider domain."""
    for x in (FLOATS, INTEGERS, FLOATS.astype("float32"), *[FLOATS > 1] * (ufunc in OF_BOOLS)):
        for name, call in CALLS.items():
            with np.errstate(all="ignore"):
                try:
                    expected = call(ufunc, x)
                except (TypeError, ValueError, RuntimeError):
                    continue
                if ufunc is np.ldexp and "reduce" in name:  # exponents are integers
                    continue
                if ufunc in (np.arctan2, np.power) and name == "reduceat":  # wrong in NumPy 2.4
                    continue
                actual = call(ufunc, fnp.asarray(x))
            for a, b in zip(actual if ufunc.nout > 1 else [actual], expected if ufunc.nout > 1 else [expected], strict=True):
                assert isinstance(a, fg.Array), name
                assert a.shape == np.shape(b), (name, x.dtype)
                if x.dtype in (np.float64, np.int64) and ufunc.__name__ not in ("left_shift", "ldexp"):
                    assert a.dtype == b.dtype, (name, x.dtype)
                np.testing.assert_allclose(np.asarray(a, dtype=float), np.asarray(b, dtype=float), rtol=1e-6 if
                                           x.dtype == np.float32 else 1e-13, err_msg=f"{name} {x.dtype}")


SMOOTH = [
    lambda x: np.maximum.reduce(x).sum() + np.minimum.reduce(x * x, axis=1).sum(),
    lambda x: np.add.accumulate(x * x, axis=1).prod(axis=1).sum(),
    lambda x: np.multiply.outer(x[0], x[1] ** 2).sum() + np.multiply.reduce(x, axis=None),
    lambda x: np.subtract.reduce(x ** 2, axis=1).sum() * np.divide.reduce(x, axis=0).sum(),
    lambda x: np.hypot.reduce(x, axis=None) + np.logaddexp.reduce(x, axis=1).prod(),
    lambda x: np.power.accumulate(x, axis=0).sum() + np.divide.accumulate(x, axis=1).sum(),
    lambda x: np.logaddexp2.accumulate(x, axis=1).sum() + np.maximum.accumulate(x ** 2, axis=1).sum(),
    lambda x: (np.add.reduceat(x, [0, 2, 1, 4], axis=1) ** 3).sum() + np.multiply.reduceat(x, [0, 3], axis=1).sum(),
    lambda x: np.maximum.reduceat(x * x, [0, 2], axis=1).sum() * np.arctan2.outer(x[0], x[1]).sum(),
    lambda x: np.add.reduce(x ** 2, where=x > 1, axis=0).sum() + np.multiply.reduce(x, axis=1, initial=2.0).sum(),
    lambda x: np.subtract.reduce(x ** 2, axis=1, initial=1.0, where=x > 1).sum() + np.fmax.reduce(x ** 3).sum(),
]


@pytest.mark.parametrize("f", SMOOTH)
def test_derivatives(f):
    check_grads(f, (FLOATS,), order=2)
    np.testing.assert_allclose(np.asarray(fg.jit(f)(FLOATS)), f(FLOATS), rtol=1e-13)
    stack = np.stack([FLOATS, FLOATS[::-1] + 0.1])
    np.testing.assert_allclose(np.asarray(fg.vmap(fg.grad(f))(stack)), [np.asarray(fg.grad(f)(x)) for x in stack], rtol=1e-12)


@pytest.mark.parametrize("call,error,text", [
    (lambda x: np.subtract.reduce(x, axis=None), ValueError, "the order of the elements matters(.|\n)*axis=i"),
    (lambda x: np.subtract.reduce(x[:, :0], axis=1), ValueError, "nothing to combine and no identity"),
    (lambda x: np.fmax.reduce(x, where=x > 1), ValueError, "where needs initial"),
    (lambda x: np.less.reduce(x), TypeError, "the results cannot be combined again"),
    (lambda x: np.sin.reduce(x), ValueError, "only supported for binary functions"),
    (lambda x: np.divmod.accumulate(x), ValueError, "returning a single value"),
    (lambda x: np.matmul.outer(x, x), TypeError, "non-trivial signature"),
    (lambda x: np.add.reduceat(x, [0, 7], axis=1), IndexError, "do not fit the axis"),
    (lambda x: np.add.reduce(x, axis=3), ValueError, "axis"),
    (lambda x: np.add.reduce(x, out=np.ones(5)), TypeError, "cannot be written into"),
])
def test_wrong_calls(call, error, text):
    for run in (lambda: call(fnp.asarray(FLOATS)), lambda: fg.grad(call)(FLOATS)):
        with pytest.raises(error, match=text):
            run()


@pytest.mark.parametrize("ufunc", [np.add, np.maximum, np.subtract, np.logaddexp])
def test_traced_indices_of_segments(ufunc):
    indices = np.array([0, 3, 1, 1, 4])
    for axis, x in ((1, FLOATS), (0, FLOATS.T)):
        expected = ufunc.reduceat(x, indices, axis=axis)
        f = fg.jit(lambda x, i, axis=axis: ufunc.reduceat(x, i, axis=axis))
        np.testing.assert_allclose(np.asarray(f(x, indices)), expected, rtol=1e-13)
        np.testing.assert_allclose(np.asarray(fg.jacrev(f)(x, indices)),
                                   np.asarray(fg.jacfwd(lambda x, axis=axis: ufunc.reduceat(x, indices, axis=axis))(x)), rtol=1e-12)


def test_an_argument_that_is_the_dtype():
    x = fnp.asarray(FLOATS)
    assert np.add(x, 1, dtype="float32").dtype == np.float32 and np.less(x, 1, dtype=bool).dtype == bool
    assert np.multiply.reduce(fnp.arange(4, dtype="int8")).dtype == np.int64
    assert np.add.reduce(x, dtype="float32").dtype == np.float32
    assert np.vecdot(x, x, axis=0).shape == (5,)
