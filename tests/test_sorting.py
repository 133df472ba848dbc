"""Sorting and searching: values against NumPy, NaN and ties, gradients, batching, staging, and the errors."""
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.numpy import sorting as ns
from funcgrad.ops import sorting as so
from funcgrad.transforms.derivatives import grad, jacfwd, jacrev
from funcgrad.transforms.vmap import Axis, vmap_flat

RNG = np.random.default_rng(5)
X = RNG.permutation(24).reshape(3, 4, 2) / 7.0
DTYPES = [np.dtype(d) for d in (bool, np.int8, np.uint64, np.float16, ml_dtypes.bfloat16, np.float32, np.complex64)]


def check(function, expected, *args):
    """Values and types, eager and staged."""
    out = function(*args)
    outs = out if isinstance(out, tuple) else (out,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for o, e in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(np.asarray(o).astype(np.asarray(e).dtype), e)
    jaxpr, _ = stage(lambda *xs: outs if not xs else _tuple(function(*xs)), [aval_of(x) for x in args])
    for o, a, st in zip(outs, jaxpr.out_avals, eval_jaxpr(jaxpr, args), strict=True):
        assert (a.shape, a.dtype) == (o.shape, o.dtype) == (st.shape, st.dtype)
        np.testing.assert_array_equal(np.asarray(st), np.asarray(o))


def _tuple(out):
    return out if isinstance(out, tuple) else (out,)


def check_vmap(function, *args):
    """vmap over every axis of the arguments equals a loop; each argument is mapped alone, and all together."""
    for d in range(args[0].ndim):
        for mapped in {(True,) * len(args), *[tuple(j == i for j in range(len(args))) for i in range(len(args))]}:
            outs, places = vmap_flat(lambda *xs: _tuple(function(*xs)), Axis(args[0].shape[d]),
                                     [DeviceArray(x if m else np.take(x, 0, d)) for x, m in zip(args, mapped, strict=True)],
                                     [d if m else None for m in mapped])
            for i in range(args[0].shape[d]):
                loop = _tuple(function(*[np.take(x, i if m else 0, d) for x, m in zip(args, mapped, strict=True)]))
                for o, place, e in zip(outs, places, loop, strict=True):
                    np.testing.assert_array_equal(np.take(np.asarray(o), i, place), np.asarray(e))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_sort_matches_numpy(dtype, axis):
    x = (RNG.integers(0, 5, (3, 4, 2))).astype(dtype)
    wide = x.astype(np.float32) if dtype.name == "bfloat16" else x
    check(lambda v: ns.sort(v, axis), np.sort(wide, axis), x)
    check(lambda v: ns.argsort(v, axis), np.argsort(wide, axis, kind="stable"), x)
    assert ns.sort(x, axis).dtype == dtype and ns.argsort(x, axis).dtype == np.int64


def test_nan_ties_and_signed_zero():
    x = np.array([1.0, 3.0, np.nan, 3.0, -0.0, 0.0])
    np.testing.assert_array_equal(np.asarray(ns.sort(x)), [0, 0, 1, 3, 3, np.nan])
    np.testing.assert_array_equal(np.signbit(np.asarray(ns.sort(x))[:2]), [True, False])
    assert ns.argsort(x).tolist() == [4, 5, 0, 1, 3, 2]
    assert ns.argsort(x, descending=True).tolist() == [2, 1, 3, 0, 4, 5]
    np.testing.assert_array_equal(np.asarray(ns.sort(x, descending=True)), [np.nan, 3, 3, 1, 0, 0])
    assert ns.argsort(x, dtype=np.int32).dtype == np.int32


def test_several_keys():
    a, b = RNG.integers(0, 3, (2, 4, 6))
    c = RNG.normal(size=(4, 6))
    order = np.lexsort((b, a), axis=1)
    expected = tuple(np.take_along_axis(v, order, 1) for v in (a, b, c))
    check(lambda *xs: so.sort(xs, dimension=1, num_keys=2), expected, a, b, c)
    check(lambda *xs: ns.lexsort(xs, axis=0), np.lexsort((a, b), axis=0), a, b)
    check(ns.lexsort, np.lexsort(np.stack([a, b])), np.stack([a, b]))
    keys, values = so.sort_key_val(a, c)
    order = np.argsort(a, axis=-1, kind="stable")
    np.testing.assert_array_equal(np.asarray(values), np.take_along_axis(c, order, -1))
    check_vmap(lambda x, y: so.sort((x, y)), a, c)


def test_derivatives_of_sort():
    x = np.array([2.0, 0.0, 3.0, 4.0, 1.0])
    order = np.argsort(x)
    for jacobian in (jacfwd, jacrev):
        np.testing.assert_array_equal(np.asarray(jacobian(ns.sort)(x)), np.eye(5)[order])
    weights = np.arange(1.0, 6.0)
    hessian = jacfwd(jacrev(lambda v: ns.sort(v * v) * weights))(x)
    expected = np.zeros((5, 5, 5))
    for place, i in enumerate(order):
        expected[place, i, i] = 2 * weights[place]
    np.testing.assert_allclose(np.asarray(hessian), expected)
    keys = np.array([3, 1, 2, 5, 4])
    moved = jacrev(lambda v: so.sort((keys, v))[1])(x)
    np.testing.assert_array_equal(np.asarray(moved), np.eye(5)[np.argsort(keys)])


def test_top_k():
    x = np.array([[1.0, 5.0, 3.0, 5.0], [2.0, np.nan, 0.0, 9.0]])
    check(lambda v: so.top_k(v, 3), (np.array([[5, 5, 3], [np.nan, 9, 2]]), np.array([[1, 3, 2], [1, 3, 0]])), x)
    assert so.top_k(x, 2)[1].dtype == np.int32
    values, positions = so.top_k(X, 2, axis=0)
    np.testing.assert_array_equal(np.asarray(values), -np.sort(-X, 0)[:2])
    np.testing.assert_array_equal(np.take_along_axis(X, np.asarray(positions), 0), np.asarray(values))
    v = np.array([3.0, 1.0, 4.0])
    for jacobian in (jacfwd, jacrev):
        np.testing.assert_array_equal(np.asarray(jacobian(lambda v: so.top_k(v, 2)[0])(v)), [[0, 0, 1], [1, 0, 0]])
    check_vmap(lambda v: so.top_k(v, 2), X)
    assert so.top_k(v, 0)[0].shape == (0,)


def test_take_along_and_its_transpose():
    indices = np.array([[0, 0, 3], [1, 1, 1]])
    x = RNG.normal(size=(2, 4))
    check(lambda v, i: so.take_along(v, i, 1), np.take_along_axis(x, indices, 1), x, indices)
    weights = RNG.normal(size=(2, 3))
    expected = np.zeros((2, 4))
    np.add.at(expected, (np.arange(2)[:, None], indices), weights)
    from funcgrad.ops.reduction import reduce_sum
    gradient = grad(lambda v: reduce_sum(so.take_along(v, indices, 1) * weights, (0, 1)))(x)
    np.testing.assert_allclose(np.asarray(gradient), expected)
    check_vmap(lambda v, i: so.take_along(v, i, 0), x, np.array([[1, 0, 1, 1], [0, 0, 0, 0]])[:, :4])


@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(side):
    table, x = np.array([1.0, 2.0, 2.0, 5.0]), np.array([[0.0, 2.0], [3.0, np.nan]])
    check(lambda a, v: ns.searchsorted(a, v, side), np.searchsorted(table, x, side), table, x)
    assert ns.searchsorted(table, 2).dtype == np.int64 and ns.searchsorted(table, 2).shape == ()
    shuffled = np.array([5.0, 2.0, 1.0, 2.0])
    sorter = np.argsort(shuffled, kind="stable")
    check(lambda v: ns.searchsorted(shuffled, v, side, sorter=sorter), np.searchsorted(table, x, side), x)
    tables = np.sort(RNG.normal(size=(3, 4)), 1)
    values = RNG.normal(size=(3, 4))
    for d, place in ((0, 0),):
        outs, places = vmap_flat(lambda a, v: [ns.searchsorted(a, v, side)], Axis(3),
                                 [DeviceArray(tables), DeviceArray(values)], [d, place])
        expected = np.stack([np.searchsorted(a, v, side) for a, v in zip(tables, values, strict=True)])
        np.testing.assert_array_equal(np.moveaxis(np.asarray(outs[0]), places[0], 0), expected)
    outs, places = vmap_flat(lambda a: [ns.searchsorted(a, values, side)], Axis(3), [DeviceArray(tables)], [0])
    np.testing.assert_array_equal(np.asarray(outs[0]), [np.searchsorted(a, values, side) for a in tables])
    outs, places = vmap_flat(lambda v: [ns.searchsorted(table, v, side)], Axis(4), [DeviceArray(values)], [1])
    assert places == [1]
    np.testing.assert_array_equal(np.asarray(outs[0]), np.searchsorted(table, values, side))


@pytest.mark.parametrize("right", [False, True])
def test_digitize(right):
    x = np.array([[0.0, 1.0, 1.5], [4.0, 9.0, -1.0]])
    for bins in (np.array([0.0, 1.0, 4.0]), np.array([4.0, 1.0, 0.0]), np.array([1.0]), np.zeros(0)):
        check(lambda v, b: ns.digitize(v, b, right), np.digitize(x, bins, right), x, bins)
    assert ns.digitize(x, np.arange(3.0)).dtype == np.int64


def test_partition():
    x = RNG.normal(size=(3, 9))
    for kth in (0, 4, -1):
        for axis in (0, 1):
            if axis == 0 and kth == 4:
                continue
            out = np.asarray(ns.partition(x, kth, axis))
            np.testing.assert_array_equal(np.sort(out, axis), np.sort(x, axis))
            np.testing.assert_array_equal(np.take(out, kth, axis), np.take(np.partition(x, kth, axis), kth, axis))
            positions = np.asarray(ns.argpartition(x, kth, axis))
            np.testing.assert_array_equal(np.take_along_axis(x, positions, axis), out)


def test_sort_complex():
    z = np.array([2 + 1j, 1 + 5j, 1 - 5j, 2])
    check(ns.sort_complex, np.sort_complex(z), z)
    assert ns.sort_complex(np.ones(2, np.int8)).dtype == np.complex64
    assert ns.sort_complex(np.ones(2, np.int64)).dtype == np.complex128


def test_vmap_is_a_loop():
    check_vmap(lambda v: ns.sort(v, 0), X)
    check_vmap(lambda v: ns.argsort(v, -1, descending=True), X)
    check_vmap(lambda v: ns.sort(v, None), X)


def test_gradient_under_vmap():
    outs, places = vmap_flat(lambda v: [grad(lambda u: weigh(ns.sort(u)))(v)], Axis(3), [DeviceArray(X[..., 0])], [0])
    expected = np.argsort(np.argsort(X[..., 0], 1), 1) + 1.0
    np.testing.assert_array_equal(np.moveaxis(np.asarray(outs[0]), places[0], 0), expected)


def weigh(v):
    from funcgrad.ops.reduction import reduce_sum
    return reduce_sum(v * np.arange(1.0, 5.0), (0,))


@pytest.mark.parametrize("call, error, text", [
    (lambda: ns.sort(X, 3), ValueError, "sort: axis 3 is out of bounds"),
    (lambda: ns.sort(np.float64(1)), ValueError, "sort: axis -1 is out of bounds"),
    (lambda: ns.sort(X, kind="quicksort"), TypeError, "sort: the arguments kind and order"),
    (lambda: ns.sort([1, 2]), TypeError, "sort: argument 0 is not an array"),
    (lambda: so.sort((X, X[0])), TypeError, "sort: the operands must have one shape"),
    (lambda: so.sort((X, X), num_keys=3), ValueError, "sort: num_keys does not fit"),
    (lambda: so.top_k(X, 3), ValueError, "top_k: k is out of range"),
    (lambda: so.top_k(X * 1j, 1), TypeError, "top_k: complex numbers"),
    (lambda: ns.lexsort(()), TypeError, "lexsort: need sequence of keys"),
    (lambda: ns.lexsort((X, X[0])), ValueError, "lexsort: all keys need to be the same shape"),
    (lambda: ns.searchsorted(X, 1.0), ValueError, "searchsorted: a should be 1-dimensional"),
    (lambda: ns.searchsorted(X[0, 0], 1.0, side="middle"), ValueError, "searchsorted: unknown side"),
    (lambda: ns.partition(X, 2), ValueError, "partition: axis 2"),
    (lambda: ns.digitize(X, X), ValueError, "digitize: bins must be"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
