"""The notebooks run from top to bottom, show what is stored in them, and tell nothing about the machine that ran them."""
from __future__ import annotations

import itertools
import math
import re
import socket
from pathlib import Path

import nbformat
import pytest

from notebooks import run

NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[-+]?\d+)?")
PATHS = run.notebooks()


def shown(cell):
    """What a cell shows, as one text for each form."""
    for output in cell.outputs:
        yield from [(output.name, output.text)] if output.output_type == "stream" else sorted(output.data.items())


def words(kind: str, text: str) -> list[str]:
    """What a person reads: of a picture or a table its texts, not where they stand."""
    if kind in ("image/svg+xml", "text/html"):
        text = " ".join(re.findall(r">([^<>]+)<", re.sub(r"<(script|style).*?</\1>", "", text, flags=re.S)))
    return text.split()


def first_difference(kind: str, stored: str, new: str) -> str:
    """Numbers may differ by rounding: other processors add in another order."""
    for old, now in itertools.zip_longest(words(kind, stored), words(kind, new), fillvalue="(nothing)"):
        same = NUMBER.sub("#", old) == NUMBER.sub("#", now)
        if not same or not all(math.isclose(float(a), float(b), rel_tol=1e-3, abs_tol=1e-9)
                               for a, b in zip(NUMBER.findall(old), NUMBER.findall(now), strict=True)):
            return f"stored {old!r}, now {now!r}"
    return ""


def test_there_are_nine():
    assert [path.name[:2] for path in PATHS] == [f"0{i}" for i in range(1, 10)]


@pytest.mark.filterwarnings("default")  # of the machinery of notebooks, not of ours
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_stored(path):
    stored = nbformat.read(path, as_version=4)
    for old, new in zip(stored.cells, run.executed(path).cells, strict=True):
        if old.cell_type == "code":
            for (kind, text), (new_kind, new_text) in zip(shown(old), shown(new), strict=True):
                assert kind == new_kind
                difference = first_difference(kind, text, new_text)
                assert not difference, f"{difference}; if it should be so: python notebooks/run.py {path.name[:2]}\n{old.source}"


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_stripped(path):
    text = path.read_text(encoding="utf-8")
    assert len(text) < 300_000
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert nbformat.writes(run.stripped(notebook)) + "\n" == text, "write it with: python notebooks/run.py"
    facts = "|".join(map(re.escape, (str(Path.home()), str(run.FOLDER.parent), "/tmp", "ipykernel", socket.gethostname())))
    for cell in notebook.cells:
        for _, output in shown(cell) if cell.cell_type == "code" else ():
            assert not re.search(rf"(?<!\w)({facts})(?!\w)|\b0x[0-9a-f]{{6,}}", output), cell.source


def test_on_another_device_a_notebook_is_run_and_not_stored(monkeypatch, capsys):
    before, ran = [path.read_bytes() for path in PATHS], []

    class Client:
        def __init__(self, notebook, **options):
            self.notebook = notebook

        def execute(self):
            ran.append(self.notebook.cells[0].source)

    monkeypatch.setattr(run, "NotebookClient", Client)
    run.main(["--device", "cuda", "01"])
    assert ran == ["import funcgrad\nfuncgrad.set_default_device('cuda')"] and "01-first-gradients" in capsys.readouterr().out
    assert [path.read_bytes() for path in PATHS] == before
