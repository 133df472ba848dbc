"""Recurrent layers, attention with projections, transformer blocks and containers, against torch, NumPy and each other."""
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn
from funcgrad.test_util import check_grads

KEY = fg.random.key(0)
TORCH = json.loads((Path(__file__).parent / "reference" / "torch_sequences.json").read_text())
FEATURES = 4
exact_gelu = partial(nn.gelu, approximate=False)


def numbers(shape, seed):
    """Those of reference/make_torch_sequences.py."""
    return 0.9 * np.sin(1.7 * np.arange(np.prod(shape, dtype=int)) ** 1.2 + seed).reshape(shape)


def close(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance)


def trees_close(found, expected, tolerance=1e-10):
    assert fg.tree.structure(found) == fg.tree.structure(expected)
    fg.tree.map(partial(close, tolerance=tolerance), found, expected)


# ---------------------------------------------------------------- torch


def recurrent_params(weights, gradients=False):
    """Our parameters for torch's weights; or for its gradients, where a bias that torch has twice counts once."""
    params = {}
    for name, value in weights.items():
        if name.startswith("weight_ih_l"):
            suffix = name.removeprefix("weight_ih_l")
            cell = {"input": value.T, "recurrent": weights[f"weight_hh_l{suffix}"].T}
            if f"bias_ih_l{suffix}" in weights:
                first, second = (weights[f"bias_{kind}_l{suffix}"] for kind in ("ih", "hh"))
                if len(first) == 3 * FEATURES:
                    cell["recurrent_bias"] = second[2 * FEATURES:]
                    second = np.where(np.arange(3 * FEATURES) < 2 * FEATURES, second, 0)
                cell["bias"] = first if gradients else first + second
            params[suffix] = cell
    return params


def attention_params(weights):
    biases = np.split(weights["in_proj_bias"], 3)
    stacked = weights.get("in_proj_weight")
    split = [weights[f"{n}_proj_weight"] for n in "qkv"] if stacked is None else np.split(stacked, 3)
    params = {name: {"weight": w.T, "bias": b} for name, w, b in zip(("query", "key", "value"), split, biases)}
    return params | {"out": {"weight": weights["out_proj.weight"].T, "bias": weights["out_proj.bias"]}}


def block_params(weights):
    def within(prefix):
        return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    cross = "norm3.weight" in weights
    names = {"attention_norm": "norm1", "mlp_norm": "norm3" if cross else "norm2"} | ({"cross_norm": "norm2"} if cross else {})
    params = {ours: {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]} for ours, name in names.items()}
    params |= {ours: {"weight": weights[f"{name}.weight"].T, "bias": weights[f"{name}.bias"]}
               for ours, name in (("up", "linear1"), ("down", "linear2"))}
    params["attention"] = attention_params(within("self_attn."))
    return params | ({"cross_attention": attention_params(within("multihead_attn."))} if cross else {})


def recurrent_outputs(layer, params, x, h, c=None, mask=None):
    names = list(layer.init_cache(2))
    state = {name: {"carry": h[i] if c is None else (h[i], c[i])} for i, name in enumerate(names)}
    y, state = layer.apply(params, state, x, mask=mask)
    carries = [state[name]["carry"] for name in names]
    return [y, fnp.stack(carries)] if c is None else [y, *(fnp.stack(z) for z in zip(*carries))]


LENGTHS = np.arange(4) < np.array([[4], [2]])
HIDDEN = np.arange(5) < np.array([[5], [2]])[:, None, None]
CASES = {
    "rnn": (nn.RNN(3, 4), {}), "rnn relu": (nn.RNN(3, 4, bidirectional=True, activation=nn.relu), {}),
    "lstm": (nn.LSTM(3, 4), {}), "lstm deep": (nn.LSTM(3, 4, layers=2, bidirectional=True, bias=False), {}),
    "lstm packed": (nn.LSTM(3, 4, layers=2, bidirectional=True), {"mask": LENGTHS}),
    "gru": (nn.GRU(3, 4), {}), "gru packed": (nn.GRU(3, 4, layers=2, bidirectional=True), {"mask": LENGTHS}),
    "attention": (nn.MultiHeadAttention(4, 2), {}), "attention causal": (nn.MultiHeadAttention(4, 2, causal=True), {}),
    "attention cross": (nn.MultiHeadAttention(4, 2, memory_features=3), {"mask": HIDDEN}),
    "block": (nn.TransformerBlock(4, 2, causal=True, ratio=2, activation=exact_gelu), {}),
    "block post": (nn.TransformerBlock(4, 2, causal=True, ratio=2, activation=nn.relu, norm_first=False), {}),
    "block cross": (nn.TransformerBlock(4, 2, causal=True, ratio=2, activation=nn.relu, cross=True), {}),
}


