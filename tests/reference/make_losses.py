"""Writes losses.json: inputs, values and gradients of losses and functions of torch (or Optax, or torchvision's formula).

Run with an environment that has torch, jax and optax: python tests/reference/make_losses.py > tests/reference/losses.json
A case is named as the test calls it. Everything is float64; the gradient is that of sum(losses * (1, 2, 3, ...)).
"""
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F

jax.config.update("jax_enable_x64", True)
RNG = np.random.default_rng(0)
N, C = 6, 4


def normal(*shape):
    return np.round(RNG.normal(size=shape) * 2, 4)


def positive(*shape):
    return np.round(RNG.random(shape) + 0.1, 4)


def classes(*shape):
    return RNG.integers(0, C, shape)


def signs(*shape):
    return RNG.choice([-1.0, 1.0], shape)


X, Y, Z = normal(N, C), normal(N, C), normal(N, C)
SOFT = np.round(RNG.dirichlet(np.ones(C), N), 4)
HARD, BINARY, LABELS, WEIGHTS, SIGNS = np.eye(C)[classes(N)], RNG.integers(0, 2, (N, C)) * 1.0, classes(N), positive(C), signs(N)
IGNORED = np.where(np.arange(N) % 3 == 1, -100, LABELS)
COUNTS = RNG.poisson(3, (N, C)) * 1.0
FIELD, FIELD_LABELS = normal(2, 5, C), classes(2, 5)
LOGS = np.log(RNG.dirichlet(np.ones(C), N))
STEPS, SEQUENCES = normal(4, 9, C), np.array([[1, 2, 3], [2, 2, 1], [3, 1, 1], [1, 1, 1]])
TIMES, LENGTHS = np.array([9, 7, 5, 8]), np.array([3, 3, 1, 0])
IMAGE = normal(2, 4, 6, 8)

none = {"reduction": "none"}


def ctc(x, labels, times, lengths, reduction="none", blank=0):
    logs = F.log_softmax(x, -1).transpose(0, 1)
    return F.ctc_loss(logs, labels, times, lengths, blank=blank, reduction=reduction)


def focal(x, t, alpha=0.25, gamma=2.0):
    """As in torchvision.ops.sigmoid_focal_loss."""
    p = torch.sigmoid(x)
    losses = F.binary_cross_entropy_with_logits(x, t, reduction="none") * (1 - (p * t + (1 - p) * (1 - t))) ** gamma
    return (alpha * t + (1 - alpha) * (1 - t)) * losses


def channels_first(f):
    return lambda x, n: f(x.movedim(-1, -3), n).movedim(-3, -1)


def nt_xent(a, b):
    """SimCLR's loss, example by example in the order of the first views, written out with cross entropies."""
    views = F.normalize(torch.cat([a, b]), dim=1)
    logits = (views @ views.T / 0.5).masked_fill(torch.eye(2 * N, dtype=torch.bool), -torch.inf)
    losses = F.cross_entropy(logits, (torch.arange(2 * N) + N) % (2 * N), reduction="none")
    return (losses[:N] + losses[N:]) / 2


def clip(a, b):
    logits = F.normalize(a, dim=1) @ F.normalize(b, dim=1).T / 0.07
    return (F.cross_entropy(logits, torch.arange(N), **none) + F.cross_entropy(logits.T, torch.arange(N), **none)) / 2


