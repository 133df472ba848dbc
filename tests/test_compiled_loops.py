"""Compiled loops and conditions: what is carried, exchanged, stacked, returned unchanged, updated in place, nested."""
from __future__ import annotations

import numpy as np
import pytest
from comparing import compare

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax

X = np.random.default_rng(0).normal(size=(5, 4))
LARGE = np.random.default_rng(1).normal(size=(4, 150_000))


def updates_nested(x):
    def outer(i, state):
        a, b = state
        a = a.at[i].set(b[i] * 2)
        b = lax.fori_loop(0, 3, lambda j, t: t.at[j].add(a[i]), b)
        return lax.cond(a[0, 0] > 0, lambda a, b: (a, b), lambda a, b: (b, a), a, b)

    return lax.fori_loop(0, 5, outer, (x, x + 1))


def history(x):
    def body(state):
        i, a, seen = state
        return i + 1, fnp.sin(a) + 0.1, seen.at[i].set(fnp.sum(a))

    return lax.while_loop(lambda s: (s[0] < 7) & (fnp.sum(s[1]) < 50), body, (0, x, fnp.zeros(10)))


def filled(x):
    def body(carry, row):
        a, n, rows = carry
        rows = rows.at[n].set(a)
        return (a * row + 1, n + 1, rows), (a, rows[0], n)

    return lax.scan(body, (fnp.ones(4), 0, fnp.zeros((5, 4))), x)


def total(f):
    return lambda x: sum(fnp.sum(y) for y in fg.tree.leaves(f(x)) if y.dtype == np.float64)


def condition(yes, no):
    """The branches of a result that is not known when the program is made, with two operands of which one is computed."""
    return lambda x: lax.cond(x[0, 0] > 0, yes, no, x, x + 1)


COUNTED = {
    "updates nested": updates_nested,
    "a buffer filled": filled,
    "no step": lambda x: lax.scan(lambda c, r: (c + r, c), fnp.zeros(4), x[:0]),
    "two exchanged": lambda x: lax.fori_loop(0, 7, lambda i, s: (s[1], s[0], s[2]), (x, x * 2, x * 3)),
    "three in turn": lambda x: lax.fori_loop(0, 7, lambda i, s: (s[1], s[2], s[0] + 1), (x, x * 2, x * 3)),
    "one unchanged": lambda x: lax.fori_loop(0, 7, lambda i, s: (s[0], s[1] + s[0]), (x, x)),
    "one twice": lambda x: lax.fori_loop(0, 7, lambda i, s: (s[1], s[1]), (x, x + 1)),
    "transposed": lambda x: lax.fori_loop(0, 3, lambda i, s: s.T * 2, x[:4]),
    "transposed alone": lambda x: lax.fori_loop(0, 3, lambda i, s: s.T, x[:4]),
    "reversed": lambda x: lax.fori_loop(0, 3, lambda i, s: s[::-1], x),
    "scalars": lambda x: lax.fori_loop(0, 6, lambda i, s: (s[0] * 0.5, s[1] + 1, ~s[2]), (x[0, 0], 0, True)),
    "its own row before": lambda x: lax.fori_loop(0, 5, lambda i, s: s.at[i].set(s[i - 1] * 2 + x[i]), x),
    "slices of the inputs": lambda x: lax.scan(lambda c, r: (c, (r, c, r[::-1], x[0], 1.0)), x[1], x),
    "constants computed outside": lambda x: (lambda y: lax.scan(lambda c, r: (y[1], (y[0], c, y)), x[1] * 2, x))(x + 1),
    "views of the carry": lambda x: lax.scan(lambda c, r: (c + 1, (c[:2], c[::-1], fnp.reshape(c, (2, 2)))), x[1], x, reverse=True),
    "a loop in a loop": lambda x: lax.fori_loop(0, 3, lambda i, s: lax.fori_loop(0, 4, lambda j, t: fnp.sin(t) + s[j] * i, s), x),
    "each row": lambda x: lax.map(lambda r: lax.cond(r[0] > 0, lambda r: fnp.sort(r), lambda r: -r, r), x),
    "associative": lambda x: lax.associative_scan(lambda a, b: a * b + 1, x),
}
OPEN = {
    "history": history,
    "so often": lambda x: lax.fori_loop(0, fnp.argmax(x[0]) + 1, lambda i, s: s * 0.5 + i, x),
    "never": lambda x: lax.fori_loop(0, fnp.argmax(x[0]) * 0, lambda i, s: s * 0.5 + i, x),
    "until told": lambda x: lax.while_loop(lambda s: s[1], lambda s: (s[0] * 0.5, fnp.sum(s[0]) > 1e-3), (fnp.abs(x), True)),
}
CHOICES = {
    "operands as they are": condition(lambda a, b: (a, b), lambda a, b: (b, a)),
    "one operand twice": condition(lambda a, b: (a, a), lambda a, b: (b, b)),
    "views": condition(lambda a, b: (a.T, b[0]), lambda a, b: (fnp.reshape(b, (4, 5)), a[1])),
    "constants": condition(lambda a, b: (fnp.zeros(3), 1.0), lambda a, b: (fnp.ones(3), 2.0)),
    "computed and not": condition(lambda a, b: (fnp.sin(a), b), lambda a, b: (a, fnp.cos(b))),
    "nested": condition(lambda a, b: lax.cond(b[1, 1] > 0, lambda b: b, fnp.sin, b), lambda a, b: a),
    "a loop in a branch": condition(lambda a, b: lax.fori_loop(0, 3, lambda i, s: s + a, b), lambda a, b: b),
    "one of three": lambda x: [lax.switch(fnp.asarray(i) + fnp.argmax(x[0]) * 0, [lambda v: v, lambda v: v + 1, lambda v: v[::-1]], x)
                               for i in (-7, 0, 1, 2, 9)],
}
ALL = {**COUNTED, **OPEN, **CHOICES}


