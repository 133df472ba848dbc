"""Element types: names, promotion, conversion of Python scalars.

In: NumPy dtypes (with bfloat16 and the 8-bit floats of ``ml_dtypes``) and Python scalar types.
Out: the dtype and weakness of a result, on JAX's promotion lattice with 64-bit types always on.

    >>> import numpy as np
    >>> join((np.dtype("int64"), False), (np.dtype("float32"), False))
    (dtype('float32'), False)

A Python scalar is *weak*: it takes the dtype of the array it meets unless its kind (bool < int < float < complex)
is higher. The lattice follows https://docs.jax.dev/en/latest/type_promotion.html.
"""
from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np

bfloat16 = np.dtype(ml_dtypes.bfloat16)
float0 = np.dtype([("float0", np.void, 0)])
"""The dtype of the tangent of an integer or a bool: it has no values but zero."""

FLOAT8 = tuple([f"float8_{layout}" for layout in (
    "e3m4", "e4m3", "e4m3b11fnuz", "e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")])
"""The 8-bit floats of ``ml_dtypes``, which meet no other float: they are for storage."""

SHORT_NAMES = {
    "bool": "bool", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "uint8": "u8", "uint16": "u16",
    "uint32": "u32", "uint64": "u64", "float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64",
    "complex64": "c64", "complex128": "c128", **{name: name.replace("float", "f") for name in FLOAT8},
}

PYTHON_SCALARS = {bool: np.dtype("bool"), int: np.dtype("int64"), float: np.dtype("float64"),
                  complex: np.dtype("complex128")}
"""Each Python scalar type with the dtype it has when it meets no array."""

# The lattice: each node with the nodes just above it. "i*", "f*" and "c*" are the weak types.
_ABOVE = {
    "bool": ("i*",), "i*": ("uint8", "int8"), "uint8": ("uint16", "int16"), "uint16": ("uint32", "int32"),
    "uint32": ("uint64", "int64"), "uint64": ("f*",), "int8": ("int16",), "int16": ("int32",), "int32": ("int64",),
    "int64": ("f*",), "f*": ("c*", "float16", "bfloat16"), "float16": ("float32",), "bfloat16": ("float32",),
    "float32": ("float64", "complex64"), "float64": ("complex128",), "c*": ("complex64",),
    "complex64": ("complex128",), "complex128": (),
}
_WEAK_NODES = {"i": "i*", "u": "i*", "f": "f*", "c": "c*"}
_WEAK_DTYPES = {"i*": np.dtype("int64"), "f*": np.dtype("float64"), "c*": np.dtype("complex128")}


def _upper_bounds(node: str) -> set[str]:
    bounds = {node}
    for above in _ABOVE[node]:
        bounds |= _upper_bounds(above)
    return bounds


_BOUNDS = {node: _upper_bounds(node) for node in _ABOVE}


@functools.cache
def join(a: tuple[np.dtype, bool], b: tuple[np.dtype, bool]) -> tuple[np.dtype, bool]:
    """The least upper bound of two (dtype, weak) pairs. Raises TypeError when there is none (8-bit floats)."""
    if a == b:
        return a
    nodes = [_WEAK_NODES.get(kind(d), d.name) if weak else d.name for d, weak in (a, b)]
    for node, (dtype, _) in zip(nodes, (a, b), strict=True):
        if node not in _BOUNDS:
            if a[0] == b[0]:
                return a[0], a[1] and b[1]
            other = b if dtype == a[0] else a
            if kind(other[0]) in "biu" or other[1] and kind(other[0]) == "f":  # an integer never widens a float
                return dtype, False
            raise TypeError(f"{a[0].name} and {b[0].name} have no common dtype: {dtype.name} is a storage type; convert "
                            f"with .astype(...) first")
    common = _BOUNDS[nodes[0]] & _BOUNDS[nodes[1]]
    least = next(node for node in common if common <= _BOUNDS[node])
    if least in _WEAK_DTYPES:
        # A weak result keeps the width of a weak operand of the same kind.
        for node, (dtype, _) in zip(nodes, (a, b), strict=True):
            if node == least:
                return dtype, True
        return _WEAK_DTYPES[least], True
    return np.dtype(least) if least != "bfloat16" else bfloat16, False


