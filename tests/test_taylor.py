"""Taylor mode, forward and reverse mode to order 4: every row of the table of operations, nested programs, kinks, trees."""
from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest
from operations import OPERATIONS, Operation
from test_composition import PROGRAMS, derivative

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.jaxpr import count_equations
from funcgrad.core.primitive import DERIVED
from funcgrad.experimental.jet import jet
from funcgrad.ops import special as sp
from funcgrad.ops.elementwise import div_p
from funcgrad.ops.structural import instantiate

ORDER = 4
COMPILED_ORDER = 2
"""Of the compiled series: higher orders are more of the same operations, and their kernels are long to compile."""
AMPLIFIED = {"funm": 64, "reduce_precision": 64}
"""Rows whose rounding errors are larger by a factor: the eigenvectors of funm amplify them, reduce_precision makes some."""


def forward(f, order):
    """f differentiated by nested forward mode."""
    for _ in range(order):
        f = (lambda g: lambda t: fg.jvp(g, (t,), (1.0,))[1])(f)
    return f


def nested(f, t, order):
    """The derivatives up to an order by nested forward mode."""
    with np.errstate(all="ignore"):
        return [forward(f, k)(t) for k in range(order + 1)]


def close(found, expected, precision=np.float64, factor=1.0):
    """Equal types, and values to some units of the largest one."""
    for x, y in zip(fg.tree.leaves(found), fg.tree.leaves(expected), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype and x.shape == y.shape
        scale = factor * 2.0 ** 10 * max(np.finfo(t).eps for t in (y.dtype, precision) if np.dtype(t).kind in "fc")
        np.testing.assert_allclose(x, y, rtol=scale, atol=scale * max(1.0, np.abs(y).max(initial=0)))


# ---------------------------------------------------------------- the table of operations


@dataclass
class Line:
    """A row's function along a line through its arguments, and a real number made of its results."""

    operation: Operation

    def __post_init__(self):
        rng = np.random.default_rng(3)
        self.where = [i for i, x in enumerate(self.operation.args) if np.asarray(x).dtype.kind in "fc"]
        self.points = tuple([np.asarray(self.operation.args[i]) for i in self.where])
        self.directions = tuple([self.direction(rng, x) for x in self.points])
        results = self.at(*self.points)
        self.weights = [rng.uniform(0.5, 1.0, y.shape) for y in results]
        self.precision = max([y.dtype for y in results], key=lambda dtype: np.finfo(dtype).eps)

    @staticmethod
    def direction(rng, x):
        d = rng.uniform(0.5, 1.0, x.shape) * rng.choice([-1.0, 1.0], x.shape)
        return (d * (1 + 0.5j) if x.dtype.kind == "c" else d).astype(x.dtype)

    def at(self, *points):
        args = list(self.operation.args)
        for i, x in zip(self.where, points, strict=True):
            args[i] = x
        return [y for y in fg.tree.leaves(self.operation.function(*args)) if y.dtype.kind in "fc"]

    def along(self, t):
        return self.at(*[x + t * d for x, d in zip(self.points, self.directions, strict=True)])

    def number(self, results):
        return sum(fnp.sum(w * (fnp.real(y) + 0.5 * fnp.imag(y))) for w, y in zip(self.weights, results, strict=True))

    def series(self, *points, order=ORDER):
        return fg.taylor(lambda xs: self.at(*xs), points, order, self.directions)

    def slope(self, gradients):
        """The derivative along the line from gradients by the points."""
        return sum(np.sum(np.real(np.asarray(g) * d)) for g, d in zip(gradients, self.directions, strict=True))


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.order], ids=str)
def test_taylor_and_reverse_mode_equal_nested_forward_mode(operation):
    line, factor = Line(operation), AMPLIFIED.get(operation.name, 1.0)
    expected = nested(line.along, 0.0, ORDER)
    assert all(np.isfinite(np.asarray(y)).all() for ys in expected for y in ys)

    def series_and_gradient(order, *points):
        """The derivatives, and the gradient of the last but one: its slope along the line is the last."""
        every = tuple(range(len(points)))
        return line.series(*points, order=order), fg.grad(
            lambda *xs: line.number(line.series(*xs, order=order - 1)[-1]), every)(*points)

    for run, order in ((series_and_gradient, ORDER), (fg.jit(series_and_gradient, static_argnums=0), COMPILED_ORDER)):
        series, gradients = run(order, *line.points)
        close(series, expected[:order + 1], factor=factor)
        close(line.slope(gradients), line.number(expected[order]), line.precision, factor)
    reverse = line.along
    for k in range(1, ORDER + 1):
        reverse = fg.grad((lambda t: line.number(line.along(t))) if k == 1 else reverse)
        close(reverse(0.0), line.number(expected[k]), line.precision, factor)
    fourth = fg.taylor(fg.grad(lambda t: line.number(line.along(t))), 0.0, 3)[3]
    close(fourth, line.number(expected[4]), line.precision, factor)


