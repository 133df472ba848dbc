"""Functions of functions: vectorize, apply_along_axis, apply_over_axes, piecewise, fromfunction.

In: Python functions and arrays. Out: arrays, or functions of arrays. The functions are called once, under ``vmap``,
instead of for every element.

    >>> import funcgrad.numpy as fnp
    >>> fnp.vectorize(fnp.dot, signature="(n),(n)->()")(fnp.ones((2, 3)), fnp.arange(3.))
    Array([3., 3.], dtype=float64)
"""
from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from funcgrad.control.piecewise import choose_each
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy.creation import arange, asarray
from funcgrad.numpy.manipulation import moveaxis
from funcgrad.numpy.selection import where
from funcgrad.ops import structural as s
from funcgrad.ops.promotion import broadcast_shape, unary_arg
from funcgrad.ops.reduction import as_axis
from funcgrad.transforms.batching import vmap


def apply_along_axis(func1d: Callable, axis: int, arr: Any, *args: Any, **kwargs: Any) -> Any:
    """``func1d(vector, *args, **kwargs)`` of every vector of arr along an axis, which its result replaces."""
    arr = unary_arg("apply_along_axis", arr)
    axis = as_axis("apply_along_axis", axis, len(arr.shape))

    def function(vector: Any) -> Any:
        return func1d(vector, *args, **kwargs)

    others = len(arr.shape) - 1
    for _ in range(others):
        function = vmap(function)
    out = function(s.moveaxis(arr, axis, others))
    count = len(out.shape) - others
    return moveaxis(out, range(others, others + count), range(axis, axis + count))


def apply_over_axes(func: Callable, a: Any, axes: Any) -> Any:
    """``func(a, axis)`` for one axis after the other; each result keeps the axis, or gets it back with size 1."""
    x = unary_arg("apply_over_axes", a)
    ndim = len(x.shape)
    for axis in [axes] if isinstance(axes, int | np.integer) else axes:
        axis = as_axis("apply_over_axes", axis, ndim)
        out = func(x, axis)
        x = out if len(out.shape) == ndim else s.expand_dims(out, (axis,))
        if len(x.shape) != ndim:
            raise ValueError(message("apply_over_axes: the function changed the number of axes", describe(out),
                                     f"{ndim} axes, or {ndim - 1}"))
    return x


def piecewise(x: Any, condlist: Any, funclist: Sequence[Any], *args: Any, **kw: Any) -> Any:
    """For each element of x the function (or number) of the last condition that is true there, in x's dtype.

    One function more than conditions is the default, which is otherwise 0. Functions take one element, and see no other
    element than those for which they are selected: see ``fg.piecewise``.

    >>> piecewise(fnp.array([-1.0, 0.0, 4.0]), [fnp.array([False, False, True])], [fnp.sqrt, -1.0])
    Array([-1., -1.,  2.], dtype=float64)
    """
    x = unary_arg("piecewise", x)
    conditions = list(condlist) if isinstance(condlist, list | tuple) else [condlist]
    if not isinstance(condlist, list | tuple) and len(condlist.shape) > len(x.shape):
        conditions = [condlist[i] for i in range(condlist.shape[0])]
    functions = list(funclist)
    if len(functions) == len(conditions) + 1:
        functions.insert(0, functions.pop())
    elif len(functions) == len(conditions):
        functions.insert(0, 0)
    else:
        raise ValueError(message("piecewise: conditions and functions do not match",
                                 f"{len(conditions)} conditions, {len(functions)} functions",
                                 "as many functions as conditions, or one more"))
    index: Any = 0
    for number, condition in enumerate(conditions, 1):
        index = where(condition, number, index)

    def piece(f: Any) -> Any:
        return (lambda v: s.convert_element_type(asarray(f(v, *args, **kw)), x.dtype)) if callable(f) else \
            s.convert_element_type(asarray(f), x.dtype)

    return choose_each(index, [piece(f) for f in functions], [x])


def fromfunction(function: Callable, shape: Any, *, dtype: Any = float, **kwargs: Any) -> Any:
    """The array whose element at (i, j, ...) is ``function(i, j, ...)``, which is called once, under ``vmap``."""
    shape = s.as_shape(shape)

    def call(*index: Any) -> Any:
        return function(*index, **kwargs)

    for i in reversed(range(len(shape))):
        call = vmap(call, in_axes=tuple([0 if j == i else None for j in range(len(shape))]))
    return call(*[arange(n, dtype=dtype) for n in shape])


# ---------------------------------------------------------------- vectorize

_NAMES = r"\(\s*(?:\w+(?:\s*,\s*\w+)*)?\s*\)"
_SIGNATURE = re.compile(rf"\s*{_NAMES}(?:\s*,\s*{_NAMES})*\s*->\s*{_NAMES}(?:\s*,\s*{_NAMES})*\s*")

Core = tuple[str, ...]


