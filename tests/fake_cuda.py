"""What the driver of a GPU asks of CuPy beyond arrays, for tests without one: streams, graphs, kernels, copies, cuBLAS.

On top of ``fake_cupy``: device memory is memory of this process at its own addresses. A kernel is loaded from its text instead of
PTX, and a launch runs it in the simulator, every access checked. What is issued on a stream that captures is recorded, and done
when the graph is launched. ``Gpu`` counts what happens, and injects failures:

    gpu = fake_cuda.install(monkeypatch)
    gpu.fail("launch", 2)                # the second launch from now raises
"""
from __future__ import annotations

import ctypes
import sys
import threading
import types
import weakref

import fake_cupy
import numpy as np
from fake_cublas import FakeCublas
from simt import Memory, simulate

from funcgrad.compiler.cuda import cublas as library
from funcgrad.compiler.cuda import driver, ptx

MOST_BLOCKS, MOST_THREADS = (1 << 31) - 1, 1024
ERRORS = {
    "launch": (719, "cudaErrorLaunchFailure: unspecified launch failure"),
    "illegal": (700, "cudaErrorIllegalAddress: an illegal memory access was encountered"),
    "capture": (901, "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error during capture"),
    "load": (209, "CUDA_ERROR_NO_BINARY_FOR_GPU: no kernel image is available for execution on the device"),
}


class Gpu:
    """What happened, and what is to go wrong. ``watch``: the simulator looks for races."""

    def __init__(self):
        self.launches = self.captures = self.replays = self.reads = self.writes = self.loads = 0
        self.failures: dict[str, range] = {}
        self.watch = True
        self.local = threading.local()
        self.legacy = Stream(self, 0)
        self.capturing: list[Stream] = []

    def fail(self, what, after=1, times=1):
        """Lets the call number ``after`` from now on fail, and those that follow: "alloc", "launch", "illegal", "capture" or
        "load"."""
        self.failures[what] = range(after, after + times)

    def happens(self, what):
        if what in self.failures:
            left = self.failures[what] = range(self.failures[what].start - 1, self.failures[what].stop - 1)
            if left.stop <= 1:
                del self.failures[what]
            if left.start <= 0:
                if what == "alloc":
                    raise fake_cupy.OutOfMemoryError(512, fake_cupy.MEMORY.used[0], fake_cupy.MEMORY.capacity)
                raise fake_cupy.CUDARuntimeError(*ERRORS[what])

    def stream(self):
        return getattr(self.local, "stream", self.legacy)

    def issue(self, work):
        """Does something now, or when the graph that the stream is recording is launched."""
        fake_cupy.MEMORY.check()
        stream = self.stream()
        if stream.recorded is None:
            assert not any(not s.non_blocking for s in self.capturing), "the default stream waits for a stream that captures"
            work()
        else:
            stream.recorded.append(work)

    def may_not_capture(self):
        fake_cupy.MEMORY.check()
        if self.stream().recorded is not None:
            raise fake_cupy.CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")


class Stream:
    """A stream of CuPy. Number 0 is the default one, which cannot capture."""

    made = 0

    def __init__(self, gpu, ptr=None, non_blocking=False):
        if ptr is None:
            Stream.made += 1
            ptr = 0x1000 + Stream.made
        self.gpu, self.ptr, self.non_blocking = gpu, ptr, non_blocking
        self.recorded = None
        self.before = []

    def __enter__(self):
        self.before.append(self.gpu.stream())
        self.gpu.local.stream = self
        return self

    def __exit__(self, *exception):
        self.gpu.local.stream = self.before.pop()

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        assert self.recorded is None
        self.recorded = []
        self.gpu.capturing.append(self)

    def end_capture(self):
        recorded, self.recorded = self.recorded, None
        self.gpu.capturing.remove(self)
        self.gpu.happens("capture")
        self.gpu.captures += 1
        return Graph(self.gpu, recorded)

    def is_capturing(self):
        return self.recorded is not None

    def synchronize(self):
        self.gpu.may_not_capture()


class Graph:
    def __init__(self, gpu, recorded):
        self.gpu, self.recorded = gpu, recorded

    def launch(self, stream=None):
        self.gpu.may_not_capture()
        self.gpu.replays += 1
        for work in self.recorded:
            work()


# ---------------------------------------------------------------- kernels


class KernelModule:
    """``cupy.cuda.function.Module`` whose image is the text of a kernel."""

    def __init__(self, gpu):
        self.gpu, self.source = gpu, None

    def load(self, image):
        assert type(image) is bytes
        self.gpu.happens("load")
        self.gpu.loads += 1
        self.source = image.decode()

    def get_function(self, name):
        assert name == "kernel"
        return Function(self.gpu, self.source)


