"""The benchmarks run: in a tiny form, for the libraries that the tests have anyway. No time is asserted."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import TARGETS, check_agreement, table
from benchmarks.workloads import workloads

ROOT = Path(__file__).parent.parent


def test_all_workloads_run_and_agree_with_numpy():
    rounds = {}
    for library in ("funcgrad", "numpy"):
        results = {}
        for name, work in workloads(library).items():
            work.run()
            results[name] = {"us": 1.0, "value": work.value}
        rounds[library] = [results]
    check_agreement(rounds)
    assert set(TARGETS) <= set(rounds["funcgrad"][0])
    text = "\n".join(table(rounds, {"funcgrad": [150.0], "numpy": [100.0]}))
    assert "NumPy's 100 + 50" in text and all(name in text for name in TARGETS)


def test_a_library_that_computes_something_else_is_noticed():
    right, wrong = {"w": {"us": 1.0, "value": 2.0}}, {"w": {"us": 1.0, "value": 2.1}}
    with pytest.raises(AssertionError, match="numpy and funcgrad differ"):
        check_agreement({"funcgrad": [right], "numpy": [wrong]})


def test_a_worker_prints_its_figures():
    command = [sys.executable, "-m", "benchmarks", "--worker", "numpy", "--seconds", "0.0005"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    figures = json.loads(done.stdout)
    assert figures["tiny sin, size 10"]["us"] > 0
