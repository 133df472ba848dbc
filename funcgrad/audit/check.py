"""``check``: are the derivatives of a function right?

In: a function and arguments. Out: a ``Report``. Derivatives are taken of the sum of the results with random weights, along
random directions, one argument at a time: a wrong element changes them. Where one is wrong, the direction is halved until
the element is found.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.check(lambda x: fnp.sum(fnp.sin(x) * x), fnp.array([1.0, 2.0])).ok
    True
"""
from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from funcgrad.audit import numeric, report
from funcgrad.audit.equality import Equality
from funcgrad.audit.numeric import Estimate
from funcgrad.audit.precise import Precise
from funcgrad.audit.report import Report, Row, raised
from funcgrad.audit.subject import Direction, Interpreted, Subject, along, derivative, gradient, wide
from funcgrad.core.array import DeviceArray, describe
from funcgrad.core.trace import current
from funcgrad.errors import message
from funcgrad.transforms.arguments import flatten_args, function_name, leaf_paths
from funcgrad.transforms.derivatives import check_callable, jvp, linear_transpose, quiet
from funcgrad.transforms.taylor import taylor

MODES = ("forward", "reverse", "taylor", "vmap", "jit")
REFERENCES = ("differences", "mpmath")
LOOKS = 64
"""How many directions are tried in the search for a wrong element."""


def check(f: Callable, *args: Any, order: int = 2, modes: Sequence[str] = MODES, reference: str = "differences",
          rtol: float | None = None, key: Any = 0) -> Report:
    """Compares all ways to the derivatives of f at args with each other and with differences of f.

    Args:
      f: a function of trees of arrays that returns such a tree. Real and complex floating point arguments are
        differentiated; integers are held fixed.
      order: the highest derivative. Order 2 takes forward over reverse, reverse over forward and the two others.
      modes: some of "forward", "reverse" (and all their nestings), "taylor", "vmap" (results and derivatives of a
        batch equal those of its examples), and "jit" (compiled ones equal interpreted ones).
      reference: "differences" of f (extrapolated, in float64 where f can do that, and by a complex step where f is analytic
        and the two agree), or "mpmath": differences of f in numbers of 60 digits, which are as good as exact.
      rtol: the error that is allowed, relative to the terms that a derivative is a sum of; by default 1e-6, or half the
        digits of a narrower dtype. What differences and f itself lose by rounding is allowed on top of that.
      key: a seed, or a key of ``fg.random``, of the random directions.

    A derivative of order n is compared with differences of that of order n - 1 (with "mpmath", of f alone).

    Returns a ``Report``: a row for each argument and mode, with the worst error, where it is, and a verdict. At a kink no
    derivative is right: such rows say "kink here". What ``stop_gradient`` stops is reported as wrong, because the values do
    depend on it. ``report.ok`` tells whether all is well, ``report.raise_if_wrong()`` raises AssertionError if not.

    Raises ValueError for an unknown mode or reference or an order below 1, TypeError for an argument that is not an array;
    what f or a derivative raises becomes a row.

    >>> @fg.custom_jvp
    ... def cube(x):
    ...     return x ** 3
    >>> _ = cube.defjvp(lambda primals, tangents: (cube(*primals), 3 * primals[0] * tangents[0]))
    >>> check(cube, 2.0, order=1, modes=["forward"])
    check of cube to order 1, with complex step
      argument  derivative  error    at  verdict
      x         forward     5.0e-01      WRONG: 6 for 12
    """
    check_callable(f, "check")
    if unknown := [m for m in modes if m not in MODES]:
        raise ValueError(message("check: a mode is unknown", repr(unknown[0]), ", ".join(MODES)))
    if reference not in REFERENCES:
        raise ValueError(message("check: the reference is unknown", repr(reference), ", ".join(REFERENCES)))
    if not isinstance(order, (int, np.integer)) or order < 1:
        raise ValueError(message("check: the order must be a positive integer", describe(order), "order >= 1"))
    generator = np.random.default_rng(np.asarray(key).ravel().astype(np.uint64))
    leaves, tree = flatten_args(f, args, "check")
    with quiet(), current(Interpreted()):
        try:
            subject = Subject(f, leaves, tree, leaf_paths(f, args), generator)
        except Exception as error:  # what f raises is a finding
            return Report(function_name(f), order, "no reference", (raised("", "value", error),))
        return _Audit(subject, order, modes, reference, rtol, generator).report()


