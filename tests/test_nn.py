"""Activations, initial values, losses and layers, against closed forms, NumPy and finite differences."""
import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.special

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn
from funcgrad.test_util import check_grads

KEY = fg.random.key(0)


def sigmoid(x):
    return scipy.special.expit(x)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


ACTIVATIONS = {
    "celu": lambda x: elu(x), "elu": elu, "selu": lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772),
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6, "hard_silu": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6, "hard_tanh": lambda x: np.clip(x, -1, 1),
    "identity": lambda x: x, "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x), "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6), "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x), "swish": lambda x: x * sigmoid(x), "soft_sign": lambda x: x / (1 + np.abs(x)),
    "softplus": lambda x: np.logaddexp(0, x), "squareplus": lambda x: (x + np.sqrt(x * x + 4)) / 2, "tanh": np.tanh,
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)),
    "sparse_sigmoid": lambda x: np.clip(x + 1, 0, 2) / 2,
    "hard_shrink": lambda x: np.where(abs(x) > 0.5, x, 0), "soft_shrink": lambda x: np.sign(x) * np.maximum(abs(x) - 0.5, 0),
    "tanh_shrink": lambda x: x - np.tanh(x),
}
POINTS = np.concatenate([np.linspace(-7.95, 7.95, 24), [0.0, 1e-4, -1e-4, 30.0, -30.0]])
SMOOTH = ("gelu", "log_sigmoid", "mish", "sigmoid", "silu", "soft_sign", "softplus", "squareplus", "tanh")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_their_closed_form(name):
    function = getattr(nn, name)
    np.testing.assert_allclose(function(POINTS), ACTIVATIONS[name](POINTS), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(fg.jit(function)(POINTS), ACTIVATIONS[name](POINTS), rtol=1e-12, atol=1e-13)
    assert function(POINTS.astype(np.float32)).dtype == np.float32
    assert float(function(0.5)) == pytest.approx(float(ACTIVATIONS[name](np.float64(0.5))))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_have_right_first_and_second_derivatives(name):
    check_grads(getattr(nn, name), (np.linspace(-7.95, 7.95, 24),), order=2)


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_activations_have_right_derivatives_at_zero(name):
    if name != "soft_sign":  # its second derivative jumps there
        check_grads(getattr(nn, name), (0.0,), order=2)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_large_arguments_give_no_nan(name, dtype):
    largest = np.finfo(dtype).max
    x = np.array([-1, -1e-2, 1e-2, 1], dtype) * np.sqrt(largest)
    x = np.concatenate([x, np.array([-200, -90, 90, 200], dtype)])
    function = getattr(nn, name)
    first = fg.grad(function)
    for f in (function, first, fg.grad(first)):
        assert np.isfinite(np.asarray(fg.vmap(f)(x)).astype(np.float64)).all()


@pytest.mark.parametrize("name, point, slope", [
    ("relu", 0.0, 0.0), ("relu6", 0.0, 0.0), ("relu6", 6.0, 0.0), ("leaky_relu", 0.0, 0.01), ("elu", 0.0, 1.0),
    ("celu", 0.0, 1.0), ("hard_tanh", 1.0, 0.0), ("softplus", 0.0, 0.5), ("relu", np.inf, 1.0), ("softplus", np.inf, 1.0),
    ("softplus", -np.inf, 0.0), ("sigmoid", np.inf, 0.0), ("tanh", -np.inf, 0.0)])
def test_derivatives_at_kinks_and_ends(name, point, slope):
    assert float(fg.grad(getattr(nn, name))(point)) == slope


def test_softplus_and_log_sigmoid_do_not_overflow_or_vanish():
    np.testing.assert_allclose(nn.softplus(np.array([-800.0, -40.0, 800.0])), [0, np.exp(-40), 800], rtol=1e-15)
    np.testing.assert_allclose(nn.log_sigmoid(np.array([-800.0, 40.0, 800.0])), [-800, -np.exp(-40), 0], rtol=1e-15)
    assert np.isnan(float(nn.relu(np.nan)))


def test_exact_gelu():
    np.testing.assert_allclose(nn.gelu(POINTS, approximate=False), POINTS * scipy.special.ndtr(POINTS), rtol=1e-12,
                               atol=1e-15)
    check_grads(lambda x: nn.gelu(x, approximate=False), (np.linspace(-4, 4, 9),), order=2)


def test_other_activations():
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(nn.glu(x), x[:, :2] * sigmoid(x[:, 2:]))
    np.testing.assert_allclose(nn.glu(x[:2], axis=0), x[:1] * sigmoid(x[1:2]))
    positive = np.array([1e-10, 0.1, 0.7, 5.0, 50.0])
    np.testing.assert_allclose(nn.log1mexp(positive), [np.log(-math.expm1(-v)) if v < 1 else np.log1p(-math.exp(-v))
                                                       for v in positive], rtol=1e-12)
    check_grads(nn.log1mexp, (positive[1:],), order=2)
    np.testing.assert_allclose(nn.leaky_relu(x, 0.3), np.where(x > 0, x, 0.3 * x))
    np.testing.assert_allclose(nn.celu(x, 2.0), np.where(x > 0, x, 2 * np.expm1(x / 2)))
    with pytest.raises(ValueError, match=r"glu: the axis cannot be halved.*\n.*size 3 along axis 0"):
        nn.glu(x, axis=0)


# ---------------------------------------------------------------- softmax and its kin


@pytest.mark.parametrize("axis", [-1, 0, None, (0, 1)])
@pytest.mark.parametrize("masked", [False, True])
def test_softmax_and_its_logarithms(axis, masked):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4, 5)) * 3
    where = rng.random((4, 5)) > 0.3 if masked else np.ones((4, 5), bool)
    where[:, 0] = where[0] = True
    powers = np.where(where, np.exp(x), 0)
    total = powers.sum(axis=axis, keepdims=True)
    options = {"axis": axis, "where": where} if masked else {"axis": axis}
    np.testing.assert_allclose(nn.softmax(x, **options), powers / total, rtol=1e-12)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(nn.log_softmax(x, **options), np.log(powers / total), rtol=1e-12)
    np.testing.assert_allclose(nn.logsumexp(x, **options), np.log(total).squeeze(axis), rtol=1e-12)
    np.testing.assert_allclose(nn.logsumexp(x, **options, keepdims=True), np.log(total), rtol=1e-12)
    count = where.sum(axis=axis)
    np.testing.assert_allclose(nn.logmeanexp(x, **options), np.log(total).squeeze(axis) - np.log(count), rtol=1e-12)
    check_grads(lambda x: nn.softmax(x, **options), (x,), order=2)
    check_grads(lambda x: nn.logsumexp(x, **options), (x,), order=2)
    check_grads(lambda x: fnp.where(where, nn.log_softmax(x, **options), 0), (x,), order=2)


