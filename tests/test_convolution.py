"""Convolutions and windows: against their definition, values stored from jax, finite differences, and the compiler."""
from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from comparing import assert_same, interpreted, program
from convolution_calls import CALLS, run

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.compiler import cpu, executable
from funcgrad.ops import convolving
from funcgrad.test_util import check_grads

STORED = json.loads((Path(__file__).parent / "reference" / "convolution.json").read_text())
RNG = np.random.default_rng(5)


def real(*shape, dtype=np.float64):
    return RNG.normal(size=shape).astype(dtype)


# ---------------------------------------------------------------- the definition


def dilated(x, padding, stretch):
    """x with zeros between its elements along the axes from 2 on, padded or cut."""
    sizes = [(n - 1) * s + 1 if n else 0 for n, s in zip(x.shape[2:], stretch, strict=True)]
    out = np.zeros((*x.shape[:2], *sizes), x.dtype)
    out[(slice(None), slice(None), *[slice(None, None, s) for s in stretch])] = x
    for d, (low, high) in enumerate(padding, 2):
        out = np.delete(out, range(out.shape[d] - max(-high, 0), out.shape[d]), d)
        out = np.delete(out, range(max(-low, 0)), d)
        out = np.pad(out, [(max(low, 0), max(high, 0)) if i == d else (0, 0) for i in range(out.ndim)])
    return out


