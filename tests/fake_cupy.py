"""A stand-in for CuPy over NumPy, for tests without a GPU. It is strict where CuPy is, and offers only what CuPy has.

Memory: every allocation is a block of a pool with a limit, on one of two devices; ``data.ptr`` is the address on the host.
Strictness: names and parameters are those of ``reference/cupy_names.json``; ufuncs take only the dtypes that have a loop; nothing
is converted between host and device without being asked; operands must be on the current device; reductions give arrays
without axes; indices out of bounds wrap around; of several writes to one place any may win; matrices without an answer do not raise.

    fake = fake_cupy.install(monkeypatch)               # `import cupy` now gives it
    fake_cupy.install(monkeypatch, broken="no driver")  # or "no device", "no cupy"
"""
import contextlib
import functools
import json
import pathlib
import sys
import types
import weakref

import ml_dtypes
import numpy as np

NAMES = json.loads(pathlib.Path(__file__).with_name("reference").joinpath("cupy_names.json").read_text())
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
KNOWN_DTYPES = frozenset(map(np.dtype, "?bBhHiIlLqQefdFD")) | {BFLOAT16}


# ---------------------------------------------------------------- memory


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit):
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, limit set to: {limit:,} bytes).")


class Block:
    """An allocation: its bytes on the host, counted by the pool until nothing refers to it."""

    def __init__(self, size, device_id, pool):
        self.size, self.device_id = size, device_id
        raw = np.zeros(size + 512, np.uint8)
        self.raw = raw[-raw.ctypes.data % 512:][:max(size, 1)]
        self.ptr = self.raw.ctypes.data
        weakref.finalize(self, pool.take_back, device_id, size)


PooledMemory = Block


class DLPackMemory:
    """The memory of a tensor of another library, which ``owner`` keeps."""

    def __init__(self, block, owner):
        self.ptr, self.size, self.device_id, self.raw, self.owner = block.ptr, block.size, block.device_id, block.raw, owner


