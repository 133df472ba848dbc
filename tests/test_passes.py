"""The compiler's passes: each on its own, then all together on many programs, whose results stay bit for bit."""
from __future__ import annotations

import gc
import sys
import weakref

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from operations import OPERATIONS
from test_composition import PROGRAMS, forward
from test_primitives import PRIMITIVES
from test_random_programs import profile, programs

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax, passes
from funcgrad.core.check import check_jaxpr
from funcgrad.core.jaxpr import Equation, Jaxpr, Literal, Var, count_equations, subjaxprs
from funcgrad.core.primitive import Kind
from funcgrad.core.stage import interpret as execute
from funcgrad.errors import JaxprTypeError
from funcgrad.ops import elementwise as e
from funcgrad.ops import structural as s
from funcgrad.passes.algebra import ALGEBRA, algebra, holds
from funcgrad.passes.contractions import CONTRACTIONS, contractions
from funcgrad.passes.dead_code import dead_code
from funcgrad.passes.folding import fold
from funcgrad.passes.indexing import INDEXING, indexing
from funcgrad.passes.inline import inline
from funcgrad.passes.movement import MOVEMENT
from funcgrad.passes.subexpressions import common_subexpressions


@pytest.fixture(autouse=True)
def checked(monkeypatch):
    """The type checker runs after every pass, and programs inside programs are interpreted, not compiled."""
    monkeypatch.setattr("funcgrad.compiler.run", execute)
    with passes.checking():
        yield


def text(change, f, *args):
    """The program of f after a pass and the removal of dead code."""
    program = dead_code(change(fg.make_jaxpr(f)(*args)))
    check_jaxpr(program)
    return str(program)


def golden(expected):
    lines = expected.strip("\n").split("\n")
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(line[margin:] for line in lines)


def names(jaxpr):
    """All primitives of a program, as often as they occur, those in its loops too."""
    found = []
    for equation in jaxpr.equations:
        found.append(equation.primitive.name)
        for inner in subjaxprs(equation.params):
            found += names(inner)
    return found


def values(jaxpr, args):
    """The results for arguments that are made to fit the program's inputs."""
    with np.errstate(all="ignore"):
        return [np.asarray(x) for x in execute(jaxpr, [fnp.asarray(x) for x in fg.tree.leaves(args)])]


