"""The compiler computes what the interpreter computes: operations, layouts, sizes, dtypes, whole programs."""
from __future__ import annotations

import itertools

import numpy as np
import pytest
from comparing import (
    BF16,
    BOOL,
    COMPLEX,
    FLOATS,
    INTEGERS,
    assert_same,
    compare,
    compiled,
    interpreted,
    program,
    special_values,
)
from exact_programs import Drawn
from hypothesis import given
from operations import OPERATIONS, Operation
from test_composition import DERIVATIVES, PROGRAMS
from test_random_programs import directions, profile, programs

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.array import DeviceArray
from funcgrad.ops import elementwise as e
from funcgrad.ops import special as sp
from funcgrad.ops.structural import convert_element_type

# ---------------------------------------------------------------- elementwise operations, element by element

FLOAT_FUNCTIONS = dict(
    neg=e.neg, abs=e.abs, sign=e.sign, exp=e.exp, exp2=e.exp2, expm1=e.expm1, log=e.log, log2=e.log2, log1p=e.log1p,
    sqrt=e.sqrt, rsqrt=e.rsqrt, cbrt=e.cbrt, square=e.square, reciprocal=e.reciprocal, logistic=e.logistic, sin=e.sin,
    cos=e.cos, tan=e.tan, asin=e.asin, acos=e.acos, atan=e.atan, sinh=e.sinh, cosh=e.cosh, tanh=e.tanh, asinh=e.asinh,
    acosh=e.acosh, atanh=e.atanh, floor=e.floor, ceil=e.ceil, trunc=e.trunc, round=e.round_to_even, is_finite=e.is_finite,
    cube=lambda x: e.integer_pow(x, 3), seventh=lambda x: e.integer_pow(x, 7), zeroth=lambda x: e.integer_pow(x, 0))
SPECIAL_FUNCTIONS = dict(erf=sp.erf, erfc=sp.erfc, erf_inv=sp.erf_inv, lgamma=sp.lgamma, digamma=sp.digamma)
COMPLEX_FUNCTIONS = dict(
    neg=e.neg, abs=e.abs, exp=e.exp, log=e.log, sqrt=e.sqrt, square=e.square, sin=e.sin, cos=e.cos, tanh=e.tanh, real=e.real,
    imag=e.imag, conj=e.conj, is_finite=e.is_finite, cube=lambda x: e.integer_pow(x, 3))
INTEGER_FUNCTIONS = dict(
    neg=e.neg, abs=e.abs, sign=e.sign, square=e.square, invert=e.bitwise_not, popcount=e.population_count, clz=e.clz,
    cube=lambda x: e.integer_pow(x, 3), zeroth=lambda x: e.integer_pow(x, 0))
COMPARISONS = dict(eq=e.eq, ne=e.ne, lt=e.lt, le=e.le, gt=e.gt, ge=e.ge)
BITWISE = {"and": e.bitwise_and, "or": e.bitwise_or, "xor": e.bitwise_xor}
ARITHMETIC = dict(add=e.add, sub=e.sub, mul=e.mul, div=e.div)
DIVISIONS = dict(rem=e.rem, remainder=e.remainder, floor_divide=e.floor_divide)
EXTREMA = dict(maximum=e.maximum, minimum=e.minimum)
"""Which of 0.0 and -0.0 is the larger one is not defined."""
ONE = [(d, f) for kinds, f in ((FLOATS, FLOAT_FUNCTIONS), (INTEGERS, INTEGER_FUNCTIONS), ([BOOL], {"not": e.bitwise_not}))
       for d in kinds]
TWO = [(d, f) for kinds, f in (
    (FLOATS, {**ARITHMETIC, **DIVISIONS, **COMPARISONS, "pow": e.power, "atan2": e.atan2, "hypot": e.hypot}),
    (INTEGERS, {**ARITHMETIC, **DIVISIONS, **COMPARISONS, **BITWISE, "gcd": fnp.gcd, "shift_left": e.shift_left,
                "shift_right": e.shift_right_arithmetic, "logical": e.shift_right_logical}),
    ([BOOL], {**COMPARISONS, **BITWISE, "add": e.add, "mul": e.mul})) for d in kinds]
NAMED = {"ids": lambda x: x.name if isinstance(x, np.dtype) else ""}


def every(functions):
    """All functions of the same arguments, as one program."""
    return lambda *args: [f(*args) for f in functions.values()]


