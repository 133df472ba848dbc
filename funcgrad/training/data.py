"""Examples for a classifier.

In: an ``.npz`` file of features and labels; without a file, the digits that come with funcgrad. Out: a ``Dataset`` of
float32 features, one row an example, and integer labels, split into examples to train on and examples held out.

    Dataset("digits", features float32[1797,64], labels int64[1797], classes ("0", ..., "9"), held_out ...)
"""
from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from funcgrad import random

ARRAY_NAMES = (("x", "y"), ("x_train", "y_train"), ("images", "labels"), ("features", "labels"), ("data", "target"))
"""What features and labels may be called in a file; case does not matter."""
HELD_OUT_SHARE = 0.2


class UserError(Exception):
    """Something the user gave cannot be used; the message is one line that says what and why."""


@dataclass(frozen=True)
class Dataset:
    """Examples: row i of the features has the label ``classes[labels[i]]``; rows ``held_out`` are not trained on."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    train: np.ndarray
    held_out: np.ndarray
    shape: tuple[int, ...]
    """Of an example, before its features were put in a row."""

    @property
    def pixels(self) -> bool:
        """An example had several axes, such as an image: all its features are in one unit."""
        return len(self.shape) > 1

    @property
    def short_name(self) -> str:
        """The name without folders and ending."""
        return os.path.splitext(os.path.basename(self.name))[0]


def load_dataset(path: str | None) -> Dataset:
    """The examples in a file, or the digits. Raises UserError for a file that cannot be used."""
    if path is None:
        path, name = resources.files("funcgrad") / "data" / "digits.npz", "digits"
    else:
        name = path
    arrays = _read(path, name)
    lower = {key.lower(): key for key in arrays}
    for pair in ARRAY_NAMES:
        if all(key in lower for key in pair):
            features, labels = (arrays[lower[key]] for key in pair)
            break
    else:
        raise UserError(f"{name}: no features and labels among its arrays {', '.join(arrays) or '(none)'}; expected "
                        + ", ".join(" and ".join(pair) for pair in ARRAY_NAMES))
    shape = features.shape[1:]
    features, labels = _features(features, name), _labels(labels, name)
    tests = 0
    if pair[0] == "x_train" and "x_test" in lower and "y_test" in lower:
        test_features, test_labels = _features(arrays[lower["x_test"]], name), _labels(arrays[lower["y_test"]], name)
        if test_features.shape[1] != features.shape[1] or len(test_features) != len(test_labels):
            raise UserError(f"{name}: x_test has {len(test_features)} examples of {test_features.shape[1]} features "
                            f"and y_test {len(test_labels)} labels; x_train has {features.shape[1]} features")
        tests = len(test_features)
        if len(features) == len(labels):  # otherwise the lengths are refused below
            features, labels = np.concatenate([features, test_features]), np.concatenate([labels, test_labels])
    return _dataset(name, features, labels, tests, shape)


def _dataset(name: str, features: np.ndarray, labels: np.ndarray, tests: int, shape: tuple[int, ...]) -> Dataset:
    """Checks that features and labels fit together, numbers the classes, splits; the last ``tests`` are held out."""
    if len(features) != len(labels):
        raise UserError(f"{name}: {len(features)} examples but {len(labels)} labels")
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise UserError(f"{name}: a classifier needs at least two classes, but the labels hold "
                        f"{'only ' + repr(classes[0].item()) if len(classes) else 'nothing'}")
    count = len(features)
    if tests:
        train, held_out = np.arange(count - tests), np.arange(count - tests, count)
    else:
        train, held_out = split(count)
    return Dataset(name, features, numbers.astype(np.int64), tuple(str(c) for c in classes), train, held_out, shape)


def split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the examples to train on, and of those held out.

    The same whatever --seed says, so that runs can be compared and --load never meets what it trained on.
    """
    order = np.asarray(random.permutation(random.key(0), count))
    size = max(1, round(count * HELD_OUT_SHARE))
    return order[size:], order[:size]


def _read(path: Any, name: str) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") if hasattr(path, "open") else open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise UserError(f"{name}: one array without a name, not an .npz file; make one with numpy.savez")
            return {key: loaded[key] for key in loaded.files}
    except OSError as error:
        raise UserError(f"{name}: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        if "pickle" in str(error) and zipfile.is_zipfile(name):
            raise UserError(f"{name}: it holds an array of Python objects; save numbers or strings") from None
        raise UserError(f"{name}: not an .npz file, such as numpy.savez makes") from None


def _features(features: np.ndarray, name: str) -> np.ndarray:
    """One row of float32 an example."""
    if features.dtype.kind not in "biuf":
        raise UserError(f"{name}: the features are {features.dtype}; expected real numbers")
    if features.ndim == 0 or features.size == 0:
        raise UserError(f"{name}: the features have shape {features.shape}; expected one row an example")
    with np.errstate(over="ignore"):
        features = features.reshape(len(features), -1).astype(np.float32)
    wrong = ~np.isfinite(features)
    if wrong.any():
        row = int(np.argmax(wrong.any(axis=1)))
        raise UserError(f"{name}: example {row} has a feature that is NaN, infinite or too large for float32 "
                        f"({int(wrong.sum())} such features)")
    return features


def _labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Integers or strings, one an example."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(f"{name}: the labels have shape {labels.shape}; expected one label an example")
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biuUS":
        raise UserError(f"{name}: the labels are {labels.dtype}; expected integers or strings")
    return labels.astype(str) if labels.dtype.kind == "S" else labels


def standardisation(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the scale of each feature among the training examples.

    The scale is the standard deviation; 1 for a feature that never varies; one number for all pixels, since a scale
    of its own would make a loud signal of a pixel that is nearly always dark.
    """
    features = data.features[data.train]
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    if data.pixels:
        scale = np.full_like(scale, np.sqrt(np.mean(scale**2)))
    return mean.astype(np.float32), np.where(scale > 0, scale, 1).astype(np.float32)
