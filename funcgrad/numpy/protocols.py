"""Plain NumPy code on Arrays: ``np.sin(x)`` and ``np.concatenate([x, y])`` call the functions of ``funcgrad.numpy``.

In: a NumPy function called with an Array or a tracer among its arguments. Out: what its counterpart gives, so it is
traced and differentiated like it. A function without a counterpart raises TypeError and says why; nothing is ever
computed on object arrays. The whole list stands in ``docs/numpy-coverage.md``.

    >>> import numpy as np, funcgrad.numpy as fnp
    >>> np.sin(fnp.zeros(2))
    Array([0., 0.], dtype=float64)
"""
from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.errors import message
from funcgrad.numpy.absent import EMATH, IN_PLACE, REASONS
from funcgrad.numpy.creation import asarray, leaves
from funcgrad.numpy.ufunc_methods import METHODS, at

_COUNTERPARTS: dict[Any, Callable] = {}
_NOT_YET_IMPORTED: dict[str, Callable[[], Mapping[str, Any]]] = {}
_OPERANDS = (Array, np.ndarray, np.generic, *dtypes.PYTHON_SCALARS)

_RENAMED = {np.clip: {"a_min": "min", "a_max": "max"}, np.reshape: {"newshape": "shape"},
            np.einsum: {"dtype": "preferred_element_type"}, np.nanvar: {"correction": "ddof"},
            np.nanstd: {"correction": "ddof"}}
_WITHOUT_MEANING = {"subok", "like", "casting", "overwrite_input", "writeable"}
"""Arguments that every function leaves out: subclasses, memory, and conversions that promotion makes anyway."""
_ORDERS_MEMORY = {np.array, np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray, np.copy, np.empty, np.zeros,
                  np.ones, np.full, np.empty_like, np.zeros_like, np.ones_like, np.full_like, np.einsum, np.eye}
"""Their argument ``order`` is about memory alone."""
_HOW_TO = {np.sort: "kind", np.argsort: "kind", np.partition: "kind", np.argpartition: "kind", np.isin: "kind"}
"""An argument that chooses the algorithm and not the result."""
_TAKE_NESTED_LISTS = {np.block, np.array, np.asarray, np.asanyarray}
_TAKE_SEQUENCES = {np.concatenate, np.stack, np.vstack, np.hstack, np.dstack, np.column_stack, np.select, np.choose, np.lexsort,
                   np.piecewise, np.histogram2d, np.histogramdd, np.ravel_multi_index, np.linalg.multi_dot, np.apply_over_axes}
"""Functions of which an argument is a sequence of arrays."""
ON_VALUES = {np.save, np.savez, np.savez_compressed, np.savetxt, np.array2string, np.shares_memory,
             np.may_share_memory, np.min_scalar_type}
"""Functions about memory, text and files: they get the arrays as NumPy arrays, which traced values are not."""


def register(module: ModuleType, functions: Mapping[str, Any]) -> None:
    """Makes functions the counterparts of the functions and ufuncs of a module that have their names."""
    for name, function in functions.items():
        original = getattr(module, name, None)
        if callable(original) and not isinstance(original, type):
            _COUNTERPARTS[original] = function


def register_later(module: str, functions: Callable[[], Mapping[str, Any]]) -> None:
    """As ``register``, for a module that is not to be imported for it: it is done when a ufunc has no counterpart and the
    user has imported the module. Then ``functions()`` gives the counterparts.
    """
    _NOT_YET_IMPORTED[module] = functions


def counterpart(original: Callable) -> Callable | None:
    """The function that is called in the place of one of NumPy's, or None."""
    function = _COUNTERPARTS.get(original)
    if function is None:
        for name in [m for m in _NOT_YET_IMPORTED if m in sys.modules]:
            register(sys.modules[name], _NOT_YET_IMPORTED.pop(name)())
            function = _COUNTERPARTS.get(original)
    return function


# ---------------------------------------------------------------- ufuncs