def pairs(dtype, count=6):
    """All pairs of special values."""
    return [x.ravel() for x in np.meshgrid(special_values(dtype, count), special_values(dtype, count, 1))]


@pytest.mark.parametrize("dtype, functions", ONE, **NAMED)
def test_functions_of_one_argument_at_special_values(dtype, functions):
    names = [n for n in functions if (dtype, n) != (BF16, "sign")]  # the interpreter's sign(-0) of bfloat16 is 0
    compare(every({n: functions[n] for n in names}), special_values(dtype))


@pytest.mark.parametrize("dtype, functions", TWO, **NAMED)
def test_functions_of_two_arguments_at_special_values(dtype, functions):
    compare(every(functions), *pairs(dtype))
    compare(every(EXTREMA), *pairs(dtype), zeros=False)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_special_functions_at_special_values(dtype):
    """Compiled they are right to a few units; SciPy's are not where they are small, or where x is subnormal."""
    x = special_values(dtype)
    size = np.abs(x.astype(float))
    compare(every(SPECIAL_FUNCTIONS), x[(size < 1e3) & ((size == 0) | (size > 1e-37))], ulp=512, scale=1e-3, zeros=False)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_nextafter(dtype):
    compare(e.nextafter, *pairs(dtype), ulp=0)


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_complex_functions(dtype):
    generator = np.random.default_rng(0)
    z, w = (generator.normal(size=(2, 60)) + 1j * generator.normal(size=(2, 60))).astype(dtype)
    compare(every(COMPLEX_FUNCTIONS), z, ulp=8, scale=0.1)
    compare(every({**ARITHMETIC, "eq": e.eq, "ne": e.ne, "pow": e.power}), z, w, ulp=8, scale=0.1)
    exact = {n: COMPLEX_FUNCTIONS[n] for n in ("neg", "real", "imag", "conj", "is_finite")}
    compare(every(exact), special_values(dtype), ulp=0)
    compare(every({"add": e.add, "sub": e.sub, "eq": e.eq, "ne": e.ne}), *pairs(dtype), ulp=0)


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_complex_functions_at_special_values(dtype):
    """The signs of zeros and infinities that the C standard leaves open are those of NumPy's C library, or others."""
    x = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, np.inf, -np.inf, np.nan, 1e-300, 30.0, -30.0, 720.0, -720.0, 1e10])
    with np.errstate(over="ignore", under="ignore"):
        z = np.empty((x.size, x.size), dtype)
        z.real, z.imag = x[:, None], x
    functions = every({name: getattr(fnp, name, getattr(lax, name, None)) for name in (
        "exp", "exp2", "expm1", "log", "log2", "log1p", "sqrt", "sinh", "cosh", "tanh", "sin", "cos", "tan")})
    compare(functions, z, ulp=16, zeros=False)
    assert fg.jit(functions).lower(z).report()["host_steps"] == []


@pytest.mark.parametrize("dtype", [BOOL, *INTEGERS, *FLOATS, *COMPLEX], ids=str)
def test_conversions(dtype):
    """Numbers out of range are left out: what they become depends on the processor."""
    values = special_values(dtype)
    if dtype.kind not in "biu":
        values = values[np.isfinite(values) & (abs(values.astype(complex)) < 100)]
    for targets in ([BOOL, *FLOATS, *COMPLEX], INTEGERS):
        if targets is INTEGERS:
            values = values[(values.real >= 0)] if dtype.kind not in "bu" else values
        compare(lambda x, targets=targets: [convert_element_type(x, t) for t in targets], values, ulp=0)


@pytest.mark.parametrize("narrow", [np.dtype(np.float16), BF16], ids=str)
def test_a_conversion_to_a_narrow_float_rounds_inside_a_kernel(narrow):
    x = np.linspace(-3, 3, 50, dtype=np.float32)
    compare(lambda x: x.astype(narrow).astype(np.float32) * 2, x, ulp=0)
    compare(lambda x: x.astype(narrow) == fnp.asarray(x)[::-1].astype(narrow), x, ulp=0)


# ---------------------------------------------------------------- every operation of the table


def arrays(operation: Operation, dtype=np.float64):
    return [np.asarray(x).astype(dtype) if np.asarray(x).dtype == np.float64 else x for x in operation.args]


