"""The training loop: what it computes, records, stops at, and says when a loss is not finite."""
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn, optim, training

KEY = fg.random.key(0)
X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
Y = np.arange(20) % 3
MODEL = nn.Sequential(nn.Linear(4, 8), nn.tanh, nn.Linear(8, 3))
PARAMS = MODEL.init(KEY)[0]
DATA = training.from_arrays({"x": X, "y": Y}).shuffle(KEY).batch(6)
ADAM = optim.adam(1e-2)


def cross_entropy(model, params, batch):
    return nn.softmax_cross_entropy_with_integer_labels(model(params, batch["x"]), batch["y"], reduction="mean")


def loss(params, state, batch, key):
    return cross_entropy(MODEL, params, batch)


STEP = training.training_step(loss, ADAM)


@dataclass(frozen=True)
class Counter(nn.Layer):
    """A layer that counts its calls in training, and adds noise."""

    def init(self, key, example=None):
        return {}, {"calls": fnp.zeros((), np.int32)}

    def apply(self, params, state, x, key=None, train=False):
        noise = 0 if key is None else 0.1 * fg.random.normal(key, x.shape, x.dtype)
        return x + noise, {"calls": state["calls"] + 1}


NOISY = nn.Sequential(nn.Linear(4, 8), Counter(), nn.tanh, nn.Linear(8, 3))


def noisy_loss(params, state, batch, key):
    logits, state = NOISY.apply(params, state, batch["x"], key, train=True)
    value = nn.softmax_cross_entropy_with_integer_labels(logits, batch["y"], reduction="mean")
    return value, (state, {"accuracy": fnp.mean(fnp.argmax(logits, -1) == batch["y"])})


def equal(a, b):
    (x, s), (y, t) = fg.tree.flatten(a), fg.tree.flatten(b)
    return s == t and all([np.array_equal(u, v) and fnp.result_type(u) == fnp.result_type(v) for u, v in zip(x, y, strict=True)])


