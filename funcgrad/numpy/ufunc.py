"""Functions of elements as objects with NumPy's methods: ``fnp.add.reduce``, ``fnp.maximum.outer``, ``frompyfunc``.

In: a function of scalars that returns scalars, made of operations of funcgrad. Out: a ``ufunc``, which broadcasts its arguments
and folds, scans and scatters with its function; all of it differentiates, batches and compiles.

    >>> import funcgrad.numpy as fnp
    >>> fnp.add.reduce(fnp.arange(4.)), fnp.multiply.outer(fnp.arange(2.), fnp.arange(1., 3.))
    (Array(6., dtype=float64), Array([[0., 0.],
           [1., 2.]], dtype=float64))
"""
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad.control.scan import scan
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.numpy import ufunc_methods, ufuncs
from funcgrad.numpy.creation import asarray
from funcgrad.numpy.functional import vectorize
from funcgrad.numpy.manipulation import reshape
from funcgrad.ops import numeric
from funcgrad.ops.structural import broadcast_to, convert_element_type, iota


class ufunc:
    """A function of ``nin`` scalars with ``nout`` results, applied to each element of arrays that broadcast.

    ``identity`` is what a fold of nothing gives, or None if that is an error. The methods of functions of two arguments are
    those of NumPy's ufuncs; ``out`` must be None, since arrays are immutable.
    """

    def __init__(self, func: Callable, /, nin: int, nout: int, *, name: str | None = None, nargs: int | None = None,
                 identity: Any = None, call: Callable | None = None, reduce: Callable | None = None,
                 accumulate: Callable | None = None, at: Callable | None = None, reduceat: Callable | None = None):
        """``call``, ``reduce``, ``accumulate``, ``at`` and ``reduceat`` do for whole arrays what they are named after."""
        self._original: Any = self
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
        return ufunc_methods.reduce(self._original, self._call, a, axis, dtype, keepdims, initial, where)

    def accumulate(self, a: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        """All partial results of ``reduce`` along an axis."""
        self._binary("accumulate", out)
        if self._accumulate is not None:
            return self._accumulate(a, axis=axis, dtype=dtype)
        return ufunc_methods.accumulate(self._original, self._call, a, axis, dtype)

    def reduceat(self, a: Any, indices: Any, axis: int = 0, dtype: Any = None, out: None = None) -> Any:
        """``reduce`` of the slices ``indices[i]:indices[i + 1]`` along an axis; the last goes to the end.

        Where ``indices[i] >= indices[i + 1]``, the result is the element at ``indices[i]``.
        """
        self._binary("reduceat", out)
        if self._reduceat is not None:
            return self._reduceat(a, indices, axis=axis, dtype=dtype)
        return ufunc_methods.reduceat(self._original, self._call, a, indices, axis, dtype)

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
        return ufunc_methods.outer(self._original, self._call, A, B)

    def _binary(self, method: str, out: Any) -> None:
        """Refuses functions that cannot be folded."""
        if self.nin != 2 or self.nout != 1:
            raise ValueError(message(f"{self.__name__}.{method}: only functions of two arguments with one result",
                                     f"nin={self.nin}, nout={self.nout}"))
        self._immutable(f".{method}", out)

    def _immutable(self, method: str, out: Any) -> None:
        if out is not None:
            raise NotImplementedError(message(f"{self.__name__}{method}: arrays are immutable", "out=...", "out=None"))


def frompyfunc(func: Callable, /, nin: int, nout: int, *, identity: Any = None) -> ufunc:
    """The ufunc of a function of ``nin`` scalars with ``nout`` results.

    >>> hypotenuse = frompyfunc(lambda x, y: (x * x + y * y) ** 0.5, nin=2, nout=1)
    >>> hypotenuse.reduce(fnp.array([2., 3., 6.]))
    Array(7., dtype=float64)
    """
    return ufunc(func, nin=nin, nout=nout, identity=identity)


def _like(original: np.ufunc, function: Callable, at: Callable | None = None) -> ufunc:
    """The function of funcgrad.numpy that computes a ufunc of NumPy's, with its methods."""
    out = ufunc(function, nin=original.nin, nout=original.nout, name=original.__name__, identity=original.identity,
                call=function, at=at)
    out._original = original
    return out


add = _like(np.add, ufuncs.add, lambda a, indices, b: a.at[indices].add(b))
multiply = _like(np.multiply, ufuncs.multiply)
subtract = _like(np.subtract, ufuncs.subtract, lambda a, indices, b: a.at[indices].subtract(b))
maximum = _like(np.maximum, ufuncs.maximum, lambda a, indices, b: a.at[indices].max(b))
minimum = _like(np.minimum, ufuncs.minimum, lambda a, indices, b: a.at[indices].min(b))
logaddexp = _like(np.logaddexp, numeric.logaddexp)
logaddexp2 = _like(np.logaddexp2, numeric.logaddexp2)
logical_and = _like(np.logical_and, ufuncs.logical_and)
logical_or = _like(np.logical_or, ufuncs.logical_or)
logical_xor = _like(np.logical_xor, ufuncs.logical_xor)
bitwise_and = _like(np.bitwise_and, ufuncs.bitwise_and)
bitwise_or = _like(np.bitwise_or, ufuncs.bitwise_or)
bitwise_xor = _like(np.bitwise_xor, ufuncs.bitwise_xor)
negative = _like(np.negative, ufuncs.negative)
