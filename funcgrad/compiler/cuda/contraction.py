"""Matrix products on a GPU: which contractions cuBLAS does, what it is told, and the call.

In: a contraction, and where its operands lie. Out: a node whose ``Gemm`` says how cuBLAS reads them, or sums of products that
fuse with what surrounds them. ``record`` makes of its step the numbers of an instruction, which ``launch`` passes to cuBLAS:

    bf16[64,32] by bf16[16,32], contracted over axes 1 and 1    ->    C = A B', bfloat16 in memory, float32 in the sums

Products of narrow floats read them as they are: nothing is converted before or after. A product of float32 is one of float32;
with ``precision="tensorfloat32"`` its operands are rounded to 10 bits, as tensor cores take them.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.compiler.contraction import Product, product
from funcgrad.compiler.expressions import computed, stored, supported
from funcgrad.compiler.nodes import Node, Step
from funcgrad.compiler.view import View, row_major
from funcgrad.core.jaxpr import Atom, Equation, Literal, Var
from funcgrad.core.types import shaped_array
from funcgrad.ops.contraction import compute_dtypes

FEW = 1 << 16
"""Multiplications up to which a fused sum takes no longer than to launch a kernel of cuBLAS."""
FEW_TERMS = 4
"""Terms of a sum up to which loading the operands takes longer than to multiply them, whoever does it."""
TINY = 8
"""Sizes of matrices up to which a matrix of a batch leaves most of the threads of a block of cuBLAS without work."""
MOST_MATRICES = 1 << 15
"""Matrices in one call: some of cuBLAS's kernels have a block for each along an axis of the grid that ends at 65535."""
LARGEST = (1 << 31) - 1

# Numbers of library_types.h and cublas_api.h; CuPy passes them on.
TYPES = {"f32": 0, "f64": 1, "f16": 2, "c64": 4, "c128": 5, "bf16": 14}
COMPUTE_32F, COMPUTE_32F_FAST_TF32, COMPUTE_64F = 68, 77, 70
BYTES = {0: 4, 1: 8, 2: 2, 4: 8, 5: 16, 14: 2}
FLAGS = {"N": 0, "T": 1}
ALGORITHM = -1  # by cuBLAS's heuristics
SINGLE, DOUBLE = np.array([1, 0, 0], np.float32), np.array([1, 0, 0], np.float64)
"""One and zero, as real and as complex numbers: the factors of a product and of what it is added to, read by the host."""


@dataclass(frozen=True, slots=True)
class Gemm(Product):
    """A product of cuBLAS: ``outs[i] = lhs[i] @ rhs[i]``, row-major."""

    tf32: bool = False


# ---------------------------------------------------------------- which contraction becomes what


def contract(scheduler: Any, equation: Equation) -> bool:
    """Lowers a contraction. False: its dtypes have no kernel."""
    lhs, rhs = equation.inputs
    out, dtype = equation.outs[0], lhs.aval.dtype
    dimensions = equation.params["dimension_numbers"]
    if not supported(dtype) or not supported(out.aval.dtype):
        return False
    lhs, rhs = [scheduler.copied(a) if type(a) is Literal else a for a in (lhs, rhs)]
    if dtypes.kind(out.aval.dtype) in "biu":
        return scheduler.multiply_and_add(lhs, rhs, out, dimensions)
    if not reads_as_it_is(dtype, out.aval.dtype):
        dtype = compute_dtypes(dtype, out.aval.dtype)[0] or dtype
        lhs, rhs = converted(scheduler, lhs, dtype), converted(scheduler, rhs, dtype)
    target = out if reads_as_it_is(dtype, out.aval.dtype) else Var(shaped_array(out.aval.shape, dtype))
    if is_small(scheduler.views[lhs], scheduler.views[rhs], dimensions) \
            or not by_cublas(scheduler, equation, lhs, rhs, target, "precision" in equation.params):
        scheduler.multiply_and_add(lhs, rhs, target, dimensions)
    if target is not out:
        scheduler.fuse(Node((target,), (out,), "map", conversion(dtype, out.aval.dtype)))
    return True


def by_cublas(scheduler: Any, equation: Equation, lhs: Var, rhs: Var, target: Var, tf32: bool) -> bool:
    """Makes a product of cuBLAS, unless one of its numbers is beyond what cuBLAS takes."""
    dimensions = equation.params["dimension_numbers"]
    layout = as_read(scheduler, equation.outs[0])
    found = layout and product(scheduler.views[lhs], scheduler.views[rhs], dimensions, layout)
    if not isinstance(found, Product):
        layout = None
        lhs, rhs, found = scheduler.matrices(lhs, rhs, dimensions)
    if not within_limits(found):
        return False
    wider = target.aval.dtype.itemsize // lhs.aval.dtype.itemsize  # the strides of a batch are in bytes
    found = replace(found, strides=(*found.strides[:4], *[wider * s for s in found.strides[4:]]))
    gemm = Gemm(*[getattr(found, f.name) for f in fields(Product)], tf32=tf32 and stored(lhs.aval.dtype) in ("f32", "c64"))
    scheduler.alone(Node((rhs, lhs), (target,), "gemm", gemm, equation=equation))
    if layout is not None:
        scheduler.views[target] = View(scheduler.views[target].buffer, layout.shape, layout.strides)
    return True


def as_read(scheduler: Any, out: Var) -> View | None:
    """Where a result lies that is only read with its axes in another order: so that it is row-major then, without a copy."""
    reader = scheduler.reader.get(out) if scheduler.uses[out] == 1 else None
    order = None if reader is None else reader.params.get("permutation")
    if order is None:
        return None
    shape = out.aval.shape
    strides = dict(zip(order, row_major([shape[d] for d in order]), strict=True))
    return View(None, shape, tuple([strides[d] for d in range(len(shape))]))


