"""Python functions called from traced programs: values, order, effects under every transformation, and wrong programs."""
from __future__ import annotations

import io
import itertools
import sys

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.experimental import io_callback

SCALAR = fg.ShapeDtypeStruct((), np.float64)
PRINT = fg.debug.print


def sine(x, **options):
    return fg.pure_callback(lambda v: np.sin(v), fg.ShapeDtypeStruct(x.shape, x.dtype), x, **options)


# ---------------------------------------------------------------- pure_callback


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit, lambda f: fg.jit(fg.jit(f)), fg.checkpoint], ids=["eager", "jit", "jit jit", "checkpoint"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)], ids=str)
def test_values(wrap, shape):
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape) / 2 + 0.5
    found = wrap(lambda x: sine(x) * 2)(x)
    np.testing.assert_array_equal(found, np.sin(x) * 2)
    assert found.dtype == np.float64


def test_trees_in_and_out_and_keyword_arguments():
    wanted = {"sum": SCALAR, "both": (fg.ShapeDtypeStruct((2,), np.float32), fg.ShapeDtypeStruct((), np.int32))}

    def callback(tree, *, scale):
        assert all(type(x) is np.ndarray and not x.flags.writeable for x in (tree["a"], tree["b"], scale))
        return {"sum": float(tree["a"].sum() + tree["b"]), "both": (tree["a"].astype(np.float32) * np.float32(scale), 7)}

    def f(a, b):
        return fg.pure_callback(callback, wanted, {"a": a, "b": b}, scale=b + 1)

    for run in (f, fg.jit(f)):
        out = run(np.array([1.0, 2.0]), 3.0)
        assert float(out["sum"]) == 6 and out["both"][0].tolist() == [4, 8] and out["both"][1].dtype == np.int32


METHODS = ("sequential", "sequential_unrolled", "expand_dims", "broadcast_all", "legacy_vectorized", None)


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_vmap_methods(method):
    shapes = []

    def callback(x, y):
        shapes.append((x.shape, y.shape))
        return x * 2 + y

    def f(x, y):
        return fg.pure_callback(callback, SCALAR, x, y, vmap_method=method)

    x = np.arange(4.0)
    for run in (fg.vmap(f, (0, None)), fg.jit(fg.vmap(f, (0, None)))):
        shapes.clear()
        np.testing.assert_array_equal(run(x, 1.0), x * 2 + 1)
        expected = {"expand_dims": [((4,), (1,))], "broadcast_all": [((4,), (4,))], "legacy_vectorized": [((4,), ())]}
        assert shapes == expected.get(method, [((), ())] * 4)
    if method in (None, "sequential"):
        nested = fg.vmap(fg.vmap(f, (None, 0)), (0, None))
        np.testing.assert_array_equal(nested(x, np.arange(3.0)), x[:, None] * 2 + np.arange(3.0))


def test_it_has_no_derivative_but_that_of_a_custom_rule():
    with pytest.raises(fg.errors.MissingRuleError, match=r"pure_callback(.*\n)+.*custom_jvp"):
        fg.grad(lambda x: sine(fnp.asarray(x)))(1.0)
    ruled = fg.custom_jvp(sine)
    ruled.defjvp(lambda primals, tangents: (sine(*primals), fnp.cos(primals[0]) * tangents[0]))
    f = lambda x: ruled(fnp.asarray(x)) * x  # noqa: E731
    np.testing.assert_allclose(fg.jit(fg.grad(f))(0.5), np.sin(0.5) + 0.5 * np.cos(0.5))
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(np.array([0.5]))[0], np.sin(0.5) + 0.5 * np.cos(0.5))
    assert float(fg.grad(lambda x: x * sine(lax.stop_gradient(x)))(fnp.asarray(0.5))) == np.sin(0.5)


def test_it_is_not_called_if_nothing_needs_it():
    calls = []
    f = fg.jit(lambda x: (fg.pure_callback(lambda v: calls.append(1) or v, SCALAR, x), x + 1)[1])
    assert float(f(1.0)) == 2 and not calls


