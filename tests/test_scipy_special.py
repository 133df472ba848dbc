"""The names of scipy.special: values against SciPy, derivatives by every argument against differences and mpmath, edges."""
from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import scipy.special

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.compiler.objects import scipy_address
from funcgrad.errors import MissingRuleError
from funcgrad.scipy import special as sp

INF, NAN = np.inf, np.nan
X = np.array([-7.3, -2.4, -1.0, -0.3, 0.0, 0.2, 0.5, 0.9, 1.0, 2.6, 9.7, 40.0])
POSITIVE = np.array([1e-3, 0.2, 0.7, 1.0, 1.3, 4.0, 17.0, 60.0])
OTHER = np.array([2.0, 0.4, 1.0, 3.3, 0.7, 9.0, 12.0, 80.0])
UNIT = np.array([1e-5, 0.05, 0.3, 0.5, 0.51, 0.8, 0.95, 1 - 1e-5])
EDGES = np.array([0.0, -0.0, 1.0, INF, -INF, NAN])

# A function, its arguments, and which of them it is differentiated by (None: all). SciPy's function has the same name.
TABLE = {
    "gammaln": ((X + 0.05,), None), "gamma": ((X + 0.05,), None), "loggamma": ((POSITIVE,), None), "digamma": ((X + 0.05,), None),
    "gammasgn": ((X + 0.05,), ()), "poch": ((POSITIVE, OTHER), None), "factorial": ((POSITIVE,), None),
    "comb": ((OTHER + 5, np.minimum(POSITIVE, OTHER)), None), "beta": ((POSITIVE, OTHER), None), "betaln": ((POSITIVE, OTHER), None),
    "betainc": ((POSITIVE, OTHER, UNIT), None), "gammainc": ((POSITIVE, OTHER), None), "gammaincc": ((POSITIVE, OTHER), None),
    "zeta": ((OTHER + 1.2, POSITIVE + 0.3), None), "erf": ((X,), None), "erfc": ((X,), None), "erfinv": ((2 * UNIT - 1,), None),
    "erfcx": ((X + 0.05,), None), "dawsn": ((X,), None), "ndtr": ((X,), None), "ndtri": ((UNIT,), None), "log_ndtr": ((X - 0.05,), None),
    "owens_t": ((X, X[::-1]), None), "xlogy": ((OTHER, POSITIVE), None), "xlog1py": ((OTHER, POSITIVE), None), "entr": ((POSITIVE,), None),
    "rel_entr": ((POSITIVE, OTHER), None), "kl_div": ((POSITIVE, OTHER), None), "logit": ((UNIT,), None), "expit": ((X,), None),
    "boxcox": ((POSITIVE, np.linspace(-2, 2, 8)), None), "boxcox1p": ((POSITIVE, np.linspace(-2, 2, 8)), None),
    "i0": ((X,), None), "i0e": ((X + 0.05,), None), "i1": ((X,), None), "i1e": ((X + 0.05,), None),
    "expi": ((X + 0.05,), None), "exp1": ((POSITIVE,), None), "sici": ((POSITIVE,), None), "fresnel": ((X / 3,), None),
    "spence": ((POSITIVE,), None),
    "hyp1f1": ((X[:8], POSITIVE, np.array([-20.0, -3.0, -0.4, 0.1, 0.6, 2.0, 7.0, 30.0])), None),
    "hyp2f1": ((X[:8] / 2, OTHER / 9, POSITIVE + 1, np.linspace(-0.8, 0.85, 8)), None),
}


def leaves(tree):
    return [np.asarray(v) for v in fg.tree.leaves(tree)]


@pytest.mark.parametrize("name", list(TABLE))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_equal_scipy(name):
    function, args = getattr(sp, name), TABLE[name][0]
    expected = getattr(scipy.special, name)
    for x, y in zip(leaves(function(*args)), leaves(expected(*args)), strict=True):
        np.testing.assert_allclose(x, y, rtol=3e-13, atol=1e-300)
    narrow = leaves(function(*[x.astype(np.float32) for x in args]))
    for x, y in zip(narrow, leaves(expected(*[x.astype(np.float32).astype(float) for x in args])), strict=True):
        assert x.dtype == np.float32
        np.testing.assert_allclose(x, y.astype(np.float32), rtol=3e-5, atol=1e-37)
    edges = [np.roll(EDGES, 2 * i) for i in range(len(args))]
    if name not in ("poch", "comb", "hyp1f1", "hyp2f1", "beta", "betaln"):
        found, wanted = leaves(function(*edges)), leaves(expected(*edges))
        if name == "loggamma":  # as in JAX, NaN at zeros
            found, wanted = found[0][2:], wanted[0][2:]
        for x, y in zip(found, wanted, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-13)
    assert all(x.shape == (0, 2) for x in leaves(function(*[np.zeros((0, 2))] * len(args))))
    assert function(*[1] * len(args)) is not None  # integers become floats


