"""Optimisers: what can be done with them, and what is refused."""
import functools
import re
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import optim

PARAMS = {"dense": {"weight": fnp.array([[1.0, -2.0], [3.0, 0.25]]), "bias": fnp.array([0.5, -0.5])}, "gain": fnp.array(2.0)}
TARGET = np.array([1.0, -2.0])


def loss(params):
    return fnp.sum(fnp.cosh(params["dense"]["weight"] @ params["dense"]["bias"])) + fnp.sum((params["dense"]["bias"] - TARGET) ** 2) * params["gain"] ** 2


def steps(optimizer, params=PARAMS, count=3, state=None, **extra):
    state = optimizer.init(params) if state is None else state
    for _ in range(count):
        updates, state = optimizer.update(fg.grad(loss)(params), state, params, **extra)
        params = optim.apply_updates(params, updates)
    return params, state


def assert_trees_close(found, expected, **tolerance):
    assert fg.tree.structure(found) == fg.tree.structure(expected)
    for a, b in zip(fg.tree.leaves(found), fg.tree.leaves(expected)):
        np.testing.assert_allclose(a, b, **tolerance)


# ---------------------------------------------------------------- by definition


def numpy_adam(params, learning_rate, b1, b2, eps):
    mu, nu = np.zeros_like(params), np.zeros_like(params)
    for i in range(100):
        g = np.sin(3 * params) + np.cos(i)
        mu, nu = b1 * mu + (1 - b1) * g, b2 * nu + (1 - b2) * g**2
        params = params - learning_rate * (mu / (1 - b1 ** (i + 1))) / (np.sqrt(nu / (1 - b2 ** (i + 1))) + eps)
    return params


def numpy_sgd(params, learning_rate, momentum, nesterov):
    trace = np.zeros_like(params)
    for i in range(100):
        g = np.sin(3 * params) + np.cos(i)
        trace = g + momentum * trace
        params = params - learning_rate * (g + momentum * trace if nesterov else trace)
    return params


@pytest.mark.parametrize("optimizer, by_hand, settings", [
    (optim.sgd(0.02), numpy_sgd, (0.02, 0.0, False)),
    (optim.momentum(0.02, 0.8, nesterov=True), numpy_sgd, (0.02, 0.8, True)),
    (optim.nesterov(0.02), numpy_sgd, (0.02, 0.9, True)),
    (optim.adam(0.05, 0.7, 0.9, 1e-2), numpy_adam, (0.05, 0.7, 0.9, 1e-2)),
], ids=["sgd", "momentum", "nesterov", "adam"])
def test_a_hundred_steps_by_hand(optimizer, by_hand, settings):
    start = {"a": np.array([1.0, -2.0]), "b": [np.array([[3.0, 0.25]])]}
    params, state = start, optimizer.init(start)
    for i in range(100):
        gradient = fg.tree.map(lambda p, i=i: np.sin(3 * np.asarray(p)) + np.cos(i), params)
        updates, state = optimizer.update(gradient, state)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(params["a"], by_hand(start["a"], *settings), rtol=1e-11)
    np.testing.assert_allclose(params["b"][0], by_hand(start["b"][0], *settings), rtol=1e-11)


# ---------------------------------------------------------------- every optimiser


