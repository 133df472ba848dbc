"""Functions of ``scipy.special`` for kernels, which call them by the addresses that ``objects.py`` tells the linker.

In: nothing. Out: ``functions()``, Numba intrinsics by their names in kernel sources, such as ``scipy_gammainc_f64``. Float32 is
computed in float64, as the interpreter does it, so both have the same bits. Imported only when something is compiled.
"""
from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from funcgrad.compiler.library import SCIPY
from funcgrad.compiler.objects import scipy_symbol
from funcgrad.compiler.vecmath.values import F32, F64

INT = ir.IntType(32)


def _call(name: str, count: int, kind: Any) -> Any:
    def build(context: Any, builder: Any, sig: Any, args: tuple) -> Any:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(F64, [F64] * count + [INT]),
                                                  scipy_symbol(name))
        function.attributes.add("nounwind")
        wide = [builder.fpext(x, F64) if x.type == F32 else x for x in args]
        result = builder.call(function, [*wide, ir.Constant(INT, 0)])
        return builder.fptrunc(result, F32) if kind == types.float32 else result

    sig = kind(*[kind] * count)
    typed = {1: lambda typing, x: (sig, build), 2: lambda typing, x, y: (sig, build),
             3: lambda typing, x, y, z: (sig, build), 4: lambda typing, x, y, z, w: (sig, build)}[count]
    typed.__name__ = f"scipy_{name}"
    return intrinsic(typed)


@functools.cache
def functions() -> dict[str, Any]:
    """All of these, by the names that kernel sources use."""
    return {f"scipy_{name}_{dtype}": _call(name, count, kind) for names, count in SCIPY.items() for name in names.split()
            for dtype, kind in (("f32", types.float32), ("f64", types.float64))}
