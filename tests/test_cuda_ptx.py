"""Kernels for a GPU as PTX: every kernel of the tables compiles, words become the right instructions, the cache is safe.

No GPU is needed. Where ``ptxas`` is installed it assembles the kernels of the words.
"""
from __future__ import annotations

import ctypes
import inspect
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from operations import OPERATIONS
from ptx_block import Block, Optimised
from test_schedules import PROGRAMS, gradient

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import passes
from funcgrad.compiler import access, cache, kernel, memory, vecmath
from funcgrad.compiler.cuda import image, ptx, remainder
from funcgrad.compiler.nodes import walk
from funcgrad.compiler.schedule import schedule

AMPERE, HOPPER = (8, 0), (9, 0)


def source_of(*lines: str) -> str:
    return "\n    ".join(["def kernel(pointers, sizes, start, stop):", *lines]) + "\n"


def text_of(source: str, capability: tuple[int, int] = AMPERE) -> str:
    return ptx.ptx(source, ptx.architecture(capability))[0].decode()


# ---------------------------------------------------------------- all kernels

_met: set[str] = set()
"""The kernels that this process has compiled."""


def kernels(steps) -> Iterator[str]:
    """The sources of a schedule, inside of loops too."""
    return (step.kernel.source for step, _, _ in walk(steps) if step.kind == "kernel")


def compile_all(programs) -> None:
    """Every kernel: typed and optimised once, then written for two architectures."""
    for f, args in programs:
        for source in kernels(schedule(passes.run(fg.make_jaxpr(f)(*args)), "cuda").steps):
            if source not in _met:
                _met.add(source)
                with memory.uncollected():
                    module, name = ptx.optimised(source, "sm_80")
                    check(ptx.emitted(module.clone(), "sm_80").decode(), "sm_80", name)
                    check(ptx.emitted(module, "sm_90").decode(), "sm_90", name)


def check(text: str, architecture: str, name: str) -> None:
    """A whole kernel: nothing is called, all memory is known to be global or shared, and no array is kept per thread."""
    assert f".target {architecture}\n" in text and f".visible .entry {name}(" in text and ".maxntid 256" in text
    assert not re.search(r"\.extern|\bcall\b|\.local|\b(ld|st)\.[bv]", text)


def programs(derivative: bool) -> list:
    return [(gradient(f) if derivative else f, args) for f, *args in PROGRAMS.values()]


def operations(part: int, derivative: bool) -> Iterator:
    for operation in OPERATIONS[part::4]:
        if not derivative:
            yield operation.function, operation.args
        elif operation.order:
            yield from derivative_of(operation)


def derivative_of(operation) -> Iterator:
    """The gradient of a number with respect to the first real operand."""
    at = next((i for i, x in enumerate(operation.args) if np.asarray(x).dtype.kind == "f"), None)
    if at is not None:
        def loss(x):
            outs = fg.tree.leaves(operation.function(*operation.args[:at], x, *operation.args[at + 1:]))
            return sum(fnp.sum(fnp.sin(fnp.abs(y))) for y in outs if y.dtype.kind in "fc")

        yield fg.grad(loss), (np.asarray(operation.args[at]),)


@pytest.mark.parametrize("derivative", [False, True], ids=["values", "gradients"])
def test_kernels_of_programs(derivative):
    compile_all(programs(derivative))


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("derivative", [False, True], ids=["values", "gradients"])
def test_kernels_of_the_operations(part, derivative):
    compile_all(operations(part, derivative))


def test_the_kernel_between_kernels():
    """The one that moves the places of loops."""
    for capability in (AMPERE, HOPPER):
        text, name = ptx.ptx(image.CONTROL, ptx.architecture(capability))
        check(text.decode(), ptx.architecture(capability), name)


# ---------------------------------------------------------------- words

def pointers_of(dtype: str, count: int, word: str = "pointer") -> list[str]:
    return [f"p{i} = {word}_{dtype}(pointers, {i})" for i in range(count)]


