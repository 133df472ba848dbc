"""Random numbers: equal to stored draws of JAX, the same in every transformation, and distributed as they should be.

``reference/random.json`` holds what jax.random 0.10 returned; ``reference/make_random.py`` wrote it and says what its
groups mean. Each distribution is also held against ``scipy.stats``, which knows nothing of the algorithms.
"""
from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from scipy import special, stats

from funcgrad import random
from funcgrad.errors import MissingRuleError
from funcgrad.jit import jit
from funcgrad.ops.random_bits import (
    bitcast_convert_type,
    multiply_add,
    normal_quantile,
    threefry2x32,
    threefry_impl,
)
from funcgrad.ops.special import random_gamma_grad
from funcgrad.test_util import check_grads
from funcgrad.transforms.batching import vmap
from funcgrad.transforms.derivatives import grad, jacfwd, jacrev, jvp
from funcgrad.transforms.staging import eval_shape, make_jaxpr

# ---------------------------------------------------------------- the stored draws

CASES = json.loads((Path(__file__).parent / "reference" / "random.json").read_text())["cases"]
FRACTION = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
TINY = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}

# Units in the last place that a draw may differ by: the logarithms of JAX's compiler and of NumPy differ by one or two.
DEFAULT_ULP = {"ulp": 6, "reduce": 16, "rejection": 32}
ULP = {
    ("uniform", "float16"): 0, ("uniform", "bfloat16"): 0, ("uniform", "float32"): 0, ("uniform", "float64"): 0,
    ("normal", "float64"): 48,              # JAX's compiler has a log1p of float64 that is that much off
    ("laplace", "float64"): 32,             # the same
    ("logistic", "float32"): 16,            # log(u) - log1p(-u) cancels near u = 1/2
    ("lognormal", "float64"): 16,           # exp carries the error of normal on
    ("wald", "float64"): 128,               # mean + y/2 - sqrt(...) cancels
    ("truncated_normal", "float32"): 16384,  # between 4 and 5 an ulp of erf is 8e-4 of the draw
    ("dirichlet", "float64"): 512,          # exp of log draws near -100: their error times 100
    ("loggamma", "float64"): 64,            # log(d) + log(v) cancels where the draw is near 1
    ("multivariate_normal", "float32"): 32, ("multivariate_normal", "float64"): 64,  # sums that cancel
    ("orthogonal", "float32"): 512, ("orthogonal", "float64"): 128,                  # LAPACK's order of operations
}


