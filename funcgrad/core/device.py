"""Devices: their names, the way to CuPy, and buffers that move between them.

In: names such as "cuda:0", buffers of NumPy and CuPy. Out: ``Device`` records, buffers on a device in row-major order, and
results of implementations that run there. CuPy is loaded, and memory allocated, at the first use of a GPU.

    >>> Device("cpu"), as_device("device_put", None)
    (cpu, cpu)
"""
from __future__ import annotations

import importlib
import re
import sys
import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from funcgrad import dtypes
from funcgrad.errors import DeviceError, message

if TYPE_CHECKING:
    from funcgrad.core.primitive import Primitive

ALIGNMENT = 16
"""Bytes at whose multiples buffers on a GPU start: kernels read that much at once."""


class Device(str):
    """A place where arrays are: "cpu", or "cuda:0" for the first GPU. It is its name, so it prints and compares as that.

    ``platform`` is "cpu" or "gpu", ``id`` the number among the devices of the platform, ``device_kind`` what it is.
    """

    __slots__ = ()
    process_index = 0

    @property
    def platform(self) -> str:
        return "cpu" if self == "cpu" else "gpu"

    @property
    def id(self) -> int:
        return 0 if self == "cpu" else int(self[5:])

    @property
    def device_kind(self) -> str:
        """The model of a GPU, or "cpu"."""
        if self == "cpu":
            return "cpu"
        return cupy().cuda.runtime.getDeviceProperties(self.id)["name"].decode()

    def __repr__(self) -> str:
        return str(self)


CPU = Device("cpu")


def as_device(where: str, device: Any) -> Device:
    """A device from its name, from a ``Device``, or the default one from None. "cuda" is the first GPU.

    Raises ValueError for a name of no device, DeviceError for a GPU that is not there.
    """
    if device is None:
        return default() or CPU
    if device == "cpu":
        return CPU
    found = re.fullmatch(r"cuda(?::(\d+))?", device) if isinstance(device, str) else None
    if found is None:
        raise ValueError(message(f"{where}: there is no such device", repr(device), "'cpu', 'cuda', 'cuda:1', one of "
                                 "fg.devices(), or None"))
    number, count = int(found[1] or 0), gpu_count()
    if number >= count:
        raise DeviceError(message(f"{where}: there is no such device", f"{device!r}, where there are {count} GPUs",
                                  ", ".join(f"cuda:{i}" for i in range(count))))
    return Device(f"cuda:{number}")


# ---------------------------------------------------------------- CuPy

_checked: Any = None
_count = 0


def cupy() -> Any:
    """The module CuPy, with a driver and a GPU behind it. Raises DeviceError that says what is missing."""
    global _checked, _count
    module = sys.modules.get("cupy")
    if module is not None and module is _checked:
        return module
    try:
        module = importlib.import_module("cupy")
        count = module.cuda.runtime.getDeviceCount()
    except ModuleNotFoundError as error:
        if error.name not in ("cupy", None):
            raise _broken(error) from error
        raise DeviceError(message("a GPU needs CuPy", "it is not installed", "the packages of the extra for CUDA",
                                  'pip install "funcgrad[cuda13]"')) from None
    except Exception as error:
        raise _broken(error) from error
    if not count:
        raise DeviceError(message("there is no GPU", "CuPy finds none", "a line for each GPU from the command nvidia-smi",
                                  "CUDA_VISIBLE_DEVICES without a value; fg.doctor() tells more"))
    _checked, _count = module, count
    return module


def _broken(error: Exception) -> DeviceError:
    text = str(error)
    if "InsufficientDriver" in text:
        found, remedy = "no driver of NVIDIA, or one that is too old for this CuPy", "a new driver"
    elif "NoDevice" in text:
        found, remedy = "a driver, and no GPU that it may use", "CUDA_VISIBLE_DEVICES without a value"
    else:
        found, remedy = f"{type(error).__name__}: {text}", 'pip install --upgrade "funcgrad[cuda13]"'
    return DeviceError(message("the GPU cannot be used", found, "a table of GPUs and the version of the driver from the "
                               "command nvidia-smi", f"{remedy}; fg.doctor() tells more"))


def gpu_count() -> int:
    """How many GPUs there are. Raises DeviceError where none can be used."""
    cupy()
    return _count


