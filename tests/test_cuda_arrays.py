"""Arrays on a GPU, and the interpreter there: with a stand-in for CuPy, and on a GPU where there is one."""
from __future__ import annotations

import copy
import pickle
import types

import fake_cupy
import ml_dtypes
import numpy as np
import pytest
from gpu import library, on_gpus  # noqa: F401  the fixture "cupy"
from operations import OPERATIONS

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import errors, lax, nn, optim, random
from funcgrad.core import device as devices
from funcgrad.core.array import CudaArray
from funcgrad.ops.special import OF_CUPY

X = np.arange(6.0).reshape(2, 3) - 2.5
DTYPES = ["bool", "int8", "int32", "int64", "uint8", "uint64", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"]


def on(x, device="cuda"):
    return fg.device_put(x, device)


def fake_only(*args, **kwargs):
    """The stand-in of a test that looks at what only it shows."""
    return fake_cupy.install(*args, **kwargs)


# ---------------------------------------------------------------- arrays


@on_gpus
def test_an_array_reads_like_one_of_the_cpu(cupy):
    x = on(X)
    assert type(x) is CudaArray and isinstance(x, fg.Array) and (x.shape, x.dtype, x.ndim, x.size) == ((2, 3), np.float64, 2, 6)
    assert repr(x) == repr(fnp.asarray(X))[:-1] + ", device=cuda:0)" and str(x) == str(X) and f"{x[0, 1]:.2f}" == "-1.50"
    assert x.tolist() == X.tolist() and x.item(4) == 1.5 and float(x[1, 2]) == 2.5 and bool(x[0, 0]) and len(x) == 2
    assert int(on(7)) == 7 and range(5)[on(np.int32(3))] == 3 and complex(on(1 + 2j)) == 1 + 2j
    assert [float(row[0]) for row in x] == [-2.5, 0.5] and type(next(iter(x))) is CudaArray
    np.testing.assert_array_equal(np.asarray(x), X)
    assert np.asarray(x, np.float32).dtype == np.float32 and fg.device_get({"x": x})["x"].tolist() == X.tolist()
    with pytest.raises(ValueError, match="cannot be seen without a copy"):
        np.asarray(x, copy=False)
    with pytest.raises(TypeError, match="a complex number is not a real one"):
        float(on(1j))
    with pytest.raises(TypeError, match="only integer arrays without axes"):
        range(3)[on(1.0)]
    with pytest.raises(TypeError, match="arrays are immutable"):
        x[0] = 1


@on_gpus
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_there_and_back(cupy, dtype):
    values = np.asarray([[0, 1, 3], [2, 5, 1]]).astype(fg.dtypes.as_dtype(dtype))
    x = on(values)
    assert x.dtype == values.dtype and x.weak_type is False
    np.testing.assert_array_equal(np.asarray(x), values)
    doubled = x + x
    assert type(doubled) is CudaArray and doubled.dtype == values.dtype
    np.testing.assert_array_equal(np.asarray(doubled), np.asarray(fnp.asarray(values) + fnp.asarray(values)))
    np.testing.assert_array_equal(np.asarray(x.T.astype(np.complex64)), values.T.astype(np.complex64))


@on_gpus
def test_copies_pickles_and_scalars(cupy):
    x = on(X.astype(ml_dtypes.bfloat16))
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x), copy.copy(x), fnp.array(x), fnp.copy(x)):
        assert type(y) is CudaArray and y.device == "cuda:0" and y.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(y), np.asarray(x))
    assert fnp.array(x)._data.data.ptr != x._data.data.ptr
    two = on(2.0)
    assert two.weak_type and two.shape == () and (two * on(np.float32(3))).dtype == np.float32


@on_gpus
def test_buffers_are_row_major_and_aligned(cupy):
    """Compiled kernels read them so."""
    x = on(np.arange(24, dtype=np.float32).reshape(4, 6))
    for y in (x.T, x[1:], x[:, 1:], x[0, 1:], x[::2], fnp.flip(x), fnp.broadcast_to(x[0], (3, 6)), x.reshape(2, 12), x.real,
              fnp.asarray(x, np.complex64).imag):
        assert y._data.flags.c_contiguous and y._data.data.ptr % 16 == 0
    np.testing.assert_array_equal(np.asarray(x[0, 1:]), np.arange(1, 6))