# name: (function, arrays). The function gets tensors; it is differentiated by those that are floating point.
TORCH = {
    "squared_error": (lambda x, y: F.mse_loss(x, y, **none), X, Y),
    "absolute_error": (lambda x, y: F.l1_loss(x, y, **none), X, Y),
    "huber_loss delta": (lambda x, y: F.huber_loss(x, y, delta=0.7, **none), X, Y),
    "smooth_l1_loss beta": (lambda x, y: F.smooth_l1_loss(x, y, beta=0.3, **none), X, Y),
    "smooth_l1_loss zero": (lambda x, y: F.smooth_l1_loss(x, y, beta=0.0, **none), X, Y),
    "poisson_nll": (lambda x, y: F.poisson_nll_loss(x, y, **none), X, COUNTS),
    "poisson_nll full": (lambda x, y: F.poisson_nll_loss(x, y.detach(), full=True, **none), X, COUNTS),
    "poisson_nll rates": (lambda x, y: F.poisson_nll_loss(x, y, log_input=False, **none), positive(N, C), COUNTS),
    "gaussian_nll": (lambda x, y, v: F.gaussian_nll_loss(x, y, v, **none), X, Y, positive(N, C)),
    "gaussian_nll full": (lambda x, y, v: F.gaussian_nll_loss(x, y, v, full=True, eps=0.5, **none), X, Y, positive(N, C)),
    "kl_divergence": (lambda x, t: F.kl_div(x, t, **none).sum(-1), LOGS, SOFT),
    "kl_divergence logs": (lambda x, t: F.kl_div(x, t, log_target=True, **none).sum(-1), LOGS, LOGS[::-1].copy()),
    "kl_divergence mean": (lambda x, t: F.kl_div(x, t, reduction="batchmean"), LOGS, SOFT),
    "softmax_cross_entropy": (lambda x, t: F.cross_entropy(x, t, **none), X, SOFT),
    "softmax_cross_entropy smoothing weights": (
        lambda x, t, w: F.cross_entropy(x, t, w.detach(), label_smoothing=0.2, reduction="mean"), X, HARD, WEIGHTS),
    "softmax_cross_entropy_with_integer_labels": (lambda x, t: F.cross_entropy(x, t, **none), X, LABELS),
    "softmax_cross_entropy_with_integer_labels field": (
        lambda x, t: F.cross_entropy(x.movedim(-1, 1), t, label_smoothing=0.1, **none), FIELD, FIELD_LABELS),
    "softmax_cross_entropy_with_integer_labels ignored": (lambda x, t: F.cross_entropy(x, t, **none), X, IGNORED),
    "softmax_cross_entropy_with_integer_labels ignored mean": (
        lambda x, t, w: F.cross_entropy(x, t, w.detach(), label_smoothing=0.2, reduction="mean"), X, IGNORED, WEIGHTS),
    "nll_loss": (lambda x, t, w: F.nll_loss(x, t, w.detach(), reduction="mean"), LOGS, LABELS, WEIGHTS),
    "multi_margin_loss": (lambda x, t: F.multi_margin_loss(x, t, **none), X, LABELS),
    "multi_margin_loss squared": (
        lambda x, t, w: F.multi_margin_loss(x, t, p=2, margin=0.5, weight=w.detach(), **none), X, LABELS, WEIGHTS),
    "sigmoid_binary_cross_entropy": (lambda x, t: F.binary_cross_entropy_with_logits(x, t, **none), X, BINARY),
    "sigmoid_binary_cross_entropy pos_weight": (
        lambda x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w.detach(), **none), X, SOFT, WEIGHTS),
    "binary_cross_entropy": (lambda p, t: F.binary_cross_entropy(p, t.detach(), **none), SOFT, BINARY),
    "sigmoid_focal_loss": (lambda x, t: focal(x, t.detach()), X, BINARY),
    "multilabel_soft_margin_loss": (
        lambda x, t, w: F.multilabel_soft_margin_loss(x, t.detach(), w.detach(), **none), X, BINARY, WEIGHTS),
    "soft_margin_loss": (lambda x, t: F.soft_margin_loss(x, t.detach(), **none), X[:, 0], SIGNS),
    "margin_ranking_loss": (
        lambda x, y, t: F.margin_ranking_loss(x, y, t.detach(), margin=0.3, **none), X[:, 0], Y[:, 0], SIGNS),
    "hinge_embedding_loss": (lambda x, t: F.hinge_embedding_loss(x, t.detach(), margin=0.8, **none), positive(N), SIGNS),
    "triplet_margin_loss": (lambda x, y, z: F.triplet_margin_loss(x, y, z, **none), X, Y, Z),
    "triplet_margin_loss swap": (lambda x, y, z: F.triplet_margin_loss(x, y, z, margin=2.0, swap=True, **none), X, Y, Z),
    "cosine_embedding_loss": (
        lambda x, y, t: F.cosine_embedding_loss(x, y, t.detach(), margin=0.1, **none), X, Y, SIGNS),
    "info_nce symmetric": (clip, X, Y),
    "nt_xent": (nt_xent, X, Y),
    "ctc_loss": (ctc, STEPS, SEQUENCES, TIMES, LENGTHS),
    "ctc_loss blank": (lambda *xs: ctc(*xs, blank=3), STEPS, SEQUENCES - 1, TIMES, LENGTHS),
    "cosine_similarity": (lambda x, y: F.cosine_similarity(x, y, dim=1), X, Y),
    "normalize": (lambda x: F.normalize(x, dim=1), X),
    "pairwise_distance": (lambda x, y: F.pairwise_distance(x, y), X, Y),
    "softmin": (lambda x: F.softmin(x, dim=1), X),
    "prelu": (lambda x, a: F.prelu(x, a), X, positive(C)),
    "rrelu": (F.rrelu, X),
    "hard_shrink": (lambda x: F.hardshrink(x, 0.7), X),
    "soft_shrink": (lambda x: F.softshrink(x, 0.7), X),
    "tanh_shrink": (F.tanhshrink, X),
    "threshold": (lambda x: F.threshold(x, 0.5, 3.0), X),
    "glu": (lambda x: F.glu(x, 1), X),
    "pixel_shuffle": (lambda x: channels_first(F.pixel_shuffle)(x, 2), IMAGE),
    "pixel_unshuffle": (lambda x: channels_first(F.pixel_unshuffle)(x, 2), IMAGE),
}
OPTAX = {
    "log_cosh": (optax.log_cosh, X, Y),
    "hinge_loss": (optax.hinge_loss, X[:, 0], SIGNS),
    "sigmoid_focal_loss gamma": (lambda x, t: optax.sigmoid_focal_loss(x, t, alpha=0.3, gamma=1.5), X, SOFT),
    "ctc_loss optax": (
        lambda x, t: optax.ctc_loss(x, jnp.zeros(x.shape[:2]), t, jnp.zeros(t.shape)), STEPS, SEQUENCES),
}


