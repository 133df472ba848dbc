"""``python -m benchmarks``: each library in a process of its own, interleaved, medians and ratios in one table.

    python -m benchmarks                  every installed library, five rounds
    python -m benchmarks --rounds 1 --seconds 0.01     a quick look
    python -m benchmarks --json out.json  the figures as JSON too
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.workloads import LIBRARIES, TINY, installed, workloads

TARGETS = {"gradient of a scalar expression": "at most 6 us an operation, below autograd and torch",
           "staging": "at most 60 us an equation", "flattening": "at most 6 us for 20 leaves"}


def time_once(run: Any, seconds: float) -> float:
    """Microseconds for one run: the fastest of three loops of about ``seconds`` each."""
    count, elapsed = 1, 0.0
    while True:
        start = time.perf_counter()
        for _ in range(count):
            run()
        elapsed = time.perf_counter() - start
        if elapsed > seconds / 4:
            break
        count = max(count * 2, int(count * seconds / 4 / max(elapsed, 1e-9)))
    best = elapsed / count
    for _ in range(2):
        start = time.perf_counter()
        for _ in range(count):
            run()
        best = min(best, (time.perf_counter() - start) / count)
    return best * 1e6


def worker(library: str, seconds: float) -> None:
    """Runs in its own process: times every workload of one library and prints JSON."""
    results = {}
    for name, work in workloads(library).items():
        work.run()
        results[name] = {"us": time_once(work.run, seconds) / work.per, "value": work.value}
    print(json.dumps(results))


def run_worker(library: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "--worker", library, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def import_milliseconds(module: str) -> float:
    """A fresh process, its own start included, with the bytecode of the module already on disk."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=environment)
    return (time.perf_counter() - start) * 1e3


def check_agreement(rounds: dict[str, list[dict[str, Any]]]) -> None:
    """All libraries computed the same before their times are compared."""
    values: dict[str, tuple[str, Any]] = {}
    for library, results in rounds.items():
        for name, entry in results[0].items():
            known = values.setdefault(name, (library, entry["value"]))
            np.testing.assert_allclose(entry["value"], known[1], rtol=1e-6, err_msg=f"{name}: {library} and {known[0]} differ")


def table(rounds: dict[str, list[dict[str, Any]]], imports: dict[str, list[float]]) -> list[str]:
    medians = {library: {name: statistics.median(r[name]["us"] for r in results) for name in results[0]}
               for library, results in rounds.items()}
    libraries = list(rounds)
    lines = [f"{'workload (us)':<42}" + "".join(f"{library:>12}" for library in libraries) + "   target"]

    def row(label: str, values: dict[str, float], target: str = "") -> None:
        cells = "".join(f"{values[library]:>12.2f}" if library in values else f"{'-':>12}" for library in libraries)
        lines.append(f"{label:<42}{cells}   {target}")

    for name, target in TARGETS.items():
        row(name, {library: m[name] for library, m in medians.items() if name in m}, target)
    for name in TINY:
        keys = [f"tiny {name}, size {size}" for size in (1, 10, 100)]
        row(f"tiny {name} (mean of sizes 1, 10, 100)",
            {library: statistics.mean(m[k] for k in keys) for library, m in medians.items() if keys[0] in m})
    ours, numpys = medians["funcgrad"], medians.get("numpy", {})
    pairs = list(zip(rounds["funcgrad"], rounds["numpy"], strict=True))
    ratios = sorted((statistics.median(a[k]["us"] / b[k]["us"] for a, b in pairs), k) for k in numpys if k in ours)
    if ratios:
        lines.append(f"tiny operations, ratio to NumPy: median {statistics.median(r for r, _ in ratios):.2f}, "
                     f"worst {ratios[-1][0]:.2f} ({ratios[-1][1]}); target: at most 4")
    base = statistics.median(imports["numpy"])
    extra = statistics.median(a - b for a, b in zip(imports["funcgrad"], imports["numpy"], strict=True))
    lines.append("import (ms): " + ", ".join(f"{m} {statistics.median(t):.0f}" for m, t in imports.items())
                 + f"; funcgrad is NumPy's {base:.0f} + {extra:.0f}; target: at most + 100")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Times funcgrad beside its peers.")
    parser.add_argument("--rounds", type=int, default=5, help="how often every library is run, in turn (default 5)")
    parser.add_argument("--seconds", type=float, default=0.1, help="time for one loop of one workload (default 0.1)")
    parser.add_argument("--json", help="write the figures to this file too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.seconds)
        return
    present = [library for library in LIBRARIES if installed(library)]
    for library in LIBRARIES:
        if library not in present:
            print(f"{library} is not installed, so it is left out (pip install -e '.[bench]')")
    rounds: dict[str, list[dict[str, Any]]] = {library: [] for library in present}
    imports: dict[str, list[float]] = {module: [] for module in present if module in ("numpy", "funcgrad", "jax")}
    for module in imports:
        import_milliseconds(module)  # writes the bytecode
    for number in range(options.rounds):
        for library in present:
            rounds[library].append(run_worker(library, options.seconds))
        for module in imports:
            imports[module].append(import_milliseconds(module))
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    check_agreement(rounds)
    machine = f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores"
    print(f"{machine}, medians of {options.rounds} rounds")
    print("\n".join(table(rounds, imports)))
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"rounds": rounds, "imports": imports}, file, indent=1)


if __name__ == "__main__":
    main()
