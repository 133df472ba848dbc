"""Rows of the table of operations: linear algebra.

Vectors that LAPACK chooses up to a sign enter by their products, which are functions of the matrix.
"""
from __future__ import annotations

import numpy as np
from operation import Operation, cplx, real, row

from funcgrad import grad
from funcgrad import numpy as fnp
from funcgrad.lax import linalg as la
from funcgrad.ops import factorizations, spectral
from funcgrad.scipy import linalg as sl
from funcgrad.tree_util import tree_leaves as leaves

L = fnp.linalg


def joined(tree):
    return fnp.concatenate([fnp.ravel(x) for x in leaves(tree)])


def rows() -> list[Operation]:
    apart = np.diag([0.0, 2.0, 4.0])  # keeps values away from each other and matrices away from singular ones
    a, b, wide = real(3, 3) + apart, real(3, 2), real(2, 3)
    z = cplx(3, 3) + apart
    definite = a @ a.T + np.eye(3)
    stack = np.stack([a, a.T + 1.0])
    d = real(3, 3) + np.array([[0.0], [5.0], [0.0]])
    factors = dict(
        cholesky=lambda v: L.cholesky(v), lu=lambda v: la.lu(v)[0], qr=lambda v: L.qr(v),
        eigh=lambda v: (lambda w, q: (w, abs(q)))(*L.eigh(v)),
        svd=lambda v: (lambda u, s, vh: (s, abs(u), abs(vh)))(*L.svd(v)), eig=lambda v: (lambda w, q: (fnp.real(w), abs(q)))(*L.eig(v)))
    return [
        *[row(name, f, definite) for name, f in factors.items()],
        *[row(f"{name} complex", lambda v, f=factors[name]: joined(f(v)), matrix, float32=False) for name, matrix in (
            ("cholesky", z @ z.conj().T + np.eye(3)), ("eigh", z @ z.conj().T), ("lu", z), ("qr", z))],
        row("svd complex", lambda v: (lambda u, s, vh: joined((s, u * s @ vh)))(*L.svd(v)), z, float32=False),
        row("svd oblong", lambda v: (lambda u, s, vh: (s, abs(u), abs(vh)))(*L.svd(v, full_matrices=False)), wide),
        row("qr pivoting", lambda v: la.qr(v, pivoting=True, full_matrices=False)[:2], wide.T),
        row("triangular_solve", lambda v, w: la.triangular_solve(v, w, left_side=True, lower=True), a, b),
        row("triangular_solve stack", lambda v, w: sl.solve_triangular(v, w, "C"), stack, np.stack([b, b + 1.0]), float32=False),
        row("tridiagonal_solve", la.tridiagonal_solve, d[0], d[1], d[2], b),
        row("solve", L.solve, a, b), row("solve complex", L.solve, z, cplx(3, 1), float32=False),
        row("det", L.det, real(4, 4) + 2 * np.eye(4)), row("gradient of det", lambda v: grad(L.det)(v), real(4, 4) + 2 * np.eye(4)),
        row("slogdet", lambda v: L.slogdet(v)[1], a), row("slogdet complex", lambda v: joined(L.slogdet(v)), z, float32=False),
        row("pinv", L.pinv, wide), row("expm", lambda v: sl.expm(v * 0.3), a),
        row("sqrtm", lambda v: fnp.real(sl.sqrtm(v)), definite), row("solve_sylvester", sl.solve_sylvester, a, definite, b @ wide),
        row("polar", lambda v: sl.polar(v), wide.T), row("funm", lambda v: fnp.real(sl.funm(v, fnp.exp)), a * 0.3),
        row("householder_product", la.householder_product, real(3, 2), real(2)),
        row("lu_pivots_to_permutation", lambda v: la.lu_pivots_to_permutation(v, 3), np.array([1, 2, 2], np.int32), order=0),
        row("geqrf", factorizations.geqrf, a, order=0), row("hessenberg", la.hessenberg, a, order=0),
        row("tridiagonal", la.tridiagonal, definite, order=0), row("schur", la.schur, a, order=0, float32=False),
        row("rsf2csf", lambda t: spectral.rsf2csf(t, t), np.triu(a), order=0),
    ]
