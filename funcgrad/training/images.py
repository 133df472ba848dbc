"""Images for a classifier.

In: an ``.npz`` file, a folder with a folder of images for each class, or nothing for the digits. Out: ``Images``:

    Images("digits", images float32[1797,8,8,1], labels int64[1797], classes ("0", ..., "9"), train, held_out)
"""
from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from funcgrad.training.data import UserError, load_dataset, split

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
INSTALL = 'pip install "funcgrad[images]"'


@dataclass(frozen=True)
class Images:
    """Image i shows ``classes[labels[i]]``; images ``held_out`` are not trained on."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    train: np.ndarray
    held_out: np.ndarray

    def __post_init__(self) -> None:
        if np.ptp(self.images) == 0:
            raise UserError(f"{self.name}: all pixels of all images are equal")


def load_images(path: str | None) -> Images:
    """The images of a file or folder, or the digits. Raises UserError for what cannot be used."""
    if path is not None and os.path.isdir(path):
        return _load_folder(path)
    data = load_dataset(path)
    if len(data.shape) not in (2, 3):
        raise UserError(f"{data.name}: an example has the shape {data.shape}; expected images of shape (height, width) or "
                        "(height, width, channels)")
    shape = data.shape if len(data.shape) == 3 else (*data.shape, 1)
    return Images(data.name, data.features.reshape(-1, *shape), data.labels, data.classes, data.train, data.held_out)


def _load_folder(path: str) -> Images:
    """The images in ``path/CLASS/*``, in the size of the first one."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise UserError(f"{path}: reading images needs the package Pillow: {INSTALL}") from None
    classes = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    if len(classes) < 2:
        raise UserError(f"{path}: expected a folder for each of at least two classes, found "
                        + (repr(classes[0]) if classes else "none"))
    images: list[np.ndarray] = []
    labels: list[int] = []
    size = None
    for label, name in enumerate(classes):
        files = sorted(file for file in os.listdir(os.path.join(path, name)) if file.lower().endswith(ENDINGS))
        if not files:
            raise UserError(f"{os.path.join(path, name)}: no images ({', '.join(ENDINGS)})")
        for file in files:
            try:
                with Image.open(os.path.join(path, name, file)) as image:
                    size = size or image.size
                    pixels = np.asarray(image.convert("RGB").resize(size), np.float32)
            except (OSError, UnidentifiedImageError) as error:
                raise UserError(f"{os.path.join(path, name, file)}: not an image that can be read ({error})") from None
            images.append(pixels)
            labels.append(label)
    train, held_out = split(len(images))
    return Images(path, np.stack(images), np.array(labels), tuple(classes), train, held_out)
