"""Loops with independent lanes: which of them are one kernel, with a row for each lane, and that their values are those of the loop."""
from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from comparing import compare, program

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import executable, lowering

N, T = 24, 5


def real(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def recurrence(c, xs, a=0.5):
    return lax.scan(lambda c, x: (fnp.tanh(a * c + x), c * x), c, xs)


def backwards(c, xs):
    return lax.scan(lambda c, x: (c - x * c, fnp.sin(c)), c, xs, reverse=True)


def oscillator(s):
    def slope(s):
        return fnp.stack([s[1], -s[0] + 0.1 * s[2], fnp.cos(s[2])])

    def step(s, _):
        k = slope(s)
        return s + 0.1 * slope(s + 0.05 * k), fnp.max(s)

    return lax.scan(step, s, None, length=T)


def matrices(s, m):
    """Products, sums, a transposed state, parts put together."""
    def step(carry, _):
        s, total = carry
        s = m @ s.T / 3
        return (fnp.concatenate([s[:1] * 2, fnp.pad(s[1:], ((0, 1), (0, 0)))[:2]]), total + fnp.sum(s, axis=0)), s[::-1, 0]

    return lax.scan(step, (s, fnp.zeros(3)), None, length=T)


def counted(x):
    return lax.fori_loop(0, 7, lambda i, s: (s[0] * 0.5 + i, s[1] + 1, ~s[2]), (x, 0, True))


def logistic(x, most=40):
    return lax.while_loop(lambda s: (s[0] < 0.95) & (s[1] < most), lambda s: (3.9 * s[0] * (1 - s[0]), s[1] + 1), (x, 0))


def roots(x, ys):
    """A loop of unknown length in a loop, and what is needed before and after it."""
    def step(c, y):
        z = y * y + 1
        root, _ = lax.while_loop(lambda s: fnp.abs(s[0] * s[0] - z) > 1e-9, lambda s: ((s[0] + z / s[0]) / 2, s[1] + 1), (c, 0))
        return root + 1, root - z

    return lax.scan(step, x, ys)


def endless_unless_told(x):
    """The inner loop ends only for a lane that is not done."""
    return lax.while_loop(lambda x: x > 0, lambda x: x - lax.while_loop(lambda y: y < 3, lambda y: y + x, 0), x)


def nested(x):
    def outer(i, x):
        return lax.fori_loop(2, 30, lambda j, x: fnp.sin(x) + i * j, x * 2) - x

    return lax.fori_loop(0, 4, outer, x)


def chosen(c, xs):
    """A branch for each lane."""
    return lax.scan(lambda c, x: (lax.cond(c > x, lambda c: c * 0.5, lambda c: c + 1, c), c), c, xs)


def switched(c, xs):
    """One of three branches for each lane."""
    def step(c, x):
        i = fnp.floor(4 * x).astype(int)
        return lax.switch(i, [lambda c: c * x, lambda c: fnp.sqrt(c * c + 1), lambda c: fnp.where(x > c, fnp.cos(c), c - x)], c), i

    return lax.scan(step, c, xs)


def gcd(x, y):
    """A branch in a loop that each lane ends for itself."""
    return lax.while_loop(lambda s: s[0] != s[1], lambda s: lax.cond(s[0] > s[1], lambda s: (s[0] - s[1], s[1]),
                                                                     lambda s: (s[0], s[1] - s[0]), s), (x, y))


def dear(x):
    def step(i, x):
        for k in range(14):
            x = fnp.exp(-x * x) * fnp.sin(x + k)
        return x

    return lax.fori_loop(0, 3, step, x)


def one_branch(c, xs, n):
    """The same branch in all lanes."""
    return lax.scan(lambda c, x: (lax.cond(n > 2, lambda c: c * x, lambda c: c + x, c), None), c, xs)[0]


def walk(key):
    def step(carry, _):
        x, key = carry
        key, now = fg.random.split(key)
        return (x + fg.random.uniform(now), key), x

    return lax.scan(step, (0.0, key), None, length=T)


def mixed(c, xs):
    def step(carry, x):
        c, i, z, h = carry
        return (c + x.astype(np.float32), i * 3 + 1, z * 1j + c, h + x.astype(np.float16)), (c > x, i.astype(np.int8))

    return lax.scan(step, (c, np.int32(1), np.complex64(1), np.float16(0)), xs)


def told(again=lambda on, n, most: on & (n < most), kept=lambda on: on, also=lambda on, y: y):
    """A loop like that of a batch, by hand: of (who goes on, a count, its limit, x, y)."""
    def step(s):
        on, n, most, x, y = s
        n = fnp.where(on, n + 1, n)
        return again(on, n, most), n, most, fnp.where(kept(on), x * 2, x), also(on, y)

    return lambda x: lax.while_loop(lambda s: fnp.any(s[0]), step, (x < 1, fnp.zeros(N, int), np.arange(N) % 7, x, x))


def total(f):
    return lambda *args: sum(fnp.sum(fnp.sin(y)) for y in fg.tree.leaves(f(*args)) if y.dtype == np.float64)


KEYS = np.asarray(fg.random.split(fg.random.key(0), N))
ROWS = (real(N), real(T, N, seed=1))
POSITIVE = np.abs(real(N)) + 1
LANES = {
    "a recurrence": (fg.vmap(recurrence, (0, 1)), ROWS),
    "lanes in front": (fg.vmap(recurrence), (real(N), real(N, T, seed=1))),
    "lanes moved": (fg.vmap(recurrence, (0, 1), (0, 1)), ROWS),
    "a constant for all": (fg.vmap(recurrence, (0, 1, None)), (*ROWS, 0.3)),
    "a constant for each": (fg.vmap(recurrence, (0, 1, 0)), (*ROWS, real(N, seed=2))),
    "slices for all": (fg.vmap(recurrence, (0, None)), (real(N), real(T, seed=1))),
    "a state for all at first": (fg.vmap(recurrence, (None, 1)), (0.5, real(T, N, seed=1))),
    "from the end": (fg.vmap(backwards, (0, 1)), ROWS),
    "three numbers": (fg.vmap(oscillator), (real(N, 3),)),
    "three numbers, lanes last": (fg.vmap(oscillator, 1, (1, 1)), (real(3, N),)),
    "matrices": (fg.vmap(matrices, (0, None)), (real(N, 3, 3), real(3, 3, seed=1))),
    "matrices for each": (fg.vmap(matrices, (2, 1)), (real(3, 3, N), real(3, N, 3, seed=1))),
    "lanes along two axes": (fg.vmap(fg.vmap(recurrence, (0, None)), (None, 1)), (real(40), real(T, 3, seed=1))),
    "lanes along two axes as one": (fg.vmap(fg.vmap(oscillator)), (real(3, 8, 3),)),
    "no vmap": (lambda x: lax.fori_loop(0, 3, lambda i, s: fnp.exp(-s) * x + i, x), (real(N, 30),)),
    "a counter for all": (fg.vmap(counted), (real(N),)),
    "bounds for all": (fg.vmap(lambda n, x: lax.fori_loop(0, n, lambda i, x: x * 0.5 + i, x), (None, 0)), (3, real(N))),
    "bounds for each": (fg.vmap(lambda n, x: lax.fori_loop(0, n, lambda i, x: x * 0.5 + i, x)), (np.arange(N) % 7, real(N))),
    "until each is done": (fg.vmap(logistic), (np.linspace(0.01, 0.99, N),)),
    "a limit for each": (fg.vmap(logistic), (np.linspace(0.01, 0.99, N), np.arange(N))),
    "with its tangent": (lambda x: fg.jvp(lambda x: fg.vmap(logistic)(x)[0], (x,), (x,)), (np.linspace(0.01, 0.99, N),)),
    "a loop in a loop": (fg.vmap(nested), (real(N),)),
    "roots": (fg.vmap(roots, (0, 1)), (POSITIVE, real(T, N))),
    "a loop that never ends for who is done": (fg.vmap(endless_unless_told), (np.arange(N),)),
    "branches": (fg.vmap(chosen, (0, 1)), ROWS),
    "three branches": (fg.vmap(switched, (0, 1)), ROWS),
    "branches until each is done": (fg.vmap(gcd), (np.arange(N) + 1, 7 * np.arange(N) % 12 + 1)),
    "one branch": (fg.vmap(one_branch, (0, 1, None)), (*ROWS, 3)),
    "random numbers": (fg.vmap(walk), (KEYS,)),
    "dtypes": (fg.vmap(mixed, (0, 1)), (real(N, dtype=np.float32), real(T, N))),
    "no lanes": (fg.vmap(recurrence, (0, 1)), (real(0), real(T, 0))),
    "one lane": (fg.vmap(oscillator), (real(1, 3),)),
    "no step without slices": (fg.vmap(lambda x: lax.fori_loop(0, 0, lambda i, x: x + 1, x)), (real(N),)),
    "by hand, and who is done stays so": (told(also=lambda on, y: fnp.where(on, y + 1, y)), (real(N),)),
    "two that never meet": (lambda x, y: lax.fori_loop(0, 3, lambda i, s: (fnp.sin(s[0]), s[1] * i), (x, y)), (real(N), real(N, 3))),
    "many lanes": (fg.vmap(partial(recurrence, a=0.1), (0, None)), (real(5000), real(100))),
    "many lanes until each is done": (fg.vmap(logistic), (np.linspace(0.01, 0.99, 5000),)),
}
NOT = {
    "all go on while one does": (lambda x: lax.while_loop(lambda x: fnp.any(x > 0), lambda x: x - 1, x), (real(N),)),
    "who is done begins again": (told(again=lambda on, n, most: (n < most) & ~on | (n < 1)), (real(N),)),
    "another lane's flag": (told(kept=lambda on: on[::-1]), (real(N),)),
    "the first lane's flag": (told(kept=lambda on: fnp.broadcast_to(on[:1], (N,))), (real(N),)),
    "who is done goes on all the same": (told(also=lambda on, y: y + 1), (real(N),)),
    "who is done is set to zero": (told(also=lambda on, y: fnp.where(on, y + 1, 0.0)), (real(N),)),
    "a sum over lanes": (lambda x: lax.fori_loop(0, 3, lambda i, x: x / fnp.sum(x), x), (real(N) + 2,)),
    "neighbours": (lambda x: lax.fori_loop(0, 3, lambda i, x: fnp.roll(x, 1) + x, x), (real(N),)),
    "reversed": (lambda x: lax.fori_loop(0, 3, lambda i, x: x[::-1] * 2, x), (real(N),)),
    "places": (lambda x: lax.fori_loop(0, 3, lambda i, x: x + fnp.arange(N), x), (real(N),)),
    "transposed": (lambda x: lax.fori_loop(0, 3, lambda i, x: x.T * 2, x), (real(N, N),)),
    "a shared parameter's gradient": (fg.grad(lambda a, c, xs: fnp.sum(fg.vmap(recurrence, (0, 1, None))(c, xs, a)[0])), (0.5, *ROWS)),
    "branches of branches": (fg.vmap(lambda c: lax.fori_loop(0, 3, lambda i, c: lax.cond(
        c > 0, lambda c: lax.cond(c > 1, fnp.sin, fnp.cos, c), fnp.exp, c), c)), (real(N),)),
    "slices of what is in a body": (fg.grad(total(fg.vmap(nested))), (real(N),)),
    "a gradient that stores what was lent": (fg.grad(total(fg.vmap(switched, (0, 1)))), ROWS),
    "dear functions": (fg.vmap(dear), (real(N, 3),)),
    "two of other sizes": (lambda x, y: lax.fori_loop(0, 3, lambda i, s: (fnp.sin(s[0]), s[1] * i), (x, y)), (real(N), real(N + 1))),
    "the same in all lanes": (lambda x, y: lax.fori_loop(0, 3, lambda i, s: (fnp.exp(fnp.sin(s[0])), s[1] * s[0]), (x, y)),
                              (0.5, real(N))),
    "no step": (fg.vmap(recurrence, (0, 1)), (real(N), real(0, N))),
}


def loops(f, args):
    return sum(step.kind == "loop" for step in executable(program(f, *args)[0]).schedule.steps)


@pytest.mark.parametrize("name", LANES)
def test_lanes_are_rows_of_one_kernel(name):
    f, args = LANES[name]
    assert not loops(f, args)
    compare(f, *args, ulp=64, scale=1)


@pytest.mark.parametrize("name", NOT)
def test_lanes_that_meet_go_step_by_step(name):
    f, args = NOT[name]
    assert loops(f, args)
    compare(f, *args, ulp=64, scale=1)


@pytest.mark.parametrize("name", [name for name in LANES if name != "dtypes"])  # halves are rounded at the end, not in each step
def test_each_lane_by_itself(name, monkeypatch):
    monkeypatch.setattr(lowering.Lowering, "vectors", False)
    f, args = LANES[name]
    assert not loops(f, args)
    compare(f, *args, ulp=64, scale=1)


@pytest.mark.parametrize("name", ["lanes in front", "a constant for each", "from the end", "three numbers, lanes last",
                                  "matrices for each", "lanes along two axes as one", "branches"])
def test_gradients(name):
    f, args = LANES[name]
    where = tuple(range(len(args)))
    compare(fg.grad(total(f), where), *args, ulp=256, scale=1)
    assert not loops(fg.grad(total(f), where), args)


def test_gradients_of_each_lane():
    f = fg.vmap(fg.grad(total(recurrence), (0, 1, 2)), (0, 1, 0))
    args = (*ROWS, real(N, seed=2))
    compare(f, *args, ulp=256, scale=1)
    compare(fg.vmap(fg.hessian(lambda c: total(recurrence)(c, real(T)))), real(N), ulp=256, scale=1)
    assert not loops(f, args)


def test_threads_do_not_change_results():
    f, args = LANES["many lanes"]
    threads = fg.num_threads()
    try:
        found = []
        for n in (1, 2):
            fg.set_num_threads(n)
            found.append(fg.jit(f)(*args))
    finally:
        fg.set_num_threads(threads)
    for x, y in zip(*found, strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_schedule_and_the_source():
    lowered = fg.jit(fg.vmap(lambda c, xs: lax.scan(lambda c, x: (0.5 * c + x, None), c, xs)[0], (0, 1))).lower(*ROWS)
    assert "kernel  scan    24 rows" in lowered.schedule()
    assert lowered.source("cpu").split("def ")[1] == """kernel(pointers, sizes, start, stop):
    p0 = pointer_f64(pointers, 0)
    p1 = pointer_f64(pointers, 1)
    p2 = pointer_f64(pointers, 2)
    s0 = word(sizes, 0)
    s1 = word(sizes, 1)
    c0 = local_f64(2048, 3)
    for first in range(start, stop, 2048):
        side = min(2048, stop - first)
        for l in range(side):
            lane = first + l
            v0 = p0[lane]
            c0[l] = v0
        for v1 in range(s1):
            for l in range(side):
                lane = first + l
                v2 = c0[l]
                v3 = f64(0.5) * v2
                v4 = v1 * s0 + lane
                v5 = p1[v4]
                v6 = v3 + v5
                c0[l] = v6
        for l in range(side):
            lane = first + l
            p2[lane] = c0[l]
"""
