"""From a recorded program to boxes and edges, with parts that fold.

In: a ``Recording``, and the backward pass if it is to be seen. Out: a ``Scene``: boxes with rows of text, numbers and small
histograms, and edges between them. What is named as a part of the program (a call, a layer, a scope, the body of a loop) is a
box that has a scene of its own inside; there, pills stand for what comes from outside and for what goes out.

    x   y            boxes: input x, input y, "p = x * y", "s = sin(x)", "out = p + s"
    |\\ /
    sin *            edges: x -> sin, x -> *, y -> *, sin -> +, * -> +
     \\ |
      +
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.jaxpr import Equation, Jaxpr, Var
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.errors import file_name
from funcgrad.ops.callback import silent
from funcgrad.viz.backward import Backward, Contribution
from funcgrad.viz.expressions import is_small, names_of, number_text, operation, short, value_text
from funcgrad.viz.record import Recording, record_program

WIDEST = 38
"""Characters in a row."""
BINS = 16


@dataclass(slots=True)
class Row:
    """One line of a box: parts of text with a style each, or the heights of a histogram."""

    parts: tuple[tuple[str, str], ...] = ()
    bars: tuple[int, ...] = ()
    style: str = ""


@dataclass(eq=False, slots=True)
class Box:
    """A node. ``key`` tells it apart in the whole drawing; ``twin`` are the rows of the same node in the backward pass."""

    key: str
    kind: str
    rows: list[Row]
    title: str
    uses: tuple[Var, ...] = ()
    makes: tuple[Var, ...] = ()
    twin: list[Row] | None = None
    inside: Scene | None = None
    level: int = 0
    unfolded: bool = False
    result: bool = False
    gives: frozenset[Var] = frozenset()
    """The variables from outside whose gradient it contributes to."""
    note: str = ""
    """Of an unfolded part, what is seen inside, such as the first step of a loop."""
    color: str = ""
    """Of an unfolded part, if it is coloured."""
    ports: tuple[int, ...] = ()
    """For each operand, the pill inside that stands for it; empty if there is none."""


@dataclass(eq=False, slots=True)
class Link:
    """An edge: the variable that flows, which of the operands it is, and whether a gradient flows back."""

    source: int
    target: int
    variable: Var
    operand: int
    backward: bool = False


@dataclass(eq=False, slots=True)
class Scene:
    boxes: list[Box] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)

    def walk(self) -> Iterator[Box]:
        """All boxes, those inside of boxes too."""
        for box in self.boxes:
            yield box
            if box.inside is not None:
                yield from box.inside.walk()

    def pills(self) -> dict[Var, int]:
        """Which box stands for each variable from outside."""
        return {v: i for i, box in enumerate(self.boxes) if not box.uses for v in box.makes}


def scene_of(recording: Recording, backward: Backward | None = None, names: dict[Var, str] | None = None) -> Scene:
    """The boxes and edges of a program."""
    return _Builder(recording, names or names_of(recording), backward, "").whole()


class _Builder:
    def __init__(self, recording: Recording, names: dict[Var, str], backward: Backward | None, prefix: str, level: int = 0):
        self.recording, self.names, self.backward, self.prefix, self.level = recording, names, backward, prefix, level
        jaxpr = recording.jaxpr
        self.number = {e: i for i, e in enumerate(jaxpr.equations)}
        self.last: dict[Any, int] = {}
        for i, e in enumerate(jaxpr.equations):
            self.last.update(dict.fromkeys(e.inputs, i))
        self.last.update(dict.fromkeys(jaxpr.outs, len(jaxpr.equations)))
        self.results = {out: i for i, out in reversed(list(enumerate(jaxpr.outs)))}
        self.gains: dict[Var, list[Contribution]] = {}
        self.gives: dict[Equation, set[Var]] = {}
        for turn in backward.turns if backward else ():
            for c in turn.contributions:
                self.gains.setdefault(c.variable, []).append(c)
                self.gives.setdefault(turn.equation, set()).add(c.variable)

    def whole(self) -> Scene:
        jaxpr = self.recording.jaxpr
        outside = [v for v in (*jaxpr.in_vars, *jaxpr.const_vars) if v in self.last or v in jaxpr.in_vars]
        return self.scene(list(jaxpr.equations), self.level, outside, (), self.prefix)

    def scene(self, equations: list[Equation], depth: int, outside: Sequence[Var], goes_out: Sequence[Var], key: str) -> Scene:
        """The scene of some equations that follow each other: pills for what comes in, boxes, pills for what goes out."""
        boxes = list(self.boxes(equations, depth))
        pills = [self.pill(bundle[0], depth, key) if len(bundle) == 1 else self.bundle(bundle, depth, key)
                 for bundle in self.bundles(outside, boxes)]
        scene = Scene([*pills, *boxes, *[self.exit(v, depth, key) for v in goes_out]])
        makers: dict[Var, int] = {}
        for i, box in enumerate(scene.boxes):
            seen = set()
            for operand, v in enumerate(box.uses):
                if scene.boxes[makers[v]].kind == "bundle":
                    if makers[v] in seen:
                        continue
                    seen.add(makers[v])
                scene.links.append(Link(makers[v], i, v, operand, v in box.gives))
            makers.update(dict.fromkeys(box.makes, i))
        return scene

    def boxes(self, equations: list[Equation], depth: int) -> Iterator[Box]:
        """A box for each equation, and one for each part of the program that the equations are in at this depth."""
        at = 0
        while at < len(equations):
            e = equations[at]
            path = e.path[depth - self.level:]
            if not path:
                yield self.equation(e, depth)
                at += 1
                continue
            end = at
            while end < len(equations) and equations[end].path[depth - self.level:depth - self.level + 1] == path[:1]:
                end += 1
            yield self.part(path[0].name, equations[at:end], depth)
            at = end

    # ------------------------------------------------------------ boxes

    def pill(self, v: Var, depth: int, key: str) -> Box:
        """What comes from outside: an argument, a constant, or in a part what was computed before it."""
        jaxpr = self.recording.jaxpr
        name = self.names[v]
        if depth == self.level or v in jaxpr.in_vars:
            kind = "input" if v in jaxpr.in_vars else "constant"
            rows = [Row(((short(name, WIDEST), "name"),)), *value_rows(self.recording.value(v), v), *self.gradient(v)]
            return Box(f"{key}in.{name}", kind, rows, f"{kind} {name}: {v.aval.short()}", makes=(v,),
                       twin=self.twin((v,)), level=depth, result=v in self.results)
        return Box(f"{key}in.{name}", "input", [Row(((short(name, 24), "name"),))], f"{name}, from outside",
                   makes=(v,), twin=self.twin((v,), brief=True), level=depth)

    def bundles(self, outside: Sequence[Var], boxes: Sequence[Box]) -> list[list[Var]]:
        """The variables from outside, those together that are arrays of one argument which a single part or nothing uses."""
        users: dict[Var, list[Box]] = {}
        for box in boxes:
            for v in dict.fromkeys(box.uses):
                users.setdefault(v, []).append(box)
        inputs = set(self.recording.jaxpr.in_vars) - set(self.results)
        found: dict[Any, list[Var]] = {}
        for v in outside:
            user = users.get(v, [])
            alone = v in inputs and len(user) < 2 and all(box.inside is not None for box in user)
            found.setdefault((*[box.key for box in user], self.names[v].partition("[")[0]) if alone else v, []).append(v)
        return [part for bundle in found.values() for part in ([bundle] if len(bundle) > 2 else [[v] for v in bundle])]

    def bundle(self, variables: list[Var], depth: int, key: str) -> Box:
        """One pill for several arrays of an argument."""
        names = [self.names[v] for v in variables]
        prefix = os.path.commonprefix(names)
        prefix = prefix[:prefix.rfind("]") + 1] or prefix.partition("[")[0]
        count = f"{len(variables)} arrays, {plural(sum(v.aval.size for v in variables), 'number')}"
        twin = None
        if self.backward is not None and any(v in self.backward.cotangents for v in variables):
            twin = [Row(((f"d{short(prefix, WIDEST)}", "gradient"),)), Row(((count, "pale"),))]
        rows = [Row(((short(prefix, WIDEST), "name"),)), Row(((count, "pale"),))]
        return Box(f"{key}in.{names[0]}", "bundle", rows, "\n".join(names), makes=tuple(variables), twin=twin,
                   level=depth)

    def exit(self, v: Var, depth: int, key: str) -> Box:
        name = self.names[v]
        gives = frozenset([v] if self.backward is not None and v in self.backward.cotangents else [])
        return Box(f"{key}out.{name}", "result", [Row(((short(name, 24), "name"),))], f"{name}, used outside",
                   uses=(v,), twin=self.twin((v,), brief=True), level=depth, gives=gives)

    def equation(self, e: Equation, depth: int) -> Box:
        names = self.names
        left = short(", ".join(names[v] for v in e.outs) or "()", WIDEST // 2)
        right = short(operation(e, names), max(WIDEST - len(left), WIDEST // 2))
        rows = [Row(((left, "name"), (f" = {right}", "")))]
        for v in e.outs if len(e.outs) <= 2 else ():
            rows += value_rows(self.recording.value(v), v)
        for v in e.outs:
            rows += self.gradient(v, len(e.outs) > 1)
        place = source_text(e)
        if place:
            rows.append(Row(((place, "place"),)))
        title = f"{left} = {operation(e, names)}\n{', '.join(v.aval.short() for v in e.outs)}" + (
            f"\n{e.source.code.co_name}, {place}" if e.source and place else "")
        result = any(v in self.results for v in e.outs)
        box = Box(f"{self.prefix}e{self.number[e]}", e.primitive.kind.name.lower(), rows, title,
                  tuple([a for a in e.inputs if type(a) is Var]), e.outs, self.twin(e.outs), level=depth, result=result,
                  gives=frozenset(self.gives.get(e, ())))
        box.inside = self.programs(e, depth, box)
        return box

    def part(self, name: str, equations: list[Equation], depth: int) -> Box:
        """A call, a layer or a scope: its equations inside of a box."""
        made = {v for e in equations for v in e.outs}
        uses = tuple(dict.fromkeys([a for e in equations for a in e.inputs if type(a) is Var and a not in made]))
        end = self.number[equations[-1]]
        makes = tuple([v for e in equations for v in e.outs if self.last.get(v, -1) > end])
        label, _, rest = name.partition(": ")
        rows = [Row(((short(label, WIDEST), "name"), (f"  {short(rest, WIDEST)}" if rest else "", ""))),
                Row(((plural(len(equations), "operation"), "pale"),))]
        for v in makes[:2]:
            shown = value_rows(self.recording.value(v), v)
            rows.append(Row(((f"{short(self.names[v], 16)} ", "name"), *shown[0].parts)))
            rows += shown[1:]
            rows += self.gradient(v, len(makes) > 1)
        box = Box(f"{self.prefix}p{self.number[equations[0]]}.{depth}", "group", rows,
                  f"{name}: {plural(len(equations), 'operation')}", uses, makes, self.twin(makes), level=depth,
                  result=any(v in self.results for v in makes),
                  gives=frozenset().union(*[self.gives.get(e, ()) for e in equations]))
        box.inside = self.scene(equations, depth + 1, uses, makes, f"{box.key}.")
        pills = box.inside.pills()
        box.ports = tuple([pills[v] for v in uses])
        return box

    # ------------------------------------------------------------ programs inside of equations

    def programs(self, e: Equation, depth: int, whole: Box) -> Scene | None:
        """The bodies of a loop, the branches of a choice, the function of a custom rule; with the values of the first step."""
        values = [self.recording.value(a) for a in e.inputs]
        known = bool(self.recording.values) and all(x is not None for x in values)
        found = _bodies(e, values if known else None)
        scene = Scene()
        for i, (name, body, args) in enumerate(found):
            names = [self.names[a] if type(a) is Var else number_text(a.value) for a in e.inputs]  # type: ignore[union-attr]
            skipped = len(names) - len(body.in_vars)
            with silent():
                inner = record_program(body, args, _input_names(e, names[max(skipped, 0):]))
            prefix = f"{whole.key}.{i}."
            inside = _Builder(inner, names_of(inner), None, prefix, depth + 1).whole()
            if len(found) == 1:
                whole.note = name
                if not skipped:
                    pills, pairs = inside.pills(), zip(inner.jaxpr.in_vars, e.inputs, strict=True)
                    whole.ports = tuple([pills[v] for v, a in pairs if type(a) is Var])
                return inside
            box = Box(prefix + "body", "group", [Row(((name, "name"),))], name, level=depth + 1)
            box.inside = inside
            scene.boxes.append(box)
        return scene if found else None

    # ------------------------------------------------------------ gradients

    def gradient(self, v: Var, named: bool = False) -> list[Row]:
        ct = self.backward.cotangents.get(v) if self.backward else None
        if ct is None:
            return []
        rows = value_rows(ct, None, "gradient")
        name = f"d{self.names[v]} " if named else "d "
        return [Row(((name, "gradient"), *rows[0].parts)), *rows[1:]]

    def twin(self, variables: Sequence[Var], brief: bool = False) -> list[Row] | None:
        """The rows of a node in the backward pass."""
        if self.backward is None or not any(v in self.backward.cotangents for v in variables):
            return None
        rows = []
        for v in variables:
            if v not in self.backward.cotangents:
                continue
            name = f"d{self.names[v]}"
            if brief:
                rows.append(Row(((short(name, 24), "gradient"),)))
                continue
            sums = [c.formula for c in self.gains.get(v, ())] or ["1"]  # nothing that the result is used for reaches the result
            for i, formula in enumerate(sums[:3]):
                sign = " += " if i else " = "
                rows.append(Row(((short(name, 16), "gradient"), (sign + short(formula, WIDEST - 10), ""))))
            if len(sums) > 3:
                rows.append(Row(((f"and {len(sums) - 3} more", "pale"),)))
            rows += value_rows(self.backward.cotangents[v], v, "gradient")
        return rows


def _bodies(e: Equation, values: list[Any] | None) -> list[tuple[str, Jaxpr, list[Any] | None]]:
    """The programs that an equation runs, with their arguments in the first step."""
    primitive = e.primitive
    if not primitive.on_values:
        return []
    structure = primitive.code(**e.params) if callable(primitive.code) else None
    if isinstance(structure, Loop):
        if values is None or not structure.length:
            return [(f"one of {plural(structure.length, 'step')}", structure.body, None)]
        kept = structure.num_consts + structure.num_carry
        first = structure.length - 1 if structure.reverse else 0
        step = [*values[:kept], *[x[first] for x in values[kept:]]]
        return [(f"first of {plural(structure.length, 'step')}", structure.body, step)]
    if isinstance(structure, While):
        consts = structure.cond_consts + structure.body_consts
        condition = None if values is None else [*values[:structure.cond_consts], *values[consts:]]
        return [("condition", structure.condition, condition),
                ("first step", structure.body, None if values is None else values[structure.cond_consts:])]
    if isinstance(structure, Choice):
        if values is None:
            return [(f"branch {i}", b, None) for i, b in enumerate(structure.branches)]
        chosen = min(max(int(values[0]), 0), len(structure.branches) - 1)
        return [(f"branch {chosen}, taken", structure.branches[chosen], values[1:])]
    program = primitive.inline(*[a.aval for a in e.inputs], **e.params) if primitive.inline is not None else None
    return [] if program is None else [("function", program, values)]


def _input_names(e: Equation, names: list[str]) -> list[str]:
    """Names for the inputs of a body: those that the operands have outside, of slices with an index."""
    structure = e.primitive.code(**e.params) if callable(e.primitive.code) else None
    kept = structure.num_consts + structure.num_carry if isinstance(structure, Loop) else len(names)
    return [*names[:kept], *[f"{name}[i]" for name in names[kept:]]]


# ---------------------------------------------------------------- rows


def value_rows(value: Any, v: Var | None, style: str = "") -> list[Row]:
    """A value: a number or a small array as it is, a large one as its type, range and histogram."""
    kind = v.aval.short() if v is not None else ""
    if value is None:
        return [Row(((kind, "pale"),))]
    shape = np.shape(value)
    data = np.asarray(value)
    if not shape or is_small(value):
        return [Row(((value_text(value), style or "value"), (f"  {kind}", "pale")))]
    flat = data.reshape(-1)
    letter = dtypes.kind(data.dtype)
    if letter == "b":
        return [Row(((f"{int(flat.sum())} of {flat.size} true", style or "value"), (f"  {kind}", "pale")))]
    if letter not in "fiu" or not flat.size:
        return [Row(((kind, "pale"),))]
    wide = flat.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    odd = f", {flat.size - finite.size} not finite" if finite.size < flat.size else ""
    if not finite.size:
        return [Row(((f"none of {flat.size} finite", style or "value"), (f"  {kind}", "pale")))]
    low, high = finite.min(), finite.max()
    if low == high:
        return [Row(((f"all {number_text(low)}{odd}", style or "value"), (f"  {kind}", "pale")))]
    return [Row(((f"{number_text(low)} … {number_text(high)}{odd}", style or "value"), (f"  {kind}", "pale"))),
            Row((), _heights(finite), style)]


def _heights(values: np.ndarray) -> tuple[int, ...]:
    """The histogram of some numbers, the highest bar 14 high, no bar that counts lower than 1."""
    low, high = values.min(), values.max()
    with np.errstate(over="ignore"):
        scale = 1.0 if np.isfinite(high - low) else 0.5
    places = (values * scale - low * scale) / (high * scale - low * scale) * BINS
    counts = np.bincount(np.minimum(places.astype(int), BINS - 1), minlength=BINS)
    return tuple([int(-(-14 * n // counts.max())) for n in counts])


def source_text(e: Equation) -> str:
    """The user's line: ``model.py:12``; of a cell of a notebook ``In[4]:12``; of code that is in no file ``line 12``."""
    if e.source is None:
        return ""
    name = file_name(e.source.file)
    return f"line {e.source.line}" if name.startswith("<") else f"{name}:{e.source.line}"


def plural(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"
