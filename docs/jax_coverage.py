"""Writes jax-coverage.md: what of JAX's public surface is here, and why the rest is not.

In: the names and parameters in ``tests/reference/jax_names.json``, the reasons in ``jax_reasons.py``, and funcgrad itself.
Out: the page, by ``python -m docs.jax_coverage`` from the root of the project. JAX is not needed.
"""
from __future__ import annotations

import functools
import importlib
import inspect
import json
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from inspect import Parameter
from pathlib import Path
from typing import Any

from docs.jax_reasons import PARAMETERS, REASONS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "jax-coverage.md"
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass
class Coverage:
    """The names of one module of JAX: those that are here, and those that are not, with the reason."""

    module: str
    present: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    unexplained: list[str] = field(default_factory=list)
    differences: dict[str, list[str]] = field(default_factory=dict)
    """Names that are here, with what their parameters lack."""
    superfluous: list[str] = field(default_factory=list)
    """Names that are here and also on a list of what is not."""


@functools.cache
def reference() -> dict[str, dict[str, str | None]]:
    """The names of each module, with their parameters."""
    return json.loads((ROOT / "tests" / "reference" / "jax_names.json").read_text())["modules"]


def coverage(module: str) -> Coverage:
    """What of one module is here."""
    ours = _module(module.replace("jax", "funcgrad", 1))
    reasons = {name: why for why, names in REASONS.get(module, {}).items() for name in names.split()}
    out = Coverage(module)
    for name, parameters in reference()[module].items():
        if _here(ours, module, name):
            out.present.append(name)
            lacking = _lacking(module, name, parameters, getattr(ours, name))
            if lacking:
                out.differences[name] = lacking
            if name in reasons:
                out.superfluous.append(name)
        elif name in reasons or name.endswith("_p"):
            out.absent[name] = reasons.get(name) or "primitives are no functions to call; `fg.make_jaxpr` shows them"
        else:
            out.unexplained.append(name)
    return out


def _here(ours: Any, module: str, name: str) -> bool:
    """Whether we have the name; a submodule only if it is one of those that are compared, or named as public."""
    path = f"{module}.{name}"
    if any(m == path or m.startswith(f"{path}.") for m in reference()):
        return _module(path.replace("jax", "funcgrad", 1)) is not None
    return hasattr(ours, name) and (not inspect.ismodule(getattr(ours, name)) or name in ours.__all__)


def _module(name: str) -> Any:
    """The module, or None if there is none."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        return None


def _lacking(module: str, name: str, parameters: str | None, function: Any) -> list[str]:
    """What the parameters of our function lack against JAX's; the excused ones do not count."""
    if parameters is None:
        return []
    try:
        ours = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ["no signature"]
    excused = {p.name for p in parsed(parameters) if excuse(module, name, p.name)}
    names = {p.name for p in ours}
    wrong = incompatible([p for p in parsed(parameters) if p.name in names or p.name not in excused], ours)
    return [f"{p} {problem}" for p, problem in wrong if excuse(module, name, p.lstrip("*")) is None]


def parsed(parameters: str) -> list[Parameter]:
    """The parameters as they stand in a definition."""
    return list(inspect.signature(eval(f"lambda {parameters}: None")).parameters.values())


def excuse(module: str, name: str, parameter: str) -> str | None:
    """Why a parameter is not taken, or None if it has to be."""
    return PARAMETERS.get(f"{module}.{name}.{parameter}") or PARAMETERS.get(parameter)


