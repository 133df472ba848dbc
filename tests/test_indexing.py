"""Indexing: every form of index against NumPy, read and written, at once and staged; gather and scatter."""
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from funcgrad import errors
from funcgrad.core.array import Array, install
from funcgrad.core.array import DeviceArray as D
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.numpy import selection as sel
from funcgrad.numpy.indexing import INDEXING, getitem
from funcgrad.ops import elementwise as e
from funcgrad.ops import indexing as ix
from funcgrad.ops.structural import sum_over as reduce_over
from funcgrad.test_util import check_grads
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import grad, jacfwd, jacrev, jvp, linear_transpose, vjp

install(Array, INDEXING)
_ = slice


def array(*values):
    return np.array(values)


ALL = slice(None)
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(3, 4, 5))
MASK = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 1]], bool)
ROWS = np.array([True, False, True])
EMPTY = np.zeros(0, int)
BLOCK = np.array([[0, 1], [2, 0]])
COLUMN = np.array([[0], [1]])

STATIC = [
    (0,), (-1,), (1, 2), (1, -1, 3), (np.int64(1),), (np.uint8(2), -3), (_(1, None),), (_(None, None, -1),),
    (_(None, None, 2), _(None, None, -2)), (_(2, 0, -1),), (_(5, 5),), (_(3, 1),), (_(-2, None),), (_(-100, 100),),
    (ALL, _(1, 3), _(None, None, 2)), (...,), (None,), (..., None), (None, 0), (0, ..., None), (..., 0),
    (None, ..., 1, None), (1, None, _(None, None, -1)), (), (ALL, None, 2), (ALL, ALL, ALL, ...), (_(0, 0, -1),),
    (0, _(3, 4), _(4, 0, -3)),
]
ARRAYS = [
    (array(0, 2),), (BLOCK,), (array(0, 0, 1),), (array(-1, 0),), (ALL, array(1, 3)), (..., array(1, 3)),
    (array(0, 1), array(1, 2)), (array(0, 1), ALL, array(1, 2)), (0, ALL, array(1, 2)), (0, array(1, 2)),
    (array(1, 2), 0), (ALL, 0, array(1, 2)), (array(0, 1), ..., 2), (array(1), array(0, 2), array(3, 4)),
    (COLUMN, array(1, 2, 3)), (ALL, COLUMN, array(1, 2, 3)), (array(0, 1), None, array(1, 2)), (None, array(0, 1)),
    (array(0, 1), None), (_(1, None), array(0, 1)), (_(1, None), array(0, 1), _(None, None, 2)),
    (array(0, 2), _(None, None, -1)), (array(0, 2), _(1, 3), -1), (None, array(0), ALL, array(1), None), (EMPTY,),
    (ALL, np.zeros((0, 2), int)), (array(0, 1, -1).astype(np.int8),), (array(0, 1, 2).astype(np.uint8),),
    (array(0, 2).astype(np.uint64), ALL), (np.array(1),), (np.array(1), ALL, np.array(-2)),
    (np.array(1), array(1, 2)),
    (ALL, np.array(2)), (np.array(1), ALL, array(0, 1)), (array(0, 1), ..., array(1, 2)),
    (array(0, 1), array(0, 1), ..., array(1, 2)), (array(1, 1, 1), array(2, 2, 0)), (ALL, array(0, 0), _(1, 3)),
    (array(2, 0, 1), array(1, 0, 3), array(4, 0, 0)), (0, 1, array(0, 2)), (array(0), _(1, 1)), (BLOCK, ALL, BLOCK),
    (array(0, 0), _(3, 0, -1), array(1, 1)), (ALL, ALL, _(4, None, -2), None, ...),
]
MASKS = [
    (ROWS,), (MASK,), (MASK, 0), (0, MASK[0]), (ALL, MASK[0]), (ROWS, ALL, array(1, 2)), (X > 0,), (True,), (False,),
    (None, True), (0, True, ALL), (..., True), (array(0, 1), True), (np.zeros((3, 4), bool),), (MASK, None),
    (np.bool_(True), MASK), (ALL, True, array(0)), (False, array(0)),
]
FORMS = STATIC + ARRAYS + MASKS


def name(index):
    return ",".join(str(p).replace("\n", "").replace("slice", "").replace(" ", "") for p in index)[:50] or "()"


def same(result, expected):
    result = np.asarray(result)
    assert result.shape == expected.shape and result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


def device(x):
    return x if isinstance(x, Array) else D(x)


def staged(f, *args):
    """f recorded as a program and run."""
    program, captured = stage(lambda *xs: [f(*xs)], [x.aval for x in args])
    return eval_jaxpr(program, [*captured, *args])[0]


def on_device(index):
    return tuple(D(part) if isinstance(part, np.ndarray) else part for part in index)


def with_arrays(index, arrays):
    given = iter(arrays)
    return tuple(next(given) if isinstance(part, np.ndarray) else part for part in index)


WRITES = {"set": None, "add": np.add, "multiply": np.multiply, "max": np.maximum, "min": np.minimum,
          "subtract": np.subtract}


def written(what, index, values, x=X):
    out = x.copy()
    if what == "set":
        out[index] = values
    else:
        WRITES[what].at(out, index, values)
    return out


def total(x):
    return reduce_over(x, tuple(range(len(x.shape))))


def test_the_table_is_large():
    assert len(FORMS) >= 60


