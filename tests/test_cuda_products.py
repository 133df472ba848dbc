"""Matrix products and convolutions on a GPU: what cuBLAS is told, and that it gives what the interpreter gives.

Products run by their records, as on a GPU, on a stand-in for cuBLAS; other kernels in the simulator.
"""
from __future__ import annotations

import itertools

import fake_cuda
import numpy as np
import pytest
from fake_cublas import FakeCublas, rounded
from ml_dtypes import bfloat16
from simt_program import run_schedule

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, passes
from funcgrad.compiler.cuda import contraction, convolving
from funcgrad.compiler.cuda.contraction import record
from funcgrad.compiler.schedule import schedule
from funcgrad.ops.convolving import convolve, convolve_input, convolve_kernel

RNG = np.random.default_rng(0)
F16, BF16, F32, F64, C64 = (np.dtype(x) for x in ("float16", bfloat16, "float32", "float64", "complex64"))
TOLERANCE = {F16: 2e-2, BF16: 1e-1, F32: 2e-5, C64: 2e-5}
NAMES = ("op_a", "op_b", "m", "n", "k", "type_a", "lda", "stride_a", "type_b", "ldb", "stride_b", "type_c", "ldc", "stride_c",
         "batch", "compute", "onto", "outer", "step_a", "step_b", "step_c")


def random(*shape, dtype=F32):
    x = RNG.standard_normal(shape)
    return (x + 1j * RNG.standard_normal(shape) if np.dtype(dtype).kind == "c" else x).astype(dtype)


def steps(f, *args):
    """The kinds of the steps of a program, and the records of its products by name."""
    plan = schedule(passes.run(fg.make_jaxpr(f)(*args)), "cuda")
    return [s.kind for s in plan.steps], [dict(zip(NAMES, record(s), strict=True)) for s in plan.steps if s.kind == "gemm"]


def assert_as_interpreted(f, *args):
    with fg.disable_jit():
        expected = fg.tree.leaves(f(*args))
    for x, y in zip(run_schedule(fg.make_jaxpr(f)(*args), args), expected, strict=True):
        y = np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        kind, limit = np.complex128 if x.dtype.kind == "c" else np.float64, TOLERANCE.get(x.dtype, 1e-12)
        np.testing.assert_allclose(x.astype(kind), y.astype(kind), rtol=limit, atol=limit * np.abs(y.astype(kind)).max(initial=1))


# ---------------------------------------------------------------- products


@pytest.fixture
def no_fused_sums(monkeypatch):
    """Small products go to cuBLAS too, so that tests can be small."""
    monkeypatch.setattr(contraction, "FEW", 0)
    monkeypatch.setattr(contraction, "TINY", 1)
    monkeypatch.setattr(contraction, "FEW_TERMS", 1)


@pytest.mark.parametrize("dtype", [F16, BF16, F32, F64, C64])
@pytest.mark.parametrize("subscripts", ["mk,kn->mn", "km,kn->mn", "mk,nk->nm", "bmk,bkn->bmn", "bmk,kn->bmn", "bmhk,bnhk->bhmn",
                                        "bhmn,bnhk->bmhk", "abmk,bakn->abmn", "mab,nba->mn", "bkm,nbk->bmn"])
def test_products_are_those_of_the_interpreter(no_fused_sums, subscripts, dtype):
    sizes = dict(zip("mknabh", (3, 5, 4, 2, 3, 2), strict=True))
    left, right = [random(*[sizes[c] for c in term], dtype=dtype) for term in subscripts.split("->")[0].split(",")]
    assert_as_interpreted(lambda x, y: fnp.einsum(subscripts, x, y), left, right)


