"""Wrong programs and what they are told: where, what was found, what was expected, what to write.

Every message is matched, and after each the library works as before.
"""
from __future__ import annotations

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.trace import EVAL, current_trace

X = np.arange(3.0)
LEAKED = []


def leak():
    fg.grad(lambda x: (LEAKED.append(x), x * x)[1])(1.0)
    return LEAKED.pop() + 1.0


def leak_from_jit():
    fg.jit(lambda x: (LEAKED.append(x), x * x)[1])(1.0)
    return fnp.sin(LEAKED.pop())


def donated():
    x = fnp.ones(3)
    fg.jit(lambda v: v * 2, donate_argnums=0)(x)
    return x + 1


def write():
    x = fnp.zeros(3)
    x[0] = 1.0


def two_sizes(params, batch, scale):
    return params["w"]


def step(params, x):
    return params["dense"]["W"] * x


CASES = {
    "grad of a vector": (lambda: fg.grad(lambda x: x * 2)(X), TypeError,
                         r"grad: the result of <lambda> must be a scalar, called at test_errors.py:\d+ in <lambda>\n"
                         r"  found:    float64\[3\]\n  expected: an array of shape \(\)\n  instead:  fnp.sum"),
    "grad of an integer": (lambda: fg.grad(lambda x: x * 2.0)(3), TypeError, r"x is int64\[\](.|\n)*3.0 instead of 3"),
    "grad of a string": (lambda: fg.grad(lambda name: 1.0)("abc"), TypeError, r"grad: an argument(.|\n)*name is 'abc' of type str"),
    "grad of a deep string": (lambda: fg.grad(step)({"dense": {"W": "no"}}, 1.0), TypeError, r"params\['dense'\]\['W'\] is 'no'"),
    "grad of a result that is text": (lambda: fg.grad(lambda x: "text")(1.0), TypeError, "returned something that is not an array"),
    "grad of None": (lambda: fg.grad(lambda x: None)(1.0), TypeError, "the result of <lambda> must be one scalar"),
    "grad of a tree": (lambda: fg.grad(lambda x: (x, x))(1.0), TypeError, "must be one scalar(.|\n)*has_aux=True"),
    "grad of an int result": (lambda: fg.grad(lambda x: 1)(1.0), TypeError, r"has the wrong dtype(.|\n)*int64\[\]"),
    "grad of complex": (lambda: fg.grad(lambda x: x * 1j)(1.0), TypeError, r"complex128\[\](.|\n)*holomorphic=True"),
    "grad of a call": (lambda: fg.grad(fnp.sin(1.0)), TypeError, "grad: expected a function"),
    "argnums": (lambda: fg.grad(lambda x: x, argnums=2)(1.0), ValueError, "argnums=2 names no positional argument"),
    "aux": (lambda: fg.grad(lambda x: x, has_aux=True)(1.0), TypeError, "has_aux=True needs a function that returns a pair"),
    "vmap sizes": (lambda: fg.vmap(two_sizes)({"w": np.ones((4, 2))}, np.ones((4, 3)), np.ones(3)), ValueError,
                   r"different sizes(.|\n)*scale has size 3 along axis 0; most have size 4 \(params\['w'\], batch\)"),
    "vmap in_axes tree": (lambda: fg.vmap(two_sizes, in_axes=({"v": 0}, 0, 0))({"w": X}, X, X), ValueError, "in_axes of two_sizes is no prefix"),
    "vmap in_axes length": (lambda: fg.vmap(fnp.sin, in_axes=(0, 0))(X), ValueError, "in_axes of length 2 for 1 positional"),
    "vmap axis": (lambda: fg.vmap(lambda x: x, in_axes=1)(X), ValueError, r"axis 1 for x, which has shape \(3,\)"),
    "vmap scalar": (lambda: fg.vmap(lambda x: x)(1.0), ValueError, r"has shape \(\)"),
    "vmap nothing": (lambda: fg.vmap(lambda x: x, in_axes=None)(X), ValueError, "no argument of <lambda> is mapped"),
    "vmap out_axes": (lambda: fg.vmap(lambda x: x, out_axes=None)(X), ValueError, "depends on the example, but out_axes says None"),
    "vmap out of range": (lambda: fg.vmap(lambda x: x, out_axes=3)(X), ValueError, "out_axes of <lambda> is out of range"),
    "vmap of float axis": (lambda: fg.vmap(lambda x: x, in_axes=(0.5,))(X), TypeError, "must hold ints and None"),
    "axis name": (lambda: lax.psum(X, "i"), NameError, "axis name"),
    "bool": (lambda: fg.jit(lambda x: 1 if x > 0 else 2)(1.0), fg.errors.TracerBoolConversionError, r"as a Python condition(.|\n)*bool\[\], traced by jit(.|\n)*lax.cond"),
    "int": (lambda: fg.jit(lambda x: int(x))(1.0), fg.errors.TracerIntegerConversionError, "where Python needs an integer"),
    "range": (lambda: fg.jit(lambda n: sum(range(n)))(3), fg.errors.TracerIntegerConversionError, "static argument"),
    "float": (lambda: fg.jit(lambda x: float(x))(1.0), fg.errors.ConcretizationTypeError, r"float\(\) was asked of a traced value"),
    "float under grad": (lambda: fg.grad(lambda x: x * float(x))(1.0), fg.errors.ConcretizationTypeError, "would drop the derivative"),
    "asarray": (lambda: fg.jit(lambda x: np.asarray(x))(X), fg.errors.TracerArrayConversionError, "code that needs a NumPy array"),
    "index a list": (lambda: fg.jit(lambda i: [1, 2, 3][i])(1), fg.errors.TracerIntegerConversionError, "index with arrays"),
    "mask": (lambda: fg.jit(lambda x: x[x > 0])(X), (fg.errors.NonConcreteBooleanIndexError, IndexError), "fnp.where"),
    "leak from grad": (leak, fg.errors.UnexpectedTracerError, r"traced by grad was used outside of it(.|\n)*called at test_errors.py"),
    "leak from jit": (leak_from_jit, fg.errors.UnexpectedTracerError, r"traced by jit was used outside of it"),
    "static": (lambda: fg.jit(lambda x, n: x, static_argnums=1)(X, [1]), ValueError, r"not hashable(.|\n)*n is \[1\] of type list"),
    "jit of a string": (lambda: fg.jit(lambda x, mode: x)(X, "fast"), TypeError, r"mode is 'fast' of type str(.|\n)*static_argnums"),
    "donated": (donated, fg.errors.DonatedBufferError, "used after it had been donated"),
    "scan carry": (lambda: lax.scan(lambda c, x: ({"n": x}, x), {"n": np.int64(1)}, X), TypeError, r"carry(.|\n)*\['n'\](.|\n)*int64\[\](.|\n)*float64\[\]"),
    "scan lengths": (lambda: lax.scan(lambda c, x: (c, c), 0.0, (X, np.ones(4))), ValueError, "scan"),
    "cond branches": (lambda: lax.cond(True, lambda x: x, lambda x: (x, x), 1.0), TypeError, "cond"),
    "cond types": (lambda: lax.cond(True, lambda x: x, lambda x: x.astype("int32"), fnp.ones(2)), TypeError, r"int32\[2\](.|\n)*float64\[2\]"),
    "while in reverse": (lambda: fg.grad(lambda x: lax.while_loop(lambda c: c < 5.0, lambda c: c * 2.0, x))(1.0),
                         (TypeError, NotImplementedError, ValueError), "while_loop(.|\n)*scan"),
    "broadcast": (lambda: fnp.ones(3) + fnp.ones(4), ValueError, r"add: the shapes do not broadcast, called at(.|\n)*\(3,\) and \(4,\)"),
    "contract": (lambda: fnp.ones((2, 3)) @ fnp.ones((2, 3)), (TypeError, ValueError), r"matmul|dot_general"),
    "concatenate": (lambda: fnp.concatenate([fnp.ones((2, 3)), fnp.ones((3, 2))]), (TypeError, ValueError), r"concatenate(.|\n)*\[?3"),
    "reshape": (lambda: fnp.ones(6).reshape(4, 2), (TypeError, ValueError), r"reshape(.|\n)*6"),
    "list": (lambda: fnp.sin([1.0, 2.0]), TypeError, "sin: argument 0 is not an array or a number"),
    "object": (lambda: fnp.ones(2) + np.array([None, None]), TypeError, "add: argument 1 is not an array"),
    "index": (lambda: fnp.ones(3)[5], IndexError, r"5(.|\n)*3"),
    "index of a traced array": (lambda: fg.jit(lambda x: x[5])(X), IndexError, r"5(.|\n)*3"),
    "index array": (lambda: fnp.ones(3)[np.array([0, 7])], IndexError, r"7(.|\n)*3"),
    "float index": (lambda: fnp.ones(3)[1.5], (TypeError, IndexError), "index"),
    "write": (write, TypeError, r"arrays are immutable(.|\n)*x = x.at\[index\].set\(value\)"),
    "tangent shape": (lambda: fg.jvp(lambda x: x, (X,), (np.ones(4),)), TypeError, r"jvp: the tangents of <lambda> do not fit: x(.|\n)*float64\[4\](.|\n)*float64\[3\]"),
    "tangent dtype": (lambda: fg.jvp(lambda x: x, (X,), (np.ones(3, np.float32),)), TypeError, r"float32\[3\](.|\n)*float64\[3\]"),
    "tangent tree": (lambda: fg.jvp(lambda x: x, (X,), ([X],)), ValueError, "the tangents of <lambda> have another structure"),
    "cotangent": (lambda: fg.vjp(lambda x: x, X)[1](np.ones(2)), TypeError, r"the cotangents of <lambda> do not fit"),
    "jvp of no tuple": (lambda: fg.jvp(fnp.sin, X, X), TypeError, r"must be tuples or lists(.|\n)*fg.jvp\(f, \(x,\), \(x_dot,\)\)"),
    "transpose": (lambda: fg.linear_transpose(fnp.sin, 1.0)(1.0), TypeError, "the function is not linear(.|\n)*the operation sin"),
    "transpose a product": (lambda: fg.linear_transpose(lambda x: x * x, 1.0)(1.0), TypeError, "the function is not linear"),
    "transpose affine": (lambda: fg.linear_transpose(lambda x: x + 1.0, 1.0)(1.0), TypeError, "adds a constant that is not zero"),
    "missing rule": (lambda: fg.grad(lambda x: fnp.nextafter(x, 2.0))(1.0), fg.errors.MissingRuleError, "nextafter has no rule"),
    "trees": (lambda: fg.tree.map(lambda a, b: a, {"x": 1}, {"y": 1}), ValueError, "x"),
    "dtype": (lambda: fnp.zeros(3, dtype="S3"), TypeError, "is not supported"),
    "shape": (lambda: fg.jit(lambda n: fnp.zeros(n))(3), TypeError, "a shape must be made of integers|where Python needs an integer"),
    "bools": (lambda: fnp.array(True) - fnp.array(False), TypeError, "bools cannot be subtracted"),
    "shift": (lambda: fnp.ones(2) << 1, TypeError, "only integers and bools"),
    "power": (lambda: fnp.arange(3) ** -1, ValueError, "integer to a negative integer power"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_message_says_what_to_do(case):
    run, error, text = CASES[case]
    with pytest.raises(error, match=text) as caught:
        run()
    assert str(caught.value).count("\n") <= 12
    assert current_trace.get() is EVAL
    assert float(fg.grad(lambda x: fnp.sin(x) * x)(0.0)) == 0.0


def test_conditions_and_counts_work_under_grad():
    def f(x):
        n = 0
        while x < 10.0:
            x = x * 2.0
            n += 1
        return x * int(x) if n > 2 else -x

    assert float(fg.grad(f)(1.0)) == 16.0 * 16
