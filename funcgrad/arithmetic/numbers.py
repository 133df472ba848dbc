"""What a type of numbers can do: conversions, and the scalar functions that primitives name in their ``code``.

In: a type, such as ``fractions.Fraction`` or ``mpmath.mpf``, or its name. Out: ``Numbers``. A function that the type does not
have is made of those that it has: logistic(x) of exp.

    >>> numbers_of("fraction").function("sqrt")(Fraction(4, 9))
    Fraction(2, 3)
"""
from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Callable
from fractions import Fraction
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np

from funcgrad import dtypes
from funcgrad.errors import MissingRuleError, message

Scalar = Callable[..., Any]
LARGEST_DENOMINATOR = 10_000
"""Fractions with such denominators are so rare among the doubles that one is not met by chance."""


class Numbers:
    """Python objects that are numbers. ``make`` converts, ``own`` holds functions by name, ``library`` has the others."""

    def __init__(self, name: str, make: Scalar, own: dict[str, Scalar] | None = None, library: Any = None):
        self.name, self._make = name, make
        self.own, self.library = own or {}, library
        self.dtype = np.dtype(object)
        self.expressions: dict[tuple, Scalar] = {}
        """Scalar expressions as functions."""

    def make(self, x: Any) -> Any:
        """A number, from one of Python's or NumPy's, or from one that is of this type already. Raises TypeError for others."""
        try:
            return self._make(_plain(x))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise TypeError(message(f"interpret: {x!r} is no number of the type {self.name}", error)) from None

    def literal(self, x: Any) -> Any:
        """A constant of the program: the simplest fraction that rounds to it, as far as there is a simple one."""
        fraction = simplest(x)
        return self.make(x) if fraction is None else self.make(fraction.numerator) / self.make(fraction.denominator)

    def expression(self, text: str, names: tuple[str, ...]) -> Scalar:
        """A scalar expression of a primitive, in named operands, as a function of them."""
        if (text, names) not in self.expressions:
            called = set(re.findall(r"\b([a-z_]\w*)\(", text))
            functions = {name: self.function(re.sub("_(f16|bf16|f32|f64)$", "", name)) for name in called}
            self.expressions[text, names] = eval(  # the text is the library's own
                f"lambda {', '.join(names)}: {text}", {"__builtins__": {}, **functions})
        return self.expressions[text, names]

    def function(self, name: str) -> Scalar:
        """A scalar function by the name that it has in a primitive's ``code``. Raises MissingRuleError if there is none."""
        name = name.removeprefix("scipy_")
        if name in self.own:
            return self.own[name]
        alias = _ALIASES.get(name, name)
        found = getattr(self.library, alias, None) if name not in _GENERIC or name in _BETTER else None
        if found is not None:
            return found
        if name in _GENERIC:
            return functools.partial(_GENERIC[name], self)
        if self.library is None:
            return functools.partial(self._method, name)
        raise self._lacks(name)

    def _method(self, name: str, x: Any, *args: Any) -> Any:
        """A function that the numbers have as a method, as NumPy's functions of objects expect it."""
        method = getattr(x, name, None)
        if method is None:
            raise self._lacks(name)
        return method(*args)

    def _lacks(self, name: str) -> MissingRuleError:
        return MissingRuleError(message(f"interpret: {name} has no value in the numbers {self.name}", None,
                                        f"numbers with a function {name}", 'numbers="mpmath", or a type with a method of '
                                        "that name"))


class Machine:
    """Numbers of a NumPy dtype: double precision in the program becomes this one."""

    def __init__(self, dtype: Any):
        self.dtype = np.dtype(getattr(ml_dtypes, dtype, dtype) if isinstance(dtype, str) else dtype)
        self.name = self.dtype.name

    def as_dtype(self, dtype: np.dtype) -> np.dtype:
        """What a dtype of the program becomes: a narrower one than double precision stays, unless this one is narrower yet."""
        if not dtypes.is_inexact(dtype):
            return dtype
        real = dtypes.real_dtype(dtype)
        if real.itemsize == 8 or real.itemsize > self.dtype.itemsize:
            real = self.dtype
        return real if dtype.kind != "c" else np.result_type(real, np.complex64)


def simplest(x: Any) -> Fraction | None:
    """The fraction with a small denominator that a double is nearest to: 1/7 is a seventh, and so is what a rule makes of it.

    None for what is no double, and for a double that is near no such fraction.
    """
    if not isinstance(x, float) or not math.isfinite(x):
        return None
    fraction = Fraction(x).limit_denominator(LARGEST_DENOMINATOR)
    return fraction if abs(fraction - Fraction(x)) <= abs(Fraction(x)) * 2 ** -51 else None


