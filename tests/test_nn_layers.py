"""Layers for images and vectors: against values stored from torch, under transformations, at edges, and wrong uses."""
from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from layer_calls import CASES, case, wave

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, nn
from funcgrad.test_util import check_grads

STORED = json.loads((Path(__file__).parent / "reference" / "torch_layers.json").read_text())
KEY = fg.random.key(0)
F64 = {"dtype": np.float64}


def by_path(prefix, tree):
    return {prefix + fg.tree.keystr(path, simple=True, separator="."): leaf
            for path, leaf in fg.tree.flatten_with_path(tree)[0]}


def value_and_gradients(layer, state, train, wrap=lambda f: f):
    """A function of params and x: the result, the new state and the gradients, as torch_layers.json has them."""

    def weighted(params, x):
        y, new_state = wrap(lambda p, x: layer.apply(p, state, x, train=train))(params, x)
        return fnp.sum(y * wave(y.shape, 0.5)), (y, new_state)

    def run(params, x):
        real = not fg.tree.all(fg.tree.map(lambda leaf: leaf.dtype.kind in "iu", x))
        numbers = (0, 1) if real else (0,)
        (_, (y, new_state)), slopes = fg.value_and_grad(weighted, numbers, has_aux=True)(params, x)
        found = {"y": y, **by_path("state.", new_state), **by_path("params.", slopes[0])}
        return {**found, **(by_path("x." if isinstance(x, tuple) else "x", slopes[1]) if real else {})}

    return run


def assert_stored(found, name, rtol=1e-10):
    expected = STORED[name]
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        values = np.array(array["values"]).reshape(array["shape"])
        assert found[path].shape == values.shape, path
        np.testing.assert_allclose(found[path], values, rtol, rtol, err_msg=path)


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_are_those_of_torch(name):
    layer, params, state, x, train = case(name)
    found = value_and_gradients(layer, state, train)(params, x)
    assert_stored(found, name)
    for path, leaf in found.items():
        if not path.startswith("state"):
            assert leaf.dtype == np.float64, path


# The kernels of convolutions and windows in every geometry are compiled in test_convolution.py.
COMPILED = ["bilinear", "convolution, one image", "largest 2d", "mean, padding does not count", "adaptive means", "mean of all",
            "adaptive largest", "batch normalisation, training", "batch normalisation, evaluation", "layer normalisation",
            "layer normalisation, axes", "root mean square", "group normalisation", "instance normalisation", "weight norm",
            "spectral norm, training", "embedding"]


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_training_steps_are_those_of_torch(name):
    layer, params, state, x, train = case(name)
    run = fg.jit(value_and_gradients(layer, state, train))
    assert_stored(run(params, x), name)
    assert " host " not in str(run.lower(params, x).schedule())


NESTED = ["convolution, one image", "transposed, groups", "largest 2d", "adaptive means", "batch normalisation, training",
          "layer normalisation", "group normalisation", "weight norm", "spectral norm, training"]


@pytest.mark.parametrize("name", NESTED)
def test_gradients_through_checkpoint_jit_and_vmap(name):
    layer, params, state, x, train = case(name)
    assert_stored(value_and_gradients(layer, state, train, fg.checkpoint)(params, x), name)
    if name in ("largest 2d", "layer normalisation"):
        assert_stored(value_and_gradients(layer, state, train, fg.jit)(params, x), name)
    two = fg.tree.map(lambda a: np.stack([a, a + 1]), x)
    found = fg.vmap(value_and_gradients(layer, state, train), (None, 0))(params, two)
    assert_stored(fg.tree.map(lambda a: a[0], found), name)


@pytest.mark.parametrize("name", ["bilinear", "convolution, groups", "transposed 2d", "mean, padding does not count",
                                  "adaptive means", "batch normalisation, training", "layer normalisation", "root mean square",
                                  "instance normalisation", "weight norm", "spectral norm, evaluation"])
def test_second_derivatives(name):
    layer, params, state, x, train = case(name)
    check_grads(lambda p, x: fnp.sum(layer.apply(p, state, x, train=train)[0] ** 2), (params, x), order=2, modes=("rev",))


