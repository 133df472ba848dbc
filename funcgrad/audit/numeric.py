"""Derivatives of a function of one number, from its values alone.

In: ``g``, a function of a real number t, and how large its rounding errors are. Out: an ``Estimate`` of g'(0), with the error
that the estimates at several steps let expect; and whether g has a kink at 0.

    >>> float(round(differences(lambda t: math.exp(2 * t), 1.0).value, 9))
    2.0
"""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPS = float(np.finfo(np.float64).eps)
FIRST_STEP, SHORTEST_STEP, RATIO = 2.0 ** -3, 1e-9, 4.0
"""Directions are as large as the argument, so the steps are relative: from an eighth of it to 1e-9."""
IMAGINARY_STEP = 1e-30
Line = Callable[[complex], complex]


@dataclass(frozen=True)
class Estimate:
    """A derivative, the error to expect of it, how it was found, and the shortest step in it (0 if there is no rounding)."""

    value: float
    error: float
    method: str
    step: float = 0.0


def derivative(g: Line, size: float, eps: float = EPS, analytic: bool = True) -> Estimate:
    """g'(0), by a complex step where g takes complex numbers and that agrees with differences, else by differences.

    ``size`` is how large the terms are that g adds up, ``eps`` the precision they have.
    """
    estimate = differences(lambda t: float(np.real(g(t))), size, eps)
    if not analytic:
        return estimate
    try:
        value = float(np.imag(g(1j * IMAGINARY_STEP))) / IMAGINARY_STEP
    except Exception:  # whatever a function does that was not written for complex numbers
        return estimate
    error = 64 * eps * (abs(value) + size)
    if abs(value - estimate.value) <= 4 * estimate.error + eps ** (1 / 3) * (abs(value) + size):
        return Estimate(value, error, "complex step")
    return estimate


def differences(g: Callable[[float], float], size: float, eps: float = EPS) -> Estimate:
    """g'(0) by central differences at ever smaller steps, extrapolated to step 0. Steps that leave the domain are passed over.

    Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4 (1982).
    """
    best, error, shortest = math.nan, math.inf, 0.0
    above: list[float] = []
    step = FIRST_STEP
    while step > max(eps ** 0.75, SHORTEST_STEP):  # a shorter one is lost in the rounding of the argument
        slope = (_value(g, step) - _value(g, -step)) / (2 * step)
        step /= RATIO
        if not math.isfinite(slope):
            above = []
            continue
        row = [slope]
        factor = RATIO * RATIO
        for i, previous in enumerate(above):
            row.append((factor * row[i] - previous) / (factor - 1))
            factor *= RATIO * RATIO
            distance = max(abs(row[i + 1] - row[i]), abs(row[i + 1] - previous))
            if distance < error:
                best, error, shortest = row[i + 1], distance, RATIO * step
        above = row
        if error <= 1e-2 * math.sqrt(eps) * abs(best) or error <= eps * size:
            break
    return Estimate(best, error, "differences", shortest)


def kink(g: Callable[[float], float], size: float, eps: float = EPS) -> str:
    """"jump" if the one-sided derivatives of g at 0 differ, "singular" if they grow without bound, "" where g is smooth.

    Where g is smooth, the slopes right and left of 0 come closer in proportion to the step.
    """
    small = math.sqrt(eps)
    large, middle = 100 * small, _value(g, 0.0)
    if large > 1:
        return ""  # so few digits do not tell
    far_right, right, far_left, left = [(_value(g, h) - middle) / h for h in (large, small, -large, -small)]
    if not all(map(math.isfinite, (far_right, right, far_left, left))):
        return "singular" if math.isfinite(right) != math.isfinite(left) else ""
    noise = 64 * eps * size / small
    gap, far_gap = abs(right - left), abs(far_right - far_left)
    steepest, far_steepest = max(abs(right), abs(left)), max(abs(far_right), abs(far_left))
    if steepest > max(5 * far_steepest, noise) or gap > max(5 * far_gap, noise):
        return "singular"
    return "jump" if gap > noise and gap > 0.2 * far_gap else ""


def noise(g: Callable[[float], float], eps: float = EPS) -> float:
    """How far values of g at neighbouring arguments are from a straight line: its rounding errors."""
    values = [_value(g, 64 * eps * i) for i in range(6)]
    return max([abs(a - 2 * b + c) for a, b, c in zip(values, values[1:], values[2:], strict=False)])


def _value(g: Callable[[float], float], t: float) -> float:
    try:
        return float(g(t))
    except (ArithmeticError, ValueError, TypeError):
        return math.nan
