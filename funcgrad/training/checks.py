"""What is looked at before work begins: whether arrays belong together, and counts are counts. Out: nothing, or an error."""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad import tree
from funcgrad.errors import message


def path_text(path: Any, alone: str = "the array") -> str:
    """A path with dots, as in ``images.left``; ``alone`` for a tree that is one leaf."""
    return tree.keystr(path, simple=True, separator=".") or alone


def first_sizes(where: str, arrays: Any) -> int:
    """The size that the first axes of all arrays have. Raises ValueError for none, for size 0, and for different sizes."""
    shapes = {path_text(path): np.shape(leaf) for path, leaf in tree.leaves_with_path(arrays)}
    without = [path for path, shape in shapes.items() if not shape]
    if without or not shapes:
        raise ValueError(message(f"{where}: there are no rows",
                                 f"{', '.join(without)} of shape ()" if without else "a tree without arrays",
                                 "arrays with at least one axis", "np.asarray(x) of a list of numbers"))
    sizes = {path: shape[0] for path, shape in shapes.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(message(f"{where}: the arrays have different numbers of rows",
                                 ", ".join(f"{path}: {size}" for path, size in sizes.items()),
                                 "one row of each array for each example"))
    if not next(iter(sizes.values())):
        raise ValueError(message(f"{where}: there are no examples",
                                 ", ".join(f"{path} of shape {shape}" for path, shape in shapes.items()), "at least one row"))
    return next(iter(sizes.values()))


def at_least(what: str, value: Any, least: int) -> int:
    """The value as an integer. Raises ValueError if it is none, or too small."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ValueError(message(f"{what} does not fit", repr(value), f"an integer of at least {least}"))
    return number