def assert_same_bits(found, expected):
    for x, y in zip(found, expected, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        if y.dtype.kind == "c":
            assert_same_bits([x.real, x.imag], [y.real, y.imag])
            continue
        if y.dtype.kind in "fV":
            nan = np.isnan(y)
            assert (np.isnan(x) == nan).all()
            x, y = np.where(nan, 0, x).astype(y.dtype), np.where(nan, 0, y).astype(y.dtype)
        assert x.tobytes() == y.tobytes(), (x, y)


def assert_same_program(f, *args, change=passes.run):
    before = fg.make_jaxpr(f)(*args)
    after = change(before)
    check_jaxpr(after)
    assert after.in_vars == before.in_vars and after.out_avals == before.out_avals
    assert_same_bits(values(after, args), values(before, args))
    return after


# ---------------------------------------------------------------- inlining


def test_calls_are_inlined():
    f = fg.jit(lambda x: fnp.sin(x) * 2.0)
    assert text(inline, lambda x: f(f(x)), 1.0) == golden("""
        { lambda ; a:f64[]. let
            b:f64[] = sin a
            c:f64[] = mul b 2.0:f64[]
            d:f64[] = sin c
            e:f64[] = mul d 2.0:f64[]
          in (e,) }""")


def test_an_object_is_one_constant():
    table = fnp.arange(100.0)
    f = fg.jit(lambda x: x + table)
    program = inline(fg.make_jaxpr(lambda x: f(f(x)) * table)(table))
    assert len(program.consts) == 1
    assert program.consts[0] is table


def test_a_program_without_calls_stays_the_same_object():
    program = fg.make_jaxpr(lambda x: fnp.sin(x))(1.0)
    assert inline(program) is program
    assert passes.run(program) is program


@pytest.mark.parametrize("primitive", [p for p in PRIMITIVES if p.kind is Kind.CONTROL], ids=str)
def test_a_primitive_with_programs_is_a_call_or_a_loop(primitive):
    assert (primitive.inline is None) != (primitive.prune is None)


def everything_inlined(jaxpr):
    return not any(e.primitive.inline for e in jaxpr.equations) and all(
        everything_inlined(inner) for e in jaxpr.equations for inner in subjaxprs(e.params))


def test_the_linear_part_of_a_custom_rule_is_inlined():
    f = fg.custom_vjp(lambda x: 2.0 * x)
    f.defvjp(lambda x: (2.0 * x, x), lambda x, ct: (ct * x,))
    jaxpr = fg.make_jaxpr(lambda x, t: fg.linearize(fg.jit(lambda y: f(fnp.sin(y))), x)[1](t))(0.5, 1.0)
    assert "custom_vjp_linear" in names(jaxpr)
    program = passes.run(jaxpr)
    assert everything_inlined(program)
    assert_same_bits(values(program, (0.5, 1.0)), values(jaxpr, (0.5, 1.0)))


def test_a_linear_solve_is_its_solver():
    def solve(a, b):
        return lax.custom_linear_solve(lambda x: a * x, b, lambda f, b: b / a, symmetric=True)

    assert names(assert_same_program(solve, 2.0, 6.0)) == ["div"]
    assert everything_inlined(assert_same_program(fg.grad(solve, (0, 1)), 2.0, 6.0))


# ---------------------------------------------------------------- dead code


def test_what_nothing_needs_is_dropped():
    def f(x):
        fnp.cos(x) + fnp.arange(50.0)
        return fnp.sin(x)

    assert text(lambda jaxpr: jaxpr, f, 1.0) == "{ lambda ; a:f64[]. let b:f64[] = sin a in (b,) }"


def test_a_carry_and_an_output_of_a_scan_that_nothing_needs():
    def f(x, unused, w):
        def body(c, y):
            a, b, d = c
            return (a * y, b + fnp.sin(d) * w, d + 1.0), (a, fnp.exp(b))

        (a, _, d), (ys, _) = lax.scan(body, (x, x, unused), fnp.arange(3.0))
        return a, ys

    one = np.ones(())
    assert text(lambda jaxpr: jaxpr, f, one, one, one) == golden("""
        { lambda a:f64[3]; b:f64[] c:f64[] d:f64[]. let
            e:f64[] f:f64[3] = scan[
              num_consts=0
              num_carry=1
              length=3
              reverse=False
              unroll=1
              jaxpr={ lambda ; a:f64[] b:f64[]. let c:f64[] = mul a b in (c, a) }
            ] b a
          in (e, f) }""")
    assert_same_program(f, 1.0, 2.0, 3.0)


def test_a_carry_is_needed_if_a_later_step_needs_it():
    def f(x):
        def body(c, _):
            a, b, d = c
            return (a + b, b * d, d + 1.0), None

        return lax.scan(body, (x, x, x), None, length=4)[0][0]

    program = assert_same_program(f, 1.5)
    assert program.equations[0].params["num_carry"] == 3


def test_state_of_a_while_loop_that_nothing_needs():
    def f(x, y, w):
        def body(state):
            i, a, b = state
            return i + 1, a * 2.0, fnp.sin(b) * w

        return lax.while_loop(lambda state: state[0] < 5, body, (0, x, y))[1]

    program = assert_same_program(f, 1.0, 2.0, 3.0)
    loop = program.equations[0]
    assert len(loop.outs) == 2 and "sin" not in names(program)


def test_results_of_a_cond_that_nothing_needs():
    def f(p, x, y):
        return lax.cond(p, lambda x, y: (fnp.sin(x), y), lambda x, y: (x, fnp.cos(y)), x, y)[0]

    program = assert_same_program(f, True, 1.0, 2.0)
    assert sorted(names(program)) == ["cond", "convert_element_type", "sin"]
    assert len(program.equations[-1].inputs) == 2


def test_a_loop_in_a_loop_is_pruned():
    def f(x):
        def inner(c, _):
            return (c[0] + 1.0, fnp.tanh(c[1])), None

        def outer(c, _):
            return lax.scan(inner, c, None, length=2)[0], fnp.exp(c[1])

        return lax.scan(outer, (x, x), None, length=3)[0][0]

    assert names(assert_same_program(f, 1.0)) == ["scan", "scan", "add"]


# ---------------------------------------------------------------- common subexpressions


def test_equal_equations_are_one():
    def f(x, y):
        return fnp.sin(x + y) * fnp.sin(y + x) + (x * 2.0 - y) * (x * 2.0 - y)

    assert text(common_subexpressions, f, 1.0, 2.0) == golden("""
        { lambda ; a:f64[] b:f64[]. let
            c:f64[] = add a b
            d:f64[] = sin c
            e:f64[] = mul d d
            f:f64[] = mul a 2.0:f64[]
            g:f64[] = sub f b
            h:f64[] = mul g g
            i:f64[] = add e h
          in (i,) }""")


def two_fills(x, indices):
    row = lax.GatherDimensionNumbers((), (0,), (0,))
    return [lax.gather(x, indices, row, (1,), mode="fill", fill_value=v) for v in (0.0, -0.0)]


@pytest.mark.parametrize("f", [
    lambda x: (x * 0.0, x * -0.0), lambda x: (x - x * 2.0, x * 2.0 - x), lambda x: (x + 1, x + 1.0),
    lambda x: (fg.random.normal(fg.random.key(0), (3,)), fg.random.normal(fg.random.key(1), (3,)) * x),
    lambda x: two_fills(x, fnp.where(x[:2, None] > 9, 1, 9))],
    ids=["zeros", "order", "dtypes", "keys", "fill values"])
def test_what_is_not_equal_stays(f):
    assert_same_program(f, np.array([1.0, -0.0, np.nan]), change=lambda j: common_subexpressions(inline(j)))


def test_equal_loops_are_one():
    def body(c, x):
        return c * x, fnp.sin(c)

    def f(x, ys):
        return lax.scan(body, x, ys), lax.scan(body, x, ys)

    program = passes.run(fg.make_jaxpr(lambda x, ys: [fg.jit(lambda: lax.scan(body, x, ys))() for _ in range(1)])(1.0, np.ones(3)))
    assert names(program).count("scan") == 1
    assert_same_program(f, 1.5, np.ones(3))


def test_what_a_checkpoint_computes_anew_is_not_merged():
    def f(x):
        return fnp.sum(fnp.exp(fnp.sin(x)))

    x = np.ones(3)
    assert names(assert_same_program(fg.value_and_grad(f), x)).count("sin") == 1
    assert names(assert_same_program(fg.value_and_grad(fg.checkpoint(f)), x)).count("sin") == 2
    assert names(assert_same_program(fg.value_and_grad(fg.jit(fg.checkpoint(fg.jit(f)))), x)).count("sin") == 2
    twice = fg.make_jaxpr(fg.value_and_grad(fg.checkpoint(lambda x: f(x) * fnp.sum(fnp.sin(x)))))(x)
    assert names(passes.run(twice)).count("sin") == 2  # within a scope they are shared


def test_a_checkpoint_in_a_checkpoint_keeps_its_own_scope():
    inner = fg.checkpoint(fnp.sin)
    program = passes.run(fg.make_jaxpr(fg.value_and_grad(fg.checkpoint(lambda x: fnp.exp(inner(x)))))(1.0))
    scopes = {equation.scope for equation in program.equations}
    assert len(scopes) >= 3


# ---------------------------------------------------------------- folding


def test_constants_are_folded():
    assert text(fold, lambda x: x * fnp.sqrt(fnp.asarray(4.0)) + fnp.ones(3) * 0.5, np.ones(3)) == golden("""
        { lambda ; a:f64[3]. let b:f64[3] = mul a 2.0:f64[]; c:f64[3] = add b 0.5:f64[] in (c,) }"""
        ) .replace("; c", "\n    c").replace("let b", "let\n    b").replace(" in", "\n  in")


def test_small_arrays_are_folded():
    program = fold(fg.make_jaxpr(fg.jit(lambda x: x + fnp.cumsum(fnp.arange(4.0)) * 2.0))(np.ones(4)))
    program = dead_code(fold(inline(program)))
    assert names(program) == ["add"]
    np.testing.assert_array_equal(np.asarray(program.consts[0]), [0, 2, 6, 12])


def test_large_arrays_are_not_folded():
    program = passes.run(fg.make_jaxpr(lambda x: x + lax.iota("float64", 50) * 2.0)(np.ones(50)))
    assert names(program) == ["iota", "mul", "add"]


@pytest.mark.parametrize("f", [
    lambda x: x + fnp.exp(fnp.asarray(1000.0)), lambda x: x + fnp.log(fnp.asarray(-1.0)),
    lambda x: x + fnp.asarray(1.0) / fnp.asarray(0.0)])
def test_what_numpy_would_warn_of_is_not_folded(f):
    program = assert_same_program(fg.jit(f), np.ones(2))
    assert names(program)[1:] == ["broadcast_in_dim", "add"]


def test_an_index_out_of_bounds_raises_when_the_program_runs():
    table = fnp.arange(3.0)
    program = passes.run(fg.make_jaxpr(lambda x: x + fg.jit(lambda i: table[i])(fnp.asarray(7)))(1.0))
    with pytest.raises(IndexError, match="out of bounds"):
        values(program, (1.0,))


UNIFORM = [row for row in OPERATIONS if not any(isinstance(x, str) for x in row.args)]


@pytest.mark.parametrize("row", UNIFORM, ids=lambda row: row.name)
def test_a_repeated_scalar_may_stand_as_a_literal(row):
    """In every operation of the table, for each argument on its own and for all together."""
    arrays = [i for i, x in enumerate(row.args) if isinstance(x, np.ndarray) and x.shape and x.size]
    for chosen in [[i] for i in arrays] + [arrays]:
        def f(*args, chosen=chosen):
            return row.function(*[fnp.full(x.shape, row.args[i].flat[0], row.args[i].dtype) if i in chosen else x
                                  for i, x in enumerate(args)])

        try:
            before = fg.make_jaxpr(f)(*row.args)
        except (TypeError, ValueError, IndexError):  # it needs values
            continue
        after = dead_code(fold(inline(before)))
        check_jaxpr(after)
        found, expected = values(after, row.args), values(before, row.args)
        if row.name == "mul complex":  # NumPy fuses the products of arrays, not those of scalars
            np.testing.assert_allclose(found[0], expected[0], rtol=1e-15)
        else:
            assert_same_bits(found, expected)


# ---------------------------------------------------------------- algebra, row by row

INF = np.inf
SPECIAL = np.array([np.nan, INF, -INF, 0.0, -0.0, 1.5, -2.25, 5e-324, -1e-310, 1.7e308, 3.0])
INTEGERS = np.array([0, 1, -1, 7, -8, 2**31 - 1, -2**31])
FLOATS = ("float64", "float32", "float16", "bfloat16")


def special(dtype):
    """Values at which an identity that is not exact shows it."""
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype)) if dtype == "bfloat16" else np.dtype(dtype)
    with np.errstate(all="ignore"):
        if dtype.kind == "b":
            return np.array([True, False])
        if dtype.kind in "iu":
            return INTEGERS.astype(dtype)
        if dtype.kind == "c":
            a, b = np.meshgrid(SPECIAL, SPECIAL)
            z = np.empty(a.size, dtype)
            z.real, z.imag = a.ravel(), b.ravel()
            return z
        tiny = ml_dtypes.finfo(dtype).smallest_subnormal
        return np.concatenate([SPECIAL.astype(dtype), np.array([tiny, -tiny], dtype)])


