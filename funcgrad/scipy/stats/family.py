"""What the distributions share: promotion, location and scale, supports, and arguments that mean nothing.

In: a function of a standard variable and of parameters, such as ``logpdf(x, a)``. Out: the public function, to whose signature
``loc=0, scale=1`` is added, as far as the family has them.

    GAMMA = Family(0, math.inf, valid=lambda a: a > 0)

    @GAMMA.density
    def logpdf(x, a):
        return xlogy(a - 1, x) - x - gammaln(a)

Outside of the support the functions have their limits there, and the derivative 0: the function is given a point inside the
support instead of x, so that no NaN comes back. Where a parameter means nothing, the result is NaN, as in SciPy.
"""
from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.ops.special import inexact_args

Bound = float | Callable


@dataclass(frozen=True)
class Family:
    """The support of the standard variable, bounds included, and how it is moved.

    A bound is a number or a function of the parameters, as ``valid`` is; ``moved`` names the arguments that follow them;
    ``whole`` variables are counts.
    """

    low: Bound = -math.inf
    high: Bound = math.inf
    valid: Callable = lambda *parameters: True  # noqa: E731
    moved: tuple[str, ...] = ("loc", "scale")
    whole: bool = False

    def density(self, function: Callable) -> Callable:
        """From the logarithm of a density or of a probability: -inf outside of the support."""

        def logarithm(x: Any, parameters: list, scale: Any) -> Any:
            inside, safe = self._inside(x, parameters)
            value = function(safe, *parameters)
            return fnp.where(inside, value if scale is None else value - fnp.log(scale), -np.inf)

        return self._public(function, logarithm)

    def cdf(self, function: Callable) -> Callable:
        """From a distribution function: 0 below the support and 1 above it."""
        return self._cumulative(function, 0.0, 1.0)

    def sf(self, function: Callable) -> Callable:
        """From the probability of more than x."""
        return self._cumulative(function, 1.0, 0.0)

    def logcdf(self, function: Callable) -> Callable:
        """From the logarithm of a distribution function."""
        return self._cumulative(function, -np.inf, 0.0)

    def logsf(self, function: Callable) -> Callable:
        """From the logarithm of the probability of more than x."""
        return self._cumulative(function, 0.0, -np.inf)

    def quantile(self, function: Callable) -> Callable:
        """From the inverse of ``cdf`` or ``sf``, for probabilities from 0 to 1; NaN for others."""

        def moved(q: Any, parameters: list, loc: Any = None, scale: Any = None) -> Any:
            inside = (q >= 0) & (q <= 1)
            value = function(fnp.where(inside, q, 0.5), *parameters)
            value = value if scale is None else loc + scale * value
            return fnp.where(inside, value, np.nan)

        @_signed_as(function, self.moved)
        def public(q: Any, *rest: Any) -> Any:
            q, *rest = inexact_args(function.__name__, q, *rest)
            count = len(rest) - len(self.moved)
            parameters, place = rest[:count], dict(zip(self.moved, rest[count:], strict=True))
            return self._checked(moved(q, parameters, **place), parameters, place.get("scale"))

        return public

    def _public(self, function: Callable, standard: Callable) -> Callable:
        @_signed_as(function, self.moved)
        def public(x: Any, *rest: Any) -> Any:
            x, *rest = inexact_args(function.__name__, x, *rest)
            count = len(rest) - len(self.moved)
            parameters, place = rest[:count], dict(zip(self.moved, rest[count:], strict=True))
            scale = place.get("scale")
            if "loc" in place:
                x = x - place["loc"]
            if scale is not None:
                x = x / fnp.where(scale > 0, scale, 1)
            return self._checked(standard(x, parameters, scale), parameters, scale)

        return public

    def _cumulative(self, function: Callable, below: float, above: float) -> Callable:
        def value(x: Any, parameters: list, scale: Any) -> Any:
            if self.whole:
                x = fnp.floor(x)
            low, high = self._bounds(parameters)
            over = x > high if self.whole else x >= high
            outside = (x < low) | over
            inside = fnp.where(outside, self._interior(low, high), x)
            return fnp.where(outside, fnp.where(over, above, below), function(inside, *parameters))

        return self._public(function, value)

    def _bounds(self, parameters: list) -> list:
        return [bound(*parameters) if callable(bound) else bound for bound in (self.low, self.high)]

    def _inside(self, x: Any, parameters: list) -> tuple[Any, Any]:
        """Where x is in the support or NaN, and x with other values in the place of those that are not."""
        low, high = self._bounds(parameters)
        outside = (x < low) | (x > high) | fnp.isinf(x)
        if self.whole:
            outside = outside | (x != fnp.floor(x)) & ~fnp.isnan(x)
        return ~outside, fnp.where(outside, self._interior(low, high), x)

    def _interior(self, low: Any, high: Any) -> Any:
        """A point of the support, away from its ends."""
        low, high = (lax.stop_gradient(fnp.asarray(bound)) for bound in (low, high))
        if self.whole:
            return fnp.where(fnp.isfinite(low), low, 0)
        bounded = fnp.where(fnp.isfinite(low), low, 0), fnp.where(fnp.isfinite(high), high, 0)
        middle = 0.5 * bounded[0] + 0.5 * bounded[1]
        above = fnp.where(fnp.isfinite(low), bounded[0] + 1, 0)
        below = fnp.where(fnp.isfinite(low), middle, bounded[1] - 1)
        return fnp.where(fnp.isfinite(high), below, above)

    def _checked(self, value: Any, parameters: list, scale: Any) -> Any:
        valid = self.valid(*parameters)
        if scale is not None:
            valid = valid & (scale > 0)
        return value if valid is True else fnp.where(valid, value, np.nan)


def exponential(function: Callable) -> Callable:
    """exp of a public function, with its signature."""
    name = function.__name__.removeprefix("log")

    @functools.wraps(function)
    def public(*args: Any, **kwargs: Any) -> Any:
        return fnp.exp(function(*args, **kwargs))

    public.__name__ = public.__qualname__ = name
    public.__doc__ = f"exp({function.__name__}(...))."
    return public


def _signed_as(function: Callable, moved: tuple[str, ...]) -> Callable:
    """Gives a function of positional arguments the signature of another one and, after it, loc=0 and scale=1."""
    defaults = {"loc": 0, "scale": 1}
    added = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults[name]) for name in moved]
    own = [p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(function).parameters.values()]
    signature = inspect.Signature([*own, *added])

    def decorate(positional: Callable) -> Callable:
        @functools.wraps(function)
        def public(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return positional(*bound.args)

        public.__signature__ = signature  # type: ignore[attr-defined]
        return public

    return decorate


def log_of(p: Any, rest: Any) -> Any:
    """log(p) of a probability, accurate near 1 too, where it is taken from rest = 1 - p.

    -inf, and the derivative 0, where p has underflowed to 0.
    """
    small, nothing = p < 0.5, p == 0
    near = fnp.log(fnp.where(small & ~nothing, p, 0.5))
    return fnp.where(nothing, -np.inf, fnp.where(small, near, fnp.log1p(-fnp.where(small, 0.5, rest))))


def log_one_less_exp(u: Any) -> Any:
    """log(1 - exp(-u)) for u >= 0, accurate for small and for large u."""
    small = u < math.log(2)
    near = fnp.where(small & (u > 0), u, 1)
    far = fnp.where(small, 1, u)
    value = fnp.where(small, fnp.log(-fnp.expm1(-near)), fnp.log1p(-fnp.exp(-far)))
    return fnp.where(u == 0, -np.inf, value)
