"""From a scene to SVG: sizes of boxes, their places, their text.

In: a ``Scene``. Out: the elements of a drawing and its size. A part that is unfolded has its scene drawn inside of its box. The
backward pass is the same picture in a mirror: each node has its twin at the same height, and the edges go up.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from funcgrad.viz.graph import Box, Link, Row, Scene
from funcgrad.viz.layout import Arrangement, Bend, Edge, arrange
from funcgrad.viz.svg import ACCENT, BACKGROUND, FILLS, INK, LINE, PALE, STROKES, curve, element, group, number

Point = tuple[float, float]
CHARACTER, ROW, BARS, PADDING, HEAD = 6.7, 15.0, 20.0, 9.0, 26.0
"""Widths and heights: of a character, a row, a histogram, the space at the sides, the head of an unfolded part."""
BAR = 6.0
INSIDE = 12.0
ARROW = 5.0
STYLES = {
    "": {"fill": INK}, "name": {"fill": INK, "font_weight": "bold"}, "value": {"fill": "#17479e"}, "pale": {"fill": PALE},
    "place": {"fill": PALE, "font_size": "9.5"}, "gradient": {"fill": ACCENT},
}


@dataclass(eq=False)
class Placed:
    """A scene with the places of its boxes, and those of the scenes inside."""

    scene: Scene
    arrangement: Arrangement
    sizes: list[tuple[float, float]]
    inner: list[Placed | None]


def place(scene: Scene, folded: bool = False) -> Placed:
    """Arranges a scene, from the innermost parts on; with ``folded``, as if all of them were folded."""
    inner = [place(box.inside) if box.unfolded and not folded and box.inside is not None else None for box in scene.boxes]
    sizes = [size(box, part) for box, part in zip(scene.boxes, inner, strict=True)]
    edges = []
    for link in scene.links:
        a, b = link.source, link.target
        edges.append(Edge(a, b, _out_port(scene.boxes[a], inner[a], sizes[a][0], link),
                          _in_port(scene.boxes[b], inner[b], sizes[b][0], link)))
    return Placed(scene, arrange(sizes, edges), sizes, inner)


def size(box: Box, part: Placed | None = None) -> tuple[float, float]:
    """The width and height of a box, folded or with its scene inside."""
    if part is not None:
        return max(part.arrangement.width + 2 * INSIDE, frame_width(box)), part.arrangement.height + HEAD + INSIDE
    faces = [box.rows] if box.twin is None else [box.rows, box.twin]
    width = max(_row_width(row) for face in faces for row in face) + 2 * PADDING + (12 if box.inside is not None else 0)
    return max(width, 44.0), max(map(_rows_height, faces)) + 8


def panel_width(placed: Placed, title: str) -> float:
    """The width that a scene with a title needs."""
    return max(placed.arrangement.width, CHARACTER * len(title))


def frame_width(box: Box) -> float:
    """The width that the head of an unfolded box needs."""
    return _row_width(_head(box)) + 3 * PADDING


def _head(box: Box) -> Row:
    return Row((*box.rows[0].parts, (f"   {box.note}", "pale"))) if box.note else box.rows[0]


def _rows_height(rows: Sequence[Row]) -> float:
    return sum(BARS if row.bars else ROW for row in rows)


def _row_width(row: Row) -> float:
    if row.bars:
        return len(row.bars) * BAR
    return sum(len(text) * (CHARACTER * 0.87 if style == "place" else CHARACTER) for text, style in row.parts)


def _spread(i: int, count: int, width: float) -> float:
    """The i-th of some ports along a side, from its middle."""
    return (i - (count - 1) / 2) * min(26.0, 0.8 * width / count)


def _in_port(box: Box, part: Placed | None, width: float, link: Link) -> float:
    """Where an edge enters a box; a part that is unfolded, above the pill inside."""
    if part is not None and box.ports:
        return _pill_port(part, width, box.ports[link.operand])
    return _spread(link.operand, len(box.uses), width)


def _out_port(box: Box, part: Placed | None, width: float, link: Link) -> float:
    if part is not None and box.kind == "group":
        return _pill_port(part, width, len(part.sizes) - len(box.makes) + box.makes.index(link.variable))
    return 0.0 if box.kind == "bundle" else _spread(box.makes.index(link.variable), len(box.makes), width)


def _pill_port(part: Placed, width: float, i: int) -> float:
    left = (width - part.arrangement.width) / 2
    return left + part.arrangement.x[i] + part.sizes[i][0] / 2 - width / 2


# ---------------------------------------------------------------- elements


class Painter:
    """Writes the elements of a scene, forwards or as its mirror image, the backward pass."""

    def __init__(self, mirrored: bool = False):
        self.mirrored = mirrored

    def scene(self, placed: Placed, dx: float = 0.0, dy: float = 0.0) -> list[str]:
        """The edges, and above them the boxes."""
        found = []
        lines = zip(placed.scene.links, placed.arrangement.routes, placed.arrangement.branches, strict=True)
        for link, route, branch in lines:
            if not self.mirrored or link.backward:
                found.append(self.edge(placed.scene, link, self.turned(route, placed), branch and self.mirrored))
        for i, box in enumerate(placed.scene.boxes):
            found += self.box(box, placed, i)
        return [group(*found, transform=f"translate({number(dx)},{number(dy)})")]

    def turned(self, route: Sequence[Bend], placed: Placed) -> list[Point]:
        """A route, or its mirror image the other way round."""
        if self.mirrored:
            return [(placed.arrangement.width - x, y) for x, y, _ in reversed(route)]
        return [(x, y) for x, y, _ in route]

    def edge(self, scene: Scene, link: Link, route: list[Point], joins: bool, **more: Any) -> str:
        """An edge; one that joins another on its way has no arrow."""
        x, y = route[-1]
        base = y - self.tip(joins)
        color = ACCENT if self.mirrored else LINE
        parts = [element("path", d=curve([*route[:-1], (x, base)]), fill="none", stroke=color, stroke_width="1.2")]
        if not joins:
            parts.append(element("path", d=f"M{number(x - 3.5)},{number(base)}h7L{number(x)},{number(y)}z", fill=color))
        return group(*parts, class_="fg-edge", data_from=scene.boxes[link.source].key, data_to=scene.boxes[link.target].key,
                     data_operand=link.operand, **more)

    def tip(self, joins: bool) -> float:
        """How far an arrow goes down; one of the backward pass goes up."""
        return 0.0 if joins else -ARROW if self.mirrored else ARROW

    def box(self, box: Box, placed: Placed, i: int) -> list[str]:
        if self.mirrored and box.twin is None:
            return []
        width, height = placed.sizes[i]
        part = placed.inner[i]
        if part is None or self.mirrored and all(inside.twin is None for inside in part.scene.boxes):
            content = self.face(box, width, height, box.inside is not None and part is None)
        else:
            content = [*self.frame(box, width, height), *self.scene(part, (width - part.arrangement.width) / 2, HEAD)]
        x, y = self.corner(placed, i)
        return [group(*content, transform=f"translate({number(x)},{number(y)})", class_="fg-box", data_key=box.key)]

    def corner(self, placed: Placed, i: int) -> Point:
        x, y = placed.arrangement.x[i], placed.arrangement.y[i]
        return (placed.arrangement.width - x - placed.sizes[i][0] if self.mirrored else x), y

    def face(self, box: Box, width: float, height: float, folds: bool) -> list[str]:
        """A box without its inside; if that could be unfolded, with a sign of it."""
        kind = "gradient" if self.mirrored else box.color or box.kind
        look = {"fill": FILLS[kind], "stroke": STROKES[kind], "stroke_width": "2" if box.result else "1",
                "rx": 9 if box.kind in ("input", "constant", "result", "bundle") else 4}
        rows = box.twin if self.mirrored and box.twin is not None else box.rows
        behind = [element("rect", x=3, y=3, width=width, height=height, **look)] if folds else []
        sign = [element("text", "+", x=width - 11, y=13, fill=PALE, font_weight="bold")] if folds else []
        return [self.title(box), *behind, element("rect", x=0, y=0, width=width, height=height, **look),
                *self.rows(rows, (height - _rows_height(rows)) / 2), *sign]

    def frame(self, box: Box, width: float, height: float) -> list[str]:
        """What is around the inside of an unfolded box."""
        kind = "gradient" if self.mirrored else box.kind
        color = box.color or kind
        return [self.title(box), element("rect", x=0, y=0, width=width, height=height, rx=6, stroke=STROKES[color],
                                         fill=FILLS[color] if box.color else BACKGROUND, stroke_dasharray="4 2"),
                *self.rows([_head(box)], 8.0)]

    def title(self, box: Box) -> str:
        return element("title", f"backward of {box.title}" if self.mirrored else box.title)

    def rows(self, rows: Sequence[Row], y: float) -> list[str]:
        found = []
        for row in rows:
            if row.bars:
                found.append(self.bars(row, y))
                y += BARS
                continue
            y += ROW
            spans = [element("tspan", text, **STYLES[style]) for text, style in row.parts if text]
            found.append(element("text", spans, True, x=PADDING, y=y - 4, **{"xml:space": "preserve"}))
        return found

    def bars(self, row: Row, y: float) -> str:
        color = ACCENT if row.style == "gradient" else "#6d9bd8"
        path = "".join(f"M{number(PADDING + i * BAR)},{number(y + 18)}v-{h}h{number(BAR - 1)}v{h}z"
                       for i, h in enumerate(row.bars) if h)
        return element("path", d=path, fill=color)
