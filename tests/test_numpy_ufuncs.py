"""Elementwise functions of ``funcgrad.numpy``: values and dtypes against NumPy, derivatives, JAX's choices, errors."""
from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.test_util import check_grads

ARRAYS = {
    "bool": np.array([True, False, True]), "int64": np.array([-3, 0, 2]), "uint8": np.array([3, 2, 0], np.uint8),
    "float64": np.array([-1.5, 0.0, 2.25]), "float32": np.array([0.3, -0.0, 4e10], np.float32),
    "special": np.array([np.nan, np.inf, -np.inf]), "complex128": np.array([1 + 2j, 0j, -1j]),
}
UNARY = {
    "absolute": "bool int64 uint8 float64 float32 special complex128", "angle": "int64 float64 special complex128",
    "arccos": "float64", "arccosh": "float64", "arcsin": "float64", "arcsinh": "int64 float64 complex128",
    "arctan": "int64 float64 special", "arctanh": "float64", "bitwise_count": "int64 uint8",
    "bitwise_invert": "bool int64 uint8", "cbrt": "int64 float64 float32 special", "ceil": "int64 float64 special",
    "conj": "int64 float64 complex128", "cos": "int64 float64 complex128", "cosh": "float64 complex128",
    "deg2rad": "int64 float64 float32", "exp": "int64 float64 float32 special complex128", "exp2": "int64 float64",
    "expm1": "int64 float64 special", "fabs": "int64 float64 special", "fix": "float64 special",
    "floor": "bool int64 uint8 float64 special", "i0": "float64", "imag": "bool int64 float64 special complex128",
    "invert": "bool int64 uint8", "iscomplex": "int64 float64 complex128", "isfinite": "int64 float64 special complex128",
    "isinf": "int64 float64 special complex128", "isnan": "int64 float64 special complex128",
    "isneginf": "float64 special", "isposinf": "float64 special", "isreal": "int64 float64 complex128",
    "log": "float64 complex128", "log10": "float64 complex128", "log1p": "float64", "log2": "float64",
    "logical_not": "bool int64 float64 special complex128", "nan_to_num": "bool int64 float64 float32 special",
    "negative": "int64 uint8 float64 complex128", "positive": "int64 float64", "rad2deg": "int64 float64",
    "real": "int64 float64 complex128", "rint": "int64 float64 complex128", "round": "int64 float64 complex128",
    "sign": "int64 uint8 float64 special", "signbit": "int64 float64 float32 special", "sin": "int64 float64 complex128",
    "sinc": "float64 float32", "sinh": "float64", "spacing": "float64 float32", "sqrt": "int64 float64 special complex128",
    "square": "int64 float64 complex128", "tan": "float64", "tanh": "float64 complex128",
    "trunc": "int64 float64 special",
}
BINARY = ["add", "subtract", "multiply", "divide", "arctan2", "copysign", "equal", "not_equal", "less", "less_equal", "greater",
          "greater_equal", "float_power", "floor_divide", "fmax", "fmin", "fmod", "heaviside", "hypot", "logaddexp",
          "logaddexp2", "logical_and", "logical_or", "logical_xor", "maximum", "minimum", "mod", "nextafter", "remainder",
          "isclose", "divmod"]
INTEGER = ["bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm", "left_shift", "right_shift", "floor_divide", "mod", "fmod"]


def same(actual, expected, rtol=1e-12):
    if isinstance(expected, (tuple, list)):
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            same(a, e, rtol)
        return
    expected = np.asarray(expected)
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=max(rtol, 1e-6 if expected.dtype.itemsize == 4 else 0),
                               atol=1e-15)


@pytest.mark.parametrize("name,kind", [(n, k) for n, kinds in UNARY.items() for k in kinds.split()])
def test_unary_as_numpy(name, kind):
    x = ARRAYS[kind]
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
        if name in ("cbrt", "deg2rad", "rad2deg", "sinc", "nan_to_num") and kind == "float32":
            expected = expected.astype(np.float32)
        if name in ("rint", "trunc", "ceil", "floor") and kind == "int64":
            expected = expected.astype(float if name == "rint" else int)
        same(getattr(fnp, name)(x), expected)
        same(fg.jit(getattr(fnp, name))(fnp.asarray(x)), expected)
        same(fg.vmap(getattr(fnp, name))(x), expected)