SHIFTED = {"betainc": 10, "polar_harmonic": 19, "hyp1f1": 14, "hyp2f1": 20}
"""Functions whose derivatives are the same function at other parameters, all of which move: each order brings new ones, so
that the number of equations grows faster. By how much more at twice the order."""


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.order], ids=str)
def test_the_cost_is_a_power_of_the_order(operation):
    """Twice the order takes at most 6.5 times the equations: far from 2**k, which would be 16 times as many."""
    line = Line(operation)
    four, eight = (count_equations(fg.make_jaxpr(lambda t, k=k: fg.taylor(line.along, t, k))(0.0)) for k in (4, 8))
    assert eight <= SHIFTED.get(operation.name, 6.5) * four


def test_a_rule_that_solves_twice_costs_a_power_of_the_order():
    """The tangent of A(t) x(t) = b(t) is the solution of another system with the same matrix."""

    def jvp(primals, tangents):
        x, = div_p.bind(*primals)
        (b_dot, a_dot), a = map(instantiate, tangents), primals[1]
        return (x,), div_p.bind(b_dot - a_dot * x, a)

    def f(t):
        return fnp.sin(t) / (2 + t)

    expected = fg.taylor(f, 0.3, 8)
    rules = div_p.jvp, div_p.taylor
    try:
        object.__setattr__(div_p, "jvp", jvp)
        object.__setattr__(div_p, "taylor", DERIVED)
        close(fg.taylor(f, 0.3, 8), expected)
        four, eight = (count_equations(fg.make_jaxpr(lambda t, k=k: fg.taylor(f, t, k))(0.3)) for k in (4, 8))
    finally:
        object.__setattr__(div_p, "jvp", rules[0])
        object.__setattr__(div_p, "taylor", rules[1])
    assert eight <= 6.5 * four


def test_no_reference_cycles():
    class Marker(np.ndarray):
        pass

    def run():
        x = np.ones(3).view(Marker)
        fg.taylor(lambda v: fnp.hypot(fnp.cumprod(v), fnp.arctan(v)), x, 3)
        return weakref.ref(x)

    gc.collect()
    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()


def test_the_cost_is_quadratic_where_nested_derivatives_double():
    def f(x):
        return fnp.exp(fnp.sin(fnp.tanh(x) * x / (1 + x)))

    ten, twenty = (count_equations(fg.make_jaxpr(lambda x, k=k: fg.taylor(f, x, k))(0.5)) for k in (10, 20))
    assert twenty <= 4.2 * ten
    assert ten * 5 < count_equations(fg.make_jaxpr(forward(f, 8))(0.5))


# ---------------------------------------------------------------- nested programs


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)
def test_nested_programs(program):
    xs, factors = np.array([0.7, 0.1]), [np.asarray(derivative(k)(0.7)) for k in range(6)]
    close([y[0] for y in fg.vmap(lambda x: fg.taylor(program, x, 5))(xs)], factors)
    close(fg.jit(lambda x: fg.taylor(fg.jit(program), x, 5))(fnp.asarray(0.7)), factors)
    close([y[0] for y in fg.taylor(fg.vmap(program), xs, 5)], factors)
    for fifth in (fg.grad(lambda x: fg.taylor(program, x, 4)[4]), lambda x: fg.taylor(fg.grad(program), x, 4)[4],
                  lambda x: fg.taylor(lambda y: fg.taylor(program, y, 2)[2], x, 3)[3],
                  lambda x: fg.jvp(lambda y: fg.taylor(program, y, 4)[4], (x,), (1.0,))[1]):
        close(fifth(0.7), factors[5])