def of_neighbours(dtype: str, count: int) -> str:
    """A sum of two arrays, in groups of neighbours that are 16 bytes."""
    place = f"{count} * q + l"
    return source_of(*pointers_of(dtype, 3, "aligned"), "for q in range(start, stop):", f"    for l in range({count}):",
                     f"        p2[{place}] = p0[{place}] {'&' if dtype == 'bool' else '+'} p1[{place}]")


def of_team(dtype: str, *lines: str) -> str:
    return source_of(*pointers_of(dtype, 2), "for r in range(start, stop):", "    x = p0[r]",
                     *["    " + line for line in lines], "    p1[r] = x")


def of_row(dtype: str) -> str:
    """The sum of a row by a block."""
    ways = [f"    t = plus_{dtype}(t, exchange_{dtype}(t, {d}, 256))" for d in (16, 8, 4, 2, 1, 32, 64, 128)]
    return source_of(*pointers_of(dtype, 2), "n = word(sizes, 0)", "for r in range(start, stop):", f"    t = {dtype}(0.0)",
                     "    for j in range(lane(256), n, 256):", f"        t = plus_{dtype}(t, p0[r * n + j])", *ways,
                     "    if lane(256) == 0:", "        p1[r] = t")


THROUGH_MEMORY = {r"st\.shared\.b32": 1, r"ld\.shared\.b32": 1, r"bar\.sync\s+0;": 2}

FOUR = r"ld\.global\.nc\.v4\.b32"

