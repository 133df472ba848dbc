"""Kernels that are no fused maps and reductions, for a GPU.

In: an equation. Out: a ``NativeKernel`` whose chunks are run by a team of threads, or None: the operation is then a step of
CuPy's.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

NATIVES: dict[str, Callable[..., Any]] = {}
"""Builders by the name that a primitive's ``Native`` code gives."""
STRIDED: dict[str, Callable[..., Any]] = {}
"""Builders that are given the views of the inputs too."""


def blocked_copy(shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any) -> None:
    """The kernel that copies an array whose axes lie in another order, by tiles; None: a fused kernel copies it."""
    return None
