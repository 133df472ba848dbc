"""``jet``: a curve's derivatives in, those of its image out; as ``jax.experimental.jet``.

    jet(f, (x,), ([x', x'', x'''],))    ->    f(x), [y', y'', y''']
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from funcgrad.core.array import aval_of
from funcgrad.errors import message
from funcgrad.transforms.arguments import flatten_args, leaf_paths
from funcgrad.transforms.derivatives import check_callable, check_like
from funcgrad.transforms.taylor import derivatives
from funcgrad.tree import tree_unflatten


def jet(fun: Callable, primals: Sequence[Any], series: Sequence[Sequence[Any]], factorial_scaled: bool = True) -> tuple:
    """``(fun(*primals), series of the result)``: fun along the curve that the primals and the series describe.

    Args:
      fun: a function of arrays or trees.
      primals: a tuple with the value of each argument.
      series: for each argument a list with the first, second, ... derivative of its curve, all lists of one length k;
        each derivative is a tree like its argument.
      factorial_scaled: the i-th entry of a series is the i-th derivative; if False, it is the i-th derivative divided by i!,
        the Taylor coefficient.

    Each leaf of the second result is a list of k derivatives. Raises ValueError for series of different lengths or of another
    structure than the primals, TypeError for other shapes and dtypes.

    >>> import funcgrad.numpy as fnp
    >>> from funcgrad.experimental.jet import jet
    >>> y, (y1, y2) = jet(fnp.sin, (0.0,), ([1.0, 0.0],))
    >>> float(y), float(y1), float(y2)
    (0.0, 1.0, 0.0)
    """
    check_callable(fun, "jet")
    orders = {len(terms) for terms in series}
    if len(series) != len(primals) or len(orders) != 1:
        raise ValueError(message("jet: every argument needs a series, all of one length",
                                 f"{len(primals)} primals, series of lengths {[len(terms) for terms in series]}",
                                 "one list of k derivatives for each primal"))
    order, = orders
    leaves, tree = flatten_args(fun, tuple(primals), "jet")
    avals, paths = [aval_of(x) for x in leaves], leaf_paths(fun, primals)
    columns = [check_like(fun, f"jet: the series (entry {i})", tuple([terms[i] for terms in series]), tree, avals, paths)
               for i in range(order)]
    outs, out_series, out_tree = derivatives(fun, "jet", leaves, tree, list(zip(*columns, strict=True)) or [()] * len(leaves),
                                             order, factorial_scaled)
    return tree_unflatten(out_tree, outs), tree_unflatten(out_tree, out_series)
