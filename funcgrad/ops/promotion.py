"""From what users write to what primitives take: equal dtypes, equal shapes, scalars as literals.

In: arrays, ndarrays, NumPy and Python scalars. Out: Arrays of one dtype and one shape; a Python or NumPy scalar that
meets an array becomes a literal of the array's dtype, which may stand beside any shape.

    promote("add", x_f32_3, 2.0)  ->  x_f32_3, np.float32(2.0)
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, DeviceArray, aval_of, describe
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.ops.structural import broadcast_to, convert_element_type


def promote(name: str, x: Any, y: Any) -> tuple[Any, Any]:
    """Two operands of a binary function, ready for its primitive. Raises TypeError or ValueError naming the function."""
    if type(x) is DeviceArray and type(y) is DeviceArray:
        a, b = x._data, y._data
        if a.dtype is b.dtype and a.shape == b.shape:
            return x, y
    elif isinstance(x, Array):
        if isinstance(y, Array):
            if x.dtype is y.dtype and x.shape == y.shape:
                return x, y
        elif type(y) is float:
            dtype = x.dtype
            if dtype.kind == "f":
                return x, dtype.type(y)
        elif type(y) is int:
            dtype = x.dtype
            if dtype.kind in "fi":
                return x, dtype.type(y)
    elif isinstance(y, Array):
        if type(x) is float or type(x) is int:
            dtype = y.dtype
            if dtype.kind == "f" or dtype.kind == "i" and type(x) is int:
                return dtype.type(x), y
    x, y = promote_args(name, (x, y))
    return x, y


def promote_inexact(name: str, x: Any, y: Any) -> tuple[Any, Any]:
    """As ``promote``, for functions whose result is inexact: integers become floats."""
    x, y = promote_args(name, (x, y), inexact=True)
    return x, y


def promote_numeric(name: str, x: Any, y: Any) -> tuple[Any, Any]:
    """As ``promote``, for functions that count: bools become int32."""
    x, y = promote(name, x, y)
    if x.dtype.kind == "b":
        x, y = (_convert(v, np.dtype("int32"), False) for v in (x, y))
    return x, y


def promote_args(name: str, args: Sequence[Any], inexact: bool = False) -> list[Any]:
    """Any number of operands brought to one dtype and one shape."""
    dtype, weak = result_type_of(name, args)
    if inexact:
        dtype = dtypes.inexact_dtype(dtype)
    return broadcast_args(name, [_convert(x, dtype, weak) for x in literals(args)])


def result_type_of(name: str, args: Sequence[Any]) -> tuple[np.dtype, bool]:
    """The (dtype, weak) pair that the lattice gives for these operands."""
    result = None
    for position, x in enumerate(args):
        aval = check_arg(name, x, position)
        pair = (aval.dtype, aval.weak_type)
        try:
            result = pair if result is None else dtypes.join(result, pair)
        except TypeError as error:
            raise TypeError(message(f"{name}: the operands have no common dtype", ", ".join(map(describe, args)), None,
                                    str(error))) from None
    assert result is not None
    return result


def check_arg(name: str, x: Any, position: int = 0) -> Any:
    """The type of an operand, or a TypeError that names the function and says what was found."""
    try:
        return aval_of(x)
    except TypeError:
        shown = " (a list or tuple is converted only on request)" if isinstance(x, (list, tuple)) else ""
        raise TypeError(message(f"{name}: argument {position} is not an array or a number", describe(x) + shown,
                                "an fg.Array, an ndarray or a scalar of a numeric dtype",
                                "fnp.asarray(...) around it" if isinstance(x, (list, tuple)) else None)) from None


def literals(args: Sequence[Any]) -> list[Any]:
    """Python and NumPy scalars stay scalars beside an array; alone they become arrays, weak if Python's."""
    if any(isinstance(x, (Array, np.ndarray)) for x in args):
        return list(args)
    return [to_array(x) for x in args]


def to_array(x: Any) -> Any:
    """A scalar as an Array without axes; arrays as they are."""
    if isinstance(x, (Array, np.ndarray)):
        return x
    if type(x) in dtypes.PYTHON_SCALARS:
        return DeviceArray(dtypes.PYTHON_SCALARS[type(x)].type(x), True)
    return DeviceArray(x)


def unary_arg(name: str, x: Any) -> Any:
    """The operand of a unary function as an Array."""
    if isinstance(x, Array):
        return x
    check_arg(name, x)
    return to_array(x)


def inexact_arg(name: str, x: Any) -> Any:
    """The operand of a unary function that computes in floating point: integers become floats."""
    x = unary_arg(name, x)
    if dtypes.is_inexact(x.dtype):
        return x
    return convert_element_type(x, dtypes.inexact_dtype(x.dtype), weak_type=getattr(x, "weak_type", False))


def _convert(x: Any, dtype: np.dtype, weak: bool) -> Any:
    if isinstance(x, (Array, np.ndarray)):
        return x if x.dtype == dtype else convert_element_type(x, dtype, weak_type=weak)
    return dtype.type(x) if type(x) in dtypes.PYTHON_SCALARS else np.asarray(x).astype(dtype)[()]


def broadcast_shape(name: str, *shapes: Shape) -> Shape:
    """NumPy's broadcasting of shapes. Raises ValueError naming the function and the shapes."""
    ndim = max(map(len, shapes))
    result = []
    for sizes in zip(*[(1,) * (ndim - len(s)) + tuple(s) for s in shapes], strict=True):
        others = {n for n in sizes if n != 1}
        if len(others) > 1:
            raise ValueError(message(f"{name}: the shapes do not broadcast", " and ".join(map(str, shapes)),
                                     "sizes that are equal, or 1, axis by axis from the right",
                                     "reshape, or index with None to add axes of size 1"))
        result.append(others.pop() if others else 1)
    return tuple(result)


def broadcast_args(name: str, args: list[Any]) -> list[Any]:
    """Operands broadcast to one shape. In the bottom interpreter NumPy does it, so there only the shapes are checked."""
    shapes = {x.shape for x in args if not isinstance(x, np.generic)}
    if len(shapes) <= 1:
        return args
    shape = broadcast_shape(name, *[x.shape for x in args if not isinstance(x, np.generic)])
    if current_trace.get() is EVAL:
        return args
    return [x if isinstance(x, np.generic) or x.shape == shape else broadcast_to(x, shape) for x in args]
