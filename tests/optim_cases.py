"""Optimisers and schedules written once for optax and for ``fg.optim``: each case is a function of the module.

``tests/reference/make_optax.py`` runs them with optax and stores what it got; ``test_optim_values.py`` runs them with ours.
"""
import functools

import numpy as np


def decreasing(count):
    return 0.1 / (1 + count)


def matrices(params):
    return {"a": True, "b": {"c": False, "d": False}, "m": True}


PARTS = {"a": "fast", "b": {"c": "slow", "d": "none"}, "m": "slow"}

OPTIMIZERS = {
    "sgd": lambda o: o.sgd(0.01),
    "sgd momentum": lambda o: o.sgd(0.01, momentum=0.9),
    "sgd nesterov": lambda o: o.sgd(0.01, momentum=0.9, nesterov=True),
    "sgd schedule": lambda o: o.sgd(decreasing),
    "sign_sgd": lambda o: o.sign_sgd(0.01),
    "adagrad": lambda o: o.adagrad(0.1),
    "adadelta": lambda o: o.adadelta(1.0, weight_decay=1e-2),
    "rmsprop": lambda o: o.rmsprop(0.01),
    "rmsprop eps outside": lambda o: o.rmsprop(0.01, eps_in_sqrt=False, bias_correction=True, initial_scale=0.1),
    "rmsprop centered momentum": lambda o: o.rmsprop(0.01, centered=True, momentum=0.8, nesterov=True),
    "rmsprop centered corrected": lambda o: o.rmsprop(0.01, centered=True, bias_correction=True, eps=0.1),
    "adam": lambda o: o.adam(0.01),
    "adam decays": lambda o: o.adam(0.02, b1=0.8, b2=0.99, eps=1e-3, eps_root=1e-4),
    "adam schedule": lambda o: o.adam(decreasing),
    "adamw": lambda o: o.adamw(0.01, weight_decay=0.1),
    "adamw mask": lambda o: o.adamw(0.01, weight_decay=0.5, mask=matrices),
    "adamw decay schedule": lambda o: o.adamw(0.01, weight_decay=decreasing),
    "nadam": lambda o: o.nadam(0.01),
    "nadamw": lambda o: o.nadamw(0.01, weight_decay=0.1),
    "adamax": lambda o: o.adamax(0.01),
    "adamaxw": lambda o: o.adamaxw(0.01, weight_decay=0.1),
    "amsgrad": lambda o: o.amsgrad(0.01),
    "amsgrad uncorrected": lambda o: o.amsgrad(0.01, bias_correction_mu=False, bias_correction_nu=False),
    "radam": lambda o: o.radam(0.01, b2=0.95),
    "radam nesterov": lambda o: o.radam(0.01, nesterov=True),
    "adabelief": lambda o: o.adabelief(0.01),
    "yogi": lambda o: o.yogi(0.01),
    "lion": lambda o: o.lion(0.003, weight_decay=0.1),
    "lars": lambda o: o.lars(1.0, weight_decay=1e-2),
    "lamb": lambda o: o.lamb(0.01, weight_decay=1e-2),
    "adafactor": lambda o: o.adafactor(0.01, min_dim_size_to_factor=2),
    "adafactor plain": lambda o: o.adafactor(0.01, factored=False, momentum=0.9, dtype_momentum=None, weight_decay_rate=1e-3),
    "clip": lambda o: o.chain(o.clip(0.5), o.sgd(0.01)),
    "clip_by_global_norm": lambda o: o.chain(o.clip_by_global_norm(1.5), o.sgd(0.01, momentum=0.5)),
    "clip_by_block_rms": lambda o: o.chain(o.clip_by_block_rms(0.7), o.sgd(0.01)),
    "adaptive_grad_clip": lambda o: o.chain(o.adaptive_grad_clip(0.5), o.sgd(0.02)),
    "normalize_by_update_norm": lambda o: o.chain(o.normalize_by_update_norm(0.5), o.sgd(0.02)),
    "centralize": lambda o: o.chain(o.centralize(), o.sgd(0.02)),
    "param block norms": lambda o: o.chain(o.scale_by_param_block_norm(), o.scale_by_param_block_rms(), o.sgd(0.01)),
    "zero_nans and nonnegative": lambda o: o.chain(o.zero_nans(), o.sgd(0.05), o.keep_params_nonnegative()),
    "ema": lambda o: o.chain(o.ema(0.8), o.scale(-0.02)),
    "ema biased": lambda o: o.chain(o.ema(0.8, debias=False), o.scale(-0.02)),
    "named_chain": lambda o: o.named_chain(("clip", o.clip(1.0)), ("adam", o.adam(0.01))),
    "masked": lambda o: o.chain(o.masked(o.scale(0.1), matrices), o.adam(0.01)),
    "partition": lambda o: o.partition({"fast": o.adam(0.02), "slow": o.sgd(0.01), "none": o.set_to_zero()}, PARTS),
    "MultiSteps": lambda o: o.MultiSteps(o.adam(0.05), 3, accumulator_dtype=np.float64),
    "MultiSteps sum": lambda o: o.MultiSteps(o.sgd(0.01), lambda step: 1 + step % 3, use_grad_mean=False, accumulator_dtype=np.float64),
    "apply_if_finite": lambda o: o.apply_if_finite(o.adam(0.01), 3),
    "inject_hyperparams": lambda o: o.inject_hyperparams(o.adam)(learning_rate=decreasing, b1=0.8),
    "reduce_on_plateau": lambda o: o.chain(o.sgd(0.05), o.reduce_on_plateau(factor=0.5, patience=2, cooldown=3, accumulation_size=2)),
}

