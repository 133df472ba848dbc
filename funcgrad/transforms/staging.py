"""Looking at functions as programs: make_jaxpr, eval_shape, closure_convert.

In: a user's function with arguments, or only their shapes. Out: jaxprs and types; nothing is computed.

    >>> import funcgrad as fg
    >>> fg.make_jaxpr(lambda x: x * 2.0)(1.0)
    { lambda ; a:f64[]. let b:f64[] = mul a 2.0:f64[] in (b,) }
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import Array, CudaArray, DeviceArray, on_device
from funcgrad.core.device import CPU
from funcgrad.core.jaxpr import Jaxpr
from funcgrad.core.stage import as_value, eval_jaxpr, stage, typed
from funcgrad.core.trace import EVAL, current
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import message
from funcgrad.transforms.arguments import FlatFunction, flatten_args, function_name, wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.tree import tree_flatten, tree_unflatten


class ShapeDtypeStruct:
    """The shape and dtype of an array, without its values. Both are attributes; ``weak_type`` is one too."""

    __slots__ = ("shape", "dtype", "weak_type")

    def __init__(self, shape: Sequence[int], dtype: Any, weak_type: bool = False):
        self.shape: Shape = tuple(shape)
        self.dtype = dtypes.as_dtype(dtype)
        self.weak_type = weak_type

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=int))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShapeDtypeStruct) and (self.shape, self.dtype, self.weak_type) == (
            other.shape, other.dtype, other.weak_type)

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype, self.weak_type))

    def __repr__(self) -> str:
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype.name}" + (
            ", weak_type=True)" if self.weak_type else ")")


def abstract(x: Any) -> ShapedArray:
    """The type of an argument: an array, a number, or anything with shape and dtype."""
    if not isinstance(x, (Array, np.ndarray, np.generic)) and hasattr(x, "shape") and hasattr(x, "dtype"):
        return shaped_array(tuple(x.shape), dtypes.as_dtype(x.dtype), getattr(x, "weak_type", False))
    return typed(as_value(x).aval)


def make_jaxpr(fun: Callable, static_argnums: int | Sequence[int] = (), return_shape: bool = False) -> Callable:
    """A function of fun's arguments that returns the jaxpr of fun instead of its result.

    With ``return_shape`` it returns ``(jaxpr, tree of ShapeDtypeStruct)``. Arguments may be ShapeDtypeStructs.
    """
    check_callable(fun, "make_jaxpr")
    static = {static_argnums} if isinstance(static_argnums, int) else set(static_argnums)

    @wraps(fun, "make_jaxpr")
    def make(*args: Any, **kwargs: Any) -> Any:
        static_at = {i % len(args) for i in static}
        dynamic = [x for i, x in enumerate(args) if i not in static_at]

        def of_dynamic(*xs: Any, **kw: Any) -> Any:
            rest = iter(xs)
            return fun(*[x if i in static_at else next(rest) for i, x in enumerate(args)], **kw)

        of_dynamic.__name__ = function_name(fun)
        jaxpr, out_tree = _trace(of_dynamic, tuple(dynamic), kwargs, "make_jaxpr")
        return (jaxpr, _structs(jaxpr, out_tree)) if return_shape else jaxpr

    return make


def stage_call(fun: Callable, args: tuple, kwargs: dict, where: str, instead: str) -> tuple[Jaxpr, list[Array], Any]:
    """The program of a call whose arguments have values, those values, and the tree of its results.

    For tools that run a program step by step or write it down, which they do on the CPU. Raises TypeError, in the name of ``where``, for values that a
    surrounding transformation traces.
    """
    leaves, in_tree = flatten_args(fun, args, where, kwargs)
    flat = FlatFunction(lambda a, k: fun(*a, **k), in_tree, where)
    with quiet():
        jaxpr, captured = stage(flat, [x.aval for x in leaves], function_name(fun), where)
    if captured or not all(isinstance(x, DeviceArray) for x in leaves):
        raise TypeError(message(f"{where}: a value is traced by a surrounding transformation", None, "arrays",
                                f"{where} outside of all transformations: {instead}"))
    if any([type(x) is CudaArray for x in (*leaves, *jaxpr.consts)]):
        jaxpr = jaxpr.replace(consts=tuple(map(_on_cpu, jaxpr.consts)))
        leaves = list(map(_on_cpu, leaves))
    return jaxpr, leaves, flat.out_tree


def _on_cpu(x: Any) -> Any:
    return on_device(x, CPU) if isinstance(x, DeviceArray) else x


def eval_shape(fun: Callable, *args: Any, **kwargs: Any) -> Any:
    """The shapes and dtypes of ``fun(*args, **kwargs)`` as a tree of ShapeDtypeStruct, without computing anything.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.eval_shape(fnp.dot, fg.ShapeDtypeStruct((5, 3), "float32"), fg.ShapeDtypeStruct((3,), "float32"))
    ShapeDtypeStruct(shape=(5,), dtype=float32)
    """
    check_callable(fun, "eval_shape")
    return _structs(*_trace(fun, args, kwargs, "eval_shape"))


def _trace(fun: Callable, args: tuple, kwargs: dict, what: str) -> tuple[Jaxpr, Any]:
    leaves, tree = tree_flatten((args, kwargs))
    if not all(hasattr(x, "shape") and hasattr(x, "dtype") for x in leaves):
        flatten_args(fun, args, what)  # raises with the path of what is neither array nor number
    flat = FlatFunction(lambda a, k: fun(*a, **k), tree, what)
    with quiet():
        jaxpr, _ = stage(flat, [abstract(x) for x in leaves], function_name(fun), what)
    return jaxpr, flat.out_tree


def _structs(jaxpr: Jaxpr, out_tree: Any) -> Any:
    return tree_unflatten(out_tree, [ShapeDtypeStruct(a.shape, a.dtype, a.weak_type) for a in jaxpr.out_avals])


def closure_convert(fun: Callable, *example_args: Any) -> tuple[Callable, list[Any]]:
    """``(converted, consts)`` with ``converted(*args, *consts) == fun(*args)``.

    ``consts`` are the traced values that fun closes over, now explicit, so that a custom rule may differentiate them.
    """
    leaves, tree = flatten_args(fun, example_args, "closure_convert")
    flat = FlatFunction(fun, tree, "closure_convert")
    jaxpr, captured = stage(flat, [x.aval for x in leaves], function_name(fun), "closure_convert")

    def converted(*args_and_consts: Any) -> Any:
        count = len(example_args)
        args, consts = args_and_consts[:count], args_and_consts[count:]
        return tree_unflatten(flat.out_tree, eval_jaxpr(jaxpr, [*consts, *[as_value(x) for x in tree_flatten(args)[0]]]))

    return converted, list(captured)


@contextmanager
def ensure_compile_time_eval() -> Iterator[None]:
    """Inside, operations on concrete values are computed at once, even while a function is being traced."""
    with current(EVAL):
        yield
