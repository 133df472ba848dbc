"""From the source of a kernel to the address of its machine code.

In: the text of ``def kernel(pointers, sizes, start, stop)``, all four of them int64: two addresses of lists of int64 and
a range. Out: an address. Equal sources are one kernel in the process, and one entry of the disk cache. Numba is imported
when something is compiled that no process has compiled before; a cached kernel needs only llvmlite.
"""
from __future__ import annotations

import functools
import hashlib
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from funcgrad.compiler import cache
from funcgrad.compiler.objects import provide, unresolved

ON_A_SHELF = 64
"""Kernels that are loaded, and unloaded, together: a loader of its own for each would take milliseconds."""
SHELVES = 64
"""Shelves that are kept though no program may need them; the oldest goes first."""

lock = threading.RLock()
_shelves: list[Shelf] = []
compile_seconds = 0.0
"""What compiling has taken in this process."""


class Shelf:
    """Some kernels in memory, until nobody refers to them: who has an address keeps its shelf."""

    def __init__(self) -> None:
        self.engine = _new_engine()
        self.addresses: dict[str, int] = {}


def address(source: str) -> tuple[int, Shelf]:
    """The address of the kernel with this source, which is compiled if no cache has it, and what to keep meanwhile."""
    with lock:
        for shelf in reversed(_shelves):
            found = shelf.addresses.get(source)
            if found is not None:
                return found, shelf
        if not _shelves or len(_shelves[-1].addresses) >= ON_A_SHELF:
            _shelves.append(Shelf())
            del _shelves[:-SHELVES]
        shelf = _shelves[-1]
        found = shelf.addresses[source] = _address(source, lambda: build(source), source + library_digest(), shelf.engine)
        return found, shelf


def function_address(function: str, arguments: int) -> int:
    """The address of a function of ``executor.py`` that takes some int64."""
    def compiled() -> tuple[bytes, str]:
        from funcgrad.compiler import executor
        return build(getattr(executor, function), function, arguments)

    with lock:
        return _address(function, compiled, function + library_digest())


def native_address(name: str, build: Callable[[], tuple[bytes, str]]) -> int:
    """The address of a function whose object file and symbol are built without Numba."""
    with lock:
        return _address(name, build, name + library_digest())


def _address(source: str, compiled: Callable[[], tuple[bytes, str]], text: str, engine: Any = None) -> int:
    name = cache.key(text)
    entry = cache.read(name)
    if entry is None or not linkable(entry[0]):
        global compile_seconds
        start = time.perf_counter()
        entry = compiled()
        compile_seconds += time.perf_counter() - start
        if not linkable(entry[0]):
            raise RuntimeError(f"compiled code refers to {', '.join(unresolved(entry[0]))}, which this process does not have")
        cache.write(name, *entry)
    return load(*entry, engine)


@functools.cache
def library_digest() -> str:
    """The text of the modules that kernels are linked with: another text is another kernel."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _engine() -> Any:
    """The loader of what every program needs; it lives as long as the process."""
    return _new_engine()


def _new_engine() -> Any:
    """A loader of object files."""
    import llvmlite.binding as llvm
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), llvm.Target.from_default_triple().create_target_machine())


def linkable(code: bytes) -> bool:
    """Whether all that an object file refers to is in the process; linking another one would end it."""
    with lock:
        _engine()  # the process itself is searched once there is an engine
        provide(code)
        return not unresolved(code)


def load(code: bytes, symbol: str, engine: Any = None) -> int:
    """The address of a function in an object file, which is linked into the process: for as long as the engine lives."""
    from llvmlite.binding import ObjectFileRef
    with lock:
        engine = engine or _engine()
        engine.add_object_file(ObjectFileRef.from_data(code))
        engine.finalize_object()
        return engine.get_function_address(symbol)


@functools.cache
def namespace() -> dict[str, Any]:
    """The functions that kernel sources may call."""
    from funcgrad.compiler import access, tiles, vecmath
    return {**access.names(), **tiles.functions(), **vecmath.functions(), "inf": math.inf, "nan": math.nan}


@functools.cache
def _pipeline() -> type:
    """Numba's compiler with only the passes that a kernel needs: no closures, no objects, no parallel loops in its source."""
    from numba.core import typed_passes, untyped_passes
    from numba.core.compiler import CompilerBase
    from numba.core.compiler_machinery import PassManager

    class KernelCompiler(CompilerBase):
        def define_pipelines(self) -> list[PassManager]:
            passes = PassManager("kernel")
            for each in (untyped_passes.TranslateByteCode, untyped_passes.FixupArgs, untyped_passes.IRProcessing,
                         untyped_passes.ReconstructSSA, typed_passes.NopythonTypeInference, typed_passes.PreLowerStripPhis,
                         typed_passes.IRLegalization, typed_passes.NativeLowering, typed_passes.NoPythonBackend):
                passes.add_pass(each, each._name)
            passes.finalize()
            return [passes]

    return KernelCompiler


def build(source: str | Callable, name: str = "kernel", arguments: int = 4) -> tuple[bytes, str]:
    """Compiles a function of int64 without a result: its object file, and its symbol there."""
    from numba.core import config
    from numba.core.compiler_lock import global_compiler_lock
    with lock:
        before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1  # small loops are unrolled before loops are vectorised
        try:
            library, symbol = typed(source, namespace(), name, arguments)
            library._finalize_final_module = lambda: None  # else Numba makes machine code too, loads it and keeps it for ever
            with global_compiler_lock:
                library.finalize()
        finally:
            config.SLP_VECTORIZE = before
        return library.codegen._tm.emit_object(library._final_module), symbol


def typed(source: str | Callable, words: dict[str, Any], name: str = "kernel", arguments: int = 4) -> tuple[Any, str]:
    """Numba's part for a function of int64 without a result: a library of LLVM's modules, not linked yet, and its symbol."""
    from numba.core import cpu, types
    from numba.core.compiler import Flags, compile_extra
    from numba.core.registry import cpu_target
    from numba.core.target_extension import target_override
    with lock:
        if isinstance(source, str):
            scope = dict(words)
            exec(compile(source, f"<{name}>", "exec"), scope)
            digest = hashlib.blake2b(source.encode(), digest_size=16).hexdigest()
            source = scope[name]
            source.__qualname__ = f"{name}_{digest}"  # its symbol: no two kernels have the same
        flags = Flags()
        flags.no_cpython_wrapper = True
        flags.no_cfunc_wrapper = True
        flags.no_compile = True  # nothing is loaded, and Numba forgets the function: else it would keep all of its types
        flags.error_model = "numpy"
        flags.fastmath = cpu.FastMathOptions({"contract"})
        cpu_target.typing_context.refresh()
        cpu_target.target_context.refresh()
        with target_override("cpu"):
            result = compile_extra(cpu_target.typing_context, cpu_target.target_context, source,
                                   (types.int64,) * arguments, types.none, flags, {}, pipeline_class=_pipeline())
        return result.library, result.fndesc.mangled_name
