"""Losses and functions against values and gradients stored from torch and Optax, and at the edges where both disagree or fail."""
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn
from funcgrad.test_util import check_grads

CASES = json.loads((Path(__file__).parent / "reference" / "losses.json").read_text())
INTEGER = nn.softmax_cross_entropy_with_integer_labels
CALLS = {
    "huber_loss delta": partial(nn.huber_loss, delta=0.7),
    "smooth_l1_loss beta": partial(nn.smooth_l1_loss, beta=0.3),
    "smooth_l1_loss zero": partial(nn.smooth_l1_loss, beta=0.0),
    "poisson_nll full": partial(nn.poisson_nll, full=True),
    "poisson_nll rates": partial(nn.poisson_nll, log_input=False),
    "gaussian_nll full": partial(nn.gaussian_nll, full=True, epsilon=0.5),
    "kl_divergence logs": partial(nn.kl_divergence, log_targets=True),
    "kl_divergence mean": partial(nn.kl_divergence, reduction="mean"),
    "softmax_cross_entropy smoothing weights": lambda x, t, w: nn.softmax_cross_entropy(
        x, t, class_weights=w, label_smoothing=0.2, reduction="mean"),
    "softmax_cross_entropy_with_integer_labels field": partial(INTEGER, label_smoothing=0.1),
    "softmax_cross_entropy_with_integer_labels ignored": partial(INTEGER, ignore_index=-100),
    "softmax_cross_entropy_with_integer_labels ignored mean": lambda x, t, w: INTEGER(
        x, t, class_weights=w, ignore_index=-100, label_smoothing=0.2, reduction="mean"),
    "nll_loss": lambda x, t, w: nn.nll_loss(x, t, class_weights=w, reduction="mean"),
    "multi_margin_loss squared": lambda x, t, w: nn.multi_margin_loss(x, t, p=2, margin=0.5, class_weights=w),
    "sigmoid_binary_cross_entropy pos_weight": lambda x, t, w: nn.sigmoid_binary_cross_entropy(x, t, pos_weight=w),
    "sigmoid_focal_loss": partial(nn.sigmoid_focal_loss, alpha=0.25),
    "sigmoid_focal_loss gamma": partial(nn.sigmoid_focal_loss, alpha=0.3, gamma=1.5),
    "multilabel_soft_margin_loss": lambda x, t, w: nn.multilabel_soft_margin_loss(x, t, class_weights=w),
    "margin_ranking_loss": partial(nn.margin_ranking_loss, margin=0.3),
    "hinge_embedding_loss": partial(nn.hinge_embedding_loss, margin=0.8),
    "triplet_margin_loss swap": partial(nn.triplet_margin_loss, margin=2.0, swap=True),
    "cosine_embedding_loss": partial(nn.cosine_embedding_loss, margin=0.1),
    "info_nce symmetric": partial(nn.info_nce, symmetric=True),
    "ctc_loss blank": partial(nn.ctc_loss, blank=3),
    "ctc_loss optax": nn.ctc_loss,
    "hard_shrink": partial(nn.hard_shrink, bound=0.7), "soft_shrink": partial(nn.soft_shrink, bound=0.7),
    "threshold": partial(nn.threshold, threshold=0.5, value=3.0),
    "pixel_shuffle": lambda x: nn.pixel_shuffle(x, 2), "pixel_unshuffle": lambda x: nn.pixel_unshuffle(x, 2),
}


