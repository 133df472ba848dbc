"""The player: the steps of a backward pass beside its graph, in a notebook.

In: ``Steps``. Out: HTML with buttons. The equation that has its turn and the operand that gets a contribution are marked in the
drawing; in the backward pass beside it a gradient is faint until its first contribution and half there until its last.
"""
from __future__ import annotations

import json
import os
from html import escape
from typing import TYPE_CHECKING

from funcgrad.core.jaxpr import Var
from funcgrad.viz.drawing import Drawing, unfold
from funcgrad.viz.files import save_picture
from funcgrad.viz.graph import Scene, scene_of
from funcgrad.viz.html import fragment, page

if TYPE_CHECKING:
    from funcgrad.viz.steps import Steps

BUTTON = "font:inherit;padding:2px 10px;margin-right:4px;cursor:pointer"
TEXT = "margin:8px 0;min-height:7em;font:inherit;color:inherit;background:none"
BUTTONS = (("first", "first step", "|&lt;"), ("-1", "step back", "&lt;"), ("play", "play", "play"), ("1", "next step", "&gt;"),
           ("last", "last step", "&gt;|"))

PLAYING = """
(id => {
for (const root of document.querySelectorAll(`[data-fg="${id}"]:not([data-ready])`)) {
  root.dataset.ready = 1;
  const steps = JSON.parse(root.querySelector('[data-steps]').dataset.steps);
  const texts = [...root.querySelectorAll('[data-step]')], all = name => [...root.querySelectorAll(name)];
  const forward = root.querySelector('[data-pass="forward"]'), backward = root.querySelector('[data-pass="backward"]');
  let at = 0, timer = null;
  const mark = (e, color) => { const r = [...e.children].filter(c => c.tagName === 'rect').pop();
    if (r) { if (!r.dataset.s) r.dataset.s = r.getAttribute('stroke'); r.setAttribute('stroke', color || r.dataset.s);
             r.style.strokeWidth = color ? 3 : ''; } };
  const show = () => {
    const state = {}, step = steps[at];
    for (const s of steps.slice(0, at + 1)) for (const key of s.to) state[key] = s.done ? 1 : 0.5;
    texts.forEach((e, i) => e.hidden = i !== at);
    all('.fg-box').forEach(({dataset: {key}}, i, boxes) =>
      mark(boxes[i], key === step.box ? '#d97706' : step.to.includes(key) ? '#15803d' : null));
    backward.querySelectorAll('.fg-box').forEach(e => {
      if (!e.querySelector('.fg-box')) e.style.opacity = state[e.dataset.key] || 0.12;
    });
    all('.fg-edge').forEach(e => {
      const now = e.dataset.to === step.box && +e.dataset.operand === step.operand;
      e.children[0].style.strokeWidth = now ? 3 : '';
      if (backward.contains(e)) e.style.opacity = now || state[e.dataset.from] ? 1 : 0.12;
    });
    root.querySelector('[data-count]').textContent = `step ${at} of ${steps.length - 1}`;
  };
  const go = to => { at = Math.max(0, Math.min(steps.length - 1, to)); show(); };
  const stop = () => { clearInterval(timer); timer = null; };
  root.addEventListener('click', event => {
    const button = event.target.closest('[data-go]');
    if (!button) return;
    const way = button.dataset.go;
    if (way === 'play') {
      if (timer) return stop();
      if (at === steps.length - 1) go(0);
      timer = setInterval(() => { go(at + 1); if (at === steps.length - 1) stop(); }, 1200);
      return;
    }
    stop();
    go(way === 'first' ? 0 : way === 'last' ? steps.length - 1 : at + Number(way));
  });
  show();
}
})("ID")
"""


class Player:
    """The steps with their graph; a notebook shows it, ``save`` writes a page."""

    def __init__(self, steps: Steps):
        self._steps = steps

    @property
    def html(self) -> str:
        """Buttons, the text of the step, and the drawing, in which the first step is shown."""
        steps = self._steps
        scene = scene_of(steps._recording, steps._backward, steps._names)
        unfold(scene, None, ())
        svg = Drawing(scene, steps.name, True).svg
        places, boxes = _places(scene)
        variables = {name: v for v, name in steps._names.items()}
        equations = [None, *[boxes[turn.equation.outs] for turn in steps._backward.turns]]
        data = [{"box": equations[s.turn], "to": places[variables[s.operand]], "operand": s.position,
                 "done": s.use == s.uses} for s in steps]
        buttons = "".join(f'<button type="button" data-go="{go}" style="{BUTTON}" aria-label="{label}">{text}</button>'
                          for go, label, text in BUTTONS)
        texts = "".join(f'<pre data-step="{s.number}" style="{TEXT}"{" hidden" if s.number else ""}>{escape(str(s))}</pre>'
                        for s in steps)
        panel = f'<div>{buttons}<span data-count>step 0 of {len(steps) - 1}</span>{texts}</div>'
        holder = f'<div data-steps="{escape(json.dumps(data))}">{svg}</div>'
        return fragment(panel, holder, PLAYING)

    def save(self, path: str | os.PathLike) -> None:
        """Writes ``path``, which ends with .html. Raises ValueError for another ending."""
        save_picture(path, html=lambda: page(f"backward pass of {self._steps.name}", self.html))

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Player({self._steps.name}: {len(self._steps)} steps)"


def _places(scene: Scene) -> tuple[dict[Var, list[str]], dict[tuple[Var, ...], str]]:
    """The boxes and pills that are seen for each variable, and the box of each equation, by its results."""
    variables: dict[Var, list[str]] = {}
    equations: dict[tuple[Var, ...], str] = {}
    for box in scene.boxes:
        for v in box.makes or box.uses:
            variables.setdefault(v, []).append(box.key)
        if box.kind not in ("group", "bundle", "input", "constant", "result"):
            equations[box.makes] = box.key
        if box.kind == "group" and box.inside is not None:
            inner, own = _places(box.inside)
            for v, keys in inner.items():
                shown = variables.setdefault(v, [])
                shown += keys if box.unfolded else [] if shown else [box.key]
            equations.update(own if box.unfolded else dict.fromkeys(own, box.key))
    return variables, equations
