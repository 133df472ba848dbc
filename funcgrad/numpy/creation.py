"""Makers of arrays: from data, of one value, ranges, grids.

In: numbers, nested sequences, shapes. Out: arrays, float64 and int64 by default.

    >>> import funcgrad.numpy as fnp
    >>> fnp.linspace(0, 1, 5)
    Array([0.  , 0.25, 0.5 , 0.75, 1.  ], dtype=float64)
"""
from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, CudaArray, DeviceArray, aval_of, describe, owned
from funcgrad.core.device import CPU, as_device, copied, filled
from funcgrad.core.trace import EVAL, current_trace
from funcgrad.core.types import Shape
from funcgrad.errors import message
from funcgrad.numpy.foreign import from_gpu, on_gpu
from funcgrad.numpy.types import dtype_of, placed
from funcgrad.ops import structural as s
from funcgrad.ops.elementwise import add, div, floor, multiply, power, subtract
from funcgrad.ops.promotion import literals, promote_args, to_array

# ---------------------------------------------------------------- from data


def array(object: Any, dtype: Any = None, copy: bool = True, order: str | None = "K", ndmin: int = 0, *,
          device: Any = None) -> Any:
    """An array of numbers, of nested lists and tuples of numbers and arrays (traced ones included), or of an array.

    A Python number becomes weakly typed; a sequence does not. ``ndmin`` adds leading axes. The result never shares
    memory with a NumPy array that can be written. ``device`` is where it is put: a name such as "cuda:0", or None for the
    default device (for an Array, the one where it is). Raises TypeError for anything that holds no numbers, ValueError for
    sequences of different lengths and for a device that there is not.

    >>> array([[1, 2.5], [3, 4]])
    Array([[1. , 2.5],
           [3. , 4. ]], dtype=float64)
    """
    wanted = None if dtype is None else dtypes.as_dtype(dtype)
    if isinstance(object, Array):
        out = object
        if copy and type(object) is DeviceArray:
            out = DeviceArray(np.array(object._data)[()], object._weak)
        elif copy and type(object) is CudaArray:
            out = CudaArray(copied(object._data), object._weak)
    elif type(object) in dtypes.PYTHON_SCALARS:
        number = dtypes.PYTHON_SCALARS[type(object)] if wanted is None else wanted
        out = DeviceArray(number.type(object), wanted is None)
    elif isinstance(object, list | tuple):
        out = _from_sequence(object, wanted)
    elif on_gpu(object):
        out = from_gpu(object, True)
    else:
        out = _from_foreign(object)
    if device is not None or type(out) is DeviceArray and not isinstance(object, Array):
        out = placed("array", out, device)
    if wanted is not None:
        out = s.convert_element_type(out, wanted)
    missing = ndmin - len(out.shape)
    return s.expand_dims(out, range(missing)) if missing > 0 else out


def asarray(a: Any, dtype: Any = None, order: str | None = None, *, copy: bool | None = None,
            device: Any = None) -> Any:
    """a as an array: Arrays are returned as they are unless ``copy`` is true, everything else as by ``array``.

    With ``copy=False`` a ValueError is raised for what cannot be taken without a copy: sequences, NumPy arrays that can
    be written, another dtype. An array of another library on a GPU is copied there, unless ``copy`` is False.
    """
    if dtype is None and device is None and not copy and isinstance(a, Array):
        return a
    if copy is False and on_gpu(a):
        a = from_gpu(a, False)
    out = array(a, dtype, copy=bool(copy), device=device)
    if copy is False and not (out is a if isinstance(a, Array) else isinstance(a, np.ndarray) and type(out) is DeviceArray
                              and np.shares_memory(out._data, a)):
        raise ValueError(message("asarray: the values cannot be taken without a copy", describe(a), "an Array, or a NumPy "
                                 "array that cannot be written, of the same dtype", "copy=None"))
    return out


ascontiguousarray = asarray


def copy(a: Any, order: str | None = None) -> Any:
    """The same values over a buffer of their own."""
    return array(a, copy=True)


def _from_foreign(x: Any) -> Any:
    """An array of something that NumPy understands: an ndarray, a NumPy scalar, a buffer, a DLPack tensor."""
    if not isinstance(x, (np.ndarray, np.generic)):
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            x = np.from_dlpack(x)
        elif x is None or isinstance(x, str | set | frozenset | dict | Iterable) and not hasattr(x, "__array__"):
            raise TypeError(message("array: this holds no numbers that can be an array", describe(x),
                                    "numbers, arrays, nested lists and tuples of them", "fnp.array(list(x))"
                                    if isinstance(x, Iterable) and not isinstance(x, str) else None))
        else:
            x = np.asarray(x)
    if not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    try:
        aval_of(x)
    except TypeError:
        raise TypeError(message(f"array: the dtype {x.dtype} is not supported", describe(x),
                                "bools, integers, floats, complex numbers of at most 64 bits a part")) from None
    x = owned(x) if isinstance(x, np.ndarray) and x.shape else np.asarray(x)[()]
    return x if isinstance(x, Array) else DeviceArray(x)


