"""The libraries that are compared, each behind the same few names.

In: the name of a library. Out: a bundle with ``np``, ``grad``, ``jit``, ``vmap``, ``lax`` and so on, so that a workload
that is written once in JAX's style runs with each library that has the functions it uses.

    >>> lib = load("numpy")
    >>> lib.jit(lambda x: lib.np.sum(x))(lib.np.ones(3)).item()
    3.0
"""
from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType
from typing import Any

LIBRARIES = ("funcgrad", "jax", "torch", "autograd", "numpy", "numba")
"""In the order of the table's columns."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "FUNCGRAD_NUM_THREADS")


class Library:
    """A module of functions such as ``jax``, its NumPy namespace as ``np``, and how to wait for a result."""

    def __init__(self, name: str, module: ModuleType, np_like: ModuleType):
        self.name, self.module, self.np = name, module, np_like

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def ready(self, result: Any) -> None:
        """Returns when the result has been computed: at once in libraries that compute before they return."""


class Jax(Library):
    def ready(self, result: Any) -> None:
        # All outputs of one compiled call become ready together, so it is enough to wait for the first.
        while isinstance(result, (dict, list, tuple)):
            result = next(iter(result.values())) if isinstance(result, dict) else result[0]
        if hasattr(result, "block_until_ready"):
            result.block_until_ready()


class Uncompiled(Library):
    """A library without ``jit``: the function runs as it is."""

    @staticmethod
    def jit(function: Any) -> Any:
        return function


def installed(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def load(name: str, wide: bool = False) -> Library:
    """Imports a library. ``wide`` turns on JAX's 64-bit types, which all other libraries have on."""
    module = importlib.import_module(name)
    if name == "jax":
        module.config.update("jax_enable_x64", wide)
        return Jax(name, module, importlib.import_module("jax.numpy"))
    if name == "funcgrad":
        return Library(name, module, importlib.import_module("funcgrad.numpy"))
    if name == "torch":
        module.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return Uncompiled(name, module, importlib.import_module("autograd.numpy") if name == "autograd" else module)


def environment(threads: int, cache: str) -> dict[str, str]:
    """The environment of a worker: so many threads, JAX on the CPU, and caches that lie in the folder ``cache``.

    The threads of GNU OpenMP (torch, Numba) sleep while they wait: on processors that are shared with other programs,
    spinning costs them milliseconds at each barrier.
    """
    dropped = ("PYTHONDONTWRITEBYTECODE", "JAX_COMPILATION_CACHE_DIR")
    variables = {key: value for key, value in os.environ.items() if key not in dropped}
    variables.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    variables.update(JAX_PLATFORMS="cpu", OMP_WAIT_POLICY="PASSIVE",
                     FUNCGRAD_CACHE_DIR=os.path.join(cache, "funcgrad"), NUMBA_CACHE_DIR=os.path.join(cache, "numba"))
    return variables


def persistent_jax_cache(cache: str) -> dict[str, str]:
    """Variables with which JAX keeps every compiled program on disk."""
    return {"JAX_COMPILATION_CACHE_DIR": os.path.join(cache, "jax"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def limit_processors(threads: int) -> None:
    """Lets this process use so many processors: XLA starts as many threads as it may use processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