@pytest.mark.parametrize("name", [name for name, (_, positions) in TABLE.items() if positions is None])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_two_derivatives_by_every_argument(name):
    args = TABLE[name][0]

    def total(*xs):
        return sum(fnp.sum(y) for y in fg.tree.leaves(getattr(sp, name)(*xs)))

    positions = tuple(range(len(args)))
    first = fg.grad(total, positions)
    found = [leaves(first(*args))]
    compiled = leaves(fg.jit(fg.vmap(first))(*args))
    np.testing.assert_allclose(compiled, found[0], rtol=1e-11, atol=1e-300)
    for i in positions:
        h = 1e-4 * (args[i] if (args[i] > 0).all() else np.maximum(np.abs(args[i]), 0.01))
        if (np.abs(args[i]) < 1).all():
            h = np.minimum(h, 1e-4 * (1 - np.abs(args[i])))
        # Central differences of fourth order, of the function and of its first derivatives.
        for order, f in enumerate((lambda *xs: [total_of(name, xs)], lambda *xs: leaves(first(*xs)))):
            at = [f(*args[:i], args[i] + k * h, *args[i + 1:]) for k in (1, -1, 2, -2)]
            numeric = [(8 * (a - b) - (c - d)) / (12 * h) for a, b, c, d in zip(*at, strict=True)]
            exact = [found[0][i]] if order == 0 else leaves(fg.grad(lambda *xs: fnp.sum(sum(first(*xs))), i)(*args))  # noqa: B023
            # The sum over rows of the Hessian: one number a row, as the differences are.
            np.testing.assert_allclose(exact[0], sum(numeric), rtol=1e-5, atol=1e-6)


def total_of(name, xs):
    return sum(leaves(getattr(sp, name)(*xs)))


def test_parameter_derivatives_against_mpmath():
    mpmath.mp.dps = 30

    def check(function, args, orders, exact, tolerance=1e-12):
        f = function
        for i, n in enumerate(orders):
            for _ in range(n):
                f = fg.grad(f, i)
        expected = mpmath.diff(exact, tuple(map(mpmath.mpf, args)), orders)
        np.testing.assert_allclose(float(f(*args)), float(expected), rtol=tolerance)

    def lower(a, x):
        return mpmath.gammainc(a, 0, x, regularized=True)

    def beta(a, b, x):
        return mpmath.betainc(a, b, 0, x, regularized=True)

    for args in ((0.01, 1e-8), (0.3, 0.2), (2.5, 4.0), (60.0, 50.0)):
        for orders in ((1, 0), (2, 0), (1, 1)):
            check(sp.gammainc, args, orders, lower, 1e-10)
    for args in ((0.3, 2.0, 0.1), (5.0, 3.0, 0.7), (40.0, 60.0, 0.35)):
        for orders in ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 2, 0), (1, 0, 1)):
            check(sp.betainc, args, orders, beta, 1e-10)
    for args in ((1.1, 0.3), (3.0, 5.0)):
        for orders in ((1, 0), (2, 0), (1, 1)):
            check(sp.zeta, args, orders, mpmath.zeta)
    for orders in ((1, 0, 0), (0, 1, 0), (1, 1, 1), (2, 0, 0)):
        check(sp.hyp1f1, (0.7, 1.9, -8.0), orders, mpmath.hyp1f1)
        check(sp.hyp2f1, (0.7, 1.9, 2.2, -0.6), (*orders, 0), mpmath.hyp2f1, 1e-10)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_far_tails_to_second_order():
    for x in (-1e3, -50.0, -8.0, 8.0, 30.0):
        with mpmath.workdps(60):
            ratio = mpmath.npdf(mpmath.mpf(x)) / mpmath.ncdf(mpmath.mpf(x))
            second = -ratio * (ratio + mpmath.mpf(x))
        np.testing.assert_allclose(float(fg.grad(sp.log_ndtr)(x)), float(ratio), rtol=1e-12)
        np.testing.assert_allclose(float(fg.grad(fg.grad(sp.log_ndtr))(x)), float(second), rtol=1e-8)
    assert float(sp.log_ndtr(-1e200)) == -INF and float(fg.grad(sp.log_ndtr)(INF)) == 0
    for x in (13.0, 1e4, 1e100):  # where the terms of the plain formula cancel
        np.testing.assert_allclose(float(fg.grad(sp.erfcx)(x)), -1 / (math.sqrt(math.pi) * x * x) * (1 - 1.5 / x ** 2), rtol=1e-3)
        np.testing.assert_allclose(float(fg.grad(sp.dawsn)(-x)), -0.5 / (x * x), rtol=1e-1)
    for p in (1e-300, 1e-20, 1 - 1e-12):
        y = float(sp.ndtri(p))
        np.testing.assert_allclose(float(fg.grad(sp.ndtri)(p)), math.sqrt(2 * math.pi) * math.exp(y * y / 2), rtol=1e-12)
    assert float(fg.grad(sp.ndtri)(0.0)) == INF


