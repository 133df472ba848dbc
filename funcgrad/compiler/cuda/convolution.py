"""Convolutions on a GPU: windows side by side in memory, and a matrix product of cuBLAS.

In: an equation of ``convolve``, ``convolve_input`` or ``convolve_kernel`` (see ``ops/convolving.py``). Out: nodes. With
``p[n t, g, k c]`` for the windows of the input ``x[n, s, g, c]``, and a batch of products over the groups g:

    convolve            p = windows of x;     y[n t, o] = p[n t, k c] w[k c, o]
    convolve_kernel     p = windows of x;     w[k c, o] = p' y
    convolve_input      p = y w';             each x[n, s, c] adds up the elements of p that are its, in the order of k

The windows take as many times the input's memory as a window has places: they are made for some images, or some rows of one, at
a time. A 1x1 convolution has no windows. Where groups have few channels each element of the result is a sum of its own. No
result depends on the order in which threads run.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from funcgrad.compiler.cuda.contraction import LARGEST, TYPES
from funcgrad.compiler.cuda.convolving import Problem, gathered, inputs, kernels, outputs, scattered
from funcgrad.compiler.expressions import accumulator, stored
from funcgrad.compiler.natives.moving import Window
from funcgrad.compiler.nodes import Node
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Equation, Literal, Var
from funcgrad.core.types import shaped_array

NAMES = ("convolve", "convolve_input", "convolve_kernel")


def lower(scheduler: Any, equation: Equation) -> bool:
    """Makes nodes of a convolution. False: its dtype has no product of cuBLAS, or there is nothing to compute."""
    name = equation.primitive.name
    first, second = equation.inputs
    out, = equation.outs
    shapes = {"convolve": (first, second, out), "convolve_input": (out, second, first),
              "convolve_kernel": (first, out, second)}[name]
    x, w, y = [atom.aval.shape for atom in shapes]
    dtype, params = out.aval.dtype, equation.params
    if stored(dtype) not in TYPES or 0 in (*x, *w, *y) or Literal in (type(first), type(second)):
        return False
    window = Window(x[1:-2], w[1:-2], y[1:-2], params["strides"], params["padding"], params["dilation"])
    problem = Problem(window, dtype, x[0], x[-2], x[-1], w[-1], dtype == np.float32 and "precision" in params)
    if max(problem.n * window.positions, problem.line, problem.groups * problem.outs) > LARGEST:
        return False
    view = scheduler.views[first]
    straight = view.contiguous or name != "convolve_input" and not problem.plain and coalesced(view)
    first = first if straight else scheduler.copied(first)
    second = second if scheduler.views[second].contiguous else scheduler.copied(second)
    {True: direct, False: by_products}[problem.direct](scheduler, equation, problem, first, second)
    return True


def coalesced(x: View) -> bool:
    """Whether the channels of a place lie side by side."""
    return x.strides[-1] == 1 if x.shape[-1] > 1 else x.strides[-2] == 1 or x.shape[-2] == 1


# ---------------------------------------------------------------- by matrix products


def by_products(scheduler: Any, equation: Equation, problem: Problem, first: Var, second: Var) -> None:
    """The nodes of a convolution whose groups have many channels."""
    name, (out,) = equation.primitive.name, equation.outs
    pieces = list(problem.pieces())
    if name == "convolve_kernel":
        add_up(scheduler, equation, problem, pieces, first, second)
        return
    parts = []
    for low, count in pieces:
        part = out if len(pieces) == 1 else Var(shaped_array((count, *out.aval.shape[1:]), out.aval.dtype))
        if name == "convolve":
            p = windows_of(scheduler, equation, problem, first, low, count)
            scheduler.alone(Node((second, p), (part,), "gemm", problem.gemm(name, count), equation=equation))
            parts.append((part, low * problem.groups * problem.outs, count * problem.groups * problem.outs))
        else:
            add_windows(scheduler, equation, problem, rows_of(scheduler, first, low, count), second, part, parts, low, count)
    if len(pieces) > 1:
        scheduler.alone(Node(tuple([part for part, *_ in parts]), (out,), "together", equation=equation))
        for part, offset, _ in parts:
            whole = scheduler.views[out]
            scheduler.views[part] = View(whole.buffer, part.aval.shape, row_major(part.aval.shape), whole.offset + offset)


def windows_of(scheduler: Any, equation: Equation, problem: Problem, x: Var, low: int, count: int) -> Var:
    """Some rows of windows."""
    if problem.plain:
        return rows_of(scheduler, x, low, count)
    p = Var(shaped_array((count, problem.groups, problem.width), problem.dtype))
    kernel = gathered(problem, scheduler.views[x], low, count)
    scheduler.alone(Node((x,), (p,), "native", kernel, equation=equation))
    return p


def rows_of(scheduler: Any, y: Var, low: int, count: int) -> Var:
    """Some positions of a row-major array ``[N, *T, G, O]``, as matrices."""
    shape = (count, *y.aval.shape[-2:])
    view = scheduler.views[y]
    rows = Var(shaped_array(shape, y.aval.dtype))
    scheduler.alias(rows, y, View(view.buffer, shape, row_major(shape), view.offset + low * math.prod(shape[1:])), None)
    return rows


def add_windows(scheduler: Any, equation: Equation, problem: Problem, y: Var, w: Var, part: Var,
                parts: list[tuple[Var, int, int]], low: int, count: int) -> None:
    """Rows of outputs as windows, which are added up in the images they belong to."""
    gemm = problem.gemm("convolve_input", count)
    positions, image = problem.window.positions, math.prod(problem.window.sizes)
    places = low // positions * image, -(-count // positions) * image
    elements = problem.groups * problem.channels
    if problem.plain:
        scheduler.alone(Node((w, y), (part,), "gemm", gemm, equation=equation))
    else:
        p = Var(shaped_array((count, problem.groups, problem.width), accumulator(problem.dtype)))
        scheduler.alone(Node((w, y), (p,), "gemm", gemm, equation=equation))
        before = parts[-1][0] if low % positions else None  # rows of the image have been added already
        kernel = scattered(problem, low % positions, count, places[1], before is not None)
        scheduler.alone(Node((p,) if before is None else (p, before), (part,), "native", kernel, equation=equation))
    parts.append((part, places[0] * elements, places[1] * elements))


def add_up(scheduler: Any, equation: Equation, problem: Problem, pieces: list[tuple[int, int]], x: Var, y: Var) -> None:
    """The kernel, as a sum of products in one place."""
    out, = equation.outs
    many = len(pieces) > 1
    total = Var(shaped_array(out.aval.shape, accumulator(problem.dtype))) if many else out
    before: Var | None = None
    for low, count in pieces:
        p = windows_of(scheduler, equation, problem, x, low, count)
        now = Var(total.aval) if before is not None else total
        gemm = problem.gemm("convolve_kernel", count, before is not None)
        inputs = (rows_of(scheduler, y, low, count), p, *([] if before is None else [before]))
        scheduler.alone(Node(inputs, (now,), "gemm", gemm, equation=equation))
        if before is not None:
            scheduler.views[now] = scheduler.views[before]
        before = now
    if many:
        scheduler.fuse(Node((before,), (out,), "map", "{0}"))


# ---------------------------------------------------------------- by sums


def direct(scheduler: Any, equation: Equation, problem: Problem, first: Var, second: Var) -> None:
    """The node of a convolution whose groups have few channels."""
    name = equation.primitive.name
    kernel = {"convolve": outputs, "convolve_input": inputs, "convolve_kernel": kernels}[name](
        problem, scheduler.views[first].strides)
    node = Node((first, second), equation.outs, "native", kernel, equation=equation)
    if kernel.parts is None:
        scheduler.alone(node)
    else:
        scheduler.add_parts(node)
