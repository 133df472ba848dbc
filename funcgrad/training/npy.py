"""Arrays in ``.npy`` files that are not read before their rows are taken.

In: files, or a folder. Out: an array over them, for ``from_arrays``.

    data = from_arrays({"x": open_npy("images"), "y": open_npy("labels.npy")}).shuffle(key).batch(64)
"""
from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from funcgrad.errors import message


def open_npy(source: str | os.PathLike | Sequence[str | os.PathLike]) -> Any:
    """An array over ``.npy`` files, which are not read but memory-mapped: rows are read from the disk when they are taken.

    ``source`` is a file, a list of files, or a folder, whose ``.npy`` files are taken in the order of their names; several
    files are joined along the first axis. Raises ValueError where there is none, for files that are not ``.npy`` or hold
    Python objects, and for rows of different shapes or dtypes.
    """
    if isinstance(source, str | os.PathLike):
        source = os.fspath(source)
        names = [source]
        if os.path.isdir(source):
            names = [os.path.join(source, name) for name in sorted(os.listdir(source)) if name.endswith(".npy")]
    else:
        names = [os.fspath(name) for name in source]
    if not names:
        raise ValueError(message("open_npy: there are no files", f"no .npy file in {source!r}", "at least one"))
    arrays = [_map_file(name) for name in names]
    return arrays[0] if len(arrays) == 1 else Joined(names, arrays)


def _map_file(name: str) -> np.ndarray:
    try:
        array = np.asarray(np.lib.format.open_memmap(name, mode="r"))
    except (ValueError, EOFError) as error:
        raise ValueError(message("open_npy: the file cannot be mapped", f"{name}: {error}",
                                 "a file that numpy.save made of numbers")) from None
    if not array.ndim:
        raise ValueError(message("open_npy: the array has no rows", f"{name} of shape ()", "at least one axis"))
    return array


class Joined:
    """Arrays one after the other along the first axis, without a copy of them."""

    def __init__(self, names: Sequence[str], arrays: Sequence[np.ndarray]):
        first = arrays[0]
        for name, array in zip(names, arrays, strict=True):
            if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
                raise ValueError(message(
                    "open_npy: the files do not fit together", f"rows {_rows(first)} in {names[0]}, {_rows(array)} in {name}",
                    "rows of one shape and dtype"))
        self._arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])
        self.shape, self.dtype = (int(self._ends[-1]), *first.shape[1:]), first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        rows = np.arange(*index.indices(len(self))) if isinstance(index, slice) else np.asarray(index)
        if np.any((rows < -len(self)) | (rows >= len(self))):
            raise IndexError(message("open_npy: there is no such row", f"index {index}", f"{len(self)} rows"))
        rows = np.where(rows < 0, rows + len(self), rows)
        files = np.searchsorted(self._ends, rows, side="right")
        if not rows.ndim:
            return self._arrays[files][rows - self._ends[files]]  # a negative row counts from the end of its file
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for i in np.unique(files):
            chosen = files == i
            out[chosen] = self._arrays[i][rows[chosen] - self._ends[i]]
        return out


def _rows(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape[1:]))}]"
