"""Contractions against NumPy, and their derivatives, batches and staged forms against each other."""
from __future__ import annotations

import functools
import itertools
import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.stage import as_value, eval_jaxpr, stage
from funcgrad.numpy import contraction as c
from funcgrad.numpy import polynomial as poly
from funcgrad.numpy.subscripts import einsum, einsum_path
from funcgrad.ops import contraction as ops
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import grad, hessian, jacfwd, jacrev, jvp, vjp
from funcgrad.transforms.jvp import jvp_flat

RNG = np.random.default_rng(3)
FLOATS = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128"]
DTYPES = ["bool", "int8", "uint8", "int16", "int32", "int64", "uint32", *FLOATS]


def sample(shape, dtype="float64"):
    x = RNG.normal(size=shape) * 2
    if dtype.startswith("complex"):
        x = x + 1j * RNG.normal(size=shape)
    if dtype.startswith("uint") or dtype == "bool":
        x = np.abs(x)
    return np.asarray(x).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def close(actual, expected, tolerance=1e-12):
    actual = np.asarray(actual)
    expected = np.asarray(expected)
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(actual, expected)
    else:
        wide = np.complex128 if expected.dtype.kind == "c" else np.float64
        np.testing.assert_allclose(actual.astype(wide), expected.astype(wide), rtol=tolerance, atol=tolerance)


TOLERANCE = {"float16": 5e-3, "bfloat16": 5e-2, "float32": 1e-4, "complex64": 1e-4}

DIMENSIONS = {
    "vectors": ((3,), (3,), (((0,), (0,)), ((), ()))),
    "matrices": ((2, 3), (3, 4), (((1,), (0,)), ((), ()))),
    "both transposed": ((3, 2), (4, 3), (((0,), (1,)), ((), ()))),
    "vector and matrix": ((3,), (4, 3), (((0,), (1,)), ((), ()))),
    "outer": ((2, 3), (4,), (((), ()), ((), ()))),
    "scalars": ((), (), (((), ()), ((), ()))),
    "scalar and matrix": ((), (2, 3), (((), ()), ((), ()))),
    "batch": ((5, 2, 3), (5, 3, 4), (((2,), (1,)), ((0,), (0,)))),
    "batch in the middle": ((2, 5, 3), (3, 4, 5), (((2,), (0,)), ((1,), (2,)))),
    "batch only": ((5, 2), (2, 5), (((), ()), ((0, 1), (1, 0)))),
    "two contracted, crossed": ((2, 3, 4), (4, 5, 3), (((1, 2), (2, 0)), ((), ()))),
    "two contracted, larger right": ((3, 4), (6, 4, 7, 3), (((0, 1), (3, 1)), ((), ()))),
    "stack on the right": ((2, 3), (5, 6, 3, 4), (((1,), (2,)), ((), ()))),
    "stack on the right, rows of a stack": ((7, 3, 2), (5, 3, 4), (((1,), (1,)), ((), ()))),
    "attention": ((2, 3, 5, 4), (2, 6, 5, 4), (((3,), (3,)), ((0, 2), (0, 2)))),
    "two batches, two contracted": ((2, 3, 4, 5, 6), (5, 3, 2, 7, 4), (((2, 3), (4, 0)), ((0, 1), (2, 1)))),
    "empty contraction": ((2, 0), (0, 3), (((1,), (0,)), ((), ()))),
    "empty batch": ((0, 2, 3), (0, 3, 2), (((2,), (1,)), ((0,), (0,)))),
    "empty rows": ((0, 3), (3, 2), (((1,), (0,)), ((), ()))),
}


def reference(lhs, rhs, dims):
    """dot_general by np.einsum, with a letter for each axis."""
    (lc, rc), (lb, rb) = dims
    letters = iter("abcdefghijklmnop")
    left, right = [next(letters) for _ in lhs.shape], [next(letters) for _ in rhs.shape]
    for i, j in [*zip(lc, rc, strict=True), *zip(lb, rb, strict=True)]:
        right[j] = left[i]
    out = [left[i] for i in lb] + [x for i, x in enumerate(left) if i not in lc + lb] \
        + [x for j, x in enumerate(right) if j not in rc + rb]
    return np.einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", lhs, rhs)


def staged(function, *args):
    """The results of a function run as a recorded program."""
    jaxpr, captured = stage(lambda *xs: [function(*xs)], [aval_of(as_value(x)) for x in args])
    assert not captured
    out, = eval_jaxpr(jaxpr, args)
    assert aval_of(out) == jaxpr.out_avals[0]
    return out