@pytest.mark.parametrize("index", FORMS, ids=name)
def test_forms_read_and_written(index):
    expected = X[index]
    values = GENERATOR.normal(size=expected.shape)
    i = on_device(index)
    same(D(X)[i], expected)
    same(D(X)[index[0]] if len(index) == 1 else D(X)[index], expected)
    same(staged(lambda x: x[i], D(X)), expected)
    for what in WRITES:
        after = written(what, index, values)
        same(getattr(D(X).at[i], what)(D(values)), after)
        same(staged(lambda x, v, what=what: getattr(x.at[i], what)(v), D(X), D(values)), after)
    same(D(X).at[index].set(7), written("set", index, 7.0))


@pytest.mark.parametrize("index", [i for i in ARRAYS if any(isinstance(p, np.ndarray) for p in i)], ids=name)
def test_forms_with_traced_indices(index):
    expected = X[index]
    values = GENERATOR.normal(size=expected.shape)
    arrays = [D(part) for part in index if isinstance(part, np.ndarray)]
    for mode in (None, "clip", "fill", "wrap", "promise_in_bounds"):
        same(staged(lambda x, *a, m=mode: x.at[with_arrays(index, a)].get(mode=m), D(X), *arrays), expected)
        for what in ("set", "add"):
            same(staged(lambda x, v, *a, m=mode, w=what: getattr(x.at[with_arrays(index, a)], w)(v, mode=m),
                        D(X), D(values), *arrays), written(what, index, values))


@pytest.mark.parametrize("index", FORMS, ids=name)
def test_derivatives_are_exact(index):
    """Reading and writing are linear, so that the transpose can be compared with one matrix, exactly."""
    i = on_device(index)
    shape = X[index].shape
    ct = GENERATOR.normal(size=shape)
    expected = np.zeros_like(X)
    np.add.at(expected, index, ct)
    pull = vjp(lambda x: x[i], D(X))[1]
    np.testing.assert_allclose(np.asarray(pull(D(ct))[0]), expected, rtol=1e-14)
    values, direction = GENERATOR.normal(size=shape), GENERATOR.normal(size=X.shape)
    dot = GENERATOR.normal(size=shape)
    out, out_dot = jvp(lambda x, v: x.at[i].set(v), (D(X), D(values)), (D(direction), D(dot)))
    same(out, written("set", index, values))
    same(out_dot, written("set", index, dot, direction))
    ct_x, ct_v = vjp(lambda x, v: x.at[i].set(v), D(X), D(values))[1](D(direction))
    kept = written("set", index, 0.0, direction)
    same(ct_x, kept)
    winners = np.full(X.shape, -1)
    numbers = np.arange(ct.size).reshape(shape)
    winners[index] = numbers
    same(ct_v, np.where(winners[index] == numbers, direction[index], 0.0))
    ct_x, ct_v = vjp(lambda x, v: x.at[i].add(v), D(X), D(values))[1](D(direction))
    same(ct_x, direction)
    same(ct_v, direction[index])


@pytest.mark.parametrize("index", STATIC[::3] + ARRAYS[::2], ids=name)
def test_vmap_is_a_loop(index):
    xs = GENERATOR.normal(size=(2, *X.shape))
    vs = GENERATOR.normal(size=(2, *X[index].shape))
    i = on_device(index)
    same(vmap(lambda x: x[i])(xs), np.stack([x[index] for x in xs]))
    same(vmap(lambda x: x[i], in_axes=-1, out_axes=-1)(np.moveaxis(xs, 0, -1)), np.stack([x[index] for x in xs], -1))
    for what in ("set", "add", "multiply"):
        expected = np.stack([written(what, index, v, x) for x, v in zip(xs, vs, strict=True)])
        same(vmap(lambda x, v, w=what: getattr(x.at[i], w)(v))(xs, vs), expected)
        same(vmap(lambda v, w=what: getattr(D(X).at[i], w)(v))(vs), np.stack([written(what, index, v) for v in vs]))


@pytest.mark.parametrize("index", [i for i in ARRAYS if any(isinstance(p, np.ndarray) for p in i)], ids=name)
def test_vmap_over_indices_is_a_loop(index):
    xs = GENERATOR.normal(size=(3, *X.shape))
    vs = GENERATOR.normal(size=(3, *X[index].shape))
    arrays = [np.stack([part, part % 2, part * 0]) for part in index if isinstance(part, np.ndarray)]

    def example(k):
        return with_arrays(index, [a[k] for a in arrays])

    same(vmap(lambda *a: D(X)[with_arrays(index, a)])(*arrays), np.stack([X[example(k)] for k in range(3)]))
    same(vmap(lambda x, *a: x[with_arrays(index, a)])(xs, *arrays), np.stack([xs[k][example(k)] for k in range(3)]))
    for what in ("set", "add"):
        expected = np.stack([written(what, example(k), vs[k], xs[k]) for k in range(3)])
        same(vmap(lambda x, v, *a, w=what: getattr(x.at[with_arrays(index, a)], w)(v))(xs, vs, *arrays), expected)
        expected = np.stack([written(what, example(k), vs[0]) for k in range(3)])
        same(vmap(lambda *a, w=what: getattr(D(X).at[with_arrays(index, a)], w)(vs[0]))(*arrays), expected)


