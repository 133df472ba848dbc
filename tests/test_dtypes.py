"""Element types to the corner: promotion against JAX's, bools, narrow and unsigned integers, narrow floats, compiled and not."""
from __future__ import annotations

import json
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import dtypes, lax

PROMOTION = json.loads((Path(__file__).parent / "reference" / "promotion.json").read_text())
SCALARS = {"py:bool": True, "py:int": 2, "py:float": 2.0, "py:complex": 2 + 0j}
ANY_WEAKNESS = {"power", "hypot", "logaddexp", "logaddexp2", "copysign", "heaviside", "gcd"}
"""Whether the result of two scalars is weak depends in JAX on how the function is composed there."""


def operand(name):
    return SCALARS[name] if name in SCALARS else fnp.ones((2,), name)


def promoted(function, *names):
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            out = function(*map(operand, names))
    except (TypeError, ValueError, NotImplementedError):
        return "error"
    out = out[0] if isinstance(out, tuple) else out
    return out.dtype.name + ("*" if out.weak_type else "")


def same_type(name, found, expected):
    if found.rstrip("*") == "bool" or name in ANY_WEAKNESS:
        return found.rstrip("*") == expected.rstrip("*")
    return found == expected


@pytest.mark.parametrize("name", PROMOTION["binary"])
def test_promotion_of_two_operands_is_jaxs(name):
    function = {"where": lambda x, y: fnp.where(np.array([True, False]), x, y)}.get(name) or getattr(fnp, name)
    wrong = {}
    for left, row in PROMOTION["binary"][name].items():
        for right, expected in zip(PROMOTION["operands"], row.split(), strict=True):
            found = promoted(function, left, right)
            if name == "arctan2" and "complex" in left + right:
                expected = "error"  # as in NumPy: the plane has no angle of complex coordinates
            if not same_type(name, found, expected):
                wrong[left, right] = (found, expected)
    assert not wrong


@pytest.mark.parametrize("name", PROMOTION["unary"])
def test_promotion_of_one_operand_is_jaxs(name):
    wrong = {}
    for x, expected in zip(PROMOTION["operands"], PROMOTION["unary"][name].split(), strict=True):
        found = promoted(getattr(fnp, name), x)
        if name == "round" and "bool" in x:
            expected = "bool"  # a bool is its own rounding; JAX refuses it
        if name == "imag":
            found, expected = found.rstrip("*"), expected.rstrip("*")
        if not same_type(name, found, expected):
            wrong[x] = (found, expected)
    assert not wrong


# ---------------------------------------------------------------- bools and integers


