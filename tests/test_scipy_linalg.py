"""scipy.linalg: values against SciPy, identities, derivatives in corners, wrong calls."""
from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg as reference

import funcgrad as fg
from funcgrad import numpy as fnp
from funcgrad.scipy import linalg as sl
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(5)
A = RNG.normal(size=(4, 4))
S = A @ A.T + np.eye(4)
C = A + 1j * RNG.normal(size=(4, 4))
T = RNG.normal(size=(5, 3))
V, W = RNG.normal(size=4), RNG.normal(size=6)
B = RNG.normal(size=(4, 2))

CALLS = [
    ("block_diag", (T, V, 1.5), {}), ("toeplitz", (V,), {}), ("toeplitz", (V, W), {}), ("toeplitz", (V + 1j,), {}),
    ("hankel", (V,), {}), ("hankel", (V, W), {}), ("circulant", (V,), {}), ("companion", (V,), {}), ("fiedler", (V,), {}),
    *[("convolution_matrix", (x, n, mode), {}) for x, n in ((V, 3), (V, 7)) for mode in ("full", "same", "valid")],
    *[("fiedler_companion", (RNG.normal(size=n),), {}) for n in (2, 3, 6, 7)], ("leslie", (V, V[:3]), {}), ("dft", (4, "sqrtn"), {}),
    ("hadamard", (4,), {}), ("helmert", (4,), {"full": True}), ("hilbert", (4,), {}), ("invhilbert", (4,), {}), ("pascal", (4,), {}),
    ("pascal", (4, "lower"), {}), ("invpascal", (4,), {}), ("cholesky", (S,), {}), ("cholesky", (S,), {"lower": True}),
    ("lu", (T,), {}), ("lu", (C,), {}), ("lu", (T.T,), {"permute_l": True}), ("lu_factor", (A,), {}), ("inv", (A,), {}), ("det", (A,), {}),
    *[("solve_triangular", (m, x, t), {"lower": low, "unit_diagonal": low}) for m in (A, C) for x in (V, B) for t in (0, 1, "C") for low in (False, True)],
    ("solve", (A, V), {}), ("solve", (S, B), {"assume_a": "pos"}), ("expm", (A,), {}), ("expm", (np.stack([A, S]),), {}), ("expm_frechet", (A, S), {}),
    ("sqrtm", (S,), {}), ("sqrtm", (C,), {}), ("solve_sylvester", (A, S, S), {}), ("polar", (T,), {}), ("polar", (T,), {"side": "left"}),
    ("polar", (C,), {}), ("hessenberg", (A,), {"calc_q": True}), ("qr", (T,), {}), ("qr", (T,), {"mode": "economic", "pivoting": True}),
    ("qr", (T,), {"mode": "r"}), ("eigh_tridiagonal", (V, V[:3]), {"eigvals_only": True}), ("qr_multiply", (T, T.T), {}),
    ("qr_multiply", (T, V[:3], "left"), {}), ("eigh", (S,), {"eigvals_only": True}), ("eigh", (S, S + np.eye(4)), {"eigvals_only": True}),
]


@pytest.mark.parametrize("name, args, kwargs", CALLS, ids=[f"{i} {c[0]}" for i, c in enumerate(CALLS)])
def test_as_scipy(name, args, kwargs):
    expected = getattr(reference, name)(*args, **({**kwargs, "exact": False} if "pascal" in name else kwargs))
    for x, y in zip(fg.tree.leaves(getattr(sl, name)(*args, **kwargs)), expected if isinstance(expected, tuple) else (expected,), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)
        assert np.shape(x) == np.shape(y)


def test_identities():
    t, z = sl.schur(A, output="complex")
    np.testing.assert_allclose(z @ t @ fnp.conj(z.T), A, atol=1e-12)
    t, z = sl.rsf2csf(*sl.schur(A))
    np.testing.assert_allclose(z @ t @ fnp.conj(z.T), A, atol=1e-12)
    assert abs(np.tril(np.asarray(t), -1)).max() < 1e-12
    w, v = sl.eigh(S, np.diag([1.0, 2, 3, 4]))
    np.testing.assert_allclose(S @ v, np.diag([1.0, 2, 3, 4]) @ v * w, atol=1e-10)
    w, v = sl.eigh_tridiagonal(V, V[:3], select="i", select_range=(1, 2))
    dense = np.diag(V) + np.diag(V[:3], 1) + np.diag(V[:3], -1)
    np.testing.assert_allclose(dense @ v, v * w, atol=1e-12)
    for trans, matrix in ((0, C), (1, C.T), (2, C.conj().T)):
        for b in (V, B):
            np.testing.assert_allclose(matrix @ sl.lu_solve(sl.lu_factor(C), b, trans), b, atol=1e-12)
    for low in (False, True):
        np.testing.assert_allclose(S @ sl.cho_solve(sl.cho_factor(S, low), V), V, atol=1e-12)
    u, s, vh = sl.svd(T, full_matrices=False)
    np.testing.assert_allclose(u * s @ vh, T, atol=1e-12)
    stacked = sl.toeplitz(np.stack([V, 2 * V]))
    np.testing.assert_allclose(stacked[1], reference.toeplitz(2 * V))
    assert sl.block_diag().shape == (1, 0) and sl.toeplitz(np.array([1, 2])).dtype == np.int64
    q, h = sl.hessenberg(A[:1, :1], calc_q=True)
    assert float(h[0, 0]) == 1


