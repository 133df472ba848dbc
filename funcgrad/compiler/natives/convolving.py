"""Convolutions: windows gathered block by block in the cache, and there multiplied by BLAS.

In: an equation of ``convolve``, ``convolve_input`` or ``convolve_kernel`` (see ``ops/convolving.py``) and the views of its
operands. Out: a ``NativeKernel``. Rows are pieces of the positions (n, t) of the output, each done by one thread, in blocks:

    convolve            the windows of a block of positions as rows of a matrix; times the kernel: rows of the output
    convolve_input      rows of the output times the transposed kernel: windows, which are added up in the input
    convolve_kernel     the transposed windows of a block times its rows of the output, added to the piece's part of the result

The patches of all positions together are many times as large as the input; those of a block stay in the cache. Where windows
have few elements there is no matrix: each is loaded into registers. Where each channel is a group, ``depthwise.py`` takes over.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from funcgrad.compiler import blas
from funcgrad.compiler.expressions import literal, stored
from funcgrad.compiler.natives import STRIDED, NativeKernel
from funcgrad.compiler.natives.depthwise import depthwise
from funcgrad.compiler.natives.moving import UNROLLED, Window, channels
from funcgrad.compiler.natives.windows import Text, plus
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Equation

Views = Sequence[View | None]
BLOCK_BYTES = 1 << 18
"""What the patches of a block take: they stay in the cache next to a processor."""
FEWEST = 64
"""Positions in a block at least, for each block BLAS copies the kernel into a form of its own."""
ALONE = 1 << 18
"""Multiplications up to which one thread does all."""
MOST_PIECES = 16
LARGEST_PARTS = 1 << 23
"""Elements of all parts of a result together, but two there may be."""


@dataclass(slots=True)
class Convolution:
    """One convolution: ``x[N, *S, G, C]``, ``w[G, *K, C, O]``, ``y[N, *T, G, O]``."""

    window: Window
    dtype: np.dtype
    n: int
    groups: int
    channels: int
    outs: int

    @property
    def width(self) -> int:
        """Elements in the window of a group."""
        return self.window.places * self.channels


@dataclass(slots=True)
class Problem(Convolution):
    """One for the processor."""

    x_steps: tuple[int, ...]
    """The strides of x; they are those of a row-major array if x is a result."""

    @property
    def rows(self) -> int:
        return self.n * self.window.positions

    def divided(self, whole: int, limit: int = MOST_PIECES) -> tuple[int, int, int]:
        """How many pieces, of how many rows, in blocks of how many; pieces are multiples of ``whole`` rows."""
        work = self.rows * self.width * self.outs * self.groups
        pieces = max(min(limit, self.rows // whole, work // ALONE), 1)
        span = -(-self.rows // whole // pieces) * whole
        block = min(max(BLOCK_BYTES // (self.width * self.dtype.itemsize), FEWEST), span)
        block = -(-span // -(-span // block))
        return -(-self.rows // span), span, block


def convolve(equation: Equation, views: Views) -> NativeKernel | None:
    """The output."""
    problem = _problem(equation, views[0], views[1], equation.inputs[1].aval.shape, equation.outs[0].aval.shape)
    if problem is None:
        return None
    if problem.channels == 1 and problem.groups > 1:
        return depthwise("convolve", problem, views[1])
    if problem.groups == 1 and problem.width <= UNROLLED:
        return _few(problem, False)
    return _forward(problem)


def convolve_input(equation: Equation, views: Views) -> NativeKernel | None:
    """The input."""
    problem = _problem(equation, views[0], views[1], equation.inputs[1].aval.shape, equation.inputs[0].aval.shape,
                       equation.outs[0].aval.shape)
    if problem is None:
        return None
    if problem.channels == 1 and problem.groups > 1:
        return depthwise("convolve_input", problem, views[1])
    return _backward(problem)


def convolve_kernel(equation: Equation, views: Views) -> NativeKernel | None:
    """The kernel, in parts that are to be added."""
    problem = _problem(equation, views[0], views[1], equation.outs[0].aval.shape, equation.inputs[1].aval.shape)
    if problem is None:
        return None
    if problem.channels == 1 and problem.groups > 1:
        return depthwise("convolve_kernel", problem, None)
    if problem.groups == 1 and problem.width <= UNROLLED:
        return _few(problem, True)
    return _kernel(problem)


STRIDED.update(convolve=convolve, convolve_input=convolve_input, convolve_kernel=convolve_kernel)


def _problem(equation: Equation, first: View | None, second: View | None, w_shape: Sequence[int], y_shape: Sequence[int],
             x_shape: Sequence[int] | None = None) -> Problem | None:
    """The sizes of a convolution, or None where BLAS has no product for the dtype, or there is nothing to compute."""
    dtype = equation.outs[0].aval.dtype
    if first is None or second is None or dtype.name not in blas.LETTERS:
        return None
    result = x_shape is not None
    x_shape = first.shape if x_shape is None else tuple(x_shape)
    if 0 in x_shape or 0 in w_shape or 0 in y_shape:
        return None
    steps = row_major(x_shape) if result or _scattered(first) else first.strides
    params = equation.params
    window = Window(x_shape[1:-2], tuple(w_shape[1:-2]), tuple(y_shape[1:-2]), params["strides"], params["padding"],
                    params["dilation"])
    return Problem(window, dtype, x_shape[0], x_shape[-2], x_shape[-1], y_shape[-1], steps)


def _scattered(x: View) -> bool:
    """Whether the channels of a position do not lie side by side: then x is copied first."""
    groups, channels = x.shape[-2:]
    return (x.strides[-1] != 1 and channels > 1) or (channels == 1 and groups > 1 and x.strides[-2] != 1)


def row_major_inputs(problem: Problem, *others: int) -> tuple[int, ...]:
    """The positions of the operands that the kernel reads in row-major order; x, which is the first, may be one."""
    shape = (problem.n, *problem.window.sizes, problem.groups, problem.channels)
    return (0, *others) if problem.x_steps == row_major(shape) else others


# ---------------------------------------------------------------- text


def product(text: Text, dtype: np.dtype, flags: str, sizes: Sequence[Any], a: tuple[str, int], b: tuple[str, int],
            c: tuple[str, int], beta: str = "") -> None:
    """A call of gemm, row-major: ``C[m, n] = A[m, k] B[k, n]``, ``flags`` telling which of A and B are transposed.

    A size that is text is the address of a word; an operand is its address and its leading dimension.
    """
    m, n, k = [size if isinstance(size, str) else address(text, size) for size in sizes]
    one = np.frombuffer(np.ones(1, dtype).tobytes().ljust(16, b"\0"), np.int64).tolist()
    alpha, _ = address(text, one[0]), address(text, one[1])
    zero, _ = address(text, 0), address(text, 0)
    flag = [address(text, ord(f)) for f in flags]
    (pa, lda), (pb, ldb), (pc, ldc) = [(place, address(text, ld)) for place, ld in (a, b, c)]
    gemm = text.word(blas.gemm(dtype))
    text.add(f"call_pointers({gemm}, ({flag[1]}, {flag[0]}, {n}, {m}, {k}, {alpha}, {pb}, {ldb}, {pa}, {lda}, "
             f"{beta.format(one=alpha, zero=zero) or zero}, {pc}, {ldc}, 1, 1))")


def address(text: Text, value: int) -> str:
    """Where a number that the call passes lies."""
    text.sizes.append(value)
    return f"sizes + {8 * (len(text.sizes) - 1)}"


def _pieces(text: Text, problem: Problem, span: int, block: int) -> None:
    """Loops over pieces and their blocks; within, ``count`` rows from ``low`` on."""
    text.add("args = room(4)")
    text.open("for piece in range(start, stop):")
    text.add(f"low = piece * {text.word(span)}")
    text.add(f"high = min(low + {text.word(span)}, {text.word(problem.rows)})")
    text.add(f"base = piece * {text.word(block * problem.width)}")
    text.open("while low < high:")
    text.add(f"count = min({text.word(block)}, high - low)")
    text.add("set_word(args, 0, count)")
    if problem.groups > 1:
        text.open(f"for g in range({text.word(problem.groups)}):")
    else:
        text.add("g = 0")


def _rows(problem: Problem, text: Text, move: str) -> None:
    """Brings the windows of a block from the array ``x`` to the patches ``p``, or, if ``move`` is "add", adds them to it."""
    window = problem.window
    window.start(text, "low")
    text.add("at = base")
    text.open("for i in range(count):")
    window.begin(text)
    _zeroed(problem, text, move)
    steps = problem.x_steps
    text.add(f"first = {plus(text.times('n', steps[0]), text.times('g', steps[-2]), window.base(text, steps[1:-2]))}")
    _window(problem, text, move)
    window.advance(text)
    text.close()


def _zeroed(problem: Problem, text: Text, move: str) -> None:
    """An input that windows are added to is zero when its first window comes."""
    if move != "add":
        return
    image = row_major((problem.n, *problem.window.sizes, problem.groups, problem.channels))[0]
    first = " & ".join(["(g == 0)", *[f"(t{d} == 0)" for d in range(problem.window.ndim)]])
    text.open(f"if {first}:")
    text.add(f"image = n * {text.word(image)}")
    text.open(f"for q in range({text.word(image)}):")
    text.add(f"x[image + q] = {literal(problem.dtype.type(0))}")
    text.close(2)


def _window(problem: Problem, text: Text, move: str) -> None:
    """One window, run by run: where the last spatial axis and the channels follow each other in memory they are one run."""
    window, c, steps = problem.window, problem.channels, problem.x_steps
    last, zero = window.ndim - 1, literal(problem.dtype.type(0))
    window.bounds(text, last)
    depth = text.depth
    source, good = "first", "True"
    for d in range(last):
        text.open(f"for k{d} in range({window.windows[d]}):")
        text.add(f"i{d} = j{d} + k{d} * {window.dilation[d]}")
        good = f"good{d}"
        text.add(f"{good} = {f'good{d - 1} & ' if d else ''}(i{d} >= 0) & (i{d} < size{d})")
        text.add(f"f{d} = {source} + {text.times(f'k{d}', window.dilation[d] * steps[d + 1]) or '0'}")
        source = f"f{d}"
    text.add(f"lo = a{last} if {good} else 0")
    text.add(f"hi = b{last} if {good} else 0")
    k, step = window.windows[last], window.dilation[last] * steps[last + 1]
    if step == c or k == 1:
        width = channels(text, k * c)
        runs = [("0, lo", False), ("lo, hi", True), (f"hi, {width}", False)]
        scale = f" * {channels(text, c)}"
        text.add(f"lo = lo{scale}")
        text.add(f"hi = hi{scale}")
        for bounds, inside in runs:
            line = (f"p[at + q] = x[{source} + q]" if inside else f"p[at + q] = {zero}") if move == "gather" else \
                (f"x[{source} + q] = x[{source} + q] + p[at + q]" if inside else None)
            if line:
                text.open(f"for q in range({bounds}):")
                text.add(line)
                text.close()
        text.add(f"at = at + {width}")
    else:
        width = channels(text, c)
        text.open(f"for k in range({k}):")
        text.open("if (k >= lo) & (k < hi):")
        text.open(f"for q in range({width}):")
        element = f"x[{source} + k * {text.word(step)} + q]"
        text.add(f"p[at + q] = {element}" if move == "gather" else f"{element} = {element} + p[at + q]")
        text.close(2)
        if move == "gather":
            text.open("else:")
            text.open(f"for q in range({width}):")
            text.add(f"p[at + q] = {zero}")
            text.close(2)
        text.add(f"at = at + {width}")
    text.depth = depth


def _head(problem: Problem, names: dict[str, int]) -> Text:
    text = Text()
    for name, slot in names.items():
        text.pointer(name, stored(problem.dtype), slot)
    problem.window.declare(text)
    return text


# ---------------------------------------------------------------- by BLAS


def _forward(problem: Problem) -> NativeKernel:
    pieces, span, block = problem.divided(1)
    text, size = _head(problem, {"x": 0, "p": 3}), problem.dtype.itemsize
    width, outs, line = problem.width, problem.outs, problem.groups * problem.outs
    _pieces(text, problem, span, block)
    _rows(problem, text, "gather")
    w = f"word(pointers, 1) + g * {text.word(width * outs * size)}"
    y = f"word(pointers, 2) + low * {text.word(line * size)} + g * {text.word(outs * size)}"
    patches = f"word(pointers, 3) + base * {size}"
    product(text, problem.dtype, "NN", ("args", outs, width), (patches, width), (w, outs), (y, line))
    return _finished(problem, text, pieces, block, row_major_inputs(problem, 1))


def _backward(problem: Problem) -> NativeKernel:
    pieces, span, block = problem.divided(problem.window.positions)
    text, size = _head(problem, {"x": 2, "p": 3}), problem.dtype.itemsize
    width, outs, line = problem.width, problem.outs, problem.groups * problem.outs
    _pieces(text, problem, span, block)
    w = f"word(pointers, 1) + g * {text.word(width * outs * size)}"
    y = f"word(pointers, 0) + low * {text.word(line * size)} + g * {text.word(outs * size)}"
    patches = f"word(pointers, 3) + base * {size}"
    product(text, problem.dtype, "NT", ("args", width, outs), (y, line), (w, outs), (patches, width))
    _rows(problem, text, "add")
    return _finished(problem, text, pieces, block, (0, 1))


def _kernel(problem: Problem) -> NativeKernel:
    whole = problem.groups * problem.width * problem.outs
    pieces, span, block = problem.divided(1, max(min(MOST_PIECES, LARGEST_PARTS // whole), 2))
    text, size = _head(problem, {"x": 0, "p": 3}), problem.dtype.itemsize
    width, outs, line = problem.width, problem.outs, problem.groups * problem.outs
    _pieces(text, problem, span, block)
    _rows(problem, text, "gather")
    y = f"word(pointers, 1) + low * {text.word(line * size)} + g * {text.word(outs * size)}"
    part = f"word(pointers, 2) + (piece * {text.word(whole)} + g * {text.word(width * outs)}) * {size}"
    patches = f"word(pointers, 3) + base * {size}"
    first = f"({{zero}} if low == piece * {text.word(span)} else {{one}})"
    product(text, problem.dtype, "TN", (width, outs, "args"), (patches, width), (y, line), (part, outs), first)
    kernel = _finished(problem, text, pieces, block, row_major_inputs(problem, 1))
    return _in_parts(kernel, problem, pieces)


def _finished(problem: Problem, text: Text, pieces: int, block: int, in_order: tuple[int, ...]) -> NativeKernel:
    if problem.groups > 1:
        text.close()
    text.add("low = low + count")
    return NativeKernel(text.source(), text.sizes, pieces, 1, ((problem.dtype, pieces * block * problem.width),),
                        row_major=in_order, calls_blas=True)


def _in_parts(kernel: NativeKernel, problem: Problem, pieces: int) -> NativeKernel:
    return replace(kernel, parts=(pieces, problem.groups, *problem.window.windows, problem.channels, problem.outs))


# ---------------------------------------------------------------- few elements


def _few(problem: Problem, kernel: bool) -> NativeKernel:
    """Windows of few elements, which are loaded into registers: ``y += v w``, or ``w += v y``, along the output's channels."""
    window, outs, width, dtype = problem.window, problem.outs, problem.width, problem.dtype
    pieces, span, block = problem.divided(1)
    text = _head(problem, {"x": 0, "w": 2 if kernel else 1, "y": 1 if kernel else 2, "p": 3})
    o = channels(text, outs)
    text.open("for piece in range(start, stop):")
    text.add(f"low = piece * {text.word(span)}")
    text.add(f"high = min(low + {text.word(span)}, {text.word(problem.rows)})")
    text.add("g = 0")
    if kernel:
        text.add(f"part = piece * {text.word(width * outs)}")
        text.open(f"for q in range({text.word(width * outs)}):")
        text.add(f"w[part + q] = {literal(dtype.type(0))}")
        text.close()
    window.start(text, "low")
    text.open("for row in range(low, high):")
    window.begin(text)
    steps = problem.x_steps
    text.add(f"first = {plus(text.times('n', steps[0]), window.base(text, steps[1:-2]))}")
    text.open(f"if {window.whole()}:")
    offsets = [offset + c * steps[-1] for offset in window.offsets(steps[1:-2]) for c in range(problem.channels)]
    for j, offset in enumerate(offsets):
        text.add(f"v{j} = x[{plus('first', text.word(offset) if offset else '')}]")
    text.close()
    text.open("else:")
    text.add(f"at = piece * {width}")
    _window(problem, text, "gather")
    for j in range(width):
        text.add(f"v{j} = p[piece * {width} + {j}]")
    text.close()
    text.add(f"line = row * {o}")
    text.open(f"for o in range({o}):")
    if kernel:
        text.add("u = y[line + o]")
        for j in range(width):
            place = f"part + {j} * {o} + o"
            text.add(f"w[{place}] = w[{place}] + v{j} * u")
    else:
        text.add("y[line + o] = " + " + ".join(f"v{j} * w[{j} * {o} + o]" for j in range(width)))
    text.close()
    window.advance(text)
    made = NativeKernel(text.source(), text.sizes, pieces, 1, ((dtype, pieces * width),),
                        row_major=row_major_inputs(problem, 1))
    return _in_parts(made, problem, pieces) if kernel else made
