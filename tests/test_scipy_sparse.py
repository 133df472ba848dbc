"""Iterative linear solvers: solutions, derivatives, trees, preconditioners, breakdowns."""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.scipy.sparse.linalg import bicgstab, cg, gmres
from funcgrad.test_util import check_grads

RNG = np.random.default_rng(8)
N = 8
G = RNG.normal(size=(N, N)) / N
POSITIVE = G @ G.T + np.eye(N)
GENERAL = np.eye(N) + G
COMPLEX = GENERAL + 1j * np.roll(G, 1)
B = RNG.normal(size=N)
PROBLEMS = [(cg, POSITIVE), (cg, COMPLEX @ COMPLEX.conj().T), (bicgstab, GENERAL), (bicgstab, COMPLEX), (gmres, GENERAL), (gmres, COMPLEX)]
IDS = [f"{f.__name__} {a.dtype}" for f, a in PROBLEMS]


@pytest.mark.parametrize("solver,matrix", PROBLEMS, ids=IDS)
def test_solutions(solver, matrix):
    b = B.astype(matrix.dtype)
    expected = np.linalg.solve(matrix, b)
    close = np.diag(1 / np.diag(matrix))
    for a, options in ((matrix, {}), (lambda v: matrix @ v, {"x0": np.ones(N, matrix.dtype), "M": close}),
                       (matrix, {"x0": expected, "M": lambda v: close @ v})):
        x, info = solver(a, b, tol=1e-12, **options)
        np.testing.assert_allclose(x, expected, rtol=1e-9, atol=1e-10)
        assert int(info) == 0
    if b.dtype.kind == "c":
        return
    batch = np.stack([b, 2 * b, 0 * b])
    x, info = fg.jit(fg.vmap(lambda v: solver(matrix, v, tol=1e-12)))(batch)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, batch.T).T, rtol=1e-9, atol=1e-10)
    assert info.tolist() == [0, 0, 0]


@pytest.mark.parametrize("solver,matrix", [p for p in PROBLEMS if p[1].dtype == float], ids=[n for n in IDS if "float" in n])
def test_derivatives(solver, matrix):
    def f(scale, b):
        a = matrix + fnp.diag(scale)
        return solver(lambda v: a @ v, b, tol=1e-13, M=np.eye(N) * 0.9)[0]

    args = np.linspace(0.1, 0.5, N), B
    check_grads(f, args, order=1 if solver is gmres else 2, rtol=1e-5, atol=1e-5)
    expected = np.linalg.inv(matrix + np.diag(args[0]))
    np.testing.assert_allclose(fg.jacrev(f, 1)(*args), expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(fg.jacfwd(f, 1)(*args), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("solver", [cg, bicgstab, gmres])
def test_trees_and_dtypes(solver):
    b = {"u": np.arange(1.0, 4.0), "v": (np.ones((2, 2)), np.float64(3))}
    x, info = solver(lambda t: fg.tree.map(lambda y: 2 * y, t), b)
    assert fg.tree.structure(x) == fg.tree.structure(b) and int(info) == 0
    for y, z in zip(fg.tree.leaves(x), fg.tree.leaves(b)):
        np.testing.assert_allclose(y, z / 2)
    x, _ = solver(POSITIVE.astype("float32"), B.astype("float32"))
    assert x.dtype == "float32"
    np.testing.assert_allclose(x, np.linalg.solve(POSITIVE, B), rtol=1e-3, atol=1e-4)
    assert solver(np.eye(2) * 2, np.array([2, 4]))[0].tolist() == [1.0, 2.0]
    assert solver(np.eye(3), np.zeros(3))[0].tolist() == [0.0] * 3
    assert solver(np.zeros((0, 0)), np.zeros(0))[0].shape == (0,)


def test_info_tells_of_an_iteration_that_did_not_converge():
    hard = np.diag(np.logspace(0, 8, N))
    assert int(cg(hard, B, maxiter=3)[1]) == 3
    assert int(bicgstab(hard, B, maxiter=3)[1]) == 3
    assert int(gmres(hard, B, maxiter=2, restart=2)[1]) == 2
    rotation = np.array([[0.0, 1.0], [-1.0, 0.0]])  # the first step of bicgstab divides by zero
    assert int(bicgstab(rotation, np.array([1.0, 0.0]))[1]) < 0
    np.testing.assert_allclose(gmres(rotation, np.array([1.0, 0.0]))[0], [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(gmres(GENERAL, B, restart=3, tol=1e-10)[0], np.linalg.solve(GENERAL, B), rtol=1e-7)


@pytest.mark.parametrize("call,error,text", [
    (lambda: cg(POSITIVE[:, :3], B), TypeError, "cg: A is neither a function nor a square matrix"),
    (lambda: cg(POSITIVE, (B, B)), TypeError, "neither a function nor a square matrix for b"),
    (lambda: cg(lambda v: (v, v), B), TypeError, "A returns another tree than b"),
    (lambda: gmres(POSITIVE, B, np.ones(3)), TypeError, "x0 is not like b"),
    (lambda: gmres(POSITIVE, B, solve_method="fast"), ValueError, "the solve_method is unknown"),
    (lambda: bicgstab(POSITIVE, B, M="jacobi"), TypeError, "M is neither a function nor a square matrix"),
])
def test_wrong_programs(call, error, text):
    with pytest.raises(error, match=text):
        call()