def lit(x, value):
    return x.dtype.type(value)


def p(primitive, *args, **params):
    return primitive.bind(*args, **params)[0]


BITS = ("bool", "int32", "uint8")
# row: (function of two arrays of special values in all pairs, dtypes)
CASES = {
    "add_zero": (lambda x, y: (p(e.add_p, x, lit(x, -0.0)), p(e.add_p, lit(x, -0.0), y), p(e.add_p, x, lit(x, 0))),
                 (*FLOATS, *BITS)),
    "sub_zero": (lambda x, y: (p(e.sub_p, x, lit(x, 0)), p(e.sub_p, lit(x, -0.0), y), p(e.sub_p, lit(x, 0), x),
                               p(e.sub_p, x, lit(x, -0.0))), (*FLOATS, "int32", "uint8")),
    "add_negative": (lambda x, y: (x + -y, -x + y), (*FLOATS, "int32", "complex128")),
    "sub_negative": (lambda x, y: (x - -y, -x - -y), (*FLOATS, "int32", "complex64")),
    "negative_negative": (lambda x, y: e.neg(-x), (*FLOATS, "int32", "complex128")),
    "negative_product": (lambda x, y: (-(x * lit(x, 0.3)), -p(e.mul_p, lit(x, -0.0), x)), FLOATS),
    "mul_one": (lambda x, y: (p(e.mul_p, x, lit(x, 1)), p(e.mul_p, lit(x, 1), x)), (*FLOATS, *BITS, "complex128")),
    "mul_minus_one": (lambda x, y: (p(e.mul_p, x, lit(x, -1)), p(e.mul_p, lit(x, -1), x)), (*FLOATS, "int32")),
    "mul_zero": (lambda x, y: p(e.mul_p, x, lit(x, 0)), BITS),
    "signs_cancel": (lambda x, y: (-x * -y, -x / -y, -x * lit(x, 0.3), p(e.div_p, -x, lit(x, 0.3)), p(e.div_p, lit(x, 3), -x)),
                     FLOATS),
    "div_by_power_of_two": (lambda x, y: tuple(p(e.div_p, x, lit(x, v)) for v in (2, -4, 0.125, 1, -1, 3, 2.0**14)), FLOATS),
    "small_power": (lambda x, y: tuple(p(e.integer_pow_p, x, y=n) for n in range(-3, 6)), (*FLOATS[:2], "complex128")),
    "sign_is_lost": (lambda x, y: (p(e.square_p, -x), p(e.abs_p, -x), p(e.square_p, p(e.abs_p, x)), p(e.abs_p, p(e.abs_p, x))),
                     (*FLOATS, "int32")),
    "extremum_of_infinity": (lambda x, y: (p(e.max_p, x, lit(x, -INF)), p(e.min_p, lit(x, INF), x), p(e.max_p, x, lit(x, INF))),
                             FLOATS),
    "not_not": (lambda x, y: (~~(x < y), ~p(e.eq_p, x, y), ~p(e.ne_p, x, y), ~(x < y)), FLOATS),
    "bitwise_identity": (lambda x, y: tuple(p(q, *pair) for q in (e.and_p, e.or_p, e.xor_p) for v in (0, ~np.zeros((), x.dtype))
                                            for pair in ((x, lit(x, v)), (lit(x, v), x), (x, x))), BITS),
    "shift_by_zero": (lambda x, y: (p(e.shift_left_p, x, lit(x, 0)), p(e.shift_right_logical_p, x, lit(x, 0)),
                                    p(e.shift_right_arithmetic_p, x, lit(x, 0))), ("int32", "uint8")),
    "select_known": (lambda x, y: (p(s.select_n_p, np.True_, x, y), p(s.select_n_p, np.int32(7), x, y), p(s.select_n_p, x < y, y, y),
                                   p(s.select_n_p, x < y, lit(x, -0.0), lit(x, -0.0)),
                                   p(s.select_n_p, x < y, lit(x, -0.0), lit(x, 0.0))), FLOATS),
    "select_by_not": (lambda x, y: p(s.select_n_p, ~(x < y), x, y), FLOATS),
    "select_bools": (lambda x, y: (p(s.select_n_p, x < y, np.False_, np.True_), p(s.select_n_p, x < y, np.True_, np.False_),
                                   p(s.select_n_p, x < y, np.True_, np.True_)), FLOATS[:1]),
    "identity": (lambda x, y: fg.label(lax.stop_gradient(x), "x"), FLOATS),
    "convert_nothing": (lambda x, y: lax.convert_element_type(x * 2.0, x.dtype, weak_type=True) * y, FLOATS[:1]),
    "convert_converted": (lambda x, y: tuple(lax.convert_element_type(lax.convert_element_type(x, a), b) for a in (
        "float64", "float32", "float16", "bfloat16", "int64", "complex128") for b in (
        "float32", "bfloat16", "float16", "int64", "complex64", "bool")), (*FLOATS, *BITS, "int64")),
    "part_of_complex": (lambda x, y: (fnp.real(lax.complex(x, y)), fnp.imag(lax.complex(x, y)), fnp.imag(lax.complex(x, 1.0)),
                                      fnp.real(fnp.conj(lax.complex(x, y)))), FLOATS[:2]),
    "conj_conj": (lambda x, y: fnp.conj(fnp.conj(x)), ("complex64",)),
    "complex_of_parts": (lambda x, y: lax.complex(fnp.real(x), fnp.imag(x)), ("complex128",)),
}


