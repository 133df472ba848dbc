"""fnp.linalg and lax.linalg: values, results for matrices that have no answer, derivatives in corners, wrong calls."""
from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.linalg

import funcgrad as fg
from funcgrad import numpy as fnp
from funcgrad.lax import linalg as la
from funcgrad.ops.degenerate import DegeneracyWarning
from funcgrad.scipy import linalg as scipy_linalg
from funcgrad.test_util import check_grads

L = fnp.linalg
RNG = np.random.default_rng(3)
A = RNG.normal(size=(4, 4))
S = A @ A.T + np.eye(4)
C = A + 1j * RNG.normal(size=(4, 4))
T = RNG.normal(size=(5, 3))
STACK = RNG.normal(size=(2, 3, 4, 4))
V = RNG.normal(size=4)
B = RNG.normal(size=(4, 2))


def same(found, expected, rtol=1e-10):
    for x, y in zip(fg.tree.leaves(found), expected if isinstance(expected, tuple) else (expected,), strict=True):
        assert x.shape == np.shape(y)
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-10)


# ---------------------------------------------------------------- values


CALLS = [
    ("cholesky", (S,), {}), ("cholesky", (S,), {"upper": True}), *[("cond", (A, p), {}) for p in (None, -2, 1, np.inf, "fro")],
    ("det", (STACK,), {}), ("det", (C,), {}), ("det", (A[:1, :1],), {}), ("det", (A[:2, :2],), {}), ("det", (A[:3, :3],), {}),
    ("diagonal", (STACK,), {"offset": 1}), ("eigvalsh", (S,), {}), ("inv", (STACK,), {}), ("inv", (C,), {}),
    ("matrix_power", (A, 5), {}), ("matrix_power", (A, -3), {}), ("matrix_power", (A, 0), {}), ("matrix_rank", (T,), {}),
    ("matrix_rank", (T[:, :1] @ T[:1],), {}), ("matrix_rank", (V,), {}), ("matrix_transpose", (STACK,), {}),
    ("multi_dot", ([A, B, B.T, V],), {}), ("multi_dot", ([V, A, B],), {}), ("norm", (STACK,), {}), ("norm", (C,), {"ord": "nuc"}),
    *[("norm", (V, p), {}) for p in (1, 2, 3, 0, 0.5, np.inf, -np.inf)], ("norm", (STACK, None, 1), {"keepdims": True}),
    *[("norm", (STACK, p, (0, 2)), {"keepdims": k}) for p in (1, -1, 2, -2, np.inf, -np.inf, "fro", "nuc") for k in (False, True)],
    ("matrix_norm", (STACK,), {"ord": 2}), ("vector_norm", (STACK,), {"axis": (0, 1), "ord": 3}), ("outer", (V, V), {}),
    ("pinv", (T,), {}), ("pinv", (STACK,), {}), ("pinv", (S,), {"hermitian": True}), ("qr", (T,), {}), ("qr", (T, "complete"), {}),
    ("qr", (T, "r"), {}), ("qr", (STACK,), {}), ("slogdet", (STACK,), {}), ("slogdet", (C,), {}), ("solve", (A, V), {}), ("solve", (A, B), {}),
    ("solve", (A, np.stack([B, B + 1])), {}), ("solve", (STACK, B), {}), ("solve", (STACK, V), {}), ("svdvals", (STACK,), {}),
    ("tensorinv", (RNG.normal(size=(4, 6, 8, 3)),), {}), ("tensorsolve", (RNG.normal(size=(2, 6, 3)), T[:2, :3]), {"axes": (1,)}),
    ("trace", (STACK,), {"offset": -1}), ("vecdot", (STACK, V), {}), ("cross", (T, T[::-1]), {}), ("matmul", (STACK, A), {}),
    ("tensordot", (STACK, A), {"axes": 1}), ("inv", (np.array([[1, 2], [3, 4]]),), {}), ("norm", (np.array([3, 4]),), {}),
]


