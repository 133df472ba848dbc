"""The instruction table and the machine that runs it agree on their words; no program leaves work to the garbage collector."""
from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.compiler import entry, executable, image


def test_the_words_of_the_machine_are_those_of_the_table():
    from funcgrad.compiler import executor
    for name in ("WIDTH", "END", "KERNEL", "GEMM", "HOST", "ITERATE", "NEXT", "RESET", "UNLESS", "SWITCH", "JUMP", "REGION"):
        assert getattr(image, name) == getattr(executor, name), name
    for name in ("COUNTER", "STATUS", "EXECUTE", "DATA_AT"):
        assert getattr(entry, name) == getattr(executor, name), name
    assert entry.HEAD_OF_FRAME == executor.PASSED


def test_compiling_leaves_no_cycles():
    def compile_one(k):
        jaxpr = fg.make_jaxpr(lambda x: fg.grad(lambda x: fnp.sum(fnp.tanh(x @ x) + k))(x))(np.ones((3, 3)))
        executable(jaxpr)([fnp.ones((3, 3))])

    compile_one(0.5)
    gc.collect()
    gc.disable()
    try:
        compile_one(1.5)
        before = len(gc.get_objects())
        compile_one(2.5)
        assert len(gc.get_objects()) - before < 100
    finally:
        gc.enable()


def test_buffers_of_a_loop_are_not_reused_while_it_runs():
    """The slices that an outer loop reads stay, though an inner loop needs memory of its own."""
    xs = np.array([0.3, 1.2, 0.7])

    def f(w):
        def outer(c, x):
            c = fg.lax.scan(lambda s, i: (fg.lax.cond(s > 1.0, lambda s: s * w * x, lambda s: s + x * i, s), None), c, xs)[0]
            return fnp.tanh(c), c

        c, ys = fg.lax.scan(outer, w, xs)
        return c + fnp.sum(ys)

    np.testing.assert_allclose(fg.jit(fg.grad(f))(0.9), fg.grad(f)(0.9), rtol=1e-12)


@pytest.mark.parametrize("m, n, k", [(64, 256, 32), (37, 256, 100), (33, 777, 111), (1000, 37, 300), (2, 5000, 300), (784, 512, 128)])
@pytest.mark.parametrize("flags", range(4))
def test_products_divided_into_blocks(m, n, k, flags):
    """All transpositions, and a last block of another size; whole numbers, so that every order of sums is exact."""
    rng = np.random.default_rng(0)
    a = rng.integers(-3, 4, (k, m) if flags & 1 else (m, k)).astype(np.float32)
    b = rng.integers(-3, 4, (n, k) if flags & 2 else (k, n)).astype(np.float32)
    f = fg.jit(lambda a, b: (a.T if flags & 1 else a) @ (b.T if flags & 2 else b))
    np.testing.assert_array_equal(f(a, b), (a.T if flags & 1 else a) @ (b.T if flags & 2 else b))


@pytest.mark.parametrize("n", [17, 2047, 2048, 2049, 120_000, 1_000_003])
def test_long_sums_keep_their_digits(n):
    """Squares of bytes in float32, whole and row by row: within 4 units of the exact sum."""
    x = np.random.default_rng(0).integers(0, 256, (3, n)).astype(np.float32) ** 2
    for total, exact in ((fg.jit(fnp.sum)(x[0]), x[0].astype(np.float64).sum()),
                         (fg.jit(lambda x: fnp.sum(x, axis=1))(x), x.astype(np.float64).sum(1))):
        assert np.max(np.abs(np.asarray(total, np.float64) - exact) / np.spacing(exact.astype(np.float32))) <= 4


def test_products_by_another_blas(monkeypatch):
    """Where NumPy does not come with its own OpenBLAS, SciPy's is used, whose integers have 32 bits."""
    from funcgrad.compiler import blas
    blas.gemm.cache_clear()
    blas.thread_functions.cache_clear()
    try:
        monkeypatch.setattr(blas, "_library", lambda: None)
        assert blas.thread_functions() == (0, 0)
        rng = np.random.default_rng(0)
        for dtype in (np.float32, np.float64, np.complex128):
            a, b = (rng.integers(-3, 4, shape).astype(dtype) for shape in ((90, 170), (170, 130)))
            np.testing.assert_array_equal(fg.jit(lambda a, b: a @ b)(a, b), a @ b)
            np.testing.assert_array_equal(fg.jit(lambda a, b: (b.T @ a.T) * 2)(a, b), (b.T @ a.T) * 2)
    finally:
        blas.gemm.cache_clear()
        blas.thread_functions.cache_clear()


def test_the_short_way_of_a_call_is_taken_by_arguments_of_the_same_types_only():
    f = fg.jit(lambda x, y=1.0: {"sum": fnp.sum(x) + y, "all": (x * y, x + 1)})
    x = fnp.arange(3.0)
    calls = [((x,), {}), ((x, x), {}), ((x,), {"y": x}), ((fnp.arange(3),), {}), ((fnp.ones((2, 3)),), {}), ((2.0,), {}),
             ((np.arange(3.0),), {}), ((fnp.float32(2),), {}), ((np.arange(12.0).reshape(3, 4).T,), {}), ((x[::-1],), {})]
    for args, kwargs in calls + calls[::-1]:
        for _ in range(3):
            found = f(*args, **kwargs)
            with fg.disable_jit():
                expected = f(*args, **kwargs)
            for a, b in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
                assert (a.shape, a.dtype) == (fnp.shape(b), fnp.asarray(b).dtype)
                np.testing.assert_allclose(a, b, rtol=1e-15)
    assert f.cache_info().hits == 60 - f.cache_info().misses


def test_results_that_are_numbers_are_not_written_by_the_next_call():
    f = fg.jit(lambda x: (x * 2, x + 1))
    values = [fnp.asarray(float(i)) for i in range(50)]
    results = [f(v) for v in values]
    assert [(float(a), float(b)) for a, b in results] == [(2.0 * i, i + 1.0) for i in range(50)]


def test_a_strided_array_after_the_short_way():
    f = fg.jit(lambda x: fnp.sin(x) + 1)
    f(fnp.ones((3, 4)))
    strided = fg.core.array.DeviceArray(np.arange(12.0).reshape(4, 3).T)
    for _ in range(3):
        np.testing.assert_allclose(f(strided), np.sin(strided) + 1, rtol=1e-15)
        np.testing.assert_allclose(f(fnp.ones((3, 4))), np.sin(np.ones((3, 4))) + 1, rtol=1e-15)


def test_a_function_under_a_transformation_does_not_take_the_short_way():
    f = fg.jit(lambda x: x * fnp.sin(x))
    x = fnp.asarray(0.5)
    for _ in range(3):
        assert float(f(x)) == float(x * fnp.sin(x))
        assert abs(float(fg.grad(f)(x)) - (np.sin(0.5) + 0.5 * np.cos(0.5))) < 1e-15
        np.testing.assert_allclose(fg.vmap(f)(fnp.ones(3)), np.sin(1), rtol=1e-15)
    f.clear_cache()
    assert f.cache_info().currsize == 0 and float(f(x)) == float(x * fnp.sin(x)) and f.cache_info().misses == 1


def test_several_threads_take_the_short_way():
    found = []

    def f(x):
        return fnp.sum(x) * 2, fnp.sum(x + 1)

    g = fg.jit(f)
    x = fnp.arange(4.0)
    workers = [threading.Thread(target=lambda k=k: found.append(all(float(g(x + k)[0]) == 2 * (6 + 4 * k) for _ in range(300))))
               for k in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [True] * 4
