"""fg.residuals: what the backward pass keeps, against what a tape holds, and as text."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import ad_checkpoint, lax
from funcgrad.core.array import DeviceArray
from funcgrad.transforms.linearize import LinearEquation, linearize_flat

X = np.arange(1.0, 4.0)
P = [(np.ones((3, 4)), np.ones(4)), (np.ones((4, 2)), np.ones(2))]
XS = np.ones((5, 3))


def mlp(params, x):
    for w, b in params:
        x = fnp.tanh(x @ w + b)
    return fnp.mean(x ** 2)


def recurrent(w, xs):
    def body(c, x):
        c = fnp.tanh(w @ c + x)
        return c, None

    return fnp.sum(lax.scan(body, fnp.ones(2), xs)[0])


FUNCTIONS = {
    "sin of sin": lambda x: fnp.sin(fnp.sin(x)), "linear": lambda x: fnp.sum(3.0 * x), "product": lambda x: x * fnp.exp(x) / (1 + x),
    "sort": lambda x: fnp.sort(x) @ x, "where": lambda x: fnp.where(x > 2, fnp.log(x), x * x), "softmax": lambda x: fg.nn.softmax(x),
    "norm": fnp.linalg.norm, "gather": lambda x: x[fnp.array([0, 0, 2])] * x, "solve": lambda x: fnp.linalg.solve(fnp.diag(x), x),
    "einsum": lambda x: fnp.einsum("i,j,k->ij", x, x, x), "cumprod": lambda x: fnp.cumprod(x), "max": lambda x: fnp.max(x) * x,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_rows_are_what_the_tape_of_an_eager_gradient_holds(name):
    x = fnp.array(X)
    _, indices, tape = linearize_flat(lambda x: [FUNCTIONS[name](x)], [x], [True])
    tape.prune(indices)
    held = {}
    for step in tape.steps:
        values = step.args if isinstance(step, LinearEquation) else [c for _, c in step[1]]
        held.update({id(v): v for v in values if isinstance(v, DeviceArray)})
    rows = fg.residuals(FUNCTIONS[name])(x)
    assert sorted((r.shape, str(r.dtype)) for r in rows if r.shape) == sorted((v.shape, str(v.dtype)) for v in held.values() if v.shape)
    inside = fg.residuals(fg.jit(FUNCTIONS[name]))(x)
    assert [(r.aval, r.kind, r.name) for r in inside] == [(r.aval, r.kind, r.name) for r in rows]


def test_the_table_of_a_network():
    first = mlp.__code__.co_firstlineno
    rows = fg.residuals(fg.jit(mlp), argnums=0)(P, XS)
    assert str(rows) == f"""\
bytes  type          made by
  160  float64[5,4]  mul at test_residuals.py:{first + 2} in mlp
  160  float64[5,4]  tanh at test_residuals.py:{first + 2} in mlp
  120  float64[5,3]  the argument x
   80  float64[5,2]  mul at test_residuals.py:{first + 2} in mlp
   80  float64[5,2]  mul at test_residuals.py:{first + 3} in mlp
   64  float64[4,2]  the argument params[1][0]
664 bytes in 6 arrays, 480 of them beside arguments and constants"""
    assert rows.nbytes == 664 and rows.extra == 480 and rows[0].line == first + 2 and rows[0].file == __file__
    page = rows._repr_html_()
    assert page.count("<tr>") == 7 and "664 bytes in 6 arrays" in page
    assert "params[0][0]" in str(fg.residuals(mlp)(P, XS)) and repr(rows) == str(rows)


def test_checkpoints_and_their_policies():
    kept = {(r.name, r.shape) for r in fg.residuals(fg.checkpoint(mlp, policy=fg.checkpoint_policies.dots_saveable), 0)(P, XS)}
    assert kept == {("dot_general", (5, 4)), ("dot_general", (5, 2)), ("x", (5, 3)), ("params[0][0]", (3, 4)), ("params[0][1]", (4,)),
                    ("params[1][0]", (4, 2)), ("params[1][1]", (2,))}
    rows = fg.residuals(fg.checkpoint(mlp))(P, XS)
    assert {r.kind for r in rows} == {"argument"} and rows.extra == 0 and len(rows) == 5

    def named(x):
        return fnp.sin(fg.checkpoint_name(fnp.exp(x) * 2, "h"))

    rows = fg.residuals(fg.checkpoint(named, policy=fg.checkpoint_policies.save_only_these_names("h")))(X)
    assert [r.name for r in rows] == ["x", "name 'h'"] and rows[1].line == named.__code__.co_firstlineno + 1


def test_a_scan_keeps_values_stacked_over_its_steps():
    for f in (recurrent, fg.jit(recurrent)):
        rows = {r.name: r for r in fg.residuals(f, argnums=(0, 1))(np.eye(2), np.ones((7, 2)))}
        assert rows["carry of scan"].shape == (7, 2) and rows["mul"].shape == (7, 2) and rows["mul"].steps == 7
        assert rows["mul"].line == recurrent.__code__.co_firstlineno + 2 and rows["w"].kind == "argument"
        assert "stacked over 7 steps" in rows["mul"].origin
    rows = fg.residuals(lambda x: lax.scan(lambda c, y: (c * y, None), 1.0, x)[0])(X)
    assert {r.name for r in rows} >= {"carry of scan"} and any(r.name in ("x", "input of scan") for r in rows)


def test_conditions_types_and_nothing():
    rows = fg.residuals(lambda x, n: lax.cond(x > 0, fnp.sin, lambda x: x * x * x, x) * n)(fg.ShapeDtypeStruct((), "float32"), 3)
    assert {r.dtype.name for r in rows} <= {"float32", "int32"} and any(r.name == "x" for r in rows)
    assert str(fg.residuals(lambda x: fnp.sum(x * 3.0))(X)) == "nothing is kept for the backward pass"
    assert not fg.residuals(lambda n: n + 1)(3)
    rows = fg.residuals(lambda x: x * fnp.array(X))(X)
    assert [r.kind for r in rows] == ["constant"] and rows.extra == 0 and rows[0].origin == "a constant"
    assert [r.name for r in fg.residuals(lambda x, *, y: x * y)(X, y=X)] == ["y"]


def test_printed_as_jax_prints(capsys):
    ad_checkpoint.print_saved_residuals(lambda x: fnp.sin(x), X)
    line = test_printed_as_jax_prints.__code__.co_firstlineno + 1
    assert capsys.readouterr().out == f"float64[3] from cos at test_residuals.py:{line} in <lambda>\n"
