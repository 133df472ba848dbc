"""fg.check: finds wrong rules, where and in which mode; finds none where all are right; says what it cannot know."""
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from operations import OPERATIONS, Operation, cplx, positive, real
from test_planted_rules import MUTATIONS, ROWS, becomes, cotangents, doubled, partial, planted, tangents, terms

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.audit import numeric
from funcgrad.compiler import expressions
from funcgrad.core.primitive import Partials, Primitive
from funcgrad.ops import contraction, scatter, structural
from funcgrad.ops import elementwise as e

INTERPRETED = ("forward", "reverse", "taylor", "vmap")


def checked(operation: Operation, order: int = 2, modes: tuple[str, ...] = INTERPRETED) -> Any:
    """The audit of a row of the table, in the arguments that may be batched."""
    positions = operation.batched if operation.batched is not None else range(len(operation.args))

    def f(*xs):
        args = list(operation.args)
        for i, x in zip(positions, xs, strict=True):
            args[i] = x
        return operation.function(*args)

    return fg.check(f, *[operation.args[i] for i in positions], order=order, modes=modes)


def verdicts(report: Any, mode: str | None = None) -> set[str]:
    return {row.verdict for row in report.rows if mode is None or row.mode == mode}


# ---------------------------------------------------------------- no false alarm


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_no_false_alarm_in_the_table_of_operations(operation):
    report = checked(operation, min(max(operation.order, 1), 2))
    if operation.name == "stop_gradient":  # the values do depend on what it stops
        assert verdicts(report) == {"ok", "WRONG"}
        return
    allowed = {"ok", "not differentiable (int)"} if operation.order else {"ok", "not differentiable (int)", "no rule"}
    assert verdicts(report) <= allowed, report


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_false_alarm_at_any_scale(scale, dtype):
    x = (real(5) * scale).astype(dtype)

    def f(x):
        y = fnp.sin(x / scale) * x + x * x / scale
        return y - fnp.mean(y), fnp.sum(y / fnp.sqrt(fnp.sum(y * y)))

    fg.check(f, x, modes=INTERPRETED).raise_if_wrong()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "complex64", "complex128"])
def test_other_dtypes(dtype):
    x = (cplx(4) if dtype.startswith("complex") else real(4)).astype(np.dtype(fg.dtypes.as_dtype(dtype)))
    report = fg.check(lambda x: fnp.sum(fnp.tanh(x) * x) + fnp.real(x[0]), x, modes=INTERPRETED)
    assert verdicts(report) == {"ok"}, report


def test_a_steep_function_and_one_that_is_rounding_alone():
    assert verdicts(fg.check(fnp.sin, 1e7, modes=INTERPRETED)) == {"ok"}
    assert verdicts(fg.check(lambda x: fnp.sum(fg.nn.softmax(x)), real(4), modes=INTERPRETED)) == {"ok"}


def test_control_flow_custom_rules_and_compiled_functions():
    def f(params, n, x):
        h, ys = lax.scan(lambda h, t: (fnp.tanh(params["w"] @ h + t), fnp.sum(h)), x[0], x)
        return {"h": lax.cond(n > 0, fnp.sin, fnp.cos, h), "ys": ROWS["custom_vjp"].function(ys, ys), "n": n + 1}

    report = fg.check(fg.jit(f), {"w": real(2, 2)}, 3, real(3, 2), modes=("forward", "reverse", "vmap"))
    assert verdicts(report) == {"ok", "not differentiable (int)"}, report
    assert {row.argument for row in report.rows} == {"params['w']", "n", "x", "result['h']", "result['ys']", "result['n']"}


def test_third_derivatives_compiled_programs_and_the_precise_reference():
    report = fg.check(lambda a, b: fnp.tanh(a @ b) * fnp.exp(b[0]), real(2, 3), real(3), order=3, reference="mpmath")
    assert verdicts(report) == {"ok"} and report.method == "mpmath" and report.order == 3
    assert {"rev-over-rev-over-rev", "taylor 3", "jit", "vmap"} <= {row.mode for row in report.rows}
    assert max(row.error for row in report.rows) < 1e-13


