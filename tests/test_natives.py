"""Kernels shaped by hand give what the interpreter gives: bit for bit where the order of operations is the same."""
# ruff: noqa: B023  each function is called at once
from __future__ import annotations

import ctypes
import itertools
import zlib

import ml_dtypes
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import lax, random
from funcgrad.compiler import cpu, executable
from funcgrad.compiler.kernel import address
from funcgrad.compiler.natives.multiplying import small_matmul
from funcgrad.compiler.natives.transposing import blocked_copy
from funcgrad.ops import reduction as red
from funcgrad.ops import sorting as so
from funcgrad.ops import structural as s
from funcgrad.ops.random_bits import bitcast_convert_type, multiply_add, normal_quantile, threefry2x32
from funcgrad.ops.random_gamma import random_gamma

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(name) for name in ("float16", "float32", "float64", "complex64", "complex128", "int8", "uint16", "int32",
                                      "int64", "uint64", "bool")] + [BFLOAT16]


PRINCIPAL = [np.dtype(name) for name in ("float32", "complex64", "int32", "bool")] + [BFLOAT16]
"""One dtype of each kind, for every form of a kernel; the others are in the forms that differ most."""


def values(shape: tuple[int, ...], dtype: np.dtype, special: bool = False) -> np.ndarray:
    rng = np.random.default_rng(zlib.crc32(repr((shape, dtype.name)).encode()))
    x = rng.normal(size=shape)
    if special and x.size:
        flat = x.reshape(-1)
        flat[rng.integers(0, x.size, x.size // 4 + 1)] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0], x.size // 4 + 1)
    if dtype.kind == "c":
        x = x + 1j * rng.normal(size=shape)
    if dtype.kind in "iu":
        x = x * 50
    with np.errstate(invalid="ignore"):
        return x > 0 if dtype.kind == "b" else x.astype(dtype)


def compiled(function, *args, host=False):
    """The results of the compiled program, which has no host steps, for 1, 2 and 5 threads."""
    args = [fg.numpy.array(x) for x in args]
    program = executable(fg.make_jaxpr(function)(*args))
    if not host:
        assert {step.kind for step in program.schedule.steps} <= {"kernel"}
    before, found = cpu.num_threads(), []
    try:
        for threads in (1, 2, 5):
            cpu.set_num_threads(threads)
            found.append([np.asarray(x) for x in program(args)])
    finally:
        cpu.set_num_threads(before)
    for other in found[1:]:
        assert [x.tobytes() for x in found[0]] == [x.tobytes() for x in other]
    return found[0]


def check(function, *args, tolerance=0.0, host=False):
    with np.errstate(all="ignore"):
        expected = function(*[fg.numpy.array(x) for x in args])
    expected = [np.asarray(x) for x in (expected if isinstance(expected, tuple) else (expected,))]
    for x, y in zip(compiled(function, *args, host=host), expected, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        if tolerance:
            np.testing.assert_allclose(_wide(x), _wide(y), tolerance, tolerance)
        else:
            np.testing.assert_array_equal(_wide(x), _wide(y))


def _wide(x):
    return x.astype(np.float32) if x.dtype == BFLOAT16 else x


# ---------------------------------------------------------------- cumulative operations

CUMULATIVE = {"cumsum": red.cumsum, "cumprod": red.cumprod, "cummax": red.cummax, "cummin": red.cummin,
              "cumlogsumexp": red.cumlogsumexp}


@pytest.mark.parametrize("name, dtype", [(name, dtype) for name in CUMULATIVE for dtype in DTYPES
                                         if dtype.kind in {"cumlogsumexp": "fV", "cummax": "fViub", "cummin": "fViub"}.get(name, "fVciub")],
                         ids=str)
def test_cumulative_operations(name, dtype):
    tolerance = 1e-5 if name == "cumlogsumexp" else 1e-4 if name == "cumprod" and dtype.kind == "c" else 0.0
    if name == "cumlogsumexp" and dtype.itemsize == 2:
        tolerance = 1e-2
    for shape in ((20, 3), (2, 4, 1500), (0, 3), (7,)) if dtype in PRINCIPAL else ((20, 30), (2, 4, 1500)):
        x = values(shape, dtype, special=name != "cumprod")
        x = x / abs(x) if tolerance and dtype.kind == "c" else x
        for axis, reverse in itertools.product(range(len(shape)), (False, True)):
            check(lambda x: CUMULATIVE[name](x, axis, reverse), x, tolerance=tolerance)


@pytest.mark.parametrize("reverse", (False, True))
def test_many_lines_are_pieces_for_threads(reverse):
    for shape, axis in (((700, 500), 1), ((500, 3000), 0), ((300000,), 0)):
        check(lambda x: red.cumsum(x, axis, reverse), values(shape, np.dtype("float32")))
    check(lambda x: red.cumlogsumexp(x, 1, reverse), values((150, 300), np.dtype("float64")), tolerance=1e-13)


# ---------------------------------------------------------------- positions


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind != "c" and d.name not in ("uint16", "int64")], ids=lambda d: d.name)
def test_positions_of_extremes(dtype):
    for shape in ((1,), (40, 5), (2, 700, 3), (2, 3, 1100), (0, 3)) if dtype in PRINCIPAL else ((40, 50), (2, 3, 1100)):
        for axis in range(len(shape)):
            if not shape[axis]:
                continue
            for function, index in ((red.argmax, "int64"), (red.argmin, "int8")):
                for x in (values(shape, dtype, special=True), np.zeros(shape, dtype), values(shape, dtype)):
                    check(lambda x: function(x, axis, index), x)


def test_positions_where_zeros_have_signs_and_nans_are_many():
    x = np.zeros((3, 400), np.float32)
    x[0, ::2] = -0.0
    x[1, 300:] = np.nan
    x[2] = -np.inf
    for axis in (0, 1):
        check(lambda x: red.argmax(x, axis), x)
        check(lambda x: red.argmin(x, axis), x)
    assert np.asarray(compiled(lambda x: red.argmax(x, 1), x)[0]).tolist() == [0, 300, 0]


def test_positions_in_many_lines():
    for shape, axis in (((2000, 300), 1), ((300, 3000), 0), ((100000, 10), 1)):
        check(lambda x: red.argmax(x, axis), values(shape, np.dtype("float32")))


# ---------------------------------------------------------------- joining


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_concatenate(dtype):
    for shapes, axis in (([(3,), (0,), (4,)], 0), ([(2, 3), (2, 5)], 1), ([(2, 3), (5, 3)], 0), ([(2, 3, 4), (2, 1, 4)], 1),
                         ([(0, 3), (0, 2)], 1), ([(4, 1)] * 12, 1), ([(2, 20, 3), (2, 30, 3)], 1)):
        check(lambda *xs: s.concatenate(xs, axis), *[values(shape, dtype) for shape in shapes])


def test_concatenate_of_many_elements():
    for shapes, axis in (([(300, 200), (300, 900)], 1), ([(300, 200), (2900, 200)], 0)):
        check(lambda *xs: s.concatenate(xs, axis), *[values(shape, np.dtype("float32")) for shape in shapes])
    x = values((3, 4), np.dtype("float64"))
    check(lambda x: s.concatenate((x, x, s.rev(x, (1,))), 1), x)


PADDINGS = ((0, 0, 0), (1, 2, 0), (-1, 0, 0), (2, -3, 0), (0, 0, 1), (1, 1, 2), (-1, 2, 1), (-2, -1, 2), (3, -1, 3))


@pytest.mark.parametrize("dtype", [np.dtype("float16"), np.dtype("float32"), np.dtype("complex128"), np.dtype("bool")],
                         ids=lambda d: d.name)
def test_pad(dtype):
    for shape in ((5,), (4, 70), (3, 4, 2)):
        cases = list(itertools.product(PADDINGS, repeat=len(shape)))
        for config in cases[::max(1, len(cases) // 6)]:
            if any(s.padded_size(n, *entry) < 0 for n, entry in zip(shape, config, strict=True)):
                continue
            if dtype in PRINCIPAL:
                check(lambda x, v: s.pad(x, v, config), values(shape, dtype), values((), dtype))
            check(lambda x: s.pad(x, dtype.type(3), config), values(shape, dtype))


def test_pad_of_nothing_and_of_much():
    check(lambda x: s.pad(x, np.float32(2), ((1, 2, 3), (0, 1, 0))), np.zeros((0, 2), np.float32))
    check(lambda x: s.pad(x, np.float32(2), ((-3, 0, 0),)), np.zeros((3,), np.float32))
    check(lambda x: s.pad(x, np.float32(2), ((1, 2, 0), (3, 4, 1))), values((500, 400), np.dtype("float32")))


# ---------------------------------------------------------------- transposes


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.name not in ("int8", "uint64", "int32")], ids=lambda d: d.name)
def test_copies_by_tiles(dtype):
    found = 0
    for shape in ((65, 130), (64, 64), (8, 40), (3, 70, 41), (20, 1, 33), (2, 40, 3, 50)):
        x = values(shape, dtype)
        for permutation in itertools.permutations(range(len(shape))):
            found += copied(x.transpose(permutation))
    x = values((90, 200), dtype)
    for view in (x[::-1, ::-1].T, x[:, ::2].T, x[::3, 5:].T, x[:, ::-1].T, np.broadcast_to(x[:, None], (90, 40, 200)).T):
        found += copied(view)
    assert found > 15


def copied(view: np.ndarray) -> bool:
    """Copies a view by tiles, called as the virtual machine does, in two halves; False if a loop is preferred."""
    kernel = blocked_copy(view.shape, [step // view.itemsize for step in view.strides], view.dtype)
    if kernel is None:
        return False
    out = np.zeros(view.shape, view.dtype)
    call(kernel, view, out)
    np.testing.assert_array_equal(_wide(out), _wide(view))
    return True


def call(kernel, *arrays: np.ndarray) -> None:
    """Calls a kernel on arrays as the virtual machine does, in two halves of its rows."""
    pointers, sizes = np.array([x.ctypes.data for x in arrays]), np.array([*kernel.sizes, 0])
    code, shelf = address(kernel.source)  # the shelf is kept while the code runs
    function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 6)(code)
    place = np.zeros(8, np.int64)
    half = kernel.rows // 2
    for start, stop in ((0, half), (half, kernel.rows)):
        function(place.ctypes.data, 0, pointers.ctypes.data, sizes.ctypes.data, start, stop)


# ---------------------------------------------------------------- small matrix products


@pytest.mark.parametrize("dtype", ("float16", "float32", "complex128", "int32"))
def test_products_of_small_matrices(dtype):
    dtype = np.dtype(dtype)
    for (m, k, n), batch in itertools.product(((2, 2, 2), (5, 3, 1), (1, 4, 16)), ((), (7,), (3, 5))):
        x, y = values((*batch, k, m), dtype).swapaxes(-1, -2), values((*batch, k, n), dtype)
        y = np.broadcast_to(y[(0,) * len(batch)], y.shape)
        steps = [[step // dtype.itemsize for step in v.strides] for v in (x, y)]
        kernel = small_matmul(dtype, list(zip(batch, *[s[:-2] for s in steps], strict=True)), (m, k, n), *[tuple(s[-2:]) for s in steps])
        out = np.zeros((*batch, m, n), dtype)
        call(kernel, x, y, out)
        tolerance = 0 if dtype.kind == "i" else 1e-2 if dtype.itemsize == 2 else 1e-5
        np.testing.assert_allclose(out, x @ y, tolerance, tolerance)
    assert small_matmul(np.dtype("float32"), [(5, 64, 64)], (8, 8, 8), (8, 1), (8, 1)) is None


# ---------------------------------------------------------------- random bits


def test_threefry():
    rng = np.random.default_rng(0)
    for shape in ((), (1,), (5,), (3, 0), (40000,)):
        words = [rng.integers(0, 1 << 32, shape, np.uint32) for _ in range(4)]
        check(threefry2x32, *words)
        check(lambda k, x: threefry2x32(k, np.uint32(7), np.uint32(0), x), words[0], words[1])
        check(lambda x: threefry2x32(np.uint32(1), x, x, np.uint32(0xFFFFFFFF)), words[0])


@pytest.mark.parametrize("draw", (lambda k: random.bits(k, (300,), "uint32"), lambda k: random.bits(k, (30,), "uint64"),
                                  lambda k: random.bits(k, (300,), "uint8"), lambda k: random.uniform(k, (300,), "float32"),
                                  lambda k: random.uniform(k, (300,), "float64", -1, 3), lambda k: random.split(k, 5),
                                  lambda k: random.uniform(k, (300,), "float16"), lambda k: random.fold_in(k, 3)))
def test_draws_are_those_of_the_interpreter(draw):
    check(draw, random.PRNGKey(3))
    key = random.split(random.PRNGKey(4), 6)
    check(fg.vmap(draw), key)


def test_normal_draws():
    check(lambda k: random.normal(k, (3000,), "float32"), random.PRNGKey(0), tolerance=1e-7)
    check(lambda k: random.normal(k, (3000,), "float64"), random.PRNGKey(0), tolerance=1e-15)


@pytest.mark.parametrize("dtype, tolerance", (("float32", 1e-5), ("float64", 1e-12)))
@pytest.mark.parametrize("log_space", (False, True))
def test_gamma_draws(dtype, tolerance, log_space):
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.exponential(2, 3000), [0, -1, -5, np.nan, np.inf, 1e-30, 1e30, 0.5, 1]]).astype(dtype)
    words = [rng.integers(0, 1 << 32, a.shape, np.uint32) for _ in range(2)]
    check(lambda *xs: random_gamma(*xs, log_space), *words, a, tolerance=tolerance)


@pytest.mark.parametrize("dtype, tolerance", (("float16", 1e-3), ("float32", 1e-7), ("float64", 2e-15), ("bfloat16", 1e-2)))
def test_normal_quantile(dtype, tolerance):
    x = np.concatenate([np.random.default_rng(0).uniform(-1, 1, 2000), 1 - 2.0 ** -np.arange(1, 53),
                        [1, -1, 0, -0.0, 1.5, np.nan, 1e-20]]).astype(BFLOAT16 if dtype == "bfloat16" else dtype)
    check(normal_quantile, x, tolerance=tolerance)


@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "float32", "float64", "complex64"))
def test_multiply_add(dtype):
    dtype = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    x, y, z = (values((3000,), dtype, special=dtype.kind != "c")[i::3] for i in range(3))
    check(multiply_add, x, y, z, tolerance=1e-6 if dtype.kind == "c" else 0.0)


