"""Values, types, jaxprs: what an Array is to the rest of Python, and what the checker refuses."""
from __future__ import annotations

import copy
import operator

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import dtypes
from funcgrad.core.check import check_jaxpr
from funcgrad.core.pretty import letters
from funcgrad.core.types import shaped_array
from funcgrad.errors import JaxprTypeError


def test_abstract_values_are_interned():
    a = shaped_array((3, 4), np.dtype("float32"))
    assert a is shaped_array((3, 4), np.dtype("float32")) and str(a) == "float32[3,4]" and a.short() == "f32[3,4]"
    assert a != shaped_array((3, 4), np.dtype("float64")) and a.size == 12 and a.ndim == 2
    assert not shaped_array((), np.dtype("bool"), True).weak_type


def test_nothing_is_silently_narrowed_and_integers_do_not_widen_floats():
    assert (fnp.ones(2, "float32") + np.ones(2, np.int64)).dtype == np.float32
    assert (fnp.ones(2, "float32") + 1.5).dtype == np.float32
    assert (fnp.ones(2, "float32") + np.float64(1.5)).dtype == np.float64
    assert fnp.asarray([1.5]).dtype == np.float64 and fnp.asarray([1]).dtype == np.int64
    assert fnp.asarray(np.ones(2, np.float64)).dtype == np.float64


def test_an_array_is_immutable_and_independent():
    source = np.arange(3.0)
    x = fnp.asarray(source)
    source[0] = 7.0
    assert float(x[0]) == 0.0
    view = np.asarray(x)
    assert not view.flags.writeable and np.shares_memory(view, np.asarray(x))
    y = fnp.reshape(source, (3, 1))
    source[1] = 9.0
    assert float(y[1, 0]) == 1.0
    with pytest.raises(TypeError, match="immutable"):
        x[0] = 1.0
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)


def test_python_protocols():
    x = fnp.array([1.0, 2.5])
    assert repr(x) == "Array([1. , 2.5], dtype=float64)" and str(x) == "[1.  2.5]"
    assert repr(fnp.sin(0.0)) == "Array(0., dtype=float64, weak_type=True)"
    assert f"{x[1]:.2f}" == "2.50" and [float(v) for v in x] == [1.0, 2.5] and len(x) == 2
    assert copy.deepcopy(x) is x and float(copy.copy(x)[1]) == 2.5
    assert [1, 2, 3][fnp.array(1)] == 2 and int(fnp.array(3)) == 3 and complex(fnp.array(1j)) == 1j and bool(fnp.array(True))
    with pytest.raises(TypeError, match="len"):
        len(fnp.array(1.0))
    with pytest.raises(TypeError, match="iteration over a 0-d array"):
        list(fnp.array(1.0))
    assert isinstance(x, fg.Array) and fg.jit(lambda v: v * isinstance(v, fg.Array))(2.0) == 2.0
    assert x.nbytes == 16 and x.itemsize == 8 and x.size == 2 and x.ndim == 1
    np.testing.assert_array_equal(np.from_dlpack(x), [1.0, 2.5])


OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow, divmod,
             operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]


@pytest.mark.parametrize("op", OPERATORS, ids=lambda f: f.__name__)
def test_operators_equal_numpys(op):
    a, b = np.array([5.0, -7.5, 2.0]), np.array([2.0, 2.0, -3.0])
    for x, y in [(fnp.asarray(a), fnp.asarray(b)), (fnp.asarray(a), b), (a, fnp.asarray(b)), (fnp.asarray(a), 2.0), (2.0, fnp.asarray(b))]:
        expected = op(np.asarray(x), np.asarray(y)) if op is not operator.pow else np.power(np.abs(np.asarray(x)), np.asarray(y))
        found = op(x, y) if op is not operator.pow else op(abs(x), y)
        for f, e in zip(found if isinstance(found, tuple) else (found,), expected if isinstance(expected, tuple) else (expected,), strict=True):
            assert isinstance(f, fg.Array)
            np.testing.assert_allclose(f, e)
    z = fnp.asarray(a)
    z += 1.0
    np.testing.assert_array_equal(z, a + 1.0)