def scanned(x):
    (c, i), ys = lax.scan(lambda c, a: ((fnp.sin(c[0] * x + a), c[1] + 1), c[0] * a + c[1]), (x * x, 0), fnp.arange(4.0) * x * 0.3)
    return c + fnp.sum(ys) + i


def scanned_late(x):
    return lax.scan(lambda c, _: ((c[1], fnp.cos(c[0]) * x), None), (1.0, 2.0), None, length=5, reverse=True)[0][0]


def looped(x):
    return lax.while_loop(lambda s: s < 10.0, lambda s: s * s + x, x + 1.5)


def counted(x):
    return lax.fori_loop(0, 4, lambda i, c: c * fnp.exp(0.1 * x) + i, x)


def counted_by_a_traced_bound(x):
    return lax.fori_loop(0, fnp.asarray(x * 0 + 3).astype(int), lambda i, c: fnp.tanh(c) * x + i, 1.0)


def chosen(x):
    return lax.switch(fnp.asarray(x * 3).astype(int), [lambda y: y, lambda y: fnp.exp(y) * x, fnp.sin], x * 2)


def chosen_by_each(x):
    return fnp.sum(fg.vmap(lambda y: lax.cond(y > x, lambda y: fnp.sin(y * x), lambda y: y * y * x, y))(fnp.array([0.2, 0.9]) * x * x))


def looped_by_each(x):
    return fnp.sum(fg.vmap(lambda y: lax.while_loop(lambda s: s < 3.0, lambda s: s * (1.3 + x), y))(fnp.array([0.2, 0.9]) + x))


def solved(x):
    def solve(_, b):
        return fnp.stack([b[0] * (2 + x) - b[1] * x, b[1] * (2 + x) - b[0] * x]) / ((2 + x) ** 2 - x * x)

    b = fnp.stack([fnp.sin(x), x * x])
    return lax.custom_linear_solve(lambda v: v * (2 + x) + fnp.roll(v, 1) * x, b, solve, solve)[0]


def rooted(x):
    def newton(f, z):
        return lax.fori_loop(0, 30, lambda i, z: z - f(z) / (3 * z * z + 1), z)

    return lax.custom_root(lambda z: z ** 3 + z - fnp.sin(x), 0.5, newton, lambda g, y: y / g(1.0))


def mapped_axis(x):
    return fnp.sum(fg.vmap(lambda y: lax.pmax(fnp.sin(y * x), "i") * lax.psum(y * x, "i"), axis_name="i")(fnp.array([0.2, 0.9])))


def two_rules(x):
    f = fg.custom_jvp(lambda a, b: a * fnp.sin(b))
    f.defjvps(lambda t, out, a, b: t * fnp.sin(b), lambda t, out, a, b: t * a * fnp.cos(b))
    g = fg.custom_vjp(lambda d: d["a"] * fnp.sin(d["b"]))
    g.defvjp(lambda d: (g(d), d), lambda d, ct: ({"a": ct * fnp.sin(d["b"]), "b": ct * d["a"] * fnp.cos(d["b"])},))
    return lax.scan(lambda c, _: (g({"a": c, "b": x}), None), f(x * x, fnp.exp(x)), None, length=2)[0]


def derivatives_of_loops(x):
    return fg.jvp(lambda y: looped(y * x), (1.0,), (1.0,))[1] + fg.linearize(looped, x)[1](1.0) + fg.grad(fg.checkpoint(scanned))(x)


FORWARD_ONLY = [looped, counted_by_a_traced_bound, looped_by_each, derivatives_of_loops]
CONTROL = [*FORWARD_ONLY, scanned, scanned_late, counted, chosen, chosen_by_each, solved, rooted, mapped_axis, two_rules]