@pytest.mark.parametrize("index", ARRAYS[::3], ids=name)
def test_finite_differences_to_second_order(index):
    i, shape = on_device(index), X[index].shape
    check_grads(lambda x: x[i] * x[i], (D(X),), 2)
    values = GENERATOR.normal(size=shape)
    check_grads(lambda x, v: e.sin(x).at[i].set(v * v) * x, (D(X), D(values)), 2)
    check_grads(lambda x, v: e.sin(x).at[i].add(v * v) * x, (D(X), D(values)), 2)
    check_grads(lambda x: e.sin(x).at[i].multiply(values) * x, (D(X),), 2)


@pytest.mark.parametrize("what", ["multiply", "min", "max"])
def test_updates_that_are_not_linear(what):
    i = D(array(2, 0))
    v = D(GENERATOR.normal(size=(2, 4, 5)))
    check_grads(lambda x, v: getattr(e.sin(x).at[i], what)(v), (D(X), v), 2)
    check_grads(lambda x, v: vmap(lambda x, v: getattr(e.sin(x).at[1:3, i], what)(v), in_axes=(0, 1))(x, v),
                (D(X), D(GENERATOR.normal(size=(2, 3, 2)))), 2)


def test_ties_of_extrema_share_the_gradient():
    g = grad(lambda x, v: total(x.at[D(array(0, 0))].max(v)), argnums=(0, 1))
    g_x, g_v = g(D(array(1.0, 5.0)), D(array(1.0, 1.0)))
    np.testing.assert_allclose(np.asarray(g_x), [1 / 3, 1])
    np.testing.assert_allclose(np.asarray(g_v), [1 / 3, 1 / 3])


def test_derivative_of_updates_multiplied_twice_is_refused():
    def f(v, i):
        return total(D(array(1.0, 2.0)).at[i].multiply(v))

    with pytest.raises(errors.MissingRuleError, match="scatter_mul.*\n.*several times"):
        grad(f)(D(array(2.0, 3.0)), D(array(0, 0)))
    same(grad(f)(D(array(2.0, 3.0)), D(array(1, 0))), array(2.0, 1.0))  # indices with values are seen to be unique
    same(grad(lambda v: total(D(array(1.0, 2.0)).at[1].divide(v)))(D(np.array(4.0))), np.array(-2 / 16))


def test_divide_power_apply():
    x, i = array(1.0, 2.0, 3.0), D(array(2, 0))
    same(D(x).at[i].divide(array(2.0, 4.0)), array(0.25, 2.0, 1.5))
    same(D(x).at[i].power(2.0), array(1.0, 2.0, 9.0))
    same(D(x).at[1:].apply(e.square), array(1.0, 4.0, 9.0))
    same(D(array(1, 2)).at[0].divide(2), array(0.5, 2.0))
    check_grads(lambda x, v: device(x).at[i].divide(v), (D(x), D(array(2.0, 4.0))), 2)
    check_grads(lambda x: device(x).at[i].apply(e.sin), (D(x),), 2)
    assert repr(D(x).at) == "At(Array([1., 2., 3.], dtype=float64))"


# ---------------------------------------------------------------- modes, errors, dtypes


MODES = [("clip", [4.0, 0.0, 3.0]), ("fill", [np.nan, np.nan, 3.0]), ("drop", [np.nan, np.nan, 3.0]),
         ("wrap", [2.0, 3.0, 3.0])]


@pytest.mark.parametrize("mode, expected", MODES)
def test_modes_out_of_bounds(mode, expected):
    x, i, v = D(np.arange(5.0)), array(7, -7, -2), np.ones(3)
    for index in (i, D(i)):
        same(x.at[index].get(mode=mode), np.array(expected))
    same(staged(lambda x, i: x.at[i].get(mode=mode), x, D(i)), np.array(expected))
    added = np.arange(5.0)
    for k in {"clip": (4, 0, 3), "fill": (3,), "drop": (3,), "wrap": (2, 3, 3)}[mode]:
        added[k] += 1
    same(x.at[i].add(v, mode=mode), added)
    same(staged(lambda x, i: x.at[i].add(v, mode=mode), x, D(i)), added)
    check_grads(lambda x: device(x).at[i].get(mode=mode, fill_value=0.0), (x,), 2)
    check_grads(lambda x, v: device(x).at[i].set(v, mode=mode), (x, D(v)), 2)
    check_grads(lambda x, v: device(x).at[i].add(v, mode=mode), (x, D(v)), 2)


def test_fill_values():
    i = array(0, 9)
    assert D(array(1, 2)).at[i].get(mode="fill").tolist() == [1, np.iinfo(np.int64).min]
    assert D(array(1, 2).astype(np.uint8)).at[i].get(mode="fill").tolist() == [1, 255]
    assert D(array(False, True)).at[i].get(mode="fill").tolist() == [False, True]
    assert D(array(1.0, 2.0)).at[i].get(mode="fill", fill_value=-1).tolist() == [1.0, -1.0]
    assert D(array(1.0, 2.0)).at[9].get(mode="fill", fill_value=-1).tolist() == -1.0
    same(grad(lambda x: total(x.at[i].get(mode="fill", fill_value=3.0)))(D(array(1.0, 2.0))), array(1.0, 0.0))
    assert D(array(1.0, 2.0)).at[-1].get(mode="fill").tolist() == 2.0
    assert D(array(1.0, 2.0)).at[array(-1)].get(mode="fill", wrap_negative_indices=False,
                                                fill_value=0).tolist() == [0.0]


