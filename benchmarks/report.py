"""Shows results: as a table of text, in Markdown, as JSON, as a picture."""
from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from benchmarks.libraries import LIBRARIES
from benchmarks.runner import Options, Result
from benchmarks.workload import Ratio

Results = Mapping[str, list[Result]]
"""The results of each family."""

OUTCOMES = {True: "reached", False: "MISSED", None: "open"}


def quantity(figure: float, kind: str) -> str:
    """A figure with its unit and three digits."""
    if kind == "overhead":
        return f"{figure:+.1%}"
    if kind == "power":
        return f"n^{figure:.2f}"
    steps = ((1e6, "MB"), (1e3, "kB"), (0, "B")) if kind == "memory" else ((1, "s"), (1e-3, "ms"), (1e-6, "us"), (0, "ns"))
    size, unit = next((size, unit) for size, unit in steps if figure >= size)
    value = figure / (size or (1 if kind == "memory" else 1e-9))
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"


def cell(result: Result, library: str) -> str:
    if library in result.samples and result.workload.grows:
        longest = result.notes[library][0]["seconds"][-1]
        return f"{quantity(longest, 'call')}, {quantity(result.samples[library][0], 'power')}"
    if library in result.samples:
        return quantity(statistics.median(result.samples[library]), result.workload.kind)
    if library in result.failures:
        return "differs" if result.failures[library].startswith("differs") else "failed"
    return ""


def rows(results: list[Result], libraries: tuple[str, ...]) -> list[list[str]]:
    """For each result: the workload, a cell for each library, the ratio or other figure, target, outcome."""
    table = []
    for result in results:
        figure, reached = result.verdict()
        table.append([result.workload.name, *[cell(result, library) for library in libraries], figure,
                      result.workload.target.text, OUTCOMES[reached]])
    return table


def header(libraries: tuple[str, ...]) -> list[str]:
    return ["workload", *libraries, "ratio", "target", ""]


def failures(results: Results) -> list[str]:
    return [f"{result.workload.name}: {library} failed: {reason}" for family in results.values() for result in family
            for library, reason in result.failures.items()]


def summary(results: Results) -> str:
    outcomes = [result.verdict().reached for family in results.values() for result in family]
    return f"{outcomes.count(True)} targets reached, {outcomes.count(False)} missed, {outcomes.count(None)} not judged"


def machine(options: Options) -> str:
    """One line: processor, threads, versions, method."""
    versions = [f"{library} {metadata.version(library)}" for library in options.libraries if _distribution(library)]
    return (f"{processor()}, {options.threads} threads, Python {platform.python_version()}, {', '.join(versions)}; "
            f"medians of {options.rounds} rounds{', tiny sizes: the times mean nothing' if options.tiny else ''}")


def _distribution(library: str) -> bool:
    try:
        metadata.version(library)
    except metadata.PackageNotFoundError:
        return False
    return True


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def as_text(results: Results, options: Options) -> str:
    columns = tuple(library for library in LIBRARIES if library in options.libraries)
    table = {family: rows(found, columns) for family, found in results.items()}
    everything = [header(columns), *[row for part in table.values() for row in part]]
    widths = [max(len(row[i]) for row in everything) for i in range(len(everything[0]))]

    def line(row: list[str]) -> str:
        return "  ".join([row[0].ljust(widths[0]), *[text.rjust(width) for text, width in zip(row[1:], widths[1:])]]).rstrip()

    lines = [machine(options), "", line(header(columns))]
    for family, part in table.items():
        lines += ["", f"-- {family}", *map(line, part)]
    return "\n".join([*lines, "", *failures(results), summary(results)])


def as_markdown(results: Results, options: Options) -> str:
    columns = tuple(library for library in LIBRARIES if library in options.libraries)
    lines = [machine(options) + ".", ""]
    for family, found in results.items():
        lines += [f"**{family}**", "", "| " + " | ".join(header(columns)) + " |", "|---" * (len(columns) + 4) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in rows(found, columns)] + [""]
    return "\n".join([*lines, *[f"- {failure}" for failure in failures(results)], "", summary(results) + "."])


def as_json(results: Results, options: Options) -> dict[str, Any]:
    return {"machine": machine(options), "processors": os.cpu_count(), "tiny": options.tiny, "families": {
        family: [{"workload": result.workload.name, "kind": result.workload.kind, "samples": result.samples,
                  "failures": result.failures, "notes": result.notes, "figure": result.verdict().figure,
                  "target": result.workload.target.text, "reached": result.verdict().reached} for result in found]
        for family, found in results.items()}}


def plot(results: Results, path: str) -> bool:
    """Draws the ratios to JAX beside their targets. False if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    shown = [(result.workload.name, result.workload.target.ratio(result.samples), result.workload.target.limit)
             for found in results.values() for result in found
             if isinstance(result.workload.target, Ratio) and result.workload.target.needs == ("jax",)
             and {"funcgrad", "jax"} <= set(result.samples)][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.26 * len(shown)), layout="constrained")
    axes = figure.subplots()
    places = range(len(shown))
    colours = ["tab:green" if ratio <= limit else "tab:red" for _, ratio, limit in shown]
    axes.hlines(places, 1, [ratio for _, ratio, _ in shown], colors=colours, linewidth=5)
    axes.scatter([limit for *_, limit in shown], places, marker="|", s=150, color="black", zorder=3, label="target")
    axes.set(xscale="log", xlabel="funcgrad / jax (below 1 is faster)", yticks=list(places), title="Time beside jitted JAX")
    axes.set_yticklabels([name for name, *_ in shown], fontsize=8)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.legend(loc="best")
    figure.savefig(path, dpi=150)
    return True