def named_dtype(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def decode(v):
    if isinstance(v, list):
        return tuple(v)
    if not isinstance(v, dict):
        return v
    if "float" in v:
        return float.fromhex(v["float"])
    values = v["values"]
    if values and isinstance(values[0], str):
        values = [float.fromhex(x) for x in values]
    elif values and isinstance(values[0], list):
        values = [complex(float.fromhex(a), float.fromhex(b)) for a, b in values]
    return np.array(values, named_dtype(v["dtype"])).reshape(v["shape"])[()]


def ulps(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, in units of the last place of the expected number."""
    if found.dtype.kind == "c":
        return max(ulps(found.real.copy(), expected.real.copy()), ulps(found.imag.copy(), expected.imag.copy()))
    name = expected.dtype.name
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    unit = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(b), TINY[name]))) - FRACTION[name])
    with np.errstate(invalid="ignore"):
        return float(np.max(np.where(same, 0, np.abs(a - b) / unit), initial=0))


def call(case):
    kwargs = {name: decode(value) for name, value in case["kwargs"].items()}
    function = getattr(random, case["fn"])
    return function(**kwargs) if case["key"] is None else function(np.array(case["key"], np.uint32), **kwargs)


def grouped(wanted):
    cases = sorted((c for c in CASES if wanted(c)), key=lambda c: c["fn"])
    return [pytest.param(list(group), id=name) for name, group in itertools.groupby(cases, lambda c: c["fn"])]


@pytest.mark.parametrize("cases", grouped(lambda c: "out" in c))
def test_draws_equal_those_stored(cases):
    for case in cases:
        expected, found = np.asarray(decode(case["out"])), call(case)
        assert found.shape == expected.shape and found.dtype == expected.dtype and not found.weak_type, case["kwargs"]
        found = np.asarray(found)
        if case["group"] == "exact" or expected.dtype.kind in "biu":
            assert np.array_equal(found, expected), (case["kwargs"], found, expected)
        else:
            allowed = ULP.get((case["fn"], expected.dtype.name), DEFAULT_ULP[case["group"]])
            assert ulps(found, expected) <= allowed, (case["kwargs"], found, expected)


@pytest.mark.parametrize("cases", grouped(lambda c: "error" in c))
def test_what_jax_refuses_is_refused_with_the_same_error(cases):
    for case in cases:
        with pytest.raises((TypeError, ValueError, OverflowError)) as info:
            call(case)
        assert case["error"] in [cls.__name__ for cls in type(info.value).__mro__], case["kwargs"]


# ---------------------------------------------------------------- the hash and the bits


@pytest.mark.parametrize("key, count, expected", [  # the known answers that come with the authors' Random123 library
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
])
@pytest.mark.parametrize("size", [1, 5])
def test_threefry_gives_the_published_answers(key, count, expected, size):
    words = [np.full(size, w, np.uint32) for w in (*key, *count)]
    for out, word in zip(threefry2x32(*words), expected, strict=True):
        assert np.array_equal(np.asarray(out), np.full(size, word, np.uint32))


def test_threefry_does_not_depend_on_how_it_is_cut():
    n = 70_000  # more than two blocks
    keys = np.arange(2 * n, dtype=np.uint32).reshape(2, n) * np.uint32(2654435761)
    counts = np.arange(n, dtype=np.uint32)
    whole = threefry_impl(np, keys[0], keys[1], np.uint32(0), counts)
    for i in (0, 3, 32767, 32768, 69_999):
        one = threefry_impl(np, keys[0, i], keys[1, i], np.uint32(0), counts[i])
        assert (whole[0][i], whole[1][i]) == one
    same_key = threefry_impl(np, np.uint32(1), np.uint32(2), np.uint32(0), counts)
    spread = threefry_impl(np, np.full(n, 1, np.uint32), np.full(n, 2, np.uint32), np.uint32(0), counts)
    assert np.array_equal(same_key, spread)


def test_threefry_refuses_other_dtypes():
    with pytest.raises(TypeError, match="threefry2x32 takes uint32 arrays"):
        jit(lambda x: threefry2x32(x, x, x, x))(np.arange(3))


@pytest.mark.parametrize("x, dtype", [
    (np.array([1.5, -2.0], np.float32), "uint32"), (np.array([1.5, -2.0]), "int64"), (np.float16(0.1), "uint16"),
    (np.array([[1.5, -2.0]], np.float64), "uint32"), (np.arange(6, dtype=np.uint8).reshape(3, 2), "uint16"),
    (np.arange(8, dtype=np.uint16).reshape(2, 4), "float64"), (np.float64(3.25), "uint8"),
    (np.arange(4, dtype=np.uint16), "bfloat16"), (np.zeros((0, 3)), "uint32"), (np.arange(8, dtype=np.uint8), "int64"),
])
def test_bitcast_reads_the_same_bytes(x, dtype):
    out = bitcast_convert_type(x, dtype)
    assert np.asarray(out).tobytes() == x.tobytes() and out.dtype == named_dtype(dtype)
    assert np.asarray(bitcast_convert_type(out, x.dtype)).tobytes() == x.tobytes()
    assert bitcast_convert_type(out, x.dtype).shape == x.shape
    assert eval_shape(lambda v: bitcast_convert_type(v, dtype), x).shape == out.shape
    if x.ndim:
        batch = np.stack([x, x[::-1]], axis=1)
        mapped = np.asarray(vmap(lambda v: bitcast_convert_type(v, dtype), in_axes=1)(batch))
        assert np.array_equal(mapped[0], np.asarray(out), equal_nan=False)


def test_bitcast_has_derivative_zero_and_refuses_what_does_not_fit():
    assert jvp(lambda x: bitcast_convert_type(bitcast_convert_type(x, "int64"), "float64"), (2.0,), (1.0,))[1] == 0
    with pytest.raises(ValueError, match="the last axis does not hold the parts"):
        bitcast_convert_type(np.zeros(3, np.uint16), "float64")
    with pytest.raises(TypeError, match="no common bits"):
        bitcast_convert_type(np.zeros(3, bool), "uint8")


# ---------------------------------------------------------------- the two float functions


def test_multiply_add_rounds_once():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 500))
    z = -x * y * (1 + rng.integers(-4, 5, 500) * 2.0**-50)
    exact = np.array([float(Fraction(a) * Fraction(b) + Fraction(c)) for a, b, c in zip(x, y, z, strict=True)])
    assert np.array_equal(np.asarray(multiply_add(x, y, z)), exact)
    assert not np.array_equal(x * y + z, exact)
    narrow = [v.astype(np.float32) for v in (x, y, z)]
    exact = np.array([float(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))
                      for a, b, c in zip(*narrow, strict=True)])
    assert np.array_equal(np.asarray(multiply_add(*narrow)), exact.astype(np.float32))
    assert np.asarray(multiply_add(np.inf, 2.0, 1.0)) == np.inf
    assert np.isfinite(np.asarray(multiply_add(1e300, 1.0, 1.0)))
    check_grads(multiply_add, (x[:3], y[:3], z[:3]), 2)


@pytest.mark.parametrize("dtype, tolerance", [("float64", 2e-15), ("float32", 4e-7), ("float16", 2e-3), ("bfloat16", 2e-2)])
def test_normal_quantile_is_accurate(dtype, tolerance):
    ends = 1 - 2.0 ** -np.arange(2, 50.0)  # there 1 - x*x, on which all depends, keeps few digits
    x = np.concatenate([np.linspace(-0.99, 0.99, 199), ends, [1e-30, 0.0]]).astype(named_dtype(dtype))
    x = x[np.abs(x) < 1]
    wide = x.astype(np.float64)
    expected = np.sqrt(2) * special.erfinv(wide)
    found = normal_quantile(x)
    assert found.dtype == x.dtype
    error = np.abs(np.asarray(found).astype(np.float64) - expected)
    assert (error <= tolerance * (np.abs(expected) + 1 / (1 - wide**2) / np.maximum(np.abs(expected), 1))).all()


def test_normal_quantile_ends_and_derivatives():
    assert np.asarray(normal_quantile(np.array([1.0, -1.0]))).tolist() == [np.inf, -np.inf]
    assert np.isnan(np.asarray(normal_quantile(np.array([1.5], np.float32)))).all()
    check_grads(normal_quantile, (np.array([-0.7, 0.1, 0.9]),), 2)


# ---------------------------------------------------------------- keys

KEY = random.key(7)


def test_both_makers_give_plain_words():
    for make in (random.key, random.PRNGKey):
        assert np.asarray(make(2**32 + 5)).tolist() == [1, 5] and make(0).dtype == np.uint32
    assert np.array_equal(np.asarray(random.key_data(KEY)), np.asarray(random.wrap_key_data(random.clone(KEY))))
    assert random.key_impl(KEY) == "threefry2x32" and random.key(3, impl="threefry2x32").shape == (2,)
    with pytest.raises(ValueError, match="there is no such generator"):
        random.key(0, impl="rbg")


def test_a_traced_seed_gives_the_same_key():
    seeds = np.array([0, -1, 2**40 + 5, 2**31])
    expected = np.stack([np.asarray(random.key(int(s))) for s in seeds])
    assert np.array_equal(np.asarray(vmap(random.key)(seeds)), expected)
    assert np.array_equal(np.asarray(jit(vmap(random.key))(seeds)), expected)
    narrow = np.array([3, -3], np.int8)
    expected = np.stack([np.asarray(random.key(s)) for s in narrow])
    assert np.array_equal(np.asarray(vmap(random.key)(narrow)), expected)


def test_split_is_a_table_of_fold_in():
    keys = np.asarray(random.split(KEY, 4))
    assert np.array_equal(keys[:2], np.asarray(random.split(KEY)))
    for i in range(4):
        assert np.array_equal(keys[i], np.asarray(random.fold_in(KEY, i)))
        assert np.array_equal(keys[i], np.asarray(jit(random.fold_in)(KEY, i)))
    assert np.array_equal(np.asarray(vmap(random.fold_in, in_axes=(None, 0))(KEY, np.arange(4))), keys)


@pytest.mark.parametrize("error, text, thunk", [
    (TypeError, "expected a key|this is not a key", lambda: random.normal(0.5)),
    (TypeError, r"a key from fg\.random\.key\(seed\)", lambda: random.normal(np.zeros(2))),
    (TypeError, "this is not a key", lambda: random.uniform(np.zeros(3, np.uint32))),
    (ValueError, "not a batch of them", lambda: random.normal(random.split(KEY))),
    (ValueError, "not a batch of them", lambda: random.split(random.split(KEY))),
    (ValueError, "negative size", lambda: random.normal(KEY, (2, -1))),
    (ValueError, "negative size", lambda: random.split(KEY, -1)),
    (TypeError, "a shape must be made of integers", lambda: random.normal(KEY, (1.5,))),
    (TypeError, "a seed must be one integer", lambda: random.key(1.5)),
    (TypeError, "a seed must be one integer", lambda: random.key(np.arange(2))),
    (TypeError, "must be one integer", lambda: random.fold_in(KEY, 1.5)),
    (ValueError, "must be a real floating point one", lambda: random.uniform(KEY, (2,), int)),
    (ValueError, "must be an unsigned integer", lambda: random.bits(KEY, (2,), int)),
    (ValueError, "must be an integer one", lambda: random.poisson(KEY, 3.0, dtype=float)),
    (TypeError, "must be an integer one", lambda: random.randint(KEY, (2,), 0, 3, float)),
    (ValueError, "the shape does not hold the parameters", lambda: random.gamma(KEY, np.ones((2, 3)), (3,))),
    (ValueError, "do not broadcast", lambda: random.gamma(KEY, np.ones(3), (2,))),
    (ValueError, "does not fit into the dtype", lambda: random.pareto(KEY, np.ones(3), dtype="float32")),
    (ValueError, "there is no such mode", lambda: random.bernoulli(KEY, 0.5, mode="medium")),
    (ValueError, "the dtype has no -1", lambda: random.rademacher(KEY, dtype=bool)),
    (ValueError, "the logits must be real", lambda: random.categorical(KEY, np.arange(3))),
    (TypeError, "not an array or a number", lambda: random.categorical(KEY, [0.1, 0.2])),
    (TypeError, "a scalar must be an integer", lambda: random.choice(KEY, 2.5)),
    (ValueError, "nothing to choose from", lambda: random.choice(KEY, 0)),
    (ValueError, "more draws than elements", lambda: random.choice(KEY, 3, (4,), replace=False)),
    (ValueError, "more draws than categories", lambda: random.categorical(KEY, np.ones(3), shape=(4,), replace=False)),
    (ValueError, "alpha needs an axis", lambda: random.dirichlet(KEY, 1.0)),
    (ValueError, "p needs an axis", lambda: random.multinomial(KEY, 3, 1.0)),
    (ValueError, "mean and covariance do not fit", lambda: random.multivariate_normal(KEY, np.ones(2), np.eye(3))),
    (ValueError, "does not hold mean and covariance",
     lambda: random.multivariate_normal(KEY, np.ones((2, 3)), np.eye(3), (4, 1))),
    (ValueError, "no dtype of their own", lambda: random.key(0, dtype="fry")),
])
def test_mistakes_are_named(error, text, thunk):
    with pytest.raises(error, match=text):
        thunk()


# ---------------------------------------------------------------- transformations

P = np.array([0.2, 0.5, 0.3])
X = np.arange(12.0).reshape(4, 3)
COVARIANCE = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])

DRAWS = {
    "split": lambda k: random.split(k, (2, 3)),
    "bits8": lambda k: random.bits(k, (3,), "uint8"),
    "bits64": lambda k: random.bits(k, (3, 2)),
    "uniform": lambda k: random.uniform(k, (3, 2)),
    "uniform_bounds": lambda k: random.uniform(k, (3, 2), "float32", np.zeros(2, np.float32), 0.3),
    "uniform_bfloat16": lambda k: random.uniform(k, (3,), "bfloat16", 0.1, 0.7),
    "normal32": lambda k: random.normal(k, (7,), "float32"),
    "normal": lambda k: random.normal(k),
    "normal_complex": lambda k: random.normal(k, (3,), "complex64"),
    "randint": lambda k: random.randint(k, (4,), 0, 10),
    "randint_bounds": lambda k: random.randint(k, (4, 2), np.array([0, 5]), np.array([[9], [20], [3], [2**62]])),
    "randint8": lambda k: random.randint(k, (4,), -128, 128, "int8"),
    "truncated_normal": lambda k: random.truncated_normal(k, -2, 2, (3,)),
    "truncated_normal_bounds": lambda k: random.truncated_normal(k, np.array([-1.0, 0.0]), 2.0),
    "bernoulli": lambda k: random.bernoulli(k, P, (2, 3)),
    "bernoulli_high": lambda k: random.bernoulli(k, 0.3, (4,), "high"),
    "rademacher": lambda k: random.rademacher(k, (4,), "float32"),
    "exponential": lambda k: random.exponential(k, (4,)),
    "gumbel": lambda k: random.gumbel(k, (4,)),
    "gumbel_highest": lambda k: random.gumbel(k, (4,), "float32", "highest"),
    "laplace": lambda k: random.laplace(k, (4,)),
    "logistic": lambda k: random.logistic(k, (4,)),
    "cauchy": lambda k: random.cauchy(k, (4,)),
    "categorical": lambda k: random.categorical(k, X, shape=(2, 4)),
    "categorical_different": lambda k: random.categorical(k, X, shape=(2, 4), replace=False),
    "permutation": lambda k: random.permutation(k, 9),
    "permutation_rows": lambda k: random.permutation(k, X),
    "permutation_independent": lambda k: random.permutation(k, X, 1, True),
    "choice": lambda k: random.choice(k, X, (2,)),
    "choice_different": lambda k: random.choice(k, X, (2,), False, axis=1),
    "choice_p": lambda k: random.choice(k, 3, (2, 2), p=P),
    "choice_p_different": lambda k: random.choice(k, X, (2,), False, P, 1),
    "gamma": lambda k: random.gamma(k, P, (2, 3)),
    "loggamma": lambda k: random.loggamma(k, P),
    "beta": lambda k: random.beta(k, P, 2.0),
    "dirichlet": lambda k: random.dirichlet(k, P, (2,)),
    "poisson": lambda k: random.poisson(k, 3 * X),
    "binomial": lambda k: random.binomial(k, 100, P, (2, 3)),
    "multinomial": lambda k: random.multinomial(k, 10, P, shape=(2, 3)),
    "t": lambda k: random.t(k, 3.0, (2,)),
    "chisquare": lambda k: random.chisquare(k, 3.0, (2,)),
    "f": lambda k: random.f(k, 3.0, 2.0, (2,)),
    "geometric": lambda k: random.geometric(k, 0.3, (3,)),
    "rayleigh": lambda k: random.rayleigh(k, P),
    "pareto": lambda k: random.pareto(k, P),
    "weibull_min": lambda k: random.weibull_min(k, 1.0, 2.0, (3,)),
    "wald": lambda k: random.wald(k, P),
    "lognormal": lambda k: random.lognormal(k, P),
    "triangular": lambda k: random.triangular(k, 0.0, 0.3, P + 1),
    "maxwell": lambda k: random.maxwell(k, (2,)),
    "double_sided_maxwell": lambda k: random.double_sided_maxwell(k, 0.0, P),
    "ball": lambda k: random.ball(k, 3, 2, (2,)),
    "generalized_normal": lambda k: random.generalized_normal(k, 1.5, (3,)),
    "orthogonal": lambda k: random.orthogonal(k, 3, (2,), m=2),
    "multivariate_normal": lambda k: random.multivariate_normal(k, P, COVARIANCE, (2,)),
    "multivariate_normal_batch": lambda k: random.multivariate_normal(
        k, P, np.stack([COVARIANCE, 2 * COVARIANCE]), method="eigh"),
}


def compiled_like(found, expected):
    """Bits and integers are the same; a transformation such as log is the compiler's own, right to a few ulp."""
    found, expected = np.asarray(found), np.asarray(expected)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=64 * np.finfo(expected.dtype).eps, atol=64 * np.finfo(expected.dtype).eps)
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", DRAWS)
def test_jit_vmap_and_a_loop_draw_the_same(name):
    draw = DRAWS[name]
    keys = np.asarray(random.split(KEY, 3))
    loop = [draw(k) for k in keys]
    expected = np.stack([np.asarray(x) for x in loop])
    # A product with a matrix sums in another order when BLAS sees another shape.
    same = np.allclose if name.startswith("multivariate_normal") else np.array_equal
    shape = eval_shape(draw, keys[0])
    assert (shape.shape, shape.dtype) == (loop[0].shape, loop[0].dtype)
    compiled_like(jit(draw)(keys[0]), expected[0])
    assert same(np.asarray(vmap(draw)(keys)), expected)
    compiled_like(jit(vmap(draw))(keys), expected)
    assert same(np.asarray(vmap(draw, in_axes=1, out_axes=-1)(keys.T)), np.moveaxis(expected, 0, -1))


def test_vmap_over_parameters_shares_the_key():
    rates = np.array([0.5, 4.0, 30.0])
    mapped = vmap(random.poisson, in_axes=(None, 0))(KEY, rates)
    assert np.asarray(mapped).tolist() == [int(random.poisson(KEY, rate)) for rate in rates]
    shapes = np.array([0.5, 4.0])
    mapped = vmap(random.gamma, in_axes=(None, 0))(KEY, shapes)
    assert np.asarray(mapped).tolist() == [float(random.gamma(KEY, a)) for a in shapes]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_known_and_traced_bounds_draw_the_same(dtype):
    for draw in (lambda low, high: random.uniform(KEY, (500,), dtype, low, high),
                 lambda low, high: random.truncated_normal(KEY, low, high, (500,), dtype),
                 lambda low, high: random.randint(KEY, (500,), low, high)):
        compiled_like(jit(draw)(-1.3, 7.1), draw(-1.3, 7.1))


def test_a_program_says_what_it_does():
    text = str(make_jaxpr(lambda k: random.uniform(k, (3,), "float32"))(KEY))
    for name in ("iota", "threefry2x32", "xor", "shift_right_logical", "or", "bitcast_convert_type", "sub"):
        assert name in text


def test_more_elements_than_a_word_can_count():
    assert eval_shape(lambda k: random.bits(k, (2**33,), "uint8"), KEY).shape == (2**33,)


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name, function, args", [
    ("uniform", lambda a, b: random.uniform(KEY, (4,), float, a, b), (-1.0, 2.5)),
    ("truncated_normal", lambda a, b: random.truncated_normal(KEY, a, b, (4,)), (-1.0, 2.0)),
    ("pareto", lambda b: random.pareto(KEY, b, (4,)), (2.0,)),
    ("rayleigh", lambda s: random.rayleigh(KEY, s, (4,)), (2.0,)),
    ("weibull_min", lambda s, c: random.weibull_min(KEY, s, c, (4,)), (2.0, 1.5)),
    ("lognormal", lambda s: random.lognormal(KEY, s, (4,)), (0.7,)),
    ("wald", lambda m: random.wald(KEY, m, (4,)), (1.5,)),
    ("triangular", lambda a, c, b: random.triangular(KEY, a, c, b, (4,)), (0.0, 0.4, 1.0)),
    ("double_sided_maxwell", lambda a, s: random.double_sided_maxwell(KEY, a, s, (4,)), (0.5, 2.0)),
    ("multivariate_normal", lambda m: random.multivariate_normal(KEY, m, COVARIANCE), (P,)),
    ("permutation", lambda x: random.permutation(KEY, x), (X,)),
    ("choice", lambda x: random.choice(KEY, x, (5,)), (X,)),
])
def test_derivatives_flow_through_the_parameters(name, function, args):
    check_grads(function, args, 2)


