"""What checkpoints keep: policies, named values, memory that grows with the square root of the depth."""
from __future__ import annotations

import tracemalloc
from collections import Counter

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.ad_checkpoint import checkpoint_name as same_name
from funcgrad.core.jaxpr import subjaxprs

W = np.random.default_rng(0).normal(size=(5, 5))
X = np.linspace(-1, 1, 5)
P = fg.checkpoint_policies


def layer(x):
    hidden = fg.checkpoint_name(fnp.sin(x @ W), "hidden")
    inner = fg.jit(lambda h: fg.checkpoint_name(fnp.exp(-h), "inner"))(hidden)
    return fnp.sum(fnp.tanh(hidden @ W) * inner)


def plain(x):
    hidden = fnp.sin(x @ W)
    return fnp.sum(fnp.tanh(hidden @ W) * fnp.exp(-hidden))


def count(jaxpr, found=None):
    found = Counter() if found is None else found
    for equation in jaxpr.equations:
        found[equation.primitive.name] += 1
        for inner in subjaxprs(equation.params):
            count(inner, found)
    return found


POLICIES = {  # how often sin, tanh, exp and dot_general are computed in a gradient
    "none": (None, (2, 2, 2, 6)), "nothing": (P.nothing_saveable, (2, 2, 2, 6)), "everything": (P.everything_saveable, (1, 1, 1, 4)),
    "dots": (P.dots_saveable, (2, 2, 2, 4)), "dots without batch": (P.dots_with_no_batch_dims_saveable, (2, 2, 2, 4)),
    "hidden": (P.save_only_these_names("hidden"), (1, 2, 2, 6)), "both names": (P.save_only_these_names("hidden", "inner"), (1, 2, 1, 6)),
    "all names but inner": (P.save_any_names_but_these("inner"), (1, 2, 2, 6)),
    "all but hidden": (P.save_anything_except_these_names("hidden"), (1, 1, 1, 4)),
    "names and dots": (P.save_from_both_policies(P.dots_saveable, P.save_only_these_names("inner")), (1, 2, 1, 4)),
    "one's own": (lambda primitive, *avals, **params: primitive.name == "tanh", (2, 1, 2, 5))}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_kept_is_not_computed_again(name):
    policy, expected = POLICIES[name]
    f = fg.checkpoint(layer, policy=policy)
    found = count(fg.make_jaxpr(fg.grad(f))(X))
    assert tuple(found[n] for n in ("sin", "tanh", "exp", "dot_general")) == expected


@pytest.mark.parametrize("name", POLICIES)
def test_derivatives_do_not_depend_on_the_policy(name):
    f = fg.checkpoint(layer, policy=POLICIES[name][0])
    first, second = fg.grad(plain)(X), fg.hessian(plain)(X)
    for run in (fg.grad(f), fg.jit(fg.grad(f)), fg.grad(fg.jit(f)), fg.jacfwd(f)):
        np.testing.assert_allclose(run(X), first, rtol=1e-12, atol=1e-12)
    for run in (fg.hessian(f), fg.jacfwd(fg.jacrev(f)), fg.jacrev(fg.jacrev(f)), fg.jit(fg.jacrev(fg.jacfwd(f)))):
        np.testing.assert_allclose(run(X), second, rtol=1e-12, atol=1e-12)
    batch = np.stack([X, 2 * X])
    np.testing.assert_allclose(fg.vmap(fg.grad(f))(batch), [fg.grad(plain)(x) for x in batch], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(fg.grad(lambda b: fnp.sum(fg.vmap(f)(b)))(batch), [fg.grad(plain)(x) for x in batch], rtol=1e-12, atol=1e-12)


def test_in_a_scan():
    step = fg.checkpoint(lambda c, x: (fg.checkpoint_name(fnp.tanh(c @ W), "c") + x, None), policy=P.save_only_these_names("c"))
    f = lambda x: fnp.sum(lax.scan(step, x, fnp.ones((4, 5)))[0])  # noqa: E731
    g = lambda x: fnp.sum(lax.scan(lambda c, x: (fnp.tanh(c @ W) + x, None), x, fnp.ones((4, 5)))[0])  # noqa: E731
    np.testing.assert_allclose(fg.jit(fg.grad(f))(X), fg.grad(g)(X), rtol=1e-12)


def test_static_arguments():
    f = fg.checkpoint(lambda x, name, power: getattr(fnp, name)(x) ** power, static_argnums=(1, -1))
    assert float(fg.grad(f)(0.5, "sin", 2)) == pytest.approx(2 * np.sin(0.5) * np.cos(0.5))


@pytest.mark.parametrize("call", [lambda f: f(0.5, "sin", power=2), lambda f: f(0.5, name="sin", power=2),
                                  lambda f: f(0.5, "sin", 2), lambda f: f(power=2, x=0.5, name="sin")])
def test_static_arguments_by_name(call):
    def function(x, name, power):
        assert isinstance(power, int)
        return getattr(fnp, name)(x) ** power

    f = fg.checkpoint(function, static_argnames=("name", "power"))
    assert float(call(f)) == pytest.approx(np.sin(0.5) ** 2)
    slope = fg.grad(lambda x: call(lambda *args, **named: f(*[x if a == 0.5 else a for a in args],
                                                            **{n: x if n == "x" else a for n, a in named.items()})))(0.5)
    assert float(slope) == pytest.approx(2 * np.sin(0.5) * np.cos(0.5))


def test_names():
    assert same_name is fg.checkpoint_name
    tree = fg.checkpoint_name({"a": np.ones(2), "b": 2.0}, "t")
    assert tree["a"].tolist() == [1, 1] and float(tree["b"]) == 2
    with pytest.raises(TypeError, match="the name is no text.*\n.*3"):
        fg.checkpoint_name(1.0, 3)


def peak(f, x):
    tracemalloc.start()
    try:
        f(x)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        f(x)
        return (tracemalloc.get_traced_memory()[1] - before) / x.nbytes
    finally:
        tracemalloc.stop()


def chain(n, segments):
    def layers(x, count):
        for _ in range(count):
            x = fnp.sin(x) * 1.01
        return x

    def f(x):
        for _ in range(segments):
            x = fg.checkpoint(lambda v: layers(v, n // segments))(x)
        return fnp.sum(x)

    return fg.grad(f if segments else lambda x: fnp.sum(layers(x, n)))


def test_memory_of_a_chain_grows_with_the_square_root_of_its_length():
    """Four times as many layers: four times as much without checkpoints, twice as much with a checkpoint a segment."""
    x = np.linspace(0, 1, 20_000)
    assert 3.5 < peak(chain(256, 0), x) / peak(chain(64, 0), x) < 4.5
    assert 1.6 < peak(chain(256, 16), x) / peak(chain(64, 8), x) < 2.4
    assert peak(chain(256, 16), x) < peak(chain(256, 0), x) / 5
