"""A program as a stand-alone Python file: ``fg.to_source``.

In: a function and its arguments. Out: the text of a module that needs NumPy alone (SciPy for special functions and the like): a
function with the same arguments and results, with the names of the user's code and comments that point to its lines.

    def loss(w, x):
        # model.py:3  h = fnp.tanh(w * x)
        h = np.tanh(w * x)
        # model.py:4  return fnp.sum(h)
        return np.sum(h)
"""
from __future__ import annotations

import base64
import builtins
import keyword
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.core.array import DeviceArray
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal
from funcgrad.core.pretty import Text
from funcgrad.core.stage import interpret
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.core.trace import EVAL, current
from funcgrad.debug.user_names import user_names
from funcgrad.errors import Source, file_name, message
from funcgrad.passes.algebra import algebra
from funcgrad.passes.dead_code import dead_code
from funcgrad.passes.inline import inline
from funcgrad.passes.subexpressions import common_subexpressions
from funcgrad.source.calls import (
    ATOM,
    COMPARE,
    OR,
    Block,
    Missing,
    NoSpellingError,
    Operand,
    Scribe,
    Statement,
    Written,
    literal,
)
from funcgrad.source.spelling import SPELLINGS
from funcgrad.transforms.arguments import argument_names, function_name
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.staging import stage_call
from funcgrad.tree import keystr, tree_leaves, tree_leaves_with_path, tree_unflatten

INLINED = 60
"""Characters of a text that is put into the place of its value."""
SPELLED = 64
"""Elements of a constant that are written as numbers."""
RESERVED = frozenset((*keyword.kwlist, *dir(builtins), "np", "scipy", "base64"))


def to_source(fun: Callable, *args: Any, name: str | None = None, target: str = "numpy", **kwargs: Any) -> Text:
    """A Python file that computes ``fun(*args, **kwargs)``, for arguments of these shapes and dtypes, with NumPy.

    Args:
      fun: a function of trees of arrays: the user's, or ``fg.grad(f)``, ``fg.vmap(f)``, ``fg.jit(f)`` ...
      args, kwargs: arguments for which the program is traced. What depends on their shapes is written in.
      name: the name of the function in the file; by default that of fun.
      target: "numpy", or "numba" for the same text under ``@njit``, which is good for scalars and simple array code.

    Loops stay loops, ``cond`` becomes ``if``; calls are written in place. Dataclasses among the arguments are read by their
    attributes; a result that is not made of tuples, lists and dicts is returned as a flat tuple. Raises NotImplementedError,
    which names the operation, for one that has no spelling in NumPy or SciPy, such as a callback.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> namespace = {}
    >>> exec(fg.to_source(fg.grad(lambda x: fnp.sum(fnp.sin(x))), fnp.ones(2), name="slope"), namespace)
    >>> namespace["slope"]([0.0, 0.0])
    array([1., 1.])
    """
    check_callable(fun, "to_source")
    if target not in ("numpy", "numba"):
        raise ValueError(message("to_source: there is no such target", repr(target), "'numpy' or 'numba'"))
    jaxpr, leaves, out_tree = stage_call(fun, args, kwargs, "to_source", "fg.to_source(fg.grad(f), x)")
    with quiet():
        for change in (inline, dead_code, algebra, common_subexpressions, dead_code):
            jaxpr = change(jaxpr)
        expected = interpret(jaxpr, leaves)
        writer = _Writer()
        names = [*argument_names(fun, len(args)), *kwargs]
        name = _identifier(name or function_name(fun))
        text = writer.module(jaxpr, leaves, _paths(names, (*args, *kwargs.values())), _parameters(names), out_tree, name,
                             target)
        if target == "numpy":
            _check(text, name, args, kwargs, expected)
        return text


