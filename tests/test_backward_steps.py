"""The backward pass step by step: its values are those of the gradient, and its words say what happens."""
import json
import re
import textwrap
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax

RANDOM = np.random.default_rng(0)


def fan_out(a):
    b = a + a
    return b


def neuron(x1, x2, w1, w2, b):
    x1w1 = x1 * w1
    x2w2 = x2 * w2
    s = x1w1 + x2w2
    n = s + b
    o = fnp.tanh(n)
    return o


def expression(a, b, c):
    e = a * b
    d = e + c
    f = -2.0
    L = d * f
    return L


def used_twice(a, b):
    d = a * b
    e = a + b
    f = d * e
    return f


def mlp(params, x, t):
    h = fnp.tanh(x @ params["w1"] + params["b1"])
    y = h @ params["w2"]
    loss = fnp.mean((y - t) ** 2)
    return loss


def softmax_cross_entropy(w, x):
    logits = x @ w
    top = fnp.max(logits, axis=1, keepdims=True)
    return fnp.mean(fnp.log(fnp.sum(fnp.exp(logits - top), axis=1)) - (logits - top)[:, 0])


def looped(c, xs):
    c, ys = lax.scan(lambda c, x: (fnp.tanh(c * x + 1), c * c), c, xs)
    return c + fnp.sum(ys)


def chosen(x):
    return lax.cond(x > 0, fnp.sin, lambda x: x * 3, x) * 2


@fg.custom_vjp
def doubled(x):
    return x * 1.0


doubled.defvjp(lambda x: (x * 1.0, None), lambda _, ct: (2 * ct,))


@fg.custom_jvp
def halved(x):
    return x * 1.0


halved.defjvp(lambda primals, tangents: (halved(*primals), tangents[0] * 0.5))


def pythons_if(x):
    return x * x if x > 1 else -x


