"""How long a function takes: tracing, lowering, compiling and running, each by itself.

In: a function and its arguments. Out: a ``Timing``, which prints as a table.

    loss: 4 kernels
      trace       1.2 ms
      lower       0.8 ms     passes and schedule
      compile    91.0 ms     2 kernels compiled, 3 loaded from disk
      run        14.1 us     median of 2000 calls; best 13.8 us
"""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad.compiler.report import duration, walk
from funcgrad.jit import Jitted, jit
from funcgrad.transforms.arguments import function_name
from funcgrad.transforms.derivatives import check_callable

SAMPLES = 20
SHORTEST = 1e-3
"""Seconds that one sample takes at least, so that the clock is fine enough: short calls are repeated."""


@dataclass(frozen=True)
class Timing:
    """Seconds: ``trace``, ``lower``, ``compile``, and ``runs`` of one call each, measured several times."""

    name: str
    trace: float
    lower: float
    compile: float
    runs: tuple[float, ...]
    calls: int
    kernels: int
    compiled: int
    loaded: int

    @property
    def run(self) -> float:
        """The median of the runs."""
        return float(np.median(self.runs))

    @property
    def best(self) -> float:
        return min(self.runs)

    def __str__(self) -> str:
        rows = [("trace", self.trace, ""), ("lower", self.lower, "passes and schedule"),
                ("compile", self.compile, f"{self.compiled} compiled, {self.loaded} loaded from disk"),
                ("run", self.run, f"median of {self.calls} calls; best {duration(self.best)}")]
        head = f"{self.name}: {self.kernels} kernel{'' if self.kernels == 1 else 's'}"
        return "\n".join([head, *[f"  {name:<9}{duration(value):>8}   {note}".rstrip() for name, value, note in rows]])

    __repr__ = __str__


def timeit(f: Callable, *args: Any, seconds: float = 0.5, **kwargs: Any) -> Timing:
    """Traces, compiles and runs ``f(*args, **kwargs)``, and tells how long each took.

    Args:
      f: a function; one that is not jitted is jitted for this. A jitted one keeps its static arguments; it is traced
        anew, its own cache stays as it is, and its arguments are not donated.
      seconds: how long the runs may take altogether; there are at least three.

    Kernels that the process has compiled or loaded already cost nothing, as they do in a program.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> t = fg.timeit(fnp.sin, fnp.ones(3))
    >>> t.kernels, t.trace + t.lower + t.compile + t.run > 0
    (1, True)
    """
    check_callable(f, "timeit")
    fresh = f.fresh() if isinstance(f, Jitted) else jit(f)
    start = time.perf_counter()
    program = fresh.prepare(*args, **kwargs)
    traced = time.perf_counter()
    executable = program.compile()
    compiled = time.perf_counter()
    _sample(fresh, args, kwargs, 1)
    repeats = max(1, min(int(SHORTEST / _sample(fresh, args, kwargs, 1)), 10_000))
    runs: list[float] = []
    begin = time.perf_counter()
    while len(runs) < 3 or len(runs) < SAMPLES and time.perf_counter() - begin < seconds:
        runs.append(_sample(fresh, args, kwargs, repeats))
    making = executable.making
    kernels = sum(step.kind == "kernel" for step, _, _ in walk(executable.schedule.steps))
    return Timing(function_name(f), traced - start, compiled - traced - making.compile_seconds, making.compile_seconds,
                  tuple(runs), repeats * len(runs), kernels, making.misses, making.hits)


def _sample(f: Callable, args: tuple, kwargs: dict, repeats: int) -> float:
    """Seconds for one of some calls."""
    start = time.perf_counter()
    for _ in range(repeats):
        f(*args, **kwargs)
    return (time.perf_counter() - start) / repeats
