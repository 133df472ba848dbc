"""The models of ``training.py`` as one writes them for JAX and optax.

In: parameters as NumPy arrays. Out: a jitted step, ``step(params, state, *batch) -> (params, state, loss)``, and its first
parameters and state.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def begin(objective: Callable, params: Any, state: Any, rate: float) -> tuple[Callable, Any, Any]:
    import jax
    import optax
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.01))

    @jax.jit
    def step(params: Any, states: Any, *batch: Any) -> tuple:
        state, optimizer_state = states
        (loss, state), gradient = jax.value_and_grad(objective, has_aux=True)(params, state, *batch)
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, params)
        return optax.apply_updates(params, updates), (state, optimizer_state), loss

    params, state = jax.tree.map(jax.numpy.asarray, (params, state))
    return step, params, (state, optimizer.init(params))


def cross_entropy(logits: Any, labels: Any) -> Any:
    import optax
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def digits(params: Any, state: Any, rate: float) -> tuple[Callable, Any, Any]:
    import jax
    import jax.numpy as jnp
    from jax import lax

    def batch_norm(params: Any, state: Any, x: Any) -> tuple[Any, Any]:
        mean, variance = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
        count = x.size // x.shape[-1]
        state = {**state, "mean": 0.9 * state["mean"] + 0.1 * mean,
                 "var": 0.9 * state["var"] + 0.1 * variance * count / (count - 1)}
        return (x - mean) * lax.rsqrt(variance + 1e-5) * params["scale"] + params["bias"], state

    def pool(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def objective(params: Any, state: Any, x: Any, y: Any) -> tuple:
        after = {}
        for i, pooled in ((0, False), (3, True), (7, True)):
            x = lax.conv_general_dilated(x, params[str(i)]["weight"], (1, 1), "SAME",
                                         dimension_numbers=("NHWC", "HWIO", "NHWC"))
            x, after[str(i + 1)] = batch_norm(params[str(i + 1)], state[str(i + 1)], x)
            x = jax.nn.relu(x)
            x = pool(x) if pooled else x
        last = max(params, key=int)
        logits = x.reshape(len(x), -1) @ params[last]["weight"] + params[last]["bias"]
        return cross_entropy(logits, y), after

    return begin(objective, params, state, rate)


def text(params: Any, heads: int, depth: int, rate: float) -> tuple[Callable, Any, Any]:
    import jax
    import jax.numpy as jnp

    def norm(p: Any, x: Any) -> Any:
        mean = jnp.mean(x, -1, keepdims=True)
        centred = x - mean
        return centred * jax.lax.rsqrt(jnp.mean(centred**2, -1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    def turned(x: Any) -> Any:
        half = x.shape[-1] // 2
        angles = np.arange(x.shape[1])[:, None, None] * 10000.0 ** -(np.arange(half) / half)
        cosine, sine = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
        first, second = jnp.split(x, 2, -1)
        return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], -1)

    def attention(p: Any, x: Any) -> Any:
        q, k, v = ((x @ p[name]["weight"]).reshape(*x.shape[:2], heads, -1) for name in ("query", "key", "value"))
        y = jax.nn.dot_product_attention(turned(q), turned(k), v, is_causal=True)
        return y.reshape(x.shape) @ p["out"]["weight"]

    def objective(params: Any, state: Any, tokens: Any) -> tuple:
        x = params["embedding"]["weight"][tokens[:, :-1]]
        for i in range(depth):
            block = params["blocks"][str(i)]
            x = x + attention(block["attention"], norm(block["attention_norm"], x))
            x = x + jax.nn.gelu(norm(block["mlp_norm"], x) @ block["up"]["weight"]) @ block["down"]["weight"]
        logits = norm(params["norm"], x) @ params["logits"]["weight"] + params["logits"]["bias"]
        return cross_entropy(logits, tokens[:, 1:]), state

    return begin(objective, params, {}, rate)


def adding(params: Any, rate: float) -> tuple[Callable, Any, Any]:
    import jax
    import jax.numpy as jnp

    def objective(params: Any, state: Any, x: Any, y: Any) -> tuple:
        layer = params["recurrent"]["0"]
        projected = jnp.swapaxes(x @ layer["input"] + layer["bias"], 0, 1)

        def step(carry: Any, z: Any) -> tuple[Any, None]:
            h, c = carry
            i, f, g, o = jnp.split(z + h @ layer["recurrent"], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zero = jnp.zeros((len(x), layer["recurrent"].shape[0]), x.dtype)
        (h, _), _ = jax.lax.scan(step, (zero, zero), projected)
        answer = (h @ params["out"]["weight"] + params["out"]["bias"])[:, 0]
        return jnp.mean((answer - y) ** 2), state

    return begin(objective, params, {}, rate)
