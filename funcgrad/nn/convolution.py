"""Convolutions over one, two or three spatial axes, with the channels last, and their transposes.

    params, state = Conv2d(3, 16, 3, strides=2).init(key)
    y = Conv2d(3, 16, 3, strides=2)(params, x)            # float32[8,32,32,3] -> float32[8,16,16,16]
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, random
from funcgrad.nn.initializers import Initializer, lecun_normal, zeros
from funcgrad.nn.layer import Layer
from funcgrad.nn.spatial import Padding, Pairs, Sizes, Spatial

_WEIGHT_INIT = lecun_normal()


@dataclass(frozen=True)
class _Kernel(Spatial):
    """The parameters of a convolution and the checks of what it gets; a subclass says what it does with them."""

    in_features: int | None
    out_features: int
    kernel_size: Sizes
    strides: Sizes = 1
    padding: Padding = "SAME"
    dilation: Sizes = 1
    groups: int = 1
    bias: bool = True
    weight_init: Initializer = _WEIGHT_INIT
    bias_init: Initializer = zeros
    dtype: Any = np.float32

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kernel_size", "strides", "dilation"):
            self.sizes(name)
        self.pads(self.padding)

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        weight_key, bias_key = random.split(key)
        size = self.size("in_features", example, -1)
        if self.groups < 1 or size % self.groups or self.out_features % self.groups:
            self.fail("groups does not divide the features", f"{self.groups} groups, {size} input and {self.out_features} "
                      "output features", "a number that divides both")
        shape = (*self.sizes("kernel_size"), size // self.groups, self.out_features)
        params = {"weight": self.weight_init(weight_key, shape, self.dtype)}
        if self.bias:
            params["bias"] = self.bias_init(bias_key, (self.out_features,), self.dtype)
        return params, {}

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        weight, *bias = self.entries("params", params, "weight", *(["bias"] if self.bias else []))
        shape = fnp.shape(weight)
        if len(shape) != self.ndim + 2 or shape[:-2] != self.sizes("kernel_size") or shape[-1] != self.out_features:
            self.fail("its weight does not fit", f"weight of shape {shape}", "a shape "
                      f"({', '.join(map(str, self.sizes('kernel_size')))}, in_features / groups, {self.out_features})")
        x = fnp.asarray(x)
        self.check_axes(x)
        self.check_last_axis(x, shape[-2] * self.groups)
        dtype = fnp.result_type(x, weight)
        x = x.astype(dtype)
        y = self.split(self.convolve(self.merged(x), fnp.asarray(weight, dtype)), x)
        return (y + bias[0] if bias else y), state

    def layout(self) -> tuple[str, str, str]:
        """The names of the axes of x, weight and result for ``lax.conv_general_dilated``."""
        space = "DHW"[3 - self.ndim:]
        return f"N{space}C", f"{space}IO", f"N{space}C"

    def convolve(self, x: Any, weight: Any) -> Any:
        """The result for x with one batch axis."""
        raise NotImplementedError


class _Conv(_Kernel):
    def convolve(self, x: Any, weight: Any) -> Any:
        return lax.conv_general_dilated(
            x, weight, self.sizes("strides"), self.pads(self.padding), rhs_dilation=self.sizes("dilation"),
            dimension_numbers=self.layout(), feature_group_count=self.groups)


class _ConvTranspose(_Kernel):
    def convolve(self, x: Any, weight: Any) -> Any:
        # As a convolution: zeros between the elements of x, and the kernel turned around.
        spans = [(n - 1) * step + 1 for n, step in zip(self.sizes("kernel_size"), self.sizes("dilation"), strict=True)]
        pads = [(span - 1 - low, span - 1 - high)
                for span, (low, high) in zip(spans, self._removed(spans), strict=True)]
        return lax.conv_general_dilated(
            x, fnp.flip(weight, tuple(range(self.ndim))), (1,) * self.ndim, pads, self.sizes("strides"), self.sizes("dilation"),
            self.layout(), self.groups)

    def _removed(self, spans: list[int]) -> Pairs:
        """How much is cut off the full result at both ends of each axis: the padding of the convolution."""
        pads = self.pads(self.padding)
        if not isinstance(pads, str):
            return pads
        more = [span - stride for span, stride in zip(spans, self.sizes("strides"), strict=True)]
        if pads == "VALID":
            return tuple([(0, min(n, 0)) for n in more])
        low = [max(n, 0) // 2 for n in more]
        return tuple([(a, n - a) for a, n in zip(low, more, strict=True)])


class Conv1d(_Conv):
    """Convolution over one spatial axis, as ``Conv2d``. x: shape (..., T, in_features).

    >>> layer = Conv1d(4, 8, 3, dilation=2)
    >>> params, state = layer.init(fg.random.key(0))
    >>> params["weight"].shape, layer(params, fnp.ones((2, 10, 4))).shape
    ((3, 4, 8), (2, 10, 8))
    """

    ndim = 1


class Conv2d(_Conv):
    """Convolution over two spatial axes: at each place, the window there times the weight, plus the bias.

    As everywhere in machine learning this is a correlation: the kernel is not flipped.

    Parameters: ``weight`` of shape (*kernel_size, in_features / groups, out_features), ``bias`` of shape (out_features,)
    unless ``bias=False``. x: shape (..., H, W, in_features), with any number of batch axes, also none.

    Args:
      in_features: None takes it from the example of ``init(key, example)``.
      kernel_size, strides, dilation: an integer, or one for each spatial axis.
      padding: "SAME" gives ceil(size / stride) places, "VALID" those where the window lies within x; an integer, or for each
        spatial axis an integer or a pair (low, high), pads with so many zeros.
      groups: channels are divided into so many groups, each with a part of the outputs.

    Raises ValueError for sizes that do not fit.

    >>> layer = Conv2d(None, 16, (3, 5), strides=2, padding=[1, (2, 2)])
    >>> params, state = layer.init(fg.random.key(0), fnp.ones((8, 32, 32, 3)))
    >>> params["weight"].shape, layer(params, fnp.ones((8, 32, 32, 3))).shape
    ((3, 5, 3, 16), (8, 16, 16, 16))
    """

    ndim = 2


class Conv3d(_Conv):
    """Convolution over three spatial axes, as ``Conv2d``. x: shape (..., D, H, W, in_features).

    >>> layer = Conv3d(1, 2, 3, padding="VALID")
    >>> layer(layer.init(fg.random.key(0))[0], fnp.ones((5, 5, 5, 1))).shape
    (3, 3, 3, 2)
    """

    ndim = 3


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over one spatial axis, as ``ConvTranspose2d``. x: shape (..., T, in_features).

    >>> layer = ConvTranspose1d(4, 8, 4, strides=2)
    >>> layer(layer.init(fg.random.key(0))[0], fnp.ones((2, 10, 4))).shape
    (2, 20, 8)
    """

    ndim = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution over two spatial axes: each element of x adds its product with the weight to a window.

    Element i of x meets element k of the weight at the place ``i * strides + k * dilation - low`` of the result. This is the
    derivative of a convolution with these strides, padding and dilation with respect to its input.

    Parameters and arguments as for ``Conv2d``, but for the padding: "SAME" gives ``size * strides`` places, "VALID" all
    that are reached; numbers (low, high) are cut off the ends of the full result of
    ``(size - 1) * strides + (kernel_size - 1) * dilation + 1`` places, and negative ones add to it.

    >>> layer = ConvTranspose2d(3, 2, 4, strides=2, padding=1)
    >>> params, state = layer.init(fg.random.key(0))
    >>> params["weight"].shape, layer(params, fnp.ones((8, 5, 5, 3))).shape
    ((4, 4, 3, 2), (8, 10, 10, 2))
    """

    ndim = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over three spatial axes, as ``ConvTranspose2d``. x: shape (..., D, H, W, in_features).

    >>> layer = ConvTranspose3d(1, 2, 2, strides=2)
    >>> layer(layer.init(fg.random.key(0))[0], fnp.ones((3, 3, 3, 1))).shape
    (6, 6, 6, 2)
    """

    ndim = 3