def test_the_precise_reference_gives_way_where_it_cannot_be_had():
    report = fg.check(lambda x: fnp.linalg.eigh(x + x.T)[0], real(3, 3), order=1, modes=["reverse"], reference="mpmath")
    assert verdicts(report) == {"ok"} and "differences" in report.method


# ---------------------------------------------------------------- wrong rules


def one_wrong_element(value: Any) -> Any:
    """Everything right but the sign of one element."""
    signs = np.ones(value.shape)
    signs.flat[-1:] = -1
    return value * signs


SUBTLE: list[tuple[str, Callable, tuple, Primitive, str, Callable, str]] = [
    ("a factor 1 + 1e-3", fnp.sin, (real(3, 4),), e.sin_p, "jvp", partial(0, lambda d: d * 1.001), "forward"),
    ("a factor 1 + 1e-3 in float32", fnp.sin, (real(3, 4).astype("float32"),), e.sin_p, "jvp",
     partial(0, lambda d: d * 1.001), "forward"),
    ("a factor 1 + 1e-5", fnp.exp, (real(3),), e.exp_p, "jvp", partial(0, lambda d: d * (1 + 1e-5)), "reverse"),
    ("one element of many", lambda x: fnp.sum(fnp.sin(x)), (real(40),), e.sin_p, "jvp", partial(0, one_wrong_element), "reverse"),
    ("a term of the second derivative", fnp.tanh, (real(3),), e.tanh_p, "jvp",
     becomes(Partials(lambda y, x: (1 - y) * (1 + structural.stop_gradient(y)))), "rev-over-fwd"),
    ("the mixed second derivative", lambda x, y: x / y, (real(3), positive(3)), e.div_p, "jvp",
     partial(1, structural.stop_gradient), "fwd-over-rev"),
    ("the second Taylor coefficient", fnp.tanh, (real(3),), e.tanh_p, "taylor", terms(doubled), "taylor 2"),
    ("a conjugate in the transpose", lambda z: fnp.real(fnp.conj(z) * z * (1 + 2j)), (cplx(3),), e.conj_p, "transpose",
     becomes(lambda cts, x: cts), "reverse"),
    ("the sign of the imaginary part", fnp.imag, (cplx(3),), e.imag_p, "transpose",
     becomes(lambda cts, x: (e.complex(cts[0].dtype.type(0), cts[0]),)), "transposed"),
    ("a product in the batch alone", lambda a, b: a @ b, (real(2, 2), real(2, 2)), contraction.dot_general_p, "batch",
     lambda right: lambda axis, args, axes, **params: right(axis, (args[0] * 1.001, args[1]), axes, **params), "vmap"),
    ("the kernel alone", fnp.cos, (real(3),), e.cos_p, "code", becomes("sin({0})"), "jit"),
    ("the kernel of the derivative alone", fnp.log, (positive(3),), e.div_p, "code", becomes("{1} / {0}"), "jit"),
    ("a transpose of a transpose", lambda x, i: fnp.sin(x[i]) ** 2, (real(4), np.array([0, 2, 2])), scatter.scatter_add_p,
     "transpose", cotangents(doubled), "rev-over-rev"),
    ("the tangent of a product of matrices", lambda a: a @ a, (real(2, 2),), contraction.dot_general_p, "jvp",
     lambda right: lambda primals, dots, **params: (contraction.dot_general_p.bind(*primals, **params),
                                                    contraction.dot_general_p.bind(dots[0], primals[1], **params)), "forward"),
]
PLANTED = [m for m in MUTATIONS if m.row not in ("linear sub", "linear div", "cond", "pow")][::4][:18]


@pytest.mark.parametrize(("what", "f", "args", "primitive", "slot", "wrong", "mode"), SUBTLE, ids=[s[0] for s in SUBTLE])
def test_a_subtle_mistake_is_found(what, f, args, primitive, slot, wrong, mode):
    modes = ("reverse", "jit") if mode == "jit" else INTERPRETED
    expressions._expression.cache_clear()
    with planted(primitive, slot, wrong(getattr(primitive, slot))):
        report = fg.check(lambda *xs: f(*xs), *args, modes=modes)
    expressions._expression.cache_clear()
    assert not report.ok, report
    assert any(row.mode == mode and row.verdict == "WRONG" for row in report.rows), report


