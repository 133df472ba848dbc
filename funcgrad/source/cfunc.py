"""A function of numbers as a C function, for libraries that call one: ``fg.to_cfunc``.

In: a function, or a derivative of one. Out: a Numba C function, for ``scipy.LowLevelCallable``.

    quad(LowLevelCallable(fg.to_cfunc(f).ctypes), 0, 1)
"""
from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from funcgrad.compiler.cfunc import POINTER, compile_cfunc
from funcgrad.errors import message
from funcgrad.source.writer import to_source
from funcgrad.transforms.arguments import function_name
from funcgrad.transforms.derivatives import check_callable


def to_cfunc(fun: Callable, signature: str | None = None) -> Any:
    """A C function that computes a function of real numbers, without Python: fast in SciPy's integrators and root finders.

    Args:
      fun: takes float64 scalars and returns one: the user's function, ``fg.grad(f)`` ...
      signature: "double(double)", with as many arguments as fun has (the default), or "double(intc, CPointer(double))", for
        ``scipy.integrate.nquad``: the number of the arguments, and where they are.

    The result is Numba's: it has ``ctypes``, which ``scipy.LowLevelCallable`` takes, and ``address``; keep it as long as it is
    used. The text is that of ``to_source``. Raises TypeError for another signature, NotImplementedError for an operation that
    NumPy or Numba does not have, or a result that is not one number.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> from scipy import LowLevelCallable, integrate
    >>> slope = to_cfunc(fg.grad(lambda x: fnp.sin(x) ** 2))
    >>> round(integrate.quad(LowLevelCallable(slope.ctypes), 0.0, 1.0)[0], 12) == round(float(fnp.sin(1.0) ** 2), 12)
    True
    """
    check_callable(fun, "to_cfunc")
    name, plain = function_name(fun), re.sub(r"\s+", "", signature or "")
    pointer = plain in (re.sub(r"\s+", "", POINTER), "double(int,double*)")
    if signature is None or pointer:
        count = _count(fun)
    elif re.fullmatch(r"double\((double(,double)*)?\)", plain):
        count = plain.count("double") - 1
    else:
        raise TypeError(message("to_cfunc: there is no such signature", repr(signature),
                                f"'double(double, ...)' or {POINTER!r}"))
    text = to_source(fun, *[1.0] * count, name="f", target="numba")
    try:
        return compile_cfunc(text, "f", count, pointer)
    except Exception as error:
        found = " ".join(str(error).strip().splitlines()[:3])
        raise NotImplementedError(message(f"to_cfunc: Numba does not compile {name}", found,
                                          "a function of numbers made of operations that Numba has",
                                          "fg.to_source(f, x, target='numba') shows the text")) from error


def _count(fun: Callable) -> int:
    """How many numbers a function takes."""
    parameters = inspect.signature(fun).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        raise TypeError(message(f"to_cfunc: the number of arguments of {function_name(fun)} is unknown", "*args", None,
                                "to_cfunc(f, 'double(double, double)')"))
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
