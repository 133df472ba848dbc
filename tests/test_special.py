"""Special functions: values against SciPy and stored digits, derivatives, types, batching, staging."""
from __future__ import annotations

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import scipy.special

from funcgrad.core.array import DeviceArray, aval_of
from funcgrad.core.stage import eval_jaxpr, stage
from funcgrad.errors import MissingRuleError
from funcgrad.ops import integrals
from funcgrad.ops import special as sp
from funcgrad.transforms.derivatives import grad
from funcgrad.transforms.vmap import Axis, vmap_flat

X = np.array([0.11, 0.7, 0.93, 0.35])
A = np.array([0.4, 2.5, 7.0, 31.0])
B = np.array([3.0, 0.6, 1.5, 4.0])
UNARY = dict(erf="erf", erfc="erfc", erf_inv="erfinv", lgamma="gammaln", digamma="psi", bessel_i0e="i0e",
             bessel_i1e="i1e", bessel_i0="i0", bessel_i1="i1")
BINARY = dict(zeta=("zeta", (A + 1.5, B)), igamma=("gammainc", (A, B)), igammac=("gammaincc", (A, B)),
              gammainc=("gammainc", (A, A + 1)), gammaincc=("gammaincc", (A, A - 0.2)),
              betainc=("betainc", (A, B, X)))


def cases():
    for name, other in UNARY.items():
        yield pytest.param(getattr(sp, name), getattr(scipy.special, other), (X,), id=name)
    for name, (other, args) in BINARY.items():
        yield pytest.param(getattr(sp, name), getattr(scipy.special, other), args, id=name)
    yield pytest.param(lambda x: sp.polygamma(2, x), lambda x: scipy.special.polygamma(2, x), (X,), id="polygamma 2")
    yield pytest.param(lambda x: sp.polygamma(0.0, x), scipy.special.psi, (-X,), id="polygamma 0")


@pytest.mark.parametrize("function, expected, args", list(cases()))
def test_values_staging_and_batching(function, expected, args):
    value = expected(*args)
    out = function(*args)
    np.testing.assert_allclose(np.asarray(out), value, rtol=1e-13)
    jaxpr, _ = stage(lambda *xs: [function(*xs)], [aval_of(x) for x in args])
    staged, = eval_jaxpr(jaxpr, args)
    assert jaxpr.out_avals[0] is aval_of(out)
    np.testing.assert_array_equal(np.asarray(staged), np.asarray(out))
    outs, places = vmap_flat(lambda *xs: [function(*xs)], Axis(4), [DeviceArray(x) for x in args], [0] * len(args))
    np.testing.assert_array_equal(np.asarray(outs[0]), np.asarray(out))
    for dtype, tolerance in ((np.float32, 1e-5), (np.float16, 2e-2), (ml_dtypes.bfloat16, 2e-1)):
        narrow = [x.astype(dtype) for x in args]
        found = function(*narrow)
        assert found.dtype == dtype and found.shape == (4,)
        np.testing.assert_allclose(np.asarray(found).astype(float), expected(*[x.astype(float) for x in narrow]),
                                   rtol=tolerance, atol=1e-6)
        assert function(*[x[0] for x in narrow]).dtype == dtype
        assert function(*[x[:0] for x in narrow]).shape == (0,)


DERIVATIVES = [(getattr(sp, name), name) for name in UNARY] + [
    (lambda x: sp.polygamma(1, x), "polygamma"), (lambda x: sp.zeta(2.5, x), "zeta"),
    (lambda x: sp.igamma(2.5, x), "igamma x"), (lambda x: sp.igammac(0.7, x), "igammac x"),
    (lambda x: sp.betainc(2.5, 0.8, x), "betainc x")]


@pytest.mark.parametrize("function, name", DERIVATIVES, ids=[name for _, name in DERIVATIVES])
def test_two_derivatives(function, name):
    h = 1e-5
    for x in (0.11, 0.4, 0.83):
        for f in (function, grad(function)):
            numeric = (float(f(x + h)) - float(f(x - h))) / (2 * h)
            np.testing.assert_allclose(float(grad(f)(x)), numeric, rtol=1e-6, atol=1e-8)
    if name in ("erf", "erfc", "lgamma", "digamma", "bessel_i0e", "bessel_i1e"):
        np.testing.assert_allclose(float(grad(function)(-0.37)),
                                   (float(function(-0.37 + h)) - float(function(-0.37 - h))) / (2 * h), rtol=1e-6)


