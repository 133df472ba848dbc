"""Polynomials as vectors of coefficients, the highest power first: ``[1, 2, 3]`` is x**2 + 2*x + 3.

In: coefficients, and points. Out: values, and coefficients of other polynomials. Nothing depends on the values of the
coefficients, so that all of it can be traced; leading zeros stay unless their removal is asked for.

    >>> import funcgrad.numpy as fnp
    >>> fnp.polyval(fnp.array([1., 2., 3.]), 2.)
    Array(11., dtype=float64)
"""
from __future__ import annotations

import operator
from typing import Any

import numpy as np

from funcgrad import dtypes
from funcgrad.control.scan import scan
from funcgrad.control.solve import custom_root
from funcgrad.core.array import describe
from funcgrad.core.stage import as_value
from funcgrad.errors import ConcretizationTypeError, message
from funcgrad.numpy import linalg
from funcgrad.numpy.contraction import convolve, matmul, outer
from funcgrad.numpy.reductions import sum
from funcgrad.numpy.selection import take, where
from funcgrad.ops import structural as s
from funcgrad.ops.contraction import same_dtype
from funcgrad.ops.elementwise import abs, add, conj, eq, ge, mul, ne, neg, real, remainder, sqrt, sub, true_divide
from funcgrad.ops.matrices import inexact_pair
from funcgrad.ops.promotion import inexact_arg, result_type_of, to_array, unary_arg
from funcgrad.ops.reduction import cummax
from funcgrad.ops.sorting import argsort


def polyval(p: Any, x: Any, *, unroll: int = 16) -> Any:
    """The value of a polynomial at every element of x, by Horner's rule.

    Args:
      p: coefficients along the first axis, the highest power first; more axes broadcast against x.
      x: points.
      unroll: up to so many coefficients the rule is written out; more run in a loop.
    """
    dtype, weak = result_type_of("polyval", (p, x))
    p, x = (s.convert_element_type(to_array(v), dtype, weak_type=weak) for v in (p, x))
    if not p.shape:
        raise ValueError(message("polyval: the coefficients have no axis", describe(p), "a vector of coefficients"))
    value = mul(s.full(x.shape, dtype.type(0)), s.full(p.shape[1:], dtype.type(0)))
    if p.shape[0] > unroll:
        return scan(lambda v, c: (add(mul(v, x), c), None), value, p)[0]
    for i in range(p.shape[0]):
        value = add(mul(value, x), _entry(p, i))
    return value


def _entry(p: Any, i: int) -> Any:
    return s.squeeze(s.slice_in_dim(p, i, i + 1), (0,))


def polyadd(a1: Any, a2: Any) -> Any:
    """The coefficients of the sum of two polynomials."""
    return add(*_same_length("polyadd", a1, a2))


def polysub(a1: Any, a2: Any) -> Any:
    """The coefficients of the difference of two polynomials."""
    return sub(*_same_length("polysub", a1, a2))


def _same_length(name: str, a1: Any, a2: Any) -> tuple[Any, Any]:
    a1, a2 = same_dtype(name, a1, a2)
    _check_vectors(name, a1, a2)
    n = max(len(a1), len(a2))
    return _prepended(a1, n), _prepended(a2, n)


def _prepended(p: Any, n: int) -> Any:
    """p with zeros in front, so that it has n coefficients."""
    return s.pad(p, p.dtype.type(0), [(n - len(p), 0, 0)])


def _check_vectors(name: str, *values: Any) -> None:
    if any(len(v.shape) != 1 for v in values):
        raise ValueError(message(f"{name}: the coefficients must be vectors", " and ".join(map(describe, values)),
                                 "one axis each"))


