"""Kernels that are no fused maps and reductions, for a GPU.

In: an equation. Out: a ``NativeKernel`` whose chunks are run by a team of threads, or None: the operation is then a step of
CuPy's.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad.compiler.cuda.natives import cumulative, reading, scattering
from funcgrad.compiler.cuda.natives.transposing import blocked_copy

__all__ = ["NATIVES", "STRIDED", "blocked_copy"]

NATIVES: dict[str, Callable[..., Any]] = {"cumulative": cumulative.build}
"""Builders by the name that a primitive's ``Native`` code gives."""
STRIDED: dict[str, Callable[..., Any]] = {"gather": reading.gather, "dynamic_slice": reading.dynamic_slice,
                                          "take_along": reading.take_along, "scatter": scattering.scatter,
                                          "dynamic_update_slice": scattering.dynamic_update_slice,
                                          "add_along": scattering.add_along}
"""Builders that are given the views of the inputs too."""
