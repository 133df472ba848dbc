"""The notebooks run from top to bottom, show what is stored in them, and tell nothing about the machine that ran them."""
from __future__ import annotations

import getpass
import math
import re
import socket
from pathlib import Path

import nbformat
import pytest

from notebooks import run

NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
COLOUR = re.compile(r"#[0-9a-f]{6}")
PATHS = run.notebooks()


def shown(cell):
    """What a cell shows, as one text for each form."""
    for output in cell.outputs:
        yield from [(output.name, output.text)] if output.output_type == "stream" else sorted(output.data.items())


def agree(kind: str, stored: str, new: str) -> bool:
    """The same words, and the same numbers up to rounding: other processors add in another order. Pictures round to 0.1."""
    stored, new = COLOUR.sub("colour", stored), COLOUR.sub("colour", new)
    if NUMBER.sub("#", stored).split() != NUMBER.sub("#", new).split():
        return False
    rounding = 1e-9 if kind in ("stdout", "text/plain") else 0.2
    return all(math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=rounding)
               for a, b in zip(NUMBER.findall(stored), NUMBER.findall(new), strict=True))


def test_there_are_nine():
    assert [path.name[:2] for path in PATHS] == [f"0{i}" for i in range(1, 10)]


@pytest.mark.filterwarnings("default")  # of the machinery of notebooks, not of ours
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_stored(path):
    stored = nbformat.read(path, as_version=4)
    for old, new in zip(stored.cells, run.executed(path).cells, strict=True):
        if old.cell_type == "code":
            for (kind, text), (new_kind, new_text) in zip(shown(old), shown(new), strict=True):
                assert kind == new_kind and agree(kind, text, new_text), f"{old.source}\n\nstored:\n{text}\n\nnow:\n{new_text}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_stripped(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 300_000
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert nbformat.writes(run.stripped(notebook)) + "\n" == text, "write it with: python notebooks/run.py"
    facts = [str(Path.home()) + "/", str(run.FOLDER.parent), "/tmp/", "ipykernel_", "0x7f", socket.gethostname()]
    facts += [getpass.getuser()] if getpass.getuser() not in ("root", "user", "runner") else []
    for cell in notebook.cells:
        for _, output in shown(cell) if cell.cell_type == "code" else ():
            assert not [fact for fact in facts if fact in output], cell.source
        assert cell.source == cell.source.strip() and all(len(line) <= 128 for line in cell.source.splitlines()
                                                          if cell.cell_type == "code")
