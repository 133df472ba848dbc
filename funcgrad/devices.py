"""Devices for user code: which there are, and arrays put on them and read from them.

In: trees of arrays, devices and their names. Out: the same trees, on a device or as NumPy arrays.

    >>> devices(), default_backend()
    ([cpu], 'cpu')
"""
from __future__ import annotations

from typing import Any

import numpy as np

from funcgrad.core.array import Array, CudaArray, DeviceArray, on_device
from funcgrad.core.device import CPU, Device, as_device, default, default_device, gpu_count, set_default_device
from funcgrad.core.stage import as_value
from funcgrad.core.trace import Tracer
from funcgrad.errors import message
from funcgrad.numpy.creation import asarray
from funcgrad.numpy.foreign import on_gpu
from funcgrad.tree import tree_leaves, tree_map

__all__ = ["Device", "block_until_ready", "default_backend", "default_device", "device_count", "device_get", "device_put",
           "devices", "effects_barrier", "local_device_count", "local_devices", "process_count", "process_index",
           "process_indices", "set_default_device"]


def devices(backend: str | None = None) -> list[Device]:
    """The devices of a backend: "cpu", or "gpu" (also "cuda"). None is the backend of the default device.

    Raises RuntimeError for another name, and DeviceError, which is one, where no GPU can be used.
    """
    backend = default_backend() if backend is None else backend
    if backend == "cpu":
        return [CPU]
    if backend in ("gpu", "cuda"):
        return [Device(f"cuda:{i}") for i in range(gpu_count())]
    raise RuntimeError(message("devices: there is no such backend", repr(backend), "'cpu' or 'gpu'"))


def local_devices(process_index: int | None = None, backend: str | None = None, host_id: int | None = None) -> list[Device]:
    """The devices of this process: all."""
    return devices(backend)


def device_count(backend: str | None = None) -> int:
    """The number of devices of a backend."""
    return len(devices(backend))


def local_device_count(backend: str | None = None) -> int:
    """The number of devices of this process: all."""
    return len(devices(backend))


def default_backend() -> str:
    """Where new arrays are made: "cpu", or "gpu" if the default device is one."""
    return (default() or CPU).platform


def process_count(backend: str | None = None) -> int:
    """The number of processes: 1."""
    return 1 if devices(backend) else 0


def process_index(backend: str | None = None) -> int:
    """The number of this process: 0."""
    return process_count(backend) - 1


def process_indices(backend: str | None = None) -> list[int]:
    """The numbers of all processes: 0."""
    return [process_index(backend)]


def device_put(x: Any, device: Any = None, *, src: Any = None, donate: Any = False, may_alias: Any = None) -> Any:
    """A tree of numbers and arrays as a tree of Arrays on a device.

    Args:
      x: a tree of arrays (also of CuPy, PyTorch and JAX on a GPU) and numbers. Traced values stay as they are.
      device: a name such as "cuda:0", a ``Device``, or None, which leaves Arrays where they are and puts all else on
        the default device. An array put on a device stays there: with arrays on another device it raises, where one that
        nobody has put anywhere follows them.
      src: the device where the arrays are, which is looked up anyway.
      donate: whether the memory of the arrays may be given up: what is copied is given free.
      may_alias: accepted; arrays are immutable, so one that is on the device already is taken as it is.

    Raises ValueError for a name of no device, DeviceError for a GPU that is not there, for a dtype that cannot be there
    (8-bit floats), and if its memory is full.

    >>> device_put({"w": np.ones(2)}, "cpu")["w"].device
    cpu
    """
    if src is not None:
        as_device("device_put", src)
    target = None if device is None else as_device("device_put", device)

    def put(leaf: Any) -> Any:
        value = leaf if isinstance(leaf, Array) else _taken(leaf)
        if isinstance(value, Tracer) or target is None:
            return value
        out = on_device(value, target)
        if target == CPU:
            out = DeviceArray(out._data, out._weak)
            out._placed = True
        elif donate and out is not leaf and isinstance(leaf, DeviceArray):
            leaf.give_up("device_put")
        return out

    return tree_map(put, x)


def _taken(x: Any) -> Any:
    """A number, an ndarray, or an array of another library on a GPU, as an Array."""
    return asarray(x) if on_gpu(x) else as_value(x)


def device_get(x: Any) -> Any:
    """A tree of Arrays as a tree of NumPy arrays."""
    return tree_map(np.asarray, x)


def block_until_ready(x: Any) -> Any:
    """Returns x once its arrays are computed. Raises DeviceError if something failed on a GPU."""
    waited = set()
    for leaf in tree_leaves(x):
        if type(leaf) is CudaArray and leaf.device not in waited:
            waited.add(leaf.device)
            leaf.block_until_ready()
    return x


def effects_barrier() -> None:
    """Returns: every effect has happened when the operation returns."""