class guarded:  # noqa: N801  a context manager, named like one
    """Inside, a device is CuPy's current one, and its failures become errors with a remedy."""

    __slots__ = ("device", "what", "_entered")

    def __init__(self, device: Device, what: str):
        self.device, self.what = device, what

    def __enter__(self) -> Any:
        module = cupy()
        self._entered = module.cuda.Device(self.device.id)
        self._entered.__enter__()
        return module

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            self._entered.__exit__(kind, error, traceback)
        except Exception as failed:  # a context that has ended answers nothing any more, and the first error says why
            error = error or failed
        if error is not None:
            explained = explain(error, self.what, self.device)
            if explained is not None:
                raise explained from error


def explain(error: BaseException, what: str, device: Device) -> DeviceError | None:
    """What the user is told of an error of CuPy's; None if it is no failure of the device."""
    runtime = cupy().cuda
    if isinstance(error, runtime.memory.OutOfMemoryError):
        asked = re.search(r"allocating ([\d,]+) bytes", str(error))
        held = memory(device)
        return DeviceError(message(
            f"{what}: out of memory on {device}", f"{asked[1] if asked else 'more'} bytes were asked for; arrays hold "
            f"{held['used']:,}, the pool keeps {held['pool']:,} for new ones; of {held['total']:,}, {held['free']:,} are free",
            "a result that fits beside the arrays that are alive", "del of arrays that are not needed and fg.cuda.free(), a "
            "smaller batch, or donate_argnums of jit, which lets results overwrite arguments"))
    if isinstance(error, runtime.runtime.CUDARuntimeError):
        return DeviceError(message(
            f"{what}: {device} failed", str(error), "a device that answers", "a new process if the device does not answer any "
            "more (an error in a kernel ends its context); fg.doctor() tells more"))
    return None


def memory(device: Device) -> dict[str, int]:
    """Bytes on a GPU: ``used`` by arrays, kept by the ``pool`` for new ones, ``free`` on the device, and ``total``."""
    module = cupy()
    with module.cuda.Device(device.id) as current:
        pool = module.get_default_memory_pool()
        free, total = current.mem_info
        return {"used": pool.used_bytes(), "pool": pool.free_bytes(), "free": free, "total": total}


# ---------------------------------------------------------------- the default device

_scoped: ContextVar[Device | None] = ContextVar("default_device", default=None)
_process: list[Device | None] = [None]
unusual = 0
"""How many blocks are open, in all threads, in which a jitted function does not run as and where it usually does."""
_counting = threading.Lock()


def unusually(more: int) -> None:
    """Counts such a block: 1 when it begins, -1 when it ends."""
    global unusual
    with _counting:
        unusual += more


def default() -> Device | None:
    """The GPU on which arrays are made that no argument places; None for the CPU."""
    chosen = _scoped.get()
    if chosen is None:
        return _process[0]
    return None if chosen is CPU else chosen


class default_device:  # noqa: N801
    """Within the block, new arrays are made on a device (a name or a ``Device``); None is the CPU.

    Arrays that exist stay where they are. Raises DeviceError for a GPU that is not there.

    >>> with default_device("cpu"):
    ...     x = fnp.zeros(3)
    >>> x.device
    cpu
    """

    __slots__ = ("device", "_token")

    def __init__(self, new_val: Any = None):
        self.device = CPU if new_val is None else as_device("default_device", new_val)

    def __enter__(self) -> Device:
        unusually(1)
        self._token = _scoped.set(self.device)
        return self.device

    def __exit__(self, *exception: object) -> None:
        _scoped.reset(self._token)
        unusually(-1)


def set_default_device(device: Any) -> None:
    """From now on, new arrays are made on a device (a name or a ``Device``), in all threads; None is the CPU again."""
    chosen = CPU if device is None else as_device("set_default_device", device)
    before, _process[0] = _process[0], None if chosen is CPU else chosen
    unusually((_process[0] is not None) - (before is not None))


# ---------------------------------------------------------------- buffers


def device_of(data: Any) -> Device:
    """Where a buffer of NumPy or CuPy is."""
    return CPU if isinstance(data, np.ndarray | np.generic) else Device(f"cuda:{data.device.id}")


def moved(data: Any, device: Device, what: str = "device_put") -> Any:
    """The same values in a buffer on a device: the buffer itself if it is there."""
    here = device_of(data)
    if here == device:
        return data
    if device is CPU or device == "cpu":
        return to_host(data, what)
    if not isinstance(data, np.ndarray | np.generic):
        synchronize(here)  # the streams of two GPUs do not wait for each other
        with guarded(device, what):
            return data.copy()  # CuPy copies to the current device
    check_dtype(data, what)
    with guarded(device, what) as xp:
        return uploaded(xp, np.asarray(data, order="C"))


