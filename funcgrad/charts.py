"""Small charts as SVG text, or with matplotlib: bars, lines, and maps of numbers.

In: labels and numbers. Out: a chart, whose ``svg()`` is a string and whose ``draw(axes)`` uses the axes of matplotlib; and
``Report``, for results that are a table and a chart. Numbers that are not finite leave a gap. The same numbers give the same
text.

    chart = Bars("gradients", ("0.weight", "2.weight"), (1e-3, 0.2), log=True)
    chart.svg()                                           # <svg ...>
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from funcgrad.errors import message
from funcgrad.tables import Cells, html_table, text_table

INK, PALE, GRID, PAPER = "#1c2430", "#5d6778", "#dde1e8", "#ffffff"
COLOURS = ("#3b76c4", "#d97a2b", "#3f9b62", "#9a5fc0", "#c94f6d")
GOOD, WARNING = COLOURS[0], "#c0392b"
DOTS = 100
"""Points that a line has at most for each of them to be a dot."""
TOLD = 900
"""Cells that a map has at most for each of them to tell its number when pointed at; in larger ones none does."""
LETTER = 6.6
"""The width of a letter of 11 pixels, about."""


class Scale(NamedTuple):
    """Numbers to pixels, with the numbers that have a tick."""

    place: Callable[[float], float]
    ticks: tuple[float, ...]


def visible(v: float, log: bool) -> bool:
    """Whether a scale can show a number."""
    return math.isfinite(v) and (v > 0 or not log)


def scale(values: Sequence[float], start: float, stop: float, log: bool, zero: bool = False) -> Scale:
    """A scale that shows all visible values. ``zero``: bars begin at 0, on a logarithmic scale below the least value."""
    shown = [v for v in values if visible(v, log)] or [1.0]
    low, high = min(shown), max(shown)
    if log:
        low = low / 2 if zero else low
        first, last = math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)
        step = -(-(last - first) // 6)
        length = last - first
        return Scale(lambda v: start + (stop - start) * (math.log10(v) - first) / length,
                     tuple([10.0**k for k in range(first, last + 1, step)]))
    low, high = (min(low, 0.0), max(high, 0.0)) if zero else (low, high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (k * step) <= 5)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return Scale(lambda v: start + (stop - start) * (v / step - first) / (last - first),
                 tuple([k * step for k in range(first, last + 1)]))


def short(v: float) -> str:
    """A number in three digits.

    >>> short(0.00012), short(1.0), short(12345.0)
    ('0.00012', '1', '1.23e+04')
    """
    return f"{v:.3g}"


class Chart:
    """A picture that shows itself in a notebook."""

    title: str

    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        raise NotImplementedError

    def draw(self, axes: Any) -> None:
        """The same with the axes of matplotlib."""
        raise NotImplementedError

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title})"


@dataclass(frozen=True, repr=False)
class Bars(Chart):
    """A horizontal bar for each label."""

    title: str
    labels: tuple[str, ...]
    values: tuple[float, ...]
    marked: tuple[bool, ...] = ()
    log: bool = False

    def svg(self) -> str:
        left, width, row = 16 + LETTER * max(map(len, self.labels), default=0), 360, 18
        bottom = 34 + row * len(self.values)
        to, ticks = scale(self.values, left, left + width, self.log, zero=True)
        parts = [_line(to(t), 30, to(t), bottom, GRID) + _text(to(t), bottom + 14, short(t), "middle", PALE) for t in ticks]
        for i, (label, value) in enumerate(zip(self.labels, self.values, strict=True)):
            y, marked = 34 + row * i, bool(self.marked) and self.marked[i]
            parts.append(_text(left - 6, y + 12, label, "end", WARNING if marked else INK))
            if not visible(value, self.log):
                parts.append(_text(left + 4, y + 12, str(value), "start", WARNING))
                continue
            a, b = sorted((to(ticks[0] if self.log else 0.0), to(value)))
            parts.append(_box(a, y + 2, max(b - a, 1), row - 4, WARNING if marked else GOOD, f"{label}: {short(value)}"))
        return _document(left + width + 30, bottom + 24, self.title, parts)

    def draw(self, axes: Any) -> None:
        places = range(len(self.values))
        axes.barh(places, self.values, color=[WARNING if m else GOOD for m in self.marked or (False,) * len(self.values)])
        axes.set_yticks(places, self.labels)
        axes.invert_yaxis()
        if self.log and any(v > 0 for v in self.values):
            axes.set_xscale("log")
        axes.set_title(self.title)


@dataclass(frozen=True, repr=False)
class Lines(Chart):
    """Lines by name; with ``names`` the places on the horizontal axis are these instead of numbers."""

    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    series: Sequence[tuple[str, Sequence[float]]]
    log: bool = False
    names: Sequence[str] = ()

    def svg(self) -> str:
        left, top, width, height = 70, 54, 420, 220
        to_y, y_ticks = scale([v for _, ys in self.series for v in ys], top + height, top, self.log)
        to_x, x_ticks = scale(self.xs, left, left + width, False)
        if self.names:  # a margin of half a place
            n = max(len(self.xs), 1)
            to_x = lambda v: left + width * (v + 0.5) / n  # noqa: E731
        parts = [_line(left, to_y(t), left + width, to_y(t), GRID) + _text(left - 6, to_y(t) + 4, short(t), "end", PALE)
                 for t in y_ticks]
        bottom = top + height
        if self.names:
            parts += [_text(to_x(x), bottom + 12, name, "end", PALE, turned=-40)
                      for x, name in zip(self.xs, self.names, strict=True)]
            bottom += 0.65 * LETTER * max(map(len, self.names), default=0)
        else:
            parts += [_line(to_x(t), top, to_x(t), bottom, GRID) + _text(to_x(t), bottom + 16, short(t), "middle", PALE)
                      for t in x_ticks]
        for (name, ys), colour, i in zip(self.series, COLOURS, range(len(self.series)), strict=False):
            points = [(to_x(x), to_y(y)) for x, y in zip(self.xs, ys, strict=True)
                      if visible(y, self.log)]
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
            if len(points) <= DOTS:
                parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{colour}"/>' for x, y in points]
            parts.append(_box(left + width + 14, top + 18 * i, 10, 10, colour)
                         + _text(left + width + 30, top + 9 + 18 * i, name, "start", INK))
        parts.append(_text(left + width / 2, bottom + 36, self.x_label, "middle", INK))
        parts.append(_text(left - 50, top - 8, self.y_label, "start", INK))
        legend = 40 + LETTER * max([len(name) for name, _ in self.series], default=0)
        return _document(left + width + legend, bottom + 48, self.title, parts)

    def draw(self, axes: Any) -> None:
        for name, ys in self.series:
            shown = [(x, y) for x, y in zip(self.xs, ys, strict=True) if visible(y, self.log)]
            axes.plot([x for x, _ in shown], [y for _, y in shown], marker=".", label=name)
        if self.names:
            axes.set_xticks(self.xs, self.names, rotation=40, ha="right")
        if self.log and any(v > 0 for _, ys in self.series for v in ys):
            axes.set_yscale("log")
        axes.set(title=self.title, xlabel=self.x_label, ylabel=self.y_label)
        axes.legend()


@dataclass(frozen=True, repr=False)
class Map(Chart):
    """Numbers over a plane: ``values[i][j]`` at ``ys[i]`` and ``xs[j]``; dark is low."""

    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    ys: Sequence[float]
    values: Sequence[Sequence[float]]
    log: bool = False

    def svg(self) -> str:
        left, top, size = 60, 54, 300
        cell_x, cell_y = size / max(len(self.xs), 1), size / max(len(self.ys), 1)
        shown = [v for row in self.values for v in row if visible(v, self.log)] or [1.0]
        to, ticks = scale(shown, 0.0, 1.0, self.log)
        darkest, span = to(min(shown)), (to(max(shown)) - to(min(shown))) or 1.0
        parts = []
        told = len(self.xs) * len(self.ys) <= TOLD
        for i, row in enumerate(self.values):
            place = f'y="{top + size - cell_y * (i + 1):.1f}" width="{cell_x:.1f}" height="{cell_y:.1f}"'
            cells = []
            for j, v in enumerate(row):
                colour = _colour((to(v) - darkest) / span) if visible(v, self.log) else "#b0b0b0"
                end = f"><title>{short(self.xs[j])}, {short(self.ys[i])}: {short(v)}</title></rect>" if told else "/>"
                cells.append(f'<rect x="{left + cell_x * j:.1f}" {place} fill="{colour}"{end}')
            parts.append(f'<g shape-rendering="crispEdges">{"".join(cells)}</g>')
        for at, x in ((0, left + cell_x / 2), (len(self.xs) // 2, left + size / 2), (-1, left + size - cell_x / 2)):
            parts.append(_text(x, top + size + 16, short(self.xs[at]), "middle", PALE))
        for at, y in ((0, top + size - cell_y / 2), (len(self.ys) // 2, top + size / 2), (-1, top + cell_y / 2)):
            parts.append(_text(left - 6, y + 4, short(self.ys[at]), "end", PALE))
        for k in range(40):
            parts.append(_box(left + size + 20, top + size * (39 - k) / 40, 14, size / 40, _colour((k + 0.5) / 40)))
        inside = [t for t in ticks if -0.01 <= (to(t) - darkest) / span <= 1.01]
        for t in inside if len(inside) > 1 else [min(shown), max(shown)]:
            parts.append(_text(left + size + 40, top + size * (1 - (to(t) - darkest) / span) + 4, short(t), "start", PALE))
        parts.append(_text(left + size / 2, top + size + 34, self.x_label, "middle", INK))
        parts.append(_text(left - 50, top - 8, self.y_label, "start", INK))
        return _document(left + size + 110, top + size + 46, self.title, parts)

    def draw(self, axes: Any) -> None:
        from matplotlib.colors import LogNorm
        mesh = axes.pcolormesh(self.xs, self.ys, self.values, norm=LogNorm() if self.log else None)
        axes.figure.colorbar(mesh, ax=axes)
        axes.set(title=self.title, xlabel=self.x_label, ylabel=self.y_label)


class Report:
    """A result that is a table and a chart. Prints as text, shows both in a notebook; ``plot`` draws with matplotlib."""

    def head(self) -> str:
        """What stands above the table."""
        raise NotImplementedError

    def table(self) -> tuple[Cells, Sequence[Cells], str]:
        """Names of the columns, rows, and how the columns are aligned."""
        raise NotImplementedError

    def chart(self) -> Chart:
        """The picture."""
        raise NotImplementedError

    def __str__(self) -> str:
        return f"{self.head()}\n{text_table(*self.table())}"

    __repr__ = __str__

    def _repr_svg_(self) -> str:
        return self.chart().svg()

    def _repr_html_(self) -> str:
        return f"<div>{self.chart().svg()}{html_table(*self.table(), caption=self.head())}</div>"

    def plot(self, axes: Any = None) -> Any:
        """Draws the chart with matplotlib, in the given axes or in new ones, which it returns.

        Raises ImportError where there is no matplotlib.
        """
        if axes is None:
            try:
                from matplotlib import pyplot
            except ImportError:
                raise ImportError(message("plot: matplotlib is not installed", None, None,
                                          "pip install 'funcgrad[viz]'; the picture is also there without it, as SVG: "
                                          "report._repr_svg_()")) from None
            axes = pyplot.subplots(layout="constrained")[1]
        self.chart().draw(axes)
        return axes


def _colour(share: float) -> str:
    """From dark blue over green to yellow."""
    stops = ((38, 30, 88), (40, 110, 142), (60, 172, 118), (246, 226, 70))
    at = min(max(share, 0.0), 1.0) * (len(stops) - 1)
    i = min(int(at), len(stops) - 2)
    return "#" + "".join(f"{round(a + (b - a) * (at - i)):02x}" for a, b in zip(stops[i], stops[i + 1], strict=True))


def _box(x: float, y: float, width: float, height: float, colour: str, title: str = "") -> str:
    inside = f"<title>{escape(title)}</title>" if title else ""
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}" '
            f'shape-rendering="crispEdges">{inside}</rect>')


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str, turned: float = 0) -> str:
    turn = f' transform="rotate({turned} {x:.1f} {y:.1f})"' if turned else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{turn}>{escape(text)}</text>'


def _document(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    font = "font-family=\"Helvetica,Arial,'DejaVu Sans',sans-serif\" font-size=\"11\""
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}><rect width="100%" height="100%" fill="{PAPER}"/>'
            f'<text x="12" y="18" font-size="13" font-weight="bold" fill="{INK}">{escape(title)}</text>{"".join(parts)}</svg>')
