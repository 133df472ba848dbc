"""Losses: how far predictions are from what is known.

In: predictions and targets. Out: one number for each example, or with ``reduction="mean"`` or ``"sum"`` one number.

    >>> import funcgrad.numpy as fnp
    >>> loss = softmax_cross_entropy_with_integer_labels(fnp.zeros((2, 4)), fnp.array([0, 3]), reduction="mean")
    >>> round(float(loss), 4)  # log(4)
    1.3863

All take ``where``, bools that broadcast to the losses: where False, an example gives 0, has no derivative whatever its
numbers are (NaN included), and does not count in the mean. The mean of no losses is 0. Values that make no sense, such as a
label that is not a class, raise ValueError where they are known (not under ``jit``). Names are those of Optax where it has
one, else those of ``torch.nn.functional``.
"""
from funcgrad.nn.losses.classification import (
    binary_cross_entropy,
    dice_loss,
    hinge_loss,
    multi_margin_loss,
    multilabel_soft_margin_loss,
    nll_loss,
    sigmoid_binary_cross_entropy,
    sigmoid_focal_loss,
    soft_margin_loss,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from funcgrad.nn.losses.ctc import ctc_loss
from funcgrad.nn.losses.pairs import (
    contrastive_loss,
    cosine_embedding_loss,
    hinge_embedding_loss,
    info_nce,
    margin_ranking_loss,
    nt_xent,
    triplet_margin_loss,
)
from funcgrad.nn.losses.regression import (
    absolute_error,
    gaussian_nll,
    huber_loss,
    kl_divergence,
    log_cosh,
    poisson_nll,
    quantile_loss,
    smooth_l1_loss,
    squared_error,
)

__all__ = [
    "absolute_error", "binary_cross_entropy", "contrastive_loss", "cosine_embedding_loss", "ctc_loss", "dice_loss",
    "gaussian_nll", "hinge_embedding_loss", "hinge_loss", "huber_loss", "info_nce", "kl_divergence", "log_cosh",
    "margin_ranking_loss", "multi_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "nt_xent", "poisson_nll",
    "quantile_loss", "sigmoid_binary_cross_entropy", "sigmoid_focal_loss", "smooth_l1_loss", "soft_margin_loss",
    "softmax_cross_entropy", "softmax_cross_entropy_with_integer_labels", "squared_error", "triplet_margin_loss",
]
