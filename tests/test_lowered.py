"""jit's surface: the stages of a lowered program, why a call was traced, timing, arguments that are not copied."""
from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict, namedtuple
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, tree
from funcgrad.compiler import report
from funcgrad.core.cost import total
from funcgrad.tree_code import joiner, splitter

X = np.linspace(0.1, 1.0, 12).reshape(4, 3)


def softmax(x):
    e = fnp.exp(x - fnp.max(x, axis=1, keepdims=True))
    return e / fnp.sum(e, axis=1, keepdims=True)


def loss(w, x):
    return -fnp.mean(fnp.log(softmax(x @ w)))


def run(c, xs):
    return lax.scan(lambda c, x: (fnp.tanh(c @ fnp.eye(20) + x), fnp.sum(c)), c, xs)


@pytest.fixture(scope="module")
def lowered():
    return fg.jit(loss).lower(np.ones((20, 30)), np.ones((64, 20)))


# ---------------------------------------------------------------- the stages


def test_a_lowered_program_has_name_jaxpr_and_types(lowered):
    assert lowered.name == "loss" and lowered.as_text() == str(lowered.jaxpr) and "dot_general" in lowered.as_text()
    assert lowered.out_info == fg.ShapeDtypeStruct((), "float64")


def test_passes_name_each_pass_with_the_program_after_it(lowered):
    passes = lowered.passes()
    names = [name for name, _ in passes]
    assert names[0] == "inline" and len(names) > 3 and all(program.out_avals == lowered.jaxpr.out_avals for _, program in passes)
    text = str(passes)
    assert text.startswith("as traced: ") and "inline: " in text and "unchanged" in text and repr(passes) == text
    inside = str(fg.jit(lambda x: fg.jit(fnp.sin)(x) * 1.0).lower(1.0).passes())
    assert "as traced: 3 equations" in inside and "inline: 3 -> 2 equations" in inside


def test_the_schedule_says_what_each_step_computes(lowered):
    text = str(lowered.schedule())
    assert text.startswith("schedule of loss: ") and "1 matrix product" in text
    assert "gemm    dot_general    64x20 @ 20x30" in text
    fused = next(line for line in text.splitlines() if "exp" in line)
    assert all(name in fused for name in ("reduce_max", "sub", "exp", "reduce_sum", "div", "log")) and "64 rows" in fused
    assert "b:f64[64,20]" in text and "out0:f64[]" in text and repr(lowered.schedule()) == text


def test_the_schedule_of_loops_is_nested():
    text = str(fg.jit(run).lower(np.ones((4, 20)), np.ones((7, 4, 20))).schedule())
    assert "for     7 times  (scan, at test_lowered.py:" in text and "    2.1" in text and "b[i]:f64[4,20]" in text
    backwards = str(fg.jit(lambda c, xs: lax.scan(lambda c, x: (c @ c + x, None), c, xs, reverse=True)[0]).lower(
        np.ones((20, 20)), np.ones((7, 20, 20))).schedule())
    assert "7 times, backwards" in backwards

    def loop(x):
        x = lax.while_loop(lambda s: fnp.sum(s) < 9, lambda s: s * 2, x)
        return lax.cond(x[0] > 0, lambda x: x, lambda x: -x, x)

    text = str(fg.jit(loop).lower(np.ones(100)).schedule())
    assert "while   a: condition, b: step" in text and "choice  one of 2" in text


def test_the_schedule_tells_of_results_that_are_not_computed():
    text = str(fg.jit(lambda x: (x, 1.0)).lower(X).schedule())
    assert text == "schedule of <lambda>: nothing to compute\nout0 is b\nout1 is a"


def test_sources_name_equations_and_lines(lowered):
    text = lowered.source("cpu")
    assert text.count("def kernel(pointers, sizes, start, stop):") == lowered.report()["different_kernels"]
    assert "# Step 2 of loss: reduce_max, sub, exp" in text
    assert "= log " in text and "test_lowered.py:" in text and " in softmax" in text and " in loss" in text
    assert "no kernel" in fg.jit(lambda x: x).lower(X).source()
    with pytest.raises(ValueError, match="no such backend(.|\n)*'tpu'(.|\n)*'cpu' or 'cuda'"):
        lowered.source("tpu")


def test_sources_of_backward_equations_name_the_lines_of_the_function():
    def f(x):
        y = fnp.sin(x)
        return fnp.sum(y * y)

    text = fg.jit(fg.grad(f)).lower(np.ones(5)).source()
    lines = [line for line in text.splitlines() if line.startswith("#   ")]
    assert lines and all(line.endswith(" in f") for line in lines)