def outputs_of(layer, params, options, inputs):
    if isinstance(layer, nn.MultiHeadAttention):
        with_weights = Named(layer)
        y, _, seen = nn.capture(with_weights, {"it": params}, {}, inputs | options)
        return [y, seen["it.weights"]]
    if isinstance(layer, nn.TransformerBlock):
        return [layer(params, inputs["x"], **{k: v for k, v in inputs.items() if k != "x"})]
    return recurrent_outputs(layer, params, **inputs, **options)


@dataclass(frozen=True)
class Named(nn.Composite):
    """A layer whose options come in a dict with its input."""

    layer: nn.Layer

    def parts(self):
        return {"it": self.layer}

    def forward(self, run, given):
        return run("it", given["x"], **{k: v for k, v in given.items() if k != "x"})


def torch_case(name):
    """A layer's loss, a function of its parameters and inputs; their values; torch's outputs and gradients."""
    layer, options = CASES[name]
    case = TORCH[name]
    weights = {k: numbers(shape, i) for i, (k, shape) in enumerate(case["weights"].items())}
    inputs = {k: numbers(shape, 100 + i) for i, (k, shape) in enumerate(case["inputs"].items())}
    slopes = {k: np.reshape(v, (weights | inputs)[k].shape) for k, v in case["gradients"].items()}
    weight_slopes = {k: slopes[k] for k in weights}
    if isinstance(layer, nn.MultiHeadAttention):
        params, expected = attention_params(weights), attention_params(weight_slopes)
    elif isinstance(layer, nn.TransformerBlock):
        params, expected = block_params(weights), block_params(weight_slopes)
    else:
        params, expected = recurrent_params(weights), recurrent_params(weight_slopes, gradients=True)
    nn.check_params(layer, fg.tree.map(np.float32, params))

    def loss(params, inputs):
        outputs = outputs_of(layer, params, options, inputs)
        return sum(fnp.sum(y * numbers(y.shape, 200 + i)) for i, y in enumerate(outputs)), outputs

    return loss, (params, inputs), case["outputs"], (expected, {k: slopes[k] for k in inputs})


def check_against_torch(name, transform):
    loss, arguments, outputs, gradients = torch_case(name)
    (_, ours), found = transform(fg.value_and_grad(loss, argnums=(0, 1), has_aux=True))(*arguments)
    assert len(ours) == len(outputs)
    for y, expected in zip(ours, outputs):
        close(y, np.reshape(expected, y.shape))
    trees_close(found, gradients)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_torchs(name):
    check_against_torch(name, lambda f: f)


@pytest.mark.parametrize("name", ["lstm", "gru packed", "attention cross", "block cross"])
def test_compiled_outputs_and_gradients_are_torchs(name):
    check_against_torch(name, fg.jit)


# ---------------------------------------------------------------- recurrent layers


RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 3))
WIDE = {"dtype": np.float64}
CELLS = {"rnn": nn.RNNCell(3, 4, **WIDE), "lstm": nn.LSTMCell(3, 4, **WIDE), "gru": nn.GRUCell(3, 4, **WIDE)}


@dataclass(frozen=True)
class Leaky(nn.Cell):
    """A cell of a user's."""

    rate: float = 0.5

    def step(self, params, carry, projected):
        h = self.rate * carry + (1 - self.rate) * nn.tanh(self.biased(params, projected + carry @ params["recurrent"]))
        return h, h