class Memory:
    """What the machine has: the state behind pool, devices and streams."""

    def __init__(self, devices, capacity):
        self.devices, self.capacity = devices, capacity
        self.current = 0
        self.used, self.free = [0] * max(devices, 1), [0] * max(devices, 1)
        self.limit = [0] * max(devices, 1)
        self.blocks = weakref.WeakValueDictionary()  # by address of the host buffer
        self.error = None  # what the next call of the runtime raises: a context that died
        self.synchronized = 0

    def check(self):
        if self.error is not None:
            raise self.error

    def allocate(self, nbytes):
        self.check()
        size, d = -(-nbytes // 512) * 512, self.current
        if self.free[d] >= size:
            self.free[d] -= size
        else:
            total = self.used[d] + self.free[d]
            limit = self.limit[d] or self.capacity
            if total + size > limit:
                self.free[d] = 0  # as the pool of CuPy, which then gives back what it holds
                total = self.used[d]
                if total + size > limit:
                    raise OutOfMemoryError(size, total, limit)
        self.used[d] += size
        block = Block(size, d, self)
        self.blocks[id(root(block.raw))] = block
        return block

    def take_back(self, d, size):
        self.used[d] -= size
        self.free[d] += size


def root(host):
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


MEMORY = Memory(2, 1 << 30)


class MemoryPool:
    def used_bytes(self):
        return MEMORY.used[MEMORY.current]

    def free_bytes(self):
        return MEMORY.free[MEMORY.current]

    def total_bytes(self):
        return self.used_bytes() + self.free_bytes()

    def free_all_blocks(self, stream=None):
        MEMORY.free[MEMORY.current] = 0

    def set_limit(self, size=None, fraction=None):
        MEMORY.limit[MEMORY.current] = size or 0

    def get_limit(self):
        return MEMORY.limit[MEMORY.current]

    def malloc(self, size):
        return alloc(size)


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr = mem, mem.ptr + offset

    @property
    def device_id(self):
        return self.mem.device_id

    @property
    def device(self):
        return Device(self.mem.device_id)

    def host(self, nbytes):
        """The bytes on the host, for a driver that is a stand-in too."""
        offset = self.ptr - self.mem.ptr
        return self.mem.raw[offset:offset + nbytes]


def alloc(size):
    return MemoryPointer(MEMORY.allocate(size), 0)


class Device:
    def __init__(self, device=None):
        self.id = MEMORY.current if device is None else int(getattr(device, "id", device))
        if not 0 <= self.id < MEMORY.devices:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        self.before = []

    def __enter__(self):
        self.before.append(MEMORY.current)
        MEMORY.current = self.id
        return self

    def __exit__(self, *exception):
        MEMORY.current = self.before.pop()
        MEMORY.check()  # cudaSetDevice also gives the errors of a context that has ended

    def __eq__(self, other):
        return isinstance(other, Device) and other.id == self.id

    __hash__ = None

    def __repr__(self):
        return f"<CUDA Device {self.id}>"

    def use(self):
        MEMORY.current = self.id

    def synchronize(self):
        MEMORY.check()
        MEMORY.synchronized += 1

    compute_capability = "90"

    @property
    def mem_info(self):
        held = MEMORY.used[self.id] + MEMORY.free[self.id]
        return MEMORY.capacity - held, MEMORY.capacity


class Stream:
    ptr = 0

    def synchronize(self):
        MEMORY.check()
        MEMORY.synchronized += 1


STREAM = Stream()


# ---------------------------------------------------------------- arrays


class Flags:
    def __init__(self, flags):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, flags.owndata

    def __getitem__(self, name):
        return getattr(self, name.lower())


def device_array(host, block=None):
    """An array on the device: a view of a block if ``host`` is one, else a new allocation with its values."""
    host = np.asarray(host)
    if host.dtype not in KNOWN_DTYPES:
        raise TypeError(f"Unsupported dtype {host.dtype}")
    block = block or MEMORY.blocks.get(id(root(host)))
    if block is None:
        block = MEMORY.allocate(host.nbytes)
        order = "F" if host.flags.f_contiguous and not host.flags.c_contiguous else "C"
        fresh = np.ndarray(host.shape, host.dtype, block.raw[:host.nbytes] if host.nbytes else block.raw, order=order)
        fresh[...] = host
        host = fresh
    x = object.__new__(ndarray)
    x.host, x.block = host, block
    return x


def unwrapped(x, where="an operand"):
    """The host buffers of device arrays, however deep; NumPy arrays are refused."""
    if type(x) is ndarray:
        x.check()
        return x.host
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)} for {where}")
    if isinstance(x, list | tuple):
        parts = [unwrapped(v, where) for v in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    if hasattr(x, "aval"):
        raise TypeError(f"Unsupported type {type(x)} for {where}")
    return x


def wrapped(out):
    if isinstance(out, np.ndarray | np.generic):
        return device_array(out)
    if isinstance(out, list | tuple):
        parts = [wrapped(v) for v in out]
        return type(out)(*parts) if hasattr(out, "_fields") else type(out)(parts)
    return out


def in_bounds(key, shape):
    """An index whose integer arrays wrap around, as on the device, where nothing is checked."""
    parts = list(key) if isinstance(key, tuple) else [key]
    fixed, axis = [], 0
    used = sum((p.ndim if isinstance(p, np.ndarray) and p.dtype == bool else 1) for p in parts if p is not None and p is not Ellipsis)
    for p in parts:
        if p is None:
            fixed.append(p)
        elif p is Ellipsis:
            axis += len(shape) - used
            fixed.append(p)
        elif isinstance(p, np.ndarray) and p.dtype.kind in "iu":
            fixed.append(p.astype(np.int64) % max(shape[axis], 1))
            axis += 1
        else:
            fixed.append(p)
            axis += p.ndim if isinstance(p, np.ndarray) else 1
    return tuple(fixed) if isinstance(key, tuple) else fixed[0]


class ndarray:  # noqa: N801
    """``cupy.ndarray``. ``host`` is the buffer that stands for the memory of the device."""

    __slots__ = ("host", "block", "__weakref__")
    __hash__ = None
    __array_priority__ = 100

    def __new__(cls, shape, dtype=float, memptr=None, strides=None, order="C"):
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        nbytes = int(np.prod(shape, dtype=int)) * dtype.itemsize
        memptr = alloc(nbytes) if memptr is None else memptr
        offset = memptr.ptr - memptr.mem.ptr
        assert offset + nbytes <= memptr.mem.size, "beyond the end of the allocation"
        host = np.ndarray(shape, dtype, memptr.mem.raw, offset, strides, order)
        return device_array(host, memptr.mem)

    def check(self):
        if self.block.device_id != MEMORY.current:
            raise ValueError(f"Array device must be same as the current device: array device = {self.block.device_id} while "
                             f"current = {MEMORY.current}")

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    ndim = property(lambda self: self.host.ndim)
    size = property(lambda self: self.host.size)
    nbytes = property(lambda self: self.host.nbytes)
    itemsize = property(lambda self: self.host.itemsize)
    strides = property(lambda self: self.host.strides)
    flags = property(lambda self: Flags(self.host.flags))
    device = property(lambda self: Device(self.block.device_id))
    base = property(lambda self: None)

    @property
    def data(self):
        return MemoryPointer(self.block, self.host.__array_interface__["data"][0] - self.block.ptr)

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": self.dtype.str, "descr": self.dtype.descr, "version": 3, "stream": 1,
                "strides": None if self.host.flags.c_contiguous else self.strides, "data": (self.data.ptr, False)}

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        return ("a capsule", self)

    def __dlpack_device__(self):
        return (2, self.block.device_id)

    def __array__(self, dtype=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy array explicitly.")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        function = getattr(sys.modules["cupy"], ufunc.__name__)
        if method != "__call__":
            function = getattr(function, method)
        return function(*inputs, **kwargs)

    def __array_function__(self, function, kinds, args, kwargs):
        module = sys.modules["cupy" if function.__module__ in ("numpy", "numpy.lib") else function.__module__.replace("numpy", "cupy")]
        return getattr(module, function.__name__)(*args, **kwargs)

    def get(self, stream=None, order="C", out=None, blocking=True):
        MEMORY.check()
        MEMORY.synchronized += 1
        return np.array(self.host, order=order)

    def set(self, arr, stream=None):
        self.host[...] = arr

    def item(self):
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def tobytes(self, order="C"):
        return self.get().tobytes(order)

    def __bool__(self):
        return bool(self.get())

    def __int__(self):
        return int(self.get())

    def __float__(self):
        return float(self.get())

    def __complex__(self):
        return complex(self.get())

    def __index__(self):
        return self.get().__index__()

    def __repr__(self):
        return repr(self.get())

    def __str__(self):
        return str(self.get())

    def __format__(self, spec):
        return format(self.get(), spec)

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    def __reduce__(self):
        return sys.modules["cupy"].asarray, (self.get(),)

    def __getitem__(self, key):
        self.check()
        return device_array(np.asarray(self.host[in_bounds(unwrapped(key, "an index"), self.shape)]))

    def __setitem__(self, key, value):
        self.check()
        key, value = in_bounds(unwrapped(key, "an index"), self.shape), unwrapped(value)
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(p, np.ndarray) and p.ndim and p.dtype != bool for p in parts) and self.host[key].size:
            places = np.arange(self.size).reshape(self.shape)[key].ravel()  # of writes to one place, the first wins here
            self.host.reshape(-1)[places[::-1]] = np.broadcast_to(value, self.host[key].shape).ravel()[::-1]
        else:
            self.host[key] = value

    def astype(self, dtype, order="K", casting=None, subok=None, copy=True):
        dtype = np.dtype(dtype)
        if dtype == self.dtype and not copy:
            return self
        if self.dtype.kind == "c" and dtype.kind not in "cb":
            raise TypeError("complex to real: CuPy warns, and drops the imaginary part")
        with np.errstate(all="ignore"):
            return device_array(np.array(self.host.astype(dtype, order=order)))

    def view(self, dtype=None, type=None):
        return device_array(self.host.view(self.dtype if dtype is None else np.dtype(dtype)))

    def copy(self, order="C"):
        return device_array(np.array(self.host, order=order))

    def fill(self, value):
        self.host.fill(unwrapped(value))

    def __getattr__(self, name):
        if name.startswith("_") or name not in NAMES["ndarray"]:
            raise AttributeError(f"'cupy.ndarray' object has no attribute {name!r}")
        value = getattr(self.host, name)
        if not callable(value):
            return wrapped(value)
        allowed = NAMES["ndarray"][name]

        def method(*args, **kwargs):
            self.check()
            check_arguments(f"ndarray.{name}", (allowed or ["self"])[1:], args, kwargs)
            kwargs = {k: unwrapped(v) for k, v in kwargs.items() if k in allowed}
            out = kwargs.get("out")
            result = value(*unwrapped(args), **kwargs)
            return result if result is None or out is not None else wrapped(result)

        return method

    def __setattr__(self, name, value):
        if name in ("host", "block"):
            object.__setattr__(self, name, value)
        elif name == "shape":
            self.host = self.host.reshape(value)
        elif name in ("real", "imag"):
            setattr(self.host, name, unwrapped(value))
        else:
            raise AttributeError(name)