def _from_sequence(sequence: Any, dtype: np.dtype | None) -> Any:
    """An array of nested sequences; the leaves are numbers or arrays."""
    parts = leaves(sequence)
    kinds = set(map(type, parts))
    try:
        if kinds <= dtypes.PYTHON_SCALARS.keys():
            return _from_foreign(np.array(sequence, dtype=dtype))
        pairs = {dtype_of(x) for x in parts if _is_value(x)}
        if len(pairs) and all(map(_is_value, parts)):
            if dtype is None:
                joined = next(iter(pairs))
                for pair in pairs:
                    joined = dtypes.join(joined, pair)
                dtype = joined[0]
            if not any(isinstance(x, Array) and type(x) is not DeviceArray for x in parts):
                return DeviceArray(np.array(_as_numpy(sequence), dtype=dtype))
            return _stacked(sequence, dtype)
    except ValueError:
        raise ValueError(message("array: the parts of the sequence have different shapes", describe(sequence),
                                 "equal shapes at every level of nesting", "fnp.concatenate or padding")) from None
    strange = next(x for x in parts if not _is_value(x))
    raise TypeError(message("array: an element of the sequence is not a number or an array", describe(strange),
                            "numbers, arrays, nested lists and tuples of them"))


def leaves(sequence: Any) -> list[Any]:
    """What stands in nested sequences, in order."""
    while any(isinstance(x, list | tuple) for x in sequence):
        sequence = list(chain.from_iterable(x if isinstance(x, list | tuple) else (x,) for x in sequence))
    return list(sequence)


def _is_value(x: Any) -> bool:
    return isinstance(x, (Array, np.ndarray, np.generic)) or type(x) in dtypes.PYTHON_SCALARS


def _as_numpy(x: Any) -> Any:
    return [_as_numpy(v) for v in x] if isinstance(x, list | tuple) else x._data if isinstance(x, Array) else x


def _stacked(x: Any, dtype: np.dtype) -> Any:
    if not isinstance(x, list | tuple):
        return s.convert_element_type(to_array(x), dtype)
    parts = [s.expand_dims(_stacked(v, dtype), (0,)) for v in x]
    if len({p.shape for p in parts}) != 1:
        raise ValueError
    return s.concatenate(parts, 0)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Any:
    """An array of anything that exports DLPack, such as a tensor of another library.

    On a GPU it shares the memory of the tensor, where that is row-major and aligned and ``copy`` is not true.
    """
    if isinstance(x, Array):
        return asarray(x, copy=bool(copy), device=device)
    out = from_gpu(x, copy) if on_gpu(x) else asarray(_from_foreign(np.from_dlpack(x)), copy=bool(copy))
    return out if device is None else placed("from_dlpack", out, device)


def frombuffer(buffer: Any, dtype: Any = float, count: int = -1, offset: int = 0) -> Any:
    """A vector of the bytes of a buffer, read as ``dtype``."""
    return _from_foreign(np.frombuffer(buffer, dtypes.as_dtype(dtype), count, offset))


def fromiter(iterable: Iterable, dtype: Any, count: int = -1) -> Any:
    """A vector of the numbers that an iterator gives."""
    return _from_foreign(np.fromiter(iterable, dtypes.as_dtype(dtype), count))


def fromstring(string: str, dtype: Any = float, count: int = -1, *, sep: str) -> Any:
    """A vector of the numbers written in a text, separated by ``sep``."""
    return _from_foreign(np.fromstring(string, dtypes.as_dtype(dtype), count, sep=sep))


def fromfile(*args: Any, **kwargs: Any) -> Any:
    """A vector read from a file by ``np.fromfile``, whose arguments it takes."""
    return _from_foreign(np.fromfile(*args, **kwargs))


# ---------------------------------------------------------------- one value


def _eager() -> bool:
    return current_trace.get() is EVAL


