"""Updates in place give what updates of copies give, and loops that write a row in each step do not copy."""
import itertools

import numpy as np
import pytest
from comparing import interpreted

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import executable
from funcgrad.core.array import DeviceArray

N = 6


def same(f, *args):
    """Compiles a function, compares with the interpreter twice, and returns the steps."""
    args = [DeviceArray(np.asarray(a)) for a in args]
    before = [np.array(a) for a in args]
    jaxpr = fg.make_jaxpr(f)(*args)
    expected = [np.asarray(x) for x in interpreted(jaxpr, args)]
    compiled = executable(jaxpr)
    for _ in range(2):
        for x, y in zip(compiled(args), expected, strict=True):
            np.testing.assert_array_equal(np.asarray(x), y)
        for a, b in zip(args, before, strict=True):
            np.testing.assert_array_equal(np.asarray(a), b)
    return compiled.schedule.steps


def in_place(steps):
    """How many updates write over their operand, and how many could but do not."""
    found = [0, 0]
    for step in steps:
        if step.kind == "loop":
            for part, _ in step.kernel.parts:
                found = [a + b for a, b in zip(found, in_place(part), strict=True)]
        elif step.kind == "kernel" and step.equation is not None and step.equation.primitive.name.startswith(("scatter", "dynamic_up")):
            found[step.reads[0].buffer is not step.writes[0].buffer] += 1
    return found


X = np.arange(N * 4.0).reshape(N, 4)
U = -1.0 - np.arange(4.0)


@pytest.mark.parametrize("f, updates", [
    (lambda x: x.at[1].set(U), [0, 1]),
    (lambda x: (x * 2).at[1].set(U), [1, 0]),
    (lambda x: (x * 2).at[1].set(U).at[0].add(U).at[2].max(U), [3, 0]),
    (lambda x: (lambda y: (y.at[1].set(U), y))(x * 2), [0, 1]),
    (lambda x: (lambda y: y.at[1].set(U) + y)(fnp.sort(x)), [0, 1]),
    (lambda x: (lambda y: (y.at[1].set(U), y.at[2].set(U)))(x * 2), [1, 1]),
    (lambda x: (lambda y: y.at[1].set(y[2]))(x * 2), [0, 1]),
    (lambda x: (lambda y: y.at[1].set(y[2] + 1))(fnp.sort(x)), [1, 0]),
    (lambda x: (lambda y: (y.at[1].set(U), y[2] * 2))(fnp.sort(x)), [1, 0]),
    (lambda x: (lambda y: (lambda z: (z, z[0] + y[2]))(y.at[1].set(U)))(fnp.sort(x)), [0, 1]),
    (lambda x: (lambda y: y.T.at[1].set(fnp.ones(N)))(x * 2), [0, 1]),
    (lambda x: (lambda y: fnp.reshape(y, (4, N)).at[1].set(fnp.ones(N)))(x * 2), [1, 0]),
    (lambda x: fnp.zeros((N, 4)).at[1].set(x[1]), [0, 1]),
], ids=itertools.count())
def test_updates_outside_of_loops(f, updates):
    steps = same(f, X)
    assert in_place(steps) == updates


def shown(f, updates, *args):
    assert in_place(same(f, *args)) == updates


def test_updates_of_the_state_of_a_loop():
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: b.at[i].set(x[i] * 2), fnp.zeros((N, 4))), [1, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: b.at[i].set(b[i - 1] * 2), x), [1, 0], X)
    shown(lambda x: lax.fori_loop(0, 0, lambda i, b: b.at[i].set(b[i - 1] * 2), x), [1, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: b.at[i].set(U).at[i - 1].add(U), x), [2, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: b.at[i].set(U) * 2, x), [1, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: (b * 2).at[i].set(U), x), [1, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: b.at[i].set(U) + b, x), [0, 1], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: (b[1].at[i].set(U), b[0]), (x, x + 1)), [0, 1], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: (b[0].at[i].set(U), b[1].at[i].set(b[0][i])), (x, x + 1)), [2, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: (b[0].at[i].set(U), b[1].at[i].set(b[0][i] + 1)), (x, x + 1)), [2, 0], X)
    shown(lambda x: lax.fori_loop(0, N, lambda i, b: x.at[i].set(b[i] + 1), x), [0, 1], X)
    shown(lambda x: (lambda y: (lax.fori_loop(0, N, lambda i, b: b.at[i].set(U), y), y))(x * 2), [1, 0], X)