def numbers_of(numbers: Any) -> Numbers | Machine:
    """The numbers that a user names. Raises TypeError for what is none."""
    if isinstance(numbers, ModuleType):
        numbers = numbers.__name__
    if isinstance(numbers, str) and numbers in _NAMED:
        return _NAMED[numbers]()
    if numbers is Fraction:
        return _fractions()
    package = (numbers if isinstance(numbers, type) else type(numbers)).__module__.partition(".")[0]
    if package == "mpmath":
        iv = importlib.import_module("mpmath").iv
        return _intervals() if numbers is iv or numbers is iv.mpf else _mpmath()
    if package == "sympy":
        return _sympy()
    try:
        dtype = Machine(numbers)
    except TypeError:
        pass
    else:
        if dtypes.kind(dtype.dtype) == "f":
            return dtype if dtype.dtype.itemsize <= 8 else _longdouble()
    if not isinstance(numbers, type):
        raise TypeError(message("interpret: these are no numbers", repr(numbers), f"a type, or one of {', '.join(_NAMED)}, or "
                                "the name of a floating point dtype"))
    return Numbers(numbers.__name__, lambda x: x if isinstance(x, numbers) else numbers(x))


def _plain(x: Any) -> Any:
    """A Python number for a NumPy scalar."""
    return x.item() if isinstance(x, np.generic) and not isinstance(x, (np.longdouble, np.clongdouble)) else x


# ---------------------------------------------------------------- what follows from other functions

_ALIASES = {"erf_inv": "erfinv", "lgamma": "loggamma", "conj": "conjugate"}
_BETTER = frozenset("expm1 log1p hypot log10 sinh cosh tanh tan asinh acosh atanh floor ceil conj sign".split())
"""Functions that a library computes better than they follow from others."""


def _maximum(n: Numbers, x: Any, y: Any) -> Any:
    return x if x >= y else y


def _minimum(n: Numbers, x: Any, y: Any) -> Any:
    return x if x <= y else y


def _sign(n: Numbers, x: Any) -> Any:
    return n.make(1 if x > 0 else -1 if x < 0 else 0)


def _cbrt(n: Numbers, x: Any) -> Any:
    root = n.function("exp")(n.function("log")(x if x > 0 else -x) / 3) if x != 0 else x
    return root if x >= 0 else -root


def _rint(n: Numbers, x: Any) -> Any:
    """The nearest integer; halves go to the even one."""
    below = n.function("floor")(x)
    distance = x - below
    half = n.make(1) / 2
    return below if distance < half or distance == half and int(below) % 2 == 0 else below + 1


def _trunc(n: Numbers, x: Any) -> Any:
    return n.function("floor")(x) if x >= 0 else -n.function("floor")(-x)


def _convert(n: Numbers, x: Any, kind: str) -> Any:
    return bool(x != 0) if kind == "b" else int(x) if kind in "iu" else n.make(x)


_GENERIC: dict[str, Callable] = {
    "abs": lambda n, x: abs(x), "maximum": _maximum, "minimum": _minimum, "sign": _sign, "isfinite": lambda n, x: True,
    "floor": lambda n, x: n.make(math.floor(x)), "ceil": lambda n, x: -n.function("floor")(-x), "trunc": _trunc, "rint": _rint,
    "fmod": lambda n, x, y: x - y * n.function("trunc")(x / y), "floor_divide": lambda n, x, y: n.function("floor")(x / y),
    "remainder": lambda n, x, y: x - y * n.function("floor")(x / y), "divide": lambda n, x, y: x / y,
    "integer_pow": lambda n, x, k: x ** k if k >= 0 else 1 / x ** -k, "pow": lambda n, x, y: x ** y, "convert": _convert,
    "select": lambda n, c, x, y: y if c else x, "select_bool": lambda n, c, x, y: y if c else x, "conj": lambda n, x: x,
    "rsqrt": lambda n, x: 1 / n.function("sqrt")(x), "exp2": lambda n, x: n.make(2) ** x, "cbrt": _cbrt,
    "expm1": lambda n, x: n.function("exp")(x) - 1, "log1p": lambda n, x: n.function("log")(1 + x),
    "log2": lambda n, x: n.function("log")(x) / n.function("log")(n.make(2)),
    "log10": lambda n, x: n.function("log")(x) / n.function("log")(n.make(10)),
    "logistic": lambda n, x: 1 / (1 + n.function("exp")(-x)), "hypot": lambda n, x, y: n.function("sqrt")(x * x + y * y),
    "tan": lambda n, x: n.function("sin")(x) / n.function("cos")(x),
    "sinh": lambda n, x: (n.function("exp")(x) - n.function("exp")(-x)) / 2,
    "cosh": lambda n, x: (n.function("exp")(x) + n.function("exp")(-x)) / 2,
    "tanh": lambda n, x: 1 - 2 / (n.function("exp")(2 * x) + 1),
    "asinh": lambda n, x: n.function("log")(x + n.function("sqrt")(x * x + 1)),
    "acosh": lambda n, x: n.function("log")(x + n.function("sqrt")(x * x - 1)),
    "atanh": lambda n, x: n.function("log")((1 + x) / (1 - x)) / 2,
    "logaddexp": lambda n, x, y: _maximum(n, x, y) + n.function("log1p")(n.function("exp")(-abs(x - y))),
    "logaddexp2": lambda n, x, y: _maximum(n, x, y) + n.function("log2")(1 + n.make(2) ** -abs(x - y)),
}

