"""Functions that tell XLA something about a program and here leave it as it is: names, barriers, choices of a platform.

In: values and functions. Out: the same values, or what the function returns.

    >>> import funcgrad.numpy as fnp
    >>> platform_dependent(2.0, cpu=lambda x: x + 1, default=lambda x: x - 1)
    3.0
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from funcgrad.core.jaxpr import Named, current_path
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.structural import name_p
from funcgrad.transforms.arguments import wraps
from funcgrad.tree import tree_map


def composite(decomposition: Callable, name: str, version: int = 0) -> Callable:
    """``decomposition`` itself, under a name for the compiler. Its attributes are passed by keyword."""

    @wraps(decomposition, "composite")
    def composed(*args: Any, **attributes: Any) -> Any:
        return decomposition(*args, **attributes)

    return composed


def platform_dependent(*args: Any, default: Callable | None = None, **per_platform: Callable) -> Any:
    """The result of the function for the platform "cpu", or of ``default``. Raises NotImplementedError without either."""
    chosen = per_platform.get("cpu", default)
    if chosen is None:
        raise NotImplementedError(message("platform_dependent: no function for this platform", ", ".join(per_platform),
                                          "cpu=..., or default=..."))
    return chosen(*args)


def optimization_barrier(operand: Any, /) -> Any:
    """The tree of arrays itself. Kernels never change a result, so there is nothing to hold apart."""
    return tree_map(as_value, operand)


def stage(x: Any, /) -> Any:
    """x as an array."""
    return as_value(x)


def named_call(fun: Callable, *, name: str | None = None) -> Callable:
    """fun itself, under another name."""

    @wraps(fun, "named_call")
    def named(*args: Any, **kwargs: Any) -> Any:
        return fun(*args, **kwargs)

    named.__name__ = named.__name__ if name is None else name
    return named


@contextmanager
def named_scope(name: str) -> Iterator[None]:
    """A context, or a decorator, that gives a part of a program a name: drawings show it as a box that folds."""
    if not isinstance(name, str):
        raise TypeError(message("named_scope: a name is a text", repr(name), "a str"))
    token = current_path.set((*current_path.get(), Named(name)))
    try:
        yield
    finally:
        current_path.reset(token)


def label(x: Any, name: str) -> Any:
    """x, a tree of arrays, under a name that drawings and texts show in the place of a variable's.

    It passes through all transformations, compiled it costs nothing, and the policies of ``checkpoint`` know the name as one
    of ``checkpoint_name``. Raises TypeError for a name that is no text.

    >>> import funcgrad as fg
    >>> fg.grad(lambda x: label(x * x, "loss"))(3.0)
    Array(6., dtype=float64, weak_type=True)
    """
    if not isinstance(name, str):
        raise TypeError(message("label: a name is a text", repr(name), "a str", 'fg.label(x, "loss")'))
    return tree_map(lambda v: name_p.bind(unary_arg("label", v), name=name)[0], x)
