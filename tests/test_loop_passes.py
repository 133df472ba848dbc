"""What is taken out of loops, and stacks that are not stored: the programs, and their values compiled and interpreted."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, passes
from funcgrad.core.jaxpr import subjaxprs
from funcgrad.passes.stacks import loop_of


def real(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


T, B, N = 7, 3, 16


def rnn(params, xs):
    """With an output layer in the loop."""
    def step(h, x):
        h = fnp.tanh(x @ params["x"] + h @ params["h"] + params["b"])
        return h, h @ params["y"]

    h, ys = lax.scan(step, fnp.zeros((B, N)), xs)
    return h, ys


PARAMS = {"x": real(N, N) / 4, "h": real(N, N, seed=1) / 4, "b": real(N, seed=2), "y": real(N, N, seed=3) / 4}
XS = real(T, B, N, seed=4)


def loss(params, xs):
    h, ys = rnn(params, xs)
    return fnp.sum(ys * ys) + fnp.sum(h)


def reverse(w, xs):
    """Operands on either side, a batch, and a state that is summed up beside products."""
    def step(carry, x):
        total, h, both = carry
        h = fnp.sin(h) + fnp.einsum("bij,bjk->bik", w, x)
        return (total + fnp.einsum("bij,bik->bjk", h, x), h, both + fnp.einsum("bij,bik->bjk", x, x) + fnp.cos(h[:, :, :1])), w @ h

    zero = fnp.zeros((2, 16, 16))
    return lax.scan(step, (zero, real(2, 16, 16, seed=9), zero), xs, reverse=True)


def twice(w, xs):
    """A weight that is used twice in a step: the gradient is a sum of two products in each step."""
    return lax.scan(lambda h, x: (fnp.tanh(fnp.tanh(h @ w) @ w + x), None), fnp.zeros((B, N)), xs)[0]


def constant_weights(xs):
    return lax.scan(lambda h, x: (h * 0.5 + x @ PARAMS["x"], h @ PARAMS["y"]), fnp.zeros((B, N)), xs)


def nested(w, xs):
    def outer(h, x):
        g, ys = lax.scan(lambda g, y: (g * y @ w, y @ w), h, x)
        return g / 8, fnp.sum(ys)

    return lax.scan(outer, fnp.ones((2, N)), xs)


def gates(w, xs):
    def step(state, x):
        h, c = state
        i, f, g = fnp.split(x + h @ w, 3, axis=-1)
        c = fg.nn.sigmoid(f) * c + fg.nn.sigmoid(i) * fnp.tanh(g)
        return (fnp.tanh(c), c), fnp.tanh(c)

    return fnp.sum(lax.scan(step, (fnp.zeros((2, N)), fnp.zeros((2, N))), xs)[1] ** 2)


def summed(f):
    return lambda *args: sum(fnp.sum(fnp.sin(x)) for x in fg.tree.leaves(f(*args)))


CASES = {
    "rnn": (rnn, (PARAMS, XS)),
    "its gradient": (fg.grad(loss, (0, 1)), (PARAMS, XS)),
    "its forward derivative": (lambda p, x: fg.jvp(loss, (p, x), (p, x)), (PARAMS, XS)),
    "per example": (fg.vmap(fg.grad(loss), (None, 0)), (PARAMS, fnp.stack([XS, XS + 1]))),
    "gradient of a gradient": (fg.grad(summed(fg.grad(loss))), (PARAMS, XS)),
    "reverse": (reverse, (real(2, 16, 16), real(5, 2, 16, 16, seed=1))),
    "reverse's gradient": (fg.grad(summed(reverse), (0, 1)), (real(2, 16, 16), real(5, 2, 16, 16, seed=1))),
    "twice": (fg.grad(summed(twice), (0, 1)), (PARAMS["h"], real(5, B, N))),
    "constants": (constant_weights, (XS,)),
    "nested": (nested, (PARAMS["h"], real(3, 4, 2, N))),
    "nested gradient": (fg.grad(summed(nested), (0, 1)), (PARAMS["h"], real(3, 4, 2, N))),
    "gates": (fg.value_and_grad(gates, (0, 1)), (real(N, 3 * N) / 4, real(6, 2, 3 * N))),
    "one step": (fg.grad(loss, (0, 1)), (PARAMS, XS[:1])),
    "no step": (fg.grad(loss, (0, 1)), (PARAMS, XS[:0])),
    "float32": (fg.grad(loss), fg.tree.map(lambda x: np.float32(x), (PARAMS, XS))),
}


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    f, args = CASES[name]
    with passes.checking():
        found = fg.jit(f)(*args)
    with fg.disable_jit():
        expected = f(*args)
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        tolerance = 1e-5 if x.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * max(1, float(fnp.max(fnp.abs(y), initial=0))))


def program(f, *args):
    return passes.run(fg.make_jaxpr(f)(*args))


def products(jaxpr):
    """How many products are outside of loops, and how many are in each loop."""
    return (sum(e.primitive.name == "dot_general" for e in jaxpr.equations),
            *[sum(e.primitive.name == "dot_general" for e in inner.equations)
              for e in jaxpr.equations for inner in subjaxprs(e.params)])


@pytest.mark.parametrize("name, expected", [
    ("rnn", (2, 1)),  # x @ w before the loop, h @ w after it; the loop has what depends on the step before
    ("its gradient", (7, 1, 1)),
    ("twice", (2, 2, 2)),
    ("constants", (2, 0)),
    ("reverse", (4, 0)),
    ("one step", (0, 6, 6)),  # a loop of one step is left alone
])
def test_products_in_and_outside_of_loops(name, expected):
    f, args = CASES[name]
    if name == "one step":
        expected = products(fg.make_jaxpr(f)(*args))
        assert max(products(program(f, *args))[1:]) > 1 and len(expected) == 3
        return
    assert products(program(f, *args)) == expected


def test_small_products_and_those_that_take_much_memory_stay():
    assert products(program(lambda w, x: lax.scan(lambda h, x: (h + x @ w, None), fnp.zeros(4), x), real(4, 4), real(9, 4))) == (0, 1)
    wide = lambda w, x: lax.scan(lambda h, x: (h + fnp.sum(x @ w), None), 0.0, x)  # noqa: E731  the product is 64 times as large
    assert products(program(wide, real(16, 1024), real(10, 2, 16))) == (1, 0)
    assert products(program(wide, real(16, 1024), real(1000, 2, 16))) == (0, 1)


def loops(jaxpr):
    return [e for e in jaxpr.equations if loop_of(e) is not None]


def test_a_derivative_that_is_cheap_is_not_stacked():
    def f(x, xs):
        return fnp.sum(lax.scan(lambda h, x: (fnp.tanh(h + x), h), x, xs)[1] ** 2)

    forward, backward = loops(program(fg.grad(f), real(300), real(5, 300)))
    assert [v.aval.shape for v in forward.outs] == [(300,), (5, 300), (5, 300)]  # h before and after each step; not 1 - h * h
    assert not [e for e in program(fg.grad(f), real(300), real(5, 300)).equations if e.outs[0].aval.shape == (5, 300)
                and e is not forward]
    assert [v.aval.shape for v in backward.inputs] == [(300,), (5, 300), (5, 300)]


def test_a_stack_that_others_read_stays():
    def f(x, xs):
        doubled = xs * 2
        return lax.scan(lambda h, x: (h + x, None), x, doubled)[0], doubled

    loop, = loops(program(f, real(300), real(5, 300)))
    assert loop_of(loop).body.equations[0].primitive.name == "add"


def test_what_is_split_is_put_together_without_padding():
    def f(x):
        a, b, c = fnp.split(x, 3, axis=1)
        return fnp.sum(fnp.sin(a) * fnp.exp(b) + c * c)

    x = real(4, 60)
    names = [e.primitive.name for e in program(fg.grad(f), x).equations]
    assert names.count("concatenate") == 1 and "pad" not in names
    assert fg.jit(fg.grad(f)).lower(x).report()["kernels"] == 2  # each part is written where it belongs
    np.testing.assert_allclose(fg.jit(fg.grad(f))(x), np.hstack(
        [np.cos(x[:, :20]) * np.exp(x[:, 20:40]), np.sin(x[:, :20]) * np.exp(x[:, 20:40]), 2 * x[:, 40:]]), rtol=1e-12)


@pytest.mark.parametrize("f", [
    lambda x: fnp.concatenate([fnp.sin(x), fnp.cos(x)], 1),
    lambda x: fnp.concatenate([fnp.sin(x), fnp.sin(x)], 0),
    lambda x: fnp.concatenate([fnp.sin(x), x, x.T], 0),
    lambda x: (lambda y: (y, fnp.concatenate([y, fnp.cos(x)], 0)))(fnp.sin(x)),
    lambda x: fnp.exp(fnp.concatenate([fnp.sum(x, 0), fnp.max(x * 2, 1)])) @ fnp.ones(40),
    lambda x: fnp.concatenate([fnp.concatenate([x + 1, x * 2], 0).T, fnp.ones((20, 40))], 0)[::2],
    lambda x: fnp.stack([fnp.sin(x), fnp.cos(x)], 2),
    lambda x: lax.fori_loop(0, 3, lambda i, y: fnp.concatenate([y[:, 10:] + 1, fnp.sin(y[:, :10])], 1), x),
    lambda x: lax.scan(lambda c, r: (fnp.concatenate([c[10:] * r[:10], r[10:] + 1]), fnp.concatenate([c, r * 2])), x[0], x),
    lambda x: lax.cond(x[0, 0] > 0, lambda x: fnp.concatenate([x + 1, x * 2]), lambda x: fnp.concatenate([x - 1, x * 3]), x),
    lambda x: fnp.concatenate([x + 1, x * 2]).at[3].set(0.0),
])
def test_parts_that_are_written_in_their_places(f):
    x = real(20, 20)
    with fg.disable_jit():
        expected = f(fnp.asarray(x))
    for a, b in zip(fg.tree.leaves(fg.jit(f)(x)), fg.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-13)
