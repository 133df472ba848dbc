"""Results and derivatives under ``vmap`` and ``jit``, next to those without.

In: the function under audit. Out: a row for each argument and for the results: how far its gradient and its product with
the Hessian, or the result, are from those of each example alone, or of the interpreter.

    vmap(grad f)(batch)  =  [grad f(example) for each example]          jit(grad f)(x)  =  grad f(x)
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.audit import report
from funcgrad.audit.report import Row
from funcgrad.audit.subject import Direction, Subject, derivative, gradient, wide
from funcgrad.core.array import DeviceArray
from funcgrad.core.trace import EVAL, current
from funcgrad.jit import jit
from funcgrad.transforms.batching import vmap

EXAMPLES = 3


class Equality:
    """A function together with its derivatives, each result under the name of what it is a derivative by."""

    def __init__(self, subject: Subject, inner: Sequence[Direction]):
        self.subject, self.inner = subject, inner

    @functools.cached_property
    def parts(self) -> list[Callable]:
        """The function and those of its derivatives that it has."""
        subject, parts = self.subject, [self._results]
        for part in [self._gradient, *[self._product] * len(self.inner)] if subject.differentiable else []:
            try:
                part(*subject.leaves)
            except Exception:  # a row of its own says so
                continue
            parts.append(part)
        return parts

    @functools.cached_property
    def names(self) -> list[str]:
        """What each result of the bundle is by: itself, or an argument."""
        return self.subject.results + [self.subject.paths[i] for i in self.subject.active] * (len(self.parts) - 1)

    @functools.cached_property
    def single(self) -> list[Any]:
        """The bundle at the arguments."""
        return self.bundle(*self.subject.leaves)

    def _results(self, *leaves: Any) -> list[Any]:
        return self.subject.flat(*leaves)

    def _scalar(self, leaves: Sequence[Any]) -> Callable:
        return lambda *xs: self.subject.weighted(self.subject.values(leaves, xs))

    def _gradient(self, *leaves: Any) -> list[Any]:
        return list(gradient(self._scalar(leaves), [leaves[i] for i in self.subject.active]))

    def _product(self, *leaves: Any) -> list[Any]:
        """The Hessian times a vector."""
        along = derivative("f", self._scalar(leaves), self.inner)
        return list(gradient(along, [leaves[i] for i in self.subject.active]))

    def bundle(self, *leaves: Any) -> list[Any]:
        return [x for part in self.parts for x in part(*leaves)]

    # ------------------------------------------------------------ rows

    def jitted(self) -> list[Row]:
        """Compiled next to interpreted."""
        with current(EVAL):
            compiled = jit(lambda *leaves: self.bundle(*leaves))(*self.subject.leaves)
        return self.rows("jit", [(compiled, self.single)])

    def vmapped(self) -> list[Row]:
        """Batches next to their examples: each argument batched alone, along its first and its last axis, and all together."""
        count = len(self.subject.leaves)
        chosen = [{i: 0} for i in range(count)] + [{i: -1} for i in range(count)]
        chosen += [{i: 0 for i in range(count)}, {i: -1 if i % 2 else 0 for i in range(count)}] if count > 1 else []
        batches = [_batch(x, True) for x in self.subject.leaves], [_batch(x, False) for x in self.subject.leaves]

        @functools.cache
        def alone(*which: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
            """The arguments as batches, and the results of each example, where these arguments are batched."""
            try:
                return batches[0], self.examples(batches[0], which)
            except (IndexError, ValueError):  # indices in another order are not allowed: the same for all examples
                return batches[1], self.examples(batches[1], which)

        pairs = []
        for axes in chosen:
            batched, examples = alone(*axes)
            args = [np.moveaxis(b, 0, axes[i]) if i in axes else x
                    for i, (b, x) in enumerate(zip(batched, self.subject.leaves, strict=True))]
            found = vmap(self.bundle, tuple([axes.get(i) for i in range(count)]))(*args)
            pairs.append((found, examples))
        return self.rows("vmap", pairs) if pairs else []

    def examples(self, batched: Sequence[np.ndarray], which: Sequence[int]) -> list[np.ndarray]:
        """The results of each example alone, stacked, where these arguments are batched."""
        outs = [self.bundle(*[DeviceArray(b[k]) if i in which else x
                              for i, (b, x) in enumerate(zip(batched, self.subject.leaves, strict=True))])
                for k in range(EXAMPLES)]
        return [np.stack([np.asarray(x) for x in xs]) for xs in zip(*outs, strict=True)]

    def rows(self, mode: str, pairs: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> list[Row]:
        worst: dict[str, tuple[float, float, tuple | None, str]] = {}
        for found, expected in pairs:
            for k, (name, x, y) in enumerate(zip(self.names, found, expected, strict=True)):
                excess, error, where, note = self.distance(np.asarray(x), np.asarray(y), k, mode)
                if name not in worst or excess > worst[name][0]:
                    worst[name] = excess, error, where, note
        return [Row(name, mode, report.OK, error) if excess <= 1 else Row(name, mode, report.WRONG, error, where, note)
                for name, (excess, error, where, note) in worst.items()]

    def distance(self, x: np.ndarray, y: np.ndarray, k: int, mode: str) -> tuple[float, float, tuple | None, str]:
        """How many times the distance is what rounding allows, the relative distance, and where it is largest."""
        if x.shape != y.shape or x.dtype != y.dtype:
            return np.inf, np.nan, None, f"{x.dtype}{list(x.shape)} for {y.dtype}{list(y.shape)}"
        if not y.size:
            return 0.0, 0.0, None, ""
        if not dtypes.is_inexact(y.dtype):
            distance, tolerance, scale = (x != y).astype(float), np.full(y.shape, 0.5), 1.0
        else:
            eps = max(self.subject.eps, float(dtypes.finfo(y.dtype).eps))
            x, y = x.astype(wide(x.dtype)), y.astype(wide(y.dtype))
            with np.errstate(all="ignore"):
                same = (x == y) | np.isnan(x) & np.isnan(y)
                distance = np.where(same, 0.0, np.abs(x - y))
                distance[np.isnan(distance)] = np.inf
            scale = float(np.max(np.abs(y[np.isfinite(y)]), initial=0))
            tolerance = np.full(y.shape, eps ** (2 / 3) * scale + 100 * eps * self.floor(k) + 1e-300)
        if (distance > tolerance).any():
            tolerance = tolerance + self.noise(k)
        at = np.unravel_index(np.argmax(distance / tolerance), y.shape)
        where = tuple(map(int, at[1:] if mode == "vmap" else at))
        return (float((distance / tolerance)[at]), float(distance[at] / scale) if scale else float(distance[at]), where,
                f"{x[at]:.6g} for {y[at]:.6g}" + (f" in example {at[0]}" if mode == "vmap" else ""))

    def floor(self, k: int) -> float:
        """The size that a part may have before what is left of it is rounding."""
        if k < len(self.subject.results):
            return 0.0
        x = np.abs(np.asarray(self.subject.at[(k - len(self.subject.results)) % len(self.subject.at)]).astype(np.complex128))
        return self.subject.size / max(float(np.max(x, initial=0)), 1.0)

    def noise(self, k: int) -> np.ndarray | float:
        """How much changes of the arguments in their last digits change a part."""
        generator = np.random.default_rng(0)
        base, largest = np.asarray(self.single[k]), 0.0
        for _ in range(3):
            leaves = list(self.subject.leaves)
            for i, x in zip(self.subject.active, self.subject.nearby(generator), strict=True):
                leaves[i] = x
            with np.errstate(all="ignore"):
                change = np.abs(np.asarray(self.bundle(*leaves)[k]).astype(wide(base.dtype)) - base.astype(wide(base.dtype)))
            largest = np.fmax(largest, change)
        return 8 * np.max(largest, initial=0)


def _batch(x: Any, reorder: bool) -> np.ndarray:
    """Three examples, stacked: smaller and smaller numbers of the same sign; indices in another order; bools flipped."""
    x = np.asarray(x)
    if dtypes.is_inexact(x.dtype):
        return np.stack([(x * (1 - k / 16)).astype(x.dtype) for k in range(EXAMPLES)])
    other = x
    if reorder:
        other = ~x if x.dtype.kind == "b" else x[..., ::-1] if x.ndim else x
    return np.stack([x, other, x])