@pytest.mark.parametrize("cell", [*CELLS.values(), Leaky(3, 4, rate=0.9, **WIDE)], ids=[*CELLS, "user's"])
def test_a_layer_is_its_cell_step_by_step(cell):
    layer = nn.Recurrent(cell)
    params, state = layer.init(KEY)
    assert state == {}
    whole, last = layer.apply(params, layer.init_cache(2), X)
    state, ys = cell.init_cache(2), []
    for t in range(5):
        y, state = cell.apply(params, state, X[:, t])
        ys.append(y)
    close(fnp.stack(ys, 1), whole)
    trees_close(state, last)
    first, middle = layer.apply(params, layer.init_cache(2), X[:, :2])
    second, end = layer.apply(params, middle, X[:, 2:])
    close(fnp.concatenate([first, second], 1), whole)
    trees_close(end, last)
    close(layer(params, X), whole)
    close(fg.vmap(layer, (None, 0))(params, X), whole)
    close(nn.Recurrent(cell, reverse=True)(params, X[:, ::-1])[:, ::-1], whole)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_a_padded_sequence_gives_what_it_gives_alone(kind):
    layer = kind(3, 2, layers=2, bidirectional=True, **WIDE)
    params, _ = layer.init(KEY)
    lengths = np.array([5, 3])
    y, state = layer.apply(params, layer.init_cache(2), X, mask=np.arange(5) < lengths[:, None])
    for i, n in enumerate(lengths):
        alone, own = layer.apply(params, layer.init_cache(1), X[i:i + 1, :n])
        close(y[i:i + 1, :n], alone)
        assert not np.any(y[i, n:])
        trees_close(fg.tree.map(lambda a, i=i: a[i:i + 1], state), own)


def test_parameters_of_recurrent_layers():
    params, _ = nn.LSTM(None, 4, layers=2, bidirectional=True, forget_bias=2.0).init(KEY, fnp.ones((2, 5, 3)))
    assert {k: v["input"].shape for k, v in params.items()} == {
        "0": (3, 16), "0_reverse": (3, 16), "1": (8, 16), "1_reverse": (8, 16)}
    recurrent = np.asarray(params["0"]["recurrent"]).reshape(4, 4, 4)
    assert recurrent.dtype == np.float32
    close(np.einsum("igo,jgo->gij", recurrent, recurrent), np.broadcast_to(np.eye(4), (4, 4, 4)), 1e-5)
    np.testing.assert_array_equal(params["1"]["bias"], np.repeat([0, 2, 0, 0], 4))
    layer = nn.GRU(3, 4)
    params, _ = layer.init(KEY)
    assert layer(params, X.astype("f")).dtype == np.float32 and layer(params, X).dtype == np.float64
    _, state = layer.apply(params, layer.init_cache(2), X)
    assert state["0"]["carry"].dtype == np.float64


def test_dropout_between_recurrent_layers():
    layer = nn.RNN(3, 50, layers=2, dropout=0.5, **WIDE)
    params, _ = layer.init(KEY)
    y, _, seen = nn.capture(layer, params, {}, X, KEY, True)
    assert 0.35 < np.mean(np.asarray(seen["dropout"]) == 0) < 0.65
    close(nn.Recurrent(nn.RNNCell(50, 50, **WIDE))(params["1"], seen["dropout"]), y)
    close(layer(params, X), nn.RNN(3, 50, layers=2, **WIDE)(params, X))
    with pytest.raises(ValueError, match=r"Dropout\(0.5\) at 'dropout': training needs a key"):
        layer(params, X, train=True)


@pytest.mark.parametrize("name", CELLS)
def test_derivatives_of_recurrent_layers(name):
    layer = nn.Recurrent(CELLS[name])
    params, _ = layer.init(KEY)
    x, mask = X[:, :3], np.array([[True, True, True], [True, False, False]])

    def loss(params, x):
        return fnp.sum(layer(params, x, mask=mask) ** 3)

    check_grads(loss, (params, x), order=2)
    expected = fg.grad(loss)(params, x)
    trees_close(fg.grad(fg.checkpoint(loss))(params, x), expected)
    one_by_one = fg.vmap(fg.grad(lambda p, x, m: fnp.sum(layer(p, x, mask=m) ** 3)), (None, 0, 0))(params, x, mask)
    trees_close(fg.tree.map(lambda g: fnp.sum(g, 0), one_by_one), expected)


