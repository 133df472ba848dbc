"""fg.step: programs equation by equation, their values, their text."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax

XS = np.arange(3.0)


def loss(w, xs):
    def body(c, x):
        h = w * c + x
        c = fnp.tanh(h)
        return c, c ** 2

    last, ys = lax.scan(body, 0.0, xs)
    total = fnp.sum(ys)
    return total + last


def newton(w, xs):
    return lax.while_loop(lambda s: s[1] < 3, lambda s: (s[0] - (s[0] ** 2 - w) / (2 * s[0]), s[1] + 1), (fnp.sum(xs), 0))[0]


def chosen(w, xs):
    return {"a": lax.cond(w > 0, fnp.sin, fnp.cos, w), "b": [xs[::-1] @ xs, 3.0]}


def network(w, xs):
    h = fg.jit(fg.vmap(lambda x: fnp.tanh(x * w)))(xs)
    return fnp.sum(fg.checkpoint(fnp.sin)(h)) + fnp.sort(h)[0]


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("f", [loss, newton, chosen, network, fg.jit(loss), fg.grad(loss), fg.jit(fg.grad(fg.grad(network))),
                               fg.value_and_grad(loss), fg.jacfwd(newton), lambda w, xs: (), lambda w, xs: w],
                         ids=lambda f: getattr(f, "__name__", "f"))
def test_the_result_is_that_of_the_function(f, optimized):
    steps = fg.step(f, optimized=optimized)(0.5, XS)
    fg.tree.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), f(0.5, XS), steps.result)
    assert [s.number for s in steps] == list(range(1, len(list(steps)) + 1))
    for s in steps:
        assert len(s.inputs) == len(s.equation.inputs) and len(s.outputs) == len(s.equation.outs)
        for x, v in zip(s.outputs, s.equation.outs, strict=True):
            assert isinstance(x, fg.Array) and (x.shape, x.dtype) == (v.aval.shape, v.aval.dtype)


def test_the_text_of_a_run():
    first = loss.__code__.co_firstlineno
    lines = str(fg.step(loss)(0.5, XS[:2])).splitlines()
    assert lines[0] == "steps of loss:" and len(lines) == 12
    assert lines[7].split() == f"7 c = tanh(h) 0.7616 test_step.py:{first + 3} in body, step 1 of scan".split()
    assert lines[9].split() == f"9 last, ys = scan(w, 0, xs) 0.7616, [0. 0.58] test_step.py:{first + 6} in loss".split()
    assert lines[10].split() == f"10 total = reduce_sum(ys) 0.58 test_step.py:{first + 7} in loss".split()
    page = fg.step(loss)(0.5, XS)._repr_html_()
    assert page.count("<tr>") == 16 and "tanh(h)" in page


def test_a_step_tells_its_values_and_place():
    steps = {(s.operation, tuple(turn.number for turn in s.within)): s for s in fg.step(loss)(0.5, XS)}
    c = np.tanh(0.5 * np.tanh(1.0) + 2.0)
    s = steps["tanh", (2,)]
    np.testing.assert_allclose(s.outputs[0], c)
    np.testing.assert_allclose(s.inputs[0], 0.5 * np.tanh(1.0) + 2.0)
    assert s.file == __file__ and s.line == loss.__code__.co_firstlineno + 3
    assert s.within[0].count == 3 and str(s.within[0]).startswith("step 2 of 3 of scan at test_step.py:")
    assert str(s) == f"11    c = tanh(h)    0.983    test_step.py:{s.line} in body, step 2 of scan"
    assert steps["scan", ()].output_names == ("last", "ys")
    backwards = [s.within[0].number for s in fg.step(fg.jit(fg.grad(loss)))(0.5, XS) if s.within]
    assert set(backwards) == {0, 1, 2}


def test_steps_run_when_they_are_asked_for():
    seen = []

    def f(x):
        y = fnp.sin(x)
        fg.debug.callback(lambda y: seen.append(float(y)), y)
        return fnp.cos(y)

    run = iter(fg.step(f, optimized=False)(1.0))
    assert next(run).operation == "sin" and not seen
    assert next(run).operation == "debug_callback" and seen == [np.sin(1.0)]


def test_programs_before_and_after_the_passes():
    def f(x):
        unused = fnp.exp(x)  # noqa: F841
        return fnp.sin(x) * fnp.sin(x)

    assert [s.operation for s in fg.step(f, optimized=False)(1.0)] == ["exp", "sin", "sin", "mul"]
    assert [s.operation for s in fg.step(f)(1.0)][0] == "sin" and len(list(fg.step(f)(1.0))) == 2
    assert [s.call for s in fg.step(fg.jit(f), optimized=False)(1.0)][-1].endswith("= jit(x)")


def test_long_runs_are_cut_and_wrong_calls_refused():
    text = str(fg.step(lambda x: lax.fori_loop(0, 1000, lambda i, x: fnp.sin(x), x))(1.0))
    assert text.splitlines()[-1] == "..." and len(text.splitlines()) < 500
    with pytest.raises(TypeError, match=r"step: an argument of loss is not an array or a number(.|\n)*w is 'text'"):
        fg.step(loss)("text", XS)
    with pytest.raises(TypeError, match=r"step: a value is traced(.|\n)*step outside of all transformations"):
        fg.grad(lambda w: fg.step(loss)(w, XS).result)(1.0)
