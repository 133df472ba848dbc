"""Algebra: equations that say something simpler in many words.

In: a program. Out: the program after the rows of one table, each an identity that holds bit for bit: for NaN (one is as
good as another), for infinities, for both zeros and for integers that wrap around. So ``x + 0.0`` stays (it turns -0.0
into 0.0), ``x * 0.0`` stays (it may be NaN), and ``x - 0.0`` is x. The walk folds constants too, since each makes
work for the other. The rows about index maps are in ``movement.py``.

    c:f64[3] = mul a 1.0; d:f64[3] = neg c; e:f64[3] = sub b d; f:f64[3] = div e 2.0
    ->    e:f64[3] = add b a; f:f64[3] = mul e 0.5
"""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from funcgrad import dtypes
from funcgrad.core.jaxpr import Atom, Equation, Jaxpr, Literal, Var
from funcgrad.core.primitive import Primitive
from funcgrad.ops.elementwise import (
    abs_p,
    add_p,
    and_p,
    complex_p,
    conj_p,
    div_p,
    eq_p,
    imag_p,
    integer_pow_p,
    max_p,
    min_p,
    mul_p,
    ne_p,
    neg_p,
    not_p,
    or_p,
    real_p,
    shift_left_p,
    shift_right_arithmetic_p,
    shift_right_logical_p,
    square_p,
    sub_p,
    xor_p,
)
from funcgrad.ops.structural import convert_element_type_p, name_p, select_n_p, stop_gradient_p
from funcgrad.passes.folding import FOLDING, repeated, walked
from funcgrad.passes.movement import MOVEMENT
from funcgrad.passes.rewriting import Rule, Rules, Walk, instead
from funcgrad.passes.subexpressions import same_atom

ALGEBRA: Rules = {}
"""The table: for each primitive its rows, tried in their order."""


def algebra(jaxpr: Jaxpr) -> Jaxpr:
    """The program simplified by the rows of the table."""
    return walked(jaxpr, "algebra", {None: FOLDING, **ALGEBRA, **MOVEMENT})


def row(*primitives: Primitive) -> Callable[[Rule], Rule]:
    """Enters a rule into the table."""

    def enter(rule: Rule) -> Rule:
        for p in primitives:
            ALGEBRA[p] = (*ALGEBRA.get(p, ()), rule)
        return rule

    return enter


def _kind(equation: Equation) -> str:
    """The kind of the result's dtype, one of b i u f c."""
    return dtypes.kind(equation.outs[0].aval.dtype)


def _is(atom: Atom, value: Any) -> bool:
    """Whether an atom is the literal of a value; 0.0 is not -0.0."""
    return type(atom) is Literal and bool(atom.value == value) and (value != 0 or not _negative_zero(atom.value))


def _negative_zero(value: Any) -> bool:
    return dtypes.kind(value.dtype) == "f" and bool(value == 0) and math.copysign(1, float(value)) < 0


def _is_zero(atom: Atom, kind: str, negative: bool) -> bool:
    """Whether an atom is the literal 0, for floats the zero of this sign."""
    if type(atom) is not Literal or kind == "c" or atom.value != 0:
        return False
    return kind in "biu" or _negative_zero(atom.value) == negative


def _whole(walk: Walk, equation: Equation, atom: Atom) -> Equation | list[Atom]:
    """An atom as the result of an equation; a literal is repeated to its shape."""
    return repeated(walk, equation, atom.value) if type(atom) is Literal else [atom]


def _literal(like: Atom, value: Any) -> Literal:
    return Literal(like.aval.dtype.type(value))


# ---------------------------------------------------------------- sums


@row(add_p)
def add_zero(walk: Walk, e: Equation) -> Any:
    """x + -0.0 = x; x + 0 = x for integers; x | False = x."""
    x, y = e.inputs
    kind = _kind(e)
    return [x] if _is_zero(y, kind, True) else [y] if _is_zero(x, kind, True) else None