@pytest.mark.parametrize("name", ALL)
def test_values_and_batches(name):
    f = ALL[name]
    for x in (X, -X):
        compare(f, x, ulp=64, scale=1)
    compare(fg.vmap(f), np.stack([X, -X, X * 0.5]), ulp=64, scale=1)


@pytest.mark.parametrize("name", {**COUNTED, **CHOICES})
def test_gradients(name):
    f = {**COUNTED, **CHOICES}[name]
    compare(fg.grad(total(f)), X, ulp=256, scale=1)
    compare(lambda x: fg.jvp(total(f), (x,), (x * 0.5 + 1,)), X, ulp=256, scale=1)


@pytest.mark.parametrize("name", ["a buffer filled", "updates nested", "its own row before"])
def test_second_derivatives(name):
    compare(fg.hessian(total(COUNTED[name])), X, ulp=256, scale=1)


def test_loops_over_large_arrays():
    def rows(x):
        return lax.scan(lambda c, r: (fnp.tanh(c + r), (fnp.sum(c), c[::1000])), x[0], x)

    compare(rows, LARGE, ulp=64, scale=1)
    compare(lambda x: lax.fori_loop(0, 4, lambda i, s: s.at[i].set(s[i - 1] * 2 + x[i]), x), LARGE, ulp=4)
    compare(lambda x: lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, fnp.sin(s[1])), (0, x)), LARGE, ulp=16)
    compare(condition(lambda a, b: (b, a), lambda a, b: (a, b)), LARGE, ulp=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", [fnp.sin, fnp.cos])
def test_the_sine_of_a_loop_that_waits_for_it_is_the_other_one(f, dtype):
    exponents = np.linspace(-45, 38 if dtype is np.float32 else 308, 4000)
    with np.errstate(over="ignore", under="ignore"):
        x = 10.0 ** exponents * np.random.default_rng(0).uniform(1, 3, 4000)
        x = np.concatenate([x, -x, [0.0, -0.0, np.inf, np.nan, 2.0 ** 48, 2.0 ** 68]]).astype(dtype)
    waiting = fg.jit(lambda x: lax.scan(lambda one, x: (one, f(x) * one), dtype(1), x)[1])
    assert "serial_" in waiting.lower(x).source("cpu")
    np.testing.assert_array_equal(waiting(x), fg.jit(f)(x))
