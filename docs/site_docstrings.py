"""Docstrings as the site shows them: examples and indented text become blocks of code.

In: docstrings as griffe reads them. Out: the same in Markdown, where ``>>>`` would be a quotation in a quotation.
"""
from __future__ import annotations

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?:^|(?<=\n))( *)>>> [^\n]*(?:\n(?! *\n)[^\n]*)*")


class Examples(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_object(self, *, obj: griffe.Object, loader: Any, **kwargs: Any) -> None:
        if obj.docstring and ">>> " in obj.docstring.value:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(match: re.Match) -> str:
    indent, text = match[1], match[0]
    lines = [line.removeprefix(indent) for line in text.split("\n")]
    return "\n".join([f"{indent}```pycon", *(indent + line for line in lines), f"{indent}```"])