def check_arguments(name, allowed, args, kwargs):
    plain = [p for p in allowed if not p.startswith("*")]
    stray = [] if any(p.startswith("**") for p in allowed) else [k for k in kwargs if k not in plain]
    starred = any(p.startswith("*") and not p.startswith("**") for p in allowed)
    if stray or len(args) > len(plain) and not starred:
        raise TypeError(f"{name}() got unexpected arguments: {stray or args[len(plain):]}")


OPERATORS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
             "mod": "remainder", "pow": "power", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
             "lshift": "left_shift", "rshift": "right_shift", "matmul": "matmul", "lt": "less", "le": "less_equal",
             "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal"}


def _operator(name, swapped, inplace):
    def method(self, other):
        if isinstance(other, np.ndarray) or hasattr(other, "aval"):
            return NotImplemented if not isinstance(other, np.ndarray) else unwrapped(other)
        function = getattr(sys.modules["cupy"], name)
        if inplace:
            return function(self, other, out=self)
        return function(other, self) if swapped else function(self, other)

    return method


for _short, _long in OPERATORS.items():
    setattr(ndarray, f"__{_short}__", _operator(_long, False, False))
    if _short not in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(ndarray, f"__r{_short}__", _operator(_long, True, False))
        setattr(ndarray, f"__i{_short}__", _operator(_long, False, True))