EVERY = {
    "adabelief": optim.adabelief, "adadelta": optim.adadelta, "adafactor": functools.partial(optim.adafactor, dtype_momentum=None),
    "adagrad": optim.adagrad, "adam": optim.adam, "adamax": optim.adamax, "adamaxw": optim.adamaxw, "adamw": optim.adamw,
    "amsgrad": optim.amsgrad, "lamb": optim.lamb, "lars": optim.lars, "lion": optim.lion, "momentum": optim.momentum, "nadam": optim.nadam,
    "nadamw": optim.nadamw, "nesterov": optim.nesterov, "noisy_sgd": lambda learning_rate: optim.noisy_sgd(learning_rate), "radam": optim.radam, "rmsprop": optim.rmsprop,
    "sgd": optim.sgd, "yogi": optim.yogi,
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_dtypes_and_structure_of_the_state_stay(name, dtype):
    optimizer = EVERY[name](1e-2)
    params = fg.tree.map(lambda p: p.astype(dtype), PARAMS)
    state = before = optimizer.init(params)
    for _ in range(2):
        updates, state = optimizer.update(params, state, params)
        assert {x.dtype for x in fg.tree.leaves(updates)} == {np.dtype(dtype)}
        params = optim.apply_updates(params, updates)
    assert {x.dtype for x in fg.tree.leaves(params)} == {np.dtype(dtype)}
    assert fg.tree.structure(state) == fg.tree.structure(before)
    assert [(x.dtype, x.shape) for x in fg.tree.leaves(state)] == [(x.dtype, x.shape) for x in fg.tree.leaves(before)]


@pytest.mark.parametrize("name", ["adam", "adabelief", "rmsprop", "lamb", "yogi"])
def test_numbers_in_the_state_widen_nothing(name):
    params = {"h": fnp.ones(2, np.float16), "f": fnp.ones(2, np.float32), "d": fnp.ones(2)}
    optimizer = optim.inject_hyperparams(EVERY[name])(learning_rate=1e-2)
    before = optimizer.init(params)
    updates, state = optimizer.update(params, before, params)
    assert [x.dtype for x in fg.tree.leaves((updates, state))] == [x.dtype for x in fg.tree.leaves((params, before))]


@pytest.mark.parametrize("name", EVERY)
def test_steps_are_scanned_and_differentiated_by_the_learning_rate(name):
    def after(rate):
        optimizer = optim.inject_hyperparams(EVERY[name])(learning_rate=rate) if name != "adafactor" else EVERY[name](rate)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(fg.grad(loss)(params), state, params)
            return (optim.apply_updates(params, updates), state), None

        (params, _), _ = fg.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), None, length=3)
        return loss(params)

    rate = np.asarray(0.01)
    np.testing.assert_allclose(after(rate), loss(steps(EVERY[name](0.01))[0]), rtol=1e-9)
    eps = 1e-6
    difference = (after(rate + eps) - after(rate - eps)) / (2 * eps)
    np.testing.assert_allclose(fg.grad(after)(rate), difference, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fg.jvp(after, (rate,), (np.asarray(1.0),))[1], difference, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fg.grad(fg.checkpoint(after))(rate), fg.grad(after)(rate), rtol=1e-12)


def test_many_learning_rates_at_once_in_a_compiled_function():
    make = optim.inject_hyperparams(optim.adamw)

    @fg.jit
    def after(rate):
        optimizer = make(learning_rate=rate, weight_decay=0.1)
        return loss(steps(optimizer, count=2)[0])

    rates = np.array([1e-3, 1e-2, 0.1])
    np.testing.assert_allclose(fg.vmap(after)(rates), [loss(steps(optim.adamw(float(r), weight_decay=0.1), count=2)[0]) for r in rates], rtol=1e-10)


def test_complex_parameters():
    def f(z):
        return fnp.sum(fnp.abs(z - (1 + 2j)) ** 2)

    for optimizer in (optim.adam(0.1), optim.momentum(0.1), optim.rmsprop(0.05)):
        z = fnp.array([0j, 3 - 1j])
        state = optimizer.init(z)
        for _ in range(300):
            updates, state = optimizer.update(fnp.conj(fg.grad(f)(z)), state, z)
            z = optim.apply_updates(z, updates)
        np.testing.assert_allclose(z, 1 + 2j, atol=0.05)


def test_counts_stop_at_the_largest_integer():
    _, state = optim.scale_by_adam().update(fnp.ones(2), optim.ScaleByAdamState(fnp.array(2**31 - 1, np.int32), fnp.ones(2), fnp.ones(2)))
    assert int(state.count) == 2**31 - 1


def test_a_donated_step_copies_nothing():
    optimizer = optim.adamw(1e-3)
    params = {str(i): fnp.ones((256, 256), np.float32) for i in range(3)}

    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state

    report = fg.jit(step, donate_argnums=(0, 1)).lower(params, optimizer.init(params), params).report()
    assert len(report["donated"]) == 9 and report["copies"] == [] and report["host_steps"] == []


# ---------------------------------------------------------------- masks, parts, schedules, accumulation


