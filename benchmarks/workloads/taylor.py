"""High derivatives: Taylor mode, and what it replaces, derivatives of derivatives."""
from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from benchmarks.workload import AtMostPower, Program, Ratio, Workload
from benchmarks.workloads.elementwise import random_normal

ORDERS = (2, 4, 6, 8, 10)


def network(lib: Any, width: int, batch: int) -> tuple[Any, Any, Any]:
    """Three layers of tanh, summed, with a point and a direction."""
    weights = [lib.np.asarray(random_normal(width, width, seed=i) * np.float32(width ** -0.5)) for i in range(3)]

    def f(x: Any) -> Any:
        for w in weights:
            x = lib.np.tanh(x @ w)
        return lib.np.sum(x)

    return f, lib.np.asarray(random_normal(batch, width, seed=3)), lib.np.asarray(random_normal(batch, width, seed=4))


def exponential_of_sine(lib: Any, n: int) -> tuple[Any, Any, Any]:
    return (lambda x: lib.np.exp(lib.np.sin(x))), lib.np.asarray(random_normal(n)), lib.np.ones(n, np.float32)


def by_taylor(f: Any, x: Any, direction: Any, lib: Any, order: int, compiled: bool = True) -> Program:
    """All derivatives up to the order along the direction, by the library's jet."""
    jet = importlib.import_module(f"{lib.name}.experimental.jet").jet
    zeros = [lib.np.zeros_like(x)] * (order - 1)

    def derivatives(x: Any, v: Any) -> Any:
        return jet(f, (x,), ([v, *zeros],))

    return lib.jit(derivatives) if compiled else derivatives, (x, direction)


def by_nesting(f: Any, x: Any, direction: Any, lib: Any, order: int) -> Program:
    """The derivative of this order along the direction, by nested jvp."""

    def derivative(x: Any, v: Any) -> Any:
        g = f
        for _ in range(order):
            g = (lambda h: lambda y: lib.jvp(h, (y,), (v,))[1])(g)
        return g(x)

    return lib.jit(derivative), (x, direction)


def network_taylor(lib: Any, width: int, batch: int, steps: int) -> Program:
    return by_taylor(*network(lib, width, batch), lib, steps)


def network_nested(lib: Any, width: int, batch: int, steps: int) -> Program:
    return by_nesting(*network(lib, width, batch), lib, steps)


def elementwise_taylor(lib: Any, n: int, steps: int, compiled: bool = True) -> Program:
    return by_taylor(*exponential_of_sine(lib, n), lib, steps, compiled)


NETWORK, TINY = {"width": 64, "batch": 64}, {"width": 3, "batch": 2, "steps": 3}

WORKLOADS = [
    *[Workload(f"derivatives 1 to {k} of a tanh MLP, 3 x 64, batch 64, by Taylor mode", network_taylor, {**NETWORK, "steps": k},
               TINY, Ratio(0.7), tolerance=1e-3) for k in (3, 6, 10)],
    *[Workload(f"derivative {k} of a tanh MLP, 3 x 64, batch 64, by nested jvp", network_nested, {**NETWORK, "steps": k}, TINY,
               Ratio(1.0), tolerance=1e-3) for k in (3, 6)],
    Workload("derivatives 1 to 10 of exp(sin(x)), 100000 numbers, by Taylor mode", elementwise_taylor,
             {"n": 100_000, "steps": 10}, {"n": 4, "steps": 3}, Ratio(1.0), tolerance=1e-3),
    Workload("derivatives 1 to 10 of exp(sin(x)), 10 numbers, by Taylor mode, not compiled", elementwise_taylor,
             {"n": 10, "steps": 10, "compiled": False}, {"n": 4, "steps": 3, "compiled": False}, Ratio(0.3), tolerance=1e-3),
    Workload("a call against the order: tanh MLP, Taylor mode", network_taylor, {**NETWORK, "steps": 10}, TINY,
             AtMostPower(2.2), tolerance=1e-3, kind="scaling", lengths=ORDERS),
    Workload("a call against the order: exp(sin(x)), Taylor mode", elementwise_taylor, {"n": 100_000, "steps": 10},
             {"n": 4, "steps": 3}, AtMostPower(2.2), tolerance=1e-3, kind="scaling", lengths=ORDERS),
]