def counted(table, hits):
    """A table of rules that notes which of them apply."""

    def wrap(rule):
        def wrapped(walk, equation):
            found = rule(walk, equation)
            if found is not None:
                hits.add(rule.__name__)
            return found

        return wrapped

    return {primitive: tuple(map(wrap, rules)) for primitive, rules in table.items()}


def rows(*tables):
    return {rule.__name__ for table in tables for rules in table.values() for rule in rules}


@pytest.fixture
def hits(monkeypatch):
    found: set[str] = set()
    for table in (ALGEBRA, MOVEMENT, CONTRACTIONS, INDEXING):
        for primitive, rules in counted(table, found).items():
            monkeypatch.setitem(table, primitive, rules)
    return found


@pytest.mark.parametrize("name", sorted(rows(ALGEBRA)))
def test_algebra_is_exact(name, hits):
    f, kinds = CASES[name]
    for dtype in kinds:
        x, y = (a.ravel() for a in np.meshgrid(special(dtype), special(dtype)[-13:]))
        assert_same_program(f, x, y, change=algebra)
    assert name in hits


def test_algebra_example():
    assert text(algebra, lambda a, b: (b - -(a * 1.0)) / 2.0, np.ones(3), np.ones(3)) == golden("""
        { lambda ; a:f64[3] b:f64[3]. let
            c:f64[3] = add b a
            d:f64[3] = mul c 0.5:f64[]
          in (d,) }""")