def test_the_report_counts(lowered):
    found = lowered.report()
    assert found["equations"] > found["equations_after_passes"] > 10 and found["gemms"] == 1 and found["host_steps"] == [] and found["name"] == "loss"
    assert found["flops"] == pytest.approx(2 * 64 * 20 * 30 + 7 * 64 * 30, rel=0.1)
    assert found["bytes_moved"] > 8 * (64 * 20 + 20 * 30) and found["arena_bytes"] > 0
    assert found["compile_seconds"] >= 0 and found["cache_hits"] + found["cache_misses"] >= 0
    assert "1 matrix product" in str(found) and "arena" in repr(found)


def test_a_product_copies_the_smaller_operand():
    wide, narrow = np.ones((20, 30, 40)), np.ones((30, 20, 10))
    for f, args in ((lambda a, b: fnp.einsum("ijk,jil->kl", a, b), (wide, narrow)),
                    (lambda a, b: fnp.einsum("jil,ijk->lk", a, b), (narrow, wide))):
        assert "-> t0:f64[10,20,30]" in fg.jit(f).lower(*args).schedule()


def test_the_report_gives_reasons_for_copies():
    found = fg.jit(lambda x, c, xs: (x.T, run(c, xs))).lower(X, np.ones((4, 20)), np.ones((3, 4, 20))).report()
    copies = dict(found["copies"])
    assert copies["f64[3,4]"] == "a result has row-major memory of its own"
    assert ("f64[4,20]", "a loop changes its state in place, so its first value is copied") in found["copies"]
    assert f"copy        f64[3,4]: {copies['f64[3,4]']}" in str(found)


def test_host_steps_have_reasons():
    def root(x):
        return lax.custom_root(lambda y: y - x, 0.0, lambda f, y: y + 1.0, lambda g, y: y)

    found = fg.jit(root).lower(2.0).report()
    for name, reason, place in found["host_steps"]:
        assert "calls Python" in reason and place.startswith("test_lowered.py:") and f"host        {name}: {reason}" in str(found)
    equation = fg.make_jaxpr(lambda x: x * x)(np.ones(3)).equations[0]
    assert report.host_reason(equation) == "no scalar function takes float64"


def test_flops_of_loops():
    def f(c, xs):
        return lax.scan(lambda c, x: (c + x, c * x), c, xs)

    assert total(fg.make_jaxpr(f)(np.ones(5), np.ones((7, 5)))).flops == 7 * 2 * 5
    assert total(fg.make_jaxpr(lambda x: lax.while_loop(lambda s: s[0] < 3.0, lambda s: s + 1.0, x))(np.ones(5))).flops == 6
    assert total(fg.make_jaxpr(lambda x: lax.cond(True, lambda x: x + x * x, lambda x: x, x))(np.ones(5))).flops == 11
    assert total(fg.make_jaxpr(lambda x: fg.jit(fnp.sin)(x.T))(np.ones(5))).flops == 5


def test_compile_checks_types_and_structure():
    compiled = fg.jit(lambda d, y: {"out": d["a"] * y}).lower({"a": fg.ShapeDtypeStruct((3,), "float64")}, 2.0).compile()
    np.testing.assert_array_equal(compiled({"a": np.arange(3.0)}, 2.0)["out"], [0, 2, 4])
    with pytest.raises(TypeError, match=r"not those it was compiled for(.|\n)*float64\[4\](.|\n)*float64\[3\]"):
        compiled({"a": np.arange(4.0)}, 2.0)
    with pytest.raises(TypeError, match="another structure"):
        compiled([np.arange(3.0)], 2.0)
    np.testing.assert_array_equal(fg.grad(lambda y: fnp.sum(compiled({"a": np.arange(3.0)}, y)["out"]))(2.0), 3.0)
    y = np.arange(3.0)
    kept = fg.jit(lambda x: x).lower(y).compile()(y)
    y[0] = 9
    assert float(kept[0]) == 0.0


# ---------------------------------------------------------------- why a call was traced


def explained(f, *calls):
    for args in calls:
        f(*args)
    return str(f.explain())


