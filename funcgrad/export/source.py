"""``to_source``: a program as a Python file that needs NumPy alone.

In: a function and its arguments. Out: the text of a file with one function. Variables are named as in the user's code where
they have a name there, and comments show the user's lines.

    def loss(w, x):
        # model.py:7  z = x @ w
        z = x @ w
"""
from __future__ import annotations

import base64
import builtins
import dis
import functools
import inspect
import keyword
import linecache
import os
import re
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Var, subjaxprs
from funcgrad.core.primitive import Kind, Primitive, missing_rule
from funcgrad.core.structure import Choice, Loop, While
from funcgrad.errors import Source
from funcgrad.export.helpers import HELPERS
from funcgrad.export.writers import dtype_text, expression
from funcgrad.passes.dead_code import dead_code
from funcgrad.passes.inline import inline
from funcgrad.passes.subexpressions import common_subexpressions
from funcgrad.transforms.arguments import argument_names, function_name, leaf_paths
from funcgrad.transforms.derivatives import check_callable
from funcgrad.transforms.staging import make_jaxpr
from funcgrad.tree import tree_structure, tree_unflatten

WRITTEN_OUT = 64
"""Constants with more elements are written as bytes."""


def to_source(f: Callable, *args: Any) -> str:
    """A Python file that computes ``f(*args)`` with NumPy (and SciPy, where f has special functions), without funcgrad.

    Args:
      f: a function of trees of arrays; also a derivative or a batched function, ``fg.grad(g)``, ``fg.vmap(g)``.
      args: arguments, or ``fg.ShapeDtypeStruct`` with their shapes and dtypes, which the file is for.

    Returns the text of a module that defines one function, of f's arguments. Its results are those of the interpreter but for
    the last digits. Raises MissingRuleError for an operation that is not written in NumPy: convolutions, transforms, most of
    linear algebra.

    >>> import funcgrad as fg
    >>> print(to_source(fg.grad(lambda x: x * x), 3.0))  # doctest: +ELLIPSIS
    \"\"\"grad(<lambda>), written by funcgrad.\"\"\"
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    def grad_lambda(x):
    ...
    """
    check_callable(f, "to_source")
    jaxpr, shapes = make_jaxpr(f, return_shape=True)(*args)
    program = common_subexpressions(dead_code(inline(jaxpr)))
    return _Writer(f, args).file(program, tree_structure(shapes))


class _Name:
    """A variable's name, for the ``repr`` of trees of results."""

    def __init__(self, text: str):
        self.text = text

    def __repr__(self) -> str:
        return self.text