WRONG = [
    (3, IndexError, "index 3 is out of bounds for axis 0 with size 3"),
    (-4, IndexError, "index -4 is out of bounds for axis 0 with size 3"),
    ((0, 4), IndexError, "index 4 is out of bounds for axis 1 with size 4"),
    ((ALL, array(0, 9)), IndexError, "index 9 is out of bounds for axis 1 with size 4"),
    ((ALL, None, array(-9)), IndexError, "index -9 is out of bounds for axis 1 with size 4"),
    ((0, 0, 0, 0), IndexError, "too many indices: the array has 3 axes, but 4"),
    ((..., 0, ...), IndexError, "only one ellipsis"),
    (np.zeros((3, 3), bool), IndexError, "boolean index did not match.*axis 1.*size of axis is 4.*axis is 3"),
    ((array(0, 1), array(0, 1, 2)), IndexError, "index arrays do not broadcast"),
    ([0.5, 1.0], TypeError, "must hold integers or bools[\\s\\S]*float64"),
    (["a"], TypeError, "an element of the sequence is not a number"),
    (((0, 1),), TypeError, "a tuple in a tuple is not an index[\\s\\S]*fnp.array"),
    (1.0, TypeError, "not an index[\\s\\S]*1.0 of type float"),
    ("a", TypeError, "not an index"),
    (array(0.0, 1.0), TypeError, "must hold integers or bools[\\s\\S]*float64"),
    (slice(0.5, None), TypeError, "bounds of a slice must be integers"),
]


@pytest.mark.parametrize("index, error, text", WRONG, ids=lambda x: str(x)[:30])
def test_errors(index, error, text):
    on = tuple(D(p) if isinstance(p, np.ndarray) else p for p in index) if isinstance(index, tuple) else index
    for attempt in (lambda x: x[index], lambda x: x[on], lambda x: x.at[on].set(0.0), lambda x: x.at[on].add(0.0)):
        with pytest.raises(error, match=text):
            attempt(D(X))
        with pytest.raises(error, match=text):
            stage(lambda x, attempt=attempt: [attempt(x)], [D(X).aval])


def test_errors_of_traced_indices():
    x, i = D(array(1.0, 2.0)), D(array(0, 5))
    for f in (lambda x, i: x[i], lambda x, i: x.at[i].set(1.0), lambda x, i: x.at[i].add(1.0)):
        program, _captured = stage(lambda x, i, f=f: [f(x, i)], [x.aval, i.aval])
        with pytest.raises(IndexError, match="index 5 is out of bounds for axis 0 with size 2"):
            eval_jaxpr(program, [x, i])
    with pytest.raises(errors.NonConcreteBooleanIndexError,
                       match="traced boolean mask[\\s\\S]*fnp.where\\(mask, x, 0\\)"):
        staged(lambda x, m: x[m], x, D(array(True, False)))
    with pytest.raises(errors.TracerIntegerConversionError, match="slice has a traced bound[\\s\\S]*dynamic_slice"):
        staged(lambda x, i: x[:i], x, D(np.array(1)))
    with pytest.raises(ValueError, match="unknown mode"):
        x.at[i].get(mode="nonsense")
    with pytest.raises(TypeError, match="immutable[\\s\\S]*at\\[index\\]"):
        x[0] = 1.0


def test_updates_that_do_not_fit():
    with pytest.raises(TypeError, match="float64 values do not fit into an array of int64"):
        D(array(1, 2)).at[0].set(1.5)
    with pytest.raises(TypeError, match="complex128 values do not fit into an array of float64"):
        D(array(1.0)).at[0].add(1j)
    with pytest.raises(TypeError, match="int64 values do not fit into an array of bool"):
        D(array(True)).at[0].set(2)
    with pytest.raises(ValueError, match=r"do not broadcast[\s\S]*shape \(3,\) for elements of shape \(2,\)"):
        D(array(1.0, 2.0)).at[:].set(np.ones(3))
    with pytest.raises(TypeError, match="the values are a list"):
        D(array(1.0, 2.0)).at[:].set([1.0, 2.0])
    with pytest.raises(TypeError, match="bools cannot be subtracted"):
        D(array(True)).at[0].subtract(True)
    same(D(array(1.0, 2.0).astype(np.float32)).at[0].set(np.float64(0.1)), array(0.1, 2.0).astype(np.float32))
    same(D(np.zeros((2, 2))).at[0].set(np.ones((1, 1, 2))), array([1.0, 1.0], [0.0, 0.0]))


def test_traced_masks_with_scalar_values():
    x, m = D(X), D(MASK)
    for what in ("set", "add", "multiply", "min", "max"):
        same(staged(lambda x, m, w=what: getattr(x.at[m], w)(0.5), x, m), written(what, MASK, 0.5))
    same(vmap(lambda x, m: x.at[m].set(0.0))(np.stack([X, X]), np.stack([MASK, ~MASK])),
         np.stack([written("set", MASK, 0.0), written("set", ~MASK, 0.0)]))
    with pytest.raises(errors.NonConcreteBooleanIndexError):
        staged(lambda x, m: x.at[m].set(x[0, 0, :1]), x, m)