def array_ufunc(self: Any, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    """``np.sin(x)``, ``np.add.reduce(x)``, and ``ndarray * x``: calls of NumPy's elementwise functions."""
    name = ufunc.__name__
    if method == "at":
        at(ufunc)
    inputs = tuple([x if isinstance(x, _OPERANDS) else _as_operand(x) for x in inputs])
    if any(x is None for x in inputs):
        return NotImplemented
    function = counterpart(ufunc)
    if function is None:
        raise _unknown(f"np.{name}" if getattr(np, name, None) is ufunc else name, REASONS.get(name))
    out = kwargs.pop("out", None)
    if out is not None and any(x is not None for x in out):
        raise TypeError(message(f"np.{name}: the result cannot be written into an array (out=..., or x += y)",
                                "an array to write to", "arrays are immutable", "x = x + y instead of x += y"))
    if method in ("__call__", "outer"):
        if kwargs:
            inputs, kwargs = _with_options(ufunc, inputs, kwargs)
        return function(*inputs, **kwargs) if method == "__call__" else METHODS[method](ufunc, function, *inputs)
    given = {k: v for k, v in kwargs.items() if v is not np._NoValue and not (k == "where" and v is True)}
    return METHODS[method](ufunc, function, *inputs, **given)


def _with_options(ufunc: np.ufunc, inputs: tuple, options: dict) -> tuple[tuple, dict]:
    """The inputs converted to the argument ``dtype`` of a ufunc, and the arguments that the counterpart takes."""
    name, options = f"np.{ufunc.__name__}", dict(options)
    if options.pop("where", True) is not True:
        raise TypeError(message(f"{name}: where= leaves the other elements undefined", "a mask, and no array to write to",
                                None, f"fnp.where(mask, {name}(...), other)"))
    for harmless in ("casting", "order", "subok"):
        options.pop(harmless, None)
    dtype = options.pop("dtype", None)
    if dtype is not None:
        dtype = dtypes.as_dtype(dtype)
        answers = all(signature.endswith("->?") for signature in ufunc.types if "O" not in signature)
        if answers and dtype != np.bool_:
            raise TypeError(message(f"{name}: the result is made of bools", f"dtype={dtype.name}", "dtype=bool"))
        if not answers:
            inputs = tuple([_cast(name, x, dtype) for x in inputs])
    allowed = {"axis"} if ufunc.signature else set()
    refused = [k for k in options if k not in allowed]
    if refused:
        raise TypeError(message(f"{name}: an argument is not supported for arrays of funcgrad", ", ".join(refused), None,
                                "axes moved by fnp.moveaxis, x.astype(dtype)"))
    return inputs, options


def _cast(name: str, x: Any, dtype: np.dtype) -> Any:
    x = asarray(x)
    if not x.weak_type and not np.can_cast(x.dtype, dtype, "same_kind"):
        raise TypeError(message(f"{name}: an input cannot be converted to the argument dtype", describe(x),
                                f"a dtype of the kind of {dtype.name}", f"x.astype({dtype.name!r})"))
    return x.astype(dtype)


# ---------------------------------------------------------------- other functions


def array_function(self: Any, func: Callable, types: Any, args: tuple, kwargs: dict) -> Any:
    """``np.concatenate([x, y])``: calls of NumPy's other functions."""
    function = _COUNTERPARTS.get(func)
    if function is None or func in IN_PLACE:
        return _without_counterpart(func, args, kwargs)
    if func not in _TAKE_NESTED_LISTS and not (func is np.einsum and not isinstance(args[0], str)):
        of_arrays = func in _TAKE_SEQUENCES
        args = tuple([without_lists(x, of_arrays) for x in args])
        kwargs = {k: without_lists(v, of_arrays) for k, v in kwargs.items()}
    if not kwargs and len(args) <= _leading(func):
        return function(*args)
    positional, keywords = _translated(func, args, kwargs)
    accepted = keywords_of(function)
    refused = [] if accepted is None else [k for k in keywords if k not in accepted]
    if refused:
        what = ", ".join(f"{k}={describe(keywords[k])}" for k in refused)
        raise TypeError(message(f"{_path(func)}: an argument is not supported for arrays of funcgrad", what, "the arguments "
                                f"of fnp.{function.__name__}: {', '.join(sorted(accepted or ()))}"))
    return function(*positional, **keywords)


def _without_counterpart(func: Callable, args: tuple, kwargs: dict) -> Any:
    """What a function does that is computed by NumPy itself; for any other the TypeError with the reason."""
    if func in ON_VALUES:
        return func(*[_as_numpy(x) for x in args], **{k: _as_numpy(x) for k, x in kwargs.items()})
    if func in IN_PLACE:
        raise TypeError(message(f"{_path(func)}: arrays are immutable, so it cannot change its argument", None, None,
                                IN_PLACE[func]))
    raise _unknown(_path(func), EMATH if func.__module__ == np.emath.__name__ else REASONS.get(func.__name__))


def _path(func: Callable) -> str:
    """The name of a NumPy function as users write it."""
    return f"{(func.__module__ or 'numpy').replace('numpy', 'np', 1)}.{func.__name__}"


@functools.cache
def _leading(func: Callable) -> int:
    """How many arguments of a NumPy function its counterpart takes by position: those required, or only taken so."""
    parameters = parameters_of(func) or []
    return sum(p.kind is p.POSITIONAL_ONLY or p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)


def _translated(func: Callable, args: tuple, kwargs: dict) -> tuple[list, dict]:
    """The arguments of a NumPy function for its counterpart: those of ``_leading`` by position, the others by name,
    without those that have NumPy's default or no meaning here.
    """
    parameters, renamed, dropped = parameters_of(func), _RENAMED.get(func, {}), dropped_by(func)
    positional, given = list(args), dict(kwargs)
    if parameters is not None:
        given.update(zip([p.name for p in parameters], args))
        positional = [given.pop(p.name) for p in parameters[:_leading(func)] if p.name in given]
        defaults = {p.name: p.default for p in parameters}
        given = {k: v for k, v in given.items() if not _same(v, defaults.get(k))}
    return positional, {renamed.get(k, k): v for k, v in given.items()
                        if k not in dropped and v is not np._NoValue and not (k == "out" and v is None)}


@functools.cache
def dropped_by(func: Callable) -> set[str]:
    """The arguments of a NumPy function that its counterpart does without."""
    return {*_WITHOUT_MEANING, _HOW_TO.get(func, ""), "order" if func in _ORDERS_MEMORY else ""}


def not_taken(func: Callable) -> list[str]:
    """The arguments of a NumPy function that its counterpart refuses."""
    function, parameters = counterpart(func), parameters_of(func)
    accepted = None if function is None else keywords_of(function)
    if parameters is None or accepted is None:
        return []
    optional = [p.name for p in parameters if p.default is not p.empty and p.kind is not p.POSITIONAL_ONLY]
    return [k for k in optional if _RENAMED.get(func, {}).get(k, k) not in accepted and k not in dropped_by(func)]


@functools.cache
def parameters_of(func: Callable) -> list[inspect.Parameter] | None:
    """The parameters of a NumPy function; None where they are unknown, or any number can be given by position."""
    try:
        found = list(inspect.signature(func).parameters.values())
    except ValueError:
        return None
    return None if any(p.kind is p.VAR_POSITIONAL for p in found) else found


@functools.cache
def keywords_of(function: Callable) -> frozenset[str] | None:
    """The names of the arguments of a function, or None if it takes any."""
    found = inspect.signature(function).parameters.values()
    return None if any(p.kind is p.VAR_KEYWORD for p in found) else frozenset([p.name for p in found])


def _same(value: Any, default: Any) -> bool:
    return value is default or type(value) is type(default) and type(value) in (bool, int, float, str) and value == default


def _as_operand(x: Any) -> Any:
    """A list of numbers, or a foreign array without a protocol of its own, as an ndarray; None for anything else."""
    if isinstance(x, list | tuple):
        return asarray(x) if any(isinstance(v, Array) for v in leaves(x)) else np.asarray(x)
    return np.asarray(x) if hasattr(x, "__array__") and not hasattr(x, "__array_ufunc__") else None


def without_lists(x: Any, of_arrays: bool = False) -> Any:
    """An argument in which lists of numbers and of arrays are arrays, and foreign arrays are ndarrays.

    Tuples stay tuples, and so does the outer list where the function takes a sequence ``of_arrays``.
    """
    if isinstance(x, _OPERANDS) or x is None:
        return x
    if isinstance(x, list) and x:
        kinds = {*map(type, leaves(x))}
        if kinds <= dtypes.PYTHON_SCALARS.keys():
            return np.asarray(x)
        if not of_arrays and all(issubclass(kind, _OPERANDS) for kind in kinds):
            return asarray(x)
    if type(x) in (list, tuple):
        return type(x)([without_lists(v) for v in x])
    return np.asarray(x) if hasattr(x, "__array__") and not isinstance(x, type) else x


def _as_numpy(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, Array) else x


def _unknown(name: str, reason: str | None) -> TypeError:
    return TypeError(message(f"{name} has no funcgrad counterpart" + (f": {reason}" if reason else ""),
                             "a call with an array of funcgrad", None, f"{name} of np.asarray(x), outside of transformations"))


PROTOCOLS = {"__array_ufunc__": array_ufunc, "__array_function__": array_function}
"""What ``Array`` gets from here; ``funcgrad.numpy`` installs it."""
