"""Drawings as HTML whose parts fold and unfold at a click, without a network.

In: a scene. Out: HTML with SVG and a small script. Python arranges every scene with all of its parts folded; the script makes
room for what is unfolded: a box that grows pushes those on its right in its layer, and the layers below, so nothing overlaps.
"""
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from html import escape
from typing import Any

from funcgrad.viz.graph import Box, Link, Scene
from funcgrad.viz.layout import Bend
from funcgrad.viz.render import HEAD, INSIDE, Painter, Placed, frame_width, panel_width, place
from funcgrad.viz.svg import BACKGROUND, FONT, PALE, document, element, group, number

BACKWARD = "backward, from the result up"
STYLE = (f"background:{BACKGROUND};color:#1c2430;font:12px {FONT};padding:8px;border-radius:8px;overflow:auto")

FOLDING = """
(id => {
const values = (e, ...names) => names.map(n => parseFloat(e.dataset[n]));
const kids = (e, name) => [...e.children].filter(x => x.classList.contains(name));
const digits = x => String(Math.round(x * 10) / 10);
function curve(points) {
  let [x, y] = points[0], text = `M${digits(x)},${digits(y)}`;
  for (const [a, b] of points.slice(1)) {
    const m = digits((y + b) / 2), end = `${digits(a)},${digits(b)}`;
    text += Math.abs(a - x) < 0.5 ? `L${end}` : `C${digits(x)},${m} ${digits(a)},${m} ${end}`;
    [x, y] = [a, b];
  }
  return text;
}
function fit(scene) {
  const boxes = {}, layers = [];
  for (const e of kids(scene, 'fg-box')) {
    const [i, x, y, w, h, layer, head] = values(e, 'i', 'x', 'y', 'w', 'h', 'layer', 'head');
    const box = boxes[i] = {e, x, y, w, h, layer, W: w, H: h}, inside = kids(e, 'fg-inside')[0];
    if (inside) {
      const open = e.dataset.open === '1', inner = kids(inside, 'fg-scene')[0], frame = kids(inside, 'fg-frame')[0].children[1];
      inside.style.display = open ? '' : 'none';
      kids(e, 'fg-face')[0].style.display = open ? 'none' : '';
      e.setAttribute('aria-expanded', open);
      if (open) {
        const [iw, ih] = fit(inner);
        box.W = Math.max(w, iw + 2 * INSIDE, head);
        box.H = Math.max(h, ih + HEAD + INSIDE);
        frame.setAttribute('width', box.W);
        frame.setAttribute('height', box.H);
        inner.setAttribute('transform', `translate(${digits((box.W - iw) / 2)},${HEAD})`);
      }
    }
    const row = layers[layer] = layers[layer] || {h: 0, H: 0};
    row.h = Math.max(row.h, h);
    row.H = Math.max(row.H, box.H);
  }
  const more = layer => layers[layer] ? layers[layer].H - layers[layer].h : 0;
  const down = layer => layers.reduce((sum, _, k) => sum + (k < layer ? more(k) : 0), 0);
  const right = (x, layer) => Object.values(boxes).reduce((sum, b) =>
    sum + (b.layer === layer && b.x + b.w <= x + 0.01 ? b.W - b.w : 0), 0);
  let [width, height] = values(scene, 'w', 'h');
  for (const b of Object.values(boxes)) {
    b.X = b.x + right(b.x, b.layer);
    b.Y = b.y + down(b.layer);
    b.e.setAttribute('transform', `translate(${digits(b.X)},${digits(b.Y)})`);
    width = Math.max(width, b.X + b.W);
  }
  for (const e of kids(scene, 'fg-edge')) {
    const ends = [boxes[e.dataset.a], boxes[e.dataset.b]];
    const points = e.dataset.points.split(' ').map(p => p.split(',').map(Number));
    const moved = points.map(([x, y, layer, low], k) => {
      const b = k === 0 ? ends[0] : k === points.length - 1 ? ends[1] : null;
      return b ? [x - b.x + b.X, low ? b.Y + b.H : b.Y] : [x + right(x, layer), y + down(layer) + (low ? more(layer) : 0)];
    });
    const last = moved[moved.length - 1], [x, y] = last, tip = parseFloat(e.dataset.tip);
    last[1] -= tip;
    for (const p of moved) width = Math.max(width, p[0]);
    e.children[0].setAttribute('d', curve(moved));
    if (tip) e.children[1].setAttribute('d', `M${digits(x - 3.5)},${digits(y - tip)}h7L${digits(x)},${digits(y)}z`);
  }
  return [width, height + down(layers.length)];
}
for (const root of document.querySelectorAll(`[data-fg="${id}"]:not([data-ready])`)) {
  root.dataset.ready = 1;
  const show = () => root.querySelectorAll('svg').forEach(svg => {
    const [w, h] = fit(kids(svg, 'fg-scene')[0]);
    svg.setAttribute('width', w + 32);
    svg.setAttribute('height', h + 54);
    svg.setAttribute('viewBox', `0 0 ${digits(w + 32)} ${digits(h + 54)}`);
    svg.children[1].setAttribute('width', w + 32);
    svg.children[1].setAttribute('height', h + 54);
  });
  const toggle = event => {
    const box = event.target.closest('[data-open]');
    if (!box || event.type === 'keydown' && event.key !== 'Enter') return;
    const open = box.dataset.open === '1' ? '0' : '1';
    root.querySelectorAll('[data-open]').forEach(e => { if (e.dataset.key === box.dataset.key) e.dataset.open = open; });
    show();
  };
  root.addEventListener('click', toggle);
  root.addEventListener('keydown', toggle);
  show();
}
})("ID")
"""


