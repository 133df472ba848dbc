"""Checking derivatives against finite differences.

In: a function and a point. Out: nothing, or an AssertionError that says which derivative differs and by how much. One
random direction stands for all of them; a higher order is checked by recursion on the derivative itself.

    >>> import funcgrad.numpy as fnp
    >>> check_grads(lambda x: fnp.sum(fnp.sin(x)), (fnp.arange(3.),), order=2)
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.transforms.derivatives import jvp, vjp
from funcgrad.tree import tree_flatten, tree_leaves, tree_map

TOLERANCE = {"float16": 5e-2, "bfloat16": 2e-1, "float32": 5e-3, "float64": 1e-6, "complex64": 5e-3, "complex128": 1e-6}
"""Relative and absolute, by dtype: central differences lose two thirds of the digits."""


def check_grads(f: Callable, args: Sequence[Any], order: int, modes: Sequence[str] = ("fwd", "rev"),
                atol: float | None = None, rtol: float | None = None, eps: float | None = None) -> None:
    """Compares the derivatives of f at args, up to ``order``, with central differences.

    Args:
      f: a function of trees of floating point arrays that returns such a tree.
      modes: "fwd" compares ``jvp``, "rev" compares ``vjp`` with ``jvp``'s finite difference.
      eps: the step; by default the cube root of the precision.

    Raises AssertionError with the order, the mode and both values where they differ.
    """
    args = tuple(args)
    generator = np.random.default_rng(0)
    _check(f, args, order, tuple(modes), atol, rtol, eps, generator, "")


def check_jvp(f: Callable, args: tuple, tangents: tuple, atol: float | None, rtol: float | None, eps: float | None,
              label: str) -> None:
    """One directional derivative by forward mode against a central difference."""
    _, out_dot = jvp(f, args, tangents)
    _compare(f"jvp {label}", out_dot, numerical_jvp(f, args, tangents, eps), atol, rtol)


def check_vjp(f: Callable, args: tuple, tangents: tuple, generator: np.random.Generator, atol: float | None,
              rtol: float | None, eps: float | None, label: str) -> None:
    """The pullback of a random cotangent, paired with a direction, against the paired central difference."""
    out, pullback = vjp(f, *args)
    cotangent = _random_like(out, generator)
    numeric = numerical_jvp(f, args, tangents, eps)
    _compare(f"vjp {label}", _dot(pullback(cotangent), tangents), _dot(cotangent, numeric), atol, rtol)


def numerical_jvp(f: Callable, args: tuple, tangents: tuple, eps: float | None = None) -> Any:
    """The central difference of f along a direction, as a tree of NumPy arrays."""
    leaves = [*tree_leaves(args), *tree_leaves(f(*args))]
    widest = max((dtypes.finfo(x.dtype).eps for x in map(np.asarray, leaves)), default=2.0 ** -52)
    step = float(widest) ** (1 / 3) if eps is None else eps
    plus, minus = (f(*tree_map(lambda x, t, s=sign: _move(x, t, s * step), args, tangents)) for sign in (1, -1))
    return tree_map(lambda a, b: _difference(a, b, step), plus, minus)


def _difference(a: Any, b: Any, step: float) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    return (a.astype(wide) - b.astype(wide)) / (2 * step)


def _move(x: Any, t: Any, step: float) -> Any:
    x = np.asarray(x)
    return (x + np.asarray(t) * step).astype(x.dtype)


def _check(f: Callable, args: tuple, order: int, modes: tuple[str, ...], atol: float | None, rtol: float | None,
           eps: float | None, generator: np.random.Generator, label: str) -> None:
    tangents = tree_map(lambda x: _random(np.asarray(x), generator), args)
    if "fwd" in modes:
        check_jvp(f, args, tangents, atol, rtol, eps, label)
        if order > 1:
            _check(lambda *xs: jvp(f, xs, tangents)[1], args, order - 1, modes, atol, rtol, eps, generator, label + " of jvp")
    if "rev" in modes:
        check_vjp(f, args, tangents, generator, atol, rtol, eps, label)
        if order > 1:
            def pulled(*xs: Any) -> Any:
                out, pullback = vjp(f, *xs)
                return pullback(tree_map(lambda x: np.ones(x.shape, x.dtype), out))

            _check(pulled, args, order - 1, modes, atol, rtol, eps, generator, label + " of vjp")


def _random(x: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    values = generator.uniform(0.5, 1.5, x.shape) * generator.choice([-1, 1], x.shape)
    if x.dtype.kind == "c":
        values = values + 1j * generator.uniform(-1, 1, x.shape)
    return np.asarray(values).astype(x.dtype)


def _random_like(tree: Any, generator: np.random.Generator) -> Any:
    return tree_map(lambda x: _random(np.asarray(x), generator), tree)


def _dot(a: Any, b: Any) -> Any:
    # For functions that are not holomorphic only the real part of the pairing is the same on both sides.
    pairs = zip(tree_leaves(a), tree_leaves(b), strict=True)
    return np.asarray(sum(np.sum(np.real(np.asarray(x) * np.asarray(y))) for x, y in pairs))


def _compare(what: str, found: Any, numeric: Any, atol: float | None, rtol: float | None) -> None:
    for x, y in zip(tree_flatten(found)[0], tree_flatten(numeric)[0], strict=True):
        x = np.asarray(x)
        tolerance = TOLERANCE[x.dtype.name]
        np.testing.assert_allclose(
            x.astype(y.dtype), y, rtol=tolerance if rtol is None else rtol, atol=tolerance if atol is None else atol,
            err_msg=f"{what.strip()} differs from the central difference")