def test_a_transpose_is_a_flag_and_nothing_is_copied():
    kinds, (product,) = steps(lambda x, w: x @ w.T, random(256, 128), random(64, 128))
    assert kinds == ["gemm"]
    assert [product[x] for x in ("op_a", "op_b", "m", "n", "k", "lda", "ldb", "ldc")] == [1, 0, 64, 256, 128, 128, 128, 64]
    kinds, products = steps(fg.grad(lambda w, x: fnp.sum(fnp.tanh(x @ w))), random(64, 128), random(32, 64))
    assert kinds == ["gemm", "kernel", "gemm"] and (products[1]["op_a"], products[1]["op_b"]) == (0, 1)


@pytest.mark.parametrize("dtype, number", [(F16, 2), (BF16, 14)])
def test_narrow_floats_are_read_as_they_are(dtype, number):
    x, w = random(256, 128, dtype=dtype), random(128, 64, dtype=dtype)
    kinds, (product,) = steps(fnp.matmul, x, w)
    assert kinds == ["gemm"]
    assert [product[t] for t in ("type_a", "type_b", "type_c", "compute")] == [number, number, number, contraction.COMPUTE_32F]
    kinds, (product,) = steps(lambda x, w: fnp.matmul(x, w, preferred_element_type=F32), x, w)
    assert kinds == ["gemm"] and [product[t] for t in ("type_a", "type_b", "type_c")] == [number, number, 0]
    kinds, (product,) = steps(lambda x, w: fnp.matmul(x, w).astype(F32), x, w)  # rounded before it is widened
    assert kinds == ["gemm", "kernel"] and product["type_c"] == number


@pytest.mark.parametrize("dtype, wanted", [(BF16, F32), (F16, F64), (F32, F64), (F32, BF16), (np.int32, F32), (np.int8, np.int32),
                                           (np.bool_, np.int32), (F32, C64), (np.int8, None), (np.bool_, None)])
def test_preferred_element_types(no_fused_sums, dtype, wanted):
    x, y = (RNG.integers(0, 5, shape).astype(dtype) for shape in ((4, 5), (5, 3)))
    assert_as_interpreted(lambda x, y: fnp.matmul(x, y, preferred_element_type=wanted), x, y)


def test_sums_of_products_are_added_in_memory(no_fused_sums):
    args = [random(*shape) for shape in ((6, 5), (5, 7), (6, 4), (4, 7), (6, 3), (3, 7))]
    f = lambda a, b, c, d, e, f: a @ b + (c @ d + e @ f)  # noqa: E731
    kinds, products = steps(f, *args)
    assert kinds == ["gemm"] * 3 and sorted(p["onto"] for p in products) == [0, 1, 1]
    assert_as_interpreted(f, *args)


def test_attention_is_a_batch_of_strided_products():
    q, k, v = [random(4, 128, 8, 64, dtype=BF16) for _ in range(3)]
    kinds, products = steps(lambda q, k: fnp.einsum("bqhd,bkhd->bhqk", q, k), q, k)
    assert kinds == ["gemm"]
    assert [products[0][x] for x in ("batch", "outer", "lda", "stride_a", "ldc", "stride_c", "step_a")] == [
        8, 4, 512, 64, 128, 128 * 128, 2 * 128 * 512]


def test_a_result_is_written_in_the_order_in_which_it_is_read(no_fused_sums):
    def f(weights, values, w):
        return fnp.einsum("bhqk,bkhd->bqhd", weights, values).reshape(2, 5, 12) @ w

    args = random(2, 3, 5, 6), random(2, 6, 3, 4), random(12, 7)
    kinds, (product, _) = steps(f, *args)
    assert kinds == ["gemm", "gemm"] and (product["ldc"], product["stride_c"], product["step_c"]) == (12, 4, 4 * 5 * 12)
    assert_as_interpreted(f, *args)
    assert_as_interpreted(lambda *args: fnp.einsum("bhqk,bkhd->bqhd", *args), *args[:2])
    assert_as_interpreted(lambda a, b: fnp.einsum("bhqk,bkhd->bqhd", a, b) + fnp.einsum("bqkh,bkhd->bqhd", fnp.moveaxis(a, 1, 3), b),
                          *args[:2])
    assert_as_interpreted(lambda a, b: fnp.einsum("bhqk,bkhd->dhbq", a, b), *args[:2])
    assert_as_interpreted(lambda a, b: fnp.tanh(fnp.einsum("bhqk,bkhd->hbqd", a, b)), *args[:2])