@pytest.mark.parametrize("case", DIMENSIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dot_general_is_what_einsum_says(case, dtype):
    left, right, dims = DIMENSIONS[case]
    x, y = sample(left, dtype), sample(right, dtype)
    if dtype in ("float16", "bfloat16"):
        expected = reference(x.astype(np.float32), y.astype(np.float32), dims).astype(x.dtype)
    else:
        expected = reference(x, y, dims)
    f = functools.partial(ops.dot_general, dimension_numbers=dims)
    close(f(x, y), expected, TOLERANCE.get(dtype, 1e-12))
    close(staged(f, x, y), f(x, y))
    view = f(np.array(x, order="F"), np.array(y, order="F"))
    close(view, expected, TOLERANCE.get(dtype, 1e-12))


@pytest.mark.parametrize("dtype, preferred", [
    ("int8", "int32"), ("int8", "int64"), ("uint8", "int32"), ("int32", "int64"), ("float16", "float32"),
    ("bfloat16", "float32"), ("float32", "float64"), ("float64", "float32"), ("float32", "complex64"), ("bool", "int32"),
    ("int32", "float32"), ("float64", "bfloat16")])
def test_preferred_element_type_is_the_dtype_of_sum_and_result(dtype, preferred):
    x, y = sample((3, 5), dtype), sample((5, 2), dtype)
    wanted = np.dtype(ml_dtypes.bfloat16) if preferred == "bfloat16" else np.dtype(preferred)
    for f in (ops.dot, c.matmul, c.dot, functools.partial(c.tensordot, axes=1), functools.partial(einsum, "ij,jk")):
        out = f(x, y, preferred_element_type=preferred)
        wide = np.complex128 if wanted.kind == "c" else np.float64
        close(out, (x.astype(wide) @ y.astype(wide)).astype(wanted), 2e-2 if preferred == "bfloat16" else 1e-3)
        close(staged(functools.partial(f, preferred_element_type=preferred), x, y), out)


def test_small_integers_wrap_around():
    x = np.full((2, 300), 100, "int8")
    close(ops.dot(x, x.T), x @ x.T)
    close(ops.dot(x.astype("uint16") * 600, x.T.astype("uint16") * 600), (x.astype("uint16") * 600) @ (x.T.astype("uint16") * 600))


def test_operands_are_promoted_and_weak_types_kept():
    assert ops.dot(np.ones(3, "int32"), np.ones(3, "float32")).dtype == np.float32
    assert c.matmul(np.ones(3, "int64"), np.ones(3, "float16")).dtype == np.float16
    assert c.dot(2, np.ones(3, "float32")).dtype == np.float32
    assert c.dot(2, 3).weak_type and int(c.dot(2, 3)) == 6
    assert c.inner(2.0, np.ones(3, "float32")).dtype == np.float32
    assert not ops.dot(np.ones(3), np.ones(3)).weak_type


def test_lax_dot_and_batch_matmul():
    x, y = sample((4, 2, 3)), sample((4, 3, 5))
    close(ops.batch_matmul(x, y), x @ y)
    close(ops.dot(x[0], y[0]), x[0] @ y[0])
    close(ops.dot(x, y, dimension_numbers=(((2,), (1,)), ((0,), (0,)))), x @ y)


MESSAGES = [
    (lambda: ops.dot_general(np.ones((2, 3), "float32"), np.ones((2, 3), "float32"), (((1,), (0,)), ((), ()))), TypeError,
     r"float32\[2,3\] and float32\[2,3\] with contracting axes \(1,\) and \(0,\)"),
    (lambda: ops.dot_general(np.ones((2, 3)), np.ones((4, 3)), (((1,), (1,)), ((0,), (0,)))), TypeError, "batch axes of equal"),
    (lambda: ops.dot_general(np.ones((2, 3)), np.ones((4, 3)), (((1, 0), (1,)), ((), ()))), TypeError, "as many contracting"),
    (lambda: ops.dot_general(np.ones((2, 3)), np.ones((2, 3)), (((1,), (1,)), ((1,), (1,)))), TypeError, "at most once"),
    (lambda: ops.dot_general(np.ones((2, 3)), np.ones((2, 3)), (((5,), (1,)), ((), ()))), TypeError, "axes of lhs from 0"),
    (lambda: ops.dot_general(np.ones(3), np.ones(3), 3), TypeError, "malformed"),
    (lambda: ops.dot_general([1.0], np.ones(1), (((0,), (0,)), ((), ()))), TypeError, "dot_general: argument 0 .*|list"),
    (lambda: ops.dot(np.ones((2, 2, 2)), np.ones(2)), ValueError, "vectors or matrices"),
    (lambda: ops.batch_matmul(np.ones((2, 2, 2)), np.ones((2, 2))), ValueError, "equally many axes"),
    (lambda: ops.dot(np.ones(2, "complex64"), np.ones(2, "complex64"), preferred_element_type="float32"), TypeError,
     "cannot hold"),
    (lambda: c.matmul(2.0, np.ones(3)), ValueError, "matmul: an operand has no axes"),
    (lambda: c.matmul(np.ones((2, 3)), np.ones((2, 3))), TypeError, r"matmul: .*\n.*float64\[2,3\]"),
    (lambda: c.matmul(np.ones((2, 3, 4)), np.ones((3, 4, 5))), ValueError, "matmul: the shapes do not broadcast"),
    (lambda: c.matmul([1, 2], np.ones(2)), TypeError, "matmul: argument 0"),
    (lambda: c.matmul(np.ones(2), np.ones(2), out_sharding=1), ValueError, "out_sharding"),
    (lambda: c.vecdot(np.ones((2, 3)), np.ones(2)), ValueError, "vecdot: .*sizes"),
    (lambda: c.tensordot(np.ones((2, 3)), np.ones(3), 3), TypeError, "tensordot: axes is out of range"),
    (lambda: c.tensordot(np.ones((2, 3)), np.ones(3), (1, 0, 0)), TypeError, "two sequences"),
    (lambda: c.tensordot(np.ones((2, 3)), np.ones((4, 2))), TypeError, "tensordot: the operands do not fit"),
    (lambda: c.cross(np.ones(3), np.ones(4)), ValueError, "2 or 3 components"),
    (lambda: c.trace(np.ones(3)), ValueError, "trace: axis 1 is out of bounds"),
    (lambda: c.trace(np.ones((3, 3)), axis2=0), ValueError, "must differ"),
    (lambda: c.outer(np.ones(3), np.ones(3), out=np.ones((3, 3))), NotImplementedError, "out="),
    (lambda: c.matvec(np.ones(3), np.ones(3)), ValueError, "matvec: .*too few"),
    (lambda: c.convolve(np.ones((2, 2)), np.ones(2)), ValueError, "convolve: .*vectors"),
    (lambda: c.convolve(np.ones(2), np.ones(0)), ValueError, "convolve: .*empty"),
    (lambda: c.correlate(np.ones(2), np.ones(2), "half"), ValueError, "mode"),
    (lambda: einsum("ij,jk", np.ones((2, 3)), np.ones((2, 3))), ValueError, "label 'j' has two sizes"),
    (lambda: einsum("ij->k", np.ones((2, 3))), ValueError, "output label 'k' is in no operand"),
    (lambda: einsum("ij->ii", np.ones((2, 3))), ValueError, "more than once"),
    (lambda: einsum("ij", np.ones((2, 3)), np.ones(2)), ValueError, "1 terms .* 2 operands"),
    (lambda: einsum("ijk", np.ones((2, 3))), ValueError, "do not fit the axes"),
    (lambda: einsum("i1", np.ones((2, 3))), ValueError, "'1' is not a label"),
    (lambda: einsum("i..", np.ones((2, 3))), ValueError, "three dots"),
    (lambda: einsum("...i...", np.ones((2, 3))), ValueError, "three dots"),
    (lambda: einsum("i"), ValueError, "no operands"),
    (lambda: einsum("i", [1, 2]), TypeError, "einsum: argument 0"),
    (lambda: einsum(np.ones(2), 3), TypeError, "neither a string nor lists"),
    (lambda: einsum("i,i,i", *[np.ones(2)] * 3, optimize="best"), ValueError, "optimize is unknown"),
    (lambda: einsum("i,i,i", *[np.ones(2)] * 3, optimize=[(0, 1), (0, 5)]), ValueError, "path"),
    (lambda: einsum("i,i,i", *[np.ones(2)] * 3, optimize=[(0, 1)]), ValueError, "more than one operand"),
    (lambda: einsum("i->i", np.ones(2), out=np.ones(2)), NotImplementedError, "out="),
    (lambda: poly.polyadd(np.ones((2, 2)), np.ones(2)), ValueError, "polyadd: .*vectors"),
    (lambda: poly.polyval(2.0, 3.0), ValueError, "polyval: .*no axis"),
    (lambda: poly.polyder(np.ones(2), -1), ValueError, "order"),
    (lambda: poly.polyint(np.ones(2), 2, np.ones(3)), ValueError, "3 constants"),
    (lambda: poly.vander(np.ones((2, 2))), ValueError, "vector"),
    (lambda: poly.vander(np.ones(2), -1), ValueError, "negative"),
    (lambda: poly.poly(np.ones((2, 2))), ValueError, "roots must be a vector"),
]


@pytest.mark.parametrize("call, error, pattern", MESSAGES)
def test_messages(call, error, pattern):
    with pytest.raises(error, match=re.compile(pattern, re.S)):
        call()


# ---------------------------------------------------------------- numpy functions


SHAPES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
          ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((5, 1, 2, 3), (6, 3, 4)),
          ((6, 5, 2, 3), (5, 3, 4)), ((1, 1, 2, 3), (1, 3, 4)), ((3,), (5, 3, 4)), ((5, 2, 3), (3,)), ((0, 3), (3, 2)),
          ((5, 2, 0), (0, 2)), ((0, 2, 3), (3, 4)), ((1, 2, 3), (0, 3, 4))]


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", ["float64", "int64", "complex64", "bool"])
def test_matmul_and_dot(shapes, dtype):
    x, y = (sample(shape, dtype) for shape in shapes)
    tolerance = TOLERANCE.get(dtype, 1e-12)
    close(c.matmul(x, y), x @ y, tolerance)
    close(c.dot(x, y), np.dot(x, y), tolerance)
    close(staged(c.matmul, x, y), x @ y, tolerance)
    close(c.OPERATORS["__matmul__"](DeviceArray(x), y), x @ y, tolerance)
    close(c.OPERATORS["__rmatmul__"](DeviceArray(y), x), x @ y, tolerance)


