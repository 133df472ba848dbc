"""Measures: starts the processes, compares what they computed, and takes their times in turn.

In: workloads and options. Out: for each workload a ``Result``, in which every library has its samples or a reason why it
has none. A library that fails, dies or hangs costs its own cells only.
"""
from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.libraries import environment, persistent_jax_cache
from benchmarks.workload import Verdict, Workload

ROOT = Path(__file__).parent.parent


@dataclass
class Options:
    """How to measure: ``patience`` is how many seconds a process may take for one answer."""

    libraries: tuple[str, ...]
    rounds: int = 7
    seconds: float = 0.2
    threads: int = 2
    tiny: bool = False
    patience: float = 300.0
    device: str = "cpu"


@dataclass
class Result:
    """What was measured of one workload. ``failures`` says why a library has no samples, ``notes`` what else is known."""

    workload: Workload
    samples: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def verdict(self) -> Verdict:
        """funcgrad's figure against the target. It is missed when funcgrad failed, and open when a peer is missing."""
        if "funcgrad" in self.failures:
            return Verdict("-", False)
        if "funcgrad" not in self.samples or any(peer not in self.samples for peer in self.workload.target.needs):
            return Verdict("-", None)
        return self.workload.target.judge(self.samples)


class Failed(Exception):
    """A process could not do what it was asked to do."""


# ---------------------------------------------------------------- processes


