"""Arrays of other libraries on a GPU, by DLPack or ``__cuda_array_interface__``.

In: an array of CuPy, PyTorch, JAX or Numba in the memory of a GPU. Out: an Array over the same memory, or over a copy of it.
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, CudaArray
from funcgrad.core.device import copied, cupy
from funcgrad.errors import message

_ON_CUDA = (2, 13)
"""The numbers of DLPack for memory of CUDA, and for memory that it shares with the host."""


def on_gpu(x: Any) -> bool:
    """Whether x is an array of another library on a GPU."""
    if isinstance(x, Array | np.ndarray | np.generic):
        return False
    if hasattr(type(x), "__dlpack_device__"):
        return x.__dlpack_device__()[0] in _ON_CUDA
    return hasattr(x, "__cuda_array_interface__")


def from_gpu(x: Any, copy: bool | None) -> CudaArray:
    """An array of another library on a GPU as an Array.

    Without ``copy`` it shares the memory: what the owner writes there is seen. What is not row-major, or does not start at a
    multiple of 16 bytes, is copied; with ``copy=False`` that raises ValueError. Raises TypeError for a dtype that is not
    supported.
    """
    xp = cupy()
    data = x if isinstance(x, xp.ndarray) else xp.from_dlpack(x) if hasattr(x, "__dlpack__") else xp.asarray(x)
    if not dtypes.is_supported(data.dtype):
        raise TypeError(message(f"array: the dtype {data.dtype} is not supported", f"a {type(x).__name__} on a GPU",
                                "bools, integers, floats, complex numbers of at most 64 bits a part"))
    if copy:
        return CudaArray(copied(data))
    out = CudaArray(data)
    if copy is False and out._data is not data:
        raise ValueError(message(
            "asarray: the values cannot be taken without a copy", f"{out.aval} with strides {data.strides} at address "
            f"{data.data.ptr:#x}", "a row-major array that starts at a multiple of 16 bytes, as compiled code reads it",
            "copy=None"))
    return out
