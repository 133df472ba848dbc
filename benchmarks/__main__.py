"""``python -m benchmarks``: every workload with every installed library, and what was to be reached.

    python -m benchmarks                           the whole table: about half an hour
    python -m benchmarks --only transformer        the workloads whose name or family contains a word
    python -m benchmarks --tiny                    small sizes, one round: does everything run?
    python -m benchmarks --device cuda             the workloads of one GPU, and their targets
    python -m benchmarks --json out.json --plot out.png --markdown
"""
from __future__ import annotations

import argparse
import json
import os
import re
import sys

from benchmarks.libraries import LIBRARIES, installed
from benchmarks.report import as_json, as_markdown, as_text, plot
from benchmarks.runner import Options, Result, run_family
from benchmarks.workload import Workload
from benchmarks.workloads import FAMILIES, GPU_FAMILIES


def chosen(patterns: list[str], device: str = "cpu") -> dict[str, list[Workload]]:
    """The workloads whose name, or whose family's name, matches one of the patterns."""
    def wanted(family: str, workload: Workload) -> bool:
        return not patterns or any(re.search(p, f"{family}: {workload.name}", re.IGNORECASE) for p in patterns)

    families = FAMILIES if device == "cpu" else GPU_FAMILIES
    found = {family: [w for w in workloads if wanted(family, w)] for family, workloads in families.items()}
    return {family: workloads for family, workloads in found.items() if workloads}


def progress(result: Result) -> None:
    figure, reached = result.verdict()
    text = {True: "reached", False: "missed", None: "not judged"}[reached]
    print(f"{result.workload.name}: {figure} (target {result.workload.target.text}): {text}", file=sys.stderr, flush=True)


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Times funcgrad beside its peers.")
    parser.add_argument("--only", metavar="PATTERN", action="append", default=[],
                        help="workloads whose family or name matches this regular expression; may be repeated")
    parser.add_argument("--libraries", metavar="NAMES", default=",".join(LIBRARIES), help="separated by commas")
    parser.add_argument("--rounds", type=int, help="how often the libraries are timed in turn (default 7)")
    parser.add_argument("--seconds", type=float, help="time for one sample of one library (default 0.2)")
    parser.add_argument("--threads", type=int, default=processors(), help="processors for every library (default all)")
    parser.add_argument("--patience", type=float, default=300.0, help="seconds until a library is given up (default 300)")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, or cuda for the workloads of one GPU")
    parser.add_argument("--tiny", action="store_true", help="small sizes and one round, to see that everything runs")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--json", metavar="FILE", help="write all samples to this file")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios to JAX (needs matplotlib)")
    parser.add_argument("--list", action="store_true", help="only name the workloads")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    given = parse(arguments)
    families = chosen(given.only, given.device)
    if given.list:
        print("\n".join(f"{family}: {workload.name}" for family, workloads in families.items() for workload in workloads))
        return 0
    if not families:
        print(f"no workload matches {', '.join(given.only)}; --list names them", file=sys.stderr)
        return 2
    wanted = [library for library in LIBRARIES if library in given.libraries.split(",")]
    present = tuple(library for library in wanted if installed(library))
    for library in sorted(set(wanted) - set(present), key=LIBRARIES.index):
        print(f"{library} is not installed, so it is left out (pip install -e '.[bench]')", file=sys.stderr)
    rounds, seconds = (1, 0.001) if given.tiny else (7, 0.2)
    options = Options(present, given.rounds or rounds, given.seconds or seconds, given.threads, given.tiny, given.patience,
                      given.device)
    results = {family: run_family(workloads, options, progress) for family, workloads in families.items()}
    print((as_markdown if given.markdown else as_text)(results, options))
    if given.json:
        with open(given.json, "w") as file:
            json.dump(as_json(results, options), file, indent=1)
    if given.plot and not plot(results, given.plot):
        print("matplotlib is not installed, so there is no picture (pip install -e '.[viz]')", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