def test_softmax_of_large_numbers_and_of_integers():
    np.testing.assert_allclose(nn.softmax(np.array([1000.0, 1000.0, -1000.0])), [0.5, 0.5, 0])
    np.testing.assert_allclose(nn.softmax(np.array([0, 0])), [0.5, 0.5])
    np.testing.assert_allclose(nn.log_softmax(np.array([0.0, -2000.0])), [0, -2000])
    np.testing.assert_allclose(nn.softmax(np.array([-np.inf, 0.0])), [0, 1])
    np.testing.assert_allclose(fg.grad(lambda x: nn.softmax(x)[1])(np.array([-np.inf, 0.0, 0.0])), [0, 0.25, -0.25])


def test_a_row_without_entries_has_no_nan_gradient():
    x, where = np.ones((2, 3)), np.array([[True, True, False], [False, False, False]])
    assert np.isfinite(np.asarray(fg.grad(lambda x: fnp.sum(nn.softmax(x, where=where)))(x))).all()
    np.testing.assert_allclose(fg.grad(lambda x: nn.logsumexp(x, axis=1, where=where)[0])(x), [[0.5, 0.5, 0], [0, 0, 0]])


def test_logsumexp_at_infinity():
    inf = np.inf
    assert float(nn.logsumexp(np.array([-inf, -inf]))) == -inf
    assert float(nn.logsumexp(np.array([inf, 0.0]))) == inf
    assert np.isnan(float(nn.logsumexp(np.array([np.nan, 0.0]))))
    np.testing.assert_allclose(fg.grad(nn.logsumexp)(np.array([-inf, 0.0, 0.0])), [0, 0.5, 0.5])
    np.testing.assert_array_equal(fg.grad(nn.logsumexp)(np.array([-inf, -inf])), [0, 0])
    np.testing.assert_allclose(nn.logsumexp(np.array([1e4, 1e4])), 1e4 + np.log(2))