@row(sub_p)
def sub_zero(walk: Walk, e: Equation) -> Any:
    """x - 0 = x; -0.0 - x = -x; 0 - x = -x for integers."""
    x, y = e.inputs
    kind = _kind(e)
    return [x] if _is_zero(y, kind, False) else instead(e, neg_p, y) if _is_zero(x, kind, True) else None


@row(add_p)
def add_negative(walk: Walk, e: Equation) -> Any:
    """x + -y = x - y; -x + y = y - x."""
    x, y = e.inputs
    if negative := walk.defined(y, neg_p):
        return instead(e, sub_p, x, negative.inputs[0])
    if negative := walk.defined(x, neg_p):
        return instead(e, sub_p, y, negative.inputs[0])
    return None


@row(sub_p)
def sub_negative(walk: Walk, e: Equation) -> Any:
    """x - -y = x + y."""
    negative = walk.defined(e.inputs[1], neg_p)
    return instead(e, add_p, e.inputs[0], negative.inputs[0]) if negative else None


@row(neg_p)
def negative_negative(walk: Walk, e: Equation) -> Any:
    """--x = x."""
    inner = walk.defined(e.inputs[0], neg_p)
    return [inner.inputs[0]] if inner else None


@row(neg_p)
def negative_product(walk: Walk, e: Equation) -> Any:
    """-(x * c) = x * -c."""
    inner = walk.defined(e.inputs[0], mul_p)
    if inner and _kind(e) == "f":
        x, y = inner.inputs
        if type(y) is Literal:
            return instead(e, mul_p, x, Literal(-y.value))
        if type(x) is Literal:
            return instead(e, mul_p, y, Literal(-x.value))
    return None


# ---------------------------------------------------------------- products


@row(mul_p)
def mul_one(walk: Walk, e: Equation) -> Any:
    """x * 1 = x, not for complex numbers (inf * 1 has a NaN part); x & True = x."""
    x, y = e.inputs
    return None if _kind(e) == "c" else [x] if _is(y, 1) else [y] if _is(x, 1) else None


@row(mul_p)
def mul_minus_one(walk: Walk, e: Equation) -> Any:
    """x * -1 = -x."""
    x, y = e.inputs
    if _kind(e) not in "if":
        return None
    return instead(e, neg_p, x) if _is(y, -1) else instead(e, neg_p, y) if _is(x, -1) else None


@row(mul_p)
def mul_zero(walk: Walk, e: Equation) -> Any:
    """x * 0 = 0 for integers; x & False = False."""
    if _kind(e) in "biu" and any(_is(a, 0) for a in e.inputs):
        return repeated(walk, e, e.outs[0].aval.dtype.type(0))
    return None


@row(mul_p, div_p)
def signs_cancel(walk: Walk, e: Equation) -> Any:
    """-x * -y = x * y; -x / -y = x / y; -x * c = x * -c; -x / c = x / -c."""
    if _kind(e) != "f":
        return None
    x, y = [walk.defined(a, neg_p) for a in e.inputs]
    if x and y:
        return instead(e, e.primitive, x.inputs[0], y.inputs[0])
    if x and type(e.inputs[1]) is Literal:
        return instead(e, e.primitive, x.inputs[0], Literal(-e.inputs[1].value))
    if y and type(e.inputs[0]) is Literal:
        return instead(e, e.primitive, Literal(-e.inputs[0].value), y.inputs[0])
    return None


@row(div_p)
def div_by_power_of_two(walk: Walk, e: Equation) -> Any:
    """x / 2**k = x * 2**-k for small k; x / 1 = x, for integers too.

    A larger divisor is often a size, as in a mean: the operations of a program should not depend on its sizes.
    """
    x, y = e.inputs
    kind = _kind(e)
    if type(y) is not Literal or kind not in "iuf":
        return None
    if y.value == 1:
        return [x]
    if kind != "f" or abs(float(y.value)) not in (0.125, 0.25, 0.5, 2.0, 4.0, 8.0):
        return None
    return instead(e, mul_p, x, _literal(y, 1 / float(y.value)))