def test_what_is_not_exact_stays():
    def f(x):
        return x + 0.0, x * 0.0, x - x, x / 3.0, x * 1j

    assert len(algebra(fg.make_jaxpr(f)(1.0)).equations) == len(fg.make_jaxpr(f)(1.0).equations)


@pytest.mark.parametrize("wide,narrow,expected", [
    ("float64", "int64", False), ("float64", "int32", True), ("float32", "int16", True), ("float32", "uint16", True),
    ("float16", "int8", True), ("bfloat16", "uint8", True), ("bfloat16", "float16", False), ("float16", "bfloat16", False),
    ("int64", "uint32", True), ("uint64", "int8", False), ("int32", "uint32", False), ("complex64", "float32", True),
    ("complex64", "float64", False), ("float64", "complex64", False), ("int8", "bool", True), ("bool", "int8", False)])
def test_which_dtypes_hold_which(wide, narrow, expected):
    assert holds(fnp.dtype(wide), fnp.dtype(narrow)) is expected


# ---------------------------------------------------------------- index maps

X = np.arange(24.0).reshape(2, 3, 4)
MOVES = {
    "reshape_again": lambda x: x.reshape(6, 4).reshape(4, 6).reshape(2, 3, 4) + p(s.reshape_p, x, new_sizes=(2, 3, 4)),
    "transpose_again": lambda x: (x.transpose(1, 2, 0).transpose(2, 0, 1), x[:1].transpose(1, 0, 2), x.transpose(2, 1, 0).transpose(1, 0, 2)),
    "broadcast_nothing": lambda x: p(s.broadcast_in_dim_p, x, shape=(1, 2, 3, 1, 4), broadcast_dimensions=(1, 2, 4)),
    "broadcast_again": lambda x: (
        lax.broadcast_in_dim(lax.broadcast_in_dim(x, (5, 2, 3, 4), (1, 2, 3)), (5, 2, 2, 3, 4), (0, 1, 3, 4)),
        fnp.broadcast_to(fnp.sum(x, 1, keepdims=True), x.shape), fnp.broadcast_to(fnp.sum(x).reshape(1, 1), (3, 3))),
    "reverse_again": lambda x: (x[::-1, ::-1][::-1], x[:1][::-1], x[::-1][::-1], x[:, ::-1]),
    "slice_again": lambda x: (
        x.reshape(24)[1::2][::3], x.reshape(24)[2:20:3][1:5:2], x[:, 1:, ::2][:, 1:, 1:], x[..., 1::2][..., ::2], x[..., 1:][..., 3:], fnp.concatenate([x, x * 2], 2)[:, :2, 5:8:2],
        fnp.concatenate([x, x * 2], 2)[..., 3:6], lax.pad(x, np.float64(7), [(1, 2, 0)] * 3)[1:3, 2:4, 1:4], x[..., 0:3][..., 2:2],
        lax.pad(x, np.float64(7), [(1, 2, 0)] * 3)[0:2], lax.pad(x, np.float64(7), [(1, -1, 0)] * 3)[1:, 1:, 1:], p(
            s.slice_p, x, start_indices=(0, 0, 0), limit_indices=(2, 3, 4), strides=(1, 1, 1))),
    "concatenate_less": lambda x: (fnp.concatenate([x[:0], x, x[:0]]), fnp.concatenate([x, x[:0], x])),
    "pad_alike": lambda x: (lax.pad(fnp.zeros((2, 2)), np.float64(0), [(1, 1, 0)] * 2) + x[0, 0], lax.pad(fnp.zeros((2, 2)), np.float64(-0.0), [(1, 1, 0)] * 2),
                            p(s.pad_p, x, np.float64(1), padding_config=((0, 0, 0),) * 3)),
    "extremum_of_one": lambda x: (x[:1].max(0), x[:, :1].min(1), x.max(0), -x[:1, :1].max((0, 1))),
}