def test_the_operator_leaves_foreign_operands_to_their_class():
    assert c.OPERATORS["__matmul__"](DeviceArray(np.ones(2)), "ab") is NotImplemented


def test_other_products():
    a, b, v, w = sample((4, 5, 3)), sample((3, 5)), sample((4, 3)), sample((4, 5))
    z = sample((5, 3), "complex128")
    close(c.inner(a, v), np.inner(a, v))
    close(c.inner(a, 2.0), a * 2)
    close(c.outer(a, b), np.outer(a, b))
    close(c.vdot(z, b), np.asarray(np.vdot(z, b)))
    close(c.vecdot(a, z), np.vecdot(a, z))
    close(c.vecdot(z, a), np.vecdot(z, a))
    close(c.vecdot(a, w[:, :, None], axis=1), np.vecdot(a, w[:, :, None], axis=1))
    close(c.matvec(a, v), np.matvec(a, v))
    close(c.matvec(a, v[0]), np.matvec(a, v[0]))
    close(c.matvec(a[0], sample((7, 3)) * 0), np.zeros((7, 5)))
    close(c.vecmat(w, a), np.vecmat(w, a))
    close(c.vecmat(w[0] * 1j, a), np.vecmat(w[0] * 1j, a))
    close(c.kron(a, b), np.kron(a, b))
    close(c.kron(b, 2.0), np.kron(b, 2.0))
    for axes in (0, 1, ([2, 1], [0, 1]), (2, 0), ([-1], [-2])):
        close(c.tensordot(a, b, axes), np.tensordot(a, b, axes))


