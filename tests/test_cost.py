"""What programs cost: against counts by hand, through every kind of program."""
import numpy as np
import pytest
from operations import OPERATIONS

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad import lax
from funcgrad.core.cost import Counts, total

X, W = fg.ShapeDtypeStruct((8, 5), np.float32), fg.ShapeDtypeStruct((5, 7), np.float32)
PRODUCT = 2 * 8 * 5 * 7


def flops(f, *args):
    return total(fg.make_jaxpr(f)(*args)).flops


def test_a_product_costs_as_much_again_for_each_gradient():
    found = fg.cost(lambda x, w: x @ w)(X, W)
    assert found.forward == Counts(PRODUCT, 4 * (8 * 5 + 5 * 7 + 8 * 7))
    assert found.backward.flops == 2 * PRODUCT and found.operations["dot_general"].flops == 3 * PRODUCT
    assert fg.cost(lambda x: x @ np.ones((5, 7), np.float32))(X).backward.flops == PRODUCT
    assert flops(lambda x, w: fnp.einsum("bij,bjk->bik", x, w), np.ones((3, 2, 4)), np.ones((3, 4, 5))) == 2 * 3 * 2 * 4 * 5
    assert flops(lambda x: x @ x, np.ones((3, 3), np.complex128)) == 8 * 27


@pytest.mark.parametrize("groups, stride, padding", [(1, 1, "SAME"), (2, 2, "VALID"), (4, 1, "SAME")])
def test_convolutions_are_counted_exactly(groups, stride, padding):
    x, w = np.ones((2, 9, 8, 4), np.float32), np.ones((3, 3, 4 // groups, 8), np.float32)

    def f(x, w):
        return lax.conv_general_dilated(x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"),
                                        feature_group_count=groups)

    height, width = fg.eval_shape(f, x, w).shape[1:3]
    count = 2 * 2 * height * width * w.size
    found = fg.cost(f)(x, w)
    assert found.forward.flops == count and found.backward.flops == 2 * count


def recurrent(w, xs):
    return lax.scan(lambda h, x: (fnp.tanh(h @ w + x), None), fnp.zeros((8, 5), xs.dtype), xs)[0]


def test_programs_inside_of_programs():
    w, xs = np.ones((5, 5)), np.ones((20, 8, 5))
    product = 2 * 8 * 5 * 5
    found = fg.cost(recurrent)(w, xs)
    assert found.forward.flops == 20 * (product + 2 * 40)
    assert found.operations["dot_general"].flops == 20 * 3 * product
    assert flops(fg.jit(recurrent), w, xs) == flops(fg.checkpoint(recurrent), w, xs) == found.forward.flops
    kept, again = [fg.cost(f)(w, xs).backward.flops for f in (recurrent, fg.checkpoint(recurrent))]
    assert again - kept == pytest.approx(found.forward.flops, rel=0.05)
    assert flops(fg.vmap(recurrent, (None, 0)), w, np.ones((3, *xs.shape))) == 3 * found.forward.flops
    assert flops(lambda x: lax.cond(x[0] > 0, lambda x: x + x * x, lambda x: x, x), np.ones(9)) == 1 + 1 + 18  # the index of the branch
    steps = fg.make_jaxpr(lambda x: lax.while_loop(lambda s: s[0] < 3.0, lambda s: s + 1.0, x))(np.ones(5))
    assert total(steps) == (6, 8 + 1 + 80)


@pytest.mark.parametrize("call, arrays, count", [
    (lambda x: lax.linalg.cholesky(x, symmetrize_input=False), [np.eye(6)], 6**3 / 3), (fnp.sum, [np.ones((3, 4))], 12), (fnp.exp, [np.ones(7)], 7),
    (lambda x: x.T[::2].reshape(-1), [np.ones((3, 4))], 0), (lambda x: lax.dynamic_slice(x, (np.int64(1),), (2,)), [np.ones(9)], 0),
    (lambda x: lax.reduce_window(x, 0.0, lax.add, (3,), (1,), "VALID"), [np.ones(9)], 21),
    (fnp.fft.fft, [np.ones(8, complex)], 5 * 8 * 3), (fnp.fft.rfft, [np.ones(8)], 2.5 * 8 * 3),
    (lambda x: x.at[np.array([0, 1])].add(1.0, mode="promise_in_bounds"), [np.ones(9)], 2)])
def test_what_operations_cost(call, arrays, count):
    assert abs(flops(call, *arrays) - count) <= 1


def test_the_table_tells_the_lines():
    def loss(w, x):
        h = fnp.tanh(x @ w)
        return fnp.sum(h * h)

    found = fg.cost(loss)(np.ones((5, 7)), np.ones((8, 5)))
    text = str(found).splitlines()
    assert text[0].startswith("loss: 728 flop and ") and text[0].endswith(" backward")
    assert text[1].split() == ["line", "flops", "bytes", "backward", "flops", "bytes", "code"]
    assert [row.code for row in found.rows] == ["h = fnp.tanh(x @ w)", "return fnp.sum(h * h)"]
    assert [row.forward.flops for row in found.rows] == [PRODUCT + 56, 112]
    assert text[2].startswith("test_cost.py:") and text[2].endswith("h = fnp.tanh(x @ w)")
    assert sum(row.backward.flops for row in found.rows) == found.backward.flops > 2 * PRODUCT
    assert found._repr_html_().count("<tr>") == 3 and "h = fnp.tanh(x @ w)" in found._repr_html_()


def test_a_custom_rule_is_counted_in_its_lines():
    @fg.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, (x, w)), lambda kept, g: (g @ kept[1].T, kept[0].T @ g))
    found = fg.cost(lambda x, w: product(x, w))(X, W)
    assert found.forward.flops == PRODUCT and found.backward.flops == 2 * PRODUCT
    assert [(row.forward.flops, row.backward.flops) for row in found.rows] == [(PRODUCT, 0), (0, 3 * PRODUCT)]


def test_functions_without_a_backward_pass():
    found = fg.cost(lambda x: lax.while_loop(lambda s: s < 3.0, lambda s: s + 1.0, x))(1.0)
    assert found.backward is None and "while" in found.reason and "no backward pass" in str(found)
    assert fg.cost(lambda i: i + 1)(np.arange(3)).reason == "no argument is floating point"
    assert fg.cost(lambda x: fnp.argmax(x))(np.ones(3)).reason == "no result is floating point"
    assert str(fg.cost(lambda x: x)(1.0)).startswith("<lambda>: 0 flop and 0 B forward, 0 flop")


def test_every_operation_has_a_cost():
    for row in OPERATIONS:
        found = fg.cost(row.function)(*row.args)
        for part in (found.forward, found.backward or found.forward, *found.operations.values()):
            assert part.flops >= 0 and part.bytes >= 0, row
        assert found.backward is not None or row.order == 0 or "rev" not in row.modes, (row, found.reason)
