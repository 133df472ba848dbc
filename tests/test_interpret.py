"""fg.interpret: programs and their derivatives in other arithmetics; fg.compare_precision: where digits are lost."""
from __future__ import annotations

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from operations import OPERATIONS, real
from test_planted_rules import ROWS

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.errors import MissingRuleError

F = Fraction


def polynomial(x):
    return x ** 5 / 7 - 3 * x ** 3 + 0.1 * x


@pytest.fixture(autouse=True)
def forty_digits():
    with mpmath.workdps(40):
        yield


# ---------------------------------------------------------------- fractions


def test_derivatives_of_a_polynomial_are_fractions():
    x = F(1, 3)
    third = fg.grad(fg.grad(fg.grad(polynomial)))
    assert str(fg.interpret(third, Fraction)(x)) == "-358/21"
    for f, expected in ((polynomial, x ** 5 / 7 - 3 * x ** 3 + x / 10), (fg.grad(polynomial), F(5, 7) * x ** 4 - 9 * x ** 2 + F(1, 10)),
                        (lambda x: fg.taylor(polynomial, x, 4)[4], F(120, 7) * x), (fg.jit(fg.jacfwd(fg.grad(polynomial))),
                                                                                   F(20, 7) * x ** 3 - 18 * x)):
        assert fg.interpret(f, "fraction")(x) == expected
    assert fg.interpret(fg.grad(polynomial), Fraction)(2) == F(5, 7) * 16 - 36 + F(1, 10)


def test_trees_arrays_and_keywords():
    def f(tree, *, scale):
        return {"h": fg.hessian(lambda v: fnp.sum(v @ v) * v[0])(tree["v"]) * scale, "n": tree["n"] + 1}

    out = fg.interpret(f, Fraction)({"v": np.array([F(1, 2), F(1, 3)]), "n": np.array(3)}, scale=F(2))
    assert out["h"].tolist() == [[6, F(4, 3)], [F(4, 3), 2]] and out["h"].dtype == object
    assert out["n"] == 4 and out["n"].dtype == np.int64


def test_control_flow():
    a, xs = F(1, 2), np.array([F(1, 3), F(1, 4)])
    last, ys = fg.interpret(lambda a, xs: lax.scan(lambda c, x: (c * x + a, c), a, xs), Fraction)(a, xs)
    assert last == F(2, 3) and ys.tolist() == [F(1, 2), F(2, 3)]
    last, ys = fg.interpret(lambda a, xs: lax.scan(lambda c, x: (c * x + a, c), a, xs, reverse=True), Fraction)(a, xs)
    assert last == F(17, 24) and ys.tolist() == [F(5, 8), F(1, 2)]
    slope = fg.interpret(fg.grad(lambda a, xs: lax.scan(lambda c, x: (c * x + a, None), a, xs)[0]), Fraction)(a, xs)
    assert slope == F(1, 12) + F(1, 4) + 1
    assert fg.interpret(lambda x: lax.while_loop(lambda s: s < 10, lambda s: s * 2, x), Fraction)(F(1, 3)) == F(32, 3)
    assert fg.interpret(lambda x: lax.cond(x > 0, lambda x: x / 3, lambda x: -x, x), Fraction)(F(-1, 3)) == F(1, 3)
    assert fg.interpret(ROWS["custom_vjp"].function, mpmath.mpf)(2, 1) == 2 * mpmath.sin(1)