def test_what_cublas_does_not_take_is_a_fused_sum(no_fused_sums):
    f = lambda x, y: fnp.einsum("abmk,bkn->bamn", x[..., ::-1], y[::-1])  # noqa: E731  a batch from its end
    args = random(2, 3, 4, 5), random(3, 5, 4)
    assert "gemm" not in steps(f, *args)[0]
    assert_as_interpreted(f, *args)


@pytest.mark.parametrize("shapes", [((100000, 4), (4, 8)), ((3000, 4, 4), (3000, 4, 4)), ((300, 200), (200,)), ((16, 256), (256, 16)),
                                    ((50, 1), (1, 60))])
def test_products_that_are_sums_of_a_fused_kernel(shapes):
    kinds, _ = steps(lambda x, y: fnp.tanh(x @ y), *[random(*shape) for shape in shapes])
    assert kinds == ["kernel"]


@pytest.mark.parametrize("shapes", [((300, 300), (300, 300)), ((2000, 100), (100, 8)), ((64, 32, 32), (64, 32, 32)), ((2000,), (2000, 500))])
def test_products_that_are_cublas(shapes):
    assert "gemm" in steps(lambda x, y: x @ y, *[random(*shape) for shape in shapes])[0]


def test_large_batches_are_several_calls(monkeypatch):
    monkeypatch.setattr(contraction, "MOST_MATRICES", 3)
    cublas, (a, b, c) = FakeCublas(), [random(7, 2, 2), random(7, 2, 2), np.empty((7, 2, 2), F32)]
    numbers = [0, 0, 2, 2, 2, 0, 2, 4, 0, 2, 4, 0, 2, 4, 7, contraction.COMPUTE_32F, 0, 1, 0, 0, 0]
    contraction.launch(cublas, 0, numbers, b.ctypes.data, a.ctypes.data, c.ctypes.data)
    np.testing.assert_allclose(c, a @ b, rtol=1e-6)
    assert cublas.calls == 3


# ---------------------------------------------------------------- precision


def test_tensorfloat32_only_where_it_is_asked_for():
    x, y = random(128, 128), random(128, 128)
    full, fast = contraction.COMPUTE_32F, contraction.COMPUTE_32F_FAST_TF32
    pairs = itertools.product([None, "highest", "float32", "default", ("high", "highest")], [full])
    for precision, compute in (*pairs, ("high", fast), ("tensorfloat32", fast), ((lax.Precision.HIGH,) * 2, fast)):
        f = lambda x, y, precision=precision: fnp.matmul(x, y, precision=precision)  # noqa: E731
        assert [p["compute"] for p in steps(f, x, y)[1]] == [compute], precision
    gradient = fg.grad(lambda x, y: fnp.sum(fnp.sin(fnp.matmul(x, y, precision="high"))))
    assert [p["compute"] for p in steps(gradient, x, y)[1]] == [fast, fast]
    assert [p["compute"] for p in steps(lambda x, y: lax.dot(x, y, "high"), x.astype(F64), y.astype(F64))[1]] == [
        contraction.COMPUTE_64F]


