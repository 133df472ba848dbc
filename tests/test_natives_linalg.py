"""Kernels of linear algebra give what the interpreter gives: loops for small matrices, BLAS and LAPACK for larger ones."""
from __future__ import annotations

import numpy as np
import pytest
from test_natives import check

import funcgrad as fg
from funcgrad import numpy as fnp
from funcgrad.compiler import blas, executable
from funcgrad.lax import linalg as la
from funcgrad.ops import determinants, spectral

L = fnp.linalg
TOLERANCE = {"float32": 2e-3, "complex64": 2e-3, "float64": 1e-9, "complex128": 1e-9}
SIZES = pytest.mark.parametrize("n", [3, 12])
"""Loops up to 8."""


def random(dtype: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(sum(shape))
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape) if dtype[0] == "c" else x).astype(dtype)


def regular(dtype: str, n: int) -> np.ndarray:
    return random(dtype, 3, n, n) + (2 * np.sqrt(n) * np.eye(n)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@SIZES
def test_systems(dtype, n):
    a, b, tolerance = regular(dtype, n), random(dtype, 3, n, 2), TOLERANCE[dtype]
    check(lambda x: la.cholesky(x, symmetrize_input=False), a @ a.conj().swapaxes(-1, -2), tolerance=tolerance)
    check(la.lu, a, tolerance=tolerance)
    check(determinants.solve, a, b, tolerance=tolerance)
    check(lambda x: L.det(x / 4), a if n >= 4 else random(dtype, 2, 4, 4), tolerance=tolerance)
    if dtype[0] == "f":
        check(lambda x: tuple(L.slogdet(x)), np.stack([a[0], a[0][::-1], 0 * a[0]]), tolerance=tolerance)
    for lower in (False, True):
        check(lambda x, y: la.triangular_solve(x, y, left_side=True, lower=lower, transpose_a=not lower, unit_diagonal=lower),  # noqa: B023
              a, b, tolerance=tolerance)
    check(lambda x, y: fg.vjp(determinants.solve, x, y)[1](y), a, b, tolerance=tolerance, host=True)


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 5, 3), (2, 9, 11), (2, 11, 9)])
def test_lu_of_oblong_matrices(shape):
    check(la.lu, random("float64", *shape), tolerance=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
def test_spectra_are_the_same_to_the_bit(dtype):
    a, oblong = regular(dtype, 6), random(dtype, 2, 4, 6)
    for lower in (False, True):
        check(lambda x: spectral.eigh_pair("eigh", x, lower, False), a)  # noqa: B023
    check(L.eigvalsh, a)
    for x in (oblong, oblong.swapaxes(-1, -2)):
        for full in (False, True):
            check(lambda v: tuple(L.svd(v, full)), x)  # noqa: B023
        check(L.svdvals, x)
        for mode in ("reduced", "complete"):
            check(lambda v: tuple(L.qr(v, mode)), x, tolerance=TOLERANCE[dtype])  # noqa: B023


def test_matrices_that_fail():
    for n in (3, 20):
        bad = np.stack([np.eye(n), -np.eye(n)])
        check(lambda x: la.cholesky(x, symmetrize_input=False), bad)
        check(la.lu, np.ones((2, n, n)))
        nan = np.stack([np.full((n, n), np.nan), np.eye(n)])
        check(L.eigvalsh, nan)
        check(lambda x: tuple(L.svd(x)), nan)


def test_there_are_no_host_steps():
    """Gradients of solutions, factors and spectra stay in one native call."""
    def f(x):
        w, v = L.eigh(x)
        u, s, vh = L.svd(x)
        return fnp.sum(L.solve(x, w)) + fnp.sum(L.cholesky(x)) + fnp.sum(s) + fnp.sum(L.qr(x).R) + fnp.sum(v * v * w)

    for n in (4, 12):
        x = regular("float64", n)[0]
        program = executable(fg.make_jaxpr(fg.grad(f))(x @ x.T))
        assert "host" not in {step.kind for step in program.schedule.steps}


def test_large_matrices_are_computed_on_one_thread_which_is_undone():
    library = blas._library()
    if library is None:
        pytest.skip("NumPy has another BLAS here, whose threads cannot be counted")
    before = library.scipy_openblas_get_num_threads64_()
    a = regular("float64", 60)[:2]
    s = a @ a.swapaxes(-1, -2)
    check(lambda x, y: (L.solve(x, y), L.cholesky(y), L.eigh(y)[0], L.svdvals(x), L.qr(x).R), a, s, tolerance=1e-9, host=True)
    assert library.scipy_openblas_get_num_threads64_() == before


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("name", ["svd", "svdvals", "pinv", "det", "cond"])
def test_infinities_end(name, dtype):
    """LAPACK's search for singular values does not end where an element is infinite."""
    x = (np.random.default_rng(0).standard_normal((2, 4, 4)) + 4 * np.eye(4)).astype(dtype)
    x[0, 1, 0] = np.inf
    f = getattr(fnp.linalg, name)
    for found in (fg.tree.leaves(f(x)), fg.tree.leaves(fg.jit(f)(x))):
        for out in found:
            assert not np.isfinite(np.asarray(out)[0]).all() and np.isfinite(np.asarray(out)[1]).all()
