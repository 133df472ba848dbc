"""Diagnosis of models: marks, statistics and landscapes that are known, and the charts as SVG and with matplotlib's calls."""
import math
import re
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn, viz
from funcgrad.charts import Bars, Lines, Map, scale
from funcgrad.nn.diagnosis import flow

KEY = fg.random.key(0)
X = fg.random.normal(fg.random.key(1), (64, 16), np.float32)


def deep(activation, depth=8, **options):
    return nn.Sequential(*[layer for _ in range(depth) for layer in (nn.Linear(16, 16, **options), activation)])


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("sizes, marks", [
    ([1.0, 1.0, 1.0], ["", "", ""]), ([1e-6, 1e-3, 1.0], ["vanishing", "vanishing", ""]), ([1e5, 1e2, 1e-1], ["exploding", "exploding", ""]),
    ([1.0, 0.0, math.nan, math.inf], ["", "zero", "not finite", "not finite"]), ([1.0, 1e-4, 1.0], ["", "vanishing", ""]), ([], []),
    ([1.0, 1.0, 1e-4, 1.0, 1.0], ["", "", "vanishing", "", ""])])
def test_marks_of_gradients(sizes, marks):
    assert flow(sizes) == marks


def test_gradient_flow():
    grads = {str(i): {"weight": np.full((2, 2), 10.0 ** (i - 10)), "bias": np.zeros(2)} for i in range(11)}
    params = {str(i): {"weight": np.ones((2, 2)), "bias": np.zeros(2)} for i in range(11)}
    found = viz.gradient_flow(grads, params)
    assert [row.path for row in found.rows] == [str(i) for i in range(11)]
    assert found.rows[3].norm == pytest.approx(2e-7) and found.rows[3].ratio == pytest.approx(1e-7)
    assert found.rows[3].rms == pytest.approx(2e-7 / math.sqrt(6)) and found.rows[3].largest == 1e-7
    assert found.marked("vanishing") == ["0", "1", "2", "3", "4", "5", "6"]
    assert found.norm == pytest.approx(math.hypot(*[row.norm for row in found.rows]))
    text = str(found).splitlines()
    assert text[0].startswith("gradient: norm 2.01 over 11 layers; vanishing in 7: 0, 1, 2, 3 ...") and text[2].endswith("vanishing")
    assert viz.gradient_flow({"a": np.array([np.nan])}).marked("not finite") == ["a"]
    assert viz.gradient_flow(np.ones((2, 2))).rows[0].path == "(gradient)"
    model = deep(nn.sigmoid)
    params, _ = model.init(KEY)
    assert "0" in viz.gradient_flow(fg.grad(lambda p: fnp.sum(model(p, X) ** 2))(params)).marked("vanishing")
    with pytest.raises(ValueError, match="there are no gradients"):
        viz.gradient_flow({})
    with pytest.raises(ValueError, match="another structure"):
        viz.gradient_flow({"a": np.ones(2)}, {"b": np.ones(2)})


# ---------------------------------------------------------------- activations


def test_activation_statistics():
    model = nn.Sequential(nn.Linear(2, 3), nn.relu, nn.Sequential(nn.Linear(3, 2), fnp.tanh))
    weight, bias = np.array([[1.0, 0, 0], [0, 1, 0]]), np.array([0.0, 0, -1])
    params = {"0": {"weight": weight, "bias": bias}, "2": {"0": {"weight": 100 * np.ones((3, 2)), "bias": np.zeros(2)}}}
    x = np.random.default_rng(0).random((50, 2))
    found = viz.activation_statistics(model, params, {}, x)
    rows = {row.path: row for row in found.rows}
    assert list(rows) == ["0", "1", "2.0", "2.1"]
    hidden = np.maximum(x @ weight + bias, 0)
    assert rows["1"].mean == pytest.approx(hidden.mean()) and rows["1"].std == pytest.approx(hidden.std())
    assert rows["1"].zeros == pytest.approx(1 / 3) and rows["1"].dead == 1 and rows["1"].units == 3 and rows["1"].saturated is None
    assert found.dead == {"1": 1} and rows["2.1"].saturated > 0.9
    assert "dead units in 1: 1 (1 of 3)" in str(found) and "mostly saturated in 1: 2.1" in str(found)
    broken = viz.activation_statistics(nn.Linear(1, 1), {"weight": np.ones((1, 1)), "bias": np.array([np.inf])}, {}, np.ones((1, 1)))
    assert "not finite in 1: (model) first" in str(broken)