@on_gpus
def test_donated_arrays_are_gone(cupy):
    x = on(X)
    x.give_up("f")
    for use in (lambda: x + 1, lambda: np.asarray(x), lambda: x.device, lambda: repr(x)):
        with pytest.raises(errors.DonatedBufferError, match="was used after it had been donated to f"):
            use()


def test_memory_of_a_copied_array_may_be_given_up(monkeypatch):
    fake_only(monkeypatch)
    x = fnp.asarray(X)
    y = fg.device_put(x, "cuda", donate=True)
    np.testing.assert_array_equal(np.asarray(y), X)
    with pytest.raises(errors.DonatedBufferError):
        _ = x + 1


# ---------------------------------------------------------------- devices


def test_devices_have_names(monkeypatch):
    fake_only(monkeypatch)
    first, second = fg.devices("gpu")
    assert [first, second] == ["cuda:0", "cuda:1"] and fg.devices("cuda") == fg.devices("gpu") and fg.device_count("gpu") == 2
    assert (str(second), repr(second), second.platform, second.id, second.device_kind) == ("cuda:1", "cuda:1", "gpu", 1, "A stand-in")
    assert fg.devices() == ["cpu"] == [fg.Device("cpu")] and (fg.devices()[0].platform, fg.devices()[0].id) == ("cpu", 0)
    x = on(X, second)
    assert x.device == second and x.devices() == {second} and on(x, "cuda:1") is x and x.to_device("cuda:1") is x
    assert (fnp.array(x).device == fnp.asarray(x._data).device == fnp.from_dlpack(x._data).device == (x.T + 1)[1:].device == x.astype(int).device
            == fnp.sort(x).device == fg.grad(lambda v: fnp.sum(v ** 2))(x).device == pickle.loads(pickle.dumps(x)).device == second)
    y = x.to_device("cuda:0")
    assert y.device == "cuda:0" and type(y.to_device("cpu")) is type(fnp.zeros(1))
    assert on(y, "cpu").device == "cpu" == fnp.zeros(2).device and (fg.Device("cpu").device_kind == "cpu")
    np.testing.assert_array_equal(np.asarray(on(y, "cpu")), X)
    tree = fg.device_put({"a": 1.0, "b": [X]}, "cuda")
    assert {leaf.device for leaf in fg.tree.leaves(tree)} == {"cuda:0"} and fg.device_put(X).device == "cpu"
    assert fg.grad(lambda v: fnp.sum(v * float(v.device == "cuda:1")))(x).tolist() == np.ones((2, 3)).tolist()


@pytest.mark.parametrize("name", ["tpu", "cuda:x", "cuda:-1", "CUDA", 3, ""])
def test_names_of_no_device_raise(monkeypatch, name):
    fake_only(monkeypatch)
    for call in (lambda: fg.device_put(X, name), lambda: fg.default_device(name), lambda: fnp.zeros(3, device=name),
                 lambda: on(X).to_device(name), lambda: fg.device_put(X, src=name)):
        with pytest.raises(ValueError, match="there is no such device"):
            call()
    with pytest.raises(errors.DeviceError, match="'cuda:2', where there are 2 GPUs"):
        fg.device_put(X, "cuda:2")
    with pytest.raises(RuntimeError, match="there is no such backend"):
        fg.devices("tpu")


def test_the_default_device(monkeypatch):
    fake_only(monkeypatch)
    made = {
        "zeros": lambda: fnp.zeros((2, 3)), "ones": lambda: fnp.ones(3), "full": lambda: fnp.full((2,), 7), "arange": lambda: fnp.arange(3),
        "eye": lambda: fnp.eye(2), "linspace": lambda: fnp.linspace(0, 1, 3), "array": lambda: fnp.array([1, 2]), "asarray": lambda: fnp.asarray(X),
        "of a number": lambda: fnp.asarray(2.0), "iota": lambda: lax.iota(np.int32, 4), "an ndarray": lambda: fnp.sin(X), "put": lambda: fg.device_put(X),
        "key": lambda: random.key(0), "random": lambda: random.normal(random.key(0), (3,)), "gradient": lambda: fg.grad(lambda x: x * x)(3.0),
        "constant": lambda: fg.grad(lambda x: fnp.sum(fnp.floor(x)))(X), "tri": lambda: fnp.tri(3), "full of an array": lambda: fnp.full((2, 2), np.ones(2))}
    for name, make in made.items():
        plain = make()
        with fg.default_device("cuda:1") as device:
            assert device == "cuda:1" and fg.default_backend() == "gpu" and fg.devices() == ["cuda:0", "cuda:1"]
            there = make()
            with fg.default_device(None):
                assert make().device == "cpu"
        assert there.device == "cuda:1" and there.dtype == plain.dtype and there.weak_type == plain.weak_type, name
        np.testing.assert_allclose(np.asarray(there), np.asarray(plain), rtol=1e-15)
    try:
        fg.set_default_device("cuda")
        assert fnp.zeros(1).device == "cuda:0" and fnp.__array_namespace_info__().default_device() == "cuda:0"
    finally:
        fg.set_default_device(None)
    assert fnp.zeros(1).device == "cpu" and fnp.zeros(2, device="cuda").device == "cuda:0"
    assert fnp.zeros_like(on(X)).device == fnp.full_like(on(X), 2).device == "cuda:0"


