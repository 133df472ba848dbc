"""The README tells the truth: its example runs, and its two commands are there, each in one line."""
from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np

import funcgrad.numpy as fnp

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_runs():
    code, = re.findall(r"```python\n(.*?)```", README, re.S)
    generator = np.random.default_rng(0)
    params = {name: fnp.asarray(generator.normal(size=shape)) for name, shape in
              {"w1": (3, 4), "b1": (4,), "w2": (4,)}.items()}
    exec(code, {"params": params, "x": generator.normal(size=(5, 3)), "y": generator.normal(size=5)})


def test_the_two_commands_are_single_lines():
    for name in ("main job", "tests"):
        block = README.split(f"<!-- {name} -->")[1].split("<!-- end -->")[0]
        lines = [line for line in block.splitlines() if line and not line.startswith("```")]
        assert len(lines) == 1 and lines[0].startswith("python3 -m venv .venv && ")


def test_the_files_it_names_exist():
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / target).exists(), target


def test_the_architecture_names_files_that_exist():
    root = Path(__file__).parent.parent
    text = (root / "docs" / "architecture.md").read_text()
    names = set(re.findall(r"`((?:funcgrad/)?(?:\w+/)*\w+\.py)`", text))
    assert len(names) > 10
    for name in names:
        assert (root / "funcgrad" / name.removeprefix("funcgrad/")).exists(), name


def test_the_examples_of_the_page_on_checking_run():
    path = Path(__file__).parent.parent / "docs" / "checking.md"
    assert doctest.testfile(str(path), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