ndarray.__neg__ = lambda self: sys.modules["cupy"].negative(self)
ndarray.__abs__ = lambda self: sys.modules["cupy"].absolute(self)
ndarray.__invert__ = lambda self: sys.modules["cupy"].invert(self)


# ---------------------------------------------------------------- functions


def _fits(x, char):
    """Whether an operand may stand where a loop has a dtype: as CuPy, which casts safely; Python numbers are weak."""
    target = BFLOAT16 if char == "E" else np.dtype(char)
    if isinstance(x, bool):
        return True
    if isinstance(x, int | float | complex) and not isinstance(x, np.generic):
        kind = "f" if char == "E" else target.kind
        return "biufc".index(kind) >= {int: 1, float: 3, complex: 4}[type(x)]
    return np.can_cast(x.dtype, target)


def _quotient(x, y):
    return np.floor_divide(x, y) if np.result_type(x, y).kind in "biu" else np.floor(np.divide(x, y))


def _fmod(x, y):
    wide = np.result_type(x, y)
    return np.fmod(np.float64(x), np.float64(y)).astype(wide) if wide.kind in "iu" else np.fmod(x, y)


def _nextafter(x, y):
    out = np.nextafter(x, y)
    return np.where(np.abs(out) < np.finfo(np.float32).tiny, out * 0, out) if out.dtype == np.float32 else out


def _power(x, y):
    return np.power(x, y) if np.result_type(x, y).kind != "c" else np.where(y == 0, 1, np.exp(np.log(x) * y))


FORMULAS = {
    "nextafter": _nextafter, "power": _power,
    "floor_divide": _quotient, "fmod": _fmod,
    "remainder": lambda x, y: np.remainder(x, y) if np.result_type(x, y).kind in "biu" else x - _quotient(x, y) * y,
    "logaddexp2": lambda x, y: np.fmax(x, y) + np.log2(1 + np.exp2(-np.abs(x - y))),
}
"""Functions that CuPy computes by other formulas than NumPy."""