def polymul(a1: Any, a2: Any, *, trim_leading_zeros: bool = False) -> Any:
    """The coefficients of the product of two polynomials, in floating point.

    Args:
      trim_leading_zeros: first remove leading zeros, as NumPy does; the size then depends on the values, which must
        not be traced.
    """
    a1, a2 = (_inexact(v) for v in same_dtype("polymul", a1, a2))
    _check_vectors("polymul", a1, a2)
    if trim_leading_zeros and len(a1) > 1 and len(a2) > 1:
        a1, a2 = _trimmed(a1), _trimmed(a2)
    zero = a1.dtype.type(0)
    a1, a2 = (v if len(v) else s.full((1,), zero) for v in (a1, a2))
    return convolve(a1, a2)


def _trimmed(p: Any) -> Any:
    """p without its leading zeros, but for the last coefficient. Raises for traced coefficients."""
    leading = 0
    while leading < len(p) - 1 and bool(eq(_entry(p, leading), 0)):
        leading += 1
    return s.slice_in_dim(p, leading, len(p))


def _inexact(x: Any) -> Any:
    return s.convert_element_type(x, dtypes.inexact_dtype(x.dtype))


def polydiv(u: Any, v: Any, *, trim_leading_zeros: bool = False) -> tuple[Any, Any]:
    """Quotient and remainder of the division of one polynomial by another, in floating point.

    Args:
      trim_leading_zeros: remove the leading zeros of the remainder, as NumPy does; the values must not be traced.
        Otherwise the remainder has as many coefficients as u.
    """
    u, v = (_inexact(x) for x in same_dtype("polydiv", u, v))
    _check_vectors("polydiv", u, v)
    m, n = len(u), len(v)
    if m < n:
        quotient, rest = s.full((1,), u.dtype.type(0)), u
    else:
        parts, rest, leading = [], u, _entry(v, 0)
        for k in range(m - n + 1):
            digit = true_divide(_entry(rest, k), leading)
            parts.append(s.reshape(digit, (1,)))
            # The coefficient that the division cancels is set to zero, not left to rounding.
            taken = s.concatenate([s.slice_in_dim(rest, k, k + 1), mul(s.slice_in_dim(v, 1, n), digit)], 0)
            rest = sub(rest, s.pad(taken, u.dtype.type(0), [(k, m - n - k, 0)]))
        quotient = s.concatenate(parts, 0)
    return quotient, as_value(_trimmed(rest) if trim_leading_zeros else rest)


def polyder(p: Any, m: int = 1) -> Any:
    """The coefficients of the m-th derivative, in floating point."""
    p, m = _inexact(unary_arg("polyder", p)), _order("polyder", m)
    if m == 0:
        return as_value(p)
    n = max(p.shape[0] - m, 0)
    powers = np.arange(n)[::-1] + m
    factors = _product([powers - j for j in range(m)])
    return mul(s.slice_in_dim(p, 0, n), _column(factors, p))


def polyint(p: Any, m: int = 1, k: Any = None) -> Any:
    """The coefficients of the m-th antiderivative, in floating point.

    Args:
      k: the constants of integration, an array of m numbers, or one number for all; default 0. The first belongs to
        the first integration, which gives the highest power.
    """
    m = _order("polyint", m)
    k = 0 if k is None else k
    dtype, _ = result_type_of("polyint", (p, k))
    p, k = (s.convert_element_type(to_array(v), dtypes.inexact_dtype(dtype)) for v in (p, k))
    _check_vectors("polyint", p)
    k = s.reshape(k, (k.size,))
    if len(k) not in (1, m):
        raise ValueError(message("polyint: k does not fit the order", f"{len(k)} constants for m={m}", f"1 or {m}"))
    if m == 0:
        return as_value(p)
    grown = s.concatenate([p, s.broadcast_to(k, (m,))], 0)
    powers = np.arange(len(grown))[::-1]
    # A coefficient has been integrated m times, a constant of integration as often as its power says.
    divisors = _product([np.maximum(powers - j, 1) for j in range(m)])
    return true_divide(grown, _column(divisors, grown))


def _order(name: str, m: Any) -> int:
    m = operator.index(m)
    if m < 0:
        raise ValueError(message(f"{name}: the order must not be negative", m))
    return m