@pytest.mark.parametrize("sizes", [(3, 3), (2, 3), (3, 2), (2, 2)])
def test_cross(sizes):
    x, y = sample((4, sizes[0])), sample((5, 1, sizes[1]))
    full = [np.concatenate([v, np.zeros((*v.shape[:-1], 3 - v.shape[-1]))], -1) for v in (x, y)]
    expected = np.cross(*full)
    close(c.cross(x, y), expected if 3 in sizes else expected[..., 2])


def test_cross_axes():
    x, y = sample((3, 4)), sample((4, 3))
    close(c.cross(x, y, axisa=0, axisc=0), np.cross(x, y, axisa=0, axisc=0))
    close(c.cross(x, x, axis=0), np.zeros((3, 4)))


@pytest.mark.parametrize("offset", range(-5, 7))
def test_trace(offset):
    a = sample((4, 5, 3))
    for axes in ((0, 1), (2, 0), (-1, 1)):
        close(c.trace(a, offset, *axes), np.trace(a, offset, *axes))
    assert c.trace(a > 0).dtype == np.int64 and c.trace((a * 4).astype("int8")).dtype == np.int64
    assert c.trace(a, dtype="float32").dtype == np.float32


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("function", ["convolve", "correlate"])
def test_convolve_and_correlate(mode, function):
    for m, n in itertools.product(range(1, 6), repeat=2):
        a, v = sample((m,), "complex128"), sample((n,), "complex128")
        close(getattr(c, function)(a, v, mode), getattr(np, function)(a, v, mode))
    ints = getattr(c, function)(np.arange(4), np.arange(3), mode)
    close(ints, getattr(np, function)(np.arange(4.0), np.arange(3.0), mode))
    half = sample((6,), "float16")
    assert getattr(c, function)(half, half, mode).dtype == np.float16