@pytest.mark.parametrize("layer", [nn.LSTM(3, 4, bidirectional=True), nn.GRU(3, 4), nn.MultiHeadAttention(3, 1, causal=True),
                                   nn.Repeat(nn.TransformerBlock(3, 1, causal=True), 2)], ids=str)
def test_shapes_and_dtypes_at_the_edges(layer):
    params, _ = layer.init(KEY)
    features = layer(params, X).shape[-1]
    for shape in ((2, 0), (0, 4), (4,), (1, 1)):
        x = fnp.ones((*shape, 3), np.float32)
        y = layer(params, x)
        assert y.shape == (*shape, features) and y.dtype == np.float32
        slope = fg.grad(lambda p, x=x: fnp.sum(layer(p, x)))(params)
        assert all(np.isfinite(np.asarray(g)).all() for g in fg.tree.leaves(slope))
    half = fg.tree.map(lambda a: a.astype("bfloat16"), params)
    y = layer(half, X.astype("f").astype(fnp.bfloat16))
    assert y.dtype == fnp.bfloat16
    close(y.astype("float32"), layer(params, X), 0.1)


def test_an_ensemble_is_its_members():
    for layer in (nn.GRU(3, 4, **WIDE), nn.Repeat(nn.TransformerBlock(3, 1, **WIDE), 2)):
        params, _ = fg.vmap(layer.init)(fg.random.split(KEY, 2))

        def slope(params, x, layer=layer):
            return fg.grad(lambda p, x: fnp.sum(layer(p, x) ** 2), (0, 1))(params, x)

        found = fg.vmap(slope, (0, None))(params, X)
        for i in range(2):
            trees_close(fg.tree.map(lambda a, i=i: a[i], found), slope(fg.tree.map(lambda a, i=i: a[i], params), X))


def test_training_steps_run_without_host_steps():
    for layer in (nn.LSTM(3, 4, layers=2, bidirectional=True), nn.GRU(3, 4), nn.Repeat(nn.TransformerBlock(4, 2, causal=True), 2)):
        params, _ = layer.init(KEY)
        x = fnp.ones((2, 5, 4 if isinstance(layer, nn.Repeat) else 3), np.float32)
        lowered = fg.jit(fg.grad(lambda p, x, layer=layer: fnp.mean(layer(p, x)))).lower(params, x)
        assert "host" not in lowered.schedule() and "for " in lowered.schedule()


# ---------------------------------------------------------------- positions


def test_rotary_embedding_is_a_rotation_by_position():
    x = RNG.normal(size=(2, 5, 3, 8))
    positions = np.array([[0, 1, 2, 3, 4], [7, 9, 11, 2, 0]])
    for given, base in ((None, 10000.0), (positions[1], 500.0), (positions, 10000.0)):
        at = positions[:1] if given is None else given
        turn = np.exp(1j * at[..., None] * base ** (-np.arange(4) / 4))[..., None, :]
        turned = (x[..., :4] + 1j * x[..., 4:]) * turn
        found = nn.rotary_embedding(x, given, base)
        close(found, np.concatenate([turned.real, turned.imag], -1), 1e-12)
        close(nn.rotary_embedding(x.astype("f"), given, base), found, 1e-5)
    a, b = (nn.rotary_embedding(np.broadcast_to(v, (6, 1, 8))) for v in (x[0, 0, 0], x[0, 0, 1]))
    products = np.asarray(a[:, 0] @ b[:, 0].T)
    close(products[1:, 1:], products[:-1, :-1])
    check_grads(nn.rotary_embedding, (x[0],), order=1)


def test_sinusoidal_positions():
    angles = np.arange(7)[:, None] / 10000.0 ** (np.arange(0, 6, 2) / 6)
    expected = np.stack([np.sin(angles), np.cos(angles)], -1).reshape(7, 6)
    close(nn.sinusoidal_positions(7, 6, dtype=np.float64), expected, 1e-12)
    close(fg.jit(lambda at: nn.sinusoidal_positions(at, 6))(fnp.array([[2, 6]])), expected[[[2, 6]]], 1e-6)
    assert nn.sinusoidal_positions(7, 6).dtype == np.float32


