"""fg.debug.nans: the first operation that made a NaN, in eager code, under transformations, in loops and compiled programs."""
from __future__ import annotations

import re

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.trace import EVAL, current_trace

X = fnp.array([2.0, -1.0, 0.0])
Y = fnp.array([2.0, 1.0, 0.0])


def negative_log(x):
    y = x + 0.0
    return fnp.sum(fnp.log(y))


def zero_by_zero(x):
    y = x - x
    return y / fnp.sum(y)


def difference_of_infinities(x):
    y = fnp.exp(x * 1e4)
    return y - y * 2


def masked_root(x):
    return fnp.sum(fnp.where(x > 0, fnp.sqrt(x), 0.0))


def scan_of_log(x):
    def body(c, step):
        c = c - 1.0
        return c, fnp.log(c)

    return lax.scan(body, x[0] + 1.5, fnp.arange(5.0))[1]


def while_of_root(x):
    return lax.while_loop(lambda s: s[1] < 4, lambda s: (fnp.sqrt(s[0] - 1.0), s[1] + 1), (x[0], 0))[0]


def branch(x):
    return lax.cond(x[0] > 0, lambda x: fnp.log(-x), lambda x: x, x[0])


def inner(x):
    return fg.jit(lambda x: fnp.arccos(x))(x)


def outer(x):
    return inner(x * 4)


@fg.custom_jvp
def custom(x):
    return fnp.log(x)


custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0]))


def with_custom_rule(x):
    return custom(x)


CASES = [  # function, operation, call, line from the start of the named function, function named
    (negative_log, "log", r"log\(-1\) = nan at \[1\], in 1 of 3 elements of float64\[3\]", 2, "negative_log"),
    (zero_by_zero, "div", r"div\(0, 0\) = nan", 2, "zero_by_zero"),
    (difference_of_infinities, "sub", r"sub\(inf, inf\) = nan at \[0\]", 2, "difference_of_infinities"),
    (fg.grad(masked_root), "mul", r"mul\(0, inf\) = nan at \[2\]", 1, "masked_root"),
    (scan_of_log, "log", r"log\(-0.5\) = nan", 3, "body"),
    (while_of_root, "sqrt", r"sqrt\(-1\) = nan", 1, "<lambda>"),
    (branch, "log", r"log\(-2\) = nan", 1, "<lambda>"),
    (outer, "acos", r"acos\(8\) = nan at \[0\]", 1, "<lambda>"),
    (with_custom_rule, "log", r"log\(-1\) = nan", 2, "custom"),
]
LINES = {"negative_log": negative_log, "zero_by_zero": zero_by_zero, "difference_of_infinities": difference_of_infinities,
         "masked_root": masked_root}


def text_of(f, *args, **options):
    with pytest.raises(FloatingPointError) as caught, fg.debug.nans(**options):
        f(*args)
    return str(caught.value)


@pytest.mark.parametrize("f, operation, call, line, name", CASES, ids=[str(c[1]) + "-" + c[4] for c in CASES])
@pytest.mark.parametrize("transformed", [lambda f: f, lambda f: fg.jit(f), lambda f: fg.jit(fg.vmap(f)), lambda f: fg.vmap(fg.jit(f))],
                         ids=["eager", "jit", "jit-vmap", "vmap-jit"])
def test_the_culprit_is_named(f, operation, call, line, name, transformed):
    function = transformed(f)
    batched = "vmap" in function.__name__
    x = Y if operation == "mul" else X
    text = text_of(function, fnp.stack([x, x]) if batched else x)
    first, found = text.splitlines()[:2]
    assert first.startswith(f"{operation} made a NaN, called at test_debug.py:") and f" in {name}" in first, text
    if name in LINES:
        assert f"test_debug.py:{LINES[name].__code__.co_firstlineno + line} in {name}" in first
    assert re.search(call if not batched else call.split(r"\)")[0], found), text
    assert "operands:" in text and "instead:" in text
    assert current_trace.get() is EVAL


def test_operands_are_described_with_their_origin():
    text = text_of(fg.jit(zero_by_zero), X)
    line = zero_by_zero.__code__.co_firstlineno
    assert f"operands: float64[3] from 0 to 0, made by sub at test_debug.py:{line + 1} in zero_by_zero" in text
    assert "made by reduce_sum" in text or "made by broadcast_in_dim" in text
    text = text_of(fg.grad(fg.jit(masked_root)), Y)
    assert f"from 0.353553 to inf, infinite by div at test_debug.py:{masked_root.__code__.co_firstlineno + 1} in masked_root in jit" in text \
        or "to inf, made by" in text
    assert "fnp.where computes both branches" in text