DTYPES = ["bool", "int8", "int32", "uint8", "uint64", "float16", "bfloat16", "float32", "complex64", "complex128"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype):
    dtype = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    x = np.arange(12).reshape(3, 4).astype(dtype)
    v = np.ones((4, 4), dtype)
    i = array(0, 2, 2, 0)
    for index in ((i,), (0,), (i, i), (ALL, array(1, 1)), (1, 2), (x.astype(bool),)):
        same(D(x)[on_device(index)], x[index])
        same(staged(lambda x, index=index: x[on_device(index)], D(x)), np.asarray(x[index]))
    for what in ("set", "add", "multiply"):
        expected = written(what, (i,), v, x)
        same(getattr(D(x).at[i], what)(D(v)), expected)
        same(staged(lambda x, i, w=what: getattr(x.at[i], w)(v), D(x), D(i)), expected)
    if dtype.kind in "fcV":
        g = vjp(lambda x: x[D(i)], D(x))[1](D(v))[0]
        same(g, written("add", (i,), v, np.zeros_like(x)))


def test_sizes_of_zero():
    x = D(np.zeros((0, 3)))
    same(x[EMPTY], np.zeros((0, 3)))
    same(x[:, 1], np.zeros(0))
    same(x[:, array(0, 0)], np.zeros((0, 2)))
    same(x.at[EMPTY].set(1.0), np.zeros((0, 3)))
    same(staged(lambda x, i: x[i], x, D(EMPTY)), np.zeros((0, 3)))
    same(staged(lambda x, i: x.at[i].add(1.0), D(np.ones((2, 3))), D(EMPTY)), np.ones((2, 3)))
    same(vmap(lambda x, i: x[i])(np.zeros((0, 4)), np.zeros((0, 2), int)), np.zeros((0, 2)))
    with pytest.raises(IndexError, match="index 0 is out of bounds for axis 0 with size 0"):
        staged(lambda x, i: x[i], x, D(array(0)))
    with pytest.raises(IndexError, match="size 0"):
        x[0]


def test_a_scalar_can_be_indexed():
    x = D(np.float64(3.0))
    same(x[()], np.array(3.0))
    same(x[None, ...], np.array([3.0]))
    same(x.at[()].set(4.0), np.array(4.0))
    same(x.at[...].add(4.0), np.array(7.0))
    same(x[True], np.array([3.0]))
    with pytest.raises(IndexError, match="too many indices"):
        x[0]


def test_static_indices_are_views_and_never_gathers():
    x = D(X)
    program, _captured = stage(lambda x: [x[2], x[1:3, ::2], x[..., None], x[::-1]], [x.aval])
    assert {str(q.primitive) for q in program.equations} <= {"slice", "reshape", "rev"}
    assert np.shares_memory(x[1:]._data, x._data)


def test_promises_about_duplicates():
    i = D(array(0, 1))
    program, _captured = stage(lambda x, v: [x.at[i].set(v)], [D(X).aval, D(X[:2]).aval])
    assert program.equations[-1].params["unique_indices"]
    program, _captured = stage(lambda x, v, i: [x.at[i].set(v)], [D(X).aval, D(X[:2]).aval, i.aval])
    assert not program.equations[-1].params["unique_indices"]


# ---------------------------------------------------------------- gather, scatter, dynamic_slice as in lax


def test_gather_of_windows():
    x = np.arange(20.0).reshape(4, 5)
    dn = ix.GatherDimensionNumbers(offset_dims=(1, 2), collapsed_slice_dims=(), start_index_map=(1, 0))
    i = array([0, 0], [3, 1], [9, -9])
    same(ix.gather(D(x), i, dn, (2, 3), mode="clip"), np.stack([x[0:2, 0:3], x[1:3, 2:5], x[0:2, 2:5]]))
    filled = ix.gather(D(x), i, dn, (2, 3), mode=ix.GatherScatterMode.FILL_OR_DROP, fill_value=0)
    same(filled, np.stack([x[0:2, 0:3], 0 * x[:2, :3], 0 * x[:2, :3]]))
    assert hash(dn) == hash(ix.GatherDimensionNumbers((1, 2), (), (1, 0)))
    for mode in ("clip", "fill"):
        check_grads(lambda x, mode=mode: ix.gather(x * x, D(i), dn, (2, 3), mode=mode, fill_value=0), (D(x / 9),), 2)
    with pytest.raises(TypeError, match="the window must fit into the operand"):
        ix.gather(D(x), i, dn, (5, 3))
    with pytest.raises(TypeError, match="indices must be integers"):
        ix.gather(D(x), i * 1.0, dn, (2, 3))
    with pytest.raises(TypeError, match="one component for each axis"):
        ix.gather(D(x), i[:, :1], dn, (2, 3))


def test_scatter_of_overlapping_windows():
    x, u = np.zeros((4, 5)), GENERATOR.normal(size=(3, 2, 3))
    dn = ix.ScatterDimensionNumbers(update_window_dims=(1, 2), inserted_window_dims=(),
                                    scatter_dims_to_operand_dims=(0, 1))
    i = array([0, 0], [1, 1], [2, 4])
    last, added = x.copy(), x.copy()
    for k, (a, b) in enumerate(i[:2]):
        last[a:a + 2, b:b + 3] = u[k]
        added[a:a + 2, b:b + 3] += u[k]
    same(ix.scatter(D(x), i, u, dn), last)
    same(ix.scatter_add(D(x), i, u, dn), added)
    same(ix.scatter_sub(D(x), i, u, dn), -added)
    same(ix.scatter_max(D(x - 9), i, u, dn) + 9,
         np.where(added == 0, 0, np.asarray(ix.scatter_max(D(x - 9), i, u, dn)) + 9))
    for mode in ("drop", "clip"):
        for f in (ix.scatter, ix.scatter_add):
            check_grads(lambda x, u, f=f, mode=mode: f(x * x, D(i), u * u, dn, mode=mode), (D(X[0]), D(u)), 2)
    same(ix.scatter_apply(D(x), i[:2], e.exp, dn, update_shape=(2, 2, 3)), np.where(added != 0, 1.0, 0.0))
    with pytest.raises(TypeError, match="operand and updates differ in dtype"):
        ix.scatter(D(x), i, u.astype(np.float32), dn)
    with pytest.raises(TypeError, match="updates do not fit"):
        ix.scatter(D(x), i, u[:2], dn)