def reads_as_it_is(dtype: np.dtype, out: np.dtype) -> bool:
    """Whether cuBLAS makes a product of one dtype from operands of another: narrow floats also give float32."""
    return dtype == out or stored(dtype) in ("f16", "bf16") and out == np.float32


def converted(scheduler: Any, atom: Atom, dtype: np.dtype) -> Var:
    """The same value in another dtype."""
    out = Var(shaped_array(atom.aval.shape, dtype))
    scheduler.fuse(Node((atom,), (out,), "map", conversion(atom.aval.dtype, dtype)))
    return out


def conversion(source: np.dtype, target: np.dtype) -> str:
    """The template that converts; a store rounds to narrow floats."""
    have, want = computed(source), computed(target)
    return "{0}" if have == want else f"convert_{have}_{want}({{0}})"


def is_small(lhs: Any, rhs: Any, dimensions: tuple) -> bool:
    """Whether a contraction is better a fused sum: outer products, rows times a vector, little work, tiny matrices.

    A matrix times a vector reads each element once, as fast as memory gives it, if a team of threads reads along the rows;
    along columns cuBLAS does it.
    """
    (lc, rc), (lb, rb) = dimensions
    m, n = [math.prod(x for d, x in enumerate(view.shape) if d not in axes) for view, axes in
            ((lhs, (*lc, *lb)), (rhs, (*rc, *rb)))]
    k = math.prod(lhs.shape[d] for d in lc)
    if k <= FEW_TERMS or 0 in (m, n) or m == n == 1 or m * n * k * math.prod(lhs.shape[d] for d in lb) <= FEW:
        return True
    if min(m, n) == 1:
        view, axes = (rhs, rc) if m == 1 else (lhs, lc)
        free = [view.strides[d] for d, size in enumerate(view.shape) if d not in axes and size > 1]
        return all(abs(view.strides[d]) < abs(s) for d in axes if view.shape[d] > 1 for s in free)
    return max(m, n, k) <= TINY


def within_limits(found: Product) -> bool:
    """Whether all numbers are those that cuBLAS takes."""
    return max(found.m, found.n, found.k, found.row, found.lhs[1], found.rhs[1]) <= LARGEST and min(found.strides) >= 0


# ---------------------------------------------------------------- the instruction


def record(step: Step) -> list[int]:
    """What cuBLAS is told of a step, as integers. cuBLAS is column-major: it computes the transposed product, rhs first.

    The operands are those of ``step.reads[:2]`` and ``step.writes``: a, b and c. The numbers are

        op_a op_b  m n k  type_a lda stride_a  type_b ldb stride_b  type_c ldc stride_c
        batch  compute  onto  outer step_a step_b step_c

    with strides in elements from matrix to matrix of a batch. ``outer`` batches follow each other, ``step`` bytes apart;
    ``onto`` is 1 where the product is added to what c holds.
    """
    found: Gemm = step.kernel
    a, b, c = [view.buffer.dtype for view in (*step.reads[:2], *step.writes)]
    outer, batch = found.batch
    (step_a, stride_a), (step_b, stride_b), (step_c, stride_c) = [found.strides[i:i + 2] for i in (0, 2, 4)]
    if batch == 1:
        outer, batch = 1, outer
        stride_a, stride_b, stride_c = step_a, step_b, step_c
    double = computed(c) in ("f64", "c128")
    compute = COMPUTE_64F if double else COMPUTE_32F_FAST_TF32 if found.tf32 else COMPUTE_32F
    (flag_a, lda), (flag_b, ldb) = found.rhs, found.lhs
    return [FLAGS[flag_a], FLAGS[flag_b], found.n, found.m, found.k,
            TYPES[stored(a)], lda, stride_a // a.itemsize, TYPES[stored(b)], ldb, stride_b // b.itemsize,
            TYPES[stored(c)], found.row, stride_c // c.itemsize, batch, compute, int(found.onto),
            outer, step_a, step_b, step_c]


def launch(cublas: Any, handle: int, numbers: list[int], a: int, b: int, c: int) -> None:
    """Puts the product that a record describes on the stream of a handle.

    Args:
      cublas: CuPy's module ``cupy.cuda.cublas``. Its functions set the stream of the handle to CuPy's current one.
      handle: ``cupy.cuda.device.get_cublas_handle()``, whose pointer mode is that of the host.
      numbers: what ``record`` gave.
      a, b, c: addresses of the operands in device memory.
    """
    (op_a, op_b, m, n, k, type_a, lda, stride_a, type_b, ldb, stride_b, type_c, ldc, stride_c,
     batch, compute, onto, outer, step_a, step_b, step_c) = numbers
    factors = DOUBLE if compute == COMPUTE_64F else SINGLE
    one = factors.ctypes.data
    beta = one if onto else one + factors.itemsize
    if batch == outer == 1:
        cublas.gemmEx(handle, op_a, op_b, m, n, k, one, a, type_a, lda, b, type_b, ldb, beta, c, type_c, ldc, compute,
                      ALGORITHM)
        return
    sizes = [BYTES[kind] for kind in (type_a, type_b, type_c)]
    for i in range(outer):
        for first in range(0, batch, MOST_MATRICES):
            places = [p + i * far + first * stride * size for p, far, stride, size in
                      zip((a, b, c), (step_a, step_b, step_c), (stride_a, stride_b, stride_c), sizes, strict=True)]
            cublas.gemmStridedBatchedEx(
                handle, op_a, op_b, m, n, k, one, places[0], type_a, lda, stride_a, places[1], type_b, ldb, stride_b,
                beta, places[2], type_c, ldc, stride_c, min(batch - first, MOST_MATRICES), compute, ALGORITHM)

