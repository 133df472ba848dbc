"""Plain NumPy code on Arrays: ``np.sin(x)`` and ``np.concatenate([x, y])`` call the functions of ``funcgrad.numpy``.

In: a NumPy function called with an Array or a tracer among its arguments. Out: what its counterpart gives, so it is
traced and differentiated like it. A function without a counterpart raises TypeError and is named; nothing is ever
computed on object arrays.

    >>> import numpy as np, funcgrad.numpy as fnp
    >>> np.sin(fnp.zeros(2))
    Array([0., 0.], dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array
from funcgrad.errors import message
from funcgrad.numpy.creation import leaves

_COUNTERPARTS: dict[Any, Callable] = {}
_OPERANDS = (Array, np.ndarray, np.generic, *dtypes.PYTHON_SCALARS)

_METHODS_OF_UFUNCS = {
    ("add", "reduce"): "fnp.sum(x, axis)", ("multiply", "reduce"): "fnp.prod(x, axis)",
    ("maximum", "reduce"): "fnp.max(x, axis)", ("minimum", "reduce"): "fnp.min(x, axis)",
    ("logical_and", "reduce"): "fnp.all(x, axis)", ("logical_or", "reduce"): "fnp.any(x, axis)",
    ("logaddexp", "reduce"): "funcgrad.nn.logsumexp(x, axis)",
    ("add", "accumulate"): "fnp.cumsum(x, axis)", ("multiply", "accumulate"): "fnp.cumprod(x, axis)",
    ("multiply", "outer"): "fnp.outer(x, y)", ("add", "at"): "x.at[index].add(y)",
    ("subtract", "at"): "x.at[index].add(-y)", ("multiply", "at"): "x.at[index].multiply(y)",
}
_RENAMED = {"clip": {"a_min": "min", "a_max": "max"}, "reshape": {"newshape": "shape"}}
_WITHOUT_MEANING = {"out": None, "order": "K", "subok": True, "casting": "same_kind", "like": None, "initial": None}
"""Keyword arguments that are left out where they have this value, or for ``order`` and ``subok`` any value."""
_TAKE_NESTED_LISTS = {"block", "einsum"}
_ON_VALUES = {np.save, np.savez, np.savez_compressed, np.savetxt, np.array2string, np.shares_memory,
              np.may_share_memory}
"""Functions about memory, text and files: they get the arrays as NumPy arrays, which traced values are not."""


def register(module: ModuleType, functions: Mapping[str, Callable]) -> None:
    """Makes functions the counterparts of the functions and ufuncs of a NumPy module that have their names."""
    for name, function in functions.items():
        original = getattr(module, name, None)
        if callable(original) and not isinstance(original, type):
            _COUNTERPARTS[original] = function


def array_ufunc(self: Any, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """``np.sin(x)``, and ``ndarray * x``: calls of NumPy's elementwise functions."""
    inputs = tuple([x if isinstance(x, _OPERANDS) else _as_operand(x) for x in inputs])
    if any(x is None for x in inputs):
        return NotImplemented
    name = ufunc.__name__
    if method != "__call__":
        raise TypeError(message(f"np.{name}.{method} has no counterpart for arrays of funcgrad", None, None,
                                _METHODS_OF_UFUNCS.get((name, method), "the functions of funcgrad.numpy")))
    function = _COUNTERPARTS.get(ufunc)
    if function is None:
        raise _unknown(f"np.{name}" if getattr(np, name, None) is ufunc else name)
    out = kwargs.pop("out", None)
    if out is not None and any(x is not None for x in out):
        raise TypeError(message(f"np.{name}: the result cannot be written into an array (out=..., or x += y)",
                                "an array to write to", "arrays are immutable", "x = x + y instead of x += y"))
    harmless = {"where": True, "dtype": None}
    unsupported = [k for k, v in kwargs.items()
                   if k not in ("casting", "order", "subok") and not (k in harmless and v is harmless[k])]
    if unsupported:
        raise TypeError(message(f"np.{name}: an argument is not supported for arrays of funcgrad",
                                ", ".join(unsupported), None, "fnp.where(mask, ..., ...), x.astype(dtype)"))
    return function(*inputs)


def array_function(self: Any, func: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
    """``np.concatenate([x, y])``: calls of NumPy's other functions."""
    name = func.__name__
    if func in _ON_VALUES:
        return func(*[_as_numpy(x) for x in args], **{k: _as_numpy(x) for k, x in kwargs.items()})
    function = _COUNTERPARTS.get(func)
    if function is None:
        raise _unknown(f"{(func.__module__ or 'numpy').replace('numpy', 'np', 1)}.{name}")
    renamed = _RENAMED.get(name, {})
    kept = {renamed.get(k, k): v for k, v in kwargs.items() if v is not np._NoValue and not _is_default(k, v)}
    if name not in _TAKE_NESTED_LISTS:
        args, kept = tuple([_without_lists(x) for x in args]), {k: _without_lists(v) for k, v in kept.items()}
    return function(*args, **kept)


def _as_operand(x: Any) -> Any:
    """A list of numbers, or a foreign array without a protocol of its own, as an ndarray; None for anything else."""
    if isinstance(x, list | tuple) or hasattr(x, "__array__") and not hasattr(x, "__array_ufunc__"):
        return np.asarray(x)
    return None


def _without_lists(x: Any) -> Any:
    """An argument in which lists of numbers and foreign arrays, at most one list deep, are ndarrays."""
    if isinstance(x, _OPERANDS) or x is None:
        return x
    if isinstance(x, list) and x and {*map(type, leaves(x))} <= dtypes.PYTHON_SCALARS.keys():
        return np.asarray(x)
    if type(x) in (list, tuple):
        return type(x)([_without_lists(v) for v in x])
    return np.asarray(x) if hasattr(x, "__array__") and not isinstance(x, type) else x


def _is_default(name: str, value: Any) -> bool:
    if name not in _WITHOUT_MEANING:
        return False
    if name == "subok":
        return True
    default = _WITHOUT_MEANING[name]
    return value is None if default is None else value is None or isinstance(value, str) and value == default


def _as_numpy(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, Array) else x


def _unknown(name: str) -> TypeError:
    return TypeError(message(f"{name} has no funcgrad counterpart", "a call with an array of funcgrad", None,
                             f"{name} of np.asarray(x), outside of transformations"))


PROTOCOLS = {"__array_ufunc__": array_ufunc, "__array_function__": array_function}
"""What ``Array`` gets from here; ``funcgrad.numpy`` installs it."""