@pytest.mark.parametrize("name, args, kwargs", CALLS, ids=[f"{i} {c[0]}" for i, c in enumerate(CALLS)])
def test_as_numpy(name, args, kwargs):
    found = getattr(L, name)(*args, **kwargs)
    if name == "tensorsolve":
        same(fnp.tensordot(fnp.moveaxis(args[0], 1, 2), found, 1), args[1])
    else:
        expected = getattr(np.linalg, name)(*args, **kwargs)
        same(found, tuple(expected) if isinstance(expected, tuple) else expected)


def test_lstsq():
    for a, b in ((T, RNG.normal(size=5)), (T, RNG.normal(size=(5, 2))), (T.T, RNG.normal(size=3)), (T[:, :1] @ T[:1], T[:, 0])):
        x, residuals, rank, values = L.lstsq(a, b, numpy_resid=True)
        expected = np.linalg.lstsq(a, b)
        same((x, residuals, values), (expected[0], expected[1], expected[3]))
        assert int(rank) == expected[2]
    assert L.lstsq(T.T, T.T[:, :2])[1].shape == (2,)


def test_factors_multiply_to_the_matrix():
    for x in (T, T.T, STACK, C):
        for full in (False, True):
            u, s, vh = L.svd(x, full_matrices=full)
            k = s.shape[-1]
            same((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], x)
        factors, _, p = la.lu(x)
        m, n = x.shape[-2:]
        low = fnp.tril(factors[..., :min(m, n)], -1) + np.eye(m, min(m, n))
        same(low @ fnp.triu(factors[..., :min(m, n), :]), np.take_along_axis(x, np.asarray(p)[..., None], -2))
        q, r, p = la.qr(x, pivoting=True, full_matrices=False)
        same(q @ r, np.take_along_axis(x, np.asarray(p)[..., None, :], -1))
    w, v = L.eigh(C + C.conj().T)
    same(v * w @ fnp.conj(v.T), C + C.conj().T)
    same(L.svd(S - 3 * np.eye(4), hermitian=True).S, np.linalg.svd(S - 3 * np.eye(4))[1])
    u, s, vh = L.svd(S - 3 * np.eye(4), hermitian=True)
    same(u * s @ vh, S - 3 * np.eye(4))
    w, left, right = la.eig(A)
    same(A @ right, np.asarray(right * w))
    same(fnp.conj(left.T) @ A, np.asarray(w[:, None] * fnp.conj(left.T)))
    v, w = la.eigh(S, subset_by_index=(1, 3))
    same(S @ v, np.asarray(v * w))
    assert la.svd(T, subset_by_index=(0, 2), full_matrices=False)[0].shape == (5, 2)
    reflections, taus = L.qr(T, mode="raw")
    same(la.householder_product(reflections.T, taus), np.linalg.qr(T)[0])
    same(la.ormqr(reflections.T, taus, np.eye(5)), np.linalg.qr(T, "complete")[0])
    same(la.ormqr(reflections.T, taus, np.eye(5), left=False, transpose=True), np.linalg.qr(T, "complete")[0].T)
    packed, d, e, taus = la.tridiagonal(S)
    same(np.linalg.eigvalsh(np.diag(d) + np.diag(e, 1) + np.diag(e, -1)), np.linalg.eigvalsh(S))
    u, h, _, _ = la.qdwh(T)
    same(u @ h, T)
    same(la.cholesky_update(np.linalg.cholesky(S).T, V), np.linalg.cholesky(S + np.outer(V, V)).T)
    same(la.symmetric_product(T, np.eye(5), alpha=2.0, beta=3.0), 2 * T @ T.T + 3 * np.eye(5))


def test_tridiagonal_systems():
    dl, d, du = RNG.normal(size=(3, 2, 4))
    d = d + 5
    b = RNG.normal(size=(2, 4, 3))
    x = np.asarray(la.tridiagonal_solve(dl, d, du, b))
    for i in range(2):
        dense = np.diag(d[i]) + np.diag(dl[i, 1:], -1) + np.diag(du[i, :-1], 1)
        np.testing.assert_allclose(dense @ x[i], b[i], rtol=1e-10)
    assert np.isnan(np.asarray(la.tridiagonal_solve(0 * V, 0 * V, 0 * V, B))).all()
    same(la.tridiagonal_solve(V[:1], V[:1], V[:1], B[:1]), B[:1] / V[0])