class _Writer:
    """Writes one function. Each variable of the program has a name of its own."""

    def __init__(self, f: Callable, args: tuple):
        self.f, self.args = f, args
        self.taken = {*keyword.kwlist, *dir(builtins), *HELPERS, "np", "special"}
        self.names: dict[Var, str] = {}
        self.lines: list[str] = []
        self.constants: list[str] = []
        self.depth = 1
        self.comment = ""
        self.hints = _user_names(f, args)

    # ------------------------------------------------------------ the file

    def file(self, jaxpr: Jaxpr, out_tree: Any) -> str:
        name = self.fresh(_identifier(function_name(self.f)))
        parameters, paths = self.parameters()
        for v, path in zip(jaxpr.in_vars, paths, strict=True):
            self.names[v] = path if path in parameters else self.fresh(_last_key(path))
            self.line(f"{self.names[v]} = np.asarray({path}, {dtype_text(v.aval.dtype)})")
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            self.names[v] = self.constant(np.asarray(c))
        results = [_Name(text) for text in self.program(jaxpr)]
        self.line(f"return {tree_unflatten(out_tree, results)!r}")
        body = "\n".join(self.lines)
        head = [f'"""{function_name(self.f)}, written by funcgrad."""', "import numpy as np"]
        helpers = [text for helper, text in HELPERS.items() if re.search(rf"\b{helper}\(", body)
                   or helper == "places" and re.search(r"\b(gather|scatter)\(", body)]
        if "special." in body:
            head.append("from scipy import special")
        if any("base64" in text for text in self.constants):
            head.insert(1, "import base64\n")
        sections = ["\n".join(head + ([""] + self.constants if self.constants else [])), *helpers,
                    f"def {name}({', '.join(parameters)}):\n{body}"]
        return "\n\n\n".join(sections) + "\n"

    def parameters(self) -> tuple[list[str], list[str]]:
        """The parameters of the function, and how each leaf is reached from them."""
        names = argument_names(self.f, len(self.args))
        paths = leaf_paths(self.f, self.args)
        parameters = []
        for name in names:
            several = re.fullmatch(r"(\w+)\[\d+\]", name)
            plain = f"*{several[1]}" if several else name if name.isidentifier() else _identifier(name)
            if plain != name and not several:
                paths = [plain + path.removeprefix(name) if path.startswith(name) else path for path in paths]
            if plain not in parameters:
                parameters.append(plain)
        self.taken |= {p.lstrip("*") for p in parameters}
        return parameters, paths

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def fresh(self, base: str) -> str:
        name, count = base, 2
        while name in self.taken:
            name, count = f"{base}_{count}", count + 1
        self.taken.add(name)
        return name

    def constant(self, x: np.ndarray) -> str:
        """The name of a constant, or a number that is written where it is used."""
        if not x.shape:
            return f"{dtype_text(x.dtype)}({_number(x[()])})"
        name = self.fresh("CONSTANT")
        if x.size <= WRITTEN_OUT:
            elements = np.array2string(x, separator=", ", threshold=x.size + 1, floatmode="unique")
            text = f"np.array({elements}, {dtype_text(x.dtype)})"
            text = re.sub(r"\bnan\b", "np.nan", re.sub(r"\binf\b", "np.inf", text)).replace("\n", " ")
        else:
            data = base64.b64encode(np.ascontiguousarray(x).tobytes()).decode()
            text = f'np.frombuffer(base64.b64decode("{data}"), {dtype_text(x.dtype)}).reshape({x.shape})'
        self.constants.append(f"{name} = {text}")
        return name

    # ------------------------------------------------------------ programs

    def atom(self, atom: Atom, typed: bool = True) -> str:
        if type(atom) is Var:
            return self.names[atom]
        text = _number(atom.value)
        if typed:
            return f"{dtype_text(atom.value.dtype)}({text})"
        return f"({text})" if text.startswith("-") else text

    def program(self, jaxpr: Jaxpr) -> list[str]:
        """Writes the equations of a program whose inputs have names; the names of its results."""
        for equation in jaxpr.equations:
            self.say(equation.source)
            hint = self.hints.get(_place(equation.source))
            if hint is not None and hint[0] is equation.primitive:  # the first one: later ones are parts of derivatives
                del self.hints[_place(equation.source)]
                self.equation(equation, hint[1])
            else:
                self.equation(equation, None)
        return [self.atom(a) for a in jaxpr.outs]

    def say(self, source: Source | None) -> None:
        """The user's line, when it is another one than before."""
        if source is not None:
            text = linecache.getline(source.file, source.line or 0).strip()
            comment = f"# {os.path.basename(source.file)}:{source.line}  {text}"
            if comment != self.comment:
                self.line(comment.rstrip())
                self.comment = comment

    def equation(self, equation: Equation, hint: str | None) -> None:
        if equation.primitive.kind is Kind.CONTROL:
            self.control(equation, hint)
            return
        known = {a.aval.dtype for a in equation.inputs if type(a) is Var}  # next to an array a number takes its dtype
        text = expression(equation, [self.atom(a, a.aval.dtype not in known) for a in equation.inputs])
        names = [self.fresh(hint or "v") for _ in equation.outs]
        self.line(f"{', '.join(names)} = {text}")
        self.names.update(zip(equation.outs, names, strict=True))

    def control(self, equation: Equation, hint: str | None) -> None:
        primitive = equation.primitive
        structure = primitive.code(**equation.params) if callable(primitive.code) else None
        args = [self.atom(a) for a in equation.inputs]
        if isinstance(structure, Loop):
            self.loop(structure, equation, args, hint)
        elif isinstance(structure, While):
            self.repeat(structure, equation, args, hint)
        elif isinstance(structure, Choice):
            self.choice(structure, equation, args, hint)
        else:
            raise missing_rule(primitive, "to_source", "code")

    def state(self, variables: Sequence[Var], inits: Sequence[str], hint: str | None) -> list[str]:
        """Names that hold what a loop carries."""
        names = [self.fresh(hint or "carry") for _ in variables]
        for name, init in zip(names, inits, strict=True):
            self.line(f"{name} = {init}")
        return names

    def assign(self, names: Sequence[str], values: Sequence[str]) -> None:
        if names:
            self.line(f"{', '.join(names)} = {', '.join(values)}")

    def loop(self, loop: Loop, equation: Equation, args: list[str], hint: str | None) -> None:
        carried = loop.num_consts + loop.num_carry
        carry = self.state(equation.outs[:loop.num_carry], args[loop.num_consts:carried], hint)
        stacks = [self.fresh("stack") for _ in equation.outs[loop.num_carry:]]
        for name, v in zip(stacks, equation.outs[loop.num_carry:], strict=True):
            self.line(f"{name} = np.empty({v.aval.shape}, {dtype_text(v.aval.dtype)})")
        i = self.fresh("i")
        steps = f"range({loop.length})"
        self.line(f"for {i} in {f'reversed({steps})' if loop.reverse else steps}:")
        self.depth += 1
        inputs = [*args[:loop.num_consts], *carry, *[f"{x}[{i}]" for x in args[carried:]]]
        outs = self.body(loop.body, inputs, carried)
        for stack, y in zip(stacks, outs[loop.num_carry:], strict=True):
            self.line(f"{stack}[{i}] = {y}")
        self.assign(carry, outs[:loop.num_carry])
        if not outs:
            self.line("pass")
        self.depth -= 1
        self.names.update(zip(equation.outs, [*carry, *stacks], strict=True))

    def repeat(self, loop: While, equation: Equation, args: list[str], hint: str | None) -> None:
        ends = loop.cond_consts, loop.cond_consts + loop.body_consts
        state = self.state(equation.outs, args[ends[1]:], hint)
        self.line("while True:")
        self.depth += 1
        condition, = self.body(loop.condition, [*args[:ends[0]], *state])
        self.line(f"if not {condition}:")
        self.line("    break")
        self.assign(state, self.body(loop.body, [*args[ends[0]:ends[1]], *state]))
        self.depth -= 1
        self.names.update(zip(equation.outs, state, strict=True))

    def choice(self, choice: Choice, equation: Equation, args: list[str], hint: str | None) -> None:
        outs = [self.fresh(hint or "v") for _ in equation.outs]
        for k, branch in enumerate(choice.branches):
            self.line("else:" if k == len(choice.branches) - 1 else f"{'elif' if k else 'if'} {args[0]} <= {k}:")
            self.depth += 1
            self.assign(outs, self.body(branch, args[1:]))
            self.depth -= 1
        self.names.update(zip(equation.outs, outs, strict=True))

    def body(self, jaxpr: Jaxpr, inputs: Sequence[str], sliced: int | None = None) -> list[str]:
        """A program inside of another; its inputs from ``sliced`` on are expressions, which get names."""
        for k, (v, text) in enumerate(zip(jaxpr.in_vars, inputs, strict=True)):
            self.names[v] = text
            if sliced is not None and k >= sliced:
                self.names[v] = self.fresh("x")
                self.line(f"{self.names[v]} = {text}")
        for v, c in zip(jaxpr.const_vars, jaxpr.consts, strict=True):
            self.names[v] = self.constant(np.asarray(c))
        return self.program(jaxpr)


