"""The Threefry hash and bits read as a dtype of another width.

In: an equation of ``threefry2x32`` or ``bitcast_parts``. Out: a kernel.

    threefry2x32 of four u32[n]:    y0[r] = threefry_first_u32(...);    y1[r] = threefry_second_u32(...)
"""
from __future__ import annotations

from funcgrad.compiler.natives import NATIVES, NativeKernel
from funcgrad.compiler.natives.rows import PIECE, pieces, text
from funcgrad.core.jaxpr import Equation, Literal

HASH = 32
"""What a hash costs, in additions."""


def threefry(equation: Equation) -> NativeKernel:
    """Both words of each counter."""
    lines: list[str] = []
    sizes: list[int] = []
    words = []
    for k, x in enumerate(equation.inputs):
        if type(x) is Literal:
            lines.append(f"x{k} = u32(word(sizes, {len(sizes)}))")
            sizes.append(int(x.value))
            words.append(f"x{k}")
        else:
            lines.append(f"x{k} = pointer_u32(pointers, {k - len(sizes)})")
            words.append(f"x{k}[r]" if x.aval.shape else f"x{k}[0]")
    count = len(words) - len(sizes)
    args = ", ".join(words)
    lines += [f"y{k} = pointer_u32(pointers, {count + k})" for k in range(2)]
    lines += ["for r in range(start, stop):", f"    y0[r] = threefry_first_u32({args})",
              f"    y1[r] = threefry_second_u32({args})"]
    rows = equation.outs[0].aval.size
    return NativeKernel(text(lines), sizes, rows, pieces(rows, HASH))


def same_bytes(equation: Equation) -> NativeKernel | None:
    """A copy: the parts of an element lie side by side, the least significant first, as the processor has them."""
    x, = equation.inputs
    if type(x) is Literal:
        return None
    lines = ["x = pointer_u8(pointers, 0)", "y = pointer_u8(pointers, 1)", "for r in range(start, stop):", "    y[r] = x[r]"]
    return NativeKernel(text(lines), [], x.aval.size * x.aval.dtype.itemsize, 16 * PIECE)


NATIVES["threefry2x32"] = threefry
NATIVES["same_bytes"] = same_bytes