@pytest.mark.parametrize("call", [
    np.linalg.inv, np.linalg.det, lambda x: np.linalg.solve(x, V), lambda x: np.linalg.eigh(x)[0], np.linalg.cholesky,
    lambda x: np.linalg.cholesky(x, upper=True), np.linalg.norm, np.linalg.matrix_rank, lambda x: np.linalg.slogdet(x)[1],
    lambda x: np.linalg.svd(x)[1], lambda x: np.linalg.matrix_power(x, 3), lambda x: np.linalg.pinv(x, 1e-10),
    lambda x: np.linalg.lstsq(x, V, rcond=None)[0], lambda x: np.linalg.matrix_rank(x, 1e-3), lambda x: np.linalg.cond(x, 1),
    lambda x: np.linalg.qr(x).R, lambda x: np.linalg.eigvalsh(x, "U")], ids=lambda f: f.__name__)
def test_numpy_calls_on_arrays(call):
    # Not symmetric: NumPy reads one triangle in eigh and cholesky.
    matrix = S + 0.1 * np.triu(A)
    found = call(fnp.asarray(matrix))
    assert isinstance(found, fg.Array)
    same(found, call(matrix))
    same(fg.jit(call)(fnp.asarray(matrix)), call(matrix))


def test_types():
    f32, c64 = S.astype(np.float32), C.astype(np.complex64)
    for f in (L.inv, L.cholesky, lambda x: L.svd(x).S, lambda x: L.qr(x).Q, L.det, L.norm, L.pinv, lambda x: L.eigh(x)[1]):
        assert f(f32).dtype == np.float32
        assert f(c64).dtype.itemsize in (4, 8) and f(S.astype(int) + 9 * np.eye(4, dtype=int)).dtype == np.float64
        assert f(f32.astype(np.float16)).dtype == np.float16
    assert L.eigvals(f32).dtype == np.complex64 and L.slogdet(c64).logabsdet.dtype == np.float32
    assert L.solve(f32, B).dtype == np.float64 and L.solve(f32, np.array([1, 2, 3, 4])).dtype == np.float32
    assert [x.dtype for x in la.lu(f32)] == [np.float32, np.int32, np.int32]


def test_empty_matrices():
    for shape in ((0, 0), (2, 0, 0), (0, 3, 3)):
        x = np.zeros(shape)
        for f in (L.inv, L.det, L.cholesky, lambda v: L.slogdet(v)[1], lambda v: L.eigh(v)[0], lambda v: L.svd(v)[1], lambda v: L.qr(v)[1]):
            assert f(x).shape == {1: shape[:-1], 2: shape}.get(f(x).ndim - len(shape) + 2, shape[:-2])
            assert fg.grad(lambda v, f=f: fnp.sum(f(v)))(x).shape == shape
    assert L.matrix_rank(np.zeros((0, 3))) == 0 and float(L.det(np.zeros((0, 0)))) == 1
    assert L.solve(np.zeros((0, 0)), np.zeros((0, 2))).shape == (0, 2)


# ---------------------------------------------------------------- no answer


def test_matrices_without_an_answer_give_nan_or_inf():
    zero = np.zeros((4, 4))
    for run in (lambda f: f, fg.jit):
        assert not np.isfinite(np.asarray(run(L.inv)(zero))).any()
        assert np.isnan(np.asarray(run(L.cholesky)(-S))[0, 0])
        mixed = np.asarray(run(L.cholesky)(np.stack([S, -S])))
        assert np.isfinite(mixed[0]).all() and np.isnan(mixed[1]).any()
        sign, logarithm = run(L.slogdet)(np.ones((2, 4, 4)))
        assert np.asarray(sign).tolist() == [0, 0] and np.asarray(logarithm).tolist() == [-np.inf] * 2
        for f in (L.eigvalsh, L.svdvals, L.eigvals, L.pinv, L.det):
            assert np.isnan(np.asarray(run(f)(np.full((4, 4), np.nan)))).all()
        some = np.asarray(run(L.eigvalsh)(np.stack([S, S * np.nan])))
        assert np.isfinite(some[0]).all() and np.isnan(some[1]).all()