# ---------------------------------------------------------------- attention


Z = RNG.normal(size=(2, 6, 8))
DECODERS = {
    "attention": nn.MultiHeadAttention(8, 4, causal=True, **WIDE),
    "rotary, grouped": nn.MultiHeadAttention(8, 4, key_value_heads=2, causal=True, rotary=True, **WIDE),
    "block": nn.TransformerBlock(8, 2, causal=True, rotary=True, norm=nn.RMSNorm, **WIDE),
    "blocks": nn.Repeat(nn.TransformerBlock(8, 2, causal=True, rotary=True, **WIDE), 2),
    "mixed": nn.Sequential(nn.LSTM(8, 8, **WIDE), nn.relu, nn.TransformerBlock(8, 2, causal=True, **WIDE)),
}


@pytest.mark.parametrize("name", DECODERS)
def test_piece_by_piece_is_the_whole(name):
    layer = DECODERS[name]
    params, _ = layer.init(KEY)
    whole = layer(params, Z)
    state, pieces = layer.init_cache(2, 6), []
    for start, stop in ((0, 3), (3, 4), (4, 6)):
        y, state = layer.apply(params, state, Z[:, start:stop])
        pieces.append(y)
    close(fnp.concatenate(pieces, 1), whole)

    @fg.jit
    def decode(params, state, x):
        def step(state, x):
            y, state = layer.apply(params, state, x[:, None])
            return state, y[:, 0]
        return fg.lax.scan(step, state, fnp.moveaxis(x, 1, 0))

    again, ys = decode(params, layer.init_cache(2, 6), Z)
    close(fnp.moveaxis(ys, 0, 1), whole)
    trees_close(again, state)


def test_a_full_cache():
    layer = DECODERS["attention"]
    params, _ = layer.init(KEY)
    _, state = layer.apply(params, layer.init_cache(2, 5), Z[:, :4])
    with pytest.raises(ValueError, match=r"the cache is full(.|\n)*2 more positions than the 4 seen(.|\n)*at most 5"):
        layer.apply(params, state, Z[:, 4:])
    y, state = fg.jit(layer.apply)(params, state, Z[:, 4:])
    assert np.isnan(np.asarray(y)).all() and int(state["cache"]["seen"]) == 6
    y, _ = fg.jit(layer.apply)(params, state, Z[:, 5:])
    assert np.isnan(np.asarray(y)).all()


def test_sequences_of_different_lengths_have_caches_of_their_own():
    layer = DECODERS["rotary, grouped"]
    params, _ = layer.init(KEY)
    whole = np.asarray(layer(params, Z))
    caches = []
    for i, n in enumerate((2, 4)):
        empty = layer.init_cache(1, 6)["cache"]
        one = {"cache": {"key": empty["key"][0], "value": empty["value"][0], "seen": empty["seen"]}}
        caches.append(layer.apply(params, one, Z[i, :n])[1])
    both = fg.tree.map(lambda a, b: fnp.stack([a, b]), *caches)
    y, after = fg.vmap(layer.apply, (None, 0, 0))(params, both, np.stack([Z[0, 2:3], Z[1, 4:5]]))
    close(y[:, 0], whole[[0, 1], [2, 4]])
    assert after["cache"]["seen"].tolist() == [3, 5]


def test_grouped_queries_are_repeated_heads():
    layer = nn.MultiHeadAttention(8, 4, key_value_heads=2, rotary=True, **WIDE)
    params, _ = layer.init(KEY)
    wide = fg.tree.map(lambda a: np.asarray(a), params)
    for name in ("key", "value"):
        wide[name] = fg.tree.map(lambda a: np.repeat(a.reshape(-1, 2, 2), 2, 1).reshape(*a.shape[:-1], 8), wide[name])
    close(layer(params, Z), nn.MultiHeadAttention(8, 4, rotary=True, **WIDE)(wide, Z))


