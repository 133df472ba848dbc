"""Writes optax.json: what optax's optimisers and schedules give for the cases of tests/optim_cases.py.

Run with an environment that has jax and optax: PYTHONPATH=tests python tests/reference/make_optax.py > tests/reference/optax.json
"""
import json
import types

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp
import numpy as np
import optax
import optim_cases as cases

lib = types.SimpleNamespace(**{name: getattr(optax, name) for name in dir(optax) if not name.startswith("__")})
lib.reduce_on_plateau = optax.contrib.reduce_on_plateau


def rounded(found, dtype):
    digits = 10 if dtype is np.float64 else 8
    return {step: [float(f"{x:.{digits}g}") for x in values] for step, values in found.items()}


def main():
    stored = {"schedules": {name: [float(make(lib)(step)) for step in range(50)] for name, make in cases.SCHEDULES.items()}}
    for dtype in (np.float32, np.float64):
        found = stored[np.dtype(dtype).name] = {}
        for name, make in cases.OPTIMIZERS.items():
            optimizer = make(lib)
            found[name] = rounded(cases.run(lib, jax.tree.map, optimizer, dtype, jax.jit(optimizer.update)), dtype)
    stored["line searches"] = {
        name: rounded(cases.search(lib, jax.tree.map, jnp, jax.value_and_grad, make(lib), jax.jit), np.float64)
        for name, make in cases.LINE_SEARCHES.items()}
    print(json.dumps(stored, separators=(",", ":")).replace('},"', '},\n"'))


if __name__ == "__main__":
    main()
