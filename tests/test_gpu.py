"""Compiled programs on a GPU: the table of operations, sizes, products, graphs, streams, memory, other libraries.

Everything is skipped where there is no GPU. Where there is one, all that fails is told at once: it may not be at hand for long.
"""
from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from gpu import missing
from operations import OPERATIONS
from test_cuda_operations import FUNCTIONS, LARGE, PROGRAMS, SHAPES, UNDEFINED, data, loss_of

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import DeviceError

pytestmark = pytest.mark.gpu
GPU = "cuda:0"
CHOSEN = ("eigh", "svd", "qr")
"""Factorisations whose signs are the library's choice."""
LIMITS = {"float16": 2e-2, "bfloat16": 1e-1, "float32": 1e-4, "complex64": 1e-4, "float64": 1e-8, "complex128": 1e-8}


@pytest.fixture(autouse=True)
def cupy():
    reason = missing()
    if reason is not None:
        pytest.skip(f"needs a GPU: {reason}")
    import cupy
    return cupy


def put(x):
    return fg.device_put(x, GPU)


def graphs_of(f):
    """The graphs of a jitted function so far: False for those that could not be captured, None for those that are not yet."""
    return [graph for program in f._programs.values() for frames in program.on_gpus[0].frames.values() for frame in frames
            for graphs in frame.graphs.values() for graph in graphs.values()]


def equal(f, *args, name="", tolerance=0.0, calls=3):
    """Launched one by one, captured and replayed, a function gives what the interpreter gives on the processor."""
    with fg.disable_jit():
        here = [fnp.asarray(x) if isinstance(x, np.ndarray) else x for x in args]
        wanted = [np.asarray(x) for x in fg.tree.leaves(f(*here))]
    there = [put(x) if isinstance(x, np.ndarray) else x for x in args]
    compiled = fg.jit(f, device=GPU)
    for call in range(calls):
        found = fg.tree.leaves(compiled(*there))
        assert all(x.device == GPU for x in found)
        for x, y in zip(map(np.asarray, found), wanted, strict=True):
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            limit = max(tolerance, LIMITS.get(y.dtype.name, 0))
            if y.dtype.name == "bfloat16":
                x, y = x.astype(np.float32), y.astype(np.float32)
            if name.startswith(CHOSEN):
                x, y = np.abs(x), np.abs(y)
            np.testing.assert_allclose(x, y, limit, limit, err_msg=f"call {call + 1}")
    assert False not in graphs_of(compiled), "a graph could not be captured"
    return compiled


