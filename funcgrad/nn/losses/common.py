"""What all losses share: which examples count, how they become one number, and which values make no sense.

In: losses, one an example. Out: the same, their mean or their sum.

    >>> reduced(fnp.array([1.0, 5.0, 3.0]), "mean", fnp.array([True, False, True]))
    Array(2., dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.errors import TracerArrayConversionError, message


def reduced(losses: Any, reduction: str, where: Any = None, weights: Any = None) -> Any:
    """The losses where ``where``, and 0 elsewhere; or their sum; or their mean: their sum over that of the weights.

    ``weights`` tell how much each loss counts in the mean, 1 unless given; the losses are already multiplied by them.
    Raises ValueError for another reduction, and for a mask that does not fit.
    """
    if where is not None:
        losses = fnp.where(_mask(where, fnp.shape(losses)), losses, 0)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return fnp.sum(losses)
    if reduction != "mean":
        raise ValueError(message("unknown reduction", repr(reduction), "'none', 'mean' or 'sum'"))
    if weights is None and where is None:
        return fnp.mean(losses) if fnp.size(losses) else fnp.sum(losses)
    if not fnp.issubdtype(losses.dtype, fnp.inexact):
        losses = losses.astype(np.float64)
    wide = fnp.promote_types(losses.dtype, np.float32)  # in float16 a sum or a count may be too large
    weights = fnp.ones_like(losses) if weights is None else weights
    total = fnp.sum(weights if where is None else fnp.where(where, weights, 0), dtype=wide)
    return (fnp.sum(losses, dtype=wide) / fnp.where(fnp.equal(total, 0), 1, total)).astype(losses.dtype)


def _mask(where: Any, shape: tuple[int, ...]) -> Any:
    where = fnp.asarray(where)
    if where.dtype != bool or not fits(where.shape, shape):
        raise ValueError(message("where does not belong to the losses", f"where of type {where.aval}, losses of shape {shape}",
                                 f"bools of a shape that broadcasts to {shape}"))
    return where


def fits(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether an array of one shape broadcasts to another."""
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(reversed(shape), reversed(to), strict=False))


def elementwise(name: str, loss: Callable, predictions: Any, targets: Any, reduction: str, where: Any) -> Any:
    """``loss(predictions, targets)`` of arrays of one shape. Raises ValueError for different shapes: no broadcasting."""
    if fnp.shape(predictions) != fnp.shape(targets):
        raise ValueError(message(f"{name}: predictions and targets have different shapes",
                                 f"{fnp.shape(predictions)} and {fnp.shape(targets)}", "equal shapes",
                                 "reshape one of them, such as predictions[:, 0]"))
    return reduced(loss(*counted(where, predictions, targets)), reduction, where)


def counted(where: Any, *arrays: Any, axis: int | tuple[int, ...] = (), instead: Any = 0) -> tuple[Any, ...]:
    """The arrays with a harmless number where ``where`` is False, so that what does not count has no NaN derivative.

    The mask is for the losses, which the arrays become without their axes ``axis``.
    """
    if where is None:
        return arrays
    ndim, shape = fnp.ndim(arrays[0]), fnp.shape(arrays[0])
    axes = {i % ndim for i in ((axis,) if isinstance(axis, int) else axis)}
    shape = tuple([n for i, n in enumerate(shape) if i not in axes])
    mask = fnp.expand_dims(fnp.broadcast_to(_mask(where, shape), shape), tuple(axes))
    return tuple([fnp.where(mask, x, instead) for x in arrays])


def known(x: Any) -> np.ndarray | None:
    """The values of an array, or None when it is traced."""
    try:
        return np.asarray(x)
    except TracerArrayConversionError:
        return None


def check_values(where: str, what: str, values: Any, sensible: Callable, expected: str, instead: str | None = None,
                 beside: str = "") -> None:
    """Raises ValueError if values are known and one of them is not sensible; only those that count are to be given."""
    values = known(values)
    if values is None:
        return
    wrong = values[~sensible(values)]
    if wrong.size:
        raise ValueError(message(f"{where}: a {what} does not make sense", f"{what} {wrong.flat[0]}{beside}", expected,
                                 instead))