@pytest.mark.parametrize("call, error, text", [
    (lambda: L.inv(T), ValueError, "inv: the matrix is not square"), (lambda: L.det(V), ValueError, "det: a matrix is needed"),
    (lambda: L.cholesky(T), ValueError, "cholesky: the matrix is not square"), (lambda: L.solve(A, T), ValueError, "solve: the shapes do not fit"),
    (lambda: L.solve(STACK, np.zeros((5, 4, 1))), ValueError, "solve: the shapes do not broadcast"),
    (lambda: L.qr(A, "all"), ValueError, "qr: there is no such mode"), (lambda: L.eigh(A, "X"), ValueError, "eigh: UPLO names no triangle"),
    (lambda: L.slogdet(A, method="x"), ValueError, "slogdet: there is no such method"), (lambda: L.norm(STACK, 2), ValueError, "neither a vector nor a matrix"),
    (lambda: L.norm(A, "x"), ValueError, "no such norm of matrices"), (lambda: L.norm(V, "fro"), ValueError, "no such norm of vectors"),
    (lambda: L.matrix_power(T, 2), ValueError, "matrix_power: square matrices are needed"), (lambda: L.multi_dot([A]), ValueError, "at least two"),
    (lambda: L.multi_dot([A, V, A]), ValueError, "an operand is no matrix"), (lambda: L.cross(T[:, :2], T[:, :2]), ValueError, "3 components"),
    (lambda: L.outer(A, V), ValueError, "vectors are needed"), (lambda: L.tensorinv(A, 0), ValueError, "ind must be positive"),
    (lambda: L.lstsq(A, T), ValueError, "lstsq: the shapes do not fit"), (lambda: L.inv([[1.0]]), TypeError, "a list or tuple is converted only on request"),
    (lambda: la.triangular_solve(A, T, left_side=True), TypeError, "as many rows in b as in a"),
    (lambda: la.tridiagonal_solve(V, V, V, T), ValueError, "tridiagonal_solve: the shapes do not fit"),
    (lambda: la.tridiagonal_solve(V, V, V, B, perturb_singular=True), NotImplementedError, "perturb_singular"),
    (lambda: la.svd(T, subset_by_index=(0, 1)), ValueError, "exclude each other"), (lambda: la.schur(A, sort_eig_vals=True), NotImplementedError, "sorting"),
    (lambda: la.cholesky_update(A, B), ValueError, "cholesky_update: the shapes do not fit"),
    (lambda: fg.jacfwd(lambda x: la.schur(x)[0])(A), fg.errors.MissingRuleError, "LAPACK's choice"),
    (lambda: fg.jacfwd(lambda x: la.hessenberg(x)[0])(A), fg.errors.MissingRuleError, "LAPACK's choice"),
])
def test_wrong_calls(call, error, text):
    with pytest.raises(error, match=text):
        call()


# ---------------------------------------------------------------- determinants


def test_gradient_of_a_singular_determinant():
    cofactor = np.asarray(fg.grad(L.det)(np.diag([1.0, 2.0, 3.0, 0.0])))
    np.testing.assert_allclose(cofactor, np.diag([0, 0, 0, 6.0]), atol=1e-14)
    singular = A.copy()
    singular[:, 3] = A[:, 0] + A[:, 1]  # rank 3
    expected = [[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(singular, i, 0), j, 1)) for j in range(4)] for i in range(4)]
    for f in (fg.grad(L.det), fg.jit(fg.grad(L.det)), lambda x: fg.vmap(fg.grad(L.det))(x[None])[0]):
        np.testing.assert_allclose(f(singular), expected, rtol=1e-9, atol=1e-12)
    hessian = np.asarray(fg.hessian(L.det)(np.diag([1.0, 2.0, 0.0, 0.0])))  # rank 2
    assert hessian[2, 2, 3, 3] == pytest.approx(2) and hessian[2, 3, 3, 2] == pytest.approx(-2)
    assert np.count_nonzero(abs(hessian) > 1e-12) == 4
    for n in (2, 3):
        check_grads(L.det, (np.ones((n, n)),), 3)
    check_grads(L.det, (A,), 3)
    np.testing.assert_allclose(fg.grad(L.det)(np.zeros((4, 4))), 0)