def test_loops_tell_the_step():
    assert "inside:   step 3 of 5 of scan at test_debug.py:" in text_of(fg.jit(scan_of_log), X)
    assert "inside:   step 2 of while at test_debug.py:" in text_of(fg.jit(while_of_root), X)
    assert "inside:   branch 1 of cond at test_debug.py:" in text_of(fg.jit(branch), X)

    def backwards(x):
        return lax.scan(lambda c, y: (fnp.log(c) * y, None), x[0], fnp.ones(4), reverse=True)[0]

    assert "step 2 of 4 of scan" in text_of(fg.jit(backwards), X) and "backwards: slice 1" in text_of(fg.jit(backwards), X)


def test_the_gradient_of_a_scan_in_jit():
    def f(x):
        return fnp.sum(lax.scan(lambda c, y: (fnp.sqrt(c * 0.0) * y, c), x[0], fnp.ones(3))[0])

    text = text_of(fg.jit(fg.grad(f)), X)
    assert text.startswith("mul made a NaN, called at test_debug.py:") and "mul(inf, 0) = nan" in text and "of scan at" in text


def test_infinities_on_demand():
    f = fg.jit(lambda x: fnp.exp(x * 1e4))
    with fg.debug.nans():
        assert np.isinf(np.asarray(f(X))).any()
    for g in (f, lambda x: fnp.exp(x * 1e4)):
        text = text_of(g, X, inf=True)
        assert text.startswith("exp made an infinity") and "exp(20000) = inf at [0]" in text and "overflows" in text
    assert text_of(lambda x: 1.0 / x, X, inf=True).startswith("div made an infinity")


def test_what_is_no_error():
    with fg.debug.nans():
        np.testing.assert_array_equal(fg.jit(lambda x: x + 1)(np.array([1.0, np.nan])), [2.0, np.nan])
        assert np.isnan(float(fnp.asarray(np.nan) * 2.0))
        np.testing.assert_array_equal(fg.jit(lambda x: fnp.where(x > 0, fnp.log(x), 0.0))(X), [np.log(2.0), 0.0, 0.0])
        np.testing.assert_array_equal(fg.jit(lambda x: fnp.where(x > 0, x, fnp.nan))(X), [2.0, np.nan, np.nan])
        assert float(fg.grad(lambda x: fnp.sum(x * x))(X)[0]) == 4.0
        assert int(fg.jit(lambda x: fnp.argmax(x))(X)) == 0 and bool(fg.jit(fnp.isnan)(np.nan))


def test_the_scope():
    with fg.debug.nans():
        with fg.debug.nans(False):
            assert np.isnan(np.asarray(fg.jit(fnp.log)(X))).any()
        with pytest.raises(FloatingPointError):
            fg.jit(fnp.log)(X)
    assert current_trace.get() is EVAL
    assert np.isnan(np.asarray(fg.jit(fnp.log)(X))).any()

    def inside(x):
        with fg.debug.nans():
            return x

    for transform in (fg.jit, fg.grad):
        with pytest.raises(RuntimeError, match="inside a transformed function(.|\n)*with fg.debug.nans"):
            transform(inside)(1.0)

    @fg.debug.nans()
    def decorated(x):
        return fnp.log(x)

    with pytest.raises(FloatingPointError, match="log made a NaN"):
        decorated(X)


def test_programs_give_the_same_numbers_inside():
    def f(x, w):
        h = fnp.tanh(x @ w)
        return fnp.mean(fnp.sort(h, axis=0)[1:] ** 2) + lax.scan(lambda c, r: (c + fnp.sum(r * r), None), 0.0, h)[0]

    x, w = np.random.default_rng(0).normal(size=(2, 5, 5))
    expected = fg.value_and_grad(f, (0, 1))(x, w)
    for g in (fg.value_and_grad(f, (0, 1)), fg.jit(fg.value_and_grad(f, (0, 1))), fg.value_and_grad(fg.jit(f), (0, 1))):
        with fg.debug.nans(inf=True):
            found = g(x, w)
        fg.tree.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), expected, found)


def test_a_long_scope_does_not_remember_every_infinity(monkeypatch):
    import sys
    monkeypatch.setattr(sys.modules["funcgrad.debug.nans"], "REMEMBERED", 8)
    with fg.debug.nans():
        trace = current_trace.get()
        for _ in range(50):
            mask = fnp.where(X > 0, 0.0, -np.inf)
        assert len(trace.makers) <= 8
        with pytest.raises(FloatingPointError, match="(?s)sub made a NaN.*cause: +inf - inf"):
            _ = mask - mask
