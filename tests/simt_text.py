"""The text of a kernel for a GPU as a Python function that one thread runs.

In: the text of ``def kernel(pointers, sizes, start, stop)``. Out: ``Code``, whose function takes the number of the thread in its team
too. Words that all threads of a team say together are yields, so where there are any the function is a generator:

    t = plus_f64(t, exchange_f64(t, 16, 32))    ->    t = plus_f64(t, (yield (0, t)))
"""
from __future__ import annotations

import ast
import functools
from typing import Any

import numpy as np
from simt_memory import STORED, KernelError
from simt_words import F64, TYPES, namespace, word

MEETING = ("exchange", "shift", "sync")
"""Words that all threads of a team say together."""
WARP = 32
PYTHON = {"range": range, "min": min, "max": max, "abs": abs, "complex": complex, "int": int, "bool": bool, "inf": F64(np.inf),
          "nan": F64(np.nan)}


class Code:
    """A kernel as a Python function of (pointers, sizes, start, stop, lane); a generator if its threads meet."""

    def __init__(self, source: str, processor: bool):
        self.processor = processor
        self.text = source.splitlines()
        tree = ast.parse(source)
        self.scope: dict[str, Any] = {"simt_run": [None], "simt_bool": bool}
        self.teams: set[int] = set()
        self.shares = False
        self.exchanged = 0
        """Bytes of shared memory that exchanges need."""
        self.meetings: list[tuple[str, str, int, int]] = []
        """What threads say together, by the number they yield: word, dtype, distance, line."""
        definition, = tree.body
        definition.args.args.append(ast.arg("simt_lane"))  # type: ignore[attr-defined]
        tree = ast.fix_missing_locations(_Translator(self).visit(tree))
        local = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        local |= {a.arg for a in definition.args.args}  # type: ignore[attr-defined]
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - local - set(self.scope)
        for name in used:
            self.scope[name] = self.meaning(name)
        exec(compile(tree, "<kernel>", "exec"), self.scope)
        self.function = self.scope["kernel"]

    def meaning(self, name: str) -> Any:
        """What a name in the text stands for."""
        if name in PYTHON:
            return PYTHON[name]
        start, _, dtype = name.rpartition("_")
        here = self.scope["simt_run"]
        if start == "local" and self.processor:
            return lambda count, slot: here[0].local(dtype, count)
        if name not in namespace():
            raise NameError(f"{name} is no word of kernels for a GPU")
        if start in ("pointer", "aligned"):
            return lambda pointers, slot: pointers.pointer(dtype, slot, start == "aligned")
        if start == "shared":
            self.shares = True
            return lambda slot, count: here[0].shared_area(dtype, slot, count)
        if start.startswith("atomic_"):
            cast = TYPES[dtype]
            combine = {"add": lambda old, x: cast(old + x), "max": max, "min": min}[start[7:]]
            return lambda pointer, i, value: pointer.of(dtype).atomic(i, combine, cast(value))
        if name == "word":
            return lambda words, i: words[i]
        return word(name)


class _Translator(ast.NodeTransformer):
    """Words that threads say together become yields; numbers and comparisons get the types that Numba gives them."""

    def __init__(self, code: Code):
        self.code = code

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        start, _, dtype = name.rpartition("_")
        if name == "lane":
            self.code.teams.add(self.literal(node, node.args[0]))
            return ast.copy_location(ast.Name("simt_lane", ast.Load()), node)
        if name == "sync" or start in MEETING:
            return self.meeting(node, start or name, dtype)
        if name in TYPES and isinstance(node.args[0], ast.Constant):
            return node  # such as f32(0.5)
        return self.generic_visit(node)

    def meeting(self, node: ast.Call, name: str, dtype: str) -> ast.AST:
        if ast.unparse(node.func) not in namespace():
            raise NameError(f"{ast.unparse(node.func)} is no word of kernels for a GPU")
        team = self.literal(node, node.args[-1])
        self.code.teams.add(team)
        value: Any = ast.Constant(None)
        distance = 0
        if name != "sync":
            value, distance = self.visit(node.args[0]), self.literal(node, node.args[1])
            if distance < 1 or name == "exchange" and (distance & distance - 1 or distance >= team > 1):
                raise KernelError(f"line {node.lineno}: {name} over a distance of {distance} in a team of {team}")
        if team == 1 or distance >= team:
            return value
        if team > WARP and (name == "shift" or distance >= WARP):
            self.code.exchanged = max(self.code.exchanged, team * max(np.dtype(STORED[dtype]).itemsize, 4))
        self.code.meetings.append((name, dtype, distance, node.lineno))
        pair = ast.Tuple([ast.Constant(len(self.code.meetings) - 1), value], ast.Load())
        return ast.copy_location(ast.Yield(pair), node)

    def literal(self, node: ast.AST, argument: ast.expr) -> int:
        try:
            return int(ast.literal_eval(argument))
        except ValueError:
            raise KernelError(f"line {node.lineno}: {ast.unparse(argument)} must be a literal") from None  # type: ignore[attr-defined]

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is not float:
            return node
        name = f"simt_{len(self.code.scope)}"
        self.code.scope[name] = F64(node.value)
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        return ast.copy_location(ast.Call(ast.Name("simt_bool", ast.Load()), [node], []), node)

    def visit_test(self, node: Any) -> ast.AST:
        if isinstance(node.test, ast.Compare):
            node.test.left = self.visit(node.test.left)
            node.test.comparators = [self.visit(c) for c in node.test.comparators]
            test, node.test = node.test, ast.Constant(True)
            node = self.generic_visit(node)
            node.test = test
            return node
        return self.generic_visit(node)

    visit_If = visit_While = visit_IfExp = visit_test


@functools.lru_cache(maxsize=4096)
def translated(source: str, processor: bool = False) -> Code:
    return Code(source, processor)