@pytest.mark.parametrize("program", CONTROL, ids=lambda f: f.__name__)
def test_control_flow(program):
    expected = nested(program, 0.4, ORDER)
    close(fg.taylor(program, 0.4, ORDER), expected)
    close(fg.jit(lambda x: fg.taylor(fg.jit(program), x, ORDER))(0.4), expected)
    close([y[1] for y in fg.vmap(lambda x: fg.taylor(program, x, ORDER))(fnp.array([0.3, 0.4]))], expected)
    close(fg.taylor(lambda x: fg.taylor(program, x, 2)[2], 0.4, 2)[2], expected[4])
    if program not in FORWARD_ONLY:
        close(fg.grad(lambda x: fg.taylor(program, x, 3)[3])(0.4), expected[4])


# ---------------------------------------------------------------- kinks, singular points, dtypes

POINTS = {
    "cube": lambda x: x ** 3, "power 0": lambda x: x ** 0, "power 2.0": lambda x: x ** 2.0, "root": fnp.sqrt, "cube root": fnp.cbrt,
    "root of a half": lambda x: x ** 0.5, "exponential": lambda x: 2.0 ** x, "base 0": lambda x: fnp.power(0.0, x), "modulus": fnp.abs,
    "tie": lambda x: fnp.maximum(x, 2 * x), "relu": fg.nn.relu, "clip": lambda x: fnp.clip(x, -1, 1), "sign": fnp.sign,
    "rest": lambda x: x % 0.3, "hypot": lambda x: fnp.hypot(x, x), "sinc": fnp.sinc, "inside": lambda x: fnp.where(x > 0, fnp.sqrt(x), 0.0),
    "product": lambda x: fnp.prod(fnp.stack([x, x, x + 1])), "softplus": fg.nn.softplus, "softmax": lambda x: fg.nn.softmax(
        fnp.stack([x, 2 * x, x * x])), "logistic": fg.nn.sigmoid, "quotient": lambda x: fnp.sin(x) / x, "arcsine": fnp.arcsin,
    "logarithm": fnp.log, "x log x": lambda x: x * fnp.log(x), "inverse root": lax.rsqrt,
}


@pytest.mark.parametrize("name", POINTS)
def test_kinks_and_singular_points_agree_with_forward_mode(name):
    for x in (0.0, -0.7, 0.6, 1.0, 30.0):
        x = fnp.asarray(x)
        for found, y in zip(fg.taylor(POINTS[name], x, ORDER), nested(POINTS[name], x, ORDER), strict=True):
            np.testing.assert_allclose(found, y, rtol=1e-9, atol=1e-13, err_msg=f"at {x}")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64", "complex128"])
def test_the_dtype_stays(dtype):
    x = fnp.asarray(0.8).astype(dtype)
    for f in (fnp.sin, fnp.tanh, lambda x: x / (1 + x), lambda x: x ** 3 * 2, fnp.sqrt, lambda x: fnp.exp(x) ** 2.5, fnp.log1p,
              fnp.square, lambda x: x ** -3, lax.rsqrt):
        wide = fg.taylor(f, 0.8, 3)
        for found, expected in zip(fg.taylor(f, x, 3), wide, strict=True):
            assert str(found.dtype) == dtype
            np.testing.assert_allclose(np.asarray(found).astype(complex), expected, rtol=0.15 if "16" in dtype else 1e-4)


# ---------------------------------------------------------------- fg.taylor and jet


def test_trees_directions_and_order_0():
    def f(p):
        return {"y": fnp.sum(p["a"] * p["b"][0]), "n": 3}

    p, d = {"a": np.array([1.0, 2.0]), "b": [2.0]}, {"a": np.array([1.0, 0.0]), "b": [5.0]}
    values = fg.tree.map(np.asarray, fg.taylor(f, p, 3, d))
    assert [float(v["y"]) for v in values] == [6.0, 17.0, 10.0, 0.0]
    assert values[0]["n"] == 3 and values[1]["n"].dtype == fg.dtypes.float0
    assert [float(v) for v in fg.taylor(fnp.sin, 0.0, 0)] == [0.0]
    np.testing.assert_allclose(fg.taylor(fnp.sin, np.array([0.0, 1.0]), 2)[2], -np.sin([0.0, 1.0]))
    assert [float(v) for v in fg.taylor(lambda x: 3.0, 1.0, 2)] == [3.0, 0.0, 0.0]


