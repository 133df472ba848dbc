"""The process that runs one library: it answers the runner's requests, or makes one measurement and ends.

    python -m benchmarks.worker serve jax 2 cpu          requests as lines of JSON on the standard input, answers on the output
    python -m benchmarks.worker once jax 2 cpu NAME      builds the workload, calls it once, and ends
    python -m benchmarks.worker second|memory|growth|scaling|overhead jax 2 cpu NAME      prints one number as JSON

The third word is the number of threads, the fourth the device; ``tiny`` as a last word chooses small sizes.
"""
from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.libraries import Library, limit_processors, load
from benchmarks.workload import Program, Workload, growth_power
from benchmarks.workloads import BY_NAME

TINY_LENGTHS = (2, 4)
MEMORY_CALLS = 5
OVERHEAD_TURNS = 31


def arrays(result: Any) -> Iterator[np.ndarray]:
    """The leaves of a result as NumPy arrays, in an order that does not depend on the library."""
    if isinstance(result, dict):
        for key in sorted(result):
            yield from arrays(result[key])
    elif isinstance(result, (list, tuple)):
        for item in result:
            yield from arrays(item)
    else:
        yield np.asarray(result.detach().cpu() if hasattr(result, "detach") else result)


def timed(lib: Library, program: Program, count: int = 1) -> float:
    """Seconds for one call, as the mean of ``count`` calls."""
    function, args = program
    ready = lib.ready
    start = time.perf_counter()
    for _ in range(count):
        ready(function(*args))
    return (time.perf_counter() - start) / count


def calls_in(lib: Library, program: Program, seconds: float) -> int:
    """How many calls take about so many seconds."""
    count = 1
    while (elapsed := timed(lib, program, count) * count) < seconds / 4:
        count = max(2 * count, int(count * seconds / 4 / max(elapsed, 1e-9)))
    return max(1, round(count * seconds / max(elapsed, 1e-9)))


def reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]


class Server:
    """Holds one workload at a time."""

    def __init__(self, library: str, device: str = "cpu"):
        self.name, self.device = library, device
        self.libraries: dict[bool, Library] = {}
        self.lib: Library | None = None
        self.program: Program | None = None

    def prepare(self, workload: str, tiny: bool, values: str) -> dict[str, Any]:
        """Builds a workload, calls it, and writes its values to a file."""
        self.program = None
        work = BY_NAME[workload]
        self.lib = load(self.name, work.wide, self.device)
        function, args = work.program(self.lib, tiny)
        program = function, self.lib.placed(args)
        start = time.perf_counter()
        result = program[0](*program[1])
        self.lib.ready(result)
        first = time.perf_counter() - start
        if self.name in work.compared():
            np.savez(values, *arrays(result))
        self.program = program
        return {"first": first}

    def calibrate(self, seconds: float) -> dict[str, Any]:
        timed(self.lib, self.program, 2)  # some libraries do not settle before the third call
        return {"count": calls_in(self.lib, self.program, seconds)}

    def time(self, count: int) -> dict[str, Any]:
        return {"seconds": timed(self.lib, self.program, count)}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        do: Callable[..., dict[str, Any]] = getattr(self, request.pop("do"))
        try:
            return do(**request)
        except Exception as error:  # any failure of a library is a cell of the table
            return {"failed": reason(error)}


def serve(library: str, device: str) -> None:
    # What a library prints must not be taken for an answer.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(library, device)
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), file=output, flush=True)


# ---------------------------------------------------------------- one measurement in a process of its own


def once(lib: Library, work: Workload, tiny: bool) -> dict[str, float]:
    """One call; the runner times the whole process."""
    return {"call": timed(lib, work.program(lib, tiny))}


def second(lib: Library, work: Workload, tiny: bool) -> float:
    """Seconds of the first call with the second sizes, after calls with the first."""
    program = work.program(lib, tiny)
    timed(lib, program, 2)
    _, args = work.program(lib, tiny, **(work.second_tiny if tiny else work.second))
    return timed(lib, (program[0], args))


def overhead(lib: Library, work: Workload, tiny: bool) -> float:
    """How much longer the program takes than its argument, a function that does the same: the median of many turns."""
    function, (by_hand,) = work.program(lib, tiny)
    turns = [(timed(lib, (function, (by_hand,))), timed(lib, (by_hand, ()))) for _ in range(2 if tiny else OVERHEAD_TURNS)]
    return statistics.median(a / b for a, b in turns[1:]) - 1


def status(field: str) -> int:
    """Bytes from a line of the kernel's account of this process."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def memory(lib: Library, work: Workload, tiny: bool) -> dict[str, float]:
    """How far the resident memory rises above what it was with library loaded, arguments made, and a tiny step compiled.

    The peak of the first call holds the compiler's memory too; for ``steps`` the kernel's high-water mark is set back
    after that call, so it is what the step needs: temporaries, results, and what the library keeps between calls.
    """
    timed(lib, work.program(lib, tiny=True), 2)
    program = work.program(lib, tiny)
    before = status("VmRSS")
    timed(lib, program)
    first = status("VmHWM") - before
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    timed(lib, program, MEMORY_CALLS)
    return {"steps": max(1, status("VmHWM") - before), "with compilation": max(1, first)}


def growth(lib: Library, work: Workload, tiny: bool) -> dict[str, Any]:
    """Seconds to trace, compile and run once, for programs of several lengths; the power is that of the longer ones."""
    timed(lib, work.program(lib, tiny, steps=1))
    steps = TINY_LENGTHS if tiny else work.lengths
    seconds = [timed(lib, work.program(lib, tiny, steps=n)) for n in steps]
    return {"power": growth_power(list(steps[-3:]), seconds[-3:]), "steps": steps, "seconds": seconds}


def scaling(lib: Library, work: Workload, tiny: bool) -> dict[str, Any]:
    """Seconds for a call of a compiled program, for several lengths; the best of a few measurements."""
    steps = TINY_LENGTHS if tiny else work.lengths
    seconds = []
    for n in steps:
        program = work.program(lib, tiny, steps=n)
        count = calls_in(lib, program, 0.02)
        seconds.append(min(timed(lib, program, count) for _ in range(5)))
    return {"power": growth_power(list(steps), seconds), "steps": steps, "seconds": seconds}


MEASUREMENTS: dict[str, Callable[..., Any]] = {"once": once, "second": second, "memory": memory, "growth": growth,
                                               "scaling": scaling, "overhead": overhead}


def main(mode: str, library: str, threads: str, device: str, name: str = "", size: str = "") -> None:
    limit_processors(int(threads))
    if mode == "serve":
        serve(library, device)
        return
    work = BY_NAME[name]
    try:
        print(json.dumps(MEASUREMENTS[mode](load(library, work.wide, device), work, size == "tiny")))
    except Exception as error:
        print(json.dumps({"failed": reason(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
