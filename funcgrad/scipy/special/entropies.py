"""Logarithms and exponentials of probabilities: entropies, logits, and sums of exponentials.

In: arrays and numbers. Out: arrays.

    >>> entr(fnp.array([0.0, 0.5]))
    Array([0.        , 0.34657359], dtype=float64)
"""
from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.ops import integrals
from funcgrad.ops import special as sp
from funcgrad.ops.elementwise import logistic
from funcgrad.ops.special import inexact_args

Axis = int | Sequence[int] | None

# ---------------------------------------------------------------- products with logarithms


def xlogy(x: Any, y: Any) -> Any:
    """x * log(y), and 0 where x is 0 unless y is NaN; there the derivative by x is log(y) and that by y is 0.

    >>> xlogy(fnp.array([0.0, 2.0]), fnp.array([0.0, 1.0]))
    Array([0., 0.], dtype=float64)
    """
    return sp.xlogy(x, y)


def xlog1py(x: Any, y: Any) -> Any:
    """x * log1p(y), and 0 where x is 0 unless y is NaN.

    >>> xlog1py(0.0, -1.0)
    Array(0., dtype=float64, weak_type=True)
    """
    return sp.xlog1py(x, y)


def entr(x: Any) -> Any:
    """-x log(x); 0 at 0, where its derivative is infinite, and -inf for negative x.

    >>> entr(1.0)
    Array(-0., dtype=float64, weak_type=True)
    """
    x, = inexact_args("entr", x)
    inside = fnp.where(x < 0, 1, x)
    return fnp.where(x < 0, -np.inf, sp.xlogy(-inside, inside))


def rel_entr(p: Any, q: Any) -> Any:
    """p log(p / q); 0 where p is 0 and q >= 0, as its derivatives are, and inf outside of p, q >= 0.

    >>> rel_entr(fnp.array([0.5, 0.0, -1.0]), 0.5)
    Array([ 0.,  0., inf], dtype=float64)
    """
    p, q = inexact_args("rel_entr", p, q)
    positive = (p > 0) & (q > 0)
    ratio = fnp.where(positive, p, 1) / fnp.where(positive, q, 1)
    outside = fnp.where((p == 0) & (q >= 0), 0, np.inf)
    return fnp.where(positive, p * fnp.log(ratio), fnp.where(fnp.isnan(p) | fnp.isnan(q), np.nan, outside))


def kl_div(p: Any, q: Any) -> Any:
    """p log(p / q) - p + q; q where p is 0 and q >= 0, and inf outside of p, q >= 0.

    >>> kl_div(0.5, 0.5)
    Array(0., dtype=float64, weak_type=True)
    """
    p, q = inexact_args("kl_div", p, q)
    entropy = rel_entr(p, q)
    outside = entropy == np.inf
    return fnp.where(outside, np.inf, entropy - fnp.where(outside, 0, p) + fnp.where(outside, 0, q))


# ---------------------------------------------------------------- logits and powers


def logit(x: Any) -> Any:
    """log(x / (1 - x)), accurate near 1/2 too; -inf at 0, inf at 1 and, of real x, NaN outside of [0, 1].

    >>> logit(fnp.array([0.2, 0.5]))
    Array([-1.38629436,  0.        ], dtype=float64)
    """
    x, = inexact_args("logit", x, complex=True)
    if x.dtype.kind == "c":
        return fnp.log(x / (1 - x))
    middle = (x > 0.25) & (x < 0.75)
    near = 2 * fnp.arctanh(2 * fnp.where(middle, x, 0.5) - 1)
    far = fnp.where(middle, 0.1, x)
    return fnp.where(middle, near, fnp.log(far) - fnp.log1p(-far))


def expit(x: Any) -> Any:
    """1 / (1 + exp(-x)), the inverse of ``logit``.

    >>> expit(0.0)
    Array(0.5, dtype=float64, weak_type=True)
    """
    return logistic(x)


def boxcox(x: Any, lmbda: Any) -> Any:
    """(x**lmbda - 1) / lmbda, and log(x) at lmbda = 0, also in its derivatives; NaN for negative x.

    >>> boxcox(fnp.array([1.0, 4.0]), 0.5)
    Array([0., 2.], dtype=float64)
    """
    x, lmbda = inexact_args("boxcox", x, lmbda)
    return _box_cox(fnp.log(x), lmbda)