class ufunc:  # noqa: N801
    """A function of elements, with the loops that CuPy has."""

    REDUCED = ("add", "multiply")

    def __init__(self, name, function, loops):
        self.__name__ = self.name = name
        self.function, self.types = function, loops
        self.nin = len(loops[0].partition("->")[0])
        self.nout = len(loops[0].partition("->")[2])

    def loop(self, inputs):
        for loop in self.types:
            ins, _, outs = loop.partition("->")
            if all(_fits(x, char) for x, char in zip(inputs, ins, strict=True)):
                return outs
        found = ", ".join(str(getattr(x, "dtype", type(x))) for x in inputs)
        raise TypeError(f"Wrong type ({found}) of arguments for cupy_{self.name}")

    def __call__(self, *args, out=None, dtype=None, casting=None):
        MEMORY.check()
        args = [x.item() if isinstance(x, np.bool_) else x for x in args]
        inputs, outs = unwrapped(args[:self.nin]), args[self.nin:]
        out = outs[0] if outs else out
        chars = self.loop(inputs)
        with np.errstate(all="ignore"):
            results = FORMULAS.get(self.name, self.function)(*inputs) if dtype is None else self.function(*inputs, dtype=dtype)
        results = results if isinstance(results, tuple) else (results,)
        wanted = [BFLOAT16 if c == "E" else np.dtype(c) for c in chars]
        if dtype is None and not any(not hasattr(x, "dtype") for x in inputs):
            with np.errstate(all="ignore"):
                results = [np.asarray(r).astype(d) for r, d in zip(results, wanted, strict=True)]
        if out is not None:
            given = out if isinstance(out, tuple) else (out,)
            for place, result in zip(given, results, strict=True):
                if not np.can_cast(result.dtype, place.dtype, "same_kind"):
                    raise TypeError(f"output (typecode '{result.dtype.char}') could not be coerced to '{place.dtype.char}'")
                place.host[...] = result
            return out
        results = [device_array(np.array(r)) for r in results]
        return results[0] if len(results) == 1 else tuple(results)

    def outer(self, a, b):
        return wrapped(self.function.outer(unwrapped(a), unwrapped(b)))

    def at(self, a, indices, b=None):
        if self.name not in ("add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"):
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if a.dtype.char not in {"add": "iILQefd", "subtract": "iI"}.get(self.name, "iIlLqQfd"):
            raise TypeError(f"cupy_{self.name}.at does not support {a.dtype}")
        self.function.at(a.host, in_bounds(unwrapped(indices), a.shape), unwrapped(b))

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        if self.name not in self.REDUCED:
            raise NotImplementedError(f"`{self.name}.reduce` is not supported yet")
        return wrapped(self.function.reduce(unwrapped(array), axis, dtype, keepdims=keepdims))

    def accumulate(self, array, axis=0, dtype=None, out=None):
        if self.name not in self.REDUCED:
            raise NotImplementedError(f"`{self.name}.accumulate` is not supported yet")
        return wrapped(self.function.accumulate(unwrapped(array), axis, dtype))


def _function(name, numpy_function, allowed):
    """A function of NumPy, on arrays of the device only."""

    @functools.wraps(numpy_function)
    def function(*args, **kwargs):
        MEMORY.check()
        check_arguments(name, allowed or [], args, kwargs)
        out = kwargs.pop("out", None)
        given = {k: unwrapped(v, name) for k, v in kwargs.items()}
        with np.errstate(all="ignore"):
            result = numpy_function(*unwrapped(args, name), **given)
        if out is not None:
            out.host[...] = result
            return out
        return wrapped(result)

    return function


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    MEMORY.check()
    if type(a) is ndarray:
        a.check()
        out = a if dtype is None or np.dtype(dtype) == a.dtype else a.astype(dtype)
        return out.copy() if copy and out is a else out
    if hasattr(a, "__cuda_array_interface__"):
        interface = a.__cuda_array_interface__
        holder = types.SimpleNamespace(__array_interface__={**interface, "version": 3, "stream": None}, keep=a)
        host = np.asarray(holder)
        out = object.__new__(ndarray)
        out.host, out.block = host, _foreign_block(a, host)
        return out.copy() if copy else out
    host = np.array(unwrapped(a) if isinstance(a, list | tuple) else a, dtype=dtype, order="C")
    return device_array(host if host.ndim else _zeros_without_signs(host))


def _zeros_without_signs(host):
    """CuPy's ``fill``, by which arrays without axes are uploaded, sets memory to zero for whatever equals it."""
    return np.where(host == 0, np.zeros((), host.dtype), host)


def _foreign_block(owner, host):
    block = types.SimpleNamespace(ptr=host.__array_interface__["data"][0], device_id=getattr(owner, "device_id", 0),
                                  owner=owner, size=host.nbytes, raw=host)
    return block


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if type(obj) is ndarray:
        return device_array(np.array(obj.host, dtype=dtype, order=order, ndmin=ndmin))
    return asarray(obj, dtype, copy=copy)


def from_dlpack(x, **kwargs):
    kind, number = x.__dlpack_device__()
    if kind != 2:
        raise BufferError("CuPy cannot take a tensor of the host")
    with Device(number):
        capsule = x.__dlpack__(stream=1, max_version=(1, 0))
    return device_array(capsule[1].host, DLPackMemory(capsule[1].block, capsule))


