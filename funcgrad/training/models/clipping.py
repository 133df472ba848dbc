"""A gradient that explodes, and the clipping of its norm that cures it.

In: the adding problem and a plain network with relu, whose recurrent weights begin as a multiple of the identity, so that what
it holds grows from step to step. Out: the losses and the norms of the gradient, without clipping and with it.
Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", https://arxiv.org/abs/1211.5063.

    python -m funcgrad train clipping
"""
from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import nn, optim, random, training
from funcgrad.training.models.adding import BATCH_SIZE, FEATURES, GUESS, Adder, endless, sequences
from funcgrad.training.models.common import fitted
from funcgrad.transforms.derivatives import grad

STEPS, LENGTH, LEARNING_RATE, MOMENTUM, GROWTH, LARGEST_NORM = 1500, 50, 1e-2, 0.9, 1.05, 1.0
LENGTHS = (10, 25, LENGTH, 100, 200)


def first_params(model: Adder, key: Any) -> Any:
    """Those of ``init``, but for recurrent weights of ``GROWTH`` times the identity."""
    params = model.init(key)[0]
    layer = params["recurrent"]["0"]
    layer["recurrent"] = GROWTH * fnp.eye(FEATURES, dtype=np.float32)
    return params


def first_norm(model: Adder, params: Any, length: int, key: Any) -> float:
    """The norm of the gradient for sequences of this length."""
    batch = sequences(key, BATCH_SIZE, length)
    return float(optim.global_norm(grad(squared_error, argnums=1)(model, params, batch)))


def squared_error(model: Adder, params: Any, batch: Any) -> Any:
    return fnp.mean(fnp.square(model(params, batch["x"]) - batch["y"]))


def run(options: argparse.Namespace) -> int:
    """Trains the network twice from the same parameters, and prints what became of it."""
    key = random.key(options.seed)
    steps = STEPS if options.steps is None else options.steps
    model = Adder(nn.RNN(2, FEATURES, activation=nn.relu))
    params = first_params(model, random.fold_in(key, 0))
    print("norm of the first gradient, for sequences of "
          + ", ".join([f"{length}: {first_norm(model, params, length, key):.1e}" for length in LENGTHS]))

    def loss(params: Any, state: Any, batch: Any, key: Any) -> Any:
        return squared_error(model, params, batch)

    descent = optim.sgd(LEARNING_RATE, MOMENTUM)
    held_out = sequences(random.fold_in(key, 2), 1000, LENGTH)
    clipped = optim.chain(optim.clip_by_global_norm(LARGEST_NORM), descent)
    for name, optimizer in (("without clipping", descent), (f"norm clipped to {LARGEST_NORM:g}", clipped)):
        print(f"\n{name}")
        try:
            result = fitted(options, loss, params, endless(random.fold_in(key, 1), LENGTH), optimizer=optimizer, steps=steps)
        except training.NonFiniteLossError as error:
            print(f"the loss is no longer a number: {str(error).splitlines()[0]}")
        else:
            print(f"squared error {float(squared_error(model, result.params, held_out)):.4f} on sequences it has not seen; "
                  f"answering 1 always: {GUESS:.4f}")
    return 0
