"""Parameters in a file of the safetensors format.

In: a tree of parameters and what is needed to use them. Out: a file with one array for each path, such as
``0.weight``, and back. A file is replaced as a whole or not at all.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.training import storage
from funcgrad.training.data import UserError


@dataclass(frozen=True)
class Saved:
    """A trained classifier: its parameters, the mean and scale of its inputs, and the names of its classes."""

    params: Any
    mean: np.ndarray
    scale: np.ndarray
    classes: tuple[str, ...]


def check_place(path: str, what: str = "the parameters") -> None:
    """Raises UserError if a file cannot be saved at this path, before work is spent on what to save."""
    folder = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        raise UserError(f"{path}: cannot save {what}: it is a folder")
    if not os.path.isdir(folder):
        raise UserError(f"{path}: cannot save {what}: there is no folder {folder}")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{path}: cannot save {what}: the folder {folder} cannot be written")


def save(path: str, saved: Saved) -> None:
    """Writes a file. Raises UserError if the place cannot be written."""
    arrays = {**saved.params, "input": {"mean": saved.mean, "scale": saved.scale}}
    try:
        storage.save(path, arrays, {"classes": saved.classes})
    except OSError as error:
        raise UserError(f"{path}: cannot save the parameters: {error.strerror}") from None


def load(path: str) -> Saved:
    """Reads a file that ``save`` wrote. Raises UserError for any other file."""
    try:
        params, classes = storage.load(path), storage.read_info(path)["classes"]
        scaling = params.pop("input")
        return Saved(params, np.asarray(scaling["mean"]), np.asarray(scaling["scale"]), tuple(classes))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (storage.CheckpointError, AttributeError, KeyError, TypeError):
        raise UserError(f"{path}: not a file of parameters saved by this program") from None


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
