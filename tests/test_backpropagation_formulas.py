"""What textbooks say of backpropagation, held against ``grad``: formulas written out with NumPy, rules of nodes, costs."""
import tracemalloc

import numpy as np
import pytest

import funcgrad as fg
import funcgrad.numpy as fnp
from funcgrad.core.jaxpr import count_equations


def close(found, expected, rtol=1e-10):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=rtol, atol=1e-12)


# ---------------------------------------------------------------- one hidden layer, by hand

ACTIVATIONS = {
    "sigmoid": (lambda z: 1 / (1 + fnp.exp(-z)), lambda z, h: h * (1 - h)),
    "tanh": (fnp.tanh, lambda z, h: 1 - h**2),
    "relu": (lambda z: fnp.where(z > 0, z, 0), lambda z, h: (z > 0) * 1.0),
    "leaky relu": (lambda z: fnp.where(z > 0, z, 0.01 * z), lambda z, h: np.where(z > 0, 1.0, 0.01)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_one_hidden_layer(name):
    """h = a(W1 x + b1), o = W2 h + b2, E = |o - t|^2 / 2; delta_o = o - t, delta_h = W2^T delta_o * a'(z)."""
    activation, slope = ACTIVATIONS[name]
    rng = np.random.default_rng(1)
    w1, b1, w2, b2 = rng.normal(size=(5, 3)), rng.normal(size=5), rng.normal(size=(2, 5)), rng.normal(size=2)
    x, t = rng.normal(size=3), rng.normal(size=2)

    def error(w1, b1, w2, b2):
        return fnp.sum((w2 @ activation(w1 @ x + b1) + b2 - t) ** 2) / 2

    z = w1 @ x + b1
    h = np.asarray(activation(fnp.asarray(z)))
    delta_o = w2 @ h + b2 - t
    delta_h = (w2.T @ delta_o) * slope(z, h)
    found = fg.grad(error, argnums=(0, 1, 2, 3))(w1, b1, w2, b2)
    for gradient, formula in zip(found, (np.outer(delta_h, x), delta_h, np.outer(delta_o, h), delta_o), strict=True):
        close(gradient, formula)


def test_sigmoid_output_with_cross_entropy_has_the_plain_difference_as_delta():
    rng = np.random.default_rng(2)
    w, x, t = rng.normal(size=(4, 6)), rng.normal(size=6), rng.integers(0, 2, size=4).astype(float)

    def loss(w):
        y = 1 / (1 + fnp.exp(-(w @ x)))
        return -fnp.sum(t * fnp.log(y) + (1 - t) * fnp.log(1 - y))

    close(fg.grad(loss)(w), np.outer(1 / (1 + np.exp(-w @ x)) - t, x))


def test_softmax_output_with_cross_entropy_has_the_plain_difference_as_delta():
    rng = np.random.default_rng(3)
    w, x, label = rng.normal(size=(4, 6)), rng.normal(size=6), 2

    def loss(w):
        z = w @ x
        return fnp.log(fnp.sum(fnp.exp(z))) - z[label]

    y = np.exp(w @ x) / np.exp(w @ x).sum()
    close(fg.grad(loss)(w), np.outer(y - np.eye(4)[label], x))


# ---------------------------------------------------------------- nodes of a graph


def test_the_nodes_of_a_small_graph():
    """L = f * (a * b + c): with u = a * b and v = u + c, dL/df = v, dL/dv = f and so on backwards."""
    a, b, c, f = 2.0, -3.0, 10.0, -2.0
    gradients = fg.grad(lambda a, b, c, f: f * (a * b + c), argnums=(0, 1, 2, 3))(a, b, c, f)
    assert [float(g) for g in gradients] == [f * b, f * a, f, a * b + c]
    assert float(fg.grad(lambda u: f * (u + c))(a * b)) == f


@pytest.mark.parametrize("function, expected", [
    (lambda a: a + a, 2.0),
    (lambda a: a + a + a + a + a, 5.0),
    (lambda a: a * a, 6.0),
    (lambda a: fnp.sin(a) * a + a, np.cos(3.0) * 3 + np.sin(3.0) + 1),
    (lambda a: (lambda d, e: d * e)(a * 2, a + 1), 2 * 4.0 + 6.0),
], ids=["a + a", "five times", "a * a", "three uses", "two nodes that meet"])
def test_fan_out_adds(function, expected):
    close(fg.grad(function)(3.0), expected)


def test_add_distributes_mul_swaps_max_routes_copy_adds():
    x, y, upstream = 3.0, -4.0, 7.0
    assert [float(g) for g in fg.vjp(lambda x, y: x + y, x, y)[1](upstream)] == [upstream, upstream]
    assert [float(g) for g in fg.vjp(lambda x, y: x * y, x, y)[1](upstream)] == [y * upstream, x * upstream]
    assert [float(g) for g in fg.vjp(fnp.maximum, x, y)[1](upstream)] == [upstream, 0.0]
    copies = fg.vjp(lambda x: (x, x, x), x)[1]
    assert float(copies((1.0, 10.0, 100.0))[0]) == 111.0


def test_branches_and_residual_connections_add_their_paths():
    rng = np.random.default_rng(4)
    w1, w2, x = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    ct = rng.normal(size=3)
    residual = fg.vjp(lambda x: x + fnp.tanh(w1 @ x), x)[1](ct)[0]
    j1 = (1 - np.tanh(w1 @ x) ** 2)[:, None] * w1
    close(residual, ct + j1.T @ ct)
    branches = fg.vjp(lambda x: fnp.tanh(w1 @ x) * (w2 @ x), x)[1](ct)[0]
    close(branches, j1.T @ (ct * (w2 @ x)) + w2.T @ (ct * np.tanh(w1 @ x)))


def test_a_value_that_does_not_reach_the_result_has_gradient_zero():
    def f(x, y):
        fnp.exp(y) * x
        return x * 2.0

    assert [float(g) for g in fg.grad(f, (0, 1))(1.0, 5.0)] == [2.0, 0.0]


# ---------------------------------------------------------------- operations with rules of their own


def with_vjp():
    f = fg.custom_vjp(lambda x: 2 * x**2)
    f.defvjp(lambda x: (2 * x**2, x), lambda x, upstream: (4 * x * upstream,))
    return f


def with_jvp():
    f = fg.custom_jvp(lambda x: 2 * x**2)
    f.defjvp(lambda primals, tangents: (f(*primals), 4 * primals[0] * tangents[0]))
    return f


@pytest.mark.parametrize("make", [with_vjp, with_jvp])
def test_a_custom_operation_composes(make):
    f = make()
    xs = np.array([0.5, -1.0, 3.0])
    close(f(xs), 2 * xs**2)
    close(fg.grad(f)(3.0), 12.0)
    close(fg.jit(fg.grad(f))(3.0), 12.0)
    close(fg.grad(fg.jit(f))(3.0), 12.0)
    close(fg.vmap(fg.grad(f))(xs), 4 * xs)
    close(fg.grad(lambda xs: fnp.sum(fg.vmap(f)(xs)))(xs), 4 * xs)
    close(fg.grad(fg.grad(f))(3.0), 4.0)
    close(fg.jit(fg.vmap(fg.grad(fg.grad(f))))(xs), [4.0] * 3)
    close(fg.jvp(f, (3.0,), (2.0,)), (18.0, 24.0))
    close(fg.jvp(fg.grad(f), (3.0,), (1.0,)), (12.0, 4.0))
    close(fg.grad(lambda x: fnp.sin(f(x)) * f(x))(0.3), 1.2 * (np.cos(0.18) * 0.18 + np.sin(0.18)))


def test_the_custom_rule_is_the_one_that_is_used():
    clipped = fg.custom_vjp(lambda x: x)
    clipped.defvjp(lambda x: (x, None), lambda _, upstream: (fnp.clip(upstream, -1.0, 1.0),))
    close(fg.grad(lambda x: 100.0 * clipped(x))(1.0), 1.0)


# ---------------------------------------------------------------- batches


def test_the_gradient_of_a_mean_is_the_mean_of_the_gradients():
    rng = np.random.default_rng(5)
    params = {"w": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    xs, ts = rng.normal(size=(10, 4)), rng.normal(size=(10, 3))

    def loss(params, x, t):
        return fnp.sum((fnp.tanh(x @ params["w"] + params["b"]) - t) ** 2)

    each = fg.vmap(fg.grad(loss), in_axes=(None, 0, 0))(params, xs, ts)
    of_mean = fg.grad(lambda p: fnp.mean(fg.vmap(loss, in_axes=(None, 0, 0))(p, xs, ts)))(params)
    for name in params:
        assert each[name].shape == (10, *params[name].shape)
        close(of_mean[name], np.asarray(each[name]).mean(axis=0))
        one = fg.grad(loss)(params, xs[3], ts[3])
        close(each[name][3], one[name])


# ---------------------------------------------------------------- costs


def peak_bytes(function, *args):
    function(*args)  # once before, so that what is kept anyhow is not counted
    tracemalloc.start()
    try:
        function(*args)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_jacobian_of_a_wide_layer_is_never_formed():
    n = 4000
    w = fnp.asarray(np.random.default_rng(6).normal(size=(n, n)).astype(np.float32) / n)
    x = fnp.ones(n, np.float32)
    of_x = fg.grad(lambda x: fnp.sum(fnp.tanh(w @ x)))
    assert peak_bytes(of_x, x) < 4 * n * n / 20  # the Jacobian dy/dx has n * n entries
    small = w[:500, :500]
    of_w = fg.grad(lambda w: fnp.sum(fnp.tanh(w @ x[:500])))
    assert peak_bytes(of_w, small) < 4 * 500**3 / 50  # dy/dw has 500 * 500 * 500 entries: the gradient only 500 * 500


def test_an_elementwise_function_needs_no_diagonal_matrix():
    x = fnp.ones(200_000)
    assert peak_bytes(fg.grad(lambda x: fnp.sum(fnp.exp(fnp.sin(x)))), x) < 20 * x.nbytes


def wide(params, x):
    for w, b in params:
        x = fnp.tanh(x @ w + b)
    return fnp.sum(x)


PROGRAMS = {
    "polynomial": (lambda x: fnp.sum(3.0 * x**3 - 2.0 * x**2 + x), (np.ones(3),)),
    "quotient": (lambda x, y: fnp.sum(fnp.sin(x) / (1.0 + y * y)), (np.ones(3), np.ones(3))),
    "layers": (wide, ([(np.ones((4, 4)), np.ones(4)) for _ in range(6)], np.ones((2, 4)))),
    "normalisation": (lambda x: fnp.sum(fnp.exp(x - fnp.max(x)) / fnp.sum(fnp.exp(x - fnp.max(x)))), (np.ones(5),)),
    "logarithms": (lambda x: fnp.sum(fnp.log(fnp.sqrt(1.0 + fnp.exp(x)))), (np.ones(5),)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_gradient_costs_a_small_constant_times_the_function(name):
    function, args = PROGRAMS[name]
    forward = count_equations(fg.make_jaxpr(function)(*args))
    backward = count_equations(fg.make_jaxpr(fg.grad(function))(*args))
    assert backward <= 4 * forward, (forward, backward)


def test_the_cost_does_not_depend_on_the_number_of_parameters():
    """All partial derivatives together, of 10 parameters or of 1000, cost the same multiple of the function."""

    def product(parameters):
        total = 1.0
        for p in parameters:
            total = total * fnp.sin(p)
        return total

    ratios = []
    for n in (10, 100, 1000):
        parameters = [1.0 + i / n for i in range(n)]
        ratios.append(count_equations(fg.make_jaxpr(fg.grad(product))(parameters))
                      / count_equations(fg.make_jaxpr(product)(parameters)))
    assert max(ratios) <= 4
    assert ratios[2] <= ratios[0] * 1.2


# ---------------------------------------------------------------- plain Python


def test_python_if_follows_the_branch_that_was_taken():
    def f(x):
        return x * x if x > 0 else -3.0 * x

    assert float(fg.grad(f)(2.0)) == 4.0
    assert float(fg.grad(f)(-2.0)) == -3.0


def test_python_while_and_recursion():
    def halve(x):
        while x > 1:
            x = x / 2
        return x

    def power(x, n):
        return x * power(x, n - 1) if n else 1.0

    assert float(fg.grad(halve)(10.0)) == 1 / 16
    close(fg.grad(power)(1.5, 4), 4 * 1.5**3)


@pytest.mark.parametrize("length", [0, 1, 2, 7])
def test_inputs_of_any_length(length):
    """A recurrent network over as many steps as there are inputs."""
    xs = np.linspace(-1, 1, length)

    def last(w, xs):
        h = 0.1
        for x in xs:
            h = fnp.tanh(w * h + x)
        return h * 1.0

    def by_hand(w):
        h, slope = 0.1, 0.0
        for x in xs:
            new = np.tanh(w * h + x)
            h, slope = new, (1 - new**2) * (h + w * slope)
        return slope

    close(fg.grad(last)(0.7, list(xs)), by_hand(0.7))


def test_a_chain_of_twenty_thousand_operations():
    steps = 20_000

    def chain(x):
        for _ in range(steps):
            x = x * 1.0001
        return x

    close(fg.grad(chain)(1.0), 1.0001**steps, rtol=1e-9)
    close(fg.jit(fg.grad(chain))(1.0), 1.0001**steps, rtol=1e-9)
    close(fg.jvp(chain, (1.0,), (1.0,))[1], 1.0001**steps, rtol=1e-9)
