"""The devices that there are: one, the CPU, which is named "cpu".

In: trees of arrays. Out: the same trees, as Arrays or as NumPy arrays.

    >>> devices(), default_backend()
    (['cpu'], 'cpu')
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core.stage import as_value
from funcgrad.errors import message
from funcgrad.tree import tree_map


def devices(backend: str | None = None) -> list[str]:
    """The devices of a backend. Raises RuntimeError for any other than "cpu"."""
    if backend not in (None, "cpu"):
        raise RuntimeError(message("devices: there is no such backend", repr(backend), "'cpu'"))
    return ["cpu"]


def local_devices(process_index: int | None = None, backend: str | None = None, host_id: int | None = None) -> list[str]:
    """The devices of this process: all."""
    return devices(backend)


def device_count(backend: str | None = None) -> int:
    """The number of devices: 1."""
    return len(devices(backend))


def local_device_count(backend: str | None = None) -> int:
    """The number of devices of this process: 1."""
    return len(devices(backend))


def default_backend() -> str:
    """Where arrays are: "cpu"."""
    return "cpu"


def process_count(backend: str | None = None) -> int:
    """The number of processes: 1."""
    return len(devices(backend))


def process_index(backend: str | None = None) -> int:
    """The number of this process: 0."""
    return len(devices(backend)) - 1


def process_indices(backend: str | None = None) -> list[int]:
    """The numbers of all processes: 0."""
    return [process_index(backend)]


def device_put(x: Any, device: Any = None, *, src: Any = None, donate: Any = False, may_alias: Any = None) -> Any:
    """A tree of numbers and arrays as a tree of Arrays, which are on the only device. Raises ValueError for another."""
    for where in (device, src):
        if where not in (None, "cpu"):
            raise ValueError(message("device_put: there is no such device", repr(where), "'cpu', or None"))
    return tree_map(as_value, x)


def device_get(x: Any) -> Any:
    """A tree of Arrays as a tree of NumPy arrays."""
    return tree_map(np.asarray, x)


def block_until_ready(x: Any) -> Any:
    """Returns x: every operation is finished when it returns."""
    return x


def effects_barrier() -> None:
    """Returns: every effect has happened when the operation returns."""