def vectorize(pyfunc: Callable, *, excluded: Collection[int | str] = frozenset(),
              signature: str | None = None) -> Callable:
    """A function that broadcasts its arguments and applies ``pyfunc`` to their elements, or to parts by a signature.

    Args:
      pyfunc: a function of scalars, or of arrays as the signature says.
      excluded: positions and names of arguments that are handed over as they are; arguments that are None always are.
      signature: as in NumPy, such as ``"(n,m),(m)->(n)"``: the axes of each argument and result.

    Raises TypeError where the arguments do not match the signature, ValueError for sizes that differ.
    """
    if any(not isinstance(e, str | int) for e in excluded):
        raise TypeError(message("vectorize: what is excluded must be positions and names", str(set(excluded))))
    if any(isinstance(e, int) and e < 0 for e in excluded):
        raise ValueError(message("vectorize: an excluded position is negative", str(set(excluded)), "positions >= 0"))
    cores = None if signature is None else _parsed(signature)

    @functools.wraps(pyfunc)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        fixed = {i for i, x in enumerate(args) if i in excluded or x is None}
        named = {k for k, x in kwargs.items() if k in excluded or x is None}
        free = [k for k in kwargs if k not in named]
        values = [unary_arg("vectorize", x) for i, x in enumerate(args) if i not in fixed] + \
                 [unary_arg("vectorize", kwargs[k]) for k in free]

        def call(*parts: Any) -> Any:
            given = iter(parts)
            positional = [x if i in fixed else next(given) for i, x in enumerate(args)]
            return pyfunc(*positional, **{k: kwargs[k] for k in named}, **dict(zip(free, given, strict=True)))

        inputs = [()] * len(values) if cores is None else cores[0]
        if len(inputs) != len(values):
            raise TypeError(message("vectorize: the number of arguments does not match the signature",
                                    f"{len(values)} arguments for {signature}"))
        return _broadcast_call(call, values, inputs, None if cores is None else cores[1])

    return vectorized


def _parsed(signature: str) -> tuple[list[Core], list[Core]]:
    """The names of the axes of each argument and of each result."""
    if not _SIGNATURE.fullmatch(signature):
        raise ValueError(message("vectorize: not a signature", repr(signature), "something like '(n,m),(m)->(n)'"))
    sides = [[tuple(re.findall(r"\w+", part)) for part in re.findall(_NAMES, side)] for side in signature.split("->")]
    return sides[0], sides[1]


def _broadcast_call(call: Callable, values: list[Any], inputs: list[Core], outputs: list[Core] | None) -> Any:
    sizes = _core_sizes(values, inputs)
    loops = [x.shape[:len(x.shape) - len(core)] for x, core in zip(values, inputs, strict=True)]
    shape = broadcast_shape("vectorize", *loops) if loops else ()

    def checked(*parts: Any) -> Any:
        out = call(*parts)
        if outputs is not None:
            _check_results(out, outputs, sizes)
        return out

    function: Callable = checked
    # From the last axis to the first; an axis that an argument does not have, or has with size 1, is not mapped.
    for axis in range(len(shape)):
        mapped = [axis < len(loop) and loop[len(loop) - 1 - axis] != 1 for loop in loops]
        if any(mapped):
            function = vmap(function, in_axes=tuple([0 if m else None for m in mapped]))
    squeezed = [s.reshape(x, [n for n in loop if n != 1] + list(x.shape[len(loop):]))
                for x, loop in zip(values, loops, strict=True)]
    out = function(*squeezed)
    missing = [i for i, n in enumerate(shape) if n == 1]
    if not missing:
        return out
    return tuple([s.expand_dims(x, missing) for x in out]) if isinstance(out, tuple) else s.expand_dims(out, missing)


def _core_sizes(values: list[Any], inputs: list[Core]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for i, (x, core) in enumerate(zip(values, inputs, strict=True)):
        if len(x.shape) < len(core):
            raise ValueError(message("vectorize: an argument has fewer axes than its signature", f"argument {i} is "
                                     f"{describe(x)}", f"at least the axes ({','.join(core)})"))
        for name, n in zip(core, x.shape[len(x.shape) - len(core):], strict=True):
            if sizes.setdefault(name, n) != n:
                raise ValueError(message("vectorize: an axis of the signature has two sizes",
                                         f"{name} is {sizes[name]} and, in argument {i}, {n}", "one size"))
    return sizes


def _check_results(out: Any, outputs: list[Core], sizes: dict[str, int]) -> None:
    results = out if isinstance(out, tuple) else (out,)
    if len(results) != len(outputs) or len(outputs) > 1 and not isinstance(out, tuple):
        raise TypeError(message("vectorize: the number of results does not match the signature",
                                f"{len(results)} results", f"{len(outputs)}, as a tuple if there are several"))
    known = dict(sizes)
    for x, core in zip(results, outputs, strict=True):
        shape = np.shape(x) if not hasattr(x, "shape") else x.shape
        if len(shape) != len(core) or any(known.setdefault(k, n) != n for k, n in zip(core, shape, strict=True)):
            raise ValueError(message("vectorize: a result does not match the signature", f"shape {tuple(shape)}",
                                     f"the axes ({','.join(core)}) with sizes {known}"))