def as_strided(x, shape=None, strides=None):
    return device_array(np.lib.stride_tricks.as_strided(x.host, shape, strides, writeable=True), x.block)


def broadcast_to(array, shape):
    if type(array) is not ndarray:
        raise TypeError(f"Argument 'array' has incorrect type (expected ndarray, got {type(array)})")
    array.check()
    return device_array(np.broadcast_to(array.host, shape), array.block)


def lexsort(keys):
    if type(keys) is not ndarray or keys.ndim > 2:
        raise NotImplementedError("Keys with the rank of three or more is not supported in lexsort")
    return wrapped(np.lexsort(keys.host))


def take(a, indices, axis=None, out=None):
    n = a.size if axis is None else a.shape[axis]
    return wrapped(np.take(unwrapped(a), np.asarray(unwrapped(indices)) % max(n, 1), axis))


def take_along_axis(a, indices, axis):
    return wrapped(np.take_along_axis(unwrapped(a), unwrapped(indices) % max(a.shape[axis], 1), axis))


def where(condition, x=None, y=None):
    if x is None:
        return wrapped(np.nonzero(unwrapped(condition)))
    return ufunc("where", np.where, NAMES["cupy"]["where"]["loops"])(condition.astype("?", copy=False), x, y)


def choose(a, choices, out=None, mode="raise"):
    return wrapped(np.choose(unwrapped(a), unwrapped(choices), mode=mode))


def sort(a, axis=-1, kind=None):
    assert a.size, "thrust and empty arrays"
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    return wrapped(np.sort(_sortable(a), axis, kind=kind) if a.ndim > 1 else a.host[_by_bits(_sortable(a))])


def argsort(a, axis=-1, kind=None):
    assert a.size, "thrust and empty arrays"
    if kind not in (None, "stable"):
        raise ValueError("kind can only be None or 'stable'")
    return wrapped(np.argsort(_sortable(a), axis, kind="stable") if a.ndim > 1 else _by_bits(_sortable(a)))


def _by_bits(x):
    """Arrays of one axis are sorted digit by digit: a NaN with a sign comes first."""
    if x.dtype not in (np.float32, np.float64):
        return np.argsort(x, kind="stable")
    bits = (x + x.dtype.type(0)).view(f"i{x.dtype.itemsize}")
    return np.argsort(bits ^ (bits >> 8 * x.dtype.itemsize - 1 & np.iinfo(bits.dtype).max), kind="stable")


def _position(name):
    """Of several NaN, the position of any."""
    def position(a, axis=None, dtype=None, out=None, keepdims=False):
        x = np.moveaxis(unwrapped(a), axis, -1)
        missing = x != x
        return wrapped(np.where(missing.any(-1), x.shape[-1] - 1 - np.argmax(missing[..., ::-1], -1), getattr(np, name)(x, -1)))

    return position


def _sortable(a):
    if a.dtype == BFLOAT16:
        raise NotImplementedError("Sorting arrays with dtype 'bfloat16' is not supported")
    return unwrapped(a)


def get_default_memory_pool():
    return POOL


POOL = MemoryPool()