@row(integer_pow_p)
def small_power(walk: Walk, e: Equation) -> Any:
    """x ** y for y from -2 to 4, as ``integer_pow`` multiplies it out."""
    x, = e.inputs
    y = e.params["y"]
    if y == 0:
        return repeated(walk, e, e.outs[0].aval.dtype.type(1))
    if y == 1:
        return [x]
    if y == 2:
        return instead(e, square_p, x)
    if y == 3:
        return instead(e, mul_p, x, walk.emit(square_p, x))
    if y == 4:
        return instead(e, square_p, walk.emit(square_p, x))
    if y in (-1, -2) and _kind(e) in "fc":
        return instead(e, div_p, _literal(x, 1), x if y == -1 else walk.emit(square_p, x))
    return None


@row(square_p, abs_p)
def sign_is_lost(walk: Walk, e: Equation) -> Any:
    """(-x)**2 = x**2; abs(-x) = abs(x); abs(x)**2 = x**2; abs(abs(x)) = abs(x)."""
    if _kind(e) in "iuf":
        inner = walk.defined(e.inputs[0], neg_p) or walk.defined(e.inputs[0], abs_p)
        if inner:
            return instead(e, e.primitive, inner.inputs[0])
    return None


@row(max_p, min_p)
def extremum_of_infinity(walk: Walk, e: Equation) -> Any:
    """max(x, -inf) = x; min(x, inf) = x."""
    if _kind(e) == "f":
        bound = -math.inf if e.primitive is max_p else math.inf
        x, y = e.inputs
        return [x] if _is(y, bound) else [y] if _is(x, bound) else None
    return None


# ---------------------------------------------------------------- bits and bools


@row(not_p)
def not_not(walk: Walk, e: Equation) -> Any:
    """not not x = x; not x == y is x != y, and the other way round."""
    x, = e.inputs
    if inner := walk.defined(x, not_p):
        return [inner.inputs[0]]
    if inner := walk.defined(x, eq_p):
        return instead(e, ne_p, *inner.inputs)
    if inner := walk.defined(x, ne_p):
        return instead(e, eq_p, *inner.inputs)
    return None


@row(and_p, or_p, xor_p)
def bitwise_identity(walk: Walk, e: Equation) -> Any:
    """x & -1 = x, x & 0 = 0, x | 0 = x, x | -1 = -1, x ^ 0 = x, x & x = x | x = x; for bools, -1 is True."""
    x, y = e.inputs
    if type(x) is Literal:
        x, y = y, x
    p = e.primitive
    if type(y) is not Literal:
        return [x] if same_atom(x, y) and p is not xor_p else None
    zeros, ones = not y.value, not np.invert(y.value)
    if p is and_p and ones or p is not and_p and zeros:
        return [x]
    if p is and_p and zeros or p is or_p and ones:
        return repeated(walk, e, y.value)
    return None


@row(shift_left_p, shift_right_arithmetic_p, shift_right_logical_p)
def shift_by_zero(walk: Walk, e: Equation) -> Any:
    """x << 0 = x."""
    return _whole(walk, e, e.inputs[0]) if _is(e.inputs[1], 0) else None


# ---------------------------------------------------------------- choices


@row(select_n_p)
def select_known(walk: Walk, e: Equation) -> Any:
    """A choice that is known, or makes no difference."""
    which, *cases = e.inputs
    if type(which) is Literal:
        return _whole(walk, e, cases[min(max(int(which.value), 0), len(cases) - 1)])
    if all(same_atom(cases[0], case) for case in cases[1:]):
        return _whole(walk, e, cases[0])
    return None


@row(select_n_p)
def select_by_not(walk: Walk, e: Equation) -> Any:
    """select(not p, x, y) = select(p, y, x)."""
    which, *cases = e.inputs
    inner = walk.defined(which, not_p)
    return instead(e, select_n_p, inner.inputs[0], *cases[::-1]) if inner and len(cases) == 2 else None


