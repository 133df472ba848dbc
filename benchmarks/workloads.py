"""What is timed, once for each library: a name, the work, and what one unit of it is.

In: the name of a library. Out: for each workload a callable that does the work once, and a value that all libraries must
agree on before their times are compared.
"""
from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LIBRARIES = ("funcgrad", "numpy", "autograd", "torch", "jax")
SCALAR_OPERATIONS = 16
STAGED_EQUATIONS = 200
LEAVES = 20


class Work(NamedTuple):
    """One workload of one library. ``per`` divides its time (operations, equations); ``value`` is compared."""

    run: Callable[[], Any]
    per: int
    value: Any


def installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


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


def long_program(sin: Callable) -> Callable:
    """A function with 200 equations."""

    def f(x: Any) -> Any:
        for _ in range(STAGED_EQUATIONS // 2):
            x = sin(x) * 0.5
        return x

    return f


def nested_tree(make: Callable[[], Any]) -> list[dict[str, Any]]:
    return [{"weight": make(), "bias": make()} for _ in range(LEAVES // 2)]


TINY = ("add", "multiply", "sin", "exp", "maximum", "sum", "reshape", "index", "slice", "scalar")


def tiny_operations(np_like: Any, size: int) -> dict[str, Callable]:
    """Operations on an array of a few elements, outside of any transformation."""
    x, y = (np_like.asarray(np.linspace(0.1, 0.9, size)) for _ in range(2))
    return {"add": lambda: np_like.add(x, y), "multiply": lambda: x * y, "sin": lambda: np_like.sin(x),
            "exp": lambda: np_like.exp(x), "maximum": lambda: np_like.maximum(x, y), "sum": lambda: np_like.sum(x),
            "reshape": lambda: np_like.reshape(x, (-1, 1)), "index": lambda: x[0], "slice": lambda: x[1:],
            "scalar": lambda: x * 2.0}


def workloads(library: str) -> dict[str, Work]:
    """All workloads a library takes part in."""
    return {"funcgrad": _funcgrad, "numpy": _numpy, "autograd": _autograd, "torch": _torch, "jax": _jax}[library]()


def _tiny(np_like: Any) -> dict[str, Work]:
    return {f"tiny {name}, size {size}": Work(run, 1, np.asarray(run()).tolist())
            for size in (1, 10, 100) for name, run in tiny_operations(np_like, size).items()}


def _numpy() -> dict[str, Work]:
    return _tiny(np)


def _funcgrad() -> dict[str, Work]:
    # The program is wrapped anew each time it is staged: JAX would find the jaxpr of the same function in its cache.
    import funcgrad as fg
    import funcgrad.numpy as fnp
    gradient = fg.grad(scalar_expression(fnp.sin, fnp.cos, fnp.exp))
    program = long_program(fnp.sin)
    tree = nested_tree(lambda: np.ones(2))
    return {"gradient of a scalar expression": Work(lambda: gradient(1.2), SCALAR_OPERATIONS, float(gradient(1.2))),
            "staging": Work(lambda: fg.make_jaxpr(lambda x: program(x))(0.3), STAGED_EQUATIONS, float(program(0.3))),
            "flattening": Work(lambda: fg.tree.flatten(tree), 1, len(fg.tree.leaves(tree))), **_tiny(fnp)}


def _autograd() -> dict[str, Work]:
    import autograd
    import autograd.numpy as anp
    gradient = autograd.grad(scalar_expression(anp.sin, anp.cos, anp.exp))
    return {"gradient of a scalar expression": Work(lambda: gradient(1.2), SCALAR_OPERATIONS, float(gradient(1.2)))}


def _torch() -> dict[str, Work]:
    import torch
    torch.set_num_threads(1)  # one scalar: more threads only wait
    f = scalar_expression(torch.sin, torch.cos, torch.exp)

    def gradient() -> Any:
        x = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
        return torch.autograd.grad(f(x), x)[0]

    return {"gradient of a scalar expression": Work(gradient, SCALAR_OPERATIONS, float(gradient()))}


def _jax() -> dict[str, Work]:
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_enable_x64", True)
    gradient = jax.grad(scalar_expression(jnp.sin, jnp.cos, jnp.exp))
    program = long_program(jnp.sin)
    tree = nested_tree(lambda: np.ones(2))
    return {"gradient of a scalar expression": Work(lambda: gradient(1.2), SCALAR_OPERATIONS, float(gradient(1.2))),
            "staging": Work(lambda: jax.make_jaxpr(lambda x: program(x))(0.3), STAGED_EQUATIONS, float(program(0.3))),
            "flattening": Work(lambda: jax.tree.flatten(tree), 1, len(jax.tree.leaves(tree))), **_tiny(jnp)}
