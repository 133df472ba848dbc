"""The table of operations: what each is called, on which arguments, and how many times it is differentiable.

A row drives every check of ``test_operations.py``: value and type, staging, forward and reverse mode, batching. A new
primitive needs a row here or in the table of its family; ``test_primitives.py`` fails for one that no row reaches.
"""
from __future__ import annotations

import numpy as np
import operations_convolution
import operations_fft
import operations_linalg
import operations_special
from operation import Operation, bools, cplx, ints, positive, real, row, unit

from funcgrad import lax
from funcgrad import numpy as fnp
from funcgrad.ops import elementwise as e
from funcgrad.ops import indexing as ix
from funcgrad.ops import reduction as red
from funcgrad.ops import sorting as so
from funcgrad.ops import special as sp
from funcgrad.ops import structural as s


def _unary() -> list[Operation]:
    anywhere = dict(neg=e.neg, abs=e.abs, sign=e.sign, exp=e.exp, exp2=e.exp2, expm1=e.expm1, sin=e.sin, cos=e.cos,
                    tan=lambda x: e.tan(x * 0.6), atan=e.atan, sinh=e.sinh, cosh=e.cosh, tanh=e.tanh, asinh=e.asinh,
                    logistic=e.logistic, square=e.square, cbrt=e.cbrt, floor=e.floor, ceil=e.ceil, trunc=e.trunc,
                    round=e.round_to_even, erf=sp.erf, erfc=sp.erfc)
    above = dict(log=e.log, log10=fnp.log10, log2=e.log2, log1p=e.log1p, sqrt=e.sqrt, rsqrt=e.rsqrt,
                 reciprocal=e.reciprocal, lgamma=sp.lgamma, digamma=sp.digamma, acosh=lambda x: e.acosh(x + 1.0))
    inside = dict(asin=e.asin, acos=e.acos, atanh=e.atanh, erf_inv=sp.erf_inv)
    return ([row(n, f, real(3, 4)) for n, f in anywhere.items()] + [row(n, f, positive(3, 4)) for n, f in above.items()]
            + [row(n, f, unit(3, 4)) for n, f in inside.items()]
            + [row(f"{n} complex", f, cplx(3), float32=False) for n, f in dict(
                exp=e.exp, sin=e.sin, cos=e.cos, tanh=e.tanh, log=e.log, sqrt=e.sqrt, square=e.square).items()])


def _binary() -> list[Operation]:
    x, y, p = real(3, 4), real(3, 4) + 0.01, positive(3, 4)
    return [
        row("add", e.add, x, y), row("sub", e.sub, x, y), row("mul", e.mul, x, y), row("div", e.div, x, p),
        row("true_divide", e.true_divide, x, p), row("rem", e.rem, x, p), row("remainder", e.remainder, x, p),
        row("floor_divide", e.floor_divide, x, p), row("max", e.maximum, x, y), row("min", e.minimum, x, y),
        row("pow", e.power, p, y), row("atan2", e.atan2, x, p), row("hypot", e.hypot, x, p),
        row("nextafter", e.nextafter, x, y, order=0), row("logaddexp", fnp.logaddexp, x, y), row("logaddexp2", fnp.logaddexp2, x, y),
        row("integer_pow 3", lambda v: e.integer_pow(v, 3), x), row("integer_pow -2", lambda v: e.integer_pow(v, -2), p),
        row("integer_pow 0", lambda v: e.integer_pow(v, 0), x),
        row("broadcast add", e.add, x, real(4)), row("broadcast mul", e.mul, real(3, 1), real(4)),
        row("scalar mul", lambda v: 2.5 * v, x), row("mul complex", e.mul, cplx(3), cplx(3), float32=False),
        row("clamp", e.clamp, -1.0, x, 1.0, batched=(1,)), row("clamp arrays", e.clamp, x - 1.0, y * 2.0, x + 1.0),
        row("select", lambda c, a, b: e.select(c, a, b), bools(3, 4), x, y),
        row("select scalar", lambda c, a, b: e.select(c, a, b), np.array(True), x, y),
        row("select_n", s.select_n, ints(3, low=0, high=3).astype(np.int32), real(3), real(3), real(3)),
        *[row(n, f, x, y, order=0) for n, f in dict(eq=e.eq, ne=e.ne, lt=e.lt, le=e.le, gt=e.gt, ge=e.ge).items()],
        row("reduce_precision", lambda v: lax.reduce_precision(v, 8, 30), x, tolerance=1e-4, float32=False, order=1),
        row("is_finite", e.is_finite, np.array([1.0, np.inf, np.nan]), order=0),
    ]


