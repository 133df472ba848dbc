"""A transformer that writes text, one character after the other.

In: a text. Out: a network that gives each next character a probability; how well it does on text it has not seen, in nats a
character; and what it writes.

    python -m funcgrad train text                         # learns from the source of Python's own library
    python -m funcgrad train text --data novel.txt --steps 4000
"""
from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax, nn, optim, random, training
from funcgrad.jit import jit
from funcgrad.training.models.common import fitted
from funcgrad.training.text import Text, load_text

STEPS, BATCH_SIZE, LENGTH, LEARNING_RATE = 1500, 32, 128, 3e-3
EVALUATED = 256
"""The pieces of the text held out on which the network is measured."""
WRITTEN, TEMPERATURE = 600, 0.8


@dataclass(frozen=True)
class Writer(nn.Composite):
    """Logits of the next character, (batch, time, kinds), from the characters so far, integers (batch, time)."""

    kinds: int
    features: int = 128
    heads: int = 4
    depth: int = 4
    dropout: float = 0.0

    def parts(self) -> dict[str, nn.Layer]:
        block = nn.TransformerBlock(self.features, self.heads, causal=True, rotary=True, dropout=self.dropout, bias=False)
        return {"embedding": nn.Embedding(self.kinds, self.features), "blocks": nn.Sequential(*[block] * self.depth),
                "norm": nn.LayerNorm(self.features), "logits": nn.Linear(self.features, self.kinds)}

    def forward(self, run: nn.Run, x: Any) -> Any:
        return run("logits", run("norm", run("blocks", run("embedding", x))))


def loss(model: Writer, params: Any, state: Any, batch: Any, key: Any) -> Any:
    """The mean of minus the logarithm of the probability of each next character."""
    logits, _ = model.apply(params, state, batch[:, :-1], key, train=True)
    return fnp.mean(nn.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:]))


def pieces(tokens: np.ndarray, length: int) -> np.ndarray:
    """All pieces of the text, as a view: row i begins with character i."""
    return np.lib.stride_tricks.sliding_window_view(tokens, length)


@partial(jit, static_argnums=(0, 4))
def write(model: Writer, params: Any, key: Any, start: Any, count: int, temperature: float = TEMPERATURE) -> Any:
    """``count`` characters behind those of ``start``, drawn one after the other.

    Each character is computed once: the keys and values of those before it are in the cache. A low temperature prefers the
    likeliest.
    """
    cache = model.init_cache(1, len(start) + count)
    logits, cache = model.apply(params, cache, start[None])

    def step(carry: Any, key: Any) -> Any:
        logits, cache = carry
        token = random.categorical(key, logits / temperature)
        logits, cache = model.apply(params, cache, token[:, None])
        return (logits[:, -1], cache), token[0]

    return lax.scan(step, (logits[:, -1], cache), random.split(key, count))[1]


def write_long(model: Writer, params: Any, key: Any, start: np.ndarray, count: int) -> np.ndarray:
    """``count`` characters or some more behind those of ``start``, written piece by piece, each as long as ``start``.

    A piece sees the one before it: so no position is further on than those of the training, beyond which the network has
    learned nothing.
    """
    pieces = [np.asarray(start)]
    while sum(map(len, pieces[1:])) < count:
        pieces.append(np.asarray(write(model, params, random.fold_in(key, len(pieces)), pieces[-1], len(start))))
    return np.concatenate(pieces[1:])


def run(options: argparse.Namespace) -> int:
    """Trains the network, prints its loss on the text held out, and a sample of what it writes."""
    text: Text = load_text(options.data)
    print(f"data        {text.name}: {len(text.train):,} characters to train on, {len(text.held_out):,} held out, "
          f"{len(text.alphabet)} kinds")
    key = random.key(options.seed)
    model = Writer(len(text.alphabet))
    params, state = model.init(random.fold_in(key, 0))
    length = min(LENGTH, len(text.held_out) - 1)
    print(nn.summary(model, np.zeros((1, length), np.int32)))

    steps = STEPS if options.steps is None else options.steps
    schedule = optim.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, min(100, steps // 10), steps, LEARNING_RATE / 20)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(schedule, b2=0.95, weight_decay=0.1))
    data = training.from_arrays(pieces(text.train, length + 1)).shuffle(random.fold_in(key, 1)).batch(BATCH_SIZE)
    result = fitted(options, partial(loss, model), params, data, optimizer=optimizer, state=state, key=random.fold_in(key, 2),
                    steps=steps)
    rows = pieces(text.held_out, length + 1)[::length][:EVALUATED]
    measure = training.evaluator(lambda params, state, batch: {"loss": loss(model, params, state, batch, None)},
                                 training.from_arrays(rows).batch(BATCH_SIZE))
    print(f"held out    {measure(result.params, result.state)['loss']:.3f} nats a character, on {rows.size:,} characters")
    start = text.held_out[:length // 2]
    written = write_long(model, result.params, random.fold_in(key, 3), start, WRITTEN)
    print(f"\nafter\n{'-' * 80}\n{text.decode(start)}\n{'-' * 80}\nit writes\n{'-' * 80}\n{text.decode(written)}\n{'-' * 80}")
    return 0
