"""The benchmarks run: in a tiny form, for the libraries that the tests have anyway. No time is asserted."""
from __future__ import annotations

import json
import statistics

import numpy as np
import pytest

from benchmarks import __main__ as command_line
from benchmarks import runner
from benchmarks.libraries import environment, load
from benchmarks.report import as_json, as_markdown, as_text, cell, plot, quantity
from benchmarks.runner import Failed, Options, Result, Worker, disagreement, run_family
from benchmarks.worker import arrays, overhead
from benchmarks.workload import AtMost, AtMostMore, AtMostPower, Extra, Ratio, RatioToBest, Verdict, Workload, growth_power
from benchmarks.workloads import BY_NAME, FAMILIES, GPU_FAMILIES

CALLS = [work.name for work in BY_NAME.values() if work.kind in ("call", "overhead") or work.grows]
QUICK = Options(("funcgrad", "numpy"), rounds=2, seconds=0.0005, threads=2, tiny=True, patience=120)


@pytest.mark.parametrize("name", CALLS)
def test_every_workload_runs_and_agrees_with_its_numpy_form(name):
    work = BY_NAME[name]
    values = {}
    for library in {"funcgrad", "numpy"} & set(work.libraries()):
        function, args = work.program(load(library), tiny=True)
        values[library] = list(arrays(function(*args)))
    assert all(np.isfinite(a).all() for a in values["funcgrad"])
    if "numpy" in values:
        assert disagreement(values["funcgrad"], values["numpy"], work.tolerance) is None
    if not work.wide:
        assert {a.dtype for a in values["funcgrad"] if a.dtype.kind == "f"} == {np.dtype(np.float32)}