class _Audit:
    """One audit: its directions, its references, and its rows."""

    def __init__(self, subject: Subject, order: int, modes: Sequence[str], reference: str, rtol: float | None,
                 generator: np.random.Generator):
        self.subject, self.order, self.modes = subject, order, modes
        self.rtol = max(1e-6, subject.eps ** 0.5) if rtol is None else rtol
        outer, *self.inner = [subject.direction(generator) for _ in range(order)]
        self.outer = _uphill(subject, outer)
        self.precise = Precise(subject) if reference == "mpmath" else None
        self.methods: set[str] = set()
        self.estimates: dict[tuple[int, ...], tuple[Estimate, Any]] = {}
        self.kinks: dict[tuple[int, ...], tuple[str, Any]] = {}

    def report(self) -> Report:
        subject, rows = self.subject, []
        if subject.differentiable:
            broken: list[str] = []
            letters = "".join([mode[0] for mode in MODES[:2] if mode in self.modes])
            words = ["".join(word) for n in range(1, self.order + 1) for word in itertools.product(letters, repeat=n)]
            for mode in [*[_Word(self, word) for word in words], *[_Transposed(self)] * ("reverse" in self.modes),
                         *[_Taylor(self, n) for n in range(1, self.order + 1) if "taylor" in self.modes]]:
                if not mode.word.endswith(tuple(broken)):  # what has no derivative has no second one
                    found = self.by_argument(mode)
                    rows += found
                    broken += [mode.word] if any(row.verdict in (report.RAISES, report.NO_RULE) for row in found) else []
        else:
            rows += [Row(subject.paths[i], "", report.INTEGER, note="the result is no floating point number")
                     for i in subject.active]
        equality = Equality(subject, self.inner[:1])
        for name, compare in (("vmap", equality.vmapped), ("jit", equality.jitted)):
            if name in self.modes:
                try:
                    rows += compare()
                except Exception as error:  # what a derivative raises is a finding
                    rows.append(raised("", name, error))
        rows += [Row(path, "", report.INTEGER) for i, path in enumerate(subject.paths) if i not in subject.active]
        return Report(subject.name, self.order, " and ".join(sorted(self.methods)), tuple(rows))

    def by_argument(self, mode: _Mode) -> list[Row]:
        rows = []
        for i, leaf in enumerate(self.subject.active):
            if self.subject.leaves[leaf].size:
                path = self.subject.paths[leaf]
                try:
                    rows.append(_Search(self, mode, i).row(path, self.outer[i]))
                except Exception as error:  # what a derivative raises is a finding
                    rows.append(raised(path, mode.name, error))
        return rows

    # ------------------------------------------------------------ references

    def line(self, directions: Sequence[Direction]) -> Callable:
        """The derivative along all directions but the first, as a function of how far one goes along the first."""
        first, *rest = directions
        function = derivative(self.letter * len(rest) if rest else "", self.subject.scalar, rest)
        return lambda t: np.asarray(function(*[_moved(x, t, d) for x, d in zip(self.subject.base, first, strict=True)]))[()]

    @functools.cached_property
    def letter(self) -> str:
        """The step that differences of derivatives are taken of: a forward one if there is a rule for it."""
        try:
            derivative("f", self.subject.scalar, [self.outer])(*self.subject.base)
        except Exception:  # its row says so
            return "r"
        return "f"

    def estimate(self, directions: Sequence[Direction]) -> Estimate:
        """The reference for a derivative, found once."""
        key = _key(directions)
        if key not in self.estimates:
            subject, found = self.subject, None
            if self.precise is not None:
                found = self.precise.derivative(directions)
            if found is None:
                found = numeric.derivative(self.line(directions), subject.size, subject.base_eps, subject.real)
            self.estimates[key] = found, directions  # the directions are kept so that their ids stay taken
        found = self.estimates[key][0]
        self.methods.add(found.method)
        return found

    def noise(self, directions: Sequence[Direction]) -> float:
        g = self.line(directions)
        return numeric.noise(lambda t: float(np.real(g(t))), self.subject.base_eps)

    def kink(self, directions: Sequence[Direction]) -> str:
        key = _key(directions)
        if key not in self.kinks:
            g = self.line(directions)
            self.kinks[key] = numeric.kink(lambda t: float(np.real(g(t))), self.subject.size, self.subject.base_eps), directions
        return self.kinks[key][0]

    @functools.cached_property
    def terms(self) -> list[list[np.ndarray] | None]:
        """For each order, how large the parts of a derivative are that its elements contribute, if reverse mode can tell."""
        sizes: list[list[np.ndarray] | None] = []
        for n in range(self.order):
            function = derivative(self.letter * n, self.subject.scalar, self.inner[:n])
            try:
                sizes.append([np.abs(np.asarray(ct).astype(wide(ct.dtype))) for ct in gradient(function, self.subject.at)])
            except Exception:  # its row says so
                sizes.append(None)
        return sizes


