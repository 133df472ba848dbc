"""Losses of classifiers.

In: logits (real numbers before softmax or sigmoid) and labels: classes as integers, or probabilities. Out: a loss for each
example.

    >>> logits, labels = fnp.array([[2.0, 0.0], [0.0, 1.0]]), fnp.array([0, 0])
    >>> softmax_cross_entropy_with_integer_labels(logits, labels)
    Array([0.12692801, 1.31326169], dtype=float64)
"""
from __future__ import annotations

from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad.errors import message
from funcgrad.nn.functions import log_softmax, relu, sigmoid, softplus
from funcgrad.nn.losses.common import check_values, counted, elementwise, fits, known, reduced

# ---------------------------------------------------------------- one of several classes


def softmax_cross_entropy(logits: Any, labels: Any, axis: int = -1, *, label_smoothing: float = 0.0,
                          class_weights: Any = None, reduction: str = "none", where: Any = None) -> Any:
    """-sum(labels * log_softmax(logits)) along an axis; the labels are probabilities, such as one-hot vectors.

    Args:
      logits, labels: floating point, of shapes that broadcast, with as many classes in both. A label of 0 contributes 0 even
        where the logit is -inf.
      label_smoothing: this share of each label is spread evenly over all classes.
      class_weights: a number for each class, which multiplies its term. The mean divides by the number of examples.

    Raises ValueError for different numbers of classes, and for a label outside of 0 ... 1.
    """
    name = "softmax_cross_entropy"
    logits, labels = fnp.asarray(logits), fnp.asarray(labels)
    classes = logits.shape[axis]
    if labels.shape[axis] != classes:
        raise ValueError(message(f"{name}: logits and labels have different numbers of classes",
                                 f"{classes} in logits of type {logits.aval}, {labels.shape[axis]} in labels of type "
                                 f"{labels.aval}", "one number",
                                 "softmax_cross_entropy_with_integer_labels for labels that are classes"))
    logits, labels = counted(where, logits, labels, axis=axis)
    check_values(name, "label", labels, lambda v: (v >= 0) & (v <= 1), "probabilities from 0 to 1",
                 "softmax_cross_entropy_with_integer_labels for classes")
    if label_smoothing:
        labels = (1 - label_smoothing) * labels + label_smoothing / classes
    if class_weights is not None:
        labels = labels * _along(_class_weights(name, class_weights, classes), axis, logits.ndim)
    logs = log_softmax(logits, axis)
    logs = fnp.where(fnp.logical_and(fnp.equal(labels, 0), fnp.equal(logs, -np.inf)), 0, logs)
    return reduced(-fnp.sum(labels * logs, axis), reduction, where)


def softmax_cross_entropy_with_integer_labels(logits: Any, labels: Any, axis: int = -1, *, label_smoothing: float = 0.0,
                                              class_weights: Any = None, ignore_index: int | None = None,
                                              reduction: str = "none", where: Any = None) -> Any:
    """-log_softmax(logits)[label] along an axis.

    Args:
      logits: floating point.
      labels: integers, of the shape of the logits without that axis.
      label_smoothing: this share of each label is spread evenly over all classes.
      class_weights: a number for each class, which multiplies its term; the mean is the sum of all losses over the sum of
        the weights of the labels, as in torch.
      ignore_index: examples with this label do not count.

    Raises TypeError for labels that are not integers, and ValueError for other shapes and for a label that is not a class;
    where labels are not known (under ``jit``), the loss of such an example is NaN.
    """
    name = "softmax_cross_entropy_with_integer_labels"
    logits, labels, where, unknown = _classes(name, logits, labels, axis, ignore_index, where)
    return _nll(name, log_softmax(logits, axis), labels, axis, label_smoothing, class_weights, reduction, where, unknown)


def nll_loss(log_probabilities: Any, labels: Any, axis: int = -1, *, class_weights: Any = None,
             ignore_index: int | None = None, reduction: str = "none", where: Any = None) -> Any:
    """-log_probabilities[label] along an axis: ``softmax_cross_entropy_with_integer_labels`` behind ``log_softmax``."""
    logs, labels, where, unknown = _classes("nll_loss", log_probabilities, labels, axis, ignore_index, where)
    return _nll("nll_loss", logs, labels, axis, 0.0, class_weights, reduction, where, unknown)


def _nll(name: str, logs: Any, labels: Any, axis: int, label_smoothing: float, class_weights: Any, reduction: str, where: Any,
         unknown: Any) -> Any:
    classes = logs.shape[axis]
    chosen = _chosen(labels, classes, axis, logs.ndim)
    weights = None
    if class_weights is not None:
        by_class = _along(_class_weights(name, class_weights, classes), axis, logs.ndim)
        weights, logs = fnp.sum(fnp.where(chosen, by_class, 0), axis), logs * by_class
    losses = -fnp.sum(fnp.where(chosen, logs, 0), axis)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing / classes * fnp.sum(logs, axis)
    if unknown is not None:
        losses = fnp.where(unknown, np.nan, losses)
    return reduced(losses, reduction, where, weights)


