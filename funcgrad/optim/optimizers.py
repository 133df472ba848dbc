"""Optimisers: chains of transformations under the names by which they are known, with optax's arguments and results.

In: a learning rate, a number or a schedule (a function of the number of steps taken so far). Out: a pair

    init(params) -> state                     update(gradient, state, params) -> (updates, state)

where the updates are a tree like the parameters, to be added to them.

    >>> optimizer = adam(0.1)
    >>> params = fnp.array([1.0, -1.0])
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(2 * params, state, params)
    >>> (params + updates).round(3)
    Array([ 0.9, -0.9], dtype=float64)
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    Rate,
    chain,
    identity,
    scale,
    scale_by_learning_rate,
)
from funcgrad.optim.clipping import clip_by_block_rms
from funcgrad.optim.lbfgs import scale_by_lbfgs
from funcgrad.optim.linesearch import scale_by_zoom_linesearch
from funcgrad.optim.moments import (
    scale_by_adadelta,
    scale_by_adam,
    scale_by_adamax,
    scale_by_amsgrad,
    scale_by_belief,
    scale_by_lion,
    scale_by_radam,
    scale_by_rms,
    scale_by_rss,
    scale_by_stddev,
    scale_by_yogi,
)
from funcgrad.optim.transform import (
    add_decayed_weights,
    add_noise,
    ema,
    scale_by_factored_rms,
    scale_by_param_block_rms,
    scale_by_sign,
    scale_by_trust_ratio,
    trace,
)
from funcgrad.optim.wrappers import masked

Optimizer = GradientTransformationExtraArgs
_ZOOM = scale_by_zoom_linesearch(20, initial_guess_strategy="one")


def sgd(learning_rate: Rate, momentum: Any = None, nesterov: bool = False, accumulator_dtype: Any = None) -> Optimizer:
    """Gradient descent: the update is ``-learning_rate * g``, or with momentum ``-learning_rate * m``.

    m is ``g + momentum * m`` from step to step; with ``nesterov`` the update looks one step ahead and takes
    ``g + momentum * m``.
    """
    direction = identity() if momentum is None else trace(momentum, nesterov, accumulator_dtype)
    return chain(direction, scale_by_learning_rate(learning_rate))


def momentum(learning_rate: Rate, momentum: Any = 0.9, nesterov: bool = False) -> Optimizer:
    """``sgd`` with momentum."""
    return sgd(learning_rate, momentum, nesterov)


def nesterov(learning_rate: Rate, momentum: Any = 0.9) -> Optimizer:
    """``sgd`` with Nesterov's momentum. Sutskever et al. 2013, "On the importance of initialization and momentum"."""
    return sgd(learning_rate, momentum, nesterov=True)


def noisy_sgd(learning_rate: Rate, eta: Any = 0.01, gamma: Any = 0.55, key: Any = 0) -> Optimizer:
    """``sgd`` with normal noise of variance ``eta / step**gamma`` (``add_noise``)."""
    return chain(add_noise(eta, gamma, key), scale_by_learning_rate(learning_rate))


def sign_sgd(learning_rate: Rate) -> Optimizer:
    """Steps of one size in the directions of the signs of the gradient. Bernstein et al. 2018, arXiv:1802.04434."""
    return chain(scale_by_sign(), scale_by_learning_rate(learning_rate))


def adagrad(learning_rate: Rate, initial_accumulator_value: Any = 0.1, eps: Any = 1e-7) -> Optimizer:
    """Gradients divided by the root of the sum of their squares (``scale_by_rss``)."""
    return chain(scale_by_rss(initial_accumulator_value, eps), scale_by_learning_rate(learning_rate))


def adadelta(learning_rate: Rate | None = None, rho: Any = 0.9, eps: Any = 1e-6, weight_decay: Rate = 0.0,
             weight_decay_mask: Any = None) -> Optimizer:
    """Gradients times the ratio of the root mean squares of updates and gradients (``scale_by_adadelta``)."""
    return chain(add_decayed_weights(weight_decay, weight_decay_mask), scale_by_adadelta(rho, eps),
                 scale_by_learning_rate(learning_rate))


