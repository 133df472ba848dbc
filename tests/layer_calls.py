"""Layers whose results by torch are stored in reference/torch_layers.json, for the test and for the script that stores them.

A case is a layer, the shape of x (a list of shapes: x is a pair; numbers: x itself) and whether it trains.
"""
from __future__ import annotations

import numpy as np

import funcgrad as fg
from funcgrad import nn

F64 = {"dtype": np.float64}
CASES = {
    "linear": (nn.Linear(3, 4, **F64), (5, 3)),
    "bilinear": (nn.Bilinear(3, 4, 2, **F64), [(5, 3), (5, 4)]),
    "convolution 1d": (nn.Conv1d(2, 3, 3, strides=2, padding=1, dilation=2, **F64), (2, 9, 2)),
    "convolution 2d": (nn.Conv2d(2, 3, (3, 2), strides=(2, 1), padding="VALID", **F64), (2, 5, 4, 2)),
    "convolution, same": (nn.Conv2d(2, 3, (3, 4), dilation=(1, 2), bias=False, **F64), (1, 5, 7, 2)),
    "convolution, groups": (nn.Conv2d(4, 6, 3, groups=2, padding=[1, (0, 2)], **F64), (1, 3, 4, 4)),
    "convolution, one image": (nn.Conv2d(2, 3, 2, padding="VALID", **F64), (3, 4, 2)),
    "convolution 3d": (nn.Conv3d(1, 2, 2, strides=(1, 2, 1), padding="VALID", **F64), (1, 3, 4, 3, 1)),
    "depthwise": (nn.DepthwiseConv2d(3, 3, multiplier=2, **F64), (1, 4, 5, 3)),
    "transposed 1d": (nn.ConvTranspose1d(2, 3, 3, strides=2, padding=((1, 0),), **F64), (2, 4, 2)),
    "transposed 2d": (nn.ConvTranspose2d(2, 3, (3, 2), strides=(2, 3), padding=(1, 0), dilation=(1, 2), **F64), (1, 3, 4, 2)),
    "transposed, groups": (nn.ConvTranspose2d(4, 4, 2, groups=2, padding="VALID", **F64), (1, 3, 3, 4)),
    "transposed 3d": (nn.ConvTranspose3d(1, 2, 2, strides=2, padding="VALID", **F64), (1, 2, 2, 3, 1)),
    "largest 1d": (nn.MaxPool((3,), strides=2, padding=1), (2, 6, 2)),
    "largest 2d": (nn.MaxPool((2, 3), strides=(1, 2)), (2, 4, 5, 2)),
    "largest 3d": (nn.MaxPool((2, 2, 1)), (1, 4, 3, 2, 2)),
    "mean 2d": (nn.AvgPool((2, 3), strides=(1, 2), padding=(1, 1)), (1, 4, 5, 2)),
    "mean, padding does not count": (nn.AvgPool((2, 3), strides=2, padding=(1, 1), count_include_pad=False), (1, 4, 5, 2)),
    "adaptive means": (nn.AdaptiveAvgPool((3, 2)), (2, 7, 4, 2)),
    "adaptive means, larger": (nn.AdaptiveAvgPool((3, None)), (1, 2, 3, 2)),
    "mean of all": (nn.AdaptiveAvgPool((1, 1)), (2, 3, 4, 2)),
    "adaptive largest": (nn.AdaptiveMaxPool((3, 2)), (2, 7, 4, 2)),
    "adaptive largest, larger": (nn.AdaptiveMaxPool((5,)), (1, 3, 2)),
    "batch normalisation, training": (nn.BatchNorm(3, momentum=0.3, **F64), (4, 2, 3, 3), True),
    "batch normalisation, vectors": (nn.BatchNorm(3, scale=False, epsilon=1e-2, **F64), (5, 3), True),
    "batch normalisation, evaluation": (nn.BatchNorm(3, **F64), (2, 2, 3, 3)),
    "layer normalisation": (nn.LayerNorm(5, **F64), (4, 5)),
    "layer normalisation, axes": (nn.LayerNorm((2, 3), bias=False, **F64), (3, 2, 3)),
    "root mean square": (nn.RMSNorm(4, epsilon=1e-3, **F64), (3, 4)),
    "group normalisation": (nn.GroupNorm(2, 6, **F64), (2, 3, 2, 6)),
    "instance normalisation": (nn.InstanceNorm(3, **F64), (2, 4, 2, 3)),
    "weight norm": (nn.WeightNorm(nn.Linear(3, 4, **F64)), (5, 3)),
    "weight norm of a kernel": (nn.WeightNorm(nn.Conv2d(2, 3, 2, padding="VALID", **F64)), (1, 3, 3, 2)),
    "spectral norm, training": (nn.SpectralNorm(nn.Linear(3, 4, **F64), iterations=2), (5, 3), True),
    "spectral norm of a kernel": (nn.SpectralNorm(nn.Conv2d(2, 3, 2, padding="VALID", **F64)), (1, 3, 3, 2), True),
    "spectral norm, evaluation": (nn.SpectralNorm(nn.Linear(3, 4, **F64)), (5, 3)),
    "embedding": (nn.Embedding(5, 3, **F64), [1, 4, 1, 0]),
}


def wave(shape, start=0.0):
    """Numbers that look irregular, without ties."""
    return np.sin(np.arange(np.prod(shape)) * 0.7 + start).reshape(shape)


def case(name):
    """The layer, params, state and x of a case, and whether it trains."""
    layer, x, *train = CASES[name]
    params, state = layer.init(fg.random.key(0))
    leaves, treedef = fg.tree.flatten(params)
    params = treedef.unflatten([wave(leaf.shape, i + 1.0) for i, leaf in enumerate(leaves)])
    state = {k: v if k == "layer" else abs(wave(v.shape, i + 2.0)) + 0.1 for i, (k, v) in enumerate(state.items())}
    if isinstance(x, tuple):
        x = wave(x)
    else:
        x = tuple([wave(s, i) for i, s in enumerate(x)]) if isinstance(x[0], tuple) else np.array(x)
    return layer, params, state, x, bool(train)