def test_results_are_copies_and_arguments_are_read_only():
    kept = np.zeros(3)

    def f(x):
        return fg.pure_callback(lambda v: kept, fg.ShapeDtypeStruct((3,), np.float64), x)

    for run in (f, fg.jit(f)):
        out = run(1.0)
        kept[0] += 1
        assert out[0] == kept[0] - 1
    with pytest.raises(ValueError, match="read-only"):
        fg.pure_callback(lambda v: v.__setitem__(0, 1.0), SCALAR, np.zeros(3))


def test_funcgrad_inside_of_a_callback():
    inner = fg.jit(lambda v: fnp.sum(fg.grad(lambda w: fnp.sum(w ** 3))(v)))
    f = lambda x: fg.pure_callback(lambda v: np.asarray(inner(v)), SCALAR, x) + 1  # noqa: E731
    x = np.array([1.0, 2.0])
    assert float(fg.jit(f)(x)) == float(f(x)) == 16
    assert fg.vmap(f)(np.stack([x, x])).tolist() == [16, 16]


def test_ten_thousand_calls_from_a_loop():
    count = itertools.count(1)

    def step(c, _):
        return c + io_callback(lambda: np.float64(next(count) % 2), SCALAR), None

    assert float(fg.jit(lambda: lax.scan(step, 0.0, None, length=10_000)[0])()) == 5000


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit, fg.grad], ids=["eager", "jit", "grad"])
def test_log(wrap, caplog):
    """Records of Python's logging, from the place of the call, when they are asked for."""
    def traced(x):
        fg.debug.log("x is {:.1f}, {name}", x, name="so")
        return x * 2

    wrap(traced)(1.5)
    assert not caplog.records
    with caplog.at_level("INFO", "funcgrad.debug"):
        fg.vmap(wrap(traced))(np.array([0.5, 2.5]))
    assert [r.getMessage() for r in caplog.records] == ["x is 0.5, so", "x is 2.5, so"]
    first = caplog.records[0]
    assert (first.levelname, first.filename, first.funcName) == ("INFO", "test_callbacks.py", "traced")
    assert first.lineno == traced.__code__.co_firstlineno + 1


WRONG = [
    (lambda: fg.pure_callback(3, SCALAR, 1.0), TypeError, "callback is no function"),
    (lambda: fg.pure_callback(np.sin, 3.0, 1.0), TypeError, r"type of a result is missing.*\n.*result is 3.0 of type float.*\n.*\n.*ShapeDtypeStruct"),
    (lambda: fg.pure_callback(np.sin, SCALAR, 1.0, vmap_method="all"), ValueError, "vmap_method is not known.*\n.*'all'.*\n.*sequential"),
    (lambda: fg.pure_callback(lambda v: v.astype(np.float32), SCALAR, np.zeros(())), TypeError, r"float32\[\] for result.*\n.*float64\[\].*\n.*np.float64"),
    (lambda: fg.pure_callback(lambda v: {"a": v}, {"a": SCALAR}, np.zeros(2)), TypeError, r"float64\[2\] for result\['a'\]"),
    (lambda: fg.pure_callback(lambda v: (v, v), SCALAR, 1.0), TypeError, "another structure"),
    (lambda: fg.debug.callback("no", 1.0), TypeError, "callback is no function"),
    (lambda: fg.debug.print("no place", 1.0), ValueError, "no place for a value.*\n.*argument 0"),
    (lambda: fg.debug.print("{} {x}", 1.0, x=1, y=2), ValueError, "'y'"),
    (lambda: fg.debug.print("{} {}", 1.0), ValueError, "debug.print: the text has a place that no value is for"),
    (lambda: fg.debug.log("no place", 1.0), ValueError, "debug.log: the text has no place"),
]


@pytest.mark.parametrize("i", range(len(WRONG)))
@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit], ids=["eager", "jit"])
def test_wrong_programs(wrap, i):
    f, error, text = WRONG[i]
    with pytest.raises(error, match=text):
        wrap(f)()


def test_an_exception_of_the_callback_comes_through_with_the_users_line():
    def f(x):
        return fg.pure_callback(lambda v: 1 / 0, SCALAR, x)

    with pytest.raises(ZeroDivisionError) as caught:
        fg.jit(f)(1.0)
    assert any("test_callbacks.py" in note for note in caught.value.__notes__)
    assert float(fg.jit(lambda x: x + 1)(1.0)) == 2