def test_masks_memory_and_batches_of_attention():
    layer = nn.MultiHeadAttention(8, 4, causal=True, memory_features=3, **WIDE)
    params, _ = layer.init(KEY)
    there = np.arange(5) < np.array([[5], [2]])
    found = layer(params, Z, memory=X, mask=there[:, None, None])
    close(found[1:], layer(params, Z[1:], memory=X[1:, :2]))
    close(fg.vmap(lambda x, m, t: layer(params, x, memory=m, mask=t))(Z, X, there), found)
    assert layer.init_cache(2, 5) == {}
    check_grads(lambda p, x, m: layer(p, x, memory=m, mask=there[:, None, None]), (params, Z[:, :2], X), order=2, modes=["rev"])
    block = nn.TransformerBlock(8, 2, causal=True, cross=True, **WIDE)
    params, _ = block.init(KEY)
    memory = RNG.normal(size=(2, 5, 8))
    whole = block(params, Z, memory=memory, memory_mask=there[:, None, None])
    state = block.init_cache(2, 6)
    assert set(state) == {"attention"}
    for start, stop in ((0, 4), (4, 6)):
        y, state = block.apply(params, state, Z[:, start:stop], memory=memory, memory_mask=there[:, None, None])
        close(y, whole[:, start:stop])


def test_dropout_of_attention_weights():
    layer = nn.MultiHeadAttention(8, 4, dropout=0.5, **WIDE)
    params, _ = layer.init(KEY)
    y, _, dropped = nn.capture(layer, params, {}, Z, KEY, True)
    _, _, kept = nn.capture(layer, params, {}, Z)
    dropped, kept = np.asarray(dropped["weights"]), np.asarray(kept["weights"])
    assert dropped.shape == (2, 4, 6, 6) and 0.35 < np.mean(dropped == 0) < 0.65
    close(dropped[dropped != 0], 2 * kept[dropped != 0])
    value = np.asarray(Z @ params["value"]["weight"] + params["value"]["bias"]).reshape(2, 6, 4, 2)
    mixed = np.einsum("bnts,bsnh->btnh", dropped, value).reshape(2, 6, 8)
    close(y, mixed @ params["out"]["weight"] + params["out"]["bias"])


# ---------------------------------------------------------------- containers


def test_residual_and_parallel():
    inner = nn.Linear(3, 3, **WIDE)
    layer = nn.Residual(inner)
    params, _ = layer.init(KEY)
    close(layer(params, X), inner(params["layer"], X) + X)
    layer = nn.Residual(nn.Sequential(nn.Linear(None, 4, **WIDE), nn.relu), nn.Linear(None, 4, bias=False, **WIDE))
    params, _ = layer.init(KEY, X)
    close(layer(params, X), np.maximum(X @ params["layer"]["0"]["weight"], 0) + X @ params["projection"]["weight"])
    close(nn.Residual(nn.relu)({}, X), np.maximum(X, 0) + X)
    attention = nn.Residual(nn.MultiHeadAttention(8, 4, **WIDE))
    params, _ = attention.init(KEY)
    mask = np.eye(6, dtype=bool)
    close(attention(params, Z, mask=mask), Z + attention.layer(params["layer"], Z, mask=mask))

    one, two = nn.Linear(3, 2, **WIDE), nn.Linear(3, 2, **WIDE)
    for parallel, names in ((nn.Parallel(one, two), ("0", "1")), (nn.Parallel(a=one, b=two, combine="concatenate"), ("a", "b")),
                            (nn.Parallel(one, b=two, combine="tuple"), ("0", "b"))):
        params, _ = parallel.init(KEY)
        ys = [one(params[name], X) for name in names]
        expected = {"sum": ys[0] + ys[1], "concatenate": np.concatenate(ys, -1), "tuple": tuple(ys)}[parallel.combine]
        trees_close(parallel(params, X), expected)
        assert hash(parallel) == hash(parallel) and str(parallel)


@dataclass(frozen=True)
class Noisy(nn.Composite):
    """A layer with all that a layer may have: parameters, parts, noise, and a count as its state."""

    def parts(self):
        return {"linear": nn.Linear(3, 3, **WIDE), "drop": nn.Dropout(0.5)}

    def init(self, key, example=None):
        params, state = super().init(key, example)
        return params, {**state, "calls": fnp.zeros((), np.int32)}

    def forward(self, run, x, scale=1.0):
        run.state["calls"] = run.state["calls"] + 1
        return run("drop", nn.tanh(scale * run("linear", x)))