def folding(scene: Scene, title: str, gradient: bool) -> str:
    """A drawing whose parts fold at a click; the backward pass folds with the forward pass."""
    placed = place(scene, True)
    panels = [_panel(FoldingPainter(), placed, title)]
    if gradient:
        panels.append(_panel(FoldingPainter(True), placed, BACKWARD))
    body = "".join(panels)
    script = FOLDING.replace("HEAD", number(HEAD)).replace("INSIDE", number(INSIDE))
    return fragment("", f'<div style="display:flex;gap:16px;align-items:flex-start">{body}</div>', script)


def fragment(before: str, body: str, script: str) -> str:
    """HTML for a cell of a notebook: contents that a script brings to life."""
    digest = hashlib.sha256((before + body).encode()).hexdigest()[:12]
    script = script.strip().replace("ID", digest)
    return f'<div data-fg="{digest}" style="{STYLE}">{before}{body}</div><script>{script}</script>'


def page(title: str, body: str) -> str:
    """A whole page around a fragment."""
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
            f'<body style="margin:16px;background:#ffffff">{body}</body></html>\n')


def _panel(painter: FoldingPainter, placed: Placed, title: str) -> str:
    caption = element("text", title, x=16, y=24, fill=PALE, font_weight="bold")
    width = panel_width(placed, title)
    scene = painter.folding_scene(placed, width).replace("<g ", '<g transform="translate(16,38)" ', 1)
    return document([caption, scene], width + 32, placed.arrangement.height + 54, title)


class FoldingPainter(Painter):
    """Writes a scene with all that its parts hold, and what the script needs to know of the places."""

    def folding_scene(self, placed: Placed, width: float = 0.0) -> str:
        arrangement = placed.arrangement
        found = []
        lines = zip(placed.scene.links, arrangement.routes, arrangement.branches, strict=True)
        for link, route, branch in lines:
            if not self.mirrored or link.backward:
                found.append(self.folding_edge(placed, link, route, branch))
        for i, box in enumerate(placed.scene.boxes):
            if not self.mirrored or box.twin is not None:
                found.append(self.folding_box(box, placed, i))
        return group(*found, class_="fg-scene", data_w=max(width, arrangement.width), data_h=arrangement.height)

    def folding_edge(self, placed: Placed, link: Link, route: Sequence[Bend], branch: bool) -> str:
        arrangement = placed.arrangement
        tops = dict(zip(arrangement.layer, arrangement.y, strict=True))
        points = [f"{number(arrangement.width - x if self.mirrored else x)},{number(y)},{layer},{int(y > tops[layer] + 0.01)}"
                  for x, y, layer in route]
        ends = ["" if branch else link.source, link.target]
        if self.mirrored:
            points.reverse()
            ends.reverse()
        joins = branch and self.mirrored
        return self.edge(placed.scene, link, self.turned(route, placed), joins, data_a=ends[0], data_b=ends[1],
                         data_tip=number(self.tip(joins)), data_points=" ".join(points))

    def folding_box(self, box: Box, placed: Placed, i: int) -> str:
        (width, height), (x, y) = placed.sizes[i], self.corner(placed, i)
        inside = box.inside
        if inside is not None and self.mirrored and all(b.twin is None for b in inside.boxes):
            inside = None
        content = self.face(box, width, height, inside is not None)
        more: dict[str, Any] = {}
        if inside is not None:
            content = [group(*content, class_="fg-face"),
                       group(group(*self.frame(box, width, height), class_="fg-frame"), self.folding_scene(place(inside, True)),
                             class_="fg-inside", style="display:none")]
            more = {"data_open": int(box.unfolded), "data_head": frame_width(box), "tabindex": 0, "role": "button",
                    "style": "cursor:pointer"}
        return group(*content, transform=f"translate({number(x)},{number(y)})", class_="fg-box", data_key=box.key, data_i=i,
                     data_x=x, data_y=y, data_w=width, data_h=height, data_layer=placed.arrangement.layer[i], **more)