def all_of(items, check):
    """Tries all, and lists what failed."""
    failed = []
    for item in items:
        try:
            check(item)
        except Exception as error:
            failed.append(f"{item}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    assert not failed, "\n".join(failed)


def test_the_doctor_finds_nothing():
    diagnosis = fg.doctor()
    assert diagnosis, repr(diagnosis)


@pytest.mark.parametrize("part", range(16))
def test_operations(part):
    all_of(OPERATIONS[part::16], lambda o: equal(o.function, *o.args, name=o.name, tolerance=o.tolerance or 0.0))


@pytest.mark.parametrize("part", range(16))
def test_gradients(part):
    def check(operation):
        loss, args = loss_of(operation)
        narrow = any(np.asarray(y).dtype.itemsize < 8 for y in fg.tree.leaves(operation.function(*operation.args)))
        equal(fg.grad(loss, tuple(range(len(args)))), *args, tolerance=1e-4 if narrow else 1e-7)

    all_of([o for o in OPERATIONS if o.order][part::16], check)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sizes(name):
    cases = [(shape, np.float64) for shape in SHAPES if 0 not in shape or name not in UNDEFINED]
    cases += [(LARGE[name], np.float64)] if name in LARGE else []
    all_of([*cases, *[((7, 37), dtype) for dtype in (np.float32, np.float16, fnp.bfloat16)]],
           lambda case: equal(FUNCTIONS[name], data(*case[0], dtype=case[1])))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(name):
    equal(*PROGRAMS[name], calls=4)


MANY = {
    "elementwise": lambda: equal(lambda x: fnp.sin(x) * x + 1, data(10_000_019, dtype=np.float32)),
    "a sum": lambda: equal(fnp.sum, data(10_000_019)),
    "rows": lambda: equal(fg.nn.softmax, data(3001, 4099, dtype=np.float32)),
    "columns": lambda: equal(lambda x: fnp.sum(x, axis=0), data(20_011, 129)),
    "transposed": lambda: equal(lambda x: fnp.exp(x.T), data(5003, 3001, dtype=np.float32)),
    "a scan": lambda: equal(fnp.cumsum, data(1_000_003), tolerance=1e-7),
    "sorted": lambda: equal(lambda x: (fnp.sort(x), fnp.argsort(x)), data(100_003)),
    "updates": lambda: equal(lambda x, i: fnp.zeros(1009).at[i].add(x), data(500_009), np.arange(500_009) * 7919 % 1009),
    "random": lambda: equal(lambda x: fg.random.normal(fg.random.key(3), (1_000_003,)) * x, np.ones(1)),
    "a loop": lambda: equal(lambda x: lax.fori_loop(0, 10_000, lambda i, c: c * 0.999 + fnp.sin(c[::-1]) / (i + 1.0), x), data(1000)),
    "an image": lambda: equal(fg.grad(lambda x, w: fnp.sum(lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) ** 2), (0, 1)),
        data(16, 28, 28, 8, dtype=np.float32), data(3, 3, 8, 16, dtype=np.float32), tolerance=1e-2),
}


@pytest.mark.parametrize("name", MANY)
def test_many_elements(name):
    MANY[name]()


@pytest.mark.parametrize("dtype", [np.float16, fnp.bfloat16, np.float32, np.float64, np.complex64, np.complex128])
def test_products(dtype):
    x, y = data(3, 257, 129).astype(dtype), data(3, 129, 65).astype(dtype)
    wide = dtype in (np.float16, fnp.bfloat16)
    all_of([
        lambda: equal(lambda x, y: x @ y, x, y), lambda: equal(lambda x, y: x[0] @ y[0], x, y),
        lambda: equal(lambda x, y: fnp.einsum("bij,bjk->bki", x, y), x, y),
        lambda: equal(lambda x, y: (x @ y).sum(0) + fnp.tanh(x[0] @ y[1]), x, y, tolerance=0.3 if wide else 0.0),
        lambda: equal(lambda x, y: lax.dot_general(x, y, (((2,), (1,)), ((0,), (0,))), preferred_element_type=np.float32), x, y,
                      tolerance=1e-2) if wide else None], lambda check: check())


def test_float32_is_not_rounded_unless_asked():
    x, y = data(512, 512, dtype=np.float32), data(512, 512, dtype=np.float32)
    exact = x.astype(np.float64) @ y
    full, narrow = [np.abs(np.asarray(fg.jit(lambda x, y, p=p: fnp.matmul(x, y, precision=p))(put(x), put(y))) - exact).max()
                    for p in (None, "tensorfloat32")]
    assert full < 2e-3 and narrow > 2 * full, (full, narrow)


# ---------------------------------------------------------------- graphs, streams, memory


def step(params, x, y):
    def loss(params):
        h = x
        for w in params[:-1]:
            h = fnp.tanh(h @ w)
        return fnp.mean((h @ params[-1] - y) ** 2)

    value, slope = fg.value_and_grad(loss)(params)
    return value, [p - 0.01 * g for p, g in zip(params, slope, strict=True)]


