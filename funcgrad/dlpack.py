"""Exchange of arrays with other libraries without copies, by DLPack: the names of ``jax.dlpack``.

    >>> from_dlpack(fnp.arange(3)).dtype
    dtype('int64')
"""
from __future__ import annotations

from typing import Any

from funcgrad.core.array import Array
from funcgrad.numpy import creation as _creation

__all__ = ["from_dlpack", "to_dlpack"]


def from_dlpack(external_array: Any, device: Any = None, copy: bool | None = None) -> Array:
    """An array of another library (CuPy, PyTorch, JAX, NumPy ...) as an Array: ``fnp.from_dlpack``.

    On a GPU it shares the memory, unless the tensor is not row-major or not aligned to 16 bytes, ``copy`` is true, or
    ``device`` is another one. Raises BufferError or TypeError for what exports no tensor.
    """
    return _creation.from_dlpack(external_array, device=device, copy=copy)


def to_dlpack(x: Array, stream: int | None = None) -> Any:
    """The capsule of an array for libraries that take one; those that know the protocol take the array itself."""
    return x.__dlpack__() if stream is None else x.__dlpack__(stream=stream)
