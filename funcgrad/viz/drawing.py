"""``fg.draw``: a picture of a program, forwards and backwards, as SVG.

In: a function with arguments, a jaxpr, or a lowered function. Out: a ``Drawing``, which a notebook shows and ``save`` writes.

    fg.draw(loss, params, x, gradient=True)             the graph with values, and the backward pass beside it
    fg.draw(fg.make_jaxpr(f)(x))                        a program without values
    fg.draw(fg.jit(f).lower(x))                         the schedule: what is fused into which kernel
    fg.draw.memory(fg.jit(f).lower(x))                  the arena over time
"""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.array import describe
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.errors import message
from funcgrad.jit import Lowered
from funcgrad.viz.backward import backpropagate
from funcgrad.viz.compiled import MemoryDrawing, schedule_scene
from funcgrad.viz.expressions import names_of
from funcgrad.viz.files import png, save_picture
from funcgrad.viz.graph import Scene, scene_of
from funcgrad.viz.html import BACKWARD, folding, page
from funcgrad.viz.record import record, record_program
from funcgrad.viz.render import Painter, panel_width, place
from funcgrad.viz.svg import PALE, document, element, group

MARGIN, BETWEEN, CAPTION = 16.0, 40.0, 22.0
FEW = 60
"""Boxes that a drawing has at most before its parts stay folded."""


def draw(f: Callable | Jaxpr | Lowered, *args: Any, gradient: bool = False, depth: int | None = None,
         fold: str | Sequence[str] = ()) -> Drawing:
    """A drawing of the program that f is for these arguments.

    Args:
      f: a function of trees of arrays, which runs once; a jaxpr, drawn without values; or ``fg.jit(f).lower(*args)``, drawn as
        the kernels it becomes.
      gradient: the gradient of the result (one real number) by every value, and the backward pass beside the forward pass.
      depth: how many levels of calls, layers, scopes and loops are unfolded. Default: as many as give a drawing of at most 60
        boxes, but at least a program that is a single call.
      fold: the name of a part, or several, that stay folded: ``"attention"``, ``"scan"``.

    Boxes have the name of the value in the user's code or its label (``fg.label``), the operation, the value or a histogram of
    it, and the user's line. Raises TypeError for arguments that do not fit, or a result that has no gradient.

    >>> drawing = draw(lambda x, y: x * y + fnp.sin(x), 2.0, 3.0, gradient=True)
    >>> drawing.svg[:26], drawing.count
    ('<svg xmlns="http://www.w3.', 5)
    """
    if gradient and isinstance(f, Lowered | Jaxpr):
        raise TypeError(message("draw: gradient=True needs a function", describe(f), None, "fg.draw(f, *args, gradient=True)"))
    if isinstance(f, Lowered):
        scene, title = schedule_scene(f), f"schedule of {f.name}"
        depth = 1 if depth is None else depth
    elif isinstance(f, Jaxpr):
        recording = record_program(f, args or None)
        scene, title = scene_of(recording), f"program {f.name}".strip()
    else:
        recording = record(f, args)
        names = names_of(recording)
        backward = backpropagate(recording, names, "draw") if gradient else None
        scene, title = scene_of(recording, backward, names), recording.name
    unfold(scene, depth, (fold,) if isinstance(fold, str) else tuple(fold))
    return Drawing(scene, title, gradient)


def memory(lowered: Lowered) -> MemoryDrawing:
    """A drawing of the temporary memory of ``fg.jit(f).lower(*args)`` over time: which buffer lies where, from when to when.

    >>> program = fg.jit(lambda x: fnp.sort(fnp.exp(x))[::-1] * 2.0).lower(fnp.ones(100))
    >>> memory(program)
    MemoryDrawing(<lambda>: 1664 bytes, 2 buffers)
    """
    if not isinstance(lowered, Lowered):
        raise TypeError(message("draw.memory: there is no program", describe(lowered), "a lowered function",
                                "fg.draw.memory(fg.jit(f).lower(*args))"))
    return MemoryDrawing(lowered)


draw.memory = memory  # type: ignore[attr-defined]


def unfold(scene: Scene, depth: int | None, fold: Sequence[str]) -> None:
    """Unfolds the parts of a scene down to a depth; without one, as far as the drawing stays small."""
    parts = [box for box in scene.walk() if box.inside is not None]
    if depth is None:
        depth = 0
        deepest = max((box.level + 1 for box in parts), default=0)
        while depth < deepest and (_shown(scene, depth + 1) <= FEW or _shown(scene, depth) <= 1):
            depth += 1
    for box in parts:
        names = [text for text, _ in box.rows[0].parts]
        box.unfolded = box.level < depth and not any(name in part for name in fold for part in names)


def _shown(scene: Scene, depth: int) -> int:
    """How many boxes but pills are seen when parts are unfolded to a depth."""
    return sum(_shown(box.inside, depth) if box.inside is not None and box.level < depth else
               box.kind not in ("input", "constant", "result", "bundle") for box in scene.boxes)


class Drawing:
    """A picture. ``svg`` and ``html`` are its texts; ``save`` writes a file; a notebook shows it."""

    def __init__(self, scene: Scene, title: str, gradient: bool = False):
        self._scene, self.title, self._gradient = scene, title, gradient

    @property
    def count(self) -> int:
        """How many boxes it has, those in folded parts not counted."""
        return _count(self._scene)

    @property
    def svg(self) -> str:
        """The drawing as SVG, with parts folded and unfolded as they were asked for."""
        placed = place(self._scene)
        width, height = panel_width(placed, self.title), placed.arrangement.height
        head = {"y": MARGIN + 8, "fill": PALE, "font_weight": "bold"}
        content = [element("text", self.title, x=MARGIN, **head), *Painter().scene(placed, MARGIN, MARGIN + CAPTION)]
        if self._gradient:
            shift = MARGIN + width + BETWEEN
            content = [group(*content, data_pass="forward"),
                       group(element("text", BACKWARD, x=shift, **head), *Painter(True).scene(placed, shift, MARGIN + CAPTION),
                             data_pass="backward")]
            width += BETWEEN + panel_width(placed, BACKWARD)
        return document(content, width + 2 * MARGIN, height + 2 * MARGIN + CAPTION, self.title)

    def save(self, path: str | os.PathLike) -> None:
        """Writes ``path``: .svg, .html (parts fold at a click), or .png (with the package cairosvg). All of it or nothing.

        Raises ValueError for another ending, ImportError for .png without cairosvg.
        """
        save_picture(path, svg=lambda: self.svg, html=lambda: page(self.title, self.html), png=lambda: png(self.svg))

    @property
    def html(self) -> str:
        """The drawing as HTML: a click folds and unfolds a part. Without scripts, all parts that fold are folded."""
        return folding(self._scene, self.title, self._gradient)

    def _repr_html_(self) -> str:
        return self.html if any(box.inside is not None for box in self._scene.walk()) else self.svg

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Drawing({self.title}: {self.count} boxes)"


def _count(scene: Scene) -> int:
    return sum(1 + (_count(box.inside) if box.unfolded and box.inside is not None else 0) for box in scene.boxes)
