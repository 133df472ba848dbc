"""Vector quantisation: observations are assigned to the nearest code, as in jax.scipy.cluster.vq.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.cluster.vq
    >>> funcgrad.scipy.cluster.vq.vq(fnp.array([[0., 1.], [5., 5.]]), fnp.array([[0., 0.], [5., 5.]]))
    (Array([0, 1], dtype=int64), Array([1., 0.], dtype=float64))
"""
from __future__ import annotations

from typing import Any

from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.ops.promotion import inexact_arg


def vq(obs: Any, code_book: Any, check_finite: bool = True) -> tuple[Any, Any]:
    """For each observation the index of the nearest code, and its distance, whose gradient is zero where it is zero.

    Args:
      obs: observations (m, n), or (m,) for numbers.
      code_book: codes (k, n), or (k,) for numbers.
      check_finite: accepted for compatibility.

    Returns the indices (m,) and the Euclidean distances (m,). Raises ValueError for other shapes.
    """
    x, codes = [fnp.asarray(inexact_arg("vq", v)) for v in (obs, code_book)]
    if len(x.shape) != len(codes.shape) or len(x.shape) not in (1, 2) or x.shape[1:] != codes.shape[1:] or not codes.size:
        raise ValueError(message("vq: the observations and the codes do not fit", f"{describe(x)} and {describe(codes)}",
                                 "shapes (m, n) and (k, n), or (m,) and (k,)"))
    x, codes = x.reshape(x.shape[0], -1), codes.reshape(codes.shape[0], -1)
    index = fnp.argmin(fnp.sum((x[:, None] - codes) ** 2, axis=-1), axis=-1)
    square = fnp.sum((x - codes[index]) ** 2, axis=-1)
    apart = square > 0
    return index, fnp.where(apart, fnp.sqrt(fnp.where(apart, square, 1)), 0)