# ---------------------------------------------------------------- initial values


@pytest.mark.parametrize("model, verdict", [
    (deep(nn.relu, weight_init=nn.initializers.he_normal()), "fine"), (deep(nn.tanh), "fine"),
    (deep(nn.relu, depth=16), "activations vanish"), (deep(nn.relu, weight_init=nn.initializers.normal(1.0)), "activations explode"),
    (deep(nn.sigmoid, depth=10), "gradients vanish"), (nn.Sequential(nn.Linear(16, 4), nn.Dropout(0.5)), "fine"),
    (nn.Sequential(nn.Linear(16, 4), lambda x: x * np.float32(np.inf)), "activations are not finite: from layer 1 on"), (nn.Linear(16, 4), "fine"),
    (nn.Repeat(nn.Sequential(nn.Linear(16, 16), nn.tanh), 5), "fine"), (nn.Sequential(nn.Linear(16, 16), fg.lax.stop_gradient), "gradients are zero"),
], ids=["he", "tanh", "lecun relu", "large", "sigmoid", "dropout", "infinite", "one layer", "repeat", "stopped"])
def test_check_init(model, verdict):
    with np.errstate(invalid="ignore"):
        found = nn.check_init(model, KEY, X)
    assert found.verdict.startswith(verdict), found
    assert found.fine == (verdict == "fine") and str(found).startswith(f"initial values: {found.verdict}\n")


def test_check_init_measures_scales():
    found = nn.check_init(nn.Sequential(nn.Linear(16, 8), nn.relu), KEY, X)
    assert [row.path for row in found.rows] == ["0", "1"] and found.rows[1].gradient is None
    params, _ = nn.Sequential(nn.Linear(16, 8), nn.relu).init(fg.random.split(KEY, 3)[0], X)
    hidden = np.asarray(X @ params["0"]["weight"])
    assert found.rows[0].std == pytest.approx(hidden.std(), rel=1e-4)
    assert found.rows[1].mean == pytest.approx(np.maximum(hidden, 0).mean(), rel=1e-4)


# ---------------------------------------------------------------- landscapes


def test_loss_landscape():
    weight = np.array([[3.0, 0.0], [4.0, 1.0]])
    params = {"weight": weight, "bias": np.ones(2), "steps": np.array([[1]])}

    def loss(p):
        assert p["bias"].shape == (2,) and p["steps"].dtype == int
        return fnp.sum((p["weight"] - weight) ** 2, 0)[0] + fnp.sum(p["bias"])

    found = viz.loss_landscape(loss, params, KEY, points=5, span=2.0)
    np.testing.assert_allclose(found.distances, [-2, -1, 0, 1, 2])
    np.testing.assert_allclose(found.values, 2 + 25 * found.distances**2)  # a column moves by its own length, 5
    assert found.centre == 2 and "lowest 2 at 0, highest 102" in str(found)
    plane = viz.loss_landscape(loss, params, KEY, dimensions=2, points=3)
    assert plane.values.shape == (3, 3)
    np.testing.assert_allclose(plane.values[1], [27, 2, 27])
    np.testing.assert_allclose(plane.values[:, 1], [27, 2, 27])
    again = viz.loss_landscape(loss, params, KEY, dimensions=2, points=3)
    np.testing.assert_array_equal(again.values, plane.values)
    with pytest.raises(ValueError, match="one or two dimensions"):
        viz.loss_landscape(loss, params, KEY, dimensions=3)
    with pytest.raises(ValueError, match=r"there is no middle(.|\n)*an odd number"):
        viz.loss_landscape(loss, params, KEY, points=4)
    with pytest.raises(ValueError, match="no parameter moves"):
        viz.loss_landscape(loss, {"bias": np.ones(3)}, KEY)


# ---------------------------------------------------------------- charts