def test_gather_is_transposed_only_when_linear():
    dn = ix.GatherDimensionNumbers((), (0,), (0,))
    i = array([0], [9])
    pull = linear_transpose(lambda x: ix.gather(x, i, dn, (1,), mode="clip"), D(np.zeros(3)))
    same(pull(D(array(1.0, 2.0)))[0], array(1.0, 0.0, 2.0))
    with pytest.raises(errors.MissingRuleError, match="a constant that is not zero"):
        linear_transpose(lambda x: ix.gather(x, i, dn, (1,), mode="fill"), D(np.zeros(3)))(D(array(1.0, 2.0)))


STARTS = [(0, 0), (1, 2), (-1, -2), (9, 9), (-9, 1)]


def clamped(start, n, size):
    return min(max(start + n if start < 0 else start, 0), n - size)


@pytest.mark.parametrize("start", STARTS)
def test_dynamic_slices_are_clamped(start):
    x, u = np.arange(20.0).reshape(4, 5), -np.ones((2, 3))
    a, b = clamped(start[0], 4, 2), clamped(start[1], 5, 3)
    expected = x.copy()
    expected[a:a + 2, b:b + 3] = u
    traced = [D(np.array(s)) for s in start]
    for starts in (start, traced, D(np.array(start)), (traced[0], start[1])):
        same(ix.dynamic_slice(D(x), starts, (2, 3)), x[a:a + 2, b:b + 3])
        same(ix.dynamic_update_slice(D(x), D(u), starts), expected)
    same(staged(lambda x, s, t: ix.dynamic_slice(x, (s, t), (2, 3)), D(x), *traced), x[a:a + 2, b:b + 3])
    check_grads(lambda x: ix.dynamic_slice(x * x, traced, (2, 3)), (D(x / 9),), 2)
    check_grads(lambda x, u: ix.dynamic_update_slice(x * x, u * u, traced), (D(x / 9), D(u)), 2)


def test_dynamic_slices_under_vmap():
    xs, starts = GENERATOR.normal(size=(3, 4, 5)), array(-1, 1, 9)
    us = GENERATOR.normal(size=(3, 2, 5))
    places = [clamped(s, 4, 2) for s in starts]
    windows = np.stack([x[a:a + 2] for x, a in zip(xs, places, strict=True)])
    updated = xs.copy()
    for k, a in enumerate(places):
        updated[k, a:a + 2] = us[k]
    same(vmap(lambda x, s: ix.dynamic_slice_in_dim(x, s, 2))(xs, starts), windows)
    same(vmap(lambda s: ix.dynamic_slice_in_dim(D(xs[0]), s, 2))(starts), np.stack([xs[0][a:a + 2] for a in places]))
    same(vmap(lambda x: ix.dynamic_slice(x, (D(np.array(9)), 0), (2, 5)))(xs), xs[:, 2:])
    same(vmap(lambda x, u, s: ix.dynamic_update_slice_in_dim(x, u, s, 0))(xs, us, starts), updated)
    same(vmap(lambda u: ix.dynamic_update_slice_in_dim(D(xs[0]), u, D(np.array(1)), 0))(us)[:, 1:3], us)
    check_grads(vmap(lambda x, u, s=1: ix.dynamic_update_slice_in_dim(x * x, u, s, 0)), (D(xs), D(us)), 2)
    check_grads(lambda x: vmap(lambda x, s: ix.dynamic_slice_in_dim(x * x, s, 2))(x, starts), (D(xs),), 2)


def test_slices_of_one_axis():
    x = np.arange(12.0).reshape(3, 4)
    i = D(np.array(1))
    same(ix.dynamic_slice_in_dim(D(x), i, 2, axis=1), x[:, 1:3])
    same(ix.dynamic_index_in_dim(D(x), i, axis=-1), x[:, 1:2])
    same(ix.dynamic_index_in_dim(D(x), i, keepdims=False), x[1])
    same(ix.dynamic_update_index_in_dim(D(x), np.zeros(3), i, 1), written("set", (ALL, 1), 0.0, x))
    same(ix.index_in_dim(D(x), -1, axis=1, keepdims=False), x[:, -1])
    same(ix.index_take(D(x), (array(0, -1), array(1, 2)), (0, 1)), x[[0, -1], [1, 2]])
    with pytest.raises(IndexError, match="index 4 is out of bounds for axis 1 with size 4"):
        ix.index_in_dim(D(x), 4, axis=1)
    with pytest.raises(TypeError, match="window does not fit"):
        ix.dynamic_slice(D(x), (0, 0), (4, 4))
    with pytest.raises(TypeError, match="must be an integer without axes"):
        ix.dynamic_slice(D(x), (D(np.array(0.5)), 0), (1, 1))