@pytest.mark.parametrize("scaled", [True, False])
def test_jet_maps_curves_to_curves(scaled):
    """sin(z(t)) for z(t) = (0.5 + t)**3, by Faa di Bruno's formula."""
    z = [0.125, 0.75, 3.0, 6.0]
    s, c = np.sin(z[0]), np.cos(z[0])
    derivatives = [s, c * z[1], -s * z[1] ** 2 + c * z[2], -c * z[1] ** 3 - 3 * s * z[1] * z[2] + c * z[3]]
    factor = [1, 1, 1, 1] if scaled else [1, 1, 2, 6]
    y, terms = jet(lambda x: {"y": fnp.sin(x["z"])}, ({"z": z[0]},), ([{"z": d / n} for d, n in zip(z[1:], factor[1:])],),
                   factorial_scaled=scaled)
    close([y["y"], *terms["y"]], [np.asarray(d / n) for d, n in zip(derivatives, factor)])
    assert jet(fnp.sin, (0.0,), ([],))[1] == []
    product, (first, second) = jet(fnp.multiply, (2.0, 3.0), ([1.0, 0.0], [0.0, 4.0]))
    assert (float(product), float(first), float(second)) == (6.0, 3.0, 8.0)
    first, second = fg.jit(fg.vmap(lambda x, v: jet(fnp.sin, (x,), ([v, 0.0],))[1]))(np.ones(2), np.array([1.0, 2.0]))
    np.testing.assert_allclose(second, -np.sin(1.0) * np.array([1.0, 4.0]))


WRONG = {
    "integer": (lambda: fg.taylor(lambda x: x * x, 3, 2), TypeError, r"x is int64\[\](.|\n)*3\.0 for 3"),
    "order": (lambda: fg.taylor(fnp.sin, 1.0, -1), ValueError, "order must be an integer that is not negative"),
    "no order": (lambda: fg.taylor(fnp.sin, 1.0, 2.0), ValueError, "order must be an integer"),
    "direction": (lambda: fg.taylor(fnp.sin, np.ones(2), 2, np.ones(3)), TypeError, r"taylor: the direction(.|\n)*float64\[3\](.|\n)*float64\[2\]"),
    "direction's tree": (lambda: fg.taylor(lambda x: x["a"], {"a": 1.0}, 2, 1.0), ValueError, "another structure"),
    "no rule": (lambda: fg.taylor(lambda x: sp.polygamma(x, 1.0), 2.0, 1), fg.errors.MissingRuleError,
                "the operation polygamma has no rule"),
    "lengths": (lambda: jet(fnp.add, (1.0, 2.0), ([1.0], [1.0, 2.0])), ValueError, r"series of lengths \[1, 2\]"),
    "count": (lambda: jet(fnp.add, (1.0, 2.0), ([1.0],)), ValueError, "2 primals"),
    "entry": (lambda: jet(fnp.sin, (1.0,), ([1.0, np.ones(2)],)), TypeError, r"entry 1(.|\n)*float64\[2\]"),
    "function": (lambda: fg.taylor(3, 1.0, 2), TypeError, "taylor"),
    "result": (lambda: fg.taylor(lambda x: "no", 1.0, 2), TypeError, "returned something that is not an array"),
    "condition": (lambda: fg.jit(lambda x: fg.taylor(lambda y: y if y > 0 else -y, x, 2))(1.0), fg.errors.TracerBoolConversionError, "Python condition"),
    "number": (lambda: fg.taylor(lambda x: x * float(x), 1.0, 2), fg.errors.ConcretizationTypeError, r"taylor: float\(\) was asked"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_programs_are_explained(case):
    run, error, text = WRONG[case]
    with pytest.raises(error, match=text):
        run()
    assert [float(d) for d in fg.taylor(lambda x: x ** 3, 2.0, 2)] == [8.0, 12.0, 12.0]


def test_a_python_condition_sees_the_value():
    assert [float(d) for d in fg.taylor(lambda x: x * x if x > 0 else -x, 3.0, 2)] == [9.0, 6.0, 2.0]


def test_a_traced_value_does_not_outlive_its_scope():
    kept = []
    fg.taylor(lambda x: (kept.append(x), x)[1], 1.0, 2)
    with pytest.raises(fg.errors.UnexpectedTracerError, match="traced by taylor"):
        kept[0] + 1.0