def test_explain_of_a_shape_is_a_whole_text():
    def step(params, x):
        return params["w"] * x

    step = fg.jit(step)
    assert step.explain() == "step has not been traced: it has not been called."
    text = explained(step, ({"w": 2.0}, np.ones(32)), ({"w": 2.0}, np.ones(17)))
    lines = text.splitlines()
    assert lines[0].startswith("step was traced 2 times in 2 calls. Call 2, at test_lowered.py:") and lines[0].endswith("ms), because")
    assert lines[1:3] == ["  x: float64[32] became float64[17]   (shape)", "compared with the trace of call 1, the nearest."]
    assert lines[3].startswith("  instead: a new shape costs a trace") and "pad" in lines[3] and len(lines) == 4
    assert "The last call used a program made before." in explained(step, ({"w": 2.0}, np.ones(17)))
    step.clear_cache()
    assert "has not been called" in step.explain()


def other(x):
    return x


@pytest.mark.parametrize("calls, expected", [
    ([(np.ones(3),), (np.ones(3, "float32"),)], [r"x: float64[3] became float32[3]   (dtype)", "astype"]),
    ([(np.array(1.0),), (1.0,)], [r"x: float64[] became float64[] (weakly typed)   (weak type)", "fnp.asarray"]),
    ([({"a": 1.0},), ({"a": 1.0, "b": 2},)], [r"x['b']: nothing became int64[] (weakly typed)   (structure)", "same keys"]),
    ([([1.0, 2.0],), ((1.0, 2.0),)], ["the arguments: PyTreeDef", "(structure)"]),
    ([(1.0,), (2.0,)], ["traced once in 2 calls", "it was the first"]),
    ([(np.ones((9, 9)),), (np.ones(3, "int32"),), (np.ones(4, "int32"),)], ["x: int32[3] became int32[4]", "the trace of call 2"]),
], ids=["dtype", "weak type", "key", "list", "hit", "nearest"])
def test_explain(calls, expected):
    text = explained(fg.jit(lambda x: x), *calls)
    assert all(part in text for part in expected), text


def test_explain_of_leaves_names_weak_types_only_where_they_differ():
    text = explained(fg.jit(lambda *xs, **named: xs[0]), (1.0, np.ones(2)), (1.0, np.ones(3)))
    assert "xs[1]: float64[2] became float64[3]" in text and "xs[0]" not in text


def test_explain_of_static_values_functions_axes_and_captured_values():
    f = fg.jit(lambda x, n=2: x ** n, static_argnames="n")
    f(2.0)
    f(2.0, n=3)
    assert "n: its default became 3   (static value)" in f.explain() and "pass as an array" in f.explain()
    g = fg.jit(lambda h, x: h(x), static_argnums=0)
    text = explained(g, (lambda x: x + 1, 1.0), (lambda x: x + 1, 1.0))
    assert "(static value)" in text
    for _ in range(2):
        g(lambda x: x + 2, 1.0)
    assert "(function)" in g.explain() and "define it once" in g.explain()
    k = fg.jit(lambda x: lax.psum(x, "i"))
    for n in (2, 3):
        fg.vmap(k, axis_name="i")(np.ones(n))
    assert "axis 'i' of size 2 became axis 'i' of size 3   (mapped axes)" in k.explain()
    kept = []
    fg.grad(lambda x: (kept.append(fg.jit(lambda y: y * x)), kept[0](2.0))[1])(3.0)
    assert "value of a surrounding transformation" in kept[0].explain() and "as an argument" in kept[0].explain()


def test_explain_notices_jit_in_a_loop():
    for _ in range(4):
        f = fg.jit(lambda x: x)
        f(1.0)
    assert "fg.jit was called 4 times on this function's code" in f.explain()


def test_explain_of_a_method():
    class Model:
        @fg.jit
        def apply(self, x):
            return x

    tree.register_pytree_node(Model, lambda m: ((), None), lambda _, __: Model())
    Model().apply(1.0)
    Model().apply(1)
    assert "x: float64[] (weakly typed) became int64[] (weakly typed)   (dtype)" in Model.apply.explain()


# ---------------------------------------------------------------- timing, threads, cache