def test_arrays_that_nobody_placed_follow(monkeypatch):
    fake_only(monkeypatch)
    x = on(X)
    for other in (2, 2.0, True, np.float64(2), X, fnp.asarray(X), fnp.asarray(2.0)):
        for y in (x * other, other * x, fnp.maximum(other, x)):
            assert type(y) is CudaArray and y.device == "cuda:0"
    np.testing.assert_array_equal(np.asarray(x + X), X + X)
    assert fnp.concatenate([x, X]).device == fnp.stack([fnp.zeros((2, 3)), x]).device == fnp.array([x[0], X[1]]).device == "cuda:0"
    assert np.sin(x).device == np.add(X, x).device == "cuda:0"


def test_arrays_on_different_devices_raise(monkeypatch):
    fake_only(monkeypatch)
    x, placed, other = on(X), on(X, "cpu"), on(X, "cuda:1")
    with pytest.raises(errors.DeviceError, match=r"(?s)add: its arguments are on different devices.*argument 0, float64\[2,3\], is on cuda:0; "
                                                 r"argument 1, float64\[2,3\], is on cuda:1.*fg.device_put\(x, 'cuda:0'\)"):
        x + other
    with pytest.raises(errors.DeviceError, match=r"argument 0, float64\[2,3\], is on cpu; argument 1"):
        fnp.concatenate([placed, x])
    with pytest.raises(errors.DeviceError, match="mul: its arguments"):
        fg.grad(lambda a: fnp.sum(a * placed))(x)
    assert (placed + X).device == "cpu" and (on(placed, "cuda") + x).device == "cuda:0"


# ---------------------------------------------------------------- other libraries


class Tensor:
    """An array of another library: its memory is that of a device array, shown by DLPack, or by the interface alone."""

    def __init__(self, data):
        self.data, self.device_id = data, data.device.id

    def __dlpack__(self, **kwargs):
        return self.data.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return self.data.__dlpack_device__()


class Interface:
    def __init__(self, data):
        self.data, self.__cuda_array_interface__ = data, data.__cuda_array_interface__


@on_gpus
def test_exchange_without_copies(cupy):
    data = cupy.asarray(X)
    for x in (fnp.from_dlpack(Tensor(data)), fnp.from_dlpack(data), fnp.asarray(data, copy=False), fnp.asarray(Interface(data), copy=False)):
        assert type(x) is CudaArray and x._data.data.ptr == data.data.ptr and x.device == "cuda:0"
        np.testing.assert_array_equal(np.asarray(x), X)
    x = on(X)
    assert x.__dlpack_device__() == (2, 0) and cupy.from_dlpack(x).data.ptr == cupy.asarray(x).data.ptr == x._data.data.ptr
    interface = x.__cuda_array_interface__
    assert interface["data"] == (x._data.data.ptr, True) and interface["shape"] == (2, 3) and interface["typestr"] == "<f8"
    assert not hasattr(on(X.astype(ml_dtypes.bfloat16)), "__cuda_array_interface__") and not hasattr(x, "__array_interface__")


@on_gpus
def test_foreign_arrays_are_copied_unless_told_otherwise(cupy):
    data = cupy.asarray(X)
    taken = [fnp.asarray(data), fnp.array(data), fg.device_put(Tensor(data)), fg.device_put(Interface(data), "cuda"), fnp.from_dlpack(data, copy=True)]
    data[...] = 0
    for x in taken:
        np.testing.assert_array_equal(np.asarray(x), X)
    assert fnp.asarray(data, np.float32).dtype == np.float32 and fg.device_put(data, "cpu").device == "cpu"