def with_derivatives(operation: Operation, args):
    """The value, a jvp and a vjp as one program of the arguments."""
    where = [i for i, x in enumerate(args) if np.asarray(x).dtype.kind in "fc"]

    def f(*xs):
        def of(*chosen):
            full = list(xs)
            for i, x in zip(where, chosen, strict=True):
                full[i] = x
            return operation.function(*full)

        chosen = [fnp.asarray(xs[i]) for i in where]
        results = [operation.function(*xs)]
        if operation.order and "fwd" in operation.modes:
            results.append(fg.jvp(of, chosen, [fnp.cos(x) for x in chosen])[1])
        if operation.order and "rev" in operation.modes:
            outs, pull = fg.vjp(of, *chosen)
            results.append(pull(fg.tree.map(lambda y: fnp.sin(y) if y.dtype.kind in "fc" else np.zeros(y.shape, fg.float0), outs)))
        return results

    return f


@pytest.mark.parametrize("operation", OPERATIONS, ids=str)
def test_every_operation_with_its_derivatives_and_batched(operation):
    args = arrays(operation)
    compare(with_derivatives(operation, args), *args, ulp=64, scale=1, zeros=False)
    at = operation.batched[0] if operation.batched is not None else 0
    axes = tuple(-1 if i == at else None for i in range(len(args)))
    batch = [np.stack([np.asarray(x), np.asarray(x), np.asarray(x)[..., ::-1] if np.ndim(x) else np.asarray(x)], -1)
             if a is not None else x for x, a in zip(args, axes, strict=True)]
    compare(fg.vmap(operation.function, axes), *batch, ulp=16, scale=1, zeros=False)


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.float32], ids=str)
def test_every_operation_in_float32(operation):
    compare(operation.function, *arrays(operation, np.float32), ulp=16, scale=1, zeros=False)


# ---------------------------------------------------------------- layouts, sizes, dtypes

LAYOUTS = {
    "row-major": lambda x: x, "column-major": lambda x: np.asfortranarray(x), "transposed": lambda x: x.T.copy().T,
    "every other column": lambda x: np.repeat(x, 2, 1)[:, ::2], "every other row": lambda x: np.repeat(x, 2, 0)[::2],
    "backwards": lambda x: x[::-1, ::-1].copy()[::-1, ::-1], "one row repeated": lambda x: np.broadcast_to(x[:1], x.shape),
    "one column repeated": lambda x: np.broadcast_to(x[:, :1], x.shape),
    "one element repeated": lambda x: np.broadcast_to(x[1, 1], x.shape),
    "unaligned": lambda x: unaligned(x), "read-only": lambda x: frozen(x),
    "a subclass": lambda x: np.ma.masked_array(x, np.zeros(x.shape, bool))}


def unaligned(x):
    room = np.zeros(x.nbytes + 1, np.uint8)
    view = np.frombuffer(room.data, x.dtype, x.size, 1).reshape(x.shape) if False else room[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def representative(x, y):
    """Maps, reductions over each axis and all, rows, movement, contractions: the kinds of kernels there are."""
    centred = x - fnp.mean(x, axis=1, keepdims=True)
    rows = fnp.exp(centred - fnp.max(centred, axis=1, keepdims=True))
    return (x * y + 1, fnp.sum(x), fnp.sum(x * y, axis=0), fnp.sum(fnp.sin(x), axis=1), rows / fnp.sum(rows, axis=1, keepdims=True),
            fnp.transpose(x) * fnp.transpose(y), x[::-1, 1:] - y[:, :-1], x @ fnp.transpose(y), fnp.concatenate([x, y], 1) * 2,
            fnp.max(x, axis=0), fnp.reshape(x, (-1,))[::2], fnp.cumsum(x, axis=0))


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: DeviceArray(np.asarray(x))], ids=["ndarray", "Array"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_inputs(layout, wrap):
    x = np.random.default_rng(0).normal(size=(6, 10))
    compare(representative, wrap(LAYOUTS[layout](x)), wrap(LAYOUTS[layout](x * 0.5 + 1)), ulp=8, scale=1)
    compare(representative, x, wrap(LAYOUTS[layout](x.astype(np.float32).astype(np.float64))), ulp=8, scale=1)


WIDTHS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 63, 65, 4095, 4096, 4097, 65537)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "int32", "complex64"])
def test_sizes_around_the_widths_of_vectors_and_chunks(dtype):
    generator = np.random.default_rng(0)

    def f(x, y):
        z = x * y
        return z + x, fnp.sum(z), fnp.prod(y), fnp.sum(z[::-1] - x)

    for n in WIDTHS:
        x = fnp.asarray(generator.integers(-9, 9, n)).astype(dtype)
        compare(f, x, fnp.where(fnp.arange(n) % 3, fnp.ones_like(x), -fnp.ones_like(x)), ulp=8, scale=1, zeros=False)


