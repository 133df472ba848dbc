"""fg.to_source: stand-alone NumPy files with the numbers of the program, over the table of operations and whole programs."""
from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from operations import OPERATIONS

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, random

XS = np.arange(3.0)
RNG = np.random.default_rng(0)
P = {"w": RNG.normal(size=(3, 2)), "b": np.zeros(2)}
X = RNG.normal(size=(4, 3))
WITHOUT = set("""lu igamma_ratio qr diagonalized polar_harmonic betainc_ratio tridiagonal_solve hessenberg tridiagonal schur rsf2csf
                 hyp1f1_derivative hyp2f1_derivative""".split())


def written(f, *args, **options):
    """The function that a text defines, in a namespace of its own."""
    text = fg.to_source(f, *args, **options)
    assert "funcgrad" not in re.sub(r"#.*", "", text)
    namespace = {"__name__": "alone"}
    exec(compile(str(text), "written", "exec"), namespace)
    return namespace[re.search(r"^def (\w+)", text, re.M).group(1)], text


def same(found, expected, tolerance=1e-10):
    found, expected = fg.tree.tree_leaves(found), fg.tree.tree_leaves(expected)
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape and x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def total(f):
    return lambda *args: sum(fnp.sum(fnp.real(x) * 0.7) for x in fg.tree.tree_leaves(f(*args)) if np.issubdtype(x.dtype, np.inexact))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", OPERATIONS, ids=str)
def test_rows_of_the_table_and_their_gradients(row):
    functions = [row.function]
    if row.order and "rev" in row.modes and np.asarray(row.args[0]).dtype.kind == "f":
        functions.append(fg.grad(total(row.function)))
    for f in functions:
        try:
            g, _ = written(f, *row.args)
        except NotImplementedError as error:
            assert re.search(r"the operation (\w+) has no spelling", str(error)).group(1) in WITHOUT, error
        else:
            same(g(*row.args), f(*row.args), 1e-9)


def mlp(params, x):
    h = fnp.tanh(x @ params["w"] + params["b"])
    p = fg.nn.softmax(h)
    return -fnp.mean(fnp.log(p[:, 0]))


def recurrent(w, xs):
    def body(c, x):
        h = w * c + x
        c = fnp.tanh(h)
        return c, c ** 2

    last, ys = lax.scan(body, 0.0, xs)
    total = fnp.sum(ys)
    return total + last


def newton(x):
    return lax.while_loop(lambda s: s[1] < 5, lambda s: (s[0] - (s[0] ** 2 - 2) / (2 * s[0]), s[1] + 1), (x, 0))


@fg.custom_vjp
def clipped(x):
    return x * 2.0


clipped.defvjp(lambda x: (clipped(x), x), lambda x, ct: (fnp.clip(ct, -1, 1) * x,))