PROGRAMS = {
    "fan_out": (fan_out, 3.0), "expression": (expression, 2.0, -3.0, 10.0),
    "neuron": (neuron, 2.0, 0.0, -3.0, 1.0, 6.8813735870195432), "used_twice": (used_twice, -2.0, 3.0),
    "mlp": (mlp, {"w1": RANDOM.normal(size=(3, 4)), "b1": RANDOM.normal(size=4), "w2": RANDOM.normal(size=(4, 2))},
            RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 2))),
    "softmax": (softmax_cross_entropy, RANDOM.normal(size=(3, 4)), RANDOM.normal(size=(5, 3))),
    "broadcasting": (lambda x, y: fnp.sum(x * y + y), RANDOM.normal(size=(3, 1)), RANDOM.normal(size=4)),
    "indexing": (lambda x: fnp.sum(x[fnp.array([0, 2, 0])] * fnp.asarray(x).at[1].set(2.0)[:3]), RANDOM.normal(size=4)),
    "scan": (looped, 0.5, np.arange(4.0)), "cond": (chosen, 0.7), "cond_not": (chosen, -0.7),
    "fori": (lambda x: lax.fori_loop(0, 3, lambda i, y: y * x, x), 1.5),
    "jit": (lambda x: fg.jit(lambda z: fnp.sum(fnp.sin(z) * z))(x) ** 2, RANDOM.normal(size=3)),
    "checkpoint": (lambda x: fg.checkpoint(lambda z: fnp.exp(fnp.sin(z)))(x) * x, 0.3),
    "custom_vjp": (lambda x: doubled(x * x) + x, 1.2), "custom_jvp": (lambda x: fnp.sin(halved(x) * x), 1.2),
    "vmap": (lambda x, y: fnp.sum(fg.vmap(fnp.dot)(x, y) ** 2), RANDOM.normal(size=(4, 3)), RANDOM.normal(size=(4, 3))),
    "complex": (lambda x: fnp.sum(fnp.abs(fnp.exp(1j * x) * x) ** 2), RANDOM.normal(size=3)),
    "integers": (lambda n, x: fnp.sum(x ** n) * n, 3, RANDOM.normal(size=2)),
    "label": (lambda x: fg.label(x * x, "square") + x, 2.0), "stopped": (lambda x: lax.stop_gradient(x) * x, 2.0),
    "constant": (lambda x: fnp.asarray(2.0), 1.0), "itself": (lambda x: x, 1.0), "if": (pythons_if, 2.0),
    "float32": (lambda x: fnp.sum(fnp.sqrt(x)), np.array([1.0, 4.0], np.float32)),
    "empty": (lambda x: fnp.sum(x * 2.0), np.zeros((0, 3))),
    "result_used": (lambda x: [y := fnp.sin(x), y * 0, y][2], 0.5),
    "sort": (lambda x: fnp.sum(fnp.sort(x) * fnp.arange(4.0)), RANDOM.normal(size=4)),
    "solve": (lambda a, b: fnp.sum(fnp.linalg.solve(a, b)), RANDOM.normal(size=(2, 2)), RANDOM.normal(size=2)),
    "second": (fg.grad(lambda x: fnp.sin(x) * x * x), 0.5),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_steps_give_the_gradient(name):
    f, *args = PROGRAMS[name]
    steps = fg.backward_steps(f)(*args)
    with fg.disable_jit():
        np.testing.assert_allclose(steps.value, f(*args), rtol=1e-12)
    leaves, tree = fg.tree.flatten(tuple(args))
    floats = [i for i, x in enumerate(args) if np.asarray(fg.tree.leaves(x)[0]).dtype.kind in "fc"]
    with fg.disable_jit():
        expected = fg.tree.leaves(fg.grad(f, argnums=tuple(floats))(*args))
    inputs = [v for v, x in zip(steps._recording.jaxpr.in_vars, leaves, strict=True) if np.asarray(x).dtype.kind in "fc"]
    for v, e in zip(inputs, expected, strict=True):
        found = steps._backward.cotangents.get(v)
        np.testing.assert_allclose(np.zeros(e.shape) if found is None else found, e, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", PROGRAMS)
def test_contributions_add_up(name):
    f, *args = PROGRAMS[name]
    steps = fg.backward_steps(f)(*args)
    sums, counts = {}, {}
    for i, step in enumerate(steps):
        assert step.number == i
        before = sums.get(step.operand)
        assert (before is None) == (step.use == 1)
        total = step.contribution if before is None else before + step.contribution
        np.testing.assert_allclose(step.total, total, rtol=1e-15)
        sums[step.operand] = step.total
        counts[step.operand] = counts.get(step.operand, 0) + 1
        assert step.use == counts[step.operand]
        if step.turn:  # its cotangent was complete before its turn came
            for result in step.result.split(", "):
                assert counts[result] == next(s.uses for s in steps if s.operand == result)
    assert all(counts[step.operand] == step.uses for step in steps)
    assert str(steps).isprintable() or "\n" in str(steps)


def test_elementwise_contributions_are_cotangent_times_local_derivative():
    f, *args = PROGRAMS["neuron"]
    for step in fg.backward_steps(f)(*args)[1:]:
        np.testing.assert_allclose(step.contribution, step.cotangent * step.derivative)


def test_a_jacobian_is_the_local_derivative_of_other_operations():
    step = fg.backward_steps(lambda w, x: fnp.sum(w @ x))(np.arange(6.0).reshape(2, 3), np.array([1.0, 2.0, 3.0]))[-1]
    assert step.operand == "x" and step.derivative.shape == (2, 3)
    np.testing.assert_array_equal(step.derivative, np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(step.contribution, step.cotangent @ step.derivative)


def test_fan_out_gives_two():
    steps = fg.backward_steps(fan_out)(3.0)
    assert [float(s.contribution) for s in steps] == [1, 1, 1] and [float(s.total) for s in steps] == [1, 1, 2]
    assert [(s.use, s.uses) for s in steps[1:]] == [(1, 2), (2, 2)]
    assert re.sub(r"test_\w+\.py:\d+", "here", str(steps)) == """\
backward pass of fan_out: 3 steps in 1 turn; dx stands for d b / d x

forward
  b = a + a  = 6  here

backward
  [0] db = 1, the derivative of the result by itself

turn 1: b = a + a    here
  because b is the result
  [1] da += db = 1
      local derivative 1
      so far da = 1, 1 of 2
  [2] da += db = 1
      local derivative 1
      so far da = 2, 2 of 2

gradient
  da = 2"""


def test_the_page_shows_what_is_printed():
    page = (Path(__file__).parent.parent / "docs" / "drawings.md").read_text()
    code, = re.findall(r"```python\n(steps = .*?)\nprint\(steps\)\n```", page)
    scope = {"fg": fg}
    exec(code, scope)
    assert textwrap.indent(str(scope["steps"]), "    ") in page


def test_the_expression_of_the_lecture():
    """Karpathy, "The spelled-out intro to neural networks and backpropagation": L = (a * b + c) * f."""
    steps = fg.backward_steps(expression)(2.0, -3.0, 10.0)
    assert {name: float(ct) for name, ct in steps.gradient.items()} == {"a": 6.0, "b": -4.0, "c": -2.0}
    assert [s.equation for s in steps if s.use == 1][1::2] == ["L = d * -2", "d = e + c", "e = a * b"]
    assert steps[4].formula == "de * b" and steps[4].derivative_formula == "b"


def test_the_neuron_of_the_lecture():
    steps = fg.backward_steps(neuron)(2.0, 0.0, -3.0, 1.0, 6.8813735870195432)
    np.testing.assert_allclose([steps.gradient[n] for n in ("x1", "x2", "w1", "w2", "b")], [-1.5, 0.5, 1.0, 0.0, 0.5], atol=1e-12)
    assert [s.operand for s in steps] == ["o", "n", "s", "b", "x1w1", "x2w2", "x2", "w2", "x1", "w1"]
    assert steps[1].formula == "do * ((1 - o) * (1 + o))"


def test_a_value_used_twice_waits_for_both():
    steps = fg.backward_steps(used_twice)(-2.0, 3.0)
    assert {name: float(ct) for name, ct in steps.gradient.items()} == {"a": -3.0, "b": -8.0}
    first = next(s for s in steps if s.equation.startswith("d ="))
    assert first.reason == "the one use of d has given its part: 1 of 1"
    wide = fg.backward_steps(lambda x: [b := fnp.sin(x), b * b + b][1])(1.0)
    assert wide[-1].reason == "all uses of b have given their part: 3 of 3"


def test_reading_the_steps():
    steps = fg.backward_steps(expression)(2.0, -3.0, 10.0)
    assert len(steps) == 6 and [s.number for s in steps[2:4]] == [2, 3] and steps[-1] is list(steps)[-1]
    assert float(steps[3].contribution) == -2.0 and steps[3].operand == "c"
    assert re.fullmatch(r"test_backward_steps\.py:\d+", steps[3].source)
    assert str(steps[4]).splitlines()[1:] == ["  because the one use of e has given its part: 1 of 1", "  [4] da += de * b = 6",
                                              "      local derivative b = -3"]


def test_expressions_have_the_brackets_that_they_need():
    def equations(f, *args):
        return [line.split("  ")[1] for line in fg.backward_steps(f)(*args).forward_lines()]
    assert equations(lambda x: (-2.0) ** x, 1.0) == ["out = (-2) ** x"]
    assert equations(lambda x, y: x - y * -3.0, 1.0, 2.0) == ["v1 = y * -3", "out = x - v1"]
    steps = fg.backward_steps(lambda x, y: x / y)(3.0, 2.0)
    assert [s.formula for s in steps[1:]] == ["dout * (1 / y)", "dout * -(out / y)"]
    assert fg.backward_steps(lambda a, b: fnp.sum(a.T @ b))(fnp.ones((2, 3)), fnp.ones((2, 4)))[2].formula == "dv2 @ b.T"


def test_loops_are_one_step():
    steps = fg.backward_steps(looped)(0.5, np.arange(4.0))
    loop = [s for s in steps if "scan" in s.equation]
    assert {s.turn for s in loop} == {loop[0].turn} and loop[0].formula == "pulled back through scan"
    assert isinstance(loop[0].cotangent, tuple) and len(loop[0].cotangent) == 2


def test_the_player_is_one_page_without_network(tmp_path):
    steps = fg.backward_steps(neuron)(2.0, 0.0, -3.0, 1.0, 6.8813735870195432)
    player = steps.play()
    html = player._repr_html_()
    assert html.count("data-step=") == len(steps) and html.count("<button") == 5
    assert not re.search(r"(src|href)=|url\(|https?://(?!www\.w3\.org/2000/svg)", html)
    player.save(tmp_path / "steps.html")
    assert "<!DOCTYPE html>" in (tmp_path / "steps.html").read_text() and repr(player) == "Player(neuron: 10 steps)"
    with pytest.raises(ValueError, match=r"no such format for this.*\n.*'.svg'\n.*'.html'"):
        player.save(tmp_path / "steps.svg")


@pytest.mark.parametrize("name", ["mlp", "scan", "jit", "checkpoint", "custom_vjp", "solve"])
def test_the_player_finds_every_box(name):
    f, *args = PROGRAMS[name]
    html = fg.backward_steps(f)(*args).play().html
    data = json.loads(unescape(re.search(r'data-steps="([^"]*)"', html).group(1)))
    keys = set(map(unescape, re.findall(r'data-key="([^"]*)"', html)))
    assert all(step["to"] and keys.issuperset(step["to"]) for step in data)
    assert all(step["box"] in keys for step in data[1:])


@pytest.mark.parametrize("f, args, error", [
    (lambda x: x * 2, (np.ones(3),), r"backward_steps: the function must return one real number.*\n.*float64\[3\]\n.*sum of the results"),
    (lambda x: (x, x), (1.0,), "must return one real number"),
    (lambda x: x * 1j, (1.0,), "must return one real number"),
    (lambda x: x, ("text",), "backward_steps: an argument of <lambda> is not an array or a number"),
])
def test_wrong_functions(f, args, error):
    with pytest.raises(TypeError, match=error):
        fg.backward_steps(f)(*args)


def test_wrong_places():
    with pytest.raises(TypeError, match="backward_steps: called inside of a transformed function"):
        fg.grad(lambda x: fg.backward_steps(lambda y: y)(x).value)(1.0)
    with pytest.raises(TypeError, match="backward_steps"):
        fg.backward_steps(3)