def test_the_default_precision_is_part_of_a_program():
    x = random(3, 3)
    f = fg.jit(lambda x: x @ x)
    with fg.disable_jit():
        expected = f(x)
    assert f(x).tolist() == expected.tolist()
    with fg.default_matmul_precision("tensorfloat32"):
        assert f(x).tolist() == expected.tolist()  # on the processor it changes nothing
        assert "precision=tensorfloat32" in str(f.lower(x).jaxpr)
        assert "precision" not in str(fg.make_jaxpr(lambda x: fnp.matmul(x, x, precision="highest"))(x))
        assert "precision" not in str(fg.make_jaxpr(lambda x: x @ x)(x.astype(F64)))
        assert "precision=tensorfloat32" in str(fg.make_jaxpr(fg.jit(lambda x: f(x)))(x))
        with fg.default_matmul_precision("highest"), fg.disable_jit(False):
            assert "precision" not in str(f.lower(x).jaxpr)
    assert "precision" not in str(f.lower(x).jaxpr)
    assert f.cache_info().misses == 2
    found, = run_schedule(fg.make_jaxpr(lambda x: fnp.matmul(x, x, precision="high"))(random(64, 64)), [x := random(64, 64)])
    np.testing.assert_allclose(found, rounded(x) @ rounded(x), rtol=1e-4, atol=1e-4)
    assert np.abs(found - x @ x).max() > 1e-4


def test_a_jitted_function_on_a_gpu_has_a_program_for_each_precision(monkeypatch):
    fake_cuda.install(monkeypatch)
    x = random(64, 64)
    there, f = fg.device_put(x, "cuda:0"), fg.jit(lambda x: x @ x)
    for _ in range(3):
        np.testing.assert_allclose(np.asarray(f(there)), x @ x, rtol=1e-5, atol=1e-5)
        with fg.default_matmul_precision("high"):
            np.testing.assert_allclose(np.asarray(f(there)), rounded(x) @ rounded(x), rtol=1e-5, atol=1e-5)


def test_a_convolution_on_a_gpu(monkeypatch):
    fake_cuda.install(monkeypatch)
    x, w = random(2, 6, 6, 3, dtype=BF16), random(3, 3, 3, 4, dtype=BF16)
    loss = fg.jit(fg.grad(lambda w, x: fnp.sum(fnp.tanh(lax.conv_general_dilated(
        x, w, (2, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).astype(F32))), (0, 1)))
    for found, wanted in zip(loss(*[fg.device_put(v, "cuda:0") for v in (w, x)]), loss(w, x), strict=True):
        assert found.device == "cuda:0" and found.dtype == BF16
        np.testing.assert_allclose(np.asarray(found).astype(F64), np.asarray(wanted).astype(F64), rtol=0.1, atol=0.1)


def test_convolutions_have_a_precision():
    x, w = random(2, 6, 6, 3), random(3, 3, 3, 4)
    f = lambda w, x: fnp.sum(fnp.sin(lax.conv_general_dilated(  # noqa: E731
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="high")))
    assert str(fg.make_jaxpr(fg.grad(f))(w, x)).count("precision=tensorfloat32") == 2
    assert {p["compute"] for p in steps(fg.grad(f), w, x)[1]} == {contraction.COMPUTE_32F_FAST_TF32}
    with fg.default_matmul_precision("highest"):
        assert fg.grad(f)(w, x).shape == w.shape


@pytest.mark.parametrize("precision", ["hi", 3, ("high", "high", "high")])
def test_unknown_precisions_raise(precision):
    with pytest.raises(ValueError, match="precision: the name is unknown[\\s\\S]*tensorfloat32"):
        fnp.matmul(random(2, 2), random(2, 2), precision=precision)


# ---------------------------------------------------------------- convolutions


GEOMETRIES = [
    # n, sizes, groups, channels, windows, outs, strides, padding, dilation
    (2, (5, 4), 1, 3, (3, 3), 4, (2, 1), ((1, 1), (0, 2)), (1, 2)),
    (3, (5,), 1, 33, (3,), 2, (1,), ((1, 1),), (1,)),
    (2, (4, 4), 2, 9, (3, 2), 9, (1, 2), ((1, 1), (-1, 2)), (1, 1)),
    (2, (4, 4), 5, 1, (3, 2), 2, (1, 2), ((1, 1), (1, 0)), (1, 1)),
    (2, (3, 2, 3), 1, 2, (2, 2, 2), 3, (1, 2, 1), ((1, 1), (1, 0), (0, 0)), (1, 1, 1)),
    (2, (3, 4), 2, 9, (1, 1), 8, (1, 1), ((0, 0), (0, 0)), (1, 1)),
    (2, (3, 4), 2, 10, (2, 1), 8, (1, 1), ((1, 0), (0, 0)), (1, 1)),
]


@pytest.mark.parametrize("limit", [1 << 28, 2000])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: f"{g[2]}x{g[3]}to{g[5]}")
def test_convolutions_are_those_of_the_interpreter(geometry, limit, monkeypatch):
    monkeypatch.setattr(convolving, "LARGEST_WINDOWS", limit)
    monkeypatch.setattr(convolving, "TEAMS", 3)  # several rows for a team
    n, sizes, groups, channels, windows, outs, *moves = geometry
    x, w = random(n, *sizes, groups, channels), random(groups, *windows, channels, outs)
    y = random(*convolve(x, w, *moves).shape)
    assert_as_interpreted(lambda x, w: convolve(x, w, *moves), x, w)
    assert_as_interpreted(lambda y, w: convolve_input(y, w, sizes, *moves), y, w)
    assert_as_interpreted(lambda x, y: convolve_kernel(x, y, windows, *moves), x, y)