WORDS: dict[str, tuple[str, dict[str, int]]] = {
    "lane of a warp": (of_team("i64", "x = lane(32)"), {r"%tid\.x": 1, r"and\.b32.*, 31;": 1}),
    "lane of a block": (of_team("i64", "x = lane(256)"), {r"and\.b32.*, 255;": 1}),
    "alone": (of_team("i64", "sync(1)", "x += 3 * lane(1) + exchange_i64(x, 1, 1) + shift_i64(x, 1, 1)"),
              {r"mul\.lo\.s64.*, 3;": 1, r"shfl|bar|shared": 0}),
    "exchange": (of_team("f32", "x = exchange_f32(x, 16, 32)"), {r"shfl\.sync\.bfly\.b32.*, 16, 31, -1;": 1}),
    "exchange of 64 bits": (of_team("f64", "x = exchange_f64(x, 4, 32)"), {r"shfl\.sync\.bfly\.b32.*, 4, 31, -1;": 2}),
    "exchange of 128 bits": (of_team("c128", "x = exchange_c128(x, 1, 256)"), {r"shfl\.sync\.bfly\.b32.*, 1, 31, -1;": 4}),
    "exchange of bools": (of_team("bool", "x = exchange_bool(x, 2, 32)"), {r"shfl\.sync\.bfly\.b32.*, 2, 31, -1;": 1}),
    "exchange of bytes": (of_team("i8", "x = exchange_i8(x, 2, 32)"), {r"shfl\.sync\.bfly\.b32.*, 2, 31, -1;": 1}),
    "exchange in a block": (of_team("f32", "x = exchange_f32(x, 64, 256)"), {r"xor\.b32.*, 64;": 1, **THROUGH_MEMORY}),
    "shift": (of_team("i32", "x = shift_i32(x, 3, 32)"), {r"shfl\.sync\.up\.b32.*, 3, 0, -1;": 1}),
    "shift of pairs": (of_team("c64", "x = shift_c64(x, 1, 32)"), {r"shfl\.sync\.up\.b32.*, 1, 0, -1;": 2}),
    "shift in a block": (of_team("f32", "x = shift_f32(x, 1, 256)"), THROUGH_MEMORY),
    "sync of a warp": (of_team("f32", "sync(32)"), {r"bar\.warp\.sync\s+-1;": 1}),
    "sync of a block": (of_team("f32", "sync(256)"), {r"bar\.sync\s+0;": 1}),
    "shared memory": (  # what other threads wrote between two barriers is read again
        of_team("f64", "s = shared_f64(0, 512)", "s[lane(256)] = x", "sync(256)", "y = s[lane(256) ^ 5]", "sync(256)",
                "s[lane(256)] = y", "sync(256)", "x = y + s[lane(256) ^ 5]"),
        {r"\.shared \.align 16 \.b8 shared0\[4096\];": 1, r"st\.shared\.b64": 2, r"ld\.shared\.b64": 2, r"bar\.sync": 3}),
    "areas of shared memory": (
        of_team("bf16", "a = shared_bf16(0, 64)", "b = shared_bool(1, 100)", "a[lane(256) & 63] = x", "b[lane(256) & 63] = x > x * x",
                "sync(256)", "x = a[5] if b[7] else x"),
        {r"\.shared \.align 16 \.b8 shared0\[128\];": 1, r"\.shared \.align 16 \.b8 shared1\[100\];": 1, r"bar\.sync": 1}),
    "atomics": (of_team("i64", "x = atomic_add_i64(p1, r, x)", "x = atomic_max_i64(p1, r + 2, x)", "x = atomic_min_i64(p1, r + 3, x)"),
                {r"atom\.global\.add\.u64": 1, r"atom\.global\.max\.s64": 1, r"atom\.global\.min\.s64": 1}),
    "atomics without a sign": (of_team("u32", "x = atomic_max_u32(p1, r + 1, x)", "x = atomic_add_u32(shared_u32(0, 64), r, x)"),
                               {r"atom\.global\.max\.u32": 1, r"atom\.shared\.add\.u32": 1}),
    "a row": (of_row("f32"), {r"shfl\.sync\.bfly": 5, r"st\.shared\.b32": 3, r"ld\.shared\.b32": 3, r"bar\.sync": 6}),
    "what is written": (of_team("f32", "x = x * p1[r]"), {r"ld\.global\.nc\.b32": 1, r"ld\.global\.b32": 1}),
    "what is changed": (of_team("u32", "x = p1[r + 1] + x", "y = atomic_add_u32(p1, r + 1, x)"), {r"ld\.global\.nc\.b32": 1, r"ld\.global\.b32": 1}),
    "four f32": (of_neighbours("f32", 4), {FOUR: 2, r"st\.global\.v4\.b32": 1, r"ld\.global\.nc\.b32": 0}),
    "two f64": (of_neighbours("f64", 2), {r"(ld\.global\.nc\.v2\.b64[^;]*;\s*){2}": 1, r"st\.global\.v2\.b64": 1}),
    "eight f16": (of_neighbours("f16", 8), {FOUR: 2, r"st\.global\.v4\.b32": 1, r"cvt\.rn\.f16x2\.f32": 4}),
    "eight bf16": (of_neighbours("bf16", 8), {FOUR: 2, r"st\.global\.v4\.b32": 1, r"cvt\.rn\.bf16x2\.f32": 4}),
    "sixteen bools": (of_neighbours("bool", 16), {FOUR: 2, r"st\.global\.v4\.b32": 1}),
    "complex numbers": (of_team("c64", "x = x * x"), {r"ld\.global\.nc\.v2\.b32": 1, r"st\.global\.v2\.b32": 1}),
    "large complex numbers": (of_team("c128", "x = x + x"), {r"ld\.global\.nc\.v2\.b64": 1, r"st\.global\.v2\.b64": 1}),
}
"""A kernel, and how often instructions are in it; where LLVM may unroll its loop, at least that often."""


@pytest.mark.parametrize("name", WORDS)
def test_words_are_these_instructions(name):
    source, expected = WORDS[name]
    text = text_of(source)
    unrolled = len(re.findall(r"st\.global", text)) or 1
    for pattern, count in expected.items():
        found = len(re.findall(pattern, text))
        assert found == count or count and found % count == 0 and found <= count * unrolled, f"{pattern} is there {found} times\n{text}"