def test_igamma_in_its_first_argument():
    # Stored: central differences of the integral in 40 digits (mpmath).
    points = [(0.5, 0.2, -0.820161406486339), (2.0, 3.0, -0.197425419579983), (10.0, 9.0, -0.127036511924269),
              (100.0, 130.0, -8.10130028563094e-4), (0.01, 5.0, -1.20262990193592e-3),
              (1e3, 909.4926796630574, -0.00016881904396609938), (4.1e4, 4.1e4, -0.001970239493087874),
              (3.9e4, 39197.985021600245, -0.0012211371127113873), (1e6, 1003004.5045033771, -4.405320773631092e-06)]
    a, x, expected = map(np.array, zip(*points, strict=True))
    np.testing.assert_allclose(np.asarray(sp.igamma_grad_a(a, x)), expected, rtol=1e-10)
    for a, x in ((0.3, 0.2), (2.5, 1.1), (2.5, 6.0), (40.0, 39.0)):
        h = 1e-5 * a
        numeric = (float(sp.igamma(a + h, x)) - float(sp.igamma(a - h, x))) / (2 * h)
        np.testing.assert_allclose(float(grad(sp.igamma)(a, x)), numeric, rtol=1e-6)
        np.testing.assert_allclose(float(grad(sp.igammac)(a, x)), -numeric, rtol=1e-6)
        mixed = float(grad(lambda x: grad(sp.igamma)(a, x))(x))  # noqa: B023
        other = float(grad(lambda a: grad(sp.igamma, 1)(a, x))(a))  # noqa: B023
        np.testing.assert_allclose(mixed, other, rtol=1e-9)


def test_gamma_sample_derivative():
    for a, x in ((0.5, 0.2), (2.0, 3.0), (10.0, 9.0), (100.0, 130.0), (1e5, 1e5 + 300)):
        density = float(grad(sp.igamma, 1)(a, x))
        np.testing.assert_allclose(float(sp.random_gamma_grad(a, x)), -float(sp.igamma_grad_a(a, x)) / density, rtol=1e-8)
    np.testing.assert_allclose(float(sp.random_gamma_grad(0.01, 1e-30)), 6.85166673319527e-27, rtol=1e-12)
    assert sp.random_gamma_grad(np.float32(2), np.float32(0)).dtype == np.float32
    assert np.isnan(np.asarray(sp.random_gamma_grad(np.array([-1.0, 1.0, np.nan]), np.array([1.0, -1.0, 1.0])))).all()


def test_edges():
    assert np.asarray(sp.erf(np.array([np.inf, -np.inf, 0.0]))).tolist() == [1, -1, 0]
    assert np.asarray(sp.erf_inv(np.array([1.0, -1.0]))).tolist() == [np.inf, -np.inf]
    assert float(sp.lgamma(0.0)) == np.inf and np.isnan(float(sp.digamma(-1.0)))
    np.testing.assert_array_equal(np.asarray(sp.igamma(np.array([1.0, 1.0, -1.0]), np.array([0.0, np.inf, 1.0]))),
                                  [0, 1, np.nan])
    assert np.isnan(float(sp.polygamma(1.5, 2.0)))
    assert float(grad(sp.bessel_i1e)(0.0)) == 0.5
    assert float(grad(sp.bessel_i0)(0.0)) == 0.0
    assert sp.erf(1).dtype == np.float64 and sp.erf(1).weak_type
    assert sp.betainc(1.0, 2.0, np.float32(0.5)).dtype == np.float32


@pytest.mark.parametrize("call, reason", [
    (lambda: grad(sp.polygamma)(2.0, 1.0), "polygamma has no rule for it.* the derivative with respect to the order"),
    (lambda: grad(sp.bessel_ive)(2.0, 1.0), "bessel_ive has no rule for it.* the derivative with respect to the order"),
    (lambda: grad(integrals.bessel_j)(2.0, 1.0), "bessel_j has no rule for it.* the derivative with respect to the order"),
    (lambda: grad(integrals.expn)(2.0, 1.0), "expn has no rule for it.* the derivative with respect to the order"),
    (lambda: grad(integrals.polar_harmonic)(2.0, 1.0, 0.5), "polar_harmonic has no rule for it.* the degree is a whole number"),
])
def test_what_has_no_derivative_says_so(call, reason):
    with pytest.raises(MissingRuleError, match="(?s)" + reason):
        call()


def test_complex_arguments_are_refused():
    with pytest.raises(TypeError, match="erf: defined here for real arguments only"):
        sp.erf(1j)


def test_scipy_is_loaded_at_the_first_call():
    code = "import sys, funcgrad.ops.special; assert not any(m.startswith('scipy') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_by_name():
    assert sp.betainc(x=0.3, a=2.0, b=1.5) == sp.betainc(2.0, 1.5, 0.3) and sp.zeta(3.0, q=2.0) == sp.zeta(3.0, 2.0)
    for call in (lambda: sp.erf(), lambda: sp.erf(1.0, 2.0), lambda: sp.igamma(1.0, y=2.0)):
        with pytest.raises(TypeError, match="the arguments do not fit(.|\n)*(missing|too many|unexpected)"):
            call()