def test_masks_by_tree_prefix_function_and_path():
    full = {"dense": {"weight": True, "bias": False}, "gain": False}
    expected = steps(optim.adamw(0.1, weight_decay=0.5, mask=full))[0]
    for mask in (lambda params: fg.tree.map(lambda p: p.ndim == 2, params), optim.by_path(lambda path: path == "dense/weight")):
        assert_trees_close(steps(optim.adamw(0.1, weight_decay=0.5, mask=mask))[0], expected)
    prefix, same = {"dense": True, "gain": False}, {"dense": {"weight": True, "bias": True}, "gain": False}
    assert_trees_close(steps(optim.masked(optim.adam(0.1), prefix))[0], steps(optim.masked(optim.adam(0.1), same))[0])
    assert optim.masked(optim.adam(0.1), prefix).init(PARAMS).inner_state[0].mu["gain"] == optim.MaskedNode()


def test_partition():
    parts = {"fast": optim.sgd(1.0), "slow": optim.sgd(0.1), "none": optim.set_to_zero()}
    labels = {"dense": "slow", "gain": "none"}
    gradient = fg.tree.map(fnp.ones_like, PARAMS)
    for given in (labels, optim.by_path(lambda path: "slow" if path.startswith("dense") else "none"), lambda params: labels):
        optimizer = optim.multi_transform(parts, given)
        updates, _ = fg.jit(optimizer.update)(gradient, optimizer.init(PARAMS), PARAMS)
        assert_trees_close(updates, {"dense": {"weight": np.full((2, 2), -0.1), "bias": np.full(2, -0.1)}, "gain": np.array(0.0)})


def test_gradients_are_accumulated():
    gradients = np.random.default_rng(0).normal(size=(6, 3))
    params = fnp.ones(3)
    optimizer, inner = optim.MultiSteps(optim.adam(0.1), 3), optim.adam(0.1)
    state, inner_state, expected = optimizer.init(params), inner.init(params), params
    for i, gradient in enumerate(gradients):
        updates, state = optimizer.update(gradient, state, params)
        params = optim.apply_updates(params, updates)
        assert bool(optimizer.has_updated(state)) == (i % 3 == 2)
        if i % 3 == 2:
            updates, inner_state = inner.update(gradients[i - 2:i + 1].mean(axis=0), inner_state, expected)
            expected = optim.apply_updates(expected, updates)
        np.testing.assert_allclose(params, expected, rtol=1e-12)
    skipping = optim.MultiSteps(optim.sgd(1.0), 2, should_skip_update_fn=optim.skip_not_finite).gradient_transformation()
    state = skipping.init(params)
    for gradient, expected in ((1.0, 0.0), (np.nan, 0.0), (3.0, -2.0)):
        updates, state = skipping.update(fnp.full(3, gradient), state, params)
        np.testing.assert_allclose(updates, expected)
    assert state.acc_grads.dtype == np.float64 and optimizer.init(fnp.ones(2, np.float16)).acc_grads.dtype == np.float32
    skip = functools.partial(optim.skip_large_updates, max_squared_norm=5.0)
    assert [bool(skip(fnp.array(g), 0, None)[0]) for g in ([1.0, 2.0], [2.0, 1.0], [1.0, 1.0], [np.nan, 0])] == [True, True, False, True]


def test_updates_that_are_not_finite_are_left_out():
    optimizer = optim.apply_if_finite(optim.momentum(1.0), 2)
    params, state = fnp.ones(2), optimizer.init(fnp.ones(2))
    update = fg.jit(optimizer.update)
    for bad, expected in ((1.0, [-1.0, -1.0]), (np.nan, [0, 0]), (np.inf, [0, 0]), (np.nan, [np.nan, -1.9])):
        updates, state = update(fnp.array([bad, 1.0]), state, params)
        np.testing.assert_allclose(updates, expected)
    assert int(state.notfinite_count) == 3 and int(state.total_notfinite) == 3 and not state.last_finite


def test_hyperparameters_are_in_the_state():
    optimizer = optim.inject_hyperparams(optim.adamw, static_args="mask")(optim.linear_schedule(0.1, 0.0, 10), mask=lambda p: True)
    state = optimizer.init(fnp.ones(2, np.float32))
    assert state.hyperparams["learning_rate"].dtype == np.float32 and state.hyperparams.keys() == {
        "learning_rate", "b1", "b2", "eps", "eps_root", "weight_decay"}
    for i in range(3):
        _, state = optimizer.update(fnp.ones(2, np.float32), state, fnp.ones(2, np.float32))
        np.testing.assert_allclose(state.hyperparams["learning_rate"], 0.1 - 0.01 * i, rtol=1e-6)