@pytest.mark.parametrize("checkpoint", [False, True])
def test_repeat_is_one_layer_after_another(checkpoint):
    layer = nn.Repeat(Noisy(), 3, checkpoint)
    params, state = layer.init(KEY)
    assert params["linear"]["weight"].shape == (3, 3, 3) and state["calls"].shape == (3,)
    rows = np.asarray(params["linear"]["weight"])
    assert not np.allclose(rows[0], rows[1])
    assert float(nn.Repeat(fnp.sqrt, 3, checkpoint)({}, 256.0)) == 2.0

    def unrolled(params, x, keys, train):
        for i in range(3):
            own = fg.tree.map(lambda a, i=i: a[i], (params, state))
            x, _ = Noisy().apply(*own, x, keys[i], train, scale=2.0)
        return x

    def repeated(params, x):
        return layer.apply(params, state, x, KEY, True, scale=2.0)[0]

    keys = fg.random.split(KEY, 3)
    close(repeated(params, X), unrolled(params, X, keys, True))
    _, after = layer.apply(params, state, X)
    assert after["calls"].tolist() == [1, 1, 1]
    slopes = fg.grad(lambda p, x: fnp.sum(unrolled(p, x, keys, True) ** 2), (0, 1))(params, X)
    for transform in (lambda f: f, fg.jit):
        trees_close(transform(fg.grad(lambda p, x: fnp.sum(repeated(p, x) ** 2), (0, 1)))(params, X), slopes)
    close(fg.vmap(repeated, (None, 0))(params, fnp.stack([X, X])), fnp.stack([unrolled(params, X, keys, True)] * 2))
    check_grads(repeated, (params, X[:, :1]), order=2, modes=["rev"])


@pytest.mark.parametrize("checkpoint", [False, True])
def test_capture_stacks_what_repeated_layers_returned(checkpoint):
    model = nn.Sequential(nn.Linear(3, 3, **WIDE), nn.Repeat(nn.Sequential(nn.Linear(3, 3, **WIDE), nn.tanh), 3, checkpoint))
    params, state = model.init(KEY)
    y, _, seen = fg.jit(lambda p: nn.capture(model, p, state, X, inputs=True))(params)
    assert list(seen) == ["0", "1.0", "1.1", "1"]
    close(seen["1.1"][1], np.tanh(seen["1.0"][1]))
    close(seen["1.0"][0][0], seen["0"][1])
    close(seen["1.0"][0][1:], seen["1.1"][1][:-1])
    close(seen["1.1"][1][-1], y)
    slope = fg.grad(lambda p: fnp.sum(nn.capture(model, p, state, X)[2]["1.0"][0]))(params)
    assert np.any(slope["1"]["0"]["weight"][0]) and not np.any(slope["1"]["0"]["weight"][1:])


def test_a_deep_stack_is_traced_once():
    def equations(count):
        layer = nn.Repeat(nn.TransformerBlock(4, 2), count)
        params, _ = layer.init(KEY)
        return len(str(fg.make_jaxpr(fg.grad(lambda p: fnp.sum(layer(p, fnp.ones((2, 4), np.float32)))))(params)))

    assert abs(equations(2) - equations(9)) < 0.01 * equations(2)


# ---------------------------------------------------------------- what does not fit


def params_of(layer):
    return layer.init(KEY)[0]


def called(layer, x, **options):
    return lambda: layer(params_of(layer), x, **options)


LSTM, ATTENTION, BLOCK = nn.LSTM(3, 4), nn.MultiHeadAttention(8, 4, causal=True), nn.TransformerBlock(8, 2)