def test_updates_in_other_loops():
    def going(state):
        return (state[0] < 4) & (state[1][state[0]].sum() < 40)

    shown(lambda x: lax.while_loop(going, lambda s: (s[0] + 1, s[1].at[s[0] + 1].add(U)), (0, x)), [1, 0], X)
    shown(lambda x: lax.scan(lambda b, i: (b.at[i].set(U), b[i]), x, fnp.arange(N)), [1, 0], X)
    shown(lambda x: lax.scan(lambda b, i: (b.at[i].set(U), b), x, fnp.arange(N)), [1, 0], X)
    shown(lambda x: lax.scan(lambda b, i: (b, (b * 2).at[i].set(U)), x, fnp.arange(N)), [1, 0], X)
    shown(lambda x: lax.scan(lambda b, row: (b, row.at[1].set(b[0, 0])), x, x), [0, 1], X)

    def nested(i, b):
        return lax.fori_loop(0, 4, lambda j, c: c.at[i, j].set(c[j, i % 4] + i * 10 + j), b)

    shown(lambda x: lax.fori_loop(0, N, nested, x), [1, 0], X)
    same(lambda x: lax.fori_loop(0, N, lambda i, b: nested(i, b) + b, x), X)
    same(lambda x: lax.fori_loop(0, N, lambda i, b: lax.cond(i % 2 == 0, lambda c: c.at[i].set(U), lambda c: c + 1, b), x), X)
    same(lambda x: lax.fori_loop(0, N, lambda i, b: nested(i, b.at[i].set(U)).at[i].add(b[i]), x), X)
    same(lambda x: lax.cond(x[0, 0] < 1, lambda y: (y * 2).at[1].set(U), lambda y: y, x), X)


def test_an_update_of_a_large_state_costs_a_row():
    """2000 steps over 16 MB would take seconds if they copied."""
    big = DeviceArray(np.zeros((2000, 1000)))
    f = fg.jit(lambda x: lax.fori_loop(0, 2000, lambda i, b: b.at[i].set(i * 1.0), x))
    np.testing.assert_array_equal(np.asarray(f(big))[:, 0], np.arange(2000.0))
    shown(lambda x: lax.fori_loop(0, 2000, lambda i, b: b.at[i].set(i * 1.0), x), [1, 0], np.zeros((2000, 1)))


# ---------------------------------------------------------------- random programs


def operation(rng, depth):
    """A random function of (i, arrays) that replaces one of the arrays."""
    k, a, b = (int(v) for v in rng.integers(0, 3, 3))
    kind = rng.choice(["set", "add", "row", "slice", "swap", "sum", "loop", "old"])

    def replaced(arrays, value):
        return tuple(value if j == k else array for j, array in enumerate(arrays))

    if kind == "set":
        return lambda i, xs: replaced(xs, xs[a].at[i].set(xs[b][(i + 1) % N]))
    if kind == "add":
        return lambda i, xs: replaced(xs, xs[k].at[(i * 2) % N].add(xs[b][i] % 7))
    if kind == "row":
        return lambda i, xs: replaced(xs, xs[k].at[i].set(i + xs[a][0]))
    if kind == "slice":
        return lambda i, xs: replaced(xs, lax.dynamic_update_slice(xs[a], xs[b][1:3], (i, 0)))
    if kind == "swap":
        return lambda i, xs: xs[::-1]
    if kind == "sum":
        return lambda i, xs: replaced(xs, (xs[a] + xs[b]) % 11)
    if kind == "old":
        return lambda i, xs: replaced(xs, xs[a])
    if depth == 0:
        return lambda i, xs: xs
    inner = program(rng, depth - 1)
    return lambda i, xs: lax.fori_loop(0, int(rng.integers(0, 3)), lambda j, ys: inner((i + j) % N, ys), xs)


def program(rng, depth):
    operations = [operation(rng, depth) for _ in range(rng.integers(1, 5))]

    def run(i, xs):
        for one in operations:
            xs = one(i, xs)
        return xs

    return run


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_of_updates(seed):
    body = program(np.random.default_rng(seed), 2)
    same(lambda x, y, z: lax.fori_loop(0, 3, body, (x, y, z)), X, X[::-1] * 3, X % 5)
    body = program(np.random.default_rng(seed), 1)
    same(lambda x, y, z: body(1, body(2, (x, y * 1, z + 1))), X, X[::-1] * 3, X % 5)
