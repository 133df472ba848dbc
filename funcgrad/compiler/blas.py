"""Matrix products by BLAS: the library that NumPy already has in memory.

In: dtypes. Out: the address of ``gemm`` in Fortran's convention, all of whose arguments are addresses; the integers may be
32 or 64 bits wide, since the words they are read from are 64 bits of little-endian memory.
"""
from __future__ import annotations

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np

LETTERS = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}


@functools.cache
def _library() -> Any:
    """The OpenBLAS inside of NumPy's wheel, or None."""
    root = Path(np.__file__).parent
    for folder in (root.parent / "numpy.libs", root / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            if hasattr(library, "scipy_sgemm_64_"):
                return library
    return None


@functools.cache
def gemm(dtype: np.dtype) -> int:
    """The address of the matrix product for a dtype."""
    return function("gemm", dtype)


@functools.cache
def function(routine: str, dtype: np.dtype) -> int:
    """The address of a routine of BLAS or LAPACK, such as "potrf", for a dtype."""
    name = LETTERS[dtype.name] + routine
    library = _library()
    if library is not None:
        return ctypes.cast(getattr(library, f"scipy_{name}_64_"), ctypes.c_void_p).value or 0
    from scipy.linalg import cython_blas, cython_lapack
    capsule = {**cython_lapack.__pyx_capi__, **cython_blas.__pyx_capi__}[name]
    get_name = ctypes.pythonapi.PyCapsule_GetName
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
    get_pointer.restype, get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return get_pointer(capsule, get_name(capsule))


def integer_bytes() -> int:
    """The width of the library's integers."""
    return 4 if _library() is None else 8


@functools.cache
def thread_functions() -> tuple[int, int]:
    """The addresses of the functions that tell and set how many threads one product may use, or zeros."""
    library = _library()
    found = [getattr(library, f"scipy_openblas_{verb}_num_threads64_", None) for verb in ("get", "set")]
    if None in found:
        return 0, 0
    get, put = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)
    return get, put
