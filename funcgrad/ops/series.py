"""Truncated power series in one variable t: the arithmetic of Taylor mode, and the rules of elementwise operations.

In: for each argument its value x[0] at t = 0 and its normalised coefficients x[1], ..., x[k], with x(t) = x[0] + x[1] t + ...
+ x[k] t**k; a coefficient that is zero may be a symbolic ``Zero``. Out: the same for the result. A rule takes the place of
the default one, which follows from the jvp rule, where the derivative contains the result: the recurrence below costs k**2.

    exp:  y' = y x',  so  n y[n] = sum of i x[i] y[n - i] over i = 1 ... n

Griewank and Walther, Evaluating Derivatives, 2nd edition (2008), chapter 13.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from funcgrad.core.array import aval_of
from funcgrad.core.types import Zero, tangent_aval

Series = Sequence[Any]


def is_zero(x: Any) -> bool:
    """Known to be zero: inside of a recurrence a zero needs no type and is None."""
    return x is None or type(x) is Zero


def total(terms: Iterable[Any]) -> Any:
    """The sum of those terms that are not zero."""
    result = None
    for term in terms:
        if not is_zero(term):
            result = term if result is None else result + term
    return result


def coefficient(x: Series, y: Series, n: int, start: int = 0, stop: int | None = None) -> Any:
    """The coefficient n of a product: the sum of x[i] * y[n - i] over i from ``start`` to ``stop`` (n, inclusive)."""
    return total([x[i] * y[n - i] for i in range(start, (n if stop is None else stop) + 1)
                  if not is_zero(x[i]) and not is_zero(y[n - i])])


def square_coefficient(x: Series, n: int, start: int = 0) -> Any:
    """The coefficient n of x * x without its ``start`` outermost pairs; each pair of equal products is computed once."""
    half = total([x[i] * x[n - i] for i in range(start, (n + 1) // 2) if not is_zero(x[i]) and not is_zero(x[n - i])])
    middle = x[n // 2] if n % 2 == 0 and n // 2 >= start else None
    return total([scaled(half, 2), None if is_zero(middle) else middle * middle])


def derivative(x: Series) -> list[Any]:
    """The coefficients of t x'(t): i x[i]."""
    return [None if i == 0 else scaled(c, i) for i, c in enumerate(x)]


def scaled(x: Any, factor: float) -> Any:
    """x times a number. For x / n it is 1 / n: a product costs a tenth of a division, and half a unit in the last place."""
    return None if is_zero(x) else x if factor == 1 else -x if factor == -1 else x * factor


def over(x: Any, y: Any) -> Any:
    return None if is_zero(x) else x / y


def minus(x: Any, y: Any) -> Any:
    return x if is_zero(y) else -y if is_zero(x) else x - y


def result(y: Series) -> tuple[tuple, tuple]:
    """What a rule of an operation with one result returns, from all coefficients."""
    zero = Zero(tangent_aval(aval_of(y[0])))
    return (y[0],), (tuple([zero if is_zero(c) else c for c in y[1:]]),)


def joined(primals: Sequence[Any], series: Sequence[Series]) -> list[list[Any]]:
    """All coefficients of each argument."""
    return [[x, *terms] for x, terms in zip(primals, series, strict=True)]


# ---------------------------------------------------------------- products and quotients


def product(x: Series, y: Series, first: Any) -> list[Any]:
    return [first, *[coefficient(x, y, n) for n in range(1, len(x))]]


def square(x: Series, first: Any) -> list[Any]:
    return [first, *[square_coefficient(x, n) for n in range(1, len(x))]]


def quotient(x: Series, y: Series, first: Any) -> list[Any]:
    """z with z y = x."""
    z = [first]
    for n in range(1, len(x)):
        z.append(over(minus(x[n], coefficient(z, y, n, 0, n - 1)), y[0]))
    return z


def arithmetic(primitive: Callable, operation: Callable) -> Callable:
    """The rule of an operation that ``operation`` does on series, given the first coefficient of the result."""

    def rule(primals: tuple, series: tuple, **params: Any) -> tuple:
        out, = primitive().bind(*primals, **params)
        return result(operation(*joined(primals, series), out, **params))

    return rule


def power(x: Series, first: Any, *, y: int) -> list[Any]:
    """The integer power y by repeated multiplication, which no x[0] upsets."""
    if y == 0:
        return [first, *[None] * (len(x) - 1)]
    out, base, n = None, list(x), abs(y)
    while n:
        if n & 1:
            out = base if out is None else product(out, base, out[0] * base[0])
        n >>= 1
        if n:
            base = square(base, base[0] * base[0])
    assert out is not None
    if y < 0:
        out = quotient([1, *[None] * (len(x) - 1)], out, first)
    return [first, *out[1:]]


# ---------------------------------------------------------------- functions with a differential equation


def quadratic(primitive: Callable, b: float = 0, c: float = 0) -> Callable:
    """y' = g x' with g = a + b y + c y**2: exp and tanh and their kin. The first g is the partial derivative itself."""

    def rule(primals: tuple, series: tuple) -> tuple:
        out, = primitive().bind(*primals)
        slope, = primitive().jvp.entries
        dx, y, g = derivative([*primals, *series[0]]), [out], [slope(out, *primals)]
        for n in range(1, len(dx)):
            y.append(scaled(coefficient(dx, g, n, 1), 1 / n))
            g.append(total([scaled(y[n], b) if b else None, scaled(square_coefficient(y, n), c) if c else None]))
        return result(y)

    return rule


def pair(primitive: Callable, partner: Callable, own: int, other: int) -> Callable:
    """y' = own z x' and z' = other y x', where the partner gives z: sine with cosine, and the hyperbolic ones."""

    def rule(primals: tuple, series: tuple) -> tuple:
        dx = derivative([*primals, *series[0]])
        y, z = [*primitive().bind(*primals)], [*partner().bind(*primals)]
        for n in range(1, len(dx)):
            next_y, next_z = coefficient(dx, z, n, 1), coefficient(dx, y, n, 1)
            y.append(scaled(next_y, own / n))
            z.append(scaled(next_z, other / n))
        return result(y)

    return rule


def root(x: Series, first: Any) -> list[Any]:
    """y with y * y = x."""
    y = [first]
    for n in range(1, len(x)):
        y.append(over(minus(x[n], square_coefficient(y, n, 1)), 2 * first))
    return y


def fixed_power(exponent: float) -> Callable:
    """y = x**r for a constant r, from x y' = r x' y."""

    def operation(x: Series, first: Any) -> list[Any]:
        dx, y, dy = derivative(x), [first], [None]
        for n in range(1, len(x)):
            above = minus(scaled(coefficient(dx, y, n, 1), exponent), coefficient(x, dy, n, 1, n - 1))
            dy.append(over(above, x[0]))
            y.append(scaled(dy[n], 1 / n))
        return y

    return operation


def exponential(w: Series, first: Any) -> list[Any]:
    """exp(w) from its first coefficient: y' = y w'. That of w is not looked at."""
    dw, y = derivative(w), [first]
    for n in range(1, len(w)):
        y.append(scaled(coefficient(dw, y, n, 1), 1 / n))
    return y


def logarithm(x: Series, first: Any) -> list[Any]:
    """y with x y' = x'."""
    dx, dy = derivative(x), [None]
    y = [first]
    for n in range(1, len(x)):
        dy.append(over(minus(dx[n], coefficient(x, dy, n, 1, n - 1)), x[0]))
        y.append(scaled(dy[n], 1 / n))
    return y
