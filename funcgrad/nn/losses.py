"""Losses: how far predictions are from what is known.

In: predictions (logits: real numbers before softmax or sigmoid) and targets. Out: one number for each example, or
with ``reduction="mean"`` or ``"sum"`` one number.

    >>> import funcgrad.numpy as fnp
    >>> loss = softmax_cross_entropy_with_integer_labels(fnp.zeros((2, 4)), fnp.array([0, 3]), reduction="mean")
    >>> round(float(loss), 4)  # log(4)
    1.3863
"""
from __future__ import annotations

from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.errors import TracerArrayConversionError, message
from funcgrad.nn.functions import log_softmax, softplus


def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1, *, reduction: str = "none") -> Any:
    """-sum(labels * log_softmax(logits)) along an axis; the labels are probabilities, such as one-hot vectors.

    logits and labels: floating point, of shapes that broadcast. A label of 0 contributes 0 even where the logit is
    -inf. Raises ValueError, when the values of the labels are known, if one of them is outside of 0 ... 1.
    """
    values = _known(labels)
    if values is not None:
        _check_probabilities("softmax_cross_entropy", values)
    terms = fnp.where(fnp.equal(labels, 0), 0, labels * log_softmax(logits, axis))
    return _reduced(-fnp.sum(terms, axis), reduction)


def softmax_cross_entropy_with_integer_labels(logits: Any, labels: Any, axis: int = -1, *,
                                              reduction: str = "none") -> Any:
    """-log_softmax(logits)[label] along an axis.

    logits: floating point; labels: integers, of the shape of the logits without that axis. Raises TypeError for
    labels that are not integers, ValueError for other shapes, and ValueError, when the values of the labels are known
    (not under ``jit``), for a label that is not a class; where they are not known, the loss of such an example is
    NaN.
    """
    logits, labels = fnp.asarray(logits), fnp.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(message("softmax_cross_entropy_with_integer_labels: the labels must be integers", labels.aval,
                                None, "softmax_cross_entropy for labels that are probabilities"))
    axis = axis % logits.ndim
    if labels.shape != logits.shape[:axis] + logits.shape[axis + 1:]:
        raise ValueError(message(
            "softmax_cross_entropy_with_integer_labels: the labels do not belong to the logits",
            f"labels of type {labels.aval}, logits of type {logits.aval}",
            f"labels of shape {logits.shape[:axis] + logits.shape[axis + 1:]}: one for each row of logits"))
    classes = logits.shape[axis]
    values = _known(labels)
    if values is not None:
        _check_labels("softmax_cross_entropy_with_integer_labels", values, classes)
    numbers = fnp.reshape(fnp.arange(classes), (classes,) + (1,) * (logits.ndim - axis - 1))
    chosen = fnp.equal(fnp.expand_dims(labels, axis), numbers)
    losses = -fnp.sum(fnp.where(chosen, log_softmax(logits, axis), 0), axis)
    if values is None:
        losses = fnp.where(fnp.logical_or(fnp.less(labels, 0), fnp.greater_equal(labels, classes)), np.nan, losses)
    return _reduced(losses, reduction)


def sigmoid_binary_cross_entropy(logits: Any, labels: Any, *, reduction: str = "none") -> Any:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), element by element, without overflow.

    The labels are probabilities: 0, 1 or between. Raises ValueError, when their values are known, if one is not.
    """
    values = _known(labels)
    if values is not None:
        _check_probabilities("sigmoid_binary_cross_entropy", values)
    return _reduced(softplus(logits) - labels * logits, reduction)


def squared_error(predictions: Any, targets: Any = None, *, reduction: str = "none") -> Any:
    """(predictions - targets)**2, element by element. Raises ValueError for different shapes: no broadcasting."""
    if targets is None:
        return _reduced(fnp.square(predictions), reduction)
    if fnp.shape(predictions) != fnp.shape(targets):
        raise ValueError(message("squared_error: predictions and targets have different shapes",
                                 f"{fnp.shape(predictions)} and {fnp.shape(targets)}", "equal shapes",
                                 "reshape one of them, such as predictions[:, 0]"))
    return _reduced(fnp.square(predictions - targets), reduction)


def _reduced(losses: Any, reduction: str) -> Any:
    if reduction == "none":
        return losses
    if reduction == "mean":
        return fnp.mean(losses)
    if reduction == "sum":
        return fnp.sum(losses)
    raise ValueError(message("unknown reduction", repr(reduction), "'none', 'mean' or 'sum'"))


def _known(x: Any) -> np.ndarray | None:
    """The values of an array, or None when it is traced."""
    try:
        return np.asarray(x)
    except TracerArrayConversionError:
        return None


def _check_labels(where: str, labels: np.ndarray, classes: int) -> None:
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels[(labels < 0) | (labels >= classes)].flat[0]
        raise ValueError(message(f"{where}: a label is not a class", f"label {wrong}, with {classes} classes",
                                 f"labels from 0 to {classes - 1}"))


def _check_probabilities(where: str, labels: np.ndarray) -> None:
    wrong = labels[~((labels >= 0) & (labels <= 1))]
    if wrong.size:
        raise ValueError(message(f"{where}: a label is not a probability", f"label {wrong.flat[0]}",
                                 "labels from 0 to 1", "softmax_cross_entropy_with_integer_labels for classes"
                                 if where == "softmax_cross_entropy" else None))