@pytest.mark.parametrize("lines, expected", [
    (["x = lane(64)"], "a team has 1, 32 or 256 threads, not 64"),
    (["x = exchange_i64(x, 32, 32)"], "a team of 32 exchanges over powers of two below it, not over 32"),
    (["x = exchange_i64(x, 3, 256)"], "not over 3"),
    (["x = shift_i64(x, 0, 32)"], "a distance is positive, not 0"),
    (["x = atomic_add_i32(p0, 0, x)"], "this word is for pointers to i32"),
    (["a = shared_i64(0, 4)", "b = shared_i64(0, 8)"], "shared0 is"),
], ids=lambda x: x[0] if isinstance(x, list) else "")
def test_words_that_make_no_sense(lines, expected):
    with pytest.raises(Exception, match=re.escape(expected)):
        text_of(of_team("i64", *lines))


ARITHMETIC = {
    "x * y + x": (r"fma\.rn", 1), "x / y": (r"div\.rn", 1), "sqrt_{0}(x)": (r"sqrt\.rn", 1), "rint_{0}(x)": (r"cvt\.rni", 1),
    "fma_{0}(x, y, x)": (r"fma\.rn", 1), "rsqrt_{0}(x)": (r"rcp\.rn", 1), "exp_{0}(x)": (r"\b(add|mul|sub)\.f", 0),
    "log_{0}(x)": (r"\b(add|mul|sub)\.f", 0), "sin_{0}(x)": (r"\b(add|mul|sub)\.f", 0),
}
"""What is rounded as it is written; a sum without ``.rn`` is one that may be contracted with a product."""


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_arithmetic_is_rounded_as_on_the_processor(dtype):
    for expression, (pattern, count) in ARITHMETIC.items():
        text = text_of(source_of(*pointers_of(dtype, 3), "x = p0[start]", "y = p1[start]", f"p2[start] = {expression.format(dtype)}"))
        assert len(re.findall(pattern, text)) == count, f"{expression}\n{text}"


def signatures() -> Iterator[tuple[str, list[str], str]]:
    """The functions of scalars that have neither literal arguments nor machine code of SciPy's: their types by name."""
    names = {kind: dtype for dtype, kind in access.COMPUTED.items() if dtype not in ("f16", "bf16")}
    for name, function in {**vecmath.functions(), **remainder.functions()}.items():
        if not name.startswith(("integer_pow", "select", "scipy")):
            definition = function._defn
            found, _ = definition(*[None] * len(inspect.signature(definition).parameters))
            yield name, [names[a] for a in found.args], names[found.return_type]


@pytest.mark.parametrize("dtype", ["f32", "f64", "c64", "i64", "u8"])
def test_functions_are_instructions(dtype):
    """One kernel of all functions of numbers of a dtype: LLVM ends the process for an instruction that a target does not have."""
    slots: dict[str, str] = {}
    lines = []
    for k, (name, args, result) in enumerate(s for s in signatures() if s[1][0] == dtype):
        given = ", ".join(f"{slots.setdefault(a, f'p{len(slots)}')}[start + {i}]" for i, a in enumerate(args))
        lines.append(f"{slots.setdefault(result, f'p{len(slots)}')}[start + {k}] = {name}({given})")
    assert len(lines) > 20
    source = source_of(*[f"{p} = pointer_{d}(pointers, {p[1:]})" for d, p in slots.items()], *lines)
    text, name = ptx.ptx(source, "sm_80")
    check(text.decode(), "sm_80", name)


def test_what_no_gpu_has_is_named():
    with pytest.raises(RuntimeError, match="a kernel for CUDA refers to funcgrad_scipy_gamma, which no GPU has"):
        text_of(of_team("f64", "x = scipy_gamma_f64(x)"))


def assembler() -> str | None:
    found = [str(p) for p in sorted(Path("/usr/local").glob("cuda*/bin/ptxas"))]
    return shutil.which("ptxas") or (found[-1] if found else None)