def incompatible(theirs: list[Parameter], ours: list[Parameter]) -> list[tuple[str, str]]:
    """Which of their parameters ours do not accept by the same position, name and default, and why.

    >>> incompatible(parsed("x, axis=0"), parsed("x, axis"))
    [('axis', 'is not optional')]
    """
    named, wrong = {p.name: p for p in ours}, []
    positional = [p for p in ours if p.kind in BY_POSITION]
    gather = {p.kind for p in ours}
    for position, p in enumerate(theirs):
        mine = named.get(p.name)
        if p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
            if p.kind not in gather:
                wrong.append((f"{'**' if p.kind is Parameter.VAR_KEYWORD else '*'}{p.name}", "is missing"))
            continue
        if p.kind in BY_POSITION:
            at = positional[position] if position < len(positional) else None
            if at is None and Parameter.VAR_POSITIONAL not in gather:
                wrong.append((p.name, f"is not accepted at position {position}"))
            elif at is not None and p.kind is Parameter.POSITIONAL_OR_KEYWORD and at.name != p.name:
                wrong.append((p.name, f"is not at position {position}, but {at.name}"))
        if p.kind in BY_NAME:
            if mine is None or mine.kind not in BY_NAME:
                if Parameter.VAR_KEYWORD not in gather:
                    wrong.append((p.name, "is not accepted by name"))
                continue
        elif mine is None:
            mine = positional[position] if position < len(positional) else None
        if p.default is not Parameter.empty and mine is not None:
            if mine.default is Parameter.empty:
                wrong.append((p.name, "is not optional"))
            elif p.default is not ... and p.default != mine.default:
                wrong.append((p.name, f"is {mine.default!r} by default, not {p.default!r}"))
    places = sum(p.kind in BY_POSITION for p in theirs)
    taken = {p.name for p in theirs} | {p.name for p in positional[:places]}
    return wrong + [(p.name, "is required") for p in ours if p.kind in (*BY_POSITION, *BY_NAME)
                    and p.default is Parameter.empty and p.name not in taken]


# ---------------------------------------------------------------- the page


def document() -> str:
    """The text of the page."""
    found = [coverage(module) for module in reference()]
    lines = [INTRODUCTION.strip(), "", "| module | names | here | with a reason |", "|---|---|---|---|"]
    for c in found:
        here, not_here = len(c.present), len(c.absent)
        lines.append(f"| [`{c.module}`](#{c.module.replace('.', '')}) | {here + not_here} | {here} | {not_here} |")
    for c in found:
        lines += ["", f"## {c.module}"]
        if c.present:
            lines += ["", "Here:", "", *_wrapped(c.present)]
        if c.absent:
            lines += ["", "| not here | because |", "|---|---|"]
            for why in dict.fromkeys(c.absent.values()):
                lines.append(f"| {', '.join(f'`{n}`' for n, w in c.absent.items() if w == why)} | {why} |")
        if c.unexplained:
            lines += ["", "MISSING WITHOUT A REASON:", "", *_wrapped(c.unexplained)]
    return "\n".join([*lines, "", "## Parameters that are not taken", "", *_excused(), ""])


def _excused() -> list[str]:
    """The table of the parameters that names which are here do not take."""
    used: Counter = Counter()
    for module, names in reference().items():
        ours = _module(module.replace("jax", "funcgrad", 1))
        for name, parameters in names.items():
            if parameters is None or not _here(ours, module, name):
                continue
            taken = {p.name: p.default for p in inspect.signature(getattr(ours, name)).parameters.values()}
            for p in parsed(parameters):
                why = excuse(module, name, p.name)
                if why and (p.name not in taken or PARAMETERS.get(p.name) != why):
                    used[p.name if PARAMETERS.get(p.name) == why else f"{module}.{name}: {p.name}", why] += 1
    return ["| parameter | functions | because |", "|---|---|---|"] + [
        f"| `{key}` | {n} | {why} |" for (key, why), n in sorted(used.items())]


def _wrapped(names: list[str]) -> list[str]:
    return textwrap.wrap(", ".join(f"`{n}`" for n in names), 120, break_on_hyphens=False)


INTRODUCTION = """
# What of JAX is here

Every public name of these modules of JAX is here, under the same module of `funcgrad` and with the same parameters, or stands
below with the reason why not. The page is written by `python -m docs.jax_coverage`, from the names and parameters of the
JAX that `tests/reference/jax_names.json` was made with and from the reasons in `docs/jax_reasons.py`; a test keeps it true.
"""

if __name__ == "__main__":
    PAGE.write_text(document())
