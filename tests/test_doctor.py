"""``fg.doctor``: broken machines are told apart, each with the command that mends it. The machines are simulated."""
from __future__ import annotations

import ctypes
import importlib.metadata
import sys
import types

import pytest

import funcgrad as fg
from funcgrad import installation as module
from funcgrad.installation import Device, Diagnosis, Facts, diagnose

H200 = Device("NVIDIA H200", (9, 0), 150_000_000_000)
WELL = dict(driver=(13, 0), devices=(H200,), distributions=("cupy-cuda13x 14.2.0",), built=13,
            libraries=dict.fromkeys(["cublas", "cusolver", "cufft", "nvrtc"]))

MACHINES = [
    ("no driver", dict(status=-1, devices=()), "driver", "library is not there", "install NVIDIA's driver"),
    ("a stub", dict(status=34, devices=()), "driver", "a stub", "LD_LIBRARY_PATH"),
    ("updated driver", dict(status=803, devices=()), "driver", "different versions", "restart the machine"),
    ("unknown error", dict(status=999, devices=()), "driver", "error 999", "nvidia-smi"),
    ("old driver", dict(driver=(12, 4)), "driver", "CUDA up to 12.4, and CuPy needs 13.0", "580 or later"),
    ("no device", dict(status=100, devices=()), "device", "no GPU", "CUDA_VISIBLE_DEVICES"),
    ("hidden devices", dict(devices=()), "device", "no GPU", "CUDA_VISIBLE_DEVICES"),
    ("old device", dict(devices=(Device("Tesla T4", (7, 5), 16 << 30),)), "device", "Tesla T4, compute capability 7.5, 16 GiB", "Ampere"),
    ("no CuPy", dict(distributions=(), built=0, libraries={}), "CuPy", "not installed", 'pip install --upgrade "funcgrad[cuda13]"'),
    ("two CuPys", dict(distributions=("cupy-cuda12x 13.6.0", "cupy-cuda13x 14.2.0"), libraries={}), "CuPy", "overwrite each other",
     'pip uninstall -y cupy-cuda12x cupy-cuda13x && pip install --upgrade "funcgrad[cuda13]"'),
    ("broken CuPy", dict(cupy="ImportError: libcudart.so.13", libraries={}), "CuPy", "libcudart.so.13", "pip uninstall -y cupy-cuda13x"),
    ("CuPy for another CUDA", dict(distributions=("cupy-cuda12x 13.6.0",), built=12), "CuPy", "built for CUDA 12, not 13",
     "pip uninstall -y cupy-cuda12x"),
    ("no cuBLAS", dict(libraries={"cublas": "no such file", "nvrtc": None}), "toolkit", r"missing: cublas \(matrix products\)",
     "funcgrad[cuda13]"),
    ("no NVPTX", dict(compiler="RuntimeError: No available targets"), "compiler", "No available targets", "llvmlite"),
    ("an ill GPU", dict(kernel="DeviceError: out of memory"), "kernel", "out of memory", "nvidia-smi"),
]


def test_a_well_machine():
    diagnosis = Diagnosis(diagnose(Facts(**WELL)))
    assert diagnosis and repr(diagnosis).startswith("A GPU can be used.")
    assert [check.well for check in diagnosis.checks] == [True] * 6
    assert "cuda:0 NVIDIA H200, compute capability 9.0, 140 GiB" in repr(diagnosis)


@pytest.mark.parametrize("changes, part, found, instead", [m[1:] for m in MACHINES], ids=[m[0] for m in MACHINES])
def test_broken_machines(changes, part, found, instead):
    diagnosis = Diagnosis(diagnose(Facts(**{**WELL, **changes})))
    assert not diagnosis
    wrong = [check for check in diagnosis.checks if check.well is False]
    assert [check.part for check in wrong] == [part]
    with pytest.raises(AssertionError, match=found):
        raise AssertionError(wrong[0].found)
    assert instead in wrong[0].instead and instead in repr(diagnosis)
    assert repr(diagnosis).startswith("No GPU can be used: ")
    if part != "kernel":
        assert diagnosis.checks[-1].well is None  # a kernel is not tried on a machine that cannot run it