# ---------------------------------------------------------------- einsum


@st.composite
def contractions(draw):
    """Subscripts and operands that fit them: repeated labels, broadcast axes of size 1, an ellipsis, an explicit output."""
    sizes = dict(zip("abcde", draw(st.lists(st.integers(0, 3), min_size=5, max_size=5)), strict=True))
    ellipsis = draw(st.lists(st.integers(1, 3), max_size=2))
    terms, operands = [], []
    for _ in range(draw(st.integers(1, 4))):
        labels = draw(st.lists(st.sampled_from("abcde"), max_size=3))
        shape = [sizes[x] for x in labels]
        at = draw(st.integers(0, len(labels))) if draw(st.booleans()) else None
        if at is not None:
            own = ellipsis[draw(st.integers(0, len(ellipsis))):]
            own = [draw(st.sampled_from((1, n))) for n in own]
            shape[at:at] = own
            labels[at:at] = ["..."]
        terms.append("".join(labels))
        operands.append(np.random.default_rng(len(shape)).normal(size=shape))
    text = ",".join(terms)
    used = sorted({x for x in text if x in sizes})
    if draw(st.booleans()):
        kept = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
        text += "->" + ("..." if "..." in text else "") + "".join(kept)
    return text, operands


@settings(max_examples=300, deadline=None)
@given(contractions(), st.sampled_from(["auto", "optimal", "greedy", True, False]))
def test_einsum_is_numpy_s(case, optimize):
    text, operands = case
    expected = np.einsum(text, *operands)
    out = einsum(text, *operands, optimize=optimize)
    close(out, np.asarray(expected), 1e-10)
    close(staged(functools.partial(einsum, text), *operands), np.asarray(expected), 1e-10)


EINSUMS = ["ij,jk->ik", "ii->i", "ii", "iij->j", "bij,bjk", "i,j,k->kji", "ij,jk,kl", "...ij,...jk", "i,i->i", "ij,ij->",
           "iii->i", "ba", "ij,jk->ki"]


@pytest.mark.parametrize("text", EINSUMS)
def test_einsum_sublists_and_dtypes(text):
    sizes = dict(zip("ijklab", (3, 4, 2, 5, 2, 3), strict=True))
    left, _, right = text.partition("->")
    operands = [sample([sizes.get(x, 2) for x in term.replace("...", "")], "float32") for term in left.split(",")]
    close(einsum(text, *operands), np.einsum(text, *operands), 1e-4)
    if "..." not in text:
        parts = [part for x, term in zip(operands, left.split(","), strict=True) for part in (x, [ord(t) for t in term])]
        out = [[ord(x) for x in right]] if "->" in text else []
        close(einsum(*parts, *out), np.einsum(text, *operands), 1e-4)


def test_einsum_sublist_ellipsis_and_scalars():
    x, y = sample((2, 3, 4)), sample((4, 5))
    close(einsum(x, [Ellipsis, 0], y, [0, 1]), x @ y)
    close(einsum(x, [Ellipsis, 0], y, [0, 1], [1, Ellipsis]), np.moveaxis(x @ y, -1, 0))
    assert float(einsum("", 2.0)) == 2.0 and einsum("", 2.0).weak_type
    close(einsum(",i", 2.0, np.ones(3, "float32")), np.full(3, 2, "float32"))
    assert bool(einsum("i,i", np.ones(300, bool), np.ones(300, bool)))


def test_results_are_arrays_that_later_writes_do_not_reach():
    x = np.ones((2, 3))
    results = [einsum("ij->ij", x), poly.polyder(x[0], 0), poly.polyint(x[0], 0), poly.polydiv(x[0], np.ones(5))[1],
               einsum("ij->ji", x), c.outer(x, 1.0), c.trace(x)]
    before = [np.array(r) for r in results]
    x[:] = 7
    for r, b in zip(results, before, strict=True):
        assert isinstance(r, DeviceArray)
        close(r, b)


