"""Parameters in a file of the safetensors format.

In: a tree of parameters and what is needed to use them. Out: a file with one array for each path, such as
``0.weight``, and back. A file is replaced as a whole or not at all.
"""
from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.training.data import UserError

try:
    import safetensors.numpy as safetensors_numpy
except ImportError:
    safetensors_numpy = None

INSTALL = 'pip install "funcgrad[train]"'


@dataclass(frozen=True)
class Saved:
    """A trained classifier: its parameters, the mean and scale of its inputs, and the names of its classes."""

    params: Any
    mean: np.ndarray
    scale: np.ndarray
    classes: tuple[str, ...]


def can_save() -> bool:
    """Whether the package for files of parameters is installed."""
    return safetensors_numpy is not None


def check_place(path: str) -> None:
    """Raises UserError if a file cannot be saved at this path, before work is spent on what to save."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise UserError(f"{path}: cannot save the parameters: it is a folder")
    if not os.path.isdir(folder):
        raise UserError(f"{path}: cannot save the parameters: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{path}: cannot save the parameters: the folder {folder} cannot be written")


def save(path: str, saved: Saved) -> None:
    """Writes a file. Raises UserError if the place cannot be written."""
    arrays = {path: np.ascontiguousarray(value) for path, value in named_leaves(saved.params).items()}
    arrays |= {"input.mean": saved.mean, "input.scale": saved.scale}
    # One entry only: their order in the file is random, and equal parameters should make equal files.
    data = safetensors_numpy.save(arrays, {"funcgrad": json.dumps({"classes": saved.classes})})
    try:
        _replace(path, data)
    except OSError as error:
        raise UserError(f"{path}: cannot save the parameters: {error.strerror}") from None


def load(path: str) -> Saved:
    """Reads a file that ``save`` wrote. Raises UserError for any other file."""
    try:
        with open(path, "rb") as file:
            data = file.read()
        arrays = safetensors_numpy.load(data)
        header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
        classes = tuple(json.loads(header["__metadata__"]["funcgrad"])["classes"])
        mean, scale = arrays.pop("input.mean"), arrays.pop("input.scale")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except Exception:  # the reader has its own exceptions for each way in which a file can be broken
        raise UserError(f"{path}: not a file of parameters saved by this program") from None
    params: dict = {}
    for name, value in arrays.items():
        layer, _, parameter = name.partition(".")
        params.setdefault(layer, {})[parameter] = value
    return Saved(params, mean, scale, classes)


def named_leaves(params: Any) -> dict[str, Any]:
    """The arrays of a tree by path: ``{"0.weight": ..., "0.bias": ...}``."""
    return {tree_path(path): leaf for path, leaf in tree.leaves_with_path(params)}


def tree_path(path: Any) -> str:
    return tree.keystr(path, simple=True, separator=".")


def check_fits(path: str, params: Any, expected: Any) -> None:
    """Raises UserError, naming the first path, if the parameters of a file do not have the shapes of the model's."""
    found, wanted = ({name: tuple(x.shape) for name, x in named_leaves(p).items()} for p in (params, expected))
    for name in sorted(wanted | found):
        if found.get(name) != wanted.get(name):
            in_file, in_model = (f"has shape {shapes[name]}" if name in shapes else "is missing"
                                 for shapes in (found, wanted))
            raise UserError(f"{path}: the parameters do not fit the model: {name} {in_file} in the file and "
                            f"{in_model} in the model")


def _replace(path: str, data: bytes) -> None:
    """Puts data into a file so that a crash leaves the old file or the new one."""
    folder = os.path.dirname(os.path.abspath(path))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=os.path.basename(path) + ".")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # a temporary file is private, the result is an ordinary one
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    if os.name == "posix":
        directory = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
