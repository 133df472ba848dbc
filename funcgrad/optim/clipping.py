"""Updates that are held within bounds: by value, by the norm of a leaf, by the norm of all.

In: a bound. Out: gradient transformations (``base.py``) that belong before the optimiser in a chain.

    >>> clip = clip_by_global_norm(1.0)
    >>> updates, _ = clip.update({"w": fnp.array([3.0, 0.0]), "b": fnp.array(4.0)}, clip.init(None))
    >>> updates
    {'w': Array([0.6, 0. ], dtype=float64), 'b': Array(0.8, dtype=float64)}
"""
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import dtypes, tree
from funcgrad.errors import message
from funcgrad.optim.base import GradientTransformation, at_least_zero, each, needed, square, stateless


class ZeroNansState(NamedTuple):
    """For each leaf whether the last update had a NaN."""

    found_nan: Any


def _check_bound(what: str, value: Any) -> None:
    at_least_zero(what, value, "a positive number, such as 1.0")


def clip(max_delta: Any) -> GradientTransformation:
    """Each element clipped to ``-max_delta ... max_delta``."""
    _check_bound("max_delta of clip", max_delta)
    return stateless(lambda updates, params: tree.map(lambda g: fnp.clip(g, -max_delta, max_delta), updates))


def clip_by_norm(max_norm: Any) -> GradientTransformation:
    """Each leaf scaled down to a 2-norm of ``max_norm`` if it has a larger one."""
    _check_bound("max_norm of clip_by_norm", max_norm)
    return stateless(lambda updates, params: tree.map(lambda g: _at_most(g, global_norm(g), max_norm), updates))


def clip_by_global_norm(max_norm: Any) -> GradientTransformation:
    """All leaves scaled down by one factor so that the 2-norm of all elements is at most ``max_norm``.

    Pascanu et al. 2012, arXiv:1211.5063.
    """
    _check_bound("max_norm of clip_by_global_norm", max_norm)

    def clipped(updates: Any, params: Any) -> Any:
        norm = global_norm(updates)
        return tree.map(lambda g: _at_most(g, norm, max_norm), updates)

    return stateless(clipped)


def _at_most(g: Any, norm: Any, max_norm: Any) -> Any:
    fits, wide = norm < max_norm, _wide(g)
    clipped = wide / fnp.where(fits, 1, norm).astype(wide.dtype) * fnp.asarray(max_norm, wide.dtype)
    return fnp.where(fits, g, clipped.astype(g.dtype))  # the norm may be too large for a float16


def clip_by_block_rms(threshold: Any) -> GradientTransformation:
    """Each leaf scaled down to a root mean square of ``threshold`` if it has a larger one."""
    _check_bound("threshold of clip_by_block_rms", threshold)

    def clipped(g: Any) -> Any:
        return _divided(g, fnp.maximum(1.0, global_norm(g) / max(g.size, 1) ** 0.5 / threshold))

    return stateless(lambda updates, params: tree.map(clipped, updates))


def adaptive_grad_clip(clipping: Any, eps: Any = 1e-3, axis: int | tuple[int, ...] | None = None) -> GradientTransformation:
    """The gradient of each unit scaled down to ``clipping`` times the norm of the unit's parameters (at least eps).

    The axes of a unit are all but the last, or ``axis``; a vector is one unit. Brock et al. 2021, arXiv:2102.06171. Raises
    ValueError for arrays of more than five axes without ``axis``.
    """
    _check_bound("clipping of adaptive_grad_clip", clipping)

    def clipped(g: Any, p: Any) -> Any:
        size, least = _unit_norm(g, axis), clipping * fnp.maximum(_unit_norm(p, axis), eps)
        return fnp.where(size < least, g, g * (least / fnp.maximum(size, 1e-6)))

    return stateless(lambda updates, params: each(clipped, updates, needed(params, "adaptive_grad_clip")))


def _unit_norm(x: Any, axis: Any) -> Any:
    if axis is None:
        if x.ndim > 5:
            raise ValueError(message("optim.adaptive_grad_clip: which axes are a unit is not known",
                                     f"a parameter of shape {x.shape}", "at most 5 axes",
                                     "adaptive_grad_clip(clipping, axis=...)"))
        long = sum([n > 1 for n in x.shape])
        axis = None if long <= 1 else (0,) if x.ndim <= 3 else tuple(range(x.ndim - 1))
    total = fnp.sum(square(x), axis=axis, keepdims=True)
    some = total > 0
    return fnp.where(some, fnp.sqrt(fnp.where(some, total, 1)), 0)


def normalize_by_update_norm(scale_factor: Any = 1.0, eps: Any = 1e-6) -> GradientTransformation:
    """The updates divided by their global norm plus eps, times ``scale_factor``."""
    def normal(updates: Any, params: Any) -> Any:
        size = (global_norm(updates) + eps) / scale_factor
        return tree.map(lambda g: _divided(g, size), updates)

    return stateless(normal)


def global_norm(updates: Any) -> Any:
    """The 2-norm of all elements of a tree, in float32 or more; its derivative at zero is zero.

    >>> global_norm({"w": fnp.array([3.0, 0.0]), "b": fnp.array(4.0)})
    Array(5., dtype=float64)
    """
    total = fnp.asarray(sum([fnp.sum(square(_wide(fnp.asarray(x)))) for x in tree.leaves(updates)], 0.0))
    some = total > 0
    return fnp.where(some, fnp.sqrt(fnp.where(some, total, 1)), total)


def _divided(g: Any, size: Any) -> Any:
    """g / size in the dtype of g. The size may be too large for a float16, and would make everything 0."""
    wide = _wide(g)
    return (wide / size.astype(wide.dtype)).astype(g.dtype)


def _wide(x: Any) -> Any:
    """At least float32: squares of float16 overflow from 256 on."""
    return x.astype(np.float32) if dtypes.is_inexact(x.dtype) and x.dtype.itemsize < 4 else x


def zero_nans() -> GradientTransformation:
    """NaNs become zero; the state says in which leaves there were some."""

    def update(updates: Any, state: ZeroNansState, params: Any = None) -> tuple[Any, ZeroNansState]:
        nans = tree.map(fnp.isnan, updates)
        return tree.map(lambda g, n: fnp.where(n, 0, g), updates, nans), ZeroNansState(tree.map(fnp.any, nans))

    return GradientTransformation(lambda params: ZeroNansState(tree.map(lambda p: fnp.asarray(False), params)), update)


def keep_params_nonnegative() -> GradientTransformation:
    """Updates that would make a parameter negative make it zero instead; belongs at the end of a chain."""
    return stateless(lambda updates, params: each(lambda u, p: fnp.where(p + u < 0, -p, u), updates,
                                                  needed(params, "keep_params_nonnegative")))
