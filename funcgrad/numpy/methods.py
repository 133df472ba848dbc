"""The methods and properties of arrays that NumPy's arrays have too: ``x.sum()``, ``x.T``, ``x.astype(...)``.

In: an Array. Out: a table from names to functions and properties, for ``core.array.install``.

    >>> import funcgrad.numpy as fnp
    >>> fnp.arange(6.).reshape(2, 3).sum(axis=0)
    Array([3., 5., 7.], dtype=float64)
"""
from __future__ import annotations

import sys
from collections.abc import Callable
from opcode import opmap
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray, describe
from funcgrad.errors import message
from funcgrad.numpy import contraction, creation, matrices, rearranging, reductions, selection, sorting, types, ufuncs
from funcgrad.numpy import manipulation as m
from funcgrad.numpy.absent import REFUSED_METHODS
from funcgrad.numpy.protocols import without_lists
from funcgrad.ops import elementwise as e
from funcgrad.ops import structural as s
from funcgrad.ops.random_bits import bitcast_convert_type


def _reshape(self: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    """``fnp.reshape``; the sizes may be given one by one."""
    return m.reshape(self, shape[0] if len(shape) == 1 else shape, order)


def _transpose(self: Any, *axes: Any) -> Any:
    """``fnp.transpose``; the axes may be given one by one."""
    single = len(axes) == 1 and (axes[0] is None or not hasattr(axes[0], "__index__"))
    return m.transpose(self, None if not axes else axes[0] if single else axes)


def _flatten(self: Any, order: str = "C") -> Any:
    """``fnp.ravel``."""
    return m.ravel(self, order)


def _astype(self: Any, dtype: Any = None, order: str = "K", casting: str = "unsafe", subok: bool = True,
            copy: bool = True, device: Any = None) -> Any:
    """The array with another dtype; float64 if None. Raises TypeError for a conversion that ``casting`` does not allow."""
    if casting != "unsafe" and not np.can_cast(self.dtype, dtypes.as_dtype(dtype), casting):
        raise TypeError(message("astype: the conversion is not allowed", f"{describe(self)} to {dtypes.as_dtype(dtype)}, "
                                f"casting={casting!r}"))
    return types.astype(self, float if dtype is None else dtype, device=device)


def _view(self: Any, dtype: Any = None) -> Any:
    """The bytes of the array read as another dtype; the last axis grows or shrinks when its size differs.

    The parts of a complex number lie one after the other.
    """
    dtype = dtypes.as_dtype(float if dtype is None else dtype)
    if dtype == self.dtype:
        return self
    if self.shape and self.dtype.kind == "c":
        parts = m.stack([ufuncs.real(self), ufuncs.imag(self)], -1)
        return _view(s.reshape(parts, (*self.shape[:-1], 2 * self.shape[-1])), dtype)
    if self.shape and dtype.kind == "c" and self.shape[-1] * self.dtype.itemsize % dtype.itemsize == 0:
        parts = _view(self, dtypes.real_dtype(dtype))
        return e.complex(parts[..., ::2], parts[..., 1::2])
    old, new = self.dtype.itemsize, dtype.itemsize
    if old == new:
        return bitcast_convert_type(self, dtype)
    if not self.shape or new > old and self.shape[-1] * old % new:
        raise ValueError(message("view: the last axis does not fit", f"{describe(self)} as {dtype.name}",
                                 f"a last axis of a multiple of {max(new // old, 1)} elements"))
    if new > old:
        groups = (*self.shape[:-1], self.shape[-1] * old // new, new // old)
        return bitcast_convert_type(s.reshape(self, groups), dtype)
    out = bitcast_convert_type(self, dtype)
    return s.reshape(out, (*self.shape[:-1], self.shape[-1] * (old // new)))


def _to_device(self: Any, device: Any, *, stream: Any = None) -> Any:
    """The array on a device: itself if it is there, and a traced value as it is. Raises ValueError for no device."""
    return types.placed("to_device", self, device)


def _round(self: Any, ndigits: int | None = None) -> Any:
    return ufuncs.round(self, ndigits or 0)


def _clip(self: Any, min: Any = None, max: Any = None, out: None = None) -> Any:
    """``fnp.clip`` of the array."""
    reductions.no_out("clip", out)
    return ufuncs.clip(self, without_lists(min), without_lists(max))


def _compress(self: Any, condition: Any, axis: int | None = None, out: None = None, *, size: int | None = None,
              fill_value: Any = 0) -> Any:
    """``fnp.compress`` of the array, which comes first."""
    return selection.compress(without_lists(condition), self, axis, out=out, size=size, fill_value=fill_value)


def _dot(self: Any, b: Any, out: None = None, **options: Any) -> Any:
    """``fnp.dot`` of the array and b."""
    reductions.no_out("dot", out)
    return contraction.dot(self, without_lists(b), **options)


def _argsort(self: Any, axis: int | None = -1, kind: Any = None, order: None = None, **options: Any) -> Any:
    """``fnp.argsort``; every ``kind`` gives the same, a stable order."""
    return sorting.argsort(self, axis, order=order, **options)


def _argpartition(self: Any, kth: int, axis: int = -1, kind: str = "introselect", order: None = None) -> Any:
    """``fnp.argpartition``; the array is sorted, whatever the ``kind``."""
    return sorting.argpartition(self, kth, axis)


def _sort(self: Any, axis: int | None = -1, kind: Any = None, order: None = None, **options: Any) -> Any:
    """``fnp.sort`` of the array. Raises TypeError where the result is not used: x does not change."""
    _check_used("sort", self)
    return sorting.sort(self, axis, order=order, **options)


def _partition(self: Any, kth: int, axis: int = -1, kind: str = "introselect", order: None = None) -> Any:
    """``fnp.partition`` of the array. Raises TypeError where the result is not used: x does not change."""
    _check_used("partition", self)
    return sorting.partition(self, kth, axis)


def _check_used(name: str, array: Any) -> None:
    """NumPy sorts in place. Raises TypeError where the user's call stands as a statement, which expects that."""
    if _result_is_dropped(sys._getframe(2)):
        raise TypeError(message(f"x.{name}(): arrays are immutable, so it cannot change x", f"{describe(array)}, and the "
                                "result is not used", None, f"x = x.{name}()"))


_POP_TOP, _CACHE = (opmap[name] for name in ("POP_TOP", "CACHE"))


def _result_is_dropped(caller: Any) -> bool:
    """Whether the call that a frame is in stands as a statement of its own: the next instruction drops its result."""
    code, after = caller.f_code.co_code, caller.f_lasti + 2
    while code[after] == _CACHE:
        after += 2
    return code[after] == _POP_TOP


def _refused(name: str, reason: str, instead: str) -> Callable:
    """A method of NumPy's arrays that arrays of funcgrad do not have."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(message(f"x.{name}(...): {reason}", describe(self), None, instead))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"Raises TypeError: {reason}. Instead: {instead}."
    return method


def _of_memory(name: str, doc: str) -> property:
    """A property of the buffer, which traced values do not have."""

    def get(self: Any) -> Any:
        if not isinstance(self, DeviceArray):
            raise AttributeError(message(f"x.{name}: a traced value has no memory", self.what(), "an array with values"))
        return getattr(np.asarray(self), name)

    return property(get, doc=doc)


def _writer(name: str) -> Callable:
    """A method that writes the values to a file or to bytes; traced values raise."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(np.asarray(self), name)(*args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{name}`` of the values as a NumPy array; traced values raise."
    return method


def _contains(self: Any, value: Any) -> bool:
    """Whether any element equals the value."""
    return bool(reductions.any(self == value))


def _function(name: str, function: Any) -> Any:
    if name in _TAKE_LISTS:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return function(self, *map(without_lists, args), **{k: without_lists(v) for k, v in kwargs.items()})
    else:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            return function(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``fnp.{name}`` of the array."
    return method


_TAKE_LISTS = {"choose", "repeat", "searchsorted", "take"}
"""Methods of which an argument may be an array, and then also a list."""


_FUNCTIONS = {
    **{name: getattr(reductions, name) for name in (
        "all", "any", "argmax", "argmin", "cumprod", "cumsum", "max", "mean", "min", "prod", "ptp", "std", "sum",
        "var")},
    "searchsorted": sorting.searchsorted,
    **{name: getattr(selection, name) for name in ("choose", "nonzero", "take")},
    "diagonal": matrices.diagonal, "trace": contraction.trace,
    "conj": ufuncs.conj, "conjugate": ufuncs.conj, "round": ufuncs.round,
    "copy": creation.copy, "ravel": m.ravel, "repeat": rearranging.repeat, "squeeze": m.squeeze,
    "swapaxes": m.swapaxes,
}

METHODS: dict[str, Any] = {
    **{name: _function(name, function) for name, function in _FUNCTIONS.items()},
    "clip": _clip, "compress": _compress, "dot": _dot,
    "reshape": _reshape, "transpose": _transpose, "flatten": _flatten, "astype": _astype, "view": _view,
    "to_device": _to_device, "__round__": _round, "__contains__": _contains,
    "argpartition": _argpartition, "argsort": _argsort, "sort": _sort, "partition": _partition,
    **{name: _refused(name, *why) for name, why in REFUSED_METHODS.items()},
    **{name: _writer(name) for name in ("dump", "dumps", "tobytes", "tofile")},
    **{name: _of_memory(name, doc) for name, doc in {
        "ctypes": "The memory for ctypes; read only.",
        "data": "The memory as a read-only buffer.", "flags": "How the memory is laid out; never writable.",
        "strides": "The distance in bytes from an element to the next along each axis."}.items()},
    "base": property(lambda self: None, doc="None: an array is not a view of another."),
    "flat": property(m.ravel, doc="The elements as an array with one axis; it can be read and not written."),
    "T": property(m.transpose, doc="The array with its axes reversed."),
    "mT": property(m.matrix_transpose, doc="The array with its last two axes exchanged."),
    "real": property(ufuncs.real, doc="The real part."),
    "imag": property(ufuncs.imag, doc="The imaginary part; zeros for real arrays."),
}
"""What ``Array`` gets from here; ``funcgrad.numpy`` installs it."""
