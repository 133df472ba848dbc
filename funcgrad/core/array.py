"""Values: ``Array``, what user code sees, and ``DeviceArray``, an Array that holds a buffer.

In: NumPy arrays and scalars. Out: immutable arrays of fixed shape and dtype. Operators and methods are those of
``funcgrad.numpy``; the layers above install them with one visible call each (``install``).

    >>> import funcgrad.numpy as fnp
    >>> fnp.arange(3.) * 2
    Array([0., 2., 4.], dtype=float64)
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.core.device import CPU, Device, device_of, moved, row_major, synchronize, to_host
from funcgrad.core.types import Shape, ShapedArray, shaped_array
from funcgrad.errors import DeviceError, DonatedBufferError, message


class Array:
    """An immutable array: either a ``DeviceArray`` with values or a tracer that stands for one.

    ``isinstance(x, fg.Array)`` is true of both, so that it can be asked inside transformed functions.
    """

    __slots__ = ("__weakref__",)
    __array_priority__ = 1000
    __hash__ = None  # type: ignore[assignment]  # equality is elementwise

    aval: ShapedArray

    @property
    def shape(self) -> Shape:
        return self.aval.shape

    @property
    def dtype(self) -> np.dtype:
        return self.aval.dtype

    @property
    def weak_type(self) -> bool:
        """True when the value came from Python scalars alone and takes the dtype of what it meets."""
        return self.aval.weak_type

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.aval.size

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def device(self) -> Device:
        """Where the array is: "cpu", "cuda:0"."""
        return CPU

    def devices(self) -> set[Device]:
        """The device where the array is, as a set of one."""
        return {self.device}

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an unsized object: the array has no axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array: it has no axes to iterate over")
        return (self[i] for i in range(self.shape[0]))  # type: ignore[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(message("arrays are immutable: x[index] = value cannot change x",
                                f"x of type {self.aval}", "a new array bound to the name",
                                "x = x.at[index].set(value)"))

    def __copy__(self) -> Array:
        return self

    def __deepcopy__(self, memo: dict) -> Array:
        return self

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """``funcgrad.numpy``. Raises ValueError for a version of the array API standard that it does not follow."""
        namespace = _array_namespace()
        if api_version is not None and api_version not in namespace.API_VERSIONS:
            raise ValueError(message("__array_namespace__: the version is not supported", repr(api_version),
                                     ", ".join(namespace.API_VERSIONS)))
        return namespace


def install(cls: type, functions: dict[str, Callable]) -> None:
    """Give a class its operators or methods; called once by each layer that defines them."""
    for name, function in functions.items():
        setattr(cls, name, function)


def _array_namespace() -> Any:
    import sys
    return sys.modules["funcgrad.numpy"]


class DeviceArray(Array):
    """An Array over a buffer: a NumPy array, or a NumPy scalar when it has no axes (their arithmetic is faster).

    ``_placed`` is set where the user has put the array on the CPU, so that it does not follow others to a GPU.
    """

    __slots__ = ("_data", "_weak", "_aval", "_placed")
    _data: Any
    _weak: bool
    _aval: ShapedArray
    _placed: bool

    def __init__(self, data: Any, weak_type: bool = False):
        self._data = data
        self._weak = weak_type

    @property
    def aval(self) -> ShapedArray:  # type: ignore[override]
        try:
            return self._aval
        except AttributeError:  # asked for the first time: most intermediate values never are
            data = self._data
            aval = self._aval = shaped_array(data.shape, data.dtype, self._weak)
            return aval

    @property
    def shape(self) -> Shape:
        return self._data.shape

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    def give_up(self, function: str) -> None:
        """Lets go of the buffer, which was donated to a function: whatever is asked of the array from now on raises."""
        if type(self._data) is not DonatedBuffer:
            self._data = DonatedBuffer(self.aval, function)
            del self._aval

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if dtype is None and copy is not True:
            return read_only_view(self._data)
        return np.array(self._data, dtype=dtype, copy=copy)

    @property
    def __array_interface__(self) -> dict:
        # NumPy then asks __array__: a scalar has no buffer that would outlive this call, and the dtypes of ml_dtypes no name.
        data = self._data
        if not isinstance(data, np.ndarray) or data.dtype.isbuiltin != 1 or not data.flags.c_contiguous:
            raise AttributeError("__array_interface__")
        view = read_only_view(data)
        # Who asks keeps the buffer: an address would outlive that of a donated array.
        return {**view.__array_interface__, "data": view.data}

    def __dlpack__(self, **kwargs: Any) -> Any:
        # NumPy refuses to export read-only buffers to consumers of the unversioned protocol, so they get a copy.
        if kwargs.get("max_version") is not None:
            return read_only_view(self._data).__dlpack__(**kwargs)
        return np.array(self._data).__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def item(self, *index: int) -> Any:
        return np.asarray(self._data).item(*index)

    def tolist(self) -> Any:
        return self._data.tolist()

    def block_until_ready(self) -> DeviceArray:
        """Returns the array: every operation is finished when it returns."""
        return self

    def __bool__(self) -> bool:
        return bool(self._data)

    def __int__(self) -> int:
        return int(self._real("int"))

    def __float__(self) -> float:
        return float(self._real("float"))

    def _real(self, target: str) -> Any:
        if self._data.dtype.kind == "c":
            raise TypeError(message(f"{target}: a complex number is not a real one", self.aval, "a real number",
                                    "x.real, abs(x) or complex(x)"))
        return self._data

    def __complex__(self) -> complex:
        return complex(self._data)

    def __index__(self) -> int:
        data = self._data
        if data.shape == () and data.dtype.kind in "iu":
            return int(data)
        raise TypeError(f"only integer arrays without axes can be used as an index, not {self.aval}")

    def __repr__(self) -> str:
        return _with_dtype("Array(", self._data, self._weak)

    def __str__(self) -> str:
        return str(self._data)

    def __format__(self, spec: str) -> str:
        return format(self._data if self.shape else self.item(), spec)

    def __reduce__(self) -> tuple:
        return _rebuild, (np.asarray(self._data), self._weak)


class CudaArray(DeviceArray):
    """An Array in the memory of a GPU: over a ``cupy.ndarray`` in row-major order and aligned, also when it has no axes.

    It is a class of its own, so that what is fast for arrays of the processor never looks where an array is. Whatever
    asks for values in Python or NumPy waits for them and copies them to the host.
    """

    __slots__ = ()

    def __init__(self, data: Any, weak_type: bool = False):
        self._data = row_major(data)
        self._weak = weak_type

    @property
    def device(self) -> Device:
        return device_of(self._data)

    def host(self) -> np.ndarray:
        """The values as a NumPy array."""
        return to_host(self._data)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError(message("np.asarray: the values of an array on a GPU cannot be seen without a copy",
                                     f"{self.aval} on {self.device}", "copy=None"))
        values = self.host()
        return values if dtype is None else values.astype(dtype, copy=False)

    @property
    def __array_interface__(self) -> dict:
        raise AttributeError("__array_interface__")  # NumPy then asks __array__

    @property
    def __cuda_array_interface__(self) -> dict:
        """The memory for other libraries, to be read only. bfloat16 has no name there: DLPack has."""
        data = self._data
        if data.dtype.isbuiltin != 1:
            raise AttributeError("__cuda_array_interface__")
        interface = dict(data.__cuda_array_interface__)
        interface["data"] = (interface["data"][0], True)
        return interface

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self._data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def item(self, *index: int) -> Any:
        return self.host().item(*index)

    def tolist(self) -> Any:
        return self.host().tolist()

    def block_until_ready(self) -> DeviceArray:
        """Returns the array once it is computed. Raises DeviceError if that failed."""
        synchronize(self.device)
        return self

    def __bool__(self) -> bool:
        return bool(self.host())

    def _real(self, target: str) -> Any:
        super()._real(target)
        return self.host()

    def __complex__(self) -> complex:
        return complex(self.host())

    def __index__(self) -> int:
        data = self._data
        return int(self.host()) if data.shape == () and data.dtype.kind in "iu" else super().__index__()

    def __repr__(self) -> str:
        text = _with_dtype("Array(", self.host(), self._weak)
        return f"{text[:-1]}, device={self.device})"

    def __str__(self) -> str:
        return str(self.host())

    def __format__(self, spec: str) -> str:
        return format(self.host() if self.shape else self.item(), spec)

    def __reduce__(self) -> tuple:
        return _rebuild_on, (self.host(), self._weak, str(self.device))


class DonatedBuffer:
    """Stands where the buffer of a donated array was; whatever is asked of it raises."""

    def __init__(self, aval: ShapedArray, function: str):
        object.__setattr__(self, "_what", (aval, function))

    def __getattr__(self, name: str) -> Any:
        aval, function = object.__getattribute__(self, "_what")
        raise DonatedBufferError(message(
            f"an array of type {aval} was used after it had been donated to {function}", f"its buffer was given to "
            f"{function} to be overwritten", "donated arrays are not used again",
            "use the function's result, or leave the argument out of donate_argnums"))


def _rebuild(data: np.ndarray, weak_type: bool) -> DeviceArray:
    return DeviceArray(data, weak_type)


def _rebuild_on(data: np.ndarray, weak_type: bool, device: str) -> DeviceArray:
    return on_device(DeviceArray(data, weak_type), Device(device), "unpickling")


def on_device(x: DeviceArray, device: Device, what: str = "device_put") -> DeviceArray:
    """An array on a device: itself if it is there."""
    if x.device == device:
        return x
    data = moved(x._data, device, what)
    return DeviceArray(data[()], x._weak) if device == CPU else CudaArray(data, x._weak)


def common_device(args: tuple, name: str) -> Device | None:
    """The GPU on which the arguments of an operation are, or None if none is on one.

    Numbers, NumPy arrays, and arrays on the CPU that nobody has put there may be beside them, as they can be moved. Raises
    DeviceError for arrays on two GPUs, or on a GPU and put on the CPU.
    """
    found = {x.device for x in args if type(x) is CudaArray}
    if len(found) > 1 or found and any(type(x) is DeviceArray and getattr(x, "_placed", False) for x in args):
        places = "; ".join(f"argument {i}, {x.aval}, is on {x.device}" for i, x in enumerate(args) if isinstance(x, DeviceArray))
        raise DeviceError(message(f"{name}: its arguments are on different devices", places, "arrays on one device",
                                  f"fg.device_put(x, {str(min(found, key=str))!r}) of the others"))
    return found.pop() if found else None


def _with_dtype(prefix: str, data: Any, weak: bool) -> str:
    data = np.asarray(data)
    body = np.array2string(data, separator=", ", prefix=prefix)
    if data.size == 0 and data.ndim > 1:
        body += f", shape={data.shape}"
    return f"{prefix}{body}, dtype={data.dtype.name}{', weak_type=True' if weak else ''})"


def read_only_view(data: Any) -> np.ndarray:
    """A view of a buffer through which it cannot be written."""
    view = np.asarray(data).view()
    view.flags.writeable = False
    return view


def owned(x: Any) -> Any:
    """The same value over a buffer that nobody else can write: a user's writable ndarray is copied.

    Of a subclass of ndarray only the elements are taken: buffers are plain, because compiled code reads their layout.
    """
    if type(x) is np.ndarray:
        return DeviceArray(x.copy() if x.flags.writeable or x.base is not None else x)
    return DeviceArray(np.array(x, order="C")) if isinstance(x, np.ndarray) else x


def aval_of(x: Any) -> ShapedArray:
    """The abstract value of an Array, an ndarray or a scalar. NumPy scalars are literals, Python scalars are weak.

    Raises TypeError for anything else.
    """
    if isinstance(x, Array):
        return x.aval
    if isinstance(x, np.generic) and dtypes.is_supported(x.dtype):
        return shaped_array((), x.dtype, False, True)
    if isinstance(x, np.ndarray) and dtypes.is_supported(x.dtype):
        return shaped_array(x.shape, x.dtype)
    if type(x) in dtypes.PYTHON_SCALARS:
        return shaped_array((), dtypes.PYTHON_SCALARS[type(x)], True)
    raise TypeError(f"{describe(x)} is not an array or a number")


def describe(x: Any) -> str:
    """A value in an error message: ``float32[3,4]`` for arrays, the value and its type for small things."""
    if isinstance(x, Array):
        return str(x.aval)
    if isinstance(x, (np.ndarray, np.generic)):
        return f"{x.dtype}[{','.join(map(str, x.shape))}]"
    text = repr(x)
    return f"{text if len(text) <= 40 else text[:37] + '...'} of type {type(x).__name__}"
