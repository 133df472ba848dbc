"""Writes optim.json: parameters after 1, 10 and 100 steps of optax's optimisers.

Run with an environment that has jax and optax: python tests/reference/make_optim.py > tests/reference/optim.json
"""
import json

import jax
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)


def schedule(count):
    return 0.1 / (1 + count)


OPTIMIZERS = {
    "sgd": optax.sgd(0.01),
    "momentum": optax.sgd(0.01, momentum=0.9),
    "nesterov": optax.sgd(0.01, momentum=0.9, nesterov=True),
    "scheduled sgd": optax.sgd(schedule),
    "adam": optax.adam(0.01),
    "adam with its own decays": optax.adam(0.02, b1=0.8, b2=0.99, eps=1e-3),
    "scheduled adam": optax.adam(schedule),
}


def run(optimizer):
    params = np.array([1.0, -2.0, 3.0, 0.25])
    state = optimizer.init(params)
    found = {}
    for i in range(100):
        gradient = np.sin(3 * params) + 0.1 * params + np.cos(i)
        updates, state = optimizer.update(gradient, state, params)
        params = np.asarray(optax.apply_updates(params, updates))
        if i + 1 in (1, 10, 100):
            found[str(i + 1)] = params.tolist()
    return found


if __name__ == "__main__":
    print(json.dumps({name: run(optimizer) for name, optimizer in OPTIMIZERS.items()}, indent=1))
