"""Functions of elements as objects with NumPy's methods: ``fnp.add.reduce``, ``fnp.maximum.outer``, ``frompyfunc``.

In: a function of scalars that returns scalars, made of operations of funcgrad. Out: a ``ufunc``, which broadcasts its arguments
and folds, scans and scatters with its function; all of it differentiates, batches and compiles.

    >>> import funcgrad.numpy as fnp
    >>> fnp.add.reduce(fnp.arange(4.)), fnp.multiply.outer(fnp.arange(2.), fnp.arange(1., 3.))
    (Array(6., dtype=float64), Array([[0., 0.],
           [1., 2.]], dtype=float64))
"""
from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.control.scan import scan
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy import reductions, ufuncs
from funcgrad.numpy.creation import asarray
from funcgrad.numpy.functional import vectorize
from funcgrad.numpy.manipulation import concatenate, expand_dims, moveaxis, reshape
from funcgrad.numpy.selection import where as select
from funcgrad.ops import numeric
from funcgrad.ops.structural import broadcast_to, convert_element_type, full, iota
from funcgrad.transforms.staging import ShapeDtypeStruct, eval_shape


class ufunc:
    """A function of ``nin`` scalars with ``nout`` results, applied to each element of arrays that broadcast.

    ``identity`` is what a fold of nothing gives, or None if that is an error. The methods of functions of two arguments are
    those of NumPy's ufuncs; ``out`` must be None, since arrays are immutable.
    """

    def __init__(self, func: Callable, /, nin: int, nout: int, *, name: str | None = None, nargs: int | None = None,
                 identity: Any = None, call: Callable | None = None, reduce: Callable | None = None,
                 accumulate: Callable | None = None, at: Callable | None = None, reduceat: Callable | None = None):
        """``call``, ``reduce``, ``accumulate``, ``at`` and ``reduceat`` do for whole arrays what they are named after."""
        self.nin, self.nout, self.identity = operator.index(nin), operator.index(nout), identity
        self.nargs = self.nin if nargs is None else nargs
        self.__name__ = self.__qualname__ = name or getattr(func, "__name__", "ufunc")
        self.__doc__ = func.__doc__
        self._call = vectorize(func) if call is None else call
        self._reduce, self._accumulate, self._at, self._reduceat = reduce, accumulate, at, reduceat

    def __repr__(self) -> str:
        return f"<fnp.ufunc '{self.__name__}'>"

    def __call__(self, *args: Any, out: None = None, where: None = None) -> Any:
        """The function of each element. Raises TypeError for a wrong number of arguments."""
        if out is not None or where is not None:
            self._immutable("", out)
            raise NotImplementedError(message(f"{self.__name__}: the argument where is not supported", describe(where), "None",
                                              "fnp.where(mask, ..., ...) around the call"))
        if len(args) != self.nin:
            raise TypeError(message(f"{self.__name__}: the number of arguments", len(args), self.nin))
        return self._call(*args)

    def reduce(self, a: Any, axis: Any = 0, dtype: Any = None, out: None = None, keepdims: bool = False,
               initial: Any = None, where: Any = None) -> Any:
        """The elements along an axis (axes; None: all) combined one after the other, from ``initial`` if it is given.

        Where ``where`` is False an element does not count. Raises ValueError for nothing to combine without an identity.
        """
        self._binary("reduce", out)
        if self._reduce is not None:
            return self._reduce(a, axis=axis, dtype=dtype, keepdims=keepdims, initial=initial, where=where)
        a = self._elements(a, dtype)
        start = self.identity if initial is None else initial
        if where is not None and start is None:
            raise ValueError(message(f"{self.__name__}.reduce: where needs something to start from", "no identity", None,
                                     "initial=..."))
        axes = range(a.ndim) if axis is None else (axis,) if not isinstance(axis, tuple) else axis
        axes = tuple([operator.index(d) % a.ndim for d in axes])
        mask = None if where is None else _lines(broadcast_to(asarray(where), a.shape), axes)
        lines = _lines(a, axes)
        if initial is None and (start is None or lines.shape[0]) and mask is None:
            if not lines.shape[0]:
                raise ValueError(message(f"{self.__name__}.reduce: nothing to combine", describe(a), None, "initial=..."))
            first, lines = lines[0], lines[1:]
        else:
            first = full(lines.shape[1:], convert_element_type(asarray(start), a.dtype))

        def step(total: Any, xs: tuple) -> tuple:
            new = convert_element_type(self._call(total, xs[0]), a.dtype)
            return (new if mask is None else select(xs[1], new, total)), None

        result, _ = scan(step, first, (lines,) if mask is None else (lines, mask))
        return expand_dims(result, tuple(sorted(axes))) if keepdims else result

    def accumulate(self, a: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        """All partial results of ``reduce`` along an axis."""
        self._binary("accumulate", out)
        if self._accumulate is not None:
            return self._accumulate(a, axis=axis, dtype=dtype)
        a = moveaxis(self._elements(a, dtype), axis, 0)

        def step(total: Any, x: Any) -> tuple:
            new = convert_element_type(self._call(total, x), a.dtype)
            return new, new

        rows = a if a.shape[0] < 2 else concatenate((a[:1], scan(step, a[0], a[1:])[1]))
        return moveaxis(rows, 0, axis)

    def reduceat(self, a: Any, indices: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        """``reduce`` of the slices ``indices[i]:indices[i + 1]`` along an axis; the last goes to the end.

        Where ``indices[i] >= indices[i + 1]``, the result is the element at ``indices[i]``.
        """
        self._binary("reduceat", out)
        if self._reduceat is not None:
            return self._reduceat(a, indices, axis=axis, dtype=dtype)
        a, starts = moveaxis(self._elements(a, dtype), axis, 0), asarray(indices)
        ends = concatenate((starts[1:], full((1,), a.shape[0], starts.dtype)))
        shape = (-1,) + (1,) * (a.ndim - 1)

        def step(totals: Any, position_and_row: tuple) -> tuple:
            position, row = position_and_row
            inside = ufuncs.logical_and(ufuncs.greater(position, starts), ufuncs.less(position, ends))
            new = convert_element_type(self._call(totals, row[None]), a.dtype)
            return select(reshape(inside, shape), new, totals), None

        totals, _ = scan(step, a[starts], (iota(starts.dtype, (a.shape[0],)), a))
        return moveaxis(totals, 0, axis)

    def at(self, a: Any, indices: Any, b: Any = None, /, *, inplace: bool = True) -> Any:
        """a with the function applied at ``indices``, once for each time that a place occurs there, in that order.

        ``inplace`` must be False, since arrays are immutable.
        """
        if inplace:
            raise NotImplementedError(message(f"{self.__name__}.at: arrays are immutable", "inplace=True", "inplace=False"))
        a = asarray(a)
        if self._at is not None:
            return self._at(a, indices) if b is None else self._at(a, indices, b)
        places = reshape(iota(np.dtype("int64"), (a.size,)), a.shape)[indices]
        values = () if b is None else (reshape(broadcast_to(asarray(b), places.shape), (-1,)),)

        def step(flat: Any, place_and_value: tuple) -> tuple:
            place, *value = place_and_value
            new = convert_element_type(self._call(flat[place], *value), a.dtype)
            return flat.at[place].set(new), None

        flat, _ = scan(step, reshape(a, (-1,)), (reshape(places, (-1,)), *values))
        return reshape(flat, a.shape)

    def outer(self, A: Any, B: Any, /) -> Any:
        """The function of each element of A with each of B: an array of shape ``A.shape + B.shape``."""
        self._binary("outer", None)
        A, B = asarray(A), asarray(B)
        return self(reshape(A, A.shape + (1,) * B.ndim), B)

    def _binary(self, method: str, out: Any) -> None:
        """Refuses functions that cannot be folded."""
        if self.nin != 2 or self.nout != 1:
            raise ValueError(message(f"{self.__name__}.{method}: only functions of two arguments with one result",
                                     f"nin={self.nin}, nout={self.nout}"))
        self._immutable(f".{method}", out)

    def _immutable(self, method: str, out: Any) -> None:
        if out is not None:
            raise NotImplementedError(message(f"{self.__name__}{method}: arrays are immutable", "out=...", "out=None"))

    def _elements(self, a: Any, dtype: Any) -> Any:
        """a in the dtype that the results have."""
        a = asarray(a)
        if dtype is None:
            scalar = ShapeDtypeStruct((), a.dtype)
            dtype = eval_shape(self._call, scalar, scalar).dtype
        return convert_element_type(a, dtypes.as_dtype(dtype))


def frompyfunc(func: Callable, /, nin: int, nout: int, *, identity: Any = None) -> ufunc:
    """The ufunc of a function of ``nin`` scalars with ``nout`` results.

    >>> hypotenuse = frompyfunc(lambda x, y: (x * x + y * y) ** 0.5, nin=2, nout=1)
    >>> hypotenuse.reduce(fnp.array([2., 3., 6.]))
    Array(7., dtype=float64)
    """
    return ufunc(func, nin=nin, nout=nout, identity=identity)


def _lines(x: Any, axes: tuple[int, ...]) -> Any:
    """x with the axes in front, as one."""
    rest = [n for d, n in enumerate(x.shape) if d not in axes]
    return reshape(moveaxis(x, axes, range(len(axes))), (math.prod(x.shape[d] for d in axes), *rest))


def _truth(reduction: Callable) -> Callable:
    """The fold of a logical function: ``all`` or ``any``."""

    def reduce(a: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None, where: Any = None) -> Any:
        out = reduction(a, axis=axis, keepdims=keepdims, where=where)
        return out if initial is None else fold(out, initial)

    fold = ufuncs.logical_and if reduction is reductions.all else ufuncs.logical_or
    return reduce


def _extreme(reduction: Callable) -> Callable:
    """The fold of maximum or minimum."""

    def reduce(a: Any, axis: Any = 0, dtype: Any = None, keepdims: bool = False, initial: Any = None, where: Any = None) -> Any:
        a = asarray(a)
        return reduction(a if dtype is None else a.astype(dtype), axis=axis, keepdims=keepdims, initial=initial, where=where)

    return reduce


def _binary(name: str, function: Callable, identity: Any = None, **methods: Any) -> ufunc:
    return ufunc(function, nin=2, nout=1, name=name, identity=identity, call=function, **methods)


add = _binary("add", ufuncs.add, 0, reduce=reductions.sum, accumulate=reductions.cumsum,
              at=lambda a, indices, b: a.at[indices].add(b))
multiply = _binary("multiply", ufuncs.multiply, 1, reduce=reductions.prod, accumulate=reductions.cumprod)
subtract = _binary("subtract", ufuncs.subtract, at=lambda a, indices, b: a.at[indices].subtract(b))
maximum = _binary("maximum", ufuncs.maximum, reduce=_extreme(reductions.max), at=lambda a, indices, b: a.at[indices].max(b))
minimum = _binary("minimum", ufuncs.minimum, reduce=_extreme(reductions.min), at=lambda a, indices, b: a.at[indices].min(b))
logaddexp = _binary("logaddexp", numeric.logaddexp, -np.inf)
logaddexp2 = _binary("logaddexp2", numeric.logaddexp2, -np.inf)
logical_and = _binary("logical_and", ufuncs.logical_and, True, reduce=_truth(reductions.all))
logical_or = _binary("logical_or", ufuncs.logical_or, False, reduce=_truth(reductions.any))
logical_xor = _binary("logical_xor", ufuncs.logical_xor, False)
bitwise_and = _binary("bitwise_and", ufuncs.bitwise_and, -1)
bitwise_or = _binary("bitwise_or", ufuncs.bitwise_or, 0)
bitwise_xor = _binary("bitwise_xor", ufuncs.bitwise_xor, 0)
negative = ufunc(ufuncs.negative, nin=1, nout=1, name="negative", call=ufuncs.negative)
