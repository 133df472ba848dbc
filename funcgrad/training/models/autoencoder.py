"""A variational autoencoder: a network that describes a digit in a few numbers, and draws digits from such numbers.

In: images with pixels from 0 to 1. Out: a lower bound of the logarithm of their probability, and digits that nobody wrote.
Kingma and Welling, "Auto-encoding variational Bayes", https://arxiv.org/abs/1312.6114.

    python -m funcgrad train autoencoder
"""
from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import nn, optim, random, training
from funcgrad.training.images import load_images
from funcgrad.training.models.common import fitted

STEPS, BATCH_SIZE, LEARNING_RATE = 4000, 64, 1e-3
DRAWN = 8
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Autoencoder(nn.Composite):
    """``encode`` gives mean and logarithm of the standard deviation of a normal distribution, ``decode`` logits of pixels."""

    pixels: int
    hidden: int = 256
    latent: int = 8

    def parts(self) -> dict[str, nn.Layer]:
        def network(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, self.hidden), nn.gelu, nn.Linear(self.hidden, self.hidden), nn.gelu,
                                 nn.Linear(self.hidden, outputs))

        return {"encoder": network(self.pixels, 2 * self.latent), "decoder": network(self.latent, self.pixels)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        """The logits of the pixels, from one draw of the description if there is a key, and how far that is from normal.

        The second result is the divergence of the description's distribution from the standard normal one, in nats.
        """
        mean, log_deviation = fnp.split(run("encoder", x), 2, -1)
        key = run.key()
        noise = 0.0 if key is None else random.normal(key, mean.shape, np.float32)
        divergence = fnp.sum((fnp.exp(2 * log_deviation) + mean**2 - 1) / 2 - log_deviation, -1)
        return run("decoder", mean + fnp.exp(log_deviation) * noise), divergence


def bound(model: Autoencoder, params: Any, x: Any, key: Any) -> tuple[Any, Any]:
    """What describing and drawing each image costs in nats, and the divergence that is a part of it: both (batch,).

    Minus the first is a lower bound of the logarithm of the image's probability; a pixel between 0 and 1 counts as that
    share of a black one.
    """
    (logits, divergence), _ = model.apply(params, {}, x, key)
    return fnp.sum(nn.sigmoid_binary_cross_entropy(logits, x), -1) + divergence, divergence


def run(options: argparse.Namespace) -> int:
    """Trains the network; prints the bound on images held out, and draws."""
    data = load_images(options.data)
    shape = data.images.shape[1:3]
    pixels = data.images.mean(-1).reshape(len(data.images), -1)
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    model = Autoencoder(pixels.shape[1])
    key = random.key(options.seed)
    params, state = model.init(random.fold_in(key, 0))

    def loss(params: Any, state: Any, batch: Any, key: Any) -> tuple:
        cost, divergence = bound(model, params, batch, key)
        return fnp.mean(cost), (state, {"divergence": fnp.mean(divergence)})

    steps = STEPS if options.steps is None else options.steps
    examples = training.from_arrays(pixels[data.train]).shuffle(random.fold_in(key, 1)).batch(BATCH_SIZE)
    result = fitted(options, loss, params, examples, optimizer=optim.adam(optim.cosine_decay_schedule(LEARNING_RATE, steps)),
                    state=state, key=random.fold_in(key, 2), steps=steps)
    held_out = pixels[data.held_out]
    cost, divergence = bound(model, result.params, held_out, random.fold_in(key, 3))
    mean = np.clip(pixels[data.train].mean(0), 1e-6, 1 - 1e-6)
    alone = -np.mean(np.sum(held_out * np.log(mean) + (1 - held_out) * np.log(1 - mean), -1))
    print(f"held out    {float(cost.mean()):.2f} nats an image, of which {float(divergence.mean()):.2f} for the description; "
          f"pixel by pixel: {alone:.2f}")
    latent = random.normal(random.fold_in(key, 4), (DRAWN, model.latent), np.float32)
    drawn = nn.sigmoid(model.parts()["decoder"](result.params["decoder"], latent))
    for title, images in (("written by hand", held_out[:DRAWN]), ("drawn by the network", np.asarray(drawn))):
        print(f"\n{title}\n{pictures(images.reshape(-1, *shape))}")
    return 0


def pictures(images: np.ndarray) -> str:
    """Images side by side, two characters a pixel."""
    shades = np.array(list(SHADES))[np.clip(images * len(SHADES), 0, len(SHADES) - 1).astype(int)]
    return "\n".join("   ".join("".join(np.repeat(row, 2)) for row in rows) for rows in shades.transpose(1, 0, 2))