def implicit_derivative(a: float, x: float) -> float:
    """The derivative of the quantile of Gamma(a, 1) at x: minus dF/da over the density."""
    h = 1e-5
    return -(special.gammainc(a + h, x) - special.gammainc(a - h, x)) / (2 * h) / stats.gamma.pdf(x, a)


@pytest.mark.parametrize("a", [0.3, 1.0, 2.5, 20.0])
def test_gamma_has_the_implicit_derivative(a):
    x = np.asarray(random.gamma(KEY, a, (3,)))
    expected = [implicit_derivative(a, v) for v in x]
    np.testing.assert_allclose(np.asarray(jacfwd(lambda a: random.gamma(KEY, a, (3,)))(a)), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(jacrev(lambda a: random.gamma(KEY, a, (3,)))(a)), expected, rtol=1e-6)
    logs = jit(jacrev(lambda a: random.loggamma(KEY, a, (3,))))(a)
    x = np.exp(np.asarray(random.loggamma(KEY, a, (3,))))
    np.testing.assert_allclose(np.asarray(logs), [implicit_derivative(a, v) / v for v in x], rtol=1e-6)
    mapped = vmap(lambda k: grad(lambda a: random.gamma(k, a))(a))(random.split(KEY, 3))
    assert np.asarray(mapped).tolist() == [
        float(grad(lambda a, k=k: random.gamma(k, a))(a)) for k in np.asarray(random.split(KEY, 3))]