# ---------------------------------------------------------------- the types that are known

_NO_LIBRARY = object()
"""Of numbers that have no functions but their own."""


def _exact_root(x: Fraction) -> Fraction:
    root = Fraction(math.isqrt(x.numerator), math.isqrt(x.denominator)) if x >= 0 else Fraction(0)
    if root * root != x:
        raise ArithmeticError(f"the square root of {x} is not a fraction")
    return root


def _exact_power(x: Fraction, y: Fraction) -> Fraction:
    if y.denominator == 1:
        return x ** int(y)
    if y.denominator == 2:
        return _exact_root(x) ** y.numerator
    raise ArithmeticError(f"{x} to the power of {y} is not a fraction")


@functools.cache
def _fractions() -> Numbers:
    return Numbers("Fraction", lambda x: x if type(x) is Fraction else Fraction(x),
                   {"sqrt": _exact_root, "pow": _exact_power, "sign": lambda x: Fraction((x > 0) - (x < 0))}, _NO_LIBRARY)


@functools.cache
def _mpmath() -> Numbers:
    mp = importlib.import_module("mpmath").mp
    own = {
        "lgamma": lambda x: mp.log(abs(mp.gamma(x))), "gammainc": lambda a, x: mp.gammainc(a, 0, x, regularized=True),
        "gammaincc": lambda a, x: mp.gammainc(a, x, mp.inf, regularized=True),
        "betainc": lambda a, b, x: mp.betainc(a, b, 0, x, regularized=True), "isfinite": mp.isfinite,
        "i0e": lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), "i1e": lambda x: mp.besseli(1, x) * mp.exp(-abs(x)),
        "erfcx": lambda x: mp.exp(x * x) * mp.erfc(x), "expi": mp.ei, "exp1": mp.e1, "poch": mp.rf, "binom": mp.binomial,
        "betaln": lambda a, b: mp.log(abs(mp.beta(a, b))), "jv": mp.besselj, "spence": lambda x: mp.polylog(2, 1 - x),
        "complex": mp.mpc, "fresnel_s": mp.fresnels, "fresnel_c": mp.fresnelc, "expn": mp.expint, "log_gamma": mp.loggamma,
        "dawsn": lambda x: mp.sqrt(mp.pi) / 2 * mp.exp(-x * x) * mp.erfi(x),
        "ive": lambda v, x: mp.besseli(v, x) * mp.exp(-abs(x)),
        "ndtri": lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1),
    }
    return Numbers("mpmath.mpf", lambda x: mp.convert(x), own, mp)


@functools.cache
def _intervals() -> Numbers:
    iv = importlib.import_module("mpmath").iv
    own = {"maximum": lambda x, y: iv.mpf([max(x.a, y.a), max(x.b, y.b)]),
           "minimum": lambda x, y: iv.mpf([min(x.a, y.a), min(x.b, y.b)]),
           "integer_pow": lambda x, k: x ** k, "pow": lambda x, y: x ** y}
    return Numbers("mpmath.iv", lambda x: iv.convert(x), own, iv)


@functools.cache
def _sympy() -> Numbers:
    sympy = importlib.import_module("sympy")

    def make(x: Any) -> Any:
        short = isinstance(x, float) and math.isfinite(x) and Fraction(x).denominator <= 2 ** 16
        return sympy.sympify(Fraction(x) if short else x)  # 0.5 is a half

    own = {"maximum": sympy.Max, "minimum": sympy.Min, "abs": sympy.Abs, "pow": sympy.Pow, "ceil": sympy.ceiling,
           "integer_pow": sympy.Pow, "isfinite": lambda x: True, "conj": sympy.conjugate, "sign": sympy.sign,
           "complex": lambda x, y: x + y * sympy.I}
    return Numbers("SymPy", make, own, sympy)


@functools.cache
def _longdouble() -> Numbers:
    """Scalar by scalar: NumPy's own functions are as precise as the type, those of SciPy and LAPACK are not."""
    renamed = {"asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2, "asinh": np.arcsinh,
               "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power, "remainder": np.remainder}
    same = ("exp exp2 expm1 log log2 log10 log1p sqrt cbrt sin cos tan sinh cosh tanh hypot logaddexp logaddexp2 floor ceil "
            "trunc rint maximum minimum fmod floor_divide sign conj isfinite nextafter").split()
    own = {**renamed, **{name: getattr(np, name) for name in same}, "complex": lambda x, y: np.clongdouble(x + 1j * y)}

    def make(x: Any) -> Any:
        return x if isinstance(x, (np.longdouble, np.clongdouble)) else np.clongdouble(x) if isinstance(x, complex) else (
            np.longdouble(x))

    return Numbers("longdouble", make, own, _NO_LIBRARY)


_NAMED = {"fraction": _fractions, "mpmath": _mpmath, "interval": _intervals, "sympy": _sympy,
          "longdouble": _longdouble}