# ---------------------------------------------------------------- names and numbers


def _identifier(text: str) -> str:
    """A name made of some text."""
    name = re.sub(r"\W+", "_", text).strip("_") or "v"
    return f"v_{name}" if name[0].isdigit() or keyword.iskeyword(name) else name


def _user_names(f: Callable, args: tuple) -> dict[tuple | None, tuple[Primitive, str]]:
    """For places in the user's code whose result is stored in a variable, the operation that makes it, and the variable.

    They are read off the program of the function that was transformed, in which all equations are the user's.
    """
    names: dict[tuple | None, tuple[Primitive, str]] = {}

    def walk(jaxpr: Jaxpr) -> None:
        for equation in jaxpr.equations:
            for program in subjaxprs(equation.params):
                walk(program)
            stored = None if equation.source is None else _stored(equation.source.code, equation.source.offset)
            if stored is not None:
                names[_place(equation.source)] = equation.primitive, stored  # of several equations the last one

    try:
        walk(inline(make_jaxpr(inspect.unwrap(f))(*args)))
    except Exception:  # it takes other arguments than what was made of it: there are no names then
        return {}
    return names


def _last_key(path: str) -> str:
    """A name for a leaf: params['w'] is w, pair[0] is pair_0."""
    words = re.findall(r"\w+", path)
    return _identifier("_".join(words[-2:]) if words[-1].isdigit() else words[-1])


def _place(source: Source | None) -> tuple[CodeType, int] | None:
    return None if source is None else (source.code, source.offset)


@functools.lru_cache(maxsize=4096)
def _stored(code: CodeType, offset: int) -> str | None:
    """The variable that the result of the instruction at an offset is stored in, if the next instruction does that."""
    after = next((i for i in dis.get_instructions(code) if i.offset > offset), None)
    if after is None or not after.opname.startswith("STORE_") or after.opname in ("STORE_SUBSCR", "STORE_ATTR", "STORE_SLICE"):
        return None
    name = after.argval if isinstance(after.argval, str) else after.argval[0]
    return name if name.isidentifier() else None


def _number(x: np.generic) -> str:
    """A number as it is written in Python."""
    if dtypes.kind(x.dtype) == "c":
        return f"complex({_number(x.real)}, {_number(x.imag)})"
    text = repr(x.item())
    return {"inf": "np.inf", "-inf": "-np.inf", "nan": "np.nan"}.get(text, text)
