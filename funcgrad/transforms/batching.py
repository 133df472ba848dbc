"""The public ``vmap``: axes of arguments and results as trees, checked with the user's names.

    >>> import funcgrad as fg, funcgrad.numpy as fnp
    >>> fg.vmap(lambda x, y: x * y, in_axes=(0, None))(fnp.arange(3.), 2.)
    Array([0., 2., 4.], dtype=float64)
"""
from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.core.array import describe
from funcgrad.core.trace import current_trace, plainly
from funcgrad.errors import message
from funcgrad.ops.structural import moveaxis
from funcgrad.transforms.arguments import FlatFunction, flatten_args, function_name, leaf_paths, wraps
from funcgrad.transforms.derivatives import check_callable, quiet
from funcgrad.transforms.vmap import Axis, broadcast_batch, map_flat, vmap_flat
from funcgrad.tree import broadcast_prefix, tree_leaves, tree_structure, tree_unflatten


def vmap(fun: Callable, in_axes: Any = 0, out_axes: Any = 0, axis_name: Any = None, axis_size: int | None = None,
         spmd_axis_name: Any = None) -> Callable:
    """A function that applies fun to every example of a batch at once.

    Args:
      fun: a function of one example.
      in_axes: for each positional argument the axis along which its examples lie, or None if all share it; an integer
        for all arguments alike, or a tuple whose entries may be trees that are prefixes of the arguments. Negative axes
        count from the end. Keyword arguments are mapped along axis 0.
      out_axes: the same for the results; None only for results that do not depend on the example.
      axis_name: a name for the mapped axis, for ``lax.psum`` and its kin.
      axis_size: the size of the batch; needed only when no argument is mapped.
      spmd_axis_name: accepted for compatibility with programs for several devices; it must be None.

    Raises ValueError when mapped sizes differ or an axis is out of range, TypeError when in_axes is no prefix.
    """
    check_callable(fun, "vmap")
    if spmd_axis_name is not None:
        raise ValueError("vmap: spmd_axis_name needs several devices, which funcgrad does not use; leave it out")
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if not isinstance(in_axes, (int, tuple, dict, type(None), np.integer)):
        raise TypeError(message("vmap: in_axes must be an int, None, or a tuple of entries one for each argument",
                                describe(in_axes)))

    @wraps(fun, "vmap")
    def vmap_fun(*args: Any, **kwargs: Any) -> Any:
        if isinstance(in_axes, tuple) and len(in_axes) != len(args):
            raise ValueError(message(f"vmap: in_axes does not fit the call of {function_name(fun)}", f"in_axes of length "
                                     f"{len(in_axes)} for {len(args)} positional arguments", "one entry an argument"))
        flat_args, tree = flatten_args(fun, args, "vmap", kwargs)
        paths = leaf_paths(fun, args, kwargs)
        axes = _flat_axes("in_axes", in_axes, args, fun) + [0] * (len(flat_args) - tree_structure(args).num_leaves)
        axes = [_checked_axis(x.shape, d, path, fun) for x, d, path in zip(flat_args, axes, paths, strict=True)]
        size = _batch_size(fun, flat_args, axes, paths, axis_size)
        flat = FlatFunction(lambda a, k: fun(*a, **k), tree, "vmap")
        flat.function.__name__ = function_name(fun)
        with quiet():
            one_by_one = plainly.on() and None not in tree_leaves(out_axes, lambda x: x is None)  # a batch knows what is shared
            outs, places = (map_flat if one_by_one else vmap_flat)(flat, Axis(size, axis_name), flat_args, axes)
            wanted = _out_axes(out_axes, flat.out_tree, outs, fun)
            results = [_place(out, d, want, size, fun) for out, d, want in zip(outs, places, wanted, strict=True)]
        return tree_unflatten(flat.out_tree, results)

    return vmap_fun


def _flat_axes(what: str, axes: Any, tree: Any, fun: Callable) -> list[int | None]:
    """One axis a leaf, from a prefix of the tree whose leaves are ints and None."""
    try:
        return broadcast_prefix(axes, tree, is_leaf=lambda x: x is None)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(message(f"vmap: {what} of {function_name(fun)} is no prefix of the values it is for", error,
                                 "an int or None for each, or a tree of them with the same containers")) from None


def _checked_axis(shape: tuple[int, ...], axis: Any, path: str, fun: Callable) -> int | None:
    if axis is None:
        return None
    try:
        d = operator.index(axis)
    except TypeError:
        raise TypeError(message(f"vmap: in_axes of {function_name(fun)} must hold ints and None",
                                f"{describe(axis)} for {path}")) from None
    if not -len(shape) <= d < len(shape):
        raise ValueError(message(
            f"vmap: an axis of {function_name(fun)} is out of range", f"axis {d} for {path}, which has shape {shape}",
            f"an axis from {-len(shape)} to {len(shape) - 1}" if shape else "an array with an axis to map",
            "in_axes with None for arguments that all examples share"))
    return d % len(shape)


def _batch_size(fun: Callable, values: list[Any], axes: list[int | None], paths: list[str], given: int | None) -> int:
    sizes = [(x.shape[d], path, d) for x, d, path in zip(values, axes, paths, strict=True) if d is not None]
    if not sizes and given is None:
        raise ValueError(message(f"vmap: no argument of {function_name(fun)} is mapped", "in_axes holds only None",
                                 "at least one mapped axis", "axis_size=n"))
    counts = Counter(n for n, _, _ in sizes)
    if given is not None:
        counts[given] += len(sizes) + 1
    size = counts.most_common(1)[0][0]
    if len(counts) > 1:
        odd = "; ".join(f"{path} has size {n} along axis {d}" for n, path, d in sizes if n != size)
        most = "axis_size" if given is not None else ", ".join(path for n, path, _ in sizes if n == size)
        raise ValueError(message(f"vmap: the mapped axes of {function_name(fun)} have different sizes",
                                 f"{odd}; most have size {size} ({most})", "one size for all mapped axes",
                                 "in_axes with None for arguments that are not mapped, or another axis"))
    return size


def _out_axes(axes: Any, tree: Any, outs: list[Any], fun: Callable) -> list[Any]:
    dummy = tree_unflatten(tree, list(range(tree.num_leaves)))
    return _flat_axes("out_axes", axes, dummy, fun)


def _place(out: Any, d: int | None, want: Any, size: int, fun: Callable) -> Any:
    """The result with its batch axis where it is wanted."""
    if want is None:
        if d is not None:
            raise ValueError(message(f"vmap: a result of {function_name(fun)} depends on the example, but out_axes says None",
                                     describe(out), "a result that is the same for all examples",
                                     "out_axes=0, or reduce over the mapped axis"))
        return out
    ndim = len(out.shape) + (d is None)
    if not -ndim <= want < ndim:
        raise ValueError(message(f"vmap: an entry of out_axes of {function_name(fun)} is out of range",
                                 f"{want} for a result with {ndim} axes", f"{-ndim} to {ndim - 1}"))
    x, d = (broadcast_batch(out, size), 0) if d is None else (out, d)
    return moveaxis(x, d, want % ndim)


def axis_size_of(name: Any) -> int:
    """The size of the mapped axis of this name. Raises NameError when no surrounding vmap has it."""
    size = current_trace.get().axis_size(name)
    if size is None:
        raise NameError(message(f"no surrounding vmap has the axis name {name!r}", None, "fg.vmap(f, axis_name=...)"))
    return size
