"""Piecewise functions whose pieces are computed only where they are selected.

In: a condition or an index for each element, functions of one element, and arrays. Out: arrays. An element that is not
selected does not reach the function at all, so neither its value nor a derivative of any order can be NaN there, which
``where(x > 0, f(x), 0)`` cannot promise: its derivative multiplies a zero with whatever f'(x) is.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> root = lambda x: piecewise(x > 0, fnp.sqrt, 0.0, x)
    >>> root(fnp.array([4.0, 0.0, -1.0])), fg.grad(lambda x: fnp.sum(root(x)))(fnp.array([4.0, 0.0, -1.0]))
    (Array([2., 0., 0.], dtype=float64), Array([0.25, 0.  , 0.  ], dtype=float64))
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from funcgrad import dtypes
from funcgrad.control.cond import switch
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import broadcast_shape, to_array
from funcgrad.ops.structural import broadcast_to, convert_element_type, reshape
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.staging import ShapeDtypeStruct, eval_shape
from funcgrad.tree import tree_flatten, tree_map, tree_unflatten


def piecewise(condition: Any, f: Any, g: Any, *args: Any) -> Any:
    """``f(*args)`` where a condition holds and ``g(*args)`` elsewhere, element by element.

    Args:
      condition: an array of bool.
      f, g: functions of scalars, which return a scalar or a tree of scalars, or numbers.
      args: arrays, which are broadcast with condition.

    Returns an array, or a tree of arrays, of the common shape and dtype. f never sees an element for which condition is
    false, nor g one for which it is true: they see a selected one in its place, and are not called at all if there is none.
    Raises TypeError if the condition is not of bool or the structures of the two results differ.

    >>> import funcgrad.numpy as fnp
    >>> piecewise(fnp.array([True, False]), lambda x: 1 / x, lambda x: x, fnp.array([2.0, 0.0]))
    Array([0.5, 0. ], dtype=float64)
    """
    condition = to_array(condition)
    if condition.dtype != bool:
        raise TypeError(message("piecewise: the condition is not of bool", describe(condition), "bool[...]",
                                "a comparison such as x > 0"))
    return choose_each(convert_element_type(condition, int), (g, f), args)


def choose_each(index: Any, pieces: Sequence[Any], args: Sequence[Any]) -> Any:
    """``pieces[index](*args)`` for each element; a piece is a function of scalars or a number."""
    arrays = [to_array(x) for x in (index, *args)]
    shape = broadcast_shape("piecewise", *[x.shape for x in arrays])
    index, *arrays = [broadcast_to(x, shape) for x in arrays]
    size = index.size
    functions = _of_one_type([p if callable(p) else _always(p) for p in pieces], [reshape(x, (size,)) for x in arrays])
    flat = vmap(lambda i, *xs: switch(i, functions, *xs))(reshape(index, (size,)), *[reshape(x, (size,)) for x in arrays])
    return tree_map(lambda x: reshape(x, shape), flat)


def _always(number: Any) -> Callable:
    return lambda *_: to_array(number)


def _of_one_type(functions: Sequence[Callable], arrays: Sequence[Any]) -> list[Callable]:
    """The functions with their results promoted to common dtypes."""
    scalars = [ShapeDtypeStruct((), x.dtype, x.weak_type) for x in arrays]
    found = [tree_flatten(eval_shape(f, *scalars)) for f in functions]
    trees = [tree for _, tree in found]
    other = next((tree for tree in trees if tree != trees[0]), None)
    if other is not None:
        raise TypeError(message("piecewise: the pieces return different structures", f"{trees[0]} and {other}"))
    types = [functools.reduce(dtypes.join, [(x.dtype, x.weak_type) for x in leaves])
             for leaves in zip(*[leaves for leaves, _ in found], strict=True)]

    def promoted(f: Callable) -> Callable:
        def function(*xs: Any) -> Any:
            return tree_unflatten(trees[0], [convert_element_type(to_array(x), dtype, weak_type=weak) for x, (dtype, weak) in
                                             zip(tree_flatten(f(*xs))[0], types, strict=True)])

        return function

    return [promoted(f) for f in functions]
