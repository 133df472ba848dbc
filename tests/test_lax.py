"""The functions of lax that are compositions: shapes, folds of any monoid, ragged products, rounding, marks."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.test_util import check_grads

X = np.random.default_rng(0).normal(size=(3, 4))

# ---------------------------------------------------------------- shapes

SHAPES = {
    "broadcast": (lambda x: lax.broadcast(x, (2,)), lambda x: np.broadcast_to(x, (2, 3, 4))),
    "broadcast_like": (lambda x: lax.broadcast_like(x, np.zeros((2, 3, 4))), lambda x: np.broadcast_to(x, (2, 3, 4))),
    "broadcast_to_rank": (lambda x: lax.broadcast_to_rank(x, 4), lambda x: x[None, None]),
    "reshape in order": (lambda x: lax.reshape(x, (12,), (1, 0)), lambda x: x.T.ravel()),
    "squeeze": (lambda x: lax.squeeze(x[..., None], (-1,)), lambda x: x),
    "expand_dims": (lambda x: lax.expand_dims(x, (-1, 0)), lambda x: x[None, ..., None]),
    "slice_in_dim": (lambda x: lax.slice_in_dim(x, -3, None, 2, axis=-1), lambda x: x[:, -3::2]),
    "pad": (lambda x: lax.pad(x, 0.5, ((0, 0, 0), (1, 0, 0))), lambda x: np.pad(x, ((0, 0), (1, 0)), constant_values=0.5)),
    "stack": (lambda x: lax.stack([x, 2 * x], -1), lambda x: np.stack([x, 2 * x], -1)),
    "unstack": (lambda x: lax.unstack(x, 1)[2], lambda x: x[:, 2]),
    "tile": (lambda x: lax.tile(x, (2, 3)), lambda x: np.tile(x, (2, 3))),
    "split": (lambda x: lax.split(x, (1, 3), -1)[1], lambda x: x[:, 1:]),
    "collapse": (lambda x: lax.collapse(x[None], -2), lambda x: x.reshape(1, 12)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_as_numpy(name):
    function, reference = SHAPES[name]
    for x in (X, fnp.asarray(X)):
        np.testing.assert_array_equal(np.asarray(function(x if name not in ("squeeze", "collapse") else fnp.asarray(x))),
                                      reference(X))
    np.testing.assert_array_equal(np.asarray(fg.vmap(function)(np.stack([X, -X]))[1]), reference(-X) if name != "pad" else
                                  np.asarray(function(-X)))
    check_grads(function, (fnp.asarray(X),), 1)


def test_numbers_are_arrays_without_axes():
    assert lax.broadcast_in_dim(2.0, (3,), ()).tolist() == [2.0] * 3 and lax.reshape(2, (1, 1)).shape == (1, 1)
    assert lax.convert_element_type(2, np.float32).dtype == np.float32 and lax.expand_dims(1.0, (0,)).shape == (1,)
    assert lax.iota(int, 3).tolist() == [0, 1, 2] and lax.broadcasted_iota("int32", (2, 2), 1).tolist() == [[0, 1], [0, 1]]
    assert lax.full_like(1.0, 3).tolist() == 3.0 and lax.empty((2,), "float32").dtype == np.float32
    assert lax.dtype(1.0) == np.float64 and lax.dtype("float32") == np.float32 and lax.broadcast_shapes() == ()


def test_select_n_and_conj_take_numbers():
    assert lax.select_n(True, 1.0, 2.0).tolist() == 2.0 and lax.select_n(X > 0, X) is not None
    assert lax.select_n(np.int32(2), *map(np.float64, range(3))).tolist() == 2.0 and lax.stack(X).shape == (3, 4)
    assert lax.conj(X).dtype == np.complex128 and lax.conj(1 + 2j).tolist() == 1 - 2j
    with pytest.raises(ValueError, match="nothing to select"):
        lax.select_n(True)


@pytest.mark.parametrize("call, message", [
    (lambda: lax.squeeze(X, (0,)), "only axes of size 1"), (lambda: lax.squeeze(X, (5,)), "the axes do not fit"),
    (lambda: lax.expand_dims(X, (0, 0)), "the axes do not fit"), (lambda: lax.stack([]), "nothing to join"),
    (lambda: lax.stack([X, X[0]]), "the shapes differ"), (lambda: lax.tile(X, (2,)), "reps do not fit"),
    (lambda: lax.split(X, (1, 1)), "do not add up"), (lambda: lax.broadcast_to_rank(X, 1), "has more axes"),
    (lambda: lax.broadcast_like(X, X[0]), "has more than the shape"), (lambda: lax.collapse(X, 2, 1), "end before they start"),
])
def test_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- folds

FOLDS = {
    "sum": (lax.add, 0.0, np.add), "product": (lax.mul, 1.0, np.multiply), "largest": (lax.max, -np.inf, np.maximum),
    "any other": (lambda a, b: a + b + a * b, 0.0, np.frompyfunc(lambda a, b: a + b + a * b, 2, 1)),
    "logaddexp": (fnp.logaddexp, -np.inf, np.logaddexp),
}


@pytest.mark.parametrize("name", FOLDS)
@pytest.mark.parametrize("dimensions", [(0,), (1,), (0, 1), ()])
def test_reduce_with_any_monoid(name, dimensions):
    computation, start, ufunc = FOLDS[name]
    found = lax.reduce(X, start, computation, dimensions)
    expected = X
    for d in sorted(dimensions, reverse=True):
        expected = ufunc.reduce(expected, axis=d)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected, float), rtol=1e-12)


def test_reduce_becomes_the_reduction_it_is():
    names = [e.primitive.name for e in fg.make_jaxpr(lambda x: lax.reduce(x, 0.0, lambda a, b: a + b, (0,)))(X).equations]
    assert "reduce_sum" in names and "reshape" not in names


def test_reduce_of_pairs_of_nothing_and_its_derivatives():
    def larger(a, b):
        return lax.select(a[0] >= b[0], a[0], b[0]), lax.select(a[0] >= b[0], a[1], b[1])

    values, places = lax.reduce((X, np.broadcast_to(np.arange(4), X.shape)), (-np.inf, 0), larger, (1,))
    assert values.tolist() == X.max(1).tolist() and places.tolist() == X.argmax(1).tolist()
    assert lax.reduce(np.zeros((0, 2)), 3.0, fnp.logaddexp, (0,)).tolist() == [3.0, 3.0]
    assert lax.reduce(np.zeros((3, 0)), 0.0, fnp.logaddexp, (0,)).shape == (0,)
    mixed = FOLDS["any other"][0]
    check_grads(lambda x: lax.reduce(x, 0.0, mixed, (0,)), (X,), 2)
    assert fg.jit(fg.vmap(fg.hessian(lambda x: lax.reduce(x, 0.0, mixed, (0,)))))(X).shape == (3, 4, 4)
    with pytest.raises(ValueError, match="do not fit"):
        lax.reduce((X, X[0]), (0.0, 0.0), larger, (0,))
    with pytest.raises(TypeError, match="does not give what it takes"):
        lax.reduce(X, 0.0, lambda a, b: (a, b), (0,))


# ---------------------------------------------------------------- products in groups


def grouped(lhs, rhs, sizes):
    out, start = np.zeros((lhs.shape[0], rhs.shape[2])), 0
    for group, n in enumerate(sizes):
        out[start:start + n] = lhs[start:start + n] @ rhs[group]
        start += n
    return out


@pytest.mark.parametrize("sizes", [[2, 0, 3, 2], [0, 0, 0, 7], [1, 2, 0, 0]])
def test_ragged_dot(sizes):
    rng = np.random.default_rng(1)
    lhs, rhs = rng.normal(size=(7, 3)), rng.normal(size=(4, 3, 2))
    found = fg.jit(lax.ragged_dot)(lhs, rhs, np.array(sizes))
    np.testing.assert_allclose(np.asarray(found), grouped(lhs, rhs, sizes), rtol=1e-12, atol=1e-14)
    check_grads(lambda a, b: lax.ragged_dot(a, b, np.array(sizes)), (lhs, rhs), 1)


def test_ragged_dot_general_along_a_summed_and_a_batch_axis():
    rng = np.random.default_rng(2)
    lhs, rhs, sizes = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4)), np.array([2, 3])
    summed = lax.RaggedDotDimensionNumbers((((1,), (1,)), ((0,), (0,))), [1], [])
    found = lax.ragged_dot_general(lhs, rhs, sizes, summed)
    expected = np.stack([np.einsum("bki,bkj->bij", lhs[:, s], rhs[:, s]) for s in (slice(0, 2), slice(2, 5))])
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12)
    batched = lax.RaggedDotDimensionNumbers((((1,), (1,)), ((0,), (0,))), [0], [])
    np.testing.assert_allclose(np.asarray(lax.ragged_dot_general(lhs, rhs, np.array([1, 1]), batched)), expected.sum(0))
    with pytest.raises(ValueError, match="no matrix for each group"):
        lax.ragged_dot(lhs[0], rng.normal(size=(3, 3, 2)), sizes)
    with pytest.raises(NotImplementedError, match="group_offset"):
        lax.ragged_dot(lhs[0], rhs, sizes, group_offset=np.array([1]))
    with pytest.raises(NotImplementedError, match="vector of integers"):
        lax.ragged_dot(lhs[0], rhs, np.ones((2, 2), int))


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_mulhi_is_the_high_half_of_the_product(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = np.array([low, high, high // 2, 3, high // 3, low // 7, high], dtype)
    y = np.array([high, high, low // 2, 5, high // 5 + 1, high // 11, low], dtype)
    expected = [int(a) * int(b) >> 8 * np.dtype(dtype).itemsize for a, b in zip(x, y, strict=True)]
    assert lax.mulhi(x, y).tolist() == fg.jit(lax.mulhi)(x, y).tolist() == expected
    with pytest.raises(TypeError, match="only integers"):
        lax.mulhi(1.0, 2.0)


def test_round_of_halves():
    x = np.array([0.5, -0.5, 1.5, 2.5, -2.5, 0.49999999999999994, np.inf, -0.3])
    away, even = lax.round(x), lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN)
    assert away.tolist() == [1, -1, 2, 3, -3, 0, np.inf, 0] and np.signbit(np.asarray(away))[-1]
    assert even.tolist() == np.rint(x).tolist() and np.isnan(lax.round(np.nan))
    assert fg.grad(lax.round)(0.7) == 0


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("narrow, exponent, mantissa", [("float16", 5, 10), ("bfloat16", 8, 7), ("float8_e4m3", 4, 3)])
def test_reduce_precision_is_the_conversion_to_the_narrow_format(dtype, narrow, exponent, mantissa):
    x = (np.random.default_rng(3).normal(size=200) * 2.0 ** np.random.default_rng(4).integers(-5, 7, 200)).astype(dtype)
    there_and_back = np.asarray(fnp.asarray(x).astype(narrow).astype(dtype))
    kept = np.abs(x.astype(float)) >= 2.0 ** (2 - 2 ** (exponent - 1))  # smaller ones are not normal, and become 0
    found = np.asarray(lax.reduce_precision(x, exponent, mantissa))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[kept], there_and_back[kept])
    assert not np.any(lax.reduce_precision(np.array([1e-6, -0.0], dtype), 4, 3))
    special = np.asarray(lax.reduce_precision(np.array([np.inf, -np.inf, np.nan, 60000], dtype), 4, 3))
    np.testing.assert_array_equal(special, [np.inf, -np.inf, np.nan, np.inf])


def test_reduce_precision_of_what_has_none():
    with pytest.raises(TypeError, match="only real floating point"):
        lax.reduce_precision(1, 5, 10)
    with pytest.raises(ValueError, match="does not exist"):
        lax.reduce_precision(1.0, 0, 10)


def test_approximate_extremes_are_exact():
    values, places = lax.approx_max_k(X, 2)
    assert values.tolist() == np.sort(X)[:, ::-1][:, :2].tolist() and places.tolist() == np.argsort(-X)[:, :2].tolist()
    assert lax.approx_min_k(X, 1, reduction_dimension=0)[0].tolist() == [X.min(0).tolist()]


# ---------------------------------------------------------------- marks, devices, custom_gradient


def test_marks_change_nothing():
    assert lax.optimization_barrier({"a": X})["a"].tolist() == X.tolist() and lax.stage(2.0).shape == ()
    assert lax.composite(lambda x, *, power: x ** power, "my.power", version=1)(3.0, power=2) == 9.0
    assert lax.platform_dependent(1.0, tpu=lambda x: x, default=lambda x: -x) == -1.0
    with pytest.raises(NotImplementedError, match="no function for this platform"):
        lax.platform_dependent(1.0, tpu=lambda x: x)
    named = fg.named_call(lambda x: 2 * x, name="double")
    assert named.__name__ == "double" and float(fg.grad(named)(1.0)) == 2.0
    with fg.named_scope("scope"):
        assert fg.typeof(fnp.ones(2)) == fnp.ones(2).aval
    with pytest.raises(TypeError, match="a name is a text"), fg.named_scope(3):
        pass
    assert lax.Precision("high") is lax.Precision.HIGH and lax.Precision(None) is lax.Precision.DEFAULT
    assert lax.dot(X, X.T, precision=lax.Precision.HIGHEST).shape == (3, 3)


def test_the_only_device():
    assert fg.devices() == fg.local_devices() == ["cpu"] and fg.default_backend() == fnp.ones(1).device == "cpu"
    assert fg.device_count() == fg.local_device_count() == fg.process_count() == 1
    assert fg.process_index() == 0 and fg.process_indices() == [0] and fg.effects_barrier() is None
    tree = fg.device_put({"a": 1.0, "b": X}, fg.devices()[0])
    assert isinstance(tree["a"], fg.Array) and type(fg.device_get(tree)["b"]) is np.ndarray
    with pytest.raises(RuntimeError, match="no such backend"):
        fg.devices("tpu")
    with pytest.raises(ValueError, match="no such device"):
        fg.device_put(X, "tpu")


def test_custom_gradient():
    f = fg.custom_gradient(lambda x, y: (x * y, lambda ct: (2 * ct * y, 3 * ct * x)))
    assert [float(g) for g in fg.grad(f, (0, 1))(2.0, 5.0)] == [10.0, 6.0]
    assert float(fg.grad(fg.grad(lambda x: f(x, 2 * x)))(3.0)) == 10.0
    assert fg.vmap(fg.jit(fg.grad(lambda x: f(x, 2 * x))))(np.arange(3.)).tolist() == [0.0, 10.0, 20.0]
    assert float(fg.grad(fg.custom_gradient(lambda t: (t["a"] ** 2, lambda ct: {"a": ct})))({"a": 3.0})["a"]) == 1.0


def test_nondiff_argnames():
    f = fg.custom_vjp(lambda n, x: x ** n, nondiff_argnames="n")
    f.defvjp(lambda n, x: (x ** n, None), lambda n, saved, ct: (10 * n * ct,))
    assert float(fg.grad(f, 1)(3, 2.0)) == 30.0
    with pytest.raises(ValueError, match="no parameter of this name"):
        fg.custom_jvp(lambda x: x, nondiff_argnames=["y"])
