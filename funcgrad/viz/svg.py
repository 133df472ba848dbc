"""SVG as text: elements, numbers, colours.

In: names, attributes, contents. Out: strings; text is escaped, numbers are short, and the same drawing is the same text.

    >>> element("text", "x < y", x=1.50, font_size=12)
    '<text x="1.5" font-size="12">x &lt; y</text>'
"""
from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

FONT = "ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
BACKGROUND, LINE, INK, PALE, ACCENT = "#fcfcfd", "#8a94a6", "#1c2430", "#5d6778", "#b3470b"
FILLS = {
    "input": "#fff6d6", "bundle": "#fff6d6", "result": "#fff6d6", "constant": "#eeeeee", "elementwise": "#e3eefc",
    "movement": "#f1f2f5", "reduction": "#dff3e4", "contraction": "#eae4fb", "opaque": "#fbe7ee", "control": "#fdebd9",
    "group": "#f4f7fb", "gradient": "#fdf0e7", "kernel": "#f2f7fe", "gemm": "#f5f2fd", "loop": "#fef6ee", "host": "#fdf4f7",
}
STROKES = {
    "input": "#c9a227", "bundle": "#c9a227", "result": "#c9a227", "constant": "#a9a9a9", "elementwise": "#6d9bd8",
    "movement": "#aab1bd", "reduction": "#62b17a", "contraction": "#9077d6", "opaque": "#cf7c98", "control": "#d99a57",
    "group": "#a9b8cc", "gradient": "#d98a55", "kernel": "#6d9bd8", "gemm": "#9077d6", "loop": "#d99a57", "host": "#cf7c98",
}


def number(x: float) -> str:
    """A coordinate with one digit behind the point.

    >>> number(2.0), number(-0.04), number(1.25)
    ('2', '0', '1.2')
    """
    text = f"{x:.1f}"
    return "0" if text == "-0.0" else text.removesuffix(".0")


def element(tag: str, content: str | Sequence[str] | None = None, raw: bool = False, /, **attributes: Any) -> str:
    """An element. Content is a text, which is escaped, or with ``raw`` the elements inside."""
    text = "".join(f' {_attribute(name)}="{escape(_value(value))}"' for name, value in attributes.items() if value is not None)
    if content is None:
        return f"<{tag}{text}/>"
    inside = ("".join(content) if raw else escape(content, False))  # type: ignore[arg-type]
    return f"<{tag}{text}>{inside}</{tag}>"


def group(*content: str, **attributes: Any) -> str:
    return element("g", content, True, **attributes)


def _attribute(name: str) -> str:
    return "class" if name == "class_" else "viewBox" if name == "viewBox" else name.replace("_", "-")


def _value(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def document(content: Sequence[str], width: float, height: float, title: str) -> str:
    """A whole drawing with a background of its own."""
    return element("svg", [
        element("title", title),
        element("rect", x=0, y=0, width=width, height=height, rx=8, fill=BACKGROUND),
        *content,
    ], True, xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {number(width)} {number(height)}", width=width, height=height,
        role="img", font_family=FONT, font_size=11)


def curve(points: Sequence[tuple[float, float]]) -> str:
    """The path through points: vertical at each, straight where x stays the same."""
    (x, y), *rest = points
    text = f"M{number(x)},{number(y)}"
    for a, b in rest:
        if abs(a - x) < 0.5:
            text += f"V{number(b)}" if number(a) == number(x) else f"L{number(a)},{number(b)}"
        else:
            middle = (y + b) / 2
            text += f"C{number(x)},{number(middle)} {number(a)},{number(middle)} {number(a)},{number(b)}"
        x, y = a, b
    return text