def test_averages():
    average, state = optim.ema(0.9), optim.ema(0.9).init(PARAMS)
    for _ in range(5):
        mean, state = average.update(PARAMS, state)
    assert_trees_close(mean, PARAMS, rtol=1e-12)
    assert_trees_close(optim.incremental_update(PARAMS, fg.tree.map(fnp.zeros_like, PARAMS), 0.25), fg.tree.map(lambda p: 0.25 * p, PARAMS))
    assert_trees_close(optim.periodic_update(PARAMS, fg.tree.map(fnp.zeros_like, PARAMS), fnp.array(4), 2), PARAMS)
    slow = optim.lookahead(optim.sgd(0.1), 2, 0.5, reset_state=True)
    params = optim.LookaheadParams.init_synced(fnp.array(1.0))
    state = slow.init(params)
    for _ in range(2):
        updates, state = slow.update(2 * params.fast, state, params)
        params = optim.apply_updates(params, updates)
    np.testing.assert_allclose(params, 1 + 0.5 * (0.64 - 1))


def test_clipping():
    gradient = {"a": fnp.array([3.0, 4.0]), "b": fnp.array(12.0), "c": fnp.zeros((0, 2))}

    def clipped(clip, gradient=gradient, params=None):
        return clip.update(gradient, clip.init(gradient), params)[0]

    assert_trees_close(clipped(optim.clip_by_global_norm(6.5)), fg.tree.map(lambda g: g / 2, gradient))
    assert_trees_close(clipped(optim.clip_by_global_norm(13.5)), gradient)
    assert_trees_close(clipped(optim.clip_by_norm(5.5)), {**gradient, "b": np.array(5.5)})
    assert_trees_close(clipped(optim.clip(3.5)), {"a": np.array([3.0, 3.5]), "b": np.array(3.5), "c": np.zeros((0, 2))})
    assert float(optim.global_norm(fnp.full(4, 300.0, np.float16))) == 600
    large = fnp.full(4, 6e4, np.float16)  # whose norm is too large for the dtype
    for clip in (optim.clip_by_global_norm(1.0), optim.clip_by_norm(1.0), optim.clip_by_block_rms(0.5),
                 optim.normalize_by_update_norm()):
        assert clipped(clip, large).dtype == np.float16 and clipped(clip, large).tolist() == [0.5] * 4
    assert fg.grad(lambda x: optim.global_norm({"x": x}))(np.zeros(3)).tolist() == [0, 0, 0]
    assert np.isfinite(fg.jacfwd(lambda g: clipped(optim.clip_by_global_norm(1.0), g))(np.zeros(2))).all()
    updates, state = optim.zero_nans().update({"a": fnp.array([np.nan, 1.0])}, None)
    assert updates["a"].tolist() == [0, 1] and bool(state.found_nan["a"])


def test_noise_shrinks_and_depends_on_the_key():
    def updates(key, count):
        noise = optim.add_noise(0.04, 2.0, key)
        state = noise.init(None)
        for _ in range(count):
            found, state = noise.update(fnp.zeros(4000), state)
        return np.asarray(found)

    np.testing.assert_allclose([updates(0, n).std() for n in (1, 2, 4)], [0.2, 0.1, 0.05], rtol=0.05)
    assert (updates(0, 1) == updates(fg.random.key(0), 1)).all() and (updates(0, 1) != updates(1, 1)).any()


# ---------------------------------------------------------------- line searches, loss scaling


def test_lbfgs_finds_the_minimum_in_a_compiled_loop():
    def rosenbrock(x):
        return fnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    optimizer, value_and_grad = optim.lbfgs(), optim.value_and_grad_from_state(rosenbrock)

    @fg.jit
    def minimum(x):
        def step(carry):
            x, state = carry
            value, gradient = value_and_grad(x, state=state)
            updates, state = optimizer.update(gradient, state, x, value=value, grad=gradient, value_fn=rosenbrock)
            return optim.apply_updates(x, updates), state

        return fg.lax.while_loop(lambda carry: (carry[1][0].count < 100) & (optim.global_norm(carry[1][-1].grad) > 1e-9) | (carry[1][0].count == 0),
                                 step, (x, optimizer.init(x)))

    x, state = minimum(fnp.array([-1.2, 1.0, 0.7]))
    np.testing.assert_allclose(x, 1, atol=1e-8)
    assert 10 < int(state[0].count) < 60


