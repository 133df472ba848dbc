"""Updates scaled by running statistics of the gradient: Adam and its kin.

In: decays of the running means. Out: transformations whose updates have been divided by an estimate of how large gradients
are; to descend, multiply by ``-learning_rate``.

    >>> scaler = scale_by_adam()
    >>> updates, state = scaler.update(fnp.array([3.0, -0.1]), scaler.init(fnp.zeros(2)))
    >>> updates.round(3)  # the first step of Adam: the signs
    Array([ 1., -1.], dtype=float64)
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, tree
from funcgrad.errors import message
from funcgrad.optim.base import GradientTransformation, each, increment, like, no_steps, square, zeros


class ScaleByRssState(NamedTuple):
    sum_of_squares: Any


class ScaleByRmsState(NamedTuple):
    nu: Any


class ScaleByRmsWithCountState(NamedTuple):
    count: Any
    nu: Any


class ScaleByRStdDevState(NamedTuple):
    mu: Any
    nu: Any


class ScaleByRStdDevWithCountState(NamedTuple):
    count: Any
    mu: Any
    nu: Any


class ScaleByAdamState(NamedTuple):
    """The number of steps taken, and the running means of the gradient and of its square."""

    count: Any
    mu: Any
    nu: Any


class ScaleByBeliefState(NamedTuple):
    count: Any
    mu: Any
    nu: Any


class ScaleByAmsgradState(NamedTuple):
    count: Any
    mu: Any
    nu: Any
    nu_max: Any


class ScaleByLionState(NamedTuple):
    count: Any
    mu: Any


class ScaleByAdaDeltaState(NamedTuple):
    e_g: Any
    e_x: Any


# ---------------------------------------------------------------- running means


def mean_of(updates: Any, mean: Any, decay: Any) -> Any:
    """The running mean one step on: ``decay * mean + (1 - decay) * g``."""
    return each(lambda g, m: (1 - decay) * g + decay * m, updates, mean)


def mean_square_of(updates: Any, mean: Any, decay: Any) -> Any:
    """The running mean of ``|g|**2`` one step on."""
    return each(lambda g, m: (1 - decay) * square(g) + decay * m, updates, mean)


def debiased(mean: Any, decay: Any, count: Any) -> Any:
    """A running mean that began at zero, divided by ``1 - decay**count``, the sum of its weights."""
    weight = 1 - fnp.power(decay, count.astype(np.float64))  # float32 would lose four digits of the first weights
    return tree.map(lambda m: m / weight.astype(m.dtype), mean)


def nesterov_mean(updates: Any, mu: Any, decay: Any, count: Any) -> Any:
    """The debiased mean as it will be after one more step with the same gradient (Dozat 2016)."""
    return mean_of(debiased(updates, decay, count), debiased(mu, decay, increment(count)), decay)


def _ratio(mu: Any, nu: Any, eps: Any, eps_root: Any) -> Any:
    return tree.map(lambda m, v: m / (fnp.sqrt(v + eps_root) + eps), mu, nu)


# ---------------------------------------------------------------- transformations


def scale_by_rss(initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> GradientTransformation:
    """``g / sqrt(s + eps)`` with s the sum of all squares so far. Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html."""

    def init(params: Any) -> ScaleByRssState:
        return ScaleByRssState(zeros(params, "scale_by_rss", fill=initial_accumulator_value))

    def update(updates: Any, state: ScaleByRssState, params: Any = None) -> tuple[Any, ScaleByRssState]:
        total = each(lambda g, s: square(g) + s, updates, state.sum_of_squares)
        updates = tree.map(lambda g, s: fnp.where(s > 0, lax.rsqrt(fnp.where(s > 0, s, 1) + eps), 0) * g, updates, total)
        return updates, ScaleByRssState(total)

    return GradientTransformation(init, update)


def scale_by_rms(decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True,
                 bias_correction: bool = False) -> GradientTransformation:
    """``g / sqrt(nu + eps)`` with nu the running mean of squares; without ``eps_in_sqrt`` ``g / (sqrt(nu) + eps)``.

    Tieleman and Hinton, "RMSProp", lecture 6.5 of Neural Networks for Machine Learning, 2012.
    """

    def init(params: Any) -> ScaleByRmsState | ScaleByRmsWithCountState:
        nu = zeros(params, "scale_by_rms", fill=initial_scale)
        return ScaleByRmsWithCountState(no_steps(), nu) if bias_correction else ScaleByRmsState(nu)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        nu = mean_square_of(updates, state.nu, decay)
        following = ScaleByRmsWithCountState(increment(state.count), nu) if bias_correction else ScaleByRmsState(nu)
        scales = debiased(nu, decay, following.count) if bias_correction else nu
        return tree.map(lambda g, n: _inverse_root(n, eps, eps_in_sqrt) * g, updates, scales), following

    return GradientTransformation(init, update)


def scale_by_stddev(decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True,
                    bias_correction: bool = False) -> GradientTransformation:
    """As ``scale_by_rms`` with the running variance, the mean square minus the squared mean. Graves 2013, arXiv:1308.0850."""

    def init(params: Any) -> ScaleByRStdDevState | ScaleByRStdDevWithCountState:
        moments = zeros(params, "scale_by_stddev"), zeros(params, "scale_by_stddev", fill=initial_scale)
        return ScaleByRStdDevWithCountState(no_steps(), *moments) if bias_correction else ScaleByRStdDevState(*moments)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        mu, nu = mean_of(updates, state.mu, decay), mean_square_of(updates, state.nu, decay)
        following: Any = ScaleByRStdDevState(mu, nu)
        if bias_correction:
            following = ScaleByRStdDevWithCountState(increment(state.count), mu, nu)
            mu, nu = debiased(mu, decay, following.count), debiased(nu, decay, following.count)
        return tree.map(lambda g, m, n: _inverse_root(n - square(m), eps, eps_in_sqrt) * g, updates, mu, nu), following

    return GradientTransformation(init, update)


def _inverse_root(x: Any, eps: Any, eps_in_sqrt: bool) -> Any:
    return lax.rsqrt(x + eps) if eps_in_sqrt else 1 / (fnp.sqrt(x) + eps)


def scale_by_adam(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None, *,
                  nesterov: bool = False) -> GradientTransformation:
    """``mu / (sqrt(nu + eps_root) + eps)`` with mu and nu debiased running means of the gradient and of its square.

    ``mu_dtype`` is the dtype in which mu is kept; ``nesterov`` looks one step ahead (Dozat 2016). Kingma and Ba, "Adam: a
    method for stochastic optimization", arXiv:1412.6980. To differentiate by the gradient where it is zero, ``eps_root > 0``.
    """

    def init(params: Any) -> ScaleByAdamState:
        return ScaleByAdamState(no_steps(), zeros(params, "scale_by_adam", mu_dtype), zeros(params, "scale_by_adam"))

    def update(updates: Any, state: ScaleByAdamState, params: Any = None) -> tuple[Any, ScaleByAdamState]:
        mu, nu, count = mean_of(updates, state.mu, b1), mean_square_of(updates, state.nu, b2), increment(state.count)
        direction = nesterov_mean(updates, mu, b1, count) if nesterov else debiased(mu, b1, count)
        direction = _ratio(direction, debiased(nu, b2, count), eps, eps_root)
        return direction, ScaleByAdamState(count, like(mu, state.mu), like(nu, state.nu))

    return GradientTransformation(init, update)


def scale_by_amsgrad(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, mu_dtype: Any = None,
                     bias_correction_mu: bool = True, bias_correction_nu: bool = True) -> GradientTransformation:
    """As ``scale_by_adam``, with the largest nu so far. Reddi et al. 2018, https://openreview.net/forum?id=ryQu7f-RZ."""

    def init(params: Any) -> ScaleByAmsgradState:
        return ScaleByAmsgradState(no_steps(), zeros(params, "scale_by_amsgrad", mu_dtype),
                                   *[zeros(params, "scale_by_amsgrad") for _ in range(2)])

    def update(updates: Any, state: ScaleByAmsgradState, params: Any = None) -> tuple[Any, ScaleByAmsgradState]:
        mu, nu, count = mean_of(updates, state.mu, b1), mean_square_of(updates, state.nu, b2), increment(state.count)
        largest = tree.map(fnp.maximum, state.nu_max, debiased(nu, b2, count) if bias_correction_nu else nu)
        direction = _ratio(debiased(mu, b1, count) if bias_correction_mu else mu, largest, eps, eps_root)
        return direction, ScaleByAmsgradState(count, like(mu, state.mu), like(nu, state.nu), like(largest, state.nu_max))

    return GradientTransformation(init, update)


