"""From the source of a kernel for a GPU to PTX, the assembler's text that the driver takes.

In: the text of ``def kernel(pointers, sizes, start, stop)``, as for the processor, and what a GPU can do. Out: bytes, and the
name of a function in them. Numba types the program as one for the processor, in which words stand for other instructions; LLVM,
which comes with Numba, compiles it for NVIDIA's processors. Nothing of CUDA is needed.

    entry(source, (9, 0))    ->    b".version 8.0 .target sm_90 ... .entry kernel_1f0c...(", "kernel_1f0c..."

The function is ``NAME(pointers, sizes, rows, chunk, team)``, all of them 64 bits wide. ``team`` threads, 1, 32 or 256, run the
kernel together for ``chunk`` rows; a block has at most 256 threads, and whole teams.
"""
from __future__ import annotations

import functools
import hashlib
import math
import time
from typing import Any

from funcgrad.compiler import cache, kernel
from funcgrad.errors import DeviceError, message

KEPT = 4096
"""Texts that a process keeps: those of the kernels that it used last."""
LEVEL = 3
LLVM = (22,)
"""The first version that was tried: earlier ones name some instructions otherwise, and end the process for what they lack."""

_ENTRY = """
target triple = "nvptx64-nvidia-cuda"
declare i32 @{symbol}(ptr, ptr, i64, i64, i64, i64)
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
declare i64 @llvm.cttz.i64(i64, i1)
declare i64 @llvm.smin.i64(i64, i64)
define ptx_kernel void @{name}(i64 %pointers, i64 %sizes, i64 %rows, i64 %chunk, i64 %team) convergent "nvvm.maxntid"="256" {{
  %t = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %n = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %b = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %t64 = zext i32 %t to i64
  %n64 = zext i32 %n to i64
  %b64 = zext i32 %b to i64
  %before = mul nuw nsw i64 %b64, %n64
  %thread = add nuw nsw i64 %before, %t64
  %shift = call i64 @llvm.cttz.i64(i64 %team, i1 true)
  %number = lshr i64 %thread, %shift
  %start = mul nuw nsw i64 %number, %chunk
  %later = icmp ne i64 %number, 0
  %past = icmp sge i64 %start, %rows
  %beyond = and i1 %later, %past
  br i1 %beyond, label %done, label %work
work:
  %place = alloca ptr
  %end = add nuw nsw i64 %start, %chunk
  %stop = call i64 @llvm.smin.i64(i64 %end, i64 %rows)
  %status = call i32 @{symbol}(ptr %place, ptr null, i64 %pointers, i64 %sizes, i64 %start, i64 %stop)
  br label %done
done:
  ret void
}}
"""
"""What the GPU calls: thread t belongs to the team t // team, whose rows these are. The team is a power of two. The first runs
also where there are no rows: it writes what a sum of nothing is."""


def entry(source: str, capability: tuple[int, int]) -> tuple[bytes, str]:
    """PTX of a kernel for GPUs of a compute capability, such as (9, 0), and its name; compiled if no cache has it.

    Raises DeviceError for a capability below 8.0.
    """
    return _entry(source, architecture(capability))


def architecture(capability: tuple[int, int]) -> str:
    """What to compile for: PTX for an architecture runs on all later ones."""
    if capability < (8, 0):
        found = ".".join(map(str, capability))
        raise DeviceError(message("this GPU is too old", f"compute capability {found}",
                                  "8.0 or later (Ampere, Ada, Hopper, Blackwell)", 'the processor: fg.device_put(x, "cpu")'))
    return "sm_90" if capability >= (9, 0) else "sm_80"


@functools.lru_cache(maxsize=KEPT)
def _entry(source: str, target: str) -> tuple[bytes, str]:
    with kernel.lock:
        # PTX depends neither on this computer's processor nor on the driver, which compiles it for the GPU that is there.
        name = cache.key(source + kernel.library_digest(), f"cuda {target}")
        found = cache.read(name)
        if found is None:
            start = time.perf_counter()
            found = ptx(source, target)
            kernel.compile_seconds += time.perf_counter() - start
            cache.write(name, *found)
        return found


def ptx(source: str, target: str) -> tuple[bytes, str]:
    """PTX of a kernel for an architecture such as "sm_90", and its name."""
    module, name = optimised(source, target)
    return emitted(module, target), name


@functools.cache
def namespace() -> dict[str, Any]:
    """The functions that kernel sources may call."""
    from funcgrad.compiler import access, vecmath
    from funcgrad.compiler.cuda import remainder, words
    return {**access.memory(access.GLOBAL), **vecmath.functions(), **words.words(), **remainder.functions(),
            "inf": math.inf, "nan": math.nan}


def optimised(source: str, target: str) -> tuple[Any, str]:
    """The LLVM module of a kernel after LLVM's passes, and the name of the function that the GPU calls."""
    import llvmlite.binding as llvm
    with kernel.lock:
        library, symbol = kernel.typed(source, namespace())
        name = f"kernel_{hashlib.blake2b(source.encode(), digest_size=16).hexdigest()}"
        machine = target_machine(target)
        module = llvm.parse_assembly(_ENTRY.format(symbol=symbol, name=name))
        module.data_layout = str(machine.target_data)
        called = [each._get_module_for_linking().clone() for each in dict.fromkeys(library._linking_libraries)]
        for part in (library._final_module, *called):
            part.triple, part.data_layout = module.triple, module.data_layout
            module.link_in(part)
        for function in module.functions:
            if not function.is_declaration and function.name != name:
                function.linkage = "internal"
                function.add_function_attribute("alwaysinline")
                function.add_function_attribute("convergent")  # threads wait for each other in it
        for variable in module.global_variables:
            variable.linkage = "internal"  # Numba's own are for the processor's exceptions
        module.verify()
        builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(LEVEL))
        builder.getModulePassManager().run(module, builder)
        missing = sorted(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
        if missing:
            raise RuntimeError(f"a kernel for CUDA refers to {', '.join(missing)}, which no GPU has")
        return module, name


def emitted(module: Any, target: str) -> bytes:
    """PTX of an LLVM module, which is used up."""
    with kernel.lock:
        return target_machine(target).emit_assembly(module).encode()


@functools.cache
def target_machine(target: str) -> Any:
    """LLVM's description of an architecture; PTX 8.0 is what CUDA 12.0 knows."""
    import llvmlite.binding as llvm
    if llvm.llvm_version_info < LLVM:
        found = ".".join(map(str, llvm.llvm_version_info))
        raise DeviceError(message("kernels for a GPU need a newer LLVM", f"LLVM {found} of llvmlite",
                                  f"LLVM {LLVM[0]}, which llvmlite has from 0.48 on", "pip install --upgrade numba"))
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    return llvm.Target.from_triple("nvptx64-nvidia-cuda").create_target_machine(cpu=target, features="+ptx80", opt=LEVEL)
