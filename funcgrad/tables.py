"""Tables as text and as HTML, and amounts as people read them.

In: a head and rows of cells. Out: lines of columns that stand under each other, or a ``<table>``.

    >>> print(text_table(("layer", "flops"), [("0", "1.2 k"), ("attention", "40.5 M")], "<>"))
    layer       flops
    0           1.2 k
    attention  40.5 M
"""
from __future__ import annotations

from collections.abc import Sequence
from html import escape

Cells = Sequence[str]


def text_table(head: Cells, rows: Sequence[Cells], alignment: str) -> str:
    """The rows under their head; ``alignment`` has "<" or ">" for each column."""
    table = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    columns = list(zip(alignment, widths, strict=True))
    lines = ["  ".join([f"{cell:{side}{width}}" for cell, (side, width) in zip(row, columns, strict=True)]) for row in table]
    return "\n".join(map(str.rstrip, lines))


def html_table(head: Cells, rows: Sequence[Cells], alignment: str, caption: str = "") -> str:
    """The table for a notebook."""
    def line(cells: Cells, tag: str) -> str:
        return "<tr>" + "".join(
            f'<{tag} style="text-align:{"left" if side == "<" else "right"};white-space:pre">{escape(cell)}</{tag}>'
            for cell, side in zip(cells, alignment, strict=True)) + "</tr>"

    title = f'<caption style="text-align:left;white-space:pre-line">{escape(caption)}</caption>' if caption else ""
    body = "".join(line(row, "td") for row in rows)
    return f"<table>{title}<thead>{line(head, 'th')}</thead><tbody>{body}</tbody></table>"


def amount(n: float, unit: str = "") -> str:
    """A number with three digits and a prefix: ``1.23 Mflop``.

    >>> amount(1234567, "flop"), amount(12, "B")
    ('1.23 Mflop', '12 B')
    """
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if n >= factor:
            return f"{n / factor:.3g} {prefix}{unit}"
    return f"{n:.0f} {unit}".rstrip()