BITS = [(x, y) for x, y in itertools.permutations(("int16", "uint16", "float16", "bfloat16"), 2)]
BITS += [(x, y) for x, y in itertools.permutations(("int32", "uint32", "float32"), 2)]
BITS += [("int64", "float64"), ("float64", "uint64"), ("float32", "uint8"), ("int64", "int16"), ("int8", "uint8")]


@pytest.mark.parametrize("source, target", BITS)
def test_bits_as_another_dtype(source, target):
    source, target = (BFLOAT16 if name == "bfloat16" else np.dtype(name) for name in (source, target))
    x = values((4, 6), source, special=True)
    if source.kind in "iu":
        x = np.random.default_rng(0).integers(0, np.iinfo(source).max // 2, (4, 6)).astype(source)
    check(lambda x: bitcast_convert_type(x, target), x)
    if source.itemsize > target.itemsize:
        check(lambda x: bitcast_convert_type(x, source), np.asarray(bitcast_convert_type(fg.numpy.array(x), target)))
    check(lambda x: lax.bitcast_convert_type(x, target), np.zeros((0, 2), source))


# ---------------------------------------------------------------- sorting


def same_signs(function, x):
    """As ``check``; zeros have the signs of the interpreter's too."""
    check(function, x, host=True)
    for a, b in zip(compiled(function, x, host=True), function(fg.numpy.array(x)), strict=True):
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a[a == 0]), np.signbit(np.asarray(b)[a == 0]))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind != "c" and d.name not in ("uint16", "int64")],
                         ids=lambda d: d.name)