@on_gpus
def test_foreign_arrays_of_another_layout_are_copied(cupy):
    data = cupy.asarray(np.arange(24, dtype=np.float32).reshape(4, 6))
    for view in (data.T, data[:, 1:], data[1:], data[::2], data[::-1]):
        x = fnp.from_dlpack(view)
        assert x._data.flags.c_contiguous and x._data.data.ptr % 16 == 0
        np.testing.assert_array_equal(np.asarray(x), view.get())
    with pytest.raises(ValueError, match=r"(?s)cannot be taken without a copy.*float32\[6,4\] with strides \(4, 24\).*row-major"):
        fnp.asarray(data.T, copy=False)
    with pytest.raises(ValueError, match="multiple of 16 bytes"):
        fnp.asarray(data[0, 1:], copy=False)


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("broken,found", [
    ("no cupy", r"(?s)a GPU needs CuPy.*pip install \"funcgrad\[cuda13\]\""),
    ("no driver", r"(?s)no driver of NVIDIA, or one that is too old.*nvidia-smi.*fg\.doctor\(\)"),
    ("no device", r"(?s)a driver, and no GPU.*nvidia-smi.*CUDA_VISIBLE_DEVICES.*fg\.doctor\(\)")])
def test_no_gpu(monkeypatch, broken, found):
    fake_only(monkeypatch, broken=broken)
    for call in (lambda: fg.device_put(X, "cuda"), lambda: fg.devices("gpu"), lambda: fg.default_device("cuda:0"), lambda: fg.cuda.memory(),
                 lambda: fnp.zeros(3, device="cuda")):
        with pytest.raises(errors.DeviceError, match=found):
            call()
    assert fg.device_put(X, "cpu").device == "cpu" and fg.devices() == ["cpu"]


def test_a_broken_cupy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", types.ModuleType("cupy"))
    with pytest.raises(errors.DeviceError, match=r"(?s)the GPU cannot be used.*AttributeError.*pip install --upgrade"):
        fg.device_put(X, "cuda")


def test_out_of_memory(monkeypatch):
    fake_only(monkeypatch, capacity=1 << 20)
    x = on(np.ones(2 ** 15))
    y = on(np.ones(2 ** 14))
    del y
    message = r"(?s)out of memory on cuda:0.*1,048,576 bytes were asked for; arrays hold 262,144, the pool keeps.*del of arrays.*fg\.cuda\.free\(\).*donate_argnums"
    for call in (lambda: fnp.zeros(2 ** 17, device="cuda"), lambda: fg.device_put(np.ones(2 ** 17), "cuda"), lambda: fnp.tile(x, 4)):
        with pytest.raises(errors.DeviceError, match=message):
            call()
    assert float(fnp.sum(x + 1)) == 2 ** 16  # the process goes on


def test_memory(monkeypatch):
    fake_only(monkeypatch, capacity=1 << 20)
    x, y = on(np.ones(2 ** 15)), on(np.ones(2 ** 14))
    del y
    assert fg.cuda.memory() == {"used": 262144, "pool": 131072, "free": 655360, "total": 1048576} and x.nbytes == 262144
    assert fg.cuda.memory("cuda:1") == {"used": 0, "pool": 0, "free": 1048576, "total": 1048576}
    assert fg.cuda.free() == 131072 and fg.cuda.memory() == {"used": 262144, "pool": 0, "free": 786432, "total": 1048576}
    with pytest.raises(errors.DeviceError, match="this is not a GPU"):
        fg.cuda.memory("cpu")


def test_a_dead_context(monkeypatch):
    fake_only(monkeypatch)
    x = on(X)
    fake_cupy.MEMORY.error = fake_cupy.CUDARuntimeError(700, "cudaErrorIllegalAddress: an illegal memory access was encountered")
    for call in (lambda: x + 1, lambda: np.asarray(x), lambda: x.block_until_ready(), lambda: fg.block_until_ready({"a": [x]}), lambda: repr(x), lambda: on(X)):
        with pytest.raises(errors.DeviceError, match="(?s)cuda:0 failed.*IllegalAddress.*a new process.*fg.doctor"):
            call()
    assert float(fnp.sum(fnp.asarray(X))) == X.sum()