def command(mode: str, library: str, options: Options, *words: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.worker", mode, library, str(options.threads), options.device, *words]


class Worker:
    """A process that holds one library; it is started again after it died."""

    def __init__(self, library: str, options: Options, cache: str):
        self.library, self.options, self.cache = library, options, cache
        self.process: subprocess.Popen | None = None
        self.errors: Any = None

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        if self.process is None:
            self.errors = tempfile.TemporaryFile()
            self.process = subprocess.Popen(command("serve", self.library, self.options), cwd=ROOT, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=self.errors,
                                            env=environment(self.options.threads, self.cache, self.options.device))
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            self.process.stdin.flush()
            answer = json.loads(self._line())
        except (BrokenPipeError, Failed) as error:
            reason = str(error) if str(error).startswith("no answer") else self._epitaph()
            self.close()
            raise Failed(reason) from None
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def _line(self) -> bytes:
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(self.options.patience):
                raise Failed(f"no answer in {self.options.patience:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise Failed("died")
        return line

    def _epitaph(self) -> str:
        self.process.wait()
        self.errors.seek(0)
        return ended(self.process.returncode, self.errors.read().decode(errors="replace"))

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.errors.close()
            self.process = None


def ended(status: int, errors: str) -> str:
    """How a process ended, with the last line that it wrote."""
    how = f"the process was ended by signal {-status}" if status < 0 else f"the process ended with status {status}"
    lines = errors.strip().splitlines()
    return f"{how} ({lines[-1][:200]})" if lines else how


def measure_once(words: list[str], variables: dict[str, str], patience: float) -> tuple[float, Any]:
    """Runs a process to its end: its seconds, and the JSON it printed last."""
    start = time.perf_counter()
    try:
        done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer in {patience:g} s") from None
    elapsed = time.perf_counter() - start
    if done.returncode:
        raise Failed(ended(done.returncode, done.stderr))
    answer = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else None
    if isinstance(answer, dict) and "failed" in answer:
        raise Failed(answer["failed"])
    return elapsed, answer


# ---------------------------------------------------------------- agreement


def disagreement(found: list[np.ndarray], expected: list[np.ndarray], tolerance: float) -> str | None:
    """In words how results differ, or None. The error allowed is relative to the array's typical size (its RMS)."""
    if len(found) != len(expected):
        return f"{len(found)} arrays instead of {len(expected)}"
    for i, (a, b) in enumerate(zip(found, expected)):
        if a.shape != b.shape:
            return f"array {i} has the shape {a.shape} instead of {b.shape}"
        if a.dtype.kind == "f" and a.dtype != b.dtype:
            return f"array {i} is {a.dtype} instead of {b.dtype}"
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = b[np.isfinite(b)]
        typical = np.sqrt(np.mean(finite * finite)) if finite.size else 0.0
        allowed = tolerance * (np.abs(b) + typical)
        with np.errstate(invalid="ignore"):  # inf - inf
            error = np.abs(a - b)
        good = (error <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))
        if not good.all():
            worst = np.unravel_index(np.argmax(np.where(good, 0, np.nan_to_num(error, nan=np.inf))), a.shape)
            return f"array {i} differs in {(~good).sum()} of {good.size} places, at {tuple(map(int, worst))}: " \
                   f"{a[worst]:.7g} instead of {b[worst]:.7g}"
    return None


def read_arrays(path: str) -> list[np.ndarray]:
    with np.load(path) as file:
        return [file[name] for name in file.files]


def prepare(result: Result, workers: dict[str, Worker], options: Options, folder: str) -> list[str]:
    """Runs a workload once with every library. Returns the libraries whose values agree; notes why the others do not.

    The values are compared with JAX's, or where it is missing with those of the next library in the table.
    """
    values: dict[str, list[np.ndarray]] = {}
    for library, worker in workers.items():
        path = os.path.join(folder, f"{library}.npz")
        try:
            worker.ask("prepare", workload=result.workload.name, tiny=options.tiny, values=path)
            if library in result.workload.compared():
                values[library] = read_arrays(path)
        except Failed as failure:
            result.failures[library] = str(failure)
    reference = next((library for library in sorted(values, key=lambda name: name != "jax") if library != "funcgrad"), None)
    agreeing = [library for library in workers if library not in result.workload.compared() and library not in result.failures]
    for library, found in values.items():
        if library != reference and reference is not None:
            difference = disagreement(found, values[reference], result.workload.tolerance)
            if difference is not None:
                result.failures[library] = f"differs from {reference}: {difference}"
                continue
        agreeing.append(library)
    return agreeing


# ---------------------------------------------------------------- the kinds of measurement


def in_turn(libraries: list[str], number: int) -> list[str]:
    """The order of a round: every other round goes backwards, so that a drift of the machine favours nobody."""
    return libraries if number % 2 == 0 else libraries[::-1]


def measure_calls(result: Result, workers: dict[str, Worker], agreeing: list[str], options: Options) -> None:
    """Every library times its calls in a process that stays, one library at a time."""
    counts: dict[str, int] = {}
    for library in agreeing:
        try:
            counts[library] = workers[library].ask("calibrate", seconds=options.seconds)["count"]
        except Failed as failure:
            result.failures[library] = str(failure)
    samples: dict[str, list[float]] = {library: [] for library in counts}
    for number in range(options.rounds):
        for library in in_turn(list(counts), number):
            if library in result.failures:
                continue
            try:
                seconds = workers[library].ask("time", count=counts[library])["seconds"]
                samples[library].append(seconds / result.workload.per)
            except Failed as failure:
                result.failures[library] = str(failure)
    result.samples = {library: times for library, times in samples.items() if library not in result.failures}


def measure_processes(result: Result, libraries: list[str], options: Options, folder: str) -> None:
    """Every library makes each measurement in a fresh process."""
    measure = ProcessMeasurement(result.workload, options, folder)
    samples: dict[str, list[float]] = {library: [] for library in libraries}
    rounds = 1 if result.workload.grows else options.rounds
    for number in range(rounds):
        for library in in_turn(libraries, number):
            if library in result.failures:
                continue
            try:
                figure, note = measure(library)
                samples[library].append(figure)
                if note is not None:
                    result.notes.setdefault(library, []).append(note)
            except Failed as failure:
                result.failures[library] = str(failure)
    result.samples = {library: figures for library, figures in samples.items() if library not in result.failures}


class ProcessMeasurement:
    """Makes one measurement in a fresh process. The caches on disk are new each time, but for "warm" filled before."""

    def __init__(self, workload: Workload, options: Options, folder: str):
        self.workload, self.options, self.folder = workload, options, folder
        self.filled: set[str] = set()

    def __call__(self, library: str) -> tuple[float, Any]:
        kind = self.workload.kind
        if kind in ("import", "warm") and library not in self.filled:
            self._run(library)  # the first run writes bytecode and caches
            self.filled.add(library)
        elapsed, answer = self._run(library)
        if kind in ("import", "cold", "warm"):
            return elapsed, answer
        if kind in ("second", "overhead"):
            return answer, None
        return answer["steps" if kind == "memory" else "power"], answer

    def _run(self, library: str) -> tuple[float, Any]:
        options, kind = self.options, self.workload.kind
        if kind == "import":
            return measure_once([sys.executable, "-c", f"import {library}"], environment(options.threads, self.folder),
                                options.patience)
        words = command("once" if kind in ("cold", "warm") else kind, library, options, self.workload.name)
        words += ["tiny"] if options.tiny else []
        if kind == "warm":
            cache = os.path.join(self.folder, "filled")
            variables = {**environment(options.threads, cache), **persistent_jax_cache(cache)}
            return measure_once(words, variables, options.patience)
        with tempfile.TemporaryDirectory(dir=self.folder) as cache:
            return measure_once(words, environment(options.threads, cache), options.patience)


def run_family(workloads: list[Workload], options: Options, report: Any) -> list[Result]:
    """Measures a family; ``report`` is called with each result. Its processes end with it."""
    results = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        workers = {library: Worker(library, options, os.path.join(folder, "cache")) for library in options.libraries}
        try:
            for workload in workloads:
                results.append(run_workload(workload, workers, options, folder))
                report(results[-1])
        finally:
            for worker in workers.values():
                worker.close()
    return results


def run_workload(workload: Workload, workers: dict[str, Worker], options: Options, folder: str) -> Result:
    result = Result(workload)
    taking_part = {library: workers[library] for library in options.libraries if library in workload.libraries()}
    if workload.kind == "import":
        measure_processes(result, list(taking_part), options, folder)
        return result
    agreeing = prepare(result, taking_part, options, folder)
    if workload.kind == "call":
        measure_calls(result, taking_part, agreeing, options)
        return result
    for worker in taking_part.values():
        worker.close()  # they would use processors and memory
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        measure_processes(result, agreeing, options, fresh)
    return result
