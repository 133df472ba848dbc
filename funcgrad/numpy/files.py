"""Window functions, printing, and files.

In: sizes, arrays, file names. Out: arrays and text.

    >>> import funcgrad.numpy as fnp
    >>> fnp.bartlett(5)
    Array([0. , 0.5, 1. , 0.5, 0. ], dtype=float64)
"""
from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.array import DeviceArray
from funcgrad.errors import message
from funcgrad.numpy.creation import asarray

# ---------------------------------------------------------------- windows, printing, files


def _window(function: Callable, doc: str) -> Callable:
    def window(M: int) -> Any:
        return DeviceArray(function(operator.index(M)).astype(np.float64, copy=False))

    window.__name__ = window.__qualname__ = function.__name__
    window.__doc__, window.__module__ = doc, __name__
    return window


bartlett = _window(np.bartlett, "The triangular window of M points.")
blackman = _window(np.blackman, "The Blackman window of M points.")
hamming = _window(np.hamming, "The Hamming window of M points.")
hanning = _window(np.hanning, "The Hann window of M points.")


def kaiser(M: int, beta: Any) -> Any:
    """The Kaiser window of M points and shape ``beta``, a number."""
    return DeviceArray(np.kaiser(operator.index(M), float(beta)))


def array_repr(arr: Any, max_line_width: int | None = None, precision: int | None = None,
               suppress_small: bool | None = None) -> str:
    """The text that ``repr`` gives, under other printing options."""
    given = {"linewidth": max_line_width, "precision": precision, "suppress": suppress_small}
    with np.printoptions(**{k: v for k, v in given.items() if v is not None}):
        return repr(asarray(arr))


def array_str(a: Any, max_line_width: int | None = None, precision: int | None = None,
              suppress_small: bool | None = None) -> str:
    """The text that ``str`` gives, under other printing options."""
    return np.array_str(np.asarray(a), max_line_width, precision, suppress_small)


set_printoptions, get_printoptions, printoptions = np.set_printoptions, np.get_printoptions, np.printoptions


def save(file: Any, arr: Any, allow_pickle: bool = True) -> None:
    """Writes an array to a ``.npy`` file. Nothing is pickled, since arrays hold numbers."""
    np.save(file, np.asarray(arr), allow_pickle=False)


def savez(file: Any, *args: Any, **kwds: Any) -> None:
    """Writes several arrays to one ``.npz`` file, by position and by name."""
    np.savez(file, *map(np.asarray, args), **{k: np.asarray(v) for k, v in kwds.items()}, allow_pickle=False)


def load(file: Any, mmap_mode: Any = None, *, allow_pickle: bool = False, **kwargs: Any) -> Any:
    """The array of a ``.npy`` file; an ``.npz`` file gives a mapping from names to NumPy arrays.

    Pickled objects are not loaded, as they may run code.
    """
    if allow_pickle:
        raise ValueError(message("load: files with pickled objects are not read", None, "allow_pickle=False",
                                 "np.load(file, allow_pickle=True)"))
    out = np.load(file, mmap_mode, allow_pickle=False, **kwargs)
    if isinstance(out, np.ndarray) and out.dtype.kind == "V" and out.dtype.itemsize == 2:
        out = out.view(dtypes.bfloat16)  # the file format has no name for it
    return asarray(out) if isinstance(out, np.ndarray) else out
