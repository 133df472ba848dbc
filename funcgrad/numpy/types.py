"""Element types as NumPy names them, and questions about them.

In: dtypes, their names, arrays, Python scalars. Out: dtypes and bools. ``fnp.float32`` and its kin are dtypes that
can be called: ``fnp.float32(3)`` is an array without axes.

    >>> import funcgrad.numpy as fnp
    >>> fnp.result_type(fnp.int64, fnp.float32), fnp.float32(3)
    (dtype('float32'), Array(3., dtype=float32))
"""
from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, DeviceArray, aval_of, describe, on_device
from funcgrad.core.device import as_device, default
from funcgrad.errors import message
from funcgrad.ops.elementwise import ne
from funcgrad.ops.promotion import to_array
from funcgrad.ops.structural import convert_element_type


class ScalarType:
    """A dtype that can be called to make an array; it equals the dtype and can stand wherever one is expected."""

    __slots__ = ("dtype", "__name__")
    dtype: np.dtype

    def __init__(self, name: str, dtype: Any):
        self.__name__, self.dtype = name, np.dtype(dtype)

    def __call__(self, x: Any = 0) -> Any:
        """x as an array of this dtype; numbers, arrays and nested sequences of numbers are taken."""
        if isinstance(x, Array):
            return convert_element_type(x, self.dtype)
        return DeviceArray(np.asarray(x).astype(self.dtype)[()])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ScalarType):
            return self.dtype == other.dtype
        return other is not None and self.dtype == other

    def __hash__(self) -> int:
        return hash(self.dtype)

    def __repr__(self) -> str:
        return f"funcgrad.numpy.{self.__name__}"

    def __reduce__(self) -> tuple:
        return ScalarType, (self.__name__, self.dtype)


bool_ = ScalarType("bool_", bool)
int8, int16, int32, int64 = (ScalarType(f"int{n}", f"int{n}") for n in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (ScalarType(f"uint{n}", f"uint{n}") for n in (8, 16, 32, 64))
float16, float32, float64 = (ScalarType(f"float{n}", f"float{n}") for n in (16, 32, 64))
bfloat16 = ScalarType("bfloat16", dtypes.bfloat16)
(float8_e3m4, float8_e4m3, float8_e4m3b11fnuz, float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz,
 float8_e8m0fnu) = (ScalarType(name, dtypes.as_dtype(name)) for name in dtypes.FLOAT8)
complex64, complex128 = ScalarType("complex64", "complex64"), ScalarType("complex128", "complex128")
int_, uint, float_, complex_ = int64, uint64, float64, complex128
single, double, csingle, cdouble = float32, float64, complex64, complex128

generic, number, integer, signedinteger = np.generic, np.number, np.integer, np.signedinteger
unsignedinteger, inexact, floating, complexfloating = np.unsignedinteger, np.inexact, np.floating, np.complexfloating
ComplexWarning = np.exceptions.ComplexWarning
character, flexible, object_ = np.character, np.flexible, np.object_

_KINDS = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
          "complex floating": "c", "numeric": "iufc"}


def finfo(dtype: Any) -> Any:
    """Limits of a floating point dtype, or of that of an array; bfloat16 and the 8-bit floats are known too."""
    return dtypes.finfo(_of_array(dtype))


def iinfo(int_type: Any) -> Any:
    """Limits of an integer dtype, or of that of an array."""
    return dtypes.iinfo(_of_array(int_type))


def _of_array(x: Any) -> Any:
    return x.dtype if isinstance(x, (Array, np.ndarray, np.generic)) else x


def dtype_of(x: Any) -> tuple[np.dtype, bool]:
    """The dtype of an array, a scalar or a dtype, and whether it is weak."""
    if isinstance(x, (Array, np.ndarray, np.generic)) or type(x) in dtypes.PYTHON_SCALARS:
        aval = aval_of(x)
        return aval.dtype, aval.weak_type
    return dtypes.as_dtype(x), x is int or x is float or x is complex