def test_a_gamma_draw_has_a_second_derivative():
    for a in (0.4, 2.0, 300.0):
        x, h = float(random.gamma(KEY, a)), 1e-5 * a
        slope = float(random_gamma_grad(a, x))  # along the curve of the quantile
        ends = [float(random_gamma_grad(a + k * h, x + k * h * slope)) for k in (1, -1)]
        second = float(grad(grad(lambda a: random.gamma(KEY, a)))(a))
        np.testing.assert_allclose(second, (ends[0] - ends[1]) / (2 * h), rtol=1e-5)
        logs = float(grad(grad(lambda a: random.loggamma(KEY, a)))(a))
        np.testing.assert_allclose(logs, second / x - (slope / x) ** 2, rtol=1e-5, atol=1e-9)


def test_dirichlet_derivatives_keep_the_sum():
    jacobian = np.asarray(jacrev(lambda a: random.dirichlet(KEY, a))(P))
    np.testing.assert_allclose(jacobian.sum(0), 0, atol=1e-12)
    assert np.abs(jacobian).max() > 1e-3


def test_derivatives_that_are_missing_raise():
    with pytest.raises(MissingRuleError, match="covariance_factor"):
        jacrev(lambda cov: random.multivariate_normal(KEY, np.zeros(2), cov))(np.eye(2))