def naive(x, w, strides, padding, stretch, dilation, features, batches):
    """The convolution of ``x[N, C, *S]`` and ``w[O, I, *K]``, number by number."""
    x = dilated(x, padding, stretch)
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    counts = [max((n - k) // s + 1, 0) for n, k, s in zip(x.shape[2:], spans, strides, strict=True)]
    out = np.zeros((x.shape[0] // batches, w.shape[0], *counts), x.dtype)
    for n, o, *t in itertools.product(*map(range, out.shape)):
        first = o // (w.shape[0] // features) * w.shape[1]
        image = n + o // (w.shape[0] // batches) * out.shape[0]
        window = x[(image, slice(first, first + w.shape[1]),
                    *[slice(i * s, i * s + k, d) for i, s, k, d in zip(t, strides, spans, dilation, strict=True)])]
        out[(n, o, *t)] = (window * w[o]).sum()
    return out


CASES = {
    "plain": ((2, 3, 5, 6), (4, 3, 3, 2), (1, 1), [(0, 0), (0, 0)]),
    "strides": ((2, 3, 5, 6), (4, 3, 3, 2), (2, 3), [(1, 1), (0, 2)]),
    "dilated kernel": ((1, 2, 7, 6), (3, 2, 3, 2), (1, 2), [(1, 2), (0, 0)], (1, 1), (2, 3)),
    "dilated input": ((1, 2, 3, 4), (3, 2, 3, 2), (1, 1), [(2, 1), (0, 3)], (2, 3)),
    "dilated input, as wide as the kernel": ((1, 2, 3, 3), (2, 2, 2, 2), (1, 1), [(1, 1), (1, 1)], (2, 2)),
    "dilated input, cut": ((1, 2, 4, 4), (3, 2, 2, 2), (1, 1), [(-2, 1), (-1, -2)], (2, 2)),
    "dilated input and kernel": ((1, 2, 4, 4), (3, 2, 2, 3), (1, 1), [(1, 1), (2, 2)], (2, 3), (2, 2)),
    "dilated input, strides": ((1, 2, 4, 5), (3, 2, 3, 2), (3, 2), [(1, 2), (0, 1)], (2, 4)),
    "dilated all": ((1, 2, 4, 5), (3, 2, 3, 3), (4, 2), [(3, 2), (-1, 4)], (6, 3), (3, 2)),
    "cut": ((1, 2, 6, 6), (2, 2, 3, 2), (1, 1), [(-1, -2), (1, -3)]),
    "groups": ((2, 6, 4, 4), (9, 2, 2, 3), (1, 1), [(1, 0), (0, 1)], (1, 1), (1, 1), 3),
    "depthwise": ((2, 4, 5, 5), (4, 1, 3, 3), (2, 1), [(1, 1), (1, 1)], (1, 1), (1, 1), 4),
    "depthwise, two outputs": ((1, 3, 5, 4), (6, 1, 3, 2), (1, 2), [(1, 1), (2, 1)], (1, 1), (2, 1), 3),
    "depthwise, transposed": ((1, 3, 3, 3), (3, 1, 3, 3), (1, 1), [(2, 2), (1, 2)], (2, 2), (1, 1), 3),
    "batch groups": ((6, 2, 4), (6, 2, 3), (1,), [(1, 1)], (1,), (1,), 1, 3),
    "one dimension": ((2, 3, 8), (2, 3, 3), (2,), [(2, 1)]),
    "three dimensions": ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), (1, 2, 1), [(0, 1), (1, 1), (1, 0)]),
    "no dimension": ((3, 4), (2, 4), (), []),
    "1x1": ((2, 3, 4, 4), (5, 3, 1, 1), (1, 1), [(0, 0), (0, 0)]),
    "1x1, strides": ((2, 3, 4, 4), (5, 3, 1, 1), (2, 2), [(0, 1), (1, 0)]),
    "1x1, groups": ((2, 4, 3, 3), (4, 2, 1, 1), (1, 1), [(0, 0), (0, 0)], (1, 1), (1, 1), 2),
    "kernel larger than the input": ((1, 1, 2, 2), (1, 1, 4, 3), (1, 1), [(2, 1), (1, 1)]),
    "no output": ((1, 2, 2, 5), (3, 2, 3, 2), (1, 1), [(0, 0), (0, 0)]),
    "no batch": ((0, 2, 4, 4), (3, 2, 3, 2), (1, 1), [(0, 0), (0, 0)]),
    "no channels": ((2, 0, 4, 4), (3, 0, 3, 2), (1, 1), [(0, 0), (0, 0)]),
    "empty input, dilated": ((1, 2, 0, 3), (2, 2, 1, 2), (1, 1), [(2, 1), (0, 0)], (2, 2)),
    "many channels": ((2, 20, 6, 6), (8, 20, 3, 3), (1, 1), [(1, 1), (1, 1)]),
}
"""Input and kernel, strides, padding, and what is not one: input and kernel dilation, feature and batch groups."""


def complete(case):
    x, w, strides, padding, *rest = CASES[case]
    ones = (1,) * len(strides)
    return x, w, (strides, padding, *rest, *(ones, ones, 1, 1)[len(rest):])


def convolution(case):
    strides, padding, stretch, dilation, features, batches = complete(case)[2]

    def call(x, w):
        return lax.conv_general_dilated(x, w, strides, padding, stretch, dilation, None, features, batches)

    return call


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_a_convolution_is_what_its_definition_says(case, dtype):
    shape_x, shape_w, params = complete(case)
    x, w = (RNG.integers(-4, 5, shape).astype(dtype) for shape in (shape_x, shape_w))
    expected = naive(x, w, *params)  # sums of small integers are exact in any dtype
    found = np.asarray(convolution(case)(x, w))
    assert found.dtype == dtype and found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("case", ["strides", "dilated input, strides", "dilated input, cut", "groups", "depthwise, two outputs",
                                  "depthwise, transposed", "batch groups", "cut", "kernel larger than the input"])
def test_derivatives_of_convolutions(case):
    shape_x, shape_w, _ = complete(case)
    check_grads(convolution(case), (real(*shape_x), real(*shape_w)), 2)


@pytest.mark.parametrize("case", ["strides", "dilated input", "dilated input, strides", "groups", "depthwise", "batch groups"])
@pytest.mark.parametrize("axes", [(0, None), (None, 2), (1, 0)])
def test_batches_of_convolutions_and_of_their_gradients(case, axes):
    f = convolution(case)

    def gradient(x, w):
        return fg.grad(lambda *xs: fnp.sum(fnp.sin(f(*xs))), (0, 1))(x, w)

    shapes = complete(case)[:2]
    args = [real(*s) if d is None else np.moveaxis(real(3, *s), 0, d) for s, d in zip(shapes, axes, strict=True)]
    rows = [[x if d is None else np.take(x, i, d) for x, d in zip(args, axes, strict=True)] for i in range(3)]
    for g in (f, gradient):
        expected = fg.tree.map(lambda *xs: np.stack(xs), *[fg.tree.map(np.asarray, g(*row)) for row in rows])
        for x, y in zip(fg.tree.leaves(fg.vmap(g, axes)(*args)), fg.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("call", CALLS)
def test_what_jax_gives(call):
    found = run(lax, fg.grad, *CALLS[call])
    for x, y in zip(found, STORED[call], strict=True):
        assert list(x.shape) == y["shape"]
        np.testing.assert_allclose(x.ravel(), y["values"], rtol=1e-9, atol=1e-9)


def test_other_names_and_layouts():
    x, w = real(2, 3, 7, 6), real(4, 3, 3, 2)
    expected = lax.conv_general_dilated(x, w, (2, 1), "SAME")
    np.testing.assert_array_equal(lax.conv(x, w, (2, 1), "SAME"), expected)
    np.testing.assert_array_equal(lax.conv_with_general_padding(x, w, (2, 1), "SAME", None, (1, 1)), expected)
    numbers = lax.conv_dimension_numbers((2, 7, 6, 3), (3, 2, 3, 4), ("NHWC", "HWIO", "NCHW"))
    assert numbers == ((0, 3, 1, 2), (3, 2, 0, 1), (0, 1, 2, 3)) == lax.conv_general_permutations(("NHWC", "HWIO", "NCHW"))
    last = lax.conv_general_dilated(x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0), (2, 1), "SAME", dimension_numbers=numbers)
    np.testing.assert_allclose(last, expected, rtol=1e-12)


def test_shapes_without_arrays():
    layout = ("NHWC", "HWIO", "NHWC")
    assert lax.conv_general_shape_tuple((2, 5, 5, 3), (3, 3, 3, 4), (2, 2), "SAME", layout) == (2, 3, 3, 4)
    assert lax.conv_transpose_shape_tuple((2, 5, 5, 3), (3, 3, 3, 4), (2, 2), "SAME", layout) == (2, 10, 10, 4)
    assert lax.conv_shape_tuple((2, 3, 5, 5), (4, 3, 3, 3), (2, 2), [(0, 0), (1, 1)]) == (2, 4, 2, 3)
    assert lax.reduce_window_shape_tuple((5, 5), (2, 2), (2, 1), [(0, 0), (1, 1)], (2, 1), (1, 2)) == (4, 5)
    assert lax.padtype_to_pads((5, 6), (2, 3), (2, 1), "SAME") == [(0, 1), (1, 1)]


@pytest.mark.parametrize("narrow, wide", [("bfloat16", "float32"), ("int8", "int32"), ("float64", "float32")])
def test_the_type_of_the_sum(narrow, wide):
    x, w = (fnp.asarray(RNG.integers(-90, 90, s)).astype(narrow) for s in ((1, 9, 6), (2, 9, 3)))
    y = lax.conv_general_dilated(x, w, (1,), "VALID", preferred_element_type=wide)
    exact = naive(*[np.asarray(v, np.float64) for v in (x, w)], (1,), [(0, 0)], (1,), (1,), 1, 1)
    assert y.dtype == wide
    np.testing.assert_array_equal(np.asarray(y, np.float64), exact)


def test_zeros_between_elements_are_not_multiplied():
    def names(f, *args):
        return [e.primitive.name for e in fg.make_jaxpr(f)(*args).equations]

    x, w = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 2))
    assert names(lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME"), x, w).count("convolve_input") == 1
    f = convolution("dilated input, strides")
    program = fg.make_jaxpr(f)(*map(np.ones, complete("dilated input, strides")[:2]))
    work = sum(e.inputs[1].aval.size * e.outs[0].aval.size // e.inputs[1].aval.shape[-1] // e.inputs[1].aval.shape[0]
               for e in program.equations if e.primitive.name == "convolve")
    y, w = program.outs[0].aval, program.in_avals[1]
    assert work * 4 <= y.size * w.size // w.shape[0]  # of 2 x 4 steps along the axes, one pair meets an element


def test_transforms_nest():
    x, w = real(1, 2, 5), real(2, 2, 3)

    def loss(w, x):
        return fnp.sum(fnp.tanh(lax.conv(x, w, (1,), "SAME")) ** 2)

    hessian = np.asarray(fg.hessian(loss)(w, x))
    np.testing.assert_allclose(fg.jacfwd(fg.jacrev(loss))(w, x), fg.jacrev(fg.grad(loss))(w, x), rtol=1e-9, atol=1e-12)
    each = fg.vmap(fg.hessian(fg.jit(loss)), (None, 0))(w, np.stack([x, 2 * x]))
    np.testing.assert_allclose(each[0], hessian, rtol=1e-9, atol=1e-12)


def test_the_interpreter_divides_large_problems(monkeypatch):
    shape_x, shape_w, _ = complete("strides")
    x, w = real(*shape_x), real(*shape_w)
    expected = [np.asarray(v) for v in with_gradients(convolution("strides"))(x, w)]
    for size in (1, 100, 300):
        monkeypatch.setattr(convolving, "PATCHES", size)
        for found, y in zip(with_gradients(convolution("strides"))(x, w), expected, strict=True):
            np.testing.assert_allclose(found, y, rtol=1e-12, atol=1e-12)


# ---------------------------------------------------------------- windows


def pooled(combine, start, window, strides, padding, **options):
    return lambda x: lax.reduce_window(x, start, combine, window, strides, padding, **options)


def window_table(x, window, strides, padding, start):
    """The elements of each window, along a last axis."""
    x = np.pad(x, padding, constant_values=start)
    view = np.lib.stride_tricks.sliding_window_view(x, window)[tuple(slice(None, None, s) for s in strides)]
    return view.reshape(*view.shape[:x.ndim], -1)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int16", "uint8"])
@pytest.mark.parametrize("name", ["add", "max", "min", "mul"])
def test_reductions_of_windows(name, dtype):
    x = RNG.integers(0, 4, (3, 6, 5)).astype(dtype)
    kind = np.finfo if np.dtype(dtype).kind == "f" else np.iinfo
    start = {"add": 0, "mul": 1, "max": -np.inf if kind is np.finfo else kind(dtype).min,
             "min": np.inf if kind is np.finfo else kind(dtype).max}[name]
    geometry = (1, 3, 2), (1, 2, 1), ((0, 0), (1, 2), (1, 0))
    ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[name]
    expected = ufunc.reduce(window_table(x, *geometry, start), axis=-1, dtype=dtype)
    for combine in (getattr(lax, name), lambda a, b: getattr(lax, name)(a, b)):
        found = np.asarray(pooled(combine, np.dtype(dtype).type(start), *geometry)(x))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_logic_trees_and_other_functions():
    x = RNG.random((4, 5)) < 0.5
    table = window_table(x, (2, 2), (1, 2), ((0, 1), (0, 0)), False)
    np.testing.assert_array_equal(lax.reduce_window(x, False, lax.bitwise_or, (2, 2), (1, 2), ((0, 1), (0, 0))), table.any(-1))
    values, places = real(7), np.arange(7)

    def first_largest(a, b):
        keep = a[0] >= b[0]
        return fnp.where(keep, a[0], b[0]), fnp.where(keep, a[1], b[1])

    best, at = lax.reduce_window((values, places), (-np.inf, -1), first_largest, (3,), (2,), "VALID")
    table = np.lib.stride_tricks.sliding_window_view(values, 3)[::2]
    np.testing.assert_array_equal(best, table.max(-1))
    np.testing.assert_array_equal(at, table.argmax(-1) + 2 * np.arange(3))
    # Scalars are combined: a function that does not work element by element is right too.
    odd = lax.reduce_window(values, 0.0, lambda a, b: fnp.sum(fnp.stack([a, 2 * b])), (2,), (1,), "VALID")
    np.testing.assert_allclose(odd, 2 * (values[:-1] + 2 * values[1:]))
    np.testing.assert_array_equal(lax.reduce_window(values, 10.0, lax.max, (2,), (1,), "VALID"), 10.0)
    np.testing.assert_allclose(lax.reduce_window(values, 1.5, lax.add, (2,), (1,), "SAME")[-1], values[-1] + 1.5)


def test_a_start_that_is_traced():
    x = real(6)

    def loss(x, start):
        return fnp.sum(lax.reduce_window(x, start, lax.add, (2,), (2,)) + lax.reduce_window(x, start, lax.mul, (2,), (2,)))

    expected = [np.repeat(1.0, 6) + 1.5 * x.reshape(3, 2)[:, ::-1].ravel(), 3 + x[0] * x[1] + x[2] * x[3] + x[4] * x[5]]
    for f in (fg.grad(loss, (0, 1)), fg.jit(fg.grad(loss, (0, 1)))):
        for found, y in zip(f(x, 1.5), expected, strict=True):
            np.testing.assert_allclose(found, y, rtol=1e-12)


@pytest.mark.parametrize("x, expected", [
    ([1.0, 1, 1, 0], [1.0, 1, 1, 1]),
    ([3.0, 1, 3, 3], [1.0, 0, 2, 1]),
    ([-np.inf, -np.inf], [1.0, 1]),
    ([2.0, np.nan, 1, np.nan], [0.0, 2, 0, 2])])
def test_the_first_of_equal_elements_has_the_gradient(x, expected):
    def loss(x):
        return fnp.sum(lax.reduce_window(x, -np.inf, lax.max, (2,), (1,), "SAME"))

    assert np.asarray(fg.grad(loss)(np.array(x))).tolist() == expected
    assert np.asarray(fg.jit(fg.grad(loss))(np.array(x))).tolist() == expected


@pytest.mark.parametrize("name, start", [("max", -np.inf), ("min", np.inf), ("add", 0.0)])
@pytest.mark.parametrize("geometry", [((1, 2, 2), (1, 2, 2), "VALID"), ((1, 3, 2), (1, 1, 2), "SAME"),
                                      ((3, 1, 1), (2, 1, 1), "SAME")])
def test_derivatives_and_batches_of_windows(name, start, geometry):
    f, x = pooled(getattr(lax, name), start, *geometry), RNG.permutation(2 * 4 * 5).reshape(2, 4, 5) / 7.0
    check_grads(lambda x: fnp.sin(f(x)), (x,), 2)
    xs = np.stack([x, -x], 1)
    for g in (f, fg.grad(lambda x: fnp.sum(fnp.sin(f(x))))):
        np.testing.assert_allclose(fg.vmap(g, 1)(xs), np.stack([g(x), g(-x)]), rtol=1e-12)


# ---------------------------------------------------------------- compiled


def agree(function, *args, ulp=40, host=False):
    """The compiled program has no host steps, gives the same bits with 1, 2 and 5 threads, and what the interpreter gives."""
    jaxpr, inputs = program(function, *args)
    made = executable(jaxpr)
    assert host or {step.kind for step in made.schedule.steps} <= {"kernel", "gemm"}
    before, found = cpu.num_threads(), []
    try:
        for threads in (1, 2, 5):
            cpu.set_num_threads(threads)
            found.append(made(inputs))
    finally:
        cpu.set_num_threads(before)
    for other in found[1:]:
        assert [np.asarray(x).tobytes() for x in found[0]] == [np.asarray(x).tobytes() for x in other]
    assert_same(found[0], interpreted(jaxpr, inputs), ulp, 1, False)


def with_gradients(f):
    def all_of_it(x, w):
        y, pull = fg.vjp(f, x, w)
        return y, *pull(y)

    return all_of_it


@pytest.mark.parametrize("case", ["dilated input, strides", "cut", "groups", "depthwise, two outputs", "depthwise, transposed",
                                  "three dimensions", "many channels"])
def test_compiled_convolutions(case):
    shape_x, shape_w, _ = complete(case)
    agree(with_gradients(convolution(case)), real(*shape_x, dtype=np.float32), real(*shape_w, dtype=np.float32))


@pytest.mark.parametrize("layout, channels, groups", [
    (("NHWC", "HWIO", "NHWC"), (16, 24), 1), (("NHWC", "HWIO", "NHWC"), (2, 8), 1), (("NHWC", "HWIO", "NHWC"), (8, 12), 4),
    (("NCHW", "OIHW", "NCHW"), (24, 24), 24)])
def test_compiled_convolutions_in_many_pieces(layout, channels, groups):
    c, o = channels
    x, w = real(5, 23, 21, c, dtype=np.float32), real(3, 3, c // groups, o, dtype=np.float32)
    if layout[0] == "NCHW":
        x, w = x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1)

    def f(x, w):
        return lax.conv_general_dilated(x, w, (1, 2), "SAME", dimension_numbers=layout, feature_group_count=groups)

    agree(with_gradients(f), x.copy(), w.copy())


@pytest.mark.parametrize("dtype", [np.float64, np.complex64])
def test_compiled_convolutions_of_other_types(dtype):
    x, w = real(2, 6, 9).astype(dtype), real(4, 6, 3).astype(dtype)
    agree(with_gradients(lambda x, w: lax.conv(x, w, (2,), "SAME")), x * dtype(1.5), w)


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_types_that_blas_does_not_multiply(dtype):
    x, w = RNG.integers(-9, 9, (2, 6, 9)).astype(dtype), RNG.integers(-9, 9, (4, 6, 3)).astype(dtype)
    agree(lambda x, w: lax.conv(x, w, (2,), "SAME"), x, w, host=True)


@pytest.mark.parametrize("geometry, dtype", [
    (((1, 2, 2, 1), (1, 2, 2, 1), "VALID"), np.float32), (((1, 3, 3, 1), (1, 2, 1, 1), "SAME"), np.int16),
    (((1, 7, 6, 1), (1, 3, 2, 1), "SAME"), np.float64), (((2, 1, 2, 2), (1, 1, 1, 2), "SAME"), np.float32)])
def test_compiled_windows(geometry, dtype):
    x = np.round(3 * real(4, 18, 19, 8)).astype(dtype)
    lowest = -np.inf if np.dtype(dtype).kind == "f" else np.iinfo(dtype).min
    f = pooled(lax.max, dtype(lowest), *geometry)
    if np.dtype(dtype).kind == "f":
        agree(lambda x, v: (fg.jvp(f, (x,), (v,)), fg.vjp(f, x)[1](f(x))), x, real(*x.shape, dtype=dtype), ulp=4)
    else:
        agree(f, x)
    agree(pooled(lax.add, dtype(0), *geometry), x, ulp=4)


def test_compiled_windows_with_nan_and_infinities():
    x = real(2, 8, 9, 5, dtype=np.float32)
    x.reshape(-1)[::7] = np.nan
    x.reshape(-1)[::5] = -np.inf
    f = pooled(lax.min, np.inf, (1, 3, 3, 1), (1, 2, 2, 1), "SAME")
    agree(lambda x: (f(x), fg.vjp(f, x)[1](fnp.ones_like(f(x)))), x, ulp=0)


def test_the_report_counts_the_work():
    x, w = np.ones((2, 6, 8)), np.ones((4, 6, 3))
    report = fg.jit(lambda x, w: lax.conv(x, w, (2,), "SAME")).lower(x, w).report()
    assert report["flops"] == 2 * w.size * 2 * 4 and not report["host_steps"]


# ---------------------------------------------------------------- wrong programs

X, W = np.ones((2, 4, 5, 5)), np.ones((6, 4, 3, 3))
WRONG = {
    "ranks": (lambda: lax.conv(X, W[0], (1, 1), "SAME"), TypeError, "different numbers of axes"),
    "too few axes": (lambda: lax.conv_general_dilated(X[0, 0, 0], W[0, 0, 0], (), []), TypeError, "or too few"),
    "dtypes": (lambda: lax.conv(X, W.astype(np.float32), (1, 1), "SAME"), TypeError,
               r"different dtypes(.|\n)*rhs.astype\(float64\)"),
    "a list": (lambda: lax.conv([1.0], W, (1, 1), "SAME"), TypeError, "conv: argument 0 is not an array"),
    "zero stride": (lambda: lax.conv(X, W, (0, 1), "SAME"), ValueError, "window_strides must be positive"),
    "one stride": (lambda: lax.conv(X, W, (1,), "SAME"), ValueError, "one for each dimension(.|\n)*2 numbers"),
    "zero dilation": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", rhs_dilation=(0, 1)), ValueError, "rhs_dilation"),
    "padding name": (lambda: lax.conv(X, W, (1, 1), "FULL"), ValueError, "unknown padding"),
    "padding pairs": (lambda: lax.conv(X, W, (1, 1), [(1, 1)]), ValueError, "a pair for each dimension"),
    "padding numbers": (lambda: lax.conv(X, W, (1, 1), (1, 1)), ValueError, "a pair for each dimension"),
    "negative padding": (lambda: lax.conv(X, W, (1, 1), [(-3, -3), (0, 0)]), ValueError, "cuts off more than there is"),
    "padding of a dilated input": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", lhs_dilation=(2, 2)), ValueError,
                                   "not defined for a dilated lhs(.|\n)*conv_transpose"),
    "channels": (lambda: lax.conv(X, W[:, :3], (1, 1), "SAME"), ValueError, "input features do not fit the kernel"),
    "layout": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")), ValueError,
               "do not fit the kernel(.|\n)*dimension_numbers"),
    "groups of lhs": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", feature_group_count=3), ValueError,
                      "feature_group_count does not divide input features"),
    "groups of rhs": (lambda: lax.conv_general_dilated(X, W[:5, :2], (1, 1), "SAME", feature_group_count=2), ValueError,
                      "feature_group_count does not divide output features"),
    "groups of the batch": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", batch_group_count=3), ValueError,
                            "batch_group_count does not divide the batch"),
    "no group": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", feature_group_count=0), ValueError, "must be positive"),
    "both groups": (lambda: lax.conv_general_dilated(X, W[:, :2], (1, 1), "SAME", feature_group_count=2, batch_group_count=2),
                    ValueError, "at most one of"),
    "letters": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NHHC")), TypeError,
                r"dimension_numbers\[2\] is no layout"),
    "too few letters": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NCH", "OIH", "NCH")),
                        TypeError, "4 letters"),
    "two strings": (lambda: lax.conv_general_dilated(X, W, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW")), TypeError,
                    "dimension numbers are malformed"),
    "preferred type": (lambda: lax.conv(X, W, (1, 1), "SAME", None, "int32"), TypeError, "cannot hold the result"),
    "transposed padding": (lambda: lax.conv_transpose(X, W, (2, 2), "FULL"), ValueError, "conv_transpose: unknown padding"),
    "transposed layout": (lambda: lax.conv_transpose(np.ones((1,) * 6), np.ones((1,) * 6), (1,) * 4, "SAME"), ValueError,
                          "no default layout"),
    "local kernel": (lambda: lax.conv_general_dilated_local(X, W, (1, 1), "SAME", (3, 3)), ValueError,
                     "does not fit the output"),
    "window of another rank": (lambda: lax.reduce_window(X, 0.0, lax.add, (2, 2)), ValueError, "window_dimensions"),
    "window of size 0": (lambda: lax.reduce_window(X, 0.0, lax.add, (1, 1, 0, 2)), ValueError, "must be positive"),
    "window stride 0": (lambda: lax.reduce_window(X, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 0, 1)), ValueError, "window_strides"),
    "start of another type": (lambda: lax.reduce_window(X, np.float32(0), lax.add, (1, 1, 2, 2)), TypeError,
                              "different dtypes"),
    "trees": (lambda: lax.reduce_window((X, X), 0.0, lax.add, (1, 1, 2, 2)), ValueError, "different structures"),
    "operands of other shapes": (lambda: lax.reduce_window((X, X[0]), (0.0, 0.0), lax.add, (1, 1, 2, 2)), ValueError,
                                 "different shapes"),
    "result of another structure": (lambda: lax.reduce_window((X, X), (0.0, 0.0), lambda a, b: a[0], (1, 1, 2, 2)), TypeError,
                                    "another structure"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_programs(name):
    call, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        call()