def test_sort_and_top_k(dtype):
    for shape in ((9, 30), (3, 12, 4), (0, 3), (3, 0), (4, 90)) if dtype in PRINCIPAL else ((9, 30), (4, 90)):
        for x in (values(shape, dtype, special=True), np.zeros(shape, dtype)):
            for axis in range(len(shape)):
                same_signs(lambda x: so.sort((x, s.iota(np.int64, shape, axis)), dimension=axis), x)
            same_signs(lambda x: so.sort((x,), dimension=0), x)
            for k in {0, min(3, shape[-1]), shape[-1]}:
                same_signs(lambda x: so.top_k(x, k), x)


def test_sort_of_many_lines():
    x = values((30000, 10), np.dtype("float32"), special=True)
    check(lambda x: so.sort((x, s.iota(np.int32, x.shape, 1)), dimension=1), x)
    check(lambda x: so.top_k(x, 2), x)
    check(lambda x: so.top_k(x, 5), x.reshape(100, 3000))
    check(lambda x: so.sort((x, x, x), dimension=1, num_keys=2), x[:100], host=True)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != BFLOAT16], ids=lambda d: d.name)
def test_sorts_that_are_not_stable_make_stable_ones(dtype):
    for shape in ((1000,), (7, 33), (0, 3), (3, 40, 4)):
        for x in (values(shape, dtype, special=True), values(shape, dtype), np.round(abs(values(shape, np.dtype("float64"))))):
            x = x.astype(dtype)
            for axis in range(x.ndim):
                expected = np.argsort(x, axis, kind="stable")
                np.testing.assert_array_equal(so.stable_argsort(np, x, axis), expected)
                found = np.asarray(so.sort(x, axis))
                np.testing.assert_array_equal(found, np.take_along_axis(x, expected, axis))
                if dtype.kind == "f":
                    zero = found == 0
                    signs = np.signbit(np.take_along_axis(x, expected, axis)[zero])
                    np.testing.assert_array_equal(np.signbit(found[zero]), signs)