@pytest.mark.parametrize("name", BINARY)
def test_binary_as_numpy(name):
    function, reference = getattr(fnp, name), getattr(np, name)
    x = np.array([-1.5, 0.0, 2.25, 3.0, np.inf, np.nan, -0.0])
    y = np.array([0.5, 0.0, -2.0, 3.0, -np.inf, 1.0, 0.0])
    with np.errstate(all="ignore"):
        same(function(x, y), reference(x, y))
        same(function(x[:, None], y), reference(x[:, None], y))
        same(fg.jit(function)(x[:, None], y), reference(x[:, None], y))
        same(function(x, 2.0), reference(x, 2.0))
        same(fg.vmap(function, (0, None))(x, y), reference(x[:, None], y))


@pytest.mark.parametrize("name", INTEGER)
def test_integers_as_numpy(name):
    x, y = np.array([-7, 0, 12, 5]), np.array([3, 4, 8, 1])
    same(getattr(fnp, name)(x, y), getattr(np, name)(x, y))
    same(fg.jit(getattr(fnp, name))(x, 3), getattr(np, name)(x, 3))


def test_dtypes_that_are_jaxs_and_not_numpys():
    assert fnp.exp(np.array([1, 2], np.uint8)).dtype == np.float32  # NumPy: float16
    assert fnp.square(np.array([True])).dtype == np.int32
    assert fnp.remainder(np.array([True]), np.array([True])).dtype == np.int32
    assert (fnp.float32(1) * 2.5).dtype == np.float32 and (fnp.float32([1]) + np.int64(1)).dtype == np.float32
    assert fnp.floor(np.array([1, 2])).dtype == np.int64 and fnp.rint(np.array([1])).dtype == np.float64
    assert fnp.heaviside(np.array([1]), 0.5).dtype == np.float64
    assert fnp.bitwise_count(np.array([-3])).dtype == np.uint8
    assert fnp.exp(2).weak_type and fnp.add(1.0, 2.0).weak_type and not fnp.exp(fnp.ones(1)).weak_type
    assert fnp.maximum(np.ones(1, ml_dtypes.bfloat16), 1.0).dtype == ml_dtypes.bfloat16


def test_aliases_are_the_same_functions():
    for group in ("acos arccos", "asin arcsin", "atan arctan", "atan2 arctan2", "acosh arccosh", "asinh arcsinh",
                  "atanh arctanh", "abs absolute", "pow power", "bitwise_not bitwise_invert invert", "true_divide divide",
                  "bitwise_left_shift left_shift", "bitwise_right_shift right_shift", "mod remainder",
                  "radians deg2rad", "degrees rad2deg", "conjugate conj", "around round"):
        functions = [getattr(fnp, name) for name in group.split()]
        assert all(f is functions[0] for f in functions)


# ---------------------------------------------------------------- parts of numbers

EDGE = np.array([1e-310, 5e-324, 0.0, -0.0, -3.5, np.inf, -np.inf, np.nan, 1e300, 1.0])


def test_frexp_ldexp_modf_as_numpy_also_for_subnormal_numbers():
    same(fnp.frexp(EDGE), np.frexp(EDGE))
    n = np.array([1000, 10, 5, 3, -5, 1, 1, 1, -2000, -1074])
    same(fnp.ldexp(EDGE, n), np.ldexp(EDGE, n), rtol=0)
    same(fnp.ldexp(np.array([1.1, 1.7, 1.3]), np.array([-1060, -1073, 1023])),
         np.ldexp([1.1, 1.7, 1.3], [-1060, -1073, 1023]), rtol=0)
    same(fnp.modf(EDGE), np.modf(EDGE))
    same(fnp.copysign(EDGE, -0.0), np.copysign(EDGE, -0.0))
    x = np.array([0.1, 6e4, 6e-8, 2.0], np.float16)
    same(fnp.frexp(x), np.frexp(x))
    assert fnp.frexp(x.astype(ml_dtypes.bfloat16))[0].dtype == ml_dtypes.bfloat16