DISTANCES = tuple(k / 2 - 1 for k in range(5))
CHARTS = {
    "bars": Bars("Gradients", ("0.weight", "a < b", "bad"), (1e-5, 0.3, math.nan), (True, False, True), log=True),
    "lines": Lines("Through depth", "layer", "std", (0.0, 1.0, 2.0), (("activations", (1.0, 0.1, math.nan)), ("gradients", (1e-4, 0.0, 1.0))),
                   True, ("0", "1", "2.attention")),
    "map": Map("Loss", "first", "second", DISTANCES, DISTANCES, tuple(tuple(x * x + y for x in DISTANCES) for y in DISTANCES)),
}
FOLDER = Path(__file__).parent / "reference" / "charts"


@pytest.mark.parametrize("name", CHARTS)
def test_charts_are_the_pictures_somebody_looked_at(name):
    svg = CHARTS[name].svg()
    xml.fromstring(svg)
    assert svg == (FOLDER / f"{name}.svg").read_text().rstrip("\n")


def test_only_the_cells_of_a_small_map_tell_their_numbers():
    small, large = [Map("Loss", "x", "y", range(n), range(n), [[float(i + j) for j in range(n)] for i in range(n)]).svg()
                    for n in (30, 45)]
    assert small.count("<title>") >= 900 > 10 > large.count("<title>")
    assert large.count("<rect") > 2025 and len(large) < 150_000


def test_charts_of_nothing_and_of_extremes():
    for chart in (Bars("none", (), ()), Lines("none", "x", "y", (), ()), Map("none", "x", "y", (0.0,), (0.0,), ((math.nan,),)),
                  Bars("large", ("a", "b"), (1e300, -1e300)), Lines("flat", "x", "y", (0.0, 1.0), (("same", (2.0, 2.0)),)),
                  Lines("tiny", "x", "y", (0.0,), (("one", (1e-300,)),), log=True)):
        assert not any("nan" in value or "inf" in value for part in xml.fromstring(chart.svg()).iter() for value in part.attrib.values())


@pytest.mark.parametrize("values, log, first, last", [([0.0, 10.0], False, 0, 10), ([0.12, 0.19], False, 0.12, 0.2), ([-3.0, 7.0], False, -4, 8),
                                                      ([1e-3, 5.0], True, 1e-3, 10)])
def test_scales_end_at_round_numbers(values, log, first, last):
    found = scale(values, 0.0, 1.0, log)
    assert found.ticks[0] == pytest.approx(first) and found.ticks[-1] == pytest.approx(last)
    assert found.place(first) == pytest.approx(0) and found.place(last) == pytest.approx(1)


class Axes:
    """Notes which methods were called."""

    def __init__(self):
        self.calls = []
        self.figure = self

    def __getattr__(self, name):
        return lambda *args, **options: self.calls.append(name)


@pytest.mark.parametrize("report, call", [(viz.gradient_flow({"a": np.ones(2)}), "barh"), (nn.check_init(nn.Linear(16, 4), KEY, X), "plot")])
def test_reports_draw_themselves(report, call, monkeypatch):
    axes = Axes()
    assert report.plot(axes) is axes and call in axes.calls
    html = report._repr_html_()
    assert html.startswith("<div><svg") and "<table>" in html and report._repr_svg_() in html
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"matplotlib is not installed(.|\n)*funcgrad\[viz\]"):
        report.plot()


def test_the_page_about_diagnosis_runs(capsys):
    page = (Path(__file__).parent.parent / "docs" / "diagnosis.md").read_text()
    scope = {}
    exec("\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), scope)
    shown, = re.findall(r"```text\n(.*?)```", page, re.S)
    assert capsys.readouterr().out == shown


def test_charts_and_reports_show_themselves():
    chart = Lines("a line", "x", "y", range(200), [("y", np.arange(200.0))])
    assert chart._repr_svg_() == chart.svg() and "<circle" not in chart.svg() and repr(chart) == "Lines(a line)"
    assert "<circle" in Lines("a line", "x", "y", range(20), [("y", np.arange(20.0))]).svg()
    report = viz.gradient_flow({"0": {"weight": fnp.ones(2)}})
    assert repr(report) == str(report)