@pytest.mark.parametrize("name", sorted(rows(MOVEMENT)))
def test_moves(name, hits):
    assert_same_program(MOVES[name], X, change=algebra)
    assert name in hits


def test_moves_example():
    assert text(algebra, lambda a: fnp.broadcast_to(a[:, None].T.T, (3, 4)), np.ones(3)) == golden("""
        { lambda ; a:f64[3]. let
            b:f64[3,4] = broadcast_in_dim[shape=(3, 4) broadcast_dimensions=(0,)] a
          in (b,) }""")


# ---------------------------------------------------------------- contractions

DOTS = {
    "transposed_operand": [
        (lambda a, b: a.T @ b.T, (3, 2), (4, 3)), (lambda a, b: fnp.einsum("bthd,bshd->bhts", a, b), (2, 3, 4, 5), (2, 6, 4, 5)),
        (lambda a, b: lax.dot_general(a.transpose(2, 0, 1), b, (((0,), (0,)), ((), ()))), (2, 3, 4), (4, 5)),
        (lambda a, b: lax.dot_general(a.transpose(2, 1, 0), b, (((0,), (0,)), ((), ()))), (2, 3, 4), (4, 5))],
    "reduced_transpose": [
        (lambda a: (a.T.sum(0), a.T.max(1), a.T.min()), (3, 4)),
        (lambda a: (a.transpose(2, 0, 1).sum(0), a.transpose(2, 1, 0).sum(0), a.transpose(2, 1, 0).max((0, 1))), (2, 3, 4))],
    "transposed_result": [
        (lambda a, b: (a @ b).T, (2, 3), (3, 4)), (lambda a, b: (a @ b).T + fnp.sum(a @ b), (2, 3), (3, 4)),
        (lambda a, b: (a @ b).transpose(0, 2, 1), (5, 2, 3), (5, 3, 4)), (lambda a, b: (a @ b).transpose(1, 2, 0), (5, 2, 3), (5, 3, 4))],
}


@pytest.mark.parametrize("name", sorted(rows(CONTRACTIONS)))
def test_contractions(name, hits):
    for f, *shapes in DOTS[name]:
        args = [np.random.default_rng(0).normal(size=shape) for shape in shapes]
        before = fg.make_jaxpr(f)(*args)
        after = contractions(before)
        check_jaxpr(after)
        for x, y in zip(values(after, args), values(before, args), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-13, atol=1e-13)
    assert name in hits


def test_the_gradient_of_a_layer_has_no_transpose():
    def loss(w, x):
        return fnp.sum(fnp.tanh(x @ w.T))

    assert text(contractions, lambda w, x: (x @ w.T) @ w, np.ones((4, 3)), np.ones((2, 3))) == golden("""
        { lambda ; a:f64[4,3] b:f64[2,3]. let
            c:f64[2,4] = dot_general[dimension_numbers=(((1,), (1,)), ((), ())) preferred_element_type=None] b a
            d:f64[2,3] = dot_general[dimension_numbers=(((1,), (0,)), ((), ())) preferred_element_type=None] c a
          in (d,) }""")
    assert "transpose" not in names(passes.run(fg.make_jaxpr(fg.grad(loss, (0, 1)))(np.ones((4, 3)), np.ones((2, 3)))))


# ---------------------------------------------------------------- indexing

ROWS = np.array([[np.nan, 1.0, -0.0], [INF, -1.0, 2.0]])
INDICES = {
    "fixed_window": lambda x: (lax.dynamic_slice(x, (1, 2), (1, 2)), lax.dynamic_slice(x, (-5, fnp.asarray(-1)), (2, 2)),
                               lax.dynamic_index_in_dim(x, fnp.asarray(-1), 1)),
    "fixed_gather": lambda x: (
        x[fnp.array([0, 1])], x[:, fnp.array([0, 2])], x[fnp.array([1])], x[:, fnp.array([-2, -1])], x[fnp.array([1, 0])],
        x[fnp.array([0, 0])], x[fnp.array([[0], [1]])], x[fnp.array([0]), 1:], x[fnp.array([1]), fnp.array([2])],
        x.at[:, fnp.array([2, 3, 4])].get(mode="clip"), x.at[:, fnp.array([2, 4])].get(mode="fill"),
        x.at[fnp.array([1])].get(mode="clip"), x[None].transpose(1, 2, 0)[:, fnp.array([0, 1])]),
    "fixed_scatter": lambda x: (
        x.at[1].set(3.0), x.at[0, 1].add(-0.0), x.at[:, 1:].set(ROWS[:, 1:] * 2), x.at[-1].add(x[0]), x.at[1].multiply(2.0),
        x.at[5].set(1.0, mode="drop"), x.at[5].add(1.0, mode="clip"), fnp.zeros((2, 3)).at[1].add(ROWS[0])),
    "one_per_row": lambda x: tuple(
        fnp.zeros((2, 3)).at[fnp.arange(2), fnp.array(i) + (x[:, 2] > 9)].add(x[:, 2], mode=mode)
        for i in ([0, 1], [1, -1], [-3, 1]) for mode in (None, "clip", "drop", "promise_in_bounds")
        if mode != "promise_in_bounds" or min(i) >= 0),
    "side_by_side": lambda x: [
        lax.pad(x, np.float64(0), [(0, 0, 0), (low, 4 - low, 0)]) + lax.pad(y, np.float64(0), [(0, 0, 0), (at, 4 - at, 0)])
        + lax.pad(x[:, :1], np.float64(0), [(0, 0, 0), (6, 0, 0)]) for y in (x, -x) for low, at in ((0, 3), (3, 0), (1, 4), (0, 2))],
}


