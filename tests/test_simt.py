"""The simulator of GPU kernels: what threads compute together, and what it finds wrong."""
from __future__ import annotations

import ctypes

import numpy as np
import pytest
from simt import KernelError, Memory, Race, simulate
from simt_program import run_schedule

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import dtypes, lax
from funcgrad.compiler import kernel


def text(*lines: str) -> str:
    return "\n    ".join(["def kernel(pointers, sizes, start, stop):", *lines]) + "\n"


def launch(source, *arrays, sizes=(), rows=1, chunk=1, team=1, out=None, **options):
    """Runs a kernel; the last array is its result, which nobody has written."""
    memory = Memory()
    *inputs, result = arrays
    for x in inputs:
        x.flags.writeable = False
    addresses = [*[memory.add(x) for x in inputs], memory.add(result, written=False)]
    simulate(source, memory, addresses, list(sizes), rows, chunk, team, **options)
    return result


MAP = """def kernel(pointers, sizes, start, stop):
    p0 = pointer_{0}(pointers, 0)
    p1 = pointer_{0}(pointers, 1)
    for r in range(start, stop):
        p1[r] = p0[r]
"""
REDUCTION = {32: "16 8 4 2 1", 256: "16 8 4 2 1 32 64 128"}
PREFIX = text("p0 = pointer_i64(pointers, 0)", "p1 = pointer_i64(pointers, 1)", "i = lane(256)", "t = p0[i]",
              *[f"s = shift_i64(t, {d}, 256)\n    t = t + s if i >= {d} else t" for d in (1, 2, 4, 8, 16, 32, 64, 128)], "p1[i] = t")
BACKWARDS = text("p0 = pointer_f64(pointers, 0)", "p1 = pointer_f64(pointers, 1)", "s = shared_f64(0, 256)", "i = lane(256)",
                 "for r in range(start, stop):", "    s[i] = p0[256 * r + i]", "    sync(256)", "    p1[256 * r + i] = s[255 - i]",
                 "    sync(256)")


def sum_of_rows(team: int) -> str:
    return text("p0 = pointer_f64(pointers, 0)", "p1 = pointer_f64(pointers, 1)", "s0 = word(sizes, 0)",
                "for r in range(start, stop):", "    b = r * s0", "    t = f64(0.0)",
                f"    for j in range(lane({team}), s0, {team}):", "        t = plus_f64(t, p0[b + j])",
                *[f"    t = plus_f64(t, exchange_f64(t, {d}, {team}))" for d in REDUCTION[team].split()],
                f"    if lane({team}) == 0:", "        p1[r] = t")


# ---------------------------------------------------------------- what threads compute