def test_timeit_splits_trace_compile_and_run():
    calls = []
    f = fg.jit(lambda x, n: (calls.append(n), fnp.sum(x ** n))[1], static_argnums=1, donate_argnums=0)
    x = fnp.ones(5)
    found = fg.timeit(f, x, 3, seconds=0.01)
    assert found.kernels == 1 and len(found.runs) >= 3 and found.calls >= 3 and min(found.runs) == found.best <= found.run
    assert min(found.trace, found.lower, found.run) > 0 and found.compile >= 0
    assert calls == [3] and f.cache_info().misses == 0 and float(x[0]) == 1.0
    text = str(found)
    assert text.startswith("<lambda>: 1 kernel\n  trace ") and "passes and schedule" in text and "median of" in text and "loaded from disk" in text
    assert fg.timeit(lambda x, y=1.0: x * y, np.ones(3), y=2.0, seconds=0.01).kernels == 1
    with pytest.raises(TypeError, match="timeit"):
        fg.timeit(3.0)


def test_threads_and_cache():
    before = fg.num_threads()
    try:
        fg.set_num_threads(1)
        assert fg.num_threads() == 1
        with pytest.raises(ValueError, match="positive integer"):
            fg.set_num_threads(0)
    finally:
        fg.set_num_threads(before)
    assert sorted(fg.cache.stats()) == ["bytes", "entries", "folder", "hits", "misses"]


