"""``nn.summary``: shapes, parameters and flops by hand, and that nothing is computed."""
from dataclasses import dataclass

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import nn

X = fg.ShapeDtypeStruct((16, 8, 8, 3), "float32")


def test_a_convolutional_model():
    model = nn.Sequential(nn.Conv2d(None, 8, (3, 3)), nn.BatchNorm(8), nn.relu, nn.Flatten(), nn.Linear(None, 10, bias=False))
    found = nn.summary(model, X)
    rows = {".".join(row.path): row for row in found.rows}
    assert list(rows) == ["", "0", "1", "2", "3", "4"]
    assert rows["0"].output == "float32[16,8,8,8]" and rows["0"].parameters == 3 * 3 * 3 * 8 + 8 and rows["0"].bytes == 4 * 224
    assert rows["0"].flops == 2 * 16 * 64 * (9 * 3 * 8) + 16 * 64 * 8
    assert rows["1"].state == 16 and rows["2"].flops == 2 * 16 * 64 * 8 and rows["3"].flops == 0
    assert rows["4"].flops == 2 * 16 * 512 * 10
    assert found.flops == rows[""].flops == sum(row.flops for name, row in rows.items() if name)
    assert found.parameters == 224 + 16 + 5120 and found.bytes == 4 * found.parameters
    assert nn.summary(model, X, train=True).rows[2].flops > rows["1"].flops
    assert nn.summary(model, np.ones(X.shape, np.float32)).rows == found.rows


@dataclass(frozen=True)
class Twice(nn.Composite):
    """Runs a part twice, under a name of the user's."""

    def parts(self):
        return {"shared": nn.Linear(4, 4), "stack": nn.Repeat(nn.Sequential(nn.Linear(4, 4), fnp.tanh), 5, checkpoint=True)}

    def forward(self, run, x):
        with fg.named_scope("both"):
            x = run("shared", run("shared", x))
        return run("stack", x)


def test_shared_and_repeated_layers():
    found = nn.summary(Twice(), fg.ShapeDtypeStruct((3, 4), "float32"))
    rows = {".".join(row.path): row for row in found.rows}
    linear = 2 * 3 * 4 * 4 + 3 * 4
    assert rows["shared"].flops == 2 * linear and rows["shared"].parameters == 20
    assert rows["stack"].flops == 5 * (linear + 12) and rows["stack"].parameters == 100
    assert rows["stack.0"].flops == 5 * linear and rows["stack.0"].parameters == 100
    assert [row.path for row in nn.summary(Twice(), fg.ShapeDtypeStruct((3, 4), "float32"), depth=1).rows] == [
        (), ("shared",), ("stack",)]


def test_the_table():
    lines = str(nn.summary(nn.Sequential(nn.Linear(4, 8), nn.relu), fg.ShapeDtypeStruct((3, 4), "float32"))).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "parameters", "bytes", "state", "flops"]
    assert lines[2].split() == ["0", "Linear(4,", "8)", "float32[3,8]", "40", "160", "B", "0", "216", "flop"]
    assert len({len(line) for line in lines}) == 1
    html = nn.summary(nn.Linear(4, 8), np.ones((3, 4)))._repr_html_()
    assert html.count("<tr>") == 2 and "Linear(4, 8)" in html and "float64[3,8]" in html


def test_nothing_is_computed():
    model = nn.Sequential(nn.Linear(100_000, 100_000), nn.Linear(100_000, 1_000_000))
    found = nn.summary(model, fg.ShapeDtypeStruct((1_000_000, 100_000), "float32"))
    assert found.parameters == 10**10 + 10**11 + 1_100_000 and "2.2e+05 Tflop" in str(found)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match=r"Linear\(4, 8\) at '0': the last axis"):
        nn.summary(nn.Sequential(nn.Linear(4, 8)), np.ones((3, 5)))
