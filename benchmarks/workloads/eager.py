"""What is not jitted: the cost of tracing, of one operation, of a tree, of the import. In float64."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.workload import AtMost, Extra, Program, Ratio, Workload

OPERATIONS, EQUATIONS, LEAVES = 16, 200, 20
TINY = ("add", "multiply", "sin", "exp", "maximum", "sum", "reshape", "index", "slice", "scalar")
TINY_SIZES = (1, 10, 100)


def scalar_expression(sin: Callable, cos: Callable, exp: Callable) -> Callable:
    """A function of one scalar with 16 operations."""

    def f(x: Any) -> Any:
        a = x * x
        b = sin(a)
        c = b + x
        d = c * b
        e = exp(d * 0.1)
        g = e - a
        h = g * 0.5
        i = cos(h)
        j = i + e
        k = j * d
        m = sin(k - 1.0)
        return m * i + j

    return f


def gradient(lib: Any) -> Program:
    return lib.grad(scalar_expression(lib.np.sin, lib.np.cos, lib.np.exp)), (1.2,)


def gradient_torch() -> Program:
    import torch
    torch.set_num_threads(1)  # one scalar: more threads only wait
    f = scalar_expression(torch.sin, torch.cos, torch.exp)

    def run(value: float) -> Any:
        x = torch.tensor(value, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(f(x), x)[0]

    return run, (1.2,)


def staging(lib: Any) -> Program:
    """The program is wrapped anew each time: JAX would find the jaxpr of the same function in its cache."""
    def program(x: Any) -> Any:
        for _ in range(EQUATIONS // 2):
            x = lib.np.sin(x) * 0.5
        return x

    return lambda x: len(lib.make_jaxpr(lambda x: program(x))(x).eqns), (0.3,)


def flattening(lib: Any) -> Program:
    tree = [{"weight": np.ones(2), "bias": np.ones(2)} for _ in range(LEAVES // 2)]
    return lambda tree: lib.tree.flatten(tree)[0], (tree,)


def tiny_operation(lib: Any, operation: str) -> Program:
    """One operation, called once for each of three sizes."""
    x = lib.np
    call = {"add": lambda a: x.add(a, a), "multiply": lambda a: a * a, "sin": lambda a: x.sin(a), "exp": lambda a: x.exp(a),
            "maximum": lambda a: x.maximum(a, a), "sum": lambda a: x.sum(a), "reshape": lambda a: x.reshape(a, (-1, 1)),
            "index": lambda a: a[0], "slice": lambda a: a[1:], "scalar": lambda a: a * 2.0}[operation]
    return lambda *arrays: [call(a) for a in arrays], tuple(x.asarray(np.linspace(0.1, 0.9, size)) for size in TINY_SIZES)


WORKLOADS = [
    Workload("gradient of a scalar, per operation", gradient, target=AtMost(6, below=("autograd", "torch")), per=OPERATIONS,
             wide=True, also=("autograd",), peers={"torch": gradient_torch}),
    Workload("staging, per equation", staging, target=AtMost(60), per=EQUATIONS, wide=True),
    Workload("flattening a tree of 20 leaves", flattening, target=AtMost(6), wide=True),
    *[Workload(f"eager {name}, mean of sizes 1, 10, 100", tiny_operation, {"operation": name}, target=Ratio(4, "numpy"),
               per=len(TINY_SIZES), wide=True, also=("numpy",)) for name in TINY],
    Workload("import", None, target=Extra(0.1, "numpy"), kind="import", also=("numpy",)),
]