# ---------------------------------------------------------------- equal eigenvalues


Q = np.linalg.qr(A)[0]
DEGENERATE = [np.diag([1.0, 1.0, 2.0, 3.0]), Q @ np.diag([1.0, 1.0, 2.0, 3.0]) @ Q.T, np.eye(4)]
G = RNG.normal(size=(4, 4))


@pytest.mark.parametrize("matrix", DEGENERATE, ids=["diagonal", "turned", "identity"])
def test_functions_of_spaces_are_exact(matrix):
    """The warnings filter is "error": none is given."""
    exact = scipy.linalg.expm(matrix)
    for f in (lambda x: fnp.sum(fnp.exp(L.eigh(x)[0])), lambda x: fnp.sum(fnp.exp(L.eigvalsh(x)))):
        np.testing.assert_allclose(fg.grad(f)(matrix), exact, atol=1e-12)
        np.testing.assert_allclose(fg.jit(fg.grad(f))(matrix), exact, atol=1e-12)
    np.testing.assert_allclose(fg.grad(lambda x: L.norm(x, "nuc"))(matrix), np.eye(4), atol=1e-12)
    values = fg.jvp(L.eigvalsh, (matrix,), (matrix,))[1]
    np.testing.assert_allclose(values, np.linalg.eigvalsh(matrix), atol=1e-12)
    rebuilt = fg.grad(lambda x: (lambda w, v: fnp.sum(((v * w) @ v.T) ** 2))(*L.eigh(x)))(matrix)
    np.testing.assert_allclose(rebuilt, 2 * matrix, atol=1e-12)
    rotation = fg.grad(lambda x: (lambda u, s, vh: fnp.sum(G * (u @ vh)))(*L.svd(x)))(matrix)
    np.testing.assert_allclose(rotation, fg.grad(lambda x: fnp.sum(G * scipy_linalg.polar(x)[0]))(matrix), atol=1e-12)
    check_grads(lambda x: L.pinv(x), (matrix,), 2)


def test_projector_onto_a_degenerate_space():
    for matrix in DEGENERATE[:2]:
        def f(x):
            v = L.eigh(x)[1][:, :2]
            return fnp.sum(G * (v @ v.T))

        # Between the spaces the projector changes by the off-diagonal block over the gap.
        w, v = np.linalg.eigh(matrix)
        inner = v.T @ ((G + G.T) / 2) @ v
        factor = np.zeros((4, 4))
        factor[:2, 2:] = 1 / (w[:2, None] - w[None, 2:])
        expected = v @ (inner * (factor + factor.T)) @ v.T
        np.testing.assert_allclose(fg.grad(f)(matrix), expected, atol=1e-12)


@pytest.mark.parametrize("function", [
    lambda x: L.eigh(x)[0][0], lambda x: fnp.sum(G * ((lambda w, v: (v * w) @ v.T)(*L.eigh(x)))), lambda x: fnp.sum(G * L.eigh(x)[1]),
    lambda x: L.svdvals(x)[-1], lambda x: fnp.sum(G * L.svd(x)[0])], ids=["one value", "rebuilt", "vectors", "singular value", "U"])
def test_what_depends_on_the_choice_warns(function):
    with pytest.warns(DegeneracyWarning, match="a gap of 0"):
        fg.grad(function)(np.diag([1.0, 1.0, 2.0, 3.0]))


def test_second_derivatives_and_forward_mode_warn():
    with pytest.warns(DegeneracyWarning, match="eigenvalues 0 and 1"):
        fg.hessian(lambda x: fnp.sum(fnp.exp(L.eigvalsh(x))))(np.diag([1.0, 1.0, 2.0, 3.0]))
    with pytest.warns(DegeneracyWarning, match="eigh: the derivative depends"):
        fg.jvp(L.eigh, (np.eye(3),), (np.ones((3, 3)),))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fg.jit(fg.grad(lambda x: L.eigh(x)[1][0, 0]))(np.eye(3))  # compiled programs do not look
        check_grads(L.eigvalsh, (S,), 2)