def test_a_line_search_makes_no_step_into_nan():
    search = optim.scale_by_backtracking_linesearch(3)
    updates, _ = search.update(fnp.array(-1e3), search.init(fnp.array(1.0)), fnp.array(1.0), value=fnp.array(0.0), grad=fnp.array(1.0), value_fn=fnp.log)
    assert float(updates) == 0


def test_loss_scales():
    scale = optim.DynamicLossScale(fnp.float32(1024.0), period=2)
    assert scale.scale(fnp.float16(0.5)).dtype == np.float16 and scale.unscale(fnp.ones(2, np.float16)).dtype == np.float32
    adjust = fg.jit(lambda scale, finite: scale.adjust(finite))
    found = []
    for finite in (True, True, True, False, True):
        scale = adjust(scale, finite)
        found.append((float(scale.loss_scale), int(scale.counter)))
    assert found == [(1024, 1), (2048, 0), (2048, 1), (1024, 0), (1024, 1)]
    assert float(optim.DynamicLossScale(fnp.float32(1.0)).adjust(False).loss_scale) == 1
    fixed = optim.LossScale(fnp.float32(8.0))
    assert fixed.adjust(False) is fixed and float(fixed.unscale(fixed.scale(fnp.float32(3.0)))) == 3

    def training(scale):  # the gradient, 2e-8, is 0 in float16
        return scale.unscale(fg.grad(lambda w: scale.scale(w * fnp.float16(2e-4) * fnp.float16(1e-4)))(fnp.float16(1.0)))

    assert float(training(optim.LossScale(1.0))) == 0
    np.testing.assert_allclose(training(optim.LossScale(4096.0)), 2e-8, rtol=0.02)


def test_plateaus():
    optimizer = optim.reduce_on_plateau(factor=0.5, patience=2, min_scale=0.2)
    state, scales = optimizer.init(fnp.ones(1)), []
    for value in (3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        updates, state = optimizer.update(fnp.ones(1), state, value=value)
        scales.append(float(updates[0]))
    assert scales == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]


# ---------------------------------------------------------------- what is refused


OTHER = {"dense": {"weight": fnp.ones((2, 2)), "scale": fnp.ones(2)}, "gain": fnp.ones(3)}