def test_counts_have_derivative_zero():
    assert float(grad(lambda p: random.binomial(KEY, 10.0, p))(0.3)) == 0
    assert float(jit(grad(lambda p: random.binomial(KEY, 1000.0, p)))(0.3)) == 0


# ---------------------------------------------------------------- distributions

N = 20_000
CONTINUOUS = {
    "uniform": (lambda: random.uniform(KEY, (N,), float, -1.0, 3.0), stats.uniform(-1, 4)),
    "uniform32": (lambda: random.uniform(KEY, (N,), "float32"), stats.uniform()),
    "normal": (lambda: random.normal(KEY, (N,)), stats.norm()),
    "normal32": (lambda: random.normal(KEY, (N,), "float32"), stats.norm()),
    "truncated_normal": (lambda: random.truncated_normal(KEY, -0.5, 2.0, (N,)), stats.truncnorm(-0.5, 2)),
    "exponential": (lambda: random.exponential(KEY, (N,)), stats.expon()),
    "gumbel": (lambda: random.gumbel(KEY, (N,)), stats.gumbel_r()),
    "gumbel_high": (lambda: random.gumbel(KEY, (N,), "float32", "high"), stats.gumbel_r()),
    "gumbel_highest": (lambda: random.gumbel(KEY, (N,), "float32", "highest"), stats.gumbel_r()),
    "laplace": (lambda: random.laplace(KEY, (N,)), stats.laplace()),
    "logistic": (lambda: random.logistic(KEY, (N,)), stats.logistic()),
    "cauchy": (lambda: random.cauchy(KEY, (N,)), stats.cauchy()),
    "pareto": (lambda: random.pareto(KEY, 2.0, (N,)), stats.pareto(2)),
    "rayleigh": (lambda: random.rayleigh(KEY, 2.0, (N,)), stats.rayleigh(scale=2)),
    "weibull_min": (lambda: random.weibull_min(KEY, 2.0, 1.5, (N,)), stats.weibull_min(1.5, scale=2)),
    "triangular": (lambda: random.triangular(KEY, 0.0, 0.3, 1.0, (N,)), stats.triang(0.3)),
    "lognormal": (lambda: random.lognormal(KEY, 0.5, (N,)), stats.lognorm(0.5)),
    "wald": (lambda: random.wald(KEY, 1.5, (N,)), stats.invgauss(1.5)),
    "maxwell": (lambda: random.maxwell(KEY, (N,)), stats.maxwell()),
    "gamma_small": (lambda: random.gamma(KEY, 0.3, (N,)), stats.gamma(0.3)),
    "gamma": (lambda: random.gamma(KEY, 4.0, (N,)), stats.gamma(4)),
    "gamma32": (lambda: random.gamma(KEY, 1.0, (N,), "float32"), stats.gamma(1)),
    "loggamma": (lambda: random.loggamma(KEY, 0.5, (N,)), stats.loggamma(0.5)),
    "beta": (lambda: random.beta(KEY, 0.7, 2.0, (N,)), stats.beta(0.7, 2)),
    "chisquare": (lambda: random.chisquare(KEY, 3.0, (N,)), stats.chi2(3)),
    "t": (lambda: random.t(KEY, 4.0, (N,)), stats.t(4)),
    "f": (lambda: random.f(KEY, 3.0, 6.0, (N,)), stats.f(3, 6)),
    "generalized_normal": (lambda: random.generalized_normal(KEY, 1.5, (N,)), stats.gennorm(1.5)),
    "dirichlet": (lambda: np.asarray(random.dirichlet(KEY, P, (N,)))[:, 0], stats.beta(0.2, 0.8)),
    "ball": (lambda: np.sum(np.asarray(random.ball(KEY, 3, 2, (N,))) ** 2, -1) ** 1.5, stats.uniform()),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_draws_pass_the_kolmogorov_smirnov_test(name):
    draw, law = CONTINUOUS[name]
    assert stats.kstest(np.asarray(draw()).astype(np.float64), law.cdf).pvalue > 1e-3


DISCRETE = {
    "bernoulli": (lambda: random.bernoulli(KEY, 0.3, (N,)), stats.bernoulli(0.3)),
    "bernoulli_high": (lambda: random.bernoulli(KEY, 0.3, (N,), "high"), stats.bernoulli(0.3)),
    "geometric": (lambda: random.geometric(KEY, 0.3, (N,)), stats.geom(0.3)),
    "poisson": (lambda: random.poisson(KEY, 4.0, (N,)), stats.poisson(4)),
    "poisson_large": (lambda: random.poisson(KEY, 30.0, (N,)), stats.poisson(30)),
    "binomial": (lambda: random.binomial(KEY, 10, 0.3, (N,)), stats.binom(10, 0.3)),
    "binomial_large": (lambda: random.binomial(KEY, 100, 0.8, (N,)), stats.binom(100, 0.8)),
    "multinomial": (lambda: np.asarray(random.multinomial(KEY, 9, np.tile(P, (N, 1))))[:, 1], stats.binom(9, 0.5)),
    "randint": (lambda: random.randint(KEY, (N,), -3, 9), stats.randint(-3, 9)),
    "categorical": (lambda: random.categorical(KEY, np.log(P), shape=(N,)), stats.rv_discrete(values=([0, 1, 2], P))),
    "choice": (lambda: random.choice(KEY, 3, (N,), p=P), stats.rv_discrete(values=([0, 1, 2], P))),
    "permutation": (lambda: np.asarray(random.permutation(KEY, np.tile(np.arange(5), (N, 1)), 1, True))[:, 2],
                    stats.randint(0, 5)),
    "choice_first": (lambda: vmap(lambda k: random.choice(k, 3, (2,), False, P))(random.split(KEY, N)).__array__()[:, 0],
                     stats.rv_discrete(values=([0, 1, 2], P))),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_discrete_draws_pass_the_chi_square_test(name):
    draw, law = DISCRETE[name]
    x = np.asarray(draw()).astype(int)
    values = np.arange(x.min(), x.max() + 1)
    expected = law.pmf(values) * N
    common = expected >= 5
    counts = np.array([(x == v).sum() for v in values])
    observed, wanted = [*counts[common], counts[~common].sum()], [*expected[common], N - expected[common].sum()]
    if wanted[-1] < 5:  # too few to count: with the last of the others
        observed, wanted = [*observed[:-2], sum(observed[-2:])], [*wanted[:-2], sum(wanted[-2:])]
    assert stats.chisquare(observed, wanted).pvalue > 1e-3


def test_moments_of_vectors():
    x = np.asarray(random.multivariate_normal(KEY, P, COVARIANCE, (N,)))
    np.testing.assert_allclose(x.mean(0), P, atol=0.04)
    np.testing.assert_allclose(np.cov(x.T), COVARIANCE, atol=0.06)
    z = np.asarray(random.normal(KEY, (N,), complex))
    assert abs((np.abs(z) ** 2).mean() - 1) < 0.03 and abs((z * z).mean()) < 0.03
    q = np.asarray(random.orthogonal(KEY, 3, (N,)))
    np.testing.assert_allclose(q @ np.swapaxes(q, -1, -2), np.broadcast_to(np.eye(3), q.shape), atol=1e-12)
    np.testing.assert_allclose(q.mean(0), 0, atol=0.02)
    assert set(np.unique(np.asarray(random.rademacher(KEY, (100,))))) == {-1, 1}
    side = np.asarray(random.double_sided_maxwell(KEY, 1.0, 2.0, (N,))) - 1
    assert abs(side.mean()) < 0.1 and abs((side**2).mean() - 12) < 0.3


def test_permutations_keep_the_elements():
    assert sorted(np.asarray(random.permutation(KEY, 100)).tolist()) == list(range(100))
    rows = np.asarray(random.permutation(KEY, X))
    assert sorted(map(tuple, rows)) == sorted(map(tuple, X)) and not np.array_equal(rows, X)
    each = np.asarray(random.permutation(KEY, X, 1, independent=True))
    assert np.array_equal(np.sort(each, 1), X)
    assert len(set(np.asarray(random.choice(KEY, 50, (50,), replace=False)).tolist())) == 50


def test_a_covariance_that_is_not_positive_gives_nan():
    bad = np.array([[1.0, 2.0], [2.0, 1.0]])
    found = np.asarray(random.multivariate_normal(KEY, np.zeros(2), np.stack([np.eye(2), bad])))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_parameters_outside_of_the_domain_give_nan_quietly(recwarn):
    assert np.isnan(np.asarray(random.gamma(KEY, np.array([-2.0, np.nan])))).all()
    assert float(random.gamma(KEY, np.inf)) == np.inf and float(random.loggamma(KEY, 0.0)) == -np.inf
    assert int(random.poisson(KEY, np.nan)) == -1 and int(random.poisson(KEY, 0.0)) == 0
    assert int(random.poisson(KEY, 1000.0, dtype="uint8")) == 255
    assert not recwarn.list