def test_clearing_the_cache_deletes_entries(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNCGRAD_CACHE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    fg.cache.write("name", b"code", "symbol")
    assert fg.cache.stats()["entries"] == 1 and fg.cache.stats()["bytes"] > 4
    fg.cache.clear()
    assert fg.cache.stats()["entries"] == 0


def test_import_loads_no_compiler():
    code = "import sys, funcgrad; print([m for m in ('numba', 'llvmlite', 'scipy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


# ---------------------------------------------------------------- arguments


def test_arguments_are_not_copied_but_results_are_the_callers_own():
    x = np.arange(6.0).reshape(2, 3)
    kept, flat, changed, again = fg.jit(lambda x: (x, x.reshape(6), x + 1, x))(x)
    x[:] = -1
    for out in (kept, flat, again):
        np.testing.assert_array_equal(np.ravel(out), np.arange(6.0))
    np.testing.assert_array_equal(changed, np.arange(6.0).reshape(2, 3) + 1)
    y = fnp.ones(3)
    assert fg.jit(lambda y: y)(y) is y


def test_arguments_of_all_kinds_run_fast_or_slow():
    f = fg.jit(lambda x: x * 2)
    for _ in range(2):
        for x in (1.5, 2, True, 1j, np.float32(3), np.int8(4), np.ones(3), np.ones((4, 3)).T[::2], np.array(2.0),
                  np.ones(2, "bool"), np.ma.masked_array([1.0, 2.0]), fnp.ones(3), fnp.asarray(1.0)):
            found = f(x)
            np.testing.assert_array_equal(found, np.asarray(x) * 2)
            assert found.weak_type == getattr(x, "weak_type", type(x) in (float, int, complex)) or np.asarray(x).dtype == bool
    assert f.cache_info().misses == f.cache_info().currsize
    for bad in (np.array(["a"]), np.arange(3, dtype=">f8" if sys.byteorder == "little" else "<f8"), np.array([None]), "text", [None, object()]):
        with pytest.raises(TypeError, match="not an array or a number"):
            f(bad)


def test_one_function_with_several_structures():
    f = fg.jit(lambda *args, **named: tree.tree_map(lambda x: x + 1, (args, named)))
    Pair = namedtuple("Pair", "a b")
    for _ in range(3):
        for args in ((1.0,), ([1.0, 2.0],), ({"a": 1.0},), ({"a": 1.0, "b": {"c": (2.0, None)}},), (Pair(1.0, [2.0]), 3.0), (OrderedDict(z=1.0, a=2.0),)):
            assert f(*args) == (tree.tree_map(lambda x: x + 1, args), {})
            assert f(k=args) == ((), {"k": tree.tree_map(lambda x: x + 1, args)})
    assert f.cache_info().misses == 12
    assert f.cache_info().hits == 24


def test_static_arguments_in_repeated_calls():
    f = fg.jit(lambda x, n, flag=False: x ** n if flag else x + n, static_argnums=(1,), static_argnames=("flag",))
    for _ in range(2):
        assert [float(f(3.0, 2)), float(f(3.0, 2, flag=True)), float(f(3.0, 3)), float(f(3.0, 2.0))] == [5.0, 9.0, 6.0, 5.0]
    assert f.cache_info().misses == 4


def test_donated_arrays_raise_wherever_they_are_used():
    x = fnp.ones(3)
    f = fg.jit(lambda a, b: a * 2, donate_argnums=(0, 1))
    f(x, x)
    g = fg.jit(lambda v: v * 3)
    g(fnp.ones(3))
    for use in (g, lambda v: v + 1, lambda v: f(v, 1.0), lambda v: lax.scan(lambda c, y: (c + y, c), 0.0, v)):
        with pytest.raises(fg.errors.DonatedBufferError, match="donated to <lambda>"):
            use(x)


def test_a_leaked_tracer_raises_in_jit():
    kept = []
    fg.grad(lambda x: (kept.append(x), x)[1])(1.0)
    f = fg.jit(lambda x: x + 1)
    with pytest.raises(fg.errors.UnexpectedTracerError):
        f(kept[0])


TREES = [{"a": 1, "b": [2, (3, None)]}, (), [], {}, ([],), {"z": 1, "a": {2: 3}}, {(1, 2): 5, (0, 1): {"k": [6]}}, (1,), [[1], [2, [3]]],
         OrderedDict(b=1, a=(2,)), namedtuple("P", "x y")(1, [2]), None, {"a": None}, {1.5: 1}, {-1: 1, 2: [{}]}]


@pytest.mark.parametrize("value", TREES, ids=str)
def test_generated_code_takes_trees_apart_and_builds_them(value):
    leaves, structure = tree.tree_flatten(value)
    split, join = splitter(structure), joiner(structure)
    assert split(value) == leaves and join(leaves) == value and type(join(leaves)) is type(value)
    if isinstance(value, dict):
        assert list(join(leaves)) == list(value)
    for another in TREES:
        same = tree.tree_structure(another) == structure
        found = split(another)
        assert (found is not None) or not same
        if found is not None:
            assert same or any(not isinstance(x, int) for x in found)


def test_deep_and_wide_trees_have_code_too():
    deep = 1.0
    for _ in range(120):
        deep = [deep]
    wide = {f"k{i}": i for i in range(5000)}
    for value in (deep, wide):
        leaves, structure = tree.tree_flatten(value)
        assert splitter(structure)(value) == leaves and joiner(structure)(leaves) == value


# ---------------------------------------------------------------- errors of compiled code


def take(x, i):
    return x[i]


def in_scan(x, i):
    return lax.scan(lambda c, j: (c + x[j], c), 0.0, i)


def in_while(x, i):
    return lax.while_loop(lambda s: s[0] < 10, lambda s: (s[0] + 1, s[1] + x[s[0]]), (i[2] - 9, 0.0))


def in_cond(x, i):
    return lax.cond(i[0] > 0, lambda i: x[i], lambda i: 0.0 * x[i], i)


def in_scatter(x, i):
    return x.at[i].add(1.0)


@pytest.mark.parametrize("f, place", [(take, "in take"), (in_scan, "in <lambda>"), (in_while, "in <lambda>"), (in_cond, "in <lambda>"),
                                      (in_scatter, "in in_scatter")], ids=lambda x: getattr(x, "__name__", ""))
@pytest.mark.parametrize("transformed", [lambda f: f, lambda f: fg.jit(f), lambda f: fg.jit(fg.vmap(f, in_axes=(0, None)))], ids=["eager", "jit", "vmap"])
def test_an_index_out_of_bounds_is_named_with_the_users_line(f, place, transformed):
    line = f.__code__.co_firstlineno + 1
    x, i = np.ones(5), np.array([1, 2, 9])
    function = transformed(f)
    if "vmap" in function.__name__:
        x = np.ones((2, 5))
    if function is f:
        x, i = fnp.asarray(x), fnp.asarray(i)
    with pytest.raises(IndexError, match=rf"index \d+ is out of bounds for axis \d with size 5, called at test_lowered.py:{line} {place}"):
        function(x, i)


def test_an_error_of_the_host_names_the_users_line():
    def invert(x):
        return fnp.asarray(x).at[fnp.array([0, 7])].mul(2.0)

    with pytest.raises(IndexError, match=rf"test_lowered.py:{invert.__code__.co_firstlineno + 1} in invert"):
        fg.jit(invert)(np.ones(3))


def test_the_example_of_the_compilers_page():
    text = (Path(__file__).parent.parent / "docs" / "compiler.md").read_text()
    scope = {}
    exec(text.split("```python\n")[1].split("```")[0], scope)
    lines = [line.strip() for line in str(scope["lowered"].schedule()).splitlines()]
    assert lines[0] in text and lines[1] in text and lines[2] in text
    report_lines = str(scope["lowered"].report()).splitlines()
    assert report_lines[0] in text and report_lines[1].strip() in text