@pytest.mark.parametrize("name", sorted(rows(INDEXING)))
def test_indexing(name, hits):
    assert_same_program(INDICES[name], ROWS, change=lambda jaxpr: indexing(inline(jaxpr)))
    assert name in hits


def cross_entropy(x, labels):
    return -fnp.mean(fg.nn.log_softmax(x)[fnp.arange(len(labels)), labels])


def test_the_gradient_of_a_choice_by_row_is_elementwise():
    assert text(passes.run, fg.grad(lambda x, i: fnp.sum(fg.vmap(lambda r, j: r[j])(x, i))), np.ones((20, 5)), np.zeros(20, int)) \
        == golden("""
        { lambda ; a:f64[20,5] b:i64[20]. let
            c:i64[20,1] = reshape[new_sizes=(20, 1)] b
            d:i64[5] = iota[dtype=int64 shape=(5,) dimension=0]
            e:i64[20] = gather[dimension_numbers=GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,), operand_batching_dims=(), start_indices_batching_dims=()) slice_sizes=(1,) mode=raise fill_value=None unique_indices=False] d c
            f:i64[20,5] = iota[dtype=int64 shape=(20, 5) dimension=1]
            g:i64[20,5] = broadcast_in_dim[shape=(20, 5) broadcast_dimensions=(0,)] e
            h:bool[20,5] = eq f g
            i:f64[20,5] = select_n h 0.0:f64[] 1.0:f64[]
          in (i,) }""")


@pytest.mark.parametrize("labels", [[0, 4, 2], [-1, -5, 0], [1, 1, 1]])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_the_gradient_of_cross_entropy(labels, dtype):
    x, labels = np.random.default_rng(0).normal(size=(3, 5)), np.array(labels).astype(dtype)
    if dtype is np.uint8:
        labels = labels % 5
    for f in (cross_entropy, lambda x, i: fnp.sum(fnp.take_along_axis(x, i[:, None], 1) ** 2),
              lambda x, i: fnp.sum(fg.vmap(lambda r, j: r[j])(x, i) ** 2), lambda x, i: fnp.sum(x.T[i, fnp.arange(3)] ** 2),
              lambda x, i: fnp.sum(fnp.stack([x, x])[fnp.arange(2)[:, None], fnp.arange(3), i] ** 2)):
        assert "scatter_add" not in names(assert_same_program(fg.value_and_grad(f), x, labels))


def test_labels_of_a_narrow_type_do_not_wrap_around():
    x, labels = np.ones((2, 300)), np.array([3, 250], np.uint8)
    for mode in ("promise_in_bounds", "clip", "fill"):
        f = fg.grad(lambda x, i, mode=mode: fnp.sum(x.at[fnp.arange(2), i].get(mode=mode)))
        assert "scatter_add" not in names(assert_same_program(f, x, labels))


def test_an_index_out_of_bounds_still_raises():
    program = passes.run(fg.make_jaxpr(fg.grad(lambda x, i: fnp.sum(x[fnp.arange(3), i])))(np.ones((3, 5)), np.zeros(3, int)))
    assert "scatter_add" not in names(program)
    for bad in (5, -6):
        with pytest.raises(IndexError, match="out of bounds"):
            values(program, (np.ones((3, 5)), np.array([0, bad, 1])))


# ---------------------------------------------------------------- all passes on many programs


@pytest.mark.parametrize("f", PROGRAMS, ids=lambda f: f.__name__)
def test_composed_programs(f):
    for g in (f, fg.grad(f), fg.grad(fg.grad(fg.jit(f))), forward(fg.jit(f)), fg.grad(fg.checkpoint(f)), fg.value_and_grad(fg.checkpoint(f))):
        assert everything_inlined(assert_same_program(g, 0.7))
    assert everything_inlined(assert_same_program(fg.vmap(fg.grad(f)), np.array([np.nan, 0.3, -0.0])))


CONTRACTING = {"dot_general", "correlate_valid"}


def assert_nearly_same_program(f, *args):
    """Contractions may sum in another order; without them all bits are the same."""
    before = fg.make_jaxpr(f)(*args)
    after = passes.run(before)
    assert everything_inlined(after)
    found, expected = values(after, args), values(before, args)
    if not CONTRACTING & set(names(before)):
        assert_same_bits(found, expected)
        return
    for x, y in zip(found, expected, strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        tolerance = 3e-4 if y.dtype.itemsize <= 4 or y.dtype.name == "complex64" else 1e-10
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * (1 + np.abs(y).max(initial=0)))


