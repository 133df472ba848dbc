"""The function under audit, as a function of flat arrays and as a sum of its results with random weights.

In: a user's function and arguments. Out: a ``Subject``: its arrays and their paths, and ``scalar``, the real number whose
derivatives are audited. A derivative of any order is a word of forward and reverse steps, applied to that number.

    scalar(x) = sum of weight * f(x)          derivative("fr", scalar, (d, e))(x) = jvp of (vjp of scalar along e) along d
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes
from funcgrad.audit import numeric
from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.primitive import Primitive
from funcgrad.core.stage import eval_jaxpr
from funcgrad.core.trace import EvalTrace, current
from funcgrad.transforms.arguments import FlatFunction, function_name
from funcgrad.transforms.derivatives import jvp, vjp
from funcgrad.tree import keystr, tree_leaves_with_path, tree_unflatten

Direction = tuple[Any, ...]
"""An array for each differentiable argument."""


def wide(dtype: np.dtype) -> np.dtype:
    """The widest dtype of the kind."""
    return np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def derivative(word: str, function: Callable, directions: Sequence[Direction]) -> Callable:
    """The derivative of a scalar function along directions, one for each letter: f is a forward, r a reverse step.

    The first letter is the outermost step.
    """
    for letter, direction in zip(reversed(word), reversed(directions), strict=True):
        function = (_forward if letter == "f" else _reverse)(function, direction)
    return function


def gradient(function: Callable, xs: Sequence[Any]) -> tuple:
    """The gradient of a scalar function by reverse mode."""
    out, pullback = vjp(function, *xs)
    return pullback(np.ones((), out.dtype))


def along(cotangents: Sequence[Any], direction: Direction) -> Any:
    """The derivative along a direction, from a gradient; the sum is taken in wide numbers."""
    terms = [fnp.sum(fnp.where(d == 0, 0, fnp.real(ct.astype(wide(ct.dtype)) * d.astype(wide(d.dtype)))))
             for ct, d in zip(cotangents, direction, strict=True)]
    return sum(terms[1:], terms[0])


def _forward(function: Callable, direction: Direction) -> Callable:
    return lambda *xs: jvp(function, xs, tuple([_as(d, x) for d, x in zip(direction, xs, strict=True)]))[1]


def _reverse(function: Callable, direction: Direction) -> Callable:
    return lambda *xs: along(gradient(function, xs), direction)


def _as(d: Any, x: Any) -> Any:
    """A direction in the dtype of what moves along it: arguments are made wide, and complex, for differences."""
    return np.asarray(d).astype(x.dtype)


class Interpreted(EvalTrace):
    """The bottom interpreter, which takes compiled programs equation by equation: an audit runs many programs once.

    All rules of the calls hold; only what would be compiled is not.
    """

    def process(self, primitive: Primitive, args: tuple, params: dict) -> tuple:
        program = primitive.inline(*map(aval_of, args), **params) if primitive.inline is not None else None
        if program is None:
            return super().process(primitive, args, params)
        with current(self):
            return tuple(eval_jaxpr(program, args))


class Subject:
    """A function of trees, flat. Raises what the function raises."""

    def __init__(self, f: Callable, leaves: Sequence[Any], tree: Any, paths: Sequence[str], generator: np.random.Generator):
        self.name, self.leaves, self.paths = function_name(f), leaves, paths
        self.active = [i for i, x in enumerate(leaves) if dtypes.is_inexact(x.dtype)]
        self.at = [leaves[i] for i in self.active]
        """The differentiable arguments."""
        self.flat = FlatFunction(f, tree, "check")
        outs = self.flat(*leaves)
        out_tree = self.flat.out_tree
        self.results = ["result" + keystr(path) for path, _ in
                        tree_leaves_with_path(tree_unflatten(out_tree, list(range(out_tree.num_leaves))))]
        self.weights = [_weights(x, generator) if dtypes.is_inexact(x.dtype) else None for x in outs]
        inexact = [x.dtype for x in (*self.at, *outs) if dtypes.is_inexact(x.dtype)]
        self.real = all(d.kind != "c" for d in inexact)
        self.eps = max([float(dtypes.finfo(d).eps) for d in inexact], default=0.0)
        terms = [np.abs(w * np.asarray(x).astype(w.dtype)) for w, x in zip(self.weights, outs, strict=True) if w is not None]
        self.size = sum([float(np.sum(t[np.isfinite(t)])) for t in terms])
        """How large the terms are that are added up."""
        self.differentiable = bool(self.active) and any(w is not None for w in self.weights)
        self.base, self.base_eps = self._wide(outs)

    def _wide(self, outs: Sequence[Any]) -> tuple[list[Any], float]:
        """The differentiable arguments in double precision, if the function then computes the same; and how precisely."""
        base = [DeviceArray(np.asarray(x).astype(wide(x.dtype))) for x in self.at]
        try:
            found = self.values(self.leaves, base)
        except Exception:  # a function may insist on its dtypes
            return self.at, self.eps
        digits = self.eps ** 0.5
        for x, y in zip(found, outs, strict=True):
            exact = np.asarray(y).astype(wide(y.dtype)) if dtypes.is_inexact(y.dtype) else np.asarray(y)
            if x.dtype not in (exact.dtype, y.dtype) or not np.allclose(
                    np.asarray(x).astype(exact.dtype), exact, digits, digits * np.max(np.abs(exact), initial=0), True):
                return self.at, self.eps
        return base, max([float(dtypes.finfo(x.dtype).eps) for x in (*found, *base) if dtypes.is_inexact(x.dtype)], default=0.0)

    def values(self, leaves: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
        """The results for these arguments, of which the differentiable ones are ``xs``."""
        args = list(leaves)
        for i, x in zip(self.active, xs, strict=True):
            args[i] = x
        return self.flat(*args)

    def scalar(self, *xs: Any) -> Any:
        """What is audited, at the integers given to the audit."""
        return self.weighted(self.values(self.leaves, xs))

    def weighted(self, outs: Sequence[Any]) -> Any:
        total = fnp.zeros(())
        for w, out in zip(self.weights, outs, strict=True):
            if w is not None:
                total = total + fnp.sum(w * fnp.asarray(out).astype(wide(out.dtype)))
        return total if self.real else fnp.real(total)

    def direction(self, generator: np.random.Generator) -> Direction:
        """A random direction in which every element moves by about its own size."""
        return tuple([_steps(x, generator) for x in self.at])

    def embed(self, i: int, d: Any) -> Direction:
        """A direction that moves only the i-th differentiable argument."""
        return tuple([d if i == j else np.zeros(x.shape, x.dtype) for j, x in enumerate(self.at)])


    def nearby(self, generator: np.random.Generator) -> list[Any]:
        """The differentiable arguments, changed in their last digits."""
        return [DeviceArray(np.asarray(np.asarray(x).astype(wide(x.dtype)) * (1 + float(dtypes.finfo(x.dtype).eps)
                                       * generator.choice([-1, 1], x.shape))).astype(x.dtype)) for x in self.at]


def _weights(x: Any, generator: np.random.Generator) -> np.ndarray:
    if not x.shape and x.dtype.kind != "c":
        return np.ones(())  # the numbers of a report are then the user's
    return _signed(x.shape, generator) * (1 if x.dtype.kind != "c" else _phases(x.shape, generator))


def _steps(x: Any, generator: np.random.Generator) -> np.ndarray:
    values = np.asarray(x).astype(wide(x.dtype))
    size = np.abs(values)
    nonzero = size[(size > 0) & np.isfinite(size)]
    if x.dtype == np.float16:  # whose range is short: a derivative along a long direction overflows
        size = np.minimum(size, 1.0)
    typical = min(float(np.median(nonzero)), 1.0) if nonzero.size else 1.0
    size = np.where(np.isfinite(size) & (size > numeric.EPS * np.max(nonzero, initial=0)), size, typical)
    steps = size * _signed(x.shape, generator)
    return np.asarray(steps * _phases(x.shape, generator) if x.dtype.kind == "c" else steps).astype(x.dtype)


def _signed(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(0.5, 1.5, shape) * generator.choice([-1.0, 1.0], shape)


def _phases(shape: tuple, generator: np.random.Generator) -> np.ndarray:
    return np.exp(1j * generator.uniform(0, 2 * np.pi, shape))