def weighted(function, *arrays):
    losses = function(*arrays)
    return fnp.sum(losses * fnp.reshape(fnp.arange(1.0, losses.size + 1), losses.shape)), losses


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_stored(name):
    case = CASES[name]
    function = CALLS.get(name) or getattr(nn, name)
    arrays = [np.array(x) for x in case["inputs"]]
    by = tuple(i for i, g in enumerate(case["gradients"]) if g is not None)
    gradients, losses = fg.grad(partial(weighted, function), by, has_aux=True)(*arrays)
    np.testing.assert_allclose(np.asarray(losses), np.reshape(case["value"], case["shape"]), rtol=1e-10, atol=1e-12)
    for i, gradient in zip(by, gradients, strict=True):
        np.testing.assert_allclose(np.ravel(gradient), case["gradients"][i], rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------- what counts

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(5, 3)), RNG.normal(size=(5, 3))
LABELS, ROWS = np.array([0, 2, 1, 1, 2]), np.array([True, False, True, True, False])
EACH = ROWS[:, None] & np.array([True, True, False])
PROBABILITIES = RNG.dirichlet(np.ones(3), 5)
SIGNS = np.array([1.0, -1.0, -1.0, 1.0, 1.0])
MASKED = {  # name: (arrays, mask of the losses)
    "squared_error": ((X, Y), EACH), "absolute_error": ((X, Y), EACH), "huber_loss": ((X, Y), EACH), "log_cosh": ((X, Y), EACH),
    "smooth_l1_loss": ((X, Y), EACH), "quantile_loss": ((X, Y), EACH), "poisson_nll": ((X, Y), EACH),
    "gaussian_nll": ((X, Y, abs(X) + 1), EACH), "kl_divergence": ((X, PROBABILITIES), ROWS),
    "softmax_cross_entropy": ((X, PROBABILITIES), ROWS), "softmax_cross_entropy_with_integer_labels": ((X, LABELS), ROWS),
    "nll_loss": ((X, LABELS), ROWS), "multi_margin_loss": ((X, LABELS), ROWS),
    "sigmoid_binary_cross_entropy": ((X, PROBABILITIES), EACH), "binary_cross_entropy": ((PROBABILITIES, PROBABILITIES[::-1]), EACH),
    "sigmoid_focal_loss": ((X, PROBABILITIES), EACH),
    "multilabel_soft_margin_loss": ((X, PROBABILITIES), ROWS), "dice_loss": ((PROBABILITIES, PROBABILITIES[::-1]), ROWS),
    "hinge_loss": ((X[:, 0], SIGNS), ROWS), "soft_margin_loss": ((X[:, 0], SIGNS), ROWS),
    "margin_ranking_loss": ((X[:, 0], Y[:, 0], SIGNS), ROWS), "hinge_embedding_loss": ((abs(X[:, 0]), SIGNS), ROWS),
    "triplet_margin_loss": ((X, Y, X[[1, 2, 3, 4, 0]]), ROWS), "cosine_embedding_loss": ((X, Y, SIGNS), ROWS),
    "contrastive_loss": ((X, Y, SIGNS > 0), ROWS),
}
PAIRS = {"info_nce": ((X, Y), ROWS), "nt_xent": ((X, Y), ROWS)}
SEQUENCES = {"ctc_loss": ((RNG.normal(size=(5, 6, 4)), np.array([[1, 2], [3, 3], [2, 1], [1, 1], [3, 1]])), ROWS)}
ALL = {**MASKED, **PAIRS, **SEQUENCES}


def test_all_losses_are_in_the_table():
    assert set(ALL) == set(nn.losses.__all__)