# ---------------------------------------------------------------- effects


def printed(capsys):
    return capsys.readouterr().out.splitlines()


def straight(x):
    PRINT("a {:.1f}", x)
    y = fnp.sin(x) * x
    PRINT("b {y:.1f}", y=y)
    return y


def in_a_loop(x):
    def step(c, t):
        PRINT("{} {}", t, c)
        return c * 2, c
    return lax.scan(step, x, fnp.arange(3))[0]


def in_a_while(x):
    def step(c):
        PRINT("{}", c)
        return c * 2
    return lax.while_loop(lambda c: c < 5, step, x)


def in_branches(x):
    return lax.cond(x > 1, lambda v: (PRINT("large {}", v), v * 2)[1], lambda v: (PRINT("small {}", v), v)[1], x)


EXPECTED = {
    straight: (["a 2.0", "b 1.8"], ["a 1.0", "a 2.0", "b 0.8", "b 1.8"]),
    in_a_loop: (["0 2.0", "1 4.0", "2 8.0"], ["0 1.0", "0 2.0", "1 2.0", "1 4.0", "2 4.0", "2 8.0"]),
    in_a_while: (["2.0", "4.0"], ["1.0", "2.0", "4.0", "2.0", "4.0"]),
    in_branches: (["large 2.0"], ["small 1.0", "large 2.0"]),
}
ONCE = {"eager": lambda f: f, "jit": fg.jit, "checkpoint": fg.checkpoint, "jit checkpoint": lambda f: fg.jit(fg.checkpoint(f)),
        "grad": fg.grad, "jit grad": lambda f: fg.jit(fg.grad(f)), "grad jit": lambda f: fg.grad(fg.jit(f)), "jvp": lambda f: lambda x: fg.jvp(f, (x,), (1.0,)),
        "grad checkpoint": lambda f: fg.grad(fg.checkpoint(f)), "jit grad checkpoint": lambda f: fg.jit(fg.grad(fg.checkpoint(f))),
        "hessian": fg.hessian, "jit value_and_grad": lambda f: fg.jit(fg.value_and_grad(f)), "no jit": lambda f: lambda x: _without_jit(f, x)}


def _without_jit(f, x):
    with fg.disable_jit():
        return fg.jit(f)(x)


@pytest.mark.parametrize("wrap", ONCE)
@pytest.mark.parametrize("f", EXPECTED, ids=lambda f: f.__name__)
def test_an_effect_happens_once_and_in_order(capsys, f, wrap):
    reverse = "grad" in wrap or wrap == "hessian"
    if f is in_a_while and reverse:
        return  # a while_loop has no reverse mode
    ONCE[wrap](f)(2.0)
    assert printed(capsys) == EXPECTED[f][0]


MAPPED = {"vmap": fg.vmap, "jit vmap": lambda f: fg.jit(fg.vmap(f)), "vmap jit": lambda f: fg.vmap(fg.jit(f)),
          "jvp vmap": lambda f: lambda x: fg.jvp(fg.vmap(f), (x,), (x,)), "no jit": lambda f: lambda x: _without_jit(fg.vmap(f), x)}


@pytest.mark.parametrize("wrap", MAPPED)
@pytest.mark.parametrize("f", EXPECTED, ids=lambda f: f.__name__)
def test_under_vmap_each_example_has_its_own(capsys, f, wrap):
    MAPPED[wrap](f)(np.array([1.0, 2.0]))
    assert printed(capsys) == EXPECTED[f][1]


def test_unused_equal_and_nested_effects_are_kept(capsys):
    seen = []

    def add(v):
        seen.append(float(v))
        return v + 1

    def f(x):
        io_callback(add, SCALAR, x)
        a = io_callback(add, SCALAR, x)
        b = io_callback(add, SCALAR, x)
        fg.jit(lambda v: (io_callback(lambda w: seen.append(-float(w)), None, v), v)[1])(a)
        return a + b

    assert float(f(1.0)) == float(fg.jit(f)(1.0)) == 4
    assert seen == [1, 1, 1, -2] * 2
    fg.vmap(fg.vmap(lambda x, y: PRINT("{} {}", x, y), (None, 0)), (0, None))(np.arange(2), np.arange(2))
    assert printed(capsys) == ["0 0", "0 1", "1 0", "1 1"]