def derivatives(function, x, order):
    for _ in range(order):
        function = fg.grad(function)
    return float(function(x))


@pytest.mark.parametrize("function, x, expected", [
    (sp.i0, 0.0, (1, 0, 1 / 2, 0, 3 / 8)), (sp.i1, 0.0, (0, 1 / 2, 0, 3 / 8, 0)),
    (lambda x: sp.sici(x)[0], 0.0, (0, 1, 0, -1 / 3, 0)), (lambda x: sp.fresnel(x)[1], 0.0, (0, 1, 0, 0, 0)),
    (sp.spence, 1.0, (0, -1, 1 / 2, -2 / 3, 3 / 2)), (sp.dawsn, 0.0, (0, 1, 0, -4, 0)),
    (lambda v: sp.boxcox(math.e, v), 0.0, (1, 1 / 2, 1 / 3, 1 / 4, 1 / 5)), (lambda x: sp.boxcox(x, 0.0), 1.0, (0, 1, -1, 2, -6)),
    (lambda x: sp.xlogy(x, 3.0), 0.0, (0, math.log(3), 0, 0, 0)), (lambda y: sp.xlogy(0.0, y), 0.0, (0, 0, 0, 0, 0)),
    (lambda y: sp.xlog1py(0.0, y), -1.0, (0, 0, 0, 0, 0)), (sp.entr, 0.0, (0, INF)), (sp.entr, -1.0, (-INF, 0, 0)),
    (lambda q: sp.kl_div(0.0, q), 0.0, (0, 1, 0)), (lambda p: sp.rel_entr(p, 0.5), 0.5, (0, 1, 2, -4)),
    (sp.logit, 0.5, (0, 4, 0, 32, 0)), (lambda x: sp.gammainc(1.0, x), 0.0, (0, 1, -1, 1, -1)),
    (lambda x: sp.betainc(1.0, 2.0, x), 0.0, (0, 2, -2, 0, 0)), (lambda a: sp.gammainc(a, 0.0), 2.0, (0, 0)),
    (lambda a: sp.gammainc(a, INF), 2.0, (1, 0)), (lambda a: sp.betainc(a, 0.5, 1.0), 2.0, (1, 0)),
    (sp.gammasgn, 2.5, (1, 0, 0)), (lambda x: sp.bessel_jn(x, v=2)[2], 0.0, (0, 0, 1 / 4, 0, -1 / 4)),
    (sp.erf, 0.0, (0, 2 / math.sqrt(math.pi), 0)), (lambda x: sp.expn(2, x), 1.0, (0.14849550677592205, -0.21938393439552026)),
])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_derivatives_at_special_places(function, x, expected):
    found = [derivatives(function, x, n) for n in range(len(expected))]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


def test_logarithms_of_sums():
    a = np.array([[0.0, -INF, 1.0], [-INF, -INF, -INF]])
    np.testing.assert_allclose(np.asarray(sp.logsumexp(a, axis=1)), scipy.special.logsumexp(a, axis=1))
    gradient = np.asarray(fg.jit(fg.grad(lambda v: sp.logsumexp(v, axis=1)[0] + fnp.where(True, 0, sp.logsumexp(v, axis=1)[1])))(a))
    np.testing.assert_allclose(gradient, [np.exp(a[0]) / np.exp(a[0]).sum(), [0, 0, 0]])
    b = np.array([1.0, -2.0, 0.5])
    for found, expected in zip(sp.logsumexp(a[0], b=b, return_sign=True), scipy.special.logsumexp(a[0], b=b, return_sign=True), strict=True):
        np.testing.assert_allclose(np.asarray(found), expected)
    x = np.array([[1.0, 2.0], [1000.0, -1000.0]])
    for axis in (None, 0, 1, (0, 1)):
        np.testing.assert_allclose(np.asarray(sp.softmax(x, axis=axis)), scipy.special.softmax(x, axis=axis))
        np.testing.assert_allclose(np.asarray(sp.log_softmax(x, axis=axis)), scipy.special.log_softmax(x, axis=axis))


