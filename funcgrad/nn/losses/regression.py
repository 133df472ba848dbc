"""Losses of predicted numbers and distributions.

In: predictions and targets of one shape. Out: a loss for each element, or for each distribution.

    >>> huber_loss(fnp.array([0.5, 3.0]), fnp.array([0.0, 0.0]))
    Array([0.125, 2.5  ], dtype=float64)
"""
from __future__ import annotations

import math
from typing import Any

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import message
from funcgrad.nn.losses.common import check_values, counted, elementwise, reduced


def squared_error(predictions: Any, targets: Any = None, *, reduction: str = "none", where: Any = None) -> Any:
    """(predictions - targets)**2, element by element. Raises ValueError for different shapes: no broadcasting."""
    if targets is None:
        return reduced(fnp.square(*counted(where, predictions)), reduction, where)
    return elementwise("squared_error", lambda p, t: fnp.square(p - t), predictions, targets, reduction, where)


def absolute_error(predictions: Any, targets: Any, *, reduction: str = "none", where: Any = None) -> Any:
    """|predictions - targets|, element by element; where they are equal its derivative is 0."""
    return elementwise("absolute_error", lambda p, t: fnp.abs(p - t), predictions, targets, reduction, where)


def huber_loss(predictions: Any, targets: Any, delta: float = 1.0, *, reduction: str = "none", where: Any = None) -> Any:
    """d**2 / 2 for differences d up to ``delta``, and from there on the line that continues it.

    Huber, "Robust estimation of a location parameter" (1964).
    """
    return elementwise("huber_loss", lambda p, t: _huber(p - t, delta), predictions, targets, reduction, where)


def smooth_l1_loss(predictions: Any, targets: Any, beta: float = 1.0, *, reduction: str = "none", where: Any = None) -> Any:
    """``huber_loss`` with delta = beta, divided by beta: far from 0 its slope is 1. For beta = 0, ``absolute_error``."""
    if beta == 0:
        return absolute_error(predictions, targets, reduction=reduction, where=where)
    return elementwise("smooth_l1_loss", lambda p, t: _huber(p - t, beta) / beta, predictions, targets, reduction, where)


def _huber(d: Any, delta: float) -> Any:
    near = fnp.clip(d, -delta, delta)
    return near * (d - 0.5 * near)


def log_cosh(predictions: Any, targets: Any, *, reduction: str = "none", where: Any = None) -> Any:
    """log(cosh(predictions - targets)): about d**2 / 2 for small differences, |d| - log(2) for large ones."""
    return elementwise("log_cosh", lambda p, t: _log_cosh(p - t), predictions, targets, reduction, where)


def _log_cosh(d: Any) -> Any:
    """Near 0 by cosh(d) = 1 + 2 sinh(d / 2)**2, which does not cancel."""
    size = fnp.abs(d)
    small = fnp.less(size, 1)
    near, far = fnp.where(small, d, 0), fnp.where(small, 1, size)
    return fnp.where(small, fnp.log1p(2 * fnp.square(fnp.sinh(near / 2))), far - math.log(2) + fnp.log1p(fnp.exp(-2 * far)))


def quantile_loss(predictions: Any, targets: Any, quantile: float = 0.5, *, reduction: str = "none", where: Any = None) -> Any:
    """The pinball loss: least where a share ``quantile`` of the targets lies below the prediction.

    Koenker and Bassett, "Regression quantiles" (1978).
    """
    if not 0 <= quantile <= 1:
        raise ValueError(message("quantile_loss: there is no such quantile", quantile, "a number from 0 to 1"))
    return elementwise("quantile_loss", lambda p, t: fnp.where(fnp.less(p, t), quantile, quantile - 1) * (t - p), predictions,
                       targets, reduction, where)


def poisson_nll(predictions: Any, targets: Any, *, log_input: bool = True, full: bool = False, epsilon: float = 1e-8,
                reduction: str = "none", where: Any = None) -> Any:
    """The negative log-likelihood of counts under Poisson distributions, without the term log(targets!).

    predictions: the logarithms of the rates, or with ``log_input=False`` the rates, to which ``epsilon`` is added in the
    logarithm. With ``full``, Stirling's approximation of the missing term is added where a target is above 1.
    """
    def loss(p: Any, t: Any) -> Any:
        losses = fnp.exp(p) - t * p if log_input else p - t * fnp.log(p + epsilon)
        if not full:
            return losses
        above = fnp.greater(t, 1)
        n = fnp.where(above, t, 1)
        return losses + fnp.where(above, n * fnp.log(n) - n + 0.5 * fnp.log(2 * math.pi * n), 0)

    return elementwise("poisson_nll", loss, predictions, targets, reduction, where)


def gaussian_nll(predictions: Any, targets: Any, variance: Any, *, full: bool = False, epsilon: float = 1e-6,
                 reduction: str = "none", where: Any = None) -> Any:
    """(log(variance) + (predictions - targets)**2 / variance) / 2; with ``full``, plus log(2 pi) / 2.

    variance: positive, of a shape that broadcasts to the predictions. One below ``epsilon`` counts as ``epsilon``, also in the
    derivative by it, so that it can grow again. Nix and Weigend, "Estimating the mean and variance of the target probability
    distribution" (1994).
    """
    variance, = counted(where, fnp.broadcast_to(variance, fnp.shape(predictions)), instead=1)
    check_values("gaussian_nll", "variance", variance, lambda v: v >= 0, "numbers that are not negative",
                 "fg.nn.softplus of what the network returns")
    floor = lax.stop_gradient(fnp.where(fnp.less(variance, epsilon), epsilon - variance, 0))
    variance = variance + floor
    constant = 0.5 * math.log(2 * math.pi) if full else 0.0
    return elementwise("gaussian_nll", lambda p, t: 0.5 * (fnp.log(variance) + fnp.square(p - t) / variance) + constant,
                       predictions, targets, reduction, where)


def kl_divergence(log_predictions: Any, targets: Any, axis: int = -1, *, log_targets: bool = False, reduction: str = "none",
                  where: Any = None) -> Any:
    """sum(targets * (log(targets) - log_predictions)) along an axis; a target of 0 contributes 0.

    log_predictions: logarithms of probabilities, such as ``log_softmax`` gives. targets: probabilities, or with
    ``log_targets`` their logarithms. The mean is over distributions ("batchmean" in torch).
    """
    log_predictions, targets = counted(where, log_predictions, targets, axis=axis)
    if not log_targets:
        check_values("kl_divergence", "target", targets, lambda t: (t >= 0) & (t <= 1), "probabilities from 0 to 1",
                     "log_targets=True for logarithms")
    nothing = fnp.equal(targets, -fnp.inf if log_targets else 0)
    logs = fnp.where(nothing, 0, targets) if log_targets else fnp.log(fnp.where(nothing, 1, targets))
    shares = fnp.exp(logs) if log_targets else targets
    terms = fnp.where(nothing, 0, shares * (logs - fnp.where(nothing, 0, log_predictions)))
    return reduced(fnp.sum(terms, axis), reduction, where)
