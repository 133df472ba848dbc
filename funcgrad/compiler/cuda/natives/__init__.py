"""Kernels that are no fused maps and reductions, for a GPU.

In: an equation. Out: a ``NativeKernel`` whose chunks are run by a team of threads, or None: the operation is then a step of
CuPy's.

What there is, and why:

    gather, dynamic_slice, take_along       reading: a team for a wide window, else a thread for each element; neighbouring
                                            threads have neighbouring elements
    scatter..., dynamic_update_slice,       scattering: a thread for each row, or a block for a range of places; no element has
    add_along                               two writers, so sums come out the same each time
    cumulative                              cumulative: a team for a line, a thread for a lane, pieces where lines are few; one
                                            thread walks a line of the processor's
    position                                positions: the same
    reduce_window, select_and_gather_add,   pooling: a thread for each element of the result; the processor's keeps the channels
    select_and_scatter_add                  of a piece in memory, for its vectors
    concatenate, pad, same_bytes            joining: a thread for each element of the result; the processor's rows are lines of
                                            memory, of any length
    searchsorted                            search: a thread for each value; the processor's keeps in memory where they stand
    top_k                                   sorting: a team for a line, one search for each result; short lines as there
    sort                                    sorting: lines of up to 16 elements as on the processor, up to 2048 by a block in
                                            the memory that its threads share; CuPy sorts longer ones
    random_gamma                            the processor's: a row is one draw
    cholesky, lu, triangular_solve,         the processor's for matrices of up to 8 rows: a row is one; larger ones call LAPACK
    factored_solve                          there, and cuSOLVER here
    slogdet, det                            the processor's: a row is the diagonal of one matrix
    eigh, svd, qr                           none: all of it is LAPACK's, and cuSOLVER's here
    convolve, convolve_input,               none: they are products of matrices
    convolve_kernel

Copies whose axes lie in another order go through tiles (transposing).
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.compiler.cuda.natives import cumulative, joining, pooling, positions, reading, scattering, search, sorting
from funcgrad.compiler.cuda.natives.reused import small_matrices
from funcgrad.compiler.cuda.natives.transposing import blocked_copy
from funcgrad.compiler.natives import random, systems

__all__ = ["NATIVES", "STRIDED", "blocked_copy"]

NATIVES: dict[str, Callable[..., Any]] = {
    "cholesky": small_matrices(systems.cholesky),
    "concatenate": joining.concatenate,
    "cumulative": cumulative.build,
    "det": systems.determinant,
    "factored_solve": small_matrices(systems.factored_solve),
    "lu": small_matrices(systems.lu),
    "pad": joining.pad,
    "position": positions.build,
    "random_gamma": random.gamma,
    "reduce_window": pooling.reduce_window,
    "same_bytes": joining.same_bytes,
    "searchsorted": search.searchsorted,
    "select_and_gather_add": pooling.select_and_gather_add,
    "select_and_scatter_add": pooling.select_and_scatter_add,
    "slogdet": systems.determinant,
    "sort": sorting.sort,
    "top_k": sorting.top_k,
    "triangular_solve": small_matrices(systems.triangular_solve),
}
"""Builders by the name that a primitive's ``Native`` code gives."""
STRIDED: dict[str, Callable[..., Any]] = {
    "add_along": scattering.add_along,
    "dynamic_slice": reading.dynamic_slice,
    "dynamic_update_slice": scattering.dynamic_update_slice,
    "gather": reading.gather,
    "scatter": scattering.scatter,
    "take_along": reading.take_along,
}
"""Builders that are given the views of the inputs too."""
