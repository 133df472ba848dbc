"""Writes convolution.json: the calls of convolution_calls.py by jax.lax, and gradients of the sums of their squares.

Run with an environment that has jax: PYTHONPATH=tests python tests/reference/make_convolution.py > tests/reference/convolution.json
"""
import json

import jax
from convolution_calls import CALLS, run
from jax import lax

jax.config.update("jax_enable_x64", True)

if __name__ == "__main__":
    found = {key: run(lax, jax.grad, *call) for key, call in CALLS.items()}
    print(json.dumps({key: [{"shape": x.shape, "values": [float(f"{v:.12g}") for v in x.ravel()]} for x in arrays]
                      for key, arrays in found.items()}))