def _integer() -> list[Operation]:
    i, j, k = ints(3, 4), ints(3, 4, low=1), ints(3, 4, low=0, high=9)
    return [row(f"{n} int", f, *args, order=0, float32=False) for n, f, args in [
        ("gcd", fnp.gcd, (i, j)), ("and", e.bitwise_and, (i, j)), ("or", e.bitwise_or, (i, j)), ("xor", e.bitwise_xor, (i, j)),
        ("not", e.bitwise_not, (i,)), ("shift_left", e.shift_left, (i, k)),
        ("shift_right_arithmetic", e.shift_right_arithmetic, (i, k)),
        ("shift_right_logical", e.shift_right_logical, (i, k)), ("population_count", e.population_count, (i,)),
        ("clz", e.clz, (i,)), ("add", e.add, (i, j)), ("floor_divide", e.floor_divide, (i, j)), ("div", e.div, (i, j)),
        ("remainder", e.remainder, (i, j)), ("rem", e.rem, (i, j)), ("abs", e.abs, (i,)), ("sign", e.sign, (i,))]]


def _complex() -> list[Operation]:
    z = cplx(3)
    return [row("real", e.real, z, float32=False), row("imag", e.imag, z, float32=False),
            row("conj", lambda v: e.real(e.conj(v) * v), z, float32=False),
            row("complex", lambda a, b: e.real(e.complex(a, b) * (1 + 2j)), real(3), real(3), float32=False),
            row("abs complex", e.abs, z, float32=False), row("sign complex", e.sign, z, float32=False)]


def _structural() -> list[Operation]:
    x = real(3, 4)
    return [
        row("reshape", lambda v: s.reshape(v, (2, 6)), x), row("broadcast", lambda v: s.broadcast_in_dim(v, (2, 3, 4), (1, 2)), x),
        row("broadcast one", lambda v: s.broadcast_in_dim(v, (3, 5), (0, 1)), real(3, 1)),
        row("transpose", lambda v: s.transpose(v, (1, 0)), x), row("rev", lambda v: s.rev(v, (1,)), x),
        row("slice", lambda v: s.slice(v, (1, 0), (3, 4), (1, 2)), x),
        row("pad", lambda v, w: s.pad(v, w, ((1, 2, 1), (-1, 0, 0))), x, np.array(0.5)),
        row("pad negative", lambda v: s.pad(v, np.float64(0), ((0, -1, 0), (2, -1, 2))), x, float32=False),
        row("concatenate", lambda a, b: s.concatenate((a, b), 0), x, real(2, 4)),
        row("squeeze", lambda v: s.squeeze(v, (0,)), real(1, 3)), row("expand_dims", lambda v: s.expand_dims(v, (0, 2)), real(3)),
        row("iota", lambda v: v + s.iota(v.dtype, (3, 4), 1), x), row("convert", lambda v: s.convert_element_type(v, np.float32), x,
                                                                     tolerance=5e-3, order=1),
        row("convert int", lambda v: s.convert_element_type(v, np.int32), x, order=0),
        row("stop_gradient", lambda v: v * s.stop_gradient(v), x, order=0),
        row("full", lambda v: v + s.full((3, 4), 2.0), x, float32=False),
    ]


def _reduction() -> list[Operation]:
    x = real(3, 4) + 0.5  # the sum over all is not near zero, where its last digits would depend on the order
    rows = [row(f"{name} {axes}", lambda v, f=f, axes=axes: f(v, axes), x) for axes in ((0,), (0, 1)) for name, f in dict(
        reduce_sum=red.reduce_sum, reduce_prod=red.reduce_prod, reduce_max=red.reduce_max, reduce_min=red.reduce_min).items()]
    rows += [row(name, lambda v, f=f: f(v, (1,)), bools(3, 4), order=0, float32=False) for name, f in dict(
        reduce_and=red.reduce_and, reduce_or=red.reduce_or, reduce_xor=red.reduce_xor).items()]
    rows += [row("argmax", lambda v: fnp.argmax(v, axis=1), x, order=0), row("argmin", lambda v: fnp.argmin(v, axis=0), x, order=0)]
    rows += [row(f"{name} {reverse}", lambda v, f=f, r=reverse: f(v, axis=1, reverse=r), positive(3, 4))
             for reverse in (False, True) for name, f in dict(
                cumsum=red.cumsum, cumprod=red.cumprod, cummax=red.cummax, cummin=red.cummin,
                cumlogsumexp=red.cumlogsumexp).items()]
    return rows