@dataclass(frozen=True)
class DepthwiseConv2d(Layer):
    """Convolution of each channel by itself, with ``multiplier`` results: a ``Conv2d`` with a group for each channel.

    Parameters: ``weight`` of shape (*kernel_size, 1, in_features * multiplier), ``bias`` of shape (in_features *
    multiplier,) unless ``bias=False``. x: shape (..., H, W, in_features). The results of a channel are side by side.
    Howard et al., "MobileNets", https://arxiv.org/abs/1704.04861.

    >>> layer = DepthwiseConv2d(None, 3, multiplier=2)
    >>> params, state = layer.init(fg.random.key(0), fnp.ones((8, 8, 4)))
    >>> params["weight"].shape, layer(params, fnp.ones((8, 8, 4))).shape
    ((3, 3, 1, 8), (8, 8, 8))
    """

    in_features: int | None
    kernel_size: Sizes
    strides: Sizes = 1
    padding: Padding = "SAME"
    dilation: Sizes = 1
    multiplier: int = 1
    bias: bool = True
    weight_init: Initializer = _WEIGHT_INIT
    bias_init: Initializer = zeros
    dtype: Any = np.float32

    def init(self, key: Any, example: Any = None) -> tuple[dict, dict]:
        return self._conv(self.size("in_features", example, -1)).init(key)

    def apply(self, params: Any, state: Any, x: Any, key: Any = None, train: bool = False) -> tuple[Any, Any]:
        weight, = self.entries("params", params, "weight")
        return self._conv(fnp.shape(weight)[-1] // self.multiplier).apply(params, state, x)

    def _conv(self, features: int) -> Conv2d:
        return Conv2d(features, features * self.multiplier, self.kernel_size, self.strides, self.padding, self.dilation,
                      features, self.bias, self.weight_init, self.bias_init, self.dtype)
