"""fg.eager: control flow, batches and compiled functions as plain Python, with the same results."""
from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import within

XS = np.random.default_rng(0).normal(size=(3, 4, 2))


def recurrent(w, xs):
    def body(c, x):
        c = fnp.tanh(c * w + x)
        return c, fnp.sum(c)

    last, ys = lax.scan(body, fnp.zeros(2), xs)
    return fnp.sum(last) + fnp.sum(ys ** 2)


def backwards(w, xs):
    return lax.scan(lambda c, x: (c * w + x, c), fnp.ones(2), xs, reverse=True)[1].sum()


def promoted(w, xs):  # the carry begins as a weak integer
    return lax.scan(lambda c, x: (c + w * fnp.sum(x), c), 0, xs)[0]


def newton(w, xs):
    return lax.while_loop(lambda s: s[1] < 4, lambda s: (s[0] - (s[0] ** 2 - 2) / (2 * s[0]), s[1] + 1), (w + 1, 0))[0]


def counted(w, xs):
    return lax.fori_loop(0, 4, lambda i, t: t * w + xs[i, 0], 1.0)


def chosen(w, xs):
    return lax.cond(fnp.sum(xs) > 0, lambda w: w ** 2, fnp.sin, w) + lax.switch(2, [fnp.cos, fnp.sin, fnp.exp], w)


def rematerialised(w, xs):
    return fnp.sum(fg.checkpoint(lambda x: fnp.sin(fnp.sin(x * w)))(xs))


def mapped(w, xs):
    return fnp.sum(lax.map(lambda x: x * w, xs)) + fnp.sum(fg.jit(fg.vmap(lambda x, w: fnp.dot(x, x) * w, (0, None)))(xs, w))


def collective(w, xs):
    return fnp.sum(fg.vmap(lambda x: lax.scan(lambda c, _: (c + x * w, None), x, None, 2)[0] - lax.pmean(x, "i"), axis_name="i")(xs))


def shared(w, xs):
    a, b = fg.vmap(lambda x: (x * w, w * 2), out_axes=(1, None))(xs)
    return fnp.sum(a) * b


PROGRAMS = [recurrent, backwards, promoted, newton, counted, chosen, rematerialised, mapped, collective, shared]
MODES = {"value": lambda f: f, "grad": lambda f: fg.grad(f) if f is not newton else lambda w, xs: fg.jvp(lambda w: f(w, xs), (w,), (1.0,))[1],
         "hessian": lambda f: fg.jit(fg.jacfwd(fg.jacfwd(f)))}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_the_numbers_are_those_of_the_program(f, mode):
    g = fg.vmap(MODES[mode](f), (None, 0))
    expected = g(0.5, XS)
    with fg.eager():
        found = g(0.5, XS)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_breakpoint_sees_values_in_a_scan_under_vmap_of_grad(monkeypatch):
    seen = []
    monkeypatch.setattr(builtins, "breakpoint", lambda: seen.append((dict(sys._getframe(1).f_locals), within.now())))

    def f(w, xs):
        def body(c, x):
            c = c * w + x
            breakpoint()  # noqa: T100
            return c, None

        return fnp.sum(lax.scan(body, fnp.zeros(2), xs)[0])

    with fg.eager():
        fg.jit(fg.vmap(fg.grad(f), (None, 0)))(0.5, XS)
    assert len(seen) == 12
    c = np.zeros(2)
    for (names, turns), x in zip(seen[4:8], XS[1], strict=True):  # the second example
        c = c * 0.5 + x
        np.testing.assert_allclose(np.asarray(names["c"].concrete()), c, rtol=1e-12)
        np.testing.assert_array_equal(np.asarray(names["x"]), x)
        assert [turn.kind for turn in turns] == ["step", "lane"] and turns[1].number == 1
        assert "LinearizeTracer<float64[2]>([" in repr(names["c"])


def test_the_debugger_stops_on_each_line_of_a_body_with_arrays():
    def body(c, x):
        y = c + x
        return y, y

    lines = []

    def watch(frame, event, arg):
        if frame.f_code is body.__code__:
            if event == "line" and "y" in frame.f_locals:
                lines.append(np.asarray(frame.f_locals["y"]).item())
            return watch
        return None

    before = sys.gettrace()
    with fg.eager():
        sys.settrace(watch)
        try:
            fg.jit(lambda xs: lax.scan(body, 0.0, xs))(np.arange(4.0))
        finally:
            sys.settrace(before)
    assert lines == [0.0, 1.0, 3.0, 6.0]


def test_reverse_mode_through_a_while_loop_and_numbers_in_python():
    def f(x):
        return lax.while_loop(lambda x: x < 100, lambda x: x * x, x)

    with fg.eager():
        assert float(fg.grad(f)(3.0)) == 8 * 3.0 ** 7
    with pytest.raises(ValueError, match="reverse mode through while_loop"):
        fg.grad(f)(3.0)


def test_wrong_carries_are_refused_as_ever_and_the_mode_ends():
    with fg.eager():
        with pytest.raises(TypeError, match=r"scan body's carry changes type(.|\n)*float64\[\] \(weak\) before the step, float64\[2\] after"):
            lax.scan(lambda c, x: (c + fnp.ones(2), None), 0.0, fnp.arange(3.0))
        with pytest.raises(TypeError, match="while_loop body's carry changes structure"):
            lax.while_loop(lambda x: True, lambda x: (x, x), 0.0)
        assert lax.scan(lambda c, x: (c, x * 2), 1.0, fnp.zeros((0, 3)))[1].shape == (0, 3)
        jaxpr = fg.make_jaxpr(lambda x: lax.scan(lambda c, x: (c + x, None), 0.0, x)[0])(fnp.arange(3.0))
        assert jaxpr.eqns[-1].primitive.name == "scan"
    seen = []
    fg.jit(lambda x: lax.scan(lambda c, x: (c + x, seen.append(x)), 0.0, x)[0])(fnp.arange(3.0))
    assert len(seen) <= 2 and within.now() == ()


def test_a_branch_gets_arrays_and_its_weak_result_the_dtype_of_the_others():
    seen = []

    def run(p):
        return lax.cond(p, lambda x: seen.append(x) or 1.0, lambda x: fnp.float32(2.0) * x.astype("float32"), 1.5)

    expected = [run(True), run(False)]
    seen.clear()
    with fg.eager():
        found = [run(True), run(False)]
        assert fg.vmap(run)(np.array([True, False])).dtype == np.float32
    assert all(isinstance(x, fg.Array) for x in seen)
    assert [(x.dtype, x.weak_type) for x in found] == [(x.dtype, x.weak_type) for x in expected]
    np.testing.assert_array_equal(found, expected)