SCHEDULES = {
    "constant": lambda o: o.constant_schedule(0.3),
    "linear": lambda o: o.linear_schedule(1.0, 0.1, 20, 5),
    "polynomial": lambda o: o.polynomial_schedule(1.0, 0.1, 2.5, 20),
    "exponential": lambda o: o.exponential_decay(1.0, 10, 0.5, 3),
    "exponential staircase": lambda o: o.exponential_decay(1.0, 10, 0.5, 3, staircase=True, end_value=0.2),
    "exponential growth": lambda o: o.exponential_decay(0.1, 10, 2.0, end_value=0.7),
    "cosine": lambda o: o.cosine_decay_schedule(1.0, 30, 0.1, 1.5),
    "piecewise constant": lambda o: o.piecewise_constant_schedule(1.0, {10: 0.5, 20: 0.1}),
    "piecewise linear": lambda o: o.piecewise_interpolate_schedule("linear", 1.0, {10: 0.5, 20: 3.0}),
    "piecewise cosine": lambda o: o.piecewise_interpolate_schedule("cosine", 1.0, {10: 0.5, 20: 3.0}),
    "linear one-cycle": lambda o: o.linear_onecycle_schedule(40, 2.0),
    "cosine one-cycle": lambda o: o.cosine_onecycle_schedule(40, 2.0),
    "join": lambda o: o.join_schedules([o.linear_schedule(0.0, 1.0, 10), o.constant_schedule(0.5)], [12]),
    "warm-up constant": lambda o: o.warmup_constant_schedule(0.0, 1.0, 12),
    "warm-up cosine": lambda o: o.warmup_cosine_decay_schedule(0.1, 1.0, 10, 40, 0.05),
    "warm-up exponential": lambda o: o.warmup_exponential_decay_schedule(0.0, 1.0, 10, 8, 0.5, end_value=0.1),
    "sgdr": lambda o: o.sgdr_schedule([dict(init_value=0.0, peak_value=1.0, decay_steps=20, warmup_steps=4),
                                      dict(init_value=0.0, peak_value=0.5, decay_steps=25, warmup_steps=2)]),
}

LINE_SEARCHES = {
    "lbfgs": lambda o: o.lbfgs(),
    "lbfgs short memory": lambda o: o.lbfgs(memory_size=2, scale_init_precond=False),
    "lbfgs backtracking": lambda o: o.lbfgs(linesearch=o.scale_by_backtracking_linesearch(20)),
    "lbfgs fixed": lambda o: o.lbfgs(0.3, linesearch=None),
    "sgd zoom": lambda o: o.chain(o.sgd(1.0), o.scale_by_zoom_linesearch(15, max_learning_rate=3.0)),
    "sgd backtracking": lambda o: o.chain(o.sgd(1.0), o.scale_by_backtracking_linesearch(20, store_grad=True, max_learning_rate=2.0)),
}

STEPS = (1, 10, 100)
SEARCH_STEPS = (1, 3, 8)


def start(dtype):
    grid = np.linspace(-2, 3, 12)
    return {"a": grid[:6].reshape(2, 3).astype(dtype), "b": {"c": grid[6:10].astype(dtype), "d": np.asarray(grid[10], dtype)},
            "m": np.cos(np.arange(12.0)).reshape(3, 4).astype(dtype)}


def gradient_at(map_, params, i):
    """A gradient that changes from step to step."""
    return map_(lambda p: (np.sin(3 * p) + 0.1 * p + np.cos(i + p.ndim)).astype(p.dtype), params)


def flat(params):
    return np.concatenate([np.ravel(x) for x in (params["a"], params["b"]["c"], params["b"]["d"], params["m"])])


def run(o, map_, optimizer, dtype, update=None):
    """The parameters after some of the steps."""
    params = map_(np.asarray, start(dtype))
    state, update, found = optimizer.init(params), update or optimizer.update, {}
    for i in range(max(STEPS)):
        gradient = gradient_at(map_, params, i)
        updates, state = update(gradient, state, params, value=np.sum(flat(params) ** 2))
        params = map_(np.asarray, o.apply_updates(params, updates))
        if i + 1 in STEPS:
            found[str(i + 1)] = flat(params)
    return found


def valley(xp, params, power):
    """A function with a curved valley."""
    x = xp.concatenate([xp.ravel(params["a"]), params["b"]["c"], xp.ravel(params["b"]["d"]), xp.ravel(params["m"])])
    return xp.sum(3 * (x[1:] - xp.abs(x[:-1]) ** power) ** 2 + (1 - x[:-1]) ** 2)


def search(o, map_, xp, value_and_grad, optimizer, jit=lambda f: f):
    """The parameters after some of the steps of an optimiser that calls the function."""
    def f(params, power):
        return valley(xp, params, power)

    @jit
    def step(params, state):
        value, gradient = value_and_grad(f)(params, 2.0)
        updates, state = optimizer.update(gradient, state, params, value=value, grad=gradient, value_fn=functools.partial(f), power=2.0)
        return o.apply_updates(params, updates), state

    params = map_(lambda p: xp.asarray(p * 0.5), start(np.float64))
    state, found = optimizer.init(params), {}
    for i in range(max(SEARCH_STEPS)):
        params, state = step(params, state)
        if i + 1 in SEARCH_STEPS:
            found[str(i + 1)] = flat(map_(np.asarray, params))
    return found
