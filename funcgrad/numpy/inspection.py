"""What the namespace offers, as the Python array API standard (2024.12) asks: dtypes, devices, capabilities.

Out: plain dicts and lists.

    >>> import funcgrad.numpy as fnp
    >>> fnp.__array_namespace_info__().default_dtypes()["real floating"]
    dtype('float64')
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core.device import CPU, Device, as_device, default, gpu_count
from funcgrad.numpy.types import isdtype

API_VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")
"""The versions of the standard that the namespace conforms to; the last is ``__array_api_version__``."""

_DTYPES = {name: np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
                                             "uint64", "float32", "float64", "complex64", "complex128")}


class __array_namespace_info__:  # noqa: N801  the standard's name
    """The standard's inspection of a namespace: ``fnp.__array_namespace_info__().dtypes(kind="integral")``."""

    __slots__ = ()

    def capabilities(self) -> dict[str, Any]:
        """What depends on values works on arrays; on traced values it raises unless the size is given."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        return default() or CPU

    def devices(self) -> list[Device]:
        """The CPU, and the GPUs if a program uses them: CuPy is not loaded to look for them."""
        return [CPU, *[Device(f"cuda:{i}") for i in range(gpu_count())]] if default() is not None else [CPU]

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The dtypes of numbers without a dtype of their own, and of indices. Raises ValueError for another device."""
        as_device("default_dtypes", device)
        return {"real floating": np.dtype("float64"), "complex floating": np.dtype("complex128"),
                "integral": np.dtype("int64"), "indexing": np.dtype("int64")}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The standard's dtypes by name; those of a kind (as for ``isdtype``, or a tuple of kinds) if one is given."""
        as_device("dtypes", device)
        return {name: dtype for name, dtype in _DTYPES.items() if kind is None or isdtype(dtype, kind)}