@pytest.mark.parametrize("shape", [*itertools.product((1, 3, 16, 17, 300), (1, 2, 17, 130)), (1, 5000), (5000, 1), (3000, 4), (4, 3000),
                                   (129, 257)], ids=str)
def test_rows_and_columns_of_every_length(shape):
    x = np.random.default_rng(0).uniform(0.5, 1.5, shape)
    compare(lambda x: (fg.nn.softmax(x, axis=1), fnp.sum(x, axis=1), fnp.max(x, axis=1)), x, ulp=32, scale=0.1)
    compare(lambda x: (fnp.sum(x, axis=0), fnp.sum(x * x, axis=0), fnp.sum(x), fnp.min(x, axis=0)), x, ulp=64, scale=1)
    compare(lambda x: (x - fnp.mean(x, axis=0)) / (1 + fnp.std(x, axis=0)), x, ulp=64, scale=0.1)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
def test_empty_arrays(shape):
    compare(lambda x: (x + 1, fnp.sum(x), fnp.sum(x, 0), fnp.sum(x, -1), fnp.prod(x, 0), fnp.any(x > 0, 0), fnp.all(x > 0, -1),
                       fnp.cumsum(x, 0), fnp.transpose(x), fnp.concatenate([x, x], -1), fnp.reshape(x, (-1, 7)),
                       x - fnp.sum(x, -1, keepdims=True), fnp.max(x, axis=0, initial=-1.0)), np.zeros(shape))


def test_contractions_over_nothing():
    for a, b in (((3, 0), (0, 4)), ((0, 3), (3, 4)), ((2, 3, 0), (2, 0, 4)), ((0, 3, 5), (0, 5, 4))):
        compare(fnp.matmul, np.ones(a), np.ones(b))


@pytest.mark.parametrize("dtype", [BOOL, *INTEGERS, *FLOATS, *COMPLEX], ids=str)
def test_reductions_of_every_dtype(dtype):
    values = special_values(dtype)
    if dtype.kind not in "biu":
        values = values[np.isfinite(values) & (abs(values.astype(complex)) < 100)]
    x = np.resize(values, (7, 11))
    # Integers of all widths have the same loops, so of most of them one is made.
    for axis in (0, 1, None) if dtype not in INTEGERS or dtype.name in ("int8", "uint64") else (INTEGERS.index(dtype) % 2,):
        compare(lambda x, axis=axis: (fnp.sum(x, axis), fnp.prod(x, axis), fnp.any(x, axis), fnp.all(x, axis)), x, ulp=32, scale=1,
                zeros=False)
        if dtype.kind != "c":
            specials = np.resize(special_values(dtype), (7, 11))
            compare(lambda x, axis=axis: (fnp.max(x, axis), fnp.min(x, axis), fnp.argmax(x, axis), fnp.argmin(x, axis)), specials,
                    ulp=0, zeros=False)


@pytest.mark.parametrize("value", [2.0, 3, True, 1 + 2j, np.float32(2), np.float64(2), np.array(2.0), np.int8(3), np.ones(1)], ids=repr)
def test_scalars_keep_their_type_and_weakness(value):
    compare(lambda x: (x, x * 2, x + 1.0, fnp.reshape(x, (1,)), fnp.reshape(x, ()), fnp.broadcast_to(x, (2, 3)), fnp.sum(x)), value)


def test_results_that_are_inputs_constants_literals_views_or_the_same():
    x = np.arange(12.0).reshape(3, 4)
    compare(lambda x: (x, x, x.T, x[::-1], x[:, 1:3], fnp.reshape(x, (2, 6)), fnp.reshape(x, (12,)), x[1], 1.0, 2), x)
    compare(lambda x: (lambda y: (y, y, fnp.reshape(y, (4, 3)), y.T, y[1:], fnp.reshape(y, (12,)), fnp.expand_dims(y, 1)))(x + 1), x)
    compare(lambda x: (lambda y: (fnp.reshape(y, (4, 3)), y))(x * 2), x)
    constant = fnp.asarray(np.arange(6.0))
    compare(lambda x: (constant, fnp.reshape(constant, (2, 3)), constant[::-1], constant + 1, x), x)
    compare(lambda x: (), x)
    compare(lambda: fnp.arange(5) * 2)


