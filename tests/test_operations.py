"""Every row of the table of operations, under every transformation."""
from __future__ import annotations

import numpy as np
import pytest
from comparing import without_kernels
from operations import OPERATIONS, Operation

import funcgrad as fg
from funcgrad.core.check import check_jaxpr
from funcgrad.test_util import check_grads

ROWS = pytest.mark.parametrize("operation", OPERATIONS, ids=str)
DIFFERENTIABLE = pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.order], ids=str)


def leaves(tree):
    return [np.asarray(x) for x in fg.tree.leaves(tree)]


def assert_equal(found, expected, tolerance=1e-12):
    for x, y in zip(leaves(found), leaves(expected), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def inexact_positions(operation: Operation) -> list[int]:
    return [i for i, x in enumerate(operation.args) if np.asarray(x).dtype.kind in "fc"]


@ROWS
def test_staged_equals_eager_and_types_are_as_promised(operation):
    eager = operation.function(*operation.args)
    jaxpr, shapes = fg.make_jaxpr(operation.function, return_shape=True)(*operation.args)
    check_jaxpr(jaxpr)
    for x, shape in zip(fg.tree.leaves(eager), fg.tree.leaves(shapes), strict=True):
        assert (x.shape, x.dtype) == (shape.shape, shape.dtype)
    with without_kernels():
        assert_equal(fg.jit(operation.function)(*operation.args), eager)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.float32], ids=str)
def test_float32_stays_float32(operation):
    args = [np.asarray(x).astype(np.float32) if np.asarray(x).dtype == np.float64 and not isinstance(x, float) else x
            for x in operation.args]
    narrow, wide = operation.function(*args), operation.function(*operation.args)
    for x, y in zip(leaves(narrow), leaves(wide), strict=True):
        if y.dtype == np.float64:
            assert x.dtype == np.float32
            np.testing.assert_allclose(x, y, rtol=2e-4, atol=2e-4)


@DIFFERENTIABLE
def test_derivatives_equal_finite_differences(operation):
    where = inexact_positions(operation)

    def f(*xs):
        args = list(operation.args)
        for i, x in zip(where, xs, strict=True):
            args[i] = x
        return operation.function(*args)

    args = tuple(np.asarray(operation.args[i]) for i in where)
    check_grads(f, args, operation.order, operation.modes, operation.tolerance, operation.tolerance)


def batch(x, axis):
    x = np.asarray(x)
    if x.dtype.kind in "fc":
        return np.stack([x, x * 0.9, x * 0.8 + 0.01], axis)
    return np.stack([x, x[..., ::-1] if x.ndim else x, x], axis)


def looped(f, args, axes):
    rows = [f(*[x if d is None else np.take(x, i, d) for x, d in zip(args, axes, strict=True)]) for i in range(3)]
    return fg.tree.map(lambda *xs: np.stack([np.asarray(x) for x in xs]), *rows)


@ROWS
def test_vmap_equals_a_loop(operation):
    positions = operation.batched if operation.batched is not None else tuple(range(len(operation.args)))
    choices = [{i: 0} for i in positions]
    if len(positions) > 1:
        choices += [{i: 0 for i in positions}, {i: 0 if n % 2 else -1 for n, i in enumerate(positions)}]
    choices += [{i: -1} for i in positions]
    for chosen in choices:
        args = [batch(x, chosen[i]) if i in chosen else x for i, x in enumerate(operation.args)]
        axes = tuple(chosen.get(i) for i in range(len(args)))
        expected = looped(lambda *xs: operation.function(*[np.asarray(x) for x in xs]), args, axes)
        assert_equal(fg.vmap(operation.function, axes)(*args), expected)
        with without_kernels():
            assert_equal(fg.jit(fg.vmap(operation.function, axes))(*args), expected)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.order and np.asarray(o.args[inexact_positions(o)[0]]).dtype.kind == "f"], ids=str)  # the complex ones: test_complex.py
def test_gradient_under_vmap_and_jit_equals_the_gradient(operation):
    where = inexact_positions(operation)
    at = where[0]

    def loss(x):
        args = list(operation.args)
        args[at] = x
        return sum(fg.numpy.sum(fg.numpy.sin(fg.numpy.abs(y))) for y in fg.tree.leaves(operation.function(*args))
                   if y.dtype.kind in "fc")

    x = np.asarray(operation.args[at])
    plain = fg.grad(loss)(x)
    narrow = any(y.dtype == np.float32 for y in leaves(operation.function(*operation.args)))
    tolerance = 1e-6 if narrow else 1e-10  # compiled, a number of float32 may be rounded otherwise
    assert_equal(fg.grad(fg.checkpoint(loss))(x), plain, tolerance)
    xs = batch(x, 0)
    each = np.stack([np.asarray(fg.grad(loss)(row)) for row in xs])
    assert_equal(fg.vmap(fg.grad(loss))(xs), each, tolerance)
    assert_equal(fg.jit(fg.vmap(fg.grad(fg.jit(loss))))(xs), each, tolerance)
    with without_kernels():
        assert_equal(fg.jit(fg.grad(loss))(x), plain, tolerance)
        assert_equal(fg.grad(fg.jit(loss))(x), plain, tolerance)
    np.testing.assert_allclose(fg.grad(lambda v: fg.numpy.sum(fg.vmap(loss)(v)))(xs), each, rtol=tolerance, atol=tolerance)
