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
    _check(f, tuple(args), order, tuple(modes), atol, rtol, eps, "")


def check_jvp(f: Callable, f_jvp: Callable, args: Sequence[Any], atol: float | None = None, rtol: float | None = None,
              eps: float | None = 1e-4, err_msg: str = "") -> None:
    """Compares a forward-mode derivative with a central difference, in one random direction.

    ``f_jvp(args, tangents)`` is what ``jvp`` gives: the result and its tangent. Raises AssertionError where they differ.
    """
    args = tuple(args)
    tangents = _random_like(args, np.random.default_rng(0))
    out, out_dot = f_jvp(args, tangents)
    _compare(f"value of jvp {err_msg}", out, tree_map(np.asarray, f(*args)), atol, rtol)
    _compare(f"jvp {err_msg}", out_dot, numerical_jvp(f, args, tangents, eps), atol, rtol)


def check_vjp(f: Callable, f_vjp: Callable, args: Sequence[Any], atol: float | None = None, rtol: float | None = None,
              eps: float | None = 1e-4, err_msg: str = "") -> None:
    """Compares a pullback with a central difference, for one random cotangent paired with one random direction.

    ``f_vjp(*args)`` is what ``vjp`` gives: the result and its pullback. Raises AssertionError where they differ.
    """
    args, generator = tuple(args), np.random.default_rng(0)
    tangents = _random_like(args, generator)
    out, pullback = f_vjp(*args)
    cotangent = _random_like(out, generator)
    numeric = numerical_jvp(f, args, tangents, eps)
    _compare(f"value of vjp {err_msg}", out, tree_map(np.asarray, f(*args)), atol, rtol)
    _compare(f"vjp {err_msg}", _dot(pullback(cotangent), tangents), _dot(cotangent, numeric), atol, rtol)


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
           eps: float | None, label: str) -> None:
    if "fwd" in modes:
        check_jvp(f, lambda xs, tangents: jvp(f, xs, tangents), args, atol, rtol, eps, label)
        if order > 1:
            tangents = _random_like(args, np.random.default_rng(order))
            _check(lambda *xs: jvp(f, xs, tangents)[1], args, order - 1, modes, atol, rtol, eps, label + " of jvp")
    if "rev" in modes:
        check_vjp(f, lambda *xs: vjp(f, *xs), args, atol, rtol, eps, label)
        if order > 1:
            def pulled(*xs: Any) -> Any:
                out, pullback = vjp(f, *xs)
                return pullback(tree_map(lambda x: np.ones(x.shape, x.dtype), out))

            _check(pulled, args, order - 1, modes, atol, rtol, eps, label + " of vjp")


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
            err_msg=f"{what.strip()} differs from the {'function' if what.startswith('value') else 'central difference'}")