PROGRAMS = {
    "mlp": (mlp, P, X), "grad of mlp": (fg.grad(mlp), P, X), "jit of value and grad": (fg.jit(fg.value_and_grad(mlp, (0, 1))), P, X),
    "scan": (recurrent, 0.5, XS), "grad of scan": (fg.grad(recurrent), 0.5, XS),
    "vmap of grad of scan": (fg.vmap(fg.grad(recurrent), (0, None)), np.array([0.5, 0.2]), XS),
    "hessian": (fg.hessian(lambda x: fnp.sum(x ** 3) * fnp.prod(x)), XS + 1), "while": (newton, 1.5), "jvp of while": (
        lambda x: fg.jvp(lambda x: newton(x)[0], (x,), (1.0,)), 1.5),
    "vmap of while": (fg.vmap(lambda x: lax.while_loop(lambda s: s < 10, lambda s: s * 2, x)), np.array([1.0, 3.0, 20.0])),
    "backwards": (lambda x: lax.scan(lambda c, v: (c * 0.5 + v, (c, v * 2)), 0.0, x, reverse=True), XS),
    "fori": (lambda x: lax.fori_loop(0, 4, lambda i, s: (s[1], s[0] * x + i), (x, 1.0)), 1.5),
    "no steps": (lambda x: lax.scan(lambda c, _: (c * 0.5, c), x, None, 0), 1.0),
    "cond": (lambda x: lax.cond(x > 0, lambda x: (fnp.sin(x), 1.0), lambda x: (x * x, 2.0), x), -1.5),
    "switch": (lambda i, x: lax.switch(i, [fnp.sin, fnp.cos, lambda x: x], x), 1, 2.0),
    "grad of cond in scan": (fg.grad(lambda x: lax.scan(lambda c, v: (lax.cond(c > v, fnp.sin, lambda c: c * v, c), None), x, XS)[0]), 1.5),
    "random": (lambda key: random.normal(key, (3,)), random.key(0)),
    "dropout": (fg.grad(lambda w, key: fnp.sum(w * random.bernoulli(key, 0.5, w.shape))), np.ones(4), random.key(1)),
    "float32": (lambda x: fnp.asarray(x, "float32") * 2.5 + fnp.where(x > 0, 1, 0.5).astype("float32"), XS),
    "update": (fg.jit(lambda x: x.at[1].set(3.0).at[::2].add(x[0])[::-1]), np.ones(4)),
    "tree": (lambda x: (x, [x + 1, {"a": None, "b": x * 2}], ()), 1.0), "constant": (lambda x: x @ (fnp.arange(400.0).reshape(20, 20)), np.ones(20)),
    "custom": (fg.grad(lambda x: fnp.sum(clipped(x) ** 2)), XS), "checkpoint": (fg.grad(fg.checkpoint(lambda x: fnp.sin(fnp.sin(x)))), 0.3),
    "integers": (lambda n: (n // 2, n % 3, n << 1, ~n, -n ** 2, n == 3), np.arange(5)), "complex": (lambda z: abs(z * 1j + 2) ** 2, 1 + 2j),
    "names": (lambda min, np, x_1: fnp.maximum(min, 0.5) * np + x_1, 1.0, 2.0, 3.0), "many": (lambda a, *rest: a * rest[0] + rest[1], 1.0, 2.0, XS),
    "signs": (lambda x: (-x) ** 3 - (-2.0) ** 3 - (-0.5) ** (x - x) - (x - (x - 1.0)) * -x / (x / 2.0), 2.0), "pieces": (lambda x: fg.piecewise(x > 1, fnp.log, fnp.sin, x), XS),
    "solve": (fg.grad(lambda a: fnp.sum(fnp.linalg.solve(a, fnp.ones(2)))), np.array([[2.0, 1.0], [0.0, 3.0]])),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_alone_give_the_same_numbers(name):
    f, *args = PROGRAMS[name]
    g, text = written(f, *args)
    same(g(*args), f(*args))
    other = [fg.tree.tree_map(lambda x: fnp.asarray(x * 0.75) if np.asarray(x).dtype.kind == "f" else x, a) for a in args]
    same(g(*other), f(*other))  # other numbers of the same shapes
    assert max(map(len, text.splitlines())) < 400 or "base64" in text


def test_keywords_and_static_values():
    def f(x, *, scale, shift=1.0):
        return x * scale + shift

    g, text = written(f, 2.0, scale=np.ones(2))
    same(g(2.0, scale=np.ones(2)), np.array([3.0, 3.0]))
    assert "def f(x, scale):" in text
    jitted = fg.jit(lambda x, n: x * n, static_argnums=1)
    assert float(written(lambda x: jitted(x, 3), 2.0)[0](2.0)) == 6.0


def test_the_text_of_a_network():
    first = mlp.__code__.co_firstlineno
    assert str(fg.to_source(fg.jit(mlp), P, X)) == f"""\
import numpy as np


def mlp(params, x):
    params_b = np.asarray(params['b'], np.float64)
    params_w = np.asarray(params['w'], np.float64)
    x = np.asarray(x, np.float64)
    # test_to_source.py:{first + 1}  h = fnp.tanh(x @ params["w"] + params["b"])
    h = np.tanh(x @ params_w + params_b)
    # test_to_source.py:{first + 2}  p = fg.nn.softmax(h)
    t = np.exp(h - np.max(h, axis=1).reshape((4, 1)))
    p = t / np.sum(t, axis=1).reshape((4, 1))
    # test_to_source.py:{first + 3}  return -fnp.mean(fnp.log(p[:, 0]))
    result = np.sum(np.log(p[:, :1].reshape((4,)))) * -0.25
    return result
"""


def test_the_text_of_a_loop():
    first = recurrent.__code__.co_firstlineno
    text = str(fg.to_source(recurrent, 0.5, XS))
    assert f"""
    for i in range(3):
        # test_to_source.py:{first + 2}  h = w * c + x
        h = w * c + xs[i]
        # test_to_source.py:{first + 3}  c = fnp.tanh(h)
        t = np.tanh(h)
        stack[i] = t * t
        c = t
""" in text, text


def test_what_cannot_be_written_is_named():
    with pytest.raises(NotImplementedError, match=r"to_source: the operation schur has no spelling in NumPy(.|\n)*schur at test_to_source.py"):
        fg.to_source(lambda x: fg.scipy.linalg.schur(x)[0], np.eye(2))
    callback = fg.ShapeDtypeStruct((), np.float64)
    with pytest.raises(NotImplementedError, match="the operation pure_callback has no spelling"):
        fg.to_source(lambda x: fg.pure_callback(np.sin, callback, x), 1.0)
    with pytest.raises(NotImplementedError, match="the operation debug_callback has no spelling"):
        fg.to_source(lambda x: (fg.debug.print("{}", x), x)[1], 1.0)
    with pytest.raises(ValueError, match="to_source: there is no such target(.|\n)*'numpy' or 'numba'"):
        fg.to_source(fnp.sin, 1.0, target="fortran")
    with pytest.raises(TypeError, match="a value is traced by a surrounding transformation"):
        fg.grad(lambda x: fg.to_source(fnp.sin, x))(1.0)


def test_a_wrong_spelling_is_found(monkeypatch):
    from funcgrad.source import spelling
    monkeypatch.setitem(spelling.SPELLINGS, "sin", lambda xp, x: xp.cos(x))
    with pytest.raises(NotImplementedError, match="the text of sin gives another result than the program"):
        fg.to_source(fnp.sin, 1.0)


def test_numba_runs_the_text_of_scalar_programs():
    for f, args in ((fg.grad(lambda x, y: fnp.sin(x * y) + x ** 3), (0.5, 2.0)), (newton, (1.5,)),
                    (lambda x: lax.cond(x > 0, fnp.sin, lambda x: x * x, x), (-1.5,))):
        g, text = written(f, *args, target="numba")
        assert "@njit" in text and "from numba import njit" in text and "numba" in sys.modules
        fg.tree.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), f(*args), g(*args))


def test_c_functions_for_scipy():
    from scipy import LowLevelCallable, integrate

    def f(x, y):
        return fnp.exp(-x * y) * lax.fori_loop(0, 3, lambda i, s: s * fnp.sin(x) + i, 1.0)

    slope = fg.to_cfunc(fg.grad(f))
    np.testing.assert_allclose(slope(0.3, 0.4), fg.grad(f)(0.3, 0.4), rtol=1e-14)
    many = fg.to_cfunc(f, "double(intc, CPointer(double))")
    found = integrate.nquad(LowLevelCallable(many.ctypes), [[0, 1], [0, 2]])[0]
    expected = integrate.dblquad(lambda y, x: float(f(x, y)), 0, 1, 0, 2, epsabs=1e-9)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    one = fg.to_cfunc(fg.jit(lambda x: x ** 2), "double(double)")
    assert abs(integrate.quad(LowLevelCallable(one.ctypes), 0, 3)[0] - 9) < 1e-12


def test_wrong_c_functions_are_refused():
    with pytest.raises(TypeError, match=r"to_cfunc: there is no such signature(.|\n)*'int\(double\)'(.|\n)*CPointer"):
        fg.to_cfunc(fnp.sin, "int(double)")
    with pytest.raises(NotImplementedError, match="to_cfunc: Numba does not compile"):
        fg.to_cfunc(lambda x: (x, x))
    with pytest.raises(TypeError, match="the number of arguments of (.|\n)*is unknown"):
        fg.to_cfunc(lambda *x: x[0])