def both(function, *args):
    """The result, which is the same interpreted and compiled."""
    eager, compiled = function(*args), fg.jit(function)(*args)
    for x, y in zip(fg.tree.leaves(eager), fg.tree.leaves(compiled), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
    return eager


def test_arithmetic_of_bools():
    p, q = np.array([True, True, False]), np.array([True, False, False])
    total, product, xor, negated = both(lambda p, q: (p + q, p * q, p ^ q, ~p), fnp.asarray(p), fnp.asarray(q))
    assert total.tolist() == [True, True, False] and product.tolist() == [True, False, False]
    assert xor.tolist() == [False, True, False] and negated.tolist() == [False, False, True]
    assert fnp.sum(p).dtype == np.int64 and fnp.mean(p).dtype == np.float32 and fnp.cumsum(p).tolist() == [1, 2, 2]
    with pytest.raises(TypeError, match="bools cannot be subtracted"):
        fnp.asarray(p) - q
    with pytest.raises(TypeError, match="a bool has no negative"):
        -fnp.asarray(p)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integers_wrap_around(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = fnp.asarray(np.array([low, high, high // 2 + 1, 1], dtype))

    def f(x):
        return x + 1, x - 1, x * 2, -x, x * x, x << 1

    def numpy(x):
        one = x.dtype.type(1)
        return x + one, x - one, x * x.dtype.type(2), -x, x * x, x << one

    with np.errstate(all="ignore"):
        for found, expected in zip(both(f, x), numpy(np.asarray(x)), strict=True):
            assert found.dtype == dtype
            np.testing.assert_array_equal(np.asarray(found), expected)


@pytest.mark.parametrize("dtype, wide", [("int8", "int64"), ("uint8", "uint64"), ("int16", "int64"), ("uint32", "uint64")])
def test_sums_of_narrow_integers_are_wide(dtype, wide):
    x = fnp.full((300,), 100, dtype)
    total, running, largest = both(lambda x: (fnp.sum(x), fnp.cumsum(x)[-1], fnp.max(x)), x)
    assert total.dtype == wide and int(total) == 30000 and largest.dtype == dtype
    assert running.dtype == dtype and int(running) == np.array(30000).astype(dtype)
    assert fnp.sum(x, dtype=dtype).dtype == dtype and fnp.prod(x[:2]).tolist() == 10000


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint64"])
def test_division_of_integers_by_zero_and_past_the_end(dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = fnp.asarray(np.array([low, high, 5, 0], dtype))
    zero = fnp.zeros_like(x)
    with np.errstate(all="ignore"):
        quotient, rest, both_of_them = both(lambda x, y: (x // y, x % y, fnp.divmod(x, y)), x, zero)
        assert not np.any(quotient) and not np.any(rest) and not np.any(both_of_them[0])
        if low:
            minus = both(lambda x: (x // -1, x % -1), x)
            np.testing.assert_array_equal(np.asarray(minus[0]), np.asarray(x) // np.array(-1, dtype))
            assert not np.any(minus[1])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_shifts_by_the_width_and_more(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    x = fnp.asarray(np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 1], dtype))
    for count in (bits, bits + 1, min(5 * bits, np.iinfo(dtype).max)):
        n = fnp.full(x.shape, count, dtype)
        left, right, logical = both(lambda x, n: (x << n, x >> n, lax.shift_right_logical(x, n)), x, n)
        assert not np.any(left) and not np.any(logical)
        assert right.tolist() == [-1 if v < 0 else 0 for v in x.tolist()]


# ---------------------------------------------------------------- narrow floats

EXACT = "add subtract multiply maximum minimum copysign where_positive equal less".split()
NARROW_BINARY = "true_divide power arctan2 hypot logaddexp fmod remainder heaviside".split()
NARROW_UNARY = ("exp exp2 expm1 sin cos tan tanh sinh arctan arcsinh cbrt square absolute negative sign floor ceil rint trunc "
                "reciprocal isfinite isnan signbit").split()
NARROW_POSITIVE = "log log2 log10 log1p sqrt".split()


def families(x, y):
    functions = {"where_positive": lambda x, y: fnp.where(x > 0, x, y)}
    two = [(functions.get(n) or getattr(fnp, n))(x, y) for n in (*EXACT, *NARROW_BINARY)]
    one = [getattr(fnp, n)(x) for n in NARROW_UNARY] + [getattr(fnp, n)(fnp.abs(x)) for n in NARROW_POSITIVE]
    whole = [fnp.sum(x), fnp.max(x), fnp.mean(x), fnp.argmax(x), fnp.cumsum(x), fnp.sort(x), fnp.dot(x, y)]
    return two, one, whole


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_each_family_of_functions_of_narrow_floats_compiled_as_interpreted(dtype):
    x = fnp.asarray(np.linspace(-3.1, 3.3, 33)).astype(dtype)
    y = fnp.asarray(np.linspace(0.4, 2.1, 33)[::-1].copy()).astype(dtype)
    names = [*EXACT, *NARROW_BINARY], [*NARROW_UNARY, *NARROW_POSITIVE], list(range(7))
    with np.errstate(all="ignore"):
        eager, compiled = families(x, y), fg.jit(families)(x, y)
    ulp = float(dtypes.finfo(dtype).eps)
    for group, found, expected in zip(names, compiled, eager, strict=True):
        for name, a, b in zip(group, found, expected, strict=True):
            assert a.dtype == b.dtype, name
            a, b = (np.asarray(v).astype(np.float64) for v in (a, b))
            np.testing.assert_allclose(a, b, rtol=0 if name in EXACT else 2 * ulp, atol=4 * ulp if name in range(7) else 0,
                                       err_msg=str(name))


@pytest.mark.parametrize("dtype", dtypes.FLOAT8)
def test_eight_bit_floats_store_and_meet_no_other_float(dtype):
    numbers = np.array([0.5, 1.0, 1.5, 2.0])
    x = fnp.asarray(numbers).astype(dtype)
    assert x.dtype == getattr(ml_dtypes, dtype) == getattr(fnp, dtype) and x.nbytes == 4
    expected = numbers.astype(getattr(ml_dtypes, dtype))
    for stored in (x, fg.jit(lambda v: v.astype(dtype))(numbers)):
        np.testing.assert_array_equal(np.asarray(stored).view(np.uint8), expected.view(np.uint8))
    assert both(lambda x: x.astype("float32"), x).tolist() == expected.astype(np.float32).tolist()
    assert (x + x).dtype == (x * 2).dtype == (x + fnp.arange(4)).dtype == (x + 0.5).dtype == x.dtype
    with pytest.raises(TypeError, match="no common dtype"):
        x + fnp.ones(4, "float32")
    with pytest.raises(TypeError, match="storage type"):
        x + fnp.ones(4, "bfloat16")
    slope = fg.grad(lambda v: fnp.sum(v.astype(dtype).astype("float64") * fnp.arange(4.)))(numbers)
    assert slope.dtype == np.float64


def test_weak_scalars_take_the_dtype_of_the_array_also_compiled():
    for dtype in ("float16", "bfloat16", "float32"):
        x = fnp.ones(3, dtype)
        for found in both(lambda x: (x * 2.5, 1 / x, x ** 2, fnp.where(x > 0, x, 0.0), x + np.int64(3)), x):
            assert found.dtype == dtype
    assert (fnp.ones(2, "int8") + 1).dtype == np.int8 and (fnp.ones(2, "uint8") * 2.0).dtype == np.float64
    with pytest.raises(OverflowError):
        fnp.ones(2, "int8") + 300