@pytest.mark.skipif(assembler() is None, reason="ptxas of the CUDA toolkit is not installed")
@pytest.mark.parametrize("capability", [AMPERE, HOPPER], ids=["sm_80", "sm_90"])
def test_the_assembler_takes_the_words(capability, tmp_path):
    for name, (source, _) in WORDS.items():
        path = tmp_path / "kernel.ptx"
        path.write_text(text_of(source, capability))
        done = subprocess.run([assembler(), f"-arch={ptx.architecture(capability)}", str(path), "-o", str(tmp_path / "kernel.cubin")],
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"


# ---------------------------------------------------------------- the remainder of floats, on the processor

def run(source: str, arrays: list[np.ndarray], count: int, words: Callable | None = None) -> None:
    """Runs a kernel, with the words of the processor or others."""
    with pytest.MonkeyPatch.context() as patch:
        if words is not None:
            patch.setattr(kernel, "namespace", words)
        code, symbol = kernel.build(source)
    function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 3)(kernel.load(code, symbol))
    pointers, place = np.array([a.ctypes.data for a in arrays], np.int64), np.zeros(8, np.int64)
    function(place.ctypes.data, None, pointers.ctypes.data, place.ctypes.data, 0, count)


def hard_operands(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of special numbers, and pairs of all exponents, near to each other and far from it."""
    info, generator = np.finfo(dtype), np.random.default_rng(3)
    special = np.array([0, 1, 1.5, 2, 3, 1 / 3, 10, 1e10, 0.1, info.tiny, info.smallest_subnormal, 7 * info.smallest_subnormal,
                        info.max, info.max / 3, 1 - info.epsneg, 1 + info.eps, 2 ** info.nmant, 2 ** info.nmant * 3 - 1,
                        np.inf, np.nan], dtype)
    special = np.concatenate([special, -special])
    x, y = [a.reshape(-1) for a in np.meshgrid(special, special)]
    n = 20000
    bits = generator.integers(0, 2 ** (8 * info.dtype.itemsize), (2, n), dtype=f"u{info.dtype.itemsize}").view(dtype)
    whole = generator.integers(1, 2 ** 20, (2, n)).astype(dtype)  # with exact multiples
    with np.errstate(all="ignore"):
        near = bits[0] * generator.uniform(0.01, 100, n).astype(dtype)
    return np.concatenate([x, *bits[:1], *bits[:1], whole[0]]), np.concatenate([y, bits[1], near, whole[1]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_the_remainder_is_that_of_c(dtype):
    name = {np.float32: "f32", np.float64: "f64"}[dtype]
    functions = ("fmod", "remainder", "floor_divide")
    source = source_of(*pointers_of(name, 5), "for i in range(start, stop):",
                       *[f"    p{k + 2}[i] = {f}_{name}(p0[i], p1[i])" for k, f in enumerate(functions)])
    x, y = hard_operands(dtype)
    found, expected = [[np.empty_like(x) for _ in functions] for _ in range(2)]
    run(source, [x, y, *found], x.size, lambda: {**access.memory(0), **vecmath.functions(), **remainder.functions()})
    run(source, [x, y, *expected], x.size)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a.view(f"i{a.itemsize}")[~np.isnan(b)], b.view(f"i{a.itemsize}")[~np.isnan(b)])
        np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found[0], np.fmod(x, y))


# ---------------------------------------------------------------- the module for the GPU, on the processor

@pytest.fixture(scope="module")
def counting():
    return Block(source_of("p0 = pointer_i64(pointers, 0)", "for r in range(start, stop):", "    p0[r] = p0[r] + (stop - start)"))


@pytest.mark.parametrize("team", [1, 32, 256])
@pytest.mark.parametrize("rows, chunk", [(1, 1), (5, 1), (7, 3), (64, 4), (0, 5)])
def test_each_team_gets_its_rows(counting, rows, chunk, team):
    counts = np.zeros(rows + 1, np.int64)
    counting.run([counts.ctypes.data], [], rows, chunk, team)
    of_chunk = [min(chunk, rows - r // chunk * chunk) * team for r in range(rows)]  # every thread of the team adds it up
    assert counts.tolist() == [*of_chunk, 0]


def values(dtype: str, count: int) -> np.ndarray:
    """Numbers all of whose bits matter."""
    kind = {"f32": "f4", "f64": "f8", "c128": "c16", "bool": "?", "i8": "i1"}[dtype]
    x, y = np.random.default_rng(5).standard_normal((2, count))
    return {"c": x + 1j * y, "i": 50 * x, "?": x < 0}.get(kind[0], x).astype(kind)


@pytest.mark.parametrize("dtype, team", [("f32", 32), ("c128", 32), ("bool", 32), ("i8", 32), ("f64", 256)])
def test_threads_exchange_their_values(dtype, team):
    ways = [("exchange", d) for d in (1, 4, 16, 32, 128) if d < team] + [("shift", d) for d in (1, 5, 31, 64, 300)]
    source = source_of(*pointers_of(dtype, 2), f"l = lane({team})", "for r in range(start, stop):", f"    x = p0[{team} * r + l]",
                       *[f"    p1[({len(ways)} * r + {i}) * {team} + l] = {way}_{dtype}(x, {d}, {team})" for i, (way, d) in enumerate(ways)])
    rows = 2
    x = values(dtype, rows * team)
    found = np.zeros((rows, len(ways), team), x.dtype)
    Block(source).run([x.ctypes.data, found.ctypes.data], [], rows, 2, team)
    lane = np.arange(team)
    for i, (way, d) in enumerate(ways):
        other = lane ^ d if way == "exchange" else np.where(lane < d, lane, lane - d)
        np.testing.assert_array_equal(found[:, i], x.reshape(rows, team)[:, other], err_msg=f"{way} {d}")


@pytest.mark.parametrize("team", [32, 256])
def test_all_threads_have_the_sum_of_a_row(team):
    """As the scheduler writes it: each thread adds up a part, and all add up their sums in one order; with equal bits."""
    ways = [d for d in (16, 8, 4, 2, 1, 32, 64, 128) if d < team]
    source = source_of(*pointers_of("f32", 2), "for r in range(start, stop):", "    t = f32(0.0)",
                       f"    for j in range(lane({team}), 600, {team}):", "        t = plus_f32(t, p0[r * 600 + j])",
                       *[f"    t = plus_f32(t, exchange_f32(t, {d}, {team}))" for d in ways], f"    p1[r * {team} + lane({team})] = t")
    x = values("f32", 3 * 600)
    found = np.zeros((3, team), np.float32)
    Block(source).run([x.ctypes.data, found.ctypes.data], [], 3, 2, team)
    assert (found == found[:, :1]).all()
    np.testing.assert_allclose(found[:, 0], x.reshape(3, 600).sum(1, dtype=np.float64), rtol=2e-6, atol=1e-5)


def test_a_block_shares_memory():
    source = source_of(*pointers_of("f64", 2), "s = shared_f64(0, 256)", "l = lane(256)", "for r in range(start, stop):",
                       "    s[l] = p0[256 * r + l]", "    sync(256)", "    x = s[255 - l]", "    sync(256)", "    s[l] = 2.0 * x",
                       "    sync(256)", "    p1[256 * r + l] = x + s[l ^ 1]", "    sync(256)")
    x = values("f64", 512)
    found = np.zeros((2, 256))
    Block(source).run([x.ctypes.data, found.ctypes.data], [], 2, 2, 256)
    back = x.reshape(2, 256)[:, ::-1]
    np.testing.assert_array_equal(found, back + 2 * back[:, np.arange(256) ^ 1])


PROGRAMS_RUN = {
    "a warp for a row": (lambda x: fg.nn.softmax(x), (5, 130)),
    "a block for a row": (lambda x: fg.nn.log_softmax(x), (2, 1100)),
    "columns": (lambda x: fnp.sum(fnp.exp(x), axis=0), (300, 40)),
    "running sums": (lambda x: fnp.cumsum(x, axis=1), (3, 300)),
    "the same places": (lambda x: fnp.zeros(7).at[fnp.arange(600) % 5].add(x[0]), (1, 600)),
    "sorted": (fnp.sort, (2, 90)),
}


@pytest.mark.parametrize("name", PROGRAMS_RUN)
def test_programs_are_right_after_the_passes_of_llvm(name):
    f, shape = PROGRAMS_RUN[name]
    x = np.random.default_rng(1).standard_normal(shape)
    found, = Optimised(schedule(passes.run(fg.make_jaxpr(f)(x)), "cuda"), False).run([x])
    np.testing.assert_allclose(found, f(x), rtol=1e-12, atol=1e-13)


# ---------------------------------------------------------------- the cache

SIMPLE = of_team("f32", "x = x + f32({0}.0)")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(tmp_path / "code"))
    ptx._entry.cache_clear()
    return tmp_path / "code"


def compiled(monkeypatch, *calls: tuple[str, tuple[int, int]]) -> int:
    """How often a process without texts in memory compiles."""
    count, optimised = [], ptx.optimised
    monkeypatch.setattr(ptx, "optimised", lambda *args: count.append(args) or optimised(*args))
    ptx._entry.cache_clear()
    for source, capability in calls:
        text, name = ptx.entry(source, capability)
        check(text.decode(), ptx.architecture(capability), name)
    return len(count)


def test_a_text_is_compiled_once_for_an_architecture(folder, monkeypatch):
    first, second = SIMPLE.format(1), SIMPLE.format(2)
    assert compiled(monkeypatch, (first, (8, 0)), (first, (8, 6)), (first, (8, 9)), (second, (8, 0))) == 2
    assert compiled(monkeypatch, (first, (8, 0)), (second, (8, 6))) == 0
    assert compiled(monkeypatch, (first, (9, 0)), (first, (12, 0))) == 1
    assert len(list(folder.glob("*.object"))) == 3
    assert ptx.entry(first, (9, 0))[0] is ptx.entry(first, (10, 0))[0]  # kept by the process
    assert ptx.entry(first, (9, 0))[1] != ptx.entry(second, (9, 0))[1]


def test_damaged_and_foreign_entries_are_misses(folder, monkeypatch):
    first, second = SIMPLE.format(1), SIMPLE.format(2)
    compiled(monkeypatch, (first, (8, 0)), (second, (8, 0)))
    one, other = folder.glob("*.object")
    whole = one.read_bytes()
    for damaged in (b"", whole[:-1], whole.replace(b"sm_80", b"sm_86"), other.read_bytes()):
        one.write_bytes(damaged)
        assert compiled(monkeypatch, (first, (8, 0)), (second, (8, 0))) == 1
        assert one.read_bytes() == whole


def test_the_key_does_not_depend_on_the_processor(monkeypatch):
    import llvmlite.binding as llvm
    cache._machine.cache_clear()
    monkeypatch.setattr(llvm, "get_host_cpu_name", lambda: "another")
    assert "another" not in cache._machine("cuda sm_80").decode() and "another" in cache._machine("").decode()
    cache._machine.cache_clear()
    assert len({cache.key(SIMPLE, target) for target in ("", "cuda sm_80", "cuda sm_90")}) == 3


def test_a_gpu_that_is_too_old():
    with pytest.raises(fg.errors.DeviceError, match=r"(?s)this GPU is too old.*compute capability 7\.5.*8\.0 or later"):
        ptx.entry(SIMPLE.format(1), (7, 5))


def test_an_llvm_that_is_too_old(monkeypatch):
    import llvmlite.binding as llvm
    monkeypatch.setattr(llvm, "llvm_version_info", (20, 1, 8))
    ptx.target_machine.cache_clear()
    with pytest.raises(fg.errors.DeviceError, match=r"(?s)newer LLVM.*LLVM 20\.1\.8 of llvmlite.*LLVM 22.*pip install --upgrade numba"):
        text_of(SIMPLE.format(1))