def test_several_faults_are_all_told_and_the_first_comes_first():
    diagnosis = Diagnosis(diagnose(Facts(status=-1)))
    assert [check.well for check in diagnosis.checks] == [False, None, False, None, True, None]
    assert "driver's library" in repr(diagnosis).splitlines()[0]


class FakeDriver:
    """The functions of the driver's library that are asked."""

    def __init__(self, status=0, version=13000, devices=(H200,)):
        self.cuInit = lambda flags: status
        self.devices, self.version = devices, version

    def cuDriverGetVersion(self, out):
        out._obj.value = self.version

    def cuDeviceGetCount(self, out):
        out._obj.value = len(self.devices)

    def cuDeviceGet(self, out, i):
        out._obj.value = i

    def cuDeviceGetName(self, out, size, device):
        ctypes.memmove(out, self.devices[device.value].name.encode() + b"\0", len(self.devices[device.value].name) + 1)

    def cuDeviceTotalMem_v2(self, out, device):
        out._obj.value = self.devices[device.value].memory

    def cuDeviceGetAttribute(self, out, attribute, device):
        out._obj.value = self.devices[device.value].capability[attribute - 75]


@pytest.mark.parametrize("driver, answer", [
    (FakeDriver(), (0, (13, 0), (H200,))), (FakeDriver(version=12080, devices=(H200, H200)), (0, (12, 8), (H200, H200))),
    (FakeDriver(status=100), (100, (13, 0), ())), (FakeDriver(status=803), (803, (13, 0), ()))])
def test_the_driver_is_asked(driver, answer, monkeypatch):
    monkeypatch.setattr(module, "driver_library", lambda: driver)
    assert module.ask_driver() == answer


def raises(error):
    def function(*args):
        raise error

    return function


def test_a_missing_library_of_the_driver(monkeypatch):
    monkeypatch.setattr(module, "driver_library", raises(OSError("libcuda.so.1: cannot open shared object file")))
    assert module.ask_driver() == (module.NO_LIBRARY, (0, 0), ())


def test_installed_packages_of_cupy(monkeypatch):
    found = [types.SimpleNamespace(metadata={"Name": name}, version=version) for name, version in
             [("numpy", "2.4"), ("cupy-cuda12x", "13.6.0"), ("CuPy-CUDA13x", "14.2.0"), (None, "1"), ("cupyx", "1")]]
    monkeypatch.setattr(importlib.metadata, "distributions", lambda: found)
    assert module.installed_cupy() == ("cupy-cuda12x 13.6.0", "cupy-cuda13x 14.2.0")


def test_cupy_is_asked(monkeypatch):
    runtime = types.SimpleNamespace(runtimeGetVersion=lambda: 13000)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime)))
    monkeypatch.setattr(module, "load_library", lambda name: raises(OSError(f"no {name}\nand more"))() if name == "cufft" else None)
    assert module.ask_cupy() == (None, 13, {"cublas": None, "cusolver": None, "cufft": "OSError: no cufft", "nvrtc": None})
    runtime.runtimeGetVersion = raises(RuntimeError("cudaErrorInsufficientDriver: too old"))
    assert module.ask_cupy() == ("RuntimeError: cudaErrorInsufficientDriver: too old", 0, {})
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert module.ask_cupy()[0].startswith("ModuleNotFoundError")


def test_a_kernel_is_tried_only_where_all_else_is_well(monkeypatch):
    tried = []
    monkeypatch.setattr(module, "run_kernel", lambda: tried.append(1))
    monkeypatch.setattr(module, "driver_library", lambda: FakeDriver())
    monkeypatch.setattr(module, "installed_cupy", lambda: ("cupy-cuda13x 14.2.0",))
    monkeypatch.setattr(module, "ask_cupy", lambda: (None, 13, {"cublas": "missing"}))
    assert not fg.doctor() and not tried
    monkeypatch.setattr(module, "ask_cupy", lambda: (None, 13, {"cublas": None}))
    assert fg.doctor() and tried
    monkeypatch.setattr(module, "run_kernel", raises(RuntimeError("a kernel ran and gave wrong numbers")))
    assert "a kernel failed: RuntimeError: a kernel ran and gave wrong numbers" in repr(fg.doctor())


def test_this_machine_can_be_asked():
    assert len(fg.doctor().checks) == 6