WRONG = [
    (called(nn.Sequential(LSTM, nn.LSTM(5, 2)), X), r"LSTMCell\(5, 2\) at '1.0': the last axis(.|\n)*\(5, 2, 4\)(.|\n)*\(..., 5\)"),
    (called(LSTM, np.ones(3)), r"at '0': x has no axis of time(.|\n)*\(3,\)"),
    (called(LSTM, X, mask=np.ones((5, 2), bool)), r"the mask does not fit(.|\n)*\(5, 2\)(.|\n)*\(2, 5\)"),
    (lambda: LSTM.apply(params_of(LSTM), LSTM.init_cache(3), X), r"at '0': the carry(.|\n)*\(3, 4\)(.|\n)*\(2, 4\)"),
    (lambda: nn.LSTM(None, 4).init(KEY), r"LSTMCell\(None, 4\) at '0': in_features is not known"),
    (lambda: LSTM({"0": {"input": np.ones((3, 16))}}, X), r"its params are not there(.|\n)*'input', 'recurrent', 'bias'"),
    (lambda: nn.MultiHeadAttention(8, 3), r"features cannot be shared among heads(.|\n)*features=8, heads=3"),
    (lambda: nn.MultiHeadAttention(8, 4, key_value_heads=3), r"heads cannot be shared among key_value_heads(.|\n)*=4(.|\n)*=3"),
    (called(ATTENTION, X), r"at 'query': the last axis(.|\n)*\(2, 5, 3\)(.|\n)*\(..., 8\)"),
    (called(ATTENTION, Z, mask=np.ones((2, 6), bool)), r"the mask does not fit(.|\n)*bool\[2,6\](.|\n)*\(2, 4, 6, 6\)"),
    (called(ATTENTION, Z, mask=np.ones((6, 6))), r"the mask does not fit(.|\n)*float64\[6,6\]"),
    (lambda: BLOCK.init_cache(2, 5), r"at 'attention': it cannot go .* piece by piece(.|\n)*causal=False"),
    (lambda: ATTENTION.init_cache(2), r"it cannot go (.|\n)*None"),
    (lambda: ATTENTION.apply(params_of(ATTENTION), ATTENTION.init_cache(3, 6), Z.astype("f")), r"the cache does not fit"),
    (lambda: ATTENTION.apply(params_of(ATTENTION), ATTENTION.init_cache(2, 6), Z), r"cache of type float32(.|\n)*keys of type float64"),
    (called(ATTENTION, Z[0, 0]), r"not sequences of the same batch(.|\n)*\(8,\)"),
    (called(ATTENTION, Z, memory=Z[0]), r"not sequences of the same batch(.|\n)*\(2, 6, 8\), memory of shape \(6, 8\)"),
    (called(BLOCK, Z, memory=Z), r"it does not attend to a memory(.|\n)*cross=False"),
    (called(nn.TransformerBlock(8, 2, cross=True), Z), r"it has no memory(.|\n)*cross=True"),
    (lambda: nn.rotary_embedding(np.ones((2, 1, 3))), r"features come in pairs(.|\n)*3 features"),
    (lambda: nn.rotary_embedding(np.ones((2, 1, 4)), np.arange(3)), r"positions do not belong(.|\n)*\(2,\)"),
    (lambda: nn.sinusoidal_positions(3, 5), r"sinusoidal_positions: features come in pairs"),
    (called(nn.Residual(nn.Linear(3, 4)), X), r"\(2, 5, 4\) and \(2, 5, 3\)(.|\n)*projection="),
    (called(nn.Parallel(a=nn.Linear(3, 4), b=nn.Linear(3, 5)), X), r"a: \(2, 5, 4\), b: \(2, 5, 5\)"),
    (lambda: nn.Parallel(nn.relu, combine="mean"), r"unknown combine(.|\n)*'mean'"),
    (lambda: nn.Parallel(), "nothing to run"),
    (lambda: nn.Parallel(nn.relu, x=3), "argument x is not a layer"),
    (called(nn.Repeat(nn.Linear(3, 4), 2), X), r"a layer cannot take(.|\n)*4(.|\n)*one shape and dtype"),
    (lambda: nn.Repeat(nn.Linear(3, 3), 2)(params_of(nn.Repeat(nn.Linear(3, 3), 3)), X), "not those of so many layers"),
    (lambda: nn.Repeat(nn.Linear(3, 3), 0), "nothing to repeat"),
    (lambda: nn.GRU(3, 4, layers=0), "nothing to run"),
]


@pytest.mark.parametrize("call, error", WRONG, ids=range(len(WRONG)))
def test_sequences_refuse_what_does_not_fit(call, error):
    with pytest.raises((TypeError, ValueError), match=error):
        call()