def scale_by_adamax(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> GradientTransformation:
    """``mu / nu`` with nu the decaying largest ``|g| + eps``: section 7.1 of arXiv:1412.6980."""

    def init(params: Any) -> ScaleByAdamState:
        return ScaleByAdamState(no_steps(), zeros(params, "scale_by_adamax"), zeros(params, "scale_by_adamax"))

    def update(updates: Any, state: ScaleByAdamState, params: Any = None) -> tuple[Any, ScaleByAdamState]:
        mu, count = mean_of(updates, state.mu, b1), increment(state.count)
        nu = tree.map(lambda g, n: fnp.maximum(fnp.abs(g) + eps, b2 * n), updates, state.nu)
        return tree.map(lambda m, n: m / n, debiased(mu, b1, count), nu), ScaleByAdamState(count, mu, nu)

    return GradientTransformation(init, update)


def scale_by_belief(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16, *,
                    nesterov: bool = False) -> GradientTransformation:
    """As ``scale_by_adam``, with nu the mean square of ``g - mu``: how far gradients were from what was believed.

    Zhuang et al. 2020, arXiv:2010.07468.
    """

    def init(params: Any) -> ScaleByBeliefState:
        return ScaleByBeliefState(no_steps(), zeros(params, "scale_by_belief"), zeros(params, "scale_by_belief"))

    def update(updates: Any, state: ScaleByBeliefState, params: Any = None) -> tuple[Any, ScaleByBeliefState]:
        mu, count = mean_of(updates, state.mu, b1), increment(state.count)
        surprise = tree.map(lambda g, m: g - m, updates, mu)
        nu = tree.map(lambda n: n + eps_root, mean_square_of(surprise, state.nu, b2))
        direction = nesterov_mean(updates, mu, b1, count) if nesterov else debiased(mu, b1, count)
        return _ratio(direction, debiased(nu, b2, count), eps, 0.0), ScaleByBeliefState(count, mu, nu)

    return GradientTransformation(init, update)


def scale_by_yogi(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3, eps_root: Any = 0.0,
                  initial_accumulator_value: Any = 1e-6) -> GradientTransformation:
    """As ``scale_by_adam``, with a nu that moves towards ``g**2`` by at most ``(1 - b2) * g**2``.

    Zaheer et al. 2018, "Adaptive methods for nonconvex optimization".
    """

    def init(params: Any) -> ScaleByAdamState:
        start = [zeros(params, "scale_by_yogi", fill=initial_accumulator_value) for _ in range(2)]
        return ScaleByAdamState(no_steps(), *start)

    def update(updates: Any, state: ScaleByAdamState, params: Any = None) -> tuple[Any, ScaleByAdamState]:
        mu, count = mean_of(updates, state.mu, b1), increment(state.count)
        nu = tree.map(lambda g, n: n - (1 - b2) * fnp.sign(n - square(g)) * square(g), updates, state.nu)
        return (_ratio(debiased(mu, b1, count), debiased(nu, b2, count), eps, eps_root),
                ScaleByAdamState(count, mu, nu))

    return GradientTransformation(init, update)


def scale_by_radam(b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0, threshold: Any = 5.0, *,
                   nesterov: bool = False) -> GradientTransformation:
    """As ``scale_by_adam`` with the variance of its step rectified; plain momentum while that is unknown.

    It is known when the length ro of the averaged window is at least ``threshold``. Liu et al. 2020, arXiv:1908.03265.
    """
    longest = 2 / (1 - b2) - 1

    def init(params: Any) -> ScaleByAdamState:
        return ScaleByAdamState(no_steps(), zeros(params, "scale_by_radam"), zeros(params, "scale_by_radam"))

    def update(updates: Any, state: ScaleByAdamState, params: Any = None) -> tuple[Any, ScaleByAdamState]:
        mu, nu, count = mean_of(updates, state.mu, b1), mean_square_of(updates, state.nu, b2), increment(state.count)
        steps = count.astype(np.float64)
        rest = fnp.power(b2, steps)
        ro = longest - 2 * steps * rest / (1 - rest)
        known = ro >= threshold
        safe = fnp.where(known, ro, fnp.maximum(threshold, 5.0))
        factor = fnp.sqrt((safe - 4) * (safe - 2) * longest / ((longest - 4) * (longest - 2) * safe))
        direction = nesterov_mean(updates, mu, b1, count) if nesterov else debiased(mu, b1, count)
        scaled = _ratio(direction, debiased(nu, b2, count), eps, eps_root)
        direction = tree.map(lambda m, s: fnp.where(known, factor.astype(s.dtype) * s, m), direction, scaled)
        return direction, ScaleByAdamState(count, like(mu, state.mu), like(nu, state.nu))

    return GradientTransformation(init, update)


def scale_by_lion(b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None, *, mode: str = "hard",
                  smooth_beta: float = 1.0) -> GradientTransformation:
    """The sign of ``b1 * mu + (1 - b1) * g``; mu decays with b2. Chen et al. 2023, arXiv:2302.06675.

    ``mode="smooth"`` takes ``tanh(smooth_beta * x)`` instead of the sign of x, ``"refined"`` x clipped to -1 ... 1.
    """
    signs = {"hard": fnp.sign, "smooth": lambda x: fnp.tanh(smooth_beta * x), "refined": lambda x: fnp.clip(x, -1, 1)}
    if mode not in signs:
        raise ValueError(message("optim.scale_by_lion: the mode is unknown", repr(mode), ", ".join(map(repr, signs))))

    def init(params: Any) -> ScaleByLionState:
        return ScaleByLionState(no_steps(), zeros(params, "scale_by_lion", mu_dtype))

    def update(updates: Any, state: ScaleByLionState, params: Any = None) -> tuple[Any, ScaleByLionState]:
        direction = tree.map(signs[mode], mean_of(updates, state.mu, b1))
        return direction, ScaleByLionState(increment(state.count), like(mean_of(updates, state.mu, b2), state.mu))

    return GradientTransformation(init, update)


def scale_by_adadelta(rho: Any = 0.9, eps: Any = 1e-6) -> GradientTransformation:
    """``sqrt(e_x + eps) / sqrt(e_g + eps) * g`` with running mean squares of updates and gradients. Zeiler, arXiv:1212.5701."""

    def init(params: Any) -> ScaleByAdaDeltaState:
        return ScaleByAdaDeltaState(zeros(params, "scale_by_adadelta"), zeros(params, "scale_by_adadelta"))

    def update(updates: Any, state: ScaleByAdaDeltaState, params: Any = None) -> tuple[Any, ScaleByAdaDeltaState]:
        e_g = mean_square_of(updates, state.e_g, rho)
        updates = tree.map(lambda g, n, x: fnp.sqrt(x + eps) / fnp.sqrt(n + eps) * g, updates, e_g, state.e_x)
        return updates, ScaleByAdaDeltaState(e_g, mean_square_of(updates, state.e_x, rho))

    return GradientTransformation(init, update)