@given(programs())
@profile(60)
def test_random_programs(program):
    with passes.checking():
        assert_nearly_same_program(program, *program.inputs)
        assert_nearly_same_program(fg.grad(program.loss, tuple(range(len(program.inputs)))), *program.inputs)


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.name)
def test_every_operation(row):
    assert_nearly_same_program(row.function, *row.args)
    floats = [i for i, x in enumerate(row.args) if isinstance(x, (np.ndarray, float)) and np.asarray(x).dtype.kind == "f"]
    if row.order and floats:
        def total(*args):
            return sum(fnp.sum(fnp.real(y)) for y in fg.tree.leaves(row.function(*args)) if fnp.asarray(y).dtype.kind in "fc")

        assert_nearly_same_program(fg.grad(total, floats[0]), *row.args)


def test_trace_shows_every_pass():
    jaxpr = fg.make_jaxpr(fg.grad(lambda x: fnp.sum(fnp.sin(x) * 1.0)))(np.ones(3))
    shown = passes.trace(jaxpr)
    assert [name for name, _ in shown] == [name for name, _ in passes.PASSES]
    assert str(shown[-1][1]) == str(passes.run(jaxpr))


def test_passes_do_nothing_the_second_time():
    jaxpr = fg.make_jaxpr(fg.value_and_grad(cross_entropy))(np.ones((20, 5)), np.zeros(20, int))
    once = passes.run(jaxpr)
    assert str(passes.run(once)) == str(once)


def test_sources_stay():
    def f(x):
        return e.neg(-x) * fnp.sin(x) - 2.0 * x / 2.0

    assert all("test_passes" in str(equation.source) for equation in passes.run(fg.make_jaxpr(fg.jit(f))(1.0)).equations)


def test_weak_types_of_results_stay():
    def f(x, y):
        return e.neg(-x), x * 1.0, lax.convert_element_type(x, "float64"), fg.jit(lambda z: z)(y), 2.0, lax.stop_gradient(x)

    before = fg.make_jaxpr(f)(1.0, np.float64(2.0))
    assert passes.run(before).out_avals == before.out_avals


def test_a_wrong_pass_is_caught(monkeypatch):
    def wrong(jaxpr: Jaxpr) -> Jaxpr:
        return jaxpr.replace(outs=(Literal(np.float32(1)),) * len(jaxpr.outs))

    monkeypatch.setattr(passes, "PASSES", (("wrong", wrong),))
    jaxpr = fg.make_jaxpr(fnp.sin)(1.0)
    with pytest.raises(JaxprTypeError, match="the pass 'wrong' changed the inputs or the types of the results"):
        passes.run(jaxpr)
    with passes.checking(False):
        passes.run(jaxpr)


def test_the_checker_finds_what_a_pass_may_break():
    jaxpr = fg.make_jaxpr(lambda x: fnp.sin(x) * 2.0)(1.0)
    first, second = jaxpr.equations
    for equations, message in (((second, first), "not bound before it"), ((first, first, second), "bound a second time"),
                               ((first, Equation(second.primitive, second.inputs, (Var(fnp.ones(3).aval),), {})), "gives")):
        with pytest.raises(JaxprTypeError, match=message):
            check_jaxpr(jaxpr.replace(equations=equations))


# ---------------------------------------------------------------- cost


def work(change, jaxpr):
    """How many calls of Python functions a pass takes."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event == "call"

    with passes.checking(False):
        sys.setprofile(note)
        try:
            change(jaxpr)
        finally:
            sys.setprofile(None)
    return count


def chain(x, n, body):
    for _ in range(n):
        x = body(x)
    return x


LONG = {
    "plain": lambda n: fg.make_jaxpr(lambda x: chain(x, n, lambda y: fnp.sin(y) * 1.0))(1.0),
    "calls": lambda n: fg.make_jaxpr(lambda x: chain(x, n, fg.jit(lambda y: e.neg(-fnp.sin(y)))))(1.0),
    "moves": lambda n: fg.make_jaxpr(lambda x: chain(x, n, lambda y: y.reshape(6, 1).T.reshape(2, 3)[::-1]))(np.ones((2, 3))),
    "negatives": lambda n: fg.make_jaxpr(lambda x: chain(x, n, lambda y: -y))(1.0),
    "gradient": lambda n: fg.make_jaxpr(fg.grad(lambda x: chain(x, n, lambda y: fnp.sin(y) * y)))(1.0),
    "folding": lambda n: fg.make_jaxpr(fg.jit(lambda x: x + chain(fnp.ones(3), n, lambda y: y * 0.5 + 1.0)))(np.ones(3)),
    "scans": lambda n: fg.make_jaxpr(lambda x: chain(x, n, lambda y: lax.scan(lambda c, _: (c * 1.0, c), y, None, length=3)[0]))(1.0),
}


@pytest.mark.parametrize("name", LONG)
def test_work_is_linear_in_the_number_of_equations(name):
    short, long = (LONG[name](n) for n in (40, 160))
    assert count_equations(long) > 3 * count_equations(short)
    assert work(passes.run, long) < 4.4 * work(passes.run, short)


def test_programs_do_not_hold_themselves():
    def run():
        table = fnp.arange(50.0)
        jaxpr = fg.make_jaxpr(lambda x: lax.scan(lambda c, _: (fnp.sin(c) + table, None), x, None, length=3)[0])(np.ones(50))
        passes.run(jaxpr)
        return weakref.ref(table)

    gc.collect()
    gc.disable()
    try:
        assert run()() is None
    finally:
        gc.enable()