@pytest.mark.parametrize("name", {**MASKED, **SEQUENCES})
def test_only_what_where_marks_counts(name):
    loss, (arrays, where) = getattr(nn, name), ALL[name]
    spoilt = tuple(np.where(where.reshape(where.shape + (1,) * (x.ndim - where.ndim)), x, np.nan)
                   if x.dtype.kind == "f" else x for x in arrays)
    every = np.asarray(loss(*arrays))
    np.testing.assert_allclose(loss(*spoilt, where=where), np.where(where, every, 0), rtol=1e-12)
    mean = partial(loss, where=where, reduction="mean")
    assert float(mean(*spoilt)) == pytest.approx(every[where].mean())
    assert float(loss(*spoilt, where=where, reduction="sum")) == pytest.approx(every[where].sum())
    slope = fg.grad(mean)(*spoilt)
    np.testing.assert_allclose(slope, fg.grad(lambda *xs: fnp.sum(fnp.where(where, loss(*xs), 0)) / where.sum())(*arrays), atol=1e-13)
    nothing = fg.value_and_grad(partial(loss, where=np.zeros_like(where), reduction="mean"))(*spoilt)
    assert float(nothing[0]) == 0 and not np.any(nothing[1])


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_do_not_count_are_no_choices_either(name):
    loss = getattr(nn, name)
    spoilt = np.where(ROWS[:, None], X, np.nan)
    np.testing.assert_allclose(loss(spoilt, Y, where=ROWS)[ROWS], loss(X[ROWS], Y[ROWS]), rtol=1e-12)
    slope = fg.grad(lambda x: loss(x, Y, where=ROWS, reduction="mean"))(spoilt)
    np.testing.assert_allclose(slope[ROWS], fg.grad(lambda x: loss(x, Y[ROWS], reduction="mean"))(X[ROWS]), rtol=1e-9, atol=1e-13)
    assert not np.any(slope[~ROWS])