def boxcox1p(x: Any, lmbda: Any) -> Any:
    """``boxcox`` of 1 + x, accurate for small x.

    >>> boxcox1p(3.0, 0.5)
    Array(2., dtype=float64, weak_type=True)
    """
    x, lmbda = inexact_args("boxcox1p", x, lmbda)
    return _box_cox(fnp.log1p(x), lmbda)


def _box_cox(logarithm: Any, lmbda: Any) -> Any:
    """expm1(lmbda * logarithm) / lmbda; for small products by (exp(z) - 1) / z = 1F1(1; 2; z), which is smooth."""
    product = lmbda * logarithm
    near = (fnp.abs(product) < 1) | (lmbda == 0)
    small = fnp.where(near & fnp.isfinite(logarithm), product, 0)
    return fnp.where(near, logarithm * integrals.hyp1f1(1.0, 2.0, small),
                     fnp.expm1(fnp.where(near, 0, product)) / fnp.where(near, 1, lmbda))


# ---------------------------------------------------------------- sums of exponentials


def softmax(x: Any, /, *, axis: Axis = None) -> Any:
    """exp(x) divided by its sum along an axis (axes; None: all).

    >>> softmax(fnp.zeros(2))
    Array([0.5, 0.5], dtype=float64)
    """
    x, = inexact_args("softmax", x, complex=True)
    powers = fnp.exp(x - lax.stop_gradient(_largest(x, axis)))
    return powers / fnp.sum(powers, axis, keepdims=True)


def log_softmax(x: Any, /, *, axis: Axis = None) -> Any:
    """log(softmax(x)), accurate also where the softmax rounds to 0.

    >>> log_softmax(fnp.array([0.0, -1000.0]))
    Array([    0., -1000.], dtype=float64)
    """
    x, = inexact_args("log_softmax", x, complex=True)
    shifted = x - lax.stop_gradient(_largest(x, axis))
    return shifted - fnp.log(fnp.sum(fnp.exp(shifted), axis, keepdims=True))


def logsumexp(a: Any, axis: Axis = None, b: Any = None, keepdims: bool = False, return_sign: bool = False,
              where: Any = None) -> Any:
    """log(sum(b * exp(a))) along an axis (axes; None: all), without overflow.

    With ``return_sign`` the result is ``(log(abs(sum)), sign(sum))``; without it a negative sum gives NaN. Where
    ``where`` is False, a does not count. An entry -inf has gradient 0, also when all entries are -inf and so is the
    result. Of complex numbers the logarithm is the principal one, and the sign is the sum over its modulus.
    """
    a = masked(a, where)
    if b is not None:
        a = fnp.where(fnp.equal(b, 0), -np.inf, a)  # so that 0 * exp(large) is 0
    largest = lax.stop_gradient(_largest(a, axis))
    nothing = fnp.equal(largest, -np.inf)
    largest = fnp.where(fnp.isfinite(largest), largest, 0)
    terms = fnp.exp(a - largest)
    total = fnp.sum(terms if b is None else b * terms, axis, keepdims=True)
    sign = fnp.sign(total)
    weighted = b is not None and total.dtype.kind != "c"
    if weighted or return_sign:
        total = fnp.abs(total)
    result = fnp.where(nothing, -np.inf, fnp.log(fnp.where(nothing, 1, total))) + largest
    if weighted and not return_sign:
        result = fnp.where(fnp.less(sign, 0), np.nan, result)
    if not keepdims:
        result, sign = fnp.squeeze(result, axes_of(a, axis)), fnp.squeeze(sign, axes_of(a, axis))
    return (result, sign) if return_sign else result


def masked(x: Any, where: Any) -> Any:
    """x in floating point, with -inf where it does not count."""
    x = fnp.asarray(x)
    if x.dtype.kind in "biu":
        x = x.astype(np.float64)
    return x if where is None else fnp.where(where, x, -np.inf)


def _largest(x: Any, axis: Axis) -> Any:
    """The largest real part: the exponentials of what is left after it is taken away are at most 1 in size."""
    x = fnp.real(x)
    return fnp.max(x, axis, keepdims=True) if x.size else fnp.max(x, axis, keepdims=True, initial=-np.inf)


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """The axes of a reduction, counted from the front."""
    if axis is None:
        return tuple(range(x.ndim))
    chosen = (axis,) if not isinstance(axis, Sequence) else axis
    return tuple([operator.index(i) % x.ndim for i in chosen])