def _contraction() -> list[Operation]:
    dims = (((2,), (1,)), ((0,), (0,)))
    return [row("dot_general batched", lambda a, b: lax.dot_general(a, b, dims), real(2, 3, 4), real(2, 4, 2)),
            row("dot_general outer", lambda a, b: lax.dot_general(a, b, (((), ()), ((), ()))), real(2), real(3)),
            row("matmul", fnp.matmul, real(3, 4), real(4, 2)), row("vector matmul", fnp.matmul, real(4), real(4)),
            row("convolve", fnp.convolve, real(5), real(3)),
            row("einsum", lambda a, b: fnp.einsum("ij,jk->ki", a, b), real(3, 4), real(4, 2))]


def _indexing() -> list[Operation]:
    x, i = real(5, 3), np.array([0, 3, 3, 1])
    return [
        row("getitem int", lambda v: v[2], fnp.asarray(x)), row("getitem slice", lambda v: v[1:4, ::-1], fnp.asarray(x)),
        row("gather rows", lambda v, k: fnp.asarray(v)[k], x, i), row("gather pairs", lambda v, k: fnp.asarray(v)[k, k % 3], x, i),
        row("take clip", lambda v, k: fnp.take(v, k, axis=0, mode="clip"), x, np.array([0, 9, 2])),
        *[row(f"scatter {name}", lambda v, k, u, name=name: getattr(fnp.asarray(v).at[k], name)(u), x, i, real(4, 3))
          for name in ("set", "add", "min", "max")],
        row("scatter multiply", lambda v, k, u: fnp.asarray(v).at[k].multiply(u, unique_indices=True), x, np.array([0, 3, 1]),
            real(3, 3)),
        row("dynamic_slice", lambda v, k: ix.dynamic_slice(v, (k, 1), (2, 2)), x, np.array(2)),
        row("dynamic_update_slice", lambda v, u, k: ix.dynamic_update_slice(v, u, (k, 0)), x, real(2, 2), np.array(1)),
        row("take_along_axis", lambda v, k: fnp.take_along_axis(v, k, axis=0), x, ints(2, 3, low=0, high=5)),
    ]


def _sorting() -> list[Operation]:
    x = real(3, 5)
    return [row("sort", lambda v: fnp.sort(v, axis=1), x), row("argsort", lambda v: fnp.argsort(v, axis=0), x, order=0),
            row("sort pairs", lambda a, b: so.sort((a, b), dimension=1, num_keys=1), x, real(3, 5)),
            row("sort values along", lambda v: so.take_along(v, np.argsort(x, axis=1), 1), x), row("top_k", lambda v: so.top_k(v, 2)[0], x), row("searchsorted", lambda v: fnp.searchsorted(
                np.array([-1.0, 0.0, 1.0]), v), real(4), order=0)]


def _special() -> list[Operation]:
    a, x = positive(4), positive(4)
    return [row("polygamma", lambda v: sp.polygamma(2, v), x, float32=False), row("zeta", lambda v: sp.zeta(v + 1.5, 2.0), x),
            row("gammainc", sp.gammainc, a, x), row("gammaincc", lambda v: sp.gammaincc(a, v), x, float32=False),
            row("gammainc by x", lambda v: sp.gammainc(a, v), x, float32=False),
            row("random_gamma_grad", sp.random_gamma_grad, a, x),
            row("betainc", sp.betainc, a, x, real(4, low=0.1, high=0.9)),
            row("bessel_i0e", sp.bessel_i0e, real(4)), row("bessel_i1e", sp.bessel_i1e, real(4))]


OPERATIONS: list[Operation] = [*_unary(), *_binary(), *_integer(), *_complex(), *_structural(), *_reduction(), *_contraction(),
                               *_indexing(), *_sorting(), *_special(), *operations_convolution.rows(),
                               *operations_fft.rows(), *operations_linalg.rows(), *operations_special.rows()]
