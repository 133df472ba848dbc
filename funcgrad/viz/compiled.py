"""The schedule of a compiled program as a graph, and its memory over time.

In: ``fg.jit(f).lower(*args)``. Out: a scene in which each step, a kernel, matrix product, loop or host call, is a box around
the equations that it computes; and a ``MemoryDrawing``: each buffer of the arena is a rectangle, from the first step that needs
it to the last, and from its first byte to its last.
"""
from __future__ import annotations

from typing import Any

from funcgrad import dtypes, passes
from funcgrad.compiler import memory
from funcgrad.compiler.lifetimes import Lifetimes
from funcgrad.compiler.nodes import Plan, Schedule, Step
from funcgrad.compiler.report import Labels, every_equation, walk, what
from funcgrad.compiler.schedule import schedule
from funcgrad.core.jaxpr import Equation, Jaxpr, Literal, Named, Var
from funcgrad.core.pretty import Names
from funcgrad.debug.user_names import user_names
from funcgrad.jit import Lowered
from funcgrad.transforms.derivatives import quiet
from funcgrad.viz.files import png, save_picture
from funcgrad.viz.graph import Scene, plural, scene_of
from funcgrad.viz.record import Recording
from funcgrad.viz.render import CHARACTER
from funcgrad.viz.svg import ACCENT, FILLS, INK, PALE, STROKES, document, element, group, number


def planned(lowered: Lowered) -> tuple[Jaxpr, Schedule]:
    """The program after the passes, and its schedule."""
    with quiet():
        program = passes.run(lowered.jaxpr)
        return program, schedule(program)


def schedule_scene(lowered: Lowered) -> Scene:
    """The equations after the passes in boxes, one for each step of the schedule."""
    program, plan = planned(lowered)
    made = every_equation(program)
    step_of = _steps_of_equations(program, plan, made)
    order = sorted(program.equations, key=lambda e: (step_of[e], program.equations.index(e)))
    boxes = [Named(f"{number + 1} {_title(step)}") for number, step in enumerate(plan.steps)]
    equations = [Equation(e.primitive, e.inputs, e.outs, e.params, e.source, e.scope, (boxes[step_of[e]],) if boxes else ())
                 for e in order]
    jaxpr = program.replace(equations=tuple(equations))
    letters = Names()
    names = {v: letters(v) for v in (*program.const_vars, *program.in_vars)}  # as in the text of the schedule
    names.update(zip(reversed(program.in_vars), reversed(lowered.in_names), strict=False))  # first come captured values
    scene = scene_of(Recording(lowered.name, jaxpr, {}, {**user_names(jaxpr), **names}))
    for box in scene.boxes:
        if box.kind == "group":
            box.color = plan.steps[int(box.rows[0].parts[0][0].partition(" ")[0]) - 1].kind
    return scene


def _title(step: Step) -> str:
    """``kernel: 64 rows``; the part before the colon is what folding goes by."""
    plan = step.kernel
    if isinstance(plan, Plan):
        return f"{plan.kind}: {plural(plan.length, 'time')}" if plan.kind == "loop" else f"{plan.kind}: "
    if step.kind == "kernel":
        return f"kernel: {plural(plan.rows, 'row')}"
    if step.kind == "gemm":
        return f"matrix product: {plan.m}x{plan.k} @ {plan.k}x{plan.n}"
    return f"{step.kind}: {step.equation.primitive.name if step.equation else ''}"


def _steps_of_equations(program: Jaxpr, plan: Schedule, made: dict[Var, Equation]) -> dict[Equation, int]:
    """The step that computes each equation. Views cost nothing: they stand with the first that uses them."""
    found: dict[Equation, int] = {}
    for i, step in enumerate(plan.steps):
        for node in getattr(step.kernel, "nodes", None) or ():
            equation = node.equation or made.get(node.out)
            if equation is not None:
                found.setdefault(equation, i)
        if step.equation is not None:
            found.setdefault(step.equation, i)
    users: dict[Var, list[Equation]] = {}
    for e in program.equations:
        for a in e.inputs:
            if type(a) is Var:
                users.setdefault(a, []).append(e)
    last = max(len(plan.steps) - 1, 0)
    for e in reversed(program.equations):
        used = [found[user] for v in e.outs for user in users.get(v, ())]
        found.setdefault(e, min(used, default=last))
        if used:
            found[e] = min(found[e], *used)
    for e in program.equations:  # an equation is not before what it needs
        needed = [found[made[a]] for a in e.inputs if type(a) is Var and a in made]
        found[e] = max([found[e], *needed])
    return found


