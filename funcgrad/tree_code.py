"""Trees of one structure taken apart and put together by code made for it: several times faster than walking it.

In: a ``TreeDef``. Out: a function from a tree to its leaves, and one from leaves to a tree. Making one costs what a hundred
walks cost, so it is for structures that are met again and again, such as a model's parameters.

    {'a': *, 'b': (*, *)}:     lambda x: {K[0]: x[0], K[1]: (x[1], x[2])}
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.tree import TreeDef, _children_like, _kinds, match

DEEPEST = 40
"""Levels in one expression; Python's parser has a limit too."""
MOST = 4000
"""Nodes and leaves; making code for more takes too long."""


def splitter(treedef: TreeDef) -> Callable[[Any], list | None]:
    """As ``match`` with this structure: the leaves of a tree, or None if the tree is another one.

    >>> from funcgrad.tree import tree_structure
    >>> split = splitter(tree_structure({'a': 0, 'b': (0, 0)}))
    >>> split({'b': (1, [2]), 'a': 3}), split({'a': 1, 'b': 2})
    ([3, 1, [2]], None)
    """
    writer = _Splitter()
    if treedef._spec is None or treedef.num_leaves > MOST or not writer.node(treedef._spec, "t"):
        return lambda tree: match(treedef, tree)
    body = [*writer.lines, f"return [{', '.join(writer.leaves)}]"]
    text = "\n        ".join(["def split(t):\n    try:", *body]) + "\n    except KeyError:\n        return None"
    return _function(text, "split", {"like": _children_like, "K": writer.constants})


def joiner(treedef: TreeDef) -> Callable[[Sequence], Any]:
    """As ``treedef.unflatten``, for leaves of the right number.

    >>> from funcgrad.tree import tree_structure
    >>> joiner(tree_structure({'b': (0, 0), 'a': 0}))([1, 2, 3])
    {'b': (2, 3), 'a': 1}
    """
    writer = _Joiner()
    text = None if treedef.num_leaves > MOST else writer.text(treedef._spec, 0)
    return treedef.unflatten if text is None else _function(f"join = lambda x: {text}", "join", {"K": writer.constants})


def _function(text: str, name: str, scope: dict) -> Callable:
    exec(compile(text, f"<{name}>", "exec"), scope)
    return scope[name]


class _Writer:
    def __init__(self) -> None:
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        if type(value) is str or type(value) is int:
            return repr(value)
        self.constants.append(value)
        return f"K[{len(self.constants) - 1}]"


class _Splitter(_Writer):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.leaves: list[str] = []
        self.count = 0

    def node(self, spec: tuple, name: str) -> bool:
        """Writes what takes the node of this name apart; False if there is too much of it."""
        cls, meta, children = spec[0], spec[1], spec[2:]
        if cls is dict:
            keys = [self.constant(key) for key in meta[1]]
        elif cls in (list, tuple):
            keys = list(range(len(children)))
        else:
            inner = self.fresh()
            self.lines += [f"{inner} = like({self.constant(spec)}, {name})", f"if {inner} is None: return None"]
            name, keys = inner, list(range(len(children)))
        if cls in (dict, list, tuple):
            self.lines.append(f"if type({name}) is not {cls.__name__} or len({name}) != {len(children)}: return None")
        for key, child in zip(keys, children, strict=True):
            if child is None:
                self.leaves.append(f"{name}[{key}]")
                continue
            inner = self.fresh()
            self.lines.append(f"{inner} = {name}[{key}]")
            if self.count > MOST or not self.node(child, inner):
                return False
        return True

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"


class _Joiner(_Writer):
    def __init__(self) -> None:
        super().__init__()
        self.leaf = -1

    def text(self, spec: tuple | None, depth: int) -> str | None:
        """The expression that builds a node; None if it is too deep."""
        if spec is None:
            self.leaf += 1
            return f"x[{self.leaf}]"
        children = [self.text(child, depth + 1) for child in spec[2:]] if depth < DEEPEST else [None]
        if None in children:
            return None
        cls, meta = spec[0], spec[1]
        if cls is dict:
            order, keys = meta
            entries = [f"{self.constant(key)}: {child}" for key, child in zip(keys, children, strict=True)]
            return "{" + ", ".join(order.restore(tuple(entries)) if entries else ()) + "}"
        inner = ", ".join(children)  # type: ignore[arg-type]
        if cls is list:
            return f"[{inner}]"
        if cls is tuple:
            return f"({inner}{',' if len(children) == 1 else ''})"
        return "None" if cls is type(None) else f"{self.constant(_kinds[cls].join)}({self.constant(meta)}, [{inner}])"