@row(select_n_p)
def select_bools(walk: Walk, e: Equation) -> Any:
    """select(p, False, True) = p; select(p, True, False) = not p."""
    which, *cases = e.inputs
    if which.aval.dtype.kind != "b" or _kind(e) != "b" or not all(type(c) is Literal for c in cases) or len(cases) != 2:
        return None
    return [which] if cases[1].value else instead(e, not_p, which)  # equal ones were dealt with above


# ---------------------------------------------------------------- conversions and parts


@row(stop_gradient_p, name_p)
def identity(walk: Walk, e: Equation) -> Any:
    """When a program runs, nothing is differentiated any more, and nobody asks for names."""
    return _whole(walk, e, e.inputs[0])


@row(convert_element_type_p)
def convert_nothing(walk: Walk, e: Equation) -> Any:
    """A conversion to the dtype that x has."""
    return [e.inputs[0]] if e.inputs[0].aval.dtype == e.params["new_dtype"] else None


@row(convert_element_type_p)
def convert_converted(walk: Walk, e: Equation) -> Any:
    """Of two conversions the first is not needed if it loses nothing; not from float to integer, undefined out of range."""
    inner = walk.defined(e.inputs[0], convert_element_type_p)
    if inner is None:
        return None
    x, middle, last = inner.inputs[0], e.inputs[0].aval.dtype, e.params["new_dtype"]
    if not holds(middle, x.aval.dtype) or dtypes.is_inexact(x.aval.dtype) and not dtypes.is_inexact(last):
        return None
    if last.itemsize == 2 and dtypes.is_inexact(last) and dtypes.kind(x.aval.dtype) in "iu":
        return None  # narrow floats are made by way of float32, which rounds large integers a first time
    return instead(e, convert_element_type_p, x, **e.params)


def holds(wide: np.dtype, narrow: np.dtype) -> bool:
    """Whether a dtype holds every value of another one.

    >>> holds(np.dtype("float64"), np.dtype("int32")), holds(np.dtype("float32"), np.dtype("int32"))
    (True, False)
    """
    a, b = dtypes.kind(wide), dtypes.kind(narrow)
    if wide == narrow or b == "b":
        return True
    if a == "c" and b != "V":
        return holds(dtypes.real_dtype(wide), dtypes.real_dtype(narrow))
    if a in "iu" and b in "iu":
        return wide.itemsize >= narrow.itemsize + (a == "i" and b == "u") if a == b or a == "i" else False
    if a == "f" and b in "iu":
        return ml_dtypes.finfo(wide).nmant + 1 >= narrow.itemsize * 8 - (b == "i")
    if a == "f" and b == "f":
        wider, other = ml_dtypes.finfo(wide), ml_dtypes.finfo(narrow)
        return wider.nmant >= other.nmant and float(wider.max) >= float(other.max) and wide.itemsize > narrow.itemsize
    return False


@row(real_p, imag_p)
def part_of_complex(walk: Walk, e: Equation) -> Any:
    """The parts of complex(x, y) are x and y; conj(x) has the real part of x."""
    if inner := walk.defined(e.inputs[0], complex_p):
        return _whole(walk, e, inner.inputs[e.primitive is imag_p])
    if e.primitive is real_p and (inner := walk.defined(e.inputs[0], conj_p)):
        return instead(e, real_p, inner.inputs[0])
    return None


@row(conj_p)
def conj_conj(walk: Walk, e: Equation) -> Any:
    """conj(conj(x)) = x."""
    inner = walk.defined(e.inputs[0], conj_p)
    return [inner.inputs[0]] if inner else None


@row(complex_p)
def complex_of_parts(walk: Walk, e: Equation) -> Any:
    """complex(real(z), imag(z)) = z."""
    x, y = walk.defined(e.inputs[0], real_p), walk.defined(e.inputs[1], imag_p)
    if x and y and x.inputs[0] is y.inputs[0] and type(x.inputs[0]) is Var:
        return [x.inputs[0]]
    return None
