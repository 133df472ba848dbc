"""A reference with sixty digits: differences of the function under audit, computed in mpmath's numbers.

In: a subject and directions. Out: an ``Estimate`` with no error to speak of, whatever the order, made of values alone; or None
if the function has an operation that mpmath's numbers lack.

    f''[d, e] = (f(x + hd + he) - f(x + hd - he) - f(x - hd + he) + f(x - hd - he)) / 4hh,  h = 1e-15
"""
from __future__ import annotations

import functools
import importlib
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.arithmetic.interpreter import evaluate
from funcgrad.arithmetic.numbers import numbers_of
from funcgrad.audit.numeric import Estimate
from funcgrad.audit.subject import Direction, Subject, wide
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.transforms.staging import ShapeDtypeStruct, make_jaxpr

DIGITS, STEP = 100, 1e-15


class Precise:
    """Differences of one function."""

    def __init__(self, subject: Subject):
        self.mp = importlib.import_module("mpmath").mp
        self.subject, self.numbers = subject, numbers_of("mpmath")
        self.at = [self._numbers(x) for x in subject.at]

    @functools.cached_property
    def program(self) -> Jaxpr:
        return make_jaxpr(self.subject.scalar)(*[ShapeDtypeStruct(x.shape, wide(x.dtype)) for x in self.subject.at])

    def _numbers(self, x: Any) -> np.ndarray:
        out = np.empty(x.shape, object)
        for index, value in np.ndenumerate(np.asarray(x).astype(wide(x.dtype))):
            out[index] = self.numbers.make(value)
        return out

    def derivative(self, directions: Sequence[Direction]) -> Estimate | None:
        """The derivative along all the directions, one for each order."""
        with self.mp.workdps(DIGITS):
            steps = [[self._numbers(d) * self.mp.mpf(STEP) for d in direction] for direction in directions]
            total = self.mp.mpf(0)
            for signs in itertools.product((1, -1), repeat=len(steps)):
                moved = [x + sum([s * step[i] for s, step in zip(signs, steps, strict=True)])
                         for i, x in enumerate(self.at)]
                try:
                    value, = evaluate(self.program, moved, self.numbers)
                except Exception:  # it cannot be traced, or computed in these numbers: differences in floats say what they can
                    return None
                total += math.prod(signs) * value[()]
            slope = float(self.mp.re(total) / (2 * self.mp.mpf(STEP)) ** len(steps))
        return Estimate(slope, 2.0 ** -52 * abs(slope), "mpmath")
