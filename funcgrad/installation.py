"""What keeps a GPU from being used, in plain words, with the command that mends it.

In: the machine as it is: NVIDIA's driver, CuPy, the libraries of the CUDA toolkit, LLVM. Out: a ``Diagnosis``, which prints
itself. Nothing raises, whatever is broken; CuPy is imported only if it is installed.

    >>> diagnosis = doctor()
    >>> [check.part for check in diagnosis.checks]
    ['driver', 'device', 'CuPy', 'toolkit', 'compiler', 'kernel']
"""
from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

CUDA = 13
"""The major version of CUDA that the extra ``cuda13`` brings CuPy and libraries for."""
CAPABILITY = (8, 0)
"""The least compute capability that kernels are made for: Ampere's."""
INSTALL = 'pip install --upgrade "funcgrad[cuda13]"'
LIBRARIES = {"cublas": "matrix products", "cusolver": "linear algebra", "cufft": "Fourier transforms",
             "nvrtc": "CuPy's kernels"}
"""The libraries of the toolkit that CuPy loads, and what for."""
NO_LIBRARY = -1
"""The place of a status where the driver's library itself is missing."""
STATUS = {
    NO_LIBRARY: ("the driver's library is not there", "install NVIDIA's driver (Ubuntu: sudo ubuntu-drivers install, then "
                 "restart); in a container: docker run --gpus all ..., with the NVIDIA Container Toolkit on the host"),
    34: ("the library is a stub for linking, not the driver", "take the folder of stubs out of LD_LIBRARY_PATH"),
    100: ("the driver finds no GPU", "see what nvidia-smi says; CUDA_VISIBLE_DEVICES must not be empty; in a container: "
          "docker run --gpus all ..."),
    802: ("the GPUs of the system are not ready yet", "sudo systemctl start nvidia-fabricmanager"),
    803: ("the driver's library and its kernel module have different versions", "restart the machine: the driver was updated"),
    804: ("the driver's compatibility library does not support this GPU", "take /usr/local/cuda/compat out of LD_LIBRARY_PATH"),
}
"""What the driver answers when it is started, and what mends it."""


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as the driver describes it; memory in bytes."""

    name: str
    capability: tuple[int, int]
    memory: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found on the machine; texts are error messages, None where there was no error."""

    status: int = 0
    """What the driver answered when it was started; 0 is success."""
    driver: tuple[int, int] = (0, 0)
    """The newest version of CUDA that the driver serves."""
    devices: tuple[Device, ...] = ()
    distributions: tuple[str, ...] = ()
    """The packages of CuPy that are installed, with their versions."""
    cupy: str | None = None
    built: int = 0
    """The major version of CUDA that CuPy was built for."""
    libraries: dict[str, str | None] = field(default_factory=dict)
    compiler: str | None = None
    kernel: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One part of what a GPU needs: whether it is well (None: it cannot be told yet), what was found, what to do."""

    part: str
    well: bool | None
    found: str
    instead: str = ""


class Diagnosis:
    """The checks in the order in which they are to be mended. True if a GPU can be used."""

    def __init__(self, checks: Sequence[Check]):
        self.checks = tuple(checks)

    def __bool__(self) -> bool:
        return all(check.well for check in self.checks)

    def __repr__(self) -> str:
        wrong = next((check for check in self.checks if check.well is False), None)
        lines = ["A GPU can be used." if wrong is None else f"No GPU can be used: {wrong.found}."]
        for check in self.checks:
            state = {True: "ok", False: "wrong", None: "not looked at"}[check.well]
            lines.append(f"  {check.part:<9} {state:<14} {check.found}")
            if check.instead:
                lines.append(f"  {'':<9} {'instead:':<14} {check.instead}")
        return "\n".join(lines)


def doctor() -> Diagnosis:
    """What of driver, GPU, CuPy, toolkit and compiler is missing or does not fit, and the command that mends it.

    The result prints itself, is true if a GPU can be used, and has ``checks``, each with ``part``, ``well``, ``found`` and
    ``instead``. Nothing raises.

    >>> import funcgrad as fg
    >>> isinstance(bool(fg.doctor()), bool)
    True
    """
    return Diagnosis(diagnose(look()))


# ---------------------------------------------------------------- what the facts mean


def diagnose(facts: Facts) -> list[Check]:
    """The checks, from what was found."""
    checks = [_driver(facts), _device(facts), _cupy(facts), _toolkit(facts), _compiler(facts)]
    if all(check.well for check in checks):
        if facts.kernel is None:
            checks.append(Check("kernel", True, "a kernel ran and gave the right numbers"))
        else:
            checks.append(Check("kernel", False, f"a kernel failed: {facts.kernel}",
                                "restart the process; if it stays, nvidia-smi shows whether the GPU is ill or its memory full"))
    else:
        checks.append(Check("kernel", None, "the parts above come first"))
    return checks


def _driver(facts: Facts) -> Check:
    if facts.status:
        found, instead = STATUS.get(facts.status, (f"the driver answers with error {facts.status}",
                                                   "see what nvidia-smi says; restarting the machine often helps"))
        if facts.status == 100:  # the driver is well, it has no device
            return Check("driver", True, "NVIDIA's driver is there")
        return Check("driver", False, found, instead)
    version = f"{facts.driver[0]}.{facts.driver[1]}"
    if facts.driver[0] < CUDA:
        return Check("driver", False, f"NVIDIA's driver serves CUDA up to {version}, and CuPy needs {CUDA}.0",
                     "update the driver to 580 or later (Ubuntu: sudo ubuntu-drivers install), then restart")
    return Check("driver", True, f"NVIDIA's driver, for CUDA up to {version}")


def _device(facts: Facts) -> Check:
    if facts.status not in (0, 100):
        return Check("device", None, "the driver comes first")
    if facts.status == 100 or not facts.devices:
        return Check("device", False, *STATUS[100])
    listed = "; ".join([f"cuda:{i} {d.name}, compute capability {d.capability[0]}.{d.capability[1]}, {d.memory / 2**30:.0f} GiB"
                        for i, d in enumerate(facts.devices)])
    if all(d.capability < CAPABILITY for d in facts.devices):
        return Check("device", False, f"no GPU has compute capability {CAPABILITY[0]}.{CAPABILITY[1]}: {listed}",
                     "a GPU of the Ampere generation (A100, RTX 30) or later")
    return Check("device", True, listed)


def _cupy(facts: Facts) -> Check:
    if not facts.distributions:
        return Check("CuPy", False, "CuPy is not installed", INSTALL)
    listed = ", ".join(facts.distributions)
    if len(facts.distributions) > 1:
        names = " ".join([name.split()[0] for name in facts.distributions])
        return Check("CuPy", False, f"several packages of CuPy are installed, which overwrite each other: {listed}",
                     f"pip uninstall -y {names} && {INSTALL}")
    if facts.cupy is not None:
        return Check("CuPy", False, f"{listed} cannot be imported: {facts.cupy}",
                     f"pip uninstall -y {listed.split()[0]} && {INSTALL}")
    if facts.built and facts.built != CUDA:
        return Check("CuPy", False, f"{listed} is built for CUDA {facts.built}, not {CUDA}",
                     f"pip uninstall -y {listed.split()[0]} && {INSTALL}")
    return Check("CuPy", True, listed)


def _toolkit(facts: Facts) -> Check:
    if not facts.libraries:
        return Check("toolkit", None, "CuPy comes first")
    missing = [f"{name} ({LIBRARIES[name]})" for name, error in facts.libraries.items() if error is not None]
    if missing:
        return Check("toolkit", False, f"libraries of CUDA {CUDA} are missing: {', '.join(missing)}", INSTALL)
    return Check("toolkit", True, f"{', '.join(facts.libraries)} of CUDA {CUDA}")


def _compiler(facts: Facts) -> Check:
    if facts.compiler is not None:
        return Check("compiler", False, f"LLVM cannot make code for NVIDIA's GPUs: {facts.compiler}",
                     "pip install --upgrade --force-reinstall llvmlite numba")
    return Check("compiler", True, "LLVM makes PTX; numba-cuda and nvcc are not needed")


# ---------------------------------------------------------------- looking


def look() -> Facts:
    """What is on this machine."""
    status, driver, devices = ask_driver()
    distributions = installed_cupy()
    cupy, built, libraries = (None, 0, {}) if len(distributions) != 1 else ask_cupy()
    compiler = _error_of(make_code)
    kernel = None
    if status == 0 and devices and distributions and cupy is None and not any(libraries.values()) and compiler is None:
        kernel = _error_of(run_kernel)
    return Facts(status, driver, devices, distributions, cupy, built, libraries, compiler, kernel)


def driver_library() -> ctypes.CDLL:
    """The library of NVIDIA's driver. Raises OSError where there is none."""
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def ask_driver() -> tuple[int, tuple[int, int], tuple[Device, ...]]:
    """What the driver answers when it is started, the CUDA that it serves, and its GPUs."""
    try:
        cuda = driver_library()
    except OSError:
        return NO_LIBRARY, (0, 0), ()
    number = ctypes.c_int()
    cuda.cuDriverGetVersion(ctypes.byref(number))
    version = number.value // 1000, number.value % 1000 // 10
    status = cuda.cuInit(0)
    if status:
        return status, version, ()
    devices = []
    cuda.cuDeviceGetCount(ctypes.byref(number))
    for i in range(number.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        cuda.cuDeviceGet(ctypes.byref(device), i)
        cuda.cuDeviceGetName(name, 256, device)
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        capability = []
        for attribute in (75, 76):  # the major and the minor number of the compute capability
            cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
            capability.append(number.value)
        devices.append(Device(name.value.decode(errors="replace"), (capability[0], capability[1]), memory.value))
    return 0, version, tuple(devices)


def installed_cupy() -> tuple[str, ...]:
    """The packages that bring a module ``cupy``, with their versions."""
    found = {(d.metadata["Name"] or "").lower(): d.version for d in importlib.metadata.distributions()
             if (d.metadata["Name"] or "").lower().split("-")[0] == "cupy"}
    return tuple([f"{name} {version}" for name, version in sorted(found.items())])


def ask_cupy() -> tuple[str | None, int, dict[str, str | None]]:
    """Why CuPy cannot be imported, the CUDA it was built for, and which libraries it cannot load, and why."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runtime = importlib.import_module("cupy").cuda.runtime
            built = int(runtime.runtimeGetVersion()) // 1000
    except Exception as error:
        return _said(error), 0, {}
    return None, built, {name: _error_of(functools.partial(load_library, name)) for name in LIBRARIES}


def load_library(name: str) -> None:
    """Raises unless a library of the toolkit can be loaded; CuPy finds them in this way."""
    importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib(name)


def make_code() -> None:
    """Raises unless LLVM is new enough, and has the back end for NVIDIA's GPUs."""
    from funcgrad.compiler.cuda.ptx import architecture, target_machine
    target_machine(architecture(CAPABILITY))


def run_kernel() -> None:
    """Raises unless a jitted function gives the right numbers on the first GPU."""
    import numpy as np

    from funcgrad.devices import device_get, device_put
    from funcgrad.jit import jit
    from funcgrad.numpy import sin
    x = np.linspace(0.0, 1.0, 1000)
    found = device_get(jit(lambda x: 2 * sin(x))(device_put(x, "cuda:0")))
    if not np.allclose(found, 2 * np.sin(x), rtol=1e-14):
        raise RuntimeError("a kernel ran and gave wrong numbers")


def _error_of(action: Callable[[], object]) -> str | None:
    try:
        action()
    except Exception as error:
        return _said(error)
    return None


def _said(error: Exception) -> str:
    """An error in a line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