@pytest.mark.parametrize("mutation", PLANTED, ids=str)
def test_a_planted_rule_is_found(mutation):
    with planted(mutation.primitive, mutation.slot, mutation.wrong(getattr(mutation.primitive, mutation.slot))):
        report = checked(ROWS[mutation.row])
    assert not report.ok, report


def test_the_wrong_element_is_named():
    with planted(e.sin_p, "jvp", partial(0, one_wrong_element)(e.sin_p.jvp)):
        report = fg.check(lambda p: fnp.sum(fnp.sin(p["w"]) + p["b"]), {"w": real(10, 10), "b": real(10)}, order=1,
                          modes=["forward", "reverse"])
    wrong = {(row.argument, row.mode, row.where) for row in report.wrong}
    assert wrong == {("p['w']", mode, (9, 9)) for mode in ("forward", "reverse", "transposed")}


# ---------------------------------------------------------------- what is no mistake, and what cannot be known


def test_kinks():
    x = np.array([1.0, -2.0, 0.0])
    for f in (fnp.abs, fg.nn.relu, lambda x: fnp.maximum(x, 0.0), fnp.sqrt, fnp.cbrt, fnp.sign, fnp.floor):
        report = fg.check(f, fnp.abs(x) if f is fnp.sqrt else x, order=1, modes=["forward", "reverse"])
        assert verdicts(report) == {"kink here"}, report
        assert report.ok
    away = fg.check(fnp.abs, np.array([1e-3, -1e-5]), modes=INTERPRETED)
    assert verdicts(away) == {"ok"}, away


def test_a_nan_behind_where_is_found():
    report = fg.check(lambda x: fnp.sum(fnp.where(x > 0, fnp.sqrt(x), 0.0)), np.array([1.0, -1.0, 2.0]), order=1,
                      modes=["forward", "reverse"])
    assert [row.cells()[1:] for row in report.wrong] == [(mode, "nan", "[1]", "WRONG: nan for 0") for mode in ("reverse", "transposed")]


def test_a_mistake_beside_a_kink_is_found():
    with planted(e.sin_p, "jvp", tangents(doubled)(lambda primals, dots: ((fnp.sin(*primals),), (fnp.cos(*primals) * dots[0],)))):
        report = fg.check(lambda x: fnp.sin(fnp.abs(x)), np.array([0.0, 1.0]), order=1, modes=["forward"])
    assert [row.where for row in report.wrong] == [(1,)], report


def test_missing_rules_and_exceptions_are_rows():
    report = fg.check(lambda x: fnp.nextafter(x, 2.0), 1.0, order=1, modes=["forward"])
    assert report.ok and [row.cells()[4] for row in report.rows] == ["no rule: nextafter"]
    report = fg.check(lambda x: lax.while_loop(lambda s: s < 10, lambda s: s * s, x), 2.0, modes=["forward", "reverse"])
    assert {row.mode: row.cells()[4] for row in report.rows} == {
        "forward": "ok", "reverse": "no rule: while_loop", "transposed": "no rule: while_loop", "fwd-over-fwd": "ok",
        "rev-over-fwd": "no rule: while_loop"}

    @fg.custom_jvp
    def f(x):
        return x * x

    f.defjvp(lambda primals, dots: 1 / 0)
    report = fg.check(f, 1.0, order=1, modes=["forward"])
    assert not report.ok and report.rows[0].cells()[4] == "raises: ZeroDivisionError: division by zero"
    report = fg.check(lambda x: x + [][0], 1.0)
    assert not report.ok and report.rows[0].mode == "value" and "IndexError" in report.rows[0].note


def test_python_code_that_needs_values():
    report = fg.check(lambda x: fnp.sin(x) if x > 0 else x, 1.0, order=1, reference="mpmath")
    assert report.ok and {row.mode: row.verdict for row in report.rows} == {
        "forward": "ok", "reverse": "ok", "transposed": "ok", "taylor": "ok", "vmap": "not traceable", "jit": "not traceable"}


def test_integers_have_no_derivative():
    report = fg.check(lambda x, i: fnp.argsort(x)[i], real(3), 1, order=1, modes=["forward"])
    assert [row.cells()[4] for row in report.rows] == [
        "not differentiable (int): the result is no floating point number", "not differentiable (int)"]
    assert fg.check(lambda i: i + 1, 3, modes=["vmap"]).ok


