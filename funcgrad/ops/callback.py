"""Callbacks: Python functions that a traced program calls on NumPy arrays while it runs.

In: a Python function, the types of its results, and arrays. Out: arrays of these types. A *pure* callback is an operation
like any other: it may be dropped, shared or repeated. One with *effects* is done once for each time the program comes to it,
in the order of the program. A debugging callback has effects and no results, so it changes no derivative.

    { lambda ; a:f64[3]. let b:f64[3] = pure_callback[function=j1 results=(f64[3],)] a in (b,) }
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, describe
from funcgrad.core.device import numpy_only
from funcgrad.core.primitive import NOT_LINEAR, Kind, No, Primitive
from funcgrad.core.trace import EVAL, current
from funcgrad.core.types import ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.ops.promotion import to_array
from funcgrad.ops.structural import broadcast_in_dim, moveaxis
from funcgrad.tree import keystr, tree_flatten, tree_flatten_with_path, tree_structure, tree_unflatten

VMAP_METHODS = ("sequential", "sequential_unrolled", "expand_dims", "broadcast_all", "legacy_vectorized")

# ---------------------------------------------------------------- user functions


def pure_callback(callback: Callable, result_shape_dtypes: Any, *args: Any, sharding: Any = None,
                  vmap_method: str | None = None, **kwargs: Any) -> Any:
    """Calls a Python function without side effects from a traced program.

    Args:
      callback: called with NumPy arrays (read-only) in the place of the arrays in args and kwargs; it returns a tree
        of arrays or numbers.
      result_shape_dtypes: a tree of values with ``shape`` and ``dtype``, such as ``fg.ShapeDtypeStruct((3,), "float32")``:
        what callback returns, exactly.
      args, kwargs: trees of arrays.
      sharding: accepted for compatibility.
      vmap_method: what ``vmap`` does. "sequential", the default, calls callback once for each example. "expand_dims" calls it
        once, with a leading axis of size 1 where an argument is not mapped, "broadcast_all" with the full leading axis
        everywhere, and "legacy_vectorized" with the arguments that are not mapped as they are; the results then have the
        leading axis.

    Returns a tree like result_shape_dtypes. The function has no derivative: ``fg.custom_jvp`` or ``fg.custom_vjp`` around
    the call gives it one. The program may call it never, if no result needs it, or more than once. Raises TypeError when
    the results are not what was promised.

    >>> import numpy as np
    >>> f = lambda x: pure_callback(lambda v: np.cumsum(v), fg.ShapeDtypeStruct(x.shape, x.dtype), x)
    >>> fg.jit(f)(fnp.arange(4.0))
    Array([0., 1., 3., 6.], dtype=float64)
    """
    if vmap_method is not None and vmap_method not in VMAP_METHODS:
        raise ValueError(message("pure_callback: the vmap_method is not known", repr(vmap_method), ", ".join(VMAP_METHODS)))
    return _call(pure_callback_p, "pure_callback", callback, result_shape_dtypes, args, kwargs, vmap_method or "sequential")


def io_callback(callback: Callable, result_shape_dtypes: Any, *args: Any, sharding: Any = None, ordered: bool = False,
                **kwargs: Any) -> Any:
    """Calls a Python function that may have side effects: once for each time that the program comes to it.

    The arguments are those of ``pure_callback``. All such calls happen in the order of the program, so ``ordered`` makes no
    difference. Under ``vmap`` the function is called once for each example, in their order.

    >>> seen = []
    >>> def f(x):
    ...     io_callback(lambda v: seen.append(float(v)), None, x)
    ...     return x * 2
    >>> fg.jit(f)(3.0), seen
    (Array(6., dtype=float64, weak_type=True), [3.0])
    """
    return _call(io_callback_p, "io_callback", callback, result_shape_dtypes, args, kwargs, "sequential")


def debug_callback(callback: Callable, *args: Any, ordered: bool = False, partitioned: bool = False, **kwargs: Any) -> None:
    """Calls a Python function for its side effect, with the values of the arrays in args and kwargs.

    Leaves that are no arrays, such as strings, are handed over as they are. Calls happen in the order of the program. Under
    ``vmap`` there is one call for each example; derivatives do not see it, and what ``checkpoint`` computes again does not
    call it again. What callback returns is not looked at.

    >>> fg.grad(lambda x: (debug_callback(print, "x is", x), x ** 2)[1])(3.0)
    x is 3.0
    Array(6., dtype=float64, weak_type=True)
    """
    _check_callable("debug.callback", callback)
    leaves, tree = tree_flatten((args, kwargs))
    traced = [i for i, x in enumerate(leaves) if isinstance(x, Array | np.ndarray | np.generic)]
    fixed = [None if i in traced else x for i, x in enumerate(leaves)]

    def function(*values: np.ndarray) -> tuple:
        filled = list(fixed)
        for i, value in zip(traced, values, strict=True):
            filled[i] = value
        positional, named = tree_unflatten(tree, filled)
        callback(*positional, **named)
        return ()

    debug_callback_p.bind(*[to_array(leaves[i]) for i in traced], function=_Function(_name(callback), function), results=())


def _call(primitive: Primitive, what: str, callback: Callable, result_shape_dtypes: Any, args: tuple, kwargs: dict,
          vmap_method: str) -> Any:
    _check_callable(what, callback)
    leaves, tree = tree_flatten((args, kwargs))
    wanted, out_tree = tree_flatten_with_path(result_shape_dtypes)
    results = tuple([_result_type(what, path, x) for path, x in wanted])

    def function(*values: np.ndarray) -> tuple:
        positional, named = tree_unflatten(tree, values)
        returned = callback(*positional, **named)
        found = tree_structure(returned)
        if found != out_tree:
            raise TypeError(message(f"{what}: the callback returned another structure", str(found), str(out_tree)))
        return tuple(tree_flatten(returned)[0])

    called = _Function(_name(callback), function, what, tuple([path for path, _ in wanted]))
    outs = primitive.bind(*[to_array(x) for x in leaves], function=called, results=results, vmap_method=vmap_method)
    return tree_unflatten(out_tree, outs)


def _check_callable(what: str, callback: Any) -> None:
    if not callable(callback):
        raise TypeError(message(f"{what}: the callback is no function", describe(callback), "a function of NumPy arrays"))


def _result_type(what: str, path: tuple, x: Any) -> ShapedArray:
    if not hasattr(x, "shape") or not hasattr(x, "dtype"):
        raise TypeError(message(f"{what}: the type of a result is missing", f"result{keystr(path)} is {describe(x)}",
                                "values with shape and dtype", "fg.ShapeDtypeStruct(shape, dtype)"))
    return shaped_array(tuple(x.shape), dtypes.as_dtype(x.dtype))


def _name(callback: Any) -> str:
    return getattr(callback, "__name__", type(callback).__name__)


# ---------------------------------------------------------------- the primitives


class _Function:
    """A function of NumPy arrays that returns a tuple of leaves, and how messages name it. Equal only to itself.

    ``paths`` tell where each result stands in the tree that the user's function returns.
    """

    def __init__(self, name: str, call: Callable[..., tuple], what: str = "debug.callback", paths: tuple = ()):
        self.__name__, self.call, self.what, self.paths = name, call, what, paths

    def __call__(self, args: Sequence[np.ndarray], results: Sequence[ShapedArray]) -> tuple:
        """The results as arrays of their own. Raises TypeError if they have other types than promised."""
        outs = []
        for path, x, aval in zip(self.paths, self.call(*args), results, strict=True):
            value = np.array(x, aval.dtype if type(x) in dtypes.PYTHON_SCALARS else None)
            if value.shape != aval.shape or value.dtype != aval.dtype:
                raise TypeError(message(
                    f"{self.what}: the callback returned another type than result_shape_dtypes says",
                    f"{shaped_array(value.shape, value.dtype)} for result{keystr(path)}", str(aval),
                    f"np.asarray(y, np.{aval.dtype})" if value.shape == aval.shape else "the shape that it returns"))
            outs.append(value if aval.shape else value[()])
        return tuple(outs)


made: ContextVar[list[tuple] | None] = ContextVar("made", default=None)
"""The results of the calls with effects that a compiled program made before it met an invalid operand."""
_replayed: ContextVar[list[tuple] | None] = ContextVar("replayed", default=None)


class replaying:  # noqa: N801  a context manager, named like one
    """Inside, calls with effects that have been made are not made again: their results are these, in their order."""

    def __init__(self, results: list[tuple] | None):
        self.results = results

    def __enter__(self) -> None:
        self.token = _replayed.set(list(self.results or ()))

    def __exit__(self, *exception: object) -> None:
        _replayed.reset(self.token)


_silent: ContextVar[bool] = ContextVar("silent", default=False)


@contextmanager
def silent() -> Iterator[None]:
    """Inside, what is run again to look at its values calls no debugging function again."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)