def test_it_is_the_loop_written_by_hand():
    params, state = NOISY.init(KEY)
    result = training.fit(noisy_loss, params, DATA, state=state, optimizer=ADAM, epochs=3, key=KEY)
    optimizer_state, rows, count = ADAM.init(params), [], 0
    for epoch in range(3):
        order = np.asarray(fg.random.permutation(fg.random.fold_in(KEY, epoch), 20))
        seen = []
        for start in range(0, 20, 6):
            batch = {"x": X[order[start:start + 6]], "y": Y[order[start:start + 6]]}
            step = fg.jit(fg.value_and_grad(noisy_loss, has_aux=True))
            (value, (state, metrics)), gradient = step(params, state, batch, fg.random.fold_in(KEY, count))
            updates, optimizer_state = ADAM.update(gradient, optimizer_state, params)
            params, count = optim.apply_updates(params, updates), count + 1
            seen.append((float(value), float(metrics["accuracy"]), len(batch["y"])))
        values, accuracies, sizes = zip(*seen)
        rows.append((np.average(values, weights=sizes), np.average(accuracies, weights=sizes)))
    assert result.step == 12 and int(result.state["1"]["calls"]) == 12
    np.testing.assert_allclose([(line["loss"], line["accuracy"]) for line in result.history], rows, rtol=1e-6)
    for a, b in zip(fg.tree.leaves(result.params), fg.tree.leaves(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    assert fg.tree.structure(result.optimizer_state) == fg.tree.structure(optimizer_state) and result.best is None


@pytest.mark.parametrize("arguments, steps", [
    ({"epochs": 2}, [4, 8]), ({"steps": 6}, [4, 6]), ({"steps": 6, "every": 2}, [2, 4, 6]), ({"epochs": 2, "every": 3}, [3, 6, 8]),
    ({"epochs": 2, "every": 4}, [4, 8]), ({"epochs": 1, "steps": 9}, [4]), ({"epochs": 5, "steps": 3, "every": 10}, [3]),
    ({"epochs": 0}, []), ({"steps": 0}, []),
])
def test_when_records_are_made(tmp_path, arguments, steps):
    seen = []
    result = training.fit(STEP, PARAMS, DATA, evaluate=lambda params, state: {"one": fnp.asarray(1.0)},
                          evaluate_every=2, callbacks=[seen.append], log=tmp_path / "run.jsonl", **arguments)
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == steps and lines == result.history == [record.line() for record in seen]
    assert ["eval_one" in line for line in lines] == [i % 2 == 1 or i == len(lines) - 1 for i in range(len(lines))]
    assert [record.epoch for record in seen] == [step // 4 for step in steps]
    assert result.step == (steps or [0])[-1] and (not seen or equal(seen[-1].params, result.params))


def test_streams_of_unknown_length(tmp_path):
    def stream(epoch):
        """Four batches, all in one buffer."""
        buffer = np.empty((5, 4), np.float32)
        for i in range(4):
            buffer[:] = X[5 * i:5 * i + 5]
            yield {"x": buffer, "y": Y[5 * i:5 * i + 5]}

    data = training.from_arrays({"x": X, "y": Y}).batch(5)
    for arguments, steps in [({"epochs": 2}, [4, 8]), ({"epochs": 2, "every": 3}, [3, 6, 8]), ({"epochs": 2, "every": 4}, [4, 8]),
                             ({"steps": 6}, [4, 6])]:
        result = training.fit(STEP, PARAMS, training.from_iterable(stream), **arguments)
        assert equal(result.params, training.fit(STEP, PARAMS, data, **arguments).params)
        assert [line["step"] for line in result.history] == steps
    arguments = {"data": training.from_iterable(stream), "checkpoints": tmp_path, "every": 2}
    training.fit(STEP, PARAMS, steps=4, **arguments)
    assert equal(training.fit(STEP, PARAMS, epochs=2, resume=True, **arguments).params,
                 training.fit(STEP, PARAMS, data, epochs=2).params)


def test_the_log_can_be_read_while_training_goes_on(tmp_path):
    lengths = []
    training.fit(STEP, PARAMS, DATA, epochs=3, log=tmp_path / "log",
                 callbacks=[lambda record: lengths.append(len((tmp_path / "log").read_text().splitlines()))])
    assert lengths == [1, 2, 3]


@pytest.mark.parametrize("mode, values, stopped, best", [
    ("min", [3, 2, 2.5, 1.95, 2.2, 0], 5, 2), ("max", [1, 2, math.nan, 0, 5, 0], 4, 2), ("min", [math.nan, 2, 1, 1, 1, 1], 5, 3),
    ("min", [6, 5, 4, 3, 2, 1], 6, 6)])
def test_early_stopping_keeps_the_best(mode, values, stopped, best):
    seen, given = [], iter(values)
    rule = training.EarlyStopping("eval_score", patience=3 if values[2] == 2.5 else 2, min_delta=0.1, mode=mode)
    result = training.fit(STEP, PARAMS, DATA, epochs=6, evaluate=lambda params, state: {"score": next(given)},
                          early_stopping=rule, callbacks=[seen.append])
    assert len(result.history) == stopped and result.best.step == 4 * best and result.best.value == values[best - 1]
    assert equal(result.best.params, seen[best - 1].params)


def test_a_callback_that_returns_true_ends_it():
    calls = []
    result = training.fit(STEP, PARAMS, DATA, epochs=9, every=1,
                          callbacks=[lambda record: record.step == 3, lambda record: calls.append(record.step)])
    assert result.step == 3 and calls == [1, 2, 3]


def test_it_learns_and_evaluates():
    measure = lambda params, state, batch: {"loss": cross_entropy(MODEL, params, batch)}  # noqa: E731
    evaluate = training.evaluator(measure, training.from_arrays({"x": X, "y": Y}).batch(16))
    result = training.fit(loss, PARAMS, DATA, optimizer=optim.adam(0.1), epochs=30, evaluate=evaluate)
    assert result.history[-1]["eval_loss"] < 0.6 < result.history[0]["eval_loss"]
    assert evaluate(result.params, {})["loss"] == pytest.approx(float(cross_entropy(MODEL, result.params, {"x": X, "y": Y})), 1e-5)


def test_a_bar_on_a_terminal(capsys):
    training.fit(STEP, PARAMS, DATA, epochs=1)
    assert capsys.readouterr().err == ""
    training.fit(STEP, PARAMS, DATA, steps=3, progress=True)
    assert "/3" in capsys.readouterr().err


# ---------------------------------------------------------------- losses that are not finite

SPOILED = X.copy()
SPOILED[13, 2] = np.nan
LOGARITHMS = nn.Sequential(nn.Linear(4, 8), nn.Sequential(nn.tanh, fnp.log), nn.Linear(8, 3))


def root(params, state, batch, key):
    """Finite, with an infinite derivative at 0."""
    return fnp.sum(fnp.sqrt(MODEL(params, batch["x"]) * 0)) + fnp.sum(params["0"]["bias"])


@pytest.mark.parametrize("function, arrays, rate, expected", [
    (lambda params, state, batch, key: cross_entropy(LOGARITHMS, params, batch), {}, 0.1,
     [r"found:    nan in step 1, in epoch 1", r"layer:    the first whose output is not finite is '1.1'", r"cause: .* log made a NaN,",
      r"at test_training_fit.py:\d+ in cross_entropy", r"log\(-0\.\d+\) = nan"]),
    (loss, {"y": Y + 1}, 0.1, [r"label 3, with 3 classes"]),
    (loss, {"x": SPOILED}, 0.1, [r"nan in step \d", r"data:     'x' is not finite"]),
    (root, {}, 0.1, [r"step 2, ", r"params:   '0.bias' is not finite since the update of step 1", r"cause: .* made a NaN", "in root"]),
    (lambda params, state, batch, key: fnp.mean(MODEL(params, batch["x"]) ** 2), {}, 1e15,
     [r"inf in step \d", r"made an infinity", "instead:  a lower learning rate"]),
    (lambda params, state, batch, key: fnp.sum(params["0"]["weight"]) * 1e4, {}, 1e38,
     [r"params:   '0.weight' is not finite since the update of step 1", "the gradient of that step is finite"]),
    (lambda params, state, batch, key: fnp.log(fnp.mean(MODEL(params, batch["x"])) - 1e3), {}, 0.1,
     [r"layer:    the outputs of all layers are finite; it happens in the loss", "log made a NaN"]),
    (lambda params, state, batch, key: fnp.log(fnp.mean(fg.vmap(lambda x: MODEL(params, x))(batch["x"])) - 1e3), {}, 0.1,
     [r"in epoch 1\n  cause:", "log made a NaN"]),
], ids=["layer", "label", "data", "gradient", "growth", "update", "loss", "vmap"])
def test_a_loss_that_is_not_finite_is_explained(function, arrays, rate, expected):
    data = training.from_arrays({"x": X, "y": Y, **arrays}).batch(6)
    with pytest.raises(training.NonFiniteLossError) as caught:
        training.fit(function, PARAMS if "log" not in expected[0] else LOGARITHMS.init(KEY)[0], data,
                     optimizer=optim.sgd(rate), epochs=9)
    for pattern in [r"fit: the loss is not finite, called at test_training_fit.py:\d+", *expected]:
        assert re.search(pattern, str(caught.value), re.S), (pattern, str(caught.value))


def test_the_layer_of_a_loop_that_made_a_nan_is_found():
    model = nn.Sequential(nn.Linear(4, 8), nn.Repeat(nn.Sequential(nn.Linear(8, 8), nn.Lambda(fnp.log)), 3))
    with pytest.raises(training.NonFiniteLossError, match=r"not finite is '1\.1'(.|\n)*log made a NaN"):
        training.fit(lambda params, state, batch, key: fnp.mean(model(params, batch["x"])), model.init(KEY)[0], DATA,
                     optimizer=optim.sgd(0.1), epochs=1)


def test_it_can_go_on_after_a_loss_that_is_not_finite():
    result = training.fit(loss, PARAMS, training.from_arrays({"x": SPOILED, "y": Y}).batch(6), optimizer=ADAM, epochs=1,
                          stop_on_nonfinite=False)
    assert result.step == 4 and math.isnan(result.history[0]["loss"])


# ---------------------------------------------------------------- wrong calls


@pytest.mark.parametrize("change, error, text", [
    ({"optimizer": None}, TypeError, r"function and optimizer=None\n.*training_step"),
    ({"loss": STEP}, TypeError, "Step and optimizer=Grad"),
    ({"epochs": None}, ValueError, "neither epochs nor steps"),
    ({"data": [X]}, TypeError, "found: +list"),
    ({"data": training.from_iterable([])}, ValueError, "nothing in epoch 0"),
    ({"loss": lambda params, state, batch, key: (0.0, 1)}, TypeError, r"return loss, \(state, metrics\)"),
    ({"loss": lambda params, state, batch, key: (loss(params, state, batch, key), (state, {"a": fnp.ones(3)}))}, TypeError,
     r"'a' of shape \(3,\)"),
    ({"evaluate": lambda params, state: 3.0}, TypeError, "metrics of evaluate are not scalars by name"),
    ({"early_stopping": training.EarlyStopping("accuracy")}, ValueError, "'accuracy'\n +expected: one of 'loss'"),
    ({"early_stopping": training.EarlyStopping()}, ValueError, "'eval_loss'\n.*'loss'\n.*evaluate=evaluator"),
    ({"early_stopping": training.EarlyStopping(), "evaluate": lambda params, state: {"a": 1}}, ValueError, "'loss', 'eval_a'"),
    ({"early_stopping": training.EarlyStopping(mode="least")}, ValueError, "'least'"),
    ({"early_stopping": training.EarlyStopping("eval_los"), "evaluate": lambda params, state: {"loss": 1.0}}, ValueError,
     "'eval_los'\n +expected: one of 'loss', 'eval_loss'"),
    ({"early_stopping": training.EarlyStopping("loss", patience=0)}, ValueError, "patience.*\n +found: +0"),
    ({"early_stopping": "loss"}, TypeError, r"'loss'\n +expected: EarlyStopping"),
    ({"optimizer": optim.adam}, TypeError, r"function adam(.*\n)*.*optim.adam\(1e-3\)"),
    ({"epochs": 1.5}, ValueError, "epochs does not fit.*\n +found: +1.5"), ({"steps": -1}, ValueError, "steps does not fit"),
    ({"every": 0}, ValueError, "every does not fit"), ({"evaluate_every": 0}, ValueError, "evaluate_every does not fit"),
    ({"checkpoint_every": 0}, ValueError, "checkpoint_every does not fit"),
    ({"loss": lambda params, state, batch, key: (0.0, (state, {"a": 1.0, "epoch": 2.0}))}, ValueError, "taken.*\n +found: +'epoch'"),
    ({"loss": lambda params, state, batch, key: (0.0, (state, {"a": {"b": 1.0}}))}, TypeError, "'a': {'b': 1.0}"),
])
def test_wrong_calls(change, error, text):
    arguments = {"loss": loss, "params": PARAMS, "data": DATA, "optimizer": ADAM, "epochs": 1, **change}
    with pytest.raises(error, match=text):
        training.fit(**arguments)


@pytest.mark.parametrize("optimizer", [optim.chain(optim.sgd(0.1), optim.reduce_on_plateau(patience=2)), optim.lbfgs()])
def test_optimisers_that_look_at_the_loss(optimizer):
    def parabola(params, state, batch, key):
        return fnp.sum(batch * params["w"] ** 2)

    data = training.from_iterable([np.array([1.0, 2.0])] * 3)
    result = training.fit(parabola, {"w": fnp.ones(2)}, data, optimizer=optimizer, epochs=2)
    assert result.history[-1]["loss"] < 0.5 * result.history[0]["loss"]


def test_a_list_is_taken_for_the_pair_of_loss_and_metrics():
    def listed(params, state, batch, key):
        return [fnp.sum(params["w"]), [state, {"a": 2.0}]]

    result = training.fit(listed, {"w": fnp.ones(2)}, training.from_iterable([{}]), optimizer=optim.sgd(0.1), epochs=1)
    assert result.history[0]["loss"] == 2.0 and result.history[0]["a"] == 2.0


def test_batches_without_arrays_and_a_metric_with_the_name_of_the_loss():
    result = training.fit(lambda params, state, batch, key: (params["x"] ** 2, (state, {"loss": fnp.zeros(())})),
                          {"x": fnp.ones(())}, training.from_iterable([{}, {}]), optimizer=optim.sgd(0.1), epochs=1)
    assert result.step == 2 and result.history[0]["loss"] == pytest.approx((1 + 0.64) / 2)


def test_an_evaluation_without_examples():
    evaluate = training.evaluator(lambda params, state, batch: {}, training.from_iterable([]))
    with pytest.raises(ValueError, match="there are no examples"):
        evaluate({}, {})


def test_the_page_about_training_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parent.parent / "docs" / "training.md").read_text()
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.S):
        exec(code, names)
    made = names["step"](names["params"], {}, names["optimizer"].init(names["params"]), names["batch"], KEY, 3)[0]
    assert equal(made, training.training_step(names["loss"], names["optimizer"])(
        names["params"], {}, names["optimizer"].init(names["params"]), names["batch"], KEY, 3)[0])
