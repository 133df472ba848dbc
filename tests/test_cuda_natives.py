"""Kernels of their own for a GPU, in the simulator: what the interpreter gives, without races; and as PTX."""
from __future__ import annotations

import zlib
from functools import partial

import ml_dtypes
import numpy as np
import pytest
from simt import KernelError
from simt_program import Program

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, passes
from funcgrad.compiler.cuda import natives, ptx
from funcgrad.compiler.cuda.natives import ranges, reading, scattering, teams, transposing
from funcgrad.compiler.natives import NATIVES, STRIDED, NativeKernel
from funcgrad.compiler.nodes import walk
from funcgrad.compiler.schedule import schedule
from funcgrad.ops import reduction

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def values(shape, dtype="float64", special=False):
    rng = np.random.default_rng(zlib.crc32(repr((shape, str(dtype))).encode()))
    x, dtype = rng.normal(size=shape), np.dtype(dtype)
    if special:
        flat = x.reshape(-1)
        flat[rng.integers(0, x.size, x.size // 3)] = rng.choice([np.nan, np.inf, -np.inf, -0.0, 0.0], x.size // 3)
    if dtype.kind == "c":
        x = x + 1j * rng.normal(size=shape)
    with np.errstate(invalid="ignore"):
        return x > 0 if dtype.kind == "b" else (x * (50 if dtype.kind in "iu" else 1)).astype(dtype)


def indices(n, count, dtype="int64"):
    return np.random.default_rng(n + count).integers(0, n, count).astype(dtype)


def check(function, *args, tolerance=0.0, teams=None):
    """Compares with the interpreter; the teams of the kernels of their own are the second result's."""
    args = [fnp.array(x) for x in args]
    with np.errstate(all="ignore"):
        expected = function(*args)
    plan = schedule(passes.run(fg.make_jaxpr(function)(*args)), "cuda")
    found = [kernel.team for kernel in of_their_own(plan)]
    assert all(step.kind in ("kernel", "loop") for step in plan.steps)
    assert teams is None or found == teams
    for x, y in zip(Program(plan).run(args), expected if isinstance(expected, tuple) else (expected,), strict=True):
        y = np.asarray(y)
        assert x.dtype == y.dtype and x.shape == y.shape
        if tolerance:
            np.testing.assert_allclose(wide(x), wide(y), tolerance, tolerance)
        else:
            np.testing.assert_array_equal(wide(x), wide(y))


def of_their_own(plan):
    """The kernels that are no fused ones."""
    return [step.kernel for step in plan.steps if step.kind == "kernel" and isinstance(step.kernel.nodes[0].code, NativeKernel)]


def wide(x):
    return x.astype(np.float32) if x.dtype == BFLOAT16 else x


def test_every_operation_has_a_kernel_or_a_reason():
    left_out = {"eigh", "svd", "qr", "convolve", "convolve_input", "convolve_kernel"}
    names = {*natives.NATIVES, *natives.STRIDED}
    assert names | left_out >= {*NATIVES, *STRIDED}
    assert all(name in natives.__doc__ for name in left_out)


# ---------------------------------------------------------------- running sums

SCANS = {"sum": reduction.cumsum, "prod": reduction.cumprod, "max": reduction.cummax, "min": reduction.cummin,
         "logsumexp": reduction.cumlogsumexp}


@pytest.fixture
def short_pieces(monkeypatch):
    """Lines are cut into pieces of a few elements."""
    monkeypatch.setattr(teams, "LEAST", 40)
    monkeypatch.setattr(teams, "STEPS", 5)


@pytest.mark.parametrize(("name", "dtype", "shape", "axis", "reverse", "teams"), [
    ("sum", "float64", (2, 1), 1, False, [1]), ("sum", "float64", (3, 20), 1, True, [1]),
    ("sum", "float32", (2, 137), 1, False, [32]), ("sum", "float64", (1, 2600), 1, True, [256]),
    ("sum", "complex64", (2, 33), 1, False, [32]), ("sum", "int8", (2, 130), 1, False, [32]),
    ("sum", BFLOAT16, (2, 40), 1, True, [32]), ("sum", "bool", (1, 40), 1, False, [32]),
    ("prod", "float32", (1, 40), 1, True, [32]), ("logsumexp", "float32", (1, 130), 1, False, [32]),
    ("max", "float64", (2, 200), 1, False, [32]), ("min", "float64", (2, 200), 1, True, [32]),
    ("max", "int32", (1, 129), 1, False, [32]), ("sum", "float32", (2, 13, 3), 1, True, [1]),
    ("sum", "float16", (13, 3), 0, False, [1]), ("max", "float64", (30, 2), 0, False, [1]),
    ("sum", "complex128", (9, 2), 0, True, [1]), ("sum", "float64", (0, 3), 0, False, [1])])
def test_running_sums(name, dtype, shape, axis, reverse, teams):
    tolerance = {"float16": 2e-3, BFLOAT16: 2e-2, "float32": 1e-5, "complex64": 1e-5}.get(dtype, 1e-13)
    tolerance = 0 if name in ("max", "min") else tolerance
    x = values(shape, dtype, special=name in ("max", "min") and dtype == "float64")
    check(partial(SCANS[name], axis=axis, reverse=reverse), x, tolerance=tolerance, teams=teams)


@pytest.mark.parametrize(("name", "dtype", "shape", "axis", "reverse", "teams"), [
    ("sum", "float32", (2, 203), 1, False, [32, 1, 32]), ("sum", "float64", (1, 90), 1, True, [32, 1, 32]),
    ("max", "float64", (1, 700), 1, True, [32, 1, 32]), ("sum", BFLOAT16, (203, 2), 0, False, None),
    ("max", "float64", (131, 3), 0, True, None)])
def test_running_sums_of_pieces(short_pieces, name, dtype, shape, axis, reverse, teams):
    tolerance = 0 if name == "max" else {"float32": 1e-5, "float64": 1e-13}.get(dtype, 0.05)
    x = values(shape, dtype, special=name == "max")
    check(partial(SCANS[name], axis=axis, reverse=reverse), x, tolerance=tolerance, teams=teams)


# ---------------------------------------------------------------- positions

@pytest.mark.parametrize(("dtype", "shape", "axis"), [
    ("float64", (3, 7), 1), ("float64", (4, 70), 1), ("float32", (1, 2500), 1), ("int8", (2, 90), 1), ("bool", (3, 50), 1),
    (BFLOAT16, (2, 40), 1), ("float64", (2, 9, 3), 1), ("uint64", (9, 2), 0), ("float64", (2, 1), 1), ("float64", (5, 0), 0)])
def test_positions(dtype, shape, axis):
    x = values(shape, dtype, special=dtype == "float64" and 0 not in shape)
    for f in (fnp.argmax, fnp.argmin):
        check(partial(f, axis=axis), x)


def test_positions_in_pieces(short_pieces):
    x = values((2, 203), special=True)
    check(partial(fnp.argmax, axis=1), x, teams=[32, 1])
    check(partial(fnp.argmin, axis=1), np.tile(np.round(x), 7), teams=[32, 32])
    check(partial(fnp.argmax, axis=0), np.round(x.T), teams=[1, 1])


@pytest.mark.parametrize("dtype", ["float32", "uint8", BFLOAT16, "bool"])
def test_the_largest_elements(dtype):
    x = values((2, 70), dtype, special=dtype == "float32")
    check(lambda x: lax.top_k(x, 5), x, teams=[32])
    check(lambda x: lax.top_k(x, 3), x[:, :9], teams=[1])


def test_sorting():
    x = np.round(values((4, 12), special=True))
    check(lambda x: fnp.sort(x, 1), x, teams=[1])
    check(lambda x: fnp.argsort(x, 1), x, teams=[1])
    for dtype in ("float64", "float32", "uint64", "int8", BFLOAT16, "bool"):
        x = values((1, 77), dtype, special=dtype in ("float32", "float64"))
        x = np.round(x * 2) if dtype == "float64" else x
        check(lambda x: lax.sort((x, fnp.arange(77)[None]), dimension=1), x, teams=[256])
    check(lambda x: fnp.sort(x, 0), np.round(values((33, 2), special=True)), teams=[256])
    assert schedule(fg.make_jaxpr(fnp.sort)(np.zeros(3000)), "cuda").steps[-1].kind == "host"


# ---------------------------------------------------------------- computed places

MODES = ["raise", "clip", "fill", "promise_in_bounds"]


@pytest.mark.parametrize("dtype", ["bool", "float16", "float32", "float64", "complex128"])
@pytest.mark.parametrize("width", [3, 150])
def test_gathers(dtype, width):
    x, i = values((9, width), dtype), indices(9, 5)
    for mode in MODES:
        at = i if mode[0] in "rp" else i * 3 - 7
        check(lambda x, i: x.at[i].get(mode=mode), x, at, teams=[1 if width == 3 else 32])  # noqa: B023


def test_long_windows_are_divided(monkeypatch):
    monkeypatch.setattr(reading, "PIECE", 64)
    check(lambda x, i: lax.dynamic_slice(x, (i,), (300,)), values(500), np.int32(77), teams=[256])
    check(lambda x, i: x[i], values((3, 200)), indices(3, 2), teams=[256])


def test_taking_along_an_axis():
    x, i = values((3, 50, 2), "float32"), indices(50, 3 * 7 * 2).reshape(3, 7, 2)
    check(lambda x, i: fnp.take_along_axis(x, i, 1), x, i)
    check(fg.grad(lambda x, i: (fnp.take_along_axis(x, i, 1) ** 2).sum()), x, i)
    check(lambda x, i: fnp.take_along_axis(x, i, 1), x[:, :, 0], indices(50, 120).reshape(3, 40), teams=[32])


SCATTERS = ["set", "add", "multiply", "min", "max"]


@pytest.mark.parametrize("form", ["threads", "blocks", "winners", "lists"])
@pytest.mark.parametrize("dtype", ["float32", "int8", BFLOAT16, "bool", "complex64", "uint64", "int32"])
def test_scatters(form, dtype, monkeypatch):
    """Updates of one element come one after the other, so the bits are those of the processor."""
    monkeypatch.setattr(scattering, "FEW", 1 << 30 if form == "threads" else 0)
    monkeypatch.setattr(scattering, "MANY", 0 if form in ("winners", "lists") else 1 << 30)
    monkeypatch.setattr(ranges, "FEWEST_RANGES", 1)
    x, i, u = values((11, 3), dtype), indices(11, 40), values((40, 3), dtype)
    names = ("set",) if form == "winners" else SCATTERS[1:3] if dtype == "complex64" or form == "lists" else SCATTERS
    for name in names:
        for mode in MODES[:3] if form == "winners" else ("raise", "fill") if name == "add" else ("clip",):
            check(lambda x, i, u: getattr(x.at[i], name)(u, mode=mode), x, i if mode == "raise" else i * 2 - 5, u)  # noqa: B023


def test_forms_of_scatters():
    """Integers are added by the memory, numbers that are set have winners, and what is unique needs neither."""
    i, large = ("int64", 10**6), ("float32", 10**6)

    def kernels(f, *avals):
        avals = [fg.ShapeDtypeStruct(s, np.dtype(d)) for d, *s in avals]
        return [(kernel.team, kernel.rows) for kernel in of_their_own(schedule(passes.run(fg.make_jaxpr(f)(*avals)), "cuda"))]

    assert kernels(lambda i: fnp.zeros(10**5, int).at[i].add(1), i) == [(1, 10**6)]
    assert kernels(lambda i, u: fnp.zeros(10**5, "float32").at[i].set(u), i, large) == [(1, 10**6), (1, 10**6)]
    assert kernels(lambda i, u: fnp.zeros(10**5, "float32").at[i].add(u, unique_indices=True), i, large) == [(1, 10**6)]
    in_order = kernels(lambda i, u: fnp.zeros(10**5, "float32").at[i].add(u), i, large)
    assert in_order[0] == (1, 10**6) and in_order[-2:] == [(256, 977), (256, 390)]
    assert kernels(lambda i, u: fnp.zeros(10, "float32").at[i].add(u), i, large) == [(256, 244)]


@pytest.mark.parametrize(("shape", "count", "blocks"), [
    ((600,), 300, 2), ((4, 70), 30, 2), ((40, 9), 60, 2), ((3, 300), 20, 3)])
def test_blocks_have_ranges_of_places(shape, count, blocks, monkeypatch):
    monkeypatch.setattr(ranges, "WIDEST", 100)
    monkeypatch.setattr(ranges, "EACH", 1)
    monkeypatch.setattr(ranges, "LISTED", 256)
    x, i, u = values(shape), indices(shape[0], count), values((count, *shape[1:]))
    check(lambda x, i, u: x.at[i].add(u), x, i, u, teams=[256, 256])
    plan = schedule(fg.make_jaxpr(lambda x, i, u: x.at[i].add(u))(x, i, u), "cuda")
    assert plan.steps[-1].kernel.rows == blocks


def test_updates_in_the_order_of_their_ranges(monkeypatch):
    """Several tiles, ranges and columns."""
    for name in ("FEW", "MANY"):
        monkeypatch.setattr(scattering, name, 0)
    for name, value in dict(FEWEST_RANGES=1, EACH=1, LISTED=256).items():
        monkeypatch.setattr(ranges, name, value)
    for shape, count in (((600,), 300), ((40, 9), 270)):
        x, i, u = values(shape), indices(shape[0] + 9, count) - 5, values((count, *shape[1:]))
        check(lambda x, i, u: x.at[i].add(u, mode="drop"), x, i, u)


def test_scatters_of_windows_and_of_batches(monkeypatch):
    monkeypatch.setattr(scattering, "FEW", 0)
    x, i = values((4, 12)), indices(9, 4 * 6).reshape(4, 6)
    check(fg.vmap(lambda x, i: x.at[i].add(1.5)), x, i)
    check(fg.vmap(lambda x, i: fg.vmap(lambda s: lax.dynamic_slice(x, (s,), (3,)))(i)), x, i)
    check(lambda x, i: fg.vjp(lambda x: fg.vmap(lambda s: lax.dynamic_slice(x, (s, 1), (3, 2)))(i), x)[1](values((5, 3, 2)))[0],
          values((9, 4)), indices(7, 5))
    check(lambda x, i, j, u: x.at[i, j].mul(u), x, indices(4, 30), indices(12, 30), values(30))
    check(lambda x, i: x.at[:, i].set(x[:, :4]), x, indices(12, 4, "uint8"))
    check(lambda x, i, u: x.at[i].set(u), x.T, indices(12, 5), values((5, 4)))


def test_many_updates_of_few_elements_are_added_in_parts(monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_PART", 50)
    i, u = indices(7, 250), values(250)

    def histogram(i, u):
        return fnp.zeros(7).at[i].add(u)

    check(histogram, i, u, tolerance=1e-13)
    plan = schedule(passes.run(fg.make_jaxpr(histogram)(i, u)), "cuda")
    assert [kernel.rows for kernel in of_their_own(plan)] == [5]
    check(lambda i, u: fnp.zeros((3, 2)).at[i].add(u), indices(3, 200), np.round(values((200, 2)) * 9))


def test_windows_written_once():
    x, u = values((6, 7)), values((2, 5))
    check(lambda x, u, i: lax.dynamic_update_slice(x, u, (i, 9)), x, u, np.int32(-1), teams=[256, 1])
    check(lambda u, i: lax.dynamic_update_slice(fnp.ones((6, 7)), u, (i, 1)), u, np.int64(3), teams=[1])


def test_an_index_out_of_bounds_is_noticed():
    for f in (lambda x, i: x[i], lambda x, i: x.at[i].add(1.0)):
        with pytest.raises(KernelError, match="invalid operand"):
            check_failing(f, values(5), np.array([1, 5]))


def check_failing(f, *args):
    Program(schedule(fg.make_jaxpr(f)(*args), "cuda")).run(args)


def test_an_update_in_a_loop_copies_nothing():
    def f(b, u):
        return lax.fori_loop(0, 4, lambda i, b: b.at[i].set(b[i + 1] * 2 + u).at[2 * i].add(1.0), b)

    b, u = values((10, 40)), values(40)
    check(f, b, u)
    steps = schedule(passes.run(fg.make_jaxpr(f)(b, u)), "cuda").steps
    inside = [step for step, _, _ in walk(steps) if step not in steps]
    assert inside and all("!= word(pointers, 1)" not in step.kernel.source for step in inside)
    check(lambda x: (x.at[1].set(3.0), x.at[0].add(1.0) + x), values((3, 3)))


# ---------------------------------------------------------------- joining, searching, windows

def test_joining():
    a, b = values((3, 4), "complex128"), values((3, 2), "complex128")
    check(lambda a, b: fnp.concatenate([a, b, a], 1), a, b, teams=[1])
    check(lambda a, b: fnp.concatenate([a.T, b.T]), a, b)
    check(lambda *xs: fnp.concatenate(xs, 1), *[values((2, k), "int8") for k in (1, 0, 3, 2, 5, 1, 4, 2, 0, 6)], teams=[1])
    for config in [((1, 2, 0), (0, 3, 0)), ((1, -1, 2), (-2, 1, 1)), ((0, 0, 0), (2, 0, 0)), ((-3, 1, 0), (0, 0, 0))]:
        check(lambda x: lax.pad(x, x.dtype.type(2), config), a, teams=[1])  # noqa: B023
    check(lambda x, v: lax.pad(x, v, ((2, 1, 1), (0, 0, 0))), values((3, 4), BFLOAT16), BFLOAT16.type(3))
    check(lambda x: lax.bitcast_convert_type(x, np.dtype("uint16")), values((3, 4), "float64"))


def test_searching():
    t = np.sort(values(13, special=True))
    for side in ("left", "right"):
        check(lambda t, x: fnp.searchsorted(t, x, side=side), t, np.append(t, values(7)), teams=[1])  # noqa: B023
    check(fg.vmap(fnp.searchsorted), np.sort(values((3, 6)), 1), values((3, 4)))


@pytest.mark.parametrize("geometry", [
    dict(window_dimensions=(1, 2, 2, 1), window_strides=(1, 2, 2, 1), padding="VALID"),
    dict(window_dimensions=(1, 3, 2, 1), window_strides=(1, 2, 1, 1), padding="SAME"),
    dict(window_dimensions=(1, 2, 3, 1), window_strides=(1, 1, 2, 1), padding=((0, 0), (3, 1), (0, 4), (0, 0)),
         window_dilation=(1, 2, 3, 1))])
def test_windows(geometry):
    x = np.round(values((2, 7, 8, 3)) * 2)
    x[0, 2, 3] = np.nan
    largest = partial(lax.reduce_window, init_value=-np.inf, computation=lax.max, **geometry)
    check(largest, x, teams=[1])
    check(lambda x: lax.reduce_window(x, np.float16(0), lax.add, **geometry), x.astype("float16"), teams=[1])
    check(lambda x: fg.grad(lambda x: (largest(x) * np.arange(3.0)).sum())(x), x)
    check(lambda x, v: fg.jvp(largest, (x,), (v,))[1], x, values(x.shape))


def test_small_matrices_and_draws():
    a = values((5, 3, 3))
    a = a @ a.swapaxes(1, 2) + np.eye(3)
    check(fnp.linalg.cholesky, a, tolerance=1e-12, teams=[1])
    check(fnp.linalg.solve, a, values((5, 3, 2)), tolerance=1e-12)
    check(fnp.linalg.det, a, tolerance=1e-12)
    check(lambda key: fg.random.gamma(key, 2.5, (4,)), fg.random.key(1), tolerance=1e-12)
    assert schedule(fg.make_jaxpr(fnp.linalg.cholesky)(np.eye(20)), "cuda").steps[-1].kind == "host"


# ---------------------------------------------------------------- copies

@pytest.mark.parametrize(("dtype", "shape", "order"), [
    ("float32", (40, 70), (1, 0)), ("float64", (3, 33, 34), (0, 2, 1)), ("uint8", (65, 70), (1, 0)),
    ("complex128", (9, 120), (1, 0)), (BFLOAT16, (2, 33, 35), (2, 0, 1))])
def test_copies_by_tiles(dtype, shape, order):
    x = values(shape, dtype)
    kernel = transposing.blocked_copy([shape[d] for d in order], [x.strides[d] // x.itemsize for d in order], x.dtype)
    assert kernel.team == 256 and "shared_" in kernel.source
    check(lambda x: x.transpose(order), x, teams=[256])


def test_copies_that_need_no_tiles():
    assert transposing.blocked_copy((3, 1000), (1, 3), np.dtype("float32")) is None
    assert transposing.blocked_copy((10000, 6, 6), (36, 1, 6), np.dtype("float64")) is None
    assert transposing.blocked_copy((1000, 1000), (1000, 1), np.dtype("float32")) is None


# ---------------------------------------------------------------- PTX

def _gradient_of_a_table(i, u):
    return fnp.zeros((50000, 768), "float32").at[i].add(u)


PROGRAMS = {
    "table": (_gradient_of_a_table, ("int64", 8192), ("float32", 8192, 768)),
    "rows of a table": (lambda x, i: x[i], ("float32", 50000, 768), ("int32", 8192)),
    "long running sum": (partial(reduction.cumsum, axis=0), ("float32", 10**8)),
    "lanes": (partial(reduction.cummax, axis=0), ("float64", 10**6, 8)),
    "positions": (partial(fnp.argmax, axis=0), ("float32", 10**7)),
    "transpose": (lambda x: x.T, ("bfloat16", 4096, 4096)),
    "top": (lambda x: lax.top_k(x, 50), ("float32", 16, 50000)),
    "sort": (fnp.argsort, ("float32", 64, 2000)),
    "pad": (lambda x: fnp.pad(x, ((1, 2), (0, 3))), ("float32", 100, 100)),
    "pooling": (fg.grad(lambda x: lax.reduce_window(x, np.float32(-np.inf), lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME").sum()),
                ("float32", 8, 28, 28, 32)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_ptx(name):
    """Kernels compile, and memory that threads share is small enough for several blocks of a processor."""
    function, *avals = PROGRAMS[name]
    plan = schedule(passes.run(fg.make_jaxpr(function)(*[fg.ShapeDtypeStruct(s, np.dtype(d)) for d, *s in avals])), "cuda")
    sources = {kernel.source for kernel in of_their_own(plan)}
    assert sources
    for source in sources:
        text, entry = ptx.entry(source, (9, 0))
        assert entry.encode() in text
