"""Pages of the site that are made when it is built: the start page, the tutorials and the reference.

In: README.md, the notebooks, and the public names of the modules. Out: ``index.md``, ``tutorials/*.md`` and
``api/*.md``, for MkDocs.
"""
from __future__ import annotations

import importlib
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parent.parent
MODULES = (
    "funcgrad", "funcgrad.numpy", "funcgrad.numpy.linalg", "funcgrad.numpy.fft", "funcgrad.lax", "funcgrad.lax.linalg",
    "funcgrad.random", "funcgrad.nn", "funcgrad.nn.initializers", "funcgrad.optim", "funcgrad.training", "funcgrad.viz",
    "funcgrad.tree", "funcgrad.debug", "funcgrad.test_util", "funcgrad.scipy.special", "funcgrad.scipy.linalg",
    "funcgrad.scipy.stats", "funcgrad.scipy.signal", "funcgrad.experimental.jet", "funcgrad.experimental.ode",
)


def on_files(files: Files, config: Any) -> Files:
    files.append(File.generated(config, "index.md", content=start_page()))
    for name in MODULES:
        files.append(File.generated(config, f"api/{name}.md", content=reference_page(name)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text, resources = MarkdownExporter().from_filename(str(path), resources={"unique_key": path.stem})
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content=text))
        for name, data in resources["outputs"].items():
            files.append(File.generated(config, f"tutorials/{name}", content=data))
    rows = "".join(f"| [`{name}`]({name}.md) | {first_line(importlib.import_module(name))} |\n" for name in MODULES)
    files.append(File.generated(config, "api/index.md", content=f"# Reference\n\n| module | |\n|---|---|\n{rows}"))
    return files


def start_page() -> str:
    """README.md, with its links as seen from this folder."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->\n", "", text).replace("](docs/", "](")
    text = re.sub(r"\]\(notebooks/([\w-]+)\.ipynb\)", r"](tutorials/\1.md)", text)
    return re.sub(r"\[([^\]]*)\]\((?!https?:|[\w/-]+\.md)[^)]*\)|\[([^\]]*)\]\(CONTRIBUTING.md\)", r"`\1\2`", text)


def reference_page(name: str) -> str:
    """The functions and classes that a module offers; those that are NumPy's own are named in a line."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    values = {n: getattr(module, n) for n in (dir(module) if listed is None else listed) if not n.startswith("_")}
    values = {n: value for n, value in values.items() if callable(value) and inspect.getdoc(value)}
    if listed is None and not hasattr(module, "__path__"):  # a file: what it imports is not its own
        values = {n: value for n, value in values.items() if getattr(value, "__module__", None) == name}
    ours = [n for n, value in values.items() if getattr(value, "__module__", "").startswith("funcgrad")]
    lines = [f"# {name}", "", inspect.getdoc(module) or "", ""]
    for n in ours:
        lines += [entry(module, n), ""]
    foreign = [n for n in values if n not in ours and getattr(values[n], "__module__", "").partition(".")[0] == "numpy"]
    if foreign:
        lines += ["## NumPy's own", "", ", ".join(f"`{n}`" for n in foreign), ""]
    return "\n".join(lines)


def entry(module: Any, name: str) -> str:
    """What mkdocstrings replaces by signature and docstring, or for a value that is made from a table, its docstring."""
    value = getattr(module, name)
    if vars(sys.modules[value.__module__]).get(getattr(value, "__qualname__", None)) is not value:
        return f"## {name}\n\n{inspect.getdoc(value)}"
    home = module.__name__ if name in vars(module) else value.__module__  # some names are loaded when they are asked for
    return f"::: {home}.{name}"


def first_line(module: Any) -> str:
    return (inspect.getdoc(module) or "").partition("\n")[0]