@functools.cache
def kind(dtype: np.dtype) -> str:
    """One of "b", "i", "u", "f", "c", or "V" for anything that is not a number.

    >>> kind(bfloat16)
    'f'
    """
    if dtype.kind in "biufc":
        return dtype.kind
    if dtype.name == "bfloat16" or dtype.name in FLOAT8:
        return "f"
    return "V"


@functools.cache
def is_inexact(dtype: np.dtype) -> bool:
    """True for real and complex floating point dtypes: those that carry derivatives."""
    return kind(dtype) in "fc"


@functools.cache
def is_supported(dtype: np.dtype) -> bool:
    return dtype.name in SHORT_NAMES and dtype.isnative


@functools.cache
def short_name(dtype: np.dtype) -> str:
    """``float32`` -> ``f32``, as printed in jaxprs."""
    return "float0" if dtype == float0 else SHORT_NAMES.get(dtype.name, dtype.name)


@functools.cache
def tangent_dtype(dtype: np.dtype) -> np.dtype:
    return dtype if is_inexact(dtype) else float0


@functools.cache
def real_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of the real part: complex64 -> float32; other dtypes are returned as they are."""
    return np.dtype(f"float{dtype.itemsize * 4}") if dtype.kind == "c" else dtype


@functools.cache
def complex_dtype(dtype: np.dtype) -> np.dtype:
    """The complex dtype whose parts hold this dtype: float32 and narrower -> complex64, else complex128."""
    if dtype.kind == "c":
        return dtype
    return np.dtype("complex64") if kind(dtype) == "f" and dtype.itemsize <= 4 else np.dtype("complex128")


@functools.cache
def inexact_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype a function such as ``sin`` computes in: itself if inexact; 64-bit integers float64, narrower float32."""
    if is_inexact(dtype):
        return dtype
    return np.dtype("float64") if dtype.itemsize == 8 else np.dtype("float32")


def as_dtype(dtype: Any) -> np.dtype:
    """A user's dtype argument (``float``, ``"bfloat16"``, ``np.float32``, a dtype) as a supported dtype.

    Raises TypeError when the dtype is not one of the supported ones.
    """
    if dtype in PYTHON_SCALARS:
        return PYTHON_SCALARS[dtype]
    if isinstance(dtype, str) and dtype in ("bfloat16", *FLOAT8):
        dtype = getattr(ml_dtypes, dtype)
    result = np.dtype(dtype)
    if not is_supported(result):
        raise TypeError(f"dtype {result} is not supported; the supported dtypes are {', '.join(SHORT_NAMES)}")
    return result


def issubdtype(a: Any, b: Any) -> bool:
    """``np.issubdtype`` that also knows bfloat16 and the 8-bit floats as floating point."""
    if isinstance(a, np.dtype) and is_supported(a) and a.kind == "V" or not isinstance(a, (np.dtype, type)):
        a = np.dtype(a)
    if isinstance(a, type) and issubclass(a, np.generic) and a in (np.generic, np.number, np.integer, np.signedinteger,
                                                                   np.unsignedinteger, np.inexact, np.floating,
                                                                   np.complexfloating):
        return np.issubdtype(a, b)
    dtype = np.dtype(a)
    if kind(dtype) == "f" and dtype.kind == "V":
        if isinstance(b, type) and issubclass(b, np.generic) and b in (np.generic, np.number, np.inexact, np.floating):
            return True
        return dtype == np.dtype(b) if not (isinstance(b, type) and issubclass(b, (np.number, np.bool_))) \
            or b is ml_dtypes.bfloat16 else False
    return np.issubdtype(dtype, b)


def finfo(dtype: Any) -> Any:
    """Limits of a floating point dtype, bfloat16 and the 8-bit floats included."""
    return ml_dtypes.finfo(real_dtype(as_dtype(dtype)))


def iinfo(int_type: Any) -> Any:
    """Limits of an integer dtype."""
    return np.iinfo(as_dtype(int_type))