def test_a_gradient_penalty_through_convolution_and_normalisation():
    model = nn.Sequential(nn.Conv2d(2, 4, 3, **F64), nn.GroupNorm(2, 4, **F64), nn.tanh)
    params, _ = model.init(KEY)
    x = wave((2, 3, 4, 2))

    def penalty(params):
        slopes = fg.vmap(fg.grad(lambda x: fnp.sum(model(params, x[None]) * wave((3, 4, 4)))))(x)
        return fnp.mean((fnp.sqrt(fnp.sum(slopes**2, (1, 2, 3))) - 1) ** 2)

    check_grads(penalty, (params,), order=1, modes=("rev",))


# ---------------------------------------------------------------- convolutions and pools


@pytest.mark.parametrize("padding, sizes", [("SAME", (6, 6)), ("VALID", (7, 10)), ([1, (0, 2)], (5, 8))], ids=str)
@pytest.mark.parametrize("strides", [1, (2, 3)])
def test_a_transposed_convolution_is_the_derivative_of_a_convolution(padding, sizes, strides):
    # The sizes are such that the last window ends where x ends: else the transposed one gives fewer elements.
    there = nn.Conv2d(3, 2, (3, 4), strides, padding, bias=False, **F64)
    back = nn.ConvTranspose2d(2, 3, (3, 4), strides, padding, bias=False, **F64)
    params, _ = there.init(KEY)
    y, pull = fg.vjp(lambda x: there(params, x), wave((2, *sizes, 3)))
    ct = wave(y.shape, 1.0)
    turned = {"weight": np.swapaxes(params["weight"], 2, 3)}
    np.testing.assert_allclose(back(turned, ct), pull(ct)[0], rtol=1e-12, atol=1e-12)


def test_batch_axes_of_images():
    layers = [nn.Conv2d(2, 4, 3, strides=2), nn.ConvTranspose2d(2, 3, 2, strides=2), nn.MaxPool((2, 2)), nn.AvgPool((2, 2)),
              nn.AdaptiveAvgPool((3, 1)), nn.AdaptiveMaxPool((1, 2)), nn.DepthwiseConv2d(2, 3)]
    x = wave((3, 2, 4, 5, 2)).astype(np.float32)
    for layer in layers:
        params, _ = layer.init(KEY)
        y = np.asarray(layer(params, x))
        assert y.shape[:2] == (3, 2) and y.dtype == np.float32
        np.testing.assert_allclose(y[1], layer(params, x[1]), rtol=1e-6)
        np.testing.assert_allclose(y[1, 0], layer(params, x[1, 0]), rtol=1e-6)
        for empty in (x[:0], x[:, :0]):
            assert layer(params, empty).shape == (*empty.shape[:2], *y.shape[2:])
            assert fg.grad(lambda x, p=params, layer=layer: fnp.sum(layer(p, x)))(empty).shape == empty.shape
        assert layer(params, x[0, 0].tolist()).shape == y.shape[2:]


def test_pools_at_the_border():
    x = np.array([3.0, 1.0, 2.0, -5.0, 4.0])[:, None]
    np.testing.assert_array_equal(nn.MaxPool((2,), padding="SAME")({}, x)[:, 0], [3, 2, 4])
    np.testing.assert_array_equal(nn.MaxPool((3,), 2, padding=((1, 0),))({}, -x)[:, 0], [-1, 5])
    np.testing.assert_array_equal(nn.AvgPool((2,), padding="SAME")({}, x)[:, 0], [2, -1.5, 2])
    np.testing.assert_array_equal(nn.AvgPool((2,), padding="SAME", count_include_pad=False)({}, x)[:, 0], [2, -1.5, 4])
    np.testing.assert_array_equal(nn.MaxPool((2,))({}, x.astype(np.int8))[:, 0], [3, 2])
    assert nn.AvgPool((2,))({}, x.astype(np.int8)).dtype == np.float64
    large = nn.AvgPool((5,))({}, np.full((5, 1), 3e4, np.float16))
    assert large.dtype == np.float16 and float(large[0, 0]) == 3e4


def test_equal_elements_of_a_pool_give_the_gradient_to_the_first():
    x = np.zeros((5, 4, 1))
    for pool, expected in ((nn.MaxPool((2, 2)), 4), (nn.AdaptiveMaxPool((2, 2)), 4), (nn.AdaptiveMaxPool((3, 1)), 3)):
        slope = fg.grad(lambda x, pool=pool: fnp.sum(pool({}, x)))(x)
        assert float(slope.sum()) == expected and float(slope[0, 0, 0]) == 1 and not slope[1, 1, 0]