def _product(factors: list[np.ndarray]) -> np.ndarray:
    return np.prod([f.astype(np.float64) for f in factors], axis=0)


def _column(factors: np.ndarray, p: Any) -> np.ndarray:
    """One factor for each coefficient, in the dtype of p; further axes of p broadcast."""
    return factors.astype(p.dtype).reshape(-1, *[1] * (len(p.shape) - 1))


def poly(seq_of_zeros: Any) -> Any:
    """The coefficients of the polynomial with these roots and leading coefficient 1, in floating point."""
    zeros = _inexact(unary_arg("poly", seq_of_zeros))
    if len(zeros.shape) != 1:
        raise ValueError(message("poly: the roots must be a vector", describe(zeros), "one axis",
                                 "fnp.linalg.eigvals for the characteristic polynomial of a matrix"))
    out = s.full((1,), zeros.dtype.type(1))
    for i in range(len(zeros)):
        root = s.slice_in_dim(zeros, i, i + 1)
        longer = s.pad(out, out.dtype.type(0), [(0, 1, 0)])
        out = sub(longer, s.pad(mul(out, root), out.dtype.type(0), [(1, 0, 0)]))
    return out


def roots(p: Any, *, strip_zeros: bool = True) -> Any:
    """The roots of a polynomial, always complex: the eigenvalues of its companion matrix.

    Args:
      p: a vector of n + 1 coefficients, the highest power first.
      strip_zeros: leave out leading zeros, as NumPy does. The number of roots then depends on the values of p, which must not
        be traced by jit or vmap. If False there are n, the largest first, and NaN at the end for each leading zero.

    Derivatives, to any order, are those of the solutions x of ``polyval(p, x) == 0``, which multiple roots do not have.

    >>> roots(fnp.array([1., -3., 2.]))
    Array([2.+0.j, 1.+0.j], dtype=complex128)
    """
    p = inexact_arg("roots", p)
    p = s.reshape(p, (1,)) if not p.shape else p
    _check_vectors("roots", p)
    if strip_zeros:
        try:
            p = _trimmed(p)
        except ConcretizationTypeError:
            raise ConcretizationTypeError(message("roots: how many there are depends on traced coefficients", describe(p), None,
                                                  "roots(p, strip_zeros=False), with NaN for each leading zero")) from None
    n = max(len(p) - 1, 0)
    dtype = dtypes.complex_dtype(p.dtype)
    start = s.full((n,), dtype.type(0))
    if not n:
        return start
    if strip_zeros:
        first, spare = p, None
    else:
        # The zeros go to the end, where each of them gives a root at zero: the smallest ones, which are dropped.
        zeros = sum(eq(cummax(s.convert_element_type(ne(p, 0), np.int64)), 0))
        first, spare = take(p, remainder(add(np.arange(n + 1), zeros), n + 1)), ge(np.arange(n), sub(n, zeros))

    def solve(f: Any, x: Any) -> Any:
        x = s.convert_element_type(linalg.eigvals(_companion(first)), dtype)
        return x if spare is None else where(spare, x * 0, take(x, argsort(neg(abs(x)))))

    def equation(x: Any) -> Any:
        value = polyval(p, x)
        return value if spare is None else where(spare, x, value)

    x = custom_root(equation, start, solve, lambda g, y: true_divide(y, g(s.full((n,), dtype.type(1)))))
    return x if spare is None else where(spare, dtype.type(complex(np.nan, np.nan)), x)


def _companion(p: Any) -> Any:
    """The matrix whose characteristic polynomial is p, divided by its leading coefficient (by 1, if that is 0)."""
    n = len(p) - 1
    leading = _entry(p, 0)
    row = neg(true_divide(s.slice_in_dim(p, 1, n + 1), where(eq(leading, 0), p.dtype.type(1), leading)))
    return s.concatenate([s.reshape(row, (1, n)), np.eye(n - 1, n, dtype=p.dtype)], 0)


