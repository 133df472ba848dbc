"""The memory of GPUs, which CuPy keeps in a pool: what is freed there serves the next array.

    fg.cuda.memory()         {'used': 1048576, 'pool': 0, 'free': 84000000000, 'total': 85000000000}
    fg.cuda.free()           gives back to the device what no array uses
"""
from __future__ import annotations

from typing import Any

from funcgrad import compiler as _compiler
from funcgrad.core import device as _devices
from funcgrad.errors import DeviceError, message

__all__ = ["free", "memory", "through_host"]


def memory(device: Any = "cuda") -> dict[str, int]:
    """Bytes on a GPU: ``used`` by arrays, kept by the ``pool`` for new ones, ``free`` on the device, and ``total``.

    Raises DeviceError where there is no GPU.
    """
    return _devices.memory(_gpu("memory", device))


def free(device: Any = "cuda") -> int:
    """Gives the memory that the pool keeps for new arrays back to the device, for other programs. Returns how many bytes.

    What compiled programs keep for their next call is among it.
    """
    found = _gpu("free", device)
    _compiler.release(found)
    with _devices.guarded(found, "fg.cuda.free") as cupy:
        pool = cupy.get_default_memory_pool()
        before = pool.free_bytes()
        pool.free_all_blocks()
        return before - pool.free_bytes()


def through_host() -> dict[str, str]:
    """The operations so far that no GPU has computed, because CuPy could not, each with what CuPy answered.

    Those that CuPy is known to lack are not among them; docs/gpu.md lists these.
    """
    return dict(_devices.fallen_back)


def _gpu(name: str, device: Any) -> _devices.Device:
    found = _devices.as_device(f"fg.cuda.{name}", device)
    if found == _devices.CPU:
        raise DeviceError(message(f"fg.cuda.{name}: this is not a GPU", repr(device), "'cuda', 'cuda:1'"))
    return found