@pytest.mark.parametrize("name", ALL)
def test_losses_have_right_derivatives_and_compile_without_host_steps(name):
    loss, (arrays, where) = getattr(nn, name), ALL[name]
    rest = arrays[1:]
    check_grads(lambda x: loss(x, *rest, reduction="mean"), (arrays[0],), order=2)
    slope = fg.grad(lambda *xs: loss(*xs, where=where, reduction="mean"))
    lowered = fg.jit(slope).lower(*arrays)
    assert not lowered.report()["host_steps"]
    np.testing.assert_allclose(lowered.compile()(*arrays), slope(*arrays), rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(fg.vmap(lambda *xs: loss(*xs))(*[np.stack([x, x[::-1]]) for x in arrays]),
                               np.stack([loss(*arrays), loss(*[x[::-1] for x in arrays])]), rtol=1e-10)
    singles = [x.astype(np.float32) if x.dtype.kind == "f" else x for x in arrays]
    assert loss(*singles).dtype == np.float32
    np.testing.assert_allclose(loss(*singles, reduction="mean"), loss(*arrays, reduction="mean"), rtol=1e-4)


def test_masked_means_of_many_half_precision_numbers():
    x = np.ones(140_000, np.float16)
    found = nn.squared_error(x, 2 * x, where=np.arange(len(x)) % 2 == 0, reduction="mean")
    assert float(found) == 1 and found.dtype == np.float16
    whole = nn.squared_error(np.array([1, 2, 4]), np.array([0, 0, 0]), where=np.array([True, True, False]), reduction="mean")
    assert float(whole) == 2.5 and whole.dtype == np.float64


@pytest.mark.parametrize("name", ALL)
def test_no_examples(name):
    arrays = [x[:0] for x in ALL[name][0]]
    losses = getattr(nn, name)(*arrays)
    assert losses.shape[0] == 0
    assert float(getattr(nn, name)(*arrays, reduction="mean")) == 0


# ---------------------------------------------------------------- at the edges


def test_large_and_infinite_logits():
    big = np.array([[1e4, -1e4, 0.0], [0.0, -np.inf, -np.inf]])
    labels = np.array([0, 0])
    np.testing.assert_array_equal(INTEGER(big, labels), [0, 0])
    np.testing.assert_array_equal(INTEGER(big, np.array([1, 1])), [2e4, np.inf])
    np.testing.assert_array_equal(fg.grad(lambda x: INTEGER(x, labels, reduction="sum"))(big), np.zeros((2, 3)))
    np.testing.assert_array_equal(nn.softmax_cross_entropy(big, np.eye(3)[labels]), [0, 0])
    np.testing.assert_allclose(nn.log_cosh(np.array([1e300, -1e3, 1e-9]), np.zeros(3)), [1e300, 1e3 - math.log(2), 0.5e-18])
    np.testing.assert_allclose(nn.huber_loss(np.array([1e300, -1e300]), np.zeros(2)), [1e300, 1e300])
    far = nn.sigmoid_focal_loss(np.array([800.0, -800.0, 800.0]), np.array([1.0, 0.0, 0.0]), gamma=0.5)
    np.testing.assert_allclose(far, [0, 0, 800])
    slopes = fg.grad(lambda x: nn.sigmoid_focal_loss(x, np.ones(2), gamma=0.5, reduction="sum"))(np.array([800.0, -800.0]))
    np.testing.assert_allclose(slopes, [0, -1])


def test_probabilities_of_zero_and_one():
    p, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(nn.binary_cross_entropy(p, t), [0, 0, 100, 100])
    assert np.isfinite(np.asarray(fg.grad(lambda p: nn.binary_cross_entropy(p, t, reduction="sum"))(p))).all()


def test_labels_and_targets_of_probability_zero():
    np.testing.assert_allclose(nn.kl_divergence(np.log([0.5, 0.5]), np.array([1.0, 0.0])), math.log(2))
    logs = np.array([0.0, -np.inf])
    assert float(nn.kl_divergence(logs, logs, log_targets=True)) == 0
    assert float(nn.kl_divergence(logs, np.array([1.0, 0.0]))) == 0
    assert float(nn.kl_divergence(logs, np.array([0.5, 0.5]))) == np.inf
    np.testing.assert_array_equal(fg.grad(nn.kl_divergence)(logs, np.array([1.0, 0.0])), [-1, 0])


def test_equal_vectors_have_no_nan_derivative():
    x = np.zeros((2, 3))
    for loss in (lambda a: nn.contrastive_loss(a, x, np.array([1, 0])), lambda a: nn.triplet_margin_loss(a, x, x, epsilon=0.0),
                 lambda a: nn.cosine_embedding_loss(a, x, np.ones(2)), nn.normalize):
        assert np.isfinite(np.asarray(fg.grad(lambda a: fnp.sum(loss(a)))(x))).all()  # noqa: B023  called at once


def test_variances_below_the_floor_keep_their_derivative():
    slope = fg.grad(lambda v: nn.gaussian_nll(np.zeros(1), np.zeros(1), v, epsilon=0.1)[0])(np.array([0.01]))
    np.testing.assert_allclose(slope, [0.5 / 0.1])


def test_masks_and_label_smoothing_where_labels_are_not_known():
    labels = np.array([0, -1, 1, 7, 2])
    found = fg.jit(partial(INTEGER, ignore_index=-1))(X, labels)
    assert np.isnan(found[3]) and float(found[1]) == 0 and np.isfinite(np.asarray(found)[[0, 2, 4]]).all()
    found = fg.jit(lambda x, t: INTEGER(x, t, where=t >= 0, reduction="mean"))(X, np.where(labels == 7, -1, labels))
    assert float(found) == pytest.approx(float(INTEGER(X[[0, 2, 4]], labels[[0, 2, 4]], reduction="mean")))


# ---------------------------------------------------------------- ctc


def by_enumeration(logits, labels, blank=0):
    """Minus the logarithm of the probability of all ways to say the labels, one by one."""
    time, classes = logits.shape
    probabilities = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    total = 0.0
    for path in np.ndindex(*(classes,) * time):
        merged = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
        if [c for c in merged if c != blank] == list(labels):
            total += math.prod(probabilities[t, c] for t, c in enumerate(path))
    return -math.log(total) if total else math.inf


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [1, 2], [2, 2, 1], [1, 2, 1, 2], [1, 1, 1]])
@pytest.mark.parametrize("blank", [0, 2])
def test_ctc_counts_all_ways(labels, blank):
    labels = [c - 1 for c in labels] if blank else labels
    logits = np.random.default_rng(len(labels)).normal(size=(4, 3))
    given = np.array([labels + [blank]], int)
    found = nn.ctc_loss(logits[None], given, label_lengths=np.array([len(labels)]), blank=blank)
    np.testing.assert_allclose(found, [by_enumeration(logits, labels, blank)], rtol=1e-12)


