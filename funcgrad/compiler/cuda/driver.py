"""The driver of a GPU: everything that the machine asks of CuPy.

In: addresses, texts of kernels, words on the host. Out: memory of CuPy's pool, launches on CuPy's current stream, graphs that
are captured once and launched as one. The machine calls nothing of CuPy besides.

    d = driver(0);  f = d.load(source);  d.launch(f, grid, block, args);  d.read(address, 8)
"""
from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from funcgrad.compiler.cuda import contraction, cublas, ptx
from funcgrad.core import device as devices
from funcgrad.core.device import Device
from funcgrad.errors import DeviceError, message

KERNELS = 4096
"""Kernels that are kept loaded though no program may need them; those unused for longest go first."""
MOST_BLOCKS = (1 << 31) - 1
"""Blocks of a grid along its first axis."""
FILLED = 1 << 16
"""Threads from which blocks may be large: smaller ones leave no multiprocessor without work."""
TO_DEVICE, TO_HOST, ON_DEVICE = 1, 2, 3
"""Directions of cudaMemcpyAsync."""
PER_THREAD = 2
"""cudaStreamPerThread, which is CuPy's default stream under CUPY_CUDA_PER_THREAD_DEFAULT_STREAM=1."""
DEAD = frozenset([700, 702, 709, 710, 714, 715, 716, 717, 718, 719])
"""Numbers of errors after which a context answers nothing any more: what a kernel did cannot be undone."""


drivers: dict[int, Driver] = {}
"""By the numbers of the GPUs."""


def driver(number: int) -> Driver:
    """The driver of the GPU with a number."""
    if number not in drivers:
        drivers[number] = Driver(number)
    return drivers[number]


class Recording:
    """What was captured. ``launch()``, once the capture has ended, puts it on the current stream."""

    launch: Callable[[], None]
    workspace: Any = None
    """What its products compute in."""


