"""Loss scaling: gradients of float16 networks that are neither 0 nor infinite.

In: a loss in float16, whose gradients are too small for the type. Out: gradients of the loss times a factor, divided by that
factor in float32; the factor is a number (``LossScale``), or found while training (``DynamicLossScale``). Micikevicius et al.
2017, arXiv:1710.03740.

    >>> scale = DynamicLossScale(fnp.float32(2.0 ** 15))
    >>> gradient = fg.grad(lambda x: scale.scale(x * x))(fnp.float16(1e-3))  # 2e-3 * 2**15
    >>> gradient = scale.unscale(gradient)
    >>> scale = scale.adjust(all_finite(gradient))
    >>> round(float(gradient), 5), float(scale.loss_scale), int(scale.counter)
    (0.002, 32768.0, 1)
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import tree
from funcgrad.optim.wrappers import all_finite

__all__ = ["DynamicLossScale", "LossScale", "all_finite"]


@tree.register_dataclass
@dataclass(frozen=True)
class LossScale:
    """A fixed factor; a tree of one array."""

    loss_scale: Any

    def scale(self, x: Any) -> Any:
        """A tree (a loss) times the factor, in its dtypes."""
        return tree.map(lambda a: a * fnp.asarray(self.loss_scale, a.dtype), x)

    def unscale(self, x: Any) -> Any:
        """A tree (gradients) divided by the factor, in float32 or their wider dtype."""
        return tree.map(lambda a: (lambda b: b / fnp.asarray(self.loss_scale, b.dtype))(
            a.astype(fnp.promote_types(a.dtype, np.float32))), x)

    def adjust(self, grads_finite: Any) -> LossScale:
        """The factor for the next step: the same."""
        return self


@tree.register_dataclass
@dataclass(frozen=True)
class DynamicLossScale(LossScale):
    """A factor that is multiplied by ``factor`` after ``period`` finite steps, and divided by it after one that is not.

    It stays at least ``min_loss_scale``. Leave out the updates of steps that are not finite: ``apply_if_finite``.
    """

    counter: Any = 0
    period: int = tree.static(default=2000)
    factor: float = tree.static(default=2.0)
    min_loss_scale: float = tree.static(default=1.0)

    def adjust(self, grads_finite: Any) -> DynamicLossScale:
        """The factor for the next step, by whether the gradients of this one were all finite."""
        scale = fnp.asarray(self.loss_scale)
        full = self.counter == self.period - 1
        grown = fnp.where(full, scale * self.factor, scale)
        grown = fnp.where(fnp.isfinite(grown), grown, scale)
        scale = fnp.where(grads_finite, grown, fnp.maximum(scale / self.factor, self.min_loss_scale)).astype(scale.dtype)
        counter = fnp.where(full | ~fnp.asarray(grads_finite), 0, self.counter + 1).astype(np.int32)
        return DynamicLossScale(scale, counter, self.period, self.factor, self.min_loss_scale)