def test_a_gpu_has_workloads_of_its_own(capsys):
    assert command_line.main(["--device", "cuda", "--list", "--only", "8192 x 4096"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"gpu: {work.name}" for work in GPU_FAMILIES["gpu"] if "8192 x 4096" in work.name]
    assert environment(2, "cache", "cuda:0")["JAX_PLATFORMS"] == "cuda" and environment(2, "cache")["JAX_PLATFORMS"] == "cpu"


def test_a_copy_is_timed_and_not_compared():
    work = next(work for work in GPU_FAMILIES["gpu"] if "layer norm" in work.name)
    assert "copy" in work.libraries() and "copy" not in work.compared()
    samples = {"funcgrad": [1.0, 1.2, 1.4], "copy": [1.0, 1.0, 1.0], "jax": [2.0, 2.0, 1.0]}
    assert work.target.judge(samples) == Verdict("1.20, 0.60", True)
    assert not work.target.judge({**samples, "jax": [1.0, 1.0, 1.0]}).reached
    assert not work.target.judge({**samples, "copy": [0.5, 0.5, 0.5]}).reached


def test_names_are_unique_and_every_target_has_a_text():
    assert len(BY_NAME) == sum(map(len, [*FAMILIES.values(), *GPU_FAMILIES.values()]))
    assert all(work.target.text for work in BY_NAME.values())


def test_the_table_from_processes_to_json(capsys, tmp_path):
    path = tmp_path / "out.json"
    only = "cumsum.*axis 0|eager add|^eager: import|cold caches: MLP|against length: elementwise"
    assert command_line.main(["--tiny", "--only", only, "--libraries", "funcgrad,numpy", "--json", str(path)]) == 0
    text, families = capsys.readouterr().out, json.loads(path.read_text())["families"]
    assert list(families) == ["arrays", "eager", "processes"]
    found = {row["workload"]: row for family in families.values() for row in family}
    assert len(found) == 5 and all(name in text for name in found)
    assert not any(row["failures"] for row in found.values())
    assert all(row["samples"]["funcgrad"][0] > 0 for row in found.values() if row["kind"] != "growth")
    assert len(found["trace and compile against length: elementwise loop"]["notes"]["funcgrad"][0]["seconds"]) == 2


def test_a_missing_peer_is_left_out_with_a_note(monkeypatch, capsys):
    monkeypatch.setattr(command_line, "installed", lambda library: library == "numpy")
    command_line.main(["--tiny", "--only", "eager add", "--libraries", "numpy,jax,torch"])
    printed = capsys.readouterr()
    assert "jax is not installed" in printed.err and "torch is not installed" in printed.err
    assert "1 not judged" in printed.out


def test_a_pattern_that_matches_nothing_is_noticed(capsys):
    assert command_line.main(["--only", "no such workload"]) == 2
    assert "no workload matches" in capsys.readouterr().err


def test_list_names_the_workloads(capsys):
    assert command_line.main(["--list", "--only", "^rows"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"rows: {work.name}" for work in FAMILIES["rows"]]


def test_a_failing_library_costs_its_own_cell_only(monkeypatch):
    work = BY_NAME["eager add, mean of sizes 1, 10, 100"]
    real = Worker.ask

    def ask(self, do, **request):
        if self.library == "numpy" and do == "time":
            raise Failed("no time")
        return real(self, do, **request)

    monkeypatch.setattr(Worker, "ask", ask)
    [result] = run_family([work], QUICK, lambda result: None)
    assert list(result.samples) == ["funcgrad"] and result.failures == {"numpy": "no time"}
    assert result.verdict() == Verdict("-", None) and cell(result, "numpy") == "failed"
    assert "numpy failed: no time" in as_text({"eager": [result]}, QUICK)


def test_a_process_that_cannot_do_what_is_asked_says_why():
    worker = Worker("numpy", QUICK, "unused")
    with pytest.raises(Failed, match="KeyError: 'no such workload'"):
        worker.ask("prepare", workload="no such workload", tiny=True, values="unused")
    process = worker.process
    process.kill()
    with pytest.raises(Failed, match="ended by signal 9"):
        worker.ask("calibrate", seconds=0.001)
    assert worker.process is None
    worker.close()


def test_a_process_that_hangs_is_given_up():
    worker = Worker("numpy", Options((), patience=0.01), "unused")
    with pytest.raises(Failed, match="no answer in 0.01 s"):
        worker.ask("prepare", workload="dispatch of x*sin(x)", tiny=True, values="unused")
    assert worker.process is None


def test_a_measurement_that_fails_says_how():
    with pytest.raises(Failed, match="ended with status 1 .ModuleNotFoundError: No module named 'nowhere'"):
        runner.measure_once([runner.sys.executable, "-c", "import nowhere"], {}, 60)
    words = runner.command("memory", "funcgrad", QUICK, "n-body forces, 512 bodies")
    monkey = [runner.sys.executable, "-c", "print('{\"failed\": \"no memory\"}')"]
    assert words[-1] == "n-body forces, 512 bodies"
    with pytest.raises(Failed, match="no memory"):
        runner.measure_once(monkey, {}, 60)


def test_results_that_differ_are_told_apart():
    x = np.linspace(0, 1, 5, dtype=np.float32)
    assert disagreement([x], [x + np.float32(1e-7)], 1e-5) is None
    assert disagreement([np.array([np.nan, np.inf])], [np.array([np.nan, np.inf])], 1e-5) is None
    assert "differs in 1 of 5 places, at (2,)" in disagreement([np.where(x == x[2], 7, x)], [x], 1e-5)
    assert "nan" in disagreement([np.where(x == x[2], np.float32(np.nan), x)], [x], 1e-5)
    assert "float64 instead of float32" in disagreement([x.astype(float)], [x], 1e-5)
    assert "shape (5, 1)" in disagreement([x[:, None]], [x], 1e-5)
    assert "2 arrays instead of 1" in disagreement([x, x], [x], 1e-5)


def test_a_library_that_differs_has_no_time_and_no_ratio():
    work = Workload("w", None, target=Ratio(1, "numpy"))
    result = Result(work, {"numpy": [1.0]}, {"funcgrad": "differs from numpy: much"})
    assert cell(result, "funcgrad") == "differs" and result.verdict() == Verdict("-", False)


def test_targets():
    samples = {"funcgrad": [1.0, 4.0, 2.0], "jax": [2.0, 4.0, 8.0], "autograd": [3.0]}
    assert Ratio(0.5).judge(samples) == Verdict("0.50", True)  # the median of the paired ratios 0.5, 1, 0.25
    assert Ratio(0.4).judge(samples).reached is False
    best = RatioToBest(0.8, ("jax", "torch")).judge(samples | {"torch": [4.0, 2.0, 8.0]})
    assert best == Verdict("0.50", True)  # the median of 1 / 2, 4 / 2, 2 / 8
    assert Extra(0.5, "jax").judge(samples) == Verdict("-1000 ms", True)
    assert AtMost(2.5e6, below=("autograd", "torch")).judge(samples).reached
    assert not AtMost(1e6).judge(samples).reached
    assert AtMostMore(0.05).judge({"funcgrad": [0.04, 0.02, 0.09]}) == Verdict("+4.0%", True)
    assert AtMostPower(1.1).judge({"funcgrad": [1.04]}) == Verdict("n^1.04", True)
    assert growth_power([10, 20, 40], [1.0, 4.0, 16.0]) == pytest.approx(2)


def test_quantities_have_units():
    assert [quantity(x, "call") for x in (2.5, 0.0123, 4.2e-6, 3e-8)] == ["2.50 s", "12.3 ms", "4.20 us", "30.0 ns"]
    assert [quantity(x, "memory") for x in (5.1e7, 2e3, 0)] == ["51.0 MB", "2.00 kB", "0.00 B"]


def test_what_a_program_adds_is_measured_beside_its_argument():
    work = Workload("w", lambda lib: (lambda by_hand: (by_hand(), by_hand()), (lambda: lib.np.ones(10**6).sum(),)), kind="overhead")
    assert work.libraries() == ("funcgrad",) and overhead(load("numpy"), work, tiny=True) > -1
    assert quantity(0.0312, "overhead") == "+3.1%"


def test_the_table_in_markdown_and_json():
    work = Workload("some work", None, target=Ratio(0.5))
    result = Result(work, {"funcgrad": [1e-6], "jax": [4e-6]})
    text = as_markdown({"family": [result]}, QUICK)
    assert "| some work | 1.00 us |  | 0.25 | 0.5 | reached |" in text and "1 targets reached" in text
    [entry] = as_json({"family": [result]}, QUICK)["families"]["family"]
    assert entry["reached"] and statistics.median(entry["samples"]["jax"]) == 4e-6


def test_the_picture_needs_matplotlib(tmp_path):
    pytest.importorskip("matplotlib")
    result = Result(Workload("some work", None, target=Ratio(0.5)), {"funcgrad": [1e-6], "jax": [4e-6]})
    assert plot({"family": [result]}, str(tmp_path / "out.png")) and (tmp_path / "out.png").stat().st_size > 0
