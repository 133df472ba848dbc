"""From a user's call to flat values, and names for the parts of its arguments in error messages.

In: a function, its arguments as pytrees. Out: flat Arrays with the tree to put them back, and paths such as
``params['dense']['W']`` that a user recognises.
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.array import Array, describe
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.tree import keystr, tree_flatten, tree_leaves_with_path, tree_unflatten


def function_name(f: Callable) -> str:
    """The name a user would know a function by."""
    return getattr(f, "__name__", None) or type(f).__name__


def argument_names(f: Callable, count: int) -> list[str]:
    """The names of the first positional parameters of a function; numbers where it does not tell."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for p in parameters:
        if p.kind is p.VAR_POSITIONAL:
            names += [f"{p.name}[{i}]" for i in range(count - len(names))]
        elif p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            names.append(p.name)
    return (names + [f"argument {i}" for i in range(len(names), count)])[:count]


def leaf_paths(f: Callable, args: Sequence[Any], kwargs: dict[str, Any] | None = None) -> list[str]:
    """A path for every leaf of the arguments, in the order in which they are flattened."""
    named = [*zip(argument_names(f, len(args)), args, strict=True), *sorted((kwargs or {}).items())]
    return [name + keystr(path) for name, arg in named for path, _ in tree_leaves_with_path(arg)]


def flatten_args(f: Callable, args: tuple, transformation: str,
                 kwargs: dict[str, Any] | None = None) -> tuple[list[Any], Any]:
    """The arguments as flat Arrays, with their tree: that of args, or of (args, kwargs) if kwargs are given.

    Raises TypeError with the path of a leaf that is neither array nor number.
    """
    leaves, tree = tree_flatten(args if kwargs is None else (args, kwargs))
    return _arrays(leaves, lambda i, x: message(
        f"{transformation}: an argument of {function_name(f)} is not an array or a number",
        f"{leaf_paths(f, args, kwargs)[i]} is {describe(x)}", "arrays, numbers, and trees of them",
        "close over it: lambda x: f(x, other)")), tree


def flat_results(function: Callable, what: str, transformation: str, out: Any) -> tuple[list[Any], Any]:
    """The results of a user's function as flat Arrays with their tree."""
    leaves, tree = tree_flatten(out)
    return _arrays(leaves, lambda i, x: message(
        f"{transformation}: {function_name(function)} returned something that is not an array or a number",
        describe(x), "arrays, numbers, and trees of them", what)), tree


def _arrays(leaves: list[Any], error: Callable[[int, Any], str]) -> list[Any]:
    """Leaves as Arrays; the error is for one that is neither an array nor a number."""
    for i, x in enumerate(leaves):
        if not isinstance(x, Array):
            try:
                leaves[i] = as_value(x)
            except TypeError:
                raise TypeError(error(i, x)) from None
    return leaves


class FlatFunction:
    """A user's function of trees as a function of flat values; remembers the tree of its results."""

    __slots__ = ("function", "tree", "kwargs", "transformation", "out_tree", "aux", "has_aux")

    def __init__(self, function: Callable, tree: Any, transformation: str, kwargs: dict | None = None,
                 has_aux: bool = False):
        self.function, self.tree, self.transformation = function, tree, transformation
        self.kwargs, self.has_aux = kwargs or {}, has_aux
        self.out_tree: Any = None
        self.aux: Any = None

    def __call__(self, *leaves: Any) -> list[Any]:
        out = self.function(*tree_unflatten(self.tree, leaves), **self.kwargs)
        aux_leaves: list[Any] = []
        if self.has_aux:
            if not isinstance(out, tuple) or len(out) != 2:
                raise TypeError(message(
                    f"{self.transformation}: has_aux=True needs a function that returns a pair",
                    f"{function_name(self.function)} returned {describe(out)}", "(result, auxiliary data)"))
            out, aux = out
            aux_leaves, self.aux = tree_flatten(aux)
        flat, self.out_tree = flat_results(self.function, "return the array, not the thing that holds it",
                                           self.transformation, out)
        return flat + aux_leaves


def wraps(f: Callable, transformation: str) -> Callable[[Callable], Callable]:
    """``functools.wraps`` for transformed functions: the name says what was done."""

    def decorate(wrapper: Callable) -> Callable:
        functools.update_wrapper(wrapper, f, assigned=("__module__", "__doc__"), updated=())
        wrapper.__name__ = f"{transformation}({function_name(f)})"
        wrapper.__qualname__ = wrapper.__name__
        return wrapper

    return decorate


class Selection:
    """Some of a function's arguments, whether passed by position or by name."""

    def __init__(self, fun: Callable, numbers: int | Sequence[int] | None, names: str | Sequence[str] | None):
        self.numbers = set() if numbers is None else {numbers} if isinstance(numbers, int) else set(numbers)
        self.names = set() if names is None else {names} if isinstance(names, str) else set(names)
        try:
            parameters = [p for p in inspect.signature(fun).parameters.values()
                          if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        except (TypeError, ValueError):
            parameters = []
        if numbers is not None and names is None:
            self.names = {parameters[i].name for i in self.numbers if -len(parameters) <= i < len(parameters)}
        elif names is not None and numbers is None:
            self.numbers = {i for i, p in enumerate(parameters) if p.name in self.names}

    def __bool__(self) -> bool:
        return bool(self.numbers or self.names)

    def positions(self, count: int) -> set[int]:
        return {i % count for i in self.numbers if -count <= i < count}
