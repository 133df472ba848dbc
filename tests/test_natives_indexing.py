"""Gathers, scatters and their kin as native kernels: equal to the interpreter bit for bit, on any number of threads."""
import itertools
from functools import partial

import ml_dtypes
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import cpu, executable
from funcgrad.compiler.natives import indexing, scattering
from funcgrad.core.array import DeviceArray
from funcgrad.core.stage import eval_jaxpr
from funcgrad.core.trace import EVAL, current
from funcgrad.ops import sorting
from funcgrad.ops.index_maps import GatherDimensionNumbers, ScatterDimensionNumbers, gathered_shape

DTYPES = ["float64", "float32", "float16", ml_dtypes.bfloat16, "complex64", "complex128", "int8", "int16", "int32", "int64",
          "uint8", "uint16", "uint32", "uint64", "bool"]
INDEX_DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]


@pytest.fixture(autouse=True)
def restored_threads():
    before = cpu.num_threads()
    yield
    cpu.set_num_threads(before)


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks so small that a few elements are shared by threads."""
    monkeypatch.setattr(indexing, "CHUNK", 4)
    monkeypatch.setattr(indexing, "PIECE", 3)
    monkeypatch.setattr(scattering, "CHUNK", 2)
    monkeypatch.setattr(scattering, "PASS", 0.1)
    monkeypatch.setattr(scattering, "NARROWEST", 1)


def bits(x):
    x = np.asarray(x)
    return x.shape, x.dtype, x.tobytes()


def steps(f, *args):
    return [step.kind for step in executable(fg.make_jaxpr(f)(*args)).schedule.steps]


def both(f, *args):
    """Runs a function compiled, which must consist of kernels, and interpreted; both must give the same bits."""
    args = [DeviceArray(np.asarray(a)) for a in args]
    jaxpr = fg.make_jaxpr(f)(*args)
    with current(EVAL):
        expected = [bits(x) for x in eval_jaxpr(jaxpr, args)]
    compiled = executable(jaxpr)
    for threads in (1, 2, 5):
        cpu.set_num_threads(threads)
        assert [bits(x) for x in compiled(args)] == expected
    return [step.kind for step in compiled.schedule.steps]


def values(rng, shape, dtype):
    """Small whole numbers: their sums are exact in any dtype, so the order of additions is seen by what is rounded only."""
    x = rng.integers(0, 2, shape) if np.dtype(dtype) == bool else rng.integers(0, 9, shape)
    return np.asarray(x).astype(dtype)


# ---------------------------------------------------------------- random dimension numbers


def index_map(rng, largest=5):
    """A shape, dimension numbers, window sizes and the shape of the index vectors, all at random."""
    ndim = int(rng.integers(0, 5))
    shape = tuple(int(n) for n in rng.integers(1, largest + 1, ndim))
    addressed = rng.permutation(ndim)[:rng.integers(0, ndim + 1)] if ndim else np.zeros(0, int)
    batching = [d for d in range(ndim) if d not in addressed and rng.random() < 0.3]
    sizes = tuple(1 if d in batching else int(rng.integers(1, n + 1)) if rng.random() < 0.6 else n if rng.random() < 0.7 else 1
                  for d, n in enumerate(shape))
    collapsed = tuple(d for d in range(ndim) if d not in batching and sizes[d] == 1 and rng.random() < 0.7)
    extra = int(rng.integers(0, 3))
    batch = [None] * extra + batching
    batch = [batch[k] for k in rng.permutation(len(batch))]
    batch_shape = tuple(int(rng.integers(1, 4)) if d is None else shape[d] for d in batch)
    count = ndim - len(collapsed) - len(batching)
    offsets = tuple(sorted(rng.permutation(len(batch) + count)[:count].tolist()))
    dn = GatherDimensionNumbers(offsets, collapsed, tuple(addressed.tolist()), tuple(batching),
                                tuple(batch.index(d) for d in batching))
    return shape, dn, sizes, (*batch_shape, len(addressed))


def vectors(rng, shape, dn, sizes, index_shape, mode, dtype):
    """Index vectors, of which those that the mode forbids are few."""
    columns = []
    for d in dn.start_index_map:
        last = shape[d] - sizes[d]
        low, high = {"raise": (-sizes[d], last), "promise_in_bounds": (0, last)}.get(mode, (-2, last + 2))
        columns.append(rng.integers(0 if dtype[0] == "u" else low if low >= -shape[d] else -shape[d], high + 1, index_shape[:-1]))
    out = np.stack(columns, -1) if columns else np.zeros(index_shape, int)
    if mode == "raise":  # a negative start counts from the end, and its window must fit there
        for j, d in enumerate(dn.start_index_map):
            out[..., j] = np.where(out[..., j] + shape[d] > shape[d] - sizes[d], np.abs(out[..., j]) % (shape[d] - sizes[d] + 1),
                                   out[..., j]) if sizes[d] > 1 else out[..., j]
    return out.astype(dtype)


@pytest.mark.parametrize("mode", ["raise", "clip", "fill", "promise_in_bounds"])
def test_gather_with_random_dimension_numbers(mode, small_chunks):
    rng = np.random.default_rng(len(mode))
    for k in range(8):
        shape, dn, sizes, index_shape = index_map(rng)
        dtype, index_dtype = DTYPES[k % len(DTYPES)], INDEX_DTYPES[k % len(INDEX_DTYPES)]
        x = values(rng, shape, dtype)
        index = vectors(rng, shape, dn, sizes, index_shape, mode, index_dtype)
        kinds = both(partial(lax.gather, dimension_numbers=dn, slice_sizes=sizes, mode=mode), x, index)
        assert kinds == ["kernel"]
        if k % 2:
            continue
        order = rng.permutation(len(shape))
        both(lambda x, i, order=order, dn=dn, sizes=sizes: lax.gather(fnp.transpose(x, order), i[::-1][::-1], dn, sizes, mode=mode),
             x.transpose(np.argsort(order)), index)


@pytest.mark.parametrize("name", ["scatter", "scatter_add", "scatter_mul", "scatter_min", "scatter_max"])
def test_scatter_with_random_dimension_numbers(name, small_chunks):
    rng = np.random.default_rng(len(name))
    for k, mode in zip(range(10), itertools.cycle(["raise", "clip", "fill", "promise_in_bounds"])):
        shape, dn, sizes, index_shape = index_map(rng)
        dtype, index_dtype = DTYPES[k % len(DTYPES)], INDEX_DTYPES[(k + k // 8) % len(INDEX_DTYPES)]
        if np.dtype(dtype).kind == "c" and name[-3:] in ("min", "max"):
            continue
        x = values(rng, shape, dtype)
        index = vectors(rng, shape, dn, sizes, index_shape, mode, index_dtype)
        updates = values(rng, gathered_shape(shape, index_shape, dn, sizes), dtype)
        run = partial(getattr(lax, name), dimension_numbers=ScatterDimensionNumbers(*dn), mode=mode)
        kinds = both(run, x, index, updates)
        assert kinds == ["kernel"]
        if k % 3 == 0:
            both(lambda i, u, run=run, shape=shape, dtype=dtype: run(fnp.ones(shape, dtype), i, u), index, updates)


# ---------------------------------------------------------------- the other primitives

STARTS = [0, 1, 2, 7, -1, -3, np.int8(-100), np.int32(2**31 - 1), np.int64(-2**63), np.int64(2**63 - 1), np.uint64(2**64 - 1), np.uint8(3)]


@pytest.mark.parametrize("dtype", ["float64", ml_dtypes.bfloat16, "complex128"], ids=str)
def test_dynamic_slices(dtype, small_chunks):
    rng = np.random.default_rng(1)
    x, u = values(rng, (5, 4, 3), dtype), values(rng, (2, 4, 1), dtype)
    for a, b in zip(STARTS, STARTS[1:], strict=False):
        assert both(lambda x, i, j: lax.dynamic_slice(x, (i, 0, j), (3, 4, 2)), x, a, b) == ["kernel"]
        assert both(lambda x, u, i, j: lax.dynamic_update_slice(x, u, (i, 0, j)), x, u, a, b) == ["kernel"]
    assert both(lambda x, i: lax.dynamic_slice(x, (i, 1, i), (1, 1, 1)), x, 1) == ["kernel"]
    both(lambda x, i: lax.dynamic_slice(x.T, (i, 1, i), (1, 2, 2)), x, 1)
    both(lambda x, u, i: lax.dynamic_update_slice(x.T, u.T, (i, 1, i)), x, u, 1)
    both(lambda u, i: lax.dynamic_update_slice(fnp.zeros((3, 4, 5), dtype), u.T, (i, 1, i)), u, 1)
    both(lambda x, i: lax.dynamic_slice(x, (i, 1, i), (0, 2, 2)), x, 1)
    both(lambda x, u, i: lax.dynamic_update_slice(x, u[:0], (i, 1, i)), x, u, 1)
    both(lambda x, u: lax.dynamic_update_slice(x, u, ()), x[0, 0, 0], u[0, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES[::3], ids=str)
def test_take_along_and_add_along(dtype, small_chunks):
    rng = np.random.default_rng(2)
    x = values(rng, (4, 5, 6), dtype)
    for axis in range(3):
        shape = [4, 5, 6]
        shape[axis] = 3
        index = rng.integers(-x.shape[axis], x.shape[axis], shape).astype(INDEX_DTYPES[axis + 1])
        assert both(partial(sorting.take_along, axis=axis), x, index) == ["kernel"]
        u = values(rng, shape, dtype)
        positive = index % x.shape[axis]
        add = partial(sorting.add_along_p.bind, size=x.shape[axis], unique=False)
        assert both(partial(add, axis=axis), u, positive) == ["kernel"]
        both(lambda u, i, add=add, axis=axis: add(u.T, i.T, axis=2 - axis), u, positive)
    both(lambda x, i: sorting.take_along(x, i, 0), x[:, 0, 0], np.array([3], np.uint64))


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", ml_dtypes.bfloat16, "int8", "uint64", "int64", "bool"], ids=str)
@pytest.mark.parametrize("side", ["left", "right"])
def test_searchsorted(dtype, side):
    rng = np.random.default_rng(3)
    floating = np.dtype(dtype).kind in "fV"
    for n in (0, 1, 2, 3, 5, 8, 100, 1000):
        table = np.sort(values(rng, n, dtype).astype(np.float64 if floating else dtype))
        x = values(rng, 1100, dtype)
        if floating:
            table[n - n // 4:] = np.nan
            x[:6] = [np.nan, np.inf, -np.inf, -0.0, 0.0, np.nan]
        assert both(lambda t, x: fnp.searchsorted(t, x, side=side), table.astype(dtype), x) == ["kernel"]
    table, x = np.sort(values(rng, (3, 2, 7), "float64")), values(rng, (3, 2, 4), "float64")
    assert both(fg.vmap(fg.vmap(lambda t, x: fnp.searchsorted(t, x, side=side))), table, x) == ["kernel"]
    both(lambda t, x: fnp.searchsorted(t, x, side=side), table[0, 0], x[0, 0, 0])


def test_searchsorted_in_many_chunks():
    rng = np.random.default_rng(4)
    both(fnp.searchsorted, np.sort(rng.random(10_000)), rng.random(100_000))


# ---------------------------------------------------------------- updates in their order


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16, "complex64", "int32"], ids=str)
@pytest.mark.parametrize("what", ["set", "add", "max"])
def test_repeated_and_sorted_indices_are_applied_in_order(dtype, what):
    rng = np.random.default_rng(5)
    expected = "host" if np.dtype(dtype).kind == "c" and what == "max" else "kernel"  # complex numbers are compared by NumPy
    for index in (np.sort(rng.integers(0, 7, 1000)), rng.integers(0, 7, 1000), np.zeros(1000, int), np.repeat([3, 1, 3], 50)):
        u = (rng.standard_normal((len(index), 5)) * 10.0 ** rng.integers(-3, 4, (len(index), 5))).astype(dtype)
        assert both(lambda i, u: getattr(fnp.zeros((7, 5), dtype).at[i], what)(u), index, u)[-1] == expected
        both(lambda i, u: getattr(fnp.zeros(7, dtype).at[i], what)(u[:, 0]), index, u)


def test_large_gathers_and_scatters_on_several_threads():
    """Sizes at which chunks are shared as they are in use."""
    rng = np.random.default_rng(6)
    x, index = rng.random((30_000, 40)), rng.integers(-30_000, 30_000, 900)
    u = rng.random((900, 40))
    both(lambda x, i: x[i], x, rng.integers(0, 30_000, 20_000))
    both(lambda x, i: x[:, i], x[:9000], rng.integers(0, 40, 50))
    both(lambda x, i, u: x.at[i].add(u), x, index, u)
    both(lambda x, i, u: x.at[i].set(u), x, index, u)
    both(lambda x, i, u: x.T.at[:, i].add(u.T), x, index, u)
    both(lambda x, i, u: fg.vmap(lambda x, i, u: x.at[i].add(u))(x, i, u), x[:9000], rng.integers(0, 40, (9000, 10)),
         rng.random((9000, 10)))
    both(lambda x, u, i: lax.dynamic_update_slice(x, u, (i, 3)), x, u[:, :30], 17_000)
    both(lambda x, i: lax.dynamic_slice(x, (i, 0), (25_000, 40)), x, 1000)
    both(lambda x, i: lax.dynamic_slice(x, (i, 2), (25_000, 5)), x, 1000)
    both(fg.grad(lambda x, i: (x[fnp.arange(9000), i] ** 2).sum()), x[:9000], rng.integers(0, 40, 9000))


# ---------------------------------------------------------------- errors

EXTREME = [np.int64(2**63 - 1), np.int64(-2**63), np.uint64(2**64 - 1), np.uint64(2**63), np.int32(-2**31), np.int8(-128)]


@pytest.mark.parametrize("bad", [5, -6, *EXTREME], ids=repr)
def test_an_index_out_of_bounds_raises_what_the_interpreter_raises(bad):
    x, u = DeviceArray(np.arange(15.0).reshape(5, 3)), DeviceArray(np.ones((2, 3)))
    good = DeviceArray(np.array([1, 4], np.asarray(bad).dtype))
    index = DeviceArray(np.array([1, bad], np.asarray(bad).dtype))
    for f, args in ((lambda i, x, u: x[i], (x, u)), (lambda i, x, u: x.at[i].add(u), (x, u)), (lambda i, x, u: x.at[i].set(u), (x, u)),
                    (lambda i, x, u: fnp.sin(x.T[:, i]).sum(), (x, u)), (lambda i, x, u: x[i, i % 3], (x, u)),
                    (fg.grad(lambda x, i, u: x[i].sum()), ())):
        call = (lambda i, x, u, f=f: f(i, x, u)) if args else (lambda i, f=f: f(x, i, u))
        jitted = fg.jit(call)
        expected = bits(call(good, *args))
        assert bits(jitted(good, *args)) == expected
        with pytest.raises(IndexError):
            call(index, *args)
        with pytest.raises(IndexError) as interpreted, current(EVAL):
            eval_jaxpr(fg.make_jaxpr(call)(index, *args), [index, *args])
        for _ in range(2):
            with pytest.raises(IndexError, match="out of bounds") as compiled:
                jitted(index, *args)
            assert str(compiled.value).partition(", called at")[0] == str(interpreted.value).partition(", called at")[0]
        assert bits(jitted(good, *args)) == expected


@pytest.mark.parametrize("mode", ["clip", "fill", "drop", "wrap", "promise_in_bounds"])
def test_extreme_indices_touch_nothing_outside(mode):
    x = np.arange(5.0)
    for bad in EXTREME:
        index = np.array([bad, 1, bad], np.asarray(bad).dtype)
        run = fg.jit(lambda x, i: (x.at[i].get(mode="fill" if mode == "drop" else mode), x.at[i].add(1.0, mode=mode)))
        taken, added = map(np.asarray, run(x, index))
        assert taken.shape == (3,) and taken[1] == 1 and added.shape == (5,) and added[1] in (2, 3, 4)
        if mode != "promise_in_bounds":
            both(lambda x, i: (x.at[i].get(mode="fill" if mode == "drop" else mode), x.at[i].add(1.0, mode=mode)), x, index)


def test_an_index_into_nothing():
    empty, index = DeviceArray(np.ones((0, 3))), DeviceArray(np.zeros(2, int))
    with pytest.raises(IndexError):
        fg.jit(lambda x, i: x[i])(empty, index)
    with pytest.raises(IndexError):
        fg.jit(lambda x, i: x[:, :0][i + 9])(DeviceArray(np.ones((4, 3))), index)
    assert fg.jit(lambda x, i: x.at[i].get(mode="fill"))(empty, index).shape == (2, 3)
    assert fg.jit(lambda x, i: x[i])(empty, index[:0]).shape == (0, 3)


# ---------------------------------------------------------------- fill values, memory


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_fill_values(dtype):
    x, index = values(np.random.default_rng(7), (4, 2), dtype), np.array([[0, 7], [-9, 3]])
    both(lambda x, i: x.at[i].get(mode="fill"), x, index)
    both(lambda x, i: x.at[i].get(mode="fill", fill_value=1), x, index)
    both(lambda x, i: x.at[:, i].get(mode="fill", fill_value=1), x, index)


def test_strided_operands_are_not_copied():
    x, i, u = DeviceArray(np.random.rand(30, 20)), DeviceArray(np.arange(5)), DeviceArray(np.ones((5, 30)))
    assert steps(lambda x, i: x.T[i], x, i) == ["kernel"]
    assert steps(lambda x, i: x[::2, ::-1][i], x, i) == ["kernel"]
    assert steps(lambda x, i, u: x.T.at[i[::-1]].add(u[:, ::-1]), x, i, u) == ["kernel"]
    assert len(steps(fg.grad(lambda x, i: x[i].sum()), x, i)) <= 3
    both(lambda x, i: x[::2, ::-1][i], x, i)
    both(lambda x, i, u: x.T.at[i[::-1]].add(u[:, ::-1]), x, i, u)


def test_equal_loops_are_one_kernel():
    def source(x, i, u):
        first, second = [executable(fg.make_jaxpr(f)(x, i, u)).schedule.steps[-1].kernel.source
                         for f in (lambda x, i, u: x[i], lambda x, i, u: x.at[i].add(u))]
        return first, second

    rng = np.random.default_rng(8)
    found = {source(rng.random((n, *rest)), rng.integers(0, n, (m,)), rng.random((m, *rest)))
             for n, m, rest in ((50, 30, (20,)), (60, 40, (30,)), (50, 33, (20, 3)), (70, 23, (2, 3, 9)))}
    assert len(found) == 1


# ---------------------------------------------------------------- sums in parts


@pytest.mark.parametrize("start", [0, 1.5, "x"], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("width", [(), (3,), (2, 9)], ids=str)
def test_many_updates_of_few_elements_are_added_in_parts(small_chunks, dtype, width, start):
    generator = np.random.default_rng(3)
    i = generator.integers(-5, 5, 333)
    u = (generator.integers(-40, 40, (333, *width)) * (1 + 1j if dtype[0] == "c" else 1)).astype(dtype)  # exact in any order
    x = generator.integers(-9, 9, (5, *width)).astype(dtype)

    def f(x, i, u):
        return (x if start == "x" else fnp.full((5, *width), start, dtype)).at[i].add(u)

    jaxpr = fg.make_jaxpr(f)(x, i, u)
    assert [step.kernel.nodes[0].kind for step in executable(jaxpr).schedule.steps] == ["native", "map"]
    both(f, x, i, u)
    with pytest.raises(IndexError, match="5 is out of bounds|index 5"):
        fg.jit(f)(x, np.full(333, 5), u)


def test_sums_in_parts_are_near_the_exact_ones_and_equal_for_any_number_of_threads():
    generator = np.random.default_rng(4)
    i, u = generator.integers(0, 300, 150_000), generator.normal(size=(150_000, 2)).astype(np.float32)
    f = fg.jit(lambda i, u: fnp.zeros((300, 2), np.float32).at[i].add(u))
    expected = np.zeros((300, 2))
    np.add.at(expected, i, u)
    found = []
    for threads in (1, 2, 5):
        cpu.set_num_threads(threads)
        found.append(bits(f(i, u)))
        np.testing.assert_allclose(f(i, u), expected, rtol=1e-5, atol=1e-4)
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0, 1])
def test_a_repeated_constant_is_not_read_from_memory(dtype, value):
    u = np.arange(1, 4).astype(dtype)
    for update in ("set", "add", "max") if np.dtype(dtype).kind != "c" else ("set", "add"):
        f = lambda u, update=update: getattr(fnp.full(7, value, dtype).at[np.array([1, 1, 5])], update)(u)  # noqa: E731
        both(f, u)
        assert len(executable(fg.make_jaxpr(f)(u)).schedule.steps) == 1