def test_wrong_calls():
    with pytest.raises(ValueError, match="(?s)a mode is unknown.*'backward'.*forward, reverse"):
        fg.check(fnp.sin, 1.0, modes=["backward"])
    with pytest.raises(ValueError, match="the reference is unknown"):
        fg.check(fnp.sin, 1.0, reference="sympy")
    with pytest.raises(ValueError, match="the order must be a positive integer"):
        fg.check(fnp.sin, 1.0, order=0)
    with pytest.raises(TypeError, match="(?s)argument of sin is not an array.*'a'"):
        fg.check(fnp.sin, "a")


# ---------------------------------------------------------------- the report

GOLDEN = """\
check of loss to order 1, with complex step and differences
  argument     derivative  error    at      verdict
  params['b']  forward     0.0e+00  [1]     kink here
  params['w']  forward     5.0e-01  [0, 1]  WRONG: 2 for 4
  params['b']  reverse     0.0e+00  [1]     kink here
  params['w']  reverse     5.0e-01  [0, 1]  WRONG: 2 for 4
  params['b']  transposed  0.0e+00  [1]     kink here
  params['w']  transposed  5.0e-01  [0, 1]  WRONG: 2 for 4
  params['b']  taylor      0.0e+00  [1]     kink here
  params['w']  taylor      5.0e-01  [0, 1]  WRONG: 2 for 4
  result       vmap        0.0e+00          ok
  params['b']  vmap        0.0e+00          ok
  params['w']  vmap        0.0e+00          ok
  n                                         not differentiable (int)"""


def wrong_square():
    """x * x, whose derivative by the element at [0, 1] is half of what it should be."""
    @fg.custom_jvp
    def square(x):
        return x * x

    half = np.ones((2, 2))
    half[0, 1] = 0.5
    square.defjvp(lambda primals, dots: (square(*primals), 2 * half * primals[0] * dots[0]))
    return square


def test_the_report_as_text_and_html():
    square = wrong_square()

    def loss(params, n):
        return fnp.sum(square(params["w"])) + n * fnp.sum(fnp.abs(params["b"]))

    report = fg.check(loss, {"w": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([1.0, 0.0])}, 3, order=1, modes=INTERPRETED)
    assert re.sub(r"\d\.\de-1\d", "0.0e+00", str(report)) == GOLDEN
    html = report._repr_html_()
    assert html.count("<tr>") == len(report.rows) + 1 and "params[&#x27;w&#x27;]" in html and "#c62828" in html
    with pytest.raises(AssertionError, match=r"(?s)derivatives of loss are wrong.*WRONG: 2 for 4"):
        report.raise_if_wrong()
    right = fg.check(fnp.sin, 1.0, order=1, modes=["forward"])
    assert right.raise_if_wrong() is right


def test_the_key_chooses_the_directions():
    x = real(3)
    errors = [[row.error for row in fg.check(fnp.exp, x, modes=["forward"], key=key).rows] for key in (0, 0, fg.random.key(1))]
    assert errors[0] == errors[1] != errors[2]


# ---------------------------------------------------------------- differences


@np.errstate(all="ignore")
def test_differences_are_as_good_as_they_say():
    for g, slope in ((np.exp, 1.0), (lambda t: np.sin(1e5 * t), 1e5), (lambda t: 1 / (1e-3 + t), -1e6), (lambda t: 3.0, 0.0)):
        found = numeric.differences(lambda t, g=g: float(g(t)), 1.0)
        assert abs(found.value - slope) <= 10 * found.error + 1e-12 * abs(slope) and found.error <= 1e-7 * (abs(slope) + 1)
    logarithm = numeric.derivative(lambda t: np.log(0.1 + t), 1.0)  # a first step leaves the domain
    assert logarithm.method == "complex step" and abs(logarithm.value - 10) < 1e-13
    assert numeric.derivative(lambda t: np.real(t) ** 2 + np.real(t), 1.0).method == "differences"
    assert [numeric.kink(g, 1.0) for g in (abs, np.cbrt, np.exp, lambda t: abs(t - 1e-4), np.floor)] == [
        "jump", "singular", "", "", "singular"]
