"""Calls whose results by jax are stored in reference/convolution.json, for the test and for the script that stores them."""
from __future__ import annotations

import numpy as np


def wave(shape, start=0.0):
    return np.sin(np.arange(np.prod(shape)) * 0.7 + start).reshape(shape)


CALLS = {
    "groups, strides, dilation": ("conv_general_dilated", [(2, 4, 6, 5), (6, 2, 3, 2)],
                                  dict(window_strides=(2, 1), padding=((1, 2), (0, 1)), rhs_dilation=(1, 2),
                                       feature_group_count=2)),
    "batch groups": ("conv_general_dilated", [(4, 2, 5), (4, 2, 3)],
                     dict(window_strides=(2,), padding="SAME", batch_group_count=2)),
    "SAME_LOWER, channels last": ("conv_general_dilated", [(1, 5, 4, 2), (2, 2, 2, 3)], dict(
        window_strides=(1, 1), padding="SAME_LOWER", dimension_numbers=("NHWC", "HWIO", "NHWC"))),
    "mixed layouts": ("conv_general_dilated", [(2, 5, 4, 3), (2, 2, 3, 3)], dict(
        window_strides=(1, 2), padding="VALID", dimension_numbers=("CHWN", "WIHO", "WNCH"))),
    "dilated input, cut": ("conv_general_dilated", [(1, 2, 3, 4), (2, 2, 2, 2)], dict(
        window_strides=(1, 1), padding=((1, 1), (-1, 2)), lhs_dilation=(2, 3))),
    "dilated input, strides": ("conv_general_dilated", [(1, 2, 4, 4), (2, 2, 3, 2)], dict(
        window_strides=(2, 3), padding=((1, 1), (1, 2)), lhs_dilation=(3, 2), rhs_dilation=(2, 1))),
    "transposed SAME": ("conv_transpose", [(1, 3, 4, 2), (3, 2, 2, 3)], dict(strides=(2, 3), padding="SAME")),
    "transposed VALID": ("conv_transpose", [(1, 3, 4, 2), (2, 3, 2, 3)], dict(strides=(3, 1), padding="VALID")),
    "transposed kernel": ("conv_transpose", [(1, 3, 4, 2), (3, 3, 1, 2)],
                          dict(strides=(2, 2), padding="SAME", transpose_kernel=True)),
    "transposed, consistent": ("conv_transpose", [(1, 4, 2), (3, 2, 2)], dict(
        strides=(2,), padding=((1, 0),), rhs_dilation=(2,), use_consistent_padding=True)),
    "patches": ("conv_general_dilated_patches", [(1, 2, 4, 5)], dict(
        filter_shape=(2, 3), window_strides=(2, 1), padding=((1, 0), (1, 1)), lhs_dilation=(1, 2), rhs_dilation=(2, 1))),
    "patches, channels last": ("conv_general_dilated_patches", [(1, 4, 3, 2)], dict(
        filter_shape=(2, 2), window_strides=(1, 1), padding="SAME", dimension_numbers=("NHWC", "WHIO", "NHWC"))),
    "local": ("conv_general_dilated_local", [(1, 4, 3, 2), (3, 2, 8, 2)], dict(
        filter_shape=(2, 2), window_strides=(1, 1), padding="VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))),
    "maxima": ("reduce_window", [(2, 5, 6)], dict(
        init_value=-np.inf, computation="max", window_dimensions=(1, 3, 2), window_strides=(1, 2, 2), padding="SAME")),
    "minima": ("reduce_window", [(2, 5, 6)], dict(
        init_value=np.inf, computation="min", window_dimensions=(2, 2, 2), window_strides=(1, 2, 1),
        padding=((0, 0), (1, 1), (0, 1)))),
    "sums, both dilated": ("reduce_window", [(2, 5, 6)], dict(
        init_value=0.0, computation="add", window_dimensions=(1, 2, 2), window_strides=(1, 3, 2),
        padding=((0, 0), (1, 2), (0, 1)), base_dilation=(1, 2, 3), window_dilation=(1, 1, 2))),
}


def run(lax, grad, name, shapes, params):
    args = [wave(shape, i) for i, shape in enumerate(shapes)]
    params = {k: getattr(lax, v) if k == "computation" else v for k, v in params.items()}

    def call(*xs):
        return getattr(lax, name)(*xs, **params)

    out = call(*args)
    gradients = grad(lambda *xs: (call(*xs) ** 2).sum(), tuple(range(len(args))))(*args)
    return [np.asarray(x) for x in (out, *gradients)]