def test_logsumexp_with_weights():
    a, b = np.array([1.0, 2.0, 3.0]), np.array([1.0, -2.0, 0.0])
    value, sign = nn.logsumexp(a, b=b, return_sign=True)
    total = np.e - 2 * np.e**2
    np.testing.assert_allclose([value, sign], [np.log(-total), -1])
    assert np.isnan(float(nn.logsumexp(a, b=b)))
    np.testing.assert_allclose(nn.logsumexp(np.array([0.0, 1e4]), b=np.array([1.0, 0.0])), 0)
    check_grads(lambda a, b: nn.logsumexp(a, b=b), (a, np.array([1.0, 0.5, 2.0])), order=2)
    check_grads(lambda a: nn.logsumexp(a, b=b, return_sign=True)[0], (a,), order=2)


def test_one_hot():
    np.testing.assert_array_equal(nn.one_hot(np.array([1, 0, 5, -1]), 3), [[0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert nn.one_hot(np.array([[0, 1]]), 4, axis=0, dtype=np.float32).shape == (4, 1, 2)
    assert nn.one_hot(np.array([[0, 1]]), 4, axis=0, dtype=np.float32).dtype == np.float32
    assert nn.one_hot(2, 3).tolist() == [0, 0, 1]
    with pytest.raises(TypeError, match=r"one_hot: x must hold integers.*\n.*float64\[1\]"):
        nn.one_hot(np.array([1.0]), 3)


@pytest.mark.parametrize("algorithm", ["stable", "fast"])
def test_standardize(algorithm):
    x = np.random.default_rng(2).normal(size=(3, 6)) * 2 + 5
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(nn.standardize(x, algorithm=algorithm), expected, rtol=1e-9)
    np.testing.assert_allclose(nn.standardize(x, mean=1.0, variance=4.0, epsilon=0.0), (x - 1) / 2)
    check_grads(lambda x: nn.standardize(x, algorithm=algorithm), (x,), order=2)
    where = np.arange(6) < 4
    np.testing.assert_allclose(nn.standardize(x, where=where)[:, :4], nn.standardize(x[:, :4]))
    with pytest.raises(ValueError, match="unknown algorithm"):
        nn.standardize(x, algorithm="slow")


# ---------------------------------------------------------------- initial values


@pytest.mark.parametrize("name, variance, bound", [
    ("glorot_uniform", 2 / 500, math.sqrt(6 / 500)), ("xavier_uniform", 2 / 500, math.sqrt(6 / 500)),
    ("glorot_normal", 2 / 500, 2.28 * math.sqrt(2 / 500)), ("xavier_normal", 2 / 500, 2.28 * math.sqrt(2 / 500)),
    ("he_uniform", 2 / 200, math.sqrt(6 / 200)), ("kaiming_uniform", 2 / 200, math.sqrt(6 / 200)),
    ("he_normal", 2 / 200, 2.28 * math.sqrt(2 / 200)), ("kaiming_normal", 2 / 200, 2.28 * math.sqrt(2 / 200)),
    ("lecun_uniform", 1 / 200, math.sqrt(3 / 200)), ("lecun_normal", 1 / 200, 2.28 * math.sqrt(1 / 200))])
def test_variance_of_initial_values(name, variance, bound):
    values = np.asarray(getattr(nn.initializers, name)()(KEY, (200, 300), np.float32))
    assert values.dtype == np.float32
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.03)
    assert np.abs(values).max() <= bound


def test_simple_initializers():
    make = nn.initializers
    np.testing.assert_array_equal(make.zeros(KEY, (2, 3)), np.zeros((2, 3)))
    np.testing.assert_array_equal(make.ones(KEY, (2,), np.float32), np.ones(2))
    np.testing.assert_array_equal(make.constant(7.0)(KEY, (2,)), [7, 7])
    assert make.zeros(KEY, ()).dtype == make.he_normal()(KEY, (2, 3)).dtype == np.float32
    values = np.asarray(make.uniform(0.5)(KEY, (10_000,)))
    assert values.min() >= 0 and values.max() < 0.5 and values.mean() == pytest.approx(0.25, abs=0.01)
    assert np.asarray(make.normal(2.0)(KEY, (10_000,))).std() == pytest.approx(2, rel=0.03)
    assert np.abs(np.asarray(make.truncated_normal(3.0, lower=-1.0, upper=1.0)(KEY, (10_000,)))).max() <= 3
    assert make.normal(dtype=np.float64)(KEY, (2,)).dtype == np.float64
    geometric = np.asarray(make.variance_scaling(1.0, "fan_geo_avg", "normal")(KEY, (100, 400)))
    assert geometric.var() == pytest.approx(1 / 200, rel=0.03)
    field = np.asarray(make.variance_scaling(1.0, "fan_in", "normal")(KEY, (3, 3, 50, 100)))
    assert field.var() == pytest.approx(1 / 450, rel=0.03)


def test_identity_and_sparse_initial_values():
    np.testing.assert_array_equal(nn.initializers.identity(2.0)(KEY, (2, 3), np.float32), [[2, 0, 0], [0, 2, 0]])
    values = np.asarray(nn.initializers.sparse(0.3, 0.5)(KEY, (20, 200), np.float32))
    assert values.dtype == np.float32 and ((values == 0).sum(0) == 6).all()
    assert values[values != 0].std() == pytest.approx(0.5, rel=0.05)
    for make in (nn.initializers.identity(), nn.initializers.sparse(0.5)):
        with pytest.raises(ValueError, match="a matrix has two axes"):
            make(KEY, (3,))


def test_initializers_refuse_what_they_do_not_know():
    with pytest.raises(ValueError, match=r"unknown mode(.|\n)*fan_in, fan_out"):
        nn.initializers.variance_scaling(1.0, "fan", "normal")
    with pytest.raises(ValueError, match="unknown distribution"):
        nn.initializers.variance_scaling(1.0, "fan_in", "cauchy")
    with pytest.raises(ValueError, match="fewer than two axes"):
        nn.initializers.he_normal()(KEY, (3,))


# ---------------------------------------------------------------- losses


def test_softmax_cross_entropy():
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(5, 4)), np.array([0, 3, 1, 1, 2])
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -logs[np.arange(5), labels]
    integer = nn.softmax_cross_entropy_with_integer_labels
    for f in (integer, fg.jit(integer), fg.vmap(integer)):
        np.testing.assert_allclose(f(logits, labels), expected, rtol=1e-12)
    np.testing.assert_allclose(integer(logits.T, labels, axis=0), expected, rtol=1e-12)
    np.testing.assert_allclose(nn.softmax_cross_entropy(logits, np.eye(4)[labels]), expected, rtol=1e-12)
    soft = rng.dirichlet(np.ones(4), size=5)
    np.testing.assert_allclose(nn.softmax_cross_entropy(logits, soft), -(soft * logs).sum(1), rtol=1e-12)
    assert float(integer(logits, labels, reduction="mean")) == pytest.approx(expected.mean())
    assert float(integer(logits, labels, reduction="sum")) == pytest.approx(expected.sum())
    gradient = fg.grad(lambda z: integer(z, labels, reduction="mean"))(logits)
    np.testing.assert_allclose(gradient, (np.exp(logs) - np.eye(4)[labels]) / 5, rtol=1e-9, atol=1e-12)
    check_grads(lambda z: nn.softmax_cross_entropy(z, soft), (logits,), order=2)
    impossible = np.array([[0.0, -np.inf]])
    assert float(integer(impossible, np.array([0]))[0]) == 0
    np.testing.assert_array_equal(fg.grad(lambda z: integer(z, np.array([0]))[0])(impossible), [[0, 0]])


def test_sigmoid_binary_cross_entropy():
    logits, labels = np.array([-800.0, -1.0, 0.5, 800.0]), np.array([0.0, 1.0, 0.25, 1.0])
    p = sigmoid(logits[1:3])
    by_definition = -labels[1:3] * np.log(p) - (1 - labels[1:3]) * np.log(1 - p)
    np.testing.assert_allclose(nn.sigmoid_binary_cross_entropy(logits, labels), [0, *by_definition, 0], rtol=1e-12)
    gradient = fg.grad(lambda z: nn.sigmoid_binary_cross_entropy(z, labels, reduction="sum"))(logits)
    np.testing.assert_allclose(gradient, sigmoid(logits) - labels, rtol=1e-12, atol=1e-15)


def test_squared_error():
    x, t = np.array([1.0, 2.0]), np.array([3.0, -1.0])
    np.testing.assert_allclose(nn.squared_error(x, t), [4, 9])
    np.testing.assert_allclose(nn.squared_error(x), [1, 4])
    np.testing.assert_allclose(fg.grad(lambda x: nn.squared_error(x, t, reduction="mean"))(x), x - t)


@pytest.mark.parametrize("call, error", [
    (lambda: nn.softmax_cross_entropy_with_integer_labels(np.zeros((2, 3)), np.array([0, 7])), r"label 7, with 3 classes"),
    (lambda: nn.softmax_cross_entropy_with_integer_labels(np.zeros((2, 3)), np.array([0, -1])), r"label -1, with 3 classes"),
    (lambda: nn.softmax_cross_entropy_with_integer_labels(np.zeros((2, 3)), np.array([0])), r"labels of shape \(2,\)"),
    (lambda: nn.softmax_cross_entropy_with_integer_labels(np.zeros((2, 3)), np.zeros(2)), r"must be integers"),
    (lambda: nn.softmax_cross_entropy(np.zeros(2), np.array([0.0, 2.0])), r"label 2.0"),
    (lambda: nn.sigmoid_binary_cross_entropy(np.zeros(2), np.array([0, 2])), r"label 2\n.*labels from 0 to 1"),
    (lambda: nn.sigmoid_binary_cross_entropy(np.zeros((2, 1)), np.zeros(2)), r"shape \(2,\), logits of shape \(2, 1\)"),
    (lambda: nn.squared_error(np.zeros((2, 1)), np.zeros(2)), r"\(2, 1\) and \(2,\)"),
    (lambda: nn.squared_error(np.zeros(2), np.zeros(2), reduction="max"), r"'none', 'mean' or 'sum'"),
], ids=["too large", "negative", "shape", "dtype", "probability", "binary", "binary shape", "squares", "reduction"])
def test_losses_refuse_what_does_not_fit(call, error):
    with pytest.raises((TypeError, ValueError), match=error):
        call()


def test_a_label_that_is_not_a_class_gives_nan_where_values_are_not_known():
    losses = fg.jit(nn.softmax_cross_entropy_with_integer_labels)(np.zeros((3, 4)), np.array([0, 4, -1]))
    np.testing.assert_allclose(losses, [np.log(4), np.nan, np.nan])


# ---------------------------------------------------------------- layers


def test_linear_and_sequential():
    model = nn.Sequential(nn.Linear(4, 8), nn.relu, nn.Linear(8, 3, bias=False), nn.Lambda(nn.tanh))
    params, state = model.init(KEY)
    assert state == {} and set(params) == {"0", "2"} and set(params["2"]) == {"weight"}
    assert params["0"]["weight"].shape == (4, 8) and params["0"]["weight"].dtype == np.float32
    paths = [fg.tree_util.keystr(path) for path, _ in fg.tree.leaves_with_path(params)]
    assert paths == ["['0']['bias']", "['0']['weight']", "['2']['weight']"]
    x = np.random.default_rng(4).normal(size=(5, 4)).astype(np.float32)
    w0, b0, w2 = (np.asarray(a) for a in (params["0"]["weight"], params["0"]["bias"], params["2"]["weight"]))
    expected = np.tanh(np.maximum(x @ w0 + b0, 0) @ w2)
    y, new_state = model.apply(params, state, x, key=KEY, train=True)
    assert new_state == {} and y.dtype == np.float32
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(model(params, x), y)
    np.testing.assert_allclose(fg.vmap(model, in_axes=(None, 0))(params, x), y, rtol=1e-5, atol=1e-6)
    again, _ = model.init(KEY)
    np.testing.assert_array_equal(again["0"]["weight"], params["0"]["weight"])
    assert not np.array_equal(np.asarray(model.init(fg.random.key(1))[0]["0"]["weight"]), w0)


def test_gradients_of_a_model():
    model = nn.Sequential(nn.Linear(3, 4, dtype=np.float64), nn.gelu, nn.Linear(4, 2, dtype=np.float64))
    params, _ = model.init(KEY)
    x, y = np.random.default_rng(5).normal(size=(6, 3)), np.array([0, 1, 1, 0, 1, 0])
    check_grads(lambda p: nn.softmax_cross_entropy_with_integer_labels(model(p, x), y, reduction="mean"), (params,), order=2)


def test_layers_are_values():
    assert nn.Linear(3, 4) == nn.Linear(3, 4) != nn.Linear(3, 5)
    assert nn.Sequential(nn.Linear(3, 4), nn.relu) == nn.Sequential(nn.Linear(3, 4), nn.relu)
    assert hash(nn.Sequential(nn.Linear(3, 4), nn.relu)) == hash(nn.Sequential(nn.Linear(3, 4), nn.relu))
    model = nn.Sequential(nn.Linear(3, 4), nn.relu)
    params, _ = model.init(KEY)
    run = fg.jit(lambda layer, params, x: layer(params, x), static_argnums=0)
    np.testing.assert_allclose(run(model, params, np.ones(3, np.float32)), model(params, np.ones(3, np.float32)), rtol=1e-6)
    with pytest.raises(AttributeError):
        nn.Linear(3, 4).bias = False


class Counter(nn.Layer):
    """A layer with state: adds how often it was called."""

    def init(self, key, example=None):
        return {}, {"calls": fnp.zeros((), np.int32)}

    def apply(self, params, state, x, key=None, train=False):
        return x + state.get("calls", 0), {"calls": state.get("calls", 0) + 1}


def test_state_goes_through_sequential():
    model = nn.Sequential(nn.relu, Counter(), nn.Sequential(Counter(), Counter()))
    params, state = model.init(KEY)
    assert set(state) == {"1", "2"} and set(state["2"]) == {"0", "1"}
    y, state = model.apply(params, state, fnp.array([1.0]))
    y, state = model.apply(params, state, y)
    assert float(y[0]) == 4.0 and int(state["2"]["1"]["calls"]) == 2
    with pytest.raises(TypeError, match=r"a layer with state(.|\n)*layer.apply\(params, state, x\)"):
        model(params, fnp.array([1.0]))


def test_layers_refuse_what_does_not_fit():
    layer = nn.Linear(3, 4)
    params, _ = layer.init(KEY)
    with pytest.raises(ValueError, match=r"Linear\(3, 4\): the last axis(.|\n)*\(5, 2\)(.|\n)*\(..., 3\)"):
        layer(params, np.ones((5, 2)))
    with pytest.raises(ValueError, match="the last axis"):
        layer(params, 1.0)
    with pytest.raises(TypeError, match="argument 1 is not a layer"):
        nn.Sequential(layer, 3)
    with pytest.raises(TypeError, match="argument layer is not a layer"):
        nn.Repeat(3, 2)


@pytest.mark.parametrize("call, text", [
    (lambda model, params, x: model(x, params), r"its params are no dict(.|\n)*found: +float64\[2,3\]"),
    (lambda model, params, x: model((params, {}), x), r"found: +a tuple(.|\n)*params, state = model.init\(key\)"),
    (lambda model, params, x: model.apply(params, None, x), r"its state is no dict(.|\n)*found: +None"),
])
def test_arguments_in_the_wrong_place(call, text):
    model = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(TypeError, match=text):
        call(model, model.init(KEY)[0], np.ones((2, 3)))


@pytest.mark.parametrize("sizes", [(3, 4), np.array([3, 4])])
def test_the_work_of_initialising_does_not_double_with_each_level(sizes):
    calls = []

    @dataclass(frozen=True)
    class Counted(nn.Linear):
        sizes: object = None

        def init(self, key, example=None):
            calls.append(example.shape)
            return super().init(key, example)

    model, depth = nn.Sequential(Counted(None, 4, sizes=sizes)), 6
    for _ in range(depth):
        model = nn.Sequential(model)
    params, _ = model.init(KEY, fg.ShapeDtypeStruct((2, 3), np.float32))
    assert set(calls) == {(2, 3)} and fg.tree.leaves(params)[1].shape == (3, 4)
    if isinstance(sizes, tuple):  # layers that cannot be looked up are initialised as well, only later
        assert len(calls) <= 2 * depth


@dataclass(frozen=True)
class Gated(nn.Composite):
    """A layer in ten lines."""

    features: int

    def parts(self):
        return {"value": nn.Linear(None, self.features), "gate": nn.Linear(None, self.features), "calls": Counter()}

    def forward(self, run, x):
        return run("calls", run("value", x)) * nn.sigmoid(run("gate", x))


def test_a_layer_made_of_named_parts_takes_its_sizes_from_an_example():
    model = nn.Sequential(Gated(5), nn.relu, nn.Linear(None, 2))
    x = fnp.ones((4, 3), np.float32)
    for example in (x, fg.ShapeDtypeStruct((4, 3), np.float32)):
        params, state = model.init(KEY, example)
        assert params["0"]["gate"]["weight"].shape == (3, 5) and params["2"]["weight"].shape == (5, 2)
        assert set(state) == {"0"} and set(state["0"]) == {"calls"}
    y, new_state = model.apply(params, state, x)
    assert y.shape == (4, 2) and int(new_state["0"]["calls"]["calls"]) == 1
    with pytest.raises(ValueError, match=r"Linear\(None, 5\) at '0.value': in_features is not known(.|\n)*init\(key, example\)"):
        model.init(KEY)
    with pytest.raises(ValueError, match=r"Linear\(None, 2\) at '2': the last axis(.|\n)*\(4, 5\)(.|\n)*\(..., 7\)"):
        model.apply({**params, "2": {"weight": np.ones((7, 2)), "bias": np.ones(2)}}, state, x)


def test_capture_returns_what_each_layer_returned():
    model = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.relu, nn.Linear(4, 2)))
    params, state = model.init(KEY)
    x = fnp.arange(6.0).reshape(2, 3)
    y, _, seen = fg.jit(lambda p: nn.capture(model, p, state, x))(params)
    assert list(seen) == ["0", "1.0", "1.1", "1"]
    np.testing.assert_array_equal(seen["1"], y)
    np.testing.assert_array_equal(seen["1.0"], np.maximum(seen["0"], 0))
    slope = fg.grad(lambda p: fnp.sum(nn.capture(model, p, state, x)[2]["0"]))(params)
    np.testing.assert_array_equal(slope["0"]["bias"], np.full(4, 2.0))
    assert not np.any(slope["1"]["1"]["weight"])