@pytest.mark.parametrize("dtype", fg.dtypes.FLOAT8)
def test_dtypes_that_cannot_be_there(monkeypatch, dtype):
    fake_only(monkeypatch)
    for call in (lambda: on(fnp.ones(3, dtype)), lambda: fnp.ones(3, dtype, device="cuda"), lambda: on(X).astype(dtype)):
        with pytest.raises(errors.DeviceError, match=f"(?s){dtype}.*cannot be on a GPU.*bfloat16"):
            call()


def test_mistakes_are_explained_as_on_the_cpu(monkeypatch):
    fake_only(monkeypatch)
    x = on(X)
    with pytest.raises(IndexError, match="index 7 is out of bounds for axis 0 with size 2"):
        x[on(np.array([0, 7]))]
    with pytest.raises(IndexError, match="index 7 is out of bounds"):
        x.at[np.array([0, 7])].set(1.0)
    with pytest.raises(ValueError, match="add: the shapes do not broadcast"):
        x + on(np.ones(4))
    with pytest.raises(TypeError, match="only integers and bools"):
        fnp.bitwise_and(x, x)
    with pytest.raises(TypeError, match="this holds no numbers|is not an array"):
        fnp.add(x, "a")
    assert not devices.fallen_back.get("gather")


def test_synchronisation(monkeypatch):
    fake_only(monkeypatch)
    x = on(X) * 2
    before = fake_cupy.MEMORY.synchronized
    y = fnp.sum(fnp.sin(x) @ x.T, axis=0)  # nothing waits
    assert fake_cupy.MEMORY.synchronized == before
    assert fg.block_until_ready({"y": y, "n": 3})["y"] is y and fake_cupy.MEMORY.synchronized == before + 1
    assert y.block_until_ready() is y


# ---------------------------------------------------------------- the interpreter

CHOSEN = ("eigh", "svd", "qr")
"""Factorisations whose signs are the library's choice."""


ROUNDED = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-5, "complex64": 1e-5}
"""How far narrow results of CuPy and NumPy may be apart."""


def assert_same(found, expected, exactly, name=""):
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        x, y = np.asarray(x), np.asarray(y)
        if not exactly and name.startswith(CHOSEN):
            x, y = np.abs(x), np.abs(y)
        tolerance = 1e-12 if exactly else ROUNDED.get(y.dtype.name, 1e-8)
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def assert_there(result):
    assert all(type(x) is CudaArray for x in fg.tree.leaves(result))


@on_gpus
@pytest.mark.parametrize("part", range(8))
def test_operations_equal_those_of_the_cpu(cupy, part):
    """Values and gradients of the table of operations; nothing goes through the host that is not known to."""
    exactly = hasattr(cupy, "_own")  # the stand-in computes with NumPy
    devices.fallen_back.clear()
    for operation in OPERATIONS[part::8]:
        arrays = [isinstance(x, np.ndarray) for x in operation.args]
        args = [on(x) if is_array else x for x, is_array in zip(operation.args, arrays, strict=True)]
        found = operation.function(*args)
        assert_same(found, operation.function(*operation.args), exactly, operation.name)
        if any(arrays):
            assert_there(found)
        at = next((i for i, x in enumerate(operation.args) if np.asarray(x).dtype.kind == "f"), None)
        if operation.order and at is not None:
            def loss(x, args, operation=operation, at=at):
                outs = fg.tree.leaves(operation.function(*[x if i == at else a for i, a in enumerate(args)]))
                return sum(fnp.sum(fnp.sin(fnp.abs(y))) for y in outs if y.dtype.kind in "fc")

            gradient = fg.grad(loss)(on(np.asarray(operation.args[at])), args)
            assert_there(gradient)
            assert_same(gradient, fg.grad(loss)(np.asarray(operation.args[at]), operation.args), exactly)
    assert devices.fallen_back == fg.cuda.through_host() == {}


@on_gpus
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex128"])
def test_zeros_keep_their_signs(cupy, dtype):
    zero = fg.dtypes.as_dtype(dtype).type(-0.0)
    for x in (on(zero), on(np.array(zero)), fnp.full((2,), zero, device="cuda"), fnp.copysign(on(np.zeros(())), -1.0).astype(dtype)):
        assert np.signbit(np.asarray(x).real.astype(np.float64)).all(), x


