"""Concatenation and padding, and bits read as another dtype: each element of the result has a thread.

In: an equation. Out: a kernel that moves elements as unsigned integers of their width.

    concatenate of u32[2,3] and u32[2,5] along axis 1:    j = r % 8;  if j < 3: y[r] = x0[r // 8 * 3 + j] else: ...
"""
from __future__ import annotations

import math
from itertools import accumulate

from funcgrad.compiler.cuda.natives.teams import indented
from funcgrad.compiler.natives import NativeKernel
from funcgrad.compiler.natives.joining import SPELLED_OUT, Axis, merged, value_lines
from funcgrad.compiler.natives.rows import raw, size, text, word
from funcgrad.core.jaxpr import Equation, Literal


def concatenate(equation: Equation) -> NativeKernel | None:
    """One kernel for all operands, however many."""
    out, dimension = equation.outs[0].aval, equation.params["dimension"]
    if any(type(x) is Literal for x in equation.inputs):
        return None
    if not out.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    name, parts = raw(out.dtype)
    inner = math.prod(out.shape[dimension + 1:]) * parts
    widths = [x.aval.shape[dimension] * inner for x in equation.inputs]
    if len(widths) > SPELLED_OUT:
        return _many(name, widths, out.size * parts)
    sizes: list[int] = []
    lines = [f"x{k} = pointer_{name}(pointers, {k})" for k in range(len(widths))]
    lines += [f"y = pointer_{name}(pointers, {len(widths)})", f"width = {word(sum(widths), sizes)}"]
    body = ["line = r // width", "j = r - line * width"]
    end = "0"
    for k, width in enumerate(widths):
        lines.append(f"n{k} = {size(width, sizes)}")
        if k:
            lines.append(f"e{k} = {end} + n{k - 1}")
            end = f"e{k}"
        place = f"x{k}[line * n{k} + j{f' - {end}' if k else ''}]"
        last = k == len(widths) - 1
        body += [f"{'el' if k and not last else ''}{'if' if not last else 'else'}{f' j < {end} + n{k}' if not last else ''}:",
                 f"    y[r] = {place}"] if len(widths) > 1 else [f"y[r] = {place}"]
    return NativeKernel(text([*lines, "for r in range(start, stop):", *indented(body)]), sizes, out.size * parts, 1)


def _many(name: str, widths: list[int], rows: int) -> NativeKernel:
    """The operand that an element comes from is found by bisection."""
    lines = ["count = word(sizes, 0)", f"y = pointer_{name}(pointers + 8 * count - 8, 1)", "width = word(sizes, count + 1)",
             "for r in range(start, stop):", "    line = r // width", "    j = r - line * width", "    a = 0", "    b = count",
             "    while b - a > 1:", "        m = (a + b) // 2", "        if j < word(sizes, m + 1):", "            b = m",
             "        else:", "            a = m", f"    x = pointer_{name}(pointers + 8 * a, 0)",
             "    low = word(sizes, a + 1)", "    y[r] = x[line * (word(sizes, a + 2) - low) + j - low]"]
    return NativeKernel(text(lines), [len(widths), 0, *accumulate(widths)], rows, 1)


def pad(equation: Equation) -> NativeKernel | None:
    """Elements of x where they are, and the value elsewhere."""
    x, value = equation.inputs
    out = equation.outs[0].aval
    if type(x) is Literal:
        return None
    if not out.size:
        return NativeKernel(text(["pass"]), [], 0, 1)
    name, parts = raw(out.dtype)
    axes = merged([Axis(n, m, low, 1 + between) for n, m, (low, _, between) in
                    zip(x.aval.shape, out.shape, equation.params["padding_config"], strict=True)], parts, math.inf)
    sizes: list[int] = []
    lines = [f"x = pointer_{name}(pointers, 0)", f"y = pointer_{name}(pointers, {1 if type(value) is Literal else 2})"]
    lines += value_lines(value, name, parts, sizes)
    body, places = ["inside = True", "rest = r"], []
    stride = 1
    for d in range(len(axes) - 1, -1, -1):
        axis = axes[d]
        body += [f"i{d} = rest % {(m := word(axis.m, sizes))}", f"rest = rest // {m}"] if d else ["i0 = rest"]
        if not axis.plain:
            body += [f"i{d} = i{d} - {word(axis.low, sizes)}",
                     f"inside = inside & (i{d} >= 0) & (i{d} < {word(axis.n * axis.step, sizes)})"]
            if axis.step > 1:
                step = word(axis.step, sizes)
                body += [f"inside = inside & (i{d} % {step} == 0)", f"i{d} = i{d} // {step}"]
        places.append(f"i{d}" if stride == 1 else f"i{d} * {word(stride, sizes)}")
        stride *= axis.n
    body += ["if inside:", f"    y[r] = x[{' + '.join(places)}]", "else:",
             f"    y[r] = {'value0' if parts == 1 else 'value1 if r % 2 else value0'}"]
    rows = math.prod(axis.m for axis in axes)
    return NativeKernel(text([*lines, "for r in range(start, stop):", *indented(body)]), sizes, rows, 1)


def same_bytes(equation: Equation) -> NativeKernel | None:
    """A copy: the parts of an element lie side by side, the least significant first, as the processor has them."""
    x, = equation.inputs
    if type(x) is Literal:
        return None
    width = min(x.aval.dtype.itemsize, equation.outs[0].aval.dtype.itemsize, 8)
    lines = [f"x = pointer_u{8 * width}(pointers, 0)", f"y = pointer_u{8 * width}(pointers, 1)", "for r in range(start, stop):",
             "    y[r] = x[r]"]
    return NativeKernel(text(lines), [], x.aval.size * x.aval.dtype.itemsize // width, 1)