@numpy_only
def _impl(xp: Any, *args: Any, function: _Function, results: tuple, vmap_method: str = "") -> tuple:
    """The callback runs outside of all transformations."""
    values = []
    for x in args:
        value = np.asarray(x).view()
        value.flags.writeable = False
        values.append(value)
    with current(EVAL):
        return function(values, results)


@numpy_only
def _effect(xp: Any, *args: Any, results: tuple, **params: Any) -> tuple:
    if not results and _silent.get():
        return ()
    known = _replayed.get()
    return known.pop(0) if known else _impl(xp, *args, results=results, **params)


def _shape(*avals: ShapedArray, function: _Function, results: tuple, vmap_method: str = "") -> tuple:
    return results


def _batch(primitive: Callable[[], Primitive]) -> Callable:
    def batch(axis: Any, args: tuple, axes: tuple, *, function: _Function, results: tuple, **params: Any) -> tuple:
        method = params.get("vmap_method", "sequential")
        mapped = [d is not None for d in axes]
        moved = [x if d is None else moveaxis(x, d, 0) for x, d in zip(args, axes, strict=True)]
        if method in ("expand_dims", "broadcast_all"):
            size = axis.size if method == "broadcast_all" else 1
            moved = [x if m else broadcast_in_dim(x, (size, *x.shape), range(1, len(x.shape) + 1))
                     for x, m in zip(moved, mapped, strict=True)]
        wide = tuple([shaped_array((axis.size, *a.shape), a.dtype) for a in results])
        if method.startswith("sequential"):
            function = _Function(function.__name__, _one_by_one(function, mapped, axis.size, results), function.what,
                                 function.paths)
        outs = primitive().bind(*moved, function=function, results=wide, **params)
        return outs, (0,) * len(outs)

    return batch