def test_ctc_of_labels_that_do_not_fit():
    logits, labels = RNG.normal(size=(2, 3, 3)), np.array([[1, 1, 1], [1, 2, 1]])
    value, slope = fg.value_and_grad(lambda x: nn.ctc_loss(x, labels)[0])(logits)
    assert float(value) == np.inf and not np.any(slope)
    value, slope = fg.value_and_grad(partial(nn.ctc_loss, zero_infinity=True, reduction="sum"))(logits, labels)
    assert float(value) == pytest.approx(float(nn.ctc_loss(logits[1:], labels[1:])[0])) and not np.any(slope[0])
    np.testing.assert_array_equal(nn.ctc_loss(np.zeros((2, 0, 3)), np.array([[1], [1]]), label_lengths=np.array([0, 1])), [0, np.inf])
    np.testing.assert_allclose(nn.ctc_loss(logits, np.zeros((2, 0), int)), [by_enumeration(x, []) for x in logits])
    forbidden = np.where(np.arange(3) == 1, -np.inf, logits)
    value, slope = fg.value_and_grad(lambda x: nn.ctc_loss(x, labels[:, :1], reduction="sum"))(forbidden)
    assert float(value) == np.inf and not np.isnan(np.asarray(slope)).any()


def test_ctc_of_unknown_labels():
    logits, labels = RNG.normal(size=(5, 4, 3)), np.array([[1], [0], [5], [0], [5]])
    found = np.asarray(fg.jit(nn.ctc_loss)(logits, labels, np.array([4, 4, 4, 2, 3]), np.array([1, 1, 1, 0, 0])))
    assert np.isnan(found[1:3]).all()
    np.testing.assert_allclose(found[[0, 3, 4]], [by_enumeration(logits[0], [1]), by_enumeration(logits[3, :2], []),
                                                  by_enumeration(logits[4, :3], [])])


# ---------------------------------------------------------------- functions


def test_gated_activations():
    x = RNG.normal(size=(3, 4))
    for name, gate in (("reglu", nn.relu), ("geglu", nn.gelu), ("swiglu", nn.silu), ("glu", nn.sigmoid)):
        np.testing.assert_allclose(getattr(nn, name)(x), x[:, :2] * np.asarray(gate(x[:, 2:])))
        with pytest.raises(ValueError, match=rf"{name}: the axis cannot be halved.*\n.*size 3 along axis 0"):
            getattr(nn, name)(x, 0)
    np.testing.assert_allclose(nn.geglu(x, approximate=False), x[:, :2] * np.asarray(nn.gelu(x[:, 2:], False)))


def test_random_slopes():
    x = -np.ones(2000)
    found = -np.asarray(nn.rrelu(x, fg.random.key(0), 0.1, 0.3))
    assert 0.1 <= found.min() < 0.11 and 0.29 < found.max() <= 0.3 and found.mean() == pytest.approx(0.2, abs=0.01)
    assert nn.rrelu(np.ones(3), fg.random.key(0)).tolist() == [1, 1, 1]


def test_gumbel_softmax():
    key, logits = fg.random.key(0), np.log([0.7, 0.2, 0.1])
    points = fg.vmap(lambda k: nn.gumbel_softmax(k, logits, 0.1, hard=True))(fg.random.split(key, 4000))
    assert set(np.unique(np.asarray(points))) == {0, 1}
    np.testing.assert_allclose(np.mean(points, axis=0), [0.7, 0.2, 0.1], atol=0.03)
    weights = np.array([1.0, 2.0, 5.0])
    soft = fg.grad(lambda x: fnp.sum(weights * nn.gumbel_softmax(key, x, 0.5)))(logits)
    hard = fg.grad(lambda x: fnp.sum(weights * nn.gumbel_softmax(key, x, 0.5, hard=True)))(logits)
    np.testing.assert_allclose(soft, hard)
    assert nn.gumbel_softmax(key, logits.astype(np.float32)).dtype == np.float32