def result_type(*args: Any, return_weak_type_flag: bool = False) -> Any:
    """The dtype of a computation with these arrays, scalars and dtypes, on JAX's promotion lattice.

    With ``return_weak_type_flag`` also whether the result is weak. Raises TypeError when there is no common dtype.
    """
    if not args:
        raise ValueError("fnp.result_type takes at least one array or dtype")
    pair = dtype_of(args[0])
    for x in args[1:]:
        pair = dtypes.join(pair, dtype_of(x))
    return pair if return_weak_type_flag else pair[0]


def promote_types(a: Any, b: Any) -> np.dtype:
    """The common dtype of two dtypes; Python's ``int``, ``float`` and ``complex`` count as weak."""
    return result_type(*[x if isinstance(x, type) else dtypes.as_dtype(x) for x in (a, b)])


def can_cast(from_: Any, to: Any, casting: str = "safe") -> bool:
    """Whether a dtype converts to another under NumPy's casting rule."""
    return np.can_cast(dtype_of(from_)[0], dtypes.as_dtype(to), casting=casting)  # type: ignore[arg-type]


def issubdtype(arg1: Any, arg2: Any) -> bool:
    """Whether a dtype is of a kind, such as ``fnp.floating``; bfloat16 and the 8-bit floats are floating."""
    arg1, arg2 = (x.dtype if isinstance(x, ScalarType) else x for x in (arg1, arg2))
    return dtypes.issubdtype(arg1, arg2)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: a name of the array API ("real floating", ...), a dtype, or a tuple of those."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    dtype = dtypes.as_dtype(dtype)
    if isinstance(kind, str) and kind in _KINDS:
        return dtypes.kind(dtype) in _KINDS[kind]
    try:
        return dtype == dtypes.as_dtype(kind)
    except TypeError:
        raise ValueError(message("isdtype: an unknown kind of dtype", repr(kind),
                                 f"one of {', '.join(_KINDS)}, a dtype, or a tuple of them")) from None


def astype(x: Any, dtype: Any, /, *, copy: bool = False, device: Any = None) -> Any:
    """x with another dtype. Complex to real drops the imaginary part, with a warning."""
    aval = aval_of(x)
    x = to_array(x)
    if device is not None:
        x = placed("astype", x, device)
    if dtype is None:
        return x
    dtype = dtypes.as_dtype(dtype)
    if aval.dtype.kind == "c" and dtype.kind == "b":
        return ne(x, 0)
    if aval.dtype.kind == "c" and dtype.kind != "c":
        warnings.warn(message("astype: the imaginary part is dropped", f"{describe(x)} to {dtype.name}", None,
                              "x.real.astype(...)"), ComplexWarning, stacklevel=2)
    return convert_element_type(x, dtype)


def placed(name: str, x: Any, device: Any) -> Any:
    """An array just made, on the device asked for, or on the default one for None; a traced value as it is.

    Raises ValueError for a name of no device.
    """
    if device is None:
        target = default()
        if target is None:
            return x
    else:
        target = as_device(name, device)
    return on_device(x, target, name) if isinstance(x, DeviceArray) else x


def isscalar(element: Any) -> bool:
    """Whether the element is a number, or an array without axes."""
    return np.isscalar(element) or isinstance(element, Array) and element.ndim == 0


def iterable(y: Any) -> bool:
    """Whether one can go through the elements of y; of an array without axes one cannot."""
    return y.ndim > 0 if isinstance(y, Array) else np.iterable(y)


def ndim(a: Any) -> int:
    """The number of axes."""
    return len(a.shape) if hasattr(a, "shape") else np.ndim(a)


def shape(a: Any) -> tuple[int, ...]:
    """The sizes of the axes."""
    return tuple(a.shape) if hasattr(a, "shape") else np.shape(a)


def size(a: Any, axis: Any = None) -> int:
    """The number of elements, or those along an axis or some axes."""
    sizes = shape(a)
    axes = range(len(sizes)) if axis is None else [axis] if isinstance(axis, int) else axis
    return int(np.prod([sizes[i] for i in axes], dtype=np.int64))