def test_jacobians_of_writing_twice():
    """Forward and reverse mode agree on which update wins."""
    i = D(array(1, 1, 0))
    f = lambda v: D(np.zeros(3)).at[i].set(v)  # noqa: E731
    expected = np.array([[0.0, 0, 1], [0, 1, 0], [0, 0, 0]])
    v = D(array(1.0, 2.0, 3.0))
    same(jacfwd(f)(v), expected)
    same(jacrev(f)(v), expected)
    g = lambda v, i: D(np.zeros(3)).at[i].set(v)  # noqa: E731
    same(vmap(jacrev(g), in_axes=(None, 0))(v, np.array([[1, 1, 0], [2, 2, 2]]))[1],
         np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 1]]))


# ---------------------------------------------------------------- functions that select


def test_take():
    for axis in (None, 0, 1, -1):
        for i in (array(0, 2), BLOCK, np.array(1), EMPTY):
            same(sel.take(X, i, axis), np.take(X, i, axis))
    same(sel.take(X, 1, 1), np.take(X, 1, 1))
    same(sel.take(X, array(9, -1), 1, mode="clip"), X[:, [X.shape[1] - 1, 0]])
    assert np.isnan(np.asarray(sel.take(X, array(9), 1, mode="fill"))).all()
    with pytest.raises(IndexError, match="index 9 is out of bounds for axis 1"):
        sel.take(X, array(9), 1)
    with pytest.raises(NotImplementedError, match="out="):
        sel.take(X, array(0), out=X)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_take_and_put_along_axis(axis):
    i = np.argsort(X, axis=axis)
    same(sel.take_along_axis(X, i, axis), np.take_along_axis(X, i, axis))
    one = np.expand_dims(np.argmax(X, axis=axis), axis)
    same(sel.take_along_axis(X, one - X.shape[axis], axis), np.take_along_axis(X, one, axis))
    small = i[(slice(None, None),) * (axis % 3) + (slice(0, 1),)][:1] if axis != 0 else i[:2, :1, :1]
    same(sel.take_along_axis(X, small, axis), np.take_along_axis(X, np.broadcast_to(
        small, [small.shape[d] if d == axis % 3 else n for d, n in enumerate(X.shape)]), axis))
    expected = X.copy()
    np.put_along_axis(expected, one, 9.0, axis)
    same(sel.put_along_axis(D(X), one, 9.0, axis, inplace=False), expected)
    check_grads(lambda x: sel.take_along_axis(x * x, D(i), axis), (D(X),), 2)
    same(vmap(lambda x, i: sel.take_along_axis(x, i, 0))(X, np.argsort(X, axis=1)), np.sort(X, axis=1))
    same(sel.take_along_axis(X, one + X.shape[axis], axis, mode="wrap"), np.take_along_axis(X, one, axis))
    assert np.isnan(np.asarray(sel.take_along_axis(X, one * 0 + 9, axis, mode="fill"))).all()
    with pytest.raises(ValueError, match="inplace=True"):
        sel.put_along_axis(D(X), one, 9.0, axis)
    with pytest.raises(IndexError, match="out of bounds"):
        sel.take_along_axis(X, one + 9, axis)


def test_where():
    c = X > 0
    same(sel.where(c, X, 0.0), np.where(c, X, 0.0))
    same(sel.where(c[0], X, X[:, :1]), np.where(c[0], X, X[:, :1]))
    same(sel.where(X[0, 0], 1, 2.5), np.where(X[0, 0], 1, 2.5))
    same(staged(lambda c, x: sel.where(c, x, 0.0), D(c[0]), D(X)), np.where(c[0], X, 0.0))
    same(staged(lambda c: sel.where(c, 1.0, 0.0), D(c)), np.where(c, 1.0, 0.0))
    same(staged(lambda c, x: sel.where(c, x, 0.0), D(np.bool_(True)), D(X)), X)
    assert sel.where(c, 1.0, 0.0).weak_type and (sel.where(c, 1.0, 0.0) * D(np.float32(2))).dtype == np.float32
    assert sel.where(c, np.float32(1), 0.0).dtype == np.float32
    check_grads(lambda x, y: sel.where(c, x * x, y * y), (D(X), D(X[0])), 2)
    same(vmap(lambda c, x: sel.where(c, x, 0.0))(array(True, False, True), X), np.where(ROWS[:, None, None], X, 0.0))
    with pytest.raises(ValueError, match="one argument or three"):
        sel.where(c, X)
    with pytest.raises(ValueError, match="do not broadcast"):
        sel.where(c, X, np.ones(3))


def test_nonzero():
    for f, g in ((sel.nonzero, np.nonzero), (sel.where, np.where)):
        for a, b in zip(f(MASK), g(MASK), strict=True):
            same(a, b)
    same(sel.flatnonzero(MASK), np.flatnonzero(MASK))
    same(sel.argwhere(MASK), np.argwhere(MASK))
    same(sel.argwhere(np.float64(2)), np.argwhere(np.float64(2)))
    for size in (0, 3, 9):
        rows, columns = staged_many(lambda m, size=size: sel.nonzero(m, size=size, fill_value=(-1, 7)), D(MASK))
        expected = [list(i[:size]) + [f] * (size - len(i)) for i, f in zip(np.nonzero(MASK), (-1, 7), strict=True)]
        assert rows.tolist() == expected[0] and columns.tolist() == expected[1]
    assert sel.flatnonzero(array(0, 3, 0, 4), size=3).tolist() == [1, 3, 0]
    assert vmap(lambda m: sel.nonzero(m, size=2)[0])(MASK).tolist() == [[0, 3], [0, 0], [1, 2]]
    with pytest.raises(errors.ConcretizationTypeError, match="depends on the values[\\s\\S]*size=n"):
        staged(lambda m: sel.nonzero(m)[0], D(MASK))
    with pytest.raises(ValueError, match="atleast_1d"):
        sel.nonzero(np.float64(1))