class _Word:
    """A nesting of forward and reverse mode, the outermost letter first."""

    def __init__(self, audit: _Audit, word: str):
        self.word, self.order, self.subject = word, len(word), audit.subject
        self.inner = audit.inner[:len(word) - 1]
        self.function = derivative(word[1:], audit.subject.scalar, self.inner)
        names = {"f": "fwd", "r": "rev"}
        self.name = {"f": "forward", "r": "reverse"}.get(word) or "-over-".join([names[letter] for letter in word])

    def directions(self, i: int, d: np.ndarray) -> tuple:
        return (self.subject.embed(i, d), *self.inner)

    def value(self, i: int, d: np.ndarray, xs: Sequence[Any]) -> Any:
        if self.word[0] == "f":
            return derivative("f", self.function, [self.subject.embed(i, d)])(*xs)
        return along([(self.kept if xs is self.subject.at else gradient(self.function, xs))[i]], (d,))

    @functools.cached_property
    def kept(self) -> tuple:
        """The gradient, which tells the derivative along every direction."""
        return gradient(self.function, self.subject.at)


class _Transposed:
    """Reverse mode in two steps: forward mode, which is linear in the direction, and its transpose."""

    word, order, name = "transposed", 1, "transposed"

    def __init__(self, audit: _Audit):
        self.subject = audit.subject

    def directions(self, i: int, d: np.ndarray) -> tuple:
        return (self.subject.embed(i, d),)

    def value(self, i: int, d: np.ndarray, xs: Sequence[Any]) -> Any:
        return along([(self.kept if xs is self.subject.at else self.gradient(xs))[i]], (d,))

    @functools.cached_property
    def kept(self) -> tuple:
        return self.gradient(self.subject.at)

    def gradient(self, xs: Sequence[Any]) -> tuple:
        return linear_transpose(lambda *dots: jvp(self.subject.scalar, xs, dots)[1], *xs)(np.ones(()))


class _Taylor:
    """The n-th derivative along one direction by Taylor mode."""

    def __init__(self, audit: _Audit, order: int):
        self.word, self.order, self.subject = "t" * order, order, audit.subject
        self.name = f"taylor {order}" if audit.order > 1 else "taylor"

    def directions(self, i: int, d: np.ndarray) -> tuple:
        return (self.subject.embed(i, d),) * self.order

    def value(self, i: int, d: np.ndarray, xs: Sequence[Any]) -> Any:
        return taylor(lambda ys: self.subject.scalar(*ys), tuple(xs), self.order, self.subject.embed(i, d))[-1]


_Mode = _Word | _Transposed | _Taylor