@pytest.mark.parametrize("call, error, text", [
    (lambda: optim.adam(1e-3).update(OTHER, optim.adam(1e-3).init(PARAMS)), ValueError,
     r"dense/bias: missing, where what they belong to has shape \(2,\); gain: shape \(3,\), where .* has shape \(\); dense/scale"),
    (lambda: optim.apply_updates(PARAMS, OTHER), ValueError, r"params and updates are different trees(.|\n)*dense/scale"),
    (lambda: optim.adamw(1e-3).update(PARAMS, optim.adamw(1e-3).init(PARAMS)), ValueError, "add_decayed_weights: the update needs the parameters"),
    (lambda: optim.lamb(1e-3).update(PARAMS, optim.lamb(1e-3).init(PARAMS)), ValueError, "needs the parameters"),
    (lambda: optim.adam(1e-3).init({"w": fnp.ones(2), "n": fnp.array(3)}), TypeError, r"integers are not trained(.|\n)*n: int64"),
    (lambda: optim.apply_updates({"n": fnp.array(3)}, {"n": fnp.array(0.5)}), TypeError, r"apply_updates: integers(.|\n)*n: int64"),
    (lambda: optim.adam(-1e-3), ValueError, "learning rate must be a number of at least 0(.|\n)*-0.001"),
    (lambda: optim.sgd(float("nan")), ValueError, "learning rate must be a number of at least 0(.|\n)*nan"),
    (lambda: optim.sgd("0.1"), TypeError, "learning rate must be a number(.|\n)*'0.1' of type str"),
    (lambda: optim.inject_hyperparams(optim.sgd)(-1.0).init(fnp.ones(2)), ValueError, "learning rate"),
    (lambda: optim.adamw(1e-3, weight_decay=-1), ValueError, "weight decay must be a number of at least 0"),
    (lambda: optim.chain(optim.clip(1.0), optim.adam), TypeError, r"function adam(.|\n)*optim.adam\(1e-3\)"),
    (lambda: optim.clip_by_global_norm(-1.0), ValueError, "max_norm of clip_by_global_norm"),
    (lambda: optim.adam(1e-3).update(PARAMS, PARAMS), ValueError, "optim.chain: the state is not that of this chain(.|\n)*dict"),
    (lambda: optim.masked(optim.adam(1e-3), {"dense": {"weight": True}, "gain": True}).init(PARAMS), ValueError, r"mask does not fit(.|\n)*\['dense'\]"),
    (lambda: optim.partition({"a": optim.sgd(1.0)}, {"dense": "a", "gain": "b"}).init(PARAMS), ValueError, "gain: 'b'"),
    (lambda: optim.named_chain(("a", optim.clip(1.0)), ("a", optim.sgd(1.0))), ValueError, "each name may occur once"),
    (lambda: optim.inject_hyperparams(optim.sgd, "momentun"), ValueError, "momentun(.|\n)*learning_rate, momentum"),
    (lambda: optim.scale_by_lion(mode="harder"), ValueError, "'hard', 'smooth', 'refined'"),
    (lambda: optim.cosine_decay_schedule(1.0, 0), ValueError, "decay_steps must be positive"),
    (lambda: optim.piecewise_constant_schedule(1.0, {3: -1.0}), ValueError, "scales must be at least 0"),
    (lambda: optim.piecewise_interpolate_schedule("cubic", 1.0), ValueError, "'linear', 'cosine'"),
    (lambda: optim.join_schedules([lambda i: i], [3]), ValueError, "1 schedules and 1 boundaries"),
    (lambda: optim.reduce_on_plateau(factor=2.0), ValueError, "0 < factor < 1"),
    (lambda: optim.lookahead(optim.sgd(1.0), 0, 0.5), ValueError, "sync_period"),
    (lambda: optim.lookahead(optim.sgd(1.0), 2, 0.5).init(PARAMS), TypeError, "LookaheadParams"),
    (lambda: optim.adaptive_grad_clip(0.1).update(fnp.ones((1,) * 6), optim.EmptyState(), fnp.ones((1,) * 6)), ValueError, "at most 5 axes"),
    (lambda: optim.MultiSteps(optim.sgd(1.0), 0), ValueError, "every_k_schedule must be at least 1"),
    (lambda: optim.MultiSteps(optim.sgd(1.0), 2).update(OTHER, optim.MultiSteps(optim.sgd(1.0), 2).init(PARAMS)), ValueError, "dense/bias: missing"),
    (lambda: optim.scale_by_lbfgs(0), ValueError, "memory_size must be at least 1"),
    (lambda: optim.scale_by_zoom_linesearch(5, initial_guess_strategy="two"), ValueError, "'one' or 'keep'"),
    (lambda: optim.value_and_grad_from_state(loss)(PARAMS, state=optim.adam(1.0).init(PARAMS)), ValueError, "no value and gradient"),
    (lambda: steps(optim.lbfgs(), value=loss(PARAMS), grad=PARAMS, value_fn=loss, batch=3), TypeError, "value_fn does not take(.|\n)*batch"),
    (lambda: optim.lbfgs().update(PARAMS, optim.lbfgs().init(PARAMS), PARAMS), TypeError, "value"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_the_guide_runs():
    text = (Path(__file__).parent.parent / "docs" / "optim.md").read_text()
    names: dict = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(code, names)
    assert names["loss"](names["params"], names["x"], names["y"]) < names["loss"]({"w": fnp.ones((3, 8)), "v": fnp.zeros(8)}, names["x"], names["y"])
    assert np.isfinite(names["slope"]) and names["many"].shape == (3,)
    shown = set(re.findall(r"`(\w+)`", text.split("| for |")[1].split("## A trans")[0]))
    assert not [name for name in shown if not hasattr(optim, name)]