@pytest.mark.parametrize(("f", "x", "expected"), [
    (fnp.floor, F(-7, 2), -4), (fnp.ceil, F(7, 2), 4), (fnp.trunc, F(-7, 2), -3), (fnp.round, F(5, 2), 2), (fnp.round, F(7, 2), 4),
    (fnp.round, F(8, 3), 3), (fnp.sign, F(-1, 3), -1), (fnp.abs, F(-1, 3), F(1, 3)), (fnp.sqrt, F(4, 9), F(2, 3)),
    (lambda x: x ** 0.5, F(4, 9), F(2, 3)), (lambda x: x ** -2, F(2, 3), F(9, 4)), (lambda x: x % 1.0, F(-1, 3), F(2, 3)),
    (lambda x: fnp.fmod(x, 1.0), F(-4, 3), F(-1, 3)), (lambda x: x // 0.5, F(4, 3), 2), (lambda x: fnp.clip(x, 0.0, 0.25), F(1, 3), F(1, 4)),
    (lambda x: fnp.where(x > 0, x, -x), F(-1, 3), F(1, 3)), (lambda x: x.astype(int), F(7, 2), 3),
    (lambda x: fnp.max(fnp.stack([x, -x])), F(-1, 3), F(1, 3)), (lambda x: fnp.prod(fnp.stack([x, x, x])), F(1, 3), F(1, 27)),
    (lambda x: fnp.linspace(0.0, x, 4)[1], F(1, 2), F(1, 6)), (lambda x: fnp.cumsum(fnp.stack([x, x]))[1], F(1, 3), F(2, 3)),
    (lambda x: fnp.sort(fnp.stack([x, -x]))[0], F(1, 3), F(-1, 3)), (lambda x: fnp.pad(x[None], 1)[0], F(1, 3), 0),
    (lambda x: fnp.convolve(fnp.stack([x, x]), fnp.array([1.0, 2.0]))[1], F(1, 3), 1), (lambda x: fnp.zeros(3).at[1].set(x)[1], F(1, 3), F(1, 3)),
    (lambda x: fnp.einsum("ij,jk->", fnp.full((2, 2), x), fnp.eye(2)), F(1, 3), F(4, 3)), (lambda x: fnp.sum(fnp.zeros((0,))) + x, F(1, 3), F(1, 3)),
])
def test_operations_on_fractions(f, x, expected):
    found = fg.interpret(f, Fraction)(x)
    assert found == expected and not isinstance(found, float)


# ---------------------------------------------------------------- many digits, intervals, symbols


def test_many_digits():
    x = mpmath.mpf(1) / 3
    for f, expected in ((fg.grad(fnp.tanh), mpmath.sech(x) ** 2), (fg.grad(fg.grad(fnp.sin)), -mpmath.sin(x)),
                        (fg.grad(lambda x: fnp.log(fnp.cosh(x)) + x / 7), mpmath.tanh(x) + mpmath.mpf(1) / 7),
                        (fg.grad(fg.scipy.special.gammaln), mpmath.digamma(x)),
                        (lambda x: fg.nn.softmax(fnp.stack([x, 2 * x]))[0], 1 / (1 + mpmath.exp(x))),
                        (lambda x: fnp.abs(fnp.exp(1j * x)), mpmath.mpf(1))):
        assert abs(fg.interpret(f, mpmath.mpf)(x) - expected) < mpmath.mpf(10) ** -38


def test_the_table_of_operations_in_many_digits():
    """Each row agrees with the ordinary result, or says which operation it lacks; most agree."""
    equal = 0
    for operation in OPERATIONS:
        try:
            found = fg.interpret(operation.function, "mpmath")(*operation.args)
        except MissingRuleError as error:
            assert "interpret: " in str(error)
            continue
        for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(operation.function(*operation.args)), strict=True):
            y = np.asarray(y)
            x = np.vectorize(complex if y.dtype.kind == "c" else y.dtype.type, otypes=[y.dtype])(np.asarray(x))
            np.testing.assert_allclose(x, y, 1e-6 if y.dtype == np.float32 else 1e-12, 1e-12, err_msg=operation.name)
        equal += 1
    assert equal > 0.75 * len(OPERATIONS)


def test_extended_precision():
    x = real(5).astype(np.longdouble) / 3
    found = fg.interpret(fg.grad(lambda x: fnp.sum(fnp.sin(x) * fnp.exp(x) / 7)), np.longdouble)(x)
    expected = (np.cos(x) + np.sin(x)) * np.exp(x) / 7
    assert max(abs(found - expected)) < 4 * np.finfo(np.longdouble).eps * max(abs(expected))
    with pytest.raises(MissingRuleError, match="(?s)fft cannot be computed in the numbers longdouble.*float64"):
        fg.interpret(fnp.fft.rfft, "longdouble")(x)


def test_intervals():
    iv = mpmath.iv
    assert fg.interpret(lambda x: x * x - x, mpmath.iv)(iv.mpf([1, 2])) == iv.mpf([-1, 3])
    third = fg.interpret(lambda x: x / 3, "interval")(1)
    assert third.a <= mpmath.mpf(1) / 3 <= third.b and third.a < third.b
    slope = fg.interpret(fg.grad(lambda x: fnp.exp(x) * x), "interval")(iv.mpf([0, 1]))
    assert slope.a <= 1 and slope.b >= 2 * mpmath.e
    with pytest.raises(MissingRuleError, match="(?s)gt cannot be computed.*undecided"):
        fg.interpret(lambda x: fnp.where(x > 0, x, -x), "interval")(iv.mpf([-1, 1]))


@pytest.mark.parametrize("raises", [False, True], ids=["None, as mpmath before 1.4", "ValueError, as from 1.4 on"])
def test_intervals_that_overlap_are_undecided_in_both_ways_of_saying_so(monkeypatch, raises):
    def undecided(self, other):
        if raises:
            raise ValueError
        return None

    interval = mpmath.iv.mpf([-1, 1])
    monkeypatch.setattr(type(interval), "__gt__", undecided)
    with pytest.raises(MissingRuleError, match="(?s)gt cannot be computed.*undecided"):
        fg.interpret(lambda x: x > 0, "interval")(interval)


class Symbol:
    """Any type will do that has arithmetic, and functions as methods: this one writes down what is done."""

    def __init__(self, text):
        self.text = str(text)

    def sin(self):
        return Symbol(f"sin({self.text})")

    def cos(self):
        return Symbol(f"cos({self.text})")