def test_integer_and_bool_operators_equal_numpys():
    a, b = np.array([5, -7, 2]), np.array([2, 3, 1])
    for op in (operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift, operator.floordiv, operator.mod):
        np.testing.assert_array_equal(op(fnp.asarray(a), b), op(a, b))
        np.testing.assert_array_equal(op(fnp.asarray(a), 2), op(a, 2))
        np.testing.assert_array_equal(op(5, fnp.asarray(b)), op(5, b))
    np.testing.assert_array_equal(~fnp.asarray(a), ~a)
    np.testing.assert_array_equal(-fnp.asarray(a), -a)
    assert np.asarray(~fnp.array([True, False])).tolist() == [False, True]
    np.testing.assert_array_equal(fnp.asarray(np.uint8([200])) >> 3, np.uint8([200]) >> 3)
    with pytest.raises(TypeError):
        fnp.ones(2) + "x"


def test_operands_of_other_classes_may_answer():
    class Mine:
        def __radd__(self, other):
            return "mine"

    assert fnp.ones(2) + Mine() == "mine"


@pytest.mark.parametrize("values", [np.array([np.inf, -np.inf, np.nan, -0.0, 0.0, 5e-324])])
def test_special_values_are_numpys(values):
    x = fnp.asarray(values)
    with np.errstate(all="ignore"):
        for f in (np.exp, np.sqrt, np.tanh, np.abs, np.sign, np.floor, np.cos, np.log1p):
            np.testing.assert_array_equal(getattr(fnp, f.__name__ if f is not np.abs else "abs")(x), f(values))
        np.testing.assert_array_equal(1 / x, 1 / values)
        np.testing.assert_array_equal(np.signbit(np.asarray(-x)), np.signbit(-values))
        np.testing.assert_array_equal(fnp.maximum(x, 0.0), np.maximum(values, 0.0))
    assert int(fnp.asarray(np.int8(127)) + np.int8(1)) == -128


def test_variables_are_named_in_order():
    assert [letters(i) for i in (0, 25, 26, 27, 26 * 26)] == ["a", "z", "ba", "bb", "baa"]


def test_the_checker_refuses_programs_that_are_not_well_formed():
    good = fg.make_jaxpr(lambda x: fnp.sin(x) * 2.0)(np.ones(3))
    check_jaxpr(good)
    with pytest.raises(JaxprTypeError, match="uses a variable of type .* not bound"):
        check_jaxpr(good.replace(equations=good.equations[::-1]))
    with pytest.raises(JaxprTypeError, match="bound a second time"):
        check_jaxpr(good.replace(equations=(*good.equations, good.equations[0])))
    with pytest.raises(JaxprTypeError, match="returns a variable"):
        check_jaxpr(good.replace(equations=good.equations[:1]))
    other = fg.make_jaxpr(lambda x: fnp.sin(x))(np.ones(4))
    wrong = good.equations[0].__class__(good.equations[0].primitive, good.equations[0].inputs, other.equations[0].outs, {})
    with pytest.raises(JaxprTypeError, match=r"gives .*float64\[3\].* but its variables are .*float64\[4\]"):
        check_jaxpr(good.replace(equations=(wrong,), outs=other.outs))


def test_params_must_be_hashable():
    from funcgrad.ops.structural import transpose_p

    with pytest.raises(TypeError, match="unhashable"):
        fg.make_jaxpr(lambda x: transpose_p.bind(x, permutation=[0])[0])(np.ones(3))


def test_dtype_helpers():
    assert dtypes.join((np.dtype("int64"), True), (np.dtype("int8"), False)) == (np.dtype("int8"), False)
    assert dtypes.as_dtype("bfloat16") == dtypes.bfloat16 and dtypes.is_inexact(dtypes.bfloat16)
    assert dtypes.finfo("bfloat16").bits == 16 and dtypes.iinfo(np.int8).max == 127
    with pytest.raises(TypeError, match="not supported"):
        dtypes.as_dtype("datetime64[s]")