# ---------------------------------------------------------------- memory

LEFT, TOP, WIDTH, HEIGHT = 84.0, 46.0, 640.0, 300.0
PALETTE = ("elementwise", "contraction", "reduction", "control", "opaque", "input")


class MemoryDrawing:
    """The arena of a program over time. ``buffers`` are (name, first step, last step, offset, bytes); ``arena`` its size."""

    def __init__(self, lowered: Lowered):
        program, plan = planned(lowered)
        for out in plan.outs:
            if type(out) is not Literal and out.buffer.role == "arena":
                out.buffer.role = "result"
        lifetimes = Lifetimes(plan.steps)
        spans = list(lifetimes.spans.items())
        offsets, self.arena = memory.plan([(*span, buffer.nbytes) for buffer, span in spans])
        labels = Labels(program, plan)
        steps = [step for step, _, _ in walk(plan.steps)]
        for step in steps:
            for view in (*step.reads, *step.writes):
                if type(view) is not Literal:
                    labels(view)
        self.name, self.length = lowered.name, lifetimes.position
        self.steps = [what(step, labels.made) for step in steps]
        self.buffers = [(f"{labels.base(b)}: {dtypes.short_name(b.dtype)}[{b.size}]", first, last, offset, b.nbytes)
                        for (b, (first, last)), offset in zip(spans, offsets, strict=True)]

    def used(self, position: int) -> int:
        """The bytes that a step needs."""
        return sum(nbytes for _, first, last, _, nbytes in self.buffers if first <= position <= last)

    @property
    def svg(self) -> str:
        """The picture: steps from left to right, addresses from the bottom up, and the bytes in use as a line."""
        each = WIDTH / max(self.length, 1)
        scale = HEIGHT / max(self.arena, 1)
        content = [element("text", f"memory of {self.name}: an arena of {self.arena:,} bytes", x=16, y=26, fill=PALE,
                           font_weight="bold")]
        content.append(element("rect", x=LEFT, y=TOP, width=WIDTH, height=HEIGHT, fill="#ffffff", stroke="#ccd2dc"))
        for i, (name, first, last, offset, nbytes) in enumerate(self.buffers):
            kind = PALETTE[i % len(PALETTE)]
            x, y = LEFT + (first - 1) * each, TOP + HEIGHT - (offset + nbytes) * scale
            width, height = (last - first + 1) * each, nbytes * scale
            parts = [element("title", f"{name}\n{nbytes:,} bytes at {offset:,}, steps {first} to {last}"),
                     element("rect", x=x, y=y, width=width, height=height, fill=FILLS[kind], stroke=STROKES[kind])]
            fitting = [text for text in (name, name.partition(":")[0]) if len(text) * CHARACTER + 6 < width]
            if height > 12 and fitting:
                parts.append(element("text", fitting[0], x=x + 4, y=y + min(height / 2 + 4, 14), fill=INK))
            content.append(group(*parts, class_="fg-buffer"))
        heights = [TOP + HEIGHT - self.used(p) * scale for p in range(1, self.length + 1)]
        line = "".join(f"{'L' if i else 'M'}{number(LEFT + i * each)},{number(y)}H{number(LEFT + (i + 1) * each)}"
                       for i, y in enumerate(heights))
        content.append(element("path", element("title", "bytes in use"), True, d=line or "M0,0", fill="none", stroke=ACCENT,
                               stroke_width="1.6"))
        small = {"fill": PALE, "font_size": "9.5"}
        for part in (0, 0.5, 1):
            content.append(element("text", f"{int(self.arena * part):,} B", x=LEFT - 6, y=TOP + HEIGHT * (1 - part) + 4,
                                   text_anchor="end", **small))
        for p in range(0, self.length, max(1, -(-self.length // 20))):
            content.append(element("text", str(p + 1), x=LEFT + (p + 0.5) * each, y=TOP + HEIGHT + 14, text_anchor="middle",
                                   **small))
        content.append(element("text", "step", x=LEFT + WIDTH, y=TOP + HEIGHT + 28, fill=PALE, text_anchor="end"))
        content.append(element("text", "bytes in use", x=LEFT, y=TOP + HEIGHT + 28, fill=ACCENT))
        return document(content, LEFT + WIDTH + 20, TOP + HEIGHT + 40, f"memory of {self.name}")

    def save(self, path: Any) -> None:
        """Writes .svg, or .png as ``Drawing.save``."""
        save_picture(path, svg=lambda: self.svg, png=lambda: png(self.svg))

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"MemoryDrawing({self.name}: {self.arena} bytes, {plural(len(self.buffers), 'buffer')})"