def test_einsum_path():
    x, y, z = sample((2, 30)), sample((30, 4)), sample((4, 500))
    path, account = einsum_path("ij,jk,kl", x, y, z)
    assert path == [(0, 1), (0, 1)] and "contraction" in account
    close(einsum("ij,jk,kl", x, y, z, optimize=path), x @ y @ z)
    close(einsum("ij,jk,kl", x, y, z, optimize=["einsum_path", (0, 1, 2)]), x @ y @ z)


# ---------------------------------------------------------------- derivatives


def numeric_jvp(function, primals, tangents, h=1e-6):
    plus = function(*[p + h * t for p, t in zip(primals, tangents, strict=True)])
    minus = function(*[p - h * t for p, t in zip(primals, tangents, strict=True)])
    return (np.asarray(plus) - np.asarray(minus)) / (2 * h)


def check_derivatives(function, *primals, tolerance=1e-6):
    """Forward mode against finite differences, reverse against forward mode, and once more on the gradient."""
    def scalar(*xs):
        y = function(*xs)
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        return einsum("i,i->", c._flat(y), c._flat(as_value(weights))) ** 2

    tangents = [sample(p.shape) for p in primals]
    _, out = jvp(function, tuple(primals), tuple(tangents))
    np.testing.assert_allclose(np.asarray(out), numeric_jvp(function, primals, tangents), rtol=tolerance, atol=tolerance)
    y, pullback = vjp(function, *primals)
    ct = sample(y.shape)
    cts = pullback(as_value(ct))
    inner = sum(np.sum(np.asarray(a) * b) for a, b in zip(cts, tangents, strict=True))
    np.testing.assert_allclose(inner, np.sum(np.asarray(out) * ct), rtol=1e-9, atol=1e-9)
    everything = tuple(range(len(primals)))
    gradient = grad(scalar, everything)
    _, second = jvp(gradient, tuple(primals), tuple(tangents))
    for k in everything:
        expected = numeric_jvp(lambda *xs, k=k: gradient(*xs)[k], primals, tangents)
        scale = 1 + np.max(np.abs(expected), initial=0)
        np.testing.assert_allclose(np.asarray(second[k]) / scale, expected / scale, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [k for k in DIMENSIONS if "empty" not in k])
def test_derivatives_of_dot_general(case):
    left, right, dims = DIMENSIONS[case]
    check_derivatives(functools.partial(ops.dot_general, dimension_numbers=dims), sample(left), sample(right))


@pytest.mark.parametrize("case", [k for k in DIMENSIONS if "empty" in k])
def test_derivatives_of_empty_contractions_are_zeros(case):
    left, right, dims = DIMENSIONS[case]
    y, pullback = vjp(functools.partial(ops.dot_general, dimension_numbers=dims), sample(left), sample(right))
    a, b = pullback(as_value(np.ones(y.shape)))
    close(a, np.zeros(left))
    close(b, np.zeros(right))


def test_closed_forms():
    a, x, y = sample((3, 3)), sample((3,)), sample((2, 3))
    close(grad(lambda x: c.dot(x, c.matmul(a, x)))(x), (a + a.T) @ x, 1e-10)
    close(hessian(lambda x: c.dot(x, c.matmul(a, x)))(x), a + a.T, 1e-10)
    close(jacrev(lambda x: c.matmul(a, x))(x), a, 1e-10)
    close(jacfwd(lambda x: c.matmul(a, x))(x), a, 1e-10)
    close(grad(lambda a: c.trace(c.matmul(a, a)))(a), 2 * a.T, 1e-10)
    close(grad(lambda y: c.trace(c.matmul(y, y, preferred_element_type="float64"), 0))(a), 2 * a.T, 1e-10)
    close(jacrev(lambda w: c.matmul(y, w))(x), y, 1e-10)


@pytest.mark.parametrize("dtype, preferred", [("float16", "float32"), ("bfloat16", "float32"), ("float32", "float64"),
                                              ("float64", "float32"), ("float32", "complex64")])
def test_cotangents_have_the_dtype_of_the_operand(dtype, preferred):
    x, y = sample((2, 3), dtype), sample((3, 4), dtype)
    out, pullback = vjp(functools.partial(c.matmul, preferred_element_type=preferred), x, y)
    ct_x, ct_y = pullback(as_value(np.ones((2, 4), preferred)))
    close(ct_x, (np.ones((2, 4), "float32") @ y.astype("float32").T).astype(x.dtype), 2e-2)
    close(ct_y, (x.astype("float32").T @ np.ones((2, 4), "float32")).astype(x.dtype), 2e-2)