class Driver:
    """One GPU. All that it is asked to do is done in order on the stream that is CuPy's current one when it is asked."""

    def __init__(self, number: int):
        self.cupy = devices.cupy()
        self.device = Device(f"cuda:{number}")
        self.number = number
        with self.cupy.cuda.Device(number) as current:
            major, minor = current.compute_capability[:-1], current.compute_capability[-1]
        self.capability = int(major), int(minor)
        runtime = self.cupy.cuda.runtime
        self.get_current_stream, self.number_now, self.copying = \
            self.cupy.cuda.get_current_stream, runtime.getDevice, runtime.memcpyAsync
        self.empty = self.cupy.ndarray
        """``empty(shape, dtype)`` is an uninitialised array from CuPy's pool."""
        self.out_of_memory = self.cupy.cuda.memory.OutOfMemoryError
        self.executables: weakref.WeakSet[Any] = weakref.WeakSet()
        self.pooled = self.cupy.cuda.memory.PooledMemory
        self.kernels: OrderedDict[str, Any] = OrderedDict()
        self.loading, self.capturing = threading.Lock(), threading.Lock()
        self.side: Any = None
        """The stream on which work is captured; CuPy's default stream cannot."""
        self.cublas: Any = None
        self.capturable: Any = None
        """cuBLAS as it is called while a stream is captured."""
        self.thread = 0
        """The thread that captures; 0 if none does."""
        self.workspaces: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        """What products of graphs compute in, one for each stream, on which graphs run one after the other."""

    def run(self, function: Callable, *args: Any) -> Any:
        """Calls a function while the GPU is CuPy's current one; errors of CuPy become those of the library."""
        if self.number_now() != self.number:
            with self.cupy.cuda.Device(self.number):
                return self.run(function, *args)
        try:
            return function(*args)
        except Exception as error:
            self.raise_explained(error)

    def raise_explained(self, error: Exception) -> NoReturn:
        """Raises what the user is told of an error of CUDA's, or the error itself if it is something else."""
        explained = self.explain(error)
        if explained is None:
            raise error
        raise explained from error

    def explain(self, error: Exception) -> DeviceError | None:
        """What the user is told of an error of CUDA's; None if it is no failure of the device."""
        status = getattr(error, "status", None)
        if status in DEAD:
            return DeviceError(message(
                f"a compiled program: {self.device} stopped, and its context with it", str(error), "kernels that stay within "
                "their memory", "a new process, as all arrays there are lost. With CUDA_LAUNCH_BLOCKING=1 the error comes from "
                "the call that causes it; under fg.disable_jit() no compiled kernel runs"))
        explained = devices.explain(error, "a compiled program", self.device)
        if explained is None and isinstance(status, int):  # of the driver, or of cuBLAS
            explained = DeviceError(message(
                f"a compiled program: {self.device} failed", f"{type(error).__name__}: {error}", "a device that answers",
                "fg.doctor(), which tells whether driver and CuPy fit each other"))
        return explained

    # ------------------------------------------------------------ memory

    def stream(self) -> int:
        """Which stream is CuPy's current one."""
        return self.get_current_stream().ptr

    def order(self, stream: int) -> Any:
        """What is one after the other on a stream: everything, but for the default stream that each thread has of its own."""
        return stream if stream != PER_THREAD else (stream, threading.get_ident())

    def finish(self) -> None:
        """Waits for what is on the current stream, so that work on others may read it."""
        self.get_current_stream().synchronize()

    def put(self, x: Any) -> Any:
        """A value as a ``cupy.ndarray`` on this device, in row-major order: itself if it is one."""
        return devices.row_major(devices.moved(x, self.device, "a compiled program"))

    def copy(self, x: Any) -> Any:
        """The same values in other memory."""
        return x.copy()

    def release(self) -> None:
        """Lets go of the memory that executables keep for their next call: arenas, places for operands, graphs."""
        for executable in list(self.executables):
            for frames in list(executable.frames.values()):
                frames.clear()

    def view(self, address: int, shape: Sequence[int], dtype: np.dtype, strides: Sequence[int]) -> Any:
        """The elements at an address as a ``cupy.ndarray``; strides in bytes. Whose memory it is, keeps it."""
        cuda = self.cupy.cuda
        size = dtype.itemsize + sum([(n - 1) * abs(s) for n, s in zip(shape, strides, strict=True) if n])
        memory = cuda.UnownedMemory(address, size, None, self.number)
        return self.cupy.ndarray(tuple(shape), dtype, cuda.MemoryPointer(memory, 0), tuple(strides))

    def alone(self, arrays: Sequence[Any], i: int) -> bool:
        """Whether nobody but this sequence refers to the memory of an array in it.

        Views of it, and whoever took it by DLPack, refer to the array itself, to its pointer or to the block that it leads to.
        What comes from another library, or from an allocator other than CuPy's pool, may always be somebody else's too.
        """
        count = sys.getrefcount
        if count(arrays[i]) != 2 or arrays[i].base is not None or not arrays[i].flags.c_contiguous:
            return False  # the sequence and the call's argument; no variable may name the array, its pointer or its block
        return isinstance(arrays[i].data.mem, self.pooled) and count(arrays[i].data) <= 2 and count(arrays[i].data.mem) <= 2

    def write(self, address: int, source: int, nbytes: int, stream: int) -> None:
        """Copies bytes of the host to the device. The source may be overwritten when this returns: CUDA copies pageable memory
        to a buffer of its own first."""
        self.copying(address, source, nbytes, TO_DEVICE, stream)

    def duplicate(self, address: int, source: int, nbytes: int, stream: int) -> None:
        """Copies bytes from one place on the device to another."""
        self.copying(address, source, nbytes, ON_DEVICE, stream)

    def read(self, address: int, dtype: Any, stream: int) -> Any:
        """The number at an address, once all that was put on the stream before is done."""
        found = np.empty((), dtype)
        self.copying(found.ctypes.data, address, found.nbytes, TO_HOST, stream)
        self.cupy.cuda.runtime.streamSynchronize(stream)
        return found[()]

    # ------------------------------------------------------------ kernels

    def load(self, source: str) -> Any:
        """The kernel with this text, compiled and loaded if it is not yet. Whoever keeps it keeps it loaded."""
        with self.loading:
            found = self.kernels.pop(source, None)
            if found is None:
                code, name = ptx.entry(source, self.capability)
                module = self.cupy.cuda.function.Module()
                module.load(code)
                found = module.get_function(name)
                if len(self.kernels) >= KERNELS:
                    self.kernels.popitem(last=False)
            self.kernels[source] = found
            return found

    def launch(self, kernel: Any, grid: int, block: int, args: tuple) -> None:
        """Launches a kernel; ``args`` are NumPy's integers of 64 bits."""
        kernel((grid,), (block,), args)

    def gemm(self, numbers: list[int], a: int, b: int, c: int) -> None:
        """A product of cuBLAS, as ``contraction.record`` describes it, of operands at addresses."""
        if self.cublas is None:
            try:
                self.cublas = self.cupy.cuda.cublas  # loads a library of hundreds of megabytes
            except ImportError as error:
                raise devices.without_library("a matrix product", error) from error
        functions = self.capturable if self.thread == threading.get_ident() else self.cublas
        contraction.launch(functions, self.cupy.cuda.device.get_cublas_handle(), numbers, a, b, c)

    @contextlib.contextmanager
    def capture(self) -> Iterator[Recording]:
        """Inside, kernels and products are not done, but recorded: on a stream that is the current one meanwhile."""
        recording = Recording()
        with self.capturing:
            stream, self.side = self.side or self.cupy.cuda.Stream(non_blocking=True), None
            if self.cublas is not None:  # before the capture, in which nothing can be created
                recording.workspace = self.prepare_products(stream.ptr)
            with stream:
                stream.begin_capture()
                self.thread = threading.get_ident()
                try:
                    yield recording
                except BaseException:
                    with contextlib.suppress(Exception):
                        stream.end_capture()
                    raise  # the stream may be unusable: the next capture has another
                finally:
                    self.thread = 0
                recording.launch = stream.end_capture().launch
            self.side = stream

    def prepare_products(self, side: int) -> Any:
        """Lets products go to the stream that is captured, and gives what those of graphs on the current stream compute in."""
        if self.capturable is None:
            try:
                self.capturable = cublas.Capturable(cublas.library(self.cupy.cuda.runtime.runtimeGetVersion() // 1000))
            except (OSError, AttributeError):
                self.capturable = self.cublas  # which refuses: what has products is launched part by part
        if self.capturable is self.cublas:
            return None
        stream, size = self.order(self.stream()), cublas.workspace_size(self.capability)
        workspace = self.workspaces.get(stream)
        if workspace is None:
            workspace = self.workspaces[stream] = Workspace(self.empty((size,), np.dtype(np.uint8)))
        handle = self.cupy.cuda.device.get_cublas_handle()  # each thread has one
        self.capturable.begin(handle, side, workspace.memory.data.ptr, size)
        return workspace


class Workspace:
    """Memory that lasts as long as a graph refers to it."""

    def __init__(self, memory: Any):
        self.memory = memory


def geometry(rows: int, chunk: int, team: int) -> tuple[int, int]:
    """Blocks, and threads of each, for ``rows`` of which a team does ``chunk`` at a time.

    >>> geometry(1000, 1, 1), geometry(10, 2, 256), geometry(10**8, 4, 1)
    ((16, 64), (5, 256), (97657, 256))
    """
    threads = -(-rows // chunk) * team
    block = 256 if team == 256 or threads > 4 * FILLED else 128 if threads > FILLED else 64
    blocks = -(-threads // block)
    if blocks > MOST_BLOCKS:
        raise DeviceError(message(
            "a compiled program: a kernel has more rows than a grid has threads", f"{rows:,} rows, {team} threads for each "
            f"{chunk}: {blocks:,} blocks", f"at most {MOST_BLOCKS:,} blocks", "arrays of fewer rows, one part after the other"))
    return blocks, block