def test_a_matrix_meets_its_own_transpose():
    """One kernel has one order of axes: a value that is needed in two orders goes through memory."""
    def between(x):
        v = x + 1
        t = fnp.transpose(v)
        return v * t + t * 2, t - fnp.sin(v)

    def again(x):
        v = x * x - 3
        return fnp.remainder(fnp.transpose(v) + fnp.maximum(v, 1.0), 7)

    def batched(x):
        v = x * x - 3
        return fnp.transpose(v, (0, 2, 1)) + fnp.maximum(v, 1.0) * fnp.transpose(v, (2, 1, 0))

    def rows(x):
        v = x * 2
        return fnp.sum(v, axis=1) + fnp.sum(fnp.transpose(v), axis=1), fnp.sum(v * fnp.transpose(v), axis=0) - v[0]

    x = np.random.default_rng(0).normal(size=(9, 9, 9))
    for f in (between, again, rows):
        compare(f, x[0], scale=1)
        compare(lambda v, f=f: fg.grad(lambda w: sum(fnp.sum(y) for y in fg.tree.leaves(f(w))))(v), x[0], ulp=16, scale=1)
    compare(batched, x, scale=1)


def test_results_do_not_share_memory_with_what_comes_later():
    f = fg.jit(lambda x: (x + 1, fnp.sum(x * x, axis=0)))
    inputs = [np.full((300, 300), float(i)) for i in range(4)]
    results = [f(x) for x in inputs]
    for x, (plus, total) in zip(inputs, results, strict=True):
        np.testing.assert_array_equal(plus, x + 1)
        np.testing.assert_array_equal(total, (x * x).sum(0))


# ---------------------------------------------------------------- whole programs


@pytest.mark.parametrize("nested", PROGRAMS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("outer", DERIVATIVES)
def test_nested_programs(nested, outer):
    xs = np.array([-0.3, 0.7, 1.9])
    compare(lambda x: [fg.vmap(DERIVATIVES[outer](DERIVATIVES[inner](nested)))(x) for inner in DERIVATIVES], xs, ulp=64, scale=1)


def test_loops_and_conditions():
    x = np.linspace(-1, 1, 12).reshape(4, 3)

    def scans(x):
        first = lax.scan(lambda c, row: (fnp.sin(c) + row, (c * row, fnp.sum(c))), x[0], x)
        again = lax.scan(lambda c, row: (c * 0.5 + row, c), x[0], x, reverse=True)
        nested = lax.scan(lambda c, row: (lax.fori_loop(0, 3, lambda i, s: s * 0.5 + row[0] * i, c), c), 0.0, x)
        return first, again, nested

    def chosen(x):
        one = lax.cond(fnp.sum(x) > 0, fnp.sin, fnp.cos, x)
        other = lax.switch(fnp.argmax(x[:, 0]), [fnp.sin, fnp.cos, lambda v: v, lambda v: v * 0], x)
        return one, other, lax.while_loop(lambda s: fnp.sum(s) < 9, lambda s: s + 1, x)

    for f in (scans, chosen):
        compare(f, x, ulp=8, scale=1)
        compare(f, -x, ulp=8, scale=1)
        compare(fg.vmap(f), np.stack([x, -x, x + 1]), ulp=8, scale=1)
    compare(lambda x: fg.grad(lambda v: sum(fnp.sum(y) for y in fg.tree.leaves(scans(v))))(x), x, ulp=64, scale=1)


@pytest.mark.parametrize("seed", range(48))
def test_exact_random_programs(seed):
    drawn = Drawn(seed)
    with np.errstate(all="ignore"):
        expected = drawn.run(np, drawn.inputs)
    try:
        found = compare(lambda *xs: drawn.run(fnp, xs), *drawn.inputs, ulp=0, zeros=False)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{drawn}") from None
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y, str(drawn))


@given(programs())
@profile(25)
def test_random_programs(drawn):
    args = drawn.inputs
    tangents = directions(drawn)
    jaxpr, inputs = program(lambda a, t: (drawn(*a), fg.jvp(drawn, a, t)[1], fg.grad(drawn.loss, tuple(range(len(a))))(*a)),
                            args, tangents)
    assert_same(compiled(jaxpr, inputs), interpreted(jaxpr, inputs), ulp=3000, scale=1, zeros=False)
