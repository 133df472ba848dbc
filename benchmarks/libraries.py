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

LIBRARIES = ("funcgrad", "jax", "torch", "torch_compiled", "autograd", "numpy", "numba", "copy")
"""In the order of the table's columns; ``copy`` is no library, but a copy of as many bytes on the GPU."""

MODULES = {"torch_compiled": "torch", "copy": "cupy"}
"""The module of a library whose name it is not."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "FUNCGRAD_NUM_THREADS")


class Library:
    """A module of functions such as ``jax``, its NumPy namespace as ``np``, and how to wait for a result."""

    def __init__(self, name: str, module: ModuleType, np_like: ModuleType):
        self.name, self.module, self.np = name, module, np_like

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def ready(self, result: Any) -> None:
        """Returns when the result has been computed: at once in libraries that compute before they return."""

    def placed(self, args: tuple) -> tuple:
        """The arguments of a program where the library computes."""
        return args


class Funcgrad(Library):
    """``device`` is where it computes."""

    def __init__(self, device: str):
        super().__init__("funcgrad", importlib.import_module("funcgrad"), importlib.import_module("funcgrad.numpy"))
        self.device = device
        if device != "cpu":
            self.ready = self.module.block_until_ready

    def placed(self, args: tuple) -> tuple:
        return args if self.device == "cpu" else self.module.device_put(args, self.device)


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


class Torch(Uncompiled):
    """On a GPU it computes while Python goes on, so its results are waited for."""

    def __init__(self, name: str, module: ModuleType, device: str):
        super().__init__(name, module, module)
        self.device = device
        module.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        if device != "cpu":
            module.set_default_device(device)
            self.ready = lambda result: module.cuda.synchronize()

    def placed(self, args: tuple) -> tuple:
        return tuple([x.detach().to(self.device) for x in args])


class Copy(Uncompiled):
    """CuPy, which copies."""

    def ready(self, result: Any) -> None:
        self.module.cuda.get_current_stream().synchronize()


def installed(library: str) -> bool:
    return importlib.util.find_spec(MODULES.get(library, library)) is not None


def load(name: str, wide: bool = False, device: str = "cpu") -> Library:
    """Imports a library. ``wide`` turns on JAX's 64-bit types, which all other libraries have on."""
    module = importlib.import_module(MODULES.get(name, name))
    if name == "jax":
        module.config.update("jax_enable_x64", wide)
        return Jax(name, module, importlib.import_module("jax.numpy"))
    if name == "funcgrad":
        return Funcgrad(device)
    if module.__name__ == "torch":
        return Torch(name, module, device)
    if name == "copy":
        return Copy(name, module, module)
    return Uncompiled(name, module, importlib.import_module("autograd.numpy") if name == "autograd" else module)


def environment(threads: int, cache: str, device: str = "cpu") -> dict[str, str]:
    """The environment of a worker: so many threads, JAX on the device, and caches that lie in the folder ``cache``.

    The threads of GNU OpenMP (torch, Numba) sleep while they wait: on processors that are shared with other programs,
    spinning costs them milliseconds at each barrier.
    """
    dropped = ("PYTHONDONTWRITEBYTECODE", "JAX_COMPILATION_CACHE_DIR")
    variables = {key: value for key, value in os.environ.items() if key not in dropped}
    variables.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    variables.update(JAX_PLATFORMS=device.split(":")[0], XLA_PYTHON_CLIENT_PREALLOCATE="false", OMP_WAIT_POLICY="PASSIVE",
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
