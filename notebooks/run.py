"""Runs the notebooks and writes them back, free of what differs between machines.

    python notebooks/run.py            all of them
    python notebooks/run.py 02 05      those whose names begin so
    python notebooks/run.py --device cuda 02    on a GPU; what it shows there is not stored

In: ``notebooks/*.ipynb``, and the library in this checkout. Out: the same files, with the outputs of this run. A cell with the
tag "volatile" runs, but what it shows (times, the path of a cache) is not stored.
"""
from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
TIMEOUT = 300
"""Seconds for a cell, on a busy machine."""


def notebooks(*prefixes: str) -> list[Path]:
    """The notebooks in their order; with prefixes, only those whose names begin with one of them."""
    return [path for path in sorted(FOLDER.glob("*.ipynb")) if path.name.startswith(prefixes or "")]


def executed(path: Path, device: str = "cpu") -> nbformat.NotebookNode:
    """The notebook with the outputs of a new run in a kernel of its own, stripped. Raises CellExecutionError if a cell does."""
    notebook = nbformat.read(path, as_version=4)
    if device != "cpu":
        notebook.cells.insert(0, nbformat.v4.new_code_cell(f"import funcgrad\nfuncgrad.set_default_device({device!r})"))
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(FOLDER.parent), os.environ.get("PYTHONPATH")))),
        }
        with mock.patch.dict(os.environ, environment):
            NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": folder}},
                           coalesce_streams=True, extra_arguments=["--log-level=ERROR"]).execute()
    return stripped(notebook)


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The same cells and outputs, with nothing of the machine or the moment: metadata, random names, volatile outputs."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    count = 0
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i}"
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            count += 1
            cell.execution_count = count
            cell.outputs = [] if "volatile" in tags else [_output(output, count) for output in cell.outputs]
    return notebook


def _output(output: nbformat.NotebookNode, count: int) -> nbformat.NotebookNode:
    """An output in one form: HTML where it shows more than the SVG and needs no script, else that, else text.

    Scripts do not run in a notebook that somebody else has executed, so a drawing whose parts fold is stored unfolded.
    """
    if output.output_type == "execute_result":
        output.execution_count = count
    if "data" in output:
        output.metadata = nbformat.from_dict({})
        data = output.data
        html, svg = data.get("text/html"), data.get("image/svg+xml")
        if svg and html and (html == svg or "<script" in html):
            del data["text/html"]
        shown = next(kind for kind in ("text/html", "image/svg+xml", "text/markdown", "text/plain") if kind in data)
        output.data = nbformat.from_dict({kind: data[kind] for kind in {shown: 0, "text/plain": 0} if kind in data})
    return output


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Runs the notebooks and writes them back.")
    parser.add_argument("prefixes", nargs="*", help="beginnings of names; all notebooks without any")
    parser.add_argument("--device", default="cpu", help="where new arrays are made: cpu, cuda")
    given = parser.parse_args(arguments)
    for path in notebooks(*given.prefixes):
        notebook = executed(path, given.device)
        if given.device == "cpu":
            nbformat.write(notebook, path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