def _one_by_one(function: _Function, mapped: Sequence[bool], size: int, results: Sequence[ShapedArray]) -> Callable:
    """The function on a batch: one call for each example."""
    def call(*args: np.ndarray) -> tuple:
        outs = [np.empty((size, *a.shape), a.dtype) for a in results]
        for i in range(size):
            values = function([x[i] if m else x for x, m in zip(args, mapped, strict=True)], results)
            for out, value in zip(outs, values, strict=True):
                out[i] = value
        return tuple(outs)

    return call


_NO_DERIVATIVE = No("a Python function has no derivative that could be known")
pure_callback_p = Primitive("pure_callback", Kind.OPAQUE, _shape, _impl, _NO_DERIVATIVE, NOT_LINEAR,
                            _batch(lambda: pure_callback_p), strong=True)
io_callback_p = Primitive("io_callback", Kind.OPAQUE, _shape, _effect, _NO_DERIVATIVE, NOT_LINEAR,
                          _batch(lambda: io_callback_p), strong=True, effect=True)


def _of_primals(primals: tuple, dots: tuple, **params: Any) -> tuple[tuple, tuple]:
    """In every forward mode: what is called sees the primals."""
    return debug_callback_p.bind(*primals, **params), ()


debug_callback_p = Primitive("debug_callback", Kind.OPAQUE, _shape, _effect, _of_primals, NOT_LINEAR,
                             _batch(lambda: debug_callback_p), _of_primals, strong=True, effect=True)