@pytest.mark.parametrize("dtype", [BF16, F64])
def test_convolutions_of_other_dtypes(dtype, monkeypatch):
    monkeypatch.setattr(convolving, "LARGEST_WINDOWS", 500)
    x, w = random(2, 5, 2, 1, 3, dtype=dtype), random(1, 3, 2, 3, 4, dtype=dtype)
    moves = (1, 1), ((1, 1), (0, 0)), (1, 1)
    y = convolve(x, w, *moves)
    assert_as_interpreted(lambda x, w: convolve(x, w, *moves), x, w)
    assert_as_interpreted(lambda y, w: convolve_input(y, w, (5, 2), *moves), y, w)
    assert_as_interpreted(lambda x, y: convolve_kernel(x, y, (3, 2), *moves), x, y)


def test_any_layout_is_read_by_its_strides():
    w = random(3, 3, 5, 4)
    f = lambda x, w: lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NCHW", "HWIO", "NCHW"))  # noqa: E731
    assert_as_interpreted(f, random(2, 5, 4, 3), w)
    f = lambda x, w: lax.conv_general_dilated(x[:, 1:, ::2], w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))  # noqa: E731
    assert_as_interpreted(f, random(2, 4, 5, 5), w)


def test_windows_are_of_bounded_size(monkeypatch):
    x, w = random(8, 6, 6, 1, 16), random(1, 3, 3, 16, 24)
    f = lambda x, w: convolve(x, w, (1, 1), ((1, 1), (1, 1)), (1, 1))  # noqa: E731
    assert steps(f, x, w)[0] == ["kernel", "gemm"]
    monkeypatch.setattr(convolving, "LARGEST_WINDOWS", 2 * 36 * 9 * 16 * 4)  # two images
    assert steps(f, x, w)[0] == ["kernel", "gemm"] * 4
    monkeypatch.setattr(convolving, "LARGEST_WINDOWS", 20 * 9 * 16 * 4)  # less than one
    assert steps(f, x, w)[0] == ["kernel", "gemm"] * 16
    assert steps(lambda x, w: convolve(x, w, (1, 1), ((0, 0),) * 2, (1, 1)), x, random(1, 1, 1, 16, 24))[0] == ["gemm"]


def test_convolutions_of_integers_are_host_steps():
    x, w = RNG.integers(0, 5, (1, 4, 4, 1, 2)), RNG.integers(0, 5, (1, 3, 3, 2, 2))
    assert steps(lambda x, w: convolve(x, w, (1, 1), ((0, 0),) * 2, (1, 1)), x, w)[0] == ["host"]