# ---------------------------------------------------------------- normalisation

NORMS = [nn.BatchNorm(6), nn.LayerNorm(6), nn.GroupNorm(3, 6), nn.InstanceNorm(6)]


@pytest.mark.parametrize("layer", NORMS, ids=str)
def test_normalisation_of_constants_and_around_large_means(layer):
    params, state = layer.init(KEY)

    def normal(x):
        return layer.apply(params, state, x, train=True)[0]

    for mean in (0.1, 1e6, 3.3e7, -12345.678):
        for run in (normal, fg.jit(normal)):
            assert np.abs(run(np.full((3, 5, 7, 6), mean, np.float32))).max() < 1e-3
    x = (np.random.default_rng(0).normal(size=(3, 5, 7, 6)) + 1e5).astype(np.float32)
    slope = fg.grad(lambda x: fnp.sum(fnp.sin(normal(x))))
    for run in (normal, fg.jit(normal), slope):
        exact = normal if run is not slope else slope
        np.testing.assert_allclose(run(x), exact(x.astype(np.float64)), atol=2e-5)


@pytest.mark.parametrize("layer", [*NORMS, nn.RMSNorm(6)], ids=str)
def test_normalisation_in_other_dtypes(layer):
    params, state = layer.init(KEY)
    x = np.random.default_rng(1).normal(size=(3, 5, 6)) * 3
    exact = layer.apply(params, state, x, train=True)[0]
    assert exact.dtype == np.float64
    for dtype, found, tolerance in (("float16", "float32", 5e-3), ("bfloat16", "float32", 5e-2), ("float32", "float32", 1e-5)):
        y = layer.apply(params, state, fnp.asarray(x).astype(dtype), train=True)[0]
        assert y.dtype == found
        np.testing.assert_allclose(y, exact, atol=tolerance)
    low = fg.tree.map(lambda leaf: leaf.astype("bfloat16"), params)
    assert layer.apply(low, state, fnp.asarray(x).astype("bfloat16"), train=True)[0].dtype == fnp.bfloat16
    assert layer.apply(params, state, np.arange(36).reshape(2, 3, 6))[0].dtype == np.float32


def test_masked_elements_do_not_count():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4, 5, 6))
    lengths = np.array([5, 2, 3, 1])
    rows = (np.arange(5) < lengths[:, None])[..., None]
    some = nn.BatchNorm(6, **F64)
    params, state = some.init(KEY)
    y, new_state = some.apply(params, state, x, train=True, mask=rows)
    expected, expected_state = some.apply(params, state, x[rows[..., 0]], train=True)
    np.testing.assert_allclose(np.asarray(y)[rows[..., 0]], expected, rtol=1e-12)
    for name in ("mean", "var"):
        np.testing.assert_allclose(new_state[name], expected_state[name], rtol=1e-12)
    _, kept = some.apply(params, new_state, x, train=True, mask=rows & False)
    for name in ("mean", "var"):
        np.testing.assert_array_equal(kept[name], new_state[name])
    columns = np.arange(6) < 4
    for layer in (nn.LayerNorm(), nn.RMSNorm()):
        found = layer.apply(fg.tree.map(lambda v: v[:4], layer.init(KEY, x)[0]), {}, x[..., :4])[0]
        np.testing.assert_allclose(layer.apply(layer.init(KEY, x)[0], {}, x, mask=columns)[0][..., :4], found, rtol=1e-12)
    for layer in (nn.GroupNorm(2, 6), nn.InstanceNorm(6)):
        params, _ = layer.init(KEY)
        found = fg.jit(lambda x, layer=layer, params=params: layer.apply(params, {}, x, mask=rows)[0])(x)
        for i, n in enumerate(lengths):
            np.testing.assert_allclose(found[i, :n], layer(params, x[i:i + 1, :n])[0], rtol=1e-9, atol=1e-12)
        nothing = fg.grad(lambda x, layer=layer, params=params: fnp.sum(layer.apply(params, {}, x, mask=rows & False)[0]))(x)
        assert np.isfinite(nothing).all()