def uploaded(xp: Any, data: Any) -> Any:
    """Values of the host in a buffer of CuPy, which makes 0.0 of a -0.0 without axes."""
    return xp.asarray(data) if data.ndim else xp.asarray(data.reshape(1)).reshape(())


def check_dtype(data: Any, what: str) -> None:
    """Raises DeviceError for a buffer of a dtype that CuPy does not know: the 8-bit floats."""
    if not dtypes.is_supported(data.dtype) or data.dtype.name in dtypes.FLOAT8:
        raise DeviceError(message(f"{what}: arrays of {data.dtype.name} cannot be on a GPU", f"{data.dtype.name}"
                                  f"[{','.join(map(str, data.shape))}]", "bool, integers, float16, bfloat16, float32, float64 "
                                  "or complex numbers", "x.astype(fnp.bfloat16)"))


def filled(shape: tuple[int, ...], value: np.generic, device: Device, what: str) -> Any:
    """A buffer of one repeated number on a GPU."""
    check_dtype(np.broadcast_to(value, shape), what)
    with guarded(device, what) as xp:
        return xp.full(shape, value, value.dtype)


def to_host(data: Any, what: str = "reading an array") -> Any:
    """The values of a buffer of CuPy as a NumPy array, once everything that computes them is done."""
    with guarded(device_of(data), what):
        return data.get()


def row_major(data: Any) -> Any:
    """A buffer of CuPy as compiled code reads it: row-major and aligned. Others are copied.

    Every ``CudaArray`` gets its buffer from here.
    """
    return data if data.flags.c_contiguous and data.data.ptr % ALIGNMENT == 0 else copied(data)


def copied(data: Any) -> Any:
    """A copy of a buffer of CuPy, row-major and where it is."""
    with guarded(device_of(data), "copying an array"):
        return data.copy(order="C")


def synchronize(device: Device) -> None:
    """Waits until everything is done that was issued on a device. Raises DeviceError if something failed."""
    with guarded(device, "block_until_ready") as xp:
        xp.cuda.get_current_stream().synchronize()


# ---------------------------------------------------------------- implementations

fallen_back: dict[str, str] = {}
"""The operations that went through the host although nothing said so, each with what CuPy answered."""


def numpy_only(impl: Callable) -> Callable:
    """Marks an implementation that CuPy has nothing for: on a GPU its primitive goes through the host."""
    impl.numpy_only = True  # type: ignore[attr-defined]
    return impl


class ThroughHost(NotImplementedError):
    """Raised by an implementation for CuPy: these operands are computed on the host."""


def call(primitive: Primitive, buffers: Sequence[Any], params: dict, device: Device) -> Any:
    """The results of a primitive on a GPU, from buffers there and NumPy scalars: a buffer or a tuple of them.

    What CuPy has no implementation of is computed on the host: it costs two copies, and ``fallen_back`` tells.
    """
    with guarded(device, primitive.name) as xp:
        impl = primitive.cuda
        if callable(impl):
            try:
                return _on_device(xp, impl(xp, *buffers, **params))
            except ThroughHost:
                pass
            except ImportError as error:
                raise without_library(primitive.name, error) from error
            except (IndexError, MemoryError, DeviceError, xp.cuda.runtime.CUDARuntimeError):
                raise  # the host would have no other answer, or should not be asked
            except Exception as error:  # a dtype without a kernel, one that cannot be compiled ...
                out = _through_host(xp, primitive, buffers, params)  # raises what is the user's mistake
                fallen_back[primitive.name] = f"{type(error).__name__}: {error}"
                return out
        return _through_host(xp, primitive, buffers, params)


def without_library(what: str, error: ImportError) -> DeviceError:
    """What the user is told where CuPy cannot load a library of CUDA's."""
    return DeviceError(message(f"{what}: CuPy misses a library of CUDA", str(error), "those that come with the extra for CUDA",
                               'pip install "funcgrad[cuda13]"; fg.doctor() tells more'))


def _through_host(xp: Any, primitive: Primitive, buffers: Sequence[Any], params: dict) -> Any:
    given = [x.get()[()] if isinstance(x, xp.ndarray) else x for x in buffers]
    return _on_device(xp, primitive.impl(np, *given, **params))


def _on_device(xp: Any, out: Any) -> Any:
    if type(out) is tuple:
        return tuple([_on_device(xp, x) for x in out])
    if isinstance(out, np.ndarray | np.generic):
        check_dtype(out, "the result of an operation")
        return uploaded(xp, out)
    return out
