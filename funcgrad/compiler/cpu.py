"""The processor: threads, and the native functions of the virtual machine.

In: nothing. Out: addresses that a program's head holds, and ``execute``, which runs a frame. The threads are those of
Numba's threading layers, loaded without Numba itself: Intel's TBB if its library is there, else OpenMP, else none. A
forked process goes on with TBB; with OpenMP it goes on with one thread.
"""
from __future__ import annotations

import ctypes
import functools
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funcgrad.compiler.kernel import function_address
from funcgrad.errors import message


@functools.cache
def execute_address() -> int:
    """The address of what runs a frame of a program, both given by address.

    The function has no arguments of its own: it takes the two that Numba's calling convention puts before them.
    """
    return function_address("execute", 0)


@functools.cache
def execute() -> Callable[[int, int], None]:
    """The same, called from Python without the interpreter's lock."""
    return ctypes.CFUNCTYPE(None, ctypes.c_size_t, ctypes.c_size_t)(execute_address())


@functools.cache
def worker() -> int:
    """The address of what runs the pieces of one instruction."""
    return function_address("work", 2)


# ---------------------------------------------------------------- threads

_threads = ctypes.c_int64(0)
"""How many; machine code reads it. 0: not asked for yet."""
_openmp = _alone = False


def _after_fork() -> None:
    """GNU's OpenMP ends a forked process that uses it: the child does without it."""
    global _alone
    _alone = _openmp
    if _alone:
        _threads.value = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def num_threads() -> int:
    """How many threads kernels run on: what was set, else FUNCGRAD_NUM_THREADS, else the processors of this process."""
    if not _threads.value:
        text = os.environ.get("FUNCGRAD_NUM_THREADS", "")
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        _threads.value = _checked(int(text) if text.isdigit() else text) if text else available
    return _threads.value


def threads_address() -> int:
    """Where machine code finds how many threads there are."""
    num_threads()
    return ctypes.addressof(_threads)


def set_num_threads(n: int) -> None:
    """Sets how many threads kernels and matrix products run on. Results do not depend on it.

    Raises ValueError unless n is a positive integer.

    >>> fg.set_num_threads(2)
    """
    n = _checked(n)
    _threads.value = 1 if _alone else n


def _checked(n: Any) -> int:
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(message("the number of threads must be a positive integer", repr(n), "1, 2, ...",
                                 "fg.set_num_threads(2), or FUNCGRAD_NUM_THREADS=2 before the start"))
    return n


@functools.cache
def parallel_for() -> int:
    """The address of the threading layer's loop, or 0 if there is none."""
    for name, prepare in (("tbbpool", _load_tbb), ("omppool", lambda: True)):
        if not prepare():
            continue
        module = _extension(name)
        if module is not None:
            global _openmp
            _openmp = name == "omppool"
            ctypes.CFUNCTYPE(None, ctypes.c_int)(module.launch_threads)(os.cpu_count() or 1)
            return module.parallel_for
    return 0


def _load_tbb() -> bool:
    """Loads the library of the ``tbb`` package, which the loader does not find by itself."""
    for place in (Path(sys.prefix) / "lib" / "libtbb.so.12", Path("libtbb.so.12")):
        try:
            ctypes.CDLL(str(place), mode=ctypes.RTLD_GLOBAL)
            return True
        except OSError:
            continue
    return False


def _extension(name: str) -> Any:
    """An extension module of Numba's, without the import of Numba."""
    numba = importlib.util.find_spec("numba")
    if numba is None or numba.origin is None:
        return None
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(numba.origin).parent / "np" / "ufunc" / f"{name}{suffix}"
        if path.exists():
            loader = importlib.machinery.ExtensionFileLoader(f"numba.np.ufunc.{name}", str(path))
            spec = importlib.util.spec_from_file_location(loader.name, path, loader=loader)
            try:
                module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
                loader.exec_module(module)
                return module
            except ImportError:
                return None
    return None