class _Search:
    """The comparison of a mode with its reference in one argument, and the search for the element that is wrong."""

    def __init__(self, audit: _Audit, mode: _Mode, position: int):
        self.audit, self.mode, self.position = audit, mode, position
        self.subject = audit.subject
        self.looks = 0
        self.kinks: list[tuple | None] = []

    def row(self, argument: str, d: np.ndarray) -> Row:
        name = self.mode.name
        found, expected, excess = self.compare(d)
        if excess <= 1:
            kink = self.jump(d, np.arange(d.size)) if self.mode.order == 1 else None
            return Row(argument, name, report.OK if kink is None else report.KINK, self.error(found, expected.value, d), kink)
        if not np.isfinite(found) and self.audit.kink(self.mode.directions(self.position, d)):
            return Row(argument, name, report.KINK)  # an infinite slope makes NaN of all
        wrong = self.search(d, np.arange(d.size), (found, expected, excess))
        if wrong is not None:
            part, where, found, value = wrong
            step = float(np.abs(part[where])) if where is not None else 1.0
            return Row(argument, name, report.WRONG, self.error(found, value, part), where,
                       _pair(found / step, value / step))
        if self.kinks:
            return Row(argument, name, report.KINK, where=self.kinks[0])
        if np.isfinite(found) and np.isfinite(expected.value) and self.is_noise(d, abs(found - expected.value)):
            return Row(argument, name, report.OK, self.error(found, expected.value, d), note="up to rounding")
        return Row(argument, name, report.UNSURE, self.error(found, expected.value, d),
                   note=f"{found:.6g}, differences give {expected.value:.6g} +- {expected.error:.0e}")

    def jump(self, d: np.ndarray, part: np.ndarray) -> tuple | None:
        """An element in whose direction the one-sided derivatives differ, if one does; half the elements at a time."""
        if self.audit.kink(self.mode.directions(self.position, _masked(d, part) if len(part) < d.size else d)) != "jump":
            return None
        if len(part) == 1:
            return tuple(map(int, np.unravel_index(part[0], d.shape)))
        halves = np.array_split(part, 2)
        found = self.jump(d, halves[0])
        return self.jump(d, halves[1]) if found is None else found

    def error(self, found: float, expected: float, d: np.ndarray) -> float:
        scale = max(abs(expected), self.scale(d), self.subject.eps ** 0.5 * self.subject.size)
        return abs(found - expected) / scale if scale else abs(found - expected)

    def scale(self, d: np.ndarray) -> float:
        terms = self.audit.terms[self.mode.order - 1]
        return 0.0 if terms is None else float(np.sum(np.where(d == 0, 0, terms[self.position] * np.abs(d))))

    def compare(self, d: np.ndarray) -> tuple[float, Estimate, float]:
        """What the mode gives, the reference, and how many times their distance is what rounding allows."""
        found = float(self.mode.value(self.position, d, self.subject.at))
        expected = self.audit.estimate(self.mode.directions(self.position, d))
        eps, scale = self.subject.eps, self.scale(d)
        size = max(abs(expected.value), scale if np.isfinite(scale) else 0.0)
        doubt = min(4 * expected.error, max(1e-3, eps ** 0.5) * size)  # differences that do not settle excuse nothing
        tolerance = self.audit.rtol * size + doubt + min(100 * eps, eps ** 0.5 / 4) * self.subject.size
        distance = abs(found - expected.value)
        return found, expected, np.inf if not np.isfinite(distance) else distance / tolerance if distance else 0.0

    def search(self, d: np.ndarray, part: np.ndarray, compared: tuple[float, Estimate, float]) -> tuple | None:
        """A wrong element of a direction that has this part, as (direction, index, found, expected); kinks are put down."""
        found, expected, excess = compared
        self.looks += 1
        if excess <= 1 or self.looks > LOOKS:
            return None
        kinks = len(self.kinks)
        if len(part) > 1:
            halves = [(_masked(d, half), half) for half in np.array_split(part, 2)]
            for direction, half, result in sorted([(m, half, self.compare(m)) for m, half in halves], key=lambda h: -h[2][2]):
                wrong = self.search(direction, half, result)
                if wrong is not None:
                    return wrong
            if len(self.kinks) > kinks:
                return None
        where = tuple(map(int, np.unravel_index(part[0], d.shape))) if len(part) == 1 else None
        distance = abs(found - expected.value) if np.isfinite(found) else np.inf
        if self.audit.kink(self.mode.directions(self.position, d)):
            self.kinks.append(where)
        elif np.isfinite(expected.value) and expected.error < 0.1 * distance and not self.is_noise(d, distance):
            return d, where, found, expected.value
        return None

    def is_noise(self, d: np.ndarray, distance: float) -> bool:
        """Whether changes of the arguments in their last digit change the derivative, or its reference, by as much."""
        directions = self.mode.directions(self.position, d)
        step = self.audit.estimate(directions).step
        if step and 8 * self.audit.noise(directions) >= distance * step:
            return True
        subject, generator = self.subject, np.random.default_rng(0)
        base = float(self.mode.value(self.position, d, subject.at))
        return any(8 * abs(float(self.mode.value(self.position, d, subject.nearby(generator))) - base) >= distance
                   for _ in range(3))


def _pair(found: float, expected: float) -> str:
    """Two numbers, with as many digits as it takes to tell them apart."""
    digits = next((n for n in range(6, 17) if f"{found:.{n}g}" != f"{expected:.{n}g}"), 17)
    return f"{found:.{digits}g} for {expected:.{digits}g}"


def _masked(d: np.ndarray, part: np.ndarray) -> np.ndarray:
    """A direction in some of its elements."""
    masked = np.zeros_like(d)
    masked.flat[part] = d.flat[part]
    return masked


def _uphill(subject: Subject, direction: Direction) -> Direction:
    """The direction with the signs of the gradient where there is one: then no part of the derivative cancels another, and
    a small wrong factor shows in full."""
    try:
        slopes = gradient(subject.scalar, subject.at)
    except Exception:  # what it raises is reported by the modes that need it
        return direction
    return tuple([np.where(np.asarray(slope) < 0, -np.abs(d), np.abs(d)).astype(d.dtype) if d.dtype.kind == "f" else d
                  for slope, d in zip(slopes, direction, strict=True)])


def _key(directions: Sequence[Direction]) -> tuple[int, ...]:
    """What tells directions apart while they are kept."""
    return tuple([id(d) for direction in directions for d in direction if d.any()])


def _moved(x: Any, t: complex, d: np.ndarray) -> Any:
    """x + t * d, in the dtype of x unless t is complex."""
    moved = np.asarray(x) + t * d.astype(wide(d.dtype))
    return DeviceArray(moved if isinstance(t, complex) else np.asarray(moved).astype(x.dtype))
