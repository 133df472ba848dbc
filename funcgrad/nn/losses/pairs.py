"""Losses of pairs: which is larger, and what is near to what.

In: numbers to be ranked, or vectors along an axis. Out: a loss for each pair.

    >>> x = fnp.array([[1.0, 0.0], [0.0, 1.0]])
    >>> info_nce(x, x, temperature=1.0)                   # log(1 + exp(-1)): the right key is the nearer one
    Array([0.31326169, 0.31326169], dtype=float64)
"""
from __future__ import annotations

from typing import Any

import funcgrad.numpy as fnp
from funcgrad.errors import message
from funcgrad.nn.functions import logsumexp, relu
from funcgrad.nn.losses.classification import check_signs
from funcgrad.nn.losses.common import check_values, counted, elementwise, reduced
from funcgrad.nn.vectors import cosine_similarity, normalize, pairwise_distance


def margin_ranking_loss(first: Any, second: Any, targets: Any, *, margin: float = 0.0, reduction: str = "none",
                        where: Any = None) -> Any:
    """max(0, margin - targets * (first - second)), element by element: target 1 wants the first larger, -1 the second."""
    check_signs("margin_ranking_loss", where, targets)
    return elementwise("margin_ranking_loss", lambda a, b: relu(margin - fnp.where(fnp.greater(targets, 0), a - b, b - a)),
                       first, second, reduction, where)


def hinge_embedding_loss(distances: Any, targets: Any, *, margin: float = 1.0, reduction: str = "none",
                         where: Any = None) -> Any:
    """The distance where the target is 1, and max(0, margin - distance) where it is -1, element by element."""
    check_signs("hinge_embedding_loss", where, targets)
    return elementwise("hinge_embedding_loss", lambda d, t: fnp.where(fnp.greater(t, 0), d, relu(margin - d)), distances,
                       targets, reduction, where)


def triplet_margin_loss(anchors: Any, positives: Any, negatives: Any, axis: int = -1, *, margin: float = 1.0,
                        swap: bool = False, epsilon: float = 1e-6, reduction: str = "none", where: Any = None) -> Any:
    """max(0, margin + distance of anchor and positive - distance of anchor and negative).

    With ``swap`` the negative's distance is that to the anchor or to the positive, whichever is nearer. ``epsilon`` is added
    to the differences. Schroff et al., "FaceNet", https://arxiv.org/abs/1503.03832.
    """
    anchors, positives, negatives = counted(where, anchors, positives, negatives, axis=axis)
    near = pairwise_distance(anchors, positives, axis, epsilon)
    far = pairwise_distance(anchors, negatives, axis, epsilon)
    if swap:
        far = fnp.minimum(far, pairwise_distance(positives, negatives, axis, epsilon))
    return reduced(relu(margin + near - far), reduction, where)


def cosine_embedding_loss(first: Any, second: Any, targets: Any, axis: int = -1, *, margin: float = 0.0,
                          reduction: str = "none", where: Any = None) -> Any:
    """1 - cosine where the target is 1, and max(0, cosine - margin) where it is -1."""
    check_signs("cosine_embedding_loss", where, targets)
    cosine = cosine_similarity(*counted(where, first, second, axis=axis), axis)
    return reduced(fnp.where(fnp.greater(targets, 0), 1 - cosine, relu(cosine - margin)), reduction, where)


def contrastive_loss(first: Any, second: Any, same: Any, axis: int = -1, *, margin: float = 1.0, reduction: str = "none",
                     where: Any = None) -> Any:
    """d**2 / 2 where ``same`` is 1, and max(0, margin - d)**2 / 2 where it is 0; d the distance.

    Hadsell et al., "Dimensionality reduction by learning an invariant mapping" (2006).
    """
    check_values("contrastive_loss", "label", *counted(where, same), lambda v: (v == 0) | (v == 1), "0 or 1")
    d = pairwise_distance(*counted(where, first, second, axis=axis), axis, 0.0)
    return reduced(0.5 * fnp.square(fnp.where(fnp.greater(same, 0), d, relu(margin - d))), reduction, where)


def info_nce(queries: Any, keys: Any, *, temperature: Any = 0.07, symmetric: bool = False, reduction: str = "none",
             where: Any = None) -> Any:
    """The cross entropy of finding the key that belongs to a query among all keys, by their cosines over the temperature.

    queries, keys: [n, features]; row i of one belongs to row i of the other. With ``symmetric``, half of it and half of
    finding the query for each key, as in CLIP. ``where``, bools [n]: pairs that are not there, neither to be found nor as
    a choice. van den Oord et al., https://arxiv.org/abs/1807.03748; Radford et al., https://arxiv.org/abs/2103.00020.
    """
    queries, keys = _two("info_nce", queries, keys, where)
    logits = normalize(queries) @ normalize(keys).T / temperature
    right = fnp.diagonal(logits)
    losses = logsumexp(logits, 1, where=where) - right
    if symmetric:
        losses = (losses + logsumexp(logits, 0, where=None if where is None else fnp.asarray(where)[:, None]) - right) / 2
    return reduced(losses, reduction, where)


def nt_xent(first: Any, second: Any, *, temperature: Any = 0.5, reduction: str = "none", where: Any = None) -> Any:
    """The loss of SimCLR: each of 2n views has to find the other view of its example among all others.

    first, second: [n, features], two views of each example. The result is [n]: the mean of the losses of its two views.
    ``where`` as in ``info_nce``. Chen et al., "A simple framework for contrastive learning", https://arxiv.org/abs/2002.05709.
    """
    first, second = _two("nt_xent", first, second, where)
    n = first.shape[0]
    views = normalize(fnp.concatenate([first, second]))
    logits = views @ views.T / temperature
    others = fnp.logical_not(fnp.eye(2 * n, dtype=bool))
    if where is not None:
        others = fnp.logical_and(others, fnp.tile(fnp.asarray(where), 2))
    total = logsumexp(logits, 1, where=others)
    return reduced((total[:n] + total[n:]) / 2 - fnp.diagonal(logits[:n, n:]), reduction, where)


def _two(name: str, first: Any, second: Any, where: Any) -> tuple[Any, Any]:
    first, second = fnp.asarray(first), fnp.asarray(second)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(message(f"{name}: the rows do not belong together", f"{first.aval} and {second.aval}",
                                 "two arrays of one shape [n, features]"))
    return counted(where, first, second, axis=-1)
