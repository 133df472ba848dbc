"""What it costs to begin: fresh processes, new sizes, memory, and how compile time grows."""
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.workload import AtMostPower, Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal
from benchmarks.workloads.networks import MLP, TRANSFORMER


def unrolled(lib: Any, steps: int) -> Program:
    """A Python loop, so that the program has three equations for each step."""
    def run(x: Any) -> Any:
        for _ in range(steps):
            x = lib.np.sin(x) * 0.5 + x
        return x

    return lib.jit(run), (lib.np.asarray(random_normal(1000)),)


def unrolled_gradient(lib: Any, steps: int) -> Program:
    """A recurrent network without ``scan``, and its gradient."""
    def loss(w: Any, x: Any) -> Any:
        for _ in range(steps):
            x = lib.np.tanh(x @ w)
        return lib.np.sum(x)

    return lib.jit(lib.grad(loss)), (lib.np.asarray(random_normal(16, 16) * np.float32(0.25)),
                                     lib.np.asarray(random_normal(8, 16, seed=1)))


MODELS = {"MLP": replace(MLP, peers={}), "transformer": replace(TRANSFORMER, peers={})}
SECOND_BATCH = {"MLP": ({"batch": 96}, {"batch": 3}), "transformer": ({"batch": 6}, {"batch": 3})}
WORKLOADS = [
    *[replace(model, name=f"fresh process, cold caches: {name} step", kind="cold", target=Ratio(2.0))
      for name, model in MODELS.items()],
    *[replace(model, name=f"fresh process, filled caches: {name} step", kind="warm", target=Ratio(0.7))
      for name, model in MODELS.items()],
    *[replace(model, name=f"first call at a second batch size: {name} step", kind="second", target=Ratio(0.2),
              second=SECOND_BATCH[name][0], second_tiny=SECOND_BATCH[name][1]) for name, model in MODELS.items()],
    replace(MODELS["transformer"], name="peak memory of the transformer step", kind="memory", target=Ratio(1.0)),
    *[Workload(f"trace and compile against length: {name}", build, {"steps": 50}, {"steps": 2}, AtMostPower(1.1),
               tolerance=1e-3, kind="growth")
      for name, build in (("elementwise loop", unrolled), ("gradient of a recurrence", unrolled_gradient))],
]