def _check(text: str, name: str, args: tuple, kwargs: dict, expected: Sequence[Any]) -> None:
    """Runs the text once. Raises NotImplementedError unless it gives the results of the program."""
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    found = tree_leaves(namespace[name](*args, **kwargs))
    for x, y in zip(found, expected, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        tolerance = 1e-3 if y.dtype.itemsize <= (8 if y.dtype.kind == "c" else 4) else 1e-6
        if (x.shape, x.dtype) != (y.shape, y.dtype) or not np.allclose(x, y, tolerance, tolerance, equal_nan=True):
            raise NotImplementedError(message(f"to_source: the text of {name} gives another result than the program",
                                              f"{x.dtype}{list(x.shape)} {x}", f"{y.dtype}{list(y.shape)} {y}",
                                              "fg.step(f)(x) shows the program"))


def _parameters(names: Sequence[str]) -> list[str]:
    """The parameters of the written function: ``*args`` stands for args[0], args[1] ..."""
    plain = [_identifier(name) for name in names if "[" not in name]
    many = [_identifier(name.partition("[")[0]) for name in names if "[" in name]
    return plain + [f"*{many[0]}"] if many else plain


def _paths(names: Sequence[str], args: Sequence[Any]) -> list[str]:
    """The expression in the written function for each leaf of the arguments."""
    roots = [f"{_identifier(name.partition('[')[0])}{name[len(name.partition('[')[0]):]}" for name in names]
    return [root + keystr(path) for root, arg in zip(roots, args, strict=True) for path, _ in tree_leaves_with_path(arg)]


class _Name:
    """A variable in the text of a tree of results."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


class _Writer:
    """Writes one program."""

    def __init__(self) -> None:
        self.scribe = Scribe()
        self.used: set[str] = set()
        self.constants: list[str] = []

    # ------------------------------------------------------------ programs to lines

    def module(self, jaxpr: Jaxpr, leaves: Sequence[Any], paths: Sequence[str], parameters: Sequence[str], out_tree: Any,
               name: str, target: str) -> Text:
        self.used |= {name, *parameters}
        self.where: dict[int, str] = {}
        arguments = []
        for x, path, var in zip(leaves, paths, jaxpr.in_vars, strict=True):
            used = any(var in e.inputs for e in jaxpr.equations) or var in jaxpr.outs
            arguments.append(self.variable(path if path in parameters else self.unique(path), x._data if type(x) is DeviceArray else np.asarray(x)))
            if used:
                self.scribe.lines.append(Statement([f"{arguments[-1]._name} = {_coerced(path, x, target)}"]))
        outs = self.program(jaxpr, arguments)
        results = [_text_of_result(out, self) for out in outs]
        body = _Printer(self).block(self.scribe.lines, [*outs], 1)
        values = list(map(_Name, results))
        returned = _tree_text(tree_unflatten(out_tree, values)) or repr(tuple(values))
        met = set(re.findall(r"\w+", "\n".join([*body, returned])))
        self.constants = [line for line in self.constants if line.split(" ", 1)[0] in met]
        imports = ["import numpy as np", *[f"import {m}" for m in sorted(self.scribe.modules)]]
        imports += ["from numba import njit"] if target == "numba" else []
        imports += ["import base64"] if any("base64" in c for c in self.constants) else []
        head = [*sorted(imports, key=lambda line: (line.startswith("from"), line)), ""]
        head += [*self.constants, "", ""] if self.constants else [""]
        return Text("\n".join([*head, *(["@njit"] if target == "numba" else []), f"def {name}({', '.join(parameters)}):",
                               *body, f"    return {returned}", ""]))

    def variable(self, name: str, value: Any) -> Written:
        """A value that a name stands for."""
        kept = self.scribe.lines
        self.scribe.lines = []
        out = Written(self.scribe, value, [name], ATOM)
        self.scribe.lines = kept
        out._name = name
        return out

    def variables(self, names: Sequence[str], like: Sequence[Any]) -> list[Written]:
        """Values that names stand for, with the numbers of others."""
        return [self.variable(name, x._value if isinstance(x, Written) else x) for name, x in zip(names, like, strict=True)]

    def unique(self, wanted: str) -> str:
        """An identifier near the one wanted, not used before."""
        base = _identifier(wanted)
        name = next(n for i in range(len(self.used) + 2) if (n := base if not i else f"{base}_{i + 1}") not in self.used)
        self.used.add(name)
        return name

    def program(self, jaxpr: Jaxpr, args: Sequence[Any], unnamed: Sequence[Atom] = ()) -> list[Any]:
        """Writes the equations of a program; returns its results, which are values or literals."""
        values: dict[Atom, Any] = dict(zip(jaxpr.in_vars, args, strict=True))
        for var, const in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            values[var] = self.constant(np.asarray(const))
        names = user_names(jaxpr)
        for equation in jaxpr.equations:
            self.scribe.source = equation.source
            given = [a.value if isinstance(a, Literal) else values[a] for a in equation.inputs]
            outs = self.equation(equation, given)
            for var, out in zip(equation.outs, outs, strict=True):
                if isinstance(out, Written) and not out._name and var in names and var not in unnamed:
                    out._name = self.unique(names[var])
                values[var] = out
        return [a.value if isinstance(a, Literal) else values[a] for a in jaxpr.outs]

    def constant(self, x: np.ndarray) -> Any:
        if not x.ndim:
            return x[()]
        name = self.unique("constant")
        if x.size <= SPELLED:
            text = literal(x)
        else:
            data = base64.b64encode(np.ascontiguousarray(x).tobytes()).decode()
            text = f"np.frombuffer(base64.b64decode({data!r}), {literal(x.dtype)}).reshape({x.shape})"
        self.constants.append(f"{name} = {text}")
        return self.variable(name, x)

    def equation(self, equation: Equation, args: Sequence[Any]) -> Sequence[Any]:
        primitive, params = equation.primitive, equation.params
        if primitive.on_values:
            structure = primitive.code(**params) if callable(primitive.code) else None
            if isinstance(structure, Loop):
                return self.loop(structure, args, equation) if structure.length else [
                    *args[structure.num_consts:structure.num_consts + structure.num_carry],
                    *[self.scribe.xp.zeros(v.aval.shape, v.aval.dtype) for v in equation.outs[structure.num_carry:]]]
            if isinstance(structure, While):
                return self.repeat(structure, args, equation)
            if isinstance(structure, Choice):
                return self.choice(structure, args, equation)
            program = primitive.inline(*[a.aval for a in equation.inputs], **params) if primitive.inline else None
            if program is not None:
                return self.program(program, args)
        lines = len(self.scribe.lines)
        try:
            out = NotImplemented
            if primitive.name in SPELLINGS:
                out = SPELLINGS[primitive.name](self.scribe.xp, *args, **params)
            if out is NotImplemented:
                if primitive.on_values or primitive.effect or primitive.name == "pure_callback":
                    raise NoSpellingError("it calls Python")
                out = primitive.impl(self.scribe.xp, *args, **params)
        except (NoSpellingError, TypeError, AttributeError, ValueError) as error:
            del self.scribe.lines[lines:]
            missing = Missing(NotImplementedError(message(
                f"to_source: the operation {primitive.name} has no spelling in NumPy",
                f"{primitive.name} at {equation.source}: {error}", "operations of NumPy and SciPy",
                "the value as an argument, or another formulation")))
            if primitive.effect:
                raise missing.error from error
            return [Written(self.scribe, x, [missing]) for x in self.results(equation, args)]  # an error only if it is used
        outs = out if isinstance(out, tuple) else (out,)
        return [x if isinstance(x, Written) else self.constant(np.asarray(x)) for x in outs]

    # ------------------------------------------------------------ control flow

    def inner(self, write: Callable[[], Any]) -> tuple[list[Any], Any]:
        """The lines that a function writes, and its result."""
        kept, self.scribe.lines = self.scribe.lines, []
        try:
            result = write()
            return self.scribe.lines, result
        finally:
            self.scribe.lines = kept

    def assign(self, names: Sequence[str], values: Sequence[Any]) -> None:
        """``a, b = x, y``."""
        if names:
            parts: list[Any] = [f"{', '.join(names)} = "]
            for i, x in enumerate(values):
                parts += [", "] if i else []
                parts.append(Operand(x, COMPARE) if isinstance(x, Written) else _typed(x))
            self.scribe.lines.append(Statement(parts))

    def results(self, equation: Equation, args: Sequence[Any]) -> tuple:
        """The numbers that an equation gives in this run."""
        given = [DeviceArray(x._value) if isinstance(x, Written) else x for x in args]
        with current(EVAL):
            return tuple([x._data for x in EVAL.process(equation.primitive, tuple(given), equation.params)])

    def names_for(self, jaxpr: Jaxpr, outs: Sequence[Atom], otherwise: str) -> list[str]:
        known = user_names(jaxpr)
        return [self.unique(known.get(v, otherwise) if not isinstance(v, Literal) else otherwise) for v in outs]

    def loop(self, loop: Loop, args: Sequence[Any], equation: Equation) -> list[Any]:
        body, carried = loop.body, loop.num_consts + loop.num_carry
        consts, carry, xs = args[:loop.num_consts], args[loop.num_consts:carried], args[carried:]
        names = self.names_for(body, body.outs[:loop.num_carry], "state")
        stacks = self.names_for(body, body.outs[loop.num_carry:], "stack")
        results = self.results(equation, args)
        for name, x in zip(names, carry, strict=True):
            self.assign([name], [x])
        for name, x in zip(stacks, results[loop.num_carry:], strict=True):
            self.scribe.lines.append(Statement([f"{name} = np.empty({x.shape}, {literal(x.dtype)})"]))
        index = self.unique("i")

        def write() -> None:
            i = self.variable(index, loop.length - 1 if loop.reverse else 0)
            state = self.variables(names, carry)
            self.scribe.source = None
            outs = self.program(body, [*consts, *state, *[x[i] for x in xs]], body.outs)
            for name, out in zip(stacks, outs[loop.num_carry:], strict=True):
                self.scribe.lines.append(Statement([f"{name}[{index}] = ", Operand(out, COMPARE) if isinstance(out, Written)
                                                    else _typed(out)]))
            changed = [(n, s, out) for n, s, out in zip(names, state, outs, strict=False) if out is not s]
            self.assign([n for n, _, _ in changed], [out for _, _, out in changed])

        lines, _ = self.inner(write)
        steps = f"range({loop.length - 1}, -1, -1)" if loop.reverse else f"range({loop.length})"
        self.scribe.lines.append(Block([f"for {index} in {steps}:"], lines))
        return [self.variable(name, x) for name, x in zip([*names, *stacks], results, strict=True)]

    def repeat(self, loop: While, args: Sequence[Any], equation: Equation) -> list[Any]:
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        names = self.names_for(loop.body, loop.body.outs, "state")
        results = self.results(equation, args)
        for name, x in zip(names, args[ends[1]:], strict=True):
            self.assign([name], [x])
        state = self.variables(names, args[ends[1]:])

        def write() -> None:
            go_on, = self.program(loop.condition, [*args[:ends[0]], *state])
            self.scribe.lines.append(Block(["if not ", Operand(go_on, ATOM) if isinstance(go_on, Written) else str(bool(go_on)),
                                            ":"], [Statement(["break"])]))
            outs = self.program(loop.body, [*args[ends[0]:ends[1]], *state], loop.body.outs)
            changed = [(n, out) for n, s, out in zip(names, state, outs, strict=True) if out is not s]
            self.assign([n for n, _ in changed], [out for _, out in changed])

        self.scribe.lines.append(Block(["while True:"], self.inner(write)[0]))
        return [self.variable(name, x) for name, x in zip(names, results, strict=True)]

    def choice(self, choice: Choice, args: Sequence[Any], equation: Equation) -> list[Any]:
        names = self.names_for(choice.branches[0], choice.branches[0].outs, "chosen")
        results = self.results(equation, args)
        which, count = args[0], len(choice.branches)
        truth = which._truth if isinstance(which, Written) and count == 2 else None
        numbered = list(enumerate(choice.branches))
        for at, (i, branch) in enumerate(numbered if truth is None else reversed(numbered)):
            lines, _ = self.inner(lambda branch=branch: self.assign(names, self.program(branch, args[1:], branch.outs)))
            test = [Operand(truth, COMPARE)] if truth is not None else [
                Operand(which, OR) if isinstance(which, Written) else literal(which), f" {'==' if at else '<='} {i}"]
            head = ["else:"] if at == count - 1 else ["elif " if at else "if ", *test, ":"]
            self.scribe.lines.append(Block(head, lines))
        return [self.variable(name, x) for name, x in zip(names, results, strict=True)]


# ---------------------------------------------------------------- lines to text


class _Printer:
    """Prints lines: a value that is used once stands where it is used, if it is short and of the same line of the user's."""

    def __init__(self, writer: _Writer):
        self.writer = writer
        self.texts: dict[Written, str] = {}
        self.seen: set[tuple[str, int | None]] = set()
        self.line: tuple[str, int | None] | None = None

    def block(self, lines: Sequence[Any], results: Sequence[Any], depth: int) -> list[str]:
        uses: dict[Written, list[Any]] = {}
        self.count(lines, uses)
        for out in results:
            if isinstance(out, Written):
                uses.setdefault(out, []).append(None)
        alive = self.needed(lines, uses, results)
        return self.printed(lines, uses, alive, depth)

    def count(self, lines: Sequence[Any], uses: dict[Written, list[Any]]) -> None:
        for line in lines:
            for part in line.head if isinstance(line, Block) else line.parts if isinstance(line, Statement) else line._parts:
                if isinstance(part, Operand):
                    uses.setdefault(part.value, []).append(line)
            if isinstance(line, Block):
                self.count(line.lines, uses)

    def needed(self, lines: Sequence[Any], uses: dict, results: Sequence[Any]) -> set[Written]:
        """The values that results and statements use."""
        alive: set[Written] = set()
        stack = [x for x in results if isinstance(x, Written)]

        def visit(lines: Sequence[Any]) -> None:
            for line in lines:
                if not isinstance(line, Written):
                    parts = line.head if isinstance(line, Block) else line.parts
                    stack.extend(p.value for p in parts if isinstance(p, Operand))
                if isinstance(line, Block):
                    visit(line.lines)

        visit(lines)
        while stack:
            x = stack.pop()
            if x not in alive:
                alive.add(x)
                stack += [p.value for p in x._parts if isinstance(p, Operand)]
        return alive

    def printed(self, lines: Sequence[Any], uses: dict, alive: set[Written], depth: int) -> list[str]:
        out: list[str] = []
        places = {id(line): i for i, line in enumerate(lines)}
        changes = [i for i, line in enumerate(lines) if not isinstance(line, Written)]
        indent = "    " * depth
        for line in lines:
            if isinstance(line, Block):
                out.append(indent + self.text(line.head))
                out += self.printed(line.lines, uses, alive, depth + 1) or [f"{indent}    pass"]
            elif isinstance(line, Statement):
                out.append(indent + self.text(line.parts))
            elif line in alive:
                text = self.text(line._parts)
                users = [u for u in uses[line] if u in alive or not isinstance(u, Written)]
                user = users[0] if len(users) == 1 else None
                inside = id(user) in places and not any(places[id(line)] < i < places[id(user)] for i in changes) and (
                    not isinstance(user, Written) or _place(line) in (None, _place(user)))
                if not line._name and not line._changes and inside and len(text) <= INLINED:
                    self.texts[line] = text
                    continue
                name = line._name or self.writer.unique("t")
                out += [indent + comment for comment in self.comment(line._source)]
                out.append(f"{indent}{name} = {text}")
                self.texts[line], line._binds = name, ATOM
        return out

    def text(self, parts: Sequence[Any]) -> str:
        pieces = []
        for part in parts:
            if isinstance(part, Operand):
                x = part.value
                text = self.texts.get(x, x._name)
                pieces.append(f"({text})" if x._binds > part.binds and not text.isidentifier() else text)
            elif isinstance(part, Missing):
                raise part.error
            else:
                pieces.append(part)
        return "".join(pieces)

    def comment(self, source: Source | None) -> list[str]:
        """Where the lines below come from, if that is not where those above do."""
        if source is None or (source.file, source.line) == self.line:
            return []
        self.line = source.file, source.line
        first = self.line not in self.seen
        self.seen.add(self.line)
        return [f"# {file_name(source.file)}:{source.line}{f'  {source.text}' if first and source.text else ''}"]


def _tree_text(x: Any) -> str:
    """A tree of tuples, lists and dicts as text; empty for any other."""
    if isinstance(x, _Name) or x is None:
        return repr(x)
    if isinstance(x, dict):
        pairs = [(repr(k), _tree_text(v)) for k, v in x.items()]
        return f"{{{', '.join([f'{k}: {v}' for k, v in pairs])}}}" if all(v for _, v in pairs) else ""
    if not isinstance(x, (tuple, list)):
        return ""
    parts = list(map(_tree_text, x))
    if not all(parts):
        return ""
    return f"[{', '.join(parts)}]" if isinstance(x, list) else f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


def _place(x: Written) -> tuple | None:
    return None if x._source is None else (x._source.file, x._source.line)


def _identifier(text: str) -> str:
    """A Python name near a text."""
    name = re.sub(r"\W+", "_", text).strip("_") or "f"
    name = f"x{name}" if name[0].isdigit() else name
    return f"{name}_" if name in RESERVED else name


def _coerced(path: str, x: Any, target: str) -> str:
    if target == "numba":
        return path
    dtype = literal(np.dtype(x.dtype))
    return f"np.asarray({path}, {dtype})" if x.shape else f"np.asarray({path}, {dtype})[()]"


def _typed(x: Any) -> str:
    """A number as one of NumPy's, which has their methods."""
    x = np.asarray(x)[()]
    return f"np.{x.dtype.name}({literal(x, x.dtype)})" if x.dtype != bool else f"np.bool_({x})"


def _text_of_result(out: Any, writer: _Writer) -> Any:
    if not isinstance(out, Written):
        return _typed(out)
    if not out._name:
        out._name = writer.unique("result")
    return out._name