def test_running_statistics():
    layer = nn.BatchNorm(3, momentum=0.2, **F64)
    params, state = layer.init(KEY)
    rng = np.random.default_rng(3)
    batches = rng.normal(size=(100, 50, 3)) * [1, 2, 3] + [0, 5, -5]
    step = fg.jit(lambda state, x: layer.apply(params, state, x, train=True))
    compiled = state
    for x in batches[:3]:
        _, compiled = step(compiled, x)
    over, _ = lax.scan(lambda state, x: (layer.apply(params, state, x, train=True)[1], None), state, batches[:3])
    for name in ("mean", "var"):
        np.testing.assert_allclose(compiled[name], over[name], rtol=1e-12)
    last, _ = lax.scan(lambda state, x: (layer.apply(params, state, x, train=True)[1], None), state, batches)
    np.testing.assert_allclose(last["mean"], [0, 5, -5], atol=0.5)
    np.testing.assert_allclose(last["var"], [1, 4, 9], rtol=0.2)
    y, same = layer.apply(params, last, batches[0])
    assert same is last
    np.testing.assert_allclose(y, (batches[0] - last["mean"]) / np.sqrt(last["var"] + 1e-5), rtol=1e-9)
    gradient = fg.grad(lambda x: fnp.sum(layer.apply(params, state, x, train=True)[1]["mean"]))(batches[0])
    assert not np.any(gradient)


def test_statistics_over_a_mapped_axis_are_those_of_the_whole_batch():
    x = np.random.default_rng(4).normal(size=(4, 3, 2, 5)) + 3
    apart, whole = nn.BatchNorm(5, axis_name="parts", **F64), nn.BatchNorm(5, **F64)
    params, state = whole.init(KEY)
    mask = np.random.default_rng(5).random((4, 3, 2, 1)) < 0.7

    def mapped(params, x, mask=None):
        run = fg.vmap(lambda x, m: apart.apply(params, state, x, train=True, mask=m), axis_name="parts",
                      out_axes=(0, None), in_axes=(0, None if mask is None else 0))
        return run(x, mask)

    for m in (None, mask):
        y, found = mapped(params, x, m)
        expected, expected_state = whole.apply(params, state, x, train=True, mask=m)
        np.testing.assert_allclose(y, expected, rtol=1e-10)
        for name in ("mean", "var"):
            np.testing.assert_allclose(found[name], expected_state[name], rtol=1e-12)
    for wrap in (lambda f: f, fg.jit):
        slopes = wrap(fg.grad(lambda p, x: fnp.sum(fnp.sin(mapped(p, x)[0])), (0, 1)))(params, x)
        expected = fg.grad(lambda p, x: fnp.sum(fnp.sin(whole.apply(p, state, x, train=True)[0])), (0, 1))(params, x)
        for a, b in zip(fg.tree.leaves(slopes), fg.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-11)


def test_spectral_norm_has_norm_one_and_follows_the_weight():
    layer = nn.SpectralNorm(nn.Linear(4, 3, bias=False, **F64), iterations=3)
    params, state = layer.init(KEY)
    for scale in (1.0, 5.0):
        params = {"layer": {"weight": scale * wave((4, 3))}}
        for _ in range(20):
            y, state = layer.apply(params, state, np.eye(4), train=True)
        assert float(np.linalg.norm(np.asarray(y), 2)) == pytest.approx(1, rel=1e-9)
    y, same = layer.apply(params, state, np.eye(4))
    assert float(np.linalg.norm(np.asarray(y), 2)) == pytest.approx(1, rel=1e-9)
    np.testing.assert_array_equal(same["left"], state["left"])
    half = fg.tree.map(lambda leaf: leaf.astype("float16"), params)
    assert layer.apply(half, state, fnp.eye(4, dtype="float16"))[0].dtype == np.float16