def rmsprop(learning_rate: Rate, decay: Any = 0.9, eps: Any = 1e-8, initial_scale: Any = 0.0, eps_in_sqrt: bool = True,
            centered: bool = False, momentum: Any = None, nesterov: bool = False, bias_correction: bool = False) -> Optimizer:
    """Gradients divided by the root of their mean square, or ``centered`` of their variance; then ``momentum``."""
    scaled = (scale_by_stddev if centered else scale_by_rms)(decay, eps, initial_scale, eps_in_sqrt, bias_correction)
    return chain(scaled, scale_by_learning_rate(learning_rate), identity() if momentum is None else trace(momentum, nesterov))


def adam(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
         mu_dtype: Any = None, *, nesterov: bool = False) -> Optimizer:
    """Adam: the update is ``-learning_rate * mu / (sqrt(nu) + eps)``.

    mu and nu are running means of the gradient and its square with decays b1 and b2, divided by ``1 - b**step``
    because they start at zero (``scale_by_adam``). Kingma and Ba, arXiv:1412.6980.
    """
    return chain(scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), scale_by_learning_rate(learning_rate))


def adamw(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
          mu_dtype: Any = None, weight_decay: Rate = 1e-4, mask: Any = None, *, nesterov: bool = False) -> Optimizer:
    """``adam`` whose update also takes ``learning_rate * weight_decay`` off the parameters, those that ``mask`` says.

    Loshchilov and Hutter 2019, arXiv:1711.05101.

    >>> optimizer = adamw(1e-3, mask=lambda params: fg.tree.map(lambda p: p.ndim > 1, params))  # no decay of biases
    """
    return chain(scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov), add_decayed_weights(weight_decay, mask),
                 scale_by_learning_rate(learning_rate))


def nadam(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
          mu_dtype: Any = None, *, nesterov: bool = True) -> Optimizer:
    """``adam`` with Nesterov's momentum. Dozat 2016, "Incorporating Nesterov momentum into Adam"."""
    return adam(learning_rate, b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov)


def nadamw(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
           mu_dtype: Any = None, weight_decay: Rate = 1e-4, mask: Any = None, *, nesterov: bool = True) -> Optimizer:
    """``adamw`` with Nesterov's momentum."""
    return adamw(learning_rate, b1, b2, eps, eps_root, mu_dtype, weight_decay, mask, nesterov=nesterov)


def adamax(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8) -> Optimizer:
    """Adam with the largest gradient in the place of the mean square (``scale_by_adamax``)."""
    return chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))


def adamaxw(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, weight_decay: Rate = 1e-4,
            mask: Any = None) -> Optimizer:
    """``adamax`` with the weight decay of ``adamw``."""
    return chain(scale_by_adamax(b1, b2, eps), add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate))


def amsgrad(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
            mu_dtype: Any = None, bias_correction_mu: bool = True, bias_correction_nu: bool = True) -> Optimizer:
    """Adam with the largest mean square so far (``scale_by_amsgrad``)."""
    return chain(scale_by_amsgrad(b1, b2, eps, eps_root, mu_dtype, bias_correction_mu, bias_correction_nu),
                 scale_by_learning_rate(learning_rate))


def radam(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, eps_root: Any = 0.0,
          threshold: Any = 5.0, *, nesterov: bool = False) -> Optimizer:
    """Adam that begins carefully (``scale_by_radam``)."""
    return chain(scale_by_radam(b1, b2, eps, eps_root, threshold, nesterov=nesterov), scale_by_learning_rate(learning_rate))


def adabelief(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-16, eps_root: Any = 1e-16, *,
              nesterov: bool = False) -> Optimizer:
    """Adam that divides by how far gradients are from their mean (``scale_by_belief``)."""
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), scale_by_learning_rate(learning_rate))


def yogi(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3) -> Optimizer:
    """Adam whose mean square changes by little at a time (``scale_by_yogi``)."""
    return chain(scale_by_yogi(b1, b2, eps), scale_by_learning_rate(learning_rate))


