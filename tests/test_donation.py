"""Donated arguments: results take their memory where that changes no value, and only where nobody else has it."""
from __future__ import annotations

import gc
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import donation, memory
from funcgrad.errors import DonatedBufferError
from tests.test_random_programs import profile, programs

N = 128
"""Arrays of N x N float64 are larger than the least that is worth donating."""


def values(seed=0, shape=(N, N), dtype=np.float64):
    return np.random.default_rng(seed).uniform(0.1, 1.0, shape).astype(dtype)


def array(seed=0, shape=(N, N), dtype=np.float64):
    """An array that owns its memory."""
    return fnp.array(values(seed, shape, dtype))


def address(x):
    return x._data.__array_interface__["data"][0]


def taken(f, *args):
    """The numbers of the arguments whose memory results take."""
    return [i for i, _ in f.lower(*args).report()["donated"]]


def adam(params, m, v, grads):
    m = fg.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, grads)
    v = fg.tree.map(lambda a, g: 0.99 * a + 0.01 * g * g, v, grads)
    return fg.tree.map(lambda p, a, b: p - 0.1 * a / (fnp.sqrt(b) + 1e-8), params, m, v), m, v


def sgd(params, x, y):
    def loss(p):
        hidden = fnp.tanh(x @ p["w1"] + p["b1"])
        return fnp.mean((hidden @ p["w2"] - y) ** 2)

    return fg.tree.map(lambda p, g: p - 0.1 * g, params, fg.grad(loss)(params))


def weights(seed=0):
    return {"w1": array(seed), "b1": array(seed + 1, (N,)), "w2": array(seed + 2)}


