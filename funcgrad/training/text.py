"""Text for a model of characters.

In: a text file of the user's, or nothing for the source of Python's own library, which every machine with Python has. Out:
``Text``: the characters as small integers, and what integers stand for.

    Text("standard library", train uint8[9700000], held_out uint8[510000], alphabet ("\\n", " ", "!", ...))
"""
from __future__ import annotations

import os
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from funcgrad.training.data import UserError

HELD_OUT_SHARE = 0.05
LEAST = 2000
"""The fewest characters of a text worth a model."""
MOST_KINDS = 255
OTHER = "\N{REPLACEMENT CHARACTER}"
"""Stands for all characters beyond the alphabet."""
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data", "ensurepip", "__pycache__"}


@dataclass(frozen=True)
class Text:
    """Character i of the text is ``alphabet[train[i]]``."""

    name: str
    train: np.ndarray
    held_out: np.ndarray
    alphabet: tuple[str, ...]

    def encode(self, text: str) -> np.ndarray:
        """The integers of a text; characters beyond the alphabet become that of ``OTHER``."""
        return _encoded(text, self.alphabet)

    def decode(self, tokens: np.ndarray) -> str:
        """The text of integers."""
        return "".join([self.alphabet[token] for token in np.asarray(tokens)])


def load_text(path: str | None) -> Text:
    """The text of a file, or the source of Python's library. Raises UserError for a file that cannot be used."""
    if path is None:
        pieces, name = standard_library(), "the standard library's source"
    else:
        pieces, name = [_read(path)], path
    count = sum(map(len, pieces))
    if count < LEAST:
        raise UserError(f"{name}: {count} characters; a model needs at least {LEAST}")
    held = max(1, round(HELD_OUT_SHARE * len(pieces)))
    if len(pieces) == 1:  # the end of the text
        cut = round(len(pieces[0]) * (1 - HELD_OUT_SHARE))
        train, held_out = pieces[0][:cut], pieces[0][cut:]
    else:  # every so many-th file
        step = len(pieces) // held
        train = "".join([piece for i, piece in enumerate(pieces) if i % step])
        held_out = "".join(pieces[::step])
    kinds = Counter(train).most_common(MOST_KINDS)
    alphabet = (*sorted({kind for kind, times in kinds if times > 20 or path is not None} - {OTHER}), OTHER)
    return Text(name, _encoded(train, alphabet), _encoded(held_out, alphabet), alphabet)


def standard_library() -> list[str]:
    """The source files of Python's library, without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(set(folders) - LEFT_OUT)
        paths += [Path(folder, file) for file in sorted(files)
                  if file.endswith(".py") and not file.startswith("_sysconfigdata")]  # that one is of the machine
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8 (byte {error.start})") from None


def _encoded(text: str, alphabet: tuple[str, ...]) -> np.ndarray:
    table = np.full(0x110000, len(alphabet) - 1, np.uint8)
    table[[ord(character) for character in alphabet]] = np.arange(len(alphabet))
    return table[np.frombuffer(text.encode("utf-32-le"), np.uint32)]