def test_training_is_one_graph_and_its_memory_does_not_grow():
    sizes = (64, 256, 256, 32)
    params = [data(a, b, dtype=np.float32) / 16 for a, b in zip(sizes[:-1], sizes[1:], strict=True)]
    x, y = data(128, 64, dtype=np.float32), data(128, 32, dtype=np.float32)
    compiled, there, batch = fg.jit(step), put(params), (put(x), put(y))
    values, used = [], []
    for _ in range(60):
        value, there = compiled(there, *batch)
        values.append(float(value))
        used.append(fg.cuda.memory()["used"])
    assert False not in graphs_of(compiled) and any(graphs_of(compiled))
    assert values[-1] < values[0] and max(used[40:]) <= max(used[20:40]), used
    for _ in range(60):
        expected, params = step(params, x, y)
    np.testing.assert_allclose(values[-1], expected, rtol=1e-3)


def test_results_are_the_same_at_each_run():
    f, x = fg.jit(fg.value_and_grad(lambda x: fnp.sum(fg.nn.softmax(x @ x.T, axis=-1) ** 2))), put(data(300, 300, dtype=np.float32))
    first = [np.asarray(v) for v in f(x)]
    for _ in range(4):
        for a, b in zip(first, f(x), strict=True):
            np.testing.assert_array_equal(a, np.asarray(b))


def test_threads_with_streams_of_their_own(cupy):
    f, x = fg.jit(lambda x: fnp.tanh(x @ x) + fnp.sum(x)), data(200, 200)
    wanted, found = np.tanh(x @ x) + np.sum(x), {}

    def call(k):
        with cupy.cuda.Stream(non_blocking=True):
            there = put(x)
            found[k] = [np.abs(np.asarray(f(there)) - wanted).max() for _ in range(30)]

    threads = [threading.Thread(target=call, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and max(map(max, found.values())) < 1e-9


def test_memory_that_is_not_there():
    with pytest.raises(DeviceError, match="out of memory"):
        fnp.zeros((1 << 45,), np.uint8, device=GPU)
    with pytest.raises(DeviceError, match="out of memory"):
        fg.jit(lambda x: fnp.zeros((1 << 38,)) + x)(put(data(1)))
    np.testing.assert_allclose(np.asarray(fg.jit(fnp.sin)(put(data(5)))), np.sin(data(5)))


def test_an_index_out_of_bounds():
    f = fg.jit(lambda x, i: lax.gather(x, i, lax.GatherDimensionNumbers((), (0,), (0,)), (1,), mode="fill"))
    np.testing.assert_array_equal(np.asarray(f(put(np.arange(3.0)), put(np.array([[1], [7]])))), [1, np.nan])


# ---------------------------------------------------------------- other libraries


def test_pytorch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch finds no GPU")
    x = data(64, 32, dtype=np.float32)
    tensor = torch.from_numpy(x).cuda()
    np.testing.assert_allclose(np.asarray(fg.jit(fnp.sin)(fnp.from_dlpack(tensor))), np.sin(x), rtol=1e-6)
    back = torch.from_dlpack(fg.jit(lambda x: x * 2)(put(x)))
    np.testing.assert_array_equal((back + 1).cpu().numpy(), x * 2 + 1)
    np.testing.assert_array_equal(np.asarray(fnp.from_dlpack(tensor.bfloat16())).astype(np.float32), tensor.bfloat16().float().cpu())
    with pytest.raises((BufferError, RuntimeError), match="grad"):
        fnp.from_dlpack(tensor.clone().requires_grad_())


def test_jax(monkeypatch):
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax = pytest.importorskip("jax")
        if jax.default_backend() != "gpu":
            pytest.skip("JAX finds no GPU")
        x = data(64, 32, dtype=np.float32)
        np.testing.assert_allclose(np.asarray(fg.jit(fnp.sin)(fnp.from_dlpack(jax.numpy.asarray(x)))), np.sin(x), rtol=1e-6)
        np.testing.assert_array_equal(np.asarray(jax.dlpack.from_dlpack(fg.jit(lambda x: x * 2)(put(x)))), x * 2)