# ---------------------------------------------------------------- derivatives elsewhere


def test_norms_at_zero():
    for p in (2, 3, None):
        assert np.asarray(fg.grad(lambda x, p=p: L.norm(x, p))(np.zeros(3))).tolist() == [0, 0, 0]
    assert np.asarray(fg.grad(L.matrix_norm)(np.zeros((2, 2)))).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("f", [
    lambda x: L.lstsq(x, x[:, 0] ** 2)[0], lambda x: L.cond(x), lambda x: L.norm(x, 2), lambda x: L.norm(x, 3, 0),
    lambda x: L.qr(x, "complete")[1], lambda x: (lambda q: q @ q.T)(L.qr(x, "complete")[0][:, 3:]),
    lambda x: (lambda u: u @ u.T)(L.svd(x)[0][:, 3:])], ids=["lstsq", "cond", "norm 2", "norm 3", "R", "Q complete", "U full"])
def test_derivatives_of_oblong_matrices(f):
    check_grads(f, (T,), 2)


@pytest.mark.parametrize("f, args", [
    (lambda x: abs(L.eigvals(x)), (A,)), (L.eigvalsh, (S,)), (L.svdvals, (T,)), (L.solve, (STACK, B)),
    (lambda a, b: la.triangular_solve(a, b, transpose_a=True, unit_diagonal=True), (A, B.T)),
    (lambda a, b: la.triangular_solve(a, b, lower=True, conjugate_a=True), (C, B.T + 1j)), (lambda x: la.eig(x)[1], (A,)),
    (lambda x: L.svd(x, hermitian=True)[1], (S,)), (lambda x: L.matrix_power(x, -2), (A,)), (L.inv, (C,))],
    ids=["eigvals", "eigvalsh", "svdvals", "solve", "right", "conjugated", "left vectors", "hermitian", "power", "inv"])
def test_derivatives_of_square_matrices(f, args):
    check_grads(f, args, 2)


def test_one_factorisation_serves_forward_and_backward():
    f = lambda a, b: fnp.sum(L.solve(a, b) ** 2)  # noqa: E731
    for program in (fg.make_jaxpr(fg.grad(f, (0, 1)))(A, V), fg.make_jaxpr(fg.vmap(fg.grad(f, (0, 1))))(STACK[0], STACK[0, 0, :3])):
        assert str(program).count(" lu ") == 1
    assert str(fg.make_jaxpr(fg.grad(lambda a: L.slogdet(a)[1]))(A)).count(" lu ") == 1


def test_compositions():
    def f(x):
        return fnp.sum(fnp.sin(L.solve(x, V))) + L.slogdet(x)[1] + fnp.sum(L.cholesky(x @ x.T + np.eye(4)))

    exact = fg.hessian(f)(A)
    np.testing.assert_allclose(fg.jit(fg.hessian(fg.jit(f)))(A), exact, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fg.jacrev(fg.jacfwd(f))(A), exact, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(fg.vmap(fg.hessian(f))(np.stack([A, A]))[1], exact, rtol=1e-7, atol=1e-9)
    series = fg.grad(lambda t: L.det(A + t * S))(0.3)
    np.testing.assert_allclose(series, np.linalg.det(A + 0.3 * S) * np.trace(np.linalg.solve(A + 0.3 * S, S)), rtol=1e-9)


@pytest.mark.parametrize("values", [lambda a: fnp.linalg.eigh(a)[0], lambda a: fnp.linalg.svd(a)[1]], ids=["eigh", "svd"])
def test_decompositions_are_differentiable_in_bfloat16(values):
    a = np.diag([1.0, 2.0, 4.0])
    narrow = fg.grad(lambda a: fnp.sum(values(a) ** 2))(fnp.asarray(a, "bfloat16"))
    assert narrow.dtype == fg.dtypes.bfloat16
    np.testing.assert_allclose(np.asarray(narrow).astype(float), 2 * a, rtol=0.05, atol=0.05)