def floating(x):
    return np.asarray(x).dtype.kind == "f"


def by_torch(function, *arrays):
    inputs = [torch.tensor(np.ascontiguousarray(x), requires_grad=floating(x)) for x in arrays]
    value = function(*inputs)
    weights = torch.arange(1, value.numel() + 1, dtype=value.dtype).reshape(value.shape)
    (value * weights).sum().backward()
    return value.detach().numpy(), [None if x.grad is None else x.grad.numpy() for x in inputs]


def by_optax(function, *arrays):
    where = [i for i, x in enumerate(arrays) if floating(x)]

    def total(*floats):
        xs = list(arrays)
        for i, x in zip(where, floats):
            xs[i] = x
        value = function(*xs)
        return jnp.sum(value * jnp.arange(1, value.size + 1).reshape(value.shape)), value

    gradients, value = jax.grad(total, tuple(range(len(where))), has_aux=True)(*[arrays[i] for i in where])
    found = dict(zip(where, gradients))
    return np.asarray(value), [np.asarray(found[i]) if i in found else None for i in range(len(arrays))]


def rounded(x):
    return None if x is None else [float(f"{v:.14g}") for v in np.ravel(x)]


def case(run, function, *arrays):
    value, gradients = run(function, *arrays)
    return {"inputs": [np.asarray(x).tolist() for x in arrays], "shape": list(value.shape), "value": rounded(value),
            "gradients": [rounded(g) for g in gradients]}


if __name__ == "__main__":
    found = {name: case(by_torch, *entry) for name, entry in TORCH.items()}
    found.update({name: case(by_optax, *entry) for name, entry in OPTAX.items()})
    print("{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in found.items()) + "\n}")