def lion(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.99, mu_dtype: Any = None, weight_decay: Rate = 1e-3,
         mask: Any = None) -> Optimizer:
    """The signs of a running mean, with weight decay (``scale_by_lion``); rates are some 3 to 10 times below adamw's."""
    return chain(scale_by_lion(b1, b2, mu_dtype), add_decayed_weights(weight_decay, mask),
                 scale_by_learning_rate(learning_rate))


def lars(learning_rate: Rate, weight_decay: Rate = 0.0, weight_decay_mask: Any = True,
         trust_coefficient: Any = 0.001, eps: Any = 0.0, trust_ratio_mask: Any = True, momentum: Any = 0.9,
         nesterov: bool = False) -> Optimizer:
    """Momentum with a learning rate for each leaf, by the ratio of its norm to its gradient's. You et al., arXiv:1708.03888."""
    return chain(add_decayed_weights(weight_decay, weight_decay_mask),
                 masked(scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps), trust_ratio_mask),
                 scale_by_learning_rate(learning_rate), trace(momentum, nesterov))


def lamb(learning_rate: Rate, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-6, eps_root: Any = 0.0,
         weight_decay: Rate = 0.0, mask: Any = None) -> Optimizer:
    """``adamw`` with a learning rate for each leaf, as in ``lars``. You et al. 2020, arXiv:1904.00962."""
    return chain(scale_by_adam(b1, b2, eps, eps_root), add_decayed_weights(weight_decay, mask), scale_by_trust_ratio(),
                 scale_by_learning_rate(learning_rate))


def adafactor(learning_rate: Rate | None = None, min_dim_size_to_factor: int = 128, decay_rate: Any = 0.8,
              decay_offset: Any = 0, multiply_by_parameter_scale: bool = True, clipping_threshold: Any = 1.0,
              momentum: Any = None, dtype_momentum: Any = np.float32, weight_decay_rate: Rate | None = None, eps: Any = 1e-30,
              factored: bool = True, weight_decay_mask: Any = None) -> Optimizer:
    """Adam with little memory: mean squares of rows and columns (``scale_by_factored_rms``), no mean of gradients.

    Updates are clipped by their root mean square, and scaled by that of the parameters. Shazeer and Stern 2018,
    arXiv:1804.04235. ``weight_decay_rate`` is not multiplied by the learning rate.
    """
    parts = [scale_by_factored_rms(factored, decay_rate, decay_offset, min_dim_size_to_factor, eps)]
    if clipping_threshold is not None:
        parts.append(clip_by_block_rms(clipping_threshold))
    parts.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        parts.append(scale_by_param_block_rms())
    if momentum is not None:
        parts.append(ema(momentum, debias=False, accumulator_dtype=dtype_momentum))
    if weight_decay_rate is not None:
        parts.append(add_decayed_weights(weight_decay_rate, weight_decay_mask))
    return chain(*parts, scale(-1))


def lbfgs(learning_rate: Rate | None = None, memory_size: int = 10, scale_init_precond: bool = True,
          linesearch: GradientTransformation | None = _ZOOM) -> Optimizer:
    """The quasi-Newton method L-BFGS with a line search; for gradients without noise.

    ``update(gradient, state, params, value=, grad=, value_fn=)`` needs the value, the gradient again, and the function, which
    the line search calls. ``learning_rate`` scales the direction before that; ``linesearch=None`` makes steps of that length.
    ``value_and_grad_from_state`` takes what the line search knows already. Nocedal and Wright, Numerical Optimization, ch. 7.

    >>> def f(x): return fnp.sum((x - 1) ** 4 + x ** 2)
    >>> optimizer, x = lbfgs(), fnp.zeros(3)
    >>> state, value_and_grad = optimizer.init(x), fg.optim.value_and_grad_from_state(f)
    >>> for _ in range(10):
    ...     value, gradient = value_and_grad(x, state=state)
    ...     updates, state = optimizer.update(gradient, state, x, value=value, grad=gradient, value_fn=f)
    ...     x = x + updates
    >>> x.round(4)
    Array([0.4102, 0.4102, 0.4102], dtype=float64)
    """
    descend = scale(-1) if learning_rate is None else scale_by_learning_rate(learning_rate)
    return chain(scale_by_lbfgs(memory_size, scale_init_precond), descend, linesearch or identity())