def test_complex_cotangents_are_not_conjugated():
    x, y = sample((2, 3), "complex128"), sample((3, 4), "complex128")
    out, pullback = vjp(c.matmul, x, y)
    ct = sample((2, 4), "complex128")
    ct_x, ct_y = pullback(as_value(ct))
    close(ct_x, ct @ y.T)
    close(ct_y, x.T @ ct)


DIFFERENTIABLE = {
    "matmul stack": (c.matmul, (5, 2, 3), (3, 4)),
    "matmul broadcast": (c.matmul, (1, 2, 3), (5, 3, 4)),
    "matmul vector": (c.matmul, (3,), (5, 3, 4)),
    "dot": (c.dot, (2, 3), (4, 3, 2)),
    "inner": (c.inner, (2, 3), (4, 3)),
    "outer": (c.outer, (2, 3), (4,)),
    "vecdot": (c.vecdot, (2, 3), (3,)),
    "matvec": (c.matvec, (2, 3, 4), (2, 4)),
    "vecmat": (c.vecmat, (2, 3), (2, 3, 4)),
    "kron": (c.kron, (2, 3), (3,)),
    "tensordot": (lambda a, b: c.tensordot(a, b, ([0, 2], [1, 0])), (2, 3, 4), (4, 2, 3)),
    "cross": (c.cross, (4, 3), (3,)),
    "cross of planes": (c.cross, (4, 2), (3,)),
    "trace": (lambda a, b: c.trace(c.matmul(a, b), 1), (4, 3), (3, 4)),
    "convolve": (c.convolve, (5,), (3,)),
    "convolve same": (lambda a, b: c.convolve(a, b, "same"), (3,), (4,)),
    "correlate": (c.correlate, (5,), (3,)),
    "correlate full": (lambda a, b: c.correlate(a, b, "full"), (3,), (4,)),
    "einsum diagonal": (lambda a, b: einsum("iij,jk->ik", a, b), (3, 3, 2), (2, 4)),
    "einsum sums": (lambda a, b: einsum("abc,ce->a", a, b), (2, 3, 4), (4, 2)),
    "einsum broadcast": (lambda a, b: einsum("...ij,...jk", a, b), (2, 1, 2, 3), (4, 3, 2)),
    "polyval": (poly.polyval, (4,), (3,)),
    "polyval loop": (lambda p, x: poly.polyval(p, x, unroll=2), (5,), (2,)),
    "polymul": (poly.polymul, (4,), (3,)),
    "polyadd": (poly.polyadd, (4,), (3,)),
    "polysub": (poly.polysub, (2,), (3,)),
    "polydiv": (lambda u, v: poly.polydiv(u, v)[0], (5,), (3,)),
    "polydiv rest": (lambda u, v: poly.polydiv(u, v)[1], (5,), (3,)),
    "polyint": (lambda p, k: poly.polyint(p, 2, k), (3,), (2,)),
    "polyder": (lambda p, x: poly.polyval(poly.polyder(p, 2), x), (5,), (2,)),
    "poly": (lambda r, x: poly.polyval(poly.poly(r), x), (3,), (2,)),
    "vander": (lambda x, y: c.matmul(poly.vander(x, 3), y), (4,), (3,)),
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_derivatives(name):
    function, left, right = DIFFERENTIABLE[name]
    a, b = sample(left), sample(right)
    if "polydiv" in name:
        b[0] = 2.0
    check_derivatives(function, a, b, tolerance=1e-5)


# ---------------------------------------------------------------- batches


def by_hand(function, in_axes, size, *args):
    rows = [function(*[a if d is None else np.take(a, i, d) for a, d in zip(args, in_axes, strict=True)])
            for i in range(size)]
    return np.stack([np.asarray(r) for r in rows])


def axes_of(*ndims):
    choices = [[None, *range(n + 1)] for n in ndims]
    return [axes for axes in itertools.product(*choices) if any(d is not None for d in axes)]


@pytest.mark.parametrize("case", ["vectors", "matrices", "batch in the middle", "two contracted, crossed", "outer",
                                  "stack on the right", "attention"])
def test_vmap_of_dot_general(case):
    left, right, dims = DIMENSIONS[case]
    f = functools.partial(ops.dot_general, dimension_numbers=dims)
    for axes in axes_of(len(left), len(right)):
        args = [sample(shape if d is None else (*shape[:d], 7, *shape[d:]))
                for shape, d in zip((left, right), axes, strict=True)]
        expected = by_hand(f, axes, 7, *args)
        close(vmap(f, in_axes=axes)(*args), expected, 1e-10)
        close(staged(vmap(f, in_axes=axes), *args), expected, 1e-10)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_vmap(name):
    function, left, right = DIFFERENTIABLE[name]
    for axes in ((0, 0), (0, None), (None, 0), (len(left), 0)):
        args = [sample(shape if d is None else (*shape[:d], 3, *shape[d:])) for shape, d in zip((left, right), axes, strict=True)]
        if "polydiv" in name:
            args[1] = args[1] + 3
        close(vmap(function, in_axes=axes)(*args), by_hand(function, axes, 3, *args), 1e-9)


def test_vmap_of_grad_and_grad_of_vmap():
    w, x = sample((4, 2, 3)), sample((5, 3))

    def loss(w, x):
        y = c.matmul(w, x)
        return c.dot(y, y)

    both = vmap(vmap(grad(loss), in_axes=(None, 0)), in_axes=(0, None))(w, x)
    close(both, 2 * np.einsum("aij,bj,bk->abik", w, x, x), 1e-10)
    total = grad(lambda w: einsum("i->", vmap(loss, in_axes=(None, 0))(w, x)))(w[0])
    close(total, 2 * w[0] @ x.T @ x, 1e-10)
    second = vmap(hessian(loss, 1), in_axes=(0, None))(w, x[0])
    close(second, 2 * np.einsum("aij,aik->ajk", w, w), 1e-10)


def test_symbolic_zero_tangents_cost_nothing():
    from funcgrad.core.types import Zero
    x, y = as_value(sample((2, 3))), as_value(sample((3, 2)))
    outs, tangents = jvp_flat(lambda x, y: [c.matmul(x, y)], [x, y], [x, Zero(y.aval)])
    close(tangents[0], np.asarray(outs[0]))


# ---------------------------------------------------------------- polynomials


def test_polynomials():
    p, q, x = sample((4,)), sample((3,)), sample((2, 3))
    close(poly.polyval(p, x), np.polyval(p, x))
    close(poly.polyval(sample((40,)) * 0 + 1, np.array([1.0, 0.5])), np.polyval(np.ones(40), np.array([1.0, 0.5])))
    close(poly.polyval(np.arange(3), 2), np.asarray(4))
    close(poly.polyval(np.ones((2, 3)), np.ones(3)), np.full(3, 2.0))
    close(poly.polyval(np.ones(0), np.ones(3)), np.zeros(3))
    close(poly.polyadd(p, q), np.polyadd(p, q))
    close(poly.polysub(q, p), np.polysub(q, p))
    close(poly.polymul(p, q), np.polymul(p, q))
    close(poly.polymul(np.array([0, 0, 1, 2]), np.array([0, 2]), trim_leading_zeros=True), np.array([2.0, 4.0]))
    for m in range(6):
        close(poly.polyder(p, m), np.polyder(p, m) if m < 4 else np.zeros(0))
        close(poly.polyint(p, m), np.polyint(p, m))
    close(poly.polyder(np.arange(6.0).reshape(2, 3)), np.array([[0.0, 1.0, 2.0]]))
    close(poly.polyint(p, 3, np.array([1.0, 2.0, 3.0])), np.polyint(p, 3, [1, 2, 3]))
    close(poly.polyint(p, 2, 3), np.polyint(p, 2, [3, 3]))
    close(poly.poly(p), np.poly(p))
    close(poly.poly(np.arange(1, 4)), np.array([1.0, -6.0, 11.0, -6.0]))
    close(poly.vander(p), np.vander(p))
    close(poly.vander(np.arange(1, 4), 2, increasing=True), np.array([[1, 1], [1, 2], [1, 3]]))
    close(poly.vander(p, 0), np.zeros((4, 0)))


def test_polydiv():
    u, v = sample((6,)), np.array([2.0, 1.0, -3.0])
    quotient, rest = poly.polydiv(u, v)
    expected_quotient, expected_rest = np.polydiv(u, v)
    close(quotient, expected_quotient)
    close(rest, np.concatenate([np.zeros(6 - len(expected_rest)), expected_rest]), 1e-11)
    close(poly.polydiv(u, v, trim_leading_zeros=True)[1], expected_rest, 1e-11)
    quotient, rest = poly.polydiv(v, u)
    close(quotient, np.zeros(1))
    close(rest, v)
    quotient, rest = poly.polydiv(np.array([1, 5, 6]), np.array([1, 2]))
    close(quotient, np.array([1.0, 3.0]))
    close(rest, np.zeros(3))