def test_normalised_weights_of_layers_that_have_state_options_and_open_sizes():
    x = wave((4, 3))
    model = nn.Sequential(nn.WeightNorm(nn.Linear(None, 5, **F64)), nn.SpectralNorm(nn.Linear(None, 2, **F64)))
    params, state = model.init(KEY, x)
    assert params["0"]["scale"].shape == (5,) and params["1"]["layer"]["weight"].shape == (5, 2)
    np.testing.assert_allclose(np.linalg.norm(params["0"]["layer"]["weight"], axis=0), params["0"]["scale"])
    assert set(state["1"]) == {"left", "right"}
    plain = nn.Linear(3, 5, **F64)
    np.testing.assert_allclose(nn.capture(model, params, state, x)[2]["0"], plain(params["0"]["layer"], x), rtol=1e-12)
    inner = nn.WeightNorm(nn.BatchNorm(3, scale_init=nn.initializers.constant(2.0), **F64), "scale")
    params, state = inner.init(KEY)
    y, state = inner.apply(params, state, x, train=True, mask=np.arange(4)[:, None] < 3)
    assert set(state["layer"]) == {"mean", "var"} and not np.isnan(y).any()
    zero = nn.WeightNorm(nn.Linear(3, 2, weight_init=nn.initializers.zeros))
    params, _ = zero.init(KEY)
    assert all(np.isfinite(leaf).all() for leaf in fg.tree.leaves(fg.grad(lambda p: fnp.sum(zero(p, x)))(params)))


# ---------------------------------------------------------------- dropout, embedding, flatten


def test_dropout():
    x = np.ones((200, 50), np.float32)
    layer = nn.Dropout(0.3)
    y, _ = layer.apply({}, {}, x, key=KEY, train=True)
    y = np.asarray(y)
    assert y.dtype == np.float32 and set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.7)}
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(fg.jit(lambda x, key: layer.apply({}, {}, x, key, True)[0])(x, KEY), y)
    np.testing.assert_array_equal(fg.grad(lambda x: fnp.sum(layer.apply({}, {}, x, KEY, True)[0]))(x), y)
    assert layer({}, x) is x and nn.Dropout(0.0).apply({}, {}, x, train=True)[0] is x
    assert not np.any(nn.Dropout(1.0).apply({}, {}, x, KEY, True)[0])
    slope = fg.grad(lambda x: fnp.sum(nn.Dropout(1.0).apply({}, {}, x, KEY, True)[0]))(x)
    assert not np.any(slope) and not np.isnan(slope).any()
    channels = np.asarray(nn.Dropout(0.5, broadcast_axes=[1, -2]).apply({}, {}, np.ones((8, 3, 4, 5)), KEY, True)[0])
    assert (channels == channels[:, :1, :1]).all() and 0 < (channels == 0).mean() < 1
    keys = fg.random.split(KEY, 3)
    each = np.asarray(fg.vmap(lambda x, key: layer.apply({}, {}, x, key, True)[0])(x[:3], keys))
    np.testing.assert_array_equal(each[1], layer.apply({}, {}, x[1], keys[1], True)[0])


def test_embedding():
    layer = nn.Embedding(5, 3)
    params, _ = layer.init(KEY)
    labels = np.array([[0, 4], [2, 2]])
    weight = np.asarray(params["weight"])
    for dtype in (np.int64, np.int8, np.uint8):
        np.testing.assert_array_equal(layer(params, labels.astype(dtype)), weight[labels])
    assert layer(params, np.zeros((0, 2), int)).shape == (0, 2, 3) and layer(params, 4).shape == (3,)
    slope = fg.grad(lambda p: fnp.sum(layer(p, labels)))(params)["weight"]
    np.testing.assert_array_equal(slope, np.array([1, 0, 2, 0, 1])[:, None] * np.ones(3))
    np.testing.assert_allclose(layer.attend(params, wave((2, 3))), wave((2, 3)) @ weight.T, rtol=1e-6)
    run = fg.jit(lambda labels: layer(params, labels))
    np.testing.assert_array_equal(run(labels), weight[labels])
    for wrong in (5, -1):
        with pytest.raises(IndexError, match=rf"Embedding\(5, 3\): a label is out of range(.|\n)*label {wrong}(.|\n)*0 to 4"):
            layer(params, np.array([0, wrong]))
        with pytest.raises(IndexError, match="index 5 is out of bounds"):
            run(np.array([[0, wrong], [0, 0]]))


def test_flatten():
    x = np.zeros((2, 3, 4))
    for axis, shape in ((0, (24,)), (1, (2, 12)), (2, (2, 3, 4)), (-1, (2, 3, 4)), (-2, (2, 12))):
        assert nn.Flatten(axis)({}, x).shape == shape
    assert nn.Flatten()({}, x[:0]).shape == (0, 12) and nn.Flatten()({}, x[:, :0]).shape == (2, 0)


# ---------------------------------------------------------------- models and wrong uses