@on_gpus
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_comes_last_whatever_its_sign(cupy, dtype):
    x = np.array([2, np.copysign(np.nan, -1), -1, np.nan, 0.0, -0.0], dtype)
    np.testing.assert_array_equal(np.asarray(fnp.sort(on(x))), np.sort(x))
    assert np.asarray(fnp.argsort(on(x))).tolist() == np.argsort(x, kind="stable").tolist() == [2, 4, 5, 0, 1, 3]


@on_gpus
def test_the_first_nan_is_the_extreme(cupy):
    x = np.array([[2, np.nan, -1, np.nan], [0, 3, 3, -1], [-0.0, 0, -1, -1]])
    for f in (fnp.argmax, fnp.argmin):
        assert np.asarray(f(on(x), axis=1)).tolist() == np.asarray(f(x, axis=1)).tolist()
        assert int(f(on(x.astype(np.float32)))) == int(f(x)) == 1


@on_gpus
def test_numbers_next_to_zero_and_powers_of_it(cupy):
    zero, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    assert np.asarray(fnp.nextafter(on(zero), on(one))).tolist() == np.nextafter(zero, one).tolist()
    x, y = np.array([0, 0, 2, 0j]), np.array([2, 1 + 0j, 1j, 0])
    np.testing.assert_allclose(np.asarray(fnp.power(on(x), on(y))), np.power(x, y), rtol=1e-14)
    assert fg.cuda.through_host() == {}


@on_gpus
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_floats_stay_narrow(cupy, dtype):
    """CuPy has loops of its own for bfloat16 in most functions, and takes float32 in others."""
    devices.fallen_back.clear()
    for operation in OPERATIONS:
        if operation.float32 and any(np.asarray(x).dtype == np.float64 for x in operation.args) and not operation.name.startswith(CHOSEN):
            args = [x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x for x in operation.args]
            found = operation.function(*[on(x) if isinstance(x, np.ndarray) else x for x in args])
            expected = operation.function(*[fnp.asarray(x) if isinstance(x, np.ndarray) else x for x in args])
            for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
                assert (x.shape, x.dtype) == (y.shape, y.dtype), operation
                wide = np.complex128 if x.dtype.kind == "c" else np.float64
                np.testing.assert_allclose(np.asarray(x).astype(wide), np.asarray(y).astype(wide), rtol=3e-2, atol=3e-2)
    for f in (lambda key: random.gamma(key, dtype(2), (30,), dtype), lambda key: random.normal(key, (30,), dtype)):
        np.testing.assert_allclose(np.asarray(f(on(KEY))).astype(float), np.asarray(f(fnp.asarray(KEY))).astype(float), rtol=2e-2)
    assert devices.fallen_back == {}