def test_whole_orders():
    x = np.array([0.3, 1.0, 2.5])
    n = np.array([0, 2, 5])
    np.testing.assert_allclose(np.asarray(sp.polygamma(n, x)), scipy.special.polygamma(n, x), rtol=1e-13)
    assert sp.polygamma(1, x.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(np.asarray(sp.expn(n, x)), scipy.special.expn(n, x), rtol=1e-13)
    assert np.isnan(float(sp.expn(-1, 1.0)))
    for v in (0, 3):
        for z in (x, 0.7):
            expected = np.stack([scipy.special.jv(k, z) for k in range(v + 1)])
            np.testing.assert_allclose(np.asarray(sp.bessel_jn(z, v=v)), expected, rtol=1e-13)
    for n in (0, 1, 5):
        np.testing.assert_allclose(np.asarray(sp.bernoulli(n)), scipy.special.bernoulli(n))
    np.testing.assert_allclose(np.asarray(sp.multigammaln(x + 3, 4)), scipy.special.multigammaln(x + 3, 4), rtol=1e-13)
    np.testing.assert_array_equal(np.asarray(sp.comb(5, np.arange(-1, 8))), scipy.special.comb(5, np.arange(-1, 8)))
    for k in (0, 2, 5):
        np.testing.assert_allclose(float(sp.comb(4, k, repetition=True)), scipy.special.comb(4, k, repetition=True), rtol=1e-14)
    assert np.asarray(sp.factorial(np.array([-2, 0, 3]))).tolist() == [0, 1, 6]
    np.testing.assert_allclose(float(sp.zeta(3.0)), scipy.special.zeta(3.0))


def test_complex_arguments():
    z = np.array([0.3 + 0.7j, -1.2 + 0.4j, 2.0 - 3.0j])
    for name in ("gamma", "loggamma", "digamma", "wofz", "erfcx", "xlogy", "xlog1py"):
        args = (z, z[::-1]) if name.startswith("xlog") else (z,)
        np.testing.assert_allclose(np.asarray(getattr(sp, name)(*args)), getattr(scipy.special, name)(*args), rtol=1e-13)
    for name in ("gamma", "loggamma", "wofz", "erfcx"):
        slope = fg.vmap(fg.grad(getattr(sp, name), holomorphic=True))(z)
        up, down = (getattr(scipy.special, name)(z + s * 1e-5) for s in (1, -1))
        np.testing.assert_allclose(np.asarray(slope), (up - down) / 2e-5, rtol=1e-7)
    assert sp.wofz(1.0).dtype == np.complex128


@pytest.mark.skipif(not hasattr(scipy.special, "sph_harm_y"), reason="SciPy has it since 1.15")
def test_spherical_harmonics():
    n, m = np.array([0, 1, 1, 3, 5, 5]), np.array([0, 0, -1, 3, -2, 0])
    theta, phi = np.array([0.3, 1.0, 2.5, 0.0, 1.7, 3.1]), np.array([0.1, 2.0, 5.0, 1.0, 6.0, 3.0])
    found = fg.jit(sp.sph_harm_y)(n, m, theta, phi)
    np.testing.assert_allclose(np.asarray(found), scipy.special.sph_harm_y(n, m, theta, phi), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.asarray(sp.sph_harm_y(n, m * 0, theta, phi, n_max=3)),
                               scipy.special.sph_harm_y(np.minimum(n, 3), m * 0, theta, phi), rtol=1e-12)
    for i in (0, 1):
        def part(t, p, k):
            return fnp.real(sp.sph_harm_y(n[k:k + 1], m[k:k + 1], t, p))[0]  # noqa: B023

        for k in (1, 2, 3, 4):
            _, gradient, hessian = scipy.special.sph_harm_y(n[k], m[k], theta[k], phi[k], diff_n=2)
            np.testing.assert_allclose(float(fg.grad(part, i)(theta[k], phi[k], k)), gradient[i].real, rtol=1e-10, atol=1e-13)
            second = fg.grad(lambda t, p: fg.grad(part, i)(t, p, k), i)(theta[k], phi[k])  # noqa: B023
            np.testing.assert_allclose(float(second), hessian[i, i].real, rtol=1e-10, atol=1e-13)
    assert sp.sph_harm_y(1, 0, 0.5, 0.5).shape == (1,)


@pytest.mark.parametrize("call, error, text", [
    (lambda: sp.polygamma(1.0, 2.0), TypeError, "polygamma: the order is a whole number"),
    (lambda: sp.bessel_jn(1.0, v=-1), ValueError, "bessel_jn: a negative order"),
    (lambda: sp.bessel_jn(1.0, v=1.5), TypeError, "integer"),
    (lambda: sp.bernoulli(-1), ValueError, "bernoulli: a negative number of numbers"),
    (lambda: sp.factorial(3, exact=True), NotImplementedError, "factorial: exact integers have no bound"),
    (lambda: sp.log_ndtr(1.0, 1.5), TypeError, "log_ndtr: series_order is not an integer"),
    (lambda: sp.log_ndtr(1.0, 31), ValueError, "log_ndtr: series_order is out of range"),
    (lambda: sp.sph_harm_y(1.0, 0, 0.5, 0.5), TypeError, "sph_harm_y: n is a whole number"),
    (lambda: sp.sph_harm_y(1, 0, 0.5, 0.5, diff_n=1), NotImplementedError, "sph_harm_y: diff_n is not supported"),
    (lambda: sp.multigammaln(2.0, 1.5), TypeError, "integer"),
    (lambda: sp.betainc(1.0, 2.0, [0.5]), TypeError, "argument 2 is not an array or a number"),
    (lambda: sp.hyp2f1(np.ones(2), np.ones(3), 1.0, 0.5), ValueError, "hyp2f1: the shapes do not broadcast"),
    (lambda: fg.grad(lambda n: sp.expn(n, 1.0))(2.0), MissingRuleError, "expn has no rule for it"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize("name", ["erf", "ndtr", "log_ndtr", "gammaln", "gammasgn", "entr", "expi", "i0e", "factorial",
                                  "boxcox", "kl_div", "spence"])
def test_real_functions_refuse_complex_arguments(name):
    function = getattr(sp, name)
    needed = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    with pytest.raises(TypeError, match="real"):
        function(*[np.ones(2) + 1j] * len(needed))


def test_compiled_programs_call_scipy_without_python():
    def loss(a, b, x):
        y = sp.betainc(a, b, x) * sp.ndtri(x) + sp.gammainc(a, b) * sp.hyp2f1(a, b, a + b, x) + sp.log_ndtr(x - 3)
        return fnp.sum(y + sp.entr(x) + sp.logit(x) + sp.i0e(a) + sp.xlogy(a, x))

    compiled = fg.jit(fg.value_and_grad(loss, 2)).lower(*[np.linspace(0.2, 0.9, 7)] * 3)
    assert "0 host steps" in str(compiled.report())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_compiled_values_have_the_bits_of_the_interpreted(dtype):
    def values(a, b, x):
        return (sp.gammainc(a, b), sp.gammaincc(a, b), sp.betainc(a, b, x), sp.i0e(a), sp.i1e(a), sp.ndtri(x), sp.erfcx(a),
                sp.dawsn(a), sp.expi(a), sp.exp1(a), sp.spence(x), sp.gamma(a), sp.beta(a, b), sp.betaln(a, b), sp.poch(a, b),
                sp.owens_t(a, b), sp.hyp1f1(a, b, x), sp.hyp2f1(a, b, a + 1, x), sp.comb(b + 3, a), sp.bessel_jn(a, v=1))

    a, b, x = (v.astype(dtype) for v in (POSITIVE, OTHER, UNIT))
    for found, expected in zip(fg.jit(values)(a, b, x), values(a, b, x), strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_a_later_process_finds_scipy_by_itself(tmp_path):
    code = """
import sys
import numpy as np
import funcgrad as fg
from funcgrad.scipy import special as sp, stats
assert not any(m.startswith("scipy.") for m in sys.modules)
print(float(fg.jit(sp.betainc)(2.0, 3.0, np.float64(0.5))), "numba" in sys.modules)
"""
    environment = {**os.environ, "FUNCGRAD_CACHE_DIR": str(tmp_path)}
    found = [subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
             for _ in range(2)]
    assert found == ["0.6875 True\n", "0.6875 False\n"]


def test_a_function_that_scipy_does_not_have_has_no_address():
    assert scipy_address("no_such_function") == 0
    assert scipy_address("betainc") and scipy_address("hyp2f1") and scipy_address("i0e")