def test_long_loops_outside_of_jit(capsys):
    def step(c, t):
        lax.cond(t % 100 == 0, lambda: PRINT("{} {}", t, c), lambda: None)
        return c + 1, None

    assert int(lax.scan(step, 0, fnp.arange(300))[0]) == 300
    assert printed(capsys) == ["0 0", "100 100", "200 200"]
    lax.scan(step, 0, fnp.arange(101), reverse=True)
    assert printed(capsys) == ["100 0", "0 100"]


def test_what_was_printed_before_an_error_is_printed_once(capsys):
    seen = []

    def f(x, i):
        PRINT("before {}", i)
        y = x[i] + io_callback(lambda: seen.append(1) or np.float64(len(seen)), SCALAR)
        PRINT("after {}", y)
        return x[i + 10]

    with pytest.raises(IndexError):
        fg.jit(f)(np.zeros(3), 5)
    assert printed(capsys) == ["before 5"]
    assert len(seen) == 0
    with pytest.raises(IndexError, match="index 12"):
        fg.jit(f)(np.zeros(3), 2)
    assert printed(capsys) == ["before 2", "after 1.0"] and len(seen) == 1

    def g(x):
        PRINT("one {}", x)
        y = fg.pure_callback(lambda v: 1 / 0, SCALAR, x)
        PRINT("two {}", y)
        return y

    for run in (g, fg.jit(g)):
        with pytest.raises(ZeroDivisionError):
            run(1.0)
        assert printed(capsys) == ["one 1.0"]


def test_a_loop_prints_up_to_the_step_that_fails(capsys):
    def step(c, i):
        PRINT("{}", i)
        return c + fnp.arange(3.0)[i], None

    with pytest.raises(IndexError):
        fg.jit(lambda n: lax.scan(step, 0.0, n)[0])(fnp.arange(5))
    assert printed(capsys)[:4] == ["0", "1", "2", "3"] and len(set(printed(capsys))) == 0


def test_an_effect_with_a_result_is_not_repeated_by_checkpoint():
    f = fg.checkpoint(lambda x: x * io_callback(lambda: np.float64(2), SCALAR))
    assert float(fg.jit(f)(3.0)) == 6
    with pytest.raises(TypeError, match="computed again, with its effects"):
        fg.grad(f)(3.0)


def test_debug_callback_hands_over_what_is_no_array():
    seen = []
    f = lambda x: fg.debug.callback(lambda *a, **k: seen.append((a, k)), x, "text", None, n=3, tree={"x": x})  # noqa: E731
    fg.jit(f)(1.0)
    (a, k), = seen
    assert a[1:] == ("text", None) and k["n"] == 3 and float(k["tree"]["x"]) == float(a[0]) == 1


def test_nans_are_found_without_printing_twice(capsys):
    def f(x):
        PRINT("x {}", x)
        return fnp.log(x)

    with fg.debug.nans(), pytest.raises(FloatingPointError, match="log made a NaN"):
        fg.jit(f)(-1.0)
    assert printed(capsys) == ["x -1.0"]


def at_the_breakpoint(monkeypatch, capsys, run, *commands):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(commands) + "\n"))
    run()
    return capsys.readouterr().out


@pytest.mark.parametrize("wrap", [lambda f: f, fg.jit, fg.grad, lambda f: fg.jit(fg.grad(f))], ids=["eager", "jit", "grad", "jit grad"])
def test_breakpoint_shows_the_values_that_traced_names_have(monkeypatch, capsys, wrap):
    def f(x):
        local = x * 3
        note = "hello"  # noqa: F841
        fg.debug.breakpoint()
        return local

    out = at_the_breakpoint(monkeypatch, capsys, lambda: wrap(f)(2.0), "p float(local) + 1", "p note", "c")
    assert "7.0" in out and "'hello'" in out


def test_signatures_of_effects_in_a_jaxpr():
    text = str(fg.make_jaxpr(straight)(1.0))
    assert text.count("debug_callback[function=show results=()]") == 2 and "= debug_callback" not in text
