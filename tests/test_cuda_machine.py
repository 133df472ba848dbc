"""The machine that runs programs on a GPU: equal to the processor on all instructions, graphs, failures. On a stand-in for CuPy."""
from __future__ import annotations

import gc
import subprocess
import sys
import threading
import types

import fake_cuda
import numpy as np
import pytest
from gpu import missing

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.compiler.cuda import cublas, driver, frame, image
from funcgrad.errors import DeviceError, DonatedBufferError

GPU = "cuda:0"
RNG = np.random.default_rng(0)
N = 40
X, Y, XS = RNG.random(N), RNG.random(N), RNG.random((5, N))
M, MS = RNG.random((48, 48)) / 48, RNG.random((3, 48, 48)) / 48


@pytest.fixture
def gpu(monkeypatch):
    return fake_cuda.install(monkeypatch)


def put(x):
    return fg.device_put(x, GPU)


def happened(gpu):
    return np.array([gpu.launches, gpu.captures, gpu.replays, gpu.reads])


def equal_on_both(gpu, f, args, calls=3, rtol=1e-12):
    """The results of a function on the GPU are those of the processor, at each call. What each call did: launches, captures,
    replays, reads.
    """
    wanted = [np.asarray(x) for x in fg.tree.leaves(fg.jit(f)(*args))]
    there = [put(x) if np.ndim(x) else x for x in args]
    on_gpu, counts = fg.jit(f, device=GPU), []
    for _ in range(calls):
        before = happened(gpu)
        found = fg.tree.leaves(on_gpu(*there))
        counts.append((happened(gpu) - before).tolist())
        for x, want in zip(found, wanted, strict=True):
            assert x.device == GPU and x.dtype == want.dtype
            np.testing.assert_allclose(np.asarray(x), want, rtol=rtol, atol=rtol)
    return counts


def grow(c):
    return fg.lax.while_loop(lambda c: fnp.sum(c) < 100.0, lambda c: c[::-1] * 2.0 + X, c)


def doubled(c, x):
    """A cumulative sum or a doubling, as the first element of x says."""
    return fg.lax.cond(x[0] > 0.5, lambda c: c * 2.0, lambda c: fnp.sin(c)[::-1], c), x


def multiply(c, x):
    return fnp.tanh(c @ x), c