for name, symbol in (("__add__", "+"), ("__mul__", "*"), ("__sub__", "-"), ("__truediv__", "/"), ("__pow__", "**")):
    setattr(Symbol, name, lambda x, y, symbol=symbol: Symbol(f"({x.text} {symbol} {getattr(y, 'text', y)})"))


def test_a_type_of_the_users():
    assert fg.interpret(lambda x: fnp.sin(x) * x ** 3 + 0.5, Symbol)(Symbol("x")).text == "((sin(x) * (x ** 3)) + (1 / 2))"
    assert "cos(x)" in fg.interpret(fg.grad(fnp.sin), Symbol)(Symbol("x")).text
    with pytest.raises(MissingRuleError, match="exp has no value in the numbers Symbol"):
        fg.interpret(fnp.exp, Symbol)(Symbol("x"))


def test_symbols_of_sympy():
    import sympy  # takes long to load
    x, y = sympy.symbols("x y")
    assert fg.interpret(fg.grad(fg.grad(fg.grad(polynomial))), sympy)(x) == sympy.Rational(60, 7) * x ** 2 - 18
    jacobian = fg.interpret(fg.jacrev(lambda v: fnp.sin(v[0] * v[1]) * v), "sympy")(np.array([x, y]))
    expected = sympy.Matrix([sympy.sin(x * y) * x, sympy.sin(x * y) * y]).jacobian([x, y])
    assert sympy.simplify(sympy.Matrix(jacobian) - expected) == sympy.zeros(2, 2)
    with pytest.raises(MissingRuleError, match="(?s)gt cannot be computed.*truth value.*x > 0"):
        fg.interpret(lambda x: fnp.where(x > 0, x, -x), sympy)(x)


def test_machine_numbers():
    narrow = fg.interpret(lambda x: fnp.sum(x / 3), "float32")(np.ones(3))
    assert narrow.dtype == np.float32 and fg.interpret(lambda x: x * 2, "bfloat16")(1.0).dtype.name == "bfloat16"


def test_wrong_calls():
    with pytest.raises(MissingRuleError, match="(?s)exp has no value in the numbers Fraction, called at test_interpret.py.*mpmath"):
        fg.interpret(fnp.exp, Fraction)(1)
    with pytest.raises(MissingRuleError, match="(?s)eigh cannot be computed in the numbers mpmath.mpf.*UFuncTypeError"):
        fg.interpret(lambda a: fnp.linalg.eigh(a)[0], "mpmath")(np.eye(2))
    with pytest.raises(MissingRuleError, match="(?s)lu cannot be computed in the numbers Fraction.*computed in float64"):
        fg.interpret(fnp.linalg.inv, Fraction)(np.eye(2))
    with pytest.raises(ArithmeticError, match="the square root of 2 is not a fraction"):
        fg.interpret(fnp.sqrt, Fraction)(2)
    with pytest.raises(TypeError, match="inf is no number of the type Fraction"):
        fg.interpret(lambda x: x, Fraction)(np.inf)
    for wrong in ("decimal", 3.5, "int32"):
        with pytest.raises(TypeError, match="(?s)these are no numbers.*fraction, mpmath"):
            fg.interpret(fnp.sin, wrong)


# ---------------------------------------------------------------- precision


def variance(x):
    squares = fnp.mean(x * x)
    return squares - fnp.mean(x) ** 2


def test_where_digits_are_lost():
    losses = fg.compare_precision(variance, "float32", "float64")(np.arange(5.0) / 7 + 1000.0)
    worst = losses.rows[0]
    assert worst.operation == "sub" and worst.digits < 3 and worst.lost > 3.5 and "in variance" in worst.place
    assert all(row.digits > 6 for row in losses.rows[1:])
    assert str(losses).splitlines()[0] == "float32 next to float64, digits in common"
    assert "sub" in losses._repr_html_() and losses._repr_html_().startswith("<pre>")
    gradient = fg.compare_precision(fg.grad(variance))(np.arange(5.0) / 7 + 1000.0)
    assert any(row.operation.startswith("add") and row.lost > 2 for row in gradient.rows)


def test_digits_in_loops_and_where_runs_part():
    sums = fg.compare_precision(lambda xs: lax.scan(lambda c, x: (c + x, None), 0.0, xs)[0], "float16")(np.full(40, 0.1))
    add = next(row for row in sums.rows if row.operation == "add")
    assert add.step > 5 and f"step {add.step}" in str(sums)
    parted = fg.compare_precision(lambda x: lax.cond(x + 1 > 1, fnp.sin, fnp.cos, x))(1e-9)
    assert "different ways" in str(parted)
    longer = fg.compare_precision(lambda x: lax.while_loop(lambda s: s + 1 > 1, lambda s: s / 2, x))(1.0)
    assert "different ways" in str(longer)
    assert fg.compare_precision(lambda i: i + 1)(3).rows == ()
    with pytest.raises(TypeError, match="a floating point dtype is needed"):
        fg.compare_precision(fnp.sin, Fraction)