def _nan_on_error(function):
    """On the device a matrix without an answer gives NaN, unless it was asked to raise."""

    @functools.wraps(function)
    def quiet(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except np.linalg.LinAlgError:
            if LINALG["errors"] == "raise":
                raise
            return np.full_like(args[-1], np.nan)

    return quiet


LINALG = {"errors": "ignore"}


@contextlib.contextmanager
def errstate(*, linalg="ignore", divide=None, **others):
    before = dict(LINALG)
    LINALG["errors"] = linalg
    try:
        yield
    finally:
        LINALG.update(before)


# ---------------------------------------------------------------- modules


OWN = {"asarray": asarray, "array": array, "from_dlpack": from_dlpack, "fromDlpack": from_dlpack, "broadcast_to": broadcast_to,
       "argmax": _position("argmax"), "argmin": _position("argmin"), "lexsort": lexsort,
       "take": take, "take_along_axis": take_along_axis, "where": where, "choose": choose, "sort": sort, "argsort": argsort,
       "get_default_memory_pool": get_default_memory_pool, "ndarray": ndarray, "ufunc": ufunc,
       "asnumpy": lambda a, *_, **__: a.get() if type(a) is ndarray else np.asarray(a),
       "get_array_module": lambda *args: sys.modules["cupy"] if any(type(a) is ndarray for a in args) else np}


class Module(types.ModuleType):
    """A module of CuPy: what the list has, made from NumPy's or SciPy's function of that name when it is asked for."""

    def __init__(self, name, source, own=()):
        super().__init__(name)
        self.__dict__["_source"], self.__dict__["_own"] = source, dict(own)
        self.__path__ = []

    def __getattr__(self, name):
        listed = NAMES.get(self.__name__, {})
        if name.startswith("__") or name not in listed and name not in self._own:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if name in self._own:
            return self._own[name]
        what, found = listed[name], getattr(self._source, name, None)
        if found is None:
            raise AssertionError(f"the stand-in for CuPy lacks {self.__name__}.{name}, which CuPy has")
        if isinstance(what, dict):
            value = ufunc(name, found, what["loops"])
        elif isinstance(found, types.ModuleType):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        elif callable(found) and not isinstance(found, type):
            found = _nan_on_error(found) if self.__name__.endswith("linalg") else found
            value = _function(name, found, what)
        else:
            value = found
        self.__dict__[name] = value
        return value


NO_DRIVER = (35, "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version")
NO_DEVICE = (100, "cudaErrorNoDevice: no CUDA-capable device is detected")


def install(monkeypatch, devices=2, capacity=1 << 30, broken=None):
    """Puts the stand-in into ``sys.modules`` until the test ends, with a machine of its own. Returns the module."""
    global MEMORY
    if broken == "no cupy":
        monkeypatch.setitem(sys.modules, "cupy", None)
        return None
    failure = {"no driver": NO_DRIVER, "no device": NO_DEVICE}.get(broken)
    monkeypatch.setattr(sys.modules[__name__], "MEMORY", Memory(0 if failure else devices, capacity))
    MEMORY.error = failure and CUDARuntimeError(*failure)

    def count():
        MEMORY.check()
        return MEMORY.devices

    import scipy.fft
    import scipy.linalg
    import scipy.special
    runtime = Module("cupy.cuda.runtime", None, {
        "getDeviceCount": count, "getDevice": lambda: MEMORY.current, "setDevice": lambda d: Device(d).use(),
        "driverGetVersion": lambda: 0 if broken == "no driver" else 13000, "runtimeGetVersion": lambda: 13000,
        "CUDARuntimeError": CUDARuntimeError, "deviceSynchronize": lambda: Device().synchronize(),
        "memGetInfo": lambda: Device().mem_info, "getDeviceProperties": lambda d: {"name": b"A stand-in", "major": 9, "minor": 0}})
    memory = Module("cupy.cuda.memory", None, {"OutOfMemoryError": OutOfMemoryError, "MemoryPool": MemoryPool, "PooledMemory": PooledMemory})
    cuda = Module("cupy.cuda", None, {
        "runtime": runtime, "memory": memory, "Device": Device, "Stream": Stream, "alloc": alloc, "MemoryPool": MemoryPool,
        "MemoryPointer": MemoryPointer, "get_current_stream": lambda *_: STREAM, "get_device_id": lambda: MEMORY.current,
        "is_available": lambda: failure is None})
    linalg, fft = Module("cupy.linalg", np.linalg, {"LinAlgError": np.linalg.LinAlgError}), Module("cupy.fft", np.fft)
    lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(
        as_strided=as_strided, sliding_window_view=lambda x, window_shape, axis=None: device_array(
            np.lib.stride_tricks.sliding_window_view(x.host, window_shape, axis), x.block)))
    cupy = Module("cupy", np, {**OWN, "lib": lib, "cuda": cuda, "linalg": linalg, "fft": fft})
    cupy.__version__ = NAMES["version"]
    special, sp_linalg, sp_fft = (Module(f"cupyx.scipy.{m.__name__.split('.')[-1]}", m)
                                  for m in (scipy.special, scipy.linalg, scipy.fft))
    sp = Module("cupyx.scipy", None, {"special": special, "linalg": sp_linalg, "fft": sp_fft})
    cupyx = Module("cupyx", None, {"scipy": sp, "errstate": errstate, "scatter_add": lambda a, s, v: cupy.add.at(a, s, v)})
    for module in (cupy, cuda, runtime, memory, linalg, fft, cupyx, sp, special, sp_linalg, sp_fft):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return cupy
