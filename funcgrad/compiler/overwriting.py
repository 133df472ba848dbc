"""Updates in place: a scatter writes over its operand where nobody reads the operand later.

In: a schedule. Out: the same schedule with fewer buffers: the result of such a step is its operand's buffer. Inside of a loop
the operand may be the state, which then stays where it is instead of changing places with the next one; so a loop that writes
one row in each step does not copy the array.

    fori_loop(0, n, lambda i, b: b.at[i].set(f(i)), b)    ->    one buffer, no pair that is exchanged
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.nodes import Plan, Schedule, Step
from funcgrad.compiler.view import Buffer, View


def overwrite(schedule: Schedule) -> None:
    """Gives results the memory of operands that are read for the last time."""
    outs = {out.buffer for out in schedule.outs if isinstance(out, View)}
    sharing = _Sharing()
    sharing.walk(schedule.steps, outs, None)
    if sharing.same or sharing.still:
        sharing.apply(schedule)


class _Sharing:
    """``same`` leads from a buffer to the one that takes its place; ``still`` are the pairs that need not be exchanged."""

    def __init__(self) -> None:
        self.same: dict[Buffer, Buffer] = {}
        self.still: set[tuple[Buffer, Buffer]] = set()

    def find(self, buffer: Buffer) -> Buffer:
        while buffer in self.same:
            buffer = self.same[buffer]
        return buffer

    def walk(self, steps: list[Step], outside: set[Buffer], plan: Plan | None) -> None:
        """Looks for updates in a list of steps; ``outside`` are buffers that are used elsewhere too.

        ``plan`` is that of the loop whose body this is.
        """
        touched = [touched_by(step) for step in steps]
        count = Counter(b for buffers in touched for b in buffers)
        for step, buffers in zip(steps, touched, strict=True):
            if step.kind == "loop":
                self.inside(step, {b for b in buffers if count[b] > 1 or b in outside})
        last = {self.find(b): i for i, buffers in enumerate(touched) for b in buffers}
        delayed: set[int] = set()
        i = 0
        while i < len(steps):
            step = steps[i]
            found = self.update(step, outside, plan)
            if found is not None:
                x, y = found
                end = last[x]
                if end == i:
                    self.share(x, y, i, last, outside, plan)
                elif id(step) not in delayed and not any(y in map(self.find, buffers) for buffers in touched[i + 1:end + 1]):
                    # The operand is read by steps that do not wait for this one: it comes after them.
                    delayed.add(id(step))
                    steps.insert(end, steps.pop(i))
                    touched.insert(end, touched.pop(i))
                    for k in range(i, end + 1):
                        last.update({self.find(b): k for b in touched[k] if last[self.find(b)] <= end})
                    continue
            i += 1

    def inside(self, step: Step, outside: set[Buffer]) -> None:
        """The lists of steps of a loop or a choice."""
        plan = step.kernel
        outside = outside | {v.buffer for v in (*step.reads, *step.writes) if isinstance(v, View)} | _moved(plan)
        parts = [set().union(*map(touched_by, steps)) for steps, _ in plan.parts]
        for k, (steps, result) in enumerate(plan.parts):
            others = set().union(*parts[:k], *parts[k + 1:])
            if result is not None:
                others.add(result.buffer)
            self.walk(steps, {self.find(b) for b in outside | others}, plan if k == len(plan.parts) - 1 else None)

    def update(self, step: Step, outside: set[Buffer], plan: Plan | None) -> tuple[Buffer, Buffer] | None:
        """The operand and the result of a step that may write over its operand, if the memory of the two can be one."""
        native = step.kernel.nodes[0].code if step.kind == "kernel" and len(step.kernel.nodes) == 1 else None
        if not isinstance(native, NativeKernel) or native.overwrites is None:
            return None
        view, result = step.reads[native.overwrites], step.writes[0]
        x, y = self.find(view.buffer), self.find(result.buffer)
        if x is y or view.offset or x.size != y.size or any(v is not view and self.find(v.buffer) is x for v in step.reads):
            return None
        pair = _pair(x, plan)
        mine = x.role == "arena" and x not in outside
        if pair is not None and y is pair[1] or y.role == "arena" and (mine or pair is not None) or y.role == "moving" and mine:
            return x, y
        return None

    def share(self, x: Buffer, y: Buffer, i: int, last: dict[Buffer, int], outside: set[Buffer], plan: Plan | None) -> None:
        """Makes the memory of an operand and of a result one."""
        pair = _pair(x, plan)
        if pair is not None and y is pair[1]:  # the state stays where it is
            home = pair[0].homes[0]
            self.same[x] = self.same[y] = home
            self.still.add(pair)
            last[home] = max(last.get(home, i), last[y])
        elif y.role == "moving":
            self.same[x] = y
        else:
            self.same[y] = x
            last[x] = last[y]
            if y in outside:
                outside.add(x)

    def apply(self, schedule: Schedule) -> None:
        """Puts the buffers found in the place of others."""
        for out in schedule.outs:
            if isinstance(out, View):
                out.buffer = self.find(out.buffer)
        self.replace(schedule.steps)

    def replace(self, steps: Sequence[Step]) -> None:
        for step in steps:
            for view in _views(step):
                view.buffer = self.find(view.buffer)
            if step.kind != "loop":
                continue
            plan = step.kernel
            plan.pairs = [pair for pair in plan.pairs if pair not in self.still]
            for steps, result in plan.parts:
                self.replace(steps)
                if result is not None:
                    result.buffer = self.find(result.buffer)


def _pair(x: Buffer, plan: Plan | None) -> tuple[Buffer, Buffer] | None:
    """The places that the state of a loop exchanges, if the buffer is such a state."""
    return next((pair for pair in plan.pairs if pair[0] is x), None) if plan is not None else None


def _views(step: Step) -> Iterator[View]:
    """The views of a step itself."""
    for view in (*step.reads, *step.writes):
        if isinstance(view, View):
            yield view
    if step.kind == "kernel":
        yield from step.kernel.operands
    elif step.kind == "loop":
        for _, view, _ in step.kernel.moves:
            yield view


def _moved(plan: Plan) -> set[Buffer]:
    """The buffers that a loop moves, and their places."""
    found = {b for buffer, view, _ in plan.moves for b in (buffer, view.buffer)} | {b for pair in plan.pairs for b in pair}
    return found | {home for b in found for home in b.homes}


def touched_by(step: Step) -> set[Buffer]:
    """All buffers that a step reads or writes, or a step inside of it."""
    found = {view.buffer for view in _views(step)}
    if step.kind == "loop":
        found |= _moved(step.kernel)
        for steps, result in step.kernel.parts:
            found |= set().union(*map(touched_by, steps))
            if result is not None:
                found.add(result.buffer)
    return found | {home for b in found for home in b.homes}