class Function:
    def __init__(self, gpu, source):
        self.gpu, self.source = gpu, source

    def __call__(self, grid, block, args, shared_mem=0, stream=None):
        assert type(grid) is tuple and type(block) is tuple and type(args) is tuple and stream is None and shared_mem == 0
        assert 0 < grid[0] <= MOST_BLOCKS and 0 < block[0] <= MOST_THREADS
        assert len(args) == 5 and all(type(a) is np.uint64 for a in args)
        numbers = [int(a) for a in args]
        self.gpu.happens("launch")
        self.gpu.happens("illegal")
        self.gpu.launches += 1
        self.gpu.issue(lambda: self.run(grid[0], block[0], *numbers))

    def run(self, blocks, threads, pointers, sizes, rows, chunk, team):
        needed = -(-rows // chunk) * team
        assert (blocks - 1) * threads < needed <= blocks * threads and threads % team == 0
        memory = Memory(self.gpu.watch)
        for block in list(fake_cupy.MEMORY.blocks.values()):
            memory.add(block.raw)
        simulate(self.source, memory, words(pointers), words(sizes), rows, chunk, team, threads)


def block_at(address):
    """The allocation that an address is in."""
    for block in list(fake_cupy.MEMORY.blocks.values()):
        if block.ptr <= address < block.ptr + max(block.size, 1):
            return block
    raise AssertionError(f"no allocation is at {address}")


def words(address):
    """The int64 from an address to the end of its allocation."""
    block = block_at(address)
    at = address - block.ptr
    return block.raw[at:at + (block.size - at) // 8 * 8].view(np.int64).tolist()


# ---------------------------------------------------------------- memory


def device_bytes(address, size):
    block = block_at(address)
    at = address - block.ptr
    assert at + size <= block.size
    return block.raw[at:at + size]


def host_bytes(address, size):
    return np.frombuffer((ctypes.c_char * size).from_address(address), np.uint8)


class UnownedMemory:
    """Memory at an address that is another's; ``ptr`` is that of the allocation, from which the stand-in counts."""

    def __init__(self, ptr, size, owner, device_id=-1):
        block = block_at(ptr)
        assert block.device_id == device_id
        self.address, self.size, self._owner, self.device_id = ptr, 1 << 62, owner, device_id  # NumPy checks the bounds
        self.raw, self.ptr = block.raw, block.ptr


class MemoryPointer(fake_cupy.MemoryPointer):
    def __init__(self, mem, offset):
        super().__init__(mem, offset)
        self.ptr = getattr(mem, "address", mem.ptr) + offset


def recycled(free):
    """Blocks that lie where one of their size lay before, as those of CuPy's pool; nothing there is what a program may rely on."""
    class Block(fake_cupy.Block):
        def __init__(self, size, device_id, pool):
            super().__init__(size, device_id, pool)
            unused = free.setdefault((device_id, size), [])
            if unused:
                self.raw = unused.pop()
                self.ptr = self.raw.ctypes.data
            self.raw[:] = 0xA5
            weakref.finalize(self, unused.append, self.raw)

    return Block


def install(monkeypatch, **options):
    """Puts CuPy with a GPU into ``sys.modules`` until the test ends. Returns the ``Gpu``."""
    cupy = fake_cupy.install(monkeypatch, **options)
    gpu = Gpu()
    cuda = cupy.cuda
    cublas = FakeCublas()

    def product(name):
        def call(*args):
            if gpu.stream().recorded is not None:
                raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
            handles.clear()  # CuPy sets the stream before each call, which takes the workspace away
            issue_product(name, *args)

        return call

    def issue_product(name, *args):
        """Factors are read from the host when the product is asked for."""
        factors = {i: host_bytes(args[i], 16).copy() for i in (6, 13 if name == "gemmEx" else 15)}
        given = [factors[i].ctypes.data if i in factors else x for i, x in enumerate(args)]
        gpu.issue(lambda: (factors, getattr(cublas, name)(*given)))

    handles = {}

    def set_stream(handle, stream):
        assert stream == 0 or stream > 0x1000
        handles[handle] = [stream, None]
        return 0

    def set_workspace(handle, address, size):
        assert address % 256 == 0 and len(device_bytes(address, size)) == size
        handles[handle][1] = address
        return 0

    def captured_product(name):
        def call(handle, *args):
            """It goes to the stream of the handle, which has to be the one that is captured here."""
            stream, workspace = handles[handle]
            if stream != gpu.stream().ptr or gpu.stream().recorded is None or workspace is None:
                return 13
            issue_product(name, handle, *args)
            gpu.issue(lambda: device_bytes(workspace, 1))  # it is still allocated whenever the graph runs
            return 0

        return call

    def c_library(version):
        assert version == 13
        return types.SimpleNamespace(
            cublasSetStream_v2=set_stream, cublasSetWorkspace_v2=set_workspace, cublasGemmEx=captured_product("gemmEx"),
            cublasGemmStridedBatchedEx=captured_product("gemmStridedBatchedEx"))

    def copy(dst, src, size, kind, stream):
        gpu.may_not_capture()
        assert stream == gpu.stream().ptr and kind in (1, 2, 3)
        gpu.writes, gpu.reads = gpu.writes + (kind == 1), gpu.reads + (kind == 2)
        source, target = (host_bytes(address, size) if on_host else device_bytes(address, size)
                          for address, on_host in ((src, kind == 1), (dst, kind == 2)))
        target[...] = source

    def synchronize(stream):
        gpu.may_not_capture()

    def allocate(memory, nbytes, of=fake_cupy.Memory.allocate):
        gpu.happens("alloc")
        return of(memory, nbytes)

    monkeypatch.setattr(fake_cupy.Memory, "allocate", allocate)
    monkeypatch.setattr(fake_cupy, "Block", recycled({}))
    cuda._own.update(
        function=types.SimpleNamespace(Module=lambda: KernelModule(gpu)), UnownedMemory=UnownedMemory, MemoryPointer=MemoryPointer,
        Stream=lambda **kind: Stream(gpu, **kind), get_current_stream=gpu.stream,
        device=types.SimpleNamespace(get_cublas_handle=lambda: 1),
        cublas=types.SimpleNamespace(gemmEx=product("gemmEx"), gemmStridedBatchedEx=product("gemmStridedBatchedEx")))
    cuda.runtime._own.update(memcpyAsync=copy, streamSynchronize=synchronize, memcpyHostToDevice=1, memcpyDeviceToHost=2)
    monkeypatch.setattr(library, "library", c_library)
    monkeypatch.setattr(ptx, "entry", lambda source, capability: (source.encode(), "kernel"))
    monkeypatch.setattr(driver, "drivers", {})
    gpu.cupy = sys.modules["cupy"]
    return gpu
