"""A convolutional network on images: the digits, or the user's own.

In: images (count, height, width, channels) and labels. Out: a network that names what is on an image.

    python -m funcgrad train digits                       # 8x8 pixels, 10 classes
    python -m funcgrad train digits --data flowers/       # a folder for each class
"""
from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, nn, optim, random, training
from funcgrad.training.data import UserError
from funcgrad.training.images import load_images
from funcgrad.training.models.common import fitted
from funcgrad.transforms.batching import vmap

STEPS, BATCH_SIZE, LEARNING_RATE = 1600, 64, 2e-3


def build_model(classes: int, dropout: float = 0.3) -> nn.Sequential:
    """Three convolutions, each normalised, and a linear classifier of what the last one saw in its four quarters."""

    def convolution(features: int) -> list:
        return [nn.Conv2d(None, features, 3, bias=False), nn.BatchNorm(features), nn.relu]

    return nn.Sequential(*convolution(32), *convolution(64), nn.MaxPool((2, 2)), *convolution(64), nn.AdaptiveMaxPool((2, 2)),
                         nn.Flatten(), nn.Dropout(dropout), nn.Linear(None, classes))


def moved(key: Any, images: Any) -> Any:
    """The images, each moved by a random pixel or none along both axes; what comes in is as the border was."""
    padded = fnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    starts = random.randint(key, (len(images), 2), 0, 3)
    return vmap(lambda image, start: lax.dynamic_slice(image, (*start, 0), images.shape[1:]))(padded, starts)


def run(options: argparse.Namespace) -> int:
    """Trains the network and prints its accuracy on the images held out."""
    data = load_images(options.data)
    if min(data.images.shape[1:3]) < 2:
        height, width = data.images.shape[1:3]
        raise UserError(f"{data.name}: images of {height} by {width} pixels; expected 2 by 2 at least")
    key = random.key(options.seed)
    mean, scale = data.images[data.train].mean(), data.images[data.train].std()
    images = ((data.images - mean) / scale).astype(np.float32)
    model = build_model(len(data.classes))
    params, state = model.init(random.fold_in(key, 0), images[:1])
    print(nn.summary(model, images[:1]))

    def loss(params: Any, state: Any, batch: Any, key: Any) -> tuple:
        move_key, dropout_key = random.split(key)
        logits, state = model.apply(params, state, moved(move_key, batch["x"]), dropout_key, train=True)
        value = nn.softmax_cross_entropy_with_integer_labels(logits, batch["y"], reduction="mean", label_smoothing=0.05)
        return value, (state, {"accuracy": fnp.mean(fnp.argmax(logits, -1) == batch["y"])})

    def measure(params: Any, state: Any, batch: Any) -> dict:
        logits, _ = model.apply(params, state, batch["x"])
        losses = nn.softmax_cross_entropy_with_integer_labels(logits, batch["y"], reduction="mean")
        return {"loss": losses, "accuracy": fnp.mean(fnp.argmax(logits, -1) == batch["y"])}

    def examples(rows: np.ndarray) -> training.Data:
        return training.from_arrays({"x": images[rows], "y": data.labels[rows]})

    steps = STEPS if options.steps is None else options.steps
    optimizer = optim.adamw(optim.cosine_decay_schedule(LEARNING_RATE, steps), weight_decay=1e-2)
    result = fitted(options, loss, params, examples(data.train).shuffle(random.fold_in(key, 1)).batch(BATCH_SIZE),
                    optimizer=optimizer, state=state, key=random.fold_in(key, 2), steps=steps)
    found = training.evaluator(measure, examples(data.held_out).batch(256))(result.params, result.state)
    wrong = round((1 - found["accuracy"]) * len(data.held_out))
    print(f"held out    accuracy {found['accuracy']:.2%} ({wrong} of {len(data.held_out)} wrong), loss {found['loss']:.4f}")
    return 0
