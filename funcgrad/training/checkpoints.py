"""Checkpoints of a run: a folder of files, of which the last ones and the best one are kept.

    checkpoints = Checkpoints("runs/first", keep=3)
    checkpoints.save(100, {"params": params, "optimizer_state": optimizer_state}, score=0.3)
    tree = load(checkpoints.latest(), like={"params": params, "optimizer_state": optimizer.init(params)})

A file gets its name when all of it is on the disk, so one that has a name is whole, whenever the process was killed.
"""
from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from funcgrad.errors import message
from funcgrad.training.storage import CheckpointError, read_info, save

NAME = re.compile(r"step-(\d+)\.safetensors")


class Checkpoints:
    """The files ``step-....safetensors`` in a folder, which is made if it is not there.

    Args:
      folder: for the files of one run.
      keep: how many are kept; the one with the lowest score is kept in any case.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 3):
        if keep < 1:
            raise ValueError(message("Checkpoints: keep does not fit", repr(keep), "at least 1"))
        self.folder, self.keep = os.fspath(folder), keep
        os.makedirs(self.folder, exist_ok=True)

    def save(self, step: int, tree: Any, score: float | None = None, info: Mapping[str, Any] | None = None) -> str:
        """Writes the checkpoint of a step, then removes those that are not kept; returns its path."""
        path = os.path.join(self.folder, f"step-{step:08d}.safetensors")
        save(path, tree, {**(info or {}), "step": step, "score": score})
        whole = list(self._whole())
        best = _best(whole)
        for old, _ in whole[self.keep:]:
            if old != best:
                os.remove(old)
        for name in os.listdir(self.folder):  # what a process that was killed has left behind
            if NAME.match(name) and not NAME.fullmatch(name):
                os.remove(os.path.join(self.folder, name))
        return path

    def latest(self) -> str | None:
        """The path of the last one that is whole; None if there are no files. Raises CheckpointError if none is whole."""
        path = next((path for path, _ in self._whole()), None)
        broken = [] if path else sorted(name for name in os.listdir(self.folder) if NAME.fullmatch(name))
        if broken:
            raise CheckpointError(message("Checkpoints: no file is whole", f"{', '.join(broken)} in {self.folder}",
                                          "at least one whole checkpoint", "another folder, to begin anew"))
        return path

    def best(self) -> str | None:
        """The path of the one with the lowest score; None if none has a score."""
        return _best(list(self._whole()))

    def _whole(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The files that are whole with their ``info``, the last first."""
        found = [(int(match[1]), match[0]) for match in map(NAME.fullmatch, os.listdir(self.folder)) if match]
        for _, name in sorted(found, reverse=True):
            path = os.path.join(self.folder, name)
            with suppress(CheckpointError):
                yield path, read_info(path)


def _best(whole: list[tuple[str, dict[str, Any]]]) -> str | None:
    scores = [(info["score"], path) for path, info in whole if info.get("score") is not None]
    return min(scores, default=(None, None))[1]
