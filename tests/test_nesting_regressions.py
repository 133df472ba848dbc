"""Programs that once went wrong: transformations inside each other, and what stays in memory after them."""
import gc
import weakref

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp


@pytest.mark.parametrize("product", [lambda x, y: fnp.dot(x, y), lambda x, y: fnp.sum(x * y),
                                     lambda x, y: fg.lax.cond(True, fnp.dot, lambda a, b: fnp.sum(b), x, y)])
def test_a_transposition_inside_a_transposition(product):
    """The outer linear variable is a residual of the inner program, not one of its variables."""

    def f(x):
        return fg.linear_transpose(lambda y: product(x, y), fnp.ones(2))(1.0)[0]  # the identity

    np.testing.assert_allclose(f(fnp.array([5.0, 7.0])), [5.0, 7.0])
    np.testing.assert_allclose(fg.linear_transpose(f, fnp.ones(2))(fnp.array([1.0, 2.0]))[0], [1.0, 2.0])


class Marked(np.ndarray):
    """An array that can be watched."""


@pytest.mark.parametrize("operation", [
    lambda x, a: fnp.dot(x, a), lambda x, a: fnp.sum(fnp.convolve(x, a)),
    lambda x, a: fg.lax.cond(True, lambda v: fnp.dot(v, a), fnp.sum, x),
    lambda x, a: fg.lax.scan(lambda c, v: (c + v * a[0], None), 0.0, x)[0],
    lambda x, a: fg.checkpoint(fnp.dot)(x, a), lambda x, a: fg.jit(fnp.dot)(x, a)])
def test_residuals_of_linear_equations_are_freed_at_once(operation):
    """Not when the garbage collector comes by: a tape holds no reference to what holds the tape."""

    def run():
        a = np.ones(3).view(Marked)
        a.flags.writeable = False
        y, pullback = fg.vjp(lambda x: operation(x, fnp.sin(fg.lax.stop_gradient(x)) * 1.0) + fnp.dot(x, a), fnp.ones(3))
        pullback(1.0)
        return weakref.ref(a)

    run()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        refs = [run() for _ in range(50)]
        assert all(ref() is None for ref in refs)
        assert len(gc.get_objects()) - before < 500
    finally:
        gc.enable()


def test_a_custom_vjp_keeps_its_residuals_and_not_its_arguments():
    f = fg.custom_vjp(lambda x: fnp.sum(x))
    f.defvjp(lambda x: (fnp.sum(x), None), lambda _, ct: (ct * fnp.ones(3),))
    seen = []

    def g(x):
        y = x * 2.0
        seen.append(weakref.ref(y.primal))
        return f(y)

    gc.disable()
    try:
        _, pullback = fg.vjp(g, fnp.ones(3))
        assert seen[0]() is None
        np.testing.assert_allclose(pullback(1.0)[0], 2 * np.ones(3))
    finally:
        gc.enable()


def test_stop_gradient_copies_an_array_of_the_user_and_takes_numbers():
    a = np.arange(3.0)
    b = fg.lax.stop_gradient(a)
    a[:] = 7.0
    np.testing.assert_array_equal(b, [0.0, 1.0, 2.0])
    assert isinstance(fg.lax.stop_gradient(2.0), fg.Array)


def test_jit_does_not_hand_on_a_leaked_tracer():
    box = []
    fg.jit(lambda x: box.append(x) or x)(1.0)
    with pytest.raises(fg.errors.UnexpectedTracerError, match="jit"):
        fg.jit(lambda x: x)(box[0])


@pytest.mark.parametrize("transformation", [fg.vmap, fg.checkpoint])
def test_a_wrong_leaf_is_named_by_its_argument(transformation):
    f = transformation(lambda x, y, k=0: x)
    with pytest.raises(TypeError, match=r"y\['p'\] is 'a'"):
        f(fnp.ones(2), {"p": "a"})
    with pytest.raises(TypeError, match=r"k\[0\] is 'a'"):
        f(fnp.ones(2), fnp.ones(2), k=["a"])


def test_an_integer_has_no_tangent_but_float0():
    """A tangent that would be dropped is a mistake, most often 3 written for 3.0."""
    with pytest.raises(TypeError, match="float0"):
        fg.jvp(lambda x: x * 2, (3,), (1,))
