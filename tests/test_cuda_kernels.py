"""Fused kernels for a GPU: each way in which threads share one, in the simulator, against the interpreter.

Sizes are those at which the ways change: rows shorter and longer than a warp and than what a warp is enough for, odd ones, ones
that whole accesses fit, reductions in two steps, columns.
"""
from __future__ import annotations

import numpy as np
import pytest
from simt_program import run_schedule

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import passes
from funcgrad.compiler.nodes import walk
from funcgrad.compiler.schedule import schedule

RNG = np.random.default_rng(0)


def floats(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def softmax(x):
    e = fnp.exp(x - fnp.max(x, axis=-1, keepdims=True))
    return e / fnp.sum(e, axis=-1, keepdims=True)


def normalised(x, scale, offset):
    mean, variance = fnp.mean(x, axis=-1, keepdims=True), fnp.var(x, axis=-1, keepdims=True)
    return (x - mean) / fnp.sqrt(variance + 1e-5) * scale + offset


def cross_entropy(x, label):
    return fnp.mean(fnp.log(fnp.sum(fnp.exp(x - fnp.max(x, axis=1, keepdims=True)), axis=1)) - x[:, 0] * label)


def total(f):
    return lambda *args: fnp.sum(fnp.sin(f(*args)))


def costly(x):
    """The second loop over the row needs what is dear to compute again."""
    y = fnp.tanh(fnp.exp(fnp.sin(fnp.log1p(fnp.abs(x))))) ** 1.5 + fnp.cos(fnp.sqrt(fnp.abs(x))) * fnp.arctan(x) * fnp.cosh(x)
    return y / fnp.sum(y, axis=-1, keepdims=True)


PROGRAMS = [
    ("map", lambda x, y: fnp.sin(x) * y + x, [(700,), (700,)], {"rows"}),
    ("map of accesses", lambda x: fnp.tanh(x) * 2, [(4096,)], {"rows"}),
    ("map of some doubles", lambda x: x * 2 + fnp.flip(x), [(602,)], {"rows"}),
    ("gradient of a map", fg.grad(lambda x: fnp.sum(fnp.sin(x) * x)), [(5000,)], {"rows"}),
    ("bias", lambda x, b: fnp.tanh(x + b), [(7, 40), (40,)], {"elements"}),
    ("bias of accesses", lambda x, b: fnp.tanh(x + b), [(7, 256), (256,)], {"elements"}),
    ("bias of channels first", lambda x, b: x + b[:, None], [(40, 70), (40,)], {"elements"}),
    ("short rows", softmax, [(100, 5)], {"rows"}),
    ("rows of a warp", softmax, [(5, 33)], {"elements"}),
    ("rows of accesses", softmax, [(3, 512)], {"elements"}),
    ("rows of a block", softmax, [(3, 1100)], {"elements"}),
    ("long rows", lambda x: fnp.sum(x * x, axis=1), [(2, 20_001)], {"elements"}),
    ("gradient of softmax", fg.grad(total(softmax)), [(5, 130)], {"elements"}),
    ("layer norm", normalised, [(6, 96), (96,), (96,)], {"elements"}),
    ("gradient of layer norm", fg.grad(total(normalised), argnums=(0, 1, 2)), [(90, 64), (64,), (64,)], {"elements", "rows"}),
    ("gradient of layer norm, odd", fg.grad(total(normalised), argnums=(0, 1, 2)), [(150, 37), (37,), (37,)], {"elements", "rows"}),
    ("cross-entropy", cross_entropy, [(70, 65), (70,)], {"elements"}),
    ("gradient of cross-entropy", fg.grad(cross_entropy), [(70, 65), (70,)], {"elements", "rows"}),
    ("sum", fnp.sum, [(9001,)], {"rows", "elements"}),
    ("sum of accesses", lambda x: fnp.sum(x * x), [(64, 160)], {"rows", "elements"}),
    ("maximum", fnp.max, [(77, 91)], {"rows", "elements"}),
    ("small sum", fnp.sum, [(33, 17)], {"elements"}),
    ("sum and map", lambda x: (fnp.sum(x * 2), x * 2), [(6000,)], {"rows", "elements"}),
    ("columns", lambda x: fnp.sum(x, axis=0), [(700, 37)], {"columns", "rows"}),
    ("wide columns", lambda x: fnp.sum(fnp.exp(x), axis=0), [(40, 300)], {"columns", "rows"}),
    ("few columns", lambda x: fnp.max(x, axis=0), [(2000, 3)], {"columns", "rows"}),
    ("columns and map", lambda x: (fnp.sum(fnp.exp(x), axis=0), fnp.exp(x)), [(300, 40)], {"columns", "rows"}),
    ("batch norm", lambda x: (x - fnp.mean(x, axis=(0, 1))) / fnp.sqrt(fnp.var(x, axis=(0, 1)) + 1e-5), [(30, 20, 24)],
     {"columns", "rows", "elements"}),
    ("middle axis", lambda x: fnp.sum(x, axis=1), [(20, 30, 40)], {"columns", "rows"}),
    ("group norm", lambda x: x - fnp.mean(x, axis=(1, 2), keepdims=True), [(4, 9, 11, 5)], {"elements", "rows"}),
    ("outer axes", lambda x: fnp.sum(x, axis=(0, 2)), [(50, 20, 30)], {"elements", "rows"}),
    ("transposed", lambda x: x.T * 2 + 1, [(70, 90)], {"elements"}),
    ("transposed and summed", lambda x: fnp.sum(x.T * 2, axis=1), [(70, 90)], {"rows", "columns"}),
    ("costly", costly, [(5, 140)], {"elements"}),
    ("costly, short", costly, [(50, 6)], {"rows"}),
    ("index", lambda x: x * fnp.arange(90), [(50, 90)], {"elements", "rows"}),
    ("nothing", lambda x: (fnp.sum(x, axis=0), x + 1), [(0, 7)], {"rows"}),
    ("sums of nothing", lambda x: fnp.sum(x, axis=1), [(7, 0)], {"rows", "elements"}),
    ("sum of a view", lambda x: fnp.sum(x[1:, ::2] * 2), [(200, 101)], {"rows", "elements", "columns"}),
    ("offset accesses", lambda x: fnp.exp(x[4:]) + x[:-4], [(1028,)], {"rows"}),
    ("offset by one", lambda x: fnp.exp(x[1:]) + x[:-1], [(1025,)], {"rows"}),
]


def sharing(kernel):
    """The way of a kernel, read from its text."""
    if "for v in range(start, stop):" in kernel.source:
        return "columns"
    return "elements" if "for r in range(start, stop):" in kernel.source else "rows"


def compare(f, args, tolerance):
    want = fg.tree_util.tree_leaves(f(*args))
    with np.errstate(all="ignore"):
        found = run_schedule(fg.make_jaxpr(f)(*args), args)
    assert len(found) == len(want)
    for a, b in zip(found, want, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = a.astype(np.complex128), b.astype(np.complex128)
        largest = np.abs(b[np.isfinite(b)]).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize("f, shapes, ways", [p[1:] for p in PROGRAMS], ids=[p[0] for p in PROGRAMS])
def test_kernels(f, shapes, ways):
    args = [floats(*shape) for shape in shapes]
    kernels = [s.kernel for s, _, _ in walk(schedule(passes.run(fg.make_jaxpr(f)(*args)), "cuda").steps) if s.kind == "kernel"]
    assert kernels and {sharing(k) for k in kernels} <= ways
    compare(f, args, 2e-6)


@pytest.mark.parametrize("dtype, count", [("float64", 2), ("float32", 4), ("float16", 8), ("int8", 16), ("complex128", 1)])
def test_threads_take_whole_accesses_of_any_dtype(dtype, count):
    x = (10 * floats(4096)).astype(dtype)
    kernel, = [s.kernel for s in schedule(passes.run(fg.make_jaxpr(lambda x: x + x)(x)), "cuda").steps]
    assert (f"for rl in range({count}):" in kernel.source) == (count > 1) and kernel.team == 256
    compare(lambda x: x + x, [x], 0)


@pytest.mark.parametrize("f", [softmax, lambda x: fnp.sum(x, axis=0), lambda x: fnp.sum(x), lambda x: fnp.max(x, axis=1)])
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_dtypes(f, dtype):
    compare(f, [floats(70, 66).astype(dtype)], 1e-13 if dtype == "float64" else 2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 32), (17, 257), (4097, 3), (2, 3, 4, 5), (64, 3, 33)])
def test_shapes(shape):
    x = floats(*shape)
    for axis in (None, *range(len(shape))):
        compare(lambda x, axis=axis: (fnp.sum(x * x, axis=axis), x - fnp.max(x, axis=axis, keepdims=True)), [x], 2e-6)


def test_not_a_number_reaches_every_thread():
    x = floats(5, 130)
    x[2, 77] = np.nan
    x[3, 5] = np.inf
    compare(lambda x: (fnp.max(x, axis=1), fnp.sum(x, axis=1), fnp.min(x)), [x], 2e-6)


def test_sums_keep_their_digits():
    x = np.full(300_000, 0.1, np.float32)
    found, = run_schedule(fg.make_jaxpr(fnp.sum)(x), [x], watch=False)
    assert abs(float(found) - x.astype(np.float64).sum()) < 0.01