def test_functions_of_matrices():
    np.testing.assert_allclose(sl.funm(A, fnp.exp), reference.expm(A), atol=1e-10)
    value, error = sl.funm(np.stack([S, A]), lambda w: w * w, disp=False)
    np.testing.assert_allclose(value[1], A @ A, atol=1e-10)
    assert error.shape == (2,) and float(error[0]) < 1e-14
    rotation = np.array([[0.0, 1], [-1, 0]])
    np.testing.assert_allclose(sl.funm(rotation, fnp.exp), reference.expm(rotation), atol=1e-12)
    assert np.isnan(np.asarray(sl.expm(np.full((2, 2), np.nan)))).all()
    np.testing.assert_allclose(sl.expm(np.triu(A), upper_triangular=True), reference.expm(np.triu(A)))


def test_derivatives_at_equal_eigenvalues():
    """There is no gap, and no warning is given."""
    direction = RNG.normal(size=(3, 3))
    one = np.eye(3)

    def of_funm(f):
        return lambda x: fnp.real(sl.funm(x, f))

    for f, slope in ((of_funm(fnp.exp), np.e), (of_funm(lambda w: w ** 3), 3.0), (sl.expm, np.e), (lambda x: fnp.real(sl.sqrtm(x)), 0.5)):
        np.testing.assert_allclose(fg.jvp(f, (one,), (direction,))[1], slope * direction, atol=1e-12)
        gradient = fg.grad(lambda x, f=f: fnp.sum(direction * f(x)))(one)
        np.testing.assert_allclose(gradient, slope * direction, atol=1e-12)
    check_grads(sl.expm, (one,), 3)
    check_grads(sl.polar, (one,), 2)
    check_grads(lambda x: fnp.real(sl.sqrtm(x)), (np.diag([1.0, 1, 2]),), 2)
    check_grads(of_funm(fnp.sin), (np.diag([1.0, 1, 2]),), 1)
    check_grads(of_funm(fnp.sin), (A,), 2)


@pytest.mark.parametrize("f, args", [
    (lambda a, b: sl.lu_solve(sl.lu_factor(a), b, 1), (A, V)), (lambda a, b: sl.solve(a, b, assume_a="pos"), (S, V)), (lambda a: sl.lu(a)[1:], (T,)),
    (lambda a, b: sl.eigh(a, b, eigvals_only=True), (S, S + 2 * np.eye(4))), (sl.toeplitz, (V, W)), (sl.block_diag, (V, T)), (sl.companion, (V,)),
    (sl.fiedler_companion, (W,)), (lambda a: sl.polar(a, "left"), (T,)), (lambda d, e: sl.eigh_tridiagonal(d, e)[0], (V, V[:3])),
    (lambda a, c: sl.qr_multiply(a, c), (T, T.T))], ids=["lu_solve", "pos", "lu", "eigh", "toeplitz", "block_diag", "companion", "fiedler_companion",
                                                         "polar", "tridiagonal", "qr_multiply"])
def test_derivatives_of_compositions(f, args):
    check_grads(f, args, 2)


@pytest.mark.parametrize("call, error, text", [
    (lambda: sl.solve(A, V, assume_a="x"), ValueError, "assume_a is unknown"), (lambda: sl.solve_triangular(A, V, 5), ValueError, "trans is unknown"),
    (lambda: sl.solve_triangular(A, T), ValueError, "the shapes do not fit"), (lambda: sl.lu_solve(sl.lu_factor(A), V, 3), ValueError, "trans is unknown"),
    (lambda: sl.qr(A, mode="x"), ValueError, "qr: there is no such mode"), (lambda: sl.qr_multiply(A, A, "x"), ValueError, "qr_multiply: there is no"),
    (lambda: sl.schur(A, "x"), ValueError, "schur: there is no such output"), (lambda: sl.polar(A, "x"), ValueError, "polar: there is no such side"),
    (lambda: sl.eigh(A, type=2), NotImplementedError, "type must be 1"), (lambda: sl.eigh_tridiagonal(V, V), ValueError, "the shapes do not fit"),
    (lambda: sl.eigh_tridiagonal(V, V[:3], select="v"), NotImplementedError, "depends on values"), (lambda: sl.expm(T), ValueError, "expm: the matrix is not square"),
    (lambda: sl.expm_frechet(A, A[:3, :3]), ValueError, "expm_frechet: the shapes"), (lambda: sl.solve_sylvester(A, A, T), ValueError, "solve_sylvester: the shapes"),
    (lambda: sl.block_diag(np.zeros((1, 1, 1))), ValueError, "too many axes"), (lambda: sl.companion(V[:1]), ValueError, "too few coefficients"),
    (lambda: sl.leslie(V, V), ValueError, "leslie: the sizes do not fit"), (lambda: sl.convolution_matrix(V, 0), ValueError, "empty vectors"),
    (lambda: sl.convolution_matrix(V, 2, "x"), ValueError, "no such mode"), (lambda: sl.fiedler_companion(A), ValueError, "a vector is needed"),
    (lambda: fg.grad(lambda x: fnp.sum(sl.hessenberg(x)))(A), fg.errors.MissingRuleError, "LAPACK's choice")])
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_importing_it_does_not_import_scipy():
    import subprocess
    import sys
    code = "import sys, funcgrad.scipy.linalg; assert not any(m.split('.')[0] == 'scipy' for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