@pytest.mark.parametrize("name", "f16 bf16 f32 f64 c64 c128 i8 i16 i32 i64 u8 u16 u32 u64 bool".split())
def test_values_of_every_dtype_are_read_and_written(name):
    dtype = np.dtype({"bool": bool, "bf16": dtypes.bfloat16}.get(name) or {"f": "f", "c": "c", "i": "i", "u": "u"}[name[0]]
                     + str(int(name[1:]) // 8))
    values = np.array([0, 1, -1, 100, 127, 300.7, 1e-3, 3e4, -7.5, np.pi])
    x = (values > 1 if name == "bool" else values.astype(np.int64).astype(dtype) if name[0] in "iu" else values.astype(dtype))
    x[0] = np.iinfo(dtype).max if name[0] in "iu" else 1
    out = launch(MAP.format(name), x, np.empty_like(x), rows=10, chunk=3)
    assert out.tobytes() == x.tobytes()


def test_narrow_floats_are_rounded_to_even_when_they_are_stored():
    x = np.random.default_rng(0).normal(size=300).astype(np.float32) * 3
    x[:6] = np.inf, np.nan, 1e30, 2049.0, 1.00390625, -0.0
    for name, dtype in (("f16", np.float16), ("bf16", dtypes.bfloat16)):
        source = MAP.format(name).replace(f"pointer_{name}(pointers, 0)", "pointer_f32(pointers, 0)")
        out = launch(source, x, np.empty(300, dtype), rows=300, chunk=64)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(out.astype(np.float32), x.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("team", [32, 256])
@pytest.mark.parametrize("n", [1, 31, 300])
def test_a_team_sums_a_row(team, n):
    x = np.random.default_rng(0).normal(size=(3, n))
    out = launch(sum_of_rows(team), x, np.empty(3), sizes=[n], rows=3, chunk=2, team=team)
    np.testing.assert_allclose(out, x.sum(1), rtol=1e-13)


def test_prefix_sums_by_shifts():
    x = np.arange(256) % 7
    np.testing.assert_array_equal(launch(PREFIX, x, np.empty(256, np.int64), team=256), np.cumsum(x))


def test_shared_memory():
    x = np.arange(512.0).reshape(2, 256)
    np.testing.assert_array_equal(launch(BACKWARDS, x, np.empty((2, 256)), rows=2, chunk=2, team=256), x[:, ::-1])
    np.testing.assert_array_equal(launch(BACKWARDS, x, np.empty((2, 256)), rows=2, chunk=1, team=256), x[:, ::-1])


def test_atomic_operations_on_integers():
    source = text("p0 = pointer_i32(pointers, 0)", "p1 = pointer_i64(pointers, 1)", "for r in range(start, stop):",
                  "    p1[r] = atomic_add_i32(p0, 0, 2)", "    atomic_max_i32(p0, 1, r)", "    atomic_min_i32(p0, 2, -r)")
    memory, x, out = Memory(), np.array([0, 3, 3], np.int32), np.empty(5, np.int64)
    simulate(source, memory, [memory.add(x), memory.add(out, False)], [], 5, 1)
    assert x.tolist() == [10, 4, -4] and sorted(out) == [0, 2, 4, 6, 8]
    with pytest.raises(Race, match=r"thread 1 writes pointer 0 \(i32, an array\) at index 0 in line 5: .*\n  thread 0 read it in line 8"):
        simulate(source + "        p1[r] = i64(p0[0])\n", memory, [memory.add(x), memory.add(out, False)], [], 2, 1)
    with pytest.raises(KernelError, match="is no pointer to i64"):
        simulate(source.replace("add_i32", "add_i64"), memory, [memory.add(x), memory.add(out, False)], [], 2, 1)


def test_lists_of_pointers_and_pointers_into_arrays():
    source = text("for k in range(2):", "    x = pointer_f32(pointers + 8 * k, 0)", "    y = aligned_f32(pointers + 24 - 8, 0)",
                  "    y[k] = x[-1] + constant_f32(sizes, 0)")
    x, out, memory = np.arange(8, dtype=np.float32), np.empty(2, np.float32), Memory()
    a = memory.add(x)
    bits = int(np.array([2.5, 0], np.float32).view(np.int64)[0])
    simulate(source, memory, [a + 4, a + 28, memory.add(out, False)], [bits], 1, 1)
    assert out.tolist() == [2.5, 8.5]


def test_types_are_those_of_numba():
    source = text("p0 = pointer_f32(pointers, 0)", "p1 = pointer_f64(pointers, 1)", "p1[0] = p0[0] * 0.1", "p1[1] = p0[0] * f32(0.1)",
                  "p1[2] = f64((p0[0] > 0.0) + (p0[0] > -1.0))", "p1[3] = f64(i8(200)) + f64(u32(-1))",
                  "p1[4] = 1.0 / (p0[0] - p0[0])", "p1[5] = f64(f32(i64(16777217)))")
    out = launch(source, np.array([3.0], np.float32), np.empty(6))
    assert out.tolist() == [3 * 0.1, float(np.float32(3) * np.float32(0.1)), 2.0, -56.0 + 2**32 - 1, np.inf, 16777216.0]


# ---------------------------------------------------------------- words and programs

WORDS = ["exp_f64(x)", "log1p_f64(x)", "tanh_f64(x)", "lgamma_f64(x)", "pow_f64(x, y)", "maximum_f64(x, y)", "remainder_f64(x, y)",
         "f64(sin_f32(a))", "f64(erf_inv_f32(a / f32(4.0)))", "f64(round_bf16(a))", "f64(sign_f32(a))", "f64(floor_f32(a))",
         "exp_c128(complex_f64(x, y)).imag", "f64(divide_c64(complex_f32(a, a), complex_f32(a, f32(1.0))).real)",
         "f64(threefry_second_u32(u32(1), u32(2), u32(3), u32(r)))", "f64(shift_right_i32(i32(-17), i32(r)))",
         "f64(convert_f64_i8(x * f64(100.0)))", "f64(floor_divide_i32(i32(r - 3), i32(2)))", "integer_pow_f64(x, -3)",
         "f64(convert_f32_u64(a))", "f64(clz_u8(u8(r)))", "fma_f64(x, y, x)", "f64(select_bool(isfinite_f64(x), a, a + f32(1.0)))"]


def test_words_give_the_bits_of_compiled_kernels():
    source = text("p0 = pointer_f64(pointers, 0)", "p1 = pointer_f64(pointers, 1)", "for r in range(start, stop):", "    x = p0[r]",
                  "    y = p0[r + 1]", "    a = f32(x)", *[f"    p1[r * {len(WORDS)} + {i}] = {w}" for i, w in enumerate(WORDS)])
    x = np.array([0.3, 1.7, 2.9, -0.0, 3.1, np.inf, -1.4, np.nan, 1e-9, 0.5])
    found, expected = np.empty((9, len(WORDS))), np.empty((9, len(WORDS)))
    launch(source, x, found, rows=9, chunk=4)
    pointers, unused = np.array([x.ctypes.data, expected.ctypes.data]), np.zeros(1, np.int64)
    address, _keep = kernel.address(source)
    ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 6)(address)(unused.ctypes.data, 0, pointers.ctypes.data, 0, 0, 9)
    np.testing.assert_array_equal(found, expected)


def test_only_words_for_gpus_are_known():
    for name in ("short", "atomic_add_f32", "exchange_f16", "print", "scipy_gamma_f32"):
        with pytest.raises(NameError, match=f"{name} is no word of kernels for a GPU"):
            simulate(text(f"t = {name}(f32(0.0), 1, 32)"), Memory(), [], [], 1, 1)


GENERATOR = np.random.default_rng(3)
X, V, M = GENERATOR.normal(size=(5, 40)), GENERATOR.normal(size=40), GENERATOR.normal(size=(30, 30))
INDEX = GENERATOR.integers(0, 5, 7)


def of_products(x, m):
    return lax.scan(lambda c, row: (fnp.tanh(m @ (c + row)), fnp.sum(c)), x[0, :30], x[:, :30])


PROGRAMS = {
    "map": (lambda x, v: fnp.exp(x) / (1 + abs(v)), X, V),
    "maximum": (lambda x: fnp.max(x, axis=1) - fnp.min(x), X),
    "narrow": (lambda x: fnp.maximum(x.astype(fnp.bfloat16), 0.1).astype(np.float16), X),
    "complex": (lambda x: fnp.exp(1j * x), X),
    "softmax": (lambda x: fg.nn.softmax(x), X),
    "gradient": (fg.grad(lambda x, v: fnp.sum(fnp.log1p(fnp.sum(fnp.tanh(x * v), axis=1) ** 2))), X, V),
    "product": (lambda x, m: fnp.sin(x @ m), X[:, :30], M),
    "large product": (lambda a, b: a.T @ b, GENERATOR.normal(size=(70, 60)), GENERATOR.normal(size=(70, 80))),
    "products": (lambda a, b: a @ b, GENERATOR.normal(size=(3, 9, 9)), GENERATOR.normal(size=(3, 9, 9))),
    "gather": (lambda x, i: x[i, ::2], X, INDEX),
    "scatter": (lambda x, i: fnp.zeros((5, 3)).at[i].add(x[:1, :3]), X, INDEX),
    "cumsum": (lambda x: fnp.cumsum(x, axis=0), X),
    "sort": (lambda x: fnp.sort(x, axis=1), X),
    "scan": (lambda x: lax.scan(lambda c, row: (fnp.sin(c + row), c * row), x[0], x), X),
    "loop of products": (of_products, X, M),
    "backwards": (fg.grad(lambda x, m: fnp.sum(of_products(x, m)[1])), X, M),
    "while": (lambda v: lax.while_loop(lambda s: fnp.sum(s[0]) < 1e4, lambda s: (s[0] * 2, s[1] + 1), (abs(v), 0)), V),
    "choice": (lambda v, i: lax.switch(i[0] % 3, [fnp.sin, fnp.cos, lambda v: v * fnp.sum(v)], v), V, INDEX),
    "random": (lambda v: fg.random.normal(fg.random.key(0), (13,)) + v[0], V),
    "host": (lambda x: fnp.linalg.eigvals(x @ x.T).real + 1, X),
}
EXACT = "map", "maximum", "softmax", "sort"
"""Those that are compared with compiled kernels, bit for bit."""


@pytest.mark.parametrize("target", ["cpu", "cuda"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_in_the_simulator(name, target):
    f, *args = PROGRAMS[name]
    found = run_schedule(fg.make_jaxpr(f)(*args), args, target)
    for x, y in zip(found, fg.tree.leaves(f(*args)), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        np.testing.assert_allclose(x.astype(np.complex128), np.asarray(y).astype(np.complex128), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", EXACT)
def test_the_simulator_gives_the_bits_of_compiled_kernels(name):
    f, *args = PROGRAMS[name]
    found, = run_schedule(fg.make_jaxpr(f)(*args), args, "cpu")
    compiled = np.asarray(fg.jit(f)(*args))
    if name == "softmax":  # whose sum is added up in another order
        np.testing.assert_allclose(found, compiled, rtol=1e-15)
    else:
        np.testing.assert_array_equal(found, compiled)


def test_an_invalid_index_in_the_simulator():
    with pytest.raises(KernelError, match="invalid operand"):
        run_schedule(fg.make_jaxpr(lambda x, i: x.at[i].get(mode="raise"))(X, INDEX), [X, INDEX + 1], "cpu")


# ---------------------------------------------------------------- what is found wrong


def wrong(match, source, *arrays, error=KernelError, **options):
    with pytest.raises(error, match=match):
        launch(source, *arrays, **options)


def test_pointers_are_checked():
    x, y = np.arange(8.0), np.empty(8)
    wrong(r"thread 0 of team 4, line 5: p1\[r\] = p0\[r\]\n  pointer 0 \(f64, .*\) is out of bounds: index 8", MAP.format("f64"), x, y,
          rows=9, chunk=2)
    wrong(r"out of bounds: index -1 of \[0, 8\)", text("p = pointer_f64(pointers, 0)", "t = p[-1]"), x, y)
    wrong("must not be written, at index 2", text("p = pointer_f64(pointers, 0)", "p[2] = f64(0.0)"), x, y)
    wrong("is read at index 3, which nobody has written", text("p = pointer_f64(pointers, 1)", "t = p[3]"), x, y)
    wrong("word 1 of 0", text("t = word(sizes, 1)"), x, y)
    memory = Memory()
    with pytest.raises(KernelError, match="leads nowhere"):
        simulate(text("p = pointer_f64(pointers, 0)", "p[0] = f64(1.0)"), memory, [64], [], 1, 1)
    with pytest.raises(KernelError, match="is not aligned"):
        simulate(text("p = pointer_f64(pointers, 0)"), memory, [memory.add(x) + 4], [], 1, 1)
    with pytest.raises(KernelError, match="not aligned to 16 bytes"):
        simulate(text("p = aligned_f64(pointers, 0)"), memory, [memory.add(x) + 8], [], 1, 1)


def test_threads_of_a_team_must_meet():
    x, y = np.arange(64.0), np.empty(64)
    some = text("p0 = pointer_f64(pointers, 0)", "t = p0[0]", "if lane(32) < 5:", "    t = exchange_f64(t, 1, 32)", "else:",
                "    t = exchange_f64(t, 2, 32)")
    wrong(r"do not meet\n  5 threads, such as 0, are at line 5: .*\n  27 threads, such as 5, are at line 7", some, x, y, team=32)
    more = text("for i in range(lane(32) % 2 + 1):", "    sync(32)")
    wrong("16 threads, such as 0, are at the end", more, x, y, team=32)
    wrong(r"for teams of \[32\], and it is launched for 256", more, x, y, team=256)
    wrong("distance of 3 in a team of 32", text("t = exchange_f64(f64(0.0), 3, 32)"), x, y, team=32)
    wrong("d must be a literal", text("d = 1", "t = exchange_f64(f64(0.0), d, 32)"), x, y, team=32)
    wrong("shared by blocks of one team of 256", text("s = shared_f64(0, 8)"), x, y, team=32)
    wrong("49152 bytes of shared memory", text("s = shared_f64(0, 6145)"), x, y, team=256)
    wrong("need 2048 to exchange", text("s = shared_f64(0, 6000)", "t = exchange_f64(f64(0.0), 64, 256)"), x, y, team=256)


def test_races():
    x, y = np.arange(256.0).reshape(1, 256), np.empty((1, 256))
    wrong(r"thread 1 writes pointer 1 \(f64, an array\) at index 0 in line 4: .*\n  thread 0 wrote it in line 4", text(
        "p1 = pointer_f64(pointers, 1)", "for r in range(start, stop):", "    p1[0] = f64(r)"), x, y, rows=4, error=Race)
    wrong(r"thread 128 reads pointer 0 \(f64, shared memory\) at index 127 .*\n  thread 127 wrote it in line 7", BACKWARDS.removesuffix("    sync(256)\n"),
          x.repeat(2, 0), y.repeat(2, 0), rows=2, chunk=2, team=256, error=Race)
    neighbours = ["p1 = pointer_f64(pointers, 1)", "p1[lane(32)] = f64(1.0)", "sync(32)", "t = p1[(lane(32) + 1) % 32]"]
    launch(text(*neighbours, "sync(32)", "p1[lane(32)] = t"), x, y, team=32)
    wrong("thread 1 writes .*\n  thread 0 read it", text(*neighbours, "p1[lane(32)] = t + t"), x, y, team=32, error=Race)
    wrong("thread 32 reads .*\n  thread 0 wrote", text(  # a barrier of one team says nothing to another
        "p1 = pointer_f64(pointers, 1)", "if start == 0:", "    p1[lane(32)] = f64(1.0)", "sync(32)", "t = p1[0]"), x, y, rows=2,
          team=32, error=Race)
    flag = launch(text("p1 = pointer_f64(pointers, 1)", "p1[0] = f64(1.0)"), x, y, rows=9)
    assert flag[0, 0] == 1  # all write the same value


def test_pointers_of_different_slots_must_not_overlap():
    source = text("p0 = pointer_f64(pointers, {})", "p1 = pointer_f64(pointers + 8, 0)", "t = p0[1]", "p1[1] = t")
    memory, x = Memory(), np.zeros(4)
    a = memory.add(x)
    simulate(source.format(0), memory, [a, a], [], 1, 1)
    with pytest.raises(KernelError, match=r"index 1 is where a pointer of slot 1 read in line 4: t = p0\[1\]\n  pointers of different"):
        simulate(source.format(1), memory, [a, a], [], 1, 1)


def test_nothing_is_watched_if_not_wished():
    memory, y = Memory(watch=False), np.empty(4)
    simulate(text("p0 = pointer_f64(pointers, 0)", "p0[0] = f64(start)", "t = p0[1]"), memory, [memory.add(y, False)], [], 4, 1)
    assert y[0] == 3
