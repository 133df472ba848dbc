"""Shapes, joining, repeating, borders, differences, functions of functions: as NumPy, differentiated, under vmap and jit."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

M = np.random.default_rng(1).normal(size=(3, 4))
V = np.array([0.7, -1.9, 2.3, 0.4])
T = np.random.default_rng(2).normal(size=(2, 3, 4))

# Each is a function of one traced array; "n" is numpy or funcgrad.numpy.
CALLS = """
n.reshape(M, (4, 3))
n.reshape(M, (2, -1))
n.reshape(M, -1)
n.reshape(M, (2, -1), order='F')
n.ravel(M, 'F')
n.transpose(T, (1, 0, 2))
n.transpose(T)
n.permute_dims(T, (2, 0, 1))
n.matrix_transpose(T)
n.swapaxes(T, 0, -1)
n.moveaxis(T, (0, 1), (-1, 0))
n.moveaxis(T, 0, 1)
n.rollaxis(T, 2)
n.rollaxis(T, 0, 3)
n.expand_dims(M, (0, -1))
n.squeeze(M[None, :, None])
n.squeeze(M[None, :, None], 2)
n.atleast_1d(M)
n.atleast_2d(V)
n.atleast_3d(V)
n.atleast_3d(M)
n.broadcast_to(V, (2, 3, 4))
n.broadcast_arrays(V, np.ones((3, 1)))[0]
n.concatenate([M, 2 * M], axis=-1)
n.concatenate([M, M * M], axis=None)
n.concatenate(T)
n.concat([M, M])
n.stack([V, V * V], axis=-1)
n.stack(T, axis=1)
n.vstack([V, V * V])
n.hstack([M, M])
n.hstack([V, V])
n.dstack([M, M * M])
n.dstack([V, V])
n.column_stack([V, V * V])
n.unstack(T, axis=1)[2]
n.block([[M, 2 * M], [M, M * M]])
n.block([V, V])
n.append(V, V * V)
n.append(M, M, axis=0)
n.split(M, 2, axis=1)[1]
n.split(M, [1, 2])[1]
n.split(V, [1, 9])[1]
n.array_split(V, 3)[0]
n.hsplit(M, 2)[0]
n.vsplit(M, 3)[1]
n.dsplit(T, 2)[1]
n.tile(M, (2, 1, 2))
n.tile(V, 0)
n.repeat(M, 2, axis=1)
n.repeat(V, np.array([1, 0, 2, 3]))
n.repeat(M, np.array([1, 0, 2]), axis=0)
n.resize(V, (2, 3))
n.flip(T, (0, 2))
n.fliplr(M)
n.flipud(M)
n.rot90(M)
n.rot90(M, 2)
n.rot90(M, 3)
n.rot90(T, 1, (1, 2))
n.rot90(T, 1, (2, 1))
n.roll(V, 1)
n.roll(M, -2, axis=1)
n.roll(M, 7)
n.roll(M, (1, 2), axis=(0, 1))
n.roll(M, 1, axis=(0, 1))
n.insert(V, 1, V[0])
n.insert(V, -1, 5.0)
n.insert(V, np.array([0, 3]), V[:2])
n.insert(M, 1, M[:, 0], axis=1)
n.insert(M, np.array([0, 3]), 9.5, axis=1)
n.insert(V, slice(0, 2), 5.0)
n.delete(V, 1)
n.delete(V, -1)
n.delete(M, np.array([0, 2]), axis=1)
n.delete(M, slice(0, 2), axis=0)
n.delete(V, np.array([True, False, True, False]))
n.pad(V, 1)
n.pad(M, ((1, 0), (0, 2)), constant_values=5)
n.pad(M, ((1, 1), (2, 2)), constant_values=((1, 2), (3, 4)))
n.pad(M, {0: (1, 2)})
n.pad(M, 1, mode='edge')
n.pad(M, ((5, 7), (1, 2)), mode='reflect')
n.pad(M, ((5, 7), (1, 2)), mode='symmetric')
n.pad(M, ((5, 7), (1, 2)), mode='wrap')
n.pad(M, ((2, 1), (7, 9)), mode='reflect', reflect_type='odd')
n.pad(M, ((2, 1), (7, 9)), mode='symmetric', reflect_type='odd')
n.pad(M, ((2, 1), (1, 2)), mode='linear_ramp', end_values=((1, 2), (3, 4)))
n.pad(M, ((2, 1), (1, 2)), mode='maximum')
n.pad(M, ((2, 1), (1, 2)), mode='mean', stat_length=2)
n.pad(M, ((2, 1), (1, 2)), mode='median')
n.pad(M, ((2, 1), (1, 2)), mode='minimum', stat_length=((1, 2), (2, 1)))
n.diff(M, 2)
n.diff(M, axis=0, prepend=1)
n.diff(M, append=M)
n.diff(V, 9)
n.ediff1d(M, to_end=1, to_begin=np.array([1., 2.]))
n.gradient(V)
n.gradient(M, 2.0, axis=1)
n.gradient(M, 2.0, np.array([0., 1., 5.]), axis=(1, 0))[1]
n.trapezoid(M)
n.trapezoid(M, np.array([0., 1., 5.]), axis=0)
n.trapezoid(M, dx=2.0, axis=0)
n.unwrap(V * 5)
n.unwrap(M * 5, axis=0)
n.unwrap(V * 5, period=3)
n.unwrap(V * 5, discont=4.0)
n.interp(V, np.array([-1., 0., .5, 2.]), np.array([3., 1., 2., 4.]))
n.interp(np.array([-2., .2, .3, 5.]), np.array([-1., 0., .5, 2.]), V)
n.interp(np.array([-2., .2, .3, 5.]), np.array([-1., 0., .5, 2.]), V, left=-1, right=7)
n.interp(np.array([.1, .9, 1.2]), n.cumsum(V * V), V)
n.interp(V, np.array([.1, .5]), np.array([3., 1.]), period=1.05)
n.interp(V, np.array([1.]), np.array([2.]))
n.piecewise(V, [V < 0, V > 1], [lambda v: -v, lambda v: v * v, lambda v: n.sin(v)])
n.piecewise(V, [V < 0], [3.0])
n.apply_along_axis(lambda v: n.outer(v, v), 1, T)
n.apply_along_axis(lambda v: v.sum(), 0, T)
n.apply_along_axis(lambda v: v[:2], -1, T)
n.apply_over_axes(n.sum, T, [0, 2])
"""


@pytest.mark.parametrize("call", CALLS.split("\n")[1:-1])
def test_as_numpy(call):
    name = next(k for k in "MVT" if f"{k}" in call.replace("True", ""))
    value = {"M": M, "V": V, "T": T}[name]
    code = compile(call, "<call>", "eval")

    def f(x):
        return eval(code, {"n": fnp, "np": np, name: x})

    expected = np.asarray(eval(code, {"n": np, "np": np, name: value}))
    for actual in (f(fnp.asarray(value)), fg.jit(f)(value)):
        assert actual.shape == expected.shape and actual.dtype == expected.dtype
        np.testing.assert_allclose(np.asarray(actual), expected, rtol=1e-12, atol=1e-14)
    batch = np.stack([value, 1.1 * value])
    np.testing.assert_allclose(np.asarray(fg.vmap(f)(batch)), np.stack([np.asarray(f(fnp.asarray(v))) for v in batch]),
                               rtol=1e-12, atol=1e-14)
    if expected.size:
        check_grads(f, (value,), order=1)


def test_integers_bools_and_mixtures_keep_numpys_dtypes():
    i = np.arange(6).reshape(2, 3)
    for f in (lambda n: n.pad(i, ((2, 1), (1, 2)), mode="linear_ramp", end_values=9), lambda n: n.diff(i > 2),
              lambda n: n.pad(i, 1, mode="mean", stat_length=2), lambda n: n.pad(i > 2, 1), lambda n: n.gradient(i[0]),
              lambda n: n.insert(i, 1, 2.7, axis=1), lambda n: n.concatenate([i, i / 2]), lambda n: n.ediff1d(i),
              lambda n: n.unwrap(np.array([0, 1, 5, 9, 20]), period=4), lambda n: n.interp(1, [0, 2] * np.ones(2), i[0, :2]),
              lambda n: n.trim_zeros(np.array([0, 0, 1, 0, 2, 0])), lambda n: n.trim_zeros(np.array([0, 1, 0]), "f"),
              lambda n: n.concatenate([i, i], dtype="float32"), lambda n: n.append(i, 0.5), lambda n: n.flip(i > 3)):
        expected = np.asarray(f(np))
        assert f(fnp).dtype == expected.dtype and f(fnp).tolist() == expected.tolist()
    assert fnp.stack([1.0, fnp.float32(2)]).dtype == np.float32 and fnp.stack([1.0, 2.0]).weak_type
    assert fnp.broadcast_shapes((2, 1), 3) == (2, 3) and fnp.broadcast_shapes() == ()


def test_traced_positions():
    x = np.arange(5.0)
    for shift in (-7, 0, 3):
        assert fg.jit(fnp.roll)(x, shift).tolist() == np.roll(x, shift).tolist()
    assert fg.vmap(fnp.roll, (None, 0))(x, np.array([1, 2])).tolist() == [np.roll(x, s).tolist() for s in (1, 2)]
    assert fg.jit(fnp.delete)(x, 2).tolist() == [0, 1, 3, 4] and fg.jit(fnp.delete)(x, -1).tolist() == [0, 1, 2, 3]
    assert fg.jit(lambda a, i: fnp.delete(a, i, assume_unique_indices=True))(x, np.array([3, -5])).tolist() == [1, 2, 4]
    repeat = fg.jit(lambda a, r, n: fnp.repeat(a, r, total_repeat_length=n), static_argnums=2)
    counts = np.array([1, 0, 2, 0, 1])
    assert repeat(x, counts, 6).tolist() == [0, 2, 2, 4, 4, 4] and repeat(x, counts, 2).tolist() == [0, 2]
    assert fnp.repeat(x, counts, total_repeat_length=4).tolist() == [0, 2, 2, 4]


def test_rolls_and_borders_are_slices_when_compiled():
    for f in (lambda x: fnp.roll(x, 1), lambda x: fnp.pad(x, 2, mode="reflect"), lambda x: fnp.delete(x, 1)):
        names = {e.primitive.name for e in fg.make_jaxpr(f)(V).equations}
        assert names <= {"slice", "rev", "concatenate", "broadcast_in_dim"}


def test_pad_with_a_function_and_with_traced_values():
    def fill(vector, widths, axis, options):
        before, after = widths
        return vector.at[:before].set(options["value"]).at[len(vector) - after:].set(options["value"])

    assert fnp.pad(fnp.ones((2, 2)), 1, fill, value=7.0).tolist() == np.pad(np.ones((2, 2)), 1, constant_values=7).tolist()
    check_grads(lambda c: fnp.pad(fnp.zeros((2, 2)), 1, constant_values=c), (3.0,), order=1)
    check_grads(lambda e: fnp.pad(fnp.zeros(3), 2, mode="linear_ramp", end_values=e), (3.0,), order=1)


def test_interpolation_beyond_the_ends():
    points, values = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 0.0])
    out = fnp.interp(np.array([-1.0, 5.0]), points, values, left="extrapolate", right="extrapolate")
    assert out.tolist() == [0.0, -2.0]
    assert float(fg.grad(lambda x: fnp.interp(x, points, values))(2.0)) == -1.0
    assert float(fg.grad(lambda x: fnp.interp(x, points, values))(9.0)) == 0.0
    assert fnp.interp(0.5, points, values * 1j) == 1.5j


# ---------------------------------------------------------------- vectorize


def test_vectorize():
    add = fnp.vectorize(lambda a, b: a * b + 1)
    assert add(M, M[:, :1]).tolist() == (M * M[:, :1] + 1).tolist()
    dot = fnp.vectorize(fnp.dot, signature="(n),(n)->()")
    np.testing.assert_allclose(np.asarray(dot(T, np.ones(4))), T.sum(-1))
    two = fnp.vectorize(lambda v: (v, v.sum()), signature="(n)->(n),()")
    assert two(M)[0].shape == (3, 4) and two(M)[1].shape == (3,)
    matvec = fnp.vectorize(lambda a, b: a @ b, signature="(n,m),(m)->(n)")
    assert matvec(T, np.ones((1, 4))).shape == (2, 3)
    power = fnp.vectorize(lambda x, n, scale=1.0: scale * x ** n, excluded={1})
    assert power(V, 2, scale=np.ones((3, 1))).shape == (3, 4)
    assert fnp.vectorize(lambda x, y=None: x if y is None else y)(V, None).tolist() == V.tolist()
    check_grads(dot, (M, V), order=2)
    assert fg.jit(dot)(M, V).shape == (3,) and dot.__name__ == "dot"


@pytest.mark.parametrize("call,error,text", [
    (lambda: fnp.reshape(M, 5), TypeError, "sizes do not match"),
    (lambda: fnp.reshape(M, (-1, 5)), TypeError, "size for -1 cannot be computed"),
    (lambda: fnp.reshape(M, (-1, -1)), TypeError, "one -1"),
    (lambda: fnp.reshape([1, 2], (2, 1)), TypeError, "not an array"),
    (lambda: fnp.transpose(T, (0, 0, 1)), ValueError, "not a permutation"),
    (lambda: fnp.swapaxes(M, 0, 2), ValueError, "swapaxes"),
    (lambda: fnp.moveaxis(T, [0, 1], [0]), ValueError, "do not match"),
    (lambda: fnp.expand_dims(V, (0, 0)), ValueError, "named twice"),
    (lambda: fnp.squeeze(M, 0), ValueError, "not of size 1"),
    (lambda: fnp.matrix_transpose(V), ValueError, "matrix is needed"),
    (lambda: fnp.broadcast_to(V, (2, 3)), ValueError, "does not fit"),
    (lambda: fnp.concatenate([M, V]), TypeError, "do not fit"),
    (lambda: fnp.concatenate([1.0, 2.0]), ValueError, "without axes"),
    (lambda: fnp.concatenate([]), ValueError, "nothing to join"),
    (lambda: fnp.concatenate(3), TypeError, "sequence of arrays is needed"),
    (lambda: fnp.concatenate([[1.0]]), TypeError, "not an array"),
    (lambda: fnp.stack([V, M]), ValueError, "different shapes"),
    (lambda: fnp.block([[M], M]), ValueError, "different depths"),
    (lambda: fnp.split(V, 3), ValueError, "no equal parts"),
    (lambda: fnp.rot90(M, axes=(0, 0)), ValueError, "two axes are one"),
    (lambda: fnp.roll(M, (1, 2, 3), (0, 1)), ValueError, "shifts and axes do not match"),
    (lambda: fnp.delete(V, 9), IndexError, "out of bounds"),
    (lambda: fg.jit(fnp.repeat)(V, np.ones(4, int)), TypeError, "total_repeat_length"),
    (lambda: fg.jit(fnp.delete)(V, np.array([0])), TypeError, "assume_unique_indices"),
    (lambda: fg.jit(fnp.trim_zeros)(V), TypeError, "size of the result depends on a traced value"),
    (lambda: fnp.pad(V, -1), ValueError, "negative"),
    (lambda: fnp.pad(V, (1, 2, 3)), ValueError, "does not fit"),
    (lambda: fnp.pad(V, 1, mode="foo"), NotImplementedError, "unknown mode"),
    (lambda: fnp.pad(V, 1, mode="edge", stat_length=2), ValueError, "does not have"),
    (lambda: fnp.pad(np.zeros(0), 1, mode="edge"), ValueError, "nothing to repeat"),
    (lambda: fnp.diff(V, -1), ValueError, "negative"),
    (lambda: fnp.gradient(V[:1]), ValueError, "too few samples"),
    (lambda: fnp.gradient(M, 1.0, 2.0, 3.0), TypeError, "distances and axes"),
    (lambda: fnp.interp(1.0, V, M), ValueError, "xp and fp do not match"),
    (lambda: fnp.interp(1.0, V, V, left="up"), ValueError, "extrapolate"),
    (lambda: fnp.piecewise(V, [V < 0], [1, 2, 3]), ValueError, "conditions and functions"),
    (lambda: fnp.vectorize(lambda a: a, signature="n->m"), ValueError, "not a signature"),
    (lambda: fnp.vectorize(lambda a, b: a, signature="(n),(n)->()")(V), TypeError, "number of arguments"),
    (lambda: fnp.vectorize(lambda a, b: a, signature="(n),(n)->()")(V, V[:2]), ValueError, "two sizes"),
    (lambda: fnp.vectorize(lambda a: a, signature="(n,m)->()")(V), ValueError, "fewer axes"),
    (lambda: fnp.vectorize(lambda a: a, signature="(n,m)->(n)")(M), ValueError, "a result does not match"),
    (lambda: fnp.vectorize(lambda a: (a, a), signature="()->()")(V), TypeError, "number of results"),
    (lambda: fnp.vectorize(lambda a: a, excluded={-1}), ValueError, "negative"),
    (lambda: fnp.vectorize(lambda a: a, excluded={1.5}), TypeError, "positions and names"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