PROGRAMS = {
    "straight": (lambda x, y: (fnp.sin(x) * y + 2.0, fnp.sum(x * y), x > y), (X, Y)),
    "numbers of the host": (lambda x, a, b, c: (x * a + b, fnp.where(c, x, a)), (X, 2.5, np.float32(0.1), True)),
    "a complex number": (lambda x, z: x * z, (X, np.complex128(1 + 2j))),
    "arguments and constants as results": (lambda x, y: (x, fnp.asarray(Y), x.reshape(8, 5), y, 3.0), (X, 2)),
    "nothing to compute": (lambda x: (), (X,)),
    "nothing in it": (lambda x: (fnp.sin(x[:0]), fnp.sum(x[:0]), x[:0]), (X,)),
    "constants": (lambda x: fg.lax.fori_loop(0, 3, lambda i, c: c * Y + fnp.asarray(XS)[i], x), (X,)),
    "slices and swaps": (lambda c, xs: fg.lax.scan(lambda c, x: (fnp.sin(c)[::-1] + x, c * x), c, xs), (X, XS)),
    "backwards": (lambda c, xs: fg.lax.scan(lambda c, x: (fnp.sin(c)[::-1] + x, c * x), c, xs, reverse=True), (X, XS)),
    "while": (grow, (X,)),
    "a choice of two": (lambda i, c: fg.lax.cond(i > 2, lambda c: c[::-1], fnp.sin, c), (3, X)),
    "a choice of three": (lambda i, c: fg.lax.switch(i, [fnp.sin, lambda c: c[::-1], lambda c: c * 2.0], c), (7, X)),
    "a choice in a loop": (lambda c, xs: fg.lax.scan(doubled, c, xs), (X, XS)),
    "while in a loop": (lambda c, xs: fg.lax.scan(lambda c, x: (grow(c) / 50.0, x * c), c, xs[:2]), (X, XS)),
    "a loop in a loop": (lambda c, xs: fg.lax.scan(
        lambda c, x: (fg.lax.scan(lambda d, y: (fnp.cos(d)[::-1] * x + y, None), c, xs[:2])[0], c), c, xs), (X, XS)),
    "products": (lambda a, b: (a @ b, (a.T @ b) + (b @ a)), (M, MS[0])),
    "products of slices": (lambda c, xs: fg.lax.scan(multiply, c, xs), (M, MS)),
    "a step of CuPy": (lambda x: (fnp.linalg.inv(fnp.outer(x[:3], x[:3]) + fnp.eye(3)) * 2.0, x[:3]), (X,)),
    "a step of CuPy on slices": (lambda c, xs: fg.lax.scan(
        lambda c, x: (c + fnp.linalg.inv(x[::-1, ::-1]), c), c, xs), (np.eye(3), RNG.random((2, 3, 3)) + np.eye(3))),
    "a callback": (lambda x: fg.pure_callback(lambda v: v + 1.0, fg.ShapeDtypeStruct((N,), np.float64), x) * 2.0, (X,)),
    "updates": (lambda x, i: fg.lax.fori_loop(0, 3, lambda k, b: b.at[i + k].set(k * 1.0), x), (X, 2)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(gpu, name):
    counts = equal_on_both(gpu, *PROGRAMS[name])
    if "products" not in name:
        assert counts[-1][:2] == [0, 0], "the third call launches graphs alone"


@pytest.mark.parametrize("name, unrolled, launches, replays", [
    ("slices and swaps", 6, 0, 5), ("slices and swaps", 1, 0, 7), ("backwards", 6, 0, 5), ("a loop in a loop", 6, 0, 7),
    ("products of slices", 9, 6, 3)])
def test_loops_that_are_too_long_to_be_unrolled(gpu, monkeypatch, name, unrolled, launches, replays):
    """They have one graph for some iterations at a time; products of slices are launched one by one."""
    monkeypatch.setattr(image, "UNROLLED", unrolled)
    counts = equal_on_both(gpu, *PROGRAMS[name])
    assert counts[-1] == [launches, 0, replays, 0]


def test_a_state_that_products_swap_in_a_long_loop(gpu, monkeypatch):
    """Its places are exchanged, so there are two graphs of an iteration."""
    monkeypatch.setattr(image, "UNROLLED", 1)
    counts = equal_on_both(gpu, lambda c: fg.lax.fori_loop(0, 5, lambda i, c: fnp.tanh(c @ M), c), (M,))
    assert counts[-1][:2] == [0, 0]


# ---------------------------------------------------------------- on a GPU, where there is one


class Uncounted:
    """In the place of the stand-in's counters."""

    launches = captures = replays = reads = 0


@pytest.fixture
def real():
    reason = missing()
    if reason is not None:
        pytest.skip(f"needs a GPU: {reason}")
    return Uncounted()


@pytest.mark.gpu
@pytest.mark.parametrize("unrolled", [4096, 1])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_on_a_gpu(real, monkeypatch, name, unrolled):
    monkeypatch.setattr(image, "UNROLLED", unrolled)
    equal_on_both(real, *PROGRAMS[name], calls=5, rtol=1e-10)


@pytest.mark.gpu
def test_graphs_on_a_gpu(real, monkeypatch):
    """They are captured, replayed for other addresses, thrown away; invalid operands and other streams between."""
    monkeypatch.setattr(frame, "VARIANTS", 2)
    f, g = fg.jit(lambda x, y: (x @ y, fnp.sin(x))), fg.jit(lambda x, i: x[i] * 2.0)
    kept, y = [], put(M)
    for k in range(8):
        x = put(M + k)
        kept.append((x, f(x, y)))
        with pytest.raises(IndexError):
            g(x, put(60 + k))
        np.testing.assert_array_equal(np.asarray(g(x, put(k))), 2.0 * (M[k] + k))
    for k, (x, (product, sine)) in enumerate(kept):
        np.testing.assert_allclose(np.asarray(product), (M + k) @ M, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(sine), np.sin(M + k), rtol=1e-12)
        np.testing.assert_array_equal(np.asarray(x), M + k)
    one, = _executable(f).frames.values()
    assert any(graph for graphs in one[0].graphs.values() for graph in graphs.values()), "products can be captured"
    with _executable(f).driver.cupy.cuda.Stream(non_blocking=True) as stream:
        found = f(put(M), put(M))[0]
        stream.synchronize()
        np.testing.assert_allclose(np.asarray(found), M @ M, rtol=1e-12)


# ---------------------------------------------------------------- graphs


def test_a_graph_is_captured_at_the_second_call_and_serves_all_addresses(gpu):
    f = fg.jit(lambda x, y: fnp.sin(x) * y)
    kept = []
    for k in range(5):
        x, y = put(X + k), put(Y - k)
        kept += [x, y, f(x, y)]
        np.testing.assert_allclose(np.asarray(kept[-1]), np.sin(X + k) * (Y - k), rtol=1e-15)
    assert gpu.captures == 1 and gpu.replays == 4


def test_products_have_a_graph_for_each_place_of_their_operands(gpu):
    f = fg.jit(lambda x, y: x @ y)
    a, b, c = put(M), put(MS[0]), put(MS[1])
    for captures, (x, y) in enumerate([(a, b), (b, c)], 1):
        for _ in range(3):
            np.testing.assert_allclose(np.asarray(f(x, y)), np.asarray(x) @ np.asarray(y), rtol=1e-12)
        assert gpu.captures == captures


def test_products_are_launched_one_by_one_where_their_library_is_not_found(gpu, monkeypatch):
    """CuPy refuses to call cuBLAS while a stream is captured."""
    def missing(version):
        raise OSError("libcublas.so.13: cannot open shared object file")

    monkeypatch.setattr(cublas, "library", missing)
    counts = equal_on_both(gpu, lambda a, b: fnp.tanh(a @ b) @ a, (M, MS[0]))
    assert counts[-1][0] > 0 and counts[-1][2] == 0
    counts = equal_on_both(gpu, lambda x, y: fnp.sin(x) * y, (X, Y))
    assert counts[-1][:3] == [0, 0, 1]


def test_errors_of_cublas_while_a_stream_is_captured_are_raised():
    library = types.SimpleNamespace(**{name: (lambda *args: 7) for name in cublas.FUNCTIONS})
    with pytest.raises(RuntimeError, match="cublasSetStream_v2 answers with error 7"):
        cublas.Capturable(library).begin(1, 2, 3, 4)


def test_graphs_are_bounded(gpu, monkeypatch):
    monkeypatch.setattr(frame, "VARIANTS", 3)
    f = fg.jit(lambda x: x @ x)
    places = [put(M) for _ in range(6)]
    for x in (*places, *places):
        f(x)
    one, = fg.tree.leaves(list(_executable(f).frames.values()))
    assert sum(map(len, one.graphs.values())) == 3


def test_operands_whose_places_keep_changing_are_brought_to_one(gpu, monkeypatch):
    monkeypatch.setattr(frame, "VARIANTS", 2)
    f = fg.jit(lambda x, y: (x @ y, fnp.sin(x)))
    kept, y = [], put(M)
    for k in range(8):
        x = put(M + k)
        before = happened(gpu)
        kept.append((x, f(x, y)))
        np.testing.assert_allclose(np.asarray(kept[-1][1][0]), (M + k) @ M, rtol=1e-12)
    assert (happened(gpu) - before).tolist() == [0, 0, 1, 0]
    for k, (x, (product, sine)) in enumerate(kept):
        np.testing.assert_allclose(np.asarray(product), (M + k) @ M, rtol=1e-12)
        np.testing.assert_allclose(np.asarray(sine), np.sin(M + k), rtol=1e-14)
        np.testing.assert_array_equal(np.asarray(x), M + k)


def _executable(f):
    program, = f._programs.values()
    return program.on_gpus[0]


def test_two_calls_at_once_have_two_frames(gpu):
    """A callback waits for that of another thread, so both calls are under way."""
    together = threading.Barrier(2, timeout=20)

    def wait(v):
        together.wait()
        return v

    f = fg.jit(lambda x: fg.pure_callback(wait, fg.ShapeDtypeStruct((N,), np.float64), x * 2.0) + x)
    found = {}

    def call(k):
        found[k] = np.asarray(f(put(X + k)))

    for _ in range(2):
        threads = [threading.Thread(target=call, args=(k,)) for k in range(2)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        for k in range(2):
            np.testing.assert_allclose(found[k], 3.0 * (X + k), rtol=1e-15)
    frames, = _executable(f).frames.values()
    assert len(frames) == 2


def test_each_stream_has_frames_of_its_own(gpu):
    f = fg.jit(fnp.sin)
    x = put(X)
    f(x)
    with gpu.cupy.cuda.Stream(non_blocking=True):
        np.testing.assert_allclose(np.asarray(f(x)), np.sin(X), rtol=1e-15)
    assert len(_executable(f).frames) == 2


def test_each_thread_has_frames_of_its_own_where_it_has_its_own_default_stream(gpu):
    gpu.legacy.ptr = driver.PER_THREAD
    f = fg.jit(fnp.sin)
    x = put(X)
    f(x)
    thread = threading.Thread(target=f, args=(x,))
    thread.start()
    thread.join()
    assert len(_executable(f).frames) == 2


# ---------------------------------------------------------------- failures


def test_an_index_out_of_bounds(gpu):
    f = fg.jit(lambda x, i: x[i] * 2.0)
    x = put(X)
    for i in (3, 70, 4):
        if i < N:
            assert float(f(x, put(i))) == 2.0 * X[i]
        else:
            with pytest.raises(IndexError, match=r"index 70 is out of bounds for axis 0 with size 40, called at test_cuda_machine"):
                f(x, put(i))


def test_effects_before_an_invalid_operand_happen_once(gpu):
    seen = []

    def f(x, i):
        fg.debug.callback(lambda v: seen.append(float(v)), x[0])
        return x[i]

    with pytest.raises(IndexError):
        fg.jit(f)(put(X), put(70))
    assert seen in ([], [X[0]])


@pytest.mark.parametrize("what", ["alloc", "launch", "capture"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_what_fails_once_leaves_everything_usable(gpu, what, call):
    f = fg.jit(lambda x: (fnp.sin(x[0])[::-1] + 1.0, x @ M))
    x = put(np.ones((N, 48)))
    want = None
    for k in range(1, 5):
        if k == call:
            gpu.fail(what, times=2 if what == "alloc" else 1)
        try:
            found = np.asarray(f(x)[0])
        except DeviceError as error:
            assert k == call
            pattern = "out of memory on cuda:0" if what == "alloc" else "cuda:0 stopped"
            assert pattern in str(error)
        else:
            assert k != call or what == "capture" or k > 1 and what == "launch", "what cannot be captured is launched"
            want = found if want is None else want
            np.testing.assert_array_equal(found, want)
        gpu.failures.clear()
    np.testing.assert_array_equal(np.asarray(f(x)[0]), want)
    assert gpu.stream().ptr == 0 and not gpu.capturing


def test_memory_that_programs_keep_is_given_back_before_an_error(gpu):
    def held():
        return fg.cuda.memory()["used"]

    first, second = fg.jit(lambda x: x @ x + 1.0), fg.jit(fnp.sin)
    x = put(np.ones((48, 48)))
    second(x)
    for _ in range(2):
        first(x)
    before = held()
    fg.cuda.free()
    assert held() < before
    first(x)
    gpu.fail("alloc")
    np.testing.assert_allclose(np.asarray(second(x)), np.sin(1.0), rtol=1e-15)
    assert not any(map(len, _executable(first).frames.values())), "it gave up its frame"
    np.testing.assert_allclose(np.asarray(first(x)), 49.0)


def test_an_error_of_a_host_step_says_where_and_leaves_everything_usable(gpu):
    def check(v):
        if v[0] > 1.0:
            raise ValueError("too large")
        return v

    f = fg.jit(lambda x: fg.pure_callback(check, fg.ShapeDtypeStruct((N,), np.float64), x + 0.0) * 2.0)
    for k in (0, 2, 0, 2, 0):
        if k:
            with pytest.raises(ValueError, match="too large") as caught:
                f(put(X + k))
            assert "test_cuda_machine.py" in "".join(caught.value.__notes__)
        else:
            np.testing.assert_allclose(np.asarray(f(put(X))), 2.0 * X, rtol=1e-15)


def test_a_dead_context_and_a_driver_that_does_not_fit(gpu):
    f = fg.jit(lambda x: x * 3.0)
    gpu.fail("load")
    with pytest.raises(DeviceError, match="(?s)no kernel image.*fg.doctor"):
        f(put(X))
    gpu.fail("illegal")
    with pytest.raises(DeviceError, match="(?s)cuda:0 stopped.*illegal memory access.*a new process.*fg.disable_jit"):
        f(put(X))
    np.testing.assert_allclose(np.asarray(f(put(X))), 3.0 * X)


def test_a_grid_that_is_too_large():
    assert driver.geometry(1, 1, 1) == (1, 64) and driver.geometry(1000, 1, 32) == (500, 64)
    assert driver.geometry(10**9, 1, 1) == (3906250, 256)
    with pytest.raises(DeviceError, match=r"more rows than a grid has threads(?s:.*)at most 2,147,483,647 blocks"):
        driver.geometry(1 << 32, 1, 256)


# ---------------------------------------------------------------- where a jitted function runs


def test_arguments_decide_where_a_function_runs(gpu):
    f = fg.jit(lambda x, y: x * y)
    assert f(put(X), 2.0).device == GPU and f(put(X), Y).device == GPU and f(put(X), np.float64(2.0)).device == GPU
    assert f(put(X), fnp.asarray(2.0)).device == GPU and f(X, 2.0).device == "cpu"
    assert fg.jit(lambda x, y: x * y, device=GPU)(X, fnp.asarray(Y)).device == GPU
    assert fg.jit(lambda x, y: x * y, device="cpu")(put(X), Y).device == "cpu"
    with fg.default_device(GPU):
        assert f(X, 2.0).device == GPU and f(fg.device_put(X, "cpu"), 2.0).device == "cpu"
        assert fg.jit(lambda: fnp.zeros(3))().device == GPU
    assert f(fnp.asarray(X), 2.0).device == "cpu"
    table = put(X)
    g = fg.jit(lambda i: table[i])
    assert g(3).device == GPU and float(g(3)) == X[3]
    assert fg.grad(fg.jit(lambda x: fnp.sum(fnp.sin(x))))(put(X)).device == GPU
    assert fg.lax.scan(lambda c, x: (c + x, c), put(np.ones(N)), put(XS))[1].device == GPU
    assert fg.jit(lambda x: x * 2.0).lower(X).compile()(put(X)).device == GPU


def test_arrays_on_different_devices(gpu):
    def step(params, x):
        return params["w"] * x

    with pytest.raises(DeviceError) as caught:
        fg.jit(step)({"w": fnp.asarray(X)}, put(X))
    for part in ("arguments of step", "params['w'], float64[40], is on cpu", "x, float64[40], is on cuda:0",
                 "fg.device_put(params, 'cuda:0')"):
        assert part in str(caught.value)
    with pytest.raises(DeviceError, match="is on cuda:0; y.* is on cuda:1"):
        fg.jit(lambda x, y: x + y)(put(X), fg.device_put(Y, "cuda:1"))
    np.testing.assert_allclose(np.asarray(fg.jit(lambda x, y: x + y)(*[fg.device_put(v, "cuda:1") for v in (X, Y)])), X + Y)


def test_donated_memory(gpu):
    f = fg.jit(lambda p, g: p - 0.1 * g, donate_argnums=0)
    big = np.ones((100, 200))
    p = put(big)
    place = p._data.data.ptr
    q = f(p, big)
    assert q._data.data.ptr == place
    with pytest.raises(DonatedBufferError):
        p + 1.0
    view = q._data[:10]
    r = f(q, big)
    assert r._data.data.ptr != place and view.host[0, 0] == 0.9, "who has a view keeps the memory"
    np.testing.assert_allclose(np.asarray(r), 0.8 * big, rtol=1e-15)


def test_donated_memory_of_another_library_is_not_written(gpu):
    """Who holds the tensor cannot be told from what came by DLPack."""
    f = fg.jit(lambda p, g: p - 0.1 * g, donate_argnums=0)
    tensor = gpu.cupy.ones((100, 200))
    foreign = type("Tensor", (), {"__dlpack__": lambda _, **options: tensor.__dlpack__(**options), "__dlpack_device__": lambda _: (2, 0)})
    taken = fnp.from_dlpack(foreign())
    assert taken._data.data.ptr == tensor.data.ptr
    f(taken, np.ones((100, 200)))
    assert tensor.host.min() == 1.0


def test_constants_are_uploaded_once(gpu):
    f = fg.jit(lambda x: x + XS)
    x = put(X)
    f(x)
    before = gpu.cupy.get_default_memory_pool().used_bytes()
    writes = gpu.writes
    kept = [f(x) for _ in range(3)]
    assert gpu.cupy.get_default_memory_pool().used_bytes() - before == 3 * 512 * -(-kept[0].nbytes // 512)
    assert gpu.writes - writes == 3


def test_a_program_that_is_gone_keeps_no_memory(gpu):
    x = put(M)
    before = fg.cuda.memory()["used"]
    gc.collect()
    gc.disable()
    try:
        f = fg.jit(lambda x: (x @ x + MS[0], fnp.sum(x)))
        for _ in range(3):
            f(x)
        assert fg.cuda.memory()["used"] > before
        del f
        assert fg.cuda.memory()["used"] == before
    finally:
        gc.enable()


def test_nothing_of_cuda_is_loaded_at_import():
    code = ("import sys, funcgrad\n"
            "print([m for m in sys.modules if m.startswith(('cupy', 'funcgrad.compiler.cuda'))])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_missing_library_of_cuda_is_named(gpu, monkeypatch):
    class Cuda:
        def __init__(self, cuda):
            self.cuda = cuda

        def __getattr__(self, name):
            if name == "cublas":
                raise ImportError("libcublas.so.13: cannot open shared object file")
            return getattr(self.cuda, name)

    found = driver.driver(0)
    monkeypatch.setattr(found, "cupy", types.SimpleNamespace(ndarray=found.cupy.ndarray, cuda=Cuda(found.cupy.cuda)))
    with pytest.raises(DeviceError, match=r"a matrix product: CuPy misses a library(.|\n)*libcublas(.|\n)*funcgrad\[cuda13\]"):
        fg.jit(lambda x: fnp.sin(x @ x))(put(M))
