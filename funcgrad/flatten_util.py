"""``ravel_pytree``: a tree of arrays as one vector, and back.

    >>> import funcgrad.numpy as fnp
    >>> flat, unravel = ravel_pytree({"a": fnp.arange(2.), "b": 3.0})
    >>> flat
    Array([0., 1., 3.], dtype=float64)
    >>> unravel(flat)["a"]
    Array([0., 1.], dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.ops.promotion import result_type_of
from funcgrad.ops.structural import concatenate, convert_element_type, full, reshape, slice_in_dim
from funcgrad.tree import tree_flatten, tree_unflatten


def ravel_pytree(pytree: Any) -> tuple[Any, Callable[[Any], Any]]:
    """``(vector, unravel)``: all leaves in one vector of their common dtype; ``unravel(vector)`` gives the tree back.

    unravel restores shapes and dtypes; it raises ValueError for a vector of another size, TypeError for another dtype.
    """
    leaves, structure = tree_flatten(pytree)
    leaves = [as_value(x) for x in leaves]
    dtype = result_type_of("ravel_pytree", leaves)[0] if leaves else np.dtype("float32")
    sizes = [x.size for x in leaves]
    parts = [reshape(convert_element_type(x, dtype), (n,)) for x, n in zip(leaves, sizes, strict=True)]
    vector = concatenate(parts, 0) if parts else full((0,), 0.0, dtype)

    def unravel(flat: Any) -> Any:
        flat = as_value(flat)
        if flat.shape != (sum(sizes),):
            raise ValueError(message("unravel: the vector has the wrong size", describe(flat), f"shape {(sum(sizes),)}"))
        if flat.dtype != dtype:
            raise TypeError(message("unravel: the vector has the wrong dtype", describe(flat), dtype.name))
        out, start = [], 0
        for x, n in zip(leaves, sizes, strict=True):
            part = reshape(slice_in_dim(flat, start, start + n), x.shape)
            out.append(convert_element_type(part, x.dtype))
            start += n
        return tree_unflatten(structure, out)

    return vector, unravel
