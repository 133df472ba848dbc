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


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_torchs(name):
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

    (_, outputs), found = fg.jit(fg.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, inputs)
    assert len(outputs) == len(case["outputs"])
    for y, numbers_of_torch in zip(outputs, case["outputs"]):
        close(y, np.reshape(numbers_of_torch, y.shape))
    trees_close(found, (expected, {k: slopes[k] for k in inputs}))
