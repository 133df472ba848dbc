"""Functions of NumPy, or forms of them, that jax.numpy does not have, as counterparts for plain NumPy code.

In: what NumPy's functions take. Out: arrays. They have no names in ``funcgrad.numpy``.

    >>> import numpy as np, funcgrad.numpy as fnp
    >>> np.lib.stride_tricks.sliding_window_view(fnp.arange(4), 2)
    Array([[0, 1],
           [1, 2],
           [2, 3]], dtype=int64)
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import describe
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.numpy import selection
from funcgrad.numpy.creation import asarray
from funcgrad.numpy.manipulation import moveaxis
from funcgrad.numpy.rearranging import known
from funcgrad.numpy.selection import take
from funcgrad.ops.elementwise import real
from funcgrad.ops.promotion import unary_arg
from funcgrad.ops.reduction import as_axis


def sliding_window_view(x: Any, window_shape: Any, axis: Any = None) -> Any:
    """Every window of x of the sizes given along axes (all of them by default), as new last axes; not a view.

    Raises ValueError for a window larger than the array, or a number of sizes that is not that of the axes.
    """
    name = "sliding_window_view"
    x = unary_arg(name, x)
    sizes = tuple(window_shape) if np.iterable(window_shape) else (window_shape,)
    axes = tuple(range(len(x.shape))) if axis is None else tuple(axis) if np.iterable(axis) else (axis,)
    if len(sizes) != len(axes):
        raise ValueError(message(f"{name}: one size is needed for each axis", f"window_shape={sizes}, axis={axis} of "
                                 f"{describe(x)}"))
    for size, d in zip(sizes, axes, strict=True):
        d = as_axis(name, d, len(x.shape))
        if not 0 <= size <= x.shape[d]:
            raise ValueError(message(f"{name}: the window does not fit", f"size {size} along axis {d} of {describe(x)}"))
        starts = np.arange(x.shape[d] - size + 1)
        x = moveaxis(take(x, starts[:, None] + np.arange(size), d), d + 1, -1)
    return x


def trim_zeros(filt: Any, trim: str = "fb", axis: Any = None) -> Any:
    """filt without the zeros in front ("f" in ``trim``) and at the back ("b") of the axes given, or of all.

    Raises ConcretizationTypeError for traced values: the size of the result depends on them.
    """
    x = asarray(filt)
    values = _values("trim_zeros", x, "an array of a fixed size")
    places = np.argwhere(values)
    axes = range(len(x.shape)) if axis is None else [as_axis("trim_zeros", d, len(x.shape)) for d in np.atleast_1d(axis)]
    index = [slice(None)] * len(x.shape)
    for d in axes:
        first, last = (places[:, d].min(), places[:, d].max() + 1) if len(places) else (x.shape[d], 0)
        start, stop = first if "f" in trim.lower() else 0, last if "b" in trim.lower() else x.shape[d]
        index[d] = slice(int(start), int(max(start, stop)))
    return x[tuple(index)]


def unravel_index(indices: Any, shape: Any, order: str = "C") -> tuple:
    """As ``fnp.unravel_index``; with order "F" the first index runs fastest."""
    if order == "C":
        return selection.unravel_index(indices, shape)
    sizes = tuple(shape) if np.iterable(shape) else (shape,)
    return selection.unravel_index(indices, sizes[::-1])[::-1]


def _values(name: str, x: Any, instead: str) -> np.ndarray:
    values = known(x)
    if values is None:
        raise ConcretizationTypeError(message(f"{name}: the result depends on traced values", describe(x),
                                              "values known while tracing", instead))
    return values


def real_if_close(a: Any, tol: float = 100) -> Any:
    """The real part if all imaginary parts are within ``tol`` (times the spacing of numbers at 1, if above 1) of 0, else a.

    Raises ConcretizationTypeError for traced complex numbers: the dtype depends on their values.
    """
    a = unary_arg("real_if_close", a)
    if a.dtype.kind != "c":
        return a
    values = _values("real_if_close", a, "x.real")
    bound = tol * dtypes.finfo(a.dtype).eps if tol > 1 else tol
    return real(a) if (np.abs(np.imag(values)) < bound).all() else a


def common_type(*arrays: Any) -> type:
    """The scalar type of NumPy that holds all the arrays, at least float64 for integers; bools have none."""
    return np.common_type(*[np.empty(0, x.dtype) for x in arrays])


NUMPY_ONLY = {"common_type": common_type, "real_if_close": real_if_close, "trim_zeros": trim_zeros,
              "unravel_index": unravel_index, "asanyarray": asarray, "asfortranarray": asarray}
"""What ``funcgrad.numpy`` registers for NumPy besides its own names."""
