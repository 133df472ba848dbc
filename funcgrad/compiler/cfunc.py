"""C functions from Python text, by Numba.

In: the text of a module with a function of numbers. Out: what ``numba.cfunc`` makes of it.

    "def f(x): return np.sin(x)"    ->    double f(double)
"""
from __future__ import annotations

from typing import Any

POINTER = "double(intc, CPointer(double))"


def compile_cfunc(text: str, name: str, count: int, pointer: bool) -> Any:
    """The C function of ``count`` doubles, or of their number and a pointer to them. Raises what Numba raises."""
    import numba
    namespace: dict[str, Any] = {"carray": numba.carray}
    numbers = [f"x{i}" for i in range(count)]
    if pointer:
        given = ", ".join([f"a[{i}]" for i in range(count)])
        wrapper = f"def call(n, x):\n    a = carray(x, ({count},))\n    return {name}({given})"
        signature = numba.types.double(numba.types.intc, numba.types.CPointer(numba.types.double))
    else:
        wrapper = f"def call({', '.join(numbers)}):\n    return {name}({', '.join(numbers)})"
        signature = numba.types.double(*[numba.types.double] * count)
    exec(f"{text}\n\n{wrapper}\n", namespace)
    return numba.cfunc(signature)(namespace["call"])
