"""Donation: a result takes the memory of an input that nobody needs any more.

In: a schedule, and which inputs are donated. Out: pairs of an input and a result that may have the same memory. That is so

- where the steps that read the input all come before the first that touches the result, or
- where the last step that reads it is the first that touches the result, and is a kernel that reads each element before it
  writes that one, or a scatter, which looks whether it works in place.

    p, m -> p - 0.1 * m, 0.9 * m    ->    Pair(0, result 0, together), Pair(1, result 1, together)

Kernels declare to LLVM that memory of different slots does not overlap, which two slots with one address would make untrue.
So the kernel of a pair is written anew: all accesses of the result go through the pointer of the input, with the same index.
To LLVM it is a loop that changes an array in place. Such a pair has the same memory in every call (``together``): where the
input's memory is not to be had, it is copied.

Nothing is donated to a program that may fail or that has host steps: both need the inputs as they were.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from funcgrad.compiler import memory
from funcgrad.compiler.codegen import Kernel
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.nodes import Plan, Schedule, Step
from funcgrad.compiler.overwriting import touched_by
from funcgrad.compiler.view import Buffer, View

LEAST = memory.POOLED
"""Bytes from which memory is worth the care."""


Use = tuple[int, list[Step]]
"""When a buffer is used, and by which of the steps that run at that time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The number of an input and the buffer of the result that may have its memory; ``together``: has it in every call."""

    input: int
    result: Buffer
    together: bool


def pair(schedule: Schedule, donated: Sequence[int]) -> list[Pair]:
    """As many pairs as there can be; the kernels in which both are used are written anew."""
    results = list(dict.fromkeys([out.buffer for out in schedule.outs if isinstance(out, View) and out.shape]))
    results = [b for b in results if b.role == "arena" and b.nbytes >= LEAST]
    if not donated or not results or any(s.kind == "host" or schedule.failure in touched_by(s) for s in _every(schedule.steps)):
        return []
    kept = {out.buffer for out in schedule.outs if isinstance(out, View)}
    first: dict[Buffer, Use] = {}
    last: dict[Buffer, Use] = {}
    time = -1
    for step in schedule.steps:
        time += not step.joins
        for b in touched_by(step):
            first.setdefault(b, (time, [step]))
            last[b] = (time, [*last[b][1], step] if b in last and last[b][0] == time else [step])

    def fits(x: Buffer, y: Buffer) -> bool:
        if x in kept or x.dtype != y.dtype or x.size != y.size or y not in first:
            return False
        use, step = first[y], first[y][1][0]
        if x not in last or last[x][0] < use[0]:
            return True
        return last[x] == use and (_scatters(step, x, y) or _in_place(step, x, y) is not None)

    found: dict[Buffer, int] = {}
    fitting = {i: [y for y in results if fits(schedule.inputs[i], y)] for i in donated}

    def match(i: int, seen: set[Buffer]) -> bool:
        """Finds a result for an input, by finding others for those that have one (Kuhn's method)."""
        for y in fitting[i]:
            if y not in seen:
                seen.add(y)
                if y not in found or match(found[y], seen):
                    found[y] = i
                    return True
        return False

    for i in donated:
        match(i, set())
    pairs = []
    for y, i in found.items():
        x, step = schedule.inputs[i], first[y][1][0]
        together = last.get(x) == first[y] and not _scatters(step, x, y)
        if together:
            step.kernel.source = _in_place(step, x, y)
        pairs.append(Pair(i, y, together))
    return pairs


def _every(steps: Sequence[Step]) -> Iterator[Step]:
    """All steps, those inside of loops and choices too."""
    for step in steps:
        yield step
        if isinstance(step.kernel, Plan):
            for inside, _ in step.kernel.parts:
                yield from _every(inside)


def _scatters(step: Step, x: Buffer, y: Buffer) -> bool:
    """Whether a step is a scatter into x whose result is y."""
    native = step.kernel.nodes[0].code if step.kind == "kernel" and len(step.kernel.nodes) == 1 else None
    if not isinstance(native, NativeKernel) or native.overwrites is None:
        return False
    view = step.reads[native.overwrites]
    return view.buffer is x and not view.offset and step.writes[0].buffer is y and \
        sum(v.buffer in (x, y) for v in step.kernel.operands) == 2


def _in_place(step: Step, x: Buffer, y: Buffer) -> str | None:
    """The source of a generated kernel with the result y in the memory of the operand x, or None where that is not right.

    Each access of the two has to be one element for each row, or for each row and place in it, and the same element:

        p0[r]     row by row                p0[b0 + j0]     with b0 = r * s1, where s1 is the length of a row

    and in loops that are divided in the same way, so that on a GPU one thread makes both.

    With all reads of x before the first write of y in the source, each element is then read before it is written: another
    element belongs to another row or place. So the order of the rows does not matter either, nor which thread does them.
    """
    kernel = step.kernel
    if step.kind != "kernel" or any(isinstance(node.code, NativeKernel) for node in kernel.nodes):
        return None
    slots = [[i for i, v in enumerate(kernel.operands) if v.buffer is b] for b in (x, y)]
    if [len(s) for s in slots] != [1, 1]:
        return None
    (i,), (o,) = slots
    if kernel.written[i] or not kernel.written[o] or kernel.operands[i].offset or kernel.operands[o].offset:
        return None
    lines = kernel.source.split("\n")
    reads, writes = _accesses(lines, i), _accesses(lines, o)
    if not reads or not writes or reads[-1][0] >= writes[0][0]:
        return None
    places = {_place(kernel, lines, at, index, x.size) for at, index in (*reads, *writes)}
    if len(places) != 1 or None in places:
        return None
    shared = f"p{i}[{reads[0][1]}]"
    lines = [re.sub(rf"\bp{o}\[[^]]*\]", shared, line) for line in lines if not line.startswith(f"    p{o} = ")]
    return "\n".join(lines)


def _accesses(lines: Sequence[str], slot: int) -> list[tuple[int, str]]:
    """Where an operand is read or written: the numbers of the lines and the indices."""
    return [(at, index) for at, line in enumerate(lines) for index in re.findall(rf"\bp{slot}\[([^]]*)\]", line)]


def _place(kernel: Kernel, lines: Sequence[str], at: int, index: str, size: int) -> tuple | None:
    """Which element of ``size`` an index in a line is: the loops that tell, ("r",) or ("r", "j0"); None if it is not plain."""
    loops = tuple(_loops(lines, at))
    if index == "r":
        return loops if kernel.rows == size and loops in (("r",), ("rq",)) else None
    if loops not in (("r", "j0"), ("r", "j0q")):
        return None
    if index == "j0":
        return loops if kernel.rows == 1 else None
    base = re.fullmatch(r"(b\d+) \+ j0", index)
    defined = [line.strip() for line in lines if base and line.strip().startswith(f"{base[1]} = ")]
    stride = re.fullmatch(r"b\d+ = r \* s(\d+)", defined[0]) if len(defined) == 1 else None
    return loops if stride and kernel.sizes[int(stride[1])] * kernel.rows == size else None


def _loops(lines: Sequence[str], at: int) -> list[str]:
    """The indices of the loops around a line, from the outermost.

    Those over blocks of another loop, and over the few neighbours that a loop for a GPU has for each of its own, are left out.
    """
    found: list[str] = []
    depth = len(lines[at]) - len(lines[at].lstrip())
    for line in reversed(lines[:at]):
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent < depth:
            depth = indent
            loop = re.match(r"\s*for (\w+) in ", line)
            if loop and loop[1].endswith("l"):
                continue
            if loop and not loop[1].endswith("b"):
                found.insert(0, loop[1])
            elif not loop and depth:  # a condition
                found.insert(0, "?")
    return found
