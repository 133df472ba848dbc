"""Collective operations under vmap, against the plain array formulas they stand for."""
from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest

from funcgrad.core.array import aval_of
from funcgrad.core.stage import as_value, eval_jaxpr, stage
from funcgrad.ops import collective as lax
from funcgrad.ops import elementwise as e
from funcgrad.ops.structural import reshape, sum_over
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import grad, jacfwd, jacrev, jvp, vjp

RNG = np.random.default_rng(11)


def sample(*shape):
    return RNG.normal(size=shape)


def close(actual, expected, tolerance=1e-12):
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype, (actual.dtype, actual.shape, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def staged(function, *args):
    jaxpr, captured = stage(lambda *xs: [function(*xs)], [aval_of(as_value(x)) for x in args])
    assert not captured
    return eval_jaxpr(jaxpr, args)[0]


def total(x):
    return sum_over(x, range(x.ndim))


N = 4
PERM = [(0, 2), (2, 3), (3, 0)]


def permuted(x, perm=PERM):
    out = np.zeros_like(x)
    for i, j in perm:
        out[j] = x[i]
    return out


# name: (collective of one example, formula for the whole batch with the examples in front, shape of an example)
CASES = {
    "psum": (lambda x: lax.psum(x, "i"), lambda x: np.broadcast_to(x.sum(0), x.shape), (3, 2)),
    "pmean": (lambda x: lax.pmean(x, "i"), lambda x: np.broadcast_to(x.mean(0), x.shape), (3, 2)),
    "all_gather": (lambda x: lax.all_gather(x, "i"), lambda x: np.broadcast_to(x, (N, *x.shape)), (3, 2)),
    "all_gather axis": (lambda x: lax.all_gather(x, "i", axis=-1),
                        lambda x: np.broadcast_to(np.moveaxis(x, 0, -1), (N, 3, 2, N)), (3, 2)),
    "all_gather tiled": (lambda x: lax.all_gather(x, "i", axis=1, tiled=True),
                         lambda x: np.broadcast_to(np.concatenate(list(x), 1), (N, 3, 2 * N)), (3, 2)),
    "psum_scatter": (lambda x: lax.psum_scatter(x, "i"), lambda x: x.sum(0), (N, 2)),
    "psum_scatter axis": (lambda x: lax.psum_scatter(x, "i", scatter_dimension=1), lambda x: x.sum(0).T, (2, N)),
    "psum_scatter tiled": (lambda x: lax.psum_scatter(x, "i", scatter_dimension=-1, tiled=True),
                           lambda x: np.stack(np.split(x.sum(0), N, -1)), (3, 2 * N)),
    "ppermute": (lambda x: lax.ppermute(x, "i", PERM), permuted, (3, 2)),
    "ppermute cycle": (lambda x: lax.ppermute(x, "i", [(i, (i + 1) % N) for i in range(N)]),
                       lambda x: np.roll(x, 1, 0), (3,)),
    "ppermute none": (lambda x: lax.ppermute(x, "i", []), np.zeros_like, (3,)),
    "pshuffle": (lambda x: lax.pshuffle(x, "i", [2, 0, 3, 1]), lambda x: x[[2, 0, 3, 1]], (3, 2)),
    "pswapaxes": (lambda x: lax.pswapaxes(x, "i", 1), lambda x: x.transpose(2, 1, 0), (3, N)),
    "all_to_all": (lambda x: lax.all_to_all(x, "i", 0, 1), lambda x: x.transpose(1, 2, 0), (N, 3)),
    "all_to_all back": (lambda x: lax.all_to_all(x, "i", 1, 0), lambda x: x.transpose(2, 0, 1), (3, N)),
    "all_to_all tiled": (lambda x: lax.all_to_all(x, "i", 0, 1, tiled=True), lambda x: np.stack(
        [np.concatenate([v[2 * k:2 * k + 2] for v in x], 1) for k in range(N)]), (2 * N, 3)),
    "all_to_all tiled in place": (lambda x: lax.all_to_all(x, "i", 0, 0, tiled=True), lambda x: np.stack(
        [np.concatenate([v[2 * k:2 * k + 2] for v in x], 0) for k in range(N)]), (2 * N, 3)),
}
EXTREMES = {"pmax": (lambda x: lax.pmax(x, "i"), lambda x: np.broadcast_to(x.max(0), x.shape), (3, 2)),
            "pmin": (lambda x: lax.pmin(x, "i"), lambda x: np.broadcast_to(x.min(0), x.shape), (3, 2))}
ALL = {**CASES, **EXTREMES}


@pytest.mark.parametrize("name", ALL)
def test_the_formula(name):
    function, formula, shape = ALL[name]
    x = sample(N, *shape)
    close(vmap(function, axis_name="i")(x), formula(x))
    for d in range(len(shape) + 1):
        close(vmap(function, d, axis_name="i")(np.moveaxis(x, 0, d)), formula(x))
    close(staged(vmap(function, axis_name="i"), x), formula(x))
    close(vmap(function, axis_name="i")(x.astype("float32")), formula(x.astype("float32")), 1e-5)


@pytest.mark.parametrize("name", ALL)
def test_a_value_that_all_examples_share(name):
    function, formula, shape = ALL[name]
    x = sample(*shape)
    expected = formula(np.broadcast_to(x, (N, *shape)).copy())
    close(vmap(lambda _: function(x), axis_name="i")(np.zeros(N)), expected)


@pytest.mark.parametrize("name", ALL)
def test_another_vmap_inside_and_outside(name):
    function, formula, shape = ALL[name]
    x = sample(5, N, *shape)
    expected = np.stack([formula(v) for v in x])
    close(vmap(vmap(function, axis_name="i"))(x), expected)
    close(vmap(vmap(function, axis_name="i"), axis_name="j")(x), expected)
    for d in range(len(shape) + 1):
        inside = vmap(vmap(function, in_axes=d), axis_name="i")
        close(inside(np.moveaxis(x.swapaxes(0, 1), 1, d + 1)), expected.swapaxes(0, 1))


@pytest.mark.parametrize("name", ALL)
def test_staged_inside(name):
    """A program recorded under vmap, with the collective in it, as jit records it."""
    function, formula, shape = ALL[name]
    x = sample(N, *shape)

    def through_a_program(v):
        jaxpr, captured = stage(lambda u: [e.mul(function(u), 2.0)], [v.aval])
        assert not captured and any(eqn.primitive.collective for eqn in jaxpr.equations)
        return eval_jaxpr(jaxpr, [v])[0]

    close(vmap(through_a_program, axis_name="i")(x), 2 * formula(x))


def test_a_program_with_a_name_needs_its_vmap():
    kept = []

    def record(v):
        kept.append(stage(lambda u: [lax.psum(u, "i")], [v.aval])[0])
        return v

    vmap(record, axis_name="i")(np.ones(3))
    with pytest.raises(NameError, match="unbound axis name 'i'"):
        eval_jaxpr(kept[0], [np.ones(())])
    close(vmap(lambda v: eval_jaxpr(kept[0], [v])[0], axis_name="i")(np.ones(3)), np.full(3, 3.0))


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", ALL)
def test_vmap_inside_grad_is_the_gradient_of_the_array_program(name):
    function, formula, shape = ALL[name]
    x, t = sample(N, *shape), sample(N, *shape)
    f = vmap(function, axis_name="i")
    y, y_dot = jvp(f, (x,), (t,))
    h = 1e-6
    close(y_dot, (formula(x + h * t) - formula(x - h * t)) / (2 * h), 1e-7)
    y, pullback = vjp(f, x)
    ct = sample(*y.shape)
    np.testing.assert_allclose(np.sum(np.asarray(pullback(as_value(ct))[0]) * t), np.sum(ct * np.asarray(y_dot)), rtol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_grad_inside_vmap_is_the_gradient_of_the_sum_over_examples(name):
    """Each example's cotangent goes back to the examples its value came from: the transposed array program."""
    function, formula, shape = ALL[name]
    x = sample(N, *shape)

    def loss(v):
        return total(e.sin(function(v)))

    inside = vmap(grad(loss), axis_name="i")(x)
    outside = grad(lambda xs: total(vmap(loss, axis_name="i")(xs)))(x)
    close(inside, outside, 1e-10)
    close(inside, grad(lambda xs: total(e.sin(vmap(function, axis_name="i")(xs))))(x), 1e-10)


@pytest.mark.parametrize("name", CASES)
def test_second_order_inside_vmap(name):
    function, formula, shape = CASES[name]
    x, t = sample(N, *shape), sample(N, *shape)

    def second(v, w):
        return jvp(grad(lambda u: total(e.sin(function(u)))), (v,), (w,))[1]

    def first(xs):
        return grad(lambda u: total(e.sin(vmap(function, axis_name="i")(u))))(xs)

    close(vmap(second, axis_name="i")(x, t), jvp(first, (x,), (t,))[1], 1e-9)


@pytest.mark.parametrize("name", ["psum", "all_gather", "ppermute", "psum_scatter", "all_to_all", "pmax"])
def test_jacobians_and_staging_inside_vmap(name):
    function, formula, shape = ALL[name]
    x = sample(N, *shape)
    forward = vmap(jacfwd(lambda v: e.sin(function(e.mul(v, v)))), axis_name="i")(x)
    assert forward.shape[0] == N
    close(staged(vmap(jacfwd(lambda v: e.sin(function(e.mul(v, v)))), axis_name="i"), x), forward)
    reverse = vmap(jacrev(lambda v: e.sin(function(e.mul(v, v)))), axis_name="i")(x)
    close(staged(vmap(jacrev(lambda v: e.sin(function(e.mul(v, v)))), axis_name="i"), x), reverse)


def test_known_gradients():
    x = sample(N)
    close(vmap(grad(lambda v: lax.psum(e.mul(v, v), "i")), axis_name="i")(x), 2 * N * x)
    close(vmap(grad(lambda v: e.mul(v, lax.psum(v, "i"))), axis_name="i")(x), x.sum() + np.full(N, x.sum()))
    close(grad(lambda xs: total(vmap(lambda v: lax.pmax(v, "i"), axis_name="i")(xs)))(np.array([1.0, 3.0, 3.0])),
          np.array([0.0, 1.5, 1.5]))


def test_softmax_over_examples():
    x = sample(N)

    def softmax(v):
        z = e.exp(e.sub(v, lax.pmax(v, "i")))
        return e.div(z, lax.psum(z, "i"))

    y = np.exp(x) / np.exp(x).sum()
    close(vmap(softmax, axis_name="i")(x), y)
    close(jacrev(vmap(softmax, axis_name="i"))(x), np.diag(y) - np.outer(y, y), 1e-10)
    close(jacfwd(vmap(softmax, axis_name="i"))(x), np.diag(y) - np.outer(y, y), 1e-10)


# ---------------------------------------------------------------- several names, trees, constants


def nested(function, *args):
    return vmap(vmap(function, axis_name="j"), axis_name="i")(*args)


def test_two_names():
    x = sample(2, 3, 6)
    names = ("i", "j")
    for order in (names, names[::-1], list(names)):
        close(nested(lambda v, order=order: lax.psum(v, order), x), np.broadcast_to(x.sum((0, 1)), x.shape))
    close(nested(lambda v: lax.psum(v, "i"), x), np.broadcast_to(x.sum(0), x.shape))
    close(nested(lambda v: lax.psum(v, "j"), x), np.broadcast_to(x.sum(1, keepdims=True), x.shape))
    close(nested(lambda v: lax.pmean(v, names), x), np.broadcast_to(x.mean((0, 1)), x.shape))
    close(nested(lambda v: lax.pmax(v, names), x), np.broadcast_to(x.max((0, 1)), x.shape))
    close(nested(lambda v: lax.axis_index(names), x), np.arange(6, dtype="int32").reshape(2, 3))
    close(nested(lambda v: lax.axis_index(names[::-1]), x), np.arange(6, dtype="int32").reshape(3, 2).T)
    close(nested(lambda v: lax.all_gather(v, names), x), np.broadcast_to(x.reshape(6, 6), (2, 3, 6, 6)))
    close(nested(lambda v: lax.all_gather(v, names, axis=1), x), np.broadcast_to(x.reshape(6, 6).T, (2, 3, 6, 6)))
    close(nested(lambda v: lax.all_gather(v, names, tiled=True), x), np.broadcast_to(x.reshape(36), (2, 3, 36)))
    close(nested(lambda v: lax.psum_scatter(v, names), x), x.sum((0, 1)).reshape(2, 3))
    close(nested(lambda v: lax.psum_scatter(v, names, tiled=True), x), x.sum((0, 1)).reshape(2, 3, 1))


def test_gradients_over_two_names():
    x = sample(2, 3)

    def loss(v):
        return e.mul(e.sin(lax.psum(v, ("i", "j"))), lax.psum(e.mul(v, v), "j"))

    inside = nested(grad(loss), x)
    outside = grad(lambda xs: total(nested(loss, xs)))(x)
    close(inside, outside, 1e-10)
    middle = vmap(grad(lambda row: total(vmap(loss, axis_name="j")(row))), axis_name="i")(x)
    close(middle, outside, 1e-10)


def test_an_inner_axis_hides_an_outer_one_of_the_same_name():
    x = sample(2, 3)
    close(vmap(vmap(lambda v: lax.psum(v, "i"), axis_name="i"), axis_name="i")(x), np.broadcast_to(x.sum(1, keepdims=True), x.shape))


def test_trees_and_constants():
    x, b = sample(N, 3), RNG.random((N, 2)) < 0.5
    out = vmap(lambda v, m: lax.psum({"x": v, "both": (m, 3.0, 2)}, "i"), axis_name="i")(x, b)
    close(out["x"], np.broadcast_to(x.sum(0), x.shape))
    close(out["both"][0], np.broadcast_to(b.sum(0, dtype="int32"), b.shape))
    close(out["both"][1], np.full(N, 12.0))
    assert np.asarray(out["both"][2]).tolist() == [8] * N
    sizes = []
    vmap(lambda v: sizes.append((lax.psum(1, "i"), lax.axis_size("i"), lax.psum(True, "i"))) or v, axis_name="i")(x)
    assert sizes == [(N, N, N)] and type(sizes[0][0]) is int
    mean = vmap(lambda v: lax.pmean({"a": v, "b": 2}, "i"), axis_name="i")(np.arange(N))
    close(mean["a"], np.full(N, 1.5))
    close(mean["b"], np.full(N, 2.0))
    close(vmap(lambda v: lax.psum(v, "i"), axis_name="i", out_axes=None)(x), x.sum(0))
    close(vmap(lambda v: lax.psum(v, ()), axis_name="i")(x), x)


def test_axis_index():
    close(vmap(lambda v: lax.axis_index("i"), axis_name="i")(np.zeros(5)), np.arange(5, dtype="int32"))
    close(vmap(lambda v: e.mul(lax.axis_index("i"), v), axis_name="i")(np.ones(3)), np.arange(3.0))
    close(vmap(lambda v: lax.axis_index("i"), in_axes=None, axis_size=3, axis_name="i")(0.0), np.arange(3, dtype="int32"))
    gradient = vmap(grad(lambda v: e.mul(v, lax.axis_index("i"))), axis_name="i")(np.ones(3))
    close(gradient, np.arange(3.0))
    assert not vmap(lambda v: lax.axis_index("i"), axis_name="i")(np.zeros(5)).weak_type


@pytest.mark.parametrize("perm", list(itertools.permutations(range(3))))
def test_every_permutation(perm):
    x = sample(3, 2)
    pairs = list(zip(perm, range(3), strict=True))
    close(vmap(lambda v: lax.ppermute(v, "i", pairs), axis_name="i")(x), x[list(perm)])
    for count in range(3):
        close(vmap(lambda v, n=count: lax.ppermute(v, "i", pairs[:n]), axis_name="i")(x), permuted(x, pairs[:count]))


def test_a_matrix_product_over_a_named_axis():
    """Rows of a and columns of b live with the examples: a @ b by gathering."""
    a, b = sample(N, 3), sample(N, 3)

    def row(u, v):
        columns = lax.all_gather(v, "i")
        return sum_over(e.mul(reshape(u, (1, 3)), columns), (1,))

    close(vmap(row, axis_name="i")(a, b), a @ b.T, 1e-10)


# ---------------------------------------------------------------- messages


def under(function, shape=(N, 3)):
    return lambda: vmap(function, axis_name="i")(np.ones(shape))


MESSAGES = [
    (lambda: lax.psum(np.ones(3), "i"), NameError, r"unbound axis name 'i': .*(.|\n)*axis_name='i'"),
    (lambda: lax.psum(1, "i"), NameError, "unbound axis name 'i'"),
    (lambda: lax.axis_index("i"), NameError, "unbound axis name 'i'"),
    (lambda: lax.axis_size("rows"), NameError, "unbound axis name 'rows'"),
    (under(lambda v: lax.psum(v, "j")), NameError, "unbound axis name 'j'"),
    (under(lambda v: lax.psum(v, ("i", "j"))), NameError, "unbound axis name 'j'"),
    (under(lambda v: lax.all_gather(v, "j")), NameError, "unbound axis name 'j'"),
    (under(lambda v: lax.ppermute(v, "j", [])), NameError, "unbound axis name 'j'"),
    (under(lambda v: lax.ppermute(v, "i", [(0, 5)])), ValueError, "ppermute: perm does not fit"),
    (under(lambda v: lax.ppermute(v, "i", [(0, 1), (2, 1)])), ValueError, "at most once"),
    (under(lambda v: lax.ppermute(v, ("i", "i"), [])), ValueError, "one axis name"),
    (under(lambda v: lax.pshuffle(v, "i", [1, 1])), ValueError, "not a permutation"),
    (under(lambda v: lax.psum_scatter(v, "i")), ValueError, r"psum_scatter: (.|\n)*float64\[3\] for 4 examples"),
    (under(lambda v: lax.psum_scatter(v, "i", tiled=True)), ValueError, "a multiple of 4"),
    (under(lambda v: lax.all_to_all(v, "i", 0, 0)), ValueError, "all_to_all: the size of the axis"),
    (under(lambda v: lax.all_gather(v, "i", axis=3)), ValueError, "axis 3 is out of bounds"),
    (under(lambda v: lax.psum(v, "i", axis_index_groups=[[0, 1], [2, 3]])), NotImplementedError, "axis_index_groups"),
    (under(lambda v: lax.psum("text", "i")), TypeError, "psum: argument 0"),
]


@pytest.mark.parametrize("call, error, pattern", MESSAGES)
def test_messages(call, error, pattern):
    with pytest.raises(error, match=pattern):
        call()


def test_the_vmap_is_gone_after_an_error():
    with pytest.raises(ValueError):
        under(lambda v: lax.all_to_all(v, "i", 0, 0))()
    with pytest.raises(NameError):
        lax.axis_size("i")


def test_partial_application_of_names():
    mean = functools.partial(lax.pmean, axis_name="batch")
    close(vmap(mean, axis_name="batch")(np.arange(4.0)), np.full(4, 1.5))
