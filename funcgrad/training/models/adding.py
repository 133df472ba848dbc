"""The adding problem: a network must remember two numbers of a long sequence, beside a plain network that cannot.

In: sequences (length, 2) of a random number and a mark; two places are marked. Out: their sum, to be told at the end.
Hochreiter and Schmidhuber, "Long short-term memory", 1997, section 5.4. Answering 1 always has a squared error of 1/6.

    python -m funcgrad train adding                       # an LSTM and a plain RNN at length 200

In between, a table shows why: how much the answer changes with the input so many steps before the end.
"""
from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import nn, optim, random, training, tree
from funcgrad.jit import jit
from funcgrad.training.models.common import fitted
from funcgrad.transforms.derivatives import grad

STEPS, BATCH_SIZE, LENGTH, FEATURES, LEARNING_RATE = 2000, 64, 200, 64, 3e-3
AGES = (0, 10, 25, 50, 100, 150, 199)
GUESS = 1 / 6


@dataclass(frozen=True)
class Adder(nn.Composite):
    """One number, (batch,), from sequences (batch, time, 2): what a recurrent layer says at the end."""

    layer: nn.Layer

    def parts(self) -> dict[str, nn.Layer]:
        return {"recurrent": self.layer, "out": nn.Linear(FEATURES, 1)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        return run("out", run("recurrent", x)[:, -1])[:, 0]


MODELS = {"RNN": Adder(nn.RNN(2, FEATURES)), "LSTM": Adder(nn.LSTM(2, FEATURES, forget_bias=3.0))}


def sequences(key: Any, count: int, length: int) -> dict[str, np.ndarray]:
    """``x`` of shape (count, length, 2), with one mark in each half, and the sums ``y``."""
    numbers_key, first_key, second_key = random.split(key, 3)
    numbers = np.asarray(random.uniform(numbers_key, (count, length), np.float32))
    first = np.asarray(random.randint(first_key, (count,), 0, length // 2))
    second = np.asarray(random.randint(second_key, (count,), length // 2, length))
    marks = np.zeros((count, length), np.float32)
    rows = np.arange(count)
    marks[rows, first] = marks[rows, second] = 1
    return {"x": np.stack([numbers, marks], -1), "y": (numbers * marks).sum(1)}


def endless(key: Any, length: int) -> Any:
    """Batches without end, none like the other."""

    def batches(epoch: int) -> Iterator[dict[str, np.ndarray]]:
        count = 0
        while True:
            yield sequences(random.fold_in(key, count), BATCH_SIZE, length)
            count += 1

    return training.from_iterable(batches)


def memory(model: Adder, params: Any, x: Any) -> np.ndarray:
    """How much the answers change with the input at each time: the root mean square of the derivative, (time,)."""
    slopes = jit(grad(lambda x: fnp.sum(model(params, x))))(x)
    return np.sqrt(np.mean(np.square(slopes), axis=(0, 2), dtype=np.float64))


def run(options: argparse.Namespace) -> int:
    """Trains both networks; prints their errors, and how far back they feel their input."""
    key = random.key(options.seed)
    steps = STEPS if options.steps is None else options.steps
    held_out = sequences(random.fold_in(key, 0), 1000, LENGTH)
    errors, remembered = {}, {}
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adam(optim.cosine_decay_schedule(LEARNING_RATE, steps)))
    for name, model in MODELS.items():
        def loss(params: Any, state: Any, batch: Any, key: Any, model: Adder = model) -> Any:
            return fnp.mean(fnp.square(model(params, batch["x"]) - batch["y"]))

        params, state = model.init(random.fold_in(key, 1))
        remembered[name, "before"] = memory(model, params, held_out["x"])
        print(f"\n{name}: {sum(leaf.size for leaf in tree.leaves(params)):,} parameters, sequences of {LENGTH}")
        params = fitted(options, loss, params, endless(random.fold_in(key, 2), LENGTH), optimizer=optimizer, steps=steps).params
        remembered[name, "after"] = memory(model, params, held_out["x"])
        errors[name] = float(loss(params, state, held_out, None))
    print(f"\n{'derivative of the answer by the input':<40}{'before training':>26}{'after training':>26}")
    print(f"{'steps before the end':<40}" + "".join(f"{name:>13}" for _ in range(2) for name in MODELS))
    for age in AGES:
        print(f"{age:<40}" + "".join(f"{remembered[name, when][-1 - age]:>13.1e}" for when in ("before", "after")
                                     for name in MODELS))
    print()
    for name, error in errors.items():
        print(f"{name:<12}squared error {error:.5f} on sequences it has not seen; answering 1 always: {GUESS:.5f}")
    return 0
