"""A kernel for a GPU, run on the processor as LLVM has optimised it for the GPU: its last stage that needs no GPU.

In: a source. Out: a ``Block``, which runs a grid of blocks, each of as many threads of Python's as the GPU would have. What LLVM
calls for NVIDIA's processors, such as a shuffle, is answered by them; shared memory is a variable of the module.

    Block(source).run([x.ctypes.data, y.ctypes.data], sizes=[100], rows=3, chunk=1, team=32)
"""
from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Sequence

import llvmlite.binding as llvm
import numpy as np
from simt_program import Program

from funcgrad.compiler import kernel
from funcgrad.compiler.cuda import ptx
from funcgrad.compiler.nodes import Step


class Block:
    """Runs LLVM's module of a kernel with threads of Python's: its calls for the GPU are answered here."""

    def __init__(self, source: str):
        module, name = ptx.optimised(source, "sm_80")
        text = re.sub(r"^target .*$|ptx_kernel | addrspace\(\d\)", "", str(module), flags=re.MULTILINE)
        text = re.sub(r"@llvm\.nvvm\.([a-z0-9_.]+)", lambda found: f"@block_{found[1].replace('.', '_')}_{id(self)}", text)
        self.together = "_sync_" in text  # threads that never wait for each other may run one after the other
        number, self.local = ctypes.c_int32, threading.local()
        self.box = np.zeros(256, np.int32)
        answers = {
            "read_ptx_sreg_tid_x": ([], lambda: self.local.thread), "read_ptx_sreg_ntid_x": ([], lambda: self.size),
            "read_ptx_sreg_ctaid_x": ([], lambda: self.number),
            "shfl_sync_bfly_i32": ([number] * 4, lambda mask, x, d, last: self.exchange(x, self.local.thread ^ d)),
            "shfl_sync_up_i32": ([number] * 4, lambda mask, x, d, first: self.exchange(
                x, self.local.thread - (d if self.local.thread % 32 >= d else 0))),
            "bar_warp_sync": ([number], lambda mask: self.warp().wait()),
            "barrier_cta_sync_aligned_all": ([number], lambda barrier: self.barrier.wait())}
        self.answers = {name: ctypes.CFUNCTYPE(number, *kinds)(answer) for name, (kinds, answer) in answers.items()}
        for answer, function in self.answers.items():
            llvm.add_symbol(f"block_{answer}_{id(self)}", ctypes.cast(function, ctypes.c_void_p).value)
        with kernel.lock:
            self.engine = kernel._new_engine()
            self.engine.add_module(llvm.parse_assembly(text))
            self.engine.finalize_object()
        self.function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(self.engine.get_function_address(name))

    def warp(self) -> threading.Barrier:
        return self.warps[self.local.thread // 32]

    def exchange(self, x: int, other: int) -> int:
        self.box[self.local.thread] = x
        self.warp().wait()
        found = int(self.box[other])
        self.warp().wait()
        return found

    def run(self, pointers: Sequence[int], sizes: Sequence[int], rows: int, chunk: int, team: int) -> None:
        """A grid of just enough blocks and one more."""
        addresses, numbers = np.array(pointers, np.int64), np.array([*sizes, 0], np.int64)
        self.size = max(team, 64)

        def thread(i: int) -> None:
            self.local.thread = i
            self.function(addresses.ctypes.data, numbers.ctypes.data, rows, chunk, team)

        for number in range(-(-rows // chunk) * team // self.size + 2):
            self.number = number
            self.barrier = threading.Barrier(self.size, timeout=60)
            self.warps = [threading.Barrier(32, timeout=60) for _ in range(self.size // 32)]
            threads = [threading.Thread(target=thread, args=(i,)) for i in range(self.size)] if self.together else []
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            for i in range(0 if self.together else self.size):
                thread(i)


class Optimised(Program):
    """A schedule whose kernels are run so."""

    def kernel(self, step: Step) -> None:
        k = step.kernel
        Block(k.source).run([self.address(v) for v in k.operands], k.sizes, k.rows, k.chunk, k.team)
