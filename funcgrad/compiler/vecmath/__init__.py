"""Scalar functions that generated kernels call, written so that LLVM puts loops over them into vector registers.

In: nothing. Out: ``functions()``, Numba intrinsics by their names in kernel sources, which are those of a function and of its
dtype, such as ``exp_f32``. Imported only when something is compiled.
"""
from __future__ import annotations

import functools
from typing import Any

from numba.core import types

from funcgrad.compiler.vecmath import (
    exponentials,
    gamma,
    gaussian,
    inverse_trigonometry,
    logarithms,
    powers,
    random,
    trigonometry,
)
from funcgrad.compiler.vecmath.values import numba_function

UNARY = {
    "exp": exponentials.exp, "exp2": exponentials.exp2, "expm1": exponentials.expm1, "logistic": exponentials.logistic,
    "sinh": exponentials.sinh, "cosh": exponentials.cosh, "tanh": exponentials.tanh,
    "log": logarithms.log, "log2": logarithms.log2, "log10": logarithms.log10, "log1p": logarithms.log1p,
    "asinh": logarithms.asinh, "acosh": logarithms.acosh, "atanh": logarithms.atanh,
    "sin": trigonometry.sin, "cos": trigonometry.cos, "tan": trigonometry.tan,
    "serial_sin": trigonometry.serial_sin, "serial_cos": trigonometry.serial_cos,
    "asin": inverse_trigonometry.asin, "acos": inverse_trigonometry.acos, "atan": inverse_trigonometry.atan,
    "cbrt": powers.cbrt, "erf": gaussian.erf, "erfc": gaussian.erfc, "erf_inv": gaussian.erf_inv,
    "lgamma": gamma.lgamma, "digamma": gamma.digamma,
}
BINARY = {
    "atan2": inverse_trigonometry.atan2, "pow": powers.pow, "hypot": powers.hypot,
    "logaddexp": logarithms.logaddexp, "logaddexp2": logarithms.logaddexp2,
}


@functools.cache
def functions() -> dict[str, Any]:
    """All scalar functions, those of ``scalars`` and ``scipy_calls`` too."""
    found = {}
    for table, count in ((UNARY, 1), (BINARY, 2)):
        for name, function in table.items():
            for dtype, kind in (("f32", types.float32), ("f64", types.float64)):
                found[f"{name}_{dtype}"] = numba_function(f"{name}_{dtype}", function, (kind,) * count, kind)
    from funcgrad.compiler import scalars, scipy_calls
    return found | random.functions() | scalars.functions() | scipy_calls.functions()