def _filled(name: str, shape: Any, value: np.generic, device: Any, weak: bool = False) -> Any:
    """An array of one repeated number: memory of its own when evaluated, a broadcast scalar when traced."""
    shape = s.as_shape(shape)
    if any(n < 0 for n in shape):
        raise ValueError(message("a shape has a negative size", str(shape), "sizes >= 0"))
    target = as_device(name, device)
    if _eager():
        if target != CPU:
            return CudaArray(filled(shape, value, target, name), weak)
        return DeviceArray(np.full(shape, value)[()], weak)
    if target == CPU:
        return s.broadcast_in_dim(DeviceArray(value, weak), shape, ())
    out = s.broadcast_in_dim(value, shape, ())  # a NumPy scalar, unlike an Array, goes to the default device
    return s.convert_element_type(out, out.dtype, weak_type=True) if weak else out


def zeros(shape: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of zeros, float64 unless a dtype is given."""
    return _filled("zeros", shape, _scalar(dtype, 0), device)


def ones(shape: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of ones, float64 unless a dtype is given."""
    return _filled("ones", shape, _scalar(dtype, 1), device)


def empty(shape: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array to be filled; as arrays are immutable it has zeros."""
    return zeros(shape, dtype, device=device)


def _scalar(dtype: Any, value: int) -> np.generic:
    return (np.dtype("float64") if dtype is None else dtypes.as_dtype(dtype)).type(value)


def full(shape: Any, fill_value: Any, dtype: Any = None, *, device: Any = None) -> Any:
    """An array of a repeated value, or of an array broadcast to the shape; of its dtype unless one is given."""
    value = asarray(fill_value, dtype, device=None if isinstance(fill_value, Array) else CPU)
    if type(value) is DeviceArray and not value.shape:
        return _filled("full", shape, value._data, device, value._weak)
    shape = s.as_shape(shape)
    return placed("full", broadcast(value, shape), device)


def broadcast(x: Any, shape: Shape) -> Any:
    """x broadcast to a shape, or a ValueError if it does not fit."""
    missing = len(shape) - len(x.shape)
    if missing < 0 or any(n not in (1, m) for n, m in zip(x.shape, shape[max(missing, 0):], strict=True)):
        raise ValueError(message("broadcast_to: the shape does not fit", f"{describe(x)} to {shape}",
                                 "sizes that are equal, or 1, axis by axis from the right"))
    return s.broadcast_to(x, shape)


def _like(a: Any, value: Any, dtype: Any, shape: Any, device: Any) -> Any:
    """As ``full``, where the array is if it is on a GPU."""
    a = a if isinstance(a, Array) else asarray(a)
    if device is None and type(a) is CudaArray:
        device = a.device
    out = full(a.shape if shape is None else shape, value, a.dtype if dtype is None else dtype, device=device)
    return s.convert_element_type(out, a.dtype, weak_type=True) if dtype is None and a.weak_type else out


def zeros_like(a: Any, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    """Zeros of the shape and dtype of a, unless others are given."""
    return _like(a, 0, dtype, shape, device)


def ones_like(a: Any, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    """Ones of the shape and dtype of a, unless others are given."""
    return _like(a, 1, dtype, shape, device)


def empty_like(prototype: Any, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    """An array of the shape and dtype of the prototype, unless others are given."""
    return _like(prototype, 0, dtype, shape, device)


def full_like(a: Any, fill_value: Any, dtype: Any = None, shape: Any = None, *, device: Any = None) -> Any:
    """A repeated value of the shape and dtype of a, unless others are given."""
    return _like(a, fill_value, dtype, shape, device)


# ---------------------------------------------------------------- ranges


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None, *, device: Any = None) -> Any:
    """Numbers from start (0 if only one number is given) to stop, which is excluded, in steps.

    The bounds must be known while tracing. The dtype is that of the bounds unless one is given.
    """
    bounds = [x for x in (start, stop, step) if x is not None]
    for x in bounds:
        if getattr(x, "shape", ()) != ():
            raise TypeError(message("arange: the bounds are numbers", describe(x), "scalars"))
    if dtype is None:
        pair = dtype_of(bounds[0])
        for x in bounds[1:]:
            pair = dtypes.join(pair, dtype_of(x))
        dtype = np.dtype("int64") if pair[0].kind == "b" else pair[0]
    dtype = dtypes.as_dtype(dtype)
    start, stop, step = (x if x is None else _number(x) for x in (start, stop, step))
    if stop is None:
        start, stop = 0, start
    step = 1 if step is None else step
    whole = all(isinstance(x, int) for x in (start, stop, step))
    if whole and step != 0 and not _eager():
        out = s.iota(dtype, (len(range(start, stop, step)),))
        out = out if step == 1 else multiply(out, dtype.type(step))
        out = out if start == 0 else add(out, dtype.type(start))
    else:
        out = DeviceArray(np.arange(start, stop, step).astype(dtype))
    return placed("arange", out, device)


def _number(x: Any) -> Any:
    """A bound as a Python number; raises for traced values."""
    if isinstance(x, (Array, np.ndarray, np.generic)):
        return operator.index(x) if x.dtype.kind in "iu" else complex(x) if x.dtype.kind == "c" else float(x)
    return int(x) if isinstance(x, bool) else x


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
             axis: int = 0, *, device: Any = None) -> Any:
    """``num`` evenly spaced numbers from start to stop, which is included unless ``endpoint`` is false.

    start and stop may be arrays, which broadcast: the numbers lie along a new ``axis``. Differentiable in both. With
    ``retstep`` also returns the distance. An integer dtype rounds down.
    """
    num = operator.index(num)
    if num < 0:
        raise ValueError(message("linspace: the number of samples is negative", f"num={num}", "num >= 0"))
    plain = type(start) in (int, float) and type(stop) in (int, float) and axis in (0, -1)
    if plain and dtype is None and not retstep:
        steps = np.arange(num) / max(num - 1 if endpoint else num, 1)
        return placed("linspace", DeviceArray(start * (1 - steps) + stop * steps), device)
    start, stop, t, axis = _evenly("linspace", start, stop, num, endpoint, axis)
    out = add(multiply(start, subtract(1, t)), multiply(stop, t))
    if dtype is not None:
        dtype = dtypes.as_dtype(dtype)
        out = s.convert_element_type(floor(out) if dtype.kind in "iu" else out, dtype)
    out = placed("linspace", s.moveaxis(out, 0, axis), device) if device is not None else s.moveaxis(out, 0, axis)
    if not retstep:
        return out
    count = num - 1 if endpoint else num
    distance = div(subtract(stop, start), float(count) if count > 0 else math.nan)
    return out, s.squeeze(distance, (0,))


def _evenly(name: str, start: Any, stop: Any, num: int, endpoint: bool, axis: int) -> tuple[Any, Any, Any, int]:
    """The ends with a leading axis, ``num`` fractions of the way along it, and where the axis is to go."""
    start, stop = literals(promote_args(name, (start, stop), inexact=True))
    shape = np.broadcast_shapes(start.shape, stop.shape)
    start, stop = (s.expand_dims(s.convert_element_type(broadcast(x, shape), x.dtype), (0,)) for x in (start, stop))
    real = dtypes.real_dtype(start.dtype)
    wide = real if real.itemsize >= 4 else np.dtype("float32")
    steps = np.arange(num, dtype=wide) / wide.type(max(num - 1 if endpoint else num, 1))
    t = s.convert_element_type(DeviceArray(steps.reshape(num, *[1] * len(shape))), start.dtype)
    ndim = len(shape) + 1
    if not -ndim <= axis < ndim:
        raise ValueError(message(f"{name}: the axis does not exist", f"axis {axis} of {ndim}",
                                 f"-{ndim} <= axis < {ndim}"))
    return start, stop, t, axis % ndim


def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None,
             axis: int = 0) -> Any:
    """``base`` to the powers ``linspace(start, stop, num)``."""
    out = power(base, linspace(start, stop, num, endpoint, axis=axis))
    return out if dtype is None else s.convert_element_type(out, dtype)


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Any:
    """``num`` numbers from start to stop, each the same multiple of the one before."""
    start, stop, t, axis = _evenly("geomspace", start, stop, operator.index(num), endpoint, axis)
    out = s.moveaxis(multiply(start, power(div(stop, start), t)), 0, axis)
    return out if dtype is None else s.convert_element_type(out, dtype)


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> list[Any]:
    """Coordinate arrays of a grid, one for each vector; the first two axes are exchanged when ``indexing`` is "xy".

    With ``sparse`` each keeps size 1 along the axes of the others.
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(message("meshgrid: an unknown indexing", repr(indexing), "'xy' or 'ij'"))
    vectors = [asarray(x) for x in xi]
    if any(len(x.shape) > 1 for x in vectors):
        raise ValueError(message("meshgrid: the arguments are vectors", ", ".join(map(describe, vectors)),
                                 "arrays of at most one axis"))
    n = len(vectors)
    axes = list(range(n))
    if indexing == "xy" and n > 1:
        axes[:2] = 1, 0
    sizes = [1] * n
    for x, axis in zip(vectors, axes, strict=True):
        sizes[axis] = x.size
    out = [s.reshape(x, [x.size if i == axis else 1 for i in range(n)])
           for x, axis in zip(vectors, axes, strict=True)]
    return out if sparse else [s.broadcast_to(x, tuple(sizes)) for x in out]