def polyfit(x: Any, y: Any, deg: int, rcond: float | None = None, full: bool = False, w: Any = None,
            cov: bool | str = False) -> Any:
    """The coefficients c of the polynomial of degree deg for which the sum of ``(w * (y - polyval(c, x))) ** 2`` is least.

    Args:
      x: a vector of n points.
      y: the values there, (n,), or (n, k) for k polynomials.
      deg: the degree, not negative.
      rcond: singular values up to this, relative to the largest, count as zero; by default n times the precision.
      full: whether to return how the problem was solved, too.
      w: weights, (n,).
      cov: whether to return the covariance of the coefficients too, scaled by the sum of squares of the residuals divided by
        ``n - deg - 1``; "unscaled" for weights that are 1 / standard deviation.

    Returns the coefficients, (deg + 1,) or (deg + 1, k). With ``full``: ``(c, residuals, rank, singular_values, rcond)``. Else
    with ``cov``: ``(c, V)``, V of shape (deg + 1, deg + 1) or (deg + 1, deg + 1, k), k = 1 if it is unscaled. Raises ValueError
    for other shapes, and for no more points than coefficients where the covariance is scaled.

    >>> polyfit(fnp.arange(3.), fnp.array([1., 3., 5.]), 1).round(6)
    Array([2., 1.], dtype=float64)
    """
    order = _order("polyfit", deg) + 1
    x, y = inexact_pair("polyfit", x, y)
    n = len(x) if len(x.shape) == 1 else 0
    if not n or y.shape[:1] != (n,) or len(y.shape) > 2:
        raise ValueError(message("polyfit: the points and values do not fit", f"{describe(x)} and {describe(y)}",
                                 "x of shape (n,) with n > 0, y of shape (n,) or (n, k)"))
    rcond = n * float(np.finfo(x.dtype).eps) if rcond is None else rcond
    powers, columns = vander(x, order), s.reshape(y, (*y.shape, 1)[:2])
    if w is not None:
        w = inexact_arg("polyfit", w)
        if w.shape != (n,):
            raise ValueError(message("polyfit: the weights do not fit", describe(w), f"({n},), one for each point"))
        w = s.reshape(w, (n, 1))
        powers, columns = powers * w, columns * w
    # Columns of length 1 make the problem as well conditioned as its points allow.
    scale = sqrt(sum(real(powers * conj(powers)), 0))
    powers = powers / scale
    c, residuals, rank, singular_values = linalg.lstsq(powers, columns, rcond)
    c = c / s.reshape(scale, (order, 1))
    shape = (order,) if len(y.shape) == 1 else c.shape
    if full:
        return s.reshape(c, shape), residuals, rank, singular_values, as_value(np.asarray(rcond, scale.dtype))
    if not cov:
        return s.reshape(c, shape)
    covariance = linalg.inv(matmul(conj(powers).T, powers)) / outer(scale, scale)
    if cov != "unscaled" and n <= order:
        raise ValueError(message("polyfit: the covariance needs more points than coefficients", f"{n} points, deg={deg}", None,
                                 'cov="unscaled"'))
    covariance = s.reshape(covariance, (order, order, 1))
    if cov != "unscaled":
        covariance = covariance * residuals / (n - order)
    return s.reshape(c, shape), covariance if len(shape) == 2 else s.reshape(covariance, (order, order))


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """The matrix whose columns are powers of the vector x, from x**(N-1) down to 1, or up if ``increasing``."""
    x = unary_arg("vander", x)
    if len(x.shape) != 1:
        raise ValueError(message("vander: x must be a vector", describe(x), "one axis"))
    n = len(x) if N is None else operator.index(N)
    if n < 0:
        raise ValueError(message("vander: N must not be negative", n))
    columns = [s.full(x.shape, x.dtype.type(1))]
    while len(columns) < n:
        columns.append(mul(columns[-1], x))
    columns = [s.reshape(c, (len(x), 1)) for c in columns[:n]]
    if not columns:
        return s.full((len(x), 0), x.dtype.type(0))
    return s.concatenate(columns if increasing else columns[::-1], 1)
