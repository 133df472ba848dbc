"""Writes torch_layers.json: for each case of layer_calls.py the result by torch, its new state, and gradients.

Run with an environment that has torch: PYTHONPATH=.:tests python tests/reference/make_torch_layers.py > tests/reference/torch_layers.json
"""
import json

import numpy as np
import torch
import torch.nn.functional as F
from layer_calls import CASES, case, wave
from torch.nn.utils import parametrizations


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def kernel(w):
    return w.movedim((-1, -2), (0, 1))


def conv(function, pads=None, **options):
    def call(p, s, x):
        batched = x if x.ndim == p["weight"].ndim else x[None]
        y = channels_first(batched)
        if pads:
            y = F.pad(y, pads)
        y = channels_last(function(y, kernel(p["weight"]), p.get("bias"), **options))
        return (y if batched is x else y[0]), s

    return call


def transposed(function, **options):
    def call(p, s, x):
        return channels_last(function(channels_first(x), p["weight"].movedim((-2, -1), (0, 1)), p["bias"], **options)), s

    return call


def pool(function, *arguments, **options):
    return lambda p, s, x: (channels_last(function(channels_first(x), *arguments, **options)), s)


def batch_norm(train, momentum=0.1, eps=1e-5):
    def call(p, s, x):
        mean, var = s["mean"].clone(), s["var"].clone()
        y = F.batch_norm(channels_first(x), mean, var, p.get("scale"), p.get("bias"), train, momentum, eps)
        return channels_last(y), {"mean": mean, "var": var}

    return call


def weight_norm(function):
    def call(p, s, x):
        v = p["layer"]["weight"]
        length = torch.sqrt((v ** 2).sum(tuple(range(v.ndim - 1))))
        return function({**p["layer"], "weight": v / length * p["scale"]}, s, x)

    return call


def spectral_norm(function, train, iterations=1):
    def call(p, s, x):
        v = p["layer"]["weight"]
        holder = torch.nn.Linear(1, 1, bias=False).double()
        holder.weight = torch.nn.Parameter(torch.zeros_like(v.reshape(-1, v.shape[-1]).T))
        rule = parametrizations.spectral_norm(holder, n_power_iterations=iterations).parametrizations.weight[0]
        rule._u, rule._v = s["right"].clone(), s["left"].clone()
        rule.train(train)
        weight = rule(v.reshape(-1, v.shape[-1]).T).T.reshape(v.shape)
        return function({**p["layer"], "weight": weight}, {}, x)[0], {"left": rule._v, "right": rule._u}

    return call


def linear(p, s, x):
    return F.linear(x, p["weight"].T, p["bias"]), s


small = conv(F.conv2d)
CALLS = {
    "linear": linear,
    "bilinear": lambda p, s, x: (F.bilinear(x[0], x[1], p["weight"].movedim(-1, 0), p["bias"]), s),
    "convolution 1d": conv(F.conv1d, stride=2, padding=1, dilation=2),
    "convolution 2d": conv(F.conv2d, stride=(2, 1)),
    "convolution, same": conv(F.conv2d, padding="same", dilation=(1, 2)),
    "convolution, groups": conv(F.conv2d, (0, 2, 1, 1), groups=2),
    "convolution, one image": small,
    "convolution 3d": conv(F.conv3d, stride=(1, 2, 1)),
    "depthwise": conv(F.conv2d, padding=1, groups=3),
    "transposed 1d": transposed(F.conv_transpose1d, stride=2, padding=1, output_padding=1),
    "transposed 2d": transposed(F.conv_transpose2d, stride=(2, 3), padding=(1, 0), dilation=(1, 2)),
    "transposed, groups": lambda p, s, x: (channels_last(F.conv_transpose2d(
        channels_first(x), torch.cat([p["weight"][..., :2], p["weight"][..., 2:]], 2).movedim((-2, -1), (0, 1)), p["bias"],
        groups=2)), s),
    "transposed 3d": transposed(F.conv_transpose3d, stride=2),
    "largest 1d": pool(F.max_pool1d, 3, 2, 1),
    "largest 2d": pool(F.max_pool2d, (2, 3), (1, 2)),
    "largest 3d": pool(F.max_pool3d, (2, 2, 1)),
    "mean 2d": pool(F.avg_pool2d, (2, 3), (1, 2), (1, 1)),
    "mean, padding does not count": pool(F.avg_pool2d, (2, 3), 2, (1, 1), count_include_pad=False),
    "adaptive means": pool(F.adaptive_avg_pool2d, (3, 2)),
    "adaptive means, larger": pool(F.adaptive_avg_pool2d, (3, None)),
    "mean of all": pool(F.adaptive_avg_pool2d, (1, 1)),
    "adaptive largest": pool(F.adaptive_max_pool2d, (3, 2)),
    "adaptive largest, larger": pool(F.adaptive_max_pool1d, 5),
    "batch normalisation, training": batch_norm(True, 0.3),
    "batch normalisation, vectors": batch_norm(True, eps=1e-2),
    "batch normalisation, evaluation": batch_norm(False),
    "layer normalisation": lambda p, s, x: (F.layer_norm(x, (5,), p["scale"], p["bias"]), s),
    "layer normalisation, axes": lambda p, s, x: (F.layer_norm(x, (2, 3), p["scale"]), s),
    "root mean square": lambda p, s, x: (F.rms_norm(x, (4,), p["scale"], 1e-3), s),
    "group normalisation": lambda p, s, x: (
        channels_last(F.group_norm(channels_first(x), 2, p["scale"], p["bias"])), s),
    "instance normalisation": lambda p, s, x: (
        channels_last(F.instance_norm(channels_first(x), weight=p["scale"], bias=p["bias"])), s),
    "weight norm": weight_norm(linear),
    "weight norm of a kernel": weight_norm(small),
    "spectral norm, training": spectral_norm(linear, True, 2),
    "spectral norm of a kernel": spectral_norm(small, True),
    "spectral norm, evaluation": spectral_norm(linear, False),
    "embedding": lambda p, s, x: (F.embedding(x, p["weight"]), s),
}


def by_path(prefix, tree):
    """The arrays of a nested dict or tuple by path."""
    if isinstance(tree, (dict, tuple)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {k: v for name, entry in items for k, v in by_path(f"{prefix}.{name}", entry).items()}
    return {prefix: tree}


def tensors(tree):
    if isinstance(tree, dict):
        return {k: tensors(v) for k, v in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map(tensors, tree))
    return torch.tensor(np.asarray(tree), requires_grad=np.asarray(tree).dtype.kind == "f")


def run(name):
    _, params, state, x, _ = case(name)
    params, x = tensors(params), tensors(x)
    y, new_state = CALLS[name](params, {k: v.detach() for k, v in tensors(state).items()}, x)
    (y * torch.tensor(wave(y.shape, 0.5))).sum().backward()
    found = {"y": y, **by_path("state", new_state)}
    found |= {path: v.grad for path, v in (by_path("params", params) | by_path("x", x)).items() if v.requires_grad}
    return {path: v.detach().numpy() for path, v in found.items()}


if __name__ == "__main__":
    assert CALLS.keys() == CASES.keys()
    print(json.dumps({name: {path: {"shape": v.shape, "values": [float(f"{n:.12g}") for n in v.ravel()]}
                             for path, v in run(name).items()} for name in CALLS}))