def same(a, b):
    for x, y in zip(fg.tree.leaves(a), fg.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


# ---------------------------------------------------------------- what takes whose memory

ELSEWHERE = 0.5 * np.ones((N, N))
PROGRAMS = {
    "map": (lambda x: 2.0 * fnp.sin(x) + 1.0, True),
    "rows by a vector": (lambda x: x * ELSEWHERE[0] + x, True),
    "softmax": (lambda x: fnp.exp(x) / fnp.sum(fnp.exp(x), 1, keepdims=True), True),
    "mean of all": (lambda x: x - fnp.mean(x), True),
    "mean of rows": (lambda x: x - fnp.mean(x, 1, keepdims=True), True),
    "mean of columns": (lambda x: x - fnp.mean(x, 0), True),
    "another shape": (lambda x: fnp.sin(x).reshape(2, N // 2, N), True),
    "read before a product": (lambda x: (x + 1.0) @ ELSEWHERE, True),
    "scatter": (lambda x: x.at[3].set(2.0), True),
    "scatter and a sum": (lambda x: x.at[3].add(x[5, 5]) * fnp.sum(x), None),
    "matrix product": (lambda x: x @ x.T, False),
    "backwards": (lambda x: x[::-1] + x, False),
    "rows backwards": (lambda x: x[:, ::-1] * 2.0 + x, False),
    "transposed": (lambda x: x.T + x, None),
    "a row of itself": (lambda x: x * 2.0 + x[0], False),
    "its column": (lambda x: x * 2.0 + x[:, :1], False),
    "running sum": (lambda x: fnp.cumsum(x, 1), None),
    "sorted": (lambda x: fnp.sort(x, 1), None),
    "rolled": (lambda x: fnp.roll(x, 1, 0) + x, None),
    "concatenated": (lambda x: fnp.concatenate([x[1:], x[:1]]), None),
    "narrower": (lambda x: x.astype(np.float32), False),
    "fori_loop": (lambda x: lax.fori_loop(0, 5, lambda i, b: b.at[i].set(1.0 * i), x), None),
    "loop over x": (lambda x: lax.fori_loop(0, 3, lambda i, b: b @ x + x, x), None),
    "scan": (lambda x: lax.scan(lambda c, r: (c + r, c * r), x[0], x)[1], None),
    "scan backwards": (lambda x: lax.scan(lambda c, r: (c + r, c * r + x[0]), x[0], x, reverse=True)[1], None),
    "cond": (lambda x: lax.cond(x[0, 0] > 0, lambda y: y * 2.0 + y.T, lambda y: y, x), None),
    "while": (lambda x: lax.while_loop(lambda y: y[0, 0] < 5.0, lambda y: y * 2.0 + x, x), None),
    "two results": (lambda x: (x * 2.0, x * 3.0 + x.T), None),
    "returned too": (lambda x: (x, x * 2.0), False),
    "returned as a view": (lambda x: (x.reshape(-1), x * 2.0), False),
    "gradient": (lambda x: fg.grad(lambda v: fnp.sum(fnp.sin(v @ v)))(x), None),
    "vmap": (fg.vmap(lambda row: row * fnp.sum(row)), True),
    "float32": (lambda x: fnp.sum(x) + x, True),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_those_without_donation(name):
    f, takes = PROGRAMS[name]
    plain, donating = fg.jit(f), fg.jit(f, donate_argnums=0)
    for seed in range(2):
        x = array(seed, dtype=np.float32 if name == "float32" else np.float64)
        want, at = plain(x), address(x)
        got = donating(x)
        same(got, want)
        if takes is not None:
            assert any(address(y) == at for y in fg.tree.leaves(got)) == (takes or "returned" in name)
    if takes is not None:
        assert bool(taken(donating, array(dtype=values().dtype))) == takes


def test_updates_of_a_tree_stay_where_they_are_and_have_the_same_bits():
    params, x, y = weights(), array(7), array(8)
    state, plain_state = (params, weights(3), weights(6)), (weights(), weights(3), weights(6))
    plain, step = fg.jit(adam), fg.jit(adam, donate_argnums=(0, 1, 2))
    large = [address(v) for tree in state for k, v in sorted(tree.items()) if k != "b1"]
    for i in range(100):
        grads = {k: v * (i + 1) for k, v in weights(9).items()}
        state, plain_state = step(*state, grads), plain(*plain_state, grads)
    same(state, plain_state)
    assert [address(v) for tree in state for k, v in sorted(tree.items()) if k != "b1"] == large
    descend, plain_descend = fg.jit(sgd, donate_argnames="params"), fg.jit(sgd)
    params, other = weights(), weights()
    large = [address(params[k]) for k in ("w1", "w2")]
    for _ in range(100):
        params, other = descend(params=params, x=x, y=y), plain_descend(other, x, y)
    same(params, other)
    assert [address(params[k]) for k in ("w1", "w2")] == large


def test_several_arguments_get_as_many_results_as_there_can_be():
    f = fg.jit(lambda a, b, c: (b * 2.0, c + a[::-1], a + 1.0), donate_argnums=(0, 1, 2))
    a, b, c = array(0), array(1), array(2)
    assert sorted(taken(f, a, b, c)) == [0, 1, 2]
    g = fg.jit(lambda a, b: (a * 2.0, b + a), donate_argnums=(0, 1))  # b cannot have the first, so a must not have the second
    assert sorted(taken(g, a, b)) == [0, 1]
    want = [2.0 * values(1), values(2) + values(0)[::-1], values(0) + 1.0]
    for got, expected in zip(f(a, b, c), want, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_report_says_what_is_donated():
    lowered = fg.jit(lambda x, n: x * n, donate_argnums=0).lower(array(), 2.0)
    assert lowered.report()["donated"] == [(0, f"float64[{N},{N}]")] and lowered.report()["donated_bytes"] == 8 * N * N
    assert "input 0, float64[128,128]: a result takes its memory" in str(lowered.report())
    small = fg.jit(lambda x: x * 2.0, donate_argnums=0).lower(fnp.ones(3)).report()
    assert small["donated"] == [] and small["donated_bytes"] == 0
    x = array()
    np.testing.assert_array_equal(lowered.compile()(x, 2.0), 2.0 * values())
    np.testing.assert_array_equal(x, values())  # a compiled program for itself takes nothing


def test_static_and_named_arguments():
    def f(n, x, *, y):
        return x * n, y - 1.0

    g = fg.jit(f, static_argnums=0, donate_argnums=1, donate_argnames="y")
    x, y = array(0), array(1)
    at = address(x), address(y)
    out = g(3, x, y=y)
    same(out, (values(0) * 3, values(1) - 1.0))
    assert (address(out[0]), address(out[1])) == at
    with pytest.raises(DonatedBufferError):
        x + 1.0
    with pytest.raises(DonatedBufferError):
        g(3, array(), y=y)


def test_under_other_transformations_nothing_is_overwritten():
    def double(x):
        return fnp.sin(x) * 2.0

    f, plain = fg.jit(double, donate_argnums=0), fg.jit(double)
    x = array()
    kept = np.asarray(x)
    for transformed in (lambda g: fg.grad(lambda v: fnp.sum(g(v * 1.0))), fg.vmap, lambda g: fg.jit(lambda v: g(v) + v),
                        lambda g: lambda v: fg.jvp(g, (v,), (v,))[1]):
        same(transformed(f)(x * 1.0), transformed(plain)(x * 1.0))
    np.testing.assert_array_equal(kept, values())
    with fg.debug.nans():
        same(f(array()), plain(array()))
    _, back = fg.vjp(plain, x)
    want = back(x)
    f(x * 1.0)
    same(back(x * 1.0), want)


# ---------------------------------------------------------------- who else may have the memory

DOUBLE = fg.jit(lambda x: x * 2.0, donate_argnums=0)
HOLDERS = {
    "asarray": np.asarray, "array": lambda x: np.array(x, copy=False), "part": lambda x: np.asarray(x)[3:],
    "memoryview": lambda x: memoryview(np.asarray(x)), "interface": lambda x: x.__array_interface__["data"],
    "dlpack": lambda x: np.from_dlpack(x), "buffer": lambda x: x._data, "reshaped": lambda x: x.reshape(-1),
    "transposed": lambda x: x.T, "row": lambda x: x[0],
    "result": fg.jit(lambda v: (v.reshape(-1), v[0, 0]))}


@pytest.mark.parametrize("pooled", [False, True], ids=["own", "recycled"])
@pytest.mark.parametrize("name", HOLDERS)
def test_views_keep_their_values(name, pooled):
    x = fg.jit(lambda v: v + 0.0)(values()) if pooled else array()
    at = address(x)
    view = HOLDERS[name](x)
    before = [np.array(y) for y in fg.tree.leaves(view)]
    out = DOUBLE(x)
    np.testing.assert_array_equal(out, 2.0 * values())
    assert address(out) != at
    del x
    gc.collect()
    others = [fg.jit(lambda v: v + 1.0)(values()) for _ in range(3)]  # memory that was let go would be used by these
    for y, z in zip(fg.tree.leaves(view), before, strict=True):
        np.testing.assert_array_equal(y, z)
    del others, view, y
    at = address(out)
    assert address(DOUBLE(out)) == at


def test_arrays_of_the_user_are_never_overwritten():
    x = values()
    for y in (x, x[:, :], np.asfortranarray(x)):
        np.testing.assert_array_equal(DOUBLE(y), 2.0 * values())
        np.testing.assert_array_equal(x, values())
    x.flags.writeable = False
    y = fnp.asarray(x)
    np.testing.assert_array_equal(DOUBLE(y), 2.0 * values())
    np.testing.assert_array_equal(x, values())
    source = values()
    y = fnp.from_dlpack(source)
    np.testing.assert_array_equal(DOUBLE(y), 2.0 * values())
    np.testing.assert_array_equal(source, values())
    np.testing.assert_array_equal(DOUBLE(array().T), 2.0 * values().T)
    np.testing.assert_array_equal(DOUBLE(fnp.array(values(0, (N, 2 * N)))[:, N:]), 2.0 * values(0, (N, 2 * N))[:, N:])


def test_the_same_array_twice():
    f = fg.jit(lambda a, b: (a * 2.0, b + 1.0), donate_argnums=(0, 1))
    x = array()
    same(f(x, x), (2.0 * values(), values() + 1.0))
    g = fg.jit(lambda a, b: (a * 2.0, b + 1.0), donate_argnums=0)
    x = array()
    same(g(x, x), (2.0 * values(), values() + 1.0))
    h = fg.jit(lambda a, b: (a * 2.0, b), donate_argnums=0)
    x = array()
    doubled, again = h(x, x)
    np.testing.assert_array_equal(doubled, 2.0 * values())
    np.testing.assert_array_equal(again, values())
    np.testing.assert_array_equal(x, values())  # it is a result, so it stays


def test_a_constant_of_the_program_is_not_overwritten():
    x = array()
    f = fg.jit(lambda a: a * 2.0 + x, donate_argnums=0)
    at = address(x)
    f(array(1))
    out = f(x)
    np.testing.assert_array_equal(out, 2.0 * values() + values())
    assert address(out) != at
    np.testing.assert_array_equal(f(array(1)), 2.0 * values(1) + values())


def test_an_invalid_index_raises_the_same_error():
    def f(x, i):
        return x * 2.0 + x[i]

    x = array()
    donating = fg.jit(f, donate_argnums=0)
    np.testing.assert_array_equal(donating(x, 3), values() * 2.0 + values()[3])
    x = array()
    errors = []
    for g, y in ((donating, x), (fg.jit(f), array())):
        with pytest.raises(IndexError, match="1000") as found:
            g(y, 1000)
        errors.append(str(found.value))
    assert errors[0] == errors[1]
    np.testing.assert_array_equal(x, values())
    assert taken(donating, array(), 3) == []


def test_host_steps_have_their_arguments_as_they_were():
    seen = []

    def f(x):
        y = x * 2.0
        fg.debug.callback(lambda v: seen.append(np.array(v)), x)
        return y

    np.testing.assert_array_equal(fg.jit(f, donate_argnums=0)(array()), 2.0 * values())
    np.testing.assert_array_equal(seen[0], values())


def test_memory_is_alone_only_where_one_list_has_it():
    owner = np.zeros((4, 4))
    arrays = [owner]
    assert not memory.alone(arrays, 0)
    del owner
    assert memory.alone(arrays, 0)
    arrays.append(arrays[0][1:])
    assert not memory.alone(arrays, 0) and not memory.alone(arrays, 1)
    arrays.pop(0)
    assert memory.alone(arrays, 0)  # a part, whose owner is nobody else's
    arrays = [memory.empty((N, N), np.dtype(np.float64))]
    assert memory.alone(arrays, 0)
    arrays.append(arrays[0].reshape(-1))
    assert not memory.alone(arrays, 1)
    for other in (np.zeros((4, 4)).T[:2], np.frombuffer(bytearray(64)), np.float64(1.0), np.broadcast_to(np.zeros(3), (2, 3))):
        assert not memory.alone([other, None], 0)


def test_threads_donate_each_its_own():
    step, plain = fg.jit(lambda x, g: x * 0.5 + fnp.sin(g), donate_argnums=0), fg.jit(lambda x, g: x * 0.5 + fnp.sin(g))
    results = {}

    def work(seed):
        x, g = array(seed), array(seed + 10)
        for _ in range(50):
            x = step(x, g)
        results[seed] = x

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for seed in range(2):
        x = array(seed)
        for _ in range(50):
            x = plain(x, array(seed + 10))
        np.testing.assert_array_equal(results[seed], x)


def test_donation_needs_less_memory():
    def peak(f):
        x = array(0, (512, 512))
        x = f(f(x))  # compiled, and its memory of the size kept
        memory._blocks.clear()
        tracemalloc.start()
        try:
            for _ in range(3):
                x = f(x)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    size = 8 * 512 * 512
    assert peak(fg.jit(lambda x: x * 0.5 + 1.0, donate_argnums=0)) < size / 4
    assert peak(fg.jit(lambda x: x * 0.5 + 1.0)) > size


# ---------------------------------------------------------------- random programs


@profile(40)
@given(programs())
def test_random_programs_with_all_inputs_donated(program):
    before, donation.LEAST = donation.LEAST, 1
    try:
        numbers = tuple(range(len(program.inputs)))
        donating = fg.jit(lambda *args: program(*args), donate_argnums=numbers)
        want = fg.jit(lambda *args: program(*args))(*program.inputs)
        for _ in range(2):
            same(donating(*[fnp.array(x) for x in program.inputs]), want)
        shared = [fnp.array(x) for x in program.inputs]
        views = [np.asarray(x) for x in shared]
        same(donating(*shared), want)
        same(views, program.inputs)
    finally:
        donation.LEAST = before