def test_a_convolutional_network_takes_its_sizes_from_an_example():
    model = nn.Sequential(nn.Conv2d(None, 4, 3), nn.BatchNorm(), nn.relu, nn.MaxPool((2, 2)), nn.DepthwiseConv2d(None, 3),
                          nn.GroupNorm(2), nn.LayerNorm(), nn.RMSNorm(), nn.InstanceNorm(), nn.Dropout(0.5),
                          nn.ConvTranspose2d(None, 3, 2, 2), nn.AdaptiveAvgPool((1, 1)), nn.Flatten(), nn.Linear(None, 2))
    example = fg.ShapeDtypeStruct((2, 8, 8, 1), np.float32)
    params, state = model.init(KEY, example)
    assert params["10"]["weight"].shape == (2, 2, 4, 3) and set(state) == {"1"}
    x = wave((2, 8, 8, 1)).astype(np.float32)

    def step(params, state, x):
        return fg.value_and_grad(lambda p: (lambda y, s: (fnp.sum(y**2), s))(*model.apply(p, state, x, KEY, True)),
                                 has_aux=True)(params)

    (loss, new_state), slopes = step(params, state, x)
    assert np.isfinite(loss) and new_state["1"]["mean"].shape == (4,) and slopes["13"]["bias"].shape == (2,)
    assert all(leaf.dtype == np.float32 for leaf in fg.tree.leaves((slopes, new_state)))
    assert hash(nn.Conv2d(1, 2, [3, 3], padding=[[1, 0], 1])) == hash(nn.Conv2d(1, 2, (3, 3), padding=((1, 0), 1)))


def test_names_of_layers_show_what_was_given():
    assert str(nn.GroupNorm(2, epsilon=1e-3)) == "GroupNorm(2, epsilon=0.001)"
    assert str(nn.WeightNorm(nn.Conv2d(1, 2, 3, padding=[1, 0]))) == "WeightNorm(Conv2d(1, 2, 3, padding=(1, 0)))"


def layer_of(*layers):
    """A model of layers, and its parameters and state."""
    model = nn.Sequential(*layers)
    return model, *model.init(KEY)


def applied(*layers, x, **options):
    model, params, state = layer_of(*layers)
    return model.apply(params, state, x, **options)


