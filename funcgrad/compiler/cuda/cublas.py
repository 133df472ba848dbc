"""cuBLAS while a stream is captured, when CuPy refuses to call it.

In: the library that CuPy has loaded, and CuPy's handle. Out: the two functions that ``contraction.launch`` asks for, which put
products on the stream that is captured. cuBLAS can be captured; it is CuPy (14.2) that raises when it is asked for it.

    products = Capturable(library(13))
    products.begin(handle, stream, address, size);  products.gemmEx(handle, 0, 0, m, n, k, ...)
"""
from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

_P, _I, _L, _N = ctypes.c_void_p, ctypes.c_int, ctypes.c_longlong, ctypes.c_size_t
_SIZES = [_P, _I, _I, _I, _I, _I, _P]
FUNCTIONS = {
    "cublasSetStream_v2": [_P, _P],
    "cublasSetWorkspace_v2": [_P, _P, _N],
    "cublasGemmEx": [*_SIZES, *[_P, _I, _I] * 2, _P, _P, _I, _I, _I, _I],
    "cublasGemmStridedBatchedEx": [*_SIZES, *[_P, _I, _I, _L] * 2, _P, _P, _I, _I, _L, _I, _I, _I],
}
"""The functions that are called, and the types of their arguments (cublas_api.h)."""


def library(version: int) -> Any:
    """The library of a major version of CUDA: the one that is loaded already, if there is one. Raises OSError for none."""
    return ctypes.CDLL(f"cublas64_{version}.dll" if sys.platform == "win32" else f"libcublas.so.{version}")


def workspace_size(capability: tuple[int, int]) -> int:
    """Bytes in which products compute: as many as cuBLAS takes by itself, so that it chooses the same algorithms."""
    return 32 << 20 if capability >= (9, 0) else 4 << 20


class Capturable:
    """The functions of cuBLAS with the names and the order of CuPy's. Raises RuntimeError where cuBLAS reports an error."""

    def __init__(self, library: Any):
        functions: list[Callable] = []
        for name, kinds in FUNCTIONS.items():
            function = getattr(library, name)
            function.argtypes, function.restype = kinds, ctypes.c_int
            functions.append(_checked(name, function))
        self.set_stream, self.set_workspace, self.gemmEx, self.gemmStridedBatchedEx = functions

    def begin(self, handle: int, stream: int, workspace: int, size: int) -> None:
        """From now on the products of a handle go to a stream, and compute in memory that is given, until CuPy uses the handle.

        With memory of its own cuBLAS would allocate some for each graph.
        """
        self.set_stream(handle, stream)
        self.set_workspace(handle, workspace, size)


def _checked(name: str, function: Callable) -> Callable:
    def call(*args: int) -> None:
        status = function(*args)
        if status:
            raise RuntimeError(f"{name} answers with error {status}")

    return call
