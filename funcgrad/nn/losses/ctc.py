"""Connectionist temporal classification: the loss of a sequence of labels of which nobody knows when they occur.

In: logits for each step and the labels in their order. Out: minus the logarithm of the probability of all ways in which the
steps can be read as the labels: each step says a class or "blank", repeats are merged, then blanks are dropped.

    >>> logits = fnp.zeros((1, 2, 3))               # two steps of three classes: "1 1", "1 blank" and "blank 1" read as "1"
    >>> round(float(ctc_loss(logits, fnp.array([[1]]))[0]), 4)   # log(9 / 3)
    1.0986
"""
from __future__ import annotations

from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import message
from funcgrad.nn.functions import log_softmax, logsumexp
from funcgrad.nn.losses.common import check_values, counted, known, reduced


def ctc_loss(logits: Any, labels: Any, logit_lengths: Any = None, label_lengths: Any = None, *, blank: int = 0,
             zero_infinity: bool = False, reduction: str = "none", where: Any = None) -> Any:
    """Minus the logarithm of the probability of the labels, for each sequence.

    Args:
      logits: [batch, time, classes]; the probabilities of a step are their softmax.
      labels: integers [batch, n], padded with anything at the end.
      logit_lengths, label_lengths: integers [batch]: how many steps and labels a sequence has; all unless given.
      blank: the class that says nothing.
      zero_infinity: labels that do not fit into the steps (they need one a label and one between equal ones) have loss 0
        instead of infinity.

    An impossible sequence has derivative 0 either way (in torch it is NaN, or 0 with ``zero_infinity``). The mean is over
    sequences (that of torch divides each loss by its number of labels first). Raises TypeError for labels that are not
    integers, and ValueError for shapes that do not fit, a label that is no class or the blank, and lengths that are too
    large. Where labels are not known, a sequence with such a label has loss NaN. Graves et al., "Connectionist temporal
    classification" (2006).
    """
    logits, labels = fnp.asarray(logits), fnp.asarray(labels)
    _check_types(logits, labels, blank)
    batch, time, classes = logits.shape
    n = labels.shape[1]
    times = _lengths("logit_lengths", logit_lengths, batch, time)
    counts = _lengths("label_lengths", label_lengths, batch, n)
    present = fnp.arange(n) < counts[:, None]
    if where is not None:
        logits, = counted(where, logits, axis=(1, 2))
        present, = counted(where, present, axis=1, instead=False)
    labels = fnp.where(present, labels, (blank + 1) % classes)
    check_values("ctc_loss", "label", labels, lambda v: (v >= 0) & (v < classes) & (v != blank),
                 f"classes from 0 to {classes - 1} but for the blank, {blank}")
    losses = -_log_likelihood(log_softmax(logits), labels, times, counts, blank)
    if known(labels) is None:
        sensible = (labels >= 0) & (labels < classes) & (labels != blank)
        losses = fnp.where(fnp.all(sensible, axis=1), losses, np.nan)
    if zero_infinity:
        losses = fnp.where(fnp.equal(losses, np.inf), 0, losses)
    return reduced(losses, reduction, where)


def _log_likelihood(logs: Any, labels: Any, times: Any, counts: Any, blank: int) -> Any:
    """The forward recursion: for each place among "blank, label, blank, ..., label, blank" the probability to be there.

    From one step to the next, the place stays, moves by one, or skips a blank between two labels that differ.
    """
    batch, n = labels.shape
    between = fnp.full((batch, n), blank, labels.dtype)
    places = fnp.reshape(fnp.stack([between, labels], -1), (batch, 2 * n))
    places = fnp.concatenate([places, fnp.full((batch, 1), blank, labels.dtype)], 1)
    said = fnp.moveaxis(fnp.take_along_axis(logs, places[:, None, :], axis=2, mode="clip"), 1, 0)  # [time, batch, places]
    before = fnp.concatenate([fnp.full((batch, 2), -1, labels.dtype), places[:, :-2]], 1) if n else places
    place = np.arange(2 * n + 1)
    skips = fnp.logical_and((place % 2 == 1) & (place > 1), fnp.not_equal(places, before))
    nowhere = np.full((batch, 2), -np.inf, logs.dtype)

    def step(here: Any, inputs: Any) -> tuple[Any, None]:
        t, says = inputs
        padded = fnp.concatenate([nowhere, here], axis=1)
        moved = _log_sum(here, padded[:, 1:-1], fnp.where(skips, padded[:, :-2], -np.inf)) + says
        return fnp.where(fnp.less(t, times)[:, None], moved, here), None

    # Before the first step one stands on the first blank, from which the first label can be reached.
    start = np.broadcast_to(np.where(place == 0, 0, -np.inf).astype(logs.dtype), (batch, 2 * n + 1))
    last, _ = lax.scan(step, start, (np.arange(logs.shape[1]), said))
    # At the end one stands on the last label or on the blank behind it.
    ends = fnp.logical_or(fnp.equal(place, 2 * counts[:, None]), fnp.equal(place, 2 * counts[:, None] - 1))
    return logsumexp(fnp.where(ends, last, -np.inf), 1)


def _log_sum(a: Any, b: Any, c: Any) -> Any:
    """log(exp(a) + exp(b) + exp(c)), element by element; where all are -inf, with derivative 0."""
    top = lax.stop_gradient(fnp.maximum(fnp.maximum(a, b), c))
    possible = fnp.greater(top, -np.inf)
    top = fnp.where(possible, top, 0)
    total = fnp.exp(a - top) + fnp.exp(b - top) + fnp.exp(c - top)
    return fnp.where(possible, fnp.log(fnp.where(possible, total, 1)) + top, -np.inf)


def _check_types(logits: Any, labels: Any, blank: int) -> None:
    if labels.dtype.kind not in "iu":
        raise TypeError(message("ctc_loss: the labels must be integers", labels.aval))
    if logits.ndim != 3 or labels.ndim != 2 or labels.shape[0] != logits.shape[0]:
        raise ValueError(message("ctc_loss: the labels do not belong to the logits",
                                 f"labels of type {labels.aval}, logits of type {logits.aval}",
                                 "logits [batch, time, classes] and labels [batch, n]"))
    if not 0 <= blank < logits.shape[2]:
        raise ValueError(message("ctc_loss: the blank is not a class", blank, f"0 to {logits.shape[2] - 1}"))


def _lengths(name: str, lengths: Any, batch: int, size: int) -> Any:
    if lengths is None:
        return fnp.full((batch,), size)
    if fnp.shape(lengths) != (batch,):
        raise ValueError(message(f"ctc_loss: {name} has another shape", fnp.shape(lengths),
                                 f"({batch},), one for each sequence"))
    check_values("ctc_loss", "length", lengths, lambda v: (v >= 0) & (v <= size), f"{name} from 0 to {size}")
    return fnp.asarray(lengths)