W, KEY = np.linspace(-1, 1, 12).reshape(3, 4), np.array([0, 3], np.uint32)
DUPLICATES = np.array([2, 0, 2, 1])
PROGRAMS = {
    "scan": lambda: lax.scan(lambda c, v: (c + fnp.sin(v), c * v), fnp.zeros(4), on(W)),
    "reversed": lambda: lax.scan(lambda c, v: (c + v, c), on(W)[0], W, reverse=True),
    "a long scan": lambda: lax.scan(lambda c, v: (c * 0.9 + v, c[0]), on(W)[0], np.tile(W, (50, 1)))[0],
    "a scan over a constant": lambda: _scan_over_a_constant(on(W)),
    "gradient of a scan": lambda: fg.grad(lambda x: fnp.sum(lax.scan(lambda c, v: (c * 0.5 + fnp.sin(v), c * v), fnp.zeros(4), x)[1]))(on(W)),
    "while": lambda: lax.while_loop(lambda s: fnp.sum(s) < 50, lambda s: s * 1.5, fnp.abs(on(W))),
    "a long loop": lambda: lax.while_loop(lambda s: s[0] < 200, lambda s: (s[0] + 1, s[1] * 0.99), (0, on(W)))[1],
    "fori": lambda: fg.grad(lambda x: fnp.sum(lax.fori_loop(0, 3, lambda i, s: fnp.sin(s) + i, x)))(on(W)),
    "cond": lambda: fg.grad(lambda x: fnp.sum(lax.cond(x[0, 0] > 0, fnp.sin, fnp.cos, x)))(on(W)),
    "vmap of cond": lambda: fg.vmap(lambda v: lax.cond(v[0] > 0, fnp.sin, fnp.cos, v))(on(W)),
    "hessian": lambda: fg.hessian(lambda v: fnp.sum(fnp.sin(v) ** 2))(on(W[0])),
    "jvp": lambda: fg.jvp(lambda x: (fnp.sin(x), fnp.floor(x)), (on(W),), (on(W),)),
    "vjp": lambda: fg.vjp(lambda x: (fnp.sin(x), fnp.floor(x)), on(W))[1]((on(W), on(W))),
    "a zero gradient": lambda: fg.vjp(fnp.floor, on(W))[1](on(W)),
    "linearize": lambda: fg.linearize(lambda x: (fnp.sin(x), fnp.ceil(x)), on(W))[1](on(W)),
    "checkpoint": lambda: fg.grad(lambda x: fnp.sum(fg.checkpoint(lambda v: fnp.sin(fnp.sin(v)))(x)))(on(W)),
    "draws": lambda: [f(on(KEY), (40,)) for f in (random.normal, random.uniform, random.gumbel, random.exponential, random.bits)],
    "gamma": lambda: random.gamma(on(KEY), 2.5, (40,)),
    "integers": lambda: [random.randint(on(KEY), (9,), 0, 7), random.permutation(on(KEY), 9), random.poisson(on(KEY), 3.0, (9,)), random.split(on(KEY), 3)],
    "updates that repeat": lambda: [getattr(on(W).at[on(DUPLICATES)], name)(W[[0, 1, 2, 0]]) for name in ("set", "add", "multiply", "min", "max")],
    "sums of every dtype": lambda: [on(np.zeros(3, d)).at[DUPLICATES].add(np.arange(4).astype(d)) for d in map(fg.dtypes.as_dtype, DTYPES)],
    "gradient of a gather": lambda: fg.grad(lambda x: fnp.sum(x[DUPLICATES] ** 2))(on(W)),
    "masks": lambda: [on(W)[on(W) > 0], on(W).at[on(W) > 0].set(0.0), fnp.where(on(W) > 0, on(W), 0), *fnp.nonzero(on(W) > 0)],
    "sorting": lambda: [fnp.sort(on(W), 0), fnp.argsort(-on(W), 1), fnp.lexsort((on(W)[0] > 0, on(W)[1])), *lax.top_k(on(W), 2)],
    "bits": lambda: [fg.lax.reduce_xor(on(np.arange(12).reshape(3, 4)), (0, 1)), fg.lax.reduce_and(on(np.arange(4, 8)), (0,))],
    "nothing": lambda: [fnp.sum(on(np.zeros((0, 3)))), lax.reduce_max(on(np.zeros((0, 3))), (0,)), fnp.sort(on(np.zeros(0))), on(np.zeros((0, 2))) @ on(np.ones((2, 3)))],
    "linear algebra": lambda: [fnp.linalg.inv(on(W[:, :3]) + 3 * fnp.eye(3)), fnp.linalg.solve(on(W[:, :3]) + 3 * fnp.eye(3), on(W)), fnp.linalg.det(on(W[:, :3]))],
    "a stack of large systems": lambda: fnp.linalg.solve(on(np.eye(20) + np.arange(800.0).reshape(2, 20, 20) / 800), on(np.ones((2, 20, 1)))),
    "a singular matrix": lambda: [fnp.linalg.det(on(np.ones((3, 3)))), fnp.linalg.slogdet(on(np.zeros((2, 20, 20))))[1], fnp.linalg.svd(on(np.full((2, 2), np.nan)))[1]],
    "no Cholesky factor": lambda: fnp.linalg.cholesky(on(np.stack([np.eye(3), -np.eye(3)]))),
    "a callback": lambda: fg.pure_callback(np.cumsum, fg.ShapeDtypeStruct((12,), "float64"), on(W).ravel()),
    "numpy": lambda: [np.sin(on(W)), np.sum(on(W)), np.stack([on(W), on(W)])],
}


def _scan_over_a_constant(w):
    return lax.scan(lambda c, v: (c + fnp.sum(w) * v, c), np.zeros(3), np.ones((2, 3)))


@on_gpus
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_equal_those_of_the_cpu(cupy, monkeypatch, name):
    devices.fallen_back.clear()
    with fg.disable_jit():  # long loops would be compiled
        found = PROGRAMS[name]()
        assert_there(found)
        monkeypatch.setitem(globals(), "on", fnp.asarray)
        assert_same(found, PROGRAMS[name](), exactly=False)
    assert devices.fallen_back == {}