def test_parameters_of_another_model_are_told_apart_by_path():
    model = nn.Sequential(nn.Linear(3, 4), nn.relu, nn.Linear(4, 2))
    params, _ = model.init(KEY)
    nn.check_params(model, params)
    other, _ = nn.Sequential(nn.Linear(3, 5), nn.relu, nn.Linear(5, 2, bias=False), nn.Linear(2, 2)).init(KEY)
    with pytest.raises(ValueError, match=r"(?s)2\.bias: missing.*3\.weight: float32\[2,2\], not a parameter.*0\.weight: "
                                         r"float32\[3,5\], expected float32\[3,4\]"):
        nn.check_params(model, other)
    with pytest.raises(ValueError, match=r"(?s)at '2': its params are not there.*check_params"):
        model({"0": params["0"]}, np.ones((1, 3), np.float32))


# ---------------------------------------------------------------- attention


def attended(query, key, value, mask, bias=0.0, scale=None):
    """Attention written out in NumPy, for [batch, T, N, H] and one key head for each head of the query."""
    logits = np.einsum("btnh,bsnh->bnts", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale) + bias
    logits = np.where(mask, logits, -1e300)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bnts,bsnh->btnh", weights, value)


B, T, S, N, H = 2, 5, 4, 4, 3
Q, K, V = (np.random.default_rng(i).normal(size=(B, n, N, H)) for i, n in ((0, T), (1, S), (2, S)))
ROW, COLUMN = np.arange(T)[:, None], np.arange(S)[None, :]
BIAS = np.random.default_rng(3).normal(size=(B, 1, T, S))
MASK = np.random.default_rng(4).random((1, N, T, S)) < 0.7
ATTENTION = {
    "plain": ({}, True), "causal": (dict(is_causal=True), COLUMN <= ROW), "mask": (dict(mask=MASK), MASK),
    "window": (dict(local_window_size=1), abs(COLUMN - ROW) <= 1),
    "window to the left": (dict(local_window_size=(2, 0)), (COLUMN <= ROW) & (COLUMN >= ROW - 2)),
    "lengths of keys": (dict(key_value_seq_lengths=np.array([3, 4])), (COLUMN < np.array([3, 4])[:, None, None])[:, None]),
    "sees nothing": (dict(mask=np.zeros((1, 1, T, S), bool)), False),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    options, mask = ATTENTION[name]
    found = nn.dot_product_attention(Q, K, V, **options)
    np.testing.assert_allclose(np.asarray(found), attended(Q, K, V, mask), rtol=1e-11)
    single = nn.dot_product_attention(Q[1], K[1], V[1], **{k: v for k, v in options.items() if "lengths" not in k})
    if "lengths" not in name:
        np.testing.assert_allclose(np.asarray(single), np.asarray(found)[1], rtol=1e-11)


def test_attention_with_bias_groups_lengths_and_residual():
    found = nn.dot_product_attention(Q, K, V, BIAS, scale=0.3)
    np.testing.assert_allclose(np.asarray(found), attended(Q, K, V, True, BIAS, 0.3), rtol=1e-11)
    grouped = nn.dot_product_attention(Q, K[:, :, :2], V[:, :, :2])
    repeated = attended(Q, np.repeat(K[:, :, :2], 2, 2), np.repeat(V[:, :, :2], 2, 2), True)
    np.testing.assert_allclose(np.asarray(grouped), repeated, rtol=1e-11)
    short = nn.dot_product_attention(Q, K, V, query_seq_lengths=np.array([3, 5]))
    assert not np.any(short[0, 3:]) and np.all(np.asarray(short)[0, :3])
    _, residual = nn.dot_product_attention(Q, K, V, return_residual=True)
    logits = np.einsum("btnh,bsnh->btns", Q, K) / np.sqrt(H)
    np.testing.assert_allclose(np.asarray(residual), np.log(np.exp(logits).sum(-1)), rtol=1e-11)
    assert nn.dot_product_attention(*[fnp.asarray(x).astype("bfloat16") for x in (Q, K, V)]).dtype == fnp.bfloat16
    check_grads(lambda q, k, v: nn.dot_product_attention(q, k, v, is_causal=True), (Q[:, :2, :2], K[:, :2, :2], V[:, :2, :2]), 1)


def test_attention_of_what_does_not_fit():
    with pytest.raises(ValueError, match="the shapes do not fit"):
        nn.dot_product_attention(Q, K[:, :, :3], V[:, :, :3])
    with pytest.raises(ValueError, match="no such implementation"):
        nn.dot_product_attention(Q, K, V, implementation="cudnn")


def test_orthogonal_initial_values():
    key = fg.random.key(0)
    for shape, axis in (((4, 3), -1), ((3, 4), -1), ((2, 3, 4), 0), ((5, 2), 0)):
        values = np.moveaxis(np.asarray(nn.initializers.orthogonal(2.0, axis, np.float64)(key, shape)), axis, -1)
        matrix = values.reshape(-1, shape[axis]) / 2
        gram = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
        np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)
    kernel = np.asarray(nn.initializers.delta_orthogonal()(key, (3, 2, 4), "float32"))
    assert kernel.dtype == np.float32 and not kernel[[0, 2]].any()
    np.testing.assert_allclose(kernel[1] @ kernel[1].T, np.eye(2), atol=1e-6)
    with pytest.raises(ValueError, match="a matrix has two axes"):
        nn.initializers.orthogonal()(key, (3,))
    with pytest.raises(ValueError, match="not the shape of such a kernel"):
        nn.initializers.delta_orthogonal()(key, (3, 4, 2))