def test_packbits():
    x = np.random.default_rng(0).integers(0, 3, (3, 11))
    for options in ({}, {"axis": 0}, {"axis": 1, "bitorder": "little"}):
        packed = np.packbits(x, **options)
        same(fnp.packbits(x, **options), packed)
        same(fg.jit(lambda v, o=options: fnp.packbits(v, **o))(x), packed)
        for count in (None, 5, -3, 40):
            same(fnp.unpackbits(packed, count=count, **options), np.unpackbits(packed, count=count, **options))
    with pytest.raises(TypeError, match="not packed"):
        fnp.packbits(np.ones(3))
    with pytest.raises(TypeError, match="not bytes"):
        fnp.unpackbits(x)


@pytest.mark.parametrize("decimals", [0, 1, 3, -1])
def test_round(decimals):
    x = np.array([0.5, 1.5, 2.5, -12.3456, 155.0])
    same(fnp.round(x, decimals), np.round(x, decimals))
    same(fnp.round(x * (1 + 2j), decimals), np.round(x * (1 + 2j), decimals))
    assert fnp.array(2.678).__round__(1) == 2.7


# ---------------------------------------------------------------- derivatives

SMOOTH = {
    "sin": (-2, 2), "cos": (-2, 2), "tan": (-1, 1), "arcsin": (-0.9, 0.9), "arccos": (-0.9, 0.9), "arctan": (-2, 2),
    "sinh": (-2, 2), "cosh": (-2, 2), "tanh": (-2, 2), "arcsinh": (-2, 2), "arccosh": (1.1, 3), "arctanh": (-0.9, 0.9),
    "exp": (-2, 2), "exp2": (-2, 2), "expm1": (-2, 2), "log": (0.2, 3), "log2": (0.2, 3), "log10": (0.2, 3),
    "log1p": (-0.5, 3), "sqrt": (0.2, 3), "cbrt": (0.2, 3), "square": (-2, 2), "reciprocal": (0.3, 2), "sinc": (-2, 2),
    "i0": (-2, 2), "deg2rad": (-2, 2), "rad2deg": (-2, 2), "absolute": (0.1, 2), "fabs": (-2, -0.1), "negative": (-2, 2),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_derivatives_of_unary_functions(name):
    low, high = SMOOTH[name]
    x = np.linspace(low, high, 5) + 0.013
    check_grads(getattr(fnp, name), (x,), order=2)


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "arctan2", "hypot", "logaddexp", "logaddexp2",
                                  "maximum", "minimum", "fmax", "fmin", "float_power", "remainder", "fmod", "copysign"])
def test_derivatives_of_binary_functions(name):
    x, y = np.array([[0.7, 1.9, 2.3]]), np.array([[1.3], [0.4]])
    check_grads(getattr(fnp, name), (x, y), order=2)


def test_the_derivative_of_sinc_at_zero_is_right_to_high_order():
    f = fnp.sinc
    expected = [1.0, 0.0, -np.pi**2 / 3, 0.0, np.pi**4 / 5, 0.0, -np.pi**6 / 7]
    for value in expected:
        np.testing.assert_allclose(float(f(0.0)), value, rtol=1e-10, atol=1e-10)
        f = fg.grad(f)
    third = fg.grad(fg.grad(fg.grad(fnp.sinc)))
    np.testing.assert_allclose(float(third(0.159154)), float(third(0.159156)), rtol=1e-4)  # where its two forms meet


def test_kinks():
    grads = fg.grad(lambda x, y: fnp.maximum(x, y), (0, 1))(1.0, 1.0)
    assert [float(g) for g in grads] == [0.5, 0.5]
    assert float(fg.grad(fnp.abs)(0.0)) == 0.0 and float(fg.grad(fnp.sign)(3.0)) == 0.0
    assert float(fg.grad(lambda x: fnp.clip(x, 0.0, 1.0))(0.0)) == 0.0
    assert float(fg.grad(lambda x: fnp.clip(x, 0.0, 1.0))(2.0)) == 0.0
    assert float(fg.grad(fnp.hypot)(0.0, 0.0)) == 0.0
    assert [float(g) for g in fg.grad(fnp.fmax, (0, 1))(np.nan, 2.0)] == [0.0, 1.0]
    assert [float(g) for g in fg.grad(fnp.copysign, (0, 1))(2.0, -1.0)] == [-1.0, 0.0]
    assert float(fg.grad(lambda x: fnp.frexp(x)[0])(12.0)) == 1 / 16
    assert float(fg.grad(lambda x: fnp.ldexp(x, 3))(1.0)) == 8.0
    assert float(fg.grad(lambda x: fnp.modf(x)[0])(1.25)) == 1.0


