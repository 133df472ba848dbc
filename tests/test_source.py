"""fg.to_source: files that compute the same without the library, with the user's names and lines."""
from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from operations import OPERATIONS, positive, real

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import MissingRuleError

PARAMS = {"w1": real(3, 4), "b1": real(4), "w2": real(4, 2)}
X, Y = real(5, 3), np.array([0, 1, 1, 0, 1])


def loss(params, x, y):
    hidden = fnp.tanh(x @ params["w1"] + params["b1"])
    logits = hidden @ params["w2"]
    logp = logits - fnp.max(logits, axis=1, keepdims=True)
    logp = logp - fnp.log(fnp.sum(fnp.exp(logp), axis=1, keepdims=True))
    return -fnp.mean(fnp.take_along_axis(logp, y[:, None], axis=1))


def recurrence(w, xs):
    def step(h, x):
        z = w @ h + x
        return fnp.tanh(z), fnp.sum(z)

    last, sums = lax.scan(step, fnp.zeros(2), xs, reverse=True)
    return {"last": last, "sums": [sums]}


def newton(a):
    return lax.while_loop(lambda x: fnp.abs(x * x - a) > 1e-12, lambda x: (x + a / x) / 2, a)


def pieces(i, x):
    return lax.switch(i, [fnp.sin, fnp.cos, lambda x: x * x], x)


def run(f, *args):
    """The text of the file, and what its function returns."""
    text = fg.to_source(f, *args)
    namespace: dict = {}
    exec(compile(text, "written.py", "exec"), namespace)
    name = text.rpartition("\ndef ")[2].partition("(")[0]
    return text, namespace[name](*args)


def assert_same(f, *args, tolerance=1e-13):
    text, found = run(f, *args)
    assert "funcgrad." not in text.replace("written by funcgrad.", "")
    expected = f(*args)
    assert fg.tree.structure(found) == fg.tree.structure(expected)
    for x, y in zip(fg.tree.leaves(found), map(np.asarray, fg.tree.leaves(expected)), strict=True):
        assert (np.shape(x), np.asarray(x).dtype) == (y.shape, y.dtype), text
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance, err_msg=text)
    return text


@pytest.mark.parametrize(("f", "args"), [
    (loss, (PARAMS, X, Y)), (fg.grad(loss), (PARAMS, X, Y)), (fg.jit(fg.value_and_grad(loss)), (PARAMS, X, Y)),
    (fg.vmap(fg.grad(loss), (None, 0, 0)), (PARAMS, X[:, None], Y[:, None])), (fg.hessian(lambda x: fnp.sum(fnp.sin(x) * x[0])), (real(3),)),
    (recurrence, (real(2, 2), real(4, 2))), (fg.grad(lambda w, xs: fnp.sum(recurrence(w, xs)["last"])), (real(2, 2), real(4, 2))),
    (fg.jacfwd(lambda w, xs: recurrence(w, xs)["sums"][0]), (real(2, 2), real(4, 2))),
    (newton, (2.0,)), (fg.vmap(newton), (positive(3),)), (pieces, (0, 0.5)), (pieces, (7, 0.5)), (fg.grad(pieces, 1), (1, 0.5)),
    (lambda *xs: xs[0] + xs[1] * 2, (real(2), real(2))), (lambda pair: pair[0] / pair[1], ((1.0, 2.0),)),
    (lambda x: x + np.arange(100.0), (real(100),)), (lambda x: fnp.where(x > 0, np.array([np.inf, 1.0]), x), (real(2),)),
    (lambda x: fnp.sum(x * 0.5, axis=0), (real(4, 2).astype(np.float32),)), (lambda x: fnp.sum(x), (real(40).astype(np.float16),)),
    (lambda x: fnp.asarray(x).at[1].set(2.0), (real(3),)), (lambda x, i: x[i] * x[-1], (real(3), np.array([0, -1]))),
    (lambda z: fnp.abs(z * (1 - 2j)), (real(3) + 1j * real(3),)), (lambda x: (), (1.0,)),
], ids=lambda x: getattr(x, "__name__", None))
def test_written_programs_compute_the_same(f, args):
    assert_same(f, *args)


def test_the_table_of_operations():
    """Each row, and its gradient, is written and gives the same, or it is said which operation is not written."""
    written = 0
    for operation in OPERATIONS:
        differentiable = [i for i, x in enumerate(operation.args) if np.asarray(x).dtype.kind == "f"] if operation.order else []
        functions = [operation.function]
        if differentiable:
            functions.append(fg.grad(lambda *xs, f=operation.function: sum(
                fnp.sum(fnp.abs(y)) for y in fg.tree.leaves(f(*xs)) if y.dtype.kind in "fc"), differentiable[0]))
        for f in functions:
            try:
                assert_same(f, *operation.args)
            except MissingRuleError as error:
                assert "to_source: the operation" in str(error)
                continue
            written += 1
    assert written > 300


def test_a_file_runs_by_itself(tmp_path):
    text = fg.to_source(fg.grad(loss), PARAMS, X, Y)
    np.savez(tmp_path / "args.npz", x=X, y=Y, **PARAMS)
    (tmp_path / "written.py").write_text(text)
    (tmp_path / "main.py").write_text(
        "import sys; sys.modules['funcgrad'] = None\nimport numpy as np, written\na = np.load('args.npz')\n"
        "print(written.grad_loss({k: a[k] for k in ('w1', 'b1', 'w2')}, a['x'], a['y'])['b1'].tolist())")
    out = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    np.testing.assert_allclose(eval(out), fg.grad(loss)(PARAMS, X, Y)["b1"], rtol=1e-13)


GOLDEN = '''"""loss, written by funcgrad."""
import numpy as np


def loss(params, x):
    w = np.asarray(params['w'], np.float64)
    x = np.asarray(x, np.float64)
    # test_source.py:N  z = x @ params["w"]
    z = x @ w
    # test_source.py:N  h = fnp.where(z > 0, z, 0.1 * z)
    v = z > 0.0
    v_2 = 0.1 * z
    h = np.where(v, z, v_2)
    # test_source.py:N  return fnp.sum(h ** 3)
    v_3 = h ** 3
    v_4 = np.sum(v_3)
    return v_4
'''


def test_names_and_lines_are_the_users():
    def loss(params, x):
        z = x @ params["w"]
        h = fnp.where(z > 0, z, 0.1 * z)
        return fnp.sum(h ** 3)

    args = {"w": real(3, 2)}, real(4, 3)
    text = assert_same(loss, *args)
    assert re.sub(r"test_source.py:\d+", "test_source.py:N", text) == GOLDEN
    gradient = assert_same(fg.grad(loss), *args)
    assert "    z = x @ w\n" in gradient and "    h = np.where(v, z, v_2)\n" in gradient  # what is no z has no such name
    assert gradient.count("    z") == 1 and "def grad_loss(params, x):" in gradient


def test_what_is_not_written():
    with pytest.raises(MissingRuleError, match="(?s)to_source: the operation fft has no rule"):
        fg.to_source(fnp.fft.fft, real(3))
    with pytest.raises(TypeError, match="NumPy has no dtype bfloat16"):
        fg.to_source(fnp.sin, fnp.ones(3, "bfloat16"))
    with pytest.raises(TypeError, match="to_source"):
        fg.to_source(3, 1.0)