@on_gpus
def test_a_model_trains_there(cupy):
    def trained(device):
        with fg.default_device(device):
            model = nn.Sequential(nn.Linear(3, 8), nn.tanh, nn.Linear(8, 2))
            params, state = model.init(random.key(0))
            optimizer = optim.adam(0.1)
            moments = optimizer.init(params)
            for _ in range(3):
                value, gradient = fg.value_and_grad(lambda p: fnp.mean(model.apply(p, state, X)[0] ** 2))(params)
                updates, moments = optimizer.update(gradient, moments, params)
                params = optim.apply_updates(params, updates)
        return value, params

    with fg.disable_jit():
        found, expected = trained("cuda"), trained("cpu")
    assert_there(found)
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=1e-5, atol=1e-6)


EDGES = np.array([0.0, -0.0, 1.0, -1.5, 7.25, 1e17, -1e17, np.inf, -np.inf, np.nan, 5e-324])
NUMBERS = np.array([0, 1, -1, 7, -7, 2 ** 62 + 1, -2 ** 62 - 1, 2 ** 63 - 1, -2 ** 63])


@on_gpus
@pytest.mark.parametrize("name", ["remainder", "fmod", "floor_divide", "logaddexp", "logaddexp2", "maximum", "minimum", "power", "arctan2", "hypot"])
def test_arithmetic_at_the_edges(cupy, name):
    for values in (EDGES, NUMBERS):
        if values is NUMBERS and name in ("logaddexp", "logaddexp2", "power", "arctan2", "hypot"):
            continue
        x, y = (v.ravel() for v in np.meshgrid(values, values))
        if values is NUMBERS:
            x, y = x[y != -1], y[y != -1]  # where the quotient does not overflow
        with np.errstate(all="ignore"):
            expected = getattr(np, name)(x, y)
        np.testing.assert_allclose(np.asarray(getattr(fnp, name)(on(x), on(y))), expected, rtol=1e-14, equal_nan=True)
    np.testing.assert_array_equal(np.asarray(fnp.sign(on(EDGES))), np.sign(EDGES))


def test_what_cupy_lacks_goes_through_the_host(monkeypatch):
    """Known lacks are not noted; what nobody foresaw is computed all the same, and noted."""
    cupy = fake_only(monkeypatch)
    devices.fallen_back.clear()
    np.testing.assert_allclose(np.asarray(fg.scipy.linalg.expm(on(W[:, :3]))), np.asarray(fg.scipy.linalg.expm(W[:, :3])))
    assert fg.cuda.through_host() == {}
    monkeypatch.setitem(cupy._own, "sinh", lambda x: (_ for _ in ()).throw(TypeError("no loop")))
    y = fnp.sinh(on(W))
    assert type(y) is CudaArray and fg.cuda.through_host() == {"sinh": "TypeError: no loop"}
    np.testing.assert_array_equal(np.asarray(y), np.sinh(W))
    devices.fallen_back.clear()
    monkeypatch.setitem(cupy._own, "matmul", lambda *xs: (_ for _ in ()).throw(ImportError("libcublas.so.13 is not found")))
    with pytest.raises(errors.DeviceError, match=r"(?s)dot_general: CuPy misses a library.*libcublas.*pip install"):
        fnp.matmul(on(np.ones((2, 2, 2))), on(np.ones((2, 2, 2))))


def test_cupy_has_the_special_functions_that_it_is_asked_for():
    assert set(fake_cupy.NAMES["cupyx.scipy.special"]) >= OF_CUPY
    assert all(any(loop.startswith("d" * loop.index("-")) for loop in fake_cupy.NAMES["cupyx.scipy.special"][name]["loops"]) for name in OF_CUPY)


def test_tools_bring_the_values_to_the_cpu(monkeypatch):
    fake_only(monkeypatch)
    x = on(W)
    assert "np.sin" in str(fg.to_source(lambda v: fnp.sin(v) + x, x))
    assert "log outside of its domain" in str(fg.explain_nan(lambda v: fnp.log(v), x))
    assert "the derivative of sqrt is infinite here" in str(fg.explain_nan(fg.grad(lambda v: fnp.sum(fnp.sqrt(v - x))), x))