def multi_margin_loss(logits: Any, labels: Any, axis: int = -1, *, margin: float = 1.0, p: int = 1, class_weights: Any = None,
                      reduction: str = "none", where: Any = None) -> Any:
    """The mean over classes of max(0, margin - logits[label] + logits)**p, without the term of the label itself.

    labels: integers. class_weights: a number for each class, which multiplies the losses of its examples. Crammer and Singer,
    "On the algorithmic implementation of multiclass kernel-based vector machines" (2001).
    """
    logits, labels, where, unknown = _classes("multi_margin_loss", logits, labels, axis, None, where)
    chosen = _chosen(labels, logits.shape[axis], axis, logits.ndim)
    right = fnp.sum(fnp.where(chosen, logits, 0), axis, keepdims=True)
    terms = fnp.where(chosen, 0, relu(margin - right + logits) ** p)
    if class_weights is not None:
        weights = _class_weights("multi_margin_loss", class_weights, logits.shape[axis])
        terms = terms * fnp.sum(fnp.where(chosen, _along(weights, axis, logits.ndim), 0), axis, keepdims=True)
    losses = fnp.mean(terms, axis)
    return reduced(losses if unknown is None else fnp.where(unknown, np.nan, losses), reduction, where)


def _classes(name: str, logits: Any, labels: Any, axis: int, ignore_index: int | None, where: Any) -> tuple:
    """Logits and labels, checked; which examples count; and which labels are no classes, if that is not known now."""
    logits, labels = fnp.asarray(logits), fnp.asarray(labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(message(f"{name}: the labels must be integers", labels.aval, None,
                                "softmax_cross_entropy for labels that are probabilities"))
    axis = axis % logits.ndim
    if labels.shape != logits.shape[:axis] + logits.shape[axis + 1:]:
        raise ValueError(message(
            f"{name}: the labels do not belong to the logits", f"labels of type {labels.aval}, logits of type {logits.aval}",
            f"labels of shape {logits.shape[:axis] + logits.shape[axis + 1:]}: one for each row of logits"))
    classes = logits.shape[axis]
    if ignore_index is not None:
        kept = fnp.not_equal(labels, ignore_index)
        where = kept if where is None else fnp.logical_and(kept, where)
    (logits,), (labels,) = counted(where, logits, axis=axis), counted(where, labels)
    check_values(name, "label", labels, lambda v: (v >= 0) & (v < classes),
                 f"labels from 0 to {classes - 1}", "ignore_index=... or where=... for examples without a label",
                 f", with {classes} classes")
    unknown = fnp.logical_or(fnp.less(labels, 0), fnp.greater_equal(labels, classes)) if known(labels) is None else None
    return logits, labels, where, unknown


def _chosen(labels: Any, classes: int, axis: int, ndim: int) -> Any:
    """Whether a class is the label."""
    return fnp.equal(fnp.expand_dims(labels, axis), _along(fnp.arange(classes), axis, ndim))


def _along(vector: Any, axis: int, ndim: int) -> Any:
    """A vector along an axis of an array of so many axes."""
    return fnp.reshape(vector, (-1,) + (1,) * (ndim - axis % ndim - 1))


def _class_weights(name: str, weights: Any, classes: int) -> Any:
    if fnp.shape(weights) != (classes,):
        raise ValueError(message(f"{name}: there must be a weight for each class",
                                 f"class_weights of shape {fnp.shape(weights)}, logits with {classes} classes",
                                 f"({classes},)"))
    return weights


# ---------------------------------------------------------------- yes or no


def sigmoid_binary_cross_entropy(logits: Any, labels: Any, *, pos_weight: Any = None, reduction: str = "none",
                                 where: Any = None) -> Any:
    """-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits)), element by element, without overflow.

    The labels are probabilities: 0, 1 or between. They and ``pos_weight``, which multiplies the first term, broadcast to the
    logits. Raises ValueError for a label outside of 0 ... 1, and for labels that do not broadcast to the logits.
    """
    if not fits(fnp.shape(labels), fnp.shape(logits)):
        raise ValueError(message("sigmoid_binary_cross_entropy: the labels do not belong to the logits",
                                 f"labels of shape {fnp.shape(labels)}, logits of shape {fnp.shape(logits)}", "one shape",
                                 "logits[:, 0] for logits of shape (n, 1) and labels of shape (n,)"))
    logits, labels = counted(where, logits, labels)
    _check_probabilities("sigmoid_binary_cross_entropy", labels)
    if pos_weight is None:
        return reduced(softplus(logits) - labels * logits, reduction, where)
    losses = (1 - labels) * logits + (1 + (pos_weight - 1) * labels) * softplus(fnp.negative(logits))
    return reduced(losses, reduction, where)


def binary_cross_entropy(probabilities: Any, labels: Any, *, reduction: str = "none", where: Any = None) -> Any:
    """-labels * log(probabilities) - (1 - labels) * log(1 - probabilities), element by element.

    Each logarithm is at least -100, as in torch. Where there are logits, ``sigmoid_binary_cross_entropy`` is more exact and has
    the better derivative.
    """
    probabilities, labels = counted(where, probabilities, labels)
    _check_probabilities("binary_cross_entropy", labels)
    check_values("binary_cross_entropy", "probability", probabilities, lambda v: (v >= 0) & (v <= 1), "numbers from 0 to 1",
                 "sigmoid_binary_cross_entropy for logits")

    def log(p: Any) -> Any:
        possible = fnp.greater(p, 0)
        return fnp.where(possible, fnp.maximum(fnp.log(fnp.where(possible, p, 1)), -100), -100)

    return elementwise("binary_cross_entropy", lambda p, t: -t * log(p) - (1 - t) * log(1 - p), probabilities, labels,
                       reduction, where)


def sigmoid_focal_loss(logits: Any, labels: Any, *, alpha: float | None = None, gamma: float = 2.0, reduction: str = "none",
                       where: Any = None) -> Any:
    """``sigmoid_binary_cross_entropy`` times (1 - p)**gamma, p the probability of the label: what is easy counts less.

    labels: 0, 1 or between. With ``alpha``, labels of 1 weigh alpha and labels of 0 weigh 1 - alpha. Lin et al., "Focal loss
    for dense object detection", https://arxiv.org/abs/1708.02002.
    """
    logits, labels = counted(where, logits, labels)
    losses = sigmoid_binary_cross_entropy(logits, labels)
    missing = sigmoid(logits) * (1 - labels) + sigmoid(fnp.negative(logits)) * labels
    if gamma:
        possible = fnp.greater(missing, 0)
        losses = losses * fnp.where(possible, fnp.where(possible, missing, 1) ** gamma, 0)
    if alpha is not None:
        losses = losses * (alpha * labels + (1 - alpha) * (1 - labels))
    return reduced(losses, reduction, where)


def multilabel_soft_margin_loss(logits: Any, labels: Any, axis: int = -1, *, class_weights: Any = None, reduction: str = "none",
                                where: Any = None) -> Any:
    """The mean over classes of ``sigmoid_binary_cross_entropy``: an example may belong to several classes, or to none."""
    logits, labels = counted(where, logits, labels, axis=axis)
    losses = sigmoid_binary_cross_entropy(logits, labels)
    if class_weights is not None:
        weights = _class_weights("multilabel_soft_margin_loss", class_weights, losses.shape[axis])
        losses = losses * _along(weights, axis, losses.ndim)
    return reduced(fnp.mean(losses, axis), reduction, where)


def dice_loss(predictions: Any, targets: Any, axis: Any = None, *, smooth: float = 1.0, reduction: str = "none",
              where: Any = None) -> Any:
    """1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), along axes; unless given, all but the first.

    predictions: probabilities; targets: 0, 1 or between. Milletari et al., "V-Net", https://arxiv.org/abs/1606.04797.
    """
    axis = tuple(range(1, fnp.ndim(predictions))) if axis is None else axis
    predictions, targets = counted(where, predictions, targets, axis=axis)
    _check_probabilities("dice_loss", targets)
    common = elementwise("dice_loss", fnp.multiply, predictions, targets, "none", None)
    total = fnp.sum(predictions, axis) + fnp.sum(targets, axis)
    return reduced(1 - (2 * fnp.sum(common, axis) + smooth) / (total + smooth), reduction, where)


def hinge_loss(predictions: Any, targets: Any, *, reduction: str = "none", where: Any = None) -> Any:
    """max(0, 1 - predictions * targets), element by element, for targets -1 and 1."""
    check_signs("hinge_loss", where, targets)
    return elementwise("hinge_loss", lambda p, t: relu(1 - p * t), predictions, targets, reduction, where)


def soft_margin_loss(predictions: Any, targets: Any, *, reduction: str = "none", where: Any = None) -> Any:
    """log(1 + exp(-predictions * targets)), element by element, for targets -1 and 1."""
    check_signs("soft_margin_loss", where, targets)
    return elementwise("soft_margin_loss", lambda p, t: softplus(-p * t), predictions, targets, reduction, where)


def check_signs(name: str, where: Any, targets: Any) -> None:
    """Raises ValueError if a target that counts is known to be neither -1 nor 1."""
    check_values(name, "target", *counted(where, targets, instead=1), lambda v: (v == 1) | (v == -1), "-1 or 1",
                 "2 * labels - 1 for labels 0 and 1")


def _check_probabilities(name: str, labels: Any) -> None:
    check_values(name, "label", labels, lambda v: (v >= 0) & (v <= 1), "labels from 0 to 1")
