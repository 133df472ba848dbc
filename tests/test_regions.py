"""Regions: kernels that do not need each other share the threads; results, memory and donation stay right."""
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import optim
from funcgrad.compiler.lifetimes import Lifetimes
from funcgrad.compiler.nodes import Step

SIZES = (70_000, 3, 9_000, 5, 30_000, 8_192)


def arrays(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [fnp.asarray(rng.normal(size=n).astype(dtype)) for n in SIZES]


def joined(function, *args):
    """For each kernel whether it runs along with the one before it."""
    steps = fg.jit(function).lower(*args)
    text = str(steps.schedule())
    return ["along with" in line for line in text.splitlines() if " kernel " in line]


@pytest.fixture
def threads():
    before = fg.num_threads()
    yield fg.set_num_threads
    fg.set_num_threads(before)


def adam_step(params, state, gradient):
    updates, state = optim.adam(0.1).update(gradient, state, params)
    return optim.apply_updates(params, updates), state


@pytest.mark.parametrize("donated", [(), (0, 1)])
def test_the_updates_of_all_parameters_are_one_region(threads, donated):
    params = arrays(np.float32) + arrays()
    state = optim.adam(0.1).init(params)
    expected = adam_step(params, state, params)
    lowered = fg.jit(adam_step, donate_argnums=donated).lower(params, state, params)
    different = 5 if donated else 3  # the count, and one for each dtype; in place too, for the large
    assert lowered.report()["different_kernels"] == different
    assert joined(adam_step, params, state, params) == [False, False] + [True] * (2 * len(SIZES) - 1)
    found = []
    for n in (1, 2, 3):
        threads(n)
        args = fg.tree.map(lambda x: x + 0, (params, state))
        found.append(fg.jit(adam_step, donate_argnums=donated)(*args, params))
        for a, b in zip(fg.tree.leaves(found[-1]), fg.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    for other in found[1:]:
        assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(fg.tree.leaves(found[0]), fg.tree.leaves(other)))


def test_what_is_needed_ends_a_region_and_little_work_makes_none():
    xs = arrays()
    assert joined(lambda xs: [fnp.sin(x) for x in xs], xs) == [False] + [True] * (len(xs) - 1)
    assert not any(joined(lambda xs: [fnp.sin(x[:100]) for x in xs], xs))
    assert joined(lambda x, y: (fnp.cumsum(fnp.sin(x)), fnp.sin(y)), xs[0], xs[2])[1] is False


def test_results_of_a_region_do_not_share_memory(threads):
    def programs(xs):
        middle = [fnp.cumsum(fnp.exp(fnp.sin(x))) for x in xs]  # temporaries in the arena
        return [fnp.flip(fnp.cumsum(fnp.flip(m))) / (1 + fnp.sum(m)) for m in middle]

    xs = arrays()
    expected = programs(xs)
    for n in (1, 3):
        threads(n)
        for _ in range(5):
            for found, right in zip(fg.jit(programs)(xs), expected):
                np.testing.assert_allclose(found, right, rtol=1e-11)


def test_steps_of_a_region_count_as_one_moment():
    steps = [Step("kernel", [], []), Step("kernel", [], [], joins=True), Step("kernel", [], [])]
    assert Lifetimes(steps).position == 2


def test_regions_inside_of_loops(threads):
    xs = arrays()

    def program(xs):
        return fg.lax.fori_loop(0, 5, lambda i, xs: [fnp.sin(x) + i for x in xs], xs)

    assert sum(joined(program, xs)) >= len(xs) - 1
    expected = xs
    for i in range(5):
        expected = [np.sin(x) + i for x in expected]
    for n in (1, 3):
        threads(n)
        for found, right in zip(fg.jit(program)(xs), expected):
            np.testing.assert_allclose(found, right, rtol=1e-13)


@pytest.mark.parametrize("optimizer, loops", [
    (optim.lamb(0.1, weight_decay=0.1), 2), (optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(0.1)), 2)], ids=["lamb", "clipped"])
def test_ends_of_sums_wait_until_a_region_is_full(threads, optimizer, loops):
    def step(params, state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return optim.apply_updates(params, updates), state

    params = [fnp.asarray(np.random.default_rng(i).normal(size=n)) for i, n in enumerate((50_000, 60_000, 40_000, 70_000))]
    state = optimizer.init(params)
    marks = joined(step, params, state, params)
    assert sum(marks) == loops * (len(params) - 1)
    expected = step(params, state, params)
    for n in (1, 3):
        threads(n)
        for a, b in zip(fg.tree.leaves(fg.jit(step)(params, state, params)), fg.tree.leaves(expected)):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)
