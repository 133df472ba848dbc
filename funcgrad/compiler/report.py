"""Looking at a program on its way to machine code: passes, schedule, sources, and what it costs.

In: a jaxpr. Out: texts that print themselves, and a ``Report``, a dict that does. Behind ``fg.jit(f).lower(*args)``.

    schedule of f: 1 kernel
     1  kernel  sin, mul, reduce_sum    1 row
                a:f64[5] -> out0:f64[]
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from funcgrad import compiler, dtypes, passes
from funcgrad.compiler.expressions import supported
from funcgrad.compiler.nodes import Plan, Schedule, Step, walk
from funcgrad.compiler.schedule import schedule
from funcgrad.compiler.view import Buffer, View, row_major
from funcgrad.core.cost import total
from funcgrad.core.device import Device
from funcgrad.core.jaxpr import Equation, Jaxpr, Literal, Var, count_equations, subjaxprs
from funcgrad.core.pretty import Names, Text, equation_lines
from funcgrad.core.primitive import HOST, Kind, Native
from funcgrad.tables import amount

NUMBER_WORDS = {"kernel": ("kernel", "kernels"), "gemm": ("matrix product", "matrix products"),
                "host": ("host step", "host steps"), "loop": ("loop or choice", "loops or choices")}


class Passes(list):
    """The program after each pass, as (name, jaxpr); printed with the numbers of equations before and after."""

    def __init__(self, jaxpr: Jaxpr):
        super().__init__(passes.trace(jaxpr))
        self.before = jaxpr

    def __str__(self) -> str:
        count, shown = count_equations(self.before), str(self.before)
        lines = [f"as traced: {_plural(count, 'equation')}", shown]
        for name, program in self:
            after, text = count_equations(program), str(program)
            lines.append(f"\n{name}: {count} -> {_plural(after, 'equation')}{', unchanged' if text == shown else ''}")
            lines += [] if text == shown else [text]
            count, shown = after, text
        return "\n".join(lines)

    __repr__ = __str__


# ---------------------------------------------------------------- the schedule


def schedule_text(jaxpr: Jaxpr, name: str, target: str = "cpu") -> Text:
    """The steps of a program, each with what it computes, its rows and chunks, and what it reads and writes."""
    program = passes.run(jaxpr)
    plan = schedule(program, target)
    label = Labels(program, plan)
    lines = [f"schedule of {name}: {_counted([step for step, _, _ in walk(plan.steps)]) or 'nothing to compute'}"]
    lines += _step_lines(plan.steps, "", label, target)
    for i, out in enumerate(plan.outs):
        if type(out) is Literal:
            lines.append(f"out{i} is {out.value}")
        elif out.buffer.role in ("input", "const"):
            lines.append(f"out{i} is {label.base(out.buffer)}")
    return Text("\n".join(lines))


def _step_lines(steps: Sequence[Step], number: str, label: Labels, target: str) -> list[str]:
    lines = []
    for step, at, _ in walk(steps, number):
        plan, named = step.kernel, what(step, label.made)
        head = f"{'    ' * at.count('.')}{at:>2}  "
        space = " " * (len(head) + 8)
        if isinstance(plan, Plan):
            label.loop(step, plan)
            counted = f"{plan.length} times{', backwards' if plan.reverse else ''}" if plan.kind == "loop" else \
                "a: condition, b: step" if plan.kind == "while" else f"one of {len(plan.parts)}"
            lines.append(f"{head}{'for' if plan.kind == 'loop' else plan.kind:<8}{counted}  ({named}{_source(step.equation)})")
        elif step.kind == "kernel":
            rows = _plural(plan.rows, "row") + (f" in {plan.chunks} chunks of {plan.chunk}" if plan.chunks > 1 else "")
            lines.append(f"{head}kernel  {named}    {rows}{', along with the step before' if step.joins else ''}")
        elif step.kind == "gemm":
            batch = f"{plan.matrices} x " if plan.matrices > 1 else ""
            lines.append(f"{head}gemm    {named}    {batch}{plan.m}x{plan.k} @ {plan.k}x{plan.n}{', added up' * plan.onto}")
        else:
            lines.append(f"{head}{step.kind:<8}{named}    because {host_reason(step.equation, target)}")
        reads, writes = ([label(view) for view in views] for views in (step.reads, step.writes))
        if not isinstance(plan, Plan):
            lines.append(f"{space}{', '.join(reads) or '()'} -> {', '.join(writes)}")
    return lines


def what(step: Step, made: dict[Var, Equation]) -> str:
    """The operations that a step does, in their order; ``made`` tells which equation made a variable."""
    nodes = getattr(step.kernel, "nodes", ())
    if step.kind != "kernel" or not nodes:
        return step.equation.primitive.name if step.equation else step.kind
    names: list[str] = []
    for node in nodes:
        name = _node_name(node, made)
        if names and names[-1].split(" x ")[-1] == name:
            count, _, rest = names[-1].rpartition(" x ")
            names[-1] = f"{int(count or 1) + 1} x {rest}"
        else:
            names.append(name)
    return ", ".join(names) if len(names) <= 12 else ", ".join(names[:11]) + f" and {len(names) - 11} more"


def _node_name(node: Any, made: dict[Var, Equation]) -> str:
    equation = _equation_of(node, made)
    if equation is not None:
        return equation.primitive.name
    return "copy" if _is_copy(node) else "mul" if node.kind == "map" else "partial sum" if node.kind == "partial" else "sum"


def _equation_of(node: Any, made: dict[Var, Equation]) -> Equation | None:
    """The equation that a node is, or part of."""
    return node.equation or made.get(node.out)


def _is_copy(node: Any) -> bool:
    return node.kind == "map" and node.equation is None and node.code == "{0}"


def every_equation(jaxpr: Jaxpr) -> dict[Var, Equation]:
    """Which equation makes each variable, those of programs inside of equations too."""
    made = {v: equation for equation in jaxpr.equations for v in equation.outs}
    for equation in jaxpr.equations:
        for program in subjaxprs(equation.params):
            made.update(every_equation(program))
    return made


class Labels:
    """Names for buffers: inputs and constants as in the jaxpr after the passes, results ``out0`` .., the others ``t0`` .."""

    def __init__(self, program: Jaxpr, plan: Schedule):
        names = Names()
        self.names: dict[Buffer, str] = {}
        for v, (buffer, _) in zip(program.const_vars, plan.consts, strict=False):
            self.names[buffer] = names(v)
        for v, buffer in zip(program.in_vars, plan.inputs, strict=True):
            self.names[buffer] = names(v)
        for i, out in enumerate(plan.outs):
            if type(out) is not Literal:
                self.names.setdefault(out.buffer, f"out{i}")
        self.names[plan.failure] = "failure"
        self.made = every_equation(program)
        self.temporaries = self.states = 0

    def __call__(self, view: Any) -> str:
        if type(view) is Literal:
            return str(view.value)
        text = f"{self.base(view.buffer)}:{dtypes.short_name(view.buffer.dtype)}[{','.join(map(str, view.shape))}]"
        if not all(n == 1 or s == t for n, s, t in zip(view.shape, view.strides, row_major(view.shape), strict=True)):
            text += f" by ({', '.join(map(str, view.strides))})"
        return text + (f" from {view.offset}" if view.offset else "")

    def base(self, buffer: Buffer) -> str:
        if buffer not in self.names:
            self.names[buffer] = f"t{self.temporaries}"
            self.temporaries += 1
        return self.names[buffer]

    def loop(self, step: Step, plan: Plan) -> None:
        """Names what moves: slices by what they are slices of, state and next state."""
        for buffer, view, each in plan.moves:
            self.names.setdefault(buffer, f"{self.base(view.buffer)}{'[i]' if each else ''}")
        for now, then in plan.pairs:
            self.names.setdefault(now, f"state{self.states}")
            self.names.setdefault(then, f"{self.names[now]}'")
            self.states += 1


# ---------------------------------------------------------------- sources


def sources(jaxpr: Jaxpr, name: str, target: str = "cpu") -> Text:
    """The sources of all kernels for a target, each once, with the equations they came from and where the user wrote them."""
    program = passes.run(jaxpr)
    plan = schedule(program, target)
    names = Names()
    names.names = _every_name(program)
    made = every_equation(program)
    users: dict[str, list[tuple[str, Step]]] = {}
    for step, number, _ in walk(plan.steps):
        if step.kind == "kernel":
            users.setdefault(step.kernel.source, []).append((number, step))
    blocks = []
    for source, steps in users.items():
        numbers = ", ".join([number for number, _ in steps])
        lines = [f"# Step{'s' if len(steps) > 1 else ''} {numbers} of {name}: {what(steps[0][1], made)}"]
        equations = [_equation_of(node, made) for _, step in steps for node in step.kernel.nodes]
        for equation in dict.fromkeys([equation for equation in equations if equation is not None]):
            text = equation_lines(equation, names, False)
            place = f"    {equation.source}" if equation.source else ""
            lines.append(f"#   {text[0]}{' ... ]' if len(text) > 1 else ''}{place}")
        blocks.append("\n".join([*lines, source]))
    return Text("\n\n".join(blocks) if blocks else f"# {name} has no kernel.\n")


def _every_name(jaxpr: Jaxpr) -> dict[Var, str]:
    """The names of variables when the program is printed; programs inside of equations begin at a again."""
    names, inside = Names(), {}
    for v in (*jaxpr.const_vars, *jaxpr.in_vars):
        names(v)
    for equation in jaxpr.equations:
        for v in (*equation.inputs, *equation.outs):
            names(v)
        for program in subjaxprs(equation.params):
            inside.update(_every_name(program))
    return {**names.names, **inside}


# ---------------------------------------------------------------- costs


class Report(dict):
    """What a program is made of and what it costs; prints itself.

    ``flops`` are counted as ``core/cost.py`` says: a while loop, for one, counts as one step. ``bytes_moved`` are what the
    steps read and write, arena and cache included. ``donated`` lists number and type of each input whose memory a result
    takes.
    """

    def __init__(self, jaxpr: Jaxpr, name: str, donated: Sequence[int] = (), device: Device | None = None):
        executable = compiler.executable(jaxpr, donated, device)
        plan, making = executable.schedule, executable.making
        program = making.program
        steps = list(walk(plan.steps))
        kernels = [step for step, _, _ in steps if step.kind == "kernel"]
        super().__init__(
            name=name, equations=count_equations(jaxpr), equations_after_passes=count_equations(program),
            kernels=len(kernels), different_kernels=len({step.kernel.source for step in kernels}),
            gemms=sum(step.kind == "gemm" for step, _, _ in steps), loops=sum(step.kind == "loop" for step, _, _ in steps),
            host_steps=[(step.equation.primitive.name, host_reason(step.equation, executable.target),
                         str(step.equation.source or "")) for step, _, _ in steps if step.kind == "host"],
            copies=copies(plan), flops=total(program).flops,
            bytes_moved=sum(times * _traffic(step) for step, _, times in steps),
            arena_bytes=executable.arena_size,
            donated=[(pair.input, str(jaxpr.in_avals[pair.input])) for pair in executable.pairs],
            donated_bytes=sum(pair.result.nbytes for pair in executable.pairs),
            constants=len(plan.consts), constant_bytes=sum(buffer.nbytes for buffer, _ in plan.consts),
            passes_seconds=making.passes_seconds, schedule_seconds=making.schedule_seconds,
            compile_seconds=making.compile_seconds, cache_hits=making.hits, cache_misses=making.misses)

    def __str__(self) -> str:
        r = self
        lines = [
            f"{r['name']}: {_plural(r['equations'], 'equation')} as traced, {r['equations_after_passes']} after the passes",
            f"  steps         {_plural(r['kernels'], 'kernel')} ({r['different_kernels']} different), "
            f"{_plural(r['gemms'], 'matrix product')}, {r['loops']} loops or choices, "
            f"{_plural(len(r['host_steps']), 'host step')}",
            *[f"    host        {name}: {reason}{'  ' + place if place else ''}" for name, reason, place in r["host_steps"]],
            *[f"    copy        {text}: {reason}" for text, reason in r["copies"]],
            f"  a call        {amount(r['flops'], 'flop')}, {amount(r['bytes_moved'], 'B')} read and written",
            f"  memory        {amount(r['arena_bytes'], 'B')} of arena, {amount(r['constant_bytes'], 'B')} in "
            f"{_plural(r['constants'], 'constant')}",
            *[f"    donated     input {i}, {aval}: a result takes its memory" for i, aval in r["donated"]],
            f"  compilation   passes {duration(r['passes_seconds'])}, schedule {duration(r['schedule_seconds'])}, kernels "
            f"{duration(r['compile_seconds'])}: {r['cache_misses']} compiled, {r['cache_hits']} loaded from disk"]
        return "\n".join(lines)

    __repr__ = __str__


def host_reason(equation: Equation, target: str = "cpu") -> str:
    """Why an equation is computed by its Python implementation, and on a GPU by whom."""
    if target == "cuda":
        there = "CuPy computes it" if callable(equation.primitive.cuda) else "NumPy computes it on the host"
        return f"{host_reason(equation).removesuffix(': NumPy or SciPy computes it')}; {there}"
    primitive, code = equation.primitive, equation.primitive.code
    strange = [atom.aval.dtype for atom in (*equation.inputs, *equation.outs) if not supported(atom.aval.dtype)]
    types = ", ".join(dict.fromkeys([atom.aval.dtype.name for atom in equation.inputs]))
    if strange:
        return f"kernels do not hold {strange[0]}"
    if isinstance(code, Native):
        return f"the kernel {code.name!r} does not take these types, sizes or parameters"
    if primitive.kind is Kind.CONTROL:
        return "it calls Python, or runs a program in a way that the compiler does not know"
    if code is HOST:
        return "it has no kernel: NumPy or SciPy computes it"
    return {Kind.ELEMENTWISE: f"no scalar function takes {types}", Kind.REDUCTION: f"nothing combines {types}",
            Kind.CONTRACTION: f"BLAS does not take {types} with these results, or an operand is a number",
            }.get(primitive.kind, "it has no kernel for these operands")


def copies(plan: Schedule) -> list[tuple[str, str]]:
    """What is only copied, to other memory, and why; copies that are fused with arithmetic are not counted."""
    steps = [step for step, _, _ in walk(plan.steps)]
    loops = [step.kernel for step in steps if isinstance(step.kernel, Plan)]
    kept = {home for loop in loops for pair in loop.pairs for buffer in pair for home in buffer.homes}
    results = {out.buffer for out in plan.outs if type(out) is not Literal}
    found = []
    for step in steps:
        if step.kind == "kernel" and step.kernel.nodes and all(map(_is_copy, step.kernel.nodes)):
            for view in step.writes:
                text = f"{dtypes.short_name(view.buffer.dtype)}[{','.join(map(str, view.shape))}]"
                found.append((text, _copy_reason(view.buffer, step, steps, kept, results)))
    return found


def _copy_reason(buffer: Buffer, step: Step, steps: Sequence[Step], kept: set, results: set) -> str:
    if buffer in kept:
        return "a loop changes its state in place, so its first value is copied"
    if buffer in results:
        return "a result has row-major memory of its own"
    if buffer.role == "moving":
        return "the results of a step are written to their places"
    for reader in steps:
        if reader is not step and any(isinstance(v, View) and v.buffer is buffer for v in reader.reads):
            if not step.reads:
                return "a number is put into memory for the step that reads it"
            if reader.kind == "gemm":
                narrow = any(isinstance(v, View) and v.buffer.dtype != buffer.dtype for v in step.reads)
                return "BLAS has no such dtype" if narrow else "BLAS reads rows or columns that are contiguous"
            if reader.kind == "kernel" and reader.equation is not None:
                return f"the kernel of {reader.equation.primitive.name} reads row-major memory"
    return "strides cannot express the reordering that follows"


def _traffic(step: Step) -> int:
    """The bytes that a step reads and writes, each element of a view once."""
    if step.kind == "loop":
        return 0
    views = {(id(v.buffer), v.offset, v.shape, v.strides): v for v in (*step.reads, *step.writes) if isinstance(v, View)}
    return sum(v.buffer.dtype.itemsize * math.prod(n for n, s in zip(v.shape, v.strides, strict=True) if s)
               for v in views.values())


# ---------------------------------------------------------------- text


def _counted(steps: Sequence[Step]) -> str:
    counts = {kind: sum(step.kind == kind for step in steps) for kind in NUMBER_WORDS}
    return ", ".join([f"{n} {NUMBER_WORDS[kind][n != 1]}" for kind, n in counts.items() if n])


def _plural(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _source(equation: Equation | None) -> str:
    return f", at {equation.source}" if equation is not None and equation.source else ""


def duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.3g} us"
