"""Iterative solvers of linear equations whose operator is a function, as in jax.scipy.sparse.linalg.

In: a linear function of a tree of arrays, or a square matrix, and a right-hand side. Out: the solution, and whether the
iteration converged. Derivatives, in the right-hand side and in what the operator closes over, are those of the exact
solution; they solve one more equation, to the same tolerance.

    >>> import funcgrad.numpy as fnp, funcgrad.scipy.sparse.linalg as linalg
    >>> x, info = linalg.cg(lambda v: {"a": 2 * v["a"], "b": 4 * v["b"]}, {"a": fnp.ones(2), "b": fnp.array(4.)})
    >>> x["b"], info
    (Array(1., dtype=float64), Array(0, dtype=int64))
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from funcgrad import lax
from funcgrad import numpy as fnp
from funcgrad.core.array import describe
from funcgrad.errors import message
from funcgrad.flatten_util import ravel_pytree
from funcgrad.ops.promotion import inexact_arg
from funcgrad.transforms.derivatives import linear_transpose
from funcgrad.tree import tree_leaves, tree_map, tree_structure

Vector = Any
Operator = Callable[[Vector], Vector]

# ---------------------------------------------------------------- user functions


def cg(A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None,
       M: Any = None) -> tuple[Any, Any]:
    """The solution of ``A(x) = b`` by conjugate gradients, for a positive definite operator equal to its adjoint.

    Args:
      A: a linear function from a tree of arrays to a tree like it, or a square matrix.
      b: the right-hand side: a tree of arrays.
      x0: where the iteration starts, a tree like b; zero if None.
      tol, atol: it ends when the norm of ``b - A(x)`` is at most ``max(tol * norm(b), atol)``.
      maxiter: or after so many steps; ten times the number of unknowns if None.
      M: a function or matrix close to the inverse of A, that speeds the iteration up.

    Returns ``(x, info)``; info is 0 if the iteration converged, else the number of steps. Raises TypeError for trees and
    matrices that do not fit.
    """
    return _solution("cg", _conjugate_gradients, A, b, x0, tol, atol, maxiter, M, symmetric=True)


def bicgstab(A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None,
             M: Any = None) -> tuple[Any, Any]:
    """The solution of ``A(x) = b`` by stabilised biconjugate gradients, for any invertible operator.

    The parameters and results are those of ``cg``; a negative info says that the iteration broke down
    (H. A. van der Vorst, SIAM J. Sci. Stat. Comput. 13, 631, 1992).
    """
    return _solution("bicgstab", _bicgstab, A, b, x0, tol, atol, maxiter, M)


def gmres(A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, restart: int = 20,
          maxiter: int | None = None, M: Any = None, solve_method: str = "batched") -> tuple[Any, Any]:
    """The solution of ``A(x) = b`` by generalised minimal residuals, for any invertible operator.

    The parameters and results are those of ``cg``, but ``maxiter`` counts restarts, each after ``restart`` steps at most;
    info is the number of restarts. ``solve_method`` is accepted for compatibility: "batched" or "incremental"
    (Y. Saad and M. H. Schultz, SIAM J. Sci. Stat. Comput. 7, 856, 1986; M is applied from the right).
    """
    if solve_method not in ("batched", "incremental"):
        raise ValueError(message("gmres: the solve_method is unknown", repr(solve_method), '"batched" or "incremental"'))

    def solver(A: Operator, b: Vector, x: Vector, M: Operator, limit: Any, maxiter: int) -> tuple[Vector, Any]:
        return _gmres(A, b, x, M, limit, maxiter, min(restart, b.size))

    return _solution("gmres", solver, A, b, x0, tol, atol, maxiter, M)


# ---------------------------------------------------------------- from trees to vectors


def _solution(name: str, solver: Callable, A: Any, b: Any, x0: Any, tol: float, atol: float, maxiter: int | None, M: Any,
              symmetric: bool = False) -> tuple[Any, Any]:
    """Calls ``solver(A, b, x0, M, limit, maxiter)`` on vectors."""
    b = tree_map(lambda v: inexact_arg(name, v), b)
    vector, unravel = ravel_pytree(b)
    if not vector.size:
        return b, fnp.asarray(0)
    start = fnp.zeros_like(vector)
    if x0 is not None:
        shapes = [[v.shape for v in map(fnp.asarray, tree_leaves(tree))] for tree in (x0, b)]
        if tree_structure(x0) != tree_structure(b) or shapes[0] != shapes[1]:
            raise TypeError(message(f"{name}: x0 is not like b", f"{tree_structure(x0)} of shapes {shapes[0]}",
                                    f"{tree_structure(b)} of shapes {shapes[1]}"))
        start = lax.stop_gradient(ravel_pytree(x0)[0].astype(vector.dtype))
    operator = _flat(name, "A", A, b, unravel, vector.dtype)
    precondition = (lambda v: v) if M is None else _flat(name, "M", M, b, unravel, vector.dtype)
    steps = 10 * vector.size if maxiter is None else maxiter

    def solve(matvec: Operator, right: Vector, M: Operator = precondition) -> tuple[Vector, Any]:
        limit = fnp.maximum(tol * _norm(right), atol)
        return solver(matvec, right, start, M, limit, steps)

    def transposed(vecmat: Operator, right: Vector) -> tuple[Vector, Any]:
        adjoint = precondition if M is None else lambda v: linear_transpose(precondition, right)(v)[0]
        return solve(vecmat, right, adjoint)

    same = symmetric and vector.dtype.kind != "c"
    x, info = lax.custom_linear_solve(operator, vector, solve, solve if same else transposed, symmetric=same, has_aux=True)
    return unravel(x), info.astype("int64")


def _flat(name: str, what: str, A: Any, b: Any, unravel: Callable, dtype: Any) -> Operator:
    """A function or a matrix as a function of vectors."""
    if not callable(A):
        shape, leaves = getattr(A, "shape", None), tree_leaves(b)
        if len(leaves) != 1 or len(leaves[0].shape) != 1 or shape != leaves[0].shape * 2:
            raise TypeError(message(f"{name}: {what} is neither a function nor a square matrix for b", f"{what} is "
                                    f"{describe(A)}, b is {describe(b)}", None, f"{what}=lambda x: ..."))
        return lambda v: fnp.matmul(A, v).astype(dtype)

    def operator(v: Vector) -> Vector:
        out = A(unravel(v))
        if tree_structure(out) != tree_structure(b):
            raise TypeError(message(f"{name}: {what} returns another tree than b", tree_structure(out), tree_structure(b)))
        return ravel_pytree(out)[0].astype(dtype)

    return operator


def _norm(v: Vector) -> Any:
    return fnp.sqrt(fnp.real(fnp.vdot(v, v)))


def _quotient(a: Any, b: Any) -> Any:
    """a / b, and 0 where b is 0."""
    return fnp.where(b == 0, 0, a / fnp.where(b == 0, 1, b)).astype(a.dtype)


# ---------------------------------------------------------------- the iterations


def _conjugate_gradients(A: Operator, b: Vector, x: Vector, M: Operator, limit: Any, maxiter: int) -> tuple[Vector, Any]:
    def unfinished(state: tuple) -> Any:
        _, r, _, _, k = state
        return (_norm(r) > limit) & (k < maxiter)

    def step(state: tuple) -> tuple:
        x, r, p, gamma, k = state
        image = A(p)
        alpha = _quotient(gamma, fnp.vdot(p, image))
        x, r = x + alpha * p, r - alpha * image
        z = M(r)
        after = fnp.vdot(r, z)
        return x, r, z + _quotient(after, gamma) * p, after, k + 1

    r = b - A(x)
    z = M(r)
    x, r, _, _, k = lax.while_loop(unfinished, step, (x, r, z, fnp.vdot(r, z), 0))
    return x, fnp.where(_norm(r) > limit, k, 0)


def _bicgstab(A: Operator, b: Vector, x: Vector, M: Operator, limit: Any, maxiter: int) -> tuple[Vector, Any]:
    r = shadow = b - A(x)
    one = fnp.ones((), b.dtype)

    def unfinished(state: tuple) -> Any:
        _, r, *_, broken, k = state
        return (_norm(r) > limit) & (broken == 0) & (k < maxiter)

    def step(state: tuple) -> tuple:
        x, r, p, v, rho, alpha, omega, _, k = state
        after = fnp.vdot(shadow, r)
        p = r + _quotient(after, rho) * _quotient(alpha, omega) * (p - omega * v)
        direction = M(p)
        v = A(direction)
        alpha = _quotient(after, fnp.vdot(shadow, v))
        s = r - alpha * v
        second = M(s)
        t = A(second)
        omega = _quotient(fnp.vdot(t, s), fnp.vdot(t, t))
        broken = fnp.where(after == 0, -10, fnp.where((omega == 0) & (_norm(s) > limit), -11, 0))
        return x + alpha * direction + omega * second, s - omega * t, p, v, after, alpha, omega, broken, k + 1

    x, r, *_, broken, k = lax.while_loop(unfinished, step, (
        x, r, fnp.zeros_like(b), fnp.zeros_like(b), one, one, one, fnp.asarray(0), 0))
    return x, fnp.where(_norm(r) <= limit, 0, fnp.where(broken != 0, broken, k))


def _gmres(A: Operator, b: Vector, x: Vector, M: Operator, limit: Any, maxiter: int, size: int) -> tuple[Vector, Any]:
    def unfinished(state: tuple) -> Any:
        _, r, k = state
        return (_norm(r) > limit) & (k < maxiter)

    def cycle(state: tuple) -> tuple:
        x, r, k = state
        x = x + M(_least_residual(lambda v: A(M(v)), r, limit, size))
        return x, b - A(x), k + 1

    x, r, k = lax.while_loop(unfinished, cycle, (x, b - A(x), 0))
    return x, fnp.where(_norm(r) > limit, k, 0)


def _least_residual(A: Operator, r: Vector, limit: Any, size: int) -> Vector:
    """The u in the Krylov space of r, of at most ``size`` dimensions, with the least norm of ``r - A(u)``.

    ``basis`` holds orthonormal vectors in its rows, ``rotated`` the unitary matrix that makes A in this basis triangular;
    the norm of what remains can be read from its first column.
    """
    beta = _norm(r)
    basis = fnp.zeros((size + 1, r.size), r.dtype).at[0].set(_quotient(r, beta))
    rows = fnp.arange(size + 1)

    def unfinished(state: tuple) -> Any:
        _, rotated, _, k = state
        return (k < size) & (beta * fnp.abs(rotated[k, 0]) > limit)

    def step(state: tuple) -> tuple:
        basis, rotated, triangle, k = state
        w = A(basis[k])
        first = fnp.matmul(fnp.conj(basis), w)
        w = w - fnp.matmul(first, basis)
        second = fnp.matmul(fnp.conj(basis), w)  # once more: the first time leaves rounding errors
        w = w - fnp.matmul(second, basis)
        rest = _norm(w).astype(r.dtype)
        column = fnp.matmul(rotated, first + second)
        length = fnp.sqrt(fnp.abs(column[k]) ** 2 + fnp.abs(rest) ** 2).astype(r.dtype)
        c, s = fnp.where(length == 0, 1, _quotient(column[k], length)), _quotient(rest, length)
        upper, lower = rotated[k], rotated[k + 1]
        rotated = rotated.at[k].set(fnp.conj(c) * upper + s * lower).at[k + 1].set(c * lower - s * upper)
        column = fnp.where(rows < k, column, fnp.where(rows == k, length, 0))
        return basis.at[k + 1].set(_quotient(w, rest)), rotated, triangle.at[:, k].set(column), k + 1

    basis, rotated, triangle, k = lax.while_loop(unfinished, step, (
        basis, fnp.eye(size + 1, dtype=r.dtype), fnp.zeros((size + 1, size), r.dtype), 0))
    right = fnp.where(rows < k, beta * rotated[:, 0], 0)

    def substitute(i: Any, y: Vector) -> Vector:
        i = size - 1 - i
        return y.at[i].set(_quotient(right[i] - fnp.matmul(triangle[i], y), triangle[i, i]))

    y = lax.fori_loop(0, size, substitute, fnp.zeros(size, r.dtype))
    return fnp.matmul(y, basis[:-1])