WRONG = {
    "channels": (lambda: applied(nn.Conv2d(3, 4, 3), x=np.ones((2, 8, 8, 1))),
                 r"Conv2d\(3, 4, 3\) at '0': the last axis of x does not fit.*\(2, 8, 8, 1\).*\(..., 3\)"),
    "axes of an image": (lambda: applied(nn.Conv2d(3, 4, 3), x=np.ones((8, 3))), r"at '0': x has too few axes.*\(8, 3\).*at least 3"),
    "a weight of another kernel": (lambda: nn.Conv2d(3, 4, 3)({"weight": np.ones((5, 5, 3, 4)), "bias": np.ones(4)}, np.ones((8, 8, 3))),
                                   r"its weight does not fit.*\(5, 5, 3, 4\).*\(3, 3, in_features / groups, 4\)"),
    "a small image": (lambda: applied(nn.relu, nn.Conv2d(1, 4, 5, padding="VALID"), x=np.ones((1, 3, 3, 1))),
                      r"at '1': the window is larger than x.*\(1, 3, 3, 1\).*SAME"),
    "groups": (lambda: nn.Conv2d(3, 4, 3, groups=2).init(KEY), r"groups does not divide.*2 groups, 3 input and 4 output"),
    "kernel size": (lambda: nn.Conv2d(3, 4, (3, 3, 3)), r"kernel_size does not fit.*\(3, 3, 3\).*or 2: one for each"),
    "strides": (lambda: nn.MaxPool((2, 2), strides=0), r"strides does not fit.*0"),
    "padding's name": (lambda: nn.Conv1d(1, 1, 3, padding="same"), r"padding does not fit.*'same'.*'SAME'"),
    "padding": (lambda: nn.Conv1d(1, 1, 3, padding=(1, 2)), r"padding does not fit.*\(1, 2\).*1 integers or pairs"),
    "open size": (lambda: nn.Conv2d(None, 4, 3).init(KEY), r"in_features is not known.*init\(key, example\)"),
    "window": (lambda: nn.MaxPool(2), r"MaxPool\(2\): window does not tell.*called at test_nn_layers.py.*MaxPool\(\(2, 2\)\)"),
    "padding of a pool": (lambda: nn.MaxPool((2, 2), padding=2), r"padding does not fit the window.*nothing but padding"),
    "a large window": (lambda: applied(nn.MaxPool((4, 4)), x=np.ones((1, 3, 3, 1))), r"at '0': the window is larger than x"),
    "output size": (lambda: nn.AdaptiveAvgPool((0, 1)), r"output_size does not fit.*\(0, 1\)"),
    "output size, number": (lambda: nn.AdaptiveMaxPool(1), r"output_size does not tell.*AdaptiveMaxPool\(\(1, 1\)\)"),
    "no pixels": (lambda: nn.AdaptiveAvgPool((1, 1))({}, np.ones((2, 0, 3, 1))), r"x has no elements.*\(2, 0, 3, 1\)"),
    "features": (lambda: applied(nn.relu, nn.BatchNorm(3), x=np.ones((2, 4))), r"BatchNorm\(features=3\) at '1': the last axis.*\(2, 4\).*\(..., 3\)"),
    "one element": (lambda: applied(nn.BatchNorm(3), x=np.ones((1, 3)), train=True), r"at '0': there are not two elements.*\(1, 3\).*train=False"),
    "dropped state": (lambda: nn.BatchNorm(3).apply(nn.BatchNorm(3).init(KEY)[0], {}, np.ones((2, 3))),
                      r"its state is not there.*'mean', 'var'.*y, state = layer.apply\(params, state, x\)"),
    "called with state": (lambda: nn.BatchNorm(3)(nn.BatchNorm(3).init(KEY)[0], np.ones((2, 3))), r"its state is not there.*layer.apply"),
    "dropped spectral state": (lambda: nn.SpectralNorm(nn.Linear(2, 2))(nn.SpectralNorm(nn.Linear(2, 2)).init(KEY)[0], np.ones((1, 2))),
                               r"its state is not there.*'left', 'right'"),
    "layer norm": (lambda: applied(nn.LayerNorm((2, 3)), x=np.ones((3, 2))), r"at '0': the last axes of x do not fit.*\(3, 2\).*\(..., 2, 3\)"),
    "layer norm, open": (lambda: nn.LayerNorm()(nn.LayerNorm(3).init(KEY)[0], np.ones((2, 4))), r"the last axes.*\(2, 4\).*\(..., 3\)"),
    "complex": (lambda: applied(nn.LayerNorm(2), x=np.ones((1, 2), complex)), r"x is complex.*complex128\[1,2\]"),
    "group norm": (lambda: nn.GroupNorm(4, 6).init(KEY), r"groups does not divide the features.*4 groups of 6"),
    "instance norm": (lambda: applied(nn.InstanceNorm(3), x=np.ones((2, 3))), r"x has too few axes.*\(2, 3\).*x\[None\]"),
    "no such parameter": (lambda: nn.WeightNorm(nn.Linear(2, 2), "kernel").init(KEY), r"no parameter 'kernel'.*'weight', 'bias'"),
    "steps": (lambda: nn.SpectralNorm(nn.Linear(2, 2), iterations=0), r"iterations does not fit"),
    "no key": (lambda: applied(nn.relu, nn.Dropout(0.5), x=np.ones(3), train=True), r"Dropout\(0.5\) at '1': training needs a key.*key=key"),
    "rate": (lambda: nn.Dropout(1.5), r"rate is not a probability.*1.5"),
    "labels": (lambda: applied(nn.Embedding(3, 2), x=np.array([0.0])), r"at '0': x must hold integers.*float64\[1\].*astype"),
    "not a pair": (lambda: applied(nn.Bilinear(2, 2, 2), x=np.ones((1, 2))), r"x is not a pair.*ndarray"),
    "a pair of other sizes": (lambda: applied(nn.Bilinear(2, 3, 2), x=(np.ones((1, 2)), np.ones((1, 2)))), r"the last axis.*\(1, 2\).*\(..., 3\)"),
    "flatten": (lambda: applied(nn.Flatten(2), x=np.ones((1, 2))), r"at '0': x has no axis 2.*\(1, 2\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_told_with_the_place_and_the_shapes(name):
    call, text = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=re.compile(text, re.DOTALL)):
        call()