def test_logaddexp_at_the_edges():
    first, second = fg.grad(fnp.logaddexp, 0), fg.grad(fnp.logaddexp, 1)
    inf = np.inf
    for x, y, share in [(-inf, 0.0, 0.0), (0.0, -inf, 1.0), (inf, 0.0, 1.0), (1.5, 1.5, 0.5), (-inf, -inf, 0.5),
                        (inf, inf, 0.5), (1000.0, 0.0, 1.0)]:
        assert float(first(x, y)) == share and float(second(x, y)) == 1 - share
    assert float(fg.grad(first)(2.0, 2.0)) == 0.25
    z = np.array([1 + 2j, 0.5j])
    np.testing.assert_allclose(np.asarray(fnp.logaddexp(z, 1.0)), np.log(np.exp(z) + np.e), rtol=1e-12)


# ---------------------------------------------------------------- truth and errors


def test_comparisons_of_whole_arrays():
    x, nan = np.array([1.0, 2.0]), np.array([1.0, np.nan])
    assert bool(fnp.allclose(x, x + 1e-9)) and not bool(fnp.allclose(x, nan))
    assert bool(fnp.array_equal(x, [1, 2])) and not bool(fnp.array_equal(x, [1, 2, 3]))
    assert not bool(fnp.array_equal(nan, nan)) and bool(fnp.array_equal(nan, nan, equal_nan=True))
    assert bool(fnp.array_equiv(x, [x, x])) and not bool(fnp.array_equiv(x, [1, 2, 3]))
    assert fnp.isclose(nan, nan, equal_nan=True).tolist() == [True, True]
    assert fnp.iscomplexobj(1j) and fnp.iscomplexobj(fnp.ones(1, complex)) and fnp.isrealobj([1.0])
    assert fg.jit(fnp.allclose)(x, x).dtype == bool


def test_nan_to_num():
    x = np.array([np.nan, np.inf, -np.inf, 1.0])
    same(fnp.nan_to_num(x, nan=2.0, posinf=5), np.nan_to_num(x, nan=2.0, posinf=5))
    z = np.array([complex(np.nan, np.inf), complex(-np.inf, 1)])
    same(fnp.nan_to_num(z), np.nan_to_num(z))
    same(fnp.nan_to_num(x.astype(np.float32)), np.nan_to_num(x.astype(np.float32)))
    assert fg.grad(lambda v: fnp.sum(fnp.nan_to_num(v)))(x).tolist() == [0.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("call,error,text", [
    (lambda: fnp.sin([1.0, 2.0]), TypeError, "sin: argument 0 is not an array.*\n.*\n.*\n.*asarray"),
    (lambda: fnp.add([1.0], fnp.ones(1)), TypeError, "add: argument 0"),
    (lambda: fnp.add(fnp.ones(2), fnp.ones(3)), ValueError, "do not broadcast"),
    (lambda: fnp.sign(np.array([True])), TypeError, "a bool has no sign"),
    (lambda: fnp.negative(True), TypeError, "no negative"),
    (lambda: fnp.fabs(1j), TypeError, "fabs: not defined for complex"),
    (lambda: fnp.hypot(1j, 1.0), TypeError, "hypot: not defined for complex"),
    (lambda: fnp.clip(1j, 0, 1), ValueError, "complex numbers have no order"),
    (lambda: fnp.isposinf(1j), ValueError, "complex numbers have no sign"),
    (lambda: fnp.gcd(1.0, 2), ValueError, "only integers have common divisors"),
    (lambda: fnp.ldexp(1.0, 2.0), TypeError, "exponents are not integers"),
    (lambda: fnp.round(3, -1), NotImplementedError, "negative decimals"),
    (lambda: fnp.bitwise_and(1.0, 2), TypeError, "only integers and bools"),
])
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call()