def test_pixels():
    x = RNG.normal(size=(2, 3, 8))
    np.testing.assert_array_equal(nn.pixel_unshuffle(nn.pixel_shuffle(x, 2), 2), x)
    with pytest.raises(ValueError, match=r"pixel_shuffle: the channels cannot be laid out(.|\n)*divisible by 9"):
        nn.pixel_shuffle(x, 3)
    with pytest.raises(ValueError, match=r"pixel_unshuffle: the image cannot be divided(.|\n)*divisible by 2"):
        nn.pixel_unshuffle(x, 2)


@pytest.mark.parametrize("call, error", [
    (lambda: nn.softmax_cross_entropy(X, np.ones((5, 4)) / 4), r"3 in logits of type .*, 4 in labels of type"),
    (lambda: nn.softmax_cross_entropy(X, PROBABILITIES, class_weights=np.ones(4)), r"\(4,\), logits with 3 classes"),
    (lambda: INTEGER(X, LABELS, class_weights=np.ones(2)), r"shape \(2,\), logits with 3 classes"),
    (lambda: INTEGER(X, LABELS + 1), r"label 3, with 3 classes(.|\n)*ignore_index"),
    (lambda: nn.squared_error(X, Y, where=np.ones(5, bool)), r"bool\[5\], losses of shape \(5, 3\)"),
    (lambda: nn.squared_error(X, Y, where=np.ones((5, 3))), r"float64\[5,3\](.|\n)*bools of a shape"),
    (lambda: nn.absolute_error(X, Y[:1]), r"absolute_error: predictions and targets(.|\n)*\(5, 3\) and \(1, 3\)"),
    (lambda: nn.hinge_loss(X[:, 0], np.zeros(5)), r"target 0.0(.|\n)*-1 or 1(.|\n)*2 \* labels - 1"),
    (lambda: nn.quantile_loss(X, Y, 50), r"no such quantile(.|\n)*from 0 to 1"),
    (lambda: nn.gaussian_nll(X, Y, -1.0), r"variance -1.0(.|\n)*softplus"),
    (lambda: nn.kl_divergence(X, np.log(PROBABILITIES)), r"target -(.|\n)*log_targets=True"),
    (lambda: nn.binary_cross_entropy(X, PROBABILITIES), r"probability .*(.|\n)*sigmoid_binary_cross_entropy for logits"),
    (lambda: nn.contrastive_loss(X, Y, SIGNS), r"label -1.0(.|\n)*0 or 1"),
    (lambda: nn.info_nce(X, Y[:4]), r"float64\[5,3\] and float64\[4,3\](.|\n)*\[n, features\]"),
    (lambda: nn.ctc_loss(X[None], np.array([[0]])), r"label 0(.|\n)*from 0 to 2 but for the blank, 0"),
    (lambda: nn.ctc_loss(X[None], np.array([[3]])), r"label 3(.|\n)*from 0 to 2"),
    (lambda: nn.ctc_loss(X[None], np.array([[1]]), np.array([6])), r"length 6(.|\n)*logit_lengths from 0 to 5"),
    (lambda: nn.ctc_loss(X[None], np.array([[1]]), label_lengths=np.array([1, 1])), r"label_lengths(.|\n)*\(1,\), one for each"),
    (lambda: nn.ctc_loss(X[None], np.array([1])), r"labels of type int64\[1\](.|\n)*labels \[batch, n\]"),
    (lambda: nn.ctc_loss(X[None], np.array([[1.0]])), r"must be integers"),
    (lambda: nn.ctc_loss(X[None], np.array([[1]]), blank=3), r"blank is not a class(.|\n)*0 to 2"),
])
def test_losses_say_what_does_not_fit(call, error):
    with pytest.raises((TypeError, ValueError), match=error):
        call()