def staged_many(f, *args):
    program, captured = stage(lambda *xs: list(f(*xs)), [x.aval for x in args])
    return eval_jaxpr(program, [*captured, *args])


def test_compress_extract_place_put():
    same(sel.compress(ROWS, X, axis=0), np.compress(ROWS, X, axis=0))
    same(sel.compress(array(True, False, True), X), np.compress(array(True, False, True), X))
    same(sel.extract(MASK, X[:, :, 0]), np.extract(MASK, X[:, :, 0]))
    same(staged(lambda m, x: sel.compress(m, x, axis=0, size=3, fill_value=0), D(ROWS), D(X)),
         np.concatenate([X[ROWS], 0 * X[:1]]))
    expected = X[:, :, 0].copy()
    np.place(expected, MASK, array(1.0, 2.0, 3.0))
    same(sel.place(X[:, :, 0], MASK, array(1.0, 2.0, 3.0), inplace=False), expected)
    same(staged(lambda x, m: sel.place(x, m, array(1.0, 2.0, 3.0), inplace=False), D(X[:, :, 0]), D(MASK)), expected)
    expected = X.copy()
    np.put(expected, array(0, -1, 7), array(1.0, 2.0))
    same(sel.put(X, array(0, -1, 7), array(1.0, 2.0), inplace=False), expected)
    same(sel.put(X, array(99), 1.0, mode="drop", inplace=False), X)


def test_choose_and_select():
    a, b = array(0, 1, 1, 0), np.arange(4.0)
    same(sel.choose(a, [b, -b]), np.choose(a, [b, -b]))
    same(sel.choose(a[:, None], [b, 7]), np.choose(a[:, None], [b, 7]))
    same(sel.choose(array(-1, 5), [b[:2], -b[:2]], mode="clip"), np.choose(array(-1, 5), [b[:2], -b[:2]],
                                                                           mode="clip"))
    same(sel.choose(array(-1, 5), [b[:2], -b[:2]], mode="wrap"), np.choose(array(-1, 5), [b[:2], -b[:2]],
                                                                           mode="wrap"))
    same(sel.select([b > 2, b > 0], [b, b * 2], -1.0), np.select([b > 2, b > 0], [b, b * 2], -1.0))
    with pytest.raises(ValueError, match="one choice for each condition"):
        sel.select([b > 0], [])


def test_index_makers():
    for f, g, args in ((sel.diag_indices, np.diag_indices, (3, 3)), (sel.tril_indices, np.tril_indices, (3, 1, 4)),
                       (sel.triu_indices, np.triu_indices, (3,)), (sel.tril_indices_from, np.tril_indices_from,
                                                                   (MASK,)),
                       (sel.triu_indices_from, np.triu_indices_from, (MASK, 1)),
                       (sel.ix_, np.ix_, (ROWS, array(1, 2))),
                       (sel.diag_indices_from, np.diag_indices_from, (BLOCK,)),
                       (lambda n: sel.mask_indices(n, lambda m, k: np.triu(m, k)),
                        lambda n: np.mask_indices(n, np.triu), (3,)),
                       (sel.unravel_index, np.unravel_index, (BLOCK + 5, (3, 4)))):
        for a, b in zip(f(*args), g(*args), strict=True):
            same(a, b)
    same(sel.indices((2, 3)), np.indices((2, 3)))
    same(sel.mgrid[0:3, 0:2], np.mgrid[0:3, 0:2])
    same(sel.ogrid[0:3, 0:1:3j][1], np.ogrid[0:3, 0:1:3j][1])
    same(sel.ravel_multi_index((array(1, 2), array(0, 3)), (3, 4)), np.ravel_multi_index((array(1, 2), array(0, 3)),
                                                                                         (3, 4)))
    for mode in ("wrap", "clip"):
        same(sel.ravel_multi_index((array(9, -2), array(0, 3)), (3, 4), mode, "F"),
             np.ravel_multi_index((array(9, -2), array(0, 3)), (3, 4), mode, "F"))
    with pytest.raises(ValueError, match="out of bounds"):
        sel.ravel_multi_index((array(9),), (3,))
    with pytest.raises(ValueError, match="out of bounds"):
        sel.unravel_index(array(12), (3, 4))
    for shape, wrap in (((3, 4), False), ((7, 3), False), ((7, 3), True), ((2, 2, 2), False)):
        expected = np.zeros(shape)
        np.fill_diagonal(expected, array(1.0, 2.0), wrap)
        same(sel.fill_diagonal(np.zeros(shape), array(1.0, 2.0), wrap, inplace=False), expected)


def test_reading_is_fast():
    """A static index of an array with values goes to NumPy: no rule runs, no trace is asked."""
    import timeit
    x = D(X)
    assert min(timeit.repeat(lambda: getitem(x, 2), number=2000, repeat=5)) / 2000 < 5e-6
